//! `/proc`: what is known of processes and of the system, parsed without much memory being asked for.
//!
//! [`Procfs`] keeps the directory open and one buffer, so that thousands of processes can be looked at; the free
//! functions are for one look.

use std::ffi::{CStr, OsString};
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{CWD, Mode, OFlags};

use crate::{Blame, Fault, Result};

/// An open `/proc` and a buffer to read its files into.
#[derive(Debug)]
pub struct Procfs {
    dir: OwnedFd,
    buffer: Vec<u8>,
}

impl Procfs {
    /// Opens `/proc`.
    pub fn open() -> Result<Self> {
        Self::open_at("/proc")
    }

    /// Opens a proc filesystem mounted elsewhere, for example that of another pid namespace.
    pub fn open_at(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::openat(CWD, path, flags, Mode::empty())
            .blame_with("open(2)", || path.display().to_string())?;
        Ok(Self { dir, buffer: Vec::with_capacity(4096) })
    }

    /// Every process there is, in no order. One that ends meanwhile may be missing or not.
    pub fn pids(&self) -> Result<Vec<i32>> {
        let dir = rustix::fs::openat(
            &self.dir,
            c".",
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .blame("open(2)", "/proc")?;
        let mut space = Vec::with_capacity(32 * 1024);
        let mut entries = rustix::fs::RawDir::new(dir, space.spare_capacity_mut());
        let mut pids = Vec::new();
        while let Some(entry) = entries.next() {
            let entry = entry.blame("getdents64(2)", "/proc")?;
            if let Some(pid) = number(entry.file_name().to_bytes()) {
                pids.push(pid);
            }
        }
        Ok(pids)
    }

    /// Reads `/proc/PID/FILE` into the buffer. `ENOENT`, `ESRCH`: the process has ended.
    fn read(&mut self, pid: i32, file: &str) -> Result<&[u8]> {
        use std::io::Write as _;
        let object = || format!("/proc/{pid}/{file}");
        let mut path = [0_u8; 64];
        let mut rest = path.as_mut_slice();
        write!(rest, "{pid}/{file}\0").blame_with("open(2)", object)?;
        let path = CStr::from_bytes_until_nul(&path).expect("the NUL was just written");
        let fd = rustix::fs::openat(&self.dir, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .blame_with("open(2)", object)?;
        self.buffer.clear();
        loop {
            self.buffer.reserve(1024);
            let read = rustix::io::read(&fd, rustix::buffer::spare_capacity(&mut self.buffer));
            match read {
                Ok(0) => return Ok(&self.buffer),
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(Fault::new("read(2)", object(), errno)),
            }
        }
    }

    /// `/proc/PID/stat`.
    pub fn stat(&mut self, pid: i32) -> Result<Stat> {
        let bytes = self.read(pid, "stat")?;
        parse_stat(bytes).ok_or_else(|| malformed(pid, "stat"))
    }

    /// `/proc/PID/status`.
    pub fn status(&mut self, pid: i32) -> Result<Status> {
        let bytes = self.read(pid, "status")?;
        parse_status(bytes).ok_or_else(|| malformed(pid, "status"))
    }

    /// `/proc/PID/cgroup`: its group in every hierarchy.
    pub fn cgroups(&mut self, pid: i32) -> Result<Vec<Membership>> {
        self.cgroup_lines(pid).map(parse_cgroups)
    }

    /// The same as it is written: lines of a number, controllers and a path with colons between them.
    pub fn cgroup_lines(&mut self, pid: i32) -> Result<&[u8]> {
        self.read(pid, "cgroup")
    }

    /// `/proc/PID/cmdline`, one argument each; empty for a kernel thread or a zombie.
    pub fn command_line(&mut self, pid: i32) -> Result<Vec<OsString>> {
        let bytes = self.read(pid, "cmdline")?;
        let bytes = bytes.strip_suffix(b"\0").unwrap_or(bytes);
        if bytes.is_empty() {
            return Ok(Vec::new());
        }
        Ok(bytes.split(|b| *b == 0).map(|arg| OsString::from_vec(arg.to_vec())).collect())
    }
}

fn malformed(pid: i32, file: &str) -> Fault {
    Fault::from_errno("parse", format!("/proc/{pid}/{file}"), libc::EBADMSG)
}

fn number<T: std::str::FromStr>(digits: &[u8]) -> Option<T> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// What `/proc/PID/stat` tells (`proc_pid_stat(5)`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Number in the reader's pid namespace.
    pub pid: i32,
    /// Name of the program or what it calls itself.
    pub comm: OsString,
    /// `R` running, `S` sleeping, `D` uninterruptible, `T` stopped, `t` traced, `Z` zombie, `X` dead, `I` idle.
    pub state: u8,
    /// Parent; 0 if it is outside the pid namespace.
    pub parent: i32,
    /// Process group.
    pub group: i32,
    /// Session.
    pub session: i32,
    /// Terminal's device number, 0 for none.
    pub tty: i32,
    /// `PF_*` of the kernel's `linux/sched.h`.
    pub flags: u32,
    /// Clock ticks spent in user mode.
    pub user_ticks: u64,
    /// Clock ticks spent in the kernel.
    pub system_ticks: u64,
    /// Nice value.
    pub nice: i32,
    /// Number of threads.
    pub threads: u32,
    /// Clock ticks from boot to its start (in the reader's time namespace).
    pub start_ticks: u64,
    /// Address space in bytes.
    pub size_bytes: u64,
    /// Pages in memory.
    pub resident_pages: u64,
}

/// Parses `/proc/PID/stat`; `None` if it is not that.
pub fn parse_stat(bytes: &[u8]) -> Option<Stat> {
    // The name may hold anything, parentheses and spaces too: it ends at the last one.
    let open = bytes.iter().position(|b| *b == b'(')?;
    let close = bytes.iter().rposition(|b| *b == b')')?;
    let comm = OsString::from_vec(bytes.get(open + 1..close)?.to_vec());
    let mut fields = [b"".as_slice(); 22]; // fields 3 to 24 of the manual page
    let mut rest = bytes.get(close + 2..)?.split(|b| matches!(b, b' ' | b'\n'));
    for field in &mut fields {
        *field = rest.next()?;
    }
    let field = |n: usize| fields[n - 3];
    Some(Stat {
        pid: number(bytes.get(..open)?.trim_ascii_end())?,
        comm,
        state: *field(3).first()?,
        parent: number(field(4))?,
        group: number(field(5))?,
        session: number(field(6))?,
        tty: number(field(7))?,
        flags: number(field(9))?,
        user_ticks: number(field(14))?,
        system_ticks: number(field(15))?,
        nice: number(field(19))?,
        threads: number(field(20))?,
        start_ticks: number(field(22))?,
        size_bytes: number(field(23))?,
        resident_pages: number::<i64>(field(24))?.try_into().unwrap_or(0),
    })
}

/// Signals that wait for a process, bit `n - 1` for signal `n`: its own and its first thread's (`SigPnd`, `ShdPnd`).
pub fn pending_signals(pid: i32) -> Result<u64> {
    let path = format!("/proc/{pid}/status");
    let text = std::fs::read(&path).blame("read(2)", &path)?;
    let of = |line: &[u8], label: &[u8]| -> Option<u64> {
        let mask = std::str::from_utf8(line.strip_prefix(label)?).ok()?;
        u64::from_str_radix(mask.trim(), 16).ok()
    };
    let masks =
        text.split(|byte| *byte == b'\n').filter_map(|line| of(line, b"SigPnd:").or(of(line, b"ShdPnd:")));
    Ok(masks.fold(0, |all, mask| all | mask))
}

/// Capability sets of a process, bit `n` for capability `n`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// `CapInh`
    pub inheritable: u64,
    /// `CapPrm`
    pub permitted: u64,
    /// `CapEff`
    pub effective: u64,
    /// `CapBnd`
    pub bounding: u64,
    /// `CapAmb`
    pub ambient: u64,
}

