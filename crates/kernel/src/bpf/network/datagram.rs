//! `sendto(2)`, `sendmsg(2)` of UDP sockets that are not connected: where to, and from which address.
//!
//! The kernel also asks for a connected socket that was given a source for this packet (`IP_PKTINFO`); the destination
//! is all zero then, its port too.

use super::abilities::Abilities;
use super::code::{CONFIG, CONTEXT, Code, Instructions, KEY_ADDRESS, ONE, SOURCE, network, sock, sock_addr};
use super::loopback::Ways;
use super::maps::mark;
use super::rules::{at, flag};
use crate::bpf::asm::{If, Label, Reg, Size};

const FROM_4: i16 = sock_addr::MSG_SRC_IP4;
const FROM_6: i16 = sock_addr::MSG_SRC_IP6;

/// `BPF_CGROUP_UDP4_SENDMSG`
pub(super) fn send4(abilities: Abilities) -> Instructions {
    let mut code = Code::begin(abilities);
    let allow = code.asm.label();
    let refused = code.deny(libc::EPERM);
    code.if_flag(flag::ANY, allow);
    let (not_zero, not_loopback, own) = (code.asm.label(), code.asm.label(), code.asm.label());
    let (keep, lback, connected) = (code.asm.label(), code.asm.label(), code.asm.label());
    code.asm
        .load_word(Reg::R8, CONTEXT, sock_addr::USER_IP4)
        .jump_if_32(If::NotEqual, Reg::R8, 0, not_zero)
        .load_word(Reg::R1, CONTEXT, sock_addr::USER_PORT)
        .jump_if_32(If::Equal, Reg::R1, 0, connected)
        .set(Reg::R8, network([127, 0, 0, 1]).cast_signed())
        .place(not_zero);
    code.really_4(Ways { no: not_loopback, real: keep, refused });
    code.asm.store(Size::Word, CONTEXT, sock_addr::USER_IP4, Reg::R9);

    // To the loopback: from lback, unless an address was given; the one of an any-bound socket was not.
    code.asm
        .load_word(Reg::R8, CONTEXT, FROM_4)
        .jump_if_32(If::Equal, Reg::R8, 0, lback)
        .load_word(Reg::R1, CONFIG, at::FIRST_4)
        .jump_if_registers_32(If::NotEqual, Reg::R8, Reg::R1, own);
    unless_any_bound(&mut code, allow);
    code.asm
        .place(lback)
        .load_word(Reg::R9, CONFIG, at::LBACK)
        .store(Size::Word, CONTEXT, FROM_4, Reg::R9)
        .jump(allow);

    code.asm.place(not_loopback);
    code.unless_flag(flag::HAS_4, refused);
    let choose = code.asm.label();
    code.asm
        .load_word(Reg::R2, CONTEXT, FROM_4)
        .jump_if_32(If::Equal, Reg::R2, 0, choose)
        .load_word(Reg::R1, CONFIG, at::FIRST_4)
        .jump_if_registers_32(If::NotEqual, Reg::R2, Reg::R1, keep)
        // The first address: the socket's own, or it is any-bound and another one may be nearer.
        .load(Size::Half, Reg::R1, CONFIG, at::COUNT_4)
        .jump_if_32(If::LessOrEqual, Reg::R1, 1, allow);
    unless_any_bound(&mut code, allow);
    code.asm.place(choose);
    code.choose_4();
    code.asm.store(Size::Word, CONTEXT, FROM_4, Reg::R9).jump(allow);

    // A connected socket's packet with IP_PKTINFO that names no address: the kernel would choose one of the host's.
    let unavailable = code.deny(libc::EADDRNOTAVAIL);
    code.asm
        .place(connected)
        .load_word(Reg::R1, CONTEXT, FROM_4)
        .jump_if_32(If::NotEqual, Reg::R1, 0, keep)
        .load(Size::Double, Reg::R1, CONTEXT, sock_addr::SK)
        .load_word(Reg::R1, Reg::R1, sock::SRC_IP4)
        .jump_if_32(If::Equal, Reg::R1, 0, unavailable)
        .store(Size::Word, CONTEXT, FROM_4, Reg::R1);

    // A source that was given must be the guest's.
    code.asm
        .place(keep)
        .load_word(Reg::R8, CONTEXT, FROM_4)
        .jump_if_32(If::Equal, Reg::R8, 0, allow)
        .place(own);
    given_4(&mut code, allow);
    code.asm.place(allow).answer(1);
    code.finish()
}

