//! `bpf(2)`: maps, and the type information that some of them need.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use super::{ObjectAttr, bpf, information, object_name};
use crate::sys::new_fd;
use crate::{Blame, Fault, Result};

const BPF_MAP_CREATE: libc::c_int = 0;
const BPF_MAP_LOOKUP_ELEM: libc::c_int = 1;
const BPF_MAP_UPDATE_ELEM: libc::c_int = 2;
const BPF_MAP_DELETE_ELEM: libc::c_int = 3;
const BPF_MAP_GET_NEXT_KEY: libc::c_int = 4;
const BPF_OBJ_GET: libc::c_int = 7;
const BPF_MAP_GET_FD_BY_ID: libc::c_int = 14;
const BPF_BTF_LOAD: libc::c_int = 18;

/// What kind of map: `enum bpf_map_type`, those whose values are the same for all processors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum BpfMapKind {
    /// `BPF_MAP_TYPE_HASH`
    Hash = 1,
    /// `BPF_MAP_TYPE_ARRAY` (Linux 3.19): keys are the numbers from 0 on, and all are there.
    Array = 2,
    /// `BPF_MAP_TYPE_LRU_HASH` (4.10): what was not used for the longest time makes room.
    LruHash = 9,
    /// `BPF_MAP_TYPE_SOCKHASH` (Linux 4.18): values are sockets, which leave by themselves.
    SockHash = 18,
    /// `BPF_MAP_TYPE_CGROUP_STORAGE` (4.19): a value for each group that a program of the map is attached to.
    CgroupStorage = 19,
    /// `BPF_MAP_TYPE_SK_STORAGE` (5.2): a value for each socket. Needs type information.
    SocketStorage = 24,
}

/// What a map is made like.
#[derive(Clone, Copy, Debug)]
pub struct BpfMapSpec<'fd> {
    /// Which kind.
    pub kind: BpfMapKind,
    /// Bytes of a key.
    pub key: u32,
    /// Bytes of a value.
    pub value: u32,
    /// How many entries at most; 0 for storage.
    pub entries: u32,
    /// `BPF_F_*`
    pub flags: u32,
    /// Type information, and the numbers in it of the key's and the value's type.
    pub types: Option<(BorrowedFd<'fd>, u32, u32)>,
}

/// Whether an entry that is there is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BpfUpdate {
    /// Made or replaced.
    Any = 0,
    /// Only made; `EEXIST` if it is there.
    New = 1,
    /// Only replaced; `ENOENT` if it is not there.
    Existing = 2,
}

/// A map, and how long its keys and values are.
#[derive(Debug)]
pub struct BpfMap {
    fd: OwnedFd,
    name: String,
    key: usize,
    value: usize,
}

impl AsFd for BpfMap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The part of `union bpf_attr` for `BPF_MAP_CREATE`, up to `btf_value_type_id`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct CreateAttr {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
    inner_map_fd: u32,
    numa_node: u32,
    map_name: [u8; 16],
    map_ifindex: u32,
    btf_fd: u32,
    btf_key_type_id: u32,
    btf_value_type_id: u32,
}

/// The part of `union bpf_attr` for the `BPF_MAP_*_ELEM` commands and `BPF_MAP_GET_NEXT_KEY`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct ElementAttr {
    map_fd: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// The part of `union bpf_attr` for `BPF_BTF_LOAD`, up to `btf_log_level`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct BtfAttr {
    btf: u64,
    btf_log_buf: u64,
    btf_size: u32,
    btf_log_size: u32,
    btf_log_level: u32,
    padding: u32,
}

/// `struct bpf_map_info`, up to the name.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct MapInfo {
    kind: u32,
    id: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
    name: [u8; 16],
}

