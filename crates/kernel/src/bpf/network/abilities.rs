//! What this kernel's programs can do.

use super::super::asm::{Assembler, Reg};
use super::code::helper;
use super::{HOOKS, with_unlimited_memlock};
use crate::btf::Btf;
use crate::sys;

/// What the programs are made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Abilities {
    /// `bpf_set_retval`: a refusal can say why. Otherwise it is `EPERM`.
    pub set_retval: bool,
    /// Where `skc_ipv6only` is in the kernel's `struct sock_common`: byte and mask. `None`: no type information.
    pub ipv6_only: Option<(u16, u8)>,
}

impl Abilities {
    /// What every kernel has had from 5.18 to 6.18, with type information.
    pub const ALL: Self = Self { set_retval: true, ipv6_only: Some((19, 0x20)) };

    /// Asks the kernel.
    pub fn of_kernel() -> Self {
        Self { set_retval: can_set_retval(), ipv6_only: ipv6_only() }
    }
}

/// Asked by loading a program that says why it refuses.
fn can_set_retval() -> bool {
    let mut asm = Assembler::new();
    asm.set(Reg::R1, -libc::EADDRNOTAVAIL).call(helper::SET_RETVAL).answer(0);
    let load = || sys::bpf_load(HOOKS[0].kind, "vs_probe", &asm.clone().finish());
    match load() {
        Err(fault) if fault.is(libc::EPERM) => {
            with_unlimited_memlock(load).is_some_and(|second| second.is_ok())
        }
        other => other.is_ok(),
    }
}

fn ipv6_only() -> Option<(u16, u8)> {
    let bit = Btf::of_kernel().ok()?.member_bit("sock_common", "skc_ipv6only")?;
    let mask = 1_u8 << (bit % 8);
    Some((u16::try_from(bit / 8).ok()?, mask))
}
