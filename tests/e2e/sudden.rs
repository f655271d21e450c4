//! Sudden death at every system call: the tool, the guard, the first process before and after it has become the stub
//! init, and the helpers of an entry are killed, or one of their calls fails, while a guest is started, entered,
//! stopped, rebooted, adopted and built.
//!
//! After each point: a guest that ran is unharmed, the next command repairs the rest, and nothing is left. A sample by
//! default, with its seed printed; `E2E_POINTS=all` takes every point, see `harness/assassin.rs`. Which errno a call fails
//! with goes round, from another beginning with each seed.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};
use vserver_e2e::assassin::{self, Followed, Point, Random, Struck, sample};
use vserver_e2e::command::{host, vserver};
use vserver_e2e::{Guest, Inventory, Mode, Need, Spec, slowly};

pub fn specs() -> Vec<Spec> {
    let patience = if assassin::is_long() { Duration::from_hours(4) } else { Duration::from_mins(3) };
    let story = |name, body| Spec::new(name, body).needs(&[Need::Tracing]).patience(patience);
    vec![
        story("sudden_death_in_start", in_start),
        story("sudden_death_in_stop", in_stop),
        story("sudden_death_in_exec", in_exec),
        story("sudden_death_in_reboot", in_reboot),
        story("sudden_death_in_adoption", in_adoption),
        // The mode plays no part in a build.
        story("sudden_death_in_build", in_build).only(&[Mode::Shifted]),
    ]
}

/// What is done to a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deed {
    Kill,
    Fail(&'static str, i32),
}

const ERRORS: [Deed; 4] =
    [Deed::Fail("EIO", 5), Deed::Fail("ENOMEM", 12), Deed::Fail("ENOSPC", 28), Deed::Fail("EMFILE", 24)];

/// Numbers of x86-64 of calls that cannot fail, or whose failure is the language's own affair: close, mprotect, munmap,
/// brk, `rt_sig…`, `sched_yield`, nanosleep, getpid, exit, uname, umask, getuid and its like, getppid, getpgrp, gettid,
/// futex, `restart_syscall`, `clock_gettime`, `clock_nanosleep`, `exit_group`, getrandom.
const NOT_FAILED: [u64; 26] = [
    3, 10, 11, 12, 13, 14, 15, 24, 35, 39, 60, 63, 95, 102, 104, 107, 108, 110, 111, 186, 202, 219, 228, 230,
    231, 318,
];

/// Points with what is done to them: `kills` deaths and `failures` failing calls, or all.
fn deeds(points: &[Point], kills: usize, failures: usize) -> Vec<(Point, Deed)> {
    let mut random = Random::new();
    let mut chosen: Vec<(Point, Deed)> =
        sample(points, kills, &mut random).into_iter().map(|point| (point, Deed::Kill)).collect();
    let killed = chosen.len();
    let can_fail: Vec<Point> =
        points.iter().filter(|point| !NOT_FAILED.contains(&point.call)).cloned().collect();
    let first_error = random.below(ERRORS.len());
    for (turn, point) in sample(&can_fail, failures, &mut random).into_iter().enumerate() {
        chosen.push((point, ERRORS[(first_error + turn) % ERRORS.len()]));
    }
    let processes: std::collections::BTreeSet<&str> = points.iter().map(|point| point.who.as_str()).collect();
    let of = |who: &&str| format!("{who} {}", points.iter().filter(|point| point.who == **who).count());
    eprintln!(
        "== {} system calls ({}); {killed} deaths, {} failures",
        points.len(),
        processes.iter().map(of).collect::<Vec<_>>().join(", "),
        chosen.len() - killed
    );
    chosen
}

fn strike(followed: Followed<'_>, point: &Point, deed: Deed, words: &[&str]) -> Struck {
    eprintln!("-- {deed:?} at {point}");
    let struck = match deed {
        Deed::Kill => assassin::kill(followed, point, words),
        Deed::Fail(_, errno) => assassin::fail(followed, point, errno, words),
    };
    let (exit, said) = (struck.done.exit(), struck.done.err());
    assert_ne!(exit, 101, "a panic\n{}", struck.done);
    // The language's own way to end when there is no memory at all.
    let out_of_memory = exit == 134 && said.contains("memory allocation");
    if let Deed::Fail(..) = deed
        && struck.hit
    {
        assert!(exit < 128 || out_of_memory || exit == 255, "{}", struck.done);
        assert!(exit == 0 || !said.trim().is_empty(), "failed without a word\n{}", struck.done);
    }
    struck
}

/// A guest that has run once, so that what only the first start does is not what is looked at.
fn seasoned(mode: Mode) -> Guest {
    let guest = Guest::busybox("test", mode).make();
    guest.set("apps/vshelper/sync-timeout", "1\n");
    guest.start();
    guest.stop();
    guest
}

