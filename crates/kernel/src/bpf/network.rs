//! Network contexts: which addresses the processes of a cgroup may use of a network stack that they share with others.
//!
//! One set of programs and maps serves all guests. It is loaded once and pinned in a bpffs under a name made from its
//! sources, so that another version of this product puts its own beside it. A guest is a value in the map `vs_config`,
//! which belongs to its cgroup, and entries in others with its cgroup's number in their keys. Cgroup numbers are never
//! used again, so what a vanished group leaves in a map means nothing; [`Network::sweep`] removes it.
//!
//! The order of [`Network::confine`] is what makes it safe: programs are attached first and deny everything while the
//! group's configuration is zero; addresses come next, the configuration last. Call it before a process moves in. A
//! socket keeps the group that it was made in, wherever it is passed.

mod abilities;
mod bind;
mod classify;
mod code;
mod connect;
mod create;
mod datagram;
mod filter;
mod icmp;
mod listen;
mod lookup;
mod loopback;
mod maps;
mod names;
mod namespace;
mod owners;
mod rules;
mod source;

use std::fs::DirBuilder;
use std::net::IpAddr;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

pub use rules::{LBACK6_NETWORK, LowPorts, Rules, WILDCARD_PORTS, WILDCARD_PORTS_MAX, lback6};

use self::abilities::Abilities;
use self::code::Instructions;
use self::maps::Maps;
use super::{fnv, with_unlimited_memlock};
use crate::sys::{self, BpfAttach, BpfProgramKind, BpfUpdate};
use crate::{Blame, Fault, Result, described};

/// Something that this kernel cannot do for network contexts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Missing {
    /// `bpf_set_retval` (Linux 5.18).
    Reasons,
    /// Type information of the kernel (`CONFIG_DEBUG_INFO_BTF`).
    Types,
    /// A bpffs to pin in.
    Pins,
    /// Reading the kernel's memory, or its type information: which capabilities a caller holds.
    Rights,
    /// Programs of type `sk_lookup` (Linux 5.9, `CONFIG_INET`).
    Steering,
    /// Classifiers for datagrams (`CONFIG_NET_CLS_BPF`, `CONFIG_NET_SCH_INGRESS`).
    Classifiers,
}

impl Missing {
    /// What it means for a guest, for a warning.
    pub fn words(self) -> &'static str {
        match self {
            Self::Reasons => {
                "this kernel's programs cannot say why they refuse: a guest that binds a foreign address is told EPERM \
                 instead of EADDRNOTAVAIL"
            }
            Self::Types => {
                "this kernel has no type information: a server that binds :: is served by IPv6 only, not by IPv4 too"
            }
            Self::Rights => {
                "this kernel does not tell which capabilities a program holds: in a shifted guest its root alone binds \
                 ports below 1024"
            }
            Self::Pins => {
                "no bpffs is mounted: each guest gets programs of its own, and servers bound to any address hear their \
                 guest's first address only"
            }
            Self::Steering => {
                "this kernel has no sk_lookup programs: TCP servers bound to any address hear their guest's first \
                 address only"
            }
            Self::Classifiers => {
                "this kernel has no BPF classifiers: UDP servers bound to any address hear their guest's first address \
                 only, TCP servers at :: whose port the kernel chooses hear IPv6 only, and ping works only with an address of the guest's given as its source"
            }
        }
    }
}

/// A program of the set.
struct Hook {
    name: &'static str,
    kind: BpfProgramKind,
    build: fn(Abilities) -> Instructions,
}

const fn hook(
    name: &'static str,
    program_type: u32,
    attach_type: u32,
    build: fn(Abilities) -> Instructions,
) -> Hook {
    Hook { name, kind: BpfProgramKind::Raw { program_type, attach_type, btf_id: 0, sleeps: false }, build }
}

/// `BPF_PROG_TYPE_*`
mod program_type {
    pub(super) const CLASSIFIER: u32 = 3;
    pub(super) const CGROUP_SKB: u32 = 8;
    pub(super) const CGROUP_SOCK: u32 = 9;
    pub(super) const SOCK_OPS: u32 = 13;
    pub(super) const SOCK_ADDR: u32 = 18;
    pub(super) const SK_LOOKUP: u32 = 30;
}
use program_type::{CGROUP_SKB, CGROUP_SOCK, CLASSIFIER, SK_LOOKUP, SOCK_ADDR, SOCK_OPS};

