//! `cargo xtask e2e [FILTER]`: the administrator's story, on the real binary and the real kernel.

use crate::shell::{Outcome, cargo, run, run_within};

/// Builds the program and runs the trials; words go to the harness (`--list`, `--exact`, a part of a name …).
pub fn trials(words: &[String]) -> Outcome {
    run(&mut cargo(&["build", "--locked", "--quiet", "--package", "vserver"]))?;
    let mut test = cargo(&["test", "--locked", "--quiet", "--package", "vserver-e2e", "--test", "e2e", "--"]);
    // Trials mostly wait for guests, so a few more of them than processors is the right number.
    if !words.iter().any(|word| word.starts_with("--test-threads")) {
        test.arg("--test-threads=4");
    }
    run_within(20, test.args(words))
}
