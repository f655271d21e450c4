//! `connect(2)`: the loopback becomes the guest's own, and the source is one of the guest's addresses.

use super::abilities::Abilities;
use super::code::{CONFIG, CONTEXT, Code, Instructions, KEY_ADDRESS, ONE, SOURCE, network, sock, sock_addr};
use super::loopback::Ways;
use super::rules::{at, flag};
use crate::bpf::asm::{If, Label, Reg, Size};

/// `BPF_CGROUP_INET4_CONNECT`
pub(super) fn connect4(abilities: Abilities) -> Instructions {
    let mut code = Code::begin(abilities);
    let allow = code.asm.label();
    code.if_flag(flag::ANY, allow);
    code.asm.load_word(Reg::R8, CONTEXT, sock_addr::USER_IP4);
    v4(&mut code, sock_addr::USER_IP4, allow);
    // An IPv6 socket may be told an IPv4 address in IPv4's form; this is right for both.
    code.bind_source_4();
    code.asm.place(allow).answer(1);
    code.finish()
}

/// To the IPv4 address in R8, with `place` of the context to put what it really is; goes on with a source in R9.
fn v4(code: &mut Code, place: i16, allow: Label) {
    let (loopback, not_loopback, has_source) = (code.asm.label(), code.asm.label(), code.asm.label());
    let refused = code.deny(libc::EPERM);
    // Linux takes 0.0.0.0 for the loopback.
    code.asm.jump_if_32(If::NotEqual, Reg::R8, 0, loopback);
    code.asm.set(Reg::R8, network([127, 0, 0, 1]).cast_signed()).place(loopback);
    code.really_4(Ways { no: not_loopback, real: allow, refused });
    code.asm.store(Size::Word, CONTEXT, place, Reg::R9);
    // From lback itself, whichever of the guest's loopback addresses is the destination.
    code.asm.load_word(Reg::R9, CONFIG, at::LBACK).jump(has_source);
    code.asm.place(not_loopback);
    code.unless_flag(flag::HAS_4, refused).choose_4();
    code.asm.place(has_source);
    // One that is bound to an address keeps it.
    code.asm
        .load(Size::Double, Reg::R1, CONTEXT, sock_addr::SK)
        .load_word(Reg::R2, Reg::R1, sock::SRC_IP4)
        .jump_if_32(If::NotEqual, Reg::R2, 0, allow);
}

/// `BPF_CGROUP_INET6_CONNECT`
pub(super) fn connect6(abilities: Abilities) -> Instructions {
    const ADDRESS: i16 = sock_addr::USER_IP6;
    let mut code = Code::begin(abilities);
    let (allow, native, not_any, not_loopback, has_source) =
        (code.asm.label(), code.asm.label(), code.asm.label(), code.asm.label(), code.asm.label());
    let refused = code.deny(libc::EPERM);
    code.if_flag(flag::ANY, allow);
    code.key_6(CONTEXT, ADDRESS).unless_mapped(Reg::Frame, KEY_ADDRESS, native);
    code.asm.load_word(Reg::R8, Reg::Frame, KEY_ADDRESS + 12);
    v4(&mut code, ADDRESS + 12, allow);
    code.bind_source_mapped();
    code.asm.jump(allow);

    code.asm.place(native);
    // Linux takes :: for the loopback.
    code.unless_zero(Reg::Frame, KEY_ADDRESS, 4, not_any);
    code.asm.store_value(Size::Word, Reg::Frame, KEY_ADDRESS + 12, ONE.cast_signed()).place(not_any);
    code.really_6((Reg::Frame, KEY_ADDRESS), Ways { no: not_loopback, real: allow, refused });
    code.copy_words((CONTEXT, ADDRESS), (CONFIG, at::LBACK_6), 4);
    code.copy_words((Reg::Frame, SOURCE), (CONFIG, at::LBACK_6), 4);
    code.asm.jump(has_source).place(not_loopback);
    let unreachable = code.deny(libc::ENETUNREACH);
    code.unless_flag(flag::HAS_6, unreachable).choose_6();
    code.asm.place(has_source).load(Size::Double, Reg::R1, CONTEXT, sock_addr::SK);
    code.asm.copy(Reg::R8, Reg::R1);
    code.unless_zero(Reg::R8, sock::SRC_IP6, 4, allow).bind_source_6();
    code.asm.place(allow).answer(1);
    code.finish()
}
