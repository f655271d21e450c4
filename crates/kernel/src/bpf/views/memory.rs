//! `/proc/meminfo`, `/proc/swaps` and the memory of sysinfo(2) from one calculation.
//!
//! The reader's cgroup namespace tells whose machine it is: its root is the guest's group. What the guest has is the
//! smallest limit on the way up from there, and what is free is the least that any of these groups has left. The host
//! is the last of them: its limit is the memory that it has, and what it has left is what it calls available.

use std::fmt::Write as _;

use super::Machine;
use super::frame::{Frame, Slot};
use super::places::Places;
use crate::bpf::asm::{Alu, Reg};

/// How many groups up are looked at. The guest's is three below the root, or as deep as the host's service manager put
/// it; a deeper one has the limits of the nearest.
const DEPTH: u8 = 12;

// In pages.
pub const TOTAL: Slot = Slot(0);
pub const FREE: Slot = Slot(1);
pub const AVAILABLE: Slot = Slot(2);
pub const SWAP_TOTAL: Slot = Slot(3);
pub const SWAP_FREE: Slot = Slot(4);
pub const SHMEM: Slot = Slot(5);
const CACHED: Slot = Slot(6);
const ACTIVE_ANON: Slot = Slot(7);
const INACTIVE_ANON: Slot = Slot(8);
const ACTIVE_FILE: Slot = Slot(9);
const INACTIVE_FILE: Slot = Slot(10);
const RECLAIMABLE: Slot = Slot(11);
const UNRECLAIMABLE: Slot = Slot(12);
const UNEVICTABLE: Slot = Slot(13);
const ANON: Slot = Slot(14);
const MAPPED: Slot = Slot(15);
const DIRTY: Slot = Slot(16);
const WRITEBACK: Slot = Slot(17);
/// The group that is looked at, and places for what is read.
pub const GROUP: Slot = Slot(18);
const ONE: Slot = Slot(19);
const TWO: Slot = Slot(20);
/// During the calculation: what the group could give back, what the host has.
const RETURNABLE: Slot = Slot(21);
const HOST_LEFT: Slot = Slot(22);
/// Slots that have nothing yet while the groups are looked at.
const UNLIMITED: Slot = AVAILABLE;
const MEMORY: Slot = HOST_LEFT;
/// Always 0.
const ZERO: Slot = Slot(23);

/// Fills the slots for the guest of the task that runs.
pub fn gather(frame: &mut Frame, places: &Places, machine: &Machine) {
    let way = [places.nsproxy, places.cgroup_ns, places.root_groups, places.memory_group];
    frame.set(ZERO, 0).walk(GROUP, &way);
    host(frame, places, machine);
    own(frame, places, machine);
    frame.set(SWAP_TOTAL, machine.swap_pages).copy(SWAP_FREE, SWAP_TOTAL);
    frame.copy(FREE, HOST_LEFT).less(FREE, RETURNABLE);
    let top = frame.asm.label();
    for _ in 0..DEPTH {
        frame.get(Reg::R1, GROUP);
        frame.asm.jump_if_equal(Reg::R1, 0, top);
        // What is used more than the limit (it was lowered, or is about to be enforced) leaves nothing.
        for limit in [places.max, places.high] {
            frame.follow(ONE, GROUP, places.memory + limit).at_most(TOTAL, ONE);
            frame.follow(TWO, GROUP, places.memory + places.usage).less(ONE, TWO).at_most(FREE, ONE);
        }
        swap(frame, places, machine);
        frame.follow(GROUP, GROUP, places.above);
    }
    frame.asm.place(top);
    frame.at_most(FREE, TOTAL);
    frame.copy(AVAILABLE, FREE).does(AVAILABLE, Alu::Add, RETURNABLE).at_most(AVAILABLE, TOTAL);
    // Statistics are up to two seconds old, counters are not: no part is larger than the whole.
    frame
        .copy(ONE, TOTAL)
        .less(ONE, FREE)
        .at_most(RECLAIMABLE, ONE)
        .less(ONE, RECLAIMABLE)
        .at_most(CACHED, ONE);
}

