//! Guests that have lost something of ours while they were running: their guard, or their record.
//!
//! Neither harms a guest, and the next command that is about it (or finds it running) puts the loss right, under the
//! guest's lock:
//!
//! * **a guard that was killed** is replaced by a new one, which waits on the guest's pidfd. The console cannot be
//!   recovered, as a terminal hangs up with the last descriptor of its master side: the guest gets a new one, put in the
//!   place of the old, and what was opened of the old one answers as a terminal whose line was dropped. How the guest
//!   ends is told to its parent alone, so the new guard looks at the ended process before the host's init collects it
//!   (`crates/guard`); when that was quicker, the guest's end counts as one without a reason, and it stays down.
//! * **a record that was lost** (removed, damaged) is made again from the configuration, the guest's control group and
//!   `/proc`. What the kernel knows better than the configuration of today is taken from the kernel.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use rustix::fs::{FileType, Gid, Mode as FileMode, OFlags, Uid};
use vserver_host::Host;
use vserver_kernel::mount::{self, FilesystemType, Recursion, TargetKind};
use vserver_kernel::ns::{self, Namespaces};
use vserver_kernel::process::{Pidfd, ProcessId};
use vserver_kernel::pty::{self, Pty};
use vserver_kernel::sys::{self, CloneArgs, Forked};
use vserver_kernel::{Fault, proc};
use vserver_model::{CapSet, GuestName, Layout, Mode};
use vserver_plan::StartAsk;
use vserver_plan::start::GroupPath;

use crate::events::Kind;
use crate::failure::{Doing, Failure};
use crate::first::{self, Watch, answer_pipe, write_all};
use crate::lock::Lock;
use crate::record::{self, Record, State};
use crate::start::{self, Made};
use crate::{console, ended, events, helper, hostview, logs, site, virtualtree};

/// How long another command may take with a guest that has processes and no record.
const MOMENT: Duration = Duration::from_secs(1);

/// The running guest of this name, with whatever it had lost put right. `None`: it does not run, or another command is
/// just starting or stopping it.
///
/// Costs one look at `/proc` when nothing is lost. What cannot be put right is told to `say`: the caller's own business
/// does not depend on it.
pub fn running(layout: &Layout, name: &GuestName, dir: &Path, say: &mut dyn FnMut(&str)) -> Option<Record> {
    match record::state(layout, name) {
        State::Running(record) if record.guard.is_alive() => Some(*record),
        State::Running(record) => {
            let Some(_lock) = Lock::try_take(&layout.startup_lock_of(name)) else { return Some(*record) };
            // Another command may have been quicker.
            let record = record::running(layout, name)?;
            Some(with_guard(layout, record, say))
        }
        // The usual case of a guest that is stopped must stay cheap: no lock before there is a reason.
        _ if is_populated(layout, name, dir) => {
            // A start that is about to write the record has it, or a part of a command that was killed, for a moment.
            let _lock = Lock::take_within(&layout.startup_lock_of(name), MOMENT)?;
            if let State::Running(record) = record::state(layout, name) {
                return Some(*record);
            }
            match unrecorded(layout, name, dir) {
                Ok(found) => found.map(|record| with_guard(layout, record, say)),
                Err(failure) => {
                    say(&format!("warning: {}", start::in_one_line(&failure)));
                    None
                }
            }
        }
        _ => {
            ended::resume(layout, name, dir);
            None
        }
    }
}

/// The record with a guard that lives, if it can be had. The caller has the guest's lock.
pub fn with_guard(layout: &Layout, record: Record, say: &mut dyn FnMut(&str)) -> Record {
    if record.guard.is_alive() {
        return record;
    }
    let mut renewed = record.clone();
    match replace_guard(layout, &mut renewed) {
        Ok(console) => {
            let console = if console { ", and it has a new console" } else { "" };
            events::note(layout, &renewed.name, Some(renewed.xid), Kind::Adopted, "its guard was gone");
            say(&format!("the guard of '{}' was gone: it has a new one{console}", record.name.display()));
            renewed
        }
        Err(failure) => {
            say(&format!("warning: {}", start::in_one_line(&failure)));
            record
        }
    }
}

/// The configuration is read only where it may name another group than the usual one.
fn group_path(layout: &Layout, name: &GuestName, dir: &Path) -> GroupPath {
    let site = layout.defaults.join("cgroup");
    let named = [dir.join("cgroup/name"), site.join("name"), site.join("base")];
    if named.iter().any(|file| file.exists()) {
        return vserver_plan::start::group_path(&vserver_config::read(layout, dir).guest, &layout.cgroup_top);
    }
    GroupPath { own: format!("{}/{}", layout.cgroup_top, name.display()), shared: None }
}

