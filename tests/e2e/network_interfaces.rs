//! `interfaces/`: addresses come with the guest and go with it (S24, S25, S32, S45), whatever else happens.

use std::fs;

use vserver_e2e::assassin::{self, Point, Random, sample};
use vserver_e2e::command::{host, tool};
use vserver_e2e::netprobe::{self, At};
use vserver_e2e::outside::{DEVICE, interface, ip};
use vserver_e2e::{Guest, Mode, Need, Outside, Spec, soon};

pub fn specs() -> Vec<Spec> {
    vec![
        Spec::new("s24_network_keys", keys),
        Spec::new("s24_vlan_tun_and_tap_devices", devices),
        Spec::new("s25_an_address_comes_and_goes", comes_and_goes),
        Spec::new("s32_a_guest_without_address", without_address),
        Spec::new("s45_a_disabled_interface", disabled),
        Spec::new("network_two_guests_with_one_address", one_address_for_two),
        Spec::new("network_what_was_there_stays", what_was_there),
        Spec::new("network_foreign_device_and_wrong_prefix", bad_input),
        Spec::new("network_five_hundred_addresses", many).once(),
        Spec::new("network_the_guest_ends_by_itself", ends_by_itself),
        Spec::new("network_the_tool_dies_between_address_and_record", sudden_death).needs(&[Need::Tracing]),
    ]
}

/// One line for each address of a device, as `ip` shows it.
fn addresses(device: &str) -> Vec<String> {
    let done = host("ip", &["-o", "address", "show", "dev", device]);
    done.ok();
    done.out().lines().filter(|line| !line.contains("fe80")).map(str::to_owned).collect()
}

#[track_caller]
fn line_of(device: &str, address: &str) -> String {
    let all = addresses(device);
    let found = all
        .iter()
        .find(|line| line.contains(&format!(" {address}/")) || line.contains(&format!(" {address} ")));
    found.cloned().unwrap_or_else(|| panic!("{address} is not on {device}: {all:#?}"))
}

fn has(device: &str, address: &str) -> bool {
    addresses(device)
        .iter()
        .any(|line| line.contains(&format!(" {address}/")) || line.contains(&format!(" {address} ")))
}

/// Every address of the host, to be compared before and after.
fn everything() -> String {
    let done = host("ip", &["-o", "address"]);
    done.ok();
    done.out()
}

fn keys(mode: Mode) {
    let _outside = Outside::connect();
    let guest = Guest::busybox("test", mode).make();
    let set = |item: &str, text: &str| guest.set(&format!("interfaces/{item}"), text);
    set("dev", &format!("{DEVICE}\n"));
    set("prefix", "24\n");
    for (key, address) in [("A", 15), ("2", 14), ("10", 13), ("00", 12), ("0", 11)] {
        set(&format!("{key}/ip"), &format!("192.0.2.{address}\n"));
    }
    set("0/name", "foo\n");
    set("00/mask", "255.255.248.0\n");
    set("00/bcast", "192.0.2.99\n");
    set("10/ip", "192.0.3.13\n");
    set("10/scope", "link\n");
    set("2/ip", "192.0.2.14/25\n");
    set("A/peer", "198.51.100.7\n");
    set("B/ip", "2001:db8::11/64\n");
    set("C/ip", "192.0.2.1\n");
    set("C/nodev", "");
    guest.set("interfaces/00/prefix", "21\n");
    let before = everything();
    // In byte order: 0, 00, 10, 2, A, B.
    guest.vserver(&["start", "--dry-run"]).ok().says(
        "192.0.2.11/24 on e2e0, 192.0.2.12/21 on e2e0, 192.0.3.13/24 on e2e0, 192.0.2.14/25 on e2e0, \
         192.0.2.15/24 on e2e0, 2001:db8::11/64 on e2e0",
    );
    guest.start();
    assert!(line_of(DEVICE, "192.0.2.11").contains("/24 brd 192.0.2.255 scope global secondary e2e0:foo"));
    assert!(line_of(DEVICE, "192.0.2.12").contains("/21 brd 192.0.2.99 scope global"));
    assert!(line_of(DEVICE, "192.0.3.13").contains("scope link"));
    assert!(line_of(DEVICE, "192.0.2.14").contains("/25 brd 192.0.2.127"));
    assert!(line_of(DEVICE, "192.0.2.15").contains("peer 198.51.100.7/24"));
    assert!(!line_of(DEVICE, "2001:db8::11").contains("tentative"), "usable at once");
    guest.stop();
    assert_eq!(everything(), before, "the host's own address, which the guest used by nodev, is there still");
}

