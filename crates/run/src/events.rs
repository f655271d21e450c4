//! What happened to guests: `/var/log/vservers/.events`, one JSON object a line.
//!
//! Whoever does something to a guest appends one line with one write(2), so that a writer that is killed leaves a whole
//! line or none, and several writers never mix theirs. Nobody waits for the disk. A file that has grown to [`LIMIT`] is
//! renamed to `.events.old`: the newest 1 to 2 MiB are kept. Where journald listens it is told as well.

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use vserver_model::{GuestName, Layout, Xid};

/// The file is renamed and begun anew when it has grown to this many bytes.
pub const LIMIT: u64 = 1024 * 1024;
/// No text of an event is longer: a line must be one write.
const LONGEST: usize = 2000;
/// Where journald takes entries.
const JOURNAL: &str = "/run/systemd/journal/socket";

/// One event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When, UTC: `2026-12-01T00:48:01.123Z`. Texts of this form sort as the times do.
    pub time: String,
    /// The guest.
    pub guest: GuestName,
    /// Its number, where it had one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub xid: Option<u32>,
    /// What happened: a word of [`Kind`].
    pub event: String,
    /// More about it, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

/// What can happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It was started.
    Started,
    /// A start failed, and was taken back.
    StartFailed,
    /// It was stopped.
    Stopped,
    /// A stop left something.
    StopFailed,
    /// It ended by itself.
    Ended,
    /// It asked to be restarted.
    Reboot,
    /// It asked to be halted.
    Halt,
    /// It reached limits while it ran.
    Limit,
    /// It reboots or dies so often that it is left alone.
    Quarantined,
    /// A program of the administrator's was run for an event.
    Handler,
    /// It had lost its guard or its record, and has them again.
    Adopted,
    /// It was copied, moved, exported or imported.
    Moved,
}

impl Kind {
    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::StartFailed => "start-failed",
            Self::Stopped => "stopped",
            Self::StopFailed => "stop-failed",
            Self::Ended => "ended",
            Self::Reboot => "reboot",
            Self::Halt => "halt",
            Self::Limit => "limit",
            Self::Quarantined => "quarantined",
            Self::Handler => "handler",
            Self::Adopted => "adopted",
            Self::Moved => "moved",
        }
    }

    /// A syslog(3) priority.
    fn priority(self) -> u8 {
        match self {
            Self::StartFailed | Self::StopFailed | Self::Quarantined => 3,
            Self::Limit | Self::Adopted | Self::Ended => 4,
            _ => 6,
        }
    }
}

/// Notes an event. That it cannot be is said in the log alone: what happened has happened.
pub fn note(layout: &Layout, guest: &GuestName, xid: Option<Xid>, kind: Kind, detail: &str) {
    let mut detail = detail.to_owned();
    if detail.len() > LONGEST {
        let end = (0..=LONGEST).rev().find(|at| detail.is_char_boundary(*at)).unwrap_or(0);
        detail.truncate(end);
    }
    let (guest, xid, event) = (guest.clone(), xid.map(Xid::get), kind.word().to_owned());
    let event = Event { time: now(), guest, xid, event, detail };
    if let Err(error) = append(layout, &event) {
        tracing::warn!(%error, "the event is not noted");
    }
    tell_the_journal(&event, kind);
}

fn append(layout: &Layout, event: &Event) -> std::io::Result<()> {
    let path = layout.events_file();
    let mut line = serde_json::to_vec(event)?;
    line.push(b'\n');
    let mut file = match open(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            fs::create_dir_all(&layout.logdir)?;
            open(&path)?
        }
        other => other?,
    };
    file.write_all(&line)?;
    if file.metadata()?.len() >= LIMIT { turn_over(&file, &path) } else { Ok(()) }
}

fn open(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o640).custom_flags(libc::O_NOFOLLOW).open(path)
}

fn old(path: &Path) -> PathBuf {
    path.with_extension("old")
}

/// Of several that find the file full, one renames it.
fn turn_over(file: &File, path: &Path) -> std::io::Result<()> {
    flock(file, FlockOperation::LockExclusive)?;
    let (mine, there) = (file.metadata()?, fs::symlink_metadata(path)?);
    if (mine.dev(), mine.ino()) == (there.dev(), there.ino()) {
        fs::rename(path, old(path))?;
    }
    Ok(())
}

/// The native protocol of journald: `FIELD=text`, or the field, a newline, the length and the text where that has
/// newlines (systemd, "Native Journal Protocol").
fn tell_the_journal(event: &Event, kind: Kind) {
    if !Path::new(JOURNAL).exists() {
        return;
    }
    let colon = if event.detail.is_empty() { "" } else { ": " };
    let message = format!("guest '{}' {}{colon}{}", event.guest, event.event, event.detail);
    let mut entry = Vec::new();
    let fields = [
        ("MESSAGE", message),
        ("PRIORITY", kind.priority().to_string()),
        ("SYSLOG_IDENTIFIER", "vserver".to_owned()),
        ("VSERVER_GUEST", event.guest.to_string()),
        ("VSERVER_XID", event.xid.map(|xid| xid.to_string()).unwrap_or_default()),
        ("VSERVER_EVENT", event.event.clone()),
    ];
    for (field, text) in fields {
        entry.extend_from_slice(field.as_bytes());
        if text.contains('\n') {
            entry.push(b'\n');
            entry.extend_from_slice(&(text.len() as u64).to_le_bytes());
        } else {
            entry.push(b'=');
        }
        entry.extend_from_slice(text.as_bytes());
        entry.push(b'\n');
    }
    let sent = UnixDatagram::unbound().and_then(|socket| {
        socket.set_nonblocking(true)?;
        socket.send_to(&entry, JOURNAL)
    });
    if let Err(error) = sent {
        tracing::debug!(%error, "journald is not told");
    }
}