/// What is attached to each guest's cgroup, with the attach types of `enum bpf_attach_type`. The first one is what a
/// confined group is known by.
const HOOKS: [Hook; 15] = [
    hook("vs_bind4", SOCK_ADDR, 8, bind::bind4),
    hook("vs_bind6", SOCK_ADDR, 9, bind::bind6),
    hook("vs_connect4", SOCK_ADDR, 10, connect::connect4),
    hook("vs_connect6", SOCK_ADDR, 11, connect::connect6),
    hook("vs_send4", SOCK_ADDR, 14, datagram::send4),
    hook("vs_send6", SOCK_ADDR, 15, datagram::send6),
    hook("vs_receive4", SOCK_ADDR, 19, names::peer4),
    hook("vs_receive6", SOCK_ADDR, 20, names::peer6),
    hook("vs_peer4", SOCK_ADDR, 29, names::peer4),
    hook("vs_peer6", SOCK_ADDR, 30, names::peer6),
    hook("vs_own4", SOCK_ADDR, 31, names::own4),
    hook("vs_own6", SOCK_ADDR, 32, names::own6),
    hook("vs_create", CGROUP_SOCK, 2, create::create),
    hook("vs_listen", SOCK_OPS, 3, listen::listen),
    hook("vs_ingress", CGROUP_SKB, 0, filter::ingress),
];

/// What is attached besides to groups that may use raw sockets; it costs every packet something. Once there it stays, as
/// sockets do.
const RAW_HOOK: Hook = hook("vs_egress", CGROUP_SKB, 1, filter::egress);

/// `BPF_SK_LOOKUP`
const SK_LOOKUP_ATTACH: u32 = 36;
/// What is attached to each network namespace and its devices. A kernel may lack them.
const STEERING: [Hook; 5] = [
    hook("vs_lookup", SK_LOOKUP, SK_LOOKUP_ATTACH, lookup::lookup),
    // New connections of TCP as well.
    hook("vs_udp", CLASSIFIER, 0, classify::ethernet),
    hook("vs_udp_plain", CLASSIFIER, 0, classify::plain),
    hook("vs_icmp", CLASSIFIER, 0, icmp::ethernet),
    hook("vs_icmp_plain", CLASSIFIER, 0, icmp::plain),
];

/// The programs and maps of all guests.
#[derive(Debug)]
pub struct Network {
    maps: Maps,
    /// As [`HOOKS`].
    programs: Vec<OwnedFd>,
    /// As [`RAW_HOOK`].
    raw: OwnedFd,
    /// As [`STEERING`], where the kernel has it.
    steering: Vec<Option<OwnedFd>>,
    missing: Vec<Missing>,
    /// Where all of it is pinned.
    pins: Option<PathBuf>,
}

impl Network {
    /// Takes the set from `directory`, in a bpffs, if it is there already; else loads and pins it.
    ///
    /// Without a directory nothing is pinned: the groups that it is attached to keep what they need. `EPERM`: no
    /// `CAP_BPF` and `CAP_NET_ADMIN` (or `CAP_SYS_ADMIN`).
    pub fn open(directory: Option<&Path>) -> Result<Self> {
        let pinned = |abilities| {
            let pins = directory?.join(name_of(abilities));
            Self::pinned(&pins, abilities).ok()
        };
        // What a recent kernel has; only when it is not found the kernel is asked.
        if let Some(found) = pinned(Abilities::ALL) {
            return Ok(found);
        }
        let abilities = Abilities::of_kernel();
        if let Some(found) = pinned(abilities) {
            return Ok(found);
        }
        let mut loaded = match Self::load(abilities) {
            // Before Linux 5.11 programs and maps were charged to RLIMIT_MEMLOCK, which is 64 KiB by default.
            Err(fault) if fault.is(libc::EPERM) => {
                with_unlimited_memlock(|| Self::load(abilities)).unwrap_or(Err(fault))?
            }
            other => other?,
        };
        if let Some(directory) = directory {
            match loaded.pin(directory, &name_of(abilities)) {
                Ok(pins) => loaded.pins = Some(pins),
                // Somebody else was faster: theirs is what others will find, so it is ours too.
                Err(_) => {
                    if let Some(found) = pinned(abilities) {
                        return Ok(found);
                    }
                }
            }
        }
        if loaded.pins.is_none() {
            loaded.missing.push(Missing::Pins);
        }
        Ok(loaded)
    }

