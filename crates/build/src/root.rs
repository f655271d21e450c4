//! The guest's tree before the method runs: its top, `/dev`, `/etc` and `/proc`, and the files copied into `/etc`.

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::Mode;
use vserver_tree::Root;

use crate::devs::{self, DevEntry};
use crate::error::{BuildError, Result};
use crate::site::{Site, read_file};

/// Files looked for in `.defaults/files` and the distribution's `files`.
const COPIED: [&str; 6] = ["nsswitch.conf", "krb5.conf", "krb.conf", "krb.realms", "ldap.conf", "localtime"];
/// What `/etc/hosts` is when nobody has one.
const HOSTS: &str = "127.0.0.1\tlocalhost\n::1\t\tlocalhost ip6-localhost ip6-loopback\n";

const DIRECTORY: Mode = Mode::from_raw_mode(0o755);
const FILE: Mode = Mode::from_raw_mode(0o644);

/// The device table for a distribution: its own, the shipped one, the built-in one.
///
/// # Errors
/// It cannot be read, or has a wrong line.
pub fn device_table(site: &Site, distribution: Option<&OsStr>) -> Result<Vec<DevEntry>> {
    let file = distribution
        .and_then(|dist| {
            // The original's documentation calls the file `dev`, its code reads `devs`.
            let names = ["devs", "dev"];
            let dirs = site.distribution_dirs(dist);
            Site::first_existing(dirs.iter().flat_map(|dir| names.map(|name| dir.join(name))))
        })
        .or_else(|| site.shipped_for_all("devs"));
    let Some(file) = file else {
        return Ok(devs::parse(Path::new("built-in devs"), devs::DEFAULT)?);
    };
    let content = read_file(&file)?.unwrap_or_default();
    Ok(devs::parse(&file, &String::from_utf8_lossy(&content))?)
}

/// Makes the top of the tree.
///
/// # Errors
/// A directory or node cannot be made.
pub fn make(root: &Root, site: &Site, distribution: Option<&OsStr>, table: &[DevEntry]) -> Result<()> {
    rustix::fs::fchmod(root, DIRECTORY).map_err(|e| BuildError::file("set the mode of", root.path(), e))?;
    for dir in ["dev", "etc", "proc"] {
        root.make_directory(dir, DIRECTORY)?;
    }
    fill_dev(root, table)?;
    copy_files(root, site, distribution)
}

/// Makes the nodes below `/dev`, which exists.
///
/// # Errors
/// A node cannot be made.
pub fn fill_dev(root: &Root, table: &[DevEntry]) -> Result<()> {
    devs::make(root, table)?;
    root.make_directory("dev/pts", DIRECTORY)?;
    Ok(())
}

/// Empties `/dev` and makes it anew. A link in its place goes.
///
/// # Errors
/// Something cannot be removed or made.
pub fn renew_dev(root: &Root, table: &[DevEntry]) -> Result<()> {
    root.remove_tree("dev")?;
    root.make_directory("dev", DIRECTORY)?;
    fill_dev(root, table)
}

fn copy_files(root: &Root, site: &Site, distribution: Option<&OsStr>) -> Result<()> {
    let defaults = |name: &str| site.layout.defaults.join("files").join(name);
    let local =
        |name: &str| distribution.map(|dist| site.layout.distributions.join(dist).join("files").join(name));
    for name in COPIED {
        copy_first(root, name, [Some(defaults(name)), local(name)])?;
    }
    let host = Some(PathBuf::from("/etc/resolv.conf"));
    copy_first(root, "resolv.conf", [Some(defaults("resolv.conf")), local("resolv.conf"), host])?;
    let shipped = site.distribution_file(distribution, "files/hosts");
    let hosts = [Some(defaults("hosts")), shipped, site.shipped_for_all("files/hosts")];
    copy_first(root, "hosts", hosts)?;
    if root.stat("etc/hosts")?.is_none() {
        root.replace("etc/hosts", HOSTS.as_bytes(), FILE)?;
    }
    Ok(())
}

/// Copies the first non-empty of these files to `/etc/NAME`, unless a non-empty one is there.
fn copy_first<const N: usize>(root: &Root, name: &str, sources: [Option<PathBuf>; N]) -> Result<()> {
    let target = Path::new("etc").join(name);
    if root.stat(&target)?.is_some_and(|stat| stat.st_size > 0) {
        return Ok(());
    }
    for source in sources.into_iter().flatten() {
        let Some(content) = read_file(&source)?.filter(|content| !content.is_empty()) else { continue };
        let mode = source.metadata().map_or(0o644, |meta| meta.permissions().mode() & 0o777);
        return Ok(root.replace(&target, &content, Mode::from_raw_mode(mode))?);
    }
    Ok(())
}
