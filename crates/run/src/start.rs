//! From the command to a running guest.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::Command;

use vserver_config::guest::{Flavour, Guest};
use vserver_host::Host;
use vserver_kernel::beneath::Root;
use vserver_kernel::bpf::{self, device};
use vserver_kernel::idmap;
use vserver_kernel::link::Netlink;
use vserver_kernel::mount::{self, Attributes, Propagation, Recursion};
use vserver_kernel::ns::{self, IdRange, Namespaces};
use vserver_kernel::process::ProcessId;
use vserver_kernel::shadow::Picture;
use vserver_kernel::sys;
use vserver_model::{GuestName, Layout, flags};
use vserver_plan::step::{AllowedDevice, First, Warning};
use vserver_plan::{Plan, StartAsk, Step, Tree};

use crate::console::{self, Ended};
use crate::events::Kind;
use crate::failure::{Doing, Failure};
use crate::lock::{Lock, PATIENCE};
use crate::logs::{self, Writer};
use crate::record::{self, Record, State};
use crate::scripts::{self, Moment};
use crate::site::Site;
use crate::undo::Undo;
use crate::{
    adopt, dev, ended, events, first, fstab, hostview, limits, look, machine, netfiles, network, prepare,
    stop, virtualtree,
};

/// What became of a start.
#[derive(Debug)]
pub enum Outcome {
    /// It runs.
    Started(Box<Record>),
    /// It ran already.
    AlreadyRunning(Box<Record>),
}

/// A guest whose configuration was read, with what the planner says about it.
pub struct Planned {
    /// The guest.
    pub guest: Guest,
    /// Facts of its tree.
    pub tree: Tree,
    /// The plan.
    pub plan: Plan,
    /// Its root directory.
    root: Root,
    /// A user namespace of a shifted guest's ids: the map of its tree.
    users: Option<OwnedFd>,
}

/// Reads the configuration and makes the plan; does nothing.
///
/// # Errors
/// The configuration has errors, or asks for what cannot be.
pub fn plan(layout: &Layout, host: &Host, dir: &Path, ask: &StartAsk) -> Result<Planned, Failure> {
    let (guest, doubts) = read(layout, dir)?;
    // Before the tree is looked at: a guest without a context is refused whatever else is wrong.
    if guest.context.is_none() {
        let refusal = vserver_plan::Refusal::NoContext { place: dir.join("context") };
        return Err(refused(&refusal));
    }
    let (root, path) = look::open_root(&guest)?;
    let (tree, users) = look::tree(&root, path, &guest);
    let ground = look::ground(layout, host, &guest);
    let mut plan = vserver_plan::start(&guest, &tree, &ground, ask).map_err(|refusal| refused(&refusal))?;
    plan.warnings.splice(0..0, doubts);
    Ok(Planned { guest, tree, plan, root, users })
}

fn refused(refusal: &vserver_plan::Refusal) -> Failure {
    let mut failure = Failure::new(refusal.to_string());
    failure.hint = refusal.hint();
    failure.place = refusal.place().map(|place| (place.clone(), refusal.line()));
    failure
}

/// The guest, and what is doubtful in its configuration.
fn read(layout: &Layout, dir: &Path) -> Result<(Guest, Vec<Warning>), Failure> {
    let reading = vserver_config::read(layout, dir);
    let doubts = reading.warnings().map(|finding| {
        let line = if finding.line > 0 { format!(":{}", finding.line) } else { String::new() };
        let text = format!("{}{line}: {}", finding.file.display(), finding.message);
        Warning { text, place: Some(finding.file.clone()) }
    });
    let doubts = doubts.collect();
    let guest = reading.into_guest().map_err(|findings| {
        let mut errors = findings.iter();
        let first = errors.next();
        let mut failure = Failure::new(first.map_or_else(String::new, |finding| finding.message.clone()));
        if let Some(finding) = first {
            failure.place = Some((finding.file.clone(), finding.line));
            failure.hint.clone_from(&finding.hint);
        }
        let more = errors.count();
        if more > 0 {
            failure.what = format!("{} (and {more} more: vserver NAME check tells all)", failure.what);
        }
        failure
    })?;
    Ok((guest, doubts))
}

