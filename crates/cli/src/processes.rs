//! Processes of the host and to which guest each belongs.
//!
//! A process belongs to the guest whose cgroup it is in: the component after the top directory of all guests
//! (`…/vservers/web1/…`) in `/proc/PID/cgroup`. A guest can make cgroups only below its own, so the first match is the
//! host's.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;

use vserver_kernel::proc::{Procfs, Stat};
use vserver_model::Layout;

use crate::running::Running;

/// One process.
#[derive(Clone, Debug)]
pub struct Process {
    /// What `/proc/PID/stat` tells.
    pub stat: Stat,
    /// The guest's name, `None` on the host.
    pub guest: Option<OsString>,
}

/// Every process there is. Those that end while we look are left out.
pub fn scan(layout: &Layout) -> Result<Vec<Process>, vserver_kernel::Fault> {
    let pids = Procfs::open()?.pids()?;
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(pids.len() / 500 + 1);
    if threads == 1 {
        return read_all(layout, &pids);
    }
    // Each process costs two files of /proc, which the kernel makes on the spot: shared among the processors.
    let parts: Vec<_> = std::thread::scope(|scope| {
        let workers: Vec<_> = pids
            .chunks(pids.len().div_ceil(threads))
            .map(|chunk| scope.spawn(move || read_all(layout, chunk)))
            .collect();
        workers.into_iter().map(|worker| worker.join().expect("a reader of /proc does not panic")).collect()
    });
    let mut all = Vec::with_capacity(pids.len());
    for part in parts {
        all.extend(part?);
    }
    Ok(all)
}

/// How many tasks (threads) a guest has.
pub fn tasks_of(layout: &Layout, name: &OsStr) -> Result<u64, vserver_kernel::Fault> {
    let own = scan(layout)?.into_iter().filter(|process| process.guest.as_deref() == Some(name));
    Ok(own.map(|process| u64::from(process.stat.threads)).sum())
}

/// The host's numbers of a guest's processes.
pub fn pids_of(layout: &Layout, guest: &Running) -> Result<Vec<i32>, vserver_kernel::Fault> {
    let name = Some(guest.name.as_os_str());
    let own = scan(layout)?.into_iter().filter(|process| process.guest.as_deref() == name);
    Ok(own.map(|process| process.stat.pid).collect())
}

/// The guest of one process, 0 is the caller; an error when there is no such process.
pub fn guest_of(layout: &Layout, pid: i32) -> Result<Option<OsString>, vserver_kernel::Fault> {
    let pid = if pid == 0 { rustix::process::getpid().as_raw_pid() } else { pid };
    let mut procfs = Procfs::open()?;
    Ok(guest_in(&layout.cgroup_top, procfs.cgroup_lines(pid)?).map(OsStr::to_owned))
}

fn read_all(layout: &Layout, pids: &[i32]) -> Result<Vec<Process>, vserver_kernel::Fault> {
    let mut procfs = Procfs::open()?;
    let mut all = Vec::with_capacity(pids.len());
    for pid in pids {
        let Ok(stat) = procfs.stat(*pid) else { continue };
        let Ok(groups) = procfs.cgroup_lines(*pid) else { continue };
        all.push(Process { stat, guest: guest_in(&layout.cgroup_top, groups).map(OsStr::to_owned) });
    }
    Ok(all)
}

/// The component after `top` in any of the paths of `/proc/PID/cgroup`. Programs of the host that are only in a network
/// context are the host's: their groups are `TOP/.nids/NID` and `TOP/NAME/net`.
fn guest_in<'a>(top: &str, groups: &'a [u8]) -> Option<&'a OsStr> {
    groups.split(|byte| *byte == b'\n').find_map(|line| {
        let path = line.splitn(3, |byte| *byte == b':').nth(2)?;
        let mut parts = path.split(|byte| *byte == b'/').filter(|part| !part.is_empty());
        parts.by_ref().find(|part| *part == top.as_bytes())?;
        let name = parts.next()?;
        (name != b".nids" && parts.next() != Some(b"net")).then(|| OsStr::from_bytes(name))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outermost_cgroup_counts() {
        let guest = |text: &'static str| guest_in("vservers", text.as_bytes());
        assert_eq!(guest("0::/vservers/web1/guest/vservers/db\n").unwrap(), "web1");
        assert_eq!(guest("2:cpu:/\n1:name=x:/a/vservers/db\n0::/\n").unwrap(), "db");
        assert_eq!(guest("0::/vservers/web1/guest/net\n").unwrap(), "web1");
        assert_eq!(guest("2:cpu:/\n0::/vservers/web1/net\n"), None);
        assert_eq!(guest("0::/vservers/.nids/900\n"), None);
        assert_eq!(guest("0::/vservers\n"), None);
        assert_eq!(guest("0::/init.scope\n"), None);
    }

    #[test]
    fn this_process_is_found() {
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(scan(&Layout::system()).unwrap().iter().any(|p| p.stat.pid == own && p.stat.threads >= 1));
    }
}
