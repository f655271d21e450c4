//! Trees whose owner wants the host's root to follow him out of them: odd files where directories are expected, and
//! files that change places while a command looks at them.
//!
//! Whatever happens, a canary tree of the host stays as it is, no command hangs, and what is refused is refused in
//! words. The seed of a race is printed; `E2E_SEED` repeats it.

use rustix::fs::{CWD, OFlags, RenameFlags, mkdirat, openat, renameat_with};
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use vserver_e2e::command::{Done, host};
use vserver_e2e::{Guest, Mode, Spec};

pub fn specs() -> Vec<Spec> {
    vec![
        Spec::new("hostile_odd_files", odd_files),
        Spec::new("hostile_race_of_start_and_stop", race),
        Spec::new("hostile_race_of_delete", race_of_delete),
    ]
}

const CANARY: &str = "/tmp/t/canary";

/// A tree of the host with all that a command could be led to.
fn canary() -> String {
    for directory in ["pts", "shm", "sys", "lock", "init.d", "self/fd", "run/lock"] {
        fs::create_dir_all(Path::new(CANARY).join(directory)).expect("/tmp is ours");
    }
    for file in ["mtab", "console", "null", "utmp", "passwd", "init", "x.pid", "lock/x"] {
        fs::write(Path::new(CANARY).join(file), "precious").expect("/tmp is ours");
    }
    digest()
}

/// Names, kinds, modes, owners, sizes, times and contents.
fn digest() -> String {
    let script = format!(
        "find {CANARY} -printf '%p %y %m %U:%G %s %T@\\n' | sort; find {CANARY} -type f | sort | xargs cat | sha256sum; \
        awk '$5 ~ \"^{CANARY}\"' /proc/self/mountinfo"
    );
    let done = host("sh", &["-c", &script]);
    done.ok();
    done.out()
}

/// Places that a start or a stop opens, mounts on, or writes to.
const PLACES: [&str; 14] = [
    "dev",
    "dev/pts",
    "dev/console",
    "proc",
    "sys",
    "run",
    "tmp",
    "etc",
    "etc/mtab",
    "etc/init.d/rc",
    "sbin/init",
    "var",
    "var/run",
    "var/lock",
];

const KINDS: [&str; 8] = ["link", "link up", "link to itself", "fifo", "socket", "device", "file", "deep"];

fn plant(kind: &str, at: &Path) {
    let text = at.to_str().expect("ASCII");
    host("rm", &["-rf", text]).ok();
    match kind {
        "link" => symlink(CANARY, at).expect("ours"),
        "link up" => symlink(format!("../../../../../../../..{CANARY}"), at).expect("ours"),
        "link to itself" => symlink(at.file_name().expect("no root"), at).expect("ours"),
        "fifo" => drop(host("mkfifo", &[text]).ok()),
        // A path of a socket is short; the kernel moves the socket itself.
        "socket" => {
            drop(UnixListener::bind("/tmp/t/s").expect("/tmp is ours"));
            host("mv", &["/tmp/t/s", text]).ok();
        }
        "device" => drop(host("mknod", &[text, "c", "5", "1"]).ok()),
        "file" => fs::write(at, "a file").expect("ours"),
        _ => {
            // Longer than any path that can be named.
            fs::create_dir(at).expect("ours");
            let name = "d".repeat(64);
            let mut here = File::open(at).expect("just made");
            for _ in 0..150 {
                mkdirat(&here, &name, 0o755.into()).expect("room is left");
                let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
                here = openat(&here, &name, flags, rustix::fs::Mode::empty()).expect("just made").into();
            }
        }
    }
}

/// An answer: success, or a failure in words; never a crash.
#[track_caller]
fn answered(done: &Done) {
    assert!(done.exit() < 101 || done.exit() == 255, "{done}");
    assert!(done.exit() == 0 || !done.err().trim().is_empty(), "failed without a word\n{done}");
}

fn odd_files(mode: Mode) {
    let before = canary();
    for (number, place) in PLACES.iter().enumerate() {
        // Every place meets a kind, every kind some places; the other mode meets others.
        let turn = usize::from(mode == Mode::Classic);
        let kind = KINDS[(number + 3 * turn) % 8];
        eprintln!("-- {place}: {kind}");
        let style = if number % 2 == 0 { "sysv" } else { "plain" };
        let guest = Guest::busybox("test", mode).style(style).make();
        // Whether it ends by itself is not the question.
        guest.set("apps/vshelper/sync-timeout", "1\n");
        guest.set("apps/init/killseq", "9\n");
        plant(kind, &guest.tree(place));
        let patience = Duration::from_secs(40);
        let started = guest.program(&["start"]).patience(patience).run();
        answered(&started);
        let status = guest.program(&["exec", "/bin/busybox", "true"]).patience(patience).run();
        assert!(status.exit() < 128 || status.exit() == 255, "{status}");
        drop(guest.program(&["stop"]).patience(patience).run());
        guest.vserver(&["running"]).code(1);
        assert_eq!(digest(), before, "{place}, {kind}: the host was changed");
        guest.remove_by_hand();
    }
}

