//! Reading command-line words the way `getopt_long(3)` does: clusters of short options, `--name=value`, unambiguous
//! abbreviations, the first word that is no option ends it, so does `--`.
//!
//! One table serves parsing and help, for the generic options and for each method's.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

/// Whether an option takes a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// No.
    Nothing,
    /// Yes; the word for it in the help.
    Value(&'static str),
}

/// One option.
#[derive(Debug, PartialEq, Eq)]
pub struct OptionSpec {
    /// The long name without dashes; empty when it has none.
    pub long: &'static str,
    /// The short name.
    pub short: Option<u8>,
    /// Its value.
    pub takes: Takes,
    /// What it does, for the help.
    pub help: &'static str,
}

impl OptionSpec {
    /// An option with a long name only.
    pub const fn long(long: &'static str, takes: Takes, help: &'static str) -> Self {
        Self { long, short: None, takes, help }
    }

    /// An option with a short name only.
    pub const fn short(short: u8, takes: Takes, help: &'static str) -> Self {
        Self { long: "", short: Some(short), takes, help }
    }

    /// An option with both.
    pub const fn both(short: u8, long: &'static str, takes: Takes, help: &'static str) -> Self {
        Self { long, short: Some(short), takes, help }
    }

    /// As it is typed: `--force`, `-m`.
    pub fn typed(&self) -> String {
        match self.short {
            Some(short) if self.long.is_empty() => format!("-{}", char::from(short)),
            _ => format!("--{}", self.long),
        }
    }

    /// Whether this is its name: the long one, or the short one where it has no other.
    pub fn is(&self, name: &str) -> bool {
        if self.long.is_empty() { name.as_bytes() == self.short.as_slice() } else { self.long == name }
    }

    /// The left column of the help: `-s, --source SRC`.
    pub fn usage(&self) -> String {
        let mut text = match self.short {
            Some(short) if self.long.is_empty() => format!("-{}", char::from(short)),
            Some(short) => format!("-{}, --{}", char::from(short), self.long),
            None => format!("--{}", self.long),
        };
        if let Takes::Value(word) = self.takes {
            text.push(' ');
            text.push_str(word);
        }
        text
    }
}

/// Words that are not the options they should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionError {
    /// No such option.
    #[error("unrecognized option '{option}'")]
    Unknown {
        /// As typed.
        option: String,
        /// Another set of options knows it, for the hint.
        elsewhere: Option<Elsewhere>,
    },
    /// An abbreviation of several.
    #[error("option '{option}' is ambiguous; possibilities: {possibilities}")]
    Ambiguous {
        /// As typed.
        option: String,
        /// What it may stand for.
        possibilities: String,
    },
    /// A value is missing.
    #[error("option '{0}' requires an argument")]
    NeedsValue(String),
    /// A value is too much.
    #[error("option '{0}' doesn't allow an argument")]
    TakesNoValue(String),
    /// A word where none is expected.
    #[error("unexpected argument '{}'", .0.display())]
    Unexpected(OsString),
    /// An option that cannot be left out.
    #[error("option '{0}' is missing")]
    Missing(&'static str),
}

/// Where an option belongs that was found in the wrong place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Elsewhere {
    /// It is one of the generic options.
    Generic,
    /// It is one of the method's.
    Method,
}

impl OptionError {
    /// What the administrator can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Unknown { elsewhere: Some(Elsewhere::Generic), .. } => {
                Some("this is a generic option: put it before the '--'")
            }
            Self::Unknown { elsewhere: Some(Elsewhere::Method), .. } => {
                Some("this is an option of the method: put it after '--'")
            }
            _ => Some("'vserver NAME build --help' lists all methods and options"),
        }
    }
}

/// An option that was given.
#[derive(Debug)]
pub struct Given {
    /// Which.
    pub spec: &'static OptionSpec,
    /// Its value.
    pub value: Option<OsString>,
}

impl Given {
    /// The value of an option that takes one.
    pub fn into_value(self) -> OsString {
        self.value.unwrap_or_default()
    }
}

