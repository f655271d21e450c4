//! The one error of this crate: which operation failed on what, and why.

use std::fmt::Display;
use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// What every fallible function of this crate returns.
pub type Result<T, E = Fault> = std::result::Result<T, E>;

/// A kernel operation on one object that failed.
///
/// Prints as `mount_setattr(2) /vservers/web1`; the reason is the [source](std::error::Error::source), so that
/// one printer can put the chain together.
#[derive(Debug, thiserror::Error)]
#[error("{op} {object}")]
pub struct Fault {
    /// The operation, named like its manual page: `mount_setattr(2)`.
    pub op: &'static str,
    /// What it was done to: a path, a process, a namespace.
    pub object: String,
    /// The kernel's answer.
    #[source]
    pub source: io::Error,
}

impl Fault {
    /// A fault of `op` on `object`.
    pub fn new(op: &'static str, object: impl Display, source: impl Into<io::Error>) -> Self {
        Self { op, object: object.to_string(), source: source.into() }
    }

    /// A fault made from a bare errno, for example one that a child process reported.
    pub fn from_errno(op: &'static str, object: impl Display, errno: i32) -> Self {
        Self::new(op, object, io::Error::from_raw_os_error(errno))
    }

    /// The errno, if the kernel gave one.
    pub fn errno(&self) -> Option<i32> {
        self.source.raw_os_error()
    }

    /// Whether the kernel's answer was this errno (`libc::EINVAL` …).
    pub fn is(&self, errno: i32) -> bool {
        self.errno() == Some(errno)
    }
}

/// Names the operation and the object of a bare error.
pub(crate) trait Blame<T> {
    /// The error becomes a [`Fault`] of `op` on `object`.
    fn blame(self, op: &'static str, object: impl Display) -> Result<T>;
    /// The same where naming the object costs something.
    fn blame_with<D: Display>(self, op: &'static str, object: impl FnOnce() -> D) -> Result<T>;
}

impl<T, E: Into<io::Error>> Blame<T> for std::result::Result<T, E> {
    fn blame(self, op: &'static str, object: impl Display) -> Result<T> {
        self.map_err(|error| Fault::new(op, object, error))
    }

    fn blame_with<D: Display>(self, op: &'static str, object: impl FnOnce() -> D) -> Result<T> {
        self.map_err(|error| Fault::new(op, object(), error))
    }
}

/// The path behind a descriptor, for error texts only: a guest may have chosen it.
pub(crate) fn described(fd: impl AsFd) -> String {
    let raw = fd.as_fd().as_raw_fd();
    std::fs::read_link(format!("/proc/self/fd/{raw}"))
        .map_or_else(|_| format!("descriptor {raw}"), |path| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::error::Error as _;

    #[test]
    fn a_fault_prints_operation_and_object_and_keeps_the_reason_apart() {
        let fault = Fault::from_errno("mount_setattr(2)", "/vservers/web1", libc::EINVAL);
        assert_eq!(fault.to_string(), "mount_setattr(2) /vservers/web1");
        assert!(fault.is(libc::EINVAL) && !fault.is(libc::EPERM));
        assert!(fault.source().unwrap().to_string().starts_with("Invalid argument"));
    }
}
