//! `vserver NAME delete`

use std::fs;
use std::io::{self, BufRead, Write};
use std::path::{Path, PathBuf};

use vserver_kernel::beneath::Root;
use vserver_kernel::mount;
use vserver_run::lock::{Lock, PATIENCE};
use vserver_run::record::{self, State};

use crate::guests::{self, GuestDir};
use crate::life;
use crate::report::{self, Exit, Failure};
use crate::running;
use crate::table::{Call, Command, Complete, Reading};
use crate::verb::stop::no_operands;

/// The table entry.
pub static COMMAND: Command = Command {
    name: "delete",
    summary: "removes the guest: its root directory, its configuration, its caches",
    synopsis: &[""],
    options: &[],
    manual: &[
        "Asks first, unless vserver was called with --silent, and stops the guest if it runs. Then it removes the \
         root directory, the configuration directory, the package data below /vservers/.pkg, the cache and the log of \
         its console.",
        "Refused when the root directory is /, when anything is mounted below it, and, with --silent, when it is \
         outside the base directory of the guests.",
    ],
    exits: &[("0", "removed"), ("1", "it failed"), ("2", "the answer was not y")],
    examples: &[("vserver --silent web1 delete", "remove without asking")],
    error_code: 1,
    reading: Reading::Options,
    operand: Complete::Nothing,
    run,
};

fn run(call: &mut Call) -> Result<Exit, Failure> {
    no_operands(call)?;
    let doomed = Doomed::of(call)?;
    if call.globals.silent && doomed.outside {
        let root = doomed.root.as_deref().unwrap_or(Path::new("/"));
        return Err(Failure::plain(format!(
            "the guest's root {} is not below {}",
            root.display(),
            call.layout.vdirbase.display()
        ))
        .hint("delete it without --silent, and confirm it"));
    }
    doomed.refuse_mounts()?;
    if !call.globals.silent && !confirmed(call, &doomed)? {
        return Ok(Exit::Code(2));
    }
    // Also what a guest that ended by itself has left: its record would be the last thing that names it. Also one that
    // runs although its record is lost.
    if running::of(&call.layout, call.guest()).is_some()
        || !matches!(record::state(&call.layout, &call.guest().name), State::Stopped)
    {
        life::stop(&call.layout, call.guest())?;
    }
    // Nobody may start it again while it is being removed.
    let _lock = Lock::take(&call.layout.startup_lock_of(&call.guest().name), PATIENCE, || {
        report::say(&format!("{}: waiting for another command on this guest", call.argv0));
    })?;
    if running::of(&call.layout, call.guest()).is_some() {
        return Err(Failure::plain("somebody has started the guest again"));
    }
    // Only now: a running guest's own mounts are not the host's, but a hook of its stop may have left one.
    doomed.refuse_mounts()?;
    doomed.remove(call)
}

/// What is to be removed, each checked.
struct Doomed {
    /// The guest's root on the host, links followed; `None`: there is none (any more).
    root: Option<PathBuf>,
    /// The root is not below the base directory of the guests.
    outside: bool,
    /// Package data, log, cache.
    directories: Vec<PathBuf>,
    /// A cache that is not below the base directory of the caches: it stays.
    foreign: Option<PathBuf>,
    /// The run file.
    run_file: Option<PathBuf>,
}

impl Doomed {
    fn of(call: &Call) -> Result<Self, Failure> {
        let (layout, guest) = (&call.layout, call.guest());
        let base = fs::canonicalize(&layout.vdirbase).unwrap_or_else(|_| layout.vdirbase.clone());
        let root = fs::canonicalize(guest.dir.join("vdir")).ok().filter(|root| root.is_dir());
        if let Some(root) = &root {
            refuse_wide(call, root, &base)?;
        }
        let outside = root.as_ref().is_some_and(|root| !root.starts_with(&base));
        let mut directories = vec![layout.pkgbase.join(&guest.name), layout.console_logs_of(&guest.name)];
        let cache_base = fs::canonicalize(&layout.cachebase).unwrap_or_else(|_| layout.cachebase.clone());
        let mut foreign = None;
        match fs::canonicalize(guest.dir.join("cache")) {
            Ok(cache) if cache != cache_base && cache.starts_with(&cache_base) => directories.push(cache),
            // A link may lead anywhere; only a directory of the caches is ours to remove.
            Ok(cache) => foreign = Some(cache),
            Err(_) => {}
        }
        let run_file =
            fs::read_link(guest.dir.join("run")).ok().filter(|file| file.starts_with(&layout.rundir));
        Ok(Self { root, outside, directories, foreign, run_file })
    }

