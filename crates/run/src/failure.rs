//! The error of this crate: what was being done, why it failed, who asked for it, the way out, what was undone.

use std::error::Error;
use std::fmt;
use std::path::{Path, PathBuf};

use vserver_kernel::Fault;

/// One thing that could not be done. The command's printer shows each part on a line of its own.
#[derive(Debug, Default)]
pub struct Failure {
    /// What was being done: `cannot id-map /vservers/web1 (an nfs file system)`.
    pub what: String,
    /// The reason.
    pub because: Option<Box<dyn Error + Send + Sync>>,
    /// The file and line that asked for it.
    pub place: Option<(PathBuf, u32)>,
    /// What the administrator can do about it.
    pub hint: Option<String>,
    /// What was taken back.
    pub undone: Vec<String>,
    /// What could not be taken back, and why.
    pub left: Vec<String>,
    /// The exit status of a guest's command that caused it.
    pub status: Option<i32>,
}

impl Failure {
    /// A failure without a deeper reason.
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), ..Self::default() }
    }

    /// With its reason.
    #[must_use]
    pub fn because(mut self, reason: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.because = Some(reason.into());
        self
    }

    /// With the file that asked for it.
    #[must_use]
    pub fn place(mut self, file: impl AsRef<Path>, line: u32) -> Self {
        self.place = Some((file.as_ref().to_owned(), line));
        self
    }

    /// With a way out.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl Error for Failure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.because.as_deref().map(|reason| reason as &(dyn Error + 'static))
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self::new(format!("{} failed", fault.op)).because(fault)
    }
}

/// Says what was being done when a lower layer failed.
pub trait Doing<T> {
    /// `what` completes "cannot …".
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, Failure>;
}

impl<T, E: Into<Box<dyn Error + Send + Sync>>> Doing<T> for Result<T, E> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, Failure> {
        self.map_err(|reason| Failure::new(format!("cannot {}", what())).because(reason))
    }
}
