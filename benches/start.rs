//! Starting and stopping: a guest that only runs `/bin/true`, and one that stays.

use vserver_bench::race::timed;
use vserver_bench::{Bench, Contestant, Layout, Outcome, Race, Setting, contestant};

pub const ONCE: Bench = Bench {
    name: "once",
    what: "start, /bin/true, stop: from nothing until everything is gone",
    layouts: Layout::ALL,
    run: once,
};

pub const IDLE: Bench = Bench {
    name: "start",
    what: "start of an idle guest until its program runs",
    layouts: Layout::ALL,
    run: start,
};

pub const STOP: Bench =
    Bench { name: "stop", what: "stop of an idle guest, all clean", layouts: Layout::ALL, run: stop };

/// Prepares everybody who can take part.
pub fn present(race: &mut Race<'_>) -> Outcome<Vec<Contestant>> {
    let mut present = Vec::new();
    for contestant in Contestant::ALL {
        if let Some(why) = contestant.missing() {
            race.left_out(contestant.name(), why);
            continue;
        }
        if !contestant.tree().exists() {
            contestant.prepare()?;
        }
        present.push(contestant);
    }
    Ok(present)
}

fn once(setting: &Setting) -> Outcome {
    let mut race = Race::new("start, /bin/true, stop");
    for contestant in present(&mut race)? {
        race.entry(contestant.name(), move || {
            let commands = contestant.once()?;
            timed(|| commands.into_iter().try_for_each(|mut command| contestant::run(&mut command)))
        });
    }
    race.run(setting.rounds).print(&["shifted", "classic"]);
    Ok(())
}

fn start(setting: &Setting) -> Outcome {
    let mut race = Race::new("start of an idle guest until its program runs");
    for contestant in present(&mut race)? {
        race.entry(contestant.name(), move || {
            let (started, time) = contestant.start()?;
            started.stop()?;
            Ok(time)
        });
    }
    race.run(setting.rounds).print(&["shifted", "classic"]);
    Ok(())
}

fn stop(setting: &Setting) -> Outcome {
    let mut race = Race::new("stop of an idle guest, all clean");
    for contestant in present(&mut race)? {
        race.entry(contestant.name(), move || contestant.start()?.0.stop());
    }
    race.run(setting.rounds).print(&["shifted", "classic"]);
    Ok(())
}
