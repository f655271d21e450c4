//! Datagrams to any-bound UDP sockets, which really are at the guest's first address; and new TCP connections by IPv4 to
//! the few listeners for both families that really are at an IPv6 address ([`mark::LATE_4`]), which the kernel would not
//! let the program for new connections assign.
//!
//! No map of sockets takes UDP sockets by themselves, so this looks for the socket as the kernel does: a program on the
//! loopback and on devices with guests' addresses. A socket at the very address, or a connected one, comes first.

use super::abilities::Abilities;
use super::code::{Code, Instructions, TCP, UDP, helper, network, skb, sock, state};
use super::lookup::{LISTENER_KEY, OWNER_KEY, owner_key_4};
use super::maps::{self, OWNERS_MAX, mark, owner};
use crate::bpf::asm::{Alu, If, Label, Reg, Size};

const CONTEXT: Reg = Reg::R6;
/// The packet until the addresses are read, then a socket.
const DATA: Reg = Reg::R7;
const SOCKET: Reg = Reg::R7;
const OWNER: Reg = Reg::R9;
/// Places on the stack of `struct bpf_sock_tuple`: of the packet's family, 36 bytes at most, and of IPv4.
const TUPLE: i16 = -64;
const TUPLE_4: i16 = -80;
/// Bytes of it.
const LENGTH_4: i32 = 12;
const LENGTH_6: i32 = 36;
const IP: u32 = network([0x08, 0x00, 0, 0]);
const IPV6: u32 = network([0x86, 0xdd, 0, 0]);
/// `TCX_NEXT`, `TC_ACT_UNSPEC`: what others say counts.
const NEXT: i32 = -1;

/// For devices whose packets begin with an Ethernet header, the loopback's among them.
pub(super) fn ethernet(abilities: Abilities) -> Instructions {
    classify(abilities, 14)
}

/// For devices whose packets begin with the IP header.
pub(super) fn plain(abilities: Abilities) -> Instructions {
    classify(abilities, 0)
}

fn classify(abilities: Abilities, header: i16) -> Instructions {
    let mut code = Code::new(abilities);
    let (pass, v6, not_udp) = (code.asm.label(), code.asm.label(), code.asm.label());
    code.asm
        .copy(CONTEXT, Reg::R1)
        .load_word(Reg::R1, CONTEXT, skb::PROTOCOL)
        .load_word(DATA, CONTEXT, skb::DATA)
        .load_word(Reg::R3, CONTEXT, skb::DATA_END)
        .copy(Reg::R2, DATA)
        .jump_if_32(If::Equal, Reg::R1, IPV6, v6)
        .jump_if_32(If::NotEqual, Reg::R1, IP, pass)
        .alu(Alu::Add, Reg::R2, i32::from(header) + 28)
        .jump_if_registers(If::Greater, Reg::R2, Reg::R3, pass)
        .load(Size::Byte, Reg::R1, DATA, header + 9)
        .jump_if_32(If::NotEqual, Reg::R1, UDP, not_udp);
    tuple_4(&mut code, header, pass);
    owners_4(&mut code, pass);

    // The first packet of a TCP connection: SYN without ACK.
    code.asm
        .place(not_udp)
        .jump_if_32(If::NotEqual, Reg::R1, TCP, pass)
        .alu(Alu::Add, Reg::R2, 12)
        .jump_if_registers(If::Greater, Reg::R2, Reg::R3, pass)
        .load(Size::Byte, Reg::R1, DATA, header + 33)
        .alu_32(Alu::And, Reg::R1, 0x12)
        .jump_if_32(If::NotEqual, Reg::R1, 0x02, pass);
    tuple_4(&mut code, header, pass);
    late_listeners(&mut code, header, pass);

    code.asm
        .place(v6)
        .alu(Alu::Add, Reg::R2, i32::from(header) + 48)
        .jump_if_registers(If::Greater, Reg::R2, Reg::R3, pass)
        .load(Size::Byte, Reg::R1, DATA, header + 6)
        .jump_if_32(If::NotEqual, Reg::R1, UDP, pass);
    code.copy_words((Reg::Frame, OWNER_KEY), (DATA, header + 24), 4);
    // Source, destination and ports.
    code.copy_words((Reg::Frame, TUPLE), (DATA, header + 8), 9);
    owners_6(&mut code, pass);
    code.asm.place(pass).answer(NEXT);
    code.finish()
}

