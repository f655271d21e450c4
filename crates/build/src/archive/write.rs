//! Writing a tree as a tar archive, for the cache: pax form, so that names, owners, times and attributes of any kind
//! fit, hard links once.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::{Read as _, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use vserver_tree::{Root, TreeError, attributes};

const BLOCK: usize = 512;

/// Writes everything below `root` but what `leave_out` accepts (a directory with all below it), names in byte order.
///
/// # Errors
/// A file cannot be read, the output not written, or `stop` said so (`EINTR`).
pub fn write_tree(
    root: &Root,
    output: &mut dyn Write,
    leave_out: &dyn Fn(&Path) -> bool,
    stop: &dyn Fn() -> bool,
) -> Result<(), TreeError> {
    let mut writer = Writer { root, prefix: Path::new(""), output, leave_out, stop, links: HashMap::new() };
    writer.directory(Path::new(""))?;
    // The end: two blocks of zeros.
    writer.put(Path::new(""), &[0; 2 * BLOCK])
}

/// Writes several trees as one archive, each below a directory of its name.
///
/// # Errors
/// As [`write_tree`].
pub fn write_trees(
    trees: &[(&str, &Root)],
    output: &mut dyn Write,
    leave_out: &dyn Fn(&str, &Path) -> bool,
    stop: &dyn Fn() -> bool,
) -> Result<(), TreeError> {
    for (name, root) in trees {
        let leave_out = |path: &Path| leave_out(name, path);
        let prefix = Path::new(name);
        let mut writer = Writer { root, prefix, output, leave_out: &leave_out, stop, links: HashMap::new() };
        writer.top()?;
        writer.directory(Path::new(""))?;
    }
    output.write_all(&[0; 2 * BLOCK]).map_err(|error| TreeError::new("archive", "", error))
}

struct Writer<'a> {
    root: &'a Root,
    /// What stands before each name in the archive.
    prefix: &'a Path,
    output: &'a mut dyn Write,
    leave_out: &'a dyn Fn(&Path) -> bool,
    stop: &'a dyn Fn() -> bool,
    links: HashMap<(u64, u64), PathBuf>,
}

