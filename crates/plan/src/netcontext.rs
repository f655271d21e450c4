//! A network context as a value: what an administrator has granted, before it becomes the kernel's rules.
//!
//! The same value is made from a guest's `interfaces/`, `nflags` and `ncapabilities`, from the options of `chbind`, and
//! by changing the one of a context that exists.

use std::net::{IpAddr, Ipv4Addr};

use serde::{Deserialize, Serialize};
use vserver_model::words::{NCAPS, NFLAGS};
use vserver_model::{Address, Bits, Nid};

/// Flags of a network context (`nflags`) that this product looks at.
pub mod flag {
    /// Nobody may enter from outside.
    pub const PRIVATE: u64 = 1 << 3;
    /// A bind to any address is one to the first.
    pub const SINGLE_IP: u64 = 1 << 8;
    /// 127.0.0.1 is the context's own loopback.
    pub const LBACK_REMAP: u64 = 1 << 9;
    /// The host's loopback may be used.
    pub const LBACK_ALLOW: u64 = 1 << 10;
    /// Foreign interfaces and addresses are hidden.
    pub const HIDE_NETIF: u64 = 1 << 25;
    /// The own loopback shows as 127.0.0.1.
    pub const HIDE_LBACK: u64 = 1 << 26;
    /// The context is being built.
    pub const STATE_SETUP: u64 = 1 << 32;
    /// The host may change it.
    pub const STATE_ADMIN: u64 = 1 << 34;
    /// It survives without processes.
    pub const PERSISTENT: u64 = 1 << 38;
    /// States that can only be left.
    pub const ONE_WAY: u64 = STATE_SETUP | STATE_ADMIN;
}

/// Capabilities of a network context (`ncapabilities`) that this product looks at.
pub mod capability {
    /// ICMP sockets.
    pub const RAW_ICMP: u64 = 1 << 8;
    /// Multicast addresses.
    pub const MULTICAST: u64 = 1 << 12;
}

/// What the processes of one network context may use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetContext {
    /// Its number.
    pub nid: Nid,
    /// Its addresses in their order: the first of a family is the source of sockets that have no better one. 0.0.0.0
    /// or :: means every address of the host.
    pub addresses: Vec<Address>,
    /// Broadcasts to this address are heard, too; 255.255.255.255 by default.
    pub bcast: Option<Ipv4Addr>,
    /// What its 127.0.0.1 really is; 127.X.Y.1 with the bytes of the number by default.
    pub lback: Option<Ipv4Addr>,
    /// Words of `nflags`.
    pub flags: u64,
    /// Words of `ncapabilities`.
    pub capabilities: u64,
    /// Raw sockets of any protocol: the processes hold `CAP_NET_RAW`.
    pub raw: bool,
    /// The host's user id that may bind ports below 1024, and with it who has the capability in the user namespace that is
    /// this user's, besides who has it over the host's network.
    pub low_port_uid: Option<u32>,
}

impl NetContext {
    /// A context without addresses, with the defaults of its words.
    pub fn new(nid: Nid) -> Self {
        Self {
            nid,
            addresses: Vec::new(),
            bcast: None,
            lback: None,
            flags: NFLAGS.default_bits(),
            capabilities: NCAPS.default_bits(),
            raw: false,
            low_port_uid: None,
        }
    }

    /// Whether all of these bits of [`flag`] are set.
    pub const fn has(&self, flags: u64) -> bool {
        self.flags & flags == flags
    }

    /// Whether an address is 0.0.0.0 or `::`: every address of the host may be used.
    pub fn is_any(&self) -> bool {
        self.addresses.iter().any(Address::is_any)
    }

    /// Whether 127.0.0.1 and `::1` are addresses of its own.
    pub fn has_own_loopback(&self) -> bool {
        self.has(flag::LBACK_REMAP) && !self.is_any()
    }

    /// Adds an address behind the others; one that is there gets the new prefix. A second IPv4 address ends
    /// `single_ip`, as it always has (flags.md 6.1).
    pub fn add(&mut self, address: Address) {
        match self.addresses.iter_mut().find(|one| one.ip == address.ip) {
            Some(known) => *known = address,
            None => self.addresses.push(address),
        }
        if self.addresses.iter().filter(|one| one.ip.is_ipv4()).count() > 1 {
            self.flags &= !flag::SINGLE_IP;
        }
    }

    /// Takes an address away; `false`: it is none of the context's.
    pub fn remove(&mut self, ip: IpAddr) -> bool {
        let before = self.addresses.len();
        self.addresses.retain(|one| one.ip != ip);
        self.addresses.len() < before
    }

    /// Sets and clears flags. A state that was left is not entered again.
    pub fn apply_flags(&mut self, bits: Bits) {
        let new = bits.apply_on(self.flags);
        self.flags = new & !(flag::ONE_WAY & !self.flags);
    }

    /// Sets and clears capabilities.
    pub fn apply_capabilities(&mut self, bits: Bits) {
        self.capabilities = bits.apply_on(self.capabilities);
    }

    /// `--secure`: ICMP sockets and no other raw ones, and foreign interfaces are hidden.
    pub fn secure(&mut self) {
        self.apply_flags(Bits::set(flag::HIDE_NETIF));
        self.apply_capabilities(Bits::set(capability::RAW_ICMP));
        self.raw = false;
    }
}

impl std::fmt::Display for NetContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "confine the guest as network context {} to ", self.nid)?;
        if self.is_any() {
            return write!(f, "any address of the host");
        }
        let mut all: Vec<String> = self.addresses.iter().map(|address| address.ip.to_string()).collect();
        if self.has_own_loopback() {
            all.push("its own loopback".into());
        }
        f.write_str(&if all.is_empty() { "no address".into() } else { all.join(", ") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context() -> NetContext {
        NetContext::new(Nid::new(105).expect("in range"))
    }

    fn address(text: &str) -> Address {
        text.parse().expect("an address")
    }

    #[test]
    fn a_second_address_ends_single_ip() {
        let mut one = context();
        one.apply_flags(Bits::set(flag::SINGLE_IP));
        one.add(address("192.0.2.11/24"));
        one.add(address("2001:db8::11/64"));
        one.add(address("192.0.2.11/32"));
        assert!(one.has(flag::SINGLE_IP));
        assert_eq!(one.addresses, [address("192.0.2.11/32"), address("2001:db8::11/64")]);
        one.add(address("192.0.2.12/24"));
        assert!(!one.has(flag::SINGLE_IP));
        assert!(one.remove(address("192.0.2.12").ip) && !one.remove(address("192.0.2.12").ip));
    }

    #[test]
    fn a_state_is_left_once() {
        let mut one = context();
        assert!(one.has(flag::STATE_ADMIN | flag::LBACK_REMAP | flag::HIDE_LBACK | flag::HIDE_NETIF));
        one.apply_flags(Bits::set(flag::STATE_SETUP | flag::PERSISTENT));
        assert!(!one.has(flag::STATE_SETUP) && one.has(flag::PERSISTENT));
        one.apply_flags(Bits::clear(flag::STATE_ADMIN));
        one.apply_flags(Bits::set(u64::MAX));
        assert_eq!(one.flags, !flag::ONE_WAY);
    }

    #[test]
    fn secure_is_ping_without_other_raw_sockets() {
        let mut one = context();
        (one.raw, one.flags, one.capabilities) = (true, 0, 0);
        one.secure();
        assert_eq!((one.raw, one.flags, one.capabilities), (false, flag::HIDE_NETIF, capability::RAW_ICMP));
    }
}
