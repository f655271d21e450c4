//! The one error of this crate.

use std::io;
use std::path::{Path, PathBuf};

/// What every fallible function of this crate returns.
pub type Result<T, E = TreeError> = std::result::Result<T, E>;

/// An operation on one file that failed; the reason is the [source](std::error::Error::source).
#[derive(Debug, thiserror::Error)]
#[error("cannot {op} {}", path.display())]
pub struct TreeError {
    /// What was tried, as a verb phrase: `open`, `create the directory`.
    pub op: &'static str,
    /// On what; a path of the host (root and path below it joined), for people only.
    pub path: PathBuf,
    /// The kernel's answer.
    #[source]
    pub source: io::Error,
}

impl TreeError {
    /// An operation that failed on a path.
    pub fn new(op: &'static str, path: impl Into<PathBuf>, source: impl Into<io::Error>) -> Self {
        Self { op, path: path.into(), source: source.into() }
    }

    /// Whether the kernel's answer was this errno.
    pub fn is(&self, errno: rustix::io::Errno) -> bool {
        self.source.raw_os_error() == Some(errno.raw_os_error())
    }

    /// What the administrator can do about it, when we know.
    pub fn hint(&self) -> Option<&'static str> {
        match self.source.raw_os_error().map(rustix::io::Errno::from_raw_os_error) {
            Some(rustix::io::Errno::NOSPC | rustix::io::Errno::DQUOT) => Some("make room on the filesystem"),
            Some(rustix::io::Errno::ROFS) => Some("remount the filesystem read-write"),
            Some(rustix::io::Errno::PERM | rustix::io::Errno::ACCESS) => Some("run this as root"),
            _ => None,
        }
    }
}

/// Names the operation and the path of a bare error.
pub(crate) trait Blame<T> {
    /// The error becomes a [`TreeError`].
    fn blame(self, op: &'static str, path: impl AsRef<Path>) -> Result<T>;
}

impl<T, E: Into<io::Error>> Blame<T> for std::result::Result<T, E> {
    fn blame(self, op: &'static str, path: impl AsRef<Path>) -> Result<T> {
        self.map_err(|error| TreeError::new(op, path.as_ref(), error))
    }
}
