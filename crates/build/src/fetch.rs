//! Fetching files with the host's wget or curl; local ones are read.

use std::path::{Path, PathBuf};

use crate::child;
use crate::error::{BuildError, Result};
use crate::interrupt::Interrupt;
use crate::site::Site;

/// How long a server may take to answer a question whose answer we can do without, in seconds.
const PATIENCE: &str = "15";

/// Whether a file must be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// One try, little patience.
    Nice,
    /// The tool's own patience.
    Must,
}

/// Where a file is on this host, for addresses that lead here: `/path`, `file:///path`.
pub fn local_path(uri: &str) -> Option<PathBuf> {
    let path = uri.strip_prefix("file://").unwrap_or(uri);
    path.starts_with('/').then(|| PathBuf::from(path))
}

/// Whether this is an address that wget and curl fetch.
pub fn is_remote(uri: &str) -> bool {
    ["http://", "https://", "ftp://"].iter().any(|scheme| uri.starts_with(scheme))
}

/// Fetches `uri` into the file `target`.
///
/// # Errors
/// Neither program is there, or the one that is fails.
pub fn fetch(site: &Site, uri: &str, target: &Path, need: Need, interrupt: &Interrupt) -> Result<()> {
    let (program, arguments): (_, &[&str]) = match (site.program("wget"), site.program("curl")) {
        (Some(wget), _) if need == Need::Nice => (wget, &["-q", "-T", PATIENCE, "-t", "1", "-O"]),
        (Some(wget), _) => (wget, &["-nv", "-O"]),
        (None, Some(curl)) if need == Need::Nice => (curl, &["-fsSL", "--max-time", PATIENCE, "-o"]),
        (None, Some(curl)) => (curl, &["-fsSL", "-o"]),
        (None, None) => {
            return Err(BuildError::NoTool { program: "wget", hint: "install the package wget, or curl" });
        }
    };
    let mut command = child::clean(program, &site.path);
    // The address comes last and behind `--`: it cannot be an option.
    command.args(arguments).arg(target).arg("--").arg(uri);
    child::capture(&mut command, None, interrupt, &mut |_| {}).map(drop)
}
