//! What makes a system this one and no other: machine ids, random seeds, host keys. Two guests must not share them.

use std::path::Path;

use rustix::fs::Mode;
use vserver_tree::{Root, TreeError};

const FILE: Mode = Mode::from_raw_mode(0o644);

/// Where systemd is, if it is in the tree.
const SYSTEMD: [&str; 2] = ["usr/lib/systemd/systemd", "lib/systemd/systemd"];

/// Files that each system makes for itself and that no copy or cache may carry.
pub const SEEDS: [&str; 4] = [
    "var/lib/systemd/random-seed",
    "var/lib/systemd/credential.secret",
    "var/lib/urandom/random-seed",
    "var/lib/misc/random-seed",
];

/// Whether the guest runs systemd, or could.
pub fn has_systemd(root: &Root) -> bool {
    SYSTEMD.iter().any(|path| root.is_file(path).unwrap_or(false))
}

/// Blanks the machine ids, so that each guest makes its own at its first start.
///
/// An empty `/etc/machine-id` is what machine-id(5) wants of an image. systemd would take the id of D-Bus if there is
/// one, so that has to go too: with systemd it becomes a link, else D-Bus makes a new one.
///
/// # Errors
/// A file cannot be written.
pub fn blank_machine_ids(root: &Root) -> Result<(), TreeError> {
    if root.stat("etc/machine-id")?.is_some() || has_systemd(root) {
        root.remove_file("etc/machine-id")?;
        root.replace("etc/machine-id", b"", FILE)?;
    }
    let dbus = Path::new("var/lib/dbus/machine-id");
    if root.stat(dbus)?.is_some() {
        root.remove_file(dbus)?;
        if has_systemd(root) {
            root.symlink("/etc/machine-id", dbus)?;
        }
    }
    for seed in SEEDS {
        root.remove_file(seed)?;
    }
    Ok(())
}

/// Whether a file is a host key of the ssh server.
pub fn is_ssh_host_key(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    path.parent() == Some(Path::new("etc/ssh"))
        && name
            .strip_prefix("ssh_host_")
            .is_some_and(|rest| rest.ends_with("_key") || rest.ends_with("_key.pub"))
}

/// Whether a file is one that a cache of a built system must not hold: it would be the same in each guest. (Machine
/// ids are blanked before the tree is kept.)
pub fn is_own(path: &Path) -> bool {
    const OWN: [&str; 5] = [
        "etc/hostname",
        "etc/resolv.conf",
        "etc/hosts",
        "etc/ssl/private/ssl-cert-snakeoil.key",
        "etc/ssl/certs/ssl-cert-snakeoil.pem",
    ];
    OWN.iter().chain(&SEEDS).any(|own| path == Path::new(own)) || is_ssh_host_key(path)
}

/// The host keys of the ssh server in the tree.
///
/// # Errors
/// The directory cannot be read.
pub fn ssh_host_keys(root: &Root) -> Result<Vec<std::path::PathBuf>, TreeError> {
    let entries = root.entries("etc/ssh")?;
    Ok(entries
        .into_iter()
        .map(|name| Path::new("etc/ssh").join(name))
        .filter(|path| is_ssh_host_key(path))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(systemd: bool) -> (tempfile::TempDir, Root) {
        let dir = tempfile::tempdir().unwrap();
        for sub in ["etc/ssh", "var/lib/dbus", "usr/lib/systemd"] {
            std::fs::create_dir_all(dir.path().join(sub)).unwrap();
        }
        if systemd {
            std::fs::write(dir.path().join("usr/lib/systemd/systemd"), "").unwrap();
        }
        for file in ["etc/machine-id", "var/lib/dbus/machine-id"] {
            std::fs::write(dir.path().join(file), "0123456789abcdef0123456789abcdef\n").unwrap();
        }
        let root = Root::open(dir.path()).unwrap();
        (dir, root)
    }

    #[test]
    fn ids_are_blanked() {
        let (dir, root) = tree(true);
        blank_machine_ids(&root).unwrap();
        assert_eq!(std::fs::read(dir.path().join("etc/machine-id")).unwrap(), b"");
        assert_eq!(
            root.link_target("var/lib/dbus/machine-id").unwrap().unwrap(),
            Path::new("/etc/machine-id")
        );
        let (dir, root) = tree(false);
        blank_machine_ids(&root).unwrap();
        assert_eq!(std::fs::read(dir.path().join("etc/machine-id")).unwrap(), b"");
        assert!(!dir.path().join("var/lib/dbus/machine-id").exists());
    }

    #[test]
    fn a_linked_id_does_not_reach_the_host() {
        let (dir, root) = tree(true);
        let outside = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(outside.path(), "host").unwrap();
        std::fs::remove_file(dir.path().join("etc/machine-id")).unwrap();
        std::os::unix::fs::symlink(outside.path(), dir.path().join("etc/machine-id")).unwrap();
        blank_machine_ids(&root).unwrap();
        assert_eq!(std::fs::read(outside.path()).unwrap(), b"host");
    }

    #[test]
    fn host_keys() {
        assert!(is_ssh_host_key(Path::new("etc/ssh/ssh_host_ed25519_key")));
        assert!(is_ssh_host_key(Path::new("etc/ssh/ssh_host_rsa_key.pub")));
        assert!(!is_ssh_host_key(Path::new("etc/ssh/sshd_config")));
        assert!(!is_ssh_host_key(Path::new("home/x/ssh_host_rsa_key")));
        assert!(is_own(Path::new("etc/ssh/ssh_host_rsa_key")) && !is_own(Path::new("etc/passwd")));
    }
}
