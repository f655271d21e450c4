//! Single files and directories below a root that a guest may have prepared against us.
//!
//! All directories on the way are resolved with `openat2(2)` and `RESOLVE_IN_ROOT`: a symbolic link, absolute or with
//! `..`, leads where it would lead inside the guest and never out of it. The last component is never followed when
//! something is written, made or removed; [`Root::read`] follows it, in the same confined way.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, ResolveFlags, Stat, Uid};
use rustix::io::Errno;

use crate::{Blame as _, Result, TreeError};

/// How a name below a root is resolved: links as the guest sees them, nothing of procfs's magic.
const CONFINED: ResolveFlags = ResolveFlags::IN_ROOT.union(ResolveFlags::NO_MAGICLINKS);

/// A directory that everything stays below.
#[derive(Debug)]
pub struct Root {
    fd: OwnedFd,
    path: PathBuf,
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Root {
    /// Opens the directory at a path of the host, links followed: the path is the administrator's.
    ///
    /// # Errors
    /// It is missing, or not a directory.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(CWD, &path, flags, Mode::empty()).blame("open the directory", &path)?;
        Ok(Self { fd, path })
    }

    /// The path it was opened by, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of something below, for messages.
    pub fn shown(&self, path: impl AsRef<Path>) -> PathBuf {
        self.path.join(path.as_ref().strip_prefix("/").unwrap_or(path.as_ref()))
    }

    /// One resolution below the root. The kernel gives up with `EAGAIN` when a rename anywhere on the machine might
    /// have moved a `..` under its feet (openat2(2)): the next try is as good as the first.
    fn look(&self, path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        for _ in 0..1000 {
            match rustix::fs::openat2(&self.fd, non_empty(path), flags, Mode::empty(), CONFINED) {
                Err(Errno::AGAIN | Errno::INTR) => {}
                answer => return answer,
            }
        }
        Err(Errno::AGAIN)
    }

