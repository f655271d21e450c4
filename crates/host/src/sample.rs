//! A machine that does not exist, so that plans can be compared without one.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::{
    Capabilities, CgroupLayout, EntryKind, Host, HostInit, IdRange, Ids, Kernel, Namespaces, ProcEntry,
    ProcTree, V2Hierarchy,
};

/// Directories in /proc of a Debian 12 kernel.
const DIRECTORIES: [&str; 11] =
    ["acpi", "bus", "driver", "fs", "irq", "pressure", "scsi", "sys", "sysvipc", "tty", "asound"];
/// Files in /proc of a Debian 12 kernel.
const FILES: [&str; 37] = [
    "buddyinfo",
    "cgroups",
    "cmdline",
    "consoles",
    "cpuinfo",
    "crypto",
    "devices",
    "diskstats",
    "dma",
    "execdomains",
    "fb",
    "filesystems",
    "interrupts",
    "iomem",
    "ioports",
    "kallsyms",
    "kcore",
    "key-users",
    "keys",
    "kmsg",
    "kpagecount",
    "kpageflags",
    "loadavg",
    "locks",
    "meminfo",
    "misc",
    "modules",
    "mtrr",
    "partitions",
    "stat",
    "swaps",
    "sysrq-trigger",
    "timer_list",
    "uptime",
    "version",
    "vmstat",
    "zoneinfo",
];
/// Links in /proc.
const LINKS: [&str; 4] = ["mounts", "net", "self", "thread-self"];

pub(crate) fn debian_12() -> Host {
    let every = (1 << 41) - 1;
    Host {
        kernel: Kernel::from_release("6.1.0-28-amd64"),
        machine: "x86_64".to_owned(),
        page_size: 4096,
        clock_ticks: 100,
        cpus: 2,
        namespaces: Namespaces {
            mount: true,
            pid: true,
            uts: true,
            ipc: true,
            user: true,
            cgroup: true,
            time: true,
            net: true,
        },
        cgroups: CgroupLayout {
            v1: Vec::new(),
            v2: Some(V2Hierarchy {
                mount: PathBuf::from("/sys/fs/cgroup"),
                controllers: words("cpuset cpu io memory hugetlb pids rdma misc"),
                nsdelegate: true,
            }),
            v2_obtainable: true,
        },
        init: HostInit::Systemd,
        capabilities: Capabilities { effective: every, bounding: every },
        euid: 0,
        initial_user_namespace: true,
        seccomp: true,
        landlock_abi: Some(2),
        bpffs: Some(PathBuf::from("/sys/fs/bpf")),
        lsms: words("lockdown capability landlock yama apparmor tomoyo bpf"),
        lockdown: Some("none".to_owned()),
        unprivileged_bpf_disabled: Some(2),
        ids: Ids {
            users: accounts(&[(0, "root"), (1000, "admin"), (65534, "nobody")]),
            groups: accounts(&[(0, "root"), (1000, "admin"), (65534, "nogroup")]),
            subordinate_users: vec![("admin".to_owned(), IdRange { first: 100_000, count: 65_536 })],
            subordinate_groups: vec![("admin".to_owned(), IdRange { first: 100_000, count: 65_536 })],
        },
        proc: proc_tree(),
    }
}

fn proc_tree() -> ProcTree {
    let entry = |kind| move |name: &str| ProcEntry { name: name.to_owned(), kind };
    let directories = |names: &str| names.split(' ').map(entry(EntryKind::Directory)).collect::<Vec<_>>();
    let files = |names: &str| names.split(' ').map(entry(EntryKind::File)).collect::<Vec<_>>();
    let mut top: Vec<ProcEntry> = DIRECTORIES.into_iter().map(entry(EntryKind::Directory)).collect();
    top.extend(FILES.into_iter().map(entry(EntryKind::File)));
    top.extend(LINKS.into_iter().map(entry(EntryKind::Link)));
    top.sort_by(|a, b| a.name.cmp(&b.name));
    ProcTree {
        top,
        below: vec![
            ("self/net".to_owned(), files("arp dev nf_conntrack route tcp udp unix")),
            ("sys".to_owned(), directories("abi debug dev fs kernel net user vm")),
            ("fs".to_owned(), directories("ext4 jbd2")),
            ("bus".to_owned(), directories("input pci")),
            ("driver".to_owned(), files("rtc")),
            ("tty".to_owned(), files("drivers ldiscs")),
            ("sysvipc".to_owned(), files("msg sem shm")),
        ],
    }
}

fn words(list: &str) -> Vec<String> {
    list.split(' ').map(str::to_owned).collect()
}

fn accounts(list: &[(u32, &str)]) -> BTreeMap<u32, String> {
    list.iter().map(|&(id, name)| (id, name.to_owned())).collect()
}
