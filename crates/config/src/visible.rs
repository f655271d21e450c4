//! Which entries of /proc a guest sees: the list that `vprocunhide` puts into force, as rules over names.
//!
//! One absolute path a line, with shell wildcards; a slash at its end means everything below as well; a prefix says
//! for whom; a later line overrides an earlier one. Processes, `self` and the links `mounts` and `net` are always
//! there. What shows the host's memory, log or secrets stays hidden unless the administrator's own list names it
//! with that very path (L11): a wildcard, or the shipped list, is not enough.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use vserver_model::Layout;

use crate::content::{number, trim};
use crate::defaults::Shipped;
use crate::files::Files;
use crate::finding::{Finding, Kind};

/// Entries that no wildcard and no shipped list shows to a guest.
pub const GUARDED: [&str; 11] = [
    "config.gz",
    "kallsyms",
    "kcore",
    "key-users",
    "keys",
    "kmsg",
    "latency_stats",
    "pagetypeinfo",
    "sysrq-trigger",
    "timer_list",
    "vmallocinfo",
];

/// Who wrote a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// We: it cannot name guarded entries.
    Shipped,
    /// The administrator.
    Administrator,
}

/// For whom an entry is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is one column of the prefix table")]
pub struct Visibility {
    /// The host.
    pub host: bool,
    /// The context that sees every guest.
    pub watch: bool,
    /// Guests.
    pub guest: bool,
    /// Guests may write to it, if it is a file that can be written to.
    pub writable: bool,
}

/// What a rule does to the visibility; `None` leaves it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Effect {
    host: Option<bool>,
    watch: Option<bool>,
    guest: Option<bool>,
    writable: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    /// Components below the root, with wildcards.
    pattern: Vec<Vec<u8>>,
    recursive: bool,
    effect: Effect,
}

/// A list in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VisibleList {
    rules: Vec<Rule>,
    origin: Origin,
}

/// The list in force on this site, and what is wrong with it: the administrator's, else the shipped one.
///
/// A list of the administrator that cannot be read hides everything it would have shown: that is safe, and said.
pub fn in_force(layout: &Layout) -> (VisibleList, Vec<Finding>) {
    let path = layout.defaults.join("apps/vprocunhide/files");
    let mut files = Files::default();
    if path.symlink_metadata().is_ok() {
        let content = files.whole(&path).unwrap_or_default();
        let list = VisibleList::parse(&path, &content, Origin::Administrator, &mut files.findings);
        return (list, files.findings);
    }
    let path = Shipped::VprocunhideFiles.file(layout).unwrap_or_else(|| "shipped vprocunhide-files".into());
    let content = Shipped::VprocunhideFiles.content(layout);
    let list = VisibleList::parse(&path, &content, Origin::Shipped, &mut files.findings);
    (list, files.findings)
}

impl VisibleList {
    /// Parses a list. A line that is no rule is reported and left out, which hides what it would have shown.
    pub fn parse(file: &Path, content: &[u8], origin: Origin, findings: &mut Vec<Finding>) -> Self {
        let mut rules = Vec::new();
        for (index, line) in content.split(|&b| b == b'\n').enumerate() {
            let line = trim(line);
            if line.is_empty() || line.starts_with(b"#") {
                continue;
            }
            match parse_rule(line) {
                Ok(rule) => rules.push(rule),
                Err(message) => findings.push(
                    Finding::error(Kind::Syntax, file, message)
                        .at(number(index))
                        .hint("a line is one of + - ~ : ! > or nothing, and an absolute path below /proc"),
                ),
            }
        }
        Self { rules, origin }
    }

    /// For whom an existing entry is there. The path is absolute; only those below `/proc` are ever hidden.
    pub fn visibility(&self, path: &Path) -> Visibility {
        let names: Vec<&[u8]> = path
            .as_os_str()
            .as_bytes()
            .split(|byte| *byte == b'/')
            .filter(|name| !name.is_empty() && *name != b".")
            .collect();
        let mut seen =
            Visibility { host: true, watch: true, guest: is_always_there(&names), writable: false };
        if seen.guest {
            return seen;
        }
        let mut by_name = false;
        for rule in self.rules.iter().filter(|rule| rule.matches(&names)) {
            let Effect { host, watch, guest, writable } = rule.effect;
            seen.host = host.unwrap_or(seen.host);
            seen.watch = watch.unwrap_or(seen.watch);
            seen.guest = guest.unwrap_or(seen.guest);
            seen.writable |= writable;
            by_name |= guest == Some(true) && rule.is_literal(&names);
        }
        if is_guarded(&names) && !(by_name && self.origin == Origin::Administrator) {
            seen.guest = false;
        }
        seen
    }

