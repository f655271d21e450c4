//! `vserver NAME check`: everything that is wrong in a guest's configuration, in one run.

use crate::report::{Exit, Failure};
use crate::table::{Call, Command, Complete, JSON, Reading};
use crate::verb::stop::no_operands;

/// The table entry.
pub static COMMAND: Command = Command {
    name: "check",
    summary: "reports everything that is wrong in the guest's configuration",
    synopsis: &["[--json]"],
    options: &[JSON],
    manual: &[
        "Reports every bad value, unknown file, likely typing error, duplicate context and dangling link, and what \
         this version reads but does not honour yet, each with file and line. Nothing is changed.",
    ],
    exits: &[("0", "nothing is wrong"), ("1", "something is wrong")],
    examples: &[],
    error_code: 1,
    reading: Reading::Options,
    operand: Complete::Nothing,
    run,
};

fn run(call: &mut Call) -> Result<Exit, Failure> {
    no_operands(call)?;
    Err(Failure::plain("this build of vserver cannot read configurations"))
}
