//! How a guest is confined: mode, capabilities, limits.

use vserver_config::guest::{Guest, UserSpace};
use vserver_model::flags::DEFAULT_NCAPS;
use vserver_model::{CapSet, Mode, NetCaps, UlimitResource, Xid, personality};

use crate::hide;
use crate::start::Ground;
use crate::step::{AllowedDevice, ResourceLimit, Rights, Warning};
use crate::tree::{DevEntry, DevKind};

/// Ids of a shifted guest when `spaces/user` does not say otherwise.
pub const ID_COUNT: u32 = 65_536;

/// The mode that `spaces/user` asks for.
pub fn mode(guest: &Guest, xid: Xid) -> Mode {
    match guest.spaces.user.as_ref().map(|user| &user.value) {
        None | Some(UserSpace::Off) => Mode::Classic,
        Some(UserSpace::Default) => Mode::Shifted { first_id: xid.first_uid(), count: ID_COUNT },
        Some(&UserSpace::Range { first, count }) => Mode::Shifted { first_id: first, count },
    }
}

/// The upper bound of every process in the guest: the secure set, then the lines of `bcapabilities`.
///
/// systemd takes capabilities away from its services and needs `SETPCAP` for it, or journald and logind do not start
/// (status 218). The capability only takes away and moves within the bound, so a guest run by systemd has it unless
/// the administrator's lines say otherwise.
pub fn capabilities(guest: &Guest, systemd: bool) -> CapSet {
    let default = if systemd { CapSet::SECURE.with(CapSet::SETPCAP) } else { CapSet::SECURE };
    let bits = guest.bcapabilities.bits.apply_on(default.0);
    // Bits that no capability has (from `all`) mean nothing and would confuse whoever reads the record.
    CapSet(bits & CapSet::KNOWN.0)
}

/// Capabilities that mean power over the whole host in a classic guest.
const HOST_WIDE: [&str; 9] = [
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_ADMIN",
    "SYS_TIME",
    "SYSLOG",
    "BPF",
    "PERFMON",
    "MAC_ADMIN",
    "MAC_OVERRIDE",
];

/// Capabilities that are worth what the network is that they are held over.
const OF_THE_NETWORK: [&str; 2] = ["NET_ADMIN", "NET_RAW"];

fn net_capabilities(guest: &Guest) -> NetCaps {
    NetCaps(guest.ncapabilities.bits.apply_on(DEFAULT_NCAPS.0))
}

/// Whether the guest may use sockets for whole frames if it holds `NET_RAW`: in a network of its own, with
/// `raw_packet`, or when it is not confined at all.
fn may_use_frames(guest: &Guest) -> bool {
    let granted = net_capabilities(guest).contains(NetCaps::RAW_PACKET);
    !hide::shares_the_network(guest) || granted || guest.noncontext.is_some()
}

/// Whether a guest has the network stack of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SharesNetwork {
    /// It has.
    Yes,
    /// It has a network namespace.
    No,
}

/// Capabilities that exist in a user namespace by name only.
const POWERLESS_WHEN_SHIFTED: [&str; 12] = [
    "LINUX_IMMUTABLE",
    "IPC_LOCK",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "MKNOD",
    "AUDIT_CONTROL",
    "SYSLOG",
    "WAKE_ALARM",
    "BPF",
];

/// What should be said about the capabilities that were added to the default set.
pub fn capability_warnings(guest: &Guest, mode: &Mode, network: SharesNetwork) -> Vec<Warning> {
    let added = capabilities(guest, false).without(CapSet::SECURE);
    let place = guest.bcapabilities.lines.first().map(|line| line.file.clone());
    let added = added.to_string();
    let named = |list: &[&str]| -> Vec<String> {
        added.split(',').filter(|name| list.contains(name)).map(str::to_owned).collect()
    };
    let (words, text) = match mode {
        Mode::Classic => (named(&HOST_WIDE), "give a classic guest power over the whole host"),
        Mode::Shifted { .. } => (
            named(&POWERLESS_WHEN_SHIFTED),
            "have no effect in a shifted guest (remove spaces/user for a classic one)",
        ),
    };
    let network_text = match (network, mode) {
        (SharesNetwork::No, _) => None,
        (SharesNetwork::Yes, Mode::Classic) => Some(
            "give a classic guest power over the host's network, beyond its own addresses (with a file spaces/net: \
             over its own)",
        ),
        (SharesNetwork::Yes, Mode::Shifted { .. }) => Some(
            "have no effect on the host's network in a shifted guest (with a file spaces/net: on its own)",
        ),
    };
    // Raw sockets alone send from the guest's own addresses only.
    let harmless = matches!(mode, Mode::Classic) && !may_use_frames(guest);
    let of_network = if harmless { &OF_THE_NETWORK[..1] } else { &OF_THE_NETWORK[..] };
    let of_network = network_text.map(|text| (named(of_network), text));
    [Some((words, text)), of_network]
        .into_iter()
        .flatten()
        .filter(|(words, _)| !words.is_empty())
        .map(|(words, text)| Warning {
            text: format!("capabilities {} {text}", words.join(", ")),
            place: place.clone(),
        })
        .collect()
}

