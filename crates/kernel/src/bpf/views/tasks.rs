//! `/proc/loadavg` and `/proc/stat`: a pass over the tasks of the reader's PID namespace, which are the guest's.
//!
//! The program runs once for each task and once more at the end. What it has counted so far is in a map, under the number
//! of the reading. Averages are in another, under the number of the guest's group; they are carried on by whoever reads
//! them: nothing has to run for that. For the time in which nobody has, the processor time that the guest has used says
//! how many tasks ran.

use super::frame::{CONTEXT, Frame, SEQUENCE, Slot, helper};
use super::places::Places;
use super::processors;
use super::{Flush, Machine};
use crate::bpf::asm::{Alu, If, Label, MapNumber, Reg, Size};

/// Counters of readings: running, waiting without being interruptible, all.
pub const READINGS: MapNumber = MapNumber(0);
/// Averages of guests: when (ns since the host's boot), processor time then, and three averages.
pub const AVERAGES: MapNumber = MapNumber(1);

const TASK: Reg = Reg::R8;
const VALUE: Reg = Reg::R9;

const KEY: Slot = Slot(0);
const RUNNING: Slot = Slot(1);
const BLOCKED: Slot = Slot(2);
const ALL: Slot = Slot(3);
const GROUP: Slot = Slot(4);
pub const NOW: Slot = Slot(5);
pub const UPTIME: Slot = Slot(6);
const USER: Slot = Slot(7);
const SYSTEM: Slot = Slot(8);
const ONE: Slot = Slot(9);
const TWO: Slot = Slot(10);
const PIDS: Slot = Slot(11);
// What follows has two uses, one in each file.
const OLD: [Slot; 5] = [Slot(12), Slot(13), Slot(14), Slot(15), Slot(16)];
const TICKS: Slot = Slot(17);
const ACTIVE: Slot = Slot(18);
const GAP: Slot = Slot(19);
const FRACTIONS: [Slot; 3] = [Slot(20), Slot(21), Slot(22)];
const IDLE: Slot = Slot(12);
const COUNT: Slot = Slot(13);
const NUMBER: Slot = Slot(14);
const BOOTED: Slot = Slot(15);
const MASK: Slot = Slot(16);

/// Nanoseconds of a second, and of the five seconds after which the kernel carries averages on.
const SECOND: i32 = 1_000_000_000;
const TICK: u64 = 5_000_000_000;
/// `FSHIFT`, `FIXED_1`: averages have eleven bits behind the point.
const SHIFT: i32 = 11;
/// `EXP_1`, `EXP_5`, `EXP_15`: what remains of an average after five seconds.
const REMAINS: [i32; 3] = [1884, 2014, 2037];

/// Which tasks are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// All that the iterator shows: those of the reader's PID namespace.
    OfPidNamespace,
    /// Of these, those in the reader's cgroup namespace.
    OfCgroupNamespace,
}

