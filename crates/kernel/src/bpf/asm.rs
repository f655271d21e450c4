//! A small assembler for eBPF: the operations that our programs use, and labels to jump to.
//!
//! The encoding is that of `Documentation/bpf/standardization/instruction-set.rst` on a little-endian machine.

/// A register; the names are the numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Reg {
    /// The result.
    R0 = 0,
    /// The context at the start.
    R1,
    /// Free.
    R2,
    /// Free.
    R3,
    /// Free.
    R4,
    /// Free.
    R5,
    /// Kept across calls.
    R6,
    /// Kept across calls.
    R7,
    /// Kept across calls.
    R8,
    /// Kept across calls.
    R9,
}

/// A place in the program that is jumped to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label(usize);

/// Collects instructions; [`finish`](Self::finish) puts in the distances of the jumps.
#[derive(Clone, Debug, Default)]
pub struct Assembler {
    code: Vec<u64>,
    /// Where each label is.
    places: Vec<Option<usize>>,
    /// Jumps: which instruction, to which label.
    jumps: Vec<(usize, Label)>,
}

/// Operation codes: class, source and operation in one.
mod op {
    pub const LOAD_WORD: u8 = 0x61;
    pub const MOVE_REGISTER: u8 = 0xbf;
    pub const MOVE: u8 = 0xb7;
    pub const AND: u8 = 0x57;
    pub const SHIFT_RIGHT: u8 = 0x77;
    pub const JUMP: u8 = 0x05;
    pub const JUMP_EQUAL: u8 = 0x15;
    pub const JUMP_NOT_EQUAL: u8 = 0x55;
    pub const EXIT: u8 = 0x95;
}

impl Assembler {
    /// An empty program.
    pub fn new() -> Self {
        Self::default()
    }

    fn push(&mut self, code: u8, to: Reg, from: Reg, offset: i16, value: i32) -> &mut Self {
        self.code.push(
            u64::from(code)
                | u64::from(to as u8) << 8
                | u64::from(from as u8) << 12
                | u64::from(offset.cast_unsigned()) << 16
                | u64::from(value.cast_unsigned()) << 32,
        );
        self
    }

    /// `to = *(u32 *)(from + offset)`, the upper half zero.
    pub fn load_word(&mut self, to: Reg, from: Reg, offset: i16) -> &mut Self {
        self.push(op::LOAD_WORD, to, from, offset, 0)
    }

    /// `to = from`
    pub fn copy(&mut self, to: Reg, from: Reg) -> &mut Self {
        self.push(op::MOVE_REGISTER, to, from, 0, 0)
    }

    /// `to = value`
    pub fn set(&mut self, to: Reg, value: i32) -> &mut Self {
        self.push(op::MOVE, to, Reg::R0, 0, value)
    }

    /// `to &= value`, the value sign-extended to 64 bits.
    pub fn and(&mut self, to: Reg, value: i32) -> &mut Self {
        self.push(op::AND, to, Reg::R0, 0, value)
    }

    /// `to >>= bits`, filled with zeros.
    pub fn shift_right(&mut self, to: Reg, bits: u8) -> &mut Self {
        self.push(op::SHIFT_RIGHT, to, Reg::R0, 0, i32::from(bits))
    }

    /// A label that is [placed](Self::place) later.
    pub fn label(&mut self) -> Label {
        self.places.push(None);
        Label(self.places.len() - 1)
    }

    /// The label is here.
    pub fn place(&mut self, label: Label) -> &mut Self {
        self.places[label.0] = Some(self.code.len());
        self
    }

    fn jump_with(&mut self, code: u8, register: Reg, value: i32, label: Label) -> &mut Self {
        self.jumps.push((self.code.len(), label));
        self.push(code, register, Reg::R0, 0, value)
    }

    /// Goes on at the label.
    pub fn jump(&mut self, label: Label) -> &mut Self {
        self.jump_with(op::JUMP, Reg::R0, 0, label)
    }

    /// Goes on at the label if `register == value`, sign-extended to 64 bits.
    pub fn jump_if_equal(&mut self, register: Reg, value: i32, label: Label) -> &mut Self {
        self.jump_with(op::JUMP_EQUAL, register, value, label)
    }

