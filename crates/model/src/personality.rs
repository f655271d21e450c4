//! Execution domains: the file `personality` and the value for personality(2).

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::words::{numeric_bits, split_list};

/// Flags of `linux/personality.h`, in the order of their bits.
const FLAGS: [(&str, u64); 11] = [
    ("UNAME26", 0x2_0000),
    ("ADDR_NO_RANDOMIZE", 0x4_0000),
    ("FDPIC_FUNCPTRS", 0x8_0000),
    ("MMAP_PAGE_ZERO", PAGE0),
    ("ADDR_COMPAT_LAYOUT", 0x20_0000),
    ("READ_IMPLIES_EXEC", 0x40_0000),
    ("ADDR_LIMIT_32BIT", LIMIT_32BIT),
    ("SHORT_INODE", SHORT),
    ("WHOLE_SECONDS", WHOLE),
    ("STICKY_TIMEOUTS", STICKY),
    ("ADDR_LIMIT_3GB", LIMIT_3GB),
];

const PAGE0: u64 = 0x10_0000;
const LIMIT_32BIT: u64 = 0x80_0000;
const SHORT: u64 = 0x100_0000;
const WHOLE: u64 = 0x200_0000;
const STICKY: u64 = 0x400_0000;
const LIMIT_3GB: u64 = 0x800_0000;

/// Types: the domain number with the flags that belong to it.
const TYPES: [(&str, u64); 21] = [
    ("linux", 0),
    ("linux_32bit", LIMIT_32BIT),
    ("linux32", 0x8),
    ("linux32_3gb", 0x8 | LIMIT_3GB),
    ("svr4", 0x1 | STICKY | PAGE0),
    ("svr3", 0x2 | STICKY | SHORT),
    ("scosvr3", 0x3 | STICKY | WHOLE | SHORT),
    ("osr5", 0x3 | STICKY | WHOLE),
    ("wysev386", 0x4 | STICKY | SHORT),
    ("iscr4", 0x5 | STICKY),
    ("bsd", 0x6),
    ("sunos", 0x6 | STICKY),
    ("xenix", 0x7 | STICKY | SHORT),
    ("irix32", 0x9 | STICKY),
    ("irixn32", 0xa | STICKY),
    ("irix64", 0xb | STICKY),
    ("riscos", 0xc),
    ("solaris", 0xd | STICKY),
    ("uw7", 0xe | STICKY | PAGE0),
    ("osf4", 0xf),
    ("hpux", 0x10),
];

/// A value for personality(2): a domain in the low byte, flags above.
///
/// Prints as the type's word and, after commas, the flags that the type does not bring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Personality(u64);

/// Why a text is no personality.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PersonalityError {
    /// The first line is no type.
    #[error("bad personality type '{0}'")]
    UnknownType(String),
    /// A further line is no flag.
    #[error("bad personality flag '{0}'")]
    UnknownFlag(String),
    /// The kernel's personality has 32 bits, and all ones asks instead of setting.
    #[error("personality {0:#x} does not fit the 32 bits of the kernel")]
    TooGreat(u64),
}

impl PersonalityError {
    /// What the administrator can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::UnknownType(word) if FLAGS.iter().any(|(flag, _)| flag.eq_ignore_ascii_case(word)) => {
                Some("flags come after the first line, which holds a type, usually linux or linux32")
            }
            Self::UnknownType(_) => Some("usual types: linux, linux32 (uname says i686), linux_32bit"),
            Self::UnknownFlag(word) if word.starts_with(['~', '!']) => {
                Some("personality flags cannot be negated")
            }
            Self::UnknownFlag(_) => Some("flags are those of personality(2), for example ADDR_NO_RANDOMIZE"),
            Self::TooGreat(_) => None,
        }
    }
}

impl Personality {
    /// Checks a raw value.
    ///
    /// # Errors
    /// [`PersonalityError::TooGreat`] from `0xffff_ffff` on.
    pub const fn new(raw: u64) -> Result<Self, PersonalityError> {
        if raw < 0xffff_ffff { Ok(Self(raw)) } else { Err(PersonalityError::TooGreat(raw)) }
    }

    /// The type of the first line: a word in any case with or without `PER_`, a number, or `^N`.
    ///
    /// # Errors
    /// [`PersonalityError::UnknownType`], or [`TooGreat`](PersonalityError::TooGreat) for a number.
    pub fn parse_type(word: &str) -> Result<Self, PersonalityError> {
        let bare = match word.get(..4) {
            Some(prefix) if prefix.eq_ignore_ascii_case("PER_") => &word[4..],
            _ => word,
        };
        let known = TYPES.iter().find(|(name, _)| name.eq_ignore_ascii_case(bare)).map(|(_, value)| *value);
        let value = known.or_else(|| numeric_bits(word));
        Self::new(value.ok_or_else(|| PersonalityError::UnknownType(word.to_owned()))?)
    }

    /// With the flags of a further line: words in any case, numbers or `^N`, separated by commas.
    ///
    /// # Errors
    /// [`PersonalityError::UnknownFlag`], or [`TooGreat`](PersonalityError::TooGreat) for a number.
    pub fn with_flags(self, list: &str) -> Result<Self, PersonalityError> {
        split_list(list).try_fold(self, |personality, word| {
            let known =
                FLAGS.iter().find(|(name, _)| name.eq_ignore_ascii_case(word)).map(|(_, value)| *value);
            let value = known.or_else(|| numeric_bits(word));
            Self::new(personality.0 | value.ok_or_else(|| PersonalityError::UnknownFlag(word.to_owned()))?)
        })
    }

