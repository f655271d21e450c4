//! What this kernel's programs can do.

use super::super::asm::{Assembler, Reg};
use super::code::helper;
use super::{HOOKS, with_unlimited_memlock};
use crate::bpf::groups::{byte, read};
use crate::btf::Btf;
use crate::sys;

/// What the programs are made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Abilities {
    /// `bpf_set_retval`: a refusal can say why. Otherwise it is `EPERM`.
    pub set_retval: bool,
    /// Where `skc_ipv6only` is in the kernel's `struct sock_common`: byte and mask. `None`: no type information.
    pub ipv6_only: Option<(u16, u8)>,
    /// Where a task's rights are. `None`: no type information, or the kernel does not let its memory be read.
    pub rights: Option<Rights>,
}

/// Places in the kernel's structures, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Rights {
    /// `struct task_struct`: its credentials.
    pub credentials: i32,
    /// `struct cred`: the effective capabilities, and the user namespace that they are held in.
    pub effective: i32,
    pub namespace: i32,
    /// `struct user_namespace`: how far below the first one it is, and whose it is.
    pub level: i32,
    pub owner: i32,
}

impl Rights {
    fn of(btf: &Btf) -> Option<Self> {
        Some(Self {
            credentials: byte(btf, "task_struct", "cred")?,
            effective: byte(btf, "cred", "cap_effective")?,
            namespace: byte(btf, "cred", "user_ns")?,
            level: byte(btf, "user_namespace", "level")?,
            owner: byte(btf, "user_namespace", "owner")?,
        })
    }
}

impl Abilities {
    /// What kernels have from 5.18 on, with type information. The places stand for those of any kernel.
    pub const ALL: Self = Self {
        set_retval: true,
        ipv6_only: Some((19, 0x20)),
        rights: Some(Rights { credentials: 0, effective: 0, namespace: 0, level: 0, owner: 0 }),
    };

    /// Asks the kernel.
    pub fn of_kernel() -> Self {
        let btf = Btf::of_kernel().ok();
        Self {
            set_retval: can_set_retval(),
            ipv6_only: btf.as_ref().and_then(ipv6_only),
            rights: btf.as_ref().filter(|_| can_read()).and_then(Rights::of),
        }
    }

    /// The same with the places of [`Abilities::ALL`]: what a set of programs is called after. What is pinned lasts no
    /// longer than the kernel, which has its places for as long.
    pub fn without_places(self) -> Self {
        Self {
            ipv6_only: self.ipv6_only.and(Self::ALL.ipv6_only),
            rights: self.rights.and(Self::ALL.rights),
            ..self
        }
    }
}

/// Asked by loading a program that says why it refuses.
fn can_set_retval() -> bool {
    let mut asm = Assembler::new();
    asm.set(Reg::R1, -libc::EADDRNOTAVAIL).call(helper::SET_RETVAL).answer(0);
    loads(asm)
}

/// Asked by loading a program that reads where its task is. Lockdown for confidentiality forbids it.
fn can_read() -> bool {
    let mut asm = Assembler::new();
    asm.call(helper::GET_CURRENT_TASK).copy(Reg::R3, Reg::R0);
    read(&mut asm, 0);
    asm.answer(1);
    loads(asm)
}

fn loads(asm: Assembler) -> bool {
    let code = asm.finish();
    let load = || sys::bpf_load(HOOKS[0].kind, "vs_probe", &code);
    match load() {
        Err(fault) if fault.is(libc::EPERM) => {
            with_unlimited_memlock(load).is_some_and(|second| second.is_ok())
        }
        other => other.is_ok(),
    }
}

fn ipv6_only(btf: &Btf) -> Option<(u16, u8)> {
    let bit = btf.member_bit("sock_common", "skc_ipv6only")?;
    let mask = 1_u8 << (bit % 8);
    Some((u16::try_from(bit / 8).ok()?, mask))
}
