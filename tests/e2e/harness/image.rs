//! Root file systems for guests: made once per machine, kept under `target/fixtures`, copied for each trial.

use crate::place;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

/// A root file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Image {
    /// One static program and a handful of files, 2 MB. Its init is busybox's, its rc script starts one daemon.
    Busybox,
    /// Debian 12 minbase, without an init.
    Debian,
    /// Debian 12 with sysvinit.
    DebianSysvinit,
    /// Debian 12 with systemd.
    DebianSystemd,
    /// Debian 12 with network servers and clients (sshd, nginx, bind9, squid, ping, curl, dig, Python), without an
    /// init and without documentation.
    DebianServers,
}

impl Image {
    fn file_name(self) -> &'static str {
        match self {
            Self::Busybox => "busybox",
            Self::Debian => "debian.tar",
            Self::DebianSysvinit => "debian-sysvinit.tar",
            Self::DebianSystemd => "debian-systemd.tar",
            Self::DebianServers => "debian-servers.tar",
        }
    }

    fn packages(self) -> Option<&'static str> {
        match self {
            Self::Busybox | Self::Debian => None,
            Self::DebianSysvinit => Some("sysvinit-core,sysv-rc,orphan-sysvinit-scripts"),
            Self::DebianSystemd => Some("systemd-sysv,dbus"),
            Self::DebianServers => Some(
                "openssh-server,nginx-light,bind9,squid,iputils-ping,curl,bind9-dnsutils,python3-minimal,\
                 libpython3-stdlib,iproute2,xauth",
            ),
        }
    }

    /// Whether it can be had without the archive.
    pub fn is_made(self) -> bool {
        self == Self::Busybox || self.path().exists()
    }

    /// Where it is kept: a tar archive.
    pub fn path(self) -> PathBuf {
        place::images().join(self.file_name())
    }

    /// Makes it unless it is there; one at a time, as the archive and both processors are busy with one.
    pub(crate) fn make(self) -> Result<(), String> {
        static MAKING: Mutex<()> = Mutex::new(());
        if self.is_made() {
            return Ok(());
        }
        let _alone = MAKING.lock().map_err(|_| "another image failed badly")?;
        if self.is_made() {
            return Ok(());
        }
        let finished = self.path();
        let draft = finished.with_extension("part.tar");
        fs::create_dir_all(place::images()).map_err(|error| error.to_string())?;
        let mut command = Command::new("mmdebstrap");
        command.args(["--mode=root", "--variant=minbase", "--aptopt=Acquire::Retries \"3\""]);
        command.args(self.packages().map(|packages| format!("--include={packages}")));
        if self == Self::DebianServers {
            for path in ["doc", "man", "locale"] {
                command.arg(format!("--dpkgopt=path-exclude=/usr/share/{path}/*"));
            }
        }
        command.arg("bookworm").arg(&draft).stdin(Stdio::null());
        // Trees made from one image must not share an identity.
        command.arg("--customize-hook=: > \"$1/etc/machine-id\"; rm -f \"$1/var/lib/dbus/machine-id\"");
        let output = command.output().map_err(|error| format!("mmdebstrap: {error}"))?;
        if !output.status.success() {
            return Err(format!("mmdebstrap: {}", String::from_utf8_lossy(&output.stderr)));
        }
        fs::rename(&draft, &finished).map_err(|error| format!("{}: {error}", finished.display()))
    }

    /// Puts it into an empty directory.
    ///
    /// # Panics
    ///
    /// When that fails: the trial cannot go on.
    pub fn unpack(self, into: &Path) {
        fs::create_dir_all(into).expect("the guests' directory is ours");
        if self == Self::Busybox {
            return busybox(into).unwrap_or_else(|error| panic!("busybox root: {error}"));
        }
        let status = Command::new("tar")
            .args(["--numeric-owner", "--xattrs", "--xattrs-include=*", "--sparse", "--extract", "--file"])
            .arg(self.path())
            .arg("--directory")
            .arg(into)
            .status()
            .expect("tar is there");
        assert!(status.success(), "{} cannot be unpacked", self.path().display());
    }
}

/// `/etc/init.d/rc` of the busybox guest: with a runlevel that is not a stopping one it starts what
/// `/etc/rc.start` says, else what `/etc/rc.stop` says. Tests replace the two.
const RC: &str = "#!/bin/sh
echo \"rc $1 (RUNLEVEL=$RUNLEVEL PREVLEVEL=$PREVLEVEL)\" >> /var/log/rc
case $1 in
    0|6) exec /bin/sh /etc/rc.stop ;;
    *) exec /bin/sh /etc/rc.start ;;
esac
";

/// Starts the daemon, and ends when it has become what it is: who looks next shall find it.
const DAEMON: &str = "setsid sleep 100000 < /dev/null > /dev/null 2>&1 &
until pidof sleep > /dev/null; do sleep 0.02; done
";

const INITTAB: &str = "::sysinit:/bin/sh /etc/rc.boot
::respawn:/bin/sleep 100000
::ctrlaltdel:/sbin/reboot
::shutdown:/bin/sh /etc/rc.down
";

/// A tree around the host's static busybox.
fn busybox(root: &Path) -> std::io::Result<()> {
    for directory in
        "bin sbin usr/bin usr/sbin etc/init.d dev proc sys run tmp var/log root home/user".split(' ')
    {
        fs::create_dir_all(root.join(directory))?;
    }
    fs::set_permissions(root.join("tmp"), fs::Permissions::from_mode(0o1777))?;
    symlink("/run", root.join("var/run"))?;
    fs::create_dir_all(root.join("run/lock"))?;
    symlink("/run/lock", root.join("var/lock"))?;
    fs::copy("/bin/busybox", root.join("bin/busybox"))?;
    let list = Command::new("/bin/busybox").arg("--list-full").output()?;
    for applet in String::from_utf8_lossy(&list.stdout).lines() {
        let link = root.join(applet);
        if applet != "bin/busybox" && !link.exists() {
            if let Some(directory) = link.parent() {
                fs::create_dir_all(directory)?;
            }
            symlink("/bin/busybox", link)?;
        }
    }
    for (file, mode, text) in [
        ("etc/passwd", 0o644, "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/home/user:/bin/sh\n"),
        ("etc/group", 0o644, "root:x:0:\ntty:x:5:\nutmp:x:43:\nstaff:x:50:user\nuser:x:1000:\n"),
        ("etc/shadow", 0o600, "root:*:19000:0:99999:7:::\nuser:*:19000:0:99999:7:::\n"),
        ("etc/inittab", 0o644, INITTAB),
        ("etc/init.d/rc", 0o755, RC),
        ("etc/rc.start", 0o644, DAEMON),
        ("etc/rc.stop", 0o644, "kill -TERM -1\n"),
        ("etc/rc.boot", 0o644, "echo booted >> /var/log/boot\n"),
        ("etc/rc.down", 0o644, "echo down >> /var/log/boot\n"),
    ] {
        fs::write(root.join(file), text)?;
        fs::set_permissions(root.join(file), fs::Permissions::from_mode(mode))?;
    }
    std::os::unix::fs::chown(root.join("home/user"), Some(1000), Some(1000))
}