    /// The lines of the file: a type, then flags. No line is plain Linux.
    ///
    /// # Errors
    /// The first error of [`parse_type`](Self::parse_type) and [`with_flags`](Self::with_flags).
    pub fn parse_lines<'a>(lines: impl IntoIterator<Item = &'a str>) -> Result<Self, PersonalityError> {
        let mut lines = lines.into_iter();
        let first = lines.next().map_or(Ok(Self::default()), Self::parse_type)?;
        lines.try_fold(first, Self::with_flags)
    }

    /// The value for personality(2).
    pub const fn get(self) -> u64 {
        self.0
    }

    /// This personality in the domain of 32-bit programs (`PER_LINUX32`), which makes uname report the 32-bit
    /// machine; `ADDR_LIMIT_32BIT` alone does not.
    #[must_use]
    pub const fn in_linux32(self) -> Self {
        Self((self.0 & !0xff) | 0x8)
    }
}

impl fmt::Display for Personality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The type that says most of it; every domain without a type of its own prints as a number.
        let fits =
            TYPES.iter().filter(|(_, value)| value & 0xff == self.0 & 0xff && self.0 & value == *value);
        let mut rest = match fits.max_by_key(|(_, value)| value.count_ones()) {
            Some((name, value)) => {
                f.write_str(name)?;
                self.0 & !value
            }
            None => return write!(f, "{:#x}", self.0),
        };
        for (name, value) in FLAGS {
            if rest & value == value {
                write!(f, ",{name}")?;
                rest &= !value;
            }
        }
        if rest == 0 { Ok(()) } else { write!(f, ",{rest:#x}") }
    }
}

impl std::str::FromStr for Personality {
    type Err = PersonalityError;

    /// A type and, after the first comma, flags: the form that is printed.
    fn from_str(text: &str) -> Result<Self, PersonalityError> {
        match text.split_once(',') {
            Some((word, flags)) => Self::parse_type(word)?.with_flags(flags),
            None => Self::parse_type(text),
        }
    }
}

/// Whether `uts/machine` names a 32-bit x86 processor, which needs the `linux32` domain: `uname -m` then says i686,
/// and 32-bit package managers stop choosing 64-bit packages.
pub fn machine_is_32bit_x86(machine: &str) -> bool {
    matches!(
        machine,
        "i386" | "i486" | "i586" | "i686" | "x86" | "athlon" | "geode" | "pentium3" | "pentium4"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn typed(word: &str) -> u64 {
        Personality::parse_type(word).unwrap().get()
    }

    #[test]
    fn types() {
        assert_eq!(typed("linux"), 0);
        assert_eq!(typed("PER_LINUX"), 0);
        assert_eq!(typed("linux_32bit"), 0x80_0000);
        assert_eq!(typed("Linux32"), 8);
        assert_eq!(typed("linux32_3gb"), 0x800_0008);
        assert_eq!(typed("svr4"), 0x410_0001);
        assert_eq!(typed("scosvr3"), 0x700_0003);
        assert_eq!(typed("uw7"), 0x410_000e);
        assert_eq!(typed("^3"), 8);
        assert_eq!(typed("0x8"), 8);
        for wrong in
            ["linux_fdpic", "", "all", "none", "~linux", "PER_PER_LINUX", "PER_8", "ADDR_LIMIT_3GB", "é"]
        {
            let error = Personality::parse_type(wrong).unwrap_err();
            assert_eq!(error.to_string(), format!("bad personality type '{wrong}'"));
        }
        assert_eq!(Personality::parse_type("-1"), Err(PersonalityError::TooGreat(u64::MAX)));
        assert!(Personality::parse_type("0xffffffff").is_err());
    }

    #[test]
    fn files() {
        let read = |lines: &[&str]| Personality::parse_lines(lines.iter().copied()).map(Personality::get);
        assert_eq!(read(&[]), Ok(0));
        assert_eq!(read(&["linux32", "UNAME26", "addr_no_randomize"]), Ok(0x6_0008));
        assert_eq!(read(&["linux", "READ_IMPLIES_EXEC,ADDR_COMPAT_LAYOUT", "0x8000000"]), Ok(0x860_0000));
        assert_eq!(read(&["linux", "~UNAME26"]), Err(PersonalityError::UnknownFlag("~UNAME26".to_owned())));
        assert_eq!(read(&["linux", "all"]), Err(PersonalityError::UnknownFlag("all".to_owned())));
    }

    #[test]
    fn printing() {
        for (text, raw) in [
            ("linux", 0),
            ("linux32", 8),
            ("linux32_3gb", 0x800_0008),
            ("linux32,UNAME26", 0x2_0008),
            ("sunos", 0x400_0006),
            ("bsd,UNAME26", 0x2_0006),
            ("0x411", 0x411),
            ("linux32,0x100", 0x108),
        ] {
            assert_eq!(Personality::new(raw).unwrap().to_string(), text);
        }
    }

    #[test]
    fn machines() {
        assert!(["i386", "i486", "i586", "i686", "athlon"].iter().all(|m| machine_is_32bit_x86(m)));
        assert!(!["x86_64", "amd64", "armv7l", "i786", ""].iter().any(|m| machine_is_32bit_x86(m)));
        assert_eq!(Personality::parse_type("linux_32bit").unwrap().in_linux32().get(), 0x80_0008);
    }

    proptest! {
        #[test]
        fn print_and_read(raw in 0..0xffff_ffff_u64) {
            let personality = Personality::new(raw).unwrap();
            prop_assert_eq!(personality.to_string().parse(), Ok(personality));
        }

        #[test]
        fn no_text_panics(lines in proptest::collection::vec("[a-zA-Z0-9_^~,-]{0,20}|.*", 0..4)) {
            if let Ok(personality) = Personality::parse_lines(lines.iter().map(String::as_str)) {
                prop_assert_eq!(personality.to_string().parse(), Ok(personality));
            }
        }
    }
}
