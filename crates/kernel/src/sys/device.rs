//! Questions about network devices by ioctl(2) on a socket: netdevice(7).

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::checked;

/// The part of `struct ifreq` that every architecture has in common: a name and 16 bytes for the rest.
pub type DeviceRequest = [u8; 32];

/// `struct ifreq` as this machine's own programs lay it out, with room for the longest member.
#[repr(C, align(8))]
struct RawRequest([u8; 40]);

/// Requests that only ask, and whose answer lies in the structure itself.
const QUESTIONS: [u32; 13] = [
    0x8910, // SIOCGIFNAME
    0x8913, // SIOCGIFFLAGS
    0x8915, // SIOCGIFADDR
    0x8917, // SIOCGIFDSTADDR
    0x8919, // SIOCGIFBRDADDR
    0x891b, // SIOCGIFNETMASK
    0x891d, // SIOCGIFMETRIC
    0x891f, // SIOCGIFMEM
    0x8921, // SIOCGIFMTU
    0x8927, // SIOCGIFHWADDR
    0x8929, // SIOCGIFSLAVE
    0x8933, // SIOCGIFINDEX
    0x8942, // SIOCGIFTXQLEN
];

/// Whether [`device_question`] knows a request.
pub fn is_device_question(request: u32) -> bool {
    QUESTIONS.contains(&request)
}

/// Asks about one device, in the network namespace of the socket.
///
/// # Errors
/// What the kernel says; `EOPNOTSUPP` for a request that is not such a question.
pub fn device_question(socket: BorrowedFd<'_>, request: u32, about: &mut DeviceRequest) -> io::Result<()> {
    if !is_device_question(request) {
        return Err(io::Error::from_raw_os_error(libc::EOPNOTSUPP));
    }
    let mut raw = RawRequest([0; 40]);
    raw.0[..32].copy_from_slice(about);
    // SAFETY: each of these requests reads and writes one ifreq, which `raw` is, and follows no pointer in it.
    checked(unsafe { libc::syscall(libc::SYS_ioctl, socket.as_raw_fd(), request, &raw mut raw) })?;
    about.copy_from_slice(&raw.0[..32]);
    Ok(())
}

/// `SIOCGIFCONF`: name and IPv4 address of each device that has one, in the network namespace of the socket.
///
/// # Errors
/// What the kernel says.
pub fn device_addresses(socket: BorrowedFd<'_>) -> io::Result<Vec<DeviceRequest>> {
    /// `struct ifconf` on a 64-bit machine.
    #[repr(C)]
    struct List {
        length: i32,
        requests: *mut RawRequest,
    }
    const SIOCGIFCONF: libc::c_ulong = 0x8912;
    let mut room = 64;
    loop {
        let mut requests: Vec<RawRequest> = (0..room).map(|_| RawRequest([0; 40])).collect();
        let bytes = requests.len() * size_of::<RawRequest>();
        let length = i32::try_from(bytes).map_err(|_| io::Error::from_raw_os_error(libc::ENOMEM))?;
        let mut list = List { length, requests: requests.as_mut_ptr() };
        // SAFETY: the kernel writes at most `length` bytes to `requests`, which owns them, and the new length.
        checked(unsafe { libc::syscall(libc::SYS_ioctl, socket.as_raw_fd(), SIOCGIFCONF, &raw mut list) })?;
        let filled = usize::try_from(list.length).unwrap_or(0) / size_of::<RawRequest>();
        if filled < room {
            return Ok(requests.iter().take(filled).map(first_part).collect());
        }
        room *= 2;
    }
}

fn first_part(request: &RawRequest) -> DeviceRequest {
    let mut part = [0; 32];
    part.copy_from_slice(&request.0[..32]);
    part
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_pointer_width = "64")]
    fn a_request_has_the_size_of_ifreq() {
        assert_eq!(size_of::<RawRequest>(), size_of::<libc::ifreq>());
    }
}
