//! Confining groups, changing their rules, and what is left afterwards.

use std::net::Ipv4Addr;
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use vserver_kernel::bpf::network::{Missing, Network};

use crate::scene::{
    A4, A6, B4, HOST4, OUTSIDE4, Scene, Who, accept, at, connect, errno, eth0, ip, listen, receive, rules,
    udp, unbound,
};

/// Rules are read back as they were given, changed, and taken away.
pub fn life() {
    let scene = Scene::without_guests();
    let group = scene.directory(Who::A);
    let network = &scene.network;
    assert_eq!(network.rules_of(group.as_fd()).unwrap(), None);
    let mut rules = rules(Who::A);
    scene.confine(Who::A, &rules);
    assert!(network.confine(group.as_fd(), &rules).unwrap_err().is(libc::EEXIST));
    assert_eq!(network.rules_of(group.as_fd()).unwrap().as_ref(), Some(&rules));
    rules.v4 = vec![(A4[1].parse().unwrap(), 32), (HOST4.parse().unwrap(), 24)];
    scene.change(Who::A, &rules);
    assert_eq!(network.rules_of(group.as_fd()).unwrap().as_ref(), Some(&rules));
    scene.be(Who::A, || {
        assert!(listen(HOST4, 0).is_ok());
        assert_eq!(errno(listen(A4[0], 0)), libc::EADDRNOTAVAIL);
    });
    Network::release(group.as_fd()).unwrap();
    scene.be(Who::A, || assert_eq!(errno(listen(HOST4, 0)), libc::EADDRNOTAVAIL));
    let other = scene.directory(Who::B);
    assert_eq!(network.rules_of(other.as_fd()).unwrap(), None);
    assert!(network.change(other.as_fd(), &rules).unwrap_err().is(libc::ENOENT));
    assert_eq!(network.sweep().unwrap(), 0, "release leaves nothing");
}

/// Another command finds what is pinned, and changes a guest that it has not confined; serving is done once.
pub fn pins() {
    let scene = Scene::new();
    let directory = scene.bpffs.path().join("vserver");
    let pinned = || {
        let sets: Vec<_> =
            std::fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(sets.len(), 1, "{sets:?}");
        std::fs::read_dir(&sets[0]).unwrap().count()
    };
    let before = pinned();
    let again = Network::open(Some(&directory)).unwrap();
    again.serve_namespace(&[eth0()]).unwrap();
    assert_eq!(pinned(), before);
    let mut rules = rules(Who::A);
    rules.v4.truncate(1);
    again.change(scene.directory(Who::A).as_fd(), &rules).unwrap();
    assert_eq!(scene.network.rules_of(scene.directory(Who::A).as_fd()).unwrap(), Some(rules));
    // A device that is made anew with the same number is served again; the pins of one that is gone are swept. Before
    // Linux 6.6 there are none: a device takes its classifiers with it.
    let number = eth0();
    let set = std::fs::read_dir(&directory).unwrap().next().unwrap().unwrap().path();
    let of_device = std::fs::read_dir(set)
        .unwrap()
        .filter(|entry| {
            let name = entry.as_ref().unwrap().file_name().into_string().unwrap();
            !name.starts_with("lookup-") && name.ends_with(&format!("-{number}"))
        })
        .count();
    ip("link delete eth0");
    assert_eq!(again.sweep().unwrap(), of_device);
    ip(&format!("link add eth0 index {number} type veth peer name eth1"));
    again.serve_namespace(&[number]).unwrap();
    assert_eq!(pinned(), before);
}

/// Without a bpffs a guest is confined all the same, and what it then lacks is said.
pub fn no_bpffs() {
    let scene = Scene::without_guests();
    let network = Network::open(None).unwrap();
    assert_eq!(network.missing(), [Missing::Pins]);
    network.serve_namespace(&[]).unwrap();
    let (group, mut rules) = (scene.directory(Who::A), rules(Who::A));
    network.confine(group.as_fd(), &rules).unwrap();
    drop(network);
    scene.be(Who::A, || assert_eq!(errno(listen(HOST4, 0)), libc::EADDRNOTAVAIL));
    rules.v4.push((HOST4.parse().unwrap(), 24));
    let network = Network::open(None).unwrap();
    network.change(group.as_fd(), &rules).unwrap();
    scene.be(Who::A, || assert!(listen(HOST4, 0).is_ok()));
    Network::release(group.as_fd()).unwrap();
}

