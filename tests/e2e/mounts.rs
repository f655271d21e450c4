//! S44, S46, S47: what is mounted in guests, seen from inside and from the host.

use std::fs;
use vserver_e2e::command::{host, tool};
use vserver_e2e::{Guest, Mode, Spec};

pub fn specs() -> Vec<Spec> {
    vec![
        Spec::new("s44_tmp_from_fstab", tmp_from_fstab),
        Spec::new("s46_mounts_of_every_guest", mounts_of_every_guest),
        Spec::new("s47_unmount_everywhere", unmount_everywhere),
    ]
}

fn tmp_from_fstab(mode: Mode) {
    let guest = Guest::busybox("test", mode).make();
    let size = || {
        guest.start();
        let table = guest.sh("cat /proc/mounts").out();
        let mounted = table.lines().any(|line| line.split(' ').nth(1) == Some("/tmp"));
        let text = guest.sh("df -k /tmp | tail -n 1").out();
        let modes = guest.sh("stat -c %a /tmp").out();
        guest.stop();
        assert_eq!(modes, "1777\n");
        mounted.then(|| {
            text.split_whitespace().nth(1).and_then(|word| word.parse::<u32>().ok()).expect("a size")
        })
    };
    assert_eq!(size(), Some(16 * 1024), "16 MB by default");
    guest.set("fstab", "none /proc proc defaults 0 0\nnone /tmp tmpfs size=32m,mode=1777 0 0\n");
    assert_eq!(size(), Some(32 * 1024));
    guest.set("fstab", "none /proc proc defaults 0 0\n");
    assert_eq!(size(), None, "no line, no mount");
}

fn mounts_of_every_guest(mode: Mode) {
    let guests = [(105, "one"), (106, "two")].map(|(xid, name)| Guest::busybox(name, mode).xid(xid).make());
    for guest in &guests {
        guest.start();
    }
    // The seed's loop, with the documented other place.
    let line = "for a in /run/vserver/virtual/[0-9]*; do xid=$(basename $a /); \
                vnamespace -e $xid -- cat /proc/mounts | sed -e \"s,^, $xid: ,\"; done";
    tool::<&str>("vnamespace", &["--help"]).ok();
    let output = vserver_e2e::Program::of_host("bash")
        .args(&["-c", line])
        .env("PATH", "/run/e2e/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .run();
    output.ok();
    for guest in &guests {
        let wanted = format!(" {}: ", guest.xid);
        let tree = format!(" /vservers/{}", guest.name);
        assert!(
            output.out().lines().any(|line| line.starts_with(&wanted) && line.contains(&tree)),
            "no mount of {} in\n{output}",
            guest.name
        );
    }
    tool("vserver-stat", &["--xids"]).ok().says_exactly("105\n106\n");
    for guest in &guests {
        guest.stop();
    }
}

fn unmount_everywhere(mode: Mode) {
    fs::create_dir_all("/tmp/t/opt/storage").expect("/tmp is ours");
    host("mount", &["-t", "tmpfs", "-o", "mode=755", "storage", "/tmp/t/opt/storage"]).ok();
    let guest = Guest::busybox("test", mode).make();
    guest.start();
    guest.sh("cat /proc/mounts").ok();
    assert!(!guest.sh("cat /proc/mounts").out().contains("storage"), "the guest sees a mount of the host");
    let holders = || {
        let line = "grep -l /tmp/t/opt/storage /proc/[0-9]*/mountinfo | sort -u";
        host("bash", &["-c", line]).out()
    };
    // Clean-up at start may have kept it out already; then there is nothing to unmount, and the command says so.
    let done = tool("vnamespace", &["-e", "105", "--", "umount", "/tmp/t/opt/storage"]);
    assert!(done.exit() == 0 || done.err().contains("not mounted"), "{done}");
    host("umount", &["/tmp/t/opt/storage"]).ok();
    assert_eq!(holders(), "", "somebody still holds the file system");
    guest.stop();
}
