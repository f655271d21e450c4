//! The table of commands: the one place that knows what an administrator can type.
//!
//! Help ([`crate::help`]), manual pages ([`crate::man`]) and completion ([`crate::complete`]) are made from it, the
//! arguments are read by it ([`crate::args`]), and a test walks it. The entry of a command stands in the command's
//! own file: `applet/` for programs, `verb/` for the words after `vserver NAME`.

use std::ffi::OsString;

use vserver_model::Layout;

use crate::args::Given;
use crate::guests::GuestDir;
use crate::output::Output;
use crate::report::{Exit, Failure};
use crate::{applet, verb};

/// One program, or one verb of `vserver`.
pub struct Command {
    /// What is typed.
    pub name: &'static str,
    /// One line without full stop: what it does.
    pub summary: &'static str,
    /// What follows the name, one entry per form.
    pub synopsis: &'static [&'static str],
    /// The options, without `--help` and `--version`.
    pub options: &'static [Opt],
    /// The manual's paragraphs.
    pub manual: &'static [&'static str],
    /// Exit codes and what they mean.
    pub exits: &'static [(&'static str, &'static str)],
    /// Lines to type and what they do.
    pub examples: &'static [(&'static str, &'static str)],
    /// The exit code of a wrong use or a failure without a code of its own.
    pub error_code: u8,
    /// How the arguments are sorted.
    pub reading: Reading,
    /// What completion offers for an operand.
    pub operand: Complete,
    /// Does it.
    pub run: Applet,
}

/// The function behind a command.
pub type Applet = fn(&mut Call) -> Result<Exit, Failure>;

/// How a command's arguments are sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// By the option table, up to the first operand.
    Options,
    /// Not at all, except `--help` and `--version` as the first word: they are another program's.
    Verbatim,
    /// Not at all: even `--help` is another program's.
    Passed,
}

/// One option.
#[derive(Clone, Copy, Debug)]
pub struct Opt {
    /// Every spelling with its dashes: letters first, then long ones.
    pub names: &'static [&'static str],
    /// The value, if it takes one.
    pub value: Option<Value>,
    /// One line of help.
    pub help: &'static str,
    /// Left out of help, manual and completion: internal or an old spelling.
    pub hidden: bool,
}

/// An option's value.
#[derive(Clone, Copy, Debug)]
pub struct Value {
    /// Its name in the help.
    pub name: &'static str,
    /// What completion offers.
    pub complete: Complete,
}

/// What completion offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Complete {
    /// Nothing.
    Nothing,
    /// A guest's name.
    Guest,
    /// A path on the host.
    Path,
    /// A program on the host.
    Program,
    /// One of these words.
    Words(&'static [&'static str]),
}

impl Opt {
    /// An option without value.
    pub const fn flag(names: &'static [&'static str], help: &'static str) -> Self {
        Self { names, value: None, help, hidden: false }
    }

    /// An option with a value.
    pub const fn with(
        names: &'static [&'static str],
        value: &'static str,
        complete: Complete,
        help: &'static str,
    ) -> Self {
        Self { names, value: Some(Value { name: value, complete }), help, hidden: false }
    }

    /// The same option, left out of help, manual and completion.
    #[must_use]
    pub const fn hide(mut self) -> Self {
        self.hidden = true;
        self
    }

    /// The spelling that code asks for: the first long one, else the first.
    pub fn key(&self) -> &'static str {
        self.names.iter().copied().find(|name| name.starts_with("--")).unwrap_or(self.names[0])
    }
}

/// `--json`, the same in every command that lists.
pub const JSON: Opt = Opt::flag(&["--json"], "print JSON for programs");

/// The exit codes of most commands.
pub const PLAIN_EXITS: &[(&str, &str)] = &[("0", "done"), ("1", "wrong use, or it failed")];

/// One call of a command.
pub struct Call {
    /// The table entry.
    pub command: &'static Command,
    /// The program as it was typed: for the pointer to the help.
    pub argv0: String,
    /// The sorted arguments.
    pub given: Given,
    /// Where everything lives.
    pub layout: Layout,
    /// The guest of a verb.
    pub guest: Option<GuestDir>,
    /// The options of `vserver` before the guest's name.
    pub globals: Globals,
    /// The standard output.
    pub out: Output,
}

