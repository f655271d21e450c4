//! Network contexts: which addresses the processes of a cgroup may use of a network stack that they share with others.
//!
//! One set of programs and maps serves all guests. It is loaded once and pinned in a bpffs under a name made from its
//! content, so that another version of this product puts its own beside it. A guest is a value in the map `vs_config`,
//! which belongs to its cgroup, and entries in others with its cgroup's number in their keys. Cgroup numbers are never
//! used again, so what a vanished group leaves in a map means nothing; [`Network::sweep`] removes it.
//!
//! The order of [`Network::confine`] is what makes it safe: programs are attached first and deny everything while the
//! group's configuration is zero; addresses come next, the configuration last. Call it before a process moves in. A
//! socket keeps the group that it was made in, wherever it is passed.

mod bind;
mod code;
mod maps;
mod rules;

use std::fs::DirBuilder;
use std::net::IpAddr;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

pub use rules::{LBACK6_NETWORK, LowPorts, Rules, WILDCARD_PORTS, WILDCARD_PORTS_MAX, lback6};

use self::code::{Abilities, Instructions};
use self::maps::Maps;
use super::asm::{Assembler, Reg};
use super::{fnv, with_unlimited_memlock};
use crate::sys::{self, BpfAttach, BpfProgramKind, BpfUpdate};
use crate::{Blame, Fault, Result, described};

/// Something that this kernel cannot do for network contexts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Missing {
    /// `bpf_set_retval` (Linux 5.18).
    Reasons,
    /// A bpffs to pin in.
    Pins,
}

