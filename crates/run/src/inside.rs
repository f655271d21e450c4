//! What the guest's first process does to itself, inside the new namespaces.
//!
//! It runs in a fork of the tool that nobody else shares; the host's tree is still visible until [`Inside::Pivot`].
//! A failing step is sent to the tool as a value.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags, ResolveFlags};
use vserver_kernel::mount::{self, Attributes, MountFd, NewFs, Recursion, TargetKind, attr};
use vserver_kernel::seccomp::Denial;
use vserver_kernel::{Fault, caps, message, ns, personality, rlimit, seccomp, uts};
use vserver_plan::{Inside, Rights};

use crate::machine::{self, Place};
use crate::netfiles::{self, NetFiles};
use crate::site::Site;

/// What the steps inside hand to each other.
pub struct Interior<'a> {
    /// What was prepared on the host's side.
    pub site: &'a Site<'a>,
    /// The guest's root, once attached.
    root: Option<OwnedFd>,
    /// What covers files.
    null: Option<OwnedFd>,
    /// What covers directories, attached over the first of them.
    empty: Option<MountFd>,
}

impl<'a> Interior<'a> {
    /// Nothing is attached yet.
    pub fn new(site: &'a Site<'a>) -> Self {
        Self { site, root: None, null: None, empty: None }
    }

    fn root(&self) -> Result<&OwnedFd, Fault> {
        self.root.as_ref().ok_or_else(|| Fault::from_errno("attach", "the guest's root", libc::EBADF))
    }

    /// A mount point of our own set: nothing on the way may be a link, as the guest made the tree.
    fn strict(&self, path: &Path, kind: TargetKind) -> Result<OwnedFd, Fault> {
        mount::target_in_root_strict(self.root()?.as_fd(), path, kind)
    }

