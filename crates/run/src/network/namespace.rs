//! Network namespaces: made and furnished before anybody lives in them.
//!
//! That of a classic guest is made by the host, before the scripts of `pre-start`, and the guest's first process is
//! born into it. That of a shifted guest must belong to the guest's user namespace, or its root could not configure
//! it: it comes into being together with the first process, which waits until it is furnished.

use std::os::fd::{BorrowedFd, OwnedFd};

use vserver_kernel::link::{Change, End, Link, LinkKind, Netlink, NewAddress, NewLink, NewRoute, netns};
use vserver_kernel::ns::{self, Namespaces};
use vserver_model::{Address, GuestName, Layout, StaticRoute};
use vserver_plan::network::{DeviceKind, Furnishing, NamespaceInterface, Stack};

use crate::failure::{Doing, Failure};
use crate::network::ledger::{self, Added, Ledger, Part};
use crate::record::{self, Record, State};

/// Where a namespace goes, and who answers for it.
pub struct Place<'a> {
    /// Base directories.
    pub layout: &'a Layout,
    /// The guest.
    pub name: &'a GuestName,
    /// The host's own mount namespace: names and pins are put there.
    pub mounts: BorrowedFd<'a>,
}

/// A namespace for a classic guest, owned by the host.
///
/// # Errors
/// As unshare(2).
pub fn make() -> Result<OwnedFd, Failure> {
    netns::create().doing(|| "make a network namespace".into())
}

/// That of the guest's first process.
///
/// # Errors
/// The process has ended.
pub fn of_process(pid: i32) -> Result<OwnedFd, Failure> {
    ns::open(pid, Namespaces::NET).doing(|| "look into the guest's network namespace".into())
}

/// The namespace that a guest joins.
///
/// # Errors
/// There is none of that name, or no such guest is running.
pub fn find(layout: &Layout, stack: &Stack) -> Result<Option<OwnedFd>, Failure> {
    match stack {
        Stack::Host | Stack::Own(_) => Ok(None),
        Stack::Named { name, place } => {
            let found = netns::open(name).doing(|| format!("open the network namespace {name}"));
            found.map(Some).map_err(|failure| {
                failure.place(&place.file, place.line).hint(format!(
                    "netns/shared says that it exists already; to make it: ip netns add {name}"
                ))
            })
        }
        Stack::Guest { guest, place } => {
            let other = running(layout, guest).ok_or_else(|| {
                Failure::new(format!("no guest '{guest}' is running whose network namespace could be joined"))
                    .place(&place.file, place.line)
                    .hint(format!("start it first: vserver {guest} start"))
            })?;
            let opened = of_process(other.init.pid)?;
            // The number could have been given to another process in the meantime.
            if other.init.is_alive() {
                Ok(Some(opened))
            } else {
                Err(Failure::new(format!("the guest '{guest}' has just ended")))
            }
        }
    }
}

/// A running guest by context number or name.
fn running(layout: &Layout, guest: &str) -> Option<Record> {
    if let Some(record) = guest.parse().ok().and_then(|xid| record::by_xid(layout, xid)) {
        return Some(record);
    }
    match record::state(layout, &GuestName::new(guest).ok()?) {
        State::Running(record) => Some(*record),
        _ => None,
    }
}