/// The options of `vserver` before the guest's name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is one option of the command line")]
pub struct Globals {
    /// `--sync`
    pub sync: bool,
    /// `--verbose`
    pub verbose: bool,
    /// `--silent`
    pub silent: bool,
    /// `--debug`
    pub debug: bool,
    /// `--defaulttty`
    pub defaulttty: bool,
    /// `--strace`
    pub strace: bool,
    /// `--debug-sysv`
    pub debug_sysv: bool,
    /// `----nonamespace`
    pub nonamespace: bool,
    /// `----insecure`
    pub insecure: bool,
}

impl Call {
    /// The guest that the verb is about.
    ///
    /// # Panics
    /// In a command that is not a verb of `vserver NAME`.
    pub fn guest(&self) -> &GuestDir {
        self.guest.as_ref().expect("the dispatcher resolved the guest before it called the verb")
    }

    /// The operands, taken out.
    pub fn take_operands(&mut self) -> Vec<OsString> {
        std::mem::take(&mut self.given.operands)
    }

    /// The same where they are a program and its arguments.
    pub fn take_program(&mut self) -> Result<Vec<OsString>, Failure> {
        let command = self.take_operands();
        if command.is_empty() { Err(Failure::Usage("no program given".into())) } else { Ok(command) }
    }
}

/// Every program that the binary is, by name.
pub const PROGRAMS: &[&Command] = &[
    &applet::vserver::COMMAND,
    &applet::vserver_stat::COMMAND,
    &applet::vps::VPS,
    &applet::vps::VTOP,
    &applet::vps::VPSTREE,
    &applet::vserver_info::COMMAND,
    &applet::vkill::COMMAND,
    &applet::vwait::COMMAND,
    &applet::vspace::VNAMESPACE,
    &applet::vspace::VSPACE,
    &applet::vmount::COMMAND,
    &applet::vlogin::COMMAND,
    &applet::vuname::COMMAND,
    &applet::vsomething::COMMAND,
    &applet::lsxid::COMMAND,
    &applet::lcap::COMMAND,
    &applet::vprocunhide::COMMAND,
    &applet::chbind::COMMAND,
    &applet::ncontext::COMMAND,
    &applet::naddress::COMMAND,
    &applet::nattribute::COMMAND,
    &applet::start_vservers::COMMAND,
    &applet::vservers::COMMAND,
    &applet::util_vserver::COMMAND,
    &applet::vrootdevices::COMMAND,
    &applet::vsysvwrapper::COMMAND,
    &applet::generator::COMMAND,
];

/// Every verb of `vserver NAME`, in the order of the help.
pub const VERBS: &[&Command] = &[
    &verb::start::COMMAND,
    &verb::stop::COMMAND,
    &verb::restart::RESTART,
    &verb::restart::CONDRESTART,
    &verb::enter::COMMAND,
    &verb::exec::EXEC,
    &verb::exec::SUEXEC,
    &verb::exec::CHKCONFIG,
    &verb::running::COMMAND,
    &verb::status::COMMAND,
    &verb::console::COMMAND,
    &verb::logs::COMMAND,
    &verb::check::COMMAND,
    &verb::build::COMMAND,
    &verb::transfer::EXPORT,
    &verb::transfer::IMPORT,
    &verb::transfer::COPY,
    &verb::transfer::RENAME,
    &verb::delete::COMMAND,
    &verb::later::UNIFY,
    &verb::later::HASHIFY,
    &verb::later::PKG,
    &verb::later::PKGMGMT,
    &verb::later::APT_GET,
    &verb::later::APT_CONFIG,
    &verb::later::APT_CACHE,
    &verb::later::RPM,
];

/// Every word that stands in the place of NAME.
pub const WORDS: &[&Command] = &[&verb::list::COMMAND, &verb::events::COMMAND, &verb::check_host::COMMAND];

/// The program of that name. Some have more names than those in the table: `stop-vservers`, `v_sshd`.
pub fn program(name: &str) -> Option<&'static Command> {
    let name = match name {
        "stop-vservers" => "start-vservers",
        name if name.strip_prefix("v_").is_some_and(|service| !service.is_empty()) => "vsysvwrapper",
        name => name,
    };
    PROGRAMS.iter().copied().find(|command| command.name == name)
}

