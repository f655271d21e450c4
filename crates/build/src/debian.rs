//! Finishing a Debian or Ubuntu tree: what its `initpost` did, on the stopped tree, below its descriptor.
//!
//! A guest has no console, no clock, no disks, and may share the host's network. What reaches for those at boot or at
//! shutdown is taken out of the run levels (sysv) or masked (systemd). The original removed every service but a few;
//! here a service stays unless it is known to touch what belongs to the host, so that a daemon that was asked for with
//! `--include` is started.

use std::path::{Path, PathBuf};

use rustix::fs::Mode;
use vserver_tree::{Root, TreeError};

use crate::identity::has_systemd;

const FILE: Mode = Mode::from_raw_mode(0o644);
const DIRECTORY: Mode = Mode::from_raw_mode(0o755);
/// No file that we edit is longer.
const LONGEST: u64 = 4 << 20;

/// What the finishing needs to know.
#[derive(Clone, Copy, Debug, Default)]
pub struct Facts<'a> {
    /// The suite (`-d`).
    pub suite: &'a str,
    /// Where packages come from; `None` leaves the guest's sources as they are.
    pub mirror: Option<&'a str>,
    /// The guest's host name.
    pub hostname: Option<&'a str>,
    /// `LANG` of the administrator.
    pub lang: Option<&'a str>,
    /// The host's `/etc/apt/apt.conf`.
    pub proxy: Option<&'a [u8]>,
    /// The guest runs its own init, so `halt` is how it ends.
    pub plain: bool,
}

/// Services of sysv run levels that touch the host: its disks and mounts, clock, console, devices, kernel settings,
/// network, and its other processes.
const HOST_SERVICES: [&str; 44] = [
    "bootlogd",
    "bootlogs",
    "bootmisc.sh",
    "brightness",
    "checkfs.sh",
    "checkroot-bootclean.sh",
    "checkroot.sh",
    "console-screen.sh",
    "console-setup",
    "console-setup.sh",
    "cryptdisks",
    "cryptdisks-early",
    "halt",
    "hostname.sh",
    "hwclock.sh",
    "hwclockfirst.sh",
    "ifupdown",
    "ifupdown-clean",
    "keyboard-setup",
    "keyboard-setup.sh",
    "keymap.sh",
    "killprocs",
    "klogd",
    "kmod",
    "lvm2",
    "mdadm",
    "module-init-tools",
    "mountall-bootclean.sh",
    "mountall.sh",
    "mountdevsubfs.sh",
    "mountkernfs.sh",
    "mountnfs-bootclean.sh",
    "mountnfs.sh",
    "networking",
    "procps",
    "reboot",
    "stop-bootlogd",
    "stop-bootlogd-single",
    "udev",
    "udev-mtab",
    "umountfs",
    "umountnfs.sh",
    "umountroot",
    "urandom",
];

/// Units of systemd that have nothing to work on in a guest, or work on the host's things.
///
/// A guest with a network of its own may want `networking.service` back: `systemctl unmask networking`.
const MASKED_UNITS: [&str; 16] = [
    "getty@.service",
    "serial-getty@.service",
    "console-getty.service",
    "systemd-udevd.service",
    "systemd-udevd-control.socket",
    "systemd-udevd-kernel.socket",
    "systemd-udev-trigger.service",
    "systemd-udev-settle.service",
    "systemd-modules-load.service",
    "systemd-timesyncd.service",
    "systemd-networkd-wait-online.service",
    "networking.service",
    "hwclock.service",
    "hwclock-save.service",
    "hwclockfirst.service",
    "sys-kernel-debug.mount",
];

