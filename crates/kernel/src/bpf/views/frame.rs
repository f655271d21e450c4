//! What the programs of the views have in common: numbers on the stack, reading the kernel's memory, printing.
//!
//! Everything is a number of 64 bits in a [`Slot`]. What cannot be read is 0, so that no walk needs a check.

use crate::bpf::asm::{Alu, Assembler, MapNumber, Reg, Size};

/// `enum bpf_func_id`
pub mod helper {
    pub const MAP_LOOKUP: i32 = 1;
    pub const MAP_UPDATE: i32 = 2;
    pub const MAP_DELETE: i32 = 3;
    pub const GET_CURRENT_TASK: i32 = 35;
    pub const PROBE_WRITE_USER: i32 = 36;
    pub const PROBE_READ_KERNEL: i32 = 113;
    pub const KTIME_GET_BOOT: i32 = 125;
    pub const SEQ_PRINTF: i32 = 126;
    pub const SEQ_WRITE: i32 = 127;
    pub const GET_CURRENT_TASK_TYPED: i32 = 158;
    /// Linux 6.1
    pub const KTIME_GET_TAI: i32 = 208;
}

/// A number on the stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot(pub i16);

impl Slot {
    /// How many there are.
    pub const COUNT: i16 = 24;

    /// Where it is, from the stack's end.
    pub const fn place(self) -> i16 {
        assert!(self.0 < Self::COUNT, "a slot that there is");
        -8 * (self.0 + 1)
    }
}

/// Arguments of a line, 12 at most, and its text.
const ARGUMENTS: i16 = -8 * Slot::COUNT - 96;
const TEXT: i16 = -512;

/// The file that is read: `struct seq_file`.
pub const SEQUENCE: Reg = Reg::R6;
/// What the program was called with.
pub const CONTEXT: Reg = Reg::R7;

/// A program under construction.
#[derive(Debug, Default)]
pub struct Frame {
    /// Where its instructions go.
    pub asm: Assembler,
    /// The text that was put on the stack to stay there.
    held: Vec<u8>,
}

impl Frame {
    /// A program without a file.
    pub fn new() -> Self {
        Self::default()
    }

    /// A program of an iterator: its first argument leads to the file.
    pub fn of_iterator() -> Self {
        let mut frame = Self::new();
        // struct bpf_iter__…: meta; struct bpf_iter_meta: seq, session_id, seq_num.
        frame.asm.copy(CONTEXT, Reg::R1).load(Size::Double, SEQUENCE, CONTEXT, 0);
        frame.asm.load(Size::Double, SEQUENCE, SEQUENCE, 0);
        frame
    }

    /// `to = slot`
    pub fn get(&mut self, to: Reg, slot: Slot) -> &mut Self {
        self.asm.load(Size::Double, to, Reg::Frame, slot.place());
        self
    }

    /// `slot = from`
    pub fn put(&mut self, slot: Slot, from: Reg) -> &mut Self {
        self.asm.store(Size::Double, Reg::Frame, slot.place(), from);
        self
    }

    /// `slot = value`
    pub fn set(&mut self, slot: Slot, value: u64) -> &mut Self {
        self.asm.set_64(Reg::R1, value);
        self.put(slot, Reg::R1)
    }

    /// `slot = from`
    pub fn copy(&mut self, slot: Slot, from: Slot) -> &mut Self {
        self.get(Reg::R1, from).put(slot, Reg::R1)
    }

    /// `slot = *(size *)(R3 + offset)`
    fn read(&mut self, slot: Slot, offset: i32, size: Size) -> &mut Self {
        let bytes = match size {
            Size::Double => 8,
            Size::Word => 4,
            Size::Half => 2,
            Size::Byte => 1,
        };
        let asm = &mut self.asm;
        asm.store_value(Size::Double, Reg::Frame, slot.place(), 0).alu(Alu::Add, Reg::R3, offset);
        asm.copy(Reg::R1, Reg::Frame).alu(Alu::Add, Reg::R1, i32::from(slot.place()));
        asm.set(Reg::R2, bytes).call(helper::PROBE_READ_KERNEL);
        self
    }

    /// `slot = *(u64 *)(base + offset)`
    pub fn follow(&mut self, slot: Slot, base: Slot, offset: i32) -> &mut Self {
        self.get(Reg::R3, base).read(slot, offset, Size::Double)
    }

    /// `slot = *(u64 *)(base + offset)`, from a register.
    pub fn follow_register(&mut self, slot: Slot, base: Reg, offset: i32) -> &mut Self {
        self.asm.copy(Reg::R3, base);
        self.read(slot, offset, Size::Double)
    }

    /// `slot = *(u32 *)(base + offset)`
    pub fn follow_word(&mut self, slot: Slot, base: Slot, offset: i32) -> &mut Self {
        self.get(Reg::R3, base).read(slot, offset, Size::Word)
    }

    /// The same from a register.
    pub fn follow_word_register(&mut self, slot: Slot, base: Reg, offset: i32) -> &mut Self {
        self.asm.copy(Reg::R3, base);
        self.read(slot, offset, Size::Word)
    }

    /// `slot =` the task that runs, then along these pointers.
    pub fn walk(&mut self, slot: Slot, offsets: &[i32]) -> &mut Self {
        self.asm.call(helper::GET_CURRENT_TASK);
        self.put(slot, Reg::R0);
        for offset in offsets {
            self.follow(slot, slot, *offset);
        }
        self
    }

