//! Mounts of every kind that a guest needs. Nearly all stay detached; the others live in a mount namespace that ends
//! with the trial.

use std::fs;
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use vserver_kernel::idmap;
use vserver_kernel::mount::{self, Attributes, MountFd, NewFs, Recursion};
use vserver_kernel::ns::{self, IdRange, Namespaces};
use vserver_kernel::sys::{self, CloneArgs};

use super::{Refusal, SCRATCH_IDS, Scene, Tried, grandchild, missing, refused, unprepared};

/// A tmpfs that nobody else sees, opened as a directory to work in.
pub(crate) fn scratch() -> Result<OwnedFd, Refusal> {
    Ok(OwnedFd::from(NewFs::new("tmpfs").create()?))
}

/// The same at a path, in a mount namespace of one's own: for file systems that only know paths.
fn scratch_at_path() -> Result<&'static str, Refusal> {
    ns::unshare(Namespaces::MOUNT)?;
    mount::make_private("/", Recursion::All)?;
    put_scratch_at_path()
}

fn put_scratch_at_path() -> Result<&'static str, Refusal> {
    // Every Linux has it, and what it hides is not needed here.
    const PLACE: &str = "/dev";
    NewFs::new("tmpfs").create()?.attach_at(mount::open_directory(PLACE)?.as_fd())?;
    Ok(PLACE)
}

pub(crate) fn openat2(_: &Scene) -> Tried {
    let dir = scratch()?;
    rustix::fs::symlinkat("/etc", &dir, "out").map_err(unprepared("symlinkat(2)"))?;
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let open = |resolve| rustix::fs::openat2(&dir, "out", flags, Mode::empty(), resolve).map(drop);
    match (open(ResolveFlags::IN_ROOT), open(ResolveFlags::BENEATH)) {
        (Err(Errno::NOENT), Err(Errno::XDEV)) => Ok(String::new()),
        (Err(errno), _) if errno != Errno::NOENT => Err(refused("openat2(2)")(errno)),
        _ => missing("the link led out"),
    }
}

pub(crate) fn mount_api(_: &Scene) -> Tried {
    let place = scratch_at_path()?;
    let fresh = NewFs::new("tmpfs").option("size", "64k").option("mode", "0755").create()?;
    fresh.set(&Attributes::new().set(read_only()), Recursion::One)?;
    fresh.attach_at(mount::open_directory(place)?.as_fd())?;
    let copy = mount::clone_tree(CWD, place, Recursion::One)?;
    match rustix::fs::mkdirat(&copy, "x", Mode::RWXU) {
        Err(Errno::ROFS) => Ok(String::new()),
        Err(errno) => Err(refused("mkdirat(2)")(errno)),
        Ok(()) => missing("a read-only mount was written to"),
    }
}

fn read_only() -> u64 {
    mount::attr::READ_ONLY
}

pub(crate) fn tmpfs_nodes(_: &Scene) -> Tried {
    let node = open_node(&scratch()?, "null", (1, 3), OFlags::WRONLY)?;
    fs::File::from(node).write_all(b"x").map_err(refused("write(2)"))?;
    Ok(String::new())
}

/// Makes a character device node in `dir` and opens it.
pub(crate) fn open_node(
    dir: &OwnedFd,
    name: &str,
    number: (u32, u32),
    how: OFlags,
) -> Result<OwnedFd, Refusal> {
    let device = rustix::fs::makedev(number.0, number.1);
    rustix::fs::mknodat(dir, name, FileType::CharacterDevice, Mode::RUSR | Mode::WUSR, device)
        .map_err(refused("mknodat(2)"))?;
    rustix::fs::openat(dir, name, how | OFlags::CLOEXEC, Mode::empty()).map_err(refused("open(2)"))
}

/// A fresh tmpfs with one opened device node.
pub(crate) fn node_on_scratch(name: &str, number: (u32, u32), how: OFlags) -> Result<OwnedFd, Refusal> {
    open_node(&scratch()?, name, number, how)
}

pub(crate) fn devpts(_: &Scene) -> Tried {
    let pts = NewFs::new("devpts").flag("newinstance").option("ptmxmode", "0666").create()?;
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let master = rustix::fs::openat(&pts, "ptmx", flags, Mode::empty()).map_err(refused("open(2) ptmx"))?;
    rustix::pty::unlockpt(&master).map_err(refused("unlockpt(3)"))?;
    sys::tty_peer(master.as_fd())?;
    Ok(String::new())
}

