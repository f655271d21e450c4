//! `vsomething`: one command for many guests, one after the other.

use std::ffi::{OsStr, OsString};
use std::io;
use std::process::Command as Child;

use crate::applet::vps::exit_of;
use crate::args::{self, Wish};
use crate::output::colour_on;
use crate::report::{self, Exit, Failure};
use crate::select;
use crate::table::{Call, Command, Complete, Opt, Reading};

/// The table entry.
pub static COMMAND: Command = Command {
    name: "vsomething",
    summary: "runs a command for many guests",
    synopsis: &[
        "[-q|--quiet] [--debug] CMD [--] GUEST... -- ARGS",
        "[-q|--quiet] [--debug] CMD [--] FILTER... -- ARGS",
    ],
    options: &[
        Opt::flag(&["-q", "--quiet"], "no headers"),
        Opt::flag(&["--debug"], "print each command before it is run"),
    ],
    manual: &[
        "Runs CMD GUEST ARGS for each guest that is named or that the filters choose.",
        "Filters: --all, --running, --stopped, --marked, --unmarked, --mark M[,M]... (a mark after ! or ~ must be \
         absent; --mark may be repeated). A guest must pass all of them. Filters skip guests that have a file disabled, and names that \
         editors and package managers leave behind.",
        "The environment variable VSOMETHING_TITLE takes the place of CMD in the headers.",
    ],
    exits: &[("N", "that of the last guest's command"), ("1", "wrong use"), ("255", "no guest")],
    examples: &[("vsomething vserver --running -- status", "the state of all running guests")],
    error_code: 1,
    reading: Reading::Options,
    operand: Complete::Program,
    run,
};

/// The options behind CMD.
static FILTERS: &[Opt] =
    &[select::ALL, select::RUNNING, select::STOPPED, select::MARKED, select::UNMARKED, select::MARK];

fn run(call: &mut Call) -> Result<Exit, Failure> {
    let mut rest = call.take_operands();
    if rest.is_empty() {
        return Err(Failure::Usage("no command given".into()));
    }
    let program = rest.remove(0);
    let (chosen, args) = split(rest);
    let filters = match args::read_options(FILTERS, chosen)? {
        Wish::Run(filters) => filters,
        wish => return crate::answer(call.command, "", &wish, &mut call.out),
    };
    let mut guests = filters.operands.clone();
    guests.extend(
        select::filtered(&call.layout, &filters).into_iter().map(|guest| guest.name.as_os_str().to_owned()),
    );
    let title = std::env::var_os("VSOMETHING_TITLE").unwrap_or_else(|| program.clone());
    let headers = guests.len() > 1 && !call.given.has("--quiet");
    let mut exit = Exit::Code(255);
    for guest in guests {
        if headers {
            header(call, &title, &guest)?;
        }
        exit = run_one(call, &program, &guest, &args)?;
        if exit != Exit::OK {
            let number = match exit {
                Exit::Code(code) => i32::from(code),
                Exit::Signal(signal) => 128 + signal,
            };
            let (title, guest) = (title.display(), guest.display());
            report::say(&format!("{title} failed on vserver '{guest}' with errorcode {number}"));
        }
        if headers {
            call.out.line("")?;
        }
    }
    Ok(exit)
}

/// Guests and filters up to the `--` that ARGS follow; a `--` right after CMD only ends CMD's options.
fn split(mut rest: Vec<OsString>) -> (Vec<OsString>, Vec<OsString>) {
    if rest.first().is_some_and(|word| word == "--") {
        rest.remove(0);
    }
    match rest.iter().position(|word| word == "--") {
        Some(at) => {
            let args = rest.split_off(at + 1);
            rest.truncate(at);
            (rest, args)
        }
        None => (rest, Vec::new()),
    }
}

fn header(call: &mut Call, title: &OsStr, guest: &OsStr) -> Result<(), Failure> {
    let mut line = title.to_owned();
    line.push(": operating on vserver ");
    line.push(guest);
    if colour_on(&io::stdout()) {
        let mut bold = OsString::from("\x1b[1m");
        bold.push(line);
        bold.push("\x1b[0m");
        line = bold;
    }
    Ok(call.out.line(line)?)
}

fn run_one(call: &mut Call, program: &OsStr, guest: &OsStr, args: &[OsString]) -> Result<Exit, Failure> {
    // `vserver` and its companions are this very binary, whether or not there are links to it.
    let own = program
        .to_str()
        .and_then(crate::table::program)
        .and_then(|command| Some((std::env::current_exe().ok()?, command.name)));
    let mut child = match own {
        Some((binary, name)) => {
            let mut child = Child::new(binary);
            child.args(["--applet", name]);
            child
        }
        None => Child::new(program),
    };
    child.arg(guest).args(args);
    if call.given.has("--debug") {
        report::say(&format!("vsomething: {child:?}"));
    }
    call.out.flush()?;
    match child.status() {
        Ok(status) => Ok(exit_of(status)),
        Err(error) => {
            let failure = Failure::because(format!("cannot run {}", program.display()), error);
            Ok(Exit::Code(report::print(&failure, "vsomething", &call.argv0, 127)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(list: &[&str]) -> Vec<OsString> {
        list.iter().map(OsString::from).collect()
    }

    #[test]
    fn args_follow_the_second_dashes() {
        assert_eq!(
            split(words(&["a", "b", "--", "x", "--", "y"])),
            (words(&["a", "b"]), words(&["x", "--", "y"]))
        );
        assert_eq!(split(words(&["--", "a", "--", "x"])), (words(&["a"]), words(&["x"])));
        assert_eq!(split(words(&["--all"])), (words(&["--all"]), words(&[])));
    }
}
