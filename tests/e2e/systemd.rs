//! Hosts that systemd runs. These trials use the host itself, so they need a machine that is thrown away.
//!
//! A guest belongs to no unit and no session: whatever systemd does to the one that its start was typed in, the guest and
//! its guard live on, with the limits they have. What a shutdown takes from the host is not missed at the next boot.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};
use vserver_e2e::{Done, Guest, Image, Mode, Need, Program, Spec, slowly};

pub fn specs() -> Vec<Spec> {
    let spec = |name, body: fn(Mode)| Spec::new(name, body).on_the_host(Need::SystemdHost);
    vec![
        spec("systemd_host_reloads", manager_reloads),
        spec("systemd_host_service_ends", service_ends),
        spec("systemd_host_session_ends", session_ends),
        spec("systemd_host_runs_systemd_guest", systemd_guest).image(Image::DebianSystemd),
        spec("systemd_host_leaves_a_guest", leave_a_guest),
        spec("systemd_host_next_boot", next_boot),
    ]
}

/// Trials share the host here: each has a name and a number of its own.
fn guest(name: &str, number: u16, mode: Mode) -> Guest {
    let (name, number) = named(name, number, mode);
    Guest::busybox(&name, mode).xid(number).make()
}

fn named(name: &str, number: u16, mode: Mode) -> (String, u16) {
    match mode {
        Mode::Shifted => (format!("{name}-s"), number),
        Mode::Classic => (format!("{name}-c"), number + 1),
    }
}

fn group(guest: &Guest) -> PathBuf {
    Path::new("/sys/fs/cgroup/vservers").join(&guest.name)
}

/// The guard: the parent of the guest's first process.
fn guard(guest: &Guest) -> String {
    let inside = fs::read_to_string(group(guest).join("guest/cgroup.procs")).expect("the guest runs");
    let parents: Vec<String> = inside
        .lines()
        .filter_map(|pid| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
            let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().to_owned();
            (!inside.lines().any(|other| other == parent)).then_some(parent)
        })
        .collect();
    parents.first().expect("one process of the guest has its parent outside").clone()
}

/// Everything of a running guest that systemd could have changed.
#[derive(Debug, PartialEq, Eq)]
struct Condition {
    guard: String,
    guards_group: String,
    limit: String,
    controllers: String,
    processes: usize,
}

impl Condition {
    fn of(guest: &Guest) -> Self {
        let read = |file: PathBuf| {
            fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
        };
        let guard = guard(guest);
        assert_ne!(guard, "1", "{} has no guard", guest.name);
        Self {
            guards_group: read(Path::new("/proc").join(&guard).join("cgroup")),
            guard,
            limit: read(group(guest).join("pids.max")),
            controllers: read(group(guest).join("cgroup.controllers")),
            processes: read(group(guest).join("guest/cgroup.procs")).lines().count(),
        }
    }
}

/// A started guest with a limit that is not the default.
fn limited(guest: &Guest) -> Condition {
    fs::write(group(guest).join("pids.max"), "345\n").expect("the controller is enabled there");
    let condition = Condition::of(guest);
    assert_eq!(condition.limit, "345\n");
    assert!(
        !condition.guards_group.contains(".service") && !condition.guards_group.contains(".scope"),
        "{condition:?}"
    );
    condition
}

/// It runs as before, answers, and can be stopped.
#[track_caller]
fn unharmed(guest: &Guest, before: &Condition) {
    assert_eq!(&Condition::of(guest), before);
    guest.sh("pidof sleep").ok();
    guest.stop();
    assert!(!group(guest).exists(), "its group is left");
}

fn systemctl(words: &[&str]) -> Done {
    manager("systemctl", words)
}

/// A program that talks to the host's manager: not while that executes itself anew, which ends all talks.
fn manager(program: &str, words: &[&str]) -> Done {
    let path = "/run/lock/e2e-manager";
    let lock = File::options().create(true).append(true).open(path).expect("/run is writable");
    let alone = words.first().is_some_and(|word| word.starts_with("daemon-"));
    if alone { lock.lock() } else { lock.lock_shared() }.expect("locks can be waited for");
    Program::of_host(program).args(words).run()
}

fn wait_until(what: &str, mut happens: impl FnMut() -> bool) {
    let until = Instant::now() + slowly(Duration::from_secs(30));
    while !happens() {
        assert!(Instant::now() < until, "{what}: too late");
        thread::sleep(Duration::from_millis(200));
    }
}

