//! `bind(2)`: only to the guest's addresses; any address and the loopback become the guest's own.

use super::abilities::{Abilities, Rights};
use super::code::{CONFIG, CONTEXT, Code, Instructions, KEY_ADDRESS, MAPPED, TCP, UDP, helper, sock_addr};
use super::loopback::Ways;
use super::maps::mark;
use super::rules::{at, flag};
use crate::bpf::asm::{Alu, Assembler, If, Label, Reg, Size};
use crate::bpf::groups::{READ, read};

/// Allowed; and without the capability for low ports (`BPF_RET_BIND_NO_CAP_NET_BIND_SERVICE`, Linux 5.12).
const ALLOW: i32 = 1;
const ALLOW_LOW_PORT: i32 = 3;

/// `BPF_CGROUP_INET4_BIND`
pub(super) fn bind4(abilities: Abilities) -> Instructions {
    let mut code = Code::begin(abilities);
    let allow = code.asm.label();
    code.if_flag(flag::ANY, allow);
    code.asm.load_word(Reg::R8, CONTEXT, sock_addr::USER_IP4);
    v4(&mut code, sock_addr::USER_IP4, mark::ANY_4, allow);
    code.asm.place(allow);
    low_port(&mut code);
    code.finish()
}

/// The IPv4 address in R8; what it really is goes to `place` of the context.
fn v4(code: &mut Code, place: i16, bits: u32, allow: Label) {
    let (any, not_loopback, take) = (code.asm.label(), code.asm.label(), code.asm.label());
    let unavailable = code.deny(libc::EADDRNOTAVAIL);
    code.asm.jump_if_32(If::Equal, Reg::R8, 0, any);
    code.really_4(Ways { no: not_loopback, real: allow, refused: unavailable });
    code.asm.jump(take);
    code.asm.place(not_loopback);
    code.if_special_4(Reg::R8, allow, unavailable);
    code.key_4(Reg::R8).unless_member(unavailable);
    code.asm.jump(allow);

    code.asm.place(any);
    code.if_wildcard_port(allow);
    code.asm.load_word(Reg::R9, CONFIG, at::FIRST_4).jump_if_32(If::Equal, Reg::R9, 0, unavailable);
    code.if_flag(flag::SINGLE_IP, take).remember(bits);
    code.asm.place(take).store(Size::Word, CONTEXT, place, Reg::R9).jump(allow);
}

/// `BPF_CGROUP_INET6_BIND`
pub(super) fn bind6(abilities: Abilities) -> Instructions {
    const ADDRESS: i16 = sock_addr::USER_IP6;
    let mut code = Code::begin(abilities);
    let (allow, native, not_any, not_loopback) =
        (code.asm.label(), code.asm.label(), code.asm.label(), code.asm.label());
    let unavailable = code.deny(libc::EADDRNOTAVAIL);
    code.if_flag(flag::ANY, allow);
    code.key_6(CONTEXT, ADDRESS).unless_mapped(Reg::Frame, KEY_ADDRESS, native);
    code.asm.load_word(Reg::R8, Reg::Frame, KEY_ADDRESS + 12);
    v4(&mut code, ADDRESS + 12, mark::ANY_4, allow);

    code.asm.place(native);
    code.unless_zero(Reg::Frame, KEY_ADDRESS, 4, not_any);
    any6(&mut code, allow);

    code.asm.place(not_any);
    code.really_6((Reg::Frame, KEY_ADDRESS), Ways { no: not_loopback, real: allow, refused: unavailable });
    code.copy_words((CONTEXT, ADDRESS), (CONFIG, at::LBACK_6), 4);
    code.asm.jump(allow).place(not_loopback);
    code.if_special_6((Reg::Frame, KEY_ADDRESS), allow, unavailable);
    code.unless_member(unavailable);
    code.asm.place(allow);
    low_port(&mut code);
    code.finish()
}

