//! `listen(2)` of TCP sockets that were bound to any address: they become known to the program that steers new
//! connections to them.

use super::abilities::Abilities;
use super::code::{CONFIG, CONTEXT, Code, Instructions, helper};
use super::maps::{self, mark};
use super::rules::at;
use crate::bpf::asm::{Alu, If, Reg, Size};

/// `BPF_SOCK_OPS_TCP_LISTEN_CB`
const LISTEN: u32 = 11;
/// Offsets in `struct bpf_sock_ops`. The port is in this machine's order.
const OPERATION: i16 = 0;
const LOCAL_PORT: i16 = 68;
const SK: i16 = 184;
/// `BPF_NOEXIST`
const NEW: i32 = 1;
/// Where the key of map `vs_listeners` is on the stack.
const KEY: i16 = -16;

/// `BPF_CGROUP_SOCK_OPS`
pub(super) fn listen(abilities: Abilities) -> Instructions {
    let mut code = Code::new(abilities);
    let end = code.asm.label();
    code.asm.load_word(Reg::R2, Reg::R1, OPERATION).jump_if_32(If::NotEqual, Reg::R2, LISTEN, end);
    code.configuration();
    code.asm
        .load(Size::Double, Reg::R9, CONFIG, at::ID)
        .jump_if_equal(Reg::R9, 0, end)
        .load(Size::Double, Reg::R2, CONTEXT, SK)
        .jump_if_equal(Reg::R2, 0, end);
    code.mark(false);
    code.asm
        .jump_if_equal(Reg::R0, 0, end)
        .load_word(Reg::R8, Reg::R0, mark::BITS)
        .store(Size::Double, Reg::Frame, KEY, Reg::R9)
        .load_word(Reg::R1, CONTEXT, LOCAL_PORT)
        .store(Size::Word, Reg::Frame, KEY + 8, Reg::R1);
    for bit in [mark::ANY_4, mark::ANY_6, mark::LATE_4] {
        let next = code.asm.label();
        code.asm.copy(Reg::R1, Reg::R8).alu_32(Alu::And, Reg::R1, bit).jump_if_32(
            If::Equal,
            Reg::R1,
            0,
            next,
        );
        // With SO_REUSEPORT there are several. Each has a slot, so that the others stay when one is closed.
        for slot in 0..maps::listener_slots(bit) {
            code.asm
                .store_value(Size::Word, Reg::Frame, KEY + 12, maps::listener_kind(bit, slot))
                .copy(Reg::R1, CONTEXT)
                .map(Reg::R2, maps::LISTENERS)
                .copy(Reg::R3, Reg::Frame)
                .alu(Alu::Add, Reg::R3, KEY.into())
                .set(Reg::R4, NEW)
                .call(helper::SOCK_HASH_UPDATE)
                .jump_if_equal(Reg::R0, 0, next);
        }
        code.asm.place(next);
    }
    code.asm.place(end).answer(1);
    code.finish()
}