fn idmap(mount: &MountFd) -> Result<(), Refusal> {
    let namespace = idmap::user_namespace_with(&[SCRATCH_IDS])?;
    Ok(mount.idmap(namespace.as_fd())?)
}

/// Id-maps a detached copy of the mount that `dir` is on; gives the name of its file system.
pub(crate) fn idmap_of(dir: BorrowedFd<'_>) -> Tried {
    let kind = mount::filesystem_type(dir)?;
    match mount::clone_tree(dir, "", Recursion::One).map_err(Refusal::from).and_then(|copy| idmap(&copy)) {
        Ok(()) => Ok(kind.to_string()),
        Err(Refusal::Missing(why)) => missing(format!("{kind}: {why}")),
        Err(other) => Err(other),
    }
}

pub(crate) fn idmap_guests(scene: &Scene) -> Tried {
    idmap_of(mount::open_directory(&scene.guests)?.as_fd())
        .map(|kind| format!("{kind} at {}", scene.guests.display()))
}

pub(crate) fn idmap_tmpfs(_: &Scene) -> Tried {
    idmap(&NewFs::new("tmpfs").create()?)?;
    Ok(String::new())
}

fn write_through_overlay(place: &str, more: &str) -> Tried {
    let at = |name: &str| format!("{place}/{name}");
    for name in ["lower", "upper", "work", "merged"] {
        fs::create_dir(at(name)).map_err(unprepared("mkdir(2)"))?;
    }
    fs::write(at("lower/file"), "old").map_err(unprepared("write(2)"))?;
    let mut overlay = NewFs::new("overlay")
        .option("lowerdir", at("lower"))
        .option("upperdir", at("upper"))
        .option("workdir", at("work"));
    if !more.is_empty() {
        overlay = overlay.flag(more);
    }
    overlay.create()?.attach_at(mount::open_directory(at("merged"))?.as_fd())?;
    fs::write(at("merged/file"), "new").map_err(refused("write(2)"))?;
    match fs::read(at("upper/file")) {
        Ok(text) if text == b"new" => Ok(String::new()),
        _ => missing("what was written is not in the upper layer"),
    }
}

pub(crate) fn overlay(_: &Scene) -> Tried {
    write_through_overlay(scratch_at_path()?, "")
}

/// Root of a user namespace, and of a mount namespace that it owns.
fn become_namespaced_root() -> Result<(), Refusal> {
    ns::unshare(Namespaces::USER | Namespaces::MOUNT)?;
    fs::write("/proc/self/setgroups", "deny").map_err(refused("write(2) setgroups"))?;
    // One's own id is the one that may be mapped without a right over the namespace above.
    let own = [IdRange { inside: 0, outside: 0, count: 1 }];
    ns::write_id_maps(rustix::process::getpid().as_raw_nonzero().get(), &own, &own)?;
    Ok(())
}

pub(crate) fn overlay_in_user_namespace(_: &Scene) -> Tried {
    become_namespaced_root()?;
    write_through_overlay(put_scratch_at_path()?, "userxattr")
}

pub(crate) fn binfmt_in_user_namespace(_: &Scene) -> Tried {
    become_namespaced_root()?;
    NewFs::new("binfmt_misc").create()?;
    Ok(String::new())
}

pub(crate) fn fuse(_: &Scene) -> Tried {
    // The context is where an unknown file system is refused; to mount it, a server would have to be there.
    let flags = rustix::mount::FsOpenFlags::FSOPEN_CLOEXEC;
    rustix::mount::fsopen("fuse", flags).map(|_| String::new()).map_err(refused("fsopen(2)"))
}

pub(crate) fn bpffs(scene: &Scene) -> Tried {
    NewFs::new("bpf").create()?;
    Ok(scene
        .host
        .bpffs
        .as_ref()
        .map_or_else(|| "not mounted yet".to_owned(), |place| format!("mounted on {}", place.display())))
}

pub(crate) fn hidepid(_: &Scene) -> Tried {
    let args = CloneArgs { namespaces: Namespaces::PID | Namespaces::MOUNT, ..CloneArgs::default() };
    grandchild(&args, || {
        NewFs::new("proc")
            .option("hidepid", "invisible")
            .create()
            .map(drop)
            .map_err(|fault| io::Error::from_raw_os_error(fault.errno().unwrap_or(libc::EIO)))
    })?;
    Ok(String::new())
}

pub(crate) fn tmpfs_quota(_: &Scene) -> Tried {
    NewFs::new("tmpfs").flag("usrquota").create()?;
    Ok(String::new())
}