/// Limit and use of swap of one group.
fn swap(frame: &mut Frame, places: &Places, machine: &Machine) {
    let swap = |what: i32| places.swap + what;
    frame.follow(ONE, GROUP, swap(places.max)).follow(TWO, GROUP, swap(places.usage));
    if machine.memory_v1 {
        // Here it counts memory and swap together; without a limit of both (2^51 pages) the difference means nothing.
        frame.copy(UNLIMITED, ONE).does_value(UNLIMITED, Alu::ShiftRight, 50).does_value(
            UNLIMITED,
            Alu::ShiftLeft,
            50,
        );
        frame.follow(MEMORY, GROUP, places.memory + places.max).less(ONE, MEMORY).does(
            ONE,
            Alu::Or,
            UNLIMITED,
        );
        frame.follow(MEMORY, GROUP, places.memory + places.usage).less(TWO, MEMORY);
    }
    frame.at_most(SWAP_TOTAL, ONE).less(ONE, TWO).at_most(SWAP_FREE, ONE);
    frame.copy(ONE, SWAP_TOTAL).less(ONE, TWO).at_most(SWAP_FREE, ONE);
}

/// What the host has, and what of it is available by the kernel's own rule (`si_mem_available`).
fn host(frame: &mut Frame, places: &Places, machine: &Machine) {
    let (low, file, reserve, slab) = (ACTIVE_ANON, ACTIVE_FILE, INACTIVE_FILE, RECLAIMABLE);
    for slot in [TOTAL, HOST_LEFT, low, file, reserve, slab] {
        frame.set(slot, 0);
    }
    for node in &machine.nodes {
        frame.follow(ONE, GROUP, places.of_nodes + 8 * node).follow(ONE, ONE, places.to_node);
        for zone in 0..places.zones {
            let at = places.zone + zone * places.zone_size;
            frame.add_from(TOTAL, ONE, at + places.zone_managed, TWO);
            frame.add_from(HOST_LEFT, ONE, at + places.zone_free, TWO);
            frame.add_from(low, ONE, at + places.zone_low, TWO);
        }
        frame.add_from(reserve, ONE, places.reserve, TWO);
        let item = |number: i32| places.node_items + 8 * number;
        frame.add_from(file, ONE, item(places.items.active_file), TWO);
        frame.add_from(file, ONE, item(places.items.inactive_file), TWO);
        frame.add_from(slab, ONE, item(places.node_reclaimable), TWO);
        frame.add_from(slab, ONE, item(places.node_misc_reclaimable), TWO);
    }
    frame.less(HOST_LEFT, reserve);
    for part in [file, slab] {
        frame.copy(ONE, part).does_value(ONE, Alu::ShiftRight, 1).at_most(ONE, low).less(part, ONE);
        frame.does(HOST_LEFT, Alu::Add, part);
    }
    frame.at_most(HOST_LEFT, TOTAL);
}

/// What the guest's group uses, of each kind.
fn own(frame: &mut Frame, places: &Places, machine: &Machine) {
    let items = &places.items;
    frame.follow(ONE, GROUP, places.statistics);
    for (slot, item) in [
        (ACTIVE_ANON, items.active_anon),
        (INACTIVE_ANON, items.inactive_anon),
        (ACTIVE_FILE, items.active_file),
        (INACTIVE_FILE, items.inactive_file),
        (UNEVICTABLE, items.unevictable),
        (RECLAIMABLE, items.slab_reclaimable),
        (UNRECLAIMABLE, items.slab_unreclaimable),
        (ANON, items.anon_mapped),
        (MAPPED, items.file_mapped),
        (CACHED, items.file),
        (DIRTY, items.dirty),
        (WRITEBACK, items.writeback),
        (SHMEM, items.shmem),
    ] {
        frame.follow(slot, ONE, 8 * item).not_negative(slot);
    }
    for slot in [RECLAIMABLE, UNRECLAIMABLE] {
        frame.does_value(slot, Alu::ShiftRight, i32::from(machine.page_shift));
    }
    frame.copy(RETURNABLE, ACTIVE_FILE).does(RETURNABLE, Alu::Add, INACTIVE_FILE);
    frame.does(RETURNABLE, Alu::Add, RECLAIMABLE);
    frame.follow(TWO, GROUP, places.memory + places.usage).at_most(RETURNABLE, TWO);
}

