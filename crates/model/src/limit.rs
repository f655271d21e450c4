//! Limits: their values, and the two tables of resources.
//!
//! `ulimits/` hold the ordinary limits of each process ([`UlimitResource`], setrlimit(2)); `rlimits/` hold the limits
//! of the whole guest ([`RlimitResource`]).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::number::parse_c;

/// A limit's value, in the unit of its resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Limit {
    /// At most this many.
    Value(u64),
    /// No limit.
    Infinite,
}

/// A text that is no limit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    /// Not of the form of a limit.
    #[error("'{0}' is not a limit")]
    Syntax(String),
    /// The number with its suffix does not fit 64 bits.
    #[error("limit '{0}' does not fit 64 bits")]
    Overflow(String),
}

impl LimitError {
    /// What the administrator can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        Some(
            "write a number with at most one of the suffixes K M G T (times 1024) or k m g t (times 1000), or inf",
        )
    }
}

impl Limit {
    /// The limit as the kernel's `rlim_t`, where infinity is all ones.
    pub const fn as_raw(self) -> u64 {
        match self {
            Self::Infinite => u64::MAX,
            Self::Value(n) => n,
        }
    }

    /// The opposite of [`as_raw`](Self::as_raw).
    pub const fn from_raw(raw: u64) -> Self {
        if raw == u64::MAX { Self::Infinite } else { Self::Value(raw) }
    }

    /// The number, or `None` for no limit.
    pub const fn value(self) -> Option<u64> {
        match self {
            Self::Infinite => None,
            Self::Value(n) => Some(n),
        }
    }

    /// The limit in a smaller unit, for example pages to bytes. Saturates below infinity.
    #[must_use]
    pub const fn times(self, factor: u64) -> Self {
        match self {
            Self::Infinite => Self::Infinite,
            Self::Value(n) => Self::Value(match n.saturating_mul(factor) {
                u64::MAX => u64::MAX - 1,
                product => product,
            }),
        }
    }
}

/// The factor of a one-letter suffix. `K` and `M` binary, `k` and `m` decimal as in the original; the rest is ours.
const fn factor(suffix: u8) -> Option<u64> {
    Some(match suffix {
        b'K' => 1 << 10,
        b'M' => 1 << 20,
        b'G' => 1 << 30,
        b'T' => 1 << 40,
        b'k' => 1_000,
        b'm' => 1_000_000,
        b'g' => 1_000_000_000,
        b't' => 1_000_000_000_000,
        _ => return None,
    })
}

impl FromStr for Limit {
    type Err = LimitError;

    /// Reads the first line as the original did: leading blanks, then decimal, `0x` or `0` octal with at most one
    /// suffix, or `-1`, or anything that begins with `inf`. What follows the first newline is ignored; a blank before
    /// it is an error.
    fn from_str(text: &str) -> Result<Self, LimitError> {
        let line = text.split('\n').next().unwrap_or_default().trim_start_matches([' ', '\t']);
        if line.starts_with("inf") || line == "-1" {
            return Ok(Self::Infinite);
        }
        let syntax = || LimitError::Syntax(line.to_owned());
        // Hexadecimal has no letter that is also a suffix: K, M, G and T come after F.
        let (digits, factor) = match line.as_bytes().split_last() {
            Some((last, head)) if factor(*last).is_some() => {
                (&line[..head.len()], factor(*last).unwrap_or(1))
            }
            _ => (line, 1),
        };
        if !digits.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(syntax());
        }
        match parse_c(digits) {
            Some(n) => {
                n.checked_mul(factor).map(Self::from_raw).ok_or_else(|| LimitError::Overflow(line.to_owned()))
            }
            None if digits.len() >= 17 && digits.bytes().all(|b| b.is_ascii_digit()) => {
                Err(LimitError::Overflow(line.to_owned()))
            }
            None => Err(syntax()),
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Infinite => f.pad("inf"),
            Self::Value(n) => n.fmt(f),
        }
    }
}

/// Soft and hard limit of an ordinary resource (`ulimits/RES`, `.soft`, `.hard`); `None` leaves it as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitPair {
    /// What signals or refuses.
    pub soft: Option<Limit>,
    /// How far the soft limit may be raised.
    pub hard: Option<Limit>,
}

