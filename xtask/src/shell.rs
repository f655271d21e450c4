//! Starting other programs, visibly, and running several duties past a failure.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// What went wrong, in words for the developer.
pub type Outcome = Result<(), String>;

/// The top of the source tree.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the workspace").to_path_buf()
}

/// Where cargo puts what it builds.
pub fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from)
}

/// The cargo that started us, at the top of the source tree.
pub fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(workspace());
    command
}

/// Prints the command as one could type it, runs it, and turns a non-zero status into a sentence.
pub fn run(command: &mut Command) -> Outcome {
    let shown = show(command);
    eprintln!("\x1b[1m$ {shown}\x1b[0m");
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("`{shown}` ended with {status}")),
        Err(error) => Err(format!("`{shown}` cannot be started: {error}")),
    }
}

/// The same, but killed after that many minutes: a test that hangs is a failure, not a wait for somebody's patience.
pub fn run_within(minutes: u32, command: &Command) -> Outcome {
    let mut limited = Command::new("timeout");
    limited
        .arg("--kill-after=10")
        .arg(format!("{minutes}m"))
        .arg(command.get_program())
        .args(command.get_args());
    limited.envs(command.get_envs().filter_map(|(name, value)| value.map(|value| (name, value))));
    if let Some(directory) = command.get_current_dir() {
        limited.current_dir(directory);
    }
    run(&mut limited).map_err(|failure| {
        if failure.ends_with("exit status: 124") {
            format!("{failure}: not over after {minutes} minutes")
        } else {
            failure
        }
    })
}

/// Whether a program of this name can be found by the shell.
pub fn has_program(name: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from);
    env::split_paths(&path).chain(usual).any(|directory| directory.join(name).is_file())
}

/// Whether we are root, asked of the kernel.
pub fn is_root() -> bool {
    std::fs::read_to_string("/proc/self/status").is_ok_and(|status| {
        status.lines().any(|line| line.starts_with("Uid:") && line.split_whitespace().nth(2) == Some("0"))
    })
}

fn show(command: &Command) -> String {
    let mut words = Vec::new();
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            let value = value.to_string_lossy();
            // A list of five hundred names says nothing to a reader.
            let shown: String = value.chars().take(60).collect();
            let more = if shown.len() < value.len() { "…" } else { "" };
            words.push(format!("{}={shown:?}{more}", name.to_string_lossy()));
        }
    }
    let program = Path::new(command.get_program());
    words.push(program.file_name().unwrap_or_default().to_string_lossy().into_owned());
    words.extend(command.get_args().map(|word| word.to_string_lossy().into_owned()));
    words.join(" ")
}

/// Several duties, all of them done even when one fails; the failures are named together at the end.
pub struct Duties {
    begun: Instant,
    done: Vec<(&'static str, Duration, Outcome)>,
    notes: Vec<String>,
}

impl Duties {
    /// None done yet.
    pub fn new() -> Self {
        Self { begun: Instant::now(), done: Vec::new(), notes: Vec::new() }
    }

    /// Does one and remembers how it went.
    pub fn attempt(&mut self, name: &'static str, duty: impl FnOnce() -> Outcome) {
        eprintln!("\x1b[1m== {name}\x1b[0m");
        let begun = Instant::now();
        let outcome = duty();
        if let Err(failure) = &outcome {
            eprintln!("{name}: {failure}");
        }
        self.done.push((name, begun.elapsed(), outcome));
    }

    /// Something that was left out, to be said where it is read: at the end.
    pub fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// Prints how each went and, last, one line about all.
    pub fn conclude(self, what: &str) -> Outcome {
        eprintln!();
        for (name, time, outcome) in &self.done {
            let word = if outcome.is_ok() { "ok    " } else { "FAILED" };
            eprintln!("{word} {name} ({} s)", time.as_secs());
        }
        for note in &self.notes {
            eprintln!("note   {note}");
        }
        let failed: Vec<&str> = self.done.iter().filter(|d| d.2.is_err()).map(|d| d.0).collect();
        let seconds = self.begun.elapsed().as_secs();
        if failed.is_empty() {
            eprintln!("{what}: all {} passed in {seconds} s", self.done.len());
            Ok(())
        } else {
            Err(format!("{} of {} failed: {}", failed.len(), self.done.len(), failed.join(", ")))
        }
    }
}
