//! How a guest is confined.

use serde::{Deserialize, Serialize};

/// The confinement mode: with a user namespace of its own, or without.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "mode", rename_all = "lowercase")]
pub enum Mode {
    /// An own user namespace over an id-mapped mount of a tree stored with plain ids. Default for guests that we
    /// build.
    Shifted {
        /// The host's id of the guest's root, usually `xid * 65536`.
        first_id: u32,
        /// How many ids the guest has, from 0 on its side.
        count: u32,
    },
    /// No user namespace: the guest's root is the host's root, bound by capabilities and filters. For existing trees
    /// and for guests granted what cannot exist in a user namespace.
    Classic,
}

impl Mode {
    /// The mode of a guest of this number that has no base of its own configured.
    pub const fn shifted(xid: crate::Xid) -> Self {
        Self::Shifted { first_id: xid.first_uid(), count: xid.uid_count() }
    }

    /// Whether the guest has a user namespace of its own.
    pub const fn is_shifted(self) -> bool {
        matches!(self, Self::Shifted { .. })
    }

    /// The host's id for an id of the guest, or `None` when the guest has no such id.
    pub fn host_id(self, guest_id: u32) -> Option<u32> {
        match self {
            Self::Classic => Some(guest_id),
            Self::Shifted { first_id, count } if guest_id < count => first_id.checked_add(guest_id),
            Self::Shifted { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Mode;
    use crate::Xid;

    #[test]
    fn ids_and_json() {
        let mode = Mode::shifted(Xid::new(105).unwrap());
        assert_eq!(mode.host_id(0), Some(105 * 65_536));
        assert_eq!(mode.host_id(65_535), Some(105 * 65_536 + 65_535));
        assert_eq!(mode.host_id(65_536), None);
        assert_eq!(Mode::Classic.host_id(1000), Some(1000));
        let json = serde_json::to_string(&mode).unwrap();
        assert_eq!(json, r#"{"mode":"shifted","first_id":6881280,"count":65536}"#);
        assert_eq!(serde_json::from_str::<Mode>(&json).unwrap(), mode);
    }
}
