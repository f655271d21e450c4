//! S15–S17, S27, S31, S43, S65, S67: a guest is started, entered, asked and stopped.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};
use vserver_e2e::command::vserver;
use vserver_e2e::{Done, Guest, Image, Mode, Spec, Terminal, slowly};

pub fn specs() -> Vec<Spec> {
    vec![
        Spec::new("s15_start", start),
        Spec::new("s15_start_debian_sysvinit", start_debian_sysvinit).image(Image::DebianSysvinit),
        Spec::new("s15_start_debian_sysv_scripts", start_debian_sysv_scripts).image(Image::DebianSysvinit),
        Spec::new("s15_start_debian_systemd", start_debian_systemd).image(Image::DebianSystemd),
        Spec::new("s16_enter_on_a_terminal", enter_on_a_terminal),
        Spec::new("s16_enter_without_a_terminal", enter_without_a_terminal),
        Spec::new("s16_exec", exec),
        Spec::new("s17_needs_a_daemon", needs_a_daemon),
        Spec::new("s27_plain_init", plain_init),
        Spec::new("s31_no_context", no_context),
        Spec::new("s43_environment", environment),
        Spec::new("s65_host_name", host_name),
        Spec::new("s67_environment_has_a_path", environment_has_a_path),
    ]
}

fn start(mode: Mode) {
    let guest = Guest::busybox("test", mode).make();
    assert!(!guest.is_running());
    guest.vserver(&["status"]).code(3).says_exactly("Vserver 'test' is stopped\n");
    guest.start();
    assert!(guest.is_running());
    let status = guest.vserver(&["status"]);
    status.ok();
    let text = status.out();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "Vserver 'test' is running at context '105'");
    let count = lines[1]
        .strip_prefix("Number of processes:  ")
        .expect("exact text")
        .parse::<u32>()
        .expect("a number");
    assert!((1..=3).contains(&count), "{text}");
    assert_eq!(lines[2], "Uptime:               00:00");
    assert_eq!(lines.len(), 3);
    assert_eq!(fs::read_to_string("/var/run/vservers/test").expect("the run file"), "105\n");
    // The rc script ran with its runlevel, and left a daemon.
    assert_eq!(guest.file("/var/log/rc"), "rc 3 (RUNLEVEL=3 PREVLEVEL=N)\n");
    guest.sh("ps | grep '[s]leep 100000'").ok();
    guest.vserver(&["start"]).code(0).complains("vserver 'test' already running");
    guest.stop();
    assert!(
        guest.file("/var/log/rc").contains("rc 6 (RUNLEVEL=6 PREVLEVEL=3)"),
        "{}",
        guest.file("/var/log/rc")
    );
    guest.vserver(&["status"]).code(3).says_exactly("Vserver 'test' is stopped\n");
    guest.vserver(&["stop"]).code(0).complains("vserver 'test' is not running");
    guest.vserver(&["exec", "true"]).code(1).complains("running vservers only");
    vserver(&["other", "start"]).code(5).complains("Can not find a vserver-setup at '/etc/vservers/other/'");
    guest.vserver(&["nonsense"]).code(2).complains("Usage: vserver <vserver> {start|stop|suexec|restart");
}

fn start_debian_sysvinit(mode: Mode) {
    let guest = Guest::from(Image::DebianSysvinit, "test", mode).style("plain").make();
    guest.start();
    assert_eq!(guest.sh("cat /proc/1/comm").out(), "init\n");
    wait_until("runlevel 2", || guest.sh("/sbin/runlevel").out().trim_end().ends_with('2'));
    guest.stop();
}

/// The default style: no init of the guest's own, its rc scripts do it all.
fn start_debian_sysv_scripts(mode: Mode) {
    let guest = Guest::from(Image::DebianSysvinit, "test", mode).make();
    guest.put("/etc/init.d/daemon", "#!/bin/sh\n### BEGIN INIT INFO\n# Provides: daemon\n### END INIT INFO\n\
        case $1 in start) setsid sleep 100000 </dev/null >/dev/null 2>&1 & ;; stop) pkill sleep; killall5 -15 2>/dev/null; true ;; esac\n");
    let script = guest.tree("/etc/init.d/daemon");
    fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("just written");
    // Started one after the other by the links alone: the other way goes by a file that insserv computes.
    guest.put("/etc/init.d/.legacy-bootordering", "");
    for (link, level) in [("S99daemon", 3), ("K01daemon", 6)] {
        std::os::unix::fs::symlink("../init.d/daemon", guest.tree(&format!("/etc/rc{level}.d/{link}")))
            .expect("sysv-rc");
    }
    guest.start();
    assert!(guest.is_running());
    guest.sh("grep -l sleep /proc/[0-9]*/comm").ok();
    guest.stop();
}

