//! What only version 1 needs.

use std::path::Path;
use std::time::{Duration, Instant};

use super::Hierarchy;
use crate::{Fault, Result};

/// Gives a new cpuset the processors and memory nodes of the group above, unless it has some.
///
/// A new one is empty, and attaching to an empty one is `ENOSPC`. With the mount option `noprefix` the files are named
/// without `cpuset.`.
pub(super) fn inherit_cpuset(hierarchy: &Hierarchy, above: &Path, group: &Path) -> Result<()> {
    let prefix = match hierarchy.read(group, "cpuset.cpus") {
        Err(fault) if fault.is(libc::ENOENT) => "",
        _ => "cpuset.",
    };
    for what in ["cpus", "mems"] {
        let file = format!("{prefix}{what}");
        if hierarchy.read(group, &file)?.trim_ascii().is_empty() {
            hierarchy.write(group, &file, hierarchy.read(above, &file)?.trim_ascii())?;
        }
    }
    Ok(())
}

/// Freezes with the version 1 freezer and waits until all stand still.
pub(super) fn freeze(hierarchy: &Hierarchy, group: &Path, timeout: Duration) -> Result<()> {
    let end = Instant::now() + timeout;
    loop {
        // Written again each time: tasks that were just being forked are caught by the next try.
        hierarchy.write(group, "freezer.state", b"FROZEN")?;
        if hierarchy.read(group, "freezer.state")?.trim_ascii() == b"FROZEN" {
            return Ok(());
        }
        if Instant::now() >= end {
            return Err(Fault::from_errno("freeze", hierarchy.show(group).display(), libc::ETIMEDOUT));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}
