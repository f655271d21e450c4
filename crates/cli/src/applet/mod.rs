//! The programs: one file each, with its table entry and the function behind it.

pub mod vserver;
