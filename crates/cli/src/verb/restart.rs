//! `vserver NAME restart` and `condrestart`

use crate::life::{self, StartAsk};
use crate::report::{self, Exit, Failure};
use crate::running;
use crate::table::{Call, Command, Complete, Reading};
use crate::verb::stop::no_operands;

/// The table entry of `restart`.
pub static RESTART: Command = Command {
    name: "restart",
    summary: "stops the guest, then starts it",
    synopsis: &[""],
    options: &[],
    manual: &[
        "Waits for the real end of the guest before it starts it again; the start is tried whatever the stop \
               said.",
    ],
    exits: &[("0", "started"), ("1", "the start failed")],
    examples: &[],
    error_code: 1,
    reading: Reading::Options,
    operand: Complete::Nothing,
    run: restart,
};

/// The table entry of `condrestart`.
pub static CONDRESTART: Command = Command {
    name: "condrestart",
    summary: "restarts the guest if it runs",
    synopsis: &[""],
    options: &[],
    manual: &["Does nothing, successfully, when the guest does not run."],
    exits: &[("0", "started, or it did not run"), ("1", "the start failed")],
    examples: &[],
    error_code: 1,
    reading: Reading::Options,
    operand: Complete::Nothing,
    run: condrestart,
};

fn restart(call: &mut Call) -> Result<Exit, Failure> {
    no_operands(call)?;
    if let Err(failure) = life::stop(&call.layout, call.guest()) {
        let who = format!("vserver {} stop", call.guest().shown());
        report::print(&failure, &who, &call.argv0, 1);
    }
    life::start(&call.layout, call.guest(), &StartAsk { globals: call.globals, ..StartAsk::default() })
}

fn condrestart(call: &mut Call) -> Result<Exit, Failure> {
    no_operands(call)?;
    if running::of(&call.layout, call.guest()).is_none() {
        return Ok(Exit::OK);
    }
    restart(call)
}
