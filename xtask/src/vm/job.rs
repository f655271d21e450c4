//! One machine's part of a run: which tests it is given, what came of them, and what when the machine itself fails.

use super::kernel::Kernel;
use super::machine::{Ending, Machine};
use super::results::{self, Results};
use super::suite::{self, Suite, Test};
use super::userland::Userland;
use crate::shell::Outcome;
use std::fs;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// What a run leaves behind in its directory.
const RUN: &[&str] = &["disk", "log", "console", "junit.xml"];

/// One machine and what it is to run.
pub struct Job {
    /// What its results are called: kernel and userland.
    pub name: String,
    /// The kernel.
    pub kernel: Kernel,
    /// What runs on it.
    pub userland: Userland,
    /// Where log, console and results are kept.
    pub directory: PathBuf,
    /// What it is to run.
    pub tests: Vec<Test>,
    /// Words of the kernel's command line beside our own.
    pub append: String,
    /// Its processors.
    pub processors: u8,
    /// Its memory.
    pub memory_mib: u32,
    /// Trials at a time. With one, the processor time of each is told.
    pub threads: u8,
    /// All boots of a run together take no longer: then what has not been reached is a failure.
    pub limit: Duration,
    /// A machine that has said nothing for so long hangs.
    pub patience: Duration,
}

/// What came of a machine.
pub struct Report {
    /// The job's.
    pub name: String,
    /// How the tests went.
    pub results: Results,
    /// By the clock.
    pub took: Duration,
    /// Processor time of the emulator: on a busy builder a better measure than the clock.
    pub used: Duration,
    /// What went wrong with the machine itself.
    pub trouble: Option<String>,
    /// The job's.
    pub directory: PathBuf,
}

impl Job {
    fn machine(&self, limit: Duration) -> Machine<'_> {
        Machine {
            kernel: &self.kernel,
            userland: &self.userland,
            directory: &self.directory,
            append: &self.append,
            processors: self.processors,
            memory_mib: self.memory_mib,
            limit,
            patience: self.patience,
        }
    }

    /// Runs one command and prints what it prints.
    pub fn command(&self, command: &str) -> Outcome {
        self.forget(RUN);
        eprintln!("{}: {}", self.name, self.kernel.package());
        let ending = self.machine(self.limit).run(command, |bytes, _| {
            // Nothing is to be done about a reader who went away.
            drop(io::stdout().write_all(bytes));
        });
        self.forget(&["disk"]);
        match ending? {
            Ending::Status(0) => Ok(()),
            Ending::Status(status) => Err(format!("exit status {status} on {}", self.name)),
            Ending::Late => Err(format!("not over after {} s on {}", self.limit.as_secs(), self.name)),
            Ending::Silent(tail) => {
                Err(format!("no exit status on {}; end of the console:\n{tail}", self.name))
            }
        }
    }

    /// Runs the tests; those that look at a machine switched on again, when it has been.
    pub fn run(&self, suite: &Suite) -> Report {
        let begun = Instant::now();
        self.forget(RUN);
        eprintln!("{}: {} tests on {}", self.name, self.tests.len(), self.kernel.package());
        let mut report = Report {
            name: self.name.clone(),
            results: Results::default(),
            took: Duration::ZERO,
            used: Duration::ZERO,
            trouble: None,
            directory: self.directory.clone(),
        };
        let (later, first): (Vec<Test>, Vec<Test>) =
            self.tests.iter().cloned().partition(|test| test.name.starts_with(suite::NEXT_BOOT));
        for tests in [first, later] {
            if !tests.is_empty() && report.trouble.is_none() {
                report.trouble = self.run_tests(suite, &tests, begun, &mut report).err();
            }
        }
        self.forget(&["disk"]);
        let unreached = unreached(&self.tests, &report.results);
        if !unreached.is_empty() {
            let names: Vec<String> =
                unreached.iter().map(|test| format!("{} {}", test.program, test.name)).collect();
            let trouble = report.trouble.take().unwrap_or_else(|| "the machine ended early".to_owned());
            report.trouble = Some(format!("{trouble}\nnot reached: {}", names.join(", ")));
        }
        report.took = begun.elapsed();
        let file = report.directory.join("junit.xml");
        let text = results::junit(&report.name, report.took, report.results.outcomes(), &unreached);
        if let Err(error) = fs::write(&file, text) {
            eprintln!("{}: {error}", file.display());
        }
        report
    }

    /// Emulation is not perfect: after a kernel that fell over, what has not been run gets a second chance. A failed
    /// test does not.
    fn run_tests(&self, suite: &Suite, tests: &[Test], begun: Instant, report: &mut Report) -> Outcome {
        let mut retried = false;
        loop {
            let missing = unreached(tests, &report.results);
            let left = self.limit.saturating_sub(begun.elapsed());
            let mut before = Duration::ZERO;
            let script = suite.script(&missing, self.threads);
            let ending = self.machine(left).run(&script, |bytes, now| {
                let cost = now.saturating_sub(std::mem::replace(&mut before, now));
                report.used += cost;
                for (test, outcome) in report.results.read(bytes) {
                    self.tell(&test, &outcome, cost);
                }
            })?;
            let missing = unreached(tests, &report.results).len();
            match ending {
                Ending::Status(_) if missing == 0 => return Ok(()),
                Ending::Status(status) => {
                    return Err(format!("{missing} tests have not told how they went (status {status})"));
                }
                Ending::Late => return Err(format!("not over after {} s", self.limit.as_secs())),
                Ending::Silent(tail) if !retried => {
                    retried = true;
                    eprintln!(
                        "{}: no exit status, the rest once more; end of the console:\n{tail}",
                        self.name
                    );
                }
                Ending::Silent(tail) => return Err(format!("no exit status; end of the console:\n{tail}")),
            }
        }
    }

    /// Prints one result.
    fn tell(&self, test: &Test, outcome: &results::Outcome, cost: Duration) {
        let word = match outcome {
            results::Outcome::Passed => "ok".to_owned(),
            results::Outcome::Failed(_) => "FAILED".to_owned(),
            results::Outcome::Ignored(reason) => format!("ignored ({reason})"),
        };
        let cost = if self.threads == 1 { format!(" [{:.1} s]", cost.as_secs_f32()) } else { String::new() };
        eprintln!("test {}: {} {} ... {word}{cost}", self.name, test.program, test.name);
    }

    /// A disk is kept from one boot to the next within a run only, and so is what was said.
    fn forget(&self, files: &[&str]) {
        for file in files {
            // It is not there yet, or will be made anew.
            drop(fs::remove_file(self.directory.join(file)));
        }
    }
}

/// Those that have not said how they went.
fn unreached(tests: &[Test], results: &Results) -> Vec<Test> {
    tests.iter().filter(|test| !results.has(test)).cloned().collect()
}
