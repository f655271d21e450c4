//! What the planner has to know of the guest's tree.
//!
//! Looked up by `vserver-run` beneath the tree's root before the plan is made: the planner itself reads no file. All
//! of it comes from a guest and is treated as such.

use std::ffi::OsString;
use std::path::PathBuf;

/// Facts about a guest's root directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    /// The root directory, all links followed.
    pub root: PathBuf,
    /// Name of its file system, for messages.
    pub filesystem: String,
    /// Whether a mount of it can be id-mapped.
    pub can_idmap: bool,
    /// Which of [`Tree::PROGRAMS`] exist and are executable in the guest.
    pub programs: Vec<&'static str>,
    /// Whether `/sbin/init` leads to systemd.
    pub init_is_systemd: bool,
    /// Which of [`Tree::DIRECTORIES`] exist.
    pub directories: Vec<&'static str>,
    /// What stands in the guest's `dev`: the administrator's doing, as no guest can make a device node.
    pub dev: Vec<DevEntry>,
}

impl Tree {
    /// Programs whose presence decides something.
    pub const PROGRAMS: [&'static str; 9] = [
        "/etc/init.d/rc",
        "/etc/rc.d/rc",
        "/lib/rcscripts/sh/init-vserver.sh",
        "/lib/rc/sh/init-vserver.sh",
        "/lib/systemd/systemd",
        "/usr/lib/systemd/systemd",
        "/bin/bash",
        "/bin/sh",
        "/bin/csh",
    ];

    /// Directories whose presence decides something.
    pub const DIRECTORIES: [&'static str; 4] = ["/proc", "/sys", "/dev", "/run"];

    /// Whether the guest has this program.
    pub fn has(&self, program: &str) -> bool {
        self.programs.contains(&program)
    }
}

/// One entry of the guest's `dev` directory (and one level below, for `net/tun` and the like).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DevEntry {
    /// Path relative to `dev`.
    pub path: PathBuf,
    /// Permission bits, 12 of them.
    pub mode: u32,
    /// Owner as stored on disk (a guest's own number).
    pub uid: u32,
    /// Group as stored on disk.
    pub gid: u32,
    /// What it is.
    pub kind: DevKind,
}

/// What an entry of `dev` is. Plain files are left behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DevKind {
    /// A character device.
    Char {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device.
    Block {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A fifo or socket: bound into the guest's `dev` as it is (console logging through a fifo).
    Fifo,
    /// A directory.
    Directory,
    /// A symbolic link and its text.
    Link(OsString),
}
