//! Stop, and what is done after a guest that ended by itself or whose tool was killed.
//!
//! Everything here works from the record of what start did, never from the configuration as it is today; only the
//! administrator's own scripts are looked up now. Taking down goes on past errors and reports them all.

use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

use vserver_config::guest::Flavour;
use vserver_kernel::cgroup::Group;
use vserver_kernel::ns::{self, Namespaces};
use vserver_kernel::process::{Pidfd, ProcessId};
use vserver_model::{GuestName, KillStep, Layout, signal};
use vserver_plan::step::StopRequest;
use vserver_plan::{Plan, Step};

use crate::enter::{self, Entry, Terminal};
use crate::events::Kind;
use crate::failure::{Doing, Failure};
use crate::lock::{Lock, PATIENCE};
use crate::record::{self, Record, State};
use crate::scripts::{self, Moment};
use crate::{adopt, ended, events, hostview, network, site, start, virtnet, virtualtree};

/// What became of a stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It ran and runs no more.
    Stopped,
    /// It did not run; whatever was left of it is gone now.
    NotRunning,
}

/// Whether the administrator's scripts are part of a clean-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hooks {
    /// They run.
    Run,
    /// They do not: the guest never came to be.
    Skip,
}

/// Everything that went wrong while taking down.
#[derive(Debug, Default)]
pub struct Problems(pub Vec<Failure>);

impl Problems {
    fn note(&mut self, result: Result<(), Failure>) {
        if let Err(failure) = result {
            self.0.push(failure);
        }
    }

    fn into_result(self) -> Result<(), Self> {
        if self.0.is_empty() { Ok(()) } else { Err(self) }
    }

    /// As one failure: the first, with the others listed.
    pub fn whole(mut self) -> Failure {
        if self.0.is_empty() {
            return Failure::new("nothing");
        }
        let mut first = self.0.remove(0);
        first.left.extend(self.0.iter().map(start::in_one_line));
        first
    }
}

/// Stops a guest. `say` gets each line meant for people.
///
/// # Errors
/// Processes remain, or something could not be taken down.
pub fn stop(
    layout: &Layout,
    name: &GuestName,
    dir: &Path,
    say: &mut dyn FnMut(&str),
) -> Result<Outcome, Failure> {
    let _lock = Lock::take(&layout.startup_lock_of(name), PATIENCE, || {
        say(&format!("another command is working on '{}': waiting for it", name.display()));
    })?;
    // Whatever the guest has asked for: it is to be stopped.
    ended::forget(layout, dir);
    let state = record::state(layout, name);
    if let State::Running(record) = state {
        return stop_and_note(layout, &record, say);
    }
    match adopt::unrecorded(layout, name, dir) {
        Ok(Some(record)) => return stop_and_note(layout, &record, say),
        Ok(None) => {}
        // It is to end: if not by its own scripts, which nobody can tell, then without them.
        Err(failure) => say(&format!("warning: {}", start::in_one_line(&failure))),
    }
    if let State::Ended(record) = state {
        note_unseen_end(layout, &record);
        clean_up(layout, &record, Hooks::Run).map_err(Problems::whole)?;
        return Ok(Outcome::NotRunning);
    }
    let killed = remove_unrecorded(layout, &format!("{}/{}", layout.cgroup_top, name.display()))?;
    network::take_down(layout, name, network::Part::All)?;
    record::remove_unreadable(layout, name)?;
    Ok(if killed { Outcome::Stopped } else { Outcome::NotRunning })
}

fn stop_and_note(layout: &Layout, record: &Record, say: &mut dyn FnMut(&str)) -> Result<Outcome, Failure> {
    let note = |kind, detail: &str| events::note(layout, &record.name, Some(record.xid), kind, detail);
    match stop_running(layout, record, say) {
        Ok(()) => {
            note(Kind::Stopped, "");
            Ok(Outcome::Stopped)
        }
        Err(problems) => {
            let failure = problems.whole();
            note(Kind::StopFailed, &start::in_one_line(&failure));
            Err(failure)
        }
    }
}

