//! The maps that the programs of all guests share.

use std::net::IpAddr;
use std::path::Path;

use super::rules::{address_bytes, at};
use crate::Result;
use crate::bpf::asm::MapNumber;
use crate::sys::{self, BpfMap, BpfMapKind, BpfMapSpec};

/// Each guest's configuration: the value belongs to the cgroup and goes with it.
pub(super) const CONFIG: MapNumber = MapNumber(0);
/// Which addresses and networks each guest has, see [`key`].
pub(super) const ADDRESSES: MapNumber = MapNumber(1);
/// The same in the administrator's order. No program reads it.
pub(super) const LISTS: MapNumber = MapNumber(2);
/// What is known of a socket: [`mark`].
pub(super) const SOCKETS: MapNumber = MapNumber(3);

/// Which guests have an address: the key is the address and a number that counts up from 0, as guests may share one.
pub(super) const OWNERS: MapNumber = MapNumber(4);
/// Any-bound TCP listeners: cgroup, port (this machine's order), [`listener_kind`].
pub(super) const LISTENERS: MapNumber = MapNumber(5);

/// The configurations once more, by cgroup, for programs that no group runs.
pub(super) const GUESTS: MapNumber = MapNumber(6);
/// Devices that put the source of ICMP packets right, by their index.
pub(super) const DEVICES: MapNumber = MapNumber(7);

/// How many guests can share an address and have it steered.
pub(super) const OWNERS_MAX: i32 = 4;
/// How many listeners of one port are known for a family (`SO_REUSEPORT`).
pub(super) const LISTENER_SLOTS: i32 = 8;

/// How many for this mark: a port of the kernel's choice is hardly ever shared.
pub(super) const fn listener_slots(bit: u32) -> i32 {
    if bit == mark::LATE_4 { 1 } else { LISTENER_SLOTS }
}

/// The last part of a key of [`LISTENERS`]: a family's mark and a slot.
pub(super) const fn listener_kind(bit: u32, slot: i32) -> i32 {
    slot << 8 | bit.cast_signed()
}

/// A socket's value in [`SOCKETS`].
pub(super) mod mark {
    /// Was bound to any address of IPv4, and really is at the first one.
    pub const ANY_4: u32 = 1;
    /// Was bound to any address of IPv6.
    pub const ANY_6: u32 = 2;
    /// Was bound to `::` for both families, with a port of the kernel's choice, and really is at the first IPv6 address:
    /// an IPv6 client can go on from there, and a listener is found by IPv4 later, see [`listener_slots`].
    pub const LATE_4: u32 = 8;
    /// Sends ICMP, and was bound to whatever it liked.
    pub const ICMP: u32 = 4;
    /// u64: the cgroup that the socket was made in.
    pub const CGROUP: i16 = 0;
    /// u32: the bits.
    pub const BITS: i16 = 8;
}

/// An owner's value in [`OWNERS`].
pub(super) mod owner {
    /// u64
    pub const CGROUP: i16 = 0;
    /// IPv4 address where any-bound sockets really are, or zero.
    pub const FIRST_4: i16 = 8;
    /// The same for IPv6.
    pub const FIRST_6: i16 = 16;
}

const NO_PREALLOC: u32 = 1;
/// Buckets are 16 bytes each; more entries only make the lists of buckets longer.
const ENTRIES: u32 = 65_536;

struct Shape {
    name: &'static str,
    kind: BpfMapKind,
    key: u32,
    value: u32,
    entries: u32,
    flags: u32,
}

const SHAPES: [Shape; 8] = [
    Shape {
        name: "vs_config",
        kind: BpfMapKind::CgroupStorage,
        key: 8,
        value: at::LENGTH,
        entries: 0,
        flags: 0,
    },
    Shape {
        name: "vs_addresses",
        kind: BpfMapKind::Hash,
        key: 28,
        value: 20,
        entries: ENTRIES,
        flags: NO_PREALLOC,
    },
    Shape {
        name: "vs_lists",
        kind: BpfMapKind::Hash,
        key: 16,
        value: 20,
        entries: ENTRIES,
        flags: NO_PREALLOC,
    },
    Shape {
        name: "vs_sockets",
        kind: BpfMapKind::SocketStorage,
        key: 4,
        value: 16,
        entries: 0,
        flags: NO_PREALLOC,
    },
    Shape {
        name: "vs_owners",
        kind: BpfMapKind::Hash,
        key: 20,
        value: 32,
        entries: ENTRIES,
        flags: NO_PREALLOC,
    },
    Shape { name: "vs_listeners", kind: BpfMapKind::SockHash, key: 16, value: 8, entries: 16_384, flags: 0 },
    Shape {
        name: "vs_guests",
        kind: BpfMapKind::Hash,
        key: 8,
        value: at::LENGTH,
        entries: ENTRIES,
        flags: NO_PREALLOC,
    },
    Shape {
        name: "vs_devices",
        kind: BpfMapKind::Hash,
        key: 4,
        value: 4,
        entries: ENTRIES,
        flags: NO_PREALLOC,
    },
];

