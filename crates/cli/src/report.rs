//! The one place where a failure becomes words on the standard error, and an exit code.
//!
//! ```text
//! vserver web1 start: cannot id-map /vservers/web1 (an nfs filesystem)
//!   because: mount_setattr(2): Invalid argument
//!   set in: /etc/vservers/web1/spaces/user:1
//!   hint: keep the guest on ext4, xfs, btrfs or tmpfs, or start it without an id map
//!   undone: cgroup vservers/web1
//! ```

use std::error::Error;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::PathBuf;

use crate::args::BadArgs;
use crate::output::{OutputError, colour_on};

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// With this code.
    Code(u8),
    /// The program that the command supervised died by this signal: so do we.
    Signal(i32),
}

impl Exit {
    /// All went well.
    pub const OK: Self = Self::Code(0);

    /// 0 for yes, 1 for no.
    pub fn yes(answer: bool) -> Self {
        Self::Code(u8::from(!answer))
    }
}

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub enum Failure {
    /// The arguments are wrong: getopt's line, then where the help is.
    Usage(String),
    /// A text that the contract fixes, printed without the command's name.
    Fixed {
        /// Lines without the last newline.
        text: String,
        /// Exit code.
        code: u8,
    },
    /// Everything else.
    Trouble(Box<Trouble>),
}

/// A failure with all that is known about it.
#[derive(Debug)]
pub struct Trouble {
    /// What failed; its sources are printed as `because`.
    pub error: Box<dyn Error + Send + Sync>,
    /// The configuration file and line that asked for it; line 0: the file as a whole.
    pub set_in: Option<(PathBuf, u32)>,
    /// The way out.
    pub hint: Option<String>,
    /// What was taken back.
    pub undone: Vec<String>,
    /// Exit code, if it is not the command's usual one.
    pub code: Option<u8>,
}

/// A failure that has no other cause than what its text says.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Plain(String);

/// A failure whose text and cause come from two places.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
struct Because {
    text: String,
    source: io::Error,
}

impl Failure {
    /// A failure whose text says all.
    pub fn plain(text: impl Into<String>) -> Self {
        Self::of(Plain(text.into()))
    }

    /// A failure that an error of some module tells.
    pub fn of(error: impl Error + Send + Sync + 'static) -> Self {
        Self::Trouble(Box::new(Trouble::new(error)))
    }

    /// A failed operation on a named object, and the system's reason.
    pub fn because(text: impl Into<String>, source: io::Error) -> Self {
        Self::of(Because { text: text.into(), source })
    }

    /// A text that the contract fixes.
    pub fn fixed(text: impl Into<String>, code: u8) -> Self {
        Self::Fixed { text: text.into(), code }
    }

    /// Adds the way out.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        if let Self::Trouble(trouble) = &mut self {
            trouble.hint = Some(hint.into());
        }
        self
    }

    /// Sets the exit code.
    #[must_use]
    pub fn code(mut self, exit: u8) -> Self {
        match &mut self {
            Self::Trouble(trouble) => trouble.code = Some(exit),
            Self::Fixed { code, .. } => *code = exit,
            Self::Usage(_) => {}
        }
        self
    }
}

impl From<BadArgs> for Failure {
    fn from(bad: BadArgs) -> Self {
        Self::Usage(bad.to_string())
    }
}

impl From<vserver_kernel::Fault> for Failure {
    fn from(fault: vserver_kernel::Fault) -> Self {
        let text = format!("{} failed on {}", fault.op, fault.object);
        Self::because(text, fault.source)
    }
}

impl From<OutputError> for Failure {
    fn from(error: OutputError) -> Self {
        let code = error.is_reader_gone().then_some(0);
        Self::Trouble(Box::new(Trouble { code, ..Trouble::new(error) }))
    }
}

impl Trouble {
    /// A failure of which only the error is known.
    pub fn new(error: impl Error + Send + Sync + 'static) -> Self {
        Self { error: Box::new(error), set_in: None, hint: None, undone: Vec::new(), code: None }
    }

