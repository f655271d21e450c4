//! Where everything lies: the base directories, and the names below them.
//!
//! Reading the environment is the caller's job (the command line passes `VSERVER_PREFIX` to
//! [`Layout::from_prefix`]); the links in `.defaults` that move `vdirbase` and others are read by the configuration
//! reader, which puts what it finds into the fields.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::name::fnv1a;
use crate::{GuestName, Nid, Xid};

/// All base directories.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layout {
    /// Configuration, one directory a guest: `/etc/vservers`.
    pub confdir: PathBuf,
    /// The guests' trees: `/vservers`.
    pub vdirbase: PathBuf,
    /// Package data of externally managed guests: `/vservers/.pkg`.
    pub pkgbase: PathBuf,
    /// Caches, one directory a guest: `/var/cache/vservers`.
    pub cachebase: PathBuf,
    /// One file a running guest, named after it, with its xid: `/run/vservers` (also reached as `/var/run/vservers`).
    pub rundir: PathBuf,
    /// One link a running guest, named after its xid, to its configuration: `/run/vservers.rev`.
    pub revdir: PathBuf,
    /// What a guest asked of its host, one file an xid: `/run/vshelper`.
    pub helperdir: PathBuf,
    /// What `/proc/virtual` was: `/run/vserver/virtual`.
    pub virtualdir: PathBuf,
    /// Lock files: `/run/lock/vserver`.
    pub lockdir: PathBuf,
    /// Consoles of guests, one directory a guest, and what happened: `/var/log/vservers`.
    pub logdir: PathBuf,
    /// The administrator's distributions: `/etc/vservers/.distributions`.
    pub distributions: PathBuf,
    /// Site defaults: `/etc/vservers/.defaults`.
    pub defaults: PathBuf,
    /// Where installed data may lie, first found wins: `/usr/share/vserver`, `/usr/local/share/vserver`.
    pub sharedirs: Vec<PathBuf>,
    /// Name of the one cgroup directory that holds all guests, below each hierarchy's root: `vservers`.
    pub cgroup_top: String,
}

/// A prefix that is not an absolute path without `..`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("VSERVER_PREFIX '{}' is not an absolute path without '..'", .0.display())]
pub struct BadPrefix(pub PathBuf);

impl BadPrefix {
    /// What the administrator can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        Some("set VSERVER_PREFIX to an absolute path, or unset it")
    }
}

impl Layout {
    /// The directories of an ordinary installation.
    pub fn system() -> Self {
        Self::below(Path::new("/"), "vservers".to_owned())
    }

    /// Everything below `prefix`, with a cgroup of its own, `vservers-` and eight hexadecimal digits of a hash of the
    /// prefix: several test runs, and the real guests, do not meet.
    ///
    /// Installed data is looked for below the prefix first and then in the system, because it is only read.
    ///
    /// # Errors
    /// [`BadPrefix`] when the prefix is not absolute or has `..` in it.
    pub fn under(prefix: &Path) -> Result<Self, BadPrefix> {
        let bad = || BadPrefix(prefix.to_owned());
        if !prefix.is_absolute() || prefix.components().any(|c| c == Component::ParentDir) {
            return Err(bad());
        }
        // "/dir/" and "/dir/./" are the same place and must have the same cgroup.
        let prefix: PathBuf = prefix.components().collect();
        let hash = fnv1a(prefix.as_os_str().as_bytes());
        let folded = (hash >> 32) ^ (hash & 0xffff_ffff);
        let mut layout = Self::below(&prefix, format!("vservers-{folded:08x}"));
        layout.sharedirs.extend(Self::system().sharedirs);
        Ok(layout)
    }

    /// [`under`](Self::under) the value of `VSERVER_PREFIX`, or [`system`](Self::system) when it is unset or empty.
    ///
    /// # Errors
    /// [`BadPrefix`], see [`under`](Self::under).
    pub fn from_prefix(prefix: Option<&OsStr>) -> Result<Self, BadPrefix> {
        match prefix {
            Some(prefix) if !prefix.is_empty() => Self::under(Path::new(prefix)),
            _ => Ok(Self::system()),
        }
    }

    /// The same with another top cgroup, the value of `VSERVER_CGROUP_TOP`: whoever gives the program directories of
    /// its own by mounts (the end-to-end tests do) shares the cgroup hierarchies all the same. Anything but the name
    /// of one directory is ignored, as a misplaced group would be the worse harm.
    #[must_use]
    pub fn with_cgroup_top(mut self, name: Option<&OsStr>) -> Self {
        let mut parts = Path::new(name.unwrap_or_default()).components();
        if let (Some(Component::Normal(name)), None) = (parts.next(), parts.next())
            && let Some(name) = name.to_str()
        {
            name.clone_into(&mut self.cgroup_top);
        }
        self
    }

    fn below(root: &Path, cgroup_top: String) -> Self {
        let at = |path: &str| root.join(path);
        Self {
            confdir: at("etc/vservers"),
            vdirbase: at("vservers"),
            pkgbase: at("vservers/.pkg"),
            cachebase: at("var/cache/vservers"),
            rundir: at("run/vservers"),
            revdir: at("run/vservers.rev"),
            helperdir: at("run/vshelper"),
            virtualdir: at("run/vserver/virtual"),
            lockdir: at("run/lock/vserver"),
            logdir: at("var/log/vservers"),
            distributions: at("etc/vservers/.distributions"),
            defaults: at("etc/vservers/.defaults"),
            sharedirs: vec![at("usr/share/vserver"), at("usr/local/share/vserver")],
            cgroup_top,
        }
    }

    /// A guest's configuration directory.
    pub fn config_of(&self, guest: &GuestName) -> PathBuf {
        self.confdir.join(guest)
    }

