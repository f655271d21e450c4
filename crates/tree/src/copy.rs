//! One tree into another: owners, modes, times, extended attributes and access lists, holes, hard links.
//!
//! Content is shared with the source where the filesystem can (`FICLONE`: btrfs, xfs with reflinks), else copied
//! inside the kernel, and only the parts that hold data. Owners go by number. The walk stays on the source's
//! filesystem, follows no link on either side, and stops when it is told to.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dev, FileType, Gid, Mode, OFlags, RawMode, ResolveFlags, SeekFrom, Stat, Uid};
use rustix::io::Errno;

use crate::beneath::{names_in, open_directory_at};
use crate::device::DevicePolicy;
use crate::{Blame as _, Result, Root, TreeError, attributes};

/// No tree of an honest system is deeper; two descriptors are open for each level.
const DEEPEST: usize = 400;
/// Files up to this length are copied in one piece, without looking for holes.
const SMALL: u64 = 64 * 1024;

/// What becomes of an entry of the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// It is copied.
    Copy,
    /// It is left out, a directory with all below it.
    LeaveOut,
}

/// How to copy.
pub struct Options<'a> {
    /// Asked for each entry with its path below the source.
    pub choose: &'a dyn Fn(&Path) -> Choice,
    /// Device nodes.
    pub devices: DevicePolicy,
    /// Asked between entries and pieces; `true` ends the copy with `EINTR`.
    pub stop: &'a dyn Fn() -> bool,
}

/// What was copied and what was not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Entries made, hard links included.
    pub entries: u64,
    /// Bytes of the files made, holes included.
    pub bytes: u64,
    /// Entries that the target already had; those are kept as they are.
    pub kept: u64,
    /// Device nodes that the policy left out, the first few of them.
    pub devices_left_out: Vec<PathBuf>,
    /// How many device nodes were left out.
    pub devices_left_out_count: u64,
    /// Directories where another filesystem was mounted; made empty.
    pub mounts_left_out: Vec<PathBuf>,
    /// Extended attributes left out, because they belong to the other host (labels, `trusted.*`), or because the
    /// target's filesystem has none.
    pub attributes_left_out: u64,
}

/// Copies all below `source` to below `target`, which exists. What `target` already has is kept, directories are
/// merged.
///
/// # Errors
/// A file cannot be read or written, the tree is deeper than 400 directories (`ELOOP`), or the copy was told to stop
/// (`EINTR`). The target then holds a part.
pub fn copy_tree(source: &Root, target: &Root, options: &Options<'_>) -> Result<Summary> {
    let stat = rustix::fs::fstat(source).blame("examine", source.path())?;
    let mut walk = Walk {
        source,
        target,
        options,
        device: stat.st_dev,
        links: HashMap::new(),
        summary: Summary::default(),
        path: PathBuf::new(),
    };
    walk.directory(&source.directory("")?, &target.directory("")?, 0)?;
    Ok(walk.summary)
}

struct Walk<'a> {
    source: &'a Root,
    target: &'a Root,
    options: &'a Options<'a>,
    /// The source's filesystem.
    device: u64,
    /// Files with several names: device and inode, and the first name's path below the target.
    links: HashMap<(u64, u64), PathBuf>,
    summary: Summary,
    /// Where we are, below both roots.
    path: PathBuf,
}

