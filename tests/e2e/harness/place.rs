//! Where things lie on the machine that runs the tests.

use std::env;
use std::path::{Path, PathBuf};

/// Cargo's target directory, found from where this very executable lies (`target/debug/deps/e2e-…`).
///
/// # Panics
///
/// When the executable was moved out of the directory in which cargo puts test executables.
pub fn target() -> PathBuf {
    let executable = env::current_exe().expect("/proc is mounted");
    let profile =
        executable.parent().and_then(Path::parent).expect("a test executable lies in target/PROFILE/deps");
    profile.parent().expect("a profile directory lies in target").to_path_buf()
}

/// The program under test.
///
/// # Panics
///
/// When it was not built: `cargo build -p vserver` comes first (`cargo xtask e2e` does it).
pub fn program() -> PathBuf {
    if let Some(program) = env::var_os("E2E_PROGRAM") {
        return program.into();
    }
    let executable = env::current_exe().expect("/proc is mounted");
    let profile =
        executable.parent().and_then(Path::parent).expect("a test executable lies in target/PROFILE/deps");
    let program = profile.join("vserver");
    assert!(program.is_file(), "{} is missing: run `cargo build -p vserver` first", program.display());
    program
}

/// What is installed as `/usr/local/share/vserver`.
pub fn share() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../share")
}

/// Root images, made once per machine.
pub fn images() -> PathBuf {
    target().join("fixtures")
}

/// What belongs to one trial. On the filesystem of the target directory, as guest trees want a real one.
pub fn trial(name: &str) -> PathBuf {
    target().join("e2e").join(name.replace(':', "-"))
}

/// The name of the trial's top cgroup: inside its space what it was told, outside one that no other run has.
pub fn cgroup_top(name: &str) -> String {
    if let Ok(told) = env::var("VSERVER_CGROUP_TOP") {
        return told;
    }
    format!("vservers-e2e-{}-{}", std::process::id(), name.replace("::", "-"))
}
