//! Landlock: restrictions that a process puts on itself and its children.

use std::os::fd::AsRawFd as _;
use std::ptr;

use super::{checked, new_fd};
use crate::{Blame, Result};

/// `struct landlock_ruleset_attr`, ABI 6 (24 bytes, Linux 6.12).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct RulesetAttr {
    handled_access_fs: u64,
    handled_access_net: u64,
    scoped: u64,
}

const CREATE_RULESET_VERSION: u32 = 1;
const SCOPE_ABSTRACT_UNIX_SOCKET: u64 = 1;

/// The version of Landlock's interface.
///
/// `landlock_create_ruleset(2)`, Linux 5.13. `ENOSYS`: not built in; `EOPNOTSUPP`: not in the `lsm=` list.
#[doc(alias = "landlock_create_ruleset")]
pub fn landlock_abi() -> Result<libc::c_long> {
    let attr = ptr::null::<RulesetAttr>();
    // SAFETY: with this flag the kernel takes a null pointer of size 0 and returns a number.
    checked(unsafe {
        libc::syscall(libc::SYS_landlock_create_ruleset, attr, 0_usize, CREATE_RULESET_VERSION)
    })
    .blame("landlock_create_ruleset(2)", "the version")
}

/// Keeps the calling thread and its future children from abstract unix sockets of processes outside of this
/// restriction.
///
/// Landlock ABI 6, Linux 6.12: `EINVAL` or `E2BIG` before. `EPERM`: neither `CAP_SYS_ADMIN` in the user namespace
/// nor `no_new_privs`.
#[doc(alias = "landlock_restrict_self")]
pub fn landlock_scope_abstract_sockets() -> Result<()> {
    let attr = RulesetAttr { scoped: SCOPE_ABSTRACT_UNIX_SOCKET, ..RulesetAttr::default() };
    let size = size_of::<RulesetAttr>();
    let ruleset =
        // SAFETY: `attr` is initialised, outlives the call and is as long as the size we pass.
        checked(unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, &raw const attr, size, 0) })
            // SAFETY: without flags a success is a fresh descriptor that nobody else owns.
            .map(|fd| unsafe { new_fd(fd) })
            .blame("landlock_create_ruleset(2)", "a scope for abstract sockets")?;
    // SAFETY: two numbers; the descriptor stays open until the call returns.
    checked(unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0) })
        .map(drop)
        .blame("landlock_restrict_self(2)", "a scope for abstract sockets")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_attribute_has_the_size_of_abi_6() {
        assert_eq!(size_of::<RulesetAttr>(), 24);
    }
}