fn is_populated(layout: &Layout, name: &GuestName, dir: &Path) -> bool {
    let looked = site::hierarchies().and_then(|all| {
        let group = all.group(group_path(layout, name, dir).own);
        Ok(group.exists() && group.populated()?)
    });
    looked.unwrap_or(false)
}

/// Finds a guest that runs although no record tells of it (or a record that is not true), and writes its record. The caller has the guest's lock.
/// `None`: there is none. A first process that has not yet become the guest's program is what a start that was killed
/// has left, and no guest.
///
/// # Errors
/// There is one, but its configuration cannot be read or planned, or `/run` not be written.
pub fn unrecorded(layout: &Layout, name: &GuestName, dir: &Path) -> Result<Option<Record>, Failure> {
    let GroupPath { own: path, shared } = group_path(layout, name, dir);
    let what = || format!("look into the control group {path}");
    let group = site::hierarchies().doing(what)?.group(&path);
    if !group.exists() {
        return Ok(None);
    }
    let Some(init) = first_process(&group.processes().doing(what)?) else { return Ok(None) };
    tracing::warn!(guest = %name.display(), init = init.pid, "runs without a record");
    let rebuild = || -> Result<Record, Failure> {
        let host = Host::quick().doing(|| "look at this host".into())?;
        let planned = start::plan(layout, &host, dir, &StartAsk::default())?;
        let made = Made { guest: &planned.guest, plan: &planned.plan, root: &planned.tree.root };
        let guard = guard_of(init).unwrap_or(ProcessId { pid: 0, start_ticks: 0 });
        let mut record = made.record(layout, init, guard)?;
        path.clone_into(&mut record.group);
        shared.clone_into(&mut record.shared_group);
        believe_the_kernel(&mut record)?;
        record::remove_odd(layout, name)?;
        record.write(layout)?;
        virtualtree::write(layout, &record)?;
        events::note(layout, name, Some(record.xid), Kind::Adopted, "its record was gone");
        Ok(record)
    };
    match rebuild() {
        Ok(record) => Ok(Some(record)),
        // It has ended meanwhile.
        Err(_) if !init.is_alive() => Ok(None),
        Err(mut failure) => {
            failure.what = format!("'{}' runs, but its record is lost: {}", name.display(), failure.what);
            Err(failure)
        }
    }
}

/// Of the processes of a guest, the first of its PID namespace, just below ours: a guest that may make namespaces has
/// such processes further down, too.
fn first_process(processes: &[i32]) -> Option<ProcessId> {
    use std::os::unix::fs::MetadataExt as _;
    let own = std::fs::metadata("/proc/self/exe").ok()?;
    let depth = proc::status(rustix::process::getpid().as_raw_pid()).ok()?.namespace_pids.len();
    processes.iter().find_map(|&pid| {
        let status = proc::status(pid).ok()?;
        if status.namespace_pids.len() != depth + 1 || status.namespace_pids.last() != Some(&1) {
            return None;
        }
        let id = ProcessId::of(pid).ok()?;
        // Without a program it is just ending; with the tool's it is still a fork of that one, and has not got as far as
        // the guest's program.
        let exe = std::fs::metadata(format!("/proc/{pid}/exe")).ok()?;
        let is_tool = (exe.dev(), exe.ino()) == (own.dev(), own.ino());
        (!is_tool && id.is_alive()).then_some(id)
    })
}

/// The guard that waits for this process, if there is one. Whatever is taken for one is asked for the guest's host view
/// later, so nothing that a guest or an ordinary user could run must pass: it is a process of root, in our own PID
/// namespace, that runs the helper's image.
fn guard_of(init: ProcessId) -> Option<ProcessId> {
    use std::os::unix::fs::MetadataExt as _;
    let own = std::fs::metadata("/proc/self/ns/pid").ok()?.ino();
    let waits = format!("Pid:\t{}", init.pid);
    let is_guard = |pid: i32| -> Option<bool> {
        let at = format!("/proc/{pid}");
        let image = std::fs::read_link(format!("{at}/exe")).ok()?;
        let of_root = proc::status(pid).ok()?.uids == [0; 4];
        let here = std::fs::metadata(format!("{at}/ns/pid")).ok()?.ino() == own;
        let watched = std::fs::read_to_string(format!("{at}/fdinfo/{}", helper::fd::INIT)).ok()?;
        Some(helper::is_image(&image) && of_root && here && watched.lines().any(|line| line == waits))
    };
    let parent = proc::stat(init.pid).ok()?.parent;
    let others = || proc::Procfs::open().and_then(|all| all.pids()).unwrap_or_default();
    std::iter::once(parent)
        .chain(others())
        .find(|&pid| is_guard(pid) == Some(true))
        .and_then(|pid| ProcessId::of(pid).ok())
}

