//! Which guest a packet is for, by its destination: what the programs of network namespaces look at.

use std::net::IpAddr;

use super::maps::{self, Maps, OWNERS_MAX};
use super::rules::{Rules, first_4, first_6};
use crate::Result;
use crate::sys::BpfUpdate;

/// The addresses that are steered. A guest's first IPv4 address is among them so that one which has it as a second
/// address comes to its turn.
pub(super) fn of(rules: &Rules) -> Vec<IpAddr> {
    if rules.any || rules.single_ip {
        return Vec::new();
    }
    let mut all: Vec<IpAddr> = rules.addresses().map(|(ip, _)| ip).collect();
    if rules.lback_remap {
        all.extend([IpAddr::V4(rules.lback), IpAddr::V6(rules.lback6)]);
    }
    all
}

fn value(cgroup: u64, rules: &Rules) -> [u8; 32] {
    let mut value = [0; 32];
    value[..8].copy_from_slice(&cgroup.to_ne_bytes());
    value[8..12].copy_from_slice(&first_4(rules));
    value[16..].copy_from_slice(&first_6(rules));
    value
}

/// Enters a guest for an address: at its place, or the first that is free or a vanished group's.
///
/// Where more than [`OWNERS_MAX`] guests share an address the others are not entered: their any-bound servers hear their
/// first address only.
pub(super) fn claim(maps: &Maps, ip: IpAddr, cgroup: u64, rules: &Rules) -> Result<()> {
    let owners = maps.get(maps::OWNERS);
    let value = value(cgroup, rules);
    let mut dead = None;
    for number in 0..OWNERS_MAX {
        let key = maps::owner_key(ip, number);
        let mut there = [0; 32];
        if !owners.lookup(&key, &mut there)? {
            let key = dead.unwrap_or(key);
            return owners.update(&key, &value, BpfUpdate::Any);
        }
        if there[..8] == cgroup.to_ne_bytes() {
            return owners.update(&key, &value, BpfUpdate::Any);
        }
        let alive = maps.get(maps::CONFIG).lookup(&there[..8], &mut [0; super::rules::at::SIZE])?;
        if !alive && dead.is_none() {
            dead = Some(key);
        }
    }
    match dead {
        Some(key) => owners.update(&key, &value, BpfUpdate::Any),
        None => Ok(()),
    }
}

/// Takes a guest away; the last one of those that share the address gets its place, as programs look no further than
/// the first gap.
pub(super) fn give_up(maps: &Maps, ip: IpAddr, cgroup: u64) -> Result<()> {
    let owners = maps.get(maps::OWNERS);
    let mut own = None;
    let mut last = None;
    for number in 0..OWNERS_MAX {
        let key = maps::owner_key(ip, number);
        let mut there = [0; 32];
        if !owners.lookup(&key, &mut there)? {
            break;
        }
        if there[..8] == cgroup.to_ne_bytes() {
            own = Some(key);
        }
        last = Some((key, there));
    }
    let (Some(own), Some((last, value))) = (own, last) else { return Ok(()) };
    if own != last {
        owners.update(&own, &value, BpfUpdate::Any)?;
    }
    owners.delete(&last).map(drop)
}

/// Takes away all that are not alive; how many.
pub(super) fn sweep(maps: &Maps, alive: &[Vec<u8>]) -> Result<usize> {
    let mut removed = 0;
    let owners = maps.get(maps::OWNERS);
    // The last ones of an address first.
    let mut keys = owners.keys()?;
    keys.sort_by(|a, b| b.cmp(a));
    for key in keys {
        let mut there = [0; 32];
        if owners.lookup(&key, &mut there)? && !alive.iter().any(|one| *one == there[..8]) {
            let bytes: [u8; 16] = key[..16].try_into().expect("16 of 20 bytes");
            let v6 = std::net::Ipv6Addr::from(bytes);
            let ip = v6.to_ipv4_mapped().map_or(IpAddr::V6(v6), IpAddr::V4);
            give_up(maps, ip, u64::from_ne_bytes(there[..8].try_into().expect("8 of 32 bytes")))?;
            removed += 1;
        }
    }
    Ok(removed)
}
