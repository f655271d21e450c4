//! Contestants that take turns, and the figures of a run with their spread.

use std::fmt::Write as _;
use std::fs;
use std::time::{Duration, Instant};

use crate::Outcome;

/// Quantiles of a series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// Smallest.
    pub min: f64,
    /// A quarter is below.
    pub lower: f64,
    /// Half is below.
    pub median: f64,
    /// A quarter is above.
    pub upper: f64,
}

impl Spread {
    /// Of a series that is not empty; all zero otherwise.
    pub fn of(series: &[f64]) -> Self {
        let mut sorted = series.to_vec();
        sorted.sort_by(f64::total_cmp);
        // The nearest rank: no figure is printed that was not measured.
        let at = |quarter: usize| {
            let last = sorted.len().saturating_sub(1);
            sorted.get((last * quarter + 2) / 4).copied().unwrap_or(0.0)
        };
        Self { min: at(0), lower: at(1), median: at(2), upper: at(3) }
    }
}

type Turn<'a> = Box<dyn FnMut() -> Outcome<Duration> + 'a>;

struct Entry<'a> {
    name: String,
    turn: Turn<'a>,
    /// Milliseconds of each round.
    series: Vec<f64>,
}

/// Several contestants who do the same thing in turns.
pub struct Race<'a> {
    title: String,
    entries: Vec<Entry<'a>>,
    left_out: Vec<(String, String)>,
}

/// What a race has shown.
pub struct Results {
    /// Title, rounds and load, for the heading.
    title: String,
    rows: Vec<(String, Vec<f64>)>,
    left_out: Vec<(String, String)>,
}

impl<'a> Race<'a> {
    /// Nobody takes part yet.
    pub fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), entries: Vec::new(), left_out: Vec::new() }
    }

    /// Takes part; the closure has one turn and tells how long what counts has taken.
    pub fn entry(&mut self, name: impl Into<String>, turn: impl FnMut() -> Outcome<Duration> + 'a) {
        self.entries.push(Entry { name: name.into(), turn: Box::new(turn), series: Vec::new() });
    }

    /// Does not take part, visibly.
    pub fn left_out(&mut self, name: impl Into<String>, why: impl Into<String>) {
        self.left_out.push((name.into(), why.into()));
    }

    /// One round to warm up, then as many as asked for. Each round begins with another contestant. Who fails is left
    /// out from there on, visibly.
    pub fn run(mut self, rounds: usize) -> Results {
        for round in 0..=rounds {
            let count = self.entries.len().max(1);
            self.entries.rotate_left(usize::from(count > 1));
            let mut failed = Vec::new();
            for (index, entry) in self.entries.iter_mut().enumerate() {
                match (entry.turn)() {
                    Ok(time) if round > 0 => entry.series.push(time.as_secs_f64() * 1000.0),
                    Ok(_) => {}
                    Err(why) => failed.push((index, why)),
                }
            }
            for (index, why) in failed.into_iter().rev() {
                let entry = self.entries.remove(index);
                self.left_out.push((entry.name, why));
            }
        }
        let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let load = load.split(' ').next().unwrap_or_default();
        let title = format!("{}  ({rounds} rounds in turns, load {load})", self.title);
        let mut rows: Vec<(String, Vec<f64>)> =
            self.entries.into_iter().map(|entry| (entry.name, entry.series)).collect();
        rows.sort_by(|a, b| Spread::of(&a.1).median.total_cmp(&Spread::of(&b.1).median));
        Results { title, rows, left_out: self.left_out }
    }
}

impl Results {
    /// The spread of one contestant.
    pub fn spread(&self, name: &str) -> Option<Spread> {
        self.rows.iter().find(|row| row.0 == name).map(|row| Spread::of(&row.1))
    }

    /// The spread of one contestant's time divided by another's in the same round.
    pub fn ratio(&self, name: &str, by: &str) -> Option<Spread> {
        let series = |name: &str| self.rows.iter().find(|row| row.0 == name).map(|row| &row.1);
        let pairs = series(name)?.iter().zip(series(by)?);
        Some(Spread::of(&pairs.map(|(own, other)| own / other).collect::<Vec<_>>()))
    }

    /// Prints all, in milliseconds, with the ratio of each of `ours` to every contestant.
    pub fn print(&self, ours: &[&str]) {
        println!("\n{}", self.title);
        let mut heading =
            format!("  {:<20}{:>9}{:>9}{:>9}{:>9}", "ms", "min", "quarter", "median", "quarter");
        for own in ours {
            heading.push_str("   ");
            heading.push_str(own);
            heading.push_str(" / it (quarters)");
        }
        println!("{heading}");
        for (name, series) in &self.rows {
            let Spread { min, lower, median, upper } = Spread::of(series);
            let mut line = format!("  {name:<20}{min:>9.2}{lower:>9.2}{median:>9.2}{upper:>9.2}");
            for own in ours {
                let width = own.len() + 22;
                let text = self.ratio(own, name).filter(|_| name != own).map_or_else(String::new, |r| {
                    format!("{:.2} ({:.2} … {:.2})", r.median, r.lower, r.upper)
                });
                write!(line, "{text:>width$}").expect("memory can be written to");
            }
            println!("{line}");
        }
        for (name, why) in &self.left_out {
            println!("  {name:<20} left out: {why}");
        }
    }
}

/// Runs something and tells how long it has taken.
///
/// # Errors
/// What it failed with.
pub fn timed(act: impl FnOnce() -> Outcome) -> Outcome<Duration> {
    let begun = Instant::now();
    act()?;
    Ok(begun.elapsed())
}
