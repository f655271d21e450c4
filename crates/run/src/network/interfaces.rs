//! `interfaces/`: addresses on the host's devices. What fails is said and does not stop the start, as ever.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr, UdpSocket};

use vserver_kernel::link::tuntap::{self, Tuntap};
use vserver_kernel::link::{Change, End, Link, LinkKind, Netlink, NewAddress, NewLink};
use vserver_model::{GuestName, Layout};
use vserver_plan::network::HostAddress;

use crate::failure::{Doing, Failure};
use crate::network::ledger::{self, Added, Ledger, Part};
use crate::start::in_one_line;

/// What was added, in words. `None`: nothing, and nothing of it is used by others either.
pub type Deed = Option<String>;

/// Adds all addresses, and `loopback`, the guest's `::1`, to `lo`.
///
/// `say` gets each step that failed, with the file and line that asked for it.
///
/// # Errors
/// The lock or the ledger: nothing was done then.
pub fn add(
    layout: &Layout,
    name: &GuestName,
    list: &[HostAddress],
    loopback: Option<Ipv6Addr>,
    say: &mut dyn FnMut(&str),
) -> Result<Deed, Failure> {
    let _lock = ledger::lock(layout)?;
    let mut ledger = Ledger::load(layout, name)?;
    let mut host = Host { netlink: Netlink::open()?, links: BTreeMap::new(), addresses: None };
    let before = ledger.part(Part::Interfaces).clone();
    // Written before anything is done: whoever finds it after us takes away what is in it, done or not.
    let mut work = Vec::new();
    for wanted in list {
        work.push((wanted, host.intend(wanted)?));
    }
    let own = loopback.map(|ip| (ip, intend_loopback(ip)));
    let intended = work.iter().flat_map(|(_, intent)| intent.to_add.iter().cloned());
    ledger.part(Part::Interfaces).extend(intended.chain(own.iter().filter_map(|(_, added)| added.clone())));
    ledger.save(layout, name)?;

    let mut done = Done::default();
    for (wanted, intent) in &work {
        let result = host.perform(wanted, intent, &mut done, say);
        if let Err(failure) = result {
            say(&format!("{}: {}", wanted.place, in_one_line(&failure)));
        }
    }
    if let Some((ip, added)) = own {
        match added {
            // A host without IPv6 has no ::1 either.
            Some(added) => match host.add_loopback(ip) {
                Ok(()) => done.added.push(added),
                Err(failure) => tracing::debug!(%failure, "the guest has no ::1"),
            },
            None => done.found.push(loopback_entry(ip)),
        }
    }
    let deed = in_words(&done.added)
        .or_else(|| (!done.found.is_empty()).then(|| "use of addresses that the host had".into()));
    *ledger.part(Part::Interfaces) = before;
    ledger.part(Part::Interfaces).append(&mut done.added);
    ledger.save(layout, name)?;
    ledger::claim(layout, name, done.found)?;
    Ok(deed)
}