impl LimitPair {
    /// With the soft limit lowered to the hard one, where both are known.
    #[must_use]
    pub fn lowered(self) -> Self {
        match (self.soft, self.hard) {
            (Some(soft), Some(hard)) => Self { soft: Some(soft.min(hard)), ..self },
            _ => self,
        }
    }
}

/// Limits of the whole guest (`rlimits/RES`, `.min`, `.soft`, `.hard`); `None` leaves it as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitTriple {
    /// The guaranteed amount. Stored and shown; no kernel acted on it.
    pub min: Option<Limit>,
    /// What the guest is shown.
    pub soft: Option<Limit>,
    /// What is enforced.
    pub hard: Option<Limit>,
}

impl LimitTriple {
    /// One value for all three, as the file `RES` without an ending says it.
    pub const fn all(limit: Limit) -> Self {
        Self { min: Some(limit), soft: Some(limit), hard: Some(limit) }
    }

    /// These limits with those that `over` has put over them.
    #[must_use]
    pub fn overridden_by(self, over: Self) -> Self {
        Self { min: over.min.or(self.min), soft: over.soft.or(self.soft), hard: over.hard.or(self.hard) }
    }

    /// Whether nothing is set.
    pub const fn is_empty(&self) -> bool {
        self.min.is_none() && self.soft.is_none() && self.hard.is_none()
    }
}

/// What the number of a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// Pages of the host's page size.
    Pages,
    /// Seconds of processor time.
    Seconds,
    /// Things: processes, descriptors, locks.
    Count,
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Bytes => "bytes",
            Self::Pages => "pages",
            Self::Seconds => "seconds",
            Self::Count => "count",
        })
    }
}

/// A name that is no resource.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown resource '{0}'")]
pub struct UnknownResource(pub String);

/// A resource of setrlimit(2) that `ulimits/` can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UlimitResource {
    /// Size of a core file, bytes.
    Core,
    /// Processor time, seconds.
    Cpu,
    /// Data segment, bytes.
    Data,
    /// Size of a file, bytes.
    Fsize,
    /// File locks.
    Locks,
    /// Locked memory, bytes.
    Memlock,
    /// Open descriptors.
    Nofile,
    /// Processes of the user.
    Nproc,
    /// Resident memory, bytes; the kernel ignores it.
    Rss,
    /// Stack, bytes.
    Stack,
}

impl UlimitResource {
    /// All of them, in the order of their names.
    pub const ALL: [Self; 10] = [
        Self::Core,
        Self::Cpu,
        Self::Data,
        Self::Fsize,
        Self::Locks,
        Self::Memlock,
        Self::Nofile,
        Self::Nproc,
        Self::Rss,
        Self::Stack,
    ];

    /// The file's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Core => "core",
            Self::Cpu => "cpu",
            Self::Data => "data",
            Self::Fsize => "fsize",
            Self::Locks => "locks",
            Self::Memlock => "memlock",
            Self::Nofile => "nofile",
            Self::Nproc => "nproc",
            Self::Rss => "rss",
            Self::Stack => "stack",
        }
    }

    /// `RLIMIT_*` of `asm-generic/resource.h`, which x86, arm, riscv and most others use.
    pub const fn number(self) -> u32 {
        match self {
            Self::Cpu => 0,
            Self::Fsize => 1,
            Self::Data => 2,
            Self::Stack => 3,
            Self::Core => 4,
            Self::Rss => 5,
            Self::Nproc => 6,
            Self::Nofile => 7,
            Self::Memlock => 8,
            Self::Locks => 10,
        }
    }

    /// What its number counts.
    pub const fn unit(self) -> Unit {
        match self {
            Self::Cpu => Unit::Seconds,
            Self::Locks | Self::Nofile | Self::Nproc => Unit::Count,
            Self::Core | Self::Data | Self::Fsize | Self::Memlock | Self::Rss | Self::Stack => Unit::Bytes,
        }
    }
}

impl FromStr for UlimitResource {
    type Err = UnknownResource;

    fn from_str(name: &str) -> Result<Self, UnknownResource> {
        Self::ALL.into_iter().find(|r| r.name() == name).ok_or_else(|| UnknownResource(name.to_owned()))
    }
}