/// Its daemon answers. Start does not wait for a daemon that is started in the background.
#[track_caller]
fn is_well(guest: &Guest) {
    let look = "i=0; until pidof sleep > /dev/null || [ $i = 200 ]; do i=$((i + 1)); usleep 20000; done; \
        pidof sleep > /dev/null && echo well";
    guest.sh(look).says_exactly("well\n");
}

#[track_caller]
fn nothing_left(ground: &Inventory) {
    let left = ground.leaks();
    assert!(left.is_empty(), "left behind: {left:#?}");
}

fn state(file: &str) -> PathBuf {
    Path::new("/run/vservers/.state/test").join(file)
}

fn pid(who: &str) -> String {
    let record = fs::read(state("record")).expect("it runs");
    let record: serde_json::Value = serde_json::from_slice(&record).expect("JSON");
    record[who]["pid"].as_i64().expect("a number").to_string()
}

/// Guard and first process of the running guest.
fn beside() -> [(&'static str, String); 2] {
    [("guard", pid("guard")), ("init", pid("init"))]
}

/// Counts how often the point that was asked for was there.
#[derive(Default)]
struct Tally {
    rounds: usize,
    hits: usize,
}

impl Tally {
    fn add(&mut self, struck: &Struck) {
        self.rounds += 1;
        self.hits += usize::from(struck.hit);
    }

    /// Most points must have been there, or nothing was shown.
    fn tell(self) {
        eprintln!("== {} rounds, {} points reached, 0 leaks, 0 harmed guests", self.rounds, self.hits);
        // On a busy machine processes meet at other moments, and some points of the first run do not come again.
        assert!(4 * self.hits > self.rounds, "{} of {} points were reached", self.hits, self.rounds);
    }
}

fn in_start(mode: Mode) {
    let ground = Inventory::now();
    let guest = seasoned(mode);
    let words = ["test", "start"];
    let points = assassin::points(&[], &words);
    guest.stop();
    nothing_left(&ground);
    let deeds = deeds(&points, 26, 14);
    let mut tally = Tally::default();
    for (turn, (point, deed)) in deeds.iter().enumerate() {
        let struck = strike(&[], point, *deed, &words);
        tally.add(&struck);
        if *deed != Deed::Kill && struck.done.exit() != 0 && struck.done.exit() < 128 {
            // A start that fails and says so leaves nothing.
            guest.vserver(&["running"]).code(1);
            nothing_left(&ground);
        }
        if turn % 4 == 3 {
            // Without another start, stop alone takes everything away.
            drop(guest.vserver(&["stop"]));
            guest.vserver(&["running"]).code(1);
        } else {
            // Either it stands, or the next start makes it stand.
            guest.vserver(&["start"]).ok();
            is_well(&guest);
            guest.stop();
        }
        nothing_left(&ground);
    }
    tally.tell();
}

fn in_stop(mode: Mode) {
    let ground = Inventory::now();
    let guest = seasoned(mode);
    let words = ["test", "stop"];
    guest.start();
    let points = assassin::points(&beside(), &words);
    nothing_left(&ground);
    let deeds = deeds(&points, 16, 8);
    let mut tally = Tally::default();
    for (turn, (point, deed)) in deeds.iter().enumerate() {
        guest.start();
        tally.add(&strike(&beside(), point, *deed, &words));
        if turn % 4 == 3 {
            // Straight to the next start. The interrupted stop may have had its say: the guest may be about to end.
            drop(guest.vserver(&["start"]));
        }
        drop(guest.vserver(&["stop"]));
        guest.vserver(&["running"]).code(1);
        nothing_left(&ground);
    }
    tally.tell();
}

fn in_exec(mode: Mode) {
    let ground = Inventory::now();
    let guest = seasoned(mode);
    guest.start();
    let words = ["test", "exec", "/bin/sh", "-c", "echo on the console > /dev/console; usleep 20000"];
    let guard = || [("guard", pid("guard"))];
    let points = assassin::points(&guard(), &words);
    let deeds = deeds(&points, 20, 10);
    let (init, mut running) = (pid("init"), Inventory::now());
    let mut tally = Tally::default();
    for (point, deed) in &deeds {
        tally.add(&strike(&guard(), point, *deed, &words));
        is_well(&guest);
        assert_eq!(pid("init"), init, "the guest is another one");
        if point.who.starts_with("guard") {
            // Replaced by now, and not to be compared.
            running = Inventory::now();
        }
        let guard = format!("process {} ", pid("guard"));
        let mut left = running.leaks();
        // It may have been asleep then and be awake now.
        left.retain(|leak| !leak.starts_with(&guard));
        assert!(left.is_empty(), "left behind: {left:#?}");
    }
    guest.stop();
    nothing_left(&ground);
    tally.tell();
}

fn in_reboot(mode: Mode) {
    let ground = Inventory::now();
    let guest = seasoned(mode);
    let words = ["test", "exec", "/bin/busybox", "reboot", "-f"];
    guest.start();
    let points = assassin::points(&beside(), &words);
    assert!(points.iter().any(|point| point.who.starts_with("guard.")), "the guard has started nothing");
    guest.vserver(&["start"]).ok();
    let deeds = deeds(&points, 16, 8);
    let mut tally = Tally::default();
    for (turn, (point, deed)) in deeds.iter().enumerate() {
        comes_up(&guest);
        // Each is the first reboot of a guest: one that reboots again and again is made to wait.
        drop(fs::remove_file("/var/log/vservers/.events"));
        tally.add(&strike(&beside(), point, *deed, &words));
        comes_up(&guest);
        if turn % 2 == 1 {
            guest.stop();
            nothing_left(&ground);
            guest.start();
        }
    }
    guest.stop();
    nothing_left(&ground);
    tally.tell();
}

/// By itself, or by a start; where the reboot was about to happen when the command died, only the next time.
#[track_caller]
fn comes_up(guest: &Guest) {
    let until = Instant::now() + slowly(Duration::from_secs(30));
    let up = || {
        drop(guest.vserver(&["start"]));
        thread::sleep(Duration::from_millis(100));
        guest.sh("pidof sleep").exit() == 0
    };
    while !up() {
        assert!(Instant::now() < until, "the guest does not come up");
    }
}

/// A running guest without a guard and without a record is adopted by the next command, which dies of it.
fn in_adoption(mode: Mode) {
    let ground = Inventory::now();
    let guest = seasoned(mode);
    guest.start();
    let init = pid("init");
    let bereave = || {
        host("kill", &["-KILL", &pid("guard")]).ok();
        host("rm", &["-rf", "/run/vservers/.state", "/run/vservers/test", "/run/vservers.rev"]).ok();
    };
    let words = ["test", "exec", "true"];
    bereave();
    let points = assassin::points(&[], &words);
    let deeds = deeds(&points, 16, 8);
    let mut tally = Tally::default();
    for (point, deed) in &deeds {
        bereave();
        tally.add(&strike(&[], point, *deed, &words));
        is_well(&guest);
        assert_eq!(pid("init"), init, "the guest is another one");
        // One guard, the one that the record names.
        let guards = || host("pgrep", &["-f", "^guard "]).out();
        let until = Instant::now() + slowly(Duration::from_secs(5));
        while guards().trim() != pid("guard") && Instant::now() < until {
            // One that was dying while it was looked at, in its place in the record already.
            thread::sleep(Duration::from_millis(5));
            guest.vserver(&["running"]).ok();
        }
        assert_eq!(guards().trim(), pid("guard"));
    }
    guest.stop();
    nothing_left(&ground);
    tally.tell();
}

/// What a build that was killed has left is a guest that can be deleted, and then be built.
fn in_build(mode: Mode) {
    let source = Guest::busybox("test", mode).make();
    for number in 0..20 {
        source.put(&format!("/srv/d{number}/file"), "content\n");
    }
    let ground = Inventory::now();
    let words = ["new", "build", "-m", "clone", "--context", "200", "--", "--source", "test"];
    let points = assassin::points(&[], &words);
    vserver(&["--silent", "new", "delete"]).ok();
    let deeds = deeds(&points, 16, 8);
    let mut tally = Tally::default();
    for (point, deed) in &deeds {
        let struck = strike(&[], point, *deed, &words);
        tally.add(&struck);
        let failed = struck.done.exit() != 0;
        let begun = Path::new("/etc/vservers/new").exists();
        if failed && struck.done.exit() < 128 {
            assert!(!begun && !Path::new("/vservers/new").exists(), "a failed build left something");
        }
        if failed {
            if begun {
                vserver(&["--silent", "new", "delete"]).ok();
            }
            vserver(&words).ok();
        }
        assert!(Path::new("/vservers/new/srv/d19/file").exists());
        vserver(&["--silent", "new", "delete"]).ok();
        for place in ["/etc/vservers", "/vservers"] {
            let names = |entry: fs::DirEntry| entry.file_name().into_string().unwrap_or_default();
            let mut left: Vec<String> = fs::read_dir(place)
                .expect("ours")
                .flatten()
                .map(names)
                .filter(|name| name != "test")
                .collect();
            left.retain(|name| ![".pkg", ".defaults", ".hash"].contains(&name.as_str()));
            assert!(left.is_empty(), "left in {place}: {left:?}");
        }
        nothing_left(&ground);
    }
    tally.tell();
}
