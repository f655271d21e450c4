//! `util-vserver`: the service that makes the host ready, and stops what still runs when the host goes down.

use std::fs;
use std::time::Duration;

use vserver_model::GuestName;
use vserver_plan::order::Direction;

use crate::applet::start_vservers::{self, Show};
use crate::batch::Limits;
use crate::report::{Exit, Failure};
use crate::running;
use crate::service::{self, Mark, Verb};
use crate::table::{Call, Command, Reading};

/// The table entry.
pub static COMMAND: Command = Command {
    name: "util-vserver",
    summary: "the service that makes the host ready for guests and stops those that still run at its end",
    synopsis: &["start|stop|restart|reload|condrestart|status"],
    options: &[],
    manual: &[
        "start makes the directories in /run. stop stops every guest that still runs, whoever has started it, in the \
         opposite order of what they depend on; a guest that does not end in time is killed. restart is the same as \
         start: a real one would stop every guest.",
        "No setting of the kernel is needed, and no process stays. A guest's reboot and halt reach its guard, not a \
         helper of the kernel.",
    ],
    exits: service::EXITS,
    examples: &[],
    error_code: 1,
    reading: Reading::Options,
    operand: service::VERBS,
    run,
};

/// One after the other would take too long for the patience of whoever shuts the host down.
const PARALLEL: usize = 16;
/// A stop has its own time limits (`apps/vshelper/sync-timeout`, `apps/init/killseq`): this is for one that hangs.
const TIMEOUT: Duration = Duration::from_mins(5);

fn run(call: &mut Call) -> Result<Exit, Failure> {
    let mark = Mark::new(&call.layout, "util-vserver");
    match service::verb(call)? {
        Verb::Start | Verb::Restart | Verb::Reload | Verb::Condrestart => {
            let layout = &call.layout;
            for dir in
                [&layout.rundir, &layout.revdir, &layout.helperdir, &layout.virtualdir, &layout.lockdir]
            {
                fs::create_dir_all(dir)
                    .map_err(|error| Failure::because(format!("cannot make {}", dir.display()), error))?;
            }
            mark.set()?;
            Ok(Exit::OK)
        }
        Verb::Stop => {
            let exit = stop(call)?;
            mark.clear()?;
            Ok(exit)
        }
        Verb::Status => {
            let text = if mark.is_set() { "ready for guests" } else { "not started" };
            call.out.line(format!("util-vserver: {text}"))?;
            Ok(Exit::yes(mark.is_set()))
        }
    }
}

fn stop(call: &mut Call) -> Result<Exit, Failure> {
    let running: Vec<(usize, GuestName)> =
        running::all(&call.layout).into_iter().map(|one| (0, one.name)).collect();
    let order = start_vservers::order(&call.layout, &running, Direction::Stop);
    let limits = Limits { at_once: PARALLEL, timeout: Some(TIMEOUT) };
    start_vservers::perform(call, &order, Direction::Stop, limits, Show { json: false, all: false })
}
