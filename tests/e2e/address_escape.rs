//! Every way to use an address that is not the guest's: refused, or harmless.
//!
//! The victims are the host's own addresses and those of another running guest. Each attack is made on the host first,
//! without confinement, where it must succeed: an attack that has become impossible by itself would show nothing.

use std::fs;
use vserver_e2e::command::tool;
use vserver_e2e::netprobe::{At, Server, has_32_bits, plant};
use vserver_e2e::outside::{DEVICE, HOST, WORLD, interface};
use vserver_e2e::{Guest, Mode, Outside, Spec};

pub fn specs() -> Vec<Spec> {
    // The attacker knows the numbers of one architecture.
    if cfg!(not(target_arch = "x86_64")) {
        return Vec::new();
    }
    vec![
        Spec::new("escape_address_bind", bind),
        Spec::new("escape_address_freebind", freebind),
        Spec::new("escape_address_transparent", transparent),
        Spec::new("escape_address_packet_info", packet_info),
        Spec::new("escape_address_listen_unbound", listen_unbound),
        Spec::new("escape_address_send_unbound", send_unbound),
        Spec::new("escape_address_fast_open", fast_open),
        Spec::new("escape_address_mptcp", mptcp),
        Spec::new("escape_address_sctp", sctp),
        Spec::new("escape_address_udp_lite", udp_lite),
        Spec::new("escape_address_own_headers", own_headers),
        // A shifted guest's NET_RAW means nothing for the host's network.
        Spec::new("escape_address_own_headers_granted", own_headers_granted).only(&[Mode::Classic]),
        Spec::new("escape_address_ping_sockets", ping_sockets),
        Spec::new("escape_address_packet_sockets", packet_sockets),
        // The same as above.
        Spec::new("escape_address_packet_sockets_granted", packet_sockets_granted).only(&[Mode::Classic]),
        Spec::new("escape_address_netlink", netlink),
        Spec::new("escape_address_other_namespace", other_namespace),
        Spec::new("escape_address_io_uring", io_uring),
        Spec::new("escape_address_passed_socket", passed_socket),
        Spec::new("escape_address_kept_listener", kept_listener),
        Spec::new("escape_address_socketcall", socketcall),
        Spec::new("escape_address_foreign_loopback", foreign_loopback),
    ]
}

/// The attacker has these; the victims are [`HOST`] and these of the other guest.
const OWN: [&str; 2] = ["192.0.2.11", "2001:db8::11"];
const OTHER: [&str; 2] = ["192.0.2.12", "2001:db8::12"];
const VICTIMS: [&str; 4] = [HOST[0], HOST[1], OTHER[0], OTHER[1]];

struct Scene {
    outside: Outside,
    guest: Guest,
    other: Guest,
}

impl Scene {
    /// Two running guests and the world; `prepare` may configure the attacker.
    fn set(mode: Mode, prepare: impl FnOnce(&Guest)) -> Self {
        let outside = Outside::connect();
        let build = |name: &str, xid, addresses: &[&str]| {
            let guest = Guest::busybox(name, mode).xid(xid).make();
            plant(&guest);
            for (number, address) in addresses.iter().enumerate() {
                interface(&guest, &number.to_string(), address);
            }
            guest
        };
        let guest = build("test", 105, &OWN);
        let other = build("other", 106, &OTHER);
        prepare(&guest);
        guest.start();
        other.start();
        Self { outside, guest, other }
    }

    fn new(mode: Mode) -> Self {
        Self::set(mode, |_| ())
    }

    /// Both guests stop as always, and the attacker has not been harmed by its attacks.
    fn end(self) {
        assert!(self.guest.is_running() && self.other.is_running());
        self.guest.stop();
        self.other.stop();
    }

    /// Attacks that work on the host, and are refused in the guest in one of these ways.
    #[track_caller]
    fn refused(&self, attacks: &[String], errors: &[&str]) {
        let words: Vec<&str> = attacks.iter().map(String::as_str).collect();
        let control = At::Host.run(&words);
        let answers = At::Guest(&self.guest).run(&words);
        for word in words {
            control.expect(word, &["ok"]);
            answers.expect(word, errors);
        }
    }

