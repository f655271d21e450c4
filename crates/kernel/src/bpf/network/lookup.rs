//! New TCP connections to any-bound listeners, which really are at the guest's first address.
//!
//! One program for each network namespace, for all guests: an address leads to the guest that has it, guest and port to
//! the listener. Addresses that are no guest's cost one look-up.

use super::abilities::Abilities;
use super::code::{Code, Instructions, TCP, helper, network};
use super::maps::{self, LISTENER_SLOTS, OWNERS_MAX, mark, owner};
use crate::bpf::asm::{Alu, If, Label, Reg, Size};

/// Offsets in `struct bpf_sk_lookup`. The local port is in this machine's order.
const FAMILY: i16 = 8;
const PROTOCOL: i16 = 12;
const LOCAL_IP4: i16 = 40;
const LOCAL_IP6: i16 = 44;
const LOCAL_PORT: i16 = 60;
const CONTEXT: Reg = Reg::R6;
const OWNER: Reg = Reg::R7;
/// Places on the stack of the keys of maps `vs_owners` and `vs_listeners`.
pub(super) const OWNER_KEY: i16 = -24;
pub(super) const LISTENER_KEY: i16 = -40;

/// `BPF_SK_LOOKUP`
pub(super) fn lookup(abilities: Abilities) -> Instructions {
    let mut code = Code::new(abilities);
    let (pass, v6) = (code.asm.label(), code.asm.label());
    code.asm
        .copy(CONTEXT, Reg::R1)
        .load_word(Reg::R2, CONTEXT, PROTOCOL)
        .jump_if_32(If::NotEqual, Reg::R2, TCP, pass)
        .load_word(Reg::R2, CONTEXT, LOCAL_PORT)
        .store(Size::Word, Reg::Frame, LISTENER_KEY + 8, Reg::R2)
        .load_word(Reg::R2, CONTEXT, FAMILY)
        .jump_if_32(If::Equal, Reg::R2, libc::AF_INET6.cast_unsigned(), v6)
        .load_word(Reg::R8, CONTEXT, LOCAL_IP4);
    owner_key_4(&mut code);
    owners(&mut code, mark::ANY_4, pass);
    code.asm.place(v6);
    for word in 0..4 {
        code.asm.load_word(Reg::R0, CONTEXT, LOCAL_IP6 + 4 * word).store(
            Size::Word,
            Reg::Frame,
            OWNER_KEY + 4 * word,
            Reg::R0,
        );
    }
    owners(&mut code, mark::ANY_6, pass);
    code.asm.place(pass).answer(1);
    code.finish()
}

/// The key of map `vs_owners`, without the number, for the IPv4 address in R8. R0 is lost.
pub(super) fn owner_key_4(code: &mut Code) {
    let plain = code.asm.label();
    code.asm
        .store_value(Size::Double, Reg::Frame, OWNER_KEY, 0)
        .store_value(Size::Word, Reg::Frame, OWNER_KEY + 8, super::code::MAPPED.cast_signed())
        .copy(Reg::R0, Reg::R8)
        .alu_32(Alu::And, Reg::R0, network([255, 0, 0, 0]))
        .jump_if_32(If::NotEqual, Reg::R0, network([127, 0, 0, 0]), plain)
        // The whole network of a loopback has one owner.
        .alu_32(Alu::And, Reg::R8, network([255, 255, 255, 0]))
        .place(plain)
        .store(Size::Word, Reg::Frame, OWNER_KEY + 12, Reg::R8);
}

/// Looks at each owner of the address; goes on at `pass`.
fn owners(code: &mut Code, bit: u32, pass: Label) {
    let found = code.asm.label();
    for number in 0..OWNERS_MAX {
        let next = code.asm.label();
        code.asm.store_value(Size::Word, Reg::Frame, OWNER_KEY + 16, number);
        code.look_up(maps::OWNERS, OWNER_KEY);
        code.asm
            .jump_if_equal(Reg::R0, 0, pass)
            .copy(OWNER, Reg::R0)
            .load(Size::Double, Reg::R1, OWNER, owner::CGROUP)
            .store(Size::Double, Reg::Frame, LISTENER_KEY, Reg::R1);
        if bit == mark::ANY_4 {
            // The kernel finds a listener at the first address by itself.
            code.asm.load_word(Reg::R1, OWNER, owner::FIRST_4).jump_if_registers_32(
                If::Equal,
                Reg::R1,
                Reg::R8,
                next,
            );
        }
        for slot in 0..LISTENER_SLOTS {
            code.asm.store_value(Size::Word, Reg::Frame, LISTENER_KEY + 12, maps::listener_kind(bit, slot));
            code.look_up(maps::LISTENERS, LISTENER_KEY);
            code.asm.jump_if_not_equal(Reg::R0, 0, found);
        }
        code.asm.place(next);
    }
    code.asm.jump(pass);
    code.asm
        .place(found)
        .copy(Reg::R7, Reg::R0)
        .copy(Reg::R1, CONTEXT)
        .copy(Reg::R2, Reg::R0)
        .set(Reg::R3, 0)
        .call(helper::SK_ASSIGN)
        .copy(Reg::R1, Reg::R7)
        .call(helper::SK_RELEASE)
        .jump(pass);
}
