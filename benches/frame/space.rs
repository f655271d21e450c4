//! The space in which benchmarks run: namespaces of their own, as the end-to-end trials have.

use std::env;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use vserver_e2e::{place, space, trial};

use crate::Outcome;

/// Which cgroup hierarchies the benchmarks see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Those of the machine.
    Machine,
    /// Only a cgroup2, as on a host with the unified hierarchy; without controllers where version 1 has them all.
    Unified,
}

impl Layout {
    /// Both.
    pub const ALL: &'static [Self] = &[Self::Unified, Self::Machine];

    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Machine => "machine",
            Self::Unified => "cgroup2",
        }
    }

    /// Read back.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|layout| layout.word() == word)
    }
}

/// Names the layout to a process in the space.
const LAYOUT: &str = "BENCH_LAYOUT";

/// The layout of the space this process is in; nothing outside.
pub fn current() -> Option<Layout> {
    Layout::from_word(&env::var(LAYOUT).ok()?)
}

/// Hands the words on: a trial's processes are started without any.
const WORDS: &str = "BENCH_WORDS";

/// The words this program was started with, outside.
pub fn words() -> Vec<String> {
    match env::var(WORDS) {
        Ok(words) => words.split_whitespace().map(str::to_owned).collect(),
        Err(_) => env::args().skip(1).collect(),
    }
}

/// Runs this program once more in a space of that layout, with the same words.
///
/// # Errors
/// It cannot be made, or what ran in it failed.
pub fn enter(layout: Layout) -> Outcome {
    let name = format!("bench-{}", layout.word());
    // What a run that was killed has left would be taken for prepared.
    clear(&place::trial(&name))?;
    let status = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc"])
        .args(["--ipc", "--net"])
        .arg(env::current_exe().map_err(|error| error.to_string())?)
        .env(LAYOUT, layout.word())
        .env(WORDS, words().join(" "))
        .env(trial::TRIAL, &name)
        .env("VSERVER_CGROUP_TOP", place::cgroup_top(&name))
        .env_remove("VSERVER_PREFIX")
        .stdin(Stdio::null())
        .process_group(0)
        .status()
        .map_err(|error| format!("unshare: {error}"))?;
    if status.success() { clear(&place::trial(&name)) } else { Err(format!("{}: {status}", layout.word())) }
}

fn clear(directory: &Path) -> Outcome {
    match std::fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(format!("{}: {error}", directory.display()))
        }
        _ => Ok(()),
    }
}

/// PID 1 of the space furnishes it, its child runs `body`.
pub fn play(layout: Layout, body: impl FnOnce() + std::panic::UnwindSafe) -> ExitCode {
    if rustix::process::getpid().is_init()
        && layout == Layout::Unified
        && let Err(failure) = only_cgroup2()
    {
        eprintln!("a view of cgroup2 alone cannot be made: {failure}");
        return ExitCode::FAILURE;
    }
    space::play_part(&format!("bench-{}", layout.word()), &[], body)
}

/// Takes the version 1 hierarchies out of this mount namespace.
fn only_cgroup2() -> Outcome {
    let table = std::fs::read_to_string("/proc/self/mountinfo").map_err(|error| error.to_string())?;
    let is_cgroup = |line: &&str| line.contains(" - cgroup");
    let mut points: Vec<&str> =
        table.lines().filter(is_cgroup).filter_map(|line| line.split(' ').nth(4)).collect();
    points.reverse();
    for point in points {
        unmount(point, UnmountFlags::DETACH).map_err(|error| format!("{point}: {error}"))?;
    }
    mount("cgroup2", "/sys/fs/cgroup", "cgroup2", MountFlags::empty(), None)
        .map_err(|error| format!("/sys/fs/cgroup: {error}"))
}
