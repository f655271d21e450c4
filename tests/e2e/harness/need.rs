//! What a trial needs of the machine. Asked of the kernel, never guessed from a version.

use std::env;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;

/// One thing that not every machine has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// To be root in the initial user namespace, with namespaces for mounts, network and processes.
    Root,
    /// User namespaces, for the shifted mode.
    UserNamespaces,
    /// A filesystem under the target directory that takes an id map (`MOUNT_ATTR_IDMAP`).
    IdMap,
    /// A mounted cgroup2 hierarchy or v1 hierarchies that can be written.
    Cgroups,
    /// The controllers of memory, tasks and processors, in either version of control groups.
    Controllers,
    /// `CAP_SYS_RESOURCE`, without which hard limits cannot be raised.
    SysResource,
    /// The Debian archive, over the network or through an image made before.
    Archive,
    /// A network that leads out of this machine.
    Network,
    /// The right to trace processes, on an architecture whose registers the tracer knows.
    Tracing,
    /// nft, and a kernel that translates addresses.
    Nat,
    /// Landlock's scope for abstract unix sockets, or BPF programs for them, as `vserver check-host` finds it.
    SocketScope,
    /// BPF programs for unix sockets, as `vserver check-host` finds them.
    SocketGuard,
    /// valgrind, and somebody who wants the counts (`cargo xtask gate`).
    Counting,
    /// A machine of its own (`cargo xtask vm --userland systemd`) that systemd runs.
    SystemdHost,
    /// make, dpkg-deb, chroot and the source tree, to make packages.
    Packaging,
}

impl Need {
    /// The word for it in `E2E_REQUIRE`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::UserNamespaces => "user-namespaces",
            Self::IdMap => "id-map",
            Self::Cgroups => "cgroups",
            Self::Controllers => "controllers",
            Self::SysResource => "sys-resource",
            Self::Archive => "archive",
            Self::Network => "network",
            Self::Tracing => "tracing",
            Self::Nat => "nat",
            Self::SocketScope => "socket-scope",
            Self::SocketGuard => "socket-guard",
            Self::Counting => "counting",
            Self::SystemdHost => "systemd-host",
            Self::Packaging => "packaging",
        }
    }

    /// Why it is missing, or nothing.
    pub fn missing(self) -> Option<String> {
        static KNOWN: Mutex<Vec<(Need, Option<String>)>> = Mutex::new(Vec::new());
        let mut known = KNOWN.lock().expect("no probe panics");
        if let Some((_, answer)) = known.iter().find(|(need, _)| *need == self) {
            return answer.clone();
        }
        let answer = self.probe();
        known.push((self, answer.clone()));
        answer
    }

    fn probe(self) -> Option<String> {
        match self {
            Self::Root => {
                // Not only the number: a container's root may lack what unshare needs.
                succeeds("unshare", &["--mount", "--net", "--pid", "--fork", "--mount-proc", "true"])
                    .then_none("root with all namespaces")
            }
            Self::UserNamespaces => succeeds("unshare", &["--user", "true"]).then_none("user namespaces"),
            Self::IdMap => probe_id_map().then_none("a filesystem with id maps under the target directory"),
            Self::Cgroups => writable_cgroups().then_none("a cgroup hierarchy that can be written"),
            Self::Controllers => has_controllers().then_none("the controllers memory, pids, cpu and cpuset"),
            Self::SysResource => has_capability(24).then_none("CAP_SYS_RESOURCE"),
            Self::Tracing => {
                let scope = fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").unwrap_or_default();
                (cfg!(target_arch = "x86_64") && scope.trim() != "3").then_none("x86-64 and ptrace(2)")
            }
            Self::Nat => {
                let rules = "table ip t { chain c { type nat hook postrouting priority 100; masquerade; }; }";
                let try_it = format!("echo '{rules}' | nft -f -");
                succeeds("unshare", &["--net", "sh", "-c", &try_it]).then_none("nft and a kernel with NAT")
            }
            Self::SocketGuard => works("bpf-lsm").then_none("bpf among the active security modules"),
            Self::SocketScope => (works("landlock-scope") || works("bpf-lsm"))
                .then_none("Landlock's scope or BPF for abstract sockets"),
            Self::Counting => (env::var_os("E2E_COUNTS").is_some() && succeeds("valgrind", &["--version"]))
                .then_none("a wish for counts, or valgrind: cargo xtask gate"),
            Self::SystemdHost => (env::var_os("E2E_MACHINE").is_some()
                && Path::new("/run/systemd/system").is_dir())
            .then_none("a machine of its own that systemd runs"),
            Self::Packaging => (succeeds("make", &["--version"])
                && succeeds("dpkg-deb", &["--version"])
                && Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Makefile").is_file())
            .then_none("make, dpkg-deb, or the source tree"),
            Self::Archive | Self::Network => reaches_archive().then_none("the Debian archive"),
        }
    }

    /// Whether `E2E_REQUIRE` (words separated by commas, or `all`) turns a lack into a failure.
    pub fn is_required(self) -> bool {
        let list = env::var("E2E_REQUIRE").unwrap_or_default();
        list.split(',').any(|word| word == self.word() || word == "all")
    }
}

