//! What the programs have in common: where things are in the kernel's contexts, helper calls, beginnings and ends.

use super::abilities::Abilities;
use super::maps::{self, MEMBER, mark};
use super::rules::{WILDCARD_PORTS_MAX, at, flag};
use crate::bpf::asm::{Alu, Assembler, If, Label, MapNumber, Reg, Size};

/// `enum bpf_func_id`
pub(super) mod helper {
    pub const MAP_LOOKUP: i32 = 1;
    pub const SKB_STORE_BYTES: i32 = 9;
    pub const L3_CSUM_REPLACE: i32 = 10;
    pub const L4_CSUM_REPLACE: i32 = 11;
    pub const GET_CURRENT_UID_GID: i32 = 15;
    pub const GET_CURRENT_TASK: i32 = 35;
    pub const CSUM_DIFF: i32 = 28;
    pub const BIND: i32 = 64;
    pub const SOCK_HASH_UPDATE: i32 = 70;
    pub const GET_LOCAL_STORAGE: i32 = 81;
    pub const SK_LOOKUP_TCP: i32 = 84;
    pub const SK_LOOKUP_UDP: i32 = 85;
    pub const SK_RELEASE: i32 = 86;
    pub const SK_FULLSOCK: i32 = 95;
    pub const SK_STORAGE_GET: i32 = 107;
    pub const SK_ASSIGN: i32 = 124;
    /// Linux 5.9, with type information of the kernel.
    pub const SKC_TO_TCP6_SOCK: i32 = 136;
    pub const SKC_TO_UDP6_SOCK: i32 = 140;
    /// Linux 5.18
    pub const SET_RETVAL: i32 = 187;
}

/// Offsets in `struct bpf_sock_addr`. Addresses and ports are in the network's order.
pub(super) mod sock_addr {
    pub const USER_IP4: i16 = 4;
    pub const USER_IP6: i16 = 8;
    pub const USER_PORT: i16 = 24;
    pub const PROTOCOL: i16 = 36;
    pub const MSG_SRC_IP4: i16 = 40;
    pub const MSG_SRC_IP6: i16 = 44;
    pub const SK: i16 = 64;
}

/// Offsets in `struct bpf_sock`.
pub(super) mod sock {
    pub const TYPE: i16 = 8;
    pub const PROTOCOL: i16 = 12;
    pub const SRC_IP4: i16 = 24;
    pub const SRC_IP6: i16 = 28;
    pub const STATE: i16 = 72;
}

/// Offsets in `struct __sk_buff`.
pub(super) mod skb {
    pub const PROTOCOL: i16 = 16;
    pub const IFINDEX: i16 = 40;
    pub const DATA: i16 = 76;
    pub const DATA_END: i16 = 80;
    pub const SK: i16 = 168;
}

/// `TCP_ESTABLISHED`, `TCP_CLOSE`, `TCP_LISTEN`: what `bpf_sock.state` says, of UDP sockets too.
pub(super) mod state {
    pub const ESTABLISHED: u32 = 1;
    pub const CLOSE: u32 = 7;
    pub const LISTEN: u32 = 10;
}

pub(super) const TCP: u32 = libc::IPPROTO_TCP.cast_unsigned();
pub(super) const UDP: u32 = libc::IPPROTO_UDP.cast_unsigned();

/// Instructions, and which of them name a map.
pub(super) type Instructions = (Vec<u64>, Vec<(usize, MapNumber)>);

/// In all programs of groups R6 is the context and R7 the guest's configuration.
pub(super) const CONTEXT: Reg = Reg::R6;
pub(super) const CONFIG: Reg = Reg::R7;

/// The number that a program reads where these bytes are in memory.
pub(super) const fn network(bytes: [u8; 4]) -> u32 {
    u32::from_ne_bytes(bytes)
}

/// The third word of an IPv4 address as IPv6 writes it, `::ffff:a.b.c.d`.
pub(super) const MAPPED: u32 = network([0, 0, 0xff, 0xff]);
/// The last word of `::1`.
pub(super) const ONE: u32 = network([0, 0, 0, 1]);

/// Places on the stack, from its end. A key of map `vs_addresses`: cgroup, address, kind.
pub(super) const KEY: i16 = -32;
pub(super) const KEY_ADDRESS: i16 = -24;
pub(super) const KEY_V4: i16 = -12;
pub(super) const KEY_KIND: i16 = -8;
/// The place in the list of the best source so far.
pub(super) const BEST: i16 = -40;
/// A `struct sockaddr_in` or `sockaddr_in6`.
pub(super) const SOCKADDR: i16 = -72;
/// An IPv6 source that was chosen.
pub(super) const SOURCE: i16 = -88;

/// A program under construction: an assembler, and labels of common ends.
pub(super) struct Code {
    pub asm: Assembler,
    pub abilities: Abilities,
    ends: Vec<(Label, i32)>,
}

impl Code {
    pub fn new(abilities: Abilities) -> Self {
        Self { asm: Assembler::new(), abilities, ends: Vec::new() }
    }

