//! Routes.

use std::net::IpAddr;

use netlink_packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::{Attributes, Netlink, Raw};
use crate::{Blame as _, Result};

/// A route with one way, as the kernel lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The network: its first address and the length of its prefix. `None`: all addresses.
    pub destination: Option<(IpAddr, u8)>,
    /// IPv6 rather than IPv4.
    pub ipv6: bool,
    /// The next router.
    pub gateway: Option<IpAddr>,
    /// Number of the device.
    pub device: Option<u32>,
    /// The source address that it prefers.
    pub source: Option<IpAddr>,
    /// The smaller one of two routes to one network wins.
    pub metric: Option<u32>,
    /// 254 main, 255 local.
    pub table: u32,
    /// `RTN_*` of `<linux/rtnetlink.h>`: 1 unicast, 2 local, 3 broadcast.
    pub kind: u8,
    /// `RTPROT_*`: 2 the kernel by itself, 3 boot, 4 an administrator.
    pub protocol: u8,
    /// `RT_SCOPE_*`: 0 universe, 253 link, 254 host.
    pub scope: u8,
}

/// A route to add to the main table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewRoute {
    /// The network: an address of it and the length of its prefix. `None`: all addresses of the gateway's family.
    pub destination: Option<(IpAddr, u8)>,
    /// The next router.
    pub gateway: Option<IpAddr>,
    /// Number of the device.
    pub device: Option<u32>,
    /// The source address that it prefers.
    pub source: Option<IpAddr>,
    /// The smaller one of two routes to one network wins.
    pub metric: Option<u32>,
    /// The gateway counts as reachable on the device, whatever its address.
    pub onlink: bool,
}

/// `RTM_NEWROUTE`, `RTA_*` of `<linux/rtnetlink.h>`.
mod number {
    pub(super) const NEWROUTE: u16 = 24;
    pub(super) const DST: u16 = 1;
    pub(super) const OIF: u16 = 4;
    pub(super) const GATEWAY: u16 = 5;
    pub(super) const PRIORITY: u16 = 6;
    pub(super) const PREFSRC: u16 = 7;
    pub(super) const TABLE: u16 = 15;
}

impl Route {
    fn read(raw: &Raw) -> Option<Self> {
        const HEADER: usize = 12;
        let header = raw.payload.get(..HEADER).filter(|_| raw.kind == number::NEWROUTE)?;
        let ipv6 = match i32::from(header[0]) {
            libc::AF_INET => false,
            libc::AF_INET6 => true,
            // Multicast routing and label switching have tables of their own.
            _ => return None,
        };
        let attributes = Attributes(&raw.payload[HEADER..]);
        Some(Self {
            destination: attributes.ip(number::DST).map(|ip| (ip, header[1])),
            ipv6,
            gateway: attributes.ip(number::GATEWAY),
            device: attributes.u32(number::OIF),
            source: attributes.ip(number::PREFSRC),
            metric: attributes.u32(number::PRIORITY),
            table: attributes.u32(number::TABLE).unwrap_or_else(|| header[4].into()),
            protocol: header[5],
            scope: header[6],
            kind: header[7],
        })
    }
}

impl NewRoute {
    fn message(&self) -> RouteMessage {
        let mut message = RouteMessage::default();
        let some = self.destination.map(|(ip, _)| ip).or(self.gateway).or(self.source);
        let ipv6 = some.is_some_and(|ip| ip.is_ipv6());
        let header = &mut message.header;
        header.address_family = if ipv6 { AddressFamily::Inet6 } else { AddressFamily::Inet };
        header.table = RouteHeader::RT_TABLE_MAIN;
        header.protocol = RouteProtocol::Static;
        header.kind = RouteType::Unicast;
        header.scope = if self.gateway.is_none() && !ipv6 { RouteScope::Link } else { RouteScope::Universe };
        if self.onlink {
            header.flags = RouteFlags::Onlink;
        }
        let attributes = &mut message.attributes;
        if let Some((ip, prefix)) = self.destination {
            header.destination_prefix_length = prefix;
            attributes.push(RouteAttribute::Destination(RouteAddress::from(ip)));
        }
        attributes.extend(self.gateway.map(|ip| RouteAttribute::Gateway(RouteAddress::from(ip))));
        attributes.extend(self.source.map(|ip| RouteAttribute::PrefSource(RouteAddress::from(ip))));
        attributes.extend(self.device.map(RouteAttribute::Oif));
        attributes.extend(self.metric.map(RouteAttribute::Priority));
        message
    }
}

