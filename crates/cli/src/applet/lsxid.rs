//! `lsxid`: which guest's ids own a file.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::Serialize;
use vserver_model::{Layout, Mode, Xid};

use crate::context;
use crate::guests;
use crate::report::{Exit, Failure};
use crate::running;
use crate::table::{Call, Command, Complete, JSON, Opt, Reading};

/// The table entry.
pub static COMMAND: Command = Command {
    name: "lsxid",
    summary: "lists files with the guest whose ids own them",
    synopsis: &["[-R] [-a] [-d] [-n] [-x] [--json] [--] [FILE]..."],
    options: &[
        Opt::flag(&["-R"], "descend into directories"),
        Opt::flag(&["-a"], "include names that begin with a dot"),
        Opt::flag(&["-d"], "list a directory itself, not what is in it"),
        Opt::flag(&["-n"], "print numbers instead of names"),
        Opt::flag(&["-x"], "stay on the file system"),
        JSON,
    ],
    manual: &[
        "Ordinary file systems carry no context number. What is shown is the guest that owns the file's uid on the \
         host: a guest in shifted mode has the uids from 65536 times its context number on. Files with other uids \
         belong to context 0; so do the files of a guest's own tree, which is stored with plain ids and mapped when \
         it is mounted.",
        "Without FILE: the current directory.",
    ],
    exits: &[("0", "done"), ("1", "wrong use, or a file could not be read")],
    examples: &[("lsxid -R /srv/shared", "see what guests left in a shared directory")],
    error_code: 1,
    reading: Reading::Options,
    operand: Complete::Path,
    run,
};

#[derive(Serialize)]
struct Line {
    path: String,
    xid: Option<u32>,
    guest: Option<String>,
}

struct Walk<'a> {
    call: &'a mut Call,
    owners: Vec<Owner>,
    /// Only filled for `--json`.
    lines: Vec<Line>,
    failed: bool,
}

fn run(call: &mut Call) -> Result<Exit, Failure> {
    let mut files: Vec<PathBuf> = call.take_operands().into_iter().map(PathBuf::from).collect();
    if files.is_empty() {
        files.push(PathBuf::from("."));
    }
    let owners = owners(&call.layout);
    let mut walk = Walk { call, owners, lines: Vec::new(), failed: false };
    for file in files {
        match fs::symlink_metadata(&file) {
            Ok(meta) if meta.is_dir() && !walk.call.given.has("-d") => walk.directory(file, meta.dev())?,
            meta => walk.show(&file, meta.ok().as_ref())?,
        }
    }
    let Walk { call, lines, failed, .. } = walk;
    if call.given.has("--json") {
        call.out.json(&lines)?;
    }
    Ok(Exit::yes(!failed))
}

/// A guest and the uids that are its own on the host.
struct Owner {
    xid: u32,
    name: OsString,
    first_uid: u32,
    count: u32,
}

/// Running guests as they were started, all others as their configuration fixes the number.
fn owners(layout: &Layout) -> Vec<Owner> {
    let mut owners: Vec<Owner> = running::all(layout)
        .into_iter()
        .filter_map(|running| match running.record.mode {
            Mode::Shifted { first_id, count } => {
                Some(Owner { xid: running.xid, name: running.display_name, first_uid: first_id, count })
            }
            Mode::Classic => None,
        })
        .collect();
    for guest in guests::all(layout) {
        if let Some(xid) = context::fixed(&guest).and_then(|xid| Xid::new(xid).ok()) {
            let name = guest.display_name();
            owners.push(Owner { xid: xid.get(), name, first_uid: xid.first_uid(), count: xid.uid_count() });
        }
    }
    owners
}

impl Walk<'_> {
    /// A directory itself, what is in it and is no directory, then the directories in it, each in the same way.
    fn directory(&mut self, top: PathBuf, device: u64) -> Result<(), Failure> {
        let mut todo = vec![top];
        while let Some(dir) = todo.pop() {
            self.show(&dir, fs::symlink_metadata(&dir).ok().as_ref())?;
            let Ok(entries) = self.entries(&dir) else {
                self.failed = true;
                continue;
            };
            let mut below = Vec::new();
            for path in entries {
                match fs::symlink_metadata(&path).ok() {
                    Some(meta) if meta.is_dir() => {
                        if !self.call.given.has("-x") || meta.dev() == device {
                            below.push(path);
                        }
                    }
                    meta => self.show(&path, meta.as_ref())?,
                }
            }
            if self.call.given.has("-R") {
                todo.extend(below.into_iter().rev());
            }
        }
        Ok(())
    }

    /// The paths in a directory, in byte order.
    fn entries(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(dir)? {
            let name = entry?.file_name();
            if self.call.given.has("-a") || !name.as_bytes().starts_with(b".") {
                names.push(name);
            }
        }
        names.sort();
        Ok(names.into_iter().map(|name| dir.join(name)).collect())
    }

    fn show(&mut self, path: &Path, meta: Option<&fs::Metadata>) -> Result<(), Failure> {
        self.failed |= meta.is_none();
        let owner = meta.map(|meta| owner(&self.owners, meta.uid()));
        let (xid, name) =
            (owner.map(|owner| owner.map_or(0, |owner| owner.xid)), owner.flatten().map(|owner| &owner.name));
        if self.call.given.has("--json") {
            self.lines.push(Line {
                path: path.to_string_lossy().into_owned(),
                xid,
                guest: name.map(|name| name.to_string_lossy().into_owned()),
            });
            return Ok(());
        }
        let shown = match (xid, name) {
            (None, _) => OsString::from("!!ERR!!"),
            (Some(_), Some(name)) if !self.call.given.has("-n") => name.clone(),
            (Some(xid), _) => OsString::from(xid.to_string()),
        };
        let mut line = OsString::from(" ".repeat(20_usize.saturating_sub(shown.len())));
        line.push(shown);
        line.push("  ");
        line.push(path);
        self.call.out.line(line)?;
        Ok(())
    }
}

/// The guest whose range has the uid; `None`: the host's own.
fn owner(owners: &[Owner], uid: u32) -> Option<&Owner> {
    owners
        .iter()
        .find(|owner| uid.checked_sub(owner.first_uid).is_some_and(|guest_uid| guest_uid < owner.count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uid_belongs_to_the_range_that_has_it() {
        let guest = |xid: u32, first_uid| Owner { xid, name: OsString::new(), first_uid, count: 65_536 };
        let owners = [guest(105, 105 * 65_536), guest(7, 1_000_000_000)];
        let xid = |uid| owner(&owners, uid).map(|owner| owner.xid);
        assert_eq!(xid(0), None);
        assert_eq!(xid(105 * 65_536 - 1), None);
        assert_eq!(xid(105 * 65_536), Some(105));
        assert_eq!(xid(106 * 65_536 - 1), Some(105));
        assert_eq!(xid(106 * 65_536), None);
        assert_eq!(xid(1_000_000_033), Some(7));
        assert_eq!(xid(u32::MAX), None);
    }
}