/// `/proc/meminfo`. Lines that are about the host's kernel alone are not there.
pub fn meminfo(frame: &mut Frame, places: &Places, machine: &Machine) {
    gather(frame, places, machine);
    frame.copy(ONE, ACTIVE_ANON).does(ONE, Alu::Add, ACTIVE_FILE);
    frame.copy(TWO, INACTIVE_ANON).does(TWO, Alu::Add, INACTIVE_FILE);
    frame.copy(GROUP, RECLAIMABLE).does(GROUP, Alu::Add, UNRECLAIMABLE);
    for slot in (TOTAL.0..=TWO.0).map(Slot) {
        frame.does_value(slot, Alu::ShiftLeft, i32::from(machine.page_shift) - 10);
    }
    let lines: [(&str, Slot); 27] = [
        ("MemTotal", TOTAL),
        ("MemFree", FREE),
        ("MemAvailable", AVAILABLE),
        ("Buffers", ZERO),
        ("Cached", CACHED),
        ("SwapCached", ZERO),
        ("Active", ONE),
        ("Inactive", TWO),
        ("Active(anon)", ACTIVE_ANON),
        ("Inactive(anon)", INACTIVE_ANON),
        ("Active(file)", ACTIVE_FILE),
        ("Inactive(file)", INACTIVE_FILE),
        ("Unevictable", UNEVICTABLE),
        ("Mlocked", ZERO),
        ("SwapTotal", SWAP_TOTAL),
        ("SwapFree", SWAP_FREE),
        ("Dirty", DIRTY),
        ("Writeback", WRITEBACK),
        ("AnonPages", ANON),
        ("Mapped", MAPPED),
        ("Shmem", SHMEM),
        ("KReclaimable", RECLAIMABLE),
        ("Slab", GROUP),
        ("SReclaimable", RECLAIMABLE),
        ("SUnreclaim", UNRECLAIMABLE),
        ("HugePages_Total", ZERO),
        ("HugePages_Free", ZERO),
    ];
    for group in lines.chunks(6) {
        let mut format = String::new();
        let mut numbers = Vec::new();
        for (name, slot) in group {
            // As the kernel sets them: the number ends in column 24.
            let unit = if name.starts_with("Huge") { "" } else { " kB" };
            writeln!(format, "{name}:%{}lu{unit}", 23 - name.len()).expect("writing to a text does not fail");
            numbers.push(*slot);
        }
        frame.print(&format, &numbers);
    }
}

/// `/proc/swaps`: all that the guest may swap, as if it were one device.
pub fn swaps(frame: &mut Frame, places: &Places, machine: &Machine) {
    gather(frame, places, machine);
    frame.write("Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n");
    let none = frame.asm.label();
    frame.get(Reg::R1, SWAP_TOTAL);
    frame.asm.jump_if_equal(Reg::R1, 0, none);
    frame.copy(ONE, SWAP_TOTAL).less(ONE, SWAP_FREE);
    for slot in [ONE, SWAP_TOTAL] {
        frame.does_value(slot, Alu::ShiftLeft, i32::from(machine.page_shift) - 10);
    }
    frame.print("/dev/swap                               partition\t%lu\t\t%lu\t\t-2\n", &[SWAP_TOTAL, ONE]);
    frame.asm.place(none);
}
