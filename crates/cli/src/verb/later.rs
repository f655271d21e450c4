//! Verbs of the reference that this version does not have: they say so instead of "no such command".

use crate::report::{Exit, Failure};
use crate::table::{Call, Command, Complete, Reading};

const fn later(name: &'static str, summary: &'static str) -> Command {
    Command {
        name,
        summary,
        synopsis: &["ARGS"],
        options: &[],
        manual: &["Not in this version: the command says so and ends with exit code 1."],
        exits: &[("1", "not in this version")],
        examples: &[],
        error_code: 1,
        reading: Reading::Verbatim,
        operand: Complete::Nothing,
        run,
    }
}

/// The table entry of `unify`.
pub static UNIFY: Command = later("unify", "shares files with reference guests (not in this version)");
/// The table entry of `hashify`.
pub static HASHIFY: Command = later("hashify", "shares equal files of all guests (not in this version)");
/// The table entry of `pkg`.
pub static PKG: Command = later("pkg", "installs packages from outside (not in this version)");
/// The table entry of `pkgmgmt`.
pub static PKGMGMT: Command = later("pkgmgmt", "moves package management in or out (not in this version)");
/// The table entry of `apt-get`.
pub static APT_GET: Command = later("apt-get", "runs apt-get for the guest (not in this version)");
/// The table entry of `apt-config`.
pub static APT_CONFIG: Command = later("apt-config", "runs apt-config for the guest (not in this version)");
/// The table entry of `apt-cache`.
pub static APT_CACHE: Command = later("apt-cache", "runs apt-cache for the guest (not in this version)");
/// The table entry of `rpm`.
pub static RPM: Command = later("rpm", "runs rpm for the guest (not in this version)");

fn run(call: &mut Call) -> Result<Exit, Failure> {
    let failure = Failure::plain(format!("the command {} is not in this version", call.command.name));
    Err(match call.command.name {
        "apt-get" | "apt-config" | "apt-cache" | "rpm" => failure.hint(format!(
            "run it inside: vserver {} exec {} …",
            call.guest().shown(),
            call.command.name
        )),
        _ => failure,
    })
}
