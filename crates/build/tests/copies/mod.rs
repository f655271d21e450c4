//! rsync and clone.

use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::Path;

use libtest_mimic::Trial;

use crate::Need::{Program, Root};
use crate::place::{Place, listing};
use crate::trial;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("clone_of_a_guest", &[Root, Program("ssh-keygen")], clone),
        trial("clone_leaves_out_what_it_is_told_to", &[Root], excludes),
        trial("clone_of_a_hostile_tree_writes_nothing_outside", &[Root], hostile),
        trial("rsync_from_a_directory", &[Root, Program("rsync")], rsync),
        trial("a_missing_source_is_an_error_before_anything", &[Root], missing),
        trial("debian_trees_are_finished_when_named", &[Root], debian),
    ]
}

/// A guest with what a clone has to treat with care.
fn original(place: &Place) {
    place.build_well("one", "-m skeleton --context 7");
    let vdir = place.vdir("one");
    for dir in ["etc/ssh", "usr/bin", "var/lib/dbus", "usr/lib/systemd", "jail"] {
        std::fs::create_dir_all(vdir.join(dir)).unwrap();
    }
    for (file, text) in [
        ("etc/machine-id", "0123456789abcdef0123456789abcdef\n"),
        ("var/lib/dbus/machine-id", "0123456789abcdef0123456789abcdef\n"),
        ("etc/ssh/ssh_host_ed25519_key", "old"),
        ("etc/ssh/ssh_host_ed25519_key.pub", "old"),
        ("etc/hosts", "198.51.100.1 theirs\n"),
        ("usr/bin/tool", "tool"),
        ("usr/lib/systemd/systemd", ""),
    ] {
        std::fs::write(vdir.join(file), text).unwrap();
    }
    std::fs::hard_link(vdir.join("usr/bin/tool"), vdir.join("usr/bin/same")).unwrap();
    std::os::unix::fs::chown(vdir.join("usr/bin/tool"), Some(1000), Some(1001)).unwrap();
    let device = rustix::fs::makedev(8, 0);
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(
        rustix::fs::CWD,
        vdir.join("jail/sda"),
        rustix::fs::FileType::BlockDevice,
        mode,
        device,
    )
    .unwrap();
}

fn clone() {
    let place = Place::new();
    original(&place);
    let outcome = place.build_well("two", "-m clone --context 8 -- --source one");
    assert!(outcome.notes().contains("device nodes were left out"), "{}", outcome.notes());
    let vdir = place.vdir("two");
    let tree = listing(&vdir);
    assert_eq!(tree["etc/machine-id"], "\"\"");
    assert_eq!(tree["var/lib/dbus/machine-id"], "-> /etc/machine-id");
    assert!(tree["etc/ssh/ssh_host_ed25519_key"].contains("PRIVATE KEY"));
    assert!(tree["etc/ssh/ssh_host_ed25519_key.pub"].starts_with("\"ssh-ed25519 "));
    assert!(!tree.contains_key("jail/sda") && tree["dev/null"] == "c 1 3 666");
    let (tool, same) =
        (vdir.join("usr/bin/tool").metadata().unwrap(), vdir.join("usr/bin/same").metadata().unwrap());
    assert_eq!(tool.ino(), same.ino());
    assert_eq!((tool.uid(), tool.gid()), (1000, 1001));
    assert_eq!(std::fs::read_to_string(place.config("two").join("context")).unwrap(), "8\n");
    // The source is as it was.
    assert_eq!(
        std::fs::read_to_string(place.vdir("one").join("etc/ssh/ssh_host_ed25519_key")).unwrap(),
        "old"
    );
    // A directory is as good, and one that holds the clone itself does not end in itself.
    let words = format!("-m clone -- -s {}", place.layout.vdirbase.display());
    place.build_well("three", &words);
    assert!(
        place.vdir("three").join("one/usr/bin/tool").exists() && !place.vdir("three").join("three").exists()
    );
}

