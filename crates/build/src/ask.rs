//! What the administrator asks for: the words of the defaults file and of the command line as one checked value.

use std::ffi::{OsStr, OsString};
use std::net::IpAddr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use vserver_model::address::{Netmask, check_device};
use vserver_model::words::CFLAGS;
use vserver_model::{GuestName, InitStyle, InterfaceArg, Personality, Xid};

use crate::error::{BuildError, Result};
use crate::method::{self, Method};
use crate::options::{self, Elsewhere, Given, OptionSpec, Takes};

/// The longest of the names that uname(2) tells.
const UTS_BYTES: usize = 64;

/// The options that every method has.
pub static GENERIC: [OptionSpec; 29] = {
    use Takes::{Nothing, Value};
    [
        OptionSpec::short(b'm', Value("METHOD"), "how to build the guest; the methods are listed below"),
        OptionSpec::short(b'n', Value("NAME"), "the guest's name; the one before 'build' unless given"),
        OptionSpec::long(
            "force",
            Nothing,
            "rename an existing tree, configuration and package directory to PATH.~TIME~",
        ),
        OptionSpec::long("i-know-its-there", Nothing, "build into an existing tree"),
        OptionSpec::long("keep", Nothing, "when the build fails, leave what it made"),
        OptionSpec::long(
            "rootdir",
            Value("DIR"),
            "directory of the guests' trees (.defaults/vdirbase, else /vservers)",
        ),
        OptionSpec::long(
            "pkgbase",
            Value("DIR"),
            "directory of the package data (.defaults/apps/pkgmgmt/base, else /vservers/.pkg)",
        ),
        OptionSpec::long("confdir", Value("DIR"), "the configuration directory (/etc/vservers/NAME)"),
        OptionSpec::long("lockfile", Value("FILE"), "where the link 'run' leads (/run/vservers/NAME)"),
        OptionSpec::long(
            "context",
            Value("N"),
            "the context number, 2 to 65535; the next free one from 40000 unless given",
        ),
        OptionSpec::long(
            "classic",
            Nothing,
            "no user namespace: root in the guest is root of the host's ids (default: shifted ids, spaces/user)",
        ),
        OptionSpec::long("hostname", Value("NAME"), "the guest's host name"),
        OptionSpec::long("netdev", Value("DEVICE"), "default device of the interfaces"),
        OptionSpec::long("netmask", Value("MASK"), "default netmask of the interfaces"),
        OptionSpec::long("netprefix", Value("N"), "default prefix length of the interfaces"),
        OptionSpec::long("netbcast", Value("ADDR"), "default broadcast address of the interfaces"),
        OptionSpec::long(
            "interface",
            Value("[LABEL=][DEVICE:]ADDRESS[/MASK|/PREFIX]"),
            "an address; repeatable",
        ),
        OptionSpec::long("flags", Value("FLAG,…"), "context flags; repeatable"),
        OptionSpec::long("initstyle", Value("STYLE"), "sysv, plain, minit, gentoo, openrc, arch or systemd"),
        OptionSpec::long("personality", Value("TYPE"), "execution domain, e.g. linux_32bit"),
        OptionSpec::long("machine", Value("TEXT"), "machine name that uname tells, e.g. i686"),
        OptionSpec::long("cpuset", Value("NAME"), "cpuset name"),
        OptionSpec::long("cpusetcpus", Value("LIST[:EXCL]"), "processors of the cpuset"),
        OptionSpec::long("cpusetmems", Value("LIST[:EXCL]"), "memory nodes of the cpuset"),
        OptionSpec::long("cpusetvirt", Nothing, "virtualised cpuset"),
        OptionSpec::long("debug", Nothing, "show what the tools say; repeatable"),
        OptionSpec::both(b'q', "quiet", Nothing, "no word on what is being done"),
        OptionSpec::both(b'h', "help", Nothing, "this text"),
        OptionSpec::long("version", Nothing, "the version"),
    ]
};

/// A list of processors or nodes, with the value of the exclusive file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CpusetList {
    /// `0-3,8`
    pub list: String,
    /// What follows the colon.
    pub exclusive: Option<String>,
}

/// What the guest's configuration gets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// `context`, checked for its range, not yet for being free.
    pub context: Option<Xid>,
    /// Without a user namespace.
    pub classic: bool,
    /// `uts/nodename`.
    pub hostname: Option<String>,
    /// `interfaces/dev`.
    pub netdev: Option<String>,
    /// `interfaces/mask`.
    pub netmask: Option<Netmask>,
    /// `interfaces/prefix`.
    pub netprefix: Option<Netmask>,
    /// `interfaces/bcast`.
    pub netbcast: Option<IpAddr>,
    /// `interfaces/N`.
    pub interfaces: Vec<InterfaceArg>,
    /// Lines of `cflags`.
    pub flags: Vec<String>,
    /// `apps/init/style`.
    pub initstyle: Option<InitStyle>,
    /// First line of `personality`, as typed.
    pub personality: Option<String>,
    /// `uts/machine`.
    pub machine: Option<String>,
    /// `cpuset/name`.
    pub cpuset: Option<String>,
    /// `cpuset/cpus`.
    pub cpus: Option<CpusetList>,
    /// `cpuset/mems`.
    pub mems: Option<CpusetList>,
    /// `cpuset/virtualized`.
    pub cpuset_virtual: bool,
}