impl fmt::Display for UlimitResource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What kernels with the VServer patch did with a limit of the whole guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KernelSupport {
    /// None had it: `vlimit` prints a refusal and goes on.
    None,
    /// Soft and hard limit; newer ones leave it to the memory cgroup.
    SoftAndHard,
    /// The hard limit.
    Hard,
    /// The hard limit, only on older ones.
    OldHard,
    /// Counted, not limited.
    Counted,
}

/// A resource of a whole guest that `rlimits/` can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "RlimitResource::help() says it, once, for people and for the manual")]
pub enum RlimitResource {
    Cpu,
    Fsize,
    Data,
    Stack,
    Core,
    Rss,
    Nproc,
    Nofile,
    Memlock,
    As,
    Locks,
    Msgqueue,
    Nsock,
    Openfd,
    Anon,
    Shmem,
    Semary,
    Nsems,
    Dentry,
}

type RlimitRow = (RlimitResource, &'static str, u32, Unit, KernelSupport, &'static str);

/// One row a resource, in the order of the numbers.
const RLIMITS: [RlimitRow; 19] = {
    use KernelSupport::{Counted, Hard, None, OldHard, SoftAndHard};
    use RlimitResource as R;
    use Unit::{Bytes, Count, Pages, Seconds};
    [
        (R::Cpu, "cpu", 0, Seconds, None, "processor time"),
        (R::Fsize, "fsize", 1, Bytes, None, "size of a file"),
        (R::Data, "data", 2, Bytes, None, "data segment"),
        (R::Stack, "stack", 3, Bytes, None, "stack"),
        (R::Core, "core", 4, Bytes, None, "size of a core file"),
        (R::Rss, "rss", 5, Pages, SoftAndHard, "resident memory"),
        (R::Nproc, "nproc", 6, Count, Hard, "tasks: processes and threads"),
        (R::Nofile, "nofile", 7, Count, Hard, "open files in total"),
        (R::Memlock, "memlock", 8, Pages, OldHard, "locked memory"),
        (R::As, "as", 9, Pages, OldHard, "virtual address space"),
        (R::Locks, "locks", 10, Count, Hard, "file locks"),
        (R::Msgqueue, "msgqueue", 12, Bytes, Hard, "POSIX message queues"),
        (R::Nsock, "nsock", 16, Count, Hard, "sockets"),
        (R::Openfd, "openfd", 17, Count, Hard, "open descriptors"),
        (R::Anon, "anon", 18, Pages, OldHard, "anonymous memory"),
        (R::Shmem, "shmem", 19, Pages, OldHard, "shared memory"),
        (R::Semary, "semary", 20, Count, Counted, "System V semaphore sets"),
        (R::Nsems, "nsems", 21, Count, Counted, "System V semaphores"),
        (R::Dentry, "dentry", 22, Count, Hard, "directory cache entries"),
    ]
};

impl RlimitResource {
    /// All of them, in the order of their numbers.
    pub fn all() -> impl Iterator<Item = Self> {
        RLIMITS.iter().map(|row| row.0)
    }

    fn row(self) -> &'static RlimitRow {
        // The table is in the order of the variants; a test holds it to that.
        &RLIMITS[self as usize]
    }

    /// The resource of a number (`vlimit --5`), if it has one.
    pub fn from_number(number: u32) -> Option<Self> {
        RLIMITS.iter().find(|row| row.2 == number).map(|row| row.0)
    }

    /// The file's and option's name.
    pub fn name(self) -> &'static str {
        self.row().1
    }

    /// The number in the VServer system call, which is not the number of setrlimit(2) from 12 on.
    pub fn number(self) -> u32 {
        self.row().2
    }

    /// What its number counts.
    pub fn unit(self) -> Unit {
        self.row().3
    }

    /// What kernels with the VServer patch did with it.
    pub fn kernel_support(self) -> KernelSupport {
        self.row().4
    }

    /// What is limited, in a few words.
    pub fn help(self) -> &'static str {
        self.row().5
    }
}

impl FromStr for RlimitResource {
    type Err = UnknownResource;

