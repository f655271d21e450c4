//! What the guest is shown: the addresses that it asked for, not what they really are.
//!
//! `getpeername(2)`, `accept(2)` and `recvfrom(2)` show the other side, `getsockname(2)` the own one.

use super::abilities::Abilities;
use super::code::{CONTEXT, Code, Instructions, network, sock, sock_addr, state};
use super::maps::mark;
use crate::bpf::asm::{If, Label, Reg, Size};

/// `BPF_CGROUP_INET4_GETPEERNAME`, `BPF_CGROUP_UDP4_RECVMSG`
pub(super) fn peer4(abilities: Abilities) -> Instructions {
    let mut code = Code::begin_view(abilities);
    let end = code.asm.label();
    show_4(&mut code, sock_addr::USER_IP4, end);
    code.asm.place(end).answer(1);
    code.finish()
}

/// `BPF_CGROUP_INET6_GETPEERNAME`, `BPF_CGROUP_UDP6_RECVMSG`
pub(super) fn peer6(abilities: Abilities) -> Instructions {
    let mut code = Code::begin_view(abilities);
    let end = code.asm.label();
    show_6(&mut code, end);
    code.asm.place(end).answer(1);
    code.finish()
}

/// `BPF_CGROUP_INET4_GETSOCKNAME`
pub(super) fn own4(abilities: Abilities) -> Instructions {
    let mut code = Code::begin_view(abilities);
    let (end, real) = (code.asm.label(), code.asm.label());
    unless_any(&mut code, real);
    code.asm.set(Reg::R1, 0).store(Size::Word, CONTEXT, sock_addr::USER_IP4, Reg::R1).jump(end).place(real);
    show_4(&mut code, sock_addr::USER_IP4, end);
    code.asm.place(end).answer(1);
    code.finish()
}

/// `BPF_CGROUP_INET6_GETSOCKNAME`
pub(super) fn own6(abilities: Abilities) -> Instructions {
    let mut code = Code::begin_view(abilities);
    let (end, real, mapped) = (code.asm.label(), code.asm.label(), code.asm.label());
    unless_any(&mut code, real);
    // In R9: what was asked for was ::ffff:0.0.0.0 or ::.
    code.asm.jump_if_32(If::Equal, Reg::R9, mark::ANY_4, mapped).set(Reg::R1, 0);
    for word in 0..4 {
        code.asm.store(Size::Word, CONTEXT, sock_addr::USER_IP6 + 4 * word, Reg::R1);
    }
    code.asm.jump(end).place(mapped).set(Reg::R1, 0);
    code.asm.store(Size::Word, CONTEXT, sock_addr::USER_IP6 + 12, Reg::R1).jump(end).place(real);
    show_6(&mut code, end);
    code.asm.place(end).answer(1);
    code.finish()
}

/// Goes on at the label unless the socket was bound to any address and has not been connected; its mark to R9.
fn unless_any(code: &mut Code, real: Label) {
    let waits = code.asm.label();
    code.asm
        .load(Size::Double, Reg::R8, CONTEXT, sock_addr::SK)
        .load_word(Reg::R1, Reg::R8, sock::STATE)
        .jump_if_32(If::Equal, Reg::R1, state::LISTEN, waits)
        .jump_if_32(If::NotEqual, Reg::R1, state::CLOSE, real)
        .place(waits)
        .copy(Reg::R2, Reg::R8);
    code.mark(false);
    code.asm.jump_if_equal(Reg::R0, 0, real).load_word(Reg::R9, Reg::R0, mark::BITS).jump_if_32(
        If::Equal,
        Reg::R9,
        0,
        real,
    );
}

fn show_4(code: &mut Code, place: i16, end: Label) {
    code.asm.load_word(Reg::R8, CONTEXT, place);
    code.shown_4(end);
    code.asm.store(Size::Word, CONTEXT, place, Reg::R9);
}

fn show_6(code: &mut Code, end: Label) {
    const ADDRESS: i16 = sock_addr::USER_IP6;
    let native = code.asm.label();
    code.unless_mapped(CONTEXT, ADDRESS, native);
    show_4(code, ADDRESS + 12, end);
    code.asm.jump(end).place(native);
    code.shown_6((CONTEXT, ADDRESS), end);
    code.asm.set(Reg::R1, 0);
    for word in 0..3 {
        code.asm.store(Size::Word, CONTEXT, ADDRESS + 4 * word, Reg::R1);
    }
    code.asm.set(Reg::R1, network([0, 0, 0, 1]).cast_signed()).store(
        Size::Word,
        CONTEXT,
        ADDRESS + 12,
        Reg::R1,
    );
}
