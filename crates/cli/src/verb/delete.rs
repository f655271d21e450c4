//! `vserver NAME delete`

use std::io::{self, BufRead, Write};

use crate::life;
use crate::report::{Exit, Failure};
use crate::table::{Call, Command, Complete, Globals, Reading};
use crate::verb::stop::no_operands;

/// The table entry.
pub static COMMAND: Command = Command {
    name: "delete",
    summary: "removes the guest: its root directory, its configuration, its caches",
    synopsis: &[""],
    options: &[],
    manual: &[
        "Asks first, unless vserver was called with --silent, and stops the guest if it runs. Then it removes the \
         root directory, the configuration directory, the package data below /vservers/.pkg and the cache.",
        "Refused when the root directory is /, when anything is mounted below it, and, with --silent, when it is \
         outside the base directory of the guests.",
    ],
    exits: &[("0", "removed"), ("1", "it failed"), ("2", "the answer was not y")],
    examples: &[("vserver --silent web1 delete", "remove without asking")],
    error_code: 1,
    reading: Reading::Options,
    operand: Complete::Nothing,
    run,
};

fn run(call: &mut Call) -> Result<Exit, Failure> {
    no_operands(call)?;
    if !call.globals.silent && !confirmed(&call.guest().shown()) {
        return Ok(Exit::Code(2));
    }
    if life::of(&call.layout, call.guest())?.is_some() {
        life::stop(&call.layout, call.guest(), Globals { sync: true, ..call.globals })?;
    }
    Err(Failure::plain("this build of vserver cannot remove guests"))
}

/// Asks; only a single `y` or `Y` means yes. The end of the input means no.
fn confirmed(name: &str) -> bool {
    let mut out = io::stdout();
    // A question that cannot be shown is one that nobody answers.
    let asked =
        write!(out, "Are you sure you want to delete the vserver {name} (y/N) ").and_then(|()| out.flush());
    let mut answer = String::new();
    asked.is_ok()
        && io::stdin().lock().read_line(&mut answer).is_ok()
        && matches!(answer.trim_end(), "y" | "Y")
}
