//! The table of a guest's first device nodes: `NAME TYPE ARGUMENTS`, one a line.
//!
//! | type | arguments | makes |
//! |---|---|---|
//! | `c`, `b` | major minor mode | a device node |
//! | `d` | mode | a directory |
//! | `f` | mode | an empty file |
//! | `l` | target \[ignored\] | a symbolic link |

use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode};
use vserver_tree::{Root, TreeError};

/// What every guest's `/dev` begins with, when no `devs` file says otherwise: nothing that belongs to the host.
pub const DEFAULT: &str = "\
null c 1 3 666
zero c 1 5 666
full c 1 7 666
random c 1 8 644
urandom c 1 9 644
tty c 5 0 666
ptmx c 5 2 666
fd l /proc/self/fd
stdin l fd/0
stdout l fd/1
stderr l fd/2
shm d 1777
";

/// A line that is no line of a device table.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}:{line}: {reason}: '{text}'", file.display())]
pub struct DevsError {
    /// The table.
    pub file: PathBuf,
    /// The line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub reason: &'static str,
    /// The line itself.
    pub text: String,
}

impl DevsError {
    /// What the administrator can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        Some("write NAME c|b MAJOR MINOR MODE, NAME d|f MODE, or NAME l TARGET")
    }
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DevEntry {
    /// The name below `/dev`, with directories perhaps.
    pub name: PathBuf,
    /// What it is.
    pub kind: DevKind,
}

/// What a line makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DevKind {
    /// A device node.
    Node {
        /// Block, not character.
        block: bool,
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
        /// Permissions.
        mode: u32,
    },
    /// A directory with these permissions.
    Directory(u32),
    /// An empty file with these permissions.
    File(u32),
    /// A link to this.
    Link(PathBuf),
}

/// Reads a table. Blank lines and lines that begin with `#` are skipped.
///
/// # Errors
/// The first wrong line.
pub fn parse(file: &Path, content: &str) -> Result<Vec<DevEntry>, DevsError> {
    let lines = content.lines().enumerate().map(|(at, line)| (at + 1, line.trim()));
    lines
        .filter(|(_, text)| !text.is_empty() && !text.starts_with('#'))
        .map(|(line, text)| {
            let words: Vec<&str> = text.split_whitespace().collect();
            entry(&words).map_err(|reason| DevsError {
                file: file.to_owned(),
                line,
                reason,
                text: text.to_owned(),
            })
        })
        .collect()
}

fn entry(words: &[&str]) -> Result<DevEntry, &'static str> {
    let kind = match words {
        [_, kind @ ("c" | "b"), major, minor, mode] => DevKind::Node {
            block: *kind == "b",
            // The kernel has 12 bits for the major and 20 for the minor number.
            major: major.parse().ok().filter(|n| *n < 1 << 12).ok_or("bad major number")?,
            minor: minor.parse().ok().filter(|n| *n < 1 << 20).ok_or("bad minor number")?,
            mode: permissions(mode)?,
        },
        [_, "d", mode] => DevKind::Directory(permissions(mode)?),
        [_, "f", mode] => DevKind::File(permissions(mode)?),
        [_, "l", target] | [_, "l", target, _] => DevKind::Link(PathBuf::from(target)),
        [_, "c" | "b" | "d" | "f" | "l", ..] => return Err("wrong number of words"),
        [_, _, ..] => return Err("unknown type"),
        _ => return Err("too few words"),
    };
    let name = PathBuf::from(words[0]);
    if name.components().all(|part| matches!(part, std::path::Component::Normal(_))) {
        Ok(DevEntry { name, kind })
    } else {
        Err("a name that does not stay below /dev")
    }
}

fn permissions(word: &str) -> Result<u32, &'static str> {
    u32::from_str_radix(word, 8).ok().filter(|mode| *mode <= 0o7777).ok_or("bad mode")
}

/// Makes the nodes below a guest's `/dev`, which exists; what is there already is replaced, except directories.
///
/// # Errors
/// A node cannot be made.
pub fn make(root: &Root, entries: &[DevEntry]) -> Result<(), TreeError> {
    for entry in entries {
        let path = Path::new("dev").join(&entry.name);
        if let Some(parent) = path.parent() {
            root.make_directories(parent, Mode::from_raw_mode(0o755))?;
        }
        match &entry.kind {
            DevKind::Directory(mode) => {
                root.make_directory(&path, Mode::from_raw_mode(*mode))?;
            }
            DevKind::Link(target) => root.symlink(target, &path)?,
            DevKind::File(mode) => root.replace(&path, b"", Mode::from_raw_mode(*mode))?,
            DevKind::Node { block, major, minor, mode } => {
                root.remove_file(&path)?;
                let (dir, name) = root.parent(&path)?;
                let kind = if *block { FileType::BlockDevice } else { FileType::CharacterDevice };
                let mode = Mode::from_raw_mode(*mode);
                let device = rustix::fs::makedev(*major, *minor);
                rustix::fs::mknodat(&dir, name, kind, mode, device)
                    .map_err(|e| TreeError::new("create the device node", root.shown(&path), e))?;
                // The umask has had a say.
                rustix::fs::chmodat(&dir, name, mode, AtFlags::empty())
                    .map_err(|e| TreeError::new("set the mode of", root.shown(&path), e))?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_default_table() {
        let entries = parse(Path::new("devs"), DEFAULT).unwrap();
        assert_eq!(entries.len(), 12);
        let null = DevKind::Node { block: false, major: 1, minor: 3, mode: 0o666 };
        assert_eq!(entries[0], DevEntry { name: "null".into(), kind: null });
        assert_eq!(entries[11].kind, DevKind::Directory(0o1777));
    }

    #[test]
    fn wrong_lines_are_named() {
        for (line, reason) in [
            ("null c 1 3", "wrong number of words"),
            ("null x 1 3 666", "unknown type"),
            ("null", "too few words"),
            ("../null d 755", "a name that does not stay below /dev"),
            ("/null d 755", "a name that does not stay below /dev"),
            ("x d 888", "bad mode"),
            ("x c 4096 1 666", "bad major number"),
        ] {
            let error = parse(Path::new("/etc/devs"), &format!("# devices\n\n{line}\n")).unwrap_err();
            assert_eq!(error.to_string(), format!("/etc/devs:3: {reason}: '{line}'"));
        }
    }

    proptest! {
        #[test]
        fn no_table_panics_or_leaves_dev(content: String) {
            if let Ok(entries) = parse(Path::new("devs"), &content) {
                for entry in entries {
                    prop_assert!(Path::new("/dev").join(&entry.name).starts_with("/dev"));
                    prop_assert!(!entry.name.to_string_lossy().split('/').any(|part| part == ".."));
                }
            }
        }

        #[test]
        fn no_line_of_words_panics(words in proptest::collection::vec("[cbdfl0-9a-z./]{1,5}", 0..6)) {
            drop(parse(Path::new("devs"), &words.join(" ")));
        }
    }
}
