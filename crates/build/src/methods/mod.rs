//! The build methods, one file each.

pub mod clone;
pub mod debootstrap;
pub mod rsync;
pub mod skeleton;
pub mod template;
