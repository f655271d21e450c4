//! Control groups on this machine's own hierarchies, whatever they are.
#![expect(clippy::unwrap_used, reason = "in a test it is an assertion")]

mod support;

use std::os::fd::AsFd as _;
use std::process::{Child, Command, ExitCode};
use std::time::Duration;

use support::{Case, Need};
use vserver_kernel::cgroup::{Group, Hierarchies};
use vserver_kernel::mount;
use vserver_kernel::ns::Namespaces;
use vserver_kernel::process::{Pidfd, WaitStatus};
use vserver_kernel::sys::{self, CloneArgs, Forked};

const CASES: &[Case] = &[
    ("a group is made everywhere, holds processes and goes", &[Need::Root], made_and_removed),
    ("the number 0 attaches the caller", &[Need::Root], attach_self),
    ("frozen processes stand still and are killed all the same", &[Need::Root], freeze_and_kill),
    ("a kill reaches groups below and version 1 freezers", &[Need::Root, Need::CgroupV1], kill_below),
    ("a child is cloned into its group", &[Need::Root, Need::CgroupV2], clone_into),
    ("where no cgroup2 is mounted a hidden one does the same", &[Need::Root, Need::CgroupV2], hidden),
    ("a failed create leaves nothing", &[Need::Root], failed_create),
    ("delegation gives the user what it needs and no limit", &[Need::Root], delegation),
    ("a process is found by its group", &[Need::Root], group_of_a_process),
];

fn main() -> ExitCode {
    support::run(CASES)
}

/// A group of this test's own, removed with all its processes at the end.
struct Own(Group);

impl Own {
    fn new() -> Self {
        let group = Hierarchies::discover().unwrap().group(support::group_name());
        group.create().unwrap();
        Self(group)
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        if self.0.exists() {
            self.0.kill().unwrap();
            assert!(self.0.wait_empty(Duration::from_secs(10)).unwrap());
            self.0.remove().unwrap();
        }
        assert!(!self.0.exists());
    }
}

fn sleeper() -> (Child, i32) {
    let child = Command::new("sleep").arg("1000").spawn().unwrap();
    let pid = child.id().try_into().unwrap();
    (child, pid)
}

fn made_and_removed() {
    let own = Own::new();
    let guest = own.0.child("guest");
    guest.create().unwrap();
    guest.create().unwrap(); // again: no fault
    for hierarchy in guest.hierarchies().iter() {
        if let Some(path) = guest.path_in(hierarchy) {
            assert!(path.join("cgroup.procs").exists(), "{}", path.display());
        }
    }
    let (mut child, pid) = sleeper();
    assert!(!own.0.populated().unwrap());
    guest.attach(pid).unwrap();
    assert_eq!(own.0.processes().unwrap(), [pid]);
    assert!(own.0.populated().unwrap());
    assert!(own.0.remove().unwrap_err().is(libc::EBUSY));
    assert!(!own.0.wait_empty(Duration::ZERO).unwrap());
    own.0.kill().unwrap();
    child.wait().unwrap();
    assert!(own.0.wait_empty(Duration::from_secs(10)).unwrap());
    own.0.remove().unwrap();
    own.0.remove().unwrap(); // again: no fault
    assert!(!own.0.exists());
}

fn attach_self() {
    let own = Own::new();
    let Forked::Parent { pid, pidfd } = sys::fork().unwrap() else {
        own.0.attach(0).unwrap();
        std::thread::sleep(Duration::from_secs(1000));
        sys::exit_now(1)
    };
    while own.0.processes().unwrap() != [pid] {
        std::thread::yield_now();
    }
    own.0.kill().unwrap();
    assert_eq!(Pidfd::from(pidfd).wait(None).unwrap(), Some(WaitStatus::Signaled(libc::SIGKILL)));
}