    fn new(
        abilities: Abilities,
        maps: Maps,
        programs: Vec<OwnedFd>,
        raw: OwnedFd,
        steering: Vec<Option<OwnedFd>>,
    ) -> Self {
        let missing = [
            (!abilities.set_retval, Missing::Reasons),
            (abilities.ipv6_only.is_none(), Missing::Types),
            (abilities.rights.is_none(), Missing::Rights),
            (steering[0].is_none(), Missing::Steering),
            (steering[1].is_none(), Missing::Classifiers),
        ];
        let missing = missing.into_iter().filter_map(|(lacks, what)| lacks.then_some(what)).collect();
        Self { maps, programs, raw, steering, missing, pins: None }
    }

    fn pinned(pins: &Path, abilities: Abilities) -> Result<Self> {
        let maps = Maps::open(pins)?;
        let get = |hook: &Hook| sys::bpf_object_get(&pins.join(hook.name));
        let programs = HOOKS.iter().map(get).collect::<Result<_>>()?;
        let raw = get(&RAW_HOOK)?;
        let steering = STEERING.iter().map(|hook| get(hook).ok()).collect();
        Ok(Self { pins: Some(pins.to_owned()), ..Self::new(abilities, maps, programs, raw, steering) })
    }

    fn load(abilities: Abilities) -> Result<Self> {
        let maps = Maps::create()?;
        let load = |hook: &Hook| {
            let (mut code, names) = (hook.build)(abilities);
            for (at, map) in names {
                let fd = maps.get(map).as_fd().as_raw_fd();
                code[at] = code[at] & 0xffff_ffff | u64::from(fd.cast_unsigned()) << 32;
            }
            sys::bpf_load(hook.kind, hook.name, &code)
        };
        let programs = HOOKS.iter().map(load).collect::<Result<Vec<_>>>()?;
        // So that all maps are found by way of this one.
        for map in maps.iter() {
            sys::bpf_program_hold(programs[0].as_fd(), map)?;
        }
        let raw = load(&RAW_HOOK)?;
        let steering = STEERING.iter().map(|hook| load(hook).ok()).collect();
        Ok(Self::new(abilities, maps, programs, raw, steering))
    }

    /// All or nothing: pinned in a directory of another name first.
    fn pin(&self, directory: &Path, name: &str) -> Result<PathBuf> {
        let (new, pins) = (directory.join(format!("new-{}", std::process::id())), directory.join(name));
        let done = self.pin_in(&new).and_then(|()| {
            rustix::fs::rename(&new, &pins).blame_with("rename(2)", || pins.display().to_string())
        });
        if done.is_err() {
            // Whatever is left of it is unused; what cannot be removed is a few names in a bpffs.
            std::fs::remove_dir_all(&new).ok();
        }
        done.map(|()| pins)
    }