/// A build that was asked for.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
pub struct BuildAsk {
    /// The guest.
    pub name: GuestName,
    /// The method.
    pub method: &'static dyn Method,
    /// What follows the `--`: the method's own words.
    pub method_words: Vec<OsString>,
    /// Rename what is there.
    pub force: bool,
    /// Build into a tree that is there.
    pub into_existing: bool,
    /// On failure leave everything.
    pub keep: bool,
    /// Show what the tools say.
    pub debug: bool,
    /// No notes.
    pub quiet: bool,
    /// `--rootdir`.
    pub rootdir: Option<PathBuf>,
    /// `--pkgbase`.
    pub pkgbase: Option<PathBuf>,
    /// `--confdir`.
    pub confdir: Option<PathBuf>,
    /// `--lockfile`.
    pub lockfile: Option<PathBuf>,
    /// The configuration's content.
    pub settings: Settings,
}

/// What the words ask for.
#[derive(Debug)]
pub enum Asked {
    /// A build.
    Build(Box<BuildAsk>),
    /// `--help`.
    Help,
    /// `--version`.
    Version,
}

/// Reads the words: those of the defaults file first, the command line's after them, so that they win.
///
/// # Errors
/// The first word that makes no sense. Nothing was touched.
pub fn read(name: Option<GuestName>, defaults: &[OsString], argv: &[OsString]) -> Result<Asked> {
    let words: Vec<OsString> = defaults.iter().chain(argv).cloned().collect();
    let parsed = options::parse(&words, &GENERIC, (Elsewhere::Method, method::all_options()))?;
    let asks_for = |name| parsed.given.iter().any(|given| given.spec.is(name));
    if asks_for("help") {
        return Ok(Asked::Help);
    }
    if asks_for("version") {
        return Ok(Asked::Version);
    }
    let mut draft = Draft { name, ..Draft::default() };
    for given in parsed.given {
        draft.take(given)?;
    }
    let method = method::named(&draft.method.ok_or(BuildError::NoMethod)?)?;
    Ok(Asked::Build(Box::new(BuildAsk {
        name: draft.name.ok_or(BuildError::NoName)?,
        method,
        method_words: parsed.rest,
        force: draft.force,
        into_existing: draft.into_existing,
        keep: draft.keep,
        debug: draft.debug,
        quiet: draft.quiet,
        rootdir: draft.rootdir,
        pkgbase: draft.pkgbase,
        confdir: draft.confdir,
        lockfile: draft.lockfile,
        settings: draft.settings,
    })))
}

/// The words of `.defaults/apps/build/options`: one option or argument a line, blanks kept, empty lines left out.
pub fn defaults_words(content: &[u8]) -> Vec<OsString> {
    let lines = content.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| OsStr::from_bytes(line).to_owned()).collect()
}

#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
struct Draft {
    name: Option<GuestName>,
    method: Option<OsString>,
    force: bool,
    into_existing: bool,
    keep: bool,
    debug: bool,
    quiet: bool,
    rootdir: Option<PathBuf>,
    pkgbase: Option<PathBuf>,
    confdir: Option<PathBuf>,
    lockfile: Option<PathBuf>,
    settings: Settings,
}

impl Draft {
    fn take(&mut self, given: Given) -> Result<()> {
        let option = given.spec.typed();
        let settings = &mut self.settings;
        match option.as_str() {
            "--force" => self.force = true,
            "--i-know-its-there" => self.into_existing = true,
            "--keep" => self.keep = true,
            "--debug" => self.debug = true,
            "--quiet" => self.quiet = true,
            "--classic" => settings.classic = true,
            "--cpusetvirt" => settings.cpuset_virtual = true,
            "-m" => self.method = Some(given.into_value()),
            "-n" => self.name = Some(GuestName::new(given.into_value())?),
            "--rootdir" => self.rootdir = Some(directory(&option, given)?),
            "--pkgbase" => self.pkgbase = Some(directory(&option, given)?),
            "--confdir" => self.confdir = Some(directory(&option, given)?),
            "--lockfile" => self.lockfile = Some(directory(&option, given)?),
            _ => return settings.take(&option, given.into_value()),
        }
        Ok(())
    }
}

