//! The system calls the helper makes, straight to the kernel. Each returns the kernel's result: negative is an errno.

use core::arch::{asm, global_asm};

#[cfg(target_arch = "x86_64")]
mod number {
    pub const READ: usize = 0;
    pub const WRITE: usize = 1;
    pub const CLOSE: usize = 3;
    pub const POLL: usize = 7;
    pub const IOCTL: usize = 16;
    pub const CLONE: usize = 56;
    pub const EXECVE: usize = 59;
    pub const EXIT_GROUP: usize = 231;
    pub const WAIT4: usize = 61;
    pub const KILL: usize = 62;
    pub const FCNTL: usize = 72;
    pub const SETSID: usize = 112;
    pub const NANOSLEEP: usize = 35;
    pub const PRCTL: usize = 157;
    pub const WAITID: usize = 247;
    pub const OPENAT: usize = 257;
    pub const RENAMEAT2: usize = 316;
    pub const EXECVEAT: usize = 322;
    pub const RT_SIGACTION: usize = 13;
    pub const RT_SIGPROCMASK: usize = 14;
    pub const SOCKETPAIR: usize = 53;
    pub const SENDMSG: usize = 46;
    pub const RECVMSG: usize = 47;
    pub const EPOLL_CREATE1: usize = 291;
    pub const EPOLL_CTL: usize = 233;
    pub const EPOLL_PWAIT: usize = 281;
    pub const MEMFD_CREATE: usize = 319;
    pub const PREAD64: usize = 17;
    pub const LSEEK: usize = 8;
    pub const PWRITE64: usize = 18;
    pub const FTRUNCATE: usize = 77;
    pub const SETNS: usize = 308;
    pub const CLOCK_GETTIME: usize = 228;
    pub const DUP3: usize = 292;
    pub const CLOSE_RANGE: usize = 436;
}
#[cfg(target_arch = "aarch64")]
mod number {
    pub const READ: usize = 63;
    pub const WRITE: usize = 64;
    pub const CLOSE: usize = 57;
    pub const POLL: usize = 73; // ppoll
    pub const IOCTL: usize = 29;
    pub const CLONE: usize = 220;
    pub const EXECVE: usize = 221;
    pub const EXIT_GROUP: usize = 94;
    pub const WAIT4: usize = 260;
    pub const KILL: usize = 129;
    pub const FCNTL: usize = 25;
    pub const SETSID: usize = 157;
    pub const NANOSLEEP: usize = 101;
    pub const PRCTL: usize = 167;
    pub const WAITID: usize = 95;
    pub const OPENAT: usize = 56;
    pub const RENAMEAT2: usize = 276;
    pub const EXECVEAT: usize = 281;
    pub const RT_SIGACTION: usize = 134;
    pub const RT_SIGPROCMASK: usize = 135;
    pub const SOCKETPAIR: usize = 199;
    pub const SENDMSG: usize = 211;
    pub const RECVMSG: usize = 212;
    pub const EPOLL_CREATE1: usize = 20;
    pub const EPOLL_CTL: usize = 21;
    pub const EPOLL_PWAIT: usize = 22;
    pub const MEMFD_CREATE: usize = 279;
    pub const PREAD64: usize = 67;
    pub const LSEEK: usize = 62;
    pub const PWRITE64: usize = 68;
    pub const FTRUNCATE: usize = 46;
    pub const SETNS: usize = 268;
    pub const CLOCK_GETTIME: usize = 113;
    pub const DUP3: usize = 24;
    pub const CLOSE_RANGE: usize = 436;
}

#[cfg(target_arch = "x86_64")]
global_asm!(
    ".globl _start",
    "_start:",
    "xor ebp, ebp",
    "mov rdi, rsp",
    "and rsp, -16",
    "call rust_start",
    "hlt",
);
#[cfg(target_arch = "aarch64")]
global_asm!(".globl _start", "_start:", "mov x29, #0", "mov x30, #0", "mov x0, sp", "b rust_start");