/// The maps, open.
#[derive(Debug)]
pub(super) struct Maps(Vec<BpfMap>);

impl Maps {
    /// Makes new ones.
    pub fn create() -> Result<Self> {
        let types = sys::bpf_types_load(&socket_types())?;
        let make = |shape: &Shape| {
            use std::os::fd::AsFd as _;
            let of_sockets = shape.kind == BpfMapKind::SocketStorage;
            BpfMap::create(
                shape.name,
                BpfMapSpec {
                    kind: shape.kind,
                    key: shape.key,
                    value: shape.value,
                    entries: shape.entries,
                    flags: shape.flags,
                    types: of_sockets.then_some((types.as_fd(), 1, 2)),
                },
            )
        };
        SHAPES.iter().map(make).collect::<Result<_>>().map(Self)
    }

    /// Opens those that are pinned in a directory.
    pub fn open(directory: &Path) -> Result<Self> {
        SHAPES.iter().map(|shape| BpfMap::open(&directory.join(shape.name))).collect::<Result<_>>().map(Self)
    }

    /// Opens those that a program uses, by the numbers of its maps. `None`: they are not ours.
    pub fn of_program(ids: &[u32]) -> Result<Option<Self>> {
        let mut known: Vec<Option<BpfMap>> = SHAPES.iter().map(|_| None).collect();
        for id in ids {
            let map = BpfMap::by_id(*id)?;
            if let Some(number) = SHAPES.iter().position(|shape| shape.name == map.name()) {
                known[number] = Some(map);
            }
        }
        Ok(known.into_iter().collect::<Option<Vec<_>>>().map(Self))
    }

    pub fn get(&self, map: MapNumber) -> &BpfMap {
        &self.0[usize::from(map.0)]
    }

    pub fn iter(&self) -> impl Iterator<Item = &BpfMap> {
        self.0.iter()
    }
}

/// The smallest type information in which type 1 is a number of 32 bits and type 2 one of 128
/// (`Documentation/bpf/btf.rst`): storage of sockets does not go without.
fn socket_types() -> Vec<u8> {
    const INTEGER: u32 = 1 << 24;
    const NAMES: &[u8] = b"\0key\0value\0";
    let words = |words: &[u32]| words.iter().flat_map(|word| word.to_ne_bytes()).collect::<Vec<_>>();
    let mut bytes = 0xeb9f_u16.to_ne_bytes().to_vec();
    bytes.extend([1, 0]);
    // Length of the header; where the types begin and how long they are; the same for names.
    bytes.extend(words(&[24, 0, 32, 32, 11]));
    // Name, kind, bytes, bits; twice.
    bytes.extend(words(&[1, INTEGER, 4, 32, 5, INTEGER, 16, 128]));
    bytes.extend(NAMES);
    bytes
}

/// Keys of [`ADDRESSES`]: cgroup, address, and a number that is 256 for "is the guest's" or a prefix length for "is a
/// network of the guest's".
pub(super) fn key(cgroup: u64, ip: IpAddr, kind: u32) -> [u8; 28] {
    let mut key = [0; 28];
    key[..8].copy_from_slice(&cgroup.to_ne_bytes());
    key[8..24].copy_from_slice(&address_bytes(ip));
    key[24..].copy_from_slice(&kind.to_ne_bytes());
    key
}

/// The last part of a key for "is the guest's".
pub(super) const MEMBER: u32 = 256;

/// Values of [`ADDRESSES`] and [`LISTS`]: a number (place in the list, or prefix length) and an address.
pub(super) fn value(number: u32, ip: IpAddr) -> [u8; 20] {
    let mut value = [0; 20];
    value[..4].copy_from_slice(&number.to_ne_bytes());
    value[4..].copy_from_slice(&address_bytes(ip));
    value
}

/// Keys of [`LISTS`]: cgroup, place, family (4 or 6).
pub(super) fn list_key(cgroup: u64, place: u32, family: u32) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&cgroup.to_ne_bytes());
    key[8..12].copy_from_slice(&place.to_ne_bytes());
    key[12..].copy_from_slice(&family.to_ne_bytes());
    key
}

/// Keys of [`OWNERS`]; the network of a loopback address stands for all of it.
pub(super) fn owner_key(ip: IpAddr, number: i32) -> [u8; 20] {
    let ip = match ip {
        IpAddr::V4(v4) if v4.is_loopback() => IpAddr::V4((v4.to_bits() & 0xffff_ff00).into()),
        other => other,
    };
    let mut key = [0; 20];
    key[..16].copy_from_slice(&address_bytes(ip));
    key[16..].copy_from_slice(&number.to_ne_bytes());
    key
}
