//! Looking at the guest's tree and at the host, for the planner.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use vserver_config::guest::Guest;
use vserver_host::{EntryKind, Host};
use vserver_kernel::beneath::{FileKind, Root};
use vserver_kernel::cgroup::Hierarchy;
use vserver_kernel::mount::{self, Attributes, Recursion};
use vserver_kernel::{bpf, idmap, ns, seccomp};
use vserver_model::{Layout, Mode};
use vserver_plan::limits::translate::{Controllers, Version};
use vserver_plan::tree::{DevEntry, DevKind};
use vserver_plan::visible::ProcEntry;
use vserver_plan::{Ground, Tree, rights};

use crate::failure::{Doing, Failure};
use crate::site;

/// Opens the guest's root directory.
///
/// # Errors
/// No `vdir` link, or it leads nowhere.
pub fn open_root(guest: &Guest) -> Result<(Root, PathBuf), Failure> {
    let Some(vdir) = &guest.vdir else {
        return Err(Failure::new(format!("{} has no vdir link to the guest's tree", guest.dir.display()))
            .hint(format!("ln -s /vservers/NAME {}", guest.dir.join("vdir").display())));
    };
    let place = |failure: Failure| failure.place(&vdir.file, vdir.line);
    let what = || format!("enter the guest's tree {}", vdir.value.display());
    let path = vdir.value.canonicalize().doing(what).map_err(place)?;
    if path == Path::new("/") {
        return Err(place(Failure::new("the guest's tree is the host's root directory")));
    }
    Ok((Root::open(&path).doing(what).map_err(place)?, path))
}

/// Facts about the tree, for the planner, and the user namespace of the guest's ids that was made to find them out.
pub fn tree(root: &Root, path: PathBuf, guest: &Guest) -> (Tree, Option<OwnedFd>) {
    let filesystem =
        mount::filesystem_type(root.as_fd()).map_or_else(|_| "unknown".to_owned(), |kind| kind.to_string());
    let mode = guest.context.as_ref().map(|xid| rights::mode(guest, xid.value));
    let (can_idmap, users) = match mode {
        Some(Mode::Shifted { first_id, count }) => can_idmap(root, &filesystem, (first_id, count)),
        _ => (false, None),
    };
    let tree = Tree {
        can_idmap,
        programs: Tree::PROGRAMS.into_iter().filter(|program| root.exists_executable(program)).collect(),
        init_is_systemd: root
            .resolve("/sbin/init")
            .is_ok_and(|target| target.file_name().is_some_and(|name| name == "systemd")),
        directories: Tree::DIRECTORIES
            .into_iter()
            .filter(|path| root.symlink_metadata(path).is_ok_and(|found| found.kind == FileKind::Directory))
            .collect(),
        dev: dev_entries(root),
        root: path,
        filesystem,
    };
    (tree, users)
}

/// Tries an id map on a copy of the tree's mount that nobody sees; the map can be used again.
fn can_idmap(root: &Root, filesystem: &str, (outside, count): (u32, u32)) -> (bool, Option<OwnedFd>) {
    let attempt = || {
        let tree = mount::clone_tree(root.as_fd(), "", Recursion::One)?;
        tree.set(&Attributes::new().propagation(mount::Propagation::Private), Recursion::One)?;
        let users = idmap::user_namespace_with(&[ns::IdRange { inside: 0, outside, count }])?;
        tree.idmap(users.as_fd()).map(|()| users)
    };
    match attempt() {
        Ok(users) => (true, Some(users)),
        // Only a dry run gets here without the right to try; it is told what usually is so.
        Err(_) if !rustix::process::geteuid().is_root() => {
            (matches!(filesystem, "ext4" | "xfs" | "btrfs" | "tmpfs" | "f2fs"), None)
        }
        Err(fault) => {
            tracing::debug!(%fault, "the tree cannot be id-mapped");
            (false, None)
        }
    }
}

/// More entries than any `dev` of a guest has: a tree that is filled up must not fill the host's memory.
const DEV_ENTRIES: usize = 512;

/// What stands in the tree's `dev`, one directory deep (`net/tun`).
fn dev_entries(root: &Root) -> Vec<DevEntry> {
    let mut found = Vec::new();
    let top = dev_entries_of(root, Path::new(""));
    for entry in top {
        let below = match entry.kind {
            DevKind::Directory
                if !["pts", "shm", "mqueue", "hugepages"].iter().any(|&own| entry.path == Path::new(own)) =>
            {
                dev_entries_of(root, &entry.path)
            }
            DevKind::Directory => continue,
            _ => Vec::new(),
        };
        found.push(entry);
        found.extend(below.into_iter().filter(|entry| !matches!(entry.kind, DevKind::Directory)));
    }
    found.truncate(DEV_ENTRIES);
    found
}

