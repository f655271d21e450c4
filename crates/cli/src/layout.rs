//! Stand-in until the model crate has its `Layout`.
use std::path::{Path, PathBuf};

/// Where everything lives.
#[derive(Clone, Debug)]
pub struct Layout {
    prefix: PathBuf,
}

impl Layout {
    /// From `VSERVER_PREFIX`.
    pub fn from_env() -> Self {
        Self { prefix: std::env::var_os("VSERVER_PREFIX").map_or_else(|| PathBuf::from("/"), PathBuf::from) }
    }
    /// `/etc/vservers`
    pub fn config_dir(&self) -> PathBuf {
        self.prefix.join(Path::new("etc/vservers"))
    }
}
