//! BPF programs for control groups, assembled here from the rules of a guest: no compiler, no file.
//!
//! A program that is loaded once and pinned in a bpffs under the hash of its content is shared by all guests with the
//! same rules. Attached to a group it stays until the group goes; with `BPF_F_ALLOW_MULTI` those of the groups above
//! run too, and all must agree.

pub mod asm;
pub mod device;
mod groups;
pub mod iterator;
pub mod network;
pub mod unix;
pub mod views;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use crate::rlimit::{self, Limit, Resource, UNLIMITED};
use crate::sys::{self, BpfAttach, BpfProgramKind};
use crate::{Fault, Result};

/// Instructions that have not been given to the kernel yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    kind: BpfProgramKind,
    instructions: Vec<u64>,
}

impl Program {
    /// A program of this kind.
    pub fn new(kind: BpfProgramKind, instructions: Vec<u64>) -> Self {
        Self { kind, instructions }
    }

    /// The instructions, 8 bytes each.
    pub fn instructions(&self) -> &[u64] {
        &self.instructions
    }

    /// A name for the content: the same for the same instructions, and practically only for them.
    pub fn content_name(&self) -> String {
        let hash = fnv(self.instructions.iter().flat_map(|instruction| instruction.to_le_bytes()));
        let kind = match self.kind {
            BpfProgramKind::CgroupDevice => "device".to_owned(),
            BpfProgramKind::Raw { program_type, attach_type, btf_id, .. } => {
                format!("raw-{program_type}-{attach_type}-{btf_id}")
            }
        };
        // No dot: bpffs refuses it.
        format!("{kind}-{hash:032x}")
    }

    /// Gives the program to the kernel. `EPERM`: no `CAP_BPF` and `CAP_NET_ADMIN` (or `CAP_SYS_ADMIN`).
    pub fn load(&self) -> Result<Loaded> {
        let attempt = || sys::bpf_load(self.kind, "vserver", &self.instructions);
        let fd = match attempt() {
            // Before Linux 5.11 programs were charged to RLIMIT_MEMLOCK, which is 64 KiB by default.
            Err(fault) if fault.is(libc::EPERM) => with_unlimited_memlock(attempt).unwrap_or(Err(fault))?,
            other => other?,
        };
        Ok(Loaded { fd, kind: self.kind })
    }

    /// Takes the program from `bpffs` if it is pinned there already, else loads it and pins it.
    ///
    /// That it cannot be pinned (no bpffs there, somebody else was faster) is no fault: the program is loaded all the
    /// same.
    pub fn load_pinned(&self, bpffs: &Path) -> Result<Loaded> {
        let path = bpffs.join(self.content_name());
        if let Ok(fd) = sys::bpf_object_get(&path) {
            return Ok(Loaded { fd, kind: self.kind });
        }
        let loaded = self.load()?;
        sys::bpf_object_pin(loaded.fd.as_fd(), &path).ok();
        Ok(loaded)
    }
}

/// FNV-1a with 128 bits: what is hashed comes from the administrator or from us, nobody looks for collisions.
fn fnv(bytes: impl IntoIterator<Item = u8>) -> u128 {
    bytes.into_iter().fold(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d, |hash, byte| {
        (hash ^ u128::from(byte)).wrapping_mul(0x0100_0000_0000_0000_0000_013b)
    })
}

/// `None`: the limit could not be raised, so that trying again would change nothing.
fn with_unlimited_memlock<T>(act: impl FnOnce() -> Result<T>) -> Option<Result<T>> {
    let before = rlimit::get(0, Resource::MEMLOCK).ok()?;
    if before.soft == UNLIMITED {
        return None;
    }
    rlimit::set(0, Resource::MEMLOCK, Limit { soft: UNLIMITED, hard: UNLIMITED }).ok()?;
    let result = act();
    // Lowering a limit needs no right and cannot fail; a guest gets its own limits anyway.
    rlimit::set(0, Resource::MEMLOCK, before).ok();
    Some(result)
}

/// A program that the kernel has taken.
#[derive(Debug)]
pub struct Loaded {
    fd: OwnedFd,
    kind: BpfProgramKind,
}

impl Loaded {
    /// Attaches the program to a cgroup2 directory, beside those that are there.
    pub fn attach(&self, cgroup: BorrowedFd<'_>) -> Result<(), Fault> {
        sys::bpf_attach(BpfAttach { cgroup, program: self.fd.as_fd(), kind: self.kind })
    }

    /// Takes it off again. `ENOENT`: it was not attached.
    pub fn detach(&self, cgroup: BorrowedFd<'_>) -> Result<(), Fault> {
        sys::bpf_detach(BpfAttach { cgroup, program: self.fd.as_fd(), kind: self.kind })
    }
}

impl AsFd for Loaded {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
