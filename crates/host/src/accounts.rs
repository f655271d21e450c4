//! Ids that somebody on this host already owns: accounts, groups and subordinate ranges.
//!
//! The files are parsed here and not asked through NSS: a start must not wait for a directory server, and a static
//! binary has no NSS. Accounts that exist only in a directory are therefore not seen; they are said to be so in the
//! documentation of `spaces/user`.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::file;

/// A range of user or group ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct IdRange {
    /// The first id.
    pub first: u32,
    /// How many; 0 is an empty range.
    pub count: u32,
}

impl IdRange {
    /// Whether the two ranges share an id.
    pub fn overlaps(self, other: Self) -> bool {
        let end = |range: Self| u64::from(range.first) + u64::from(range.count);
        self.count > 0
            && other.count > 0
            && u64::from(self.first) < end(other)
            && u64::from(other.first) < end(self)
    }
}

/// Ids in use on this host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ids {
    /// /etc/passwd: uid and name.
    pub users: BTreeMap<u32, String>,
    /// /etc/group: gid and name.
    pub groups: BTreeMap<u32, String>,
    /// /etc/subuid: whose and which range.
    pub subordinate_users: Vec<(String, IdRange)>,
    /// /etc/subgid: whose and which range.
    pub subordinate_groups: Vec<(String, IdRange)>,
}

/// Who already owns an id of a range.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conflict {
    /// In which file the owner stands.
    pub kind: ConflictKind,
    /// The owner's name.
    pub who: String,
    /// What the owner has.
    pub range: IdRange,
}

/// Which of the four files names the owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ConflictKind {
    /// An account of /etc/passwd.
    User,
    /// A group of /etc/group.
    Group,
    /// A range of /etc/subuid.
    SubordinateUser,
    /// A range of /etc/subgid.
    SubordinateGroup,
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let IdRange { first, count } = self.range;
        let last = u64::from(first) + u64::from(count).saturating_sub(1);
        match self.kind {
            ConflictKind::User => write!(f, "account \"{}\" (uid {first} in /etc/passwd)", self.who),
            ConflictKind::Group => write!(f, "group \"{}\" (gid {first} in /etc/group)", self.who),
            ConflictKind::SubordinateUser => {
                write!(f, "subordinate ids of \"{}\" ({first} to {last} in /etc/subuid)", self.who)
            }
            ConflictKind::SubordinateGroup => {
                write!(f, "subordinate ids of \"{}\" ({first} to {last} in /etc/subgid)", self.who)
            }
        }
    }
}

/// Ranges in /etc/subuid and /etc/subgid that stand under this name are set aside for guests and conflict with none.
pub const OUR_NAME: &str = "vserver";

impl Ids {
    /// Reads the four files below `etc`. A missing file is an empty one; a line that cannot be read names nobody.
    pub(crate) fn read(etc: &Path) -> Self {
        let text = |name: &str| file::read(&etc.join(name)).unwrap_or_default();
        Self {
            users: named_ids(&text("passwd")),
            groups: named_ids(&text("group")),
            subordinate_users: ranges(&text("subuid")),
            subordinate_groups: ranges(&text("subgid")),
        }
    }

    pub(crate) fn conflict(&self, wanted: IdRange) -> Option<Conflict> {
        let account = |ids: &BTreeMap<u32, String>, kind| {
            let first = (wanted.count > 0).then_some(wanted.first)?;
            let last = first.saturating_add(wanted.count - 1);
            let (&id, who) = ids.range(first..=last).next()?;
            Some(Conflict { kind, who: who.clone(), range: IdRange { first: id, count: 1 } })
        };
        let subordinate = |list: &[(String, IdRange)], kind| {
            let (who, range) = list.iter().find(|(who, range)| who != OUR_NAME && range.overlaps(wanted))?;
            Some(Conflict { kind, who: who.clone(), range: *range })
        };
        account(&self.users, ConflictKind::User)
            .or_else(|| account(&self.groups, ConflictKind::Group))
            .or_else(|| subordinate(&self.subordinate_users, ConflictKind::SubordinateUser))
            .or_else(|| subordinate(&self.subordinate_groups, ConflictKind::SubordinateGroup))
    }
}

