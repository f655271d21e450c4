//! Sudden death of the guard, of the record, of the room on `/run` (of processes at their system calls: `sudden.rs`).
//!
//! After each a running guest is unharmed, the next command repairs the rest, and nothing leaks.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};
use vserver_e2e::command::host;
use vserver_e2e::{Guest, Mode, Spec, slowly};

pub fn specs() -> Vec<Spec> {
    vec![
        Spec::new("death_of_the_guard", guard_dies),
        Spec::new("death_of_the_record", record_dies),
        Spec::new("death_of_run", run_is_wiped),
        Spec::new("death_by_a_full_run", run_is_full),
        Spec::new("death_by_few_descriptors", few_descriptors),
    ]
}

const TOOL: &str = "/run/e2e/bin/vserver";

/// A guest that has run once, so that what only the first start does is not what is looked at.
fn seasoned(mode: Mode) -> Guest {
    let guest = Guest::busybox("test", mode).make();
    guest.start();
    guest.stop();
    guest
}

/// Runs as it should, and stops as it should.
#[track_caller]
fn works(guest: &Guest) {
    is_well(guest);
    guest.stop();
    nothing_left(guest);
}

/// Its daemon runs. Start does not wait for a daemon that is started in the background.
#[track_caller]
fn is_well(guest: &Guest) {
    let look = "i=0; until pidof sleep > /dev/null || [ $i = 200 ]; do i=$((i + 1)); usleep 20000; done; \
        pidof sleep > /dev/null && echo well";
    guest.sh(look).says_exactly("well\n");
}

#[track_caller]
fn nothing_left(guest: &Guest) {
    let until = Instant::now() + slowly(Duration::from_secs(10));
    let left = || {
        let state = PathBuf::from("/run/vservers/.state").join(&guest.name);
        let mut left = groups(guest);
        left.extend(
            [state, Path::new("/run/vservers").join(&guest.name)].into_iter().filter(|path| path.exists()),
        );
        left
    };
    // A guard that was left alone cleans up by itself, in its own time.
    while !left().is_empty() && Instant::now() < until {
        thread::sleep(Duration::from_millis(20));
    }
    assert!(left().is_empty(), "left behind: {:?}", left());
}

fn groups(guest: &Guest) -> Vec<PathBuf> {
    let top = std::env::var("VSERVER_CGROUP_TOP").expect("the harness sets it");
    let table = fs::read_to_string("/proc/self/mountinfo").expect("/proc is mounted");
    let mounts =
        table.lines().filter(|line| line.contains(" - cgroup")).filter_map(|line| line.split(' ').nth(4));
    mounts.map(|mount| Path::new(mount).join(&top).join(&guest.name)).filter(|group| group.is_dir()).collect()
}

fn record(guest: &Guest) -> (PathBuf, serde_json::Value) {
    let path = PathBuf::from("/run/vservers/.state").join(&guest.name).join("record");
    let value = serde_json::from_slice(&fs::read(&path).expect("it runs")).expect("JSON");
    (path, value)
}

fn kill(guest: &Guest, who: &str) {
    let (_, record) = record(guest);
    let pid = record[who]["pid"].as_i64().expect("a number").to_string();
    host("kill", &["-KILL", &pid]).ok();
}

fn guard_dies(mode: Mode) {
    let guest = seasoned(mode);
    // Stop does everything without it.
    guest.start();
    kill(&guest, "guard");
    assert!(guest.is_running());
    works(&guest);
    // The guest ends by itself, and nobody is there to see it: the next command does what the guard would have done.
    for command in ["start", "stop"] {
        guest.start();
        kill(&guest, "guard");
        kill(&guest, "init");
        let done = guest.vserver(&[command]);
        assert!(command == "stop" || done.exit() == 0, "{done}");
        assert_eq!(guest.is_running(), command == "start");
        if command == "start" {
            works(&guest);
        }
        nothing_left(&guest);
    }
    // A guard that was stopped and goes on when all is over cleans nothing of the next guest.
    guest.start();
    let (_, first) = record(&guest);
    let guard = first["guard"]["pid"].as_i64().expect("a number").to_string();
    host("kill", &["-STOP", &guard]).ok();
    guest.stop();
    guest.start();
    drop(host("kill", &["-CONT", &guard]));
    assert!(guest.is_running());
    works(&guest);
    // A guest that ends by itself beside its guard is cleaned up without any command.
    guest.start();
    kill(&guest, "init");
    nothing_left(&guest);
}

