//! Guests with a network namespace: `spaces/net` and `netns/` (S72, S73, S74), complete before the guest's first process.

use std::fs;
use std::path::Path;

use vserver_e2e::command::{host, tool};
use vserver_e2e::outside::{DEVICE, WORLD, ip};
use vserver_e2e::{Guest, Mode, Outside, Spec, soon};

pub fn specs() -> Vec<Spec> {
    vec![
        Spec::new("s72_a_named_namespace_by_the_seed", by_the_seed),
        Spec::new("s72_interfaces_are_complete_when_the_guest_begins", complete),
        Spec::new("s72_a_port_of_a_bridge", bridge),
        Spec::new("s72_macvlan_on_the_hosts_device", macvlan),
        Spec::new("s72_a_device_is_lent_and_comes_back", lent),
        Spec::new("s72_a_shared_namespace_is_left_alone", shared),
        Spec::new("s72_two_guests_in_one_namespace", joined),
        Spec::new("s72_what_cannot_be_made_is_taken_back", refused),
        Spec::new("s73_the_old_recipe", old_recipe),
        Spec::new("s74_names_that_are_too_long", long_names),
    ]
}

/// A guest that runs a shell loop as its own init and may configure its network.
fn plain(name: &str, mode: Mode) -> Guest {
    let guest = Guest::busybox(name, mode).style("plain").make();
    guest.set("bcapabilities", "NET_ADMIN\nNET_RAW\n");
    guest.set("apps/init/cmd.start", "/bin/sleep\n100000\n");
    guest.set("apps/init/killseq", "9\n");
    guest.set("apps/vshelper/sync-timeout", "1\n");
    guest
}

fn netns(guest: &Guest, key: &str, lines: &[(&str, &str)]) {
    for (item, text) in lines {
        guest.set(&format!("netns/interfaces/{key}/{item}"), &format!("{text}\n"));
    }
}

/// `ip netns` has made the directory a mount point, as it always does; the trial gives it back.
fn put_netns_away() {
    host("umount", &["/run/netns"]).ok();
    fs::remove_dir("/run/netns").expect("no name is left in it");
}

fn exists(device: &str) -> bool {
    host("ip", &["link", "show", device]).exit() == 0
}

/// The seed's lines, with the two slips in its paths put right.
fn by_the_seed(mode: Mode) {
    let guest = plain("test", mode);
    let line = "cd /etc/vservers/test; mkdir spaces 2>/dev/null; touch spaces/net; touch noncontext; \
                mkdir -p netns/interfaces/0; echo myiface0 > netns/interfaces/0/guest; \
                echo veth-host > netns/interfaces/0/host";
    host("sh", &["-c", line]).ok();
    guest.start();
    guest.sh("ip -o link").ok().says("lo:").says("myiface0@");
    assert!(!guest.sh("ip -o link").out().contains("veth-host"));
    host("ip", &["netns", "list"]).ok().says("test");
    host("ip", &["-o", "link", "show", "veth-host"]).ok();
    let inside = guest.sh("readlink /proc/self/ns/net").out();
    assert_eq!(host("ip", &["netns", "exec", "test", "readlink", "/proc/self/ns/net"]).out(), inside);
    // The guest configures its own end, the administrator the other.
    guest.sh("ip address add 10.1.1.2/24 dev myiface0 && ip link set myiface0 up").ok();
    ip(&["address", "add", "10.1.1.1/24", "dev", "veth-host"]);
    ip(&["link", "set", "veth-host", "up"]);
    guest.sh("ping -c 1 -W 5 10.1.1.1 && ping -c 1 -W 5 127.0.0.1").ok();
    host("busybox", &["ping", "-c", "1", "-W", "5", "10.1.1.2"]).ok();
    guest.stop();
    assert!(!exists("veth-host"));
    host("ip", &["netns", "list"]).ok().says_exactly("");
    put_netns_away();
}