/// Starts the guest whose configuration directory is `dir`. `say` gets each line meant for people.
///
/// # Errors
/// Whatever failed; everything done until then was taken back, and the failure says so.
pub fn start(
    layout: &Layout,
    name: &GuestName,
    dir: &Path,
    ask: &StartAsk,
    say: &mut dyn FnMut(&str),
) -> Result<Outcome, Failure> {
    let lock = take_lock(layout, name, say)?;
    wait_if_ending(layout, name)?;
    let state = record::state(layout, name);
    if let State::Running(record) = state {
        return Ok(already_running(layout, *record, say));
    }
    if let Some(record) = adopt::unrecorded(layout, name, dir)? {
        return Ok(already_running(layout, record, say));
    }
    match state {
        State::Ended(record) => {
            stop::note_unseen_end(layout, &record);
            stop::clean_up(layout, &record, stop::Hooks::Run).map_err(stop::Problems::whole)?;
        }
        State::Broken { .. } => record::remove_unreadable(layout, name)?,
        State::Stopped | State::Running(_) => {}
    }
    match start_locked(layout, name, dir, ask, lock, say) {
        Ok(record) => {
            events::note(layout, name, Some(record.xid), Kind::Started, "");
            ended::forget(layout, dir);
            Ok(Outcome::Started(Box::new(record)))
        }
        Err(failure) => {
            events::note(layout, name, None, Kind::StartFailed, &in_one_line(&failure));
            Err(failure)
        }
    }
}

/// What the guest has lost meanwhile is put right.
fn already_running(layout: &Layout, record: Record, say: &mut dyn FnMut(&str)) -> Outcome {
    if let Err(failure) = record.write(layout).and_then(|()| virtualtree::write(layout, &record)) {
        say(&format!("warning: {}", in_one_line(&failure)));
    }
    Outcome::AlreadyRunning(Box::new(adopt::with_guard(layout, record, say)))
}

/// A guest that has just been killed still has its first process for a moment: it does not count as running.
fn wait_if_ending(layout: &Layout, name: &GuestName) -> Result<(), Failure> {
    if let State::Running(record) = record::state(layout, name)
        && record.init.is_ending()
        && let Some(init) = record.init.open()?
    {
        init.wait_end(Some(stop::DEATH))?;
    }
    Ok(())
}

fn take_lock(layout: &Layout, name: &GuestName, say: &mut dyn FnMut(&str)) -> Result<Lock, Failure> {
    Lock::take(&layout.startup_lock_of(name), PATIENCE, || {
        say(&format!("another command is working on '{}': waiting for it", name.display()));
    })
}

