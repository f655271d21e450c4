//! `start-vservers`: many guests at once, in the order of what they depend on.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::time::Duration;

use vserver_model::{GuestName, Layout};
use vserver_plan::order::{Direction, Known, Order};

use crate::batch::{self, Limits, Verdict};
use crate::guests;
use crate::report::{self, Exit, Failure};
use crate::select;
use crate::table::{Call, Command, Complete, JSON, Opt, Reading};

/// The table entry.
pub static COMMAND: Command = Command {
    name: "start-vservers",
    summary: "starts or stops many guests at once, in the order of what they depend on",
    synopsis: &["[-m MARK]... [-j N] [--start|--stop] [OPTIONS] [FILTER]... [--] [GUEST]..."],
    options: &[
        Opt::with(
            &["-m", "--mark"],
            "M[,M]...",
            Complete::Nothing,
            "guests with one of the marks; may be repeated",
        ),
        Opt::with(&["-j", "--jobs"], "N", Complete::Nothing, "so many at once (99)"),
        Opt::with(
            &["--timeout"],
            "SECONDS",
            Complete::Nothing,
            "so long each (300); what a start had done until then is taken back; 0: as long as it takes",
        ),
        Opt::flag(&["--start"], "start them (the default)"),
        Opt::flag(&["--stop"], "stop them"),
        Opt::flag(&["--test"], "only print the order"),
        Opt::flag(&["--debug"], "show what each guest's command said, too, when all went well"),
        JSON,
        FILTERS[0],
        FILTERS[1],
        FILTERS[2],
        FILTERS[3],
        FILTERS[4],
        Opt::with(&["-c"], "DIR", Complete::Path, "old, without effect").hide(),
    ],
    manual: &[
        "The guests are those that are named and those that pass every FILTER: --all, --running, --stopped, --marked, \
         --unmarked and -m. Filters skip guests that have a file disabled.",
        "At a start a guest waits for those that it names in apps/init/depends, which are started as well, chosen or \
         not; when one of them fails, it is skipped. At a stop the order is the other one, and everybody is stopped \
         whatever became of others. Guests that do not wait for each other are started side by side.",
        "Dependencies that do not exist, and guests that depend on each other in a circle, are told before anything \
         is done. Guests of a circle are not started.",
        "Each guest gets one line as soon as its fate is known, and what its command said when it failed.",
        "Called as stop-vservers it stops.",
    ],
    exits: &[
        ("0", "nothing to do, or all are as they should be"),
        ("1", "wrong use, or all failed"),
        ("2", "some failed"),
    ],
    examples: &[
        ("start-vservers -m default -j 4 --start", "what the boot service does"),
        ("start-vservers --running --stop", "stop whatever runs"),
        ("start-vservers --all --test", "see the order"),
    ],
    error_code: 1,
    reading: Reading::Options,
    operand: Complete::Guest,
    run,
};

const FILTERS: [Opt; 5] = [select::ALL, select::RUNNING, select::STOPPED, select::MARKED, select::UNMARKED];

/// How many at once unless told.
const JOBS: usize = 99;
/// How long each unless told.
const TIMEOUT: u64 = 300;

fn run(call: &mut Call) -> Result<Exit, Failure> {
    let stop = call.given.has("--stop") || (!call.given.has("--start") && called_stop(&call.argv0));
    let direction = if stop { Direction::Stop } else { Direction::Start };
    let at_once = number(call, "--jobs")?.unwrap_or(JOBS).max(1);
    let seconds = number(call, "--timeout")?.map_or(TIMEOUT, |seconds| seconds as u64);
    let timeout = (seconds > 0).then(|| Duration::from_secs(seconds));
    let chosen: Vec<(usize, GuestName)> = chosen(call).into_iter().map(|name| (0, name)).collect();
    let order = order(&call.layout, &chosen, direction);
    if call.given.has("--test") {
        return show(call, &order);
    }
    let show = Show { json: call.given.has("--json"), all: call.given.has("--debug") };
    perform(call, &order, direction, Limits { at_once, timeout }, show)
}

fn called_stop(argv0: &str) -> bool {
    argv0.rsplit('/').next().is_some_and(|name| name.starts_with("stop-"))
}

fn number(call: &Call, option: &str) -> Result<Option<usize>, Failure> {
    let Some(text) = call.given.value(option) else { return Ok(None) };
    let number = text.to_str().and_then(|text| text.parse().ok());
    number.map(Some).ok_or_else(|| Failure::Usage(format!("'{}' is not a whole number", text.display())))
}

