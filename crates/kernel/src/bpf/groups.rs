//! From a socket to the control group that it was made in, in a program that may read the kernel's memory.

use super::asm::{Alu, Assembler, Label, Reg, Size};
use crate::btf::Btf;

/// `bpf_probe_read_kernel`
const PROBE_READ_KERNEL: i32 = 113;

/// Where on the stack [`read`] puts what it has read.
pub(super) const READ: i16 = -8;

/// How far up a socket's group is looked for the one on a level.
const DEPTH: i32 = 16;

/// Places in the kernel's structures, in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Places {
    /// `struct sock`: group.
    group: i32,
    /// `struct cgroup`: how deep it is, and the group above.
    level: i32,
    above: i32,
}

impl Places {
    pub fn of(btf: &Btf) -> Option<Self> {
        // A group begins with its own css, whose parent is that of the group above.
        if byte(btf, "cgroup", "self") != Some(0) {
            return None;
        }
        Some(Self {
            group: byte(btf, "sock", "sk_cgrp_data")? + byte(btf, "sock_cgroup_data", "cgroup")?,
            level: byte(btf, "cgroup", "level")?,
            above: byte(btf, "cgroup_subsys_state", "parent")?,
        })
    }

    /// From the socket in a register to its group, or the one above that, on the level, in KEPT; on to `none` if there
    /// is none. R0 to R5 are lost.
    pub fn group_on(&self, asm: &mut Assembler, socket: Reg, kept: Reg, level: u8, none: Label) {
        asm.copy(Reg::R3, socket);
        read(asm, self.group);
        asm.load(Size::Double, kept, Reg::Frame, READ);
        let found = asm.label();
        for _ in 0..DEPTH {
            asm.jump_if_equal(kept, 0, none).copy(Reg::R3, kept);
            read(asm, self.level);
            // An int: the lower half.
            asm.load(Size::Word, Reg::R1, Reg::Frame, READ).jump_if_equal(Reg::R1, level.into(), found);
            asm.copy(Reg::R3, kept);
            read(asm, self.above);
            asm.load(Size::Double, kept, Reg::Frame, READ);
        }
        asm.jump(none).place(found);
    }
}

/// At which byte of a structure its member begins.
pub(super) fn byte(btf: &Btf, structure: &str, member: &str) -> Option<i32> {
    btf.member_bit(structure, member).and_then(|bit| i32::try_from(bit / 8).ok())
}

/// Reads eight bytes at R3 plus `offset` to [`READ`]; what cannot be read is 0. R0 to R5 are lost.
pub(super) fn read(asm: &mut Assembler, offset: i32) {
    asm.store_value(Size::Double, Reg::Frame, READ, 0);
    asm.alu(Alu::Add, Reg::R3, offset).copy(Reg::R1, Reg::Frame).alu(Alu::Add, Reg::R1, i32::from(READ));
    asm.set(Reg::R2, 8).call(PROBE_READ_KERNEL);
}
