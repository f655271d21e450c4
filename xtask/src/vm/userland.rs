//! What runs on a machine's kernel: nothing but the command, or Debian with systemd.

use crate::prepare;
use crate::shell::{run, run_within};
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The size of a machine's disk. It is sparse: only what is written takes room.
const DISK_BYTES: u64 = 12 << 30;

/// What a host that is run by systemd has in addition to what tests need anywhere.
const SYSTEMD_PACKAGES: &[&str] = &[
    "systemd",
    "systemd-sysv",
    "libpam-systemd",
    "dbus",
    "udev",
    "login",
    "e2fsprogs",
    "perl-base",
    "ca-certificates",
];

/// Runs the machine's command when the system is up, and switches off as an administrator would.
const SERVICE: &str = "\
[Unit]
Description=Command of the test machine
After=multi-user.target
[Service]
Environment=HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
ExecStart=/bin/sh /etc/vm-command
# Trials look after their processes themselves.
KillMode=process
Delegate=yes
[Install]
WantedBy=multi-user.target
";

/// The service's own words around the command. Which ports lead outside was found before systemd ran.
const WRAPPER: &str = "\
cd /root
. /vm/ports
sh /vm/command < /dev/null > $LOG 2>&1
echo $? > $STATUS
systemctl --no-block poweroff
";

/// Units that a test machine waits for in vain.
const MASKED: &[&str] = &[
    "e2scrub_reap.service",
    "getty@tty1.service",
    "serial-getty@ttyS0.service",
    "systemd-timesyncd.service",
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "fstrim.timer",
];

/// One of the two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Userland {
    /// A shell script is PID 1, and the root is the building machine's tree under a layer that takes what is written.
    Minimal,
    /// Debian 12 with systemd as PID 1, on a disk; the file is the image that each run begins with.
    Systemd(PathBuf),
}

impl Userland {
    /// What it is called.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Minimal => "minimal",
            Self::Systemd(_) => "systemd",
        }
    }

    /// The one with systemd, its image made below `cache` once.
    pub fn systemd(cache: &Path) -> Result<Self, String> {
        let mut packages = SYSTEMD_PACKAGES.to_vec();
        packages.extend(prepare::for_tests());
        packages.sort_unstable();
        packages.dedup();
        let packages = packages.join(",");
        let mut hash = DefaultHasher::new();
        (&packages, SERVICE, WRAPPER, MASKED, DISK_BYTES).hash(&mut hash);
        let image = cache.join(format!("systemd-{:016x}.ext4", hash.finish()));
        if !image.exists() {
            make_image(&image, &packages)?;
        }
        Ok(Self::Systemd(image))
    }

    /// The disk of a machine that is about to be switched on. One that was kept from its last boot is taken as it is.
    pub fn disk(&self, directory: &Path) -> Result<PathBuf, String> {
        let disk = directory.join("disk");
        let told = |error: std::io::Error| format!("{}: {error}", disk.display());
        match self {
            Self::Minimal => {
                drop(fs::remove_file(&disk));
                File::create_new(&disk).and_then(|file| file.set_len(DISK_BYTES)).map_err(told)?;
                run(make_ext4().arg(&disk))?;
            }
            Self::Systemd(image) if !disk.exists() => {
                run(Command::new("cp").args(["--sparse=always", "--reflink=auto"]).arg(image).arg(&disk))?;
            }
            Self::Systemd(_) => {}
        }
        Ok(disk)
    }
}

fn make_ext4() -> Command {
    let mut command = Command::new("mke2fs");
    command.args(["-q", "-F", "-t", "ext4", "-O", "^has_journal"]);
    command.args(["-E", "root_owner=0:0,lazy_itable_init=1,nodiscard"]);
    command
}

fn make_image(image: &Path, packages: &str) -> Result<(), String> {
    let tree = image.with_extension("tree");
    let draft = image.with_extension("part");
    for left in [&tree, &draft] {
        run(Command::new("rm").args(["-rf", "--one-file-system"]).arg(left))?;
    }
    let mut debian = Command::new("mmdebstrap");
    debian
        .args(["--mode=root", "--variant=minbase", "--aptopt=Acquire::Retries \"3\""])
        .args(["--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=path-exclude=/usr/share/locale/*"])
        .arg(format!("--include={packages}"))
        .arg("bookworm")
        .arg(&tree);
    run_within(15, &debian)?;
    let write = |name: &str, text: &str| {
        let file = tree.join(name);
        fs::write(&file, text).map_err(|error| format!("{}: {error}", file.display()))
    };
    write("etc/machine-id", "")?;
    write("etc/hostname", "testhost\n")?;
    write("etc/hosts", "127.0.0.1 localhost testhost\n")?;
    write("etc/vm-command", WRAPPER)?;
    write("etc/systemd/system/vm-command.service", SERVICE)?;
    for directory in ["host", "vm", "usr/lib/modules"] {
        fs::create_dir_all(tree.join(directory)).map_err(|error| format!("{directory}: {error}"))?;
    }
    // The tree's own program, as the building machine need not have one.
    let systemctl = |words: &[&str]| run(Command::new("chroot").arg(&tree).arg("systemctl").args(words));
    systemctl(&["--quiet", "enable", "vm-command.service"])?;
    systemctl(&[&["--quiet", "mask"], MASKED].concat())?;
    File::create_new(&draft)
        .and_then(|file| file.set_len(DISK_BYTES))
        .map_err(|error| format!("{}: {error}", draft.display()))?;
    run(make_ext4().arg("-d").arg(&tree).arg(&draft))?;
    run(Command::new("rm").args(["-rf", "--one-file-system"]).arg(&tree))?;
    fs::rename(&draft, image).map_err(|error| format!("{}: {error}", image.display()))
}
