//! Packets: only those to the guest's addresses come in, and raw sockets send from them alone.
//!
//! Sockets that are bound without `bind(2)`, by `listen(2)` or the first `sendto(2)`, are really at any address, and a
//! listener may outlive its address: the filter of packets that come in sees to both.

use super::abilities::Abilities;
use super::code::{CONFIG, CONTEXT, Code, Instructions, KEY_ADDRESS, ONE, UDP, helper, network, skb, sock};
use super::maps::{self, mark};
use super::rules::{at, flag};
use crate::bpf::asm::{Alu, If, Label, Reg, Size};

/// `ETH_P_IP`, `ETH_P_IPV6`, as `__sk_buff.protocol` has them.
const IP: u32 = network([0x08, 0x00, 0, 0]);
const IPV6: u32 = network([0x86, 0xdd, 0, 0]);

/// The number of `lo`, in every network namespace.
const LO: u32 = 1;

/// Which address of a packet.
#[derive(Clone, Copy)]
enum Side {
    Source,
    Destination,
}

/// `BPF_CGROUP_INET_INGRESS`
pub(super) fn ingress(abilities: Abilities) -> Instructions {
    let mut code = Code::begin(abilities);
    let allow = code.asm.label();
    code.if_flag(flag::ANY, allow);
    check(&mut code, Side::Destination, allow);
    code.asm.place(allow).answer(1);
    code.finish()
}

/// `BPF_CGROUP_INET_EGRESS`
pub(super) fn egress(abilities: Abilities) -> Instructions {
    let mut code = Code::new(abilities);
    let (allow, other) = (code.asm.label(), code.asm.label());
    // TCP and UDP sockets have their source from the other programs.
    code.asm
        .copy(Reg::R8, Reg::R1)
        .load(Size::Double, Reg::R1, Reg::R1, skb::SK)
        .jump_if_equal(Reg::R1, 0, allow)
        .call(helper::SK_FULLSOCK)
        .jump_if_equal(Reg::R0, 0, allow)
        .load_word(Reg::R1, Reg::R0, sock::TYPE)
        .jump_if_32(If::Equal, Reg::R1, libc::SOCK_STREAM.cast_unsigned(), allow)
        .load_word(Reg::R1, Reg::R0, sock::PROTOCOL)
        .jump_if_32(If::NotEqual, Reg::R1, UDP, other)
        .load_word(Reg::R1, Reg::R0, sock::TYPE)
        .jump_if_32(If::Equal, Reg::R1, libc::SOCK_DGRAM.cast_unsigned(), allow)
        .place(other)
        .copy(Reg::R1, Reg::R8);
    let deny = code.deny(libc::EPERM);
    code.configuration();
    code.asm.load(Size::Double, Reg::R0, CONFIG, at::ID).jump_if_equal(Reg::R0, 0, deny);
    code.if_flag(flag::ANY, allow);
    let not_icmp = code.asm.label();
    if_put_right(&mut code, allow, not_icmp);
    code.asm.place(not_icmp);
    check(&mut code, Side::Source, allow);
    code.asm.place(allow).answer(1);
    code.finish()
}

/// Goes on at `allow` if a socket for ICMP sends ICMP by a device that puts the source right, else at `not`.
fn if_put_right(code: &mut Code, allow: Label, not: Label) {
    /// On the stack.
    const DEVICE: i16 = -4;
    let (v6, icmp) = (code.asm.label(), code.asm.label());
    code.asm
        .load_word(Reg::R1, CONTEXT, skb::PROTOCOL)
        .load_word(Reg::R2, CONTEXT, skb::DATA)
        .load_word(Reg::R3, CONTEXT, skb::DATA_END)
        .copy(Reg::R4, Reg::R2)
        .alu(Alu::Add, Reg::R4, 20)
        .jump_if_registers(If::Greater, Reg::R4, Reg::R3, not)
        .jump_if_32(If::Equal, Reg::R1, IPV6, v6)
        .load(Size::Byte, Reg::R1, Reg::R2, 9)
        .jump_if_32(If::Equal, Reg::R1, libc::IPPROTO_ICMP.cast_unsigned(), icmp)
        .jump(not)
        .place(v6)
        .load(Size::Byte, Reg::R1, Reg::R2, 6)
        .jump_if_32(If::NotEqual, Reg::R1, libc::IPPROTO_ICMPV6.cast_unsigned(), not)
        .place(icmp)
        .load(Size::Double, Reg::R1, CONTEXT, skb::SK)
        .jump_if_equal(Reg::R1, 0, not)
        .call(helper::SK_FULLSOCK)
        .jump_if_equal(Reg::R0, 0, not)
        .copy(Reg::R2, Reg::R0);
    code.unless_marked(mark::ICMP, not);
    code.asm.load_word(Reg::R1, CONTEXT, skb::IFINDEX).store(Size::Word, Reg::Frame, DEVICE, Reg::R1);
    code.look_up(maps::DEVICES, DEVICE);
    code.asm.jump_if_not_equal(Reg::R0, 0, allow).jump(not);
}

