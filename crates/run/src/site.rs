//! What the steps of one start hand to each other.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::OnceLock;

use vserver_config::guest::Guest;
use vserver_kernel::Fault;
use vserver_kernel::beneath::Root;
use vserver_kernel::cgroup::{Doors, Group, Hierarchies};
use vserver_kernel::mount::MountFd;
use vserver_kernel::process::{Pidfd, ProcessId};
use vserver_kernel::pty::Pty;
use vserver_kernel::shadow::Picture;
use vserver_model::Layout;
use vserver_plan::{Plan, Tree};

use crate::lock::Lock;
use crate::logs::Boot;
use crate::machine::MachineFiles;
use crate::netfiles::NetFiles;

/// The half-built guest.
pub struct Site<'a> {
    /// Base directories.
    pub layout: &'a Layout,
    /// The guest.
    pub guest: &'a Guest,
    /// Its tree's facts.
    pub tree: &'a Tree,
    /// What is being done.
    pub plan: &'a Plan,
    /// The guest's root directory, as the host sees it.
    pub root: Root,
    /// A user namespace of a shifted guest's ids, for the map of its tree.
    pub users: Option<OwnedFd>,
    /// The guest's start lock; not held while a command in the guest is waited for.
    pub lock: Option<Lock>,
    /// Another command has stopped the guest meanwhile: nothing here is ours any more.
    pub taken_over: bool,
    /// The mount namespace that the command was started in: the guard goes back to it.
    pub outside: OwnedFd,
    /// Where shared BPF programs are pinned, if a BPF file system is mounted.
    pub bpffs: Option<PathBuf>,
    /// Host-view mounts below the root whose owners were shifted when they were made: no id map for them.
    pub shifted_mounts: Vec<PathBuf>,
    /// The guest's control groups.
    pub group: Option<Groups>,
    /// The tree as it will be the root.
    pub tree_mount: Option<MountFd>,
    /// Mounts of the host view below the root, with their place in the guest (shifted guests only).
    pub carried: Vec<(PathBuf, MountFd)>,
    /// The guest's `/dev`, its terminals, and its console.
    pub dev: Option<Dev>,
    /// What the guest reads in `/proc/net`, if it is not the host's.
    pub net_files: Option<NetFiles>,
    /// What the guest reads about the machine, if it is not the host's.
    pub machine_files: Option<MachineFiles>,
    /// The network namespace that the guest's first process is born into, if it is not the host's.
    pub netns: Option<OwnedFd>,
    /// What the network namespace of the guest's processes is to show, if that is a shadow of the host's.
    pub shadow: Option<Picture>,
    /// Where its console is logged; nowhere if that cannot be.
    pub log: Option<Boot>,
    /// The first process.
    pub first: Option<FirstProcess>,
}

/// The guest's control groups.
pub struct Groups {
    /// Limits, programs, freezer.
    pub outer: Group,
    /// The root of the guest's cgroup namespace.
    pub inner: Group,
    /// The version 2 directory of the inner one, which the first process is cloned into; nothing on a host without.
    pub directory: Option<OwnedFd>,
    /// The first process's way into the version 1 groups.
    pub doors: Doors,
}

/// The host-made `/dev`.
pub struct Dev {
    /// The file system in memory with the nodes.
    pub mount: MountFd,
    /// The terminals.
    pub pts: MountFd,
    /// The first of them: the guest's console.
    pub console: Pty,
    /// Fifos and sockets of the tree's `dev`, carried over.
    pub fifos: Vec<(PathBuf, MountFd)>,
}

/// The first process and the guard, just made.
pub struct FirstProcess {
    /// Its identity on the host.
    pub id: ProcessId,
    /// A handle on it.
    pub pidfd: Pidfd,
    /// The guard.
    pub guard: ProcessId,
    /// What it and the helper report.
    pub answers: OwnedFd,
    /// Closing it lets the guard read the console and answer for the guest's end.
    pub hold: Option<OwnedFd>,
}

/// The control group hierarchies of this host, looked for once: a command does not live long enough to see them change.
///
/// # Errors
/// As [`Hierarchies::discover`].
pub fn hierarchies() -> Result<Hierarchies, Fault> {
    static KNOWN: OnceLock<Hierarchies> = OnceLock::new();
    match KNOWN.get() {
        Some(known) => Ok(known.clone()),
        None => Hierarchies::discover().map(|found| KNOWN.get_or_init(|| found).clone()),
    }
}
