//! `vserver NAME console`: the administrator's terminal at the guest's console.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, read};
use vserver_kernel::pty::{self, RawMode};
use vserver_run::helper;
use vserver_run::logs::{Chunk, Follower, Unstamp};

use crate::applet::vlogin::write_all;
use crate::report::{self, Exit, Failure};
use crate::running;
use crate::table::{Call, Command, Complete, Opt, Reading};
use crate::verb::stop::no_operands;

/// The table entry.
pub static COMMAND: Command = Command {
    name: "console",
    summary: "takes part in the guest's console: what appears there is shown, what is typed goes there",
    synopsis: &["[-r|--read-only]"],
    options: &[Opt::flag(&["-r", "--read-only"], "only show")],
    manual: &[
        "For a guest with a getty on /dev/console this is its screen and keyboard. Ctrl-] three times within a second \
         detaches; the guest does not notice. As many terminals as you like may take part, and what appears is logged \
         all the same: see logs.",
        "What the guest prints goes to the terminal as it is, as with every console: use logs to look at a guest that \
         you do not trust.",
        "When the standard input is no terminal, what it holds is typed as well, and the console is shown until the \
         guest ends.",
    ],
    exits: &[("0", "detached, or the guest has ended"), ("1", "it does not run, or it has no console")],
    examples: &[("vserver web1 console", "log in on the guest's console")],
    error_code: 1,
    reading: Reading::Options,
    operand: Complete::Nothing,
    run,
};

/// How long the log may be behind what is shown.
const TURN: Timespec = Timespec { tv_sec: 0, tv_nsec: 30_000_000 };
/// Ctrl-]
const DETACH: u8 = 0x1d;

fn run(call: &mut Call) -> Result<Exit, Failure> {
    no_operands(call)?;
    let shown = call.guest().shown();
    let stopped =
        || Failure::plain(format!("'{shown}' does not run")).hint("vserver NAME logs shows what it printed");
    let running = running::of(&call.layout, call.guest()).ok_or_else(stopped)?;
    let guard = running.record.guard.open()?;
    let guard = guard.ok_or_else(|| Failure::plain(format!("the guard of '{shown}' is gone")))?;
    let console = guard.descriptor(helper::fd::CONSOLE)?;
    if !rustix::termios::isatty(&console) {
        return Err(Failure::plain(format!("'{shown}' has no console")));
    }
    let init = running.record.init.open()?.ok_or_else(stopped)?;
    let (layout, name) = (call.layout.clone(), call.guest().name.clone());
    let follower = Follower::from_now(&layout, &name);
    let mut desk = Desk { follower, unstamp: Unstamp::default(), console, detach: Detach::default() };
    let stdin = std::io::stdin();
    let writes = !call.given.has("--read-only");
    let raw = if writes && rustix::termios::isatty(&stdin) {
        report::say(&format!("the console of '{shown}': Ctrl-] three times detaches"));
        Some(RawMode::enter(std::io::stdin())?)
    } else {
        None
    };
    let result = desk.attend(init.as_fd(), writes, raw.is_some());
    let on_terminal = raw.is_some();
    drop(raw);
    let why = result?;
    if on_terminal {
        report::say("");
    }
    report::say(&format!("the console of '{shown}': {why}"));
    Ok(Exit::OK)
}

/// Everything at hand while a console is attended.
struct Desk<'a> {
    follower: Follower<'a>,
    unstamp: Unstamp,
    console: std::os::fd::OwnedFd,
    detach: Detach,
}

impl Desk<'_> {
    /// Until somebody detaches or the guest ends; says which.
    fn attend(
        &mut self,
        init: BorrowedFd<'_>,
        mut writes: bool,
        terminal: bool,
    ) -> Result<&'static str, Failure> {
        let trouble = |errno: Errno| Failure::because("cannot attend the console", errno.into());
        let stdin = std::io::stdin();
        let mut size = None;
        let mut bytes = [0_u8; 1024];
        loop {
            let now = pty::window_size(&stdin).ok();
            if terminal && now != size {
                size = now;
                if let Some(size) = now {
                    pty::set_window_size(&self.console, size)?;
                }
            }
            let mut fds = vec![PollFd::from_borrowed_fd(init, PollFlags::IN)];
            if writes {
                fds.push(PollFd::new(&stdin, PollFlags::IN));
            }
            match poll(&mut fds, Some(&TURN)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(trouble(errno)),
            }
            let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
            self.show()?;
            if ready[0] {
                self.show()?;
                return Ok("the guest has ended");
            }
            if ready.get(1) == Some(&true) {
                match read(&stdin, &mut bytes) {
                    Ok(0) | Err(Errno::IO) if terminal => return Ok("detached"),
                    Ok(0) => writes = false,
                    Ok(count) if terminal && self.detach.is_asked(&bytes[..count]) => return Ok("detached"),
                    // A guest that does not read its console must not hold up who wants to detach.
                    Ok(_) if !is_writable(&self.console) => {}
                    Ok(count) => write_all(self.console.as_fd(), &bytes[..count]).map_err(trouble)?,
                    Err(Errno::INTR | Errno::AGAIN) => {}
                    Err(errno) => return Err(trouble(errno)),
                }
            }
        }
    }

    fn show(&mut self) -> Result<(), Failure> {
        let Self { follower, unstamp, .. } = self;
        let mut printed = Vec::new();
        follower.bytes(&mut |chunk| match chunk {
            Chunk::Boot(_) | Chunk::File => *unstamp = Unstamp::default(),
            Chunk::Bytes(bytes) => printed.extend_from_slice(&unstamp.bytes(bytes)),
        });
        write_all(std::io::stdout().as_fd(), &printed)
            .map_err(|errno| Failure::because("cannot write to the standard output", errno.into()))
    }
}

/// Counts the keys that detach.
#[derive(Debug, Default)]
struct Detach(Vec<Instant>);

impl Detach {
    fn is_asked(&mut self, typed: &[u8]) -> bool {
        for byte in typed {
            if *byte == DETACH {
                self.0.push(Instant::now());
            } else {
                self.0.clear();
            }
            let first = self.0.len().checked_sub(3).map(|at| self.0[at]);
            if first.is_some_and(|first| first.elapsed() < Duration::from_secs(1)) {
                return true;
            }
        }
        false
    }
}

fn is_writable(console: &std::os::fd::OwnedFd) -> bool {
    let mut fds = [PollFd::new(console, PollFlags::OUT)];
    let ready = poll(&mut fds, Some(&Timespec::default()));
    ready.is_ok() && fds[0].revents().contains(PollFlags::OUT)
}
