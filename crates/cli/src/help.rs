//! `--help` and `--version`, made from the table.

use std::fmt::Write as _;

use crate::table::{Command, Opt, PROGRAMS, VERBS, WORDS};

/// The text of `--help`; `prefix` is what stands before the command's name (`vserver NAME ` for a verb).
pub fn text(command: &Command, prefix: &str) -> String {
    let mut text = String::new();
    for (number, form) in command.synopsis.iter().enumerate() {
        let label = if number == 0 { "Usage:" } else { "      " };
        put(&mut text, format!("{label} {prefix}{} {form}", command.name).trim_end());
    }
    put(&mut text, &format!("\n{}.", capital(command.summary)));
    let mut options: Vec<(String, &str)> =
        command.options.iter().filter(|opt| !opt.hidden).map(|opt| (spelling(opt), opt.help)).collect();
    options.push(("    --help".to_owned(), "show this text"));
    options.push(("    --version".to_owned(), "show the version"));
    section(&mut text, "Options", &options);
    if is_vserver(command, prefix) {
        for (title, list) in lists() {
            section(&mut text, title, &list);
        }
    }
    let exits: Vec<(String, &str)> =
        command.exits.iter().map(|(code, what)| ((*code).to_owned(), *what)).collect();
    section(&mut text, "Exit codes", &exits);
    if !command.examples.is_empty() {
        put(&mut text, "\nExamples:");
        for (line, what) in command.examples {
            put(&mut text, &format!("  {line}\n      {what}"));
        }
    }
    text
}

/// The text of `--version`.
pub fn version(command: &Command) -> String {
    format!(
        "{} {} -- {}\nLicensed under the MIT licence or the Apache License 2.0, as you like.\n\
         There is no warranty, to the extent permitted by law.\n",
        command.name,
        env!("CARGO_PKG_VERSION"),
        command.summary
    )
}

/// How an option is written in the help: `-s, --sync` or `    --json`, and its value.
pub fn spelling(opt: &Opt) -> String {
    let indent = if opt.names[0].starts_with("--") { "    " } else { "" };
    let value = opt.value.map_or(String::new(), |value| format!(" {}", value.name));
    format!("{indent}{}{value}", opt.names.join(", "))
}

/// With a capital first letter.
pub fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or(String::new(), |first| first.to_uppercase().chain(chars).collect())
}

fn is_vserver(command: &Command, prefix: &str) -> bool {
    command.name == "vserver" && prefix.is_empty()
}

fn lists() -> [(&'static str, Vec<(String, &'static str)>); 3] {
    let rows = |list: &[&'static Command]| {
        list.iter().filter(|c| c.name != "vserver").map(|c| (c.name.to_owned(), c.summary)).collect()
    };
    [
        ("Commands for one guest (vserver NAME COMMAND)", rows(VERBS)),
        ("Commands without a guest (vserver COMMAND)", rows(WORDS)),
        ("Other programs", rows(PROGRAMS)),
    ]
}

fn section(text: &mut String, title: &str, rows: &[(String, &str)]) {
    let width = rows.iter().map(|(left, _)| left.len()).filter(|len| *len <= 28).max().unwrap_or(0);
    put(text, &format!("\n{title}:"));
    for (left, right) in rows {
        if left.len() <= width {
            put(text, &format!("  {left:width$}  {right}"));
        } else {
            put(text, &format!("  {left}\n  {:width$}  {right}", ""));
        }
    }
}

fn put(text: &mut String, line: &str) {
    writeln!(text, "{line}").expect("a String takes all");
}
