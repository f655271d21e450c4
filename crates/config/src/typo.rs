//! Guessing what a misspelt name was meant to be.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

/// Whether one name is likely a misspelling of the other: few edits for its length.
pub(crate) fn near(a: &OsStr, b: &OsStr) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let longest = a.len().max(b.len());
    // A name of one or two letters is near everything.
    longest > 2 && distance(a, b) <= if longest < 6 { 1 } else { 2 }
}

/// How many insertions, deletions, replacements and swaps of neighbours make one text of the other.
pub(crate) fn distance(a: &[u8], b: &[u8]) -> usize {
    if a.len().abs_diff(b.len()) > 3 {
        return usize::MAX;
    }
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let replaced = last[j] + usize::from(!x.eq_ignore_ascii_case(y));
            let mut best = replaced.min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && a[i - 1] == *y && b[j - 1] == *x {
                best = best.min(before[j - 1] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (a, b, edits) in [
            ("", "", 0),
            ("nice", "nice", 0),
            ("interface", "interfaces", 1),
            ("contxet", "context", 1),
            ("bcapabilites", "bcapabilities", 1),
            ("pgkmgmt", "pkgmgmt", 1),
            ("flags", "cflag", 2),
            ("Context", "context", 0),
        ] {
            assert_eq!(distance(a.as_bytes(), b.as_bytes()), edits, "{a} {b}");
        }
    }

    #[test]
    fn nearness_depends_on_length() {
        assert!(near(OsStr::new("interface"), OsStr::new("interfaces")));
        assert!(!near(OsStr::new("ip"), OsStr::new("if")));
        assert!(!near(OsStr::new("nice"), OsStr::new("name")));
        assert!(!near(OsStr::new("db"), OsStr::new("web1")));
    }
}
