//! Processes that are named without mistaking one for another, and waited for without polling.

use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{WaitId, WaitIdOptions, WaitIdStatus, waitid};
use serde::{Deserialize, Serialize};

use crate::{Blame, Fault, Result, proc, sys};

/// A process that can be told from a later one with the same number: by when it started.
///
/// Valid until the next boot of the host; a record must keep the [boot id](crate::proc::boot_id) beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ProcessId {
    /// Its number in our pid namespace.
    pub pid: i32,
    /// Clock ticks from boot to its start: field 22 of `/proc/PID/stat`.
    pub start_ticks: u64,
}

impl ProcessId {
    /// Identifies a running process. `ENOENT` or `ESRCH`: there is none with this number.
    pub fn of(pid: i32) -> Result<Self> {
        Ok(Self { pid, start_ticks: proc::stat(pid)?.start_ticks })
    }

    /// The calling process.
    pub fn own() -> Result<Self> {
        Self::of(rustix::process::getpid().as_raw_nonzero().get())
    }

    /// Whether it is there and has not ended; a zombie that nobody has collected counts as ended.
    ///
    /// One that cannot be looked at (too many open files, no memory) counts as alive: whoever takes it for ended cleans
    /// up after it.
    pub fn is_alive(&self) -> bool {
        match proc::stat(self.pid) {
            Ok(stat) => stat.start_ticks == self.start_ticks && !matches!(stat.state, b'Z' | b'X'),
            Err(fault) => !(fault.is(libc::ENOENT) || fault.is(libc::ESRCH)),
        }
    }

    /// Whether it is about to end: killed, or on its way through exit(2). The init of a PID namespace stays for a while
    /// after `SIGKILL`, until everybody in the namespace is gone.
    pub fn is_ending(&self) -> bool {
        const PF_EXITING: u32 = 0x4; // linux/sched.h
        const SIGKILL_PENDING: u64 = 1 << (libc::SIGKILL - 1);
        let exiting = proc::stat(self.pid)
            .is_ok_and(|stat| stat.start_ticks == self.start_ticks && stat.flags & PF_EXITING != 0);
        exiting
            || (self.is_alive()
                && proc::pending_signals(self.pid).is_ok_and(|pending| pending & SIGKILL_PENDING != 0))
    }

    /// A pidfd of this very process; `None` if it has ended or its number belongs to another one now.
    pub fn open(&self) -> Result<Option<Pidfd>> {
        let pidfd = match sys::pidfd_open(self.pid) {
            Ok(fd) => Pidfd(fd),
            Err(fault) if fault.is(libc::ESRCH) || fault.is(libc::EINVAL) => return Ok(None),
            Err(fault) => return Err(fault),
        };
        // In this order: once the descriptor is open, the number that is looked at now is either still the same
        // process or the descriptor's one has ended.
        match proc::stat(self.pid) {
            Ok(stat) if stat.start_ticks == self.start_ticks => Ok(Some(pidfd)),
            Ok(_) => Ok(None),
            Err(fault) if fault.is(libc::ENOENT) || fault.is(libc::ESRCH) => Ok(None),
            Err(fault) => Err(fault),
        }
    }
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WaitStatus {
    /// It called exit with this code.
    Exited(i32),
    /// This signal ended it. An init that called reboot(2) in its pid namespace: `SIGHUP` for restart, `SIGINT` for
    /// halt and power off.
    Signaled(i32),
    /// It has ended, but it was not our child: nobody tells us how.
    Unknown,
}

/// A descriptor of one process, which no other process can take over.
#[derive(Debug)]
pub struct Pidfd(OwnedFd);

impl Pidfd {
    /// Opens the process that has this number now. `ESRCH`: none has.
    pub fn open(pid: i32) -> Result<Self> {
        sys::pidfd_open(pid).map(Self)
    }

    /// A copy of one of the process's descriptors, by its number there.
    ///
    /// `pidfd_getfd(2)`, Linux 5.6. `EPERM`: the process must not be traced by us; `EBADF`: not open there.
    #[doc(alias = "pidfd_getfd")]
    pub fn descriptor(&self, number: i32) -> Result<OwnedFd> {
        let flags = rustix::process::PidfdGetfdFlags::empty();
        rustix::process::pidfd_getfd(&self.0, number, flags)
            .blame_with("pidfd_getfd(2)", || format!("descriptor {number}"))
    }

    /// Sends a signal, realtime ones included. `Ok(false)`: the process has ended and been collected.
    pub fn signal(&self, signal: i32) -> Result<bool> {
        match sys::pidfd_send_signal(self.0.as_fd(), signal) {
            Ok(()) => Ok(true),
            Err(fault) if fault.is(libc::ESRCH) => Ok(false),
            Err(fault) => Err(fault),
        }
    }

    /// Waits until the process has ended, without collecting it; `false` if the time is over before. `None` waits
    /// for ever, zero only looks.
    pub fn wait_end(&self, timeout: Option<Duration>) -> Result<bool> {
        wait_readable(self.0.as_fd(), timeout)
    }

