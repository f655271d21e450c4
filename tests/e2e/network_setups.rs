//! The set-ups of `docs/network-setups.md`, with the very commands that stand there.

use vserver_e2e::command::{Program, host};
use vserver_e2e::netprobe::{self, At};
use vserver_e2e::outside::{DEVICE, WORLD, ip};
use vserver_e2e::{Guest, Mode, Need, Outside, Spec};

const PAGE: &str = include_str!("../../docs/network-setups.md");

pub fn specs() -> Vec<Spec> {
    if cfg!(not(target_arch = "x86_64")) {
        return Vec::new();
    }
    vec![
        Spec::new("network_setup_shared", shared),
        Spec::new("network_setup_routed", routed),
        Spec::new("network_setup_bridged", bridged),
        Spec::new("network_setup_nat", nat).needs(&[Need::Nat]),
    ]
}

/// Runs the first block of commands under a heading, on a host whose device has another name.
fn follow(heading: &str) {
    let section = PAGE.split_once(&format!("\n## {heading}\n")).expect("the page has it").1;
    let block = section
        .lines()
        .skip_while(|line| !line.starts_with("    "))
        .take_while(|line| line.starts_with("    "));
    let script: String = block.map(|line| format!("{}\n", line.trim()).replace("eth0", DEVICE)).collect();
    assert!(script.ends_with("vserver web start\n"), "{script}");
    let path = "/run/e2e/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    Program::of_host("sh").args(&["-ec", &script]).env("PATH", path).run().ok();
}

fn web(mode: Mode) -> Guest {
    let guest = Guest::busybox("web", mode).make();
    netprobe::plant(&guest);
    guest.vserver(&["running"]).code(1);
    guest
}

/// The guest asks the world, and the world the guest at `address` and `port`.
#[track_caller]
fn both_ways(outside: &Outside, guest: &Guest, own: &str, (address, port): (&str, u16)) {
    let _servers = [
        At::Outside(outside).serve("tcp", "0.0.0.0", 80, "world"),
        At::Guest(guest).serve("tcp", "0.0.0.0", 80, "web"),
    ];
    let said = At::Guest(guest).reaches("tcp", WORLD[0], 80, "world peer=");
    assert!(said.contains(&format!("{own},")), "not from {own}: {said}");
    At::Outside(outside).reaches("tcp", address, port, "web peer=");
}

/// `ip netns` has made the directory a mount point, as it always does; the trial gives it back.
fn put_netns_away() {
    host("umount", &["/run/netns"]).ok();
    std::fs::remove_dir("/run/netns").expect("no name is left in it");
}

fn shared(mode: Mode) {
    let (outside, guest) = (Outside::connect(), web(mode));
    follow("In the host's network");
    both_ways(&outside, &guest, "192.0.2.31", ("192.0.2.31", 80));
    guest.stop();
}

fn routed(mode: Mode) {
    let (outside, guest) = (Outside::connect(), web(mode));
    follow("Routed");
    outside.program("ip").args(&["route", "add", "10.1.1.0/24", "via", "192.0.2.1"]).run().ok();
    both_ways(&outside, &guest, "10.1.1.2", ("10.1.1.2", 80));
    guest.stop();
    put_netns_away();
}

fn bridged(mode: Mode) {
    let (outside, guest) = (Outside::connect(), web(mode));
    follow("Bridged");
    both_ways(&outside, &guest, "192.0.2.33", ("192.0.2.33", 80));
    guest.stop();
    ip(&["link", "delete", "br0"]);
    put_netns_away();
}

fn nat(mode: Mode) {
    let (outside, guest) = (Outside::connect(), web(mode));
    follow("Behind the host's address (NAT)");
    both_ways(&outside, &guest, "192.0.2.1", ("192.0.2.1", 8080));
    guest.stop();
    put_netns_away();
}
