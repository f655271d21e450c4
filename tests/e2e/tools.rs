//! The programs beside `vserver`: what they show of a running guest, and what they do to it from outside.

use std::fs;
use std::path::Path;
use std::time::Duration;
use vserver_e2e::command::{Program, host, tool, vserver};
use vserver_e2e::{Guest, Mode, Spec, Terminal};

pub fn specs() -> Vec<Spec> {
    vec![
        Spec::new("tools_stat", stat),
        Spec::new("tools_list", list),
        Spec::new("tools_info", info),
        Spec::new("tools_processes", processes),
        Spec::new("tools_kill", kill),
        Spec::new("tools_wait", wait),
        Spec::new("tools_names", names),
        Spec::new("tools_host_view", host_view),
        Spec::new("tools_mount", mount),
        Spec::new("tools_many_guests", many_guests),
        Spec::new("tools_terminal", terminal).once(),
        Spec::new("tools_files", files).once(),
        Spec::new("tools_delete", delete),
    ]
}

fn json(done: &vserver_e2e::Done) -> serde_json::Value {
    serde_json::from_str(done.ok().out().as_str()).expect("JSON")
}

fn stat(mode: Mode) {
    let guest = Guest::busybox("test", mode).make();
    let header = "CTX   PROC    VSZ    RSS  userTIME   sysTIME    UPTIME NAME\n";
    let before = tool("vserver-stat", &[] as &[&str]);
    assert!(before.ok().out().starts_with(header), "{before}");
    assert_eq!(before.out().lines().count(), 2, "only the host: {before}");
    guest.start();
    let done = tool("vserver-stat", &["--sort", "whatever"]);
    let text = done.ok().out();
    let line = text.lines().find(|line| line.starts_with("105  ")).expect("a line of the guest");
    assert_eq!(&line[55..], "test");
    let count: u64 = line[5..10].trim().parse().expect("PROC");
    assert!((1..=3).contains(&count), "{line}");
    for (field, wide) in [(10..17, 7), (17..24, 7), (24..34, 10), (34..44, 10), (44..54, 10)] {
        assert_eq!(line[field.clone()].len(), wide);
        assert!(!line[field].trim().is_empty(), "{line}");
    }
    assert!(text.lines().any(|line| line.starts_with("0    ") && line.ends_with(" root server")), "{text}");
    let contexts = json(&tool("vserver-stat", &["--json"]));
    let own =
        contexts.as_array().expect("a list").iter().find(|context| context["xid"] == 105).expect("the guest");
    assert_eq!(own["name"], "test");
    tool("vserver-stat", &["--xids"]).ok().says_exactly("105\n");
    guest.stop();
    tool("vserver-stat", &["--xids"]).ok().says_exactly("");
}

fn list(mode: Mode) {
    let guest = Guest::busybox("test", mode).make();
    let one = |done: &vserver_e2e::Done| json(done).as_array().expect("a list")[0].clone();
    let stopped = one(&vserver(&["list", "--json"]));
    assert_eq!((&stopped["name"], &stopped["running"]), (&"test".into(), &false.into()));
    guest.start();
    let running = one(&vserver(&["list", "--json"]));
    assert_eq!((&running["xid"], &running["running"]), (&105.into(), &true.into()));
    vserver(&["list"]).ok().says("running");
    vserver(&["--list-guests"]).ok().says_exactly("test\n");
    let status = json(&guest.vserver(&["status", "--json"]));
    assert_eq!(status["running"], true);
    // The number of a running context stands for its guest.
    vserver(&["105", "status"]).ok().says("is running at context '105'");
    guest.stop();
    vserver(&["105", "status"]).code(5);
}

