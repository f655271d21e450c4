//! Finished trees, kept so that the same build takes seconds the second time.
//!
//! ```text
//! CACHEBASE/build/trees/KEY-STAMP.tar.zst
//! ```
//!
//! KEY is a hash of everything that the tree depends on and that we choose (suite, mirror, options, script, version of
//! the tool); STAMP a hash of the mirror's release file, which changes when the mirror's packages do. A tree with the
//! right stamp is used; when the mirror does not answer, the newest with the right key. A tree appears under its name
//! only when it is complete, so that builds at the same time do not disturb each other. The directory is root's alone:
//! what is in it is trusted.

use std::fs::File;
use std::io::{BufReader, BufWriter, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::Mode;
use sha2::{Digest as _, Sha256};
use vserver_tree::Root;
use vserver_tree::device::DevicePolicy;

use crate::archive::extract::{Options, extract};
use crate::archive::write::write_tree;
use crate::archive::{ArchiveError, Fault};
use crate::error::{BuildError, Result};
use crate::identity;
use crate::site::Site;

/// Good compression at the speed of a disk.
const LEVEL: i32 = 3;
/// How many digits of a hash a file's name has.
const DIGITS: usize = 24;

/// The stamp of a mirror that did not answer when the tree was made.
pub const NO_STAMP: &str = "unknown";

/// A hash of texts, order and borders counting.
#[derive(Debug, Default)]
pub struct Key(Sha256);

impl Key {
    /// Adds a text.
    #[must_use]
    pub fn and(mut self, text: impl AsRef<[u8]>) -> Self {
        let text = text.as_ref();
        self.0.update((text.len() as u64).to_le_bytes());
        self.0.update(text);
        self
    }

    /// As hexadecimal digits.
    pub fn digits(self) -> String {
        hexadecimal(&self.0.finalize())[..DIGITS].to_owned()
    }
}

/// Bytes as lower-case digits.
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    let digit = |n: u8| char::from_digit(n.into(), 16).unwrap_or('0');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// A tree in the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cached {
    /// The archive.
    pub path: PathBuf,
    /// When it was made.
    pub made: SystemTime,
}

/// The cache of one site.
#[derive(Debug)]
pub struct Cache {
    dir: PathBuf,
}

impl Cache {
    /// The cache below the cache base. Nothing is created yet.
    pub fn of(site: &Site) -> Self {
        Self { dir: site.layout.cachebase.join("build/trees") }
    }

    /// The tree with this key and stamp; with no stamp (the mirror does not answer) the newest of the key.
    pub fn find(&self, key: &str, stamp: Option<&str>) -> Option<Cached> {
        let candidates = self.with_key(key);
        match stamp {
            Some(stamp) => {
                let name = file_name(key, stamp);
                candidates
                    .into_iter()
                    .find(|cached| cached.path.file_name().is_some_and(|file| *file == *name))
            }
            None => candidates.into_iter().max_by_key(|cached| cached.made),
        }
    }

    fn with_key(&self, key: &str) -> Vec<Cached> {
        let entries = std::fs::read_dir(&self.dir).into_iter().flatten().filter_map(Result::ok);
        entries
            .filter(|entry| {
                let name = entry.file_name();
                let name = name.to_string_lossy();
                name.starts_with(&format!("{key}-")) && name.ends_with(".tar.zst")
            })
            .filter_map(|entry| {
                let meta = entry.metadata().ok().filter(std::fs::Metadata::is_file)?;
                Some(Cached { path: entry.path(), made: meta.modified().ok()? })
            })
            .collect()
    }

    /// Unpacks a tree from the cache.
    ///
    /// # Errors
    /// The archive is damaged: remove it. Or the tree cannot be written.
    pub fn restore(&self, cached: &Cached, root: &Root, site: &Site) -> Result<()> {
        let wrong = |fault| ArchiveError::new(&cached.path, None, fault);
        let file = File::open(&cached.path).map_err(|e| wrong(Fault::Open(e)))?;
        let interrupt = site.interrupt.clone();
        let options = Options { devices: DevicePolicy::All, stop: &|| interrupt.is_set() };
        match extract(Box::new(BufReader::with_capacity(1 << 18, file)), &cached.path, root, &options) {
            Ok(_) => Ok(()),
            Err(ArchiveError { fault: Fault::Interrupted, .. }) => Err(BuildError::Interrupted),
            Err(error) => Err(error.into()),
        }
    }

