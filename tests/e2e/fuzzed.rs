//! Guest trees filled by chance with everything that a hostile owner could put there, and changed by a racer, while
//! each command that works on a tree runs as root of the host.
//!
//! Nothing outside of the tree changes (a canary tree of the host, and the list of its mounts), nothing of the host gets
//! into a copy, no command hangs, none crashes, and nothing is left. `E2E_ROUNDS` says how many trees are made; the
//! seed is printed, and `E2E_SEED` repeats it (but for the racer's timing).

use rustix::fs::{
    AtFlags, CWD, FileType, Mode as Bits, OFlags, RenameFlags, linkat, makedev, mkdirat, mknodat, openat,
    renameat_with,
};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use vserver_e2e::assassin::Random;
use vserver_e2e::command::{Done, host};
use vserver_e2e::{Guest, Inventory, Mode, Program, Spec};

pub fn specs() -> Vec<Spec> {
    let patience = if rounds() > USUAL { Duration::from_hours(3) } else { Duration::from_mins(4) };
    vec![Spec::new("hostile_trees_by_chance", by_chance).patience(patience)]
}

const USUAL: usize = 5;

fn rounds() -> usize {
    std::env::var("E2E_ROUNDS").ok().and_then(|word| word.parse().ok()).unwrap_or(USUAL)
}

const CANARY: &str = "/tmp/t/canary";
/// How long a command may take on a busy machine before it counts as hanging.
const PATIENCE: Duration = Duration::from_mins(1);

fn canary() -> String {
    for directory in ["pts", "shm", "sys", "lock", "init.d", "self/fd", "run/lock", "log", "mnt/a", "bin"] {
        fs::create_dir_all(Path::new(CANARY).join(directory)).expect("/tmp is ours");
    }
    for file in
        ["mtab", "console", "null", "utmp", "passwd", "group", "init", "x.pid", "lock/x", "bin/sh", "log/rc"]
    {
        fs::write(Path::new(CANARY).join(file), "precious").expect("/tmp is ours");
    }
    digest()
}

/// Names, kinds, modes, owners, links, sizes, times of change, contents, and what is mounted anywhere on the host.
fn digest() -> String {
    let script = format!(
        "find {CANARY} -printf '%p %y %m %U:%G %n %s %T@ %C@\\n' | sort; \
        find {CANARY} -type f | sort | xargs cat | sha256sum; cut -d ' ' -f 3- /proc/self/mountinfo"
    );
    let done = host("sh", &["-c", &script]);
    done.ok();
    done.out()
}

/// Places that commands open, mount on, write to or read from.
const PLACES: [&str; 34] = [
    "dev",
    "dev/pts",
    "dev/console",
    "dev/null",
    "dev/shm",
    "dev/log",
    "proc",
    "sys",
    "run",
    "tmp",
    "etc",
    "etc/mtab",
    "etc/passwd",
    "etc/group",
    "etc/fstab",
    "etc/init.d",
    "etc/init.d/rc",
    "etc/rc.start",
    "etc/rc.stop",
    "etc/inittab",
    "etc/hostname",
    "etc/machine-id",
    "bin",
    "bin/sh",
    "sbin",
    "sbin/init",
    "var",
    "var/run",
    "var/lock",
    "var/run/utmp",
    "var/log",
    "var/log/rc",
    "mnt",
    "mnt/a",
];

/// Names that a careless program trips over.
const NAMES: [&[u8]; 12] = [
    b"a\nb",
    b" ",
    b"-rf",
    b"--",
    b"...",
    b"$(touch x)",
    b"\xff\xfe\x80",
    b"\x1b[2J",
    b"*",
    b"\\",
    b"'\"`",
    b"a;b|c&d",
];

struct Fuzzer {
    random: Random,
    tree: PathBuf,
    planted: u64,
}

