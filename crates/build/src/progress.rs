//! What debootstrap says, as a moving line on a terminal and as a few plain lines elsewhere.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::output::Output;

/// Follows a run of debootstrap by its `I: ` lines.
#[derive(Debug)]
pub struct Progress {
    bar: Option<ProgressBar>,
    phase: &'static str,
    count: u64,
    every_line: bool,
}

/// The phases by the word that their lines begin with.
const PHASES: [(&str, &str); 7] = [
    ("Retrieving", "downloading"),
    ("Validating", "downloading"),
    ("Resolving", "resolving dependencies"),
    ("Extracting", "extracting"),
    ("Unpacking", "unpacking"),
    ("Configuring", "configuring"),
    ("Installing", "installing"),
];

impl Progress {
    /// Starts; a bar is drawn only on a terminal.
    pub fn new(output: &dyn Output, every_line: bool) -> Self {
        let bar = (output.is_terminal() && !every_line).then(|| {
            let bar = ProgressBar::new_spinner();
            if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_msg} {elapsed}") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        Self { bar, phase: "", count: 0, every_line }
    }

    /// A line of the tool.
    pub fn line(&mut self, line: &str, output: &mut dyn Output) {
        if self.every_line {
            output.note(line);
            return;
        }
        if line.starts_with("W: ") || line.starts_with("E: ") {
            let text = line[3..].to_owned();
            match &self.bar {
                Some(bar) => bar.suspend(|| output.warn(&text)),
                None => output.warn(&text),
            }
            return;
        }
        let Some(text) = line.strip_prefix("I: ") else { return };
        let word = text.split(' ').next().unwrap_or_default();
        let Some((_, phase)) = PHASES.iter().find(|(begin, _)| *begin == word) else { return };
        if *phase != self.phase {
            self.phase = phase;
            self.count = 0;
            if self.bar.is_none() {
                output.note(&format!("{phase} …"));
            }
        }
        // Each package is retrieved and then validated.
        if word != "Validating" {
            self.count += 1;
        }
        if let Some(bar) = &self.bar {
            let what = text[word.len()..].trim_start().trim_end_matches("...");
            bar.set_message(format!("{phase} {}: {what}", self.count));
        }
    }

    /// Takes the moving line away.
    pub fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Kept;

    #[test]
    fn plain_lines_are_few() {
        let mut kept = Kept::default();
        let mut progress = Progress::new(&kept, false);
        for line in [
            "I: Retrieving InRelease ",
            "I: Validating adduser 3.134",
            "I: Retrieving apt 2.6.1",
            "W: Failure while unpacking required packages.",
            "I: Unpacking the base system...",
            "I: Configuring apt...",
            "I: Base system installed successfully.",
            "noise",
        ] {
            progress.line(line, &mut kept);
        }
        progress.finish();
        let warning = "WARNING: Failure while unpacking required packages.";
        assert_eq!(kept.notes, ["downloading …", warning, "unpacking …", "configuring …"]);
    }
}
