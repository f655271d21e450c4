//! `vserver [OPTIONS] [--] NAME COMMAND [ARGS]`: finds the guest and hands over to the verb.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use vserver_config::NoSuchGuest;
use vserver_model::GuestName;

use crate::args::{self, Wish};
use crate::guests::{self, GuestDir};
use crate::output::Output;
use crate::report::{Exit, Failure};
use crate::table::{self, Call, Command, Complete, Globals, Opt, Reading};
use crate::{complete, man};

/// The line that scripts know; the words are the reference's.
const USAGE: &str = "Usage: vserver <vserver> {start|stop|suexec|restart|condrestart|exec|enter|chkconfig|running|\
                     status|delete}";

/// The table entry.
pub static COMMAND: Command = Command {
    name: "vserver",
    summary: "starts, stops, enters and describes guests",
    synopsis: &[
        "[OPTIONS] [--] NAME COMMAND [ARGS]",
        "list [--json]",
        "events [-f] [--since TIME] [--guest NAME] [--json]",
        "check-host [--json]",
        "--completion bash|zsh|fish",
        "--generate-man DIR",
    ],
    options: &[
        Opt::flag(&["-s", "--sync"], "run the guest's synchronisation commands even without apps/init/sync"),
        Opt::flag(&["-v", "--verbose"], "say more about the single steps"),
        Opt::flag(&["--silent"], "no informational lines from status; delete does not ask"),
        Opt::flag(&["--debug"], "trace every step to the standard error"),
        Opt::flag(
            &["--defaulttty"],
            "connect the guest's start and stop command to the configured apps/init/tty",
        ),
        Opt::flag(&["--debug-sysv"], "run the rc script of a sysv guest with shell tracing"),
        Opt::flag(&["--strace"], "trace the guest's first process with strace into /tmp/vserver-start.PID"),
        Opt::with(&["--completion"], "SHELL", Complete::Words(complete::SHELLS), "print a completion script"),
        Opt::with(
            &["--generate-man"],
            "DIR",
            Complete::Path,
            "write the manual pages of all programs into DIR",
        ),
        Opt::flag(&["--list-guests"], "print the guests' names, for completion").hide(),
        Opt::flag(&["--guest-ended"], "internal: the guard calls this when a guest has ended").hide(),
        Opt::flag(&["--broker"], "internal: the guard calls this when system calls wait to be answered")
            .hide(),
        Opt::flag(&["----nonamespace"], "internal: the caller is in the guest's mount namespace").hide(),
        Opt::flag(&["----insecure"], "internal: allow suexec in a stopped guest").hide(),
    ],
    manual: &[
        "vserver does one thing to one guest. A guest is a directory below /etc/vservers; NAME is that directory's \
         name, or a path that starts with /, ./ or ../ and leads to a configuration directory. The number of a \
         running context is taken as well.",
        "The environment variable VSERVER_PREFIX names another base directory: then everything lives below it \
         (etc/vservers, vservers, run, var).",
        "VSERVER_LOG=debug shows what is done step by step. NO_COLOR switches colour off.",
        "The binary is all the other programs too, by the name it is called as; where the link is missing, \
         vserver --applet PROGRAM ARGS does the same.",
    ],
    exits: &[
        ("0", "done, or there was nothing to do"),
        ("1", "wrong use, or it failed"),
        ("2", "no such command, or delete was not confirmed"),
        ("3", "status: the guest is stopped"),
        ("5", "no such guest"),
    ],
    examples: &[
        ("vserver web1 build -m debootstrap --context 1001 -- -d bookworm", "make a Debian guest"),
        ("vserver web1 start", "start it"),
        ("vserver web1 enter", "get a shell in it"),
        ("vserver list", "see all guests"),
    ],
    error_code: 1,
    reading: Reading::Options,
    operand: Complete::Guest,
    run,
};

