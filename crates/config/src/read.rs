//! The tree below `/etc/vservers/NAME` to a [`Guest`].
//!
//! One function a topic, in the order of the configuration reference; each takes what it can and reports the rest.

mod apps;
mod netns;
mod network;
mod resources;
mod walk;

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use vserver_model::words::{BCAPS, CCAPS, CFLAGS, NCAPS, NFLAGS, UMASK};
use vserver_model::{
    Bits, CapSet, ContextFlags, GuestName, Layout, NetFlags, Personality, Sourced, UnknownWord, WordTable,
    parse_list,
};

use crate::defaults::Shipped;
use crate::files::{Files, LinkOr, Wrong};
use crate::finding::{Finding, Kind, Severity};
use crate::guest::{Guest, Space, Spaces, Switch, UserSpace, Uts, Words};
use crate::{fstab, hooks, typo};

/// What reading a configuration directory gave: a guest as far as it could be read, and everything that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The guest. A value that could not be read is missing in it, so it must not be started while there are errors;
    /// [`Reading::into_guest`] sees to that.
    pub guest: Guest,
    /// In the order of files and lines.
    pub findings: Vec<Finding>,
}

impl Reading {
    /// The guest, if nothing prevents its start.
    ///
    /// # Errors
    /// The errors, all of them and nothing else.
    pub fn into_guest(self) -> Result<Guest, Vec<Finding>> {
        if !self.has_errors() {
            return Ok(self.guest);
        }
        let mut errors = self.findings;
        errors.retain(|finding| finding.severity == Severity::Error);
        Err(errors)
    }

    /// Whether something prevents a start.
    pub fn has_errors(&self) -> bool {
        self.errors().next().is_some()
    }

    /// The findings that prevent a start.
    pub fn errors(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| finding.severity == Severity::Error)
    }

    /// The findings that a start prints and goes on.
    pub fn warnings(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| finding.severity == Severity::Warning)
    }
}

/// Reads a guest's configuration directory with the site's defaults. Does not stop at a mistake, changes nothing.
pub fn read(layout: &Layout, dir: &Path) -> Reading {
    let name = dir.file_name().and_then(|name| GuestName::new(name).ok());
    let mut reader = Reader { files: Files::default(), layout, dir };
    if !dir.is_dir() {
        reader.files.found(Finding::error(Kind::Missing, dir, "is not a directory"));
    }
    let name = name.unwrap_or_else(|| {
        reader.files.found(Finding::error(Kind::BadValue, dir, "its last part cannot be a guest's name"));
        GuestName::new("invalid").expect("a plain word is a name")
    });
    let guest = reader.guest(name);
    let mut findings = reader.files.findings;
    findings.sort();
    findings.dedup();
    Reading { guest, findings }
}

/// The hook scripts of a guest alone, as [`read`] finds them.
pub fn scripts(layout: &Layout, dir: &Path) -> crate::guest::Scripts {
    hooks::find(&mut Files::default(), dir, &layout.defaults)
}

/// What is wrong with the files in `.defaults`, of whichever guest.
pub(crate) fn walk_defaults(layout: &Layout) -> Vec<Finding> {
    let mut reader = Reader { files: Files::default(), layout, dir: &layout.defaults };
    if layout.defaults.exists() {
        reader.walk_dir(crate::table::Base::Defaults, &layout.defaults, Path::new(""), &mut Vec::new());
    }
    reader.files.findings
}

/// The readers with the two directories that they look in.
struct Reader<'a> {
    files: Files,
    layout: &'a Layout,
    dir: &'a Path,
}

