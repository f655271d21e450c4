//! The guest's `/dev`: made by the host, so that nothing in it has to be trusted.

use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Gid, Mode, Uid, chownat, makedev, mkdirat, mknodat, symlinkat};
use vserver_kernel::mount::{self, Attributes, MountFd, NewFs, Propagation, Recursion, attr};
use vserver_kernel::{Fault, pty};
use vserver_plan::rights::NODES;
use vserver_plan::step::Pts;
use vserver_plan::tree::{DevEntry, DevKind};

use crate::failure::{Doing, Failure};
use crate::site::{Dev, Site};

/// Makes the file system with its nodes, the terminals, and the console.
///
/// # Errors
/// The kernel refuses a file system in memory, a node or a terminal.
pub fn make(site: &Site<'_>, entries: &[DevEntry], shift: u32, pts: Option<&Pts>) -> Result<Dev, Failure> {
    let dev = Builder { mount: new_tmpfs(shift)?, shift };
    for (name, major, minor, mode) in NODES {
        dev.node(Path::new(name), FileType::CharacterDevice, makedev(major, minor), mode, (0, 0))?;
    }
    for (name, target) in [
        ("ptmx", "pts/ptmx"),
        ("fd", "/proc/self/fd"),
        ("stdin", "fd/0"),
        ("stdout", "fd/1"),
        ("stderr", "fd/2"),
    ] {
        dev.link(Path::new(name), target.as_ref())?;
    }
    dev.directory(Path::new("pts"), 0o755, (0, 0))?;
    dev.directory(Path::new("shm"), 0o1777, (0, 0))?;
    // Where the guest's /proc/net is mounted.
    dev.directory(Path::new(".vserver.net"), 0o755, (0, 0))?;
    // The console's terminal is bound on this file.
    dev.node(Path::new("console"), FileType::RegularFile, 0, 0o600, (0, 0))?;
    let mut fifos = Vec::new();
    for entry in entries {
        let owner = (entry.uid, entry.gid);
        match &entry.kind {
            DevKind::Char { major, minor } => {
                dev.node(&entry.path, FileType::CharacterDevice, makedev(*major, *minor), entry.mode, owner)?;
            }
            DevKind::Block { major, minor } => {
                dev.node(&entry.path, FileType::BlockDevice, makedev(*major, *minor), entry.mode, owner)?;
            }
            DevKind::Directory => dev.directory(&entry.path, entry.mode, owner)?,
            DevKind::Link(target) => dev.link(&entry.path, target)?,
            DevKind::Fifo => {
                dev.node(&entry.path, FileType::RegularFile, 0, 0o600, owner)?;
                fifos.push((entry.path.clone(), carried(site, &entry.path)?));
            }
        }
    }
    let default = Pts { mode: 0o620, gid: 5 };
    let pts = new_devpts(pts.unwrap_or(&default), shift).doing(|| "make the guest's terminals".into())?;
    let console = pty::open_in(pts.as_fd()).doing(|| "make the guest's console".into())?;
    own_console(&console, shift)?;
    Ok(Dev { mount: dev.mount, pts, console, fifos })
}

fn new_tmpfs(shift: u32) -> Result<MountFd, Failure> {
    let id = shift.to_string();
    let make = || -> Result<MountFd, Fault> {
        let mount = NewFs::new("tmpfs")
            .source("dev")
            .option("mode", "755")
            .option("size", "1m")
            .option("nr_inodes", "1024")
            .option("uid", &id)
            .option("gid", &id)
            .create()?;
        mount.set(&Attributes::new().set(attr::NO_SUID | attr::NO_EXEC), Recursion::One)?;
        Ok(mount)
    };
    make().doing(|| "make the guest's /dev".into())
}