    /// `slot = slot DOES other`
    pub fn does(&mut self, slot: Slot, does: Alu, other: Slot) -> &mut Self {
        self.get(Reg::R1, slot).get(Reg::R2, other);
        self.asm.alu_register(does, Reg::R1, Reg::R2);
        self.put(slot, Reg::R1)
    }

    /// `slot = slot DOES value`
    pub fn does_value(&mut self, slot: Slot, does: Alu, value: i32) -> &mut Self {
        self.get(Reg::R1, slot);
        self.asm.alu(does, Reg::R1, value);
        self.put(slot, Reg::R1)
    }

    /// `slot += *(u64 *)(base + offset)`, by way of another slot.
    pub fn add_from(&mut self, slot: Slot, base: Slot, offset: i32, way: Slot) -> &mut Self {
        self.follow(way, base, offset).does(slot, Alu::Add, way)
    }

    // No branches here: each would double what the kernel has to look at before it takes the program. Numbers are below
    // 2^63.

    /// `slot -= other`, but not below 0.
    pub fn less(&mut self, slot: Slot, other: Slot) -> &mut Self {
        self.get(Reg::R1, slot).get(Reg::R2, other);
        self.asm.alu_register(Alu::Subtract, Reg::R1, Reg::R2);
        self.positive_part();
        self.put(slot, Reg::R1)
    }

    /// `slot = min(slot, other)`
    pub fn at_most(&mut self, slot: Slot, other: Slot) -> &mut Self {
        self.get(Reg::R1, slot).get(Reg::R2, other);
        self.asm.alu_register(Alu::Subtract, Reg::R1, Reg::R2);
        self.positive_part();
        self.get(Reg::R2, slot);
        self.asm.alu_register(Alu::Subtract, Reg::R2, Reg::R1);
        self.put(slot, Reg::R2)
    }

    /// A counter of the kernel that may be a little below 0 for a moment: then 0.
    pub fn not_negative(&mut self, slot: Slot) -> &mut Self {
        self.get(Reg::R1, slot);
        self.positive_part();
        self.put(slot, Reg::R1)
    }

    /// `R1 = max(R1, 0)`, R2 is lost.
    fn positive_part(&mut self) {
        self.asm.copy(Reg::R2, Reg::R1).alu(Alu::ShiftRightSigned, Reg::R2, 63).alu(Alu::Xor, Reg::R2, -1);
        self.asm.alu_register(Alu::And, Reg::R1, Reg::R2);
    }

    /// Looks up the entry of a map under the key in a slot: `R0` is where its value is, or 0.
    pub fn lookup(&mut self, map: MapNumber, key: Slot) -> &mut Self {
        let asm = &mut self.asm;
        asm.map(Reg::R1, map).copy(Reg::R2, Reg::Frame).alu(Alu::Add, Reg::R2, i32::from(key.place()));
        asm.call(helper::MAP_LOOKUP);
        self
    }

    /// Prints a line, or a part of one, with these numbers.
    pub fn print(&mut self, format: &str, numbers: &[Slot]) -> &mut Self {
        self.row(numbers);
        let length = self.text(format, true);
        let asm = &mut self.asm;
        asm.copy(Reg::R1, SEQUENCE).copy(Reg::R2, Reg::Frame).alu(Alu::Add, Reg::R2, i32::from(TEXT));
        asm.set(Reg::R3, length).copy(Reg::R4, Reg::Frame).alu(Alu::Add, Reg::R4, i32::from(ARGUMENTS));
        asm.set(Reg::R5, i32::try_from(8 * numbers.len()).expect("twelve at most")).call(helper::SEQ_PRINTF);
        self
    }

    /// Prints a text as it is.
    pub fn write(&mut self, text: &str) -> &mut Self {
        let length = self.text(text, false);
        let asm = &mut self.asm;
        asm.copy(Reg::R1, SEQUENCE).copy(Reg::R2, Reg::Frame).alu(Alu::Add, Reg::R2, i32::from(TEXT));
        asm.set(Reg::R3, length).call(helper::SEQ_WRITE);
        self
    }

    /// Numbers one behind the other, from [`ROW`](Self::ROW) on.
    pub fn row(&mut self, numbers: &[Slot]) -> &mut Self {
        assert!(numbers.len() <= 12, "the kernel takes twelve numbers at once");
        for (place, slot) in (ARGUMENTS..).step_by(8).zip(numbers) {
            self.get(Reg::R1, *slot);
            self.asm.store(Size::Double, Reg::Frame, place, Reg::R1);
        }
        self
    }

    /// Where on the stack a row begins.
    pub const ROW: i16 = ARGUMENTS;

    /// Puts a format on the stack that is then printed several times, with nothing else in between.
    pub fn hold(&mut self, format: &str) -> &mut Self {
        self.text(format, true);
        self.held = [format.as_bytes(), &[0]].concat();
        self
    }

    /// Puts a text on the stack, unless it is there, and tells its length.
    fn text(&mut self, text: &str, ends_with_nul: bool) -> i32 {
        let mut bytes = text.as_bytes().to_vec();
        bytes.extend(ends_with_nul.then_some(0));
        assert!(TEXT + i16::try_from(bytes.len()).expect("short") <= ARGUMENTS, "a text has its room");
        if self.held != bytes {
            for (place, four) in (TEXT..).step_by(4).zip(bytes.chunks(4)) {
                let mut word = [0; 4];
                word[..four.len()].copy_from_slice(four);
                self.asm.store_value(Size::Word, Reg::Frame, place, i32::from_le_bytes(word));
            }
            self.held.clear();
        }
        i32::try_from(bytes.len()).expect("short")
    }
}