impl Fuzzer {
    fn one_of<'a, T: ?Sized>(&mut self, all: &[&'a T]) -> &'a T {
        all[self.random.below(all.len())]
    }

    /// A path of the tree: a place that commands look at, or a new name somewhere.
    fn place(&mut self) -> PathBuf {
        if self.random.below(3) == 0 {
            return self.tree.join(PLACES[self.random.below(PLACES.len())]);
        }
        let below = self.one_of(&["", "etc", "var", "root", "home", "usr", "mnt", "srv/x", "dev", "var/log"]);
        let directory = self.tree.join(below);
        if below == "srv/x" && self.tree.join("srv").symlink_metadata().is_err() {
            drop(fs::create_dir_all(&directory));
        }
        let long = [b'n'; 255];
        let name = match self.random.below(14) {
            12 => &long[..],
            13 => b"plain",
            number => NAMES[number],
        };
        directory.join(OsStr::from_bytes(name))
    }

    fn target(&mut self) -> String {
        let up = "../".repeat(12);
        match self.random.below(9) {
            0 | 1 => CANARY.to_owned(),
            2 => format!("{up}{}", &CANARY[1..]),
            3 => format!("/proc/self/root{CANARY}"),
            4 => format!("/proc/1/root{CANARY}"),
            5 => format!("/proc/self/fd/{}", self.random.below(12)),
            6 => format!("{CANARY}/passwd"),
            7 => "/nowhere/at/all".to_owned(),
            _ => ".".to_owned(),
        }
    }

    /// Puts something there, by one of the names in the tree. What cannot be put there (a parent that is no directory
    /// any more) is passed over.
    fn plant(&mut self, at: &Path, huge: u64) {
        let parent = at.parent().unwrap_or(&self.tree).to_path_buf();
        // The fuzzer itself must not be led out.
        if !parent.canonicalize().is_ok_and(|real| real.starts_with(&self.tree)) {
            return;
        }
        drop(host("rm", &[OsStr::new("-rf"), OsStr::new("--"), at.as_os_str()]));
        let kind = self.random.below(15);
        let node = |kind, device| mknodat(CWD, at, kind, Bits::from_raw_mode(0o666), device).unwrap_or(());
        match kind {
            0..=3 => drop(symlink(self.target(), at)),
            4 => drop(symlink(at.file_name().expect("no root"), at)),
            5 => node(FileType::Fifo, 0),
            6 => {
                // A path of a socket is short; it is moved to its place.
                drop(fs::remove_file("/tmp/t/s"));
                drop(UnixListener::bind("/tmp/t/s"));
                drop(host("mv", &[OsStr::new("/tmp/t/s"), at.as_os_str()]));
            }
            7 => node(FileType::CharacterDevice, makedev(5, 1)),
            8 => node(FileType::BlockDevice, makedev(7, 0)),
            9 => drop(fs::write(at, b"root:x:0:0::/:/bin/sh\n\0\xff")),
            10 => drop(File::create(at).and_then(|file| file.set_len(huge))),
            11 => {
                let other = self.one_of(&["bin/busybox", "etc/passwd", "etc/init.d/rc"]);
                let other = self.tree.join(other);
                linkat(CWD, &other, CWD, at, AtFlags::empty()).unwrap_or(());
            }
            12 => deep(at, 20 + self.random.below(60)),
            13 => many(at, 200 + self.random.below(1500)),
            _ => {
                drop(fs::create_dir(at));
                drop(fs::set_permissions(at, fs::Permissions::from_mode(0o0)));
            }
        }
        self.planted += 1;
    }
}

/// Longer than any path that can be named.
fn deep(at: &Path, levels: usize) {
    let name = "d".repeat(200);
    drop(fs::create_dir(at));
    let Ok(mut here) = File::open(at) else { return };
    for _ in 0..levels {
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = mkdirat(&here, &name, 0o755.into());
        let Ok(next) = made.and_then(|()| openat(&here, &name, flags, Bits::empty())) else { return };
        here = next.into();
    }
}

fn many(at: &Path, count: usize) {
    drop(fs::create_dir(at));
    for number in 0..count {
        drop(symlink(CANARY, at.join(format!("{number}"))));
    }
}

