//! The verbs of `vserver NAME` and the words that stand in the place of NAME: one file each.

pub mod build;
pub mod check;
pub mod check_host;
pub mod console;
pub mod delete;
pub mod enter;
pub mod events;
pub mod exec;
pub mod later;
pub mod list;
pub mod logs;
pub mod restart;
pub mod running;
pub mod start;
pub mod status;
pub mod stop;
pub mod transfer;
