//! `cargo xtask check`: the style gate. All of it runs, then all that failed is named.
//!
//! That generated pages are fresh is shown by tests of the crates that generate them (`docs/configuration.md`,
//! `docs/kernel-features.md`, the help's golden cases), so `cargo xtask test` says it.

mod changelog;
mod dependencies;
mod layers;

use crate::shell::{Duties, Outcome, cargo, has_program, run};
use std::env;
use std::path::PathBuf;

/// Runs every part of the gate.
pub fn gate() -> Outcome {
    let mut duties = Duties::new();
    duties.attempt("format", || run(&mut cargo(&["fmt", "--all", "--check"])));
    duties.attempt("lints", || {
        run(&mut cargo(&[
            "clippy",
            "--locked",
            "--quiet",
            "--workspace",
            "--all-targets",
            "--keep-going",
            "--",
            "--deny",
            "warnings",
        ]))
    });
    duties.attempt("documentation", || {
        let mut doc = cargo(&["doc", "--locked", "--quiet", "--workspace", "--no-deps"]);
        run(doc.env("RUSTDOCFLAGS", "--deny warnings"))
    });
    duties.attempt("licences and sources", dependencies::check);
    duties.attempt("layers", layers::check);
    duties.attempt("changelog", changelog::check);
    if has_advisory_database() {
        duties.attempt("advisories", || run(&mut cargo(&["audit", "--no-fetch", "--deny", "warnings"])));
    } else {
        duties.note("advisories not checked: needs cargo-audit and the advisory database");
    }
    duties.conclude("check")
}

/// Whether `cargo audit` can work with what is here; nothing is fetched for it.
fn has_advisory_database() -> bool {
    let home = env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo")));
    home.is_some_and(|home| home.join("advisory-db").is_dir()) && has_program("cargo-audit")
}
