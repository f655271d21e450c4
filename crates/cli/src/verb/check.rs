//! `vserver NAME check`: everything that is wrong in a guest's configuration, in one run.

use vserver_config::Severity;

use crate::report::{Exit, Failure};
use crate::table::{Call, Command, Complete, JSON, Reading};
use crate::verb::stop::no_operands;

/// The table entry.
pub static COMMAND: Command = Command {
    name: "check",
    summary: "reports everything that is wrong in the guest's configuration",
    synopsis: &["[--json]"],
    options: &[JSON],
    manual: &[
        "Reports every bad value, unknown file, likely typing error, duplicate context and dangling link, and what \
         this version reads but does not honour yet, each with file and line. Nothing is changed.",
    ],
    exits: &[("0", "nothing is wrong, or only notes"), ("1", "an error or a warning was reported")],
    examples: &[],
    error_code: 1,
    reading: Reading::Options,
    operand: Complete::Nothing,
    run,
};

fn run(call: &mut Call) -> Result<Exit, Failure> {
    no_operands(call)?;
    let findings = vserver_config::check_dir(&call.layout, &call.guest().dir);
    let wrong = findings.iter().any(|finding| finding.severity != Severity::Note);
    if call.given.has("--json") {
        call.out.json(&findings)?;
        return Ok(Exit::yes(!wrong));
    }
    for finding in &findings {
        call.out.line(finding.to_string())?;
    }
    if findings.is_empty() && !call.globals.silent {
        call.out.line(format!("'{}': nothing is wrong", call.guest().name))?;
    }
    Ok(Exit::yes(!wrong))
}
