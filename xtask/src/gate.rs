//! `cargo xtask gate`: the tool's own work, counted in instructions, may not grow unnoticed.
//!
//! The figures in force are the last block of `benches/instructions.txt`. More than 5 % above one of them fails, until
//! `cargo xtask gate --write 'REASON'` has recorded the new ones with a reason. Compilers and C libraries make different
//! numbers of the same source, and what a kernel shows in /proc counts a little: where they are not those of the record,
//! that is said, and 25 % are allowed.

use std::fmt::Write as _;
use std::fs;
use std::process::Command;

use crate::shell::{Outcome, cargo, is_root, run, run_within, target, workspace};

/// Percent that are noise, or not worth a word.
const TOLERANCE: u64 = 5;
/// The same on another toolchain, C library or kernel.
const LOOSE: u64 = 25;

/// Counts, and compares or (`--write REASON`) records.
pub fn instructions(words: &[String]) -> Outcome {
    let reason = match words {
        [] => None,
        [option, reason] if option == "--write" && !reason.trim().is_empty() => Some(reason.trim()),
        _ => return Err("usage: cargo xtask gate [--write 'REASON']".into()),
    };
    if !is_root() {
        eprintln!("instruction counts: left out, not root");
        return Ok(());
    }
    let counts = count()?;
    let here = surroundings()?;
    let file = workspace().join("benches/instructions.txt");
    let text = fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
    if let Some(reason) = reason {
        let mut block = format!("\nreason: {reason}\n{here}");
        for (what, number) in &counts {
            writeln!(block, "{what} {number}").map_err(|error| error.to_string())?;
        }
        eprint!("{block}");
        return fs::write(&file, text + &block).map_err(|error| format!("{}: {error}", file.display()));
    }
    compare(&text, &counts, &here)
}

/// The tool as the tests build it, in the trial that counts.
fn count() -> Result<Vec<(String, u64)>, String> {
    run(&mut cargo(&["build", "--locked", "--quiet", "--package", "vserver"]))?;
    let file = target().join("instructions");
    if file.exists() {
        fs::remove_file(&file).map_err(|error| format!("{}: {error}", file.display()))?;
    }
    let mut test = cargo(&["test", "--locked", "--quiet", "--package", "vserver-e2e", "--test", "e2e", "--"]);
    test.env("E2E_FILTER", "gate_instructions").env("E2E_REQUIRE", "counting").env("E2E_COUNTS", &file);
    run_within(10, &test)?;
    let counted = fs::read_to_string(&file).map_err(|error| format!("nothing was counted: {error}"))?;
    Ok(figures(&counted))
}

/// Lines of a word and a number; others are passed over.
fn figures(text: &str) -> Vec<(String, u64)> {
    let line = |line: &str| {
        let (what, number) = line.split_once(' ')?;
        Some((what.to_owned(), number.parse().ok()?))
    };
    text.lines().filter_map(line).collect()
}

/// What the numbers depend on besides the source, as the record's lines.
fn surroundings() -> Result<String, String> {
    let first_line = |program: &str, word: &str| {
        let output =
            Command::new(program).arg(word).output().map_err(|error| format!("{program}: {error}"))?;
        let text = String::from_utf8_lossy(&output.stdout);
        Ok::<_, String>(text.lines().next().unwrap_or_default().to_owned())
    };
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").map_err(|error| error.to_string())?;
    let series: Vec<&str> = release.trim().split('.').take(2).collect();
    Ok(format!(
        "rustc: {}\nlibc: {}\nkernel: {}\n",
        first_line("rustc", "--version")?,
        first_line("ldd", "--version")?,
        series.join(".")
    ))
}

fn compare(record: &str, counts: &[(String, u64)], here: &str) -> Outcome {
    let last =
        record.rfind("\nreason: ").ok_or("no figures are recorded: cargo xtask gate --write 'REASON'")?;
    let last = &record[last..];
    let foreign: Vec<&str> = here.lines().filter(|line| !last.lines().any(|known| known == *line)).collect();
    let tolerance = if foreign.is_empty() { TOLERANCE } else { LOOSE };
    if !foreign.is_empty() {
        eprintln!("not those of the record, so {LOOSE} % are allowed: {}", foreign.join("; "));
    }
    let recorded = figures(last);
    let mut wrong = Vec::new();
    for (what, number) in counts {
        let Some((_, before)) = recorded.iter().find(|(known, _)| known == what) else {
            wrong.push(format!("{what} is not in the record"));
            continue;
        };
        let permille = i128::from(*number) * 1000 / i128::from((*before).max(1)) - 1000;
        let percent = format!(
            "{}{}.{} %",
            if permille < 0 { '-' } else { '+' },
            permille.abs() / 10,
            permille.abs() % 10
        );
        eprintln!("{what:<8}{number:>12} instructions, {percent} of the record");
        if *number * 100 > *before * (100 + tolerance) {
            wrong.push(format!("{what} takes {percent}: {number} instructions, recorded {before}"));
        }
    }
    if wrong.is_empty() {
        return Ok(());
    }
    Err(format!("{}\nif it must be so: cargo xtask gate --write 'REASON'", wrong.join("\n")))
}
