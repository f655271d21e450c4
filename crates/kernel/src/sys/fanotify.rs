//! `fanotify(7)`: being asked before a file is read.

use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};

use super::{checked, new_fd};
use crate::{Blame, Result, described};

/// A descriptor from which whoever holds it learns that somebody is about to read `file`, and lets him. When nobody holds
/// it any more, everybody may read at once.
///
/// `FAN_ACCESS_PERM`, Linux 2.6.37 with `CONFIG_FANOTIFY_ACCESS_PERMISSIONS`. `EINVAL`: a kernel without it; `EPERM`: no
/// `CAP_SYS_ADMIN`.
#[doc(alias = "fanotify_init", alias = "fanotify_mark")]
pub fn watch_reads(file: BorrowedFd<'_>) -> Result<OwnedFd> {
    let flags = libc::FAN_CLASS_CONTENT | libc::FAN_CLOEXEC | libc::FAN_NONBLOCK;
    let of_events = (libc::O_RDONLY | libc::O_CLOEXEC | libc::O_LARGEFILE).cast_unsigned();
    // SAFETY: numbers only.
    let group = checked(unsafe { libc::syscall(libc::SYS_fanotify_init, flags, of_events) })
        .blame("fanotify_init(2)", "reads of a file")?;
    // SAFETY: fanotify_init returned a fresh descriptor.
    let group = unsafe { new_fd(group) };
    let path = std::ptr::null::<libc::c_char>();
    // SAFETY: numbers, two open descriptors, and no path: then the descriptor itself is meant.
    checked(unsafe {
        libc::syscall(
            libc::SYS_fanotify_mark,
            group.as_raw_fd(),
            libc::FAN_MARK_ADD,
            libc::FAN_ACCESS_PERM,
            file.as_raw_fd(),
            path,
        )
    })
    .blame_with("fanotify_mark(2)", || described(file))?;
    Ok(group)
}
