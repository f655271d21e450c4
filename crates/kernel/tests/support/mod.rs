//! What the kernel tests share: each body runs in a process of its own with a single thread and its own mount
//! and pid namespaces, and a need that this machine lacks ends as *ignored*, with the reason.

use std::os::fd::AsFd as _;
use std::process::{Command, ExitCode};

use libtest_mimic::{Arguments, Completion, Failed, Trial};
use vserver_kernel::cgroup::Hierarchies;
use vserver_kernel::mount::{self, NewFs, Recursion};
use vserver_kernel::ns::{self, Namespaces};
use vserver_kernel::process::{Pidfd, WaitStatus};
use vserver_kernel::sys::{self, Forked};

/// Something that a test cannot do without, asked of the kernel itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(dead_code, reason = "each test file needs some of them")]
pub enum Need {
    /// To be root with `CAP_SYS_ADMIN`.
    Root,
    /// A cgroup2 hierarchy, visible or not.
    CgroupV2,
    /// A version 1 hierarchy.
    CgroupV1,
    /// Device programs can be loaded.
    DeviceProgram,
    /// perl, whose `syscall` makes calls by number.
    Perl,
    /// The kernel runs i386 programs.
    I386,
}

impl Need {
    /// What is missing, in words.
    fn missing(self) -> Option<&'static str> {
        let is_there = match self {
            Self::Root => vserver_kernel::caps::of_process(std::process::id().try_into().unwrap())
                .is_ok_and(|caps| caps.effective & (1 << 21) != 0),
            Self::CgroupV2 => Hierarchies::discover().is_ok_and(|all| all.v2().is_some()),
            Self::CgroupV1 => Hierarchies::discover().is_ok_and(|all| all.iter().any(|one| !one.is_v2())),
            Self::DeviceProgram => vserver_kernel::bpf::Program::from_rules(&[]).load().is_ok(),
            Self::Perl => {
                Command::new("perl").args(["-e", "1"]).status().is_ok_and(|status| status.success())
            }
            Self::I386 => runs_i386(),
        };
        let words = match self {
            Self::Root => "root with CAP_SYS_ADMIN",
            Self::CgroupV2 => "cgroup2",
            Self::CgroupV1 => "a cgroup version 1 hierarchy",
            Self::DeviceProgram => "BPF device programs",
            Self::Perl => "perl",
            Self::I386 => "a kernel that runs i386 programs",
        };
        (!is_there).then_some(words)
    }
}

/// A test: its name, what it needs, what it does.
pub type Case = (&'static str, &'static [Need], fn());

const BODY: &str = "VSERVER_KERNEL_TEST";

/// Runs the cases; with the variable set, just the body of one, in this process.
///
/// `E2E_REQUIRE` lists needs (or `all`) whose lack is a failure, for a machine that is known to have them.
pub fn run(cases: &'static [Case]) -> ExitCode {
    if let Ok(name) = std::env::var(BODY) {
        let (_, _, body) = cases.iter().find(|(known, ..)| *known == name).expect("a case of this name");
        // In a pid namespace of its own: whatever the body starts ends with it, also when it fails.
        let die_too = || sys::set_parent_death_signal(Some(rustix::process::Signal::KILL)).unwrap();
        die_too();
        ns::unshare(Namespaces::MOUNT | Namespaces::PID).unwrap();
        mount::make_slave("/", Recursion::All).unwrap();
        if let Forked::Parent { pidfd, .. } = sys::fork().unwrap() {
            let ended = Pidfd::from(pidfd).wait(None).unwrap();
            return if ended == Some(WaitStatus::Exited(0)) { ExitCode::SUCCESS } else { ExitCode::FAILURE };
        }
        die_too();
        let proc = mount::open_directory("/proc").unwrap();
        NewFs::new("proc").create().unwrap().attach_at(proc.as_fd()).unwrap();
        body();
        return ExitCode::SUCCESS;
    }
    let trials =
        cases.iter().map(|(name, needs, _)| Trial::ignorable_test(*name, || trial(name, needs))).collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn trial(name: &str, needs: &[Need]) -> Result<Completion, Failed> {
    let required = std::env::var("E2E_REQUIRE").unwrap_or_default();
    for need in needs {
        if let Some(what) = need.missing() {
            let listed = required
                .split(',')
                .any(|word| word == "all" || word.eq_ignore_ascii_case(&format!("{need:?}")));
            if listed {
                return Err(format!("this machine lacks {what}").into());
            }
            return Ok(Completion::ignored_with(format!("needs {what}")));
        }
    }
    let output = Command::new(std::env::current_exe()?).env(BODY, name).output()?;
    if output.status.success() {
        return Ok(Completion::Completed);
    }
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    Err(format!("{}\n{out}{err}", output.status).into())
}

/// A name for a group of this test's own: every test is process 1, but has its own pid namespace.
#[allow(dead_code, reason = "each test file needs some of these")]
pub fn group_name() -> String {
    let (_, number) = ns::identity(ns::open(0, Namespaces::PID).unwrap()).unwrap();
    format!("vserver-test-{number}")
}

fn runs_i386() -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("getpid");
    std::fs::write(&program, i386_program(20)).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    Command::new(&program).status().is_ok()
}

/// A static i386 program that makes one system call without arguments and exits with its errno (or what is left of its
/// answer, negated).
#[allow(dead_code, reason = "each test file needs some of these")]
pub fn i386_program(number: u32) -> Vec<u8> {
    const BASE: u32 = 0x0804_8000;
    const HEADERS: u32 = 52 + 32;
    // mov $number,%eax; xor of ebx ecx edx esi edi; int $0x80; neg %eax; mov %eax,%ebx; mov $1,%eax; int $0x80
    let mut code = vec![0xb8];
    code.extend(number.to_le_bytes());
    code.extend([0x31, 0xdb, 0x31, 0xc9, 0x31, 0xd2, 0x31, 0xf6, 0x31, 0xff, 0xcd, 0x80]);
    code.extend([0xf7, 0xd8, 0x89, 0xc3, 0xb8, 1, 0, 0, 0, 0xcd, 0x80]);
    let length = HEADERS + u32::try_from(code.len()).unwrap();
    let mut file = vec![0x7f, b'E', b'L', b'F', 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let halves =
        |file: &mut Vec<u8>, values: &[u16]| file.extend(values.iter().flat_map(|v| v.to_le_bytes()));
    let words = |file: &mut Vec<u8>, values: &[u32]| file.extend(values.iter().flat_map(|v| v.to_le_bytes()));
    halves(&mut file, &[2, 3]); // executable, i386
    words(&mut file, &[1, BASE + HEADERS, 52, 0, 0]); // version, entry, program headers, sections, flags
    halves(&mut file, &[52, 32, 1, 0, 0, 0]);
    words(&mut file, &[1, 0, BASE, BASE, length, length, 5, 0x1000]); // one segment, read and execute
    file.extend(code);
    file
}
