//! Sockets of confined guests: who may bind, listen, connect and be reached where. IPv4 and IPv6, TCP and UDP, with a
//! program that makes every call by its number and a 32-bit one; servers that people use: `servers.rs`.
//!
//! The host is the trial's network namespace; the world outside is at the other end of its one device.

use std::fs;
use vserver_e2e::netprobe::{At, has_32_bits, plant};
use vserver_e2e::outside::{DEVICE, HOST, WORLD, interface};
use vserver_e2e::{Guest, Mode, Outside, Spec, soon};

pub fn specs() -> Vec<Spec> {
    // The programs know the numbers of one architecture.
    if cfg!(not(target_arch = "x86_64")) {
        return Vec::new();
    }
    vec![
        Spec::new("sockets_of_the_host_itself", of_the_host_itself).once(),
        Spec::new("sockets_one_port_for_all", one_port_for_all).patience(LONG),
        Spec::new("sockets_several_addresses", several_addresses).patience(LONG),
        Spec::new("sockets_dual_stack", dual_stack).patience(LONG),
        Spec::new("sockets_port_of_the_kernels_choice", port_of_the_kernels_choice).patience(LONG),
        Spec::new("sockets_sources", sources).patience(LONG),
        Spec::new("sockets_names", names),
        Spec::new("sockets_reuse_port", reuse_port).patience(LONG),
        Spec::new("sockets_ports_of_root", ports_of_root).patience(LONG),
        Spec::new("sockets_icmp", icmp),
        Spec::new("sockets_broadcast_and_multicast", broadcast_and_multicast),
        Spec::new("sockets_of_32_bits", of_32_bits).patience(LONG),
        Spec::new("sockets_outlive_our_processes", outlive_our_processes),
        Spec::new("s32_without_any_address", without_any_address),
        Spec::new("s45_disabled_interface", disabled_interface),
        Spec::new("s56_own_loopback", own_loopback),
        Spec::new("s56_shared_loopback", shared_loopback),
        Spec::new("s57_single_ip", single_ip),
        Spec::new("sockets_tools_on_a_running_guest", tools_on_a_running_guest),
    ]
}

/// These have more to do than other trials.
const LONG: std::time::Duration = std::time::Duration::from_mins(5);

/// A busybox guest with these addresses on the host's device.
pub fn guest(name: &str, xid: u16, mode: Mode, addresses: &[&str]) -> Guest {
    let guest = Guest::busybox(name, mode).xid(xid).make();
    plant(&guest);
    for (number, address) in addresses.iter().enumerate() {
        interface(&guest, &number.to_string(), address);
    }
    guest
}

/// Three guests, each with one address of both families.
fn three(mode: Mode) -> [Guest; 3] {
    let three = [
        guest("one", 101, mode, &ADDRESSES[0]),
        guest("two", 102, mode, &ADDRESSES[1]),
        guest("three", 103, mode, &ADDRESSES[2]),
    ];
    for guest in &three {
        guest.start();
    }
    three
}

const ADDRESSES: [[&str; 2]; 3] =
    [["192.0.2.11", "2001:db8::11"], ["192.0.2.12", "2001:db8::12"], ["192.0.2.13", "2001:db8::13"]];

/// Nobody answers, in one way or another.
const NO_ANSWER: &[&str] =
    &["ECONNREFUSED", "EAGAIN", "EINPROGRESS", "ETIMEDOUT", "EHOSTUNREACH", "ECONNRESET"];

