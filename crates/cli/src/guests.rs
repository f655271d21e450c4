//! From what an administrator types to a guest's configuration directory, and all guests there are.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use crate::report::Failure;
use vserver_model::Layout;

/// One guest's configuration directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GuestDir {
    /// The directory's own name.
    pub name: OsString,
    /// The directory, absolute.
    pub dir: PathBuf,
}

/// The directory of the guests could not be listed.
#[derive(Debug, thiserror::Error)]
#[error("cannot list the guests in {}", dir.display())]
pub struct ListError {
    dir: PathBuf,
    #[source]
    source: io::Error,
}

impl GuestDir {
    /// The guest whose configuration directory is `dir`.
    pub fn at(dir: PathBuf) -> Self {
        Self { name: dir.file_name().unwrap_or(OsStr::new("/")).to_owned(), dir }
    }

    /// What `vserver-stat` and the messages call it: the file `name` (its first 1023 bytes without newlines at the
    /// end), else the directory's name.
    pub fn display_name(&self) -> OsString {
        match fs::read(self.dir.join("name")) {
            Ok(mut bytes) => {
                bytes.truncate(1023);
                while bytes.last() == Some(&b'\n') {
                    bytes.pop();
                }
                if bytes.is_empty() { self.name.clone() } else { OsString::from_vec(bytes) }
            }
            Err(_) => self.name.clone(),
        }
    }

    /// The name for a message.
    pub fn shown(&self) -> String {
        self.name.to_string_lossy().into_owned()
    }

    /// Whether the file or directory exists below the configuration directory.
    pub fn has(&self, item: &str) -> bool {
        self.dir.join(item).symlink_metadata().is_ok()
    }

    /// The first line of a one-value file, without blanks around it; `None`: absent, unreadable or empty.
    pub fn first_line(&self, item: &str) -> Option<String> {
        let bytes = fs::read(self.dir.join(item)).ok()?;
        let line = bytes.split(|b| *b == b'\n').next()?;
        let line = String::from_utf8_lossy(line).trim().to_owned();
        (!line.is_empty()).then_some(line)
    }
}

/// The guest that `typed` names: a path that starts with `/`, `./` or `../`, else a name below the configuration
/// directory. `None`: no such guest.
///
/// A relative path counts from where the outermost command was started (`INIT_CWD`).
pub fn find(layout: &Layout, typed: &OsStr) -> Option<GuestDir> {
    let bytes = typed.as_bytes();
    if bytes.is_empty() {
        return None;
    }
    let has_vdir =
        |dir: &Path| dir.join("vdir").symlink_metadata().is_ok_and(|m| m.is_dir() || m.is_symlink());
    if [&b"/"[..], b"./", b"../"].iter().any(|start| bytes.starts_with(start)) {
        let start =
            std::env::var_os("INIT_CWD").map(PathBuf::from).or_else(|| std::env::current_dir().ok())?;
        let dir = start.join(typed);
        if has_vdir(&dir) {
            return Some(GuestDir::at(fs::canonicalize(&dir).unwrap_or(dir)));
        }
    }
    // A name is one component: `web1/../../x` must not lead out of the directory of the guests.
    let name = Path::new(typed);
    if name.components().count() != 1 || bytes.starts_with(b".") || bytes.contains(&b'/') {
        return None;
    }
    let dir = layout.confdir.join(name);
    dir.is_dir().then(|| GuestDir::at(dir))
}

/// Every guest below the configuration directory in byte order; one without `vdir` is no guest yet. No directory
/// at all: no guests.
pub fn all(layout: &Layout) -> Result<Vec<GuestDir>, ListError> {
    let base = layout.confdir.clone();
    let fail = |source| ListError { dir: base.clone(), source };
    let entries = match fs::read_dir(&base) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(fail(error)),
    };
    let mut guests = Vec::new();
    for entry in entries {
        let name = entry.map_err(fail)?.file_name();
        if name.as_bytes().starts_with(b".") {
            continue;
        }
        let guest = GuestDir::at(base.join(name));
        if guest.has("vdir") {
            guests.push(guest);
        }
    }
    guests.sort();
    Ok(guests)
}

/// The failure when `find` found nothing, with the nearest name there is.
pub fn not_found(layout: &Layout, typed: &OsStr) -> Failure {
    let text = format!("no guest named \"{}\"", typed.display());
    let failure = Failure::plain(text);
    match nearest(layout, typed) {
        Some(name) => failure.hint(format!("did you mean \"{}\"?", name.display())),
        None => failure,
    }
}

/// The guest whose name differs from `typed` by at most two edits.
pub fn nearest(layout: &Layout, typed: &OsStr) -> Option<OsString> {
    let guests = all(layout).ok()?;
    let far = |guest: &GuestDir| distance(guest.name.as_bytes(), typed.as_bytes());
    guests
        .iter()
        .map(|guest| (far(guest), guest))
        .filter(|(far, _)| *far <= 2)
        .min()
        .map(|(_, g)| g.name.clone())
}

/// How many bytes must be put in, taken out or changed to make `a` of `b`.
fn distance(a: &[u8], b: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let change = corner + usize::from(x != y);
            corner = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(corner + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_edits() {
        assert_eq!(distance(b"web1", b"web1"), 0);
        assert_eq!(distance(b"web1", b"web"), 1);
        assert_eq!(distance(b"wbe1", b"web1"), 2);
        assert_eq!(distance(b"", b"abc"), 3);
    }
}
