//! S01–S05: what the administrator sees before and around the first guest.

use std::fs;
use std::path::Path;
use std::time::Duration;
use vserver_e2e::command::{Program, host, tool, vserver};
use vserver_e2e::{Guest, Image, Mode, Need, Spec, place};

pub fn specs() -> Vec<Spec> {
    vec![
        Spec::new("s01_several_guests_on_one_kernel", several_guests),
        Spec::new("s02_documentation", documentation).once(),
        Spec::new("s03_check_host", check_host).once(),
        Spec::new("s04_package_in_a_clean_root", package)
            .once()
            .image(Image::Debian)
            .needs(&[Need::Packaging])
            .patience(Duration::from_mins(8)),
        Spec::new("s05_never_a_half_hidden_guest", never_half_hidden),
    ]
}

fn several_guests(mode: Mode) {
    let guests = [(105, "one"), (106, "two")].map(|(xid, name)| Guest::busybox(name, mode).xid(xid).make());
    // As the documentation advises, so that users of the host cannot reach set-uid programs of guests.
    host("chmod", &["000", "/vservers"]).ok();
    for guest in &guests {
        guest.set("uts/nodename", &format!("{}.example\n", guest.name));
        guest.put("/etc/rc.start", &format!(
                "setsid sleep {}00 </dev/null >/dev/null 2>&1 & until pidof sleep >/dev/null; do sleep 0.02; done\n",
                guest.xid
            ));
        guest.start();
    }
    let kernel = host("uname", &["-r"]).out();
    for (guest, other) in [(&guests[0], &guests[1]), (&guests[1], &guests[0])] {
        guest.sh("uname -r").ok().says_exactly(&kernel);
        guest.sh("hostname").ok().says_exactly(&format!("{}.example\n", guest.name));
        let processes = guest.sh("ps").out();
        assert!(processes.contains(&format!("sleep {}00", guest.xid)), "{processes}");
        assert!(!processes.contains(&format!("sleep {}00", other.xid)), "{processes}");
        // Nor can one signal the other: pids of the other do not exist here.
        guest.sh(&format!("ps | grep '[s]leep {}00'", other.xid)).code(1);
    }
    let stat = tool::<&str>("vserver-stat", &[]);
    stat.ok();
    let stat = stat.out();
    assert!(stat.starts_with("CTX   PROC    VSZ    RSS  userTIME   sysTIME    UPTIME NAME\n"), "{stat}");
    for guest in &guests {
        let line =
            stat.lines().find(|line| line.starts_with(&guest.xid.to_string())).expect("a line per guest");
        assert_eq!(&line[55..], guest.name);
    }
    guests[0].stop();
    assert!(guests[1].is_running(), "stopping one stopped the other");
    guests[1].stop();
}

fn documentation(_: Mode) {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for page in [
        "README.md",
        "ARCHITECTURE.md",
        "docs/guide.md",
        "docs/host.md",
        "docs/concepts.md",
        "docs/differences.md",
        "docs/security.md",
        "docs/kernel-features.md",
    ] {
        let text = fs::read_to_string(top.join(page)).unwrap_or_else(|error| panic!("{page}: {error}"));
        assert!(text.starts_with("# "), "{page} has no title");
    }
    vserver(&["--help"]).ok().says("start").says("build");
    let pages = "/tmp/t/man";
    fs::create_dir(pages).expect("/tmp is ours");
    vserver(&["--generate-man", pages]).ok();
    for page in ["vserver.8", "vserver-stat.8", "vnamespace.8"] {
        let text =
            fs::read_to_string(Path::new(pages).join(page)).unwrap_or_else(|error| panic!("{page}: {error}"));
        assert!(text.contains(".TH") && text.contains(".SH NAME"), "{page} is no manual page");
    }
}

fn check_host(_: Mode) {
    let text = vserver(&["check-host"]);
    text.ok();
    for feature in ["user namespaces", "cgroup2", "system call filters", "BPF", "overlay", "veth"] {
        assert!(text.out().to_lowercase().contains(&feature.to_lowercase()), "{feature} is not in\n{text}");
    }
    let json = vserver(&["check-host", "--json"]);
    json.ok();
    let value: serde_json::Value = serde_json::from_slice(&json.stdout).expect("--json prints JSON");
    assert!(value.is_object() || value.is_array());
}

