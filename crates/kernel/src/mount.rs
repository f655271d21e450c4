//! Mounts made by descriptor: prepared detached, put in place in one step, never by a path that a guest could bend.
//!
//! A detached mount ([`MountFd`]) comes from [`clone_tree`] or [`NewFs`], is given its attributes and its id map
//! while nobody can see it, and is then attached at a descriptor from [`target_in_root`]. Dropped without being
//! attached it vanishes.

use std::ffi::OsString;
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags,
    UnmountFlags,
};
use serde::{Deserialize, Serialize};

use crate::sys::{self, MountAttr};
use crate::{Blame, Fault, Result, described};

/// Whether an operation covers one mount or all mounts below it too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Recursion {
    /// Only this mount.
    One,
    /// This mount and all below.
    All,
}

/// Where mounts made at a place are seen besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Propagation {
    /// Nowhere, and nothing comes in.
    Private,
    /// What the other side mounts comes in, nothing goes out.
    Slave,
    /// Both ways.
    Shared,
    /// Private, and cannot be bind mounted.
    Unbindable,
}

impl Propagation {
    fn flag(self) -> MountPropagationFlags {
        match self {
            Self::Private => MountPropagationFlags::PRIVATE,
            Self::Slave => MountPropagationFlags::DOWNSTREAM,
            Self::Shared => MountPropagationFlags::SHARED,
            Self::Unbindable => MountPropagationFlags::UNBINDABLE,
        }
    }
}

/// `MOUNT_ATTR_*` bits.
pub mod attr {
    /// Nothing can be written.
    pub const READ_ONLY: u64 = 0x1;
    /// Set-uid bits and file capabilities do not count.
    pub const NO_SUID: u64 = 0x2;
    /// Device nodes cannot be opened.
    pub const NO_DEV: u64 = 0x4;
    /// Nothing can be executed.
    pub const NO_EXEC: u64 = 0x8;
    /// Access times are not kept.
    pub const NO_ATIME: u64 = 0x10;
    /// Access times are kept on every access. Cleared, like [`NO_ATIME`]: relatime.
    pub const STRICT_ATIME: u64 = 0x20;
    /// Access times of directories are not kept.
    pub const NO_DIR_ATIME: u64 = 0x80;
    /// Symbolic links are not followed (Linux 5.14).
    pub const NO_SYMFOLLOW: u64 = 0x0020_0000;
    /// The field that holds relatime (0), [`NO_ATIME`] and [`STRICT_ATIME`]: changed as a whole.
    pub(super) const ATIME_FIELD: u64 = 0x70;
    /// With the descriptor of a user namespace.
    pub(super) const IDMAP: u64 = 0x0010_0000;
}

/// A change of a mount's attributes; the default changes nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    set: u64,
    clear: u64,
    propagation: Option<Propagation>,
}

impl Attributes {
    /// Nothing changes.
    pub const fn new() -> Self {
        Self { set: 0, clear: 0, propagation: None }
    }

    /// Sets these [`attr`] bits.
    #[must_use]
    pub const fn set(mut self, bits: u64) -> Self {
        self.set |= bits;
        self
    }

    /// Clears these [`attr`] bits.
    #[must_use]
    pub const fn clear(mut self, bits: u64) -> Self {
        self.clear |= bits;
        self
    }

    /// Changes the propagation.
    #[must_use]
    pub const fn propagation(mut self, propagation: Propagation) -> Self {
        self.propagation = Some(propagation);
        self
    }

    /// Whether nothing changes.
    pub const fn is_empty(&self) -> bool {
        self.set == 0 && self.clear == 0 && self.propagation.is_none()
    }

    fn raw(&self) -> MountAttr {
        let atime = attr::NO_ATIME | attr::STRICT_ATIME;
        let clear_field = if (self.set | self.clear) & atime == 0 { 0 } else { attr::ATIME_FIELD };
        MountAttr {
            set: self.set,
            clear: (self.clear & !atime) | clear_field,
            propagation: self.propagation.map_or(0, |p| p.flag().bits().into()),
            userns: 0,
        }
    }
}