fn devices(mode: Mode) {
    let _outside = Outside::connect();
    let guest = Guest::busybox("test", mode).make();
    guest.set("interfaces/0/dev", "e2e0.42\n");
    guest.set("interfaces/0/ip", "198.51.100.1/24\n");
    guest.set("interfaces/0/vlandev", "");
    guest.set("interfaces/1/dev", "tap7\n");
    guest.set("interfaces/1/ip", "198.51.101.1/24\n");
    guest.set("interfaces/1/tap", "");
    guest.set("interfaces/1/uid", "1000\n");
    guest.set("interfaces/2/dev", "tun7\n");
    guest.set("interfaces/2/ip", "198.51.102.1/24\n");
    guest.set("interfaces/2/tun", "");
    guest.set("interfaces/2/down", "");
    let has_vlans =
        host("ip", &["link", "add", "e2e0.9", "link", DEVICE, "type", "vlan", "id", "9"]).exit() == 0;
    if has_vlans {
        ip(&["link", "delete", "e2e0.9"]);
    }
    let before = everything();
    let done = guest.start();
    if has_vlans {
        assert!(line_of("e2e0.42", "198.51.100.1").contains("/24"));
    } else {
        done.complains("interfaces/0/ip:1: cannot make the VLAN device e2e0.42");
    }
    host("ip", &["-d", "link", "show", "tap7"]).ok().says("tun type tap").says("persist on user").says(",UP");
    let tun = host("ip", &["-d", "link", "show", "tun7"]);
    tun.ok().says("tun type tun");
    assert!(!tun.out().contains(",UP"), "down:\n{tun}");
    assert!(has("tun7", "198.51.102.1") && has("tap7", "198.51.101.1"));
    guest.stop();
    assert_eq!(everything(), before);
    for device in ["e2e0.42", "tap7", "tun7"] {
        assert!(host("ip", &["link", "show", device]).exit() != 0, "{device} is left");
    }
}

/// The seed's example, letter for letter but for the device.
fn comes_and_goes(mode: Mode) {
    let _outside = Outside::connect();
    ip(&["link", "set", DEVICE, "down"]);
    let guest = Guest::busybox("test", mode).make();
    let line = format!(
        "mkdir -p /etc/vservers/test/interfaces/0; echo {DEVICE} > /etc/vservers/test/interfaces/0/dev; \
         echo 192.168.0.1/24 > /etc/vservers/test/interfaces/0/ip"
    );
    host("sh", &["-c", &line]).ok();
    guest.vserver(&["start", "--dry-run"]).ok().says("add the addresses 192.168.0.1/24 on e2e0");
    guest.start();
    assert!(line_of(DEVICE, "192.168.0.1").contains("192.168.0.1/24 brd 192.168.0.255 scope global e2e0"));
    host("ip", &["link", "show", DEVICE]).ok().says(",UP");
    // A second start changes nothing, and the guest of the first one keeps its address.
    guest.start();
    assert!(has(DEVICE, "192.168.0.1"));
    guest.stop();
    assert!(!has(DEVICE, "192.168.0.1"));
    host("ip", &["link", "show", DEVICE]).ok().says(",UP");
    guest.stop();
}

fn without_address(mode: Mode) {
    let outside = Outside::connect();
    let guest = Guest::busybox("test", mode).make();
    let done = guest.start();
    done.complains("warning: no address is configured: the guest has no network but its own loopback");
    assert!(!done.err().contains("vc_net_create"));
    outside.program("busybox").args(&["nc", "-l", "-p", "7000", "-e", "true"]).start().kill();
    guest.sh("echo hello | nc -w 2 192.0.2.254 7000").code(1);
    guest.sh("(echo loop | nc -l -p 7001 -w 5 &) ; sleep 0.3; nc -w 2 127.0.0.1 7001").ok().says("loop");
    guest.stop();
    assert!(!addresses("lo").iter().any(|line| line.contains("fd76:")), "{:?}", addresses("lo"));
}

