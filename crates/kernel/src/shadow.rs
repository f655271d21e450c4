//! A network namespace that shows a part of another one: some addresses, the devices that carry them (same name, number
//! and hardware address) and the routes over those. No packet ever passes through it.
//!
//! A [`Picture`] is what there is to show; a [`Shadow`] is the namespace that shows it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd as _, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType};

use crate::link::{Change, End, LinkKind, Netlink, NewAddress, NewLink, NewRoute, netns, own_namespace};
use crate::ns::{self, Namespaces};
use crate::{Blame as _, Result};

/// Number of `lo` in every network namespace.
const LO: u32 = 1;
/// `RTN_UNICAST`, `RTPROT_KERNEL`, `RT_SCOPE_LINK` (of addresses: `RT_SCOPE_HOST`).
const UNICAST: u8 = 1;
const BY_KERNEL: u8 = 2;
const HOST: u8 = 254;

/// What is shown of a network namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Picture {
    /// By ascending number, without `lo`.
    pub devices: Vec<Device>,
    /// Addresses of these devices and of `lo`.
    pub addresses: Vec<Shown>,
    /// Routes over these devices, without those that come with an address.
    pub routes: Vec<NewRoute>,
}

/// A device that is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its number.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its hardware address, if it is an Ethernet device.
    pub mac: Option<[u8; 6]>,
    /// The longest packet, in bytes.
    pub mtu: u32,
    /// Whether it is switched on.
    pub up: bool,
}

/// An address that is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Number of its device.
    pub device: u32,
    /// The address.
    pub ip: IpAddr,
    /// Length of the prefix of its network.
    pub prefix: u8,
    /// IPv4 broadcasts of its network.
    pub broadcast: Option<Ipv4Addr>,
    /// How far it is valid: 0 everywhere, 253 the link, 254 this host.
    pub scope: u8,
}

impl Picture {
    /// What of a namespace concerns these addresses. One that no device has is left out; 0.0.0.0 and :: stand for all
    /// of their family.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn take(of: &mut Netlink, addresses: &[IpAddr], loopback: Option<Ipv4Addr>) -> Result<Self> {
        let mut picture = Self::default();
        if let Some(ip) = loopback {
            let lo = Shown { device: LO, ip: ip.into(), prefix: 8, broadcast: None, scope: HOST };
            picture.addresses.push(lo);
            let ip = Ipv6Addr::LOCALHOST.into();
            picture.addresses.push(Shown { device: LO, ip, prefix: 128, broadcast: None, scope: HOST });
        }
        if addresses.is_empty() {
            return Ok(picture);
        }
        let is_any = |ip: &IpAddr, of: &IpAddr| ip.is_unspecified() && ip.is_ipv4() == of.is_ipv4();
        let is_ours =
            |of: &IpAddr| addresses.iter().any(|ip| ip == of || (is_any(ip, of) && !of.is_loopback()));
        for address in of.addresses()? {
            let (device, ip, prefix) = (address.device, address.ip, address.prefix);
            if is_ours(&ip) && !picture.addresses.iter().any(|known| known.ip == ip) {
                let (broadcast, scope) = (address.broadcast, address.scope);
                picture.addresses.push(Shown { device, ip, prefix, broadcast, scope });
            }
        }
        picture.complete(of, &is_ours)?;
        Ok(picture)
    }

    /// The same for addresses of which it is known where they are, with prefix and device: this costs the same on a host
    /// with ten addresses and on one with thousands. A device that is not there is left out, with its addresses.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn of_known(
        of: &mut Netlink,
        known: &[(IpAddr, u8, String)],
        loopback: Option<Ipv4Addr>,
    ) -> Result<Self> {
        let mut picture = Self::take(of, &[], loopback)?;
        for (ip, prefix, device) in known {
            let Some(link) = of.link(device)? else { continue };
            let shown = Shown { device: link.index, ip: *ip, prefix: *prefix, broadcast: None, scope: 0 };
            picture.addresses.push(shown);
        }
        let is_ours = |of: &IpAddr| known.iter().any(|(ip, _, _)| ip == of);
        picture.complete(of, &is_ours)?;
        Ok(picture)
    }

    /// Adds the devices of the addresses, and the routes over them.
    fn complete(&mut self, of: &mut Netlink, is_ours: &dyn Fn(&IpAddr) -> bool) -> Result<()> {
        let mut numbers: Vec<u32> = self.addresses.iter().map(|shown| shown.device).collect();
        numbers.sort_unstable();
        numbers.dedup();
        for number in numbers.into_iter().filter(|&number| number != LO) {
            if let Some(link) = of.link_numbered(number)? {
                self.devices.push(Device {
                    index: link.index,
                    name: link.name,
                    mac: <[u8; 6]>::try_from(link.mac.as_slice()).ok(),
                    mtu: link.mtu,
                    up: link.up,
                });
            }
        }
        if self.devices.is_empty() {
            return Ok(());
        }
        for route in of.main_routes()? {
            let shown = route.device.is_some_and(|index| self.devices.iter().any(|d| d.index == index));
            let ours = route.source.is_none_or(|source| is_ours(&source));
            if route.kind != UNICAST || route.protocol == BY_KERNEL || !shown {
                continue;
            }
            let everywhere = if route.ipv6 {
                (Ipv6Addr::UNSPECIFIED.into(), 0)
            } else {
                (Ipv4Addr::UNSPECIFIED.into(), 0)
            };
            self.routes.push(NewRoute {
                destination: route.destination.or(Some(everywhere)),
                gateway: route.gateway,
                device: route.device,
                // The host's own source: the guest takes one of its own.
                source: route.source.filter(|_| ours),
                metric: route.metric,
                onlink: false,
            });
        }
        // Networks before what is reached through them.
        self.routes.sort_by_key(|route| route.gateway.is_some());
        Ok(())
    }
}

