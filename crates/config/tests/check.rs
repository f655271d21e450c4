//! Everything that `check` says about a guest in one run.
#![expect(clippy::unwrap_used, reason = "an unwrap in a test is an assertion")]

use std::fs;
use std::os::unix::fs::symlink;

use vserver_config::{Kind, Severity, check, not_yet_honoured, not_yet_line, read};
use vserver_model::{GuestName, Layout};

fn site(guests: &[(&str, &str)]) -> (tempfile::TempDir, Layout) {
    let dir = tempfile::tempdir().unwrap();
    let mut layout = Layout::under(dir.path()).unwrap();
    layout.sharedirs.clear();
    for (name, context) in guests {
        let cfg = layout.confdir.join(name);
        fs::create_dir_all(&cfg).unwrap();
        fs::create_dir_all(layout.vdirbase.join(name)).unwrap();
        symlink(layout.vdirbase.join(name), cfg.join("vdir")).unwrap();
        symlink(layout.rundir.join(name), cfg.join("run")).unwrap();
        fs::write(cfg.join("context"), format!("{context}\n")).unwrap();
    }
    (dir, layout)
}

fn put(layout: &Layout, item: &str, content: &str) {
    let path = layout.confdir.join(item);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

fn name(text: &str) -> GuestName {
    GuestName::new(text).unwrap()
}

#[test]
fn a_good_guest_has_no_finding() {
    let (_dir, layout) = site(&[("a", "10"), ("b", "11")]);
    put(&layout, "a/spaces/user", "");
    put(&layout, "b/spaces/user", "");
    assert_eq!(check(&layout, &name("a")), []);
}

#[test]
fn a_context_number_that_another_guest_has() {
    let (_dir, layout) = site(&[("a", "10"), ("b", "0xa"), ("c", "12")]);
    let findings = check(&layout, &name("a"));
    assert_eq!(findings.len(), 1);
    assert_eq!(
        (findings[0].severity, findings[0].kind, findings[0].line),
        (Severity::Error, Kind::DuplicateContext, 1)
    );
    assert_eq!(findings[0].message, "guest b has the context number 10 as well");
    assert_eq!(check(&layout, &name("c")), []);
}

#[test]
fn overlapping_user_ids() {
    let (_dir, layout) = site(&[("a", "10"), ("b", "11")]);
    put(&layout, "a/spaces/user", "");
    put(&layout, "b/spaces/user", "700000 100000\n");
    assert_eq!(check(&layout, &name("a"))[0].kind, Kind::Conflict);
    put(&layout, "b/spaces/user", "720896 100000\n");
    assert_eq!(check(&layout, &name("a")), [], "11 * 65536 is where the next guest begins");
}

#[test]
fn the_misspelt_base_directory() {
    let (dir, layout) = site(&[("a", "10")]);
    fs::create_dir_all(dir.path().join("etc/vserver/a")).unwrap();
    let findings = check(&layout, &name("a"));
    assert_eq!(findings.len(), 1);
    assert!(
        findings[0].to_string().contains("/etc/vserver: warning: is not read (it holds a)"),
        "{}",
        findings[0]
    );
}

#[test]
fn the_sites_defaults_are_looked_at() {
    let (_dir, layout) = site(&[("a", "10")]);
    put(&layout, ".defaults/sheel", "/bin/zsh\n");
    put(&layout, ".defaults/apps/vprocunhide/files", "proc/x\n");
    let kinds: Vec<_> = check(&layout, &name("a")).into_iter().map(|finding| finding.kind).collect();
    assert_eq!(kinds, [Kind::Syntax, Kind::Typo]);
}

#[test]
fn what_is_not_yet_honoured_is_a_note_with_its_place() {
    let (_dir, layout) = site(&[("a", "10")]);
    put(&layout, "a/interfaces/0/ip", "192.0.2.1/24\n");
    put(&layout, "a/interfaces/0/dev", "eth0\n");
    put(&layout, "a/interfaces/1/disabled", "");
    put(&layout, "a/interfaces/1/ip", "192.0.2.2/24\n");
    put(&layout, "a/cflags", "virt_uptime\nvirt_mem,sched_hard\n~virt_cpu\n");
    put(&layout, "a/nflags", "~hide_netif\nsingle_ip,sc_helper\n");
    put(&layout, "a/spaces/net", "0\n");
    put(&layout, "a/cgroup/memory.max", "1G\n");
    put(&layout, "a/rlimits/nofile.hard", "1000\n");
    put(&layout, "a/uts/machine", "sparc\n");
    put(&layout, "a/apps/pkgmgmt/internal", "");
    let guest = read(&layout, &layout.confdir.join("a")).guest;
    let missing: Vec<_> =
        not_yet_honoured(&guest).into_iter().map(|missing| (missing.item, missing.place.line)).collect();
    assert_eq!(
        missing,
        [
            ("nflags: sc_helper".to_owned(), 2),
            ("rlimits/nofile.hard".to_owned(), 0),
            ("uts/machine: sparc".to_owned(), 1),
        ]
    );
    assert_eq!(
        not_yet_line(&guest).unwrap(),
        "not yet honoured: helper events other than reboot and halt (nflags: sc_helper)"
    );
    let findings = check(&layout, &name("a"));
    assert!(findings.iter().all(|finding| finding.severity == Severity::Note), "{findings:#?}");
    assert_eq!(findings.len(), 3);
    assert!(findings.iter().any(|finding| finding.message.contains("honoured in part: limits each process")));
}
