//! What goes wrong: races, kills, changed and broken configurations, hostile trees, guests that end by themselves.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};
use vserver_e2e::command::{host, vserver};
use vserver_e2e::{Guest, Mode, Program, Spec, slowly};

pub fn specs() -> Vec<Spec> {
    vec![
        Spec::new("two_starts_at_once", two_starts_at_once),
        Spec::new("killed_halfway", killed_halfway),
        Spec::new("configuration_edited_while_running", configuration_edited),
        Spec::new("configuration_removed_while_running", configuration_removed),
        Spec::new("failed_start_takes_all_back", failed_start),
        Spec::new("hostile_tree", hostile_tree),
        Spec::new("random_configuration", random_configuration),
        Spec::new("wrong_contexts", wrong_contexts),
        Spec::new("guest_halts_itself", guest_halts_itself),
        Spec::new("guest_reboots_itself", guest_reboots_itself),
        Spec::new("last_daemon_ends", last_daemon_ends),
        Spec::new("guard_is_killed", guard_is_killed),
        Spec::new("stop_runs_into_its_time_limit", stop_time_limit),
        Spec::new("rescue", rescue),
        Spec::new("dry_run_needs_no_root", dry_run),
    ]
}

fn wait_until(what: &str, mut happens: impl FnMut() -> bool) {
    let until = Instant::now() + slowly(Duration::from_secs(30));
    while !happens() {
        assert!(Instant::now() < until, "{what}: not within half a minute");
        thread::sleep(Duration::from_millis(50));
    }
}

fn two_starts_at_once(mode: Mode) {
    let guest = Guest::busybox("test", mode).make();
    // Long enough for both to be under way.
    guest.set_program("scripts/pre-start", "#!/bin/sh\nsleep 0.5; echo >> /tmp/t/starts\n");
    let patience = Duration::from_mins(1);
    let both = [guest.program(&["start"]).start(), guest.program(&["start"]).start()];
    let done = both.map(|one| one.wait(patience));
    let second = done.iter().filter(|one| one.err().contains("already running")).count();
    assert_eq!(second, 1, "{}\n{}", done[0], done[1]);
    for one in &done {
        one.ok();
    }
    assert_eq!(fs::read_to_string("/tmp/t/starts").expect("one ran"), "\n", "both ran");
    let both = [guest.program(&["stop"]).start(), guest.program(&["stop"]).start()];
    let done = both.map(|one| one.wait(patience));
    let second = done.iter().filter(|one| one.err().contains("is not running")).count();
    assert_eq!(second, 1, "{}\n{}", done[0], done[1]);
}

fn killed_halfway(mode: Mode) {
    let guest = Guest::busybox("test", mode).make();
    for flavour in ["initialize", "prepre-start", "pre-start", "post-start"] {
        let item = format!("scripts/{flavour}");
        guest.set_program(&item, "#!/bin/sh\ntouch /tmp/t/there; exec sleep 3\n");
        let mut start = guest.program(&["start"]).start();
        wait_until(flavour, || Path::new("/tmp/t/there").exists());
        start.kill();
        assert_ne!(start.wait(Duration::from_secs(10)).exit(), 0);
        fs::remove_file("/tmp/t/there").expect("it was there");
        fs::remove_file(guest.configuration(&item)).expect("it was there");
        // The next command finds what is left and deals with it.
        guest.stop();
        guest.start();
        assert!(guest.is_running());
        guest.stop();
    }
}

fn configuration_edited(mode: Mode) {
    let guest = Guest::busybox("test", mode).make();
    guest.start();
    guest.set("context", "2000\n");
    guest.set("apps/init/style", "plain\n");
    guest.set("uts/nodename", "changed\n");
    guest.vserver(&["status"]).ok().says("at context '105'");
    assert_ne!(guest.sh("hostname").out(), "changed\n");
    guest.stop();
    assert!(
        guest.file("/var/log/rc").contains("rc 6"),
        "stop did not do what the start of this guest asks for"
    );
}

fn configuration_removed(mode: Mode) {
    let guest = Guest::busybox("test", mode).make();
    guest.start();
    fs::remove_dir_all("/etc/vservers/test").expect("it was there");
    guest.vserver(&["status"]).ok();
    guest.vserver(&["exec", "true"]).ok();
    guest.vserver(&["stop"]).ok();
    guest.vserver(&["running"]).code(5);
}

