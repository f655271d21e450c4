//! A system call filter for guests without a user namespace: the calls through which such a guest could reach the host.
//!
//! Any filter costs about 35 ns on every system call, so there is one only where it is needed. Calls that programs can
//! do without answer `ENOSYS`, as if the kernel were built without them; the others `EPERM`.

use crate::Result;
use crate::sys::{self, Filter};

/// Something that is denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum Denial {
    /// `kexec_load`, `kexec_file_load`: `CAP_SYS_BOOT` is needed for reboot in the guest and would allow these too.
    Kexec,
    /// `open_by_handle_at`, which with `CAP_DAC_READ_SEARCH` opens any file of the filesystem.
    OpenByHandle,
    /// `add_key`, `request_key`, `keyctl`: root's keyrings are the host's.
    Keyrings,
    /// `io_uring_*`, whose operations no filter sees.
    IoUring,
    /// `unshare` and `clone` with `CLONE_NEWUSER`. `clone3` is `ENOSYS` then: its flags are in memory, out of sight.
    UserNamespaces,
}

impl Denial {
    /// All of them: what a classic guest gets.
    pub const ALL: [Self; 5] =
        [Self::Kexec, Self::OpenByHandle, Self::Keyrings, Self::IoUring, Self::UserNamespaces];
}

/// A call to deny: its number on each architecture (x86-64, i386, 64-bit ARM), and how.
struct Rule {
    denial: Denial,
    numbers: [Option<u32>; 3],
    errno: i32,
    /// Only if one of these bits is set in the first argument.
    only_with: Option<u32>,
}

const fn rule(denial: Denial, numbers: [u32; 3], errno: i32) -> Rule {
    let [x86_64, i386, aarch64] = numbers;
    Rule { denial, numbers: [Some(x86_64), Some(i386), Some(aarch64)], errno, only_with: None }
}

const NEWUSER: u32 = 0x1000_0000;

/// Numbers from the kernel's `syscall_64.tbl`, `syscall_32.tbl` and `asm-generic/unistd.h`.
const RULES: [Rule; 12] = [
    rule(Denial::Kexec, [246, 283, 104], libc::EPERM),
    // There is no kexec_file_load on i386.
    Rule {
        denial: Denial::Kexec,
        numbers: [Some(320), None, Some(294)],
        errno: libc::EPERM,
        only_with: None,
    },
    rule(Denial::OpenByHandle, [304, 342, 265], libc::EPERM),
    rule(Denial::Keyrings, [248, 286, 217], libc::ENOSYS),
    rule(Denial::Keyrings, [249, 287, 218], libc::ENOSYS),
    rule(Denial::Keyrings, [250, 288, 219], libc::ENOSYS),
    rule(Denial::IoUring, [425, 425, 425], libc::ENOSYS),
    rule(Denial::IoUring, [426, 426, 426], libc::ENOSYS),
    rule(Denial::IoUring, [427, 427, 427], libc::ENOSYS),
    rule(Denial::UserNamespaces, [435, 435, 435], libc::ENOSYS),
    Rule { only_with: Some(NEWUSER), ..rule(Denial::UserNamespaces, [272, 310, 97], libc::EPERM) },
    Rule { only_with: Some(NEWUSER), ..rule(Denial::UserNamespaces, [56, 120, 220], libc::EPERM) },
];

/// `AUDIT_ARCH_*`, and the column of the numbers above.
const X86_64: (u32, usize) = (0xc000_003e, 0);
const I386: (u32, usize) = (0x4000_0003, 1);
const AARCH64: (u32, usize) = (0xc000_00b7, 2);
/// Bit of the call numbers of the x32 interface.
const X32: u32 = 0x4000_0000;

/// Where things are in `struct seccomp_data`; the first argument's low half on a little-endian machine.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const FIRST_ARGUMENT: u32 = 16;

const LOAD: u16 = 0x20;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_AT_LEAST: u16 = 0x35;
const JUMP_BIT: u16 = 0x45;
const RETURN: u16 = 0x06;

const ALLOW: Filter = Filter { code: RETURN, jt: 0, jf: 0, k: 0x7fff_0000 };

const fn deny(errno: i32) -> Filter {
    Filter { code: RETURN, jt: 0, jf: 0, k: 0x0005_0000 | errno.cast_unsigned() }
}

const fn load(offset: u32) -> Filter {
    Filter { code: LOAD, jt: 0, jf: 0, k: offset }
}

/// Goes on with the next instruction if the test holds, else skips `over` instructions.
const fn test(code: u16, k: u32, over: u8) -> Filter {
    Filter { code, jt: 0, jf: over, k }
}

/// A filter, ready to be installed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program(Vec<Filter>);

impl Program {
    /// The filter for this machine's architecture, and for i386 programs on x86-64. Calls of any other interface (x32
    /// too) are `ENOSYS` and `EPERM`: their numbers would mean something else.
    pub fn denying(denials: &[Denial]) -> Self {
        let architectures: &[(u32, usize)] = if cfg!(target_arch = "x86_64") {
            &[X86_64, I386]
        } else if cfg!(target_arch = "aarch64") {
            &[AARCH64]
        } else {
            &[]
        };
        Self::for_architectures(architectures, denials)
    }

