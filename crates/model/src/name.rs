//! A guest's name, the names that are skipped as backups, and the names of lock files.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::Path;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The longest name: the kernel's `NAME_MAX` for one component of a path.
pub const MAX_BYTES: usize = 255;

/// The base name of a guest's configuration directory: what messages, run files, cgroups and hooks call it.
///
/// One path component, so that joining it to a directory stays in that directory; bytes, because file names are.
/// In JSON it is a string in which `%` and bytes that are not UTF-8 stand as `%XX`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GuestName(OsString);

/// Why a text cannot be a guest's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// No character at all.
    #[error("a guest's name cannot be empty")]
    Empty,
    /// More than [`MAX_BYTES`].
    #[error("guest name '{}…' is longer than {MAX_BYTES} bytes", String::from_utf8_lossy(&.0.as_bytes()[..32]))]
    TooLong(OsString),
    /// It would be hidden, or leave the directory.
    #[error("guest name '{}' begins with a dot", .0.display())]
    LeadingDot(OsString),
    /// A slash leaves the directory, a NUL cannot be in a path, and a newline cannot be in a cgroup's name
    /// (`cgroup_mkdir()` refuses it to keep `/proc/PID/cgroup` readable).
    #[error("guest name '{}' contains a slash, a newline or a NUL", .0.display())]
    ForbiddenByte(OsString),
}

impl NameError {
    /// What the administrator can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        Some("letters, digits, '-', '_' and '.' (not first) make a good name")
    }
}

impl GuestName {
    /// Checks a name.
    ///
    /// # Errors
    /// [`NameError`]: empty, too long, beginning with a dot, or with `/`, newline or NUL in it.
    pub fn new(name: impl Into<OsString>) -> Result<Self, NameError> {
        let name = name.into();
        let bytes = name.as_bytes();
        if bytes.is_empty() {
            Err(NameError::Empty)
        } else if bytes.iter().any(|b| matches!(b, b'/' | b'\n' | 0)) {
            Err(NameError::ForbiddenByte(name))
        } else if bytes[0] == b'.' {
            Err(NameError::LeadingDot(name))
        } else if bytes.len() > MAX_BYTES {
            Err(NameError::TooLong(name))
        } else {
            Ok(Self(name))
        }
    }

    /// The name as bytes.
    pub fn as_os_str(&self) -> &OsStr {
        &self.0
    }

    /// The name as a relative path of one component.
    pub fn as_path(&self) -> &Path {
        Path::new(&self.0)
    }

    /// For messages; bytes that are not UTF-8 show as replacement characters.
    pub fn display(&self) -> std::ffi::os_str::Display<'_> {
        self.0.display()
    }

    /// Whether enumerating all guests skips this name (see [`is_backup_name`]).
    pub fn is_backup(&self) -> bool {
        is_backup_name(&self.0)
    }

    /// The name's part of lock file names; see [`lock_name`].
    pub fn lock_name(&self) -> String {
        lock_name(&self.0)
    }
}

impl AsRef<OsStr> for GuestName {
    fn as_ref(&self) -> &OsStr {
        &self.0
    }
}

impl From<GuestName> for OsString {
    fn from(name: GuestName) -> Self {
        name.0
    }
}

impl AsRef<Path> for GuestName {
    fn as_ref(&self) -> &Path {
        self.as_path()
    }
}

impl fmt::Display for GuestName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0.display(), f)
    }
}

impl std::str::FromStr for GuestName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::new(text)
    }
}

impl Serialize for GuestName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut text = String::with_capacity(self.0.len());
        for chunk in self.0.as_bytes().utf8_chunks() {
            text.push_str(&chunk.valid().replace('%', "%25"));
            chunk.invalid().iter().for_each(|byte| push_escaped(&mut text, *byte));
        }
        serializer.serialize_str(&text)
    }
}

impl<'de> Deserialize<'de> for GuestName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;
        let text = String::deserialize(deserializer)?;
        let bytes =
            unescape(&text).ok_or_else(|| D::Error::custom("a '%' without two hexadecimal digits"))?;
        Self::new(OsString::from_vec(bytes)).map_err(D::Error::custom)
    }
}

fn push_escaped(text: &mut String, byte: u8) {
    use fmt::Write as _;
    write!(text, "%{byte:02X}").expect("writing to a String cannot fail");
}

fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        if first == b'%' {
            let digits = std::str::from_utf8(tail.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &tail[2..];
        } else {
            bytes.push(first);
            rest = tail;
        }
    }
    Some(bytes)
}

/// Whether a file name is one that editors and package managers leave behind: `*.rpmsave *.rpmnew *.rpmorig
/// *.cfsaved* *.~*~ *~`.
///
/// Such names are skipped among guests, hook scripts, package lists, public keys and files to copy.
pub fn is_backup_name(name: &OsStr) -> bool {
    let name = name.as_bytes();
    // "*.~*~" also ends in "~", so the plain pattern covers it.
    name.ends_with(b"~")
        || [&b".rpmsave"[..], b".rpmnew", b".rpmorig"].iter().any(|end| name.ends_with(end))
        || name.windows(b".cfsaved".len()).any(|part| part == b".cfsaved")
}

