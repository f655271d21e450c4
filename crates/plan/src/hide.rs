//! What a guest in the host's network sees of it: `hide_netif` and the flags of the loopback address.

use std::net::{IpAddr, Ipv4Addr};

use serde::{Deserialize, Serialize};
use vserver_config::guest::{Guest, Space};
use vserver_model::NetFlags;
use vserver_model::address::default_loopback;
use vserver_model::flags::DEFAULT_NFLAGS;

/// The addresses that a guest sees as its own; devices and routes are those that carry them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// Addresses of the guest's interfaces.
    pub addresses: Vec<IpAddr>,
    /// The address of `lo`; `None`: the guest has no loopback of its own.
    pub loopback: Option<Ipv4Addr>,
}

/// Whether the guest's processes are in the host's network namespace.
pub fn shares_the_network(guest: &Guest) -> bool {
    let own = guest.spaces.net.as_ref().is_some_and(|net| net.value != Space::Off);
    !own && guest.netns.is_none()
}

fn flags(guest: &Guest) -> NetFlags {
    NetFlags(guest.nflags.bits.apply_on(DEFAULT_NFLAGS.0))
}

/// Whether calls that show network devices are answered by the broker. In a network namespace of its own a guest sees
/// nothing else anyway.
pub fn brokered(guest: &Guest) -> bool {
    shares_the_network(guest) && flags(guest).contains(NetFlags::HIDE_NETIF)
}

/// What the guest sees; `None`: all of the host's network.
pub fn view(guest: &Guest) -> Option<View> {
    brokered(guest).then(|| View {
        addresses: guest.interfaces.list.iter().map(|interface| interface.address.value.ip).collect(),
        loopback: loopback(guest, flags(guest)),
    })
}

/// `hide_lback`: the guest's loopback address shows as the one that everybody knows.
fn loopback(guest: &Guest, flags: NetFlags) -> Option<Ipv4Addr> {
    if !flags.contains(NetFlags::LBACK_REMAP) {
        return flags.contains(NetFlags::LBACK_ALLOW).then_some(Ipv4Addr::LOCALHOST);
    }
    if flags.contains(NetFlags::HIDE_LBACK) {
        return Some(Ipv4Addr::LOCALHOST);
    }
    let configured = guest.interfaces.lback.as_ref().and_then(|lback| match lback.value.ip {
        IpAddr::V4(ip) => Some(ip),
        IpAddr::V6(_) => None,
    });
    configured.or_else(|| guest.context.as_ref().map(|context| default_loopback(context.value.into())))
}
