//! ICMP sockets, for `ping`. No hook of a group sees where they send to or from, so the source is put right in the
//! packets that go out: a program on the loopback and on devices with guests' addresses.
//!
//! The guest's egress filter lets such packets pass only where this program is ([`super::maps::DEVICES`]).

use super::abilities::Abilities;
use super::code::{CONFIG, CONTEXT, Code, Instructions, KEY_ADDRESS, ONE, SOURCE, helper, network, skb};
use super::maps::{self, mark};
use super::rules::{at, flag};
use crate::bpf::asm::{Alu, If, Label, Reg, Size};

const IP: u32 = network([0x08, 0x00, 0, 0]);
const IPV6: u32 = network([0x86, 0xdd, 0, 0]);
const ICMP: u32 = libc::IPPROTO_ICMP.cast_unsigned();
const ICMPV6: u32 = libc::IPPROTO_ICMPV6.cast_unsigned();
/// `TCX_NEXT`, `TC_ACT_UNSPEC`: what others say counts.
const NEXT: i32 = -1;
/// `TC_ACT_SHOT`
const DROP: i32 = 2;
/// Places on the stack: source and destination as they are, and as they shall be.
const OLD: i16 = -128;
const NEW: i16 = -160;
/// The cgroup's number, for a look-up.
const GROUP: i16 = -168;

/// For devices whose packets begin with an Ethernet header, the loopback's among them.
pub(super) fn ethernet(abilities: Abilities) -> Instructions {
    outgoing(abilities, 14)
}

/// For devices whose packets begin with the IP header.
pub(super) fn plain(abilities: Abilities) -> Instructions {
    outgoing(abilities, 0)
}

fn outgoing(abilities: Abilities, header: i16) -> Instructions {
    let mut code = Code::new(abilities);
    let (pass, drop, v6) = (code.asm.label(), code.asm.label(), code.asm.label());
    code.asm
        .copy(CONTEXT, Reg::R1)
        .load_word(Reg::R1, CONTEXT, skb::PROTOCOL)
        .load_word(Reg::R8, CONTEXT, skb::DATA)
        .load_word(Reg::R3, CONTEXT, skb::DATA_END)
        .copy(Reg::R2, Reg::R8)
        .jump_if_32(If::Equal, Reg::R1, IPV6, v6)
        .jump_if_32(If::NotEqual, Reg::R1, IP, pass)
        .alu(Alu::Add, Reg::R2, i32::from(header) + 20)
        .jump_if_registers(If::Greater, Reg::R2, Reg::R3, pass)
        .load(Size::Byte, Reg::R1, Reg::R8, header + 9)
        .jump_if_32(If::NotEqual, Reg::R1, ICMP, pass);
    code.copy_words((Reg::Frame, OLD), (Reg::R8, header + 12), 2);
    guest(&mut code, pass);
    v4(&mut code, header, pass, drop);

    code.asm
        .place(v6)
        .alu(Alu::Add, Reg::R2, i32::from(header) + 44)
        .jump_if_registers(If::Greater, Reg::R2, Reg::R3, pass)
        .load(Size::Byte, Reg::R1, Reg::R8, header + 6)
        .jump_if_32(If::NotEqual, Reg::R1, ICMPV6, pass);
    code.copy_words((Reg::Frame, OLD), (Reg::R8, header + 8), 8);
    guest(&mut code, pass);
    native(&mut code, header, pass, drop);
    code.asm.place(pass).answer(NEXT).place(drop).answer(DROP);
    code.finish()
}

/// The configuration of the guest whose ICMP socket sends, to R7; at `pass` if it is none.
fn guest(code: &mut Code, pass: Label) {
    code.asm
        .load(Size::Double, Reg::R1, CONTEXT, skb::SK)
        .jump_if_equal(Reg::R1, 0, pass)
        .call(helper::SK_FULLSOCK)
        .jump_if_equal(Reg::R0, 0, pass)
        .copy(Reg::R2, Reg::R0);
    code.unless_marked(mark::ICMP, pass);
    code.asm.load(Size::Double, Reg::R1, Reg::R0, mark::CGROUP).store(
        Size::Double,
        Reg::Frame,
        GROUP,
        Reg::R1,
    );
    code.look_up(maps::GUESTS, GROUP);
    code.asm.jump_if_equal(Reg::R0, 0, pass).copy(CONFIG, Reg::R0);
    code.if_flag(flag::ANY, pass);
}