    /// Whether guests see an existing entry.
    pub fn shows(&self, path: &Path) -> bool {
        self.visibility(path).guest
    }

    /// What to mask, given the entries that exist: each hidden one, but nothing below a masked directory, and of a
    /// hidden directory that holds something visible only the hidden rest.
    pub fn masks<'a>(&self, existing: impl IntoIterator<Item = &'a Path>) -> Vec<PathBuf> {
        let existing: BTreeSet<&Path> = existing.into_iter().collect();
        let visible: Vec<&Path> = existing.iter().copied().filter(|path| self.shows(path)).collect();
        let mut masks: Vec<PathBuf> = Vec::new();
        // Parents come before their children in this order, so that a masked one is already known.
        for path in &existing {
            let holds_visible = || visible.iter().any(|seen| *seen != *path && seen.starts_with(path));
            if !self.shows(path) && !masks.iter().any(|mask| path.starts_with(mask)) && !holds_visible() {
                masks.push((*path).to_owned());
            }
        }
        masks
    }

    /// The directories that rules speak about the inside of: their entries must be among those given to
    /// [`VisibleList::masks`]. `/proc` itself is always one.
    pub fn directories(&self) -> BTreeSet<PathBuf> {
        let mut directories = BTreeSet::from([PathBuf::from("/proc")]);
        for rule in &self.rules {
            let literal = rule.pattern.iter().take_while(|part| !has_wildcard(part));
            let parent = literal.take(rule.pattern.len() - 1);
            let mut path = PathBuf::from("/");
            path.extend(parent.map(|part| OsStr::from_bytes(part)));
            if path.starts_with("/proc") {
                directories.insert(path);
            }
        }
        directories
    }
}

impl Rule {
    fn matches(&self, names: &[&[u8]]) -> bool {
        let long_enough = if self.recursive {
            names.len() >= self.pattern.len()
        } else {
            names.len() == self.pattern.len()
        };
        long_enough && self.pattern.iter().zip(names).all(|(pattern, name)| glob(pattern, name))
    }

    /// Whether the rule names exactly this path.
    fn is_literal(&self, names: &[&[u8]]) -> bool {
        self.pattern.len() == names.len()
            && self.pattern.iter().zip(names).all(|(pattern, name)| pattern == name)
    }
}

/// Processes, what leads to the own one, and links to below it.
fn is_always_there(names: &[&[u8]]) -> bool {
    match names {
        [b"proc", b"mounts" | b"net"] => true,
        [b"proc", name, ..] => {
            matches!(*name, b"self" | b"thread-self") || name.iter().all(u8::is_ascii_digit)
        }
        // /proc itself, and what is not below it.
        _ => true,
    }
}

fn is_guarded(names: &[&[u8]]) -> bool {
    matches!(names, [b"proc", name, ..] if GUARDED.iter().any(|guarded| guarded.as_bytes() == *name))
}

fn parse_rule(line: &[u8]) -> Result<Rule, String> {
    let (effect, path) = match line.split_first() {
        Some((b'+', rest)) => (Effect { guest: Some(true), ..Effect::default() }, rest),
        Some((b'-', rest)) => (Effect { host: Some(true), guest: Some(false), ..Effect::default() }, rest),
        Some((b'~', rest)) => {
            (Effect { host: Some(true), watch: Some(true), guest: Some(false), writable: false }, rest)
        }
        Some((b':', rest)) => (Effect { watch: Some(true), guest: Some(false), ..Effect::default() }, rest),
        Some((b'!', rest)) => (Effect { guest: Some(false), ..Effect::default() }, rest),
        Some((b'>', rest)) => (Effect { writable: true, ..Effect::default() }, rest),
        _ => (Effect { guest: Some(true), ..Effect::default() }, line),
    };
    let text = String::from_utf8_lossy(path);
    if !path.starts_with(b"/") {
        return Err(format!("'{text}' is not an absolute path"));
    }
    let pattern: Vec<Vec<u8>> = path
        .split(|&b| b == b'/')
        .filter(|part| !part.is_empty() && *part != b".")
        .map(<[u8]>::to_vec)
        .collect();
    if pattern.is_empty() || pattern.iter().any(|part| part == b".." || part.contains(&0)) {
        return Err(format!("'{text}' is not the path of an entry"));
    }
    if pattern[0] != b"proc" {
        return Err(format!("'{text}' is not below /proc"));
    }
    Ok(Rule { pattern, recursive: path.ends_with(b"/"), effect })
}

fn has_wildcard(part: &[u8]) -> bool {
    part.iter().any(|b| matches!(b, b'*' | b'?' | b'[' | b'\\'))
}

