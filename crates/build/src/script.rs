//! A distribution's `initpre` and `initpost`: programs of the administrator, run on the host.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::Mode;
use vserver_tree::Root;

use crate::child;
use crate::error::Result;
use crate::site::{Site, is_executable};

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Before the method.
    Before,
    /// After it.
    After,
}

impl Moment {
    fn file(self) -> &'static str {
        match self {
            Self::Before => "initpre",
            Self::After => "initpost",
        }
    }
}

/// The program of a distribution, if it has one that can be run.
pub fn find(site: &Site, distribution: Option<&OsStr>, moment: Moment) -> Option<PathBuf> {
    let dirs = site.distribution_dirs(distribution?);
    dirs.into_iter().map(|dir| dir.join(moment.file())).find(|path| is_executable(path))
}

/// Runs it as `SCRIPT CONFDIR VARSFILE`, with `DISTRIBUTION` and `MIRROR` in the environment.
///
/// # Errors
/// It cannot be started, or fails: the build fails then.
pub fn run(
    site: &Site,
    script: &Path,
    confdir: &Path,
    variables: &Path,
    distribution: Option<&OsStr>,
    mirror: Option<&str>,
) -> Result<()> {
    let mut command = Command::new(script);
    command.arg(confdir).arg(variables).env("UTIL_VSERVER_VARS", variables);
    command.env("DISTRIBUTION", distribution.unwrap_or_default());
    if let Some(mirror) = mirror {
        command.env("MIRROR", mirror);
    }
    child::run(&mut command, &site.interrupt)
}

/// Writes the shell variables that such programs source, with the original's names, and gives the file's path below
/// `dir` (a directory of ours that nobody else writes to).
///
/// # Errors
/// It cannot be written.
pub fn write_variables(site: &Site, dir: &Root, vdir: &Path) -> Result<PathBuf> {
    let layout = &site.layout;
    let mut text = String::from("# Paths for initpre and initpost, to be sourced.\n");
    for (name, path) in [
        ("VDIR", vdir),
        ("__CONFDIR", &layout.confdir),
        ("__DEFAULT_VSERVERDIR", &layout.vdirbase),
        ("__DEFAULT_VSERVERPKGDIR", &layout.pkgbase),
        ("__RUNDIR", &layout.rundir),
        ("__RUNREVDIR", &layout.revdir),
        ("__DISTRIBDIR", &layout.distributions),
    ] {
        let quoted = path.to_string_lossy().replace('\'', r"'\''");
        writeln!(text, "{name}='{quoted}'").expect("writing to a String cannot fail");
    }
    dir.replace("vserver-vars", text.as_bytes(), Mode::from_raw_mode(0o644))?;
    Ok(dir.path().join("vserver-vars"))
}
