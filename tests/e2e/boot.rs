//! S49, S50: the boot service, and many guests in the order of what they depend on.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;
use vserver_e2e::command::{Program, host, tool};
use vserver_e2e::{Done, Guest, Mode, Spec};

pub fn specs() -> Vec<Spec> {
    vec![
        Spec::new("s49_boot_service", boot_service),
        Spec::new("s50_thirty_guests_in_order", thirty_guests).patience(Duration::from_mins(6)),
        Spec::new("s50_circles_and_missing_ones", circles),
        Spec::new("s50_a_guest_that_hangs", hangs),
        Spec::new("s50_host_goes_down", host_goes_down),
        Spec::new("vsysvwrapper_confines_a_service", wrapper).once(),
    ]
}

const ORDER: &str = "/tmp/t/order";

/// A guest that tells in [`ORDER`] when its start and its stop begin and end.
fn guest(number: usize, mode: Mode) -> Guest {
    let xid = u16::try_from(1000 + number).expect("a few guests");
    let guest = Guest::busybox(&format!("g{number:02}"), mode).xid(xid).make();
    for (hook, word) in [
        ("prepre-start", "starting"),
        ("post-start", "started"),
        ("pre-stop", "stopping"),
        ("postpost-stop", "stopped"),
    ] {
        guest.set_program(&format!("scripts/{hook}"), &format!("#!/bin/sh\necho {word} $2 >> {ORDER}\n"));
    }
    guest
}

/// Places of words in [`ORDER`], which is removed.
fn told() -> BTreeMap<String, usize> {
    let text = fs::read_to_string(ORDER).unwrap_or_default();
    drop(fs::remove_file(ORDER));
    text.lines().enumerate().map(|(at, line)| (line.to_owned(), at)).collect()
}

fn verdicts(done: &Done) -> Vec<String> {
    let mut lines: Vec<String> =
        done.out().lines().map(|line| line.split(" (").next().unwrap_or(line).to_owned()).collect();
    lines.sort();
    lines
}

/// A graph without circles, the same each time: up to three earlier guests for each.
fn dependencies(number: usize) -> Vec<usize> {
    if number < 3 {
        return Vec::new();
    }
    let mut all: Vec<usize> = (0..number % 4).map(|nth| (number * 7 + nth * 5 + 3) % number).collect();
    all.sort_unstable();
    all.dedup();
    all
}

fn thirty_guests(mode: Mode) {
    let guests: Vec<Guest> = (0..30).map(|number| guest(number, mode)).collect();
    let name = |number: usize| format!("g{number:02}");
    for (number, guest) in guests.iter().enumerate() {
        let depends: String = dependencies(number).into_iter().map(|other| name(other) + "\n").collect();
        guest.set("apps/init/depends", &depends);
        // One that nobody has marked is started because others depend on it.
        if number != 1 {
            guest.set("apps/init/mark", "default\n");
        }
    }
    assert!((3..30).any(|number| dependencies(number).contains(&1)), "nobody depends on g01");
    // Two that depend on nobody are under way at the same time: each waits for the other.
    for (me, other) in [(0, 2), (2, 0)] {
        let wait = format!(
            "#!/bin/sh\necho starting $2 >> {ORDER}\nn=0\nuntil grep -q 'starting {}' {ORDER}; do n=$((n+1)); [ $n -lt 3000 ] || exit 1; \
             sleep 0.02; done\n",
            name(other)
        );
        guests[me].set_program("scripts/prepre-start", &wait);
    }
    let start = Program::named("start-vservers").args(&["-m", "default", "-j", "6", "--start"]);
    let start = start.patience(Duration::from_mins(3)).run();
    start.ok();
    let expected: Vec<String> = (0..30).map(|number| format!("{}: started", name(number))).collect();
    assert_eq!(verdicts(&start), expected);
    let places = told();
    for number in 0..30 {
        for other in dependencies(number) {
            let (before, after) = (format!("started {}", name(other)), format!("starting {}", name(number)));
            assert!(places[&before] < places[&after], "{after} does not wait for {before}: {places:?}");
        }
    }
    assert_eq!(tool::<&str>("vserver-stat", &["--xids"]).out().lines().count(), 30);
    // Once more: nothing to do.
    let again = tool("start-vservers", &["--all", "--json"]);
    let again: serde_json::Value = serde_json::from_str(&again.ok().out()).expect("JSON");
    let all = again.as_array().expect("a list");
    assert!(all.len() == 30 && all.iter().all(|one| one["outcome"] == "already"), "{again}");
    let stop = Program::named("stop-vservers").args(&["--running", "-j", "6"]);
    let stop = stop.patience(Duration::from_mins(3)).run();
    stop.ok();
    let expected: Vec<String> = (0..30).map(|number| format!("{}: stopped", name(number))).collect();
    assert_eq!(verdicts(&stop), expected);
    let places = told();
    for number in 0..30 {
        for other in dependencies(number) {
            let (before, after) = (format!("stopped {}", name(number)), format!("stopping {}", name(other)));
            assert!(places[&before] < places[&after], "{after} does not wait for {before}: {places:?}");
        }
    }
    tool::<&str>("vserver-stat", &["--xids"]).ok().says_exactly("");
}