    fn from_str(name: &str) -> Result<Self, UnknownResource> {
        RLIMITS
            .iter()
            .find(|row| row.1 == name)
            .map(|row| row.0)
            .ok_or_else(|| UnknownResource(name.to_owned()))
    }
}

impl fmt::Display for RlimitResource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Option<u64> {
        text.parse::<Limit>().ok().map(Limit::as_raw)
    }

    #[test]
    fn what_the_original_took() {
        for (text, value) in [
            ("0", 0),
            ("100", 100),
            ("100\n", 100),
            ("100\nanything", 100),
            ("0x10", 16),
            ("010", 8),
            (" \t7", 7),
            ("-1", u64::MAX),
            ("inf", u64::MAX),
            ("infinity", u64::MAX),
            ("inferno", u64::MAX),
            ("4K", 4096),
            ("2M", 2 << 20),
            ("4k", 4000),
            ("2m", 2_000_000),
            ("0x10K", 16 << 10),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(read(text), Some(value), "{text:?}");
        }
        for text in
            ["INF", "256MB", "1.5M", "", "\n", "5 ", "5 \n", "K", "-2", "-1K", "1KK", "08", "+5", "5x"]
        {
            assert!(matches!(text.parse::<Limit>(), Err(LimitError::Syntax(_))), "{text:?}");
        }
        assert_eq!("1G".parse(), Ok(Limit::Value(1 << 30)), "ours");
        assert_eq!("1g 2".parse::<Limit>(), Err(LimitError::Syntax("1g 2".to_owned())));
        assert_eq!(read("3T"), Some(3 << 40));
        assert_eq!(read("3t"), Some(3_000_000_000_000));
    }

    #[test]
    fn too_much() {
        for text in ["18446744073709551616", "17179869184G", "99999999T"] {
            assert!(matches!(text.parse::<Limit>(), Err(LimitError::Overflow(_))), "{text}");
        }
        assert_eq!(Limit::Value(u64::MAX / 2).times(4096), Limit::Value(u64::MAX - 1));
        assert_eq!(Limit::Infinite.times(4096), Limit::Infinite);
    }

    #[test]
    fn infinity_is_the_greatest() {
        assert!(Limit::Value(u64::MAX - 1) < Limit::Infinite);
        let pair = LimitPair { soft: Some(Limit::Infinite), hard: Some(Limit::Value(5)) };
        assert_eq!(pair.lowered().soft, Some(Limit::Value(5)));
    }

    #[test]
    fn overrides() {
        let all = LimitTriple::all(Limit::Value(7));
        let hard = LimitTriple { hard: Some(Limit::Infinite), ..LimitTriple::default() };
        let both = all.overridden_by(hard);
        assert_eq!(both, LimitTriple { hard: Some(Limit::Infinite), ..all });
        assert!(LimitTriple::default().is_empty() && !hard.is_empty());
    }

    #[test]
    fn tables_are_whole() {
        for (i, row) in RLIMITS.iter().enumerate() {
            assert_eq!(row.0 as usize, i, "{}", row.1);
            assert_eq!(row.1.parse(), Ok(row.0));
            assert_eq!(RlimitResource::from_number(row.2), Some(row.0));
        }
        assert_eq!(RlimitResource::Dentry.number(), 22);
        assert_eq!(RlimitResource::Rss.unit(), Unit::Pages);
        assert_eq!(RlimitResource::from_number(11), None);
        for resource in UlimitResource::ALL {
            assert_eq!(resource.name().parse(), Ok(resource));
            // Up to the locks both tables have the same numbers.
            assert_eq!(resource.name().parse::<RlimitResource>().unwrap().number(), resource.number());
        }
        assert_eq!("as".parse::<UlimitResource>(), Err(UnknownResource("as".to_owned())));
    }

    proptest! {
        #[test]
        fn print_and_read(raw: u64) {
            let limit = Limit::from_raw(raw);
            prop_assert_eq!(limit.to_string().parse::<Limit>(), Ok(limit));
        }

        #[test]
        fn no_text_panics(text in "[ 0-9a-zA-Z.-]{0,24}|.*") {
            if let Ok(limit) = text.parse::<Limit>() {
                prop_assert_eq!(limit.to_string().parse::<Limit>(), Ok(limit));
            }
        }
    }
}
