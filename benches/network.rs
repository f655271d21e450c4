//! What the network costs a guest that shares the host's stack, beside the bare host and other ways to give one a network.
//!
//! One thread owns both ends, so that no scheduling is measured; the clock is the processor time of this process, to
//! which the kernel's part is charged. Where nobody is confined the programs' hooks are switched off, for all of the
//! machine: a guest is confined for its turn alone.

use std::hint::black_box;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd as _, OwnedFd};
use std::process::Command;
use std::time::Duration;

use rustix::net::sockopt;
use rustix::time::{ClockId, clock_gettime};
use vserver_bench::contestant::run as run_command;
use vserver_bench::{Bench, Layout, Outcome, Race, Setting};
use vserver_kernel::bpf::network::{Network, Rules, lback6};
use vserver_kernel::cgroup::{Group, Hierarchies};
use vserver_kernel::mount::{self, NewFs};
use vserver_kernel::ns::{self, Namespaces};
use vserver_model::Nid;

pub const BENCH: Bench = Bench {
    name: "network",
    what: "connections, bytes and datagrams of a confined guest, the host, veth with a bridge, macvlan",
    layouts: &[Layout::Machine],
    run,
};

const DEEDS: [(&str, &str, Deed); 6] = [
    ("conn", "connect, accept, close, 300 times", connections),
    ("rr", "a byte there and back, 2000 times", answers),
    ("stream", "256 MiB over one connection", stream),
    ("bind", "a UDP socket bound to any address, 2000 times", binds),
    ("udp", "a datagram with its address, 4000 times", datagrams),
    ("cudp", "a datagram of a connected socket, 4000 times", connected_datagrams),
];

/// What is measured: between whom, and how long it took.
type Deed = fn(&Side) -> Outcome<Duration>;

/// Who takes part.
struct Side {
    name: &'static str,
    client: OwnedFd,
    server: OwnedFd,
    /// Where the server listens, and where it is found.
    listens: IpAddr,
    found: IpAddr,
    /// Whether guests are confined meanwhile, and both ends are in one.
    guests: bool,
    inside: bool,
}

fn words(fault: impl std::error::Error) -> String {
    std::error::Error::source(&fault).map_or_else(|| fault.to_string(), |why| format!("{fault}: {why}"))
}

fn run(setting: &Setting) -> Outcome {
    let before = ns::open(0, Namespaces::NET).map_err(words)?;
    let bpffs = place_for_pins()?;
    let stage = Stage::new(&bpffs);
    let result = stage.map(|stage| {
        for (name, what, deed) in DEEDS {
            let mut race = Race::new(format!("network: {name}, {what}"));
            for side in &stage.sides {
                race.entry(side.name, || stage.turn(side, deed));
            }
            race.run(setting.rounds).print(&["guest"]);
        }
    });
    ns::enter(before.as_fd(), Namespaces::NET).map_err(words)?;
    rustix::mount::unmount(&bpffs, rustix::mount::UnmountFlags::DETACH).map_err(words)?;
    std::fs::remove_dir(&bpffs).map_err(words)?;
    result
}

fn place_for_pins() -> Outcome<std::path::PathBuf> {
    let place = std::env::temp_dir().join("bench-bpffs");
    std::fs::create_dir_all(&place).map_err(words)?;
    let directory = mount::open_directory(&place).map_err(words)?;
    NewFs::new("bpf").create().and_then(|fs| fs.attach_at(directory.as_fd())).map_err(words)?;
    Ok(place)
}

struct Stage {
    network: Network,
    group: Group,
    sides: Vec<Side>,
    /// Namespaces between others: they end when nobody holds them.
    _between: Vec<OwnedFd>,
}

fn ip(arguments: &str) -> Outcome {
    run_command(Command::new("ip").args(arguments.split(' ')))
}

/// This thread in a new namespace.
fn namespace() -> Outcome<OwnedFd> {
    ns::unshare(Namespaces::NET).map_err(words)?;
    ip("link set lo up")?;
    ns::open(0, Namespaces::NET).map_err(words)
}

fn enter(namespace: &OwnedFd) -> Outcome {
    ns::enter(namespace.as_fd(), Namespaces::NET).map_err(words)
}

const OWN: [&str; 2] = ["10.1.0.11", "10.1.0.12"];