fn disabled(mode: Mode) {
    let _outside = Outside::connect();
    let guest = Guest::busybox("test", mode).make();
    interface(&guest, "0", "192.0.2.11");
    interface(&guest, "1", "192.0.2.12");
    guest.set("interfaces/0/disabled", "");
    guest.start();
    assert!(!has(DEVICE, "192.0.2.11") && has(DEVICE, "192.0.2.12"));
    ip(&["address", "add", "192.0.2.11/24", "dev", DEVICE]);
    if cfg!(target_arch = "x86_64") {
        netprobe::plant(&guest);
        assert_eq!(At::Guest(&guest).answer("bind,tcp,192.0.2.11,7000"), "EADDRNOTAVAIL");
        assert_eq!(At::Guest(&guest).answer("bind,tcp,192.0.2.12,7000"), "ok");
    }
    guest.stop();
    assert!(has(DEVICE, "192.0.2.11"), "added by hand");
}

fn one_address_for_two(mode: Mode) {
    let _outside = Outside::connect();
    let first = Guest::busybox("first", mode).make();
    let second = Guest::busybox("second", mode).xid(106).make();
    for guest in [&first, &second] {
        interface(guest, "0", "192.0.2.11");
        interface(guest, "1", "2001:db8::11");
    }
    second.vserver(&["check"]).says("guest first has the address 192.0.2.11 as well");
    let before = everything();
    first.start();
    second.start().complains("interfaces/0/ip:1: e2e0 has 192.0.2.11/24 already");
    first.stop();
    assert!(
        has(DEVICE, "192.0.2.11") && has(DEVICE, "2001:db8::11"),
        "the second guest has lost its address"
    );
    first.start();
    second.stop();
    assert!(has(DEVICE, "192.0.2.11"), "the first guest has lost its address");
    first.stop();
    assert_eq!(everything(), before);
}

fn what_was_there(mode: Mode) {
    let _outside = Outside::connect();
    fs::write("/proc/sys/net/ipv4/conf/all/promote_secondaries", "0").expect("the network is ours");
    fs::write("/proc/sys/net/ipv4/conf/e2e0/promote_secondaries", "0").expect("the network is ours");
    let guest = Guest::busybox("test", mode).make();
    interface(&guest, "0", "192.0.2.1");
    interface(&guest, "1", "198.51.100.1");
    guest.start().complains("interfaces/0/ip:1: e2e0 has 192.0.2.1/24 already");
    // The guest's address is the first of its network; what the host adds behind it must not go with it.
    ip(&["address", "add", "198.51.100.2/24", "dev", DEVICE]);
    guest.stop();
    assert!(has(DEVICE, "192.0.2.1") && has(DEVICE, "198.51.100.2") && !has(DEVICE, "198.51.100.1"));
    let setting = fs::read_to_string("/proc/sys/net/ipv4/conf/e2e0/promote_secondaries");
    assert_eq!(setting.expect("it is readable"), "0\n", "a setting of the host was changed");
}

fn bad_input(mode: Mode) {
    let _outside = Outside::connect();
    let guest = Guest::busybox("test", mode).make();
    interface(&guest, "0", "192.0.2.11");
    guest.set("interfaces/1/dev", "nodevice0\n");
    guest.set("interfaces/1/ip", "192.0.2.12/24\n");
    guest
        .start()
        .complains("interfaces/1/ip:1: the host has no network device nodevice0: 192.0.2.12/24 is not added");
    assert!(has(DEVICE, "192.0.2.11"), "one bad interface does not hinder the others");
    guest.stop();
    let before = everything();
    for (item, text, words) in [
        ("interfaces/0/prefix", "25\n", "says prefix length 24, the interface's own file says 25"),
        ("interfaces/0/mask", "255.0.255.0\n", "netmask '255.0.255.0' is not contiguous"),
        ("interfaces/0/ip", "192.0.2.300/24\n", "'192.0.2.300' is not an address"),
        ("interfaces/0/ip", "", "Can not read ip for"),
        ("interfaces/0/dev", "a-name-that-is-too-long\n", "at most 15 bytes"),
        ("interfaces/0/name", "a-long-label\n", "the label DEV:NAME is longer than 15 bytes"),
    ] {
        let path = guest.configuration(item);
        let good = fs::read(&path).ok();
        guest.set(item, text);
        let done = guest.vserver(&["start"]);
        assert_ne!(done.exit(), 0, "{item}");
        done.complains(words).complains("/etc/vservers/test/interfaces/0/");
        assert!(!guest.is_running());
        assert_eq!(everything(), before);
        match good {
            Some(good) => fs::write(&path, good),
            None => fs::remove_file(&path),
        }
        .expect("the configuration is ours");
    }
}

