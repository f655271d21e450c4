//! What appeared on a guest's console, kept on disk, bounded: `/var/log/vservers/NAME/`.
//!
//! ```text
//!   00000012.log    the newest lines of the guest's 12th boot here, at most 256 KiB
//!   00000012.old    those before, as much again
//! ```
//! Each line has the time at which it began before it: ten digits of seconds since 1970 and a blank. A new boot makes new
//! files, so that nothing a guest prints can look like the boundary of a boot, and the oldest of [`KEEP`] boots is
//! removed: a guest that reboots for ever fills no disk either.
//!
//! Two write: the tool while a start waits for the guest's command, then the guard (`crates/guard`), never at the same
//! time.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use vserver_model::{GuestName, Layout};

use crate::failure::{Doing, Failure};
use crate::record::{self, remove_if_there};

/// So many boots of a guest are kept.
pub const KEEP: usize = 8;
/// A file of a log is renamed and begun anew when it has grown to this: `crates/guard` does the same.
pub const LIMIT: u64 = 256 * 1024;
/// Bytes of the time and the blank before each line.
const STAMP: usize = 11;

/// The log of one boot of one guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Boot {
    /// The guest's directory.
    pub directory: PathBuf,
    /// Its number, from 1 on.
    pub number: u32,
}

impl Boot {
    /// The name of its file in the directory.
    pub fn file_name(&self) -> String {
        format!("{:08}.log", self.number)
    }

    /// The name of the file with the lines before.
    pub fn old_name(&self) -> String {
        format!("{:08}.old", self.number)
    }

    /// Its newest lines.
    pub fn path(&self) -> PathBuf {
        self.directory.join(self.file_name())
    }

    /// All lines that are kept.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn lines(&self) -> Result<Vec<Line>, Failure> {
        let mut lines = Vec::new();
        for name in [self.old_name(), self.file_name()] {
            let path = self.directory.join(name);
            let mut content = Vec::new();
            match File::open(&path).and_then(|file| file.take(8 * LIMIT).read_to_end(&mut content)) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                other => other.map(drop).doing(|| format!("read {}", path.display()))?,
            }
            lines.extend(parse(&content));
        }
        Ok(lines)
    }
}

/// One line of a console.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// When it began, seconds since 1970; 0: not told.
    pub time: u64,
    /// What the guest wrote, without the newline: any bytes.
    pub text: Vec<u8>,
}

impl Line {
    /// The text as it can be shown on a terminal: nothing in it is an order to the terminal.
    pub fn shown(&self) -> String {
        let text = self.text.strip_suffix(b"\r").unwrap_or(&self.text);
        harmless(text)
    }
}

/// Lines of a file.
pub fn parse(content: &[u8]) -> Vec<Line> {
    let mut content = content;
    if let [rest @ .., b'\n'] = content {
        content = rest;
    } else if content.is_empty() {
        return Vec::new();
    }
    let line = |line: &[u8]| match stamp(line) {
        Some(time) => Line { time, text: line[STAMP..].to_vec() },
        None => Line { time: 0, text: line.to_vec() },
    };
    content.split(|byte| *byte == b'\n').map(line).collect()
}

fn stamp(line: &[u8]) -> Option<u64> {
    let (stamp, blank) = (line.get(..STAMP - 1)?, line.get(STAMP - 1)?);
    if *blank != b' ' || !stamp.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(stamp).ok()?.parse().ok()
}

/// Text of a guest without anything that a terminal would obey: control characters, those that turn the direction of
/// writing, and bytes that are no UTF-8 are shown in words (`\x1b`). A tabulator stays.
pub fn harmless(text: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut shown = String::with_capacity(text.len());
    for chunk in text.utf8_chunks() {
        for c in chunk.valid().chars() {
            let turns =
                matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
            if c == '\t' || (!c.is_control() && !turns) {
                shown.push(c);
            } else if u32::from(c) < 0x100 {
                write!(shown, "\\x{:02x}", u32::from(c)).expect("a String takes all");
            } else {
                write!(shown, "\\u{{{:x}}}", u32::from(c)).expect("a String takes all");
            }
        }
        for byte in chunk.invalid() {
            write!(shown, "\\x{byte:02x}").expect("a String takes all");
        }
    }
    shown
}