/// The configuration may have been edited since the start.
fn believe_the_kernel(record: &mut Record) -> Result<(), Failure> {
    let pid = record.init.pid;
    let what = || format!("look at process {pid}");
    let status = proc::status(pid).doing(what)?;
    record.rights.capabilities = CapSet(status.capabilities.bounding);
    if record.rights.powerless_raw {
        record.rights.capabilities = record.rights.capabilities.without(CapSet::NET_RAW);
    }
    let filtered = status.seccomp == 2;
    record.rights.hide_devices &= filtered;
    let same = |kind| -> Result<bool, Fault> {
        Ok(ns::identity(ns::open(pid, kind)?)? == ns::identity(ns::open(0, kind)?)?)
    };
    record.time = !same(Namespaces::TIME).doing(what)?;
    record.own_network = !same(Namespaces::NET).doing(what)?;
    record.mode = if same(Namespaces::USER).doing(what)? {
        Mode::Classic
    } else {
        let map = std::fs::read_to_string(format!("/proc/{pid}/uid_map")).doing(what)?;
        let ids: Vec<u32> = map.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        let &[0, first_id, count] = ids.as_slice() else {
            return Err(Failure::new(format!("process {pid} has an id map that is not of a guest's making")));
        };
        Mode::Shifted { first_id, count }
    };
    record.rights.deny_system_calls = filtered && !record.mode.is_shifted();
    // Ticks of the boot clock, in hundredths on every architecture.
    let age =
        proc::uptime().saturating_sub(Duration::from_millis(record.init.start_ticks.saturating_mul(10)));
    record.started = record::now().saturating_sub(age.as_secs());
    Ok(())
}

/// Makes a new guard and writes it into the record; tells whether the guest has a new console.
fn replace_guard(layout: &Layout, record: &mut Record) -> Result<bool, Failure> {
    let what = || format!("replace the guard of '{}'", record.name.display());
    let image = helper::image()?;
    let init = record.init.open().doing(what)?.ok_or_else(|| Failure::new("the guest has just ended"))?;
    let (go_read, go) = answer_pipe()?;
    let (mut report, report_write) = answer_pipe()?;
    let (hold, _) = answer_pipe()?;
    record::make_directory(&record::state_dir(layout, &record.name))?;
    let shelter = first::shelter(&site::hierarchies().doing(what)?);
    let args = CloneArgs { into_cgroup: shelter.as_ref().map(AsFd::as_fd), ..CloneArgs::default() };
    let Forked::Parent { pid, .. } = sys::clone3(&args).doing(what)? else {
        drop((go, report));
        new_guard(layout, record, &init, &image, go_read, &report_write, &hold)
    };
    drop((report_write, go_read));
    let mut console = [0u8];
    let ready = rustix::io::read(&mut report, &mut console);
    if ready != Ok(1) || console[0] > 1 {
        let told = String::from_utf8_lossy(&rest(report)).into_owned();
        // It has ended by itself; without this it would stay a zombie for as long as this command runs.
        if let Ok(child) = Pidfd::open(pid) {
            child.wait(Some(Duration::from_secs(10)))?;
        }
        return Err(Failure::new(format!("cannot {}", what())).because(told));
    }
    record.guard = ProcessId::of(pid)?;
    record.write(layout)?;
    // Only a guard that the record names may stay: two would both act when the guest ends.
    write_all(&go, b"g");
    Ok(console[0] == 1)
}

fn rest(pipe: OwnedFd) -> Vec<u8> {
    let mut text = Vec::new();
    drop(File::from(pipe).read_to_end(&mut text));
    text
}

