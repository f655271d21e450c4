//! S26, S75 to S77: limits of whole guests, on whichever version of control groups the host has.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use vserver_e2e::command::host;
use vserver_e2e::{Done, Guest, Mode, Need, Spec, slowly};

pub fn specs() -> Vec<Spec> {
    let specs = vec![
        Spec::new("s26_tasks_of_a_guest", tasks_of_a_guest),
        Spec::new("s26_memory_of_a_guest", memory_of_a_guest),
        Spec::new("s26_limits_of_namespaces_and_processes", of_namespaces_and_processes),
        Spec::new("s75_settings_of_version_1", settings_of_version_1),
        Spec::new("s75_settings_of_version_2", settings_of_version_2),
        Spec::new("s76_defaults_for_every_guest", defaults_for_every_guest),
        Spec::new("s77_place_of_control_groups", place_of_control_groups),
        Spec::new("limits_that_cannot_be", that_cannot_be),
        Spec::new("limits_of_a_shared_group", of_a_shared_group),
        Spec::new("limits_quota_of_a_bucket", quota_of_a_bucket),
        Spec::new("limits_weight_of_a_guest", weight_of_a_guest),
        Spec::new("limits_sets_of_processors", sets_of_processors),
    ];
    specs.into_iter().map(|spec| spec.needs(&[Need::Controllers])).collect()
}

/// The directories of a guest's outer group, one for each hierarchy.
fn groups(name: &str) -> Vec<PathBuf> {
    let top = std::env::var("VSERVER_CGROUP_TOP").expect("the harness sets it");
    let table = fs::read_to_string("/proc/self/mountinfo").expect("/proc is mounted");
    table
        .lines()
        .filter(|line| line.contains(" - cgroup"))
        .filter_map(|line| line.split(' ').nth(4))
        .map(|mount| Path::new(mount).join(&top).join(name))
        .filter(|group| group.is_dir())
        .collect()
}

/// The first of these files that the host has in a guest's group.
#[track_caller]
fn of_group(name: &str, files: &[&str]) -> String {
    let groups = groups(name);
    let found = files.iter().flat_map(|file| groups.iter().map(move |group| group.join(file)));
    let found = found.into_iter().find_map(|path| fs::read_to_string(path).ok());
    found.unwrap_or_else(|| panic!("none of {files:?} in {groups:?}")).trim().to_owned()
}

/// A count of everything that this line of these files says, in a group and below it.
fn counted(name: &str, file: &str, word: &str) -> u64 {
    let sum = format!(
        "find \"$@\" -name {file} -exec cat {{}} + | awk '$1 == \"{word}\" {{ n += $2 }} END {{ print n + 0 }}'"
    );
    let mut words = vec!["-c".to_owned(), sum, "sum".to_owned()];
    words.extend(groups(name).iter().map(|group| group.display().to_string()));
    host("sh", &words).ok().out().trim().parse().expect("a number")
}

/// Kills for want of memory, on either version.
fn killed(name: &str) -> u64 {
    counted(name, "memory.oom_control", "oom_kill").max(counted(name, "memory.events", "oom_kill"))
}

/// Takes this much memory at once; told apart by what it prints when it could.
fn take_memory(guest: &Guest, mebibytes: u32) -> Done {
    guest.sh(&format!("dd if=/dev/zero of=/dev/null bs={mebibytes}M count=1 2> /dev/null && echo taken"))
}

fn both(mode: Mode) -> [Guest; 2] {
    [(105, "test"), (106, "beside")].map(|(xid, name)| Guest::busybox(name, mode).xid(xid).make())
}

