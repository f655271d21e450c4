//! `cargo xtask golden [--write]`: what the program prints, byte for byte.

use crate::shell::{Outcome, cargo, run};

/// Compares with `tests/golden`, or, with `--write`, replaces what is there.
pub fn cases(words: &[String]) -> Outcome {
    let mut test = cargo(&["test", "--locked", "--quiet", "--package", "vserver", "--test", "golden", "--"]);
    for word in words {
        match word.as_str() {
            "--write" => test.env("GOLDEN_WRITE", "1"),
            other => test.arg(other),
        };
    }
    run(&mut test)
}
