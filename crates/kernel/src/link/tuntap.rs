//! Persistent tun and tap devices: they stay although no program holds them.

use rustix::fs::{Mode, OFlags};

use crate::{Blame as _, Result, sys};

/// What a persistent device is like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tuntap {
    /// Whole Ethernet frames (tap) rather than IP packets (tun).
    pub tap: bool,
    /// Checksums are not looked at (`TUNSETNOCSUM`; kernels of today ignore it).
    pub no_checksum: bool,
    /// Who may attach to it besides root: a user id of the host.
    pub owner: Option<u32>,
    /// The same for a group.
    pub group: Option<u32>,
    /// `ARPHRD_*` number of the link's type; tap only.
    pub layer: Option<u32>,
}

/// Makes a device in the calling thread's network namespace. `EBUSY`: the name is taken; `ENOENT` or `ENODEV`: this
/// kernel has no tun driver.
///
/// It is removed like any other device: [`delete_link`](super::Netlink::delete_link).
///
/// # Errors
/// As above, or as ioctl(2) says.
pub fn create(name: &str, device: Tuntap) -> Result<()> {
    const CLONE: &str = "/dev/net/tun";
    let file =
        rustix::fs::open(CLONE, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).blame("open(2)", CLONE)?;
    sys::tuntap_create(&file, name, device.tap)?;
    if let Some(layer) = device.layer {
        sys::tuntap_set(&file, sys::TunSetting::Layer, layer, name)?;
    }
    if device.no_checksum {
        sys::tuntap_set(&file, sys::TunSetting::NoChecksum, 1, name)?;
    }
    if let Some(owner) = device.owner {
        sys::tuntap_set(&file, sys::TunSetting::Owner, owner, name)?;
    }
    if let Some(group) = device.group {
        sys::tuntap_set(&file, sys::TunSetting::Group, group, name)?;
    }
    // Last: what fails before leaves nothing, as the device ends with the descriptor.
    sys::tuntap_set(&file, sys::TunSetting::Persistent, 1, name)
}