/// Suites of Debian whose security archive is `SUITE/updates`; later ones have `SUITE-security`.
const OLD_SECURITY: [&str; 11] = [
    "woody",
    "sarge",
    "etch",
    "lenny",
    "squeeze",
    "wheezy",
    "jessie",
    "stretch",
    "buster",
    "oldoldstable",
    "potato",
];
/// Suites without a security archive and without updates.
const ROLLING: [&str; 4] = ["sid", "unstable", "experimental", "rc-buggy"];
/// Names of suites, for methods that do not know what they unpack.
const SUITES: [&str; 24] = [
    "debian",
    "buster",
    "bullseye",
    "bookworm",
    "trixie",
    "forky",
    "sid",
    "stable",
    "testing",
    "unstable",
    "oldstable",
    "etch",
    "lenny",
    "squeeze",
    "wheezy",
    "jessie",
    "stretch",
    "ubuntu",
    "trusty",
    "xenial",
    "bionic",
    "focal",
    "jammy",
    "noble",
];

/// Whether a distribution's name is one of Debian or Ubuntu.
pub fn is_name(distribution: &str) -> bool {
    SUITES.contains(&distribution)
}

/// Does all of it. What the tree does not have is left out.
///
/// # Errors
/// A file of the tree cannot be read or written.
pub fn finish(root: &Root, facts: &Facts<'_>) -> Result<(), TreeError> {
    locale(root, facts)?;
    apt(root, facts)?;
    names(root, facts)?;
    edit(root, Path::new("etc/inittab"), &|line| line.contains("getty"))?;
    // The splash screen is the host's.
    edit(root, Path::new("etc/init.d/sendsigs"), &|line| line.trim_start().starts_with("splash_"))?;
    kernel_log(root)?;
    upstart(root)?;
    runlevels(root, facts)?;
    systemd(root)
}

fn locale(root: &Root, facts: &Facts<'_>) -> Result<(), TreeError> {
    let Some(lang) = facts.lang.filter(|lang| !is_c_locale(lang)) else { return Ok(()) };
    // Without the package there is nothing that reads it.
    let Some(old) = root.read("etc/locale.gen", LONGEST)? else { return Ok(()) };
    let charmap = match lang.split_once('.') {
        Some((_, map)) if map.eq_ignore_ascii_case("utf8") || map.eq_ignore_ascii_case("utf-8") => "UTF-8",
        Some((_, map)) => map.split('@').next().unwrap_or(map),
        None => "ISO-8859-1",
    };
    let line = format!("{lang} {charmap}");
    let mut text = String::from_utf8_lossy(&old).into_owned();
    if text.lines().any(|old| old.trim() == line) {
        return Ok(());
    }
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text.push_str(&line);
    text.push('\n');
    root.replace("etc/locale.gen", text.as_bytes(), FILE)
}

fn is_c_locale(lang: &str) -> bool {
    let plain = lang.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._@-".contains(&byte));
    lang.is_empty() || !plain || lang == "POSIX" || lang == "C" || lang.starts_with("C.")
}

fn apt(root: &Root, facts: &Facts<'_>) -> Result<(), TreeError> {
    if let Some(mirror) = facts.mirror.filter(|_| root.is_directory("etc/apt")) {
        let text = sources(is_ubuntu(root), facts.suite, mirror);
        root.replace("etc/apt/sources.list", text.as_bytes(), FILE)?;
    }
    match facts.proxy.filter(|_| root.is_directory("etc/apt")) {
        Some(content) => root.replace("etc/apt/apt.conf", content, FILE),
        None => Ok(()),
    }
}

fn is_ubuntu(root: &Root) -> bool {
    let release = root.read("etc/os-release", 1 << 16).ok().flatten().unwrap_or_default();
    String::from_utf8_lossy(&release).lines().any(|line| line.trim() == "ID=ubuntu")
}

/// The guest's `sources.list`.
fn sources(ubuntu: bool, suite: &str, mirror: &str) -> String {
    let mirror = mirror.trim_end_matches('/');
    let components = if ubuntu { "main universe" } else { "main" };
    let mut lines = vec![(mirror, suite.to_owned())];
    let security = if ubuntu {
        "http://security.ubuntu.com/ubuntu"
    } else {
        "http://security.debian.org/debian-security"
    };
    if !ROLLING.contains(&suite) {
        if ubuntu || !OLD_SECURITY.contains(&suite) {
            lines.push((mirror, format!("{suite}-updates")));
            lines.push((security, format!("{suite}-security")));
        } else {
            lines.push((security, format!("{suite}/updates")));
        }
    }
    let both = |(url, suite): &(&str, String)| {
        format!("deb {url}/ {suite} {components}\ndeb-src {url}/ {suite} {components}\n")
    };
    lines.iter().map(both).collect()
}

