//! What a guest sees of the machine: its own share (`virt_mem`, `virt_load`, `virt_cpu`) or the host's.

use std::path::Path;

use vserver_config::guest::Guest;

use crate::start::has_flag;
use crate::visible::ProcEntry;

/// Which parts of the machine a guest sees as its own. Its uptime is a matter of its time namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// Memory and swap (`virt_mem`).
    pub memory: bool,
    /// Load averages (`virt_load`).
    pub load: bool,
    /// Processors and their time (`virt_cpu`).
    pub processors: bool,
}

impl Share {
    /// That of a guest as it is configured.
    pub fn of(guest: &Guest) -> Self {
        Self {
            memory: has_flag(guest, "virt_mem"),
            load: has_flag(guest, "virt_load"),
            processors: has_flag(guest, "virt_cpu"),
        }
    }

    /// Names of the files that tell of it: of `/proc`, and `online` of `/sys/devices/system/cpu`. What the guest may not
    /// see at all stays hidden.
    pub fn files(self, proc: &[ProcEntry]) -> Vec<&'static str> {
        let parts = [
            (self.memory, ["meminfo", "swaps"].as_slice()),
            (self.load, &["loadavg"]),
            (self.processors, &["uptime", "stat", "cpuinfo", "online"]),
        ];
        let wanted = parts.into_iter().filter(|(on, _)| *on).flat_map(|(_, files)| files.iter().copied());
        let hidden = |file: &str| proc.iter().any(|entry| entry.name == Path::new(file) && !entry.visible);
        wanted.filter(|file| !hidden(file)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_files_stay_hidden() {
        let entry = |name: &str, visible| ProcEntry { name: name.into(), directory: false, visible };
        let all = Share { memory: true, load: true, processors: true };
        let proc = [entry("meminfo", true), entry("swaps", false), entry("stat", false)];
        assert_eq!(all.files(&proc), ["meminfo", "loadavg", "uptime", "cpuinfo", "online"]);
        assert!(Share::default().files(&proc).is_empty());
    }
}
