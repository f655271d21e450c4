//! A small assembler for eBPF: the operations that our programs use, and labels to jump to.
//!
//! The encoding is that of `Documentation/bpf/standardization/instruction-set.rst` on a little-endian machine.

/// A register; the names are the numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Reg {
    /// The result of a call and of the program.
    R0 = 0,
    /// The context at the start; first argument of a call.
    R1,
    /// Second argument; free, lost by a call.
    R2,
    /// Third argument.
    R3,
    /// Fourth argument.
    R4,
    /// Fifth argument.
    R5,
    /// Kept across calls.
    R6,
    /// Kept across calls.
    R7,
    /// Kept across calls.
    R8,
    /// Kept across calls.
    R9,
    /// The end of the stack, which grows down from it: 512 bytes. Read only.
    Frame,
}

/// How much of memory is read or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Size {
    /// 4 bytes.
    Word = 0x00,
    /// 2 bytes.
    Half = 0x08,
    /// 1 byte.
    Byte = 0x10,
    /// 8 bytes.
    Double = 0x18,
}

/// What two values are compared for; without `Signed` in the name as unsigned numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum If {
    /// `a == b`
    Equal = 0x10,
    /// `a > b`
    Greater = 0x20,
    /// `a >= b`
    GreaterOrEqual = 0x30,
    /// `a & b != 0`
    AnyBit = 0x40,
    /// `a != b`
    NotEqual = 0x50,
    /// `a < b`
    Less = 0xa0,
    /// `a <= b`
    LessOrEqual = 0xb0,
}

/// What is done with two values; the first takes the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Alu {
    /// `a += b`
    Add = 0x00,
    /// `a -= b`
    Subtract = 0x10,
    /// `a *= b`
    Multiply = 0x20,
    /// `a /= b`; 0 if `b` is 0.
    Divide = 0x30,
    /// `a |= b`
    Or = 0x40,
    /// `a &= b`
    And = 0x50,
    /// `a <<= b`
    ShiftLeft = 0x60,
    /// `a >>= b`, filled with zeros.
    ShiftRight = 0x70,
    /// `a ^= b`
    Xor = 0xa0,
    /// `a = b`
    Move = 0xb0,
    /// `a >>= b`, filled with the uppermost bit.
    ShiftRightSigned = 0xc0,
}

/// A place in the program that is jumped to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label(usize);

/// A map that the program names, by a number that its loader knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MapNumber(pub u16);

/// Collects instructions; [`finish`](Self::finish) puts in the distances of the jumps.
#[derive(Clone, Debug, Default)]
pub struct Assembler {
    code: Vec<u64>,
    /// Where each label is.
    places: Vec<Option<usize>>,
    /// Jumps: which instruction, to which label.
    jumps: Vec<(usize, Label)>,
    /// Which instructions name which map.
    maps: Vec<(usize, MapNumber)>,
}

/// Operation codes: class, source and operation in one.
mod op {
    /// `BPF_LDX | BPF_MEM`
    pub const LOAD: u8 = 0x61;
    /// `BPF_STX | BPF_MEM`
    pub const STORE: u8 = 0x63;
    /// `BPF_ST | BPF_MEM`
    pub const STORE_VALUE: u8 = 0x62;
    /// `BPF_LD | BPF_DW | BPF_IMM`: takes two instructions.
    pub const LOAD_64: u8 = 0x18;
    /// Classes, with the bit that says that the second value is a register.
    pub const ALU_64: u8 = 0x07;
    pub const ALU_32: u8 = 0x04;
    pub const JUMP_64: u8 = 0x05;
    pub const JUMP_32: u8 = 0x06;
    pub const REGISTER: u8 = 0x08;
    /// `BPF_ALU | BPF_END | BPF_TO_BE`
    pub const BIG_ENDIAN: u8 = 0xdc;
    pub const CALL: u8 = 0x85;
    pub const EXIT: u8 = 0x95;
    /// `BPF_PSEUDO_KFUNC_CALL`, in the place of a source register.
    pub const PSEUDO_KERNEL: u8 = 2;
    /// `BPF_PSEUDO_MAP_FD`, in the place of a source register.
    pub const PSEUDO_MAP: u8 = 1;
}

