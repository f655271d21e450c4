//! After a guest has ended by itself: the tail of a stop, and what the guest asked for with reboot(2).
//!
//! ```text
//!   guard ──"it has ended, so"──▶ request noted in /run/vshelper/XID ─▶ clean-up ─▶ program of the administrator's,
//!                                                                                   or start after a pause, or nothing
//!                                 ◀──── request removed ───────────────────────────┘
//! ```
//! The request is there for as long as it is not done, and locked by whoever is at it: when that process is killed, the
//! next command about the guest has it done ([`resume`]). A stop or a start in the meantime makes it void.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use vserver_config::guest::Vshelper;
use vserver_kernel::process::Pidfd;
use vserver_model::{GuestName, Layout, Xid, signal};
use vserver_plan::StartAsk;

use crate::events::{self, Event, Kind};
use crate::failure::{Doing, Failure};
use crate::lock::{Lock, PATIENCE};
use crate::logs;
use crate::record::{self, Record, State};
use crate::start;
use crate::stop::{self, Hooks, Problems};

/// A handler of the administrator's that runs longer is ended.
const HANDLER: Duration = Duration::from_mins(5);
/// Reboots of the last so many seconds count for the pause and the quarantine.
const WINDOW: u64 = 600;
/// So many reboots are done at once.
const FREE: u32 = 3;
/// After so many the guest stays down.
const MOST: u32 = 10;
/// No pause before a restart is longer.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);
/// How soon a pause notices that it is void.
const TURN: Duration = Duration::from_millis(50);
/// Lines of the console that are kept with a quarantine.
const LAST_LINES: usize = 10;

/// How a guest's first process has ended, as waitid(2) tells its parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuestEnd {
    /// It called reboot(2) to restart: `SIGHUP`, reboot(2) "Behavior inside PID namespaces".
    Reboot,
    /// It called reboot(2) to halt or power off: `SIGINT`.
    Halt,
    /// It exited with this status.
    Exited(i32),
    /// This signal ended it.
    Killed(i32),
    /// Nobody has seen it.
    Unseen,
}

impl GuestEnd {
    /// From `si_code` and `si_status`; zeros: not known.
    pub fn from_wait(code: i32, status: i32) -> Self {
        match (code, status) {
            (libc::CLD_KILLED, libc::SIGHUP) => Self::Reboot,
            (libc::CLD_KILLED, libc::SIGINT) => Self::Halt,
            (libc::CLD_EXITED, status) => Self::Exited(status),
            (libc::CLD_KILLED | libc::CLD_DUMPED, number) => Self::Killed(number),
            _ => Self::Unseen,
        }
    }

    /// `si_code` and `si_status` again.
    fn to_wait(self) -> (i32, i32) {
        match self {
            Self::Reboot => (libc::CLD_KILLED, libc::SIGHUP),
            Self::Halt => (libc::CLD_KILLED, libc::SIGINT),
            Self::Exited(status) => (libc::CLD_EXITED, status),
            Self::Killed(number) => (libc::CLD_KILLED, number),
            Self::Unseen => (0, 0),
        }
    }

    /// The words that the kernel had for it; programs of the administrator's are called after them, the first that is
    /// there.
    fn events(self) -> &'static [&'static str] {
        match self {
            Self::Reboot => &["restart"],
            // The kernel does not tell one from the other.
            Self::Halt => &["halt", "poweroff"],
            Self::Exited(_) | Self::Killed(_) | Self::Unseen => &["shutdown"],
        }
    }

    /// The guest wants something done.
    fn is_request(self) -> bool {
        matches!(self, Self::Reboot | Self::Halt)
    }

    fn kind(self) -> Kind {
        match self {
            Self::Reboot => Kind::Reboot,
            Self::Halt => Kind::Halt,
            Self::Exited(_) | Self::Killed(_) | Self::Unseen => Kind::Ended,
        }
    }

    fn words(self) -> String {
        match self {
            Self::Reboot => "the guest asked to be restarted".into(),
            Self::Halt => "the guest asked to be halted".into(),
            Self::Exited(0) => "its first process has ended".into(),
            Self::Exited(status) => format!("its first process ended with status {status}"),
            Self::Killed(number) => format!("{} ended its first process", signal::name(number)),
            Self::Unseen => "nobody was there to see how".into(),
        }
    }
}