impl BpfMap {
    /// Makes a map. `EPERM`: no `CAP_BPF` (or `CAP_SYS_ADMIN`); before Linux 5.11 also: `RLIMIT_MEMLOCK` too small.
    #[doc(alias = "BPF_MAP_CREATE")]
    pub fn create(name: &str, spec: BpfMapSpec<'_>) -> Result<Self> {
        let (btf_fd, btf_key_type_id, btf_value_type_id) = match spec.types {
            Some((btf, key, value)) => (btf.as_raw_fd().cast_unsigned(), key, value),
            None => (0, 0, 0),
        };
        let attr = CreateAttr {
            map_type: spec.kind as u32,
            key_size: spec.key,
            value_size: spec.value,
            max_entries: spec.entries,
            map_flags: spec.flags,
            map_name: object_name(name),
            btf_fd,
            btf_key_type_id,
            btf_value_type_id,
            ..CreateAttr::default()
        };
        // SAFETY: the structure of this command; it holds numbers only.
        let fd = unsafe { bpf(BPF_MAP_CREATE, &attr) }.blame("bpf(2) BPF_MAP_CREATE", name)?;
        // SAFETY: BPF_MAP_CREATE returned a fresh descriptor.
        let fd = unsafe { new_fd(fd) };
        Ok(Self { fd, name: name.to_owned(), key: spec.key as usize, value: spec.value as usize })
    }

    /// Opens a map by its name in a bpffs.
    pub fn open(path: &Path) -> Result<Self> {
        const OP: &str = "bpf(2) BPF_OBJ_GET";
        let name = CString::new(path.as_os_str().as_bytes()).blame(OP, path.display())?;
        let attr = ObjectAttr { pathname: name.as_ptr() as u64, ..ObjectAttr::default() };
        // SAFETY: the structure of this command; the path is NUL-terminated and outlives the call.
        let fd = unsafe { bpf(BPF_OBJ_GET, &attr) }.blame_with(OP, || path.display().to_string())?;
        // SAFETY: BPF_OBJ_GET returned a fresh descriptor.
        Self::of_descriptor(unsafe { new_fd(fd) })
    }

    /// Opens a map by its number. `ENOENT`: there is none.
    #[doc(alias = "BPF_MAP_GET_FD_BY_ID")]
    pub fn by_id(id: u32) -> Result<Self> {
        let attr = [id, 0, 0];
        // SAFETY: the part of `union bpf_attr` for this command: the number, one that is not used, flags.
        let fd = unsafe { bpf(BPF_MAP_GET_FD_BY_ID, &attr) }.blame("bpf(2) BPF_MAP_GET_FD_BY_ID", id)?;
        // SAFETY: BPF_MAP_GET_FD_BY_ID returned a fresh descriptor.
        Self::of_descriptor(unsafe { new_fd(fd) })
    }

    /// `EINVAL`: the descriptor is not a map's, or of a kind whose values differ from processor to processor.
    fn of_descriptor(fd: OwnedFd) -> Result<Self> {
        let mut info = MapInfo::default();
        // SAFETY: `MapInfo` begins like `struct bpf_map_info`, which is what the kernel writes for a map; it holds
        // numbers only.
        unsafe { information(fd.as_fd(), &mut info) }?;
        let name = String::from_utf8_lossy(&info.name).trim_end_matches('\0').to_owned();
        let known = [
            BpfMapKind::Hash,
            BpfMapKind::Array,
            BpfMapKind::LruHash,
            BpfMapKind::SockHash,
            BpfMapKind::CgroupStorage,
            BpfMapKind::SocketStorage,
        ];
        if known.iter().all(|kind| *kind as u32 != info.kind) {
            return Err(Fault::from_errno("bpf(2) BPF_OBJ_GET_INFO_BY_FD", name, libc::EINVAL));
        }
        Ok(Self { fd, name, key: info.key_size as usize, value: info.value_size as usize })
    }

