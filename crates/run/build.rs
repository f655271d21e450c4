//! Builds the tiny static helper (`crates/guard`) once more, for size, so that the tool can carry it inside itself.
//!
//! Cargo cannot hand the artifact of one package to another on a stable toolchain, and the helper needs link options
//! of its own; so the compiler is called directly. It has no dependencies.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    let source = Path::new(&env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("../guard/src");
    println!("cargo:rerun-if-changed={}", source.display());
    let output = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it")).join("vserver-guard");
    let mut compiler = Command::new(env::var_os("RUSTC").expect("cargo sets it"));
    compiler
        .args(["--edition", "2024", "--crate-name", "vserver_guard", "--crate-type", "bin"])
        .args(["--target", &env::var("TARGET").expect("cargo sets it")])
        .arg(source.join("main.rs"))
        .arg("-o")
        .arg(&output);
    let code = ["opt-level=s", "panic=abort", "relocation-model=static", "strip=symbols", "debuginfo=0"];
    let link = ["-nostartfiles", "-nostdlib", "-static", "-no-pie", "-Wl,--build-id=none", "-Wl,-z,norelro"];
    for option in code.iter().map(ToString::to_string).chain(link.iter().map(|l| format!("link-arg={l}"))) {
        compiler.arg("-C").arg(option);
    }
    let status = compiler.status().expect("the compiler that builds this can be started");
    assert!(status.success(), "the helper program does not build");
}