/// What the words were.
#[derive(Debug)]
pub struct Parsed {
    /// The options in order.
    pub given: Vec<Given>,
    /// What follows the options, without the `--` that ended them.
    pub rest: Vec<OsString>,
}

/// Reads options up to the first word that is none, or past `--`. `elsewhere` are options that a person may have
/// put in the wrong place.
///
/// # Errors
/// [`OptionError`], for the first wrong word.
pub fn parse(
    words: &[OsString],
    specs: &'static [OptionSpec],
    elsewhere: (Elsewhere, &[OptionSpec]),
) -> Result<Parsed, OptionError> {
    let mut given = Vec::new();
    let mut words = words.iter();
    while let Some(word) = words.as_slice().first() {
        let bytes = word.as_bytes();
        if bytes == b"--" {
            words.next();
            break;
        }
        if let Some(long) = bytes.strip_prefix(b"--") {
            words.next();
            given.push(parse_long(long, specs, elsewhere, &mut words)?);
        } else if bytes.len() > 1 && bytes[0] == b'-' {
            words.next();
            parse_cluster(&bytes[1..], specs, elsewhere, &mut words, &mut given)?;
        } else {
            break;
        }
    }
    Ok(Parsed { given, rest: words.cloned().collect() })
}

fn parse_long<'w>(
    word: &[u8],
    specs: &'static [OptionSpec],
    elsewhere: (Elsewhere, &[OptionSpec]),
    words: &mut impl Iterator<Item = &'w OsString>,
) -> Result<Given, OptionError> {
    let (name, value) = match word.iter().position(|byte| *byte == b'=') {
        Some(at) => (&word[..at], Some(OsString::from_vec(word[at + 1..].to_vec()))),
        None => (word, None),
    };
    let typed = format!("--{}", String::from_utf8_lossy(name));
    let spec = match find_long(name, specs) {
        Found::One(spec) => spec,
        Found::None => {
            let known = !matches!(find_long(name, elsewhere.1), Found::None);
            return Err(OptionError::Unknown { option: typed, elsewhere: known.then_some(elsewhere.0) });
        }
        Found::Several(possibilities) => {
            return Err(OptionError::Ambiguous { option: typed, possibilities: possibilities.join(" ") });
        }
    };
    match (spec.takes, value) {
        (Takes::Nothing, None) => Ok(Given { spec, value: None }),
        (Takes::Nothing, Some(_)) => Err(OptionError::TakesNoValue(spec.typed())),
        (Takes::Value(_), Some(value)) => Ok(Given { spec, value: Some(value) }),
        (Takes::Value(_), None) => match words.next() {
            Some(value) => Ok(Given { spec, value: Some(value.clone()) }),
            None => Err(OptionError::NeedsValue(spec.typed())),
        },
    }
}

enum Found<'s> {
    One(&'s OptionSpec),
    None,
    Several(Vec<String>),
}

fn find_long<'s>(name: &[u8], specs: &'s [OptionSpec]) -> Found<'s> {
    let long = || specs.iter().filter(|spec| !spec.long.is_empty());
    if let Some(exact) = long().find(|spec| spec.long.as_bytes() == name) {
        return Found::One(exact);
    }
    let mut candidates: Vec<_> = long().filter(|spec| spec.long.as_bytes().starts_with(name)).collect();
    match (candidates.pop(), candidates.is_empty()) {
        (None, _) => Found::None,
        (Some(only), true) => Found::One(only),
        (Some(last), false) => {
            candidates.push(last);
            Found::Several(candidates.iter().map(|spec| format!("'--{}'", spec.long)).collect())
        }
    }
}