impl std::fmt::Display for NewRoute {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.destination {
            Some((ip, prefix)) => write!(f, "{ip}/{prefix}")?,
            None => f.write_str("default")?,
        }
        self.gateway.map_or(Ok(()), |gateway| write!(f, " via {gateway}"))
    }
}

impl Netlink {
    /// All routes of both families in all tables. A route with several ways tells none of them.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn routes(&mut self) -> Result<Vec<Route>> {
        let answers = self
            .dump(&RouteNetlinkMessage::GetRoute(RouteMessage::default()))
            .map_err(|refused| refused.on("rtnetlink(7)", "the list of routes"))?;
        Ok(answers.iter().filter_map(Route::read).collect())
    }

    /// The routes of the main table alone: the kernel does not even look at the others, of which there are some for each
    /// address. Before Linux 4.20 it looks at all of them.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn main_routes(&mut self) -> Result<Vec<Route>> {
        const MAIN: u32 = 254;
        let strict = self.socket.set_netlink_get_strict_chk(true).is_ok();
        let mut routes = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut message = RouteMessage::default();
            message.header.address_family = family;
            message.header.table = RouteHeader::RT_TABLE_MAIN;
            match self.dump(&RouteNetlinkMessage::GetRoute(message)) {
                Ok(answers) => routes.extend(answers.iter().filter_map(Route::read)),
                // ENOENT: no such table, as no route was ever put into it. Others: a kernel without the family.
                Err(refused)
                    if matches!(refused.source.raw_os_error(), Some(libc::ENOENT | libc::EOPNOTSUPP)) => {}
                Err(refused) => return Err(refused.on("rtnetlink(7)", "the list of routes")),
            }
        }
        if strict {
            self.socket.set_netlink_get_strict_chk(false).blame("setsockopt(2)", "rtnetlink")?;
        }
        routes.retain(|route| route.table == MAIN);
        Ok(routes)
    }

    /// Number of the device that has this address, by the route that the kernel keeps for it: a question that does not grow
    /// with the number of addresses. `None`: no device has it, or one that is down, or somebody's rules lead elsewhere.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn carrier(&mut self, ip: IpAddr) -> Result<Option<u32>> {
        /// `RTN_LOCAL`. The table is no sign: the kernel keeps IPv4's local one and the main one in one tree.
        const LOCAL: u8 = 2;
        let mut message = RouteMessage::default();
        let family = if ip.is_ipv6() { AddressFamily::Inet6 } else { AddressFamily::Inet };
        message.header.address_family = family;
        message.header.destination_prefix_length = if ip.is_ipv6() { 128 } else { 32 };
        // The entry itself: without this the answer is the loopback device, by which the host reaches it.
        message.header.flags = RouteFlags::FibMatch;
        message.attributes.push(RouteAttribute::Destination(RouteAddress::from(ip)));
        match self.transact(RouteNetlinkMessage::GetRoute(message), NLM_F_ACK) {
            Ok((answers, _)) => {
                let routes = answers.iter().filter_map(Route::read);
                Ok(routes.filter(|route| route.kind == LOCAL).find_map(|route| route.device))
            }
            // ENETUNREACH, EHOSTUNREACH, a rule that prohibits: nobody has it.
            Err(refused) if refused.source.raw_os_error().is_some() => Ok(None),
            Err(refused) => Err(refused.on("rtnetlink(7)", &format!("the route to {ip}"))),
        }
    }

    /// Adds a route to the main table. `EEXIST`: it is there; `ENETUNREACH`: the gateway is not on a known network.
    ///
    /// # Errors
    /// As above, or what else the kernel says.
    pub fn add_route(&mut self, new: &NewRoute) -> Result<()> {
        self.command(RouteNetlinkMessage::NewRoute(new.message()), NLM_F_CREATE | NLM_F_EXCL)
            .map_err(|refused| refused.on("rtnetlink(7)", &format!("new route {new}")))
    }

    /// Removes a route of the main table. `ESRCH`: there is none.
    ///
    /// # Errors
    /// As above, or what else the kernel says.
    pub fn delete_route(&mut self, route: &NewRoute) -> Result<()> {
        self.command(RouteNetlinkMessage::DelRoute(route.message()), 0)
            .map_err(|refused| refused.on("rtnetlink(7)", &format!("route {route}")))
    }
}
