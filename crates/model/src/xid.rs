//! Context numbers: [`Xid`], and the network context's [`Nid`] and filesystem [`Tag`] that are usually equal to it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::number::parse_c;

/// The least number that a context of ours can have: 0 is the host, 1 the context that sees every guest.
pub const FIRST: u32 = 2;
/// The greatest number accepted.
pub const LAST: u32 = 65_535;
/// The greatest number recommended: beyond it the user ids of a shifted guest no longer fit signed 32-bit programs.
pub const LAST_RECOMMENDED: u32 = 32_767;

/// A number that cannot be a context of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("context number {0} is outside 2 to 65535")]
pub struct XidOutOfRange(pub u32);

impl XidOutOfRange {
    /// What the administrator can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        Some("choose a number from 2 to 32767 that no other guest has")
    }
}

/// A text that is no context number.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum XidError {
    /// Not a number at all: numbers are decimal, `0x` hexadecimal or, after a leading `0`, octal.
    #[error("'{0}' is not a context number")]
    NotANumber(String),
    /// A number, but none for a guest.
    #[error(transparent)]
    OutOfRange(#[from] XidOutOfRange),
}

impl XidError {
    /// What the administrator can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NotANumber(_) => {
                Some("write a number from 2 to 32767, and nothing else, on the first line")
            }
            Self::OutOfRange(e) => e.hint(),
        }
    }
}

macro_rules! context_number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "u32", into = "u32")]
        pub struct $name(u16);

        impl $name {
            /// Checks a raw number.
            ///
            /// # Errors
            /// [`XidOutOfRange`] outside 2..=65535.
            pub const fn new(raw: u32) -> Result<Self, XidOutOfRange> {
                if raw >= FIRST && raw <= LAST {
                    #[expect(clippy::cast_possible_truncation, reason = "LAST is u16::MAX")]
                    Ok(Self(raw as u16))
                } else {
                    Err(XidOutOfRange(raw))
                }
            }

            /// The number as the kernel's and the tools' type.
            pub const fn get(self) -> u32 {
                self.0 as u32
            }

            /// Whether the number is in the range that we recommend, 2 to 32767.
            pub const fn is_recommended(self) -> bool {
                self.get() <= LAST_RECOMMENDED
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = XidError;

            fn from_str(text: &str) -> Result<Self, XidError> {
                let number = parse_c(text).ok_or_else(|| XidError::NotANumber(text.to_owned()))?;
                // A number beyond u32 is out of range all the same; the message says the nearest it can.
                Ok(Self::new(u32::try_from(number).unwrap_or(u32::MAX))?)
            }
        }

        impl TryFrom<u32> for $name {
            type Error = XidOutOfRange;

            fn try_from(raw: u32) -> Result<Self, XidOutOfRange> {
                Self::new(raw)
            }
        }

        impl From<$name> for u32 {
            fn from(number: $name) -> u32 {
                number.get()
            }
        }
    };
}

context_number! {
    /// A context's number, 2 to 65535: the cgroup, namespaces and record of one running guest.
    Xid
}
context_number! {
    /// A network context's number, 2 to 65535: the addresses that a cgroup may use. Usually equal to the xid.
    Nid
}
context_number! {
    /// The number that marks files for disk limits, 2 to 65535. Usually equal to the xid.
    Tag
}

impl Xid {
    /// The first host user id of the guest in shifted mode, `xid * 65536`.
    ///
    /// Always fits: 65535 * 65536 is below `u32::MAX`.
    pub const fn first_uid(self) -> u32 {
        self.get() << 16
    }

    /// How many ids follow from [`first_uid`](Self::first_uid), that one included: 65536, but one less for xid
    /// 65535, whose last id would be `(uid_t) -1`, which is no user (`user_namespaces(7)`).
    pub const fn uid_count(self) -> u32 {
        if self.get() == LAST { 65_535 } else { 65_536 }
    }
}

impl From<Xid> for Nid {
    fn from(xid: Xid) -> Self {
        Self(xid.0)
    }
}

impl From<Xid> for Tag {
    fn from(xid: Xid) -> Self {
        Self(xid.0)
    }
}

/// What kind of context a number names; printed by `vserver-info N XIDTYPE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum XidType {
    /// 0, the host.
    Main,
    /// 1, which sees every process.
    Watch,
    /// 2 to 65535, chosen by the administrator.
    Static,
    /// Chosen by the kernel. No kernel of ours does, so [`XidType::of`] never says so; the word is kept for scripts.
    Dynamic,
    /// Anything else.
    Invalid,
}

impl XidType {
    /// The kind of a raw number.
    pub const fn of(raw: u32) -> Self {
        match raw {
            0 => Self::Main,
            1 => Self::Watch,
            FIRST..=LAST => Self::Static,
            _ => Self::Invalid,
        }
    }

    /// The word that the tools print.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Main => "main",
            Self::Watch => "watch",
            Self::Static => "static",
            Self::Dynamic => "dynamic",
            Self::Invalid => "invalid",
        }
    }
}

impl fmt::Display for XidType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn range_and_recommendation() {
        assert_eq!(Xid::new(0), Err(XidOutOfRange(0)));
        assert_eq!(Xid::new(1), Err(XidOutOfRange(1)));
        assert_eq!(Xid::new(65_536), Err(XidOutOfRange(65_536)));
        assert!(Xid::new(2).unwrap().is_recommended());
        assert!(Xid::new(32_767).unwrap().is_recommended());
        assert!(!Xid::new(32_768).unwrap().is_recommended());
        assert_eq!(Xid::new(70_000).unwrap_err().to_string(), "context number 70000 is outside 2 to 65535");
    }

    #[test]
    fn texts() {
        assert_eq!("105".parse::<Xid>().unwrap().get(), 105);
        assert_eq!("0x69".parse::<Nid>().unwrap().get(), 105);
        assert_eq!("0151".parse::<Tag>().unwrap().get(), 105);
        assert_eq!("web1".parse::<Xid>().unwrap_err().to_string(), "'web1' is not a context number");
        assert_eq!("-2".parse::<Xid>(), Err(XidError::NotANumber("-2".to_owned())));
        assert_eq!("99999999999".parse::<Xid>(), Err(XidError::OutOfRange(XidOutOfRange(u32::MAX))));
    }

    #[test]
    fn user_ids() {
        assert_eq!(Xid::new(2).unwrap().first_uid(), 131_072);
        let last = Xid::new(LAST).unwrap();
        assert_eq!(last.first_uid(), 4_294_901_760);
        assert_eq!(last.first_uid() + (last.uid_count() - 1), u32::MAX - 1);
        assert_eq!(Xid::new(105).unwrap().uid_count(), 65_536);
    }

    #[test]
    fn type_words() {
        let words: Vec<_> = [0, 1, 2, 49_152, 65_535, 65_536].map(|n| XidType::of(n).to_string()).to_vec();
        assert_eq!(words, ["main", "watch", "static", "static", "static", "invalid"]);
    }

    #[test]
    fn json_is_a_checked_number() {
        assert_eq!(serde_json::to_string(&Xid::new(105).unwrap()).unwrap(), "105");
        assert!(serde_json::from_str::<Xid>("1").is_err());
    }

    proptest! {
        #[test]
        fn print_and_read(raw in FIRST..=LAST) {
            let xid = Xid::new(raw).unwrap();
            prop_assert_eq!(xid.to_string().parse::<Xid>().unwrap(), xid);
        }

        #[test]
        fn no_text_panics(text: String) {
            if let Ok(xid) = text.parse::<Xid>() {
                prop_assert!((FIRST..=LAST).contains(&xid.get()));
            }
        }
    }
}