/// Changes attributes of the mount whose root `mount` is: for a mount that is attached already.
///
/// `mount_setattr(2)`, Linux 5.12, all or nothing.
pub fn set_attributes(mount: BorrowedFd<'_>, attributes: &Attributes, recursion: Recursion) -> Result<()> {
    if attributes.is_empty() {
        return Ok(());
    }
    sys::mount_setattr(mount, recursion == Recursion::All, &attributes.raw())
}

/// A detached mount: seen by nobody until it is attached.
#[derive(Debug)]
pub struct MountFd {
    fd: OwnedFd,
    /// What it shows, for error texts; `None`: the kernel is asked when it is needed, which takes as long as the copy.
    what: Option<String>,
}

impl MountFd {
    /// Takes a mount descriptor that another process sent; `what` is for error texts.
    pub fn from_fd(fd: OwnedFd, what: impl Into<String>) -> Self {
        Self { fd, what: Some(what.into()) }
    }

    /// Changes attributes.
    pub fn set(&self, attributes: &Attributes, recursion: Recursion) -> Result<()> {
        set_attributes(self.fd.as_fd(), attributes, recursion).map_err(|fault| self.named(fault))
    }

    /// Shows the files' owners through a user namespace's map.
    ///
    /// `EINVAL`: this filesystem cannot be id-mapped (see [`filesystem_type`] for its name), or the mount is
    /// attached already.
    #[doc(alias = "MOUNT_ATTR_IDMAP")]
    pub fn idmap(&self, userns: BorrowedFd<'_>) -> Result<()> {
        use std::os::fd::AsRawFd as _;
        let userns = u64::from(userns.as_raw_fd().cast_unsigned());
        let raw = MountAttr { set: attr::IDMAP, userns, ..MountAttr::default() };
        sys::mount_setattr(self.fd.as_fd(), false, &raw).map_err(|fault| self.named(fault))
    }

    /// Puts the mount at the place that `target` (opened `O_PATH`) is, on top of what is mounted there.
    ///
    /// `ENOTDIR`, `EINVAL`: one is a directory and the other not, or the target is in another mount namespace.
    #[doc(alias = "move_mount")]
    pub fn attach_at(&self, target: BorrowedFd<'_>) -> Result<()> {
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
        rustix::mount::move_mount(&self.fd, c"", target, c"", flags)
            .blame_with("move_mount(2)", || format!("{} to {}", self.shown(), described(target)))
    }

    fn named(&self, fault: Fault) -> Fault {
        Fault { object: self.shown(), ..fault }
    }

    fn shown(&self) -> String {
        self.what.clone().unwrap_or_else(|| described(&self.fd))
    }
}

impl AsFd for MountFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl From<MountFd> for OwnedFd {
    fn from(mount: MountFd) -> Self {
        mount.fd
    }
}

/// Copies the mount at `path` below `dir`: a bind mount that is not attached yet.
///
/// `open_tree(2)` with `OPEN_TREE_CLONE`, Linux 5.2. An empty path means `dir` itself. Symbolic links are followed
/// as anywhere: a place below a guest's root is opened with [`target_in_root`] and passed with an empty path.
#[doc(alias = "open_tree")]
pub fn clone_tree(dir: BorrowedFd<'_>, path: impl AsRef<Path>, recursion: Recursion) -> Result<MountFd> {
    let path = path.as_ref();
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if path.as_os_str().is_empty() {
        flags |= OpenTreeFlags::AT_EMPTY_PATH;
    }
    if recursion == Recursion::All {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    let named = (!path.as_os_str().is_empty()).then(|| path.display().to_string());
    let what = || named.clone().unwrap_or_else(|| described(dir));
    let fd = rustix::mount::open_tree(dir, path, flags).blame_with("open_tree(2)", what)?;
    Ok(MountFd { fd, what: named })
}

/// Copies a symbolic link itself, to be mounted over another one.
///
/// `open_tree(2)` with `OPEN_TREE_CLONE` and `AT_SYMLINK_NOFOLLOW`.
#[doc(alias = "open_tree")]
pub fn clone_link(path: &Path) -> Result<MountFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_SYMLINK_NOFOLLOW;
    let fd = rustix::mount::open_tree(CWD, path, flags)
        .blame_with("open_tree(2)", || path.display().to_string())?;
    Ok(MountFd { fd, what: Some(path.display().to_string()) })
}

