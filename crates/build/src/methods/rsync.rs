//! `rsync`: a tree from a directory or another host.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use crate::build::Build;
use crate::child;
use crate::error::{BuildError, Result};
use crate::method::{self, DEBUG, DISTRIBUTION, Management, Method, PKGMGMT, Tool, Work};
use crate::options::{OptionSpec, Takes};
use crate::site::Site;

/// What rsync is told unless `-o` says otherwise. `-H` keeps hard links, `-z` compresses, `-x` stays on the filesystem;
/// access lists and attributes are kept as well, which the original did not.
const DEFAULT: [&str; 4] =
    ["-HazxAX", "--numeric-ids", "--filter=-x security.selinux", "--filter=-x trusted.*"];

/// The method.
#[derive(Debug)]
pub struct Rsync;

#[derive(Debug, Default)]
struct Prepared {
    source: OsString,
    options: Vec<OsString>,
    more: Vec<OsString>,
    distribution: Option<OsString>,
    external: bool,
    debug: bool,
}

impl Method for Rsync {
    fn name(&self) -> &'static str {
        "rsync"
    }

    fn about(&self) -> &'static str {
        "Copies a tree with rsync, from a directory or HOST:DIRECTORY. More options of rsync go behind a second '--'."
    }

    fn usage(&self) -> &'static str {
        "(-s|--source SRC) [-d DIST] [-o OPT]… [--pkgmgmt] [-- RSYNC OPTION…]"
    }

    fn options(&self) -> &'static [OptionSpec] {
        static OPTIONS: [OptionSpec; 5] = [
            OptionSpec::both(b's', "source", Takes::Value("SRC"), "the tree to copy"),
            OptionSpec::short(
                b'o',
                Takes::Value("OPT"),
                "an option of rsync in place of -HazxAX --numeric-ids; repeatable",
            ),
            DISTRIBUTION,
            PKGMGMT,
            DEBUG,
        ];
        &OPTIONS
    }

    fn tools(&self) -> &'static [Tool] {
        &[Tool { program: "rsync", hint: "package rsync", optional: false }]
    }

    fn prepare(&self, words: &[OsString]) -> Result<Box<dyn Work>> {
        let parsed = method::parse(words, self.options())?;
        let mut prepared = Prepared { more: parsed.rest, ..Prepared::default() };
        for given in parsed.given {
            match given.spec.typed().as_str() {
                "--source" => prepared.source = given.into_value(),
                "-o" => prepared.options.push(given.into_value()),
                "-d" => prepared.distribution = Some(given.into_value()),
                "--pkgmgmt" => prepared.external = true,
                _ => prepared.debug = true,
            }
        }
        if prepared.source.is_empty() {
            let hint = "name the directory, or HOST:DIRECTORY, after '--': --source SRC";
            return Err(BuildError::MethodNeeds { what: "a source", hint });
        }
        Ok(Box::new(prepared))
    }
}

impl Prepared {
    /// Whether the source is on another host: a colon before the first slash, as rsync sees it.
    fn is_remote(&self) -> bool {
        let bytes = self.source.as_bytes();
        let first = bytes.iter().position(|byte| matches!(byte, b':' | b'/'));
        first.is_some_and(|at| bytes[at] == b':') || bytes.starts_with(b"rsync://")
    }
}

impl Work for Prepared {
    fn distribution(&self) -> Option<&OsStr> {
        self.distribution.as_deref()
    }

    fn management(&self) -> Management {
        if self.external { Management::External } else { Management::None }
    }

    fn check(&mut self, site: &Site) -> Result<()> {
        if site.program("rsync").is_none() {
            return Err(BuildError::NoTool { program: "rsync", hint: "install the package rsync" });
        }
        if !self.is_remote() {
            let path = Path::new(&self.source);
            if !path.is_dir() {
                return Err(BuildError::NoSource(path.to_owned()));
            }
            // A name such as `-x` is no option, and the working directory may change.
            self.source = std::path::absolute(path).map_err(|e| BuildError::file("find", path, e))?.into();
        }
        Ok(())
    }

    fn run(&mut self, build: &mut Build<'_>) -> Result<()> {
        let Some(rsync) = build.site.program("rsync") else {
            return Err(BuildError::NoTool { program: "rsync", hint: "install the package rsync" });
        };
        // The environment stays: a source on another host needs the administrator's keys.
        let mut command = std::process::Command::new(rsync);
        if self.options.is_empty() {
            command.args(DEFAULT);
        } else {
            command.args(&self.options);
        }
        let with_slash = |path: &OsStr| {
            let mut path = path.to_owned();
            if !path.as_bytes().ends_with(b"/") {
                path.push("/");
            }
            path
        };
        command
            .args(&self.more)
            .arg("--")
            .arg(with_slash(&self.source))
            .arg(with_slash(build.root.path().as_os_str()));
        build.output.note(&format!("copying {}", self.source.display()));
        let every_line = self.debug || build.debug;
        let output = &mut *build.output;
        child::capture(&mut command, None, &build.site.interrupt, &mut |line| {
            if every_line {
                output.note(line);
            }
        })
        .map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources() {
        let remote = |source: &str| Prepared { source: source.into(), ..Prepared::default() }.is_remote();
        assert!(remote("host:/dir") && remote("user@host:dir") && remote("rsync://host/module"));
        assert!(!remote("/dir:with/colon") && !remote("./a:b") && !remote("dir"));
        assert!(Rsync.prepare(&[]).is_err());
    }
}