fn many(mode: Mode) {
    let _outside = Outside::connect();
    let guest = Guest::busybox("test", mode).make();
    guest.set("interfaces/dev", &format!("{DEVICE}\n"));
    for number in 0..500 {
        guest.set(
            &format!("interfaces/{number:03}/ip"),
            &format!("10.9.{}.{}/16\n", number / 250, number % 250 + 1),
        );
    }
    let before = everything();
    guest.start();
    assert_eq!(addresses(DEVICE).iter().filter(|line| line.contains(" 10.9.")).count(), 500);
    if cfg!(target_arch = "x86_64") {
        netprobe::plant(&guest);
        for (address, answer) in [("10.9.0.1", "ok"), ("10.9.1.250", "ok"), ("192.0.2.1", "EADDRNOTAVAIL")] {
            assert_eq!(At::Guest(&guest).answer(&format!("bind,tcp,{address},7000")), answer, "{address}");
        }
    }
    guest.stop();
    assert_eq!(everything(), before);
}

fn ends_by_itself(mode: Mode) {
    let _outside = Outside::connect();
    let guest = Guest::busybox("test", mode).make();
    interface(&guest, "0", "192.0.2.11");
    guest.start();
    assert!(has(DEVICE, "192.0.2.11"));
    let pid = tool("vserver-info", &["test", "INITPID"]).out();
    host("kill", &["-KILL", pid.trim()]).ok();
    soon("the guard cleans up", || !has(DEVICE, "192.0.2.11"));
}

/// `sendto` on x86-64: each is a request to the host's network (and the next call comes after it was done).
const SENDTO: u64 = 44;

/// Killed around each request to the network in turn: whoever comes next takes away what was added, and nothing else.
fn sudden_death(mode: Mode) {
    let _outside = Outside::connect();
    let guest = Guest::busybox("test", mode).make();
    interface(&guest, "0", "192.0.2.11");
    interface(&guest, "1", "192.0.2.1");
    guest.set("interfaces/2/dev", "tap7\n");
    guest.set("interfaces/2/ip", "198.51.101.1/24\n");
    guest.set("interfaces/2/tap", "");
    let before = everything();
    // What only the first start does is not what is looked at.
    guest.start();
    guest.stop();
    let words = ["test", "start"];
    let points = assassin::points(&[], &words);
    guest.stop();
    assert_eq!(everything(), before);
    let own: Vec<&Point> = points.iter().filter(|point| point.who == "0").collect();
    let at = (0..own.len() - 1).filter(|&at| own[at].call == SENDTO).flat_map(|at| [at, at + 1]);
    let chosen: Vec<Point> = at.map(|at| own[at].clone()).collect();
    assert!(chosen.len() > 10, "{points:#?}");
    let (mut random, mut hits) = (Random::new(), 0);
    for (turn, point) in sample(&chosen, 14, &mut random).into_iter().enumerate() {
        hits += usize::from(assassin::kill(&[], &point, &words).hit);
        if turn % 2 == 0 {
            drop(guest.vserver(&["stop"]));
        } else {
            guest.start();
            assert!(has(DEVICE, "192.0.2.11") && has("tap7", "198.51.101.1"));
            guest.stop();
        }
        assert_eq!(everything(), before, "killed at {point:?}");
    }
    assert!(hits > 7, "{hits} of 14 points were reached");
}
