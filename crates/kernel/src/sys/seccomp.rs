//! Installing a classic BPF filter with seccomp(2).

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

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
/// `SECCOMP_FILTER_FLAG_NEW_LISTENER`, Linux 5.0; with `SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV` where the kernel has
/// that (5.19). `EBUSY`: a filter of this thread has a listener already.
#[doc(alias = "SECCOMP_RET_USER_NOTIF")]
pub fn seccomp_load_with_listener(program: &[Filter]) -> Result<OwnedFd> {
    const WAIT_KILLABLE_RECV: libc::c_ulong = 1 << 5;
    let flags = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER;
    let fd = match load(program, flags | WAIT_KILLABLE_RECV) {
        Err(fault) if fault.is(libc::EINVAL) => load(program, flags)?,
        other => other?,
    };
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

/// A call that waits for its answer: `struct seccomp_notif` (80 bytes) with `struct seccomp_data` in it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RawNotification {
    /// Names the call towards the kernel.
    pub id: u64,
    /// The calling thread, as our PID namespace numbers it.
    pub pid: u32,
    /// None are known.
    pub flags: u32,
    /// The call's number.
    pub number: i32,
    /// `AUDIT_ARCH_*`
    pub architecture: u32,
    /// Where the caller is.
    pub instruction: u64,
    /// As the registers held them.
    pub arguments: [u64; 6],
}

/// `struct seccomp_notif_resp` (24 bytes).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct RawAnswer {
    id: u64,
    value: i64,
    error: i32,
    flags: u32,
}

/// `struct seccomp_notif_addfd` (24 bytes).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct RawAddDescriptor {
    id: u64,
    flags: u32,
    source: u32,
    target: u32,
    target_flags: u32,
}

/// `SECCOMP_IOCTL_NOTIF_*` of `<linux/seccomp.h>`.
const RECEIVE: libc::c_ulong = 0xc050_2100;
const SEND: libc::c_ulong = 0xc018_2101;
const ID_VALID: libc::c_ulong = 0x4008_2102;
const ADD_DESCRIPTOR: libc::c_ulong = 0x4018_2103;

/// How a call ends that waits for its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeccompAnswer {
    /// With this value.
    Value(i64),
    /// With this errno.
    Errno(i32),
    /// The kernel does the call as if there were no filter. Only sound where nothing that it looks at can have changed.
    Continue,
}

/// `SECCOMP_IOCTL_NOTIF_RECV`. Waits for a call. `ENOENT`: the caller has gone in between.
pub fn seccomp_receive(listener: BorrowedFd<'_>) -> Result<RawNotification> {
    let mut raw = RawNotification::default();
    // SAFETY: the kernel writes one seccomp_notif, which `raw` is; it is zeroed, as the kernel demands.
    checked(unsafe { libc::syscall(libc::SYS_ioctl, listener.as_raw_fd(), RECEIVE, &raw mut raw) })
        .blame("ioctl(2) SECCOMP_IOCTL_NOTIF_RECV", "a listener")?;
    Ok(raw)
}

/// `SECCOMP_IOCTL_NOTIF_SEND`. `ENOENT`: the caller has gone or was interrupted.
pub fn seccomp_answer(listener: BorrowedFd<'_>, id: u64, answer: SeccompAnswer) -> Result<()> {
    let raw = match answer {
        SeccompAnswer::Value(value) => RawAnswer { id, value, ..RawAnswer::default() },
        SeccompAnswer::Errno(errno) => RawAnswer { id, error: -errno, ..RawAnswer::default() },
        SeccompAnswer::Continue => RawAnswer { id, flags: 1, ..RawAnswer::default() },
    };
    // SAFETY: the kernel reads one seccomp_notif_resp, which `raw` is.
    checked(unsafe { libc::syscall(libc::SYS_ioctl, listener.as_raw_fd(), SEND, &raw const raw) })
        .map(drop)
        .blame("ioctl(2) SECCOMP_IOCTL_NOTIF_SEND", "a listener")
}

/// `SECCOMP_IOCTL_NOTIF_ID_VALID`: whether the caller still waits for this answer, so that what was opened by its
/// number before was its own.
pub fn seccomp_is_waiting(listener: BorrowedFd<'_>, id: u64) -> bool {
    // SAFETY: the kernel reads eight bytes.
    checked(unsafe { libc::syscall(libc::SYS_ioctl, listener.as_raw_fd(), ID_VALID, &raw const id) }).is_ok()
}

/// Gives the caller a copy of a descriptor, which is the answer of its call at the same time.
///
/// `SECCOMP_IOCTL_NOTIF_ADDFD` with `SECCOMP_ADDFD_FLAG_SEND`, Linux 5.14. `ENOENT` as above; `EMFILE`: the caller has
/// as many descriptors as it may.
#[doc(alias = "SECCOMP_ADDFD_FLAG_SEND")]
pub fn seccomp_give(
    listener: BorrowedFd<'_>,
    id: u64,
    descriptor: BorrowedFd<'_>,
    close_on_exec: bool,
) -> Result<()> {
    let raw = RawAddDescriptor {
        id,
        flags: 2,
        source: descriptor.as_raw_fd().cast_unsigned(),
        target: 0,
        target_flags: if close_on_exec { libc::O_CLOEXEC.cast_unsigned() } else { 0 },
    };
    // SAFETY: the kernel reads one seccomp_notif_addfd, which `raw` is; the descriptor stays open until it returns.
    checked(unsafe { libc::syscall(libc::SYS_ioctl, listener.as_raw_fd(), ADD_DESCRIPTOR, &raw const raw) })
        .map(drop)
        .map_err(|error: io::Error| Fault::new("ioctl(2) SECCOMP_IOCTL_NOTIF_ADDFD", "a listener", error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notifications_have_the_kernels_sizes() {
        assert_eq!(size_of::<RawNotification>(), 80);
        assert_eq!(std::mem::offset_of!(RawNotification, arguments), 32);
        assert_eq!((size_of::<RawAnswer>(), size_of::<RawAddDescriptor>()), (24, 24));
    }

    #[test]
    fn an_instruction_has_the_size_and_fields_of_sock_filter() {
        assert_eq!(size_of::<Filter>(), size_of::<libc::sock_filter>());
        assert_eq!(align_of::<Filter>(), align_of::<libc::sock_filter>());
        assert_eq!(std::mem::offset_of!(Filter, k), std::mem::offset_of!(libc::sock_filter, k));
    }
}
