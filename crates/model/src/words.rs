//! The word lists of flag and capability files: `NET_ADMIN,~MKNOD`, `all`, `^34`, `0x80`.
//!
//! One list is one line of a file or one option's value. [`parse_list`] turns it into [`Bits`]: which bits it sets
//! and which it clears. Bits that it does not mention keep the value that earlier lines, and before them the
//! defaults, gave them: [`Bits::then`] puts lists after one another, [`Bits::apply_on`] puts the result on the
//! defaults. The tables also feed the manual: every word has its help and its default here and nowhere else.
//!
//! Ours, beyond the original's grammar: whole words only (`a` was `all`), blanks after commas, the capabilities above
//! 33, `newcgroup`, `newtime` and the prefix `CLONE_`, and an error that names the file an unknown word belongs to.

use serde::{Deserialize, Serialize};

use crate::number::parse_c;

/// One word of a table.
#[derive(Debug, PartialEq, Eq)]
pub struct Word {
    /// The word as it is printed; read in any case.
    pub name: &'static str,
    /// Other words for the same bits.
    pub aliases: &'static [&'static str],
    /// Usually one bit.
    pub bits: u64,
    /// Whether a guest without the file has it.
    pub default: bool,
    /// One line for the manual.
    pub help: &'static str,
}

/// The words of one file.
#[derive(Debug, PartialEq, Eq)]
pub struct WordTable {
    /// What an unknown word is called: `bcap`, `ccap`, `flag` …
    pub kind: &'static str,
    /// The configuration file that holds such lists.
    pub file: &'static str,
    /// The optional prefix of each word.
    pub prefix: &'static str,
    /// In the order of the bits; sums of several bits last.
    pub entries: &'static [Word],
}

const fn word(name: &'static str, bit: u32, default: bool, help: &'static str) -> Word {
    Word { name, aliases: &[], bits: 1 << bit, default, help }
}

impl Word {
    const fn also(self, aliases: &'static [&'static str]) -> Self {
        Self { aliases, ..self }
    }

    fn is_called(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
            || self.aliases.iter().any(|alias| alias.eq_ignore_ascii_case(name))
    }
}

/// Whether a guest has it without being told.
const DEFAULT: bool = true;
/// The opposite.
const NOT: bool = false;

/// System capabilities, file `bcapabilities`: capabilities(7), with the kernel's bit numbers.
pub static BCAPS: WordTable = WordTable {
    kind: "bcap",
    file: "bcapabilities",
    prefix: "CAP_",
    entries: &[
        word("CHOWN", 0, DEFAULT, "change the owner of files"),
        word("DAC_OVERRIDE", 1, DEFAULT, "bypass the permission bits of files"),
        word("DAC_READ_SEARCH", 2, DEFAULT, "bypass the permission bits for reading and searching"),
        word("FOWNER", 3, DEFAULT, "act as the owner of any file"),
        word("FSETID", 4, DEFAULT, "keep the set-id bits of changed files"),
        word("KILL", 5, DEFAULT, "signal any process of the guest"),
        word("SETGID", 6, DEFAULT, "change group ids"),
        word("SETUID", 7, DEFAULT, "change user ids"),
        word("SETPCAP", 8, NOT, "change the bounding and inheritable capabilities"),
        word("LINUX_IMMUTABLE", 9, NOT, "set immutable and append-only attributes; breaks unification"),
        word("NET_BIND_SERVICE", 10, DEFAULT, "bind ports below 1024"),
        word("NET_BROADCAST", 11, NOT, "unused by the kernel"),
        word("NET_ADMIN", 12, NOT, "configure interfaces, routes and packet filters"),
        word(
            "NET_RAW",
            13,
            NOT,
            "raw sockets, and packet sockets in a network of its own (elsewhere: see ncapability raw_packet)",
        ),
        word("IPC_LOCK", 14, NOT, "lock memory beyond the limit"),
        word("IPC_OWNER", 15, NOT, "bypass the permissions of System V IPC"),
        word("SYS_MODULE", 16, NOT, "load kernel modules: gives the whole host away"),
        word("SYS_RAWIO", 17, NOT, "access I/O ports and /dev/mem: gives the whole host away"),
        word("SYS_CHROOT", 18, DEFAULT, "call chroot"),
        word("SYS_PTRACE", 19, DEFAULT, "trace processes of the guest"),
        word("SYS_PACCT", 20, NOT, "switch process accounting"),
        word("SYS_ADMIN", 21, NOT, "mount, set the host name, quotas and much more: nearly root on the host"),
        word("SYS_BOOT", 22, DEFAULT, "call reboot, which ends or restarts the guest, never the host"),
        word("SYS_NICE", 23, NOT, "raise priorities, use real-time scheduling"),
        word("SYS_RESOURCE", 24, NOT, "raise hard limits, exceed quotas"),
        word("SYS_TIME", 25, NOT, "set the clock"),
        word("SYS_TTY_CONFIG", 26, DEFAULT, "hang up and configure terminals"),
        word("MKNOD", 27, NOT, "create device nodes, within the device map"),
        word("LEASE", 28, DEFAULT, "take leases on files"),
        word("AUDIT_WRITE", 29, DEFAULT, "write messages to the audit log"),
        word("AUDIT_CONTROL", 30, NOT, "configure the audit system"),
        word("SETFCAP", 31, DEFAULT, "set capabilities on files"),
        word("MAC_OVERRIDE", 32, NOT, "override mandatory access control"),
        word("MAC_ADMIN", 33, NOT, "configure mandatory access control"),
        word("SYSLOG", 34, NOT, "read and configure the kernel log"),
        word("WAKE_ALARM", 35, NOT, "set timers that wake the machine"),
        word("BLOCK_SUSPEND", 36, NOT, "keep the machine from suspending"),
        word("AUDIT_READ", 37, NOT, "read the audit log"),
        word("PERFMON", 38, NOT, "performance monitoring"),
        word("BPF", 39, NOT, "load BPF programs"),
        word("CHECKPOINT_RESTORE", 40, NOT, "checkpoint and restore processes"),
    ],
};