    /// Puts a tree into the cache, without what belongs to this guest alone, and lets go of older ones of its key.
    ///
    /// # Errors
    /// The tree cannot be read or the cache not written; the build may go on without.
    pub fn store(&self, key: &str, stamp: &str, root: &Root, site: &Site) -> Result<()> {
        std::fs::create_dir_all(&self.dir)
            .map_err(|e| BuildError::file("create the directory", &self.dir, e))?;
        let dir = Root::open(&self.dir)?;
        rustix::fs::fchmod(&dir, Mode::RWXU)
            .map_err(|e| BuildError::file("set the mode of", &self.dir, e))?;
        crate::build::remove_abandoned(&dir, ".new.")?;
        let temporary = Temporary(self.dir.join(format!(".new.{}.{key}", std::process::id())));
        write_archive(&temporary.0, root, site)?;
        let path = self.dir.join(file_name(key, stamp));
        std::fs::rename(&temporary.0, &path).map_err(|e| BuildError::file("rename", &temporary.0, e))?;
        for old in self.with_key(key) {
            if old.path != path {
                // Another build may have removed it already, or be reading it, which goes on.
                std::fs::remove_file(&old.path).ok();
            }
        }
        Ok(())
    }
}

fn write_archive(path: &Path, root: &Root, site: &Site) -> Result<()> {
    let cannot = |e: std::io::Error| BuildError::file("write", path, e);
    let file =
        std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(cannot)?;
    let mut zstd =
        zstd::stream::write::Encoder::new(BufWriter::with_capacity(1 << 18, file), LEVEL).map_err(cannot)?;
    // A damaged cache must not become a guest.
    zstd.include_checksum(true).map_err(cannot)?;
    let interrupt = site.interrupt.clone();
    let leave_out = |path: &Path| is_left_out(path);
    match write_tree(root, &mut zstd, &leave_out, &|| interrupt.is_set()) {
        Err(error) if error.is(rustix::io::Errno::INTR) => return Err(BuildError::Interrupted),
        other => other?,
    }
    let mut file = zstd.finish().map_err(cannot)?;
    file.flush().map_err(cannot)?;
    // The name must not be there before the content.
    file.get_ref().sync_all().map_err(cannot)
}

/// Whether the cache leaves this out: `/dev`, which is made anew, and what is the guest's own.
fn is_left_out(path: &Path) -> bool {
    path == Path::new("dev")
        || path.parent() == Some(Path::new("proc"))
        || path.parent() == Some(Path::new("sys"))
        || identity::is_own(path)
}

fn file_name(key: &str, stamp: &str) -> String {
    format!("{key}-{stamp}.tar.zst")
}

/// A file that goes unless it was renamed.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interrupt::Interrupt;
    use vserver_model::Layout;

    #[test]
    fn a_tree_comes_back_without_its_identity() {
        let dir = tempfile::tempdir().unwrap();
        let site = Site::from_environment(&Layout::under(dir.path()).unwrap(), Interrupt::default());
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        std::fs::create_dir_all(a.join("etc/ssh")).unwrap();
        std::fs::create_dir_all(a.join("dev")).unwrap();
        std::fs::create_dir(&b).unwrap();
        std::fs::write(a.join("etc/passwd"), "root").unwrap();
        std::fs::write(a.join("etc/ssh/ssh_host_rsa_key"), "secret").unwrap();
        let (a, b) = (Root::open(a).unwrap(), Root::open(b).unwrap());
        let cache = Cache::of(&site);
        assert_eq!(cache.find("k", None), None);
        cache.store("k", "old", &a, &site).unwrap();
        cache.store("k", "new", &a, &site).unwrap();
        assert_eq!(cache.find("k", Some("old")), None, "the older one goes");
        assert_eq!(cache.find("j", None), None);
        let cached = cache.find("k", Some("new")).unwrap();
        assert_eq!(cache.find("k", None).unwrap(), cached);
        cache.restore(&cached, &b, &site).unwrap();
        assert_eq!(b.read("etc/passwd", 10).unwrap().unwrap(), b"root");
        assert_eq!(b.entries("").unwrap(), ["etc"]);
        assert!(b.entries("etc/ssh").unwrap().is_empty());
        let left = std::fs::read_dir(cache.dir).unwrap().count();
        assert_eq!(left, 1);
    }

    #[test]
    fn a_damaged_tree_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let site = Site::from_environment(&Layout::under(dir.path()).unwrap(), Interrupt::default());
        let root = dir.path().join("a");
        std::fs::create_dir(&root).unwrap();
        std::fs::write(root.join("file"), vec![b'x'; 100_000]).unwrap();
        let root = Root::open(root).unwrap();
        let cache = Cache::of(&site);
        cache.store("k", "s", &root, &site).unwrap();
        let cached = cache.find("k", None).unwrap();
        let mut bytes = std::fs::read(&cached.path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0xff;
        std::fs::write(&cached.path, bytes).unwrap();
        assert!(cache.restore(&cached, &root, &site).is_err());
    }

    #[test]
    fn keys_know_borders() {
        let key = |texts: &[&str]| texts.iter().fold(Key::default(), Key::and).digits();
        assert_ne!(key(&["ab", "c"]), key(&["a", "bc"]));
        assert_eq!(key(&["ab", "c"]), key(&["ab", "c"]));
        assert_eq!(key(&[]).len(), DIGITS);
    }
}
