//! What a thread or a process can be set to: namespaces, prctl(2), personality, io priority, limits.

use std::ffi::CStr;
use std::io;

use rustix::process::{DumpableBehavior, Pid, Signal};

use super::checked;
use crate::ns::Namespaces;
use crate::{Blame, Result};

/// Whether the calling process has this thread only.
///
/// Asked of unshare(2): `CLONE_THREAD` does nothing in a process with one thread and is `EINVAL` in any other.
pub fn is_single_threaded() -> bool {
    // SAFETY: one number; CLONE_THREAD unshares nothing, it only fails in a process with more threads.
    unsafe { libc::unshare(libc::CLONE_THREAD) == 0 }
}

/// Moves the calling thread into new namespaces of its own.
///
/// `unshare(2)`. A pid or time namespace takes effect for the children. `EINVAL`: a user or time namespace in a
/// process with several threads; `ENOSPC`: more namespaces than `/proc/sys/user/max_*_namespaces`.
pub fn unshare(namespaces: Namespaces) -> Result<()> {
    raw_unshare(namespaces.bits()).blame_with("unshare(2)", || format!("{namespaces} namespaces"))
}

/// Gives the calling thread a root, a working directory and a umask of its own, as entering a mount namespace needs
/// it in a process with several threads.
#[doc(alias = "CLONE_FS")]
pub fn unshare_fs() -> Result<()> {
    raw_unshare(libc::CLONE_FS.cast_unsigned()).blame("unshare(2)", "CLONE_FS")
}

pub(super) fn raw_unshare(flags: u32) -> io::Result<()> {
    // SAFETY: one number; only CLONE_NEW* bits and CLONE_FS come here, never CLONE_FILES, so no descriptor changes its meaning.
    checked(unsafe { libc::unshare(flags.cast_signed()) }.into()).map(drop)
}

/// The signal that this process gets when the thread that made it ends; `None` for none.
///
/// `PR_SET_PDEATHSIG`. Cleared by an exec of a set-uid program and by changes of ids or capabilities: set it
/// after those. A parent that ended before the call is not noticed: compare getppid(2).
#[doc(alias = "prctl")]
pub fn set_parent_death_signal(signal: Option<Signal>) -> Result<()> {
    rustix::process::set_parent_process_death_signal(signal).blame("prctl(2)", "PR_SET_PDEATHSIG")
}

/// Whether others of the same uid may trace this process and read its `/proc` files.
///
/// `PR_SET_DUMPABLE`. Off while a process of ours is inside a guest with more rights than the guest has.
#[doc(alias = "prctl")]
pub fn set_dumpable(dumpable: bool) -> Result<()> {
    let behavior = if dumpable { DumpableBehavior::Dumpable } else { DumpableBehavior::NotDumpable };
    rustix::process::set_dumpable_behavior(behavior).blame("prctl(2)", "PR_SET_DUMPABLE")
}

/// Makes this process the one that inherits its orphaned descendants, instead of the pid namespace's init.
///
/// `PR_SET_CHILD_SUBREAPER`, Linux 3.4.
#[doc(alias = "prctl")]
pub fn set_child_subreaper(on: bool) -> Result<()> {
    let pid = on.then(|| Pid::from_raw(1).expect("1 is a pid")); // any number but 0 means on
    rustix::process::set_child_subreaper(pid).blame("prctl(2)", "PR_SET_CHILD_SUBREAPER")
}

/// The name that `ps` shows for this thread; the kernel keeps the first 15 bytes.
#[doc(alias = "prctl")]
pub fn set_process_name(name: &CStr) -> Result<()> {
    rustix::thread::set_name(name).blame("prctl(2)", "PR_SET_NAME")
}

/// No later exec of this thread gains rights from set-uid bits or file capabilities; there is no way back.
#[doc(alias = "prctl")]
pub fn set_no_new_privs() -> Result<()> {
    rustix::thread::set_no_new_privs(true).blame("prctl(2)", "PR_SET_NO_NEW_PRIVS")
}

/// The execution domain and its flags, `PER_*` of `<linux/personality.h>`.
pub fn get_personality() -> Result<u32> {
    personality(u32::MAX)
}

/// Sets the execution domain and its flags; inherited by children and kept across exec.
#[doc(alias = "personality")]
pub fn set_personality(domain: u32) -> Result<()> {
    personality(domain).map(drop)
}

fn personality(domain: u32) -> Result<u32> {
    // SAFETY: one number.
    checked(unsafe { libc::personality(domain.into()) }.into())
        .map(|before| u32::try_from(before).expect("a personality is an unsigned int"))
        .blame_with("personality(2)", || format!("{domain:#x}"))
}

const IOPRIO_WHO_PROCESS: libc::c_int = 1;

/// Sets the raw io priority (`class << 13 | level`) of a thread; 0 is the calling one.
///
/// `ioprio_set(2)`. `EPERM`: the realtime class without `CAP_SYS_NICE` or `CAP_SYS_ADMIN`.
pub fn ioprio_set(pid: i32, priority: u16) -> Result<()> {
    // SAFETY: three numbers.
    checked(unsafe {
        libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, pid, libc::c_int::from(priority))
    })
    .map(drop)
    .blame_with("ioprio_set(2)", || format!("process {pid}"))
}

/// The raw io priority (`class << 13 | level`) of a thread; 0 is the calling one.
pub fn ioprio_get(pid: i32) -> Result<u16> {
    // SAFETY: two numbers.
    checked(unsafe { libc::syscall(libc::SYS_ioprio_get, IOPRIO_WHO_PROCESS, pid) })
        .map(|raw| u16::try_from(raw).expect("an io priority has 16 bits"))
        .blame_with("ioprio_get(2)", || format!("process {pid}"))
}

/// Reads a resource limit of a process (0: the calling one) and sets it if `new` is given.
///
/// `prlimit(2)`. Values are (soft, hard), `u64::MAX` is unlimited. `EPERM`: raising a hard limit without
/// `CAP_SYS_RESOURCE`, or a process with other ids.
pub fn prlimit(pid: i32, resource: u32, new: Option<(u64, u64)>) -> Result<(u64, u64)> {
    let new = new.map(|(soft, hard)| [soft, hard]);
    let mut old = [0_u64; 2];
    let new_pointer = new.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: struct rlimit64 is two u64, soft first; `new_pointer` is null or points to two that live until the
    // end of this function, `old` to two that the kernel writes.
    checked(unsafe { libc::syscall(libc::SYS_prlimit64, pid, resource, new_pointer, &raw mut old) })
        .map(|_| (old[0], old[1]))
        .blame_with("prlimit(2)", || format!("limit {resource} of process {pid}"))
}