/// What `/proc/PID/status` tells beyond [`Stat`] (`proc_pid_status(5)`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Real, effective, saved and filesystem uid, in the reader's user namespace.
    pub uids: [u32; 4],
    /// The same for gids.
    pub gids: [u32; 4],
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// Its number in each pid namespace, the reader's first, its own last.
    pub namespace_pids: Vec<i32>,
    /// Number of threads.
    pub threads: u32,
    /// Address space in bytes; 0 for a kernel thread.
    pub size_bytes: u64,
    /// Memory in use in bytes.
    pub resident_bytes: u64,
    /// Capabilities.
    pub capabilities: Capabilities,
    /// Whether exec cannot gain rights.
    pub no_new_privs: bool,
    /// 0 no seccomp, 1 strict, 2 filter.
    pub seccomp: u8,
}

/// Parses `/proc/PID/status`; `None` if a line of interest is malformed.
pub fn parse_status(bytes: &[u8]) -> Option<Status> {
    let mut status = Status::default();
    for line in bytes.split(|b| *b == b'\n') {
        let Some(colon) = line.iter().position(|b| *b == b':') else { continue };
        let value = line[colon + 1..].trim_ascii();
        match &line[..colon] {
            b"Uid" => status.uids = four(value)?,
            b"Gid" => status.gids = four(value)?,
            b"Groups" => status.groups = words(value).map(number).collect::<Option<_>>()?,
            b"NSpid" => status.namespace_pids = words(value).map(number).collect::<Option<_>>()?,
            b"Threads" => status.threads = number(value)?,
            b"VmSize" => status.size_bytes = kibibytes(value)?,
            b"VmRSS" => status.resident_bytes = kibibytes(value)?,
            b"CapInh" => status.capabilities.inheritable = hexadecimal(value)?,
            b"CapPrm" => status.capabilities.permitted = hexadecimal(value)?,
            b"CapEff" => status.capabilities.effective = hexadecimal(value)?,
            b"CapBnd" => status.capabilities.bounding = hexadecimal(value)?,
            b"CapAmb" => status.capabilities.ambient = hexadecimal(value)?,
            b"NoNewPrivs" => status.no_new_privs = number::<u8>(value)? != 0,
            b"Seccomp" => status.seccomp = number(value)?,
            _ => {}
        }
    }
    Some(status)
}

