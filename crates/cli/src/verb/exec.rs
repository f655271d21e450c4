//! `vserver NAME exec`, `suexec` and `chkconfig`: one command in a running guest.

use std::ffi::OsString;

use crate::life::{self, Entry};
use crate::report::{Exit, Failure};
use crate::running::{self, Running};
use crate::table::{Call, Command, Complete, Reading};

/// The table entry of `exec`.
pub static EXEC: Command = Command {
    name: "exec",
    summary: "runs a command as root in the running guest",
    synopsis: &["CMD ARGS"],
    options: &[],
    manual: &[
        "CMD has the guest's rights and limits, never more. Its environment is the caller's, its working directory \
         is /.",
    ],
    exits: &[("N", "that of CMD"), ("1", "the guest does not run"), ("255", "CMD cannot be started")],
    examples: &[("vserver web1 exec pidof -s sleep", "look for a process in the guest")],
    error_code: 1,
    reading: Reading::Options,
    operand: Complete::Program,
    run: exec,
};

/// The table entry of `suexec`.
pub static SUEXEC: Command = Command {
    name: "suexec",
    summary: "runs a command as a user in the running guest",
    synopsis: &["USER CMD ARGS"],
    options: &[],
    manual: &[
        "USER is a name or a number; both are looked up in the guest's own passwd and group files, and the command \
         gets the user's group and supplementary groups. A number without an entry is its own group.",
    ],
    exits: EXEC.exits,
    examples: &[("vserver web1 suexec www-data id", "see the rights of a user in the guest")],
    error_code: 1,
    reading: Reading::Options,
    operand: Complete::Program,
    run: suexec,
};

/// The table entry of `chkconfig`.
pub static CHKCONFIG: Command = Command {
    name: "chkconfig",
    summary: "runs the guest's chkconfig as root in the running guest",
    synopsis: &["ARGS"],
    options: &[],
    manual: &["The same as exec chkconfig ARGS."],
    exits: &[("N", "that of chkconfig"), ("1", "the guest does not run")],
    examples: &[("vserver web1 chkconfig --list", "see the guest's services")],
    error_code: 1,
    reading: Reading::Passed,
    operand: Complete::Nothing,
    run: chkconfig,
};

fn exec(call: &mut Call) -> Result<Exit, Failure> {
    let command = call.take_operands();
    enter(call, None, command)
}

fn suexec(call: &mut Call) -> Result<Exit, Failure> {
    let mut command = call.take_operands();
    if command.is_empty() {
        return Err(Failure::Usage("no user given".into()));
    }
    let user = command.remove(0);
    enter(call, Some(user), command)
}

fn chkconfig(call: &mut Call) -> Result<Exit, Failure> {
    let mut command = call.take_operands();
    command.insert(0, OsString::from("chkconfig"));
    enter(call, None, command)
}

fn enter(call: &Call, user: Option<OsString>, command: Vec<OsString>) -> Result<Exit, Failure> {
    if command.is_empty() {
        return Err(Failure::Usage("no command given".into()));
    }
    let running = must_run(call)?;
    life::enter(&running, &Entry { user, command: Some(command) })
}

/// The guest's context, or the refusal whose words are fixed.
pub fn must_run(call: &Call) -> Result<Running, Failure> {
    running::of(&call.layout, call.guest()).ok_or_else(|| {
        Failure::fixed("'vserver ... suexec' is supported for running vservers only; aborting...", 1)
    })
}
