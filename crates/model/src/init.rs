//! Init styles and the sequence of signals that ends a guest.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::signal;

/// How a guest is started and stopped (`apps/init/style`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InitStyle {
    /// Run the guest's rc script of a runlevel; no init process.
    #[default]
    Sysv,
    /// Run the guest's own init as its first process.
    Plain,
    /// Run minit.
    Minit,
    /// Run Gentoo's rc.
    Gentoo,
    /// The newer name of [`Gentoo`](Self::Gentoo).
    Openrc,
    /// Run Arch's old rc scripts.
    Arch,
    /// Run systemd as the guest's init.
    Systemd,
    /// A guest that does nothing, to be entered and repaired; on the command line only.
    Rescue,
    /// None of the built-in commands, only `cmd.*`: what an empty file says.
    #[serde(rename = "")]
    Empty,
}

/// A style that nobody knows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Unknown init-style '{0}'; aborting")]
pub struct UnknownInitStyle(pub String);

impl UnknownInitStyle {
    /// What the administrator can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        Some("known styles: sysv, plain, minit, gentoo, openrc, arch, systemd")
    }
}

impl InitStyle {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Sysv,
        Self::Plain,
        Self::Minit,
        Self::Gentoo,
        Self::Openrc,
        Self::Arch,
        Self::Systemd,
        Self::Rescue,
        Self::Empty,
    ];

    /// The word in the file.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sysv => "sysv",
            Self::Plain => "plain",
            Self::Minit => "minit",
            Self::Gentoo => "gentoo",
            Self::Openrc => "openrc",
            Self::Arch => "arch",
            Self::Systemd => "systemd",
            Self::Rescue => "rescue",
            Self::Empty => "",
        }
    }
}

impl FromStr for InitStyle {
    type Err = UnknownInitStyle;

    fn from_str(text: &str) -> Result<Self, UnknownInitStyle> {
        Self::ALL.into_iter().find(|s| s.as_str() == text).ok_or_else(|| UnknownInitStyle(text.to_owned()))
    }
}

impl fmt::Display for InitStyle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One step of ending a guest that does not end by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KillStep {
    /// Send this signal, 1 to 64, to every process of the guest.
    Signal(i32),
    /// Wait at most this long for the guest to end.
    Wait(Duration),
}

/// Why a `killseq` cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KillSeqError {
    /// No item at all.
    #[error("empty kill sequence")]
    Empty,
    /// An odd item (the first, third …) must be a signal.
    #[error("item {item} of the kill sequence: {source}")]
    Signal {
        /// Its number, from 1.
        item: usize,
        /// What is wrong with it.
        source: signal::UnknownSignal,
    },
    /// An even item must be a time in seconds.
    #[error("item {item} of the kill sequence: '{text}' is no time in seconds")]
    Wait {
        /// Its number, from 1.
        item: usize,
        /// What stands there.
        text: String,
    },
    /// The last item is a time: after waiting nothing would happen.
    #[error("the kill sequence ends with a time, not a signal")]
    EndsWithWait,
}

impl KillSeqError {
    /// What the administrator can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        Some("one item a line: a signal, then any number of pairs of a time in seconds and a signal")
    }
}

/// The sequence of guests that configure none: TERM, five seconds, KILL.
pub const DEFAULT_KILLSEQ: [KillStep; 3] =
    [KillStep::Signal(15), KillStep::Wait(Duration::from_secs(5)), KillStep::Signal(9)];

/// Reads `signal [wait signal]*`, one item each. A time is in seconds and may have a fraction, as for sleep(1).
///
/// # Errors
/// [`KillSeqError`] names the first item that does not fit.
pub fn parse_killseq<'a>(items: impl IntoIterator<Item = &'a str>) -> Result<Vec<KillStep>, KillSeqError> {
    let mut steps = Vec::new();
    for (i, item) in items.into_iter().map(|item| item.trim_matches([' ', '\t'])).enumerate() {
        steps.push(if i % 2 == 0 {
            match signal::parse(item) {
                Ok(number) if number > 0 => KillStep::Signal(number),
                _ => {
                    let source = signal::UnknownSignal(item.to_owned());
                    return Err(KillSeqError::Signal { item: i + 1, source });
                }
            }
        } else {
            let wait = parse_seconds(item);
            KillStep::Wait(wait.ok_or_else(|| KillSeqError::Wait { item: i + 1, text: item.to_owned() })?)
        });
    }
    match steps.last() {
        None => Err(KillSeqError::Empty),
        Some(KillStep::Wait(_)) => Err(KillSeqError::EndsWithWait),
        Some(KillStep::Signal(_)) => Ok(steps),
    }
}