trait ThenNone {
    fn then_none(self, what: &str) -> Option<String>;
}

impl ThenNone for bool {
    fn then_none(self, what: &str) -> Option<String> {
        if self { None } else { Some(what.to_owned()) }
    }
}

fn has_controllers() -> bool {
    let v2 = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
    let v1 = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let known: Vec<&str> = v2.split_whitespace().chain(v1.split([':', ',', '\n'])).collect();
    ["memory", "pids", "cpu", "cpuset"].iter().all(|name| known.contains(name))
}

fn succeeds(program: &str, arguments: &[&str]) -> bool {
    Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Whether the program under test has tried a feature of the kernel and found it.
fn works(feature: &str) -> bool {
    let Ok(output) = Command::new(super::place::program()).args(["check-host", "--json"]).output() else {
        return false;
    };
    let text = String::from_utf8_lossy(&output.stdout);
    let mut features = text.split("\"name\": ");
    features.any(|one| one.starts_with(&format!("\"{feature}\"")) && one.contains("\"answer\": \"yes\""))
}

/// By the file system's kind: the tools of Debian 12 cannot try it (`mount -o X-mount.idmap` came with util-linux
/// 2.39), and trying it in here would mean a fork among threads. A start that is refused all the same says why.
fn probe_id_map() -> bool {
    let Ok(output) =
        Command::new("stat").args(["--file-system", "--format=%T"]).arg(super::place::target()).output()
    else {
        return false;
    };
    let kind = String::from_utf8_lossy(&output.stdout);
    matches!(kind.trim(), "ext2/ext3" | "xfs" | "btrfs" | "f2fs" | "tmpfs")
}

fn writable_cgroups() -> bool {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let probe = format!("vservers-e2e-probe-{}", std::process::id());
    mounts
        .lines()
        .filter(|line| line.contains(" - cgroup"))
        .filter_map(|line| line.split(' ').nth(4))
        .map(|mount| Path::new(mount).join(&probe))
        .any(|directory| fs::create_dir(&directory).is_ok() && fs::remove_dir(&directory).is_ok())
}

/// Looks into the bounding set: what is not in there cannot be had by any means.
fn has_capability(number: u32) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let bounding = status.lines().find_map(|line| line.strip_prefix("CapBnd:")).unwrap_or("0");
    u64::from_str_radix(bounding.trim(), 16).is_ok_and(|set| set >> number & 1 == 1)
}

/// Through apt, as it knows this machine's way out.
fn reaches_archive() -> bool {
    succeeds("apt-get", &["update", "--quiet", "--option", "Acquire::Retries=1", "--error-on=any"])
}