/// Puts everything into a namespace and sets `lo` up. What is added to the host goes into the ledger first.
///
/// # Errors
/// What the kernel refused, with the directory that asked for it. What was done until then is in the ledger.
pub fn furnish(place: &Place<'_>, namespace: BorrowedFd<'_>, wanted: &Furnishing) -> Result<(), Failure> {
    let mut inner = Netlink::open_in(namespace).doing(|| "look into the guest's network namespace".into())?;
    set_up(&mut inner, "lo").doing(|| "set lo up in the guest".into())?;
    if wanted.name.is_none() && wanted.interfaces.is_empty() {
        return Ok(());
    }
    let _lock = ledger::lock(place.layout)?;
    let mut ledger = Ledger::load(place.layout, place.name)?;
    let mut host = Netlink::open()?;
    let pin = pin_of(place, wanted);
    // Checked before the ledger speaks of them, as what was there before is never taken away.
    for interface in wanted.interfaces.iter().filter(|interface| interface.kind == DeviceKind::Veth) {
        if host.link(&interface.host)?.is_some() {
            return Err(taken(interface));
        }
    }
    if let Some(Added::Name(name)) = &pin
        && netns::path_of(name).exists()
    {
        let failure = Failure::new(format!("a network namespace {name} exists already"));
        return Err(
            failure.hint("use another name in netns/name, or make a file netns/shared to use that one")
        );
    }
    let part = ledger.part(Part::Namespace);
    part.extend(pin.clone());
    part.extend(wanted.interfaces.iter().filter_map(on_the_host));
    ledger.save(place.layout, place.name)?;
    match &pin {
        Some(Added::Name(name)) => netns::name(place.mounts, name, namespace)
            .doing(|| format!("name the guest's network namespace {name}"))?,
        Some(Added::Pin(path)) => {
            record::make_directory(path.parent().unwrap_or(path))?;
            netns::pin(place.mounts, path, namespace)
                .doing(|| "keep the guest's network namespace".into())?;
        }
        _ => {}
    }
    for interface in &wanted.interfaces {
        let made = put_in(&mut host, &mut inner, namespace, interface);
        let index = made.map_err(|failure| failure.place(&interface.place.file, interface.place.line))?;
        for added in ledger.part(Part::Namespace) {
            match added {
                Added::Device { name, index: known, .. } | Added::Lent { name, index: known, .. }
                    if *name == interface.host =>
                {
                    *known = Some(index);
                }
                _ => {}
            }
        }
    }
    ledger.save(place.layout, place.name)
}

/// What is made outside of the namespace, in words.
pub fn in_words(wanted: &Furnishing) -> Option<String> {
    let name = wanted.name.iter().map(|name| format!("network namespace {name}"));
    let devices = wanted.interfaces.iter().filter_map(on_the_host).map(|added| added.to_string());
    let all: Vec<String> = name.chain(devices).collect();
    (!all.is_empty()).then(|| all.join(", "))
}

/// How the namespace is found again: by its name, or, if a device must be fetched from it, by a file of ours.
fn pin_of(place: &Place<'_>, wanted: &Furnishing) -> Option<Added> {
    let lends = wanted.interfaces.iter().any(|interface| interface.kind == DeviceKind::Phys);
    match &wanted.name {
        Some(name) => Some(Added::Name(name.clone())),
        None => lends.then(|| Added::Pin(ledger::pin_of(place.layout, place.name))),
    }
}

/// What an interface adds to the host.
fn on_the_host(interface: &NamespaceInterface) -> Option<Added> {
    match interface.kind {
        DeviceKind::Veth => {
            Some(Added::Device { name: interface.host.clone(), index: None, kind: "veth".into() })
        }
        // They are in the namespace alone and end with it.
        DeviceKind::Macvlan | DeviceKind::Ipvlan => None,
        DeviceKind::Phys => {
            Some(Added::Lent { name: interface.host.clone(), inside: interface.guest.clone(), index: None })
        }
    }
}

fn taken(interface: &NamespaceInterface) -> Failure {
    Failure::new(format!("the host has a network device {} already", interface.host))
        .place(&interface.place.file, interface.place.line)
        .hint("give the host's end another name")
}

