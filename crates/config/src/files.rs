//! The readers: how a file's bytes become values, and what is said about files that cannot be read.
//!
//! Each reader is a method of [`Files`], which collects the findings. None of them stops at a mistake, hangs on a
//! fifo or trusts a size. They are named as in the configuration reference: *scalar* (first line), *lines* (trimmed,
//! with comments), *array* (every non-empty line as it is), *whole* (all bytes), *present* (only existence counts).

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use vserver_model::Sourced;
use vserver_model::name::is_skipped_entry;

use crate::content;
use crate::finding::{Finding, Kind};

/// No file that is read whole may be bigger: a value this long is a mistake, and memory is the host's.
pub const LARGEST: u64 = 1 << 20;

/// No directory of the configuration may hold more entries than this; the rest is not looked at.
const MOST_ENTRIES: usize = 100_000;

/// Why a text is not a value, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wrong {
    pub message: String,
    pub hint: Option<String>,
}

impl Wrong {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None }
    }

    pub(crate) fn with_hint(error: &impl std::fmt::Display, hint: Option<&'static str>) -> Self {
        Self { message: error.to_string(), hint: hint.map(str::to_owned) }
    }
}

/// A reader that remembers what it found wrong.
#[derive(Debug, Default)]
pub(crate) struct Files {
    pub findings: Vec<Finding>,
    /// The directories seen so far and their names: most items of most guests are not there, and one list of a
    /// directory says so of all of them.
    listed: HashMap<OsString, Listing>,
}

/// What is known of a directory.
#[derive(Debug)]
enum Listing {
    /// There is none, or something else.
    Absent,
    /// These are in it.
    Names(HashSet<OsString>),
    /// Too large, or it cannot be listed: ask for each.
    Unknown,
}

/// A directory with more entries than this is not worth a list.
const WORTH_LISTING: usize = 256;

impl Listing {
    fn of(dir: &Path) -> Self {
        let entries = match fs::read_dir(dir) {
            Ok(entries) => entries,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Self::Absent;
            }
            Err(_) => return Self::Unknown,
        };
        let mut names = HashSet::new();
        for entry in entries.take(WORTH_LISTING + 1) {
            let Ok(entry) = entry else { return Self::Unknown };
            names.insert(entry.file_name());
        }
        if names.len() > WORTH_LISTING { Self::Unknown } else { Self::Names(names) }
    }
}

impl Files {
    /// Whether nothing of this name is there, not even a dangling link.
    fn is_absent(&mut self, path: &Path) -> bool {
        let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else { return false };
        // By its bytes: a path would be taken apart each time.
        if !self.listed.contains_key(dir.as_os_str()) {
            self.listed.insert(dir.as_os_str().to_owned(), Listing::of(dir));
        }
        match self.listed.get(dir.as_os_str()) {
            Some(Listing::Absent) => true,
            Some(Listing::Names(names)) => !names.contains(name),
            Some(Listing::Unknown) | None => false,
        }
    }

