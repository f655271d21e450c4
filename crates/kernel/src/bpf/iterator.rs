//! Listings of sockets like `/proc/net/tcp` that show those of the reader's own control group only: programs that the
//! kernel runs for each socket while a pinned file is read.
//!
//! One set of files serves all guests whose groups are equally deep in the tree. Nothing has to run for them, and
//! nothing of them is per guest. A socket belongs to the group that it was made in.
//!
//! Not listed are connections that only wait for their end (`TIME_WAIT`): they belong to no group any more.

use std::fs;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::Program;
use super::asm::{Alu, Assembler, If, Label, Reg, Size};
use super::groups::{self, READ, read};
use crate::btf::Btf;
use crate::sys::{self, BpfProgramKind};
use crate::{Blame as _, Fault, Result};

/// The files of a set, as they are called in `/proc/net`.
pub const FILES: [&str; 4] = ["tcp", "tcp6", "udp", "udp6"];

/// `BPF_PROG_TYPE_TRACING`, `BPF_TRACE_ITER`
const TRACING: u32 = 26;
const ITERATOR: u32 = 28;

/// `enum bpf_func_id`
mod helper {
    pub const CURRENT_ANCESTOR_CGROUP_ID: i32 = 123;
    pub const SEQ_PRINTF: i32 = 126;
    pub const SEQ_WRITE: i32 = 127;
}

/// Beginning of `struct sock_common`, the same since Linux 3.x; what has a name of its own is compared with the type
/// information.
mod common {
    pub const REMOTE: i16 = 0;
    pub const LOCAL: i16 = 4;
    pub const REMOTE_PORT: i16 = 12;
    pub const LOCAL_PORT: i16 = 14;
    pub const FAMILY: i16 = 16;
    pub const STATE: i16 = 18;
}

/// Which sockets a set of files is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listing {
    /// How many groups lie above the guest's, the root included: readers and sockets below one such group belong
    /// together.
    pub level: u8,
    /// Loopback addresses `127.X.Y.Z` are shown as `127.0.0.Z`.
    pub plain_loopback: bool,
}

/// Places in the kernel's structures, in bytes.
#[derive(Clone, Copy, Debug)]
struct Places {
    groups: groups::Places,
    /// `struct sock`: `struct socket`.
    socket: i32,
    /// `struct sock_common`: IPv6 addresses.
    remote6: i32,
    local6: i32,
    /// From a `struct socket` to its inode's number.
    inode: i32,
    /// `struct cgroup`: its node; and a node's number.
    node: i32,
    id: i32,
}

impl Places {
    fn of(btf: &Btf) -> Option<Self> {
        let byte = |structure: &str, member: &str| groups::byte(btf, structure, member);
        let as_known = byte("sock_common", "skc_family") == Some(i32::from(common::FAMILY))
            && byte("sock_common", "skc_state") == Some(i32::from(common::STATE))
            && byte("sock", "__sk_common") == Some(0)
            && byte("socket_alloc", "socket") == Some(0);
        if !as_known {
            return None;
        }
        Some(Self {
            groups: groups::Places::of(btf)?,
            socket: byte("sock", "sk_socket")?,
            remote6: byte("sock_common", "skc_v6_daddr")?,
            local6: byte("sock_common", "skc_v6_rcv_saddr")?,
            inode: byte("socket_alloc", "vfs_inode")? + byte("inode", "i_ino")?,
            node: byte("cgroup", "kn")?,
            id: byte("kernfs_node", "id")?,
        })
    }
}

/// The directory of a set below `bpffs`, made by whoever needs it first.
///
/// # Errors
/// No type information, or a kernel that refuses such programs: then there are no listings.
pub fn pinned(bpffs: &Path, listing: Listing) -> Result<PathBuf> {
    let loopback = if listing.plain_loopback { "plain" } else { "own" };
    let directory = bpffs.join(format!("net1-{}-{loopback}", listing.level));
    if directory.is_dir() {
        return Ok(directory);
    }
    // Complete before it has its name, so that nobody finds a part of it.
    let draft = bpffs.join(format!("net1-{}", std::process::id()));
    let made = make(&draft, listing).and_then(|()| {
        let renamed =
            fs::rename(&draft, &directory).blame_with("rename(2)", || directory.display().to_string());
        if directory.is_dir() { Ok(()) } else { renamed }
    });
    // There only if something failed, or if another one was faster.
    for file in FILES {
        drop(fs::remove_file(draft.join(file)));
    }
    drop(fs::remove_dir(&draft));
    made.map(|()| directory)
}