impl Settings {
    fn take(&mut self, option: &str, raw: OsString) -> Result<()> {
        let text = one_line(option, raw)?;
        let wrong = |source: Box<dyn std::error::Error + Send + Sync>, hint| {
            BuildError::value(option, text.clone(), source, hint)
        };
        match option {
            "--context" => {
                self.context = Some(text.parse().map_err(|e: vserver_model::xid::XidError| {
                    let hint = e.hint();
                    wrong(e.into(), hint)
                })?);
            }
            "--hostname" => {
                if text.contains(|c: char| c.is_whitespace() || c == '/') {
                    return Err(wrong("it has a blank or a slash in it".into(), None));
                }
                self.hostname = Some(uts(option, text)?);
            }
            "--machine" => self.machine = Some(uts(option, text)?),
            "--netdev" => {
                check_device(&text).map_err(|e| wrong(e.into(), None))?;
                self.netdev = Some(text);
            }
            "--netmask" | "--netprefix" => {
                let mask = text.parse::<Netmask>().map_err(|e| {
                    let hint = e.hint();
                    wrong(e.into(), hint)
                })?;
                match (option, mask) {
                    ("--netmask", Netmask::Dotted(_)) => self.netmask = Some(mask),
                    (_, Netmask::Prefix(_)) => self.netprefix = Some(mask),
                    _ => {
                        let hint = Some("write a prefix length such as 24, or use --netmask");
                        return Err(wrong("it is a dotted netmask".into(), hint));
                    }
                }
            }
            "--netbcast" => {
                let hint = Some("write an address such as 192.0.2.255");
                self.netbcast = Some(text.parse::<IpAddr>().map_err(|e| wrong(e.into(), hint))?);
            }
            "--interface" => self.interfaces.push(text.parse::<InterfaceArg>().map_err(|e| {
                let hint = e.hint();
                wrong(e.into(), hint)
            })?),
            "--flags" => {
                vserver_model::parse_list(&text, &CFLAGS).map_err(|e| {
                    wrong(e.into(), Some("the flags are listed in the manual page of the file 'cflags'"))
                })?;
                self.flags.extend(text.split(',').filter(|word| !word.is_empty()).map(str::to_owned));
            }
            "--initstyle" => {
                let hint = Some("known styles: sysv, plain, minit, gentoo, openrc, arch, systemd");
                let style = text.parse::<InitStyle>().map_err(|e| wrong(e.into(), hint))?;
                if matches!(style, InitStyle::Rescue | InitStyle::Empty) {
                    return Err(wrong("it is not for a guest's configuration".into(), hint));
                }
                self.initstyle = Some(style);
            }
            "--personality" => {
                Personality::parse_type(&text).map_err(|e| {
                    let hint = e.hint();
                    wrong(e.into(), hint)
                })?;
                self.personality = Some(text);
            }
            "--cpuset" => self.cpuset = Some(text),
            "--cpusetcpus" => self.cpus = Some(cpuset_list(option, &text)?),
            "--cpusetmems" => self.mems = Some(cpuset_list(option, &text)?),
            // help and version were looked for before; the test below walks the table.
            _ => return Err(BuildError::Options(options::OptionError::Unexpected(option.into()))),
        }
        Ok(())
    }
}

/// Files of the configuration hold one value in one line.
fn one_line(option: &str, raw: OsString) -> Result<String> {
    let hint = None;
    let text =
        raw.into_string().map_err(|raw| BuildError::value(option, raw, "it is not valid UTF-8", hint))?;
    let trimmed = text.trim_matches([' ', '\t']);
    if trimmed.is_empty() {
        Err(BuildError::value(option, text, "it is empty", hint))
    } else if text.bytes().any(|byte| byte == b'\n' || byte == 0) {
        Err(BuildError::value(option, text, "it has more than one line", hint))
    } else {
        Ok(trimmed.to_owned())
    }
}

fn uts(option: &str, text: String) -> Result<String> {
    if text.len() > UTS_BYTES {
        return Err(BuildError::value(option, text, "it is longer than 64 bytes", None));
    }
    Ok(text)
}

fn directory(option: &str, given: Given) -> Result<PathBuf> {
    let raw = given.into_value();
    if raw.is_empty() || raw.as_bytes().contains(&b'\n') {
        return Err(BuildError::value(option, raw, "it is no path", None));
    }
    // Links in the configuration must lead to the same place from anywhere.
    std::path::absolute(&raw).map_err(|source| BuildError::value(option, raw, source, None))
}