fn start_debian_systemd(mode: Mode) {
    let guest = Guest::from(Image::DebianSystemd, "test", mode).style("plain").make();
    let unit = "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\nExecStop=/bin/touch /root/stopped\n";
    guest.put("/etc/systemd/system/mark.service", unit);
    let wants = guest.tree("/etc/systemd/system/multi-user.target.wants");
    fs::create_dir_all(&wants).expect("the tree is ours");
    std::os::unix::fs::symlink("../mark.service", wants.join("mark.service")).expect("the tree is ours");
    guest.start();
    wait_until("systemd", || guest.sh("test -S /run/systemd/private").exit() == 0);
    assert_eq!(guest.sh("cat /proc/1/comm").out(), "systemd\n");
    let state = guest.vserver(&["exec", "systemctl", "is-system-running", "--wait"]);
    let failed = guest.vserver(&["exec", "systemctl", "--failed", "--no-legend", "--plain"]);
    if state.out() != "running\n" {
        drop(guest.sh("systemctl status --no-pager --lines=50 $(systemctl --failed --plain --no-legend | cut -d' ' -f1)"));
        panic!("{failed}");
    }
    guest.sh("systemd-detect-virt --container").ok();
    guest.stop();
    assert!(guest.tree("/root/stopped").exists(), "its units were not stopped in order");
}

