//! The table as a chapter of the documentation: `docs/configuration.md`.

use std::fmt::Write as _;

use vserver_model::words::{TABLES, WordTable};

use crate::table::{Base, Honoured, ITEMS, Item, Since, Type, WORDS_NOT_YET};

const HEAD: &str = "\
# Configuration: every item

This page is made from the tables that the reader works with (`crates/config/src/table.rs`, `crates/model/src/words.rs`); a
test compares them, and `VSERVER_WRITE_DOCS=1 cargo test -p vserver-config` writes the page anew.

`vserver NAME check` reports everything that is wrong in a guest's files in one run, with file and line.

| Type | On disk |
|---|---|
| bool | only existence counts, the content is never read |
| scalar | one value on the first line; blanks around it do not count |
| list | one item a line; blanks around it, blank lines and lines that begin with `#` do not count |
| array | one item a line, taken as it is; only empty lines do not count |
| hash | `VARIABLE=VALUE` a line, taken as it is |
| link | a symbolic link |
| data | text in a form of its own |
| prog | a program |
| dir | a directory whose existence means something |

In a path `*` stands for any name, `{a,b}` for either, a last `**` for everything below. Directories of items are read in the
order of bytes; names that begin with a dot, backups (`*~`, `*.rpmsave` …) and `CVS` are skipped. A final newline may be
missing; a warning says so.
";

/// The page.
pub fn page() -> String {
    let mut page = HEAD.to_owned();
    for (base, title) in [
        (Base::Guest, "A guest: /etc/vservers/NAME"),
        (Base::Defaults, "The site: /etc/vservers/.defaults"),
        (Base::Distributions, "Distributions: /etc/vservers/.distributions"),
    ] {
        heading(&mut page, title);
        let mut section = None;
        for item in ITEMS.iter().filter(|item| item.base == base) {
            let own = if base == Base::Guest { section_of(item) } else { "" };
            if section != Some(own) {
                let title = if own.is_empty() { "\n".to_owned() } else { format!("\n### {own}/\n\n") };
                add(&mut page, &title);
                section = Some(own);
            }
            entry(&mut page, item);
        }
    }
    heading(&mut page, "Words of the list files");
    add(&mut page, WORDS);
    for table in TABLES {
        words(&mut page, table);
    }
    page
}

const WORDS: &str = "
One line is a list of words separated by commas, applied from left to right on what the lines above gave. `~WORD` and `!WORD`
clear, `all` is every bit, `none` none, `^N` bit number N, a number a raw mask. Case does not matter, nor does the prefix.
";

fn heading(page: &mut String, title: &str) {
    add(page, &format!("\n## {title}\n"));
}

/// The directory of an item; empty at the top.
fn section_of(item: &Item) -> &'static str {
    let app = item.path.strip_prefix("apps/").map_or(0, |_| "apps/".len());
    match item.path[app..].split_once('/') {
        Some((dir, _)) => item.path[..app + dir.len()].trim_end_matches("-methods"),
        None if item.kind == Type::Dir => item.path,
        None => "",
    }
}

fn entry(page: &mut String, item: &Item) {
    let kind = format!("{:?}", item.kind).to_lowercase();
    let mut line = format!("- `{}` ({kind}", item.path);
    match item.since {
        Since::Original => {}
        Since::Pld => line.push_str(", from PLD Linux"),
        Since::Ours => line.push_str(", new in vserver"),
    }
    line.push_str("): ");
    line.push_str(item.help);
    line.push_str(". Default: ");
    line.push_str(item.default);
    line.push('.');
    match item.honoured {
        Honoured::Yes | Honoured::BuildOnly | Honoured::OtherCommand => {}
        Honoured::Partly(why) => {
            write!(line, " *Honoured in part: {why}.*").expect("writing to a string does not fail");
        }
        Honoured::Later(why) => {
            write!(line, " *Not yet honoured: {why}.*").expect("writing to a string does not fail");
        }
        Honoured::Unsupported(why) => {
            write!(line, " *Not honoured: {why}.*").expect("writing to a string does not fail");
        }
    }
    line.push('\n');
    add(page, &line);
}

fn words(page: &mut String, table: &WordTable) {
    add(
        page,
        &format!(
            "\n### `{}`\n\nPrefix `{}`.\n\n| Word | Default | Meaning |\n|---|---|---|\n",
            table.file, table.prefix
        ),
    );
    for word in table.entries {
        let default = if word.default { "yes" } else { "" };
        let later = WORDS_NOT_YET.iter().find(|(file, name, _)| *file == table.file && *name == word.name);
        let later = later.map_or_else(String::new, |(_, _, why)| format!(" *Not yet honoured: {why}.*"));
        let names: Vec<String> =
            [word.name].iter().chain(word.aliases).map(|name| format!("`{name}`")).collect();
        add(page, &format!("| {} | {default} | {}.{later} |\n", names.join(", "), word.help));
    }
}

fn add(page: &mut String, text: &str) {
    page.push_str(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_in_the_documentation_is_made_from_the_table() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md");
        if std::env::var_os("VSERVER_WRITE_DOCS").is_some() {
            std::fs::write(&path, page()).expect("writes");
        }
        let written = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(written == page(), "run VSERVER_WRITE_DOCS=1 cargo test -p vserver-config");
    }
}
