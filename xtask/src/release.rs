//! `cargo xtask build`: the program as it is installed.
//!
//! It is linked with everything that it needs, where the C library can be: a command spends a third of a millisecond,
//! of two, on finding and binding its libraries otherwise. It looks nobody up by name (users and hosts come from files
//! and from other programs), so it misses nothing of what a C library loads later.

use std::fs;
use std::process::Command;

use crate::shell::{Outcome, cargo, run, target};

const BUILD: [&str; 5] = ["build", "--locked", "--release", "--package", "vserver"];

/// Builds `target/release/vserver`.
pub fn program() -> Outcome {
    let Some(host) = host().filter(|host| host.ends_with("-linux-gnu")) else {
        return run(&mut cargo(&BUILD));
    };
    // With a target of its own, as what runs in the compiler cannot be linked that way.
    let flags = format!("target.{host}.rustflags=[\"-Ctarget-feature=+crt-static\"]");
    let words = [&BUILD[..], &["--target", &host, "--config", &flags]].concat();
    if let Err(failure) = run(&mut cargo(&words)) {
        eprintln!(
            "{failure}: without the C library's archive (Debian: libc6-dev) the program needs its libraries"
        );
        return run(&mut cargo(&BUILD));
    }
    let built = target().join(host).join("release/vserver");
    let place = target().join("release/vserver");
    // Beside, and then in its place: it may be running.
    let beside = place.with_extension("new");
    let put = fs::create_dir_all(target().join("release"))
        .and_then(|()| fs::copy(&built, &beside))
        .and_then(|_| fs::rename(&beside, &place));
    put.map_err(|error| format!("{}: {error}", place.display()))
}

/// What the compiler calls this machine.
fn host() -> Option<String> {
    let output = Command::new("rustc").arg("-vV").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.lines().find_map(|line| line.strip_prefix("host: "))?.to_owned())
}
