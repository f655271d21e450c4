//! `lcap`: the capabilities that this process and its children can ever have.

use vserver_model::caps;

use crate::report::{Exit, Failure};
use crate::table::{Call, Command, Complete, JSON, Opt, PLAIN_EXITS, Reading};

/// The table entry.
pub static COMMAND: Command = Command {
    name: "lcap",
    summary: "shows the capabilities that are allowed here",
    synopsis: &["[-v] [--json]"],
    options: &[Opt::flag(&["-v"], "accepted: the list is always complete"), JSON],
    manual: &[
        "Shows the bounding set of the calling process: in a guest, what the guest can have at most. An asterisk \
         marks what is allowed.",
        "The original could also take capabilities away from the whole system; kernels no longer offer that, and a \
         capability given as an argument is refused. What a guest has is set by its file bcapabilities.",
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
        return Err(Failure::plain(format!("cannot take {} away from the whole system", word.display()))
            .hint("kernels no longer offer that; a guest's capabilities are in its file bcapabilities"));
    }
    let status = std::fs::read_to_string("/proc/self/status")
        .map_err(|error| Failure::because("cannot read /proc/self/status", error))?;
    let bounding = status
        .lines()
        .find_map(|line| u64::from_str_radix(line.strip_prefix("CapBnd:")?.trim(), 16).ok())
        .ok_or_else(|| Failure::plain("/proc/self/status has no line CapBnd"))?;
    if call.given.has("--json") {
        let names: Vec<String> = (0..64).filter(|n| bounding >> n & 1 == 1).map(name).collect();
        call.out.json(&serde_json::json!({ "value": format!("0x{bounding:X}"), "allowed": names }))?;
        return Ok(Exit::OK);
    }
    for line in lines(bounding) {
        call.out.line(line)?;
    }
    Ok(Exit::OK)
}

/// Two columns: number, asterisk, name.
fn lines(bounding: u64) -> Vec<String> {
    let mut lines = vec![format!("Current capabilities: 0x{bounding:08X}")];
    let entry = |n: u32| format!("{n:>4}) {}CAP_{}", if bounding >> n & 1 == 1 { '*' } else { ' ' }, name(n));
    let last = caps::LAST_KNOWN.max(63 - bounding.leading_zeros().min(63));
    for left in (0..=last).step_by(2) {
        let right = if left < last { entry(left + 1) } else { String::new() };
        lines.push(format!("{:<32}{right}", entry(left)).trim_end().to_owned());
    }
    lines.push("    * = Capabilities currently allowed".to_owned());
    lines
}

/// The name without prefix; a number where this version knows none.
fn name(number: u32) -> String {
    let text = vserver_model::CapSet(1 << number).to_string();
    text.strip_prefix("CAP_").unwrap_or(&text).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_asterisk_marks_what_is_allowed() {
        let lines = lines(0xFFFF_FEFF);
        assert_eq!(lines[0], "Current capabilities: 0xFFFFFEFF");
        assert_eq!(lines[1], "   0) *CAP_CHOWN                   1) *CAP_DAC_OVERRIDE");
        assert_eq!(lines[5], "   8)  CAP_SETPCAP                 9) *CAP_LINUX_IMMUTABLE");
        assert_eq!(lines.last().unwrap(), "    * = Capabilities currently allowed");
    }
}
