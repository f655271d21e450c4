//! The plan of a start.

use std::ffi::OsString;
use std::path::PathBuf;

use vserver_config::guest::{Flavour, Guest, Space};
use vserver_model::{Mode, Sourced, Xid};

use crate::ask::StartAsk;
use crate::command::{self, NoCommand, StartCommand};
use crate::hide;
use crate::limits::{self, translate::Controllers};
use crate::machine::Share;
use crate::mounts::{self, Mounts};
use crate::network::{self, Network, Stack};
use crate::rights::{self, SharesNetwork};
use crate::step::{First, Group, Inside, Plan, Program, SharedGroup, Step, Warning};
use crate::tree::Tree;
use crate::visible::{self, ProcEntry};

/// What of the host the plan of a start depends on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is one fact")]
pub struct Ground {
    /// Entries of the kernel's `/proc` and whether guests may see them.
    pub proc: Vec<ProcEntry>,
    /// Whose ids lie in the range that a shifted guest would use; `None`: nobody's.
    pub range_conflict: Option<String>,
    /// Directories that the tools need and that the host view therefore keeps.
    pub keep: Vec<PathBuf>,
    /// Whether the kernel has time namespaces (`CONFIG_TIME_NS`).
    pub time_namespaces: bool,
    /// Whether system calls of a guest can be answered by a process of ours (`SECCOMP_RET_USER_NOTIF`).
    pub answered_calls: bool,
    /// Whether Landlock keeps processes from abstract unix sockets of others (ABI 6, Linux 6.12).
    pub scopes_sockets: bool,
    /// Whether BPF programs on the guest's group do, for processes that enter as well (`bpf` is an active security
    /// module).
    pub guards_names: bool,
    /// Name of the control group above all guests.
    pub group_top: String,
    /// The controllers of control groups that this host has, each in its version.
    pub controllers: Controllers,
    /// Where hierarchies of control groups are mounted, if the configuration asks for a place.
    pub group_mounts: Vec<PathBuf>,
    /// Bytes in a page.
    pub page_size: u64,
    /// One line about what the configuration asks for and this version cannot do yet.
    pub not_yet: Option<String>,
}

/// Why a guest cannot be started as it is configured: found before anything was done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No `context` file, or an empty one. The text is the one that users know.
    #[error("Dynamic Context IDs are not supported, you must set Context ID in {} file", place.display())]
    NoContext {
        /// The file that should hold it.
        place: PathBuf,
    },
    /// No `run` link.
    #[error("{} is not a symbolic link", place.display())]
    NoRunLink {
        /// The link.
        place: PathBuf,
    },
    /// The tree cannot be id-mapped.
    #[error("cannot id-map {} (a {filesystem} file system)", root.display())]
    CannotIdmap {
        /// The guest's root.
        root: PathBuf,
        /// Its file system.
        filesystem: String,
        /// The file that asks for shifted ids.
        place: PathBuf,
    },
    /// The id range belongs to somebody.
    #[error("ids {first} to {last} of this guest are in use: {owner}")]
    RangeTaken {
        /// First id.
        first: u32,
        /// Last id.
        last: u32,
        /// Who has them.
        owner: String,
        /// The file that asks for shifted ids.
        place: PathBuf,
    },
    /// The kernel cannot hide the host's network devices.
    #[error("this kernel cannot hide the host's network devices (hide_netif)")]
    CannotHide {
        /// The network flags.
        place: PathBuf,
    },
    /// Another guest's namespace is asked for, which this version cannot do.
    #[error("joining the process namespace of another guest is not in this version")]
    Joins {
        /// The file.
        place: PathBuf,
    },
    /// A limit that this host cannot have.
    #[error("{text}")]
    Limit {
        /// What is wrong.
        text: String,
        /// A way out.
        hint: Option<String>,
        /// The file and line.
        place: Sourced<()>,
    },
    /// Nothing to run.
    #[error("{source}")]
    Command {
        /// What is missing.
        #[source]
        source: NoCommand,
        /// Where the style was set.
        place: Option<PathBuf>,
    },
}