/// Called by the guard: the guest has ended by itself. Cleans up, and then does what the guest asked for: starts it
/// again, or runs the administrator's program for the event.
///
/// # Errors
/// Something could not be taken down, the program failed, or the guest does not start again.
pub fn guest_ended(layout: &Layout, name: &GuestName, dir: &Path, end: GuestEnd) -> Result<(), Failure> {
    // The claim is held until the request is done: nobody else is at it.
    let (request, _claim) = {
        let _lock = Lock::take(&layout.startup_lock_of(name), PATIENCE, || {})?;
        match record::state(layout, name) {
            State::Ended(record) => {
                let claim = ask(layout, &record, end).unwrap_or_else(|failure| {
                    // It is done all the same, unless this process is killed.
                    tracing::warn!(%failure, "what the guest asks for is not noted");
                    None
                });
                events::note(layout, name, Some(record.xid), end.kind(), &end.words());
                stop::clean_up(layout, &record, Hooks::Run).map_err(Problems::whole)?;
                (Request { xid: record.xid, end }, claim)
            }
            // The process that cleaned up was killed before it had done what was asked for.
            State::Stopped => {
                let Some(request) = requested(layout, dir) else { return Ok(()) };
                let Some(claim) = claim(layout, request.xid)? else { return Ok(()) };
                (request, Some(claim))
            }
            // A stop that was under way has cleaned up in the meantime, or somebody has started it again.
            State::Running(_) | State::Broken { .. } => return Ok(()),
        }
    };
    let done = answer(layout, name, dir, &request);
    forget(layout, dir);
    done
}

/// What a guest has asked for.
#[derive(Clone, Copy, Debug)]
struct Request {
    xid: Xid,
    end: GuestEnd,
}

/// Without the guest's lock: a program of the administrator's may start the guest itself.
fn answer(layout: &Layout, name: &GuestName, dir: &Path, request: &Request) -> Result<(), Failure> {
    let helper = vserver_config::read(layout, dir).guest.vshelper;
    if helper.disabled {
        return Ok(());
    }
    let caller = Caller { layout, name, dir, xid: request.xid, debug: helper.debug };
    for event in request.end.events() {
        let delegate = layout.defaults.join("apps/vshelper-delegate").join(event);
        let own = helper.handlers.iter().find(|(handled, _)| handled == event).map(|(_, program)| program);
        if let Some(program) = Some(&delegate).filter(|path| path.is_file()).or(own) {
            return caller.run(program, event);
        }
    }
    let event = request.end.events()[0];
    match method(layout, dir, &helper) {
        Some(Ok(program)) => caller.run(&program, event),
        Some(Err(failure)) => Err(failure),
        None if request.end == GuestEnd::Reboot => restart(layout, name, dir, request.xid),
        None => Ok(()),
    }
}

/// The program that `action` names, unless that is the built-in `restart`.
fn method(layout: &Layout, dir: &Path, helper: &Vshelper) -> Option<Result<PathBuf, Failure>> {
    if helper.action == "restart" {
        return None;
    }
    let places = [
        dir.join("apps/vshelper-methods"),
        layout.defaults.join("apps/vshelper-methods"),
        layout.defaults.join("apps/vshelper/vshelper-methods"),
    ];
    let found = places.iter().map(|place| place.join(&helper.action)).find(|path| path.is_file());
    Some(found.ok_or_else(|| {
        Failure::new(format!("no program for the action '{}'", helper.action.display()))
            .place(dir.join("apps/vshelper/action"), 1)
            .hint(format!("put one into {}", places[0].display()))
    }))
}

/// Starts the guest again, unless it does nothing but reboot.
fn restart(layout: &Layout, name: &GuestName, dir: &Path, xid: Xid) -> Result<(), Failure> {
    let since = events::utc(record::now().saturating_sub(WINDOW));
    let before = events::all(layout).unwrap_or_default();
    let reboots = recent_reboots(&before, name, &since);
    if reboots > MOST {
        let text = format!(
            "{reboots} reboots in {} minutes: it stays down until somebody starts it. Its last lines:{}",
            WINDOW / 60,
            last_lines(layout, name)
        );
        events::note(layout, name, Some(xid), Kind::Quarantined, &text);
        return Ok(());
    }
    let until = Instant::now() + pause_before(reboots);
    while Instant::now() < until {
        std::thread::sleep(TURN);
        // A stop or a start by somebody else in the meantime.
        if requested(layout, dir).is_none() {
            return Ok(());
        }
    }
    let ask = StartAsk { default_tty: true, ..StartAsk::default() };
    start::start(layout, name, dir, &ask, &mut |line| tracing::info!(line)).map(drop)
}

