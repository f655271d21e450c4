//! Removing a whole tree with one descriptor at a time, so that neither depth nor length of paths matters.

use std::ffi::{OsStr, OsString};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, ResolveFlags};
use rustix::io::Errno;

use super::{Entry, FileKind, real_name};
use crate::{Blame, Fault, Result};

/// What happens to names that are no directories.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leaves {
    /// They are removed.
    Remove,
    /// They belong to the filesystem and go with their directory, as in a cgroup.
    Ignore,
}

/// The names in a directory that is open for reading.
pub(super) fn list(dir: BorrowedFd<'_>) -> Result<Vec<Entry>, Errno> {
    rustix::fs::seek(dir, rustix::fs::SeekFrom::Start(0))?;
    let mut space = [MaybeUninit::uninit(); 16 * 1024];
    let mut raw = RawDir::new(dir, &mut space);
    let mut entries = Vec::new();
    while let Some(entry) = raw.next() {
        let entry = entry?;
        let Some(name) = real_name(entry.file_name().to_bytes()) else { continue };
        let kind = match FileKind::of(entry.file_type()) {
            Some(kind) => kind,
            // Some filesystems do not say.
            None => match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => FileKind::of(FileType::from_raw_mode(stat.st_mode)).ok_or(Errno::INVAL)?,
                Err(Errno::NOENT) => continue,
                Err(errno) => return Err(errno),
            },
        };
        entries.push(Entry { name: name.to_owned(), kind });
    }
    Ok(entries)
}

/// A directory that is being emptied.
struct Level {
    /// Its name in the directory above.
    name: OsString,
    /// Device and inode, to know it again when coming back up.
    identity: (u64, u64),
    /// Directories in it that are still to be emptied.
    pending: Vec<OsString>,
    /// How often it was found not to be empty after all.
    refilled: u8,
}

/// Removes `name` in `base` with all below it; `shown` is for error texts.
///
/// Goes down and up with the descriptor of the current directory alone. Coming up, `..` must be the directory that
/// was left: a tree that is moved meanwhile cannot lead the removal elsewhere.
pub(crate) fn remove(base: BorrowedFd<'_>, name: &OsStr, leaves: Leaves, shown: &Path) -> Result<()> {
    let mut levels: Vec<Level> = Vec::new();
    let mut walk = Walk { base, leaves, current: None };
    let object = |levels: &[Level], name: Option<&OsStr>| {
        // A tree can be deeper than any error text wants to be.
        let below = levels.iter().skip(1).take(16).map(|level| level.name.as_os_str());
        let path = below.chain(name).fold(shown.to_owned(), |path, part| path.join(part));
        path.display().to_string()
    };
    if !walk.enter(name, &mut levels).blame_with("openat2(2)", || shown.display().to_string())? {
        return walk.unlink(name).blame_with("unlinkat(2)", || shown.display().to_string());
    }
    while let Some(level) = levels.last_mut() {
        if let Some(child) = level.pending.pop() {
            let entered = match walk.enter(&child, &mut levels) {
                Ok(true) | Err(Errno::NOENT) => Ok(()),
                Ok(false) => walk.unlink(&child),
                Err(errno) => Err(errno),
            };
            entered.blame_with("openat2(2)", || object(&levels, Some(&child)))?;
            continue;
        }
        let Some(done) = levels.pop() else { break };
        walk.leave(levels.last()).blame_with("openat(2) ..", || object(&levels, Some(&done.name)))?;
        match walk.rmdir(&done.name) {
            Ok(()) | Err(Errno::NOENT) => {}
            // Somebody put something into it meanwhile: once more, but not for ever.
            Err(Errno::NOTEMPTY | Errno::BUSY | Errno::EXIST) if done.refilled < 50 => {
                if leaves == Leaves::Ignore {
                    std::thread::sleep(std::time::Duration::from_millis(u64::from(done.refilled)));
                }
                match walk.enter(&done.name, &mut levels) {
                    Ok(_) | Err(Errno::NOENT) => {}
                    Err(errno) => {
                        return Err(Fault::new("openat2(2)", object(&levels, Some(&done.name)), errno));
                    }
                }
                if let Some(again) = levels.last_mut().filter(|level| level.identity == done.identity) {
                    again.refilled = done.refilled + 1;
                }
            }
            Err(errno) => return Err(Fault::new("rmdir(2)", object(&levels, Some(&done.name)), errno)),
        }
    }
    Ok(())
}

struct Walk<'base> {
    base: BorrowedFd<'base>,
    leaves: Leaves,
    /// The directory that is being emptied; `None` is the base.
    current: Option<OwnedFd>,
}

impl Walk<'_> {
    fn here(&self) -> BorrowedFd<'_> {
        self.current.as_ref().map_or(self.base, |dir| dir.as_fd())
    }

    /// Goes into the directory `name`, removes what is no directory in it and notes the rest. `Ok(false)`: it is no
    /// directory. `EXDEV`: something is mounted there.
    fn enter(&mut self, name: &OsStr, levels: &mut Vec<Level>) -> Result<bool, Errno> {
        let flags =
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS;
        let dir = match rustix::fs::openat2(self.here(), name, flags, Mode::empty(), resolve) {
            Ok(dir) => dir,
            Err(Errno::NOTDIR | Errno::LOOP) => return Ok(false),
            Err(errno) => return Err(errno),
        };
        let stat = rustix::fs::fstat(&dir)?;
        let entries = list(dir.as_fd())?;
        self.current = Some(dir);
        let mut pending = Vec::new();
        for entry in entries {
            if entry.kind == FileKind::Directory {
                pending.push(entry.name);
            } else if self.leaves == Leaves::Remove {
                match self.unlink(&entry.name) {
                    Ok(()) | Err(Errno::NOENT) => {}
                    Err(Errno::ISDIR) => pending.push(entry.name),
                    Err(errno) => return Err(errno),
                }
            }
        }
        levels.push(Level {
            name: name.to_owned(),
            identity: (stat.st_dev, stat.st_ino),
            pending,
            refilled: 0,
        });
        Ok(true)
    }

    /// Goes up to `above`. `ESTALE`: that is not where this directory is any more.
    fn leave(&mut self, above: Option<&Level>) -> Result<(), Errno> {
        let Some(above) = above else {
            self.current = None;
            return Ok(());
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let parent = rustix::fs::openat(self.here(), c"..", flags, Mode::empty())?;
        let stat = rustix::fs::fstat(&parent)?;
        if (stat.st_dev, stat.st_ino) != above.identity {
            return Err(Errno::STALE);
        }
        self.current = Some(parent);
        Ok(())
    }

    fn unlink(&self, name: &OsStr) -> Result<(), Errno> {
        rustix::fs::unlinkat(self.here(), name, AtFlags::empty())
    }

    fn rmdir(&self, name: &OsStr) -> Result<(), Errno> {
        rustix::fs::unlinkat(self.here(), name, AtFlags::REMOVEDIR)
    }
}