/// A guest has ended, and no guard has told how: its own was dead, or the host's.
pub(crate) fn note_unseen_end(layout: &Layout, record: &Record) {
    if record.boot == record::boot_id() {
        let text = "nobody was there to see how";
        events::note(layout, &record.name, Some(record.xid), Kind::Ended, text);
    }
}

fn stop_running(layout: &Layout, record: &Record, say: &mut dyn FnMut(&str)) -> Result<(), Problems> {
    let mut problems = Problems::default();
    if let Err(failure) = run_hooks(layout, record, Flavour::PreStop) {
        say(&start::in_one_line(&failure));
    }
    match end(record, say) {
        Ok(()) => {}
        Err(failure) => problems.0.push(failure),
    }
    if record.init.is_alive() {
        say(&format!(
            "Vserver '{}' still running unexpectedly; please investigate it manually...",
            record.dir.display()
        ));
        problems.0.push(Failure::new(format!("processes of '{}' remain", record.name.display())));
        return problems.into_result();
    }
    if let Err(more) = clean_up(layout, record, Hooks::Run) {
        problems.0.extend(more.0);
    }
    if let Some(command) = &record.ending.sync_command {
        problems.note(run_on_host(command, &record.root));
    }
    problems.into_result()
}

fn run_on_host(command: &[std::ffi::OsString], directory: &Path) -> Result<(), Failure> {
    let Some((program, arguments)) = command.split_first() else { return Ok(()) };
    let what = || format!("run cmd.stop-sync ({})", program.to_string_lossy());
    std::process::Command::new(program).args(arguments).current_dir(directory).status().doing(what)?;
    Ok(())
}

/// Asks the guest to end, waits, and then makes it end.
fn end(record: &Record, say: &mut dyn FnMut(&str)) -> Result<(), Failure> {
    let Some(init) = record.init.open().doing(|| "open the guest's init".into())? else { return Ok(()) };
    let group = group(record)?;
    // A frozen guest can do nothing about a request (flag sched_pause, or an interrupted command).
    group.thaw().doing(|| "thaw the guest".into())?;
    let begun = std::time::Instant::now();
    ask_to_end(record, &init, say)?;
    let asked = record.ending.request != StopRequest::None;
    // The stop command's own time counts; a moment is left for what it has just asked to end.
    let left = record.ending.timeout.saturating_sub(begun.elapsed()).max(Duration::from_millis(100));
    if asked && ended_within(&init, &group, record, left)? {
        return finish(record, &init, &group);
    }
    if asked {
        say(&format!(
            "A timeout occurred while waiting for the vserver to finish and it will be killed by sending SIGKILL \
             signals. The following process list might be useful for finding out the reason of this behavior \
             (see apps/vshelper/sync-timeout, {} s):",
            record.ending.timeout.as_secs()
        ));
        for line in processes(&group) {
            say(&line);
        }
    }
    for step in &record.ending.killseq {
        match *step {
            KillStep::Signal(number) => signal_all(&init, &group, number)?,
            KillStep::Wait(time) => {
                if ended_within(&init, &group, record, time)? {
                    break;
                }
            }
        }
    }
    finish(record, &init, &group)
}

/// How long a killed guest may take to be gone before that is reported.
pub const DEATH: Duration = Duration::from_secs(30);

/// What is left is killed by the kernel in one go.
fn finish(record: &Record, init: &Pidfd, group: &Group) -> Result<(), Failure> {
    init.signal(libc::SIGKILL)?;
    group.kill().doing(|| "kill what is left of the guest".into())?;
    if !init.wait_end(Some(DEATH))? {
        return Err(Failure::new(format!(
            "process {} of '{}' does not die",
            record.init.pid,
            record.name.display()
        ))
        .hint("it is probably waiting for a device or a network file system: see /proc/PID/stack"));
    }
    Ok(())
}

