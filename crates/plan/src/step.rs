//! The steps a plan is made of: each already decided, so that doing it needs no choice.

use std::ffi::OsString;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use vserver_config::guest::{Flavour, FstabEntry, Sysctl};
use vserver_model::{CapSet, GuestName, InitStyle, KillStep, Mode, Nid, Sourced, Xid};

use crate::limits::translate::Write;
use crate::machine::Share;
use crate::netcontext::NetContext;
use crate::network::{Furnishing, HostAddress, Stack};
use crate::tree::DevEntry;

/// All that one start will do, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The guest.
    pub name: GuestName,
    /// Its context.
    pub xid: Xid,
    /// How it is confined.
    pub mode: Mode,
    /// What the administrator should know, though the start goes on.
    pub warnings: Vec<Warning>,
    /// In order.
    pub steps: Vec<Step>,
    /// What the guest sees of the host's network; `None`: all of it, or it has one of its own.
    pub view: Option<crate::hide::View>,
    /// What `stop` will need, decided now: by then the configuration may say something else.
    pub ending: Ending,
}

/// Something odd that does not prevent the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// One sentence, lower case, without full stop.
    pub text: String,
    /// The file that asked for it.
    pub place: Option<PathBuf>,
}

/// One thing to do on the host's side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Run the hooks of one moment.
    Hooks(Flavour),
    /// A mount namespace rooted at the host's `/`, private to this guest: hooks, `vnamespace` and `vmount` use it.
    HostView {
        /// Take mounts away that the guest does not need, so that the host can release them.
        cleanup: bool,
        /// Mount points to keep, with their parents.
        keep: Vec<PathBuf>,
    },
    /// Look at a local file system before it is mounted (`fsck -n`).
    CheckFilesystem {
        /// The device.
        device: PathBuf,
        /// The fstab line.
        place: Sourced<()>,
    },
    /// Mount one fstab line below the guest's root, in the host view.
    Mount {
        /// The line.
        entry: Sourced<FstabEntry>,
        /// Made in the initial user namespace for a shifted guest: its owner ids have this number added.
        shift: Option<u32>,
    },
    /// Write the guest's `/etc/mtab`.
    Mtab {
        /// What it says before any mount.
        initial: Vec<u8>,
        /// Lines of the mounts.
        entries: Vec<String>,
    },
    /// Remove what the last run of the guest left behind, as its init style wants.
    Clean(InitStyle),
    /// Tell the guest's utmp the runlevel.
    RunlevelRecord(u8),
    /// A configured command on the host's side, in the guest's root directory.
    HostCommand {
        /// The item: `cmd.prepare`, `cmd.start-sync`.
        item: &'static str,
        /// Program and arguments.
        argv: Vec<OsString>,
    },
    /// The guest's control groups, in every hierarchy of the host.
    Group(Box<Group>),
    /// Which device nodes work in the guest.
    Devices(Vec<AllowedDevice>),
    /// Keep all processes of the guest's group from abstract unix sockets of others.
    UnixNames {
        /// The first process is in a Landlock domain that does it, too.
        otherwise_scoped: bool,
    },
    /// Addresses on the host's devices. What fails is said, and the start goes on.
    Interfaces {
        /// One for each directory of `interfaces/` without `nodev`.
        addresses: Vec<HostAddress>,
        /// Also the address that stands for `::1` in this network context.
        loopback_of: Option<Nid>,
    },
    /// What the guest's processes may use of the network stack that they share.
    NetworkContext(Box<NetContext>),
    /// A network namespace that the guest's first process will be born into.
    Namespace(Stack),
    /// Take the guest's tree, to become the root of its mount namespace.
    Root {
        /// First host id and count of an id-mapped mount.
        idmap: Option<(u32, u32)>,
    },
    /// A `/dev` made by the host.
    Dev {
        /// Its content.
        entries: Vec<DevEntry>,
        /// Added to each owner: the first id of a shifted guest.
        shift: u32,
        /// Options of `/dev/pts`; `None`: the guest has none.
        pts: Option<Pts>,
    },
    /// Make the guest's first process.
    First(Box<First>),
    /// Write the record, the run file and the reverse link.
    Record,
    /// Style sysv: wait until the command has ended, showing its output.
    AwaitCommand,
}

