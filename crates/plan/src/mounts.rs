//! Which mounts a guest gets, from its fstab lines and from what its init needs.

use std::path::{Component, Path, PathBuf};

use vserver_config::guest::{FstabEntry, Guest};
use vserver_model::{Mode, Sourced};

use crate::step::{Inside, Pts, Step};
use crate::tree::Tree;

/// Where a line of fstab is mounted.
enum Kind<'a> {
    /// By the host, below the guest's root, before the guest exists.
    Host { shift: Option<u32> },
    /// By the guest's first process: it needs the guest's namespaces.
    Own(Inside),
    /// `/dev/pts` on the `/dev` that the host makes.
    Terminals(Pts),
    /// Not at all: swap, `noauto`, the root entry (mounted early).
    None(std::marker::PhantomData<&'a ()>),
}

/// A guest path without `.` and doubled slashes; `..` stays, as the kernel resolves it inside the guest's root.
pub fn tidy(path: &Path) -> PathBuf {
    let mut tidy = PathBuf::from("/");
    tidy.extend(path.components().filter(|part| !matches!(part, Component::RootDir | Component::CurDir)));
    tidy
}

fn option<'a>(entry: &'a FstabEntry, name: &str) -> Option<&'a str> {
    entry.options.data.iter().find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
}

fn kind<'a>(entry: &'a FstabEntry, mode: &Mode) -> Kind<'a> {
    if entry.options.noauto
        || entry.fstype.as_deref() == Some("swap")
        || tidy(&entry.target) == Path::new("/")
    {
        return Kind::None(std::marker::PhantomData);
    }
    let target = tidy(&entry.target);
    let bind = entry.options.bind.is_some() || entry.options.move_mount;
    match entry.fstype.as_deref() {
        Some("proc") if !bind => Kind::Own(Inside::Proc { target, data: entry.options.data.clone() }),
        Some("sysfs") if !bind => Kind::Own(Inside::Sys { target }),
        Some("cgroup" | "cgroup2") if !bind => Kind::Own(Inside::CgroupView { target }),
        Some("devpts") if !bind && target == Path::new("/dev/pts") => Kind::Terminals(Pts {
            mode: option(entry, "mode").and_then(|mode| u32::from_str_radix(mode, 8).ok()).unwrap_or(0o620),
            gid: option(entry, "gid").and_then(|gid| gid.parse().ok()).unwrap_or(5),
        }),
        Some("tmpfs" | "ramfs") if !bind => Kind::Host {
            shift: match mode {
                Mode::Shifted { first_id, .. } => Some(*first_id),
                Mode::Classic => None,
            },
        },
        _ => Kind::Host { shift: None },
    }
}

/// The mounts of one start, sorted by who makes them.
#[derive(Debug, Default)]
pub struct Mounts {
    /// Checks and the root entry: before the configuration's other parts are looked at.
    pub early: Vec<Step>,
    /// By the host.
    pub host: Vec<Step>,
    /// By the guest's first process, after the root is attached.
    pub own: Vec<Inside>,
    /// Where `/proc` will be; `None`: the administrator took it out of the fstab.
    pub proc: Option<PathBuf>,
    /// `/dev/pts`
    pub pts: Option<Pts>,
    /// Lines for the guest's mtab.
    pub mtab: Vec<String>,
}

/// Sorts the fstab lines, and adds what a systemd guest cannot do without (design decision 14).
pub fn sort(guest: &Guest, tree: &Tree, mode: &Mode, systemd: bool) -> Mounts {
    let mut mounts = Mounts::default();
    for entry in guest.fstab.iter().chain(&guest.fstab_remote) {
        early(entry, &mut mounts);
        match kind(&entry.value, mode) {
            Kind::None(_) => continue,
            Kind::Host { shift } => mounts.host.push(Step::Mount { entry: entry.clone(), shift }),
            Kind::Terminals(pts) => mounts.pts = Some(pts),
            Kind::Own(inside) => {
                if let Inside::Proc { target, .. } = &inside {
                    mounts.proc = Some(target.clone());
                }
                mounts.own.push(inside);
            }
        }
        if !entry.value.options.nomtab {
            mounts.mtab.push(mtab_line(&entry.value));
        }
    }
    if systemd {
        add_what_systemd_needs(guest, tree, &mut mounts);
    }
    mounts
}

fn early(entry: &Sourced<FstabEntry>, mounts: &mut Mounts) {
    let line = &entry.value;
    let source = Path::new(&line.source);
    if line.pass != 0 && source.is_absolute() && line.options.bind.is_none() {
        mounts.early.push(Step::CheckFilesystem {
            device: source.to_owned(),
            place: Sourced::new((), entry.file.clone(), entry.line),
        });
    }
    if tidy(&line.target) == Path::new("/") && !line.options.noauto {
        mounts.early.push(Step::Mount { entry: entry.clone(), shift: None });
    }
}

/// `SRC DEST TYPE OPTIONS 0 0`, with a type that no guest tool tries to check.
fn mtab_line(entry: &FstabEntry) -> String {
    let fstype = match entry.fstype.as_deref() {
        None => "none",
        Some(fstype) if fstype.starts_with("ext") => "ufs",
        Some(fstype) => fstype,
    };
    format!(
        "{} {} {fstype} {} 0 0",
        entry.source.to_string_lossy(),
        entry.target.display(),
        entry.options_text
    )
}

fn add_what_systemd_needs(guest: &Guest, tree: &Tree, mounts: &mut Mounts) {
    let configured = |path: &str| {
        guest
            .fstab
            .iter()
            .chain(&guest.fstab_remote)
            .any(|entry| tidy(&entry.value.target) == Path::new(path))
    };
    if !configured("/sys") && tree.directories.contains(&"/sys") {
        mounts.own.push(Inside::Sys { target: "/sys".into() });
        mounts.own.push(Inside::CgroupView { target: "/sys/fs/cgroup".into() });
    }
    let data = |list: &[(&str, &str)]| list.iter().map(|&(k, v)| (k.to_owned(), v.to_owned())).collect();
    if !configured("/run") && tree.directories.contains(&"/run") {
        let run = data(&[("mode", "755"), ("size", "20%")]);
        mounts.own.push(Inside::Tmpfs { target: "/run".into(), data: run });
        // Debian's systemd wants this as a file system of its own, or stops at "Failed to mount API filesystems".
        let lock = data(&[("mode", "1777"), ("size", "5m")]);
        mounts.own.push(Inside::Tmpfs { target: "/run/lock".into(), data: lock });
    }
    if !configured("/dev/shm") {
        mounts.own.push(Inside::Tmpfs { target: "/dev/shm".into(), data: data(&[("mode", "1777")]) });
    }
}
