//! The same with many guests running: nothing may grow with their number.

use vserver_bench::contestant::{run, tool};
use vserver_bench::fleet::Fleet;
use vserver_bench::race::timed;
use vserver_bench::{Bench, Contestant, Layout, Outcome, Race, Setting};
use vserver_e2e::Mode;

pub const BENCH: Bench = Bench {
    name: "scale",
    what: "starts and vserver-stat while 1 … 1,000 guests run",
    layouts: Layout::ALL,
    run: scale,
};

const SIZES: [usize; 4] = [1, 100, 300, 1000];

fn scale(setting: &Setting) -> Outcome {
    let rounds = setting.rounds.min(20);
    let mut fleet = Fleet::new(Mode::Shifted);
    let mut lines = Vec::new();
    for size in SIZES.into_iter().filter(|size| *size <= setting.guests) {
        fleet.grow(size)?;
        let mut race = Race::new(format!("while {size} guests run"));
        for contestant in [Contestant::Vserver(Mode::Shifted), Contestant::Floor, Contestant::Crun] {
            if let Some(why) = contestant.missing() {
                race.left_out(contestant.name(), why);
                continue;
            }
            if !contestant.tree().exists() {
                contestant.prepare()?;
            }
            race.entry(format!("{} once", contestant.name()), move || {
                let commands = contestant.once()?;
                timed(|| commands.into_iter().try_for_each(|mut command| run(&mut command)))
            });
            race.entry(format!("{} start", contestant.name()), move || {
                let (started, time) = contestant.start()?;
                started.stop()?;
                Ok(time)
            });
        }
        race.entry("vserver-stat", || timed(|| run(&mut tool("vserver-stat", &[] as &[&str]))));
        let results = race.run(rounds);
        results.print(&[]);
        let medians: Vec<f64> =
            ["shifted once", "shifted start", "floor once", "floor start", "crun once", "vserver-stat"]
                .map(|name| results.spread(name).map_or(f64::NAN, |spread| spread.median))
                .to_vec();
        lines.push((size, medians));
    }
    fleet.stop()?;
    println!("\nmedians against the smallest number of guests");
    println!(
        "  {:<8}{:>14}{:>14}{:>14}{:>14}{:>14}{:>16}",
        "guests", "once", "start", "floor once", "floor start", "crun once", "vserver-stat"
    );
    for (size, medians) in &lines {
        let mut line = format!("  {size:<8}");
        for (at, value) in medians.iter().enumerate() {
            let first = lines.first().map_or(f64::NAN, |first| first.1[at]);
            let column = if at + 1 == medians.len() {
                format!("{value:>13.1} ms")
            } else {
                format!("{:>14.2}", value / first)
            };
            line.push_str(&column);
        }
        println!("{line}");
    }
    Ok(())
}