/// What every process of the guest may do.
pub fn rights(guest: &Guest, mode: &Mode, systemd: bool, ground: &Ground) -> Rights {
    let capabilities = capabilities(guest, systemd);
    let classic = matches!(mode, Mode::Classic);
    Rights {
        capabilities,
        deny_system_calls: classic,
        deny_frames: classic && capabilities.contains(CapSet::NET_RAW) && !may_use_frames(guest),
        powerless_raw: !classic
            && hide::shares_the_network(guest)
            && net_capabilities(guest).contains(NetCaps::RAW_ICMP),
        user_namespaces: may_make_user_namespaces(guest),
        hide_devices: hide::brokered(guest),
        shadow: hide::in_shadow(guest),
        scope_sockets: hide::shares_the_network(guest) && !hide::in_shadow(guest) && ground.scopes_sockets,
        limits: limits(guest, ground.page_size),
        personality: personality_of(guest),
        nice: guest.nice.as_ref().map(|nice| nice.value),
        ionice: guest.ionice.as_ref().map(|ionice| (ionice.value.class, ionice.value.priority)),
        badness: guest.badness.as_ref().map(|badness| badness.value),
    }
}

/// Whether `umask` allows the guest user namespaces of its own: by default it does not.
pub fn may_make_user_namespaces(guest: &Guest) -> bool {
    const CLONE_NEWUSER: u64 = 0x1000_0000;
    guest.umask.bits.apply_on(0) & CLONE_NEWUSER != 0
}

/// The configured personality; a 32-bit x86 machine name asks for the 32-bit domain by itself (F11, S53).
pub fn personality_of(guest: &Guest) -> Option<u64> {
    let configured = guest.personality.as_ref().map(|personality| personality.value);
    let machine = guest.uts.machine.as_ref().map(|machine| machine.value.to_string_lossy().into_owned());
    if machine.is_some_and(|machine| personality::machine_is_32bit_x86(&machine)) {
        return Some(configured.unwrap_or(0) | PER_LINUX32);
    }
    configured
}

/// `PER_LINUX32` of personality(2): uname shows the 32-bit machine.
const PER_LINUX32: u64 = 8;

/// Limits of the first process: configured ones, and the hard limit of all others raised as far as the host allows
/// (seed: init scripts call `ulimit -u unlimited`).
fn limits(guest: &Guest, page_size: u64) -> Vec<ResourceLimit> {
    let mut limits: Vec<ResourceLimit> = UlimitResource::ALL
        .iter()
        .map(|&resource| {
            let configured = guest.ulimits.get(&resource);
            let hard = configured.and_then(|limit| limit.hard.as_ref()).map(|hard| hard.value.as_raw());
            let soft = configured.and_then(|limit| limit.soft.as_ref()).map(|soft| soft.value.as_raw());
            let unconfigured = match resource {
                UlimitResource::Nofile => 1_048_576,
                _ => u64::MAX,
            };
            ResourceLimit {
                resource: resource.number(),
                word: resource.name().to_owned(),
                soft: soft.map(|soft| soft.min(hard.unwrap_or(u64::MAX))),
                hard: hard.unwrap_or(unconfigured),
                may_fail: configured.is_none(),
            }
        })
        .collect();
    for more in crate::limits::of_each_process(guest, page_size) {
        match limits.iter_mut().find(|known| known.resource == more.resource) {
            Some(known) => {
                known.hard = known.hard.min(more.hard);
                known.soft = known.soft.map(|soft| soft.min(known.hard));
            }
            None => limits.push(more),
        }
    }
    limits
}

/// The nodes every guest has, as its `/dev` needs them: name, major, minor, mode.
pub const NODES: [(&str, u32, u32, u32); 6] = [
    ("null", 1, 3, 0o666),
    ("zero", 1, 5, 0o666),
    ("full", 1, 7, 0o666),
    ("random", 1, 8, 0o666),
    ("urandom", 1, 9, 0o666),
    ("tty", 5, 0, 0o666),
];

/// Which devices work: the harmless ones, terminals, and those whose node the administrator put in the tree's `dev`.
pub fn devices(entries: &[DevEntry]) -> Vec<AllowedDevice> {
    let character = |major, minor| AllowedDevice { block: false, major, minor, mknod: true };
    let mut allowed: Vec<AllowedDevice> =
        NODES.iter().map(|&(_, major, minor, _)| character(major, Some(minor))).collect();
    allowed.push(character(5, Some(2))); // ptmx
    // Unix98 terminals have eight majors; the guest reaches those of its own devpts only.
    allowed.extend((136..=143).map(|major| AllowedDevice { mknod: false, ..character(major, None) }));
    for entry in entries {
        let device = match entry.kind {
            DevKind::Char { major, minor } => AllowedDevice { mknod: false, ..character(major, Some(minor)) },
            DevKind::Block { major, minor } => {
                AllowedDevice { block: true, mknod: false, ..character(major, Some(minor)) }
            }
            _ => continue,
        };
        let known = allowed.iter().any(|other| {
            (other.block, other.major) == (device.block, device.major)
                && (other.minor.is_none() || other.minor == device.minor)
        });
        if !known {
            allowed.push(device);
        }
    }
    allowed
}