fn words(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty())
}

fn four(value: &[u8]) -> Option<[u32; 4]> {
    let mut ids = words(value).map(number);
    Some([ids.next()??, ids.next()??, ids.next()??, ids.next()??])
}

fn kibibytes(value: &[u8]) -> Option<u64> {
    number::<u64>(value.strip_suffix(b" kB")?.trim_ascii())?.checked_mul(1024)
}

fn hexadecimal(value: &[u8]) -> Option<u64> {
    u64::from_str_radix(std::str::from_utf8(value).ok()?, 16).ok()
}

/// A process's group in one cgroup hierarchy: a line of `/proc/PID/cgroup`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    /// Number of the hierarchy; 0 is cgroup2.
    pub hierarchy: u32,
    /// `memory`, `cpu,cpuacct`, `name=systemd`; empty for cgroup2.
    pub controllers: String,
    /// The group, as seen from the reader's cgroup namespace: `/../..` lies outside of it.
    pub path: PathBuf,
}

/// Parses `/proc/PID/cgroup`, leaving out lines that are not understood.
pub fn parse_cgroups(bytes: &[u8]) -> Vec<Membership> {
    bytes
        .split(|b| *b == b'\n')
        .filter_map(|line| {
            let mut fields = line.splitn(3, |b| *b == b':');
            Some(Membership {
                hierarchy: number(fields.next()?)?,
                controllers: String::from_utf8_lossy(fields.next()?).into_owned(),
                path: PathBuf::from(OsString::from_vec(fields.next()?.to_vec())),
            })
        })
        .collect()
}

