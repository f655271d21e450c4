//! Network contexts that exist: those of guests, and those that `chbind` and `ncontext` make for programs of the host.
//!
//! ```text
//!   vservers/web1/          a guest's: its programs are attached here, the guest's processes are below
//!       guest/              what the guest sees
//!       net/                programs of the host that joined with `ncontext --migrate` or `chbind --nid`
//!   vservers/.nids/4711/    one without a guest
//! ```
//! A context lives in its cgroup: the kernel holds its addresses and enforces them, and no process of ours is needed.
//! Its flags and where its group is stand in `/run/vserver/virtnet/NID/` ([`virtnet`]). One without a guest that has
//! lost its last process is removed by the next command that looks, unless it is `persistent`.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use vserver_kernel::bpf::network::{LowPorts, Missing, Network, Rules};
use vserver_kernel::cgroup::{Group, Hierarchies};
use vserver_kernel::link::{Netlink, NewAddress};
use vserver_kernel::{mount, proc};
use vserver_model::{Address, GuestName, Layout, Nid};
use vserver_plan::NetContext;
use vserver_plan::netcontext::{capability, flag};

use crate::failure::{Doing, Failure};
use crate::lock::{self, Lock};
use crate::netfiles;
use crate::record::{self, Record};
use crate::virtnet::{self, Published};

/// A network context that exists.
#[derive(Debug)]
pub struct Active {
    /// What it may use, as the kernel has it now.
    pub value: NetContext,
    /// The running guest that it belongs to.
    pub guest: Option<Box<Record>>,
    /// Its group, in the cgroup2 hierarchy alone.
    group: Group,
}

/// The numbers that are given to contexts for which none was asked.
const UNASKED: std::ops::RangeInclusive<u32> = 49_152..=65_535;

/// The kernel's rules for a context.
pub fn rules(context: &NetContext) -> Rules {
    let mut rules = Rules::new(context.nid);
    for address in &context.addresses {
        match address.ip {
            _ if address.is_any() => rules.any = true,
            IpAddr::V4(ip) => rules.v4.push((ip, address.effective_prefix())),
            IpAddr::V6(ip) => rules.v6.push((ip, address.effective_prefix())),
        }
    }
    rules.bcast = context.bcast.unwrap_or(rules.bcast);
    rules.lback = context.lback.unwrap_or(rules.lback);
    rules.single_ip = context.has(flag::SINGLE_IP);
    rules.lback_remap = context.has(flag::LBACK_REMAP);
    rules.hide_lback = context.has(flag::HIDE_LBACK);
    rules.lback_allow = context.has(flag::LBACK_ALLOW);
    rules.raw_icmp = context.capabilities & capability::RAW_ICMP != 0;
    rules.multicast = context.capabilities & capability::MULTICAST != 0;
    rules.raw = context.raw;
    rules.low_ports = context.low_port_uid.map_or(LowPorts::ByCapability, LowPorts::Uid);
    rules
}

/// The context behind the kernel's rules; the words come from what was [published](Published).
fn value_of(rules: &Rules, published: &Published) -> NetContext {
    let any = rules.any.then(|| Address::host(std::net::Ipv4Addr::UNSPECIFIED.into()));
    let own = rules.addresses().map(|(ip, prefix)| Address { ip, prefix: Some(prefix) });
    let usual = Rules::new(rules.nid);
    NetContext {
        nid: rules.nid,
        addresses: own.chain(any).collect(),
        bcast: (rules.bcast != usual.bcast).then_some(rules.bcast),
        lback: (rules.lback != usual.lback).then_some(rules.lback),
        flags: published.flags,
        capabilities: published.capabilities,
        raw: rules.raw,
        low_port_uid: match rules.low_ports {
            LowPorts::ByCapability => None,
            LowPorts::Uid(uid) => Some(uid),
        },
    }
}

