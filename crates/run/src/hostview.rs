//! The host view: a mount namespace rooted at the host's `/`, one per guest.
//!
//! Hooks run in it, `vnamespace -e` and `vmount` enter it. Host mounts come in (slave), nothing goes out. Below the
//! guest's root it is shared with the guest's own namespace, which is a slave of it in turn: a mount made there
//! appears in the running guest.

use std::collections::{HashMap, HashSet};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use vserver_kernel::mount::{self, MountEntry, Recursion};
use vserver_kernel::ns::{self, Namespaces};
use vserver_kernel::process::ProcessId;

use crate::failure::{Doing, Failure};
use crate::helper;
use crate::record::Record;

/// Moves this process into a new host view for the guest whose root is `root`.
///
/// # Errors
/// No right to make mount namespaces; the root cannot be bound.
pub fn make(root: &Path, cleanup: bool, keep: &[PathBuf]) -> Result<(), Failure> {
    ns::unshare(Namespaces::MOUNT).doing(|| "make a mount namespace".into())?;
    mount::make_slave("/", Recursion::All).doing(|| "make the host's mounts a slave of the host".into())?;
    if cleanup {
        clean(&with_links_followed(keep))?;
    }
    // A mount of its own, so that what is mounted below can be shared with the guest and with nobody else.
    let tree = mount::clone_tree(rustix::fs::CWD, root, Recursion::All)
        .doing(|| format!("bind the guest's root {}", root.display()))?;
    let target = mount::open_directory(root).doing(|| format!("open {}", root.display()))?;
    tree.attach_at(target.as_fd()).doing(|| format!("bind the guest's root {}", root.display()))?;
    mount::make_private(root, Recursion::All).doing(|| format!("make {} private", root.display()))?;
    mount::make_shared(root, Recursion::All).doing(|| format!("share mounts below {}", root.display()))
}

fn with_links_followed(paths: &[PathBuf]) -> Vec<PathBuf> {
    paths.iter().cloned().chain(paths.iter().filter_map(|path| path.canonicalize().ok())).collect()
}

/// Takes away what the guest does not need, so that the host can release it. A mount that will not go stays, as it did
/// in the original.
fn clean(keep: &[PathBuf]) -> Result<(), Failure> {
    let table = mount::table().doing(|| "read the mount table".into())?;
    for point in superfluous(&table, keep) {
        if let Err(fault) = mount::unmount_lazily(point) {
            tracing::debug!(%fault, "stays in the host view");
        }
    }
    Ok(())
}

/// The mount points to be unmounted, in this order: a mount goes with all below it, since the kernel waits once for
/// each call. What stands on the very same point hides the other and is taken away first.
fn superfluous<'a>(table: &'a [MountEntry], keep: &[PathBuf]) -> Vec<&'a Path> {
    let by_id: HashMap<u64, &MountEntry> = table.iter().map(|entry| (entry.id, entry)).collect();
    let mut needed = HashSet::new();
    for entry in table.iter().filter(|entry| is_kept(entry, keep)) {
        let mut above = Some(entry);
        while let Some(entry) = above {
            // Also the end of a chain that a changing table has made a ring.
            if !needed.insert(entry.id) {
                break;
            }
            above = by_id.get(&entry.parent).copied();
        }
    }
    let goes = |entry: &&MountEntry| {
        let with_its_parent = by_id
            .get(&entry.parent)
            .is_some_and(|above| !needed.contains(&above.id) && above.mount_point != entry.mount_point);
        !needed.contains(&entry.id) && !with_its_parent
    };
    table.iter().rev().filter(goes).map(|entry| entry.mount_point.as_path()).collect()
}

fn is_kept(entry: &MountEntry, keep: &[PathBuf]) -> bool {
    let point = &entry.mount_point;
    let system = ["/dev", "/proc", "/sys"].iter().any(|tree| point.starts_with(tree));
    // What is kept is kept with the mounts it stands on, and with what is mounted below it.
    system
        || point == Path::new("/")
        || keep.iter().any(|kept| kept.starts_with(point) || below_guest(point, kept))
}

