//! Processes, namespaces, ids and capabilities, each in a child of its own.
#![expect(clippy::unwrap_used, reason = "in a test it is an assertion")]

mod support;

use std::ffi::CString;
use std::fs;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::process::{Command, ExitCode};
use std::time::Duration;

use support::{Case, Need};
use vserver_kernel::ns::{self, IdRange, Namespaces, TimeOffsets};
use vserver_kernel::process::{Pidfd, WaitStatus};
use vserver_kernel::sys::{self, CloneArgs, CloseRange, Forked};
use vserver_kernel::{caps, proc, pty, uts};

const CASES: &[Case] = &[
    ("a child has the namespaces that were asked for", &[Need::Root], cloned_namespaces),
    ("a process enters all namespaces of another at once", &[Need::Root], enter),
    ("a time namespace begins at the uptime that was asked for", &[Need::Root], time),
    ("id maps are written once", &[Need::Root], id_maps),
    ("capabilities are dropped for good", &[Need::Root], capabilities),
    ("ids change for the calling thread and its filesystem access", &[Need::Root], ids),
    ("an exec gets no descriptor and the default signals", &[Need::Root], clean_exec),
    ("a sibling is our parent's child", &[Need::Root], sibling),
    ("the calling process is told when its parent ends", &[Need::Root], parent_death),
    ("a terminal of another devpts instance becomes controlling", &[Need::Root], terminal),
];

fn main() -> ExitCode {
    support::run(CASES)
}

/// Runs `body` in a child with these namespaces and expects it to exit with 0.
fn in_child(namespaces: Namespaces, body: impl FnOnce()) {
    match sys::clone3(&CloneArgs { namespaces, ..CloneArgs::default() }).unwrap() {
        Forked::Child => {
            body();
            sys::exit_now(0)
        }
        Forked::Parent { pidfd, .. } => {
            assert_eq!(Pidfd::from(pidfd).wait(None).unwrap(), Some(WaitStatus::Exited(0)));
        }
    }
}

fn cloned_namespaces() {
    let asked = Namespaces::ALL.without(Namespaces::USER | Namespaces::TIME);
    let outside: Vec<_> =
        asked.iter().map(|kind| ns::identity(ns::open(0, kind).unwrap()).unwrap()).collect();
    in_child(asked, || {
        assert_eq!(std::process::id(), 1);
        for (kind, outer) in asked.iter().zip(&outside) {
            assert_ne!(ns::identity(ns::open(0, kind).unwrap()).unwrap(), *outer, "{kind}");
        }
        uts::set_host_name("inside").unwrap();
        uts::set_domain_name("inside.test").unwrap();
        assert_eq!(uts::host_name(), "inside");
    });
    assert_ne!(uts::host_name(), "inside");
}

fn enter() {
    let kinds = Namespaces::UTS | Namespaces::IPC | Namespaces::NET | Namespaces::PID | Namespaces::MOUNT;
    let (mut ready, mut tell) = std::io::pipe().unwrap();
    let args = CloneArgs { namespaces: kinds, ..CloneArgs::default() };
    let Forked::Parent { pid, pidfd } = sys::clone3(&args).unwrap() else {
        uts::set_host_name("entered").unwrap();
        tell.write_all(b"x").unwrap();
        std::thread::sleep(Duration::from_secs(1000));
        sys::exit_now(1)
    };
    ready.read_exact(&mut [0]).unwrap();
    in_child(Namespaces::NONE, || {
        ns::enter(pidfd.as_fd(), kinds).unwrap();
        assert_eq!(uts::host_name(), "entered");
        // The pid namespace is for children.
        let inside = ns::open(pid, Namespaces::PID).map(|fd| ns::identity(fd).unwrap()).unwrap();
        in_child(Namespaces::NONE, || {
            assert_eq!(ns::identity(ns::open(0, Namespaces::PID).unwrap()).unwrap(), inside);
        });
    });
    let pidfd = Pidfd::from(pidfd);
    assert!(pidfd.signal(libc::SIGKILL).unwrap());
    pidfd.wait(None).unwrap();
    assert!(ns::enter(pidfd.as_fd(), kinds).unwrap_err().is(libc::ESRCH));
}