/// Context capabilities, file `ccapabilities`: single operations that would need a larger system capability.
pub static CCAPS: WordTable = WordTable {
    kind: "ccap",
    file: "ccapabilities",
    prefix: "VXC_",
    entries: &[
        word("set_utsname", 0, DEFAULT, "set the host and domain name").also(&["utsname"]),
        word("set_rlimit", 1, NOT, "raise hard limits").also(&["rlimit"]),
        word("fs_security", 2, NOT, "write security.* extended attributes"),
        word("fs_trusted", 3, NOT, "write trusted.* extended attributes"),
        word("tiocsti", 4, NOT, "put characters into a terminal's input"),
        word("raw_icmp", 8, DEFAULT, "raw sockets for ICMP, so that ping works").also(&["icmp", "ping"]),
        word("syslog", 12, NOT, "use syslog(2) on an empty log of its own"),
        word("oom_adjust", 13, NOT, "lower the own out-of-memory score"),
        word("audit_control", 14, DEFAULT, "configure the audit system"),
        word("secure_mount", 16, NOT, "mount and unmount, always nodev").also(&["mount"]),
        word("secure_remount", 17, NOT, "remount").also(&["remount"]),
        word("binary_mount", 18, NOT, "mount with binary data: network filesystems"),
        word("dev_mount", 19, NOT, "mount filesystems on block devices"),
        word("quota_ctl", 20, NOT, "set quotas on the guest's quota device"),
        word("admin_mapper", 21, NOT, "control the device mapper"),
        word("admin_cloop", 22, NOT, "control loop devices"),
        word("kthread", 24, NOT, "have kernel threads started for the guest"),
        word("namespace", 25, NOT, "create and enter namespaces"),
    ],
};

