//! The configuration of guests: the tree below `/etc/vservers` to a [`Guest`], and back.
//!
//! [`read`] takes a guest's directory and the site's defaults and gives every value with the file and line that set
//! it, together with every [`Finding`]: all mistakes, not only the first. [`resolve`] and [`list`] say which guests
//! there are. [`table`] is the one list of all items. Nothing here changes anything or asks the kernel for more than
//! files.

mod check;
pub mod content;
pub mod defaults;
mod files;
pub mod finding;
pub mod fstab;
pub mod guest;
mod hooks;
pub mod names;
mod not_yet;
mod read;
pub mod reference;
pub mod sysconfig;
pub mod table;
mod typo;
pub mod visible;
pub mod write;

pub use check::{check, check_dir};
pub use defaults::Shipped;
pub use finding::{Finding, Kind, Severity};
pub use guest::*;
pub use names::{NoSuchGuest, Resolved, depends, list, list_all, marks, resolve};
pub use not_yet::{Lack, NotYet, not_yet_honoured, not_yet_line};
pub use read::{Reading, read, scripts};
pub use sysconfig::Settings;
pub use visible::VisibleList;
pub use write::{WriteError, write, write_item, write_lines, write_link, write_marker, write_whole};