fn parse_cluster<'w>(
    cluster: &[u8],
    specs: &'static [OptionSpec],
    elsewhere: (Elsewhere, &[OptionSpec]),
    words: &mut impl Iterator<Item = &'w OsString>,
    given: &mut Vec<Given>,
) -> Result<(), OptionError> {
    for (at, letter) in cluster.iter().enumerate() {
        let typed = || format!("-{}", String::from_utf8_lossy(&[*letter]));
        let Some(spec) = specs.iter().find(|spec| spec.short == Some(*letter)) else {
            let known = elsewhere.1.iter().any(|spec| spec.short == Some(*letter));
            return Err(OptionError::Unknown { option: typed(), elsewhere: known.then_some(elsewhere.0) });
        };
        if spec.takes == Takes::Nothing {
            given.push(Given { spec, value: None });
            continue;
        }
        let attached = &cluster[at + 1..];
        let value = if attached.is_empty() {
            words.next().cloned().ok_or_else(|| OptionError::NeedsValue(typed()))?
        } else {
            OsStr::from_bytes(attached).to_owned()
        };
        given.push(Given { spec, value: Some(value) });
        return Ok(());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    static SPECS: [OptionSpec; 4] = [
        OptionSpec::both(b's', "source", Takes::Value("SRC"), ""),
        OptionSpec::long("soft", Takes::Nothing, ""),
        OptionSpec::long("softer", Takes::Nothing, ""),
        OptionSpec::short(b'v', Takes::Nothing, ""),
    ];
    static OTHER: [OptionSpec; 1] = [OptionSpec::both(b'm', "method", Takes::Nothing, "")];

    type Read = (Vec<(String, Option<OsString>)>, Vec<OsString>);

    fn read(words: &[&str]) -> Result<Read, OptionError> {
        let words: Vec<OsString> = words.iter().map(OsString::from).collect();
        let parsed = parse(&words, &SPECS, (Elsewhere::Generic, &OTHER))?;
        Ok((parsed.given.into_iter().map(|g| (g.spec.typed(), g.value)).collect(), parsed.rest))
    }

    #[test]
    fn as_getopt_does() {
        let (given, rest) =
            read(&["-vsx", "--so=y", "--sour", "z", "--soft", "--", "--rest"]).unwrap_or_default();
        assert!(given.is_empty() && rest.is_empty(), "--so is ambiguous");
        let (given, rest) = read(&["-vsx", "--sour=y", "-s", "z", "--soft", "--", "--rest"]).unwrap();
        let values: Vec<_> = given.iter().map(|(name, v)| (name.as_str(), v.as_deref())).collect();
        let x = |text| Some(OsStr::new(text));
        assert_eq!(
            values,
            [
                ("-v", None),
                ("--source", x("x")),
                ("--source", x("y")),
                ("--source", x("z")),
                ("--soft", None)
            ]
        );
        assert_eq!(rest, ["--rest"]);
        assert_eq!(read(&["word", "-v"]).unwrap().1, ["word", "-v"]);
        assert_eq!(read(&["-", "-v"]).unwrap().1, ["-", "-v"]);
    }

    #[test]
    fn errors_say_what_getopt_says() {
        let text = |words: &[&str]| read(words).unwrap_err().to_string();
        assert_eq!(text(&["--nope"]), "unrecognized option '--nope'");
        assert_eq!(text(&["-x"]), "unrecognized option '-x'");
        assert_eq!(text(&["--source"]), "option '--source' requires an argument");
        assert_eq!(text(&["--soft=1"]), "option '--soft' doesn't allow an argument");
        let ambiguous = "option '--so' is ambiguous; possibilities: '--source' '--soft' '--softer'";
        assert_eq!(text(&["--so"]), ambiguous);
        let misplaced = read(&["--method"]).unwrap_err();
        assert_eq!(misplaced.hint(), Some("this is a generic option: put it before the '--'"));
    }

    proptest! {
        #[test]
        fn no_words_panic(words: Vec<Vec<u8>>) {
            let words: Vec<_> = words.into_iter().map(OsString::from_vec).collect();
            if let Ok(parsed) = parse(&words, &SPECS, (Elsewhere::Generic, &OTHER)) {
                prop_assert!(words.ends_with(&parsed.rest));
            }
        }
    }
}
