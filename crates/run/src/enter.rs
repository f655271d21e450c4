//! A program inside a running guest: always with the guest's own rights, limits and namespaces, on a terminal of the
//! guest's own, and with no descriptor of the caller's but the three standard ones.
//!
//! ```text
//!   tool ──clone3 into the guest's group──▶ stand-in ──setns, rights, exec helper──▶ (forks a sibling) ─▶ program
//!    │                                          │ ends                                                     │
//!    │◀──────────────── pid, or why not ────────┴───────────────────────────── a child of the tool's ──────┘
//!    │ copies the terminal, passes signals, waits
//! ```
//! The stand-in takes the guest's rights while it still is in the host's PID namespace, where no process of the guest
//! can see it; what appears in the guest is the helper's image with the guest's rights, nothing else.

use std::ffi::{OsStr, OsString};
use std::io::IsTerminal as _;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use vserver_kernel::beneath::Root;
use vserver_kernel::mount::{self, FilesystemType, TargetKind};
use vserver_kernel::ns::{self, Namespaces};
use vserver_kernel::process::{Pidfd, WaitStatus};
use vserver_kernel::pty::{self, Pty, RawMode};
use vserver_kernel::sys::{self, CloneArgs, Forked};
use vserver_kernel::{Fault, sched};

use crate::failure::{Doing, Failure};
use crate::first::{self, high, io_priority, next_answer};
use crate::helper::{self, answer, fd};
use crate::record::Record;
use crate::{inside, stop};

/// What is to be run in a guest.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Program and arguments; a program without a slash is looked for along PATH in the guest.
    pub argv: Vec<OsString>,
    /// The complete environment: the caller's for exec and enter.
    pub environment: Vec<(OsString, OsString)>,
    /// Who runs it.
    pub user: User,
    /// Whether it gets a terminal.
    pub terminal: Terminal,
    /// Also into a guest that nobody may enter: our own stop command.
    pub although_private: bool,
    /// Killed when it has run this long; only without a terminal.
    pub limit: Option<Duration>,
}

/// Who runs the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum User {
    /// Root of the guest.
    Root,
    /// A name or number, looked up in the guest's own passwd and group files (L9).
    Named(OsString),
}

/// Whether the program gets a terminal of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Terminal {
    /// If standard input and output are terminals.
    IfCallerHasOne,
    /// Standard descriptors are passed on as they are.
    Never,
}

impl Entry {
    /// A program run by the guest's root, with an empty environment.
    pub fn new(argv: Vec<OsString>) -> Self {
        Self {
            argv,
            environment: Vec::new(),
            user: User::Root,
            terminal: Terminal::IfCallerHasOne,
            although_private: false,
            limit: None,
        }
    }
}

/// The guest's root as its processes see it, through the kernel's link of its first process.
///
/// # Errors
/// The guest has ended.
pub fn root_of(record: &Record) -> Result<Root, Failure> {
    let path = format!("/proc/{}/root", record.init.pid);
    let root = Root::open(&path).doing(|| format!("open the root of '{}'", record.name.display()))?;
    // The number could have been given to another process between the record and the open.
    if record.init.is_alive() { Ok(root) } else { Err(Failure::new("the guest has just ended")) }
}

/// The first program of the original's list that the guest has, for `enter`.
pub fn shell(record: &Record) -> Result<Vec<OsString>, Failure> {
    if let Some(shell) = &record.shell {
        return Ok(vec![shell.clone()]);
    }
    let root = root_of(record)?;
    let known: [(&str, &[&str]); 3] = [("/bin/bash", &["-login"]), ("/bin/sh", &["-l"]), ("/bin/csh", &[])];
    for (program, arguments) in known {
        if root.exists_executable(program) {
            return Ok([program].iter().chain(arguments).map(OsString::from).collect());
        }
    }
    Err(Failure::new("the guest has none of /bin/bash, /bin/sh and /bin/csh").hint(
        "name another program in the file shell of its configuration, or use: vserver NAME exec PROGRAM",
    ))
}

