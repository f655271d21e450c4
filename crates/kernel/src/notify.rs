//! Answering system calls of other processes: the supervisor's side of a seccomp filter with a listener.
//!
//! What keeps it sound: a call's arguments are those of its registers at the moment of the call and cannot change;
//! what lies in the caller's memory is copied once, through a descriptor that is opened before the caller is asked
//! for once more ([`Call::memory`]), and only the copy is looked at. [`Answer::Continue`] is for calls of which the
//! kernel sees nothing but registers.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt as _;

use rustix::fs::{Mode, OFlags};

pub use crate::sys::SeccompAnswer as Answer;
use crate::sys::{self, RawNotification};
use crate::{Blame, Fault, Result};

/// Where the calls of one filter's processes arrive.
#[derive(Debug)]
pub struct Listener(OwnedFd);

impl From<OwnedFd> for Listener {
    fn from(fd: OwnedFd) -> Self {
        Self(fd)
    }
}

impl From<Listener> for OwnedFd {
    fn from(listener: Listener) -> Self {
        listener.0
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Listener {
    /// The next call, waited for. `None`: its caller has gone meanwhile.
    pub fn receive(&self) -> Result<Option<Call<'_>>> {
        match sys::seccomp_receive(self.as_fd()) {
            Ok(raw) => Ok(Some(Call { listener: self, raw })),
            Err(fault) if fault.is(libc::ENOENT) || fault.is(libc::EINTR) => Ok(None),
            Err(fault) => Err(fault),
        }
    }
}

/// A system call that waits for its answer.
#[derive(Debug)]
pub struct Call<'a> {
    listener: &'a Listener,
    raw: RawNotification,
}

impl Call<'_> {
    /// The kernel's name of the call.
    pub fn id(&self) -> u64 {
        self.raw.id
    }

    /// The calling thread, as our PID namespace numbers it.
    pub fn thread(&self) -> u32 {
        self.raw.pid
    }

    /// Architecture (`AUDIT_ARCH_*`), number and arguments.
    pub fn parts(&self) -> (u32, i32, [u64; 6]) {
        (self.raw.architecture, self.raw.number, self.raw.arguments)
    }

    /// Whether the caller still waits.
    pub fn is_waiting(&self) -> bool {
        sys::seccomp_is_waiting(self.listener.as_fd(), self.raw.id)
    }

    /// Ends the call. That its caller has gone is nobody's fault.
    pub fn answer(self, answer: Answer) -> Result<()> {
        passed_over_if_gone(sys::seccomp_answer(self.listener.as_fd(), self.raw.id, answer))
    }

    /// Ends the call with a copy of a descriptor.
    pub fn give(self, descriptor: impl AsFd, close_on_exec: bool) -> Result<()> {
        let given = sys::seccomp_give(self.listener.as_fd(), self.raw.id, descriptor.as_fd(), close_on_exec);
        match given {
            // What open(2) would say: the caller has too many, or no memory.
            Err(fault) if !fault.is(libc::ENOENT) => {
                let errno = fault.errno().unwrap_or(libc::ENOBUFS);
                self.answer(Answer::Errno(errno))
            }
            other => passed_over_if_gone(other),
        }
    }

    /// The caller's memory, and nobody else's: opened by the caller's number, and then the caller was still waiting.
    ///
    /// `proc` is a directory of the process file system. Needs `CAP_SYS_PTRACE` over the caller.
    pub fn memory(&self, proc: impl AsFd) -> Result<Memory> {
        let path = format!("{}/mem", self.raw.pid);
        let file = rustix::fs::openat(proc, &path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
            .blame_with("openat(2)", || format!("/proc/{path}"))?;
        if !self.is_waiting() {
            return Err(Fault::from_errno("ioctl(2) SECCOMP_IOCTL_NOTIF_ID_VALID", path, libc::ENOENT));
        }
        Ok(Memory(file.into()))
    }
}

fn passed_over_if_gone(result: Result<()>) -> Result<()> {
    match result {
        Err(fault) if fault.is(libc::ENOENT) => Ok(()),
        other => other,
    }
}

/// The memory of a process.
#[derive(Debug)]
pub struct Memory(File);

impl Memory {
    /// Copies what is at `address`. `EFAULT`: not all of it is there.
    pub fn read(&self, address: u64, buffer: &mut [u8]) -> Result<()> {
        self.0.read_exact_at(buffer, address).map_err(|_| unreachable_memory(address))
    }

    /// Overwrites what is at `address`. `EFAULT`: not all of it can be written.
    pub fn write(&self, address: u64, bytes: &[u8]) -> Result<()> {
        self.0.write_all_at(bytes, address).map_err(|_| unreachable_memory(address))
    }
}

fn unreachable_memory(address: u64) -> Fault {
    Fault::from_errno("read(2) or write(2) of memory", format!("{address:#x}"), libc::EFAULT)
}
