//! What this kernel and this machine offer, asked once per command.
//!
//! Two depths:
//! * [`Host::quick`] asks what a start or an enter must know: a handful of small files and cheap system calls.
//!   The result is a plain value (serde) and the third argument of the planner, so a plan for another machine
//!   can be made and compared in a test ([`Host::sample`]).
//! * [`Survey::take`] really tries every feature that the product uses, each in a process of its own, and is what
//!   `vserver check-host` prints.
//!
//! Nothing here compares kernel versions to decide what works; the version is for people.

mod accounts;
mod cgroups;
mod features;
mod file;
mod mounts;
mod probe;
mod procfs;
mod sample;
mod show;
mod survey;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use vserver_kernel::sys;

pub use accounts::{Conflict, ConflictKind, IdRange, Ids};
pub use cgroups::{CgroupKind, CgroupLayout, V1Hierarchy, V2Hierarchy};
pub use features::{FEATURES, Feature, ModeName, Needed};
pub use probe::CheckResult;
pub use procfs::{EntryKind, ProcEntry, ProcTree};
pub use show::{COMPATIBLE_WITH, VCI, VS_API, sysinfo};
pub use survey::{Checked, Survey, Verdict};

/// Why the machine could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// A file that every Linux has cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: std::io::Error,
    },
}

impl HostError {
    /// What the administrator can do about it, when we know.
    pub fn hint(&self) -> Option<&'static str> {
        let Self::Read { path, .. } = self;
        path.starts_with("/proc").then_some("mount proc on /proc: everything here starts from it")
    }
}

/// What this kernel and machine offer, as far as a plan depends on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// `uname -r` and its first two numbers; for people and for the emulated `release`, never to decide.
    pub kernel: Kernel,
    /// `uname -m`: `x86_64`, `aarch64` …
    pub machine: String,
    /// Bytes in a page: `rlimits/` and `vserver-stat` count in pages.
    pub page_size: u64,
    /// Clock ticks a second in /proc/PID/stat.
    pub clock_ticks: u64,
    /// Processors that are online.
    pub cpus: u32,
    /// Which kinds of namespaces exist.
    pub namespaces: Namespaces,
    /// Which cgroup hierarchies are mounted where.
    pub cgroups: CgroupLayout,
    /// What runs as PID 1 of this host.
    pub init: HostInit,
    /// The capabilities of this command.
    pub capabilities: Capabilities,
    /// Effective user id of this command.
    pub euid: u32,
    /// False when this command itself stands in a user namespace: then most of what a guest needs is refused.
    pub initial_user_namespace: bool,
    /// Seccomp filters can be installed (the line exists in /proc/self/status).
    pub seccomp: bool,
    /// Version of Landlock's interface; `None`: it is not in this kernel or turned off.
    pub landlock_abi: Option<u32>,
    /// Mount point of a BPF file system, where shared programs are pinned.
    pub bpffs: Option<PathBuf>,
    /// Names of the security modules, in order; empty when securityfs is not mounted.
    pub lsms: Vec<String>,
    /// Lockdown level (`none`, `integrity`, `confidentiality`), when it can be read.
    pub lockdown: Option<String>,
    /// `kernel.unprivileged_bpf_disabled`: 0 anybody may load programs, 1 or 2 only the privileged.
    pub unprivileged_bpf_disabled: Option<u8>,
    /// Accounts, groups and subordinate ids of the host, for collision checks.
    pub ids: Ids,
    /// The entries of /proc that are not processes.
    pub proc: ProcTree,
}

/// Release of the running kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kernel {
    /// As `uname -r` prints it.
    pub release: String,
    /// Its first two numbers; (0, 0) if it does not begin with two.
    pub version: (u32, u32),
}

impl Kernel {
    /// From a release string such as `6.1.0-56-cloud-amd64`.
    pub fn from_release(release: &str) -> Self {
        let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
        let version = match (numbers.next(), numbers.next()) {
            (Some(Ok(major)), Some(Ok(minor))) => (major, minor),
            _ => (0, 0),
        };
        Self { release: release.to_owned(), version }
    }
}

