//! Making processes, replacing them, and signalling them.

use std::ffi::{CStr, CString, c_char};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use super::{checked, new_fd, thread::is_single_threaded};
use crate::ns::Namespaces;
use crate::{Blame, Fault, Result, described};

/// `struct clone_args` of `<linux/sched.h>`, version 2 (88 bytes, Linux 5.7).
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default)]
struct RawCloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

const CLONE_PIDFD: u64 = 0x1000;
const CLONE_PARENT: u64 = 0x8000;
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// How [`clone3`] makes the child.
#[derive(Clone, Copy, Debug, Default)]
pub struct CloneArgs<'fd> {
    /// The namespaces the child gets of its own. A time namespace cannot be made this way before Linux 5.7:
    /// [`unshare`](super::unshare) it and then clone.
    pub namespaces: Namespaces,
    /// Start the child in this cgroup2 directory (Linux 5.7), which saves the several milliseconds that a
    /// write to `cgroup.procs` takes.
    pub into_cgroup: Option<BorrowedFd<'fd>>,
    /// The child becomes a sibling (`CLONE_PARENT`): our parent is told of its end and must reap it.
    pub sibling: bool,
}

/// Which side of a fork this is.
#[derive(Debug)]
pub enum Forked {
    /// In the new process.
    Child,
    /// In the process that called.
    Parent {
        /// The child's number in our pid namespace.
        pid: i32,
        /// Its pidfd, close-on-exec.
        pidfd: OwnedFd,
    },
}

/// Makes a child process like fork(2), with namespaces, a cgroup and a pidfd.
///
/// `clone3(2)`, Linux 5.3 (`into_cgroup`: 5.7). The child continues after this call with a copy of the memory.
/// Only a process with a single thread may do it, since another thread could hold a lock (the allocator's,
/// say) that nobody would ever release in the child: with more threads the fault is `EDEADLK`. `EACCES`,
/// `EBUSY` with `into_cgroup`: the group is not writable, or has controllers enabled for its children.
#[doc(alias = "clone")]
pub fn clone3(args: &CloneArgs<'_>) -> Result<Forked> {
    if !is_single_threaded() {
        return Err(Fault::from_errno("clone3(2)", "a process with several threads", libc::EDEADLK));
    }
    // SAFETY: the process has this one thread, checked above, and nobody else can make another: the child's
    // copy of the memory is consistent, no lock is held by a thread that it lacks.
    unsafe { raw_clone(args) }.blame_with("clone3(2)", || clone_object(args))
}

/// Makes a child process: [`clone3`] with nothing asked.
pub fn fork() -> Result<Forked> {
    clone3(&CloneArgs::default())
}

fn clone_object(args: &CloneArgs<'_>) -> String {
    let mut object = String::from("a child");
    if !args.namespaces.is_empty() {
        object = format!("{object} with its own {} namespaces", args.namespaces);
    }
    if let Some(cgroup) = args.into_cgroup {
        object = format!("{object} in cgroup {}", described(cgroup));
    }
    object
}

/// # Safety
/// In a process with several threads the child may only make system calls: any lock may be held forever.
unsafe fn raw_clone(args: &CloneArgs<'_>) -> io::Result<Forked> {
    let mut pidfd: RawFd = -1;
    let mut flags = CLONE_PIDFD | u64::from(args.namespaces.bits());
    let mut exit_signal = u64::from(libc::SIGCHLD.cast_unsigned());
    if args.sibling {
        // The kernel refuses an exit signal here: the sibling takes ours.
        flags |= CLONE_PARENT;
        exit_signal = 0;
    }
    let mut cgroup = 0;
    if let Some(fd) = args.into_cgroup {
        flags |= CLONE_INTO_CGROUP;
        cgroup = u64::from(fd.as_raw_fd().cast_unsigned());
    }
    let raw = RawCloneArgs {
        flags,
        pidfd: ptr::from_mut(&mut pidfd) as u64,
        exit_signal,
        cgroup,
        ..Default::default()
    };
    // SAFETY: `raw` is initialised, outlives the call and is as long as the size we pass; `pidfd` is a live int
    // for the kernel to write to. No CLONE_VM and no stack: the child goes on here on its own copy of this
    // stack, like after fork(2). The caller answers for what the child does.
    match checked(unsafe { libc::syscall(libc::SYS_clone3, &raw const raw, size_of::<RawCloneArgs>()) })? {
        0 => Ok(Forked::Child),
        pid => {
            let pid = i32::try_from(pid).expect("a pid is an int");
            // SAFETY: CLONE_PIDFD made the kernel store a fresh descriptor that nobody else owns.
            Ok(Forked::Parent { pid, pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) } })
        }
    }
}

