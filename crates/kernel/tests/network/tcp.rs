//! TCP: who listens where, and who is reached.

use std::net::TcpListener;

use rustix::net::SocketType;
use rustix::net::sockopt;

use crate::scene::{
    A4, B4, HOST4, HOST6, Scene, Who, accept, at, connect, errno, listen, listen_only_6, socket,
};

/// A guest binds its own addresses and its loopback, and is told EADDRNOTAVAIL for all others.
pub fn own_addresses() {
    let scene = Scene::new();
    scene.be(Who::A, || {
        for own in [
            "10.1.0.11",
            "10.2.0.12",
            "0.0.0.0",
            "127.0.0.1",
            "127.0.0.53",
            "127.0.1.1",
            "127.3.233.1",
            "fd01::11",
            "fd02::12",
            "::",
            "::1",
            "fd76:7365:7276:6572::3e9",
            "::ffff:10.1.0.11",
            "::ffff:127.0.0.1",
            "::ffff:0.0.0.0",
            "255.255.255.255",
        ] {
            let kind = if own.starts_with("255") { SocketType::DGRAM } else { SocketType::STREAM };
            let bound = rustix::net::bind(socket(own, kind), &at(own, 0));
            assert_eq!(bound, Ok(()), "{own}");
        }
        for foreign in [
            HOST4,
            B4[0],
            "127.3.234.1",
            "127.9.9.9",
            "224.0.0.251",
            "10.1.0.255",
            HOST6,
            "fd01::21",
            "fe80::1",
            "ff02::1",
            "fd76:7365:7276:6572::3ea",
            "::ffff:10.1.0.1",
            "::ffff:10.1.0.21",
            "::ffff:127.3.234.1",
        ] {
            for kind in [SocketType::STREAM, SocketType::DGRAM] {
                let bound = rustix::net::bind(socket(foreign, kind), &at(foreign, 0));
                assert_eq!(bound, Err(rustix::io::Errno::ADDRNOTAVAIL), "{foreign}");
            }
        }
    });
}

/// Freebind and transparent sockets do not get around it.
pub fn freebind() {
    let scene = Scene::new();
    scene.be(Who::A, || {
        let socket = socket("0.0.0.0", SocketType::STREAM);
        sockopt::set_ip_freebind(&socket, true).unwrap();
        let bound = rustix::net::bind(&socket, &at(B4[0], 0));
        assert_eq!(bound, Err(rustix::io::Errno::ADDRNOTAVAIL));
        let bound = rustix::net::bind(&socket, &at("192.0.2.77", 0));
        assert_eq!(bound, Err(rustix::io::Errno::ADDRNOTAVAIL));
    });
}

/// Connects from everybody to an address, and says who came.
fn everybody_reaches(scene: &Scene, address: &str, port: u16, listener: &TcpListener) {
    for from in Who::ALL {
        let client = scene.be(from, || connect(address, port));
        let client = client.unwrap_or_else(|error| panic!("{from:?} to {address}:{port}: {error}"));
        let (_server, peer) = accept(listener).unwrap_or_else(|| panic!("{from:?} to {address}:{port}"));
        let own = if address.contains(':') { from.v6() } else { from.v4() };
        let peer = peer.ip().to_canonical().to_string();
        // The host has all addresses; the guest that connects to itself uses one of its own.
        assert!(from == Who::Host || own.contains(&peer.as_str()), "{from:?} to {address} came from {peer}");
        assert_eq!(scene.be(from, || client.peer_addr().unwrap()), at(address, port));
    }
}

/// Two guests listen at 0.0.0.0 with one port; each is reached at both of its addresses by everybody, and at 127.0.0.1
/// by itself.
pub fn any_4() {
    let scene = Scene::new();
    for (who, other) in [(Who::A, Who::B), (Who::B, Who::A)] {
        let listener = scene.be(who, || listen("0.0.0.0", 8080).unwrap());
        let others = scene.be(other, || listen("0.0.0.0", 8080).unwrap());
        for address in who.v4() {
            everybody_reaches(&scene, address, 8080, &listener);
        }
        for address in ["127.0.0.1", "127.0.0.5", "0.0.0.0"] {
            let client = scene.be(who, || connect(address, 8080).unwrap());
            let (server, peer) = accept(&listener).unwrap();
            assert_eq!(peer.ip().to_string(), "127.0.0.1");
            let names = scene.be(who, || {
                [client.local_addr(), client.peer_addr(), server.local_addr(), server.peer_addr()]
                    .map(|name| name.unwrap().ip().to_string())
            });
            let shown = if address == "0.0.0.0" { "127.0.0.1" } else { address };
            assert_eq!(names, ["127.0.0.1", shown, shown, "127.0.0.1"]);
        }
        assert_eq!(scene.be(who, || listener.local_addr().unwrap()), at("0.0.0.0", 8080));
        assert!(accept(&others).is_none());
    }
}

