//! Addresses of devices.

use std::net::{IpAddr, Ipv4Addr};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressScope, CacheInfo,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::{Attributes, Netlink, Raw};
use crate::Result;

/// An address of a device, as the kernel lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Number of the device.
    pub device: u32,
    /// The address.
    pub ip: IpAddr,
    /// Length of the prefix of its network.
    pub prefix: u8,
    /// The other end of a point-to-point link.
    pub peer: Option<IpAddr>,
    /// IPv4 broadcasts of its network.
    pub broadcast: Option<Ipv4Addr>,
    /// `DEV:NAME` of old tools; IPv4 only.
    pub label: Option<String>,
    /// How far it is valid: 0 everywhere, 253 the link, 254 this host.
    pub scope: u8,
    /// It came after another one of the same network, and goes with that one unless it is promoted.
    pub secondary: bool,
}

/// An address to add.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewAddress<'a> {
    /// Number of the device.
    pub device: u32,
    /// The address.
    pub ip: IpAddr,
    /// Length of the prefix of its network.
    pub prefix: u8,
    /// The other end of a point-to-point link.
    pub peer: Option<IpAddr>,
    /// IPv4 broadcasts of its network.
    pub broadcast: Option<Ipv4Addr>,
    /// `DEV:NAME`, at most 15 bytes; IPv4 only.
    pub label: Option<&'a str>,
    /// How far it is valid: 0 everywhere, 253 the link, 254 this host.
    pub scope: u8,
    /// IPv6: usable at once, without asking the link whether somebody else has it.
    pub no_duplicate_detection: bool,
    /// IPv6: never chosen as a source by the kernel itself.
    pub deprecated: bool,
}

impl NewAddress<'_> {
    /// An address that is valid everywhere, with nothing besides.
    pub const fn new(device: u32, ip: IpAddr, prefix: u8) -> Self {
        Self {
            device,
            ip,
            prefix,
            peer: None,
            broadcast: None,
            label: None,
            scope: 0,
            no_duplicate_detection: true,
            deprecated: false,
        }
    }
}

/// `RTM_NEWADDR`, `IFA_*` of `<linux/if_addr.h>`.
mod number {
    pub(super) const NEWADDR: u16 = 20;
    pub(super) const ADDRESS: u16 = 1;
    pub(super) const LOCAL: u16 = 2;
    pub(super) const LABEL: u16 = 3;
    pub(super) const BROADCAST: u16 = 4;
    pub(super) const F_SECONDARY: u8 = 1;
}

impl Address {
    fn read(raw: &Raw) -> Option<Self> {
        const HEADER: usize = 8;
        let header = raw.payload.get(..HEADER).filter(|_| raw.kind == number::NEWADDR)?;
        let attributes = Attributes(&raw.payload[HEADER..]);
        // IPv4 always says both; IPv6 says the local one only if there is another end.
        let address = attributes.ip(number::ADDRESS);
        let ip = attributes.ip(number::LOCAL).or(address)?;
        Some(Self {
            device: u32::from_ne_bytes([header[4], header[5], header[6], header[7]]),
            ip,
            prefix: header[1],
            peer: address.filter(|&peer| peer != ip),
            broadcast: match attributes.ip(number::BROADCAST) {
                Some(IpAddr::V4(broadcast)) => Some(broadcast),
                _ => None,
            },
            label: attributes.text(number::LABEL),
            scope: header[3],
            secondary: ip.is_ipv4() && header[2] & number::F_SECONDARY != 0,
        })
    }
}

impl Netlink {
    /// All addresses of all devices.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn addresses(&mut self) -> Result<Vec<Address>> {
        let answers = self
            .dump(&RouteNetlinkMessage::GetAddress(AddressMessage::default()))
            .map_err(|refused| refused.on("rtnetlink(7)", "the list of addresses"))?;
        Ok(answers.iter().filter_map(Address::read).collect())
    }

    /// Adds an address. `EEXIST`: the device has it.
    ///
    /// # Errors
    /// As above, or what else the kernel says.
    pub fn add_address(&mut self, new: &NewAddress<'_>) -> Result<()> {
        let mut message = message(new.device, new.ip, new.prefix, new.peer);
        message.header.scope = AddressScope::from(new.scope);
        let attributes = &mut message.attributes;
        attributes.extend(new.broadcast.map(AddressAttribute::Broadcast));
        attributes.extend(new.label.map(|label| AddressAttribute::Label(label.to_owned())));
        if new.ip.is_ipv6() && new.no_duplicate_detection {
            message.header.flags = AddressHeaderFlags::Nodad;
            attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
        }
        if new.ip.is_ipv6() && new.deprecated {
            let mut lifetimes = CacheInfo::default();
            (lifetimes.ifa_preferred, lifetimes.ifa_valid) = (0, u32::MAX);
            attributes.push(AddressAttribute::CacheInfo(lifetimes));
        }
        self.command(RouteNetlinkMessage::NewAddress(message), NLM_F_CREATE | NLM_F_EXCL)
            .map_err(|refused| refused.on("rtnetlink(7)", &format!("new address {}/{}", new.ip, new.prefix)))
    }

    /// Takes exactly one address from a device. `EADDRNOTAVAIL`: the device does not have it.
    ///
    /// The kernel removes the secondary addresses of the same network with a primary one, unless
    /// [`promotes`] says otherwise.
    ///
    /// # Errors
    /// As above, or what else the kernel says.
    pub fn delete_address(
        &mut self,
        device: u32,
        ip: IpAddr,
        prefix: u8,
        peer: Option<IpAddr>,
    ) -> Result<()> {
        self.command(RouteNetlinkMessage::DelAddress(message(device, ip, prefix, peer)), 0)
            .map_err(|refused| refused.on("rtnetlink(7)", &format!("address {ip}/{prefix}")))
    }
}

fn message(device: u32, ip: IpAddr, prefix: u8, peer: Option<IpAddr>) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = if ip.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    message.header.prefix_len = prefix;
    message.header.index = device;
    message.attributes.push(AddressAttribute::Local(ip));
    message.attributes.push(AddressAttribute::Address(peer.unwrap_or(ip)));
    message
}

/// Where the kernel is told what becomes of secondary addresses when their primary one goes.
fn promotion(device: &str) -> String {
    format!("/proc/sys/net/ipv4/conf/{device}/promote_secondaries")
}

/// Whether a secondary address stays when the primary one of its network is removed: in the calling thread's
/// network namespace, for the device or for all.
pub fn promotes(device: &str) -> bool {
    ["all", device].iter().any(|name| {
        std::fs::read_to_string(promotion(name)).is_ok_and(|text| text.trim_start().starts_with('1'))
    })
}

/// Sets that for one device.
///
/// # Errors
/// No such device, or `/proc/sys` is read-only.
pub fn set_promotes(device: &str, on: bool) -> Result<()> {
    use crate::Blame as _;
    let path = promotion(device);
    std::fs::write(&path, if on { "1" } else { "0" }).blame("write(2)", path)
}
