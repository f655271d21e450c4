//! Network contexts: what sockets of confined groups may do, in a network namespace of the test's own.
#![expect(clippy::unwrap_used, reason = "in a test it is an assertion")]

mod support;

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::fd::AsFd as _;
use std::process::{Command, ExitCode};

use support::{Case, Need};
use vserver_kernel::bpf::network::{Network, Rules};
use vserver_kernel::cgroup::{Group, Hierarchies};
use vserver_kernel::mount::{self, NewFs};
use vserver_kernel::ns::{self, Namespaces};
use vserver_model::Nid;

const NEEDS: &[Need] = &[Need::Root, Need::CgroupV2, Need::DeviceProgram];
const CASES: &[Case] = &[
    ("a guest binds its own addresses only", NEEDS, own_addresses),
    ("rules are read back, changed and taken away", NEEDS, life),
];

fn main() -> ExitCode {
    support::run(CASES)
}

fn ip(arguments: &str) {
    let done = Command::new("ip").args(arguments.split(' ')).status().unwrap();
    assert!(done.success(), "ip {arguments}");
}

/// The host's network namespace of a test, and two groups in it.
struct Scene {
    network: Network,
    top: Group,
    _bpffs: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        ns::unshare(Namespaces::NET).unwrap();
        ip("link set lo up");
        for address in ["10.1.0.1/24", "10.1.0.11/24", "10.1.0.12/24", "10.1.0.21/24", "10.1.0.22/24"] {
            ip(&format!("address add {address} dev lo"));
        }
        let bpffs = tempfile::tempdir().unwrap();
        let place = mount::open_directory(bpffs.path()).unwrap();
        NewFs::new("bpf").create().unwrap().attach_at(place.as_fd()).unwrap();
        let network = Network::open(Some(&bpffs.path().join("vserver"))).unwrap();
        let top = Hierarchies::discover().unwrap().group(support::group_name());
        for name in ["a", "b"] {
            top.child(name).create().unwrap();
        }
        Self { network, top, _bpffs: bpffs }
    }

    fn confine(&self, name: &str, rules: &Rules) {
        let dir = self.top.child(name).v2_dir_fd().unwrap().unwrap();
        self.network.confine(dir.as_fd(), rules).unwrap();
    }

    fn enter(&self, name: &str) {
        self.top.child(name).attach(0).unwrap();
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.top.hierarchies().group(".").attach(0).unwrap();
        self.top.remove().unwrap();
    }
}

fn rules(name: &str) -> Rules {
    let (nid, addresses) = match name {
        "a" => (1001, ["10.1.0.11", "10.1.0.12"]),
        _ => (1002, ["10.1.0.21", "10.1.0.22"]),
    };
    let mut rules = Rules::new(Nid::new(nid).unwrap());
    rules.v4 = addresses.iter().map(|ip| (ip.parse().unwrap(), 24)).collect();
    rules
}

fn bind(ip: &str, port: u16) -> Result<TcpListener, i32> {
    let ip: IpAddr = ip.parse().unwrap();
    TcpListener::bind(SocketAddr::new(ip, port)).map_err(|error| error.raw_os_error().unwrap())
}

fn own_addresses() {
    let scene = Scene::new();
    scene.confine("a", &rules("a"));
    scene.confine("b", &rules("b"));
    scene.enter("a");
    for own in ["10.1.0.11", "10.1.0.12", "0.0.0.0", "127.0.0.1", "127.0.0.53", "127.0.1.1", "127.3.233.1"] {
        assert!(bind(own, 0).is_ok(), "{own}");
    }
    for foreign in ["10.1.0.1", "10.1.0.21", "127.3.234.1", "127.9.9.9", "224.0.0.251"] {
        assert_eq!(bind(foreign, 0).unwrap_err(), libc::EADDRNOTAVAIL, "{foreign}");
    }
    let listeners = [bind("0.0.0.0", 8080).unwrap(), bind("127.0.0.1", 8080).unwrap()];
    assert_eq!(bind("10.1.0.11", 8080).unwrap_err(), libc::EADDRINUSE);
    scene.enter("b");
    drop([bind("0.0.0.0", 8080).unwrap(), bind("127.0.0.1", 8080).unwrap()]);
    drop(listeners);
}

fn life() {
    let scene = Scene::new();
    let group = scene.top.child("a").v2_dir_fd().unwrap().unwrap();
    let network = &scene.network;
    assert_eq!(network.rules_of(group.as_fd()).unwrap(), None);
    let mut rules = rules("a");
    scene.confine("a", &rules);
    assert!(network.confine(group.as_fd(), &rules).unwrap_err().is(libc::EEXIST));
    assert_eq!(network.rules_of(group.as_fd()).unwrap().as_ref(), Some(&rules));
    rules.v4 = vec![("10.1.0.12".parse().unwrap(), 32), ("10.1.0.1".parse().unwrap(), 24)];
    network.change(group.as_fd(), &rules).unwrap();
    assert_eq!(network.rules_of(group.as_fd()).unwrap().as_ref(), Some(&rules));
    scene.enter("a");
    assert!(bind("10.1.0.1", 0).is_ok());
    assert_eq!(bind("10.1.0.11", 0).unwrap_err(), libc::EADDRNOTAVAIL);
    network.release(group.as_fd()).unwrap();
    assert_eq!(network.rules_of(group.as_fd()).unwrap(), None);
    assert!(network.change(group.as_fd(), &rules).unwrap_err().is(libc::ENOENT));
    assert!(bind("10.1.0.11", 0).is_ok());
    network.sweep().unwrap();
}
