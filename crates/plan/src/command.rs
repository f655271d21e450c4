//! What is run in the guest at start and at stop: the init styles.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use vserver_config::guest::Guest;
use vserver_model::InitStyle;

use crate::ask::StartAsk;
use crate::step::{Ending, StopRequest};
use crate::tree::Tree;

/// The style's part of a start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartCommand {
    /// The style that is in force (a rescue start has its own).
    pub style: InitStyle,
    /// Program and arguments in the guest.
    pub argv: Vec<OsString>,
    /// Added to the configured environment.
    pub environment: Vec<(OsString, OsString)>,
    /// The program is the guest's init.
    pub init: bool,
    /// Runlevel for the guest's utmp.
    pub runlevel_record: Option<u8>,
}

/// Why there is nothing to run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoCommand {
    /// None of the style's programs is in the guest.
    #[error("the guest has no executable {}", .looked_for.join(" and no executable "))]
    Missing {
        /// What was looked for, in the guest.
        looked_for: Vec<&'static str>,
    },
    /// The style has no command of its own.
    #[error("init style \"\" runs only what apps/init/cmd.start says, and there is no such file")]
    Nothing {
        /// The style file.
        place: Option<PathBuf>,
    },
}

const RC: [&str; 2] = ["/etc/init.d/rc", "/etc/rc.d/rc"];
const GENTOO: [&str; 2] = ["/lib/rcscripts/sh/init-vserver.sh", "/lib/rc/sh/init-vserver.sh"];
const SYSTEMD: [&str; 2] = ["/lib/systemd/systemd", "/usr/lib/systemd/systemd"];

fn words<const N: usize>(list: [&str; N]) -> Vec<OsString> {
    list.iter().map(OsString::from).collect()
}

fn last_present(tree: &Tree, list: &'static [&'static str]) -> Result<OsString, NoCommand> {
    list.iter()
        .rev()
        .find(|program| tree.has(program))
        .map(OsString::from)
        .ok_or_else(|| NoCommand::Missing { looked_for: list.to_vec() })
}

fn variable(name: &str, value: impl AsRef<OsStr>) -> (OsString, OsString) {
    (name.into(), value.as_ref().to_owned())
}

/// What the guest's style, configuration and the command line make of a start.
///
/// # Errors
///
/// [`NoCommand`]: the style's program is not in the guest, or the style has none.
pub fn start(guest: &Guest, tree: &Tree, ask: &StartAsk) -> Result<StartCommand, NoCommand> {
    if let Some(rescue) = &ask.rescue {
        let argv =
            if rescue.command.is_empty() { words(["/bin/sleep", "900"]) } else { rescue.command.clone() };
        return Ok(StartCommand {
            style: InitStyle::Rescue,
            argv,
            environment: Vec::new(),
            init: rescue.init,
            runlevel_record: None,
        });
    }
    let init = &guest.init;
    let runlevel = init.runlevel_start.as_ref().map(|level| level.value.as_str());
    let fakeinit = guest.fakeinit.is_some();
    let configured = init.cmd_start.as_ref().map(|command| command.value.clone());
    let own =
        |program: Result<OsString, NoCommand>, argument: Option<&str>| -> Result<Vec<OsString>, NoCommand> {
            match &configured {
                Some(command) => Ok(command.clone()),
                None => Ok([program?].into_iter().chain(argument.map(OsString::from)).collect()),
            }
        };
    let command = |argv, environment, init, record: &str| StartCommand {
        style: guest.init.style,
        argv,
        environment,
        init: init || fakeinit,
        runlevel_record: match record.as_bytes() {
            [level @ b'0'..=b'9'] => Some(*level),
            _ => None,
        },
    };
    Ok(match init.style {
        InitStyle::Sysv => {
            let level = runlevel.unwrap_or("3");
            let mut argv = own(last_present(tree, &RC), Some(level))?;
            if ask.debug_sysv && configured.is_none() {
                argv.splice(0..0, words(["/bin/bash", "-x"]));
            }
            let environment = vec![variable("PREVLEVEL", "N"), variable("RUNLEVEL", level)];
            command(argv, environment, false, level)
        }
        InitStyle::Plain => command(own(Ok("/sbin/init".into()), runlevel)?, Vec::new(), true, ""),
        InitStyle::Systemd => {
            let program = last_present(tree, &SYSTEMD).or(Ok("/sbin/init".into()));
            command(own(program, None)?, Vec::new(), true, "")
        }
        InitStyle::Minit => {
            let level = runlevel.unwrap_or("3");
            command(own(Ok("/sbin/minit-start".into()), runlevel)?, Vec::new(), true, level)
        }
        InitStyle::Gentoo | InitStyle::Openrc => {
            let argv = own(last_present(tree, &GENTOO), Some(runlevel.unwrap_or("default")))?;
            command(argv, Vec::new(), false, "3")
        }
        InitStyle::Arch => {
            command(own(Ok("/etc/rc.multi".into()), None)?, Vec::new(), false, runlevel.unwrap_or("3"))
        }
        InitStyle::Rescue | InitStyle::Empty => match configured {
            Some(argv) => command(argv, Vec::new(), false, ""),
            None => return Err(NoCommand::Nothing { place: init.style_place.clone() }),
        },
    })
}

/// How a guest started this way is asked to end.
pub fn ending(guest: &Guest, tree: &Tree, started: &StartCommand) -> Ending {
    let init = &guest.init;
    let level = init.runlevel_stop.as_ref().map_or("6", |level| level.value.as_str());
    let configured = init.cmd_stop.as_ref().map(|command| command.value.clone());
    let mut environment = Vec::new();
    let request = match (started.style, started.init) {
        (InitStyle::Rescue, false) => StopRequest::None,
        // An explicit stop command is honoured in init mode, too (L8).
        _ if configured.is_some() => StopRequest::Command(configured.unwrap_or_default()),
        (style, true) => {
            let systemd = style == InitStyle::Systemd || (style == InitStyle::Plain && tree.init_is_systemd);
            // systemd(1): SIGRTMIN+3 starts halt.target; SIGINT is Ctrl-Alt-Del to every other init.
            StopRequest::Signal(if systemd { libc::SIGRTMIN() + 3 } else { libc::SIGINT })
        }
        (InitStyle::Sysv, false) => {
            let start_level = init.runlevel_start.as_ref().map_or("3", |level| level.value.as_str());
            environment = vec![variable("PREVLEVEL", start_level), variable("RUNLEVEL", level)];
            match last_present(tree, &RC) {
                Ok(rc) => StopRequest::Command(vec![rc, level.into()]),
                Err(_) => StopRequest::None,
            }
        }
        (InitStyle::Gentoo | InitStyle::Openrc, false) => {
            environment = vec![variable("RUNLEVEL", "0")];
            StopRequest::Command(words(["/sbin/rc", "shutdown"]))
        }
        (InitStyle::Arch, false) => StopRequest::Command(words(["/etc/rc.shutdown"])),
        (_, false) => StopRequest::None,
    };
    Ending {
        request,
        environment,
        timeout: guest.vshelper.sync_timeout,
        killseq: init.killseq.clone(),
        sync_command: init.cmd_stop_sync.as_ref().map(|command| command.value.clone()),
    }
}
