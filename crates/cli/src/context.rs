//! What an administrator types for a context (`--xid`, `vwait`, `vserver-info`) to its number.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use vserver_model::{GuestName, Layout};
use vserver_run::record::{self, Brief};

use crate::guests::{self, GuestDir};
use crate::processes;
use crate::report::Failure;
use crate::running::{self, Running};

/// The number behind `typed`: `self`, a decimal number (not checked), `:NAME` or a guest's name or path.
///
/// A guest's number is that of its running context, else the one that its configuration fixes.
pub fn number(layout: &Layout, typed: &OsStr) -> Result<u32, Failure> {
    if typed == "self" {
        return own(layout);
    }
    if let Some(number) = decimal(typed) {
        return Ok(number);
    }
    let name = typed.as_bytes().strip_prefix(b":").map_or(typed, OsStr::from_bytes);
    let guest = guests::find(layout, name).map_err(guests::not_found)?;
    if let Some(running) = running::of(layout, &guest) {
        return Ok(running.xid);
    }
    fixed(&guest).ok_or_else(|| {
        Failure::plain(format!("the guest \"{}\" has no context number", guest.shown()))
            .hint(format!("write a number from 2 to 65535 into {}", guest.dir.join("context").display()))
    })
}

/// The running context behind `typed`; a failure that names it when it does not run.
pub fn running(layout: &Layout, typed: &OsStr) -> Result<Running, Failure> {
    let number = number(layout, typed)?;
    running::by_xid(layout, number).ok_or_else(|| not_running(number, typed))
}

/// "context 105 (web1) is not running"
pub fn not_running(number: u32, typed: &OsStr) -> Failure {
    let name = if decimal(typed) == Some(number) { String::new() } else { format!(" ({})", typed.display()) };
    Failure::plain(format!("context {number}{name} is not running"))
}

/// A decimal number, a newline after it allowed.
pub fn decimal(typed: &OsStr) -> Option<u32> {
    let digits = typed.as_bytes().strip_suffix(b"\n").unwrap_or(typed.as_bytes());
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// The number that the configuration fixes.
pub fn fixed(guest: &GuestDir) -> Option<u32> {
    guest.first_line("context")?.parse().ok()
}

fn own(layout: &Layout) -> Result<u32, Failure> {
    let name = processes::guest_of(layout, 0).map_err(Failure::of)?;
    Ok(running::all(layout)
        .into_iter()
        .find(|running| Some(running.name.as_os_str()) == name.as_deref())
        .map_or(0, |r| r.xid))
}

/// Context numbers and names of what runs, for labelling processes.
#[derive(Default)]
pub struct Names {
    numbers: HashMap<GuestName, u32>,
    /// With what the lists call it.
    shown: BTreeMap<u32, OsString>,
}

impl Names {
    /// Reads the records once.
    pub fn read(layout: &Layout) -> Self {
        let all = record::briefs(layout, &record::names(layout));
        Self::of(all.into_iter().filter(|brief| brief.init.is_alive()))
    }

    /// Of guests that run.
    pub fn of(running: impl Iterator<Item = Brief>) -> Self {
        let mut names = Self::default();
        for Brief { name, display_name, xid, .. } in running {
            names.numbers.insert(name, xid.get());
            names.shown.insert(xid.get(), display_name);
        }
        names
    }

    /// The context of a process whose cgroup names `guest`: 0 on the host. A guest without a record has no number
    /// any more: what is left of it is shown with the host.
    pub fn xid_of(&self, guest: Option<&OsStr>) -> u32 {
        let name = guest.and_then(|name| GuestName::new(name).ok());
        name.and_then(|name| self.numbers.get(&name).copied()).unwrap_or(0)
    }

    /// The displayed name of a context; empty when unknown.
    pub fn name_of(&self, xid: u32) -> OsString {
        self.shown.get(&xid).cloned().unwrap_or_default()
    }

    /// The numbers of all that runs, ascending.
    pub fn numbers(&self) -> impl Iterator<Item = u32> {
        self.shown.keys().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_digits_are_a_number() {
        assert_eq!(decimal(OsStr::new("105\n")), Some(105));
        assert_eq!(decimal(OsStr::new("0")), Some(0));
        for text in ["", "\n", "-1", "+1", "0x10", "web1", "99999999999"] {
            assert_eq!(decimal(OsStr::new(text)), None, "{text:?}");
        }
    }
}