/// More tasks than `rlimits/nproc`, by a process of the guest's own and by one that enters.
fn tasks_of_a_guest(mode: Mode) {
    let [guest, beside] = both(mode);
    guest.set("rlimits/nproc", "30\n");
    beside.set("rlimits/nproc", "inf\n");
    guest.start();
    beside.start();
    assert_eq!(of_group("test", &["pids.max"]), "30");
    assert_eq!(of_group("beside", &["pids.max"]), "max");
    let many = "i=0; while [ $i -lt 40 ]; do sleep 60 & i=$((i + 1)); done; echo all started";
    let done = guest.sh(many);
    assert!(!done.out().contains("all started"), "{done}");
    done.complains("fork");
    let running: u32 = of_group("test", &["pids.current"]).parse().expect("a number");
    assert!((20..=30).contains(&running), "{running} tasks");
    assert!(counted("test", "pids.events", "max") > 0, "nothing was counted");
    beside.sh(many).ok().says("all started");
    guest.stop();
    beside.stop();
}

fn memory_of_a_guest(mode: Mode) {
    let [guest, beside] = both(mode);
    let page = host("getconf", &["PAGESIZE"]).ok().out().trim().parse::<u64>().expect("a number");
    // 64 MiB in pages, and a lower limit by another name.
    guest.set("rlimits/rss.hard", &format!("{}\n", (64 << 20) / page));
    guest.set("rlimits/as", &format!("{}\n", (1 << 30) / page));
    guest.set("cgroup/memory.memsw.limit_in_bytes", "64M\n");
    guest.set("cgroup/memory.limit_in_bytes", "64M\n");
    guest.start();
    beside.start();
    assert_eq!(of_group("test", &["memory.limit_in_bytes", "memory.max"]), (64 << 20).to_string());
    take_memory(&guest, 16).ok().says("taken");
    let done = take_memory(&guest, 160);
    assert_ne!(done.exit(), 0, "{done}");
    assert!(killed("test") > 0, "no kill was counted");
    assert_eq!(killed("beside"), 0);
    take_memory(&beside, 160).ok().says("taken");
    assert!(guest.is_running() && beside.is_running());
    take_memory(&guest, 16).ok().says("taken");
    guest.stop();
    beside.stop();
}

fn of_namespaces_and_processes(mode: Mode) {
    let guest = Guest::busybox("test", mode).make();
    for (file, text) in [
        ("rlimits/nofile", "100\n"),
        ("rlimits/openfd.hard", "90\n"),
        ("rlimits/memlock", "16\n"),
        ("rlimits/shmem", "1000\n"),
        ("rlimits/semary", "7\n"),
        ("rlimits/nsems", "70\n"),
        ("rlimits/locks", "inf\n"),
    ] {
        guest.set(file, text);
    }
    guest.start();
    let page = host("getconf", &["PAGESIZE"]).ok().out().trim().parse::<u64>().expect("a number");
    guest.sh("ulimit -Hn; ulimit -Hl").ok().says_exactly(&format!("90\n{}\n", 16 * page / 1024));
    guest.sh("grep -c 'Max open files *90 *90' /proc/1/limits").ok();
    guest.sh("cat /proc/sys/kernel/shmall").ok().says_exactly("1000\n");
    guest.sh("cat /proc/sys/kernel/sem").ok().says_exactly("32000\t70\t500\t7\n");
    let told = guest.vserver(&["check"]);
    for part in ["rlimits/nofile", "rlimits/shmem", "in part"] {
        told.says(part);
    }
    guest.stop();
}