/// Goes on after this, or at `allow`, if the address is the guest's; else the packet is dropped.
fn check(code: &mut Code, side: Side, allow: Label) {
    let (v6, not_loopback, native) = (code.asm.label(), code.asm.label(), code.asm.label());
    let deny = code.deny(libc::EPERM);
    code.asm
        .load_word(Reg::R1, CONTEXT, skb::PROTOCOL)
        .load_word(Reg::R9, CONTEXT, skb::DATA)
        .load_word(Reg::R3, CONTEXT, skb::DATA_END)
        .copy(Reg::R2, Reg::R9)
        .jump_if_32(If::Equal, Reg::R1, IPV6, v6)
        .jump_if_32(If::NotEqual, Reg::R1, IP, deny)
        .alu(Alu::Add, Reg::R2, 20)
        .jump_if_registers(If::Greater, Reg::R2, Reg::R3, deny);
    let at_4 = match side {
        Side::Source => 12,
        Side::Destination => 16,
    };
    code.asm.load_word(Reg::R8, Reg::R9, at_4).load_word(Reg::R1, CONFIG, at::FIRST_4).jump_if_registers_32(
        If::Equal,
        Reg::R1,
        Reg::R8,
        allow,
    );
    code.if_own_loopback_4(allow).unless_flag(flag::LBACK_ALLOW, not_loopback);
    code.asm
        .copy(Reg::R1, Reg::R8)
        .alu_32(Alu::And, Reg::R1, network([255, 0, 0, 0]))
        .jump_if_32(If::Equal, Reg::R1, network([127, 0, 0, 0]), allow)
        .place(not_loopback);
    if matches!(side, Side::Destination) {
        code.if_special_4(Reg::R8, allow, deny);
    }
    code.key_4(Reg::R8).unless_member(deny);
    code.asm.jump(allow);

    code.asm.place(v6).alu(Alu::Add, Reg::R2, 40).jump_if_registers(If::Greater, Reg::R2, Reg::R3, deny);
    let at_6 = match side {
        Side::Source => 8,
        Side::Destination => 24,
    };
    let not_first = code.asm.label();
    code.key_6(Reg::R9, at_6);
    if matches!(side, Side::Destination) {
        // Unlike 127.0.0.0/8 the kernel takes them from the wire, too.
        let elsewhere = code.asm.label();
        code.unless_loopback_name((Reg::Frame, KEY_ADDRESS), elsewhere);
        code.asm
            .load_word(Reg::R1, CONTEXT, skb::IFINDEX)
            .jump_if_32(If::NotEqual, Reg::R1, LO, deny)
            .place(elsewhere);
    }
    code.unless_equal((Reg::Frame, KEY_ADDRESS), (CONFIG, at::FIRST_6), not_first);
    code.asm.jump(allow).place(not_first);
    code.unless_flag(flag::LBACK_ALLOW, native).unless_zero(Reg::Frame, KEY_ADDRESS, 3, native);
    code.asm
        .load_word(Reg::R0, Reg::Frame, KEY_ADDRESS + 12)
        .jump_if_32(If::Equal, Reg::R0, ONE, allow)
        .place(native);
    if matches!(side, Side::Destination) {
        code.if_special_6((Reg::Frame, KEY_ADDRESS), allow, deny);
    }
    code.unless_member(deny);
}
