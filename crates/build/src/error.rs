//! Why a build did not happen, or did not finish.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;

use vserver_model::Xid;
use vserver_model::name::NameError;
use vserver_tree::TreeError;

use crate::archive::ArchiveError;
use crate::devs::DevsError;
use crate::options::OptionError;

/// What every fallible function of this crate returns.
pub type Result<T, E = BuildError> = std::result::Result<T, E>;

/// Why a build did not happen, or did not finish.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The words are no options.
    #[error(transparent)]
    Options(#[from] OptionError),
    /// An option's value makes no sense; `source` says why.
    #[error("'{}' is no value for {option}", value.display())]
    Value {
        /// The option as typed.
        option: String,
        /// Its value.
        value: OsString,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
        /// What to do.
        hint: Option<&'static str>,
    },
    /// No guest was named.
    #[error("no guest is named")]
    NoName,
    /// The name cannot be one.
    #[error(transparent)]
    Name(#[from] NameError),
    /// No `-m`.
    #[error("no build method is given")]
    NoMethod,
    /// A method that nobody knows.
    #[error("there is no build method '{}'", .0.display())]
    UnknownMethod(OsString),
    /// A method that we know of and do not have.
    #[error("the build method '{0}' comes with a later version of vserver")]
    LaterMethod(&'static str),
    /// A method of the original that will not come.
    #[error("the build method '{method}' does not exist here: {reason}")]
    NeverMethod {
        /// Its name.
        method: &'static str,
        /// Why not.
        reason: &'static str,
    },
    /// The number belongs to another guest.
    #[error("context {xid} is already in use by {}", by.display())]
    XidUsed {
        /// The number.
        xid: Xid,
        /// Who has it: a configuration file, or the link of a running context.
        by: PathBuf,
    },
    /// No number is left to give out.
    #[error("no context number is left above {0}")]
    NoXidLeft(u32),
    /// `context.next` holds no number.
    #[error("{} holds no context number", .0.display())]
    BadCounter(PathBuf),
    /// A base directory is missing.
    #[error("the {what} directory {} does not exist", path.display())]
    BaseMissing {
        /// Which: guest root, cache, package.
        what: &'static str,
        /// Where.
        path: PathBuf,
    },
    /// Something is there already.
    #[error("{} already exist{}", join_paths(.0), if .0.len() == 1 { "s" } else { "" })]
    Exists(Vec<PathBuf>),
    /// Another build of this guest is under way.
    #[error("guest '{0}' is being built, started or stopped by another command")]
    Busy(String),
    /// The distribution cannot be told.
    #[error("no distribution is named")]
    NoDistribution,
    /// A value is missing that the method needs.
    #[error("the method needs {what}")]
    MethodNeeds {
        /// What.
        what: &'static str,
        /// How to give it.
        hint: &'static str,
    },
    /// The source of rsync or clone is not there.
    #[error("there is no directory or guest '{}' to copy from", .0.display())]
    NoSource(PathBuf),
    /// A program is not installed.
    #[error("the program '{program}' is not installed")]
    NoTool {
        /// Its name.
        program: &'static str,
        /// How to get it.
        hint: &'static str,
    },
    /// A program could not be started.
    #[error("cannot run {}", program.display())]
    Start {
        /// Which.
        program: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A program failed.
    #[error("{} failed ({status}){}", program.display(), Tail(.tail))]
    Failed {
        /// Which.
        program: PathBuf,
        /// How it ended, in words.
        status: String,
        /// The last lines it wrote.
        tail: Vec<String>,
        /// What to do.
        hint: Option<String>,
    },
    /// The tool ended well and left nothing that could be a system.
    #[error("{} left no system in the guest's tree{}", program.display(), Tail(.tail))]
    NothingBuilt {
        /// Which.
        program: PathBuf,
        /// The last lines it wrote.
        tail: Vec<String>,
    },
    /// An address that the debootstrap package cannot be fetched from.
    #[error("cannot fetch debootstrap from '{uri}'{reason}")]
    Fetch {
        /// The address.
        uri: String,
        /// `: why`, or nothing when the cause is the source.
        reason: String,
        /// The file to put a better one into.
        hint: String,
    },
    /// An archive.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// A device table.
    #[error(transparent)]
    Devs(#[from] DevsError),
    /// A file or directory.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// Namespaces for a tool.
    #[error("cannot set the tool apart from the host")]
    Kernel(#[from] vserver_kernel::Fault),
    /// SIGINT or SIGTERM.
    #[error("interrupted")]
    Interrupted,
}

impl BuildError {
    /// A file operation that failed.
    pub fn file(op: &'static str, path: impl Into<PathBuf>, source: impl Into<io::Error>) -> Self {
        Self::Tree(TreeError::new(op, path, source))
    }

    /// A value that an option cannot have.
    pub fn value(
        option: impl Into<String>,
        value: impl Into<OsString>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
        hint: Option<&'static str>,
    ) -> Self {
        Self::Value { option: option.into(), value: value.into(), source: source.into(), hint }
    }

    /// What the administrator can do about it, when we know.
    pub fn hint(&self) -> Option<String> {
        let words = match self {
            Self::Options(error) => error.hint(),
            Self::Value { hint, .. } => *hint,
            Self::NoName => Some("name the guest: vserver NAME build …, or -n NAME"),
            Self::Name(error) => error.hint(),
            Self::NoMethod | Self::UnknownMethod(_) => {
                Some("choose one with -m: skeleton, template, debootstrap, rsync or clone")
            }
            Self::LaterMethod(_) => {
                Some("until then build the tree with the tool itself, and use -m rsync or template")
            }
            Self::XidUsed { .. } => Some("select another number, or leave --context out to get a free one"),
            Self::NoXidLeft(_) => {
                Some("name a free number with --context, or put a smaller one into context.next")
            }
            Self::BadCounter(_) => Some("write a number from 2 to 65535 into it, or remove it"),
            Self::BaseMissing { .. } => Some("create it, or name another one"),
            Self::Exists(_) => Some(
                "--force renames what is there and builds anew; --i-know-its-there builds into an existing tree",
            ),
            Self::Busy(_) => Some("wait until it is done"),
            Self::NoDistribution => Some("name it after '--': -d DIST"),
            Self::MethodNeeds { hint, .. } | Self::NoTool { hint, .. } => Some(*hint),
            Self::Failed { hint, .. } => return hint.clone(),
            Self::Fetch { hint, .. } => return Some(hint.clone()),
            Self::Archive(error) => error.hint(),
            Self::Devs(error) => error.hint(),
            Self::Tree(error) => error.hint(),
            Self::NeverMethod { .. }
            | Self::NoSource(_)
            | Self::Start { .. }
            | Self::NothingBuilt { .. }
            | Self::Kernel(_)
            | Self::Interrupted => None,
        };
        words.map(str::to_owned)
    }

    /// The exit code: 1 for everything, as the original's (130 when the user ended it, as a shell would say).
    pub fn exit_code(&self) -> u8 {
        if matches!(self, Self::Interrupted) { 130 } else { 1 }
    }
}

/// Lines under an error's first one.
struct Tail<'a>(&'a [String]);

impl std::fmt::Display for Tail<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if !self.0.is_empty() {
            f.write_str(", its last words:")?;
        }
        self.0.iter().try_for_each(|line| write!(f, "\n    {line}"))
    }
}

fn join_paths(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(" and ")
}