    /// The first of several paths that exists (a dangling link does not).
    pub(crate) fn first_existing<'p>(&mut self, paths: &'p [PathBuf]) -> Option<&'p PathBuf> {
        paths.iter().find(|path| !self.is_absent(path) && path.exists())
    }

    pub(crate) fn found(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    /// An error at the place of a value.
    pub(crate) fn wrong<T>(&mut self, place: &Sourced<T>, kind: Kind, wrong: Wrong) {
        let mut finding = Finding::error(kind, &place.file, wrong.message).at(place.line);
        finding.hint = wrong.hint;
        self.findings.push(finding);
    }

    /// *Present*: whether the file (or directory) is there, a link's target too.
    pub(crate) fn present(&mut self, path: &Path) -> Option<Sourced<()>> {
        if self.is_absent(path) {
            return None;
        }
        match fs::metadata(path) {
            Ok(_) => Some(Sourced::new((), path, 1)),
            Err(error) => {
                self.absent_or_report(path, &error);
                None
            }
        }
    }

    /// *Whole*: all bytes of a regular file. `None`: absent, or reported.
    pub(crate) fn whole(&mut self, path: &Path) -> Option<Vec<u8>> {
        if self.is_absent(path) {
            return None;
        }
        match open_regular(path) {
            Ok(content) => Some(content),
            Err(Refused::Io(error)) => {
                self.absent_or_report(path, &error);
                None
            }
            Err(Refused::Kind(what)) => {
                self.found(
                    Finding::error(Kind::NotAFile, path, format!("is {what}, not a regular file"))
                        .hint("the item must be a file with its value in it"),
                );
                None
            }
            Err(Refused::Size) => {
                self.found(Finding::error(Kind::TooLarge, path, format!("is larger than {LARGEST} bytes")));
                None
            }
        }
    }

    /// An absent file is no finding, a dangling link a warning, anything else an error.
    fn absent_or_report(&mut self, path: &Path, error: &io::Error) {
        let finding = match error.kind() {
            io::ErrorKind::NotFound => match fs::symlink_metadata(path) {
                Ok(_) => dangling(path),
                Err(_) => return,
            },
            // A file stands where the directory should be: that file is reported by the walk.
            io::ErrorKind::NotADirectory => return,
            _ => Finding::error(Kind::Unreadable, path, format!("cannot be read: {}", reason(error)))
                .hint("run as root"),
        };
        self.found(finding);
    }

    /// *Scalar*: the first line without blanks around it. `None`: absent, empty or reported.
    pub(crate) fn scalar(&mut self, path: &Path) -> Option<Sourced<OsString>> {
        self.scalar_or_empty(path).filter(|s| !s.value.is_empty())
    }

    /// As [`Files::scalar`], for the items where an empty file means something.
    pub(crate) fn scalar_or_empty(&mut self, path: &Path) -> Option<Sourced<OsString>> {
        let content = self.whole(path)?;
        content::scalar(path, &content, &mut self.findings)
    }

    /// *Scalar* in the first of several files that exists, even if that one is empty.
    pub(crate) fn first_scalar(&mut self, paths: &[PathBuf]) -> Option<Sourced<OsString>> {
        let path = self.first_existing(paths)?;
        self.scalar(path)
    }

    /// *Lines*: trimmed, without blank lines and comments. `None`: absent or reported.
    pub(crate) fn lines(&mut self, path: &Path) -> Option<Vec<Sourced<OsString>>> {
        let content = self.whole(path)?;
        Some(content::lines(path, &content, &mut self.findings))
    }

    /// *Array*: every line that is not empty, as it is. `None`: absent or reported.
    pub(crate) fn array(&mut self, path: &Path) -> Option<Vec<Sourced<OsString>>> {
        let content = self.whole(path)?;
        Some(content::array(path, &content, &mut self.findings))
    }

    /// A scalar that must be text of a type.
    pub(crate) fn parsed<T>(
        &mut self,
        value: Option<Sourced<OsString>>,
        parse: impl FnOnce(&str) -> Result<T, Wrong>,
    ) -> Option<Sourced<T>> {
        let value = value?;
        let Some(text) = value.value.to_str() else {
            self.wrong(&value, Kind::Binary, Wrong::new("is not UTF-8 text"));
            return None;
        };
        match parse(text) {
            Ok(parsed) => Some(value.map(|_| parsed)),
            Err(wrong) => {
                self.wrong(&value, Kind::BadValue, wrong);
                None
            }
        }
    }

    /// Lines that must be text.
    pub(crate) fn texts(&mut self, lines: Vec<Sourced<OsString>>) -> Vec<Sourced<String>> {
        let mut texts = Vec::with_capacity(lines.len());
        for line in lines {
            match line.value.to_str() {
                Some(text) => texts.push(Sourced::new(text.to_owned(), line.file, line.line)),
                None => self.wrong(&line, Kind::Binary, Wrong::new("is not UTF-8 text")),
            }
        }
        texts
    }

    /// The names in a directory in byte order, without those that every directory list skips. Empty: absent or
    /// reported.
    pub(crate) fn names(&mut self, dir: &Path) -> Vec<OsString> {
        let mut names = self.all_names(dir);
        names.retain(|name| !is_skipped_entry(name));
        names
    }

    /// The names in a directory in byte order, all of them.
    pub(crate) fn all_names(&mut self, dir: &Path) -> Vec<OsString> {
        if self.is_absent(dir) {
            return Vec::new();
        }
        let entries = match fs::read_dir(dir) {
            Ok(entries) => entries,
            Err(error) => {
                self.absent_or_report(dir, &error);
                return Vec::new();
            }
        };
        let mut names = Vec::new();
        for entry in entries {
            match entry {
                Ok(entry) if names.len() < MOST_ENTRIES => names.push(entry.file_name()),
                Ok(_) => {
                    self.found(Finding::error(Kind::TooLarge, dir, "has too many entries"));
                    break;
                }
                Err(error) => {
                    let message = format!("cannot be listed: {}", reason(&error));
                    self.found(Finding::error(Kind::Unreadable, dir, message));
                    break;
                }
            }
        }
        names.sort_unstable();
        names
    }

    /// The sub-directories of a directory list, in byte order.
    pub(crate) fn subdirs(&mut self, dir: &Path) -> Vec<PathBuf> {
        self.names(dir).into_iter().map(|name| dir.join(name)).filter(|path| path.is_dir()).collect()
    }

    /// The text of a symbolic link made absolute, without looking whether its target exists.
    ///
    /// `None`: absent, reported, or (for [`LinkOr::Directory`] the path itself) not a link.
    pub(crate) fn link(&mut self, path: &Path, otherwise: LinkOr) -> Option<Sourced<PathBuf>> {
        if self.is_absent(path) {
            return None;
        }
        match fs::read_link(path) {
            Ok(target) => Some(Sourced::new(absolute(path, &target), path, 1)),
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => match otherwise {
                LinkOr::Directory if path.is_dir() => Some(Sourced::new(path.to_owned(), path, 1)),
                LinkOr::Any => Some(Sourced::new(path.to_owned(), path, 1)),
                LinkOr::Directory | LinkOr::Nothing => {
                    self.found(
                        Finding::error(Kind::BadValue, path, "is not a symbolic link")
                            .hint("make it a link to the place it stands for"),
                    );
                    None
                }
            },
            Err(error) => {
                self.absent_or_report(path, &error);
                None
            }
        }
    }
}

