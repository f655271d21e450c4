//! Typed sets of the words of [`words`](crate::words): context flags and capabilities, network flags and
//! capabilities, and the namespaces that a guest may unshare.
//!
//! Each set starts as the `DEFAULT` of its type, the state of a guest without any such file, and takes the lists of
//! the guest's files with `apply`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::words::{Bits, CCAPS, CFLAGS, NCAPS, NFLAGS, UMASK, UnknownWord, WordTable, parse_list};

macro_rules! flag_set {
    (
        $(#[$doc:meta])* $type:ident of $table:ident, only cleared: $one_way:expr;
        $($name:ident = $bit:literal)*
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $type(pub u64);

        impl $type {
            $(#[doc = concat!("The word `", stringify!($name), "`, bit ", $bit, ".")]
            pub const $name: Self = Self(1 << $bit);)*

            /// No bit.
            pub const EMPTY: Self = Self(0);

            /// The words of this set.
            pub fn table() -> &'static WordTable {
                &$table
            }

            /// Whether it holds all of these.
            pub const fn contains(self, other: Self) -> bool {
                self.0 & other.0 == other.0
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

            /// Whether it holds none.
            pub const fn is_empty(self) -> bool {
                self.0 == 0
            }

            /// With a word list applied. State flags can only be cleared: setting them has no effect.
            #[must_use]
            pub const fn apply(self, bits: Bits) -> Self {
                let one_way: u64 = $one_way;
                let new = bits.apply_on(self.0);
                Self((new & !one_way) | (new & self.0 & one_way))
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&$table.print(self.0))
            }
        }

        impl FromStr for $type {
            type Err = UnknownWord;

            /// Reads a word list, starting from no bit.
            fn from_str(list: &str) -> Result<Self, UnknownWord> {
                parse_list(list, &$table).map(|bits| Self(bits.value))
            }
        }
    };
}

flag_set! {
    /// Context flags, files `cflags` and `flags`.
    ContextFlags of CFLAGS, only cleared: 7 << 32;
    LOCK = 0 NPROC = 2 PRIVATE = 3 FAKEINIT = 4 HIDEINFO = 5 ULIMIT = 6 NAMESPACE = 7 SCHED_HARD = 8 SCHED_PRIO = 9
    SCHED_PAUSE = 10 VIRT_MEM = 16 VIRT_UPTIME = 17 VIRT_CPU = 18 VIRT_LOAD = 19 VIRT_TIME = 20 HIDE_MOUNT = 24
    HIDE_NETIF = 25 HIDE_VINFO = 26 STATE_SETUP = 32 STATE_INIT = 33 STATE_ADMIN = 34 SC_HELPER = 36 REBOOT_KILL = 37
    PERSISTENT = 38 FORK_RSS = 48 PROLIFIC = 49 IGNEG_NICE = 52 IGNEG_IONICE = 53
}

flag_set! {
    /// Context capabilities, file `ccapabilities`.
    ContextCaps of CCAPS, only cleared: 0;
    SET_UTSNAME = 0 SET_RLIMIT = 1 FS_SECURITY = 2 FS_TRUSTED = 3 TIOCSTI = 4 RAW_ICMP = 8 SYSLOG = 12 OOM_ADJUST = 13
    AUDIT_CONTROL = 14 SECURE_MOUNT = 16 SECURE_REMOUNT = 17 BINARY_MOUNT = 18 DEV_MOUNT = 19 QUOTA_CTL = 20
    ADMIN_MAPPER = 21 ADMIN_CLOOP = 22 KTHREAD = 24 NAMESPACE = 25
}

flag_set! {
    /// Network context flags, file `nflags`.
    NetFlags of NFLAGS, only cleared: 5 << 32;
    LOCK = 0 PRIVATE = 3 SINGLE_IP = 8 LBACK_REMAP = 9 LBACK_ALLOW = 10 HIDE_NETIF = 25 HIDE_LBACK = 26
    STATE_SETUP = 32 STATE_ADMIN = 34 SC_HELPER = 36 PERSISTENT = 38
}

flag_set! {
    /// Network context capabilities, file `ncapabilities`.
    NetCaps of NCAPS, only cleared: 0;
    TUN_CREATE = 0 RAW_ICMP = 8 RAW_PACKET = 9 MULTICAST = 12
}

