//! The harness keeps its promises: otherwise a green run of the others would mean nothing.

use std::fs;
use std::path::Path;
use vserver_e2e::command::host;
use vserver_e2e::{Mode, Program, Spec, Terminal};

pub fn specs() -> Vec<Spec> {
    vec![
        Spec::new("harness_space_is_private", space_is_private).once(),
        Spec::new("harness_terminal", terminal).once(),
        Spec::new("harness_sees_leaks", leave_everything).once().leaves(&[
            "mount ",
            "process ",
            "cgroup ",
            "file /run/left",
            "file /tmp/left",
            "link left",
        ]),
    ]
}

fn space_is_private(_: Mode) {
    for directory in ["/etc/vservers", "/vservers", "/var/cache/vservers", "/tmp/t", "/run/lock"] {
        let count = fs::read_dir(directory).expect("it is there").count();
        assert_eq!(count, 0, "{directory} is not empty");
    }
    let devices = host("ip", &["-brief", "link"]).ok().out();
    assert_eq!(devices.lines().count(), 1, "{devices}");
    let own = Path::new("/proc/self/exe").read_link().expect("/proc is mounted");
    let first = Path::new("/proc/1/exe").read_link().expect("/proc is mounted");
    assert_eq!(own, first, "PID 1 is not ours");
}

fn terminal(_: Mode) {
    let mut terminal = Terminal::start(Program::of_host("sh"));
    terminal.send("stty size; tty\n");
    terminal.expect("24 80");
    terminal.expect("/dev/pts/");
    terminal.resize(40, 100);
    terminal.send("stty size\n");
    terminal.expect("40 100");
    terminal.send("exit 7\n");
    assert_eq!(terminal.end(), 7);
}

/// One of each kind that the leak check must find.
fn leave_everything(_: Mode) {
    host("mount", &["-t", "tmpfs", "left", "/mnt"]).ok();
    host("sh", &["-c", "setsid sleep 1000 </dev/null >/dev/null 2>&1 & touch /run/left /tmp/left"]).ok();
    host("ip", &["link", "add", "left0", "type", "veth", "peer", "name", "left1"]).ok();
    let top = std::env::var("VSERVER_CGROUP_TOP").expect("the harness sets it");
    let make = "for m in $(grep ' - cgroup' /proc/self/mountinfo | cut -d' ' -f5); do \
                    mkdir -p $m/$0/left 2>/dev/null && made=1; done; [ -n \"$made\" ]";
    host("bash", &["-c", make, &top]).ok();
}