    /// A server of the world that tells who asks.
    fn mirror(&self, kind: &str) -> Server {
        At::Outside(&self.outside).serve(kind, "::", 7000, "seen")
    }
}

/// Nobody answers from this address outside.
const NO_ANSWER: &[&str] =
    &["ECONNREFUSED", "EAGAIN", "EINPROGRESS", "ETIMEDOUT", "EHOSTUNREACH", "ECONNRESET"];

fn for_victims(make: impl Fn(&str) -> Vec<String>) -> Vec<String> {
    VICTIMS.iter().flat_map(|victim| make(victim)).collect()
}

fn bind(mode: Mode) {
    let scene = Scene::new(mode);
    let attacks = for_victims(|victim| {
        let mut all = vec![
            format!("bind,tcp,{victim},8080"),
            format!("bind,udp,{victim},8080"),
            format!("bind,tcp,{victim},0"),
            format!("bind,tcp,{victim},8080,reuseport"),
            format!("bind,udp,{victim},8080,reuseport"),
            format!("bind,tcp,{victim},0,no-port"),
        ];
        if !victim.contains(':') {
            all.push(format!("bind,tcp,::ffff:{victim},8080"));
            all.push(format!("bind,udp,::ffff:{victim},8080"));
        }
        all
    });
    scene.refused(&attacks, &["EADDRNOTAVAIL", "EPERM"]);
    let attacks = for_victims(|victim| vec![format!("bind,tcp,{victim},8080,device={DEVICE}")]);
    scene.refused(&attacks, &["EADDRNOTAVAIL", "EPERM", "ENODEV"]);
    for own in OWN {
        let word = format!("bind,tcp,{own},8080");
        At::Guest(&scene.guest).run(&[&word]).expect(&word, &["ok"]);
    }
    scene.end();
}

/// An address that no device has, and those of others.
fn freebind(mode: Mode) {
    let scene = Scene::new(mode);
    let mut attacks = for_victims(|victim| {
        vec![format!("bind,tcp,{victim},8080,freebind"), format!("bind,udp,{victim},8080,freebind")]
    });
    for nowhere in ["198.51.100.7", "2001:db8:1::7"] {
        attacks.push(format!("bind,tcp,{nowhere},8080,freebind"));
        attacks.push(format!("bind,udp,{nowhere},8080,freebind"));
    }
    scene.refused(&attacks, &["EADDRNOTAVAIL", "EPERM"]);
    scene.end();
}

fn transparent(mode: Mode) {
    let scene = Scene::new(mode);
    let mut attacks = for_victims(|victim| vec![format!("bind,tcp,{victim},8080,transparent")]);
    attacks.push("bind,udp,198.51.100.7,8080,transparent".to_owned());
    scene.refused(&attacks, &["EADDRNOTAVAIL", "EPERM"]);
    scene.end();
}

/// The source of a single datagram, by control message.
fn packet_info(mode: Mode) {
    let scene = Scene::new(mode);
    let _mirror = scene.mirror("udp");
    for (family, world) in WORLD.iter().enumerate() {
        for victim in [HOST[family], OTHER[family]] {
            let word = format!("pktinfo,{victim},{world},7000");
            let control = At::Host.answer(&word).replace("::ffff:", "");
            assert!(control.contains(&format!("peer={victim},")), "{control}");
            At::Guest(&scene.guest).run(&[&word]).expect(&word, &["EADDRNOTAVAIL", "EPERM"]);
        }
        let word = format!("pktinfo,{},{world},7000", OWN[family]);
        let answer = At::Guest(&scene.guest).answer(&word);
        assert!(answer.contains(OWN[family]), "{word}: {answer}");
    }
    scene.end();
}