/// Since the guest was left alone the last time.
fn recent_reboots(events: &[Event], name: &GuestName, since: &str) -> u32 {
    let own = events.iter().rev().filter(|event| event.guest == *name);
    let recent = own.take_while(|event| *event.time >= *since && event.event != Kind::Quarantined.word());
    recent.filter(|event| event.event == Kind::Reboot.word()).count().try_into().unwrap_or(u32::MAX)
}

/// The first ones at once, then twice as long each time.
fn pause_before(reboots: u32) -> Duration {
    match reboots.checked_sub(FREE + 1) {
        None => Duration::ZERO,
        Some(more) => Duration::from_secs(2u64.saturating_pow(more.saturating_add(1))).min(LONGEST_PAUSE),
    }
}

fn last_lines(layout: &Layout, name: &GuestName) -> String {
    let boot = logs::boots(layout, name).pop();
    let lines = boot.and_then(|boot| boot.lines().ok()).unwrap_or_default();
    let first = lines.len().saturating_sub(LAST_LINES);
    lines[first..].iter().fold(String::new(), |all, line| all + "\n  " + &line.shown())
}

/// Who runs a program of the administrator's for an event.
struct Caller<'a> {
    layout: &'a Layout,
    name: &'a GuestName,
    dir: &'a Path,
    xid: Xid,
    debug: bool,
}

impl Caller<'_> {
    /// `PROGRAM EVENT XID`, as the kernel called its helper. What it prints goes to `.defaults/apps/vshelper/logfile`.
    fn run(&self, program: &Path, event: &str) -> Result<(), Failure> {
        let what = || format!("run {} for the event {event}", program.display());
        let mut command = Command::new(program);
        command
            .arg(event)
            .arg(self.xid.to_string())
            .current_dir("/")
            .env("VSERVER_NAME", self.name.as_os_str())
            .env("VSERVER_DIR", self.dir)
            .stdin(Stdio::null())
            .process_group(0);
        if let Some(mut log) = self.log() {
            use std::io::Write as _;
            let line =
                format!("{} {} {event} {}: {}\n", events::now(), self.name, self.xid, program.display());
            // A log that takes nothing more keeps no event from being handled.
            log.write_all(line.as_bytes()).ok();
            if let (Ok(out), Ok(err)) = (log.try_clone(), log.try_clone()) {
                command.stdout(out).stderr(err);
            }
        }
        if self.debug {
            command.env("DEBUG_EXEC", "1");
        }
        let mut child = command.spawn().doing(what)?;
        let pidfd = i32::try_from(child.id()).ok().and_then(|pid| Pidfd::open(pid).ok());
        let in_time = pidfd.as_ref().is_none_or(|pidfd| pidfd.wait_end(Some(HANDLER)).unwrap_or(true));
        if !in_time {
            child.kill().doing(what)?;
        }
        let status = child.wait().doing(what)?;
        let ended =
            if in_time { status.to_string() } else { format!("not over after {} s", HANDLER.as_secs()) };
        let text = format!("{} for {event}: {ended}", program.display());
        events::note(self.layout, self.name, Some(self.xid), Kind::Handler, &text);
        if status.success() {
            return Ok(());
        }
        Err(Failure::new(format!("cannot {}", what())).because(format!("it ended with {ended}")))
    }

    fn log(&self) -> Option<fs::File> {
        let link = self.layout.defaults.join("apps/vshelper/logfile");
        link.symlink_metadata().ok()?;
        let opened = fs::OpenOptions::new().append(true).create(true).open(&link);
        opened.map_err(|error| tracing::warn!(%error, "{} cannot be written", link.display())).ok()
    }
}

/// Notes what the guest has asked for: line 1 its configuration, line 2 how it ended, as numbers. An end without a
/// request needs no note.
fn ask(layout: &Layout, record: &Record, end: GuestEnd) -> Result<Option<fs::File>, Failure> {
    if !end.is_request() {
        return Ok(None);
    }
    let (code, status) = end.to_wait();
    record::make_directory(&layout.helperdir)?;
    let mut text = record.dir.clone().into_os_string().into_encoded_bytes();
    text.extend_from_slice(format!("\n{code} {status}\n").as_bytes());
    // Whatever is killed in between leaves nothing: the state directory is about to go.
    let draft = record::state_dir(layout, &record.name).join("asked");
    let path = layout.helper_file_of(record.xid);
    fs::write(&draft, &text).doing(|| format!("write {}", draft.display()))?;
    fs::rename(&draft, &path).doing(|| format!("write {}", path.display()))?;
    claim(layout, record.xid)
}

