//! A system call filter for guests without a user namespace: the calls through which such a guest could reach the host.
//!
//! Any filter costs about 35 ns on every system call, so there is one only where it is needed. Calls that programs can
//! do without answer `ENOSYS`, as if the kernel were built without them; the others `EPERM`.
//!
//! A second use of the same filter is `hide_netif`: calls that would show the host's network devices are answered by
//! a process of ours ([`crate::notify`]). A thread can have one such listener only, so both stand in one program.

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
    /// `socket` of the families that send and hear whole frames of the host's devices, which `CAP_NET_RAW` would allow:
    /// no program for control groups sees them. On i386 also `socketcall` for `socket` is `ENOSYS`, unless the listener
    /// is asked: its arguments are in memory.
    Frames,
}

impl Denial {
    /// What every classic guest gets.
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

/// Calls of each architecture that can show network devices, in the order of [`Rule::numbers`].
const SOCKET: [u32; 3] = [41, 359, 198];
const IOCTL: [u32; 3] = [16, 54, 29];
/// i386: all socket calls in one, the arguments in memory.
const SOCKETCALL: u32 = 102;
const SYS_SOCKET: u32 = 1;
const AF_INET: u32 = 2;
const AF_INET6: u32 = 10;
const AF_NETLINK: u32 = 16;
/// `AF_PACKET`, `AF_LLC`, `AF_IEEE802154`, `AF_XDP`
const FRAMES: [u32; 4] = [17, 26, 36, 44];
const NETLINK_ROUTE: u32 = 0;
const NETLINK_SOCK_DIAG: u32 = 4;
const NETLINK_GENERIC: u32 = 16;
/// Requests of `<linux/sockios.h>` that show or change devices, addresses and neighbours, from `SIOCGIFNAME` to the
/// last one before those that a protocol or a driver defines; and the two among them that only concern the socket.
const FIRST_DEVICE_REQUEST: u32 = 0x8910;
const BEHIND_DEVICE_REQUESTS: u32 = 0x89d0;
const SIOCOUTQNSD: u32 = 0x894b;
const SIOCGSKNS: u32 = 0x894c;

/// Where things are in `struct seccomp_data`; the low halves of arguments on a little-endian machine, as all of these
/// are `int` for the kernel.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const FIRST_ARGUMENT: u32 = 16;
const SECOND_ARGUMENT: u32 = 24;
const THIRD_ARGUMENT: u32 = 32;

const LOAD: u16 = 0x20;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_AT_LEAST: u16 = 0x35;
const JUMP_BIT: u16 = 0x45;
const RETURN: u16 = 0x06;

const ALLOW: Filter = Filter { code: RETURN, jt: 0, jf: 0, k: 0x7fff_0000 };
/// The listener decides; `ENOSYS` when there is none.
const ASK: Filter = Filter { code: RETURN, jt: 0, jf: 0, k: 0x7fc0_0000 };

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

/// Sockets of which the listener is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// Those that show devices.
    Netlink,
    /// Those for traffic.
    Internet,
}

/// A filter, ready to be installed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program(Vec<Filter>);

impl Program {
    /// The filter for this machine's architecture, and for i386 programs on x86-64. Calls of any other interface (x32
    /// too) are `ENOSYS` and `EPERM`: their numbers would mean something else.
    pub fn denying(denials: &[Denial]) -> Self {
        Self::for_architectures(architectures(), denials, None)
    }

    /// The same, and what shows network devices is asked of the listener: netlink sockets for routes and for generic
    /// families, and the device requests of ioctl(2). Socket listings by netlink are `EPROTONOSUPPORT`, on which `ss`
    /// reads `/proc/net`. `io_uring` is denied as well: no filter sees the sockets that it makes.
    ///
    /// To be installed by [`install_with_listener`].
    pub fn hiding_devices(denials: &[Denial]) -> Self {
        let mut denials = denials.to_vec();
        denials.push(Denial::IoUring);
        Self::for_architectures(architectures(), &denials, Some(Asked::Netlink))
    }

    /// As [`Program::hiding_devices`], for processes in a network namespace that only shows something: the sockets of
    /// which the listener is asked are those for traffic, and netlink is left alone.
    pub fn lending_sockets(denials: &[Denial]) -> Self {
        let mut denials = denials.to_vec();
        denials.push(Denial::IoUring);
        Self::for_architectures(architectures(), &denials, Some(Asked::Internet))
    }