fn ask_to_end(record: &Record, init: &Pidfd, say: &mut dyn FnMut(&str)) -> Result<(), Failure> {
    match &record.ending.request {
        StopRequest::None => Ok(()),
        StopRequest::Signal(number) => {
            init.signal(*number).doing(|| format!("send {} to the guest's init", signal::name(*number)))?;
            Ok(())
        }
        StopRequest::Command(argv) => {
            let mut entry = Entry::new(argv.clone());
            entry.environment = std::env::vars_os().collect();
            entry.environment.extend(record.ending.environment.iter().cloned());
            entry.terminal = Terminal::Never;
            entry.although_private = true;
            entry.limit = Some(record.ending.timeout);
            match enter::run(record, &entry) {
                Ok(0) => {}
                // The command ended with the guest: its last deed was reboot(2).
                Ok(_) if !record.init.is_alive() => {}
                Ok(status) => {
                    say(&format!("{} ended with status {status}", vserver_plan::show::command_line(argv)));
                }
                // A guest that is gone already, or whose command is missing: the kill sequence does the rest.
                Err(failure) => say(&start::in_one_line(&failure)),
            }
            Ok(())
        }
    }
}

/// Whether the guest's processes are gone within `time`. A guest with the flag `persistent` keeps its stub init.
fn ended_within(init: &Pidfd, group: &Group, record: &Record, time: Duration) -> Result<bool, Failure> {
    if record.init_mode || time.is_zero() {
        return Ok(init.wait_end(Some(time))?);
    }
    let until = std::time::Instant::now() + time;
    // Nobody tells us of the last but one: looked at again ever more rarely.
    let mut pause = Duration::from_micros(500);
    loop {
        let only_stub = group.processes()?.iter().all(|&pid| pid == record.init.pid);
        if only_stub || init.wait_end(Some(pause))? {
            return Ok(true);
        }
        pause = (pause * 2).min(Duration::from_millis(100));
        if std::time::Instant::now() >= until {
            return Ok(false);
        }
    }
}

fn signal_all(init: &Pidfd, group: &Group, number: i32) -> Result<(), Failure> {
    init.signal(number)?;
    if number == libc::SIGKILL {
        return Ok(group.kill()?);
    }
    for pid in group.processes()? {
        // Gone in the meantime is what we want.
        if let Ok(pidfd) = Pidfd::open(pid) {
            pidfd.signal(number)?;
        }
    }
    Ok(())
}

fn processes(group: &Group) -> Vec<String> {
    let pids = group.processes().unwrap_or_default();
    pids.iter()
        .map(|&pid| match vserver_kernel::proc::stat(pid) {
            Ok(stat) => format!("{pid:>7} {} {}", char::from(stat.state), stat.comm.to_string_lossy()),
            Err(_) => format!("{pid:>7} (gone)"),
        })
        .collect()
}

/// The control groups of a recorded guest.
///
/// # Errors
/// No hierarchy can be found.
pub fn group(record: &Record) -> Result<Group, Failure> {
    let hierarchies = site::hierarchies().doing(|| "look for control groups".into())?;
    Ok(hierarchies.group(&record.group))
}

/// Takes down what start has set up, after the guest's end. May be called again after it was interrupted.
///
/// # Errors
/// All that could not be taken down.
pub fn clean_up(layout: &Layout, record: &Record, hooks: Hooks) -> Result<(), Problems> {
    let mut problems = Problems::default();
    let script = |flavour| {
        // As the original: a failing script of these moments is said and ignored.
        if hooks == Hooks::Run
            && let Err(failure) = run_hooks(layout, record, flavour)
        {
            tracing::warn!(%failure, "ignored");
        }
    };
    script(Flavour::PostStop);
    problems.note(network::take_down(layout, &record.name, network::Part::Interfaces));
    script(Flavour::PostpostStop);
    problems.note(dismiss_guard(record.guard));
    problems.note(group(record).and_then(|group| {
        group.kill()?;
        note_limits(layout, record, &group);
        if let Some(context) = &record.network {
            network::context::release(layout, &group, context.nid)?;
        }
        group.remove().doing(|| format!("remove the control group {}", record.group))?;
        if let Some(shared) = &record.shared_group {
            group.hierarchies().group(shared).remove_unused();
        }
        Ok(())
    }));
    problems.note(network::take_down(layout, &record.name, network::Part::Namespace));
    problems.note(virtualtree::remove(layout, record.xid));
    if problems.0.is_empty() {
        problems.note(record.remove(layout));
    }
    problems.into_result()
}

