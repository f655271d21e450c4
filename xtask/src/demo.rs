//! `cargo xtask demo`: a real guest, from the archive to the prompt.

use crate::prepare;
use crate::shell::{Outcome, cargo, is_root, run, target, workspace};
use std::process::Command;

/// Builds for release and hands over to `share/demo`, which shows every command it types.
pub fn show() -> Outcome {
    if !is_root() {
        return Err("a guest is started by root: try `sudo make demo`".into());
    }
    prepare::packages(&[])?;
    run(&mut cargo(&["build", "--locked", "--release", "--package", "vserver"]))?;
    let script = workspace().join("share/demo");
    run(Command::new(script).arg(target().join("release/vserver")).arg(target().join("demo")))
}