/// listen(2) without bind(2) takes a port of every address.
fn listen_unbound(mode: Mode) {
    let scene = Scene::new(mode);
    let outside = At::Outside(&scene.outside);
    for (any, family) in [("0.0.0.0", 0), ("::", 1)] {
        let word = format!("serve,tcp,{any},0,listener,unbound");
        let port = |answer: &str| answer.rsplit(',').next().and_then(|port| port.parse::<u16>().ok());
        let control = At::Host.answer(&word);
        let _server = At::Host.server(&control);
        outside.reaches("tcp", HOST[family], port(&control).expect("a port"), "listener");
        let answer = At::Guest(&scene.guest).answer(&word);
        // Refused altogether is as good.
        let Some(port) = port(&answer).filter(|_| answer.starts_with("ok ")) else { continue };
        for victim in [HOST[family], OTHER[family]] {
            let word = format!("ask,tcp,{victim},{port}");
            outside.run(&[&word]).expect(&word, NO_ANSWER);
            At::Host.run(&[&word]).expect(&word, NO_ANSWER);
        }
        if any == "::" {
            let word = format!("ask,tcp,{},{port}", HOST[0]);
            outside.run(&[&word]).expect(&word, NO_ANSWER);
        }
    }
    scene.end();
}

/// The first datagram binds by itself, and so does a connect: from the guest's own address, and nothing is heard of
/// what comes for others.
fn send_unbound(mode: Mode) {
    let scene = Scene::new(mode);
    let _mirrors = [scene.mirror("udp"), scene.mirror("tcp")];
    for (family, world) in WORLD.iter().enumerate() {
        for (kind, rest) in [("udp", ",,,unconnected"), ("udp", ""), ("tcp", "")] {
            let word = format!("ask,{kind},{world},7000{rest}");
            let seen = |at: At<'_>| at.answer(&word).replace("::ffff:", "");
            let control = seen(At::Host);
            // The host's own connections never come from a guest's address.
            assert!(control.contains(&format!("peer={},", HOST[family])), "{control}");
            let answer = seen(At::Guest(&scene.guest));
            assert!(answer.contains(&format!("peer={},", OWN[family])), "{word}: {answer}");
        }
    }
    scene.end();
}

fn fast_open(mode: Mode) {
    let scene = Scene::new(mode);
    let _mirror = scene.mirror("tcp");
    for (family, world) in WORLD.iter().enumerate() {
        let word = format!("ask,tcp,{world},7000,,,fastopen");
        let control = At::Host.answer(&word).replace("::ffff:", "");
        assert!(control.contains("peer="), "{control}");
        let answer = At::Guest(&scene.guest).answer(&word).replace("::ffff:", "");
        assert!(answer.contains(&format!("peer={},", OWN[family])), "{word}: {answer}");
    }
    // Nor does it reach a loopback that is somebody else's.
    let _host = At::Host.serve("tcp", "127.9.9.9", 7001, "secret");
    let word = "ask,tcp,127.9.9.9,7001,,,fastopen";
    assert!(At::Host.answer(word).starts_with("secret"));
    let answer = At::Guest(&scene.guest).answer(word);
    assert!(!answer.contains("secret"), "{answer}");
    scene.end();
}

/// A kernel without a protocol refuses it to everybody: then the control says so, and nothing else.
#[track_caller]
fn control_or_absent(word: &str) -> bool {
    let answer = At::Host.answer(word);
    let absent =
        ["EPROTONOSUPPORT", "ESOCKTNOSUPPORT", "EAFNOSUPPORT", "ENOPROTOOPT"].contains(&answer.as_str());
    assert!(answer == "ok" || absent, "{word}: {answer}");
    !absent
}

const PROTOCOL_REFUSED: &[&str] = &[
    "EADDRNOTAVAIL",
    "EPERM",
    "EACCES",
    "EPROTONOSUPPORT",
    "ESOCKTNOSUPPORT",
    "EAFNOSUPPORT",
    "ENOPROTOOPT",
];

