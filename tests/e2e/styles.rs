//! Init styles beyond sysv and plain, configured commands, and what keeps a guest alive.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use vserver_e2e::{Guest, Mode, Spec};

pub fn specs() -> Vec<Spec> {
    vec![
        Spec::new("style_gentoo", gentoo),
        Spec::new("style_arch", arch),
        Spec::new("style_minit", minit),
        Spec::new("style_empty_and_commands", empty_and_commands),
        Spec::new("sync_commands", sync_commands),
        Spec::new("persistent_guest", persistent_guest),
        Spec::new("restart_and_condrestart", restart_and_condrestart),
        Spec::new("rescue_by_default", rescue_by_default),
        Spec::new("mounts_from_fstab", mounts_from_fstab),
    ]
}

/// A script in the guest's tree.
fn script(guest: &Guest, path: &str, text: &str) {
    guest.put(path, &format!("#!/bin/sh\necho \"$0 $* ($RUNLEVEL)\" >> /var/log/calls\n{text}\n"));
    fs::set_permissions(guest.tree(path), fs::Permissions::from_mode(0o755)).expect("just written");
}

const DAEMON: &str =
    "setsid sleep 100000 </dev/null >/dev/null 2>&1 & until pidof sleep >/dev/null; do sleep 0.02; done";

fn calls(guest: &Guest) -> String {
    guest.file("/var/log/calls")
}

fn gentoo(mode: Mode) {
    for (style, directory) in [("gentoo", "/lib/rcscripts/sh"), ("openrc", "/lib/rc/sh")] {
        let guest = Guest::busybox(style, mode).style(style).make();
        let none = guest.vserver(&["start"]);
        assert_ne!(none.exit(), 0, "{style} without its scripts");
        none.complains("init-vserver.sh");
        script(&guest, &format!("{directory}/init-vserver.sh"), DAEMON);
        script(&guest, "/sbin/rc", "killall sleep");
        guest.start();
        assert!(calls(&guest).contains("init-vserver.sh default"), "{}", calls(&guest));
        guest.stop();
        assert!(calls(&guest).contains("/sbin/rc shutdown (0)"), "{}", calls(&guest));
    }
}

fn arch(mode: Mode) {
    let guest = Guest::busybox("test", mode).style("arch").make();
    script(&guest, "/etc/rc.multi", DAEMON);
    script(&guest, "/etc/rc.shutdown", "killall sleep");
    guest.start();
    guest.stop();
    let calls = calls(&guest);
    assert!(calls.contains("/etc/rc.multi") && calls.contains("/etc/rc.shutdown"), "{calls}");
}

fn minit(mode: Mode) {
    let guest = Guest::busybox("test", mode).style("minit").make();
    guest.set("apps/vshelper/sync-timeout", "1\n");
    script(&guest, "/sbin/minit-start", "exec sleep 100000");
    guest.start();
    guest.sh("grep -q sleep /proc/1/comm").ok();
    guest.stop();
}

fn empty_and_commands(mode: Mode) {
    let guest = Guest::busybox("test", mode).style("").make();
    script(&guest, "/root/begin", DAEMON);
    script(&guest, "/root/end", "killall sleep");
    guest.set("apps/init/cmd.start", "/root/begin\none word\n");
    guest.set("apps/init/cmd.stop", "/root/end\n");
    guest.start();
    assert!(calls(&guest).contains("/root/begin one word"), "{}", calls(&guest));
    guest.stop();
    assert!(calls(&guest).contains("/root/end"), "{}", calls(&guest));
}

fn sync_commands(mode: Mode) {
    let guest = Guest::busybox("test", mode).make();
    guest.set_program("started", "#!/bin/sh\npwd >> /tmp/t/sync\n");
    guest.set("apps/init/cmd.start-sync", "/etc/vservers/test/started\n");
    guest.start();
    assert!(!std::path::Path::new("/tmp/t/sync").exists(), "only with --sync");
    guest.stop();
    guest.set("apps/init/sync", "");
    guest.start();
    assert_eq!(fs::read_to_string("/tmp/t/sync").unwrap_or_default(), "/vservers/test\n");
    guest.stop();
}

fn persistent_guest(mode: Mode) {
    let guest = Guest::busybox("test", mode).make();
    guest.put("/etc/rc.start", "true\n");
    guest.set("flags", "persistent\n");
    guest.start();
    assert!(guest.is_running());
    guest.vserver(&["status"]).ok().says("at context '105'");
    guest.vserver(&["exec", "true"]).ok();
    assert!(guest.is_running());
    // PID 1 once spun, as a second of 10^9 nanoseconds is none.
    guest
        .sh("sleep 0.3; for i in 1 2 3; do cut -d' ' -f3 /proc/1/stat; sleep 0.1; done")
        .says_exactly("S\nS\nS\n");
    guest.stop();
}

fn restart_and_condrestart(mode: Mode) {
    let guest = Guest::busybox("test", mode).make();
    guest.vserver(&["condrestart"]).ok();
    assert!(!guest.is_running());
    guest.vserver(&["restart"]).ok();
    guest.vserver(&["restart"]).ok();
    guest.vserver(&["condrestart"]).ok();
    assert!(guest.is_running());
    assert_eq!(guest.file("/var/log/rc").matches("rc 3").count(), 3);
    assert_eq!(guest.file("/var/log/rc").matches("rc 6").count(), 2);
    guest.stop();
}

fn rescue_by_default(mode: Mode) {
    let guest = Guest::busybox("test", mode).make();
    guest.put("/etc/rc.start", "exit 1\n");
    // In the foreground, as the style says: a command that returns leaves no guest.
    let done = guest.vserver(&["start", "--rescue", "--rescue-init"]);
    done.ok();
    guest.sh("ps | grep '[s]leep 900'").ok();
    guest.set("apps/vshelper/sync-timeout", "1\n");
    guest.vserver(&["stop", "--rescue-init"]).ok();
    assert!(!guest.is_running());
}

fn mounts_from_fstab(mode: Mode) {
    let guest = Guest::busybox("test", mode).make();
    for directory in ["/tmp/t/data", "/vservers/test/data", "/vservers/test/some where"] {
        fs::create_dir_all(directory).expect("ours");
    }
    fs::write("/tmp/t/data/file", "of the host\n").expect("ours");
    guest.set(
        "fstab",
        "none /proc proc defaults 0 0\n\
         /tmp/t/data /data none bind,ro 0 0\n\
         none /some\\040where tmpfs size=1m 0 0\n\
         /dev/no-such-disk /mnt ext4 defaults 0 0\n",
    );
    let started = guest.start();
    started.complains("/etc/vservers/test/fstab:4");
    guest.sh("cat /data/file").ok().says_exactly("of the host\n");
    assert_ne!(guest.sh("touch /data/other").exit(), 0, "read-only is not");
    guest.sh("grep -q '/some.040where tmpfs' /proc/mounts").ok();
    guest.sh("cat /etc/mtab").ok().says("/dev/hdv1 / ufs").says("/data");
    guest.stop();
    assert_eq!(fs::read_dir("/vservers/test/data").expect("ours").count(), 0, "still mounted");
}
