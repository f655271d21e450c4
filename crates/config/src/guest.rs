//! A guest as its configuration directory describes it, typed, every value with its place.
//!
//! Read by [`crate::read()`], written back by [`crate::write()`]. Nothing here asks the kernel.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use vserver_model::{
    Address, Bits, GuestName, InitStyle, KillStep, Limit, LimitTriple, Mac, Nid, RlimitResource, Sourced,
    StaticRoute, Tag, UlimitResource, Xid,
};

/// One configured guest: everything below `/etc/vservers/NAME`, with the defaults of `.defaults` merged where
/// the precedence table of the configuration reference says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guest {
    /// Base name of the configuration directory: run file, cgroup, lock and messages use it.
    pub name: GuestName,
    /// The configuration directory, absolute.
    pub dir: PathBuf,
    /// `name`: what `vserver-stat` shows; the base name otherwise.
    pub display_name: Option<Sourced<OsString>>,
    /// `vdir`: the guest's root directory, absolute, links not yet followed. `None`: the link is missing.
    pub vdir: Option<Sourced<PathBuf>>,
    /// `cache`: target of the link, absolute.
    pub cache: Option<Sourced<PathBuf>>,
    /// `run`: target text of the link, absolute. Start refuses a guest without it.
    pub run: Option<Sourced<PathBuf>>,

    /// `context`
    pub context: Option<Sourced<Xid>>,
    /// `ncontext`
    pub ncontext: Option<Sourced<Nid>>,
    /// `noncontext`
    pub noncontext: Option<Sourced<()>>,
    /// `netshadow` (an addition of ours).
    pub netshadow: Option<Sourced<()>>,
    /// `tag`
    pub tag: Option<Sourced<Tag>>,

    /// `bcapabilities`: to be applied on the secure set, line after line.
    pub bcapabilities: Words,
    /// `ccapabilities`
    pub ccapabilities: Words,
    /// `cflags`, else `flags`. `hide_netif` written here stands in `nflags` (D8).
    pub cflags: Words,
    /// `nflags`
    pub nflags: Words,
    /// `ncapabilities`
    pub ncapabilities: Words,
    /// `umask`: the namespaces that the guest may make itself.
    pub umask: Words,
    /// `fakeinit` was written in the flags: the first process is the guest's init whatever the style.
    pub fakeinit: Option<Sourced<()>>,

    /// `personality`: the value for personality(2).
    pub personality: Option<Sourced<u64>>,
    /// `nice`, absolute.
    pub nice: Option<Sourced<i32>>,
    /// `ionice/`
    pub ionice: Option<Sourced<Ionice>>,
    /// `shell`, else `.defaults/shell`: one word.
    pub shell: Option<Sourced<OsString>>,
    /// `badness`: added to the OOM score of every process, -1000 to 1000.
    pub badness: Option<Sourced<i32>>,
    /// `keepfds` here or in `.defaults`.
    pub keepfds: Option<Sourced<()>>,
    /// `noisy`
    pub noisy: Option<Sourced<()>>,
    /// `disabled`
    pub disabled: Option<Sourced<()>>,

    /// `namespace`, `nonamespace` after the precedence rule; true unless switched off.
    pub namespace: Switch,
    /// `namespace-cleanup`, `nonamespace-cleanup` after the precedence rule.
    pub namespace_cleanup: Switch,
    /// `namespace-cleanup-skip`
    pub namespace_cleanup_skip: Vec<Sourced<PathBuf>>,

    /// `spaces/`
    pub spaces: Spaces,
    /// `uts/`
    pub uts: Uts,
    /// `ulimits/`
    pub ulimits: BTreeMap<UlimitResource, Ulimit>,
    /// `rlimits/`
    pub rlimits: BTreeMap<RlimitResource, Sourced<LimitTriple>>,
    /// `sysctl/`, in byte order.
    pub sysctl: Vec<Sysctl>,
    /// `fstab`, then `fstab.local`.
    pub fstab: Vec<Sourced<FstabEntry>>,
    /// `fstab.remote`
    pub fstab_remote: Vec<Sourced<FstabEntry>>,
    /// Whether any of the three fstab files exists: then the guest's mtab is written.
    pub has_fstab: bool,
    /// The initial mtab text: `apps/init/mtab`, `.defaults/init/mtab`, shipped.
    pub mtab: Vec<u8>,

    /// `interfaces/`
    pub interfaces: Interfaces,
    /// `netns/`, unless `nonetns`.
    pub netns: Option<Netns>,
    /// `cgroup/`
    pub cgroup: Cgroup,
    /// `cpuset/` with a `name`.
    pub cpuset: Option<Cpuset>,
    /// `sched/` and its sub-directories.
    pub sched: Vec<Sched>,
    /// `dlimits/`
    pub dlimits: Vec<Sourced<Dlimit>>,
    /// `apps/vdevmap/`
    pub vdevmap: Vec<Sourced<DeviceMapping>>,

    /// `apps/init/`
    pub init: Init,
    /// `apps/vshelper/`
    pub vshelper: Vshelper,
    /// `scripts/` here and in `.defaults`.
    pub scripts: Scripts,
    /// `apps/pkgmgmt`, `apps/vunify` and what else this version only carries.
    pub carried: Vec<Carried>,
    /// `.defaults/apps/vlogin/disable`
    pub vlogin_disabled: bool,
}