/// The tuple and the owner's key of an IPv4 packet; on to `pass` with options, and with a later fragment, which has no
/// ports. The destination stays in R8.
fn tuple_4(code: &mut Code, header: i16, pass: Label) {
    code.asm
        .load(Size::Byte, Reg::R1, DATA, header)
        .jump_if_32(If::NotEqual, Reg::R1, 0x45, pass)
        .load(Size::Half, Reg::R1, DATA, header + 6)
        .alu_32(Alu::And, Reg::R1, network([0x1f, 0xff, 0, 0]))
        .jump_if_32(If::NotEqual, Reg::R1, 0, pass)
        .load_word(Reg::R8, DATA, header + 16)
        .store(Size::Word, Reg::Frame, TUPLE + 4, Reg::R8)
        .load_word(Reg::R1, DATA, header + 12)
        .store(Size::Word, Reg::Frame, TUPLE, Reg::R1)
        .load_word(Reg::R1, DATA, header + 20)
        .store(Size::Word, Reg::Frame, TUPLE + 8, Reg::R1);
    owner_key_4(code);
}

/// Gives the connection to a listener that has no other way to it, unless the kernel has a listener for it; goes on at
/// `pass`.
fn late_listeners(code: &mut Code, header: i16, pass: Label) {
    let (found, release_found) = (code.asm.label(), code.asm.label());
    // In this machine's order.
    code.asm.load(Size::Half, Reg::R1, DATA, header + 22).swap(Reg::R1, 16);
    code.asm.store(Size::Word, Reg::Frame, LISTENER_KEY + 8, Reg::R1);
    code.asm.store_value(Size::Word, Reg::Frame, LISTENER_KEY + 12, maps::listener_kind(mark::LATE_4, 0));
    for number in 0..OWNERS_MAX {
        owner(code, number, pass);
        code.asm.load(Size::Double, Reg::R1, OWNER, owner::CGROUP);
        code.asm.store(Size::Double, Reg::Frame, LISTENER_KEY, Reg::R1);
        code.look_up(maps::LISTENERS, LISTENER_KEY);
        code.asm.jump_if_not_equal(Reg::R0, 0, found);
    }
    code.asm.jump(pass).place(found).copy(SOCKET, Reg::R0);
    let none = code.asm.label();
    code.asm
        .copy(Reg::R1, CONTEXT)
        .copy(Reg::R2, Reg::Frame)
        .alu(Alu::Add, Reg::R2, TUPLE.into())
        .set(Reg::R3, LENGTH_4)
        .set(Reg::R4, -1)
        .set(Reg::R5, 0)
        .call(helper::SK_LOOKUP_TCP)
        .jump_if_equal(Reg::R0, 0, none)
        .copy(Reg::R1, Reg::R0)
        .call(helper::SK_RELEASE)
        .jump(release_found)
        .place(none)
        .copy(Reg::R1, CONTEXT)
        .copy(Reg::R2, SOCKET)
        .set(Reg::R3, 0)
        .call(helper::SK_ASSIGN)
        .place(release_found);
    release(code);
    code.asm.jump(pass);
}

/// The next owner to OWNER, or on to `pass`.
fn owner(code: &mut Code, number: i32, pass: Label) {
    code.asm.store_value(Size::Word, Reg::Frame, OWNER_KEY + 16, number);
    code.look_up(maps::OWNERS, OWNER_KEY);
    code.asm.jump_if_equal(Reg::R0, 0, pass).copy(OWNER, Reg::R0);
}

/// The socket that the kernel has for the tuple to R0 and SOCKET, or on to `none`.
fn look_up(code: &mut Code, (place, length): (i16, i32), none: Label) {
    code.asm
        .copy(Reg::R1, CONTEXT)
        .copy(Reg::R2, Reg::Frame)
        .alu(Alu::Add, Reg::R2, place.into())
        .set(Reg::R3, length)
        .set(Reg::R4, -1)
        .set(Reg::R5, 0)
        .call(helper::SK_LOOKUP_UDP)
        .jump_if_equal(Reg::R0, 0, none)
        .copy(SOCKET, Reg::R0);
}

fn release(code: &mut Code) {
    code.asm.copy(Reg::R1, SOCKET).call(helper::SK_RELEASE);
}