impl Missing {
    /// What it means for a guest, for a warning.
    pub fn words(self) -> &'static str {
        match self {
            Self::Reasons => {
                "this kernel's programs cannot say why they refuse: a guest that binds a foreign address is told EPERM \
                 instead of EADDRNOTAVAIL"
            }
            Self::Pins => {
                "no bpffs is mounted: each guest gets programs of its own, and any-bound servers hear their first \
                 address only"
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

/// `BPF_PROG_TYPE_CGROUP_SOCK_ADDR`
const SOCK_ADDR: u32 = 18;
/// `BPF_CGROUP_INET4_BIND`
const INET4_BIND: u32 = 8;

const fn kind(program_type: u32, attach_type: u32) -> BpfProgramKind {
    BpfProgramKind::Raw { program_type, attach_type, btf_id: 0 }
}

/// What is attached to each guest's cgroup. The first one is what a confined group is known by.
const HOOKS: [Hook; 1] = [Hook { name: "vs_bind4", kind: kind(SOCK_ADDR, INET4_BIND), build: bind::bind4 }];

/// The programs and maps of all guests.
#[derive(Debug)]
pub struct Network {
    maps: Maps,
    programs: Vec<OwnedFd>,
    missing: Vec<Missing>,
}

impl Network {
    /// Takes the set from `directory`, in a bpffs, if it is there already; else loads and pins it.
    ///
    /// Without a directory nothing is pinned: the groups that it is attached to keep what they need. `EPERM`: no
    /// `CAP_BPF` and `CAP_NET_ADMIN` (or `CAP_SYS_ADMIN`).
    pub fn open(directory: Option<&Path>) -> Result<Self> {
        let all = Abilities { set_retval: true };
        let pins = directory.map(|directory| directory.join(name_of(all)));
        if let Some(Ok(found)) = pins.map(|pins| Self::pinned(&pins, all)) {
            return Ok(found);
        }
        let abilities = Abilities { set_retval: can_set_retval() };
        let pins = directory.map(|directory| directory.join(name_of(abilities)));
        if let Some(Ok(found)) = pins.as_ref().map(|pins| Self::pinned(pins, abilities)) {
            return Ok(found);
        }
        let loaded = match Self::load(abilities) {
            // Before Linux 5.11 programs and maps were charged to RLIMIT_MEMLOCK, which is 64 KiB by default.
            Err(fault) if fault.is(libc::EPERM) => {
                with_unlimited_memlock(|| Self::load(abilities)).unwrap_or(Err(fault))?
            }
            other => other?,
        };
        let Some(pins) = pins else { return Ok(loaded.without(Missing::Pins)) };
        match loaded.pin(&pins) {
            Ok(()) => Ok(loaded),
            // Somebody else was faster: theirs is what others will find, so it is ours too.
            Err(_) if pins.exists() => Self::pinned(&pins, abilities),
            Err(_) => Ok(loaded.without(Missing::Pins)),
        }
    }

    fn without(mut self, what: Missing) -> Self {
        self.missing.push(what);
        self
    }

    fn new(abilities: Abilities, maps: Maps, programs: Vec<OwnedFd>) -> Self {
        let missing = if abilities.set_retval { Vec::new() } else { vec![Missing::Reasons] };
        Self { maps, programs, missing }
    }

    fn pinned(pins: &Path, abilities: Abilities) -> Result<Self> {
        let maps = Maps::open(pins)?;
        let programs =
            HOOKS.iter().map(|hook| sys::bpf_object_get(&pins.join(hook.name))).collect::<Result<_>>()?;
        Ok(Self::new(abilities, maps, programs))
    }

    fn load(abilities: Abilities) -> Result<Self> {
        let maps = Maps::create()?;
        let load = |hook: &Hook| {
            let (mut code, names) = (hook.build)(abilities);
            for (at, map) in names {
                let fd = std::os::fd::AsRawFd::as_raw_fd(&maps.get(map).as_fd());
                code[at] = code[at] & 0xffff_ffff | u64::from(fd.cast_unsigned()) << 32;
            }
            sys::bpf_load(hook.kind, hook.name, &code)
        };
        let programs = HOOKS.iter().map(load).collect::<Result<Vec<_>>>()?;
        // So that all maps are found by way of this one.
        for map in maps.iter() {
            sys::bpf_program_hold(programs[0].as_fd(), map)?;
        }
        Ok(Self::new(abilities, maps, programs))
    }

    /// All or nothing: pinned in a directory of another name first.
    fn pin(&self, pins: &Path) -> Result<()> {
        let new = pins.with_file_name(format!("new-{}", std::process::id()));
        let done = self.pin_in(&new).and_then(|()| {
            rustix::fs::rename(&new, pins).blame_with("rename(2)", || pins.display().to_string())
        });
        if done.is_err() {
            // Whatever is left of it is unused; what cannot be removed is a few names in a bpffs.
            std::fs::remove_dir_all(&new).ok();
        }
        done
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
        let done = HOOKS.iter().zip(&self.programs).try_for_each(|(hook, program)| {
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
        guest.write(before.as_ref(), rules)
    }

    /// The rules of a confined group.
    pub fn rules_of(&self, cgroup: BorrowedFd<'_>) -> Result<Option<Rules>> {
        let Some(maps) = Guest::find(cgroup)? else { return Ok(None) };
        Guest::of(cgroup, &maps)?.read()
    }

    /// Takes a group's rules away, and the programs that enforce them: call it when the group is empty. That the group
    /// was not confined is no fault.
    pub fn release(&self, cgroup: BorrowedFd<'_>) -> Result<()> {
        let Some(maps) = Guest::find(cgroup)? else { return Ok(()) };
        let guest = Guest::of(cgroup, &maps)?;
        let rules = guest.read()?;
        let mut done = Ok(());
        for hook in &HOOKS {
            for (_, program) in ours(cgroup, hook)? {
                let detached =
                    sys::bpf_detach(BpfAttach { cgroup, program: program.as_fd(), kind: hook.kind });
                done = done.and(detached);
            }
        }
        match rules {
            Some(rules) => done.and(guest.forget(&rules)),
            None => done,
        }
    }

    /// Makes the calling thread's network namespace serve any-bound sockets of its guests: all of a guest's addresses
    /// instead of the first one alone. `devices`: the indices of those that carry guests' addresses; `lo` is always
    /// served. What is served already stays so; it lasts as long as the pins, or the namespace.
    pub fn serve_namespace(&self, _devices: &[u32]) -> Result<()> {
        Ok(())
    }

    /// Removes what groups that are gone have left in the maps of this version. Cheap, and never needed.
    pub fn sweep(&self) -> Result<()> {
        let alive = self.maps.get(maps::CONFIG).keys()?;
        for map in [maps::ADDRESSES, maps::LISTS] {
            let map = self.maps.get(map);
            for key in map.keys()? {
                if !alive.iter().any(|cgroup| key.starts_with(cgroup)) {
                    map.delete(&key)?;
                }
            }
        }
        Ok(())
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
        let config = rules::config(rules, self.id);
        self.maps.get(maps::CONFIG).update(&self.id.to_ne_bytes(), &config, BpfUpdate::Any)?;
        let Some(before) = before else { return Ok(()) };
        for (key, _) in entries(self.id, before) {
            if !wanted.iter().any(|(kept, _)| *kept == key) {
                addresses.delete(&key)?;
            }
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
        Ok(())
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

/// The directory's name for the programs that these abilities make.
fn name_of(abilities: Abilities) -> String {
    let mut bytes = maps::layout();
    for hook in &HOOKS {
        bytes.extend(hook.name.bytes());
        bytes.extend((hook.build)(abilities).0.iter().flat_map(|instruction| instruction.to_le_bytes()));
    }
    format!("network-{:032x}", fnv(bytes))
}

/// Whether programs can say why they refuse: asked by loading one that does.
fn can_set_retval() -> bool {
    let mut asm = Assembler::new();
    asm.set(Reg::R1, -libc::EADDRNOTAVAIL).call(code::helper::SET_RETVAL).answer(0);
    let load = || sys::bpf_load(HOOKS[0].kind, "vs_probe", &asm.clone().finish());
    match load() {
        Err(fault) if fault.is(libc::EPERM) => {
            with_unlimited_memlock(load).is_some_and(|second| second.is_ok())
        }
        other => other.is_ok(),
    }
}
