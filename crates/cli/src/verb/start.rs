//! `vserver NAME start`

use crate::life::{self, StartAsk};
use crate::report::{self, Exit, Failure};
use crate::table::{Call, Command, Complete, Opt, Reading};

/// The table entry.
pub static COMMAND: Command = Command {
    name: "start",
    summary: "starts the guest",
    synopsis: &["[--dry-run [--json]]", "--rescue [--rescue-init] [--] [CMD ARGS]"],
    options: &[
        Opt::flag(&["--dry-run"], "only print what would be done, step by step; needs no root"),
        Opt::flag(&["--json"], "with --dry-run: print JSON for programs"),
        Opt::flag(&["--rescue"], "run CMD (default: sleep 900) instead of what the guest's init style runs"),
        Opt::flag(&["--rescue-init"], "run CMD as the guest's init, process 1"),
        Opt::with(&["--rescue-cmd"], "CMD", Complete::Nothing, "old spelling of --rescue CMD").hide(),
    ],
    manual: &[
        "Starts the guest as its configuration says. Everything that was set up is taken back when a step fails.",
        "A guest that runs already is left alone, and the exit code is 0.",
        "With --rescue the guest is set up as usual, but runs CMD: enter it and repair what keeps it from starting.",
    ],
    exits: &[("0", "started, or already running"), ("1", "it failed, and everything was taken back")],
    examples: &[("vserver web1 start --dry-run", "see what a start would do")],
    error_code: 1,
    reading: Reading::Options,
    operand: Complete::Nothing,
    run,
};

fn run(call: &mut Call) -> Result<Exit, Failure> {
    let mut command = call.take_operands();
    let mut rescue = call.given.has("--rescue") || call.given.has("--rescue-init");
    if let Some(old) = call.given.value("--rescue-cmd") {
        report::say("vserver ... start: option '--rescue-cmd' is deprecated, use '--rescue CMD'");
        command.insert(0, old.to_owned());
        rescue = true;
    }
    if !rescue && let Some(word) = command.first() {
        return Err(Failure::fixed(format!("vserver ... start: unknown option '{}'", word.display()), 1));
    }
    if call.globals.strace {
        report::say(
            "vserver ... start: option '--strace' has no effect in this version; --debug traces our steps",
        );
    }
    let ask = StartAsk {
        rescue: rescue.then_some(command),
        rescue_init: call.given.has("--rescue-init"),
        globals: call.globals,
    };
    if call.given.has("--dry-run") {
        let text = life::plan(&call.layout, call.guest(), &ask, call.given.has("--json"))?;
        call.out.bytes(text.as_bytes())?;
        return Ok(Exit::OK);
    }
    life::start(&call.layout, call.guest(), &ask)
}
