//! The only program of ours that stays beside or inside a guest, in three roles picked by `argv[0]`:
//!
//! * `init`: PID 1 of a guest that has no init of its own (style sysv). Starts one command, reaps, and ends when
//!   nobody is left in the PID namespace.
//! * `guard`: parent of a guest's first process, on the host. Keeps the console and its bounded log, and when the
//!   guest has ended hands over to the tool, which takes everything down.
//! * `exec`: the last step before a program of the guest. It exists so that `/proc/PID/exe`, which a hostile guest
//!   can open, never is a file of the host (the pattern of CVE-2019-5736).
//!
//! It has no standard library, no allocator and no libc: about 8 KiB of memory each, and nothing of the host's to be
//! found in it. It is carried inside the tool and run from a sealed memory file. Descriptors have fixed numbers,
//! given by [`fd`]; `vserver-run` (`helper.rs`) puts them there.
#![no_std]
#![no_main]

mod calls;
mod guard;
mod init;
mod kept;
mod shim;
mod sys;

/// The descriptors that the tool has put in place.
mod fd {
    /// Answers to the tool: four bytes kind and number for each event, closed by a successful exec.
    pub const ANSWER: i32 = 3;
    /// guard, where other roles have their answers: `/proc/PID/stat` of the guest's first process, for a guard that is
    /// not its parent; else the null device.
    pub const STAT: i32 = ANSWER;
    /// guard: pidfd of the guest's first process.
    pub const INIT: i32 = 4;
    /// guard: master side of the guest's console.
    pub const CONSOLE: i32 = 5;
    /// guard: end of file says that the tool no longer reads the console itself.
    pub const HOLD: i32 = 6;
    /// guard: the guest's host view, a mount namespace, only held open so that the tool can enter it.
    pub const HOST_VIEW: i32 = 7;
    /// guard: the directory that holds the console log.
    pub const LOG_DIRECTORY: i32 = 8;
    /// guard: the tool itself, opened at the start, for the case that its path is gone at the end.
    pub const TOOL: i32 = 9;
    /// guard: the console's slave side, held open so that the console never hangs up.
    pub const CONSOLE_SLAVE: i32 = 10;
    /// guard: where listeners for answered system calls arrive; not open for a guest without them.
    pub const CONTROL: i32 = 11;
    /// guard: the other end, which the tool fetches a copy of when a process enters the guest.
    pub const CONTROL_PEER: i32 = 12;
    /// guard, only for a guest whose programs rewind what they read of the machine: asks before a read of the file with
    /// the memory, and of that with the processors.
    pub const WATCHES: [i32; 2] = [13, 14];
    /// guard: the files.
    pub const FILES: [i32; 2] = [15, 16];
    /// guard: the directory of the kernel's listings.
    pub const LISTINGS: i32 = 17;
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    sys::exit(254)
}

/// Referred to by the precompiled core library as soon as bounds checks are in; never called, as panics abort.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}

/// `argc`, `argv…`, NULL, `envp…`, NULL lie on the stack in this order (System V ABI, "Process Initialization").
///
/// # Safety
///
/// Called once, by the entry code, with the stack pointer the kernel gave.
#[unsafe(no_mangle)]
unsafe extern "C" fn rust_start(stack: *const usize) -> ! {
    // SAFETY: the kernel puts argc at the stack pointer, followed by argc pointers, a null, and the environment.
    let (argc, argv) = unsafe { (*stack, stack.add(1).cast::<*const u8>()) };
    // SAFETY: as above; the environment starts behind the null that ends argv.
    let envp = unsafe { argv.add(argc + 1) };
    let arguments = Arguments { argc, argv, envp };
    match arguments.byte_of(0, 0) {
        b'i' => init::run(&arguments),
        b'g' => guard::run(&arguments),
        _ => shim::run(&arguments),
    }
}

/// The command line as the kernel left it: C strings that live as long as the process.
pub struct Arguments {
    argc: usize,
    argv: *const *const u8,
    /// The environment, ended by a null pointer.
    pub envp: *const *const u8,
}

impl Arguments {
    /// How many words there are, the role included.
    pub fn count(&self) -> usize {
        self.argc
    }

    /// The words from `index` on, as `execve` wants them: ended by a null pointer.
    pub fn from(&self, index: usize) -> *const *const u8 {
        // SAFETY: `index` is at most argc, where the null pointer stands.
        unsafe { self.argv.add(index.min(self.argc)) }
    }

    /// Word `index` as a C string; an empty one behind the end.
    pub fn word(&self, index: usize) -> *const u8 {
        if index >= self.argc {
            return c"".as_ptr().cast();
        }
        // SAFETY: index is below argc.
        unsafe { *self.argv.add(index) }
    }

    /// Byte `at` of word `index`; 0 behind the end of the words. The caller does not pass the terminating NUL.
    fn byte_of(&self, index: usize, at: usize) -> u8 {
        // SAFETY: word() gives a NUL-terminated string and `at` does not pass its end, as the caller promises.
        unsafe { *self.word(index).add(at) }
    }
}