impl Stage {
    fn new(bpffs: &std::path::Path) -> Outcome<Self> {
        let address = |text: &str| text.parse::<IpAddr>().map_err(words);
        let bare = namespace()?;
        let host = namespace()?;
        for space in [&bare, &host] {
            enter(space)?;
            OWN.iter().try_for_each(|address| ip(&format!("address add {address}/24 dev lo")))?;
        }
        ip(&format!("address add {}/128 dev lo", lback6(nid()?)))?;
        let network = Network::open(Some(&bpffs.join("vserver"))).map_err(words)?;
        network.serve_namespace(&[]).map_err(words)?;
        let hierarchies = Hierarchies::discover().map_err(words)?;
        let top = std::env::var("VSERVER_CGROUP_TOP").unwrap_or_else(|_| "vserver-bench".to_owned());
        let group = hierarchies.group(format!("{top}/network"));

        let again = |fd: &OwnedFd| fd.try_clone().map_err(words);
        let side = |name, space: &OwnedFd, listens: &str, found: &str, guests, inside| {
            Ok::<_, String>(Side {
                name,
                client: again(space)?,
                server: again(space)?,
                listens: address(listens)?,
                found: address(found)?,
                guests,
                inside,
            })
        };
        let mut sides = vec![
            side("host", &bare, "0.0.0.0", OWN[0], false, false)?,
            side("beside guests", &host, "0.0.0.0", OWN[0], true, false)?,
            side("guest", &host, "0.0.0.0", OWN[0], true, true)?,
            side("guest, second", &host, "0.0.0.0", OWN[1], true, true)?,
            side("guest, loopback", &host, "0.0.0.0", "127.0.0.1", true, true)?,
        ];
        let mut between = Vec::new();
        for (name, kind) in [("veth+bridge", "bridge"), ("macvlan", "macvlan")] {
            let (client, server, middle) = pair(kind)?;
            between.push(middle);
            sides.push(Side {
                name,
                client,
                server,
                listens: address("0.0.0.0")?,
                found: address("10.3.0.2")?,
                guests: false,
                inside: false,
            });
        }
        Ok(Self { network, group, sides, _between: between })
    }

    /// A group of a guest is made for each turn: its programs go with it.
    fn turn(&self, side: &Side, deed: Deed) -> Outcome<Duration> {
        if !side.guests {
            return deed(side);
        }
        self.group.create().map_err(words)?;
        let result = self.confined(side, deed);
        self.group.remove().map_err(words)?;
        // The kernel takes them away behind our back, and who comes next is not to pay for them.
        std::thread::sleep(Duration::from_millis(30));
        result
    }

    fn confined(&self, side: &Side, deed: Deed) -> Outcome<Duration> {
        let directory = self.group.v2_dir_fd().map_err(words)?.ok_or("there is no cgroup2")?;
        let mut rules = Rules::new(nid()?);
        rules.v4 = OWN.iter().filter_map(|ip| Some((ip.parse().ok()?, 24))).collect();
        self.network.confine(directory.as_fd(), &rules).map_err(words)?;
        let outside = self.group.hierarchies().group(".");
        if side.inside {
            self.group.attach(0).map_err(words)?;
        }
        let result = deed(side);
        if side.inside {
            outside.attach(0).map_err(words)?;
        }
        Network::release(directory.as_fd()).map_err(words)?;
        result
    }
}

fn nid() -> Outcome<Nid> {
    Nid::new(1001).map_err(words)
}

/// Two namespaces on one network, 10.3.0.1 and 10.3.0.2.
fn pair(kind: &str) -> Outcome<(OwnedFd, OwnedFd, OwnedFd)> {
    let ends = [namespace()?, namespace()?];
    let middle = namespace()?;
    if kind == "bridge" {
        ip("link add middle type bridge")?;
    } else {
        // What stands on it works only while there is another end.
        ip("link add middle type veth peer name nobody")?;
        ip("link set nobody up")?;
    }
    ip("link set middle up")?;
    for (number, end) in ends.iter().enumerate() {
        let name = format!("end{number}");
        match kind {
            "bridge" => {
                ip(&format!("link add {name} type veth peer name port{number}"))?;
                ip(&format!("link set port{number} master middle up"))?;
            }
            _ => ip(&format!("link add {name} link middle type macvlan mode bridge"))?,
        }
        let mut links = vserver_kernel::link::Netlink::open().map_err(words)?;
        let index = vserver_kernel::link::device::index_of(&mut links, &name).map_err(words)?;
        let change = vserver_kernel::link::Change { namespace: Some(end.as_fd()), ..Default::default() };
        links.change_link(index, &change).map_err(words)?;
        enter(end)?;
        ip(&format!("address add 10.3.0.{}/24 dev {name}", number + 1))?;
        ip(&format!("link set {name} up"))?;
        enter(&middle)?;
    }
    let [client, server] = ends;
    Ok((client, server, middle))
}

