//! Where the builder's words go; the command line and the tests each have their own.

use std::io::{IsTerminal as _, Write as _};

/// Takes lines without their newline.
pub trait Output: Send {
    /// An answer that was asked for (`--help`): standard output.
    fn answer(&mut self, text: &str);
    /// What is being done: standard error, not shown when the caller wants quiet.
    fn note(&mut self, text: &str);
    /// Odd, but the build goes on: standard error.
    fn warn(&mut self, text: &str);
    /// Why the build ended: standard error, several lines.
    fn fail(&mut self, text: &str);
    /// Whether notes go to a terminal, where a progress bar may be drawn instead.
    fn is_terminal(&self) -> bool;
}

/// The process's own streams.
#[derive(Debug, Default)]
pub struct Streams;

// A stream that is closed is nothing that a build could do anything about: it goes on.
impl Output for Streams {
    fn answer(&mut self, text: &str) {
        writeln!(std::io::stdout(), "{text}").ok();
    }

    fn note(&mut self, text: &str) {
        writeln!(std::io::stderr(), "{text}").ok();
    }

    fn warn(&mut self, text: &str) {
        writeln!(std::io::stderr(), "WARNING: {text}").ok();
    }

    fn fail(&mut self, text: &str) {
        writeln!(std::io::stderr(), "{text}").ok();
    }

    fn is_terminal(&self) -> bool {
        std::io::stderr().is_terminal()
    }
}

/// Keeps everything, for tests.
#[derive(Debug, Default)]
pub struct Kept {
    /// Answers.
    pub answers: Vec<String>,
    /// Notes, and warnings with `WARNING: ` in front.
    pub notes: Vec<String>,
    /// Failures.
    pub failures: Vec<String>,
}

impl Output for Kept {
    fn answer(&mut self, text: &str) {
        self.answers.push(text.to_owned());
    }

    fn note(&mut self, text: &str) {
        self.notes.push(text.to_owned());
    }

    fn warn(&mut self, text: &str) {
        self.notes.push(format!("WARNING: {text}"));
    }

    fn fail(&mut self, text: &str) {
        self.failures.push(text.to_owned());
    }

    fn is_terminal(&self) -> bool {
        false
    }
}
