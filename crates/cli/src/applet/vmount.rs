//! `vmount`: mounts something into running guests, from outside.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::args::{self, Given, Wish};
use crate::context;
use crate::report::{self, Exit, Failure};
use crate::running::{self, MountAsk};
use crate::table::{Call, Command, Complete, Opt, Reading};

/// The table entry.
pub static COMMAND: Command = Command {
    name: "vmount",
    summary: "mounts something into running guests",
    synopsis: &[
        "GUEST... -- [-o OPTS] [--bind|--rbind|--move] [-t TYPE] [-n] SOURCE [DEST]",
        "GUEST... -- -a",
    ],
    options: &[],
    manual: &[
        "SOURCE is a path of the host, absolute unless TYPE is nfs or another network file system; DEST is a path in \
         the guest, the same as SOURCE when it is not given. The destination is looked up beneath the guest's root: a \
         link in the guest's tree cannot lead out of it.",
        "-a mounts what the guest's file fstab lists and is not mounted yet. -n is accepted: the guest's mtab is not \
         touched. Without dev in OPTS the mount has nodev.",
    ],
    exits: &[("0", "all mounted"), ("1", "wrong use, or a mount failed")],
    examples: &[(
        "vmount web1 -- --bind /srv/pool /srv/pool",
        "show a directory of the host in a running guest",
    )],
    error_code: 1,
    reading: Reading::Options,
    operand: Complete::Guest,
    run,
};

/// The options behind the guests.
static OPTIONS: &[Opt] = &[
    Opt::with(&["-o"], "OPTS", Complete::Nothing, "options as in fstab"),
    Opt::with(&["-t"], "TYPE", Complete::Nothing, "file system"),
    Opt::flag(&["-a"], "the guest's fstab"),
    Opt::flag(&["-n"], "accepted"),
    Opt::flag(&["--bind"], "another view of a directory"),
    Opt::flag(&["--rbind"], "the same with all mounts below it"),
    Opt::flag(&["--move"], "take the mount away from the host"),
];

fn run(call: &mut Call) -> Result<Exit, Failure> {
    let mut words = call.take_operands();
    let end = words.iter().position(|word| word.as_bytes().starts_with(b"-")).unwrap_or(words.len());
    let mut rest = words.split_off(end);
    if rest.first().is_some_and(|word| word == "--") {
        rest.remove(0);
    }
    if words.is_empty() {
        return Err(Failure::Usage("no guest given".into()));
    }
    let given = match args::read_options(OPTIONS, rest)? {
        Wish::Run(given) => given,
        wish => return crate::answer(call.command, "", &wish, &mut call.out),
    };
    let ask = ask(&given)?;
    let mut exit = Exit::OK;
    for guest in words {
        for failure in one(call, &guest, ask.as_ref()) {
            exit =
                Exit::Code(report::print(&failure, &format!("vmount {}", guest.display()), &call.argv0, 1));
        }
    }
    Ok(exit)
}

/// What failed in one guest.
fn one(call: &Call, guest: &OsStr, ask: Option<&MountAsk>) -> Vec<Failure> {
    let running = match context::running(&call.layout, guest) {
        Ok(running) => running,
        Err(failure) => return vec![failure],
    };
    match ask {
        Some(ask) => running::mount(&call.layout, &running, ask).err().into_iter().collect(),
        None => running::mount_fstab(&call.layout, &running),
    }
}

/// What is to be mounted; `None`: the guest's fstab.
fn ask(given: &Given) -> Result<Option<MountAsk>, Failure> {
    if given.has("-a") {
        return Ok(None);
    }
    let (source, target) = match given.operands.as_slice() {
        [source] => (source, source),
        [source, target] => (source, target),
        _ => return Err(Failure::Usage("a source and a destination must be given".into())),
    };
    let fstype = given.value("-t").map(|text| text.to_string_lossy().into_owned());
    let network =
        fstype.as_ref().is_some_and(|fstype| ["nfs", "nfs4", "cifs", "9p"].contains(&fstype.as_str()));
    let virtual_one =
        fstype.as_ref().is_some_and(|fstype| ["tmpfs", "proc", "sysfs", "devpts"].contains(&fstype.as_str()));
    if !network && !virtual_one && !Path::new(source).is_absolute() {
        return Err(Failure::Usage(format!("the source '{}' is not an absolute path", source.display())));
    }
    let mut options: Vec<OsString> = Vec::new();
    options.extend(given.value("-o").map(OsStr::to_owned));
    for (option, word) in [("--bind", "bind"), ("--rbind", "rbind"), ("--move", "move")] {
        if given.has(option) {
            options.push(OsString::from(word));
        }
    }
    let options = options.join(OsStr::new(","));
    Ok(Some(MountAsk { source: source.clone(), target: target.into(), fstype, options }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &[&str]) -> Result<Option<MountAsk>, Failure> {
        match args::read_options(OPTIONS, words.iter().map(OsString::from).collect())? {
            Wish::Run(given) => ask(&given),
            other => Err(Failure::plain(format!("{other:?}"))),
        }
    }

    #[test]
    fn the_words_become_a_line_of_fstab() {
        let asked = read(&["-o", "ro", "--bind", "/srv/a", "/b"]).unwrap().unwrap();
        assert_eq!(asked.options, "ro,bind");
        assert_eq!((asked.source.to_str(), asked.target.to_str()), (Some("/srv/a"), Some("/b")));
        assert!(read(&["-a"]).unwrap().is_none());
        assert!(read(&["srv/a"]).is_err());
        assert!(read(&["-t", "nfs", "server:/a", "/b"]).unwrap().is_some());
        assert!(read(&["/a", "/b", "/c"]).is_err());
    }
}
