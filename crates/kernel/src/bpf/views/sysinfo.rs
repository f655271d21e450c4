//! sysinfo(2) for guests: a program that runs when the kernel has answered, and puts the guest's memory and load where
//! the caller wanted them. It costs callers outside of guests one look into a map, and no process is in the way.
//!
//! Not for programs of 32 bits: their structure is another.

use super::Machine;
use super::frame::{Frame, Slot, helper};
use super::memory;
use super::places::Places;
use super::tasks::AVERAGES;
use crate::bpf::asm::{Alu, If, MapNumber, Reg, Size};
use crate::btf::{Btf, Index};

/// Which groups see a machine of their own: their numbers, and what of it ([`MEMORY`], [`LOAD`]).
pub const MEMBERS: MapNumber = MapNumber(2);
pub const MEMORY: u32 = 1;
pub const LOAD: u32 = 2;

/// How many groups up the guest's is looked for, for callers with a cgroup namespace of their own inside the guest.
const DEPTH: u8 = 8;

// Beside those of the calculation of memory.
const KEY: Slot = Slot(0);
const GROUP: Slot = Slot(1);
const WAY: Slot = Slot(2);
/// Kept in a register: the address in the caller's memory, what the guest sees, its averages.
const TARGET: Reg = Reg::R8;
const WHAT: Reg = Reg::R9;
const VALUE: Reg = Reg::R7;

/// `struct sysinfo` on machines of 64 bits: where three averages are, and six numbers about memory.
const LOADS: i32 = 8;
const RAM: i32 = 32;
/// `SI_LOAD_SHIFT - FSHIFT`
const LOAD_SHIFT: i32 = 5;

/// The function that answers, and where its caller's registers have the address.
pub fn hook(btf: &Btf, index: &Index<'_>) -> Option<(u32, i16)> {
    let (name, register) = if cfg!(target_arch = "x86_64") {
        ("__x64_sys_sysinfo", "pt_regs.di")
    } else {
        ("__arm64_sys_sysinfo", "pt_regs.regs")
    };
    Some((btf.function(name)?, i16::try_from(index.byte(register)?).ok()?))
}

/// The program.
pub fn program(frame: &mut Frame, places: &Places, machine: &Machine, register: i16) {
    let (end, found) = (frame.asm.label(), frame.asm.label());
    // Arguments of the function and its result.
    frame.asm.load(Size::Double, Reg::R2, Reg::R1, 8).jump_if_not_equal(Reg::R2, 0, end);
    frame.asm.load(Size::Double, Reg::R1, Reg::R1, 0);
    frame.follow_register(WAY, Reg::R1, i32::from(register)).get(TARGET, WAY);
    frame.walk(GROUP, &[places.nsproxy, places.cgroup_ns, places.root_groups, places.default_group]);
    for _ in 0..DEPTH {
        frame.follow(KEY, GROUP, places.node).follow(KEY, KEY, places.id).lookup(MEMBERS, KEY);
        frame.asm.jump_if_not_equal(Reg::R0, 0, found);
        frame.follow(GROUP, GROUP, places.above).get(Reg::R1, GROUP);
        frame.asm.jump_if_equal(Reg::R1, 0, end);
    }
    frame.asm.jump(end).place(found).load(Size::Word, WHAT, Reg::R0, 0);
    load(frame);
    frame.asm.jump_if_32(If::Equal, WHAT, LOAD, end);
    memory::gather(frame, places, machine);
    for slot in [memory::TOTAL, memory::FREE, memory::SHMEM, memory::SWAP_TOTAL, memory::SWAP_FREE] {
        frame.does_value(slot, Alu::ShiftLeft, i32::from(machine.page_shift));
    }
    // What the kernel calls buffers is not known of a group.
    frame.set(memory::GROUP, 0);
    frame.row(&[
        memory::TOTAL,
        memory::FREE,
        memory::SHMEM,
        memory::GROUP,
        memory::SWAP_TOTAL,
        memory::SWAP_FREE,
    ]);
    give(frame, RAM, 48);
    frame.asm.place(end).answer(0);
}

/// Averages as they were when `/proc/loadavg` was read last.
fn load(frame: &mut Frame) {
    let (without, write, unknown) = (frame.asm.label(), frame.asm.label(), frame.asm.label());
    frame.asm.copy(Reg::R1, WHAT).and(Reg::R1, LOAD.cast_signed()).jump_if_equal(Reg::R1, 0, without);
    frame.lookup(AVERAGES, KEY);
    frame.asm.copy(VALUE, Reg::R0);
    let slots = [Slot(3), Slot(4), Slot(5)];
    for slot in slots {
        frame.set(slot, 0);
    }
    frame.asm.jump_if_equal(VALUE, 0, unknown);
    for (place, slot) in [(32, slots[0]), (24, slots[1]), (16, slots[2])] {
        frame.asm.load(Size::Double, Reg::R1, VALUE, place).alu(Alu::ShiftLeft, Reg::R1, LOAD_SHIFT);
        frame.put(slot, Reg::R1);
    }
    frame.asm.place(unknown).jump(write).place(write);
    frame.row(&slots);
    give(frame, LOADS, 24);
    frame.asm.place(without);
}

/// Writes the row into the caller's structure.
fn give(frame: &mut Frame, place: i32, bytes: i32) {
    let asm = &mut frame.asm;
    asm.copy(Reg::R1, TARGET).alu(Alu::Add, Reg::R1, place);
    asm.copy(Reg::R2, Reg::Frame).alu(Alu::Add, Reg::R2, i32::from(Frame::ROW));
    asm.set(Reg::R3, bytes).call(helper::PROBE_WRITE_USER);
}