    /// Goes on at the label if `register != value`, sign-extended to 64 bits.
    pub fn jump_if_not_equal(&mut self, register: Reg, value: i32, label: Label) -> &mut Self {
        self.jump_with(op::JUMP_NOT_EQUAL, register, value, label)
    }

    /// Ends with `value` as the answer.
    pub fn answer(&mut self, value: i32) -> &mut Self {
        self.set(Reg::R0, value).push(op::EXIT, Reg::R0, Reg::R0, 0, 0)
    }

    /// The instructions.
    ///
    /// # Panics
    /// If a label is jumped to and placed nowhere, or more than 32767 instructions away: a mistake in this crate.
    pub fn finish(mut self) -> Vec<u64> {
        for (at, label) in self.jumps {
            let place = self.places[label.0].expect("every label that is jumped to is placed");
            let next = i64::try_from(at + 1).expect("a program is short");
            let distance = i64::try_from(place).expect("a program is short") - next;
            let distance = i16::try_from(distance).expect("a jump is short");
            self.code[at] |= u64::from(distance.cast_unsigned()) << 16;
        }
        self.code
    }
}

#[cfg(test)]
pub(super) mod machine {
    //! Runs programs of this assembler, to say what they answer without a kernel.

    use super::op;

    /// What the program answers for a context of 32-bit words.
    pub(crate) fn run(code: &[u64], context: &[u32]) -> u64 {
        let mut registers = [0_u64; 16];
        let mut at = 0_usize;
        for _ in 0..100_000 {
            let instruction = code[at];
            at += 1;
            let (to, from) = ((instruction >> 8 & 15) as usize, (instruction >> 12 & 15) as usize);
            let offset = i64::from((instruction >> 16 & 0xffff) as i16);
            let value = i64::from((instruction >> 32) as i32).cast_unsigned();
            let jumps = match (instruction & 0xff) as u8 {
                op::LOAD_WORD => {
                    assert_eq!((from, offset % 4), (1, 0), "the context is read, word by word");
                    registers[to] = context[usize::try_from(offset / 4).unwrap()].into();
                    false
                }
                op::MOVE_REGISTER => {
                    registers[to] = registers[from];
                    false
                }
                op::MOVE => {
                    registers[to] = value;
                    false
                }
                op::AND => {
                    registers[to] &= value;
                    false
                }
                op::SHIFT_RIGHT => {
                    registers[to] >>= value;
                    false
                }
                op::JUMP => true,
                op::JUMP_EQUAL => registers[to] == value,
                op::JUMP_NOT_EQUAL => registers[to] != value,
                op::EXIT => return registers[0],
                other => panic!("operation {other:#x}"),
            };
            if jumps {
                at = at.checked_add_signed(offset.try_into().unwrap()).unwrap();
            }
        }
        panic!("it does not end");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_are_encoded_as_the_kernel_documents() {
        let mut asm = Assembler::new();
        let end = asm.label();
        asm.load_word(Reg::R2, Reg::R1, 4).jump_if_not_equal(Reg::R2, -1, end).answer(1).place(end).answer(0);
        assert_eq!(
            asm.finish(),
            [
                0x0000_0000_0004_1261, // r2 = *(u32 *)(r1 + 4)
                0xffff_ffff_0002_0255, // if r2 != -1 goto +2
                0x0000_0001_0000_00b7, // r0 = 1
                0x0000_0000_0000_0095, // exit
                0x0000_0000_0000_00b7, // r0 = 0
                0x0000_0000_0000_0095, // exit
            ]
        );
    }

    #[test]
    fn jumps_go_where_the_label_is() {
        let mut asm = Assembler::new();
        let (one, two) = (asm.label(), asm.label());
        asm.load_word(Reg::R3, Reg::R1, 0).copy(Reg::R4, Reg::R3).shift_right(Reg::R4, 4).and(Reg::R4, 3);
        asm.jump_if_equal(Reg::R4, 1, one).jump(two).place(one).answer(10).place(two).answer(20);
        let code = asm.finish();
        assert_eq!((machine::run(&code, &[0x1f]), machine::run(&code, &[0x2f])), (10, 20));
    }
}
