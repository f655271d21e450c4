//! The place of the network in a plan: addresses on the host's devices, the network context, the network namespace.
//!
//! ```text
//!   interfaces/*  ──▶ Step::Interfaces       addresses on devices of the host, taken away again at the end
//!                 ──▶ Step::NetContext   which of them the guest's processes may use
//!   spaces/net, netns/ ──▶ Step::Namespace   before the guest's first process, or together with it
//! ```
//! A guest with a network namespace has no network context unless `ncontext` is there: the namespace confines it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use serde::{Deserialize, Serialize};
use vserver_config::guest::{Guest, Interface, NetnsInterface, Space};
use vserver_model::{Address, CapSet, Mode, Nid, Sourced, StaticRoute, Unshare, Xid};

use crate::netcontext::NetContext;
use crate::rights;
use crate::step::{Step, Warning};

/// One directory below `interfaces/` without `nodev`: what is done to a device of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostAddress {
    /// The file `ip`, and its line.
    pub place: Sourced<()>,
    /// The device.
    pub device: String,
    /// The address with the length of its prefix.
    pub address: Address,
    /// Where broadcasts of its network go.
    pub broadcast: Option<Ipv4Addr>,
    /// `DEV:NAME`
    pub label: Option<String>,
    /// The kernel's number of the scope.
    pub scope: u8,
    /// The other end of a point-to-point link.
    pub peer: Option<IpAddr>,
    /// The device is made as this VLAN of another one.
    pub vlan: Option<Vlan>,
    /// The device is made as a persistent tun or tap device.
    pub tuntap: Option<Tuntap>,
    /// The link is set up.
    pub up: bool,
}

/// A VLAN device `BASE.ID`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vlan {
    /// The device that carries it.
    pub base: String,
    /// Its number.
    pub id: u16,
}

/// A persistent tun or tap device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuntap {
    /// tap rather than tun.
    pub tap: bool,
    /// No checksums.
    pub no_checksum: bool,
    /// Owner, a user id of the host.
    pub uid: Option<u32>,
    /// Owning group.
    pub gid: Option<u32>,
    /// `ARPHRD_*` number.
    pub layer: Option<u32>,
}

/// Whose network stack the guest has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stack {
    /// The host's.
    Host,
    /// One of its own.
    Own(Furnishing),
    /// That of a named namespace which exists already (`netns/shared`).
    Named {
        /// The name.
        name: String,
        /// The file that says so.
        place: Sourced<()>,
    },
    /// That of another running guest.
    Guest {
        /// Its name or context number.
        guest: String,
        /// The file that says so.
        place: Sourced<()>,
    },
}

/// What is done to a network namespace before anybody lives in it. `lo` is set up in any case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Furnishing {
    /// Its name below `/run/netns`; `None`: it has none.
    pub name: Option<String>,
    /// In byte order of their directories.
    pub interfaces: Vec<NamespaceInterface>,
}

/// One directory below `netns/interfaces`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamespaceInterface {
    /// The directory.
    pub place: Sourced<()>,
    /// What the device is.
    pub kind: DeviceKind,
    /// The name on the host's side: of the pair's other end, or of the device that it is made of.
    pub host: String,
    /// The name in the guest.
    pub guest: String,
    /// The longest packet.
    pub mtu: Option<u32>,
    /// The hardware address in the guest.
    pub mac: Option<[u8; 6]>,
    /// The bridge that the host's end becomes a port of.
    pub bridge: Option<String>,
    /// Addresses in the guest.
    pub addresses: Vec<Address>,
    /// Addresses of the host's end.
    pub host_addresses: Vec<Address>,
    /// Routes in the guest.
    pub routes: Vec<StaticRoute>,
    /// Both ends are set up; otherwise that is left to whoever gives them addresses.
    pub up: bool,
}

/// What an interface of a namespace is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeviceKind {
    /// A pair, one end here and one there.
    Veth,
    /// A hardware address of its own on a device of the host.
    Macvlan,
    /// Addresses of its own on a device of the host, with that one's hardware address.
    Ipvlan,
    /// The device itself.
    Phys,
}

impl DeviceKind {
    /// As `type` says it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Veth => "veth",
            Self::Macvlan => "macvlan",
            Self::Ipvlan => "ipvlan",
            Self::Phys => "phys",
        }
    }
}

/// All that a plan says about the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// Addresses on the host's devices.
    pub host_addresses: Vec<HostAddress>,
    /// `None`: the guest's processes are not confined to addresses.
    pub context: Option<NetContext>,
    /// The network stack.
    pub stack: Stack,
    /// What the administrator should know.
    pub warnings: Vec<Warning>,
}

impl fmt::Display for HostAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}", self.address, self.device)
    }
}

impl fmt::Display for Stack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let own = match self {
            Self::Host => return write!(f, "share the host's network"),
            Self::Named { name, .. } => return write!(f, "join the network namespace {name}"),
            Self::Guest { guest, .. } => {
                return write!(f, "join the network namespace of the guest '{guest}'");
            }
            Self::Own(own) => own,
        };
        match &own.name {
            Some(name) => write!(f, "make the network namespace {name}")?,
            None => write!(f, "make a network namespace")?,
        }
        for (number, interface) in own.interfaces.iter().enumerate() {
            let join = if number == 0 { " with" } else { "," };
            write!(f, "{join} {} ({}, host: {})", interface.guest, interface.kind.word(), interface.host)?;
        }
        Ok(())
    }
}

