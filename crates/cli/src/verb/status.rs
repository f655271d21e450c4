//! `vserver NAME status`

use std::time::Duration;

use serde::Serialize;

use crate::processes;
use crate::report::{Exit, Failure};
use crate::running;
use crate::table::{Call, Command, Complete, JSON, Reading};
use crate::verb::stop::no_operands;

/// The table entry.
pub static COMMAND: Command = Command {
    name: "status",
    summary: "tells whether the guest runs, how many processes it has and since when",
    synopsis: &["[--json]"],
    options: &[JSON],
    manual: &["The number of processes counts every thread, as the kernel's task count did."],
    exits: &[("0", "it runs"), ("3", "it is stopped")],
    examples: &[],
    error_code: 1,
    reading: Reading::Options,
    operand: Complete::Nothing,
    run,
};

#[derive(Serialize)]
struct Status {
    name: String,
    running: bool,
    xid: Option<u32>,
    tasks: Option<u64>,
    uptime_seconds: Option<u64>,
}

fn run(call: &mut Call) -> Result<Exit, Failure> {
    no_operands(call)?;
    let name = call.guest().shown();
    let running = running::of(&call.layout, call.guest());
    let exit = if running.is_some() { Exit::OK } else { Exit::Code(3) };
    let tasks = match &running {
        Some(guest) => Some(processes::tasks_of(&call.layout, guest.name.as_os_str()).map_err(Failure::of)?),
        None => None,
    };
    if call.given.has("--json") {
        call.out.json(&Status {
            name,
            running: running.is_some(),
            xid: running.as_ref().map(|guest| guest.xid),
            tasks,
            uptime_seconds: running.as_ref().map(|guest| guest.age.as_secs()),
        })?;
        return Ok(exit);
    }
    if call.globals.silent {
        return Ok(exit);
    }
    match running {
        Some(guest) => {
            call.out.line(format!("Vserver '{name}' is running at context '{}'", guest.xid))?;
            call.out.line(format!("Number of processes:  {}", tasks.unwrap_or(0)))?;
            call.out.line(format!("Uptime:               {}", uptime(guest.age)))?;
        }
        None => call.out.line(format!("Vserver '{name}' is stopped"))?,
    }
    Ok(exit)
}

/// `HH:MM`, with the days in front from one day on.
fn uptime(age: Duration) -> String {
    let minutes = age.as_secs() / 60;
    let (days, hours, minutes) = (minutes / 1440, minutes / 60 % 24, minutes % 60);
    if days > 0 {
        format!("{days} days, {hours:02}:{minutes:02}")
    } else {
        format!("{hours:02}:{minutes:02}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_show_from_one_on() {
        assert_eq!(uptime(Duration::from_secs(3 * 3600 + 12 * 60 + 59)), "03:12");
        assert_eq!(uptime(Duration::from_secs(86_399)), "23:59");
        assert_eq!(uptime(Duration::from_hours(24)), "1 days, 00:00");
    }
}
