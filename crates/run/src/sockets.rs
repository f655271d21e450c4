//! Sockets that the broker makes for a caller, with the arguments of socket(2).

use std::cell::Cell;
use std::os::fd::OwnedFd;
use std::sync::mpsc::{Receiver, Sender, channel};

use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, Protocol, SocketFlags, SocketType};

const NETLINK_ROUTE: u32 = 0;
const NETLINK_SOCK_DIAG: u32 = 4;
const NETLINK_GENERIC: u32 = 16;
const TYPE: u32 = 0xf;

/// Arguments of socket(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    family: u32,
    kind: u32,
    protocol: u32,
}

impl Asked {
    /// As the kernel takes them from registers.
    pub fn from_registers(arguments: [u64; 6]) -> Self {
        let low = |argument: u64| u32::try_from(argument & 0xffff_ffff).unwrap_or_default();
        let [family, kind, protocol, ..] = arguments.map(low);
        Self { family, kind, protocol }
    }

    /// As i386's socketcall takes them from memory.
    pub fn from_words(bytes: [u8; 12]) -> Self {
        let word = |at: usize| u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        Self { family: word(0), kind: word(4), protocol: word(8) }
    }

    /// Whether it is to be closed by an exec.
    pub fn close_on_exec(&self) -> bool {
        self.kind & libc::O_CLOEXEC.cast_unsigned() != 0
    }

    /// For traffic.
    pub fn is_of_internet(&self) -> bool {
        [libc::AF_INET, libc::AF_INET6].contains(&self.family.cast_signed())
    }

    /// Made in the shadow, or refused; `None`: it shows no devices.
    pub fn is_of_shadow(&self) -> Option<bool> {
        if self.family != libc::AF_NETLINK.cast_unsigned() {
            return None;
        }
        match self.protocol {
            NETLINK_ROUTE | NETLINK_GENERIC => Some(true),
            NETLINK_SOCK_DIAG => Some(false),
            _ => None,
        }
    }

    /// Makes it, in the network namespace of the calling thread.
    pub fn make(&self) -> Result<OwnedFd, i32> {
        let family = u16::try_from(self.family).map_err(|_| libc::EAFNOSUPPORT)?;
        let flags = SocketFlags::from_bits_retain(self.kind & !TYPE) | SocketFlags::CLOEXEC;
        let protocol = std::num::NonZeroU32::new(self.protocol).map(Protocol::from_raw);
        rustix::net::socket_with(
            AddressFamily::from_raw(family),
            SocketType::from_raw(self.kind & TYPE),
            flags,
            protocol,
        )
        .map_err(rustix::io::Errno::raw_os_error)
    }
}

/// A wish, and where the socket goes.
type Wish = (Asked, Sender<Result<OwnedFd, i32>>);

/// Makes sockets of the host's network: a thread that has stayed there when the broker left for the shadow.
///
/// A socket belongs to the control group that it is made in, and with that to the addresses of the guest: so before the
/// first one the broker joins a group of the guest's, beside that of its processes.
pub struct Sockets {
    wishes: Sender<Wish>,
    /// The guest's group in version 2; `None`: there is none.
    group: Option<OwnedFd>,
    joined: Cell<bool>,
}

impl Sockets {
    /// Begins the thread, in the network namespace of the caller.
    pub fn begin(group: Option<OwnedFd>) -> Self {
        let (wishes, wanted) = channel();
        std::thread::spawn(move || make_all(&wanted));
        Self { wishes, group, joined: Cell::new(false) }
    }

    /// Makes one.
    pub fn make(&self, asked: Asked) -> Result<OwnedFd, i32> {
        self.join().map_err(rustix::io::Errno::raw_os_error)?;
        let (answer, result) = channel();
        self.wishes.send((asked, answer)).map_err(|_| libc::ENOBUFS)?;
        result.recv().map_err(|_| libc::ENOBUFS)?
    }

    fn join(&self) -> rustix::io::Result<()> {
        let Some(group) = self.group.as_ref().filter(|_| !self.joined.get()) else { return Ok(()) };
        match rustix::fs::mkdirat(group, "broker", Mode::from_raw_mode(0o755)) {
            Err(errno) if errno != rustix::io::Errno::EXIST => return Err(errno),
            _ => {}
        }
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        let members = rustix::fs::openat(group, "broker/cgroup.procs", flags, Mode::empty())?;
        rustix::io::write(&members, b"0")?;
        self.joined.set(true);
        Ok(())
    }
}

fn make_all(wanted: &Receiver<Wish>) {
    // No right is needed for any socket that is made here, and none is lent to a guest.
    let bare = vserver_kernel::caps::set_all(0).is_ok();
    for (asked, answer) in wanted {
        // Nobody waits any more: the socket is closed again.
        drop(answer.send(if bare { asked.make() } else { Err(libc::EPERM) }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_shows_devices_is_made_in_the_shadow() {
        let asked = |family, protocol| Asked { family, kind: 3, protocol }.is_of_shadow();
        assert_eq!([asked(16, 0), asked(16, 16), asked(16, 4)], [Some(true), Some(true), Some(false)]);
        assert_eq!([asked(16, 9), asked(2, 0), asked(1, 0), asked(10, 6)], [None; 4]);
    }

    #[test]
    fn arguments_are_32_bits_wherever_they_come_from() {
        let registers = Asked::from_registers([1 << 32 | 2, 0x8_0001, 1 << 40, 9, 9, 9]);
        let words = Asked::from_words([2, 0, 0, 0, 1, 0, 8, 0, 0, 0, 0, 0]);
        assert_eq!(registers, words);
        assert!(words.close_on_exec());
    }
}