impl Writer<'_> {
    /// The tree's own directory.
    fn top(&mut self) -> Result<(), TreeError> {
        let cannot = |errno: Errno| TreeError::new("read attributes of", self.root.path(), errno);
        let dir = open(&self.root.directory(".")?, OsStr::new("."), OFlags::DIRECTORY).map_err(cannot)?;
        let stat = rustix::fs::fstat(&dir).map_err(cannot)?;
        let records = attribute_records(&dir).map_err(cannot)?;
        self.header(Path::new(""), b'5', &stat, 0, b"", records)
    }

    fn directory(&mut self, path: &Path) -> Result<(), TreeError> {
        for name in self.root.entries(path)? {
            let below = path.join(name);
            if (self.stop)() {
                return Err(TreeError::new("read", self.root.shown(&below), Errno::INTR));
            }
            if !(self.leave_out)(&below) {
                self.entry(&below)?;
            }
        }
        Ok(())
    }

    fn entry(&mut self, path: &Path) -> Result<(), TreeError> {
        let shown = self.root.shown(path);
        let cannot = |op| move |errno: Errno| TreeError::new(op, shown.clone(), errno);
        let (dir, name) = self.root.parent(path)?;
        let stat =
            rustix::fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW).map_err(cannot.clone()("examine"))?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind != FileType::Directory && stat.st_nlink > 1 {
            if let Some(first) = self.links.get(&(stat.st_dev, stat.st_ino)) {
                let target = first.as_os_str().as_bytes().to_vec();
                return self.header(path, b'1', &stat, 0, &target, Vec::new());
            }
            self.links.insert((stat.st_dev, stat.st_ino), self.prefix.join(path));
        }
        match kind {
            FileType::RegularFile => {
                let file = open(&dir, name, OFlags::empty()).map_err(cannot.clone()("open"))?;
                let records = attribute_records(&file).map_err(cannot("read attributes of"))?;
                let length = u64::try_from(stat.st_size).unwrap_or(0);
                self.header(path, b'0', &stat, length, b"", records)?;
                self.content(path, file, length)
            }
            FileType::Directory => {
                let file = open(&dir, name, OFlags::DIRECTORY).map_err(cannot.clone()("open"))?;
                let records = attribute_records(&file).map_err(cannot("read attributes of"))?;
                self.header(path, b'5', &stat, 0, b"", records)?;
                self.directory(path)
            }
            FileType::Symlink => {
                let target =
                    rustix::fs::readlinkat(&dir, name, Vec::new()).map_err(cannot("read the link"))?;
                self.header(path, b'2', &stat, 0, target.as_bytes(), Vec::new())
            }
            FileType::CharacterDevice => self.header(path, b'3', &stat, 0, b"", Vec::new()),
            FileType::BlockDevice => self.header(path, b'4', &stat, 0, b"", Vec::new()),
            FileType::Fifo => self.header(path, b'6', &stat, 0, b"", Vec::new()),
            // A socket belongs to a program that runs.
            _ => Ok(()),
        }
    }

    fn content(&mut self, path: &Path, file: OwnedFd, length: u64) -> Result<(), TreeError> {
        let mut file = std::fs::File::from(file).take(length);
        let mut buffer = vec![0_u8; 1 << 17];
        let mut left = length;
        while left > 0 {
            let got = file.read(&mut buffer).map_err(|e| TreeError::new("read", self.root.shown(path), e))?;
            if got == 0 {
                // Shorter than it was a moment ago: the length is written already.
                return Err(TreeError::new("read", self.root.shown(path), Errno::STALE));
            }
            self.put(path, &buffer[..got])?;
            left -= got as u64;
        }
        self.pad(path, length)
    }

    fn header(
        &mut self,
        path: &Path,
        kind: u8,
        stat: &Stat,
        length: u64,
        target: &[u8],
        mut records: Vec<u8>,
    ) -> Result<(), TreeError> {
        let name = self.prefix.join(path);
        let name = name.as_os_str().as_bytes();
        let mut block = [0_u8; BLOCK];
        let mut needs = |key: &str, value: &[u8]| record(&mut records, key.as_bytes(), value);
        if !fits(&mut block[..100], name) {
            needs("path", name);
        }
        if !fits(&mut block[157..257], target) {
            needs("linkpath", target);
        }
        if !octal(&mut block[108..116], stat.st_uid.into()) {
            needs("uid", stat.st_uid.to_string().as_bytes());
        }
        if !octal(&mut block[116..124], stat.st_gid.into()) {
            needs("gid", stat.st_gid.to_string().as_bytes());
        }
        if !octal(&mut block[124..136], length) {
            needs("size", length.to_string().as_bytes());
        }
        if !u64::try_from(stat.st_mtime).is_ok_and(|seconds| octal(&mut block[136..148], seconds)) {
            needs("mtime", stat.st_mtime.to_string().as_bytes());
        }
        octal(&mut block[100..108], u64::from(stat.st_mode) & 0o7777);
        octal(&mut block[329..337], rustix::fs::major(stat.st_rdev).into());
        octal(&mut block[337..345], rustix::fs::minor(stat.st_rdev).into());
        block[156] = kind;
        if !records.is_empty() {
            let mut extended = [0_u8; BLOCK];
            fits(&mut extended[..100], b"pax");
            octal(&mut extended[100..108], 0o644);
            octal(&mut extended[108..116], 0);
            octal(&mut extended[116..124], 0);
            octal(&mut extended[124..136], records.len() as u64);
            octal(&mut extended[136..148], 0);
            extended[156] = b'x';
            self.put(path, &signed(extended))?;
            self.put(path, &records)?;
            self.pad(path, records.len() as u64)?;
        }
        self.put(path, &signed(block))
    }

    fn put(&mut self, path: &Path, bytes: &[u8]) -> Result<(), TreeError> {
        self.output.write_all(bytes).map_err(|e| TreeError::new("archive", self.root.shown(path), e))
    }

    fn pad(&mut self, path: &Path, length: u64) -> Result<(), TreeError> {
        let over = usize::try_from(length % BLOCK as u64).unwrap_or(0);
        if over == 0 { Ok(()) } else { self.put(path, &[0; BLOCK][over..]) }
    }
}

fn open(dir: &OwnedFd, name: &OsStr, more: OFlags) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    rustix::fs::openat(dir, name, flags | more, Mode::empty())
}

/// Attributes in the form that keeps any byte; access lists go as attributes too, which only we read back.
fn attribute_records(file: &OwnedFd) -> rustix::io::Result<Vec<u8>> {
    let mut records = Vec::new();
    for (name, value) in attributes::read_all(file)? {
        if attributes::is_portable(name.as_bytes()) {
            record(&mut records, &[b"SCHILY.xattr.", name.as_bytes()].concat(), &value);
        }
    }
    Ok(records)
}

/// `LENGTH KEY=VALUE\n`, LENGTH counting its own digits too.
fn record(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    records.extend_from_slice(length.to_string().as_bytes());
    records.push(b' ');
    records.extend_from_slice(key);
    records.push(b'=');
    records.extend_from_slice(value);
    records.push(b'\n');
}

