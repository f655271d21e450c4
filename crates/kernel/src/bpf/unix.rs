//! Abstract unix sockets of processes outside are out of reach of a control group: programs for two hooks of the kernel's
//! security modules, connecting a stream and sending a datagram.
//!
//! An abstract name belongs to the network namespace, so all guests in the host's network and the host itself share
//! them. A socket belongs to the group that it was made in, whoever has it: a program that has entered a guest is kept
//! in as the guest's own are. Sockets with a path, or without a name, are not looked at.
//!
//! Needs Linux 6.0 with `CONFIG_BPF_LSM`, and `bpf` in the list of active security modules ([`is_active`]): without it
//! the programs load and attach, and never run.

use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};
use std::path::Path;

use super::asm::{Assembler, If, Label, Reg, Size};
use super::groups::{self, READ, byte, read};
use super::{Loaded, Program};
use crate::btf::Btf;
use crate::mount::NewFs;
use crate::sys::{self, BpfProgramKind};
use crate::{Blame as _, Fault, Result};

/// `BPF_PROG_TYPE_LSM`, `BPF_LSM_CGROUP`
const SECURITY: u32 = 29;
const OF_A_GROUP: u32 = 43;

/// The hooks, by the kernel's names, and what they are given of each side.
const HOOKS: [(&str, Given); 2] = [("unix_stream_connect", Given::Sock), ("unix_may_send", Given::Socket)];

/// The first two arguments of a hook: the own side and the other one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Given {
    /// `struct sock`
    Sock,
    /// `struct socket`, which leads to it.
    Socket,
}

/// Whether `bpf` is among the active security modules of this kernel.
pub fn is_active() -> bool {
    let list = |path: &str| std::fs::read_to_string(path).ok();
    let own = || {
        // Nobody has mounted one.
        let security = NewFs::new("securityfs").create().ok()?;
        list(&format!("/proc/self/fd/{}/lsm", security.as_fd().as_raw_fd()))
    };
    let modules = list("/sys/kernel/security/lsm").or_else(own).unwrap_or_default();
    modules.trim().split(',').any(|name| name == "bpf")
}

/// Whether programs for hooks of security modules may be loaded at all: some hosts forbid it to root, too.
pub fn may_load() -> bool {
    // No function has this id: where nothing is forbidden that is what is wrong.
    let mut asm = Assembler::new();
    asm.answer(1);
    let nothing = Program::new(kind(1), asm.finish());
    !matches!(nothing.load(), Err(fault) if fault.is(libc::EPERM))
}

/// Keeps a group in. `level`: how many groups lie above it, the root included. The programs are pinned in `directory`,
/// in a bpffs, by the first who needs them.
///
/// They stay until the group goes.
///
/// # Errors
/// No type information of the kernel, or it refuses such programs.
pub fn keep_in(cgroup: BorrowedFd<'_>, level: u8, directory: Option<&Path>) -> Result<()> {
    let mut known = None;
    for (hook, given) in HOOKS {
        // The kernel's structures do not change while it runs, and neither does this file.
        let pin = directory.map(|directory| directory.join(format!("unix1-{level}-{hook}")));
        let pinned = pin.as_ref().and_then(|pin| sys::bpf_object_get(pin).ok());
        let program = if let Some(fd) = pinned {
            Loaded { fd, kind: kind(0) }
        } else {
            let (btf, places) = match &known {
                Some(known) => known,
                None => known.insert(Places::of_kernel()?),
            };
            let function = btf.function(&format!("bpf_lsm_{hook}")).ok_or_else(|| {
                Fault::from_errno("look for", format!("the security hook {hook}"), libc::ENOTSUP)
            })?;
            let loaded = Program::new(kind(function), program(places, given, level)).load()?;
            if let Some(pin) = pin {
                // Somebody else was faster: the same program.
                sys::bpf_object_pin(loaded.as_fd(), &pin).ok();
            }
            loaded
        };
        program.attach(cgroup)?;
    }
    Ok(())
}

fn kind(btf_id: u32) -> BpfProgramKind {
    BpfProgramKind::Raw { program_type: SECURITY, attach_type: OF_A_GROUP, btf_id, sleeps: false }
}

/// Places in the kernel's structures, in bytes.
#[derive(Clone, Copy, Debug)]
struct Places {
    groups: groups::Places,
    /// From a `struct socket` to its `struct sock`.
    sock: i32,
    /// `struct unix_sock`, which begins with a `struct sock`: its address.
    address: i32,
    /// `struct unix_address`: how long the name is, with the two bytes of the family; and the name, behind these.
    length: i32,
    name: i32,
}

impl Places {
    fn of_kernel() -> Result<(Btf, Self)> {
        let btf = Btf::of_kernel().blame("read(2)", crate::btf::PATH)?;
        let unknown =
            || Fault::from_errno("look at", "the kernel's structures for unix sockets", libc::ENOTSUP);
        let places = Self::of(&btf).ok_or_else(unknown)?;
        Ok((btf, places))
    }

    fn of(btf: &Btf) -> Option<Self> {
        (byte(btf, "unix_sock", "sk") == Some(0)).then_some(())?;
        Some(Self {
            groups: groups::Places::of(btf)?,
            sock: byte(btf, "socket", "sk")?,
            address: byte(btf, "unix_sock", "addr")?,
            length: byte(btf, "unix_address", "len")?,
            name: byte(btf, "unix_address", "name")? + 2,
        })
    }
}

const OWN: Reg = Reg::R6;
const OTHER: Reg = Reg::R7;

fn program(places: &Places, given: Given, level: u8) -> Vec<u64> {
    let mut asm = Assembler::new();
    let (allow, deny) = (asm.label(), asm.label());
    asm.load(Size::Double, OWN, Reg::R1, 0).load(Size::Double, OTHER, Reg::R1, 8);
    if given == Given::Socket {
        for side in [OWN, OTHER] {
            asm.copy(Reg::R3, side);
            read(&mut asm, places.sock);
            asm.load(Size::Double, side, Reg::Frame, READ).jump_if_equal(side, 0, deny);
        }
    }
    unless_abstract(&mut asm, places, allow);
    places.groups.group_on(&mut asm, OWN, Reg::R8, level, deny);
    places.groups.group_on(&mut asm, OTHER, Reg::R9, level, deny);
    asm.jump_if_registers(If::Equal, Reg::R8, Reg::R9, allow);
    asm.place(deny).answer(0);
    asm.place(allow).answer(1);
    asm.finish()
}

/// Goes on at the label if the other side has no name, or a path.
fn unless_abstract(asm: &mut Assembler, places: &Places, label: Label) {
    asm.copy(Reg::R3, OTHER);
    read(asm, places.address);
    asm.load(Size::Double, Reg::R8, Reg::Frame, READ).jump_if_equal(Reg::R8, 0, label);
    asm.copy(Reg::R3, Reg::R8);
    read(asm, places.length);
    asm.load(Size::Word, Reg::R1, Reg::Frame, READ).jump_if_32(If::LessOrEqual, Reg::R1, 2, label);
    asm.copy(Reg::R3, Reg::R8);
    read(asm, places.name);
    asm.load(Size::Byte, Reg::R1, Reg::Frame, READ).jump_if_not_equal(Reg::R1, 0, label);
}
