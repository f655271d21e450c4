//! Giving descriptors the numbers that another program expects.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use super::{CloseRange, close_range};
use crate::{Fault, Result, described};

/// Copies start here while numbers are being given: above every number that a program of ours expects.
const ABOVE: RawFd = 64;

/// Puts each descriptor at its number, open across an exec, and marks every other one above 2 close-on-exec.
///
/// For the moment right before an exec. A descriptor that was open at one of the numbers is closed by this: whoever
/// owns it in this process must not use it afterwards (only execute, or end).
///
/// # Errors
/// `EMFILE`: too many descriptors are open. `EBADF`: a number is negative or too large.
#[doc(alias = "dup2")]
pub fn place(descriptors: &[(BorrowedFd<'_>, RawFd)]) -> Result<()> {
    let mut copies = Vec::with_capacity(descriptors.len());
    for &(descriptor, number) in descriptors {
        // SAFETY: F_DUPFD_CLOEXEC takes a number; the borrowed descriptor is open.
        let copy = unsafe { libc::fcntl(descriptor.as_raw_fd(), libc::F_DUPFD_CLOEXEC, ABOVE) };
        if copy < 0 {
            return Err(Fault::new(
                "fcntl(2) F_DUPFD_CLOEXEC",
                described(descriptor),
                io::Error::last_os_error(),
            ));
        }
        // SAFETY: the kernel has just made this descriptor for us alone.
        copies.push((unsafe { OwnedFd::from_raw_fd(copy) }, number));
    }
    close_range(3, CloseRange::OnExec)?;
    for (copy, number) in &copies {
        // SAFETY: two numbers; what stood at `number` is closed, as the caller was told.
        if unsafe { libc::dup2(copy.as_raw_fd(), *number) } < 0 {
            return Err(Fault::new("dup2(2)", format!("number {number}"), io::Error::last_os_error()));
        }
    }
    Ok(())
}

/// A copy of a descriptor that this program was executed with, by its number: for programs that are told which numbers
/// are meant for them.
///
/// # Errors
/// `EBADF`: nothing is open there.
pub fn inherited(number: RawFd) -> Result<OwnedFd> {
    // SAFETY: two numbers.
    let copy = unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 3) };
    if copy < 0 {
        return Err(Fault::new(
            "fcntl(2) F_DUPFD_CLOEXEC",
            format!("descriptor {number}"),
            io::Error::last_os_error(),
        ));
    }
    // SAFETY: the kernel has just made this descriptor for us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}
