//! Mounts made in a running guest from outside: `vmount`.
//!
//! What is mounted is prepared in the host's view, attached to nothing; only then does this process step into the
//! guest's mount namespace, puts it in its place, found beneath the guest's root, and steps back. No program runs in
//! there.

use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};
use vserver_config::guest::FstabEntry;
use vserver_kernel::mount::{self, MountFd, Recursion};
use vserver_kernel::ns::{self, Namespaces};
use vserver_model::{Layout, Mode as Confinement};

use crate::failure::{Doing, Failure};
use crate::fstab;
use crate::record::{Record, state_dir};

/// Mounts one entry in the guest. The calling process must have one thread.
///
/// # Errors
/// The source or the mount point is missing, the kernel or the mount program refuses, the guest has ended.
pub fn mount_into(layout: &Layout, record: &Record, entry: &FstabEntry) -> Result<(), Failure> {
    let shift = match record.mode {
        Confinement::Shifted { first_id, .. } => Some(first_id),
        Confinement::Classic => None,
    };
    let prepared = if entry.options.remount {
        None
    } else {
        match fstab::detached(entry, shift)? {
            Some(tree) => Some(tree),
            None => Some(by_program(layout, record, entry)?),
        }
    };
    within(record, || attach(entry, prepared.as_ref()))?;
    if entry.options.move_mount {
        mount::unmount_lazily(&entry.source)
            .doing(|| format!("take {} away from the host", Path::new(&entry.source).display()))?;
    }
    Ok(())
}

/// Mounts every entry that is not mounted yet, and goes on past failures, which it gives back.
pub fn mount_all(layout: &Layout, record: &Record, entries: &[FstabEntry]) -> Vec<Failure> {
    let mounted: Vec<_> = match mount::table_of(record.init.pid) {
        Ok(table) => table.into_iter().map(|line| line.mount_point).collect(),
        Err(fault) => return vec![Failure::from(fault)],
    };
    let todo = |entry: &&FstabEntry| !entry.options.noauto && !mounted.contains(&entry.target);
    entries.iter().filter(todo).filter_map(|entry| mount_into(layout, record, entry).err()).collect()
}

/// Puts the mount in its place. Stands in the guest's mount namespace, so `/` is the guest's root.
fn attach(entry: &FstabEntry, prepared: Option<&MountFd>) -> Result<(), Failure> {
    let root = mount::open_directory("/").doing(|| "open the guest's root".into())?;
    let source = Path::new(&entry.source);
    let kind = match prepared.map(|tree| rustix::fs::fstat(tree.as_fd())) {
        Some(Ok(status)) if !rustix::fs::FileType::from_raw_mode(status.st_mode).is_dir() => {
            mount::TargetKind::File
        }
        _ => mount::TargetKind::Directory,
    };
    let target = mount::target_in_root(root.as_fd(), &entry.target, kind)
        .doing(|| format!("find the mount point {} in the guest", entry.target.display()))
        .map_err(|failure| failure.hint("the mount point must exist in the guest; it is not created"))?;
    match prepared {
        Some(tree) => tree
            .attach_at(target.as_fd())
            .doing(|| format!("mount {} on {}", source.display(), entry.target.display())),
        None => mount::set_attributes(target.as_fd(), &fstab::attributes(&entry.options), Recursion::One)
            .doing(|| format!("remount {}", entry.target.display())),
    }
}

/// Does `job` in the guest's mount namespace, and comes back whatever it says.
fn within<T>(record: &Record, job: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    let ended = || Failure::new(format!("the guest '{}' has just ended", record.name));
    let init = record.init.open().doing(|| "look for the guest's init".into())?.ok_or_else(ended)?;
    let own = rustix::process::getpid().as_raw_nonzero().get();
    let outside = ns::open(own, Namespaces::MOUNT)?;
    let directory = rustix::fs::openat(CWD, c".", OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
    ns::enter(init.as_fd(), Namespaces::MOUNT).doing(|| "step into the guest's mounts".into())?;
    let done = job();
    ns::enter_one(outside.as_fd(), Namespaces::MOUNT).doing(|| "return from the guest's mounts".into())?;
    // A relative path of a later entry counts from where the command was typed.
    if let Ok(directory) = directory {
        rustix::process::fchdir(directory).doing(|| "return to the working directory".into())?;
    }
    done
}

/// A file system that only mount(8) can mount: mounted in a mount namespace that ends with this process, and taken
/// from there.
fn by_program(layout: &Layout, record: &Record, entry: &FstabEntry) -> Result<MountFd, Failure> {
    ns::unshare(Namespaces::MOUNT).doing(|| "make a mount namespace".into())?;
    mount::make_private("/", Recursion::All).doing(|| "make the namespace's mounts private".into())?;
    let place = state_dir(layout, &record.name);
    let target = mount::open_directory(&place)?;
    fstab::by_program(entry, target.as_fd())?;
    let tree = mount::clone_tree(CWD, &place, Recursion::All)
        .doing(|| format!("take {}", Path::new(&entry.source).display()))?;
    mount::unmount_lazily(&place).doing(|| format!("unmount {}", place.display()))?;
    tree.set(&fstab::attributes(&entry.options), Recursion::One)
        .doing(|| "set the mount's options".into())?;
    Ok(tree)
}
