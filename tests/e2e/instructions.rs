//! How many instructions the tool itself executes for what is done most: counted by `cargo xtask gate`, which compares
//! the numbers with `benches/instructions.txt`.
//!
//! valgrind counts every instruction of the tool's process in user space, the dynamic linker's included. Not counted: the
//! kernel's work, processes that the tool makes, and what valgrind cannot run, as it lacks the system calls (`openat2`,
//! `open_tree`, `clone3` in Debian 12's): a start is counted as far as its plan, an entry not at all. Numbers do not
//! depend on how busy the machine is; a little on its kernel (entries of /proc, mounts).

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use vserver_e2e::{Guest, Mode, Need, Program, Spec};

pub fn specs() -> Vec<Spec> {
    vec![Spec::new("gate_instructions", instructions).once().needs(&[Need::Counting])]
}

/// The least of them counts, as a clock that has gone on or a longer process number may make a difference of a few
/// hundred.
const ROUNDS: usize = 3;

fn instructions(_mode: Mode) {
    let guest = Guest::busybox("test", Mode::Classic).style("").make();
    guest.set("apps/init/cmd.start", "/bin/sh\n-c\nsetsid sleep 100000 < /dev/null > /dev/null 2>&1 &\n");
    let mut lines = String::new();
    let mut note = |what: &str, name: &str, words: &[&str]| {
        let counts: Vec<u64> = (0..ROUNDS).map(|_| count(name, words)).collect();
        eprintln!("{what}: {counts:?}");
        let least = counts.iter().min().expect("there were rounds");
        writeln!(lines, "{what} {least}").expect("a String takes all");
    };
    note("plan", "vserver", &["test", "start", "--dry-run"]);
    guest.start();
    note("status", "vserver", &["test", "status"]);
    note("stat", "vserver-stat", &[]);
    guest.stop();
    let file = std::env::var_os("E2E_COUNTS").expect("the trial is not run without");
    fs::write(file, lines).expect("a place below the target directory");
}

/// The instructions of one command, which must succeed.
fn count(name: &str, words: &[&str]) -> u64 {
    let tool = Path::new("/run/e2e/bin").join(name);
    drop(Program::named(name));
    let running = Program::of_host("valgrind")
        .args(&["--tool=callgrind", "--callgrind-out-file=/dev/null", "--log-file=/run/e2e/valgrind.%p"])
        .args(&[tool])
        .args(words)
        .start();
    let log = format!("/run/e2e/valgrind.{}", running.id());
    running.wait(std::time::Duration::from_mins(2)).ok();
    let text = fs::read_to_string(&log).expect("valgrind writes it");
    let collected = text.lines().find_map(|line| line.split_once("Collected : "));
    let (_, number) = collected.unwrap_or_else(|| panic!("no count in\n{text}"));
    number.trim().parse().unwrap_or_else(|error| panic!("{error}: {number}"))
}
