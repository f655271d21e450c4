//! Signals by name and number.
//!
//! The numbers are those of `asm-generic/signal.h`, which x86, arm, arm64, riscv and s390 share; `RTMIN` is the C
//! library's (34), because that is the number that `kill -RTMIN+3` sends and systemd waits for.

/// The first real-time signal that the C library leaves to programs.
pub const RTMIN: i32 = 34;
/// The last real-time signal, and the greatest number.
pub const RTMAX: i32 = 64;

/// A text that is no signal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown signal '{0}'")]
pub struct UnknownSignal(pub String);

impl UnknownSignal {
    /// What the administrator can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        Some("write a number from 1 to 64 or a name such as TERM, SIGKILL or RTMIN+3")
    }
}

/// Name and number; the first name of a number is the one that is printed.
const NAMES: [(&str, i32); 35] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("PWR", 30),
    ("SYS", 31),
    ("IOT", 6),
    ("CLD", 17),
    ("POLL", 29),
    ("UNUSED", 31),
];

/// Reads a signal: a number from 0 (which only asks whether the process is there) to 64, or a name with or without
/// `SIG`, in any case, `RTMIN`, `RTMIN+n`, `RTMAX` and `RTMAX-n` among them.
///
/// # Errors
/// [`UnknownSignal`] for anything else.
pub fn parse(text: &str) -> Result<i32, UnknownSignal> {
    let unknown = || UnknownSignal(text.to_owned());
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        return match text.parse() {
            Ok(number @ 0..=RTMAX) => Ok(number),
            _ => Err(unknown()),
        };
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some((_, number)) = NAMES.iter().find(|(known, _)| *known == name) {
        return Ok(*number);
    }
    let offset = |rest: &str, sign: char| match rest.strip_prefix(sign) {
        None if rest.is_empty() => Some(0),
        Some(digits) if digits.starts_with(|c: char| c.is_ascii_digit()) => {
            digits.parse::<i32>().ok().filter(|n| *n <= RTMAX - RTMIN)
        }
        _ => None,
    };
    let number = if let Some(rest) = name.strip_prefix("RTMIN") {
        offset(rest, '+').map(|n| RTMIN + n)
    } else if let Some(rest) = name.strip_prefix("RTMAX") {
        offset(rest, '-').map(|n| RTMAX - n)
    } else {
        None
    };
    number.ok_or_else(unknown)
}

/// A signal's name without `SIG`; numbers without a name (0, 32, 33) stand for themselves.
pub fn name(number: i32) -> String {
    if let Some((name, _)) = NAMES.iter().find(|(_, known)| *known == number) {
        return (*name).to_owned();
    }
    match number {
        RTMIN => "RTMIN".to_owned(),
        RTMAX => "RTMAX".to_owned(),
        n if (RTMIN..RTMAX).contains(&n) => format!("RTMIN+{}", n - RTMIN),
        n => n.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_form() {
        for (text, number) in [
            ("TERM", 15),
            ("SIGTERM", 15),
            ("sigterm", 15),
            ("15", 15),
            ("RTMIN+3", 37),
            ("SIGRTMIN", 34),
            ("RTMAX", 64),
            ("RTMAX-1", 63),
            ("WINCH", 28),
            ("PWR", 30),
            ("0", 0),
            ("64", 64),
        ] {
            assert_eq!(parse(text), Ok(number), "{text}");
        }
        for text in
            ["", "SIG", "SIGSIGTERM", "65", "-9", "+9", "RTMIN+", "RTMIN+31", "RTMIN-1", "RTMAX+1", "TERM "]
        {
            assert_eq!(parse(text), Err(UnknownSignal(text.to_owned())));
        }
        assert_eq!(name(37), "RTMIN+3");
        assert_eq!(name(6), "ABRT");
    }

    proptest! {
        #[test]
        fn print_and_read(number in 0..=RTMAX) {
            prop_assert_eq!(parse(&name(number)), Ok(number));
        }

        #[test]
        fn no_text_panics(text in "(SIG)?RTM(IN|AX)[+-]?[0-9]{0,12}|.*") {
            if let Ok(number) = parse(&text) {
                prop_assert!((0..=RTMAX).contains(&number));
            }
        }
    }
}
