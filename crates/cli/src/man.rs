//! Manual pages in roff, made from the table: `vserver --generate-man DIR`.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::help::{capital, spelling};
use crate::table::{Command, PROGRAMS, VERBS, WORDS};

/// A page could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {}", path.display())]
pub struct ManError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// Writes `NAME.8` for every program into `dir`, which is made if it does not exist.
pub fn write_all(dir: &Path) -> Result<(), ManError> {
    fs::create_dir_all(dir).map_err(|source| ManError { path: dir.to_owned(), source })?;
    for command in PROGRAMS {
        let path = dir.join(format!("{}.8", command.name));
        fs::write(&path, page(command)).map_err(|source| ManError { path: path.clone(), source })?;
    }
    Ok(())
}

/// One page.
pub fn page(command: &Command) -> String {
    let mut roff = String::new();
    let name = command.name;
    let version = env!("CARGO_PKG_VERSION");
    put(&mut roff, &format!(".TH {} 8 \"\" \"vserver {version}\" \"Linux-VServer\"", name.to_uppercase()));
    put(&mut roff, &format!(".SH NAME\n{} \\- {}", escape(name), escape(command.summary)));
    put(&mut roff, ".SH SYNOPSIS");
    for form in command.synopsis {
        put(&mut roff, &format!(".B {}\n{}\n.br", escape(name), escape(form)).replace("\n\n", "\n"));
    }
    put(&mut roff, ".SH DESCRIPTION");
    paragraphs(&mut roff, command);
    put(&mut roff, ".SH OPTIONS");
    options(&mut roff, command);
    put(
        &mut roff,
        ".TP\n.B \\-\\-help\nShow the usage and exit.\n.TP\n.B \\-\\-version\nShow the version and exit.",
    );
    if name == "vserver" {
        put(&mut roff, ".SH COMMANDS FOR ONE GUEST");
        for verb in VERBS {
            section(&mut roff, verb, "vserver NAME ");
        }
        put(&mut roff, ".SH COMMANDS WITHOUT A GUEST");
        for word in WORDS {
            section(&mut roff, word, "vserver ");
        }
    }
    put(&mut roff, ".SH EXIT STATUS");
    exits(&mut roff, command);
    if !command.examples.is_empty() {
        put(&mut roff, ".SH EXAMPLES");
        for (line, what) in command.examples {
            put(&mut roff, &format!(".TP\n.B {}\n{}.", escape(line), escape(&capital(what))));
        }
    }
    put(&mut roff, ".SH SEE ALSO");
    let others: Vec<String> =
        PROGRAMS.iter().filter(|c| c.name != name).map(|c| format!(".BR {} (8)", escape(c.name))).collect();
    put(&mut roff, &others.join(" ,\n"));
    roff
}

fn section(roff: &mut String, command: &Command, prefix: &str) {
    for form in command.synopsis {
        put(roff, &format!(".SS {}", escape(format!("{prefix}{} {form}", command.name).trim_end())));
    }
    put(roff, &format!("{}.", escape(&capital(command.summary))));
    put(roff, ".PP");
    paragraphs(roff, command);
    options(roff, command);
    put(roff, ".PP\nExit status:");
    exits(roff, command);
}

fn paragraphs(roff: &mut String, command: &Command) {
    let texts: Vec<String> = command.manual.iter().map(|text| escape(text)).collect();
    put(roff, &texts.join("\n.PP\n"));
}

fn options(roff: &mut String, command: &Command) {
    for opt in command.options.iter().filter(|opt| !opt.hidden) {
        put(
            roff,
            &format!(".TP\n.B {}\n{}.", escape(spelling(opt).trim_start()), escape(&capital(opt.help))),
        );
    }
}

fn exits(roff: &mut String, command: &Command) {
    for (code, what) in command.exits {
        put(roff, &format!(".TP\n.B {}\n{}.", escape(code), escape(&capital(what))));
    }
}

fn put(roff: &mut String, text: &str) {
    writeln!(roff, "{text}").expect("a String takes all");
}

/// Text that roff prints as it is: no control lines, no escapes, dashes that can be copied.
fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for (number, line) in text.split('\n').enumerate() {
        if number > 0 {
            safe.push('\n');
        }
        if line.starts_with(['.', '\'']) {
            safe.push_str("\\&");
        }
        for c in line.chars() {
            match c {
                '\\' => safe.push_str("\\e"),
                '-' => safe.push_str("\\-"),
                other => safe.push(other),
            }
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_become_a_request() {
        assert_eq!(escape(".so /etc/passwd"), "\\&.so /etc/passwd");
        assert_eq!(escape("a\\b --x"), "a\\eb \\-\\-x");
        assert_eq!(escape("one\n'two"), "one\n\\&'two");
    }

    #[test]
    fn every_program_has_a_page_with_all_sections() {
        for command in PROGRAMS {
            let page = page(command);
            for title in ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXIT STATUS", "SEE ALSO"] {
                assert!(page.contains(&format!(".SH {title}\n")), "{}: {title}", command.name);
            }
        }
    }

    #[test]
    fn the_page_of_vserver_has_every_verb() {
        let page = page(crate::table::program("vserver").unwrap());
        for verb in VERBS {
            assert!(page.contains(&format!(".SS vserver NAME {}", escape(verb.name))), "{}", verb.name);
        }
    }
}
