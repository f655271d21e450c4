//! Stand-in until the model crate has its `Layout`.
use std::path::PathBuf;

/// Where everything lives.
#[derive(Clone, Debug)]
pub struct Layout {
    /// `/etc/vservers`
    pub confdir: PathBuf,
    /// `vservers`
    pub cgroup_top: String,
}

impl Layout {
    /// From `VSERVER_PREFIX`.
    pub fn from_prefix(prefix: Option<&std::ffi::OsStr>) -> Result<Self, std::io::Error> {
        let root = prefix.map_or_else(|| PathBuf::from("/"), PathBuf::from);
        Ok(Self { confdir: root.join("etc/vservers"), cgroup_top: "vservers".into() })
    }
}
