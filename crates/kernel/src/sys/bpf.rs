//! `bpf(2)`: load, attach, detach, pin and get programs.

mod link;
mod map;

pub use link::{
    bpf_link_attach, bpf_link_iterate, bpf_link_target, bpf_program_by_id, bpf_program_hold,
    bpf_program_info, bpf_programs_of,
};
pub use map::{BpfMap, BpfMapKind, BpfMapSpec, BpfUpdate, bpf_types_load};

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use super::{checked, new_fd};
use crate::{Blame, Result, described};

const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_OBJ_PIN: libc::c_int = 6;
const BPF_OBJ_GET: libc::c_int = 7;
const BPF_PROG_ATTACH: libc::c_int = 8;
const BPF_PROG_DETACH: libc::c_int = 9;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_int = 15;
/// Programs of parent groups, and others of this group, run too and all must agree.
const BPF_F_ALLOW_MULTI: u32 = 2;

/// What a program is for: `enum bpf_prog_type` and the attach type it is loaded for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BpfProgramKind {
    /// `BPF_PROG_TYPE_CGROUP_DEVICE` (Linux 4.15).
    CgroupDevice,
    /// Any other type, by the kernel's own numbers: for trying what a kernel loads.
    Raw {
        /// `BPF_PROG_TYPE_*`
        program_type: u32,
        /// `enum bpf_attach_type`
        attach_type: u32,
        /// The function that it is attached to, for types that name one; 0 otherwise.
        btf_id: u32,
        /// It may call what sleeps (`BPF_F_SLEEPABLE`, Linux 5.10; for iterators 6.0).
        sleeps: bool,
    },
}

impl BpfProgramKind {
    /// `BPF_PROG_TYPE_*` and `BPF_*` attach type.
    fn numbers(self) -> (u32, u32) {
        match self {
            Self::CgroupDevice => (15, 6),
            Self::Raw { program_type, attach_type, .. } => (program_type, attach_type),
        }
    }

    /// `enum bpf_attach_type`
    pub fn attach_type(self) -> u32 {
        self.numbers().1
    }

    /// `BPF_F_*` of the program.
    fn flags(self) -> u32 {
        const SLEEPABLE: u32 = 1 << 4;
        match self {
            Self::Raw { sleeps: true, .. } => SLEEPABLE,
            Self::Raw { .. } | Self::CgroupDevice => 0,
        }
    }

    /// The id of the kernel function that the program is for.
    fn btf_id(self) -> u32 {
        match self {
            Self::CgroupDevice => 0,
            Self::Raw { btf_id, .. } => btf_id,
        }
    }
}

/// A program attached to a cgroup.
#[derive(Clone, Copy, Debug)]
pub struct BpfAttach<'fd> {
    /// The cgroup2 directory.
    pub cgroup: BorrowedFd<'fd>,
    /// The program.
    pub program: BorrowedFd<'fd>,
    /// What it was loaded as.
    pub kind: BpfProgramKind,
}

/// The part of `union bpf_attr` for `BPF_PROG_LOAD`, up to `attach_btf_id` (112 bytes, Linux 5.5; an older
/// kernel takes a longer structure if the rest is zero).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct LoadAttr {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
    prog_ifindex: u32,
    expected_attach_type: u32,
    prog_btf_fd: u32,
    func_info_rec_size: u32,
    func_info: u64,
    func_info_cnt: u32,
    line_info_rec_size: u32,
    line_info: u64,
    line_info_cnt: u32,
    attach_btf_id: u32,
}

/// The part of `union bpf_attr` for `BPF_PROG_ATTACH` and `BPF_PROG_DETACH`, up to `attach_flags`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct AttachAttr {
    target_fd: u32,
    attach_bpf_fd: u32,
    attach_type: u32,
    attach_flags: u32,
}

/// The part of `union bpf_attr` for `BPF_OBJ_PIN` and `BPF_OBJ_GET`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct ObjectAttr {
    pathname: u64,
    bpf_fd: u32,
    file_flags: u32,
}

/// The part of `union bpf_attr` for `BPF_OBJ_GET_INFO_BY_FD`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct InfoAttr {
    bpf_fd: u32,
    info_len: u32,
    info: u64,
}

