//! Many guests started or stopped, several at once, in the order that `vserver_plan::order` found.
//!
//! Each guest is started by a process of its own (`vserver NAME start`), as a start changes the process that does it.
//! Nothing of ours is left when all are over.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pipe::{PipeFlags, pipe_with};
use serde::Serialize;
use vserver_kernel::process::Pidfd;
use vserver_model::{GuestName, Layout};
use vserver_plan::order::{Direction, Job, Order};
use vserver_run::record;

/// No more of what a guest's command says is kept than this.
const MOST_OUTPUT: usize = 64 * 1024;
/// After a command was asked to end: so long until it is made to.
const GRACE: Duration = Duration::from_secs(10);

/// How many, and how long each.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// So many at once, 1 at least.
    pub at_once: usize,
    /// So long each; `None`: as long as it takes.
    pub timeout: Option<Duration>,
}

/// What became of one guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It was started or stopped.
    Done,
    /// It was in the wanted state before.
    Already,
    /// The command failed.
    Failed,
    /// The command took too long, and what it had done was taken back.
    TimedOut,
    /// It was not tried.
    Skipped,
}

/// One guest's line.
#[derive(Clone, Debug, Serialize)]
pub struct Verdict {
    /// The guest.
    pub name: GuestName,
    /// What became of it.
    pub outcome: Outcome,
    /// Why it was skipped, or how the command ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How long the command took.
    pub seconds: f64,
    /// What it said.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub output: String,
}

impl Verdict {
    /// Whether the guest is now as it should be.
    pub fn is_good(&self) -> bool {
        matches!(self.outcome, Outcome::Done | Outcome::Already)
    }

    /// The line for people.
    pub fn line(&self, direction: Direction) -> String {
        let (done, already) = match direction {
            Direction::Start => ("started", "already running"),
            Direction::Stop => ("stopped", "not running"),
        };
        let reason = self.reason.as_deref().unwrap_or("no reason is known");
        match self.outcome {
            Outcome::Done => format!("{}: {done} ({:.1} s)", self.name, self.seconds),
            Outcome::Already => format!("{}: {already}", self.name),
            Outcome::Failed | Outcome::TimedOut => format!("{}: FAILED: {reason}", self.name),
            Outcome::Skipped => format!("{}: skipped: {reason}", self.name),
        }
    }
}

/// Does all of it; `told` gets each verdict as soon as it is known. They come back in that order, too.
pub fn run(
    layout: &Layout,
    order: &Order,
    direction: Direction,
    limits: Limits,
    told: &mut dyn FnMut(&Verdict),
) -> Vec<Verdict> {
    let mut board = Board::new(order, direction);
    let mut verdicts = Vec::new();
    let (send, receive) = mpsc::channel();
    thread::scope(|scope| {
        let mut at_work = 0;
        loop {
            while at_work < limits.at_once.max(1)
                && let Some(at) = board.next()
            {
                if let Some(verdict) = board.without_trying(layout, at) {
                    told(&verdict);
                    board.over(at, verdict.is_good());
                    verdicts.push(verdict);
                    continue;
                }
                at_work += 1;
                let (send, name) = (send.clone(), order.jobs[at].name.clone());
                scope.spawn(move || drop(send.send((at, attempt(&name, direction, limits.timeout)))));
            }
            if at_work == 0 {
                break;
            }
            let Ok((at, verdict)) = receive.recv() else { break };
            at_work -= 1;
            told(&verdict);
            board.over(at, verdict.is_good());
            verdicts.push(verdict);
        }
    });
    verdicts
}

/// Who can go, and who is over.
struct Board<'a> {
    jobs: &'a [Job],
    direction: Direction,
    /// `None`: not begun.
    state: Vec<Place>,
    waiting: VecDeque<usize>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Waiting,
    Begun,
    Over { good: bool },
}

impl<'a> Board<'a> {
    fn new(order: &'a Order, direction: Direction) -> Self {
        let jobs = &order.jobs;
        Self { jobs, direction, state: vec![Place::Waiting; jobs.len()], waiting: (0..jobs.len()).collect() }
    }

    fn is_over(&self, at: usize) -> bool {
        matches!(self.state[at], Place::Over { .. })
    }

    /// The first guest that waits for nobody, taken from the list.
    fn next(&mut self) -> Option<usize> {
        let unfinished = (0..self.jobs.len()).filter(|&at| !self.is_over(at));
        let stage = unfinished.map(|at| self.jobs[at].stage).min()?;
        let free = |&at: &usize| {
            self.jobs[at].stage <= stage && self.jobs[at].after.iter().all(|&o| self.is_over(o))
        };
        let place = self.waiting.iter().position(free)?;
        let at = self.waiting.remove(place)?;
        self.state[at] = Place::Begun;
        Some(at)
    }

    fn over(&mut self, at: usize, good: bool) {
        self.state[at] = Place::Over { good };
    }

    /// The verdict on a guest for which no command has to run.
    fn without_trying(&self, layout: &Layout, at: usize) -> Option<Verdict> {
        let job = &self.jobs[at];
        let verdict = |outcome, reason| Verdict {
            name: job.name.clone(),
            outcome,
            reason,
            seconds: 0.0,
            output: String::new(),
        };
        let runs = matches!(record::state(layout, &job.name), record::State::Running(_));
        if runs && self.direction == Direction::Start {
            return Some(verdict(Outcome::Already, None));
        }
        if let Some(why) = &job.refused {
            return Some(verdict(Outcome::Skipped, Some(why.clone())));
        }
        // Everybody has to stop, whatever became of those that should have stopped before.
        let failed = job.after.iter().find(|&&other| self.state[other] == Place::Over { good: false });
        match failed {
            Some(&other) if self.direction == Direction::Start => {
                let why = format!("it depends on '{}', which does not run", self.jobs[other].name);
                Some(verdict(Outcome::Skipped, Some(why)))
            }
            _ => None,
        }
    }
}