/// Runs a program in the guest and gives its exit status (128 + number when a signal ended it).
///
/// # Errors
/// The guest cannot be entered. A program that is not there is no error of this kind: it is said as the original did,
/// and 255 is the status.
pub fn run(record: &Record, entry: &Entry) -> Result<i32, Failure> {
    if record.private && !entry.although_private {
        return Err(Failure::new(format!("cannot enter '{}': permission denied", record.name.display()))
            .because("its flag 'private' keeps everybody out, the host's root included")
            .hint("it can still be stopped, and its processes be signalled with vkill"));
    }
    let what = || format!("enter '{}'", record.name.display());
    let pidfd = record.init.open().doing(what)?.ok_or_else(|| Failure::new("the guest has just ended"))?;
    let identity = identity(record, &entry.user)?;
    let caller_is_terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    let pty = if entry.terminal == Terminal::IfCallerHasOne && caller_is_terminal {
        Some(terminal(record, &identity)?)
    } else {
        None
    };
    let image = helper::image()?;
    let group = stop::group(record)?.child("guest");
    let mut directory = group.v2_dir_fd_of(record.init.pid).unwrap_or(None);
    let (mut answers, write) = first::answer_pipe()?;
    let signals = sys::signal_descriptor(&PASSED_ON)?;
    let control = control(record);
    let mut attempts = 0;
    let forked = loop {
        let into_cgroup = directory.as_ref().map(AsFd::as_fd);
        match sys::clone3(&CloneArgs { namespaces: Namespaces::NONE, into_cgroup, sibling: false }) {
            // The guest's systemd was just about to move and to close the group behind it.
            Err(fault) if fault.is(libc::EBUSY) && attempts < 50 => {
                attempts += 1;
                std::thread::sleep(Duration::from_millis(10));
                directory = group.v2_dir_fd_of(record.init.pid).unwrap_or(None);
            }
            forked => break forked.doing(what)?,
        }
    };
    let Forked::Parent { pidfd: stand_in, .. } = forked else {
        let place = Place {
            record,
            entry,
            pidfd: &pidfd,
            identity: &identity,
            pty: pty.as_ref(),
            control: control.as_ref(),
        };
        let step = place.stand_in(&group, directory.is_some(), &image, &write);
        // A step failed: said in the way the helper would, with the errno.
        let text = format!("{step}: {}", step.source).into_bytes();
        let mut message = answer::FAILED.to_ne_bytes().to_vec();
        message.extend_from_slice(&i32::try_from(text.len()).unwrap_or(0).to_ne_bytes());
        message.extend_from_slice(&text);
        first::write_all(&write, &message);
        sys::exit_now(255)
    };
    drop(write);
    let stand_in = Pidfd::from(stand_in);
    let child = await_start(&mut answers, record)?;
    stand_in.wait(None).doing(what)?;
    let Some(child) = child else { return Ok(255) };
    let child_pidfd = Pidfd::open(child).doing(what)?;
    follow(record, &child_pidfd, &mut answers, pty, &signals, entry)
}

/// Signals that are given on to the program inside.
const PASSED_ON: [i32; 7] =
    [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT, libc::SIGUSR1, libc::SIGUSR2, libc::SIGWINCH];

/// A copy of the guard's socket for listeners, if the guest has answered system calls and still a guard.
fn control(record: &Record) -> Option<OwnedFd> {
    if !record.rights.hide_devices {
        return None;
    }
    let guard = record.guard.open().ok()??;
    // A guard that has just been made is a fork of the tool for a moment: its descriptors have no places yet.
    let image = format!("/proc/{}/exe", record.guard.pid);
    let until = Instant::now() + Duration::from_secs(10);
    while !helper::is_image(&std::fs::read_link(&image).ok()?) {
        if Instant::now() > until || !record.guard.is_alive() {
            return None;
        }
        std::thread::sleep(Duration::from_micros(200));
    }
    guard.descriptor(fd::CONTROL_PEER).map_err(|fault| tracing::warn!(%fault, "the guard's socket")).ok()
}

