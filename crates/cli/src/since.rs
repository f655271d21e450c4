//! `--since`: a moment, as it is typed.

use vserver_run::{events, record};

use crate::report::Failure;

/// What may be typed, for the manual.
pub const FORMS: &str = "TIME is a duration before now (30s, 10m, 2h, 3d), a moment in UTC (2026-12-01, \
                         2026-12-01T08:30, 2026-12-01T08:30:00Z), or @ and seconds since 1970.";

/// What a moment looks like, with digits in the place of zeros.
const FORM: &str = "0000-00-00T00:00:00";

/// The moment as events and logs have it: UTC, sortable as text.
///
/// # Errors
/// It is none of [`FORMS`].
pub fn moment(typed: &std::ffi::OsStr) -> Result<String, Failure> {
    let wrong = || Failure::Usage(format!("'{}' is not a time", typed.display()));
    let text = typed.to_str().ok_or_else(wrong)?;
    if let Some(seconds) = text.strip_prefix('@') {
        return Ok(events::utc(seconds.parse().map_err(|_| wrong())?));
    }
    if let Some((number, unit)) = text.split_at_checked(text.len().saturating_sub(1))
        && let Ok(number) = number.parse::<u64>()
        && let Some(unit) =
            [("s", 1), ("m", 60), ("h", 3600), ("d", 86_400)].iter().find(|(name, _)| *name == unit)
    {
        return Ok(events::utc(record::now().saturating_sub(number.saturating_mul(unit.1))));
    }
    // Digits where the form has digits, and nothing that sorts elsewhere.
    let text = text.trim_end_matches('Z').replacen(' ', "T", 1);
    let fits = text.len() >= 10
        && text.len() <= FORM.len()
        && text.bytes().zip(FORM.bytes()).all(|(t, f)| if f == b'0' { t.is_ascii_digit() } else { t == f });
    if fits { Ok(text) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;

    #[test]
    fn moments_are_told_in_several_ways() {
        let read = |text: &str| moment(OsStr::new(text));
        assert_eq!(read("@951782400").unwrap(), "2000-02-29T00:00:00Z");
        assert_eq!(read("2026-12-01").unwrap(), "2026-12-01");
        assert_eq!(read("2026-12-01 08:30").unwrap(), "2026-12-01T08:30");
        assert_eq!(read("2026-12-01T08:30:00Z").unwrap(), "2026-12-01T08:30:00");
        assert!(read("10m").unwrap() < events::now() && read("0s").unwrap() > read("3d").unwrap());
        for wrong in ["", "yesterday", "10", "m", "2026-1-1", "2026-12-01T08:30:00Zx", "@x", "ü"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