/// Context flags, files `cflags` and `flags`.
///
/// `hide_netif` here acts on the network flag of the same name. Some words only have a history and do nothing today;
/// they are read so that old configurations start.
pub static CFLAGS: WordTable = WordTable {
    kind: "flag",
    file: "cflags",
    prefix: "VXF_",
    entries: &[
        word("lock", 0, NOT, "without effect; kept for old configurations").also(&["info_lock"]),
        word("nproc", 2, NOT, "the process limit of ulimits applies to the whole guest")
            .also(&["info_nproc"]),
        word("private", 3, NOT, "nobody can enter the guest, the host's root included")
            .also(&["info_private"]),
        word("fakeinit", 4, DEFAULT, "the guest's init is shown as process 1").also(&["info_init"]),
        word("hideinfo", 5, NOT, "vinfo shows only the context number").also(&["info_hideinfo"]),
        word("ulimit", 6, NOT, "without effect; kept for old configurations").also(&["info_ulimit"]),
        word("namespace", 7, NOT, "without effect; kept for old configurations")
            .also(&["info_namespace", "info_nspace"]),
        word("sched_hard", 8, NOT, "enforce the processor share of sched/"),
        word("sched_prio", 9, NOT, "the processor share of sched/ only biases the priority"),
        word("sched_pause", 10, NOT, "all processes of the guest are frozen"),
        word("virt_mem", 16, NOT, "show the guest's memory limit and use as the machine's"),
        word("virt_uptime", 17, DEFAULT, "count the uptime from the guest's start"),
        word("virt_cpu", 18, NOT, "show processor statistics of the guest alone"),
        word("virt_load", 19, NOT, "show a load average of the guest alone"),
        word("virt_time", 20, NOT, "an own clock: setting it changes only the guest's offset"),
        word("hide_mount", 24, NOT, "hide mounts outside the guest's root"),
        word("hide_netif", 25, DEFAULT, "hide interfaces and addresses of others; acts as the network flag"),
        word("hide_vinfo", 26, NOT, "hide the vinfo and ninfo files"),
        word("state_setup", 32, NOT, "the context is being built; can only be cleared"),
        word("state_init", 33, NOT, "no init is registered yet; can only be cleared"),
        word("state_admin", 34, DEFAULT, "the host may administer the context; can only be cleared"),
        word("sc_helper", 36, DEFAULT, "call the helper when the context starts and ends"),
        word("reboot_kill", 37, NOT, "kill all processes at once when the guest reboots or halts"),
        word("persistent", 38, NOT, "the context survives without processes"),
        word("fork_rss", 48, NOT, "check the memory limit when forking"),
        word("prolific", 49, NOT, "the guest may create contexts of its own"),
        word("igneg_nice", 52, NOT, "ignore attempts to raise the priority instead of refusing them"),
        word("igneg_ionice", 53, NOT, "the same for the I/O priority"),
        Word {
            name: "default",
            aliases: &[],
            bits: 0x10_0002_0000,
            default: false,
            help: "virt_uptime and sc_helper",
        },
        Word { name: "secure", aliases: &[], bits: 1 << 25, default: false, help: "hide_netif" },
    ],
};

/// Network context flags, file `nflags`.
pub static NFLAGS: WordTable = WordTable {
    kind: "flag",
    file: "nflags",
    prefix: "NXF_",
    entries: &[
        word("lock", 0, NOT, "without effect; kept for old configurations").also(&["info_lock"]),
        word("private", 3, NOT, "the network context cannot be entered from outside").also(&["info_private"]),
        word("single_ip", 8, NOT, "a bind to 0.0.0.0 becomes a bind to the guest's only address"),
        word("lback_remap", 9, DEFAULT, "127.0.0.1 is the guest's own loopback address")
            .also(&["remap_lback"]),
        word("lback_allow", 10, NOT, "the host's 127.0.0.0/8 may be used"),
        word("hide_netif", 25, DEFAULT, "hide interfaces and addresses that are not the guest's"),
        word("hide_lback", 26, DEFAULT, "the guest's loopback address is reported as 127.0.0.1"),
        word("state_setup", 32, NOT, "the network context is being built; can only be cleared"),
        word("state_admin", 34, DEFAULT, "the host may administer the network context; can only be cleared"),
        word("sc_helper", 36, NOT, "call the helper when the network context comes and goes"),
        word("persistent", 38, NOT, "the network context survives without processes"),
    ],
};

/// Network context capabilities, file `ncapabilities`.
pub static NCAPS: WordTable = WordTable {
    kind: "ncap",
    file: "ncapabilities",
    prefix: "NXC_",
    entries: &[
        word("tun_create", 0, NOT, "create and attach tun and tap devices of the own network context"),
        word("raw_icmp", 8, DEFAULT, "raw sockets for ICMP, so that ping works"),
        word(
            "raw_packet",
            9,
            NOT,
            "packet sockets for a classic guest with the capability NET_RAW: it hears and sends on the host's devices \
             whatever it likes",
        ),
        word("multicast", 12, NOT, "send and receive multicast"),
    ],
};