fn excludes() {
    let place = Place::new();
    original(&place);
    let rules = place.path.join("rules");
    std::fs::write(&rules, "+/usr/bin/same\n~/usr/bin/*\n").unwrap();
    place.build_well("two", &format!("-m clone -- --source one -X {}", rules.display()));
    let bin = place.vdir("two").join("usr/bin");
    assert!(bin.join("same").exists() && !bin.join("tool").exists());
    let outcome = place.build("three", "-m clone -- --source one -X /nonexistent");
    assert_eq!(outcome.code, 1);
    place.assert_nothing_of("three");
}

fn hostile() {
    let place = Place::new();
    let outside = place.path.join("outside");
    std::fs::create_dir_all(outside.join("ssh")).unwrap();
    std::fs::write(outside.join("machine-id"), "host").unwrap();
    std::fs::write(outside.join("ssh/ssh_host_rsa_key"), "host").unwrap();
    let before = listing(&outside);
    let source = place.path.join("source");
    std::fs::create_dir(&source).unwrap();
    // The clone keeps its own /etc: with --i-know-its-there even that is a link.
    symlink(&outside, source.join("etc")).unwrap();
    symlink(&outside, source.join("dev")).unwrap();
    symlink("/../../../../..", source.join("var")).unwrap();
    place.build("two", &format!("-m clone -- -s {}", source.display()));
    assert_eq!(listing(&outside), before);
    std::fs::create_dir_all(place.vdir("three")).unwrap();
    symlink(&outside, place.vdir("three").join("etc")).unwrap();
    let outcome = place.build("three", &format!("-m clone --i-know-its-there -- -s {}", source.display()));
    assert_eq!(listing(&outside), before, "{}", outcome.failure());
    for name in ["web1", "bookworm"] {
        let vdir = place.vdir(name);
        std::fs::create_dir_all(&vdir).unwrap();
        for link in ["etc", "dev", "var", "proc", "usr", "lib"] {
            symlink(&outside, vdir.join(link)).unwrap();
        }
        place.build(name, "-m skeleton --i-know-its-there -- -d bookworm");
        assert_eq!(listing(&outside), before, "{name}");
    }
}

fn rsync() {
    let place = Place::new();
    original(&place);
    let source = place.vdir("one");
    place.build_well("two", &format!("-m rsync -- --source {} -- --exclude=/jail", source.display()));
    let tree = listing(&place.vdir("two"));
    assert_eq!(tree["usr/bin/tool"], "\"tool\"");
    assert_eq!(tree["etc/machine-id"], "\"\"");
    assert_eq!(tree["etc/ssh/ssh_host_ed25519_key"], "\"old\"", "a moved system keeps its keys");
    assert!(!tree.contains_key("jail"));
    let outcome =
        place.build("three", &format!("-m rsync -- --source {} -- --no-such-option", source.display()));
    assert!(outcome.failure().contains("rsync failed (exit code 1)"), "{}", outcome.failure());
    assert!(outcome.failure().contains("--no-such-option"), "{}", outcome.failure());
    place.assert_nothing_of("three");
}

fn missing() {
    let place = Place::new();
    for method in ["clone", "rsync"] {
        let outcome = place.build("x", &format!("-m {method} -- --source /nonexistent"));
        let words = outcome.failure();
        assert!(words.contains("there is no directory or guest '/nonexistent'"), "{words}");
        let outcome = place.build("x", &format!("-m {method}"));
        assert!(outcome.failure().contains("the method needs a source"), "{}", outcome.failure());
        assert!(!place.layout.confdir.exists() && !place.layout.vdirbase.exists());
    }
}

fn debian() {
    let place = Place::new();
    original(&place);
    std::fs::write(place.vdir("one").join("etc/inittab"), "1:2345:respawn:/sbin/getty 38400 tty1\n").unwrap();
    place.build_well("two", "-m clone --hostname host2 -- --source one -d bookworm");
    let tree = listing(&place.vdir("two"));
    assert!(tree["etc/inittab"].starts_with("\"#1:"));
    assert_eq!(tree["etc/hostname"], "\"host2\\n\"");
    assert_eq!(tree["etc/systemd/system/getty@.service"], "-> /dev/null");
    place.build_well("three", "-m clone -- --source one -d other");
    assert!(!place.vdir("three").join(Path::new("etc/systemd")).exists());
}
