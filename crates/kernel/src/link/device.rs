//! Devices: list, make, change, remove.

use std::os::fd::{AsRawFd as _, BorrowedFd};

use netlink_packet_core::{DefaultNla, NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    InfoData, InfoIpVlan, InfoKind, InfoMacVlan, InfoVeth, InfoVlan, IpVlanMode, LinkAttribute, LinkFlags,
    LinkInfo, LinkMessage, MacVlanMode,
};

use super::{Attributes, Netlink, Raw};
use crate::{Fault, Result};

/// A network device as the kernel lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its number in its namespace.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// The kind of a virtual device: `veth`, `bridge`; `None` for hardware and `lo`.
    pub kind: Option<String>,
    /// The hardware address; 6 bytes for Ethernet.
    pub mac: Vec<u8>,
    /// The longest packet, in bytes.
    pub mtu: u32,
    /// `IFF_UP`: an administrator has switched it on.
    pub up: bool,
    /// `ARPHRD_*` of `<net/if_arp.h>`: 1 Ethernet, 772 loopback.
    pub layer: u16,
    /// The device it is made of (`VLAN`, macvlan), or the other end of a veth pair in the same namespace.
    pub parent: Option<u32>,
    /// The bridge or bond that it is a part of.
    pub controller: Option<u32>,
}

/// One new device, without what it is: also the far end of a veth pair.
#[derive(Clone, Debug, Default)]
pub struct End<'a> {
    /// At most 15 bytes. Empty: the kernel chooses.
    pub name: &'a str,
    /// The number that it must get; otherwise the kernel chooses. For the far end of a pair the kernel listens to it
    /// only if the near end has one too (`veth_newlink()`).
    pub index: Option<u32>,
    /// The hardware address; otherwise the kernel chooses.
    pub mac: Option<[u8; 6]>,
    /// The longest packet, in bytes.
    pub mtu: Option<u32>,
    /// It begins its life in this network namespace.
    pub namespace: Option<BorrowedFd<'a>>,
    /// The bridge that it becomes a port of; not for the far end of a pair.
    pub controller: Option<u32>,
}

impl<'a> End<'a> {
    /// With a name only.
    pub fn named(name: &'a str) -> Self {
        Self { name, ..Self::default() }
    }
}

/// A new device.
#[derive(Clone, Debug)]
pub struct NewLink<'a> {
    /// The device itself.
    pub end: End<'a>,
    /// What it is.
    pub kind: LinkKind<'a>,
    /// Switched on at once. The far end of a pair cannot be: it has no other end yet when the kernel makes it.
    pub up: bool,
}

/// What a new device is.
#[derive(Clone, Debug)]
pub enum LinkKind<'a> {
    /// Packets vanish in it.
    Dummy,
    /// Packets go round in it: a device that stands alone, on kernels without dummy ones.
    Ifb,
    /// A bridge.
    Bridge,
    /// A pair; this is the other end.
    Veth(End<'a>),
    /// An own hardware address on the device with this number, in bridge mode: siblings talk to each other.
    Macvlan(u32),
    /// The hardware address of the device with this number is shared; layer 2 mode.
    Ipvlan(u32),
    /// VLAN `id` (1 to 4094) of the device with this number.
    Vlan {
        /// The device.
        parent: u32,
        /// 802.1Q number.
        id: u16,
    },
}

impl LinkKind<'_> {
    /// As the kernel calls it.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Dummy => "dummy",
            Self::Ifb => "ifb",
            Self::Bridge => "bridge",
            Self::Veth(_) => "veth",
            Self::Macvlan(_) => "macvlan",
            Self::Ipvlan(_) => "ipvlan",
            Self::Vlan { .. } => "vlan",
        }
    }

    fn info(&self) -> (InfoKind, Option<InfoData>) {
        match self {
            Self::Dummy => (InfoKind::Dummy, None),
            Self::Ifb => (InfoKind::Ifb, None),
            Self::Bridge => (InfoKind::Bridge, None),
            Self::Veth(peer) => (InfoKind::Veth, Some(InfoData::Veth(InfoVeth::Peer(peer.message())))),
            Self::Macvlan(_) => {
                (InfoKind::MacVlan, Some(InfoData::MacVlan(vec![InfoMacVlan::Mode(MacVlanMode::Bridge)])))
            }
            Self::Ipvlan(_) => {
                (InfoKind::IpVlan, Some(InfoData::IpVlan(vec![InfoIpVlan::Mode(IpVlanMode::L2)])))
            }
            Self::Vlan { id, .. } => (InfoKind::Vlan, Some(InfoData::Vlan(vec![InfoVlan::Id(*id)]))),
        }
    }

    const fn parent(&self) -> Option<u32> {
        match self {
            Self::Macvlan(parent) | Self::Ipvlan(parent) | Self::Vlan { parent, .. } => Some(*parent),
            Self::Dummy | Self::Ifb | Self::Bridge | Self::Veth(_) => None,
        }
    }
}

