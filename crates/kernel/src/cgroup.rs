//! Control groups, whatever mixture of version 1 and 2 this host has.
//!
//! A [`Group`] is one name in every mounted hierarchy. [`Hierarchies::discover`] finds them; where no cgroup2 is
//! mounted a hidden one is used, since the device program, the atomic kill and `CLONE_INTO_CGROUP` need it. Files are
//! read and written as they are: limits belong to the group `vservers/NAME`, its child `guest` is what the guest
//! sees as its root, so that it cannot raise them.

mod v1;
mod v2;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, Gid, Mode, OFlags, RawDir, Uid};
use rustix::io::Errno;

use crate::beneath::{Leaves, remove_tree_at};
use crate::mount::{self, MountEntry, NewFs};
use crate::proc::{self, Membership};
use crate::{Blame, Fault, Result};

/// How long freezing may take before it counts as failed.
const FREEZE_TIMEOUT: Duration = Duration::from_secs(10);

/// The version of a hierarchy, and what it governs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Version 1 with these controllers, or a named one without any (`name=systemd`).
    V1 {
        /// Names as in `/proc/self/cgroup`.
        controllers: Vec<String>,
    },
    /// Version 2.
    V2 {
        /// What its root's `cgroup.controllers` says; nothing on most hybrid hosts.
        controllers: Vec<String>,
    },
}

/// One mounted hierarchy.
#[derive(Debug)]
pub struct Hierarchy {
    kind: Kind,
    /// Where groups are made: the directory that the mount shows.
    root: OwnedFd,
    /// The mount point, for error texts and bind mounts; `None` for a hidden mount.
    mount_point: Option<PathBuf>,
    /// The group that the mount shows, as `/proc/PID/cgroup` would call it.
    shows: PathBuf,
}

impl Hierarchy {
    /// Version and controllers.
    pub fn kind(&self) -> &Kind {
        &self.kind
    }

    /// Whether this is the cgroup2 hierarchy.
    pub fn is_v2(&self) -> bool {
        matches!(self.kind, Kind::V2 { .. })
    }

    /// The names of its controllers; `name=systemd` for a named one.
    pub fn controllers(&self) -> &[String] {
        match &self.kind {
            Kind::V1 { controllers } | Kind::V2 { controllers } => controllers,
        }
    }

    /// Where it is mounted; `None`: hidden, nobody but us sees it.
    pub fn mount_point(&self) -> Option<&Path> {
        self.mount_point.as_deref()
    }

    fn show(&self, group: &Path) -> PathBuf {
        self.mount_point.as_deref().unwrap_or(Path::new("(cgroup2)")).join(group)
    }

    fn open(&self, group: &Path) -> Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::openat(&self.root, group, flags, Mode::empty())
            .blame_with("open(2)", || self.show(group).display().to_string())
    }

    /// Writes a whole value with one write(2), as these files want it.
    fn write(&self, group: &Path, file: &str, value: &[u8]) -> Result<()> {
        let path = group.join(file);
        write_at(self.root.as_fd(), &path, value)
            .blame_with("write(2)", || self.show(&path).display().to_string())
    }

    fn read(&self, group: &Path, file: &str) -> Result<Vec<u8>> {
        let path = group.join(file);
        read_at(self.root.as_fd(), &path).blame_with("read(2)", || self.show(&path).display().to_string())
    }
}

