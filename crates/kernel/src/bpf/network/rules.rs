//! What an administrator has granted, and its form in the kernel.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};
use vserver_model::Nid;
use vserver_model::address::default_loopback;

use crate::{Fault, Result};

/// What the processes of one cgroup may use of the network stack that they share with others.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is one word of the administrator's")]
pub struct Rules {
    /// The network context.
    pub nid: Nid,
    /// The guest's IPv4 addresses with their prefix lengths. The first is what an unbound socket sends from if no
    /// address is in the destination's network.
    pub v4: Vec<(Ipv4Addr, u8)>,
    /// The same for IPv6.
    pub v6: Vec<(Ipv6Addr, u8)>,
    /// What 127.0.0.1 of the guest really is; with 127.A.B.C the guest's 127.0.0.0/24 is all of 127.A.B.0/24.
    pub lback: Ipv4Addr,
    /// What `::1` of the guest really is; the host's `lo` must carry it (see [`lback6`]).
    pub lback6: Ipv6Addr,
    /// The broadcast address that may be used besides the own ones; 255.255.255.255 by default.
    pub bcast: Ipv4Addr,
    /// `ip` is 0.0.0.0: addresses are not confined.
    pub any: bool,
    /// A bind to 0.0.0.0 is a bind to the first address and nothing else.
    pub single_ip: bool,
    /// 127.0.0.0/24 and `::1` are the guest's own, at [`lback`](Self::lback) and [`lback6`](Self::lback6).
    pub lback_remap: bool,
    /// The guest is shown 127.0.0.1 where it really is [`lback`](Self::lback).
    pub hide_lback: bool,
    /// The host's 127.0.0.0/8 and `::1` may be used. [`lback_remap`](Self::lback_remap) wins.
    pub lback_allow: bool,
    /// ICMP sockets may be made.
    pub raw_icmp: bool,
    /// Multicast addresses may be bound and received.
    pub multicast: bool,
    /// Raw sockets of any protocol may be made: the guest was granted `CAP_NET_RAW`.
    pub raw: bool,
    /// Who may bind ports below 1024.
    pub low_ports: LowPorts,
    /// UDP ports whose any-bound sockets stay really any-bound, because they must hear broadcasts or multicasts. Two
    /// guests cannot have the same one at a time. At most [`WILDCARD_PORTS_MAX`].
    pub wildcard_udp_ports: Vec<u16>,
}

/// Who may bind ports below 1024.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum LowPorts {
    /// Whoever has `CAP_NET_BIND_SERVICE`, as the kernel has it. For guests without a user namespace.
    ByCapability,
    /// Besides, in a guest with a user namespace, whose capabilities mean nothing for the host's network: its root, which
    /// has this user id of the host, and who holds the capability in this namespace.
    Uid(u32),
}

/// How many [`wildcard_udp_ports`](Rules::wildcard_udp_ports) there can be.
pub const WILDCARD_PORTS_MAX: usize = 16;

/// Ports that need the real wildcard: DHCP (67, 68), `NetBIOS` (137, 138), SSDP (1900), mDNS (5353), LLMNR (5355).
pub const WILDCARD_PORTS: [u16; 7] = [67, 68, 137, 138, 1900, 5353, 5355];

/// The network of the guests' IPv6 loopback addresses: a unique local prefix (RFC 4193) whose identifier spells `vserver`.
pub const LBACK6_NETWORK: (Ipv6Addr, u8) = (Ipv6Addr::new(0xfd76, 0x7365, 0x7276, 0x6572, 0, 0, 0, 0), 64);

/// What `::1` is for a network context: `fd76:7365:7276:6572::NID`, to be put on the host's `lo` with prefix length 128.
///
/// There is no IPv6 network like 127.0.0.0/8 whose addresses are all local. Added as deprecated (`preferred_lft 0`) the
/// host never chooses it as a source by itself.
pub const fn lback6(nid: Nid) -> Ipv6Addr {
    let base = LBACK6_NETWORK.0.to_bits();
    Ipv6Addr::from_bits(base | u128_of(nid.get()))
}

/// `u128::from`, which is not `const`.
const fn u128_of(number: u32) -> u128 {
    number as u128
}