    /// Opens a directory below.
    ///
    /// # Errors
    /// It is missing, or not a directory.
    pub fn directory(&self, path: impl AsRef<Path>) -> Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        self.look(path.as_ref(), flags).blame("open the directory", self.shown(&path))
    }

    /// Opens the directory that holds `path`, and gives the last component.
    ///
    /// # Errors
    /// The directory is missing, or `path` has no last component to speak of (`/`, `..`): `EINVAL`.
    pub fn parent<'p>(&self, path: &'p Path) -> Result<(OwnedFd, &'p OsStr)> {
        let Some(Component::Normal(name)) = path.components().next_back() else {
            return Err(TreeError::new("open", self.shown(path), Errno::INVAL));
        };
        Ok((self.directory(path.parent().unwrap_or(Path::new("")))?, name))
    }

    /// What stands at a path, its last component not followed; `None` when nothing does.
    ///
    /// # Errors
    /// Anything but "there is no such file".
    pub fn stat(&self, path: impl AsRef<Path>) -> Result<Option<Stat>> {
        let path = path.as_ref();
        let found = self.parent(path).and_then(|(dir, name)| {
            rustix::fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW).blame("examine", self.shown(path))
        });
        found.map(Some).or_else(absent)
    }

    /// Whether a regular file stands at a path, links followed below the root.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn is_file(&self, path: impl AsRef<Path>) -> Result<bool> {
        Ok(self.open_regular(path.as_ref())?.is_some())
    }

    /// Whether a directory stands at a path, links followed below the root.
    pub fn is_directory(&self, path: impl AsRef<Path>) -> bool {
        self.directory(path).is_ok()
    }

    fn open_regular(&self, path: &Path) -> Result<Option<File>> {
        // NONBLOCK: a fifo in place of the file must not hold us up. (A device is opened, but never read.)
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let opened = self.look(path, flags).blame("open", self.shown(path));
        let file = match opened {
            Ok(fd) => File::from(fd),
            Err(error) => return absent(error),
        };
        let stat = rustix::fs::fstat(&file).blame("examine", self.shown(path))?;
        Ok((FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile).then_some(file))
    }

    /// A regular file's content, links followed below the root; `None` when there is no regular file.
    ///
    /// # Errors
    /// It cannot be read, or is longer than `limit` bytes (`EFBIG`): a guest could put a huge file there.
    pub fn read(&self, path: impl AsRef<Path>, limit: u64) -> Result<Option<Vec<u8>>> {
        let path = path.as_ref();
        let Some(file) = self.open_regular(path)? else { return Ok(None) };
        let mut content = Vec::new();
        let length = file.take(limit + 1).read_to_end(&mut content).blame("read", self.shown(path))?;
        if length as u64 > limit {
            return Err(TreeError::new("read", self.shown(path), Errno::FBIG));
        }
        Ok(Some(content))
    }

    /// Writes a file whole: a new file takes the old one's name in one step, its owner and mode kept when it was a
    /// regular file, else root's with `mode`. A symbolic link there is replaced, not followed.
    ///
    /// # Errors
    /// The directory is missing, or any write fails; the old file then still stands.
    pub fn replace(&self, path: impl AsRef<Path>, content: &[u8], mode: Mode) -> Result<()> {
        let path = path.as_ref();
        let shown = self.shown(path);
        let (dir, name) = self.parent(path)?;
        let old = match rustix::fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) if FileType::from_raw_mode(found.st_mode) == FileType::RegularFile => Some(found),
            Ok(_) | Err(Errno::NOENT) => None,
            Err(errno) => return Err(TreeError::new("examine", shown, errno)),
        };
        let (temporary, mut file) = create_beside(&dir, name).blame("create", &shown)?;
        let finished = (|| -> std::io::Result<()> {
            file.write_all(content)?;
            if let Some(old) = &old {
                rustix::fs::fchown(&file, Some(Uid::from_raw(old.st_uid)), Some(Gid::from_raw(old.st_gid)))?;
            }
            rustix::fs::fchmod(&file, old.map_or(mode, |old| Mode::from_raw_mode(old.st_mode)))?;
            Ok(rustix::fs::renameat(&dir, &temporary, &dir, name)?)
        })();
        finished.map_err(|error| {
            // The old file stands either way, and the write's error is the one to tell.
            rustix::fs::unlinkat(&dir, &temporary, AtFlags::empty()).ok();
            TreeError::new("write", shown, error)
        })
    }

    /// Makes one directory; `false` when a directory is there already (its mode is left alone).
    ///
    /// # Errors
    /// Something else is there (`EEXIST`), or its parent is missing.
    pub fn make_directory(&self, path: impl AsRef<Path>, mode: Mode) -> Result<bool> {
        let path = path.as_ref();
        let (dir, name) = self.parent(path)?;
        match rustix::fs::mkdirat(&dir, name, mode) {
            Ok(()) => {
                // The caller's umask has had a say in mkdirat(2).
                let new = open_directory_at(&dir, name).blame("open the directory", self.shown(path))?;
                rustix::fs::fchmod(&new, mode).blame("set the mode of", self.shown(path))?;
                Ok(true)
            }
            Err(Errno::EXIST) if self.is_directory(path) => Ok(false),
            Err(errno) => Err(TreeError::new("create the directory", self.shown(path), errno)),
        }
    }

    /// Makes a directory and all that are missing above it.
    ///
    /// # Errors
    /// As [`make_directory`](Self::make_directory).
    pub fn make_directories(&self, path: impl AsRef<Path>, mode: Mode) -> Result<()> {
        let mut so_far = PathBuf::new();
        for component in path.as_ref().components() {
            if let Component::Normal(name) = component {
                so_far.push(name);
                self.make_directory(&so_far, mode)?;
            }
        }
        Ok(())
    }

    /// Makes a symbolic link; whatever was there, except a directory, is replaced.
    ///
    /// # Errors
    /// A directory is there, or the link's directory is missing.
    pub fn symlink(&self, target: impl AsRef<Path>, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        self.remove_file(path)?;
        let (dir, name) = self.parent(path)?;
        rustix::fs::symlinkat(target.as_ref(), &dir, name).blame("create the link", self.shown(path))
    }

    /// Removes a file of any kind but a directory; `false` when there was none.
    ///
    /// # Errors
    /// It is a directory, or the filesystem refuses.
    pub fn remove_file(&self, path: impl AsRef<Path>) -> Result<bool> {
        let path = path.as_ref();
        let removed = self.parent(path).and_then(|(dir, name)| {
            rustix::fs::unlinkat(&dir, name, AtFlags::empty()).blame("remove", self.shown(path))
        });
        removed.map(|()| Some(true)).or_else(absent).map(|removed| removed.unwrap_or(false))
    }

    /// Renames below the root, replacing a file at the new name.
    ///
    /// # Errors
    /// As `renameat(2)`.
    pub fn rename(&self, from: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<()> {
        let (old_dir, old) = self.parent(from.as_ref())?;
        let (new_dir, new) = self.parent(to.as_ref())?;
        rustix::fs::renameat(&old_dir, old, &new_dir, new).blame("rename", self.shown(&from))
    }

    /// The target of a symbolic link; `None` when no link stands there.
    ///
    /// # Errors
    /// Anything but "there is no such link".
    pub fn link_target(&self, path: impl AsRef<Path>) -> Result<Option<PathBuf>> {
        let path = path.as_ref();
        let (dir, name) = match self.parent(path) {
            Ok(found) => found,
            Err(error) => return absent(error),
        };
        match rustix::fs::readlinkat(&dir, name, Vec::new()) {
            Ok(target) => Ok(Some(PathBuf::from(OsStr::from_bytes(target.as_bytes())))),
            Err(Errno::NOENT | Errno::INVAL) => Ok(None),
            Err(errno) => Err(TreeError::new("read the link", self.shown(path), errno)),
        }
    }

    /// The names in a directory in byte order, without `.` and `..`; none when there is no such directory.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn entries(&self, path: impl AsRef<Path>) -> Result<Vec<OsString>> {
        match self.directory(&path) {
            Ok(dir) => names_in(&dir).blame("list", self.shown(&path)),
            Err(error) if error.is(Errno::NOTDIR) => Ok(Vec::new()),
            Err(error) => absent(error).map(Option::unwrap_or_default),
        }
    }

    /// Removes what stands at a path with all below it; see [`crate::remove`].
    ///
    /// # Errors
    /// See [`crate::remove::remove_at`].
    pub fn remove_tree(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        match self.parent(path) {
            Ok((dir, name)) => crate::remove::remove_at(dir.as_fd(), name, &self.shown(path)),
            Err(error) => absent::<()>(error).map(drop),
        }
    }
}

