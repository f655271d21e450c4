//! Whole guests in and out of archives: configuration, tree and package data in one stream.
//!
//! ```text
//!   config/…   /etc/vservers/NAME        owners as numbers, plain (not shifted), as the tree is stored
//!   root/…     /vservers/NAME
//!   pkg/…      /vservers/.pkg/NAME, if there is any
//! ```
//! An archive is hostile until shown otherwise: it is unpacked beneath a directory of its own, looked at, and only then
//! put into its places. What runs on the host (hooks and other programs of the configuration) is left out unless the
//! administrator trusts the archive.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _, lchown, symlink};
use std::path::{Path, PathBuf};

use vserver_model::{GuestName, Layout};
use vserver_tree::copy::{Choice, Options as CopyOptions, copy_tree};
use vserver_tree::device::DevicePolicy;
use vserver_tree::{Root, TreeError};

use crate::archive::extract::{Options, extract};
use crate::archive::{ArchiveError, write};
use crate::error::BuildError;

/// Level 3 of zstd: as fast as a disk.
const LEVEL: i32 = 3;
/// Items of a configuration that are programs which run on the host, as root.
const PROGRAMS: [&str; 10] = [
    "scripts",
    "apps/vshelper",
    "apps/vshelper-methods",
    "apps/init/cmd.prepare",
    "apps/init/cmd.start-sync",
    "apps/init/cmd.stop-sync",
    "apps/init/tty",
    "fstab",
    "fstab.local",
    "fstab.remote",
];
/// Of these, those that are only looked at.
const LOOK_AT: [&str; 3] = ["fstab", "fstab.local", "fstab.remote"];

/// Where a guest is.
#[derive(Clone, Debug)]
pub struct Places {
    /// The configuration directory.
    pub config: PathBuf,
    /// The tree, links followed.
    pub root: PathBuf,
    /// Package data; need not exist.
    pub pkg: PathBuf,
}

impl Places {
    /// Of a guest by its name, where `build` would put it.
    pub fn usual(layout: &Layout, name: &GuestName) -> Self {
        Self { config: layout.config_of(name), root: layout.vdir_of(name), pkg: layout.pkgbase.join(name) }
    }
}

/// Writes a guest as a compressed archive. `leave_out` is asked for paths below the tree.
///
/// # Errors
/// A file cannot be read, or the output not written.
pub fn export(
    places: &Places,
    output: &mut dyn Write,
    leave_out: &dyn Fn(&Path) -> bool,
) -> Result<(), TreeError> {
    let cannot = |error| TreeError::new("archive", &places.root, error);
    let mut zstd = zstd::stream::write::Encoder::new(output, LEVEL).map_err(cannot)?;
    zstd.include_checksum(true).map_err(cannot)?;
    let (config, root) = (Root::open(&places.config)?, Root::open(&places.root)?);
    let pkg = if places.pkg.is_dir() { Some(Root::open(&places.pkg)?) } else { None };
    let mut trees = vec![("config", &config), ("root", &root)];
    trees.extend(pkg.iter().map(|pkg| ("pkg", pkg)));
    let leave_out = |part: &str, path: &Path| part == "root" && leave_out(path);
    write::write_trees(&trees, &mut zstd, &leave_out, &|| false)?;
    zstd.finish().map_err(cannot).map(drop)
}

/// An archive that is unpacked beside its places. Dropped, it takes away what is not put in place.
#[derive(Debug)]
pub struct Unpacked {
    staging: PathBuf,
    /// What the administrator should know.
    pub warnings: Vec<String>,
}

impl Unpacked {
    /// Unpacks beneath a new directory of the guests' base directory.
    ///
    /// # Errors
    /// The archive is damaged, dangerous or no guest's; the directory cannot be written.
    pub fn from(
        layout: &Layout,
        name: &GuestName,
        input: Box<dyn Read>,
        shown: &Path,
    ) -> Result<Self, BuildError> {
        let mut directory = std::ffi::OsString::from(".import-");
        directory.push(name.as_os_str());
        let staging = layout.vdirbase.join(directory);
        // Of an import that was killed.
        vserver_tree::remove::remove_tree(&staging)?;
        fs::create_dir_all(&layout.vdirbase).map_err(|e| BuildError::file("make", &layout.vdirbase, e))?;
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&staging)
            .map_err(|error| BuildError::file("make", &staging, error))?;
        let mut unpacked = Self { staging, warnings: Vec::new() };
        let root = Root::open(&unpacked.staging)?;
        let options = Options { devices: DevicePolicy::Harmless, stop: &|| false };
        let report = extract(input, shown, &root, &options).map_err(BuildError::from)?;
        unpacked.warnings = report.warnings();
        for part in ["config", "root"] {
            if !root.is_directory(part) {
                let fault =
                    crate::archive::Fault::Corrupt("it is no export of a guest: no config/ and root/");
                return Err(ArchiveError::new(shown, None, fault).into());
            }
        }
        Ok(unpacked)
    }

    /// A part that is unpacked.
    pub fn part(&self, name: &str) -> PathBuf {
        self.staging.join(name)
    }

    /// Makes the configuration one that root can use: its owner alone may change it, and nothing in it runs on the host
    /// unless `trusted`.
    ///
    /// # Errors
    /// A file cannot be changed.
    pub fn settle_configuration(&mut self, trusted: bool) -> Result<(), BuildError> {
        let config = self.part("config");
        let root = Root::open(&config)?;
        let mut left_out = Vec::new();
        for item in PROGRAMS.iter().filter(|item| !trusted && !LOOK_AT.contains(item)) {
            if root.stat(item)?.is_some() {
                root.remove_tree(item)?;
                left_out.push(*item);
            }
        }
        if !left_out.is_empty() {
            self.warnings.push(format!(
                "left out, because it runs on this host as root (--trust takes it): {}",
                left_out.join(", ")
            ));
        }
        for item in LOOK_AT.iter().filter(|_| !trusted) {
            if root.stat(item)?.is_some() {
                self.warnings
                    .push(format!("look at {item} before the first start: it can show parts of this host"));
            }
        }
        own(&config)
    }

    /// Moves everything to its places, the configuration last: until then there is no guest.
    ///
    /// # Errors
    /// A place is taken or cannot be written; what was moved is taken away again.
    pub fn put(self, layout: &Layout, name: &GuestName) -> Result<(), BuildError> {
        let places = Places::usual(layout, name);
        let mut made = Made::default();
        rename(&self.part("root"), &places.root)?;
        made.0.push(places.root.clone());
        if self.part("pkg").is_dir() {
            fs::create_dir_all(&layout.pkgbase).map_err(|e| BuildError::file("make", &layout.pkgbase, e))?;
            rename(&self.part("pkg"), &places.pkg)?;
            made.0.push(places.pkg.clone());
        }
        place_configuration(layout, name, &self.part("config"), &places)?;
        made.keep();
        Ok(())
    }
}

