//! What the programs have in common: where things are in the kernel's contexts, helper calls, beginnings and ends.

use super::maps;
use super::rules::at;
use crate::bpf::asm::{Assembler, If, Label, MapNumber, Reg, Size};

/// `enum bpf_func_id`
pub(super) mod helper {
    pub const MAP_LOOKUP: i32 = 1;
    pub const GET_CURRENT_UID_GID: i32 = 15;
    pub const GET_LOCAL_STORAGE: i32 = 81;
    pub const SK_STORAGE_GET: i32 = 107;
    /// Linux 5.18
    pub const SET_RETVAL: i32 = 187;
}

/// Offsets in `struct bpf_sock_addr`.
pub(super) mod sock_addr {
    pub const USER_IP4: i16 = 4;
    pub const USER_PORT: i16 = 24;
    pub const PROTOCOL: i16 = 36;
    pub const SK: i16 = 64;
}

/// What of the kernel's abilities the programs are made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Abilities {
    /// `bpf_set_retval`: a refusal can say why. Otherwise it is `EPERM`.
    pub set_retval: bool,
}

/// Instructions, and which of them name a map.
pub(super) type Instructions = (Vec<u64>, Vec<(usize, MapNumber)>);

/// In all our programs R6 is the context and R7 the guest's configuration.
pub(super) const CONTEXT: Reg = Reg::R6;
pub(super) const CONFIG: Reg = Reg::R7;

/// Where `u32` numbers of an IPv4 address in the network's order have their bytes, read as this machine's.
pub(super) const fn network(bytes: [u8; 4]) -> u32 {
    u32::from_ne_bytes(bytes)
}

/// A program under construction: an assembler, and labels of common ends.
pub(super) struct Code {
    pub asm: Assembler,
    abilities: Abilities,
    ends: Vec<(Label, i32)>,
}

impl Code {
    pub fn new(abilities: Abilities) -> Self {
        Self { asm: Assembler::new(), abilities, ends: Vec::new() }
    }

    /// The context to R6, the configuration to R7; a group without one is denied with `EPERM`.
    pub fn begin(&mut self) -> &mut Self {
        let deny = self.deny(libc::EPERM);
        self.asm
            .copy(CONTEXT, Reg::R1)
            .map(Reg::R1, maps::CONFIG)
            .set(Reg::R2, 0)
            .call(helper::GET_LOCAL_STORAGE)
            .copy(CONFIG, Reg::R0)
            .load(Size::Double, Reg::R0, CONFIG, at::ID)
            .jump_if_equal(Reg::R0, 0, deny);
        self
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
        self.asm.load_word(Reg::R0, CONFIG, at::FLAGS).alu_32(crate::bpf::asm::Alu::And, Reg::R0, flags);
        self.asm.jump_if_32(If::NotEqual, Reg::R0, 0, label);
        self
    }

    /// Goes on at the label if none of these flags is set. R0 is lost.
    pub fn unless_flag(&mut self, flags: u32, label: Label) -> &mut Self {
        self.asm.load_word(Reg::R0, CONFIG, at::FLAGS).alu_32(crate::bpf::asm::Alu::And, Reg::R0, flags);
        self.asm.jump_if_32(If::Equal, Reg::R0, 0, label);
        self
    }

    /// Looks for the key at `Frame + offset`; R0 is the value's place or 0. R1 to R5 are lost.
    pub fn look_up(&mut self, map: MapNumber, offset: i16) -> &mut Self {
        self.asm
            .map(Reg::R1, map)
            .copy(Reg::R2, Reg::Frame)
            .alu(crate::bpf::asm::Alu::Add, Reg::R2, i32::from(offset))
            .call(helper::MAP_LOOKUP);
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