/// The pid of the program, or why there is none.
fn await_start(answers: &mut OwnedFd, record: &Record) -> Result<Option<i32>, Failure> {
    match next_answer(answers)? {
        Some((answer::STARTED, pid)) => Ok(Some(pid)),
        Some((answer::FAILED, length)) => {
            let mut text = vec![0; usize::try_from(length).unwrap_or(0).min(4096)];
            let count = rustix::io::read(&mut *answers, &mut text).unwrap_or(0);
            text.truncate(count);
            Err(Failure::new(format!("cannot enter '{}'", record.name.display()))
                .because(String::from_utf8_lossy(&text).into_owned()))
        }
        Some((answer::EXEC_FAILED, errno)) => {
            Err(Failure::new(format!("cannot enter '{}'", record.name.display()))
                .because(std::io::Error::from_raw_os_error(errno)))
        }
        Some(_) | None => {
            Err(Failure::new(format!("cannot enter '{}': the guest has just ended", record.name.display())))
        }
    }
}

/// Ids in the guest.
#[derive(Debug, Default)]
struct Identity {
    uid: u32,
    gid: u32,
    groups: Vec<u32>,
}

/// What the stand-in needs.
struct Place<'a> {
    record: &'a Record,
    entry: &'a Entry,
    pidfd: &'a Pidfd,
    identity: &'a Identity,
    pty: Option<&'a Pty>,
    /// Where the guard takes listeners.
    control: Option<&'a OwnedFd>,
}

impl Place<'_> {
    /// In the fork: goes where the guest is and becomes the helper. Returns only when something failed.
    fn stand_in(
        &self,
        group: &vserver_kernel::cgroup::Group,
        in_v2: bool,
        image: &OwnedFd,
        answers: &OwnedFd,
    ) -> Fault {
        match self.go(group, in_v2, image, answers) {
            Err(fault) => fault,
            Ok(never) => match never {},
        }
    }

    fn go(
        &self,
        group: &vserver_kernel::cgroup::Group,
        in_v2: bool,
        image: &OwnedFd,
        answers: &OwnedFd,
    ) -> Result<std::convert::Infallible, Fault> {
        let own = rustix::process::getpid().as_raw_pid();
        // First the groups: a cgroup namespace would show a path outside its root, and limits would not count.
        if in_v2 || group.hierarchies().v2().is_none() {
            group.doors()?.pass()?;
        } else {
            group.attach(own)?;
        }
        let rights = &self.record.rights;
        if let Some(nice) = rights.nice {
            sched::set_nice(0, nice)?;
        }
        if let Some((class, level)) = rights.ionice {
            sched::set_io_priority(0, io_priority(class, level))?;
        }
        let mut all = Namespaces::MOUNT
            .with(Namespaces::PID)
            .with(Namespaces::UTS)
            .with(Namespaces::IPC)
            .with(Namespaces::CGROUP);
        if self.record.time {
            all = all.with(Namespaces::TIME);
        }
        if self.record.own_network {
            all = all.with(Namespaces::NET);
        }
        if self.record.mode.is_shifted() {
            all = all.with(Namespaces::USER);
        }
        if rights.shadow {
            all = all.with(Namespaces::NET);
        }
        ns::enter(self.pidfd.as_fd(), all)?;
        inside::become_root()?;
        rustix::process::chdir("/").map_err(|errno| Fault::new("chdir(2)", "/", errno))?;
        inside::take_limits(rights, self.control)?;
        self.take_identity(rights.capabilities.0)?;
        let image = high(image.as_fd())?;
        let mut descriptors: Vec<(BorrowedFd<'_>, i32)> = vec![(answers.as_fd(), fd::ANSWER)];
        if let Some(pty) = self.pty {
            descriptors.extend((0..3).map(|number| (pty.terminal.as_fd(), number)));
        }
        sys::place(&descriptors)?;
        let how = if self.pty.is_some() { "fst" } else { "fs" };
        let mut words: Vec<OsString> = vec!["exec".into(), how.into()];
        words.extend(self.entry.argv.iter().cloned());
        Err(helper::execute(image.as_fd(), words, &self.entry.environment))
    }

    /// Groups and user; another user than root loses its capabilities by becoming it.
    fn take_identity(&self, capabilities: u64) -> Result<(), Fault> {
        let Identity { uid, gid, groups } = self.identity;
        if *uid == 0 && *gid == 0 {
            return vserver_kernel::caps::set_all(capabilities);
        }
        sys::set_groups(groups)?;
        sys::set_resgid(Some(*gid), Some(*gid), Some(*gid))?;
        sys::set_resuid(Some(*uid), Some(*uid), Some(*uid))?;
        if *uid == 0 { vserver_kernel::caps::set_all(capabilities) } else { Ok(()) }
    }
}

