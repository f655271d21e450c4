//! Really trying what the kernel offers.
//!
//! A trial that changes anything runs in a child of its own, so that its namespaces, limits and filters end with it.
//! The only things with a name that a trial may make are scratch cgroups; the parent makes and removes those
//! ([`cgroups::Scratch`]), so that they go even if the child dies. A trial may make the kernel load a module, as the
//! real use would.

pub(crate) mod bpf;
pub(crate) mod cgroups;
pub(crate) mod files;
pub(crate) mod mounts;
pub(crate) mod namespaces;
pub(crate) mod network;
pub(crate) mod process;

use std::cell::OnceCell;
use std::fmt;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use vserver_kernel::process::{Pidfd, wait_readable};
use vserver_kernel::sys::{self, Forked};
use vserver_kernel::{Fault, ns};

use crate::Host;
use vserver_kernel::btf::Btf;

/// What a trial has shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "lowercase")]
pub enum CheckResult {
    /// It works here.
    Yes {
        /// A detail worth showing (`ext4`, `ABI 7`); empty for none.
        note: String,
    },
    /// It does not work here.
    No {
        /// The kernel's answer in words, or what was seen instead.
        why: String,
    },
    /// It could not be tried.
    Unknown {
        /// Why not.
        why: String,
    },
}

impl CheckResult {
    /// Whether the answer is yes.
    pub fn is_yes(&self) -> bool {
        matches!(self, Self::Yes { .. })
    }

    /// The answer as a word: `yes`, `no`, `unknown`.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Yes { .. } => "yes",
            Self::No { .. } => "no",
            Self::Unknown { .. } => "unknown",
        }
    }

    /// The detail that goes with the answer; empty for none.
    pub fn detail(&self) -> &str {
        match self {
            Self::Yes { note } => note,
            Self::No { why } | Self::Unknown { why } => why,
        }
    }
}

/// How a feature is tried.
#[derive(Clone, Copy)]
pub(crate) enum Probe {
    /// By looking: anybody may, nothing changes.
    Look(Trial),
    /// By doing it, as root, in a child.
    Child(Trial),
}

impl fmt::Debug for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Look(_) => "Look",
            Self::Child(_) => "Child",
        })
    }
}

/// One trial. The text of success is a detail worth showing, mostly empty.
pub(crate) type Trial = fn(&Scene) -> Tried;
pub(crate) type Tried = Result<String, Refusal>;

/// Why a trial did not succeed.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The feature is not there, in words.
    Missing(String),
    /// The trial itself could not be made.
    Untried(String),
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self::Missing(format!("{}: {}", fault.op, in_words(&fault.source)))
    }
}

/// An error of a call that has no [`Fault`]: `op` is named like its manual page.
pub(crate) fn refused<E: Into<io::Error>>(op: &'static str) -> impl FnOnce(E) -> Refusal {
    move |error| Refusal::Missing(format!("{op}: {}", in_words(&error.into())))
}

/// A step that only prepares the trial has failed.
pub(crate) fn unprepared<E: Into<io::Error>>(what: &'static str) -> impl FnOnce(E) -> Refusal {
    move |error| Refusal::Untried(format!("{what}: {}", in_words(&error.into())))
}

pub(crate) fn missing<T>(why: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal::Missing(why.into()))
}

/// The C library's text without the "(os error N)" that Rust adds.
fn in_words(error: &io::Error) -> String {
    let text = error.to_string();
    text.split_once(" (os error").map_or_else(|| text.clone(), |(words, _)| words.to_owned())
}

/// What the trials share.
pub(crate) struct Scene {
    /// The machine as [`Host::quick`] sees it.
    pub host: Host,
    /// The directory that holds the guests, or the nearest one above it that exists.
    pub guests: PathBuf,
    /// The scratch cgroups; the error text when they could not be made.
    pub groups: Result<cgroups::Scratch, String>,
    /// The kernel's types, read once.
    pub btf: OnceCell<Result<Btf, String>>,
}

impl Scene {
    /// The scratch group in cgroup2.
    pub fn group(&self) -> Result<&OwnedFd, Refusal> {
        match &self.groups {
            Ok(scratch) => scratch.v2().map_err(Refusal::Missing),
            Err(why) => Err(Refusal::Missing(why.clone())),
        }
    }

    /// The id of a function in the kernel's type information.
    pub fn function_id(&self, name: &str) -> Result<u32, Refusal> {
        let btf = self.btf.get_or_init(|| Btf::of_kernel().map_err(|error| in_words(&error)));
        let btf = btf.as_ref().map_err(|why| Refusal::Missing(format!("no type information: {why}")))?;
        btf.function(name).map_or_else(|| missing(format!("this kernel has no {name}")), Ok)
    }
}