/// The verb of that name.
pub fn verb(name: &str) -> Option<&'static Command> {
    VERBS.iter().copied().find(|command| command.name == name)
}

/// The word of that name in the place of a guest's.
pub fn word(name: &str) -> Option<&'static Command> {
    WORDS.iter().copied().find(|command| command.name == name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// What the command reference lists for this version; a name that is missing in the table is a mistake.
    const MUST_BE_PROGRAMS: &[&str] = &[
        "vserver",
        "vserver-stat",
        "vserver-info",
        "vps",
        "vpstree",
        "vtop",
        "vkill",
        "vnamespace",
        "vspace",
        "vuname",
        "vwait",
        "lsxid",
        "lcap",
        "vlogin",
        "vmount",
        "vsomething",
        "vprocunhide",
        "chbind",
        "ncontext",
        "naddress",
        "nattribute",
        "start-vservers",
        "vservers",
        "util-vserver",
        "vrootdevices",
        "vsysvwrapper",
        "systemd-vserver-generator",
    ];
    const MUST_BE_VERBS: &[&str] = &[
        "start",
        "stop",
        "restart",
        "condrestart",
        "exec",
        "suexec",
        "enter",
        "chkconfig",
        "running",
        "status",
        "console",
        "logs",
        "export",
        "import",
        "copy",
        "rename",
        "build",
        "delete",
        "check",
        "unify",
        "hashify",
        "pkg",
        "pkgmgmt",
        "apt-get",
        "apt-config",
        "apt-cache",
        "rpm",
    ];

    fn all() -> impl Iterator<Item = &'static Command> {
        PROGRAMS.iter().chain(VERBS).chain(WORDS).copied()
    }

    #[test]
    fn every_command_of_the_reference_is_there_once() {
        let programs: Vec<_> = PROGRAMS.iter().map(|c| c.name).collect();
        let verbs: Vec<_> = VERBS.iter().map(|c| c.name).collect();
        for (must, have) in [(MUST_BE_PROGRAMS, &programs), (MUST_BE_VERBS, &verbs)] {
            for name in must {
                assert_eq!(have.iter().filter(|n| *n == name).count(), 1, "{name}");
            }
            assert_eq!(have.iter().collect::<BTreeSet<_>>().len(), have.len());
        }
    }

    #[test]
    fn every_command_says_all_about_itself() {
        for command in all() {
            let name = command.name;
            assert!(!command.summary.is_empty() && !command.summary.ends_with('.'), "{name}: summary");
            assert!(!command.synopsis.is_empty(), "{name}: synopsis");
            assert!(command.manual.iter().all(|text| text.ends_with(['.', ':'])), "{name}: full sentences");
            assert!(!command.manual.is_empty(), "{name}: manual");
            assert!(!command.exits.is_empty(), "{name}: exit codes");
            assert!(
                command.exits.iter().all(|(code, text)| !code.is_empty() && !text.is_empty()),
                "{name}: exits"
            );
            if command.reading != Reading::Options {
                assert!(command.options.is_empty(), "{name}: options that nobody reads");
            }
        }
    }

    #[test]
    fn every_option_is_spelt_once_and_explained() {
        for command in all() {
            let mut seen = BTreeSet::new();
            for opt in command.options {
                assert!(!opt.help.is_empty() && !opt.help.ends_with('.'), "{} {}", command.name, opt.key());
                for name in opt.names {
                    assert!(seen.insert(*name), "{} {name} twice", command.name);
                    let letter = name.len() == 2 && name.starts_with('-');
                    assert!(letter || name.starts_with("--"), "{} {name}", command.name);
                    assert!(!["--help", "--version"].contains(name), "{} {name}", command.name);
                }
                if !opt.hidden {
                    let forms = command.synopsis.join(" ");
                    let named = opt.names.iter().any(|n| forms.contains(n)) || forms.contains("[OPTIONS]");
                    assert!(named, "{}: {} is missing in the synopsis", command.name, opt.key());
                }
            }
        }
    }
}