/// A name as the kernel keeps it: 15 bytes and a NUL.
fn object_name(name: &str) -> [u8; 16] {
    let mut bytes = [0; 16];
    for (to, from) in bytes.iter_mut().zip(name.bytes().take(15)) {
        *to = from;
    }
    bytes
}

/// Asks the kernel about an object; it writes no more than `info` holds.
///
/// # Safety
/// `T` begins like the structure that the kernel has for this kind of object, any bytes are a value of it, and the
/// pointers in it are good for what the kernel writes there.
unsafe fn information<T>(object: BorrowedFd<'_>, info: &mut T) -> Result<()> {
    let attr = InfoAttr {
        bpf_fd: object.as_raw_fd().cast_unsigned(),
        info_len: u32::try_from(size_of::<T>()).expect("a small structure"),
        info: std::ptr::from_mut(info) as u64,
    };
    // SAFETY: the structure of this command; `info` is writable for `info_len` bytes and outlives the call; the caller
    // answers for what is in it.
    unsafe { bpf(BPF_OBJ_GET_INFO_BY_FD, &attr) }
        .map(drop)
        .blame_with("bpf(2) BPF_OBJ_GET_INFO_BY_FD", || described(object))
}

/// # Safety
/// `attr` is the structure of this command, and the pointers in it are good for what the command does.
unsafe fn bpf<T>(command: libc::c_int, attr: &T) -> io::Result<libc::c_long> {
    // SAFETY: `attr` is initialised, borrowed for the call and as long as the size we pass; the caller answers for
    // the command and the pointers inside.
    checked(unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attr), size_of::<T>()) })
}

/// The same for a command that answers in its structure.
///
/// # Safety
/// As [`bpf`].
unsafe fn bpf_mut<T>(command: libc::c_int, attr: &mut T) -> io::Result<libc::c_long> {
    // SAFETY: `attr` is initialised, borrowed mutably for the call and as long as the size we pass; the caller answers
    // for the command and the pointers inside.
    checked(unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attr), size_of::<T>()) })
}

/// Loads a program of eBPF instructions (8 bytes each, in the machine's byte order), GPL-compatible licence.
///
/// `BPF_PROG_LOAD`. On refusal the verifier's last lines stand in the fault's object. `EPERM`: no `CAP_BPF` (or
/// `CAP_SYS_ADMIN`); before Linux 5.11 also: `RLIMIT_MEMLOCK` too small.
#[doc(alias = "BPF_PROG_LOAD")]
pub fn bpf_load(kind: BpfProgramKind, name: &str, instructions: &[u64]) -> Result<OwnedFd> {
    let (prog_type, expected_attach_type) = kind.numbers();
    let mut attr = LoadAttr {
        prog_type,
        insn_cnt: u32::try_from(instructions.len()).expect("a program has at most a million instructions"),
        insns: instructions.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
        prog_name: object_name(name),
        prog_flags: kind.flags(),
        expected_attach_type,
        attach_btf_id: kind.btf_id(),
        ..LoadAttr::default()
    };
    // SAFETY: `insns` and `insn_cnt` describe one slice of 8-byte instructions, the licence is a NUL-terminated
    // literal, there is no log buffer.
    match unsafe { bpf(BPF_PROG_LOAD, &attr) } {
        // SAFETY: BPF_PROG_LOAD returned a fresh descriptor.
        Ok(fd) => Ok(unsafe { new_fd(fd) }),
        Err(error) => {
            let mut log = vec![0_u8; 1024 * 1024];
            attr.log_level = 1;
            attr.log_size = u32::try_from(log.len()).expect("1 MiB");
            attr.log_buf = log.as_mut_ptr() as u64;
            // SAFETY: as above, and the log buffer is writable for `log_size` bytes and outlives the call. Loaded
            // again for the text only; should it work this time, the descriptor is good as well.
            if let Ok(fd) = unsafe { bpf(BPF_PROG_LOAD, &attr) } {
                // SAFETY: BPF_PROG_LOAD returned a fresh descriptor.
                return Ok(unsafe { new_fd(fd) });
            }
            // Where there was nothing to verify, a megabyte of nothing is not looked through.
            let written = log.split(|byte| *byte == 0).next().unwrap_or_default();
            let text = String::from_utf8_lossy(written);
            let last = text.lines().rev().take(2).collect::<Vec<_>>();
            let object =
                last.into_iter().rev().fold(format!("program {name}"), |all, line| format!("{all}: {line}"));
            Err(error).blame("bpf(2) BPF_PROG_LOAD", object)
        }
    }
}