fn cpuset_list(option: &str, text: &str) -> Result<CpusetList> {
    let (list, exclusive) = match text.split_once(':') {
        Some((list, exclusive)) => (list, Some(exclusive)),
        None => (text, None),
    };
    let is_range =
        |part: &str| part.split('-').all(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
    if !list.split(',').all(|part| is_range(part) && part.split('-').count() <= 2) {
        let hint = Some("write numbers and ranges, e.g. 0-3,8, and :1 behind them for exclusive use");
        return Err(BuildError::value(option, text, "it is no list of numbers", hint));
    }
    Ok(CpusetList { list: list.to_owned(), exclusive: exclusive.map(str::to_owned) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn words(text: &str) -> Vec<OsString> {
        text.split_whitespace().map(OsString::from).collect()
    }

    fn name() -> GuestName {
        GuestName::new("test").unwrap()
    }

    fn ask(text: &str) -> Result<Box<BuildAsk>> {
        match read(Some(name()), &[], &words(text))? {
            Asked::Build(ask) => Ok(ask),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_command_line_wins_over_the_defaults() {
        let defaults = defaults_words(b"--context\n7\n\n-m\nskeleton\n--keep\n");
        let Asked::Build(ask) =
            read(Some(name()), &defaults, &words("--context 9 -n other -- -d x")).unwrap()
        else {
            panic!("no build");
        };
        assert_eq!(ask.settings.context, Some(Xid::new(9).unwrap()));
        assert_eq!(ask.name.to_string(), "other");
        assert_eq!(ask.method_words, ["-d", "x"]);
        assert!(ask.keep && !ask.force);
    }

    #[test]
    fn s07_context_range() {
        for good in ["2", "32767", "32768", "65535"] {
            assert!(ask(&format!("-m skeleton --context {good}")).is_ok());
        }
        for bad in ["0", "1", "65536", "70000", "abc", "-m"] {
            let error = ask(&format!("-m skeleton --context {bad}")).unwrap_err();
            assert_eq!(error.to_string(), format!("'{bad}' is no value for --context"));
            assert!(error.hint().unwrap().contains("2 to 32767"), "{bad}");
        }
    }

    #[test]
    fn s53_generic_options_after_the_dashes_get_a_hint() {
        let ask =
            ask("--context 2 -m skeleton -- -d pld-th --personality linux_32bit --machine i686").unwrap();
        let error = ask.method.prepare(&ask.method_words).unwrap_err();
        assert_eq!(error.to_string(), "unrecognized option '--personality'");
        assert_eq!(error.hint().as_deref(), Some("this is a generic option: put it before the '--'"));
    }

    #[test]
    fn later_methods_are_known() {
        for method in ["poldek", "yum", "rpm", "apt-rpm", "urpmi"] {
            let error = ask(&format!("-m {method}")).unwrap_err();
            assert!(matches!(error, BuildError::LaterMethod(_)), "{method}");
        }
        assert!(matches!(ask("-m nosuch").unwrap_err(), BuildError::UnknownMethod(_)));
        assert!(matches!(ask("--keep").unwrap_err(), BuildError::NoMethod));
        assert!(matches!(read(None, &[], &words("-m skeleton")).unwrap_err(), BuildError::NoName));
    }

    #[test]
    fn bad_values_are_refused_before_anything() {
        for bad in [
            "--netmask 255.0.255.0",
            "--netprefix x",
            "--netprefix 255.255.255.0",
            "--netbcast here",
            "--interface eth0:999.1.1.1",
            "--flags nonsense",
            "--initstyle upstart",
            "--initstyle rescue",
            "--personality pdp11",
            "--cpusetcpus a-b",
            "--netdev a/b",
            "--rootdir=",
            "--hostname=",
            "--hostname=a/b",
        ] {
            assert!(matches!(ask(&format!("-m skeleton {bad}")), Err(BuildError::Value { .. })), "{bad}");
        }
    }

    #[test]
    fn every_option_of_the_table_is_understood() {
        for spec in &GENERIC {
            let value = match spec.typed().as_str() {
                "-m" => "skeleton",
                "--context" => "7",
                "--netmask" => "255.255.255.0",
                "--netprefix" => "24",
                "--netbcast" | "--interface" => "192.0.2.1",
                "--flags" => "virt_uptime",
                "--initstyle" => "plain",
                "--personality" => "linux32",
                "--cpusetcpus" | "--cpusetmems" => "0-1:1",
                _ => "x",
            };
            let mut words = words("-m skeleton");
            words.push(spec.typed().into());
            if spec.takes != Takes::Nothing {
                words.push(value.into());
            }
            let asked = read(Some(name()), &[], &words);
            assert!(asked.is_ok(), "{}: {asked:?}", spec.typed());
        }
    }

    proptest! {
        #[test]
        fn no_words_panic(words: Vec<String>) {
            let words: Vec<_> = words.into_iter().map(OsString::from).collect();
            drop(read(Some(name()), &[], &words));
        }
    }
}