impl Assembler {
    /// An empty program.
    pub fn new() -> Self {
        Self::default()
    }

    fn push(&mut self, code: u8, to: u8, from: u8, offset: i16, value: i32) -> &mut Self {
        self.code.push(
            u64::from(code)
                | u64::from(to) << 8
                | u64::from(from) << 12
                | u64::from(offset.cast_unsigned()) << 16
                | u64::from(value.cast_unsigned()) << 32,
        );
        self
    }

    /// `to = *(size *)(from + offset)`, the upper part zero.
    pub fn load(&mut self, size: Size, to: Reg, from: Reg, offset: i16) -> &mut Self {
        self.push(op::LOAD | size as u8, to as u8, from as u8, offset, 0)
    }

    /// `to = *(u32 *)(from + offset)`, the upper half zero.
    pub fn load_word(&mut self, to: Reg, from: Reg, offset: i16) -> &mut Self {
        self.load(Size::Word, to, from, offset)
    }

    /// `*(size *)(to + offset) = from`
    pub fn store(&mut self, size: Size, to: Reg, offset: i16, from: Reg) -> &mut Self {
        self.push(op::STORE | size as u8, to as u8, from as u8, offset, 0)
    }

    /// `*(size *)(to + offset) = value`, sign-extended where the memory is wider.
    ///
    /// Not into a program's context: older kernels refuse that.
    pub fn store_value(&mut self, size: Size, to: Reg, offset: i16, value: i32) -> &mut Self {
        self.push(op::STORE_VALUE | size as u8, to as u8, 0, offset, value)
    }

    /// `to =` this map, for a call.
    pub fn map(&mut self, to: Reg, map: MapNumber) -> &mut Self {
        self.maps.push((self.code.len(), map));
        self.push(op::LOAD_64, to as u8, op::PSEUDO_MAP, 0, i32::from(map.0)).push(0, 0, 0, 0, 0)
    }

    /// `to = from`
    pub fn copy(&mut self, to: Reg, from: Reg) -> &mut Self {
        self.alu_register(Alu::Move, to, from)
    }

    /// `to = value`
    pub fn set(&mut self, to: Reg, value: i32) -> &mut Self {
        self.alu(Alu::Move, to, value)
    }

    /// `to = to DOES value`, with 64 bits; the value is sign-extended.
    pub fn alu(&mut self, does: Alu, to: Reg, value: i32) -> &mut Self {
        self.push(op::ALU_64 | does as u8, to as u8, 0, 0, value)
    }

    /// `to = to DOES from`, with 64 bits.
    pub fn alu_register(&mut self, does: Alu, to: Reg, from: Reg) -> &mut Self {
        self.push(op::ALU_64 | op::REGISTER | does as u8, to as u8, from as u8, 0, 0)
    }

    /// `to = to DOES value`, with the lower halves; the upper half becomes zero.
    pub fn alu_32(&mut self, does: Alu, to: Reg, value: u32) -> &mut Self {
        self.push(op::ALU_32 | does as u8, to as u8, 0, 0, value.cast_signed())
    }

    /// `to = to DOES from`, with the lower halves; the upper half becomes zero.
    pub fn alu_32_register(&mut self, does: Alu, to: Reg, from: Reg) -> &mut Self {
        self.push(op::ALU_32 | op::REGISTER | does as u8, to as u8, from as u8, 0, 0)
    }

    /// `to = value`, with 64 bits.
    pub fn set_64(&mut self, to: Reg, value: u64) -> &mut Self {
        let half = |shift: u32| u32::try_from(value >> shift & 0xffff_ffff).expect("32 bits").cast_signed();
        let (low, high) = (half(0), half(32));
        self.push(op::LOAD_64, to as u8, 0, 0, low).push(0, 0, 0, 0, high)
    }