/// Attaches a program to a cgroup2 directory beside those that are there (`BPF_F_ALLOW_MULTI`).
///
/// `BPF_PROG_ATTACH`. It stays until it is detached or the group is removed; the descriptors may be closed.
#[doc(alias = "BPF_PROG_ATTACH")]
pub fn bpf_attach(attach: BpfAttach<'_>) -> Result<()> {
    let attr = AttachAttr { attach_flags: BPF_F_ALLOW_MULTI, ..attach_attr(attach) };
    // SAFETY: the structure of this command; it holds numbers only.
    unsafe { bpf(BPF_PROG_ATTACH, &attr) }
        .map(drop)
        .blame_with("bpf(2) BPF_PROG_ATTACH", || described(attach.cgroup))
}

/// Attaches a program to a cgroup2 directory so that groups below can have none of its kind.
///
/// `BPF_PROG_ATTACH` without flags, as old programs of others do it.
pub fn bpf_attach_exclusive(attach: BpfAttach<'_>) -> Result<()> {
    // SAFETY: the structure of this command; it holds numbers only.
    unsafe { bpf(BPF_PROG_ATTACH, &attach_attr(attach)) }
        .map(drop)
        .blame_with("bpf(2) BPF_PROG_ATTACH", || described(attach.cgroup))
}

/// Takes a program off a cgroup again. `ENOENT`: it was not attached there.
#[doc(alias = "BPF_PROG_DETACH")]
pub fn bpf_detach(attach: BpfAttach<'_>) -> Result<()> {
    // SAFETY: the structure of this command; it holds numbers only.
    unsafe { bpf(BPF_PROG_DETACH, &attach_attr(attach)) }
        .map(drop)
        .blame_with("bpf(2) BPF_PROG_DETACH", || described(attach.cgroup))
}

fn attach_attr(attach: BpfAttach<'_>) -> AttachAttr {
    AttachAttr {
        target_fd: attach.cgroup.as_raw_fd().cast_unsigned(),
        attach_bpf_fd: attach.program.as_raw_fd().cast_unsigned(),
        attach_type: attach.kind.numbers().1,
        attach_flags: 0,
    }
}

/// Gives a loaded object a name in a bpffs, which keeps it alive. The name must not contain a dot.
#[doc(alias = "BPF_OBJ_PIN")]
pub fn bpf_object_pin(object: BorrowedFd<'_>, path: &Path) -> Result<()> {
    let name = CString::new(path.as_os_str().as_bytes()).blame("bpf(2) BPF_OBJ_PIN", path.display())?;
    let attr = ObjectAttr {
        pathname: name.as_ptr() as u64,
        bpf_fd: object.as_raw_fd().cast_unsigned(),
        ..ObjectAttr::default()
    };
    // SAFETY: the structure of this command; the path is NUL-terminated and outlives the call.
    unsafe { bpf(BPF_OBJ_PIN, &attr) }
        .map(drop)
        .blame_with("bpf(2) BPF_OBJ_PIN", || path.display().to_string())
}

/// Opens an object by its name in a bpffs.
#[doc(alias = "BPF_OBJ_GET")]
pub fn bpf_object_get(path: &Path) -> Result<OwnedFd> {
    let name = CString::new(path.as_os_str().as_bytes()).blame("bpf(2) BPF_OBJ_GET", path.display())?;
    let attr = ObjectAttr { pathname: name.as_ptr() as u64, ..ObjectAttr::default() };
    // SAFETY: the structure of this command; the path is NUL-terminated and outlives the call.
    unsafe { bpf(BPF_OBJ_GET, &attr) }
        // SAFETY: BPF_OBJ_GET returned a fresh descriptor.
        .map(|fd| unsafe { new_fd(fd) })
        .blame_with("bpf(2) BPF_OBJ_GET", || path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_bpf_attr_have_the_kernels_sizes() {
        assert_eq!(size_of::<LoadAttr>(), 112);
        assert_eq!(std::mem::offset_of!(LoadAttr, attach_btf_id), 108);
        assert_eq!(size_of::<AttachAttr>(), 16);
        assert_eq!(size_of::<ObjectAttr>(), 16);
    }
}
