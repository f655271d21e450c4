//! The table against the reader: every row that says it is read makes a difference when its file is there.
#![expect(clippy::unwrap_used, reason = "an unwrap in a test is an assertion")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use vserver_config::table::{Base, Honoured, ITEMS, Item, Type};
use vserver_config::{Finding, Guest, Kind, read};
use vserver_model::Layout;

/// What must be there for other keys to be looked at, each with a value that none of the test's is equal to.
const BASE: &[(&str, &str)] = &[
    ("context", "105\n"),
    ("cpuset/name", "set\n"),
    ("sysctl/0/setting", "kernel.shmmax\n"),
    ("sysctl/0/value", "7\n"),
    ("interfaces/0/ip", "192.0.2.1\n"),
    ("interfaces/0/dev", "eth0.7\n"),
    ("interfaces/0/tun", ""),
    ("interfaces/1/ip", "192.0.2.2\n"),
    ("interfaces/1/nodev", ""),
    ("netns/interfaces/0/host", "veth0\n"),
    ("dlimits/0/directory", "/vservers\n"),
    ("dlimits/0/space_total", "100\n"),
    ("dlimits/0/inodes_total", "100\n"),
    ("dlimits/0/reserved", "5\n"),
    ("apps/vdevmap/0/device", "/dev/null\n"),
];

/// Defaults of the site that some keys are there to take back.
const SITE: &[&str] = &["nonamespace", "nonamespace-cleanup", "interfaces/vlandev"];

/// Rows whose file is looked at by something else than the reading of one guest, or by nothing, with the reason.
const NOT_BY_READ: &[(&str, &str)] = &[
    ("interfaces/*", "each key in it has a row"),
    ("netns", "each key in it has a row"),
    ("netns/interfaces/*", "each key in it has a row"),
    ("cgroup", "each key in it has a row"),
    ("sched/*", "each key in it has a row"),
    ("dlimits/*", "each key in it has a row"),
    ("sysctl/*", "each key in it has a row"),
    ("apps/vdevmap/*", "each key in it has a row"),
    ("apps/vshelper-methods/*", "found by the name that action says"),
];

fn put(base: &Path, item: &str, content: &[u8]) {
    let path = base.join(item);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

fn fill(pattern: &str) -> Vec<String> {
    let Some((head, rest)) = pattern.split_once('{') else { return vec![pattern.replace('*', "0")] };
    let (choices, tail) = rest.split_once('}').unwrap();
    choices.split(',').flat_map(|choice| fill(&format!("{head}{choice}{tail}"))).collect()
}

fn is_read(item: &Item) -> bool {
    let read = matches!(item.honoured, Honoured::Yes | Honoured::Later(_));
    item.base == Base::Guest && read && !NOT_BY_READ.iter().any(|(path, _)| *path == item.path)
}

/// A guest without what the walk over all files adds, whichever row they are.
fn seen(layout: &Layout, cfg: &Path) -> (Guest, Vec<Finding>) {
    let mut reading = read(layout, cfg);
    reading.guest.carried.clear();
    reading.findings.retain(|finding| {
        !matches!(finding.kind, Kind::NoFinalNewline | Kind::UnknownFile | Kind::Typo | Kind::DanglingLink)
    });
    (reading.guest, reading.findings)
}

/// Whether the file of a row changes what is read, on a site with or without defaults.
fn makes_a_difference(item: &Item, path: &str, site: &[&str]) -> bool {
    let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let mut layout = Layout::under(dir.path()).unwrap();
    layout.sharedirs.clear();
    let cfg = layout.confdir.join("web1");
    for (other, content) in BASE.iter().filter(|(other, _)| *other != path) {
        put(&cfg, other, content.as_bytes());
    }
    for default in site {
        put(&layout.defaults, default, b"");
    }
    let before = seen(&layout, &cfg);
    if item.kind == Type::Link {
        fs::create_dir_all(cfg.join(path).parent().unwrap()).unwrap();
        symlink("/dev", cfg.join(path)).unwrap();
    } else {
        // Binary for what has a type, and something for what is free.
        put(&cfg, path, b"\0odd\n");
    }
    before != seen(&layout, &cfg)
}

#[test]
fn every_row_that_is_read_makes_a_difference() {
    for item in ITEMS.iter().filter(|item| is_read(item)) {
        for path in fill(item.path) {
            let different = [&[], SITE].iter().any(|site| makes_a_difference(item, &path, site));
            assert!(different, "{path} has a row, but nothing of the guest changes when it is there");
        }
    }
}

#[test]
fn the_exceptions_are_rows() {
    for (path, _) in NOT_BY_READ {
        assert!(ITEMS.iter().any(|item| item.base == Base::Guest && item.path == *path), "{path}");
    }
}
