//! What reading a configuration found: every bad value, doubtful file and typing mistake, with its place.
//!
//! Reading never stops at the first mistake. An [`Severity::Error`] prevents a start; a warning or a note does not.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The guest cannot be started like this.
    Error,
    /// Doubtful, but the start goes on.
    Warning,
    /// Worth knowing: an item that this version does not act on.
    Note,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        })
    }
}

/// What sort of thing was found, for programs that read the JSON form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Kind {
    /// The file or directory cannot be read.
    Unreadable,
    /// A directory, device, fifo or socket stands where a regular file should.
    NotAFile,
    /// Bigger than any sensible value.
    TooLarge,
    /// A NUL byte, or text that is not UTF-8 where a word is needed.
    Binary,
    /// The value is not of the item's type or range.
    BadValue,
    /// A flag, capability or namespace word that no list knows.
    UnknownWord,
    /// A line that does not have the file's form.
    Syntax,
    /// Something that must be there is not.
    Missing,
    /// Two items contradict each other.
    Conflict,
    /// An old spelling; it works, or says what to use.
    Obsolete,
    /// Something that vserver does not do, on purpose.
    Unsupported,
    /// Read and validated, but without effect in this version.
    NotYetHonoured,
    /// A file that no item of the reference covers.
    UnknownFile,
    /// A file that looks like a misspelt item.
    Typo,
    /// A symbolic link whose target does not exist.
    DanglingLink,
    /// The last line has no newline.
    NoFinalNewline,
    /// Two guests have the same context number.
    DuplicateContext,
    /// Grants something that endangers the host.
    Dangerous,
}

/// One thing that reading or checking a configuration found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Finding {
    /// The file or directory it is about, absolute.
    #[serde(serialize_with = "path_as_text")]
    pub file: PathBuf,
    /// The line, from 1; 0 when it is about the whole file.
    pub line: u32,
    /// The column, from 1; 0 when it is about the whole line.
    pub column: u32,
    /// How bad it is.
    pub severity: Severity,
    /// What sort of thing it is.
    pub kind: Kind,
    /// The fact, lower case, without a full stop.
    pub message: String,
    /// What to do about it, where we know.
    pub hint: Option<String>,
}

impl Finding {
    /// An error about a whole file; narrow it with [`Finding::at`].
    pub fn error(kind: Kind, file: impl Into<PathBuf>, message: impl Into<String>) -> Self {
        Self::new(Severity::Error, kind, file, message)
    }

    /// A warning about a whole file.
    pub fn warning(kind: Kind, file: impl Into<PathBuf>, message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, kind, file, message)
    }

    /// A note about a whole file.
    pub fn note(kind: Kind, file: impl Into<PathBuf>, message: impl Into<String>) -> Self {
        Self::new(Severity::Note, kind, file, message)
    }

    /// A finding of a severity that the caller decides.
    pub fn new(severity: Severity, kind: Kind, file: impl Into<PathBuf>, message: impl Into<String>) -> Self {
        Self { file: file.into(), line: 0, column: 0, severity, kind, message: message.into(), hint: None }
    }

    /// Narrows the place to a line, counted from 1.
    #[must_use]
    pub fn at(mut self, line: u32) -> Self {
        self.line = line;
        self
    }

    /// Narrows the place to a column, counted from 1.
    #[must_use]
    pub fn column(mut self, column: u32) -> Self {
        self.column = column;
        self
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// `FILE:LINE:COLUMN: severity: message`, line and column only where they are known, and the hint on a second line.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
            if self.column > 0 {
                write!(f, ":{}", self.column)?;
            }
        }
        write!(f, ": {}: {}", self.severity, self.message)?;
        if let Some(hint) = &self.hint {
            write!(f, "\n  hint: {hint}")?;
        }
        Ok(())
    }
}

/// JSON has no bytes: a path that is not UTF-8 is written with replacement characters rather than not at all.
fn path_as_text<S: serde::Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&path.to_string_lossy())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_prints_its_place_and_hint() {
        let plain = Finding::warning(Kind::UnknownFile, "/etc/vservers/a/x", "unknown file");
        assert_eq!(plain.to_string(), "/etc/vservers/a/x: warning: unknown file");
        let full = Finding::error(Kind::Syntax, "/f", "syntax error").at(3).column(7).hint("four fields");
        assert_eq!(full.to_string(), "/f:3:7: error: syntax error\n  hint: four fields");
    }

    #[test]
    fn a_path_of_any_bytes_can_be_written_as_json() {
        use std::os::unix::ffi::OsStrExt as _;
        let path = std::ffi::OsStr::from_bytes(b"/a\xff");
        let json = serde_json::to_string(&Finding::note(Kind::Binary, path, "m")).expect("serialises");
        assert!(json.contains("\"kind\":\"binary\"") && json.contains("\"severity\":\"note\""), "{json}");
    }
}