/// Whether a directory list (interfaces, disk limits, scripts …) skips this entry: hidden names, `CVS`, `.svn`,
/// `.git` and backup names.
pub fn is_skipped_entry(name: &OsStr) -> bool {
    name.as_bytes().starts_with(b".") || name == "CVS" || is_backup_name(name)
}

/// Encodes any bytes (a guest's name or the path of its configuration) as one component for a lock file's name, so
/// that different texts have different locks.
///
/// Letters, digits, `-` and `_` stand for themselves, so does `.` but not in front; all else is `%XX`. Beyond 200
/// bytes the end is replaced by `%%` and a hash of the whole. (The original kept only letters and digits: `a-b` and
/// `ab` shared one lock.)
pub fn lock_name(text: &OsStr) -> String {
    const LONGEST: usize = 200;
    let mut encoded = String::with_capacity(text.len());
    for (i, &byte) in text.as_bytes().iter().enumerate() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => encoded.push(char::from(byte)),
            b'.' if i > 0 => encoded.push('.'),
            _ => push_escaped(&mut encoded, byte),
        }
    }
    if encoded.len() > LONGEST {
        use fmt::Write as _;
        encoded.truncate(LONGEST - 18); // ASCII only, so every place is a character boundary
        write!(encoded, "%%{:016x}", fnv1a(text.as_bytes())).expect("writing to a String cannot fail");
    }
    encoded
}

/// The 64-bit FNV-1a hash: the same on every machine and in every version, for names derived from other names.
/// Not for anything an attacker may choose.
pub fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_that_are_refused() {
        let refused = |name: &str| GuestName::new(name).unwrap_err();
        assert_eq!(refused(""), NameError::Empty);
        assert_eq!(refused("."), NameError::LeadingDot(".".into()));
        assert_eq!(refused(".."), NameError::LeadingDot("..".into()));
        assert_eq!(refused(".defaults").to_string(), "guest name '.defaults' begins with a dot");
        assert_eq!(refused("../x"), NameError::ForbiddenByte("../x".into()));
        assert_eq!(refused("a\0b"), NameError::ForbiddenByte("a\0b".into()));
        assert_eq!(refused("a\nb"), NameError::ForbiddenByte("a\nb".into()));
        assert!(matches!(refused(&"a".repeat(256)), NameError::TooLong(_)));
        refused(&"a".repeat(256)).to_string();
        assert!(GuestName::new("a".repeat(255)).is_ok());
    }

    #[test]
    fn backup_names() {
        for name in
            ["web1.rpmsave", "a.rpmnew", "a.rpmorig", "a.cfsaved", "a.cfsaved.2", "web1.~1700000000~", "a~"]
        {
            assert!(is_backup_name(OsStr::new(name)), "{name}");
        }
        for name in ["web1", "a.rpm", "rpmsave", "cfsaved", "~a", "a~b"] {
            assert!(!is_backup_name(OsStr::new(name)), "{name}");
        }
        assert!(is_skipped_entry(OsStr::new("CVS")));
        assert!(is_skipped_entry(OsStr::new(".git")));
        assert!(!is_skipped_entry(OsStr::new("eth0")));
    }

    #[test]
    fn locks_of_similar_names_differ() {
        let lock = |name: &str| lock_name(OsStr::new(name));
        assert_eq!(lock("a-b"), "a-b");
        assert_eq!(lock("ab"), "ab");
        assert_eq!(lock("/etc/vservers/web1"), "%2Fetc%2Fvservers%2Fweb1");
        assert_eq!(lock(".x.y"), "%2Ex.y");
        let (one, two) = ("é".repeat(127), "é".repeat(126));
        assert_ne!(lock(&one), lock(&two));
        assert!(lock(&one).len() <= 200);
    }

    #[test]
    fn json_keeps_every_byte() {
        let name = GuestName::new(OsString::from_vec(b"caf\xc3\xa9 \xff 5%".to_vec())).unwrap();
        let json = serde_json::to_string(&name).unwrap();
        assert_eq!(json, "\"café %FF 5%25\"");
        assert_eq!(serde_json::from_str::<GuestName>(&json).unwrap(), name);
        assert!(serde_json::from_str::<GuestName>("\"%f\"").is_err());
        assert!(serde_json::from_str::<GuestName>("\"%2F\"").is_err());
    }

    #[test]
    fn fnv1a_is_the_published_one() {
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"a"), 0xaf63_dc4c_8601_ec8c);
    }

    proptest! {
        #[test]
        fn a_name_stays_in_its_directory(bytes: Vec<u8>) {
            if let Ok(name) = GuestName::new(OsString::from_vec(bytes)) {
                let joined = Path::new("/etc/vservers").join(name.as_path());
                prop_assert_eq!(joined.parent(), Some(Path::new("/etc/vservers")));
                let json = serde_json::to_string(&name).unwrap();
                prop_assert_eq!(serde_json::from_str::<GuestName>(&json).unwrap(), name);
            }
        }

        #[test]
        fn lock_names_are_one_component_and_differ(a: Vec<u8>, b: Vec<u8>) {
            let (a, b) = (OsString::from_vec(a), OsString::from_vec(b));
            prop_assert!(!lock_name(&a).contains('/'));
            prop_assert_eq!(lock_name(&a) == lock_name(&b), a == b);
        }
    }
}