/// Seconds, at most a day, with at most three digits of fraction.
fn parse_seconds(text: &str) -> Option<Duration> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let number = |digits: &str| match digits {
        _ if digits.bytes().all(|b| b.is_ascii_digit()) => digits.parse::<u32>().ok(),
        _ => None,
    };
    let seconds = number(whole).filter(|s| *s <= 86_400)?;
    let millis = match fraction.len() {
        1..=3 => number(fraction)? * [100, 10, 1][fraction.len() - 1],
        _ => return None,
    };
    Some(Duration::from_secs(seconds.into()) + Duration::from_millis(millis.into()))
}

/// The items that [`parse_killseq`] reads back.
pub fn print_killseq(steps: &[KillStep]) -> Vec<String> {
    steps
        .iter()
        .map(|step| match step {
            KillStep::Signal(number) => number.to_string(),
            KillStep::Wait(time) if time.subsec_millis() == 0 => time.as_secs().to_string(),
            KillStep::Wait(time) => format!("{}.{:03}", time.as_secs(), time.subsec_millis()),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn styles() {
        for style in InitStyle::ALL {
            assert_eq!(style.as_str().parse(), Ok(style));
            let json = serde_json::to_string(&style).unwrap();
            assert_eq!(json, format!("{:?}", style.as_str()));
            assert_eq!(serde_json::from_str::<InitStyle>(&json).unwrap(), style);
        }
        let unknown = "upstart".parse::<InitStyle>().unwrap_err();
        assert_eq!(unknown.to_string(), "Unknown init-style 'upstart'; aborting");
    }

    #[test]
    fn kill_sequences() {
        assert_eq!(parse_killseq(["15", "5", "9"]).unwrap(), DEFAULT_KILLSEQ);
        assert_eq!(parse_killseq(["TERM", " 5 ", "SIGKILL"]).unwrap(), DEFAULT_KILLSEQ);
        assert_eq!(
            parse_killseq(["RTMIN+3", "0.25", "KILL"]).unwrap(),
            [KillStep::Signal(37), KillStep::Wait(Duration::from_millis(250)), KillStep::Signal(9)]
        );
        assert_eq!(parse_killseq([]), Err(KillSeqError::Empty));
        assert_eq!(parse_killseq(["15", "5"]), Err(KillSeqError::EndsWithWait));
        let wrong = parse_killseq(["15", "KILL"]).unwrap_err();
        assert_eq!(wrong.to_string(), "item 2 of the kill sequence: 'KILL' is no time in seconds");
        let wrong = parse_killseq(["15 5 9"]).unwrap_err();
        assert_eq!(wrong.to_string(), "item 1 of the kill sequence: unknown signal '15 5 9'");
        assert!(parse_killseq(["0"]).is_err());
    }

    proptest! {
        #[test]
        fn print_and_read(first in 1..=64, more in proptest::collection::vec((0..86_400_000_u64, 1..=64), 0..5)) {
            let mut steps = vec![KillStep::Signal(first)];
            for (millis, number) in more {
                steps.extend([KillStep::Wait(Duration::from_millis(millis)), KillStep::Signal(number)]);
            }
            let items = print_killseq(&steps);
            prop_assert_eq!(parse_killseq(items.iter().map(String::as_str)), Ok(steps));
        }

        #[test]
        fn no_text_panics(items: Vec<String>, seconds in "[0-9]{0,12}[.]?[0-9]{0,5}") {
            let read = [parse_killseq(items.iter().map(String::as_str)), parse_killseq(["15", &seconds, "9"])];
            for steps in read.into_iter().flatten() {
                let items = print_killseq(&steps);
                prop_assert_eq!(parse_killseq(items.iter().map(String::as_str)), Ok(steps));
            }
        }
    }
}