/// The source in R8 was given: it is checked, or made what it really is.
fn given_4(code: &mut Code, allow: Label) {
    let not_loopback = code.asm.label();
    let unavailable = code.deny(libc::EADDRNOTAVAIL);
    code.really_4(Ways { no: not_loopback, real: allow, refused: unavailable });
    code.asm.store(Size::Word, CONTEXT, FROM_4, Reg::R9).jump(allow).place(not_loopback);
    code.key_4(Reg::R8).unless_member(unavailable);
}

/// Goes on at the label unless the socket was bound to any address. R0 to R5 are lost.
fn unless_any_bound(code: &mut Code, label: Label) {
    code.asm.load(Size::Double, Reg::R2, CONTEXT, sock_addr::SK);
    code.mark(false);
    code.asm.jump_if_equal(Reg::R0, 0, label).load_word(Reg::R1, Reg::R0, mark::BITS).jump_if_32(
        If::Equal,
        Reg::R1,
        0,
        label,
    );
}

/// `BPF_CGROUP_UDP6_SENDMSG`. Datagrams to IPv4 addresses go to the other program, also those of IPv6 sockets.
pub(super) fn send6(abilities: Abilities) -> Instructions {
    const TO: i16 = sock_addr::USER_IP6;
    let mut code = Code::begin(abilities);
    let allow = code.asm.label();
    let refused = code.deny(libc::EPERM);
    code.if_flag(flag::ANY, allow);
    let (not_zero, not_loopback, given, choose, lback, own) = (
        code.asm.label(),
        code.asm.label(),
        code.asm.label(),
        code.asm.label(),
        code.asm.label(),
        code.asm.label(),
    );
    code.key_6(CONTEXT, TO).unless_zero(Reg::Frame, KEY_ADDRESS, 4, not_zero);
    code.asm
        .load_word(Reg::R1, CONTEXT, sock_addr::USER_PORT)
        .jump_if_32(If::Equal, Reg::R1, 0, given)
        .store_value(Size::Word, Reg::Frame, KEY_ADDRESS + 12, ONE.cast_signed())
        .place(not_zero);
    code.really_6((Reg::Frame, KEY_ADDRESS), Ways { no: not_loopback, real: given, refused });
    code.copy_words((CONTEXT, TO), (CONFIG, at::LBACK_6), 4);
    if_unset_6(&mut code, lback);
    code.unless_equal((CONTEXT, FROM_6), (CONFIG, at::FIRST_6), own);
    unless_any_bound(&mut code, allow);
    code.asm.place(lback);
    code.copy_words((CONTEXT, FROM_6), (CONFIG, at::LBACK_6), 4);
    code.asm.jump(allow);

    code.asm.place(not_loopback);
    let unreachable = code.deny(libc::ENETUNREACH);
    code.unless_flag(flag::HAS_6, unreachable);
    if_unset_6(&mut code, choose);
    code.unless_equal((CONTEXT, FROM_6), (CONFIG, at::FIRST_6), given);
    code.asm.load(Size::Half, Reg::R1, CONFIG, at::COUNT_6).jump_if_32(If::LessOrEqual, Reg::R1, 1, allow);
    unless_any_bound(&mut code, allow);
    code.asm.place(choose);
    code.choose_6();
    code.copy_words((CONTEXT, FROM_6), (Reg::Frame, SOURCE), 4);
    code.asm.jump(allow);

    code.asm.place(given);
    if_unset_6(&mut code, allow);
    code.asm.place(own);
    let not_own = code.asm.label();
    let unavailable = code.deny(libc::EADDRNOTAVAIL);
    code.really_6((CONTEXT, FROM_6), Ways { no: not_own, real: allow, refused: unavailable });
    code.copy_words((CONTEXT, FROM_6), (CONFIG, at::LBACK_6), 4);
    code.asm.jump(allow).place(not_own);
    code.key_6(CONTEXT, FROM_6).unless_member(unavailable);
    code.asm.place(allow).answer(1);
    code.finish()
}

/// Goes on at the label if no IPv6 source is set: none at all, or the IPv4 one of a socket for both.
fn if_unset_6(code: &mut Code, label: Label) {
    let (some, native) = (code.asm.label(), code.asm.label());
    code.unless_mapped(CONTEXT, FROM_6, native);
    code.asm.jump(label).place(native);
    code.unless_zero(CONTEXT, FROM_6, 4, some);
    code.asm.jump(label).place(some);
}