/// Kinds of namespaces that this kernel was built with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is one file of /proc/self/ns")]
pub struct Namespaces {
    /// Mount namespaces.
    pub mount: bool,
    /// PID namespaces.
    pub pid: bool,
    /// Host name namespaces.
    pub uts: bool,
    /// System V IPC and POSIX message queue namespaces.
    pub ipc: bool,
    /// User namespaces.
    pub user: bool,
    /// Cgroup namespaces.
    pub cgroup: bool,
    /// Clock offset namespaces.
    pub time: bool,
    /// Network namespaces.
    pub net: bool,
}

/// What runs as PID 1 of this host, as far as it matters to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HostInit {
    /// systemd: it owns the cgroup tree and delegates a subtree to us.
    Systemd,
    /// Anything else: the cgroup tree is nobody's.
    Other,
}

/// Capability sets of this command, one bit per capability number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// What this command may do now.
    pub effective: u64,
    /// What it could ever gain, and the most that a guest can be given.
    pub bounding: u64,
}

impl Capabilities {
    /// Whether capability `number` (`CAP_SYS_ADMIN` is 21) is effective.
    pub fn has(self, number: u32) -> bool {
        self.effective.checked_shr(number).is_some_and(|bits| bits & 1 == 1)
    }
}

impl Host {
    /// Asks what a start or an enter must know. Works for every user; what root alone may read stays empty.
    ///
    /// # Errors
    /// /proc is missing or unreadable.
    pub fn quick() -> Result<Self, HostError> {
        let uname = rustix::system::uname();
        let mounts = mounts::Mounts::read()?;
        let status = Status::read()?;
        Ok(Self {
            kernel: Kernel::from_release(&uname.release().to_string_lossy()),
            machine: uname.machine().to_string_lossy().into_owned(),
            page_size: rustix::param::page_size() as u64,
            clock_ticks: rustix::param::clock_ticks_per_second(),
            cpus: online_cpus(),
            namespaces: Namespaces::read()?,
            cgroups: CgroupLayout::of(&mounts),
            init: if Path::new("/run/systemd/system").is_dir() { HostInit::Systemd } else { HostInit::Other },
            capabilities: status.capabilities,
            euid: rustix::process::geteuid().as_raw(),
            initial_user_namespace: is_initial_user_namespace(),
            seccomp: status.seccomp,
            landlock_abi: sys::landlock_abi().ok().and_then(|abi| u32::try_from(abi).ok()),
            bpffs: mounts.of_type("bpf").next().map(|mount| mount.mount_point.clone()),
            lsms: lsms(Path::new("/sys/kernel/security")),
            lockdown: lockdown(Path::new("/sys/kernel/security")),
            unprivileged_bpf_disabled: file::text("/proc/sys/kernel/unprivileged_bpf_disabled")
                .and_then(|text| text.parse().ok()),
            ids: Ids::read(Path::new("/etc")),
            proc: ProcTree::read()?,
        })
    }

    /// Who on this host already owns an id of the range `first ..= first + count - 1`, if anybody does.
    pub fn id_range_conflict(&self, first: u32, count: u32) -> Option<Conflict> {
        self.ids.conflict(IdRange { first, count })
    }

    /// A made-up machine like a freshly installed Debian 12, for tests and documentation: plans that are compared
    /// as values must not depend on where the test runs.
    pub fn sample() -> Self {
        sample::debian_12()
    }
}

impl Namespaces {
    fn read() -> Result<Self, HostError> {
        let mut found = Self::default();
        for name in procfs::names(Path::new("/proc/self/ns"))? {
            match name.to_bytes() {
                b"mnt" => found.mount = true,
                b"pid" => found.pid = true,
                b"uts" => found.uts = true,
                b"ipc" => found.ipc = true,
                b"user" => found.user = true,
                b"cgroup" => found.cgroup = true,
                b"time" => found.time = true,
                b"net" => found.net = true,
                _ => {}
            }
        }
        Ok(found)
    }
}

/// The lines of /proc/self/status that matter.
struct Status {
    capabilities: Capabilities,
    seccomp: bool,
}

