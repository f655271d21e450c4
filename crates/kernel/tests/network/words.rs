//! What each word of the flags means.

use rustix::net::{AddressFamily, Protocol, SocketFlags, SocketType, ipproto, socket_with, sockopt};
use vserver_kernel::bpf::network::LowPorts;
use vserver_kernel::sys;

use crate::scene::{
    A4, A6, B4, HOST4, HOST6, OUTSIDE4, OUTSIDE6, Scene, Who, accept, at, connect, errno, listen, receive,
    rules, udp, unbound,
};

const V4: AddressFamily = AddressFamily::INET;
const V6: AddressFamily = AddressFamily::INET6;
/// `MSG_FASTOPEN`
const FAST_OPEN: rustix::net::SendFlags = rustix::net::SendFlags::from_bits_retain(0x2000_0000);

/// Without `lback_remap` the loopback is refused, with `lback_allow` it is the host's.
pub fn lback() {
    let scene = Scene::without_guests();
    let mut rules = rules(Who::A);
    rules.lback_remap = false;
    scene.confine(Who::A, &rules);
    let host = [listen("127.0.0.1", 8100).unwrap(), listen("::1", 8100).unwrap()];
    scene.be(Who::A, || {
        for address in ["127.0.0.1", "127.3.233.1", "0.0.0.0", "::1", "::", "::ffff:127.0.0.1"] {
            assert_eq!(errno(connect(address, 8100)), libc::EPERM, "{address}");
            assert_eq!(errno(unbound(address).send_to(b"x", at(address, 8100))), libc::EPERM, "{address}");
            if !["0.0.0.0", "::"].contains(&address) {
                assert_eq!(errno(listen(address, 0)), libc::EADDRNOTAVAIL, "{address}");
            }
        }
        assert!(listen("0.0.0.0", 0).is_ok() && listen("::", 0).is_ok());
    });
    rules.lback_allow = true;
    scene.change(Who::A, &rules);
    scene.be(Who::A, || {
        drop(listen("127.0.0.1", 0).unwrap());
        drop(listen("::1", 0).unwrap());
        for (address, host) in
            [("127.0.0.1", &host[0]), ("0.0.0.0", &host[0]), ("::1", &host[1]), ("::", &host[1])]
        {
            drop(connect(address, 8100).unwrap());
            assert!(accept(host).is_some(), "{address}");
        }
        let server = udp("127.0.0.1", 8101).unwrap();
        let client = unbound("127.0.0.1");
        client.send_to(b"x", at("127.0.0.1", 8101)).unwrap();
        assert!(receive(&server).is_some());
    });
}

/// `hide_lback` only hides.
pub fn hide_lback() {
    let scene = Scene::without_guests();
    let mut rules = rules(Who::A);
    rules.hide_lback = false;
    scene.confine(Who::A, &rules);
    scene.be(Who::A, || {
        let listener = listen("127.0.0.1", 8102).unwrap();
        assert_eq!(listener.local_addr().unwrap(), at("127.3.233.1", 8102));
        let client = connect("127.0.0.1", 8102).unwrap();
        assert_eq!(client.peer_addr().unwrap(), at("127.3.233.1", 8102));
        assert_eq!(listen("::1", 8102).unwrap().local_addr().unwrap(), at("fd76:7365:7276:6572::3e9", 8102));
    });
}

/// A loopback address that was configured outside of 127.0.0.0/8.
pub fn other_lback() {
    let scene = Scene::without_guests();
    crate::scene::ip("address add 10.9.9.9/32 dev lo");
    let mut rules = rules(Who::A);
    rules.lback = "10.9.9.9".parse().unwrap();
    scene.confine(Who::A, &rules);
    let (listener, any) =
        scene.be(Who::A, || (listen("127.0.0.1", 8103).unwrap(), listen("0.0.0.0", 8104).unwrap()));
    assert_eq!(scene.be(Who::A, || listener.local_addr().unwrap()), at("127.0.0.1", 8103));
    drop(connect("10.9.9.9", 8103).unwrap());
    assert!(accept(&listener).is_some());
    for address in ["127.0.0.1", "127.0.0.7"] {
        scene.be(Who::A, || drop(connect(address, 8104).unwrap()));
        assert!(accept(&any).is_some(), "{address}");
    }
}