/// `vserver NAME start` or `stop` as a process.
fn attempt(name: &GuestName, direction: Direction, timeout: Option<Duration>) -> Verdict {
    let begun = Instant::now();
    let verb = match direction {
        Direction::Start => "start",
        Direction::Stop => "stop",
    };
    let mut output = Vec::new();
    let (outcome, reason) = match supervise(name, verb, timeout, &mut output) {
        Ok(Some(status)) if status.success() => {
            // A guest without a record, or one that somebody else was quicker with.
            let nothing = String::from_utf8_lossy(&output);
            let already = nothing.contains("already running") || nothing.contains("is not running");
            (if already { Outcome::Already } else { Outcome::Done }, None)
        }
        Ok(Some(status)) => (Outcome::Failed, Some(how(status, &output))),
        Ok(None) => {
            let waited = timeout.unwrap_or_default().as_secs();
            if direction == Direction::Start
                && let Err(error) = supervise(name, "stop", Some(Duration::from_mins(2)), &mut output)
            {
                output.extend_from_slice(format!("cannot stop it: {error}\n").as_bytes());
            }
            (Outcome::TimedOut, Some(format!("it was not over after {waited} s")))
        }
        Err(error) => (Outcome::Failed, Some(format!("cannot run vserver: {error}"))),
    };
    Verdict {
        name: name.clone(),
        outcome,
        reason,
        seconds: begun.elapsed().as_secs_f64(),
        output: String::from_utf8_lossy(&output).into_owned(),
    }
}

/// The status, and the first line of ours that says why.
fn how(status: std::process::ExitStatus, output: &[u8]) -> String {
    let text = String::from_utf8_lossy(output);
    let ours =
        text.lines().find_map(|line| line.strip_prefix("vserver ")?.split_once(": ").map(|(_, why)| why));
    match (ours, status.code()) {
        (Some(why), _) => why.to_owned(),
        (None, Some(code)) => format!("status {code}"),
        (None, None) => format!("vserver itself ended by {status}"),
    }
}

/// Runs the command to its end, or to the end of its time (`None`). Everything that it says is read: a full pipe would
/// hold it up.
fn supervise(
    name: &GuestName,
    verb: &str,
    timeout: Option<Duration>,
    output: &mut Vec<u8>,
) -> io::Result<Option<std::process::ExitStatus>> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    rustix::io::ioctl_fionbio(&write, false)?;
    let mut child = Command::new(std::env::current_exe()?)
        .args(["--applet", "vserver", "--defaulttty", "--sync", "--"])
        .arg(name.as_os_str())
        .arg(verb)
        .stdin(Stdio::null())
        .stdout(write.try_clone()?)
        .stderr(write)
        .spawn()?;
    let ended = watch(&child, &read, timeout, output)?;
    if !ended {
        end(&child, &read, output)?;
    }
    let status = child.wait()?;
    drain(&read, output)?;
    Ok(ended.then_some(status))
}

/// Whether it ended within its time.
fn watch(child: &Child, read: &OwnedFd, timeout: Option<Duration>, output: &mut Vec<u8>) -> io::Result<bool> {
    let pid = i32::try_from(child.id()).map_err(io::Error::other)?;
    let pidfd = Pidfd::open(pid).map_err(|fault| fault.source)?;
    let until = timeout.map(|timeout| Instant::now() + timeout);
    let mut open = true;
    loop {
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) {
            return Ok(false);
        }
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        let mut watched = vec![PollFd::from_borrowed_fd(pidfd.as_fd(), PollFlags::IN)];
        if open {
            watched.push(PollFd::new(read, PollFlags::IN));
        }
        match poll(&mut watched, left.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let ended = !watched[0].revents().is_empty();
        open = open && drain(read, output)?;
        if ended {
            return Ok(true);
        }
    }
}

/// Asks the command to end: it takes back what it has done. Then makes it end; the next command on the guest takes the
/// rest away.
fn end(child: &Child, read: &OwnedFd, output: &mut Vec<u8>) -> io::Result<()> {
    let pid = i32::try_from(child.id()).map_err(io::Error::other)?;
    let pidfd = Pidfd::open(pid).map_err(|fault| fault.source)?;
    pidfd.signal(15).map_err(|fault| fault.source)?;
    if !watch(child, read, Some(GRACE), output)? {
        pidfd.signal(9).map_err(|fault| fault.source)?;
    }
    Ok(())
}

/// Reads what is there; false at the end of the file. The newest [`MOST_OUTPUT`] bytes are kept.
fn drain(read: &OwnedFd, output: &mut Vec<u8>) -> io::Result<bool> {
    let mut buffer = [0; 4096];
    let mut file = File::from(read.try_clone()?);
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(false),
            Ok(count) => {
                output.extend_from_slice(&buffer[..count]);
                if output.len() > 2 * MOST_OUTPUT {
                    output.drain(..output.len() - MOST_OUTPUT);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
