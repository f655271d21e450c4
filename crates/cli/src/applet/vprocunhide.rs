//! `vprocunhide`: checks the list of what guests see in /proc.
//!
//! The kernel patch hid everything until this program had run. Here each start masks what the list hides, so a guest
//! never sees a /proc that is open or unusable; what is left to do beforehand is to find mistakes in the list.

use vserver_config::Severity;

use crate::report::{Exit, Failure};
use crate::service::{self, Mark, Verb};
use crate::table::{Call, Command, JSON, Reading};

/// The table entry.
pub static COMMAND: Command = Command {
    name: "vprocunhide",
    summary: "checks the list of what guests see in /proc",
    synopsis: &["[--json]", "start|stop|restart|reload|condrestart|status"],
    options: &[JSON],
    manual: &[
        "Reads .defaults/apps/vprocunhide/files, or the shipped list where that is missing, and reports every line \
         that is no rule. The list is put into force by each start of a guest: there is nothing to run before the \
         first one, and a running guest keeps what it was started with.",
        "A line that is no rule is left out, which hides what it would have shown.",
        "With a verb it is the service of that name: start checks the list and remembers that it was started, stop \
         forgets it, status tells.",
    ],
    exits: &[
        ("0", "done; status: it was started"),
        ("1", "a mistake in the list; status: it was not started"),
        ("3", "no such verb"),
    ],
    examples: &[],
    error_code: 1,
    reading: Reading::Options,
    operand: service::VERBS,
    run,
};

fn run(call: &mut Call) -> Result<Exit, Failure> {
    if call.given.operands.is_empty() {
        return check(call);
    }
    let mark = Mark::new(&call.layout, "vprocunhide");
    match service::verb(call)? {
        Verb::Start | Verb::Restart | Verb::Reload => {
            mark.set()?;
            check(call)
        }
        Verb::Condrestart if mark.is_set() => check(call),
        Verb::Condrestart => Ok(Exit::OK),
        Verb::Stop => mark.clear().map(|()| Exit::OK),
        Verb::Status => {
            let were = if mark.is_set() { "were" } else { "were not" };
            call.out.line(format!("vservers /proc entries {were} fixed"))?;
            Ok(Exit::yes(mark.is_set()))
        }
    }
}

fn check(call: &mut Call) -> Result<Exit, Failure> {
    let (_, findings) = vserver_config::visible::in_force(&call.layout);
    if call.given.has("--json") {
        call.out.json(&findings)?;
    } else {
        for finding in &findings {
            call.out.line(finding.to_string())?;
        }
    }
    let wrong = findings.iter().any(|finding| finding.severity == Severity::Error);
    Ok(if wrong { Exit::Code(1) } else { Exit::OK })
}
