//! The part of /proc/self/mountinfo that the rest of this crate looks at.

use std::path::Path;

use vserver_kernel::mount::{MountEntry, parse_mount_line};

use crate::{HostError, file};

/// The mounts of pseudo file systems, in mount order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mounts(Vec<MountEntry>);

/// Hosts have thousands of mounts; only lines of these kinds are looked at closely.
const KINDS: [&[u8]; 2] = [b" - cgroup", b" - bpf "];

impl Mounts {
    pub(crate) fn read() -> Result<Self, HostError> {
        Ok(Self::parse(&file::required(Path::new("/proc/self/mountinfo"))?))
    }

    /// Lines that are not as proc(5) describes them are skipped: a mount that we cannot name is one we do not use.
    pub(crate) fn parse(text: &[u8]) -> Self {
        let matters =
            |line: &&[u8]| KINDS.iter().any(|kind| line.windows(kind.len()).any(|window| window == *kind));
        Self(text.split(|&byte| byte == b'\n').filter(matters).filter_map(parse_mount_line).collect())
    }

    pub(crate) fn of_type<'a>(&'a self, fstype: &'a str) -> impl Iterator<Item = &'a MountEntry> {
        self.0.iter().filter(move |mount| mount.fstype == fstype)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_kinds_that_matter_are_kept() {
        let text = b"22 27 0:21 / /proc rw,relatime - proc proc rw\n\
            32 31 0:29 / /sys/fs/cgroup/a\\040b rw shared:3 - cgroup cgroup rw,cpu,cpuacct\n\
            41 31 0:38 /x /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate\nbroken - cgroup\n\
            42 31 0:39 / /sys/fs/bpf rw - bpf bpf rw\n";
        let mounts = Mounts::parse(text);
        assert_eq!(mounts.of_type("proc").count(), 0);
        assert_eq!(mounts.of_type("cgroup").count(), 1);
        assert_eq!(mounts.of_type("cgroup").next().unwrap().mount_point, Path::new("/sys/fs/cgroup/a b"));
        assert_eq!(mounts.of_type("cgroup2").next().unwrap().root, Path::new("/x"));
        assert_eq!(mounts.of_type("bpf").next().unwrap().mount_point, Path::new("/sys/fs/bpf"));
    }
}
