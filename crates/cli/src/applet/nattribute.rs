//! `nattribute`: flags and capabilities of a network context that exists.

use serde::Serialize;
use vserver_model::words::{NCAPS, NFLAGS};

use crate::nets::{self, FLAG, NCAP, NID, Wanted};
use crate::report::{Exit, Failure};
use crate::table::{Call, Command, Complete, JSON, Opt, Reading};

/// The table entry.
pub static COMMAND: Command = Command {
    name: "nattribute",
    summary: "prints or changes flags and capabilities of a network context",
    synopsis: &[
        "[--set] [--nid NID] [--ncap LIST]... [--flag LIST]... [--secure] [--] [CMD ARGS]",
        "--get [--nid NID] [--json]",
    ],
    options: &[
        Opt::flag(&["--get"], "print them"),
        Opt::flag(&["--set"], "change them: what is done without --get"),
        NID,
        NCAP,
        FLAG,
        Opt::flag(&["--secure"], "ping is allowed, other raw sockets are not, and hide_netif is set"),
        JSON,
    ],
    manual: &[
        "Without --nid: the network context that this process is in. LIST is words with commas between them, ~ before \
         one clears it; the words are those of the files nflags and ncapabilities. A change counts at once, but for \
         hide_netif of a running guest, which is decided when it starts.",
        "A cleared state_admin is for good: nobody can change the network context any more.",
    ],
    exits: &[("0", "done"), ("1", "it failed"), ("255", "wrong use"), ("N", "that of CMD")],
    examples: &[
        ("nattribute --get --nid web1", "print the guest's"),
        ("nattribute --set --nid web1 --ncap ~raw_icmp", "no ping any more"),
    ],
    error_code: 255,
    reading: Reading::Options,
    operand: Complete::Program,
    run,
};

fn run(call: &mut Call) -> Result<Exit, Failure> {
    if call.given.has("--get") {
        if call.given.has("--set") {
            return Err(Failure::Usage("only one of --get and --set can be given".into()));
        }
        return get(call);
    }
    let wanted = Wanted::read(call)?;
    let changed = nets::existing(call).and_then(|mut active| {
        let mut value = active.value.clone();
        wanted.apply(&mut value);
        Ok(active.change(&call.layout, value)?)
    });
    changed.map_err(|failure| failure.code(1))?;
    let command = call.take_operands();
    nets::go_on_here(call, command)
}

/// What `--get --json` prints.
#[derive(Serialize)]
struct Answer {
    nid: u32,
    ncapabilities: Vec<String>,
    nflags: Vec<String>,
}

fn get(call: &mut Call) -> Result<Exit, Failure> {
    let value = nets::existing(call).map_err(|failure| failure.code(1))?.value;
    if call.given.has("--json") {
        call.out.json(&Answer {
            nid: value.nid.get(),
            ncapabilities: nets::list_of(&NCAPS, value.capabilities),
            nflags: nets::list_of(&NFLAGS, value.flags),
        })?;
    } else {
        call.out.line("ncapabilities:")?;
        call.out.line(NCAPS.print(value.capabilities))?;
        call.out.line("nflags:")?;
        call.out.line(NFLAGS.print(value.flags))?;
    }
    Ok(Exit::OK)
}