fn mptcp(mode: Mode) {
    let scene = Scene::new(mode);
    for word in for_victims(|victim| vec![format!("bind,mptcp,{victim},8080")]) {
        control_or_absent(&word);
        At::Guest(&scene.guest).run(&[&word]).expect(&word, PROTOCOL_REFUSED);
    }
    let answer = At::Guest(&scene.guest).answer("serve,mptcp,0.0.0.0,8081,listener,unbound");
    if let Some((_, port)) = answer.rsplit_once(',').filter(|_| answer.starts_with("ok ")) {
        let word = format!("ask,tcp,{},{port}", HOST[0]);
        At::Outside(&scene.outside).run(&[&word]).expect(&word, NO_ANSWER);
    }
    scene.end();
}

fn sctp(mode: Mode) {
    let scene = Scene::new(mode);
    for kind in ["sctp", "sctp-seq"] {
        for word in for_victims(|victim| vec![format!("bind,{kind},{victim},8080")]) {
            control_or_absent(&word);
            At::Guest(&scene.guest).run(&[&word]).expect(&word, PROTOCOL_REFUSED);
        }
    }
    scene.end();
}

fn udp_lite(mode: Mode) {
    let scene = Scene::new(mode);
    for kind in ["udplite", "dccp"] {
        for word in for_victims(|victim| vec![format!("bind,{kind},{victim},8080")]) {
            control_or_absent(&word);
            At::Guest(&scene.guest).run(&[&word]).expect(&word, PROTOCOL_REFUSED);
        }
    }
    scene.end();
}

/// Datagrams whose headers the guest writes.
fn own_headers(mode: Mode) {
    let scene = Scene::new(mode);
    let mut attacks = Vec::new();
    for (family, world) in WORLD.iter().enumerate() {
        for source in [HOST[family], OTHER[family], OWN[family]] {
            attacks.push(format!("spoof,{source},{world},7000"));
        }
        attacks.push(format!("bind,raw-udp,{},0", HOST[family]));
        attacks.push(format!("bind,raw,{},0", HOST[family]));
    }
    scene.refused(&attacks, &["EPERM", "EACCES"]);
    scene.end();
}

/// The same with `NET_RAW`, which lets the guest make such sockets: only its own source leaves the host.
fn own_headers_granted(mode: Mode) {
    let scene = Scene::set(mode, |guest| guest.set("bcapabilities", "NET_RAW\n"));
    for (family, world) in WORLD.iter().enumerate() {
        let attacks = [HOST[family], OTHER[family]].map(|source| format!("spoof,{source},{world},7000"));
        scene.refused(&attacks, &["EPERM"]);
        let own = format!("spoof,{},{world},7000", OWN[family]);
        At::Guest(&scene.guest).run(&[&own]).expect(&own, &["ok"]);
        // Raw sockets skip the programs for bind.
        let word = format!("echo,{world},{}", OTHER[family]);
        let answer = At::Guest(&scene.guest).answer(&word);
        assert!(!answer.starts_with("ok"), "{word}: {answer}");
    }
    scene.end();
}

/// ICMP without raw sockets, which a host may allow everybody (`ping_group_range`), and the raw ones of `raw_icmp`.
fn ping_sockets(mode: Mode) {
    let scene = Scene::new(mode);
    fs::write("/proc/sys/net/ipv4/ping_group_range", "0 2147483647").expect("the network is ours");
    for (family, kinds) in [(0, ["ping", "icmp"]), (1, ["ping6", "icmp6"])] {
        for kind in kinds {
            for victim in [HOST[family], OTHER[family]] {
                let word = format!("echo,{},{victim},{kind}", WORLD[family]);
                let control = At::Host.answer(&word);
                assert!(control.starts_with("ok"), "{word}: {control}");
                let answer = At::Guest(&scene.guest).answer(&word);
                assert!(!answer.starts_with("ok"), "{word}: {answer}");
            }
            // Without a bind the source is the guest's own, as far as the reply tells.
            let word = format!("echo,{},,{kind}", WORLD[family]);
            let answer = At::Guest(&scene.guest).answer(&word);
            let foreign =
                [HOST[family], OTHER[family]].iter().any(|ip| answer.ends_with(&format!("to={ip}")));
            assert!(!foreign, "{word}: {answer}");
        }
    }
    scene.end();
}