/// Keeps exchanging places of a tree with evil twins, as fast as it can.
struct Swapper {
    over: Arc<AtomicBool>,
    swaps: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Swapper {
    fn start(tree: &Path, pause: Duration, places: &'static [&'static str]) -> Self {
        let given = std::env::var("E2E_SEED").ok().and_then(|seed| seed.parse().ok());
        let mut state: u64 = given.unwrap_or_else(a_seed);
        eprintln!("E2E_SEED={state}");
        let twins: Vec<(PathBuf, PathBuf)> = places
            .iter()
            .enumerate()
            .filter(|(_, place)| tree.join(place).symlink_metadata().is_ok())
            .map(|(number, place)| {
                let twin = tree.join(format!("twin{number}"));
                let target = if number % 2 == 0 { CANARY.to_owned() } else { format!("../../../..{CANARY}") };
                symlink(target, &twin).expect("ours");
                (tree.join(place), twin)
            })
            .collect();
        let over = Arc::new(AtomicBool::new(false));
        let swaps = Arc::new(AtomicU64::new(0));
        let (seen, count) = (Arc::clone(&over), Arc::clone(&swaps));
        let thread = thread::spawn(move || {
            while !seen.load(Ordering::Relaxed) {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                let (place, twin) = &twins[usize::try_from(state % twins.len() as u64).expect("small")];
                // Evil for a moment only: a command that looked before and acts later is what is hoped for. Some
                // exchanges fail, of what is gone or in use as a mount point.
                for part in [1, state >> 40 & 15] {
                    if renameat_with(CWD, place, CWD, twin, RenameFlags::EXCHANGE).is_ok() {
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                    thread::sleep(pause * u32::try_from(part).expect("small"));
                }
            }
        });
        // A fast command could be over before a busy machine lets the thread begin.
        while swaps.load(Ordering::Relaxed) < 5 && !thread.is_finished() {
            thread::sleep(Duration::from_micros(100));
        }
        Self { over, swaps, thread: Some(thread) }
    }

    /// Ends it; it must have done something.
    fn end(mut self) {
        self.over.store(true, Ordering::Relaxed);
        self.thread.take().map(JoinHandle::join).transpose().expect("it does not panic");
        let swaps = self.swaps.load(Ordering::Relaxed);
        eprintln!("{swaps} swaps");
        assert!(swaps > 4, "nothing was swapped");
    }
}

/// Different each time, and odd: a state of zero would stay zero.
fn a_seed() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    u64::from(now.subsec_nanos()) << 1 | 1
}

fn race(mode: Mode) {
    let before = canary();
    let guest = Guest::busybox("test", mode).make();
    // Scripts that wait for nothing: a guest may well hang when its own /dev and /proc come and go.
    guest.put("/etc/rc.start", "/bin/busybox sleep 100000 &\n");
    guest.put("/etc/rc.stop", "kill -9 -1\n");
    guest.set("apps/vshelper/sync-timeout", "1\n");
    guest.set("apps/init/killseq", "9\n");
    let swapper = Swapper::start(
        &guest.tree("/"),
        Duration::from_micros(200),
        &["dev", "proc", "sys", "tmp", "run", "etc", "etc/init.d/rc", "sbin", "var", "var/run", "bin"],
    );
    for _ in 0..10 {
        let patience = Duration::from_secs(40);
        answered(&guest.program(&["start"]).patience(patience).run());
        drop(guest.program(&["exec", "/bin/busybox", "true"]).patience(patience).run());
        drop(guest.program(&["stop"]).patience(patience).run());
        assert_eq!(digest(), before, "the host was changed");
    }
    swapper.end();
    drop(guest.vserver(&["stop"]));
    guest.vserver(&["running"]).code(1);
}

fn race_of_delete(mode: Mode) {
    let before = canary();
    for _ in 0..4 {
        let guest = Guest::busybox("test", mode).make();
        for number in 0..6 {
            for below in 0..40 {
                guest.put(&format!("many{number}/d{below}/file"), "x");
            }
        }
        let swapper = Swapper::start(
            &guest.tree("/"),
            Duration::ZERO,
            &[
                "many0", "many1", "many2", "many3", "many4", "many5", "many0/d1", "many1/d2", "bin", "etc",
                "usr",
            ],
        );
        let done = guest.program(&["delete"]).input("y\ny\n").patience(Duration::from_secs(40)).run();
        assert!(done.exit() < 101, "{done}");
        swapper.end();
        assert_eq!(digest(), before, "the host was changed");
        guest.remove_by_hand();
    }
}
