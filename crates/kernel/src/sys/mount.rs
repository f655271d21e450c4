//! `mount_setattr(2)` and the question which kind of namespace a descriptor is.

use std::os::fd::{AsRawFd, BorrowedFd};

use super::checked;
use crate::{Blame, Result, described};

/// `struct mount_attr` of `<linux/mount.h>` (32 bytes, Linux 5.12).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MountAttr {
    /// `MOUNT_ATTR_*` bits to set.
    pub set: u64,
    /// `MOUNT_ATTR_*` bits to clear, done before setting.
    pub clear: u64,
    /// One of `MS_PRIVATE`, `MS_SLAVE`, `MS_SHARED`, `MS_UNBINDABLE`, or 0 to leave it.
    pub propagation: u64,
    /// The user namespace of an id-mapped mount, with `MOUNT_ATTR_IDMAP`.
    pub userns: u64,
}

/// Changes attributes of the mount whose root is `mount`, or (`recursive`) of all mounts below it too.
///
/// `mount_setattr(2)`, Linux 5.12. All or nothing. With `MOUNT_ATTR_IDMAP`: `EINVAL`: the filesystem cannot be
/// id-mapped, or the mount is already attached; `EPERM`: it is mapped already, or no `CAP_SYS_ADMIN` over the
/// filesystem.
pub fn mount_setattr(mount: BorrowedFd<'_>, recursive: bool, attr: &MountAttr) -> Result<()> {
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is a NUL-terminated literal; `attr` is initialised, borrowed for the call and as long as
    // the size we pass; the kernel reads both and keeps neither.
    checked(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            std::ptr::from_ref(attr),
            size_of::<MountAttr>(),
        )
    })
    .map(drop)
    .blame_with("mount_setattr(2)", || described(mount))
}

/// The kind of an nsfs descriptor: one `CLONE_NEW*` bit.
///
/// `NS_GET_NSTYPE` of `ioctl_ns(2)`, Linux 4.11. `ENOTTY`: not a namespace.
pub fn namespace_type(fd: BorrowedFd<'_>) -> Result<u32> {
    // SAFETY: the request takes no argument and answers in the return value.
    checked(unsafe { libc::ioctl(fd.as_raw_fd(), libc::NS_GET_NSTYPE) }.into())
        .map(|bits| u32::try_from(bits).expect("a CLONE_NEW bit"))
        .blame_with("ioctl(2) NS_GET_NSTYPE", || described(fd))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_attr_has_the_size_of_the_first_version() {
        assert_eq!(size_of::<MountAttr>(), 32);
    }
}