fn in_words(added: &[Added]) -> Deed {
    match added {
        [] => None,
        [one, two, more @ ..] if !more.is_empty() => Some(format!("{one}, {two} and {} more", more.len())),
        some => Some(some.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
    }
}

fn intend_loopback(ip: Ipv6Addr) -> Option<Added> {
    (!is_local(ip.into())).then(|| loopback_entry(ip))
}

fn loopback_entry(ip: Ipv6Addr) -> Added {
    Added::Address { device: "lo".into(), index: None, ip: ip.into(), prefix: 128, peer: None }
}

/// What became of it all.
#[derive(Default)]
struct Done {
    /// These are ours.
    added: Vec<Added>,
    /// These were there.
    found: Vec<Added>,
}

/// What one interface will add.
struct Intent {
    /// The device was there before.
    device_exists: bool,
    /// Device, then address, as far as they are missing.
    to_add: Vec<Added>,
    /// The device has the address already.
    address_exists: bool,
}

/// The host's network as far as it has been looked at.
struct Host {
    netlink: Netlink,
    links: BTreeMap<String, Link>,
    addresses: Option<Vec<vserver_kernel::link::Address>>,
}

impl Host {
    /// The device of that name, asked for once.
    fn link(&mut self, name: &str) -> Result<Option<Link>, Failure> {
        if let Some(link) = self.links.get(name) {
            return Ok(Some(link.clone()));
        }
        let found = self.netlink.link(name)?;
        if let Some(link) = &found {
            self.links.insert(name.to_owned(), link.clone());
        }
        Ok(found)
    }

    /// Whether the device has the address. The whole list is looked at only if the host has it somewhere.
    fn has(&mut self, device: u32, ip: IpAddr) -> Result<bool, Failure> {
        if !is_local(ip) {
            return Ok(false);
        }
        if self.addresses.is_none() {
            self.addresses = Some(self.netlink.addresses()?);
        }
        let known = self.addresses.iter().flatten();
        Ok(known.into_iter().any(|address| address.device == device && address.ip == ip))
    }

    fn intend(&mut self, wanted: &HostAddress) -> Result<Intent, Failure> {
        let link = self.link(&wanted.device)?;
        let index = link.as_ref().map(|link| link.index);
        let mut to_add = Vec::new();
        if index.is_none()
            && let Some(kind) = kind_to_make(wanted)
        {
            to_add.push(Added::Device { name: wanted.device.clone(), index: None, kind: kind.into() });
        }
        let address_exists = match index {
            Some(index) => self.has(index, wanted.address.ip)?,
            None => false,
        };
        if !address_exists && (index.is_some() || !to_add.is_empty()) {
            to_add.push(address_entry(wanted, index));
        }
        Ok(Intent { device_exists: index.is_some(), to_add, address_exists })
    }

    fn perform(
        &mut self,
        wanted: &HostAddress,
        intent: &Intent,
        done: &mut Done,
        say: &mut dyn FnMut(&str),
    ) -> Result<(), Failure> {
        let name = &wanted.device;
        if !intent.device_exists && self.link(name)?.is_none() {
            let Some(kind) = kind_to_make(wanted) else {
                let failure = Failure::new(format!(
                    "the host has no network device {name}: {} is not added",
                    wanted.address
                ));
                return Err(failure);
            };
            self.make_device(wanted)?;
            let index = self.link(name)?.map(|link| link.index);
            done.added.push(Added::Device { name: name.clone(), index, kind: kind.into() });
        }
        let link = self.link(name)?.ok_or_else(|| Failure::new(format!("{name} has vanished")))?;
        let what = || format!("add {} to {name}", wanted.address);
        if intent.address_exists {
            done.found.push(address_entry(wanted, Some(link.index)));
            say(&format!("{}: {name} has {} already", wanted.place, wanted.address));
        } else {
            let new = NewAddress {
                peer: wanted.peer,
                broadcast: wanted.broadcast,
                label: wanted.label.as_deref(),
                scope: wanted.scope,
                // The host takes the newest IPv6 address of a network for its own connections, unless it is
                // deprecated; guests' sockets get theirs from the network context.
                deprecated: wanted.address.ip.is_ipv6(),
                ..NewAddress::new(link.index, wanted.address.ip, wanted.address.effective_prefix())
            };
            match self.netlink.add_address(&new) {
                Ok(()) => done.added.push(address_entry(wanted, Some(link.index))),
                // Somebody else was faster, or two of the guest's interfaces are the same.
                Err(fault) if fault.is(libc::EEXIST) => {
                    done.found.push(address_entry(wanted, Some(link.index)));
                }
                Err(fault) => return Err(fault).doing(what),
            }
        }
        if wanted.up && !link.up {
            let change = Change { up: Some(true), ..Change::default() };
            self.netlink.change_link(link.index, &change).doing(|| format!("set {name} up"))?;
            self.links.insert(name.clone(), Link { up: true, ..link });
        }
        Ok(())
    }

    fn make_device(&mut self, wanted: &HostAddress) -> Result<(), Failure> {
        let name = wanted.device.as_str();
        if let Some(vlan) = &wanted.vlan {
            let base = self.link(&vlan.base)?;
            let base = base.ok_or_else(|| {
                Failure::new(format!("the host has no network device {}, so there is no {name}", vlan.base))
            })?;
            let kind = LinkKind::Vlan { parent: base.index, id: vlan.id };
            let new = NewLink { end: End::named(name), kind, up: false };
            return self.netlink.create_link(&new).doing(|| format!("make the VLAN device {name}"));
        }
        let Some(device) = &wanted.tuntap else { return Ok(()) };
        let kind = if device.tap { "tap" } else { "tun" };
        let device = Tuntap {
            tap: device.tap,
            no_checksum: device.no_checksum,
            owner: device.uid,
            group: device.gid,
            layer: device.layer,
        };
        tuntap::create(name, device).doing(|| format!("make the {kind} device {name}"))
    }

    fn add_loopback(&mut self, ip: Ipv6Addr) -> Result<(), Failure> {
        let lo = self.link("lo")?.ok_or_else(|| Failure::new("there is no device lo"))?;
        let new = NewAddress { deprecated: true, ..NewAddress::new(lo.index, ip.into(), 128) };
        Ok(self.netlink.add_address(&new)?)
    }
}

/// The kind of device that is made for it, as the kernel calls it.
fn kind_to_make(wanted: &HostAddress) -> Option<&'static str> {
    if wanted.vlan.is_some() { Some("vlan") } else { wanted.tuntap.is_some().then_some("tun") }
}

fn address_entry(wanted: &HostAddress, index: Option<u32>) -> Added {
    Added::Address {
        device: wanted.device.clone(),
        index,
        ip: wanted.address.ip,
        prefix: wanted.address.effective_prefix(),
        peer: wanted.peer,
    }
}

/// Whether some device of the host may have the address: a question that does not grow with their number. Where the
/// host lets programs bind what it does not have (`ip_nonlocal_bind`), the answer is yes for all.
fn is_local(ip: IpAddr) -> bool {
    match UdpSocket::bind((ip, 0)) {
        Ok(_) => true,
        Err(error) => error.raw_os_error() != Some(libc::EADDRNOTAVAIL),
    }
}
