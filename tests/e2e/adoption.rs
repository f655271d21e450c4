//! Guests that lose their guard or their record while they run: the next command puts it right, and the guest notices
//! nothing but a new console.

use std::fs;
use std::path::{Path, PathBuf};
use vserver_e2e::command::host;
use vserver_e2e::{Guest, Mode, Spec, soon};

pub fn specs() -> Vec<Spec> {
    vec![
        Spec::new("death_guard_is_replaced", guard_is_replaced),
        Spec::new("death_replaced_guard_answers_for_the_end", replaced_guard_answers),
        Spec::new("death_lost_record_is_made_again", lost_record),
        Spec::new("death_lost_record_and_configuration", lost_configuration),
        Spec::new("death_of_other_state_files", state_files),
        Spec::new("death_by_clock_jumps", clock_jumps),
    ]
}

fn state(guest: &Guest, file: &str) -> PathBuf {
    Path::new("/run/vservers/.state").join(&guest.name).join(file)
}

fn record(guest: &Guest) -> serde_json::Value {
    serde_json::from_slice(&fs::read(state(guest, "record")).expect("it runs")).expect("JSON")
}

fn pid(guest: &Guest, who: &str) -> String {
    record(guest)[who]["pid"].as_i64().expect("a number").to_string()
}

fn is_alive(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

fn kill_guard(guest: &Guest) {
    let guard = pid(guest, "guard");
    host("kill", &["-KILL", &guard]).ok();
    soon("the guard is dead", || !is_alive(&guard));
}

fn guard_is_replaced(mode: Mode) {
    let guest = Guest::busybox("test", mode).make();
    guest.start();
    let (init, before) = (pid(&guest, "init"), pid(&guest, "guard"));
    // Twice: a replaced guard is replaced like any other.
    for round in ["one", "two"] {
        kill_guard(&guest);
        guest
            .sh("true")
            .ok()
            .complains("the guard of 'test' was gone: it has a new one, and it has a new console");
        assert_eq!(pid(&guest, "init"), init, "the guest is another one");
        let guard = pid(&guest, "guard");
        assert!(is_alive(&guard) && guard != before);
        // What appears on the console is logged again, and the old log is still there.
        guest.sh(&format!("echo appears {round} > /dev/console")).ok();
        let log = || guest.vserver(&["logs"]).out();
        soon("the console is logged", || log().contains(&format!("appears {round}\n")));
        // One terminal is the console, not a pile of them.
        let consoles = guest.sh("grep -c ' /dev/console ' /proc/mounts").out();
        assert_eq!(consoles.trim(), "1");
        // It is told once, and not by a command that finds everything in order.
        let done = guest.sh("true");
        assert_eq!(done.err(), "", "{done}");
        assert_eq!(pid(&guest, "guard"), guard, "a guard that lives was replaced");
    }
    // The host view is there again: hooks of the stop run in it.
    let script = "readlink /proc/self/ns/mnt > /run/e2e/view\n";
    guest.set_program("scripts/pre-stop", &format!("#!/bin/sh\n{script}"));
    // Start says what it always says, and looks after the guard, too.
    kill_guard(&guest);
    guest.vserver(&["start"]).ok().complains("the guard of 'test' was gone");
    // So do the commands that only ask.
    for words in [&["running"][..], &["status"]] {
        kill_guard(&guest);
        guest.vserver(words).ok();
        assert!(is_alive(&pid(&guest, "guard")), "{words:?}");
    }
    guest.stop();
    let view = fs::read_to_string("/run/e2e/view").expect("the hook has run");
    let own = fs::read_link("/proc/self/ns/mnt").expect("/proc is mounted");
    assert_ne!(view.trim(), own.to_string_lossy(), "the hook ran in the host's own mounts");
    assert!(!state(&guest, "").exists());
}

/// Reboot, halt and a plain end, each under a guard that is not the parent of the guest's init.
fn replaced_guard_answers(mode: Mode) {
    let guest = Guest::busybox("test", mode).make();
    let adopted = || {
        guest.start();
        kill_guard(&guest);
        guest.sh("true").ok();
        pid(&guest, "init")
    };
    let init = adopted();
    drop(guest.sh("reboot -f"));
    let runs_anew = || {
        let record = fs::read(state(&guest, "record")).ok();
        let record: Option<serde_json::Value> = record.and_then(|text| serde_json::from_slice(&text).ok());
        record.is_some_and(|record| record["init"]["pid"].as_i64() != init.parse().ok())
    };
    soon("the guest that has rebooted runs again", runs_anew);
    soon("its start is over", || guest.sh("pidof sleep").exit() == 0);
    guest.stop();
    for end in ["halt -f", "kill -9 -1; exit"] {
        let init = adopted();
        drop(guest.sh(end));
        soon("the guest has ended", || !is_alive(&init));
        soon("what it leaves is taken away", || !state(&guest, "").exists());
        assert!(!guest.is_running());
    }
}

fn lost_record(mode: Mode) {
    let guest = Guest::busybox("test", mode).make();
    // Set at the start and edited since: what runs has what it was started with.
    guest.put("/etc/rc.stop", "echo stopped >> /stopped; killall sleep\n");
    guest.start();
    let first = record(&guest);
    let (init, guard) = (pid(&guest, "init"), pid(&guest, "guard"));
    let same = |guest: &Guest| {
        let mut again = record(guest);
        let started = |record: &serde_json::Value| record["started"].as_i64().expect("a number");
        assert!((started(&again) - started(&first)).abs() <= 2, "{again} {first}");
        again["started"] = first["started"].clone();
        assert_eq!(again, first);
    };
    let remove = |paths: &[&str]| {
        for path in paths {
            host("rm", &["-rf", path]).ok();
        }
    };
    let whole = fs::read(state(&guest, "record")).expect("it runs");
    let losses: [(&str, &dyn Fn()); 7] = [
        ("removed", &|| remove(&["/run/vservers/.state/test/record"])),
        ("empty", &|| fs::write(state(&guest, "record"), "").expect("ours")),
        ("cut", &|| fs::write(state(&guest, "record"), &whole[..whole.len() / 2]).expect("ours")),
        ("of another boot", &|| {
            let mut other = first.clone();
            other["boot"] = "another".into();
            fs::write(state(&guest, "record"), other.to_string()).expect("ours");
        }),
        ("a directory", &|| {
            remove(&["/run/vservers/.state/test/record"]);
            fs::create_dir_all(state(&guest, "record").join("in/it")).expect("ours");
        }),
        ("the whole state", &|| remove(&["/run/vservers/.state"])),
        ("all of /run", &|| remove(&["/run/vservers", "/run/vservers.rev", "/run/vserver"])),
    ];
    for (what, lose) in losses {
        for command in [&["exec", "true"][..], &["running"], &["status"], &["start"]] {
            eprintln!("-- {what}, {command:?}");
            lose();
            guest.vserver(command).ok();
            assert_eq!(pid(&guest, "init"), init, "the guest is another one");
            same(&guest);
            assert!(is_alive(&guard));
            let rest = ["/run/vservers/test", "/run/vservers.rev/105", "/run/vserver/virtual/105/info"];
            for path in rest {
                assert!(Path::new(path).exists(), "{path} is not there again");
            }
        }
    }
    // Guard and record at once.
    kill_guard(&guest);
    remove(&["/run/vservers", "/run/vservers.rev", "/run/vserver"]);
    guest.sh("true").ok().complains("the guard of 'test' was gone");
    assert_eq!(pid(&guest, "init"), init);
    assert!(is_alive(&pid(&guest, "guard")));
    // A guard that is not the parent is found, too.
    let guard = pid(&guest, "guard");
    remove(&["/run/vservers/.state/test/record"]);
    guest.sh("true").ok();
    assert_eq!(pid(&guest, "guard"), guard, "a second guard beside the first");
    // Stop asks the guest as it always does, although the record is gone, and delete stops before it removes.
    remove(&["/run/vservers", "/run/vservers.rev", "/run/vserver"]);
    guest.stop();
    assert_eq!(guest.file("/stopped"), "stopped\n");
    guest.start();
    let init = pid(&guest, "init");
    remove(&["/run/vservers", "/run/vservers.rev", "/run/vserver"]);
    guest.program(&["delete"]).input("y\ny\n").run().ok();
    assert!(!is_alive(&init), "deleted below a running guest");
    assert_eq!(guest.file("/stopped"), "");
}

fn lost_configuration(mode: Mode) {
    let guest = Guest::busybox("test", mode).make();
    guest.start();
    let init = pid(&guest, "init");
    host("rm", &["-rf", "/run/vservers"]).ok();
    fs::copy(guest.configuration("context"), "/run/e2e/context").expect("ours");
    fs::remove_file(guest.configuration("context")).expect("ours");
    guest.vserver(&["running"]).code(1).complains("'test' runs, but its record is lost");
    assert!(guest.vserver(&["start"]).exit() != 0);
    assert!(is_alive(&init), "a start that cannot be has ended what runs");
    fs::copy("/run/e2e/context", guest.configuration("context")).expect("ours");
    assert!(guest.is_running());
    host("rm", &["-rf", "/run/vservers"]).ok();
    fs::remove_file(guest.configuration("context")).expect("ours");
    // Whoever asks for its end gets it.
    guest.vserver(&["stop"]).complains("'test' runs, but its record is lost");
    soon("the guest has ended", || !is_alive(&init));
    fs::copy("/run/e2e/context", guest.configuration("context")).expect("ours");
    assert!(!guest.is_running());
    guest.start();
    guest.stop();
}

/// What is put in the place of a file.
type Loss<'a> = (&'a str, &'a dyn Fn(&Path));

/// Every file of ours in `/run` but the record, lost in every way: the guest runs on, start puts back what is needed,
/// and stop leaves nothing of it.
fn state_files(mode: Mode) {
    let guest = Guest::busybox("test", mode).make();
    let files = [
        "/run/vservers/test",
        "/run/vservers.rev/105",
        "/run/vserver/virtual/105/info",
        "/run/vserver/virtual/105/status",
    ];
    fs::create_dir_all("/tmp/t/other").expect("ours");
    fs::write("/tmp/t/precious", "precious").expect("ours");
    let losses: [Loss; 6] = [
        ("removed", &|_| {}),
        ("empty", &|path| fs::write(path, "").expect("ours")),
        ("garbage", &|path| fs::write(path, b"\xff\0\n99999999999999999999\n").expect("ours")),
        ("a link", &|path| std::os::unix::fs::symlink("/tmp/t/precious", path).expect("ours")),
        ("a link to itself", &|path| std::os::unix::fs::symlink(path, path).expect("ours")),
        ("a fifo", &|path| {
            host("mkfifo", &[path]).ok();
        }),
    ];
    // Every file meets half of the losses; in the other mode, the other half.
    let turn = usize::from(mode == Mode::Classic);
    for (number, file) in files.map(Path::new).into_iter().enumerate() {
        for (what, put) in losses.iter().skip((number + turn) % 2).step_by(2) {
            eprintln!("-- {}: {what}", file.display());
            guest.start();
            let init = pid(&guest, "init");
            drop(fs::remove_file(file));
            put(file);
            for words in [&["running"][..], &["exec", "true"], &["status"]] {
                guest.vserver(words).ok();
            }
            vserver_e2e::command::tool("vserver-stat", &[] as &[&str]).ok();
            guest.vserver(&["start"]).ok();
            assert_eq!(pid(&guest, "init"), init);
            let again = fs::symlink_metadata(file).expect("put back");
            assert!(again.is_file() || file.ends_with("105"), "{} is still {what}", file.display());
            guest.stop();
            assert!(fs::symlink_metadata(file).is_err(), "{} is left", file.display());
            assert_eq!(fs::read_to_string("/tmp/t/precious").expect("ours"), "precious");
        }
    }
}

/// The time of day is nothing that a guest's life hangs on.
fn clock_jumps(mode: Mode) {
    let guest = Guest::busybox("test", mode).make();
    guest.start();
    let init = pid(&guest, "init");
    let now = record(&guest)["started"].as_u64().expect("a number");
    for started in [0, 1, now + 1_000_000, now - 1_000_000, u64::from(u32::MAX) + 5, u64::MAX] {
        let mut changed = record(&guest);
        changed["started"] = started.into();
        fs::write(state(&guest, "record"), changed.to_string()).expect("ours");
        for words in [&["running"][..], &["exec", "true"], &["status"], &["status", "--json"], &["start"]] {
            guest.vserver(words).ok();
        }
        vserver_e2e::command::tool("vserver-stat", &[] as &[&str]).ok();
        assert_eq!(pid(&guest, "init"), init);
    }
    guest.stop();
    assert!(!state(&guest, "").exists());
}