/// The programs and maps of all network contexts, from the first mounted bpffs.
///
/// # Errors
/// This kernel has no such programs, or we may not load them.
pub fn network() -> Result<Network, Failure> {
    let mounts = mount::table()?;
    let bpffs = mounts.iter().find(|entry| entry.fstype == "bpf");
    let directory = bpffs.map(|entry| entry.mount_point.join("vserver"));
    Network::open(directory.as_deref()).doing(|| "load the programs of network contexts".into()).map_err(
        |failure| failure.hint("vserver check-host tells what this kernel can do for network contexts"),
    )
}

/// Groups of the cgroup2 hierarchy alone.
fn groups() -> Result<Hierarchies, Failure> {
    let all = Hierarchies::discover().doing(|| "find the control groups".into())?;
    all.v2_alone()?.ok_or_else(|| {
        Failure::new("cannot make a network context: this host has no cgroup2 hierarchy")
            .hint("boot without cgroup_no_v1, or mount one: mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified")
    })
}

/// The context of that number, if it exists.
///
/// # Errors
/// The kernel cannot be asked.
pub fn find(layout: &Layout, nid: Nid) -> Result<Option<Active>, Failure> {
    let Some(published) = virtnet::read(layout, nid) else { return Ok(None) };
    let group = groups()?.group(&published.group);
    let Some(directory) = open(&group)? else { return Ok(None) };
    let rules = network()?.rules_of(directory.as_fd()).doing(|| format!("look at network context {nid}"))?;
    // A group that is about to be confined has no rules yet.
    let Some(rules) = rules.filter(|rules| rules.nid == nid) else { return Ok(None) };
    let guest = guest_of(layout, &published.group);
    let value = value_of(&rules, &published);
    Ok(Some(Active { value, guest: guest.map(Box::new), group }))
}

/// Every context, by number, after those that nobody is in any more are gone.
///
/// # Errors
/// The kernel cannot be asked.
pub fn all(layout: &Layout) -> Result<Vec<Active>, Failure> {
    let numbers = virtnet::numbers(layout);
    if numbers.is_empty() {
        return Ok(Vec::new());
    }
    sweep(layout, &lock(layout)?)?;
    numbers.into_iter().filter_map(|nid| find(layout, nid).transpose()).collect()
}

fn open(group: &Group) -> Result<Option<OwnedFd>, Failure> {
    match group.v2_dir_fd() {
        Err(fault) if fault.is(libc::ENOENT) => Ok(None),
        other => Ok(other?),
    }
}

/// The running guest whose group this is.
fn guest_of(layout: &Layout, group: &Path) -> Option<Record> {
    let name = GuestName::new(group.file_name()?).ok()?;
    record::running(layout, &name).filter(|record| Path::new(&record.group) == group)
}

/// The number of the network context that a process is in; 0 is the caller. `None`: in none, it is the host's.
///
/// # Errors
/// There is no such process.
pub fn number_of(layout: &Layout, pid: i32) -> Result<Option<Nid>, Failure> {
    let memberships = proc::cgroups(pid).doing(|| format!("look at process {pid}"))?;
    let Some(group) = Hierarchies::discover()?.group_of(&memberships) else { return Ok(None) };
    Ok(virtnet::numbers(layout)
        .into_iter()
        .find(|nid| virtnet::read(layout, *nid).is_some_and(|one| group.starts_with(&one.group))))
}

/// The lock for making and sweeping contexts without a guest. Nobody holds it longer than that takes.
///
/// # Errors
/// As [`Lock::take`].
fn lock(layout: &Layout) -> Result<Lock, Failure> {
    Lock::take(&layout.netcontext_lock(), lock::PATIENCE, || {})
}

/// A new context without a guest, with the caller in it. `None` for `nid`: any free number.
///
/// # Errors
/// The number is in use, or the kernel refuses; what was done is taken back.
pub fn create(
    layout: &Layout,
    nid: Option<Nid>,
    draft: impl FnOnce(Nid) -> NetContext,
) -> Result<Active, Failure> {
    create_locked(layout, nid, draft, &lock(layout)?)
}

