//! Builds into temporary prefixes, as root, through the same door as the command line.
//!
//! A missing need ends a trial as *ignored* with the reason; a need listed in `E2E_REQUIRE` makes it a failure.

#![expect(clippy::unwrap_used, reason = "an unwrap in a test is an assertion")]

mod copies;
mod debootstrap;
mod place;
mod skeleton;
mod template;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Completion, Failed, Trial};

/// What a trial asks of the machine.
#[derive(Clone, Copy, Debug)]
pub enum Need {
    /// Root with `CAP_MKNOD`.
    Root,
    /// A program of the host.
    Program(&'static str),
    /// A Debian mirror that answers.
    Mirror,
}

impl Need {
    fn name(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Program(name) => name,
            Self::Mirror => "mirror",
        }
    }

    fn is_there(self) -> bool {
        match self {
            Self::Root => rustix::process::geteuid().is_root(),
            Self::Program(name) => place::program(name).is_some(),
            Self::Mirror => place::mirror_answers(),
        }
    }
}

/// One trial.
pub fn trial(name: &str, needs: &'static [Need], body: fn()) -> Trial {
    Trial::ignorable_test(name, move || {
        let required = std::env::var("E2E_REQUIRE").unwrap_or_default();
        match needs.iter().find(|need| !need.is_there()) {
            Some(need) if required.split(',').any(|word| word == need.name()) => {
                Err(Failed::from(format!("this machine lacks {}", need.name())))
            }
            Some(need) => Ok(Completion::ignored_with(format!("needs {}", need.name()))),
            None => {
                body();
                Ok(Completion::Completed)
            }
        }
    })
}

fn main() -> ExitCode {
    let trials = [skeleton::trials(), template::trials(), copies::trials(), debootstrap::trials()]
        .into_iter()
        .flatten()
        .collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
