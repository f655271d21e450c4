//! What a build method is: a name, options, the tools it needs, and the work.

use std::ffi::{OsStr, OsString};
use std::fmt::Debug;

use crate::build::Build;
use crate::error::{BuildError, Result};
use crate::methods;
use crate::options::{self, Elsewhere, OptionSpec, Parsed, Takes};

/// A program of the host that a method runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tool {
    /// Its name, looked for in `PATH`.
    pub program: &'static str,
    /// The Debian package that has it, and what it is for.
    pub hint: &'static str,
    /// Whether the method can do without.
    pub optional: bool,
}

/// One way to fill a guest's tree.
pub trait Method: Debug + Sync {
    /// The word for `-m`.
    fn name(&self) -> &'static str;
    /// One line for the help.
    fn about(&self) -> &'static str;
    /// What follows `--`, for the help.
    fn usage(&self) -> &'static str;
    /// Its own options.
    fn options(&self) -> &'static [OptionSpec];
    /// Programs of the host.
    fn tools(&self) -> &'static [Tool];
    /// Checks the words after `--` and everything else that can be known before something is created.
    ///
    /// # Errors
    /// A word makes no sense, or a source is missing.
    fn prepare(&self, words: &[OsString]) -> Result<Box<dyn Work>>;
}

/// Where the guest's packages are managed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Management {
    /// Nowhere in particular: no `apps/pkgmgmt`.
    None,
    /// In the guest: `apps/pkgmgmt/internal`.
    Internal,
    /// On the host: a package directory, and `apps/pkgmgmt/base`.
    External,
}

/// What becomes of `/dev` after the method has run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DevAfter {
    /// It is emptied, and the default nodes are made.
    Fresh,
    /// It stays as the method left it.
    Kept,
}

/// What runs when a distribution has no `initpost` program of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// The built-in work for Debian, when the distribution's name says so.
    ByName,
    /// The built-in work for Debian, whatever the name: debootstrap.
    Debian,
}

/// A prepared method.
pub trait Work: Debug {
    /// The distribution (`-d`), if one was named.
    fn distribution(&self) -> Option<&OsStr> {
        None
    }

    /// Where packages are managed.
    fn management(&self) -> Management;

    /// What becomes of `/dev`.
    fn dev_after(&self) -> DevAfter {
        DevAfter::Kept
    }

    /// The finishing work.
    fn finish(&self) -> Finish {
        Finish::ByName
    }

    /// Looks once more before anything is created, now that the host's files are known: sources, archives, tools.
    ///
    /// # Errors
    /// Something that the method needs is missing.
    fn check(&mut self, _site: &crate::site::Site) -> Result<()> {
        Ok(())
    }

    /// The mirror that packages came from, for the guest's own package manager.
    fn mirror(&self) -> Option<&str> {
        None
    }

    /// Fills the tree.
    ///
    /// # Errors
    /// Anything; the caller cleans up.
    fn run(&mut self, build: &mut Build<'_>) -> Result<()>;
}

/// The option that all methods have.
pub(crate) const DISTRIBUTION: OptionSpec = OptionSpec::short(
    b'd',
    Takes::Value("DIST"),
    "the distribution: its devs, files, initpre and initpost are used",
);
/// The option of the methods that leave package management open.
pub(crate) const PKGMGMT: OptionSpec =
    OptionSpec::long("pkgmgmt", Takes::Nothing, "make a directory for package data on the host");
/// More words.
pub(crate) const DEBUG: OptionSpec = OptionSpec::long("debug", Takes::Nothing, "show what the tools say");

/// Reads a method's words.
///
/// # Errors
/// As [`options::parse`]; a generic option gets a hint.
pub(crate) fn parse(words: &[OsString], specs: &'static [OptionSpec]) -> Result<Parsed> {
    Ok(options::parse(words, specs, (Elsewhere::Generic, &crate::ask::GENERIC))?)
}

/// Refuses words that nobody reads.
pub(crate) fn no_more(rest: &[OsString]) -> Result<()> {
    match rest.first() {
        None => Ok(()),
        Some(word) => Err(options::OptionError::Unexpected(word.clone()).into()),
    }
}

/// The methods that there are, in the order of the help.
pub static METHODS: [&dyn Method; 5] = [
    &methods::debootstrap::Debootstrap,
    &methods::template::Template,
    &methods::clone::Clone,
    &methods::rsync::Rsync,
    &methods::skeleton::Skeleton,
];

/// Methods of the original that come later.
pub const LATER: [&str; 6] = ["poldek", "yum", "rpm", "apt-rpm", "urpmi", "fai"];

/// Methods of the original that never come, and why.
pub const NEVER: [(&str, &str); 2] = [
    ("legacy", "it made guests of the format of 2003"),
    ("copy", "the original lists the name but never had it; use clone"),
];

/// Options of the methods, to recognise one in the wrong place.
pub(crate) fn all_options() -> &'static [OptionSpec] {
    use Takes::Value;
    static ALL: [OptionSpec; 8] = [
        OptionSpec::short(b'd', Value("DIST"), ""),
        OptionSpec::both(b's', "source", Value("SRC"), ""),
        OptionSpec::both(b't', "template", Value("ARCHIVE"), ""),
        OptionSpec::both(b'X', "exclude-from", Value("FILE"), ""),
        OptionSpec::short(b'o', Value("OPT"), ""),
        OptionSpec::long("pkgmgmt", Takes::Nothing, ""),
        OptionSpec::long("no-cache", Takes::Nothing, ""),
        OptionSpec::long("nodevsanity", Takes::Nothing, ""),
    ];
    &ALL
}

/// The method of this name.
///
/// # Errors
/// Nobody knows it, or it is not here (yet).
pub fn named(name: &OsStr) -> Result<&'static dyn Method> {
    if let Some(method) = METHODS.iter().find(|method| method.name() == name) {
        return Ok(*method);
    }
    if let Some(later) = LATER.iter().find(|later| **later == name) {
        return Err(BuildError::LaterMethod(later));
    }
    match NEVER.iter().find(|(never, _)| *never == name) {
        Some((method, reason)) => Err(BuildError::NeverMethod { method, reason }),
        None => Err(BuildError::UnknownMethod(name.to_owned())),
    }
}
