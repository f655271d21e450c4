//! `cargo xtask bench [FILTER]`: benchmarks beside other tools and the bare kernel.

use crate::shell::{Outcome, cargo, run};
use crate::{prepare, release};

/// Who takes part beside us: a program and the Debian package that brings it.
const CONTESTANTS: &[(&str, &str)] = &[
    ("crun", "crun"),
    ("runc", "runc"),
    ("lxc-start", "lxc"),
    ("systemd-nspawn", "systemd-container"),
    ("bwrap", "bubblewrap"),
];

/// Builds the program as it is installed, and runs the benchmarks: all, or those that the words pick.
pub fn races(words: &[String]) -> Outcome {
    if let Err(failure) = prepare::install(CONTESTANTS, false) {
        // Who is missing is named in every table, too.
        eprintln!("left out: {failure}");
    }
    release::program()?;
    let bench = ["bench", "--locked", "--quiet", "--package", "vserver-bench", "--bench", "bench", "--"];
    run(cargo(&bench).args(words))
}
