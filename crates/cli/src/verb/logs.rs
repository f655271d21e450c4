//! `vserver NAME logs`

use std::time::Duration;

use serde::Serialize;
use vserver_run::events;
use vserver_run::logs::{self, Boot, Follower, Found, Line};

use crate::output::OutputError;
use crate::report::{Exit, Failure};
use crate::since;
use crate::table::{Call, Command, Complete, Opt, PLAIN_EXITS, Reading};
use crate::verb::stop::no_operands;

/// The table entry.
pub static COMMAND: Command = Command {
    name: "logs",
    summary: "shows what appeared on the guest's console",
    synopsis: &["[-f] [-n LINES] [--since TIME] [--boot N] [--json]"],
    options: &[
        Opt::flag(&["-f", "--follow"], "go on with what appears from now on, until interrupted"),
        Opt::with(&["-n", "--lines"], "LINES", Complete::Nothing, "only the last LINES"),
        Opt::with(&["--since"], "TIME", Complete::Nothing, "only lines that began at TIME or later"),
        Opt::with(
            &["--boot"],
            "N",
            Complete::Nothing,
            "only one boot: its number, or 0 for the last one, -1 for the one before",
        ),
        Opt::flag(&["--json"], "one JSON object a line, for programs"),
    ],
    manual: &[
        "The console is where the guest's init and rc scripts print. The last 8 boots are kept, the newest 256 to 512 \
         KiB of each, in /var/log/vservers/NAME; a guest that prints without end fills no disk. What it printed when \
         a start failed is there, too.",
        "Whatever a terminal would obey is shown in words (\\x1b), so that a guest cannot do anything to the terminal \
         of who looks. The line before each boot is ours: lines of the guest have a time before them, which it cannot \
         forge.",
        since::FORMS,
    ],
    exits: PLAIN_EXITS,
    examples: &[
        ("vserver web1 logs --boot 0", "what it printed since its last start"),
        ("vserver web1 logs -n 20 -f", "the last lines, and what comes"),
    ],
    error_code: 1,
    reading: Reading::Options,
    operand: Complete::Nothing,
    run,
};

/// How often a log that is followed is looked at.
const TURN: Duration = Duration::from_millis(100);

#[derive(Serialize)]
struct Entry {
    boot: u32,
    time: Option<String>,
    text: String,
}

fn run(call: &mut Call) -> Result<Exit, Failure> {
    no_operands(call)?;
    let since = call.given.value("--since").map(since::moment).transpose()?;
    let most = call.given.value("--lines").map(|typed| {
        let number = typed.to_str().and_then(|text| text.parse::<usize>().ok());
        number.ok_or_else(|| Failure::Usage(format!("'{}' is not a number of lines", typed.display())))
    });
    let most = most.transpose()?;
    let (layout, name) = (call.layout.clone(), call.guest().name.clone());
    // Before the old lines are read: what comes in between is shown then, or now, and never lost.
    let mut follower = call.given.has("--follow").then(|| Follower::from_now(&layout, &name));
    let mut lines = Vec::new();
    for boot in chosen(call, logs::boots(&layout, &name))? {
        let number = boot.number;
        lines.extend(boot.lines()?.into_iter().map(|line| (number, line)));
    }
    lines.retain(|(_, line)| since.as_ref().is_none_or(|since| events::utc(line.time) >= *since));
    let first = most.map_or(0, |most| lines.len().saturating_sub(most));
    let mut shown = None;
    for (boot, line) in &lines[first..] {
        show(call, *boot, line, &mut shown)?;
    }
    let Some(follower) = &mut follower else { return Ok(Exit::OK) };
    let mut boot = follower.boot().unwrap_or(0);
    loop {
        call.out.flush()?;
        std::thread::sleep(TURN);
        for found in follower.lines() {
            match found {
                Found::Boot(number) => boot = number,
                Found::Line(line) => show(call, boot, &line, &mut shown)?,
            }
        }
    }
}

fn chosen(call: &Call, mut boots: Vec<Boot>) -> Result<Vec<Boot>, Failure> {
    let Some(typed) = call.given.value("--boot") else { return Ok(boots) };
    let number = typed.to_str().and_then(|text| text.parse::<i64>().ok());
    let number =
        number.ok_or_else(|| Failure::Usage(format!("'{}' is not the number of a boot", typed.display())))?;
    let place = if number > 0 {
        boots.iter().position(|boot| i64::from(boot.number) == number)
    } else {
        usize::try_from(-number).ok().and_then(|back| boots.len().checked_sub(back + 1))
    };
    let kept: Vec<String> = boots.iter().map(|boot| boot.number.to_string()).collect();
    let place = place.ok_or_else(|| {
        let kept = if kept.is_empty() { "none".to_owned() } else { kept.join(", ") };
        Failure::plain(format!("no log of boot {number} of '{}'", call.guest().shown()))
            .hint(format!("kept are: {kept}"))
    })?;
    Ok(vec![boots.swap_remove(place)])
}

fn show(call: &mut Call, boot: u32, line: &Line, shown: &mut Option<u32>) -> Result<(), OutputError> {
    let time = (line.time > 0).then(|| events::utc(line.time));
    if call.given.has("--json") {
        let entry = Entry { boot, time, text: String::from_utf8_lossy(&line.text).into_owned() };
        return call.out.line(serde_json::to_string(&entry).unwrap_or_default());
    }
    if *shown != Some(boot) {
        *shown = Some(boot);
        call.out.line(format!("-- boot {boot} --"))?;
    }
    call.out.line(format!("{} {}", time.as_deref().unwrap_or("-"), line.shown()))
}