/// What becomes of an existing device; what is `None` stays as it is.
#[derive(Clone, Debug, Default)]
pub struct Change<'a> {
    /// Another name.
    pub name: Option<&'a str>,
    /// Switch it on or off.
    pub up: Option<bool>,
    /// Another hardware address.
    pub mac: Option<[u8; 6]>,
    /// The longest packet, in bytes.
    pub mtu: Option<u32>,
    /// Part of this bridge; 0: of none.
    pub controller: Option<u32>,
    /// Move it to this network namespace. Its addresses and routes are lost by that.
    pub namespace: Option<BorrowedFd<'a>>,
}

impl End<'_> {
    fn message(&self) -> LinkMessage {
        let mut message = LinkMessage::default();
        message.header.index = self.index.unwrap_or(0);
        let attributes = &mut message.attributes;
        if !self.name.is_empty() {
            attributes.push(LinkAttribute::IfName(self.name.to_owned()));
        }
        attributes.extend(self.mac.map(|mac| LinkAttribute::Address(mac.to_vec())));
        attributes.extend(self.mtu.map(LinkAttribute::Mtu));
        attributes.extend(self.controller.map(LinkAttribute::Controller));
        attributes.extend(self.namespace.map(|namespace| LinkAttribute::NetNsFd(namespace.as_raw_fd())));
        message
    }
}

/// `RTM_NEWLINK`, `IFLA_*` of `<linux/if_link.h>`.
mod number {
    pub(super) const NEWLINK: u16 = 16;
    pub(super) const ADDRESS: u16 = 1;
    pub(super) const IFNAME: u16 = 3;
    pub(super) const MTU: u16 = 4;
    pub(super) const LINK: u16 = 5;
    pub(super) const MASTER: u16 = 10;
    pub(super) const LINKINFO: u16 = 18;
    pub(super) const INFO_KIND: u16 = 1;
    pub(super) const EXT_MASK: u16 = 29;
    pub(super) const LINK_NETNSID: u16 = 37;
    /// `RTEXT_FILTER_SKIP_STATS`: counters are half of each answer.
    pub(super) const SKIP_STATS: u32 = 1 << 3;
}

impl Link {
    fn read(raw: &Raw) -> Option<Self> {
        const HEADER: usize = 16;
        let header = raw.payload.get(..HEADER).filter(|_| raw.kind == number::NEWLINK)?;
        let u32_at =
            |at: usize| u32::from_ne_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let attributes = Attributes(&raw.payload[HEADER..]);
        let elsewhere = attributes.u32(number::LINK_NETNSID).is_some();
        Some(Self {
            index: u32_at(4),
            name: attributes.text(number::IFNAME)?,
            kind: attributes.inside(number::LINKINFO).text(number::INFO_KIND),
            mac: attributes.find(number::ADDRESS).unwrap_or_default().to_vec(),
            mtu: attributes.u32(number::MTU).unwrap_or(0),
            up: u32_at(8) & 1 != 0,
            layer: u16::from_ne_bytes([header[2], header[3]]),
            parent: attributes.u32(number::LINK).filter(|_| !elsewhere),
            controller: attributes.u32(number::MASTER),
        })
    }
}