/// Copies text into a field if it fits; a field may be full, without a NUL.
fn fits(field: &mut [u8], text: &[u8]) -> bool {
    if text.len() > field.len() {
        return false;
    }
    field[..text.len()].copy_from_slice(text);
    true
}

/// Writes a number in octal digits with a NUL behind, if it fits; zero otherwise.
fn octal(field: &mut [u8], number: u64) -> bool {
    let digits = field.len() - 1;
    let text = format!("{number:0digits$o}");
    let does_fit = text.len() == digits;
    let text = if does_fit { text } else { "0".repeat(digits) };
    field[..digits].copy_from_slice(text.as_bytes());
    does_fit
}

fn signed(mut block: [u8; BLOCK]) -> [u8; BLOCK] {
    block[257..265].copy_from_slice(b"ustar\x0000");
    block[148..156].fill(b' ');
    let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::extract::{Options, extract};
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
    use vserver_tree::device::DevicePolicy;

    #[test]
    fn what_is_written_is_read_back() {
        let (source, target) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (a, b) = (source.path(), target.path());
        let long = "n".repeat(120);
        std::fs::create_dir_all(a.join(&long).join("empty")).unwrap();
        std::fs::write(a.join(&long).join("file"), vec![7; 1300]).unwrap();
        std::fs::hard_link(a.join(&long).join("file"), a.join("zz")).unwrap();
        symlink(format!("{long}/{long}"), a.join("link")).unwrap();
        std::fs::write(a.join("left-out"), "x").unwrap();
        std::fs::set_permissions(a.join("zz"), std::fs::Permissions::from_mode(0o4750)).unwrap();
        let mut archive = Vec::new();
        let root = Root::open(a).unwrap();
        write_tree(&root, &mut archive, &|path| path == Path::new("left-out"), &|| false).unwrap();
        let options = Options { devices: DevicePolicy::All, stop: &|| false };
        let target = Root::open(b).unwrap();
        extract(Box::new(std::io::Cursor::new(archive)), Path::new("x"), &target, &options).unwrap();
        assert_eq!(std::fs::read(b.join("zz")).unwrap(), vec![7; 1300]);
        let (zz, file) = (b.join("zz").metadata().unwrap(), b.join(&long).join("file").metadata().unwrap());
        assert_eq!(zz.ino(), file.ino());
        assert_eq!(zz.mode() & 0o7777, 0o4750);
        assert_eq!(zz.mtime(), a.join("zz").metadata().unwrap().mtime());
        assert_eq!(std::fs::read_link(b.join("link")).unwrap(), Path::new(&format!("{long}/{long}")));
        assert!(b.join(&long).join("empty").is_dir() && !b.join("left-out").exists());
    }

    #[test]
    fn several_trees_go_into_one_archive() {
        let (source, target) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (a, b) = (source.path(), target.path());
        for part in ["one", "two"] {
            std::fs::create_dir(a.join(part)).unwrap();
            std::fs::write(a.join(part).join("x"), part).unwrap();
            std::fs::hard_link(a.join(part).join("x"), a.join(part).join("y")).unwrap();
        }
        std::fs::set_permissions(a.join("two"), std::fs::Permissions::from_mode(0o2711)).unwrap();
        let sparse = std::fs::File::create_new(a.join("one/sparse")).unwrap();
        sparse.set_len(8 << 20).unwrap();
        let (one, two) = (Root::open(a.join("one")).unwrap(), Root::open(a.join("two")).unwrap());
        let mut archive = Vec::new();
        let leave_out = |part: &str, path: &Path| part == "two" && path == Path::new("out");
        write_trees(&[("root", &one), ("config", &two)], &mut archive, &leave_out, &|| false).unwrap();
        let options = Options { devices: DevicePolicy::All, stop: &|| false };
        let root = Root::open(b).unwrap();
        extract(Box::new(std::io::Cursor::new(archive)), Path::new("x"), &root, &options).unwrap();
        let meta = |path: &str| b.join(path).metadata().unwrap();
        assert_eq!(std::fs::read_to_string(b.join("config/y")).unwrap(), "two");
        assert_eq!(meta("root/x").ino(), meta("root/y").ino());
        assert_eq!(meta("config").mode() & 0o7777, 0o2711);
        assert_eq!(meta("root/sparse").len(), 8 << 20);
        assert!(meta("root/sparse").blocks() < 64, "a hole was filled");
    }

    #[test]
    fn a_records_length_counts_itself() {
        for length in [90, 91, 92, 93, 94, 989, 990, 991, 992] {
            let mut records = Vec::new();
            record(&mut records, b"k", &vec![b'v'; length]);
            let told: usize = String::from_utf8_lossy(&records).split(' ').next().unwrap().parse().unwrap();
            assert_eq!(told, records.len());
        }
    }
}