/// Decides everything about the guest's network.
pub fn network(guest: &Guest, xid: Xid, mode: &Mode) -> Network {
    let stack = stack(guest, xid);
    let context = context(guest, xid, mode, &stack);
    let warnings = warnings(guest, context.as_ref(), &stack);
    Network {
        host_addresses: guest.interfaces.list.iter().filter_map(host_address).collect(),
        context,
        stack,
        warnings,
    }
}

impl Network {
    /// The step of `interfaces/`, if there is anything to do.
    pub fn interfaces(&self) -> Option<Step> {
        let loopback_of =
            self.context.as_ref().filter(|context| context.has_own_loopback()).map(|own| own.nid);
        let addresses = self.host_addresses.clone();
        let nothing = addresses.is_empty() && loopback_of.is_none();
        (!nothing).then_some(Step::Interfaces { addresses, loopback_of })
    }

    /// The step that makes or finds a network namespace before there is any process of the guest. A shifted guest's
    /// own one must belong to its user namespace and comes with its first process.
    pub fn namespace(&self, mode: &Mode) -> Option<Step> {
        match &self.stack {
            Stack::Host => None,
            Stack::Own(_) if mode.is_shifted() => None,
            stack => Some(Step::Namespace(stack.clone())),
        }
    }

    /// The other half of [`namespace`](Self::namespace).
    pub fn born_with_the_guest(&self, mode: &Mode) -> Option<Furnishing> {
        match &self.stack {
            Stack::Own(own) if mode.is_shifted() => Some(own.clone()),
            _ => None,
        }
    }
}

fn host_address(interface: &Interface) -> Option<HostAddress> {
    let dev = interface.dev.as_ref().filter(|_| !interface.nodev)?;
    let address = interface.address.value;
    let name = dev.value.to_string_lossy().into_owned();
    let (device, alias) = match name.split_once(':') {
        Some((device, _)) => (device.to_owned(), Some(name.clone())),
        None => (name.clone(), None),
    };
    let label = interface.label.as_ref().map(|label| format!("{name}:{}", label.value.to_string_lossy()));
    let broadcast = match interface.bcast.as_ref().map(|bcast| bcast.value.ip) {
        Some(IpAddr::V4(bcast)) => Some(bcast),
        _ => address.broadcast(),
    };
    Some(HostAddress {
        place: interface.address.as_ref().map(|_| ()),
        address,
        broadcast: broadcast.filter(|_| address.ip.is_ipv4()),
        label: label.or(alias).filter(|_| address.ip.is_ipv4()),
        scope: interface.scope.as_ref().map_or(0, |scope| scope_number(&scope.value)),
        peer: interface.peer.as_ref().map(|peer| peer.value.ip),
        vlan: interface.vlan.then(|| vlan(&device)).flatten(),
        tuntap: interface.tuntap.as_ref().map(|tuntap| Tuntap {
            tap: tuntap.tap,
            no_checksum: tuntap.nocsum,
            uid: tuntap.uid.as_ref().map(|uid| uid.value),
            gid: tuntap.gid.as_ref().map(|gid| gid.value),
            layer: tuntap.linktype.as_ref().map(|layer| layer.value),
        }),
        up: !interface.down,
        device,
    })
}

fn vlan(device: &str) -> Option<Vlan> {
    let (base, id) = device.rsplit_once('.')?;
    Some(Vlan { base: base.to_owned(), id: id.parse().ok()? })
}

/// `RT_SCOPE_*` of `<linux/rtnetlink.h>`.
fn scope_number(word: &str) -> u8 {
    match word {
        "site" => 200,
        "link" => 253,
        "host" => 254,
        "nowhere" => 255,
        number => number.parse().unwrap_or(0), // global
    }
}

fn stack(guest: &Guest, xid: Xid) -> Stack {
    if let Some(netns) = &guest.netns {
        let name = netns.name.to_string_lossy().into_owned();
        if netns.shared {
            let place = Sourced::new((), netns.dir.join("shared"), 0);
            return Stack::Named { name, place };
        }
        let numbered = netns.interfaces.iter().enumerate();
        let interfaces = numbered.map(|(number, one)| namespace_interface(one, number, xid)).collect();
        return Stack::Own(Furnishing { name: Some(name), interfaces });
    }
    match &guest.spaces.net {
        Some(Sourced { value: Space::Own, .. }) => Stack::Own(Furnishing::default()),
        Some(other @ Sourced { value: Space::Of(name), .. }) => {
            Stack::Guest { guest: name.to_string_lossy().into_owned(), place: other.as_ref().map(|_| ()) }
        }
        _ if mask_has_net(guest) => Stack::Own(Furnishing::default()),
        _ => Stack::Host,
    }
}

