//! The guest's first process.
//!
//! ```text
//!   tool ──fork──▶ guard-to-be ──clone3──▶ first process
//!    │                  │ pid                 │ waits for "go"
//!    │◀─────report──────┘                     │
//!    │ id maps, priorities                    │
//!    │───────────────────────go──────────────▶│ groups, steps inside, rights
//!    │◀──────────────────────────ready/failed─┤
//!    │                  │ becomes the guard   │ becomes the guest's program
//!    │◀──────────────────────exec failed/end of file
//! ```
//! The guard-to-be is a fork of the tool, so it needs nothing explained; it is the first process's parent from the
//! beginning, and becomes a program of 8 KiB as soon as it has reported. All talk is over pipes that close by
//! themselves when a side dies.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::pipe::{PipeFlags, pipe_with};
use serde::{Deserialize, Serialize};
use vserver_kernel::cgroup::{Doors, Hierarchies};
use vserver_kernel::ns::{self, IdRange, Namespaces};
use vserver_kernel::process::{Pidfd, ProcessId};
use vserver_kernel::pty::Pty;
use vserver_kernel::shadow::{Picture, Shadow};
use vserver_kernel::sys::{self, CloneArgs, Forked};
use vserver_kernel::{Fault, caps, message, mount, oom, rlimit, sched};
use vserver_model::{GuestName, Layout};
use vserver_plan::Rights;
use vserver_plan::step::{First, Program};

use crate::failure::{Doing, Failure};
use crate::helper::{self, answer, fd};
use crate::inside::{self, Interior};
use crate::logs::Boot;
use crate::machine;
use crate::record;
use crate::site::{FirstProcess, Site};

/// A failure inside, as it travels through the pipe.
#[derive(Debug, Serialize, Deserialize)]
struct Report {
    /// The step, in words.
    step: String,
    /// The system call.
    op: String,
    /// What it was called on.
    object: String,
    /// The errno.
    errno: i32,
}

impl Report {
    fn new(step: &dyn std::fmt::Display, fault: &Fault) -> Self {
        Self {
            step: step.to_string(),
            op: fault.op.to_owned(),
            object: fault.object.clone(),
            errno: fault.errno().unwrap_or(libc::EIO),
        }
    }
}

impl From<Report> for Failure {
    fn from(report: Report) -> Self {
        let reason = io::Error::from_raw_os_error(report.errno);
        Self::new(format!("cannot {}", report.step))
            .because(format!("{} {}: {reason}", report.op, report.object))
    }
}

/// The ends of the pipes.
struct Pipes {
    /// First process and helper → tool.
    answers: (OwnedFd, OwnedFd),
    /// Tool → first process.
    go: (OwnedFd, OwnedFd),
    /// Guard-to-be → tool.
    report: (OwnedFd, OwnedFd),
    /// Tool → guard: held open.
    hold: (OwnedFd, OwnedFd),
    /// The guard's end for listeners, and the first process's; only if system calls are answered.
    control: Option<(OwnedFd, OwnedFd)>,
}

impl Pipes {
    fn new(rights: &Rights) -> Result<Self, Failure> {
        let pipe = answer_pipe;
        let control = control(rights)?;
        Ok(Self { answers: pipe()?, go: pipe()?, report: pipe()?, hold: pipe()?, control })
    }
}

/// The guard's end for listeners and the other one, if system calls of the guest are answered.
pub(crate) fn control(rights: &Rights) -> Result<Option<(OwnedFd, OwnedFd)>, Fault> {
    if !rights.hide_devices {
        return Ok(None);
    }
    let (guard, others) = message::pair()?;
    Ok(Some((high(guard.as_fd())?, high(others.as_fd())?)))
}

/// A pipe, both ends close-on-exec and above the numbers that a helper's descriptors get: putting those in place
/// would close these.
///
/// # Errors
/// As pipe(2).
pub fn answer_pipe() -> Result<(OwnedFd, OwnedFd), Failure> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC).doing(|| "make a pipe".into())?;
    Ok((high(read.as_fd())?, high(write.as_fd())?))
}