fn time() {
    ns::unshare(Namespaces::TIME).unwrap();
    ns::set_time_offsets(&TimeOffsets::uptime_now(Duration::from_hours(24))).unwrap();
    in_child(Namespaces::NONE, || {
        let uptime = proc::uptime();
        assert!(uptime >= Duration::from_hours(24) && uptime < Duration::from_hours(25));
    });
    let late = ns::set_time_offsets(&TimeOffsets::default()).unwrap_err();
    assert!(late.is(libc::EACCES));
}

fn id_maps() {
    let (mut go, tell) = std::io::pipe().unwrap();
    let args = CloneArgs { namespaces: Namespaces::USER, ..CloneArgs::default() };
    let Forked::Parent { pid, pidfd } = sys::clone3(&args).unwrap() else {
        drop(tell);
        go.read_to_end(&mut Vec::new()).unwrap();
        sys::set_groups(&[]).unwrap();
        sys::set_resgid(Some(0), Some(0), Some(0)).unwrap();
        sys::set_resuid(Some(0), Some(0), Some(0)).unwrap();
        assert_eq!(
            fs::read_to_string("/proc/self/uid_map").unwrap().split_whitespace().nth(1),
            Some("800000")
        );
        assert!(sys::set_resuid(Some(70_000), None, None).unwrap_err().is(libc::EINVAL));
        sys::exit_now(0)
    };
    let map = [
        IdRange { inside: 0, outside: 800_000, count: 1000 },
        IdRange { inside: 1000, outside: 900_000, count: 1 },
    ];
    ns::write_id_maps(pid, &map, &map).unwrap();
    assert!(ns::write_id_maps(pid, &map, &map).unwrap_err().is(libc::EPERM));
    drop(tell);
    assert_eq!(Pidfd::from(pidfd).wait(None).unwrap(), Some(WaitStatus::Exited(0)));
}

fn capabilities() {
    const CHOWN: u64 = 1;
    const KILL: u64 = 1 << 5;
    in_child(Namespaces::NONE, || {
        caps::drop_bounding(CHOWN | KILL).unwrap();
        caps::clear_ambient().unwrap();
        // A capability that this process never had is left out, not a fault.
        caps::set_all(CHOWN | KILL | 1 << 62).unwrap();
        let own = caps::of_process(std::process::id().try_into().unwrap()).unwrap();
        assert_eq!((own.bounding, own.permitted, own.effective), (CHOWN | KILL, CHOWN | KILL, CHOWN | KILL));
        assert_eq!((own.inheritable, own.ambient), (0, 0));
        assert!(caps::drop_bounding(0).unwrap_err().is(libc::EPERM));
        let ran = Command::new("sh")
            .args(["-c", "grep -q 'CapEff:.*0000000021$' /proc/self/status"])
            .status()
            .unwrap();
        assert!(ran.success(), "an exec keeps no more");
    });
}

fn ids() {
    let dir = tempfile::tempdir().unwrap();
    in_child(Namespaces::NONE, || {
        sys::set_groups(&[4, 20]).unwrap();
        let before = sys::set_fs_uid(1234).unwrap();
        assert_eq!(before, 0);
        caps::raise_effective().unwrap();
        fs::write(dir.path().join("file"), "x").unwrap();
        let owner = std::os::unix::fs::MetadataExt::uid(&fs::metadata(dir.path().join("file")).unwrap());
        assert_eq!(owner, 1234);
        sys::set_fs_uid(0).unwrap();
        sys::set_resgid(Some(7), Some(7), Some(7)).unwrap();
        sys::set_resuid(None, Some(8), None).unwrap();
        assert_eq!(sys::capget().unwrap().effective, 0);
        caps::raise_effective().unwrap();
        assert_ne!(sys::capget().unwrap().effective, 0);
        sys::set_resuid(Some(8), Some(8), Some(8)).unwrap();
        let status = proc::status(std::process::id().try_into().unwrap()).unwrap();
        assert_eq!((status.uids, status.gids, status.groups), ([8; 4], [7; 4], vec![4, 20]));
        assert_eq!(status.capabilities.permitted, 0);
        assert!(sys::set_fs_uid(0).unwrap_err().is(libc::EPERM));
    });
}