/// What the guest with this configuration has asked for, if it is not done yet.
fn requested(layout: &Layout, dir: &Path) -> Option<Request> {
    requests(layout).into_iter().find(|(of, ..)| of == dir).map(|(_, request, _)| request)
}

fn requests(layout: &Layout) -> Vec<(PathBuf, Request, PathBuf)> {
    let read = |path: PathBuf| -> Option<(PathBuf, Request, PathBuf)> {
        let xid = path.file_name()?.to_str()?.parse().ok()?;
        let text = String::from_utf8(fs::read(&path).ok()?).ok()?;
        let mut lines = text.lines();
        let dir = PathBuf::from(lines.next()?);
        let mut numbers = lines.next()?.split(' ').filter_map(|number| number.parse().ok());
        let end = GuestEnd::from_wait(numbers.next()?, numbers.next()?);
        Some((dir, Request { xid: Xid::new(xid).ok()?, end }, path))
    };
    let files = fs::read_dir(&layout.helperdir).into_iter().flatten().flatten();
    files.filter_map(|entry| read(entry.path())).collect()
}

/// Whatever the guest has asked for is done, or void.
pub fn forget(layout: &Layout, dir: &Path) {
    for (_, _, path) in requests(layout).into_iter().filter(|(of, ..)| of == dir) {
        // Only what is there can be void, and /run takes every removal.
        fs::remove_file(path).ok();
    }
}

/// Has somebody do what the guest asked for, if the process that was at it is gone. For commands that find the guest
/// stopped; costs a look at an empty directory.
pub fn resume(layout: &Layout, name: &GuestName, dir: &Path) {
    let Some(request) = requested(layout, dir) else { return };
    match claim(layout, request.xid) {
        Ok(Some(_claim)) => {}
        Ok(None) | Err(_) => return,
    }
    let (code, status) = request.end.to_wait();
    let Ok(own) = std::env::current_exe() else { return };
    let mut command = Command::new(own);
    command.args(["--applet", "vserver", "--guest-ended"]).arg(name.as_os_str()).arg(dir);
    command.args([code.to_string(), status.to_string()]).process_group(0);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    if let Err(error) = command.spawn() {
        tracing::warn!(%error, "what the guest asked for is not done");
    }
}

/// The request's file, locked: whoever has it is at it. `None`: somebody else is, or it is gone.
fn claim(layout: &Layout, xid: Xid) -> Result<Option<fs::File>, Failure> {
    let path = layout.helper_file_of(xid);
    let file = match fs::File::open(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => other.doing(|| format!("open {}", path.display()))?,
    };
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(errno) => Err(errno).doing(|| format!("lock {}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_end() {
        let pauses: Vec<u64> = (0..=MOST).map(|reboots| pause_before(reboots).as_secs()).collect();
        assert_eq!(pauses, [0, 0, 0, 0, 2, 4, 8, 16, 32, 60, 60]);
    }

    #[test]
    fn a_quarantine_begins_the_count_anew() {
        let name = GuestName::new("web1").unwrap();
        let event = |guest: &str, time: &str, word: &str| Event {
            time: time.into(),
            guest: GuestName::new(guest).unwrap(),
            xid: None,
            event: word.into(),
            detail: String::new(),
        };
        let mut all = vec![
            event("web1", "2026-12-01T00:00:00.000Z", "reboot"),
            event("web1", "2026-12-01T00:20:00.000Z", "reboot"),
            event("web2", "2026-12-01T00:20:01.000Z", "reboot"),
            event("web1", "2026-12-01T00:20:02.000Z", "started"),
            event("web1", "2026-12-01T00:20:03.000Z", "reboot"),
        ];
        assert_eq!(recent_reboots(&all, &name, "2026-12-01T00:15:00Z"), 2);
        all.push(event("web1", "2026-12-01T00:20:04.000Z", "quarantined"));
        assert_eq!(recent_reboots(&all, &name, "2026-12-01T00:15:00Z"), 0);
    }

    #[test]
    fn ends_survive_being_written_down() {
        for end in
            [GuestEnd::Reboot, GuestEnd::Halt, GuestEnd::Exited(3), GuestEnd::Killed(9), GuestEnd::Unseen]
        {
            let (code, status) = end.to_wait();
            assert_eq!(GuestEnd::from_wait(code, status), end);
        }
    }
}