/// Shell wildcards over one component: `*`, `?`, `[a-z]`, `[!a-z]`, and `\` before a character that stands for
/// itself. Never takes more time than the product of both lengths.
fn glob(pattern: &[u8], name: &[u8]) -> bool {
    // Most patterns have no wildcard: most names differ at once.
    if let (Some(first), Some(other)) = (pattern.first(), name.first())
        && first != other
        && !matches!(first, b'*' | b'?' | b'[' | b'\\')
    {
        return false;
    }
    let (mut at, mut seen) = (0, 0);
    // Where to go back to when what follows the last star does not fit: one more character goes to the star.
    let mut star: Option<(usize, usize)> = None;
    while seen < name.len() {
        let one = match pattern.get(at) {
            Some(b'*') => {
                star = Some((at + 1, seen));
                at += 1;
                continue;
            }
            Some(b'?') => Some(1),
            Some(b'[') => set(&pattern[at..], name[seen]),
            Some(b'\\') if at + 1 < pattern.len() => (pattern[at + 1] == name[seen]).then_some(2),
            Some(&byte) => (byte == name[seen]).then_some(1),
            None => None,
        };
        match (one, star) {
            (Some(length), _) => {
                at += length;
                seen += 1;
            }
            (None, Some((after, taken))) => {
                at = after;
                seen = taken + 1;
                star = Some((after, taken + 1));
            }
            (None, None) => return false,
        }
    }
    pattern[at..].iter().all(|&b| b == b'*')
}