/// The start itself; the caller has taken the guest's lock and seen that it does not run.
fn start_locked(
    layout: &Layout,
    name: &GuestName,
    dir: &Path,
    ask: &StartAsk,
    lock: Lock,
    say: &mut dyn FnMut(&str),
) -> Result<Record, Failure> {
    let host = Host::quick().doing(|| "look at this host".into())?;
    let outside = ns::open(rustix::process::getpid().as_raw_pid(), Namespaces::MOUNT)?;
    let early = plan(layout, &host, dir, ask)?;
    let used = early.plan.xid;
    if let Some(other) = record::by_xid(layout, used.get()) {
        return Err(record::number_in_use(dir, &other));
    }
    stop::remove_leftovers(layout, &early.plan)?;
    enter_host_view(&early)?;
    // The scripts of the first moment may edit the configuration: it is read again after them, the one place where
    // the stream turns. They run where all later ones run, in the host view. Without them nothing has changed.
    let scripts = &early.guest.scripts;
    let edited = [&scripts.own, &scripts.defaults].iter().any(|set| set.contains_key(&Flavour::Initialize));
    let planned = if edited {
        run_hooks(&early, Flavour::Initialize, None)?;
        plan(layout, &host, dir, ask)?
    } else {
        early
    };
    let Planned { guest, tree, plan, root, users } = planned;
    for warning in &plan.warnings {
        say(&format!("warning: {}", warning.text));
    }
    let mut site = Site {
        layout,
        guest: &guest,
        tree: &tree,
        plan: &plan,
        root: Root::open(&tree.root).unwrap_or(root),
        users,
        lock: Some(lock),
        taken_over: false,
        outside,
        bpffs: host.bpffs.clone(),
        shifted_mounts: Vec::new(),
        group: None,
        tree_mount: None,
        carried: Vec::new(),
        dev: None,
        net_files: None,
        machine_files: None,
        netns: None,
        shadow: None,
        log: None,
        first: None,
    };
    let mut undo = Undo::default();
    let verbose = ask.verbose || guest.noisy.is_some();
    let done = plan.steps.iter().try_for_each(|step| {
        if verbose {
            say(&step.to_string());
        }
        perform(&mut site, step, &mut undo, say)
    });
    match done {
        Ok(()) => {
            undo.keep();
            match (record::running(layout, name), &site.first) {
                (Some(record), _) => Ok(record),
                // It runs: only its record cannot be read at this moment.
                (None, Some(first)) if first.id.is_alive() => record_of(&site),
                _ => Err(Failure::new("the guest ended as soon as it had been started")),
            }
        }
        Err(failure) if site.taken_over => {
            // What was done belongs to whoever stopped (and perhaps started) the guest meanwhile.
            undo.keep();
            Err(failure)
        }
        Err(mut failure) => {
            for (deed, result) in undo.take_back() {
                match result {
                    Ok(()) => failure.undone.push(deed),
                    Err(problem) => failure.left.push(format!("{deed}: {problem}")),
                }
            }
            Err(failure)
        }
    }
}

fn enter_host_view(planned: &Planned) -> Result<(), Failure> {
    for step in &planned.plan.steps {
        if let Step::HostView { cleanup, keep } = step {
            hostview::make(&planned.tree.root, *cleanup, keep)?;
        }
    }
    Ok(())
}

fn run_hooks(planned: &Planned, flavour: Flavour, xid: Option<vserver_model::Xid>) -> Result<(), Failure> {
    let guest = &planned.guest;
    let moment = Moment { name: &guest.name, xid, dir: &guest.dir, root: &planned.tree.root };
    scripts::run(&guest.scripts, flavour, &moment)
}

/// Does one step.
fn perform(
    site: &mut Site<'_>,
    step: &Step,
    undo: &mut Undo,
    say: &mut dyn FnMut(&str),
) -> Result<(), Failure> {
    tracing::debug!(%step, "doing");
    match step {
        // Done before the configuration was read for the last time.
        Step::HostView { .. } | Step::Hooks(Flavour::Initialize) => Ok(()),
        Step::Hooks(flavour) => hooks(site, *flavour),
        Step::CheckFilesystem { device, place } => {
            check_filesystem(device).map_err(|f| f.place(&place.file, place.line))
        }
        Step::Mount { entry, shift } => {
            if let Err(failure) = fstab::mount(&entry.value, site.root.as_fd(), *shift) {
                // As the original did: said, and the start goes on.
                say(&format!(
                    "{}:{}:1: failed to mount fstab-entry: {}",
                    entry.file.display(),
                    entry.line,
                    in_one_line(&failure)
                ));
            } else if shift.is_some() {
                site.shifted_mounts.push(entry.value.target.clone());
            }
            Ok(())
        }
        Step::Mtab { initial, entries } => prepare::mtab(&site.root, initial, entries),
        Step::Clean(style) => {
            let written = site.plan.steps.iter().any(|step| matches!(step, Step::RunlevelRecord(_)));
            prepare::clean(&site.root, *style, written)
        }
        Step::RunlevelRecord(level) => prepare::runlevel_record(&site.root, *level, record::now()),
        Step::HostCommand { item, argv } => host_command(site, item, argv),
        Step::Group(group) => limits::make_group(site, group, undo, say),
        Step::Devices(rules) => allow_devices(site, rules),
        Step::UnixNames { otherwise_scoped } => {
            if let Err(failure) = guard_unix_names(site) {
                let who = if *otherwise_scoped { "programs that enter the guest" } else { "the guest" };
                say(&format!(
                    "warning: {who} can reach abstract unix sockets of the host (D-Bus, container runtimes): {}",
                    in_one_line(&failure)
                ));
            }
            Ok(())
        }
        Step::Interfaces { addresses, loopback_of } => {
            network::steps::add_addresses(site, addresses, *loopback_of, undo, say)
        }
        Step::Namespace(stack) => network::steps::take_namespace(site, stack, undo),
        Step::NetworkContext(context) => network::steps::confine(site, context, undo, say),
        Step::Root { idmap } => take_tree(site, *idmap),
        Step::Dev { entries, shift, pts } => {
            site.dev = Some(dev::make(site, entries, *shift, pts.as_ref())?);
            Ok(())
        }
        Step::First(first) => make_first(site, first, undo, say),
        Step::Record => write_record(site, undo),
        Step::AwaitCommand => await_command(site, say),
    }
}

