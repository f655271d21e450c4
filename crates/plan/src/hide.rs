//! What a guest in the host's network sees of it: `hide_netif` and the flags of the loopback address.

use std::net::{IpAddr, Ipv4Addr};

use serde::{Deserialize, Serialize};
use vserver_config::guest::{Guest, Interface, Space};
use vserver_model::NetFlags;
use vserver_model::address::default_loopback;
use vserver_model::flags::DEFAULT_NFLAGS;

use crate::netcontext::NetContext;

/// The addresses that a guest sees as its own; devices and routes are those that carry them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// Addresses of the guest's interfaces.
    pub addresses: Vec<IpAddr>,
    /// The same with prefix and device, if the configuration says it of all.
    #[serde(default)]
    pub known: Option<Vec<(IpAddr, u8, String)>>,
    /// The address of `lo`; `None`: the guest has no loopback of its own.
    pub loopback: Option<Ipv4Addr>,
}

impl View {
    /// Of a network context as it is now.
    pub fn of(context: &NetContext) -> Self {
        let lback = || context.lback.unwrap_or_else(|| default_loopback(context.nid));
        Self {
            addresses: context.addresses.iter().map(|address| address.ip).collect(),
            known: None,
            loopback: loopback(NetFlags(context.flags), lback),
        }
    }
}

/// Whether the guest's processes are in the host's network namespace.
pub fn shares_the_network(guest: &Guest) -> bool {
    let own = guest.spaces.net.as_ref().is_some_and(|net| net.value != Space::Off);
    !own && guest.netns.is_none()
}

/// Whether they are in a shadow of it, in which there are only the guest's devices and addresses, and are lent the
/// sockets that they use (`netshadow`).
pub fn in_shadow(guest: &Guest) -> bool {
    guest.netshadow.is_some() && shares_the_network(guest)
}

fn flags(guest: &Guest) -> NetFlags {
    NetFlags(guest.nflags.bits.apply_on(DEFAULT_NFLAGS.0))
}

/// Whether calls that show network devices are answered by the broker. In a network namespace of its own a guest sees
/// nothing else anyway.
pub fn brokered(guest: &Guest) -> bool {
    shares_the_network(guest)
        && (in_shadow(guest) || (guest.noncontext.is_none() && flags(guest).contains(NetFlags::HIDE_NETIF)))
}

/// What the guest sees; `None`: all of the host's network.
pub fn view(guest: &Guest) -> Option<View> {
    brokered(guest).then(|| View {
        addresses: guest.interfaces.list.iter().map(|interface| interface.address.value.ip).collect(),
        known: guest.interfaces.list.iter().map(known).collect(),
        loopback: loopback(flags(guest), || configured_loopback(guest)),
    })
}

/// Address, prefix and device of an interface; the device's alias of old counts as the device.
fn known(interface: &Interface) -> Option<(IpAddr, u8, String)> {
    let address = &interface.address.value;
    let device = interface.dev.as_ref()?.value.to_str()?;
    let device = device.split_once(':').map_or(device, |(device, _)| device);
    (!address.is_any()).then(|| (address.ip, address.effective_prefix(), device.to_owned()))
}

/// `hide_lback`: the guest's loopback address shows as the one that everybody knows.
fn loopback(flags: NetFlags, lback: impl FnOnce() -> Ipv4Addr) -> Option<Ipv4Addr> {
    if !flags.contains(NetFlags::LBACK_REMAP) {
        return flags.contains(NetFlags::LBACK_ALLOW).then_some(Ipv4Addr::LOCALHOST);
    }
    Some(if flags.contains(NetFlags::HIDE_LBACK) { Ipv4Addr::LOCALHOST } else { lback() })
}

/// What `interfaces/lback` says, or the number of the context.
fn configured_loopback(guest: &Guest) -> Ipv4Addr {
    match guest.interfaces.lback.as_ref().map(|lback| lback.value.ip) {
        Some(IpAddr::V4(ip)) => ip,
        _ => guest
            .context
            .as_ref()
            .map_or(Ipv4Addr::LOCALHOST, |context| default_loopback(context.value.into())),
    }
}