fn lines(text: &[u8]) -> impl Iterator<Item = Vec<String>> + '_ {
    text.split(|&byte| byte == b'\n').map(|line| {
        line.split(|&byte| byte == b':').map(|f| String::from_utf8_lossy(f).into_owned()).collect()
    })
}

/// `name:x:ID:…`, the form that passwd and group share. The first name of an id is kept.
fn named_ids(text: &[u8]) -> BTreeMap<u32, String> {
    let mut found = BTreeMap::new();
    for fields in lines(text) {
        if let [name, _, id, ..] = fields.as_slice()
            && let Ok(id) = id.parse()
        {
            found.entry(id).or_insert_with(|| name.clone());
        }
    }
    found
}

/// `name:FIRST:COUNT`.
fn ranges(text: &[u8]) -> Vec<(String, IdRange)> {
    lines(text)
        .filter_map(|fields| match fields.as_slice() {
            [name, first, count] => {
                let range = IdRange { first: first.trim().parse().ok()?, count: count.trim().parse().ok()? };
                Some((name.clone(), range))
            }
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use proptest::prelude::*;

    fn ids(files: &[(&str, &str)]) -> Ids {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(dir.path().join(name), text).unwrap();
        }
        Ids::read(dir.path())
    }

    #[test]
    fn the_owner_of_an_id_is_named() {
        let ids = ids(&[
            (
                "passwd",
                "root:x:0:0:root:/root:/bin/sh\nbroken\nnobody:x:65534:65534::/:\nbig:x:200000:1::/:\n",
            ),
            ("group", "users:x:100:\nfar:x:300000:a,b\n"),
            ("subuid", "alice:100000:65536\nvserver:6553600:65536\n"),
            ("subgid", "bob:400000:10\n"),
        ]);
        let who = |first, count| ids.conflict(IdRange { first, count }).map(|conflict| conflict.to_string());
        assert_eq!(
            who(131_072, 65_536).unwrap(),
            "subordinate ids of \"alice\" (100000 to 165535 in /etc/subuid)"
        );
        assert_eq!(who(196_608, 65_536).unwrap(), "account \"big\" (uid 200000 in /etc/passwd)");
        assert_eq!(who(300_000, 1).unwrap(), "group \"far\" (gid 300000 in /etc/group)");
        assert_eq!(who(400_009, 1).unwrap(), "subordinate ids of \"bob\" (400000 to 400009 in /etc/subgid)");
        assert_eq!(who(400_010, 1), None);
        assert_eq!(who(6_553_600, 65_536), None, "a range under our name is set aside for guests");
        assert_eq!(who(0, 0), None);
    }

    #[test]
    fn missing_files_own_nothing() {
        assert_eq!(ids(&[]).conflict(IdRange { first: 0, count: u32::MAX }), None);
    }

    proptest! {
        #[test]
        fn overlap_is_what_counting_says(a in 0u32..40, n in 0u32..20, b in 0u32..40, m in 0u32..20) {
            let counted = (a..a + n).any(|id| (b..b + m).contains(&id));
            prop_assert_eq!(IdRange { first: a, count: n }.overlaps(IdRange { first: b, count: m }), counted);
        }

        #[test]
        fn a_conflict_is_found_whoever_owns_the_id(id in 0u32.., first in 0u32.., count in 0u32..) {
            let ids = Ids { users: BTreeMap::from([(id, "x".to_owned())]), ..Ids::default() };
            let inside = id >= first && u64::from(id) < u64::from(first) + u64::from(count);
            prop_assert_eq!(ids.conflict(IdRange { first, count }).is_some(), inside);
        }

        #[test]
        fn no_bytes_make_the_parsers_panic(text in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = (named_ids(&text), ranges(&text));
        }
    }
}