/// `::`, which is IPv4 too unless the socket is for IPv6 alone.
///
/// A socket at an IPv6 address takes no IPv4 packets, whoever steers them to it; one at `::ffff:a.b.c.d` takes both.
fn any6(code: &mut Code, allow: Label) {
    const ADDRESS: i16 = sock_addr::USER_IP6;
    let (only_6, keep, both) = (code.asm.label(), code.asm.label(), code.asm.label());
    let unavailable = code.deny(libc::EADDRNOTAVAIL);
    code.if_wildcard_port(allow);
    if if_only_6(code, only_6) {
        code.asm.load_word(Reg::R9, CONFIG, at::FIRST_4).jump_if_32(If::Equal, Reg::R9, 0, only_6);
        let (late, usual) = (code.asm.label(), code.asm.label());
        code.if_flag(flag::SINGLE_IP, both);
        // A socket at an IPv4 address cannot be connected by IPv6, and who lets the kernel choose the port may want that.
        code.asm
            .load_word(Reg::R1, CONTEXT, sock_addr::PROTOCOL)
            .jump_if_32(If::NotEqual, Reg::R1, TCP, usual)
            .load_word(Reg::R1, CONTEXT, sock_addr::USER_PORT)
            .jump_if_32(If::NotEqual, Reg::R1, 0, usual);
        code.unless_zero(CONFIG, at::FIRST_6, 4, late);
        code.asm.jump(usual).place(late);
        code.remember(mark::LATE_4 | mark::ANY_6).asm.jump(keep).place(usual);
        code.remember(mark::ANY_4 | mark::ANY_6);
        code.asm
            .place(both)
            .set(Reg::R1, MAPPED.cast_signed())
            .store(Size::Word, CONTEXT, ADDRESS + 8, Reg::R1)
            .store(Size::Word, CONTEXT, ADDRESS + 12, Reg::R9)
            .jump(allow);
    }
    code.asm.place(only_6);
    let some = code.asm.label();
    code.unless_zero(CONFIG, at::FIRST_6, 4, some);
    code.asm.jump(unavailable).place(some);
    code.if_flag(flag::SINGLE_IP, keep).remember(mark::ANY_6);
    code.asm.place(keep);
    code.copy_words((CONTEXT, ADDRESS), (CONFIG, at::FIRST_6), 4);
    code.asm.jump(allow);
}

/// Goes on at the label if the socket has `IPV6_V6ONLY`. False: that cannot be known, and nothing was done.
fn if_only_6(code: &mut Code, label: Label) -> bool {
    let Some((byte, mask)) = code.abilities.ipv6_only else { return false };
    let offset = i16::try_from(byte).expect("the structure is short");
    let (not_tcp, not) = (code.asm.label(), code.asm.label());
    code.asm.load_word(Reg::R1, CONTEXT, sock_addr::PROTOCOL).jump_if_32(If::NotEqual, Reg::R1, TCP, not_tcp);
    for (protocol, helper) in [(TCP, helper::SKC_TO_TCP6_SOCK), (UDP, helper::SKC_TO_UDP6_SOCK)] {
        if protocol == UDP {
            code.asm.place(not_tcp).jump_if_32(If::NotEqual, Reg::R1, UDP, not);
        }
        code.asm
            .load(Size::Double, Reg::R1, CONTEXT, sock_addr::SK)
            .call(helper)
            .jump_if_equal(Reg::R0, 0, not)
            .load(Size::Byte, Reg::R1, Reg::R0, offset)
            .jump_if_32(If::AnyBit, Reg::R1, mask.into(), label);
        if protocol == TCP {
            code.asm.jump(not);
        }
    }
    code.asm.place(not);
    true
}

/// Says yes; for the guest's root, and who holds the capability for it in the guest, also to low ports.
fn low_port(code: &mut Code) {
    let (plain, root) = (code.asm.label(), code.asm.label());
    code.unless_flag(flag::LOW_PORTS_BY_UID, plain);
    code.asm
        .call(helper::GET_CURRENT_UID_GID)
        .load_word(Reg::R8, CONFIG, at::LOW_PORT_UID)
        .jump_if_registers_32(If::Equal, Reg::R0, Reg::R8, root);
    if let Some(rights) = code.abilities.rights {
        unless_capable(&mut code.asm, &rights, plain);
    } else {
        code.asm.jump(plain);
    }
    code.asm.place(root).answer(ALLOW_LOW_PORT).place(plain).answer(ALLOW);
}

/// Goes on at the label unless the caller holds `CAP_NET_BIND_SERVICE` in the guest's own user namespace, the one below
/// the host's that belongs to the guest's root, whose id is in R8: not in one that a program of the guest's has made.
fn unless_capable(asm: &mut Assembler, rights: &Rights, label: Label) {
    /// `1 << CAP_NET_BIND_SERVICE`
    const BIND_SERVICE: u32 = 1 << 10;
    asm.call(helper::GET_CURRENT_TASK).copy(Reg::R3, Reg::R0);
    read(asm, rights.credentials);
    asm.load(Size::Double, Reg::R9, Reg::Frame, READ).copy(Reg::R3, Reg::R9);
    read(asm, rights.effective);
    asm.load_word(Reg::R1, Reg::Frame, READ).alu_32(Alu::And, Reg::R1, BIND_SERVICE);
    asm.jump_if_32(If::Equal, Reg::R1, 0, label).copy(Reg::R3, Reg::R9);
    read(asm, rights.namespace);
    asm.load(Size::Double, Reg::R9, Reg::Frame, READ).copy(Reg::R3, Reg::R9);
    read(asm, rights.level);
    asm.load_word(Reg::R1, Reg::Frame, READ).jump_if_32(If::NotEqual, Reg::R1, 1, label);
    asm.copy(Reg::R3, Reg::R9);
    read(asm, rights.owner);
    asm.load_word(Reg::R1, Reg::Frame, READ).jump_if_registers_32(If::NotEqual, Reg::R1, Reg::R8, label);
}