/// The words of one list file: the sum of its lines and where each line stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Words {
    /// All lines in order.
    pub bits: Bits,
    /// Each line with its own bits, for messages and for writing back.
    pub lines: Vec<Sourced<String>>,
}

/// A feature with a file that turns it on and one that turns it off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Switch {
    /// The result.
    pub on: bool,
    /// The file that decided; `None`: the built-in default.
    pub place: Option<PathBuf>,
}

/// `ionice/class` and `ionice/priority`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ionice {
    /// 0 none, 1 real time, 2 best effort, 3 idle; 2 when only the priority is given.
    pub class: u8,
    /// 0 to 7.
    pub priority: u8,
}

/// `spaces/`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spaces {
    /// `spaces/pid`: absent here means own PID namespace all the same (design decision L12).
    pub pid: Option<Sourced<Space>>,
    /// `spaces/net`
    pub net: Option<Sourced<Space>>,
    /// `spaces/user`: shifted mode (an addition of ours).
    pub user: Option<Sourced<UserSpace>>,
    /// `spaces/mask`: the `CLONE_NEW*` bits asked for.
    pub mask: Option<Sourced<u64>>,
}

/// What a file in `spaces/` asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Space {
    /// An empty file: a namespace of the guest's own.
    Own,
    /// `0`: the file is there, the feature off.
    Off,
    /// Another guest's namespace: its xid or name.
    Of(OsString),
}

/// What `spaces/user` asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UserSpace {
    /// Empty: ids `xid*65536 …`, 65536 of them.
    Default,
    /// `0`: off.
    Off,
    /// `FIRST` or `FIRST COUNT`: another range.
    Range {
        /// First id on the host.
        first: u32,
        /// How many ids; 65536 when not given.
        count: u32,
    },
}

/// `uts/`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Uts {
    /// `uts/sysname`
    pub sysname: Option<Sourced<OsString>>,
    /// `uts/nodename`: the guest's host name.
    pub nodename: Option<Sourced<OsString>>,
    /// `uts/release`
    pub release: Option<Sourced<OsString>>,
    /// `uts/version`
    pub version: Option<Sourced<OsString>>,
    /// `uts/machine`
    pub machine: Option<Sourced<OsString>>,
    /// `uts/domainname`
    pub domainname: Option<Sourced<OsString>>,
}

/// One resource of `ulimits/`, after `RES`, `RES.hard` and `RES.soft`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ulimit {
    /// The soft limit.
    pub soft: Option<Sourced<Limit>>,
    /// The hard limit.
    pub hard: Option<Sourced<Limit>>,
}

/// `sysctl/X/`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sysctl {
    /// `setting` with slashes, relative to /proc/sys.
    pub setting: Sourced<PathBuf>,
    /// `value`, whole content.
    pub value: Vec<u8>,
}

/// One line of an fstab file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FstabEntry {
    /// SOURCE, escapes decoded.
    pub source: OsString,
    /// DEST inside the guest, escapes decoded.
    pub target: PathBuf,
    /// TYPE; `None` for `none`.
    pub fstype: Option<String>,
    /// What to do about each option.
    pub options: MountOptions,
    /// The options as written, for the mtab.
    pub options_text: String,
    /// The fsck pass, field six.
    pub pass: u32,
}

/// The options of an fstab line, sorted out (whole words, D20).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is one option word of mount(8)")]
pub struct MountOptions {
    /// `bind` or `rbind`
    pub bind: Option<Bind>,
    /// `move`
    pub move_mount: bool,
    /// `remount`
    pub remount: bool,
    /// `ro`
    pub read_only: bool,
    /// `nosuid`
    pub nosuid: bool,
    /// `nodev`: on by default except for devpts or with `dev`.
    pub nodev: bool,
    /// `noexec`
    pub noexec: bool,
    /// `sync`
    pub sync: bool,
    /// `dirsync`
    pub dirsync: bool,
    /// `mandlock`
    pub mandlock: bool,
    /// `lazytime`
    pub lazytime: bool,
    /// How access times are kept.
    pub atime: Atime,
    /// `nodiratime`
    pub nodiratime: bool,
    /// `noauto`
    pub noauto: bool,
    /// `nofail`
    pub nofail: bool,
    /// `nomtab`
    pub nomtab: bool,
    /// `shared`, `slave`, `private`, `unbindable` and whether recursive (`rec`, `r…`).
    pub propagation: Option<(MountPropagation, bool)>,
    /// Everything else: for the file system, in order.
    pub data: Vec<String>,
    /// `x-…` and `X-…`: for programs around mount(8), never for the file system.
    pub extensions: Vec<String>,
}