fn packet_sockets(mode: Mode) {
    let scene = Scene::new(mode);
    let attacks = ["packet", "packet,dgram", "socket,17,10,0"].map(str::to_owned);
    scene.refused(&attacks, &["EPERM", "EACCES", "EAFNOSUPPORT"]);
    scene.end();
}

/// `NET_RAW` gives them with `raw_packet` only, whichever way in; a filter stands before the guest's own processes and
/// before those that enter.
fn packet_sockets_granted(mode: Mode) {
    let attacks = ["packet", "packet,dgram", "socket,17,10,0", "socket,44,3,0"].map(str::to_owned);
    let scene = Scene::set(mode, |guest| guest.set("bcapabilities", "NET_RAW\n"));
    for nflags in ["\n", "~hide_netif\n"] {
        scene.guest.stop();
        scene.guest.set("nflags", nflags);
        scene.guest.start();
        scene.refused(&attacks, &["EPERM"]);
        if has_32_bits() {
            assert_eq!(At::Host.packet_socket_of_32_bits(), "ok");
            let answer = At::Guest(&scene.guest).packet_socket_of_32_bits();
            assert!(["errno 1", "errno 38"].contains(&answer.as_str()), "{answer}");
        }
    }
    scene.guest.stop();
    scene.guest.set("ncapabilities", "raw_packet\n");
    scene.guest.start().complains("NET_RAW give a classic guest power over the host's network");
    for word in attacks {
        At::Guest(&scene.guest).run(&[&word]).expect(&word, &["ok"]);
    }
    scene.end();
}

/// Changes of the host's network.
fn netlink(mode: Mode) {
    let scene = Scene::new(mode);
    let index = fs::read_to_string(format!("/sys/class/net/{DEVICE}/ifindex")).unwrap_or_default();
    // The trial sees the sysfs of the machine, not of its own network.
    let index = match index.trim() {
        "" => vserver_e2e::command::host("ip", &["-o", "link", "show", DEVICE])
            .out()
            .split(':')
            .next()
            .unwrap_or_default()
            .to_owned(),
        number => number.to_owned(),
    };
    let attacks = [
        format!("address,add,{index},192.0.2.55"),
        format!("address,del,{index},192.0.2.55"),
        format!("address,add,{index},2001:db8::55"),
        format!("address,del,{index},2001:db8::55"),
        format!("link,up,{index}"),
        "address,add,1,127.8.8.8".to_owned(),
        "address,del,1,127.8.8.8".to_owned(),
    ];
    scene.refused(&attacks, &["EPERM", "EACCES", "EOPNOTSUPP"]);
    for address in [OTHER[0], HOST[0]] {
        let word = format!("address,del,{index},{address}");
        At::Guest(&scene.guest).run(&[&word]).expect(&word, &["EPERM", "EACCES", "EOPNOTSUPP"]);
        vserver_e2e::command::host("ip", &["address", "show", "dev", DEVICE]).says(address);
    }
    scene.end();
}

/// Into a network namespace where nobody confines.
fn other_namespace(mode: Mode) {
    let scene = Scene::new(mode);
    scene.refused(&["setns,/proc/self/ns/net".to_owned()], &["EPERM", "EACCES"]);
    let words = ["setns,/proc/1/ns/net", "setns,/proc/1/root/proc/1/ns/net"];
    let answers = At::Guest(&scene.guest).run(&words);
    for word in words {
        answers.expect(word, &["EPERM", "EACCES", "ENOENT"]);
    }
    scene.end();
}

