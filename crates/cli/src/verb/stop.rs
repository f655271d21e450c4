//! `vserver NAME stop`

use crate::life;
use crate::report::{Exit, Failure};
use crate::table::{Call, Command, Complete, Opt, Reading};

/// The table entry.
pub static COMMAND: Command = Command {
    name: "stop",
    summary: "stops the guest",
    synopsis: &["[--rescue-init]"],
    options: &[Opt::flag(
        &["--rescue-init"],
        "the guest was started with --rescue-init: ask its init to end",
    )],
    manual: &[
        "Runs the guest's own shutdown, waits for its end, kills what is left, and takes down what the start set up. \
         All of it comes from the record of the start, so that it works after the configuration was edited.",
        "A guest that does not run is not an error: leftovers are taken away, and the exit code is 0.",
    ],
    exits: &[("0", "stopped, or it did not run"), ("1", "something of the guest remains")],
    examples: &[],
    error_code: 1,
    reading: Reading::Options,
    operand: Complete::Nothing,
    run,
};

fn run(call: &mut Call) -> Result<Exit, Failure> {
    no_operands(call)?;
    life::stop(&call.layout, call.guest())
}

/// Refuses stray words (the original looped for ever on one).
pub fn no_operands(call: &Call) -> Result<(), Failure> {
    match call.given.operands.first() {
        Some(word) => Err(Failure::Usage(format!("unexpected argument '{}'", word.display()))),
        None => Ok(()),
    }
}