fn record_dies(mode: Mode) {
    let guest = seasoned(mode);
    let original_length = {
        guest.start();
        let length = fs::read(record(&guest).0).expect("it runs").len();
        guest.stop();
        length
    };
    for cut in [0, 1, original_length / 2, original_length - 2] {
        guest.start();
        let (path, _) = record(&guest);
        let whole = fs::read(&path).expect("it runs");
        fs::write(&path, &whole[..cut]).expect("ours");
        // Whatever is asked: an answer, never a crash, and the guest itself goes on.
        for words in [&["running"][..], &["status"], &["exec", "true"]] {
            let done = guest.vserver(words);
            assert!(done.exit() < 100 || done.exit() == 255, "{done}");
        }
        drop(vserver_e2e::command::tool("vserver-stat", &[] as &[&str]));
        assert!(!groups(&guest).is_empty());
        // A record that comes back is believed again: nobody has done the guest any harm.
        fs::write(&path, &whole).expect("ours");
        is_well(&guest);
        fs::write(&path, &whole[..cut]).expect("ours");
        drop(guest.vserver(&["stop"]));
        guest.vserver(&["running"]).code(1);
        nothing_left(&guest);
    }
    for garbage in [&b"\xff\xfe\x00"[..], b"{}", b"[]", b"null", b"{\"format\": 99}", &vec![b'['; 100_000]] {
        guest.start();
        fs::write(record(&guest).0, garbage).expect("ours");
        drop(guest.vserver(&["stop"]));
        guest.vserver(&["running"]).code(1);
        nothing_left(&guest);
    }
    // A directory in its place.
    guest.start();
    let (path, _) = record(&guest);
    fs::remove_file(&path).expect("ours");
    fs::create_dir(&path).expect("ours");
    let done = guest.vserver(&["stop"]);
    assert!(done.exit() < 100, "{done}");
    drop(fs::remove_dir(&path));
    drop(guest.vserver(&["stop"]));
    guest.vserver(&["running"]).code(1);
    // A record of another boot of the host, and one whose process number belongs to somebody else now.
    for (key, value) in [("boot", "\"another\""), ("init", "{\"pid\": 1, \"start\": 1}")] {
        guest.start();
        let (path, mut text) = record(&guest);
        if key == "init" {
            text["init"]["pid"] = 1.into();
        } else {
            text[key] = serde_json::from_str(value).expect("JSON");
        }
        fs::write(&path, text.to_string()).expect("ours");
        drop(guest.vserver(&["stop"]));
        guest.vserver(&["running"]).code(1);
        nothing_left(&guest);
    }
    guest.start();
    works(&guest);
}

/// As after a reboot of the host, and as by a cleaner with too wide a pattern while the guest runs on.
fn run_is_wiped(mode: Mode) {
    let guest = seasoned(mode);
    for next in ["start", "stop"] {
        for reboot in [false, true] {
            guest.start();
            let (_, before) = record(&guest);
            if reboot {
                // Guard first: it would clean up.
                kill(&guest, "guard");
                kill(&guest, "init");
                while guest.is_running() {
                    thread::sleep(Duration::from_millis(5));
                }
            }
            for directory in ["/run/vservers", "/run/vservers.rev", "/run/vserver"] {
                host("rm", &["-rf", directory]).ok();
            }
            guest.vserver(&["running"]).code(i32::from(reboot));
            drop(guest.vserver(&[next]));
            if next == "start" {
                let (_, after) = record(&guest);
                assert_eq!(reboot, before["init"] != after["init"], "the guest was started over");
                works(&guest);
            }
            guest.vserver(&["running"]).code(1);
            nothing_left(&guest);
        }
    }
}

fn run_is_full(mode: Mode) {
    let guest = seasoned(mode);
    // Room for nothing, for directories alone, for a part of the record.
    for options in ["nr_inodes=1", "nr_inodes=2", "nr_inodes=3", "nr_inodes=4", "size=4k", "size=8k"] {
        host("mount", &["-t", "tmpfs", "-o", options, "none", "/run/vservers"]).ok();
        if options.starts_with("size") {
            drop(host("dd", &["if=/dev/zero", "of=/run/vservers/ballast", "bs=1k", "count=64"]));
        }
        let done = guest.vserver(&["start"]);
        if done.exit() == 0 {
            assert!(options.starts_with("nr_inodes=4"), "{options}: started without a record?");
            guest.stop();
        } else {
            done.complains("No space left on device");
            guest.vserver(&["running"]).code(1);
            assert!(groups(&guest).is_empty(), "{options}: {:?}", groups(&guest));
        }
        // A guest that runs is stopped although nothing can be written any more.
        host("umount", &["/run/vservers"]).ok();
    }
    guest.start();
    works(&guest);
}

fn few_descriptors(mode: Mode) {
    let guest = seasoned(mode);
    for limit in [4, 6, 8, 10, 12, 14, 17, 20, 24, 30] {
        let line = format!("ulimit -n {limit}; exec {TOOL} test start");
        let done = host("bash", &["-c", &line]);
        if done.exit() == 0 {
            works(&guest);
        } else {
            assert!(done.exit() < 101 || done.exit() == 255 || done.exit() == 127, "{limit}: {done}");
            guest.vserver(&["running"]).code(1);
        }
    }
    guest.start();
    works(&guest);
}