/// The first process of the guest finds everything: addresses, routes, lengths.
fn complete(mode: Mode) {
    let _outside = Outside::connect();
    fs::write("/proc/sys/net/ipv4/ip_forward", "1").expect("the network is ours");
    let guest = plain("test", mode);
    guest.set("spaces/net", "");
    netns(
        &guest,
        "0",
        &[
            ("guest", "eth0"),
            ("address", "10.1.1.2/24\n2001:db8:1::2/64"),
            ("host-address", "10.1.1.1/24\n2001:db8:1::1/64"),
            ("gateway", "10.1.1.1\n2001:db8:1::1"),
            ("mtu", "1400"),
            ("mac", "02:00:00:00:01:02"),
        ],
    );
    // A router that is no neighbour by its address: a host route.
    netns(
        &guest,
        "1",
        &[("address", "10.2.2.2"), ("host-address", "10.2.2.1/32"), ("route", "10.3.0.0/16 via 10.2.2.1")],
    );
    guest.set("nonetns", "");
    guest.start();
    guest.sh("ip -o link").ok().says("lo:");
    assert_eq!(guest.sh("ip -o link").out().lines().count(), 1, "an anonymous one without interfaces");
    guest.stop();
    fs::remove_file(guest.configuration("nonetns")).expect("it was just made");
    guest.set("apps/init/cmd.start", "/bin/sh\n-c\n(ip -o address; ip route; ip -6 route; cat /sys/class/net/eth0/mtu) > /seen 2>&1; exec sleep 100000\n");
    guest.start();
    soon("the guest has its routes", || guest.file("/seen").contains("default via 2001:db8:1::1"));
    let seen = guest.file("/seen");
    for part in [
        "inet 10.1.1.2/24",
        "inet6 2001:db8:1::2/64",
        "default via 10.1.1.1 dev eth0",
        "10.3.0.0/16 via 10.2.2.1 dev geth0",
        "default via 2001:db8:1::1 dev eth0",
        "127.0.0.1/8",
    ] {
        assert!(seen.contains(part), "{part} is missing:\n{seen}");
    }
    guest.sh("ip link show eth0").ok().says("mtu 1400").says("02:00:00:00:01:02").says(",UP");
    // Names after the context number on the host's side.
    assert!(exists("v105.0") && exists("v105.1"));
    ip(&["route", "add", "10.77.0.0/16", "dev", "v105.0"]);
    guest.sh("ping -c 1 -W 5 10.1.1.1").ok();
    guest.stop();
    assert!(!exists("v105.0") && !exists("v105.1"));
    put_netns_away();
}

fn bridge(mode: Mode) {
    let outside = Outside::connect();
    ip(&["link", "add", "br0", "type", "bridge"]);
    ip(&["link", "set", "br0", "up"]);
    ip(&["link", "set", DEVICE, "master", "br0"]);
    let guest = plain("test", mode);
    netns(&guest, "0", &[("bridge", "br0"), ("address", "192.0.2.21/24"), ("gateway", WORLD[0])]);
    guest.start();
    host("ip", &["-o", "link", "show", "v105.0"]).ok().says("master br0");
    guest.sh("ping -c 1 -W 5 192.0.2.254").ok();
    outside.program("busybox").args(&["ping", "-c", "1", "-W", "5", "192.0.2.21"]).run().ok();
    guest.stop();
    assert!(!exists("v105.0") && exists("br0"));
    ip(&["link", "delete", "br0"]);
    put_netns_away();
}

fn macvlan(mode: Mode) {
    let outside = Outside::connect();
    let guest = plain("test", mode);
    netns(
        &guest,
        "0",
        &[("type", "macvlan"), ("host", DEVICE), ("guest", "eth0"), ("address", "192.0.2.22/24")],
    );
    guest.start();
    guest.sh("ping -c 1 -W 5 192.0.2.254").ok();
    outside.program("busybox").args(&["ping", "-c", "1", "-W", "5", "192.0.2.22"]).run().ok();
    guest.stop();
    assert!(exists(DEVICE));
    put_netns_away();
}

/// The guest calls it something else in the meantime; it comes back under its own name, also after a sudden end.
fn lent(mode: Mode) {
    let _outside = Outside::connect();
    ip(&["link", "add", "e2e1", "type", "veth", "peer", "name", "e2e2"]);
    let guest = plain("test", mode);
    guest.set("nonetns", "");
    fs::remove_file(guest.configuration("nonetns")).expect("it was just made");
    netns(&guest, "0", &[("type", "phys"), ("host", "e2e1"), ("guest", "wan0"), ("address", "10.1.1.2/24")]);
    guest.start();
    assert!(!exists("e2e1"));
    guest.sh("ip -o link show wan0").ok().says(",UP");
    guest.sh("ip link set wan0 down; ip link set wan0 name stolen; ip link set stolen up").ok();
    guest.stop();
    assert!(exists("e2e1"), "the host's device has not come back");
    guest.start();
    let pid = tool("vserver-info", &["test", "INITPID"]).out();
    host("kill", &["-KILL", pid.trim()]).ok();
    soon("the guard brings the host's device back", || exists("e2e1"));
    ip(&["link", "delete", "e2e1"]);
    put_netns_away();
}

