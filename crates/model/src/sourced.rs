//! A configured value that remembers where it came from.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// A configured value and the place that set it, so that an error hours later can name it.
///
/// `Display` prints the place, `FILE:LINE`, not the value.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Sourced<T> {
    /// What was configured.
    pub value: T,
    /// The file that says so, as the reader opened it.
    pub file: PathBuf,
    /// The line of it, from 1. Files that count only by existing, and links, say 1.
    pub line: u32,
}

impl<T> Sourced<T> {
    /// A value and its place.
    pub fn new(value: T, file: impl Into<PathBuf>, line: u32) -> Self {
        Self { value, file: file.into(), line }
    }

    /// The same place with a value made from the old one.
    pub fn map<U>(self, make: impl FnOnce(T) -> U) -> Sourced<U> {
        Sourced { value: make(self.value), file: self.file, line: self.line }
    }

    /// As [`map`](Self::map) for a conversion that can fail; the caller keeps a clone of the place if it wants to
    /// report it.
    ///
    /// # Errors
    /// Whatever `make` returns.
    pub fn try_map<U, E>(self, make: impl FnOnce(T) -> Result<U, E>) -> Result<Sourced<U>, E> {
        Ok(Sourced { value: make(self.value)?, file: self.file, line: self.line })
    }

    /// A view of the value with the same place.
    pub fn as_ref(&self) -> Sourced<&T> {
        Sourced { value: &self.value, file: self.file.clone(), line: self.line }
    }

    /// The file and line that set the value.
    pub fn place(&self) -> (&Path, u32) {
        (&self.file, self.line)
    }
}

impl<T> fmt::Display for Sourced<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}

#[cfg(test)]
mod tests {
    use super::Sourced;

    #[test]
    fn prints_its_place_and_keeps_it() {
        let text = Sourced::new("105", "/etc/vservers/web1/context", 1);
        assert_eq!(text.to_string(), "/etc/vservers/web1/context:1");
        let number = text.clone().try_map(str::parse::<u32>).unwrap();
        assert_eq!(number, Sourced::new(105, "/etc/vservers/web1/context", 1));
        assert_eq!(number.map(|n| n + 1).value, 106);
        assert!(text.map(|_| "x").try_map(str::parse::<u32>).is_err());
    }
}