/// Names and what the filters let pass.
fn chosen(call: &mut Call) -> Vec<GuestName> {
    let mut names = Vec::new();
    for typed in call.take_operands() {
        match named(&call.layout, &typed) {
            Ok(name) => names.push(name),
            Err(why) => report::say(&format!("{}: {why}", call.argv0)),
        }
    }
    names.extend(select::filtered(&call.layout, &call.given).into_iter().map(|guest| guest.name));
    names
}

/// A guest by its short name.
///
/// # Errors
/// The line that says why it is skipped.
pub fn named(layout: &Layout, typed: &OsStr) -> Result<GuestName, String> {
    let shown = typed.display();
    let name = GuestName::new(typed)
        .map_err(|_| format!("'{shown}' is not the short name of a guest; skipping it..."))?;
    if layout.config_of(&name).is_dir() {
        Ok(name)
    } else {
        Err(format!("Vserver '{shown}' does not exist; skipping it..."))
    }
}

/// The order of the chosen guests, and of those that they depend on.
pub fn order(layout: &Layout, chosen: &[(usize, GuestName)], direction: Direction) -> Order {
    let known: BTreeMap<GuestName, Known> = guests::all(layout)
        .into_iter()
        .map(|guest| {
            let depends = vserver_config::depends(layout, &guest.name);
            let disabled = !select::is_for_many(&guest);
            (guest.name, Known { depends, disabled })
        })
        .collect();
    Order::of(chosen, &known, direction)
}

/// What is shown of a batch.
#[derive(Clone, Copy, Debug)]
pub struct Show {
    /// One value at the end instead of lines.
    pub json: bool,
    /// What the commands of guests said even when all went well.
    pub all: bool,
}

/// Tells what is wrong with the order, does it, and tells what became of each guest.
pub fn perform(
    call: &mut Call,
    order: &Order,
    direction: Direction,
    limits: Limits,
    show: Show,
) -> Result<Exit, Failure> {
    for problem in &order.problems {
        report::say(&format!("{}: {problem}", call.argv0));
    }
    let (layout, out) = (call.layout.clone(), &mut call.out);
    let mut sent = Ok(());
    let verdicts = batch::run(&layout, order, direction, limits, &mut |verdict| {
        if show.all || !verdict.is_good() {
            verdict.output.lines().for_each(|line| report::say(&format!("  {}: {line}", verdict.name)));
        }
        // Nobody may listen any more: the guests are started all the same.
        if sent.is_ok() && !show.json {
            sent = out.line(verdict.line(direction)).and_then(|()| out.flush());
        }
    });
    if show.json {
        call.out.json(&verdicts)?;
    }
    sent?;
    Ok(verdict_of_all(&verdicts))
}

fn verdict_of_all(verdicts: &[Verdict]) -> Exit {
    match verdicts.iter().filter(|verdict| !verdict.is_good()).count() {
        0 => Exit::OK,
        bad if bad == verdicts.len() => Exit::Code(1),
        _ => Exit::Code(2),
    }
}

/// The order as one worker would go through it.
fn show(call: &mut Call, order: &Order) -> Result<Exit, Failure> {
    for problem in &order.problems {
        report::say(&format!("{}: {problem}", call.argv0));
    }
    let mut over = BTreeSet::new();
    while let Some(at) = (0..order.jobs.len()).find(|at| {
        let job = &order.jobs[*at];
        let lower = |other: usize| order.jobs[other].stage < job.stage && !over.contains(&other);
        !over.contains(at)
            && job.after.iter().all(|other| over.contains(other))
            && !(0..order.jobs.len()).any(lower)
    }) {
        let job = &order.jobs[at];
        let mut line = job.name.as_os_str().to_owned();
        let names: Vec<String> = job.after.iter().map(|&other| order.jobs[other].name.to_string()).collect();
        if !names.is_empty() {
            line.push(OsString::from(format!(" after {}", names.join(", "))));
        }
        if job.pulled_in {
            line.push(" (not chosen)");
        }
        if let Some(why) = &job.refused {
            line.push(OsString::from(format!(": skipped: {why}")));
        }
        call.out.line(line)?;
        over.insert(at);
    }
    Ok(Exit::OK)
}
