//! Running programs in a trial, with a time limit and with everything shown when an expectation fails.

use crate::{place, slowly};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How long a program may take unless the trial says otherwise.
const PATIENCE: Duration = Duration::from_secs(90);

/// A program to be run: the one under test by one of its names, or one of the host's.
pub struct Program {
    command: Command,
    shown: String,
    patience: Duration,
    input: Option<Vec<u8>>,
}

/// `vserver ARGUMENTS`, with nothing on its standard input. The result must be looked at.
#[must_use]
pub fn vserver<A: AsRef<OsStr>>(arguments: &[A]) -> Done {
    Program::named("vserver").args(arguments).run()
}

/// Another name of the multi-call program (`vserver-stat`, `vkill` …).
#[must_use]
pub fn tool<A: AsRef<OsStr>>(name: &str, arguments: &[A]) -> Done {
    Program::named(name).args(arguments).run()
}

/// A program of the host.
#[must_use]
pub fn host<A: AsRef<OsStr>>(program: &str, arguments: &[A]) -> Done {
    Program::of_host(program).args(arguments).run()
}

impl Program {
    /// The program under test by one of its names, through a link as it is installed.
    ///
    /// # Panics
    ///
    /// When the link cannot be made.
    pub fn named(name: &str) -> Self {
        let links = PathBuf::from("/run/e2e/bin");
        fs::create_dir_all(&links).expect("/run is ours");
        let link = links.join(name);
        if !link.exists() {
            std::os::unix::fs::symlink(place::program(), &link).expect("the directory was just made");
        }
        Self::new(Command::new(link), name)
    }

    /// A program of the host, found as a shell would.
    pub fn of_host(name: &str) -> Self {
        Self::new(Command::new(name), name)
    }

    fn new(mut command: Command, shown: &str) -> Self {
        command
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", "/root")
            .env("TERM", "xterm")
            .env("LANG", "C.UTF-8")
            .current_dir("/root");
        // A trial on the host itself has none: what it shows is the usual place.
        if let Some(top) = std::env::var_os("VSERVER_CGROUP_TOP") {
            command.env("VSERVER_CGROUP_TOP", top);
        }
        Self { command, shown: shown.to_owned(), patience: PATIENCE, input: None }
    }

    /// Appends arguments.
    #[must_use]
    pub fn args<A: AsRef<OsStr>>(mut self, arguments: &[A]) -> Self {
        for argument in arguments {
            self.shown.push(' ');
            self.shown.push_str(&argument.as_ref().to_string_lossy());
            self.command.arg(argument);
        }
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Runs in this directory instead of `/root`.
    #[must_use]
    pub fn directory(mut self, directory: impl AsRef<std::path::Path>) -> Self {
        self.command.current_dir(directory);
        self
    }

    /// Gives this on the standard input.
    #[must_use]
    pub fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = Some(bytes.into());
        self
    }

    /// Allows more time than the usual 90 seconds.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// The bare command and its words, for [`crate::Terminal`].
    pub(crate) fn into_parts(self) -> (Command, String) {
        (self.command, self.shown)
    }

    /// Runs it to its end.
    ///
    /// # Panics
    ///
    /// When it cannot be started, or does not end in time.
    #[must_use]
    pub fn run(self) -> Done {
        let patience = self.patience;
        self.start().wait(patience)
    }

    /// Starts it and returns at once.
    ///
    /// Output goes to files, not to pipes: a guest's daemon that keeps the other end would keep a pipe open for ever.
    ///
    /// # Panics
    ///
    /// When it cannot be started.
    pub fn start(mut self) -> Running {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        // Trials on the host itself share the directory.
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let base = PathBuf::from(format!("/run/e2e/{}-{number}", std::process::id()));
        fs::create_dir_all("/run/e2e").expect("/run is ours");
        let (stdout, stderr) = (base.with_extension("out"), base.with_extension("err"));
        let stdin = self.input.as_ref().map_or_else(Stdio::null, |bytes| {
            let path = base.with_extension("in");
            fs::write(&path, bytes).expect("/run is ours");
            Stdio::from(File::open(path).expect("just written"))
        });
        self.command
            .stdin(stdin)
            .stdout(File::create_new(&stdout).expect("/run is ours"))
            .stderr(File::create_new(&stderr).expect("/run is ours"));
        eprintln!("$ {}", self.shown);
        let child = self.command.spawn().unwrap_or_else(|error| panic!("{}: {error}", self.shown));
        Running { child, shown: self.shown, stdout, stderr, begun: Instant::now() }
    }
}