impl Refusal {
    /// A way out.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoContext { place } => Some(format!(
                "write a number between 2 and 32767 that no other guest has: echo 1234 > {}",
                place.display()
            )),
            Self::NoRunLink { place } => Some(format!("ln -sfn /var/run/vservers/NAME {}", place.display())),
            Self::CannotIdmap { place, .. } => Some(format!(
                "keep the guest on ext4, xfs, btrfs or tmpfs, or start it without an id map: rm {}",
                place.display()
            )),
            Self::RangeTaken { place, .. } => {
                Some(format!("write the first of 65536 free ids: echo FIRST > {}", place.display()))
            }
            Self::CannotHide { place } => Some(format!(
                "use a kernel with CONFIG_SECCOMP_FILTER, or show them: echo '~hide_netif' >> {}",
                place.display()
            )),
            Self::Limit { hint, .. } => hint.clone(),
            Self::Joins { .. } => {
                Some("remove the file, or leave it empty for a namespace of the guest's own".into())
            }
            Self::Command { .. } => {
                Some("set apps/init/style or apps/init/cmd.start to what the guest has".into())
            }
        }
    }

    /// The file that asked for what cannot be done.
    pub fn place(&self) -> Option<&PathBuf> {
        match self {
            Self::NoContext { place }
            | Self::NoRunLink { place }
            | Self::CannotIdmap { place, .. }
            | Self::RangeTaken { place, .. }
            | Self::CannotHide { place }
            | Self::Joins { place, .. } => Some(place),
            Self::Limit { place, .. } => Some(&place.file),
            Self::Command { place, .. } => place.as_ref(),
        }
    }

    /// The line in that file.
    pub fn line(&self) -> u32 {
        match self {
            Self::Limit { place, .. } => place.line,
            _ => 1,
        }
    }
}

/// The plan of starting `guest`: the same on any machine, for the same arguments.
///
/// # Errors
///
/// [`Refusal`]: the configuration asks for something that cannot be, or lacks what must be there.
pub fn start(guest: &Guest, tree: &Tree, ground: &Ground, ask: &StartAsk) -> Result<Plan, Refusal> {
    let xid = check(guest)?;
    let mode = rights::mode(guest, xid);
    check_mode(guest, &mode, tree, ground)?;
    if hide::brokered(guest) && !ground.answered_calls {
        return Err(Refusal::CannotHide { place: guest.dir.join("nflags") });
    }
    let started = command::start(guest, tree, ask)
        .map_err(|source| Refusal::Command { source, place: guest.init.style_place.clone() })?;
    let systemd = started.init && tree.init_is_systemd;
    let mounts = mounts::sort(guest, tree, &mode, systemd);

    let mut steps = vec![host_view(guest, tree, ground), Step::Hooks(Flavour::Initialize)];
    steps.extend(mounts.early.iter().cloned());
    steps.push(Step::Hooks(Flavour::PrepreStart));
    let network = network::network(guest, xid, &mode);
    steps.extend(network.interfaces());
    steps.extend(mounts.host.iter().cloned());
    if guest.has_fstab {
        steps.push(Step::Mtab { initial: guest.mtab.clone(), entries: mounts.mtab.clone() });
    }
    steps.push(Step::Clean(started.style));
    steps.extend(started.runlevel_record.map(Step::RunlevelRecord));
    if let (Some(argv), None) = (&guest.init.cmd_prepare, &ask.rescue) {
        steps.push(Step::HostCommand { item: "cmd.prepare", argv: argv.value.clone() });
    }
    steps.push(Step::Group(Box::new(group(guest, &mode, systemd, ground)?)));
    steps.push(Step::Devices(rights::devices(&tree.dev)));
    if shares_names(guest) && ground.guards_names {
        steps.push(Step::UnixNames { otherwise_scoped: ground.scopes_sockets });
    }
    steps.extend(network.namespace(&mode));
    steps.extend(network.context.clone().map(|context| Step::NetworkContext(Box::new(context))));
    steps.push(Step::Hooks(Flavour::PreStart));
    steps.push(Step::Root { idmap: range(&mode) });
    steps.push(Step::Dev {
        entries: tree.dev.clone(),
        shift: first_id(&mode).unwrap_or(0),
        pts: mounts.pts.clone(),
    });
    let mut first = first(guest, &mode, &mounts, ground, &started, systemd, ask);
    first.network = network.born_with_the_guest(&mode);
    steps.push(Step::First(Box::new(first)));
    steps.push(Step::Record);
    if !started.init {
        steps.push(Step::AwaitCommand);
    }
    if let (Some(argv), true) = (&guest.init.cmd_start_sync, ask.sync || guest.init.sync) {
        steps.push(Step::HostCommand { item: "cmd.start-sync", argv: argv.value.clone() });
    }
    steps.push(Step::Hooks(Flavour::PostStart));
    Ok(Plan {
        name: guest.name.clone(),
        xid,
        warnings: warnings(guest, &mode, ground, &mounts, network),
        steps,
        view: hide::view(guest),
        ending: command::ending(guest, tree, &started),
        mode,
    })
}

