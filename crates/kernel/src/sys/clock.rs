//! Clocks that rustix does not name.

use std::io;

/// Seconds by which the atomic time (`CLOCK_TAI`) is ahead of the clock on the wall: 0 where nobody has told the kernel.
#[doc(alias = "clock_gettime")]
pub fn tai_offset() -> io::Result<i64> {
    let seconds = |clock: libc::clockid_t| {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: `time` is writable and outlives the call.
        match unsafe { libc::clock_gettime(clock, &raw mut time) } {
            0 => Ok(time.tv_sec * 1_000 + time.tv_nsec / 1_000_000),
            _ => Err(io::Error::last_os_error()),
        }
    };
    // One is read a moment after the other.
    Ok((seconds(libc::CLOCK_TAI)? - seconds(libc::CLOCK_REALTIME)? + 500).div_euclid(1_000))
}