/// Counts; what follows is for the end of a reading, with the counters in their slots.
fn count(frame: &mut Frame, places: &Places, whose: Whose) -> Label {
    let (end, at_end, known) = (frame.asm.label(), frame.asm.label(), frame.asm.label());
    frame.asm.load(Size::Double, Reg::R1, CONTEXT, 0).load(Size::Double, Reg::R1, Reg::R1, 8);
    frame.put(KEY, Reg::R1);
    frame.asm.load(Size::Double, TASK, CONTEXT, 8).jump_if_equal(TASK, 0, at_end);
    if whose == Whose::OfCgroupNamespace {
        frame.follow_register(ONE, TASK, places.nsproxy).follow(ONE, ONE, places.cgroup_ns);
        frame.walk(TWO, &[places.nsproxy, places.cgroup_ns]).get(Reg::R1, ONE).get(Reg::R2, TWO);
        frame.asm.jump_if_registers(If::NotEqual, Reg::R1, Reg::R2, end);
    }
    frame.lookup(READINGS, KEY);
    frame.asm.copy(VALUE, Reg::R0).jump_if_not_equal(VALUE, 0, known);
    for slot in [ALL, BLOCKED, RUNNING] {
        frame.set(slot, 0);
    }
    // A value of three numbers; the last slot lies lowest.
    update(frame, READINGS, KEY, ALL);
    frame.lookup(READINGS, KEY);
    frame.asm.copy(VALUE, Reg::R0).jump_if_equal(VALUE, 0, end).place(known);
    add_one(frame, 0);
    // Whoever reads is no load.
    frame.asm.call(helper::GET_CURRENT_TASK).jump_if_registers(If::Equal, Reg::R0, TASK, end);
    let (not_running, not_waiting) = (frame.asm.label(), frame.asm.label());
    frame.follow_word_register(ONE, TASK, places.state).get(Reg::R1, ONE);
    frame.asm.jump_if_not_equal(Reg::R1, 0, not_running);
    add_one(frame, 16);
    frame.asm.jump(end).place(not_running);
    // TASK_UNINTERRUPTIBLE without TASK_NOLOAD.
    frame.asm.copy(Reg::R2, Reg::R1).and(Reg::R2, 0x402).jump_if_not_equal(Reg::R2, 2, not_waiting);
    add_one(frame, 8);
    frame.asm.place(not_waiting).jump(end).place(at_end);
    let nothing = frame.asm.label();
    for slot in [ALL, BLOCKED, RUNNING] {
        frame.set(slot, 0);
    }
    frame.lookup(READINGS, KEY);
    frame.asm.jump_if_equal(Reg::R0, 0, nothing);
    for (place, slot) in [(0, ALL), (8, BLOCKED), (16, RUNNING)] {
        frame.asm.load(Size::Double, Reg::R1, Reg::R0, place);
        frame.put(slot, Reg::R1);
    }
    frame.asm.place(nothing).map(Reg::R1, READINGS).copy(Reg::R2, Reg::Frame);
    frame.asm.alu(Alu::Add, Reg::R2, i32::from(KEY.place())).call(helper::MAP_DELETE);
    end
}

fn add_one(frame: &mut Frame, place: i16) {
    frame.asm.load(Size::Double, Reg::R1, VALUE, place).alu(Alu::Add, Reg::R1, 1);
    frame.asm.store(Size::Double, VALUE, place, Reg::R1);
}

/// Makes or replaces the entry under `key` by the numbers in memory from that of `value` upwards.
fn update(frame: &mut Frame, map: MapNumber, key: Slot, value: Slot) {
    let asm = &mut frame.asm;
    asm.map(Reg::R1, map).copy(Reg::R2, Reg::Frame).alu(Alu::Add, Reg::R2, i32::from(key.place()));
    asm.copy(Reg::R3, Reg::Frame).alu(Alu::Add, Reg::R3, i32::from(value.place()));
    asm.set(Reg::R4, 0).call(helper::MAP_UPDATE);
}

/// The guest's group of version 2 with its processor time, the uptime that it sees, and the next process number.
fn group(frame: &mut Frame, places: &Places, machine: &Machine) {
    let way = [places.nsproxy, places.cgroup_ns, places.root_groups, places.default_group];
    frame.walk(GROUP, &way);
    if let Some(flush) = machine.flush {
        // What the processors have counted since the last time is added up first.
        flush_group(frame, places, flush);
    }
    frame.follow(USER, GROUP, places.user_time).follow(SYSTEM, GROUP, places.system_time);
    frame.walk(ONE, &[places.nsproxy, places.pid_ns]).follow_word(PIDS, ONE, places.next_pid);
    frame.does_value(PIDS, Alu::Subtract, 1);
    uptime(frame, places);
}