/// In the fork: gathers what a guard holds, reports, waits for the word, and becomes the guard.
fn new_guard(
    layout: &Layout,
    record: &Record,
    init: &Pidfd,
    image: &OwnedFd,
    go: OwnedFd,
    report: &OwnedFd,
    hold: &OwnedFd,
) -> ! {
    let failed = |failure: &Failure| -> ! {
        write_all(report, b"\xff");
        write_all(report, start::in_one_line(failure).as_bytes());
        sys::exit_now(1)
    };
    if let Err(errno) = rustix::process::setsid() {
        tracing::debug!(%errno, "the guard stays in the session of the tool");
    }
    let gathered = || -> Result<(OwnedFd, OwnedFd, Option<Pty>), Failure> {
        let outside = ns::open(0, Namespaces::MOUNT)?;
        let path = format!("/proc/{}/stat", record.init.pid);
        let stat = rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC, FileMode::empty())
            .doing(|| format!("open {path}"))?;
        ns::enter(init.as_fd(), Namespaces::MOUNT).doing(|| "step into the guest's mounts".into())?;
        let console = new_console(record);
        ns::enter_one(outside.as_fd(), Namespaces::MOUNT)
            .doing(|| "return from the guest's mounts".into())?;
        // Leaves this process in the host view that it has made.
        hostview::rebuild(record)?;
        let console = console.map_err(|fault| tracing::warn!(%fault, "the guest has no console")).ok();
        Ok((outside, stat, console.flatten()))
    };
    let (outside, stat, console) = gathered().unwrap_or_else(|failure| failed(&failure));
    let control = first::control(&record.rights).unwrap_or_else(|fault| failed(&fault.into()));
    // Without this the tool would wait for the report, and this process for the word.
    if rustix::io::write(report, &[u8::from(console.is_some())]) != Ok(1) {
        sys::exit_now(1);
    }
    let mut letter = [0u8];
    // No letter: the tool has died, and nothing names this guard.
    if File::from(go).read_exact(&mut letter).is_err() {
        sys::exit_now(1);
    }
    let log = logs::go_on(layout, &record.name);
    let log = log.map_err(|failure| tracing::warn!(%failure, "the console is not logged")).ok();
    let watch = Watch {
        layout,
        name: &record.name,
        dir: &record.dir,
        outside: outside.as_fd(),
        console: console.as_ref(),
        hold: hold.as_fd(),
        init: init.as_fd(),
        stat: Some(stat.as_fd()),
        control: control.as_ref().map(|(guards, others)| (guards.as_fd(), others.as_fd())),
        log: log.as_ref(),
    };
    match first::become_guard(&watch, image) {
        Ok(never) => match never {},
        // The next command finds that there is none.
        Err(_) => sys::exit_now(1),
    }
}

/// A terminal of the guest's own set in the place of its console, whose master side went with the last guard. The
/// caller stands in the guest's mount namespace: nothing that is named here is the host's. `None`: the guest has no
/// terminals of its own, or something else than a terminal for its console.
fn new_console(record: &Record) -> Result<Option<Pty>, Fault> {
    let root = mount::open_directory("/")?;
    let of_terminals = |fd: &OwnedFd| -> Result<bool, Fault> {
        Ok(mount::filesystem_type(fd.as_fd())? == FilesystemType::Known("devpts"))
    };
    let strict = |path: &str, kind| mount::target_in_root_strict(root.as_fd(), path, kind);
    let terminals = strict("/dev/pts", TargetKind::Directory)?;
    let place = strict("/dev/console", TargetKind::File)?;
    let kind =
        rustix::fs::fstat(&place).map_err(|errno| Fault::new("fstat(2)", "/dev/console", errno))?.st_mode;
    // A plain file: the old console was taken away, and then something went wrong.
    let is_ours = of_terminals(&place)? || FileType::from_raw_mode(kind).is_file();
    if !is_ours || !of_terminals(&terminals)? {
        return Ok(None);
    }
    let console = pty::open_in(terminals.as_fd())?;
    let owner = record.mode.host_id(0).unwrap_or(0);
    rustix::fs::fchown(&console.terminal, Some(Uid::from_raw(owner)), Some(Gid::from_raw(owner)))
        .map_err(|errno| Fault::new("fchown(2)", "the guest's console", errno))?;
    let number = rustix::fs::fstat(&console.terminal)
        .map_err(|errno| Fault::new("fstat(2)", "the guest's console", errno))?
        .st_rdev;
    let path = format!("/dev/pts/{}", rustix::fs::minor(number));
    let slave = mount::clone_tree(strict(&path, TargetKind::File)?.as_fd(), "", Recursion::One)?;
    // Under the new one the old one would only pile up; one that will not go is covered all the same.
    if let Err(fault) = mount::unmount_lazily("/dev/console") {
        tracing::debug!(%fault, "the old console stays below");
    }
    slave.attach_at(strict("/dev/console", TargetKind::File)?.as_fd())?;
    if !record.init_mode {
        console::plain_output(&console.terminal)
            .map_err(|failure| tracing::debug!(%failure, "the console adds carriage returns"))
            .ok();
    }
    Ok(Some(console))
}
