//! Sets of system capabilities.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::words::{BCAPS, Bits, UnknownWord, parse_list};

/// The kernel's number of the last capability that has a word here, `CAP_CHECKPOINT_RESTORE` (Linux 5.9).
pub const LAST_KNOWN: u32 = 40;

/// A set of capabilities, bit N for the kernel's capability number N (`linux/capability.h`).
///
/// Prints as the list of its words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CapSet(pub u64);

macro_rules! capabilities {
    ($($name:ident = $bit:literal)*) => {
        /// One constant a capability, its set of one.
        impl CapSet {
            $(#[doc = concat!("`CAP_", stringify!($name), "`, number ", $bit, ".")]
            pub const $name: Self = Self(1 << $bit);)*
        }
    };
}

capabilities! {
    CHOWN = 0 DAC_OVERRIDE = 1 DAC_READ_SEARCH = 2 FOWNER = 3 FSETID = 4 KILL = 5 SETGID = 6 SETUID = 7 SETPCAP = 8
    LINUX_IMMUTABLE = 9 NET_BIND_SERVICE = 10 NET_BROADCAST = 11 NET_ADMIN = 12 NET_RAW = 13 IPC_LOCK = 14
    IPC_OWNER = 15 SYS_MODULE = 16 SYS_RAWIO = 17 SYS_CHROOT = 18 SYS_PTRACE = 19 SYS_PACCT = 20 SYS_ADMIN = 21
    SYS_BOOT = 22 SYS_NICE = 23 SYS_RESOURCE = 24 SYS_TIME = 25 SYS_TTY_CONFIG = 26 MKNOD = 27 LEASE = 28
    AUDIT_WRITE = 29 AUDIT_CONTROL = 30 SETFCAP = 31 MAC_OVERRIDE = 32 MAC_ADMIN = 33 SYSLOG = 34 WAKE_ALARM = 35
    BLOCK_SUSPEND = 36 AUDIT_READ = 37 PERFMON = 38 BPF = 39 CHECKPOINT_RESTORE = 40
}

impl CapSet {
    /// No capability.
    pub const EMPTY: Self = Self(0);

    /// What a guest has that configures nothing: these sixteen and no other. (The original had everything above 31,
    /// too, by a sign extension.)
    pub const SECURE: Self = Self(
        Self::CHOWN.0
            | Self::DAC_OVERRIDE.0
            | Self::DAC_READ_SEARCH.0
            | Self::FOWNER.0
            | Self::FSETID.0
            | Self::KILL.0
            | Self::SETGID.0
            | Self::SETUID.0
            | Self::NET_BIND_SERVICE.0
            | Self::SYS_CHROOT.0
            | Self::SYS_PTRACE.0
            | Self::SYS_BOOT.0
            | Self::SYS_TTY_CONFIG.0
            | Self::LEASE.0
            | Self::AUDIT_WRITE.0
            | Self::SETFCAP.0,
    );

    /// Every capability that has a word.
    pub const KNOWN: Self = Self((1 << (LAST_KNOWN + 1)) - 1);

    /// Whether it holds all of these.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether it holds the capability of this number; no number above 63 is held.
    pub const fn has_number(self, number: u32) -> bool {
        number < u64::BITS && self.0 >> number & 1 == 1
    }

    /// With these added.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Without these.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Those that are in both.
    #[must_use]
    pub const fn intersect(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether it holds none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// With a word list applied.
    #[must_use]
    pub const fn apply(self, bits: Bits) -> Self {
        Self(bits.apply_on(self.0))
    }

    /// The kernel's numbers of its capabilities, rising.
    pub fn numbers(self) -> impl Iterator<Item = u32> {
        (0..u64::BITS).filter(move |number| self.has_number(*number))
    }
}

impl fmt::Display for CapSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&BCAPS.print(self.0))
    }
}

impl FromStr for CapSet {
    type Err = UnknownWord;

    /// Reads a word list, starting from no capability.
    fn from_str(list: &str) -> Result<Self, UnknownWord> {
        parse_list(list, &BCAPS).map(|bits| Self(bits.value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_secure_set_is_the_sixteen() {
        assert_eq!(CapSet::SECURE.0, 0xb44c_04ff);
        assert_eq!(CapSet::SECURE.numbers().count(), 16);
        assert_eq!(CapSet::SECURE.0, BCAPS.default_bits());
        assert_eq!(CapSet::KNOWN.0, BCAPS.known_bits());
    }

    #[test]
    fn constants_agree_with_the_words() {
        for (number, entry) in BCAPS.entries.iter().enumerate() {
            assert_eq!(entry.bits, 1 << number, "{}", entry.name);
        }
        let set = CapSet::NET_ADMIN.with(CapSet::CHECKPOINT_RESTORE).with(CapSet::SYS_TTY_CONFIG);
        assert_eq!(set.to_string(), "NET_ADMIN,SYS_TTY_CONFIG,CHECKPOINT_RESTORE");
        assert_eq!(set.to_string().parse(), Ok(set));
        assert_eq!(set.without(CapSet::NET_ADMIN).numbers().collect::<Vec<_>>(), [26, 40]);
    }

    #[test]
    fn lists_apply_to_the_default() {
        let set = CapSet::SECURE.apply(parse_list("NET_RAW,~SETFCAP", &BCAPS).unwrap());
        assert!(
            set.contains(CapSet::NET_RAW) && !set.contains(CapSet::SETFCAP) && set.contains(CapSet::CHOWN)
        );
    }
}
