//! Sockets of confined guests: who may bind, listen, connect and be reached where. IPv4 and IPv6, TCP and UDP, with a
//! program that makes every call by its number, a 32-bit one, busybox and Python.
//!
//! The host is the trial's network namespace; the world outside is at the other end of its one device.

use vserver_e2e::netprobe::{At, has_32_bits};
use vserver_e2e::outside::{HOST, WORLD};
use vserver_e2e::{Mode, Outside, Spec};

pub fn specs() -> Vec<Spec> {
    // The programs know the numbers of one architecture.
    if cfg!(not(target_arch = "x86_64")) {
        return Vec::new();
    }
    vec![Spec::new("sockets_of_the_host_itself", of_the_host_itself).once()]
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