    /// The name that it was made with, cut to 15 bytes.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn element(&self, key: &[u8]) -> ElementAttr {
        assert_eq!(key.len(), self.key, "a key of map {}", self.name);
        ElementAttr {
            map_fd: self.fd.as_raw_fd().cast_unsigned(),
            key: key.as_ptr() as u64,
            ..ElementAttr::default()
        }
    }

    /// Reads the entry of this key into `value`; false: there is none.
    ///
    /// # Panics
    /// If key or value have other lengths than the map's. A map of sockets is not looked up.
    #[doc(alias = "BPF_MAP_LOOKUP_ELEM")]
    pub fn lookup(&self, key: &[u8], value: &mut [u8]) -> Result<bool> {
        assert_eq!(value.len(), self.value, "a value of map {}", self.name);
        let attr = ElementAttr { value: value.as_mut_ptr() as u64, ..self.element(key) };
        // SAFETY: the structure of this command; `key` is readable and `value` writable for the lengths that the map
        // has, checked above, and both outlive the call.
        match unsafe { bpf(BPF_MAP_LOOKUP_ELEM, &attr) } {
            Ok(_) => Ok(true),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
            Err(error) => Err(error).blame("bpf(2) BPF_MAP_LOOKUP_ELEM", &self.name),
        }
    }

    /// Writes an entry. A program that reads at the same time sees the old value or the new one, never a mixture.
    ///
    /// # Panics
    /// If key or value have other lengths than the map's.
    #[doc(alias = "BPF_MAP_UPDATE_ELEM")]
    pub fn update(&self, key: &[u8], value: &[u8], how: BpfUpdate) -> Result<()> {
        assert_eq!(value.len(), self.value, "a value of map {}", self.name);
        let attr = ElementAttr { value: value.as_ptr() as u64, flags: how as u64, ..self.element(key) };
        // SAFETY: the structure of this command; `key` and `value` are readable for the lengths that the map has,
        // checked above, and both outlive the call.
        unsafe { bpf(BPF_MAP_UPDATE_ELEM, &attr) }.map(drop).blame("bpf(2) BPF_MAP_UPDATE_ELEM", &self.name)
    }

    /// Removes an entry; false: there was none.
    ///
    /// # Panics
    /// If the key has another length than the map's.
    #[doc(alias = "BPF_MAP_DELETE_ELEM")]
    pub fn delete(&self, key: &[u8]) -> Result<bool> {
        // SAFETY: the structure of this command; `key` is readable for the length that the map has, checked in
        // `element`, and outlives the call.
        match unsafe { bpf(BPF_MAP_DELETE_ELEM, &self.element(key)) } {
            Ok(_) => Ok(true),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
            Err(error) => Err(error).blame("bpf(2) BPF_MAP_DELETE_ELEM", &self.name),
        }
    }

    /// All keys. Entries that come or go meanwhile may be in it or not, or twice.
    #[doc(alias = "BPF_MAP_GET_NEXT_KEY")]
    pub fn keys(&self) -> Result<Vec<Vec<u8>>> {
        let mut all: Vec<Vec<u8>> = Vec::new();
        loop {
            let mut next = vec![0; self.key];
            let mut attr = ElementAttr {
                map_fd: self.fd.as_raw_fd().cast_unsigned(),
                value: next.as_mut_ptr() as u64,
                ..ElementAttr::default()
            };
            if let Some(last) = all.last() {
                attr.key = last.as_ptr() as u64;
            }
            // SAFETY: the structure of this command; `key` is null for the first or a whole key, the field called
            // value takes a whole key, and both outlive the call.
            match unsafe { bpf(BPF_MAP_GET_NEXT_KEY, &attr) } {
                Ok(_) => all.push(next),
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(all),
                Err(error) => return Err(error).blame("bpf(2) BPF_MAP_GET_NEXT_KEY", &self.name),
            }
        }
    }
}

/// Gives type information to the kernel (Linux 4.18).
#[doc(alias = "BPF_BTF_LOAD")]
pub fn bpf_types_load(bytes: &[u8]) -> Result<OwnedFd> {
    let attr = BtfAttr {
        btf: bytes.as_ptr() as u64,
        btf_size: u32::try_from(bytes.len()).expect("a few bytes"),
        ..BtfAttr::default()
    };
    // SAFETY: the structure of this command; `btf` and `btf_size` describe one slice that outlives the call, there is
    // no log buffer.
    unsafe { bpf(BPF_BTF_LOAD, &attr) }
        // SAFETY: BPF_BTF_LOAD returned a fresh descriptor.
        .map(|fd| unsafe { new_fd(fd) })
        .blame("bpf(2) BPF_BTF_LOAD", "type information")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_bpf_attr_have_the_kernels_sizes() {
        assert_eq!(size_of::<CreateAttr>(), 60);
        assert_eq!(std::mem::offset_of!(CreateAttr, btf_value_type_id), 56);
        assert_eq!(size_of::<ElementAttr>(), 32);
        assert_eq!(std::mem::offset_of!(BtfAttr, btf_log_level), 24);
        assert_eq!(size_of::<MapInfo>(), 40);
    }
}