/// A new filesystem instance, given its options one by one.
///
/// `fsopen(2)` and company, Linux 5.2. Steps after the first failed one do nothing; [`create`](Self::create) reports
/// it, with what the kernel had to say in the fault's object.
#[derive(Debug)]
#[must_use = "nothing is mounted before create()"]
pub struct NewFs {
    kind: String,
    context: Result<OwnedFd>,
}

impl NewFs {
    /// Begins a filesystem of this type. `ENODEV`: the kernel does not know it.
    #[doc(alias = "fsopen")]
    pub fn new(kind: &str) -> Self {
        let context = rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)
            .blame_with("fsopen(2)", || format!("a {kind} filesystem"));
        Self { kind: kind.to_owned(), context }
    }

    /// Sets `key=value`.
    pub fn option(self, key: &str, value: impl AsRef<std::ffi::OsStr>) -> Self {
        let value = value.as_ref();
        self.step(
            |fd| rustix::mount::fsconfig_set_string(fd, key, value),
            || format!("{key}={}", value.display()),
        )
    }

    /// Sets an option without a value.
    pub fn flag(self, key: &str) -> Self {
        self.step(|fd| rustix::mount::fsconfig_set_flag(fd, key), || key.to_owned())
    }

    /// Sets what is mounted: a device, or any name for a filesystem without one.
    pub fn source(self, source: impl AsRef<std::ffi::OsStr>) -> Self {
        self.option("source", source)
    }

    /// Sets an option to an open file.
    pub fn option_fd(self, key: &str, value: BorrowedFd<'_>) -> Self {
        self.step(
            |fd| rustix::mount::fsconfig_set_fd(fd, key, value),
            || format!("{key}={}", described(value)),
        )
    }

    fn step(
        self,
        set: impl FnOnce(BorrowedFd<'_>) -> rustix::io::Result<()>,
        what: impl FnOnce() -> String,
    ) -> Self {
        let Self { kind, context } = self;
        let context = context.and_then(|fd| match set(fd.as_fd()) {
            Ok(()) => Ok(fd),
            Err(errno) => Err(fs_fault("fsconfig(2)", &format!("{kind} option {}", what()), &fd, errno)),
        });
        Self { kind, context }
    }

    /// Makes the filesystem and mounts it, detached.
    ///
    /// `fsconfig(2)` and `fsmount(2)`. The descriptor is an `O_PATH` one.
    pub fn create(self) -> Result<MountFd> {
        let context = self.context?;
        let what = format!("a {} filesystem", self.kind);
        rustix::mount::fsconfig_create(&context)
            .map_err(|errno| fs_fault("fsconfig(2)", &what, &context, errno))?;
        let fd = rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
            .map_err(|errno| fs_fault("fsmount(2)", &what, &context, errno))?;
        Ok(MountFd { fd, what: Some(what) })
    }
}

/// A fault with the messages that the kernel left in a filesystem context (`e tmpfs: Bad value for 'size'`).
fn fs_fault(op: &'static str, what: &str, context: &OwnedFd, errno: rustix::io::Errno) -> Fault {
    let mut object = what.to_owned();
    let mut message = [0_u8; 1024];
    // The context gives one message a read and ENODATA at the end.
    while let Ok(length @ 1..) = rustix::io::read(context, &mut message) {
        let text = String::from_utf8_lossy(&message[..length]);
        let text = text.trim_end();
        let text = text.strip_prefix("e ").or_else(|| text.strip_prefix("w ")).unwrap_or(text);
        object = format!("{object}: {text}");
    }
    Fault::new(op, object, errno)
}

/// What a mount target has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetKind {
    /// A directory: `ENOTDIR` otherwise.
    Directory,
    /// Anything but a directory: `EISDIR` otherwise.
    File,
    /// Whatever is there.
    Any,
}

/// Opens a mount target below a guest's root (`O_PATH`), symbolic links resolved as the guest would see them.
///
/// `openat2(2)` with `RESOLVE_IN_ROOT`, Linux 5.6: no name leads out of `root`, whatever the guest does to its tree
/// meanwhile. Mount at the descriptor, not at the path.
#[doc(alias = "openat2")]
pub fn target_in_root(root: BorrowedFd<'_>, path: impl AsRef<Path>, kind: TargetKind) -> Result<OwnedFd> {
    open_target(root, path.as_ref(), kind, ResolveFlags::empty())
}

