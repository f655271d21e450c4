//! Which device nodes may come from a foreign tree or archive.

/// The nodes that show nothing of the host and change nothing of it: major and minor number of character devices.
///
/// null, zero, full, random, urandom, tty, ptmx: what every guest has in its `/dev` anyway.
const HARMLESS: [(u32, u32); 7] = [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 2)];

/// What to do about device nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DevicePolicy {
    /// Only the harmless ones are made, others are left out and counted.
    Harmless,
    /// All are made, because the administrator said so.
    All,
}

/// Whether a node shows nothing of the host: a character device of the harmless set.
pub fn is_harmless(is_block: bool, major: u32, minor: u32) -> bool {
    !is_block && HARMLESS.contains(&(major, minor))
}

impl DevicePolicy {
    /// Whether this node is made.
    pub fn allows(self, is_block: bool, major: u32, minor: u32) -> bool {
        self == Self::All || is_harmless(is_block, major, minor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks_and_memory_are_not_harmless() {
        assert!(is_harmless(false, 1, 3));
        assert!(!is_harmless(true, 1, 3));
        assert!(!is_harmless(false, 1, 1));
        assert!(!is_harmless(false, 5, 1));
        assert!(DevicePolicy::All.allows(true, 8, 0));
    }
}