/// `CAP_SYS_ADMIN`
pub(crate) const SYS_ADMIN: u32 = 21;
/// Longer than any trial takes on a very busy machine; a trial that hangs must not hang the survey.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn run(probe: Probe, scene: &Scene) -> CheckResult {
    match probe {
        Probe::Look(trial) => result_of(trial(scene)),
        Probe::Child(_) if !scene.host.capabilities.has(SYS_ADMIN) => {
            CheckResult::Unknown { why: "only root can try this".to_owned() }
        }
        Probe::Child(trial) => in_child(|| result_of(trial(scene))).unwrap_or_else(|fault| {
            CheckResult::Unknown { why: format!("{}: {}", fault.op, in_words(&fault.source)) }
        }),
    }
}

fn result_of(tried: Tried) -> CheckResult {
    match tried {
        Ok(note) => CheckResult::Yes { note },
        Err(Refusal::Missing(why)) => CheckResult::No { why },
        Err(Refusal::Untried(why)) => CheckResult::Unknown { why },
    }
}

/// Runs a trial in a child and brings its result back through a pipe.
fn in_child(trial: impl FnOnce() -> CheckResult) -> Result<CheckResult, Fault> {
    let (mut answer, mut tell) = io::pipe().map_err(|error| Fault::new("pipe2(2)", "a pipe", error))?;
    match sys::fork()? {
        Forked::Child => {
            // Ends with its parent, and takes what it made along.
            drop(sys::set_parent_death_signal(Some(Signal::KILL)));
            let text = serde_json::to_vec(&trial()).unwrap_or_default();
            // If nobody reads any more there is nobody to tell.
            drop(tell.write_all(&text));
            sys::exit_now(0)
        }
        Forked::Parent { pidfd, .. } => {
            drop(tell);
            let pidfd = Pidfd::from(pidfd);
            let in_time = wait_readable(answer.as_fd(), Some(PATIENCE))?;
            let mut text = Vec::new();
            if in_time {
                // Short enough for one buffer of the pipe: what is readable is followed by its end. A read error
                // leaves too little text, and that is an answer too.
                drop(answer.read_to_end(&mut text));
            }
            pidfd.signal(Signal::KILL.as_raw())?;
            pidfd.wait(None)?;
            Ok(serde_json::from_slice(&text).unwrap_or_else(|_| CheckResult::Unknown {
                why: if in_time { "the trial ended without an answer" } else { "no answer in time" }
                    .to_owned(),
            }))
        }
    }
}

/// A grandchild that must end by itself: makes it with `args`, runs `inside` in it, and gives its result.
///
/// The result is the errno of what failed inside, or 0.
pub(crate) fn grandchild(
    args: &sys::CloneArgs<'_>,
    inside: impl FnOnce() -> io::Result<()>,
) -> Result<(), Refusal> {
    use vserver_kernel::process::WaitStatus;
    match sys::clone3(args)? {
        Forked::Child => {
            let code = inside().err().map_or(0, |error| error.raw_os_error().unwrap_or(127));
            sys::exit_now(code)
        }
        Forked::Parent { pidfd, .. } => match Pidfd::from(pidfd).wait(None)? {
            Some(WaitStatus::Exited(0)) => Ok(()),
            Some(WaitStatus::Exited(errno)) => missing(in_words(&io::Error::from_raw_os_error(errno))),
            _ => missing("the process was killed"),
        },
    }
}

/// The process ends when the returned handle is dropped.
pub(crate) struct Sleeper(pub Pidfd);

impl Sleeper {
    /// Makes a process that waits to be killed.
    pub fn start(args: &sys::CloneArgs<'_>) -> Result<Self, Refusal> {
        match sys::clone3(args)? {
            Forked::Child => loop {
                drop(sys::set_parent_death_signal(Some(Signal::KILL)));
                std::thread::sleep(PATIENCE);
            },
            Forked::Parent { pidfd, .. } => Ok(Self(Pidfd::from(pidfd))),
        }
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        // Already dead is as good.
        drop(self.0.signal(Signal::KILL.as_raw()));
        drop(self.0.wait(None));
    }
}

/// The user namespace of a trial: ids that no guest and no account has.
pub(crate) const SCRATCH_IDS: ns::IdRange = ns::IdRange { inside: 0, outside: 0xeee0_0000, count: 65_536 };