/// The control groups of a guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Path below the hierarchy's root: limits stand here, the guest's processes in `guest` below.
    pub path: String,
    /// Delegate the inner group to this id (a shifted guest's root).
    pub delegate: Option<u32>,
    /// Files that a new group copies from the one above.
    pub inherit: Vec<Sourced<String>>,
    /// In order.
    pub limits: Vec<Write>,
    /// The group above it that several guests share (`cgroup/name`).
    pub shared: Option<SharedGroup>,
}

/// A control group that several guests share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedGroup {
    /// Path below the hierarchy's root.
    pub path: String,
    /// What the guest that makes it writes there, in order.
    pub limits: Vec<Write>,
}

/// `/dev/pts` of a guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pts {
    /// Mode of new terminals.
    pub mode: u32,
    /// Group of new terminals, as the guest numbers it.
    pub gid: u32,
}

/// A device that a guest may open, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AllowedDevice {
    /// Block rather than character.
    pub block: bool,
    /// Major number.
    pub major: u32,
    /// Minor number; `None`: all.
    pub minor: Option<u32>,
    /// Also `mknod(2)`, for a guest with the capability.
    pub mknod: bool,
}

/// The guest's first process: its namespaces and what it does to itself before it becomes the guest's program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct First {
    /// A user namespace with these ids: first host id and count.
    pub user: Option<(u32, u32)>,
    /// A time namespace in which the guest has just been switched on.
    pub time: bool,
    /// A network namespace that comes into being with the process and belongs to its user namespace.
    pub network: Option<Furnishing>,
    /// What it sees of the machine as its own.
    pub share: Share,
    /// What it may do: applied last.
    pub rights: Rights,
    /// In order, inside the new namespaces.
    pub inside: Vec<Inside>,
    /// What it becomes.
    pub program: Program,
}

/// One thing that the guest's first process does to itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inside {
    /// sethostname(2)
    NodeName(OsString),
    /// setdomainname(2)
    DomainName(OsString),
    /// The prepared tree becomes visible as the coming root, with what the host view has mounted in it.
    AttachRoot,
    /// The prepared `/dev`.
    AttachDev,
    /// A process file system of the new PID namespace.
    Proc {
        /// Where, in the guest.
        target: PathBuf,
        /// Options for the file system (`hidepid=2`).
        data: Vec<String>,
    },
    /// `/sys`: the real one, read-only, or an empty directory tree where the kernel refuses it to this guest.
    Sys {
        /// Where, in the guest.
        target: PathBuf,
    },
    /// `/sys/fs/cgroup` as a view that begins at the guest's own group.
    CgroupView {
        /// Where, in the guest.
        target: PathBuf,
    },
    /// A small file system in memory.
    Tmpfs {
        /// Where, in the guest.
        target: PathBuf,
        /// Options.
        data: Vec<(String, String)>,
    },
    /// One kernel setting, before `/proc/sys` becomes read-only.
    Setting(Sourced<Sysctl>),
    /// A `/proc` or `/sys` entry that becomes read-only.
    ReadOnly(PathBuf),
    /// An entry below a read-only one that stays writable.
    Writable(PathBuf),
    /// A `/proc` entry that shows nothing.
    Mask {
        /// The entry.
        path: PathBuf,
        /// A directory rather than a file.
        directory: bool,
    },
    /// The guest's own `/proc/net` and `/sys/class/net` over those of the host's network.
    NetFiles {
        /// Where `/proc` is.
        proc: PathBuf,
    },
    /// The guest's own share of the machine over the kernel's files.
    Machine {
        /// Where `/proc` is.
        proc: PathBuf,
        /// Files in it; `online` belongs to `/sys/devices/system/cpu`.
        files: Vec<&'static str>,
    },
    /// Leave the host's tree for good.
    Pivot,
    /// No further user namespaces inside this one.
    NoUserNamespaces,
}

