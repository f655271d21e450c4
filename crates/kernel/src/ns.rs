//! Namespaces: naming sets of them, leaving and entering them, and the maps and offsets that must be written
//! before anybody lives in one.

use std::fmt;
use std::fs;
use std::ops::{BitOr, BitOrAssign};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::thread::ThreadNameSpaceType;
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use crate::{Blame, Fault, Result, described, sys};

/// A set of kinds of namespaces.
///
/// Serialised, and printed, as the names under `/proc/PID/ns`: `mnt pid net uts ipc user cgroup time`.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "Vec<&'static str>", try_from = "Vec<String>")]
pub struct Namespaces(u32);

/// Name and `CLONE_NEW*` bit of each kind.
const KINDS: [(&str, Namespaces); 8] = [
    ("mnt", Namespaces::MOUNT),
    ("pid", Namespaces::PID),
    ("net", Namespaces::NET),
    ("uts", Namespaces::UTS),
    ("ipc", Namespaces::IPC),
    ("user", Namespaces::USER),
    ("cgroup", Namespaces::CGROUP),
    ("time", Namespaces::TIME),
];

impl Namespaces {
    /// No namespace.
    pub const NONE: Self = Self(0);
    /// `CLONE_NEWNS`
    pub const MOUNT: Self = Self(0x0002_0000);
    /// `CLONE_NEWPID`
    pub const PID: Self = Self(0x2000_0000);
    /// `CLONE_NEWNET`
    pub const NET: Self = Self(0x4000_0000);
    /// `CLONE_NEWUTS`
    pub const UTS: Self = Self(0x0400_0000);
    /// `CLONE_NEWIPC`
    pub const IPC: Self = Self(0x0800_0000);
    /// `CLONE_NEWUSER`
    pub const USER: Self = Self(0x1000_0000);
    /// `CLONE_NEWCGROUP`
    pub const CGROUP: Self = Self(0x0200_0000);
    /// `CLONE_NEWTIME`
    pub const TIME: Self = Self(0x0000_0080);
    /// Every kind there is.
    pub const ALL: Self = Self(0x7e02_0080);

    /// The `CLONE_NEW*` bits.
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Whether no kind is in the set.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether all kinds of `other` are in this set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both sets together.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// This set without the kinds of `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The kind with this file name under `/proc/PID/ns` (`mount` is understood as well as `mnt`).
    pub fn named(name: &str) -> Option<Self> {
        let name = if name == "mount" { "mnt" } else { name };
        KINDS.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind)
    }

    /// The file names of the kinds in the set.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        self.iter().filter_map(|kind| KINDS.iter().find(|(_, known)| *known == kind)).map(|(name, _)| *name)
    }

    /// The kinds in the set, one by one.
    pub fn iter(self) -> impl Iterator<Item = Self> {
        KINDS.iter().map(|(_, kind)| *kind).filter(move |kind| self.contains(*kind))
    }
}

impl BitOr for Namespaces {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        self.with(other)
    }
}

impl BitOrAssign for Namespaces {
    fn bitor_assign(&mut self, other: Self) {
        *self = self.with(other);
    }
}

impl fmt::Display for Namespaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, name) in self.names().enumerate() {
            write!(f, "{}{name}", if n == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

impl fmt::Debug for Namespaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Namespaces({self})")
    }
}

impl From<Namespaces> for Vec<&'static str> {
    fn from(set: Namespaces) -> Self {
        set.names().collect()
    }
}

/// A name that is no kind of namespace.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no kind of namespace is called {0:?}")]
pub struct UnknownNamespace(String);

impl TryFrom<Vec<String>> for Namespaces {
    type Error = UnknownNamespace;
    fn try_from(names: Vec<String>) -> Result<Self, UnknownNamespace> {
        names.into_iter().try_fold(Self::NONE, |set, name| match Self::named(&name) {
            Some(kind) => Ok(set | kind),
            None => Err(UnknownNamespace(name)),
        })
    }
}