/// A group whose parent has a program that excludes others is not confined at all, and nothing stays attached.
pub fn excluded() {
    let scene = Scene::without_guests();
    // The last program that is attached is the one that finds no room.
    let top = scene.top.v2_dir_fd().unwrap().unwrap();
    let group = scene.directory(Who::A);
    let exclusive = exclusive_egress(top.as_fd());
    let mut with = rules(Who::A);
    with.raw = true;
    let fault = scene.network.confine(group.as_fd(), &with).unwrap_err();
    assert!(fault.is(libc::EPERM), "{fault}");
    assert_eq!(scene.network.rules_of(group.as_fd()).unwrap(), None);
    scene.be(Who::A, || {
        assert!(listen(HOST4, 0).is_ok());
        drop(unbound(OUTSIDE4));
    });
    assert_eq!(scene.network.sweep().unwrap(), 0);
    drop(exclusive);
}

/// An egress program attached without `BPF_F_ALLOW_MULTI`, detached in the end.
fn exclusive_egress(group: std::os::fd::BorrowedFd<'_>) -> impl Drop + use<'_> {
    use vserver_kernel::sys::{self, BpfAttach, BpfProgramKind};
    const KIND: BpfProgramKind =
        BpfProgramKind::Raw { program_type: 8, attach_type: 1, btf_id: 0, sleeps: false };
    struct Attached<'fd>(std::os::fd::OwnedFd, std::os::fd::BorrowedFd<'fd>);
    impl Drop for Attached<'_> {
        fn drop(&mut self) {
            sys::bpf_detach(BpfAttach { cgroup: self.1, program: self.0.as_fd(), kind: KIND }).unwrap();
        }
    }
    let mut asm = vserver_kernel::bpf::asm::Assembler::new();
    asm.answer(1);
    let program = sys::bpf_load(KIND, "exclusive", &asm.finish()).unwrap();
    sys::bpf_attach_exclusive(BpfAttach { cgroup: group, program: program.as_fd(), kind: KIND }).unwrap();
    Attached(program, group)
}

/// A listener whose address is taken from the guest hears nothing more, though the host still has the address.
pub fn removed_address() {
    let scene = Scene::new();
    let (listener, server, any) = scene.be(Who::A, || {
        (listen(A4[1], 8120).unwrap(), udp(A4[1], 8120).unwrap(), listen("0.0.0.0", 8121).unwrap())
    });
    let reaches = |port: u16| scene.be(Who::Outside, || connect(A4[1], port).is_ok());
    let heard = || {
        scene.be(Who::Outside, || unbound(A4[1]).send_to(b"x", at(A4[1], 8120)).unwrap());
        receive(&server).is_some()
    };
    assert!(reaches(8120) && reaches(8121) && heard());
    let mut rules = rules(Who::A);
    rules.v4.truncate(1);
    scene.change(Who::A, &rules);
    assert!(!reaches(8120) && !reaches(8121) && !heard());
    // Back again: listeners that are still there are served at it.
    scene.change(Who::A, &crate::scene::rules(Who::A));
    assert!(reaches(8120) && reaches(8121) && heard());
    drop((listener, any));
}

