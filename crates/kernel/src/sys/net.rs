//! Requests to the tun driver.

use std::os::fd::{AsFd, AsRawFd as _};

use super::checked;
use crate::{Blame as _, Fault, Result};

/// One property of a tun or tap device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TunSetting {
    /// `TUNSETNOCSUM`
    NoChecksum,
    /// `TUNSETPERSIST`: it stays without a descriptor.
    Persistent,
    /// `TUNSETOWNER`
    Owner,
    /// `TUNSETGROUP`
    Group,
    /// `TUNSETLINK`: an `ARPHRD_*` number.
    Layer,
}

impl TunSetting {
    const fn request(self) -> (libc::Ioctl, &'static str) {
        match self {
            Self::NoChecksum => (libc::TUNSETNOCSUM, "ioctl(2) TUNSETNOCSUM"),
            Self::Persistent => (libc::TUNSETPERSIST, "ioctl(2) TUNSETPERSIST"),
            Self::Owner => (libc::TUNSETOWNER, "ioctl(2) TUNSETOWNER"),
            Self::Group => (libc::TUNSETGROUP, "ioctl(2) TUNSETGROUP"),
            Self::Layer => (libc::TUNSETLINK, "ioctl(2) TUNSETLINK"),
        }
    }
}

/// `struct ifreq` as `TUNSETIFF` reads it.
#[repr(C)]
struct Request {
    name: [u8; libc::IFNAMSIZ],
    flags: u16,
    /// The rest of the union, which is 24 bytes on 64-bit and 16 on 32-bit machines.
    rest: [u8; 22],
}

/// Makes a device that ends with the descriptor. `EBUSY`: the name is taken.
///
/// `TUNSETIFF` with `IFF_TUN_EXCL`, so that no device of somebody else is taken over.
#[doc(alias = "TUNSETIFF")]
pub fn tuntap_create(file: impl AsFd, name: &str, tap: bool) -> Result<()> {
    const OP: &str = "ioctl(2) TUNSETIFF";
    let mode = if tap { libc::IFF_TAP } else { libc::IFF_TUN };
    let flags = u16::try_from(mode | libc::IFF_NO_PI | libc::IFF_TUN_EXCL).unwrap_or(0);
    let mut request = Request { name: [0; libc::IFNAMSIZ], flags, rest: [0; 22] };
    let Some(place) = request.name.get_mut(..name.len()).filter(|_| name.len() < libc::IFNAMSIZ) else {
        return Err(Fault::from_errno(OP, name, libc::ENAMETOOLONG));
    };
    place.copy_from_slice(name.as_bytes());
    // SAFETY: the request reads and writes a `struct ifreq`; ours is at least as long, initialised, and outlives the
    // call. The name ends with a NUL, as it is shorter than its place.
    checked(unsafe { libc::ioctl(file.as_fd().as_raw_fd(), libc::TUNSETIFF, &raw mut request) }.into())
        .map(drop)
        .blame(OP, name)
}

/// Sets one property of the device behind `file`, called `name` in errors.
pub fn tuntap_set(file: impl AsFd, setting: TunSetting, value: u32, name: &str) -> Result<()> {
    let (request, op) = setting.request();
    // SAFETY: these requests take a number by value and no pointer.
    checked(unsafe { libc::ioctl(file.as_fd().as_raw_fd(), request, libc::c_ulong::from(value)) }.into())
        .map(drop)
        .blame(op, name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_as_long_as_the_kernels() {
        assert_eq!(size_of::<Request>(), 40);
    }
}
