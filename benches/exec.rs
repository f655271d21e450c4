//! `/bin/true` in a guest that runs.

use vserver_bench::race::timed;
use vserver_bench::{Bench, Contestant, Layout, Outcome, Race, Setting, contestant};

use crate::start;

pub const BENCH: Bench =
    Bench { name: "exec", what: "/bin/true in a running guest", layouts: Layout::ALL, run: exec };

fn exec(setting: &Setting) -> Outcome {
    let mut race = Race::new("/bin/true in a running guest (floor: nsenter, without groups and rights)");
    let present = start::present(&mut race)?;
    let mut started = Vec::new();
    for contestant in present {
        if contestant.exec().is_none() && contestant != Contestant::Floor {
            race.left_out(contestant.name(), "cannot enter");
            continue;
        }
        match contestant.start() {
            Ok((guest, _)) => started.push(guest),
            Err(why) => {
                race.left_out(contestant.name(), why);
                continue;
            }
        }
        race.entry(contestant.name(), move || {
            let mut command = contestant.exec().ok_or("cannot enter")?;
            timed(|| contestant::run(&mut command))
        });
    }
    let results = race.run(setting.rounds);
    for guest in started {
        guest.stop()?;
    }
    results.print(&["shifted", "classic"]);
    Ok(())
}
