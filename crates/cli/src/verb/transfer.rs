//! `vserver NAME export`, `import`, `copy` and `rename`: whole guests, stopped.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, symlink};
use std::path::{Path, PathBuf};

use vserver_build::transfer::{self, Places, Unpacked};
use vserver_kernel::mount;
use vserver_model::{GuestName, Layout, Xid};
use vserver_run::events::{self, Kind};
use vserver_run::lock::{Lock, PATIENCE};

use crate::guests::{self, GuestDir};
use crate::report::{self, Exit, Failure};
use crate::table::{Call, Command, Complete, Opt, PLAIN_EXITS, Reading};
use crate::{context, running};

/// The table entry of `export`.
pub static EXPORT: Command = Command {
    name: "export",
    summary: "writes the guest as one archive: configuration, tree, package data",
    synopsis: &["[--live] FILE|-"],
    options: &[Opt::flag(&["--live"], "although it runs: files that change meanwhile may be torn")],
    manual: &[
        "A tar archive, compressed with zstd, with owners as the numbers that the tree is stored with (not shifted), \
         extended attributes, access lists, holes and hard links. What is mounted below the tree is left out. FILE \
         must not exist, and only root can read it; - is the standard output.",
        "The archive holds all that the guest has, keys and passwords too.",
    ],
    exits: PLAIN_EXITS,
    examples: &[
        ("vserver web1 export /backup/web1.tar.zst", "a backup"),
        ("vserver web1 export - | ssh other vserver web1 import -", "to another host"),
    ],
    error_code: 1,
    reading: Reading::Options,
    operand: Complete::Path,
    run: export,
};

/// The table entry of `import`.
pub static IMPORT: Command = Command {
    name: "import",
    summary: "makes the guest from an archive of export",
    synopsis: &["[--context N] [--trust] FILE|-"],
    options: &[
        Opt::with(&["--context"], "N", Complete::Nothing, "another context number than in the archive"),
        Opt::flag(&["--trust"], "take programs of the configuration that run on this host as root, too"),
    ],
    manual: &[
        "NAME must be free; it need not be the name that the guest had. Nothing of the archive can be written anywhere \
         but below a directory of its own before it has been looked at, and a failure leaves nothing.",
        "Hooks, programs for events and commands that would run on this host are left out, and device nodes other \
         than the harmless ones: --trust takes the former, vserver NAME check shows the rest of what it asks for.",
    ],
    exits: PLAIN_EXITS,
    examples: &[("vserver web2 import --context 106 /backup/web1.tar.zst", "a second one of another name")],
    error_code: 1,
    reading: Reading::Options,
    operand: Complete::Path,
    run: import,
};

/// The table entry of `copy`.
pub static COPY: Command = Command {
    name: "copy",
    summary: "copies the guest to another name: configuration, tree, package data",
    synopsis: &["[--context N] NEW"],
    options: &[Opt::with(
        &["--context"],
        "N",
        Complete::Nothing,
        "the copy's context number (the next one that is free)",
    )],
    manual: &[
        "The copy gets a context number, a name and a host name of its own, and everything else as it is: addresses, \
         too, which the last lines name. For a new guest of the same kind use build -m clone, which blanks machine \
         ids and makes new ssh host keys.",
    ],
    exits: PLAIN_EXITS,
    examples: &[("vserver web1 copy web2", "the same once more")],
    error_code: 1,
    reading: Reading::Options,
    operand: Complete::Nothing,
    run: copy,
};

/// The table entry of `rename`.
pub static RENAME: Command = Command {
    name: "rename",
    summary: "gives the guest another name",
    synopsis: &["NEW"],
    options: &[],
    manual: &[
        "Moves the configuration, the tree (if it lies where build puts it), package data, cache and logs, and corrects \
         the links. Other guests that depend on it are named: their apps/init/depends is for you to change.",
    ],
    exits: PLAIN_EXITS,
    examples: &[],
    error_code: 1,
    reading: Reading::Options,
    operand: Complete::Nothing,
    run: rename,
};

/// The only operand.
fn operand(call: &mut Call, what: &str) -> Result<std::ffi::OsString, Failure> {
    let mut words = call.take_operands();
    match (words.pop(), words.is_empty()) {
        (Some(word), true) => Ok(word),
        _ => Err(Failure::Usage(format!("exactly one {what} is wanted"))),
    }
}

/// The guest's start lock, and the promise that it does not run.
fn stopped(call: &Call) -> Result<Lock, Failure> {
    let lock = Lock::take(&call.layout.startup_lock_of(&call.guest().name), PATIENCE, || {
        report::say(&format!("{}: waiting for another command on this guest", call.argv0));
    })?;
    if running::recorded(&call.layout, call.guest()).is_some() {
        let name = call.guest().shown();
        return Err(Failure::plain(format!("'{name}' runs")).hint(format!("vserver {name} stop")));
    }
    Ok(lock)
}