/// What must be there before anything is done.
fn check(guest: &Guest) -> Result<Xid, Refusal> {
    let context =
        guest.context.as_ref().ok_or_else(|| Refusal::NoContext { place: guest.dir.join("context") })?;
    if guest.run.is_none() {
        return Err(Refusal::NoRunLink { place: guest.dir.join("run") });
    }
    if let Some(space) = &guest.spaces.pid
        && matches!(space.value, Space::Of(_))
    {
        return Err(Refusal::Joins { place: space.file.clone() });
    }
    Ok(context.value)
}

fn check_mode(guest: &Guest, mode: &Mode, tree: &Tree, ground: &Ground) -> Result<(), Refusal> {
    let Mode::Shifted { first_id, count } = *mode else { return Ok(()) };
    let place = guest.dir.join("spaces/user");
    if let Some(owner) = &ground.range_conflict {
        let last = first_id.saturating_add(count - 1);
        return Err(Refusal::RangeTaken { first: first_id, last, owner: owner.clone(), place });
    }
    if !tree.can_idmap {
        return Err(Refusal::CannotIdmap {
            root: tree.root.clone(),
            filesystem: tree.filesystem.clone(),
            place,
        });
    }
    Ok(())
}

fn first_id(mode: &Mode) -> Option<u32> {
    range(mode).map(|(first, _)| first)
}

fn range(mode: &Mode) -> Option<(u32, u32)> {
    match *mode {
        Mode::Shifted { first_id, count } => Some((first_id, count)),
        Mode::Classic => None,
    }
}

/// Where a guest's control groups are, below each hierarchy's root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupPath {
    /// Its own.
    pub own: String,
    /// The one above it that it shares with others.
    pub shared: Option<String>,
}

/// The guest's control group: `TOP/NAME`, or what `cgroup/name` and `cgroup/base` say. A name that is not the guest's own
/// may be that of several guests: each has a group of its own in the one of that name, so that one can be killed and
/// removed without the others.
pub fn group_path(guest: &Guest, top: &str) -> GroupPath {
    let named = guest.cgroup.name.as_ref().map(|name| &name.value);
    let named = named.filter(|name| **name != guest.name.as_os_str());
    let base = guest.cgroup.base.as_ref().map(|base| base.value.to_string_lossy());
    let above = match &base {
        Some(base) => format!("{top}/{}", base.trim_matches('/')),
        None => top.to_owned(),
    };
    let shared = named.map(|name| format!("{above}/{}", name.to_string_lossy()));
    let own = format!("{}/{}", shared.as_ref().unwrap_or(&above), guest.name.display());
    GroupPath { own, shared }
}

fn group(guest: &Guest, mode: &Mode, systemd: bool, ground: &Ground) -> Result<Group, Refusal> {
    let GroupPath { own, shared } = group_path(guest, &ground.group_top);
    let wanted = limits::writes(guest, ground, shared.is_some())?;
    Ok(Group {
        path: own,
        delegate: first_id(mode).or(systemd.then_some(0)),
        inherit: guest.cgroup.inherit.clone(),
        limits: wanted.own,
        shared: shared.map(|path| SharedGroup { path, limits: wanted.shared }),
    })
}

fn host_view(guest: &Guest, tree: &Tree, ground: &Ground) -> Step {
    let mut keep = vec![tree.root.clone(), guest.dir.clone()];
    keep.extend(ground.keep.iter().cloned());
    keep.extend(["/usr/local", "/tmp", "/run", "/usr", "/boot"].map(PathBuf::from));
    keep.extend(guest.namespace_cleanup_skip.iter().map(|skip| skip.value.clone()));
    Step::HostView { cleanup: guest.namespace_cleanup.on, keep }
}

/// The guest's first process.
fn first(
    guest: &Guest,
    mode: &Mode,
    mounts: &Mounts,
    ground: &Ground,
    started: &StartCommand,
    systemd: bool,
    ask: &StartAsk,
) -> First {
    let mut environment = guest.init.environment.clone();
    let mut add = |name: &str, value: OsString| {
        if !environment.iter().any(|(known, _)| known == name) {
            environment.push((name.into(), value));
        }
    };
    // systemd and others look at this to know that they are not on bare hardware (design decision 14).
    add("container", "vserver".into());
    // A file of the guest's own replaces the shipped one and its PATH line; programs need one (S67).
    add("PATH", "/bin:/usr/bin:/sbin:/usr/sbin".into());
    environment.extend(started.environment.iter().cloned());
    let flag = |word: &str| has_flag(guest, word);
    First {
        user: range(mode),
        time: flag("virt_uptime") && ground.time_namespaces,
        network: None,
        share: Share::of(guest),
        rights: rights::rights(guest, mode, systemd, ground),
        inside: inside(guest, mode, mounts, ground),
        program: Program {
            argv: started.argv.clone(),
            environment,
            init: started.init,
            persistent: flag("persistent"),
            tty: if ask.default_tty { guest.init.tty.clone() } else { None },
        },
    }
}