    /// Where `build` puts a guest's tree. The guest's own `vdir` link decides later.
    pub fn vdir_of(&self, guest: &GuestName) -> PathBuf {
        self.vdirbase.join(guest)
    }

    /// A guest's cache directory.
    pub fn cache_of(&self, guest: &GuestName) -> PathBuf {
        self.cachebase.join(guest)
    }

    /// The file that holds a running guest's xid.
    pub fn run_file_of(&self, guest: &GuestName) -> PathBuf {
        self.rundir.join(guest)
    }

    /// Where what appeared on a guest's console is kept.
    pub fn console_logs_of(&self, guest: &GuestName) -> PathBuf {
        self.logdir.join(guest)
    }

    /// The file of what happened to all guests. (No guest's name begins with a dot.)
    pub fn events_file(&self) -> PathBuf {
        self.logdir.join(".events")
    }

    /// The link from a running context to its configuration directory.
    pub fn rev_link_of(&self, xid: Xid) -> PathBuf {
        self.revdir.join(xid.to_string())
    }

    /// The file with what a context asked of its host.
    pub fn helper_file_of(&self, xid: Xid) -> PathBuf {
        self.helperdir.join(xid.to_string())
    }

    /// A context's directory of what was `/proc/virtual`.
    pub fn virtual_of(&self, xid: Xid) -> PathBuf {
        self.virtualdir.join(xid.to_string())
    }

    /// Where network contexts have their directories of what was `/proc/virtnet`.
    pub fn virtnetdir(&self) -> PathBuf {
        self.virtualdir.with_file_name("virtnet")
    }

    /// A network context's directory of what was `/proc/virtnet`.
    pub fn virtnet_of(&self, nid: Nid) -> PathBuf {
        self.virtnetdir().join(nid.to_string())
    }

    /// The lock held while a network context without a guest is made or swept.
    pub fn netcontext_lock(&self) -> PathBuf {
        self.lockdir.join("netcontexts")
    }

    /// The cgroup of a network context without a guest, relative to the hierarchy's root. (No guest's name begins with
    /// a dot.)
    pub fn netcontext_cgroup_of(&self, nid: Nid) -> PathBuf {
        Path::new(&self.cgroup_top).join(".nids").join(nid.to_string())
    }

    /// The lock that start and stop of a guest hold.
    pub fn startup_lock_of(&self, guest: &GuestName) -> PathBuf {
        self.lockdir.join(format!("{}.startup", guest.lock_name()))
    }

    /// The lock held while addresses are added or removed. (No guest's lock can have this name: theirs end in
    /// `.startup`.)
    pub fn interfaces_lock(&self) -> PathBuf {
        self.lockdir.join("interfaces")
    }

    /// A guest's cgroup, relative to the hierarchy's root: holds its limits and programs.
    pub fn cgroup_of(&self, guest: &GuestName) -> PathBuf {
        Path::new(&self.cgroup_top).join(guest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system() {
        let layout = Layout::from_prefix(None).unwrap();
        assert_eq!(layout, Layout::system());
        assert_eq!(layout, Layout::from_prefix(Some(OsStr::new(""))).unwrap());
        let web1 = GuestName::new("web1").unwrap();
        let xid = Xid::new(105).unwrap();
        assert_eq!(layout.config_of(&web1), Path::new("/etc/vservers/web1"));
        assert_eq!(layout.vdir_of(&web1), Path::new("/vservers/web1"));
        assert_eq!(layout.pkgbase, Path::new("/vservers/.pkg"));
        assert_eq!(layout.run_file_of(&web1), Path::new("/run/vservers/web1"));
        assert_eq!(layout.rev_link_of(xid), Path::new("/run/vservers.rev/105"));
        assert_eq!(layout.helper_file_of(xid), Path::new("/run/vshelper/105"));
        assert_eq!(layout.virtual_of(xid), Path::new("/run/vserver/virtual/105"));
        let nid = Nid::from(xid);
        assert_eq!(layout.virtnet_of(nid), Path::new("/run/vserver/virtnet/105"));
        assert_eq!(layout.netcontext_cgroup_of(nid), Path::new("vservers/.nids/105"));
        assert_eq!(layout.startup_lock_of(&web1), Path::new("/run/lock/vserver/web1.startup"));
        assert_eq!(layout.cgroup_of(&web1), Path::new("vservers/web1"));
    }

    #[test]
    fn a_prefix() {
        let layout = Layout::under(Path::new("/tmp/t1")).unwrap();
        assert_eq!(layout.confdir, Path::new("/tmp/t1/etc/vservers"));
        assert_eq!(layout.lockdir, Path::new("/tmp/t1/run/lock/vserver"));
        assert_eq!(layout.sharedirs[2], Path::new("/usr/share/vserver"));
        // Stable for ever: a running test guest must be found again by another build of the program.
        assert_eq!(layout.cgroup_top, "vservers-bbe60e69");
        assert_eq!(Layout::under(Path::new("/tmp/./t1//")).unwrap(), layout);
        assert_ne!(Layout::under(Path::new("/tmp/t2")).unwrap().cgroup_top, layout.cgroup_top);
        for bad in ["t1", "./t1", "/tmp/../t1"] {
            assert_eq!(Layout::under(Path::new(bad)), Err(BadPrefix(bad.into())));
        }
    }

    #[test]
    fn a_cgroup_top() {
        let top = |name: &str| Layout::system().with_cgroup_top(Some(OsStr::new(name))).cgroup_top;
        assert_eq!(top("mine"), "mine");
        for odd in ["", "/mine", "../mine", "a/b", "."] {
            assert_eq!(top(odd), "vservers");
        }
        assert_eq!(Layout::system().with_cgroup_top(None), Layout::system());
    }
}