flag_set! {
    /// Kinds of namespaces by their clone(2) bits: what a guest may unshare (file `umask`), or has (`spaces/mask`).
    Unshare of UMASK, only cleared: 0;
    NEWTIME = 7 FS = 9 NEWNS = 17 NEWCGROUP = 25 NEWUTS = 26 NEWIPC = 27 NEWUSER = 28 NEWPID = 29 NEWNET = 30
}

/// The context flags of a guest without `cflags`: `fakeinit`, `virt_uptime`, `hide_netif`,
/// `sc_helper` and `state_admin`.
pub const DEFAULT_CFLAGS: ContextFlags = ContextFlags::FAKEINIT
    .with(ContextFlags::VIRT_UPTIME)
    .with(ContextFlags::HIDE_NETIF)
    .with(ContextFlags::SC_HELPER)
    .with(ContextFlags::STATE_ADMIN);

/// The context capabilities of a guest without `ccapabilities`: `set_utsname`, `raw_icmp` and
/// `audit_control`.
pub const DEFAULT_CCAPS: ContextCaps =
    ContextCaps::SET_UTSNAME.with(ContextCaps::RAW_ICMP).with(ContextCaps::AUDIT_CONTROL);

/// The network flags of a guest without `nflags`: an own loopback, nothing of others visible, any number of
/// addresses.
pub const DEFAULT_NFLAGS: NetFlags =
    NetFlags::HIDE_NETIF.with(NetFlags::LBACK_REMAP).with(NetFlags::HIDE_LBACK).with(NetFlags::STATE_ADMIN);

/// The network capabilities of a guest without `ncapabilities`: `raw_icmp`.
pub const DEFAULT_NCAPS: NetCaps = NetCaps::RAW_ICMP;

impl Default for ContextFlags {
    fn default() -> Self {
        DEFAULT_CFLAGS
    }
}

impl Default for ContextCaps {
    fn default() -> Self {
        DEFAULT_CCAPS
    }
}

impl Default for NetFlags {
    fn default() -> Self {
        DEFAULT_NFLAGS
    }
}

impl Default for NetCaps {
    fn default() -> Self {
        DEFAULT_NCAPS
    }
}

impl Default for Unshare {
    fn default() -> Self {
        Self::EMPTY
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_those_of_the_tables() {
        assert_eq!(DEFAULT_CFLAGS.0, CFLAGS.default_bits());
        assert_eq!(DEFAULT_CCAPS.0, 0x4101);
        assert_eq!(DEFAULT_CCAPS.0, CCAPS.default_bits());
        assert_eq!(DEFAULT_NFLAGS.0, NFLAGS.default_bits());
        assert_eq!(DEFAULT_NCAPS.0, 0x100);
        assert_eq!(DEFAULT_NCAPS.0, NCAPS.default_bits());
        assert_eq!(Unshare::default().0, UMASK.default_bits());
    }

    #[test]
    fn constants_agree_with_the_words() {
        assert_eq!(DEFAULT_CFLAGS.to_string(), "fakeinit,virt_uptime,hide_netif,state_admin,sc_helper",);
        assert_eq!(
            "igneg_nice,igneg_ionice".parse(),
            Ok(ContextFlags::IGNEG_NICE.with(ContextFlags::IGNEG_IONICE))
        );
        assert_eq!("quota_ctl,namespace".parse(), Ok(ContextCaps::QUOTA_CTL.with(ContextCaps::NAMESPACE)));
        assert_eq!("single_ip,persistent".parse(), Ok(NetFlags::SINGLE_IP.with(NetFlags::PERSISTENT)));
        assert_eq!("newtime,newnet".parse(), Ok(Unshare::NEWTIME.with(Unshare::NEWNET)));
    }

    #[test]
    fn state_flags_only_go() {
        let flags = |list| parse_list(list, &CFLAGS).unwrap();
        assert!(
            !ContextFlags::EMPTY.apply(flags("state_setup,virt_mem")).contains(ContextFlags::STATE_SETUP)
        );
        assert!(ContextFlags::EMPTY.apply(flags("all")).contains(ContextFlags::VIRT_MEM));
        assert!(!DEFAULT_CFLAGS.apply(flags("~state_admin")).contains(ContextFlags::STATE_ADMIN));
        assert!(DEFAULT_CFLAGS.apply(flags("state_admin")).contains(ContextFlags::STATE_ADMIN));
    }

    #[test]
    fn json_is_a_number() {
        assert_eq!(serde_json::to_string(&DEFAULT_CCAPS).unwrap(), "16641");
    }
}
