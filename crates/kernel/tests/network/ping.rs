//! ICMP sockets, as `ping` uses them.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, ipproto, socket_with, sockopt,
};

use crate::scene::{
    A4, A6, B4, B6, HOST4, HOST6, OUTSIDE4, OUTSIDE4_2, OUTSIDE6, OUTSIDE6_2, Scene, Who, at, rules,
};

fn socket(to: &str, kind: SocketType) -> OwnedFd {
    let (family, protocol): (_, Protocol) = if to.contains(':') {
        (AddressFamily::INET6, ipproto::ICMPV6)
    } else {
        (AddressFamily::INET, ipproto::ICMP)
    };
    let socket = socket_with(family, kind, SocketFlags::CLOEXEC, Some(protocol)).unwrap();
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(Duration::from_millis(300))).unwrap();
    socket
}

/// An echo request with its checksum; for IPv6 the kernel puts that in.
fn request(to: &str) -> [u8; 12] {
    let mut message = [0, 0, 0, 0, 0x12, 0x34, 0, 1, b'p', b'i', b'n', b'g'];
    message[0] = if to.contains(':') { 128 } else { 8 };
    let sum: u32 = message.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    message[2..4].copy_from_slice(&(!u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap()).to_be_bytes());
    message
}

/// Sends a request; says who answers within a moment.
fn answers(socket: &OwnedFd, to: &str) -> Option<IpAddr> {
    if let Err(errno) = rustix::net::sendto(socket, &request(to), SendFlags::empty(), &at(to, 0)) {
        panic!("{to}: {errno}");
    }
    loop {
        let mut buffer = [0; 128];
        let (_, length, from) = rustix::net::recvfrom(socket, &mut buffer, RecvFlags::empty()).ok()?;
        // A raw IPv4 socket is given the header too; and it hears the request, when that was to the guest itself.
        let message = &buffer[..length];
        let message = if message[0] == 0x45 { &message[20..] } else { message };
        if [0, 129].contains(&message[0]) {
            return Some(SocketAddr::try_from(from.unwrap()).unwrap().ip());
        }
    }
}

/// A guest's ping goes out from its nearest address, whichever kind of socket is used, and is answered.
pub fn ping() {
    let scene = Scene::new();
    std::fs::write("/proc/sys/net/ipv4/ping_group_range", "0 0").unwrap();
    let seen =
        scene.be(Who::Outside, || [(OUTSIDE4, 0), (OUTSIDE6, 1)].map(|(to, _)| socket(to, SocketType::RAW)));
    let heard = |v6: bool| {
        let mut buffer = [0; 128];
        let (_, _, from) =
            rustix::net::recvfrom(&seen[usize::from(v6)], &mut buffer, RecvFlags::empty()).unwrap();
        SocketAddr::try_from(from.unwrap()).unwrap().ip().to_string()
    };
    for kind in [SocketType::DGRAM, SocketType::RAW] {
        if kind == SocketType::RAW {
            let mut rules = rules(Who::A);
            rules.raw = true;
            scene.change(Who::A, &rules);
        }
        for (to, from) in [(OUTSIDE4, A4[0]), (OUTSIDE4_2, A4[1])] {
            scene.be(Who::A, || {
                assert_eq!(answers(&socket(to, kind), to), Some(to.parse().unwrap()), "{to} {kind:?}");
            });
            assert_eq!(heard(false), from);
        }
        for (to, from) in [(OUTSIDE6, A6[0]), (OUTSIDE6_2, A6[1])] {
            scene.be(Who::A, || {
                assert_eq!(answers(&socket(to, kind), to), Some(to.parse().unwrap()), "{to} {kind:?}");
            });
            // Neighbour discovery is heard too, from addresses of the host's own choice.
            while heard(true) != from {}
        }
        for to in [A4[0], A4[1], B4[1], HOST4, A6[0], A6[1], B6[1], HOST6] {
            scene.be(Who::A, || {
                assert_eq!(answers(&socket(to, kind), to), Some(to.parse().unwrap()), "{to} {kind:?}");
            });
        }
        for (to, really) in [("127.0.0.1", "127.3.233.1"), ("::1", "fd76:7365:7276:6572::3e9")] {
            scene.be(Who::A, || {
                assert_eq!(answers(&socket(to, kind), to), Some(really.parse().unwrap()), "{to}");
            });
        }
    }
}

/// Without the program on the device a raw socket's packet does not go out; from an address of the guest's it does.
pub fn without_program() {
    let scene = Scene::without_guests();
    let mut rules = rules(Who::A);
    rules.raw = true;
    scene.confine(Who::A, &rules);
    crate::scene::ip("link delete eth0");
    crate::scene::ip("link add eth0 type veth peer name eth1");
    crate::scene::ip("link set eth0 up");
    crate::scene::ip("link set eth1 up");
    for address in [HOST4, A4[0]] {
        crate::scene::ip(&format!("address add {address}/24 dev eth0"));
    }
    scene.be(Who::A, || {
        let socket = socket(OUTSIDE4, SocketType::RAW);
        // There is no other side that resolves the address: the broadcast address goes out at once.
        sockopt::set_socket_broadcast(&socket, true).unwrap();
        let send =
            || rustix::net::sendto(&socket, &request(OUTSIDE4), SendFlags::empty(), &at("10.1.0.255", 0));
        assert_eq!(send(), Err(rustix::io::Errno::PERM));
        rustix::net::bind(&socket, &at(A4[0], 0)).unwrap();
        assert_eq!(send(), Ok(12));
    });
}
