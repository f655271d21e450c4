//! Installing a classic BPF filter with seccomp(2).

use std::os::fd::OwnedFd;

use super::{checked, new_fd};
use crate::{Blame, Fault, Result};

/// One instruction of classic BPF: `struct sock_filter` (8 bytes).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filter {
    /// Operation.
    pub code: u16,
    /// Instructions to skip if a test holds.
    pub jt: u8,
    /// Instructions to skip if it does not.
    pub jf: u8,
    /// Operand.
    pub k: u32,
}

/// Installs a filter on the calling thread and all its future children, for good.
///
/// `SECCOMP_SET_MODE_FILTER` of seccomp(2), Linux 3.17. `EACCES`: neither `CAP_SYS_ADMIN` in the user namespace nor
/// `no_new_privs`; `EINVAL`: not a valid program, or longer than 4096 instructions.
pub fn seccomp_load(program: &[Filter]) -> Result<()> {
    load(program, 0).map(drop)
}

/// The same with a descriptor from which the calls are answered whose action is `SECCOMP_RET_USER_NOTIF`.
///
/// `SECCOMP_FILTER_FLAG_NEW_LISTENER`, Linux 5.0. `EBUSY`: a filter of this thread has a listener already.
#[doc(alias = "SECCOMP_RET_USER_NOTIF")]
pub fn seccomp_load_with_listener(program: &[Filter]) -> Result<OwnedFd> {
    let fd = load(program, libc::SECCOMP_FILTER_FLAG_NEW_LISTENER)?;
    // SAFETY: with this flag a success is a fresh descriptor, close-on-exec, that nobody else owns.
    Ok(unsafe { new_fd(fd) })
}

fn load(program: &[Filter], flags: libc::c_ulong) -> Result<libc::c_long> {
    let length = u16::try_from(program.len()).map_err(|_| {
        Fault::from_errno("seccomp(2)", format!("{} instructions", program.len()), libc::EINVAL)
    })?;
    let raw =
        libc::sock_fprog { len: length, filter: program.as_ptr().cast::<libc::sock_filter>().cast_mut() };
    // SAFETY: `raw` holds length and address of one slice of `Filter`, which has the layout of sock_filter; the
    // kernel copies the program and keeps no pointer. It only reads, despite the pointer's type.
    checked(unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const raw) })
        .blame_with("seccomp(2)", || format!("a filter of {length} instructions"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instruction_has_the_size_and_fields_of_sock_filter() {
        assert_eq!(size_of::<Filter>(), size_of::<libc::sock_filter>());
        assert_eq!(align_of::<Filter>(), align_of::<libc::sock_filter>());
        assert_eq!(std::mem::offset_of!(Filter, k), std::mem::offset_of!(libc::sock_filter, k));
    }
}
