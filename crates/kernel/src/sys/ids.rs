//! User and group ids and capabilities of the calling thread.

use std::io;

use rustix::thread::CapabilitySet;

use super::checked;
use crate::{Blame, Result};

/// "Leave it as it is" in the set*id calls.
const KEEP: u32 = u32::MAX;

/// Sets real, effective and saved uid of the calling thread; `None` keeps one.
///
/// `setresuid(2)`, raw. Leaving effective uid 0 empties the effective capabilities, leaving all three empties
/// the permitted ones too (unless they are kept by prctl).
pub fn set_resuid(real: Option<u32>, effective: Option<u32>, saved: Option<u32>) -> Result<()> {
    raw_set_resuid(real, effective, saved)
        .blame_with("setresuid(2)", || format!("{real:?} {effective:?} {saved:?}"))
}

pub(super) fn raw_set_resuid(
    real: Option<u32>,
    effective: Option<u32>,
    saved: Option<u32>,
) -> io::Result<()> {
    let [r, e, s] = [real, effective, saved].map(|id| id.unwrap_or(KEEP));
    // SAFETY: three numbers. The other threads keep their ids, which is what this function is for.
    checked(unsafe { libc::syscall(libc::SYS_setresuid, r, e, s) }).map(drop)
}

/// Sets real, effective and saved gid of the calling thread; `None` keeps one.
pub fn set_resgid(real: Option<u32>, effective: Option<u32>, saved: Option<u32>) -> Result<()> {
    raw_set_resgid(real, effective, saved)
        .blame_with("setresgid(2)", || format!("{real:?} {effective:?} {saved:?}"))
}

pub(super) fn raw_set_resgid(
    real: Option<u32>,
    effective: Option<u32>,
    saved: Option<u32>,
) -> io::Result<()> {
    let [r, e, s] = [real, effective, saved].map(|id| id.unwrap_or(KEEP));
    // SAFETY: three numbers. The other threads keep their ids, which is what this function is for.
    checked(unsafe { libc::syscall(libc::SYS_setresgid, r, e, s) }).map(drop)
}

/// Sets the supplementary groups of the calling thread.
///
/// `setgroups(2)`, raw. `EPERM` in a user namespace whose gid map is not written yet.
pub fn set_groups(groups: &[u32]) -> Result<()> {
    // SAFETY: pointer and count belong to one slice of gid_t (u32), which the kernel only reads.
    checked(unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) })
        .map(drop)
        .blame_with("setgroups(2)", || format!("{} groups", groups.len()))
}

/// Sets the uid that the calling thread has towards filesystems, and returns the one before.
///
/// `setfsuid(2)`. It reports no errors; the value is read back and a refusal is `EPERM`. Leaving 0 drops the
/// filesystem capabilities from the effective set: raise them again with [`capset`].
pub fn set_fs_uid(uid: u32) -> Result<u32> {
    // SAFETY: one number; the result is the old id.
    let before = unsafe { libc::syscall(libc::SYS_setfsuid, uid) };
    // SAFETY: as above; an id that cannot exist changes nothing and asks.
    let now = unsafe { libc::syscall(libc::SYS_setfsuid, KEEP) };
    took_effect(before, now, uid).blame("setfsuid(2)", uid)
}

/// Sets the gid that the calling thread has towards filesystems, and returns the one before.
pub fn set_fs_gid(gid: u32) -> Result<u32> {
    // SAFETY: one number; the result is the old id.
    let before = unsafe { libc::syscall(libc::SYS_setfsgid, gid) };
    // SAFETY: as above; an id that cannot exist changes nothing and asks.
    let now = unsafe { libc::syscall(libc::SYS_setfsgid, KEEP) };
    took_effect(before, now, gid).blame("setfsgid(2)", gid)
}

fn took_effect(before: libc::c_long, now: libc::c_long, wanted: u32) -> io::Result<u32> {
    // Ids above 2^31 come back sign-extended: only the low 32 bits count.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the low 32 bits are the id")]
    let (before, now) = (before as u32, now as u32);
    if now == wanted { Ok(before) } else { Err(io::Error::from_raw_os_error(libc::EPERM)) }
}

/// The three classic capability sets of a thread, bit `n` for capability `n`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CapabilitySets {
    /// Those that count now.
    pub effective: u64,
    /// Those that may become effective.
    pub permitted: u64,
    /// Those that an exec may keep.
    pub inheritable: u64,
}

/// The capabilities of the calling thread.
pub fn capget() -> Result<CapabilitySets> {
    let sets = rustix::thread::capabilities(None).blame("capget(2)", "this thread")?;
    Ok(CapabilitySets {
        effective: sets.effective.bits(),
        permitted: sets.permitted.bits(),
        inheritable: sets.inheritable.bits(),
    })
}

/// Sets the capabilities of the calling thread (version 3 of the interface).
///
/// `EPERM`: a permitted one that was not permitted before, or an inheritable one outside the bounding set.
pub fn capset(sets: CapabilitySets) -> Result<()> {
    let raw = rustix::thread::CapabilitySets {
        effective: CapabilitySet::from_bits_retain(sets.effective),
        permitted: CapabilitySet::from_bits_retain(sets.permitted),
        inheritable: CapabilitySet::from_bits_retain(sets.inheritable),
    };
    rustix::thread::set_capabilities(None, raw).blame("capset(2)", "this thread")
}

/// Whether a capability is in the bounding set; `None` if this kernel has no such capability.
#[doc(alias = "PR_CAPBSET_READ")]
pub fn in_bounding(capability: u8) -> Option<bool> {
    // SAFETY: two numbers.
    match unsafe { libc::prctl(libc::PR_CAPBSET_READ, libc::c_ulong::from(capability)) } {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}

/// Drops a capability from the bounding set of the calling thread, for good.
#[doc(alias = "PR_CAPBSET_DROP")]
pub fn drop_bounding(capability: u8) -> Result<()> {
    // SAFETY: two numbers.
    checked(unsafe { libc::prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(capability)) }.into())
        .map(drop)
        .blame_with("prctl(2)", || format!("PR_CAPBSET_DROP {capability}"))
}

/// Empties the ambient set of the calling thread.
#[doc(alias = "PR_CAP_AMBIENT")]
pub fn clear_ambient() -> Result<()> {
    rustix::thread::clear_ambient_capability_set().blame("prctl(2)", "PR_CAP_AMBIENT_CLEAR_ALL")
}
