//! S28–S30: guests are copied, removed by hand, and deleted.

use std::fs;
use std::path::Path;
use vserver_e2e::command::host;
use vserver_e2e::{Guest, Mode, Spec, Terminal};

pub fn specs() -> Vec<Spec> {
    vec![
        Spec::new("s28_copy_to_another_host", copy),
        Spec::new("s29_remove_by_hand", remove),
        Spec::new("s30_delete", delete),
    ]
}

fn bash(line: &str) {
    host("bash", &["-c", line]).ok();
}

fn copy(mode: Mode) {
    let guest = Guest::busybox("test", mode).make();
    fs::create_dir_all("/vservers/.pkg/test").expect("/vservers is ours");
    guest.put("/var/lib/mysql/big", "much\n");
    guest.start();
    guest.sh("echo kept > /root/kept; chown 1000:50 /root/kept; chmod 4755 /root/kept").ok();
    guest.stop();
    bash(
        "cd /tmp/t; tar --exclude '/vservers/test/var/lib/mysql/*' -cSf x.tar -P \
         /{etc/vservers,vservers,vservers/.pkg}/test",
    );
    // Another host: nothing of the guest is there, not even in /run or the cache.
    bash(
        "rm -rf /{etc/vservers,vservers,vservers/.pkg}/test /run/vserver* /run/lock/vserver* /var/cache/vservers/*",
    );
    bash("cd /; tar -xPf /tmp/t/x.tar");
    guest.start();
    guest.sh("stat -c '%u:%g %a' /root/kept").ok().says_exactly("1000:50 4755\n");
    guest.sh("ls -A /var/lib/mysql").ok().says_exactly("");
    guest.stop();
}

fn remove(mode: Mode) {
    let guest = Guest::busybox("test", mode).make();
    fs::create_dir_all("/vservers/.pkg/test").expect("/vservers is ours");
    guest.start();
    guest.stop();
    bash("rm -rf /{etc/vservers,vservers,vservers/.pkg}/test");
    assert!(!Path::new("/vservers/test").exists(), "a mount keeps it busy");
    guest.vserver(&["status"]).code(5);
    // Nothing refers to the old one: the same name and number again.
    let guest = Guest::busybox("test", mode).make();
    guest.start();
    guest.stop();
}

fn delete(mode: Mode) {
    const QUESTION: &str = "Are you sure you want to delete the vserver test (y/N) ";
    let guest = Guest::busybox("test", mode).make();
    fs::create_dir_all("/vservers/.pkg/test").expect("/vservers is ours");
    fs::create_dir_all("/var/cache/vservers/test").expect("the cache is ours");
    guest.start();
    for answer in ["n\n", "\n", "yes\n", "\u{4}"] {
        let mut terminal = Terminal::start(guest.program(&["delete"]));
        terminal.expect(QUESTION);
        terminal.send(answer);
        assert_eq!(terminal.end(), 2, "answer {answer:?}");
        assert!(guest.is_running(), "answer {answer:?}");
        assert!(guest.tree("/bin/busybox").exists() && Path::new("/vservers/.pkg/test").exists());
    }
    let mut terminal = Terminal::start(guest.program(&["delete"]));
    terminal.expect(QUESTION);
    terminal.send("y\n");
    assert_eq!(terminal.end(), 0);
    for gone in ["/etc/vservers/test", "/vservers/test", "/vservers/.pkg/test", "/var/cache/vservers/test"] {
        assert!(!Path::new(gone).exists(), "{gone} is left");
    }
    guest.vserver(&["running"]).code(5);
}
