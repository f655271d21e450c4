//! cgroups: scratch groups in every hierarchy, and what can be done with them.

use std::fs;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags};
use vserver_kernel::mount::NewFs;
use vserver_kernel::sys::CloneArgs;

use super::{Scene, Sleeper, Tried, in_words, missing, refused};
use crate::{CgroupLayout, V1Hierarchy};

/// Scratch groups that are removed with this value.
#[derive(Debug)]
pub(crate) struct Scratch {
    name: String,
    /// Root of the cgroup2 hierarchy and the group in it; why not otherwise.
    v2: Result<(OwnedFd, OwnedFd), String>,
    /// The groups in v1 hierarchies that could be made.
    v1: Vec<(V1Hierarchy, PathBuf)>,
}

impl Scratch {
    /// Makes a group named after this process in every hierarchy. Only that no hierarchy at all could be asked is an
    /// error: the trials tell about the others one by one.
    pub fn make(layout: &CgroupLayout) -> Self {
        let name = format!("{PREFIX}{}", rustix::process::getpid().as_raw_nonzero());
        let mounts = layout.v1.iter().map(|v1| &v1.mount).chain(layout.v2.iter().map(|v2| &v2.mount));
        mounts.for_each(|mount| remove_stale(mount));
        let v2 = make_v2(layout, &name);
        let v1 = layout
            .v1
            .iter()
            // systemd follows every change of its own hierarchy; there is nothing to try in it.
            .filter(|hierarchy| hierarchy.name.is_none())
            .filter_map(|hierarchy| {
                let path = hierarchy.mount.join(&name);
                fs::create_dir(&path).ok().map(|()| (hierarchy.clone(), path))
            })
            .collect();
        Self { name, v2, v1 }
    }

    /// The scratch group in cgroup2.
    pub fn v2(&self) -> Result<&OwnedFd, String> {
        self.v2.as_ref().map(|(_, group)| group).map_err(Clone::clone)
    }

    fn v1_with(&self, controller: &str) -> Option<&Path> {
        self.v1
            .iter()
            .find(|(hierarchy, _)| hierarchy.controllers.iter().any(|name| name == controller))
            .map(|(_, path)| path.as_path())
    }
}

/// Followed by the number of the process that made the group.
const PREFIX: &str = "vserver-check-";

/// Removes what a survey that was killed has left in a hierarchy. A group with a process in it stays.
fn remove_stale(hierarchy: &Path) {
    for entry in fs::read_dir(hierarchy).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let maker = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        if maker.is_some_and(|pid| pid.parse::<u32>().is_ok() && !Path::new("/proc").join(pid).exists()) {
            // Whatever cannot be removed is not ours to remove.
            drop(fs::remove_dir(entry.path().join(TO_KILL)));
            drop(fs::remove_dir(entry.path()));
        }
    }
}

fn make_v2(layout: &CgroupLayout, name: &str) -> Result<(OwnedFd, OwnedFd), String> {
    let directory = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    let root = match &layout.v2 {
        Some(v2) => rustix::fs::open(&v2.mount, directory, Mode::empty())
            .map_err(|errno| format!("open(2) {}: {}", v2.mount.display(), in_words(&errno.into())))?,
        // Mounted by descriptor, it is the same hierarchy, and nothing shows in the mount table.
        None => NewFs::new("cgroup2")
            .create()
            .map(OwnedFd::from)
            .map_err(|fault| format!("{}: {}", fault.op, in_words(&fault.source)))?,
    };
    let group = make_group(root.as_fd(), name)
        .map_err(|errno| format!("mkdir(2) of a group: {}", in_words(&errno.into())))?;
    Ok((root, group))
}

/// The group below the scratch group in which processes are killed.
const TO_KILL: &str = "kill";

fn make_group(above: BorrowedFd<'_>, name: &str) -> rustix::io::Result<OwnedFd> {
    rustix::fs::mkdirat(above, name, Mode::from_raw_mode(0o755))?;
    rustix::fs::openat(above, name, OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A killed process leaves its group a moment after it was reaped.
        let persistently = |remove: &dyn Fn() -> io::Result<()>| {
            for _ in 0..200 {
                match remove() {
                    Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
                        std::thread::sleep(std::time::Duration::from_millis(5));
                    }
                    _ => return,
                }
            }
        };
        if let Ok((root, group)) = &self.v2 {
            persistently(&|| Ok(rustix::fs::unlinkat(group, TO_KILL, AtFlags::REMOVEDIR)?));
            persistently(&|| Ok(rustix::fs::unlinkat(root, &self.name, AtFlags::REMOVEDIR)?));
        }
        for (_, path) in &self.v1 {
            persistently(&|| fs::remove_dir(path));
        }
    }
}