fn make(directory: &Path, listing: Listing) -> Result<()> {
    let shown = || directory.display().to_string();
    let btf = Btf::of_kernel().blame("read(2)", crate::btf::PATH)?;
    let unknown = || Fault::from_errno("look at", "the kernel's structures for sockets", libc::ENOTSUP);
    let places = Places::of(&btf).ok_or_else(unknown)?;
    fs::create_dir(directory).blame_with("mkdir(2)", shown)?;
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).blame_with("chmod(2)", shown)?;
    for file in FILES {
        let (target, ipv6) = (&file[..3], file.ends_with('6'));
        let function = btf.function(&format!("bpf_iter_{target}")).ok_or_else(unknown)?;
        let kind = BpfProgramKind::Raw {
            program_type: TRACING,
            attach_type: ITERATOR,
            btf_id: function,
            sleeps: false,
        };
        let program = Program::new(kind, program(listing, &places, target == "udp", ipv6)).load()?;
        let link = sys::bpf_link_attach(program.as_fd(), 0, ITERATOR)?;
        let path = directory.join(file);
        sys::bpf_object_pin(link.as_fd(), &path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o444)).blame_with("chmod(2)", shown)?;
        debug_assert!(link.as_raw_fd() > 2);
    }
    Ok(())
}

/// Where on the stack things are, below the place for reads: arguments of a line, and its text.
const ARGUMENTS: i16 = -80;
const TEXT: i16 = -272;

const SEQUENCE: Reg = Reg::R8;
const SOCKET: Reg = Reg::R9;
const CONTEXT: Reg = Reg::R6;
const KEPT: Reg = Reg::R7;

fn program(listing: Listing, places: &Places, udp: bool, ipv6: bool) -> Vec<u64> {
    let mut asm = Assembler::new();
    let (begin, item, end) = (asm.label(), asm.label(), asm.label());
    // struct bpf_iter__tcp: meta, socket, user; struct bpf_iter_meta: seq, session, number.
    asm.copy(CONTEXT, Reg::R1).load(Size::Double, KEPT, CONTEXT, 0).load(Size::Double, SEQUENCE, KEPT, 0);
    asm.load(Size::Double, Reg::R1, KEPT, 16).store(Size::Double, Reg::Frame, ARGUMENTS, Reg::R1);
    // The header comes before the first socket; or with the call at the end, which is without a socket, if there was
    // none: the kernel counts from -1 then.
    asm.load(Size::Double, SOCKET, CONTEXT, 8);
    asm.jump_if_equal(Reg::R1, -1, begin).jump_if_not_equal(Reg::R1, 0, item).jump_if_equal(SOCKET, 0, end);
    asm.place(begin);
    let length = text(&mut asm, header(udp, ipv6).as_bytes());
    asm.copy(Reg::R1, SEQUENCE).copy(Reg::R2, Reg::Frame).alu(Alu::Add, Reg::R2, i32::from(TEXT));
    asm.set(Reg::R3, length).call(helper::SEQ_WRITE);
    asm.place(item).jump_if_equal(SOCKET, 0, end);
    asm.load(Size::Half, Reg::R1, SOCKET, common::FAMILY);
    asm.jump_if_not_equal(Reg::R1, if ipv6 { libc::AF_INET6 } else { libc::AF_INET }, end);
    // TCP_TIME_WAIT and TCP_NEW_SYN_RECV are shorter structures.
    asm.load(Size::Byte, Reg::R1, SOCKET, common::STATE);
    asm.jump_if_equal(Reg::R1, 6, end).jump_if_equal(Reg::R1, 12, end);
    only_of_readers_group(&mut asm, listing.level, places, end);
    let second_line = if ipv6 {
        addresses_6(&mut asm, places);
        0
    } else {
        addresses_4(&mut asm, listing);
        5
    };
    // State, user, inode.
    let argument = |number: i16| ARGUMENTS + 8 * number;
    asm.load(Size::Byte, Reg::R1, SOCKET, common::STATE);
    asm.store(Size::Double, Reg::Frame, argument(second_line), Reg::R1);
    asm.load(Size::Word, Reg::R1, CONTEXT, 16);
    asm.store(Size::Double, Reg::Frame, argument(second_line + 1), Reg::R1);
    let no_inode = asm.label();
    asm.store_value(Size::Double, Reg::Frame, argument(second_line + 2), 0);
    asm.copy(Reg::R3, SOCKET);
    read(&mut asm, places.socket);
    asm.load(Size::Double, Reg::R3, Reg::Frame, READ).jump_if_equal(Reg::R3, 0, no_inode);
    read(&mut asm, places.inode);
    asm.load(Size::Double, Reg::R1, Reg::Frame, READ);
    asm.store(Size::Double, Reg::Frame, argument(second_line + 2), Reg::R1).place(no_inode);
    let rest = if udp {
        "%02X 00000000:00000000 00:00000000 00000000 %5u        0 %lu 2 0 0\n\0"
    } else {
        "%02X 00000000:00000000 00:00000000 00000000 %5u        0 %lu 1 0 100 0 0 10 0\n\0"
    };
    let whole = if ipv6 { rest.to_owned() } else { format!("%4u: %08X:%04X %08X:%04X {rest}") };
    print(&mut asm, &whole, 8 * (i32::from(second_line) + 3));
    asm.place(end).answer(0);
    asm.finish()
}

