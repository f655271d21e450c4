//! `bind(2)`: only to the guest's addresses; any address and the loopback become the guest's own.

use super::code::{Abilities, CONFIG, CONTEXT, Code, Instructions, helper, network, sock_addr};
use super::maps::{self, MEMBER, mark};
use super::rules::{WILDCARD_PORTS_MAX, at, flag};
use crate::bpf::asm::{Alu, If, Label, Reg, Size};

/// Allowed; and without the capability for low ports (`BPF_RET_BIND_NO_CAP_NET_BIND_SERVICE`, Linux 5.12).
const ALLOW: i32 = 1;
const ALLOW_LOW_PORT: i32 = 3;

/// `BPF_CGROUP_INET4_BIND`
pub(super) fn bind4(abilities: Abilities) -> Instructions {
    let mut code = Code::new(abilities);
    code.begin();
    let (allow, own, any) = (code.asm.label(), code.asm.label(), code.asm.label());
    code.if_flag(flag::ANY, allow);
    code.asm.load_word(Reg::R8, CONTEXT, sock_addr::USER_IP4).jump_if_32(If::Equal, Reg::R8, 0, any);
    loopback(&mut code, allow);
    special(&mut code, allow);
    member(&mut code, allow);

    code.asm.place(any);
    // An address of no guest's is no address at all.
    let unavailable = code.deny(libc::EADDRNOTAVAIL);
    code.asm.load_word(Reg::R8, CONFIG, at::FIRST_4).jump_if_32(If::Equal, Reg::R8, 0, unavailable);
    keep_wildcard(&mut code, allow);
    code.if_flag(flag::SINGLE_IP, own);
    remember(&mut code, mark::ANY_4);
    code.asm.place(own).store(Size::Word, CONTEXT, sock_addr::USER_IP4, Reg::R8);

    code.asm.place(allow);
    low_port(&mut code);
    code.finish()
}

/// 127.0.0.0/8 in R8, network order.
fn loopback(code: &mut Code, allow: Label) {
    let (not, remapped, first) = (code.asm.label(), code.asm.label(), code.asm.label());
    let unavailable = code.deny(libc::EADDRNOTAVAIL);
    code.asm.copy(Reg::R1, Reg::R8).alu_32(Alu::And, Reg::R1, network([255, 0, 0, 0])).jump_if_32(
        If::NotEqual,
        Reg::R1,
        network([127, 0, 0, 0]),
        not,
    );
    code.if_flag(flag::LBACK_REMAP, remapped);
    code.if_flag(flag::LBACK_ALLOW, allow);
    code.asm.jump(unavailable);

    code.asm.place(remapped).load_word(Reg::R9, CONFIG, at::LBACK).load_word(Reg::R2, CONFIG, at::LBACK_HOST);
    // 127.0.0.1 and 127.0.1.1 are the guest's loopback itself, whatever its last byte.
    code.asm.jump_if_32(If::Equal, Reg::R8, network([127, 0, 0, 1]), first).jump_if_32(
        If::Equal,
        Reg::R8,
        network([127, 0, 1, 1]),
        first,
    );
    // Others keep their last byte if the guest's loopback has room for them.
    let (own_network, take) = (code.asm.label(), code.asm.label());
    code.asm.copy(Reg::R1, Reg::R8).alu_32(Alu::And, Reg::R1, network([255, 255, 255, 0])).jump_if_32(
        If::Equal,
        Reg::R1,
        network([127, 0, 0, 0]),
        take,
    );
    // The guest's own by its real name?
    code.asm
        .place(own_network)
        .copy(Reg::R3, Reg::R9)
        .alu_32(Alu::And, Reg::R3, network([255, 255, 255, 0]))
        .jump_if_32(If::Equal, Reg::R2, 0, unavailable)
        .jump_if_registers_32(If::NotEqual, Reg::R1, Reg::R3, unavailable);
    code.asm.place(take).copy(Reg::R1, Reg::R8).alu_register(Alu::And, Reg::R1, Reg::R2);
    // lback with its last byte replaced, where that is wanted.
    code.asm
        .jump_if_32(If::Equal, Reg::R2, 0, first)
        .alu_32(Alu::And, Reg::R9, network([255, 255, 255, 0]))
        .alu_register(Alu::Or, Reg::R9, Reg::R1);
    code.asm.place(first).store(Size::Word, CONTEXT, sock_addr::USER_IP4, Reg::R9).jump(allow);
    code.asm.place(not);
}

