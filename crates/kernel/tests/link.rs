//! Devices, addresses, routes and named namespaces, in network namespaces that each test makes for itself.
#![expect(clippy::unwrap_used, reason = "in a test it is an assertion")]

mod support;

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsFd as _;
use std::process::ExitCode;

use support::{Case, Need};
use vserver_kernel::link::address::{self, NewAddress};
use vserver_kernel::link::device::{Change, End, LinkKind, NewLink};
use vserver_kernel::link::route::NewRoute;
use vserver_kernel::link::tuntap::{self, Tuntap};
use vserver_kernel::link::{self, Netlink, netns};
use vserver_kernel::mount;
use vserver_kernel::ns::{self, Namespaces};

const CASES: &[Case] = &[
    ("a pair of devices is made across two namespaces at once", &[Need::Root], pair),
    ("a device has the number, hardware address and length that were asked for", &[Need::Root], exact),
    ("macvlan, VLAN and bridge", &[Need::Root], kinds),
    ("a kind that does not exist is refused with the kernel's words", &[Need::Root], refusals),
    ("a device changes its name, state and namespace", &[Need::Root], changes),
    ("addresses have all that was asked for and go as they came", &[Need::Root], addresses),
    ("an IPv6 address is usable at once", &[Need::Root], ipv6),
    ("a secondary address survives the primary one if the device promotes it", &[Need::Root], promotion),
    ("routes", &[Need::Root], routes),
    ("persistent tun and tap devices", &[Need::Root], tuntaps),
    ("namespaces with a name are those of ip netns", &[Need::Root], names),
    ("a list of 500 addresses is whole", &[Need::Root], many),
];

fn main() -> ExitCode {
    support::run(CASES)
}

/// The calling thread in a new network namespace with a connection to it.
fn space() -> Netlink {
    ns::unshare(Namespaces::NET).unwrap();
    Netlink::open().unwrap()
}

fn veth<'a>(name: &'a str, peer: &'a str) -> NewLink<'a> {
    NewLink { end: End::named(name), kind: LinkKind::Veth(End::named(peer)), up: true }
}