/// `/proc/PID/stat` of one process.
pub fn stat(pid: i32) -> Result<Stat> {
    Procfs::open()?.stat(pid)
}

/// `/proc/PID/status` of one process.
pub fn status(pid: i32) -> Result<Status> {
    Procfs::open()?.status(pid)
}

/// `/proc/PID/cgroup` of one process; 0 is the calling one.
pub fn cgroups(pid: i32) -> Result<Vec<Membership>> {
    let path = if pid == 0 { "/proc/self/cgroup".to_owned() } else { format!("/proc/{pid}/cgroup") };
    fs::read(&path).blame("read(2)", path).map(|bytes| parse_cgroups(&bytes))
}

/// How long the system (or the time namespace) is up.
pub fn uptime() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(now.tv_sec.try_into().unwrap_or(0), now.tv_nsec.try_into().unwrap_or(0))
}

/// The identity of this boot: 36 characters that no other boot has.
pub fn boot_id() -> Result<String> {
    let path = "/proc/sys/kernel/random/boot_id";
    fs::read_to_string(path).blame("read(2)", path).map(|id| id.trim_end().to_owned())
}

/// Clock ticks in a second, the unit of the `ticks` fields: `USER_HZ`, which is part of the ABI and the same on every
/// architecture we know, whatever the kernel's own `HZ` is.
pub const TICKS_PER_SECOND: u64 = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_and_spaces_is_read() {
        let line = b"42 (a) b (c)) S 1 42 42 0 -1 4194560 1 2 3 4 50 60 7 8 20 0 1 0 777 4096 10 18446744073709551615 1";
        let stat = parse_stat(line).unwrap();
        assert_eq!((stat.pid, stat.comm.to_str(), stat.state), (42, Some("a) b (c)"), b'S'));
        assert_eq!((stat.user_ticks, stat.system_ticks, stat.nice, stat.threads), (50, 60, 0, 1));
        assert_eq!((stat.start_ticks, stat.size_bytes, stat.resident_pages), (777, 4096, 10));
        assert_eq!(parse_stat(b"42 (cut) S 1"), None);
    }

    #[test]
    fn our_own_files_agree() {
        let own = rustix::process::getpid().as_raw_nonzero().get();
        let mut procfs = Procfs::open().unwrap();
        assert!(procfs.pids().unwrap().contains(&own));
        assert_eq!(procfs.stat(own).unwrap().pid, own);
        let status = procfs.status(own).unwrap();
        assert_eq!(status.namespace_pids.first(), Some(&own));
        assert_eq!(status.uids[1], rustix::process::geteuid().as_raw());
        assert!(status.resident_bytes > 0 && status.size_bytes >= status.resident_bytes);
        assert!(!procfs.command_line(own).unwrap().is_empty());
        assert_eq!(procfs.cgroups(own).unwrap(), cgroups(0).unwrap());
        assert_eq!(boot_id().unwrap().len(), 36);
    }

    #[test]
    fn a_process_that_does_not_exist_is_enoent() {
        assert!(stat(i32::MAX).unwrap_err().is(libc::ENOENT));
    }

    #[test]
    fn a_group_name_may_hold_colons() {
        let lines = parse_cgroups(b"4:cpu,cpuacct:/a:b\n0::/\n\nnonsense\n");
        assert_eq!(lines.len(), 2);
        assert_eq!(
            (lines[0].controllers.as_str(), lines[0].path.as_path()),
            ("cpu,cpuacct", Path::new("/a:b"))
        );
    }

    proptest::proptest! {
        #[test]
        fn nothing_makes_the_parsers_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
            proptest::prop_assert!(parse_stat(&bytes).is_none() || bytes.contains(&b'('));
            proptest::prop_assert!(parse_cgroups(&bytes).len() <= bytes.len());
            proptest::prop_assert!(parse_status(&bytes).is_none_or(|s| s.threads == 0 || bytes.contains(&b':')));
        }
    }
}
