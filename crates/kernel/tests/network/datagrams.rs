//! UDP: who hears what, from which address, and who is refused.

use std::net::{Ipv4Addr, UdpSocket};
use std::process::Command;

use rustix::net::sockopt;

use crate::scene::{
    A4, A6, B4, B6, HOST4, HOST6, OUTSIDE4, OUTSIDE4_2, OUTSIDE6, OUTSIDE6_2, Scene, Who, at, errno, receive,
    rules, socket, udp, unbound,
};

/// Everybody sends to an address; the server hears it, and its answer comes from a name that the client knows.
fn everybody_is_heard(scene: &Scene, who: Who, address: &str, port: u16, server: &UdpSocket) {
    for from in Who::ALL {
        let client = scene.be(from, || {
            let client = unbound(address);
            client.send_to(b"ping", at(address, port)).unwrap();
            client
        });
        let (length, peer) = receive(server).unwrap_or_else(|| panic!("{from:?} to {address}:{port}"));
        assert_eq!(length, 4);
        let own = if address.contains(':') { from.v6() } else { from.v4() };
        let ip = peer.ip().to_canonical().to_string();
        assert!(from == Who::Host || own.contains(&ip.as_str()), "{from:?} to {address} came from {ip}");
        scene.be(who, || server.send_to(b"answer", peer).unwrap());
        let (length, answering) = receive(&client).unwrap_or_else(|| panic!("{address}:{port} to {from:?}"));
        let answering = answering.ip().to_canonical().to_string();
        assert_eq!(length, 6);
        assert!(
            who.v4().contains(&answering.as_str()) || who.v6().contains(&answering.as_str()),
            "{answering}"
        );
    }
}

/// Two guests have any-bound servers on one port, for IPv4, both, and IPv6 alone.
pub fn any() {
    let scene = Scene::new();
    for (who, other) in [(Who::A, Who::B), (Who::B, Who::A)] {
        let make = || {
            let only = socket("::", rustix::net::SocketType::DGRAM);
            sockopt::set_ipv6_v6only(&only, true).unwrap();
            rustix::net::bind(&only, &at("::", 8092)).unwrap();
            let only = UdpSocket::from(only);
            only.set_read_timeout(Some(std::time::Duration::from_millis(200))).unwrap();
            [udp("0.0.0.0", 8090).unwrap(), udp("::", 8091).unwrap(), only, udp("0.0.0.0", 8092).unwrap()]
        };
        let [v4, both, only, beside] = scene.be(who, make);
        let others = scene.be(other, make);
        for address in who.v4() {
            everybody_is_heard(&scene, who, address, 8090, &v4);
            everybody_is_heard(&scene, who, address, 8091, &both);
            everybody_is_heard(&scene, who, address, 8092, &beside);
        }
        for address in who.v6() {
            everybody_is_heard(&scene, who, address, 8091, &both);
            everybody_is_heard(&scene, who, address, 8092, &only);
        }
        for (address, server, port) in
            [("127.0.0.1", &v4, 8090), ("127.0.0.1", &both, 8091), ("::1", &both, 8091), ("::1", &only, 8092)]
        {
            let client = scene.be(who, || {
                let client = unbound(address);
                client.send_to(b"ping", at(address, port)).unwrap();
                client
            });
            let (_, peer) = scene.be(who, || receive(server)).unwrap_or_else(|| panic!("{address}:{port}"));
            assert_eq!(peer.ip().to_canonical().to_string(), address);
            scene.be(who, || server.send_to(b"answer", peer).unwrap());
            let (_, answering) = receive(&client).unwrap_or_else(|| panic!("answer of {address}:{port}"));
            assert_eq!(answering, at(address, port));
        }
        assert_eq!(scene.be(who, || v4.local_addr().unwrap()), at("0.0.0.0", 8090));
        assert_eq!(scene.be(who, || both.local_addr().unwrap()), at("::", 8091));
        assert!(others.iter().all(|other| receive(other).is_none()));
    }
}

/// A server at the very address comes before an any-bound one, and a connected socket hears its peer alone.
pub fn exact() {
    let scene = Scene::new();
    let (any, second) = scene.be(Who::A, || (udp("0.0.0.0", 8093).unwrap(), udp(A4[1], 8093).unwrap()));
    let to =
        |address: &str| scene.be(Who::Outside, || unbound(address).send_to(b"x", at(address, 8093)).unwrap());
    to(A4[1]);
    assert!(receive(&second).is_some() && receive(&any).is_none());
    to(A4[0]);
    assert!(receive(&second).is_none() && receive(&any).is_some());
    // A server at the first address hears nothing that is for the second.
    let first = scene.be(Who::A, || udp(A4[0], 8094).unwrap());
    scene.be(Who::Outside, || unbound(A4[1]).send_to(b"x", at(A4[1], 8094)).unwrap());
    assert!(receive(&first).is_none());
}

