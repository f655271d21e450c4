//! `vserver events`: what happened to guests.

use std::ffi::OsStr;
use std::time::Duration;

use vserver_run::events::{self, Event, Follower};
use vserver_run::logs::harmless;

use crate::report::{Exit, Failure};
use crate::since;
use crate::table::{Call, Command, Complete, Opt, PLAIN_EXITS, Reading};
use crate::verb::stop::no_operands;

/// The table entry.
pub static COMMAND: Command = Command {
    name: "events",
    summary: "shows what happened to guests: starts, stops, failures, reboots, limits",
    synopsis: &["[-f] [--since TIME] [--guest NAME] [--json]"],
    options: &[
        Opt::flag(&["-f", "--follow"], "go on with what happens from now on, until interrupted"),
        Opt::with(&["--since"], "TIME", Complete::Nothing, "only what happened at TIME or later"),
        Opt::with(&["--guest"], "NAME", Complete::Guest, "only what happened to one guest"),
        Opt::flag(&["--json"], "one JSON object a line, for programs"),
    ],
    manual: &[
        "The words: started, start-failed, stopped, stop-failed, ended (by itself), reboot, halt (it asked for it), \
         limit (what it ran into while it ran, told when it has ended), quarantined (it reboots so often that it is \
         left alone), handler (a program in apps/vshelper was run), adopted (its guard or its record was gone), moved \
         (copied, renamed, exported, imported).",
        "The newest 1 to 2 MiB are kept in /var/log/vservers/.events, one JSON object a line: time, guest, xid, event, \
         detail. Every command appends by itself; there is no daemon. Where journald runs it has the events as well, \
         with the fields VSERVER_GUEST, VSERVER_XID and VSERVER_EVENT.",
        since::FORMS,
    ],
    exits: PLAIN_EXITS,
    examples: &[
        ("vserver events --since 1d", "since yesterday"),
        ("vserver events -f --json | jq -r .guest", "for programs"),
        ("journalctl VSERVER_GUEST=web1", "the same of one guest, from the journal"),
    ],
    error_code: 1,
    reading: Reading::Options,
    operand: Complete::Nothing,
    run,
};

/// How often the file is looked at while it is followed.
const TURN: Duration = Duration::from_millis(200);

fn run(call: &mut Call) -> Result<Exit, Failure> {
    no_operands(call)?;
    let since = call.given.value("--since").map(since::moment).transpose()?;
    let layout = call.layout.clone();
    let mut follower = call.given.has("--follow").then(|| Follower::from_now(&layout));
    let all = events::all(&layout).map_err(|error| {
        Failure::because(format!("cannot read {}", layout.events_file().display()), error)
    })?;
    for event in all.iter().filter(|event| since.as_ref().is_none_or(|since| event.time >= *since)) {
        show(call, event)?;
    }
    let Some(follower) = &mut follower else { return Ok(Exit::OK) };
    loop {
        call.out.flush()?;
        std::thread::sleep(TURN);
        for event in follower.new_ones() {
            show(call, &event)?;
        }
    }
}

fn show(call: &mut Call, event: &Event) -> Result<(), Failure> {
    let wanted = call.given.value("--guest");
    if wanted.is_some_and(|wanted: &OsStr| wanted != event.guest.as_os_str()) {
        return Ok(());
    }
    if call.given.has("--json") {
        return Ok(call.out.line(serde_json::to_string(event).map_err(Failure::of)?)?);
    }
    let mut lines = event.detail.split('\n').map(|line| harmless(line.as_bytes()));
    let detail = lines.next().unwrap_or_default();
    let name = harmless(event.guest.as_os_str().as_encoded_bytes());
    call.out.line(format!("{} {name} {} {detail}", event.time, event.event).trim_end())?;
    for line in lines {
        call.out.line(format!("    {line}"))?;
    }
    Ok(())
}
