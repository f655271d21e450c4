//! The one table of kernel features: what each is needed for, how it is tried, what is lost without it, and what to
//! do then. `vserver check-host`, its `--json` and `docs/kernel-features.md` are made from it.

use serde::{Serialize, Serializer};

use crate::probe::{self, Probe};

/// One feature of the kernel that the product uses.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Feature {
    /// Its key in `--json`; never changes.
    pub name: &'static str,
    /// What it is called for people.
    pub title: &'static str,
    /// Who needs it.
    pub needed: Needed,
    /// How it is tried.
    pub how: &'static str,
    /// What does not work without it.
    pub lost: &'static str,
    /// What the administrator can do about it.
    pub remedy: &'static str,
    /// The trial itself.
    #[serde(skip)]
    pub(crate) probe: Probe,
}

/// Who needs a feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needed {
    /// Every guest: without it none is started.
    ForGuests,
    /// Guests of one confinement mode; those of the other still run.
    ForMode(ModeName),
    /// Something that not every guest uses, named in a few words.
    ForFunction(&'static str),
}

/// The two confinement modes, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ModeName {
    /// With a user namespace of its own over an id-mapped tree.
    Shifted,
    /// Without a user namespace, held by capabilities, masks and a filter.
    Classic,
}

impl ModeName {
    /// The word that documentation and messages use.
    pub fn word(self) -> &'static str {
        match self {
            Self::Shifted => "shifted",
            Self::Classic => "classic",
        }
    }
}

impl Needed {
    /// In words: `every guest`, `shifted guests`, or the function.
    pub fn words(self) -> &'static str {
        match self {
            Self::ForGuests => "every guest",
            Self::ForMode(ModeName::Shifted) => "shifted guests",
            Self::ForMode(ModeName::Classic) => "classic guests",
            Self::ForFunction(words) => words,
        }
    }
}

impl Serialize for Needed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.words())
    }
}

/// For what most missing features of an old or small kernel have in common.
const OTHER_KERNEL: &str = "run a distribution's kernel, 6.1 or newer";

