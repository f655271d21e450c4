//! A prefix of one trial, and what is looked at in it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use vserver_build::interrupt::Interrupt;
use vserver_build::output::Kept;
use vserver_build::site::Site;
use vserver_model::{GuestName, Layout};

/// A temporary prefix with nothing in it.
pub struct Place {
    _dir: tempfile::TempDir,
    /// The prefix.
    pub path: PathBuf,
    /// Everything below it.
    pub layout: Layout,
    /// Set it and builds end.
    pub interrupt: Interrupt,
}

/// How a build went.
pub struct Outcome {
    /// Exit code.
    pub code: u8,
    /// Words.
    pub said: Kept,
}

impl Outcome {
    /// All words of a failure.
    pub fn failure(&self) -> String {
        self.said.failures.join("\n")
    }

    /// All notes and warnings.
    pub fn notes(&self) -> String {
        self.said.notes.join("\n")
    }
}

impl Place {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_owned();
        let mut layout = Layout::under(&path).unwrap();
        // The installed data of this machine must not play a role.
        layout.sharedirs.truncate(2);
        Self { _dir: dir, path, layout, interrupt: Interrupt::default() }
    }

    /// `vserver NAME build WORDS`, words split at blanks.
    pub fn build(&self, name: &str, words: &str) -> Outcome {
        let words: Vec<OsString> = words.split_whitespace().map(OsString::from).collect();
        self.build_words(name, &words)
    }

    pub fn build_words(&self, name: &str, words: &[OsString]) -> Outcome {
        Self::build_at(&Site::from_environment(&self.layout, self.interrupt.clone()), name, words)
    }

    /// The same where no debootstrap is installed: `PATH` leads to links to everything else.
    pub fn build_without_debootstrap(&self, name: &str, words: &str) -> Outcome {
        let bin = self.path.join("bin");
        std::fs::create_dir_all(&bin).unwrap();
        for tool in ["sh", "mkdir", "mount", "umount", "cat", "touch", "sleep", "wget", "chroot"] {
            if let Some(path) = program(tool)
                && !bin.join(tool).exists()
            {
                std::os::unix::fs::symlink(path, bin.join(tool)).unwrap();
            }
        }
        let mut site = Site::from_environment(&self.layout, self.interrupt.clone());
        site.path = bin.into();
        let words: Vec<OsString> = words.split_whitespace().map(OsString::from).collect();
        Self::build_at(&site, name, &words)
    }

    fn build_at(site: &Site, name: &str, words: &[OsString]) -> Outcome {
        let mut said = Kept::default();
        let code = match vserver_build::run(site, Some(GuestName::new(name).unwrap()), words, &mut said) {
            Ok(()) => 0,
            Err(failure) => {
                said.failures.push(vserver_build::report(&format!("vserver {name} build"), &failure));
                failure.error.exit_code()
            }
        };
        Outcome { code, said }
    }

    /// The same, which must go well.
    pub fn build_well(&self, name: &str, words: &str) -> Outcome {
        let outcome = self.build(name, words);
        assert_eq!(outcome.code, 0, "{}", outcome.failure());
        outcome
    }

    pub fn config(&self, name: &str) -> PathBuf {
        self.layout.confdir.join(name)
    }

    pub fn vdir(&self, name: &str) -> PathBuf {
        self.layout.vdirbase.join(name)
    }

    /// Nothing of a guest is left, nor of the build.
    pub fn assert_nothing_of(&self, name: &str) {
        assert!(!self.config(name).exists(), "configuration left");
        assert!(!self.vdir(name).exists(), "tree left");
        assert!(!self.layout.pkgbase.join(name).exists(), "packages left");
        self.assert_no_scratch();
    }

    pub fn assert_no_scratch(&self) {
        let scratch = self.layout.cachebase.join("build");
        let left = std::fs::read_dir(scratch).into_iter().flatten().filter_map(Result::ok);
        let left: Vec<_> = left.filter(|e| e.file_name().to_string_lossy().starts_with("tmp.")).collect();
        assert!(left.is_empty(), "{left:?}");
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(self.path.to_str().unwrap()), "a mount is left");
    }
}

/// Every file below a directory: path, and a line that tells everything about it but times.
pub fn listing(dir: &Path) -> BTreeMap<String, String> {
    fn walk(top: &Path, dir: &Path, into: &mut BTreeMap<String, String>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let meta = path.symlink_metadata().unwrap();
            let kind = meta.file_type();
            let mode = meta.permissions().mode() & 0o7777;
            let device = (rustix::fs::major(meta.rdev()), rustix::fs::minor(meta.rdev()));
            let what = if kind.is_dir() {
                walk(top, &path, into);
                format!("dir {mode:o}")
            } else if kind.is_symlink() {
                format!("-> {}", std::fs::read_link(&path).unwrap().display())
            } else if kind.is_char_device() {
                format!("c {} {} {mode:o}", device.0, device.1)
            } else if kind.is_block_device() {
                format!("b {} {} {mode:o}", device.0, device.1)
            } else if kind.is_fifo() {
                format!("fifo {mode:o}")
            } else {
                format!("{:?}", String::from_utf8_lossy(&std::fs::read(&path).unwrap()))
            };
            into.insert(path.strip_prefix(top).unwrap().to_string_lossy().into_owned(), what);
        }
    }
    let mut all = BTreeMap::new();
    walk(dir, dir, &mut all);
    all
}

pub fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into()])
        .map(|dir| dir.join(name))
        .find(|path| path.is_file())
}

/// The mirror for trials: `VSERVER_TEST_MIRROR`, or that of the defaults.
pub fn mirror() -> String {
    std::env::var("VSERVER_TEST_MIRROR").unwrap_or_else(|_| "http://deb.debian.org/debian".to_owned())
}

pub fn mirror_answers() -> bool {
    let url = format!("{}/dists/bookworm/InRelease", mirror());
    let ask = std::process::Command::new("wget")
        .args(["-q", "-T", "10", "-t", "1", "-O", "/dev/null", &url])
        .status();
    ask.is_ok_and(|status| status.success())
}
