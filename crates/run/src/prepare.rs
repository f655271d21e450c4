//! What an init style wants done in the tree before its command runs.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use vserver_kernel::beneath::{Access, FileKind, Root};
use vserver_model::InitStyle;

use crate::failure::{Doing, Failure};

/// Where a guest keeps who is logged in, and its runlevel.
const UTMP: &str = "/var/run/utmp";

/// Removes what the last run of the guest left behind; its utmp stays if it is written over next.
///
/// # Errors
/// The tree cannot be written. What a hostile tree puts in the way (links, loops) is passed over.
pub fn clean(root: &Root, style: InitStyle, keep_utmp: bool) -> Result<(), Failure> {
    let kept = keep_utmp.then_some(Path::new(UTMP));
    match style {
        InitStyle::Sysv => {
            for directory in ["/var/run", "/var/lock"] {
                remove_files_below(root, Path::new(directory), kept)?;
            }
        }
        InitStyle::Plain | InitStyle::Systemd => {
            for file in ["/.autofsck", "/forcefsck"] {
                remove_if_there(root, Path::new(file))?;
            }
            if matches!(style, InitStyle::Plain) && !is_file_of(root, "/fastboot", 0) {
                root.write("/fastboot", b"", 0o644).doing(|| "create /fastboot in the guest".into())?;
            }
        }
        _ => {}
    }
    Ok(())
}

/// Whether a regular file of this length is there, with no other name.
fn is_file_of(root: &Root, path: &str, bytes: u64) -> bool {
    root.symlink_metadata(path)
        .is_ok_and(|found| found.kind == FileKind::File && found.size == bytes && found.links == 1)
}

/// Deletes everything but directories and `kept`, all the way down.
fn remove_files_below(root: &Root, directory: &Path, kept: Option<&Path>) -> Result<(), Failure> {
    let mut waiting: Vec<PathBuf> = vec![directory.to_owned()];
    while let Some(directory) = waiting.pop() {
        // Not there, or not a directory: nothing is left behind in it.
        let Ok(entries) = root.entries(&directory) else { continue };
        for entry in entries {
            let path = directory.join(&entry.name);
            if entry.kind == FileKind::Directory {
                waiting.push(path);
            } else if Some(path.as_path()) != kept {
                remove_if_there(root, &path)?;
            }
        }
    }
    Ok(())
}

fn remove_if_there(root: &Root, path: &Path) -> Result<(), Failure> {
    match root.remove_file(path) {
        Ok(()) => Ok(()),
        Err(fault) if fault.is(libc::ENOENT) || fault.is(libc::ENOTDIR) || fault.is(libc::ELOOP) => Ok(()),
        Err(fault) => Err(fault).doing(|| format!("remove {} in the guest", path.display())),
    }
}

/// One `RUN_LVL` record in the guest's utmp, as its init would write it, and nothing else.
///
/// # Errors
/// The tree cannot be written.
pub fn runlevel_record(root: &Root, level: u8, seconds: u64) -> Result<(), Failure> {
    let record = utmp_record(level, seconds);
    // The usual case: that of the last start is written over. A new file costs ext4 ten times as much, which looks for
    // an inode that was not deleted just now, and a file that replaces another is written to the disk at once.
    if is_file_of(root, UTMP, record.len() as u64)
        && root.open_file(UTMP, Access::Write).is_ok_and(|mut utmp| utmp.write_all(&record).is_ok())
    {
        return Ok(());
    }
    match root.write(UTMP, &record, 0o664) {
        Ok(()) => Ok(()),
        // A guest without /var/run keeps no utmp.
        Err(fault) if fault.is(libc::ENOENT) || fault.is(libc::ENOTDIR) => Ok(()),
        Err(fault) => Err(fault).doing(|| "write the guest's utmp".into()),
    }
}

/// `sizeof(struct utmp)` of glibc on 64-bit Linux, utmp(5).
const UTMP_SIZE: usize = 384;
/// Type of a runlevel record.
const RUN_LVL: i16 = 1;

/// type 2 bytes (2 padding), pid 4, line 32, id 4, user 32, host 256, exit 4, session 4, seconds 4, microseconds 4 …
fn utmp_record(level: u8, seconds: u64) -> [u8; UTMP_SIZE] {
    let mut record = [0u8; UTMP_SIZE];
    record[..2].copy_from_slice(&RUN_LVL.to_ne_bytes());
    // pid: the old runlevel in the high byte ('N': none), the new one in the low.
    let pid = i32::from(b'N') * 256 + i32::from(level);
    record[4..8].copy_from_slice(&pid.to_ne_bytes());
    record[8] = b'~';
    record[40..42].copy_from_slice(b"~~");
    record[44..52].copy_from_slice(b"runlevel");
    // The field has 32 bits also on 64-bit machines; the year 2106 is its limit.
    let seconds = u32::try_from(seconds).unwrap_or(u32::MAX);
    record[340..344].copy_from_slice(&seconds.to_ne_bytes());
    record
}

/// Writes the guest's `/etc/mtab`, unless it is a link (into /proc: then the kernel tells) or cannot be written.
///
/// # Errors
/// The disk is full or similar.
pub fn mtab(root: &Root, initial: &[u8], entries: &[String]) -> Result<(), Failure> {
    if root.read_link("/etc/mtab").is_ok() {
        return Ok(());
    }
    let mut text = initial.to_vec();
    for entry in entries {
        text.extend_from_slice(entry.as_bytes());
        text.push(b'\n');
    }
    // The usual case: it is that of the last start. A file that replaces another is written to the disk at once.
    let there = root.symlink_metadata("/etc/mtab").is_ok_and(|found| found.kind == FileKind::File);
    if there && root.read("/etc/mtab", text.len() + 1).is_ok_and(|old| old == text) {
        return Ok(());
    }
    match root.write("/etc/mtab", &text, 0o644) {
        Ok(()) => Ok(()),
        Err(fault)
            if [libc::ENOENT, libc::ENOTDIR, libc::EROFS, libc::ELOOP, libc::EISDIR]
                .iter()
                .any(|&e| fault.is(e)) =>
        {
            Ok(())
        }
        Err(fault) => Err(fault).doing(|| "write the guest's /etc/mtab".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runlevel_record_is_one_utmp_entry() {
        let record = utmp_record(b'3', 1_700_000_000);
        assert_eq!(i16::from_ne_bytes([record[0], record[1]]), 1);
        assert_eq!(&record[44..52], b"runlevel");
        assert_eq!(record[4], b'3');
        assert_eq!(u32::from_ne_bytes(record[340..344].try_into().unwrap()), 1_700_000_000);
    }
}
