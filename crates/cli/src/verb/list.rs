//! `vserver list`: every guest there is, running or not.

use serde::Serialize;

use crate::context;
use crate::guests::{self, GuestDir};
use crate::output::Align;
use crate::report::{Exit, Failure};
use crate::running;
use crate::table::{Call, Command, Complete, JSON, Reading};

/// The table entry.
pub static COMMAND: Command = Command {
    name: "list",
    summary: "lists all guests, running or not",
    synopsis: &["[--json]"],
    options: &[JSON],
    manual: &[
        "One line for each configuration directory: name, context number, state, mark and root directory.",
        "A guest that is itself named list is reached with a command: vserver list status.",
    ],
    exits: &[("0", "done"), ("1", "wrong use")],
    examples: &[("vserver list --json", "the same for programs")],
    error_code: 1,
    reading: Reading::Options,
    operand: Complete::Nothing,
    run,
};

#[derive(Serialize)]
struct Line {
    name: String,
    xid: Option<u32>,
    running: bool,
    disabled: bool,
    style: String,
    marks: Vec<String>,
    config: String,
    root: Option<String>,
}

fn run(call: &mut Call) -> Result<Exit, Failure> {
    let lines: Vec<Line> = guests::all(&call.layout).iter().map(|guest| describe(call, guest)).collect();
    if call.given.has("--json") {
        call.out.json(&lines)?;
        return Ok(Exit::OK);
    }
    let columns = [
        ("NAME", Align::Left),
        ("XID", Align::Right),
        ("STATE", Align::Left),
        ("MARK", Align::Left),
        ("ROOT", Align::Left),
    ];
    let rows: Vec<Vec<String>> = lines
        .into_iter()
        .map(|line| {
            let state = match (line.running, line.disabled) {
                (true, _) => "running",
                (false, true) => "disabled",
                (false, false) => "stopped",
            };
            let xid = line.xid.map_or("-".to_owned(), |xid| xid.to_string());
            let marks = if line.marks.is_empty() { "-".to_owned() } else { line.marks.join(",") };
            vec![line.name, xid, state.to_owned(), marks, line.root.unwrap_or("-".to_owned())]
        })
        .collect();
    call.out.table(&columns, &rows)?;
    Ok(Exit::OK)
}

fn describe(call: &Call, guest: &GuestDir) -> Line {
    let marks = vserver_config::marks(&call.layout, &guest.name);
    let running = running::recorded(&call.layout, guest);
    let root = std::fs::read_link(guest.dir.join("vdir")).ok();
    Line {
        name: guest.shown(),
        xid: running.as_ref().map(|running| running.xid).or_else(|| context::fixed(guest)),
        running: running.is_some(),
        disabled: guest.has("disabled"),
        style: guest.first_line("apps/init/style").unwrap_or_else(|| "sysv".to_owned()),
        marks: marks.iter().map(|mark| mark.to_string_lossy().into_owned()).collect(),
        config: guest.dir.to_string_lossy().into_owned(),
        root: root.map(|root| root.to_string_lossy().into_owned()),
    }
}