/// The same for sockets at ::, which are for IPv4 too, and for IPv6 alone.
pub fn any_6() {
    let scene = Scene::new();
    for (who, other) in [(Who::A, Who::B), (Who::B, Who::A)] {
        let both = scene.be(who, || listen("::", 8081).unwrap());
        let only = scene.be(who, || listen_only_6(8082));
        let beside = scene.be(who, || listen("0.0.0.0", 8082).unwrap());
        let others = scene.be(other, || [listen("::", 8081).unwrap(), listen_only_6(8082)]);
        for address in who.v6() {
            everybody_reaches(&scene, address, 8081, &both);
            everybody_reaches(&scene, address, 8082, &only);
        }
        for address in who.v4() {
            everybody_reaches(&scene, address, 8081, &both);
            everybody_reaches(&scene, address, 8082, &beside);
        }
        for (address, shown) in [("::1", "::1"), ("127.0.0.1", "::ffff:127.0.0.1")] {
            let client = scene.be(who, || connect(address, 8081).unwrap());
            let (server, peer) = accept(&both).unwrap();
            assert_eq!(peer.ip().to_string(), shown);
            let names = scene.be(who, || {
                [client.local_addr(), client.peer_addr(), server.local_addr(), server.peer_addr()]
                    .map(|name| name.unwrap().ip().to_string())
            });
            assert_eq!(names, [address, address, shown, shown]);
        }
        let client = scene.be(who, || connect("::1", 8082).unwrap());
        assert_eq!(accept(&only).unwrap().1.ip().to_string(), "::1");
        drop(client);
        assert_eq!(scene.be(who, || both.local_addr().unwrap()), at("::", 8081));
        assert_eq!(scene.be(who, || only.local_addr().unwrap()), at("::", 8082));
        assert!(others.iter().all(|other| accept(other).is_none()));
    }
}

/// A guest reaches neither the host's loopback nor another guest's, by whatever name.
pub fn loopbacks() {
    let scene = Scene::new();
    let host = [listen("127.0.0.1", 8083).unwrap(), listen("::1", 8083).unwrap()];
    let b = scene.be(Who::B, || [listen("127.0.0.1", 8083).unwrap(), listen("::1", 8083).unwrap()]);
    scene.be(Who::A, || {
        for address in ["127.0.0.1", "0.0.0.0", "::1", "::", "::ffff:127.0.0.1"] {
            assert_eq!(errno(connect(address, 8083)), libc::ECONNREFUSED, "{address}");
        }
        assert_eq!(errno(connect("127.3.234.1", 8083)), libc::EPERM);
        assert_eq!(errno(connect("127.2.0.1", 8083)), libc::EPERM);
    });
    assert!(host.iter().chain(&b).all(|listener| accept(listener).is_none()));
    // The guest's own is not the host's either.
    let a = scene.be(Who::A, || listen("127.0.0.1", 8084).unwrap());
    assert_eq!(errno(connect("127.0.0.1", 8084)), libc::ECONNREFUSED);
    assert_eq!(errno(scene.be(Who::B, || connect("127.0.0.1", 8084))), libc::ECONNREFUSED);
    scene.be(Who::A, || connect("127.0.0.1", 8084).unwrap());
    assert!(accept(&a).is_some());
}

/// A listener at one address is not reached at another one, and an any-bound one of the same port is.
pub fn exact() {
    let scene = Scene::new();
    let exact = scene.be(Who::A, || listen(A4[1], 8085).unwrap());
    scene.be(Who::A, || assert_eq!(errno(connect("127.0.0.1", 8085)), libc::ECONNREFUSED));
    scene.be(Who::Outside, || assert_eq!(errno(connect(A4[0], 8085)), libc::ECONNREFUSED));
    let client = scene.be(Who::Outside, || connect(A4[1], 8085).unwrap());
    assert!(accept(&exact).is_some());
    drop(client);
}

/// With `SO_REUSEPORT` there are several any-bound listeners; when the first is closed the second address still answers.
pub fn reuseport() {
    let scene = Scene::new();
    let make = || {
        let socket = socket("0.0.0.0", SocketType::STREAM);
        sockopt::set_socket_reuseport(&socket, true).unwrap();
        rustix::net::bind(&socket, &at("0.0.0.0", 8086)).unwrap();
        rustix::net::listen(&socket, 16).unwrap();
        TcpListener::from(socket)
    };
    let mut listeners = scene.be(Who::A, || (0..5).map(|_| make()).collect::<Vec<_>>());
    while !listeners.is_empty() {
        for address in [A4[0], A4[1], "127.0.0.1"] {
            let client = scene.be(Who::A, || connect(address, 8086).unwrap());
            assert_eq!(listeners.iter().filter(|one| accept(one).is_some()).count(), 1, "{address}");
            drop(client);
        }
        listeners.remove(0);
    }
    scene.be(Who::A, || assert_eq!(errno(connect(A4[1], 8086)), libc::ECONNREFUSED));
}
