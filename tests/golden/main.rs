//! Golden tests: the real binary on a fixture tree, its output compared byte for byte.
//!
//! `cases/NAME/command` holds the words after `$`, one command a line; an optional first line `fixture: TREE` names a
//! directory of `fixtures/` that is copied and given to the program as its prefix. What all the commands print to
//! standard output and standard error lies in `stdout` and `stderr`, their exit statuses in `exit`, one a line. The
//! prefix is written as `PREFIX` in them. `cargo xtask golden --write` replaces the three.

use libtest_mimic::{Arguments, Failed, Trial};
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use vserver_e2e::place;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("../golden");
    let mut cases: Vec<PathBuf> = fs::read_dir(top.join("cases"))
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.join("command").is_file())
        .collect();
    cases.sort();
    let trials = cases.into_iter().map(|case| {
        let fixtures = top.join("fixtures");
        let name = case.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Trial::test(name, move || run(&case, &fixtures).map_err(Failed::from))
    });
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}

/// What the commands of a case said, each stream under the name of its file.
#[derive(Default)]
struct Said {
    stdout: String,
    stderr: String,
    exit: String,
}

fn run(case: &Path, fixtures: &Path) -> Result<(), String> {
    let name = case.file_name().unwrap_or_default();
    let prefix = place::target().join("golden").join(name);
    let text = read(&case.join("command"))?;
    let mut lines = text.lines().peekable();
    empty(&prefix)?;
    if let Some(fixture) = lines.next_if(|line| line.starts_with("fixture: ")) {
        copy(&fixtures.join(fixture.trim_start_matches("fixture: ")), &prefix)?;
    }
    let mut said = Said::default();
    for line in lines.filter(|line| !line.trim().is_empty() && !line.starts_with('#')) {
        let words: Vec<String> =
            line.split_whitespace().map(|word| word.replace("PREFIX", &shown(&prefix))).collect();
        speak(&words, &prefix, &mut said)?;
    }
    let files = [("stdout", &said.stdout), ("stderr", &said.stderr), ("exit", &said.exit)];
    let mut wrong = String::new();
    for (file, now) in files {
        let path = case.join(file);
        if env::var_os("GOLDEN_WRITE").is_some() {
            fs::write(&path, now).map_err(|error| format!("{}: {error}", path.display()))?;
        } else if read(&path)? != *now {
            wrong.extend(["--- ", file, ", wanted\n", &read(&path)?, "--- ", file, ", got\n", now]);
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong) }
}

/// Runs one command line: the first word is the name under which the program is called.
fn speak(words: &[String], prefix: &Path, said: &mut Said) -> Result<(), String> {
    use std::os::unix::process::CommandExt as _;
    let (name, arguments) = words.split_first().ok_or("an empty command")?;
    let output = Command::new(place::program())
        .arg0(name)
        .args(arguments)
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("LANG", "C.UTF-8")
        .env("VSERVER_PREFIX", prefix)
        .current_dir(prefix)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{name}: {error}"))?;
    let hide = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace(&shown(prefix), "PREFIX");
    said.stdout += &hide(&output.stdout);
    said.stderr += &hide(&output.stderr);
    said.exit += &output.status.code().unwrap_or(-1).to_string();
    said.exit.push('\n');
    Ok(())
}

fn shown(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn empty(directory: &Path) -> Result<(), String> {
    if directory.exists() {
        fs::remove_dir_all(directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    }
    fs::create_dir_all(directory).map_err(|error| format!("{}: {error}", directory.display()))
}

/// `cp`, as fixtures hold links and odd names.
fn copy(from: &Path, to: &Path) -> Result<(), String> {
    let status = Command::new("cp").arg("-a").arg(from.join(".")).arg(to).status();
    if status.as_ref().is_ok_and(std::process::ExitStatus::success) {
        Ok(())
    } else {
        Err(format!("cp: {status:?}"))
    }
}
