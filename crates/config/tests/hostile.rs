//! Configuration directories of random bytes and odd files: findings, never a panic, a hang or an endless walk.
#![expect(clippy::unwrap_used, reason = "an unwrap in a test is an assertion")]

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use proptest::sample::select;
use vserver_config::table::{Base, ITEMS};
use vserver_config::{Kind, check_dir, not_yet_line, read, write};
use vserver_model::Layout;

/// What can stand at a path.
#[derive(Clone, Debug)]
enum Thing {
    Bytes(Vec<u8>),
    Link(String),
    Directory,
    Fifo,
    Unreadable,
}

/// Paths of items with every `*` and choice filled in, and some that are no items.
fn any_path() -> impl Strategy<Value = String> {
    let paths: Vec<String> = ITEMS
        .iter()
        .filter(|item| item.base == Base::Guest)
        .flat_map(|item| fill(item.path))
        .chain(["odd", "uts/odd", "interfaces/0", "interfaces", "a/b/c", "apps/init/x/y"].map(str::to_owned))
        .collect();
    select(paths)
}

fn fill(pattern: &str) -> Vec<String> {
    let Some((head, rest)) = pattern.split_once('{') else { return vec![pattern.replace('*', "0")] };
    let (choices, tail) = rest.split_once('}').unwrap();
    choices.split(',').flat_map(|choice| fill(&format!("{head}{choice}{tail}"))).collect()
}

fn any_thing() -> impl Strategy<Value = Thing> {
    prop_oneof![
        6 => proptest::collection::vec(any::<u8>(), 0..80).prop_map(Thing::Bytes),
        4 => "[ -~\n]{0,40}".prop_map(|text| Thing::Bytes(text.into_bytes())),
        1 => select(vec!["nowhere", ".", "..", "/", "/dev/zero", "/dev/tty", "/proc/self/mem", "context"])
            .prop_map(|target| Thing::Link(target.to_owned())),
        1 => Just(Thing::Directory),
        1 => Just(Thing::Fifo),
        1 => Just(Thing::Unreadable),
    ]
}

fn place(base: &Path, path: &str, thing: &Thing) {
    let path = base.join(path);
    // What was placed before may be in the way; then this one is left out.
    let Some(parent) = path.parent() else { return };
    // Never through a link placed before: it may lead out of the scratch directory, to / even.
    let through_link = parent
        .ancestors()
        .take_while(|ancestor| *ancestor != base)
        .any(|ancestor| ancestor.symlink_metadata().is_ok_and(|found| found.is_symlink()));
    if through_link || fs::create_dir_all(parent).is_err() || path.symlink_metadata().is_ok() {
        return;
    }
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    match thing {
        Thing::Bytes(bytes) => drop(fs::write(&path, bytes)),
        Thing::Link(target) => drop(symlink(target, &path)),
        Thing::Directory => drop(fs::create_dir(&path)),
        Thing::Fifo => drop(rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0)),
        Thing::Unreadable => {
            drop(fs::write(&path, "x\n"));
            drop(fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o000)));
        }
    }
}

fn site() -> (tempfile::TempDir, Layout, PathBuf) {
    let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let mut layout = Layout::under(dir.path()).unwrap();
    layout.sharedirs.clear();
    let cfg = layout.confdir.join("web1");
    fs::create_dir_all(&cfg).unwrap();
    (dir, layout, cfg)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_directory_is_read_and_checked(
        things in proptest::collection::vec((any_path(), any_thing()), 0..60),
        defaults in proptest::collection::vec((any_path(), any_thing()), 0..20),
    ) {
        let (_dir, layout, cfg) = site();
        for (path, thing) in &things {
            place(&cfg, path, thing);
        }
        for (path, thing) in &defaults {
            place(&layout.defaults, path, thing);
        }
        let reading = read(&layout, &cfg);
        drop(not_yet_line(&reading.guest));
        let findings = check_dir(&layout, &cfg);
        prop_assert!(!findings.is_empty(), "at least the root is missing");
        for finding in &findings {
            prop_assert!(!finding.message.is_empty() && finding.file.is_absolute(), "{finding}");
            prop_assert!(finding.file.starts_with(layout.confdir.parent().unwrap()), "{finding}");
        }
        // Writing what could be read must not panic either; it may be refused.
        drop(write(&layout, &cfg, &reading.guest));
        drop(write(&layout, &cfg.with_file_name("copy"), &reading.guest));
    }
}

#[test]
fn names_of_any_bytes() {
    let (_dir, layout, cfg) = site();
    for name in [&b"\xff\xfe"[..], b"a\nb", b"\x1b[31m", b"interfac\xe9s"] {
        fs::write(cfg.join(OsStr::from_bytes(name)), "x").unwrap();
    }
    fs::create_dir(cfg.join("sysctl")).unwrap();
    fs::create_dir(cfg.join("sysctl").join(OsStr::from_bytes(b"\xff"))).unwrap();
    let count = |kind| check_dir(&layout, &cfg).into_iter().filter(|finding| finding.kind == kind).count();
    assert_eq!((count(Kind::UnknownFile), count(Kind::Typo)), (3, 1));
}

#[test]
fn links_in_a_circle_end() {
    let (_dir, layout, cfg) = site();
    for item in ["interfaces", "apps", "scripts", "sysctl", "uts"] {
        symlink(".", cfg.join(item)).unwrap();
    }
    assert!(!check_dir(&layout, &cfg).is_empty());
}

#[test]
fn a_directory_of_many_files_is_read_to_its_end() {
    let (_dir, layout, cfg) = site();
    fs::create_dir(cfg.join("cgroup")).unwrap();
    for number in 0..2000 {
        fs::write(cfg.join(format!("cgroup/x.{number:04}")), "1\n").unwrap();
    }
    assert_eq!(read(&layout, &cfg).guest.cgroup.settings.len(), 2000);
}

#[test]
fn huge_files_are_findings() {
    let (_dir, layout, cfg) = site();
    for item in ["context", "fstab", "notes"] {
        fs::File::create_new(cfg.join(item)).unwrap().set_len(200 << 20).unwrap();
    }
    let large = |finding: &&vserver_config::Finding| finding.kind == Kind::TooLarge;
    let findings = read(&layout, &cfg).findings;
    let seen: Vec<_> =
        findings.iter().filter(large).map(|f| f.file.file_name().unwrap().to_owned()).collect();
    assert_eq!(seen, ["context", "context", "fstab", "fstab", "notes"], "{findings:#?}");
}
