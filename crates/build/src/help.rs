//! `vserver NAME build --help`, from the tables of options and methods.

use std::fmt::Write as _;

use crate::ask::GENERIC;
use crate::method::{LATER, METHODS};
use crate::options::OptionSpec;

/// The column where explanations begin.
const COLUMN: usize = 30;
/// The widest line.
const WIDTH: usize = 100;

/// The whole text, without the last newline.
pub fn text() -> String {
    let mut text = String::from(
        "Usage: vserver NAME build -m METHOD [OPTION…] [--] [METHOD OPTION…] [-- MORE…]\n\n\
         Makes a new guest: its configuration below /etc/vservers and its tree below /vservers.\n\
         A build that fails, or is interrupted, takes away everything it made.\n\n\
         Options:\n",
    );
    options(&mut text, &GENERIC);
    text.push_str("\nMethods, and what each takes after '--':\n");
    for method in METHODS {
        write!(text, "\n  {} {}\n", method.name(), method.usage()).expect("writing to a String cannot fail");
        paragraph(&mut text, 6, 6, method.about());
        options(&mut text, method.options());
        for tool in method.tools() {
            let need = if tool.optional { "uses" } else { "needs" };
            paragraph(&mut text, 6, 6, &format!("{need} the host's program {}: {}", tool.program, tool.hint));
        }
    }
    text.push('\n');
    paragraph(&mut text, 2, 2, &format!("Known, and coming with later versions: {}.", LATER.join(", ")));
    text.push_str("\nFiles:\n");
    for (file, what) in [
        (
            ".defaults/apps/build/options",
            "words put before the command line's, one a line (not with NO_DEFAULT_OPTS)",
        ),
        (".defaults/context.next", "the next number for guests without --context"),
        (".defaults/fstab", "the fstab of new guests"),
        (".defaults/files/", "hosts, resolv.conf and others for the guests' /etc"),
        (".distributions/DIST/", "what belongs to a distribution: devs, files/, initpre, initpost, template"),
    ] {
        entry(&mut text, file, what);
    }
    text.push_str(
        "\nExamples:\n\
         \x20 vserver web1 build -m debootstrap --context 1001 --hostname web1 -- -d bookworm\n\
         \x20 vserver web2 build -m template --interface eth0:192.0.2.7/24 -- -t image.tar.zst\n\
         \x20 vserver web3 build -m clone -- --source web1",
    );
    text
}

fn options(text: &mut String, specs: &[OptionSpec]) {
    for spec in specs {
        entry(text, &spec.usage(), spec.help);
    }
}

fn entry(text: &mut String, left: &str, right: &str) {
    let mut line = format!("  {left}");
    if line.chars().count() + 2 > COLUMN {
        line.push('\n');
        text.push_str(&line);
        paragraph(text, COLUMN, COLUMN, right);
    } else {
        text.push_str(&line);
        paragraph(text, COLUMN - line.chars().count(), COLUMN, right);
    }
}

/// Words filled into lines: the first indented by `first`, which begins at that column already, the others by `rest`.
fn paragraph(text: &mut String, first: usize, rest: usize, words: &str) {
    text.push_str(&" ".repeat(first));
    let mut column = rest;
    for (at, word) in words.split_whitespace().enumerate() {
        let length = word.chars().count();
        if at > 0 && column + 1 + length > WIDTH {
            text.push('\n');
            text.push_str(&" ".repeat(rest));
            column = rest;
        } else if at > 0 {
            text.push(' ');
            column += 1;
        }
        text.push_str(word);
        column += length;
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s12_all_methods_and_options_are_named() {
        let text = text();
        for method in METHODS {
            assert!(text.contains(&format!("\n  {} ", method.name())), "{}", method.name());
            for option in method.options() {
                assert!(text.contains(&option.usage()), "{}", option.usage());
            }
        }
        for option in &GENERIC {
            assert!(text.contains(&format!("\n  {}", option.usage())), "{}", option.usage());
            assert!(!option.help.is_empty());
        }
        for later in LATER {
            assert!(text.contains(later), "{later}");
        }
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH));
    }
}