/// Both loopbacks on these ports, answered by this guest.
fn loopbacks(ports: &[(&'static str, u16)], name: &str) -> Vec<(&'static str, &'static str, u16, String)> {
    let both = |&(kind, port): &(&'static str, u16)| {
        ["127.0.0.1", "::1"].map(|ip| (kind, ip, port, format!("{name} peer=")))
    };
    ports.iter().flat_map(both).collect()
}

fn stop(guests: &[Guest]) {
    for guest in guests {
        guest.stop();
    }
}

/// The control of all trials in here: without confinement everything is reached, and says what it should.
fn of_the_host_itself(_: Mode) {
    let outside = Outside::connect();
    let _servers = [
        At::Host.serve("tcp", "::", 80, "host"),
        At::Host.serve("udp", "0.0.0.0", 53, "names"),
        At::Outside(&outside).serve("tcp", "::", 80, "world"),
    ];
    for (host, world) in HOST.iter().zip(WORLD) {
        let said = At::Outside(&outside).reaches("tcp", host, 80, "host peer=");
        assert!(said.contains(&format!("{world},")), "{said}");
        At::Host.reaches("tcp", world, 80, "world peer=");
    }
    for address in [HOST[0], "127.0.0.1"] {
        At::Host.reaches("udp", address, 53, "names peer=");
    }
    At::Outside(&outside).reaches("udp", HOST[0], 53, "names peer=");
    if has_32_bits() {
        let started = At::Host.thirtytwo("serve", HOST[1], 3232, "thirtytwo");
        let _server = At::Host.server(&started);
        assert_eq!(At::Outside(&outside).thirtytwo("ask", HOST[1], 3232, ""), "thirtytwo");
    }
}

/// The host and three guests all have port 80 and port 53, each on its own addresses, any-bound in the guests.
fn one_port_for_all(mode: Mode) {
    let outside = Outside::connect();
    let guests = three(mode);
    let mut servers = Vec::new();
    for (kind, port) in [("tcp", 80), ("udp", 53)] {
        for address in HOST {
            servers.push(At::Host.serve(kind, address, port, "host"));
        }
        for guest in &guests {
            servers.push(At::Guest(guest).serve(kind, "0.0.0.0", port, &guest.name));
            let word = format!("serve,{kind},::,{port},{},only6", guest.name);
            let started = At::Guest(guest).answer(&word);
            servers.push(At::Guest(guest).server(&started));
        }
    }
    let everywhere: Vec<(&str, &str)> = HOST
        .iter()
        .map(|ip| (*ip, "host"))
        .chain(guests.iter().zip(ADDRESSES).flat_map(|(guest, own)| own.map(|ip| (ip, guest.name.as_str()))))
        .collect();
    let everywhere: Vec<(&str, &str, u16, String)> = everywhere
        .iter()
        .flat_map(|(ip, who)| {
            [("tcp", *ip, 80, format!("{who} peer=")), ("udp", *ip, 53, format!("{who} peer="))]
        })
        .collect();
    let askers = [At::Outside(&outside), At::Host].into_iter().chain(guests.iter().map(At::Guest));
    for asker in askers {
        asker.reaches_all(&everywhere);
    }
    for guest in &guests {
        At::Guest(guest).reaches_all(&loopbacks(&[("tcp", 80), ("udp", 53)], &guest.name));
    }
    drop(servers);
    stop(&guests);
}

/// Any-bound servers hear on all addresses of their guest and on its loopback.
fn several_addresses(mode: Mode) {
    let outside = Outside::connect();
    let first = ["192.0.2.11", "192.0.2.21", "2001:db8::11", "2001:db8::21"];
    let second = ["192.0.2.12", "192.0.2.22", "2001:db8::12", "2001:db8::22"];
    let guests = [guest("one", 101, mode, &first), guest("two", 102, mode, &second)];
    for guest in &guests {
        guest.start();
        let at = At::Guest(guest);
        for (kind, port) in [("tcp", 8080), ("udp", 5300)] {
            let _server = at.serve(kind, "0.0.0.0", port, &guest.name);
            let started = at.answer(&format!("serve,{kind},::,{port},{},only6", guest.name));
            let _server = at.server(&started);
        }
    }
    let ports = [("tcp", 8080), ("udp", 5300)];
    for (guest, addresses) in guests.iter().zip([first, second]) {
        let tcp = addresses.map(|ip| ("tcp", ip, 8080, format!("{} peer=", guest.name)));
        for asker in [At::Outside(&outside), At::Host, At::Guest(&guests[0]), At::Guest(&guests[1])] {
            asker.reaches_all(&tcp);
            // An any-bound UDP server is heard on every address, and answers from the one that the route prefers, as on
            // any host with two addresses: a client that is connected to another one does not hear it.
            let words = addresses.map(|ip| format!("ask,udp,{ip},5300,,,unconnected"));
            let answers = asker.run(&words.each_ref().map(String::as_str));
            for word in &words {
                let answer = answers.of(word);
                assert!(answer.starts_with(&guest.name), "{word}: {answers:#?}");
                let own = addresses.iter().any(|ip| answer.ends_with(&format!("from={ip},5300")));
                assert!(own, "{word}: {answers:#?}");
            }
        }
        At::Guest(guest).reaches_all(&loopbacks(&ports, &guest.name));
        let words = ["127.0.0.1", "::1"].map(|ip| format!("ask,udp,{ip},5300,,,unconnected"));
        let answers = At::Guest(guest).run(&words.each_ref().map(String::as_str));
        for word in &words {
            let address = word.split(',').nth(2).unwrap_or_default();
            assert!(answers.of(word).ends_with(&format!("from={address},5300")), "{word}: {answers:#?}");
        }
        // The host's addresses are nobody's.
        for host in HOST {
            let word = format!("ask,tcp,{host},8080");
            At::Outside(&outside).run(&[&word]).expect(&word, NO_ANSWER);
        }
    }
    stop(&guests);
}

/// One socket for both families, in two guests on one port.
fn dual_stack(mode: Mode) {
    let outside = Outside::connect();
    let guests = three(mode);
    for guest in &guests {
        for (kind, port) in [("tcp", 8081), ("udp", 8081)] {
            let _server = At::Guest(guest).serve(kind, "::", port, &guest.name);
        }
    }
    let ports = [("tcp", 8081), ("udp", 8081)];
    let all: Vec<_> = guests
        .iter()
        .zip(ADDRESSES)
        .flat_map(|(guest, own)| own.map(|ip| (ip, format!("{} peer=", guest.name))))
        .flat_map(|(ip, text)| ports.map(|(kind, port)| (kind, ip, port, text.clone())))
        .collect();
    for asker in [At::Outside(&outside), At::Host, At::Guest(&guests[0]), At::Guest(&guests[2])] {
        asker.reaches_all(&all);
    }
    for guest in &guests {
        At::Guest(guest).reaches_all(&loopbacks(&ports, &guest.name));
    }
    // A guest of one family only.
    let four = self::guest("four", 104, mode, &["192.0.2.14"]);
    four.start();
    let _server = At::Guest(&four).serve("tcp", "::", 8081, "four");
    At::Outside(&outside).reaches("tcp", "192.0.2.14", 8081, "four");
    let word = "connect,tcp,2001:db8::fe,80";
    let answer = At::Guest(&four).answer(word);
    assert!(["EPERM", "EADDRNOTAVAIL", "ENETUNREACH"].contains(&answer.as_str()), "{answer}");
    let six = self::guest("six", 106, mode, &["2001:db8::16"]);
    six.start();
    let _server = At::Guest(&six).serve("tcp", "::", 8081, "six");
    At::Outside(&outside).reaches("tcp", "2001:db8::16", 8081, "six");
    At::Guest(&six).run(&["connect,tcp,192.0.2.254,80"]).expect("connect,tcp,192.0.2.254,80", &["EPERM"]);
    four.stop();
    six.stop();
    stop(&guests);
}

/// A socket at `::` whose port the kernel chooses may become a client of IPv6 (`dig +tcp`) or a listener for both
/// families.
fn port_of_the_kernels_choice(mode: Mode) {
    let outside = Outside::connect();
    let guest = guest("one", 101, mode, &["192.0.2.11", "192.0.2.21", "2001:db8::11", "2001:db8::21"]);
    let other = self::guest("two", 102, mode, &["192.0.2.12", "2001:db8::12"]);
    guest.start();
    other.start();
    let _world = At::Outside(&outside).serve("tcp", "::", 80, "world");
    let word = "ask,tcp,2001:db8::fe,80,::,0";
    let said = At::Guest(&guest).answer(word);
    assert!(said.starts_with("world peer=2001:db8::11,"), "{said}");
    let mut all = Vec::new();
    for (guest, own) in [
        (&guest, &["192.0.2.11", "192.0.2.21", "2001:db8::11", "2001:db8::21"][..]),
        (&other, &["192.0.2.12", "2001:db8::12"]),
    ] {
        let answer = At::Guest(guest).answer(&format!("serve,tcp,::,0,{}", guest.name));
        let (shown, port) = answer.rsplit_once(',').expect("an address and a port");
        assert!(shown.ends_with(" ::"), "{answer}");
        let port: u16 = port.parse().expect("a port");
        all.extend(own.iter().map(|ip| ("tcp", *ip, port, format!("{} peer=", guest.name))));
        At::Guest(guest).reaches_all(&loopbacks(&[("tcp", port)], &guest.name));
    }
    for asker in [At::Outside(&outside), At::Host, At::Guest(&guest), At::Guest(&other)] {
        asker.reaches_all(&all);
    }
    // Who listens at the very address comes first.
    let port = all[0].2;
    let _exact = At::Guest(&guest).serve("tcp", "192.0.2.11", port, "exact");
    for asker in [At::Outside(&outside), At::Host, At::Guest(&guest)] {
        asker.reaches("tcp", "192.0.2.11", port, "exact peer=");
        asker.reaches("tcp", "192.0.2.21", port, "one peer=");
    }
    stop(&[guest, other]);
}

/// From where sockets speak that were bound to nothing, or to any address.
fn sources(mode: Mode) {
    let outside = Outside::connect();
    // A second network outside, reached through the same wire.
    outside.program("ip").args(&["address", "add", "198.51.100.254/24", "dev", "wan0"]).run().ok();
    outside
        .program("ip")
        .args(&["-6", "address", "add", "2001:db8:1::fe/64", "dev", "wan0", "nodad"])
        .run()
        .ok();
    let guest = guest("one", 101, mode, &["192.0.2.11", "2001:db8::11", "192.0.2.21"]);
    for (key, address) in [("7", "198.51.100.11/24"), ("8", "2001:db8:1::11/64")] {
        guest.set(&format!("interfaces/{key}/dev"), &format!("{DEVICE}\n"));
        guest.set(&format!("interfaces/{key}/ip"), &format!("{address}\n"));
    }
    guest.start();
    let _servers = [
        At::Outside(&outside).serve("tcp", "::", 80, "w"),
        At::Outside(&outside).serve("udp", "::", 53, "w"),
    ];
    // The address in the destination's network, else the first.
    for (world, own) in [
        ("192.0.2.254", "192.0.2.11"),
        ("2001:db8::fe", "2001:db8::11"),
        ("198.51.100.254", "198.51.100.11"),
        ("2001:db8:1::fe", "2001:db8:1::11"),
    ] {
        for word in [
            format!("ask,tcp,{world},80"),
            format!("ask,udp,{world},53"),
            format!("ask,udp,{world},53,,,unconnected"),
        ] {
            let answer = At::Guest(&guest).answer(&word).replace("::ffff:", "");
            assert!(answer.contains(&format!("peer={own},")), "{word}: {answer}, wanted {own}");
        }
    }
    // What the program chooses is kept.
    let word = "ask,tcp,192.0.2.254,80,192.0.2.21,0";
    let answer = At::Guest(&guest).answer(word);
    assert!(answer.contains("192.0.2.21,"), "{answer}");
    // Bound to any address, then connected.
    let word = "ask,tcp,192.0.2.254,80,0.0.0.0,0";
    let answer = At::Guest(&guest).answer(word);
    assert!(
        answer.contains("peer=::ffff:192.0.2.11,") || answer.contains("peer=::ffff:192.0.2.21,"),
        "{answer}"
    );
    guest.stop();
}

/// What a program is told about its own sockets is what it asked for.
fn names(mode: Mode) {
    let _outside = Outside::connect();
    let guest = guest("one", 101, mode, &["192.0.2.11", "2001:db8::11", "192.0.2.21", "2001:db8::21"]);
    guest.start();
    let at = At::Guest(&guest);
    for (word, shown) in [
        ("serve,tcp,0.0.0.0,8001,x", "0.0.0.0,8001"),
        ("serve,udp,0.0.0.0,8001,x", "0.0.0.0,8001"),
        ("serve,tcp,::,8002,x", "::,8002"),
        ("serve,udp,::,8002,x", "::,8002"),
        ("serve,tcp,127.0.0.1,8003,x", "127.0.0.1,8003"),
        ("serve,udp,127.0.0.1,8003,x", "127.0.0.1,8003"),
        ("serve,tcp,::1,8004,x", "::1,8004"),
        ("serve,udp,::1,8004,x", "::1,8004"),
        ("serve,tcp,192.0.2.21,8005,x", "192.0.2.21,8005"),
        ("serve,tcp,127.0.0.53,8006,x", "127.0.0.53,8006"),
    ] {
        let answer = at.answer(word);
        assert!(answer.starts_with("ok ") && answer.ends_with(&format!(" {shown}")), "{word}: {answer}");
    }
    for (kind, ip, port) in [
        ("tcp", "127.0.0.1", 8001),
        ("tcp", "127.0.0.1", 8003),
        ("udp", "127.0.0.1", 8003),
        ("tcp", "127.0.0.53", 8006),
        ("tcp", "::1", 8002),
        ("tcp", "::1", 8004),
        ("udp", "::1", 8004),
    ] {
        let answer = at.answer(&format!("ask,{kind},{ip},{port}"));
        let plain = answer.replace("::ffff:", "");
        // Both ends of both sides.
        assert!(plain.contains(&format!("to={ip},{port}")), "{kind} {ip} {port}: {answer}");
        let foreign =
            ["127.0.101.", "fd76:", "192.0.2.", "2001:db8"].iter().find(|part| plain.contains(**part));
        assert_eq!(foreign, None, "{kind} {ip} {port}: {answer}");
    }
    guest.stop();

    guest.set("nflags", "~hide_lback\n");
    guest.start();
    let answer = at.answer("serve,tcp,127.0.0.1,8003,x");
    assert!(answer.ends_with(" 127.0.101.1,8003"), "{answer}");
    let answer = at.answer("ask,tcp,127.0.0.1,8003");
    assert!(answer.contains("local=127.0.101.1,8003") && answer.contains("to=127.0.101.1,8003"), "{answer}");
    guest.stop();
}

/// Several servers on one port share what comes; when one ends the others have all of it, second addresses included.
fn reuse_port(mode: Mode) {
    let outside = Outside::connect();
    let guest = guest("one", 101, mode, &["192.0.2.11", "192.0.2.21", "2001:db8::11", "2001:db8::21"]);
    guest.start();
    let at = At::Guest(&guest);
    let mut inside = Vec::new();
    for number in 0..3 {
        let answer = at.answer(&format!("serve,tcp,::,8080,server{number},reuseport"));
        assert!(answer.starts_with("ok "), "{answer}");
        inside.push(answer.split(' ').nth(1).unwrap_or_default().to_owned());
    }
    let answer = at.answer("bind,tcp,::,8080");
    assert_eq!(answer, "EADDRINUSE");
    let everywhere = |who: &[&str]| {
        for address in ["192.0.2.11", "192.0.2.21", "2001:db8::11", "2001:db8::21"] {
            for _ in 0..4 {
                let answer = At::Outside(&outside).answer(&format!("ask,tcp,{address},8080"));
                assert!(who.iter().any(|one| answer.starts_with(one)), "{address}: {answer}");
            }
        }
        for address in ["127.0.0.1", "::1"] {
            let answer = at.answer(&format!("ask,tcp,{address},8080"));
            assert!(who.iter().any(|one| answer.starts_with(one)), "{address}: {answer}");
        }
    };
    everywhere(&["server0", "server1", "server2"]);
    guest.sh(&format!("kill -9 {}", inside[0])).ok();
    everywhere(&["server1", "server2"]);
    guest.sh(&format!("kill -9 {}", inside[1])).ok();
    everywhere(&["server2"]);
    guest.sh(&format!("kill -9 {}", inside[2])).ok();
    let word = "ask,tcp,192.0.2.21,8080";
    At::Outside(&outside).run(&[word]).expect(word, NO_ANSWER);
    guest.stop();
}

/// Ports below 1024 are for the guest's root, not for its users, who have all capabilities in a user namespace of theirs.
fn ports_of_root(mode: Mode) {
    let _outside = Outside::connect();
    let guest = guest("one", 101, mode, &["192.0.2.11", "2001:db8::11"]);
    guest.set("umask", "newuser\n");
    guest.start();
    let low = ["bind,tcp,0.0.0.0,80", "bind,udp,192.0.2.11,53", "bind,tcp,::,443", "bind,tcp,127.0.0.1,25"];
    let own = At::Guest(&guest).run(&low);
    let inside = vserver_e2e::netprobe::INSIDE;
    let all = [&["suexec", "user", inside, "bind,tcp,0.0.0.0,8080"], &low[..]].concat();
    let users = guest.vserver(&all);
    users.ok().says("bind,tcp,0.0.0.0,8080: ok");
    let line = format!("unshare -U -r {inside} {}", low.join(" "));
    let powerful = guest.vserver(&["suexec", "user", "sh", "-c", &line]);
    powerful.ok();
    for word in low {
        own.expect(word, &["ok"]);
        users.says(&format!("{word}: EACCES"));
        powerful.says(&format!("{word}: EACCES"));
    }
    guest.stop();
    guest.set("bcapabilities", "~NET_BIND_SERVICE\n");
    guest.start();
    At::Guest(&guest).run(&["bind,tcp,0.0.0.0,80"]).expect("bind,tcp,0.0.0.0,80", &["EACCES"]);
    guest.stop();
}

/// ping works with `raw_icmp`, to where the guest may send, and not without. The kernel itself gives unprivileged
/// programs ICMP sockets only where `ping_group_range` says so, as Debian's systemd does.
fn icmp(mode: Mode) {
    let _outside = Outside::connect();
    fs::write("/proc/sys/net/ipv4/ping_group_range", "0 2147483647").expect("the network is ours");
    let guests = three(mode);
    for (family, kind) in ["ping", "ping6"].iter().enumerate() {
        for to in [WORLD[family], ADDRESSES[1][family], ADDRESSES[0][family]] {
            let answer = At::Guest(&guests[0]).answer(&format!("echo,{to},,{kind}"));
            assert!(answer.starts_with(&format!("ok from={to}")), "{to}: {answer}");
        }
    }
    stop(&guests);
    guests[0].set("ncapabilities", "~raw_icmp\n");
    guests[0].start();
    for word in
        ["echo,192.0.2.254,,ping", "echo,2001:db8::fe,,ping6", "echo,192.0.2.254", "echo,2001:db8::fe"]
    {
        At::Guest(&guests[0]).run(&[word]).expect(word, &["EPERM", "EACCES"]);
    }
    guests[0].stop();
}

/// Broadcasts are heard on the ports that live on them; multicast needs its capability.
fn broadcast_and_multicast(mode: Mode) {
    let outside = Outside::connect();
    let guest = guest("one", 101, mode, &["192.0.2.11", "2001:db8::11"]);
    guest.set("interfaces/bcast", "192.0.2.255\n");
    guest.start();
    let at = At::Guest(&guest);
    let word = "bind,udp,224.0.0.251,5353";
    at.run(&[word]).expect(word, &["EADDRNOTAVAIL"]);
    let word = "bind,udp,ff02::fb,5353";
    at.run(&[word]).expect(word, &["EADDRNOTAVAIL", "EINVAL"]);
    // A port of the list stays really any-bound.
    let _server = at.serve("udp", "0.0.0.0", 137, "netbios");
    let answer = At::Outside(&outside).answer("ask,udp,192.0.2.255,137,,,unconnected,broadcast");
    assert!(answer.starts_with("netbios peer=192.0.2.254"), "{answer}");
    guest.stop();
    guest.set("ncapabilities", "multicast\n");
    guest.start();
    let word = "bind,udp,224.0.0.251,5353";
    at.run(&[word]).expect(word, &["ok"]);
    guest.stop();
}

fn of_32_bits(mode: Mode) {
    let outside = Outside::connect();
    let guests = three(mode);
    if has_32_bits() {
        for guest in &guests {
            let started = At::Guest(guest).thirtytwo("serve", "0.0.0.0", 80, &guest.name);
            let _server = At::Guest(guest).server(&started);
            let started = At::Guest(guest).thirtytwo("serve", "::", 81, &guest.name);
            let _server = At::Guest(guest).server(&started);
        }
        for (guest, own) in guests.iter().zip(ADDRESSES) {
            for asker in [At::Outside(&outside), At::Host, At::Guest(&guests[2])] {
                assert_eq!(asker.thirtytwo("ask", own[0], 80, ""), guest.name);
                assert_eq!(asker.thirtytwo("ask", own[0], 81, ""), guest.name);
                assert_eq!(asker.thirtytwo("ask", own[1], 81, ""), guest.name);
            }
            assert_eq!(At::Guest(guest).thirtytwo("ask", "127.0.0.1", 80, ""), guest.name);
            assert_eq!(At::Guest(guest).thirtytwo("ask", "::1", 81, ""), guest.name);
        }
    } else {
        eprintln!("this kernel runs no 32-bit programs: nothing to try");
    }
    stop(&guests);
}

/// The confinement needs no process of ours: with all of them killed servers go on, new sockets work, and foreign
/// addresses stay foreign.
fn outlive_our_processes(mode: Mode) {
    let outside = Outside::connect();
    let guest = guest("one", 101, mode, &["192.0.2.11", "2001:db8::11"]);
    guest.start();
    let _server = At::Guest(&guest).serve("tcp", "::", 80, "before");
    // From inside, so that no command of ours repairs anything first.
    let script = "until test -e /tmp/go; do sleep 0.1; done
        netprobe serve,tcp,::,81,after ask,tcp,192.0.2.254,80 bind,tcp,192.0.2.1,82 bind,tcp,2001:db8::1,82 > /tmp/said
        mv /tmp/said /tmp/done";
    guest.put("/script", script);
    guest.sh("setsid sh /script < /dev/null > /dev/null 2>&1 &").ok();
    let _world = At::Outside(&outside).serve("tcp", "::", 80, "world");
    let ours =
        vserver_e2e::command::host("sh", &["-c", "ps -eo pid=,args= | grep -F '[vserver' | grep -v grep"])
            .out();
    let killed: Vec<&str> = ours.lines().filter_map(|line| line.split_whitespace().next()).collect();
    for pid in &killed {
        vserver_e2e::command::host("kill", &["-9", pid]).ok();
    }
    eprintln!("killed: {ours}");
    At::Outside(&outside).reaches("tcp", "192.0.2.11", 80, "before");
    At::Outside(&outside).reaches("tcp", "2001:db8::11", 80, "before");
    let init = vserver_e2e::command::tool("vserver-info", &["101", "INITPID"]).out();
    let root = format!("/proc/{}/root/tmp", init.trim());
    fs::write(format!("{root}/go"), "").expect("the guest runs");
    let done = format!("{root}/done");
    soon("the guest has told all", || fs::metadata(&done).is_ok());
    let said = fs::read_to_string(&done).expect("just seen");
    assert!(said.contains("ask,tcp,192.0.2.254,80: world peer=::ffff:192.0.2.11,"), "{said}");
    assert!(said.contains("bind,tcp,192.0.2.1,82: EADDRNOTAVAIL"), "{said}");
    assert!(said.contains("bind,tcp,2001:db8::1,82: EADDRNOTAVAIL"), "{said}");
    At::Outside(&outside).reaches("tcp", "192.0.2.11", 81, "after");
    assert!(guest.is_running());
    guest.stop();
}

/// A guest without `interfaces/` starts, is told so, and has its loopback and nothing else.
fn without_any_address(mode: Mode) {
    let outside = Outside::connect();
    let guest = guest("one", 101, mode, &[]);
    let done = guest.start();
    assert!(!done.err().contains("vc_net_create"), "{done}");
    let _server = At::Guest(&guest).serve("tcp", "0.0.0.0", 80, "alone");
    At::Guest(&guest).reaches("tcp", "127.0.0.1", 80, "alone");
    for word in ["connect,tcp,192.0.2.254,80", "connect,udp,192.0.2.254,53"] {
        At::Guest(&guest).run(&[word]).expect(word, &["EPERM"]);
    }
    for word in ["bind,tcp,192.0.2.1,80", "bind,udp,192.0.2.1,80", "bind,tcp,2001:db8::1,80"] {
        At::Guest(&guest).run(&[word]).expect(word, &["EADDRNOTAVAIL"]);
    }
    for host in HOST {
        let word = format!("ask,tcp,{host},80");
        At::Outside(&outside).run(&[&word]).expect(&word, NO_ANSWER);
    }
    guest.stop();
}

/// S45: the address is neither configured nor usable.
fn disabled_interface(mode: Mode) {
    let _outside = Outside::connect();
    let guest = guest("one", 101, mode, &["192.0.2.11", "192.0.2.21"]);
    guest.set("interfaces/1/disabled", "");
    guest.start();
    let listed = vserver_e2e::command::host("ip", &["-o", "address", "show", "dev", DEVICE]).out();
    assert!(listed.contains("192.0.2.11/24") && !listed.contains("192.0.2.21"), "{listed}");
    At::Guest(&guest)
        .run(&["bind,tcp,192.0.2.11,80", "bind,tcp,192.0.2.21,80"])
        .expect("bind,tcp,192.0.2.11,80", &["ok"])
        .expect("bind,tcp,192.0.2.21,80", &["EADDRNOTAVAIL"]);
    guest.stop();
}

/// S56, the default: two guests have 127.0.0.1:80 each, and each reaches its own.
fn own_loopback(mode: Mode) {
    let _outside = Outside::connect();
    let guests = [guest("one", 101, mode, &ADDRESSES[0]), guest("two", 102, mode, &ADDRESSES[1])];
    for guest in &guests {
        guest.start();
        for kind in ["tcp", "udp"] {
            for own in ["127.0.0.1", "::1"] {
                let _server = At::Guest(guest).serve(kind, own, 80, &guest.name);
            }
        }
    }
    let _host = At::Host.serve("tcp", "127.0.0.1", 80, "host");
    for guest in &guests {
        for kind in ["tcp", "udp"] {
            for own in ["127.0.0.1", "::1"] {
                At::Guest(guest).reaches(kind, own, 80, &format!("{} peer={own},", guest.name));
            }
        }
    }
    At::Host.reaches("tcp", "127.0.0.1", 80, "host");
    stop(&guests);
    // Words of old, and an address of one's own choice.
    guests[0].set("nflags", "lback_remap\nhide_lback\n");
    guests[0].set("interfaces/lback", "127.200.0.1\n");
    guests[0].start();
    let _server = At::Guest(&guests[0]).serve("tcp", "127.0.0.1", 81, "one");
    At::Guest(&guests[0]).reaches("tcp", "127.0.0.1", 81, "one peer=127.0.0.1,");
    At::Host.reaches("tcp", "127.200.0.1", 81, "one peer=127.");
    guests[0].stop();
}

/// S56, switched off: no private loopback; with `lback_allow` the host's.
fn shared_loopback(mode: Mode) {
    let _outside = Outside::connect();
    let guest = guest("one", 101, mode, &ADDRESSES[0]);
    guest.set("nflags", "~lback_remap\n~hide_lback\n");
    guest.start();
    let _host =
        [At::Host.serve("tcp", "127.0.0.1", 80, "host"), At::Host.serve("udp", "127.0.0.1", 80, "host")];
    let at = At::Guest(&guest);
    for word in ["connect,tcp,127.0.0.1,80", "connect,udp,127.0.0.1,80"] {
        at.run(&[word]).expect(word, &["EPERM"]);
    }
    let word = "bind,tcp,127.0.0.1,8080";
    at.run(&[word]).expect(word, &["EADDRNOTAVAIL"]);
    guest.stop();
    guest.set("nflags", "~lback_remap,~hide_lback,lback_allow\n");
    guest.start();
    at.reaches("tcp", "127.0.0.1", 80, "host peer=127.0.0.1,");
    at.reaches("udp", "127.0.0.1", 80, "host peer=127.0.0.1,");
    at.run(&["bind,tcp,127.0.0.1,8080"]).expect("bind,tcp,127.0.0.1,8080", &["ok"]);
    guest.stop();
}

/// S57: an any-bound server hears on the one address and not on loopback; without the flag on all and on loopback.
fn single_ip(mode: Mode) {
    let outside = Outside::connect();
    let guest = guest("one", 101, mode, &["192.0.2.11"]);
    guest.set("nflags", "single_ip\n");
    guest.start();
    let at = At::Guest(&guest);
    for kind in ["tcp", "udp"] {
        let _server = at.serve(kind, "0.0.0.0", 8080, "one");
        At::Outside(&outside).reaches(kind, "192.0.2.11", 8080, "one");
        let word = format!("ask,{kind},127.0.0.1,8080");
        at.run(&[&word]).expect(&word, NO_ANSWER);
    }
    let answer = at.answer("serve,tcp,0.0.0.0,8081,x");
    assert!(answer.ends_with("192.0.2.11,8081") || answer.ends_with("0.0.0.0,8081"), "{answer}");
    guest.stop();
    guest.set("nflags", "~single_ip\n");
    interface(&guest, "1", "192.0.2.21");
    guest.start();
    for kind in ["tcp", "udp"] {
        let _server = at.serve(kind, "0.0.0.0", 8080, "one");
        for address in ["192.0.2.11", "192.0.2.21"] {
            let rest = if kind == "udp" { ",,,unconnected" } else { "" };
            let answer = At::Outside(&outside).answer(&format!("ask,{kind},{address},8080{rest}"));
            assert!(answer.starts_with("one"), "{kind} {address}: {answer}");
        }
        at.reaches(kind, "127.0.0.1", 8080, "one");
    }
    guest.stop();
}

/// `naddress`, `nattribute`, `ncontext`, `chbind` and the lists know the network context of a running guest.
fn tools_on_a_running_guest(mode: Mode) {
    use vserver_e2e::command::{host, tool};
    let outside = Outside::connect();
    let guest = guest("test", 105, mode, &["192.0.2.11", "2001:db8::11"]);
    guest.start();
    let at = At::Guest(&guest);
    tool("naddress", &["--get", "--nid", "test"]).says_exactly("192.0.2.11/24\n2001:db8::11/64\n");
    tool("nattribute", &["--get", "--nid", "105"])
        .says_exactly("ncapabilities:\nraw_icmp\nnflags:\nlback_remap,hide_netif,hide_lback,state_admin\n");
    let list = tool("ncontext", &["--list", "--json"]);
    let list: serde_json::Value = serde_json::from_slice(&list.ok().stdout).expect("JSON");
    assert_eq!((&list[0]["nid"], &list[0]["guest"]), (&105.into(), &"test".into()));
    let init = tool("vserver-info", &["test", "INITPID"]).out();
    tool("vserver-info", &[init.trim(), "NID"]).says_exactly("105\n");
    host("cat", &["/run/vserver/virtnet/105/info"]).ok().says("ID:\t105\n").says("0:\t[192.0.2.11-");

    // One more address, at once.
    vserver_e2e::outside::ip(&["address", "add", "192.0.2.31/24", "dev", DEVICE]);
    let _server = at.serve("tcp", "0.0.0.0", 80, "guest");
    let word = "bind,tcp,192.0.2.31,8080";
    at.run(&[word]).expect(word, &["EADDRNOTAVAIL"]);
    tool("naddress", &["--add", "--nid", "test", "--ip", "192.0.2.31/24"]).ok();
    at.run(&[word]).expect(word, &["ok"]);
    let _second = at.serve("tcp", "0.0.0.0", 81, "guest");
    At::Outside(&outside).reaches("tcp", "192.0.2.31", 81, "guest");
    tool("naddress", &["--remove", "--nid", "test", "--ip", "192.0.2.31"]).ok();
    at.run(&[word]).expect(word, &["EADDRNOTAVAIL"]);

    // No ping any more.
    fs::write("/proc/sys/net/ipv4/ping_group_range", "0 2147483647").expect("the network is ours");
    let word = "echo,192.0.2.254,,ping";
    let answer = at.answer(word);
    assert!(answer.starts_with("ok from=192.0.2.254"), "{answer}");
    tool("nattribute", &["--set", "--nid", "test", "--ncap", "~raw_icmp"]).ok();
    at.run(&[word]).expect(word, &["EPERM", "EACCES"]);
    tool("nattribute", &["--get", "--nid", "test"]).says("ncapabilities:\n\n");

    // A program of the host with the guest's addresses: the host's root, counted as the host's, gone with the guest.
    let joined = ["--nid", "test"];
    At::Chbind(&joined)
        .run(&["bind,tcp,192.0.2.11,8082", "bind,tcp,192.0.2.1,8082"])
        .expect("bind,tcp,192.0.2.11,8082", &["ok"])
        .expect("bind,tcp,192.0.2.1,8082", &["EADDRNOTAVAIL"]);
    let joined = At::Chbind(&joined).answer("serve,tcp,192.0.2.11,8083,joined");
    let pid = joined.split(' ').nth(1).unwrap_or_default().to_owned();
    tool("vserver-info", &[&pid, "XID"]).says_exactly("0\n");
    tool("vserver-info", &[&pid, "NID"]).says_exactly("105\n");
    guest.stop();
    assert!(
        fs::metadata(format!("/proc/{pid}")).is_err(),
        "the program has outlived the guest's network context"
    );
    tool("ncontext", &["--list", "--json"]).says_exactly("[]\n");
}