impl Walk<'_> {
    fn shown(&self) -> PathBuf {
        self.target.shown(&self.path)
    }

    fn directory(&mut self, from: &OwnedFd, to: &OwnedFd, depth: usize) -> Result<()> {
        if depth > DEEPEST {
            return Err(TreeError::new("copy", self.source.shown(&self.path), Errno::LOOP));
        }
        for name in names_in(from).blame("list", self.source.shown(&self.path))? {
            if (self.options.stop)() {
                return Err(TreeError::new("copy", self.source.shown(&self.path), Errno::INTR));
            }
            self.path.push(&name);
            let copied = self.entry(from.as_fd(), to.as_fd(), &name, depth);
            copied?;
            self.path.pop();
        }
        Ok(())
    }

    fn entry(&mut self, from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &OsStr, depth: usize) -> Result<()> {
        if (self.options.choose)(&self.path) == Choice::LeaveOut {
            return Ok(());
        }
        let stat = match rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(()), // removed while we look: the source may be a running guest
            Err(errno) => return Err(TreeError::new("examine", self.source.shown(&self.path), errno)),
        };
        let kind = FileType::from_raw_mode(stat.st_mode);
        let existing = rustix::fs::statat(to, name, AtFlags::SYMLINK_NOFOLLOW)
            .ok()
            .map(|existing| FileType::from_raw_mode(existing.st_mode));
        if kind == FileType::Directory {
            return self.enter(from, to, name, &stat, existing, depth);
        }
        if existing.is_some() {
            self.summary.kept += 1;
            return Ok(());
        }
        let identity = (stat.st_dev, stat.st_ino);
        if stat.st_nlink > 1 {
            if let Some(first) = self.links.get(&identity) {
                if self.link(&first.clone(), to, name)? {
                    self.summary.entries += 1;
                    return Ok(());
                }
            } else {
                self.links.insert(identity, self.path.clone());
            }
        }
        match kind {
            FileType::RegularFile => self.file(from, to, name, &stat),
            FileType::Symlink => self.symlink(from, to, name, &stat),
            _ => self.node(to, name, &stat, kind),
        }
    }

    fn enter(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        name: &OsStr,
        stat: &Stat,
        existing: Option<FileType>,
        depth: usize,
    ) -> Result<()> {
        match existing {
            None => {
                rustix::fs::mkdirat(to, name, Mode::RWXU).blame("create the directory", self.shown())?;
                self.summary.entries += 1;
            }
            Some(FileType::Directory) => self.summary.kept += 1,
            Some(_) => {
                // Something else has the name, and what the target has is kept.
                self.summary.kept += 1;
                return Ok(());
            }
        }
        let below = open_directory_at(to, name).blame("open the directory", self.shown())?;
        if stat.st_dev == self.device {
            let inside =
                open_directory_at(from, name).blame("open the directory", self.source.shown(&self.path))?;
            // Somebody may have mounted or moved something between the two looks.
            let again = rustix::fs::fstat(&inside).blame("examine", self.source.shown(&self.path))?;
            if (again.st_dev, again.st_ino) != (stat.st_dev, stat.st_ino) {
                return Err(TreeError::new("copy", self.source.shown(&self.path), Errno::STALE));
            }
            let names =
                attributes::read_all(&inside).blame("read attributes of", self.source.shown(&self.path))?;
            self.directory(&inside, &below, depth + 1)?;
            if existing.is_none() {
                self.finish(&below, stat, names)?;
            }
        } else {
            self.summary.mounts_left_out.push(self.path.clone());
            if existing.is_none() {
                self.finish(&below, stat, Vec::new())?;
            }
        }
        Ok(())
    }

    /// Another name for a file that was made before; `false` when the first name is gone or of another kind.
    fn link(&self, first: &Path, to: BorrowedFd<'_>, name: &OsStr) -> Result<bool> {
        let Some(file) = first.file_name() else { return Ok(false) };
        let parent = first.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let dir = rustix::fs::openat2(self.target, parent, flags, Mode::empty(), resolve)
            .blame("open the directory", self.target.shown(parent))?;
        match rustix::fs::linkat(&dir, file, to, name, AtFlags::empty()) {
            Ok(()) => Ok(true),
            // Left out the first time, or more names than the filesystem allows: a copy of its own then.
            Err(Errno::NOENT | Errno::MLINK) => Ok(false),
            Err(errno) => Err(TreeError::new("link", self.shown(), errno)),
        }
    }

    fn file(&mut self, from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &OsStr, stat: &Stat) -> Result<()> {
        let source = self.source.shown(&self.path);
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let old = rustix::fs::openat(from, name, flags, Mode::empty()).blame("open", &source)?;
        let again = rustix::fs::fstat(&old).blame("examine", &source)?;
        if (again.st_dev, again.st_ino) != (stat.st_dev, stat.st_ino) {
            return Err(TreeError::new("copy", source, Errno::STALE));
        }
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let new =
            rustix::fs::openat(to, name, flags, Mode::RUSR | Mode::WUSR).blame("create", self.shown())?;
        let length = u64::try_from(stat.st_size).unwrap_or(0);
        self.content(&old, &new, length)?;
        let names = attributes::read_all(&old).blame("read attributes of", &source)?;
        self.finish(&new, stat, names)?;
        self.summary.entries += 1;
        self.summary.bytes += length;
        Ok(())
    }

    fn content(&self, old: &OwnedFd, new: &OwnedFd, length: u64) -> Result<()> {
        if length == 0 || rustix::fs::ioctl_ficlone(new, old).is_ok() {
            return Ok(());
        }
        let copied = if length <= SMALL {
            self.range(old, new, 0, length)
        } else {
            rustix::fs::ftruncate(new, length).and_then(|()| self.data_only(old, new, length))
        };
        copied.blame("copy", self.shown())
    }

    fn data_only(&self, old: &OwnedFd, new: &OwnedFd, length: u64) -> rustix::io::Result<()> {
        let mut at = 0;
        while at < length {
            let start = match rustix::fs::seek(old, SeekFrom::Data(at)) {
                Ok(start) => start,
                Err(Errno::NXIO) => return Ok(()), // nothing but a hole is left
                Err(Errno::INVAL | Errno::OPNOTSUPP) => return self.range(old, new, at, length),
                Err(errno) => return Err(errno),
            };
            at = rustix::fs::seek(old, SeekFrom::Hole(start))?.min(length);
            self.range(old, new, start, at)?;
        }
        Ok(())
    }

    fn range(&self, old: &OwnedFd, new: &OwnedFd, start: u64, end: u64) -> rustix::io::Result<()> {
        let (mut input, mut output) = (start, start);
        while input < end {
            if (self.options.stop)() {
                return Err(Errno::INTR);
            }
            let piece = usize::try_from((end - input).min(16 << 20)).unwrap_or(16 << 20);
            match rustix::fs::copy_file_range(old, Some(&mut input), new, Some(&mut output), piece) {
                Ok(0) => return Ok(()), // shorter than it was
                Ok(_) => {}
                Err(Errno::XDEV | Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS | Errno::BADF) => {
                    return read_and_write(old, new, input, end);
                }
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }

    fn symlink(&mut self, from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &OsStr, stat: &Stat) -> Result<()> {
        let target = rustix::fs::readlinkat(from, name, Vec::new())
            .blame("read the link", self.source.shown(&self.path))?;
        rustix::fs::symlinkat(OsStr::from_bytes(target.as_bytes()), to, name)
            .blame("create the link", self.shown())?;
        self.dress(to, name, stat)?;
        self.summary.entries += 1;
        Ok(())
    }

    fn node(&mut self, to: BorrowedFd<'_>, name: &OsStr, stat: &Stat, kind: FileType) -> Result<()> {
        let (major, minor) = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
        let is_device = matches!(kind, FileType::BlockDevice | FileType::CharacterDevice);
        // 0:0 as a character device is overlayfs's mark for "removed here": it opens nothing.
        let is_whiteout = kind == FileType::CharacterDevice && stat.st_rdev == 0;
        if is_device
            && !is_whiteout
            && !self.options.devices.allows(kind == FileType::BlockDevice, major, minor)
        {
            self.summary.devices_left_out_count += 1;
            if self.summary.devices_left_out.len() < 5 {
                self.summary.devices_left_out.push(self.path.clone());
            }
            return Ok(());
        }
        let device: Dev = if is_device { stat.st_rdev } else { 0 };
        rustix::fs::mknodat(to, name, kind, Mode::RUSR | Mode::WUSR, device)
            .blame("create the node", self.shown())?;
        rustix::fs::chmodat(to, name, permissions(stat), AtFlags::empty())
            .blame("set the mode of", self.shown())?;
        self.dress(to, name, stat)?;
        self.summary.entries += 1;
        Ok(())
    }

    /// Owner and times of something that is not opened.
    fn dress(&self, to: BorrowedFd<'_>, name: &OsStr, stat: &Stat) -> Result<()> {
        let (uid, gid) = owners(stat);
        rustix::fs::chownat(to, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)
            .blame("set the owner of", self.shown())?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
            rustix::fs::chmodat(to, name, permissions(stat), AtFlags::empty())
                .blame("set the mode of", self.shown())?;
        }
        rustix::fs::utimensat(to, name, &attributes::times_of(stat), AtFlags::SYMLINK_NOFOLLOW)
            .blame("set the times of", self.shown())
    }

    /// Owner, mode, attributes and times of an open file or directory, in this order (see [`attributes`]).
    fn finish(&mut self, new: &OwnedFd, stat: &Stat, names: Vec<(OsString, Vec<u8>)>) -> Result<()> {
        let (uid, gid) = owners(stat);
        rustix::fs::fchown(new, uid, gid).blame("set the owner of", self.shown())?;
        rustix::fs::fchmod(new, permissions(stat)).blame("set the mode of", self.shown())?;
        for (name, value) in names {
            if !attributes::is_portable(name.as_bytes()) {
                self.summary.attributes_left_out += 1;
                continue;
            }
            match attributes::set(new, &name, &value) {
                Ok(()) => {}
                Err(Errno::OPNOTSUPP) => self.summary.attributes_left_out += 1,
                Err(errno) => {
                    return Err(TreeError::new("set an extended attribute of", self.shown(), errno));
                }
            }
        }
        rustix::fs::futimens(new, &attributes::times_of(stat)).blame("set the times of", self.shown())
    }
}