    /// The context to R6, the configuration to R7; a group without one is denied with `EPERM`.
    pub fn begin(abilities: Abilities) -> Self {
        let mut code = Self::new(abilities);
        let deny = code.deny(libc::EPERM);
        code.configuration();
        code.asm.load(Size::Double, Reg::R0, CONFIG, at::ID).jump_if_equal(Reg::R0, 0, deny);
        code
    }

    /// The same for programs that change nothing when there is no configuration.
    pub fn begin_view(abilities: Abilities) -> Self {
        let mut code = Self::new(abilities);
        code.configuration();
        code
    }

    pub fn configuration(&mut self) {
        self.asm
            .copy(CONTEXT, Reg::R1)
            .map(Reg::R1, maps::CONFIG)
            .set(Reg::R2, 0)
            .call(helper::GET_LOCAL_STORAGE)
            .copy(CONFIG, Reg::R0);
    }

    /// Where to jump to refuse with this errno.
    pub fn deny(&mut self, errno: i32) -> Label {
        if let Some((label, _)) = self.ends.iter().find(|(_, known)| *known == errno) {
            return *label;
        }
        let label = self.asm.label();
        self.ends.push((label, errno));
        label
    }

    /// Goes on at the label if one of these flags is set. R0 is lost.
    pub fn if_flag(&mut self, flags: u32, label: Label) -> &mut Self {
        self.asm.load_word(Reg::R0, CONFIG, at::FLAGS).alu_32(Alu::And, Reg::R0, flags);
        self.asm.jump_if_32(If::NotEqual, Reg::R0, 0, label);
        self
    }

    /// Goes on at the label if none of these flags is set. R0 is lost.
    pub fn unless_flag(&mut self, flags: u32, label: Label) -> &mut Self {
        self.asm.load_word(Reg::R0, CONFIG, at::FLAGS).alu_32(Alu::And, Reg::R0, flags);
        self.asm.jump_if_32(If::Equal, Reg::R0, 0, label);
        self
    }

    /// Looks for the key at `Frame + offset`; R0 is the value's place or 0. R1 to R5 are lost.
    pub fn look_up(&mut self, map: MapNumber, offset: i16) -> &mut Self {
        self.asm
            .map(Reg::R1, map)
            .copy(Reg::R2, Reg::Frame)
            .alu(Alu::Add, Reg::R2, i32::from(offset))
            .call(helper::MAP_LOOKUP);
        self
    }

    /// Copies `words` words. R0 is lost.
    pub fn copy_words(&mut self, to: (Reg, i16), from: (Reg, i16), words: i16) -> &mut Self {
        for word in 0..words {
            self.asm.load_word(Reg::R0, from.0, from.1 + 4 * word).store(
                Size::Word,
                to.0,
                to.1 + 4 * word,
                Reg::R0,
            );
        }
        self
    }

    /// Goes on at the label unless the three words of `register + offset` begin an IPv4 address in IPv6's form. R0 is
    /// lost.
    pub fn unless_mapped(&mut self, register: Reg, offset: i16, label: Label) -> &mut Self {
        self.asm
            .load_word(Reg::R0, register, offset)
            .jump_if_32(If::NotEqual, Reg::R0, 0, label)
            .load_word(Reg::R0, register, offset + 4)
            .jump_if_32(If::NotEqual, Reg::R0, 0, label)
            .load_word(Reg::R0, register, offset + 8)
            .jump_if_32(If::NotEqual, Reg::R0, MAPPED, label);
        self
    }

    /// Goes on at the label unless the three words at `register + offset` are zero. R0 is lost.
    pub fn unless_zero(&mut self, register: Reg, offset: i16, words: i16, label: Label) -> &mut Self {
        for word in 0..words {
            self.asm.load_word(Reg::R0, register, offset + 4 * word).jump_if_32(
                If::NotEqual,
                Reg::R0,
                0,
                label,
            );
        }
        self
    }

    /// Goes on at the label unless the four words are equal. R0 and R1 are lost.
    pub fn unless_equal(&mut self, a: (Reg, i16), b: (Reg, i16), label: Label) -> &mut Self {
        for word in 0..4 {
            self.asm
                .load_word(Reg::R0, a.0, a.1 + 4 * word)
                .load_word(Reg::R1, b.0, b.1 + 4 * word)
                .jump_if_registers_32(If::NotEqual, Reg::R0, Reg::R1, label);
        }
        self
    }

    /// The key of map `vs_addresses` for the IPv4 address in a register. R0 is lost.
    pub fn key_4(&mut self, address: Reg) -> &mut Self {
        self.asm
            .load(Size::Double, Reg::R0, CONFIG, at::ID)
            .store(Size::Double, Reg::Frame, KEY, Reg::R0)
            .store_value(Size::Double, Reg::Frame, KEY_ADDRESS, 0)
            .store_value(Size::Word, Reg::Frame, KEY_ADDRESS + 8, MAPPED.cast_signed())
            .store(Size::Word, Reg::Frame, KEY_V4, address)
            .store_value(Size::Word, Reg::Frame, KEY_KIND, MEMBER.cast_signed());
        self
    }