/// Has the kernel add up the processor time of the group in its slot.
fn flush_group(frame: &mut Frame, places: &Places, flush: Flush) {
    let Some((group_of_id, release)) = flush.group else {
        // Pointers whose types the kernel knows.
        frame.asm.call(helper::GET_CURRENT_TASK_TYPED).copy(Reg::R1, Reg::R0);
        for place in [places.nsproxy, places.cgroup_ns, places.root_groups, places.default_group] {
            frame.asm.load(Size::Double, Reg::R1, Reg::R1, i16::try_from(place).unwrap_or(i16::MAX));
        }
        frame.asm.call_kernel(flush.flush);
        return;
    };
    let gone = frame.asm.label();
    frame.follow(ONE, GROUP, places.node).follow(ONE, ONE, places.id).get(Reg::R1, ONE);
    frame.asm.call_kernel(group_of_id).jump_if_equal(Reg::R0, 0, gone);
    frame.asm.copy(VALUE, Reg::R0).copy(Reg::R1, Reg::R0).call_kernel(flush.flush);
    frame.asm.copy(Reg::R1, VALUE).call_kernel(release).place(gone);
}

/// The host's uptime and the guest's, ns.
pub fn uptime(frame: &mut Frame, places: &Places) {
    frame.asm.call(helper::KTIME_GET_BOOT);
    frame.put(NOW, Reg::R0).put(UPTIME, Reg::R0);
    frame.walk(ONE, &[places.nsproxy, places.time_ns]);
    frame.follow(TWO, ONE, places.uptime_offset).does_value(TWO, Alu::Multiply, SECOND);
    frame.does(UPTIME, Alu::Add, TWO).follow(TWO, ONE, places.uptime_offset + 8).does(UPTIME, Alu::Add, TWO);
}

/// `/proc/uptime`: the second number is how long the guest's processors have had nothing to do, all together.
pub fn uptime_file(frame: &mut Frame, places: &Places, machine: &Machine) {
    group(frame, places, machine);
    processors::mask(frame, places, MASK);
    processors::count(frame, machine, MASK, COUNT, ONE);
    frame.copy(IDLE, UPTIME).does(IDLE, Alu::Multiply, COUNT).less(IDLE, USER).less(IDLE, SYSTEM);
    let parts = [(UPTIME, RUNNING), (IDLE, BLOCKED)];
    for (seconds, hundredths) in parts {
        frame.copy(hundredths, seconds).does_value(hundredths, Alu::Divide, SECOND / 100);
        frame.does_value(seconds, Alu::Divide, SECOND).copy(ONE, seconds);
        frame.does_value(ONE, Alu::Multiply, 100).less(hundredths, ONE);
    }
    frame.print("%lu.%02lu %lu.%02lu\n", &[UPTIME, RUNNING, IDLE, BLOCKED]);
}

/// `/proc/loadavg`
pub fn loadavg(frame: &mut Frame, places: &Places, machine: &Machine) {
    let end = count(frame, places, Whose::OfPidNamespace);
    group(frame, places, machine);
    frame.follow(KEY, GROUP, places.node).follow(KEY, KEY, places.id);
    frame.does(USER, Alu::Add, SYSTEM);
    let (fresh, have) = (frame.asm.label(), frame.asm.label());
    frame.lookup(AVERAGES, KEY);
    frame.asm.jump_if_equal(Reg::R0, 0, fresh);
    for (place, slot) in (0..).step_by(8).zip(OLD.into_iter().rev()) {
        frame.asm.load(Size::Double, Reg::R1, Reg::R0, place);
        frame.put(slot, Reg::R1);
    }
    frame.asm.jump(have).place(fresh);
    // Nobody has read them yet: the guest began with nothing.
    for slot in OLD {
        frame.set(slot, 0);
    }
    frame.copy(OLD[4], NOW).less(OLD[4], UPTIME);
    frame.asm.place(have);
    carry_on(frame);
    for (fraction, average) in FRACTIONS.into_iter().zip(OLD) {
        // Rounded to hundredths as the kernel does.
        frame.copy(ONE, average).does_value(ONE, Alu::Add, (1 << SHIFT) / 200);
        frame.copy(fraction, ONE).does_value(fraction, Alu::And, (1 << SHIFT) - 1);
        frame.does_value(fraction, Alu::Multiply, 100).does_value(fraction, Alu::ShiftRight, SHIFT);
        frame.does_value(ONE, Alu::ShiftRight, SHIFT).copy(average, ONE);
    }
    frame.does_value(RUNNING, Alu::Add, 1);
    let [one, five, fifteen] = FRACTIONS;
    let line = [OLD[0], one, OLD[1], five, OLD[2], fifteen, RUNNING, ALL, PIDS];
    frame.print("%lu.%02lu %lu.%02lu %lu.%02lu %lu/%lu %lu\n", &line);
    frame.asm.place(end);
}

