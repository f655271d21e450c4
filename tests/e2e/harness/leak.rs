//! After a trial nothing may be there that was not there before.
//!
//! A trial has its own PID namespace, so "nobody is left" can be asked exactly; and as a namespace that no process
//! is in can only be held by a mount, a descriptor of a process or a child namespace, the lists of processes, mounts
//! and our own descriptors answer for namespaces, too.

use crate::slowly;
use rustix::process::{WaitOptions, wait};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

/// How long the last things of a guest may take to vanish: a guard cleans up after its guest has gone, and the
/// kernel takes a network namespace down in the background.
const SETTLING: Duration = Duration::from_secs(5);

/// Files under /run that may stay: locks are taken by opening, so removing one would break the lock, and what
/// this harness and the trials put there themselves. Device programs are loaded once per host and stay pinned.
const RESIDUE: &[&str] =
    &["/run/lock", "/run/e2e", "/run/mount", "/run/blkid", "/tmp/t", "/sys/fs/bpf/vserver"];

/// Directories that are made once and kept, empty.
const KEPT_DIRECTORIES: &[&str] = &[
    "/run/vservers",
    "/run/vservers/.state",
    "/run/vservers.rev",
    "/run/vshelper",
    "/run/vservers/.network",
    "/run/vservers/.network/added",
    "/run/vservers/.network/netns",
    "/run/vserver",
    "/run/vserver/virtual",
    "/run/vserver/virtnet",
];

/// What there is, as lines to compare.
pub struct Inventory {
    cgroup_top: String,
    lines: BTreeSet<String>,
}

impl Inventory {
    /// What there is now, for a trial that compares halfway.
    ///
    /// # Panics
    ///
    /// Outside of a trial.
    pub fn now() -> Self {
        Self::take(&std::env::var("VSERVER_CGROUP_TOP").expect("the harness sets it"))
    }

    /// What there is now and was not before; looks again until nothing is, for a while.
    pub fn leaks(&self) -> Vec<String> {
        let until = Instant::now() + slowly(SETTLING);
        loop {
            let now = everything(&self.cgroup_top);
            let more: Vec<String> = now.difference(&self.lines).cloned().collect();
            if more.is_empty() || Instant::now() > until {
                return more;
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    pub(crate) fn take(cgroup_top: &str) -> Self {
        Self { cgroup_top: cgroup_top.to_owned(), lines: everything(cgroup_top) }
    }

    /// What is there now and was not before; looks again until nothing is, for a while.
    pub(crate) fn leaks_after_settling(self) -> Vec<String> {
        let until = Instant::now() + slowly(SETTLING);
        loop {
            // We are PID 1: what died unwaited is ours to bury, and no leak.
            while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
            let now = everything(&self.cgroup_top);
            let more: Vec<String> = now.difference(&self.lines).cloned().collect();
            if more.is_empty() || Instant::now() > until {
                return more;
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}

fn everything(cgroup_top: &str) -> BTreeSet<String> {
    let mut lines = BTreeSet::new();
    lines.extend(mounts());
    lines.extend(processes());
    lines.extend(cgroups(cgroup_top).into_iter().map(|path| format!("cgroup {}", path.display())));
    lines.extend(files(Path::new("/run")));
    lines.extend(files(Path::new("/tmp")));
    lines.extend(files(Path::new("/sys/fs/bpf")));
    lines.extend(descriptors());
    lines.extend(links());
    lines
}

/// Without the numbers of mounts, which mean nothing and are used again.
fn mounts() -> Vec<String> {
    let table = fs::read_to_string("/proc/self/mountinfo").expect("/proc is mounted");
    table.lines().map(|line| format!("mount {}", line.splitn(3, ' ').last().unwrap_or_default())).collect()
}

/// Everybody but us.
fn processes() -> Vec<String> {
    let entries = fs::read_dir("/proc").expect("/proc is mounted");
    entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok()?.parse::<u32>().ok())
        .filter(|pid| *pid != 1)
        .map(|pid| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let field = |name: &str| {
                status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim().to_owned()
            };
            let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let words = String::from_utf8_lossy(&words).replace('\0', " ");
            format!("process {pid} {} ({}) {words}", field("Name:"), field("State:"))
        })
        .collect()
}

fn descriptors() -> Vec<String> {
    let entries = fs::read_dir("/proc/self/fd").expect("/proc is mounted");
    entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let target = fs::read_link(entry.path()).ok()?;
            // The one that reads this directory.
            (!target.ends_with("fd")).then(|| format!("descriptor {}", target.display()))
        })
        .collect()
}

/// Network devices.
fn links() -> Vec<String> {
    let table = fs::read_to_string("/proc/net/dev").expect("/proc is mounted");
    table
        .lines()
        .skip(2)
        .filter_map(|line| Some(format!("link {}", line.split_once(':')?.0.trim())))
        .collect()
}

fn files(top: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut waiting = vec![top.to_path_buf()];
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            let path = entry.path();
            if RESIDUE.iter().any(|kept| path.starts_with(kept)) {
                continue;
            }
            let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if is_directory {
                waiting.push(path.clone());
            }
            if !(is_directory && KEPT_DIRECTORIES.iter().any(|kept| path == Path::new(kept))) {
                found.push(format!("file {}", path.display()));
            }
        }
    }
    found
}