fn settings_of_version_1(mode: Mode) {
    let guest = Guest::busybox("test", mode).make();
    for (file, text) in [
        ("cpuset.cpus", "0\n"),
        ("cpuset.mems", "0\n"),
        ("cpuset.memory_migrate", "1\n"),
        ("cpu.shares", "256\n"),
        ("cpu.cfs_quota_us", "50000\n"),
        ("cpu.cfs_period_us", "200000\n"),
        ("memory.limit_in_bytes", "256M\n"),
        ("pids.max", "200\n"),
    ] {
        guest.set(&format!("cgroup/{file}"), text);
    }
    guest.start();
    assert_eq!(of_group("test", &["cpuset.cpus"]), "0");
    assert_eq!(of_group("test", &["memory.limit_in_bytes", "memory.max"]), (256 << 20).to_string());
    let shares = of_group("test", &["cpu.shares", "cpu.weight"]);
    assert!(["256", "25"].contains(&shares.as_str()), "{shares}");
    let quota = of_group("test", &["cpu.cfs_quota_us", "cpu.max"]);
    assert!(["50000", "50000 200000"].contains(&quota.as_str()), "{quota}");
    assert_eq!(of_group("test", &["pids.max"]), "200");
    // The first process and one that enters later: only the first processor.
    for process in ["1", "self"] {
        guest
            .sh(&format!("grep Cpus_allowed_list /proc/{process}/status"))
            .ok()
            .says_exactly("Cpus_allowed_list:\t0\n");
    }
    guest.stop();
    assert_eq!(groups("test"), Vec::<PathBuf>::new());
}

fn settings_of_version_2(mode: Mode) {
    let guest = Guest::busybox("test", mode).make();
    for (file, text) in [
        ("cpuset.cpus", "0\n"),
        ("cpu.weight", "25\n"),
        ("cpu.max", "50000 200000\n"),
        ("memory.max", "256M\n"),
        ("memory.swap.max", "0\n"),
        ("memory.low", "16M\n"),
        ("pids.max", "200\n"),
    ] {
        guest.set(&format!("cgroup/{file}"), text);
    }
    guest.start();
    let limit = (256 << 20).to_string();
    assert_eq!(of_group("test", &["memory.limit_in_bytes", "memory.max"]), limit);
    let swap = of_group("test", &["memory.memsw.limit_in_bytes", "memory.swap.max"]);
    assert!([limit.as_str(), "0"].contains(&swap.as_str()), "{swap}");
    assert_eq!(of_group("test", &["memory.soft_limit_in_bytes", "memory.low"]), (16 << 20).to_string());
    let shares = of_group("test", &["cpu.shares", "cpu.weight"]);
    assert!(["256", "25"].contains(&shares.as_str()), "{shares}");
    let quota = of_group("test", &["cpu.cfs_quota_us", "cpu.max"]);
    assert!(["50000", "50000 200000"].contains(&quota.as_str()), "{quota}");
    guest.sh("grep Cpus_allowed_list /proc/self/status").ok().says_exactly("Cpus_allowed_list:\t0\n");
    guest.stop();
}

/// `.defaults/cgroup` is for guests without `cgroup/`, and without `nocgroup`.
fn defaults_for_every_guest(mode: Mode) {
    let [guest, own] = both(mode);
    let without = Guest::busybox("without", mode).xid(107).make();
    write("/etc/vservers/.defaults/cgroup/per-ss", "");
    write("/etc/vservers/.defaults/cgroup/inherit", "cpuset.cpus\ncpuset.mems\n");
    write("/etc/vservers/.defaults/cgroup/subsys", "cpu\npids\ncpuset\n");
    write("/etc/vservers/.defaults/cgroup/pids.max", "150\n");
    own.set("cgroup/pids.max", "120\n");
    without.set("nocgroup", "");
    for (guest, wanted) in [(&guest, "150"), (&own, "120"), (&without, "max")] {
        guest.start();
        assert_eq!(of_group(&guest.name, &["pids.max"]), wanted, "{}", guest.name);
        guest.stop();
    }
    own.set("cgroup/memory.max", "1G\n");
    let done = own.vserver(&["start"]);
    assert_ne!(done.exit(), 0, "{done}");
    done.complains("subsys").complains("cgroup/memory.max:1");
}

fn write(path: &str, text: &str) {
    let path = Path::new(path);
    fs::create_dir_all(path.parent().expect("a file")).expect("the trial's directories are ours");
    fs::write(path, text).expect("the trial's directories are ours");
}