/// What the guest ran into while it ran: the kernel counts it in the groups that are about to go.
fn note_limits(layout: &Layout, record: &Record, group: &Group) {
    // File, its line, what to call it. The version 1 names differ for memory alone.
    const COUNTS: [(&str, &str, &str); 3] = [
        ("memory.events", "oom_kill", "processes killed for want of memory"),
        ("memory.oom_control", "oom_kill", "processes killed for want of memory"),
        ("pids.events", "max", "processes refused by the limit of their number"),
    ];
    let mut hits = Vec::new();
    for (file, field, words) in COUNTS {
        let content = group.read(file).unwrap_or_default();
        let content = String::from_utf8_lossy(&content);
        let mut lines = content.lines().filter_map(|line| line.split_once(' '));
        let count =
            lines.find(|(name, _)| *name == field).and_then(|(_, count)| count.trim().parse::<u64>().ok());
        if let Some(count) = count.filter(|count| *count > 0) {
            hits.push(format!("{count} {words}"));
        }
    }
    if !hits.is_empty() {
        events::note(layout, &record.name, Some(record.xid), Kind::Limit, &hits.join(", "));
    }
}

/// The guard has nothing left to do; without this it would call the tool to clean up a second time.
fn dismiss_guard(guard: ProcessId) -> Result<(), Failure> {
    if guard.pid == rustix::process::getpid().as_raw_pid() {
        return Ok(());
    }
    if let Some(pidfd) = guard.open()? {
        pidfd.signal(libc::SIGKILL)?;
        pidfd.wait_end(Some(Duration::from_secs(10)))?;
    }
    Ok(())
}

/// Runs scripts of a running or ended guest in its host view (in the host's own mounts when the view is gone).
fn run_hooks(layout: &Layout, record: &Record, flavour: Flavour) -> Result<(), Failure> {
    let scripts = vserver_config::scripts(layout, &record.dir);
    if !scripts.own.contains_key(&flavour) && !scripts.defaults.contains_key(&flavour) {
        return Ok(());
    }
    let moment = Moment { name: &record.name, xid: Some(record.xid), dir: &record.dir, root: &record.root };
    let outside = ns::open(rustix::process::getpid().as_raw_pid(), Namespaces::MOUNT)?;
    let view = hostview::of_running(record);
    if let Ok(view) = &view {
        ns::enter_one(view.as_fd(), Namespaces::MOUNT)?;
    }
    let result = scripts::run(&scripts, flavour, &moment);
    if view.is_ok() {
        ns::enter_one(outside.as_fd(), Namespaces::MOUNT)?;
    }
    result
}

/// Before a start: the control group that the plan will make may be there still, from a start that was killed before
/// it wrote its record.
///
/// # Errors
/// It cannot be removed.
pub fn remove_leftovers(layout: &Layout, plan: &Plan) -> Result<(), Failure> {
    for step in &plan.steps {
        // Asked first: whose group it is costs a look at every guest's record.
        if let Step::Group(group) = step
            && let path = &group.path
            && site::hierarchies().doing(|| "look for control groups".into())?.group(path).exists()
        {
            remove_unrecorded(layout, path)?;
        }
    }
    network::take_down(layout, &plan.name, network::Part::All)
}

/// Removes a control group that no record names, with every process in it; tells whether there was any.
fn remove_unrecorded(layout: &Layout, path: &str) -> Result<bool, Failure> {
    let hierarchies = site::hierarchies().doing(|| "look for control groups".into())?;
    let group = hierarchies.group(path);
    if record::all(layout).iter().any(|record| record.group == path) {
        return Ok(false);
    }
    virtnet::remove_of_group(layout, Path::new(path))?;
    if !group.exists() {
        return Ok(false);
    }
    let processes = group.processes().doing(|| format!("look into the control group {path}"))?;
    tracing::warn!(path, "a control group was left behind by a command that was killed");
    group.kill().doing(|| format!("kill what was left in the control group {path}"))?;
    group.remove().doing(|| format!("remove the control group {path}"))?;
    Ok(!processes.is_empty())
}
