//! Nice values and io priorities.

use rustix::process::Pid;
use serde::{Deserialize, Serialize};

use crate::{Blame, Fault, Result, sys};

/// Sets the nice value (-20 to 19, absolute) of a process's threads to come and of the thread `pid`; 0 is the caller.
///
/// `EACCES`: lowering it without `CAP_SYS_NICE` or a high enough `RLIMIT_NICE`.
#[doc(alias = "setpriority")]
pub fn set_nice(pid: i32, nice: i32) -> Result<()> {
    let who = (pid != 0).then(|| Pid::from_raw(pid)).flatten();
    rustix::process::setpriority_process(who, nice).blame_with("setpriority(2)", || format!("nice {nice}"))
}

/// The nice value of the thread `pid`; 0 is the caller.
pub fn nice(pid: i32) -> Result<i32> {
    let who = (pid != 0).then(|| Pid::from_raw(pid)).flatten();
    rustix::process::getpriority_process(who).blame_with("getpriority(2)", || format!("process {pid}"))
}

/// An io priority: class and level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum IoPriority {
    /// Whatever the nice value says.
    None,
    /// Always first; level 0 (highest) to 7.
    Realtime(u8),
    /// The usual class; level 0 (highest) to 7.
    BestEffort(u8),
    /// Only when nobody else wants the disk.
    Idle,
}

impl IoPriority {
    fn raw(self) -> u16 {
        match self {
            Self::None => 0,
            Self::Realtime(level) => (1 << 13) | u16::from(level),
            Self::BestEffort(level) => (2 << 13) | u16::from(level),
            Self::Idle => 3 << 13,
        }
    }

    fn from_raw(raw: u16) -> Option<Self> {
        let level = (raw & 7) as u8;
        match raw >> 13 {
            0 => Some(Self::None),
            1 => Some(Self::Realtime(level)),
            2 => Some(Self::BestEffort(level)),
            3 => Some(Self::Idle),
            _ => None,
        }
    }
}

/// Sets the io priority of a thread (0: the caller), inherited by its children.
///
/// `EINVAL`: a level above 7; `EPERM`: realtime without `CAP_SYS_NICE` or `CAP_SYS_ADMIN`.
#[doc(alias = "ioprio_set")]
pub fn set_io_priority(pid: i32, priority: IoPriority) -> Result<()> {
    if let IoPriority::Realtime(8..) | IoPriority::BestEffort(8..) = priority {
        // Newer kernels take more bits of the level as hints instead of refusing them.
        return Err(Fault::from_errno("ioprio_set(2)", format!("{priority:?}"), libc::EINVAL));
    }
    sys::ioprio_set(pid, priority.raw())
}

/// The io priority of a thread (0: the caller).
pub fn io_priority(pid: i32) -> Result<IoPriority> {
    let raw = sys::ioprio_get(pid)?;
    IoPriority::from_raw(raw)
        .ok_or_else(|| Fault::from_errno("ioprio_get(2)", format!("priority {raw:#x}"), libc::EBADMSG))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn priorities_are_set_for_this_thread_and_read_back() {
        std::thread::spawn(|| {
            set_nice(0, 7).unwrap();
            assert_eq!(nice(0).unwrap(), 7);
            for priority in [IoPriority::BestEffort(6), IoPriority::Idle] {
                set_io_priority(0, priority).unwrap();
                assert_eq!(io_priority(0).unwrap(), priority);
            }
            assert!(set_io_priority(0, IoPriority::BestEffort(8)).unwrap_err().is(libc::EINVAL));
        })
        .join()
        .unwrap();
    }
}
