//! Doing a plan and living with it: start, stop, enter, and the record that they share.
//!
//! | module | concern |
//! |---|---|
//! | [`start`] | from the command to a running guest: the list of steps, done with an undo stack |
//! | [`site`] | what the steps of one start hand to each other |
//! | [`first`] | the guest's first process: how it is made, what it does to itself |
//! | [`hostview`], [`fstab`], [`dev`] | mounts on the host's side |
//! | [`network`] | addresses, the network context, the network namespace |
//! | [`scripts`] | hooks |
//! | [`record`] | what a start did, in `/run/vservers`; who is running |
//! | [`stop`] | stop, and the clean-up after a guest that ended by itself or whose tool was killed |
//! | [`logs`], [`events`] | what guests print on their consoles, and what happened to them |
//! | [`ended`] | after a guest that ended by itself: reboot, halt, programs of the administrator's |
//! | [`adopt`] | guests that lost their guard or their record while they were running |
//! | [`vmount`] | mounts made in a running guest from outside |
//! | [`enter`] | a program inside a running guest, always with the guest's own rights |
//! | [`broker`], [`sockets`] | answers system calls that would show a guest the host's network |
//! | [`netcontext`], [`virtnet`] | network contexts, of guests and of programs of the host |
//! | [`helper`] | the tiny static program, and how it is executed |
//!
//! Nothing here decides: choices were made in `vserver-plan`.

pub mod adopt;
pub mod broker;
pub mod console;
pub mod dev;
pub mod ended;
pub mod enter;
pub mod events;
pub mod failure;
pub mod first;
pub mod fstab;
pub mod helper;
pub mod hostview;
pub mod inside;
pub mod limits;
pub mod lock;
pub mod logs;
pub mod look;
mod machine;
pub mod netcontext;
pub mod netfiles;
pub mod network;
pub mod prepare;
pub mod record;
pub mod scripts;
pub mod site;
pub mod sockets;
pub mod start;
pub mod stop;
pub mod undo;
pub mod virtnet;
pub mod virtualtree;
pub mod vmount;

pub use failure::Failure;
pub use record::Record;
