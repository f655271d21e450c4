//! Which devices a group may use: the successor of version 1's devices controller.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Program;
use super::asm::{Assembler, Reg};
use crate::sys::BpfProgramKind;

/// Kind of device node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum DeviceKind {
    /// Character devices.
    Char,
    /// Block devices.
    Block,
    /// Both.
    All,
}

/// Something that is allowed. What no rule allows is denied with `EPERM`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct DeviceRule {
    /// Which kind.
    pub kind: DeviceKind,
    /// Which major number; `None`: any.
    pub major: Option<u32>,
    /// Which minor number; `None`: any.
    pub minor: Option<u32>,
    /// It may be opened to read.
    pub read: bool,
    /// It may be opened to write.
    pub write: bool,
    /// Nodes of it may be made.
    pub mknod: bool,
}

/// `BPF_DEVCG_DEV_*` and `BPF_DEVCG_ACC_*` of `<linux/bpf.h>`.
const BLOCK: i32 = 1;
const CHAR: i32 = 2;
const MKNOD: i32 = 1;
const READ: i32 = 2;
const WRITE: i32 = 4;

impl DeviceRule {
    fn access(&self) -> i32 {
        [(self.mknod, MKNOD), (self.read, READ), (self.write, WRITE)]
            .into_iter()
            .filter(|(given, _)| *given)
            .fold(0, |all, (_, bit)| all | bit)
    }
}

impl Program {
    /// The program that allows what these rules allow.
    ///
    /// Rules for the same device are put together: one to read and one to write allow an open for both. Their order does
    /// not matter, so that the same rules always give the same program.
    pub fn from_rules(rules: &[DeviceRule]) -> Self {
        let mut merged: BTreeMap<_, i32> = BTreeMap::new();
        for rule in rules {
            *merged.entry((rule.kind, rule.major, rule.minor)).or_default() |= rule.access();
        }
        let mut asm = Assembler::new();
        if merged.get(&(DeviceKind::All, None, None)) == Some(&(MKNOD | READ | WRITE)) {
            // Everything: a test would never be reached, and the kernel refuses instructions like that.
            asm.answer(1);
            return Self::new(BpfProgramKind::CgroupDevice, asm.finish());
        }
        // struct bpf_cgroup_dev_ctx: access << 16 | kind, major, minor.
        asm.load_word(Reg::R2, Reg::R1, 0).load_word(Reg::R4, Reg::R1, 4).load_word(Reg::R5, Reg::R1, 8);
        asm.copy(Reg::R3, Reg::R2).shift_right(Reg::R3, 16).and(Reg::R2, 0xffff);
        for ((kind, major, minor), access) in merged {
            // Numbers are far below 2^31 (12 and 20 bits): one above names no device that there can be.
            let (Ok(major), Ok(minor)) =
                (major.map(i32::try_from).transpose(), minor.map(i32::try_from).transpose())
            else {
                continue;
            };
            let next = asm.label();
            match kind {
                DeviceKind::Char => asm.jump_if_not_equal(Reg::R2, CHAR, next),
                DeviceKind::Block => asm.jump_if_not_equal(Reg::R2, BLOCK, next),
                DeviceKind::All => &mut asm,
            };
            if access != MKNOD | READ | WRITE {
                // Anything asked for beyond what is allowed?
                asm.copy(Reg::R1, Reg::R3).and(Reg::R1, !access).jump_if_not_equal(Reg::R1, 0, next);
            }
            if let Some(major) = major {
                asm.jump_if_not_equal(Reg::R4, major, next);
            }
            if let Some(minor) = minor {
                asm.jump_if_not_equal(Reg::R5, minor, next);
            }
            asm.answer(1).place(next);
        }
        asm.answer(0);
        Self::new(BpfProgramKind::CgroupDevice, asm.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::super::asm::machine;
    use super::*;
    use proptest::prelude::*;

    /// What the rules mean, said plainly: the rules for one set of devices together allow all that is asked.
    fn allowed(rules: &[DeviceRule], kind: i32, access: i32, major: u32, minor: u32) -> bool {
        let same = |a: &DeviceRule, b: &DeviceRule| (a.kind, a.major, a.minor) == (b.kind, b.major, b.minor);
        rules.iter().any(|rule| {
            let given =
                rules.iter().filter(|other| same(rule, other)).fold(0, |all, other| all | other.access());
            let kind_fits = match rule.kind {
                DeviceKind::All => true,
                DeviceKind::Char => kind == CHAR,
                DeviceKind::Block => kind == BLOCK,
            };
            kind_fits
                && access & !given == 0
                && rule.major.is_none_or(|wanted| wanted == major)
                && rule.minor.is_none_or(|wanted| wanted == minor)
        })
    }

    fn any_rule() -> impl Strategy<Value = DeviceRule> {
        let kind = prop_oneof![Just(DeviceKind::Char), Just(DeviceKind::Block), Just(DeviceKind::All)];
        (kind, proptest::option::of(0..4_u32), proptest::option::of(0..4_u32), any::<(bool, bool, bool)>())
            .prop_map(|(kind, major, minor, (read, write, mknod))| DeviceRule {
                kind,
                major,
                minor,
                read,
                write,
                mknod,
            })
    }

    proptest! {
        #[test]
        fn the_program_answers_what_the_rules_mean(
            rules in proptest::collection::vec(any_rule(), 0..12),
            kind in 1..3_i32,
            access in 1..8_i32,
            major in 0..4_u32,
            minor in 0..4_u32,
        ) {
            let program = Program::from_rules(&rules);
            let context = [(access << 16 | kind).cast_unsigned(), major, minor];
            let answer = machine::run(program.instructions(), &context);
            prop_assert_eq!(answer == 1, allowed(&rules, kind, access, major, minor));
        }

        #[test]
        fn the_order_of_rules_does_not_matter(rules in proptest::collection::vec(any_rule(), 0..12)) {
            let forth = Program::from_rules(&rules);
            let back = Program::from_rules(&rules.iter().rev().copied().collect::<Vec<_>>());
            prop_assert_eq!(forth.content_name(), back.content_name());
        }
    }

    #[test]
    fn no_rule_allows_nothing() {
        let program = Program::from_rules(&[]);
        assert_eq!(machine::run(program.instructions(), &[(READ << 16 | CHAR).cast_unsigned(), 1, 3]), 0);
        assert!(!program.content_name().contains('.'));
    }
}