/// The length of a set `[…]` at the start of `pattern` if the byte is in it. Without its `]` it is a plain bracket.
fn set(pattern: &[u8], byte: u8) -> Option<usize> {
    let negated = matches!(pattern.get(1), Some(b'!' | b'^'));
    let first = if negated { 2 } else { 1 };
    // A bracket that comes first belongs to the set.
    let Some(end) = pattern.iter().skip(first + 1).position(|&b| b == b']').map(|at| at + first + 1) else {
        return (byte == b'[').then_some(1);
    };
    let mut members = &pattern[first..end];
    let mut inside = false;
    while let Some((&low, rest)) = members.split_first() {
        if let [b'-', high, after @ ..] = rest {
            inside |= (low..=*high).contains(&byte);
            members = after;
        } else {
            inside |= low == byte;
            members = rest;
        }
    }
    (inside != negated).then_some(end + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn list(text: &str) -> VisibleList {
        let mut findings = Vec::new();
        let list = VisibleList::parse(Path::new("/f"), text.as_bytes(), Origin::Administrator, &mut findings);
        assert_eq!(findings, []);
        list
    }

    fn shows(list: &VisibleList, path: &str) -> bool {
        list.shows(Path::new(path))
    }

    #[test]
    fn everything_is_hidden_but_processes() {
        let empty = list("");
        for hidden in ["/proc/uptime", "/proc/sys", "/proc/sys/kernel", "/proc/1x"] {
            assert!(!shows(&empty, hidden), "{hidden}");
        }
        for there in [
            "/proc",
            "/proc/1",
            "/proc/1/status",
            "/proc/self",
            "/proc/self/net/dev",
            "/proc/mounts",
            "/proc/net",
        ] {
            assert!(shows(&empty, there), "{there}");
        }
    }

    #[test]
    fn each_prefix_and_the_last_line_wins() {
        let of = |text: &str| {
            let seen = list(text).visibility(Path::new("/proc/x"));
            (seen.host, seen.watch, seen.guest, seen.writable)
        };
        assert_eq!(of("/proc/x"), (true, true, true, false));
        assert_eq!(of("+/proc/x\n>/proc/x"), (true, true, true, true));
        for hides in ["-", "~", ":", "!"] {
            assert_eq!(of(&format!("/proc/x\n{hides}/proc/x")), (true, true, false, false), "{hides}");
        }
        assert_eq!(of("!/proc/x\n# c\n\n  /proc/x  "), (true, true, true, false));
    }

    #[test]
    fn a_slash_at_the_end_means_everything_below() {
        let list = list("/proc/sys/\n!/proc/sys/dev/\n/proc/sys/dev/x\n/proc/tty\n");
        assert!(shows(&list, "/proc/sys") && shows(&list, "/proc/sys/kernel/ostype"));
        assert!(
            !shows(&list, "/proc/sys/dev")
                && !shows(&list, "/proc/sys/dev/y")
                && shows(&list, "/proc/sys/dev/x")
        );
        assert!(shows(&list, "/proc/tty") && !shows(&list, "/proc/tty/drivers"));
    }

    #[test]
    fn masks_are_the_fewest() {
        let list = list("/proc/sys/\n!/proc/sys/dev/\n/proc/stat\n/proc/bus/pci\n");
        let existing = [
            "/proc/bus",
            "/proc/bus/input",
            "/proc/bus/pci",
            "/proc/stat",
            "/proc/sys",
            "/proc/sys/dev",
            "/proc/sys/dev/cdrom",
            "/proc/sys/kernel",
            "/proc/scsi",
            "/proc/scsi/scsi",
            "/proc/1",
            "/proc/self",
        ];
        let masks = list.masks(existing.iter().map(Path::new));
        assert_eq!(masks, ["/proc/bus/input", "/proc/scsi", "/proc/sys/dev"].map(PathBuf::from));
        let directories: Vec<_> = list.directories().into_iter().collect();
        assert_eq!(directories, ["/proc", "/proc/bus", "/proc/sys"].map(PathBuf::from));
    }

    #[test]
    fn l11_guarded_entries_need_their_own_name_in_the_own_list() {
        assert!(shows(&list("/proc/kcore"), "/proc/kcore"));
        for not_enough in ["/proc/*", "/proc/", "/proc/kcor?", "/proc/kcore\n!/proc/kcore"] {
            assert!(!shows(&list(not_enough), "/proc/kcore"), "{not_enough}");
        }
        let shipped = VisibleList::parse(Path::new("/f"), b"/proc/kcore", Origin::Shipped, &mut Vec::new());
        assert!(!shows(&shipped, "/proc/kcore"));
        assert!(shows(&list("/proc/*"), "/proc/uptime"));
    }

    #[test]
    fn the_shipped_list_is_right() {
        let content = Shipped::VprocunhideFiles.built_in();
        let mut findings = Vec::new();
        let list = VisibleList::parse(Path::new("/f"), content.as_bytes(), Origin::Shipped, &mut findings);
        assert_eq!(findings, []);
        for there in [
            "cpuinfo",
            "crypto",
            "devices",
            "execdomains",
            "filesystems",
            "interrupts",
            "iomem",
            "ioports",
            "loadavg",
            "locks",
            "meminfo",
            "misc",
            "modules",
            "pci",
            "slabinfo",
            "stat",
            "swaps",
            "uptime",
            "version",
            "sysvipc",
            "sysvipc/shm",
            "tty",
            "tty/drivers",
            "sys",
            "sys/kernel/ostype",
            "net",
            "mounts",
        ] {
            assert!(shows(&list, &format!("/proc/{there}")), "{there}");
        }
        for hidden in [
            "cmdline",
            "kcore",
            "kmsg",
            "kallsyms",
            "sysrq-trigger",
            "config.gz",
            "scsi",
            "bus",
            "acpi",
            "partitions",
            "diskstats",
            "key-users",
            "timer_list",
            "sys/debug",
            "sys/dev",
            "sys/dev/cdrom",
        ] {
            assert!(!shows(&list, &format!("/proc/{hidden}")), "{hidden}");
        }
    }

    #[test]
    fn bad_lines_are_reported_with_their_number() {
        let mut findings = Vec::new();
        let text = b"proc/x\n/proc/ok\n/sys/x\n/proc/../etc\n+\n";
        let list = VisibleList::parse(Path::new("/f"), text, Origin::Administrator, &mut findings);
        assert_eq!(findings.iter().map(|finding| finding.line).collect::<Vec<_>>(), [1, 3, 4, 5]);
        assert!(shows(&list, "/proc/ok"));
    }

    #[test]
    fn wildcards() {
        for (pattern, name, wanted) in [
            ("*", "", true),
            ("nf_*", "nf_conntrack", true),
            ("*_*k", "nf_conntrack", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("[a-c]x", "bx", true),
            ("[!a-c]x", "bx", false),
            ("[]x]", "]", true),
            ("[", "[", true),
            ("[a", "[a", true),
            (r"\*", "*", true),
            (r"\*", "x", false),
            ("*a*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false),
        ] {
            assert_eq!(glob(pattern.as_bytes(), name.as_bytes()), wanted, "{pattern} {name}");
        }
    }

    proptest! {
        #[test]
        fn any_list_judges_any_path(text in proptest::collection::vec(any::<u8>(), 0..200), path in "/proc(/[a-z*\\[]{0,5}){0,4}") {
            let list = VisibleList::parse(Path::new("/f"), &text, Origin::Administrator, &mut Vec::new());
            let path = Path::new(&path);
            let hidden = !list.shows(path);
            prop_assert_eq!(list.masks([path]), if hidden { vec![path.to_owned()] } else { vec![] });
        }
    }
}
