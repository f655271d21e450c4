//! Files below a directory that belongs to somebody hostile.
//!
//! A guest owns its tree and may turn any name of it into a symbolic link, a fifo or a device at any moment. Every
//! path here is resolved by the kernel inside the [`Root`] (`openat2(2)` with `RESOLVE_IN_ROOT`, Linux 5.6), as if it
//! had been chrooted: an absolute link leads to the root's own directories, `..` stops at the root. What is read or
//! written must be a regular file, and is looked at before it is opened, since opening a device can already do
//! something.

mod tree;

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, ResolveFlags, Stat, Uid};
use rustix::io::Errno;

use crate::{Blame, Fault, Result, described};
pub(crate) use tree::{Leaves, remove as remove_tree_at};

/// How [`Root::open_file`] opens a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// To read; a symbolic link at the end is followed inside the root.
    Read,
    /// To write from the start on, without cutting what is there; a link at the end is `ELOOP`.
    Write,
    /// To write behind the end; a link at the end is `ELOOP`.
    Append,
}

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
}

impl FileKind {
    fn of(kind: FileType) -> Option<Self> {
        Some(match kind {
            FileType::RegularFile => Self::File,
            FileType::Directory => Self::Directory,
            FileType::Symlink => Self::Symlink,
            FileType::Fifo => Self::Fifo,
            FileType::Socket => Self::Socket,
            FileType::CharacterDevice => Self::CharDevice,
            FileType::BlockDevice => Self::BlockDevice,
            FileType::Unknown => return None,
        })
    }

    fn file_type(self) -> FileType {
        match self {
            Self::File => FileType::RegularFile,
            Self::Directory => FileType::Directory,
            Self::Symlink => FileType::Symlink,
            Self::Fifo => FileType::Fifo,
            Self::Socket => FileType::Socket,
            Self::CharDevice => FileType::CharacterDevice,
            Self::BlockDevice => FileType::BlockDevice,
        }
    }
}

/// What is known of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// What it is.
    pub kind: FileKind,
    /// Permission bits, set-uid and sticky ones included.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Length in bytes.
    pub size: u64,
    /// Number of names.
    pub links: u64,
    /// Major and minor number of a device node.
    pub device: (u32, u32),
    /// Filesystem and inode: the file's identity.
    pub identity: (u64, u64),
}

impl Metadata {
    #[cfg_attr(
        target_arch = "x86_64",
        expect(clippy::useless_conversion, reason = "the number of names has 32 bits on other machines")
    )]
    fn of(stat: &Stat) -> Result<Self, Errno> {
        let rdev = stat.st_rdev;
        Ok(Self {
            kind: FileKind::of(FileType::from_raw_mode(stat.st_mode)).ok_or(Errno::INVAL)?,
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            links: u64::from(stat.st_nlink),
            device: (rustix::fs::major(rdev), rustix::fs::minor(rdev)),
            identity: (stat.st_dev, stat.st_ino),
        })
    }
}

/// A name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The name.
    pub name: OsString,
    /// What it stands for.
    pub kind: FileKind,
}

/// A directory that no path of this interface leads out of.
#[derive(Debug)]
pub struct Root {
    dir: OwnedFd,
    /// Where it is, for error texts.
    shown: PathBuf,
}

