//! The side of this crate towards the life cycle: the calls that start, stop and enter.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use vserver_host::Host;
use vserver_model::{GuestName, Layout};
use vserver_plan::show::Shown;
use vserver_plan::{Rescue, StartAsk as PlanAsk};
use vserver_run::ended::{self, GuestEnd};
use vserver_run::enter::{self, Terminal, User};
use vserver_run::{Failure as RunFailure, start, stop};

use crate::guests::GuestDir;
use crate::report::{self, Exit, Failure, Trouble};
use crate::running::Running;
use crate::table::Globals;

/// What `start` is asked.
#[derive(Clone, Debug, Default)]
pub struct StartAsk {
    /// `--rescue`, with the command or nothing.
    pub rescue: Option<Vec<OsString>>,
    /// `--rescue-init`
    pub rescue_init: bool,
    /// The options of `vserver`.
    pub globals: Globals,
}

impl From<&StartAsk> for PlanAsk {
    fn from(ask: &StartAsk) -> Self {
        Self {
            rescue: ask.rescue.clone().map(|command| Rescue { command, init: ask.rescue_init }),
            sync: ask.globals.sync,
            default_tty: ask.globals.defaulttty,
            verbose: ask.globals.verbose,
            debug_sysv: ask.globals.debug_sysv,
        }
    }
}

/// What to run in a guest.
#[derive(Clone, Debug)]
pub struct Entry {
    /// `suexec USER`; root otherwise.
    pub user: Option<OsString>,
    /// The command; `None`: the configured login shell.
    pub command: Option<Vec<OsString>>,
}

impl From<RunFailure> for Failure {
    fn from(mut failure: RunFailure) -> Self {
        let set_in = failure.place.take();
        let hint = failure.hint.take();
        let mut undone = std::mem::take(&mut failure.undone);
        undone.extend(failure.left.drain(..).map(|left| format!("NOT {left}")));
        let code = failure.status.and_then(|status| u8::try_from(status).ok());
        Self::Trouble(Box::new(Trouble { set_in, hint, undone, code, ..Trouble::new(failure) }))
    }
}

/// Starts the guest.
pub fn start(layout: &Layout, guest: &GuestDir, ask: &StartAsk) -> Result<Exit, Failure> {
    let shown = guest.shown();
    let outcome = start::start(layout, &guest.name, &guest.dir, &ask.into(), &mut report::say);
    match outcome {
        Ok(start::Outcome::Started(_)) => Ok(Exit::OK),
        Ok(start::Outcome::AlreadyRunning(_)) => {
            report::say(&format!("vserver '{shown}' already running"));
            Ok(Exit::OK)
        }
        Err(failure) => {
            report::say(&format!("\nFailed to start vserver '{shown}'"));
            Err(Failure::from(failure))
        }
    }
}

/// What a start would do: in words, or as JSON.
pub fn plan(layout: &Layout, guest: &GuestDir, ask: &StartAsk, json: bool) -> Result<String, Failure> {
    let host = Host::quick().map_err(Failure::of)?;
    let planned = start::plan(layout, &host, &guest.dir, &ask.into())?;
    let shown = Shown::from(&planned.plan);
    if !json {
        return Ok(shown.to_string());
    }
    let mut text = serde_json::to_string_pretty(&shown).map_err(Failure::of)?;
    text.push('\n');
    Ok(text)
}

/// Stops the guest; a guest that does not run is only cleaned up.
pub fn stop(layout: &Layout, guest: &GuestDir) -> Result<Exit, Failure> {
    match stop::stop(layout, &guest.name, &guest.dir, &mut report::say)? {
        stop::Outcome::Stopped => {}
        stop::Outcome::NotRunning => report::say(&format!("vserver '{}' is not running", guest.shown())),
    }
    Ok(Exit::OK)
}

/// Runs a command in the guest and gives its exit.
pub fn enter(running: &Running, entry: &Entry) -> Result<Exit, Failure> {
    let record = &running.record;
    let login = entry.command.is_none();
    let argv = match &entry.command {
        Some(command) => command.clone(),
        None => enter::shell(record)?,
    };
    let mut wanted = enter::Entry::new(argv);
    wanted.environment = std::env::vars_os().collect();
    wanted.user = entry.user.clone().map_or(User::Root, User::Named);
    wanted.terminal =
        if login && record.vlogin_disabled { Terminal::Never } else { Terminal::IfCallerHasOne };
    let status = enter::run(record, &wanted)?;
    Ok(Exit::Code(u8::try_from(status).unwrap_or(255)))
}

/// `vserver --broker NAME DIR`: the guard calls it when a system call of the guest waits to be answered.
pub fn broker(layout: &Layout, words: &[OsString]) -> Result<Exit, Failure> {
    let [name, _] = words else { return Err(Failure::plain("called by the guard only")) };
    let name = GuestName::new(name.clone()).map_err(Failure::of)?;
    vserver_run::broker::serve(layout, &name)?;
    Ok(Exit::OK)
}

/// `vserver --guest-ended NAME DIR CODE STATUS`: the guard calls it when the guest has ended by itself.
pub fn guest_ended(layout: &Layout, words: &[OsString]) -> Result<Exit, Failure> {
    let [name, dir, code, status] = words else { return Err(Failure::plain("called by the guard only")) };
    let number = |word: &OsStr| word.to_str().and_then(|text| text.parse::<i32>().ok()).unwrap_or(0);
    let name = GuestName::new(name.clone()).map_err(Failure::of)?;
    ended::guest_ended(layout, &name, Path::new(dir), GuestEnd::from_wait(number(code), number(status)))?;
    Ok(Exit::OK)
}
