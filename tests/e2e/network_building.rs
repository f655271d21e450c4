//! `vserver NAME build --interface …`: a guest that is reached and reaches out, on a host with one device.

use std::path::Path;

use vserver_e2e::command::{Program, host, vserver};
use vserver_e2e::netprobe::{self, At};
use vserver_e2e::outside::WORLD;
use vserver_e2e::{Guest, Image, Mode, Outside, Spec};

pub fn specs() -> Vec<Spec> {
    // The program that asks and answers knows the numbers of one architecture.
    if cfg!(not(target_arch = "x86_64")) {
        return Vec::new();
    }
    vec![Spec::new("network_of_a_guest_that_was_built", built)]
}

fn built(mode: Mode) {
    let outside = Outside::connect();
    Image::Busybox.unpack(Path::new("/tmp/t/root"));
    host("tar", &["-C", "/tmp/t/root", "-cf", "/tmp/t/image.tar", "."]).ok();
    let words = "web build --context 105 --hostname web.example.org --interface www=e2e0:192.0.2.31/24 \
                 --interface e2e0:[2001:db8::31]/64 -m template -- -t /tmp/t/image.tar";
    Program::named("vserver").args(&words.split_whitespace().collect::<Vec<_>>()).run().ok();
    let guest = Guest { name: "web".into(), xid: 105 };
    if mode == Mode::Classic {
        std::fs::remove_file(guest.configuration("spaces/user")).expect("new guests are shifted");
    }
    netprobe::plant(&guest);
    assert!(!guest.start().err().contains("warning: no address"));
    host("ip", &["-o", "address", "show", "dev", "e2e0"]).ok().says("192.0.2.31/24").says("e2e0:www");
    let _servers = [
        At::Outside(&outside).serve("tcp", "::", 80, "world"),
        At::Guest(&guest).serve("tcp", "0.0.0.0", 80, "web"),
        At::Guest(&guest).serve("tcp", "2001:db8::31", 80, "web"),
    ];
    for (own, world) in ["192.0.2.31", "2001:db8::31"].iter().zip(WORLD) {
        At::Outside(&outside).reaches("tcp", own, 80, "web peer=");
        let said = At::Guest(&guest).reaches("tcp", world, 80, "world peer=");
        assert!(said.contains(&format!("{own},")), "not from its own address: {said}");
    }
    vserver(&["--silent", "web", "delete"]).ok();
    assert!(!host("ip", &["-o", "address"]).out().contains("192.0.2.31"));
}