/// A failure and its reasons on one line.
pub fn in_one_line(failure: &Failure) -> String {
    let mut text = failure.to_string();
    let mut reason = std::error::Error::source(failure);
    while let Some(error) = reason {
        text.push_str(": ");
        text.push_str(&error.to_string());
        reason = error.source();
    }
    text
}

fn hooks(site: &Site<'_>, flavour: Flavour) -> Result<(), Failure> {
    let guest = site.guest;
    let moment =
        Moment { name: &guest.name, xid: Some(site.plan.xid), dir: &guest.dir, root: &site.tree.root };
    scripts::run(&guest.scripts, flavour, &moment)
}

/// `fsck -n`: 0 and 1 are fine, everything else stops the start.
fn check_filesystem(device: &Path) -> Result<(), Failure> {
    let what = || format!("check the file system on {}", device.display());
    let status = Command::new("fsck").args(["-s", "-n", "-T"]).arg(device).status().doing(what)?;
    match status.code() {
        Some(0 | 1) => Ok(()),
        _ => Err(Failure::new(format!("cannot {}", what())).because(format!("fsck ended with {status}"))),
    }
}

fn host_command(site: &Site<'_>, item: &str, argv: &[std::ffi::OsString]) -> Result<(), Failure> {
    let Some((program, arguments)) = argv.split_first() else { return Ok(()) };
    let what = || format!("run {item} ({})", program.to_string_lossy());
    let status = Command::new(program).args(arguments).current_dir(&site.tree.root).status().doing(what)?;
    if status.success() {
        return Ok(());
    }
    let failure = Failure::new(format!("cannot {}", what())).because(format!("it ended with {status}"));
    Err(failure.place(site.guest.dir.join("apps/init").join(item), 1))
}

fn allow_devices(site: &Site<'_>, rules: &[AllowedDevice]) -> Result<(), Failure> {
    let rules: Vec<device::DeviceRule> = rules.iter().map(device_rule).collect();
    let groups = site.group.as_ref().ok_or_else(|| Failure::new("the guest has no control group yet"))?;
    let attach = || {
        let directory = groups.outer.v2_dir_fd()?;
        let directory = directory
            .ok_or_else(|| vserver_kernel::Fault::from_errno("open", "a cgroup2 directory", libc::ENOENT))?;
        shared(&bpf::Program::from_rules(&rules), site.bpffs.as_deref())?.attach(directory.as_fd())
    };
    attach().doing(|| "restrict the guest's devices".into()).map_err(|failure| {
        failure.hint(
            "without this a guest could open any device node: vserver check-host tells what the kernel lacks",
        )
    })
}

/// The program from the BPF file system, where the first start pins it for all others; loaded anew without one.
fn shared(program: &bpf::Program, bpffs: Option<&Path>) -> Result<bpf::Loaded, vserver_kernel::Fault> {
    let Some(directory) = bpffs.map(|bpffs| bpffs.join("vserver")) else { return program.load() };
    match std::fs::create_dir(&directory) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => program.load(),
        _ => program.load_pinned(&directory),
    }
}