fn failed_start(mode: Mode) {
    // No init where the style expects one.
    let guest = Guest::busybox("test", mode).style("plain").make();
    fs::remove_file(guest.tree("/sbin/init")).expect("it was there");
    let done = guest.vserver(&["start"]);
    assert_ne!(done.exit(), 0);
    done.complains("/sbin/init")
        .complains("No such file or directory")
        .complains("Failed to start vserver 'test'");
    assert!(!guest.is_running());
    // An unknown style, an unreadable tree, none at all.
    guest.set("apps/init/style", "fancy\n");
    guest.vserver(&["start"]).code(1).complains("Unknown init-style 'fancy'; aborting");
    guest.set("apps/init/style", "plain\n");
    fs::remove_dir_all("/vservers/test").expect("it was there");
    let done = guest.vserver(&["start"]);
    assert_ne!(done.exit(), 0);
    done.complains("/vservers/test");
    fs::write("/vservers/test", "a file").expect("/vservers is ours");
    let done = guest.vserver(&["start"]);
    assert_ne!(done.exit(), 0);
    done.complains("/vservers/test");
}

/// A tree whose owner replaced the directories that the start mounts and writes to by links to the host's.
fn hostile_tree(mode: Mode) {
    for (number, path) in
        ["dev", "proc", "etc", "sbin/init", "tmp", "run", "var/run", "var/lock", "var", "dev/pts", "sys"]
            .iter()
            .enumerate()
    {
        let name = format!("test{number}");
        let guest = Guest::busybox(&name, mode).style("plain").make();
        let victim = "/tmp/t/victim";
        fs::create_dir_all(format!("{victim}/pts")).expect("/tmp is ours");
        fs::write(format!("{victim}/mtab"), "precious").expect("/tmp is ours");
        host("touch", &["-d", "2000-01-01", victim, "/tmp/t/victim/mtab", "/tmp/t/victim/pts"]).ok();
        let look = || host("find", &[victim, "-printf", "%p %y %m %T@ %s\n"]).out();
        let before = look();
        let inside = guest.tree(path);
        host("rm", &["-rf", inside.to_str().expect("ASCII")]).ok();
        symlink(victim, &inside).expect("the tree is ours");
        let started = guest.vserver(&["start"]);
        if started.exit() == 0 {
            drop(guest.vserver(&["exec", "/bin/busybox", "true"]));
            guest.vserver(&["stop"]).ok();
        } else {
            assert!(!started.err().trim().is_empty(), "{path}: refused without a word");
        }
        assert!(!guest.is_running());
        assert_eq!(look(), before, "{path}: written outside the guest");
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("/proc is mounted");
        assert!(!mounts.contains(victim), "{path}: mounted outside the guest");
        guest.remove_by_hand();
    }
}

/// Bytes of no meaning in every file a configuration can have: an error that names the file, or a start.
fn random_configuration(mode: Mode) {
    let items = [
        "context",
        "fstab",
        "fstab.remote",
        "bcapabilities",
        "ccapabilities",
        "cflags",
        "flags",
        "nflags",
        "personality",
        "nice",
        "ionice/class",
        "uts/nodename",
        "uts/machine",
        "apps/init/style",
        "apps/init/environment",
        "apps/init/cmd.start",
        "apps/init/runlevel",
        "apps/init/killseq",
        "rlimits/nproc",
        "ulimits/nofile.hard",
        "interfaces/0/ip",
        "interfaces/0/dev",
        "spaces/user",
        "shell",
        "name",
        "apps/vshelper/sync-timeout",
        "sysctl/0/value",
        "cgroup/memory.max",
        "schedule",
        "umask",
        "ncontext",
        "badness",
    ];
    let guest = Guest::busybox("test", mode).make();
    let original = "/tmp/t/original";
    host("cp", &["-a", "/etc/vservers/test", original]).ok();
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    for item in items {
        let bytes: Vec<u8> = (0..200)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state.to_le_bytes()[0]
            })
            .collect();
        guest.set(item, "");
        fs::write(guest.configuration(item), bytes).expect("/etc/vservers is ours");
        let check = guest.vserver(&["check"]);
        assert!([0, 1].contains(&check.exit()), "{item}\n{check}");
        let start = guest.vserver(&["start"]);
        assert!(start.exit() < 100 || start.exit() == 255, "{item}: {start}");
        if start.exit() != 0 {
            assert!(!start.err().trim().is_empty(), "{item}: failed without a word");
        } else if guest.is_running() {
            guest.vserver(&["stop"]).ok();
        }
        host("rm", &["-rf", "/etc/vservers/test"]).ok();
        host("cp", &["-a", original, "/etc/vservers/test"]).ok();
    }
    guest.start();
    guest.stop();
}