    /// Calls a function of the kernel that is no helper, by its number in the kernel's type information.
    pub fn call_kernel(&mut self, function: u32) -> &mut Self {
        self.push(op::CALL, 0, op::PSEUDO_KERNEL, 0, function.cast_signed())
    }

    /// `to &= value`, the value sign-extended to 64 bits.
    pub fn and(&mut self, to: Reg, value: i32) -> &mut Self {
        self.alu(Alu::And, to, value)
    }

    /// `to >>= bits`, filled with zeros.
    pub fn shift_right(&mut self, to: Reg, bits: u8) -> &mut Self {
        self.alu(Alu::ShiftRight, to, i32::from(bits))
    }

    /// Turns the lower `bits` (16, 32 or 64) from this machine's order to the network's, or back.
    pub fn swap(&mut self, to: Reg, bits: i32) -> &mut Self {
        self.push(op::BIG_ENDIAN, to as u8, 0, 0, bits)
    }

    /// Calls a helper function of the kernel, by its number in `enum bpf_func_id`. R1 to R5 are lost.
    pub fn call(&mut self, helper: i32) -> &mut Self {
        self.push(op::CALL, 0, 0, 0, helper)
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

    /// Goes on at the label.
    pub fn jump(&mut self, label: Label) -> &mut Self {
        self.jumps.push((self.code.len(), label));
        self.push(op::JUMP_64, 0, 0, 0, 0)
    }

    /// Goes on at the label if the register compares so with the value, sign-extended to 64 bits.
    pub fn jump_if(&mut self, what: If, register: Reg, value: i32, label: Label) -> &mut Self {
        self.jumps.push((self.code.len(), label));
        self.push(op::JUMP_64 | what as u8, register as u8, 0, 0, value)
    }

    /// Goes on at the label if the registers compare so.
    pub fn jump_if_registers(&mut self, what: If, a: Reg, b: Reg, label: Label) -> &mut Self {
        self.jumps.push((self.code.len(), label));
        self.push(op::JUMP_64 | op::REGISTER | what as u8, a as u8, b as u8, 0, 0)
    }

    /// Goes on at the label if the register's lower half compares so (Linux 5.1).
    pub fn jump_if_32(&mut self, what: If, register: Reg, value: u32, label: Label) -> &mut Self {
        self.jumps.push((self.code.len(), label));
        self.push(op::JUMP_32 | what as u8, register as u8, 0, 0, value.cast_signed())
    }

    /// Goes on at the label if the registers' lower halves compare so (Linux 5.1).
    pub fn jump_if_registers_32(&mut self, what: If, a: Reg, b: Reg, label: Label) -> &mut Self {
        self.jumps.push((self.code.len(), label));
        self.push(op::JUMP_32 | op::REGISTER | what as u8, a as u8, b as u8, 0, 0)
    }

    /// Goes on at the label if `register == value`, sign-extended to 64 bits.
    pub fn jump_if_equal(&mut self, register: Reg, value: i32, label: Label) -> &mut Self {
        self.jump_if(If::Equal, register, value, label)
    }

    /// Goes on at the label if `register != value`, sign-extended to 64 bits.
    pub fn jump_if_not_equal(&mut self, register: Reg, value: i32, label: Label) -> &mut Self {
        self.jump_if(If::NotEqual, register, value, label)
    }

    /// Ends with what is in R0.
    pub fn exit(&mut self) -> &mut Self {
        self.push(op::EXIT, 0, 0, 0, 0)
    }

    /// Ends with `value` as the answer.
    pub fn answer(&mut self, value: i32) -> &mut Self {
        self.set(Reg::R0, value).exit()
    }

    /// The instructions.
    ///
    /// # Panics
    /// If a label is jumped to and placed nowhere, or more than 32767 instructions away: a mistake in this crate.
    pub fn finish(self) -> Vec<u64> {
        self.finish_with_maps().0
    }

    /// The instructions, and which of them name a map: the loader puts its descriptor into the upper half.
    ///
    /// # Panics
    /// As [`finish`](Self::finish).
    pub fn finish_with_maps(mut self) -> (Vec<u64>, Vec<(usize, MapNumber)>) {
        for (at, label) in self.jumps {
            let place = self.places[label.0].expect("every label that is jumped to is placed");
            let next = i64::try_from(at + 1).expect("a program is short");
            let distance = i64::try_from(place).expect("a program is short") - next;
            let distance = i16::try_from(distance).expect("a jump is short");
            self.code[at] |= u64::from(distance.cast_unsigned()) << 16;
        }
        (self.code, self.maps)
    }
}

#[cfg(test)]
pub(super) mod machine {
    //! Runs programs of this assembler that call nothing, to say what they answer without a kernel.