/// The same where no symbolic link is accepted at all: `ELOOP`. For our own targets such as `/dev` and `/proc`,
/// whose masks must not land anywhere else.
pub fn target_in_root_strict(
    root: BorrowedFd<'_>,
    path: impl AsRef<Path>,
    kind: TargetKind,
) -> Result<OwnedFd> {
    open_target(root, path.as_ref(), kind, ResolveFlags::NO_SYMLINKS)
}

/// Opens a symbolic link itself where no other one is accepted on the way: `ELOOP`.
pub fn link_in_root_strict(root: BorrowedFd<'_>, path: impl AsRef<Path>) -> Result<OwnedFd> {
    let path = path.as_ref();
    let flags = OFlags::PATH | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_SYMLINKS;
    rustix::fs::openat2(root, path, flags, Mode::empty(), resolve)
        .blame_with("openat2(2)", || format!("{} in {}", path.display(), described(root)))
}

fn open_target(root: BorrowedFd<'_>, path: &Path, kind: TargetKind, more: ResolveFlags) -> Result<OwnedFd> {
    let mut flags = OFlags::PATH | OFlags::CLOEXEC;
    if kind == TargetKind::Directory {
        flags |= OFlags::DIRECTORY;
    }
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | more;
    let object = || format!("{} in {}", path.display(), described(root));
    let fd =
        rustix::fs::openat2(root, path, flags, Mode::empty(), resolve).blame_with("openat2(2)", object)?;
    if kind == TargetKind::File {
        let stat = rustix::fs::fstat(&fd).blame_with("fstat(2)", object)?;
        if rustix::fs::FileType::from_raw_mode(stat.st_mode).is_dir() {
            return Err(Fault::from_errno("openat2(2)", object(), libc::EISDIR));
        }
    }
    Ok(fd)
}

/// Opens a directory of the host by path (`O_PATH`), the usual root for the functions above.
pub fn open_directory(path: impl AsRef<Path>) -> Result<OwnedFd> {
    let path = path.as_ref();
    rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .blame_with("open(2)", || path.display().to_string())
}

/// Nothing mounted at or below `path` is seen elsewhere any more, and nothing comes in.
pub fn make_private(path: impl AsRef<Path>, recursion: Recursion) -> Result<()> {
    change_propagation(path.as_ref(), Propagation::Private, recursion)
}

/// What the other side mounts still comes in, nothing goes out.
pub fn make_slave(path: impl AsRef<Path>, recursion: Recursion) -> Result<()> {
    change_propagation(path.as_ref(), Propagation::Slave, recursion)
}

/// Mounts are seen on both sides.
pub fn make_shared(path: impl AsRef<Path>, recursion: Recursion) -> Result<()> {
    change_propagation(path.as_ref(), Propagation::Shared, recursion)
}

fn change_propagation(path: &Path, propagation: Propagation, recursion: Recursion) -> Result<()> {
    let recursive = match recursion {
        Recursion::One => MountPropagationFlags::empty(),
        Recursion::All => MountPropagationFlags::REC,
    };
    rustix::mount::mount_change(path, propagation.flag() | recursive)
        .blame_with("mount(2)", || format!("{propagation:?} propagation of {}", path.display()))
}

/// Makes the directory `new_root` the root of this mount namespace and lets go of the old one.
///
/// `new_root` must be the root of a mount that is not shared: `EINVAL` otherwise. Afterwards the working directory
/// is the new `/`, and the old root with all below it is detached.
#[doc(alias = "pivot_root")]
pub fn pivot_into(new_root: BorrowedFd<'_>) -> Result<()> {
    rustix::process::fchdir(new_root).blame_with("fchdir(2)", || described(new_root))?;
    // Both the same: the old root lands on top of the new one, so that no directory is needed for it. See
    // pivot_root(2), "pivot_root(".", ".")".
    rustix::process::pivot_root(c".", c".").blame_with("pivot_root(2)", || described(new_root))?;
    rustix::mount::unmount(c".", UnmountFlags::DETACH).blame("umount2(2)", "the old root")?;
    rustix::process::chdir(c"/").blame("chdir(2)", "/")
}