impl Rules {
    /// The rules of a context without any address, with the defaults of its flags.
    pub fn new(nid: Nid) -> Self {
        Self {
            nid,
            v4: Vec::new(),
            v6: Vec::new(),
            lback: default_loopback(nid),
            lback6: lback6(nid),
            bcast: Ipv4Addr::BROADCAST,
            any: false,
            single_ip: false,
            lback_remap: true,
            hide_lback: true,
            lback_allow: false,
            raw_icmp: true,
            multicast: false,
            raw: false,
            low_ports: LowPorts::ByCapability,
            wildcard_udp_ports: WILDCARD_PORTS.to_vec(),
        }
    }

    /// All addresses, IPv4 first, in their order.
    pub fn addresses(&self) -> impl Iterator<Item = (IpAddr, u8)> {
        let v4 = self.v4.iter().map(|(ip, prefix)| (IpAddr::V4(*ip), *prefix));
        v4.chain(self.v6.iter().map(|(ip, prefix)| (IpAddr::V6(*ip), *prefix)))
    }

    fn flags(&self) -> u32 {
        use flag::{
            ANY, HAS_4, HAS_6, HIDE_LBACK, LBACK_ALLOW, LBACK_REMAP, LOW_PORTS_BY_UID, MULTICAST, RAW,
            RAW_ICMP, SHOW_HIDDEN, SINGLE_IP,
        };
        let bits = [
            (self.any, ANY),
            (self.single_ip, SINGLE_IP),
            (self.lback_remap, LBACK_REMAP),
            (self.lback_remap && self.hide_lback, HIDE_LBACK),
            (self.lback_allow, LBACK_ALLOW),
            (self.raw_icmp, RAW_ICMP),
            (self.multicast, MULTICAST),
            (self.raw, RAW),
            (!self.v4.is_empty(), HAS_4),
            (!self.v6.is_empty(), HAS_6),
            (matches!(self.low_ports, LowPorts::Uid(_)), LOW_PORTS_BY_UID),
            (self.hide_lback, SHOW_HIDDEN),
        ];
        bits.into_iter().filter(|(on, _)| *on).fold(0, |all, (_, bit)| all | bit)
    }
}

/// Bits of the configuration's `flags`.
pub(super) mod flag {
    pub const ANY: u32 = 1;
    pub const SINGLE_IP: u32 = 1 << 1;
    pub const LBACK_REMAP: u32 = 1 << 2;
    /// Only set together with `LBACK_REMAP`.
    pub const HIDE_LBACK: u32 = 1 << 3;
    pub const LBACK_ALLOW: u32 = 1 << 4;
    pub const RAW_ICMP: u32 = 1 << 5;
    pub const MULTICAST: u32 = 1 << 6;
    pub const RAW: u32 = 1 << 7;
    pub const HAS_4: u32 = 1 << 8;
    pub const HAS_6: u32 = 1 << 9;
    pub const LOW_PORTS_BY_UID: u32 = 1 << 10;
    /// `hide_lback` as it was given; read by nobody but us.
    pub const SHOW_HIDDEN: u32 = 1 << 11;
}

/// The configuration of a guest as programs read it: offsets in the value of map `config`. Addresses and ports are in
/// the network's byte order.
pub(super) mod at {
    /// u64: the cgroup's number; 0: nothing has been written yet, so everything is denied.
    pub const ID: i16 = 0;
    /// u32, see [`flag`](super::flag).
    pub const FLAGS: i16 = 8;
    /// u32
    pub const NID: i16 = 12;
    /// IPv4 address.
    pub const LBACK: i16 = 16;
    /// Mask of what of the guest's 127.0.0.x is taken over: 0.0.0.255, or 0 for a loopback outside of 127.0.0.0/8.
    pub const LBACK_HOST: i16 = 20;
    /// IPv4 address.
    pub const BCAST: i16 = 24;
    /// IPv4 address that any-bound sockets really have: the first, or the loopback if there is none.
    pub const FIRST_4: i16 = 28;
    /// u32: the user id for low ports.
    pub const LOW_PORT_UID: i16 = 32;
    /// Two u16: how many addresses of each family there are.
    pub const COUNT_4: i16 = 36;
    pub const COUNT_6: i16 = 38;
    /// IPv6 address.
    pub const LBACK_6: i16 = 40;
    /// IPv6 address, as [`FIRST_4`].
    pub const FIRST_6: i16 = 56;
    /// 8 prefix lengths of IPv4 networks to look for, those of a first address's network included; 255 ends it.
    pub const PREFIXES_4: i16 = 72;
    /// The same for IPv6.
    pub const PREFIXES_6: i16 = 80;
    /// 16 ports, as u16; 0 ends it.
    pub const WILDCARD_PORTS: i16 = 88;
    /// Bytes of all.
    pub const SIZE: usize = 120;
    /// The same for the kernel.
    pub const LENGTH: u32 = 120;
}

