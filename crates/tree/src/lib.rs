//! Whole-tree work: copying, removing and editing trees that belong to guests.
//!
//! A guest owns its tree and may have put a symbolic link anywhere, so nothing here follows a path with the host's
//! root: every name is resolved by `openat2(2)` below a directory descriptor, links included, or not followed at all.
//!
//! | module | concern |
//! |---|---|
//! | [`beneath`] | single files and directories below a root |
//! | [`attributes`] | owners, modes, times and extended attributes by descriptor |
//! | [`copy`] | one tree into another, with holes, hard links and shared extents |
//! | [`remove`] | a whole tree, however deep, without leaving its filesystem |
//! | [`device`] | which device nodes may come from a foreign tree |

pub mod attributes;
pub mod beneath;
pub mod copy;
pub mod device;
mod error;
pub mod remove;

pub use beneath::Root;
pub(crate) use error::Blame;
pub use error::{Result, TreeError};