    /// Does one step.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn perform(&mut self, step: &Inside) -> Result<(), Fault> {
        match step {
            Inside::NodeName(name) => uts::set_host_name(name),
            Inside::DomainName(name) => uts::set_domain_name(name),
            Inside::AttachRoot => self.attach_root(),
            Inside::AttachDev => self.attach_dev(),
            Inside::Proc { target, data } => self.mount_proc(target, data),
            Inside::Sys { target } => self.mount_sys(target),
            Inside::CgroupView { target } => self.mount_cgroups(target),
            Inside::Tmpfs { target, data } => self.mount_tmpfs(target, data),
            Inside::Setting(setting) => self.set(&setting.value.setting.value, &setting.value.value),
            Inside::NoUserNamespaces => self.set(Path::new("user/max_user_namespaces"), b"0"),
            Inside::ReadOnly(path) => self.read_only(path),
            Inside::Writable(path) => self.writable(path),
            Inside::Mask { path, directory } => self.mask(path, *directory),
            Inside::NetFiles { proc } => self.net_files(proc),
            Inside::Machine { proc, .. } => self.machine_files(proc),
            Inside::Pivot => mount::pivot_into(self.root()?.as_fd()),
        }
    }

    fn attach_root(&mut self) -> Result<(), Fault> {
        let missing = || Fault::from_errno("move_mount(2)", "the guest's tree", libc::EBADF);
        let tree = self.site.tree_mount.as_ref().ok_or_else(missing)?;
        // Over the host's `/` rather than at its place in the host's tree: in a user namespace root may not search
        // every directory on the way there (`/vservers` has mode 000 on some hosts), but `/` itself is always found.
        tree.attach_at(mount::open_directory("/")?.as_fd())?;
        let root = tree
            .as_fd()
            .try_clone_to_owned()
            .map_err(|error| Fault::new("dup(2)", "the guest's tree", error))?;
        for (path, mount) in &self.site.carried {
            let kind = TargetKind::Any;
            mount.attach_at(mount::target_in_root(root.as_fd(), path, kind)?.as_fd())?;
        }
        self.root = Some(root);
        Ok(())
    }

    fn attach_dev(&mut self) -> Result<(), Fault> {
        let missing = || Fault::from_errno("move_mount(2)", "the guest's /dev", libc::EBADF);
        let dev = self.site.dev.as_ref().ok_or_else(missing)?;
        dev.mount.attach_at(self.strict(Path::new("/dev"), TargetKind::Directory)?.as_fd())?;
        dev.pts.attach_at(self.strict(Path::new("/dev/pts"), TargetKind::Directory)?.as_fd())?;
        for (path, fifo) in &dev.fifos {
            fifo.attach_at(self.strict(&Path::new("/dev").join(path), TargetKind::File)?.as_fd())?;
        }
        if dev.fifos.iter().any(|(path, _)| path == Path::new("console")) {
            return Ok(());
        }
        // The first terminal of this instance is the console.
        let terminal = self.strict(Path::new("/dev/pts/0"), TargetKind::File)?;
        let console = mount::clone_tree(terminal.as_fd(), "", Recursion::One)?;
        console.attach_at(self.strict(Path::new("/dev/console"), TargetKind::File)?.as_fd())
    }

    /// For file systems that the fstab names: links may lead elsewhere inside the guest.
    fn attach(&self, mount: &MountFd, target: &Path) -> Result<(), Fault> {
        mount.attach_at(mount::target_in_root(self.root()?.as_fd(), target, TargetKind::Directory)?.as_fd())
    }

    fn mount_proc(&self, target: &Path, data: &[String]) -> Result<(), Fault> {
        let mut fs = NewFs::new("proc").source("proc");
        for option in data {
            fs = match option.split_once('=') {
                Some((key, value)) => fs.option(key, value),
                None => fs.flag(option),
            };
        }
        let proc = fs.create()?;
        proc.set(&Attributes::new().set(attr::NO_SUID | attr::NO_DEV | attr::NO_EXEC), Recursion::One)?;
        // Where /proc is a link, a later read of /proc/self/… by our own code could be led astray.
        proc.attach_at(self.strict(target, TargetKind::Directory)?.as_fd())
    }

    fn mount_sys(&self, target: &Path) -> Result<(), Fault> {
        let bits = attr::NO_SUID | attr::NO_DEV | attr::NO_EXEC | attr::READ_ONLY;
        let real = NewFs::new("sysfs").source("sysfs").create();
        let sys = match real {
            Ok(sys) => {
                sys.set(&Attributes::new().set(bits), Recursion::One)?;
                sys
            }
            // In a user namespace the real one needs a network namespace of the guest's own: an empty tree with the
            // mount points that inits look for stands in.
            Err(fault) if fault.is(libc::EPERM) => Self::empty_sys(bits & !attr::READ_ONLY)?,
            Err(fault) => return Err(fault),
        };
        sys.attach_at(self.strict(target, TargetKind::Directory)?.as_fd())
    }

    fn empty_sys(bits: u64) -> Result<MountFd, Fault> {
        let sys = NewFs::new("tmpfs").source("sysfs").option("mode", "755").option("size", "64k").create()?;
        for path in ["class", "class/net", "fs", "fs/cgroup"] {
            rustix::fs::mkdirat(&sys, path, Mode::from_raw_mode(0o755))
                .map_err(|errno| Fault::new("mkdirat(2)", format!("/sys/{path}"), errno))?;
        }
        sys.set(&Attributes::new().set(bits), Recursion::One)?;
        Ok(sys)
    }

    fn mount_cgroups(&self, target: &Path) -> Result<(), Fault> {
        let view = NewFs::new("cgroup2").source("cgroup2").create()?;
        view.set(&Attributes::new().set(attr::NO_SUID | attr::NO_DEV | attr::NO_EXEC), Recursion::One)?;
        self.attach(&view, target)
    }

    fn mount_tmpfs(&self, target: &Path, data: &[(String, String)]) -> Result<(), Fault> {
        let fs =
            data.iter().fold(NewFs::new("tmpfs").source("tmpfs"), |fs, (key, value)| fs.option(key, value));
        let tmpfs = fs.create()?;
        tmpfs.set(&Attributes::new().set(attr::NO_SUID | attr::NO_DEV), Recursion::One)?;
        // A directory below one that was just mounted (`/run/lock`) is not there yet.
        let root = self.root()?;
        if let Err(fault) = mount::target_in_root(root.as_fd(), target, TargetKind::Directory) {
            let (Some(parent), Some(name)) = (target.parent(), target.file_name()) else { return Err(fault) };
            let parent = mount::target_in_root(root.as_fd(), parent, TargetKind::Directory)?;
            rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o755))
                .map_err(|errno| Fault::new("mkdirat(2)", target.display(), errno))?;
        }
        self.attach(&tmpfs, target)
    }

    /// Writes below `/proc/sys` of the new namespaces.
    fn set(&self, setting: &Path, value: &[u8]) -> Result<(), Fault> {
        let path = Path::new("proc/sys").join(setting);
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        let file = rustix::fs::openat2(self.root()?, &path, flags, Mode::empty(), resolve)
            .map_err(|errno| Fault::new("openat2(2)", format!("/{}", path.display()), errno))?;
        rustix::io::write(&file, value)
            .map_err(|errno| Fault::new("write(2)", format!("/{}", path.display()), errno))?;
        Ok(())
    }

    fn read_only(&self, path: &Path) -> Result<(), Fault> {
        self.bind_on_itself(path, &Attributes::new().set(attr::READ_ONLY))
    }

    /// Taken before its parent becomes read-only? No: a second mount of the same place is writable whatever lies
    /// above it, as the attribute belongs to the mount.
    fn writable(&self, path: &Path) -> Result<(), Fault> {
        match self.bind_on_itself(path, &Attributes::new().clear(attr::READ_ONLY)) {
            Err(fault) if fault.is(libc::ENOENT) => Ok(()),
            other => other,
        }
    }

    fn bind_on_itself(&self, path: &Path, attributes: &Attributes) -> Result<(), Fault> {
        let target = self.strict(path, TargetKind::Any)?;
        let tree = mount::clone_tree(target.as_fd(), "", Recursion::One)?;
        tree.set(attributes, Recursion::One)?;
        tree.attach_at(target.as_fd())
    }

    fn mask(&mut self, path: &Path, directory: bool) -> Result<(), Fault> {
        let target = match self.strict(path, TargetKind::Any) {
            Ok(target) => target,
            // Gone since the host was asked (a module was unloaded).
            Err(fault) if fault.is(libc::ENOENT) => return Ok(()),
            Err(fault) => return Err(fault),
        };
        if directory {
            return self.hide(&target);
        }
        let null = if let Some(null) = &self.null {
            null
        } else {
            // The null node of the /dev that we made, not whatever the guest's path may lead to.
            let null = self.strict(Path::new("/dev/null"), TargetKind::File)?;
            self.null.insert(null)
        };
        mount::clone_tree(null.as_fd(), "", Recursion::One)?.attach_at(target.as_fd())
    }

    /// Puts an empty directory over another: the same file system for all of them.
    fn hide(&mut self, target: &OwnedFd) -> Result<(), Fault> {
        if let Some(empty) = &self.empty {
            return mount::clone_tree(empty.as_fd(), "", Recursion::One)?.attach_at(target.as_fd());
        }
        let empty = Self::nothing()?;
        empty.attach_at(target.as_fd())?;
        self.empty = Some(empty);
        Ok(())
    }

    /// An empty directory.
    fn nothing() -> Result<MountFd, Fault> {
        let empty =
            NewFs::new("tmpfs").source("hidden").option("size", "0").option("mode", "555").create()?;
        let bits = attr::READ_ONLY | attr::NO_DEV | attr::NO_EXEC | attr::NO_SUID;
        empty.set(&Attributes::new().set(bits), Recursion::One)?;
        Ok(empty)
    }

    /// `/proc/net` is a link of the kernel's, over which only another link can be mounted.
    fn net_files(&self, proc: &Path) -> Result<(), Fault> {
        let missing = || Fault::from_errno("move_mount(2)", "the guest's /proc/net", libc::EBADF);
        let files = self.site.net_files.as_ref().ok_or_else(missing)?;
        let place = Path::new("/").join(netfiles::PLACE);
        files.directory.attach_at(self.strict(&place, TargetKind::Directory)?.as_fd())?;
        if let Some(listings) = &files.listings {
            listings.attach_at(self.strict(&place.join("bpf"), TargetKind::Directory)?.as_fd())?;
        }
        files.link.attach_at(mount::link_in_root_strict(self.root()?.as_fd(), proc.join("net"))?.as_fd())?;
        self.hide_in_sys(files)
    }

    /// A machine of the guest's own, as far as this kernel can show one.
    fn machine_files(&self, proc: &Path) -> Result<(), Fault> {
        let Some(files) = &self.site.machine_files else { return Ok(()) };
        for (file, mount) in &files.0 {
            let target = match machine::place(*file, proc) {
                Place::Proc(path) => self.strict(&path, TargetKind::File),
                Place::Sys(path) => match self.strict(&path, TargetKind::File) {
                    // No `/sys`, or the one that we make up, which has nothing of the hardware.
                    Err(fault) if fault.is(libc::ENOENT) && !self.make_up(&path) => continue,
                    Err(fault) if !fault.is(libc::ENOENT) => Err(fault),
                    _ => self.strict(&path, TargetKind::File),
                },
            };
            mount.attach_at(target?.as_fd())?;
        }
        Ok(())
    }

    /// Makes a file, and the directories on the way, where the file system lets us.
    fn make_up(&self, path: &Path) -> bool {
        let made = || -> Option<()> {
            let mut at = self.strict(Path::new("/sys"), TargetKind::Directory).ok()?;
            let mut parts = path.strip_prefix("/sys").ok()?.components().peekable();
            while let Some(part) = parts.next() {
                let directory = parts.peek().is_some();
                let (flags, mode) = if directory {
                    rustix::fs::mkdirat(&at, part.as_os_str(), Mode::from_raw_mode(0o755)).ok();
                    (OFlags::PATH | OFlags::DIRECTORY, 0)
                } else {
                    (OFlags::RDONLY | OFlags::CREATE, 0o444)
                };
                let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                at = rustix::fs::openat(&at, part.as_os_str(), flags, Mode::from_raw_mode(mode)).ok()?;
            }
            Some(())
        };
        made().is_some()
    }

    /// Only where there is a `/sys`: real or made up, it has this directory.
    fn hide_in_sys(&self, files: &NetFiles) -> Result<(), Fault> {
        let class = match self.strict(Path::new("/sys/class/net"), TargetKind::Directory) {
            Err(fault) if fault.is(libc::ENOENT) => return Ok(()),
            other => other?,
        };
        files.class.attach_at(class.as_fd())?;
        for directory in &files.devices {
            match self.strict(&Path::new("/sys").join(directory), TargetKind::Directory) {
                Err(fault) if fault.is(libc::ENOENT) => {}
                other => Self::nothing()?.attach_at(other?.as_fd())?,
            }
        }
        Ok(())
    }
}