    fn for_architectures(architectures: &[(u32, usize)], denials: &[Denial]) -> Self {
        let mut program = vec![load(ARCHITECTURE)];
        for architecture in architectures {
            let section = section(*architecture, denials);
            let length = u8::try_from(section.len()).expect("a section is short: three instructions a rule");
            program.push(test(JUMP_EQUAL, architecture.0, length));
            program.extend(section);
        }
        program.push(deny(libc::EPERM));
        Self(program)
    }

    /// The instructions.
    pub fn instructions(&self) -> &[Filter] {
        &self.0
    }
}

fn section((audit, column): (u32, usize), denials: &[Denial]) -> Vec<Filter> {
    let mut section = vec![load(NUMBER)];
    if audit == X86_64.0 {
        section.extend([test(JUMP_AT_LEAST, X32, 1), deny(libc::ENOSYS)]);
    }
    for rule in RULES.iter().filter(|rule| denials.contains(&rule.denial)) {
        let Some(number) = rule.numbers[column] else { continue };
        match rule.only_with {
            None => section.extend([test(JUMP_EQUAL, number, 1), deny(rule.errno)]),
            Some(bits) => section.extend([
                test(JUMP_EQUAL, number, 4),
                load(FIRST_ARGUMENT),
                test(JUMP_BIT, bits, 1),
                deny(rule.errno),
                ALLOW,
            ]),
        }
    }
    section.push(ALLOW);
    section
}

/// Installs the filter on the calling thread and on all that it will start, for good.
///
/// Needs `CAP_SYS_ADMIN` (no `no_new_privs` is set, so that set-uid programs go on working): do it before the
/// capabilities are dropped.
#[doc(alias = "seccomp")]
pub fn install(program: &Program) -> Result<()> {
    sys::seccomp_load(&program.0)
}

/// Whether a process has a filter, by its status.
pub fn is_filtered(pid: i32) -> Result<bool> {
    crate::proc::status(pid).map(|status| status.seccomp == 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ERRNO: u32 = 0x0005_0000;

    /// What the filter answers: a tiny classic BPF machine for the five operations in use.
    fn answer(program: &Program, audit: u32, number: u32, first: u64) -> u32 {
        let mut at = 0;
        let mut accumulator = 0;
        loop {
            let Filter { code, jt, jf, k } = program.0[at];
            at += 1;
            let holds = match code {
                LOAD => {
                    accumulator = match k {
                        NUMBER => number,
                        ARCHITECTURE => audit,
                        FIRST_ARGUMENT => (first & 0xffff_ffff) as u32,
                        other => panic!("loads {other}"),
                    };
                    continue;
                }
                RETURN => return k,
                JUMP_EQUAL => accumulator == k,
                JUMP_AT_LEAST => accumulator >= k,
                JUMP_BIT => accumulator & k != 0,
                other => panic!("operation {other:#x}"),
            };
            at += usize::from(if holds { jt } else { jf });
        }
    }

    fn full() -> Program {
        Program::for_architectures(&[X86_64, I386, AARCH64], &Denial::ALL)
    }

    #[test]
    fn every_rule_is_denied_on_every_architecture_that_has_the_call() {
        for (audit, column) in [X86_64, I386, AARCH64] {
            for rule in &RULES {
                let Some(number) = rule.numbers[column] else { continue };
                let expected = ERRNO | rule.errno.cast_unsigned();
                let bits = u64::from(rule.only_with.unwrap_or(0)) | 0x11;
                assert_eq!(answer(&full(), audit, number, bits), expected, "{number} of {audit:#x}");
                if rule.only_with.is_some() {
                    assert_eq!(answer(&full(), audit, number, 17), ALLOW.k, "{number} of {audit:#x}");
                }
            }
        }
    }

    #[test]
    fn numbers_of_another_architecture_are_not_denied() {
        // keyctl of i386 is no keyring call on x86-64, and so on.
        assert_eq!(answer(&full(), X86_64.0, 288, 0), ALLOW.k);
        assert_eq!(answer(&full(), I386.0, 250, 0), ALLOW.k);
        assert_eq!(answer(&full(), AARCH64.0, 56, u64::from(NEWUSER)), ALLOW.k);
    }

    #[test]
    fn foreign_interfaces_are_refused() {
        assert_eq!(answer(&full(), X86_64.0, X32 | 1, 0), ERRNO | libc::ENOSYS.cast_unsigned());
        assert_eq!(answer(&full(), 0xc000_00f3, 1, 0), ERRNO | libc::EPERM.cast_unsigned());
    }

    #[test]
    fn nothing_denied_is_nothing_but_foreign_interfaces() {
        let program = Program::for_architectures(&[X86_64], &[]);
        assert!((0..600).all(|number| answer(&program, X86_64.0, number, u64::MAX) == ALLOW.k));
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn the_numbers_are_those_of_libc() {
        let ours: Vec<_> = RULES.iter().map(|rule| rule.numbers[0].map(i64::from)).collect();
        let theirs = [
            libc::SYS_kexec_load,
            libc::SYS_kexec_file_load,
            libc::SYS_open_by_handle_at,
            libc::SYS_add_key,
            libc::SYS_request_key,
            libc::SYS_keyctl,
            libc::SYS_io_uring_setup,
            libc::SYS_io_uring_enter,
            libc::SYS_io_uring_register,
            libc::SYS_clone3,
            libc::SYS_unshare,
            libc::SYS_clone,
        ];
        assert_eq!(ours, theirs.map(Some));
    }
}
