//! What guests print on their consoles, what happened to them, and what they ask for with reboot(2).

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::{Duration, Instant};
use vserver_e2e::command::{Program, host, vserver};
use vserver_e2e::{Guest, Mode, Spec, Terminal, slowly};

pub fn specs() -> Vec<Spec> {
    vec![
        Spec::new("console_is_logged", logged),
        Spec::new("console_of_a_failed_start_is_kept", of_a_failed_start),
        Spec::new("console_cannot_fill_the_disk", flood),
        Spec::new("console_attached_by_two", attached),
        Spec::new("console_fifo_of_the_tree_s51", fifo),
        Spec::new("events_of_a_guests_life", events),
        Spec::new("events_reach_the_journal", journal).once(),
        Spec::new("vshelper_programs_of_the_administrator", programs),
        Spec::new("vshelper_quarantine", quarantine),
        Spec::new("vshelper_request_survives_its_process", request_survives),
    ]
}

#[track_caller]
fn soon(what: &str, mut happens: impl FnMut() -> bool) {
    let until = Instant::now() + slowly(Duration::from_mins(1));
    while !happens() {
        assert!(Instant::now() < until, "not yet: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Texts of the console's lines, without times.
fn texts(guest: &Guest, words: &[&str]) -> Vec<String> {
    let done = guest.vserver(&[&["logs"], words].concat());
    let text = done.ok().out();
    text.lines()
        .map(
            |line| {
                if line.starts_with("-- ") { line } else { line.split_once(' ').map_or("", |(_, text)| text) }
            },
        )
        .map(str::to_owned)
        .collect()
}

fn logged(mode: Mode) {
    let guest = Guest::busybox("test", mode).make();
    guest.vserver(&["logs"]).ok().says_exactly("");
    let daemon = guest.file("/etc/rc.start");
    guest.put("/etc/rc.start", &format!("echo from the rc script; printf 'no newline'\n{daemon}"));
    let start = guest.start();
    start.says("from the rc script\n");
    guest
        .sh("printf ' joined\\n\\033[2Jclears\\n' > /dev/console; printf 'a\\tb\\233c\\r\\n' > /dev/console")
        .ok();
    let all = ["-- boot 1 --", "from the rc script", "no newline joined", "\\x1b[2Jclears", "a\tb\\x9bc"];
    soon("all of it is logged", || texts(&guest, &[]).len() == all.len());
    assert_eq!(texts(&guest, &[]), all);
    // Nothing in it is an order to a terminal, in JSON neither.
    let raw = guest.vserver(&["logs"]).out() + &guest.vserver(&["logs", "--json"]).out();
    assert!(!raw.chars().any(|c| c.is_control() && c != '\n' && c != '\t'), "{raw:?}");
    guest.stop();
    guest.put("/etc/rc.start", &format!("echo second\necho -- boot 7 --\n{daemon}"));
    guest.start();
    assert_eq!(texts(&guest, &["--boot", "0"]), ["-- boot 2 --", "second", "-- boot 7 --"]);
    assert_eq!(texts(&guest, &["--boot", "-1"]), all);
    assert_eq!(texts(&guest, &["--boot", "1", "-n", "1"]), ["-- boot 1 --", "a\tb\\x9bc"]);
    assert_eq!(texts(&guest, &["--since", "1d", "-n", "2"]), ["-- boot 2 --", "second", "-- boot 7 --"]);
    assert_eq!(texts(&guest, &["--since", "2999-01-01"]), [""; 0]);
    guest.vserver(&["logs", "--boot", "9"]).code(1).complains("no log of boot 9").complains("kept are: 1, 2");
    guest.vserver(&["logs", "--since", "soon"]).code(1).complains("'soon' is not a time");
    let json = guest.vserver(&["logs", "--json", "--boot", "2"]).out();
    let first: serde_json::Value = serde_json::from_str(json.lines().next().expect("a line")).expect("JSON");
    assert_eq!((first["boot"].as_u64(), first["text"].as_str()), (Some(2), Some("second")));
    // Followed over a boot.
    let follower = guest.program(&["logs", "-f", "-n", "0"]).start();
    guest.sh("echo followed > /dev/console").ok();
    guest.stop();
    guest.start();
    let seen = || host("cat", &[&format!("/run/e2e/{}", newest_output())]).out();
    soon("the next boot is followed", || seen().contains("-- boot 3 --") && seen().contains("second"));
    assert!(seen().contains(" followed\n"), "{}", seen());
    let mut follower = follower;
    follower.kill();
    drop(follower.wait(Duration::from_secs(30)));
    guest.stop();
    // It is nobody else's to read, and goes with the guest.
    let mode = host("stat", &["-c", "%a", "/var/log/vservers/test"]).out();
    assert_eq!(mode, "700\n");
    vserver(&["--silent", "test", "delete"]).ok();
    assert!(!Path::new("/var/log/vservers/test").exists());
}

/// The file that the last program that follows writes to: the one with the lines of a boot.
fn newest_output() -> String {
    let entries = fs::read_dir("/run/e2e").expect("the harness made it");
    let mut names: Vec<(std::time::SystemTime, String)> = entries
        .flatten()
        .filter_map(|entry| {
            Some((entry.metadata().ok()?.modified().ok()?, entry.file_name().into_string().ok()?))
        })
        .filter(|(_, name)| {
            fs::read_to_string(format!("/run/e2e/{name}")).is_ok_and(|text| text.contains("-- boot 3 --"))
        })
        .collect();
    names.sort();
    names.pop().map_or_else(|| "none.out".into(), |(_, name)| name)
}

fn of_a_failed_start(mode: Mode) {
    let guest = Guest::busybox("test", mode).make();
    guest.put("/etc/rc.start", "echo what is wrong; exit 3\n");
    guest.vserver(&["start"]).code(3);
    assert_eq!(texts(&guest, &[]), ["-- boot 1 --", "what is wrong"]);
    let events = vserver(&["events"]);
    events.ok().says(" test start-failed An error occured while executing the vserver startup sequence");
    // Eight boots are kept.
    for _ in 0..9 {
        guest.vserver(&["start"]).code(3);
    }
    let kept = fs::read_dir("/var/log/vservers/test").expect("made").count();
    assert_eq!(kept, 8);
    assert_eq!(texts(&guest, &["--boot", "-7"])[0], "-- boot 3 --");
}

fn flood(mode: Mode) {
    let guest = Guest::busybox("test", mode).make();
    let daemon = guest.file("/etc/rc.start");
    let flood = "yes 0123456789 | head -c 2000000";
    guest.put("/etc/rc.start", &format!("{flood}; echo; echo rc is over\n{daemon}"));
    guest.start();
    let size = || -> u64 {
        let entries = fs::read_dir("/var/log/vservers/test").expect("made");
        entries.flatten().map(|entry| entry.metadata().expect("there").len()).sum()
    };
    assert!(size() > 256 * 1024 && size() < 600 * 1024, "{}", size());
    assert_eq!(texts(&guest, &["-n", "1"])[1], "rc is over");
    guest.sh(&format!("{{ {flood}; echo; echo the guard is through; }} > /dev/console")).ok();
    soon("the last line is logged", || texts(&guest, &["-n", "1"])[1] == "the guard is through");
    assert!(size() > 256 * 1024 && size() < 600 * 1024, "{}", size());
    guest.stop();
}

fn attached(mode: Mode) {
    let guest = Guest::busybox("test", mode).style("plain").make();
    guest.put(
        "/etc/inittab",
        "::sysinit:/bin/sh /etc/rc.boot\nconsole::respawn:/bin/sh -c 'echo ready; while read x; do echo \"got $x\"; done'\n\
         ::ctrlaltdel:/sbin/reboot\n",
    );
    guest.vserver(&["console"]).code(1).complains("'test' does not run");
    guest.start();
    soon("the guest's program is there", || texts(&guest, &[]).iter().any(|line| line == "ready"));
    let mut one = Terminal::start(guest.program(&["console"]));
    let mut two = Terminal::start(guest.program(&["console"]));
    one.expect("Ctrl-] three times detaches");
    two.expect("Ctrl-] three times detaches");
    one.send("first\r");
    one.expect("got first");
    two.expect("got first");
    two.send("second\r");
    one.expect("got second");
    // It comes as it is printed: escape sequences, and no times of the log.
    guest.sh("printf '\\033[1mbold\\r\\n' > /dev/console").ok();
    two.expect("\u{1b}[1mbold");
    one.send("\u{1d}\u{1d}\u{1d}");
    one.expect("detached");
    assert_eq!(one.end(), 0);
    assert!(guest.is_running());
    two.send("third\r");
    two.expect("got third");
    guest.stop();
    two.expect("the guest has ended");
    assert_eq!(two.end(), 0);
}

/// S51: the host's syslog reads a fifo in the place of the console. A reader that is missing keeps nobody from starting.
fn fifo(mode: Mode) {
    let guest = Guest::busybox("test", mode).style("plain").make();
    host("mkfifo", &["/vservers/test/dev/console"]).ok();
    guest.put("/etc/rc.boot", "echo booted >> /var/log/boot\n(echo to the fifo > /dev/console) &\n");
    guest.start();
    soon("it has booted without a reader", || guest.file("/var/log/boot").contains("booted"));
    let read = Program::of_host("timeout").args(&["60", "head", "-n", "1", "/vservers/test/dev/console"]);
    read.run().ok().says_exactly("to the fifo\n");
    guest.stop();
    host("test", &["-p", "/vservers/test/dev/console"]).ok();
}

fn words_of(done: &vserver_e2e::Done) -> Vec<String> {
    done.ok().out().lines().filter_map(|line| Some(line.split(' ').nth(2)?.to_owned())).collect()
}

fn events(mode: Mode) {
    let guest = Guest::busybox("test", mode).style("plain").make();
    vserver(&["events"]).ok().says_exactly("");
    guest.start();
    drop(guest.sh("reboot -f"));
    soon("it runs again", || words_of(&vserver(&["events"])) == ["started", "reboot", "started"]);
    soon("it can be entered", || guest.sh("true").exit() == 0);
    drop(guest.sh("halt -f"));
    soon("it has ended", || {
        !guest.is_running() && words_of(&vserver(&["events"])).last().is_some_and(|word| word == "halt")
    });
    guest.start();
    guest.stop();
    assert_eq!(
        words_of(&vserver(&["events"])),
        ["started", "reboot", "started", "halt", "started", "stopped"]
    );
    vserver(&["events", "--guest", "other"]).ok().says_exactly("");
    vserver(&["events", "--since", "2999-01-01"]).ok().says_exactly("");
    let json = vserver(&["events", "--json", "--since", "1h"]).out();
    let last: serde_json::Value = serde_json::from_str(json.lines().last().expect("a line")).expect("JSON");
    assert_eq!(
        (last["guest"].as_str(), last["xid"].as_u64(), last["event"].as_str()),
        (Some("test"), Some(105), Some("stopped"))
    );
    // A guest that is killed from outside while its guard is dead: nobody has seen it, and the next command says so.
    guest.start();
    let record = fs::read("/run/vservers/.state/test/record").expect("it runs");
    let record: serde_json::Value = serde_json::from_slice(&record).expect("JSON");
    for who in ["guard", "init"] {
        host("kill", &["-9", &record[who]["pid"].to_string()]).ok();
    }
    soon("it is gone", || !guest.is_running());
    guest.stop();
    assert_eq!(words_of(&vserver(&["events"])).last().map(String::as_str), Some("ended"));
    // What it ran into is told when it has ended.
    guest.set("rlimits/nproc", "12\n");
    guest.start();
    drop(guest.sh("for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14; do sleep 1000 & done; true"));
    guest.stop();
}

fn journal(mode: Mode) {
    let guest = Guest::busybox("test", mode).make();
    fs::create_dir_all("/run/systemd/journal").expect("/run is ours");
    let socket = UnixDatagram::bind("/run/systemd/journal/socket").expect("/run is ours");
    guest.start();
    let mut entry = vec![0; 4096];
    let count = socket.recv(&mut entry).expect("an entry");
    let text = String::from_utf8_lossy(&entry[..count]).into_owned();
    for line in
        ["MESSAGE=guest 'test' started\n", "VSERVER_GUEST=test\n", "VSERVER_XID=105\n", "PRIORITY=6\n"]
    {
        assert!(text.contains(line), "{text}");
    }
    // Nobody listens any more: that holds nothing up.
    drop(socket);
    guest.stop();
    fs::remove_dir_all("/run/systemd").expect("/run is ours");
}

fn programs(mode: Mode) {
    let guest = Guest::busybox("test", mode).style("plain").make();
    let defaults = Path::new("/etc/vservers/.defaults/apps");
    fs::create_dir_all(defaults.join("vshelper")).expect("/etc/vservers is ours");
    std::os::unix::fs::symlink("/tmp/t/helper.log", defaults.join("vshelper/logfile"))
        .expect("/etc/vservers is ours");
    let told = || fs::read_to_string("/tmp/t/helper.log").unwrap_or_default();
    // A program of the guest's for one event.
    guest.set_program("apps/vshelper/halt", "#!/bin/sh\necho \"own $1 $2 $VSERVER_NAME\"\n");
    guest.start();
    drop(guest.sh("halt -f"));
    soon("the program ran", || told().contains("own halt 105 test\n"));
    soon("that is an event", || words_of(&vserver(&["events"])).last().is_some_and(|word| word == "handler"));
    // An action by name, first the guest's own, then the site's.
    fs::create_dir_all(defaults.join("vshelper-methods")).expect("/etc/vservers is ours");
    let method = "#!/bin/sh\necho \"$0 $1\"; exit 3\n";
    fs::write(defaults.join("vshelper-methods/tell"), method).expect("/etc/vservers is ours");
    host("chmod", &["755", "/etc/vservers/.defaults/apps/vshelper-methods/tell"]).ok();
    guest.set("apps/vshelper/action", "tell\n");
    guest.start();
    drop(guest.sh("reboot -f"));
    soon("the site's program ran", || told().contains("/.defaults/apps/vshelper-methods/tell restart\n"));
    soon("its failure is an event", || {
        vserver(&["events"]).out().contains("tell for restart: exit status: 3")
    });
    assert!(!guest.is_running());
    // A plain end: event shutdown. The delegate of the site takes the place of everything.
    guest.set_program("apps/vshelper/shutdown", "#!/bin/sh\necho own shutdown\n");
    guest.start();
    let init = fs::read_to_string("/run/vservers/.state/test/record").expect("it runs");
    let init: serde_json::Value = serde_json::from_str(&init).expect("JSON");
    host("kill", &["-9", &init["init"]["pid"].to_string()]).ok();
    soon("the program ran", || told().contains("own shutdown\n"));
    soon("nobody is at it any more", || !Path::new("/run/vshelper/105").exists());
    guest.stop();
}

fn quarantine(mode: Mode) {
    let guest = Guest::busybox("test", mode).style("plain").make();
    guest.start();
    guest.sh("printf 'the last word\\033[1m\\n' > /dev/console").ok();
    soon("it is logged", || texts(&guest, &[]).iter().any(|line| line.starts_with("the last word")));
    // As if it had done so ten times in the last minutes.
    let now = vserver(&["events", "--json"]).out();
    let line = now.lines().last().expect("started").replace("\"started\"", "\"reboot\"");
    let before = format!("{now}{}", format!("{line}\n").repeat(10));
    fs::write("/var/log/vservers/.events", before).expect("ours");
    drop(guest.sh("reboot -f"));
    soon("it is left alone", || words_of(&vserver(&["events"])).iter().any(|word| word == "quarantined"));
    let told = vserver(&["events"]).out();
    assert!(
        told.contains("quarantined 11 reboots in 10 minutes")
            && told.contains("\n      the last word\\x1b[1m"),
        "{told}"
    );
    assert!(!guest.is_running());
    soon("nobody is at it any more", || !Path::new("/run/vshelper/105").exists());
    // Whoever starts it begins anew.
    guest.start();
    drop(guest.sh("reboot -f"));
    soon("it runs again", || {
        words_of(&vserver(&["events"])).iter().filter(|word| *word == "started").count() == 3
    });
    soon("it can be entered", || guest.sh("true").exit() == 0);
    guest.stop();
}

/// Whoever was about to restart the guest is killed: the next command has it done. A stop makes it void.
fn request_survives(mode: Mode) {
    let guest = Guest::busybox("test", mode).make();
    fs::create_dir_all("/run/vshelper").expect("/run is ours");
    let request = || fs::write("/run/vshelper/105", "/etc/vservers/test\n2 1\n").expect("/run is ours");
    request();
    guest.vserver(&["stop"]).ok();
    assert!(!Path::new("/run/vshelper/105").exists());
    assert!(!guest.is_running());
    request();
    guest.vserver(&["status"]).code(3);
    soon("it runs", || guest.is_running());
    soon("the request is done", || !Path::new("/run/vshelper/105").exists());
    guest.stop();
}
