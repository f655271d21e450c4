//! `skeleton`: the configuration and an empty tree; a command of the administrator may fill it.

use std::ffi::{OsStr, OsString};
use std::process::Command;

use crate::build::Build;
use crate::child;
use crate::error::Result;
use crate::method::{self, DEBUG, DISTRIBUTION, Management, Method, PKGMGMT, Tool, Work};
use crate::options::OptionSpec;

/// The method.
#[derive(Debug)]
pub struct Skeleton;

#[derive(Debug, Default)]
struct Prepared {
    distribution: Option<OsString>,
    external: bool,
    command: Vec<OsString>,
}

impl Method for Skeleton {
    fn name(&self) -> &'static str {
        "skeleton"
    }

    fn about(&self) -> &'static str {
        "An empty tree with /dev, /etc and /proc. The command, if there is one, then runs on the host, in the \
         directory where this one was called, with VDIR and CONFDIR in its environment."
    }

    fn usage(&self) -> &'static str {
        "[-d DIST] [--pkgmgmt] [CMD ARG…]"
    }

    fn options(&self) -> &'static [OptionSpec] {
        static OPTIONS: [OptionSpec; 3] = [DISTRIBUTION, PKGMGMT, DEBUG];
        &OPTIONS
    }

    fn tools(&self) -> &'static [Tool] {
        &[]
    }

    fn prepare(&self, words: &[OsString]) -> Result<Box<dyn Work>> {
        let parsed = method::parse(words, self.options())?;
        let mut prepared = Prepared { command: parsed.rest, ..Prepared::default() };
        for given in parsed.given {
            match given.spec.typed().as_str() {
                "-d" => prepared.distribution = Some(given.into_value()),
                "--pkgmgmt" => prepared.external = true,
                _ => {}
            }
        }
        Ok(Box::new(prepared))
    }
}

impl Work for Prepared {
    fn distribution(&self) -> Option<&OsStr> {
        self.distribution.as_deref()
    }

    fn management(&self) -> Management {
        if self.external { Management::External } else { Management::None }
    }

    fn run(&mut self, build: &mut Build<'_>) -> Result<()> {
        let Some((program, arguments)) = self.command.split_first() else { return Ok(()) };
        let mut command = Command::new(program);
        command.args(arguments).env("VDIR", build.root.path()).env("CONFDIR", build.config.path());
        child::run(&mut command, &build.site.interrupt)
    }
}
