//! The guest's loopback: 127.0.0.0/24 and `::1` are really the guest's own addresses, unless the flags say otherwise.

use super::code::{CONFIG, Code, ONE, network};
use super::rules::{at, flag};
use crate::bpf::asm::{Alu, If, Label, Reg};

/// Where to go on.
#[derive(Clone, Copy)]
pub(super) struct Ways {
    /// It is no loopback address.
    pub no: Label,
    /// It is one, and the guest may use the host's.
    pub real: Label,
    /// It is one that the guest may not use.
    pub refused: Label,
}

impl Code {
    /// What the loopback address in R8 really is, to R9. R0 to R3 are lost.
    ///
    /// 127.0.0.1 and 127.0.1.1 (the host name's in Debian's `/etc/hosts`) are `lback` itself; other 127.0.0.x keep
    /// their last byte if `lback` is in 127.0.0.0/8, or are `lback` too; real names of the guest's own are taken.
    pub fn really_4(&mut self, ways: Ways) -> &mut Self {
        let (remapped, done, take) = (self.asm.label(), self.asm.label(), self.asm.label());
        self.asm.copy(Reg::R1, Reg::R8).alu_32(Alu::And, Reg::R1, network([255, 0, 0, 0])).jump_if_32(
            If::NotEqual,
            Reg::R1,
            network([127, 0, 0, 0]),
            ways.no,
        );
        self.if_flag(flag::LBACK_REMAP, remapped);
        self.if_flag(flag::LBACK_ALLOW, ways.real);
        self.asm.jump(ways.refused);

        self.asm
            .place(remapped)
            .load_word(Reg::R9, CONFIG, at::LBACK)
            .load_word(Reg::R2, CONFIG, at::LBACK_HOST)
            .jump_if_32(If::Equal, Reg::R8, network([127, 0, 0, 1]), done)
            .jump_if_32(If::Equal, Reg::R8, network([127, 0, 1, 1]), done)
            .copy(Reg::R1, Reg::R8)
            .alu_32(Alu::And, Reg::R1, network([255, 255, 255, 0]))
            .jump_if_32(If::Equal, Reg::R1, network([127, 0, 0, 0]), take)
            .copy(Reg::R3, Reg::R9)
            .alu_32(Alu::And, Reg::R3, network([255, 255, 255, 0]))
            .jump_if_32(If::Equal, Reg::R2, 0, ways.refused)
            .jump_if_registers_32(If::NotEqual, Reg::R1, Reg::R3, ways.refused)
            .place(take)
            .jump_if_32(If::Equal, Reg::R2, 0, done)
            .copy(Reg::R1, Reg::R8)
            .alu_register(Alu::And, Reg::R1, Reg::R2)
            .alu_32(Alu::And, Reg::R9, network([255, 255, 255, 0]))
            .alu_register(Alu::Or, Reg::R9, Reg::R1)
            .place(done);
        self
    }

    /// Goes on after this if the four words are `::1` or the real name of the guest's own, and are to be `lback6`. R0
    /// and R1 are lost.
    ///
    /// The real names of all other loopbacks are refused, as those in 127.0.0.0/8 are.
    pub fn really_6(&mut self, place: (Reg, i16), ways: Ways) -> &mut Self {
        let (remapped, no_name) = (self.asm.label(), self.asm.label());
        self.unless_loopback_name(place, no_name);
        self.unless_flag(flag::LBACK_REMAP, ways.refused);
        self.unless_equal(place, (CONFIG, at::LBACK_6), ways.refused);
        self.asm.jump(remapped).place(no_name);
        self.unless_zero(place.0, place.1, 3, ways.no);
        self.asm.load_word(Reg::R0, place.0, place.1 + 12).jump_if_32(If::NotEqual, Reg::R0, ONE, ways.no);
        self.if_flag(flag::LBACK_REMAP, remapped);
        self.if_flag(flag::LBACK_ALLOW, ways.real);
        self.asm.jump(ways.refused).place(remapped);
        self
    }

    /// Goes on after this if the four words are in [`LBACK6_NETWORK`](super::LBACK6_NETWORK). R0 is lost.
    pub fn unless_loopback_name(&mut self, place: (Reg, i16), no: Label) -> &mut Self {
        let network6 = super::LBACK6_NETWORK.0.octets();
        for word in 0..2 {
            let from = 4 * usize::from(word == 1);
            let bytes = [network6[from], network6[from + 1], network6[from + 2], network6[from + 3]];
            self.asm.load_word(Reg::R0, place.0, place.1 + 4 * word).jump_if_32(
                If::NotEqual,
                Reg::R0,
                network(bytes),
                no,
            );
        }
        self
    }

    /// What the guest is shown for the address in R8, to R9; at the label if it is no hidden loopback. R0 to R2 are
    /// lost.
    pub fn shown_4(&mut self, no: Label) -> &mut Self {
        let done = self.asm.label();
        self.unless_flag(flag::HIDE_LBACK, no);
        self.asm
            .load_word(Reg::R1, CONFIG, at::LBACK)
            .set(Reg::R9, network([127, 0, 0, 1]).cast_signed())
            .jump_if_registers_32(If::Equal, Reg::R8, Reg::R1, done)
            .load_word(Reg::R2, CONFIG, at::LBACK_HOST)
            .jump_if_32(If::Equal, Reg::R2, 0, no)
            .copy(Reg::R0, Reg::R8)
            .alu_32(Alu::And, Reg::R0, network([255, 255, 255, 0]))
            .alu_32(Alu::And, Reg::R1, network([255, 255, 255, 0]))
            .jump_if_registers_32(If::NotEqual, Reg::R0, Reg::R1, no)
            .copy(Reg::R9, Reg::R8)
            .alu_register(Alu::And, Reg::R9, Reg::R2)
            .alu_32(Alu::Or, Reg::R9, network([127, 0, 0, 0]))
            .place(done);
        self
    }

    /// Goes on after this if the four words are `lback6` and are shown as `::1`. R0 and R1 are lost.
    pub fn shown_6(&mut self, place: (Reg, i16), no: Label) -> &mut Self {
        self.unless_flag(flag::HIDE_LBACK, no);
        self.unless_equal(place, (CONFIG, at::LBACK_6), no)
    }

    /// Goes on at the label if the IPv4 address in R8 is the guest's loopback by its real name. R0 to R2 are lost.
    pub fn if_own_loopback_4(&mut self, label: Label) -> &mut Self {
        let not = self.asm.label();
        self.unless_flag(flag::LBACK_REMAP, not);
        self.asm
            .load_word(Reg::R1, CONFIG, at::LBACK)
            .jump_if_registers_32(If::Equal, Reg::R8, Reg::R1, label)
            .load_word(Reg::R2, CONFIG, at::LBACK_HOST)
            .jump_if_32(If::Equal, Reg::R2, 0, not)
            .copy(Reg::R0, Reg::R8)
            .alu_32(Alu::And, Reg::R0, network([255, 255, 255, 0]))
            .alu_32(Alu::And, Reg::R1, network([255, 255, 255, 0]))
            .jump_if_registers_32(If::Equal, Reg::R0, Reg::R1, label)
            .place(not);
        self
    }
}