fn wait_until(what: &str, mut happens: impl FnMut() -> bool) {
    let until = Instant::now() + slowly(Duration::from_mins(1));
    while !happens() {
        assert!(Instant::now() < until, "no {what}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn enter_on_a_terminal(mode: Mode) {
    let guest = Guest::busybox("test", mode).make();
    guest.start();
    let mut terminal = Terminal::start(guest.program(&["enter"]));
    // What is typed is echoed, so the answers are made to look different.
    terminal.send("echo A$((6*7)) $(id -u) $(pwd) $(tty)\n");
    terminal.expect("A42 0 / /dev/pts/");
    terminal.send("echo B$((6*7)) $(stty size)\n");
    terminal.expect("B42 24 80");
    terminal.resize(40, 132);
    // The new size travels as a signal, so it may be a moment late.
    terminal.send("while [ \"$(stty size)\" != '40 132' ]; do sleep 0.1; done; echo C$((6*7))\n");
    terminal.expect("C42");
    // An interrupt reaches the foreground job and nothing else.
    terminal.send("echo D$((6*7)); sleep 1000; echo E$((6*7))\n");
    terminal.expect("D42");
    std::thread::sleep(Duration::from_millis(300));
    terminal.send("\u{3}");
    terminal.send("echo F$((6*7)) $(ps | grep -c '[s]leep 1000$')\n");
    terminal.expect("F42 0");
    terminal.send("exit 7\n");
    assert_eq!(terminal.end(), 7);
    guest.stop();
}

fn enter_without_a_terminal(mode: Mode) {
    let guest = Guest::busybox("test", mode).make();
    guest.start();
    let done = guest.program(&["enter"]).input("echo in $(pwd); echo err >&2; exit 3\n").run();
    done.code(3).says("in /\n").complains("err\n");
    guest.stop();
}

fn exec(mode: Mode) {
    let guest = Guest::busybox("test", mode).make();
    guest.start();
    guest.vserver(&["exec", "echo", "a b", "*"]).ok().says_exactly("a b *\n");
    guest.vserver(&["exec", "sh", "-c", "exit 42"]).code(42);
    guest.vserver(&["exec", "sh", "-c", "kill -TERM $$"]).code(128 + 15);
    guest
        .vserver(&["exec", "no-such-program"])
        .code(255)
        .complains("execvp(\"no-such-program\"): No such file or directory");
    guest.vserver(&["exec", "pwd"]).ok().says_exactly("/\n");
    guest.program(&["exec", "cat"]).input("through\n").run().ok().says_exactly("through\n");
    // Nothing of the host comes along: no descriptor but the three, no way out by the root or the working directory.
    let descriptors = guest.sh("exec ls /proc/self/fd");
    assert_eq!(descriptors.out(), "0\n1\n2\n3\n", "3 is the directory being listed");
    guest.sh("ls /vservers /proc/1/root/vservers").code(1);
    guest.vserver(&["suexec", "user", "id", "-u"]).ok().says_exactly("1000\n");
    guest.vserver(&["suexec", "user", "id", "-G"]).ok().says_exactly("1000 50\n");
    guest.vserver(&["suexec", "1000", "id", "-g"]).ok().says_exactly("1000\n");
    let nobody = guest.vserver(&["suexec", "nobody-here", "true"]);
    assert_ne!(nobody.exit(), 0);
    nobody.complains("nobody-here");
    guest.stop();
}

fn needs_a_daemon(mode: Mode) {
    let guest = Guest::busybox("test", mode).make();
    guest.put("/etc/rc.start", "true\n");
    let done = guest.vserver(&["start"]);
    assert_eq!(done.exit(), 1, "{done}");
    assert!(!done.err().trim().is_empty(), "failed without a word");
    assert!(!guest.is_running());
    // A script that fails is told apart, and its status is passed on.
    guest.put("/etc/rc.start", "exit 3\n");
    let done = guest.vserver(&["start"]);
    done.code(3).complains("Failed to start vserver 'test'");
    assert!(!guest.is_running());
    assert!(!Path::new("/var/run/vservers/test").exists());
}

fn plain_init(mode: Mode) {
    let guest = Guest::busybox("test", mode).make();
    guest.set("apps/init/style", "plain\n");
    guest.start();
    assert!(guest.is_running());
    assert_eq!(guest.sh("cat /proc/1/comm").out(), "init\n");
    wait_until("boot script", || guest.file("/var/log/boot").contains("booted"));
    // No daemon is left, and it stays up.
    guest.sh("killall sleep; true").ok();
    assert!(guest.is_running());
    guest.vserver(&["exec", "true"]).ok();
    guest.stop();
    assert!(guest.file("/var/log/boot").contains("down"), "its shutdown actions did not run");
}

fn no_context(mode: Mode) {
    let guest = Guest::busybox("test", mode).make();
    fs::remove_file(guest.configuration("context")).expect("it was there");
    let before = listing();
    let refuses = |done: Done| {
        done.code(1)
            .complains("Dynamic Context IDs are not supported, you must set Context ID")
            .complains("in /etc/vservers/test/context file");
        assert!(!guest.is_running());
    };
    refuses(guest.vserver(&["start"]));
    assert_eq!(listing(), before);
    guest.set("context", "");
    refuses(guest.vserver(&["start"]));
    guest.set("context", "105\n");
    guest.start();
    guest.stop();
}

fn listing() -> String {
    vserver_e2e::command::host("find", &["/etc/vservers", "/vservers", "-printf", "%p %y %m %T@ %l\n"]).out()
}

fn environment(mode: Mode) {
    let guest = Guest::busybox("test", mode).style("plain").make();
    let of_init = || {
        guest.start();
        let text = guest.sh("tr '\\0' '\\n' < /proc/1/environ").out();
        guest.stop();
        text
    };
    guest.set("apps/init/environment", "SELINUX_INIT=no\n");
    let own = of_init();
    assert!(own.lines().any(|line| line == "SELINUX_INIT=no"), "{own}");
    // The site's file is for guests without one.
    let defaults = Path::new("/etc/vservers/.defaults/apps/init");
    fs::create_dir_all(defaults).expect("/etc/vservers is ours");
    fs::write(defaults.join("environment"), "SITE=1\n").expect("/etc/vservers is ours");
    let own = of_init();
    assert!(own.contains("SELINUX_INIT=no") && !own.contains("SITE=1"), "{own}");
    fs::remove_file(guest.configuration("apps/init/environment")).expect("it was there");
    let site = of_init();
    assert!(site.contains("SITE=1") && !site.contains("SELINUX_INIT"), "{site}");
}

fn host_name(mode: Mode) {
    let guest = Guest::busybox("test", mode).make();
    let of_host = vserver_e2e::command::host("uname", &["-n"]).out();
    guest.set("uts/nodename", "test\n");
    guest.start();
    guest.sh("hostname").ok().says_exactly("test\n");
    guest.stop();
    assert_eq!(vserver_e2e::command::host("uname", &["-n"]).out(), of_host, "the host was renamed");
}

fn environment_has_a_path(mode: Mode) {
    let guest = Guest::busybox("test", mode).style("plain").make();
    guest.set("apps/init/environment", "TERM=linux\n");
    guest.start();
    let text = guest.sh("tr '\\0' '\\n' < /proc/1/environ").out();
    assert!(text.lines().any(|line| line == "TERM=linux"), "{text}");
    assert!(text.lines().any(|line| line.starts_with("PATH=/")), "{text}");
    guest.stop();
}