/// Writes to a pipe whose reader may be gone: then there is nobody else to tell.
pub fn write_all(pipe: &OwnedFd, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match rustix::io::write(pipe, bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return,
        }
    }
}

/// Makes the guard and the first process, and takes the latter as far as the execution of its program.
///
/// `made` is called as soon as the processes exist, so that a later failure can take them back, and while the first
/// one still waits.
///
/// # Errors
/// The kernel refuses a namespace, a step inside fails, or (a guest with its own init) its program cannot be executed.
pub fn make(
    site: &mut Site<'_>,
    first: &First,
    made: &mut dyn FnMut(ProcessId, ProcessId) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let image = helper::image()?;
    let pipes = Pipes::new(&first.rights)?;
    record::make_directory(&record::state_dir(site.layout, &site.guest.name))?;
    let groups = site.group.as_ref().ok_or_else(|| Failure::new("the guest has no control group yet"))?;
    let shelter = shelter(groups.outer.hierarchies());
    let into_cgroup = shelter.as_ref().map(AsFd::as_fd);
    let forked =
        sys::clone3(&CloneArgs { into_cgroup, ..CloneArgs::default() }).doing(|| "fork the guard".into())?;
    let Forked::Parent { pid: guard, .. } = forked else { guard_to_be(site, first, &image, pipes) };
    let Pipes { answers, go, report, hold, control: _ } = pipes;
    // Our copies of the other sides: as long as they are open, nobody sees the end of a file.
    drop((answers.1, go.0, report.1, hold.0));
    let guard = ProcessId::of(guard)?;
    let mut from_guard = Vec::new();
    File::from(report.0).read_to_end(&mut from_guard).doing(|| "hear from the guard".into())?;
    let pid = match <[u8; 4]>::try_from(from_guard.as_slice()) {
        Ok(pid) => i32::from_ne_bytes(pid),
        Err(_) => {
            return Err(told(&from_guard).unwrap_or_else(|| Failure::new("the guard ended without a word")));
        }
    };
    let id = ProcessId::of(pid)?;
    made(id, guard)?;
    let pidfd = Pidfd::open(pid)?;
    admit(first, pid)?;
    File::from(go.1).write_all(b"g").doing(|| "let the guest's first process go".into())?;
    let mut answers = answers.0;
    await_ready(&mut answers, &first.program)?;
    site.first = Some(FirstProcess { id, pidfd, guard, answers, hold: Some(hold.1) });
    Ok(())
}

/// A failure that came as text, if it did.
fn told(text: &[u8]) -> Option<Failure> {
    serde_json::from_slice::<Report>(text).ok().map(Failure::from)
}

/// What only the host may do for the new process: id maps, priorities.
fn admit(first: &First, pid: i32) -> Result<(), Failure> {
    if let Some((outside, count)) = first.user {
        let map = [IdRange { inside: 0, outside, count }];
        ns::write_id_maps(pid, &map, &map).doing(|| "write the guest's id maps".into())?;
    }
    let rights = &first.rights;
    if let Some(nice) = rights.nice {
        sched::set_nice(pid, nice).doing(|| format!("set the nice value {nice}"))?;
    }
    if let Some((class, level)) = rights.ionice {
        sched::set_io_priority(pid, io_priority(class, level)).doing(|| "set the I/O priority".into())?;
    }
    if let Some(badness) = rights.badness {
        let badness = i16::try_from(badness.clamp(-1000, 1000)).unwrap_or(0);
        oom::set_adjustment(pid, badness).doing(|| format!("add {badness} to the OOM score"))?;
    }
    Ok(())
}

/// Class and level as `ionice` numbers them.
pub fn io_priority(class: u8, level: u8) -> sched::IoPriority {
    match class {
        1 => sched::IoPriority::Realtime(level),
        2 => sched::IoPriority::BestEffort(level),
        3 => sched::IoPriority::Idle,
        _ => sched::IoPriority::None,
    }
}

