//! The kernel's mechanisms, one thin module each.
//!
//! Nothing here knows a guest's configuration and nothing here chooses: a function does one thing to the
//! kernel and says by [`Fault`] what failed on which object. The choices are made in the plan, the order in
//! `run`. Unsafe code lives in [`sys`] alone.
//!
//! Anything that is a path below a guest's root goes through [`beneath`] or [`mount::target_in_root`]: the
//! guest owns that tree and may turn any name of it into a symbolic link at any time.

pub mod beneath;
pub mod bpf;
pub mod btf;
pub mod caps;
pub mod cgroup;
mod fault;
pub mod idmap;
pub mod link;
pub mod message;
pub mod mount;
pub mod notify;
pub mod ns;
pub mod oom;
pub mod personality;
pub mod proc;
pub mod process;
pub mod pty;
pub mod rlimit;
pub mod sched;
pub mod seccomp;
pub mod shadow;
pub mod sys;
pub mod uts;

pub(crate) use fault::{Blame, described};
pub use fault::{Fault, Result};
