//! Reading small files with as few system calls as there can be.

use std::io;
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use crate::HostError;

/// All bytes of `path`.
///
/// Files of /proc and /sys say that they are 0 or 4096 bytes long; the standard library therefore asks first and then
/// reads in steps of 32 bytes, and the kernel prints some of these files (mountinfo) anew for every step.
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let fd = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut bytes = Vec::with_capacity(4096);
    loop {
        if bytes.spare_capacity_mut().is_empty() {
            bytes.reserve(bytes.len());
        }
        if rustix::io::retry_on_intr(|| rustix::io::read(&fd, rustix::buffer::spare_capacity(&mut bytes)))?
            == 0
        {
            return Ok(bytes);
        }
    }
}

/// A file without which nothing can be said.
pub(crate) fn required(path: &Path) -> Result<Vec<u8>, HostError> {
    read(path).map_err(|source| HostError::Read { path: path.to_owned(), source })
}

/// The text of a file of which it is also a fact that it is missing or unreadable, without white space at its ends.
pub(crate) fn text(path: impl AsRef<Path>) -> Option<String> {
    read(path.as_ref()).ok().map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_files_are_read_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("long");
        let bytes: Vec<u8> = (0..50_000u32).map(|n| n.to_le_bytes()[0]).collect();
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(read(&path).unwrap(), bytes);
        assert_eq!(text("/proc/sys/kernel/ostype").as_deref(), Some("Linux"));
        assert_eq!(text("/nonexistent"), None);
        assert_eq!(required(Path::new("/nonexistent")).unwrap_err().to_string(), "cannot read /nonexistent");
    }
}
