//! Guests made by hand: a tree, and a configuration directory as the documentation describes it.

use crate::Image;
use crate::command::{Done, Program, host, vserver};
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

/// How a guest is confined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// With a user namespace and an id-mapped tree.
    Shifted,
    /// Without.
    Classic,
}

impl Mode {
    /// Its name in the names of trials.
    pub fn word(self) -> &'static str {
        match self {
            Self::Shifted => "shifted",
            Self::Classic => "classic",
        }
    }
}

/// A guest to be made.
pub struct Draft {
    name: String,
    image: Image,
    xid: u16,
    mode: Mode,
    style: Option<&'static str>,
}

/// A guest that is configured and has its tree.
pub struct Guest {
    /// What it is called on the command line.
    pub name: String,
    /// Its context number.
    pub xid: u16,
}

impl Draft {
    /// Another context than 105.
    #[must_use]
    pub fn xid(mut self, xid: u16) -> Self {
        self.xid = xid;
        self
    }

    /// The content of `apps/init/style`.
    #[must_use]
    pub fn style(mut self, style: &'static str) -> Self {
        self.style = Some(style);
        self
    }

    /// Writes it all.
    ///
    /// # Panics
    ///
    /// When a file cannot be written: the trial cannot go on.
    pub fn make(self) -> Guest {
        let guest = Guest { name: self.name, xid: self.xid };
        self.image.unpack(&guest.tree("/"));
        guest.set("context", &format!("{}\n", guest.xid));
        guest.set("name", &format!("{}\n", guest.name));
        guest.set(
            "fstab",
            "none /proc proc defaults 0 0\n\
             none /tmp tmpfs size=16m,mode=1777 0 0\n\
             none /dev/pts devpts gid=5,mode=620 0 0\n",
        );
        for (link, target) in [
            ("vdir", format!("/vservers/{}", guest.name)),
            ("run", format!("/var/run/vservers/{}", guest.name)),
            ("cache", format!("/var/cache/vservers/{}", guest.name)),
        ] {
            symlink(target, guest.configuration(link)).expect("/etc/vservers is ours");
        }
        if self.mode == Mode::Shifted {
            guest.set("spaces/user", "");
        }
        if let Some(style) = self.style {
            guest.set("apps/init/style", &format!("{style}\n"));
        }
        guest
    }
}

impl Guest {
    /// A guest from an image, with context 105 and no style of its own (sysv).
    pub fn from(image: Image, name: &str, mode: Mode) -> Draft {
        Draft { name: name.to_owned(), image, xid: 105, mode, style: None }
    }

    /// A busybox guest, the quickest there is.
    pub fn busybox(name: &str, mode: Mode) -> Draft {
        Self::from(Image::Busybox, name, mode)
    }

    /// A guest that is there already.
    pub fn named(name: &str, xid: u16) -> Self {
        Self { name: name.to_owned(), xid }
    }

    /// A path inside its tree, seen from the host.
    pub fn tree(&self, path: &str) -> PathBuf {
        Path::new("/vservers").join(&self.name).join(path.trim_start_matches('/'))
    }

    /// A path in its configuration directory.
    pub fn configuration(&self, item: &str) -> PathBuf {
        Path::new("/etc/vservers").join(&self.name).join(item)
    }

    /// Writes a configuration item.
    ///
    /// # Panics
    ///
    /// When it cannot be written.
    pub fn set(&self, item: &str, text: &str) {
        write(&self.configuration(item), text, 0o644);
    }

    /// Writes a hook or another program into the configuration directory.
    ///
    /// # Panics
    ///
    /// When it cannot be written.
    pub fn set_program(&self, item: &str, text: &str) {
        write(&self.configuration(item), text, 0o755);
    }

    /// Writes a file into its tree.
    ///
    /// # Panics
    ///
    /// When it cannot be written.
    pub fn put(&self, path: &str, text: &str) {
        write(&self.tree(path), text, 0o644);
    }

    /// Reads a file of its tree from the host, or nothing when there is none.
    pub fn file(&self, path: &str) -> String {
        fs::read_to_string(self.tree(path)).unwrap_or_default()
    }

    /// `vserver NAME WORDS`.
    #[must_use]
    pub fn vserver(&self, words: &[&str]) -> Done {
        vserver(&[&[self.name.as_str()], words].concat())
    }

    /// The same, to be refined before it is run.
    pub fn program(&self, words: &[&str]) -> Program {
        Program::named("vserver").args(&[&[self.name.as_str()], words].concat())
    }

    /// Runs a line of shell inside, as root.
    #[must_use]
    pub fn sh(&self, line: &str) -> Done {
        self.vserver(&["exec", "/bin/sh", "-c", line])
    }

    /// Starts it, which must succeed.
    #[track_caller]
    pub fn start(&self) -> Done {
        let done = self.vserver(&["start"]);
        done.ok();
        done
    }

    /// Stops it, which must succeed and leave nothing running.
    #[track_caller]
    pub fn stop(&self) -> Done {
        let done = self.vserver(&["stop"]);
        done.ok();
        assert!(!self.is_running(), "stopped, and still running");
        done
    }

    /// What `vserver NAME running` says.
    ///
    /// # Panics
    ///
    /// When it says something else than yes or no.
    #[track_caller]
    pub fn is_running(&self) -> bool {
        let done = self.vserver(&["running"]);
        match done.exit() {
            0 => true,
            1 => false,
            _ => panic!("neither running nor not:\n{done}"),
        }
    }

    /// `rm -rf` of what belongs to it.
    ///
    /// # Panics
    ///
    /// When something is left, a mount for example.
    pub fn remove_by_hand(&self) {
        host("rm", &["-rf", &format!("/etc/vservers/{}", self.name), &format!("/vservers/{}", self.name)])
            .ok();
    }
}

fn write(path: &Path, text: &str, mode: u32) {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).expect("the trial's directories are ours");
    }
    fs::write(path, text).expect("the trial's directories are ours");
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("just written");
}
