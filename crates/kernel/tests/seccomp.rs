//! The filter of classic guests, asked by real system calls.
#![expect(clippy::unwrap_used, reason = "in a test it is an assertion")]

mod support;

use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, ExitCode};

use support::{Case, Need};
use vserver_kernel::ns::Namespaces;
use vserver_kernel::seccomp::{self, Denial, Program};
use vserver_kernel::{proc, sys};

const CASES: &[Case] = &[
    ("denied calls answer what they should", &[Need::Root, Need::Perl], denied),
    ("new user namespaces are refused and other ones are not", &[Need::Root], namespaces),
    ("programs for i386 are filtered by their own numbers", &[Need::Root, Need::I386], compat),
];

fn main() -> ExitCode {
    support::run(CASES)
}

fn install(denials: &[Denial]) {
    seccomp::install(&Program::denying(denials)).unwrap();
    assert!(seccomp::is_filtered(std::process::id().try_into().unwrap()).unwrap());
}

/// The errno of a call without sensible arguments, made by perl.
fn errno_of(number: i64) -> i32 {
    let script = format!("$! = 0; syscall({number}, 0, 0, 0, 0, 0); exit($! + 0)");
    Command::new("perl").args(["-e", &script]).status().unwrap().code().unwrap()
}

fn denied() {
    let calls = [
        (libc::SYS_kexec_load, libc::EPERM),
        (libc::SYS_kexec_file_load, libc::EPERM),
        (libc::SYS_open_by_handle_at, libc::EPERM),
        (libc::SYS_add_key, libc::ENOSYS),
        (libc::SYS_request_key, libc::ENOSYS),
        (libc::SYS_keyctl, libc::ENOSYS),
        (libc::SYS_io_uring_setup, libc::ENOSYS),
        (libc::SYS_io_uring_enter, libc::ENOSYS),
        (libc::SYS_io_uring_register, libc::ENOSYS),
        (libc::SYS_clone3, libc::ENOSYS),
    ];
    install(&Denial::ALL);
    for (number, errno) in calls {
        assert_eq!(errno_of(number), errno, "system call {number}");
    }
    assert_eq!(errno_of(libc::SYS_getppid), 0);
    let status = proc::status(std::process::id().try_into().unwrap()).unwrap();
    assert!(!status.no_new_privs, "set-uid programs must go on working");
}

fn namespaces() {
    install(&[Denial::UserNamespaces]);
    sys::unshare(Namespaces::UTS).unwrap();
    assert!(sys::unshare(Namespaces::USER).unwrap_err().is(libc::EPERM));
    assert!(sys::unshare(Namespaces::USER | Namespaces::UTS).unwrap_err().is(libc::EPERM));
    assert!(sys::fork().unwrap_err().is(libc::ENOSYS), "that is clone3");
    assert!(Command::new("true").status().unwrap().success(), "the C library falls back to clone");
}

fn compat() {
    let dir = tempfile::tempdir().unwrap();
    let keyctl = dir.path().join("keyctl");
    std::fs::write(&keyctl, support::i386_program(288)).unwrap();
    std::fs::set_permissions(&keyctl, std::fs::Permissions::from_mode(0o755)).unwrap();
    let errno = || Command::new(&keyctl).status().unwrap().code().unwrap();
    assert_ne!(errno(), libc::ENOSYS, "without a filter the call is there");
    install(&Denial::ALL);
    assert_eq!(errno(), libc::ENOSYS);
}