/// Everything that is kept, the oldest first.
///
/// # Errors
/// A file is there and cannot be read.
pub fn all(layout: &Layout) -> std::io::Result<Vec<Event>> {
    let path = layout.events_file();
    let mut events = Vec::new();
    for path in [old(&path), path] {
        let mut content = Vec::new();
        match File::open(path).and_then(|file| file.take(4 * LIMIT).read_to_end(&mut content)) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            other => drop(other?),
        }
        events.extend(parse(&content));
    }
    Ok(events)
}

/// Events of a file. A full disk or a host that crashed may have left a part of a line: the next one behind it is found
/// all the same.
pub fn parse(content: &[u8]) -> Vec<Event> {
    const BEGIN: &[u8] = b"{\"time\":";
    let read = |line: &[u8]| {
        let begin = line.windows(BEGIN.len()).rposition(|window| window == BEGIN)?;
        serde_json::from_slice(&line[begin..]).ok()
    };
    content.split(|byte| *byte == b'\n').filter_map(read).collect()
}

/// Follows the file as it is written.
#[derive(Debug)]
pub struct Follower<'a> {
    layout: &'a Layout,
    file: Option<File>,
    pending: Vec<u8>,
}

impl<'a> Follower<'a> {
    /// Only what happens from now on.
    pub fn from_now(layout: &'a Layout) -> Self {
        use std::io::Seek as _;
        let mut file = File::open(layout.events_file()).ok();
        if let Some(file) = &mut file {
            // At worst old ones are shown, too.
            file.seek(std::io::SeekFrom::End(0)).ok();
        }
        Self { layout, file, pending: Vec::new() }
    }

    /// What has happened since the last call.
    pub fn new_ones(&mut self) -> Vec<Event> {
        loop {
            if let Some(file) = &mut self.file
                && let Err(error) = file.read_to_end(&mut self.pending)
            {
                tracing::debug!(%error, "events cannot be followed");
            }
            if !self.next_file() {
                break;
            }
        }
        let end = self.pending.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let rest = self.pending.split_off(end);
        parse(&std::mem::replace(&mut self.pending, rest))
    }

    fn next_file(&mut self) -> bool {
        let Ok(new) = File::open(self.layout.events_file()) else { return false };
        let identity = |file: &File| file.metadata().map(|meta| (meta.dev(), meta.ino())).ok();
        if self.file.as_ref().is_some_and(|old| identity(old) == identity(&new)) {
            return false;
        }
        self.file = Some(new);
        true
    }
}

/// This moment, UTC, as [`Event::time`] has it.
pub fn now() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let text = utc(since.as_secs());
    format!("{}.{:03}Z", text.trim_end_matches('Z'), since.subsec_millis())
}

/// Seconds since 1970 as `2026-12-01T00:48:01Z`.
pub fn utc(seconds: u64) -> String {
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Year, month and day of a day since 1970-01-01: years are counted from March, so that the odd day is the last one.
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site() -> (tempfile::TempDir, Layout, GuestName) {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::under(dir.path()).unwrap();
        (dir, layout, GuestName::new("web1").unwrap())
    }

    #[test]
    fn times_are_utc() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_796_086_081, "2026-12-01T00:48:01Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(utc(seconds), text);
        }
    }

    #[test]
    fn events_are_kept_in_order_and_bounded() {
        let (_dir, layout, name) = site();
        let mut follower = Follower::from_now(&layout);
        for number in 0..12_000 {
            note(
                &layout,
                &name,
                Xid::new(5).ok(),
                Kind::Started,
                &format!("number {number} {}", "x".repeat(150)),
            );
        }
        let events = all(&layout).unwrap();
        assert!(events.len() > 4000 && events.len() < 12_000, "{}", events.len());
        assert!(events.last().unwrap().detail.starts_with("number 11999 "));
        assert!(events.windows(2).all(|two| two[0].time <= two[1].time));
        // The follower was overtaken twice; what it still finds is in order.
        assert!(follower.new_ones().last().unwrap().detail.starts_with("number 11999 "));
        assert_eq!(follower.new_ones(), []);
        note(&layout, &name, None, Kind::Halt, "");
        assert_eq!(follower.new_ones()[0].event, "halt");
    }

    #[test]
    fn a_torn_line_takes_no_other_along() {
        let (_dir, layout, name) = site();
        note(&layout, &name, None, Kind::Started, "one");
        let mut file = open(&layout.events_file()).unwrap();
        file.write_all(b"{\"time\":\"2026-12-01T").unwrap();
        note(&layout, &name, None, Kind::Stopped, "two\n\x1b[2J");
        let events = all(&layout).unwrap();
        assert_eq!(events.len(), 2);
        assert_eq!(events[1].detail, "two\n\x1b[2J");
        assert_eq!(fs::read_to_string(layout.events_file()).unwrap().lines().count(), 2);
    }
}