/// Whether a context flag is set, counted from what a fresh guest has.
pub fn has_flag(guest: &Guest, word: &str) -> bool {
    use vserver_model::{flags, words};
    let bits = guest.cflags.bits.apply_on(flags::DEFAULT_CFLAGS.0);
    words::CFLAGS.find(word).is_some_and(|word| bits & word.bits != 0)
}

/// What the first process does to itself. The order is that of `research/confinement.md` 1.1: namespaces exist, then
/// names, mounts, settings, masks, the way out of the host's tree, and rights last.
fn inside(guest: &Guest, mode: &Mode, mounts: &Mounts, ground: &Ground) -> Vec<Inside> {
    let mut steps = Vec::new();
    let uts = &guest.uts;
    steps.extend(uts.nodename.iter().map(|name| Inside::NodeName(name.value.clone())));
    steps.extend(uts.domainname.iter().map(|name| Inside::DomainName(name.value.clone())));
    steps.push(Inside::AttachRoot);
    steps.push(Inside::AttachDev);
    steps.extend(mounts.own.iter().cloned());
    steps.extend(limits::kernel_settings(guest));
    steps.extend(guest.sysctl.iter().map(|setting| {
        let place = setting.setting.clone();
        Inside::Setting(place.map(|_| setting.clone()))
    }));
    if matches!(mode, Mode::Shifted { .. }) && !rights::may_make_user_namespaces(guest) {
        steps.push(Inside::NoUserNamespaces);
    }
    if let Some(proc) = &mounts.proc {
        steps.extend(visible::guard_proc(proc, &ground.proc, mode));
    }
    if let (Some(proc), true) = (&mounts.proc, hide::brokered(guest) && !hide::in_shadow(guest)) {
        steps.push(Inside::NetFiles { proc: proc.clone() });
    }
    let files = Share::of(guest).files(&ground.proc);
    if let (Some(proc), false) = (&mounts.proc, files.is_empty()) {
        steps.push(Inside::Machine { proc: proc.clone(), files });
    }
    steps.push(Inside::Pivot);
    steps
}

/// Whether the names of the host's abstract unix sockets would be the guest's, too.
fn shares_names(guest: &Guest) -> bool {
    hide::shares_the_network(guest) && !hide::in_shadow(guest)
}

fn warnings(guest: &Guest, mode: &Mode, ground: &Ground, mounts: &Mounts, network: Network) -> Vec<Warning> {
    let shares = if network.stack == Stack::Host { SharesNetwork::Yes } else { SharesNetwork::No };
    let mut warnings = network.warnings;
    warnings.extend(ground.not_yet.iter().map(|line| Warning { text: line.clone(), place: None }));
    if shares_names(guest) && !ground.scopes_sockets && !ground.guards_names {
        warnings.push(Warning {
            text: "the guest can reach abstract unix sockets of the host (D-Bus, container runtimes): this kernel has no \
                   means against it but a network of the guest's own (spaces/net). With bpf in the kernel's lsm= list it \
                   has: vserver check-host"
                .into(),
            place: None,
        });
    }
    if !guest.namespace.on {
        warnings.push(Warning {
            text: "nonamespace: a private mount namespace is used all the same, as without one a guest could escape".into(),
            place: guest.namespace.place.clone(),
        });
    }
    if has_flag(guest, "virt_uptime") && !ground.time_namespaces {
        warnings.push(Warning {
            text: "virt_uptime: this kernel has no time namespaces, so the guest shows the host's uptime"
                .into(),
            place: None,
        });
    }
    if mounts.proc.is_none() {
        warnings.push(Warning {
            text: "no fstab line mounts /proc: most programs of the guest will not work".into(),
            place: Some(guest.dir.join("fstab")),
        });
    }
    if let (Some(machine), None) = (&guest.uts.machine, rights::personality_of(guest)) {
        warnings.push(Warning {
            text: format!(
                "uts/machine {}: the kernel cannot show this name",
                machine.value.to_string_lossy()
            ),
            place: Some(machine.file.clone()),
        });
    }
    warnings.extend(rights::capability_warnings(guest, mode, shares));
    warnings.extend(limits::warnings(guest, ground));
    warnings
}