fn write_at(dir: BorrowedFd<'_>, path: &Path, value: &[u8]) -> Result<(), Errno> {
    let file = rustix::fs::openat(dir, path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    match rustix::io::retry_on_intr(|| rustix::io::write(&file, value))? {
        written if written == value.len() => Ok(()),
        _ => Err(Errno::IO),
    }
}

fn read_at(dir: BorrowedFd<'_>, path: &Path) -> Result<Vec<u8>, Errno> {
    let file = rustix::fs::openat(dir, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut bytes = Vec::with_capacity(4096);
    loop {
        bytes.reserve(4096);
        if rustix::io::retry_on_intr(|| rustix::io::read(&file, rustix::buffer::spare_capacity(&mut bytes)))?
            == 0
        {
            return Ok(bytes);
        }
    }
}

/// A hierarchy found in the mount table and not opened yet.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    kind: Kind,
    mount_point: PathBuf,
    shows: PathBuf,
    device: (u32, u32),
}

/// What the mount table and our own memberships tell, best candidates first.
fn candidates(mounts: &[MountEntry], own: &[Membership]) -> Vec<Found> {
    let found = |entry: &MountEntry, kind: Kind| Found {
        kind,
        mount_point: entry.mount_point.clone(),
        shows: entry.root.clone(),
        device: entry.device,
    };
    let mut all: Vec<Found> = Vec::new();
    for entry in mounts.iter().filter(|entry| entry.fstype == "cgroup2") {
        all.push(found(entry, Kind::V2 { controllers: Vec::new() }));
    }
    for membership in own.iter().filter(|membership| membership.hierarchy != 0) {
        let controllers: Vec<String> = membership.controllers.split(',').map(str::to_owned).collect();
        let shows = |entry: &&MountEntry| {
            entry.fstype == "cgroup" && controllers.iter().all(|name| entry.super_options.contains(name))
        };
        for entry in mounts.iter().filter(shows) {
            all.push(found(entry, Kind::V1 { controllers: controllers.clone() }));
        }
    }
    // A mount of the whole hierarchy is better than one of a part of it.
    all.sort_by_key(|found| found.shows != Path::new("/"));
    all
}

impl Found {
    /// Opens the mount point, unless something else is mounted over it or over what it stands on. Any other failure
    /// is one: a guest must not be left out of a hierarchy because a descriptor was short.
    fn open(self) -> Result<Option<Hierarchy>> {
        let root = match mount::open_directory(&self.mount_point) {
            Ok(root) => root,
            Err(fault)
                if [libc::ENOENT, libc::ENOTDIR, libc::EACCES].iter().any(|&errno| fault.is(errno)) =>
            {
                return Ok(None);
            }
            Err(fault) => return Err(fault),
        };
        let status =
            rustix::fs::fstat(&root).blame_with("fstat(2)", || self.mount_point.display().to_string())?;
        let device = status.st_dev;
        if (rustix::fs::major(device), rustix::fs::minor(device)) != self.device {
            return Ok(None);
        }
        let Self { kind, mount_point, shows, .. } = self;
        let mut hierarchy = Hierarchy { kind, root, mount_point: Some(mount_point), shows };
        hierarchy.read_controllers();
        Ok(Some(hierarchy))
    }
}

impl Hierarchy {
    fn read_controllers(&mut self) {
        if self.is_v2() {
            self.kind = Kind::V2 { controllers: v2::controllers(self.root.as_fd()) };
        }
    }

    /// A cgroup2 that is mounted nowhere.
    fn hidden() -> Result<Self> {
        let root = NewFs::new("cgroup2").create()?.into();
        let kind = Kind::V2 { controllers: Vec::new() };
        let mut hierarchy = Self { kind, root, mount_point: None, shows: PathBuf::from("/") };
        hierarchy.read_controllers();
        Ok(hierarchy)
    }
}

/// The hierarchies of this host.
#[derive(Clone, Debug)]
pub struct Hierarchies(Arc<Vec<Hierarchy>>);

impl Hierarchies {
    /// Finds what is mounted, and adds a hidden cgroup2 if none is and the kernel has it.
    pub fn discover() -> Result<Self> {
        let mut hierarchies: Vec<Hierarchy> = Vec::new();
        for found in candidates(&mount::table()?, &proc::cgroups(0)?) {
            let known = hierarchies.iter().any(|known| match (&known.kind, &found.kind) {
                (Kind::V2 { .. }, Kind::V2 { .. }) => true,
                (known, found) => known == found,
            });
            if !known {
                hierarchies.extend(found.open()?);
            }
        }
        if !hierarchies.iter().any(Hierarchy::is_v2) {
            match Hierarchy::hidden() {
                Ok(hidden) => hierarchies.push(hidden),
                // Not in this kernel, or not allowed here: version 1 has to do.
                Err(fault) if fault.is(libc::ENODEV) || fault.is(libc::EPERM) => {}
                Err(fault) => return Err(fault),
            }
        }
        Ok(Self(Arc::new(hierarchies)))
    }

    /// All of them, in no order that means anything.
    pub fn iter(&self) -> impl Iterator<Item = &Hierarchy> {
        self.0.iter()
    }

    /// The cgroup2 hierarchy.
    pub fn v2(&self) -> Option<&Hierarchy> {
        self.iter().find(|hierarchy| hierarchy.is_v2())
    }

    /// The cgroup2 hierarchy and no other: for groups that govern sockets alone, and leave whoever enters them in the
    /// version 1 groups that they are in. `None`: this host has none.
    pub fn v2_alone(&self) -> Result<Option<Self>> {
        let Some(v2) = self.v2() else { return Ok(None) };
        let root =
            v2.root.try_clone().blame_with("dup(2)", || v2.show(Path::new("")).display().to_string())?;
        let (kind, mount_point, shows) = (v2.kind.clone(), v2.mount_point.clone(), v2.shows.clone());
        Ok(Some(Self(Arc::new(vec![Hierarchy { kind, root, mount_point, shows }]))))
    }

    /// Whether there is no hierarchy of version 1.
    fn are_v2(&self) -> bool {
        self.iter().all(Hierarchy::is_v2)
    }

    /// The hierarchy that governs this controller (`memory`, `name=systemd`), whichever version.
    pub fn with_controller(&self, controller: &str) -> Option<&Hierarchy> {
        self.iter().find(|hierarchy| hierarchy.controllers().iter().any(|name| name == controller))
    }

    /// The hierarchy that a file name belongs to: `memory.max` to that with `memory`, `cgroup.kill` and files without a
    /// known controller to cgroup2.
    pub fn of_file(&self, file: &str) -> Option<&Hierarchy> {
        let controller = file.split('.').next().unwrap_or(file);
        self.with_controller(controller).or_else(|| self.v2())
    }

    /// The group of this name; it need not exist. The name is relative, like `vservers/web1`.
    pub fn group(&self, name: impl Into<PathBuf>) -> Group {
        Group { hierarchies: self.clone(), name: name.into() }
    }

    /// The group that a process is in, by its [`/proc/PID/cgroup`](proc::cgroups), relative like the names above: from
    /// cgroup2 if there is one, else from any hierarchy in which it is not in the root. `None`: outside of what the
    /// mounts show.
    pub fn group_of(&self, memberships: &[Membership]) -> Option<PathBuf> {
        let inside = |hierarchy: &Hierarchy| {
            let membership = memberships.iter().find(|membership| match &hierarchy.kind {
                Kind::V2 { .. } => membership.hierarchy == 0,
                Kind::V1 { controllers } => {
                    membership.hierarchy != 0 && membership.controllers.split(',').eq(controllers.iter())
                }
            })?;
            membership.path.strip_prefix(&hierarchy.shows).ok().map(Path::to_owned)
        };
        match self.v2() {
            Some(v2) => inside(v2),
            None => self.iter().filter_map(inside).max_by_key(|path| path.components().count()),
        }
    }
}

/// A group: one name in every hierarchy.
#[derive(Clone, Debug)]
pub struct Group {
    hierarchies: Hierarchies,
    name: PathBuf,
}

impl Group {
    /// Its name, relative: `vservers/web1/guest`.
    pub fn name(&self) -> &Path {
        &self.name
    }

    /// The hierarchies it is in.
    pub fn hierarchies(&self) -> &Hierarchies {
        &self.hierarchies
    }

    /// The group below with this name.
    #[must_use]
    pub fn child(&self, name: impl AsRef<Path>) -> Self {
        Self { hierarchies: self.hierarchies.clone(), name: self.name.join(name) }
    }

    /// Its directory in a hierarchy that is mounted visibly.
    pub fn path_in(&self, hierarchy: &Hierarchy) -> Option<PathBuf> {
        hierarchy.mount_point().map(|mount_point| mount_point.join(&self.name))
    }

    fn prefixes(&self) -> Vec<&Path> {
        let mut prefixes: Vec<&Path> =
            self.name.ancestors().filter(|path| !path.as_os_str().is_empty()).collect();
        prefixes.reverse();
        prefixes
    }

    /// Makes the group, and those above it, in every hierarchy; what exists stays as it is.
    ///
    /// Version 1 cpusets take over the processors and memory nodes of the group above, without which nobody could be
    /// in them. On version 2 the controllers are enabled in the groups above where the kernel allows it. A fault
    /// removes again what was made.
    pub fn create(&self) -> Result<()> {
        let mut made = Vec::new();
        let result = self.make_all(&mut made);
        if result.is_err() {
            for (hierarchy, path) in made.into_iter().rev() {
                // Another start may have put its guest below meanwhile: then it stays.
                rustix::fs::unlinkat(&hierarchy.root, path, AtFlags::REMOVEDIR).ok();
            }
        }
        result
    }

    fn make_all<'a>(&'a self, made: &mut Vec<(&'a Hierarchy, &'a Path)>) -> Result<()> {
        for hierarchy in self.hierarchies.iter() {
            for path in self.prefixes() {
                let above =
                    path.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
                if hierarchy.is_v2() {
                    v2::enable_controllers(hierarchy.root.as_fd(), above);
                }
                match rustix::fs::mkdirat(&hierarchy.root, path, Mode::from_raw_mode(0o755)) {
                    Ok(()) => made.push((hierarchy, path)),
                    Err(Errno::EXIST) => {}
                    Err(errno) => {
                        return Err(Fault::new("mkdir(2)", hierarchy.show(path).display(), errno));
                    }
                }
                if hierarchy.controllers().iter().any(|name| name == "cpuset") && !hierarchy.is_v2() {
                    v1::inherit_cpuset(hierarchy, above, path)?;
                }
            }
        }
        Ok(())
    }

    /// Whether it exists in any hierarchy.
    pub fn exists(&self) -> bool {
        self.hierarchies.iter().any(|hierarchy| self.exists_in(hierarchy))
    }

    fn exists_in(&self, hierarchy: &Hierarchy) -> bool {
        rustix::fs::statat(&hierarchy.root, &self.name, AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }

    /// Moves a process with all its threads here, in every hierarchy; 0 is the calling process.
    ///
    /// The first of these writes takes milliseconds (the kernel waits for a grace period), the others little: a process
    /// that can go by itself takes [`doors`](Self::doors). `EBUSY` on version 2: the group has controllers enabled for
    /// groups below. `ENOSPC`: an empty cpuset. `ESRCH`: it has ended.
    pub fn attach(&self, pid: i32) -> Result<()> {
        self.hierarchies.iter().try_for_each(|hierarchy| self.attach_in(hierarchy, pid))
    }

    /// The way into the version 1 groups for a process that goes there itself, after it was
    /// [cloned into](crate::sys::CloneArgs::into_cgroup) the version 2 group. Needs the right to write to the groups
    /// now; who passes the doors needs none.
    pub fn doors(&self) -> Result<Doors> {
        let v1 = self.hierarchies.iter().filter(|hierarchy| !hierarchy.is_v2());
        let open = |hierarchy: &Hierarchy| {
            let path = self.name.join("tasks");
            let shown = hierarchy.show(&path).display().to_string();
            rustix::fs::openat(&hierarchy.root, &path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
                .blame_with("open(2)", || shown.clone())
                .map(|file| (file, shown))
        };
        Ok(Doors(v1.map(open).collect::<Result<_>>()?))
    }

    fn attach_in(&self, hierarchy: &Hierarchy, pid: i32) -> Result<()> {
        hierarchy.write(&self.name, "cgroup.procs", pid.to_string().as_bytes())
    }

    /// The version 2 directory, for `CLONE_INTO_CGROUP` and BPF programs; `None` on a host without cgroup2.
    pub fn v2_dir_fd(&self) -> Result<Option<OwnedFd>> {
        self.hierarchies.v2().map(|hierarchy| hierarchy.open(&self.name)).transpose()
    }

    /// The same of the group at or below this one in which that process is; this one's if it is elsewhere.
    ///
    /// Once a guest's systemd has enabled controllers for groups below its root, no process can enter the root: that is
    /// where its first process is not any more, and where it is now others can be.
    pub fn v2_dir_fd_of(&self, pid: i32) -> Result<Option<OwnedFd>> {
        let Some(v2) = self.hierarchies.v2() else { return Ok(None) };
        let memberships = proc::cgroups(pid)?;
        let membership = memberships.iter().find(|membership| membership.hierarchy == 0);
        let below = membership.and_then(|membership| below(&membership.path, &self.name)).unwrap_or_default();
        v2.open(&self.name.join(below)).map(Some)
    }

    /// Every process in the group and below, in any hierarchy, by its number in our pid namespace.
    pub fn processes(&self) -> Result<Vec<i32>> {
        let mut pids = BTreeSet::new();
        for hierarchy in self.hierarchies.iter() {
            match hierarchy.open(&self.name) {
                Ok(dir) => collect_processes(dir, &mut pids)
                    .blame_with("read(2)", || hierarchy.show(&self.name).display().to_string())?,
                Err(fault) if fault.is(libc::ENOENT) => {}
                Err(fault) => return Err(fault),
            }
        }
        Ok(pids.into_iter().collect())
    }

    /// Whether any process is in the group or below. A group that does not exist has none.
    pub fn populated(&self) -> Result<bool> {
        if let Some(v2) = self.hierarchies.v2().filter(|v2| self.exists_in(v2)) {
            match v2::event(v2, &self.name, "populated")? {
                Some(true) => return Ok(true),
                Some(false) if self.hierarchies.are_v2() => return Ok(false),
                _ => {}
            }
        }
        // Version 1 has no such file; and a start that failed halfway may have attached there only.
        self.processes().map(|pids| !pids.is_empty())
    }

    /// Waits until no process is left; `false` if the time is over before.
    ///
    /// Looks again after some milliseconds: the kernel's own notification may be 10 ms late. Who has a pidfd of the
    /// last process waits for that first.
    pub fn wait_empty(&self, timeout: Duration) -> Result<bool> {
        let end = Instant::now() + timeout;
        let mut pause = Duration::from_micros(500);
        while self.populated()? {
            if Instant::now() >= end {
                return Ok(false);
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(20));
        }
        Ok(true)
    }

    /// Stops every process of the group and below, and returns when they stand still.
    ///
    /// `ETIMEDOUT`: some did not within 10 seconds (a process in an uninterruptible wait); the group thaws again.
    /// `ENOENT`: neither `cgroup.freeze` (Linux 5.2) nor a version 1 freezer.
    pub fn freeze(&self) -> Result<()> {
        let result = match self.freezer() {
            Some(hierarchy) if hierarchy.is_v2() => v2::freeze(hierarchy, &self.name, FREEZE_TIMEOUT),
            Some(hierarchy) => v1::freeze(hierarchy, &self.name, FREEZE_TIMEOUT),
            None => return Err(Fault::from_errno("freeze", self.name.display(), libc::ENOENT)),
        };
        if result.is_err() {
            self.thaw().ok(); // the reason why it could not be frozen is the one to tell
        }
        result
    }

    /// Lets the processes run again, whichever freezer stopped them.
    pub fn thaw(&self) -> Result<()> {
        for hierarchy in self.hierarchies.iter() {
            let (file, value) = match hierarchy.kind() {
                Kind::V2 { .. } => ("cgroup.freeze", b"0".as_slice()),
                Kind::V1 { controllers } if controllers.iter().any(|name| name == "freezer") => {
                    ("freezer.state", b"THAWED".as_slice())
                }
                Kind::V1 { .. } => continue,
            };
            match hierarchy.write(&self.name, file, value) {
                Err(fault) if !fault.is(libc::ENOENT) => return Err(fault),
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether the group was told to freeze.
    pub fn is_frozen(&self) -> Result<bool> {
        match self.freezer() {
            Some(hierarchy) if hierarchy.is_v2() => {
                Ok(hierarchy.read(&self.name, "cgroup.freeze")?.trim_ascii() == b"1")
            }
            Some(hierarchy) => Ok(hierarchy.read(&self.name, "freezer.state")?.trim_ascii() != b"THAWED"),
            None => Ok(false),
        }
    }

    fn freezer(&self) -> Option<&Hierarchy> {
        let has = |hierarchy: &&Hierarchy, file: &str| {
            rustix::fs::statat(&hierarchy.root, self.name.join(file), AtFlags::empty()).is_ok()
        };
        self.hierarchies
            .v2()
            .filter(|v2| has(v2, "cgroup.freeze"))
            .or_else(|| self.hierarchies.with_controller("freezer").filter(|v1| has(v1, "freezer.state")))
    }

    /// Kills every process of the group and below, frozen ones too. They may still be ending when this returns: see
    /// [`wait_empty`](Self::wait_empty).
    ///
    /// `cgroup.kill` (Linux 5.14) does it at once; without it everything is frozen first, so that nobody can fork away.
    pub fn kill(&self) -> Result<()> {
        let at_once = match self.hierarchies.v2() {
            Some(v2) => match v2.write(&self.name, "cgroup.kill", b"1") {
                Ok(()) => true,
                Err(fault) if fault.is(libc::ENOENT) => false,
                Err(fault) => return Err(fault),
            },
            None => false,
        };
        if at_once && self.hierarchies.are_v2() {
            return Ok(());
        }
        // Processes may be in the version 1 groups alone, after a start that failed halfway.
        let mut left = self.processes()?;
        if !at_once && !left.is_empty() {
            match self.freeze() {
                // Not all stand still: those that do not are killed all the same.
                Err(fault) if fault.is(libc::ETIMEDOUT) || fault.is(libc::ENOENT) => {}
                other => other?,
            }
            left = self.processes()?;
        }
        for pid in left {
            if let Some(pid) = rustix::process::Pid::from_raw(pid) {
                match rustix::process::kill_process(pid, rustix::process::Signal::KILL) {
                    Ok(()) | Err(Errno::SRCH) => {}
                    Err(errno) => return Err(Fault::new("kill(2)", format!("process {pid}"), errno)),
                }
            }
        }
        // A process that the version 1 freezer holds does not even die.
        self.thaw()
    }

    /// Removes the group with all that was made below, in every hierarchy; one that is gone already is as good.
    ///
    /// `EBUSY`, after a second of waiting: processes are in it, nothing is removed. All hierarchies are tried; the first
    /// fault is told.
    pub fn remove(&self) -> Result<()> {
        if !self.wait_empty(Duration::from_secs(1))? {
            return Err(Fault::from_errno(
                "rmdir(2)",
                format!("cgroup {}", self.name.display()),
                libc::EBUSY,
            ));
        }
        let mut result = Ok(());
        for hierarchy in self.hierarchies.iter() {
            let removed = self.remove_in(hierarchy);
            if result.is_ok() {
                result = removed;
            }
        }
        result
    }

    /// Removes the group itself where nobody is in it and nothing below it.
    pub fn remove_unused(&self) {
        for hierarchy in self.hierarchies.iter() {
            // In use by others, or gone: both are as they should be.
            rustix::fs::unlinkat(&hierarchy.root, &self.name, AtFlags::REMOVEDIR).ok();
        }
    }

    fn remove_in(&self, hierarchy: &Hierarchy) -> Result<()> {
        let shown = hierarchy.show(&self.name);
        let Some(name) = self.name.file_name() else {
            return Err(Fault::from_errno("rmdir(2)", shown.display(), libc::EINVAL));
        };
        let above =
            self.name.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let result = hierarchy.open(above).and_then(|above| {
            // The usual case: nobody has made groups below ours.
            let remove = |group: &Path| rustix::fs::unlinkat(&above, group, AtFlags::REMOVEDIR);
            remove(&Path::new(name).join("guest")).ok();
            match remove(Path::new(name)) {
                Ok(()) => Ok(()),
                Err(_) => remove_tree_at(above.as_fd(), name, Leaves::Ignore, &shown),
            }
        });
        match result {
            Err(fault) if fault.is(libc::ENOENT) => Ok(()),
            other => other,
        }
    }

    /// Hands the group to a user: what a guest's systemd needs to manage groups of its own below.
    ///
    /// Version 2: the directory and its `cgroup.procs`, `cgroup.threads`, `cgroup.subtree_control`. Version 1: only the
    /// hierarchy `name=systemd`, which limits nothing; the controllers stay ours.
    pub fn chown_delegated(&self, uid: u32, gid: u32) -> Result<()> {
        for hierarchy in self.hierarchies.iter() {
            let files: &[&str] = match hierarchy.kind() {
                Kind::V2 { .. } => &["", "cgroup.procs", "cgroup.threads", "cgroup.subtree_control"],
                Kind::V1 { controllers } if controllers.iter().any(|name| name == "name=systemd") => {
                    &["", "cgroup.procs", "tasks"]
                }
                Kind::V1 { .. } => continue,
            };
            for file in files {
                let path = if file.is_empty() { self.name.clone() } else { self.name.join(file) };
                let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
                rustix::fs::chownat(&hierarchy.root, &path, uid, gid, AtFlags::SYMLINK_NOFOLLOW)
                    .blame_with("chown(2)", || hierarchy.show(&path).display().to_string())?;
            }
        }
        Ok(())
    }

    fn hierarchy_of(&self, file: &str) -> Result<&Hierarchy> {
        let fault = |errno| Fault::from_errno("open(2)", self.name.join(file).display(), errno);
        if file.contains('/') || file.is_empty() || file.starts_with("..") {
            return Err(fault(libc::EINVAL));
        }
        self.hierarchies.of_file(file).ok_or_else(|| fault(libc::ENOENT))
    }

    /// Writes a controller's file, with one write(2). `ENOENT`: this host has no such file, perhaps since the controller
    /// belongs to the other version or is not enabled.
    pub fn write(&self, file: &str, value: impl AsRef<[u8]>) -> Result<()> {
        self.hierarchy_of(file)?.write(&self.name, file, value.as_ref())
    }

    /// Reads a controller's file.
    pub fn read(&self, file: &str) -> Result<Vec<u8>> {
        self.hierarchy_of(file)?.read(&self.name, file)
    }
}

/// Open files through which a process moves itself into the version 1 groups.
#[derive(Debug)]
pub struct Doors(Vec<(OwnedFd, String)>);

impl Doors {
    /// Moves the calling process, which has one thread.
    ///
    /// A thread that moves itself by the file `tasks` cannot fork or end meanwhile, so the kernel (5.10 and later) does
    /// not wait until nobody else does: microseconds, where `cgroup.procs` takes milliseconds.
    pub fn pass(&self) -> Result<()> {
        for (tasks, shown) in &self.0 {
            rustix::io::retry_on_intr(|| rustix::io::write(tasks, b"0"))
                .blame_with("write(2)", || shown.clone())?;
        }
        Ok(())
    }
}

/// Adds the processes of a group and of those below. Groups that vanish meanwhile have none.
fn collect_processes(group: OwnedFd, pids: &mut BTreeSet<i32>) -> Result<(), Errno> {
    let mut pending = vec![group];
    while let Some(dir) = pending.pop() {
        match read_at(dir.as_fd(), Path::new("cgroup.procs")) {
            Ok(bytes) => {
                let lines = bytes.split(|byte| *byte == b'\n');
                let numbers = lines.filter_map(|line| std::str::from_utf8(line).ok()?.parse::<i32>().ok());
                pids.extend(numbers.filter(|pid| *pid != 0)); // 0: outside of our pid namespace
            }
            // A threaded group: its processes are listed in the group above.
            Err(Errno::OPNOTSUPP | Errno::NODEV | Errno::NOENT) => {}
            Err(errno) => return Err(errno),
        }
        for_each_child(dir.as_fd(), |name| {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            match rustix::fs::openat(&dir, name, flags, Mode::empty()) {
                Ok(child) => pending.push(child),
                Err(Errno::NOENT) => {}
                Err(errno) => return Err(errno),
            }
            Ok(())
        })?;
    }
    Ok(())
}

fn for_each_child(
    dir: BorrowedFd<'_>,
    mut act: impl FnMut(&OsStr) -> Result<(), Errno>,
) -> Result<(), Errno> {
    use std::os::unix::ffi::OsStrExt as _;
    let mut space = [std::mem::MaybeUninit::uninit(); 8192];
    let mut entries = RawDir::new(dir, &mut space);
    while let Some(entry) = entries.next() {
        match entry {
            Ok(entry) if entry.file_type().is_dir() => {
                let name = entry.file_name().to_bytes();
                if name != b"." && name != b".." {
                    act(OsStr::from_bytes(name))?;
                }
            }
            Ok(_) => {}
            // The group was removed while we looked.
            Err(Errno::NOENT | Errno::NODEV) => return Ok(()),
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// What follows the group's name in a path of `/proc/PID/cgroup`. Its first occurrence: what comes behind is the guest's to
/// name.
fn below(path: &Path, group: &Path) -> Option<PathBuf> {
    let parts: Vec<_> = path.components().collect();
    let name: Vec<_> = group.components().collect();
    let start = parts.windows(name.len()).position(|window| window == name)?;
    Some(parts[start + name.len()..].iter().collect())
}

#[cfg(test)]
mod tests;
