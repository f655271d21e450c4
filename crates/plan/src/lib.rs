//! What to do, decided before anything is done.
//!
//! A plan is made by a pure function of the guest's configuration, the host, the guest's tree and what was asked.
//! It can be printed without root, compared in a test, executed with an undo stack, and its trace is the record that
//! `stop`, `enter` and `status` work from. Running a plan decides nothing.

pub mod ask;
pub mod command;
pub mod hide;
pub mod limits;
pub mod machine;
pub mod mounts;
pub mod netcontext;
pub mod network;
pub mod order;
pub mod rights;
pub mod show;
pub mod start;
pub mod step;
pub mod tree;
pub mod visible;

pub use ask::{Rescue, StartAsk};
pub use netcontext::NetContext;
pub use start::{Ground, Refusal, start};
pub use step::{Inside, Plan, Rights, Step, Warning};
pub use tree::Tree;