/// Addresses that belong to nobody: broadcast and multicast.
fn special(code: &mut Code, allow: Label) {
    let not = code.asm.label();
    code.asm.load_word(Reg::R1, CONFIG, at::BCAST).jump_if_registers_32(If::Equal, Reg::R1, Reg::R8, allow);
    code.asm.copy(Reg::R1, Reg::R8).alu_32(Alu::And, Reg::R1, network([0xf0, 0, 0, 0])).jump_if_32(
        If::NotEqual,
        Reg::R1,
        network([0xe0, 0, 0, 0]),
        not,
    );
    code.if_flag(flag::MULTICAST, allow);
    code.asm.place(not);
}

/// The address in R8 must be the guest's.
fn member(code: &mut Code, allow: Label) {
    let unavailable = code.deny(libc::EADDRNOTAVAIL);
    code.asm
        .load(Size::Double, Reg::R1, CONFIG, at::ID)
        .store(Size::Double, Reg::Frame, -32, Reg::R1)
        .store_value(Size::Double, Reg::Frame, -24, 0)
        .store_value(Size::Word, Reg::Frame, -16, network([0, 0, 255, 255]).cast_signed())
        .store(Size::Word, Reg::Frame, -12, Reg::R8)
        .store_value(Size::Word, Reg::Frame, -8, i32::try_from(MEMBER).expect("256"));
    code.look_up(maps::ADDRESSES, -32);
    code.asm.jump_if_equal(Reg::R0, 0, unavailable).jump(allow);
}

/// UDP sockets of the listed ports stay at the real wildcard.
fn keep_wildcard(code: &mut Code, allow: Label) {
    let not = code.asm.label();
    code.asm
        .load_word(Reg::R1, CONTEXT, sock_addr::PROTOCOL)
        .jump_if_32(If::NotEqual, Reg::R1, libc::IPPROTO_UDP.cast_unsigned(), not)
        .load_word(Reg::R1, CONTEXT, sock_addr::USER_PORT);
    for slot in (at::WILDCARD_PORTS..).step_by(2).take(WILDCARD_PORTS_MAX) {
        code.asm
            .load(Size::Half, Reg::R2, CONFIG, slot)
            .jump_if_32(If::Equal, Reg::R2, 0, not)
            .jump_if_registers_32(If::Equal, Reg::R1, Reg::R2, allow);
    }
    code.asm.place(not);
}

/// Marks the socket; a socket that cannot be marked (no memory) is not bound.
fn remember(code: &mut Code, bits: u32) {
    const CREATE: i32 = 1;
    let no_memory = code.deny(libc::ENOMEM);
    code.asm
        .load(Size::Double, Reg::R2, CONTEXT, sock_addr::SK)
        .map(Reg::R1, maps::SOCKETS)
        .set(Reg::R3, 0)
        .set(Reg::R4, CREATE)
        .call(helper::SK_STORAGE_GET)
        .jump_if_equal(Reg::R0, 0, no_memory)
        .load_word(Reg::R1, Reg::R0, 0)
        .alu_32(Alu::Or, Reg::R1, bits)
        .store(Size::Word, Reg::R0, 0, Reg::R1);
}

/// Says yes; for the guest's root also to low ports.
fn low_port(code: &mut Code) {
    let plain = code.asm.label();
    code.unless_flag(flag::LOW_PORTS_BY_UID, plain);
    code.asm
        .call(helper::GET_CURRENT_UID_GID)
        .load_word(Reg::R1, CONFIG, at::LOW_PORT_UID)
        .jump_if_registers_32(If::NotEqual, Reg::R0, Reg::R1, plain)
        .answer(ALLOW_LOW_PORT)
        .place(plain)
        .answer(ALLOW);
}