/// Takes the mount at `path` (and all below) out of the tree; it ends when nobody uses it any more.
///
/// Does not follow a symbolic link at the end. `EINVAL`: nothing is mounted there.
#[doc(alias = "umount2")]
pub fn unmount_lazily(path: impl AsRef<Path>) -> Result<()> {
    let path = path.as_ref();
    rustix::mount::unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)
        .blame_with("umount2(2)", || path.display().to_string())
}

/// One line of `/proc/PID/mountinfo`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountEntry {
    /// Number of the mount; reused after it has ended.
    pub id: u64,
    /// The mount that it is mounted on.
    pub parent: u64,
    /// Device of the filesystem.
    pub device: (u32, u32),
    /// The directory of the filesystem that is shown.
    pub root: PathBuf,
    /// Where, relative to the process's root.
    pub mount_point: PathBuf,
    /// Options of the mount.
    pub options: Vec<String>,
    /// Propagation: `shared:N`, `master:N`, `propagate_from:N`, `unbindable`.
    pub propagation: Vec<String>,
    /// Type, with subtype.
    pub fstype: String,
    /// Device or name.
    pub source: OsString,
    /// Options of the filesystem.
    pub super_options: Vec<String>,
}

/// The mounts of the calling process, in the kernel's order.
pub fn table() -> Result<Vec<MountEntry>> {
    read_table("/proc/self/mountinfo")
}

/// The mounts that another process sees, relative to its root.
pub fn table_of(pid: i32) -> Result<Vec<MountEntry>> {
    read_table(&format!("/proc/{pid}/mountinfo"))
}

fn read_table(path: &str) -> Result<Vec<MountEntry>> {
    let bytes = std::fs::read(path).blame("read(2)", path)?;
    bytes
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| {
            parse_mount_line(line).ok_or_else(|| {
                let line = String::from_utf8_lossy(line);
                Fault::from_errno("parse", format!("{path}: {line}"), libc::EBADMSG)
            })
        })
        .collect()
}

/// Parses a line of mountinfo (`proc_pid_mountinfo(5)`); `None` if it is not one.
pub fn parse_mount_line(line: &[u8]) -> Option<MountEntry> {
    fn text(field: &[u8]) -> String {
        String::from_utf8_lossy(field).into_owned()
    }
    fn list(field: &[u8]) -> Vec<String> {
        field.split(|b| *b == b',').map(text).collect()
    }
    fn number<T: std::str::FromStr>(field: &[u8]) -> Option<T> {
        std::str::from_utf8(field).ok()?.parse().ok()
    }
    let mut fields = line.split(|byte| *byte == b' ');
    let id = number(fields.next()?)?;
    let parent = number(fields.next()?)?;
    let mut device = fields.next()?.split(|b| *b == b':');
    let device = (number(device.next()?)?, number(device.next()?)?);
    let root = PathBuf::from(unescape(fields.next()?));
    let mount_point = PathBuf::from(unescape(fields.next()?));
    let options = list(fields.next()?);
    let mut propagation = Vec::new();
    loop {
        match fields.next()? {
            b"-" => break,
            field => propagation.push(text(field)),
        }
    }
    let fstype = text(unescape(fields.next()?).as_bytes());
    let source = unescape(fields.next()?);
    // Empty when a filesystem has no options to show.
    let super_options = list(fields.next().unwrap_or_default());
    Some(MountEntry {
        id,
        parent,
        device,
        root,
        mount_point,
        options,
        propagation,
        fstype,
        source,
        super_options,
    })
}

/// Space, tab, newline and backslash are written as `\040` and so on.
fn unescape(field: &[u8]) -> OsString {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, tail)) = rest.split_first() {
        if first == b'\\'
            && let Some(digits) = tail.get(..3)
            && let Some(value) = octal(digits)
        {
            bytes.push(value);
            rest = &tail[3..];
        } else {
            bytes.push(first);
            rest = tail;
        }
    }
    OsString::from_vec(bytes)
}

fn octal(digits: &[u8]) -> Option<u8> {
    digits.iter().try_fold(0_u8, |value, digit| match digit {
        b'0'..=b'7' => value.checked_mul(8)?.checked_add(digit - b'0'),
        _ => None,
    })
}

/// The name of a filesystem's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FilesystemType {
    /// A type that we know by name.
    Known(&'static str),
    /// Another one, by its magic number.
    Other(u64),
}

