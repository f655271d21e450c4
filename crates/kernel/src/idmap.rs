//! User namespaces that exist only to be the map of an id-mapped mount.

use std::os::fd::OwnedFd;

use crate::ns::{self, IdRange, Namespaces};
use crate::{Blame, Result, sys};

/// Makes a user namespace with these ranges for uids and gids alike, and nobody in it.
///
/// Its creator is the first outside id, so that what it holds is not charged to root. For
/// [`MountFd::idmap`](crate::mount::MountFd::idmap): `inside` are the ids stored on disk, `outside` those that the
/// mount shows. The namespace lives as long as the descriptor or a mount that uses it.
#[doc(alias = "MOUNT_ATTR_IDMAP")]
pub fn user_namespace_with(ranges: &[IdRange]) -> Result<OwnedFd> {
    let owner = ranges.first().map_or(0, |range| range.outside);
    let (pid, pidfd) =
        sys::hold_user_namespace(owner, owner).blame("unshare(2)", "a user namespace for an id map")?;
    // The holder is our child and not reaped yet: its number cannot have been taken over.
    let made = ns::write_id_maps(pid, ranges, ranges).and_then(|()| ns::open(pid, Namespaces::USER));
    sys::kill_and_reap(pid, &pidfd);
    made
}
