//! `vserver NAME running`

use crate::report::{Exit, Failure};
use crate::running;
use crate::table::{Call, Command, Complete, Reading};
use crate::verb::stop::no_operands;

/// The table entry.
pub static COMMAND: Command = Command {
    name: "running",
    summary: "tells by the exit code whether the guest runs",
    synopsis: &[""],
    options: &[],
    manual: &["Prints nothing."],
    exits: &[("0", "it runs"), ("1", "it does not")],
    examples: &[],
    error_code: 1,
    reading: Reading::Options,
    operand: Complete::Nothing,
    run,
};

fn run(call: &mut Call) -> Result<Exit, Failure> {
    no_operands(call)?;
    Ok(Exit::yes(running::of(&call.layout, call.guest()).is_some()))
}