/// Namespaces that a guest may unshare, file `umask`; also the words of `spaces/mask`. Bits of clone(2).
pub static UMASK: WordTable = WordTable {
    kind: "namespace",
    file: "umask",
    prefix: "CLONE_",
    entries: &[
        word("newtime", 7, NOT, "an own boot and monotonic clock"),
        word("fs", 9, NOT, "an own root and working directory"),
        word("newns", 17, NOT, "own mounts"),
        word("newcgroup", 25, NOT, "an own cgroup root"),
        word("newuts", 26, NOT, "an own host name"),
        word("newipc", 27, NOT, "own System V IPC and POSIX message queues"),
        word("newuser", 28, NOT, "own users"),
        word("newpid", 29, NOT, "own process numbers"),
        word("newnet", 30, NOT, "an own network stack"),
    ],
};

/// All tables.
pub static TABLES: [&WordTable; 6] = [&BCAPS, &CCAPS, &CFLAGS, &NFLAGS, &NCAPS, &UMASK];

/// Which bits a list sets and which it clears.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Bits {
    /// The bits that are set; no bit that is not in the mask.
    pub value: u64,
    /// The bits that the list speaks of.
    pub mask: u64,
}

impl Bits {
    /// Sets these bits and leaves the others.
    pub const fn set(bits: u64) -> Self {
        Self { value: bits, mask: bits }
    }

    /// Clears these bits and leaves the others.
    pub const fn clear(bits: u64) -> Self {
        Self { value: 0, mask: bits }
    }

    /// What a set becomes: mentioned bits get their value, the others stay.
    pub const fn apply_on(self, old: u64) -> u64 {
        (old & !self.mask) | (self.value & self.mask)
    }

    /// This list, then a later one: where both speak of a bit, the later wins.
    #[must_use]
    pub const fn then(self, later: Self) -> Self {
        Self { value: later.apply_on(self.value), mask: self.mask | later.mask }
    }

    /// Whether the list speaks of no bit.
    pub const fn is_empty(self) -> bool {
        self.mask == 0
    }
}

impl FromIterator<Self> for Bits {
    /// Merges in order.
    fn from_iter<I: IntoIterator<Item = Self>>(lists: I) -> Self {
        lists.into_iter().fold(Self::default(), Self::then)
    }
}

/// A word that the table does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownWord {
    /// The table's kind: `bcap`, `flag` …
    pub kind: &'static str,
    /// The word as written, without its `~`; empty for a leading or double comma.
    pub word: String,
    /// The file that knows the word, when another one does.
    pub belongs_to: Option<&'static str>,
}

impl std::error::Error for UnknownWord {}

impl std::fmt::Display for UnknownWord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Unknown {} '{}'", self.kind, self.word)?;
        match self.belongs_to {
            Some(file) => write!(f, " (it belongs in the file {file})"),
            None => Ok(()),
        }
    }
}

impl UnknownWord {
    fn new(table: &WordTable, word: &str) -> Self {
        let others = TABLES.iter().filter(|other| !std::ptr::eq(**other, table));
        let mut owners = others.filter(|other| other.find(word).is_some());
        Self { kind: table.kind, word: word.to_owned(), belongs_to: owners.next().map(|other| other.file) }
    }

    /// What the administrator can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        if self.word.is_empty() {
            return Some("there is nothing in front of a comma");
        }
        if self.word.contains([' ', '\t']) {
            return Some("separate words with commas; comments need a line of their own");
        }
        match self.word.to_ascii_lowercase().as_str() {
            "a" | "al" | "an" => Some("write all if you mean every bit"),
            "n" | "no" | "non" => Some("write none if you mean no bit"),
            "sched" | "info_sched" => Some("use sched_hard or sched_prio, and the files in sched/"),
            "memlimit" => Some("use virt_mem and a memory limit in rlimits/ or cgroup/"),
            _ => None,
        }
    }
}

impl WordTable {
    /// The entry of a word in any case, with or without the prefix.
    pub fn find(&self, word: &str) -> Option<&Word> {
        let head = word.get(..self.prefix.len());
        let bare = match head {
            Some(head) if head.eq_ignore_ascii_case(self.prefix) => &word[self.prefix.len()..],
            _ => word,
        };
        self.entries.iter().find(|entry| entry.is_called(bare))
    }