    fn pin_in(&self, new: &Path) -> Result<()> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(new)
            .blame_with("mkdir(2)", || new.display().to_string())?;
        for map in self.maps.iter() {
            sys::bpf_object_pin(map.as_fd(), &new.join(map.name()))?;
        }
        for (hook, program) in HOOKS.iter().zip(&self.programs) {
            sys::bpf_object_pin(program.as_fd(), &new.join(hook.name))?;
        }
        sys::bpf_object_pin(self.raw.as_fd(), &new.join(RAW_HOOK.name))?;
        for (hook, program) in STEERING.iter().zip(&self.steering) {
            if let Some(program) = program {
                sys::bpf_object_pin(program.as_fd(), &new.join(hook.name))?;
            }
        }
        Ok(())
    }

    /// What this kernel cannot do.
    pub fn missing(&self) -> &[Missing] {
        &self.missing
    }

    /// Confines a cgroup (of version 2): from now on its processes, and those of the groups below, have these rules.
    ///
    /// The group is empty or denied everything until this returns. What was done is taken back if it fails. `EPERM`: a
    /// group above has a program that excludes others (attached without `BPF_F_ALLOW_MULTI`). `EEXIST`: the group is
    /// confined already, see [`change`](Self::change).
    pub fn confine(&self, cgroup: BorrowedFd<'_>, rules: &Rules) -> Result<()> {
        if Guest::find(cgroup)?.is_some() {
            return Err(Fault::from_errno("confine", described(cgroup), libc::EEXIST));
        }
        let guest = Guest::of(cgroup, &self.maps)?;
        let mut attached = Vec::new();
        let raw = rules.raw.then_some((&RAW_HOOK, &self.raw));
        let done = HOOKS.iter().zip(&self.programs).chain(raw).try_for_each(|(hook, program)| {
            let attach = BpfAttach { cgroup, program: program.as_fd(), kind: hook.kind };
            sys::bpf_attach(attach)?;
            attached.push(attach);
            Ok(())
        });
        let done = done.and_then(|()| guest.write(None, rules));
        if done.is_err() {
            for attach in attached {
                // Past failures: the first error is what is reported, and a program left behind denies.
                sys::bpf_detach(attach).ok();
            }
            guest.forget(rules).ok();
        }
        done
    }

    /// Gives a confined group other rules. Programs that run at the same time see the old or the new ones.
    ///
    /// `ENOENT`: the group is not confined.
    pub fn change(&self, cgroup: BorrowedFd<'_>, rules: &Rules) -> Result<()> {
        let maps = Guest::find(cgroup)?
            .ok_or_else(|| Fault::from_errno("change", described(cgroup), libc::ENOENT))?;
        let guest = Guest::of(cgroup, &maps)?;
        let before = guest.read()?;
        if rules.raw && ours(cgroup, &RAW_HOOK)?.is_empty() {
            sys::bpf_attach(BpfAttach { cgroup, program: self.raw.as_fd(), kind: RAW_HOOK.kind })?;
        }
        guest.write(before.as_ref(), rules)
    }

    /// The rules of a confined group.
    pub fn rules_of(&self, cgroup: BorrowedFd<'_>) -> Result<Option<Rules>> {
        let Some(maps) = Guest::find(cgroup)? else { return Ok(None) };
        Guest::of(cgroup, &maps)?.read()
    }

    /// Takes what belongs to a group out of the maps: call it when the group is empty and about to be removed. From here
    /// on it has no address any more. The programs stay until it is gone: the kernel takes them away by itself then, and
    /// nobody waits for it. That the group was not confined is no fault.
    pub fn release(cgroup: BorrowedFd<'_>) -> Result<()> {
        let Some(maps) = Guest::find(cgroup)? else { return Ok(()) };
        let guest = Guest::of(cgroup, &maps)?;
        guest.read()?.map_or(Ok(()), |rules| guest.forget(&rules))
    }

    /// Makes the calling thread's network namespace serve any-bound sockets of its guests: all of a guest's addresses
    /// instead of the first one alone. `devices`: the indices of those that carry guests' addresses; `lo` is always
    /// served. What is served already stays so; it lasts as long as the pins, or the namespace and its devices.
    ///
    /// Nothing is done for what is missing, see [`missing_for`](Self::missing_for).
    pub fn serve_namespace(&self, devices: &[u32]) -> Result<()> {
        let Some(pins) = &self.pins else { return Ok(()) };
        if let Some(program) = &self.steering[0] {
            namespace::serve_listeners(program.as_fd(), pins)?;
        }
        let Some(classifiers) = self.steering[1..].iter().map(Option::as_ref).collect::<Option<Vec<_>>>()
        else {
            return Ok(());
        };
        for device in [namespace::LOOPBACK].iter().chain(devices) {
            let [udp, udp_plain, icmp, icmp_plain] = [0, 1, 2, 3].map(|number| classifiers[number].as_fd());
            let (udp, icmp) =
                if namespace::has_ethernet_header(*device)? { (udp, icmp) } else { (udp_plain, icmp_plain) };
            let served = namespace::serve_device(udp, namespace::Way::In, *device, pins)
                .and_then(|()| namespace::serve_device(icmp, namespace::Way::Out, *device, pins));
            match served {
                Ok(()) => {
                    self.maps.get(maps::DEVICES).update(&device.to_ne_bytes(), &[0; 4], BpfUpdate::Any)?;
                }
                // No sch_ingress or cls_bpf: only seen when one is made.
                Err(fault) if fault.is(libc::ENOENT) || fault.is(libc::EOPNOTSUPP) => {}
                Err(fault) => return Err(fault),
            }
        }
        Ok(())
    }

    /// What is [`missing`](Self::missing), and [`Missing::Classifiers`] if one of these devices could not be served.
    pub fn missing_for(&self, devices: &[u32]) -> Result<Vec<Missing>> {
        let mut missing = self.missing.clone();
        let known = self.maps.get(maps::DEVICES);
        for device in [namespace::LOOPBACK].iter().chain(devices) {
            let served = known.lookup(&device.to_ne_bytes(), &mut [0; 4])?;
            if !served && !missing.contains(&Missing::Classifiers) && !missing.contains(&Missing::Pins) {
                missing.push(Missing::Classifiers);
            }
        }
        Ok(missing)
    }

    /// Removes what groups, namespaces and devices that are gone have left in the maps and pins of this version, and says
    /// how much that was. Never needed: the numbers of groups do not come again.
    pub fn sweep(&self) -> Result<usize> {
        let alive = self.maps.get(maps::CONFIG).keys()?;
        let mut removed = 0;
        for map in [maps::ADDRESSES, maps::LISTS, maps::GUESTS] {
            let map = self.maps.get(map);
            for key in map.keys()? {
                if !alive.iter().any(|cgroup| key.starts_with(cgroup)) {
                    removed += usize::from(map.delete(&key)?);
                }
            }
        }
        removed += owners::sweep(&self.maps, &alive)?;
        Ok(removed + namespace::sweep(self.pins.as_deref())?)
    }
}