/// What may stand where a link should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LinkOr {
    /// A directory of its own.
    Directory,
    /// Anything of its own.
    Any,
    /// Nothing: it must be a link.
    Nothing,
}

/// A link's text relative to the directory it stands in, with `.` and `..` taken out of it word by word.
///
/// Only the `..` of the link's own text are folded, against the directory that holds the link, because the place it
/// leads to need not exist yet. Where that directory is itself reached by a link, the system would go elsewhere; the
/// base directory is made canonical first for that reason, if it can be.
fn absolute(link: &Path, target: &Path) -> PathBuf {
    if target.is_absolute() {
        return target.to_owned();
    }
    let dir = link.parent().unwrap_or(Path::new("/"));
    let mut at = PathBuf::from(dir);
    for part in target.components() {
        match part {
            std::path::Component::ParentDir => {
                if let Ok(real) = fs::canonicalize(&at) {
                    at = real;
                }
                at.pop();
            }
            std::path::Component::Normal(name) => at.push(name),
            std::path::Component::RootDir
            | std::path::Component::CurDir
            | std::path::Component::Prefix(_) => {}
        }
    }
    at
}

/// An error's reason in words, without the number that the standard library adds.
pub(crate) fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error") {
        Some(at) => text[..at].to_owned(),
        None => text,
    }
}

pub(crate) fn dangling(path: &Path) -> Finding {
    let target = fs::read_link(path).unwrap_or_default();
    Finding::warning(
        Kind::DanglingLink,
        path,
        format!("is a link to {}, which does not exist", target.display()),
    )
}

/// Why a file was not read.
#[derive(Debug)]
pub(crate) enum Refused {
    Io(io::Error),
    Kind(&'static str),
    Size,
}

/// Reads a regular file of sensible size.
///
/// The kind is asked for before opening (opening a tape rewinds it, opening a fifo may wake a writer) and again of
/// what was opened, in case it changed between; `O_NONBLOCK` keeps a fifo that slipped through from hanging us.
pub(crate) fn open_regular(path: &Path) -> Result<Vec<u8>, Refused> {
    let kind =
        |meta: &fs::Metadata| kind_in_words(meta.file_type()).map_or(Ok(()), |k| Err(Refused::Kind(k)));
    kind(&fs::metadata(path).map_err(Refused::Io)?)?;
    let flags = OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let flags = i32::try_from(flags.bits()).expect("open flags fit an int");
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(Refused::Io)?;
    let meta = file.metadata().map_err(Refused::Io)?;
    kind(&meta)?;
    if meta.len() > LARGEST {
        return Err(Refused::Size);
    }
    let mut content = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut content).map_err(Refused::Io)?;
    if content.len() as u64 > LARGEST { Err(Refused::Size) } else { Ok(content) }
}