/// Makes one interface; gives the number of what the ledger speaks of.
fn put_in(
    host: &mut Netlink,
    inner: &mut Netlink,
    namespace: BorrowedFd<'_>,
    wanted: &NamespaceInterface,
) -> Result<u32, Failure> {
    let what = || format!("make the {} interface {} of the guest", wanted.kind.word(), wanted.guest);
    let mac = wanted.mac;
    let far = End { namespace: Some(namespace), mac, mtu: wanted.mtu, ..End::named(&wanted.guest) };
    let index = match wanted.kind {
        DeviceKind::Veth => {
            let near = End { mtu: wanted.mtu, ..End::named(&wanted.host) };
            host.create_link(&NewLink { end: near, kind: LinkKind::Veth(far), up: false }).doing(what)?;
            let near = device(host, &wanted.host)?;
            furnish_host_end(host, &near, wanted)?;
            near.index
        }
        DeviceKind::Macvlan => {
            let parent = device(host, &wanted.host)?.index;
            host.create_link(&NewLink { end: far, kind: LinkKind::Macvlan(parent), up: false })
                .doing(what)?;
            0
        }
        DeviceKind::Ipvlan => {
            let parent = device(host, &wanted.host)?.index;
            host.create_link(&NewLink { end: far, kind: LinkKind::Ipvlan(parent), up: false }).doing(what)?;
            0
        }
        DeviceKind::Phys => lend(host, inner, namespace, wanted)?,
    };
    let inside = device(inner, &wanted.guest)?;
    if wanted.up {
        set_up(inner, &wanted.guest).doing(|| format!("set {} up in the guest", wanted.guest))?;
    }
    for address in &wanted.addresses {
        add_address(inner, inside.index, *address)
            .doing(|| format!("give {address} to the guest's {}", wanted.guest))?;
    }
    for route in &wanted.routes {
        let new = new_route(route, inside.index, &wanted.addresses);
        inner.add_route(&new).doing(|| format!("add the route {new} to the guest"))?;
    }
    Ok(index)
}

fn furnish_host_end(host: &mut Netlink, near: &Link, wanted: &NamespaceInterface) -> Result<(), Failure> {
    let name = &wanted.host;
    if let Some(bridge) = &wanted.bridge {
        let bridge = device(host, bridge)?;
        let change = Change { controller: Some(bridge.index), ..Change::default() };
        host.change_link(near.index, &change).doing(|| format!("make {name} a port of {}", bridge.name))?;
    }
    for address in &wanted.host_addresses {
        add_address(host, near.index, *address).doing(|| format!("add {address} to {name}"))?;
    }
    if wanted.up {
        set_up(host, name).doing(|| format!("set {name} up"))?;
    }
    Ok(())
}

/// The host's device itself goes into the namespace.
fn lend(
    host: &mut Netlink,
    inner: &mut Netlink,
    namespace: BorrowedFd<'_>,
    wanted: &NamespaceInterface,
) -> Result<u32, Failure> {
    let what = || format!("move {} into the guest's network namespace", wanted.host);
    let own = device(host, &wanted.host)?;
    host.change_link(own.index, &Change { namespace: Some(namespace), ..Change::default() }).doing(what)?;
    let moved = device(inner, &wanted.host)?;
    let change = Change { name: Some(&wanted.guest), mac: wanted.mac, mtu: wanted.mtu, ..Change::default() };
    inner.change_link(moved.index, &change).doing(what)?;
    Ok(moved.index)
}

fn device(netlink: &mut Netlink, name: &str) -> Result<Link, Failure> {
    netlink.link(name)?.ok_or_else(|| Failure::new(format!("there is no network device {name}")))
}

fn set_up(netlink: &mut Netlink, name: &str) -> Result<(), Failure> {
    let index = device(netlink, name)?.index;
    Ok(netlink.change_link(index, &Change { up: Some(true), ..Change::default() })?)
}

fn add_address(netlink: &mut Netlink, device: u32, address: Address) -> Result<(), Failure> {
    let new = NewAddress {
        broadcast: address.broadcast(),
        ..NewAddress::new(device, address.ip, address.effective_prefix())
    };
    Ok(netlink.add_address(&new)?)
}

fn new_route(route: &StaticRoute, device: u32, addresses: &[Address]) -> NewRoute {
    NewRoute {
        destination: route.network.map(|net| (net.network(), net.effective_prefix())),
        gateway: route.router,
        device: Some(device),
        // A guest with a host address (/32) reaches its router all the same.
        onlink: route
            .router
            .is_some_and(|gateway| !addresses.iter().any(|address| address.network_contains(gateway))),
        ..NewRoute::default()
    }
}