/// Groups below each group of that name, in every mounted hierarchy. The top itself may stay.
fn cgroups(top: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for top in cgroup_tops(top) {
        let mut waiting = vec![top];
        while let Some(directory) = waiting.pop() {
            let below = directories(&directory);
            waiting.extend(below.iter().cloned());
            found.extend(below);
        }
    }
    found
}

/// Where a top of that name stands: at the root of a hierarchy or a few levels down, in a delegated part.
fn cgroup_tops(name: &str) -> Vec<PathBuf> {
    let table = fs::read_to_string("/proc/self/mountinfo").expect("/proc is mounted");
    let mut found = Vec::new();
    for mount in
        table.lines().filter(|line| line.contains(" - cgroup")).filter_map(|line| line.split(' ').nth(4))
    {
        let mut waiting = vec![(PathBuf::from(mount), 0)];
        while let Some((directory, depth)) = waiting.pop() {
            if directory.file_name().is_some_and(|last| last == name) {
                found.push(directory);
            } else if depth < 3 {
                waiting.extend(directories(&directory).into_iter().map(|below| (below, depth + 1)));
            }
        }
    }
    found
}

fn directories(of: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(of).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

/// Takes a trial's groups away, deepest first; whoever was in them has died with the space.
pub(crate) fn remove_cgroups(top: &str) {
    for _ in 0..50 {
        let mut all = cgroups(top);
        all.extend(cgroup_tops(top));
        all.sort_by_key(|path| std::cmp::Reverse(path.components().count()));
        let left = all.iter().filter(|path| fs::remove_dir(path).is_err()).count();
        if left == 0 {
            return;
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// Numbers of the loaded BPF programs that some descriptor of a process holds; the whole machine's.
pub(crate) fn bpf_programs() -> BTreeSet<u32> {
    let mut found = BTreeSet::new();
    for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
        for descriptor in fs::read_dir(process.path().join("fdinfo")).into_iter().flatten().flatten() {
            let text = fs::read_to_string(descriptor.path()).unwrap_or_default();
            found.extend(
                text.lines().filter_map(|line| line.strip_prefix("prog_id:")?.trim().parse::<u32>().ok()),
            );
        }
    }
    found
}

/// Those that were not there before. The kernel frees a program some time after its last user has gone.
pub(crate) fn new_bpf_programs(before: &BTreeSet<u32>) -> Vec<u32> {
    let until = Instant::now() + slowly(SETTLING);
    loop {
        let more: Vec<u32> = bpf_programs().difference(before).copied().collect();
        if more.is_empty() || Instant::now() > until {
            return more;
        }
        thread::sleep(Duration::from_millis(50));
    }
}