/// A program that runs.
pub struct Running {
    child: Child,
    shown: String,
    stdout: PathBuf,
    stderr: PathBuf,
    begun: Instant,
}

impl Running {
    /// Its process id, in the trial's PID namespace.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Kills it as an out-of-memory killer would.
    ///
    /// # Panics
    ///
    /// When the kernel refuses.
    pub fn kill(&mut self) {
        self.child.kill().expect("it is our child");
    }

    /// Waits for its end.
    ///
    /// # Panics
    ///
    /// When it takes longer than `patience`.
    pub fn wait(mut self, patience: Duration) -> Done {
        let patience = slowly(patience);
        let left = patience.saturating_sub(self.begun.elapsed());
        let status = ended_within(&mut self.child, left).expect("it is our child");
        let read = |path: &PathBuf| fs::read(path).expect("we made it");
        let Some(status) = status else {
            self.child.kill().expect("it is our child");
            let (out, err) = (read(&self.stdout), read(&self.stderr));
            panic!(
                "`{}` does not end within {} s\n--- stdout\n{}\n--- stderr\n{}",
                self.shown,
                patience.as_secs(),
                String::from_utf8_lossy(&out),
                String::from_utf8_lossy(&err)
            );
        };
        let done = Done { shown: self.shown, status, stdout: read(&self.stdout), stderr: read(&self.stderr) };
        eprintln!("{done}");
        done
    }
}

/// Waits for the end of a child, without looking again and again: where trials run side by side on an emulated
/// processor, nothing costs as much as waking up. `None` when it has not ended within that time.
pub fn ended_within(child: &mut Child, time: Duration) -> io::Result<Option<ExitStatus>> {
    let until = Instant::now() + time;
    let process = pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None);
        }
        let left = Timespec::try_from(left).expect("no trial waits for centuries");
        match poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&left)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// A program that has ended, and what it said.
pub struct Done {
    shown: String,
    /// How it ended.
    pub status: ExitStatus,
    /// What it wrote to standard output.
    pub stdout: Vec<u8>,
    /// What it wrote to standard error.
    pub stderr: Vec<u8>,
}

impl std::fmt::Display for Done {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for line in self.out().lines() {
            writeln!(to, "  1: {line}")?;
        }
        for line in self.err().lines() {
            writeln!(to, "  2: {line}")?;
        }
        write!(to, "  `{}`: {}", self.shown, self.status)
    }
}

impl Done {
    /// Standard output as text.
    pub fn out(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard error as text.
    pub fn err(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// The exit status; a death by signal counts as 128 and its number.
    pub fn exit(&self) -> i32 {
        self.status.code().unwrap_or_else(|| 128 + self.status.signal().unwrap_or(0))
    }

    /// It must have succeeded.
    ///
    /// # Panics
    ///
    /// When it has not.
    #[track_caller]
    pub fn ok(&self) -> &Self {
        self.code(0)
    }

    /// It must have ended with this status.
    ///
    /// # Panics
    ///
    /// When it has not.
    #[track_caller]
    pub fn code(&self, wanted: i32) -> &Self {
        assert!(self.exit() == wanted, "wanted status {wanted} of\n{self}");
        self
    }

    /// Standard output must contain this.
    ///
    /// # Panics
    ///
    /// When it does not.
    #[track_caller]
    pub fn says(&self, part: &str) -> &Self {
        assert!(self.out().contains(part), "wanted {part:?} on standard output of\n{self}");
        self
    }

    /// Standard output must be exactly this.
    ///
    /// # Panics
    ///
    /// When it is not.
    #[track_caller]
    pub fn says_exactly(&self, text: &str) -> &Self {
        assert!(self.out() == text, "wanted exactly {text:?} on standard output of\n{self}");
        self
    }

    /// Standard error must contain this.
    ///
    /// # Panics
    ///
    /// When it does not.
    #[track_caller]
    pub fn complains(&self, part: &str) -> &Self {
        assert!(self.err().contains(part), "wanted {part:?} on standard error of\n{self}");
        self
    }
}
