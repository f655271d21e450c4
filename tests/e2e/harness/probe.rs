//! The attacker: a static program that tries one attack after the other (`programs/probe.rs`), in a guest or, as the
//! control of a trial, on the host.

use crate::{Guest, place};
use std::collections::BTreeMap;
use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

/// Where it lies in a guest.
pub const INSIDE: &str = "/bin/probe";

/// Builds it unless it is there.
///
/// # Panics
///
/// When the compiler is missing or refuses it.
pub fn program() -> PathBuf {
    rust_program("probe")
}

/// A static program from `programs/NAME.rs`.
pub(crate) fn rust_program(name: &str) -> PathBuf {
    let mut compiler = Command::new("rustc");
    compiler
        .args(["--edition", "2024", "-O", "-C", "target-feature=+crt-static", "-C", "panic=abort"])
        .args(["-C", "strip=symbols"]);
    built(name, "rs", compiler)
}

/// A static 32-bit program from `programs/NAME.c`.
pub(crate) fn program_of_32_bits(name: &str) -> PathBuf {
    let mut compiler = Command::new("gcc");
    compiler.args(["-m32", "-O1", "-nostdlib", "-static", "-ffreestanding", "-fno-pic", "-no-pie"]);
    compiler.args(["-fno-stack-protector", "-Wall", "-Wextra", "-Werror"]);
    built(name, "c", compiler)
}

/// Builds all of them: for a machine that has no compiler.
pub(crate) fn build_all() {
    for name in ["probe", "netprobe", "viewprobe", "assassin"] {
        drop(rust_program(name));
    }
    for name in ["thirtytwo", "view32"] {
        drop(program_of_32_bits(name));
    }
}

/// Builds `programs/NAME.EXTENSION` unless it is there, and tells where. Trials run side by side: each builds for
/// itself, and the last one's file stays. The file's name begins with `probe`: what runs trials in a virtual machine
/// takes those along.
fn built(name: &str, extension: &str, compiler: Command) -> PathBuf {
    static KNOWN: Mutex<BTreeMap<String, PathBuf>> = Mutex::new(BTreeMap::new());
    let mut known = KNOWN.lock().expect("nobody else is there when a build panics");
    known.entry(name.to_owned()).or_insert_with(|| build(name, extension, compiler)).clone()
}

fn build(name: &str, extension: &str, mut compiler: Command) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("programs/{name}.{extension}"));
    let text = fs::read(&source).expect("it lies beside the harness");
    let mut hash = DefaultHasher::new();
    text.hash(&mut hash);
    let name = if name == "probe" { name.to_owned() } else { format!("probe-{name}") };
    let finished = place::images().join(format!("{name}-{:016x}", hash.finish()));
    if finished.exists() {
        return finished;
    }
    fs::create_dir_all(place::images()).expect("the target directory is ours");
    let top = std::env::var("VSERVER_CGROUP_TOP").unwrap_or_default();
    let draft = finished.with_file_name(format!("{name}-{top}-{}.part", std::process::id()));
    let status = compiler.arg(&source).arg("-o").arg(&draft).status();
    let status = status.expect("a compiler is there: one has built this");
    assert!(status.success(), "{} does not build", source.display());
    fs::rename(&draft, &finished).expect("the target directory is ours");
    finished
}

/// Puts it into a guest's tree.
///
/// # Panics
///
/// When it cannot be copied.
pub fn plant(guest: &Guest) {
    fs::copy(program(), guest.tree(INSIDE)).expect("the tree is ours");
}

/// What came of each attack.
#[derive(Debug)]
pub struct Answers(BTreeMap<String, String>);

impl Answers {
    /// From the lines that the program prints.
    pub fn read(text: &str) -> Self {
        Self(
            text.lines()
                .filter_map(|line| line.rsplit_once(": "))
                .map(|(attack, answer)| (attack.to_owned(), answer.to_owned()))
                .collect(),
        )
    }

    /// This attack must have been answered with one of these (`ok`, `EPERM` …).
    ///
    /// # Panics
    ///
    /// When it was not.
    #[track_caller]
    pub fn expect(&self, attack: &str, wanted: &[&str]) -> &Self {
        let got = self.of(attack);
        assert!(wanted.contains(&got), "{attack}: {got}, wanted one of {wanted:?}\n{self:#?}");
        self
    }

    /// What this attack was answered with.
    pub fn of(&self, attack: &str) -> &str {
        self.0.get(attack).map_or("no answer", String::as_str)
    }
}

/// Runs attacks as root of a guest.
#[track_caller]
pub fn attack(guest: &Guest, attacks: &[&str]) -> Answers {
    let done = guest.vserver(&[&["exec", INSIDE], attacks].concat());
    done.ok();
    Answers::read(&done.out())
}

/// Runs the same attacks on the host, as root and without any defence: a control that shows that they can succeed.
#[track_caller]
pub fn control(attacks: &[&str]) -> Answers {
    let program = program();
    let done = crate::command::host(program.to_str().expect("a path in UTF-8"), attacks);
    done.ok();
    Answers::read(&done.out())
}
