//! Removing a whole tree, however deep, without following a link and without leaving its filesystem.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::beneath::{names_in, open_directory_at};
use crate::{Blame as _, Result, TreeError};

/// A directory that we went down into.
struct Level {
    /// Its name in the one above.
    name: OsString,
    /// What is left in it.
    names: Vec<OsString>,
    /// Its device and inode, to know it again on the way up.
    identity: (u64, u64),
}

/// Removes `name` in `dir` with all below it. Nothing there is fine. `shown` is its path for messages.
///
/// Two descriptors are enough for any depth: the way up is `..`, and checked to be the directory we came from.
///
/// # Errors
/// A file cannot be removed, something is mounted below (`EXDEV` or `EBUSY`; nothing behind it is touched), or
/// somebody moved a directory meanwhile (`ESTALE`).
pub fn remove_at(dir: BorrowedFd<'_>, name: &OsStr, shown: &Path) -> Result<()> {
    match unlink(dir, name) {
        Ok(Unlinked::Gone) => return Ok(()),
        Ok(Unlinked::IsDirectory) => {}
        Err(errno) => return Err(TreeError::new("remove", shown, errno)),
    }
    let mut current = open_directory_at(dir, name).blame("open the directory", shown)?;
    let stat = rustix::fs::fstat(&current).blame("examine", shown)?;
    let device = stat.st_dev;
    let mut levels = vec![level(name, &current, &stat, shown)?];
    while let Some(top) = levels.last_mut() {
        let Some(next) = top.names.pop() else {
            let done = std::mem::take(&mut top.name);
            levels.pop();
            let Some(above) = levels.last() else {
                drop(current);
                return rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR).blame("remove", shown);
            };
            current = up(&current, above.identity, shown)?;
            rustix::fs::unlinkat(&current, &done, AtFlags::REMOVEDIR)
                .blame("remove", path_of(shown, &levels, &done))?;
            continue;
        };
        match unlink(current.as_fd(), &next) {
            Ok(Unlinked::Gone) => {}
            Ok(Unlinked::IsDirectory) => {
                let path = path_of(shown, &levels, &next);
                let below = open_directory_at(&current, &next).blame("open the directory", &path)?;
                let stat = rustix::fs::fstat(&below).blame("examine", &path)?;
                if stat.st_dev != device {
                    return Err(TreeError::new("remove", path, Errno::XDEV));
                }
                levels.push(level(&next, &below, &stat, &path)?);
                current = below;
            }
            Err(errno) => return Err(TreeError::new("remove", path_of(shown, &levels, &next), errno)),
        }
    }
    Ok(())
}

/// [`remove_at`] for a path of the host whose directories are the administrator's.
///
/// # Errors
/// As [`remove_at`].
pub fn remove_tree(path: &Path) -> Result<()> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(TreeError::new("remove", path, Errno::INVAL));
    };
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    match crate::Root::open(parent) {
        Ok(root) => remove_at(root.as_fd(), name, path),
        Err(error) if error.is(Errno::NOENT) => Ok(()),
        Err(error) => Err(error),
    }
}

enum Unlinked {
    Gone,
    IsDirectory,
}

fn unlink(dir: BorrowedFd<'_>, name: &OsStr) -> rustix::io::Result<Unlinked> {
    match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(Unlinked::Gone),
        Err(Errno::ISDIR) => Ok(Unlinked::IsDirectory),
        Err(errno) => Err(errno),
    }
}

fn level(name: &OsStr, dir: &OwnedFd, stat: &Stat, shown: &Path) -> Result<Level> {
    let names = names_in(dir).blame("list", shown)?;
    Ok(Level { name: name.to_owned(), names, identity: (stat.st_dev, stat.st_ino) })
}

/// The directory above, if it is still the one that we came down from.
fn up(dir: &OwnedFd, identity: (u64, u64), shown: &Path) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let above = rustix::fs::openat(dir, "..", flags, Mode::empty()).blame("go up in", shown)?;
    let stat = rustix::fs::fstat(&above).blame("examine", shown)?;
    if (stat.st_dev, stat.st_ino) == identity {
        Ok(above)
    } else {
        Err(TreeError::new("go up in", shown, Errno::STALE))
    }
}

fn path_of(shown: &Path, levels: &[Level], name: &OsStr) -> PathBuf {
    let mut path = shown.to_owned();
    path.extend(levels.iter().skip(1).map(|level| &level.name));
    path.push(name);
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removes_deep_trees_and_follows_no_link() {
        let dir = tempfile::tempdir().unwrap();
        let keep = dir.path().join("keep");
        std::fs::create_dir(&keep).unwrap();
        std::fs::write(keep.join("file"), "x").unwrap();
        // Deeper than PATH_MAX and than the descriptors that a process may have.
        let top = dir.path().join("top");
        std::fs::create_dir(&top).unwrap();
        let mut fd = crate::Root::open(&top).unwrap().directory("").unwrap();
        for _ in 0..3000 {
            rustix::fs::symlinkat(&keep, &fd, "link").unwrap();
            rustix::fs::mkdirat(&fd, "deep", Mode::from_raw_mode(0o700)).unwrap();
            fd = open_directory_at(&fd, OsStr::new("deep")).unwrap();
        }
        remove_tree(&top).unwrap();
        assert!(!top.exists());
        assert!(keep.join("file").exists());
        remove_tree(&top).unwrap();
        remove_tree(&keep.join("file")).unwrap();
        assert!(!keep.join("file").exists());
    }
}