/// A guest without addresses has its loopback and nothing else.
pub fn no_address() {
    let scene = Scene::without_guests();
    let mut rules = rules(Who::A);
    (rules.v4, rules.v6) = (Vec::new(), Vec::new());
    scene.confine(Who::A, &rules);
    scene.be(Who::A, || {
        assert_eq!(errno(connect(OUTSIDE4, 1)), libc::EPERM);
        assert_eq!(errno(unbound(OUTSIDE4).send_to(b"x", at(OUTSIDE4, 1))), libc::EPERM);
        assert_eq!(errno(connect(OUTSIDE6, 1)), libc::ENETUNREACH);
        assert_eq!(errno(unbound(OUTSIDE6).send_to(b"x", at(OUTSIDE6, 1))), libc::ENETUNREACH);
        assert_eq!(errno(listen(HOST4, 0)), libc::EADDRNOTAVAIL);
        let listeners = [listen("::", 8105).unwrap(), listen("0.0.0.0", 8106).unwrap()];
        for (address, port, listener) in [("127.0.0.1", 8105, 0), ("::1", 8105, 0), ("127.0.0.1", 8106, 1)] {
            drop(connect(address, port).unwrap());
            assert!(accept(&listeners[listener]).is_some(), "{address} {port}");
        }
    });
    for address in [HOST4, A4[0], HOST6, A6[0]] {
        assert_eq!(errno(connect(address, 8105)), libc::ECONNREFUSED);
    }
    rules.lback_remap = false;
    scene.change(Who::A, &rules);
    scene.be(Who::A, || {
        assert_eq!(errno(listen("0.0.0.0", 0)), libc::EADDRNOTAVAIL);
        assert_eq!(errno(listen("::", 0)), libc::EADDRNOTAVAIL);
    });
}

/// With `single_ip` any address is the first one, and says so.
pub fn single_ip() {
    let scene = Scene::without_guests();
    let mut rules = rules(Who::A);
    rules.single_ip = true;
    scene.confine(Who::A, &rules);
    let listener = scene.be(Who::A, || listen("0.0.0.0", 8107).unwrap());
    assert_eq!(scene.be(Who::A, || listener.local_addr().unwrap()), at(A4[0], 8107));
    drop(connect(A4[0], 8107).unwrap());
    assert!(accept(&listener).is_some());
    assert_eq!(errno(connect(A4[1], 8107)), libc::ECONNREFUSED);
    scene.be(Who::A, || assert_eq!(errno(connect("127.0.0.1", 8107)), libc::ECONNREFUSED));
}

/// `ip` 0.0.0.0: nothing is confined.
pub fn any() {
    let scene = Scene::without_guests();
    let mut rules = rules(Who::A);
    rules.any = true;
    scene.confine(Who::A, &rules);
    let host = listen("127.0.0.1", 8108).unwrap();
    let listener = scene.be(Who::A, || {
        drop(connect("127.0.0.1", 8108).unwrap());
        drop(listen(HOST4, 0).unwrap());
        listen("0.0.0.0", 8109).unwrap()
    });
    assert!(accept(&host).is_some());
    assert_eq!(scene.be(Who::A, || listener.local_addr().unwrap()), at("0.0.0.0", 8109));
    for address in [HOST4, A4[0], B4[0], "127.0.0.1"] {
        drop(connect(address, 8109).unwrap());
        assert!(accept(&listener).is_some(), "{address}");
    }
}