impl Netlink {
    /// All devices, by ascending number.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn links(&mut self) -> Result<Vec<Link>> {
        let mut message = LinkMessage::default();
        message.attributes.push(skip_stats());
        let answers = self
            .dump(&RouteNetlinkMessage::GetLink(message))
            .map_err(|refused| refused.on("rtnetlink(7)", "the list of network devices"))?;
        let mut links: Vec<Link> = answers.iter().filter_map(Link::read).collect();
        links.sort_by_key(|link| link.index);
        Ok(links)
    }

    /// The device with this name, if there is one.
    ///
    /// # Errors
    /// As the kernel says; that there is none is no error.
    pub fn link(&mut self, name: &str) -> Result<Option<Link>> {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.to_owned()));
        message.attributes.push(skip_stats());
        self.one(message, name)
    }

    /// The device with this number, if there is one.
    ///
    /// # Errors
    /// As the kernel says; that there is none is no error.
    pub fn link_numbered(&mut self, index: u32) -> Result<Option<Link>> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.attributes.push(skip_stats());
        self.one(message, &format!("number {index}"))
    }

    fn one(&mut self, message: LinkMessage, object: &str) -> Result<Option<Link>> {
        match self.transact(RouteNetlinkMessage::GetLink(message), netlink_packet_core::NLM_F_ACK) {
            Ok((answers, _)) => Ok(answers.iter().find_map(Link::read)),
            Err(refused) if refused.source.raw_os_error() == Some(libc::ENODEV) => Ok(None),
            Err(refused) => Err(refused.on("rtnetlink(7)", &format!("network device {object}"))),
        }
    }

    /// Makes a device. `EEXIST`: the name or number is taken; `EOPNOTSUPP`: this kernel has no such kind.
    ///
    /// # Errors
    /// As above, or what else the kernel says.
    pub fn create_link(&mut self, new: &NewLink<'_>) -> Result<()> {
        let mut message = new.end.message();
        if new.up {
            switch(&mut message, true);
        }
        message.attributes.extend(new.kind.parent().map(LinkAttribute::Link));
        let (kind, data) = new.kind.info();
        let mut info = vec![LinkInfo::Kind(kind)];
        info.extend(data.map(LinkInfo::Data));
        message.attributes.push(LinkAttribute::LinkInfo(info));
        self.command(RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL).map_err(|refused| {
            refused.on("rtnetlink(7)", &format!("new {} device {}", new.kind.word(), new.end.name))
        })
    }

    /// Changes a device. A new hardware address may need it to be off; so does a new name before Linux 6.2.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn change_link(&mut self, index: u32, change: &Change<'_>) -> Result<()> {
        let end = End {
            name: change.name.unwrap_or(""),
            index: Some(index),
            mac: change.mac,
            mtu: change.mtu,
            namespace: change.namespace,
            controller: change.controller,
        };
        let mut message = end.message();
        if let Some(up) = change.up {
            switch(&mut message, up);
        }
        self.command(RouteNetlinkMessage::SetLink(message), 0)
            .map_err(|refused| refused.on("rtnetlink(7)", &format!("network device number {index}")))
    }

    /// Takes `IFF_NOARP` off a device that has it by its kind, so that it looks like one on which neighbours are asked for.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn ask_for_neighbours(&mut self, index: u32) -> Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.header.change_mask = LinkFlags::Noarp;
        self.command(RouteNetlinkMessage::SetLink(message), 0)
            .map_err(|refused| refused.on("rtnetlink(7)", &format!("network device number {index}")))
    }

    /// Removes a device, and with it the other end of a pair. `EOPNOTSUPP`: it is hardware.
    ///
    /// # Errors
    /// What the kernel says; that there is none with this number is `ENODEV`.
    pub fn delete_link(&mut self, index: u32) -> Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        self.command(RouteNetlinkMessage::DelLink(message), 0)
            .map_err(|refused| refused.on("rtnetlink(7)", &format!("network device number {index}")))
    }
}

/// The number of a device in the namespace of the calling thread.
///
/// # Errors
/// `ENODEV`: there is none.
pub fn index_of(netlink: &mut Netlink, name: &str) -> Result<u32> {
    let link = netlink.link(name)?;
    link.map(|link| link.index)
        .ok_or_else(|| Fault::from_errno("rtnetlink(7)", format!("network device {name}"), libc::ENODEV))
}

fn switch(message: &mut LinkMessage, up: bool) {
    message.header.change_mask = LinkFlags::Up;
    message.header.flags = if up { LinkFlags::Up } else { LinkFlags::empty() };
}

fn skip_stats() -> LinkAttribute {
    // The library knows no word for this bit.
    LinkAttribute::Other(DefaultNla::new(number::EXT_MASK, number::SKIP_STATS.to_ne_bytes().to_vec()))
}