/// What a file is when it is not a regular one.
pub(crate) fn kind_in_words(kind: fs::FileType) -> Option<&'static str> {
    use std::os::unix::fs::FileTypeExt as _;
    if kind.is_file() {
        None
    } else if kind.is_dir() {
        Some("a directory")
    } else if kind.is_fifo() {
        Some("a fifo")
    } else if kind.is_socket() {
        Some("a socket")
    } else if kind.is_char_device() || kind.is_block_device() {
        Some("a device")
    } else {
        Some("no ordinary file")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Severity;

    fn with(content: &[u8]) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("item");
        fs::write(&path, content).expect("writes");
        (dir, path)
    }

    fn scalar(content: &[u8]) -> Option<OsString> {
        let (_dir, path) = with(content);
        let mut files = Files::default();
        let value = files.scalar(&path);
        assert_eq!(files.findings, []);
        value.map(|s| s.value)
    }

    #[test]
    fn a_scalar_is_the_trimmed_first_line() {
        assert_eq!(scalar(b" \t42 \t\nrest\n"), Some("42".into()));
        assert_eq!(scalar(b"42"), Some("42".into()), "D3: no final newline");
        assert_eq!(scalar(b""), None);
        assert_eq!(scalar(b"\n42\n"), None);
        assert_eq!(scalar(b"a b\n"), Some("a b".into()));
        assert_eq!(scalar(b"\xff\n"), Some(std::os::unix::ffi::OsStringExt::from_vec(vec![0xff])));
    }

    #[test]
    fn lines_have_comments_and_no_trailing_ones() {
        let (_dir, path) = with(b"# head\n\n  NET_ADMIN \nSYS_TIME # x\n\t#no\n~KILL");
        let lines = Files::default().lines(&path).expect("there");
        let seen: Vec<_> = lines.iter().map(|l| (l.line, l.value.to_str().expect("text"))).collect();
        assert_eq!(seen, [(3, "NET_ADMIN"), (4, "SYS_TIME # x"), (6, "~KILL")]);
    }

    #[test]
    fn arrays_keep_blanks_and_hashes_and_stars() {
        let (_dir, path) = with(b"/bin/sh\n\n -c \n# x\n*\nlast");
        let items = Files::default().array(&path).expect("there");
        let seen: Vec<_> = items.iter().map(|l| l.value.to_str().expect("text")).collect();
        assert_eq!(seen, ["/bin/sh", " -c ", "# x", "*", "last"]);
    }

    #[test]
    fn the_first_existing_file_wins_even_empty() {
        let (dir, path) = with(b"");
        let second = dir.path().join("second");
        fs::write(&second, "x\n").expect("writes");
        let mut files = Files::default();
        assert_eq!(files.first_scalar(&[path, second.clone()]), None);
        let value = files.first_scalar(&[dir.path().join("absent"), second.clone()]).expect("second");
        assert_eq!((value.value, value.file), ("x".into(), second));
    }

    fn the_finding(path: &Path) -> Finding {
        let mut files = Files::default();
        assert_eq!(files.scalar(path), None);
        assert_eq!(files.findings.len(), 1, "{:?}", files.findings);
        files.findings.remove(0)
    }

    #[test]
    fn what_is_no_file_is_a_finding() {
        let dir = tempfile::tempdir().expect("a directory");
        let at = |name: &str| dir.path().join(name);
        fs::create_dir(at("dir")).expect("makes");
        assert_eq!(the_finding(&at("dir")).kind, Kind::NotAFile);
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, at("fifo"), rustix::fs::FileType::Fifo, mode, 0).expect("makes");
        assert_eq!(the_finding(&at("fifo")).message, "is a fifo, not a regular file");
        assert_eq!(the_finding(Path::new("/dev/zero")).message, "is a device, not a regular file");
        std::os::unix::fs::symlink("nowhere", at("link")).expect("links");
        let finding = the_finding(&at("link"));
        assert_eq!((finding.severity, finding.kind), (Severity::Warning, Kind::DanglingLink));
        std::os::unix::fs::symlink("loop", at("loop")).expect("links");
        assert_eq!(the_finding(&at("loop")).kind, Kind::Unreadable);
        fs::write(at("nul"), b"a\0b\n").expect("writes");
        assert_eq!(the_finding(&at("nul")).kind, Kind::Binary);
        fs::write(at("dos"), b"42\r\n").expect("writes");
        assert_eq!(the_finding(&at("dos")).kind, Kind::BadValue);
        let big = fs::File::create_new(at("big")).expect("makes");
        big.set_len(LARGEST + 1).expect("grows");
        assert_eq!(the_finding(&at("big")).kind, Kind::TooLarge);
    }

    #[test]
    fn names_are_in_byte_order_without_backups() {
        let dir = tempfile::tempdir().expect("a directory");
        for name in ["eth0", "a", "A", "10", "2", "00", "0", "CVS", ".hidden", "0~", "x.rpmsave"] {
            fs::create_dir(dir.path().join(name)).expect("makes");
        }
        let names = Files::default().names(dir.path());
        assert_eq!(names, ["0", "00", "10", "2", "A", "a", "eth0"]);
    }

    #[test]
    fn links_are_read_as_text() {
        let dir = tempfile::tempdir().expect("a directory");
        let base = dir.path().canonicalize().expect("exists");
        std::os::unix::fs::symlink("../.defaults/vdirbase/./web1", base.join("vdir")).expect("links");
        let link = Files::default().link(&base.join("vdir"), LinkOr::Nothing).expect("a link");
        assert_eq!(link.value, base.parent().expect("a parent").join(".defaults/vdirbase/web1"));
    }
}