    /// The text for people, `who` being the command as it was typed.
    pub fn text(&self, who: &str) -> String {
        let mut text = format!("{who}: {}", in_words(&self.error.to_string()));
        let mut source = self.error.source();
        while let Some(cause) = source {
            push(&mut text, "because", &in_words(&cause.to_string()));
            source = cause.source();
        }
        if let Some((file, line)) = &self.set_in {
            let place =
                if *line == 0 { file.display().to_string() } else { format!("{}:{line}", file.display()) };
            push(&mut text, "set in", &place);
        }
        if let Some(hint) = &self.hint {
            push(&mut text, "hint", hint);
        }
        if !self.undone.is_empty() {
            push(&mut text, "undone", &self.undone.join(", "));
        }
        text
    }
}

fn push(text: &mut String, label: &str, value: &str) {
    write!(text, "\n  {label}: {value}").expect("a String takes all");
}

/// Takes `(os error 22)` out of a text: the words before it say the same.
pub fn in_words(text: &str) -> String {
    let mut rest = text;
    let mut words = String::with_capacity(text.len());
    while let Some((before, after)) = rest.split_once(" (os error ") {
        match after.split_once(')') {
            Some((number, tail)) if number.bytes().all(|b| b.is_ascii_digit()) => {
                words.push_str(before);
                rest = tail;
            }
            _ => break,
        }
    }
    words.push_str(rest);
    words
}

/// Prints `failure` and gives the exit code. `who` is the command in words (`vserver web1 start`), `argv0` the
/// program as it was called, `code` the command's usual error code.
pub fn print(failure: &Failure, who: &str, argv0: &str, code: u8) -> u8 {
    match failure {
        Failure::Usage(line) => {
            say(&format!("{argv0}: {line}\nTry '{argv0} --help' for more information."));
            code
        }
        Failure::Fixed { text, code } => {
            say(text);
            *code
        }
        Failure::Trouble(trouble) => {
            if trouble.error.downcast_ref::<OutputError>().is_some_and(OutputError::is_reader_gone) {
                return 0;
            }
            let text = trouble.text(who);
            if colour_on(&io::stderr()) {
                let (first, rest) = text.split_once('\n').unwrap_or((&text, ""));
                say(&format!("\x1b[31m{first}\x1b[0m{}{rest}", if rest.is_empty() { "" } else { "\n" }));
            } else {
                say(&text);
            }
            trouble.code.unwrap_or(code)
        }
    }
}

/// One message on the standard error, at once and without a second try: if it is closed, nobody reads it.
pub fn say(text: &str) {
    drop(writeln!(io::stderr(), "{text}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot id-map /vservers/web1 (an nfs filesystem)")]
    struct IdMap {
        #[source]
        source: Call,
    }
    #[derive(Debug, thiserror::Error)]
    #[error("mount_setattr(2): {0}")]
    struct Call(io::Error);

    #[test]
    fn a_failure_reads_as_the_house_style_says() {
        let error = IdMap { source: Call(io::Error::from_raw_os_error(22)) };
        let trouble = Trouble {
            set_in: Some((PathBuf::from("/etc/vservers/web1/spaces/user"), 1)),
            hint: Some("start it without an id map".into()),
            undone: vec!["address 203.0.113.5/24 on eth0".into(), "cgroup vservers/web1".into()],
            ..Trouble::new(error)
        };
        assert_eq!(
            trouble.text("vserver web1 start"),
            "vserver web1 start: cannot id-map /vservers/web1 (an nfs filesystem)\n\
             \x20 because: mount_setattr(2): Invalid argument\n\
             \x20 set in: /etc/vservers/web1/spaces/user:1\n\
             \x20 hint: start it without an id map\n\
             \x20 undone: address 203.0.113.5/24 on eth0, cgroup vservers/web1"
        );
    }

    #[test]
    fn only_error_numbers_are_taken_out() {
        assert_eq!(in_words("a: Invalid argument (os error 22), b"), "a: Invalid argument, b");
        assert_eq!(in_words("x (os error y)"), "x (os error y)");
        assert_eq!(in_words("plain"), "plain");
    }
}