/// Moves the calling thread into new namespaces: [`sys::unshare`].
pub fn unshare(namespaces: Namespaces) -> Result<()> {
    sys::unshare(namespaces)
}

/// Moves the calling thread into namespaces of the process behind `pidfd`, all or none.
///
/// `setns(2)` with a pidfd, Linux 5.8. A pid or time namespace is for the children. `EINVAL`: one's own user
/// namespace, or several threads; `ESRCH`: the process has ended; `EPERM`: no `CAP_SYS_ADMIN` in one of them.
/// The mount namespace takes the thread to that namespace's root directory.
pub fn enter(pidfd: BorrowedFd<'_>, namespaces: Namespaces) -> Result<()> {
    rustix::thread::move_into_thread_name_spaces(
        pidfd,
        ThreadNameSpaceType::from_bits_retain(namespaces.bits()),
    )
    .blame_with("setns(2)", || format!("{namespaces} namespaces"))
}

/// Moves the calling thread into one namespace by its descriptor, which must be of this one `kind`.
pub fn enter_one(namespace: BorrowedFd<'_>, kind: Namespaces) -> Result<()> {
    // The wrapper for pidfds makes the same call; the kernel looks what the descriptor is.
    rustix::thread::move_into_thread_name_spaces(
        namespace,
        ThreadNameSpaceType::from_bits_retain(kind.bits()),
    )
    .blame_with("setns(2)", || described(namespace))
}

/// Opens a namespace of a process (`pid` 0 is the calling one): exactly one kind.
pub fn open(pid: i32, kind: Namespaces) -> Result<OwnedFd> {
    let name = kind.to_string();
    let path = if pid == 0 { format!("/proc/self/ns/{name}") } else { format!("/proc/{pid}/ns/{name}") };
    rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).blame("open(2)", path)
}

/// Which kind of namespace a descriptor is. `ENOTTY`: none.
pub fn kind_of(namespace: BorrowedFd<'_>) -> Result<Namespaces> {
    sys::namespace_type(namespace).map(Namespaces)
}

/// Device and inode of a namespace, which identify it while anybody holds it.
pub fn identity(namespace: impl AsFd) -> Result<(u64, u64)> {
    let stat = rustix::fs::fstat(&namespace).blame_with("fstat(2)", || described(&namespace))?;
    Ok((stat.st_dev, stat.st_ino))
}

/// What a time namespace adds to the host's clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeOffsets {
    /// Seconds and nanoseconds (below 10⁹, counted upwards) added to `CLOCK_MONOTONIC`.
    pub monotonic: (i64, u32),
    /// The same for `CLOCK_BOOTTIME`, which uptime is.
    pub boottime: (i64, u32),
}

impl TimeOffsets {
    /// The offsets with which the clocks stand at `uptime` now: zero for a guest that starts.
    pub fn uptime_now(uptime: Duration) -> Self {
        Self { monotonic: offset(ClockId::Monotonic, uptime), boottime: offset(ClockId::Boottime, uptime) }
    }
}

fn offset(clock: ClockId, uptime: Duration) -> (i64, u32) {
    let now = clock_gettime(clock);
    let nanos = i64::from(uptime.subsec_nanos()) - now.tv_nsec;
    let secs = i64::try_from(uptime.as_secs()).unwrap_or(i64::MAX / 2) - now.tv_sec;
    let nanos_up = u32::try_from(nanos.rem_euclid(1_000_000_000)).expect("a remainder of 10⁹");
    (secs + nanos.div_euclid(1_000_000_000), nanos_up)
}

/// Sets the clocks of the time namespace that was [unshared](unshare) and is still empty.
///
/// `/proc/self/timens_offsets`, Linux 5.5. `EACCES`: a process lives in it already; `ERANGE`: a clock would become
/// negative.
#[doc(alias = "timens_offsets")]
pub fn set_time_offsets(offsets: &TimeOffsets) -> Result<()> {
    let path = "/proc/self/timens_offsets";
    let text = format!(
        "monotonic {} {}\nboottime {} {}\n",
        offsets.monotonic.0, offsets.monotonic.1, offsets.boottime.0, offsets.boottime.1
    );
    fs::write(path, text).blame("write(2)", path)
}