fn guard_unix_names(site: &Site<'_>) -> Result<(), Failure> {
    let what = || "load the programs against it".into();
    let groups = site.group.as_ref().ok_or_else(|| Failure::new("the guest has no control group yet"))?;
    let level = netfiles::depth(groups.outer.name())
        .ok_or_else(|| Failure::new("this is not the host's own cgroup namespace"))?;
    let directory = groups.outer.v2_dir_fd().doing(what)?;
    let directory = directory.ok_or_else(|| Failure::new("there is no cgroup2 hierarchy"))?;
    let pins = site.bpffs.as_ref().map(|bpffs| bpffs.join("vserver"));
    bpf::unix::keep_in(directory.as_fd(), level, pins.as_deref()).doing(what)
}

fn device_rule(rule: &AllowedDevice) -> device::DeviceRule {
    device::DeviceRule {
        kind: if rule.block { device::DeviceKind::Block } else { device::DeviceKind::Char },
        major: Some(rule.major),
        minor: rule.minor,
        read: true,
        write: true,
        mknod: rule.mknod,
    }
}

/// The tree as the guest's root: a copy of the host view's mount, a slave of it, with shifted ids if asked.
fn take_tree(site: &mut Site<'_>, idmap: Option<(u32, u32)>) -> Result<(), Failure> {
    let path = &site.tree.root;
    let what = || format!("take the guest's tree {}", path.display());
    let slave = Attributes::new().propagation(Propagation::Slave);
    let Some((outside, count)) = idmap else {
        let tree = mount::clone_tree(rustix::fs::CWD, path, Recursion::All).doing(what)?;
        tree.set(&slave, Recursion::All).doing(what)?;
        site.tree_mount = Some(tree);
        return Ok(());
    };
    let users = match site.users.take() {
        Some(users) => users,
        None => idmap::user_namespace_with(&[IdRange { inside: 0, outside, count }]).doing(what)?,
    };
    let tree = mount::clone_tree(rustix::fs::CWD, path, Recursion::One).doing(what)?;
    tree.set(&slave, Recursion::One).doing(what)?;
    tree.idmap(users.as_fd()).doing(|| format!("id-map {}", path.display()))?;
    for entry in mount::table().doing(|| "read the mount table".into())? {
        let Ok(below) = entry.mount_point.strip_prefix(path) else { continue };
        if below.as_os_str().is_empty() {
            continue;
        }
        let place = Path::new("/").join(below);
        let copy = mount::clone_tree(rustix::fs::CWD, &entry.mount_point, Recursion::One).doing(what)?;
        copy.set(&slave, Recursion::One).doing(what)?;
        if !site.shifted_mounts.contains(&place)
            && let Err(fault) = copy.idmap(users.as_fd())
        {
            tracing::warn!(%fault, place = %place.display(), "shown with the host's ids");
        }
        site.carried.push((place, copy));
    }
    // Fifos of the tree's dev are carried over with the same map.
    site.users = Some(users);
    site.tree_mount = Some(tree);
    Ok(())
}

fn make_first(
    site: &mut Site<'_>,
    first: &First,
    undo: &mut Undo,
    say: &mut dyn FnMut(&str),
) -> Result<(), Failure> {
    let state = record::state_dir(site.layout, &site.guest.name);
    let (layout, name) = (site.layout.clone(), site.guest.name.clone());
    undo.did(format!("state directory {}", state.display()), move || record::remove_state(&layout, &name));
    if !first.program.init
        && let Some(dev) = &site.dev
    {
        console::plain_output(&dev.console.terminal)?;
    }
    if let (Some(view), true) = (&site.plan.view, first.rights.shadow) {
        let what = || "look at the host's network".into();
        let mut netlink = Netlink::open().doing(what)?;
        site.shadow = Some(Picture::take(&mut netlink, &view.addresses, view.loopback).doing(what)?);
    } else if let Some(view) = &site.plan.view {
        let group = site.group.as_ref().map(|groups| groups.outer.name().to_string_lossy().into_owned());
        let (group, bpffs) = (group.unwrap_or_default(), site.bpffs.as_deref());
        site.net_files = Some(netfiles::prepare(site.layout, &site.guest.name, view, &group, bpffs)?);
    }
    site.machine_files = machine::prepare(site, first, say);
    let network = first.network.as_ref().map(|wanted| network::steps::Furnisher::of(site, wanted));
    let mut network = network.transpose()?;
    let mut made = |init: ProcessId, guard: ProcessId| {
        undo.did(format!("process {} and its guard", init.pid), move || end_both(init, guard));
        network.take().map_or(Ok(()), |furnisher| furnisher.furnish_that_of(init.pid, undo))
    };
    // Kept when the start fails: what the guest said then is wanted most.
    let log = logs::begin(site.layout, &site.guest.name);
    site.log = log.map_err(|failure| tracing::warn!(%failure, "the console is not logged")).ok();
    first::make(site, first, &mut made)
}

