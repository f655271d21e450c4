//! `cargo xtask prepare`: installs the programs that building, testing and the demo need.

use crate::shell::{Outcome, has_program, is_root, run};
use std::path::Path;
use std::process::Command;

/// A program (or, with a slash, a file) and the Debian package that brings it.
const NEEDED: &[(&str, &str)] = &[
    ("gcc", "gcc"),
    ("/usr/include/stdio.h", "libc6-dev"),
    ("make", "make"),
    ("debootstrap", "debootstrap"),
    ("mmdebstrap", "mmdebstrap"),
    ("busybox", "busybox-static"),
    ("tar", "tar"),
    ("cpio", "cpio"),
    ("gzip", "gzip"),
    ("bzip2", "bzip2"),
    ("xz", "xz-utils"),
    ("zstd", "zstd"),
    ("rsync", "rsync"),
    ("ip", "iproute2"),
    ("nft", "nftables"),
    ("unshare", "util-linux"),
    ("mount", "mount"),
    ("ps", "procps"),
    ("bash", "bash"),
    ("ar", "binutils"),
    ("python3", "python3"),
    ("wget", "wget"),
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("/usr/lib/qemu/virtiofsd", "qemu-system-common"),
    ("depmod", "kmod"),
    ("mke2fs", "e2fsprogs"),
    ("valgrind", "valgrind"),
];

/// Those that only building, and making test machines, needs.
const FOR_BUILDING: &[&str] =
    &["gcc", "libc6-dev", "make", "mmdebstrap", "qemu-system-x86", "qemu-system-common", "valgrind"];

/// Packages that trials need on the machine on which they run.
pub fn for_tests() -> impl Iterator<Item = &'static str> {
    NEEDED.iter().map(|(_, package)| *package).filter(|package| !FOR_BUILDING.contains(package))
}

/// Installs what is missing, or with `--check` only says what that is.
pub fn packages(words: &[String]) -> Outcome {
    install(NEEDED, words.iter().any(|word| word == "--check"))
}

/// Installs what of `needed` is missing, or only says what that is.
pub fn install(needed: &[(&str, &str)], only_say: bool) -> Outcome {
    let missing: Vec<&str> =
        needed.iter().filter(|(file, _)| !is_there(file)).map(|(_, package)| *package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    if only_say {
        return Err(format!("missing: {list}"));
    }
    if !has_program("apt-get") {
        return Err(format!("this is no Debian; please install what brings: {list}"));
    }
    if !is_root() {
        return Err(format!("not root; please run: apt-get install {list}"));
    }
    eprintln!("installing {list}");
    // A machine that never asked its archive for lists has none to install from.
    run(apt().arg("update"))?;
    run(apt().args(["install", "--yes", "--no-install-recommends"]).args(&missing))?;
    let still: Vec<&str> = needed.iter().filter(|(file, _)| !is_there(file)).map(|(file, _)| *file).collect();
    if still.is_empty() { Ok(()) } else { Err(format!("installed, and yet not found: {}", still.join(" "))) }
}

fn is_there(file: &str) -> bool {
    if file.starts_with('/') { Path::new(file).exists() } else { has_program(file) }
}

/// `apt-get` that asks nothing, and tries again when the network stumbles.
fn apt() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive").args(["--quiet", "--option", "Acquire::Retries=3"]);
    command
}
