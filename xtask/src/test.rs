//! `cargo xtask test`: everything.

use crate::shell::{Duties, Outcome, cargo, is_root, run_within};
use crate::{e2e, gate, prepare, vm};

/// Runs all kinds of tests of `CONTRIBUTING.md`, past failures.
pub fn run_everything() -> Outcome {
    let mut duties = Duties::new();
    duties.attempt("what the tests need", || prepare::packages(&[]));
    duties.attempt("unit, property, golden, kernel and short fuzz tests", || {
        run_within(
            15,
            &cargo(&["test", "--locked", "--workspace", "--no-fail-fast", "--exclude", "vserver-e2e"]),
        )
    });
    duties.attempt("end-to-end tests", || e2e::trials(&[]));
    duties.attempt("instruction counts", || gate::instructions(&[]));
    if is_root() {
        duties.attempt("stock kernels, emulated", || vm::trials(&["--brief".to_owned()]));
    } else {
        duties.note("not root: kernel and end-to-end tests were ignored, and no other kernel was tried");
    }
    duties.conclude("test")
}