/// Ends the guest that did not come to be: the guard first, or it would clean up as after a real guest.
fn end_both(init: ProcessId, guard: ProcessId) -> Result<(), Failure> {
    for process in [guard, init] {
        if let Some(pidfd) = process.open()? {
            pidfd.signal(libc::SIGKILL)?;
            pidfd.wait_end(Some(std::time::Duration::from_secs(10)))?;
        }
    }
    // The guard is our child: it must not stay a zombie, and its identity must not be taken for a living process.
    let guard = rustix::process::Pid::from_raw(guard.pid);
    rustix::process::waitpid(guard, rustix::process::WaitOptions::NOHANG)
        .doing(|| "reap the guard".into())?;
    Ok(())
}

fn write_record(site: &mut Site<'_>, undo: &mut Undo) -> Result<(), Failure> {
    let record = record_of(site)?;
    let (layout, back) = (site.layout.clone(), record.clone());
    undo.did("record, run file and reverse link", move || {
        virtualtree::remove(&layout, back.xid)?;
        back.remove(&layout)
    });
    record.write(site.layout)?;
    virtualtree::write(site.layout, &record)?;
    if record.init_mode
        && let Some(process) = &mut site.first
    {
        // A guest's own init is not waited for: the guard reads its console from now on.
        process.hold = None;
    }
    Ok(())
}

fn record_of(site: &Site<'_>) -> Result<Record, Failure> {
    let process = site.first.as_ref().ok_or_else(|| Failure::new("the guest has no first process yet"))?;
    let made = Made { guest: site.guest, plan: site.plan, root: &site.tree.root };
    made.record(site.layout, process.id, process.guard)
}

/// What a record is made of, beside the processes.
pub(crate) struct Made<'a> {
    pub guest: &'a Guest,
    pub plan: &'a Plan,
    pub root: &'a Path,
}

impl Made<'_> {
    /// The record of a guest that was started by this plan just now.
    pub fn record(&self, layout: &Layout, init: ProcessId, guard: ProcessId) -> Result<Record, Failure> {
        let Self { guest, plan, root } = self;
        let first = plan.steps.iter().find_map(|step| match step {
            Step::First(first) => Some(first),
            _ => None,
        });
        let first = first.ok_or_else(|| Failure::new("the plan makes no process"))?;
        let group = plan.steps.iter().find_map(|step| match step {
            Step::Group(group) => Some(group),
            _ => None,
        });
        Ok(Record {
            format: record::FORMAT,
            name: guest.name.clone(),
            display_name: guest
                .display_name
                .as_ref()
                .map_or_else(|| guest.name.as_os_str().to_owned(), |name| name.value.clone()),
            xid: plan.xid,
            dir: guest.dir.clone(),
            root: root.to_path_buf(),
            mode: plan.mode,
            init,
            guard,
            init_mode: first.program.init,
            time: first.time,
            own_network: first.network.is_some()
                || plan.steps.iter().any(|step| matches!(step, Step::Namespace(_))),
            network: plan.steps.iter().find_map(|step| match step {
                Step::NetworkContext(context) => Some((**context).clone()),
                _ => None,
            }),
            group: group.map(|group| group.path.clone()).unwrap_or_default(),
            shared_group: group.and_then(|group| group.shared.as_ref()).map(|shared| shared.path.clone()),
            started: record::now(),
            boot: record::boot_id().to_owned(),
            rights: first.rights.clone(),
            view: plan.view.clone(),
            ending: plan.ending.clone(),
            private: vserver_plan::start::has_flag(guest, "private"),
            shell: guest.shell.as_ref().map(|shell| shell.value.clone()),
            vlogin_disabled: guest.vlogin_disabled,
            flags: guest.cflags.bits.apply_on(flags::DEFAULT_CFLAGS.0),
            run_file: guest
                .run
                .as_ref()
                .map_or_else(|| layout.run_file_of(&guest.name), |run| run.value.clone()),
            tty: guest.init.tty.clone(),
        })
    }
}

