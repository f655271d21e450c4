//! A host with two guests and a world outside, in network namespaces of the test's own.
//!
//! A socket keeps the group that it was made in, so that one process can play everybody: it moves, makes a socket and
//! moves on. TCP connections are made by the kernel without the listener's help.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd as _, OwnedFd};
use std::process::Command;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use vserver_kernel::bpf::network::{Network, Rules, lback6};
use vserver_kernel::cgroup::{Group, Hierarchies};
use vserver_kernel::link;
use vserver_kernel::mount::{self, NewFs};
use vserver_kernel::ns::{self, Namespaces};
use vserver_model::Nid;

use crate::support;

pub const A4: [&str; 2] = ["10.1.0.11", "10.2.0.12"];
pub const B4: [&str; 2] = ["10.1.0.21", "10.2.0.22"];
pub const A6: [&str; 2] = ["fd01::11", "fd02::12"];
pub const B6: [&str; 2] = ["fd01::21", "fd02::22"];
pub const HOST4: &str = "10.1.0.1";
pub const HOST6: &str = "fd01::1";
pub const OUTSIDE4: &str = "10.1.0.100";
pub const OUTSIDE6: &str = "fd01::100";
/// In the networks of the guests' second addresses.
pub const OUTSIDE4_2: &str = "10.2.0.100";
pub const OUTSIDE6_2: &str = "fd02::100";

/// Somebody who uses sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    Host,
    Outside,
    A,
    B,
}

impl Who {
    pub const ALL: [Self; 4] = [Self::Host, Self::Outside, Self::A, Self::B];

    pub fn v4(self) -> [&'static str; 2] {
        match self {
            Self::Host => [HOST4, HOST4],
            Self::Outside => [OUTSIDE4, OUTSIDE4_2],
            Self::A => A4,
            Self::B => B4,
        }
    }

    pub fn v6(self) -> [&'static str; 2] {
        match self {
            Self::Host => [HOST6, HOST6],
            Self::Outside => [OUTSIDE6, OUTSIDE6_2],
            Self::A => A6,
            Self::B => B6,
        }
    }
}

pub struct Scene {
    pub network: Network,
    pub top: Group,
    pub bpffs: tempfile::TempDir,
    pub outside: OwnedFd,
}

pub fn ip(arguments: &str) {
    let output = Command::new("ip").args(arguments.split(' ')).output().unwrap();
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A namespace of its own for this thread, and the one before.
fn new_namespace() -> OwnedFd {
    ns::unshare(Namespaces::NET).unwrap();
    ip("link set lo up");
    ns::open(0, Namespaces::NET).unwrap()
}

impl Scene {
    /// The guests have their rules, and the host serves their any-bound sockets.
    pub fn new() -> Self {
        let scene = Self::without_guests();
        scene.confine(Who::A, &rules(Who::A));
        scene.confine(Who::B, &rules(Who::B));
        scene
    }

    pub fn without_guests() -> Self {
        let outside = new_namespace();
        let host = new_namespace();
        // The device's other end is made in the world outside by the number of a process there: none is left.
        ip("link add eth0 type veth peer name eth1");
        {
            let mut links = link::Netlink::open().unwrap();
            let peer = link::device::index_of(&mut links, "eth1").unwrap();
            let change = link::Change { namespace: Some(outside.as_fd()), ..link::Change::default() };
            links.change_link(peer, &change).unwrap();
        }
        ns::enter(outside.as_fd(), Namespaces::NET).unwrap();
        for address in [OUTSIDE4, OUTSIDE4_2] {
            ip(&format!("address add {address}/24 dev eth1"));
        }
        for address in [OUTSIDE6, OUTSIDE6_2] {
            ip(&format!("address add {address}/64 dev eth1 nodad"));
        }
        ip("link set eth1 up");
        ns::enter(host.as_fd(), Namespaces::NET).unwrap();
        for address in [HOST4, A4[0], A4[1], B4[0], B4[1]] {
            ip(&format!("address add {address}/24 dev eth0"));
        }
        for address in [HOST6, A6[0], A6[1], B6[0], B6[1]] {
            ip(&format!("address add {address}/64 dev eth0 nodad"));
        }
        for nid in [1001, 1002] {
            ip(&format!("address add {}/128 dev lo nodad", lback6(Nid::new(nid).unwrap())));
        }
        ip("link set eth0 up");

        let bpffs = tempfile::tempdir().unwrap();
        let place = mount::open_directory(bpffs.path()).unwrap();
        NewFs::new("bpf").create().unwrap().attach_at(place.as_fd()).unwrap();
        let network = Network::open(Some(&bpffs.path().join("vserver"))).unwrap();
        network.serve_namespace(&[eth0()]).unwrap();
        assert_eq!(network.missing_for(&[eth0()]).unwrap(), []);
        let top = Hierarchies::discover().unwrap().group(support::group_name());
        for who in [Who::A, Who::B] {
            top.child(name(who)).create().unwrap();
        }
        Self { network, top, bpffs, outside }
    }

    pub fn directory(&self, who: Who) -> OwnedFd {
        self.top.child(name(who)).v2_dir_fd().unwrap().unwrap()
    }

    pub fn confine(&self, who: Who, rules: &Rules) {
        self.network.confine(self.directory(who).as_fd(), rules).unwrap();
    }

    pub fn change(&self, who: Who, rules: &Rules) {
        self.network.change(self.directory(who).as_fd(), rules).unwrap();
    }

    /// Does something as somebody, and is the host again.
    pub fn be<T: Send>(&self, who: Who, deed: impl FnOnce() -> T + Send) -> T {
        match who {
            Who::Host => deed(),
            Who::Outside => link::inside(self.outside.as_fd(), || Ok(deed())).unwrap(),
            Who::A | Who::B => {
                self.top.child(name(who)).attach(0).unwrap();
                let result = deed();
                self.top.hierarchies().group(".").attach(0).unwrap();
                result
            }
        }
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.top.hierarchies().group(".").attach(0).unwrap();
        self.top.remove().unwrap();
    }
}

fn name(who: Who) -> &'static str {
    if who == Who::A { "a" } else { "b" }
}