fn dev_entries_of(root: &Root, directory: &Path) -> Vec<DevEntry> {
    let at = Path::new("/dev").join(directory);
    // A link or no directory at all: nothing to carry over; mounting /dev will say so.
    if !root.symlink_metadata("/dev").is_ok_and(|dev| dev.kind == FileKind::Directory) {
        return Vec::new();
    }
    let mut entries = root.entries(&at).unwrap_or_default();
    entries.truncate(DEV_ENTRIES);
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    entries
        .into_iter()
        .filter_map(|entry| {
            let path = at.join(&entry.name);
            let facts = root.symlink_metadata(&path).ok()?;
            let (major, minor) = facts.device;
            let kind = match facts.kind {
                FileKind::CharDevice => DevKind::Char { major, minor },
                FileKind::BlockDevice => DevKind::Block { major, minor },
                FileKind::Fifo => DevKind::Fifo,
                FileKind::Directory => DevKind::Directory,
                FileKind::Symlink => DevKind::Link(root.read_link(&path).ok()?.into_os_string()),
                FileKind::Socket | FileKind::File => return None,
            };
            Some(DevEntry {
                path: directory.join(&entry.name),
                mode: facts.mode & 0o1777,
                uid: facts.uid,
                gid: facts.gid,
                kind,
            })
        })
        .collect()
}

/// What of the host the plan depends on.
pub fn ground(layout: &Layout, host: &Host, guest: &Guest) -> Ground {
    let range = guest.context.as_ref().map(|xid| rights::mode(guest, xid.value));
    Ground {
        proc: proc_entries(layout, host),
        range_conflict: match range {
            Some(Mode::Shifted { first_id, count }) => {
                host.id_range_conflict(first_id, count).map(|conflict| conflict.to_string())
            }
            _ => None,
        },
        keep: vec![
            layout.confdir.clone(),
            layout.vdirbase.clone(),
            layout.pkgbase.clone(),
            layout.cachebase.clone(),
            layout.rundir.clone(),
            layout.lockdir.clone(),
            layout.logdir.clone(),
        ],
        time_namespaces: host.namespaces.time,
        answered_calls: seccomp::can_be_answered(),
        scopes_sockets: host.landlock_abi.is_some_and(|abi| abi >= SCOPES),
        guards_names: bpf::unix::is_active() && bpf::unix::may_load(),
        group_top: layout.cgroup_top.clone(),
        controllers: controllers(),
        group_mounts: if guest.cgroup.mnt.is_some() { group_mounts() } else { Vec::new() },
        page_size: host.page_size,
        not_yet: vserver_config::not_yet_line(guest),
    }
}

/// Every place where control groups are mounted, also a second time.
fn group_mounts() -> Vec<PathBuf> {
    let table = mount::table().unwrap_or_default();
    let groups = table.into_iter().filter(|entry| ["cgroup", "cgroup2"].contains(&entry.fstype.as_str()));
    groups.map(|entry| entry.mount_point).collect()
}

/// The controllers of the control groups that will be used.
fn controllers() -> Controllers {
    let Ok(hierarchies) = site::hierarchies() else { return Controllers::default() };
    let of = |one: &Hierarchy| {
        let version = if one.is_v2() { Version::V2 } else { Version::V1 };
        one.controllers().iter().map(|name| (name.clone(), version)).collect::<Vec<_>>()
    };
    Controllers(hierarchies.iter().flat_map(of).collect())
}

/// The first version of Landlock's interface that can scope abstract unix sockets.
const SCOPES: u32 = 6;

/// The kernel's `/proc`, and what of it the list in force shows to guests.
fn proc_entries(layout: &Layout, host: &Host) -> Vec<ProcEntry> {
    // What is wrong with a line of the list is told by `check`; the line hides rather than shows.
    let (list, _) = vserver_config::visible::in_force(layout);
    let entry = |path: PathBuf, kind: EntryKind| {
        let directory = kind == EntryKind::Directory;
        let visible = list.shows(&Path::new("/proc").join(&path));
        (kind != EntryKind::Link).then_some(ProcEntry { name: path, directory, visible })
    };
    let top = host.proc.top.iter().filter_map(|found| entry(PathBuf::from(&found.name), found.kind));
    let mut all: Vec<ProcEntry> = top.collect();
    // What is hidden with its directory, or above it, needs no mask of its own.
    let hidden: Vec<PathBuf> =
        all.iter().filter(|entry| !entry.visible).map(|entry| entry.name.clone()).collect();
    let shown = |directory: &Path| !hidden.iter().any(|parent| directory.starts_with(parent));
    for (directory, entries) in &host.proc.below {
        let directory = Path::new(directory);
        if shown(directory) {
            let below = entries.iter().filter_map(|found| entry(directory.join(&found.name), found.kind));
            all.extend(below.filter(|entry| !entry.visible));
        }
    }
    all
}
