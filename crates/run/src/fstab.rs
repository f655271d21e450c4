//! One line of fstab becomes a mount below the guest's root.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::process::{Command, Stdio};

use vserver_config::guest::{Atime, Bind, FstabEntry, MountOptions, MountPropagation};
use vserver_kernel::Fault;
use vserver_kernel::mount::{self, Attributes, MountFd, NewFs, Propagation, Recursion, TargetKind, attr};

use crate::failure::{Doing, Failure};

/// Mounts `entry` below `root`. `shift` is added to the owner ids of file systems in memory.
///
/// Source paths are the host's; the target is found inside `root` and cannot lead out of it.
///
/// # Errors
/// The source or the target is missing, the kernel or the mount program refuses.
pub fn mount(entry: &FstabEntry, root: BorrowedFd<'_>, shift: Option<u32>) -> Result<(), Failure> {
    let source = Path::new(&entry.source);
    let file = entry.options.bind.is_some() && source.is_absolute() && !source.is_dir();
    let kind = if file { TargetKind::File } else { TargetKind::Directory };
    let target = mount::target_in_root(root, &entry.target, kind)
        .doing(|| format!("find the mount point {} in the guest", entry.target.display()))
        .map_err(|failure| failure.hint("the mount point must exist in the guest; it is not created"))?;
    if entry.options.remount {
        let attributes = attributes(&entry.options);
        return mount::set_attributes(target.as_fd(), &attributes, Recursion::One)
            .doing(|| format!("remount {}", entry.target.display()));
    }
    make(entry, shift, target.as_fd())
}

/// The attributes that the options ask for.
pub fn attributes(options: &MountOptions) -> Attributes {
    let mut bits = 0;
    for (wanted, bit) in [
        (options.read_only, attr::READ_ONLY),
        (options.nosuid, attr::NO_SUID),
        (options.nodev, attr::NO_DEV),
        (options.noexec, attr::NO_EXEC),
        (options.nodiratime, attr::NO_DIR_ATIME),
        (options.atime == Atime::Noatime, attr::NO_ATIME),
        (options.atime == Atime::Strictatime, attr::STRICT_ATIME),
    ] {
        if wanted {
            bits |= bit;
        }
    }
    let mut attributes = Attributes::new().set(bits);
    if let Some((propagation, _)) = options.propagation {
        attributes = attributes.propagation(match propagation {
            MountPropagation::Shared => Propagation::Shared,
            MountPropagation::Slave => Propagation::Slave,
            MountPropagation::Private => Propagation::Private,
            MountPropagation::Unbindable => Propagation::Unbindable,
        });
    }
    attributes
}

/// File systems that the kernel mounts without a helper program.
const OWN: [&str; 9] =
    ["tmpfs", "ramfs", "mqueue", "hugetlbfs", "overlay", "devpts", "sysfs", "binfmt_misc", "cgroup2"];

fn make(entry: &FstabEntry, shift: Option<u32>, target: BorrowedFd<'_>) -> Result<(), Failure> {
    let what = || format!("mount {} on {}", entry.source.to_string_lossy(), entry.target.display());
    let Some(mount) = detached(entry, shift)? else { return by_program(entry, target) };
    mount.attach_at(target).doing(what)?;
    if entry.options.move_mount { mount::unmount_lazily(&entry.source).doing(what) } else { Ok(()) }
}

/// What the entry asks for, mounted nowhere yet; `None`: only a mount program can mount it. The source of a `move` is
/// still where it was.
///
/// # Errors
/// The source is missing, or the kernel refuses.
pub fn detached(entry: &FstabEntry, shift: Option<u32>) -> Result<Option<MountFd>, Failure> {
    let what = || format!("mount {} on {}", entry.source.to_string_lossy(), entry.target.display());
    let options = &entry.options;
    if let Some(bind) = options.bind {
        return copy(entry, bind).doing(what).map(Some);
    }
    if options.move_mount {
        return copy(entry, Bind::Recursive).doing(what).map(Some);
    }
    match entry.fstype.as_deref() {
        Some(fstype) if OWN.contains(&fstype) => {
            let mount = in_memory(entry, fstype, shift).doing(what)?;
            mount.set(&attributes(options), Recursion::One).doing(what)?;
            Ok(Some(mount))
        }
        // Everything else has a helper program that knows more than we do: addresses of servers, passwords, labels.
        _ => Ok(None),
    }
}

fn copy(entry: &FstabEntry, bind: Bind) -> Result<MountFd, Fault> {
    let recursion = if bind == Bind::Recursive { Recursion::All } else { Recursion::One };
    let tree = mount::clone_tree(rustix::fs::CWD, &entry.source, recursion)?;
    // The copy must not be the source's peer, or mounts made in the guest would appear on the host.
    let own = Attributes::new().propagation(Propagation::Private);
    tree.set(&own, Recursion::All)?;
    tree.set(&attributes(&entry.options), recursion)?;
    Ok(tree)
}

fn in_memory(entry: &FstabEntry, fstype: &str, shift: Option<u32>) -> Result<MountFd, Fault> {
    let mut fs = NewFs::new(fstype).source(&entry.source);
    let mut owned = [false; 2];
    for option in &entry.options.data {
        match (option.split_once('='), shift) {
            (Some((key @ ("uid" | "gid"), id)), Some(shift)) => {
                owned[usize::from(key == "gid")] = true;
                let id: u32 = id.parse().unwrap_or(0);
                fs = fs.option(key, id.saturating_add(shift).to_string());
            }
            (Some((key, value)), _) => fs = fs.option(key, value),
            (None, _) => fs = fs.flag(option),
        }
    }
    if let (Some(shift), "tmpfs") = (shift, fstype) {
        for (key, _) in ["uid", "gid"].iter().zip(owned).filter(|&(_, done)| !done) {
            fs = fs.option(key, shift.to_string());
        }
    }
    fs.create()
}

/// Runs mount(8) on the target's descriptor, so that no path of the guest is looked up again.
///
/// # Errors
/// There is no such program, or it refuses: what it says is the reason.
pub fn by_program(entry: &FstabEntry, target: BorrowedFd<'_>) -> Result<(), Failure> {
    use std::os::fd::AsRawFd;
    let program = std::env::var_os("MOUNT").unwrap_or_else(|| "mount".into());
    // The descriptor is close-on-exec; the program reaches it through our own /proc entry.
    let path = format!("/proc/{}/fd/{}", rustix::process::getpid().as_raw_pid(), target.as_raw_fd());
    let mut command = Command::new(&program);
    command.arg("-n").args(entry.fstype.iter().flat_map(|fstype| ["-t", fstype]));
    if !entry.options_text.is_empty() {
        command.arg("-o").arg(without_ours(entry));
    }
    let what = || format!("mount {} on {}", entry.source.to_string_lossy(), entry.target.display());
    let output = command.arg(&entry.source).arg(path).stdin(Stdio::null()).output().doing(what)?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Failure::new(format!("cannot {}", what())).because(format!("{}: {said}", program.to_string_lossy())))
}

/// The options for mount(8): `nodev` made explicit, words that only we know taken out.
fn without_ours(entry: &FstabEntry) -> String {
    let ours = ["nomtab", "noauto", "auto", "nofail", "rec", "dev", "nodev", "user", "users", "nouser"];
    let mut words: Vec<&str> = entry.options_text.split(',').filter(|word| !ours.contains(word)).collect();
    words.push(if entry.options.nodev { "nodev" } else { "dev" });
    words.join(",")
}