    fn for_architectures(architectures: &[(u32, usize)], denials: &[Denial], asked: Option<Asked>) -> Self {
        let mut program = vec![load(ARCHITECTURE)];
        for architecture in architectures {
            let section = section(*architecture, denials, asked);
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

/// Those of programs that this machine runs.
fn architectures() -> &'static [(u32, usize)] {
    if cfg!(target_arch = "x86_64") {
        &[X86_64, I386]
    } else if cfg!(target_arch = "aarch64") {
        &[AARCH64]
    } else {
        &[]
    }
}

/// What asks the listener; the call's number is loaded before and, where no rule matches, afterwards.
fn questions(audit: u32, column: usize, asked: Asked) -> Vec<Filter> {
    let mut questions = vec![
        test(JUMP_EQUAL, IOCTL[column], 7),
        load(SECOND_ARGUMENT),
        test(JUMP_AT_LEAST, FIRST_DEVICE_REQUEST, 4),
        Filter { code: JUMP_AT_LEAST, jt: 3, jf: 0, k: BEHIND_DEVICE_REQUESTS },
        Filter { code: JUMP_EQUAL, jt: 2, jf: 0, k: SIOCOUTQNSD },
        Filter { code: JUMP_EQUAL, jt: 1, jf: 0, k: SIOCGSKNS },
        ASK,
        ALLOW,
    ];
    questions.extend(match asked {
        Asked::Netlink => vec![
            test(JUMP_EQUAL, SOCKET[column], 9),
            load(FIRST_ARGUMENT),
            test(JUMP_EQUAL, AF_NETLINK, 6),
            load(THIRD_ARGUMENT),
            Filter { code: JUMP_EQUAL, jt: 2, jf: 0, k: NETLINK_ROUTE },
            Filter { code: JUMP_EQUAL, jt: 1, jf: 0, k: NETLINK_GENERIC },
            Filter { code: JUMP_EQUAL, jt: 1, jf: 2, k: NETLINK_SOCK_DIAG },
            ASK,
            deny(libc::EPROTONOSUPPORT),
            ALLOW,
        ],
        Asked::Internet => vec![
            test(JUMP_EQUAL, SOCKET[column], 5),
            load(FIRST_ARGUMENT),
            Filter { code: JUMP_EQUAL, jt: 1, jf: 0, k: AF_INET },
            test(JUMP_EQUAL, AF_INET6, 1),
            ASK,
            ALLOW,
        ],
    });
    if audit == I386.0 {
        questions.extend([
            test(JUMP_EQUAL, SOCKETCALL, 4),
            load(FIRST_ARGUMENT),
            test(JUMP_EQUAL, SYS_SOCKET, 1),
            ASK,
            ALLOW,
        ]);
    }
    questions
}

/// What refuses sockets for frames; the call's number is loaded before and afterwards. `asked`: somebody else sees what
/// stands in memory.
fn frames(audit: u32, column: usize, asked: bool) -> Vec<Filter> {
    let mut frames = vec![test(JUMP_EQUAL, SOCKET[column], 9), load(FIRST_ARGUMENT)];
    frames.extend(FRAMES.iter().flat_map(|family| [test(JUMP_EQUAL, *family, 1), deny(libc::EPERM)]));
    if audit == I386.0 && !asked {
        frames.push(load(NUMBER));
        frames.extend([
            test(JUMP_EQUAL, SOCKETCALL, 3),
            load(FIRST_ARGUMENT),
            test(JUMP_EQUAL, SYS_SOCKET, 1),
            deny(libc::ENOSYS),
        ]);
    }
    frames.push(load(NUMBER));
    frames
}

fn section((audit, column): (u32, usize), denials: &[Denial], asked: Option<Asked>) -> Vec<Filter> {
    let mut section = vec![load(NUMBER)];
    if audit == X86_64.0 {
        section.extend([test(JUMP_AT_LEAST, X32, 1), deny(libc::ENOSYS)]);
    }
    if denials.contains(&Denial::Frames) {
        section.extend(frames(audit, column, asked.is_some()));
    }
    if let Some(asked) = asked {
        section.extend(questions(audit, column, asked));
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

/// The same with a listener, on which the calls that the program leaves to others are answered: [`crate::notify`].
///
/// Once a call is being answered only a fatal signal interrupts it, where the kernel knows that (Linux 5.19): without,
/// a program that is signalled often might never get its answer. `EBUSY`: this thread has a listener already.
#[doc(alias = "SECCOMP_FILTER_FLAG_NEW_LISTENER")]
pub fn install_with_listener(program: &Program) -> Result<crate::notify::Listener> {
    sys::seccomp_load_with_listener(&program.0).map(crate::notify::Listener::from)
}

/// Whether this kernel lets a process answer the system calls of others (`SECCOMP_RET_USER_NOTIF`, Linux 5.0).
pub fn can_be_answered() -> bool {
    std::fs::read_to_string("/proc/sys/kernel/seccomp/actions_avail")
        .is_ok_and(|actions| actions.split_whitespace().any(|action| action == "user_notif"))
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
        answer_to(program, audit, number, [first, 0, 0])
    }

    fn answer_to(program: &Program, audit: u32, number: u32, arguments: [u64; 3]) -> u32 {
        let low = |at: usize| (arguments[at] & 0xffff_ffff) as u32;
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
                        FIRST_ARGUMENT => low(0),
                        SECOND_ARGUMENT => low(1),
                        THIRD_ARGUMENT => low(2),
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
        Program::for_architectures(&[X86_64, I386, AARCH64], &Denial::ALL, None)
    }

    fn hiding() -> Program {
        Program::for_architectures(&[X86_64, I386, AARCH64], &Denial::ALL, Some(Asked::Netlink))
    }

    #[test]
    fn what_shows_devices_is_asked_and_nothing_else() {
        for (audit, column) in [X86_64, I386, AARCH64] {
            let ask = |number: u32, arguments| answer_to(&hiding(), audit, number, arguments);
            let ioctl = |request: u64| ask(IOCTL[column], [3, request, 0]);
            for request in [0x8910, 0x8912, 0x8915, 0x8933, 0x8946, 0x894a, 0x894d, 0x8954, 0x8970, 0x89cf] {
                assert_eq!(ioctl(request), ASK.k, "{request:#x}");
                assert_eq!(ioctl(request | 1 << 40), ASK.k, "the kernel looks at 32 bits");
            }
            for request in [0x5401, 0x541b, 0x8905, 0x890f, 0x894b, 0x894c, 0x89d0, 0x89f0, 0xc000_8912] {
                assert_eq!(ioctl(request), ALLOW.k, "{request:#x}");
            }
            let socket = |family: u64, protocol: u64| ask(SOCKET[column], [family, 3, protocol]);
            assert_eq!((socket(16, 0), socket(16, 16)), (ASK.k, ASK.k));
            assert_eq!(socket(16 | 1 << 32, 1 << 32), ASK.k, "the kernel looks at 32 bits");
            assert_eq!(socket(16, 4), ERRNO | libc::EPROTONOSUPPORT.cast_unsigned());
            for (family, protocol) in [(16, 9), (16, 15), (2, 0), (10, 6), (1, 0)] {
                assert_eq!(socket(family, protocol), ALLOW.k, "{family} {protocol}");
            }
        }
        assert_eq!(answer(&hiding(), I386.0, SOCKETCALL, 1), ASK.k);
        assert_eq!(answer(&hiding(), I386.0, SOCKETCALL, 2), ALLOW.k);
        assert_eq!(answer(&hiding(), X86_64.0, SOCKETCALL, 1), ALLOW.k, "getuid");
    }

    #[test]
    fn in_a_shadow_sockets_for_traffic_are_asked() {
        let all = [X86_64, I386, AARCH64];
        let program = Program::for_architectures(&all, &[], Some(Asked::Internet));
        for (audit, column) in all {
            let ask = |number: u32, arguments| answer_to(&program, audit, number, arguments);
            for (family, wanted) in [(2, ASK), (10, ASK), (1, ALLOW), (16, ALLOW), (17, ALLOW)] {
                assert_eq!(ask(SOCKET[column], [family | 1 << 32, 1, 0]), wanted.k, "{family}");
            }
            assert_eq!(ask(IOCTL[column], [3, 0x8912, 0]), ASK.k);
        }
        assert_eq!(answer(&program, I386.0, SOCKETCALL, 1), ASK.k);
    }

    #[test]
    fn sockets_for_frames_are_denied_and_no_others() {
        let all = [X86_64, I386, AARCH64];
        for asked in [None, Some(Asked::Netlink)] {
            let program = Program::for_architectures(&all, &[Denial::Frames], asked);
            for (audit, column) in all {
                let socket = |family: u64| answer_to(&program, audit, SOCKET[column], [family, 3, 0x300]);
                for family in FRAMES {
                    assert_eq!(socket(family.into()), deny(libc::EPERM).k, "{family}");
                    assert_eq!(socket(u64::from(family) | 1 << 32), deny(libc::EPERM).k, "32 bits count");
                }
                for family in [1, 2, 10, 16, 38, 40] {
                    assert_eq!(socket(family), ALLOW.k, "{family}");
                }
                assert_eq!(answer(&program, audit, 1, 17), ALLOW.k);
            }
            let in_memory = if asked.is_some() { ASK.k } else { deny(libc::ENOSYS).k };
            assert_eq!(answer(&program, I386.0, SOCKETCALL, 1), in_memory);
            assert_eq!(answer(&program, I386.0, SOCKETCALL, 2), ALLOW.k);
        }
    }

    #[test]
    fn hiding_denies_what_is_denied_without() {
        for number in (0..600).filter(|number| ![16, 41].contains(number)) {
            let bits = u64::from(NEWUSER);
            assert_eq!(answer(&hiding(), X86_64.0, number, bits), answer(&full(), X86_64.0, number, bits));
        }
        let only = Program::hiding_devices(&[]);
        assert_eq!(answer(&only, X86_64.0, 425, 0), ERRNO | libc::ENOSYS.cast_unsigned(), "io_uring");
        assert_eq!(answer(&only, X86_64.0, 248, 0), ALLOW.k, "keyrings");
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
        let program = Program::for_architectures(&[X86_64], &[], None);
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