/// The context of that number with the caller in it; a new one if there is none. Tells whether it is new.
///
/// # Errors
/// As [`Active::enter`] and [`create`].
pub fn enter_or_create(
    layout: &Layout,
    nid: Option<Nid>,
    draft: impl FnOnce(Nid) -> NetContext,
) -> Result<(Active, bool), Failure> {
    // Nobody may make or sweep it meanwhile.
    let locked = lock(layout)?;
    match nid.map(|nid| find(layout, nid)).transpose()?.flatten() {
        Some(known) => known.enter_locked(&locked).map(|()| (known, false)),
        None => create_locked(layout, nid, draft, &locked).map(|made| (made, true)),
    }
}

fn create_locked(
    layout: &Layout,
    nid: Option<Nid>,
    draft: impl FnOnce(Nid) -> NetContext,
    locked: &Lock,
) -> Result<Active, Failure> {
    sweep(layout, locked)?;
    let free = |nid: &Nid| virtnet::read(layout, *nid).is_none();
    let nid = match nid {
        Some(nid) if free(&nid) => nid,
        Some(nid) => return Err(Failure::new(format!("network context {nid} exists already"))),
        None => UNASKED
            .rev()
            .filter_map(|number| Nid::new(number).ok())
            .find(free)
            .ok_or_else(|| Failure::new("no number is free for a network context"))?,
    };
    let value = draft(nid);
    let group = groups()?.group(layout.netcontext_cgroup_of(nid));
    let active = Active { value, guest: None, group };
    match active.build(layout) {
        Ok(()) => Ok(active),
        Err(mut failure) => {
            if let Err(left) = active.dissolve(layout) {
                failure.left.push(left.to_string());
            }
            Err(failure)
        }
    }
}

/// Before a guest gets this number: no other guest and no program of the host may be in a context that has it.
///
/// # Errors
/// It is in use.
pub fn refuse_foreign(layout: &Layout, nid: Nid, group: &Path) -> Result<(), Failure> {
    match find(layout, nid)? {
        Some(other) if other.group.name() != group && other.group.populated()? => {
            Err(Failure::new(format!("network context {nid} is in use by {}", other.group.name().display()))
                .hint(
                    "give the guest another number in its file ncontext, or end what ncontext --list shows",
                ))
        }
        _ => Ok(()),
    }
}

/// Takes the caller out of every network context.
///
/// # Errors
/// The kernel refuses.
pub fn leave(layout: &Layout) -> Result<(), Failure> {
    if number_of(layout, 0)?.is_some() {
        groups()?.group(".").attach(0).doing(|| "leave the network context".into())?;
    }
    Ok(())
}

/// Removes contexts without a guest that nobody is in, and the group above them with the last.
fn sweep(layout: &Layout, _locked: &Lock) -> Result<(), Failure> {
    let own = |nid: Nid| {
        let published = virtnet::read(layout, nid)?;
        (published.group == layout.netcontext_cgroup_of(nid)).then_some((nid, published))
    };
    let contexts: Vec<(Nid, Published)> = virtnet::numbers(layout).into_iter().filter_map(own).collect();
    if contexts.is_empty() {
        return Ok(());
    }
    let hierarchies = groups()?;
    let mut left = contexts.len();
    for (nid, published) in &contexts {
        let group = hierarchies.group(&published.group);
        if published.flags & flag::PERSISTENT == 0 && !group.populated()? {
            Active { value: NetContext::new(*nid), guest: None, group }.dissolve(layout)?;
            left -= 1;
        }
    }
    match contexts.first().and_then(|(_, published)| published.group.parent()) {
        // Whoever makes a context holds the lock, so nobody is below.
        Some(above) if left == 0 => {
            hierarchies.group(above).remove().doing(|| "remove the group of network contexts".into())
        }
        _ => Ok(()),
    }
}

