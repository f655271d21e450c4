//! Benchmarks beside other container tools and beside the bare kernel: `make bench`, `make bench FILTER=exec`.
//!
//! Words pick benchmarks (beginnings of names) and layouts (`cgroup2`, `machine`); `--rounds N` and `--guests N` change
//! how long it takes.

mod exec;
mod inside;
mod memory;
mod network;
mod scale;
mod start;
mod views;

use std::process::ExitCode;

use vserver_bench::{Bench, Layout, Setting, contestant, floor, space};
use vserver_e2e::space::MountPoints;

/// Every benchmark.
const ALL: &[Bench] = &[
    start::ONCE,
    start::IDLE,
    start::STOP,
    exec::BENCH,
    memory::BENCH,
    scale::BENCH,
    inside::BENCH,
    network::BENCH,
    views::BENCH,
];

struct Words {
    rounds: usize,
    guests: usize,
    layouts: Vec<Layout>,
    names: Vec<String>,
    list: bool,
}

impl Words {
    fn read() -> Result<Self, String> {
        let mut words =
            Self { rounds: 30, guests: 1000, layouts: Vec::new(), names: Vec::new(), list: false };
        let mut all = space::words().into_iter();
        while let Some(word) = all.next() {
            let mut number = || {
                let next = all.next().unwrap_or_default();
                next.parse().map_err(|_| format!("{word} wants a number, not {next:?}"))
            };
            match word.as_str() {
                "--rounds" => words.rounds = number()?,
                "--guests" => words.guests = number()?,
                "--list" => words.list = true,
                // What cargo says to every benchmark.
                "--bench" => {}
                option if option.starts_with('-') => return Err(format!("unknown option {option}")),
                name => match Layout::from_word(name) {
                    Some(layout) => words.layouts.push(layout),
                    None => words.names.push(word),
                },
            }
        }
        Ok(words)
    }

    fn picks(&self, bench: &Bench, layout: Layout) -> bool {
        bench.layouts.contains(&layout)
            && (self.layouts.is_empty() || self.layouts.contains(&layout))
            && (self.names.is_empty() || self.names.iter().any(|name| bench.name.starts_with(name.as_str())))
    }
}

fn main() -> ExitCode {
    if let Some(code) = floor::role().or_else(inside::role).or_else(views::role) {
        return code;
    }
    let words = match Words::read() {
        Ok(words) => words,
        Err(failure) => {
            eprintln!("bench: {failure}");
            return ExitCode::from(2);
        }
    };
    if words.list {
        for bench in ALL {
            println!("{:<10} {}", bench.name, bench.what);
        }
        return ExitCode::SUCCESS;
    }
    match space::current() {
        Some(layout) => space::play(layout, move || run(&words, layout)),
        None => everywhere(&words),
    }
}

fn everywhere(words: &Words) -> ExitCode {
    let places = MountPoints::make();
    let mut failed = false;
    for layout in Layout::ALL {
        if ALL.iter().any(|bench| words.picks(bench, *layout))
            && let Err(failure) = space::enter(*layout)
        {
            eprintln!("bench: {failure}");
            failed = true;
        }
    }
    places.remove();
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn run(words: &Words, layout: Layout) {
    println!("\n== {}", layout.word());
    let setting = Setting { layout, rounds: words.rounds, guests: words.guests };
    let mut failures = Vec::new();
    for bench in ALL.iter().filter(|bench| words.picks(bench, layout)) {
        if let Err(failure) = (bench.run)(&setting) {
            println!("\n{}: FAILED: {failure}", bench.name);
            failures.push(bench.name);
        }
    }
    if let Err(failure) = contestant::tidy_up() {
        println!("{failure}");
    }
    assert!(failures.is_empty(), "failed: {}", failures.join(", "));
}