fn info(mode: Mode) {
    let guest = Guest::busybox("test", mode).make();
    let ask = |words: &[&str]| tool("vserver-info", words);
    ask(&["test", "CONTEXT"]).ok().says_exactly("105\n");
    ask(&["test", "CONTEXT", "0"]).code(1).says_exactly("");
    ask(&["test", "RUNNING"]).code(1).says_exactly("");
    guest.start();
    ask(&["test", "CONTEXT", "0"]).ok().says_exactly("105\n");
    ask(&["test", "RUNNING"]).ok().says_exactly("1\n");
    ask(&["105", "ID"]).ok().says_exactly("/etc/vservers/test\n");
    ask(&["test", "VDIR", "1"]).ok().says_exactly("/vservers/test\n");
    let init = ask(&["105", "INITPID"]);
    let init = init.ok().out().trim().to_owned();
    assert!(Path::new("/proc").join(&init).exists(), "{init}");
    ask(&[&init, "XID"]).ok().says_exactly("105\n");
    ask(&[&init, "INITPID_PID"]).ok().says_exactly(&format!("{init}\n"));
    ask(&["self", "XID"]).ok().says_exactly("0\n");
    ask(&["105", "UTS", "context"]).ok().says_exactly("/etc/vservers/test\n");
    ask(&["-q", "test", "NAME"]).ok().says_exactly("");
    ask(&["-", "SYSINFO"]).ok().says("Versions:\n                   Kernel: ");
    guest.stop();
    ask(&["105", "INITPID"]).code(1).says_exactly("");
}

fn processes(mode: Mode) {
    let guest = Guest::busybox("test", mode).make();
    guest.start();
    let done = tool("vps", &["ax", "-o", "pid,args"]);
    let text = done.ok().out();
    assert!(text.lines().next().expect("a header").contains("PID CONTEXT             COMMAND"), "{text}");
    let daemon = text.lines().find(|line| line.ends_with("sleep 100000")).expect("the guest's daemon");
    assert!(daemon.contains("   105 test          "), "{daemon}");
    let own = text.lines().find(|line| line.contains("vps ax")).expect("the host's process");
    assert!(own.contains("     0 MAIN "), "{own}");
    assert!(!text.contains(" ERR "), "ps itself is still there when it is looked up: {text}");
    tool("vps", &["-o", "args"]).code(254).complains("no column PID");
    tool("vpstree", &["-V"]).ok();
    guest.stop();
}

fn kill(mode: Mode) {
    let guest = Guest::busybox("test", mode).make();
    guest.start();
    let own = std::process::id().to_string();
    tool("vkill", &["-s", "0", "-c", "test", &own]).code(1).complains("is not in context 105");
    let init = tool("vserver-info", &["test", "INITPID"]);
    tool("vkill", &["-s", "0", "--xid", "105", "1"]).ok();
    tool("vkill", &["-s", "SIGKILL", "--", init.out().trim()]).ok();
    until_ended();
    assert!(!guest.is_running());
    tool("vkill", &["-c", "test"]).code(1).complains("context 105 (test) is not running");
    guest.vserver(&["stop"]).ok();
    // Every process at once.
    guest.start();
    tool("vkill", &["-c", "test", "-s", "KILL"]).ok();
    until_ended();
    assert!(!guest.is_running());
    guest.vserver(&["stop"]).ok();
}

/// Waits for the end of context 105, which may be over already.
fn until_ended() {
    let done = tool("vwait", &["--timeout", "30", "105"]);
    assert!([0, 127].contains(&done.exit()), "{done}");
}

fn wait(mode: Mode) {
    let guest = Guest::busybox("test", mode).make();
    guest.start();
    tool("vwait", &["--timeout", "1", "test"]).code(2);
    let waiting = Program::named("vwait").args(&["test"]).start();
    guest.stop();
    waiting.wait(Duration::from_mins(1)).ok();
    guest.start();
    let line = "vwait --timeout 1 --terminate --status-fd 3 test 3>/tmp/t/outcome; echo $?";
    let shell = Program::of_host("sh").args(&["-c", line]).env("PATH", "/run/e2e/bin:/usr/bin:/bin").run();
    shell.ok().says_exactly("1\n");
    assert_eq!(fs::read_to_string("/tmp/t/outcome").expect("written"), "KILLED\n");
    guest.vserver(&["stop"]).ok();
    tool("vwait", &["test"]).code(127);
}