/// The programs of this hook attached to a group, of any version, by their name.
fn ours(cgroup: BorrowedFd<'_>, hook: &Hook) -> Result<Vec<(Vec<u32>, OwnedFd)>> {
    let mut found = Vec::new();
    for id in sys::bpf_programs_of(cgroup, hook.kind.attach_type())? {
        // Detached in this moment by somebody else: not attached.
        let Ok(program) = sys::bpf_program_by_id(id) else { continue };
        let (name, maps) = sys::bpf_program_info(program.as_fd())?;
        if name == hook.name {
            found.push((maps, program));
        }
    }
    Ok(found)
}

/// One group's part of the maps.
struct Guest<'maps> {
    id: u64,
    maps: &'maps Maps,
}

impl<'maps> Guest<'maps> {
    fn of(cgroup: BorrowedFd<'_>, maps: &'maps Maps) -> Result<Self> {
        // kernfs: the inode's number is the group's.
        let stat = rustix::fs::fstat(cgroup).blame_with("fstat(2)", || described(cgroup))?;
        Ok(Self { id: stat.st_ino, maps })
    }

    /// The maps that a group's programs use: it may have been confined by another version.
    fn find(cgroup: BorrowedFd<'_>) -> Result<Option<Maps>> {
        for (ids, _) in ours(cgroup, &HOOKS[0])? {
            if let Some(maps) = Maps::of_program(&ids)? {
                return Ok(Some(maps));
            }
        }
        Ok(None)
    }

    /// Addresses first, then the configuration, then what is not wanted any more goes.
    fn write(&self, before: Option<&Rules>, rules: &Rules) -> Result<()> {
        let (addresses, lists) = (self.maps.get(maps::ADDRESSES), self.maps.get(maps::LISTS));
        let wanted = entries(self.id, rules);
        for (key, value) in &wanted {
            addresses.update(key, value, BpfUpdate::Any)?;
        }
        for (key, value) in list(self.id, rules) {
            lists.update(&key, &value, BpfUpdate::Any)?;
        }
        for ip in owners::of(rules) {
            owners::claim(self.maps, ip, self.id, rules)?;
        }
        let config = rules::config(rules, self.id);
        self.maps.get(maps::GUESTS).update(&self.id.to_ne_bytes(), &config, BpfUpdate::Any)?;
        self.maps.get(maps::CONFIG).update(&self.id.to_ne_bytes(), &config, BpfUpdate::Any)?;
        let Some(before) = before else { return Ok(()) };
        for (key, _) in entries(self.id, before) {
            if !wanted.iter().any(|(kept, _)| *kept == key) {
                addresses.delete(&key)?;
            }
        }
        let owned = owners::of(rules);
        for ip in owners::of(before).into_iter().filter(|ip| !owned.contains(ip)) {
            owners::give_up(self.maps, ip, self.id)?;
        }
        let kept: Vec<_> = list(self.id, rules).into_iter().map(|(key, _)| key).collect();
        for (key, _) in list(self.id, before) {
            if !kept.contains(&key) {
                lists.delete(&key)?;
            }
        }
        Ok(())
    }