fn clean_exec() {
    let leaked = fs::File::open("/").unwrap();
    rustix::io::fcntl_setfd(&leaked, rustix::io::FdFlags::empty()).unwrap();
    let script = format!(
        "test ! -e /proc/self/fd/{} && test \"$GREETING\" = hello && grep -q 'SigIgn:.*0000000000000000' /proc/self/status",
        leaked.as_raw_fd()
    );
    in_child(Namespaces::NONE, || {
        sys::close_range(3, CloseRange::OnExec).unwrap();
        sys::reset_signals().unwrap();
        let argv = ["sh", "-c", &script].map(|word| CString::new(word).unwrap());
        let env = [c"GREETING=hello".to_owned(), c"PATH=/usr/bin:/bin".to_owned()];
        panic!("{}", sys::execveat(rustix::fs::CWD, c"/bin/sh", &argv, &env));
    });
    let nothing = sys::execveat(rustix::fs::CWD, c"/nonexistent", &[c"x".to_owned()], &[]);
    assert_eq!(nothing.to_string(), "execveat(2) /nonexistent");
    assert!(nothing.is(libc::ENOENT));
}

fn sibling() {
    let (mut answer, mut tell) = std::io::pipe().unwrap();
    in_child(Namespaces::NONE, || {
        if let Forked::Parent { pid, .. } =
            sys::clone3(&CloneArgs { sibling: true, ..CloneArgs::default() }).unwrap()
        {
            tell.write_all(&pid.to_ne_bytes()).unwrap();
        } else {
            sys::exit_now(9)
        }
    });
    let mut pid = [0; 4];
    answer.read_exact(&mut pid).unwrap();
    let pidfd = Pidfd::open(i32::from_ne_bytes(pid)).unwrap();
    assert_eq!(pidfd.wait(None).unwrap(), Some(WaitStatus::Exited(9)));
}

fn parent_death() {
    sys::set_child_subreaper(true).unwrap();
    let (mut answer, mut tell) = std::io::pipe().unwrap();
    in_child(Namespaces::NONE, || {
        let Forked::Parent { pid, .. } = sys::fork().unwrap() else {
            sys::set_parent_death_signal(Some(rustix::process::Signal::TERM)).unwrap();
            sys::set_process_name(c"orphan").unwrap();
            tell.write_all(b"x").unwrap();
            std::thread::sleep(Duration::from_secs(1000));
            sys::exit_now(1)
        };
        answer.read_exact(&mut [0]).unwrap();
        assert_eq!(proc::stat(pid).unwrap().comm, "orphan");
    });
    loop {
        match vserver_kernel::process::reap_any() {
            Ok(Some((_, status))) => {
                assert_eq!(status, WaitStatus::Signaled(libc::SIGTERM));
                break;
            }
            Ok(None) => std::thread::yield_now(),
            Err(fault) => panic!("the orphan was not given to us: {fault}"),
        }
    }
}

fn terminal() {
    let devpts =
        vserver_kernel::mount::NewFs::new("devpts").flag("newinstance").option("ptmxmode", "0666").create();
    let devpts = devpts.unwrap();
    let pair = pty::open_in(devpts.as_fd()).unwrap();
    in_child(Namespaces::NONE, || {
        pty::make_controlling(&pair.terminal).unwrap();
        pty::become_stdio(&pair.terminal).unwrap();
        assert!(pty::make_controlling(&pair.terminal).unwrap_err().is(libc::EPERM));
        fs::write("/dev/tty", "hello").unwrap();
    });
    let mut text = [0; 5];
    fs::File::from(pair.master).read_exact(&mut text).unwrap();
    assert_eq!(&text, b"hello");
}