/// Takes the rights of the guest, for good. The last thing before its program: afterwards hardly anything is allowed.
///
/// # Errors
/// A limit that was configured, the filter, or the capabilities cannot be set.
pub fn take_rights(rights: &Rights, control: Option<&OwnedFd>) -> Result<(), Fault> {
    if rights.scope_sockets {
        // Not for processes that enter: each would be in a domain of its own and could no longer look at the guest's
        // processes (/proc/PID/exe, environ, fd), on which init scripts depend.
        vserver_kernel::sys::landlock_scope_abstract_sockets()?;
    }
    take_limits(rights, control)?;
    caps::set_all(rights.capabilities.0)
}

/// All but the capabilities themselves: limits, personality, filter, and the bound that no program can pass.
///
/// The listener of a filter that leaves system calls to the broker goes to the guard, over `control`. Where there is no
/// guard any more the calls fail (`ENOSYS`): nothing is shown rather than too much.
///
/// # Errors
/// As [`take_rights`].
pub fn take_limits(rights: &Rights, control: Option<&OwnedFd>) -> Result<(), Fault> {
    for limit in &rights.limits {
        let Some(resource) = rlimit::Resource::numbered(limit.resource) else { continue };
        let current = rlimit::get(0, resource)?;
        let soft = limit.soft.unwrap_or(current.soft).min(limit.hard);
        match rlimit::set(0, resource, rlimit::Limit { soft, hard: limit.hard }) {
            Err(fault) if !limit.may_fail => return Err(fault),
            _ => {}
        }
    }
    if let Some(domain) = rights.personality {
        personality::set(u32::try_from(domain & 0xffff_ffff).unwrap_or(0))?;
    }
    let denied = denials(rights);
    if rights.hide_devices {
        let program = if rights.shadow {
            seccomp::Program::lending_sockets(&denied)
        } else {
            seccomp::Program::hiding_devices(&denied)
        };
        let listener = seccomp::install_with_listener(&program)?;
        if let Some(control) = control {
            // A guard that has just been killed is as good as none.
            match message::send(control, b"listener", &[listener.as_fd()]) {
                Err(fault) if !fault.is(libc::EPIPE) && !fault.is(libc::ECONNRESET) => return Err(fault),
                _ => {}
            }
        }
    } else if !denied.is_empty() {
        seccomp::install(&seccomp::Program::denying(&denied))?;
    }
    caps::clear_ambient()?;
    caps::drop_bounding(rights.bound().0)
}

/// What the filter denies.
fn denials(rights: &Rights) -> Vec<Denial> {
    if !rights.deny_system_calls {
        return Vec::new();
    }
    let keeps = |denial: &Denial| rights.user_namespaces && *denial == Denial::UserNamespaces;
    let frames = rights.deny_frames.then_some(Denial::Frames);
    Denial::ALL.into_iter().filter(|denial| !keeps(denial)).chain(frames).collect()
}

/// Becomes root of the guest's user namespace (its id maps are written), or of the host in a classic one.
///
/// # Errors
/// The maps are not there.
pub fn become_root() -> Result<(), Fault> {
    vserver_kernel::sys::set_groups(&[])?;
    vserver_kernel::sys::set_resgid(Some(0), Some(0), Some(0))?;
    vserver_kernel::sys::set_resuid(Some(0), Some(0), Some(0))
}

/// A cgroup namespace whose root is the group this process is in.
///
/// # Errors
/// As unshare(2).
pub fn own_cgroup_view() -> Result<(), Fault> {
    ns::unshare(ns::Namespaces::CGROUP)
}
