//! Processes of the host and to which guest each belongs, by `/proc`.
//!
//! A process belongs to the guest whose cgroup it is in: the component after the top directory of all guests
//! (`…/vservers/web1/…`) in `/proc/PID/cgroup`. A guest can make cgroups only below its own, so the first match is the
//! host's.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use crate::life::Running;
use vserver_model::Layout;

/// One process, from `/proc/PID/stat` (proc_pid_stat(5)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// The host's number for it.
    pub pid: u32,
    /// Its parent.
    pub parent: u32,
    /// `R`, `S`, `Z` …
    pub state: u8,
    /// Threads.
    pub threads: u64,
    /// Virtual memory.
    pub vsz_bytes: u64,
    /// Resident memory, in pages.
    pub rss_pages: u64,
    /// Time in user space, in clock ticks.
    pub user_ticks: u64,
    /// Time in the kernel, in clock ticks.
    pub system_ticks: u64,
    /// Start, in clock ticks after the boot.
    pub start_ticks: u64,
    /// The guest's name, `None` on the host.
    pub guest: Option<OsString>,
}

/// Every process there is. Those that end while we look are left out.
pub fn scan(layout: &Layout) -> Vec<Process> {
    let pids = pids();
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(pids.len() / 500 + 1);
    if threads == 1 {
        return read_all(layout, &pids);
    }
    // Each process costs two files of /proc, which the kernel makes on the spot: shared among the processors.
    std::thread::scope(|scope| {
        let parts: Vec<_> = pids
            .chunks(pids.len().div_ceil(threads))
            .map(|chunk| scope.spawn(move || read_all(layout, chunk)))
            .collect();
        parts.into_iter().flat_map(|part| part.join().unwrap_or_default()).collect()
    })
}

/// How many tasks (threads) a guest has.
pub fn tasks_of(layout: &Layout, guest: &Running) -> u64 {
    let name = Some(guest.name.as_os_str());
    scan(layout)
        .iter()
        .filter(|process| process.guest.as_deref() == name)
        .map(|process| process.threads)
        .sum()
}

/// The guest of one process; `Err` when there is no such process.
pub fn guest_of(layout: &Layout, pid: u32) -> Result<Option<OsString>, std::io::Error> {
    Ok(guest_in(layout.cgroup_top.as_bytes(), &fs::read(format!("/proc/{pid}/cgroup"))?))
}

fn pids() -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
}

fn read_all(layout: &Layout, pids: &[u32]) -> Vec<Process> {
    let top = layout.cgroup_top.as_bytes();
    let mut known: HashMap<Vec<u8>, Option<OsString>> = HashMap::new();
    let mut all = Vec::with_capacity(pids.len());
    for pid in pids {
        let Ok(stat) = fs::read(format!("/proc/{pid}/stat")) else { continue };
        let Ok(cgroup) = fs::read(format!("/proc/{pid}/cgroup")) else { continue };
        let Some(mut process) = parse(&stat) else { continue };
        process.guest = known.entry(cgroup).or_insert_with_key(|text| guest_in(top, text)).clone();
        all.push(process);
    }
    all
}

/// The component after `top` in any line of `/proc/PID/cgroup`.
fn guest_in(top: &[u8], cgroup: &[u8]) -> Option<OsString> {
    cgroup.split(|b| *b == b'\n').find_map(|line| {
        // "ID:CONTROLLERS:PATH"; a path may contain colons, the first two fields cannot.
        let path = line.splitn(3, |b| *b == b':').nth(2)?;
        let mut parts = path.split(|b| *b == b'/');
        parts.by_ref().find(|part| *part == top)?;
        parts.next().filter(|name| !name.is_empty()).map(|name| OsStr::from_bytes(name).to_owned())
    })
}

/// `/proc/PID/stat`: the command in parentheses may hold anything, so the fields are counted from its last `)`.
fn parse(stat: &[u8]) -> Option<Process> {
    let open = stat.iter().position(|b| *b == b'(')?;
    let close = stat.iter().rposition(|b| *b == b')')?;
    let pid = std::str::from_utf8(&stat[..open]).ok()?.trim().parse().ok()?;
    let rest = std::str::from_utf8(stat.get(close + 1..)?).ok()?;
    // Field 3 of the manual page is the first here.
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    Some(Process {
        pid,
        parent: u32::try_from(number(4)?).ok()?,
        state: *fields.first()?.as_bytes().first()?,
        user_ticks: number(14)?,
        system_ticks: number(15)?,
        threads: number(20)?,
        start_ticks: number(22)?,
        vsz_bytes: number(23)?,
        rss_pages: number(24)?,
        guest: None,
    })
}

/// The command name of a process, as in `/proc/PID/comm`.
pub fn command_of(pid: u32) -> Option<OsString> {
    let mut bytes = fs::read(format!("/proc/{pid}/comm")).ok()?;
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
    }
    Some(OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_cannot_forge_the_fields() {
        let line = b"42 (a) R 7 (b) c) S 1 42 42 0 -1 4194560 100 0 0 0 11 12 0 0 20 0 3 0 999 4096 5 18446744073709551615 1";
        let process = parse(line).unwrap();
        assert_eq!((process.pid, process.parent, process.state), (42, 1, b'S'));
        assert_eq!((process.user_ticks, process.system_ticks, process.threads), (11, 12, 3));
        assert_eq!((process.start_ticks, process.vsz_bytes, process.rss_pages), (999, 4096, 5));
        assert_eq!(parse(b"1 (x"), None);
    }

    #[test]
    fn the_outermost_cgroup_counts() {
        let guest = |text: &str| guest_in(b"vservers", text.as_bytes());
        assert_eq!(guest("0::/vservers/web1/guest/vservers/db\n").unwrap(), "web1");
        assert_eq!(guest("2:cpu:/\n1:name=x:/a/vservers/db\n0::/\n").unwrap(), "db");
        assert_eq!(guest("0::/vservers\n"), None);
        assert_eq!(guest("0::/init.scope\n"), None);
    }

    #[test]
    fn this_process_is_found() {
        let layout = Layout::from_prefix(None).unwrap();
        let own = std::process::id();
        assert!(scan(&layout).iter().any(|process| process.pid == own && process.threads >= 1));
    }
}
