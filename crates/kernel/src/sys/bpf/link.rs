//! `bpf(2)`: links, and asking which programs are attached.

use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};

use super::{BpfMap, bpf, information};
use crate::sys::new_fd;
use crate::{Blame, Result, described};

const BPF_PROG_GET_FD_BY_ID: libc::c_int = 13;
const BPF_PROG_QUERY: libc::c_int = 16;
const BPF_LINK_CREATE: libc::c_int = 28;
const BPF_PROG_BIND_MAP: libc::c_int = 35;

/// The part of `union bpf_attr` for `BPF_LINK_CREATE`, with room for `tcx` and `cgroup` options.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct LinkAttr {
    prog_fd: u32,
    target: u32,
    attach_type: u32,
    flags: u32,
    /// For iterators: `union bpf_iter_link_info` and its length.
    iter_info: u64,
    iter_info_len: u32,
    padding: u32,
}

/// The part of `union bpf_attr` for `BPF_PROG_QUERY`, up to `prog_cnt`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct QueryAttr {
    target_fd: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    prog_ids: u64,
    prog_cnt: u32,
    padding: u32,
}

/// `struct bpf_prog_info`, up to the name.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct ProgramInfo {
    kind: u32,
    id: u32,
    tag: [u8; 8],
    jited_prog_len: u32,
    xlated_prog_len: u32,
    jited_prog_insns: u64,
    xlated_prog_insns: u64,
    load_time: u64,
    created_by_uid: u32,
    nr_map_ids: u32,
    map_ids: u64,
    name: [u8; 16],
}

/// `struct bpf_link_info` of links whose target is a number: network namespaces and devices.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct LinkInfo {
    kind: u32,
    id: u32,
    prog_id: u32,
    padding: u32,
    target: u32,
    attach_type: u32,
}

/// What a link is attached to, a network namespace's or a device's number. `None`: it is gone.
#[doc(alias = "BPF_OBJ_GET_INFO_BY_FD")]
pub fn bpf_link_target(link: BorrowedFd<'_>) -> Result<Option<u32>> {
    let mut info = LinkInfo::default();
    // SAFETY: `LinkInfo` begins like `struct bpf_link_info`, which is what the kernel writes for a link; with the kinds
    // of links that have pointers in it the kernel gets zero for their lengths.
    unsafe { information(link, &mut info) }?;
    Ok((info.target != 0).then_some(info.target))
}

/// Attaches a program to a target by a link, which ends when nothing holds it: no descriptor and no pin.
///
/// `target` is a descriptor (cgroup, network namespace) or, for device programs, an interface's index.
/// `BPF_LINK_CREATE`, Linux 5.7; for a network namespace and `BPF_SK_LOOKUP` 5.9; for a device (`tcx`) 6.6.
#[doc(alias = "BPF_LINK_CREATE")]
pub fn bpf_link_attach(program: BorrowedFd<'_>, target: u32, attach_type: u32) -> Result<OwnedFd> {
    let attr =
        LinkAttr { prog_fd: program.as_raw_fd().cast_unsigned(), target, attach_type, ..LinkAttr::default() };
    // SAFETY: the structure of this command; it holds numbers only.
    unsafe { bpf(BPF_LINK_CREATE, &attr) }
        // SAFETY: BPF_LINK_CREATE returned a fresh descriptor.
        .map(|fd| unsafe { new_fd(fd) })
        .blame("bpf(2) BPF_LINK_CREATE", target)
}

/// An iterator over the entries of a map (Linux 5.9): the program runs for each while the link's file is read.
#[doc(alias = "BPF_LINK_CREATE")]
pub fn bpf_link_iterate(program: BorrowedFd<'_>, map: &BpfMap, attach_type: u32) -> Result<OwnedFd> {
    let what = [map.as_fd().as_raw_fd().cast_unsigned()];
    let attr = LinkAttr {
        prog_fd: program.as_raw_fd().cast_unsigned(),
        attach_type,
        iter_info: what.as_ptr() as u64,
        iter_info_len: 4,
        ..LinkAttr::default()
    };
    // SAFETY: the structure of this command; `iter_info` is readable for four bytes, which begin `bpf_iter_link_info`
    // with the map's descriptor, and outlives the call.
    unsafe { bpf(BPF_LINK_CREATE, &attr) }
        // SAFETY: BPF_LINK_CREATE returned a fresh descriptor.
        .map(|fd| unsafe { new_fd(fd) })
        .blame("bpf(2) BPF_LINK_CREATE", map.name())
}