fn circles(mode: Mode) {
    let guests: Vec<Guest> = (0..5).map(|number| guest(number, mode)).collect();
    guests[0].set("apps/init/depends", "g01\n");
    guests[1].set("apps/init/depends", "g00\n");
    guests[2].set("apps/init/depends", "g00\n# no guest\nnobody\n");
    guests[4].set("apps/init/depends", "g03\n");
    guests[3].put("/etc/rc.start", "echo broken; exit 3\n");
    let order = tool("start-vservers", &["--all", "--test"]);
    order.ok().says("g04 after g03\n").complains("in a circle: g00 -> g01 -> g00");
    assert_eq!(told(), BTreeMap::new(), "--test has started something");
    let done = tool("start-vservers", &["--all"]);
    done.code(1)
        .complains(
            "Vserver 'nobody' mentioned in 'apps/init/depends' of 'g02' does not exist; skipping it...",
        )
        .complains("guests depend on each other in a circle: g00 -> g01 -> g00")
        .complains("  g03: broken")
        .says("g00: skipped: guests depend on each other in a circle")
        .says("g02: skipped: it depends on 'g00', which does not run\n")
        .says("g03: FAILED: An error occured while executing the vserver startup sequence")
        .says("g04: skipped: it depends on 'g03', which does not run\n");
    assert!(!told().keys().any(|line| line.contains("g00") || line.contains("g04")));
    // Some: those that can.
    guests[1].set("apps/init/depends", "");
    tool("start-vservers", &["--all", "-j", "2"]).code(2).says("g00: started").says("g02: started");
    tool("start-vservers", &["/etc/vservers/g00", "nobody"])
        .ok()
        .complains("'/etc/vservers/g00' is not the short name of a guest; skipping it...")
        .complains("Vserver 'nobody' does not exist; skipping it...");
    // A circle that was made while they run does not keep anybody from stopping.
    guests[1].set("apps/init/depends", "g00\n");
    tool("start-vservers", &["--stop", "--running"]).ok();
    tool::<&str>("vserver-stat", &["--xids"]).ok().says_exactly("");
}

fn hangs(mode: Mode) {
    let (hanging, other) = (guest(0, mode), guest(1, mode));
    hanging.put("/etc/rc.start", "echo waiting; exec sleep 1000000\n");
    let done = tool("start-vservers", &["--timeout", "20", "g00", "g01"]);
    done.code(2)
        .says("g00: FAILED: it was not over after 20 s\n")
        .says("g01: started")
        .complains("  g00: waiting");
    assert!(!hanging.is_running() && other.is_running());
    other.stop();
}

/// Puts a directory of the trial over one of the host until the end.
struct Cover(&'static str);

impl Cover {
    fn over(place: &'static str, files: &[(&str, &str)]) -> Self {
        host("mount", &["-t", "tmpfs", "-o", "mode=755", "e2e", place]).ok();
        for (name, text) in files {
            fs::write(Path::new(place).join(name), text).expect("just mounted");
            host("chmod", &["755", &format!("{place}/{name}")]).ok();
        }
        Self(place)
    }
}

impl Drop for Cover {
    fn drop(&mut self) {
        host("umount", &[self.0]).ok();
    }
}

/// The init script as it is installed, called by its name or by a link of a runlevel.
fn service(name: &str, verb: &str) -> Done {
    let script = Path::new("/etc/init.d").join(name);
    Program::of_host(script.to_str().expect("text")).args(&[verb]).run()
}

fn init_scripts() -> Vec<(String, String)> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/init.d");
    let read = |name: &str| fs::read_to_string(source.join(name)).expect("a file of the source");
    let names = ["util-vserver", "vprocunhide", "vservers", "vrootdevices"];
    // The link to the program is made by its first call.
    tool("vserver", &["--version"]).ok();
    names.iter().map(|name| ((*name).to_owned(), read(name).replace("@SBIN@", "/run/e2e/bin"))).collect()
}

