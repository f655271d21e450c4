//! The part of /proc/self/mountinfo that the rest of this crate looks at.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use crate::{HostError, file};

/// One mount of a kind that matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mount {
    /// File system type.
    pub fstype: String,
    /// Directory of the file system that is shown; `/` for all of it.
    pub root: PathBuf,
    /// Where it is mounted.
    pub point: PathBuf,
    /// Options of the file system itself: for cgroup its controllers.
    pub super_options: String,
}

/// The mounts of pseudo file systems, in mount order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mounts(Vec<Mount>);

impl Mounts {
    pub(crate) fn read() -> Result<Self, HostError> {
        Ok(Self::parse(&file::required(Path::new("/proc/self/mountinfo"))?))
    }

    /// Lines that are not as proc(5) describes them are skipped: a mount that we cannot name is one we do not use.
    pub(crate) fn parse(text: &[u8]) -> Self {
        Self(text.split(|&byte| byte == b'\n').filter_map(parse_line).collect())
    }

    pub(crate) fn of_type<'a>(&'a self, fstype: &'a str) -> impl Iterator<Item = &'a Mount> {
        self.0.iter().filter(move |mount| mount.fstype == fstype)
    }

    pub(crate) fn first_of(&self, fstype: &str) -> Option<&Mount> {
        self.0.iter().find(|mount| mount.fstype == fstype)
    }
}

/// Hosts have thousands of mounts; only these kinds are kept, and only their lines are unescaped.
const KINDS: [&[u8]; 3] = [b"cgroup", b"cgroup2", b"bpf"];

fn parse_line(line: &[u8]) -> Option<Mount> {
    let separator = line.windows(3).position(|window| window == b" - ")?;
    let mut tail = line[separator + 3..].split(|&byte| byte == b' ');
    let fstype = tail.next()?;
    if !KINDS.contains(&fstype) {
        return None;
    }
    let super_options = String::from_utf8_lossy(tail.nth(1)?).into_owned();
    let mut head = line[..separator].split(|&byte| byte == b' ').skip(3);
    Some(Mount {
        fstype: String::from_utf8_lossy(fstype).into_owned(),
        root: unescape(head.next()?),
        point: unescape(head.next()?),
        super_options,
    })
}

/// Undoes the octal escapes of proc(5).
fn unescape(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, after)) = rest.split_first() {
        match after {
            [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', tail @ ..] if byte == b'\\' => {
                bytes.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                rest = tail;
            }
            _ => {
                bytes.push(byte);
                rest = after;
            }
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_kinds_that_matter_are_kept_with_their_escapes_undone() {
        let text = b"22 27 0:21 / /proc rw,relatime - proc proc rw\n\
            32 31 0:29 / /sys/fs/cgroup/a\\040b rw shared:3 - cgroup cgroup rw,cpu,cpuacct\n\
            41 31 0:38 /x /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate\nbroken - cgroup\n";
        let mounts = Mounts::parse(text);
        assert_eq!(mounts.first_of("proc"), None);
        let v1 = mounts.first_of("cgroup").unwrap();
        assert_eq!(
            (v1.point.as_path(), v1.super_options.as_str()),
            (Path::new("/sys/fs/cgroup/a b"), "rw,cpu,cpuacct")
        );
        assert_eq!(mounts.of_type("cgroup2").next().unwrap().root, Path::new("/x"));
        assert_eq!(mounts.of_type("cgroup").count(), 1);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(text in proptest::collection::vec(proptest::num::u8::ANY, 0..400)) {
            let _ = Mounts::parse(&text);
            let mut line = b"1 2 0:1 ".to_vec();
            line.extend(&text);
            line.extend(b" - cgroup cgroup rw");
            let _ = Mounts::parse(&line);
        }
    }
}