/// How many different prefix lengths of a family are looked for when a source is chosen.
pub(super) const PREFIXES_MAX: usize = 8;

/// The bytes of an address in keys: IPv4 as `::ffff:a.b.c.d`.
pub(super) fn address_bytes(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

fn put(bytes: &mut [u8], at: i16, value: &[u8]) {
    let at = usize::try_from(at).expect("offsets are positive");
    bytes[at..at + value.len()].copy_from_slice(value);
}

/// Where any-bound IPv4 sockets really are: the first address, else the loopback, else nowhere.
pub(super) fn first_4(rules: &Rules) -> [u8; 4] {
    let lback = rules.lback_remap.then(|| rules.lback.octets());
    rules.v4.first().map(|(ip, _)| ip.octets()).or(lback).unwrap_or_default()
}

/// The same for IPv6.
pub(super) fn first_6(rules: &Rules) -> [u8; 16] {
    let lback = rules.lback_remap.then(|| rules.lback6.octets());
    rules.v6.first().map(|(ip, _)| ip.octets()).or(lback).unwrap_or_default()
}

/// The value of map `config` for these rules and this cgroup.
pub(super) fn config(rules: &Rules, cgroup: u64) -> [u8; at::SIZE] {
    let mut bytes = [0; at::SIZE];
    let to = &mut bytes[..];
    put(to, at::ID, &cgroup.to_ne_bytes());
    put(to, at::FLAGS, &rules.flags().to_ne_bytes());
    put(to, at::NID, &rules.nid.get().to_ne_bytes());
    put(to, at::LBACK, &rules.lback.octets());
    put(to, at::LBACK_HOST, &[0, 0, 0, if rules.lback.is_loopback() { 255 } else { 0 }]);
    put(to, at::BCAST, &rules.bcast.octets());
    put(to, at::FIRST_4, &first_4(rules));
    if let LowPorts::Uid(uid) = rules.low_ports {
        put(to, at::LOW_PORT_UID, &uid.to_ne_bytes());
    }
    let count = |number: usize| u16::try_from(number).unwrap_or(u16::MAX).to_ne_bytes();
    put(to, at::COUNT_4, &count(rules.v4.len()));
    put(to, at::COUNT_6, &count(rules.v6.len()));
    put(to, at::LBACK_6, &rules.lback6.octets());
    put(to, at::FIRST_6, &first_6(rules));
    put(to, at::PREFIXES_4, &prefixes(rules.v4.iter().map(|(_, prefix)| *prefix)));
    put(to, at::PREFIXES_6, &prefixes(rules.v6.iter().map(|(_, prefix)| *prefix)));
    for (slot, port) in
        (at::WILDCARD_PORTS..).step_by(2).zip(rules.wildcard_udp_ports.iter().take(WILDCARD_PORTS_MAX))
    {
        put(to, slot, &port.to_be_bytes());
    }
    bytes
}

/// The different ones, in the order of their first appearance.
pub(super) fn prefixes(all: impl Iterator<Item = u8>) -> [u8; PREFIXES_MAX] {
    let mut found = [255; PREFIXES_MAX];
    let mut used = 0;
    for prefix in all {
        if used < PREFIXES_MAX && !found.contains(&prefix) {
            found[used] = prefix;
            used += 1;
        }
    }
    found
}

fn take<const N: usize>(bytes: &[u8; at::SIZE], from: i16) -> [u8; N] {
    let from = usize::try_from(from).expect("offsets are positive");
    bytes[from..from + N].try_into().expect("inside the value")
}

/// The rules that a value of map `config` and the lists were made from. `None`: the value is still zero.
///
/// `listed` gives the entry of a place and family (4 or 6): a prefix length and an address.
pub(super) fn read(
    bytes: &[u8; at::SIZE],
    listed: impl Fn(u32, u32) -> Result<Option<[u8; 20]>>,
) -> Result<Option<Rules>> {
    if u64::from_ne_bytes(take(bytes, at::ID)) == 0 {
        return Ok(None);
    }
    let number = u32::from_ne_bytes(take(bytes, at::NID));
    let nid = Nid::new(number)
        .map_err(|_| Fault::from_errno("rules of a network context", number, libc::EUCLEAN))?;
    let flags = u32::from_ne_bytes(take(bytes, at::FLAGS));
    let has = |bit| flags & bit != 0;
    let addresses = |family, count| {
        let mut all = Vec::new();
        for place in 0..u32::from(u16::from_ne_bytes(take(bytes, count))) {
            // Somebody changes the rules in this moment: what is there is told.
            let Some(value) = listed(place, family)? else { break };
            let (prefix, address) = value.split_at(4);
            let address: [u8; 16] = address.try_into().expect("16 of 20 bytes");
            let prefix = u32::from_ne_bytes(prefix.try_into().expect("4 of 20 bytes"));
            all.push((Ipv6Addr::from(address), u8::try_from(prefix).unwrap_or(128)));
        }
        Ok::<_, Fault>(all)
    };
    let v4 = addresses(4, at::COUNT_4)?;
    let ports = (at::WILDCARD_PORTS..).step_by(2).take(WILDCARD_PORTS_MAX);
    let ports = ports.map(|slot| u16::from_be_bytes(take(bytes, slot)));
    Ok(Some(Rules {
        nid,
        v4: v4.into_iter().filter_map(|(ip, prefix)| Some((ip.to_ipv4_mapped()?, prefix))).collect(),
        v6: addresses(6, at::COUNT_6)?,
        lback: Ipv4Addr::from(take::<4>(bytes, at::LBACK)),
        lback6: Ipv6Addr::from(take::<16>(bytes, at::LBACK_6)),
        bcast: Ipv4Addr::from(take::<4>(bytes, at::BCAST)),
        any: has(flag::ANY),
        single_ip: has(flag::SINGLE_IP),
        lback_remap: has(flag::LBACK_REMAP),
        hide_lback: has(flag::SHOW_HIDDEN),
        lback_allow: has(flag::LBACK_ALLOW),
        raw_icmp: has(flag::RAW_ICMP),
        multicast: has(flag::MULTICAST),
        raw: has(flag::RAW),
        low_ports: if has(flag::LOW_PORTS_BY_UID) {
            LowPorts::Uid(u32::from_ne_bytes(take(bytes, at::LOW_PORT_UID)))
        } else {
            LowPorts::ByCapability
        },
        wildcard_udp_ports: ports.take_while(|port| *port != 0).collect(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_read_back_as_they_were() {
        let mut rules = Rules::new(Nid::new(1001).unwrap());
        rules.v4 = vec![("192.0.2.1".parse().unwrap(), 24), ("198.51.100.7".parse().unwrap(), 32)];
        rules.v6 = vec![("2001:db8::1".parse().unwrap(), 64)];
        (rules.raw, rules.hide_lback, rules.low_ports) = (true, false, LowPorts::Uid(65_601_536));
        let listed = |place: u32, family| {
            let place = place as usize;
            let (ip, prefix): (IpAddr, u8) = match family {
                4 => rules.v4.get(place).map(|(ip, prefix)| ((*ip).into(), *prefix)),
                _ => rules.v6.get(place).map(|(ip, prefix)| ((*ip).into(), *prefix)),
            }
            .unwrap();
            Ok(Some(super::super::maps::value(prefix.into(), ip)))
        };
        assert_eq!(read(&config(&rules, 77), listed).unwrap(), Some(rules.clone()));
        assert_eq!(read(&[0; at::SIZE], listed).unwrap(), None);
    }

    #[test]
    fn the_loopback_of_a_context_is_in_the_documented_network() {
        assert_eq!(lback6(Nid::new(1001).unwrap()).to_string(), "fd76:7365:7276:6572::3e9");
    }

    #[test]
    fn different_prefixes_are_found_in_order() {
        assert_eq!(prefixes([24, 32, 24, 16].into_iter()), [24, 32, 16, 255, 255, 255, 255, 255]);
    }
}