/// Another mount of the same hierarchy shows the same groups; a wrong place is told.
fn place_of_control_groups(mode: Mode) {
    let guest = Guest::busybox("test", mode).make();
    guest.set("cgroup/pids.max", "150\n");
    let kind = if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        ["-t", "cgroup2"].as_slice()
    } else {
        ["-t", "cgroup", "-o", "pids"].as_slice()
    };
    fs::create_dir("/tmp/cgroup").expect("ours");
    host("mount", &[kind, &["none", "/tmp/cgroup"]].concat()).ok();
    write("/etc/vservers/.defaults/cgroup/mnt", "/tmp/cgroup\n");
    let done = guest.start();
    assert!(!done.err().contains("cgroup/mnt"), "{done}");
    let top = std::env::var("VSERVER_CGROUP_TOP").expect("the harness sets it");
    let there = fs::read_to_string(Path::new("/tmp/cgroup").join(top).join("test/pids.max"));
    assert_eq!(there.expect("the guest's group is there").trim(), "150");
    guest.stop();
    host("umount", &["/tmp/cgroup"]).ok();
    fs::remove_dir("/tmp/cgroup").expect("ours");
    guest.start().complains("cgroup/mnt: no control groups are mounted on /tmp/cgroup");
    assert_eq!(of_group("test", &["pids.max"]), "150");
    guest.stop();
}

/// Each with file and line, and nothing is left of the start.
fn that_cannot_be(mode: Mode) {
    let cases = [
        ("cgroup/pids.max", "many\n", "cgroup/pids.max:1"),
        ("cgroup/cpu.shares", "\nplenty\n", "cgroup/cpu.shares:2"),
        ("cgroup/memory.max", "a lot\n", "cgroup/memory.max:1"),
        ("cgroup/memory.limit_in_bytes", "12 apples\n", "cgroup/memory.limit_in_bytes:1"),
        ("cgroup/cpuset.cpus", "4711\n", "cgroup/cpuset.cpus:1"),
        ("cgroup/quantum.max", "1\n", "no control group controller 'quantum'"),
        ("cgroup/memory.maximum", "1\n", "no such file"),
        ("cgroup/cgroup.procs", "1\n", "belongs to the tools"),
        ("cgroup/devices.allow", "a\n", "dev directory"),
        ("rlimits/nproc", "a few\n", "rlimits/nproc:1"),
        ("ulimits/nofile", "lots\n", "ulimits/nofile:1"),
        ("sched/interval", "often\n", "sched/interval:1"),
        ("schedule", "1\n2\n", "Bad content in"),
    ];
    let guest = Guest::busybox("test", mode).make();
    for (file, text, complaint) in cases {
        guest.set(file, text);
        let done = guest.vserver(&["start"]);
        assert_ne!(done.exit(), 0, "{file}: {done}");
        done.complains(complaint);
        assert!(!guest.is_running());
        assert_eq!(groups("test"), Vec::<PathBuf>::new(), "{file}");
        let directory = guest.configuration(file).parent().expect("a directory").to_owned();
        fs::remove_file(guest.configuration(file)).expect("just written");
        if directory != guest.configuration("") {
            fs::remove_dir(directory).ok();
        }
    }
    guest.start();
    guest.stop();
}

/// One of two that share a group ends without harm to the other.
fn of_a_shared_group(mode: Mode) {
    let guests = both(mode);
    write("/etc/vservers/.defaults/cgroup/name", "all\n");
    write("/etc/vservers/.defaults/cgroup/base", "base\n");
    write("/etc/vservers/.defaults/cgroup/pids.max", "500\n");
    for guest in &guests {
        guest.start();
    }
    assert_eq!(of_group("base/all", &["pids.max"]), "500");
    assert_eq!(of_group("base/all/beside", &["pids.max"]), "max");
    guests[0].stop();
    assert!(guests[1].is_running());
    guests[1].sh("true").ok();
    // A lost record is found again in the group of that name.
    fs::remove_file("/run/vservers/.state/beside/record").expect("it is there");
    assert!(guests[1].is_running(), "not found");
    guests[1].stop();
    assert_eq!(groups("base/all"), Vec::<PathBuf>::new());
    // The base is the administrator's, who may have set limits there.
    for base in groups("base") {
        fs::remove_dir(base).expect("nobody is left in it");
    }
}