fn wrong_contexts(mode: Mode) {
    let guest = Guest::busybox("test", mode).make();
    for wrong in ["0", "1", "70000", "abc", "-3", "105 106"] {
        guest.set("context", &format!("{wrong}\n"));
        let done = guest.vserver(&["start"]);
        assert_ne!(done.exit(), 0, "{wrong:?} was accepted");
        done.complains("/etc/vservers/test/context");
        guest.vserver(&["check"]).code(1);
    }
    guest.set("context", "105\n");
    let other = Guest::busybox("other", mode).make();
    other.start();
    let done = guest.vserver(&["start"]);
    assert_ne!(done.exit(), 0, "a used context was accepted");
    done.complains("105").complains("other");
    guest.vserver(&["check"]).code(1);
    assert!(other.is_running());
    other.stop();
}

fn gone(guest: &Guest) {
    wait_until("the guest's end", || !guest.is_running());
    wait_until("the clean-up", || !Path::new("/var/run/vservers/test").exists());
}

fn guest_halts_itself(mode: Mode) {
    let guest = Guest::busybox("test", mode).style("plain").make();
    guest.start();
    drop(guest.sh("poweroff"));
    gone(&guest);
    assert!(guest.file("/var/log/boot").contains("down"));
    // And without asking its init.
    guest.start();
    drop(guest.sh("poweroff -f"));
    gone(&guest);
}

fn guest_reboots_itself(mode: Mode) {
    let guest = Guest::busybox("test", mode).style("plain").make();
    guest.start();
    let booted = || guest.file("/var/log/boot").matches("booted").count();
    wait_until("the first boot", || booted() == 1);
    drop(guest.sh("reboot"));
    wait_until("the second boot", || booted() == 2);
    wait_until("the start's end", || guest.is_running() && guest.vserver(&["exec", "true"]).exit() == 0);
    guest.stop();
}

fn last_daemon_ends(mode: Mode) {
    let guest = Guest::busybox("test", mode).make();
    guest.start();
    drop(guest.sh("killall sleep"));
    gone(&guest);
}

/// The guard is a convenience: without it the guest runs on, and is stopped as ever.
fn guard_is_killed(mode: Mode) {
    let guest = Guest::busybox("test", mode).make();
    guest.start();
    // The parent of the guest's first process.
    let line = "for s in /proc/[0-9]*/status; do grep -q '^NSpid:.*[[:space:]]1$' $s || continue; \
                set -- $(grep ^PPid: $s); [ $2 -gt 1 ] && kill -9 $2 && echo $2; done";
    let killed = host("bash", &["-c", line]);
    assert_eq!(killed.out().lines().count(), 1, "{killed}");
    assert!(guest.is_running());
    guest.vserver(&["exec", "true"]).ok();
    guest.vserver(&["status"]).ok();
    guest.stop();
}

fn stop_time_limit(mode: Mode) {
    let guest = Guest::busybox("test", mode).style("plain").make();
    guest.put("/etc/inittab", "::respawn:/bin/sleep 100000\n");
    guest.set("apps/vshelper/sync-timeout", "1\n");
    guest.start();
    let done = guest.stop();
    done.complains("SIGKILL").complains("sync-timeout");
}

fn rescue(mode: Mode) {
    let guest = Guest::busybox("test", mode).style("plain").make();
    fs::remove_file(guest.tree("/sbin/init")).expect("it was there");
    guest.vserver(&["start", "--rescue", "--rescue-init", "/bin/sleep", "500"]).ok();
    guest.sh("ps | grep '[s]leep 500'").ok();
    guest.vserver(&["stop", "--rescue-init"]).ok();
    assert!(!guest.is_running());
}

fn dry_run(mode: Mode) {
    let guest = Guest::busybox("test", mode).make();
    let look = || {
        host(
            "find",
            &["/etc/vservers", "/vservers", "/run/vservers", "/run/vserver", "-printf", "%p %y %T@\n"],
        )
        .out()
    };
    let before = look();
    let text = guest.vserver(&["start", "--dry-run"]);
    text.ok();
    assert!(text.out().lines().count() > 10, "{text}");
    let json = guest.vserver(&["start", "--dry-run", "--json"]);
    json.ok();
    assert!(serde_json::from_slice::<serde_json::Value>(&json.stdout).is_ok(), "{json}");
    // As nobody: what the program needs is world readable.
    host("cp", &["/run/e2e/bin/vserver", "/tmp/t/vserver"]).ok();
    let words =
        ["--reuid=65534", "--regid=65534", "--clear-groups", "/tmp/t/vserver", "test", "start", "--dry-run"];
    Program::of_host("setpriv").args(&words).directory("/").run().ok();
    assert_eq!(look(), before);
    vserver(&["test", "running"]).code(1);
}