fn shared(mode: Mode) {
    let guest = plain("test", mode);
    guest.set("netns/name", "lan\n");
    guest.set("netns/shared", "");
    let done = guest.vserver(&["start"]);
    assert_ne!(done.exit(), 0);
    done.complains("cannot open the network namespace lan")
        .complains("netns/shared")
        .complains("ip netns add lan");
    ip(&["netns", "add", "lan"]);
    ip(&["netns", "exec", "lan", "ip", "link", "set", "lo", "up"]);
    ip(&["netns", "exec", "lan", "ip", "address", "add", "10.9.9.9/32", "dev", "lo"]);
    guest.start();
    guest.sh("ip -o address").ok().says("10.9.9.9");
    guest.stop();
    host("ip", &["netns", "exec", "lan", "ip", "-o", "address"]).ok().says("10.9.9.9");
    ip(&["netns", "delete", "lan"]);
    put_netns_away();
}

fn joined(mode: Mode) {
    let first = plain("first", mode);
    first.set("spaces/net", "");
    let second = Guest::busybox("second", mode).xid(106).style("plain").make();
    second.set("apps/init/cmd.start", "/bin/sleep\n100000\n");
    second.set("apps/init/killseq", "9\n");
    second.set("apps/vshelper/sync-timeout", "1\n");
    for other in ["105\n", "first\n"] {
        second.set("spaces/net", other);
        let done = second.vserver(&["start"]);
        assert_ne!(done.exit(), 0);
        done.complains("is running whose network namespace could be joined").complains("spaces/net");
        first.start();
        second.start();
        let of = |guest: &Guest| guest.sh("readlink /proc/self/ns/net").out();
        assert_eq!(of(&first), of(&second));
        first.sh("ip address add 10.5.5.5/32 dev lo").ok();
        second.sh("ip -o address").ok().says("10.5.5.5");
        second.stop();
        first.stop();
    }
}

fn refused(mode: Mode) {
    let guest = plain("test", mode);
    ip(&["link", "add", "taken", "type", "bridge"]);
    netns(&guest, "0", &[("host", "good")]);
    netns(&guest, "1", &[("host", "taken")]);
    let done = guest.vserver(&["start"]);
    assert_ne!(done.exit(), 0);
    done.complains("the host has a network device taken already").complains("netns/interfaces/1");
    assert!(exists("taken") && !exists("good"));
    netns(&guest, "1", &[("host", "other"), ("bridge", "nobridge")]);
    let done = guest.vserver(&["start"]);
    assert_ne!(done.exit(), 0);
    done.complains("there is no network device nobridge")
        .complains("netns/interfaces/1")
        .complains("undone: ");
    assert!(!exists("other") && !exists("good"));
    assert!(!Path::new("/run/netns/test").exists());
    ip(&["netns", "add", "test"]);
    fs::remove_file(guest.configuration("netns/interfaces/1/bridge")).expect("it was just made");
    let done = guest.vserver(&["start"]);
    assert_ne!(done.exit(), 0);
    done.complains("a network namespace test exists already").complains("netns/name");
    ip(&["netns", "delete", "test"]);
    ip(&["link", "delete", "taken"]);
    put_netns_away();
}

/// The seed's scripts, which make the pair themselves when the guest is there.
fn old_recipe(mode: Mode) {
    let guest = plain("test", mode);
    guest.set("spaces/net", "");
    guest.set_program(
        "scripts/post-start",
        "#!/bin/sh\n\
         XID=$(cat /etc/vservers/$2/context)\n\
         ip link add veth-c$XID type veth peer name eth-c$XID || exit 1\n\
         PID=$(/run/e2e/bin/vserver-info $2 INITPID)\n\
         ip link set eth-c$XID netns $PID || exit 1\n\
         ip addr add 10.1.1.1/24 dev veth-c$XID\n\
         ip link set veth-c$XID up\n",
    );
    guest.set_program(
        "scripts/post-stop",
        "#!/bin/sh\nXID=$(cat /etc/vservers/$2/context)\nip link del veth-c$XID\n",
    );
    tool("vserver-info", &["test", "XID"]).code(1);
    guest.start();
    guest.sh("ip link set eth-c105 up && ip address add 10.1.1.2/24 dev eth-c105").ok();
    guest.sh("ping -c 1 -W 5 10.1.1.1").ok();
    guest.stop();
    assert!(!exists("veth-c105"));
}

fn long_names(mode: Mode) {
    let guest = plain("a-guest-of-a-long-name", mode);
    netns(&guest, "0", &[("host", "veth-a-guest-of-a-long-name")]);
    let done = guest.vserver(&["start"]);
    assert_ne!(done.exit(), 0);
    done.complains("'veth-a-guest-of-a-long-name' cannot be a device or label: at most 15 bytes")
        .complains("netns/interfaces/0/host:1")
        .complains("the host's end is then called after the context number");
    fs::remove_file(guest.configuration("netns/interfaces/0/host")).expect("it was just made");
    fs::create_dir_all(guest.configuration("netns/interfaces/0")).expect("the configuration is ours");
    guest.start();
    assert!(exists("v105.0"));
    guest.sh("ip -o link").ok().says("geth0");
    guest.stop();
    put_netns_away();
}
