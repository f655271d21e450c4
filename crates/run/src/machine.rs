//! The guest's own share of the machine: the kernel's listings (kernel/bpf/views.rs), bound over files like
//! `/proc/meminfo`. Nothing runs for them.

use std::fs;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use vserver_kernel::bpf::views::{File, Machine, Views};
use vserver_kernel::mount::{self, Attributes, MountFd, Recursion, attr};
use vserver_kernel::{Fault, ns, sys};
use vserver_plan::Inside;
use vserver_plan::machine::Share;
use vserver_plan::step::First;

use crate::record;
use crate::site::{self, Site};

/// What the first process attaches.
pub struct MachineFiles(pub Vec<(File, MountFd)>);

/// Where a file belongs in the guest.
pub enum Place {
    /// In its `/proc`, which always has it.
    Proc(PathBuf),
    /// In its `/sys`, if it has one.
    Sys(PathBuf),
}

/// Where a file belongs, with the guest's `/proc` there.
pub fn place(file: File, proc: &Path) -> Place {
    match file {
        File::Online => Place::Sys("/sys/devices/system/cpu/online".into()),
        _ => Place::Proc(proc.join(file.name())),
    }
}

/// Takes the files that the plan asks for. A kernel that cannot make them shows the host's numbers, which is said.
pub fn prepare(site: &Site<'_>, first: &First, say: &mut dyn FnMut(&str)) -> Option<MachineFiles> {
    let wanted = first.inside.iter().find_map(|step| match step {
        Inside::Machine { files, .. } => Some(files),
        _ => None,
    })?;
    match take(site, wanted, first.share) {
        Ok((files, sysinfo)) => {
            if !sysinfo && (first.share.memory || first.share.load) {
                say(
                    "warning: this kernel lets sysinfo(2) tell the host's memory and load only, which some programs ask \
                     instead of /proc (busybox free and uptime)",
                );
            }
            Some(files)
        }
        Err(fault) => {
            let reason = std::error::Error::source(&fault).map(ToString::to_string).unwrap_or_default();
            say(&format!(
                "warning: {}: this kernel cannot show a guest its share of the machine, so it sees the host's: {fault}: \
                 {reason}",
                words(first.share)
            ));
            None
        }
    }
}

/// The flags that ask for it.
fn words(share: Share) -> String {
    let flags = [(share.memory, "virt_mem"), (share.load, "virt_load"), (share.processors, "virt_cpu")];
    flags.into_iter().filter(|(on, _)| *on).map(|(_, word)| word).collect::<Vec<_>>().join(", ")
}

/// Files that programs rewind: what of them is mounted in such a guest is filled by its guard.
const REWOUND: [File; 2] = [File::Meminfo, File::Stat];
/// Where they are, in the guest's state directory; and a link to what they are filled from, which comes last.
const KEPT: &str = "machine";
const LISTINGS: &str = "listings";

/// What a guard needs to keep them.
pub(crate) struct KeptFiles {
    /// Each with the descriptor that tells of reads.
    pub files: [(OwnedFd, OwnedFd); 2],
    /// The kernel's listings.
    pub listings: OwnedFd,
}

/// Those of a guest that has some, for its guard.
pub(crate) fn kept(state: &Path) -> Result<Option<KeptFiles>, Fault> {
    let directory = state.join(KEPT);
    let listings = directory.join(LISTINGS);
    if !listings.exists() {
        return Ok(None);
    }
    let [memory, processors] = REWOUND.map(|file| watched(&directory.join(file.name())));
    let files = [memory?, processors?];
    Ok(Some(KeptFiles { files, listings: mount::open_directory(listings)? }))
}

/// A file, and the descriptor that tells of its reads.
fn watched(path: &Path) -> Result<(OwnedFd, OwnedFd), Fault> {
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let open = rustix::fs::open(path, flags, Mode::empty());
    let open = open.map_err(|errno| Fault::new("open(2)", path.display(), errno))?;
    let watch = sys::watch_reads(open.as_fd())?;
    Ok((open, watch))
}

/// Whether the guest has programs that rewind: procps since version 4, by its library.
fn rewinds(site: &Site<'_>) -> bool {
    let places = ["lib/x86_64-linux-gnu", "lib/aarch64-linux-gnu", "lib64", "lib"];
    let mut paths = places.iter().map(|place| Path::new("/usr").join(place).join("libproc2.so.0"));
    paths.any(|path| site.root.symlink_metadata(path).is_ok())
}

/// Makes the files that a guard is to keep. What the last run has left is replaced.
fn keep(site: &Site<'_>, views: &Views) -> Result<PathBuf, Fault> {
    let directory = record::state_dir(site.layout, &site.guest.name).join(KEPT);
    let fault = |op, path: &Path| {
        let path = path.display().to_string();
        move |error: io::Error| Fault::new(op, path, error)
    };
    drop(fs::remove_dir_all(&directory));
    fs::create_dir_all(&directory).map_err(fault("mkdir(2)", &directory))?;
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o755))
        .map_err(fault("chmod(2)", &directory))?;
    for file in REWOUND {
        let path = directory.join(file.name());
        fs::write(&path, "").map_err(fault("open(2)", &path))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o444)).map_err(fault("chmod(2)", &path))?;
    }
    // Where the kernel does not ask before a read, nobody would fill them.
    watched(&directory.join(REWOUND[0].name()))?;
    let link = directory.join(LISTINGS);
    symlink(views.directory(), &link).map_err(fault("symlink(2)", &link))?;
    Ok(directory)
}

/// The files, and whether sysinfo(2) agrees with them.
fn take(site: &Site<'_>, wanted: &[&str], share: Share) -> Result<(MachineFiles, bool), Fault> {
    let views = open(site)?;
    let bits = attr::READ_ONLY | attr::NO_SUID | attr::NO_DEV | attr::NO_EXEC;
    let kept = rewinds(site).then(|| keep(site, &views).ok()).flatten();
    let files = File::ALL.into_iter().filter(|file| wanted.contains(&file.name()));
    let files = files.map(|file| {
        let path = match &kept {
            Some(directory) if REWOUND.contains(&file) => directory.join(file.name()),
            _ => views.path(file),
        };
        let tree = mount::clone_tree(rustix::fs::CWD, path, Recursion::One)?;
        tree.set(&Attributes::new().set(bits), Recursion::One)?;
        Ok((file, tree))
    });
    let files: Result<Vec<_>, Fault> = files.collect();
    let group = site.group.as_ref().and_then(|groups| groups.directory.as_ref());
    let answers = match group {
        Some(group) if views.answers_sysinfo() => {
            let (_, number) = ns::identity(group)?;
            views.admit(number, share.memory, share.load)?;
            true
        }
        _ => false,
    };
    Ok((MachineFiles(files?), answers))
}

/// The set of this host, which the first guest that needs it makes.
fn open(site: &Site<'_>) -> Result<Views, Fault> {
    let nowhere = || Fault::from_errno("look for", "a BPF file system (/sys/fs/bpf)", libc::ENOENT);
    let directory = site.bpffs.as_ref().ok_or_else(nowhere)?.join("vserver");
    match fs::create_dir(&directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(Fault::new("mkdir(2)", directory.display(), error));
        }
        _ => {}
    }
    let hierarchies = site::hierarchies()?;
    let memory_v1 = hierarchies.with_controller("memory").is_some_and(|hierarchy| !hierarchy.is_v2());
    Views::open(&directory, &Machine::of_host(memory_v1))
}