fn places(call: &Call) -> Result<Places, Failure> {
    let guest = call.guest();
    let link = guest.dir.join("vdir");
    let root = fs::canonicalize(&link).map_err(|error| {
        Failure::because(format!("cannot find the guest's tree {}", link.display()), error)
    })?;
    Ok(Places { config: guest.dir.clone(), root, pkg: call.layout.pkgbase.join(&guest.name) })
}

fn export(call: &mut Call) -> Result<Exit, Failure> {
    let target = operand(call, "file")?;
    let _lock = if call.given.has("--live") { None } else { Some(stopped(call)?) };
    let places = places(call)?;
    let mounted: Vec<PathBuf> = mount::table()?
        .into_iter()
        .filter_map(|entry| entry.mount_point.strip_prefix(&places.root).ok().map(Path::to_owned))
        .filter(|below| !below.as_os_str().is_empty())
        .collect();
    for below in &mounted {
        report::say(&format!("{}: /{} is mounted from elsewhere and left out", call.argv0, below.display()));
    }
    let leave_out = |path: &Path| mounted.iter().any(|below| path == below);
    if target == "-" {
        if rustix::termios::isatty(io::stdout()) {
            return Err(Failure::plain("an archive is nothing for a terminal").hint("name a file, or a pipe"));
        }
        transfer::export(&places, &mut io::stdout().lock(), &leave_out).map_err(Failure::of)?;
    } else {
        let cannot = |error| Failure::because(format!("cannot write {}", target.display()), error);
        let file =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(&target).map_err(cannot)?;
        let mut output = io::BufWriter::with_capacity(1 << 18, file);
        let written = transfer::export(&places, &mut output, &leave_out).map_err(Failure::of);
        let written = written
            .and_then(|()| output.flush().map_err(cannot))
            .and_then(|()| output.get_ref().sync_all().map_err(cannot));
        if let Err(failure) = written {
            // Half an archive is none.
            fs::remove_file(&target).map_err(cannot)?;
            return Err(failure);
        }
    }
    let shown = target.display().to_string();
    events::note(&call.layout, &call.guest().name, None, Kind::Moved, &format!("exported to {shown}"));
    Ok(Exit::OK)
}

/// Refuses a name that anything of a guest is at already.
fn must_be_free(layout: &Layout, name: &GuestName) -> Result<(), Failure> {
    let places = Places::usual(layout, name);
    match [&places.config, &places.root, &places.pkg].iter().find(|path| path.symlink_metadata().is_ok()) {
        Some(taken) => Err(Failure::plain(format!("{} is there already", taken.display()))),
        None => Ok(()),
    }
}

/// The other guest that has this context number.
fn owner_of(layout: &Layout, xid: u32) -> Option<GuestDir> {
    guests::all(layout).into_iter().find(|guest| context::fixed(guest) == Some(xid))
}

fn context_asked(call: &Call) -> Result<Option<Xid>, Failure> {
    let Some(typed) = call.given.value("--context") else { return Ok(None) };
    let xid = context::decimal(typed).and_then(|number| Xid::new(number).ok());
    let xid = xid.ok_or_else(|| Failure::Usage(format!("'{}' is not a context number", typed.display())))?;
    match owner_of(&call.layout, xid.get()) {
        Some(other) => Err(Failure::plain(format!("context {xid} is that of the guest '{}'", other.shown()))),
        None => Ok(Some(xid)),
    }
}

fn import(call: &mut Call) -> Result<Exit, Failure> {
    let source = operand(call, "file")?;
    let (layout, name) = (call.layout.clone(), call.guest().name.clone());
    let xid = context_asked(call)?;
    must_be_free(&layout, &name)?;
    let _lock = Lock::take(&layout.startup_lock_of(&name), PATIENCE, || {})?;
    let input: Box<dyn io::Read> = if source == "-" {
        Box::new(io::stdin())
    } else {
        let file = File::open(&source)
            .map_err(|error| Failure::because(format!("cannot open {}", source.display()), error))?;
        Box::new(file)
    };
    let mut unpacked = Unpacked::from(&layout, &name, input, Path::new(&source)).map_err(Failure::of)?;
    unpacked.settle_configuration(call.given.has("--trust")).map_err(Failure::of)?;
    let config = unpacked.part("config");
    let draft = GuestDir { name: name.clone(), dir: config.clone() };
    let old = draft.first_line("name");
    if let Some(xid) = xid {
        write(&config.join("context"), &xid.to_string())?;
    } else {
        let taken = context::fixed(&draft).and_then(|xid| Some((xid, owner_of(&layout, xid)?)));
        if let Some((xid, other)) = taken {
            return Err(Failure::plain(format!("context {xid} is that of the guest '{}'", other.shown()))
                .hint("give it another one: --context N"));
        }
    }
    if let Some(old) = old {
        rename_inside(&draft, &old, &name)?;
    }
    let warnings = std::mem::take(&mut unpacked.warnings);
    unpacked.put(&layout, &name).map_err(Failure::of)?;
    for warning in warnings {
        report::say(&format!("{}: {warning}", call.argv0));
    }
    events::note(&layout, &name, None, Kind::Moved, &format!("imported from {}", source.display()));
    Ok(Exit::OK)
}