fn names(root: &Root, facts: &Facts<'_>) -> Result<(), TreeError> {
    if let Some(hostname) = facts.hostname {
        // debootstrap copies the host's file with its mode.
        root.remove_file("etc/hostname")?;
        root.replace("etc/hostname", format!("{hostname}\n").as_bytes(), FILE)?;
    }
    if root.stat("etc/hosts")?.is_none_or(|stat| stat.st_size == 0) {
        let text = "127.0.0.1\tlocalhost\n\n::1\t\tlocalhost ip6-localhost ip6-loopback\nfe00::0\t\tip6-localnet\n\
                    ff00::0\t\tip6-mcastprefix\nff02::1\t\tip6-allnodes\nff02::2\t\tip6-allrouters\n";
        root.replace("etc/hosts", text.as_bytes(), FILE)?;
    }
    Ok(())
}

/// Comments the active lines that `wrong` accepts; the file is written back only when that changed it.
fn edit(root: &Root, path: &Path, wrong: &dyn Fn(&str) -> bool) -> Result<(), TreeError> {
    let Some(old) = root.read(path, LONGEST)? else { return Ok(()) };
    let text = String::from_utf8_lossy(&old);
    let new: String = text
        .split_inclusive('\n')
        .map(|line| {
            if !line.trim_start().starts_with('#') && wrong(line) {
                format!("#{line}")
            } else {
                line.to_owned()
            }
        })
        .collect();
    if new == text { Ok(()) } else { root.replace(path, new.as_bytes(), FILE) }
}

/// The kernel's log is the host's: a syslog daemon that cannot read it would complain for ever, or not start.
fn kernel_log(root: &Root) -> Result<(), TreeError> {
    edit(root, Path::new("etc/rsyslog.conf"), &|line| line.contains("imklog"))?;
    // Only a line that is a source by itself: half a block would be a syntax error.
    let is_source = |line: &str| line.contains("/proc/kmsg") && !line.contains(['{', '}']);
    edit(root, Path::new("etc/syslog-ng/syslog-ng.conf"), &is_source)
}

/// Guests whose init is upstart: no job but those that a guest needs, and the events that no mount will cause.
fn upstart(root: &Root) -> Result<(), TreeError> {
    const KEPT: [&str; 5] =
        ["control-alt-delete.conf", "rc.conf", "rsyslog.conf", "syslog-ng.conf", "vserver.conf"];
    if !root.is_file("sbin/initctl")? || !root.is_directory("etc/init") {
        return Ok(());
    }
    for name in root.entries("etc/init")? {
        if !KEPT.iter().any(|kept| name == *kept) {
            edit(root, &Path::new("etc/init").join(&name), &|line| !line.trim().is_empty())?;
        }
    }
    let job = "# The file systems are mounted before init starts.\nstart on startup\ntask\nscript\n  \
               for event in virtual-filesystems local-filesystems remote-filesystems all-swaps filesystem; do\n    \
               /sbin/initctl emit --no-wait $event\n  done\nend script\n";
    root.replace("etc/init/vserver.conf", job.as_bytes(), FILE)
}

/// `update-rc.d -f NAME remove` for the services that touch the host, by removing their links.
fn runlevels(root: &Root, facts: &Facts<'_>) -> Result<(), TreeError> {
    for level in ["0", "1", "2", "3", "4", "5", "6", "S"] {
        let dir = PathBuf::from(format!("etc/rc{level}.d"));
        for name in root.entries(&dir)? {
            let text = name.to_string_lossy();
            let Some(service) = service_of(&text) else { continue };
            let kept = match service {
                // A guest with an init of its own ends by halt; in others it would act on what they share.
                "halt" | "reboot" => facts.plain,
                // Tells the guest's processes to end, and only those: a guest has its own pid namespace.
                "sendsigs" => true,
                // All that is started in this level sets up a machine.
                _ if level == "S" => false,
                _ => !HOST_SERVICES.contains(&service),
            };
            if !kept {
                root.remove_file(dir.join(&name))?;
            }
        }
    }
    Ok(())
}