/// One answer: kind and number. `None`: end of file.
pub fn next_answer(answers: &mut OwnedFd) -> Result<Option<(i32, i32)>, Failure> {
    let mut message = [0u8; 8];
    let mut filled = 0;
    while filled < message.len() {
        match rustix::io::read(&mut *answers, &mut message[filled..]) {
            Ok(0) => return Ok(None),
            Ok(count) => filled += count,
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno).doing(|| "hear from the guest's first process".into()),
        }
    }
    let number =
        |at: usize| i32::from_ne_bytes([message[at], message[at + 1], message[at + 2], message[at + 3]]);
    Ok(Some((number(0), number(4))))
}

/// Until all steps inside are done; with an init of its own, until that is executed.
fn await_ready(answers: &mut OwnedFd, program: &Program) -> Result<(), Failure> {
    let init = program.init;
    loop {
        match next_answer(answers)? {
            Some((answer::READY, _)) if init => {}
            Some((answer::READY, _)) => return Ok(()),
            Some((answer::FAILED, length)) => return Err(read_report(answers, length)),
            Some((answer::EXEC_FAILED, errno)) => {
                let reason = io::Error::from_raw_os_error(errno);
                let path =
                    program.argv.first().map(|word| word.to_string_lossy().into_owned()).unwrap_or_default();
                return Err(Failure::new(format!("cannot execute the guest's init {path}")).because(reason));
            }
            Some(_) => {}
            // The pipe closes by the execution of the guest's own init.
            None if init => return Ok(()),
            None => return Err(Failure::new("the guest's first process ended before it began its work")),
        }
    }
}

fn read_report(answers: &mut OwnedFd, length: i32) -> Failure {
    let mut text = vec![0u8; usize::try_from(length).unwrap_or(0).min(1 << 16)];
    let mut filled = 0;
    while filled < text.len() {
        match rustix::io::read(&mut *answers, &mut text[filled..]) {
            Ok(0) | Err(_) => break,
            Ok(count) => filled += count,
        }
    }
    told(&text).unwrap_or_else(|| Failure::new("the guest's first process failed without saying why"))
}

/// Where guards live on a host that systemd runs, which kills what is left of a service or a session in its control
/// group, a guard too. A group of no unit is left alone: by systemd's clean-up as by its `daemon-reload` and
/// `daemon-reexec`, and what it would take from a group's controllers the kernel refuses while they are used below
/// (seen with systemd 252). Not below the guests' top group: that has controllers enabled, so no process may be in
/// it, and whoever is further down is taken for a guest's.
///
/// Nothing: another init, no visible cgroup2, or a refusal. Guests do not need their guards to live.
pub(crate) fn shelter(hierarchies: &Hierarchies) -> Option<OwnedFd> {
    if !Path::new("/run/systemd/system").is_dir() {
        return None;
    }
    let place = hierarchies.v2()?.mount_point()?.join("vservers.guards");
    match std::fs::create_dir(&place) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => None,
        _ => mount::open_directory(&place).ok(),
    }
}