impl Reader<'_> {
    /// A path below the guest's directory.
    fn cfg(&self, item: &str) -> PathBuf {
        self.dir.join(item)
    }

    /// A path below `.defaults`.
    fn def(&self, item: &str) -> PathBuf {
        self.layout.defaults.join(item)
    }

    fn has(&mut self, item: &str) -> Option<Sourced<()>> {
        let path = self.cfg(item);
        self.files.present(&path)
    }

    fn has_default(&mut self, item: &str) -> Option<Sourced<()>> {
        let path = self.def(item);
        self.files.present(&path)
    }

    fn scalar(&mut self, item: &str) -> Option<Sourced<OsString>> {
        let path = self.cfg(item);
        self.files.scalar(&path)
    }

    /// A scalar of a type that parses itself.
    fn parsed<T>(&mut self, item: &str, parse: impl FnOnce(&str) -> Result<T, Wrong>) -> Option<Sourced<T>> {
        let value = self.scalar(item);
        self.files.parsed(value, parse)
    }

    fn guest(&mut self, name: GuestName) -> Guest {
        let ulimits = self.ulimits();
        let rlimits = self.rlimits();
        let (fstab, fstab_remote, has_fstab) = self.fstabs();
        let cflags_file = if self.cfg("cflags").exists() { "cflags" } else { "flags" };
        let (cflags, nflags) =
            hide_netif_to_network(self.words(cflags_file, &CFLAGS), self.words("nflags", &NFLAGS));
        let spaces = self.spaces();
        let mut guest = Guest {
            display_name: self.scalar("name"),
            vdir: self.vdir(),
            cache: self.link("cache", LinkOr::Directory),
            run: self.run(),
            context: self.context(),
            ncontext: self.number("ncontext", |text| text.parse().map_err(|error| xid_wrong(&error))),
            noncontext: self.has("noncontext"),
            netshadow: self.has("netshadow"),
            tag: self.number("tag", |text| text.parse().map_err(|error| xid_wrong(&error))),
            bcapabilities: self.bcapabilities(spaces.user.is_some()),
            ccapabilities: self.words("ccapabilities", &CCAPS),
            fakeinit: fakeinit(&cflags),
            cflags,
            nflags,
            ncapabilities: self.words("ncapabilities", &NCAPS),
            umask: self.words("umask", &UMASK),
            personality: self.personality(),
            nice: self.nice(),
            ionice: self.ionice(),
            shell: self.shell(),
            badness: self.clamped("badness", -1000, 1000),
            keepfds: self.has("keepfds").or_else(|| self.has_default("keepfds")),
            noisy: self.has("noisy"),
            disabled: self.has("disabled"),
            namespace: self.namespace(),
            namespace_cleanup: self.switch("namespace-cleanup"),
            namespace_cleanup_skip: self.cleanup_skip(),
            spaces,
            uts: self.uts(),
            ulimits,
            rlimits,
            sysctl: self.sysctl(),
            fstab,
            fstab_remote,
            has_fstab,
            mtab: self.mtab(),
            interfaces: self.interfaces(),
            netns: self.netns(&name),
            cgroup: self.cgroup(),
            cpuset: self.cpuset(),
            sched: self.sched(),
            dlimits: self.dlimits(),
            vdevmap: self.vdevmap(),
            init: self.init(&name),
            vshelper: self.vshelper(),
            scripts: hooks::find(&mut self.files, self.dir, &self.layout.defaults),
            carried: Vec::new(),
            vlogin_disabled: self.has_default("apps/vlogin/disable").is_some(),
            name,
            dir: self.dir.to_owned(),
        };
        self.obsolete();
        guest.carried = self.walk();
        guest
    }

    fn link(&mut self, item: &str, otherwise: LinkOr) -> Option<Sourced<PathBuf>> {
        let path = self.cfg(item);
        self.files.link(&path, otherwise)
    }

    fn missing(&mut self, item: &str, message: impl Into<String>, hint: String) {
        let path = self.cfg(item);
        self.files.found(Finding::error(Kind::Missing, path, message).hint(hint));
    }

    fn vdir(&mut self) -> Option<Sourced<PathBuf>> {
        let vdir = self.link("vdir", LinkOr::Directory);
        match &vdir {
            Some(vdir) if !vdir.value.is_dir() => {
                let message = format!("the guest's root {} is not a directory", vdir.value.display());
                self.missing("vdir", message, "build the guest, or let the link lead to its tree".to_owned());
            }
            None if self.cfg("vdir").symlink_metadata().is_err() => {
                let hint =
                    format!("ln -s {}/NAME {}", self.layout.vdirbase.display(), self.cfg("vdir").display());
                self.missing("vdir", "does not exist: the guest has no root directory", hint);
            }
            _ => {}
        }
        vdir
    }

    fn run(&mut self) -> Option<Sourced<PathBuf>> {
        let run = self.link("run", LinkOr::Nothing);
        if run.is_none() && self.cfg("run").symlink_metadata().is_err() {
            let hint = format!("ln -s {}/NAME {}", self.layout.rundir.display(), self.cfg("run").display());
            self.missing("run", "does not exist: nothing would say whether the guest runs", hint);
        }
        run
    }

    /// The context number; its absence, an empty file included, is an error with the words that administrators know.
    fn context(&mut self) -> Option<Sourced<vserver_model::Xid>> {
        let path = self.cfg("context");
        let Some(text) = self.files.scalar(&path) else {
            // Anything but an absent or empty file has been reported already.
            if !self.files.findings.iter().any(|f| f.file == path && f.severity == Severity::Error) {
                let message = format!(
                    "Dynamic Context IDs are not supported, you must set Context ID in {} file",
                    path.display()
                );
                let hint =
                    format!("echo NUMBER > {}, from 2 to 32767, another one for each guest", path.display());
                self.missing("context", message, hint);
            }
            return None;
        };
        let xid = self.files.parsed(Some(text), |text| {
            text.parse::<vserver_model::Xid>().map_err(|error| xid_wrong(&error))
        })?;
        if !xid.value.is_recommended() {
            self.files.found(
                Finding::warning(
                    Kind::BadValue,
                    path,
                    format!("context number {} is above 32767", xid.value),
                )
                .at(1)
                .hint("numbers up to 32767 work everywhere"),
            );
        }
        Some(xid)
    }

    fn number<T>(&mut self, item: &str, parse: impl FnOnce(&str) -> Result<T, Wrong>) -> Option<Sourced<T>> {
        self.parsed(item, parse)
    }

    /// A word list file.
    fn words(&mut self, item: &str, table: &WordTable) -> Words {
        let path = self.cfg(item);
        let lines = self.files.lines(&path).unwrap_or_default();
        let lines = self.files.texts(lines);
        let mut bits = Bits::default();
        for line in &lines {
            match parse_list(&line.value, table) {
                Ok(more) => bits = bits.then(more),
                Err(error) => {
                    let hint =
                        error.hint().map_or_else(|| near_word(&error, table), |hint| Some(hint.to_owned()));
                    self.files.wrong(line, Kind::UnknownWord, Wrong { message: error.to_string(), hint });
                }
            }
        }
        Words { bits, lines }
    }

    fn bcapabilities(&mut self, shifted: bool) -> Words {
        let words = self.words("bcapabilities", &BCAPS);
        if !shifted {
            for line in &words.lines {
                let granted = parse_list(&line.value, &BCAPS).unwrap_or_default().value;
                for risk in [CapSet::SYS_MODULE, CapSet::SYS_RAWIO, CapSet::SYS_ADMIN] {
                    if granted & risk.0 != 0 && words.bits.value & risk.0 != 0 {
                        let message = format!("{} endangers the host", BCAPS.print(risk.0));
                        self.files.found(
                            Finding::warning(Kind::Dangerous, &line.file, message)
                                .at(line.line)
                                .hint("with spaces/user the guest can have it without harm"),
                        );
                    }
                }
            }
        }
        words
    }

    fn personality(&mut self) -> Option<Sourced<u64>> {
        let path = self.cfg("personality");
        let lines = self.files.lines(&path)?;
        let lines = self.files.texts(lines);
        let mut lines = lines.into_iter();
        let first = lines.next()?;
        let mut personality = Personality::default();
        match Personality::parse_type(&first.value) {
            Ok(domain) => personality = domain,
            Err(error) => {
                let hint = error.hint();
                self.files.wrong(&first, Kind::BadValue, Wrong::with_hint(&error, hint));
            }
        }
        for line in lines {
            match personality.with_flags(&line.value) {
                Ok(with) => personality = with,
                Err(error) => {
                    let hint = error.hint();
                    self.files.wrong(&line, Kind::UnknownWord, Wrong::with_hint(&error, hint));
                }
            }
        }
        Some(first.map(|_| personality.get()))
    }

    fn nice(&mut self) -> Option<Sourced<i32>> {
        self.clamped("nice", -20, 19)
    }

    /// An integer; outside its range it counts as the nearest end, as in the kernel, and a warning says so.
    fn clamped(&mut self, item: &str, least: i32, most: i32) -> Option<Sourced<i32>> {
        let value = self.parsed(item, integer::<i32>)?;
        let clamped = value.value.clamp(least, most);
        if clamped != value.value {
            self.files.found(
                Finding::warning(
                    Kind::BadValue,
                    &value.file,
                    format!("{} is outside {least} to {most}; {clamped} is used", value.value),
                )
                .at(value.line),
            );
        }
        Some(value.map(|_| clamped))
    }

    fn shell(&mut self) -> Option<Sourced<OsString>> {
        let paths = [self.cfg("shell"), self.def("shell")];
        self.files.first_scalar(&paths)
    }

    /// `X` of the guest turns on; `noX` of the guest or the site turns off; else on.
    fn switch(&mut self, item: &str) -> Switch {
        let off = format!("no{item}");
        if let Some(place) = self.has(item) {
            return Switch { on: true, place: Some(place.file) };
        }
        match self.has(&off).or_else(|| self.has_default(&off)) {
            Some(place) => Switch { on: false, place: Some(place.file) },
            None => Switch { on: true, place: None },
        }
    }

    fn namespace(&mut self) -> Switch {
        let namespace = self.switch("namespace");
        if let Switch { on: false, place: Some(place) } = &namespace {
            self.files.found(
                Finding::warning(
                    Kind::Unsupported,
                    place,
                    "the guest gets a mount namespace of its own all the same",
                )
                .hint("without one nothing would keep the guest in its root; remove the file"),
            );
        }
        namespace
    }

    fn cleanup_skip(&mut self) -> Vec<Sourced<PathBuf>> {
        let paths = [self.cfg("namespace-cleanup-skip"), self.def("namespace-cleanup-skip")];
        let Some(path) = self.files.first_existing(&paths) else { return Vec::new() };
        let items = self.files.array(path).unwrap_or_default();
        items.into_iter().map(|item| item.map(PathBuf::from)).collect()
    }

    fn spaces(&mut self) -> Spaces {
        Spaces {
            pid: self.space("spaces/pid"),
            net: self.space("spaces/net"),
            user: self.user_space(),
            mask: self.parsed("spaces/mask", |text| match parse_list(text, &UMASK) {
                Ok(bits) => Ok(bits.value),
                Err(error) => Err(Wrong::with_hint(&error, error.hint())),
            }),
        }
    }

    fn space(&mut self, item: &str) -> Option<Sourced<Space>> {
        let path = self.cfg(item);
        let value = self.files.scalar_or_empty(&path)?;
        Some(value.map(|text| match text.as_bytes() {
            b"" => Space::Own,
            b"0" => Space::Off,
            _ => Space::Of(text),
        }))
    }

    fn user_space(&mut self) -> Option<Sourced<UserSpace>> {
        let path = self.cfg("spaces/user");
        let value = self.files.scalar_or_empty(&path);
        self.files.parsed(value, user_space)
    }

    fn uts(&mut self) -> Uts {
        Uts {
            sysname: self.uts_field("uts/sysname"),
            nodename: self.uts_field("uts/nodename"),
            release: self.uts_field("uts/release"),
            version: self.uts_field("uts/version"),
            machine: self.uts_field("uts/machine"),
            domainname: self.uts_field("uts/domainname"),
        }
    }

    /// The whole file without its final newlines, at most 64 bytes (`__NEW_UTS_LEN`).
    fn uts_field(&mut self, item: &str) -> Option<Sourced<OsString>> {
        let path = self.cfg(item);
        let mut content = self.files.whole(&path)?;
        content.truncate(content.iter().rposition(|&b| b != b'\n').map_or(0, |at| at + 1));
        if content.is_empty() {
            return None;
        }
        let value = Sourced::new(OsString::from_vec(content), path, 1);
        let bytes = value.value.as_bytes();
        let wrong = if bytes.len() > 64 {
            Some("is longer than 64 bytes")
        } else if bytes.iter().any(|b| matches!(b, 0 | b'\n' | b'\r')) {
            Some("must be one line of text")
        } else {
            None
        };
        match wrong {
            Some(message) => {
                self.files.wrong(&value, Kind::BadValue, Wrong::new(message));
                None
            }
            None => Some(value),
        }
    }

    /// `fstab` and `fstab.local`, `fstab.remote`, and whether there is any of them.
    fn fstabs(&mut self) -> (Vec<Sourced<crate::FstabEntry>>, Vec<Sourced<crate::FstabEntry>>, bool) {
        let mut read = |item: &str, severity| {
            let path = self.cfg(item);
            let content = self.files.whole(&path)?;
            Some(fstab::parse(&path, &content, severity, &mut self.files.findings))
        };
        let main = read("fstab", Severity::Error);
        let local = read("fstab.local", Severity::Warning);
        let remote = read("fstab.remote", Severity::Warning);
        let any = main.is_some() || local.is_some() || remote.is_some();
        let mut entries = main.unwrap_or_default();
        entries.extend(local.unwrap_or_default());
        (entries, remote.unwrap_or_default(), any)
    }

    fn mtab(&mut self) -> Vec<u8> {
        let paths = [self.cfg("apps/init/mtab"), self.def("init/mtab")];
        let own = self.files.first_existing(&paths).and_then(|path| self.files.whole(path));
        own.unwrap_or_else(|| Shipped::Mtab.content(self.layout))
    }

    /// Items that other names took the place of.
    fn obsolete(&mut self) {
        for (item, new) in [
            ("fstab.local", "put its lines into fstab"),
            ("hostname", "use uts/nodename"),
            ("domainname", "use uts/domainname"),
            ("capabilities", "use bcapabilities"),
        ] {
            let path = self.cfg(item);
            let is_link = path.symlink_metadata().is_ok_and(|meta| meta.is_symlink());
            if path.exists() && !is_link {
                let message = if item == "fstab.local" { "is obsolete" } else { "is obsolete and not read" };
                self.files.found(Finding::warning(Kind::Obsolete, path, message).hint(new));
            }
        }
        if let Some(place) = self.has("legacy") {
            self.files.found(
                Finding::error(
                    Kind::Unsupported,
                    place.file,
                    "the legacy format of before 2003 is not supported",
                )
                .hint("build the guest again and copy its files"),
            );
        }
        let dlimits = self.cfg("dlimits");
        let has_cache = self.cfg("cache").symlink_metadata().is_ok_and(|meta| meta.is_symlink());
        if dlimits.is_dir() && !has_cache {
            self.files.found(
                Finding::warning(
                    Kind::Missing,
                    dlimits,
                    "disk limits need the link \"cache\", to keep what is used",
                )
                .hint(format!(
                    "ln -s {}/NAME {}",
                    self.layout.cachebase.display(),
                    self.cfg("cache").display()
                )),
            );
        }
    }
}