    /// Waits until the process has ended and collects it if it is our child; `None` if the time is over before.
    pub fn wait(&self, timeout: Option<Duration>) -> Result<Option<WaitStatus>> {
        if !self.wait_end(timeout)? {
            return Ok(None);
        }
        // A process that somebody traces can be collected a moment later than it has ended: when its tracer has seen
        // the end. Uncollected, it would keep the init of its PID namespace from ending.
        let patience = std::time::Instant::now() + Duration::from_secs(2);
        loop {
            match waitid(WaitId::PidFd(self.0.as_fd()), WaitIdOptions::EXITED | WaitIdOptions::NOHANG) {
                Ok(Some(status)) => return Ok(Some(status_of(&status))),
                Ok(None) if std::time::Instant::now() < patience => {
                    std::thread::sleep(Duration::from_millis(1));
                }
                // The tracer does not let go: it is over for us.
                Ok(None) | Err(rustix::io::Errno::CHILD) => return Ok(Some(WaitStatus::Unknown)),
                Err(errno) => return Err(Fault::new("waitid(2)", "a pidfd", errno)),
            }
        }
    }
}

impl AsFd for Pidfd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<OwnedFd> for Pidfd {
    fn from(fd: OwnedFd) -> Self {
        Self(fd)
    }
}

impl From<Pidfd> for OwnedFd {
    fn from(pidfd: Pidfd) -> Self {
        pidfd.0
    }
}

fn status_of(status: &WaitIdStatus) -> WaitStatus {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => WaitStatus::Exited(code),
        (None, Some(signal)) => WaitStatus::Signaled(signal),
        (None, None) => WaitStatus::Unknown,
    }
}

/// Waits until `fd` is readable or closed at the other end; `false` if the time is over before.
pub fn wait_readable(fd: BorrowedFd<'_>, timeout: Option<Duration>) -> Result<bool> {
    let deadline = timeout.map(|t| std::time::Instant::now() + t);
    loop {
        let left = deadline.map(|end| end.saturating_duration_since(std::time::Instant::now()));
        let left =
            left.map(|d| Timespec::try_from(d).unwrap_or(Timespec { tv_sec: i64::MAX / 2, tv_nsec: 0 }));
        let mut polled = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
        match poll(&mut polled, left.as_ref()) {
            Ok(0) => return Ok(false),
            Ok(_) => return Ok(true),
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(Fault::new("poll(2)", "a descriptor", errno)),
        }
    }
}

/// Collects one ended child of ours, whichever: its number and how it ended. `None`: no child has ended.
///
/// For a process that is the reaper of others. `ECHILD`: there are no children at all.
pub fn reap_any() -> Result<Option<(i32, WaitStatus)>> {
    let found = rustix::process::wait(rustix::process::WaitOptions::NOHANG).blame("wait4(2)", "any child")?;
    Ok(found.map(|(pid, status)| {
        let ended = match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => WaitStatus::Exited(code),
            (None, Some(signal)) => WaitStatus::Signaled(signal),
            (None, None) => WaitStatus::Unknown,
        };
        (pid.as_raw_nonzero().get(), ended)
    }))
}

/// Threads of the calling process, from `/proc/self/task`.
pub fn threads() -> Result<usize> {
    fs::read_dir("/proc/self/task").map(Iterator::count).blame("readdir(3)", "/proc/self/task")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn another_process_with_the_same_number_is_not_taken_for_it() {
        let own = ProcessId::own().unwrap();
        assert!(own.is_alive() && !own.is_ending() && own.open().unwrap().is_some());
        let other = ProcessId { start_ticks: own.start_ticks + 1, ..own };
        assert!(!other.is_alive() && other.open().unwrap().is_none());
    }

    #[test]
    #[expect(clippy::zombie_processes, reason = "it is collected through its pidfd")]
    fn a_child_is_waited_for_by_pidfd() {
        let child = Command::new("sh").args(["-c", "exit 7"]).spawn().unwrap();
        let pidfd = Pidfd::open(child.id().try_into().unwrap()).unwrap();
        assert_eq!(pidfd.wait(None).unwrap(), Some(WaitStatus::Exited(7)));
        assert_eq!(pidfd.wait(Some(Duration::ZERO)).unwrap(), Some(WaitStatus::Unknown));
        assert!(!pidfd.signal(libc::SIGTERM).unwrap());
    }

    #[test]
    #[expect(clippy::zombie_processes, reason = "it is collected through its pidfd")]
    fn a_signal_ends_a_child_and_is_reported() {
        let child = Command::new("sleep").arg("1000").spawn().unwrap();
        let id = ProcessId::of(child.id().try_into().unwrap()).unwrap();
        let pidfd = id.open().unwrap().unwrap();
        assert_eq!(pidfd.wait(Some(Duration::ZERO)).unwrap(), None);
        assert!(pidfd.signal(libc::SIGRTMIN() + 4).unwrap());
        assert!(pidfd.wait_end(None).unwrap());
        assert!(!id.is_alive(), "a zombie is not alive");
        assert_eq!(pidfd.wait(None).unwrap(), Some(WaitStatus::Signaled(libc::SIGRTMIN() + 4)));
    }
}