fn mask_has_net(guest: &Guest) -> bool {
    guest.spaces.mask.as_ref().is_some_and(|mask| mask.value & Unshare::NEWNET.0 != 0)
}

fn namespace_interface(interface: &NetnsInterface, number: usize, xid: Xid) -> NamespaceInterface {
    let kind = match interface.kind.to_str() {
        Some("macvlan") => DeviceKind::Macvlan,
        Some("ipvlan") => DeviceKind::Ipvlan,
        Some("phys") => DeviceKind::Phys,
        // Reading has refused everything else.
        _ => DeviceKind::Veth,
    };
    let values = |list: &[Sourced<Address>]| list.iter().map(|address| address.value).collect::<Vec<_>>();
    let mut routes: Vec<StaticRoute> = interface.routes.iter().map(|route| route.value).collect();
    let default = |gateway: &Sourced<Address>| StaticRoute { network: None, router: Some(gateway.value.ip) };
    routes.extend(interface.gateways.iter().map(default));
    // At most 14 bytes, whatever the number of the context: no name of an interface may be longer than 15.
    let default = || format!("v{xid}.{number}");
    let addresses = values(&interface.addresses);
    let host_addresses = values(&interface.host_addresses);
    NamespaceInterface {
        place: interface.place.clone(),
        kind,
        host: interface.host.as_ref().map_or_else(default, |host| host.value.to_string_lossy().into_owned()),
        guest: interface.guest.to_string_lossy().into_owned(),
        mtu: interface.mtu.as_ref().map(|mtu| mtu.value),
        mac: interface.mac.as_ref().map(|mac| mac.value.octets()),
        bridge: interface.bridge.as_ref().map(|bridge| bridge.value.to_string_lossy().into_owned()),
        up: !addresses.is_empty()
            || !host_addresses.is_empty()
            || !routes.is_empty()
            || interface.bridge.is_some(),
        addresses,
        host_addresses,
        routes,
    }
}

/// The network context: absent with `noncontext`, and with a network namespace unless `ncontext` is there.
///
/// `spaces/net` switches it off whatever it says, as ever.
fn context(guest: &Guest, xid: Xid, mode: &Mode, stack: &Stack) -> Option<NetContext> {
    let namespace = *stack != Stack::Host || guest.spaces.net.is_some();
    if guest.noncontext.is_some() || (namespace && guest.ncontext.is_none()) {
        return None;
    }
    let mut context = NetContext::new(nid(guest, xid));
    context.apply_flags(guest.nflags.bits);
    context.apply_capabilities(guest.ncapabilities.bits);
    let v4 = |address: &Sourced<Address>| match address.value.ip {
        IpAddr::V4(ip) => Some(ip),
        IpAddr::V6(_) => None,
    };
    context.lback = guest.interfaces.lback.as_ref().and_then(v4);
    context.bcast = guest.interfaces.bcast.as_ref().and_then(v4);
    for interface in &guest.interfaces.list {
        context.add(interface.address.value);
    }
    let capabilities = rights::capabilities(guest, false);
    context.raw = capabilities.contains(CapSet::NET_RAW);
    context.low_port_uid = match *mode {
        Mode::Shifted { first_id, .. } if capabilities.contains(CapSet::NET_BIND_SERVICE) => Some(first_id),
        _ => None,
    };
    Some(context)
}

/// The number of the network context.
pub fn nid(guest: &Guest, xid: Xid) -> Nid {
    guest.ncontext.as_ref().map_or(Nid::from(xid), |ncontext| ncontext.value)
}

fn warnings(guest: &Guest, context: Option<&NetContext>, stack: &Stack) -> Vec<Warning> {
    let mut warnings = Vec::new();
    let mut warn = |text: &str, place| warnings.push(Warning { text: text.to_owned(), place });
    match context {
        Some(context) if context.is_any() => warn(
            "an address is 0.0.0.0: the guest may use every address of the host",
            Some(guest.dir.join("interfaces")),
        ),
        Some(context) if context.addresses.is_empty() => warn(
            "no address is configured: the guest has no network but its own loopback",
            Some(guest.dir.join("interfaces")),
        ),
        None if *stack == Stack::Host => warn(
            "the guest shares the host's network and is not confined to addresses",
            guest
                .noncontext
                .as_ref()
                .map(|place| &place.file)
                .or_else(|| guest.spaces.net.as_ref().map(|net| &net.file))
                .cloned(),
        ),
        _ => {}
    }
    if *stack != Stack::Host && !guest.interfaces.list.is_empty() {
        warn(
            "the addresses in interfaces/ are put on the host: the guest has a network namespace, whose addresses \
             stand in netns/interfaces",
            Some(guest.dir.join("interfaces")),
        );
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_those_of_the_kernel() {
        let numbers = ["global", "site", "link", "host", "nowhere", "7"].map(scope_number);
        assert_eq!(numbers, [0, 200, 253, 254, 255, 7]);
    }

    #[test]
    fn a_vlan_is_named_after_its_device() {
        assert_eq!(vlan("eth0.42"), Some(Vlan { base: "eth0".into(), id: 42 }));
        assert_eq!(vlan("eth0"), None);
    }
}