/// The names in an open directory in byte order.
pub(crate) fn names_in(dir: impl AsFd) -> std::io::Result<Vec<OsString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        let name = entry?;
        let name = name.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(OsStr::from_bytes(name).to_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// Opens a directory by one name, not following a link.
pub(crate) fn open_directory_at(dir: impl AsFd, name: &OsStr) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(dir, name, flags, Mode::empty())
}

/// Creates a file of a name that was not there, for a rename to `name`.
fn create_beside(dir: &OwnedFd, name: &OsStr) -> std::io::Result<(OsString, File)> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    for attempt in 0_u32.. {
        // The name may have the maximal length, so it is not part of the temporary one.
        let temporary = OsString::from(format!(".vserver-new.{}.{attempt}", std::process::id()));
        match rustix::fs::openat(dir, &temporary, flags, Mode::from_raw_mode(0o600)) {
            Ok(fd) => return Ok((temporary, File::from(fd))),
            Err(Errno::EXIST) if attempt < 1000 => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    unreachable!("the loop returns within 1000 attempts for {}", name.display())
}

/// A missing file (or a missing directory on the way, or a file in a directory's place) is no error.
fn absent<T>(error: TreeError) -> Result<Option<T>> {
    if error.is(Errno::NOENT) || error.is(Errno::NOTDIR) || error.is(Errno::LOOP) {
        Ok(None)
    } else {
        Err(error)
    }
}

/// `openat2(2)` wants a name; the root itself is `.`.
fn non_empty(path: &Path) -> &Path {
    if path.as_os_str().is_empty() { Path::new(".") } else { path }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    const MODE: Mode = Mode::from_raw_mode(0o644);

    #[test]
    fn links_lead_nowhere_outside() {
        let dir = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("secret"), "host").unwrap();
        let root = Root::open(dir.path()).unwrap();
        symlink(outside.path(), dir.path().join("etc")).unwrap();
        symlink("../../../../../../etc/passwd", dir.path().join("up")).unwrap();
        symlink(outside.path().join("secret"), dir.path().join("file")).unwrap();

        assert!(root.read("etc/secret", 100).unwrap().is_none());
        assert!(root.read("file", 100).unwrap().is_none());
        assert!(root.read("up", 100).unwrap().is_none());
        assert!(root.replace("etc/new", b"x", MODE).is_err());
        root.replace("file", b"guest", MODE).unwrap();
        assert_eq!(root.read("file", 100).unwrap().unwrap(), b"guest");
        assert_eq!(std::fs::read(outside.path().join("secret")).unwrap(), b"host");
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 1);
    }

    #[test]
    fn an_absolute_link_stays_in_the_root() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        root.make_directories("run/lock", Mode::from_raw_mode(0o755)).unwrap();
        root.make_directory("var", Mode::from_raw_mode(0o755)).unwrap();
        root.symlink("/run", "var/run").unwrap();
        root.replace("var/run/lock/x", b"1", MODE).unwrap();
        assert_eq!(root.read("/run/lock/x", 10).unwrap().unwrap(), b"1");
        assert_eq!(root.link_target("var/run").unwrap().unwrap(), Path::new("/run"));
        assert_eq!(root.entries("run").unwrap(), ["lock"]);
        assert!(root.entries("none").unwrap().is_empty());
        assert!(root.read("run/lock/x", 0).is_err());
    }

    #[test]
    fn a_fifo_does_not_hold_us_up() {
        let dir = tempfile::tempdir().unwrap();
        rustix::fs::mknodat(CWD, dir.path().join("fifo"), FileType::Fifo, MODE, 0).unwrap();
        assert!(Root::open(dir.path()).unwrap().read("fifo", 10).unwrap().is_none());
    }

    #[test]
    fn replacing_keeps_the_mode() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        root.replace("a", b"1", Mode::from_raw_mode(0o4755)).unwrap();
        root.replace("a", b"2", MODE).unwrap();
        assert_eq!(root.stat("a").unwrap().unwrap().st_mode & 0o7777, 0o4755);
        assert_eq!(root.entries("").unwrap(), ["a"]);
    }
}