    fn refuse_mounts(&self) -> Result<(), Failure> {
        let Some(root) = &self.root else { return Ok(()) };
        let mounts = mount::table()?;
        let Some(busy) = mounts.iter().find(|entry| entry.mount_point.starts_with(root)) else {
            return Ok(());
        };
        Err(Failure::plain(format!("{} is still mounted", busy.mount_point.display()))
            .hint(format!("umount {}, then delete again", busy.mount_point.display())))
    }

    /// The root first and the configuration last: what fails in between can be done again.
    fn remove(&self, call: &Call) -> Result<Exit, Failure> {
        if let Some(root) = &self.root {
            remove_tree(root)?;
        }
        if let Some(cache) = &self.foreign {
            let base = call.layout.cachebase.display();
            report::say(&format!("{}: {} is left: it is not below {base}", call.argv0, cache.display()));
        }
        let mut exit = Exit::OK;
        for directory in self.directories.iter().filter(|directory| directory.symlink_metadata().is_ok()) {
            if let Err(failure) = remove_tree(directory) {
                exit = Exit::Code(report::print(&failure, &call.argv0, &call.argv0, 1));
            }
        }
        if let Some(file) = self.run_file.as_ref().filter(|file| file.symlink_metadata().is_ok()) {
            fs::remove_file(file)
                .map_err(|error| Failure::because(format!("cannot remove {}", file.display()), error))?;
        }
        remove_tree(&call.guest().dir)?;
        Ok(exit)
    }
}

/// Refuses a root that holds more than this guest.
fn refuse_wide(call: &Call, root: &Path, base: &Path) -> Result<(), Failure> {
    let guest = call.guest();
    let vdir = guest.dir.join("vdir");
    let refuse = |why: String| {
        Err(Failure::plain(format!("the guest's root {} {why}", root.display()))
            .hint(format!("correct the link {}", vdir.display())))
    };
    let real = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    if root == Path::new("/") {
        return refuse("is the host's".to_owned());
    }
    for holder in [base, &real(&call.layout.confdir), &real(&guest.dir)] {
        if holder.starts_with(root) {
            return refuse(format!("holds {}", holder.display()));
        }
    }
    let holds = |other: &GuestDir| {
        other.dir != guest.dir
            && fs::canonicalize(other.dir.join("vdir")).is_ok_and(|dir| dir.starts_with(root))
    };
    match guests::all(&call.layout).iter().find(|other| holds(other)) {
        Some(other) => refuse(format!("holds the guest {} as well", other.name)),
        None => Ok(()),
    }
}

/// Removes a name and all below it, never through a link and never into a mount.
fn remove_tree(path: &Path) -> Result<(), Failure> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Failure::plain(format!("{} is not a directory that can be removed", path.display())));
    };
    Ok(Root::open(parent)?.remove_tree(name)?)
}

/// Asks, and a second time when the root is not where guests are. The end of the input means no.
fn confirmed(call: &Call, doomed: &Doomed) -> Result<bool, Failure> {
    let name = &call.guest().name;
    if !yes(&format!("Are you sure you want to delete the vserver {name} (y/N) "))? {
        return Ok(false);
    }
    match &doomed.root {
        Some(root) if doomed.outside => {
            let base = call.layout.vdirbase.display();
            yes(&format!("Its root {} is not below {base}. Delete it all the same (y/N) ", root.display()))
        }
        _ => Ok(true),
    }
}

/// Only a single `y` or `Y` means yes.
fn yes(question: &str) -> Result<bool, Failure> {
    let mut out = io::stdout();
    write!(out, "{question}")
        .and_then(|()| out.flush())
        .map_err(|error| Failure::because("cannot ask on the standard output", error))?;
    let mut answer = String::new();
    io::stdin()
        .lock()
        .read_line(&mut answer)
        .map_err(|error| Failure::because("cannot read the answer", error))?;
    Ok(matches!(answer.trim_end_matches('\n'), "y" | "Y"))
}
