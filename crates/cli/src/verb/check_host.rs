//! `vserver check-host`: what this kernel offers, what is lost without the rest, and what to do.

use vserver_host::Survey;

use crate::report::{Exit, Failure};
use crate::table::{Call, Command, Complete, JSON, Reading};
use crate::verb::stop::no_operands;

/// The table entry.
pub static COMMAND: Command = Command {
    name: "check-host",
    summary: "tells whether this host can run guests and what it lacks",
    synopsis: &["[--json]"],
    options: &[JSON],
    manual: &[
        "One line for each feature of the kernel that vserver uses: whether it is there, what is lost without it, \
         and what to do about it.",
    ],
    exits: &[("0", "guests can run"), ("1", "guests cannot run")],
    examples: &[],
    error_code: 1,
    reading: Reading::Options,
    operand: Complete::Nothing,
    run,
};

fn run(call: &mut Call) -> Result<Exit, Failure> {
    no_operands(call)?;
    let survey = Survey::take(&call.layout.vdirbase).map_err(Failure::of)?;
    let text = if call.given.has("--json") { survey.to_json() } else { survey.to_string() };
    call.out.bytes(text.as_bytes())?;
    Ok(Exit::Code(survey.exit_code()))
}