fn freeze_and_kill() {
    let own = Own::new();
    let (mut child, pid) = sleeper();
    own.0.attach(pid).unwrap();
    own.0.freeze().unwrap();
    assert!(own.0.is_frozen().unwrap());
    own.0.thaw().unwrap();
    assert!(!own.0.is_frozen().unwrap());
    own.0.freeze().unwrap();
    own.0.kill().unwrap();
    child.wait().unwrap();
    assert!(own.0.wait_empty(Duration::from_secs(10)).unwrap());
}

fn kill_below() {
    let own = Own::new();
    let deep = own.0.child("a").child("b");
    deep.create().unwrap();
    let (mut child, pid) = sleeper();
    deep.attach(pid).unwrap();
    if own.0.hierarchies().with_controller("freezer").is_some() {
        own.0.write("freezer.state", "FROZEN").unwrap();
    }
    own.0.kill().unwrap();
    child.wait().unwrap();
    assert!(own.0.wait_empty(Duration::from_secs(10)).unwrap());
    own.0.remove().unwrap();
}

fn clone_into() {
    let own = Own::new();
    let dir = own.0.v2_dir_fd().unwrap().unwrap();
    let doors = own.0.doors().unwrap();
    let (mut told, tell) = std::io::pipe().unwrap();
    let args = CloneArgs { into_cgroup: Some(dir.as_fd()), namespaces: Namespaces::PID, sibling: false };
    let Forked::Parent { pid, pidfd } = sys::clone3(&args).unwrap() else {
        assert_eq!(std::process::id(), 1);
        // Whoever holds the doors needs no right to open them.
        vserver_kernel::caps::set_all(0).unwrap();
        doors.pass().unwrap();
        drop(tell);
        std::thread::sleep(Duration::from_secs(1000));
        sys::exit_now(1)
    };
    assert_eq!(own.0.processes().unwrap(), [pid]);
    drop(tell);
    std::io::Read::read(&mut told, &mut [0]).unwrap();
    let inside = vserver_kernel::proc::cgroups(pid).unwrap();
    assert!(inside.iter().all(|membership| membership.path.ends_with(own.0.name())), "{inside:?}");
    own.0.kill().unwrap();
    assert_eq!(Pidfd::from(pidfd).wait(None).unwrap(), Some(WaitStatus::Signaled(libc::SIGKILL)));
}

fn hidden() {
    for entry in mount::table().unwrap().into_iter().rev().filter(|entry| entry.fstype == "cgroup2") {
        mount::unmount_lazily(entry.mount_point).unwrap();
    }
    assert!(Hierarchies::discover().unwrap().v2().unwrap().mount_point().is_none());
    clone_into();
    made_and_removed();
    freeze_and_kill();
}

fn failed_create() {
    let own = Own::new();
    // The kernel refuses a line end in a name, since /proc/PID/cgroup could not be read then.
    assert!(own.0.child("half").child("a\nb").create().unwrap_err().is(libc::EINVAL));
    assert!(!own.0.child("half").exists());
}

fn delegation() {
    use std::os::unix::fs::MetadataExt as _;
    let own = Own::new();
    own.0.chown_delegated(70_000, 70_001).unwrap();
    for hierarchy in own.0.hierarchies().iter() {
        let Some(path) = own.0.path_in(hierarchy) else { continue };
        let ours = !hierarchy.is_v2() && !hierarchy.controllers().iter().any(|name| name == "name=systemd");
        let wanted = if ours { (0, 0) } else { (70_000, 70_001) };
        for file in ["", "cgroup.procs"] {
            let found = std::fs::metadata(path.join(file)).unwrap();
            assert_eq!((found.uid(), found.gid()), wanted, "{}", path.join(file).display());
        }
    }
}

fn group_of_a_process() {
    let own = Own::new();
    let (mut child, pid) = sleeper();
    own.0.attach(pid).unwrap();
    let memberships = vserver_kernel::proc::cgroups(pid).unwrap();
    assert_eq!(own.0.hierarchies().group_of(&memberships).as_deref(), Some(own.0.name()));
    own.0.kill().unwrap();
    child.wait().unwrap();
}
