//! `vserver` and all its companions: one binary that is what it is called as.

mod applet;
mod args;
mod batch;
mod complete;
mod context;
mod guests;
mod help;
mod life;
mod man;
mod nets;
mod output;
mod processes;
mod report;
mod running;
mod select;
mod service;
mod since;
mod table;
mod verb;

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::ExitCode;

use crate::args::Wish;
use crate::output::Output;
use crate::report::{Exit, Failure};
use crate::table::{Call, Command, Globals};
use vserver_model::Layout;

fn main() -> ExitCode {
    let mut args: Vec<OsString> = std::env::args_os().collect();
    let argv0 = if args.is_empty() { OsString::from("vserver") } else { args.remove(0) };
    start_log();
    let (command, argv0) = pick(&argv0, &mut args);
    match run_program(command, &argv0, args) {
        Exit::Code(code) => ExitCode::from(code),
        Exit::Signal(signal) => die_by(signal),
    }
}

/// The program that the binary was called as; `vserver --applet NAME` names it where there is no link, and
/// `vserver --service FILE` takes it from the name of an init script whose first line is `#!/usr/sbin/vserver --service`.
fn pick(argv0: &OsStr, args: &mut Vec<OsString>) -> (&'static Command, String) {
    let vserver = &applet::vserver::COMMAND;
    if args.first().is_some_and(|arg| arg == "--applet")
        && let Some(command) = args.get(1).and_then(|name| name.to_str()).and_then(table::program)
    {
        args.drain(..2);
        return (command, command.name.to_owned());
    }
    if args.first().is_some_and(|arg| arg == "--service")
        && let Some(command) = args.get(1).and_then(|path| service_of(Path::new(path)))
    {
        args.drain(..2);
        return (command, command.name.to_owned());
    }
    let base = Path::new(argv0).file_name().and_then(OsStr::to_str).unwrap_or("vserver");
    (table::program(base).unwrap_or(vserver), argv0.to_string_lossy().into_owned())
}

/// The service of an init script, also when it was called by one of the links in `/etc/rcN.d`: `S20vservers`.
fn service_of(script: &Path) -> Option<&'static Command> {
    let name = script.file_name()?.to_str()?;
    let short =
        name.strip_prefix(['S', 'K']).map(|rest| rest.trim_start_matches(|c: char| c.is_ascii_digit()));
    table::program(name).or_else(|| table::program(short?))
}

fn run_program(command: &'static Command, argv0: &str, args: Vec<OsString>) -> Exit {
    let span = tracing::info_span!("command", name = command.name);
    let _entered = span.enter();
    let mut out = Output::stdout();
    let given = match args::read(command, args) {
        Ok(Wish::Run(given)) => given,
        Ok(wish) => return finish(answer(command, "", &wish, &mut out), command.name, argv0, command),
        Err(bad) => return finish(Err(bad.into()), command.name, argv0, command),
    };
    let layout = match Layout::from_prefix(std::env::var_os("VSERVER_PREFIX").as_deref()) {
        Ok(layout) => layout.with_cgroup_top(std::env::var_os("VSERVER_CGROUP_TOP").as_deref()),
        Err(bad) => return finish(Err(Failure::of(bad)), command.name, argv0, command),
    };
    let mut call = Call {
        command,
        argv0: argv0.to_owned(),
        given,
        layout,
        guest: None,
        globals: Globals::default(),
        out,
    };
    let result = run(&mut call);
    finish(result, command.name, argv0, command)
}

/// Runs a command and sends out what it wrote.
pub(crate) fn run(call: &mut Call) -> Result<Exit, Failure> {
    let result = (call.command.run)(call);
    let sent = call.out.flush();
    let exit = result?;
    sent?;
    Ok(exit)
}

/// `--help` or `--version` of a command.
pub(crate) fn answer(
    command: &Command,
    prefix: &str,
    wish: &Wish,
    out: &mut Output,
) -> Result<Exit, Failure> {
    let text = if *wish == Wish::Version { help::version(command) } else { help::text(command, prefix) };
    out.bytes(text.as_bytes())?;
    out.flush()?;
    Ok(Exit::OK)
}

/// The exit of a result; a failure is printed.
pub(crate) fn finish(result: Result<Exit, Failure>, who: &str, argv0: &str, command: &Command) -> Exit {
    match result {
        Ok(exit) => exit,
        Err(failure) => Exit::Code(report::print(&failure, who, argv0, command.error_code)),
    }
}

/// Ends like the program that we supervised: by the same signal, without a core of our own.
fn die_by(signal: i32) -> ExitCode {
    use rustix::process::{Resource, Rlimit, Signal, getpid, kill_process, setrlimit};
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    if let Some(signal) = Signal::from_named_raw(signal)
        && setrlimit(Resource::Core, none).is_ok()
        && kill_process(getpid(), signal).is_ok()
    {
        // A signal that this process ignores or has blocked goes on below.
        std::thread::yield_now();
    }
    // The shell's way to tell it remains.
    ExitCode::from(u8::try_from(128 + signal).unwrap_or(255))
}

/// Events go to the standard error, and only those that `VSERVER_LOG` asks for (`debug`, `vserver_run=trace`).
fn start_log() {
    if let Some(filter) = std::env::var_os("VSERVER_LOG") {
        log(&filter.to_string_lossy());
    }
}

/// Events that `filter` asks for go to the standard error from here on, unless a log was started before.
pub(crate) fn log(filter: &str) {
    let started = tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::new(filter))
        .with_writer(std::io::stderr)
        .with_ansi(output::colour_on(&std::io::stderr()))
        .try_init();
    if started.is_err() {
        tracing::debug!(filter, "the log is on already: VSERVER_LOG decides what it shows");
    }
}