/// Style sysv: the command runs in the foreground; its end decides whether the guest stands.
///
/// The lock is not held meanwhile: a command that hangs can be ended by `vserver NAME stop`.
fn await_command(site: &mut Site<'_>, say: &mut dyn FnMut(&str)) -> Result<(), Failure> {
    let (Some(dev), Some(process)) = (&site.dev, &mut site.first) else {
        return Err(Failure::new("the guest has no console"));
    };
    site.lock = None;
    let signals = sys::signal_descriptor(&[libc::SIGINT, libc::SIGTERM, libc::SIGHUP])?;
    let log = site.log.as_ref().map(Writer::at_end_of);
    let ended = console::show_until_ended(dev.console.master.as_fd(), log, &mut process.answers, &signals)?;
    let name = &site.guest.name;
    site.lock = Some(take_lock(site.layout, name, say)?);
    let ours = match record::state(site.layout, name) {
        State::Running(record) | State::Ended(record) => record.init == process.id,
        // It cannot be read at this moment: whoever stops a guest ends its processes first.
        State::Broken { .. } => process.id.is_alive(),
        State::Stopped => false,
    };
    if !ours {
        site.taken_over = true;
        return Err(Failure::new("the guest was stopped while its command was running"));
    }
    judge(site, ended)?;
    // From now on the guard reads the console, and answers for the guest's end.
    if let Some(process) = &mut site.first {
        process.hold = None;
    }
    Ok(())
}

/// Whether the guest stands after its command has ended.
fn judge(site: &Site<'_>, ended: Ended) -> Result<(), Failure> {
    let program = site.plan.steps.iter().find_map(|step| match step {
        Step::First(first) => Some(&first.program),
        _ => None,
    });
    let command = program.map(|program| vserver_plan::show::command_line(&program.argv)).unwrap_or_default();
    let persistent = program.is_some_and(|program| program.persistent);
    let cannot = || {
        Failure::new(format!(
            "An error occured while executing the vserver startup sequence: {command} failed in the guest"
        ))
    };
    match ended {
        Ended::Command { status: 0, left } if left || persistent => Ok(()),
        Ended::Command { status: 0, .. } => Err(nobody_left(site, &command)),
        Ended::Command { status, .. } => {
            let (how, code) = if libc::WIFEXITED(status) {
                (
                    format!("it ended with status {}", libc::WEXITSTATUS(status)),
                    Some(libc::WEXITSTATUS(status)),
                )
            } else {
                (format!("signal {} ended it", libc::WTERMSIG(status)), None)
            };
            let failure = cannot().because(how).hint(format!(
                "its own messages are above; to look around in the guest: vserver {} start --rescue",
                site.guest.name.display()
            ));
            Err(Failure { status: code, ..failure })
        }
        Ended::NotExecuted(errno) => Err(Failure::new(format!("cannot execute {command} in the guest"))
            .because(std::io::Error::from_raw_os_error(errno))),
        Ended::Interrupted(signal) => {
            let mut failure = Failure::new(format!("interrupted while {command} was running in the guest"));
            failure.status = Some(128 + signal);
            Err(failure)
        }
        Ended::Vanished => Err(Failure::new(format!("the guest ended while {command} was running"))),
    }
}

fn nobody_left(site: &Site<'_>, command: &str) -> Failure {
    // The stub ends by itself; waiting for it here keeps the undo from killing what is going anyway.
    if let Some(process) = &site.first
        && let Err(fault) = process.pidfd.wait_end(Some(std::time::Duration::from_secs(1)))
    {
        tracing::debug!(%fault, "the stub init");
    }
    Failure::new(format!("{command} has ended and left no process: the guest is not running")).hint(
        "a guest of this init style needs a service that stays (or style plain, or the flag persistent)",
    )
}
