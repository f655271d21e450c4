//! Disk quota of the file system that a descriptor is on.

use std::os::fd::{AsRawFd as _, BorrowedFd};

use super::checked;
use crate::{Blame, Result, described};

/// Whose use of a file system is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuotaKind {
    /// Per user: `USRQUOTA`.
    User,
    /// Per group: `GRPQUOTA`.
    Group,
    /// Per project, a mark on files and directories: `PRJQUOTA`.
    Project,
}

impl QuotaKind {
    fn number(self) -> libc::c_int {
        match self {
            Self::User => 0,
            Self::Group => 1,
            Self::Project => 2,
        }
    }
}

/// `Q_GETFMT` of `<linux/quota.h>`.
const GET_FORMAT: libc::c_int = 0x0080_0004;
/// `Q_XGETQSTAT` of `<linux/dqblk_xfs.h>`, which every file system with quota answers, and the flags of the answer
/// that say accounting is on, by kind.
const XFS_GET_STATE: libc::c_int = 0x5805;
const XFS_ACCOUNTING: [u16; 3] = [1 << 0, 1 << 2, 1 << 4];

/// Succeeds when quota of this kind is counted on the file system of `dir`.
///
/// `quotactl_fd(2)`, Linux 5.14. `ESRCH`: it is not turned on; `ENOSYS`: this kernel or this file system has none.
#[doc(alias = "quotactl_fd")]
pub fn quota_is_on(dir: BorrowedFd<'_>, kind: QuotaKind) -> Result<()> {
    let object = || described(dir);
    // Large enough for both answers: a number of 32 bits, and struct fs_quota_stat of 80 bytes.
    let mut answer = [0_u64; 16];
    let command = |subcommand: libc::c_int| (subcommand << 8) | kind.number();
    let mut ask = |subcommand| {
        let number = libc::SYS_quotactl_fd;
        // SAFETY: both commands write at most 80 bytes to `answer`, which has 128, is writable and outlives the call;
        // the id is not used by them.
        checked(unsafe {
            libc::syscall(number, dir.as_raw_fd(), command(subcommand), 0, answer.as_mut_ptr())
        })
    };
    match ask(XFS_GET_STATE) {
        Ok(_) => {
            // struct fs_quota_stat: version (1 byte), padding, flags (2 bytes).
            let [_, _, low, high, ..] = answer[0].to_ne_bytes();
            let index = usize::try_from(kind.number()).expect("0 to 2");
            if u16::from_ne_bytes([low, high]) & XFS_ACCOUNTING[index] != 0 {
                return Ok(());
            }
            Err(crate::Fault::from_errno("quotactl_fd(2)", object(), libc::ESRCH))
        }
        // Off for every kind, or not known to this file system: this call tells the two apart.
        Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => {
            ask(GET_FORMAT).map(drop).blame_with("quotactl_fd(2)", object)
        }
        Err(error) => Err(error).blame("quotactl_fd(2)", object()),
    }
}
