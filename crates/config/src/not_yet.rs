//! What a guest asks for that this version does not do: said in one line at start and item by item by `check`,
//! because a setting that is ignored in silence is worse than none.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use vserver_model::personality::machine_is_32bit_x86;
use vserver_model::words::{CCAPS, CFLAGS, NCAPS, NFLAGS};
use vserver_model::{Sourced, WordTable, parse_list};

use crate::finding::{Finding, Kind};
use crate::guest::{Guest, Space, Words};
use crate::table::{self, Honoured, WORDS_NOT_YET};

/// One thing that is asked for and not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotYet {
    /// The item, and the word for word lists: `interfaces/0`, `cflags: virt_mem`.
    pub item: String,
    /// Where it is asked for; line 0 stands for the whole file or directory.
    pub place: Sourced<()>,
    /// The mechanism that is missing, or the reason why there will be none.
    pub why: &'static str,
    /// How much of it is missing.
    pub lack: Lack,
}

/// How much of what is asked for is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lack {
    /// All; a later version is to do it.
    Later,
    /// All, for good.
    Never,
    /// Something less is done.
    InPart,
}

impl NotYet {
    /// As a finding of `check`.
    pub fn to_finding(&self) -> Finding {
        let (what, kind) = match self.lack {
            Lack::Later => ("not yet honoured", Kind::NotYetHonoured),
            Lack::Never => ("not honoured", Kind::Unsupported),
            Lack::InPart => ("honoured in part", Kind::Unsupported),
        };
        Finding::note(kind, &self.place.file, format!("{} is {what}: {}", self.item, self.why))
            .at(self.place.line)
    }
}

/// Everything that the guest asks for and this version does not do, in the order of places.
pub fn not_yet_honoured(guest: &Guest) -> Vec<NotYet> {
    let mut missing = BTreeMap::new();
    for carried in &guest.carried {
        let Some(item) = table::ITEMS.iter().find(|item| item.path == carried.item) else { continue };
        let (why, lack) = match item.honoured {
            Honoured::Later(why) => (why, Lack::Later),
            Honoured::Unsupported(why) => (why, Lack::Never),
            Honoured::Partly(why) => (why, Lack::InPart),
            Honoured::Yes | Honoured::BuildOnly | Honoured::OtherCommand => continue,
        };
        // A directory of keys is one thing; word lists are looked into below.
        let place = if item.path.contains("*/") { carried.place.parent() } else { None };
        let place = place.unwrap_or(&carried.place);
        if !by_words(item.path) && !is_reported(item.path) && !is_off(guest, item.path) {
            let name = name_of(guest, place);
            missing
                .insert((place.to_owned(), 0, name.clone()), not_yet(name, place.to_owned(), 0, why, lack));
        }
    }
    let why = table::find(table::Base::Guest, Path::new(CCAPS.file)).map(|item| item.honoured);
    if let Some(Honoured::Later(why)) = why {
        add_words(&mut missing, &guest.ccapabilities, &CCAPS, |_| Some(why));
    }
    for (words, table) in [(&guest.cflags, &CFLAGS), (&guest.nflags, &NFLAGS), (&guest.ncapabilities, &NCAPS)]
    {
        let of =
            |word: &str| WORDS_NOT_YET.iter().find(|(file, name, _)| *file == table.file && *name == word);
        add_words(&mut missing, words, table, |word| of(word).map(|(_, _, why)| *why));
    }
    for other in single_values(guest) {
        missing.insert((other.place.file.clone(), other.place.line, other.item.clone()), other);
    }
    missing.into_values().collect()
}

/// All of it in one line, by mechanism, for the warning at start. `None`: everything is done.
pub fn not_yet_line(guest: &Guest) -> Option<String> {
    let mut by_why: Vec<(&str, Vec<String>)> = Vec::new();
    for missing in not_yet_honoured(guest).into_iter().filter(|missing| missing.lack == Lack::Later) {
        // interfaces/0 and interfaces/1 are both "interfaces".
        let item = missing.item.split('/').next().unwrap_or_default().to_owned();
        match by_why.iter_mut().find(|(why, _)| *why == missing.why) {
            Some((_, items)) if items.contains(&item) => {}
            Some((_, items)) => items.push(item),
            None => by_why.push((missing.why, vec![item])),
        }
    }
    if by_why.is_empty() {
        return None;
    }
    let parts: Vec<String> =
        by_why.into_iter().map(|(why, items)| format!("{why} ({})", items.join(", "))).collect();
    Some(format!("not yet honoured: {}", parts.join("; ")))
}

fn not_yet(item: String, file: PathBuf, line: u32, why: &'static str, lack: Lack) -> NotYet {
    NotYet { item, place: Sourced::new((), file, line), why, lack }
}

/// The path as an administrator names it.
fn name_of(guest: &Guest, place: &Path) -> String {
    let short = place.strip_prefix(&guest.dir).unwrap_or(place);
    short.display().to_string()
}

fn by_words(item: &str) -> bool {
    item == CCAPS.file
}

/// Items that reading itself says all about.
fn is_reported(item: &str) -> bool {
    ["capabilities", "hostname", "domainname", "legacy"].contains(&item)
}

/// Whether the file is there only to say no.
fn is_off(guest: &Guest, item: &str) -> bool {
    item == "spaces/net" && guest.spaces.net.as_ref().is_some_and(|net| net.value == Space::Off)
}

/// Words that a list sets, line by line; a word that is cleared asks for nothing.
fn add_words(
    missing: &mut BTreeMap<(PathBuf, u32, String), NotYet>,
    words: &Words,
    table: &WordTable,
    why: impl Fn(&str) -> Option<&'static str>,
) {
    for line in &words.lines {
        let Ok(bits) = parse_list(&line.value, table) else { continue };
        for entry in table.entries.iter().filter(|entry| entry.bits.is_power_of_two()) {
            let set = bits.value & entry.bits != 0 && words.bits.value & entry.bits != 0;
            if let Some(why) = why(entry.name).filter(|_| set) {
                let item = format!("{}: {}", table.file, entry.name);
                missing.insert(
                    (line.file.clone(), line.line, item.clone()),
                    not_yet(item, line.file.clone(), line.line, why, Lack::Later),
                );
            }
        }
    }
}

/// Items that are honoured except for some of their values.
fn single_values(guest: &Guest) -> Vec<NotYet> {
    let mut missing = Vec::new();
    if let Some(Sourced { value: Space::Of(other), file, line }) = &guest.spaces.pid {
        let item = format!("spaces/pid: {}", other.display());
        missing.push(not_yet(
            item,
            file.clone(),
            *line,
            "the process namespace of another guest",
            Lack::Later,
        ));
    }
    if let Some(machine) = &guest.uts.machine
        && !machine.value.to_str().is_some_and(machine_is_32bit_x86)
    {
        let why = "a stock kernel can show only the host's machine or a 32-bit x86 one";
        let item = format!("uts/machine: {}", machine.value.display());
        missing.push(not_yet(item, machine.file.clone(), machine.line, why, Lack::Never));
    }
    missing
}