fn owners(stat: &Stat) -> (Option<Uid>, Option<Gid>) {
    (Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))
}

fn permissions(stat: &Stat) -> Mode {
    Mode::from_raw_mode(RawMode::from(stat.st_mode) & 0o7777)
}

fn read_and_write(old: &OwnedFd, new: &OwnedFd, mut at: u64, end: u64) -> rustix::io::Result<()> {
    let mut buffer = vec![0_u8; 1 << 20];
    while at < end {
        let wanted = usize::try_from(end - at).unwrap_or(usize::MAX).min(buffer.len());
        let got = rustix::io::pread(old, &mut buffer[..wanted], at)?;
        if got == 0 {
            return Ok(());
        }
        let mut written = 0;
        while written < got {
            written += rustix::io::pwrite(new, &buffer[written..got], at + written as u64)?;
        }
        at += got as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

    fn copied(source: &Path, target: &Path) -> Summary {
        let options = Options {
            choose: &|path| if path.ends_with("skip") { Choice::LeaveOut } else { Choice::Copy },
            devices: DevicePolicy::Harmless,
            stop: &|| false,
        };
        copy_tree(&Root::open(source).unwrap(), &Root::open(target).unwrap(), &options).unwrap()
    }

    #[test]
    fn keeps_links_holes_modes_times_and_attributes() {
        let (source, target) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (a, b) = (source.path(), target.path());
        std::fs::create_dir(a.join("d")).unwrap();
        std::fs::write(a.join("d/one"), "text").unwrap();
        std::fs::hard_link(a.join("d/one"), a.join("two")).unwrap();
        std::fs::set_permissions(a.join("two"), std::fs::Permissions::from_mode(0o4711)).unwrap();
        symlink("/etc/passwd", a.join("link")).unwrap();
        std::fs::create_dir(a.join("skip")).unwrap();
        std::fs::write(a.join("kept"), "theirs").unwrap();
        std::fs::write(b.join("kept"), "ours").unwrap();
        let sparse = std::fs::OpenOptions::new().write(true).create_new(true).open(a.join("sparse")).unwrap();
        sparse.set_len(64 << 20).unwrap();
        rustix::io::pwrite(&sparse, b"end", (32 << 20) + 5).unwrap();
        let attributes = attributes::set(&sparse, OsStr::new("user.note"), b"v").is_ok();
        drop(sparse);

        let summary = copied(a, b);
        assert_eq!(summary.kept, 1);
        assert_eq!(std::fs::read(b.join("kept")).unwrap(), b"ours");
        assert!(!b.join("skip").exists());
        let (one, two) = (b.join("d/one").metadata().unwrap(), b.join("two").metadata().unwrap());
        assert_eq!(one.ino(), two.ino());
        assert_eq!(two.mode() & 0o7777, 0o4711);
        assert_eq!(two.mtime_nsec(), a.join("two").metadata().unwrap().mtime_nsec());
        assert_eq!(std::fs::read_link(b.join("link")).unwrap(), Path::new("/etc/passwd"));
        let copy = std::fs::File::open(b.join("sparse")).unwrap();
        let stat = copy.metadata().unwrap();
        assert_eq!(stat.size(), 64 << 20);
        assert!(stat.blocks() * 512 < 4 << 20, "{} blocks", stat.blocks());
        let mut end = [0_u8; 3];
        assert_eq!(rustix::io::pread(&copy, &mut end, (32 << 20) + 5).unwrap(), 3);
        assert_eq!(&end, b"end");
        if attributes {
            assert_eq!(super::attributes::read_all(&copy).unwrap(), [("user.note".into(), b"v".to_vec())]);
        }
    }

    #[test]
    fn a_link_in_the_target_is_not_followed() {
        let (source, target) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let outside = tempfile::tempdir().unwrap();
        std::fs::create_dir(source.path().join("etc")).unwrap();
        std::fs::write(source.path().join("etc/passwd"), "x").unwrap();
        symlink(outside.path(), target.path().join("etc")).unwrap();
        copied(source.path(), target.path());
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
    }

    #[test]
    fn stops_when_told() {
        let (source, target) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::write(source.path().join("a"), "x").unwrap();
        let options = Options { choose: &|_| Choice::Copy, devices: DevicePolicy::Harmless, stop: &|| true };
        let (source, target) = (Root::open(source.path()).unwrap(), Root::open(target.path()).unwrap());
        assert!(copy_tree(&source, &target, &options).unwrap_err().is(Errno::INTR));
    }
}