/// A terminal from the guest's own set; from the host's when the guest has none.
fn terminal(record: &Record, identity: &Identity) -> Result<Pty, Failure> {
    let root = root_of(record)?;
    let guests = mount::target_in_root_strict(root.as_fd(), "/dev/pts", TargetKind::Directory).ok().filter(
        |directory| {
            mount::filesystem_type(directory.as_fd())
                .is_ok_and(|kind| kind == FilesystemType::Known("devpts"))
        },
    );
    let directory = match guests {
        Some(directory) => directory,
        None => mount::open_directory("/dev/pts").doing(|| "open /dev/pts".into())?,
    };
    let pty = pty::open_in(directory.as_fd()).doing(|| "make a terminal".into())?;
    let owner = record.mode.host_id(identity.uid).unwrap_or(0);
    rustix::fs::fchown(&pty.terminal, Some(rustix::fs::Uid::from_raw(owner)), None)
        .doing(|| "give the terminal to its user".into())?;
    if let Ok(size) = pty::window_size(std::io::stdin()) {
        pty::set_window_size(&pty.master, size)?;
    }
    Ok(pty)
}

/// Largest passwd or group file that is read from a guest.
const ACCOUNTS_LIMIT: usize = 16 << 20;

fn identity(record: &Record, user: &User) -> Result<Identity, Failure> {
    let User::Named(name) = user else { return Ok(Identity::default()) };
    let root = root_of(record)?;
    let passwd = root.read("/etc/passwd", ACCOUNTS_LIMIT).unwrap_or_default();
    let group = root.read("/etc/group", ACCOUNTS_LIMIT).unwrap_or_default();
    lookup(&passwd, &group, name.as_bytes()).ok_or_else(|| {
        Failure::new(format!("no user '{}' in the guest's /etc/passwd", name.to_string_lossy()))
    })
}

/// Finds a name or number in passwd and group files; a number without an entry gets a group of the same number.
fn lookup(passwd: &[u8], group: &[u8], name: &[u8]) -> Option<Identity> {
    let number = std::str::from_utf8(name).ok().and_then(|text| text.parse::<u32>().ok());
    let fields =
        |line: &[u8]| -> Vec<Vec<u8>> { line.split(|&byte| byte == b':').map(<[u8]>::to_vec).collect() };
    let parse = |field: Option<&Vec<u8>>| std::str::from_utf8(field?).ok()?.parse::<u32>().ok();
    let entry = passwd.split(|&byte| byte == b'\n').map(fields).find_map(|fields| {
        let (uid, gid) = (parse(fields.get(2))?, parse(fields.get(3))?);
        (fields[0] == name || Some(uid) == number).then(|| (fields[0].clone(), uid, gid))
    });
    let Some((login, uid, gid)) = entry else {
        let number = number.filter(|&number| number != u32::MAX)?;
        return Some(Identity { uid: number, gid: number, groups: Vec::new() });
    };
    let mut groups: Vec<u32> = group
        .split(|&byte| byte == b'\n')
        .map(fields)
        .filter(|fields| {
            fields.get(3).is_some_and(|users| users.split(|&byte| byte == b',').any(|user| user == login))
        })
        .filter_map(|fields| parse(fields.get(2)))
        .take(1024)
        .collect();
    groups.push(gid);
    groups.sort_unstable();
    groups.dedup();
    (uid != u32::MAX && gid != u32::MAX).then_some(Identity { uid, gid, groups })
}