/// Writes one of the group's control files.
fn write(group: &OwnedFd, file: &str, value: &str) -> Result<(), super::Refusal> {
    let fd = rustix::fs::openat(group, file, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| super::Refusal::Missing(format!("{file}: {}", in_words(&errno.into()))))?;
    rustix::io::write(&fd, value.as_bytes())
        .map_err(|errno| super::Refusal::Missing(format!("{file}: {}", in_words(&errno.into()))))?;
    Ok(())
}

fn read(group: &OwnedFd, file: &str) -> Result<String, super::Refusal> {
    let fd = rustix::fs::openat(group, file, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| super::Refusal::Missing(format!("{file}: {}", in_words(&errno.into()))))?;
    let mut buffer = vec![0; 4096];
    let length = rustix::io::read(&fd, &mut buffer).map_err(refused("read(2)"))?;
    buffer.truncate(length);
    Ok(String::from_utf8_lossy(&buffer).into_owned())
}

pub(crate) fn cgroup2(scene: &Scene) -> Tried {
    scene.group()?;
    Ok(scene.host.cgroups.v2.as_ref().map_or_else(
        || "not mounted; used privately".to_owned(),
        |v2| format!("mounted on {}", v2.mount.display()),
    ))
}

pub(crate) fn clone_and_kill(scene: &Scene) -> Tried {
    // In a group of its own: Linux 6.18 at once kills every process that is later cloned into a group from outside
    // after cgroup.kill was written there.
    let group = make_group(scene.group()?.as_fd(), TO_KILL).map_err(refused("mkdir(2)"))?;
    let sleeper = Sleeper::start(&CloneArgs { into_cgroup: Some(group.as_fd()), ..CloneArgs::default() })?;
    write(&group, "cgroup.kill", "1")?;
    if sleeper.0.wait_end(Some(std::time::Duration::from_secs(5)))? {
        Ok(String::new())
    } else {
        missing("cgroup.kill left the process alive")
    }
}

pub(crate) fn freeze(scene: &Scene) -> Tried {
    if let Some(path) = scene.groups.as_ref().ok().and_then(|scratch| scratch.v1_with("freezer")) {
        fs::write(path.join("freezer.state"), "FROZEN").map_err(refused("freezer.state"))?;
        fs::write(path.join("freezer.state"), "THAWED").map_err(refused("freezer.state"))?;
    }
    let group = scene.group()?;
    write(group, "cgroup.freeze", "1")?;
    let frozen = read(group, "cgroup.events")?.contains("frozen 1");
    write(group, "cgroup.freeze", "0")?;
    if frozen { Ok(String::new()) } else { missing("cgroup.events does not say frozen") }
}

/// A controller: tried with `file` in a v1 scratch group, or found among those that cgroup2 offers.
///
/// In cgroup2 it is not tried: it would have to be turned on for all groups of the root, and that is the host's.
fn controller(scene: &Scene, v1: &str, file: &str, value: Option<&str>, v2: &str) -> Tried {
    if let Some(dir) = scene.groups.as_ref().ok().and_then(|scratch| scratch.v1_with(v1)) {
        let path = dir.join(file);
        let done = match value {
            Some(value) => fs::write(&path, value),
            None => fs::read(&path).map(drop),
        };
        return match done {
            Ok(()) => Ok("v1".to_owned()),
            Err(error) => missing(format!("{file}: {}", in_words(&error))),
        };
    }
    if scene.host.cgroups.v2_has(v2) {
        return Ok("v2".to_owned());
    }
    missing("no hierarchy has this controller")
}

pub(crate) fn memory(scene: &Scene) -> Tried {
    controller(scene, "memory", "memory.limit_in_bytes", Some("64M"), "memory")
}

pub(crate) fn cpu(scene: &Scene) -> Tried {
    controller(scene, "cpu", "cpu.shares", Some("512"), "cpu")
}

pub(crate) fn pids(scene: &Scene) -> Tried {
    controller(scene, "pids", "pids.max", Some("100"), "pids")
}

pub(crate) fn io(scene: &Scene) -> Tried {
    controller(scene, "blkio", "blkio.throttle.read_bps_device", None, "io")
}

pub(crate) fn cpuset(scene: &Scene) -> Tried {
    controller(scene, "cpuset", "cpuset.cpus", None, "cpuset")
}

pub(crate) fn pressure(_: &Scene) -> Tried {
    // With psi=0 the file is there and refuses to be opened.
    fs::read("/proc/pressure/memory").map(|_| String::new()).map_err(refused("/proc/pressure/memory"))
}