/// Carries averages on from when they are from until now, and keeps them: in OLD are the averages for 1, 5 and 15
/// minutes, the processor time then, and when that was.
fn carry_on(frame: &mut Frame) {
    let current = frame.asm.label();
    let [.., used, since] = OLD;
    frame.copy(ONE, NOW).less(ONE, since).get(Reg::R1, ONE);
    frame.asm.set_64(Reg::R2, TICK).alu_register(Alu::Divide, Reg::R1, Reg::R2);
    frame.put(TICKS, Reg::R1);
    frame.asm.jump_if_equal(Reg::R1, 0, current);
    frame.copy(ACTIVE, RUNNING).does(ACTIVE, Alu::Add, BLOCKED).does_value(ACTIVE, Alu::ShiftLeft, SHIFT);
    // After a pause: as many tasks as processors were used, until the last five seconds.
    let short = frame.asm.label();
    frame.copy(GAP, ACTIVE).get(Reg::R1, TICKS);
    frame.asm.jump_if(If::LessOrEqual, Reg::R1, 2, short);
    frame.copy(GAP, USER).less(GAP, used).does_value(GAP, Alu::ShiftLeft, SHIFT).does(GAP, Alu::Divide, ONE);
    frame.asm.place(short);
    // 2^12 ticks are more than five hours: nothing remains of what was before.
    frame.set(TWO, (1 << 12) - 1).copy(ONE, TICKS).does_value(ONE, Alu::Subtract, 1).at_most(ONE, TWO);
    for (average, remains) in OLD.into_iter().zip(REMAINS) {
        power(frame, remains);
        blend(frame, average, GAP);
        frame.asm.set(Reg::R3, remains);
        blend(frame, average, ACTIVE);
    }
    frame.copy(used, USER).get(Reg::R1, TICKS);
    frame.asm.set_64(Reg::R2, TICK).alu_register(Alu::Multiply, Reg::R1, Reg::R2);
    frame.get(Reg::R2, since);
    frame.asm.alu_register(Alu::Add, Reg::R1, Reg::R2);
    frame.put(since, Reg::R1);
    update(frame, AVERAGES, KEY, since);
    frame.asm.place(current);
}

/// `R3 = remains` to the power that is in ONE, of twelve bits, as numbers with [`SHIFT`] bits behind the point.
fn power(frame: &mut Frame, remains: i32) {
    frame.get(Reg::R4, ONE);
    frame.asm.set(Reg::R3, 1 << SHIFT).set(Reg::R2, remains);
    let half = (1 << SHIFT) / 2;
    for bit in 0..12 {
        // Times R2 if the bit is set, else times 1.
        frame.asm.copy(Reg::R1, Reg::R4).shift_right(Reg::R1, bit).and(Reg::R1, 1);
        frame.asm.copy(Reg::R5, Reg::R2).alu(Alu::Subtract, Reg::R5, 1 << SHIFT);
        frame.asm.alu_register(Alu::Multiply, Reg::R1, Reg::R5).alu(Alu::Add, Reg::R1, 1 << SHIFT);
        frame
            .asm
            .alu_register(Alu::Multiply, Reg::R3, Reg::R1)
            .alu(Alu::Add, Reg::R3, half)
            .shift_right(Reg::R3, 11);
        frame
            .asm
            .alu_register(Alu::Multiply, Reg::R2, Reg::R2)
            .alu(Alu::Add, Reg::R2, half)
            .shift_right(Reg::R2, 11);
    }
}