/// In the fork that will be the guard: makes the first process, reports it, becomes the guard.
fn guard_to_be(site: &Site<'_>, first: &First, image: &OwnedFd, pipes: Pipes) -> ! {
    let failed = |step: &str, fault: &Fault| -> ! {
        let text = serde_json::to_vec(&Report::new(&step, fault)).unwrap_or_default();
        write_all(&pipes.report.1, &text);
        sys::exit_now(1)
    };
    if let Err(errno) = rustix::process::setsid() {
        tracing::debug!(%errno, "the guard stays in the session of the tool");
    }
    let own_time = match ns::open(rustix::process::getpid().as_raw_pid(), Namespaces::TIME) {
        Ok(own_time) => own_time,
        Err(fault) => failed("open the time namespace", &fault),
    };
    // Into the guest's network for as long as it takes to have a child there.
    let own_network = site.netns.as_ref().map(|netns| {
        let own = ns::open(0, Namespaces::NET)?;
        ns::enter_one(netns.as_fd(), Namespaces::NET).map(|()| own)
    });
    let own_network = match own_network.transpose() {
        Ok(own_network) => own_network,
        Err(fault) => failed("join the network namespace", &fault),
    };
    let shadow = match site.shadow.as_ref().map(go_into_shadow).transpose() {
        Ok(shadow) => shadow,
        Err(fault) => failed("make a shadow of the host's network", &fault),
    };
    let forked = match clone_first(first, site.group.as_ref().and_then(|groups| groups.directory.as_ref())) {
        Ok(forked) => forked,
        Err(fault) => failed("make the guest's namespaces", &fault),
    };
    let Forked::Parent { pid, pidfd } = forked else { first_process(site, first, image, pipes) };
    // The guard must not live in the guest's time: an exec would take it there, and the tool that it becomes in the
    // end would read other start times of processes than everybody else.
    let restored = restore_root()
        .and_then(|()| ns::enter_one(own_time.as_fd(), Namespaces::TIME))
        .and_then(|()| own_network.map_or(Ok(()), |own| ns::enter_one(own.as_fd(), Namespaces::NET)))
        // The broker, which the guard starts, makes sockets in the host's network.
        .and_then(|()| shadow.map_or(Ok(()), |(own, _)| ns::enter_one(own.as_fd(), Namespaces::NET)));
    if let Err(fault) = restored {
        failed("become the guard", &fault);
    }
    write_all(&pipes.report.1, &pid.to_ne_bytes());
    let watch = Watch {
        layout: site.layout,
        name: &site.guest.name,
        dir: &site.guest.dir,
        outside: site.outside.as_fd(),
        console: site.dev.as_ref().map(|dev| &dev.console),
        hold: pipes.hold.0.as_fd(),
        init: pidfd.as_fd(),
        stat: None,
        control: pipes.control.as_ref().map(|(guards, others)| (guards.as_fd(), others.as_fd())),
        log: site.log.as_ref(),
    };
    match become_guard(&watch, image) {
        Ok(never) => match never {},
        // The guest does not need a guard to live; the next command finds that it has none.
        Err(_) => sys::exit_now(1),
    }
}

/// The namespaces. The user namespace belongs to the guest's first id, which the kernel charges per-user limits to:
/// made by root, all guests would share root's.
fn clone_first(first: &First, group: Option<&OwnedFd>) -> Result<Forked, Fault> {
    if first.time {
        ns::unshare(Namespaces::TIME)?;
        ns::set_time_offsets(&ns::TimeOffsets::uptime_now(std::time::Duration::ZERO))?;
    }
    // Only the host can raise hard limits: the guest's process lowers them to what is configured.
    for limit in &first.rights.limits {
        if let Some(resource) = rlimit::Resource::numbered(limit.resource)
            && let Ok(current) = rlimit::get(0, resource)
            && current.hard < limit.hard
        {
            // Refused without CAP_SYS_RESOURCE: the guest keeps what the host has (D17).
            drop(rlimit::set(0, resource, rlimit::Limit { soft: current.soft, hard: limit.hard }));
        }
    }
    let mut namespaces = Namespaces::MOUNT.with(Namespaces::PID).with(Namespaces::UTS).with(Namespaces::IPC);
    if first.network.is_some() {
        namespaces = namespaces.with(Namespaces::NET);
    }
    if let Some((id, _)) = first.user {
        namespaces = namespaces.with(Namespaces::USER);
        sys::set_resgid(None, Some(id), None)?;
        sys::set_resuid(None, Some(id), None)?;
        caps::raise_effective()?;
    }
    sys::clone3(&CloneArgs { namespaces, into_cgroup: group.map(AsFd::as_fd), sibling: false })
}

/// Into a network namespace that shows this; gives the one that was left, and what keeps pairs of devices in the other.
fn go_into_shadow(picture: &Picture) -> Result<(OwnedFd, Shadow), Fault> {
    let own = ns::open(rustix::process::getpid().as_raw_pid(), Namespaces::NET)?;
    let mut shadow = Shadow::enter_new()?;
    shadow.show(picture)?;
    Ok((own, shadow))
}

fn restore_root() -> Result<(), Fault> {
    sys::set_resuid(None, Some(0), None)?;
    sys::set_resgid(None, Some(0), None)?;
    caps::raise_effective()
}