fn header(udp: bool, ipv6: bool) -> String {
    let first = match (udp, ipv6) {
        (_, true) => "  sl  local_address                         remote_address                        st",
        (true, false) => "   sl  local_address rem_address   st",
        (false, false) => "  sl  local_address rem_address   st",
    };
    let last = if udp { " ref pointer drops" } else { "" };
    format!("{first} tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode{last}\n")
}

/// Goes on if the socket was made in a group below that of the reader on the level; KEPT is lost.
fn only_of_readers_group(asm: &mut Assembler, level: u8, places: &Places, end: Label) {
    places.groups.group_on(asm, SOCKET, KEPT, level, end);
    asm.copy(Reg::R3, KEPT);
    read(asm, places.node);
    asm.load(Size::Double, Reg::R3, Reg::Frame, READ);
    read(asm, places.id);
    asm.set(Reg::R1, level.into()).call(helper::CURRENT_ANCESTOR_CGROUP_ID);
    asm.load(Size::Double, Reg::R1, Reg::Frame, READ).jump_if_registers(If::NotEqual, Reg::R0, Reg::R1, end);
}

/// Arguments 1 to 4: address and port of both sides.
fn addresses_4(asm: &mut Assembler, listing: Listing) {
    for (number, address, port) in
        [(1, common::LOCAL, common::LOCAL_PORT), (3, common::REMOTE, common::REMOTE_PORT)]
    {
        asm.load(Size::Word, Reg::R1, SOCKET, address);
        if listing.plain_loopback {
            let other = asm.label();
            // In the network's order, read as a little-endian number.
            asm.copy(Reg::R2, Reg::R1).and(Reg::R2, 0xff).jump_if_not_equal(Reg::R2, 127, other);
            asm.alu_32(Alu::And, Reg::R1, 0xff00_00ff).place(other);
        }
        asm.store(Size::Double, Reg::Frame, ARGUMENTS + 8 * number, Reg::R1);
        port_to(asm, number + 1, port);
    }
}

fn port_to(asm: &mut Assembler, number: i16, port: i16) {
    asm.load(Size::Half, Reg::R1, SOCKET, port);
    if port == common::REMOTE_PORT {
        asm.swap(Reg::R1, 16);
    }
    asm.store(Size::Double, Reg::Frame, ARGUMENTS + 8 * number, Reg::R1);
}

/// A line of its own, as it has more parts than one may have: `NUMBER: ADDRESS:PORT ADDRESS:PORT `.
fn addresses_6(asm: &mut Assembler, places: &Places) {
    for (beginning, address, port, text) in [
        (1, places.local6, common::LOCAL_PORT, "%4u: %08X%08X%08X%08X:%04X \0"),
        (0, places.remote6, common::REMOTE_PORT, "%08X%08X%08X%08X:%04X \0"),
    ] {
        for half in 0..2_i16 {
            asm.copy(Reg::R3, SOCKET);
            read(asm, address + 8 * i32::from(half));
            for (word, place) in [(0, READ), (1, READ + 4)] {
                asm.load(Size::Word, Reg::R1, Reg::Frame, place);
                let number = beginning + 2 * half + word;
                asm.store(Size::Double, Reg::Frame, ARGUMENTS + 8 * number, Reg::R1);
            }
        }
        port_to(asm, beginning + 4, port);
        print(asm, text, 8 * (i32::from(beginning) + 5));
    }
}

/// `bpf_seq_printf` with the first `bytes` of the arguments.
fn print(asm: &mut Assembler, format: &str, bytes: i32) {
    let length = text(asm, format.as_bytes());
    asm.copy(Reg::R1, SEQUENCE).copy(Reg::R2, Reg::Frame).alu(Alu::Add, Reg::R2, i32::from(TEXT));
    asm.set(Reg::R3, length).copy(Reg::R4, Reg::Frame).alu(Alu::Add, Reg::R4, i32::from(ARGUMENTS));
    asm.set(Reg::R5, bytes).call(helper::SEQ_PRINTF);
}

/// Puts a text on the stack and tells its length.
fn text(asm: &mut Assembler, bytes: &[u8]) -> i32 {
    let room = usize::try_from(ARGUMENTS - TEXT).expect("the text lies below the arguments");
    assert!(bytes.len() <= room, "a line's text has its room");
    for (place, four) in (TEXT..).step_by(4).zip(bytes.chunks(4)) {
        let mut word = [0; 4];
        word[..four.len()].copy_from_slice(four);
        asm.store_value(Size::Word, Reg::Frame, place, i32::from_le_bytes(word));
    }
    i32::try_from(bytes.len()).expect("it is short")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_the_kernels() {
        for (file, udp, ipv6) in [("tcp", false, false), ("tcp6", false, true), ("udp", true, false)] {
            let Ok(text) = fs::read_to_string(format!("/proc/net/{file}")) else { continue };
            let first = text.lines().next().unwrap_or_default();
            assert_eq!(header(udp, ipv6).trim_end(), first.trim_end(), "{file}");
        }
    }
}
