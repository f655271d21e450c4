//! The one table of configuration items.
//!
//! Every file that may stand below a guest's directory, `.defaults` or `.distributions` has a row: its type, default,
//! meaning, and whether this version acts on it. The reference is printed from it, a file that no row covers is
//! reported, and a row that is read but not acted on tells the administrator so instead of being ignored in silence.

use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use serde::Serialize;

/// The directory that an item's path is relative to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Base {
    /// `/etc/vservers/NAME`
    Guest,
    /// `/etc/vservers/.defaults`
    Defaults,
    /// `/etc/vservers/.distributions`
    Distributions,
}

/// How an item is stored, and so which reader takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Type {
    /// Only existence counts; the content is never read.
    Bool,
    /// One value on the first line; blanks around it do not count.
    Scalar,
    /// One item a line; blanks around it, blank lines and lines that begin with `#` do not count.
    List,
    /// One item a line, taken as it is; only empty lines do not count.
    Array,
    /// `VARIABLE=VALUE` a line, taken as it is.
    Hash,
    /// A symbolic link.
    Link,
    /// Text in a form of its own.
    Data,
    /// A program.
    Prog,
    /// A directory whose existence means something.
    Dir,
}

/// Where an item comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Since {
    /// The original tools.
    Original,
    /// The PLD Linux packages of the original tools.
    Pld,
    /// An addition of ours.
    Ours,
}

/// Whether this version acts on an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Honoured {
    /// It does.
    Yes,
    /// Read and validated; the mechanism named here is missing.
    Later(&'static str),
    /// It does something less than the words say; what.
    Partly(&'static str),
    /// `vserver … build` reads it.
    BuildOnly,
    /// Never will; why.
    Unsupported(&'static str),
    /// A command other than start and stop reads it.
    OtherCommand,
}

/// One row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Item {
    /// The directory that the path is relative to.
    pub base: Base,
    /// The path: `*` stands for any name, `{a,b}` for either, a last `**` for everything below.
    pub path: &'static str,
    /// How it is stored.
    pub kind: Type,
    /// What holds when it is absent, in words.
    pub default: &'static str,
    /// Where it comes from.
    pub since: Since,
    /// Whether this version acts on it.
    pub honoured: Honoured,
    /// The field of [`Guest`](crate::Guest) that holds it; empty when only another command reads it.
    pub field: &'static str,
    /// What it is for.
    pub help: &'static str,
}

impl Item {
    const fn since(self, since: Since) -> Self {
        Self { since, ..self }
    }

    /// Whether a path relative to the base is this item.
    pub fn matches(&self, path: &Path) -> bool {
        let mut names = path.iter();
        for pattern in self.path.split('/') {
            if pattern == "**" {
                return names.next().is_some();
            }
            match names.next() {
                Some(name) if segment_matches(pattern, name.as_bytes()) => {}
                _ => return false,
            }
        }
        names.next().is_none()
    }

    /// Whether this item is, or may lie, below the directory of this relative path.
    pub fn is_below(&self, dir: &Path) -> bool {
        let mut patterns = self.path.split('/');
        for name in dir {
            match patterns.next() {
                Some("**") => return true,
                Some(pattern) if segment_matches(pattern, name.as_bytes()) => {}
                _ => return false,
            }
        }
        patterns.next().is_some()
    }
}

/// The row of a path relative to its base.
pub fn find(base: Base, path: &Path) -> Option<&'static Item> {
    ITEMS.iter().find(|item| item.base == base && item.matches(path))
}

/// Whether a directory is one that some item lies in.
pub fn is_known_dir(base: Base, dir: &Path) -> bool {
    ITEMS.iter().any(|item| item.base == base && item.is_below(dir))
}