impl Active {
    /// Publishes first: a context that is being made when its maker is killed is found and swept.
    fn build(&self, layout: &Layout) -> Result<(), Failure> {
        let nid = self.value.nid;
        self.publish(layout)?;
        self.group.create().doing(|| format!("make the control group of network context {nid}"))?;
        let network = network()?;
        let rules = rules(&self.value);
        add_loopback(&rules)?;
        network
            .confine(self.directory()?.as_fd(), &rules)
            .doing(|| format!("confine network context {nid}"))?;
        serve(&network, &rules)?;
        self.group.attach(0).doing(|| format!("enter network context {nid}"))
    }

    fn dissolve(&self, layout: &Layout) -> Result<(), Failure> {
        let nid = self.value.nid;
        if let Some(directory) = open(&self.group)? {
            Network::release(directory.as_fd()).doing(|| format!("release network context {nid}"))?;
            self.group.remove().doing(|| format!("remove the control group of network context {nid}"))?;
        }
        remove_loopback(&rules(&self.value))?;
        virtnet::remove(layout, nid)
    }

    fn directory(&self) -> Result<OwnedFd, Failure> {
        open(&self.group)?
            .ok_or_else(|| Failure::new(format!("network context {} has just ended", self.value.nid)))
    }

    fn publish(&self, layout: &Layout) -> Result<(), Failure> {
        publish(layout, &self.value, self.group.name())
    }

    /// Puts the caller into it.
    ///
    /// # Errors
    /// Its flag `private`, or the kernel refuses.
    pub fn enter(&self, layout: &Layout) -> Result<(), Failure> {
        // Nobody may sweep it in this moment.
        self.enter_locked(&lock(layout)?)
    }

    fn enter_locked(&self, _locked: &Lock) -> Result<(), Failure> {
        let nid = self.value.nid;
        if self.value.has(flag::PRIVATE) {
            return Err(Failure::new(format!("cannot enter network context {nid}: permission denied"))
                .because("its flag 'private' keeps everybody out, the host's root included"));
        }
        let group = if self.guest.is_some() { self.group.child("net") } else { self.group.clone() };
        self.directory()?;
        let enter = || {
            if self.guest.is_some() {
                group.create()?;
            }
            group.attach(0)
        };
        enter().doing(|| format!("enter network context {nid}"))
    }

    /// Gives it another value; its processes and sockets have it at once.
    ///
    /// # Errors
    /// Its flag `state_admin` was cleared, or the kernel refuses.
    pub fn change(&mut self, layout: &Layout, value: NetContext) -> Result<(), Failure> {
        let nid = self.value.nid;
        if !self.value.has(flag::STATE_ADMIN) {
            return Err(Failure::new(format!("cannot change network context {nid}: permission denied"))
                .because("its flag 'state_admin' was cleared, which is for good"));
        }
        let network = network()?;
        let rules = rules(&value);
        network
            .change(self.directory()?.as_fd(), &rules)
            .doing(|| format!("change network context {nid}"))?;
        serve(&network, &rules)?;
        self.value = value;
        self.publish(layout)?;
        self.show(layout)
    }

    /// What a guest in the host's network sees follows what it may use. The broker reads the record.
    fn show(&mut self, layout: &Layout) -> Result<(), Failure> {
        let Some(record) = self.guest.as_mut().filter(|record| record.view.is_some()) else { return Ok(()) };
        let view = vserver_plan::hide::View::of(&self.value);
        if !record.rights.shadow {
            netfiles::write(layout, &record.name, &view)?;
        }
        record.view = Some(view);
        record.write(layout)
    }
}

/// Writes what `/proc/virtnet` would show of a context, which is also how the commands find it. Whoever makes a
/// guest's network context calls it, and [`virtnet::remove`] when that is gone.
///
/// # Errors
/// `/run` cannot be written.
pub fn publish(layout: &Layout, value: &NetContext, group: &Path) -> Result<(), Failure> {
    let published =
        Published { group: PathBuf::from(group), flags: value.flags, capabilities: value.capabilities };
    virtnet::write(layout, &published, &rules(value))
}