/// What a process of the guest may do and use: the first one, and every one that enters later.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is one right")]
pub struct Rights {
    /// The upper bound, for set-user-id programs too.
    pub capabilities: CapSet,
    /// The filter of dangerous system calls of a classic guest.
    pub deny_system_calls: bool,
    /// Sockets for whole frames are refused, although it holds `NET_RAW` over the host's network.
    #[serde(default)]
    pub deny_frames: bool,
    /// `raw_icmp` in a shifted guest: `NET_RAW` is in the bound of its programs besides, see [`Rights::bound`].
    #[serde(default)]
    pub powerless_raw: bool,
    /// It may make user namespaces of its own (`umask` has `newuser`).
    pub user_namespaces: bool,
    /// Calls that show network devices are answered by the broker (`hide_netif` in the host's network).
    #[serde(default)]
    pub hide_devices: bool,
    /// The processes are in a shadow of the host's network and are lent their sockets (`netshadow`).
    #[serde(default)]
    pub shadow: bool,
    /// Abstract unix sockets of processes outside are out of reach by a Landlock domain of the first process.
    #[serde(default)]
    pub scope_sockets: bool,
    /// Limits of the process.
    pub limits: Vec<ResourceLimit>,
    /// personality(2)
    pub personality: Option<u64>,
    /// Absolute nice value.
    pub nice: Option<i32>,
    /// I/O class and priority.
    pub ionice: Option<(u8, u8)>,
    /// Added to the OOM score.
    pub badness: Option<i32>,
}

impl Rights {
    /// The bound of all programs of the guest: its capabilities, and for `ping` (`raw_icmp`) also `NET_RAW` where it is
    /// held over a user namespace that has no power over the host's network. The kernel executes a program with that file
    /// capability, as Debian's `ping` is, within this bound only; what `ping` then uses needs no capability.
    pub fn bound(&self) -> CapSet {
        if self.powerless_raw { self.capabilities.with(CapSet::NET_RAW) } else { self.capabilities }
    }
}

/// One limit of setrlimit(2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceLimit {
    /// The kernel's number of the resource.
    pub resource: u32,
    /// Its word, for messages.
    pub word: String,
    /// Soft limit; `None`: leave it as it is, below the hard one.
    pub soft: Option<u64>,
    /// Hard limit; all bits set: infinite.
    pub hard: u64,
    /// Nobody configured it: raising it may fail (D17).
    pub may_fail: bool,
}

/// What the first process becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// Program and arguments, inside the guest.
    pub argv: Vec<OsString>,
    /// The complete environment.
    pub environment: Vec<(OsString, OsString)>,
    /// It is the guest's init; otherwise our stub is, and runs it as its child.
    pub init: bool,
    /// The stub stays although nobody is left (flag `persistent`).
    pub persistent: bool,
    /// Standard input, output and error come from this file of the host instead of the guest's console.
    pub tty: Option<PathBuf>,
}

/// How the guest will be stopped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ending {
    /// What asks the guest to end.
    pub request: StopRequest,
    /// Extra environment of the stop command.
    pub environment: Vec<(OsString, OsString)>,
    /// How long to wait after the request.
    pub timeout: std::time::Duration,
    /// Then this.
    pub killseq: Vec<KillStep>,
    /// Run on the host after the guest's end.
    pub sync_command: Option<Vec<OsString>>,
}

/// What asks a guest to end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StopRequest {
    /// A signal to its init.
    Signal(i32),
    /// A command run inside.
    Command(Vec<OsString>),
    /// Nothing: straight to the kill sequence.
    None,
}