fn v4(code: &mut Code, header: i16, pass: Label, drop: Label) {
    let (not_loopback, choose, write) = (code.asm.label(), code.asm.label(), code.asm.label());
    code.asm
        .load_word(Reg::R8, Reg::Frame, OLD + 4)
        .store(Size::Word, Reg::Frame, NEW + 4, Reg::R8)
        .copy(Reg::R1, Reg::R8)
        .alu_32(Alu::And, Reg::R1, network([255, 0, 0, 0]))
        .jump_if_32(If::NotEqual, Reg::R1, network([127, 0, 0, 0]), not_loopback);
    code.if_flag(flag::LBACK_REMAP, choose).if_flag(flag::LBACK_ALLOW, pass);
    code.asm
        .jump(drop)
        .place(choose)
        .load_word(Reg::R9, CONFIG, at::LBACK)
        .store(Size::Word, Reg::Frame, NEW + 4, Reg::R9)
        .jump(write)
        .place(not_loopback);
    // What was bound, or written by the program itself, must be the guest's; if it is not, another is chosen.
    let foreign = code.asm.label();
    code.asm.load_word(Reg::R9, Reg::Frame, OLD);
    code.key_4(Reg::R9).unless_member(foreign);
    code.asm.jump(pass).place(foreign);
    code.unless_flag(flag::HAS_4, drop).choose_4();
    code.asm.place(write).store(Size::Word, Reg::Frame, NEW, Reg::R9);
    for (old, new, at) in [(OLD, NEW, 12), (OLD + 4, NEW + 4, 16)] {
        // The checksum of the header; that of the message has no addresses in it.
        code.asm
            .copy(Reg::R1, CONTEXT)
            .set(Reg::R2, i32::from(header) + 10)
            .load_word(Reg::R3, Reg::Frame, old)
            .load_word(Reg::R4, Reg::Frame, new)
            .set(Reg::R5, 4)
            .call(helper::L3_CSUM_REPLACE)
            .jump_if_not_equal(Reg::R0, 0, drop);
        store(code, i32::from(header) + at, new, 4, drop);
    }
    code.asm.jump(pass);
}

fn native(code: &mut Code, header: i16, pass: Label, drop: Label) {
    const CHECKSUM: i32 = 40 + 2;
    /// `BPF_F_PSEUDO_HDR`
    const PSEUDO: i32 = 0x10;
    let (not_loopback, remap, write) = (code.asm.label(), code.asm.label(), code.asm.label());
    code.copy_words((Reg::Frame, NEW + 16), (Reg::Frame, OLD + 16), 4);
    code.unless_zero(Reg::Frame, OLD + 16, 3, not_loopback);
    code.asm.load_word(Reg::R0, Reg::Frame, OLD + 28).jump_if_32(If::NotEqual, Reg::R0, ONE, not_loopback);
    code.if_flag(flag::LBACK_REMAP, remap).if_flag(flag::LBACK_ALLOW, pass);
    code.asm.jump(drop).place(remap);
    code.copy_words((Reg::Frame, NEW), (CONFIG, at::LBACK_6), 4);
    code.copy_words((Reg::Frame, NEW + 16), (CONFIG, at::LBACK_6), 4);
    code.asm.jump(write).place(not_loopback);
    let foreign = code.asm.label();
    code.key_6(Reg::Frame, OLD).unless_member(foreign);
    code.asm.jump(pass).place(foreign);
    code.unless_flag(flag::HAS_6, drop);
    code.copy_words((Reg::Frame, KEY_ADDRESS), (Reg::Frame, OLD + 16), 4);
    code.choose_6();
    code.copy_words((Reg::Frame, NEW), (Reg::Frame, SOURCE), 4);
    code.asm.place(write);
    // What all of it differs by, for the message's checksum.
    code.asm
        .copy(Reg::R1, Reg::Frame)
        .alu(Alu::Add, Reg::R1, OLD.into())
        .set(Reg::R2, 32)
        .copy(Reg::R3, Reg::Frame)
        .alu(Alu::Add, Reg::R3, NEW.into())
        .set(Reg::R4, 32)
        .set(Reg::R5, 0)
        .call(helper::CSUM_DIFF)
        .copy(Reg::R1, CONTEXT)
        .set(Reg::R2, i32::from(header) + CHECKSUM)
        .set(Reg::R3, 0)
        .copy(Reg::R4, Reg::R0)
        .set(Reg::R5, PSEUDO)
        .call(helper::L4_CSUM_REPLACE)
        .jump_if_not_equal(Reg::R0, 0, drop);
    store(code, i32::from(header) + 8, NEW, 32, drop);
    code.asm.jump(pass);
}

/// Puts bytes of the stack into the packet.
fn store(code: &mut Code, at: i32, from: i16, bytes: i32, drop: Label) {
    code.asm
        .copy(Reg::R1, CONTEXT)
        .set(Reg::R2, at)
        .copy(Reg::R3, Reg::Frame)
        .alu(Alu::Add, Reg::R3, from.into())
        .set(Reg::R4, bytes)
        .set(Reg::R5, 0)
        .call(helper::SKB_STORE_BYTES)
        .jump_if_not_equal(Reg::R0, 0, drop);
}
