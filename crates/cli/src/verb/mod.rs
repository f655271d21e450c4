//! The verbs of `vserver NAME` and the words that stand in the place of NAME: one file each.

pub mod list;
