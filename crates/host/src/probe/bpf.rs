//! BPF programs of every type that the product loads: the smallest that the verifier takes.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, Ipv4Addr, SocketAddrV4, SocketType};
use vserver_kernel::bpf::network::Network;
use vserver_kernel::bpf::unix;
use vserver_kernel::btf;
use vserver_kernel::link::Netlink;
use vserver_kernel::ns::{self, Namespaces};
use vserver_kernel::sys::{self, BpfAttach, BpfProgramKind, CloneArgs};

use super::process::{abstract_listener, connect};
use super::{Refusal, Scene, Tried, grandchild, missing, mounts};

/// The instruction `r0 = value`.
fn answer(value: i32) -> u64 {
    instruction(0xb7, 0, value)
}
/// The instruction that ends a program.
const EXIT: u64 = 0x95;

/// One instruction with a destination register and an immediate, in the machine's byte order.
fn instruction(opcode: u8, register: u8, immediate: i32) -> u64 {
    let bytes = immediate.to_ne_bytes();
    // The register's half of the byte differs with the byte order, as in the kernel's `struct bpf_insn`.
    let registers = if cfg!(target_endian = "little") { register } else { register << 4 };
    u64::from_ne_bytes([opcode, registers, 0, 0, bytes[0], bytes[1], bytes[2], bytes[3]])
}

fn load(
    name: &str,
    program_type: u32,
    attach_type: u32,
    btf_id: u32,
    body: &[u64],
) -> Result<OwnedFd, Refusal> {
    sys::bpf_load(BpfProgramKind::Raw { program_type, attach_type, btf_id, sleeps: false }, name, body)
        .map_err(|fault| Refusal::Missing(format!("{name}: {}", super::in_words(&fault.source))))
}

pub(crate) fn device(scene: &Scene) -> Tried {
    let group = scene.group()?;
    let program = sys::bpf_load(BpfProgramKind::CgroupDevice, "check_device", &[answer(0), EXIT])?;
    let attach =
        BpfAttach { cgroup: group.as_fd(), program: program.as_fd(), kind: BpfProgramKind::CgroupDevice };
    let dir = mounts::scratch()?;
    // Made before the program is in force: it refuses making nodes as well.
    drop(mounts::open_node(&dir, "null", (1, 3), OFlags::RDWR)?);
    let seen = with_attached(attach, || {
        grandchild(&in_group(group), || match rustix::fs::openat(&dir, "null", OFlags::RDWR, Mode::empty()) {
            Err(Errno::PERM) => Ok(()),
            Err(errno) => Err(errno.into()),
            Ok(_) => Err(io::Error::from_raw_os_error(libc::EEXIST)),
        })
    })?;
    match seen {
        Ok(()) => Ok(String::new()),
        Err(Refusal::Missing(why)) => missing(format!("a child was not refused a device: {why}")),
        Err(other) => Err(other),
    }
}

fn in_group(group: &OwnedFd) -> CloneArgs<'_> {
    CloneArgs { into_cgroup: Some(group.as_fd()), ..CloneArgs::default() }
}

/// Detached before the next trial uses the group; when the group goes, it goes too.
fn with_attached<T>(attach: BpfAttach<'_>, act: impl FnOnce() -> T) -> Result<T, Refusal> {
    sys::bpf_attach(attach)?;
    let result = act();
    sys::bpf_detach(attach)?;
    Ok(result)
}

pub(crate) fn bind(scene: &Scene) -> Tried {
    const ADDRESS_NOT_AVAILABLE: i32 = libc::EADDRNOTAVAIL;
    /// `bpf_set_retval`
    const SET_RETVAL: i32 = 187;
    let group = scene.group()?;
    let kind = BpfProgramKind::Raw { program_type: 18, attach_type: 8, btf_id: 0, sleeps: false };
    let body =
        [instruction(0xb7, 1, -ADDRESS_NOT_AVAILABLE), instruction(0x85, 0, SET_RETVAL), answer(0), EXIT];
    let program = sys::bpf_load(kind, "check_bind", &body)?;
    let attach = BpfAttach { cgroup: group.as_fd(), program: program.as_fd(), kind };
    let seen = with_attached(attach, || {
        grandchild(&in_group(group), || {
            let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None)?;
            rustix::net::bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0))?;
            Ok(())
        })
    })?;
    let expected = super::in_words(&io::Error::from_raw_os_error(ADDRESS_NOT_AVAILABLE));
    match seen {
        Err(Refusal::Missing(why)) if why == expected => Ok(String::new()),
        Err(Refusal::Missing(why)) => missing(format!("bind(2) gave \"{why}\" instead of \"{expected}\"")),
        Err(other) => Err(other),
        Ok(()) => missing("bind(2) was not refused"),
    }
}

pub(crate) fn sockets(_: &Scene) -> Tried {
    // The programs themselves, not small ones: it is them that the verifier must take.
    Network::open(None)?;
    Ok(String::new())
}

pub(crate) fn classifier(_: &Scene) -> Tried {
    const LOOPBACK: u32 = 1;
    const TCX_INGRESS: u32 = 46;
    ns::unshare(Namespaces::NET)?;
    // The answer is "whatever others say".
    let program = load("classifier", 3, 0, 0, &[answer(-1), EXIT])?;
    if sys::bpf_link_attach(program.as_fd(), LOOPBACK, TCX_INGRESS).is_err() {
        Netlink::open()?.classify(LOOPBACK, true, 1, program.as_fd())?;
    }
    Ok(String::new())
}

pub(crate) fn sk_lookup(_: &Scene) -> Tried {
    load("sk_lookup", 30, 36, 0, &[answer(1), EXIT])?;
    Ok(String::new())
}

pub(crate) fn btf(_: &Scene) -> Tried {
    // Opened, not read: it has megabytes. That it can be read is shown by the trials that need an id from it.
    std::fs::File::open(btf::PATH).map(|_| String::new()).map_err(super::refused(btf::PATH))
}

pub(crate) fn iterators(scene: &Scene) -> Tried {
    load("iter_task", 26, 28, scene.function_id("bpf_iter_task")?, &[answer(0), EXIT])?;
    Ok(String::new())
}

pub(crate) fn lsm(scene: &Scene) -> Tried {
    if !unix::is_active() {
        return missing("bpf is not among the active security modules");
    }
    let group = scene.group()?;
    unix::keep_in(group.as_fd(), LEVEL_OF_NOBODY, None)?;
    let (address, _listener) = abstract_listener()?;
    let seen = grandchild(&in_group(group), || Ok(connect(&address)?));
    match seen {
        Err(Refusal::Missing(why)) if why == super::in_words(&io::Error::from_raw_os_error(libc::EPERM)) => {
            Ok(String::new())
        }
        Err(other) => Err(other),
        Ok(()) => missing("the programs are attached, and nothing is refused"),
    }
}

/// Deeper than any group: nobody is in the same one, and everything with an abstract name is refused.
const LEVEL_OF_NOBODY: u8 = 255;
