//! `vprocunhide`: checks the list of what guests see in /proc.
//!
//! The kernel patch hid everything until this program had run. Here each start masks what the list hides, so a guest
//! never sees a /proc that is open or unusable; what is left to do beforehand is to find mistakes in the list.

use vserver_config::Severity;

use crate::report::{Exit, Failure};
use crate::table::{Call, Command, Complete, JSON, PLAIN_EXITS, Reading};

/// The table entry.
pub static COMMAND: Command = Command {
    name: "vprocunhide",
    summary: "checks the list of what guests see in /proc",
    synopsis: &["[--json]"],
    options: &[JSON],
    manual: &[
        "Reads .defaults/apps/vprocunhide/files, or the shipped list where that is missing, and reports every line \
         that is no rule. The list is put into force by each start of a guest: there is nothing to run before the \
         first one, and a running guest keeps what it was started with.",
        "A line that is no rule is left out, which hides what it would have shown.",
    ],
    exits: PLAIN_EXITS,
    examples: &[],
    error_code: 1,
    reading: Reading::Options,
    operand: Complete::Nothing,
    run,
};

fn run(call: &mut Call) -> Result<Exit, Failure> {
    if let Some(word) = call.given.operands.first() {
        return Err(Failure::plain(format!("takes no argument, and got '{}'", word.display())));
    }
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
