//! Owners, modes, times and extended attributes, set by descriptor and in the order that keeps them.
//!
//! `chown(2)` clears set-user-id bits and file capabilities, a change of mode rewrites the access list's mask, so
//! the order is owner, mode, extended attributes, times.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, AsRawFd as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::{Stat, Timespec, Timestamps, UTIME_OMIT, XattrFlags};
use rustix::io::Errno;

/// Whether an extended attribute of this name is taken from a foreign tree: users' own, file capabilities and access
/// control lists.
///
/// Not `trusted.*`: overlayfs keeps its redirections there, and a prepared one leads where it likes. Not the labels
/// of security modules: they name the other system's policy.
pub fn is_portable(name: &[u8]) -> bool {
    name.starts_with(b"user.")
        || name == b"security.capability"
        || name == b"system.posix_acl_access"
        || name == b"system.posix_acl_default"
}

/// The extended attributes of an open file, name and value; none on a filesystem without them.
///
/// # Errors
/// The kernel refuses to list or read them.
pub fn read_all(file: impl AsFd) -> rustix::io::Result<Vec<(OsString, Vec<u8>)>> {
    let mut names = Vec::new();
    let file = file.as_fd();
    for _ in 0..8 {
        let length = match rustix::fs::flistxattr_query(file) {
            Ok(length) => length,
            Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
            Err(errno) => return Err(errno),
        };
        if length == 0 {
            return Ok(Vec::new());
        }
        names.resize(length, 0_u8);
        match rustix::fs::flistxattr(file, &mut names[..]) {
            Ok(length) => {
                names.truncate(length);
                break;
            }
            Err(Errno::RANGE) => {} // grown meanwhile
            Err(errno) => return Err(errno),
        }
    }
    let mut found = Vec::new();
    for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let name = OsStr::from_bytes(name);
        let value = rustix::fs::fgetxattr_query(file, name).and_then(|length| {
            let mut value = vec![0_u8; length];
            rustix::fs::fgetxattr(file, name, &mut value[..]).map(|length| {
                value.truncate(length);
                value
            })
        });
        match value {
            Ok(value) => found.push((name.to_owned(), value)),
            Err(Errno::NODATA) => {} // gone meanwhile
            Err(errno) => return Err(errno),
        }
    }
    Ok(found)
}

/// Sets an extended attribute on anything that a descriptor stands for, `O_PATH` ones included.
///
/// # Errors
/// As `setxattr(2)`.
pub fn set(file: impl AsFd, name: &OsStr, value: &[u8]) -> rustix::io::Result<()> {
    match rustix::fs::fsetxattr(&file, name, value, XattrFlags::empty()) {
        // An O_PATH descriptor: the same file through its link in procfs, which leads to exactly that file.
        Err(Errno::BADF) => {
            let link = format!("/proc/self/fd/{}", file.as_fd().as_raw_fd());
            rustix::fs::setxattr(Path::new(&link), name, value, XattrFlags::empty())
        }
        other => other,
    }
}

/// Both times of a file as `utimensat(2)` wants them.
pub fn times(modified_seconds: i64, modified_nanoseconds: u32) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: modified_seconds, tv_nsec: modified_nanoseconds.into() },
    }
}

/// The times of a file that was examined.
pub fn times_of(stat: &Stat) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: stat.st_atime, tv_nsec: nanoseconds(stat.st_atime_nsec) },
        last_modification: Timespec { tv_sec: stat.st_mtime, tv_nsec: nanoseconds(stat.st_mtime_nsec) },
    }
}

fn nanoseconds<N: TryInto<i64>>(raw: N) -> i64 {
    raw.try_into().unwrap_or(0)
}
