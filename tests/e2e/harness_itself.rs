//! The harness keeps its promises: otherwise a green run of the others would mean nothing.

use std::fs;
use std::path::Path;
use vserver_e2e::command::host;
use vserver_e2e::{Mode, Program, Spec, Terminal};

pub fn specs() -> Vec<Spec> {
    vec![
        Spec::new("harness_space_is_private", space_is_private).once(),
        Spec::new("harness_terminal", terminal).once(),
    ]
}

fn space_is_private(_: Mode) {
    for directory in ["/etc/vservers", "/vservers", "/var/cache/vservers", "/tmp", "/run/lock"] {
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
