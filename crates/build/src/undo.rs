//! Taking back what a build made, and nothing else.

use std::path::{Path, PathBuf};

use rustix::mount::UnmountFlags;
use vserver_tree::Root;

/// Something that a build made.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Deed {
    /// A directory or file that was not there before.
    Made(PathBuf),
    /// A directory that was there, empty but for `lost+found`: its new content goes, the directory stays.
    Filled(PathBuf),
}

/// What a build has made so far. Dropped without [`keep`](Self::keep) it takes everything back.
#[derive(Debug, Default)]
pub struct Undo(Vec<Deed>);

/// What became of the clean-up.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct TakenBack {
    /// Removed.
    pub removed: Vec<PathBuf>,
    /// Not removed, and why.
    pub left: Vec<(PathBuf, String)>,
}

impl Undo {
    /// A path was created by us. Call it right after the deed.
    pub fn made(&mut self, path: impl Into<PathBuf>) {
        self.0.push(Deed::Made(path.into()));
    }

    /// An existing empty directory is being filled by us.
    pub fn filled(&mut self, path: impl Into<PathBuf>) {
        self.0.push(Deed::Filled(path.into()));
    }

    /// Everything noted so far, oldest first.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.0.iter().map(|deed| match deed {
            Deed::Made(path) | Deed::Filled(path) => path.as_path(),
        })
    }

    /// The build stands.
    pub fn keep(mut self) {
        self.0.clear();
    }

    /// Newest first and past failures: unmounts what is mounted below, and removes.
    pub fn take_back(&mut self) -> TakenBack {
        let mut report = TakenBack::default();
        for deed in self.0.drain(..).rev() {
            let (path, result) = match deed {
                Deed::Made(path) => {
                    let result = unmount_below(&path).and_then(|()| vserver_tree::remove::remove_tree(&path));
                    (path, result)
                }
                Deed::Filled(path) => {
                    let result = unmount_below(&path).and_then(|()| empty(&path));
                    (path, result)
                }
            };
            match result {
                Ok(()) => report.removed.push(path),
                Err(error) => {
                    let why = std::error::Error::source(&error).map_or_else(String::new, ToString::to_string);
                    report.left.push((path, format!("{error}: {why}")));
                }
            }
        }
        report
    }
}

impl Drop for Undo {
    fn drop(&mut self) {
        drop(self.take_back());
    }
}

fn empty(path: &Path) -> vserver_tree::Result<()> {
    let root = Root::open(path)?;
    for name in root.entries("")? {
        if name != "lost+found" {
            root.remove_tree(&name)?;
        }
    }
    Ok(())
}

/// Unmounts everything below a directory in this mount namespace, deepest first: a clean-up must not walk into a
/// bind mount of the host.
fn unmount_below(path: &Path) -> vserver_tree::Result<()> {
    // The kernel lists mounts by their resolved path.
    let Ok(path) = path.canonicalize() else { return Ok(()) };
    let table = std::fs::read("/proc/self/mountinfo")
        .map_err(|e| vserver_tree::TreeError::new("read", "/proc/self/mountinfo", e))?;
    let mut below: Vec<PathBuf> =
        mount_points(&table).filter(|point| *point != path && point.starts_with(&path)).collect();
    below.reverse();
    for point in below {
        rustix::mount::unmount(&point, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)
            .map_err(|e| vserver_tree::TreeError::new("unmount", &point, e))?;
    }
    Ok(())
}

/// The fifth field of each line of mountinfo, with its octal escapes undone, in the order of mounting.
fn mount_points(table: &[u8]) -> impl Iterator<Item = PathBuf> {
    use std::os::unix::ffi::OsStringExt as _;
    table.split(|byte| *byte == b'\n').filter_map(|line| {
        let field = line.split(|byte| *byte == b' ').nth(4)?;
        let mut path = Vec::with_capacity(field.len());
        let mut rest = field;
        while let Some((&first, tail)) = rest.split_first() {
            let digits = tail.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
            match digits.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
                Some(byte) if first == b'\\' => {
                    path.push(byte);
                    rest = &tail[3..];
                }
                _ => {
                    path.push(first);
                    rest = tail;
                }
            }
        }
        Some(PathBuf::from(std::ffi::OsString::from_vec(path)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removes_what_was_made_and_keeps_what_was_there() {
        let dir = tempfile::tempdir().unwrap();
        let (made, filled) = (dir.path().join("made"), dir.path().join("filled"));
        std::fs::create_dir_all(made.join("a/b")).unwrap();
        std::fs::create_dir_all(filled.join("lost+found")).unwrap();
        std::fs::write(filled.join("new"), "").unwrap();
        let mut undo = Undo::default();
        undo.made(&made);
        undo.filled(&filled);
        let report = undo.take_back();
        assert_eq!(report.removed, [filled.clone(), made.clone()]);
        assert!(report.left.is_empty());
        assert!(!made.exists());
        assert_eq!(std::fs::read_dir(&filled).unwrap().count(), 1);
    }

    #[test]
    fn reads_mount_points() {
        let table = b"36 35 98:0 / /a\\040b rw - ext4 /dev/x rw\n37 36 0:1 / /a\\040b/c rw - proc proc rw\n";
        let points: Vec<_> = mount_points(table).collect();
        assert_eq!(points, [Path::new("/a b"), Path::new("/a b/c")]);
    }
}