/// Every boot of the guest that is kept, the oldest first.
pub fn boots(layout: &Layout, name: &GuestName) -> Vec<Boot> {
    let directory = layout.console_logs_of(name);
    let mut numbers: Vec<u32> = fs::read_dir(&directory)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.strip_suffix(".log")?.parse().ok())
        .collect();
    numbers.sort_unstable();
    numbers.into_iter().map(|number| Boot { directory: directory.clone(), number }).collect()
}

/// Begins the log of a new boot, and removes that of the oldest.
///
/// # Errors
/// The directory or the file cannot be made.
pub fn begin(layout: &Layout, name: &GuestName) -> Result<Boot, Failure> {
    let directory = layout.console_logs_of(name);
    if !directory.is_dir() {
        record::make_directory(&layout.logdir)?;
        // What guests print is nobody's business but the administrator's.
        let made = DirBuilder::new().mode(0o700).create(&directory);
        made.doing(|| format!("make {}", directory.display()))?;
    }
    let before = boots(layout, name);
    let number = before.last().map_or(1, |last| last.number.wrapping_add(1));
    for old in before.iter().take((before.len() + 1).saturating_sub(KEEP)) {
        remove_if_there(&old.path())?;
        remove_if_there(&old.directory.join(old.old_name()))?;
    }
    let boot = Boot { directory, number };
    open(&boot.path())?;
    Ok(boot)
}

/// The log that a running guest's new guard goes on with.
///
/// # Errors
/// As [`begin`], when there is none.
pub fn go_on(layout: &Layout, name: &GuestName) -> Result<Boot, Failure> {
    boots(layout, name).pop().map_or_else(|| begin(layout, name), Ok)
}

fn open(path: &Path) -> Result<File, Failure> {
    OpenOptions::new()
        .append(true)
        .read(true)
        .create(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)
        .doing(|| format!("open {}", path.display()))
}

/// Writes what the tool shows of a console while a start waits. Nothing that fails here is more than noted: the guest
/// and its start matter more than its log.
#[derive(Debug)]
pub struct Writer<'a> {
    boot: &'a Boot,
    file: Option<File>,
    size: u64,
    line_begins: bool,
}

impl<'a> Writer<'a> {
    /// At the end of the boot's log.
    pub fn at_end_of(boot: &'a Boot) -> Self {
        let mut writer = Self { boot, file: None, size: 0, line_begins: true };
        writer.open();
        writer
    }

    fn open(&mut self) {
        let file = open(&self.boot.path());
        self.file = file.map_err(|failure| tracing::warn!(%failure, "the console is not logged")).ok();
        self.size = self.file.as_ref().and_then(|file| file.metadata().ok()).map_or(0, |meta| meta.len());
    }

    /// Appends what a guest has printed.
    pub fn append(&mut self, bytes: &[u8]) {
        let now = record::now();
        let mut text = Vec::with_capacity(bytes.len() + STAMP);
        for &byte in bytes {
            if self.line_begins {
                text.extend_from_slice(format!("{now:010} ").as_bytes());
            }
            text.push(byte);
            self.line_begins = byte == b'\n';
        }
        let Some(file) = &mut self.file else { return };
        if let Err(error) = file.write_all(&text) {
            tracing::debug!(%error, "a part of the console is not logged");
        }
        self.size += text.len() as u64;
        if self.size >= LIMIT {
            let old = self.boot.directory.join(self.boot.old_name());
            if let Err(error) = fs::rename(self.boot.path(), old) {
                tracing::debug!(%error, "the log is not turned over");
            }
            self.line_begins = true;
            self.open();
        }
    }
}

/// Follows a guest's log, from boot to boot, as it is written.
#[derive(Debug)]
pub struct Follower<'a> {
    layout: &'a Layout,
    name: &'a GuestName,
    /// The file that is read, and which boot's it is.
    reading: Option<(Boot, File)>,
    /// The beginning of a line whose end is not there yet.
    pending: Vec<u8>,
}

/// What a follower has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// A new boot.
    Boot(u32),
    /// A line of it.
    Line(Line),
}