impl Root {
    /// Opens a directory of the host, symbolic links followed: the administrator's path, not the guest's.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::openat(CWD, path, flags, Mode::empty()).blame("open(2)", path.display())?;
        Ok(Self { dir, shown: path.to_owned() })
    }

    /// Takes a directory that is open already; `shown` is for error texts.
    pub fn from_fd(dir: OwnedFd, shown: impl Into<PathBuf>) -> Self {
        Self { dir, shown: shown.into() }
    }

    /// A directory below as a root of its own.
    pub fn subroot(&self, path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let dir = self
            .look(path, OFlags::PATH | OFlags::DIRECTORY)
            .blame_with("openat2(2)", || self.object(path))?;
        Ok(Self { dir, shown: self.show(path) })
    }

    /// The path for error texts, for example of a caller that adds its own.
    pub fn show(&self, path: impl AsRef<Path>) -> PathBuf {
        let inside = path.as_ref();
        self.shown.join(inside.strip_prefix("/").unwrap_or(inside))
    }

    fn object(&self, path: &Path) -> String {
        self.show(path).display().to_string()
    }

    /// One resolution inside the root; tried again when the kernel could not tell because of a rename elsewhere.
    fn look(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        for _ in 0..128 {
            match rustix::fs::openat2(&self.dir, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
                Err(Errno::AGAIN | Errno::INTR) => {}
                answer => return answer,
            }
        }
        Err(Errno::AGAIN)
    }

    /// The directory of the last name of `path`, and that name. `EINVAL`: it has none, or ends in `..`.
    fn split<'path>(&self, path: &'path Path) -> Result<(OwnedFd, &'path OsStr), Errno> {
        let name = path.file_name().ok_or(Errno::INVAL)?;
        let parent = path.parent().unwrap_or(Path::new("."));
        Ok((self.look(parent, OFlags::PATH | OFlags::DIRECTORY)?, name))
    }

    /// Does one thing to the last name of `path`, in its directory.
    fn at<T>(
        &self,
        op: &'static str,
        path: &Path,
        act: impl FnOnce(BorrowedFd<'_>, &OsStr) -> Result<T, Errno>,
    ) -> Result<T> {
        self.split(path)
            .and_then(|(parent, name)| act(parent.as_fd(), name))
            .blame_with(op, || self.object(path))
    }

    /// Opens a file or directory as `O_PATH`, which does nothing to it; a link at the end is followed inside the root.
    pub fn locate(&self, path: impl AsRef<Path>) -> Result<OwnedFd> {
        let path = path.as_ref();
        self.look(path, OFlags::PATH).blame_with("openat2(2)", || self.object(path))
    }

    /// Opens a regular file that exists.
    ///
    /// `EINVAL`: it is something else, for example a fifo that would block or a device. `ELOOP`: see [`Access`].
    pub fn open_file(&self, path: impl AsRef<Path>, access: Access) -> Result<File> {
        let path = path.as_ref();
        let (follow, flags) = match access {
            Access::Read => (OFlags::empty(), OFlags::RDONLY),
            Access::Write => (OFlags::NOFOLLOW, OFlags::WRONLY),
            Access::Append => (OFlags::NOFOLLOW, OFlags::WRONLY | OFlags::APPEND),
        };
        let object = || self.object(path);
        let place = self.look(path, OFlags::PATH | follow).blame_with("openat2(2)", object)?;
        let stat = rustix::fs::fstat(&place).blame_with("fstat(2)", object)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => {}
            FileType::Symlink => return Err(Fault::new("openat2(2)", object(), Errno::LOOP)),
            FileType::Directory => return Err(Fault::new("openat2(2)", object(), Errno::ISDIR)),
            _ => return Err(Fault::from_errno("not a regular file:", object(), libc::EINVAL)),
        }
        reopen(place.as_fd(), flags).map(File::from).blame_with("open(2)", object)
    }

    /// Reads a regular file of at most `limit` bytes: `EFBIG` beyond. A link at the end is followed inside the root.
    pub fn read(&self, path: impl AsRef<Path>, limit: usize) -> Result<Vec<u8>> {
        let path = path.as_ref();
        let file = self.open_file(path, Access::Read)?;
        let mut bytes = Vec::new();
        let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
        file.take(most).read_to_end(&mut bytes).blame_with("read(2)", || self.object(path))?;
        if bytes.len() > limit {
            return Err(Fault::from_errno("read(2)", self.object(path), libc::EFBIG));
        }
        Ok(bytes)
    }

    /// Puts a file with these bytes and permission bits in place, in one step, whatever the name was before.
    ///
    /// It is written beside and renamed: a reader sees the old file or the new one; a symbolic link of this name is
    /// replaced, not followed. `EISDIR`: the name is a directory.
    pub fn write(&self, path: impl AsRef<Path>, bytes: &[u8], mode: u32) -> Result<()> {
        let path = path.as_ref();
        let object = || self.object(path);
        let (parent, name) = self.split(path).blame_with("openat2(2)", object)?;
        let (temporary, file) = create_beside(parent.as_fd()).blame_with("openat(2)", object)?;
        let mut file = File::from(file);
        let written = file
            .write_all(bytes)
            .and_then(|()| Ok(rustix::fs::fchmod(&file, Mode::from_raw_mode(mode & 0o7777))?))
            .and_then(|()| Ok(rustix::fs::renameat(&parent, &temporary, &parent, name)?));
        if written.is_err() {
            // The write's own error is the one to tell.
            rustix::fs::unlinkat(&parent, &temporary, AtFlags::empty()).ok();
        }
        written.blame_with("write(2)", object)
    }

    /// Adds bytes to the end of a regular file, which is made with `mode` if there is none.
    pub fn append(&self, path: impl AsRef<Path>, bytes: &[u8], mode: u32) -> Result<()> {
        let path = path.as_ref();
        let mut file = match self.open_file(path, Access::Append) {
            Err(fault) if fault.is(libc::ENOENT) => {
                let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
                File::from(self.at("openat(2)", path, |parent, name| {
                    rustix::fs::openat(parent, name, flags, Mode::from_raw_mode(mode & 0o7777))
                })?)
            }
            other => other?,
        };
        file.write_all(bytes).blame_with("write(2)", || self.object(path))
    }

    /// Makes a directory and those above it that are missing, and opens it (`O_PATH`); links are followed inside the
    /// root. Directories that exist keep their mode.
    pub fn mkdir_all(&self, path: impl AsRef<Path>, mode: u32) -> Result<OwnedFd> {
        let path = path.as_ref();
        let mut above = PathBuf::from(".");
        let mut last =
            self.look(&above, OFlags::PATH | OFlags::DIRECTORY).blame("openat2(2)", self.shown.display())?;
        for part in path.components() {
            let name = match part {
                Component::Normal(name) => name,
                Component::ParentDir => OsStr::new(".."),
                Component::RootDir | Component::CurDir | Component::Prefix(_) => continue,
            };
            above.push(name);
            let flags = OFlags::PATH | OFlags::DIRECTORY;
            last = match self.look(&above, flags) {
                Err(Errno::NOENT) => match rustix::fs::mkdirat(&last, name, Mode::from_raw_mode(mode)) {
                    Ok(()) | Err(Errno::EXIST) => self.look(&above, flags),
                    Err(errno) => Err(errno),
                },
                found => found,
            }
            .blame_with("mkdirat(2)", || self.object(&above))?;
        }
        Ok(last)
    }

    /// Makes one directory. `EEXIST`: the name is taken.
    pub fn mkdir(&self, path: impl AsRef<Path>, mode: u32) -> Result<()> {
        self.at("mkdirat(2)", path.as_ref(), |parent, name| {
            rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(mode))
        })
    }

    /// Makes a symbolic link at `path` that says `target`. `EEXIST`: the name is taken.
    pub fn symlink(&self, target: impl AsRef<Path>, path: impl AsRef<Path>) -> Result<()> {
        self.at("symlinkat(2)", path.as_ref(), |parent, name| {
            rustix::fs::symlinkat(target.as_ref(), parent, name)
        })
    }

    /// Gives the file `from` (itself, if it is a link) a second name. `EXDEV`: on another mount.
    pub fn hard_link(&self, from: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<()> {
        let (from, to) = (from.as_ref(), to.as_ref());
        let (old_parent, old) = self.split(from).blame_with("openat2(2)", || self.object(from))?;
        self.at("linkat(2)", to, |parent, name| {
            rustix::fs::linkat(&old_parent, old, parent, name, AtFlags::empty())
        })
    }

    /// Renames, replacing a file (not a directory with something in it) that is in the way.
    pub fn rename(&self, from: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<()> {
        let (from, to) = (from.as_ref(), to.as_ref());
        let (old_parent, old) = self.split(from).blame_with("openat2(2)", || self.object(from))?;
        self.at("renameat(2)", to, |parent, name| rustix::fs::renameat(&old_parent, old, parent, name))
    }

    /// Removes a name that is no directory; a link is removed, not followed.
    pub fn remove_file(&self, path: impl AsRef<Path>) -> Result<()> {
        self.at("unlinkat(2)", path.as_ref(), |parent, name| {
            rustix::fs::unlinkat(parent, name, AtFlags::empty())
        })
    }

    /// Removes an empty directory.
    pub fn remove_dir(&self, path: impl AsRef<Path>) -> Result<()> {
        self.at("unlinkat(2)", path.as_ref(), |parent, name| {
            rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)
        })
    }

    /// Removes a name and, if it is a directory, all below it, however deep.
    ///
    /// Never goes into a mount (`EXDEV`, nothing of the mount is touched) or through a link. `ENOENT`: there is no
    /// such name. `ESTALE`: somebody moved the directory away meanwhile. What was removed before a fault stays so.
    pub fn remove_tree(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let (parent, name) = self.split(path).blame_with("openat2(2)", || self.object(path))?;
        remove_tree_at(parent.as_fd(), name, Leaves::Remove, &self.show(path))
    }

    /// The names in a directory, in no order, without `.` and `..`.
    pub fn entries(&self, path: impl AsRef<Path>) -> Result<Vec<Entry>> {
        let path = path.as_ref();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NONBLOCK;
        self.look(path, flags)
            .and_then(|dir| tree::list(dir.as_fd()))
            .blame_with("getdents64(2)", || self.object(path))
    }

    /// What `path` is, a link at the end followed inside the root.
    pub fn metadata(&self, path: impl AsRef<Path>) -> Result<Metadata> {
        self.status(path.as_ref(), OFlags::PATH)
    }

    /// What `path` is, a link at the end being one.
    pub fn symlink_metadata(&self, path: impl AsRef<Path>) -> Result<Metadata> {
        self.status(path.as_ref(), OFlags::PATH | OFlags::NOFOLLOW)
    }

    fn status(&self, path: &Path, flags: OFlags) -> Result<Metadata> {
        self.look(path, flags)
            .and_then(rustix::fs::fstat)
            .and_then(|stat| Metadata::of(&stat))
            .blame_with("stat(2)", || self.object(path))
    }

    /// Whether the name is there, be it a link that leads nowhere. Any fault but "no such name" is one.
    pub fn exists(&self, path: impl AsRef<Path>) -> Result<bool> {
        match self.symlink_metadata(path) {
            Ok(_) => Ok(true),
            Err(fault) if fault.is(libc::ENOENT) || fault.is(libc::ENOTDIR) => Ok(false),
            Err(fault) => Err(fault),
        }
    }

    /// What a symbolic link says. `EINVAL`: it is none.
    pub fn read_link(&self, path: impl AsRef<Path>) -> Result<PathBuf> {
        let path = path.as_ref();
        self.look(path, OFlags::PATH | OFlags::NOFOLLOW)
            .and_then(|link| rustix::fs::readlinkat(&link, c"", Vec::new()))
            // A file that is no link is "not found" for an empty path.
            .map_err(|errno| if errno == Errno::NOENT { self.not_a_link(path) } else { errno })
            .map(|text| PathBuf::from(OsString::from_vec(text.into_bytes())))
            .blame_with("readlinkat(2)", || self.object(path))
    }

    fn not_a_link(&self, path: &Path) -> Errno {
        if self.look(path, OFlags::PATH | OFlags::NOFOLLOW).is_ok() { Errno::INVAL } else { Errno::NOENT }
    }

    /// Makes a device node, fifo, socket or empty file with exactly these permission bits.
    pub fn mknod(&self, path: impl AsRef<Path>, kind: FileKind, mode: u32, device: (u32, u32)) -> Result<()> {
        let path = path.as_ref();
        let mode = Mode::from_raw_mode(mode & 0o7777);
        let device = rustix::fs::makedev(device.0, device.1);
        self.at("mknodat(2)", path, |parent, name| {
            rustix::fs::mknodat(parent, name, kind.file_type(), mode, device)
        })?;
        // The umask may have taken bits away.
        self.set_mode(path, mode.as_raw_mode())
    }

    /// Sets owner and group of the file itself, a link at the end not followed.
    pub fn set_owner(&self, path: impl AsRef<Path>, uid: u32, gid: u32) -> Result<()> {
        let path = path.as_ref();
        self.look(path, OFlags::PATH | OFlags::NOFOLLOW)
            .and_then(|file| {
                let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
                rustix::fs::chownat(&file, c"", Some(uid), Some(gid), AtFlags::EMPTY_PATH)
            })
            .blame_with("fchownat(2)", || self.object(path))
    }

    /// Sets the permission bits of the file itself. `EOPNOTSUPP`: it is a link.
    pub fn set_mode(&self, path: impl AsRef<Path>, mode: u32) -> Result<()> {
        let path = path.as_ref();
        self.look(path, OFlags::PATH | OFlags::NOFOLLOW)
            .and_then(|file| {
                if FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode).is_symlink() {
                    return Err(Errno::OPNOTSUPP);
                }
                // An O_PATH descriptor cannot be given to fchmod(2); its magic link can be followed.
                let mode = Mode::from_raw_mode(mode & 0o7777);
                rustix::fs::chmodat(CWD, magic_link(file.as_fd()), mode, AtFlags::empty())
            })
            .blame_with("chmod(2)", || self.object(path))
    }

    /// Whether `path`, links followed inside the root, is a regular file that somebody may execute.
    pub fn exists_executable(&self, path: impl AsRef<Path>) -> bool {
        self.metadata(path).is_ok_and(|found| found.kind == FileKind::File && found.mode & 0o111 != 0)
    }

    /// Where `path` leads when all links are followed inside the root: an absolute path inside it, for showing and for
    /// a process that has this root. By the time it is used the guest may have changed its tree.
    pub fn resolve(&self, path: impl AsRef<Path>) -> Result<PathBuf> {
        let path = path.as_ref();
        let place = self.locate(path)?;
        let full = PathBuf::from(described(&place));
        let root = PathBuf::from(described(&self.dir));
        full.strip_prefix(&root)
            .map(|inside| Path::new("/").join(inside))
            .map_err(|_| Fault::from_errno("readlink(2)", self.object(path), libc::ESTALE))
    }
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }
}

fn magic_link(fd: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

/// Opens the very file behind an `O_PATH` descriptor.
fn reopen(place: BorrowedFd<'_>, flags: OFlags) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(CWD, magic_link(place), flags | OFlags::CLOEXEC | OFlags::NOCTTY, Mode::empty())
}

/// A new file of a name that nobody has, readable by root alone until its mode is set.
fn create_beside(parent: BorrowedFd<'_>) -> Result<(OsString, OwnedFd), Errno> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    for _ in 0..64 {
        let mut random = [0_u8; 8];
        rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
        let name = OsString::from(format!(".vserver-{:016x}", u64::from_ne_bytes(random)));
        match rustix::fs::openat(parent, &name, flags, Mode::RUSR | Mode::WUSR) {
            Err(Errno::EXIST) => {}
            made => return made.map(|fd| (name, fd)),
        }
    }
    Err(Errno::EXIST)
}

/// A directory entry's name, unless it is `.` or `..`.
fn real_name(name: &[u8]) -> Option<&OsStr> {
    (name != b"." && name != b"..").then(|| OsStr::from_bytes(name))
}

#[cfg(test)]
mod tests;