    const LOAD_WORD: u8 = 0x61;
    const MOVE_REGISTER: u8 = 0xbf;
    const MOVE: u8 = 0xb7;
    const AND: u8 = 0x57;
    const SHIFT_RIGHT: u8 = 0x77;
    const JUMP: u8 = 0x05;
    const JUMP_EQUAL: u8 = 0x15;
    const JUMP_NOT_EQUAL: u8 = 0x55;
    const EXIT: u8 = 0x95;

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
                LOAD_WORD => {
                    assert_eq!((from, offset % 4), (1, 0), "the context is read, word by word");
                    registers[to] = context[usize::try_from(offset / 4).unwrap()].into();
                    false
                }
                MOVE_REGISTER => {
                    registers[to] = registers[from];
                    false
                }
                MOVE => {
                    registers[to] = value;
                    false
                }
                AND => {
                    registers[to] &= value;
                    false
                }
                SHIFT_RIGHT => {
                    registers[to] >>= value;
                    false
                }
                JUMP => true,
                JUMP_EQUAL => registers[to] == value,
                JUMP_NOT_EQUAL => registers[to] != value,
                EXIT => return registers[0],
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

    /// The right sides are the bytes that `llvm-mc -triple bpfel` gives for the text beside them.
    #[test]
    fn wide_operations_are_encoded_too() {
        let mut asm = Assembler::new();
        let end = asm.label();
        asm.store(Size::Double, Reg::Frame, -8, Reg::R1)
            .store_value(Size::Byte, Reg::Frame, -1, 7)
            .load(Size::Half, Reg::R3, Reg::R6, 2)
            .map(Reg::R1, MapNumber(5))
            .call(1)
            .alu_register(Alu::Add, Reg::R2, Reg::R3)
            .alu_32(Alu::And, Reg::R2, 0xffff_ff00)
            .swap(Reg::R4, 16)
            .jump_if_32(If::Equal, Reg::R2, 0x8000_0000, end)
            .jump_if_registers_32(If::Less, Reg::R2, Reg::R3, end)
            .place(end)
            .exit();
        let (code, maps) = asm.finish_with_maps();
        assert_eq!(
            code,
            [
                0x0000_0000_fff8_1a7b, // *(u64 *)(r10 - 8) = r1
                0x0000_0007_ffff_0a72, // *(u8 *)(r10 - 1) = 7
                0x0000_0000_0002_6369, // r3 = *(u16 *)(r6 + 2)
                0x0000_0005_0000_1118, // r1 = map 5
                0x0000_0000_0000_0000,
                0x0000_0001_0000_0085, // call 1
                0x0000_0000_0000_320f, // r2 += r3
                0xffff_ff00_0000_0254, // w2 &= -256
                0x0000_0010_0000_04dc, // r4 = be16 r4
                0x8000_0000_0001_0216, // if w2 == 0x80000000 goto +1
                0x0000_0000_0000_32ae, // if w2 < w3 goto +0
                0x0000_0000_0000_0095, // exit
            ]
        );
        assert_eq!(maps, [(3, MapNumber(5))]);
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