fn manager_reloads(mode: Mode) {
    let guest = guest("reload", 210, mode);
    guest.start();
    let before = limited(&guest);
    for deed in ["daemon-reload", "daemon-reexec", "daemon-reload"] {
        systemctl(&[deed]).ok();
        assert_eq!(Condition::of(&guest), before, "after {deed}");
    }
    // A guest that is started afterwards gets what the first one got.
    unharmed(&guest, &before);
    guest.start();
    limited(&guest);
    guest.stop();
}

/// Started by a unit's command, which is over before the guest is.
fn service_ends(mode: Mode) {
    let guest = guest("service", 220, mode);
    let unit = format!("start-{}", guest.name);
    let start = ["/usr/local/sbin/vserver", guest.name.as_str(), "start"];
    manager(
        "systemd-run",
        &[&["--quiet", "--wait", "--collect", "--unit", unit.as_str()], &start[..]].concat(),
    )
    .ok();
    let before = limited(&guest);
    unharmed(&guest, &before);
    // A unit that stays, and whose end takes everything that is left in its group with it.
    let line = format!("vserver {} start && exec sleep 100000", guest.name);
    manager("systemd-run", &["--quiet", "--collect", "--unit", &unit, "/bin/sh", "-c", &line]).ok();
    wait_until("the guest of a unit", || guest.is_running());
    let before = limited(&guest);
    systemctl(&["stop", &unit]).ok();
    wait_until("the unit's end", || systemctl(&["is-active", "--quiet", &unit]).exit() != 0);
    unharmed(&guest, &before);
}

/// Started in an administrator's session, which is ended with everything in it.
fn session_ends(mode: Mode) {
    let guest = guest("session", 230, mode);
    let unit = format!("login-{}", guest.name);
    let line = format!("vserver {} start; exec sleep 100001", guest.name);
    let login = ["--quiet", "--collect", "--unit", &unit, "-p", "User=root", "-p", "PAMName=login"];
    manager("systemd-run", &[&login[..], &["/bin/sh", "-c", &line]].concat()).ok();
    wait_until("the guest of a session", || guest.is_running());
    let leader = systemctl(&["show", "--property=MainPID", "--value", &unit]).out();
    let session = || {
        let sessions = manager("loginctl", &["list-sessions", "--no-legend"]).out();
        let numbers: Vec<String> =
            sessions.lines().filter_map(|line| Some(line.split_whitespace().next()?.to_owned())).collect();
        numbers.into_iter().find(|number| {
            let shown = manager("loginctl", &["show-session", "--property=Leader", "--value", number]);
            !leader.trim().is_empty() && shown.out().trim() == leader.trim()
        })
    };
    let session = session().expect("logind knows the session");
    let before = limited(&guest);
    manager("loginctl", &["terminate-session", &session]).ok();
    wait_until("the session's end", || !Path::new("/proc").join(leader.trim()).exists());
    unharmed(&guest, &before);
}

/// systemd below systemd: the guest's own manager works in what was handed to it, whatever the host's does.
fn systemd_guest(mode: Mode) {
    let (name, number) = named("inner", 240, mode);
    let guest = Guest::from(Image::DebianSystemd, &name, mode).xid(number).style("plain").make();
    guest.start();
    wait_until("systemd in the guest", || guest.sh("test -S /run/systemd/private").exit() == 0);
    let patience = Duration::from_mins(3);
    let state = guest.program(&["exec", "systemctl", "is-system-running", "--wait"]).patience(patience).run();
    assert_eq!(state.out(), "running\n", "{}", guest.sh("systemctl --failed --no-legend --plain"));
    guest.sh("systemd-run --quiet --unit inner -p TasksMax=77 sleep 1000").ok();
    let group = "/sys/fs/cgroup/system.slice/inner.service";
    for deed in ["daemon-reload", "daemon-reexec"] {
        systemctl(&[deed]).ok();
        guest.sh(&format!("systemctl {deed}")).ok();
        guest
            .sh(&format!("cat {group}/pids.max; systemctl is-active inner"))
            .ok()
            .says_exactly("77\nactive\n");
    }
    guest.stop();
}

/// A guest that is running when the machine is switched off, for [`next_boot`].
fn leave_a_guest(mode: Mode) {
    guest("survivor", 250, mode).start();
}

/// Nothing says that the guest still runs, and it starts as ever.
fn next_boot(mode: Mode) {
    let (name, xid) = named("survivor", 250, mode);
    let guest = Guest { name, xid };
    assert!(guest.tree("/etc/init.d/rc").exists(), "the tree is not there any more");
    guest.vserver(&["status"]).code(3);
    assert!(!guest.is_running());
    assert!(!group(&guest).exists());
    guest.start();
    let before = limited(&guest);
    unharmed(&guest, &before);
    let failed = systemctl(&["--failed", "--no-legend", "--plain"]);
    failed.ok().says_exactly("");
}