impl<'a> Follower<'a> {
    /// Only what is written from now on.
    pub fn from_now(layout: &'a Layout, name: &'a GuestName) -> Self {
        let mut follower = Self { layout, name, reading: None, pending: Vec::new() };
        if let Some(boot) = boots(layout, name).pop()
            && let Ok(mut file) = File::open(boot.path())
            && file.seek(SeekFrom::End(0)).is_ok()
        {
            follower.reading = Some((boot, file));
        }
        follower
    }

    /// The boot that is being read.
    pub fn boot(&self) -> Option<u32> {
        self.reading.as_ref().map(|(boot, _)| boot.number)
    }

    /// Bytes as they were written, times and all, since the last call; tells of a new boot before its first byte.
    pub fn bytes(&mut self, told: &mut dyn FnMut(Chunk<'_>)) {
        let mut buffer = [0; 8192];
        loop {
            if let Some((_, file)) = &mut self.reading {
                match file.read(&mut buffer) {
                    Ok(0) | Err(_) => {}
                    Ok(count) => {
                        told(Chunk::Bytes(&buffer[..count]));
                        continue;
                    }
                }
            }
            if !self.next_file(told) {
                return;
            }
        }
    }

    /// Whether there is another file to read: the same boot's after it was turned over, or a later boot's.
    fn next_file(&mut self, told: &mut dyn FnMut(Chunk<'_>)) -> bool {
        let Some(newest) = boots(self.layout, self.name).pop() else { return false };
        let Ok(file) = File::open(newest.path()) else { return false };
        if let Some((boot, old)) = &self.reading
            && *boot == newest
        {
            let same = match (old.metadata(), file.metadata()) {
                (Ok(old), Ok(new)) => (old.dev(), old.ino()) == (new.dev(), new.ino()),
                _ => true,
            };
            if same {
                return false;
            }
            told(Chunk::File);
        } else {
            told(Chunk::Boot(newest.number));
        }
        self.reading = Some((newest, file));
        true
    }

    /// Whole lines since the last call.
    pub fn lines(&mut self) -> Vec<Found> {
        let mut pending = std::mem::take(&mut self.pending);
        let mut found = Vec::new();
        self.bytes(&mut |chunk| match chunk {
            Chunk::Boot(number) => {
                found.extend(parse(&pending).into_iter().map(Found::Line));
                pending.clear();
                found.push(Found::Boot(number));
            }
            Chunk::File => {
                found.extend(parse(&pending).into_iter().map(Found::Line));
                pending.clear();
            }
            Chunk::Bytes(bytes) => {
                pending.extend_from_slice(bytes);
                if let Some(end) = pending.iter().rposition(|byte| *byte == b'\n') {
                    let rest = pending.split_off(end + 1);
                    found.extend(parse(&pending).into_iter().map(Found::Line));
                    pending = rest;
                }
            }
        });
        self.pending = pending;
        found
    }
}

/// A part of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chunk<'a> {
    /// From here on another boot.
    Boot(u32),
    /// From here on another file of the same boot: a line that has no end yet goes on in it with a time of its own.
    File,
    /// Bytes as they were written.
    Bytes(&'a [u8]),
}

/// Takes the times out of the bytes of a log: what the guest has printed, for a terminal that takes part.
#[derive(Debug, Default)]
pub struct Unstamp {
    /// Bytes at the beginning of a line that may be its time.
    begun: Vec<u8>,
    in_line: bool,
}

impl Unstamp {
    /// The guest's own bytes of a part of the log.
    pub fn bytes(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(bytes.len());
        for &byte in bytes {
            if self.in_line {
                out.push(byte);
            } else {
                self.begun.push(byte);
                if self.begun.len() == STAMP || byte == b'\n' {
                    if stamp(&self.begun).is_none() {
                        out.extend_from_slice(&self.begun);
                    }
                    self.begun.clear();
                    self.in_line = true;
                }
            }
            if byte == b'\n' {
                self.in_line = false;
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn site() -> (tempfile::TempDir, Layout, GuestName) {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::under(dir.path()).unwrap();
        (dir, layout, GuestName::new("web1").unwrap())
    }

    #[test]
    fn boots_are_kept_apart_and_bounded() {
        let (_dir, layout, name) = site();
        for number in 1..=u32::try_from(KEEP).unwrap() + 3 {
            let boot = begin(&layout, &name).unwrap();
            assert_eq!(boot.number, number);
            Writer::at_end_of(&boot).append(format!("boot {number}\nforged\n00000000").as_bytes());
        }
        let kept = boots(&layout, &name);
        assert_eq!(kept.len(), KEEP);
        assert_eq!(kept[0].number, 4);
        let lines = kept[KEEP - 1].lines().unwrap();
        let texts: Vec<String> = lines.iter().map(Line::shown).collect();
        assert_eq!(texts, ["boot 11", "forged", "00000000"]);
        assert!(lines.iter().all(|line| line.time > 1_700_000_000));
        assert_eq!(go_on(&layout, &name).unwrap(), kept[KEEP - 1]);
    }

    #[test]
    fn a_log_never_grows_beyond_two_files() {
        let (_dir, layout, name) = site();
        let boot = begin(&layout, &name).unwrap();
        let mut writer = Writer::at_end_of(&boot);
        for round in 0..60_000 {
            writer.append(format!("line {round} of many, many lines\n").as_bytes());
        }
        let size: u64 = fs::read_dir(&boot.directory)
            .unwrap()
            .map(|entry| entry.unwrap().metadata().unwrap().len())
            .sum();
        assert!(size <= 2 * (LIMIT + 8192), "{size}");
        let lines = boot.lines().unwrap();
        assert_eq!(lines.last().unwrap().text, b"line 59999 of many, many lines");
        assert!(lines.len() > 5000);
    }

    #[test]
    fn a_follower_sees_files_turn_over_and_boots_begin() {
        let (_dir, layout, name) = site();
        let boot = begin(&layout, &name).unwrap();
        let mut writer = Writer::at_end_of(&boot);
        writer.append(b"before\n");
        let mut follower = Follower::from_now(&layout, &name);
        writer.append(b"one\ntw");
        let text = |found: Vec<Found>| -> Vec<String> {
            let words = found.into_iter().map(|found| match found {
                Found::Boot(number) => format!("boot {number}"),
                Found::Line(line) => line.shown(),
            });
            words.collect()
        };
        assert_eq!(text(follower.lines()), ["one"]);
        writer.append(b"o\n");
        let long = usize::try_from(LIMIT).unwrap();
        writer.append(&b"x".repeat(long));
        writer.append(b"after\n");
        let seen = text(follower.lines());
        assert_eq!((seen[0].as_str(), seen[1].len(), seen[2].as_str()), ("two", long, "after"));
        let boot = begin(&layout, &name).unwrap();
        Writer::at_end_of(&boot).append(b"again\n");
        assert_eq!(text(follower.lines()), ["boot 2", "again"]);
    }

    #[test]
    fn nothing_of_a_guest_is_an_order_to_a_terminal() {
        assert_eq!(harmless(b"a\tb \x1b[2J\x07\x9b \xc2\x9b"), "a\tb \\x1b[2J\\x07\\x9b \\x9b");
        assert_eq!(harmless("grün \u{202e}x".as_bytes()), "grün \\u{202e}x");
    }

    proptest! {
        #[test]
        fn what_was_written_comes_back(parts in proptest::collection::vec("[a-c0-9 \n]{0,30}", 0..8)) {
            let (_dir, layout, name) = site();
            let boot = begin(&layout, &name).unwrap();
            let mut writer = Writer::at_end_of(&boot);
            for part in &parts {
                writer.append(part.as_bytes());
            }
            let raw = fs::read(boot.path()).unwrap();
            let mut unstamp = Unstamp::default();
            let back: Vec<u8> = raw.chunks(3).flat_map(|chunk| unstamp.bytes(chunk)).collect();
            prop_assert_eq!(back, parts.concat().into_bytes());
        }

        #[test]
        fn shown_text_has_no_control_characters(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            prop_assert!(harmless(&bytes).chars().all(|c| c == '\t' || !c.is_control()));
        }
    }
}