/// The names that were the guest's own become the new one.
fn rename_inside(guest: &GuestDir, old: &str, new: &GuestName) -> Result<(), Failure> {
    for item in ["name", "uts/nodename"] {
        if guest.first_line(item).as_deref() == Some(old) {
            write(&guest.dir.join(item), &new.to_string())?;
        }
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    // A link in its place must not lead anywhere: the archive may have put it there.
    let beside = path.with_extension("new");
    fs::write(&beside, format!("{text}\n"))
        .and_then(|()| fs::rename(&beside, path))
        .map_err(|error| Failure::because(format!("cannot write {}", path.display()), error))
}

fn new_name(call: &mut Call) -> Result<GuestName, Failure> {
    let name = GuestName::new(operand(call, "new name")?).map_err(Failure::of)?;
    must_be_free(&call.layout, &name)?;
    Ok(name)
}

fn copy(call: &mut Call) -> Result<Exit, Failure> {
    let new = new_name(call)?;
    let xid = context_asked(call)?;
    let layout = call.layout.clone();
    let _lock = stopped(call)?;
    let own = context::fixed(call.guest()).unwrap_or(1000);
    let free = || (own + 1..=65_534).chain(2..own).find(|xid| owner_of(&layout, *xid).is_none());
    let xid = match xid {
        Some(xid) => xid.get(),
        None => free().ok_or_else(|| Failure::plain("no context number is free"))?,
    };
    transfer::copy_guest(&layout, &places(call)?, &new).map_err(Failure::of)?;
    let copy = GuestDir { dir: layout.config_of(&new), name: new.clone() };
    write(&copy.dir.join("context"), &xid.to_string())?;
    rename_inside(&copy, &call.guest().shown(), &new)?;
    let interfaces = copy.dir.join("interfaces");
    for entry in fs::read_dir(interfaces).into_iter().flatten().flatten() {
        if entry.path().join("ip").exists() {
            report::say(&format!(
                "{}: the copy has the same address: change {} before both run",
                call.argv0,
                entry.path().join("ip").display()
            ));
        }
    }
    events::note(&layout, &new, None, Kind::Moved, &format!("copied from '{}'", call.guest().shown()));
    Ok(Exit::OK)
}

fn rename(call: &mut Call) -> Result<Exit, Failure> {
    let new = new_name(call)?;
    let layout = call.layout.clone();
    let _lock = stopped(call)?;
    let (old, old_dir) = (call.guest().name.clone(), call.guest().dir.clone());
    let from = places(call)?;
    let usual = Places::usual(&layout, &new);
    let usual_root = fs::canonicalize(layout.vdir_of(&old)).is_ok_and(|root| root == from.root);
    // The configuration last: until then everything is found under the old name when this is interrupted and done again.
    let mut moves = vec![
        (layout.pkgbase.join(&old), usual.pkg.clone()),
        (layout.cache_of(&old), layout.cache_of(&new)),
        (layout.console_logs_of(&old), layout.console_logs_of(&new)),
    ];
    if usual_root {
        moves.push((layout.vdir_of(&old), usual.root.clone()));
    }
    for (from, to) in moves.into_iter().filter(|(from, _)| from.symlink_metadata().is_ok()) {
        move_to(&from, &to)?;
    }
    let mut links = vec![("run", layout.run_file_of(&new)), ("cache", layout.cache_of(&new))];
    if usual_root {
        links.push(("vdir", usual.root));
    }
    for (link, target) in links {
        let (path, beside) = (old_dir.join(link), old_dir.join(format!(".{link}.new")));
        symlink(&target, &beside)
            .and_then(|()| fs::rename(&beside, &path))
            .map_err(|error| Failure::because(format!("cannot make the link {}", path.display()), error))?;
    }
    rename_inside(call.guest(), &call.guest().shown(), &new)?;
    move_to(&old_dir, &usual.config)?;
    for other in guests::all(&layout) {
        if vserver_config::depends(&layout, &other.name)
            .iter()
            .any(|name: &std::ffi::OsString| *name == *old.as_os_str())
        {
            let path = other.dir.join("apps/init/depends");
            report::say(&format!("{}: {} names it by its old name", call.argv0, path.display()));
        }
    }
    events::note(&layout, &new, None, Kind::Moved, &format!("renamed from '{old}'"));
    Ok(Exit::OK)
}

fn move_to(from: &Path, to: &Path) -> Result<(), Failure> {
    fs::rename(from, to).map_err(|error| {
        Failure::because(format!("cannot move {} to {}", from.display(), to.display()), error)
    })
}
