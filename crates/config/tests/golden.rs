//! Fixture guests and what `check` and the warning line of a start say of them, as text files beside them.
//!
//! `UPDATE_GOLDEN=1 cargo test -p vserver-config --test golden` writes the files anew; look at the difference.
#![expect(clippy::unwrap_used, reason = "an unwrap in a test is an assertion")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use vserver_config::{check_dir, not_yet_line, read};
use vserver_model::Layout;

/// Copies a tree of files; git keeps neither empty directories nor absolute links, so links are made here.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[track_caller]
fn golden(name: &str) {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let dir = tempfile::tempdir().unwrap();
    let mut layout = Layout::under(dir.path()).unwrap();
    layout.sharedirs.clear();
    let cfg = layout.confdir.join(name);
    copy(&fixtures.join(name), &cfg);
    fs::create_dir_all(layout.vdirbase.join(name)).unwrap();
    symlink(layout.vdirbase.join(name), cfg.join("vdir")).unwrap();
    symlink(layout.rundir.join(name), cfg.join("run")).unwrap();
    let mut lines: Vec<String> = check_dir(&layout, &cfg).iter().map(ToString::to_string).collect();
    lines.extend(not_yet_line(&read(&layout, &cfg).guest).map(|line| format!("at start: {line}")));
    let text = lines.join("\n") + "\n";
    let text = text.replace(dir.path().to_str().unwrap(), "");
    let file = fixtures.join(format!("{name}.golden"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&file, &text).unwrap();
    }
    let wanted = fs::read_to_string(&file).unwrap();
    let differs = text.lines().zip(wanted.lines()).position(|(is, wanted)| is != wanted);
    assert!(
        text == wanted,
        "{} differs from line {:?} on:\n{text}",
        file.display(),
        differs.map(|line| line + 1)
    );
}

#[test]
fn a_debian_guest() {
    golden("debian");
}

#[test]
fn addresses_and_a_network_namespace() {
    golden("network");
}

#[test]
fn limits_of_every_sort() {
    golden("limits");
}

#[test]
fn mistakes_of_every_sort() {
    golden("mistakes");
}