/// Busy loops of two guests at once, on one processor: the shares are compared as the kernel counts them.
const BURN: &str = "(while :; do :; done) & sleep 4; kill $!";

/// Nanoseconds or microseconds of processor time: only compared with each other.
fn used(name: &str) -> u64 {
    let groups = groups(name);
    let count = |path: PathBuf| fs::read_to_string(path).ok();
    if let Some(text) = groups.iter().find_map(|group| count(group.join("cpuacct.usage"))) {
        return text.trim().parse().expect("a number");
    }
    let text =
        groups.iter().find_map(|group| count(group.join("cpu.stat"))).expect("a controller that counts");
    let line = text.lines().find_map(|line| line.strip_prefix("usage_usec ")).expect("it counts");
    line.parse().expect("a number")
}

/// How much more processor time the second one got.
fn ratio(guests: &[Guest; 2]) -> f64 {
    let before = [used(&guests[0].name), used(&guests[1].name)];
    let running = guests.each_ref().map(|guest| guest.program(&["exec", "/bin/sh", "-c", BURN]).start());
    for one in running {
        let _ = one.wait(slowly(Duration::from_mins(1)));
    }
    let [less, more] = [0, 1].map(|i| used(&guests[i].name) - before[i]);
    #[expect(clippy::cast_precision_loss, reason = "a ratio with a wide tolerance")]
    let ratio = more as f64 / less.max(1) as f64;
    ratio
}

fn on_one_processor(guests: &[Guest; 2]) {
    for guest in guests {
        guest.set("cgroup/cpuset.cpus", "0\n");
        guest.start();
    }
}

/// A hundredth of a processor against what others leave of it: both guests get little on a busy machine.
fn quota_of_a_bucket(mode: Mode) {
    let guests = both(mode);
    guests[0].set("sched/fill-rate", "1\n");
    guests[0].set("sched/interval", "100\n");
    guests[0].set("sched/tokens-max", "2\n");
    guests[0].set("cflags", "sched_hard\n");
    on_one_processor(&guests);
    let quota = of_group("test", &["cpu.cfs_quota_us", "cpu.max"]);
    assert!(["1000", "1000 100000"].contains(&quota.as_str()), "{quota}");
    let ratio = ratio(&guests);
    assert!(ratio > 1.5, "the guest with a quota got as much: {ratio}");
    assert!(counted("test", "cpu.stat", "nr_throttled") > 0, "it never waited");
    for guest in &guests {
        guest.stop();
    }
}

/// A weight of a sixteenth: only the other guest's wish takes processor time away.
fn weight_of_a_guest(mode: Mode) {
    let guests = both(mode);
    guests[0].set("cgroup/cpu.shares", "64\n");
    on_one_processor(&guests);
    let ratio = ratio(&guests);
    assert!(ratio > 2.0, "the guest with a low weight got as much: {ratio}");
    for guest in &guests {
        guest.stop();
    }
}

fn sets_of_processors(mode: Mode) {
    let guest = Guest::busybox("test", mode).make();
    guest.set("cpuset/name", "test\n");
    guest.set("cpuset/cpus", "0\n");
    guest.set("sched/priority-bias", "5\n");
    guest.start();
    guest.sh("grep Cpus_allowed_list /proc/1/status").ok().says_exactly("Cpus_allowed_list:\t0\n");
    let shares = of_group("test", &["cpu.shares", "cpu.weight"]);
    assert!(["335", "336", "32", "33"].contains(&shares.as_str()), "{shares}");
    guest.stop();
    // As the original: told, and the start goes on.
    guest.set("cpuset/cpus", "4711\n");
    guest.start().complains("cpuset/cpus:1: cannot set cpuset.cpus to 4711");
    guest.stop();
}
