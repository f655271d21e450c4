//! Which cgroup hierarchies this host has mounted, and where.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::file;
use crate::mounts::Mounts;

/// The cgroup hierarchies of this host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CgroupLayout {
    /// The v1 hierarchies, in mount order, each once.
    pub v1: Vec<V1Hierarchy>,
    /// The cgroup2 hierarchy, if it is mounted.
    pub v2: Option<V2Hierarchy>,
    /// cgroup2 is in this kernel, so that it can be mounted privately where it is not mounted yet.
    pub v2_obtainable: bool,
}

/// One v1 hierarchy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct V1Hierarchy {
    /// `name=`, for hierarchies that have one: `systemd`.
    pub name: Option<String>,
    /// Its controllers; co-mounted ones stand together.
    pub controllers: Vec<String>,
    /// Where it is mounted.
    pub mount: PathBuf,
}

/// The cgroup2 hierarchy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct V2Hierarchy {
    /// Where it is mounted.
    pub mount: PathBuf,
    /// Controllers that no v1 hierarchy has taken (`cgroup.controllers` of the root).
    pub controllers: Vec<String>,
    /// Mounted with `nsdelegate`: a cgroup namespace is then a delegation border.
    pub nsdelegate: bool,
}

/// How the host uses cgroups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CgroupKind {
    /// cgroup2 alone.
    Unified,
    /// v1 hierarchies for the controllers and a cgroup2 beside them.
    Hybrid,
    /// v1 hierarchies alone.
    V1,
    /// Nothing is mounted.
    None,
}

/// Options of a v1 mount that are neither controllers nor names.
const V1_OPTIONS: [&str; 8] =
    ["rw", "ro", "noprefix", "clone_children", "xattr", "none", "cpuset_v2_mode", "favordynmods"];

impl CgroupLayout {
    pub(crate) fn of(mounts: &Mounts) -> Self {
        let mut v1: Vec<V1Hierarchy> = Vec::new();
        for mount in mounts.of_type("cgroup") {
            let mut hierarchy =
                V1Hierarchy { name: None, controllers: Vec::new(), mount: mount.mount_point.clone() };
            for option in &mount.super_options {
                if let Some(name) = option.strip_prefix("name=") {
                    hierarchy.name = Some(name.to_owned());
                } else if !V1_OPTIONS.contains(&option.as_str()) && !option.contains('=') {
                    hierarchy.controllers.push(option.clone());
                }
            }
            let known = v1.iter().any(|h| h.name == hierarchy.name && h.controllers == hierarchy.controllers);
            // A second mount of the same hierarchy, or one that shows only a part, adds nothing.
            if !known && mount.root == Path::new("/") {
                v1.push(hierarchy);
            }
        }
        let v2 =
            mounts.of_type("cgroup2").find(|mount| mount.root == Path::new("/")).map(|mount| V2Hierarchy {
                mount: mount.mount_point.clone(),
                controllers: words(&mount.mount_point.join("cgroup.controllers")),
                nsdelegate: mount.super_options.iter().any(|option| option == "nsdelegate"),
            });
        let v2_obtainable = v2.is_some()
            || file::text("/proc/filesystems")
                .is_some_and(|text| text.lines().any(|line| line.ends_with("\tcgroup2")));
        Self { v1, v2, v2_obtainable }
    }

    /// How the host uses cgroups.
    pub fn kind(&self) -> CgroupKind {
        match (self.v1.is_empty(), &self.v2) {
            (true, Some(_)) => CgroupKind::Unified,
            (false, Some(_)) => CgroupKind::Hybrid,
            (false, None) => CgroupKind::V1,
            (true, None) => CgroupKind::None,
        }
    }

    /// The v1 hierarchy that has `controller`.
    pub fn v1_with(&self, controller: &str) -> Option<&V1Hierarchy> {
        self.v1.iter().find(|hierarchy| hierarchy.controllers.iter().any(|name| name == controller))
    }

    /// Whether the cgroup2 hierarchy has `controller`.
    pub fn v2_has(&self, controller: &str) -> bool {
        self.v2.as_ref().is_some_and(|v2| v2.controllers.iter().any(|name| name == controller))
    }
}

fn words(path: &Path) -> Vec<String> {
    file::text(path)
        .map(|text| text.split_ascii_whitespace().map(str::to_owned).collect())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn co_mounted_named_and_repeated_hierarchies_are_told_apart() {
        let layout = CgroupLayout::of(&Mounts::parse(
            b"1 2 0:1 / /c/cpu rw - cgroup cgroup rw,cpu,cpuacct\n\
            1 2 0:1 / /again rw - cgroup cgroup rw,cpu,cpuacct\n\
            1 2 0:2 /part /part rw - cgroup cgroup rw,memory\n\
            1 2 0:3 / /c/systemd rw - cgroup cgroup rw,xattr,name=systemd\n",
        ));
        assert_eq!(layout.kind(), CgroupKind::V1);
        assert_eq!(layout.v1.len(), 2);
        assert_eq!(layout.v1_with("cpuacct").unwrap().mount, Path::new("/c/cpu"));
        assert_eq!(layout.v1[1].name.as_deref(), Some("systemd"));
        assert_eq!(layout.v1_with("memory"), None, "a part of a hierarchy is not the hierarchy");
    }

    #[test]
    fn a_unified_host_is_told_from_a_hybrid_one() {
        let v2 = "1 2 0:1 / /c rw - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot\n";
        let unified = CgroupLayout::of(&Mounts::parse(v2.as_bytes()));
        assert_eq!(unified.kind(), CgroupKind::Unified);
        assert!(unified.v2.is_some_and(|v2| v2.nsdelegate));
        let both = format!("{v2}1 2 0:2 / /m rw - cgroup cgroup rw,memory\n");
        assert_eq!(CgroupLayout::of(&Mounts::parse(both.as_bytes())).kind(), CgroupKind::Hybrid);
        assert_eq!(CgroupLayout::of(&Mounts::default()).kind(), CgroupKind::None);
    }
}