/// The namespace. The thread that makes it lives in it from then on.
#[derive(Debug)]
pub struct Shadow {
    netlink: Netlink,
    /// Asked about devices.
    questions: OwnedFd,
    /// Where the other ends of pairs are, on kernels without devices that stand alone.
    parked: Option<OwnedFd>,
    shown: Picture,
}

impl Shadow {
    /// Moves the calling thread into a new namespace, empty but for `lo`.
    ///
    /// # Errors
    /// No `CAP_SYS_ADMIN`.
    pub fn enter_new() -> Result<Self> {
        ns::unshare(Namespaces::NET)?;
        Self::here(Picture::default())
    }

    /// The namespace that the calling thread is in, which shows this already.
    ///
    /// # Errors
    /// As socket(2).
    pub fn here(shown: Picture) -> Result<Self> {
        // No addresses that the kernel makes up from hardware addresses. Refused only by a kernel without IPv6.
        drop(std::fs::write("/proc/sys/net/ipv6/conf/default/addr_gen_mode", "1"));
        let questions =
            rustix::net::socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)
                .blame("socket(2)", "AF_INET")?;
        Ok(Self { netlink: Netlink::open()?, questions, parked: None, shown })
    }

    /// A socket in the namespace, for [`crate::sys::device_question`].
    pub fn questions(&self) -> &OwnedFd {
        &self.questions
    }

    /// Shows this instead of what was shown.
    ///
    /// # Errors
    /// No device can be made; single addresses and routes that the kernel refuses are left out.
    pub fn show(&mut self, picture: &Picture) -> Result<()> {
        if self.shown == *picture {
            return Ok(());
        }
        for device in &self.shown.devices {
            // With its addresses and routes.
            passed_over(self.netlink.delete_link(device.index));
        }
        for address in self.shown.addresses.iter().filter(|address| address.device == LO) {
            passed_over(self.netlink.delete_address(LO, address.ip, address.prefix, None));
        }
        self.shown = Picture::default();
        let has_lo = picture.addresses.iter().any(|address| address.device == LO);
        self.netlink.change_link(LO, &Change { up: Some(has_lo), ..Change::default() })?;
        // What the kernel gives it by itself.
        for (ip, prefix) in [(IpAddr::V4(Ipv4Addr::LOCALHOST), 8), (IpAddr::V6(Ipv6Addr::LOCALHOST), 128)] {
            if !picture.addresses.iter().any(|shown| shown.ip == ip) {
                passed_over(self.netlink.delete_address(LO, ip, prefix, None));
            }
        }
        for device in &picture.devices {
            self.make(device)?;
        }
        for shown in &picture.addresses {
            let mut new = NewAddress::new(shown.device, shown.ip, shown.prefix);
            (new.broadcast, new.scope) = (shown.broadcast, shown.scope);
            passed_over(self.netlink.add_address(&new));
        }
        for route in &picture.routes {
            if self.netlink.add_route(route).is_err() && route.gateway.is_some() {
                // The way to the router is through a network that is not the guest's.
                passed_over(self.netlink.add_route(&NewRoute { onlink: true, ..route.clone() }));
            }
        }
        self.shown = picture.clone();
        Ok(())
    }

    fn make(&mut self, device: &Device) -> Result<()> {
        let mtu = Some(device.mtu).filter(|&mtu| mtu >= 68);
        let end = |name| End { index: Some(device.index), mac: device.mac, mtu, ..End::named(name) };
        // Both are devices without another side; which one is there depends on the kernel.
        for kind in [LinkKind::Dummy, LinkKind::Ifb] {
            let new = NewLink { end: end(&device.name), kind, up: device.up };
            match self.netlink.create_link(&new) {
                Ok(()) => return self.netlink.ask_for_neighbours(device.index),
                Err(fault) if fault.is(libc::EOPNOTSUPP) => {}
                Err(fault) => return Err(fault),
            }
        }
        if self.parked.is_none() {
            self.parked = Some(netns::create()?);
        }
        let parked = self.parked.as_ref().map(|parked| parked.as_fd());
        let peer = End { namespace: parked, ..End::named("") };
        self.netlink.create_link(&NewLink {
            end: end(&device.name),
            kind: LinkKind::Veth(peer),
            up: device.up,
        })
    }
}

/// A view that lacks one thing is better than none.
fn passed_over(result: Result<()>) {
    drop(result);
}

/// The namespace of the calling thread, as [`ns::identity`] tells it.
///
/// # Errors
/// No `/proc`.
pub fn identity_of_own_namespace() -> Result<(u64, u64)> {
    ns::identity(own_namespace()?)
}
