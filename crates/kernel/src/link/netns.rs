//! Network namespaces with a name, compatible with `ip netns`: a file below [`DIRECTORY`] on which the namespace is
//! mounted.
//!
//! The functions work in the mount namespace of the calling thread, or in the one they are given: a command that works
//! in a guest's host view must hand over the host's own, or nobody else would see the name.

use std::fs;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::mount::{MountPropagationFlags, UnmountFlags, mount_bind_recursive, mount_change, unmount};

use crate::ns::{self, Namespaces};
use crate::{Blame as _, Fault, Result, mount, sys};

/// Where `ip netns` looks.
pub const DIRECTORY: &str = "/run/netns";

/// The file of a name.
pub fn path_of(name: &str) -> PathBuf {
    Path::new(DIRECTORY).join(name)
}

/// Opens the namespace of that name. `ENOENT`: there is none.
///
/// # Errors
/// As above, or the file is no network namespace (`EINVAL`).
pub fn open(name: &str) -> Result<OwnedFd> {
    open_at(&path_of(name))
}

/// Opens a network namespace that is mounted on a file.
///
/// # Errors
/// As open(2), or the file is no network namespace (`EINVAL`).
pub fn open_at(path: &Path) -> Result<OwnedFd> {
    let file = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .blame_with("open(2)", || path.display().to_string())?;
    match ns::kind_of(file.as_fd()) {
        Ok(Namespaces::NET) => Ok(file),
        // A file that was made and not mounted on, or anything else.
        _ => Err(Fault::from_errno("ioctl(2) NS_GET_NSTYPE", path.display(), libc::EINVAL)),
    }
}

/// A new network namespace that belongs to nobody yet: it lives as long as the descriptor, and is owned by the
/// calling process's user namespace.
///
/// # Errors
/// As unshare(2).
pub fn create() -> Result<OwnedFd> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            ns::unshare(Namespaces::NET)?;
            super::own_namespace()
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Gives a namespace a name, in the mount namespace `mounts`. `EEXIST`: the name is taken.
///
/// # Errors
/// As above, or as mount(2) says.
pub fn name(mounts: BorrowedFd<'_>, name: &str, namespace: BorrowedFd<'_>) -> Result<()> {
    pin(mounts, &path_of(name), namespace)
}

/// Keeps a namespace alive by mounting it on a new file, in the mount namespace `mounts`.
///
/// # Errors
/// As [`name`].
pub fn pin(mounts: BorrowedFd<'_>, path: &Path, namespace: BorrowedFd<'_>) -> Result<()> {
    // Mounted by descriptor: the new mount namespace may have another /proc, or none.
    let source = mount::clone_tree(namespace, "", mount::Recursion::One)?;
    in_mounts(mounts, || {
        if path.starts_with(DIRECTORY) {
            prepare_directory()?;
        }
        let object = || path.display().to_string();
        let flags = OFlags::RDONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        rustix::fs::open(path, flags, Mode::empty()).blame_with("open(2)", object)?;
        let target = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
            .blame_with("open(2)", object);
        target.and_then(|target| source.attach_at(target.as_fd())).inspect_err(|_| {
            // Nothing but the empty file was made; the reason of the failure is what counts.
            drop(fs::remove_file(path));
        })
    })
}

/// Takes the name away, in the mount namespace `mounts`. The namespace ends with its last process or descriptor.
/// May be called again.
///
/// # Errors
/// As umount(2) or unlink(2).
pub fn unname(mounts: BorrowedFd<'_>, name: &str) -> Result<()> {
    unpin(mounts, &path_of(name))
}

/// Undoes [`pin`]. May be called again.
///
/// # Errors
/// As umount(2) or unlink(2).
pub fn unpin(mounts: BorrowedFd<'_>, path: &Path) -> Result<()> {
    in_mounts(mounts, || {
        match unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
            // EINVAL: no mount point, as when the last clean-up was interrupted here.
            Ok(()) | Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => {}
            Err(errno) => return Err(Fault::new("umount(2)", path.display(), errno)),
        }
        match fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Fault::new("unlink(2)", path.display(), error))
            }
            _ => Ok(()),
        }
    })
}

/// The directory as `ip netns` makes it: a mount point of its own that is shared, so that names come and go in every
/// mount namespace that had it before.
fn prepare_directory() -> Result<()> {
    let shared = MountPropagationFlags::SHARED | MountPropagationFlags::REC;
    fs::create_dir_all(DIRECTORY).blame("mkdir(2)", DIRECTORY)?;
    match mount_change(DIRECTORY, shared) {
        Ok(()) => Ok(()),
        Err(rustix::io::Errno::INVAL) => {
            mount_bind_recursive(DIRECTORY, DIRECTORY).blame("mount(2)", DIRECTORY)?;
            mount_change(DIRECTORY, shared).blame("mount(2)", DIRECTORY)
        }
        Err(errno) => Err(Fault::new("mount(2)", DIRECTORY, errno)),
    }
}

/// Does something in another mount namespace: in a thread with a root and working directory of its own that ends with
/// it.
fn in_mounts<T: Send>(mounts: BorrowedFd<'_>, deed: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            sys::unshare_fs()?;
            ns::enter_one(mounts, Namespaces::MOUNT)?;
            deed()
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