/// Lets any-bound sockets of a context hear all of its addresses, and its pings leave from them.
///
/// Gives what this kernel cannot do of it.
///
/// # Errors
/// The kernel refuses.
pub fn serve(network: &Network, rules: &Rules) -> Result<Vec<Missing>, Failure> {
    let what = || "serve the addresses of network contexts".into();
    let devices = carriers(rules)?;
    network.serve_namespace(&devices).doing(what)?;
    network.missing_for(&devices).doing(what)
}

/// So many addresses are asked for one by one; for more of them the list of all is looked at.
const ASKED_FOR: usize = 8;

/// The devices of this host that carry addresses of a context.
fn carriers(rules: &Rules) -> Result<Vec<u32>, Failure> {
    let what = || "list the addresses of this host".into();
    let own: BTreeSet<IpAddr> = rules.addresses().map(|(ip, _)| ip).collect();
    if own.is_empty() {
        return Ok(Vec::new());
    }
    let mut netlink = Netlink::open().doing(what)?;
    let mut devices = Vec::new();
    for ip in own.iter().take(ASKED_FOR) {
        devices.extend(netlink.carrier(*ip).doing(what)?);
    }
    if devices.len() < own.len() {
        let list = netlink.addresses().doing(what)?;
        devices.extend(list.iter().filter(|one| own.contains(&one.ip)).map(|one| one.device));
    }
    devices.sort_unstable();
    devices.dedup();
    Ok(devices)
}

/// Number of `lo`, in every network namespace.
const LO: u32 = 1;

/// Puts what is `::1` in a context on the host's loopback device; a host without IPv6 needs none.
///
/// # Errors
/// The kernel refuses.
pub fn add_loopback(rules: &Rules) -> Result<(), Failure> {
    let address =
        NewAddress { scope: 254, deprecated: true, ..NewAddress::new(LO, rules.lback6.into(), 128) };
    match Netlink::open().and_then(|mut netlink| netlink.add_address(&address)) {
        Err(fault)
            if ![libc::EEXIST, libc::EOPNOTSUPP, libc::EAFNOSUPPORT, libc::EACCES]
                .iter()
                .any(|&errno| fault.is(errno)) =>
        {
            Err(fault).doing(|| format!("add {} to lo", rules.lback6))
        }
        _ => Ok(()),
    }
}

/// Takes it away again; that it is gone already is as good.
///
/// # Errors
/// The kernel refuses.
pub fn remove_loopback(rules: &Rules) -> Result<(), Failure> {
    let removed =
        Netlink::open().and_then(|mut netlink| netlink.delete_address(LO, rules.lback6.into(), 128, None));
    match removed {
        Err(fault)
            if ![libc::EADDRNOTAVAIL, libc::EOPNOTSUPP, libc::EAFNOSUPPORT, libc::ENODEV]
                .iter()
                .any(|&errno| fault.is(errno)) =>
        {
            Err(fault).doing(|| format!("remove {} from lo", rules.lback6))
        }
        _ => Ok(()),
    }
}

/// The first IPv4 address of a device of this host, with its prefix.
///
/// # Errors
/// There is no such device, or it has no IPv4 address.
pub fn address_of_device(name: &str) -> Result<Address, Failure> {
    let mut netlink = Netlink::open().doing(|| "list the devices of this host".into())?;
    let device = netlink.link(name).doing(|| "list the devices of this host".into())?;
    let index = device
        .map(|device| device.index)
        .ok_or_else(|| Failure::new(format!("'{name}' is neither an address nor a device of this host")))?;
    let list = netlink.addresses().doing(|| "list the addresses of this host".into())?;
    list.iter()
        .find(|one| one.device == index && one.ip.is_ipv4())
        .map(|one| Address { ip: one.ip, prefix: Some(one.prefix) })
        .ok_or_else(|| Failure::new(format!("device {name} has no IPv4 address")))
}

/// The IPv4 broadcast address of a device of this host.
///
/// # Errors
/// As [`address_of_device`].
pub fn broadcast_of_device(name: &str) -> Result<std::net::Ipv4Addr, Failure> {
    let address = address_of_device(name)?;
    address.broadcast().ok_or_else(|| Failure::new(format!("device {name} has no broadcast address")))
}