/// Without a bind the source is the first address in the destination's network, else the first one.
pub fn sources() {
    let scene = Scene::new();
    let listeners = scene.be(Who::Outside, || {
        [OUTSIDE4, OUTSIDE4_2, OUTSIDE6, OUTSIDE6_2]
            .map(|ip| std::net::TcpListener::bind(at(ip, 8095)).unwrap())
    });
    let sinks = scene
        .be(Who::Outside, || [OUTSIDE4, OUTSIDE4_2, OUTSIDE6, OUTSIDE6_2].map(|ip| udp(ip, 8095).unwrap()));
    let expect = |who: Who, expected: [&str; 4]| {
        for ((listener, sink), expected) in listeners.iter().zip(&sinks).zip(expected) {
            let to = listener.local_addr().unwrap();
            scene.be(who, || {
                let client = crate::scene::connect(&to.ip().to_string(), to.port()).unwrap();
                assert_eq!(client.local_addr().unwrap().ip().to_string(), expected, "TCP to {to}");
                let client = unbound(&to.ip().to_string());
                client.send_to(b"x", to).unwrap();
                let connected = unbound(&to.ip().to_string());
                connected.connect(to).unwrap();
                assert_eq!(connected.local_addr().unwrap().ip().to_string(), expected, "UDP to {to}");
            });
            assert_eq!(receive(sink).unwrap().1.ip().to_string(), expected, "datagram to {to}");
        }
    };
    expect(Who::A, [A4[0], A4[1], A6[0], A6[1]]);
    // Another order, and networks inside of networks: the first one that contains it counts, not the longest.
    let mut rules = rules(Who::A);
    rules.v4 = vec![(A4[1].parse().unwrap(), 8), (A4[0].parse().unwrap(), 24)];
    rules.v6 = vec![(A6[1].parse().unwrap(), 64), (A6[0].parse().unwrap(), 128)];
    scene.change(Who::A, &rules);
    expect(Who::A, [A4[1], A4[1], A6[1], A6[1]]);
    rules.v4 = vec![(A4[0].parse().unwrap(), 32), (A4[1].parse().unwrap(), 24)];
    rules.v6 = vec![(A6[0].parse().unwrap(), 128), (A6[1].parse().unwrap(), 65)];
    rules.single_ip = true;
    scene.change(Who::A, &rules);
    expect(Who::A, [A4[0], A4[0], A6[0], A6[0]]);
    rules.single_ip = false;
    scene.change(Who::A, &rules);
    expect(Who::A, [A4[0], A4[1], A6[0], A6[1]]);
}

/// Sends a byte with `IP_PKTINFO` or `IPV6_PKTINFO`, and prints the errno: `connected? destination port source`.
const SEND_FROM: &str = r#"
use Socket qw(:all);
my ($connected, $to, $port, $from) = @ARGV;
my $v6 = $to =~ /:/;
my ($family, $pack) = $v6 ? (AF_INET6, \&Socket::pack_sockaddr_in6) : (AF_INET, \&Socket::pack_sockaddr_in);
socket(my $socket, $family, SOCK_DGRAM, 0) or die;
my $name = $pack->($port, inet_pton($family, $to));
if ($connected) { connect($socket, $name) or die; }
my $info = $v6 ? inet_pton($family, $from) . pack('L', 0) : pack('L a4 x4', 0, inet_pton($family, $from));
my $control = pack('Q l l', 16 + length $info, $v6 ? 41 : 0, $v6 ? 50 : 8) . $info;
$control .= "\0" x (-length($control) % 8);
my $data = 'x';
my $parts = pack('P Q', $data, 1);
my $message = pack('P L x4 P Q P Q L x4', $name, $connected ? 0 : length $name, $parts, 1, $control, length $control, 0);
$message = pack('Q', 0) . substr($message, 8) if $connected;
my $sent = syscall($ENV{SENDMSG}, fileno($socket), $message, 0);
print $sent < 0 ? $! + 0 : 0;
"#;

fn send_from(connected: bool, to: &str, port: u16, from: &str) -> i32 {
    let output = Command::new("perl")
        .args(["-e", SEND_FROM, if connected { "1" } else { "" }, to, &port.to_string(), from])
        .env("SENDMSG", libc::SYS_sendmsg.to_string())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().parse().unwrap()
}