    fn read(&self) -> Result<Option<Rules>> {
        let mut config = [0; rules::at::SIZE];
        if !self.maps.get(maps::CONFIG).lookup(&self.id.to_ne_bytes(), &mut config)? {
            return Ok(None);
        }
        let listed = |place, family| {
            let mut value = [0; 20];
            let found =
                self.maps.get(maps::LISTS).lookup(&maps::list_key(self.id, place, family), &mut value)?;
            Ok(found.then_some(value))
        };
        rules::read(&config, listed)
    }

    fn forget(&self, rules: &Rules) -> Result<()> {
        for (key, _) in entries(self.id, rules) {
            self.maps.get(maps::ADDRESSES).delete(&key)?;
        }
        for (key, _) in list(self.id, rules) {
            self.maps.get(maps::LISTS).delete(&key)?;
        }
        self.maps.get(maps::GUESTS).delete(&self.id.to_ne_bytes())?;
        owners::of(rules).into_iter().try_for_each(|ip| owners::give_up(self.maps, ip, self.id))
    }
}

/// What stands in map `vs_addresses` for a guest: each address, and each network with the first address in it.
fn entries(cgroup: u64, rules: &Rules) -> Vec<([u8; 28], [u8; 20])> {
    let mut all = std::collections::BTreeMap::new();
    for family in [true, false] {
        let own = rules.addresses().filter(|(ip, _)| ip.is_ipv4() == family);
        for (place, (ip, prefix)) in own.enumerate() {
            let place = u32::try_from(place).unwrap_or(u32::MAX);
            all.entry(maps::key(cgroup, ip, maps::MEMBER)).or_insert_with(|| maps::value(place, ip));
            let network = maps::key(cgroup, network_of(ip, prefix), prefix.into());
            all.entry(network).or_insert_with(|| maps::value(place, ip));
        }
    }
    // IPv4's is known by its network.
    if rules.lback_remap {
        let lback6 = IpAddr::V6(rules.lback6);
        all.entry(maps::key(cgroup, lback6, maps::MEMBER)).or_insert_with(|| maps::value(u32::MAX, lback6));
    }
    all.into_iter().collect()
}

fn list(cgroup: u64, rules: &Rules) -> Vec<([u8; 16], [u8; 20])> {
    let one = |family, place: usize, ip, prefix: u8| {
        let place = u32::try_from(place).unwrap_or(u32::MAX);
        (maps::list_key(cgroup, place, family), maps::value(prefix.into(), ip))
    };
    let v4 = rules.v4.iter().enumerate().map(|(place, (ip, prefix))| one(4, place, IpAddr::V4(*ip), *prefix));
    let v6 = rules.v6.iter().enumerate().map(|(place, (ip, prefix))| one(6, place, IpAddr::V6(*ip), *prefix));
    v4.chain(v6).collect()
}

/// The address with the bits after the prefix zero.
fn network_of(ip: IpAddr, prefix: u8) -> IpAddr {
    match ip {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32_u32.saturating_sub(prefix.into())).unwrap_or(0);
            IpAddr::V4((v4.to_bits() & mask).into())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128_u32.saturating_sub(prefix.into())).unwrap_or(0);
            IpAddr::V6((v6.to_bits() & mask).into())
        }
    }
}

/// The directory's name for the programs that these abilities make: of what they are made, and for whom.
fn name_of(abilities: Abilities) -> String {
    let made_from = format!("{} {:?}", env!("VSERVER_KERNEL_SOURCES"), abilities.without_places());
    format!("network-{:032x}", fnv(made_from.into_bytes()))
}