/// A range of ids of a user namespace: `count` ids from `inside` on are `outside` and following on the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdRange {
    /// First id as seen in the namespace.
    pub inside: u32,
    /// First id as seen outside of it.
    pub outside: u32,
    /// How many.
    pub count: u32,
}

/// Writes the id maps of the user namespace of process `pid`, which has none yet.
///
/// `user_namespaces(7)`. `EPERM`: they are written already, or no `CAP_SETUID` outside; `EINVAL`: ranges overlap or
/// there are more than 340.
#[doc(alias = "uid_map")]
pub fn write_id_maps(pid: i32, uid_map: &[IdRange], gid_map: &[IdRange]) -> Result<()> {
    for (file, map) in [("uid_map", uid_map), ("gid_map", gid_map)] {
        let path = format!("/proc/{pid}/{file}");
        let lines = map.iter().map(|r| format!("{} {} {}", r.inside, r.outside, r.count));
        let text = lines.collect::<Vec<_>>().join("\n");
        // One write: the kernel takes the whole map at once or not at all.
        fs::OpenOptions::new()
            .write(true)
            .open(&path)
            .and_then(|mut file| {
                use std::io::Write as _;
                match file.write(text.as_bytes())? {
                    n if n == text.len() => Ok(()),
                    _ => Err(std::io::Error::from(std::io::ErrorKind::WriteZero)),
                }
            })
            .map_err(|error| Fault::new("write(2)", path, error))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_is_the_sum_of_the_kinds() {
        assert_eq!(KINDS.iter().fold(Namespaces::NONE, |all, (_, kind)| all | *kind), Namespaces::ALL);
        assert_eq!(Namespaces::ALL.to_string(), "mnt,pid,net,uts,ipc,user,cgroup,time");
    }

    #[test]
    fn bits_are_those_of_libc() {
        for (kind, bit) in [
            (Namespaces::MOUNT, libc::CLONE_NEWNS),
            (Namespaces::PID, libc::CLONE_NEWPID),
            (Namespaces::NET, libc::CLONE_NEWNET),
            (Namespaces::UTS, libc::CLONE_NEWUTS),
            (Namespaces::IPC, libc::CLONE_NEWIPC),
            (Namespaces::USER, libc::CLONE_NEWUSER),
            (Namespaces::CGROUP, libc::CLONE_NEWCGROUP),
            (Namespaces::TIME, libc::CLONE_NEWTIME),
        ] {
            assert_eq!(kind.bits(), bit.cast_unsigned());
        }
    }

    #[test]
    fn names_read_back() {
        let set = Namespaces::MOUNT | Namespaces::TIME;
        let names: Vec<String> = Vec::from(set).into_iter().map(String::from).collect();
        assert_eq!(Namespaces::try_from(names), Ok(set));
        assert!(Namespaces::try_from(vec!["disk".to_owned()]).is_err());
    }

    #[test]
    fn an_offset_and_the_clock_give_the_uptime() {
        let before = clock_gettime(ClockId::Boottime);
        let offsets = TimeOffsets::uptime_now(Duration::from_millis(1500));
        let after = clock_gettime(ClockId::Boottime);
        let total = |t: rustix::time::Timespec| i128::from(t.tv_sec) * 1_000_000_000 + i128::from(t.tv_nsec);
        let offset = i128::from(offsets.boottime.0) * 1_000_000_000 + i128::from(offsets.boottime.1);
        assert!(total(before) + offset <= 1_500_000_000 && 1_500_000_000 <= total(after) + offset);
    }

    #[test]
    fn a_namespace_knows_its_kind_and_a_file_is_none() {
        let uts = open(0, Namespaces::UTS).unwrap();
        assert_eq!(kind_of(uts.as_fd()).unwrap(), Namespaces::UTS);
        let file = fs::File::open("/proc/self/stat").unwrap();
        assert!(kind_of(file.as_fd()).unwrap_err().is(libc::ENOTTY));
    }
}