/// A source given with the packet must be the guest's, on connected sockets as well.
pub fn packet_info() {
    let scene = Scene::new();
    let sinks = scene.be(Who::Outside, || [udp(OUTSIDE4, 8096).unwrap(), udp(OUTSIDE6, 8096).unwrap()]);
    for connected in [false, true] {
        scene.be(Who::A, || {
            let from_4 = |from: &str| send_from(connected, OUTSIDE4, 8096, from);
            let from_6 = |from: &str| send_from(connected, OUTSIDE6, 8096, from);
            for foreign in [HOST4, B4[0], "127.3.234.1"] {
                assert_eq!(from_4(foreign), libc::EADDRNOTAVAIL, "{foreign} connected: {connected}");
            }
            for foreign in [HOST6, B6[0], "fd76:7365:7276:6572::3ea"] {
                assert_eq!(from_6(foreign), libc::EADDRNOTAVAIL, "{foreign} connected: {connected}");
            }
            assert_eq!((from_4(A4[1]), from_6(A6[1])), (0, 0));
            assert_eq!((from_4("0.0.0.0"), from_6("::")), (0, 0));
        });
        assert_eq!(receive(&sinks[0]).unwrap().1.ip().to_string(), A4[1]);
        assert_eq!(receive(&sinks[1]).unwrap().1.ip().to_string(), A6[1]);
        // Without an address given it is the guest's all the same.
        assert_eq!(receive(&sinks[0]).unwrap().1.ip().to_string(), A4[0]);
        assert_eq!(receive(&sinks[1]).unwrap().1.ip().to_string(), A6[0]);
        assert!(receive(&sinks[0]).is_none() && receive(&sinks[1]).is_none());
    }
}

/// A socket that has sent before it is connected would use an address of the host's: it is refused.
pub fn connect_after_sending() {
    let scene = Scene::new();
    scene.be(Who::A, || {
        let socket = unbound("0.0.0.0");
        socket.send_to(b"x", at(OUTSIDE4, 8097)).unwrap();
        assert_eq!(errno(socket.connect(at(OUTSIDE4, 8097))), libc::EADDRNOTAVAIL);
        let socket = unbound("::");
        socket.send_to(b"x", at(OUTSIDE6, 8097)).unwrap();
        assert_eq!(errno(socket.connect(at(OUTSIDE6, 8097))), libc::EADDRNOTAVAIL);
    });
}

/// Nothing for another address comes in, though sockets that nobody bound are really at any address.
pub fn unbound_hear_their_guests_alone() {
    let scene = Scene::new();
    let client = scene.be(Who::A, || {
        let client = unbound("::");
        client.send_to(b"x", at(OUTSIDE6, 8098)).unwrap();
        client.send_to(b"x", at(&format!("::ffff:{OUTSIDE4}"), 8098)).unwrap();
        client
    });
    let port = client.local_addr().unwrap().port();
    for (address, heard) in
        [(A4[0], true), (A4[1], true), (A6[0], true), (A6[1], true), (HOST4, false), (HOST6, false)]
    {
        scene.be(Who::Outside, || unbound(address).send_to(b"x", at(address, port)).unwrap());
        assert_eq!(receive(&client).is_some(), heard, "{address}");
    }
}

/// Ports of the list stay at the real wildcard and hear broadcasts; multicasts only where they were granted.
pub fn broadcasts() {
    let scene = Scene::without_guests();
    let mut with = rules(Who::A);
    with.bcast = "10.1.0.255".parse().unwrap();
    with.wildcard_udp_ports = vec![137, 5353];
    scene.confine(Who::A, &with);
    let server = scene.be(Who::A, || {
        let server = udp("0.0.0.0", 5353).unwrap();
        let interface: Ipv4Addr = A4[0].parse().unwrap();
        server.join_multicast_v4(&"239.1.2.3".parse().unwrap(), &interface).unwrap();
        server
    });
    let send = |to: &str| {
        scene.be(Who::Outside, || {
            let socket = udp(OUTSIDE4, 0).unwrap();
            socket.set_broadcast(true).unwrap();
            socket.send_to(b"x", at(to, 5353)).unwrap();
        });
        receive(&server).is_some()
    };
    assert!(send("10.1.0.255") && send(A4[0]) && send(A4[1]));
    assert!(!send(HOST4) && !send("255.255.255.255") && !send("239.1.2.3"));
    with.multicast = true;
    with.bcast = Ipv4Addr::BROADCAST;
    scene.change(Who::A, &with);
    assert!(send("255.255.255.255") && send("239.1.2.3") && !send("10.1.0.255"));
    scene.be(Who::A, || assert!(udp("224.0.0.251", 0).is_ok() && udp("ff0e::fb", 0).is_ok()));
}