/// Mounts below the guest's root and the tools' own directories stay; those below `/tmp` or `/usr` do not.
fn below_guest(point: &Path, kept: &Path) -> bool {
    let wide = ["/tmp", "/usr", "/usr/local", "/boot"].iter().any(|wide| kept == Path::new(wide));
    !wide && point.starts_with(kept)
}

/// Opens the host view of a running guest: the guard holds it.
///
/// # Errors
/// The guard is gone (it was killed).
pub fn of_running(record: &Record) -> Result<OwnedFd, Failure> {
    held_by(record.guard).ok_or_else(|| {
        Failure::new(format!(
            "the guard of '{}' is gone, and the guest's host view with it",
            record.name.display()
        ))
        .hint("the guest itself is unharmed; its own view can be entered with: vserver NAME exec")
    })
}

fn held_by(guard: ProcessId) -> Option<OwnedFd> {
    if !guard.is_alive() {
        return None;
    }
    let path = format!("/proc/{}/fd/{}", guard.pid, helper::fd::HOST_VIEW);
    let namespace: OwnedFd = std::fs::File::open(path).ok()?.into();
    // Only what really is a mount namespace is entered, and only while the guard still was the guard.
    (ns::kind_of(namespace.as_fd()).ok()? == Namespaces::MOUNT && guard.is_alive()).then_some(namespace)
}

/// Moves this process into the host view of a running guest. A guard that was killed takes the host view along: then
/// a new one is made for this command, with the guest's mounts shown below its root.
///
/// # Errors
/// No right to enter.
pub fn enter(record: &Record) -> Result<(), Failure> {
    if let Some(namespace) = held_by(record.guard) {
        return ns::enter_one(namespace.as_fd(), Namespaces::MOUNT)
            .doing(|| "enter the guest's host view".into());
    }
    rebuild(record)
}

/// A host view for a guest whose guard is gone: a copy of the host's mounts with the guest's own tree put over its
/// root directory.
pub(crate) fn rebuild(record: &Record) -> Result<(), Failure> {
    let pidfd = record.init.open().doing(|| "look for the guest's init".into())?;
    let pidfd = pidfd.ok_or_else(|| Failure::new("the guest has ended"))?;
    let outside = ns::open(rustix::process::getpid().as_raw_pid(), Namespaces::MOUNT)?;
    ns::enter(pidfd.as_fd(), Namespaces::MOUNT).doing(|| "look into the guest's mounts".into())?;
    let tree = mount::clone_tree(rustix::fs::CWD, "/", Recursion::All);
    ns::enter_one(outside.as_fd(), Namespaces::MOUNT).doing(|| "return from the guest's mounts".into())?;
    let tree = tree.doing(|| "copy the guest's mounts".into())?;
    ns::unshare(Namespaces::MOUNT).doing(|| "make a mount namespace".into())?;
    mount::make_slave("/", Recursion::All).doing(|| "make the host's mounts a slave of the host".into())?;
    let target = mount::open_directory(&record.root).doing(|| format!("open {}", record.root.display()))?;
    tree.attach_at(target.as_fd()).doing(|| "show the guest's mounts".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_takes_along_what_is_below() {
        let table: Vec<MountEntry> = [
            (1, 0, "/"),
            (2, 1, "/proc"),
            (3, 1, "/home"),
            (4, 3, "/home/a"),
            (5, 4, "/home/a/b"),
            (6, 1, "/srv"),
            (7, 6, "/srv/guest"),
            (8, 6, "/srv/other"),
            (9, 1, "/mnt"),
            (10, 9, "/mnt"),
        ]
        .iter()
        .map(|(id, parent, point)| {
            let line = format!("{id} {parent} 0:1 / {point} rw - tmpfs none rw");
            mount::parse_mount_line(line.as_bytes()).unwrap()
        })
        .collect();
        let gone = superfluous(&table, &[PathBuf::from("/srv/guest")]);
        assert_eq!(gone, ["/mnt", "/mnt", "/srv/other", "/home"].map(Path::new));
    }
}