    /// The same for four words somewhere. R0 is lost.
    pub fn key_6(&mut self, register: Reg, offset: i16) -> &mut Self {
        self.copy_words((Reg::Frame, KEY_ADDRESS), (register, offset), 4);
        self.asm
            .load(Size::Double, Reg::R0, CONFIG, at::ID)
            .store(Size::Double, Reg::Frame, KEY, Reg::R0)
            .store_value(Size::Word, Reg::Frame, KEY_KIND, MEMBER.cast_signed());
        self
    }

    /// Goes on at the label if the key's address is not the guest's. R0 to R5 are lost.
    pub fn unless_member(&mut self, label: Label) -> &mut Self {
        self.look_up(maps::ADDRESSES, KEY);
        self.asm.jump_if_equal(Reg::R0, 0, label);
        self
    }

    /// The socket's mark to R0, a place or 0; made if `create`. The socket is in R2.
    pub fn mark(&mut self, create: bool) -> &mut Self {
        self.asm
            .map(Reg::R1, maps::SOCKETS)
            .set(Reg::R3, 0)
            .set(Reg::R4, i32::from(create))
            .call(helper::SK_STORAGE_GET);
        self
    }

    /// Goes on at the label unless the socket is marked with this alone; the socket is in R2. R0 to R5 are lost.
    pub fn unless_marked(&mut self, bits: u32, label: Label) -> &mut Self {
        self.mark(false);
        self.asm.jump_if_equal(Reg::R0, 0, label).load_word(Reg::R1, Reg::R0, mark::BITS).jump_if_32(
            If::NotEqual,
            Reg::R1,
            bits,
            label,
        );
        self
    }

    /// Marks the context's socket; one that cannot be marked (no memory) is refused.
    pub fn remember(&mut self, bits: u32) -> &mut Self {
        self.asm.load(Size::Double, Reg::R2, CONTEXT, sock_addr::SK);
        self.remember_socket(bits)
    }

    /// The same for the socket in R2.
    pub fn remember_socket(&mut self, bits: u32) -> &mut Self {
        let no_memory = self.deny(libc::ENOMEM);
        self.mark(true);
        self.asm
            .jump_if_equal(Reg::R0, 0, no_memory)
            .store_value(Size::Word, Reg::R0, mark::BITS, bits.cast_signed())
            .load(Size::Double, Reg::R1, CONFIG, at::ID)
            .store(Size::Double, Reg::R0, mark::CGROUP, Reg::R1);
        self
    }

    /// Goes on at the label if a UDP socket is to stay at the real wildcard for the port it asks for. R1 and R2 are
    /// lost.
    pub fn if_wildcard_port(&mut self, label: Label) -> &mut Self {
        let not = self.asm.label();
        self.asm
            .load_word(Reg::R1, CONTEXT, sock_addr::PROTOCOL)
            .jump_if_32(If::NotEqual, Reg::R1, UDP, not)
            .load_word(Reg::R1, CONTEXT, sock_addr::USER_PORT);
        for slot in (at::WILDCARD_PORTS..).step_by(2).take(WILDCARD_PORTS_MAX) {
            self.asm
                .load(Size::Half, Reg::R2, CONFIG, slot)
                .jump_if_32(If::Equal, Reg::R2, 0, not)
                .jump_if_registers_32(If::Equal, Reg::R1, Reg::R2, label);
        }
        self.asm.place(not);
        self
    }

    /// Goes on at the label if the IPv4 address in a register is the broadcast address, or a multicast address that
    /// may be used; at `refused` if it is one that may not. R0 is lost.
    pub fn if_special_4(&mut self, address: Reg, label: Label, refused: Label) -> &mut Self {
        let not = self.asm.label();
        self.asm.load_word(Reg::R0, CONFIG, at::BCAST).jump_if_registers_32(
            If::Equal,
            Reg::R0,
            address,
            label,
        );
        self.asm.copy(Reg::R0, address).alu_32(Alu::And, Reg::R0, network([0xf0, 0, 0, 0])).jump_if_32(
            If::NotEqual,
            Reg::R0,
            network([0xe0, 0, 0, 0]),
            not,
        );
        self.if_flag(flag::MULTICAST, label);
        self.asm.jump(refused).place(not);
        self
    }

    /// The same for IPv6, by the first word of the address. R0 is lost.
    pub fn if_special_6(&mut self, place: (Reg, i16), label: Label, refused: Label) -> &mut Self {
        let not = self.asm.label();
        self.asm
            .load_word(Reg::R0, place.0, place.1)
            .alu_32(Alu::And, Reg::R0, network([0xff, 0, 0, 0]))
            .jump_if_32(If::NotEqual, Reg::R0, network([0xff, 0, 0, 0]), not);
        self.if_flag(flag::MULTICAST, label);
        self.asm.jump(refused).place(not);
        self
    }

    /// Puts the refusals behind the program.
    pub fn finish(mut self) -> Instructions {
        for (label, errno) in std::mem::take(&mut self.ends) {
            self.asm.place(label);
            if self.abilities.set_retval && errno != libc::EPERM {
                self.asm.set(Reg::R1, -errno).call(helper::SET_RETVAL);
            }
            self.asm.answer(0);
        }
        self.asm.finish_with_maps()
    }
}
