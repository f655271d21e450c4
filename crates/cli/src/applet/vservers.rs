//! `vservers`: the boot service, which starts and stops the guests of the host.

use std::ffi::OsStr;
use std::time::Duration;

use vserver_config::Settings;
use vserver_model::GuestName;
use vserver_plan::order::Direction;

use crate::applet::start_vservers::{self, Show};
use crate::batch::Limits;
use crate::guests;
use crate::report::{self, Exit, Failure};
use crate::running;
use crate::select;
use crate::service::{self, Mark, Verb};
use crate::table::{Call, Command, JSON, Reading};

/// The table entry.
pub static COMMAND: Command = Command {
    name: "vservers",
    summary: "the boot service: starts and stops the guests of this host",
    synopsis: &["[--json] start|stop|restart|reload|condrestart|status"],
    options: &[JSON],
    manual: &[
        "start starts the guests that have one of the marks (apps/init/mark) that the settings list, mark after mark, \
         and then single guests, each in the order of what it depends on: see start-vservers(8). stop stops them in \
         the opposite order. A mark that was started is not started again until it was stopped.",
        "The settings are lines NAME=value in /etc/sysconfig/vservers, or in /etc/default/vservers where that is \
         missing: MARKS (default), START_VSERVERS (guests in addition, in this order), STARTALL=yes (every guest, \
         whatever its marks), NUMPARALLEL (6: so many at once), TIMEOUT (300: seconds for each guest; 0: as long as \
         it takes).",
        "status tells which marks were started and lists what runs.",
        "On a host with systemd this is vservers.service, elsewhere /etc/init.d/vservers: both call this program, and \
         no shell stands between.",
    ],
    exits: service::EXITS,
    examples: &[
        ("service vservers start", "as at boot"),
        ("vservers status", "what was started, and what runs"),
    ],
    error_code: 1,
    reading: Reading::Options,
    operand: service::VERBS,
    run,
};

/// How many at once unless the settings say otherwise.
const PARALLEL: usize = 6;

/// One part of the service: what its mark is called, and who belongs to it.
struct Part {
    mark: Mark,
    shown: String,
    guests: Vec<GuestName>,
}

fn run(call: &mut Call) -> Result<Exit, Failure> {
    match service::verb(call)? {
        // Reload: what got a mark of the settings meanwhile, or what the settings list now.
        Verb::Start | Verb::Reload => start(call),
        Verb::Stop => stop(call),
        Verb::Restart => {
            let stopped = stop(call)?;
            Ok(service::worse(start(call)?, stopped))
        }
        Verb::Condrestart if is_started(call) => {
            let stopped = stop(call)?;
            Ok(service::worse(start(call)?, stopped))
        }
        Verb::Condrestart => Ok(Exit::OK),
        Verb::Status => status(call),
    }
}

fn settings(call: &Call) -> (Vec<Part>, Limits) {
    let layout = &call.layout;
    let mut settings = Settings::of(layout, "vservers");
    let at_once = settings.number("NUMPARALLEL").unwrap_or(PARALLEL);
    let timeout = match settings.get("TIMEOUT") {
        Some("0") => None,
        _ => Some(Duration::from_secs(settings.number("TIMEOUT").map_or(300, |seconds| seconds as u64))),
    };
    for problem in &settings.problems {
        report::say(&format!("vservers: {problem}"));
    }
    let everybody = guests::all(layout);
    let part = |word: &str, shown: String, of: &dyn Fn(&guests::GuestDir) -> bool| Part {
        mark: Mark::new(layout, word),
        shown,
        guests: everybody.iter().filter(|guest| of(guest)).map(|guest| guest.name.clone()).collect(),
    };
    let mut parts = Vec::new();
    if matches!(settings.get("STARTALL"), Some("yes" | "YES" | "true" | "1")) {
        parts.push(part("vservers-all", "all guests".into(), &select::is_for_many));
    } else {
        let marks = settings.words("MARKS");
        let marks = if settings.get("MARKS").is_none() { vec!["default".to_owned()] } else { marks };
        for mark in marks {
            let has = |guest: &guests::GuestDir| {
                let marks = vserver_config::marks(layout, &guest.name);
                select::is_for_many(guest) && select::has_mark(&marks, OsStr::new(&mark))
            };
            parts.push(part(&format!("vservers-{mark}"), format!("guests marked '{mark}'"), &has));
        }
    }
    for typed in settings.words("START_VSERVERS") {
        match start_vservers::named(layout, OsStr::new(&typed)) {
            Ok(name) => parts.push(Part {
                mark: Mark::new(layout, &format!("vserver-{typed}")),
                shown: format!("guest '{typed}'"),
                guests: vec![name],
            }),
            Err(why) => report::say(&format!("vservers: {why}")),
        }
    }
    (parts, Limits { at_once, timeout })
}