/// `bind` or `rbind`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bind {
    /// The one mount.
    Single,
    /// With everything mounted below it.
    Recursive,
}

/// Access time policy of a mount.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Atime {
    /// Nothing said: the kernel's default (relatime).
    #[default]
    Default,
    /// `relatime`
    Relatime,
    /// `noatime`
    Noatime,
    /// `strictatime`
    Strictatime,
}

/// Propagation words of an fstab line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MountPropagation {
    /// `shared`
    Shared,
    /// `slave`
    Slave,
    /// `private`
    Private,
    /// `unbindable`
    Unbindable,
}

/// `interfaces/`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interfaces {
    /// `interfaces/bcast`
    pub bcast: Option<Sourced<Address>>,
    /// `interfaces/lback`
    pub lback: Option<Sourced<Address>>,
    /// One per enabled sub-directory, in byte order.
    pub list: Vec<Interface>,
}

/// `interfaces/IFACE/`, inherited keys filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// The directory's name.
    pub key: OsString,
    /// `ip` with its prefix resolved from `ip`, `prefix` or `mask` (D12).
    pub address: Sourced<Address>,
    /// `dev`; `None` only with `nodev`.
    pub dev: Option<Sourced<OsString>>,
    /// `bcast`
    pub bcast: Option<Sourced<Address>>,
    /// `name`: the label behind `DEV:`.
    pub label: Option<Sourced<OsString>>,
    /// `scope`
    pub scope: Option<Sourced<String>>,
    /// `peer`
    pub peer: Option<Sourced<Address>>,
    /// `nodev` (or `only_ip`)
    pub nodev: bool,
    /// `down`
    pub down: bool,
    /// VLAN device handling after the precedence rule.
    pub vlan: bool,
    /// `tun` or `tap`
    pub tuntap: Option<Tuntap>,
}

/// Keys of a tun or tap interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tuntap {
    /// `tap` rather than `tun`.
    pub tap: bool,
    /// `nocsum`
    pub nocsum: bool,
    /// `shared`
    pub shared: bool,
    /// `uid`
    pub uid: Option<Sourced<u32>>,
    /// `gid`
    pub gid: Option<Sourced<u32>>,
    /// `linktype`
    pub linktype: Option<Sourced<u32>>,
}

/// `netns/`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Netns {
    /// `name`, default the guest's.
    pub name: OsString,
    /// `shared`
    pub shared: bool,
    /// `interfaces/X`
    pub interfaces: Vec<NetnsInterface>,
    /// The directory that is in force.
    pub dir: PathBuf,
}

/// `netns/interfaces/X/`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetnsInterface {
    /// The directory.
    pub place: Sourced<()>,
    /// `host`; `None`: a pair's end is called after the context number.
    pub host: Option<Sourced<OsString>>,
    /// `guest`, default `gethN`.
    pub guest: OsString,
    /// `type`, default `veth`: that, `macvlan`, `ipvlan` or `phys`.
    pub kind: OsString,
    /// `address`: in the guest.
    pub addresses: Vec<Sourced<Address>>,
    /// `host-address`: of the host's end.
    pub host_addresses: Vec<Sourced<Address>>,
    /// `gateway`: the routers of all other addresses, one a family.
    pub gateways: Vec<Sourced<Address>>,
    /// `route`
    pub routes: Vec<Sourced<StaticRoute>>,
    /// `mtu`
    pub mtu: Option<Sourced<u32>>,
    /// `mac`
    pub mac: Option<Sourced<Mac>>,
    /// `bridge`
    pub bridge: Option<Sourced<OsString>>,
}

/// `cgroup/` of the guest or of `.defaults`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cgroup {
    /// `name`
    pub name: Option<Sourced<OsString>>,
    /// `base` (`.defaults` only)
    pub base: Option<Sourced<OsString>>,
    /// `mnt` (`.defaults` only)
    pub mnt: Option<Sourced<PathBuf>>,
    /// `per-ss` (`.defaults` only)
    pub per_ss: bool,
    /// `subsys` (`.defaults` only)
    pub subsys: Vec<Sourced<String>>,
    /// `inherit` (`.defaults` only)
    pub inherit: Vec<Sourced<String>>,
    /// `CONTROLLER.FILE` and content, in byte order.
    pub settings: Vec<(OsString, Sourced<Vec<u8>>)>,
    /// `nocgroup`
    pub nocgroup: bool,
}

