//! What only version 2 needs.

use std::os::fd::BorrowedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use super::{Hierarchy, read_at, write_at};
use crate::{Fault, Result};

/// The controllers a guest's limits and its own systemd may want.
const WANTED: [&str; 6] = ["cpuset", "cpu", "io", "memory", "hugetlb", "pids"];

/// What the root of the hierarchy offers.
pub(super) fn controllers(root: BorrowedFd<'_>) -> Vec<String> {
    let bytes = read_at(root, Path::new("cgroup.controllers")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).split_whitespace().map(str::to_owned).collect()
}

/// Enables controllers for the groups below `group`, as far as the kernel allows.
///
/// A refusal (processes in the group itself, a controller that the group does not have) is no failure here: a limit
/// that is missing for it fails when its file is written, and names it.
pub(super) fn enable_controllers(root: BorrowedFd<'_>, group: &Path) {
    let list = |file: &str| read_at(root, &group.join(file)).unwrap_or_default();
    let (offered, enabled) = (list("cgroup.controllers"), list("cgroup.subtree_control"));
    let has =
        |list: &[u8], name: &str| list.split(u8::is_ascii_whitespace).any(|word| word == name.as_bytes());
    for name in WANTED {
        if has(&offered, name) && !has(&enabled, name) {
            write_at(root, &group.join("cgroup.subtree_control"), format!("+{name}").as_bytes()).ok();
        }
    }
}

/// A line of `cgroup.events`: `populated`, `frozen`. `None`: this kernel has no such line.
pub(super) fn event(hierarchy: &Hierarchy, group: &Path, name: &str) -> Result<Option<bool>> {
    let bytes = hierarchy.read(group, "cgroup.events")?;
    Ok(bytes.split(|byte| *byte == b'\n').find_map(|line| {
        let value = line.strip_prefix(name.as_bytes())?.strip_prefix(b" ")?;
        Some(value == b"1")
    }))
}

/// Freezes and waits until all stand still. Looks at the file itself: its notifications may be 10 ms late.
pub(super) fn freeze(hierarchy: &Hierarchy, group: &Path, timeout: Duration) -> Result<()> {
    hierarchy.write(group, "cgroup.freeze", b"1")?;
    let end = Instant::now() + timeout;
    let mut pause = Duration::from_micros(100);
    while event(hierarchy, group, "frozen")? != Some(true) {
        if Instant::now() >= end {
            return Err(Fault::from_errno("freeze", hierarchy.show(group).display(), libc::ETIMEDOUT));
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(5));
    }
    Ok(())
}