/// Ends the process at once: no destructors, no exit handlers, nothing flushed.
///
/// For a child that shares its parent's buffers and temporary files after a fork.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: _exit takes a number, touches no memory of ours and does not return.
    unsafe { libc::_exit(code) }
}

/// A child of its own user namespace that does nothing but hold it, for the maps to be written from outside.
///
/// The child takes the effective ids `uid` and `gid` first, since the creator's euid owns the namespace and is
/// charged for what its users hold. It makes system calls only, so that threads of the caller do no harm.
/// Returns once the namespace exists. The child dies with the calling thread.
pub(crate) fn hold_user_namespace(uid: u32, gid: u32) -> io::Result<(i32, OwnedFd)> {
    let (mut answer, mut tell) = io::pipe()?;
    let parent = rustix::process::getpid();
    // SAFETY: the child below makes system calls through rustix's raw backend and this module's wrappers; none
    // of them allocates or takes a lock.
    match unsafe { raw_clone(&CloneArgs::default()) }? {
        Forked::Child => {
            let errno =
                become_holder(uid, gid).err().map_or(0, |error| error.raw_os_error().unwrap_or(libc::EIO));
            // A parent that cannot be told would wait for ever for a child that holds the pipe open.
            if tell.write_all(&errno.to_ne_bytes()).is_err() {
                exit_now(1);
            }
            // One that died before the death signal was asked for sends none.
            if rustix::process::getppid() != Some(parent) {
                exit_now(0);
            }
            loop {
                // SAFETY: pause(2) takes nothing and touches no memory.
                unsafe { libc::pause() };
            }
        }
        Forked::Parent { pid, pidfd } => {
            drop(tell);
            let mut errno = [0; 4];
            let told = answer.read_exact(&mut errno);
            let failed = match (told, i32::from_ne_bytes(errno)) {
                (Err(error), _) => Some(error),
                (Ok(()), 0) => None,
                (Ok(()), errno) => Some(io::Error::from_raw_os_error(errno)),
            };
            match failed {
                None => Ok((pid, pidfd)),
                Some(error) => {
                    kill_and_reap(pid, &pidfd);
                    Err(error)
                }
            }
        }
    }
}

fn become_holder(uid: u32, gid: u32) -> io::Result<()> {
    use rustix::thread::{CapabilitySets, capabilities, set_capabilities};
    super::ids::raw_set_resgid(None, Some(gid), None)?;
    super::ids::raw_set_resuid(None, Some(uid), None)?;
    // Losing euid 0 empties the effective set; the permitted one is still full, for the real uid stays. Where
    // unprivileged user namespaces are forbidden the effective one is asked.
    let sets = capabilities(None)?;
    set_capabilities(None, CapabilitySets { effective: sets.permitted, ..sets })?;
    super::thread::raw_unshare(Namespaces::USER.bits())?;
    // Last: a change of ids takes it back (prctl(2), PR_SET_PDEATHSIG).
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    Ok(())
}

/// Ends a child of ours that nobody has collected yet, and collects it.
pub(crate) fn kill_and_reap(pid: i32, pidfd: &OwnedFd) {
    use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, pidfd_send_signal, waitid};
    use std::os::fd::AsFd as _;
    // Nobody else can have its number before it is collected. Left alive it would keep what it has inherited of us:
    // the lock of a guest, for one.
    let by_number = || Pid::from_raw(pid).is_some_and(|pid| kill_process(pid, Signal::KILL).is_ok());
    if pidfd_send_signal(pidfd, Signal::KILL).is_ok() || by_number() {
        waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED).ok();
    }
}

/// Replaces this program by the file `path` relative to `dir`; an empty `path` runs the descriptor itself.
///
/// `execveat(2)`, Linux 3.19. Returns only to say why it failed. `ENOEXEC`: no interpreter line and not a
/// binary; `ENOENT` for a file that exists: its interpreter does not.
#[doc(alias = "execve")]
pub fn execveat(dir: BorrowedFd<'_>, path: &CStr, argv: &[CString], env: &[CString]) -> Fault {
    let argv_pointers = pointers(argv);
    let env_pointers = pointers(env);
    let flags = if path.is_empty() { libc::AT_EMPTY_PATH } else { 0 };
    // SAFETY: `path` is NUL-terminated; both arrays end with a null pointer and point to NUL-terminated strings
    // that are borrowed for the call; `dir` stays open. On success nothing of this program is left.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            dir.as_raw_fd(),
            path.as_ptr(),
            argv_pointers.as_ptr(),
            env_pointers.as_ptr(),
            flags,
        )
    };
    let error = io::Error::last_os_error();
    let object = if path.is_empty() { described(dir) } else { path.to_string_lossy().into_owned() };
    Fault::new("execveat(2)", object, error)
}

fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings.iter().map(|s| s.as_ptr()).chain([ptr::null()]).collect()
}

/// What [`close_range`] does to the descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseRange {
    /// Mark them close-on-exec (Linux 5.11): the safe choice right before an exec.
    OnExec,
}

/// Makes every descriptor from `first` on go away.
///
/// `close_range(2)`. Call it directly before exec: a directory descriptor of the host that leaks into a guest
/// is a way out of it. Only marking is offered, since closing descriptors that live objects own would break
/// them.
pub fn close_range(first: u32, how: CloseRange) -> Result<()> {
    let flags = match how {
        CloseRange::OnExec => libc::CLOSE_RANGE_CLOEXEC,
    };
    // SAFETY: three numbers; marking descriptors close-on-exec invalidates none that anybody owns.
    checked(unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, flags) })
        .map(drop)
        .blame_with("close_range(2)", || format!("descriptors from {first}"))
}

/// Opens a pidfd, close-on-exec.
///
/// `pidfd_open(2)`, Linux 5.3. `ESRCH`: no such process. The number may have been taken over by another process
/// meanwhile: [`ProcessId::open`](crate::process::ProcessId::open) checks that.
pub fn pidfd_open(pid: i32) -> Result<OwnedFd> {
    // SAFETY: two numbers; the result is a fresh descriptor.
    checked(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })
        // SAFETY: pidfd_open returned it just now.
        .map(|fd| unsafe { new_fd(fd) })
        .blame_with("pidfd_open(2)", || format!("process {pid}"))
}

/// Sends a signal (any number up to `SIGRTMAX`, 0 only asks) to the process behind a pidfd.
///
/// `pidfd_send_signal(2)`, Linux 5.1. `ESRCH`: it has been reaped.
pub fn pidfd_send_signal(pidfd: BorrowedFd<'_>, signal: i32) -> Result<()> {
    // SAFETY: two numbers, a null siginfo (the kernel then fills in what kill(2) would) and no flags.
    checked(unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            ptr::null::<libc::siginfo_t>(),
            0,
        )
    })
    .map(drop)
    .blame_with("pidfd_send_signal(2)", || format!("signal {signal}"))
}

/// Gives every signal its default action and unblocks all, as a program expects to find them.
///
/// Rust's runtime ignores `SIGPIPE`, glibc's `posix_spawn(3)` leaves its own two signals ignored, and an ignored signal
/// stays ignored across exec.
pub fn reset_signals() -> Result<()> {
    /// Signals of the kernel: `_NSIG`, and the bytes of its signal set.
    const LAST: libc::c_int = 64;
    const SET_SIZE: usize = 8;
    // The kernel's own struct sigaction with SIG_DFL (0), no flags, no restorer and an empty mask, on every architecture.
    let default = [0_u64; 4];
    for signal in (1..=LAST).filter(|signal| ![libc::SIGKILL, libc::SIGSTOP].contains(signal)) {
        let nothing = ptr::null_mut::<u64>();
        // SAFETY: the structure is at least as long as the kernel's, lives until the call returns and is only read; the
        // old action is not asked for. The default action runs no code of ours.
        checked(unsafe {
            libc::syscall(libc::SYS_rt_sigaction, signal, &raw const default, nothing, SET_SIZE)
        })
        .blame_with("rt_sigaction(2)", || format!("signal {signal}"))?;
    }
    let none = 0_u64;
    let nothing = ptr::null_mut::<u64>();
    // SAFETY: the set has the size we pass, lives until the call returns and is only read.
    checked(unsafe {
        libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, &raw const none, nothing, SET_SIZE)
    })
    .map(drop)
    .blame("rt_sigprocmask(2)", "the signal mask")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clone_args_have_the_size_of_version_2() {
        assert_eq!(size_of::<RawCloneArgs>(), 88);
        assert_eq!(align_of::<RawCloneArgs>(), 8);
    }

    #[test]
    fn a_process_with_several_threads_is_not_cloned() {
        // The test harness itself is the second thread.
        std::thread::scope(|scope| {
            scope.spawn(|| {
                assert!(fork().unwrap_err().is(libc::EDEADLK));
            });
        });
    }
}