/// The word that an unknown one was likely meant to be.
fn near_word(error: &UnknownWord, table: &WordTable) -> Option<String> {
    if error.belongs_to.is_some() {
        return None;
    }
    let word = error.word.to_ascii_lowercase();
    let bare = word.strip_prefix(&table.prefix.to_ascii_lowercase()).unwrap_or(&word);
    let near = table.entries.iter().filter(|entry| typo::near(entry.name.as_ref(), bare.as_ref()));
    let nearest = near.min_by_key(|entry| typo::distance(entry.name.as_bytes(), bare.as_bytes()))?;
    Some(format!("did you mean {}?", nearest.name))
}

/// `hide_netif` of the context flags counts as the network flag of that name (F6), before the lines of `nflags`.
fn hide_netif_to_network(mut cflags: Words, mut nflags: Words) -> (Words, Words) {
    let only = ContextFlags::HIDE_NETIF.0;
    let moved = Bits { value: cflags.bits.value & only, mask: cflags.bits.mask & only };
    debug_assert_eq!(only, NetFlags::HIDE_NETIF.0, "the two flags have the same bit");
    cflags.bits = Bits { value: cflags.bits.value & !only, mask: cflags.bits.mask & !only };
    nflags.bits = moved.then(nflags.bits);
    (cflags, nflags)
}