/// A socket keeps the rules of the group that it was made in: passed on, and when that group is gone.
pub fn passed_on() {
    let scene = Scene::new();
    let socket = scene.be(Who::A, || crate::scene::socket("0.0.0.0", rustix::net::SocketType::STREAM));
    let bind = |ip: &str| {
        let bound = rustix::net::bind(&socket, &at(ip, 0));
        bound.err().map_or(0, rustix::io::Errno::raw_os_error)
    };
    assert_eq!(scene.be(Who::B, || bind(B4[0])), libc::EADDRNOTAVAIL);
    assert_eq!(scene.be(Who::Host, || bind(HOST4)), libc::EADDRNOTAVAIL);
    scene.top.child("a").remove().unwrap();
    assert_eq!(scene.be(Who::Host, || bind(HOST4)), libc::EADDRNOTAVAIL);
    assert_eq!(scene.be(Who::B, || bind(A4[0])), 0);
    // When the last socket is gone, so are the rules; what they left is swept.
    drop(socket);
    let deadline = Instant::now() + Duration::from_secs(20);
    while scene.network.sweep().unwrap() == 0 {
        assert!(Instant::now() < deadline, "the rules of a vanished group are still there");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(scene.network.sweep().unwrap(), 0);
    scene.be(Who::B, || assert!(listen(B4[0], 0).is_ok()));
}

/// Two guests share an address. Each is served at it for its own ports, in either order of starting.
pub fn shared_address() {
    let scene = Scene::without_guests();
    let mut a = rules(Who::A);
    let mut b = rules(Who::B);
    b.v4.push((A4[1].parse().unwrap(), 24));
    scene.confine(Who::A, &a);
    scene.confine(Who::B, &b);
    let listeners = [
        scene.be(Who::A, || listen("0.0.0.0", 8122).unwrap()),
        scene.be(Who::B, || listen("0.0.0.0", 8123).unwrap()),
    ];
    let servers = [
        scene.be(Who::A, || udp("0.0.0.0", 8124).unwrap()),
        scene.be(Who::B, || udp("0.0.0.0", 8125).unwrap()),
    ];
    let served = |expected: bool| {
        scene.be(Who::Outside, || {
            assert_eq!(connect(A4[1], 8122).is_ok(), expected);
            assert!(connect(A4[1], 8123).is_ok());
            unbound(A4[1]).send_to(b"x", at(A4[1], 8124)).unwrap();
            unbound(A4[1]).send_to(b"x", at(A4[1], 8125)).unwrap();
        });
        assert_eq!(accept(&listeners[0]).is_some(), expected);
        assert!(accept(&listeners[1]).is_some());
        assert_eq!(receive(&servers[0]).is_some(), expected);
        assert!(receive(&servers[1]).is_some());
    };
    served(true);
    // The first one gives it up: the other one has it alone. And back again, behind the other.
    a.v4.truncate(1);
    scene.change(Who::A, &a);
    served(false);
    scene.change(Who::A, &rules(Who::A));
    served(true);
}

/// Five hundred addresses: all of them are the guest's, and its any-bound listener answers at all.
pub fn many_addresses() {
    let scene = Scene::without_guests();
    let mut rules = rules(Who::A);
    ip("route add local 10.7.0.0/16 dev lo");
    let address = |number: u32| Ipv4Addr::from(0x0a07_0000 + 256 + number);
    rules.v4.extend((0..500).map(|number| (address(number), 32)));
    scene.confine(Who::A, &rules);
    assert_eq!(scene.network.rules_of(scene.directory(Who::A).as_fd()).unwrap().as_ref(), Some(&rules));
    let listener = scene.be(Who::A, || listen("0.0.0.0", 8126).unwrap());
    for number in [0, 1, 250, 499] {
        let ip = address(number).to_string();
        drop(connect(&ip, 8126).unwrap());
        assert!(accept(&listener).is_some());
        scene.be(Who::A, || assert!(listen(&ip, 0).is_ok()));
    }
    scene.be(Who::A, || assert_eq!(errno(listen(&address(500).to_string(), 0)), libc::EADDRNOTAVAIL));
    assert_eq!(errno(connect(&address(500).to_string(), 8126)), libc::ECONNREFUSED);
    Network::release(scene.directory(Who::A).as_fd()).unwrap();
    assert_eq!(scene.network.sweep().unwrap(), 0);
}

/// Rules that change all the time while the guest binds: it has one of them at any moment.
pub fn changed_under_way() {
    let scene = Scene::new();
    let (one, mut two) = (rules(Who::A), rules(Who::A));
    two.v4.reverse();
    two.v6.reverse();
    let network = &scene.network;
    let group = scene.directory(Who::A);
    let stop = std::sync::atomic::AtomicBool::new(false);
    scene.be(Who::A, || {
        std::thread::scope(|scope| {
            let changer = scope.spawn(|| {
                let mut changes = 0_u32;
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    network
                        .change(group.as_fd(), if changes.is_multiple_of(2) { &two } else { &one })
                        .unwrap();
                    changes += 1;
                }
                changes
            });
            for _ in 0..2000 {
                for own in [A4[0], A4[1], A6[0], A6[1], "0.0.0.0", "127.0.0.1"] {
                    assert_eq!(errno(listen(own, 0)), 0, "{own}");
                }
                assert_eq!(errno(listen(HOST4, 0)), libc::EADDRNOTAVAIL);
            }
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
            assert!(changer.join().unwrap() > 0);
        });
    });
}