/// `cpuset/`
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is one marker file")]
pub struct Cpuset {
    /// `name`
    pub name: Sourced<OsString>,
    /// `cpus`
    pub cpus: Option<Sourced<String>>,
    /// `mems`
    pub mems: Option<Sourced<String>>,
    /// `cpu_exclusive`
    pub cpu_exclusive: bool,
    /// `mem_exclusive`
    pub mem_exclusive: bool,
    /// `virtualized`
    pub virtualized: bool,
    /// `nocreate`
    pub nocreate: bool,
}

/// `sched/` (or `schedule`), for all processors or for one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sched {
    /// The sub-directory; `None` for `sched/` itself.
    pub key: Option<OsString>,
    /// File name and value, in byte order.
    pub values: BTreeMap<String, Sourced<i64>>,
    /// `idle-time`
    pub idle_time: bool,
}

/// `dlimits/X/`, complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dlimit {
    /// `directory`
    pub directory: PathBuf,
    /// `space_total`, in KiB.
    pub space_total_kib: u64,
    /// `inodes_total`
    pub inodes_total: u64,
    /// `reserved`, in percent.
    pub reserved_percent: u8,
}

/// `apps/vdevmap/X/`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceMapping {
    /// `device`; `None`: the default rule.
    pub device: Option<PathBuf>,
    /// `target`
    pub target: Option<PathBuf>,
    /// `open`
    pub open: bool,
    /// `create`
    pub create: bool,
    /// `remap`
    pub remap: bool,
    /// `flags`
    pub flags: Option<u64>,
}

/// `apps/init/`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Init {
    /// `style`; sysv without the file.
    pub style: InitStyle,
    /// Where the style was set.
    pub style_place: Option<PathBuf>,
    /// `runlevel.start`, else `runlevel`.
    pub runlevel_start: Option<Sourced<String>>,
    /// `runlevel.stop`
    pub runlevel_stop: Option<Sourced<String>>,
    /// `killseq`; TERM, 5 s, KILL without the file.
    pub killseq: Vec<KillStep>,
    /// `cmd.start`
    pub cmd_start: Option<Sourced<Vec<OsString>>>,
    /// `cmd.stop`
    pub cmd_stop: Option<Sourced<Vec<OsString>>>,
    /// `cmd.start-sync`
    pub cmd_start_sync: Option<Sourced<Vec<OsString>>>,
    /// `cmd.stop-sync`
    pub cmd_stop_sync: Option<Sourced<Vec<OsString>>>,
    /// `cmd.prepare`
    pub cmd_prepare: Option<Sourced<Vec<OsString>>>,
    /// `sync`
    pub sync: bool,
    /// `tty`, else `.defaults/apps/init/tty`.
    pub tty: Option<PathBuf>,
    /// `mark`
    pub marks: Vec<Sourced<OsString>>,
    /// `depends`
    pub depends: Vec<Sourced<OsString>>,
    /// `environment`, the first file found, complete, in order: exactly what the first process gets.
    pub environment: Vec<(OsString, OsString)>,
    /// The file the environment came from; `None`: the shipped default.
    pub environment_place: Option<PathBuf>,
}

/// `apps/vshelper/`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vshelper {
    /// `disabled` here or in `.defaults`.
    pub disabled: bool,
    /// `warning-disabled`
    pub warning_disabled: bool,
    /// `debug`
    pub debug: bool,
    /// `sync-timeout`, 30 s by default.
    pub sync_timeout: Duration,
    /// `action`, `restart` by default.
    pub action: OsString,
    /// `EVENT` programs, guest's first: event name and path.
    pub handlers: Vec<(String, PathBuf)>,
}

/// A hook's moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Flavour {
    /// Before the configuration is loaded: may edit it.
    Initialize,
    /// Configuration read; before limits, interfaces and mounts.
    PrepreStart,
    /// Everything on the host's side is ready, the guest not yet made.
    PreStart,
    /// The first process runs.
    PostStart,
    /// Before the stop command.
    PreStop,
    /// All processes gone, before unmounting.
    PostStop,
    /// After unmounting.
    PostpostStop,
}

/// `scripts/` of the guest and of `.defaults`, per flavour, in the order they run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scripts {
    /// From `CFG/scripts`.
    pub own: BTreeMap<Flavour, Vec<Script>>,
    /// From `DEF/scripts`: run if no own one ran, or `DONT_SKIP_DEFAULTS` was set.
    pub defaults: BTreeMap<Flavour, Vec<Script>>,
}

/// One hook file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// The file.
    pub path: PathBuf,
    /// Run as a program; otherwise sourced by a shell (D23).
    pub executable: bool,
}

/// An item that is read and validated, but whose mechanism this version does not have, or that other commands read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Carried {
    /// The item's name in the table.
    pub item: &'static str,
    /// The file.
    pub place: PathBuf,
}