/// Processor time of this process since it began.
fn now() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

fn measured(act: impl FnOnce() -> std::io::Result<()>) -> Outcome<Duration> {
    let begun = now();
    act().map_err(words)?;
    Ok(now().saturating_sub(begun))
}

fn listener(side: &Side) -> Outcome<(TcpListener, SocketAddr)> {
    enter(&side.server)?;
    let listener = TcpListener::bind((side.listens, 0)).map_err(words)?;
    let port = listener.local_addr().map_err(words)?.port();
    enter(&side.client)?;
    Ok((listener, SocketAddr::new(side.found, port)))
}

fn connections(side: &Side) -> Outcome<Duration> {
    let (listener, to) = listener(side)?;
    measured(|| {
        for _ in 0..300 {
            let client = TcpStream::connect(to)?;
            // Ended at once: what waits for late packets would be counted to others.
            sockopt::set_socket_linger(&client, Some(Duration::ZERO))?;
            drop((listener.accept()?, client));
        }
        Ok(())
    })
}

fn connection(side: &Side) -> Outcome<(TcpStream, TcpStream)> {
    let (listener, to) = listener(side)?;
    let client = TcpStream::connect(to).map_err(words)?;
    let (server, _) = listener.accept().map_err(words)?;
    for end in [&client, &server] {
        end.set_nodelay(true).map_err(words)?;
        sockopt::set_socket_linger(end, Some(Duration::ZERO)).map_err(words)?;
    }
    Ok((client, server))
}

fn answers(side: &Side) -> Outcome<Duration> {
    let (mut client, mut server) = connection(side)?;
    measured(|| {
        let mut byte = [0];
        for _ in 0..2000 {
            client.write_all(&byte)?;
            server.read_exact(&mut byte)?;
            server.write_all(&byte)?;
            client.read_exact(&mut byte)?;
        }
        Ok(())
    })
}

fn stream(side: &Side) -> Outcome<Duration> {
    const BYTES: usize = 256 << 20;
    let (mut client, mut server) = connection(side)?;
    client.set_nonblocking(true).map_err(words)?;
    server.set_nonblocking(true).map_err(words)?;
    let (data, mut buffer) = (vec![7_u8; 128 << 10], vec![0_u8; 128 << 10]);
    let some = |result: std::io::Result<usize>| match result {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
        other => other,
    };
    measured(|| {
        let mut got = 0;
        while got < BYTES {
            some(client.write(&data))?;
            got += some(server.read(&mut buffer))?;
        }
        black_box(&buffer);
        Ok(())
    })
}

fn binds(side: &Side) -> Outcome<Duration> {
    enter(&side.client)?;
    measured(|| (0..2000).try_for_each(|_| UdpSocket::bind((side.listens, 0)).map(drop)))
}

fn server(side: &Side) -> Outcome<(UdpSocket, SocketAddr)> {
    enter(&side.server)?;
    let server = UdpSocket::bind((side.listens, 0)).map_err(words)?;
    server.set_read_timeout(Some(Duration::from_secs(2))).map_err(words)?;
    let port = server.local_addr().map_err(words)?.port();
    enter(&side.client)?;
    Ok((server, SocketAddr::new(side.found, port)))
}

fn datagrams(side: &Side) -> Outcome<Duration> {
    let (server, to) = server(side)?;
    let client = UdpSocket::bind((side.listens, 0)).map_err(words)?;
    measured(|| {
        let mut buffer = [0; 64];
        for _ in 0..4000 {
            client.send_to(&buffer, to)?;
            server.recv_from(&mut buffer)?;
        }
        Ok(())
    })
}

fn connected_datagrams(side: &Side) -> Outcome<Duration> {
    let (server, to) = server(side)?;
    let client = UdpSocket::bind((side.listens, 0)).map_err(words)?;
    client.connect(to).map_err(words)?;
    measured(|| {
        let mut buffer = [0; 64];
        for _ in 0..4000 {
            client.send(&buffer)?;
            server.recv(&mut buffer)?;
        }
        Ok(())
    })
}
