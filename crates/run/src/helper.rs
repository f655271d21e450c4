//! The tiny static program that stays beside or inside a guest (`crates/guard`), and how it is executed.
//!
//! It runs from a sealed file in memory: a guest that opens `/proc/PID/exe` finds nothing of the host, and nothing
//! that it could change for the next one.

use std::ffi::{CString, OsString};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt};
use std::path::Path;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use vserver_kernel::{Fault, sys};

/// The program: built by this crate's build script.
static PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/vserver-guard"));

/// Number of the first descriptor that a helper must not have.
pub const DESCRIPTORS: i32 = 18;
/// The descriptors' numbers, as `crates/guard` knows them.
pub mod fd {
    /// Answers to the tool.
    pub const ANSWER: i32 = 3;
    /// guard: `/proc/PID/stat` of a first process that is not its child.
    pub const STAT: i32 = ANSWER;
    /// guard: pidfd of the guest's first process.
    pub const INIT: i32 = 4;
    /// guard: master side of the console.
    pub const CONSOLE: i32 = 5;
    /// guard: end of file says that the tool no longer reads the console.
    pub const HOLD: i32 = 6;
    /// guard: the host view, a mount namespace.
    pub const HOST_VIEW: i32 = 7;
    /// guard: directory of the console log.
    pub const LOG_DIRECTORY: i32 = 8;
    /// guard: the tool.
    pub const TOOL: i32 = 9;
    /// guard: slave side of the console.
    pub const CONSOLE_SLAVE: i32 = 10;
    /// guard: listeners for answered system calls arrive here.
    pub const CONTROL: i32 = 11;
    /// guard: the other end of that, for processes that enter.
    pub const CONTROL_PEER: i32 = 12;
    /// guard: asks before reads of two files about the machine.
    pub const WATCHES: [i32; 2] = [13, 14];
    /// guard: the files.
    pub const FILES: [i32; 2] = [15, 16];
    /// guard: the directory of the kernel's listings that they are filled from.
    pub const LISTINGS: i32 = 17;
}

/// Kinds of answers, as `crates/guard` numbers them, and those of our own code before it.
pub mod answer {
    /// The program could not be executed; the number is the errno.
    pub const EXEC_FAILED: i32 = 1;
    /// The stub's command has ended; the number is its wait status.
    pub const ENDED: i32 = 2;
    /// The entered process was forked; the number is its pid.
    pub const STARTED: i32 = 3;
    /// After the command: whether anybody is left in the guest.
    pub const LEFT: i32 = 4;
    /// A step inside failed; the number is the length of the JSON text that follows.
    pub const FAILED: i32 = 5;
    /// All steps inside are done; the program is executed next.
    pub const READY: i32 = 6;
}

/// Whether the link `/proc/PID/exe` is that of a process that runs the helper.
pub fn is_image(link: &Path) -> bool {
    link.as_os_str().as_bytes().starts_with(b"/memfd:vserver-guard")
}

/// A sealed file in memory that holds the helper.
///
/// # Errors
/// `memfd_create(2)`, write(2): no memory; a kernel whose `vm.memfd_noexec` is 2.
pub fn image() -> Result<OwnedFd, Fault> {
    let fault = |op, errno: rustix::io::Errno| Fault::new(op, "the helper program", errno);
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // MFD_EXEC (Linux 6.3) says that execution is meant; older kernels refuse the flag.
    let file = memfd_create("vserver-guard", flags | MemfdFlags::from_bits_retain(0x10))
        .or_else(|_| memfd_create("vserver-guard", flags))
        .map_err(|errno| fault("memfd_create(2)", errno))?;
    let mut rest = PROGRAM;
    while !rest.is_empty() {
        let written = rustix::io::write(&file, rest).map_err(|errno| fault("write(2)", errno))?;
        rest = &rest[written..];
    }
    let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    fcntl_add_seals(&file, seals).map_err(|errno| fault("fcntl(2) F_ADD_SEALS", errno))?;
    Ok(file)
}

/// Replaces this process by the helper. Returns only on failure.
pub fn execute(image: BorrowedFd<'_>, words: Vec<OsString>, environment: &[(OsString, OsString)]) -> Fault {
    let text = |word: OsString| CString::new(word.into_vec());
    let argv: Result<Vec<CString>, _> = words.into_iter().map(text).collect();
    let variables = environment.iter().map(|(name, value)| {
        let mut line = name.clone();
        line.push("=");
        line.push(value);
        text(line)
    });
    let envp: Result<Vec<CString>, _> = variables.collect();
    match (argv, envp) {
        (Ok(argv), Ok(envp)) => sys::execveat(image, c"", &argv, &envp),
        _ => Fault::from_errno("execveat(2)", "a word with a zero byte", libc::EINVAL),
    }
}