impl Status {
    fn read() -> Result<Self, HostError> {
        Ok(Self::parse(&String::from_utf8_lossy(&file::required(Path::new("/proc/self/status"))?)))
    }

    fn parse(text: &str) -> Self {
        let mut status = Self { capabilities: Capabilities::default(), seccomp: false };
        for (label, value) in text.lines().filter_map(|line| line.split_once(':')) {
            let bits = || u64::from_str_radix(value.trim(), 16).unwrap_or(0);
            match label {
                "CapEff" => status.capabilities.effective = bits(),
                "CapBnd" => status.capabilities.bounding = bits(),
                "Seccomp" => status.seccomp = true,
                _ => {}
            }
        }
        status
    }
}

/// Counts a kernel list such as `0-3,6`; 1 when it cannot be read, because one processor surely runs us.
fn online_cpus() -> u32 {
    file::text("/sys/devices/system/cpu/online").map_or(1, |list| count_list(&list)).max(1)
}

fn count_list(list: &str) -> u32 {
    let range = |part: &str| -> Option<u32> {
        let (first, end) = part.split_once('-').unwrap_or((part, part));
        end.parse::<u32>().ok()?.checked_sub(first.parse().ok()?)?.checked_add(1)
    };
    list.trim().split(',').filter_map(range).sum()
}

/// The initial user namespace maps every id onto itself.
fn is_initial_user_namespace() -> bool {
    file::text("/proc/self/uid_map")
        .is_none_or(|map| map.split_ascii_whitespace().eq(["0", "0", "4294967295"]))
}

/// Names of the security modules from the securityfs at `dir`.
fn lsms(dir: &Path) -> Vec<String> {
    file::text(dir.join("lsm"))
        .map(|list| list.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect())
        .unwrap_or_default()
}

/// The level in brackets of `none [integrity] confidentiality`, from the securityfs at `dir`.
fn lockdown(dir: &Path) -> Option<String> {
    let text = file::text(dir.join("lockdown"))?;
    let (_, rest) = text.split_once('[')?;
    Some(rest.split_once(']')?.0.to_owned())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_release_gives_its_first_two_numbers() {
        assert_eq!(Kernel::from_release("6.1.0-56-cloud-amd64").version, (6, 1));
        assert_eq!(Kernel::from_release("6.18").version, (6, 18));
        assert_eq!(Kernel::from_release("unknown").version, (0, 0));
    }

    #[test]
    fn processor_lists_are_counted() {
        assert_eq!(count_list("0-3,6\n"), 5);
        assert_eq!(count_list("0"), 1);
        assert_eq!(count_list("0-4294967295"), 0, "an overflow counts nothing rather than panicking");
        assert_eq!(count_list(""), 0);
    }

    #[test]
    fn capability_lines_are_read() {
        let status = Status::parse("Name:\tx\nCapEff:\t000001fffeffffff\nCapBnd:\t1\nSeccomp:\t0\n");
        assert!(status.capabilities.has(21) && !status.capabilities.has(24) && !status.capabilities.has(64));
        assert_eq!(status.capabilities.bounding, 1);
        assert!(status.seccomp);
    }

    #[test]
    fn lockdown_is_the_word_in_brackets() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("lockdown"), "none [integrity] confidentiality\n").unwrap();
        fs::write(dir.path().join("lsm"), "lockdown,capability,bpf").unwrap();
        assert_eq!(lockdown(dir.path()).as_deref(), Some("integrity"));
        assert_eq!(lsms(dir.path()), ["lockdown", "capability", "bpf"]);
        assert_eq!(lockdown(Path::new("/nonexistent")), None);
    }

    #[test]
    fn this_machine_answers_and_survives_json() {
        let host = Host::quick().unwrap();
        assert!(host.page_size >= 4096 && host.cpus >= 1 && host.clock_ticks > 0);
        assert!(host.proc.top.iter().any(|entry| entry.name == "uptime"));
        assert!(!host.proc.top.iter().any(|entry| entry.name.starts_with(|c: char| c.is_ascii_digit())));
        let text = serde_json::to_string(&host).unwrap();
        assert_eq!(serde_json::from_str::<Host>(&text).unwrap(), host);
    }
}