/// A pair whose ends are both on.
fn linked(netlink: &mut Netlink) -> u32 {
    netlink.create_link(&veth("a", "b")).unwrap();
    let far = link::device::index_of(netlink, "b").unwrap();
    netlink.change_link(far, &Change { up: Some(true), ..Change::default() }).unwrap();
    link::device::index_of(netlink, "a").unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn pair() {
    let mut here = space();
    let other = netns::create().unwrap();
    let mut there = Netlink::open_in(other.as_fd()).unwrap();
    let far = End { namespace: Some(other.as_fd()), index: Some(77), ..End::named("inside") };
    here.create_link(&NewLink {
        end: End { index: Some(55), ..End::named("outside") },
        kind: LinkKind::Veth(far),
        up: false,
    })
    .unwrap();
    assert_eq!(here.link("outside").unwrap().unwrap().kind.as_deref(), Some("veth"));
    assert!(here.link("inside").unwrap().is_none());
    let inside = there.link("inside").unwrap().unwrap();
    assert_eq!((inside.index, inside.up), (77, false));
    assert_eq!(there.link_numbered(77).unwrap().unwrap(), inside);
    let index = here.link("outside").unwrap().unwrap().index;
    here.delete_link(index).unwrap();
    assert!(there.link("inside").unwrap().is_none(), "a pair goes together");
    assert!(here.delete_link(index).unwrap_err().is(libc::ENODEV));
}

fn exact() {
    let mut here = space();
    let mac = [2, 0, 0, 0, 0, 9];
    let end = End { index: Some(1234), mac: Some(mac), mtu: Some(1400), ..End::named("a") };
    here.create_link(&NewLink { end: end.clone(), kind: LinkKind::Veth(End::named("b")), up: false })
        .unwrap();
    let made = here.link("a").unwrap().unwrap();
    assert_eq!(
        (made.index, made.mac.as_slice(), made.mtu, made.up, made.layer),
        (1234, &mac[..], 1400, false, 1)
    );
    let again = here.create_link(&NewLink { end, kind: LinkKind::Veth(End::named("c")), up: false });
    assert!(again.unwrap_err().is(libc::EEXIST));
}

fn kinds() {
    let mut here = space();
    let parent = linked(&mut here);
    here.create_link(&NewLink { end: End::named("br0"), kind: LinkKind::Bridge, up: false }).unwrap();
    let bridge = link::device::index_of(&mut here, "br0").unwrap();
    let other = netns::create().unwrap();
    let away = End { namespace: Some(other.as_fd()), ..End::named("mac0") };
    here.create_link(&NewLink { end: away, kind: LinkKind::Macvlan(parent), up: false }).unwrap();
    let mut there = Netlink::open_in(other.as_fd()).unwrap();
    let macvlan = there.link("mac0").unwrap().unwrap();
    assert_eq!((macvlan.kind.as_deref(), macvlan.parent), (Some("macvlan"), None), "its parent is elsewhere");
    let port = End { controller: Some(bridge), ..End::named("c") };
    here.create_link(&NewLink { end: port, kind: LinkKind::Veth(End::named("d")), up: false }).unwrap();
    assert_eq!(here.link("c").unwrap().unwrap().controller, Some(bridge));
    match here.create_link(&NewLink {
        end: End::named("a.5"),
        kind: LinkKind::Vlan { parent, id: 5 },
        up: false,
    }) {
        Ok(()) => {
            let vlan = here.link("a.5").unwrap().unwrap();
            assert_eq!((vlan.kind.as_deref(), vlan.parent), (Some("vlan"), Some(parent)));
        }
        Err(fault) => assert!(fault.is(libc::EOPNOTSUPP), "{fault}: {}", fault.source),
    }
    let names: Vec<String> = here.links().unwrap().into_iter().map(|link| link.name).collect();
    assert!(
        ["lo", "a", "b", "br0", "c", "d"].iter().all(|name| names.iter().any(|known| known == name)),
        "{names:?}"
    );
}

fn refusals() {
    let mut here = space();
    let fault = here
        .create_link(&NewLink { end: End::named("x"), kind: LinkKind::Macvlan(4711), up: false })
        .unwrap_err();
    assert!(fault.is(libc::ENODEV), "{fault}: {}", fault.source);
    let fault =
        here.add_route(&NewRoute { gateway: Some(ip("192.0.2.1")), ..NewRoute::default() }).unwrap_err();
    assert!(fault.is(libc::ENETUNREACH));
    assert_eq!(
        fault.to_string(),
        "rtnetlink(7) new route default via 192.0.2.1 (Nexthop has invalid gateway)"
    );
}

fn changes() {
    let mut here = space();
    here.create_link(&NewLink { end: End::named("a"), kind: LinkKind::Veth(End::named("b")), up: false })
        .unwrap();
    let index = link::device::index_of(&mut here, "a").unwrap();
    let change =
        Change { name: Some("z"), mac: Some([2, 1, 1, 1, 1, 1]), mtu: Some(1300), ..Change::default() };
    here.change_link(index, &change).unwrap();
    here.change_link(index, &Change { up: Some(true), ..Change::default() }).unwrap();
    let changed = here.link("z").unwrap().unwrap();
    assert_eq!((changed.index, changed.mac[5], changed.mtu, changed.up), (index, 1, 1300, true));
    here.change_link(index, &Change { up: Some(false), ..Change::default() }).unwrap();
    assert!(!here.link("z").unwrap().unwrap().up);
    let other = netns::create().unwrap();
    here.change_link(index, &Change { namespace: Some(other.as_fd()), ..Change::default() }).unwrap();
    assert!(here.link("z").unwrap().is_none());
    let mut there = Netlink::open_in(other.as_fd()).unwrap();
    assert!(there.link("z").unwrap().is_some());
    assert!(!link::is_same(&other, link::own_namespace().unwrap()).unwrap());
    let seen = link::inside(other.as_fd(), || Netlink::open()?.links()).unwrap();
    assert_eq!(seen.len(), 2);
}

fn addresses() {
    let mut here = space();
    let device = linked(&mut here);
    let new = NewAddress {
        broadcast: Some(Ipv4Addr::new(192, 0, 2, 255)),
        label: Some("a:foo"),
        scope: 253,
        ..NewAddress::new(device, ip("192.0.2.7"), 24)
    };
    here.add_address(&new).unwrap();
    assert!(here.add_address(&new).unwrap_err().is(libc::EEXIST));
    let pointed =
        NewAddress { peer: Some(ip("198.51.100.2")), ..NewAddress::new(device, ip("198.51.100.1"), 32) };
    here.add_address(&pointed).unwrap();
    let sixth = NewAddress { deprecated: true, ..NewAddress::new(device, ip("2001:db8::7"), 64) };
    here.add_address(&sixth).unwrap();
    for (address, carrier) in [
        ("192.0.2.7", Some(device)),
        ("198.51.100.1", Some(device)),
        ("2001:db8::7", Some(device)),
        ("192.0.2.8", None),
        ("203.0.113.1", None),
        ("2001:db8::8", None),
        ("2001:db8:1::1", None),
    ] {
        assert_eq!(here.carrier(ip(address)).unwrap(), carrier, "{address}");
    }
    let all = here.addresses().unwrap();
    let seen = all.iter().find(|address| address.ip == new.ip).unwrap();
    assert_eq!(seen.broadcast, new.broadcast);
    assert_eq!((seen.label.as_deref(), seen.scope, seen.prefix, seen.peer), (Some("a:foo"), 253, 24, None));
    assert_eq!(all.iter().find(|address| address.ip == pointed.ip).unwrap().peer, pointed.peer);
    here.delete_address(device, pointed.ip, 32, pointed.peer).unwrap();
    assert!(here.delete_address(device, new.ip, 25, None).unwrap_err().is(libc::EADDRNOTAVAIL));
    here.delete_address(device, new.ip, 24, None).unwrap();
    assert!(here.delete_address(device, new.ip, 24, None).unwrap_err().is(libc::EADDRNOTAVAIL));
    assert!(!here.addresses().unwrap().iter().any(|address| address.ip.is_ipv4()));
}

fn ipv6() {
    let mut here = space();
    let device = linked(&mut here);
    here.add_address(&NewAddress::new(device, ip("2001:db8::7"), 64)).unwrap();
    drop(std::net::TcpListener::bind("[2001:db8::7]:0").unwrap());
    here.delete_address(device, ip("2001:db8::7"), 64, None).unwrap();
    assert!(std::net::TcpListener::bind("[2001:db8::7]:0").is_err());
}

fn promotion() {
    let mut here = space();
    let device = linked(&mut here);
    address::set_promotes("all", false).unwrap();
    for on in [false, true] {
        address::set_promotes("a", on).unwrap();
        assert_eq!(address::promotes("a"), on);
        here.add_address(&NewAddress::new(device, ip("192.0.2.1"), 24)).unwrap();
        here.add_address(&NewAddress::new(device, ip("192.0.2.2"), 24)).unwrap();
        let second = |netlink: &mut Netlink| {
            netlink.addresses().unwrap().into_iter().find(|address| address.ip == ip("192.0.2.2"))
        };
        assert!(second(&mut here).unwrap().secondary);
        here.delete_address(device, ip("192.0.2.1"), 24, None).unwrap();
        assert_eq!(second(&mut here).map(|address| address.secondary), on.then_some(false));
    }
}

fn routes() {
    let mut here = space();
    let device = linked(&mut here);
    here.add_address(&NewAddress::new(device, ip("192.0.2.7"), 24)).unwrap();
    here.add_address(&NewAddress::new(device, ip("2001:db8::7"), 64)).unwrap();
    let routes = [
        NewRoute { gateway: Some(ip("192.0.2.1")), source: Some(ip("192.0.2.7")), ..NewRoute::default() },
        NewRoute { gateway: Some(ip("2001:db8::1")), ..NewRoute::default() },
        NewRoute { destination: Some((ip("198.51.100.0"), 24)), device: Some(device), ..NewRoute::default() },
        NewRoute {
            destination: Some((ip("203.0.113.0"), 24)),
            gateway: Some(ip("10.9.9.9")),
            device: Some(device),
            onlink: true,
            metric: Some(5),
            ..NewRoute::default()
        },
    ];
    for route in &routes {
        here.add_route(route).unwrap();
        assert!(here.add_route(route).unwrap_err().is(libc::EEXIST));
    }
    let all = here.routes().unwrap();
    let first = all.iter().find(|route| route.gateway == Some(ip("192.0.2.1"))).unwrap();
    assert_eq!((first.destination, first.source, first.device), (None, Some(ip("192.0.2.7")), Some(device)));
    assert_eq!((first.table, first.kind, first.protocol, first.ipv6), (254, 1, 4, false));
    assert!(all.iter().any(|route| route.gateway == Some(ip("2001:db8::1")) && route.ipv6));
    assert!(
        all.iter().any(|route| route.destination == Some((ip("203.0.113.0"), 24)) && route.metric == Some(5))
    );
    for route in &routes {
        here.delete_route(route).unwrap();
    }
    assert!(!here.routes().unwrap().iter().any(|route| route.gateway.is_some()));
}

fn tuntaps() {
    let mut here = space();
    let made = tuntap::create(
        "tap9",
        Tuntap { tap: true, owner: Some(1000), group: Some(1000), ..Tuntap::default() },
    );
    match made {
        Err(fault) if fault.is(libc::ENOENT) || fault.is(libc::ENODEV) => {
            assert!(here.link("tap9").unwrap().is_none());
            return;
        }
        other => other.unwrap(),
    }
    tuntap::create("tun9", Tuntap { no_checksum: true, ..Tuntap::default() }).unwrap();
    let again = tuntap::create("tap9", Tuntap { tap: true, ..Tuntap::default() });
    assert!(again.unwrap_err().is(libc::EBUSY));
    for (name, layer) in [("tap9", 1), ("tun9", 0xfffe)] {
        let made = here.link(name).unwrap().unwrap();
        assert_eq!((made.kind.as_deref(), made.layer), (Some("tun"), layer));
        here.delete_link(made.index).unwrap();
    }
}

fn names() {
    let mounts = ns::open(0, Namespaces::MOUNT).unwrap();
    let run = mount::open_directory("/run").unwrap();
    mount::NewFs::new("tmpfs").create().unwrap().attach_at(run.as_fd()).unwrap();
    assert!(netns::open("web1").unwrap_err().is(libc::ENOENT));
    let namespace = netns::create().unwrap();
    netns::name(mounts.as_fd(), "web1", namespace.as_fd()).unwrap();
    assert!(netns::name(mounts.as_fd(), "web1", namespace.as_fd()).unwrap_err().is(libc::EEXIST));
    assert!(link::is_same(netns::open("web1").unwrap(), &namespace).unwrap());
    let listed = std::process::Command::new("ip")
        .args(["netns", "exec", "web1", "ip", "-o", "link"])
        .output()
        .unwrap();
    assert!(listed.status.success(), "{listed:?}");
    assert!(std::process::Command::new("ip").args(["netns", "add", "web2"]).status().unwrap().success());
    netns::open("web2").unwrap();
    for name in ["web1", "web2", "web2"] {
        netns::unname(mounts.as_fd(), name).unwrap();
    }
    assert_eq!(fs::read_dir(netns::DIRECTORY).unwrap().count(), 0);
    fs::write("/run/netns/empty", "").unwrap();
    assert!(netns::open("empty").unwrap_err().is(libc::EINVAL));
}

fn many() {
    let mut here = space();
    let device = linked(&mut here);
    for number in 0..500u32 {
        let ip = Ipv4Addr::from_bits(0x0a00_0001 + number * 7).into();
        here.add_address(&NewAddress::new(device, ip, 8)).unwrap();
    }
    assert_eq!(here.addresses().unwrap().iter().filter(|address| address.ip.is_ipv4()).count(), 500);
}
