//! Reading a command line by the command's table entry: getopt's rules on top of lexopt.
//!
//! Options end at the first word that is none, so that a chained program keeps its own options; `--` ends them too.
//! Long options may be shortened as long as one option fits. The messages are getopt's, because people know them.

use std::ffi::{OsStr, OsString};

use crate::table::{Command, Opt, Reading};

/// What an argument list said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Given {
    /// The options in the order given, by their key (see [`Opt::key`]).
    options: Vec<(&'static str, Option<OsString>)>,
    /// What came after the options.
    pub operands: Vec<OsString>,
    /// Whether `--` ended the options.
    pub ended: bool,
    /// The keys that the table knows: asking for another one is a mistake in this program.
    known: Vec<&'static str>,
}

impl Given {
    /// Whether the option was given.
    ///
    /// # Panics
    /// When the command's table has no such option.
    pub fn has(&self, key: &str) -> bool {
        self.check(key);
        self.options.iter().any(|(given, _)| *given == key)
    }

    /// The value of the option's last occurrence.
    ///
    /// # Panics
    /// When the command's table has no such option.
    pub fn value(&self, key: &str) -> Option<&OsStr> {
        self.check(key);
        self.options.iter().rev().find(|(given, _)| *given == key)?.1.as_deref()
    }

    /// Every option and its value in the order given.
    pub fn each(&self) -> impl Iterator<Item = (&'static str, Option<&OsStr>)> {
        self.options.iter().map(|(key, value)| (*key, value.as_deref()))
    }

    fn check(&self, key: &str) {
        assert!(self.known.contains(&key), "the command's table has no option {key}");
    }
}