/// The numbers of the programs of this attach type that are attached to a cgroup itself, not to those above.
#[doc(alias = "BPF_PROG_QUERY")]
pub fn bpf_programs_of(cgroup: BorrowedFd<'_>, attach_type: u32) -> Result<Vec<u32>> {
    // The kernel takes 64 programs of one type for one cgroup at most (BPF_CGROUP_MAX_PROGS).
    let mut ids = vec![0_u32; 64];
    let mut attr = QueryAttr {
        target_fd: cgroup.as_raw_fd().cast_unsigned(),
        attach_type,
        prog_ids: ids.as_mut_ptr() as u64,
        prog_cnt: 64,
        ..QueryAttr::default()
    };
    // SAFETY: the structure of this command, to which the kernel writes the number of programs; `prog_ids` is writable
    // for as many numbers as `prog_cnt` says, and outlives the call.
    unsafe { super::bpf_mut(BPF_PROG_QUERY, &mut attr) }
        .blame_with("bpf(2) BPF_PROG_QUERY", || described(cgroup))?;
    ids.truncate(attr.prog_cnt as usize);
    Ok(ids)
}

/// Opens a program by its number. `ENOENT`: there is none.
#[doc(alias = "BPF_PROG_GET_FD_BY_ID")]
pub fn bpf_program_by_id(id: u32) -> Result<OwnedFd> {
    let attr = [id, 0, 0];
    // SAFETY: the part of `union bpf_attr` for this command: the number, one that is not used, flags.
    unsafe { bpf(BPF_PROG_GET_FD_BY_ID, &attr) }
        // SAFETY: BPF_PROG_GET_FD_BY_ID returned a fresh descriptor.
        .map(|fd| unsafe { new_fd(fd) })
        .blame("bpf(2) BPF_PROG_GET_FD_BY_ID", id)
}

/// Lets a program keep a map alive that it does not use (Linux 5.10). Done already is no fault.
#[doc(alias = "BPF_PROG_BIND_MAP")]
pub fn bpf_program_hold(program: BorrowedFd<'_>, map: &BpfMap) -> Result<()> {
    let attr = [program.as_raw_fd().cast_unsigned(), map.as_fd().as_raw_fd().cast_unsigned(), 0];
    // SAFETY: the part of `union bpf_attr` for this command: program, map, flags.
    unsafe { bpf(BPF_PROG_BIND_MAP, &attr) }.map(drop).blame("bpf(2) BPF_PROG_BIND_MAP", map.name())
}

/// A program's name, and the numbers of the maps that it uses (64 at most).
#[doc(alias = "BPF_OBJ_GET_INFO_BY_FD")]
pub fn bpf_program_info(program: BorrowedFd<'_>) -> Result<(String, Vec<u32>)> {
    let mut maps = vec![0_u32; 64];
    let mut info =
        ProgramInfo { nr_map_ids: 64, map_ids: maps.as_mut_ptr() as u64, ..ProgramInfo::default() };
    // SAFETY: `ProgramInfo` begins like `struct bpf_prog_info`, which is what the kernel writes for a program; `map_ids`
    // is writable for `nr_map_ids` numbers and outlives the call, the other pointers have length 0.
    unsafe { information(program, &mut info) }?;
    maps.truncate(info.nr_map_ids as usize);
    Ok((String::from_utf8_lossy(&info.name).trim_end_matches('\0').to_owned(), maps))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_bpf_attr_have_the_kernels_sizes() {
        assert_eq!(size_of::<LinkAttr>(), 32);
        assert_eq!(std::mem::offset_of!(LinkAttr, iter_info), 16);
        assert_eq!(std::mem::offset_of!(LinkInfo, target), 16);
        assert_eq!(std::mem::offset_of!(QueryAttr, prog_cnt), 24);
        assert_eq!(std::mem::offset_of!(ProgramInfo, name), 64);
        assert_eq!(size_of::<ProgramInfo>(), 80);
    }
}
