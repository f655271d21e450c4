//! `cargo xtask golden [--write]`: what the program prints, byte for byte.

use crate::shell::{Outcome, cargo, run};

/// Compares with `tests/golden/cases`, or, with `--write`, replaces what is there.
pub fn cases(words: &[String]) -> Outcome {
    run(&mut cargo(&["build", "--locked", "--quiet", "--package", "vserver"]))?;
    let mut test =
        cargo(&["test", "--locked", "--quiet", "--package", "vserver-e2e", "--test", "golden", "--"]);
    for word in words {
        match word.as_str() {
            "--write" => test.env("GOLDEN_WRITE", "1"),
            other => test.arg(other),
        };
    }
    run(&mut test)
}