/// Copies between the caller and the program's terminal, passes signals on, and waits for the end.
fn follow(
    record: &Record,
    child: &Pidfd,
    answers: &mut OwnedFd,
    pty: Option<Pty>,
    signals: &OwnedFd,
    entry: &Entry,
) -> Result<i32, Failure> {
    let status = match pty {
        Some(Pty { master, terminal }) => {
            drop(terminal);
            let _raw = RawMode::enter(std::io::stdin()).doing(|| "set the terminal to raw mode".into())?;
            relay(&master, child, signals)?
        }
        None => wait_passing_signals(child, signals, entry.limit)?,
    };
    if let Some((answer::EXEC_FAILED, errno)) = next_answer(answers)? {
        let program = entry.argv.first().map(|word| word.to_string_lossy().into_owned()).unwrap_or_default();
        let reason = rustix::io::Errno::from_raw_os_error(errno);
        // The original's very words: scripts look for them.
        eprintln!("vcontext: execvp(\"{program}\"): {}", strerror(reason));
        return Ok(255);
    }
    tracing::debug!(guest = %record.name.display(), ?status, "ended");
    Ok(match status {
        WaitStatus::Exited(code) => code,
        WaitStatus::Signaled(signal) => 128 + signal,
        WaitStatus::Unknown => 255,
    })
}