    /// All bits that a guest has without the file.
    pub fn default_bits(&self) -> u64 {
        self.entries.iter().filter(|entry| entry.default).fold(0, |bits, entry| bits | entry.bits)
    }

    /// All bits that have a word.
    pub fn known_bits(&self) -> u64 {
        self.entries.iter().fold(0, |bits, entry| bits | entry.bits)
    }

    /// Prints a set of bits as the `--get` of the tools does: one word if it says the whole set, else the words from
    /// the lowest bit up, then `^N` for the bits without a word; nothing for no bit.
    pub fn print(&self, bits: u64) -> String {
        if let Some(entry) = self.entries.iter().find(|entry| entry.bits == bits) {
            return entry.name.to_owned();
        }
        let each = || (0..u64::BITS).filter(|bit| bits >> bit & 1 == 1);
        let entry_of = |bit: u32| self.entries.iter().find(|entry| entry.bits == 1 << bit);
        let named = each().filter_map(entry_of).map(|entry| entry.name.to_owned());
        let unnamed = each().filter(|bit| entry_of(*bit).is_none()).map(|bit| format!("^{bit}"));
        named.chain(unnamed).collect::<Vec<_>>().join(",")
    }

    /// Prints what a list sets and clears, so that [`parse_list`] reads the same bits: `NET_ADMIN,~MKNOD`.
    pub fn print_bits(&self, bits: Bits) -> String {
        let set = self.print(bits.value & bits.mask);
        let cleared = (0..u64::BITS).filter(|bit| (bits.mask & !bits.value) >> bit & 1 == 1);
        let cleared = cleared.map(|bit| format!("~{}", self.print(1 << bit)));
        let parts = [set].into_iter().filter(|set| !set.is_empty()).chain(cleared);
        parts.collect::<Vec<_>>().join(",")
    }

    /// The bits of one word without its negation.
    fn bits_of(&self, word: &str) -> Option<u64> {
        let lower = word.to_ascii_lowercase();
        if lower == "all" || lower == "any" {
            return Some(u64::MAX);
        }
        if lower == "none" {
            return Some(0);
        }
        self.find(word).map(|entry| entry.bits).or_else(|| numeric_bits(word))
    }
}

/// The bits of `^N` or of a raw mask.
pub(crate) fn numeric_bits(word: &str) -> Option<u64> {
    if let Some(number) = word.strip_prefix('^') {
        let bit = parse_c(number).and_then(|bit| u32::try_from(bit).ok())?;
        return 1_u64.checked_shl(bit);
    }
    match word.strip_prefix('-') {
        Some(positive) if positive.starts_with(|c: char| c.is_ascii_digit()) => {
            parse_c(positive).map(u64::wrapping_neg)
        }
        _ if word.starts_with(|c: char| c.is_ascii_digit()) => parse_c(word),
        _ => None,
    }
}

/// The words of a list. A comma may end it, but not begin it; blanks may follow a comma.
pub(crate) fn split_list(list: &str) -> impl Iterator<Item = &str> {
    let list = match list.rsplit_once(',') {
        Some((head, tail)) if tail.trim_start_matches([' ', '\t']).is_empty() => Some(head),
        _ if list.is_empty() => None,
        _ => Some(list),
    };
    list.into_iter().flat_map(|list| {
        list.split(',')
            .enumerate()
            .map(|(i, word)| if i == 0 { word } else { word.trim_start_matches([' ', '\t']) })
    })
}

