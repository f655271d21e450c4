//! One command at a time changes a guest: the start lock.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};

use crate::failure::{Doing, Failure};

/// Held while a start, a stop or a clean-up of one guest runs. The kernel lets go when the process ends, however.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// How long a command waits for another one on the same guest: the original's five minutes.
pub const PATIENCE: Duration = Duration::from_mins(5);

impl Lock {
    /// Takes the lock if nobody has it. `None`: somebody has, or it cannot be had (no right, no room).
    pub fn try_take(path: &Path) -> Option<Self> {
        let file = Self::open(path).ok()?;
        flock(&file, FlockOperation::NonBlockingLockExclusive).ok()?;
        Some(Self { _file: file })
    }

    /// As [`Lock::try_take`], but waits so long for whoever has it.
    pub fn take_within(path: &Path, time: Duration) -> Option<Self> {
        let until = Instant::now() + time;
        loop {
            match Self::try_take(path) {
                None if Instant::now() < until => sleep(Duration::from_millis(10)),
                lock => return lock,
            }
        }
    }

    fn open(path: &Path) -> Result<File, Failure> {
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory).doing(|| format!("make {}", directory.display()))?;
        }
        OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW)
            .open(path)
            .doing(|| format!("open the lock {}", path.display()))
    }

    /// Takes the lock, or tells `waiting` once and waits for it.
    ///
    /// # Errors
    /// The lock file cannot be made, or `patience` is over (L2: the original went on without the lock).
    pub fn take(path: &Path, patience: Duration, waiting: impl FnOnce()) -> Result<Self, Failure> {
        let file = Self::open(path)?;
        let until = Instant::now() + patience;
        let mut waiting = Some(waiting);
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Self { _file: file }),
                Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < until => {
                    if let Some(tell) = waiting.take() {
                        tell();
                    }
                    sleep(Duration::from_millis(50));
                }
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    return Err(Failure::new(format!(
                        "another command has been working on this guest for more than {} s (lock {})",
                        patience.as_secs(),
                        path.display()
                    ))
                    .hint("see what it is doing with: fuser -v LOCK"));
                }
                Err(errno) => return Err(errno).doing(|| format!("lock {}", path.display())),
            }
        }
    }
}
