//! What of `/proc` and `/sys` a guest sees.
//!
//! Nothing can be made to vanish from a mounted procfs, so what is not to be seen is masked: a file reads as empty, a
//! directory is empty. Some entries are masked whatever the list says (L11): they show the host's kernel or reach
//! into it.

use std::path::{Path, PathBuf};

use vserver_model::Mode;

use crate::step::Inside;

/// Parts of `/proc` that stay, but read-only.
const READ_ONLY: [&str; 4] = ["bus", "fs", "irq", "sys"];

/// Writable below the read-only `/proc/sys`: settings of the guest's own namespaces only.
const OWN_SETTINGS: [&str; 11] = [
    "sys/kernel/hostname",
    "sys/kernel/domainname",
    "sys/kernel/msgmax",
    "sys/kernel/msgmnb",
    "sys/kernel/msgmni",
    "sys/kernel/sem",
    "sys/kernel/shmall",
    "sys/kernel/shmmax",
    "sys/kernel/shmmni",
    "sys/kernel/shm_rmid_forced",
    "sys/fs/mqueue",
];

/// One top-level entry of the kernel's `/proc` that is not a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcEntry {
    /// Its path below `/proc`.
    pub name: PathBuf,
    /// Whether it is a directory.
    pub directory: bool,
    /// Whether the list shows it to guests.
    pub visible: bool,
}

/// The steps that make `/proc`, mounted at `proc`, fit for a guest.
///
/// In a user namespace of its own the guest cannot write to the host's settings anyway; the masks are then a matter
/// of what it sees.
pub fn guard_proc(proc: &Path, entries: &[ProcEntry], mode: &Mode) -> Vec<Inside> {
    let mut steps = Vec::new();
    for part in READ_ONLY {
        let known = entries.iter().find(|entry| entry.name == Path::new(part));
        if known.is_some_and(|entry| entry.visible) {
            steps.push(Inside::ReadOnly(proc.join(part)));
        }
    }
    if matches!(mode, Mode::Classic) {
        steps.extend(OWN_SETTINGS.iter().map(|setting| Inside::Writable(proc.join(setting))));
    }
    for entry in entries.iter().filter(|entry| !entry.visible) {
        steps.push(Inside::Mask { path: proc.join(&entry.name), directory: entry.directory });
    }
    steps
}