fn names(mode: Mode) {
    let guest = Guest::busybox("test", mode).make();
    guest.set("uts/nodename", "test.example\n");
    guest.start();
    tool("vuname", &["--xid", "105", "NODE"]).ok().says_exactly("test.example\n");
    tool("vuname", &["-g", "--xid", "test", "CONTEX"]).ok().says_exactly("/etc/vservers/test\n");
    tool("vuname", &["-s", "--xid", "test", "-t", "nodename=other.example", "--", "echo", "chained"])
        .ok()
        .says_exactly("chained\n");
    guest.sh("hostname").ok().says_exactly("other.example\n");
    let own = host("hostname", &[] as &[&str]);
    assert_ne!(own.out(), "other.example\n", "the host's own name was changed");
    tool("vuname", &["-s", "--xid", "test", "-t", "machine=vax"]).code(255).complains("cannot set machine");
    guest.stop();
}

/// S73: the recipe that releases a mount of the host which a guest keeps busy.
fn host_view(mode: Mode) {
    let guest = Guest::busybox("test", mode).make();
    guest.start();
    let mounts = tool("vnamespace", &["-e", "105", "--", "cat", "/proc/mounts"]);
    assert!(mounts.ok().out().contains(" /vservers/test/tmp "), "{mounts}");
    let own = host("cat", &["/proc/mounts"]);
    assert!(!own.ok().out().contains("/vservers/test/tmp"), "{own}");
    // The host's program and paths, not the guest's.
    tool("vnamespace", &["-e", "test", "--", "test", "-d", "/etc/vservers/test"]).ok();
    tool("vnamespace", &["-e", "test", "--", "sh", "-c", "exit 9"]).code(9);
    tool("vspace", &["--enter", "test", "--pid", "--", "true"]).code(255).complains("pid namespace");
    tool("vspace", &["--new", "--uts", "--", "sh", "-c", "hostname inner; hostname"])
        .ok()
        .says_exactly("inner\n");
    tool("vspace", &["--new", "--pid", "--mount", "--", "sh", "-c", "echo $$; kill -TERM 1; exit 4"]).code(4);
    guest.stop();
    tool("vnamespace", &["-e", "105", "--", "true"]).code(255).complains("not running");
}

fn mount(mode: Mode) {
    let guest = Guest::busybox("test", mode).make();
    fs::create_dir_all("/tmp/t/pool").expect("/tmp is ours");
    fs::write("/tmp/t/pool/file", "of the host\n").expect("ours");
    for directory in ["mnt", "memory"] {
        fs::create_dir_all(guest.tree(directory)).expect("the tree is ours");
    }
    std::os::unix::fs::symlink("/tmp/t/pool", guest.tree("out")).expect("the tree is ours");
    guest.start();
    let mounts = |words: &[&str]| tool("vmount", &[&["test", "--"], words].concat());
    mounts(&["--bind", "/tmp/t/pool", "/mnt"]).ok();
    guest.sh("cat /mnt/file").ok().says_exactly("of the host\n");
    mounts(&["-o", "remount,ro", "/mnt"]).ok();
    assert_ne!(guest.sh("echo x > /mnt/file").exit(), 0);
    mounts(&["-t", "tmpfs", "-o", "size=64k", "none", "/memory"]).ok();
    guest.sh("echo x > /memory/y").ok();
    guest.sh("grep ' /mnt ' /proc/mounts").ok().says("nodev");
    // A link in the guest's tree leads nowhere outside.
    mounts(&["--bind", "/tmp/t/pool", "/out"])
        .code(1)
        .complains("cannot find the mount point /out in the guest");
    mounts(&["--bind", "/tmp/t/nothing", "/mnt"]).code(1).complains("/tmp/t/nothing");
    let own = host("cat", &["/proc/mounts"]);
    assert!(!own.ok().out().contains("pool"), "{own}");
    assert_eq!(fs::read_to_string("/tmp/t/pool/file").expect("still there"), "of the host\n");
    guest.stop();
}

