//! Hooks: the administrator's own programs at fixed moments of a guest's life.

use std::io::Read as _;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::process::Command;

use vserver_config::guest::{Flavour, Script, Scripts};
use vserver_kernel::message;
use vserver_model::{GuestName, Xid};

use crate::failure::{Doing, Failure};

/// What a hook is told.
#[derive(Clone, Debug)]
pub struct Moment<'a> {
    /// The guest.
    pub name: &'a GuestName,
    /// Its context, when the configuration has been read.
    pub xid: Option<Xid>,
    /// The configuration directory.
    pub dir: &'a Path,
    /// The guest's root directory.
    pub root: &'a Path,
}

/// A sourced script runs in this shell. It says what the script asked for on descriptor 3: one word per line.
const SHIM: &str = r#"
script=$1; shift
DONT_SKIP_DEFAULTS=; VSERVER_EXTRA_CMDS=()
. "$script"
status=$?
[ -z "$DONT_SKIP_DEFAULTS" ] || echo DONT_SKIP_DEFAULTS >&3
[ ${#VSERVER_EXTRA_CMDS[@]} -eq 0 ] || echo VSERVER_EXTRA_CMDS >&3
exit $status
"#;

/// Runs the scripts of one moment: the guest's own, then the defaults if none of its own ran or one asked for them.
///
/// # Errors
/// A script cannot be started or ended with another status than 0; the ones behind it are not run.
pub fn run(scripts: &Scripts, flavour: Flavour, moment: &Moment<'_>) -> Result<(), Failure> {
    let none = Vec::new();
    let own = scripts.own.get(&flavour).unwrap_or(&none);
    let mut defaults_too = own.is_empty();
    for script in own {
        defaults_too |= run_one(script, flavour, moment)?;
    }
    if defaults_too {
        for script in scripts.defaults.get(&flavour).unwrap_or(&none) {
            run_one(script, flavour, moment)?;
        }
    }
    Ok(())
}

/// Runs one script; true if it asked for the defaults as well.
fn run_one(script: &Script, flavour: Flavour, moment: &Moment<'_>) -> Result<bool, Failure> {
    let what = || format!("run the {flavour} script {}", script.path.display());
    if script.executable {
        let status = told(Command::new(&script.path), flavour, moment).status().doing(what)?;
        return checked(status, what).map(|()| false);
    }
    let (ours, theirs) = message::pair().doing(what)?;
    rustix::io::fcntl_setfd(&theirs, rustix::io::FdFlags::empty()).doing(what)?;
    let mut shell = Command::new("bash");
    // The shim speaks on the socket, whatever its number is.
    shell
        .arg("-c")
        .arg(SHIM.replace(">&3", &format!(">&{}", theirs.as_raw_fd())))
        .arg("vserver")
        .arg(&script.path);
    let mut child = told(shell, flavour, moment).spawn().doing(what)?;
    drop(theirs);
    let status = child.wait().doing(what)?;
    checked(status, what)?;
    let said = said(ours).doing(what)?;
    if said.contains("VSERVER_EXTRA_CMDS") {
        return Err(Failure::new(format!("cannot {}", what()))
            .because("it sets VSERVER_EXTRA_CMDS, a command inside the start chain, which this version does not have")
            .hint("make what the command did a hook of its own, or an item of the configuration"));
    }
    Ok(said.contains("DONT_SKIP_DEFAULTS"))
}

/// Arguments, directory and environment of a hook.
fn told(mut command: Command, flavour: Flavour, moment: &Moment<'_>) -> Command {
    let early = matches!(flavour, Flavour::Initialize | Flavour::PrepreStart);
    command
        .arg(flavour.as_str())
        .arg(moment.name.as_os_str())
        .current_dir(if early { moment.dir } else { moment.root })
        .env("VSERVER_DIR", moment.dir)
        .env("VSERVER_NAME", moment.name.as_os_str())
        .env("VDIR", moment.root);
    if let Some(xid) = moment.xid {
        command.env("S_CONTEXT", xid.to_string());
    }
    command
}

/// What the shim has said. A background process of the script may hold the socket open: take what is there.
fn said(socket: OwnedFd) -> std::io::Result<String> {
    rustix::fs::fcntl_setfl(&socket, rustix::fs::OFlags::NONBLOCK)?;
    let mut text = Vec::new();
    let mut buffer = [0; 256];
    let mut socket = std::fs::File::from(socket);
    loop {
        match socket.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => text.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}

fn checked(status: std::process::ExitStatus, what: impl Fn() -> String) -> Result<(), Failure> {
    if status.success() {
        return Ok(());
    }
    let mut failure = Failure::new(format!("cannot {}", what())).because(format!("it ended with {status}"));
    failure.status = status.code();
    Err(failure)
}