/// The names that items (and directories of items) can have directly in a directory, for guessing what a misspelt
/// one was meant to be.
pub fn names_in(base: Base, dir: &Path) -> Vec<String> {
    let depth = dir.iter().count();
    let mut names: Vec<String> = ITEMS
        .iter()
        .filter(|item| item.base == base && item.is_below(dir))
        .filter_map(|item| item.path.split('/').nth(depth))
        .filter(|segment| !segment.contains('*'))
        .flat_map(expand)
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// One component of a pattern against a name.
fn segment_matches(pattern: &str, name: &[u8]) -> bool {
    if pattern.contains('{') {
        return expand(pattern).iter().any(|plain| segment_matches(plain, name));
    }
    match pattern.split_once('*') {
        None => pattern.as_bytes() == name,
        Some((head, tail)) => {
            name.len() > head.len() + tail.len()
                && name.starts_with(head.as_bytes())
                && name.ends_with(tail.as_bytes())
        }
    }
}

/// `a{b,c}{,d}` as `ab ac abd acd`, in some order.
fn expand(pattern: &str) -> Vec<String> {
    let Some((head, rest)) = pattern.split_once('{') else { return vec![pattern.to_owned()] };
    let (choices, tail) = rest.split_once('}').unwrap_or((rest, ""));
    let tails = expand(tail);
    choices
        .split(',')
        .flat_map(|choice| tails.iter().map(move |tail| format!("{head}{choice}{tail}")))
        .collect()
}

/// Words of the list files that this version does not act on yet: item, word, mechanism. A word that no row names
/// is honoured, is the way things are anyway, or never had an effect.
pub const WORDS_NOT_YET: &[(&str, &str, &str)] = &[
    ("cflags", "virt_time", CLOCK),
    ("cflags", "reboot_kill", HELPER),
    ("cflags", "prolific", BROKER),
    ("cflags", "igneg_nice", BROKER),
    ("cflags", "igneg_ionice", BROKER),
    ("nflags", "private", BROKER),
    ("nflags", "sc_helper", HELPER),
    ("ncapabilities", "tun_create", BROKER),
];

const CLOCK: &str = "a wall clock of the guest's own, which stock kernels do not have";
const BROKER: &str = "brokered privileges";
const HELPER: &str = "helper events other than reboot and halt";
const BUCKET: Honoured = Partly(
    "fill-rate and interval become a quota with sched_hard, a weight with sched_prio or idle-time; tokens-max is the burst, \
     priority-bias a weight; what is set for single processors is summed up",
);
const DISK: &str = "disk limits";
const DEVICES: &str = "device maps";
const OLD_KERNELS: &str = "only kernels before 2.6 had it";
const DEFAULTS_ONLY: &str = "it is read from .defaults/cgroup only";

use Honoured::{BuildOnly, Later, OtherCommand, Partly, Unsupported, Yes};
use Since::{Ours, Pld};
use Type::{Array, Bool, Data, Dir, Link, List, Prog, Scalar};

const fn row(
    base: Base,
    path: &'static str,
    kind: Type,
    default: &'static str,
    honoured: Honoured,
    field: &'static str,
    help: &'static str,
) -> Item {
    Item { base, path, kind, default, since: Since::Original, honoured, field, help }
}

/// A row below a guest's directory.
const fn cfg(
    path: &'static str,
    kind: Type,
    default: &'static str,
    honoured: Honoured,
    field: &'static str,
    help: &'static str,
) -> Item {
    row(Base::Guest, path, kind, default, honoured, field, help)
}

/// A row below `.defaults`.
const fn def(
    path: &'static str,
    kind: Type,
    default: &'static str,
    honoured: Honoured,
    field: &'static str,
    help: &'static str,
) -> Item {
    row(Base::Defaults, path, kind, default, honoured, field, help)
}

/// A row below `.distributions`; only building reads those.
const fn dist(path: &'static str, kind: Type, help: &'static str) -> Item {
    row(Base::Distributions, path, kind, "absent", BuildOnly, "", help)
}

/// All items.
#[rustfmt::skip]
pub static ITEMS: &[Item] = &[
    // The guest itself.
    cfg("vdir", Link, "none: start fails", Yes, "vdir", "the guest's root directory"),
    cfg("cache", Link, "none", Yes, "cache", "the guest's cache directory on the host; made when first needed"),
    cfg("run", Link, "none: start fails", Yes, "run", "the file that holds the context number while the guest runs; need not exist"),
    cfg("name", Scalar, "the directory's name", Yes, "display_name", "the name that vserver-stat shows"),
    cfg("context", Scalar, "none: start fails", Yes, "context", "the context number, 2 to 65535; up to 32767 is recommended"),
    cfg("ncontext", Scalar, "the context number", Yes, "ncontext", "the number of the network context"),
    cfg("noncontext", Bool, "absent", Yes, "noncontext", "no network context: the guest's addresses are not confined"),
    cfg("netshadow", Bool, "absent", Yes, "netshadow", "the guest's processes are in a shadow of the host's network and are lent their sockets: stricter than hide_netif, at a price for each new socket"),
    cfg("tag", Scalar, "the context number", Later(DISK), "tag", "the tag by which the guest's files are counted"),
    cfg("bcapabilities", List, "the secure set", Yes, "bcapabilities", "capabilities added to the secure set, or with ~ taken from it"),
    cfg("ccapabilities", List, "the secure set", Later(BROKER), "ccapabilities", "single privileges that would otherwise need a big capability"),
    cfg("ncapabilities", List, "raw_icmp", Yes, "ncapabilities", "privileges on the network"),
    cfg("cflags", List, "default", Yes, "cflags", "context flags; if this file exists, flags is not read"),
    cfg("flags", List, "default", Yes, "cflags", "the old name of cflags"),
    cfg("nflags", List, "hide_netif", Yes, "nflags", "flags of the network context"),
    cfg("umask", List, "none", Yes, "umask", "the kinds of namespaces that the guest may make itself"),
    cfg("capabilities", List, "absent", Unsupported(OLD_KERNELS), "", "the name of bcapabilities on old kernels"),
    cfg("personality", List, "the host's", Yes, "personality", "the execution domain: a type on the first line, flags on the next ones"),
    cfg("nice", Scalar, "0", Yes, "nice", "the nice value of everything that is started in the guest"),
    cfg("shell", Scalar, ".defaults/shell", Yes, "shell", "the program that enter starts; one word, without arguments"),
    cfg("namespace", Bool, "on", Yes, "namespace", "a mount namespace of its own, whatever .defaults says"),
    cfg("nonamespace", Bool, "absent", Yes, "namespace", "no mount namespace of its own; the guest has one all the same, because nothing else keeps it in"),
    cfg("namespace-cleanup", Bool, "on", Yes, "namespace_cleanup", "unmount what the guest inherits and does not need, whatever .defaults says"),
    cfg("nonamespace-cleanup", Bool, "absent", Yes, "namespace_cleanup", "keep the mounts that the guest inherits"),
    cfg("namespace-cleanup-skip", Array, ".defaults/namespace-cleanup-skip", Yes, "namespace_cleanup_skip", "mount points that clean-up keeps"),
    cfg("fstab", Data, "nothing is mounted", Yes, "fstab", "what is mounted in the guest before it starts"),
    cfg("fstab.local", Data, "absent", Yes, "fstab", "an obsolete second fstab"),
    cfg("fstab.remote", Data, "absent", Yes, "fstab_remote", "mounts that are made last: of network file systems"),
    cfg("badness", Scalar, "0", Yes, "badness", "added to the score by which the kernel chooses what to kill when memory is short"),
    cfg("keepfds", Bool, "absent", Unsupported("no descriptor of the host goes into a guest"), "keepfds", "leave inherited file descriptors open"),
    cfg("noisy", Bool, "absent", Yes, "noisy", "let the steps of a start print what they do"),
    cfg("disabled", Bool, "absent", Yes, "disabled", "mass operations and the boot service leave this guest out"),
    cfg("nocgroup", Bool, "absent", Yes, "cgroup", "leave .defaults/cgroup out of account"),
    cfg("nonetns", Bool, "absent", Yes, "netns", "leave the netns directories out of account"),
    cfg("schedule", Data, "absent", Yes, "sched", "an obsolete form of sched/: six numbers, one a line"),
    cfg("hostname", Scalar, "absent", Unsupported("uts/nodename took its place"), "", "an obsolete form of uts/nodename"),
    cfg("domainname", Scalar, "absent", Unsupported("uts/domainname took its place"), "", "an obsolete form of uts/domainname"),
    cfg("legacy", Bool, "absent", Unsupported("the format of before 2003 is not supported"), "", "the guest is configured in one file beside this directory"),
    cfg("poldek.conf", Link, "absent", OtherCommand, "", "a short way to the configuration of poldek").since(Pld),

    // interfaces/
    cfg("interfaces/bcast", Scalar, "255.255.255.255", Yes, "interfaces", "the broadcast address of the network context, and of each address"),
    cfg("interfaces/lback", Scalar, "127.X.Y.1 after the network context's number", Yes, "interfaces", "the address that stands for 127.0.0.1 in this guest"),
    cfg("interfaces/dev", Scalar, "none", Yes, "interfaces", "the host's device for all addresses"),
    cfg("interfaces/prefix", Scalar, "none", Yes, "interfaces", "the prefix length of all addresses"),
    cfg("interfaces/mask", Scalar, "none", Yes, "interfaces", "the network mask of all addresses"),
    cfg("interfaces/scope", Scalar, "none", Yes, "interfaces", "the scope of all addresses"),
    cfg("interfaces/extip", Scalar, "none", Unsupported("it belongs to indirect"), "", "was never implemented"),
    cfg("interfaces/{vlandev,novlandev}", Bool, ".defaults/interfaces/vlandev", Yes, "interfaces", "make VLAN devices for all addresses, or do not"),
    cfg("interfaces/*", Dir, "none", Yes, "interfaces", "one address of the guest"),
    cfg("interfaces/*/disabled", Bool, "absent", Yes, "interfaces", "leave this address out"),
    cfg("interfaces/*/ip", Scalar, "none: start fails", Yes, "interfaces", "the address, IPv4 or IPv6, with or without /PREFIX"),
    cfg("interfaces/*/dev", Scalar, "interfaces/dev", Yes, "interfaces", "the host's device that gets the address"),
    cfg("interfaces/*/prefix", Scalar, "interfaces/prefix", Yes, "interfaces", "the prefix length"),
    cfg("interfaces/*/mask", Scalar, "interfaces/mask", Yes, "interfaces", "the network mask, when there is no prefix"),
    cfg("interfaces/*/bcast", Scalar, "computed", Yes, "interfaces", "the broadcast address"),
    cfg("interfaces/*/name", Scalar, "none", Yes, "interfaces", "the label of the address, behind DEV:"),
    cfg("interfaces/*/scope", Scalar, "interfaces/scope", Yes, "interfaces", "the scope of the address"),
    cfg("interfaces/*/peer", Scalar, "none", Yes, "interfaces", "the other end of a point-to-point link"),
    cfg("interfaces/*/{nodev,only_ip}", Bool, "absent", Yes, "interfaces", "the host has the address already: only bind it (only_ip is the old name)"),
    cfg("interfaces/*/down", Bool, "absent", Yes, "interfaces", "do not set the link up"),
    cfg("interfaces/*/{vlandev,novlandev}", Bool, "interfaces/vlandev", Yes, "interfaces", "make the VLAN device BASE.VID named by dev, or do not"),
    cfg("interfaces/*/{tun,tap}", Bool, "absent", Yes, "interfaces", "make a persistent tun or tap device named by dev"),
    cfg("interfaces/*/{nocsum,shared}", Bool, "absent", Yes, "interfaces", "tun and tap: no checksums; not owned by the guest (on a stock kernel it never is, see uid)"),
    cfg("interfaces/*/{uid,gid,linktype}", Scalar, "none", Yes, "interfaces", "tun and tap: owner, group and link type, as numbers"),
    cfg("interfaces/*/{indirect,mac,extip}", Scalar, "absent", Unsupported("the dummy-device mode was never finished"), "", "the historic dummy-device mode"),

    // spaces/ and netns/
    cfg("spaces/pid", Scalar, "a process namespace of its own", Yes, "spaces", "empty: its own; 0: off; a context number: the one of that guest"),
    cfg("spaces/net", Scalar, "absent", Yes, "spaces", "a network namespace; the values are those of spaces/pid"),
    cfg("spaces/user", Scalar, "absent", Yes, "spaces", "a user namespace: empty: ids from the context number times 65536; FIRST or FIRST COUNT: that range; 0: off").since(Ours),
    cfg("spaces/mask", Scalar, "mount, uts, ipc", Yes, "spaces", "more namespaces, in the words of umask"),
    cfg("netns", Dir, ".defaults/netns", Yes, "netns", "run in a named network namespace"),
    cfg("netns/name", Scalar, "the guest's name", Yes, "netns", "the namespace's name, as ip netns shows it"),
    cfg("netns/shared", Bool, "absent", Yes, "netns", "the namespace exists: do not make, change or delete it"),
    cfg("netns/interfaces/*", Dir, "none", Yes, "netns", "one interface of the guest"),
    cfg("netns/interfaces/*/host", Scalar, "v and the context number, .0, .1 …", Yes, "netns", "the pair's end on the host; for other types the host's device that the interface is made of, which must be named"),
    cfg("netns/interfaces/*/guest", Scalar, "gethN", Yes, "netns", "the interface's name in the guest"),
    cfg("netns/interfaces/*/type", Scalar, "veth", Yes, "netns", "veth: a pair; macvlan, ipvlan: made of the host's device; phys: that device itself"),
    cfg("netns/interfaces/*/address", List, "none", Yes, "netns", "addresses with their prefix length; both ends are set up then").since(Ours),
    cfg("netns/interfaces/*/gateway", List, "none", Yes, "netns", "the way to all other addresses, one for IPv4 and one for IPv6").since(Ours),
    cfg("netns/interfaces/*/route", List, "none", Yes, "netns", "further routes: NETWORK/PREFIX via ROUTER").since(Ours),
    cfg("netns/interfaces/*/mtu", Scalar, "the kernel's", Yes, "netns", "the longest packet, in bytes").since(Ours),
    cfg("netns/interfaces/*/mac", Scalar, "by chance", Yes, "netns", "the hardware address in the guest").since(Ours),
    cfg("netns/interfaces/*/bridge", Scalar, "none", Yes, "netns", "the bridge that the pair's end on the host becomes a port of").since(Ours),
    cfg("netns/interfaces/*/host-address", List, "none", Yes, "netns", "addresses of the pair's end on the host").since(Ours),

    // cgroup/ and cpuset/
    cfg("cgroup", Dir, ".defaults/cgroup", Yes, "cgroup", "settings of the guest's control group; takes the place of .defaults/cgroup"),
    cfg("cgroup/name", Scalar, "the guest's name", Yes, "cgroup", "the group's name"),
    cfg("cgroup/{mnt,subsys,inherit,base,per-ss}", Data, "absent", Unsupported(DEFAULTS_ONLY), "", "site-wide settings; never written to a group"),
    cfg("cgroup/*", Data, "none", Yes, "cgroup", "written to the group's file of this name; names of both versions of control groups are understood"),
    cfg("cpuset/name", Scalar, "none: cpuset/ is not used", Yes, "cpuset", "the set's name; the settings are those of the guest's own group"),
    cfg("cpuset/cpus", Data, "all", Yes, "cpuset", "the processors"),
    cfg("cpuset/mems", Data, "all", Yes, "cpuset", "the memory nodes"),
    cfg("cpuset/{cpu_exclusive,cpus_exclusive}", Data, "0", Yes, "cpuset", "nobody else uses these processors"),
    cfg("cpuset/{mem_exclusive,mems_exclusive}", Data, "0", Yes, "cpuset", "nobody else uses these memory nodes"),
    cfg("cpuset/virtualized", Data, "0", Partly("the flag virt_cpu does it"), "cpuset", "the guest sees only its processors"),
    cfg("cpuset/nocreate", Bool, "absent", Unsupported("a guest is always in groups of its own"), "cpuset", "the set exists: only join it"),

    // Limits.
    cfg("ulimits/{core,cpu,data,fsize,locks,memlock,nofile,nproc,rss,stack}{,.hard,.soft}", Scalar, "hard limit raised to none", Yes, "ulimits", "the limit of each process; the plain name sets both, .hard and .soft one of them; bytes, seconds or a count"),
    cfg("rlimits/{rss,nproc,semary,nsems}{,.min,.soft,.hard}", Scalar, "none", Yes, "rlimits", "the limit of the whole guest; the plain name sets all three; rss in pages of memory, nproc in tasks, semary in sets of semaphores, nsems in semaphores"),
    cfg("rlimits/{as,anon}{,.min,.soft,.hard}", Scalar, "none", Partly("the kernel counts all memory of a guest together: the least of rss, as and anon limits it"), "rlimits", "the limit of the whole guest, in pages"),
    cfg("rlimits/{shmem}{,.min,.soft,.hard}", Scalar, "none", Partly("limits System V shared memory; files in memory count as memory"), "rlimits", "the limit of the whole guest, in pages"),
    cfg("rlimits/{nofile,openfd,memlock}{,.min,.soft,.hard}", Scalar, "none", Partly("limits each process: the kernel does not count it for a group"), "rlimits", "the limit of the whole guest; memlock in pages"),
    cfg("rlimits/{msgqueue}{,.min,.soft,.hard}", Scalar, "none", Partly("limits each user of the guest: the kernel does not count it for a group"), "rlimits", "the limit of the whole guest, in bytes"),
    cfg("rlimits/{locks,nsock,dentry}{,.min,.soft,.hard}", Scalar, "none", Unsupported("a stock kernel does not count it for a group"), "rlimits", "the limit of the whole guest"),
    cfg("rlimits/{cpu,fsize,data,stack,core}{,.min,.soft,.hard}", Scalar, "none", Unsupported("no kernel has it for a whole guest: ulimits/ limits each process"), "rlimits", "the limit of the whole guest"),
    cfg("sched/{fill-rate,interval,tokens,tokens-min,tokens-max,priority-bias,prio-bias,fill-rate2,interval2,cpu-id,bucket-id}", Scalar, "none", BUCKET, "sched", "the share of processor time: fill-rate tokens every interval ticks, and how priority shifts"),
    cfg("sched/idle-time", Bool, "absent", Yes, "sched", "let the guest use time that nobody wants"),
    cfg("sched/*", Dir, "none", BUCKET, "sched", "the same for one processor"),
    cfg("sched/*/{fill-rate,interval,tokens,tokens-min,tokens-max,priority-bias,prio-bias,fill-rate2,interval2,cpu-id,bucket-id}", Scalar, "none", BUCKET, "sched", "as sched/, for the processor that cpu-id names"),
    cfg("sched/*/idle-time", Bool, "absent", Yes, "sched", "as sched/idle-time, for one processor"),
    cfg("ionice/class", Scalar, "best effort when a priority is set", Yes, "ionice", "the class of disk access: 0 none, 1 real time, 2 best effort, 3 idle"),
    cfg("ionice/priority", Scalar, "4", Yes, "ionice", "the priority in the class, 0 (first) to 7"),
    cfg("dlimits/*", Dir, "none", Later(DISK), "dlimits", "one disk limit"),
    cfg("dlimits/*/disabled", Bool, "absent", Yes, "dlimits", "leave this limit out"),
    cfg("dlimits/*/directory", Scalar, "none: no limit", Later(DISK), "dlimits", "a directory of the host on the limited filesystem"),
    cfg("dlimits/*/space_total", Scalar, "none: no limit", Later(DISK), "dlimits", "how many KiB the guest may use"),
    cfg("dlimits/*/inodes_total", Scalar, "none: no limit", Later(DISK), "dlimits", "how many files the guest may have"),
    cfg("dlimits/*/reserved", Scalar, "none: no limit", Later(DISK), "dlimits", "the percentage that only the guest's root may use"),

    // sysctl/ and uts/
    cfg("sysctl/*", Dir, "none", Yes, "sysctl", "one kernel setting of the guest's namespaces"),
    cfg("sysctl/*/setting", Scalar, "none: start fails", Yes, "sysctl", "the setting's name, with dots or slashes"),
    cfg("sysctl/*/value", Data, "none: start fails", Yes, "sysctl", "its value; the whole file"),
    cfg("uts/nodename", Data, "the host's", Yes, "uts", "the guest's host name"),
    cfg("uts/domainname", Data, "the host's", Yes, "uts", "the guest's NIS domain name"),
    cfg("uts/machine", Data, "the host's", Yes, "uts", "the machine that uname shows: a 32-bit x86 name on a 64-bit host"),
    cfg("uts/{sysname,release,version}", Data, "the host's", Unsupported("a stock kernel cannot show another system name, release or version"), "uts", "what uname shows"),
    cfg("uts/context", Data, "absent", Unsupported("the name is reserved"), "", "held the configuration directory of the running context"),

    // apps/init/
    cfg("apps/init/style", Scalar, "sysv", Yes, "init", "how the guest is started and stopped: sysv, plain, minit, gentoo, openrc, arch, systemd; empty: only cmd.*"),
    cfg("apps/init/runlevel", Scalar, "of the style", Yes, "init", "the runlevel to start"),
    cfg("apps/init/runlevel.start", Scalar, "apps/init/runlevel", Yes, "init", "the runlevel to start, before runlevel"),
    cfg("apps/init/runlevel.stop", Scalar, "of the style", Yes, "init", "the runlevel to stop"),
    cfg("apps/init/killseq", Array, "15, 5, 9", Yes, "init", "how a guest ends that does not end by itself: a signal, then seconds and signals, one a line"),
    cfg("apps/init/cmd.{start,stop}", Array, "of the style", Yes, "init", "the command run in the guest in place of the style's, one word a line"),
    cfg("apps/init/cmd.{start-sync,stop-sync}", Array, "of the style", Yes, "init", "a command run on the host that waits until the guest is up or down"),
    cfg("apps/init/cmd.prepare", Array, "of the style", Yes, "init", "a command run on the host before the guest is made"),
    cfg("apps/init/sync", Bool, "absent", Yes, "init", "wait with the -sync commands"),
    cfg("apps/init/tty", Link, ".defaults/apps/init/tty", Yes, "init", "the terminal or file for the output of guests that are started without a terminal"),
    cfg("apps/init/mark", List, "none", Yes, "init", "the groups that the boot service knows this guest by"),
    cfg("apps/init/depends", List, "none", Yes, "init", "the guests that must run before this one"),
    cfg("apps/init/environment", Type::Hash, ".defaults/apps/init/environment, else PATH alone", Yes, "init", "the whole environment of the guest's first process"),
    cfg("apps/init/mtab", Data, ".defaults/init/mtab, else one line for /", Yes, "mtab", "the first lines of the guest's /etc/mtab"),

    // apps/vshelper/ and what handles events.
    cfg("apps/vshelper/sync-timeout", Scalar, "30", Yes, "vshelper", "how many seconds a guest that reboots or halts may take to end"),
    cfg("apps/vshelper/action", Scalar, "restart", Yes, "vshelper", "what handles events that have no program of their own"),
    cfg("apps/vshelper/{restart,halt,poweroff}", Prog, "apps/vshelper/action", Yes, "vshelper", "run when the guest asks for this"),
    cfg("apps/vshelper/shutdown", Prog, "apps/vshelper/action", Yes, "vshelper", "run when the guest has ended without asking for anything"),
    cfg("apps/vshelper/{swsusp,oom,startup,netup,netdown}", Prog, "apps/vshelper/action", Unsupported("a stock kernel tells of no such event"), "vshelper", "run on this event"),
    cfg("apps/vshelper/disabled", Bool, "absent", Yes, "vshelper", "the guest's reboot and halt are not acted on"),
    cfg("apps/vshelper/debug", Bool, "absent", Yes, "vshelper", "programs for events get DEBUG_EXEC=1"),
    cfg("apps/vshelper/warning-disabled", Bool, "absent", Unsupported("no kernel setting is needed that could be wrong"), "vshelper", "do not check the helper's set-up"),
    cfg("apps/vshelper-methods/*", Prog, ".defaults/apps/vshelper-methods", Yes, "vshelper", "a program that action may name"),

    // apps/vdevmap/
    cfg("apps/vdevmap/*", Dir, "none", Later(DEVICES), "vdevmap", "one rule for devices"),
    cfg("apps/vdevmap/*/device", Scalar, "the rule for all others", Later(DEVICES), "vdevmap", "the device that the rule is for"),
    cfg("apps/vdevmap/*/target", Scalar, "none", Later(DEVICES), "vdevmap", "the device that is opened in its place"),
    cfg("apps/vdevmap/*/{open,create,remap}", Bool, "absent", Later(DEVICES), "vdevmap", "it may be opened; nodes of it may be made; it is replaced by target"),
    cfg("apps/vdevmap/*/flags", Scalar, "0", Later(DEVICES), "vdevmap", "more flags, as a number"),

    // apps/vunify/ and apps/pkgmgmt/
    cfg("apps/vunify/exclude", Data, ".defaults/apps/vunify/exclude", OtherCommand, "", "which files may not be shared with other guests"),
    cfg("apps/vunify/refserver.*", Link, "none", OtherCommand, "", "the configuration directory of a guest to share files with"),
    cfg("apps/vunify/hash/method", Scalar, "sha1", OtherCommand, "", "how file contents are compared"),
    cfg("apps/vunify/hash/*", Link, ".defaults/apps/vunify/hash", OtherCommand, "", "a directory that keeps one copy of each shared file"),
    cfg("apps/vunify/{pkgmgmt-ignore,pkgmgmt-force,pgkmgmt-force}", Bool, "absent", OtherCommand, "", "do without package lists, or insist on them"),
    cfg("apps/pkgmgmt", Dir, "absent: internal", OtherCommand, "", "how the guest's packages are managed"),
    cfg("apps/pkgmgmt/internal", Bool, "absent", OtherCommand, "", "package commands run inside the guest"),
    cfg("apps/pkgmgmt/style", Scalar, "guessed from the guest", OtherCommand, "", "the family of the distribution"),
    cfg("apps/pkgmgmt/{base,execdir}", Link, "none", OtherCommand, "", "package data outside the guest; the tools for it"),
    cfg("apps/pkgmgmt/{rpmetc,rpmstate,rpmlib,aptetc,aptstate,aptcache,aptarchives,yumetc,yumcache,urpmietc,urpmistate}", Link, "below base", OtherCommand, "", "one directory of the package data, elsewhere"),
    cfg("apps/pkgmgmt/{poldeketc,poldek-cache}", Link, "below base", OtherCommand, "", "poldek's directories, elsewhere").since(Pld),

    // scripts/
    cfg("scripts/{initialize,prepre-start,pre-start,post-start,pre-stop,post-stop,postpost-stop}", Prog, ".defaults/scripts", Yes, "scripts", "run at this moment; sourced by a shell if not executable"),
    cfg("scripts/{initialize,prepre-start,pre-start,post-start,pre-stop,post-stop,postpost-stop}.d/*", Prog, "none", Yes, "scripts", "run at this moment, in the order of names"),

    // .defaults
    def("vdirbase", Link, "/vservers", BuildOnly, "", "where build puts guests"),
    def("cachebase", Link, "/var/cache/vservers", BuildOnly, "", "where build puts caches"),
    def("run.rev", Link, "/run/vservers.rev", OtherCommand, "", "the directory of links from context numbers to guests"),
    def("nonamespace", Bool, "absent", Yes, "namespace", "no mount namespace for guests; they have one all the same"),
    def("nonamespace-cleanup", Bool, "absent", Yes, "namespace_cleanup", "guests keep the mounts that they inherit"),
    def("namespace-cleanup-skip", Array, "none", Yes, "namespace_cleanup_skip", "mount points that clean-up keeps"),
    def("shell", Scalar, "searched in the guest", Yes, "shell", "the program that enter starts; one word"),
    def("fstab", Data, "the shipped one", BuildOnly, "", "the fstab of new guests"),
    def("keepfds", Bool, "absent", Unsupported("no descriptor of the host goes into a guest"), "keepfds", "leave inherited file descriptors open"),
    def("context.dynamic", Bool, "absent", BuildOnly, "", "build writes no context number; such a guest cannot be started"),
    def("context.next", Scalar, "40000", BuildOnly, "", "the context number of the next guest built without one"),
    def("scripts/{initialize,prepre-start,pre-start,post-start,pre-stop,post-stop,postpost-stop}", Prog, "none", Yes, "scripts", "run for guests that have no script of their own at this moment"),
    def("scripts/{initialize,prepre-start,pre-start,post-start,pre-stop,post-stop,postpost-stop}.d/*", Prog, "none", Yes, "scripts", "run for guests that have no script of their own at this moment, in the order of names"),
    def("styles/{bold,emph,info,warn,error}", Data, "colours", OtherCommand, "", "what is sent to a terminal before text of this style"),
    def("init/mtab", Data, "one line for /", Yes, "mtab", "the first lines of guests' /etc/mtab"),
    def("apps/init/tty", Link, "none", Yes, "init", "the terminal or file for guests that are started without a terminal"),
    def("apps/init/environment", Type::Hash, "PATH alone", Yes, "init", "the environment of guests' first processes"),
    def("apps/pkgmgmt/base", Link, "/vservers/.pkg", BuildOnly, "", "where package data of guests is kept"),
    def("apps/pkgmgmt/apt.conf", Data, "none", BuildOnly, "", "the apt.conf of guests built from rpm packages by apt"),
    def("apps/pkgmgmt/poldek/poldek.conf", Data, "the shipped one", BuildOnly, "", "the configuration of poldek").since(Pld),
    def("apps/debootstrap/{mirror,uri,options}", Scalar, "the shipped ones", BuildOnly, "", "the mirror to build from, where to get debootstrap, more options for it"),
    def("apps/h2ext/desc", Data, "the shipped one", BuildOnly, "", "how archives are recognised and unpacked"),
    def("apps/vdevmap/*", Dir, "none", Later(DEVICES), "", "one rule for devices on the host"),
    def("apps/vdevmap/*/{device,target,flags}", Scalar, "none", Later(DEVICES), "", "as apps/vdevmap of a guest"),
    def("apps/vdevmap/*/{open,create,remap}", Bool, "absent", Later(DEVICES), "", "as apps/vdevmap of a guest"),
    def("apps/vshelper/logfile", Link, "/dev/null", Yes, "", "where programs for events print"),
    def("apps/vshelper/disabled", Bool, "absent", Yes, "vshelper", "no guest's reboot or halt is acted on"),
    def("apps/vshelper/warning-disabled", Bool, "absent", Unsupported("no kernel setting is needed that could be wrong"), "vshelper", "do not check the helper's set-up"),
    def("apps/vshelper/debug", Bool, "absent", Yes, "vshelper", "programs for events get DEBUG_EXEC=1"),
    def("apps/vshelper/action", Scalar, "restart", Yes, "vshelper", "what handles events that have no program of their own"),
    def("apps/vshelper/sync-timeout", Scalar, "30", Yes, "vshelper", "how many seconds a guest that reboots or halts may take to end"),
    def("apps/vshelper/{restart,halt,poweroff}", Prog, "apps/vshelper/action", Yes, "vshelper", "run when a guest asks for this"),
    def("apps/vshelper/shutdown", Prog, "apps/vshelper/action", Yes, "vshelper", "run when a guest has ended without asking for anything"),
    def("apps/vshelper/{swsusp,oom,startup,netup,netdown}", Prog, "apps/vshelper/action", Unsupported("a stock kernel tells of no such event"), "vshelper", "run on this event"),
    def("apps/vshelper/vshelper-methods/*", Prog, "none", Yes, "vshelper", "a program that action may name"),
    def("apps/vshelper-methods/*", Prog, "none", Yes, "vshelper", "a program that action may name"),
    def("apps/vshelper-delegate/*", Prog, "none", Yes, "", "takes the place of vshelper for one event"),
    def("apps/vprocunhide/files", List, "the shipped list", OtherCommand, "", "which entries of /proc guests see"),
    def("apps/vunify/exclude", Data, "the shipped list", OtherCommand, "", "which files may not be shared between guests"),
    def("apps/vunify/hash/method", Scalar, "sha1", OtherCommand, "", "how file contents are compared"),
    def("apps/vunify/hash/*", Link, "none", OtherCommand, "", "a directory that keeps one copy of each shared file, one a filesystem"),
    def("apps/vunify/{pkgmgmt-ignore,pkgmgmt-force,pgkmgmt-force}", Bool, "absent", OtherCommand, "", "do without package lists, or insist on them"),
    def("apps/vlogin/disable", Bool, "absent", Yes, "vlogin_disabled", "enter without a pseudo terminal of its own"),
    def("apps/build/options", Array, "none", BuildOnly, "", "words put before those of every build"),
    def("interfaces/vlandev", Bool, "absent", Yes, "interfaces", "make VLAN devices for all guests"),
    def("files/{hosts,nsswitch.conf,krb5.conf,krb.conf,krb.realms,ldap.conf,localtime,resolv.conf}", Data, "none", BuildOnly, "", "copied to /etc of new guests"),
    def("cgroup", Dir, "none", Yes, "cgroup", "settings of guests without a cgroup directory"),
    def("cgroup/name", Scalar, "the guest's name", Yes, "cgroup", "one group for all guests without a cgroup directory"),
    def("cgroup/{mnt,base}", Scalar, "found out", Yes, "cgroup", "where control groups are mounted: told if they are not; a group above the guests'"),
    def("cgroup/{subsys,inherit}", List, "found out", Yes, "cgroup", "which controllers may be set; which settings a new group copies"),
    def("cgroup/per-ss", Bool, "found out", Yes, "cgroup", "each controller has its own mount"),
    def("cgroup/*", Data, "none", Yes, "cgroup", "written to the file of this name of each guest's group"),
    def("netns", Dir, "none", Yes, "netns", "as netns of a guest, for those without"),
    def("netns/name", Scalar, "the guest's name", Yes, "netns", "the namespace's name"),
    def("netns/shared", Bool, "absent", Yes, "netns", "the namespace exists"),
    def("netns/interfaces/*", Dir, "none", Yes, "netns", "one interface"),
    def("netns/interfaces/*/{host,guest,type,mtu,mac,bridge}", Scalar, "as for a guest", Yes, "netns", "as for a guest"),
    def("netns/interfaces/*/{address,gateway,route,host-address}", List, "as for a guest", Yes, "netns", "as for a guest").since(Ours),

    // .distributions
    dist(".common/pubkeys/*", Data, "keys that sign packages, for every build"),
    dist("*/{devs,dev}", Data, "the device nodes of a new guest"),
    dist("*/{initpre,initpost}", Prog, "run before and after packages are installed"),
    dist("*/pkgs/*", List, "packages to install"),
    dist("*/pubkeys/*", Data, "keys that sign packages"),
    dist("*/apt/**", Data, "apt's configuration for rpm packages"),
    dist("*/{apt.conf,vendor.conf}", Data, "apt's configuration for rpm packages"),
    dist("*/rpm/**", Data, "copied to the guest's package data"),
    dist("*/{rpmlib,execdir}", Link, "the package tools of this distribution"),
    dist("*/rpmlist.d/*", List, "packages to install, and options for them"),
    dist("*/yum/**", Data, "yum's configuration"),
    dist("*/yum.repos.d/*", Data, "yum's repositories"),
    dist("*/poldek/**", Data, "poldek's configuration").since(Pld),
    dist("*/urpmi/**", Data, "urpmi's configuration"),
    dist("*/files/*", Data, "copied to /etc of new guests"),
    dist("*/debootstrap.{mirror,options,script}", Scalar, "the mirror, options and script for debootstrap"),
    dist("*/template", Link, "the archive that a guest is built from"),
    dist("*/populate/**", Data, "laid over the tree of a new guest"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn known(base: Base, paths: &str) {
        for path in paths.split_whitespace() {
            assert!(find(base, Path::new(path)).is_some(), "{path} has no row");
        }
    }

    /// Every item that the configuration reference lists for a guest, with an example name where it has a `*`.
    #[test]
    fn every_item_of_the_reference_has_a_row() {
        known(
            Base::Guest,
            "vdir cache run name context ncontext noncontext tag bcapabilities ccapabilities ncapabilities cflags flags
             nflags umask capabilities personality nice shell namespace nonamespace namespace-cleanup
             nonamespace-cleanup namespace-cleanup-skip fstab fstab.local fstab.remote badness keepfds noisy disabled
             nocgroup nonetns schedule hostname domainname legacy poldek.conf",
        );
        known(
            Base::Guest,
            "interfaces/bcast interfaces/lback interfaces/dev interfaces/prefix interfaces/mask interfaces/scope
             interfaces/extip interfaces/vlandev interfaces/novlandev interfaces/0 interfaces/0/disabled
             interfaces/0/ip interfaces/0/dev interfaces/0/prefix interfaces/0/mask interfaces/0/bcast
             interfaces/0/name interfaces/0/scope interfaces/0/mac interfaces/0/extip interfaces/0/peer
             interfaces/0/nodev interfaces/0/only_ip interfaces/0/down interfaces/0/vlandev interfaces/0/novlandev
             interfaces/0/tun interfaces/0/tap interfaces/0/nocsum interfaces/0/shared interfaces/0/uid
             interfaces/0/gid interfaces/0/linktype interfaces/0/indirect
             spaces/pid spaces/net spaces/mask spaces/user netns netns/name netns/shared netns/interfaces/0/host
             netns/interfaces/0/guest netns/interfaces/0/type
             cgroup cgroup/name cgroup/memory.limit_in_bytes cgroup/mnt cgroup/subsys cgroup/inherit cgroup/base
             cgroup/per-ss cpuset/name cpuset/cpus cpuset/mems cpuset/cpu_exclusive cpuset/mem_exclusive
             cpuset/virtualized cpuset/nocreate cpuset/mems_exclusive cpuset/cpus_exclusive",
        );
        known(
            Base::Guest,
            "sched/fill-rate sched/interval sched/tokens sched/tokens-min sched/tokens-max sched/priority-bias
             sched/prio-bias sched/fill-rate2 sched/interval2 sched/idle-time sched/cpu-id sched/bucket-id sched/0
             sched/0/fill-rate sched/0/idle-time ionice/class ionice/priority
             sysctl/0 sysctl/0/setting sysctl/0/value uts/sysname uts/nodename uts/release uts/version uts/machine
             uts/domainname uts/context
             apps/vdevmap/x/device apps/vdevmap/x/target apps/vdevmap/x/open apps/vdevmap/x/create
             apps/vdevmap/x/remap apps/vdevmap/x/flags
             apps/vunify/exclude apps/vunify/refserver.0 apps/vunify/hash/0 apps/vunify/hash/method
             apps/vunify/pkgmgmt-ignore apps/vunify/pkgmgmt-force apps/vunify/pgkmgmt-force
             apps/pkgmgmt apps/pkgmgmt/internal apps/pkgmgmt/style apps/pkgmgmt/base apps/pkgmgmt/execdir
             apps/pkgmgmt/rpmetc apps/pkgmgmt/rpmstate apps/pkgmgmt/rpmlib apps/pkgmgmt/aptetc apps/pkgmgmt/aptstate
             apps/pkgmgmt/aptcache apps/pkgmgmt/aptarchives apps/pkgmgmt/yumetc apps/pkgmgmt/yumcache
             apps/pkgmgmt/urpmietc apps/pkgmgmt/urpmistate apps/pkgmgmt/poldeketc apps/pkgmgmt/poldek-cache
             scripts/initialize scripts/prepre-start scripts/pre-start scripts/post-start scripts/pre-stop
             scripts/post-stop scripts/postpost-stop scripts/pre-start.d/10-x
             apps/init/style apps/init/runlevel apps/init/runlevel.start apps/init/runlevel.stop apps/init/killseq
             apps/init/cmd.start apps/init/cmd.stop apps/init/cmd.start-sync apps/init/cmd.stop-sync
             apps/init/cmd.prepare apps/init/sync apps/init/tty apps/init/mark apps/init/depends
             apps/init/environment apps/init/mtab
             apps/vshelper/sync-timeout apps/vshelper/action apps/vshelper/disabled apps/vshelper/debug
             apps/vshelper/warning-disabled apps/vshelper/restart apps/vshelper/halt apps/vshelper/poweroff
             apps/vshelper/swsusp apps/vshelper/oom apps/vshelper/startup apps/vshelper/shutdown
             apps/vshelper/netup apps/vshelper/netdown apps/vshelper-methods/own
             dlimits/0/directory dlimits/0/space_total dlimits/0/inodes_total dlimits/0/reserved dlimits/0/disabled",
        );
    }

    #[test]
    fn every_limit_has_a_row() {
        for resource in vserver_model::UlimitResource::ALL {
            for ending in ["", ".hard", ".soft"] {
                known(Base::Guest, &format!("ulimits/{resource}{ending}"));
            }
        }
        for resource in vserver_model::RlimitResource::all() {
            for ending in ["", ".min", ".hard", ".soft"] {
                known(Base::Guest, &format!("rlimits/{resource}{ending}"));
            }
        }
    }

    #[test]
    fn every_default_and_distribution_item_has_a_row() {
        known(
            Base::Defaults,
            "vdirbase cachebase run.rev nonamespace nonamespace-cleanup namespace-cleanup-skip shell fstab keepfds
             context.dynamic context.next scripts/pre-start scripts/post-stop.d/x styles/bold styles/emph styles/info
             styles/warn styles/error init/mtab apps/init/tty apps/init/environment apps/pkgmgmt/base
             apps/pkgmgmt/apt.conf apps/pkgmgmt/poldek/poldek.conf apps/debootstrap/mirror apps/debootstrap/uri
             apps/debootstrap/options apps/h2ext/desc apps/vdevmap/x/device apps/vshelper/logfile
             apps/vshelper/disabled apps/vshelper/warning-disabled apps/vshelper/debug apps/vshelper/action
             apps/vshelper/restart apps/vshelper/sync-timeout apps/vshelper/vshelper-methods/x
             apps/vshelper-methods/x apps/vshelper-delegate/restart apps/vprocunhide/files apps/vunify/exclude
             apps/vunify/hash/0 apps/vunify/hash/method apps/vunify/pkgmgmt-ignore apps/vunify/pkgmgmt-force
             apps/vunify/pgkmgmt-force apps/vlogin/disable apps/build/options interfaces/vlandev files/hosts
             files/nsswitch.conf files/krb5.conf files/krb.conf files/krb.realms files/ldap.conf files/localtime
             files/resolv.conf cgroup/mnt cgroup/subsys cgroup/inherit cgroup/name cgroup/base cgroup/per-ss
             cgroup/memory.max netns/name netns/shared netns/interfaces/0/host",
        );
        known(
            Base::Distributions,
            ".common/pubkeys/a d/devs d/dev d/initpre d/initpost d/pkgs/01 d/pubkeys/a d/apt/x/y d/apt.conf d/rpm/macros
             d/rpmlib d/rpmlist.d/00base.lst d/rpmlist.d/00base.cmd d/execdir d/yum/yum.conf d/yum.repos.d/a
             d/poldek/poldek.conf d/poldek/repos.d/a d/files/hosts d/debootstrap.mirror d/debootstrap.options
             d/debootstrap.script d/template d/vendor.conf",
        );
    }

    #[test]
    fn what_is_no_item_has_no_row() {
        for path in
            ["interface/0/ip", "nize", "apps", "ulimits/as", "uts", "interfaces/0/ip/x", "", "rlimits/rss.x"]
        {
            assert_eq!(find(Base::Guest, Path::new(path)), None, "{path}");
        }
        assert!(is_known_dir(Base::Guest, Path::new("apps/init")));
        assert!(is_known_dir(Base::Guest, Path::new("")));
        assert!(!is_known_dir(Base::Guest, Path::new("app")));
        assert!(!is_known_dir(Base::Guest, Path::new("nice")));
    }

    #[test]
    fn a_literal_name_comes_before_a_star() {
        // The first row that matches wins, so that interfaces/dev is not taken for an address called "dev".
        for (path, wanted) in [("interfaces/dev", "interfaces/dev"), ("cgroup/name", "cgroup/name")] {
            assert_eq!(find(Base::Guest, Path::new(path)).expect("a row").path, wanted);
        }
    }

    #[test]
    fn every_row_is_complete() {
        for item in ITEMS {
            assert!(!item.help.is_empty() && !item.default.is_empty(), "{}", item.path);
            assert!(!item.help.ends_with('.') && !item.default.ends_with('.'), "{}", item.path);
            assert!(!item.path.is_empty() && !item.path.starts_with('/'), "{}", item.path);
            if item.base == Base::Guest && matches!(item.honoured, Yes | Later(_)) {
                assert!(!item.field.is_empty(), "{} is in no field", item.path);
            }
        }
    }

    #[test]
    fn names_for_guessing() {
        let names = names_in(Base::Guest, Path::new("uts"));
        assert_eq!(names, ["context", "domainname", "machine", "nodename", "release", "sysname", "version"]);
        assert!(names_in(Base::Guest, Path::new("")).contains(&"interfaces".to_owned()));
        assert!(names_in(Base::Guest, Path::new("interfaces/0")).contains(&"only_ip".to_owned()));
        assert_eq!(expand("a{b,c}{,.d}"), ["ab", "ab.d", "ac", "ac.d"]);
    }
}