/// Files of /proc that no guest may read as the host has them, and files that every program expects. A write to one that
/// the null node (1:3) covers succeeds and reaches nobody.
fn never_half_hidden(mode: Mode) {
    let guest = Guest::busybox("test", mode).make();
    let look = "for f in kcore kmsg kallsyms sysrq-trigger cmdline config.gz timer_list scsi; do \
                    [ -e /proc/$f ] && head -c 64 /proc/$f 2>/dev/null | tr -d '\\0' | grep -q . && echo open $f; done; \
                for f in uptime meminfo stat loadavg cpuinfo version filesystems self/status mounts; do \
                    head -c 1 /proc/$f >/dev/null 2>&1 || echo unusable $f; done; \
                [ \"$(stat -c %t:%T /proc/sysrq-trigger 2>/dev/null)\" = 1:3 ] || \
                    { (echo h > /proc/sysrq-trigger) 2>/dev/null && echo writable sysrq-trigger; }; \
                (echo 1 > /proc/sys/kernel/panic) 2>/dev/null && echo writable sys/kernel/panic; \
                (echo core > /proc/sys/kernel/core_pattern) 2>/dev/null && echo writable core_pattern; true";
    guest.start();
    guest.sh(look).ok().says_exactly("");
    guest.stop();
    let check = tool::<&str>("vprocunhide", &[]);
    check.ok();
    assert_eq!(check.out(), "", "the shipped list has mistakes");
    guest.start();
    guest.sh(look).ok().says_exactly("");
    guest.stop();
    // A list of the site takes its place, and its mistakes are found beforehand.
    let site = Path::new("/etc/vservers/.defaults/apps/vprocunhide");
    fs::create_dir_all(site).expect("/etc/vservers is ours");
    fs::write(site.join("files"), "/proc/uptime\n/proc/stat\n").expect("/etc/vservers is ours");
    tool::<&str>("vprocunhide", &[]).ok();
    guest.start();
    guest.sh("cat /proc/uptime /proc/stat && ! grep -q . /proc/cpuinfo").ok();
    guest.stop();
    fs::write(site.join("files"), "proc/uptime\n").expect("/etc/vservers is ours");
    tool::<&str>("vprocunhide", &[]).code(1).says("/etc/vservers/.defaults/apps/vprocunhide/files:1");
}

/// Installed, upgraded, removed and purged in a Debian that has never seen it: what is a guest's stays.
fn package(_: Mode) {
    let clean = "/vservers/clean";
    Image::Debian.unpack(Path::new(clean));
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let make = |version: &str| {
        let (bin, version) = (format!("BIN={}", place::program().display()), format!("VERSION={version}"));
        let words = ["-C", source.to_str().expect("text"), "deb-files", "OUT=/tmp/t/deb", &bin, &version];
        let made = Program::of_host("make").args(&words).patience(Duration::from_mins(3)).run();
        made.ok();
    };
    let inside = |line: &str| {
        let shell = ["/bin/sh", "-c", line];
        Program::of_host("chroot")
            .args(&[&[clean][..], &shell].concat())
            .patience(Duration::from_mins(2))
            .run()
    };
    let install = |version: &str| {
        host("mv", &[&format!("/tmp/t/deb/vserver_{version}.deb"), &format!("{clean}/tmp/vserver.deb")]).ok();
        inside("dpkg --force-confold -i /tmp/vserver.deb").ok();
    };
    make("0.1.0");
    install("0.1.0");
    inside("vserver --version").ok().says("vserver ");
    inside("vserver list && vserver-stat --help && start-vservers --all && vservers --help")
        .ok()
        .says("NAME");
    inside("test -e /usr/share/man/man8/vservers.8 || test -e /usr/share/man/man8/vserver.8 || ls /usr/share/man").ok();
    inside("/etc/init.d/vprocunhide start && /etc/init.d/vprocunhide status").ok().says("were fixed");
    inside("stat -c %a /vservers").ok().says_exactly("0\n");
    inside("ls /etc/rc2.d /etc/systemd/system/multi-user.target.wants 2>/dev/null").says("vservers");
    // What the administrator has: settings, a guest, and a unit that is switched off.
    inside(
        "echo MARKS=night >> /etc/default/vservers; mkdir -p /etc/vservers/web1/apps/init /vservers/web1 && \
            echo 105 > /etc/vservers/web1/context && ln -s /vservers/web1 /etc/vservers/web1/vdir && \
            echo night > /etc/vservers/web1/apps/init/mark && echo kept > /vservers/web1/file",
    )
    .ok();
    // The generator as systemd calls it.
    inside(
        "mkdir -p /tmp/units && /usr/lib/systemd/system-generators/systemd-vserver-generator /tmp/units && \
            ls /tmp/units/vserver-mark@night.target.wants",
    )
    .ok()
    .says_exactly("vserver@web1.service\n");
    make("0.1.1");
    install("0.1.1");
    inside("tail -n 1 /etc/default/vservers").ok().says_exactly("MARKS=night\n");
    inside("dpkg -r vserver").ok();
    inside("test ! -e /usr/sbin/vserver && cat /vservers/web1/file /etc/default/vservers")
        .ok()
        .says("kept\n")
        .says("MARKS=night");
    inside("dpkg -P vserver").ok();
    inside("test ! -e /etc/default/vservers && cat /vservers/web1/file /etc/vservers/web1/context")
        .ok()
        .says("kept\n105\n");
}