/// `average = average * R3 + active * (1 - R3)`, rounded up when it rises. R4 stays.
fn blend(frame: &mut Frame, average: Slot, active: Slot) {
    frame.get(Reg::R1, average).get(Reg::R2, active);
    let asm = &mut frame.asm;
    asm.copy(Reg::R5, Reg::R1).alu_register(Alu::Multiply, Reg::R5, Reg::R3);
    // What rounds up: nothing if it falls.
    asm.copy(Reg::R0, Reg::R2).alu_register(Alu::Subtract, Reg::R0, Reg::R1);
    asm.alu(Alu::ShiftRightSigned, Reg::R0, 63).alu(Alu::Xor, Reg::R0, -1).and(Reg::R0, (1 << SHIFT) - 1);
    asm.set(Reg::R1, 1 << SHIFT).alu_register(Alu::Subtract, Reg::R1, Reg::R3);
    asm.alu_register(Alu::Multiply, Reg::R1, Reg::R2).alu_register(Alu::Add, Reg::R1, Reg::R5);
    asm.alu_register(Alu::Add, Reg::R1, Reg::R0).shift_right(Reg::R1, 11);
    frame.put(average, Reg::R1);
}

/// `/proc/stat`: what the guest has used of its processors. What each one did is not told by the kernel for a group, so
/// all have an equal share.
pub fn stat(frame: &mut Frame, places: &Places, machine: &Machine, whose: Whose) {
    let end = count(frame, places, whose);
    group(frame, places, machine);
    // When the host was booted, then when the guest was.
    frame.asm.call(helper::KTIME_GET_TAI);
    frame.put(BOOTED, Reg::R0).less(BOOTED, UPTIME).get(Reg::R1, BOOTED);
    frame.asm.set_64(Reg::R2, u64::try_from(SECOND).unwrap_or(1)).alu_register(Alu::Divide, Reg::R1, Reg::R2);
    frame.asm.alu(Alu::Subtract, Reg::R1, machine.tai_offset);
    frame.put(BOOTED, Reg::R1);
    processors::mask(frame, places, MASK);
    processors::count(frame, machine, MASK, COUNT, ONE);
    // In hundredths of a second.
    for slot in [UPTIME, USER, SYSTEM] {
        frame.does_value(slot, Alu::Divide, 10_000_000);
    }
    frame.copy(IDLE, UPTIME).does(IDLE, Alu::Multiply, COUNT).less(IDLE, USER).less(IDLE, SYSTEM);
    frame.print("cpu  %lu 0 %lu %lu 0 0 0 0 0 0\n", &[USER, SYSTEM, IDLE]);
    for slot in [USER, SYSTEM, IDLE] {
        frame.does(slot, Alu::Divide, COUNT);
    }
    let line = "cpu%lu %lu 0 %lu %lu 0 0 0 0 0 0\n";
    frame.hold(line);
    for processor in 0..machine.processors {
        if processor % 64 == 0 {
            frame.follow(TWO, MASK, 8 * (processor / 64));
        }
        let without = frame.asm.label();
        frame.get(Reg::R1, TWO);
        frame.asm.shift_right(Reg::R1, u8::try_from(processor % 64).unwrap_or(0)).and(Reg::R1, 1);
        frame.asm.jump_if_equal(Reg::R1, 0, without);
        frame.set(NUMBER, u64::try_from(processor).unwrap_or(0)).print(line, &[NUMBER, USER, SYSTEM, IDLE]);
        frame.asm.place(without);
    }
    frame.does_value(RUNNING, Alu::Add, 1);
    frame.print(
        "intr 0\nctxt 0\nbtime %lu\nprocesses %lu\nprocs_running %lu\nprocs_blocked %lu\nsoftirq 0 0 0 0 0 0 0 0 0 0 0\n",
        &[BOOTED, PIDS, RUNNING, BLOCKED],
    );
    frame.asm.place(end);
    debug_assert!(SEQUENCE != TASK, "the file stays in its register");
}
