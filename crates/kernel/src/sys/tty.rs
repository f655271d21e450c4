//! The two pty requests that work on any devpts instance, not only on the one at `/dev/pts`.

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use super::{checked, new_fd};
use crate::{Blame, Result, described};

/// Opens the other side of a pty master without looking at any path.
///
/// `TIOCGPTPEER`, Linux 4.13. Works whatever is mounted where, so a guest cannot lead us to another file.
#[doc(alias = "TIOCGPTPEER")]
pub fn tty_peer(master: BorrowedFd<'_>) -> Result<OwnedFd> {
    // SAFETY: the request takes open flags by value and returns a new descriptor.
    checked(
        unsafe {
            libc::ioctl(
                master.as_raw_fd(),
                libc::TIOCGPTPEER,
                libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC,
            )
        }
        .into(),
    )
    // SAFETY: the request returned it just now.
    .map(|fd| unsafe { new_fd(fd) })
    .blame_with("ioctl(2) TIOCGPTPEER", || described(master))
}

/// Allows the other side to be opened.
#[doc(alias = "TIOCSPTLCK")]
pub(crate) fn unlock_tty(master: BorrowedFd<'_>) -> Result<()> {
    let unlocked: libc::c_int = 0;
    // SAFETY: the request reads one int, which lives until the call returns.
    checked(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCSPTLCK, &raw const unlocked) }.into())
        .map(drop)
        .blame_with("ioctl(2) TIOCSPTLCK", || described(master))
}
