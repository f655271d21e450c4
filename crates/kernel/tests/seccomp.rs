//! The filter of classic guests, asked by real system calls.
#![expect(clippy::unwrap_used, reason = "in a test it is an assertion")]

mod support;

use std::os::fd::AsFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, ExitCode};

use rustix::net::{AddressFamily, SocketType, netlink};
use support::{Case, Need};
use vserver_kernel::notify::{Answer, Listener};
use vserver_kernel::ns::Namespaces;
use vserver_kernel::seccomp::{self, Denial, Program};
use vserver_kernel::{message, proc, sys};

const CASES: &[Case] = &[
    ("denied calls answer what they should", &[Need::Root, Need::Perl], denied),
    ("new user namespaces are refused and other ones are not", &[Need::Root], namespaces),
    ("programs for i386 are filtered by their own numbers", &[Need::Root, Need::I386], compat),
    ("calls that show devices are answered, and others are not asked", &[Need::Root], answered),
    ("a call whose caller was killed is nobody's any more", &[Need::Root], gone),
    ("without a listener nothing is shown", &[Need::Root], unanswered),
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

/// A child with the filter that does `act` and exits with what it says; and where its calls arrive.
fn hidden_child(act: fn() -> i32) -> (vserver_kernel::process::Pidfd, i32, Listener) {
    let (ours, theirs) = message::pair().unwrap();
    match sys::fork().unwrap() {
        sys::Forked::Child => {
            drop(ours);
            let listener = seccomp::install_with_listener(&Program::hiding_devices(&[])).unwrap();
            assert!(
                seccomp::install_with_listener(&Program::hiding_devices(&[])).unwrap_err().is(libc::EBUSY)
            );
            message::send(&theirs, b"l", &[listener.as_fd()]).unwrap();
            drop(listener);
            sys::exit_now(act());
        }
        sys::Forked::Parent { pid, pidfd } => {
            drop(theirs);
            let listener = message::receive(&ours, &mut [0]).unwrap().descriptors.pop().unwrap();
            (pidfd.into(), pid, Listener::from(listener))
        }
    }
}

/// What socket(2) of a route socket answers: 0, or the errno.
fn route_socket() -> i32 {
    let socket = rustix::net::socket(AddressFamily::NETLINK, SocketType::RAW, None);
    socket.err().map_or(0, rustix::io::Errno::raw_os_error)
}

fn answered() {
    let (child, pid, listener) = hidden_child(|| {
        // Not asked: these are done at once, or the first call below would be another one.
        drop(std::net::UdpSocket::bind("127.0.0.1:0"));
        drop(rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None));
        let diag = rustix::net::socket(AddressFamily::NETLINK, SocketType::RAW, Some(netlink::SOCK_DIAG));
        let diag = diag.err().map_or(0, rustix::io::Errno::raw_os_error);
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let name = rustix::net::netdevice::index_to_name(&socket, 77);
        let given = rustix::net::socket(AddressFamily::NETLINK, SocketType::RAW, None).unwrap();
        let is_pipe = rustix::fs::fstat(&given).unwrap().st_mode & libc::S_IFMT == libc::S_IFIFO;
        let well = diag == libc::EPROTONOSUPPORT && name.is_ok_and(|name| name == "seen0") && is_pipe;
        i32::from(!well)
    });
    let proc = vserver_kernel::mount::open_directory("/proc").unwrap();
    let call = listener.receive().unwrap().unwrap();
    let (_, number, arguments) = call.parts();
    assert_eq!((i64::from(number), arguments[1]), (libc::SYS_ioctl, 0x8910), "SIOCGIFNAME");
    assert_eq!(call.thread(), pid.cast_unsigned());
    let memory = call.memory(&proc).unwrap();
    let mut about = [0; 32];
    memory.read(arguments[2], &mut about).unwrap();
    assert_eq!(about[16], 77, "the caller's question, as it stands in its memory");
    memory.write(arguments[2], b"seen0\0").unwrap();
    assert!(memory.read(8, &mut about).unwrap_err().is(libc::EFAULT));
    call.answer(Answer::Value(0)).unwrap();
    // Whatever is given is what the caller gets: here one end of a pipe.
    let call = listener.receive().unwrap().unwrap();
    assert_eq!(i64::from(call.parts().1), libc::SYS_socket);
    let (end, _other) = std::io::pipe().unwrap();
    call.give(&end, true).unwrap();
    let status = child.wait(Some(std::time::Duration::from_secs(30))).unwrap();
    assert_eq!(status, Some(vserver_kernel::process::WaitStatus::Exited(0)));
}

fn gone() {
    let (child, _, listener) = hidden_child(route_socket);
    let proc = vserver_kernel::mount::open_directory("/proc").unwrap();
    let call = listener.receive().unwrap().unwrap();
    assert!(call.is_waiting());
    child.signal(libc::SIGKILL).unwrap();
    child.wait(None).unwrap();
    assert!(!call.is_waiting());
    assert!(call.memory(&proc).is_err(), "its number may be another process's by now");
    call.answer(Answer::Value(3)).unwrap();
}

fn unanswered() {
    let (child, _, listener) = hidden_child(route_socket);
    drop(listener);
    let status = child.wait(Some(std::time::Duration::from_secs(30))).unwrap();
    assert_eq!(status, Some(vserver_kernel::process::WaitStatus::Exited(libc::ENOSYS)));
}