impl fmt::Display for FilesystemType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(name) => f.write_str(name),
            Self::Other(magic) => write!(f, "filesystem {magic:#x}"),
        }
    }
}

/// The type of the filesystem that `fd` is on, for decisions and error texts.
///
/// `fstatfs(2)` and the magic numbers of `<linux/magic.h>`; ext2, ext3 and ext4 share one and are called ext4.
#[doc(alias = "statfs")]
pub fn filesystem_type(fd: BorrowedFd<'_>) -> Result<FilesystemType> {
    let stat = rustix::fs::fstatfs(fd).blame_with("fstatfs(2)", || described(fd))?;
    // The field is signed on some machines; the number has 32 bits.
    let magic = u64::try_from(stat.f_type).unwrap_or_default() & 0xffff_ffff;
    Ok(match magic {
        0xef53 => FilesystemType::Known("ext4"),
        0x5846_5342 => FilesystemType::Known("xfs"),
        0x9123_683e => FilesystemType::Known("btrfs"),
        0x0102_1994 => FilesystemType::Known("tmpfs"),
        0x8584_58f6 => FilesystemType::Known("ramfs"),
        0x6969 => FilesystemType::Known("nfs"),
        0x794c_7630 => FilesystemType::Known("overlay"),
        0x2fc1_2fc1 => FilesystemType::Known("zfs"),
        0xf2f5_2010 => FilesystemType::Known("f2fs"),
        0xca45_1a4e => FilesystemType::Known("bcachefs"),
        0x6573_5546 => FilesystemType::Known("fuse"),
        0xff53_4d42 => FilesystemType::Known("cifs"),
        0x0102_1997 => FilesystemType::Known("9p"),
        0x00c3_6400 => FilesystemType::Known("ceph"),
        0x7371_7368 => FilesystemType::Known("squashfs"),
        0xe0f5_e1e2 => FilesystemType::Known("erofs"),
        0x9660 => FilesystemType::Known("iso9660"),
        0x4d44 => FilesystemType::Known("vfat"),
        0x9fa0 => FilesystemType::Known("proc"),
        0x6265_6572 => FilesystemType::Known("sysfs"),
        0x0027_e0eb => FilesystemType::Known("cgroup"),
        0x6367_7270 => FilesystemType::Known("cgroup2"),
        0x1cd1 => FilesystemType::Known("devpts"),
        0xcafe_4a11 => FilesystemType::Known("bpf"),
        other => FilesystemType::Other(other),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_with_escapes_and_propagation_is_read() {
        let line = br"36 35 98:0 /mnt1 /mnt\0402\134x rw,noatime master:1 shared:7 - ext3 /dev/ro\011ot rw,errors=continue";
        let entry = parse_mount_line(line).unwrap();
        assert_eq!((entry.id, entry.parent, entry.device), (36, 35, (98, 0)));
        assert_eq!(entry.mount_point, Path::new("/mnt 2\\x"));
        assert_eq!(entry.propagation, ["master:1", "shared:7"]);
        assert_eq!((entry.fstype.as_str(), entry.source.to_str()), ("ext3", Some("/dev/ro\tot")));
        assert_eq!(entry.super_options, ["rw", "errors=continue"]);
    }

    #[test]
    fn a_line_without_propagation_is_read_and_a_cut_one_is_not() {
        let line = b"22 27 0:21 / /proc rw,relatime - proc proc rw";
        assert!(parse_mount_line(line).unwrap().propagation.is_empty());
        assert_eq!(parse_mount_line(b"22 27 0:21 / /proc rw,relatime"), None);
    }

    #[test]
    fn our_own_table_has_a_root() {
        assert!(table().unwrap().iter().any(|entry| entry.mount_point == Path::new("/")));
    }

    #[test]
    fn relatime_clears_the_whole_field() {
        let raw = Attributes::new().clear(attr::NO_ATIME).set(attr::NO_DEV).raw();
        assert_eq!((raw.set, raw.clear), (attr::NO_DEV, attr::ATIME_FIELD));
    }

    proptest::proptest! {
        #[test]
        fn no_line_makes_the_parser_panic(line in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let read = parse_mount_line(&line);
            proptest::prop_assert!(read.is_none() || line.contains(&b'-'));
        }
    }
}