fn new_devpts(pts: &Pts, shift: u32) -> Result<MountFd, Fault> {
    let mount = NewFs::new("devpts")
        .source("devpts")
        .flag("newinstance")
        .option("ptmxmode", "0666")
        .option("mode", format!("{:o}", pts.mode))
        .option("gid", pts.gid.saturating_add(shift).to_string())
        .create()?;
    mount.set(&Attributes::new().set(attr::NO_SUID | attr::NO_EXEC), Recursion::One)?;
    Ok(mount)
}

/// The console belongs to the guest's root.
fn own_console(console: &pty::Pty, shift: u32) -> Result<(), Failure> {
    let (uid, gid) = (Uid::from_raw(shift), Gid::from_raw(shift));
    rustix::fs::fchown(&console.terminal, Some(uid), Some(gid))
        .doing(|| "give the console to the guest".into())
}

/// A fifo or socket of the tree's own `dev`, to be bound over its place in the new one.
fn carried(site: &Site<'_>, path: &Path) -> Result<MountFd, Failure> {
    let what = || format!("carry over dev/{}", path.display());
    let at = Path::new("/dev").join(path);
    let file = mount::target_in_root_strict(site.root.as_fd(), &at, mount::TargetKind::File).doing(what)?;
    let tree = mount::clone_tree(file.as_fd(), "", Recursion::One).doing(what)?;
    tree.set(&Attributes::new().propagation(Propagation::Private), Recursion::One).doing(what)?;
    // Root of the guest writes to it as root: without the map its owner would be nobody there.
    if let Some(Err(fault)) = site.users.as_ref().map(|users| tree.idmap(users.as_fd())) {
        tracing::warn!(%fault, path = %path.display(), "shown with the host's ids");
    }
    Ok(tree)
}

struct Builder {
    mount: MountFd,
    shift: u32,
}

impl Builder {
    /// An entry of the tree that is there already (a standard node, a link of the standard set) is passed over.
    fn unless_there(path: &Path, done: Result<(), rustix::io::Errno>) -> Result<bool, Failure> {
        match done {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::EXIST) => Ok(false),
            Err(errno) => Err(errno).doing(|| format!("make {} in the guest's /dev", path.display())),
        }
    }

    fn owned(&self, path: &Path, (uid, gid): (u32, u32)) -> Result<(), Failure> {
        let shifted = |id: u32| id.saturating_add(self.shift);
        let owner = (Uid::from_raw(shifted(uid)), Gid::from_raw(shifted(gid)));
        chownat(&self.mount, path, Some(owner.0), Some(owner.1), AtFlags::SYMLINK_NOFOLLOW)
            .doing(|| format!("give {} in the guest's /dev to its owner", path.display()))
    }

    fn node(
        &self,
        path: &Path,
        kind: FileType,
        device: u64,
        mode: u32,
        owner: (u32, u32),
    ) -> Result<(), Failure> {
        let mode = Mode::from_raw_mode(mode);
        // The umask of whoever called the tool must not decide who may open /dev/null.
        if Self::unless_there(path, mknodat(&self.mount, path, kind, mode, device))? {
            rustix::fs::chmodat(&self.mount, path, mode, AtFlags::empty())
                .doing(|| format!("set the mode of {} in the guest's /dev", path.display()))?;
            self.owned(path, owner)?;
        }
        Ok(())
    }

    fn directory(&self, path: &Path, mode: u32, owner: (u32, u32)) -> Result<(), Failure> {
        let mode = Mode::from_raw_mode(mode);
        if Self::unless_there(path, mkdirat(&self.mount, path, mode))? {
            rustix::fs::chmodat(&self.mount, path, mode, AtFlags::empty())
                .doing(|| format!("set the mode of {} in the guest's /dev", path.display()))?;
            self.owned(path, owner)?;
        }
        Ok(())
    }

    fn link(&self, path: &Path, target: &std::ffi::OsStr) -> Result<(), Failure> {
        if Self::unless_there(path, symlinkat(target, &self.mount, path))? {
            self.owned(path, (0, 0))?;
        }
        Ok(())
    }
}