/// Every feature, in the order in which it is tried and shown.
pub const FEATURES: &[Feature] = &[
    // ---- every guest
    Feature {
        name: "mount-namespace",
        title: "mount namespaces",
        needed: Needed::ForGuests,
        how: "a child makes one and pivots into an empty tmpfs",
        lost: "a guest has no root of its own",
        remedy: OTHER_KERNEL,
        probe: Probe::Child(probe::namespaces::mount),
    },
    Feature {
        name: "pid-namespace",
        title: "PID namespaces",
        needed: Needed::ForGuests,
        how: "a child is cloned into one, finds itself to be 1 and mounts proc",
        lost: "a guest would see and could signal the host's processes",
        remedy: OTHER_KERNEL,
        probe: Probe::Child(probe::namespaces::pid),
    },
    Feature {
        name: "uts-namespace",
        title: "host name namespaces",
        needed: Needed::ForGuests,
        how: "a child makes one and sets its host name",
        lost: "no host name of its own",
        remedy: OTHER_KERNEL,
        probe: Probe::Child(probe::namespaces::uts),
    },
    Feature {
        name: "ipc-namespace",
        title: "IPC namespaces",
        needed: Needed::ForGuests,
        how: "a child makes one and mounts mqueue",
        lost: "guests share System V memory, semaphores and message queues with the host",
        remedy: OTHER_KERNEL,
        probe: Probe::Child(probe::namespaces::ipc),
    },
    Feature {
        name: "cgroup-namespace",
        title: "cgroup namespaces",
        needed: Needed::ForGuests,
        how: "a child makes one",
        lost: "a guest sees the host's cgroup tree, and systemd in it does not start",
        remedy: OTHER_KERNEL,
        probe: Probe::Child(probe::namespaces::cgroup),
    },
    Feature {
        name: "pidfd-enter",
        title: "entering by pidfd",
        needed: Needed::ForGuests,
        how: "clone3 makes a child in new namespaces, a second child enters all of them through its pidfd",
        lost: "no guest can be entered without mistaking one process for another",
        remedy: OTHER_KERNEL,
        probe: Probe::Child(probe::namespaces::enter),
    },
    Feature {
        name: "openat2",
        title: "opening beneath a directory",
        needed: Needed::ForGuests,
        how: "openat2 must refuse a symbolic link that leads out of a scratch directory",
        lost: "paths in a guest's tree could lead the host's root elsewhere",
        remedy: OTHER_KERNEL,
        probe: Probe::Child(probe::mounts::openat2),
    },
    Feature {
        name: "mount-api",
        title: "mounts by descriptor",
        needed: Needed::ForGuests,
        how: "fsopen, fsmount, open_tree, mount_setattr and move_mount on a scratch tmpfs",
        lost: "a guest's file systems cannot be prepared where it cannot interfere",
        remedy: OTHER_KERNEL,
        probe: Probe::Child(probe::mounts::mount_api),
    },
    Feature {
        name: "tmpfs-nodes",
        title: "device nodes on tmpfs",
        needed: Needed::ForGuests,
        how: "a null node is made on a detached tmpfs and written to",
        lost: "a guest has no /dev",
        remedy: "give this command CAP_MKNOD: it may be running in a container",
        probe: Probe::Child(probe::mounts::tmpfs_nodes),
    },
    Feature {
        name: "devpts",
        title: "separate pseudo terminals",
        needed: Needed::ForGuests,
        how: "a new devpts instance gives a master and its peer",
        lost: "no terminals inside guests, no enter",
        remedy: OTHER_KERNEL,
        probe: Probe::Child(probe::mounts::devpts),
    },
    Feature {
        name: "close-range",
        title: "closing descriptors before exec",
        needed: Needed::ForGuests,
        how: "close_range marks all descriptors of a child",
        lost: "a descriptor of the host could leak into a guest",
        remedy: OTHER_KERNEL,
        probe: Probe::Child(probe::process::close_range),
    },
    Feature {
        name: "cgroup2",
        title: "cgroup2 groups",
        needed: Needed::ForGuests,
        how: "a scratch group is made in the mounted cgroup2 hierarchy, or in one mounted privately",
        lost: "no place for a guest's processes, device rules and addresses",
        remedy: "mount cgroup2, or run vserver outside of a container",
        probe: Probe::Child(probe::cgroups::cgroup2),
    },
    Feature {
        name: "clone-into-cgroup",
        title: "starting in a cgroup, killing all of it",
        needed: Needed::ForGuests,
        how: "clone3 makes a child in the scratch group and cgroup.kill ends it",
        lost: "a guest's processes cannot be ended as one",
        remedy: OTHER_KERNEL,
        probe: Probe::Child(probe::cgroups::clone_and_kill),
    },
    Feature {
        name: "bpf-device",
        title: "device rules by BPF",
        needed: Needed::ForGuests,
        how: "a program that allows nothing is attached to the scratch group; a child there must fail to open a node",
        lost: "a guest could open any device that it finds a node for",
        remedy: "a kernel with CONFIG_CGROUP_BPF; in a container, CAP_BPF and CAP_SYS_ADMIN",
        probe: Probe::Child(probe::bpf::device),
    },
    // ---- modes
    Feature {
        name: "user-namespace",
        title: "user namespaces",
        needed: Needed::ForMode(ModeName::Shifted),
        how: "one with 65536 ids is made by an unprivileged id and a child enters it as root",
        lost: "every guest runs in classic mode",
        remedy: "sysctl user.max_user_namespaces=65536; Debian: kernel.unprivileged_userns_clone=1",
        probe: Probe::Child(probe::namespaces::user),
    },
    Feature {
        name: "idmap",
        title: "id-mapped mounts of the guests' directory",
        needed: Needed::ForMode(ModeName::Shifted),
        how: "a detached copy of the mount that holds the guests is id-mapped",
        lost: "trees there can only be used in classic mode",
        remedy: "keep guests on ext4, xfs or btrfs (tmpfs from Linux 6.3 on)",
        probe: Probe::Child(probe::mounts::idmap_guests),
    },
    Feature {
        name: "seccomp",
        title: "system call filters",
        needed: Needed::ForMode(ModeName::Classic),
        how: "a child installs a filter that refuses getpgid",
        lost: "classic guests are refused: kexec, open_by_handle_at and the keyrings would be open to them",
        remedy: "a kernel with CONFIG_SECCOMP_FILTER",
        probe: Probe::Child(probe::process::seccomp),
    },
    // ---- functions
    Feature {
        name: "time-namespace",
        title: "time namespaces",
        needed: Needed::ForFunction("uptime that begins with the guest (virt_uptime)"),
        how: "a child starts with its clocks at zero and reads /proc/uptime",
        lost: "guests show the host's uptime",
        remedy: OTHER_KERNEL,
        probe: Probe::Child(probe::namespaces::time),
    },
    Feature {
        name: "net-namespace",
        title: "network namespaces",
        needed: Needed::ForFunction("guests with a network stack of their own (spaces/net, netns/)"),
        how: "a child makes one",
        lost: "all guests share the host's network",
        remedy: OTHER_KERNEL,
        probe: Probe::Child(probe::namespaces::net),
    },
    Feature {
        name: "freezer",
        title: "freezing a guest",
        needed: Needed::ForFunction("stopping all processes of a guest at once"),
        how: "cgroup.freeze of the scratch group, or the v1 freezer",
        lost: "a guest that forks while it is stopped may need several signals",
        remedy: OTHER_KERNEL,
        probe: Probe::Child(probe::cgroups::freeze),
    },
    Feature {
        name: "limit-memory",
        title: "memory limits",
        needed: Needed::ForFunction("rlimits/rss and memory.* in cgroup/"),
        how: "a limit is written in a scratch group (v1), or the controller is offered (v2)",
        lost: "guests' memory is unlimited, and vserver-stat adds up processes instead",
        remedy: "boot with cgroup_enable=memory",
        probe: Probe::Child(probe::cgroups::memory),
    },
    Feature {
        name: "limit-cpu",
        title: "processor shares and limits",
        needed: Needed::ForFunction("sched/ and cpu.* in cgroup/"),
        how: "a weight is written in a scratch group (v1), or the controller is offered (v2)",
        lost: "guests compete for the processor process by process",
        remedy: "a kernel with CONFIG_CFS_BANDWIDTH and CONFIG_FAIR_GROUP_SCHED",
        probe: Probe::Child(probe::cgroups::cpu),
    },
    Feature {
        name: "limit-pids",
        title: "limits of the number of processes",
        needed: Needed::ForFunction("rlimits/nproc"),
        how: "a limit is written in a scratch group (v1), or the controller is offered (v2)",
        lost: "a fork bomb in a guest stops the host",
        remedy: "a kernel with CONFIG_CGROUP_PIDS",
        probe: Probe::Child(probe::cgroups::pids),
    },
    Feature {
        name: "limit-io",
        title: "disk bandwidth limits",
        needed: Needed::ForFunction("io.* and blkio.* in cgroup/"),
        how: "a scratch group has the throttle file (v1), or the controller is offered (v2)",
        lost: "guests' disk bandwidth is unlimited",
        remedy: "a kernel with CONFIG_BLK_DEV_THROTTLING",
        probe: Probe::Child(probe::cgroups::io),
    },
    Feature {
        name: "limit-cpuset",
        title: "binding to processors",
        needed: Needed::ForFunction("cpuset/ and the number of processors that a guest sees"),
        how: "the processors are read in a scratch group (v1), or the controller is offered (v2)",
        lost: "guests use every processor",
        remedy: "a kernel with CONFIG_CPUSETS",
        probe: Probe::Child(probe::cgroups::cpuset),
    },
    Feature {
        name: "pressure",
        title: "pressure information",
        needed: Needed::ForFunction("showing how much guests wait"),
        how: "/proc/pressure/memory is read",
        lost: "vtop and the metrics lack the waiting times",
        remedy: "boot with psi=1",
        probe: Probe::Look(probe::cgroups::pressure),
    },
    Feature {
        name: "raise-limits",
        title: "raising hard limits",
        needed: Needed::ForFunction("ulimits/ above the host's own, badness below 0"),
        how: "a child lowers a hard limit, raises it again, and protects itself from the OOM killer",
        lost: "limits above those of the starting shell are refused",
        remedy: "start vserver with CAP_SYS_RESOURCE",
        probe: Probe::Child(probe::process::raise_limits),
    },
    Feature {
        name: "negative-nice",
        title: "priorities above normal",
        needed: Needed::ForFunction("nice below 0"),
        how: "a child gives itself nice -1",
        lost: "nice below 0 is refused",
        remedy: "start vserver with CAP_SYS_NICE",
        probe: Probe::Child(probe::process::negative_nice),
    },
    Feature {
        name: "personality",
        title: "32-bit personality",
        needed: Needed::ForFunction("personality and uts/machine of 32-bit guests"),
        how: "a child sets PER_LINUX32",
        lost: "uname in a 32-bit guest shows the host's machine",
        remedy: OTHER_KERNEL,
        probe: Probe::Child(probe::process::personality),
    },
    Feature {
        name: "bpf-bind",
        title: "address rules by BPF",
        needed: Needed::ForFunction("telling a guest why an address is refused (interfaces/, chbind)"),
        how: "a program that answers EADDRNOTAVAIL is attached to the scratch group; a child there must get it from bind",
        lost: "a guest that binds a foreign address is told EPERM instead of EADDRNOTAVAIL",
        remedy: "Linux 5.18 or newer with CONFIG_CGROUP_BPF",
        probe: Probe::Child(probe::bpf::bind),
    },
    Feature {
        name: "bpf-sockets",
        title: "all BPF programs of a network context",
        needed: Needed::ForFunction(
            "guests in the host's network (unless noncontext): they are not started without",
        ),
        how: "the programs for bind, connect, sendmsg, recvmsg, names, socket creation, packets and listen are loaded",
        lost: "guests in the host's network cannot be confined to their addresses",
        remedy: OTHER_KERNEL,
        probe: Probe::Child(probe::bpf::sockets),
    },
    Feature {
        name: "bpf-sk-lookup",
        title: "BPF socket lookup",
        needed: Needed::ForFunction("several guests listening on the same port of all their addresses"),
        how: "a minimal program is loaded",
        lost: "a server that listens on all addresses is reached on the guest's first one only",
        remedy: "Linux 5.9 or newer",
        probe: Probe::Child(probe::bpf::sk_lookup),
    },
    Feature {
        name: "bpf-classifier",
        title: "BPF classifiers on devices",
        needed: Needed::ForFunction("UDP servers on all addresses of a guest, and ping from guests"),
        how: "a minimal program is attached to the loopback of a scratch network namespace",
        lost: "a UDP server on all addresses is reached on the first one only; ping needs its source address given",
        remedy: "modprobe sch_ingress and cls_bpf, or a kernel with CONFIG_NET_CLS_BPF and CONFIG_NET_SCH_INGRESS",
        probe: Probe::Child(probe::bpf::classifier),
    },
    Feature {
        name: "btf",
        title: "type information of the kernel",
        needed: Needed::ForFunction(
            "views of /proc/meminfo, loadavg and stat (virt_mem, virt_load, virt_cpu), servers on :: for IPv4 too",
        ),
        how: "/sys/kernel/btf/vmlinux is read",
        lost: "guests see the host's numbers; a guest's server on :: is reached by IPv6 only",
        remedy: "a kernel with CONFIG_DEBUG_INFO_BTF",
        probe: Probe::Look(probe::bpf::btf),
    },
    Feature {
        name: "bpf-iterators",
        title: "BPF iterators",
        needed: Needed::ForFunction(
            "views of /proc/meminfo, loadavg and stat (virt_mem, virt_load, virt_cpu)",
        ),
        how: "a minimal program of type iter/task is loaded",
        lost: "guests see the host's numbers",
        remedy: "a kernel with BTF, not under lockdown=confidentiality",
        probe: Probe::Child(probe::bpf::iterators),
    },
    Feature {
        name: "bpffs",
        title: "pinned BPF objects",
        needed: Needed::ForFunction("loading shared programs once for all guests"),
        how: "a bpf file system is mounted, detached",
        lost: "every start loads its programs anew",
        remedy: "a kernel with CONFIG_BPF_SYSCALL",
        probe: Probe::Child(probe::mounts::bpffs),
    },
    Feature {
        name: "bpf-lsm",
        title: "BPF security hooks",
        needed: Needed::ForFunction(
            "keeping guests, and programs that enter them, from the host's abstract sockets",
        ),
        how: "a child in a group with the product's programs must fail to reach an abstract socket of its parent's",
        lost: "Landlock does it for a guest's own processes, from Linux 6.12 on; programs that enter can reach them",
        remedy: "boot with bpf in the list of security modules: lsm=landlock,lockdown,yama,apparmor,bpf, or what \
                 /sys/kernel/security/lsm shows, and bpf",
        probe: Probe::Child(probe::bpf::lsm),
    },
    Feature {
        name: "seccomp-notify",
        title: "answered system calls",
        needed: Needed::ForFunction("hide_netif, secure_mount, quota_ctl, mknod (brokered privileges)"),
        how: "a child installs a filter with a listener",
        lost: "guests with these flags are refused",
        remedy: "Linux 5.14 or newer with CONFIG_SECCOMP_FILTER",
        probe: Probe::Child(probe::process::seccomp_notify),
    },
    Feature {
        name: "landlock-scope",
        title: "Landlock scope for abstract sockets",
        needed: Needed::ForFunction("keeping guests in the host's network from its abstract sockets"),
        how: "a confined child must fail to reach an abstract socket that it made before",
        lost: "a guest in the host's network can reach abstract sockets of the host (D-Bus, container runtimes)",
        remedy: "Linux 6.12 or newer with landlock in the lsm= list, or give the guest its own network (spaces/net)",
        probe: Probe::Child(probe::process::landlock_scope),
    },
    Feature {
        name: "ping-sockets",
        title: "ICMP sockets for everybody",
        needed: Needed::ForFunction("ping in guests in the host's network"),
        how: "/proc/sys/net/ipv4/ping_group_range is read",
        lost: "ping says \"Operation not permitted\" in shifted guests, and in classic ones without NET_RAW",
        remedy: "sysctl -w net.ipv4.ping_group_range=\"0 2147483647\", as systemd does, and a line in /etc/sysctl.d",
        probe: Probe::Look(probe::network::ping_sockets),
    },
    Feature {
        name: "veth",
        title: "veth pairs",
        needed: Needed::ForFunction("netns/ with a bridge or routes"),
        how: "one is made in a scratch network namespace",
        lost: "no pair between host and guest",
        remedy: "modprobe veth, or a kernel with CONFIG_VETH",
        probe: Probe::Child(probe::network::veth),
    },
    Feature {
        name: "macvlan",
        title: "macvlan devices",
        needed: Needed::ForFunction("a guest with its own address on the wire at full speed"),
        how: "one is made in a scratch network namespace",
        lost: "veth and a bridge do it, slower",
        remedy: "modprobe macvlan, or a kernel with CONFIG_MACVLAN",
        probe: Probe::Child(probe::network::macvlan),
    },
    Feature {
        name: "ipvlan",
        title: "ipvlan devices",
        needed: Needed::ForFunction("the same where the switch allows one hardware address"),
        how: "one is made in a scratch network namespace",
        lost: "macvlan or veth instead",
        remedy: "modprobe ipvlan, or a kernel with CONFIG_IPVLAN",
        probe: Probe::Child(probe::network::ipvlan),
    },
    Feature {
        name: "bridge",
        title: "bridges",
        needed: Needed::ForFunction("connecting guests with networks of their own"),
        how: "one is made in a scratch network namespace",
        lost: "veth pairs need routes",
        remedy: "modprobe bridge, or a kernel with CONFIG_BRIDGE",
        probe: Probe::Child(probe::network::bridge),
    },
    Feature {
        name: "dummy",
        title: "dummy devices",
        needed: Needed::ForFunction("addresses that belong to no wire; hide_netif's mirror devices"),
        how: "one is made in a scratch network namespace",
        lost: "veth pairs take their place",
        remedy: "modprobe dummy, or a kernel with CONFIG_DUMMY",
        probe: Probe::Child(probe::network::dummy),
    },
    Feature {
        name: "vlan",
        title: "VLAN devices",
        needed: Needed::ForFunction("interfaces on DEV.ID"),
        how: "one is made on a scratch device",
        lost: "VLAN devices are not made",
        remedy: "modprobe 8021q, or a kernel with CONFIG_VLAN_8021Q",
        probe: Probe::Child(probe::network::vlan),
    },
    Feature {
        name: "tun",
        title: "tun and tap devices",
        needed: Needed::ForFunction("interfaces with tun or tap, VPN daemons in guests"),
        how: "a tun node on a scratch tmpfs is opened",
        lost: "tunnels do not work",
        remedy: "modprobe tun, or a kernel with CONFIG_TUN",
        probe: Probe::Child(probe::network::tun),
    },
    Feature {
        name: "overlay",
        title: "overlay mounts",
        needed: Needed::ForFunction("clones that share a template's files"),
        how: "one is mounted over a scratch tmpfs and written to",
        lost: "clones copy or link files",
        remedy: "modprobe overlay, or a kernel with CONFIG_OVERLAY_FS",
        probe: Probe::Child(probe::mounts::overlay),
    },
    Feature {
        name: "overlay-userns",
        title: "overlay mounts inside shifted guests",
        needed: Needed::ForFunction("container engines inside guests"),
        how: "one is mounted in a user namespace",
        lost: "engines inside guests copy their layers",
        remedy: "Linux 5.11 or newer",
        probe: Probe::Child(probe::mounts::overlay_in_user_namespace),
    },
    Feature {
        name: "fuse",
        title: "FUSE",
        needed: Needed::ForFunction("FUSE in guests"),
        how: "a fuse file system context is opened",
        lost: "guests mount no file systems of processes of theirs",
        remedy: "modprobe fuse, or a kernel with CONFIG_FUSE_FS",
        probe: Probe::Child(probe::mounts::fuse),
    },
    Feature {
        name: "hidepid",
        title: "hiding processes of other users",
        needed: Needed::ForFunction("hidepid inside guests"),
        how: "proc is mounted with hidepid=invisible in a PID namespace",
        lost: "users inside a guest see each other's processes",
        remedy: OTHER_KERNEL,
        probe: Probe::Child(probe::mounts::hidepid),
    },
    Feature {
        name: "idmap-tmpfs",
        title: "id-mapped tmpfs",
        needed: Needed::ForFunction("shifted guests whose tree is on tmpfs"),
        how: "a scratch tmpfs is id-mapped",
        lost: "trees on tmpfs can only be used in classic mode",
        remedy: "Linux 6.3 or newer",
        probe: Probe::Child(probe::mounts::idmap_tmpfs),
    },
    Feature {
        name: "binfmt-userns",
        title: "own binary formats in guests",
        needed: Needed::ForFunction("guests of another architecture with their own emulator"),
        how: "binfmt_misc is mounted in a user namespace",
        lost: "emulators are registered on the host, for all",
        remedy: "Linux 6.7 or newer with CONFIG_BINFMT_MISC",
        probe: Probe::Child(probe::mounts::binfmt_in_user_namespace),
    },
    Feature {
        name: "reflink",
        title: "sharing file contents (reflink)",
        needed: Needed::ForFunction("clones and unification without hard links"),
        how: "an unnamed file in the guests' directory is cloned",
        lost: "files are shared by hard links or copied",
        remedy: "keep guests on xfs (reflink=1) or btrfs",
        probe: Probe::Child(probe::files::reflink),
    },
    Feature {
        name: "immutable-flag",
        title: "the immutable flag",
        needed: Needed::ForFunction("protecting unified files"),
        how: "it is set and cleared on an unnamed file in the guests' directory",
        lost: "unified files are protected by copying only",
        remedy: "keep guests on ext4, xfs or btrfs; CAP_LINUX_IMMUTABLE",
        probe: Probe::Child(probe::files::immutable),
    },
    Feature {
        name: "project-quota",
        title: "project quota on the guests' directory",
        needed: Needed::ForFunction("disk limits (dlimits/)"),
        how: "its state is asked of the file system",
        lost: "dlimits/ cannot be enforced",
        remedy: "ext4: tune2fs -O project,quota and mount -o prjquota; xfs: mount -o prjquota",
        probe: Probe::Child(probe::files::project_quota),
    },
    Feature {
        name: "user-quota",
        title: "user quota on the guests' directory",
        needed: Needed::ForFunction("quotas inside guests (quota_ctl)"),
        how: "its state is asked of the file system",
        lost: "quota tools in guests find nothing",
        remedy: "mount the file system with usrquota; the kernel needs CONFIG_QFMT_V2 or CONFIG_XFS_QUOTA",
        probe: Probe::Child(probe::files::user_quota),
    },
    Feature {
        name: "tmpfs-quota",
        title: "quota on tmpfs",
        needed: Needed::ForFunction("user quota on a guest's /tmp"),
        how: "a tmpfs is mounted with usrquota, detached",
        lost: "a guest's /tmp has a size limit only",
        remedy: "Linux 6.6 or newer with CONFIG_TMPFS_QUOTA",
        probe: Probe::Child(probe::mounts::tmpfs_quota),
    },
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const INTRODUCTION: &str = "\
# What is asked of the kernel

This page is made from the table that `vserver check-host` works through (`crates/host/src/features.rs`); a test compares
the two, and `VSERVER_WRITE_DOCS=1 cargo test -p vserver-host` writes the page anew.

`vserver check-host` really tries each feature: in a child process, in namespaces and cgroups that are gone afterwards. Its
exit status is 0 when guests can run here, 1 otherwise; `--json` prints the same for programs, with the names below. Root
is needed: without it, most answers are *unknown*. A trial may make the kernel load a module, as the real use would.

Guests can run where everything in the first section is there, and everything in the second or the third. What is missing
from the last section costs the function that is named with it, and nothing else.
";

    /// The table as a chapter of the documentation: `docs/kernel-features.md`.
    fn as_markdown() -> String {
        let one = |needed: Needed| move |feature: &&Feature| feature.needed == needed;
        let function = |feature: &&Feature| matches!(feature.needed, Needed::ForFunction(_));
        let chapters = [
            section("Every guest", FEATURES.iter().filter(one(Needed::ForGuests))),
            section("Shifted guests", FEATURES.iter().filter(one(Needed::ForMode(ModeName::Shifted)))),
            section("Classic guests", FEATURES.iter().filter(one(Needed::ForMode(ModeName::Classic)))),
            section("Single functions", FEATURES.iter().filter(function)),
        ];
        format!("{INTRODUCTION}{}", chapters.concat())
    }

    fn section<'a>(title: &str, features: impl Iterator<Item = &'a Feature>) -> String {
        let mut lines = vec![format!("\n## {title}\n")];
        for feature in features {
            let (first, rest) = feature.title.split_at(1);
            lines.push(format!("\n### {}{rest} (`{}`)\n\n", first.to_uppercase(), feature.name));
            if let Needed::ForFunction(function) = feature.needed {
                lines.push(format!("- for: {function}\n"));
            }
            lines.push(format!("- tried: {}\n", feature.how));
            lines.push(format!("- without it: {}\n", feature.lost));
            lines.push(format!("- way out: {}\n", feature.remedy));
        }
        lines.concat()
    }

    #[test]
    fn names_are_unique_keys_and_texts_are_texts() {
        let names: BTreeSet<&str> = FEATURES.iter().map(|feature| feature.name).collect();
        assert_eq!(names.len(), FEATURES.len());
        for feature in FEATURES {
            assert!(
                feature.name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'),
                "{}",
                feature.name
            );
            for text in [feature.title, feature.how, feature.lost, feature.remedy, feature.needed.words()] {
                assert!(
                    !text.is_empty() && !text.ends_with('.') && !text.contains('\n'),
                    "{}: {text}",
                    feature.name
                );
            }
            assert!(feature.title.len() <= 42, "{}: the table has room for 42 columns", feature.name);
        }
    }

    #[test]
    fn the_documentation_says_the_same() {
        let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/kernel-features.md");
        if std::env::var_os("VSERVER_WRITE_DOCS").is_some() {
            std::fs::write(&page, as_markdown()).unwrap();
        }
        let written = std::fs::read_to_string(&page).unwrap();
        assert!(written == as_markdown(), "{} is out of date; see its second paragraph", page.display());
    }
}