/// In a shifted guest root alone may bind low ports; capabilities over the host's network it has none.
pub fn low_ports() {
    let scene = Scene::without_guests();
    let mut rules = rules(Who::A);
    rules.low_ports = LowPorts::Uid(70_000);
    scene.confine(Who::A, &rules);
    let try_as = |uid: u32| {
        scene.be(Who::A, || {
            // A thread of its own: ids and capabilities are a thread's.
            std::thread::scope(|scope| {
                scope
                    .spawn(|| {
                        sys::set_resuid(Some(uid), Some(uid), Some(uid)).unwrap();
                        [
                            errno(listen(A4[0], 80)),
                            errno(listen("0.0.0.0", 81)),
                            errno(listen("::", 82)),
                            errno(listen("::1", 83)),
                            errno(udp("0.0.0.0", 67)),
                            errno(listen(HOST4, 84)),
                            errno(listen(A4[0], 8110)),
                        ]
                    })
                    .join()
                    .unwrap()
            })
        })
    };
    let (taken, no) = (libc::EADDRNOTAVAIL, libc::EACCES);
    assert_eq!(try_as(70_000), [0, 0, 0, 0, 0, taken, 0]);
    assert_eq!(try_as(70_001), [no, no, no, no, no, taken, 0]);
    rules.low_ports = LowPorts::ByCapability;
    scene.change(Who::A, &rules);
    assert_eq!(try_as(70_000), [no, no, no, no, no, taken, 0]);
    assert_eq!(try_as(0), [0, 0, 0, 0, 0, taken, 0]);
}

/// Protocols past which the programs would not see are refused, raw sockets unless they were granted.
pub fn protocols() {
    let scene = Scene::without_guests();
    let mut rules = rules(Who::A);
    rules.raw_icmp = false;
    scene.confine(Who::A, &rules);
    let make = |family, kind, protocol: Option<Protocol>| {
        scene.be(Who::A, || {
            socket_with(family, kind, SocketFlags::CLOEXEC, protocol)
                .err()
                .map_or(0, rustix::io::Errno::raw_os_error)
        })
    };
    for family in [V4, V6] {
        for protocol in [ipproto::MPTCP, ipproto::SCTP, ipproto::DCCP] {
            assert_ne!(make(family, SocketType::STREAM, Some(protocol)), 0);
        }
        assert_ne!(make(family, SocketType::DGRAM, Some(ipproto::UDPLITE)), 0);
        assert_eq!(make(family, SocketType::STREAM, Some(ipproto::TCP)), 0);
        assert_eq!(make(family, SocketType::DGRAM, Some(ipproto::UDP)), 0);
    }
    for raw in [ipproto::ICMP, ipproto::RAW, ipproto::TCP] {
        assert_eq!(make(V4, SocketType::RAW, Some(raw)), libc::EPERM);
    }
    assert_eq!(make(V6, SocketType::RAW, Some(ipproto::ICMPV6)), libc::EPERM);
    std::fs::write("/proc/sys/net/ipv4/ping_group_range", "0 0").unwrap();
    assert_eq!(make(V4, SocketType::DGRAM, Some(ipproto::ICMP)), libc::EPERM);
    assert_eq!(make(V6, SocketType::DGRAM, Some(ipproto::ICMPV6)), libc::EPERM);
    rules.raw_icmp = true;
    scene.change(Who::A, &rules);
    assert_eq!(make(V4, SocketType::DGRAM, Some(ipproto::ICMP)), 0);
    assert_eq!(make(V6, SocketType::DGRAM, Some(ipproto::ICMPV6)), 0);
    assert_eq!(make(V4, SocketType::RAW, Some(ipproto::ICMP)), libc::EPERM);
    rules.raw = true;
    scene.change(Who::A, &rules);
    for raw in [ipproto::ICMP, ipproto::RAW, ipproto::TCP] {
        assert_eq!(make(V4, SocketType::RAW, Some(raw)), 0);
    }
    assert_eq!(make(V6, SocketType::RAW, Some(ipproto::ICMPV6)), 0);
}

