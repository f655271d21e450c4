//! S28–S30: guests are copied, removed by hand, and deleted.

use std::fs;
use std::path::Path;
use std::time::Duration;
use vserver_e2e::command::{Program, host, vserver};
use vserver_e2e::{Guest, Mode, Spec, Terminal, place};

pub fn specs() -> Vec<Spec> {
    vec![
        Spec::new("s28_copy_to_another_host", copy),
        Spec::new("s29_remove_by_hand", remove),
        Spec::new("s30_delete", delete),
        Spec::new("export_and_import", export_and_import),
        Spec::new("import_of_hostile_archives", hostile_archives).once(),
        Spec::new("copy_and_rename", copy_and_rename),
        Spec::new("upgrade_under_twenty_guests", upgrade).patience(Duration::from_mins(6)),
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

/// What tells one tree from another: owners, modes, links, holes, attributes, access lists.
const LOOK: &str = "cd /root && stat -c '%n %u:%g %a %h %s' kept hole a b && readlink link && \
                    [ $(stat -c %b hole) -lt 64 ] && echo sparse";

/// `user_obj:rw-, user:1000:r--, group_obj:r--, mask:r--, other:r--` as the kernel has it (`linux/posix_acl_xattr.h`).
const ACCESS: [u8; 44] = [
    2, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255, 2, 0, 4, 0, 232, 3, 0, 0, 4, 0, 4, 0, 255, 255, 255, 255, 16,
    0, 4, 0, 255, 255, 255, 255, 32, 0, 4, 0, 255, 255, 255, 255,
];
const NAMES: [&str; 2] = ["user.note", "system.posix_acl_access"];

/// Attributes that the file system takes.
fn dress(path: &str) {
    for (name, value) in [(NAMES[0], &b"mine"[..]), (NAMES[1], &ACCESS[..])] {
        let set = rustix::fs::setxattr(path, name, value, rustix::fs::XattrFlags::empty());
        eprintln!("{name}: {set:?}");
    }
    // The access list has changed the mode.
    host("chmod", &["u+s", path]).ok();
}

fn attributes(path: &str) -> Vec<Option<Vec<u8>>> {
    let read = |name: &str| {
        let mut value = vec![0; 200];
        let count = rustix::fs::getxattr(path, name, &mut value[..]).ok()?;
        value.truncate(count);
        Some(value)
    };
    NAMES.map(read).to_vec()
}

fn export_and_import(mode: Mode) {
    let guest = Guest::busybox("test", mode).make();
    fs::create_dir_all("/vservers/.pkg/test/rpm").expect("/vservers is ours");
    guest.set_program("scripts/post-start", "#!/bin/sh\ntrue\n");
    guest.set("uts/nodename", "test\n");
    guest.start();
    guest.sh("cd /root; echo kept > kept; chown 1000:50 kept; chmod 4755 kept; echo x > a; ln a b; ln -s /etc/passwd link; \
              dd if=/dev/zero of=hole bs=1 count=1 seek=4194303 2>/dev/null").ok();
    dress("/vservers/test/root/kept");
    let before = guest.sh(LOOK).ok().out();
    let attributes = attributes("/vservers/test/root/kept");
    guest.vserver(&["export", "/tmp/t/x"]).code(1).complains("'test' runs");
    guest.stop();
    guest.vserver(&["export", "/tmp/t/x"]).ok();
    guest.vserver(&["export", "/tmp/t/x"]).code(1).complains("File exists");
    assert_eq!(host("stat", &["-c", "%a", "/tmp/t/x"]).out(), "600\n");
    // The same name is taken, and so is the number.
    guest.vserver(&["import", "/tmp/t/x"]).code(1).complains("/etc/vservers/test is there already");
    vserver(&["second", "import", "/tmp/t/x"]).code(1).complains("context 105 is that of the guest 'test'");
    assert!(!Path::new("/vservers/second").exists() && !Path::new("/etc/vservers/second").exists());
    let done = vserver(&["second", "import", "--context", "106", "/tmp/t/x"]);
    done.ok().complains("left out, because it runs on this host as root (--trust takes it): scripts");
    let second = Guest::named("second", 106);
    assert!(!second.configuration("scripts").exists() && Path::new("/vservers/.pkg/second/rpm").exists());
    second.start();
    assert_eq!(second.sh(LOOK).ok().out(), before);
    second.sh("hostname").ok().says_exactly("second\n");
    second.stop();
    assert_eq!(self::attributes("/vservers/second/root/kept"), attributes);
    // Through a pipe, to a host without the guest.
    let line = "/run/e2e/bin/vserver test export - > /tmp/t/y && rm -rf /{etc/vservers,vservers,vservers/.pkg}/test && \
                cat /tmp/t/y | /run/e2e/bin/vserver test import --trust -";
    bash(line);
    assert!(guest.configuration("scripts/post-start").exists());
    guest.start();
    assert_eq!(guest.sh(LOOK).ok().out(), before);
    guest.stop();
    vserver(&["events", "--guest", "second"]).ok().says("second moved imported from /tmp/t/x");
}

fn hostile_archives(_: Mode) {
    fs::write("/tmp/t/precious", "precious").expect("ours");
    let untouched = |what: &str| {
        assert_eq!(fs::read_to_string("/tmp/t/precious").expect("ours"), "precious", "{what}");
        for left in ["/etc/vservers/test", "/vservers/test", "/vservers/.import-test"] {
            assert!(fs::symlink_metadata(left).is_err(), "{what}: {left}");
        }
    };
    let refused = |what: &str, make: &str| {
        bash(&format!("rm -rf /tmp/t/h && mkdir -p /tmp/t/h/config /tmp/t/h/root && cd /tmp/t/h && {make}"));
        assert_ne!(vserver(&["test", "import", "/tmp/t/h.tar"]).exit(), 0, "{what}");
        untouched(what);
    };
    refused(
        "a name that leads out",
        "echo x > x && tar -cPf ../h.tar --transform 's,^x,../../tmp/t/precious,' config root x",
    );
    refused("no guest", "tar -cf ../h.tar config");
    refused("a tree that is a link", "rmdir root && ln -s /tmp/t root && tar -cf ../h.tar config root");
    refused(
        "half of it",
        "head -c 100000 /dev/urandom > root/x && echo 5 > config/context && tar -cf - config root | head -c 50000 > ../h.tar",
    );
    // Through a link that the archive has made: it is replaced, or refused, but never followed.
    bash(
        "rm -rf /tmp/t/h && mkdir -p /tmp/t/h/config /tmp/t/h/root /tmp/t/h/y/root/out && cd /tmp/t/h && \
         ln -s /tmp/t root/out && echo x > y/root/out/precious && tar -cf ../h.tar config root && \
         tar -rf ../h.tar -C y root/out/precious",
    );
    drop(vserver(&["test", "import", "/tmp/t/h.tar"]));
    assert_eq!(fs::read_to_string("/tmp/t/precious").expect("ours"), "precious");
    bash("rm -rf /etc/vservers/test /vservers/test");
    // Owners and modes of the configuration are root's, links of the configuration are ours, programs are gone.
    bash(
        "rm -rf /tmp/t/h && mkdir -p /tmp/t/h/config/apps/init /tmp/t/h/root/bin && cd /tmp/t/h && echo 107 > config/context && \
          chmod 666 config/context && chown -R 1000:1000 config && ln -s /etc config/vdir && ln -s /tmp/t/precious config/name && \
          mkdir config/scripts && echo x > config/scripts/pre-start && ln -s /tmp/t/precious config/apps/init/tty && \
          mknod root/sda b 8 0 && tar -cf ../h.tar config root",
    );
    vserver(&["test", "import", "--context", "108", "/tmp/t/h.tar"])
        .ok()
        .complains("1 device nodes were left out");
    assert_eq!(fs::read_link("/etc/vservers/test/vdir").expect("ours"), Path::new("/vservers/test"));
    assert_eq!(host("stat", &["-c", "%u:%g %a", "/etc/vservers/test/context"]).out(), "0:0 644\n");
    assert_eq!(fs::read_to_string("/etc/vservers/test/context").expect("ours"), "108\n");
    for gone in ["/etc/vservers/test/scripts", "/etc/vservers/test/apps/init/tty", "/vservers/test/sda"] {
        assert!(fs::symlink_metadata(gone).is_err(), "{gone}");
    }
    assert_eq!(fs::read_to_string("/tmp/t/precious").expect("ours"), "precious");
}

fn copy_and_rename(mode: Mode) {
    let guest = Guest::busybox("test", mode).make();
    guest.set("interfaces/0/ip", "192.0.2.7\n");
    guest.set("interfaces/0/nodev", "");
    guest.put("/root/kept", "kept\n");
    let other = Guest::busybox("other", mode).xid(106).make();
    other.set("apps/init/depends", "test\n");
    guest.vserver(&["copy", "other"]).code(1).complains("/etc/vservers/other is there already");
    guest
        .vserver(&["copy", "twin"])
        .ok()
        .complains("change /etc/vservers/twin/interfaces/0/ip before both run");
    let twin = Guest::named("twin", 107);
    assert_eq!(fs::read_to_string(twin.configuration("context")).expect("copied"), "107\n");
    assert_eq!(fs::read_to_string(twin.configuration("name")).expect("copied"), "twin\n");
    twin.start();
    guest.vserver(&["rename", "twin"]).code(1);
    twin.vserver(&["rename", "fourth"]).code(1).complains("'twin' runs");
    twin.sh("cat /root/kept").ok().says_exactly("kept\n");
    twin.stop();
    fs::create_dir_all("/vservers/.pkg/test").expect("/vservers is ours");
    guest.start();
    guest.stop();
    let logs = guest.vserver(&["logs", "--json"]).out();
    guest
        .vserver(&["rename", "third"])
        .ok()
        .complains("/etc/vservers/other/apps/init/depends names it by its old name");
    let third = Guest::named("third", 105);
    for gone in ["/etc/vservers/test", "/vservers/test", "/vservers/.pkg/test", "/var/log/vservers/test"] {
        assert!(!Path::new(gone).exists(), "{gone}");
    }
    assert_eq!(third.vserver(&["logs", "--json"]).out(), logs);
    third.start();
    third.sh("cat /root/kept").ok().says_exactly("kept\n");
    third.stop();
}

/// The program is replaced as a package manager does it, by a rename: nobody in the guests notices, and the new one
/// manages them, even those whose guard is the old one's.
fn upgrade(mode: Mode) {
    let program = |name: &str| format!("/tmp/t/{name}");
    let installed = program("vserver");
    host("cp", &[place::program().to_str().expect("text"), &installed]).ok();
    let run = |words: &[&str]| Program::of_host(&installed).args(words).run();
    let guests: Vec<Guest> = (0..20u16)
        .map(|number| Guest::busybox(&format!("g{number:02}"), mode).xid(1000 + number).make())
        .collect();
    run(&["--applet", "start-vservers", "--all", "-j", "4"]).ok();
    let state = || -> Vec<String> {
        let of = |guest: &Guest| {
            let path = format!("/run/vservers/.state/{}/record", guest.name);
            let record: serde_json::Value =
                serde_json::from_slice(&fs::read(path).expect("it runs")).expect("JSON");
            format!("{} {} {}", guest.name, record["init"], record["guard"])
        };
        guests.iter().map(of).collect()
    };
    // Start times and words of all that belongs to guests.
    let processes = || -> Vec<String> {
        let entries = fs::read_dir("/proc").expect("mounted").flatten();
        let of = |entry: fs::DirEntry| {
            let words = fs::read(entry.path().join("cmdline")).ok()?;
            let words = String::from_utf8_lossy(&words).replace('\0', " ");
            let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
            let started = stat.rsplit(") ").next()?.split(' ').nth(19)?.to_owned();
            let ours = words.starts_with("sleep 100000") || words.starts_with("guard ");
            ours.then(|| format!("{} {started} {words}", entry.file_name().display()))
        };
        let mut all: Vec<String> = entries.filter_map(of).collect();
        all.sort();
        all
    };
    let (before, running) = (state(), processes());
    assert!(running.len() >= 40, "{running:?}");
    // Another file of other content: a debugger's section more is the same program in a newer build.
    host("sh", &["-c", &format!("cp {installed} {installed}.dpkg-new && printf newer >> {installed}.dpkg-new && mv {installed}.dpkg-new {installed}")]).ok();
    run(&["--applet", "util-vserver", "start"]).ok();
    assert_eq!(state(), before, "a guest is another one");
    assert_eq!(processes(), running, "a process was disturbed");
    for guest in &guests {
        run(&[&guest.name, "exec", "true"]).ok();
    }
    run(&["--applet", "vserver-stat", "--xids"]).ok().says("1019\n");
    assert_eq!(state(), before, "a guest is another one");
    run(&["g00", "restart"]).ok();
    // The old guard hands over to the new program.
    drop(run(&["g01", "exec", "kill", "-9", "-1"]));
    let until = std::time::Instant::now() + vserver_e2e::slowly(Duration::from_mins(1));
    while run(&["g01", "running"]).exit() == 0 || Path::new("/run/vservers/.state/g01").exists() {
        assert!(std::time::Instant::now() < until, "nobody cleans up after g01");
        std::thread::sleep(Duration::from_millis(50));
    }
    run(&["--applet", "start-vservers", "--stop", "--running", "-j", "4"]).ok();
    run(&["--applet", "vserver-stat", "--xids"]).ok().says_exactly("");
}
