//! `/proc/cpuinfo` and `/sys/devices/system/cpu/online`: the processors of the guest's cpuset, with the host's numbers, as
//! `sched_getaffinity(2)` tells them.
//!
//! The program runs once for each element of an array that has one for each processor, with its text in it.

use super::Machine;
use super::frame::{CONTEXT, Frame, SEQUENCE, Slot, helper};
use super::places::Places;
use crate::bpf::asm::{Alu, If, Label, Reg, Size};

/// Bytes of an element: the text's length and the text.
pub const ELEMENT: u32 = 4096;

const KEY: Reg = Reg::R8;
const VALUE: Reg = Reg::R9;

const MASK: Slot = Slot(0);
const NUMBER: Slot = Slot(1);
const NEIGHBOUR: Slot = Slot(2);
const WORD: Slot = Slot(3);
const BEFORE: Slot = Slot(4);
const AFTER: Slot = Slot(5);
const FULL: Slot = Slot(6);

/// Where the words with the processors of the guest's cpuset are.
pub fn mask(frame: &mut Frame, places: &Places, to: Slot) {
    frame.walk(to, &[places.nsproxy, places.cgroup_ns, places.root_groups, places.cpuset_group]);
    if places.processors_apart {
        frame.follow(to, to, places.processors);
    } else {
        frame.does_value(to, Alu::Add, places.processors);
    }
}

/// How many there are, at least one.
pub fn count(frame: &mut Frame, machine: &Machine, mask: Slot, to: Slot, word: Slot) {
    frame.set(to, 0);
    for processor in 0..machine.processors {
        if processor % 64 == 0 {
            frame.follow(word, mask, 8 * (processor / 64));
        }
        frame.get(Reg::R1, word);
        frame.asm.shift_right(Reg::R1, u8::try_from(processor % 64).unwrap_or(0)).and(Reg::R1, 1);
        frame.get(Reg::R2, to);
        frame.asm.alu_register(Alu::Add, Reg::R2, Reg::R1);
        frame.put(to, Reg::R2);
    }
    let some = frame.asm.label();
    frame.get(Reg::R1, to);
    frame.asm.jump_if_not_equal(Reg::R1, 0, some).set(Reg::R1, 1).place(some);
    frame.put(to, Reg::R1);
}

/// Goes on with a processor's number in its slot; gives where the program goes without an element, and its end.
fn begin(frame: &mut Frame, places: &Places) -> (Label, Label) {
    let (last, end) = (frame.asm.label(), frame.asm.label());
    // struct bpf_iter__bpf_map_elem: meta, map, key, value.
    frame.asm.load(Size::Double, KEY, CONTEXT, 16).jump_if_equal(KEY, 0, last);
    frame.asm.load(Size::Double, VALUE, CONTEXT, 24).jump_if_equal(VALUE, 0, last);
    frame.asm.load(Size::Word, Reg::R1, KEY, 0);
    frame.put(NUMBER, Reg::R1);
    mask(frame, places, MASK);
    (last, end)
}

/// `to` = whether the processor in `number` is the guest's: 1 or 0.
fn is_there(frame: &mut Frame, machine: &Machine, number: Slot, to: Slot) {
    let outside = frame.asm.label();
    frame.set(to, 0).get(Reg::R1, number);
    frame.asm.jump_if(If::GreaterOrEqual, Reg::R1, machine.processors, outside);
    frame.get(Reg::R3, MASK);
    frame.asm.shift_right(Reg::R1, 6).alu(Alu::ShiftLeft, Reg::R1, 3).alu_register(
        Alu::Add,
        Reg::R3,
        Reg::R1,
    );
    frame.follow_register(WORD, Reg::R3, 0).get(Reg::R1, WORD).get(Reg::R2, number);
    frame.asm.and(Reg::R2, 63).alu_register(Alu::ShiftRight, Reg::R1, Reg::R2).and(Reg::R1, 1);
    frame.put(to, Reg::R1);
    frame.asm.place(outside);
}

/// `/proc/cpuinfo`
pub fn cpuinfo(frame: &mut Frame, places: &Places, machine: &Machine) {
    let (last, end) = begin(frame, places);
    is_there(frame, machine, NUMBER, BEFORE);
    frame.get(Reg::R1, BEFORE);
    frame.asm.jump_if_equal(Reg::R1, 0, end).load(Size::Word, Reg::R3, VALUE, 0);
    frame.asm.jump_if(If::Greater, Reg::R3, ELEMENT.cast_signed() - 4, end);
    frame.asm.copy(Reg::R1, SEQUENCE).copy(Reg::R2, VALUE).alu(Alu::Add, Reg::R2, 4);
    frame.asm.call(helper::SEQ_WRITE).place(last).place(end);
}

/// `/sys/devices/system/cpu/online`: `0-2,5`.
pub fn online(frame: &mut Frame, places: &Places, machine: &Machine) {
    let (last, end) = begin(frame, places);
    is_there(frame, machine, NUMBER, BEFORE);
    frame.get(Reg::R1, BEFORE);
    frame.asm.jump_if_equal(Reg::R1, 0, end);
    // Before the first there is none: its number is beyond all.
    frame.copy(NEIGHBOUR, NUMBER).does_value(NEIGHBOUR, Alu::Subtract, 1);
    is_there(frame, machine, NEIGHBOUR, BEFORE);
    frame.copy(NEIGHBOUR, NUMBER).does_value(NEIGHBOUR, Alu::Add, 1);
    is_there(frame, machine, NEIGHBOUR, AFTER);
    let (inside, first) = (frame.asm.label(), frame.asm.label());
    frame.get(Reg::R1, BEFORE);
    frame.asm.jump_if_not_equal(Reg::R1, 0, inside);
    frame.follow_register(FULL, SEQUENCE, places.count).get(Reg::R1, FULL);
    frame.asm.jump_if_equal(Reg::R1, 0, first);
    frame.write(",");
    frame.asm.place(first);
    frame.print("%lu", &[NUMBER]);
    frame.asm.jump(end).place(inside);
    frame.get(Reg::R1, AFTER);
    frame.asm.jump_if_not_equal(Reg::R1, 0, end);
    frame.print("-%lu", &[NUMBER]);
    frame.asm.jump(end).place(last);
    frame.write("\n");
    frame.asm.place(end);
}