/// Exchanges places of the tree with evil twins for moments, until told to stop.
struct Racer {
    over: Arc<AtomicBool>,
    swaps: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Racer {
    fn start(fuzzer: &mut Fuzzer) -> Self {
        let mut twins = Vec::new();
        for number in 0..8 {
            let place = fuzzer.tree.join(PLACES[fuzzer.random.below(PLACES.len())]);
            let twin = fuzzer.tree.join(format!("twin{number}"));
            match fuzzer.random.below(5) {
                0 => mknodat(CWD, &twin, FileType::Fifo, Bits::from_raw_mode(0o666), 0).expect("ours"),
                1 => drop(fs::create_dir(&twin)),
                _ => drop(symlink(fuzzer.target(), &twin)),
            }
            twins.push((place, twin));
        }
        let over = Arc::new(AtomicBool::new(false));
        let swaps = Arc::new(AtomicU64::new(0));
        let (seen, count) = (Arc::clone(&over), Arc::clone(&swaps));
        let mut state = u64::try_from(fuzzer.random.below(1 << 30)).expect("small") << 1 | 1;
        // The racer's own paths are beneath this descriptor, or it would be led out by its own deeds.
        let thread = thread::spawn(move || {
            while !seen.load(Ordering::Relaxed) {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                let (place, twin) = &twins[usize::try_from(state % twins.len() as u64).expect("small")];
                let inside = place.parent().and_then(|parent| parent.canonicalize().ok());
                if !inside.is_some_and(|real| real.starts_with("/vservers")) {
                    continue;
                }
                for _ in 0..2 {
                    if renameat_with(CWD, place, CWD, twin, RenameFlags::EXCHANGE).is_ok() {
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                    thread::sleep(Duration::from_micros(state >> 40 & 1023));
                }
            }
        });
        Self { over, swaps, thread: Some(thread) }
    }

    fn end(mut self) -> u64 {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("it does not panic");
        }
        self.swaps.load(Ordering::Relaxed)
    }
}

/// An answer in time: success, or a failure in words; never a crash.
#[track_caller]
fn answered(program: Program) -> Done {
    let done = program.patience(PATIENCE).run();
    // A start hands on how the guest's own script has ended, 127 for one that found no shell; 101 is a panic.
    assert!(done.exit() != 101 && (done.exit() < 128 || done.exit() == 255), "{done}");
    assert!(done.exit() == 0 || !done.err().trim().is_empty(), "failed without a word\n{done}");
    done
}

/// A command inside ends as it likes, but it does end.
fn ended(program: Program) -> Done {
    let done = program.patience(PATIENCE).run();
    assert_ne!(done.exit(), 101, "{done}");
    done
}

fn by_chance(mode: Mode) {
    control();
    let before = canary();
    let ground = Inventory::now();
    let mut random = Random::new();
    let (mut planted, mut swaps) = (0, 0);
    let mut told = Told::default();
    for round in 0..rounds() {
        eprintln!("-- round {round}");
        let style = ["sysv", "plain"][random.below(2)];
        let guest = Guest::busybox("test", mode).style(style).make();
        configure(&guest);
        let mut fuzzer = Fuzzer { random, tree: guest.tree(""), planted: 0 };
        fuzzer.tree = fs::canonicalize(&fuzzer.tree).expect("just made");
        let copies = fuzzer.random.below(3);
        // The rsync program reads holes byte by byte.
        let huge = if copies == 1 { 1 << 26 } else { 1 << 42 };
        for _ in 0..4 + fuzzer.random.below(24) {
            let at = fuzzer.place();
            fuzzer.plant(&at, huge);
        }
        // A file that becomes a fifo between two looks makes rsync(1) wait for ever, in a tree of whomever.
        let race = copies != 1 && fuzzer.random.below(4) > 0;
        let racer = race.then(|| Racer::start(&mut fuzzer));
        story(&guest, &mut fuzzer, copies, &mut told);
        swaps += racer.map_or(0, Racer::end);
        planted += fuzzer.planted;
        random = fuzzer.random;
        drop(guest.program(&["stop"]).patience(PATIENCE).run());
        assert_ne!(guest.vserver(&["running"]).exit(), 0);
        assert_eq!(digest(), before, "the host was changed");
        drop(host(
            "rm",
            &["-rf", "/vservers/test", "/vservers/new", "/etc/vservers/test", "/etc/vservers/new"],
        ));
        let left = ground.leaks();
        assert!(left.is_empty(), "left behind: {left:#?}");
    }
    let Told { commands, starts } = told;
    eprintln!(
        "== {} trees, {planted} things planted, {swaps} swaps, {commands} commands ({starts} starts that succeeded), \
        0 escapes",
        rounds()
    );
    assert!(starts > 0, "no tree was good enough to be started: nothing was shown");
}

/// What a careless program would do is seen.
fn control() {
    let before = canary();
    let tree = Path::new("/tmp/t/careless");
    fs::create_dir_all(tree).expect("/tmp is ours");
    symlink(CANARY, tree.join("etc")).expect("/tmp is ours");
    fs::write(tree.join("etc/mtab"), "precious").expect("through the link");
    assert_ne!(digest(), before, "a change of the canary is not seen");
    fs::remove_dir_all(CANARY).expect("/tmp is ours");
}

/// What was done.
#[derive(Default)]
struct Told {
    commands: usize,
    starts: usize,
}

impl Told {
    fn add(&mut self, _: &Done) {
        self.commands += 1;
    }
}

fn configure(guest: &Guest) {
    // Scripts that wait for nothing: a guest may well hang when its own /dev and /proc come and go.
    guest.put("/etc/rc.start", "/bin/busybox sleep 100000 &\n");
    guest.put("/etc/rc.stop", "kill -9 -1\n");
    guest.put("/mnt/a/file", "a");
    guest.set("apps/vshelper/sync-timeout", "1\n");
    guest.set("apps/init/killseq", "9\n");
    fs::create_dir_all("/tmp/t/shown").expect("/tmp is ours");
    guest.set(
        "fstab",
        "none /proc proc defaults 0 0\nnone /tmp tmpfs size=16m,mode=1777 0 0\n\
         none /dev/pts devpts gid=5,mode=620 0 0\nnone /mnt/a tmpfs size=1m 0 0\n\
         /tmp/t/shown /var/log none bind,ro 0 0\n/tmp/t/shown /mnt/b none bind 0 0\n",
    );
}

/// Everything that works on a tree.
fn story(guest: &Guest, fuzzer: &mut Fuzzer, copies: usize, told: &mut Told) {
    for _ in 0..2 {
        let started = answered(guest.program(&["start"]));
        told.starts += usize::from(started.exit() == 0);
        told.add(&started);
        told.add(&ended(guest.program(&["exec", "/bin/busybox", "true"])));
        told.add(&ended(guest.program(&["suexec", "user", "/bin/busybox", "true"])));
        told.add(&ended(guest.program(&["enter"])));
        told.add(&ended(Program::named("vserver-stat")));
        let mount = ["-t", "tmpfs", "none", "/mnt/a"];
        told.add(&ended(Program::named("vmount").args(&[&["test", "--"], &mount[..]].concat())));
        told.add(&answered(guest.program(&["stop"])));
    }
    told.add(&ended(guest.program(&["check"])));
    let sources = [("clone", "test"), ("rsync", "/vservers/test")];
    if let Some((method, source)) = sources.get(copies) {
        let words =
            ["new", "build", "-m", method, "--context", "200", "--hostname", "new", "--", "--source", source];
        // One in two is told to end halfway, and cleans up.
        let build = Program::named("vserver").args(&words).start();
        if fuzzer.random.below(2) == 0 {
            thread::sleep(Duration::from_millis(u64::try_from(fuzzer.random.below(60)).expect("small")));
            drop(host("kill", &["-TERM", &build.id().to_string()]));
        }
        told.add(&build.wait(PATIENCE));
        let found = "find /vservers/new -xdev -type f -size -2 -exec grep -lF precious {} + 2> /dev/null";
        let taken = host("sh", &["-c", found]).out();
        assert!(taken.is_empty(), "what is the host's got into the copy: {taken}");
        if Path::new("/etc/vservers/new").exists() {
            told.add(&answered(Program::named("vserver").args(&["new", "delete"]).input("y\ny\n")));
        }
        assert!(!Path::new("/vservers/new").exists(), "a build or its deletion left its tree");
    }
    told.add(&answered(guest.program(&["delete"]).input("y\ny\n")));
}
