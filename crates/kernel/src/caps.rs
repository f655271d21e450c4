//! Capabilities of the calling thread, as masks with bit `n` for capability `n`.

use std::fs;

use crate::sys::{self, CapabilitySets};
use crate::{Blame, Fault, Result, proc};

/// The highest capability this kernel knows.
pub fn last_cap() -> Result<u8> {
    let path = "/proc/sys/kernel/cap_last_cap";
    let text = fs::read_to_string(path).blame("read(2)", path)?;
    text.trim().parse().map_err(|_| Fault::from_errno("parse", path, libc::EBADMSG))
}

/// Every capability up to `last`.
pub const fn all_up_to(last: u8) -> u64 {
    if last >= 63 { u64::MAX } else { (1 << (last + 1)) - 1 }
}

/// Drops every capability that is not in `keep` from the bounding set, for good.
///
/// Needs no table of names: asks the kernel which there are. `EPERM`: no `CAP_SETPCAP`.
pub fn drop_bounding(keep: u64) -> Result<()> {
    for capability in 0..64 {
        match sys::in_bounding(capability) {
            None => break, // the kernel knows no more
            Some(true) if keep & (1 << capability) == 0 => sys::drop_bounding(capability)?,
            Some(_) => {}
        }
    }
    Ok(())
}

/// The bounding set of the calling thread.
pub fn bounding() -> u64 {
    (0..64)
        .map_while(|capability| sys::in_bounding(capability).map(|is_in| u64::from(is_in) << capability))
        .fold(0, |all, bit| all | bit)
}

/// Sets permitted and effective to `mask` and inheritable to nothing.
///
/// Capabilities in `mask` that are not permitted now are left out, as an exec would do: the bounding set of a host
/// may be smaller than what a guest is granted.
pub fn set_all(mask: u64) -> Result<()> {
    let mask = mask & sys::capget()?.permitted;
    sys::capset(CapabilitySets { effective: mask, permitted: mask, inheritable: 0 })
}

/// Empties the ambient set.
pub fn clear_ambient() -> Result<()> {
    sys::clear_ambient()
}

/// Makes all permitted capabilities effective again, as after a change of the effective uid or of the fsuid.
pub fn raise_effective() -> Result<()> {
    let sets = sys::capget()?;
    sys::capset(CapabilitySets { effective: sets.permitted, ..sets })
}

/// The capabilities of a process, from its `/proc/PID/status`.
pub fn of_process(pid: i32) -> Result<proc::Capabilities> {
    proc::status(pid).map(|status| status.capabilities)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bounding_set_is_what_proc_says() {
        assert_eq!(
            bounding(),
            of_process(rustix::process::getpid().as_raw_nonzero().get()).unwrap().bounding
        );
    }

    #[test]
    fn masks_reach_up_to_the_last_capability() {
        assert_eq!(all_up_to(0), 1);
        assert_eq!(all_up_to(40), 0x1ff_ffff_ffff);
        assert_eq!(all_up_to(63), u64::MAX);
        assert_eq!(bounding() & !all_up_to(last_cap().unwrap()), 0);
    }
}