/// What is wrong with an argument list, in getopt's words, without the program's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadArgs {
    /// A long option that the table lacks.
    #[error("unrecognized option '{0}'")]
    UnknownLong(String),
    /// A letter that the table lacks.
    #[error("invalid option -- '{0}'")]
    UnknownShort(char),
    /// A shortened long option that fits several.
    #[error("option '{0}' is ambiguous; possibilities: {1}")]
    Ambiguous(String, String),
    /// A long option without its value.
    #[error("option '{0}' requires an argument")]
    MissingLong(&'static str),
    /// A letter without its value.
    #[error("option requires an argument -- '{0}'")]
    MissingShort(char),
    /// `--flag=value` for an option that takes none.
    #[error("option '{0}' doesn't allow an argument")]
    Unwanted(&'static str),
}

/// What the arguments ask for.
#[derive(Debug, PartialEq, Eq)]
pub enum Wish {
    /// `--help`
    Help,
    /// `--version`
    Version,
    /// To do it.
    Run(Given),
}

/// Sorts `args` by the table entry of `command`.
pub fn read(command: &Command, args: Vec<OsString>) -> Result<Wish, BadArgs> {
    match command.reading {
        Reading::Verbatim => {
            let wish = match args.first().and_then(|arg| arg.to_str()) {
                Some("--help") => Wish::Help,
                Some("--version") => Wish::Version,
                _ => Wish::Run(Given { operands: args, ..Given::default() }),
            };
            Ok(wish)
        }
        Reading::Passed => Ok(Wish::Run(Given { operands: args, ..Given::default() })),
        Reading::Options => read_options(command.options, args),
    }
}

/// Sorts `args` by `options`; for commands that read a second set of options behind an operand.
pub fn read_options(options: &'static [Opt], args: Vec<OsString>) -> Result<Wish, BadArgs> {
    let count = args.len();
    let dashes = args.clone();
    let mut given = Given { known: options.iter().map(Opt::key).collect(), ..Given::default() };
    let mut parser = lexopt::Parser::from_args(args);
    loop {
        let (opt, typed) = match parser.next() {
            Ok(Some(lexopt::Arg::Value(first))) => {
                given.operands.push(first);
                break;
            }
            Ok(Some(lexopt::Arg::Long("help"))) => return Ok(Wish::Help),
            Ok(Some(lexopt::Arg::Long("version"))) => return Ok(Wish::Version),
            Ok(Some(lexopt::Arg::Long(name))) => (find_long(options, name)?, None),
            Ok(Some(lexopt::Arg::Short(letter))) => (find_short(options, letter)?, Some(letter)),
            // The end. (Only a value that nobody asked for could be wrong, and every value is asked for below.)
            Ok(None) | Err(_) => break,
        };
        let value = match (opt.value, typed) {
            (Some(_), Some(letter)) => Some(parser.value().map_err(|_| BadArgs::MissingShort(letter))?),
            (Some(_), None) => Some(parser.value().map_err(|_| BadArgs::MissingLong(opt.key()))?),
            (None, None) if parser.optional_value().is_some() => return Err(BadArgs::Unwanted(opt.key())),
            (None, _) => None,
        };
        given.options.push((opt.key(), value));
    }
    // Whatever is left follows the first operand; a `--` that lexopt swallowed stands right before the rest.
    if let Ok(rest) = parser.raw_args() {
        given.operands.extend(rest);
    }
    let first = count - given.operands.len();
    given.ended = first > 0 && dashes[first - 1] == "--";
    Ok(Wish::Run(given))
}

fn find_long(options: &'static [Opt], name: &str) -> Result<&'static Opt, BadArgs> {
    let long = |opt: &'static Opt| opt.names.iter().filter_map(|n| n.strip_prefix("--"));
    if let Some(exact) = options.iter().find(|opt| long(opt).any(|n| n == name)) {
        return Ok(exact);
    }
    let fitting: Vec<&Opt> =
        options.iter().filter(|opt| !opt.hidden && long(opt).any(|n| n.starts_with(name))).collect();
    match fitting.as_slice() {
        [one] => Ok(one),
        [] => Err(BadArgs::UnknownLong(format!("--{name}"))),
        several => {
            let names: Vec<String> = several.iter().map(|opt| format!("'{}'", opt.key())).collect();
            Err(BadArgs::Ambiguous(format!("--{name}"), names.join(" ")))
        }
    }
}

fn find_short(options: &'static [Opt], letter: char) -> Result<&'static Opt, BadArgs> {
    let is = |name: &&str| name.strip_prefix('-').is_some_and(|rest| rest.chars().eq([letter]));
    options.iter().find(|opt| opt.names.iter().any(is)).ok_or(BadArgs::UnknownShort(letter))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::{Complete, Opt};

    static OPTIONS: &[Opt] = &[
        Opt::flag(&["-q", "--quiet"], "quiet"),
        Opt::flag(&["--quick"], "quick"),
        Opt::with(&["-c", "--xid", "--ctx"], "XID", Complete::Guest, "context"),
    ];

    fn run(words: &[&str]) -> Result<Given, String> {
        match read_options(OPTIONS, words.iter().map(OsString::from).collect()) {
            Ok(Wish::Run(given)) => Ok(given),
            Ok(other) => Err(format!("{other:?}")),
            Err(bad) => Err(bad.to_string()),
        }
    }

    #[test]
    fn options_end_at_the_first_operand() {
        let given = run(&["-q", "cmd", "-c", "--", "x"]).unwrap();
        assert!(given.has("--quiet"));
        assert_eq!(given.value("--xid"), None);
        assert_eq!(given.operands, ["cmd", "-c", "--", "x"]);
        assert!(!given.ended);
    }

    #[test]
    fn two_dashes_end_the_options() {
        let given = run(&["-c", "5", "--", "-q"]).unwrap();
        assert_eq!(given.value("--xid").unwrap(), "5");
        assert_eq!(given.operands, ["-q"]);
        assert!(given.ended);
        assert!(run(&["--"]).unwrap().ended);
        assert!(!run(&[]).unwrap().ended);
    }

    #[test]
    fn long_options_may_be_shortened_and_joined() {
        assert_eq!(run(&["--ct=7"]).unwrap().value("--xid").unwrap(), "7");
        assert_eq!(run(&["-c7"]).unwrap().value("--xid").unwrap(), "7");
        assert_eq!(
            run(&["--qui"]).unwrap_err(),
            "option '--qui' is ambiguous; possibilities: '--quiet' '--quick'"
        );
    }

    #[test]
    fn messages_are_those_of_getopt() {
        assert_eq!(run(&["--nope"]).unwrap_err(), "unrecognized option '--nope'");
        assert_eq!(run(&["-z"]).unwrap_err(), "invalid option -- 'z'");
        assert_eq!(run(&["-c"]).unwrap_err(), "option requires an argument -- 'c'");
        assert_eq!(run(&["--xid"]).unwrap_err(), "option '--xid' requires an argument");
        assert_eq!(run(&["--quiet=1"]).unwrap_err(), "option '--quiet' doesn't allow an argument");
    }

    fn any_word() -> impl proptest::strategy::Strategy<Value = OsString> {
        use proptest::prelude::*;
        use std::os::unix::ffi::OsStringExt;
        let own: Vec<&'static str> = crate::table::PROGRAMS
            .iter()
            .flat_map(|command| command.options)
            .flat_map(|opt| opt.names.iter().copied())
            .chain(["--", "-", "--=", "-=", "--help", "web1"])
            .collect();
        prop_oneof![
            proptest::sample::select(own).prop_map(OsString::from),
            proptest::collection::vec(1_u8.., 0..6).prop_map(OsString::from_vec),
        ]
    }

    proptest::proptest! {
        #[test]
        fn any_words_are_sorted_or_refused(words in proptest::collection::vec(any_word(), 0..6)) {
            for command in crate::table::PROGRAMS {
                if let Ok(Wish::Run(given)) = read(command, words.clone()) {
                    // What is not an option or its value is handed on, in its order.
                    proptest::prop_assert!(words.ends_with(&given.operands), "{}", command.name);
                }
            }
        }
    }
}
