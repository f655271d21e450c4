//! Which hook scripts there are, in the order in which they run.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::files::Files;
use crate::finding::{Finding, Kind};
use crate::guest::{Flavour, Script, Scripts};

impl Flavour {
    /// All of them, in the order of a guest's life.
    pub const ALL: [Self; 7] = [
        Self::Initialize,
        Self::PrepreStart,
        Self::PreStart,
        Self::PostStart,
        Self::PreStop,
        Self::PostStop,
        Self::PostpostStop,
    ];

    /// The file's name, and the first argument of the script.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Initialize => "initialize",
            Self::PrepreStart => "prepre-start",
            Self::PreStart => "pre-start",
            Self::PostStart => "post-start",
            Self::PreStop => "pre-stop",
            Self::PostStop => "post-stop",
            Self::PostpostStop => "postpost-stop",
        }
    }
}

impl std::fmt::Display for Flavour {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// The scripts of a guest and of the site's defaults.
pub(crate) fn find(files: &mut Files, dir: &Path, defaults: &Path) -> Scripts {
    Scripts { own: find_in(files, &dir.join("scripts")), defaults: find_in(files, &defaults.join("scripts")) }
}

/// `FLAVOUR`, then `FLAVOUR.d/*` in byte order: regular files that are no backups.
fn find_in(files: &mut Files, dir: &Path) -> BTreeMap<Flavour, Vec<Script>> {
    let mut scripts = BTreeMap::new();
    for flavour in Flavour::ALL {
        let single = dir.join(flavour.as_str());
        let more = dir.join(format!("{flavour}.d"));
        let mut paths = vec![single];
        paths.extend(files.names(&more).into_iter().map(|name| more.join(name)));
        let mut found = Vec::new();
        for path in paths {
            if files.present(&path).is_none() {
                continue;
            }
            match std::fs::metadata(&path) {
                Ok(meta) if meta.is_file() => {
                    let executable = meta.permissions().mode() & 0o111 != 0;
                    found.push(Script { path, executable });
                }
                _ => files.found(Finding::warning(Kind::NotAFile, path, "is not a regular file and not run")),
            }
        }
        if !found.is_empty() {
            scripts.insert(flavour, found);
        }
    }
    scripts
}