fn run(call: &mut Call) -> Result<Exit, Failure> {
    if call.given.has("--debug") {
        crate::log("debug");
    } else if call.given.has("--verbose") {
        crate::log("info");
    }
    if call.given.has("--list-guests") {
        return list_guests(call);
    }
    if call.given.has("--guest-ended") {
        return crate::life::guest_ended(&call.layout, &call.given.operands);
    }
    if call.given.has("--broker") {
        return crate::life::broker(&call.layout, &call.given.operands);
    }
    if let Some(shell) = call.given.value("--completion") {
        let script = shell.to_str().and_then(complete::script);
        let Some(script) = script else {
            return Err(Failure::Usage(format!("no completion for the shell '{}'", shell.display())));
        };
        call.out.bytes(script.as_bytes())?;
        return Ok(Exit::OK);
    }
    if let Some(dir) = call.given.value("--generate-man") {
        man::write_all(Path::new(dir)).map_err(Failure::of)?;
        return Ok(Exit::OK);
    }
    let mut operands = call.take_operands();
    if operands.is_empty() {
        return Err(Failure::fixed(USAGE, 2));
    }
    let name = without_slash(operands.remove(0));
    // A word in the place of NAME, unless a command follows: then it is a guest of that name.
    let alone = operands.first().is_none_or(|next| next.as_bytes().starts_with(b"-"));
    if alone && let Some(word) = name.to_str().and_then(table::word) {
        return Ok(hand_over(call, word, "vserver ", &format!("vserver {}", word.name), None, operands));
    }
    let verb = if operands.is_empty() { None } else { Some(operands.remove(0)) };
    let verb = verb.as_deref().and_then(OsStr::to_str).and_then(table::verb);
    let building = verb.is_some_and(|verb| ["build", "import"].contains(&verb.name));
    let guest = match guests::find(&call.layout, &name) {
        Ok(guest) => guest,
        Err(NoSuchGuest::Missing { dir, .. }) if building => to_build(&name, dir)?,
        Err(error @ NoSuchGuest::Legacy(_)) => return Err(guests::not_found(error)),
        Err(error) => return Err(no_setup(call, &name, &error)),
    };
    let Some(verb) = verb else { return Err(Failure::fixed(USAGE, 2)) };
    let who = format!("vserver {} {}", guest.shown(), verb.name);
    Ok(hand_over(call, verb, "vserver NAME ", &who, Some(guest), operands))
}

/// One name a line: what completion scripts ask for at every press of the key.
fn list_guests(call: &mut Call) -> Result<Exit, Failure> {
    for guest in guests::all(&call.layout) {
        call.out.line(guest.name.as_os_str())?;
    }
    Ok(Exit::OK)
}

/// Calls a verb, and prints its failure under its own name.
fn hand_over(
    call: &mut Call,
    command: &'static Command,
    prefix: &str,
    who: &str,
    guest: Option<GuestDir>,
    args: Vec<OsString>,
) -> Exit {
    let given = match args::read(command, args) {
        Ok(Wish::Run(given)) => given,
        Ok(wish) => {
            return crate::finish(
                crate::answer(command, prefix, &wish, &mut call.out),
                who,
                &call.argv0,
                command,
            );
        }
        Err(bad) => return crate::finish(Err(bad_option(command, &bad)), who, who, command),
    };
    let guest_name = guest.as_ref().map(GuestDir::shown);
    let span = tracing::info_span!("verb", name = command.name, guest = guest_name);
    let _entered = span.enter();
    let mut inner = Call {
        command,
        argv0: who.to_owned(),
        given,
        layout: call.layout.clone(),
        guest,
        globals: globals(call),
        out: Output::stdout(),
    };
    let result = crate::run(&mut inner);
    crate::finish(result, who, who, command)
}

/// `start` has its own words for an unknown option; the others say what getopt says.
fn bad_option(command: &Command, bad: &args::BadArgs) -> Failure {
    match bad {
        args::BadArgs::UnknownLong(option) if command.name == "start" => {
            Failure::fixed(format!("vserver ... start: unknown option '{option}'"), 1)
        }
        args::BadArgs::UnknownShort(letter) if command.name == "start" => {
            Failure::fixed(format!("vserver ... start: unknown option '-{letter}'"), 1)
        }
        other => Failure::Usage(other.to_string()),
    }
}

fn globals(call: &Call) -> Globals {
    let given = &call.given;
    Globals {
        sync: given.has("--sync"),
        verbose: given.has("--verbose"),
        silent: given.has("--silent"),
        debug: given.has("--debug"),
        defaulttty: given.has("--defaulttty"),
        strace: given.has("--strace"),
        debug_sysv: given.has("--debug-sysv"),
        nonamespace: given.has("----nonamespace"),
        insecure: given.has("----insecure"),
    }
}

/// A guest that does not exist yet.
fn to_build(name: &OsStr, dir: PathBuf) -> Result<GuestDir, Failure> {
    let last = dir.file_name().unwrap_or(name);
    Ok(GuestDir { name: GuestName::new(last).map_err(Failure::of)?, dir })
}

fn no_setup(call: &Call, name: &OsStr, error: &NoSuchGuest) -> Failure {
    let dir = match error {
        NoSuchGuest::Missing { dir, .. } => dir.clone(),
        _ => call.layout.confdir.join(name),
    };
    let spelling = error.hint().unwrap_or_else(|| "\"vserver list\" shows the guests that exist".to_owned());
    Failure::fixed(
        format!(
            "Can not find a vserver-setup at '{}/'.\n\n  * Check the spelling: {spelling}\n  * To make a new guest: \
             'vserver {} build --help'\n  * Everything else: 'vserver --help'",
            dir.display(),
            name.display()
        ),
        5,
    )
}

/// One `/` at the end is what a shell's completion puts there.
fn without_slash(name: OsString) -> OsString {
    match name.as_bytes().strip_suffix(b"/") {
        Some(rest) if !rest.is_empty() => OsStr::from_bytes(rest).to_owned(),
        _ => name,
    }
}