fn boot_service(mode: Mode) {
    let scripts = init_scripts();
    let files: Vec<(&str, &str)> = scripts
        .iter()
        .map(|(name, text)| (name.as_str(), text.as_str()))
        .chain([("S20vservers", scripts[2].1.as_str())])
        .collect();
    let _init = Cover::over("/etc/init.d", &files);
    let _default = Cover::over("/etc/default", &[]);
    let guests: Vec<Guest> = (0..5).map(|number| guest(number, mode)).collect();
    guests[0].set("apps/init/mark", "default\n");
    guests[1].set("apps/init/mark", "night\n");
    // test2 of the page: depends on one without a mark, and is itself of the first mark.
    guests[2].set("apps/init/mark", "default\n");
    guests[2].set("apps/init/depends", "g03\n");
    guests[4].set("apps/init/mark", "default\n");
    guests[4].set("disabled", "");
    service("vprocunhide", "status").code(1).says("vservers /proc entries were not fixed");
    service("vprocunhide", "start").ok();
    service("vprocunhide", "status").ok().says("vservers /proc entries were fixed");
    service("util-vserver", "start").ok();
    service("vrootdevices", "start").ok();
    // Without settings: the mark default.
    service("vservers", "status").code(1).says("started: nothing\n");
    assert_eq!(verdicts(service("vservers", "start").ok()), ["g00: started", "g02: started", "g03: started"]);
    service("vservers", "start")
        .ok()
        .says_exactly("")
        .complains("guests marked 'default' are already started");
    service("vservers", "status")
        .ok()
        .says("started: guests marked 'default'\n")
        .says("contexts: 1000 1002 1003\n");
    let places = told();
    assert!(places["started g03"] < places["starting g02"], "{places:?}");
    assert_eq!(verdicts(service("vservers", "stop").ok()), ["g00: stopped", "g02: stopped", "g03: stopped"]);
    let places = told();
    assert!(places["stopped g02"] < places["stopping g03"], "{places:?}");
    // Settings as an administrator writes them: mark after mark, then single guests.
    let settings =
        "# mine\nMARKS=\"night default\"\nSTART_VSERVERS='g04 nobody'\nNUMPARALLEL=2\nTIMEOUT=$(x)\n";
    fs::write("/etc/default/vservers", settings).expect("covered");
    let done = service("S20vservers", "start");
    done.ok()
        .complains("/etc/default/vservers:5: needs a shell")
        .complains("Vserver 'nobody' does not exist");
    assert_eq!(verdicts(&done).len(), 5);
    let places = told();
    assert!(
        places["started g01"] < places["starting g03"] && places["started g02"] < places["starting g04"],
        "{places:?}"
    );
    service("vservers", "condrestart").ok();
    let places = told();
    assert!(
        places["stopped g04"] < places["stopping g02"] && places["stopped g03"] < places["stopping g01"],
        "{places:?}"
    );
    service("vservers", "stop").ok();
    drop(told());
    service("vservers", "condrestart").ok().says_exactly("");
    service("vservers", "dance").code(3).complains("Usage: vservers {start|stop|");
    fs::write("/etc/default/vrootdevices", "# none\n3 /dev/space/home\n").expect("covered");
    service("vrootdevices", "start")
        .code(1)
        .complains("/etc/default/vrootdevices:2: '3 /dev/space/home' cannot be done");
    tool::<&str>("vserver-stat", &["--xids"]).ok().says_exactly("");
}

/// Whoever has started them, all guests are stopped in order before the host is gone.
fn host_goes_down(mode: Mode) {
    let guests: Vec<Guest> = (0..3).map(|number| guest(number, mode)).collect();
    guests[1].set("apps/init/depends", "g02\n");
    tool("util-vserver", &["start"]).ok();
    for number in [2, 1, 0] {
        guests[number].start();
    }
    drop(told());
    tool("util-vserver", &["stop"]).ok();
    let places = told();
    assert!(places["stopped g01"] < places["stopping g02"], "{places:?}");
    assert!(places.contains_key("stopped g00"));
    tool::<&str>("vserver-stat", &["--xids"]).ok().says_exactly("");
    tool("util-vserver", &["status"]).code(1);
}

fn wrapper(_: Mode) {
    let script =
        "#!/bin/sh\necho \"$1 $SYSTEMCTL_SKIP_REDIRECT\"; grep -o '\\.nids/[0-9]*' /proc/self/cgroup\n";
    let _init = Cover::over("/etc/init.d", &[("probe", script)]);
    let settings = Path::new("/tmp/t/prefix/etc/vservices");
    fs::create_dir_all(settings).expect("/tmp is ours");
    fs::write(settings.join("probe.conf"), "IP=\"127.0.0.2 127.0.0.3/8\"\nNID=77\n").expect("/tmp is ours");
    let call = |name: &str, words: &[&str]| {
        Program::named(name).args(words).env("VSERVER_PREFIX", "/tmp/t/prefix").run()
    };
    call("vsysvwrapper", &["probe", "start"]).ok().says_exactly("start 1\n.nids/77\n");
    call("v_probe", &["stop"]).ok().says_exactly("stop 1\n.nids/77\n");
    call("vsysvwrapper", &[]).code(6);
    call("vsysvwrapper", &["nobody", "start"]).code(1).complains("no init script of the service 'nobody'");
    // Takes the group away that nobody is in any more.
    call("ncontext", &["--list", "--json"]).ok().says_exactly("[]\n");
}
