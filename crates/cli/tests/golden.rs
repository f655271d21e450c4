//! The real binary on fixture trees: standard output, standard error and exit code as files.
//!
//! A case is a directory in `tests/golden/cases`: `cmd` holds the words of the command line (the first one is what
//! the binary is called as), `tree` the name of a directory in `tests/golden/trees` that becomes `VSERVER_PREFIX`,
//! and `stdout`, `stderr`, `exit` what is expected (an absent file: nothing, and exit code 0). `stdin` is what is typed; where a file `left` stands,
//! it lists every path below the prefix afterwards. The prefix shows as `PREFIX`. `GOLDEN_WRITE=1` writes the expectations anew; look at the difference before you commit it.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{io::Write as _, thread};

use libtest_mimic::{Arguments, Failed, Trial};

fn main() {
    let args = Arguments::from_args();
    let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden");
    let cases = fs::read_dir(base.join("cases")).expect("the cases stand beside this file");
    let mut trials: Vec<Trial> = cases
        .map(|case| {
            let dir = case.expect("a readable directory").path();
            let name = dir.file_name().expect("a directory has a name").to_string_lossy().into_owned();
            let base = base.clone();
            Trial::test(name, move || run(&base, &dir).map_err(Failed::from))
        })
        .collect();
    trials.sort_by(|a, b| a.name().cmp(b.name()));
    libtest_mimic::run(&args, trials).exit();
}

fn run(base: &Path, case: &Path) -> Result<(), String> {
    let text = |name: &str| fs::read_to_string(case.join(name)).unwrap_or_default();
    let prefix = tempfile::tempdir().map_err(|error| error.to_string())?;
    let tree = text("tree");
    let tree = if tree.is_empty() { "empty" } else { tree.trim() };
    copy(&base.join("trees").join(tree), prefix.path()).map_err(|error| format!("tree {tree}: {error}"))?;
    let command = text("cmd");
    let mut words = command.split_whitespace();
    let program = words.next().ok_or("cmd is empty")?;
    let shown = prefix.path().to_str().ok_or("the temporary directory has an odd name")?.to_owned();
    let mut child = Command::new(env!("CARGO_BIN_EXE_vserver"))
        .arg0(program)
        .args(words.map(|word| word.replace("PREFIX", &shown)))
        .env_clear()
        .env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin")
        .env("VSERVER_PREFIX", prefix.path())
        .current_dir(prefix.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| error.to_string())?;
    let (typed, mut stdin) = (text("stdin"), child.stdin.take().ok_or("no standard input")?);
    // A program that does not read its input is no failure.
    let typist = thread::spawn(move || stdin.write_all(typed.as_bytes()).is_ok());
    let output = child.wait_with_output().map_err(|error| error.to_string())?;
    typist.join().map_err(|_| "the typist panicked")?;
    let say = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace(&shown, "PREFIX");
    let code = output.status.code().ok_or("ended by a signal")?;
    let exit = if code == 0 { String::new() } else { format!("{code}\n") };
    let mut wrong = Vec::new();
    let mut all = vec![("stdout", say(&output.stdout)), ("stderr", say(&output.stderr)), ("exit", exit)];
    if case.join("left").exists() {
        let mut paths = Vec::new();
        list(prefix.path(), Path::new(""), &mut paths).map_err(|error| error.to_string())?;
        paths.sort();
        all.push(("left", paths.concat()));
    }
    for (name, found) in all {
        let expected = text(name);
        if found == expected {
            continue;
        }
        if std::env::var_os("GOLDEN_WRITE").is_some() {
            write(&case.join(name), &found).map_err(|error| error.to_string())?;
        } else {
            wrong.push(format!("{name}\n--- expected\n{expected}--- found\n{found}---"));
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    if text.is_empty() { fs::remove_file(path) } else { fs::write(path, text) }
}

/// Every path below `dir`, one a line.
fn list(dir: &Path, shown: &Path, paths: &mut Vec<String>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let shown = shown.join(entry.file_name());
        paths.push(format!("{}\n", shown.display()));
        if entry.file_type()?.is_dir() {
            list(&entry.path(), &shown, paths)?;
        }
    }
    Ok(())
}

/// A copy with symbolic links as they are.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target: PathBuf = to.join(entry.file_name());
        let kind = entry.file_type()?;
        if kind.is_symlink() {
            symlink(fs::read_link(entry.path())?, target)?;
        } else if kind.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
