//! The guest's own share of the machine: the kernel's listings (kernel/bpf/views.rs), bound over files like
//! `/proc/meminfo`. Nothing runs for them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use vserver_kernel::bpf::views::{File, Machine, Views};
use vserver_kernel::mount::{self, Attributes, MountFd, Recursion, attr};
use vserver_kernel::{Fault, ns};
use vserver_plan::Inside;
use vserver_plan::machine::Share;
use vserver_plan::step::First;

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

/// The files, and whether sysinfo(2) agrees with them.
fn take(site: &Site<'_>, wanted: &[&str], share: Share) -> Result<(MachineFiles, bool), Fault> {
    let views = open(site)?;
    let bits = attr::READ_ONLY | attr::NO_SUID | attr::NO_DEV | attr::NO_EXEC;
    let files = File::ALL.into_iter().filter(|file| wanted.contains(&file.name()));
    let files = files.map(|file| {
        let tree = mount::clone_tree(rustix::fs::CWD, views.path(file), Recursion::One)?;
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
