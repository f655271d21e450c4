//! What the services of the host have in common: their verbs, and the files that tell that one was started.

use std::fs;
use std::path::PathBuf;

use vserver_model::Layout;

use crate::report::{Exit, Failure};
use crate::table::{Call, Complete};

/// The verbs, for completion.
pub const VERBS: Complete = Complete::Words(&["start", "stop", "restart", "reload", "condrestart", "status"]);

/// Exit codes of the services.
pub const EXITS: &[(&str, &str)] = &[
    ("0", "done; status: it was started"),
    ("1", "it failed; status: it was not started"),
    ("3", "no such verb"),
];

/// What a service is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// `start`
    Start,
    /// `stop`
    Stop,
    /// `restart`
    Restart,
    /// `reload`, `force-reload`
    Reload,
    /// `condrestart`, `try-restart`
    Condrestart,
    /// `status`
    Status,
}

/// The one operand.
///
/// # Errors
/// The usage, with the exit code that init scripts have for it.
pub fn verb(call: &Call) -> Result<Verb, Failure> {
    let words: Vec<&str> = call.given.operands.iter().filter_map(|word| word.to_str()).collect();
    Ok(match words.as_slice() {
        ["start"] => Verb::Start,
        ["stop"] => Verb::Stop,
        ["restart"] => Verb::Restart,
        ["reload" | "force-reload"] => Verb::Reload,
        ["condrestart" | "try-restart"] => Verb::Condrestart,
        ["status"] => Verb::Status,
        _ => {
            let name = call.command.name;
            return Err(Failure::fixed(
                format!("Usage: {name} {{start|stop|restart|reload|force-reload|condrestart|status}}"),
                3,
            ));
        }
    })
}

/// A file that tells that a service, or a part of it, was started: `/run/lock/subsys/NAME`.
#[derive(Debug)]
pub struct Mark(PathBuf);

impl Mark {
    /// The mark of that name; a slash cannot lead elsewhere.
    pub fn new(layout: &Layout, name: &str) -> Self {
        Self(layout.lockdir.with_file_name("subsys").join(name.replace('/', "_")))
    }

    /// Whether it is there.
    pub fn is_set(&self) -> bool {
        self.0.exists()
    }

    /// Makes it.
    ///
    /// # Errors
    /// The file or its directory cannot be made.
    pub fn set(&self) -> Result<(), Failure> {
        let made = self.0.parent().map_or(Ok(()), fs::create_dir_all);
        made.and_then(|()| fs::write(&self.0, ""))
            .map_err(|error| Failure::because(format!("cannot make {}", self.0.display()), error))
    }

    /// Removes it.
    ///
    /// # Errors
    /// It is there and cannot be removed.
    pub fn clear(&self) -> Result<(), Failure> {
        match fs::remove_file(&self.0) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Failure::because(format!("cannot remove {}", self.0.display()), error))
            }
            _ => Ok(()),
        }
    }
}

/// The worse of two exits.
pub fn worse(one: Exit, other: Exit) -> Exit {
    if one == Exit::OK { other } else { one }
}
