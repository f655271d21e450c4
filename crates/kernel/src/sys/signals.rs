//! Signals read from a descriptor, so that a waiting loop sees them in order with everything else.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use crate::{Fault, Result};

/// Blocks these signals for the calling thread and gives a descriptor that tells of them, close-on-exec and
/// non-blocking.
///
/// For a process with one thread: another one would still be interrupted. A child inherits the block and must undo it
/// before it executes a program ([`super::reset_signals`]).
///
/// # Errors
/// `EINVAL`: a number is no signal. `EMFILE`.
#[doc(alias = "signalfd")]
pub fn signal_descriptor(signals: &[i32]) -> Result<OwnedFd> {
    let fault = |op| Fault::new(op, format!("signals {signals:?}"), io::Error::last_os_error());
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigemptyset initialises the whole set.
    let mut set = unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        set.assume_init()
    };
    for &signal in signals {
        // SAFETY: the set is initialised; an invalid number is refused.
        if unsafe { libc::sigaddset(&raw mut set, signal) } != 0 {
            return Err(fault("sigaddset(3)"));
        }
    }
    // SAFETY: the set is initialised and only read; the old mask is not asked for.
    if unsafe { libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) } != 0 {
        return Err(fault("sigprocmask(2)"));
    }
    // SAFETY: -1 asks for a new descriptor; the set is only read.
    let fd = unsafe { libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
    if fd < 0 {
        return Err(fault("signalfd(2)"));
    }
    // SAFETY: the kernel has just made this descriptor for us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The next pending signal of such a descriptor, if there is one.
///
/// # Errors
/// The descriptor is none of ours.
pub fn next_signal(descriptor: BorrowedFd<'_>) -> Result<Option<i32>> {
    let mut info = MaybeUninit::<libc::signalfd_siginfo>::uninit();
    let size = size_of::<libc::signalfd_siginfo>();
    // SAFETY: the kernel writes at most `size` bytes into the structure, which is that large.
    let count = unsafe { libc::read(descriptor.as_raw_fd(), info.as_mut_ptr().cast(), size) };
    match usize::try_from(count) {
        // SAFETY: the kernel filled the whole structure.
        Ok(count) if count == size => Ok(i32::try_from(unsafe { info.assume_init() }.ssi_signo).ok()),
        Ok(_) => Ok(None),
        Err(_) => {
            let error = io::Error::last_os_error();
            match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(None),
                _ => Err(Fault::new("read(2)", "signals", error)),
            }
        }
    }
}
