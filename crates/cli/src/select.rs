//! Which guests a command for many is about: names, filters, marks.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use vserver_model::Layout;

use crate::args::Given;
use crate::guests::{self, GuestDir};
use crate::running;
use crate::table::{Complete, Opt};

/// Every guest.
pub const ALL: Opt = Opt::flag(&["--all"], "every guest");
/// Those that run.
pub const RUNNING: Opt = Opt::flag(&["--running"], "guests that run");
/// Those that do not.
pub const STOPPED: Opt = Opt::flag(&["--stopped"], "guests that do not run");
/// Those with any mark.
pub const MARKED: Opt = Opt::flag(&["--marked"], "guests with a mark");
/// Those without.
pub const UNMARKED: Opt = Opt::flag(&["--unmarked"], "guests without a mark");
/// Those with one of these marks.
pub const MARK: Opt =
    Opt::with(&["-m", "--mark"], "M[,M]...", Complete::Nothing, "guests with one of the marks");

/// The names of the filters above.
const NAMES: [&str; 6] = ["--all", "--running", "--stopped", "--marked", "--unmarked", "--mark"];

/// The guests that pass every filter that was given, without disabled ones and those without a tree; none when no
/// filter was given.
pub fn filtered(layout: &Layout, given: &Given) -> Vec<GuestDir> {
    let filters: Vec<_> = given.each().filter(|(key, _)| NAMES.contains(key)).collect();
    if filters.is_empty() {
        return Vec::new();
    }
    let running = running::all(layout);
    let is_running = |guest: &GuestDir| running.iter().any(|r| r.dir == guest.dir);
    let marks = |guest: &GuestDir| vserver_config::marks(layout, &guest.name);
    let wanted: Vec<&OsStr> =
        filters.iter().filter(|(filter, _)| *filter == "--mark").filter_map(|(_, value)| *value).collect();
    let passes = |guest: &GuestDir| {
        filters.iter().all(|(filter, _)| match *filter {
            "--running" => is_running(guest),
            "--stopped" => !is_running(guest),
            "--marked" => !marks(guest).is_empty(),
            "--unmarked" => marks(guest).is_empty(),
            // Each further one adds guests; other filters take some away.
            "--mark" => wanted.iter().any(|mark| has_mark(&marks(guest), mark)),
            _ => true,
        })
    };
    guests::all(layout).into_iter().filter(|guest| is_for_many(guest) && passes(guest)).collect()
}

/// Whether commands for many guests mean this one.
pub fn is_for_many(guest: &GuestDir) -> bool {
    guest.has("vdir") && !guest.has("disabled")
}

/// Whether one of the wanted marks fits; `!mark` fits where the mark is absent.
pub fn has_mark(marks: &[OsString], wanted: &OsStr) -> bool {
    wanted.as_bytes().split(|b| *b == b',').any(|one| {
        let (absent, name) = match one {
            [b'!' | b'~', rest @ ..] => (true, rest),
            all => (false, all),
        };
        marks.iter().any(|mark| mark.as_bytes() == name) != absent
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_may_be_negated() {
        let marks: Vec<OsString> = vec!["default".into(), "db".into()];
        assert!(has_mark(&marks, OsStr::new("web,db")));
        assert!(!has_mark(&marks, OsStr::new("web")));
        assert!(has_mark(&marks, OsStr::new("!web")));
        assert!(!has_mark(&marks, OsStr::new("~db")));
    }
}
