//! Rules of `vunify`'s exclude lists, as far as a copy needs them: which files are not even copied.
//!
//! A line is `PATTERN` or `-PATTERN` (do not unify: copy), `+PATTERN` (unify), `~PATTERN` (leave out). Patterns are
//! shell wildcards on the absolute path in the guest; the first that matches counts.

use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// The rules in order: the pattern, and whether what it matches is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Excludes(Vec<(Vec<u8>, bool)>);

impl Excludes {
    /// Reads a list. Blank lines and lines that begin with `#` are skipped.
    pub fn parse(content: &[u8]) -> Self {
        let lines = content.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
        let rules =
            lines.filter(|line| !line.is_empty() && !line.starts_with(b"#")).map(|line| match line[0] {
                b'~' => (line[1..].to_vec(), true),
                b'-' | b'+' => (line[1..].to_vec(), false),
                _ => (line.to_vec(), false),
            });
        Self(rules.collect())
    }

    /// Whether a path below the root is left out.
    pub fn leave_out(&self, path: &Path) -> bool {
        let absolute = [b"/", path.as_os_str().as_bytes()].concat();
        self.0.iter().find(|(pattern, _)| matches(pattern, &absolute)).is_some_and(|(_, out)| *out)
    }
}

/// fnmatch(3) without flags: `*` and `?` match slashes too, `[…]` is a set of bytes.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    // The last `*` and what it had matched: on a mismatch it takes one byte more.
    let mut star: Option<(usize, usize)> = None;
    let (mut p, mut t) = (0, 0);
    while t < text.len() {
        let step = match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
                continue;
            }
            Some(b'?') => Some(1),
            Some(b'[') => match set(&pattern[p..], text[t]) {
                Some((true, length)) => Some(length),
                Some((false, _)) => None,
                None => (text[t] == b'[').then_some(1),
            },
            Some(b'\\') if pattern.get(p + 1) == Some(&text[t]) => Some(2),
            Some(byte) if *byte == text[t] => Some(1),
            _ => None,
        };
        match (step, star) {
            (Some(length), _) => {
                p += length;
                t += 1;
            }
            (None, Some((at, matched))) => {
                star = Some((at, matched + 1));
                p = at + 1;
                t = matched + 1;
            }
            (None, None) => return false,
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

/// Whether a byte is in the set at the front of a pattern, and how long the set is; `None` when it has no end.
fn set(pattern: &[u8], byte: u8) -> Option<(bool, usize)> {
    let negated = matches!(pattern.get(1), Some(b'!' | b'^'));
    let first = if negated { 2 } else { 1 };
    let mut at = first;
    let mut found = false;
    loop {
        match *pattern.get(at)? {
            b']' if at > first => return Some((found != negated, at + 1)),
            low => match (pattern.get(at + 1), pattern.get(at + 2)) {
                (Some(b'-'), Some(high)) if *high != b']' => {
                    found |= (low..=*high).contains(&byte);
                    at += 3;
                }
                _ => {
                    found |= low == byte;
                    at += 1;
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_first_match_counts() {
        let rules = Excludes::parse(b"# comment\n+/var/log/keep\n~/var/log/*\n-/etc/*\n~*.bak\n");
        let out = |path: &str| rules.leave_out(Path::new(path));
        assert!(out("var/log/syslog") && out("var/log/a/b") && out("home/x.bak"));
        assert!(!out("var/log/keep") && !out("etc/passwd") && !out("etc/x.bak") && !out("var/log"));
    }

    #[test]
    fn wildcards() {
        for (pattern, text, result) in [
            ("/a?c", "/abc", true),
            ("/a?c", "/ac", false),
            ("/[a-c]x", "/bx", true),
            ("/[!a-c]x", "/bx", false),
            ("/[]]", "/]", true),
            ("/[a", "/[a", true),
            ("*a*b*c", "xxaxxbxxc", true),
            ("*a*b*c", "xxaxxcxxb", false),
            ("/\\*", "/*", true),
            ("/\\*", "/x", false),
            ("", "", true),
            ("*", "", true),
        ] {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), result, "{pattern} {text}");
        }
    }

    proptest! {
        #[test]
        fn no_pattern_panics_or_hangs(pattern in "[*?\\[\\]a!^\\\\-]{0,20}", text in "[a*\\[\\]/-]{0,40}") {
            matches(pattern.as_bytes(), text.as_bytes());
        }

        #[test]
        fn a_plain_text_matches_itself(text in "[a-z/.]{0,30}") {
            prop_assert!(matches(text.as_bytes(), text.as_bytes()));
        }
    }
}