impl Drop for Unpacked {
    fn drop(&mut self) {
        vserver_tree::remove::remove_tree(&self.staging).ok();
    }
}

/// What was made and is not yet a guest's: dropped, it goes again.
#[derive(Debug, Default)]
struct Made(Vec<PathBuf>);

impl Made {
    fn keep(mut self) {
        self.0.clear();
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        for path in &self.0 {
            // The failure that matters is told.
            vserver_tree::remove::remove_tree(path).ok();
        }
    }
}

/// Copies a configuration to its place, with links that fit the name; it appears there all at once.
fn place_configuration(
    layout: &Layout,
    name: &GuestName,
    from: &Path,
    places: &Places,
) -> Result<(), BuildError> {
    let mut draft = std::ffi::OsString::from(".new-");
    draft.push(name.as_os_str());
    let draft = layout.confdir.join(draft);
    vserver_tree::remove::remove_tree(&draft)?;
    fs::create_dir_all(&draft).map_err(|error| BuildError::file("make", &draft, error))?;
    let done =
        copy(from, &draft, &|path| !["vdir", "run", "cache"].iter().any(|link| path == Path::new(link)))
            .and_then(|()| {
                let links = [
                    ("vdir", places.root.clone()),
                    ("run", layout.run_file_of(name)),
                    ("cache", layout.cache_of(name)),
                ];
                for (link, target) in links {
                    symlink(&target, draft.join(link))
                        .map_err(|error| BuildError::file("make", draft.join(link), error))?;
                }
                rename(&draft, &places.config)
            });
    if done.is_err() {
        vserver_tree::remove::remove_tree(&draft).ok();
    }
    done
}

/// Copies a guest to the places of another name. The caller has checked that these are free.
///
/// # Errors
/// A file cannot be read or written; what was made is taken away again.
pub fn copy_guest(layout: &Layout, from: &Places, name: &GuestName) -> Result<(), BuildError> {
    let places = Places::usual(layout, name);
    let all = |_: &Path| true;
    let mut made = Made::default();
    for (source, target) in [(&from.root, &places.root), (&from.pkg, &places.pkg)] {
        if source.is_dir() {
            // Of the base directory, the parent is there: the source is in it.
            fs::create_dir(target).map_err(|error| BuildError::file("make", target, error))?;
            made.0.push(target.clone());
            copy(source, target, &all)?;
            dress_like(source, target)?;
        }
    }
    place_configuration(layout, name, &from.config, &places)?;
    made.keep();
    Ok(())
}

/// The directory itself: what is below it is copied by [`copy_tree`].
fn dress_like(source: &Path, target: &Path) -> Result<(), BuildError> {
    use std::os::unix::fs::MetadataExt as _;
    let meta = fs::metadata(source).map_err(|error| BuildError::file("examine", source, error))?;
    lchown(target, Some(meta.uid()), Some(meta.gid()))
        .and_then(|()| fs::set_permissions(target, meta.permissions()))
        .map_err(|error| BuildError::file("set the mode of", target, error))
}

fn copy(from: &Path, to: &Path, wanted: &dyn Fn(&Path) -> bool) -> Result<(), BuildError> {
    let choose = |path: &Path| if wanted(path) { Choice::Copy } else { Choice::LeaveOut };
    let options = CopyOptions { choose: &choose, devices: DevicePolicy::All, stop: &|| false };
    copy_tree(&Root::open(from)?, &Root::open(to)?, &options)?;
    Ok(())
}

/// Never over something that is there.
fn rename(from: &Path, to: &Path) -> Result<(), BuildError> {
    let flags = rustix::fs::RenameFlags::NOREPLACE;
    rustix::fs::renameat_with(rustix::fs::CWD, from, rustix::fs::CWD, to, flags)
        .map_err(|errno| BuildError::file("make", to, errno))
}

/// Everything below belongs to root, and nobody else can write to it.
fn own(path: &Path) -> Result<(), BuildError> {
    let cannot = |error| BuildError::file("change", path, error);
    let kind = fs::symlink_metadata(path).map_err(cannot)?;
    lchown(path, Some(0), Some(0)).map_err(cannot)?;
    if kind.is_symlink() {
        return Ok(());
    }
    let mode = kind.permissions().mode() & 0o755;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(cannot)?;
    if kind.is_dir() {
        for entry in fs::read_dir(path).map_err(cannot)? {
            own(&entry.map_err(cannot)?.path())?;
        }
    }
    Ok(())
}
