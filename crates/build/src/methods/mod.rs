//! The build methods, one file each.

pub mod skeleton;
pub mod template;
