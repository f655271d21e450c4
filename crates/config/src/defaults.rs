//! The shipped defaults: compiled in, so that a lone binary works, and replaced by the files of the installed data
//! directory, so that a packager can change them.

use std::path::PathBuf;

use vserver_model::Layout;

use crate::files::open_regular;

/// A shipped default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shipped {
    /// What `build` copies to a new guest's `fstab`.
    Fstab,
    /// The first lines of a guest's mtab.
    Mtab,
    /// The environment of a guest's first process.
    Environment,
    /// The first context number that `build` gives when asked to choose.
    ContextStart,
    /// Which entries of /proc guests see.
    VprocunhideFiles,
    /// Which files are never shared between guests.
    VunifyExclude,
    /// How archives are recognised and unpacked.
    ArchiveTypes,
    /// Where debootstrap is fetched from when the host has none.
    DebootstrapUri,
    /// The mirror that Debian guests are built from.
    DebootstrapMirror,
}

impl Shipped {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Fstab,
        Self::Mtab,
        Self::Environment,
        Self::ContextStart,
        Self::VprocunhideFiles,
        Self::VunifyExclude,
        Self::ArchiveTypes,
        Self::DebootstrapUri,
        Self::DebootstrapMirror,
    ];

    /// The name of the file in `defaults/`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fstab => "fstab",
            Self::Mtab => "mtab",
            Self::Environment => "environment",
            Self::ContextStart => "context.start",
            Self::VprocunhideFiles => "vprocunhide-files",
            Self::VunifyExclude => "vunify-exclude",
            Self::ArchiveTypes => "h2ext.desc",
            Self::DebootstrapUri => "debootstrap.uri",
            Self::DebootstrapMirror => "debootstrap.mirror",
        }
    }

    /// What is compiled in.
    pub const fn built_in(self) -> &'static str {
        match self {
            Self::Fstab => include_str!("../../../share/defaults/fstab"),
            Self::Mtab => include_str!("../../../share/defaults/mtab"),
            Self::Environment => include_str!("../../../share/defaults/environment"),
            Self::ContextStart => include_str!("../../../share/defaults/context.start"),
            Self::VprocunhideFiles => include_str!("../../../share/defaults/vprocunhide-files"),
            Self::VunifyExclude => include_str!("../../../share/defaults/vunify-exclude"),
            Self::ArchiveTypes => include_str!("../../../share/defaults/h2ext.desc"),
            Self::DebootstrapUri => include_str!("../../../share/defaults/debootstrap.uri"),
            Self::DebootstrapMirror => include_str!("../../../share/defaults/debootstrap.mirror"),
        }
    }

    /// The installed file that is in force, if there is one.
    pub fn file(self, layout: &Layout) -> Option<PathBuf> {
        layout.sharedirs.iter().map(|dir| dir.join("defaults").join(self.name())).find(|path| path.is_file())
    }

    /// The content in force: that of the first installed file that can be read, else what is compiled in.
    pub fn content(self, layout: &Layout) -> Vec<u8> {
        self.file(layout)
            .and_then(|path| open_regular(&path).ok())
            .unwrap_or_else(|| self.built_in().as_bytes().to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_installed_file_replaces_the_built_in_one() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut layout = Layout::under(dir.path()).expect("absolute");
        layout.sharedirs = vec![dir.path().join("share")];
        assert_eq!(Shipped::Mtab.content(&layout), b"/dev/hdv1 / ufs defaults 0 0\n");
        std::fs::create_dir_all(dir.path().join("share/defaults")).expect("makes");
        std::fs::write(dir.path().join("share/defaults/mtab"), "x / y z 0 0\n").expect("writes");
        assert_eq!(Shipped::Mtab.content(&layout), b"x / y z 0 0\n");
    }

    #[test]
    fn every_built_in_default_ends_on_a_newline() {
        for shipped in Shipped::ALL {
            assert!(shipped.built_in().ends_with('\n'), "{}", shipped.name());
        }
    }
}