fn start(call: &mut Call) -> Result<Exit, Failure> {
    let (parts, limits) = settings(call);
    let mut wanted = Vec::new();
    for (stage, part) in parts.iter().enumerate() {
        if part.mark.is_set() {
            report::say(&format!("vservers: {} are already started", part.shown));
        } else {
            wanted.extend(part.guests.iter().map(|guest| (stage, guest.clone())));
        }
    }
    // Before, so that a service that is interrupted stops what it has begun.
    parts.iter().try_for_each(|part| part.mark.set())?;
    perform(call, &wanted, Direction::Start, limits)
}

fn stop(call: &mut Call) -> Result<Exit, Failure> {
    let (parts, limits) = settings(call);
    let started = parts.iter().enumerate().filter(|(_, part)| part.mark.is_set());
    let mut wanted: Vec<(usize, GuestName)> = started
        .clone()
        .flat_map(|(stage, part)| part.guests.iter().map(move |guest| (stage, guest.clone())))
        .collect();
    // What was started only because another one depends on it goes with the service, too.
    let order = start_vservers::order(&call.layout, &wanted, Direction::Start);
    let pulled_in = order.jobs.iter().filter(|job| job.pulled_in && job.refused.is_none());
    wanted.extend(pulled_in.map(|job| (job.stage, job.name.clone())));
    let exit = perform(call, &wanted, Direction::Stop, limits)?;
    for (_, part) in started {
        part.mark.clear()?;
    }
    Ok(exit)
}

/// Some guests that fail are no failure of the service: their lines say so.
fn perform(
    call: &mut Call,
    wanted: &[(usize, GuestName)],
    direction: Direction,
    limits: Limits,
) -> Result<Exit, Failure> {
    let order = start_vservers::order(&call.layout, wanted, direction);
    let show = Show { json: call.given.has("--json"), all: false };
    match start_vservers::perform(call, &order, direction, limits, show)? {
        Exit::Code(2) => Ok(Exit::OK),
        exit => Ok(exit),
    }
}

fn is_started(call: &Call) -> bool {
    settings(call).0.iter().any(|part| part.mark.is_set())
}

fn status(call: &mut Call) -> Result<Exit, Failure> {
    let (parts, _) = settings(call);
    let started: Vec<&str> =
        parts.iter().filter(|part| part.mark.is_set()).map(|part| part.shown.as_str()).collect();
    let running = running::all(&call.layout);
    if call.given.has("--json") {
        let names: Vec<String> = running.iter().map(|one| one.name.to_string()).collect();
        call.out.json(&serde_json::json!({ "started": started, "running": names }))?;
        return Ok(Exit::yes(!started.is_empty()));
    }
    let started_line = if started.is_empty() { "nothing".to_owned() } else { started.join(", ") };
    call.out.line(format!("started: {started_line}"))?;
    let contexts: Vec<String> = running.iter().map(|one| one.xid.to_string()).collect();
    call.out.line(format!(
        "contexts: {}",
        if contexts.is_empty() { "none".into() } else { contexts.join(" ") }
    ))?;
    crate::applet::vserver_stat::print(call)?;
    Ok(Exit::yes(!started.is_empty()))
}