/// The service that a link of a run level stands for: `S01rsyslog`.
fn service_of(link: &str) -> Option<&str> {
    let rest = link.strip_prefix(['S', 'K'])?;
    let service = rest.trim_start_matches(|c: char| c.is_ascii_digit());
    (service.len() < rest.len() && !service.is_empty()).then_some(service)
}

fn systemd(root: &Root) -> Result<(), TreeError> {
    if !has_systemd(root) {
        return Ok(());
    }
    let units = Path::new("etc/systemd/system");
    root.make_directories(units, DIRECTORY)?;
    for unit in MASKED_UNITS {
        root.symlink("/dev/null", units.join(unit))?;
    }
    let dir = if root.is_file("usr/lib/systemd/systemd")? { "/usr/lib" } else { "/lib" };
    root.symlink(format!("{dir}/systemd/system/multi-user.target"), units.join("default.target"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn tree(files: &[(&str, &str)]) -> (tempfile::TempDir, Root) {
        let dir = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        let root = Root::open(dir.path()).unwrap();
        (dir, root)
    }

    fn text(root: &Root, path: &str) -> String {
        String::from_utf8(root.read(path, LONGEST).unwrap().unwrap()).unwrap()
    }

    #[test]
    fn sources_of_each_kind() {
        let debian = "deb http://m/debian/ bookworm main\ndeb-src http://m/debian/ bookworm main\n\
                      deb http://m/debian/ bookworm-updates main\ndeb-src http://m/debian/ bookworm-updates main\n\
                      deb http://security.debian.org/debian-security/ bookworm-security main\n\
                      deb-src http://security.debian.org/debian-security/ bookworm-security main\n";
        assert_eq!(sources(false, "bookworm", "http://m/debian/"), debian);
        assert_eq!(sources(false, "sid", "http://m"), "deb http://m/ sid main\ndeb-src http://m/ sid main\n");
        assert!(sources(false, "buster", "http://m").contains(" buster/updates main\n"));
        assert!(sources(true, "noble", "http://m").contains(" noble-security main universe\n"));
    }

    #[test]
    fn gettys_are_commented_once() {
        let inittab =
            "id:2:initdefault:\n1:2345:respawn:/sbin/getty 38400 tty1\n#T0:23:respawn:/sbin/getty -L ttyS0\n";
        let (_dir, root) = tree(&[("etc/inittab", inittab)]);
        for _ in 0..2 {
            finish(&root, &Facts::default()).unwrap();
            let expected = inittab.replace("1:2345", "#1:2345");
            assert_eq!(text(&root, "etc/inittab"), expected);
        }
    }

    #[test]
    fn run_levels_keep_daemons_and_lose_what_touches_the_host() {
        let (dir, root) = tree(&[("etc/init.d/ssh", "")]);
        for link in [
            "rc2.d/S01ssh",
            "rc2.d/S01rsyslog",
            "rc2.d/S01bootlogs",
            "rc0.d/K01ssh",
            "rc0.d/K02hwclock.sh",
            "rc0.d/K03sendsigs",
            "rc0.d/K08umountroot",
            "rc0.d/K09halt",
            "rc6.d/K09reboot",
            "rcS.d/S01hostname.sh",
            "rcS.d/S05x11-common",
            "rc1.d/K01ssh",
            "rc2.d/README",
        ] {
            let path = dir.path().join("etc").join(link);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            symlink("../init.d/x", path).unwrap();
        }
        let left = |level: &str| root.entries(format!("etc/rc{level}.d")).unwrap();
        finish(&root, &Facts { plain: true, ..Facts::default() }).unwrap();
        assert_eq!(left("0"), ["K01ssh", "K03sendsigs", "K09halt"]);
        assert_eq!(left("6"), ["K09reboot"]);
        finish(&root, &Facts::default()).unwrap();
        assert_eq!(left("0"), ["K01ssh", "K03sendsigs"]);
        assert_eq!(left("2"), ["README", "S01rsyslog", "S01ssh"]);
        assert!(left("6").is_empty() && left("S").is_empty());
        assert_eq!(left("1"), ["K01ssh"]);
    }

    #[test]
    fn systemd_units_are_masked() {
        let (_dir, root) =
            tree(&[("usr/lib/systemd/systemd", ""), ("etc/locale.gen", "# x"), ("etc/apt/x", "")]);
        let facts = Facts {
            suite: "bookworm",
            mirror: Some("http://m"),
            hostname: Some("web1"),
            lang: Some("de_DE.UTF-8"),
            proxy: Some(b"Acquire::http::Proxy \"x\";\n"),
            plain: false,
        };
        finish(&root, &facts).unwrap();
        let at = |unit: &str| root.link_target(format!("etc/systemd/system/{unit}")).unwrap().unwrap();
        assert_eq!(at("getty@.service"), Path::new("/dev/null"));
        assert_eq!(at("default.target"), Path::new("/usr/lib/systemd/system/multi-user.target"));
        assert_eq!(text(&root, "etc/locale.gen"), "# x\nde_DE.UTF-8 UTF-8\n");
        assert_eq!(text(&root, "etc/hostname"), "web1\n");
        assert!(text(&root, "etc/apt/apt.conf").contains("Proxy"));
        assert!(text(&root, "etc/hosts").starts_with("127.0.0.1\tlocalhost\n"));
    }

    #[test]
    fn links_in_the_tree_do_not_reach_the_host() {
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("inittab"), "x getty\n").unwrap();
        std::fs::create_dir(outside.path().join("rc0.d")).unwrap();
        std::fs::write(outside.path().join("rc0.d/K01halt"), "").unwrap();
        let (dir, root) = tree(&[("usr/lib/systemd/systemd", "")]);
        symlink(outside.path(), dir.path().join("etc")).unwrap();
        // Everything may fail, but nothing outside may change.
        drop(finish(&root, &Facts { hostname: Some("x"), ..Facts::default() }));
        assert_eq!(std::fs::read_to_string(outside.path().join("inittab")).unwrap(), "x getty\n");
        assert!(outside.path().join("rc0.d/K01halt").exists());
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 2);
    }

    #[test]
    fn nobody_reads_the_kernels_log() {
        let (_dir, root) = tree(&[
            ("etc/rsyslog.conf", "module(load=\"imuxsock\")\nmodule(load=\"imklog\")   # kernel\n"),
            (
                "etc/syslog-ng/syslog-ng.conf",
                "source s {\n internal();\n file(\"/proc/kmsg\");\n};\nsource k { file(\"/proc/kmsg\"); };\n",
            ),
        ]);
        finish(&root, &Facts::default()).unwrap();
        assert!(text(&root, "etc/rsyslog.conf").contains("\n#module(load=\"imklog\")"));
        let syslog_ng = text(&root, "etc/syslog-ng/syslog-ng.conf");
        assert!(syslog_ng.contains("\n# file(") && syslog_ng.contains("\nsource k {"), "{syslog_ng}");
    }

    #[test]
    fn upstart_jobs_are_emptied() {
        let (_dir, root) = tree(&[
            ("sbin/initctl", ""),
            ("etc/init/mountall.conf", "start on startup\n# c\n\nexec mountall\n"),
            ("etc/init/rc.conf", "start on runlevel\n"),
        ]);
        finish(&root, &Facts::default()).unwrap();
        assert_eq!(text(&root, "etc/init/mountall.conf"), "#start on startup\n# c\n\n#exec mountall\n");
        assert_eq!(text(&root, "etc/init/rc.conf"), "start on runlevel\n");
        assert!(text(&root, "etc/init/vserver.conf").contains("filesystem"));
    }
}
