//! `cargo xtask e2e [FILTER]`: the administrator's story, on the real binary and the real kernel.

use crate::shell::{Outcome, cargo, run, run_within};

/// Builds the program and runs the trials: all, or those that have one of the words in their names. Words that begin
/// with a dash go to the harness (`--list`, `--test-threads=1` …).
pub fn trials(words: &[String]) -> Outcome {
    run(&mut cargo(&["build", "--locked", "--quiet", "--package", "vserver"]))?;
    let mut test = cargo(&["test", "--locked", "--quiet", "--package", "vserver-e2e", "--test", "e2e", "--"]);
    // Trials mostly wait for guests, so a few more of them than processors is the right number.
    if !words.iter().any(|word| word.starts_with("--test-threads")) {
        test.arg("--test-threads=4");
    }
    let (options, filters): (Vec<String>, Vec<String>) =
        words.iter().cloned().partition(|word| word.starts_with('-'));
    // Every point of every story takes hours.
    let minutes = if std::env::var("E2E_POINTS").is_ok_and(|points| points == "all") { 600 } else { 20 };
    run_within(minutes, test.env("E2E_FILTER", filters.join(" ")).args(options))
}
