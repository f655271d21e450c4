//! The thin side of this crate towards running guests: what runs, and the calls that start, stop and enter.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use crate::guests::GuestDir;
use crate::report::{Exit, Failure};
use crate::table::Globals;
use vserver_model::Layout;

/// A running guest, as its record tells.
#[derive(Clone, Debug)]
pub struct Running {
    /// Its name: the configuration directory's when it was started.
    pub name: OsString,
    /// Its context number.
    pub xid: u32,
    /// Its configuration directory.
    pub dir: PathBuf,
    /// Its root directory on the host.
    pub root: PathBuf,
    /// The host's pid of its init.
    pub init: Option<u32>,
    /// How long ago it was started.
    pub age: Duration,
    /// First host uid and number of uids of a guest in shifted mode.
    pub ids: Option<(u32, u32)>,
}

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

/// What to run in a guest.
#[derive(Clone, Debug)]
pub struct Entry {
    /// `suexec USER`; root otherwise.
    pub user: Option<OsString>,
    /// The command; `None`: the configured login shell.
    pub command: Option<Vec<OsString>>,
}

fn missing() -> Failure {
    Failure::plain("this build cannot run guests yet")
}

/// Every running guest, by context number.
pub fn all(_layout: &Layout) -> Result<Vec<Running>, Failure> {
    Ok(Vec::new())
}

/// The guest's running context, if it runs.
pub fn of(layout: &Layout, guest: &GuestDir) -> Result<Option<Running>, Failure> {
    Ok(all(layout)?.into_iter().find(|running| running.dir == guest.dir))
}

/// Starts the guest.
pub fn start(_layout: &Layout, _guest: &GuestDir, _ask: &StartAsk) -> Result<Exit, Failure> {
    Err(missing())
}

/// What a start would do: in words, or as JSON.
pub fn plan(_layout: &Layout, _guest: &GuestDir, _ask: &StartAsk, _json: bool) -> Result<String, Failure> {
    Err(missing())
}

/// Stops the guest; a guest that does not run is only cleaned up.
pub fn stop(_layout: &Layout, _guest: &GuestDir, _globals: Globals) -> Result<Exit, Failure> {
    Err(missing())
}

/// Runs a command in the guest and gives its exit.
pub fn enter(_layout: &Layout, _running: &Running, _entry: &Entry) -> Result<Exit, Failure> {
    Err(missing())
}