/// Reads one list of words, left to right.
///
/// Each is `[~!]*WORD` with any number of negations (two cancel out), where WORD is one of the table's, in any case,
/// with or without its prefix; or `all`, `any`, `none`, `^N` for a bit number, or a number as a raw mask.
///
/// # Errors
/// [`UnknownWord`] for the first word that is none of these.
pub fn parse_list(list: &str, table: &WordTable) -> Result<Bits, UnknownWord> {
    let mut bits = Bits::default();
    for item in split_list(list) {
        let word = item.trim_start_matches(['~', '!']);
        let clears = (item.len() - word.len()) % 2 == 1;
        let named = table.bits_of(word).ok_or_else(|| UnknownWord::new(table, word))?;
        bits = bits.then(if clears { Bits::clear(named) } else { Bits::set(named) });
    }
    Ok(bits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bcaps(list: &str) -> Bits {
        parse_list(list, &BCAPS).unwrap_or_else(|e| panic!("{list}: {e}"))
    }

    fn error(list: &str, table: &WordTable) -> String {
        parse_list(list, table).unwrap_err().to_string()
    }

    #[test]
    fn what_the_original_took() {
        assert_eq!(bcaps("NET_ADMIN"), Bits::set(1 << 12));
        assert_eq!(bcaps("~NET_ADMIN"), Bits::clear(1 << 12));
        assert_eq!(bcaps("!NET_ADMIN"), Bits::clear(1 << 12));
        assert_eq!(bcaps("~~NET_ADMIN"), Bits::set(1 << 12));
        assert_eq!(bcaps("~!~NET_ADMIN"), Bits::clear(1 << 12));
        assert_eq!(bcaps("KILL,MKNOD,~KILL"), Bits { value: 1 << 27, mask: 1 << 27 | 1 << 5 });
        assert_eq!(bcaps("all"), Bits::set(u64::MAX));
        assert_eq!(bcaps("ANY"), Bits::set(u64::MAX));
        assert_eq!(bcaps("~all"), Bits::clear(u64::MAX));
        assert_eq!(bcaps("none"), Bits::default());
        assert_eq!(bcaps("KILL,none"), Bits::set(1 << 5));
        assert_eq!(bcaps("^34"), Bits::set(1 << 34));
        assert_eq!(bcaps("~^34"), Bits::clear(1 << 34));
        assert_eq!(bcaps("0x80"), Bits::set(0x80));
        assert_eq!(bcaps("010"), Bits::set(8));
        assert_eq!(bcaps("-1"), Bits::set(u64::MAX));
        assert_eq!(bcaps("128"), Bits::set(128));
        assert_eq!(bcaps("cap_net_admin"), bcaps("CAP_NET_ADMIN"));
        assert_eq!(bcaps("KILL,"), Bits::set(1 << 5));
        assert_eq!(bcaps(""), Bits::default());
        for wrong in [
            ",KILL",
            "KILL,,MKNOD",
            ",",
            "KILL,,",
            "CAP_CAP_KILL",
            "CAP_^5",
            "CAP_all",
            "CAP_5",
            "KILL ",
            " KILL",
            "KILL ,MKNOD",
            "^64",
            "^",
            "^-1",
            "08",
            "--1",
            "~",
            "NET_ADMIN # x",
            "QUOTACTL",
            "CONTEXT",
        ] {
            assert!(parse_list(wrong, &BCAPS).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn ours() {
        for abbreviation in ["a", "al", "an", "n", "no", "non"] {
            let unknown = parse_list(abbreviation, &BCAPS).unwrap_err();
            assert!(unknown.hint().is_some(), "{abbreviation}");
        }
        assert_eq!(bcaps("NET_ADMIN, NET_RAW"), Bits::set(3 << 12));
        assert_eq!(bcaps("KILL, "), Bits::set(1 << 5));
        assert_eq!(bcaps("CAP_SYSLOG,checkpoint_restore"), Bits::set(1 << 34 | 1 << 40));
        assert_eq!(parse_list("multicast", &NCAPS), Ok(Bits::set(1 << 12)));
        assert_eq!(parse_list("CLONE_NEWNS,newcgroup,newtime", &UMASK), Ok(Bits::set(0x202_0080)));
    }

    #[test]
    fn unknown_words_name_their_file() {
        assert_eq!(error("X", &BCAPS), "Unknown bcap 'X'");
        assert_eq!(error("~X", &CCAPS), "Unknown ccap 'X'");
        assert_eq!(error("sched", &CFLAGS), "Unknown flag 'sched'");
        assert_eq!(error("X", &NFLAGS), "Unknown flag 'X'");
        assert_eq!(error("X", &UMASK), "Unknown namespace 'X'");
        assert_eq!(error("hide_lback", &CFLAGS), "Unknown flag 'hide_lback' (it belongs in the file nflags)");
        assert_eq!(error("fakeinit", &BCAPS), "Unknown bcap 'fakeinit' (it belongs in the file cflags)");
        assert_eq!(error("VXC_secure_mount", &BCAPS).rsplit(' ').next(), Some("ccapabilities)"));
        assert_eq!(error(",KILL", &BCAPS), "Unknown bcap ''");
    }

    #[test]
    fn aliases_and_values_of_the_reference() {
        let one = |word, table| parse_list(word, table).unwrap().value;
        assert_eq!(one("mount", &CCAPS), 0x1_0000);
        assert_eq!(one("ping", &CCAPS), 0x100);
        assert_eq!(one("namespace", &CCAPS), 0x200_0000);
        assert_eq!(one("info_nspace", &CFLAGS), 0x80);
        assert_eq!(one("default", &CFLAGS), 0x10_0002_0000);
        assert_eq!(one("VXF_secure", &CFLAGS), 0x200_0000);
        assert_eq!(one("igneg_ionice", &CFLAGS), 1 << 53);
        assert_eq!(one("remap_lback", &NFLAGS), 0x200);
        assert_eq!(one("fs", &UMASK), 0x200);
        assert_eq!(one("newns", &UMASK), 0x2_0000);
        assert_eq!(one("newuts", &UMASK), 0x400_0000);
        assert_eq!(one("newipc", &UMASK), 0x800_0000);
        assert_eq!(one("newuser", &UMASK), 0x1000_0000);
        assert_eq!(one("newpid", &UMASK), 0x2000_0000);
        assert_eq!(one("newnet", &UMASK), 0x4000_0000);
    }

    #[test]
    fn printing() {
        assert_eq!(CFLAGS.print(0x10_0002_0000), "default");
        assert_eq!(CFLAGS.print(0x10_0002_0010), "fakeinit,virt_uptime,sc_helper");
        assert_eq!(CFLAGS.print(1 << 25), "hide_netif");
        assert_eq!(CFLAGS.print(0), "");
        assert_eq!(CFLAGS.print(0b1010), "private,^1");
        assert_eq!(UMASK.print(0x2_0200), "fs,newns");
        assert_eq!(
            BCAPS.print(0xb44c_04ff),
            "CHOWN,DAC_OVERRIDE,DAC_READ_SEARCH,FOWNER,FSETID,KILL,SETGID,SETUID,NET_BIND_SERVICE,SYS_CHROOT,\
             SYS_PTRACE,SYS_BOOT,SYS_TTY_CONFIG,LEASE,AUDIT_WRITE,SETFCAP"
        );
        assert_eq!(BCAPS.print_bits(bcaps("KILL,~MKNOD,~^50")), "KILL,~MKNOD,~^50");
    }

    #[test]
    fn tables_are_in_order_and_whole() {
        for table in TABLES {
            let mut names = std::collections::HashSet::new();
            for entry in table.entries {
                for name in [&[entry.name], entry.aliases].concat() {
                    assert!(names.insert(name.to_lowercase()), "{}: {name} twice", table.file);
                    assert_eq!(table.find(name).unwrap().bits, entry.bits);
                }
                assert!(!entry.help.is_empty() && !entry.help.ends_with('.'), "{}", entry.name);
            }
            let bits: Vec<_> = table
                .entries
                .iter()
                .filter(|e| !["default", "secure"].contains(&e.name))
                .map(|e| e.bits)
                .collect();
            assert!(bits.is_sorted() && bits.iter().all(|b| b.is_power_of_two()), "{}", table.file);
        }
    }

    fn any_table() -> impl Strategy<Value = &'static WordTable> {
        (0..TABLES.len()).prop_map(|i| TABLES[i])
    }

    proptest! {
        #[test]
        fn print_and_read(table in any_table(), value: u64, mask: u64) {
            prop_assert_eq!(parse_list(&table.print(value), table), Ok(Bits::set(value)));
            let bits = Bits { value: value & mask, mask };
            prop_assert_eq!(parse_list(&table.print_bits(bits), table), Ok(bits));
        }

        #[test]
        fn order_of_lists_is_order_of_application(a: (u64, u64), b: (u64, u64), old: u64) {
            let (a, b) = (Bits { value: a.0 & a.1, mask: a.1 }, Bits { value: b.0 & b.1, mask: b.1 });
            prop_assert_eq!(a.then(b).apply_on(old), b.apply_on(a.apply_on(old)));
        }

        #[test]
        fn no_text_panics(table in any_table(), list in "[~!^,a-cA-C0-9_ xé-]{0,20}|.*") {
            if let Ok(bits) = parse_list(&list, table) {
                prop_assert_eq!(bits.value & !bits.mask, 0);
            }
        }
    }
}