/// What a guard is given.
pub(crate) struct Watch<'a> {
    pub layout: &'a Layout,
    pub name: &'a GuestName,
    pub dir: &'a Path,
    /// The mount namespace of whoever started the guest: the guard lives there, and holds the one it comes from as the
    /// guest's host view.
    pub outside: BorrowedFd<'a>,
    /// The guest's console, if it has one.
    pub console: Option<&'a Pty>,
    /// End of file: the guard reads the console, and answers for the guest's end.
    pub hold: BorrowedFd<'a>,
    /// Pidfd of the guest's first process.
    pub init: BorrowedFd<'a>,
    /// `/proc/PID/stat` of the first process if it is not a child of this process.
    pub stat: Option<BorrowedFd<'a>>,
    /// Where it takes listeners for answered system calls, and the other end of that.
    pub control: Option<(BorrowedFd<'a>, BorrowedFd<'a>)>,
    /// Where the console is logged; nowhere if that cannot be.
    pub log: Option<&'a Boot>,
}

/// Becomes the guard program. Returns only on failure.
pub(crate) fn become_guard(watch: &Watch<'_>, image: &OwnedFd) -> Result<std::convert::Infallible, Fault> {
    let view = ns::open(rustix::process::getpid().as_raw_pid(), Namespaces::MOUNT)?;
    // A guest without a log of its console is better than one without a guard.
    let log = watch.log.and_then(|boot| mount::open_directory(&boot.directory).ok());
    ns::enter_one(watch.outside, Namespaces::MOUNT)?;
    rustix::process::chdir("/").map_err(|errno| Fault::new("chdir(2)", "/", errno))?;
    let tool_path =
        std::env::current_exe().map_err(|error| Fault::new("readlink(2)", "/proc/self/exe", error))?;
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let tool = rustix::fs::open("/proc/self/exe", flags, Mode::empty())
        .map_err(|errno| Fault::new("open(2)", "/proc/self/exe", errno))?;
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| Fault::new("open(2)", "/dev/null", errno))?;
    let image = high(image.as_fd())?;
    let null = null.as_fd();
    // A name below something that is no directory: what the console says is dropped.
    let (log, names) = match (&log, watch.log) {
        (Some(log), Some(boot)) => (log.as_fd(), [boot.file_name(), boot.old_name()]),
        _ => (null, [String::new(), String::new()]),
    };
    // A console that is not there reads as one that is over.
    let (master, slave) =
        watch.console.map_or((null, null), |console| (console.master.as_fd(), console.terminal.as_fd()));
    let mut descriptors = vec![
        (null, 0),
        (null, 1),
        (null, 2),
        (watch.stat.unwrap_or(null), fd::STAT),
        (watch.init, fd::INIT),
        (master, fd::CONSOLE),
        (watch.hold, fd::HOLD),
        (view.as_fd(), fd::HOST_VIEW),
        (log, fd::LOG_DIRECTORY),
        (tool.as_fd(), fd::TOOL),
        (slave, fd::CONSOLE_SLAVE),
    ];
    if let Some((guards, others)) = watch.control {
        descriptors.extend([(guards, fd::CONTROL), (others, fd::CONTROL_PEER)]);
    }
    // As for the log: a guest whose files say what they said last is better than one without a guard.
    let kept = machine::kept(&record::state_dir(watch.layout, watch.name)).unwrap_or(None);
    if let Some(kept) = &kept {
        for (which, (file, watch)) in kept.files.iter().enumerate() {
            descriptors.extend([(watch.as_fd(), fd::WATCHES[which]), (file.as_fd(), fd::FILES[which])]);
        }
        descriptors.push((kept.listings.as_fd(), fd::LISTINGS));
    }
    sys::place(&descriptors)?;
    let mut words: Vec<OsString> = vec!["guard".into()];
    words.extend(names.map(OsString::from));
    words.push(tool_path.into_os_string());
    words.extend(["vserver", "--guest-ended"].map(OsString::from));
    words.push(watch.name.as_os_str().to_owned());
    words.push(watch.dir.as_os_str().to_owned());
    Err(helper::execute(image.as_fd(), words, &environment_of_the_guard()))
}

