//! Which of the guest's addresses a socket sends from that was bound to none: the first one in whose network the
//! destination is, else the first.

use super::code::{
    BEST, CONFIG, CONTEXT, Code, KEY, KEY_ADDRESS, KEY_KIND, KEY_V4, MAPPED, SOCKADDR, SOURCE, helper,
};
use super::maps;
use super::rules::{PREFIXES_MAX, at, flag};
use crate::bpf::asm::{Alu, If, Label, Reg, Size};

/// Ends the list of prefix lengths.
const END: u32 = 255;

fn prefixes(from: i16) -> impl Iterator<Item = i16> {
    (from..).take(PREFIXES_MAX)
}

impl Code {
    /// Where to go on if nothing is to be looked for.
    fn unless_choice(&mut self, count: i16, done: Label) -> &mut Self {
        self.asm.load(Size::Half, Reg::R1, CONFIG, count).jump_if_32(If::LessOrEqual, Reg::R1, 1, done);
        self.if_flag(flag::SINGLE_IP, done);
        self.asm
            .store_value(Size::Word, Reg::Frame, BEST, -1)
            .load(Size::Double, Reg::R1, CONFIG, at::ID)
            .store(Size::Double, Reg::Frame, KEY, Reg::R1);
        self
    }

    /// Goes on at `next` unless R0 is a value that stands before the best so far.
    fn unless_better(&mut self, next: Label) -> &mut Self {
        self.asm
            .jump_if_equal(Reg::R0, 0, next)
            .load_word(Reg::R1, Reg::R0, 0)
            .load_word(Reg::R2, Reg::Frame, BEST)
            .jump_if_registers_32(If::GreaterOrEqual, Reg::R1, Reg::R2, next)
            .store(Size::Word, Reg::Frame, BEST, Reg::R1);
        self
    }

    /// The source for the IPv4 destination in R8, to R9. R0 to R5 are lost.
    pub fn choose_4(&mut self) -> &mut Self {
        let done = self.asm.label();
        self.asm.load_word(Reg::R9, CONFIG, at::FIRST_4);
        self.unless_choice(at::COUNT_4, done);
        self.asm.store_value(Size::Double, Reg::Frame, KEY_ADDRESS, 0).store_value(
            Size::Word,
            Reg::Frame,
            KEY_ADDRESS + 8,
            MAPPED.cast_signed(),
        );
        for prefix in prefixes(at::PREFIXES_4) {
            let next = self.asm.label();
            self.asm
                .load(Size::Byte, Reg::R1, CONFIG, prefix)
                .jump_if_32(If::Equal, Reg::R1, END, done)
                .store(Size::Word, Reg::Frame, KEY_KIND, Reg::R1)
                // 32 ones and 32 zeros, moved down by the prefix length: its lower half is the mask.
                .set(Reg::R3, -1)
                .alu(Alu::ShiftLeft, Reg::R3, 32)
                .alu_register(Alu::ShiftRight, Reg::R3, Reg::R1)
                .copy(Reg::R2, Reg::R8)
                .swap(Reg::R2, 32)
                .alu_register(Alu::And, Reg::R2, Reg::R3)
                .swap(Reg::R2, 32)
                .store(Size::Word, Reg::Frame, KEY_V4, Reg::R2);
            self.look_up(maps::ADDRESSES, KEY).unless_better(next);
            self.asm.load_word(Reg::R9, Reg::R0, 16).jump_if_32(If::Equal, Reg::R1, 0, done).place(next);
        }
        self.asm.place(done);
        self
    }