/// The line whose word `fakeinit` selects init mode, unless a later one takes it back.
fn fakeinit(cflags: &Words) -> Option<Sourced<()>> {
    let bit = ContextFlags::FAKEINIT.0;
    let written = |line: &&Sourced<String>| {
        parse_list(&line.value, &CFLAGS).is_ok_and(|bits| bits.mask & bit != 0)
            && line.value.split(',').any(|word| word.trim() == "fakeinit")
    };
    let line = cflags.lines.iter().rev().find(written)?;
    (cflags.bits.value & bit != 0).then(|| Sourced::new((), &line.file, line.line))
}

fn xid_wrong(error: &vserver_model::xid::XidError) -> Wrong {
    Wrong::with_hint(error, error.hint())
}

/// A plain integer.
fn integer<T: FromStr>(text: &str) -> Result<T, Wrong> {
    text.parse().map_err(|_| Wrong::new(format!("'{text}' is not a number in range")))
}

pub(crate) fn user_space(text: &str) -> Result<UserSpace, Wrong> {
    let mut words = text.split_ascii_whitespace();
    let (first, count) = match (words.next(), words.next(), words.next()) {
        (None, ..) => return Ok(UserSpace::Default),
        (Some("0"), None, None) => return Ok(UserSpace::Off),
        (Some(first), count, None) => (integer::<u32>(first)?, count.map_or(Ok(65_536), integer::<u32>)?),
        _ => return Err(Wrong::new(format!("'{text}' is not FIRST or FIRST COUNT"))),
    };
    if first == 0 || count == 0 {
        return Err(Wrong::new(format!("'{text}' would give the guest the host's root, or nobody")));
    }
    // The last id of all means "no user" (user_namespaces(7)).
    if u64::from(first) + u64::from(count) > u64::from(u32::MAX) {
        return Err(Wrong::new(format!("the range '{text}' does not fit 32-bit user ids")));
    }
    Ok(UserSpace::Range { first, count })
}