fn many_guests(mode: Mode) {
    let first = Guest::busybox("first", mode).make();
    let second = Guest::busybox("second", mode).xid(106).make();
    second.set("apps/init/mark", "default\n");
    first.start();
    let done = tool("vsomething", &["vserver", "--all", "--", "status"]);
    done.code(3)
        .says("vserver: operating on vserver first\nVserver 'first' is running at context '105'\n")
        .says("vserver: operating on vserver second\nVserver 'second' is stopped\n\n")
        .complains("vserver failed on vserver 'second' with errorcode 3");
    tool("vsomething", &["-q", "echo", "--running", "--", "x"]).ok().says_exactly("first x\n");
    tool("vsomething", &["echo", "--mark", "default", "--stopped"]).ok().says_exactly("second\n");
    tool("vsomething", &["echo", "--running", "--stopped"]).code(255);
    first.stop();
}

fn terminal(_mode: Mode) {
    let shell = ["-c", "stty size; test -t 0 && echo T$((6*7)); exit 5"];
    let mut terminal = Terminal::start(Program::named("vlogin").args(&[&["--", "sh"], &shell[..]].concat()));
    terminal.expect("24 80");
    terminal.expect("T42");
    assert_eq!(terminal.end(), 5);
    tool("vlogin", &["--", "sh", "-c", "test -t 0"]).code(1);
}

fn files(_mode: Mode) {
    let guest = Guest::busybox("test", Mode::Shifted).make();
    guest.start();
    fs::create_dir_all("/tmp/t/shared/sub").expect("/tmp is ours");
    fs::write("/tmp/t/shared/own", "").expect("ours");
    fs::write("/tmp/t/shared/sub/theirs", "").expect("ours");
    std::os::unix::fs::chown("/tmp/t/shared/sub/theirs", Some(105 * 65_536 + 33), None).expect("root may");
    let line = |owner: &str, path: &str| format!("{owner:>20}  {path}\n");
    let all = [
        line("0", "shared"),
        line("0", "shared/own"),
        line("0", "shared/sub"),
        line("test", "shared/sub/theirs"),
    ];
    let lsxid = |words: &[&str]| Program::named("lsxid").args(words).directory("/tmp/t").run();
    lsxid(&["-R", "shared"]).ok().says_exactly(&all.concat());
    lsxid(&["-d", "-n", "shared/sub/theirs"]).ok().says_exactly(&line("105", "shared/sub/theirs"));
    tool("lcap", &[] as &[&str]).ok().says("Current capabilities: 0x").says("   0) *CAP_CHOWN  ");
    guest.stop();
}

fn delete(mode: Mode) {
    let guest = Guest::busybox("test", mode).make();
    let other = Guest::busybox("other", mode).xid(106).make();
    fs::create_dir_all("/tmp/t/kept").expect("/tmp is ours");
    fs::write("/tmp/t/kept/file", "").expect("ours");
    std::os::unix::fs::symlink("/tmp/t/kept", guest.tree("link")).expect("the tree is ours");
    guest.start();
    let prompt = "Are you sure you want to delete the vserver test (y/N) ";
    guest.program(&["delete"]).input("n\n").run().code(2).says_exactly(prompt);
    assert!(guest.is_running());
    let done = guest.program(&["delete"]).input("y\n").run();
    assert!(done.ok().out().starts_with(prompt), "{done}");
    for path in ["/vservers/test", "/etc/vservers/test", "/var/run/vservers/test", "/run/vservers.rev/105"] {
        assert!(fs::symlink_metadata(path).is_err(), "{path} is left");
    }
    assert!(Path::new("/tmp/t/kept/file").exists(), "followed a link of the guest");
    guest.vserver(&["status"]).code(5);
    // A mount in the tree is not the guest's to lose.
    host("mount", &["-t", "tmpfs", "none", "/vservers/other/root"]).ok();
    vserver(&["--silent", "other", "delete"]).code(1).complains("/vservers/other/root is still mounted");
    assert!(other.tree("bin/busybox").exists());
    host("umount", &["/vservers/other/root"]).ok();
    vserver(&["--silent", "other", "delete"]).ok();
    assert!(!other.tree("").exists());
}