    /// The source for the IPv6 destination at `Frame + KEY_ADDRESS`, to `Frame + SOURCE`. R0 to R5, R8 and R9 are lost.
    pub fn choose_6(&mut self) -> &mut Self {
        let done = self.asm.label();
        self.copy_words((Reg::Frame, SOURCE), (CONFIG, at::FIRST_6), 4);
        self.unless_choice(at::COUNT_6, done);
        self.asm
            .load(Size::Double, Reg::R8, Reg::Frame, KEY_ADDRESS)
            .swap(Reg::R8, 64)
            .load(Size::Double, Reg::R9, Reg::Frame, KEY_ADDRESS + 8)
            .swap(Reg::R9, 64);
        for prefix in prefixes(at::PREFIXES_6) {
            let (next, long, zero, masked) =
                (self.asm.label(), self.asm.label(), self.asm.label(), self.asm.label());
            self.asm
                .load(Size::Byte, Reg::R1, CONFIG, prefix)
                .jump_if_32(If::Equal, Reg::R1, END, done)
                .store(Size::Word, Reg::Frame, KEY_KIND, Reg::R1)
                .copy(Reg::R2, Reg::R8)
                .copy(Reg::R3, Reg::R9)
                .jump_if_32(If::Greater, Reg::R1, 64, long)
                .set(Reg::R3, 0)
                .jump_if_32(If::Equal, Reg::R1, 0, zero)
                .set(Reg::R4, 64)
                .alu_register(Alu::Subtract, Reg::R4, Reg::R1)
                .alu_register(Alu::ShiftRight, Reg::R2, Reg::R4)
                .alu_register(Alu::ShiftLeft, Reg::R2, Reg::R4)
                .jump(masked)
                .place(zero)
                .set(Reg::R2, 0)
                .jump(masked)
                .place(long)
                .set(Reg::R4, 128)
                .alu_register(Alu::Subtract, Reg::R4, Reg::R1)
                .alu_register(Alu::ShiftRight, Reg::R3, Reg::R4)
                .alu_register(Alu::ShiftLeft, Reg::R3, Reg::R4)
                .place(masked)
                .swap(Reg::R2, 64)
                .swap(Reg::R3, 64)
                .store(Size::Double, Reg::Frame, KEY_ADDRESS, Reg::R2)
                .store(Size::Double, Reg::Frame, KEY_ADDRESS + 8, Reg::R3);
            self.look_up(maps::ADDRESSES, KEY).unless_better(next);
            self.asm.copy(Reg::R5, Reg::R0);
            self.copy_words((Reg::Frame, SOURCE), (Reg::R5, 4), 4);
            self.asm.jump_if_32(If::Equal, Reg::R1, 0, done).place(next);
        }
        self.asm.place(done);
        self
    }

    /// Gives the socket the IPv4 source in R9, and no port. R0 to R5 are lost.
    ///
    /// A socket that does not take it is refused: one that has a port but no address (it has sent before it was
    /// connected) would send from an address of the host's.
    pub fn bind_source_4(&mut self) -> &mut Self {
        self.asm
            .store_value(Size::Double, Reg::Frame, SOCKADDR + 8, 0)
            .store_value(Size::Word, Reg::Frame, SOCKADDR, libc::AF_INET)
            .store(Size::Word, Reg::Frame, SOCKADDR + 4, Reg::R9);
        self.bind(16)
    }

    /// The same for an IPv6 socket, with the IPv4 source in R9.
    pub fn bind_source_mapped(&mut self) -> &mut Self {
        self.asm
            .store_value(Size::Double, Reg::Frame, SOURCE, 0)
            .store_value(Size::Word, Reg::Frame, SOURCE + 8, MAPPED.cast_signed())
            .store(Size::Word, Reg::Frame, SOURCE + 12, Reg::R9);
        self.bind_source_6()
    }

    /// The same for the IPv6 source at `Frame + SOURCE`.
    pub fn bind_source_6(&mut self) -> &mut Self {
        self.asm
            .store_value(Size::Word, Reg::Frame, SOCKADDR, libc::AF_INET6)
            .store_value(Size::Word, Reg::Frame, SOCKADDR + 4, 0)
            .store_value(Size::Word, Reg::Frame, SOCKADDR + 24, 0);
        self.copy_words((Reg::Frame, SOCKADDR + 8), (Reg::Frame, SOURCE), 4);
        self.bind(28)
    }

    fn bind(&mut self, length: i32) -> &mut Self {
        let unavailable = self.deny(libc::EADDRNOTAVAIL);
        self.asm
            .copy(Reg::R1, CONTEXT)
            .copy(Reg::R2, Reg::Frame)
            .alu(Alu::Add, Reg::R2, SOCKADDR.into())
            .set(Reg::R3, length)
            .call(helper::BIND)
            .jump_if_not_equal(Reg::R0, 0, unavailable);
        self
    }
}