/// A ring makes sockets and binds them where no system call filter looks.
fn io_uring(mode: Mode) {
    let scene = Scene::new(mode);
    let _host = At::Host.serve("tcp", "127.9.9.9", 7001, "secret");
    let connect = "uring,connect,127.9.9.9,7001";
    // A machine may forbid io_uring to everybody.
    let control = At::Host.answer(connect);
    assert!(control.starts_with("ok ") || ["EPERM", "ENOSYS"].contains(&control.as_str()), "{control}");
    let mut words = for_victims(|victim| vec![format!("uring,bind,{victim},8080")]);
    words.push(connect.to_owned());
    for word in words {
        let answer = At::Guest(&scene.guest).answer(&word);
        // EINVAL: before Linux 6.11 there is no bind.
        let refused = ["EADDRNOTAVAIL", "EPERM", "ENOSYS", "EINVAL", "ECONNREFUSED"];
        assert!(refused.contains(&answer.as_str()), "{word}: {answer}");
    }
    scene.end();
}

/// A socket stays its maker's, whoever gets it.
fn passed_socket(mode: Mode) {
    let shared = "/run/e2e/shared";
    let scene = Scene::set(mode, |guest| {
        fs::create_dir_all(shared).expect("/run is ours");
        vserver_e2e::command::host("chmod", &["1777", shared]).ok();
        for name in [guest.name.as_str(), "other"] {
            fs::create_dir_all(format!("/vservers/{name}/mnt")).expect("the tree is ours");
            let fstab = format!("none /proc proc defaults 0 0\n{shared} /mnt none bind 0 0\n");
            fs::write(format!("/etc/vservers/{name}/fstab"), fstab).expect("the configuration is ours");
        }
    });
    let (guest, other) = (At::Guest(&scene.guest), At::Guest(&scene.other));
    for (number, family) in [(0, "4"), (1, "6")] {
        // The control: a socket of the host goes anywhere, by the host's own decision.
        let path = format!("host{family}");
        let given = At::Host.answer(&format!("give,{shared}/{path},tcp,{family}"));
        let _giver = At::Host.server(&given);
        let answer = guest.answer(&format!("take,/mnt/{path},bind,{},8090", HOST[number]));
        assert!(answer.starts_with("ok "), "{answer}");
        // Another guest's socket binds to the other guest's addresses only.
        for (count, (ip, wanted)) in
            [(HOST[number], "EADDRNOTAVAIL"), (OWN[number], "EADDRNOTAVAIL"), (OTHER[number], "ok ")]
                .iter()
                .enumerate()
        {
            let path = format!("other{family}{count}");
            let given = other.answer(&format!("give,/mnt/{path},tcp,{family}"));
            assert!(given.starts_with("ok "), "{given}");
            let answer = guest.answer(&format!("take,/mnt/{path},bind,{ip},8091"));
            assert!(answer.starts_with(wanted), "{ip}: {answer}, wanted {wanted}");
        }
        // And an own one passed away and back is confined as before.
        let given = guest.answer(&format!("give,/mnt/own{family},tcp,{family}"));
        assert!(given.starts_with("ok "), "{given}");
        let answer = other.answer(&format!("take,/mnt/own{family},bind,{},8092", OTHER[number]));
        assert_eq!(answer, "EADDRNOTAVAIL");
    }
    scene.end();
}

/// An address that was taken away is of no use to whoever has it bound.
fn kept_listener(mode: Mode) {
    let scene = Scene::set(mode, |guest| {
        interface(guest, "8", "192.0.2.21");
        interface(guest, "9", "2001:db8::21");
    });
    let (guest, outside) = (At::Guest(&scene.guest), At::Outside(&scene.outside));
    for address in ["192.0.2.21", "2001:db8::21"] {
        let _kept = guest.serve("tcp", address, 8085, "kept");
        let _packets = guest.serve("udp", address, 8085, "kept");
        outside.reaches("tcp", address, 8085, "kept");
        outside.reaches("udp", address, 8085, "kept");
        tool("naddress", &["--remove", "--nid", "105", "--ip", address]).ok();
        for kind in ["tcp", "udp"] {
            let word = format!("ask,{kind},{address},8085");
            outside.run(&[&word]).expect(&word, NO_ANSWER);
            let word = format!("bind,{kind},{address},8086");
            guest.run(&[&word]).expect(&word, &["EADDRNOTAVAIL", "EPERM"]);
        }
        tool("naddress", &["--add", "--nid", "105", "--ip", address]).ok();
        outside.reaches("tcp", address, 8085, "kept");
    }
    scene.end();
}

