//! Resource limits of processes.

use serde::{Deserialize, Serialize};

use crate::{Fault, Result, sys};

/// No limit.
pub const UNLIMITED: u64 = u64::MAX;

/// A soft and a hard limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    /// What counts now; the process may move it up to the hard one.
    pub soft: u64,
    /// The most it can be.
    pub hard: u64,
}

/// A limited resource, numbered as in `<asm-generic/resource.h>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resource(u32);

const NAMES: [&str; 16] = [
    "cpu",
    "fsize",
    "data",
    "stack",
    "core",
    "rss",
    "nproc",
    "nofile",
    "memlock",
    "as",
    "locks",
    "sigpending",
    "msgqueue",
    "nice",
    "rtprio",
    "rttime",
];

impl Resource {
    /// `RLIMIT_NPROC`
    pub const NPROC: Self = Self(6);
    /// `RLIMIT_NOFILE`
    pub const NOFILE: Self = Self(7);
    /// `RLIMIT_MEMLOCK`
    pub const MEMLOCK: Self = Self(8);

    /// The resource of this name: `RLIMIT_NOFILE` is `nofile`.
    pub fn named(name: &str) -> Option<Self> {
        NAMES.iter().position(|known| *known == name).and_then(|n| u32::try_from(n).ok()).map(Self)
    }

    /// The resource with this kernel number, 0 to 15.
    pub fn numbered(number: u32) -> Option<Self> {
        (number < 16).then_some(Self(number))
    }

    /// Its name in lower case.
    pub fn name(self) -> &'static str {
        usize::try_from(self.0).ok().and_then(|n| NAMES.get(n)).copied().unwrap_or("unknown")
    }
}

fn named(resource: Resource, fault: Fault, pid: i32) -> Fault {
    let whose = if pid == 0 { String::new() } else { format!(" of process {pid}") };
    Fault { object: format!("limit {}{whose}", resource.name()), ..fault }
}

/// Sets a limit of a process; 0 is the calling one.
///
/// `EPERM`: raising a hard limit without `CAP_SYS_RESOURCE`; `EINVAL`: the soft limit is above the hard one.
#[doc(alias = "prlimit")]
pub fn set(pid: i32, resource: Resource, limit: Limit) -> Result<()> {
    sys::prlimit(pid, resource.0, Some((limit.soft, limit.hard)))
        .map(drop)
        .map_err(|fault| named(resource, fault, pid))
}

/// Reads a limit of a process; 0 is the calling one.
pub fn get(pid: i32, resource: Resource) -> Result<Limit> {
    sys::prlimit(pid, resource.0, None)
        .map(|(soft, hard)| Limit { soft, hard })
        .map_err(|fault| named(resource, fault, pid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_the_kernels_numbers() {
        let number = |name| Resource::named(name).unwrap().0;
        assert_eq!(number("nofile"), libc::RLIMIT_NOFILE);
        assert_eq!(number("nproc"), libc::RLIMIT_NPROC);
        assert_eq!(number("memlock"), libc::RLIMIT_MEMLOCK);
        assert_eq!(number("as"), libc::RLIMIT_AS);
        assert_eq!(number("rttime"), libc::RLIMIT_RTTIME);
        assert_eq!(Resource::named("disk"), None);
    }

    #[test]
    fn a_limit_is_set_and_read_of_another_process() {
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let pid = child.id().try_into().unwrap();
        let limit = Limit { soft: 17, hard: 33 };
        set(pid, Resource::NOFILE, limit).unwrap();
        assert_eq!(get(pid, Resource::NOFILE).unwrap(), limit);
        let above = set(pid, Resource::NOFILE, Limit { soft: 34, hard: 33 }).unwrap_err();
        assert_eq!(above.to_string(), format!("prlimit(2) limit nofile of process {pid}"));
        assert!(above.is(libc::EINVAL));
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