pub fn eth0() -> u32 {
    link::device::index_of(&mut link::Netlink::open().unwrap(), "eth0").unwrap()
}

pub fn rules(who: Who) -> Rules {
    let mut rules = Rules::new(Nid::new(if who == Who::A { 1001 } else { 1002 }).unwrap());
    rules.v4 = who.v4().iter().map(|ip| (ip.parse().unwrap(), 24)).collect();
    rules.v6 = who.v6().iter().map(|ip| (ip.parse().unwrap(), 64)).collect();
    rules
}

pub fn at(ip: &str, port: u16) -> SocketAddr {
    SocketAddr::new(ip.parse().unwrap(), port)
}

/// The errno of a refusal.
pub fn errno<T>(result: io::Result<T>) -> i32 {
    match result {
        Ok(_) => 0,
        Err(error) => error.raw_os_error().unwrap_or_else(|| panic!("{error}")),
    }
}

pub fn listen(ip: &str, port: u16) -> io::Result<TcpListener> {
    TcpListener::bind(at(ip, port))
}

/// A socket before it is bound.
pub fn socket(ip: &str, kind: SocketType) -> OwnedFd {
    let family = match ip.parse().unwrap() {
        IpAddr::V4(_) => AddressFamily::INET,
        IpAddr::V6(_) => AddressFamily::INET6,
    };
    rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, None).unwrap()
}

/// The same as [`listen`], for IPv6 alone.
pub fn listen_only_6(port: u16) -> TcpListener {
    let socket = socket("::", SocketType::STREAM);
    sockopt::set_socket_reuseaddr(&socket, true).unwrap();
    sockopt::set_ipv6_v6only(&socket, true).unwrap();
    rustix::net::bind(&socket, &at("::", port)).unwrap();
    rustix::net::listen(&socket, 16).unwrap();
    socket.into()
}

/// A connection, with a limit: what is dropped on the way would be tried for minutes.
pub fn connect(ip: &str, port: u16) -> io::Result<TcpStream> {
    TcpStream::connect_timeout(&at(ip, port), Duration::from_millis(400))
}

/// What a listener is given within a moment.
pub fn accept(listener: &TcpListener) -> Option<(TcpStream, SocketAddr)> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let wait = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };
    let ready = poll(&mut [PollFd::new(listener, PollFlags::IN)], Some(&wait)).unwrap();
    (ready == 1).then(|| listener.accept().unwrap())
}

pub fn udp(ip: &str, port: u16) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(at(ip, port))?;
    socket.set_read_timeout(Some(Duration::from_millis(200)))?;
    Ok(socket)
}

/// A UDP socket that nobody has bound.
pub fn unbound(ip: &str) -> UdpSocket {
    let socket = UdpSocket::from(socket(ip, SocketType::DGRAM));
    socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    socket
}

/// What a socket is sent within a moment: how many bytes, and from whom.
pub fn receive(socket: &UdpSocket) -> Option<(usize, SocketAddr)> {
    let mut buffer = [0; 64];
    match socket.recv_from(&mut buffer) {
        Ok(got) => Some(got),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
        Err(error) => panic!("{error}"),
    }
}