/// The door of old 32-bit programs.
fn socketcall(mode: Mode) {
    let scene = Scene::new(mode);
    if !has_32_bits() {
        eprintln!("this kernel runs no 32-bit programs: nothing to try");
        return scene.end();
    }
    scene.refused(
        &for_victims(|victim| {
            vec![format!("bind,tcp,{victim},8080,i386"), format!("bind,udp,{victim},8080,i386")]
        }),
        &["EADDRNOTAVAIL", "EPERM"],
    );
    for victim in VICTIMS {
        let control = At::Host.thirtytwo("bind", victim, 8080, "");
        assert_eq!(control, "ok", "{victim}");
        let answer = At::Guest(&scene.guest).thirtytwo("bind", victim, 8080, "");
        assert!(["errno 99", "errno 1"].contains(&answer.as_str()), "{victim}: {answer}");
    }
    for own in OWN {
        assert_eq!(At::Guest(&scene.guest).thirtytwo("bind", own, 8080, ""), "ok", "{own}");
    }
    scene.end();
}

/// Loopbacks of the host and of other guests.
fn foreign_loopback(mode: Mode) {
    let scene = Scene::new(mode);
    let _servers = [
        At::Host.serve("tcp", "127.0.0.1", 7001, "host"),
        At::Host.serve("udp", "127.0.0.1", 7001, "host"),
        At::Host.serve("tcp", "::1", 7001, "host"),
        At::Guest(&scene.other).serve("tcp", "127.0.0.1", 7002, "other"),
        At::Guest(&scene.other).serve("tcp", "::1", 7002, "other"),
    ];
    let (guest, other) = (At::Guest(&scene.guest), At::Guest(&scene.other));
    other.reaches("tcp", "127.0.0.1", 7002, "other");
    other.reaches("tcp", "::1", 7002, "other");
    // 127.0.106.1 and fd76:…::6a are what the other guest's loopback really is.
    for word in [
        "ask,tcp,127.0.0.1,7001",
        "ask,udp,127.0.0.1,7001",
        "ask,udp,127.0.0.1,7001,,,unconnected",
        "ask,tcp,::1,7001",
        "ask,tcp,::ffff:127.0.0.1,7001",
        "ask,tcp,0.0.0.0,7001",
        "ask,tcp,127.0.0.1,7002",
        "ask,tcp,127.0.106.1,7002",
        "ask,tcp,::1,7002",
        "ask,tcp,fd76:7365:7276:6572::6a,7002",
    ] {
        let answer = guest.answer(word);
        assert!(!answer.contains("host") && !answer.contains("other"), "{word}: {answer}");
    }
    // From the wire: nobody's loopback is reached by its real name.
    let outside = At::Outside(&scene.outside);
    let route = ["-6", "route", "add", "fd76:7365:7276:6572::/64", "via", HOST[1]];
    scene.outside.program("ip").args(&route).run().ok();
    At::Host.reaches("tcp", "fd76:7365:7276:6572::6a", 7002, "other");
    let word = "ask,tcp,fd76:7365:7276:6572::6a,7002";
    outside.run(&[word]).expect(word, NO_ANSWER);
    for word in
        ["bind,tcp,127.0.106.1,7003", "bind,tcp,127.9.9.9,7003", "bind,tcp,fd76:7365:7276:6572::6a,7003"]
    {
        guest.run(&[word]).expect(word, &["EADDRNOTAVAIL", "EPERM"]);
    }
    scene.end();
}
