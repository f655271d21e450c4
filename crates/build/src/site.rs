//! The host's side of a build: base directories, environment, and where a distribution's files are looked for.

use std::ffi::{OsStr, OsString};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use vserver_model::Layout;
use vserver_tree::Root;

use crate::error::{BuildError, Result};
use crate::interrupt::Interrupt;

/// No file of the configuration that we read is longer.
const LONGEST: u64 = 1 << 20;

/// Where the administrator's programs are on every host.
const SYSTEM_PATH: [&str; 3] = ["/usr/sbin", "/sbin", "/usr/bin"];

/// What a build knows of its host.
#[derive(Clone, Debug)]
pub struct Site {
    /// The base directories.
    pub layout: Layout,
    /// `MIRROR` of the environment.
    pub mirror: Option<String>,
    /// `LANG` of the environment.
    pub lang: Option<String>,
    /// `PATH` of the environment.
    pub path: OsString,
    /// Tells the build to end.
    pub interrupt: Interrupt,
}

impl Site {
    /// The site with this process's environment.
    pub fn from_environment(layout: &Layout, interrupt: Interrupt) -> Self {
        let text = |name| std::env::var(name).ok().filter(|value: &String| !value.is_empty());
        Self {
            layout: layout.clone(),
            mirror: text("MIRROR"),
            lang: text("LANG"),
            path: std::env::var_os("PATH").unwrap_or_else(|| "/usr/sbin:/usr/bin:/sbin:/bin".into()),
            interrupt,
        }
    }

    /// Where a program is, as the shell would find it.
    pub fn program(&self, name: &str) -> Option<PathBuf> {
        find_program(std::env::split_paths(&self.path), name)
    }

    /// The same, and also in the directories of the administrator's programs, which are missing from `PATH` after
    /// su(1): for programs that every host has.
    pub fn system_program(&self, name: &str) -> Option<PathBuf> {
        let more = SYSTEM_PATH.map(PathBuf::from);
        find_program(std::env::split_paths(&self.path).chain(more), name)
    }

    /// The directories that may describe a distribution, first wins.
    pub fn distribution_dirs(&self, distribution: &OsStr) -> Vec<PathBuf> {
        let shared = self.layout.sharedirs.iter().map(|dir| dir.join("distributions"));
        std::iter::once(self.layout.distributions.clone())
            .chain(shared)
            .map(|dir| dir.join(distribution))
            .collect()
    }

    /// The first of these files that exists, empty or not.
    pub fn first_existing(candidates: impl IntoIterator<Item = PathBuf>) -> Option<PathBuf> {
        candidates.into_iter().find(|path| path.is_file())
    }

    /// A file of a distribution: `.distributions/DIST/OBJECT`, then the installed `distributions/DIST/OBJECT`.
    pub fn distribution_file(&self, distribution: Option<&OsStr>, object: &str) -> Option<PathBuf> {
        let dirs = self.distribution_dirs(distribution?);
        Self::first_existing(dirs.into_iter().map(|dir| dir.join(object)))
    }

    /// A shipped default: `defaults/NAME` of the installed data.
    pub fn shipped(&self, name: &str) -> Option<PathBuf> {
        Self::first_existing(self.layout.sharedirs.iter().map(|dir| dir.join("defaults").join(name)))
    }

    /// The shipped default of all distributions: `distributions/defaults/NAME`.
    pub fn shipped_for_all(&self, name: &str) -> Option<PathBuf> {
        Self::first_existing(
            self.layout.sharedirs.iter().map(|dir| dir.join("distributions/defaults").join(name)),
        )
    }

    /// A base directory that a link in `.defaults` may move: the link's path when it leads to a directory, so that
    /// moving the link moves the guests, else the built-in one.
    pub fn base(&self, link: &str, built_in: &Path) -> PathBuf {
        let link = self.layout.defaults.join(link);
        if link.is_dir() { link } else { built_in.to_owned() }
    }

    /// [`BuildError::Interrupted`] when the build was told to end.
    ///
    /// # Errors
    /// That one.
    pub fn check_interrupt(&self) -> Result<()> {
        if self.interrupt.is_set() { Err(BuildError::Interrupted) } else { Ok(()) }
    }
}

fn find_program(dirs: impl Iterator<Item = PathBuf>, name: &str) -> Option<PathBuf> {
    // A relative directory in PATH is whatever the caller stands in.
    dirs.filter(|dir| dir.is_absolute()).map(|dir| dir.join(name)).find(|path| is_executable(path))
}

/// Whether a path is a program that root can run.
pub fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// A whole file of the host's configuration; `None` when it is missing.
///
/// # Errors
/// It cannot be read.
pub fn read_file(path: &Path) -> Result<Option<Vec<u8>>> {
    let Some(dir) = path.parent() else { return Ok(None) };
    if !dir.is_dir() {
        return Ok(None);
    }
    match std::fs::metadata(path) {
        Ok(meta) if meta.is_file() => {}
        _ => return Ok(None),
    }
    // The administrator's links may lead anywhere, so this is an ordinary open with a limit.
    let file = std::fs::File::open(path).map_err(|e| BuildError::file("open", path, e))?;
    let mut content = Vec::new();
    file.take(LONGEST).read_to_end(&mut content).map_err(|e| BuildError::file("read", path, e))?;
    Ok(Some(content))
}

/// The first line of a file, trimmed; `None` when the file is missing or the line empty.
///
/// # Errors
/// It cannot be read.
pub fn first_line(path: &Path) -> Result<Option<String>> {
    let Some(content) = read_file(path)? else { return Ok(None) };
    let line = content.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let line = line.trim_matches([' ', '\t', '\r']);
    Ok((!line.is_empty()).then(|| line.to_owned()))
}

/// Writes a file of the host whole and in one step.
///
/// # Errors
/// Its directory is missing, or it cannot be written.
pub fn write_file(path: &Path, content: &[u8], mode: u32) -> Result<()> {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(BuildError::file("write", path, rustix::io::Errno::INVAL));
    };
    Ok(Root::open(dir)?.replace(name, content, rustix::fs::Mode::from_raw_mode(mode))?)
}