/// The C library's words for an errno, without Rust's addition of the number.
fn strerror(errno: rustix::io::Errno) -> String {
    let text = std::io::Error::from(errno).to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

fn pass_on(signals: &OwnedFd, child: &Pidfd, master: Option<&OwnedFd>) -> Result<(), Failure> {
    while let Some(signal) = sys::next_signal(signals.as_fd())? {
        if signal == libc::SIGWINCH {
            if let (Some(master), Ok(size)) = (master, pty::window_size(std::io::stdin())) {
                pty::set_window_size(master, size)?;
            }
        } else {
            child.signal(signal)?;
        }
    }
    Ok(())
}

fn poll_all(watched: &mut [PollFd<'_>], until: Option<Instant>) -> Result<(), Failure> {
    loop {
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        let left = left.and_then(|left| rustix::event::Timespec::try_from(left).ok());
        match poll(watched, left.as_ref()) {
            Ok(_) => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno).doing(|| "wait for the program".into()),
        }
    }
}

fn wait_passing_signals(
    child: &Pidfd,
    signals: &OwnedFd,
    limit: Option<Duration>,
) -> Result<WaitStatus, Failure> {
    let until = limit.map(|limit| Instant::now() + limit);
    loop {
        let mut watched = [PollFd::new(child, PollFlags::IN), PollFd::new(signals, PollFlags::IN)];
        poll_all(&mut watched, until)?;
        let ended = !watched[0].revents().is_empty();
        pass_on(signals, child, None)?;
        if !ended && until.is_some_and(|until| Instant::now() >= until) {
            // Reaped here and now: as long as an entered process is not, the guest's init cannot end.
            child.signal(libc::SIGKILL)?;
        } else if !ended {
            continue;
        }
        return Ok(child.wait(None)?.unwrap_or(WaitStatus::Unknown));
    }
}

/// The terminal proxy.
fn relay(master: &OwnedFd, child: &Pidfd, signals: &OwnedFd) -> Result<WaitStatus, Failure> {
    let (stdin, stdout) = (std::io::stdin(), std::io::stdout());
    let (mut typing, mut printing) = (true, true);
    loop {
        // Only what still matters is looked at: a terminal that has hung up would be ready for ever.
        let mut watched = vec![PollFd::new(child, PollFlags::IN), PollFd::new(signals, PollFlags::IN)];
        if printing {
            watched.push(PollFd::new(master, PollFlags::IN));
        }
        if typing {
            watched.push(PollFd::new(&stdin, PollFlags::IN));
        }
        poll_all(&mut watched, None)?;
        let is_ready = |at: usize| watched.get(at).is_some_and(|fd| !fd.revents().is_empty());
        let ready = [is_ready(0), printing && is_ready(2), typing && is_ready(2 + usize::from(printing))];
        pass_on(signals, child, Some(master))?;
        if ready[1] {
            // Everything that is there goes out before the end is looked at.
            printing = copy(master.as_fd(), stdout.as_fd());
        } else if ready[2] {
            typing = copy(stdin.as_fd(), master.as_fd());
            if !typing {
                // The caller's terminal is gone: hang up, as a telephone line would.
                child.signal(libc::SIGHUP)?;
            }
        } else if ready[0] {
            return Ok(child.wait(None)?.unwrap_or(WaitStatus::Unknown));
        }
    }
}

/// Copies what is there; false at the end of the source.
fn copy(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> bool {
    let mut buffer = [0; 8192];
    let count = match rustix::io::read(from, &mut buffer) {
        Ok(0) => return false,
        Ok(count) => count,
        Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => return true,
        Err(_) => return false,
    };
    let mut rest = &buffer[..count];
    while !rest.is_empty() {
        match rustix::io::write(to, rest) {
            Ok(written) => rest = &rest[written..],
            Err(rustix::io::Errno::INTR) => {}
            // Nobody reads any more: dropped, as a terminal would.
            Err(_) => break,
        }
    }
    true
}

/// Runs a host program in the guest's host view (`vnamespace -e`): host paths, host rights, the guest's mounts.
/// Replaces this process; returns only on failure.
///
/// # Errors
/// The view cannot be entered or the program not be executed.
pub fn execute_in_host_view(record: &Record, argv: &[OsString]) -> Result<std::convert::Infallible, Failure> {
    use std::os::unix::process::CommandExt as _;
    let directory = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
    crate::hostview::enter(record)?;
    let Some((program, arguments)) = argv.split_first() else {
        return Err(Failure::new("no program was named"));
    };
    // The directory as the view shows it, where it exists there.
    if std::env::set_current_dir(&directory).is_err() {
        std::env::set_current_dir(Path::new("/")).doing(|| "change to /".into())?;
    }
    let error = std::process::Command::new(program).args(arguments).exec();
    Err(Failure::new(format!("cannot execute {}", OsStr::new(program).to_string_lossy())).because(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &[u8] =
        b"root:x:0:0::/root:/bin/sh\nbroken\nwww:x:33:33::/:/bin/false\nevil:x:4294967295:0::/:\n";
    const GROUP: &[u8] = b"root:x:0:\nwww:x:33:\nadm:x:4:root,www\nhuge:x:99999999999:www\n";

    #[test]
    fn names_and_numbers_are_looked_up_in_the_guest() {
        let www = lookup(PASSWD, GROUP, b"www").unwrap();
        assert_eq!((www.uid, www.gid, www.groups), (33, 33, vec![4, 33]));
        let by_number = lookup(PASSWD, GROUP, b"33").unwrap();
        assert_eq!(by_number.groups, [4, 33]);
        let unknown = lookup(PASSWD, GROUP, b"777").unwrap();
        assert_eq!((unknown.uid, unknown.gid, unknown.groups), (777, 777, vec![]));
    }

    #[test]
    fn nobody_becomes_minus_one() {
        assert!(lookup(PASSWD, GROUP, b"nosuch").is_none());
        assert!(lookup(PASSWD, GROUP, b"evil").is_none());
        assert!(lookup(PASSWD, GROUP, b"4294967295").is_none());
    }

    #[test]
    fn words_of_an_errno_stand_alone() {
        assert_eq!(strerror(rustix::io::Errno::NOENT), "No such file or directory");
    }
}