/// What the tool needs when the guard calls it: where everything lies, and nothing of whoever started the guest.
fn environment_of_the_guard() -> Vec<(OsString, OsString)> {
    let mut environment: Vec<(OsString, OsString)> = vec![
        ("PATH".into(), "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into()),
        ("HOME".into(), "/".into()),
        ("TERM".into(), "linux".into()),
    ];
    for name in ["VSERVER_PREFIX", "VSERVER_CGROUP_TOP", "VSERVER_LOG"] {
        environment.extend(std::env::var_os(name).map(|value| (name.into(), value)));
    }
    environment
}

/// A copy of a descriptor above those that a helper gets.
pub fn high(descriptor: BorrowedFd<'_>) -> Result<OwnedFd, Fault> {
    rustix::io::fcntl_dupfd_cloexec(descriptor, helper::DESCRIPTORS + 32)
        .map_err(|errno| Fault::new("fcntl(2) F_DUPFD_CLOEXEC", "a descriptor", errno))
}

/// In the guest's first process: waits for the tool, does the steps inside, becomes the program.
fn first_process(site: &Site<'_>, first: &First, image: &OwnedFd, pipes: Pipes) -> ! {
    let Pipes { answers, go, report, hold, control } = pipes;
    drop((report, hold, answers.0, go.1));
    let control = control.map(|(_, to_guard)| to_guard);
    let mut letter = [0u8];
    // No letter: the tool has died, and with it this guest.
    if File::from(go.0).read_exact(&mut letter).is_err() {
        sys::exit_now(1);
    }
    let report = match settle_in(site, first, control.as_ref()) {
        Ok(()) => {
            send(&answers.1, answer::READY, 0, b"");
            let fault = become_program(site, first, image, &answers.1);
            Report::new(&"execute the helper program", &fault)
        }
        Err(report) => report,
    };
    let text = serde_json::to_vec(&report).unwrap_or_default();
    send(&answers.1, answer::FAILED, i32::try_from(text.len()).unwrap_or(0), &text);
    sys::exit_now(1)
}

fn send(answers: &OwnedFd, kind: i32, number: i32, text: &[u8]) {
    let mut message = Vec::with_capacity(8 + text.len());
    message.extend_from_slice(&kind.to_ne_bytes());
    message.extend_from_slice(&number.to_ne_bytes());
    message.extend_from_slice(text);
    write_all(answers, &message);
}

/// All that the first process does to itself.
fn settle_in(site: &Site<'_>, first: &First, control: Option<&OwnedFd>) -> Result<(), Report> {
    let setup = |step: &'static str| move |fault: Fault| Report::new(&step, &fault);
    if first.user.is_some() {
        inside::become_root().map_err(setup("become root of the guest"))?;
    }
    let doors = site.group.as_ref().map(|groups| &groups.doors);
    doors.map_or(Ok(()), Doors::pass).map_err(setup("enter the guest's control groups"))?;
    inside::own_cgroup_view().map_err(setup("make a cgroup namespace"))?;
    mount::make_slave("/", mount::Recursion::All).map_err(setup("part from the host view's mounts"))?;
    let mut interior = Interior::new(site);
    for step in &first.inside {
        interior.perform(step).map_err(|fault| Report::new(&step, &fault))?;
    }
    inside::take_rights(&first.rights, control).map_err(setup("take the guest's rights"))
}

/// Standard descriptors, answer pipe, helper. Returns only on failure.
fn become_program(site: &Site<'_>, first: &First, image: &OwnedFd, answers: &OwnedFd) -> Fault {
    let program = &first.program;
    let Some(dev) = site.dev.as_ref() else { return Fault::from_errno("open", "the console", libc::EBADF) };
    let placed = high(image.as_fd()).and_then(|image| {
        let console = dev.console.terminal.as_fd();
        sys::place(&[(console, 0), (console, 1), (console, 2), (answers.as_fd(), fd::ANSWER)])?;
        Ok(image)
    });
    let image = match placed {
        Ok(image) => image,
        Err(fault) => return fault,
    };
    let mut words: Vec<OsString> = if program.init {
        vec!["exec".into(), "s".into()]
    } else {
        vec!["init".into(), if program.persistent { "p".into() } else { "-".into() }]
    };
    words.extend(program.argv.iter().cloned());
    helper::execute(image.as_fd(), words, &program.environment)
}