fn owners_4(code: &mut Code, pass: Label) {
    let release_and_pass = code.asm.label();
    for number in 0..OWNERS_MAX {
        let (first, next, wildcard) = (code.asm.label(), code.asm.label(), code.asm.label());
        owner(code, number, pass);
        code.asm
            .load_word(Reg::R1, OWNER, owner::FIRST_4)
            .jump_if_32(If::Equal, Reg::R1, 0, next)
            // The kernel finds it by itself.
            .jump_if_registers_32(If::Equal, Reg::R1, Reg::R8, next);
        if number == 0 {
            look_up(code, (TUPLE, LENGTH_4), first);
            code.asm
                .load_word(Reg::R1, SOCKET, sock::SRC_IP4)
                .jump_if_32(If::Equal, Reg::R1, 0, wildcard)
                .jump(release_and_pass)
                .place(wildcard);
            release(code);
        }
        code.asm.place(first).load_word(Reg::R1, OWNER, owner::FIRST_4).store(
            Size::Word,
            Reg::Frame,
            TUPLE + 4,
            Reg::R1,
        );
        look_up(code, (TUPLE, LENGTH_4), next);
        assign_if_marked(code, mark::ANY_4, pass);
        code.asm.place(next);
    }
    code.asm.jump(pass).place(release_and_pass);
    release(code);
    code.asm.jump(pass);
}

fn owners_6(code: &mut Code, pass: Label) {
    const DESTINATION: i16 = TUPLE + 16;
    let release_and_pass = code.asm.label();
    for number in 0..OWNERS_MAX {
        let (first, next, both, some) =
            (code.asm.label(), code.asm.label(), code.asm.label(), code.asm.label());
        owner(code, number, pass);
        if number == 0 {
            look_up(code, (TUPLE, LENGTH_6), first);
            code.unless_zero(SOCKET, sock::SRC_IP6, 4, release_and_pass);
            release(code);
            code.asm.place(first);
        }
        code.unless_zero(OWNER, owner::FIRST_6, 4, some);
        code.asm.jump(both).place(some);
        code.copy_words((Reg::Frame, DESTINATION), (OWNER, owner::FIRST_6), 4);
        look_up(code, (TUPLE, LENGTH_6), both);
        assign_if_marked(code, mark::ANY_6, pass);
        // A socket for both is at the first IPv4 address, and is looked for there with the ports of this packet.
        code.asm
            .place(both)
            .load_word(Reg::R1, OWNER, owner::FIRST_4)
            .jump_if_32(If::Equal, Reg::R1, 0, next)
            .store_value(Size::Word, Reg::Frame, TUPLE_4, 0)
            .store(Size::Word, Reg::Frame, TUPLE_4 + 4, Reg::R1)
            .load_word(Reg::R1, Reg::Frame, TUPLE + 32)
            .store(Size::Word, Reg::Frame, TUPLE_4 + 8, Reg::R1);
        look_up(code, (TUPLE_4, LENGTH_4), next);
        assign_if_marked(code, mark::ANY_6, pass);
        code.asm.place(next);
    }
    code.asm.jump(pass).place(release_and_pass);
    release(code);
    code.asm.jump(pass);
}

/// Gives the packet to SOCKET if that is an any-bound one of the owner's that is not connected, and goes on at `pass`;
/// else the socket is released and it goes on after this.
fn assign_if_marked(code: &mut Code, bit: u32, pass: Label) {
    let not = code.asm.label();
    code.asm
        .load_word(Reg::R1, SOCKET, sock::STATE)
        .jump_if_32(If::Equal, Reg::R1, state::ESTABLISHED, not)
        .copy(Reg::R2, SOCKET);
    code.mark(false);
    code.asm
        .jump_if_equal(Reg::R0, 0, not)
        .load_word(Reg::R1, Reg::R0, mark::BITS)
        .alu_32(Alu::And, Reg::R1, bit)
        .jump_if_32(If::Equal, Reg::R1, 0, not)
        .load(Size::Double, Reg::R1, Reg::R0, mark::CGROUP)
        .load(Size::Double, Reg::R2, OWNER, owner::CGROUP)
        .jump_if_registers(If::NotEqual, Reg::R1, Reg::R2, not)
        .copy(Reg::R1, CONTEXT)
        .copy(Reg::R2, SOCKET)
        .set(Reg::R3, 0)
        .call(helper::SK_ASSIGN);
    release(code);
    code.asm.jump(pass).place(not);
    release(code);
}