/// A raw socket sends from the guest's addresses alone, also when it writes the header itself, and hears nothing that
/// is for others.
pub fn raw() {
    let scene = Scene::without_guests();
    let mut rules = rules(Who::A);
    scene.confine(Who::A, &rules);
    // Granted later: the filter comes with it.
    rules.raw = true;
    scene.change(Who::A, &rules);
    let socket = scene.be(Who::A, || {
        socket_with(AddressFamily::INET, SocketType::RAW, SocketFlags::CLOEXEC, Some(ipproto::RAW)).unwrap()
    });
    let send = |source: &str| {
        let mut packet = [0_u8; 28];
        (packet[0], packet[8], packet[9]) = (0x45, 64, 17);
        packet[12..16].copy_from_slice(&source.parse::<std::net::Ipv4Addr>().unwrap().octets());
        packet[16..20].copy_from_slice(&OUTSIDE4.parse::<std::net::Ipv4Addr>().unwrap().octets());
        // UDP: from port 9 to port 8111, without a checksum.
        packet[20..26].copy_from_slice(&[0, 9, 0x1f, 0xaf, 0, 8]);
        let sent = rustix::net::sendto(&socket, &packet, rustix::net::SendFlags::empty(), &at(OUTSIDE4, 0));
        sent.err().map_or(0, rustix::io::Errno::raw_os_error)
    };
    let sink = scene.be(Who::Outside, || udp(OUTSIDE4, 8111).unwrap());
    for foreign in [HOST4, B4[0], "192.0.2.1", "127.0.0.1"] {
        assert_eq!(send(foreign), libc::EPERM, "{foreign}");
    }
    assert_eq!((send(A4[0]), send(A4[1])), (0, 0));
    for own in A4 {
        assert_eq!(receive(&sink).unwrap().1, at(own, 9));
    }
    assert!(receive(&sink).is_none());

    let listener = scene.be(Who::A, || {
        let socket =
            socket_with(AddressFamily::INET, SocketType::RAW, SocketFlags::CLOEXEC, Some(ipproto::UDP))
                .unwrap();
        sockopt::set_socket_timeout(
            &socket,
            sockopt::Timeout::Recv,
            Some(std::time::Duration::from_millis(200)),
        )
        .unwrap();
        std::net::UdpSocket::from(socket)
    });
    for (to, heard) in [(HOST4, false), (B4[0], false), (A4[0], true), (A4[1], true)] {
        scene.be(Who::Outside, || unbound(to).send_to(b"x", at(to, 8112)).unwrap());
        assert_eq!(receive(&listener).is_some(), heard, "{to}");
    }
}

/// Data with the first packet: sendto(2) connects, and is seen as a connect(2).
pub fn fast_open() {
    let scene = Scene::new();
    std::fs::write("/proc/sys/net/ipv4/tcp_fastopen", "3").unwrap();
    let listener = scene.be(Who::Outside, || {
        std::fs::write("/proc/sys/net/ipv4/tcp_fastopen", "3").unwrap();
        std::net::TcpListener::bind(at(crate::scene::OUTSIDE4_2, 8113)).unwrap()
    });
    let client = |to: &str| {
        let socket = crate::scene::socket(to, SocketType::STREAM);
        let sent = rustix::net::sendto(&socket, b"x", FAST_OPEN, &at(to, 8113));
        (sent.err().map_or(0, rustix::io::Errno::raw_os_error), socket)
    };
    let (sent, _socket) = scene.be(Who::A, || client(crate::scene::OUTSIDE4_2));
    assert_eq!(sent, 0);
    assert_eq!(accept(&listener).unwrap().1.ip().to_string(), A4[1]);
    assert_eq!(scene.be(Who::A, || client("127.3.234.1").0), libc::EPERM);
}
