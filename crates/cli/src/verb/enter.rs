//! `vserver NAME enter`

use crate::life::{self, Entry};
use crate::report::{Exit, Failure};
use crate::table::{Call, Command, Complete, Reading};
use crate::verb::exec::must_run;
use crate::verb::stop::no_operands;

/// The table entry.
pub static COMMAND: Command = Command {
    name: "enter",
    summary: "opens a login shell as root in the running guest",
    synopsis: &[""],
    options: &[],
    manual: &[
        "The shell is the first word of the file shell of the guest, else of .defaults; else the first that the \
         guest has of /bin/bash, /bin/sh and /bin/csh.",
        "On a terminal the shell gets a pseudo terminal of its own, opened inside the guest, unless \
         .defaults/apps/vlogin/disable exists.",
    ],
    exits: &[("N", "that of the shell"), ("1", "the guest does not run")],
    examples: &[],
    error_code: 1,
    reading: Reading::Options,
    operand: Complete::Nothing,
    run,
};

fn run(call: &mut Call) -> Result<Exit, Failure> {
    no_operands(call)?;
    let running = must_run(call)?;
    life::enter(&running, &Entry { user: None, command: None })
}