/// One system call with up to six arguments.
///
/// # Safety
///
/// The arguments must be what the call expects: pointers valid for what the kernel does with them.
#[inline]
unsafe fn call(number: usize, a: [usize; 6]) -> isize {
    let result: isize;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the syscall instruction clobbers rcx and r11 only; the caller vouches for the arguments.
    unsafe {
        asm!("syscall", inlateout("rax") number => result, in("rdi") a[0], in("rsi") a[1], in("rdx") a[2],
             in("r10") a[3], in("r8") a[4], in("r9") a[5], lateout("rcx") _, lateout("r11") _,
             options(nostack));
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: svc keeps all registers but x0; the caller vouches for the arguments.
    unsafe {
        asm!("svc 0", in("x8") number, inlateout("x0") a[0] => result, in("x1") a[1], in("x2") a[2],
             in("x3") a[3], in("x4") a[4], in("x5") a[5], options(nostack));
    }
    result
}

pub const EINTR: isize = -4;
pub const ENOENT: isize = -2;
pub const EACCES: isize = -13;
pub const ENOTDIR: isize = -20;
pub const ECHILD: isize = -10;
pub const ESRCH: isize = -3;
pub const SIGCHLD: usize = 17;
pub const CLONE_PARENT: usize = 0x8000;

pub fn exit(status: i32) -> ! {
    loop {
        // SAFETY: exit_group takes a number and does not return.
        unsafe { call(number::EXIT_GROUP, [status as usize, 0, 0, 0, 0, 0]) };
    }
}

/// `fork`, or with `CLONE_PARENT` a sibling: the child gets our parent as its own.
pub fn clone(flags: usize) -> isize {
    // SAFETY: no stack is given and CLONE_VM is not set, so the child runs on a copy of ours.
    unsafe { call(number::CLONE, [flags | SIGCHLD, 0, 0, 0, 0, 0]) }
}

pub fn setsid() -> isize {
    // SAFETY: no arguments.
    unsafe { call(number::SETSID, [0; 6]) }
}

pub fn read(fd: i32, buffer: &mut [u8]) -> isize {
    // SAFETY: the kernel writes at most `len` bytes into the buffer.
    unsafe { call(number::READ, [fd as usize, buffer.as_mut_ptr() as usize, buffer.len(), 0, 0, 0]) }
}

pub fn write(fd: i32, buffer: &[u8]) -> isize {
    // SAFETY: the kernel reads `len` bytes of the buffer.
    unsafe { call(number::WRITE, [fd as usize, buffer.as_ptr() as usize, buffer.len(), 0, 0, 0]) }
}

pub fn close(fd: i32) {
    // SAFETY: a number.
    unsafe { call(number::CLOSE, [fd as usize, 0, 0, 0, 0, 0]) };
}

pub fn set_cloexec(fd: i32) {
    const F_SETFD: usize = 2;
    // SAFETY: numbers only.
    unsafe { call(number::FCNTL, [fd as usize, F_SETFD, 1, 0, 0, 0]) };
}

/// Makes the terminal `fd` the controlling one of the session that the caller leads.
pub fn make_controlling(fd: i32) -> isize {
    const TIOCSCTTY: usize = 0x540e;
    // SAFETY: the argument is a number: 0, do not steal.
    unsafe { call(number::IOCTL, [fd as usize, TIOCSCTTY, 0, 0, 0, 0]) }
}

pub fn kill_all(signal: i32) -> isize {
    // SAFETY: numbers only.
    unsafe { call(number::KILL, [usize::MAX, signal as usize, 0, 0, 0, 0]) }
}

/// Waits for any child; the wait status goes to `status`.
pub fn wait_any(status: &mut i32) -> isize {
    // SAFETY: the kernel writes one int.
    unsafe { call(number::WAIT4, [usize::MAX, status as *mut i32 as usize, 0, 0, 0, 0]) }
}

/// Takes one child that has already ended; 0 when there is none.
pub fn reap_ended(status: &mut i32) -> isize {
    const WNOHANG: usize = 1;
    // SAFETY: the kernel writes one int.
    unsafe { call(number::WAIT4, [usize::MAX, status as *mut i32 as usize, WNOHANG, 0, 0, 0]) }
}

/// `waitid(P_PIDFD, …, WEXITED)`; gives `(si_code, si_status)`.
pub fn wait_pidfd(fd: i32) -> Result<(i32, i32), isize> {
    const P_PIDFD: usize = 3;
    const WEXITED: usize = 4;
    let mut info = [0i32; 32];
    // SAFETY: siginfo_t is 128 bytes, which `info` is; the resource usage pointer may be null.
    let result =
        unsafe { call(number::WAITID, [P_PIDFD, fd as usize, info.as_mut_ptr() as usize, WEXITED, 0, 0]) };
    // In siginfo_t of SIGCHLD: signo, errno, code, (pad), pid, uid, status.
    if result < 0 { Err(result) } else { Ok((info[2], info[6])) }
}

#[repr(C)]
pub struct PollFd {
    pub fd: i32,
    pub events: i16,
    pub revents: i16,
}

/// Waits without a time limit until one of the descriptors is ready.
pub fn poll(fds: &mut [PollFd]) -> isize {
    #[cfg(target_arch = "x86_64")]
    let timeout = usize::MAX;
    #[cfg(not(target_arch = "x86_64"))]
    let timeout = 0; // ppoll: a null pointer is no limit
    // SAFETY: the kernel reads and writes `len` entries.
    unsafe { call(number::POLL, [fds.as_mut_ptr() as usize, fds.len(), timeout, 0, 0, 0]) }
}

/// Tells which of the descriptors are ready now.
pub fn poll_now(fds: &mut [PollFd]) -> isize {
    #[cfg(target_arch = "x86_64")]
    let timeout = 0;
    #[cfg(not(target_arch = "x86_64"))]
    let zero = [0u64; 2]; // ppoll: a timespec of zero
    #[cfg(not(target_arch = "x86_64"))]
    let timeout = zero.as_ptr() as usize;
    // SAFETY: as for poll; the timespec lives until the call returns.
    unsafe { call(number::POLL, [fds.as_mut_ptr() as usize, fds.len(), timeout, 0, 0, 0]) }
}

pub fn sleep_milliseconds(milliseconds: u32) {
    // Nanoseconds of a whole second are EINVAL.
    let duration = [u64::from(milliseconds / 1000), u64::from(milliseconds % 1000) * 1_000_000];
    // SAFETY: a timespec of two words, read by the kernel; no remainder is asked for.
    unsafe { call(number::NANOSLEEP, [duration.as_ptr() as usize, 0, 0, 0, 0, 0]) };
}

/// Replaces the process; returns only on failure.
///
/// # Safety
///
/// `path` is a C string, `argv` and `envp` are null-terminated arrays of such.
pub unsafe fn execve(path: *const u8, argv: *const *const u8, envp: *const *const u8) -> isize {
    // SAFETY: as the caller promises.
    unsafe { call(number::EXECVE, [path as usize, argv as usize, envp as usize, 0, 0, 0]) }
}

/// Replaces the process by the program that `fd` is open on.
///
/// # Safety
///
/// `argv` and `envp` are null-terminated arrays of C strings.
pub unsafe fn execve_fd(fd: i32, argv: *const *const u8, envp: *const *const u8) -> isize {
    const AT_EMPTY_PATH: usize = 0x1000;
    // SAFETY: as the caller promises; the path is an empty C string.
    unsafe {
        call(
            number::EXECVEAT,
            [fd as usize, c"".as_ptr() as usize, argv as usize, envp as usize, AT_EMPTY_PATH, 0],
        )
    }
}

/// Opens the log for appending, mode 0600.
pub fn open_log(directory: i32, name: *const u8, truncate: bool) -> isize {
    const FLAGS: usize = 0o2_000_000 | 0o2000 | 0o100 | 0o2; // CLOEXEC, APPEND, CREAT, RDWR
    let flags = FLAGS | if truncate { 0o1000 } else { 0 };
    // SAFETY: `name` is one of the command line's C strings.
    unsafe { call(number::OPENAT, [directory as usize, name as usize, flags, 0o600, 0, 0]) }
}

/// How long a file is (0: empty, or it cannot be told), and its last byte.
pub fn end_of(file: i32) -> (usize, u8) {
    const SEEK_END: usize = 2;
    // SAFETY: no pointer is passed.
    let last = unsafe { call(number::LSEEK, [file as usize, usize::MAX, SEEK_END, 0, 0, 0]) };
    let mut byte = [0u8];
    let Ok(last) = usize::try_from(last) else { return (0, 0) };
    read(file, &mut byte);
    (last + 1, byte[0])
}

/// Seconds since 1970.
pub fn now() -> u64 {
    let mut time = [0u64; 2];
    // SAFETY: a timespec of two words, written by the kernel; 0 is CLOCK_REALTIME.
    unsafe { call(number::CLOCK_GETTIME, [0, time.as_mut_ptr() as usize, 0, 0, 0, 0]) };
    time[0]
}

pub fn rename(directory: i32, from: *const u8, to: *const u8) -> isize {
    // SAFETY: both are C strings of the command line.
    unsafe {
        call(number::RENAMEAT2, [directory as usize, from as usize, directory as usize, to as usize, 0, 0])
    }
}

/// Sets the name that `ps` shows (at most 15 bytes).
pub fn set_name(name: &core::ffi::CStr) {
    const PR_SET_NAME: usize = 15;
    // SAFETY: a C string; the kernel copies 16 bytes at most.
    unsafe { call(number::PRCTL, [PR_SET_NAME, name.as_ptr() as usize, 0, 0, 0, 0]) };
}

/// Unblocks every signal: what a program of the guest starts with.
pub fn unblock_signals() {
    const SIG_SETMASK: usize = 2;
    let none: u64 = 0;
    // SAFETY: the kernel reads eight bytes.
    unsafe { call(number::RT_SIGPROCMASK, [SIG_SETMASK, &raw const none as usize, 0, 8, 0, 0]) };
}

/// Gives every signal its default meaning again.
pub fn default_signals() {
    #[repr(C)]
    struct Action {
        handler: usize,
        flags: u64,
        restorer: usize,
        mask: u64,
    }
    let default = Action { handler: 0, flags: 0, restorer: 0, mask: 0 };
    for signal in 1..=64usize {
        // SAFETY: the kernel reads one sigaction; SIGKILL and SIGSTOP are refused, which does no harm.
        unsafe { call(number::RT_SIGACTION, [signal, &raw const default as usize, 0, 8, 0, 0]) };
    }
}

/// A message has arrived without a descriptor in it.
pub const NO_DESCRIPTOR: i32 = i32::MIN;

/// `struct msghdr` with room for one byte and one descriptor.
#[repr(C)]
struct Message {
    name: usize,
    name_length: usize,
    parts: usize,
    part_count: usize,
    control: usize,
    control_length: usize,
    flags: usize,
}

/// `struct cmsghdr` with one descriptor, padded.
#[repr(C)]
struct Rights {
    length: usize,
    level: i32,
    kind: i32,
    descriptor: i32,
    padding: i32,
}

const SOL_SOCKET: i32 = 1;
const SCM_RIGHTS: i32 = 1;
const MSG_DONTWAIT: usize = 0x40;
const MSG_NOSIGNAL: usize = 0x4000;

/// Does `number` with a message of `byte` and `rights`.
fn message(number: usize, socket: i32, bytes: &mut [u8; 8], rights: &mut Rights, flags: usize) -> isize {
    let part = [bytes.as_mut_ptr() as usize, bytes.len()];
    let mut header = Message {
        name: 0,
        name_length: 0,
        parts: part.as_ptr() as usize,
        part_count: 1,
        control: rights as *mut Rights as usize,
        control_length: size_of::<Rights>(),
        flags: 0,
    };
    // SAFETY: the header, what it points to, and the lengths belong together and live until the call returns.
    unsafe { call(number, [socket as usize, &raw mut header as usize, flags, 0, 0, 0]) }
}

/// Takes a message and the descriptor in it, open across an exec. Negative: an error, or [`NO_DESCRIPTOR`].
pub fn receive_descriptor(socket: i32) -> i32 {
    let mut rights = Rights { length: 0, level: 0, kind: 0, descriptor: -1, padding: 0 };
    let result = message(number::RECVMSG, socket, &mut [0; 8], &mut rights, MSG_DONTWAIT);
    if result < 0 {
        return result as i32;
    }
    let carries = rights.level == SOL_SOCKET && rights.kind == SCM_RIGHTS && rights.length >= 20;
    if carries && rights.descriptor >= 0 { rights.descriptor } else { NO_DESCRIPTOR }
}

/// Sends a copy of a descriptor, with its number here as the text.
pub fn send_descriptor(socket: i32, descriptor: i32) {
    let mut rights = Rights { length: 20, level: SOL_SOCKET, kind: SCM_RIGHTS, descriptor, padding: 0 };
    let mut bytes = (descriptor as u64).to_ne_bytes();
    message(number::SENDMSG, socket, &mut bytes, &mut rights, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/// Two connected sockets that keep message boundaries, closed by an exec.
pub fn socket_pair() -> Option<(i32, i32)> {
    const AF_UNIX: usize = 1;
    const SEQPACKET_CLOEXEC: usize = 5 | 0o2_000_000;
    let mut pair = [0i32; 2];
    // SAFETY: the kernel writes two ints.
    let result = unsafe {
        call(number::SOCKETPAIR, [AF_UNIX, SEQPACKET_CLOEXEC, 0, pair.as_mut_ptr() as usize, 0, 0])
    };
    if result < 0 { None } else { Some((pair[0], pair[1])) }
}

/// An empty file in memory.
pub fn memory_file(name: &core::ffi::CStr) -> isize {
    const CLOEXEC: usize = 1;
    // SAFETY: a C string and a number.
    unsafe { call(number::MEMFD_CREATE, [name.as_ptr() as usize, CLOEXEC, 0, 0, 0, 0]) }
}

/// The first two words of a file; false when they are not there.
pub fn read_note(file: i32, note: &mut [u64; 2]) -> bool {
    // SAFETY: the kernel writes at most 16 bytes.
    unsafe { call(number::PREAD64, [file as usize, note.as_mut_ptr() as usize, 16, 0, 0, 0]) == 16 }
}

/// Lets the reader of an event of `fanotify(7)` go on.
pub fn allow_read(watch: i32, reader: i32) {
    const FAN_ALLOW: i32 = 1;
    let answer = [reader, FAN_ALLOW];
    // SAFETY: the kernel reads the two numbers.
    unsafe { call(number::WRITE, [watch as usize, answer.as_ptr() as usize, 8, 0, 0, 0]) };
}

/// Opens a file for reading, closed by an exec.
pub fn open_read(directory: i32, name: &core::ffi::CStr) -> isize {
    const FLAGS: usize = 0o2_000_000; // CLOEXEC
    // SAFETY: a C string and numbers.
    unsafe { call(number::OPENAT, [directory as usize, name.as_ptr() as usize, FLAGS, 0, 0, 0]) }
}

/// Writes at a place of a file.
pub fn write_at(fd: i32, bytes: &[u8], place: usize) -> isize {
    // SAFETY: the kernel reads `len` bytes of the buffer.
    unsafe { call(number::PWRITE64, [fd as usize, bytes.as_ptr() as usize, bytes.len(), place, 0, 0]) }
}

/// The file ends here.
pub fn cut(fd: i32, length: usize) {
    // SAFETY: numbers only.
    unsafe { call(number::FTRUNCATE, [fd as usize, length, 0, 0, 0, 0]) };
}

/// `CLONE_NEWCGROUP`, `CLONE_NEWTIME`
pub const NEW_CGROUP: usize = 0x0200_0000;
pub const NEW_TIME: usize = 0x80;

/// Steps into namespaces of these kinds: of a process, by its pidfd, or one by its own descriptor.
pub fn enter(fd: i32, kinds: usize) -> isize {
    // SAFETY: numbers only.
    unsafe { call(number::SETNS, [fd as usize, kinds, 0, 0, 0, 0]) }
}

/// Milliseconds of a clock that only goes forward.
pub fn milliseconds() -> u64 {
    const MONOTONIC_RAW: usize = 4;
    let mut time = [0u64; 2];
    // SAFETY: the kernel writes two words.
    unsafe { call(number::CLOCK_GETTIME, [MONOTONIC_RAW, time.as_mut_ptr() as usize, 0, 0, 0, 0]) };
    time[0] * 1000 + time[1] / 1_000_000
}

/// Puts a copy of a descriptor at a number, open across an exec.
pub fn duplicate(from: i32, to: i32) {
    // SAFETY: numbers only.
    unsafe { call(number::DUP3, [from as usize, to as usize, 0, 0, 0, 0]) };
}

/// Closes every descriptor from this one on.
pub fn close_from(first: i32) {
    // SAFETY: numbers only.
    unsafe { call(number::CLOSE_RANGE, [first as usize, u32::MAX as usize, 0, 0, 0, 0]) };
}

/// Whether a descriptor is open.
pub fn is_open(fd: i32) -> bool {
    const F_GETFD: usize = 1;
    // SAFETY: numbers only.
    unsafe { call(number::FCNTL, [fd as usize, F_GETFD, 0, 0, 0, 0]) >= 0 }
}

/// The wait status of a child, waited for.
pub fn wait_child(pid: isize) -> i32 {
    let mut status = 0;
    loop {
        // SAFETY: the kernel writes one int.
        let result = unsafe { call(number::WAIT4, [pid as usize, &raw mut status as usize, 0, 0, 0, 0]) };
        if result != EINTR {
            return status;
        }
    }
}

/// `struct epoll_event`: packed on x86-64 only.
#[cfg_attr(target_arch = "x86_64", repr(C, packed))]
#[cfg_attr(not(target_arch = "x86_64"), repr(C))]
struct Event {
    events: u32,
    descriptor: u64,
}

/// A watch over descriptors, closed by an exec.
pub fn epoll() -> isize {
    // SAFETY: a number.
    unsafe { call(number::EPOLL_CREATE1, [0o2_000_000, 0, 0, 0, 0, 0]) }
}

pub fn epoll_add(epoll: i32, fd: i32, events: u32) {
    const ADD: usize = 1;
    let event = Event { events, descriptor: fd as u64 };
    // SAFETY: the kernel reads one event.
    unsafe { call(number::EPOLL_CTL, [epoll as usize, ADD, fd as usize, &raw const event as usize, 0, 0]) };
}

/// One descriptor that is ready, with its events; none if there is none.
pub fn epoll_next(epoll: i32) -> Option<(u32, i32)> {
    let mut event = Event { events: 0, descriptor: 0 };
    // SAFETY: the kernel writes at most one event; no signal mask is given.
    let count = unsafe { call(number::EPOLL_PWAIT, [epoll as usize, &raw mut event as usize, 1, 0, 0, 8]) };
    if count == 1 { Some((event.events, event.descriptor as i32)) } else { None }
}

/// Takes a waiting system call from a seccomp listener and gives its id.
pub fn receive_call(listener: i32) -> Option<u64> {
    const RECEIVE: usize = 0xc050_2100;
    let mut call_data = [0u64; 10];
    // SAFETY: struct seccomp_notif is 80 bytes, zeroed; the id comes first.
    let result = unsafe {
        call(number::IOCTL, [listener as usize, RECEIVE, call_data.as_mut_ptr() as usize, 0, 0, 0])
    };
    if result < 0 { None } else { Some(call_data[0]) }
}

/// Ends a waiting system call with an errno.
pub fn answer_call(listener: i32, id: u64, errno: i32) {
    const SEND: usize = 0xc018_2101;
    // struct seccomp_notif_resp: id, value, then error and flags in one word.
    let answer = [id, 0, u64::from((-errno) as u32)];
    // SAFETY: the kernel reads 24 bytes.
    unsafe { call(number::IOCTL, [listener as usize, SEND, answer.as_ptr() as usize, 0, 0, 0]) };
}

/// The compiler calls these for larger copies; there is no libc to take them from.
#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, byte: i32, count: usize) -> *mut u8 {
    let mut at = 0;
    while at < count {
        // SAFETY: the caller owns `count` bytes at `to`. Volatile, or this loop becomes a call to itself.
        unsafe { to.add(at).write_volatile(byte as u8) };
        at += 1;
    }
    to
}

/// As [`memset`].
#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    let mut at = 0;
    while at < count {
        // SAFETY: the caller owns `count` bytes at both, which do not overlap.
        unsafe { to.add(at).write_volatile(*from.add(at)) };
        at += 1;
    }
    to
}
