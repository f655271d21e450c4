//! The entries of /proc that are not processes: what a guest may see of them is policy, which of them exist is a
//! fact of this kernel.

use std::ffi::CString;
use std::mem::MaybeUninit;
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, RawDir};
use serde::{Deserialize, Serialize};

use crate::HostError;

/// What is in /proc besides processes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcTree {
    /// Entries of /proc itself.
    pub top: Vec<ProcEntry>,
    /// Entries of those sub-directories that policies and masks reach into, as (directory below /proc, entries).
    pub below: Vec<(String, Vec<ProcEntry>)>,
}

/// One entry of a directory in /proc.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcEntry {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: EntryKind,
}

/// What an entry of /proc is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EntryKind {
    /// A file: masked by a file.
    File,
    /// A directory: masked by a directory.
    Directory,
    /// A symbolic link (`self`, `mounts`, `net`): cannot be mounted over.
    Link,
}

/// Sub-directories that the visible-files policy names or that masks reach into.
const BELOW: [&str; 7] = ["self/net", "sys", "fs", "bus", "driver", "tty", "sysvipc"];

impl ProcTree {
    pub(crate) fn read() -> Result<Self, HostError> {
        let top = list(Path::new("/proc"))?;
        let exists = |dir: &str| dir == "self/net" || top.iter().any(|entry| entry.name == dir);
        let mut below = Vec::new();
        for dir in BELOW.into_iter().filter(|dir| exists(dir)) {
            // Unreadable for this user is the same as empty: the planner then knows nothing to unmask there.
            below.push((dir.to_owned(), list(&Path::new("/proc").join(dir)).unwrap_or_default()));
        }
        Ok(Self { top, below })
    }

    /// The entry at `path` below /proc (`kcore`, `sys/kernel`), if this kernel has it and it is in this listing.
    pub fn entry(&self, path: &str) -> Option<&ProcEntry> {
        let (entries, name) = match path.rsplit_once('/') {
            None => (&self.top, path),
            Some((dir, name)) => (self.entries(dir)?, name),
        };
        entries.iter().find(|entry| entry.name == name)
    }

    /// The entries of directory `dir` below /proc, if it is in this listing.
    pub fn entries(&self, dir: &str) -> Option<&Vec<ProcEntry>> {
        self.below.iter().find(|(name, _)| name == dir).map(|(_, entries)| entries)
    }
}

/// The names in a directory of /proc, unsorted.
pub(crate) fn names(dir: &Path) -> Result<Vec<CString>, HostError> {
    let mut found = Vec::new();
    each(dir, |name, _| found.push(name))?;
    Ok(found)
}

fn list(dir: &Path) -> Result<Vec<ProcEntry>, HostError> {
    let mut found = Vec::new();
    each(dir, |name, file_type| {
        let kind = match file_type {
            FileType::Directory => EntryKind::Directory,
            FileType::Symlink => EntryKind::Link,
            _ => EntryKind::File,
        };
        // Names in procfs come from kernel source; one that is not UTF-8 could not be named in a policy either.
        if let Ok(name) = name.into_string() {
            found.push(ProcEntry { name, kind });
        }
    })?;
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// Calls `found` for every entry. procfs gives the processes after everything else, so a small buffer and a stop at
/// the first number keep /proc of a host with thousands of processes as cheap as an empty one.
fn each(dir: &Path, mut found: impl FnMut(CString, FileType)) -> Result<(), HostError> {
    let failed = |errno: rustix::io::Errno| HostError::Read { path: dir.to_owned(), source: errno.into() };
    let fd = rustix::fs::open(dir, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(failed)?;
    let mut buffer = [MaybeUninit::uninit(); 2048];
    let mut entries = RawDir::new(fd, &mut buffer);
    while let Some(entry) = entries.next() {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        match name.to_bytes() {
            b"." | b".." => {}
            [b'0'..=b'9', ..] => break,
            _ => found(name.to_owned(), entry.file_type()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_found_by_their_path() {
        let tree = ProcTree::read().unwrap();
        assert_eq!(tree.entry("uptime").unwrap().kind, EntryKind::File);
        assert_eq!(tree.entry("sys").unwrap().kind, EntryKind::Directory);
        assert_eq!(tree.entry("sys/kernel").unwrap().kind, EntryKind::Directory);
        assert_eq!(tree.entry("net").unwrap().kind, EntryKind::Link);
        assert_eq!(tree.entry("1"), None);
        assert_eq!(tree.entry("nothing/here"), None);
    }

    #[test]
    fn every_entry_that_is_no_process_is_found() {
        let mut expected: Vec<String> = std::fs::read_dir("/proc")
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| !name.starts_with(|c: char| c.is_ascii_digit()))
            .collect();
        expected.sort();
        let found: Vec<String> = ProcTree::read().unwrap().top.into_iter().map(|entry| entry.name).collect();
        assert_eq!(found, expected);
    }
}
