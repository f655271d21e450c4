//! S61, S59 (load): what a guest sees of the machine agrees in all sources, follows the kernel's values, and needs
//! nobody.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use vserver_e2e::{Done, Guest, Image, Mode, Spec, command, slowly};

const MIB: u64 = 1 << 20;

pub fn specs() -> Vec<Spec> {
    vec![
        Spec::new("s61_memory_of_the_guest", memory),
        Spec::new("s61_memory_without_a_limit", no_limit),
        Spec::new("s61_memory_of_nested_groups", nested),
        Spec::new("s61_views_need_nobody", nobody),
        Spec::new("s59_load_and_processors_of_the_guest", processors),
        Spec::new("s61_programs_of_debian_agree", debian).image(Image::Debian),
    ]
}

/// A busybox guest with these flags.
fn guest(name: &str, xid: u16, mode: Mode, flags: &str) -> Guest {
    let guest = Guest::busybox(name, mode).xid(xid).make();
    guest.set("cflags", flags);
    guest
}

/// A file of the guest's group: the first of these names whose controller is at hand.
fn group_file(guest: &Guest, names: &[&str]) -> Option<PathBuf> {
    let top = std::env::var("VSERVER_CGROUP_TOP").expect("the harness sets it");
    let mounts = fs::read_to_string("/proc/self/mounts").expect("there is a /proc");
    let places = mounts.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split(' ').collect();
        fields[2].starts_with("cgroup").then(|| Path::new(fields[1]).join(&top).join(&guest.name))
    });
    let places: Vec<PathBuf> = places.collect();
    names.iter().flat_map(|name| places.iter().map(move |place| place.join(name))).find(|path| path.exists())
}

/// Limits the guest's memory, or says why not.
fn limit(guest: &Guest, bytes: u64) -> bool {
    let Some(file) = group_file(guest, &["memory.limit_in_bytes", "memory.max"]) else {
        eprintln!("no memory controller here: nothing to limit");
        return false;
    };
    fs::write(&file, bytes.to_string()).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    true
}

/// `Name: number kB` as bytes.
fn fields(text: &str) -> HashMap<String, u64> {
    let line = |line: &str| {
        let (name, rest) = line.split_once(':')?;
        Some((name.to_owned(), rest.trim().trim_end_matches(" kB").parse::<u64>().ok()? * 1024))
    };
    text.lines().filter_map(line).collect()
}

fn meminfo(guest: &Guest) -> HashMap<String, u64> {
    let done = guest.sh("cat /proc/meminfo");
    done.ok();
    fields(&done.out())
}

fn of_host() -> HashMap<String, u64> {
    fields(&fs::read_to_string("/proc/meminfo").expect("there is a /proc"))
}

/// Total and free of busybox's `free`, which asks sysinfo(2), in bytes.
fn by_sysinfo(guest: &Guest) -> (u64, u64) {
    let done = guest.sh("free -b");
    done.ok();
    let text = done.out();
    let line = text.lines().find(|line| line.starts_with("Mem:")).expect("free says it");
    let words: Vec<u64> = line.split_whitespace().skip(1).filter_map(|word| word.parse().ok()).collect();
    (words[0], words[2])
}

/// Whether sysinfo(2) is answered on this kernel: the start says so where it is not.
fn sysinfo_is_answered(started: &Done) -> bool {
    !started.err().contains("lets sysinfo(2) tell the host's") && !started.out().contains("lets sysinfo(2)")
}

fn memory(mode: Mode) {
    let one = guest("one", 105, mode, "virt_mem\n");
    let two = guest("two", 106, mode, "virt_mem\n");
    let sysinfo = sysinfo_is_answered(&one.start());
    two.start();
    if !limit(&one, 64 * MIB) {
        return;
    }
    limit(&two, 48 * MIB);
    let seen = meminfo(&one);
    assert_eq!(seen["MemTotal"], 64 * MIB);
    assert!(seen["MemFree"] <= seen["MemAvailable"] && seen["MemAvailable"] <= seen["MemTotal"], "{seen:?}");
    assert!(seen["MemFree"] > 32 * MIB, "hardly anything runs in it: {seen:?}");
    assert_eq!(meminfo(&two)["MemTotal"], 48 * MIB, "each its own");
    if sysinfo {
        assert_eq!(by_sysinfo(&one).0, 64 * MIB);
        assert_eq!(by_sysinfo(&two).0, 48 * MIB);
    }
    // What it uses is missing, there and only there.
    let before = meminfo(&two)["MemFree"];
    one.sh("dd if=/dev/zero of=/tmp/much bs=1M count=12 2>/dev/null").ok();
    let used = meminfo(&one);
    assert!(used["MemFree"] + 12 * MIB <= seen["MemFree"] + MIB, "{used:?}\n{seen:?}");
    let after = meminfo(&two)["MemFree"];
    assert!(before.abs_diff(after) < 4 * MIB, "the other guest: {before} {after}");
    // Statistics follow within seconds, counters at once.
    eventually("the file in memory is counted as shared", || {
        let now = meminfo(&one);
        now["Shmem"] >= 12 * MIB && now["Cached"] >= 12 * MIB
    });
    // A limit that is changed shows in the next reading.
    limit(&one, 80 * MIB);
    assert_eq!(meminfo(&one)["MemTotal"], 80 * MIB);
    if sysinfo {
        assert_eq!(by_sysinfo(&one).0, 80 * MIB);
    }
    limit(&one, 40 * MIB);
    assert_eq!(meminfo(&one)["MemTotal"], 40 * MIB);
    assert!(meminfo(&one)["MemFree"] <= 28 * MIB + MIB);
    for guest in [one, two] {
        guest.stop();
    }
}

fn no_limit(mode: Mode) {
    let guest = guest("test", 105, mode, "virt_mem\n");
    let sysinfo = sysinfo_is_answered(&guest.start());
    let (seen, host) = (meminfo(&guest), of_host());
    assert_eq!(seen["MemTotal"], host["MemTotal"], "all that the host has");
    assert!(seen["MemAvailable"] < seen["MemTotal"] && seen["MemAvailable"] > 0, "{seen:?}");
    // The rest is what the guest itself uses: it is small.
    assert!(seen["AnonPages"] < 64 * MIB && seen["Slab"] < 64 * MIB, "{seen:?}");
    if sysinfo {
        assert_eq!(by_sysinfo(&guest).0, host["MemTotal"]);
    }
    guest.sh("cat /proc/swaps").ok().says("Filename");
    guest.stop();
    // Without the flag nothing is mounted over it.
    guest.set("cflags", "");
    guest.start();
    assert_eq!(guest.sh("grep -c ' /proc/meminfo ' /proc/mounts").out().trim(), "0");
    guest.stop();
}

/// The smallest limit on the way up counts, and what others use of it is gone.
fn nested(mode: Mode) {
    let guest = guest("test", 105, mode, "virt_mem\n");
    guest.set("cgroup/base", "together\n");
    guest.start();
    let shared = Guest::named("together", 0);
    if limit(&shared, 96 * MIB) {
        assert_eq!(meminfo(&guest)["MemTotal"], 96 * MIB);
    }
    guest.stop();
}

fn nobody(mode: Mode) {
    let guest = guest("test", 105, mode, "virt_mem,virt_cpu,virt_load\n");
    guest.start();
    let limited = limit(&guest, 64 * MIB);
    // Something that reads again and again, and outlives the guard.
    guest
        .sh(
            "setsid sh -c 'while sleep 0.1; do head -n 1 /proc/meminfo; cut -d\" \" -f4 /proc/loadavg; done' \
             > /tmp/seen 2>&1 < /dev/null &",
        )
        .ok();
    kill_guard(&guest);
    let lines = || guest.sh("wc -l < /tmp/seen").out().trim().parse::<u32>().unwrap_or(0);
    let before = lines();
    eventually("it reads on", || lines() > before + 4);
    guest.sh("grep -v '^MemTotal\\|^[0-9]*/[0-9]*$' /tmp/seen").code(1);
    if limited {
        assert_eq!(meminfo(&guest)["MemTotal"], 64 * MIB);
    }
    // Whoever may take it away sees what every process of the host may see, nothing more.
    let done = guest.sh("umount /proc/meminfo 2>/dev/null; head -n 1 /proc/meminfo");
    let total = fields(&done.out())["MemTotal"];
    let own = if limited { 64 * MIB } else { of_host()["MemTotal"] };
    assert!(total == own || total == of_host()["MemTotal"], "{total}");
    guest.sh("echo x > /proc/meminfo || echo x > /proc/stat").code(1);
    // Over-mounting is refused, or hides from the guest what it could see.
    let over = guest.sh("mount -t tmpfs none /proc/stat 2>/dev/null; cat /proc/stat > /tmp/stat; true");
    over.ok();
    guest.stop();
}

/// Numbers of processors by every way that programs use.
fn counts(guest: &Guest) -> [usize; 4] {
    let done = guest.sh("nproc; grep -c ^processor /proc/cpuinfo; grep -c '^cpu[0-9]' /proc/stat; \
                         cat /sys/devices/system/cpu/online 2>/dev/null || echo none");
    let text = done.out();
    let lines: Vec<&str> = text.lines().collect();
    let number = |at: usize| lines[at].parse().unwrap_or_else(|_| panic!("{done}"));
    let listed = match lines[3] {
        // A guest without a /sys.
        "none" => number(0),
        list => list
            .split(',')
            .map(|range| {
                let (from, to) = range.split_once('-').unwrap_or((range, range));
                to.parse::<usize>().expect("a number") - from.parse::<usize>().expect("a number") + 1
            })
            .sum(),
    };
    [number(0), number(1), number(2), listed]
}

fn processors(mode: Mode) {
    let guest = guest("test", 105, mode, "virt_cpu,virt_load,virt_uptime\n");
    guest.set("fstab", "none /proc proc defaults 0 0\nnone /sys sysfs defaults 0 0\n");
    guest.start();
    let all = counts(&guest);
    assert!(all.iter().all(|&count| count == all[0] && count > 0), "{all:?}");
    // Nothing but a daemon that sleeps: little load, little time.
    let load = guest.sh("cat /proc/loadavg").out();
    let words: Vec<&str> = load.split_whitespace().collect();
    assert_eq!(words.len(), 5, "{load}");
    assert!(words[0].parse::<f64>().expect("a number") < 0.5, "{load}");
    let busy = || cpu(&guest)[0] + cpu(&guest)[2];
    let before = busy();
    guest.sh("for i in 1 2; do setsid sh -c 'while :; do :; done' < /dev/null > /dev/null 2>&1 & done").ok();
    eventually("two tasks run beside whoever reads", || {
        let load = guest.sh("cut -d' ' -f4 /proc/loadavg").out();
        load.starts_with("3/")
    });
    eventually("their time is the guest's", || busy() > before + 20);
    eventually("the load rises", || {
        let load = guest.sh("cut -d' ' -f1 /proc/loadavg").out();
        load.trim().parse::<f64>().expect("a number") > 0.05
    });
    // All at once, as a slow machine may rest between two commands.
    let text = guest.sh("head -n 1 /proc/stat; grep btime /proc/stat; cat /proc/uptime; date +%s").out();
    let mut numbers = text.split_whitespace().filter_map(|word| word.parse::<f64>().ok());
    let mut next = || numbers.next().unwrap_or_else(|| panic!("{text}"));
    let [user, _, system, idle] = [next(), next(), next(), next()];
    let mut rest = numbers.skip(6);
    let mut next = || rest.next().unwrap_or_else(|| panic!("{text}"));
    let [booted, uptime, idle_too, now] = [next(), next(), next(), next()];
    #[expect(clippy::cast_precision_loss, reason = "a few processors")]
    let each = all[0] as f64;
    let near = slowly(Duration::from_secs(2)).as_secs_f64();
    assert!((uptime - (user + system + idle) / 100.0 / each).abs() < near, "{text}");
    assert!((idle / 100.0 - idle_too).abs() < near * each, "{text}");
    assert!((now - booted - uptime).abs() < near, "{text}");
    one_processor(&guest, all[0]);
    guest.stop();
}

/// With a smaller set of processors every source has one less.
fn one_processor(guest: &Guest, all: usize) {
    let Some(file) = group_file(guest, &["cpuset.cpus"]) else { return };
    if all < 2 {
        return;
    }
    let inner = file.with_file_name("guest").join("cpuset.cpus");
    if fs::read_to_string(&inner).is_ok_and(|own| !own.trim().is_empty()) {
        fs::write(&inner, "0").expect("the trial's own group");
    }
    fs::write(&file, "0").expect("the trial's own group");
    assert_eq!(counts(guest), [1; 4]);
    let list = guest.sh("cat /sys/devices/system/cpu/online").out();
    assert!(["0\n", ""].contains(&list.as_str()), "{list}");
}

/// user, nice, system, idle, in hundredths of a second.
fn cpu(guest: &Guest) -> [u64; 4] {
    let text = guest.sh("head -n 1 /proc/stat").out();
    let numbers: Vec<u64> = text.split_whitespace().skip(1).filter_map(|word| word.parse().ok()).collect();
    [numbers[0], numbers[1], numbers[2], numbers[3]]
}

/// `free`, `top`, `uptime`, `vmstat` and `nproc` as Debian has them.
fn debian(mode: Mode) {
    let guest = Guest::from(Image::Debian, "test", mode).style("plain").make();
    guest.set("cflags", "virt_mem,virt_cpu,virt_load,virt_uptime\n");
    guest.set("apps/init/cmd.start", "/bin/sh\n/init\n");
    guest.put("/init", "trap 'exit 0' INT TERM PWR\nwhile :; do sleep 1; done\n");
    guest.set("../.defaults/apps/vprocunhide/files", "/proc/meminfo\n/proc/swaps\n/proc/uptime\n/proc/loadavg\n/proc/stat\n\
        /proc/cpuinfo\n/proc/vmstat\n/proc/self\n/proc/version\n/proc/mounts\n/proc/sys/\n/proc/filesystems\n");
    for program in ["free", "top", "uptime", "vmstat", "ps"] {
        let path = format!("/usr/bin/{program}");
        let needs = command::host("ldd", &[&path]).out();
        let libraries = needs.split_whitespace().filter(|word| word.starts_with("/lib/"));
        for word in libraries.chain([path.as_str()]) {
            // In a merged /usr both are one place.
            let to = guest.tree(&format!("/usr{}", word.strip_prefix("/usr").unwrap_or(word)));
            if !to.exists() {
                fs::copy(word, to).expect("the trial's own tree");
            }
        }
    }
    guest.start();
    if !limit(&guest, 256 * MIB) {
        return;
    }
    let words = |line: &str, program: &str| -> Vec<String> {
        let done = guest.sh(line);
        done.ok();
        let text = done.out();
        let found = text.lines().find(|found| found.trim_start().starts_with(program));
        found.unwrap_or_else(|| panic!("{done}")).split_whitespace().map(str::to_owned).collect()
    };
    assert_eq!(words("free -b", "Mem:")[1], (256 * MIB).to_string());
    assert_eq!(words("top -b -n 1 -E m", "MiB Mem")[3], "256.0");
    let text = guest.sh("uptime").out();
    assert!(text.contains(" 0 min") || text.contains("up 1 min"), "{text}");
    // What vmstat tells of paging it has from a file that guests do not see unless the administrator shows it.
    let text = guest.sh("vmstat 1 2").ok().out();
    assert!(text.lines().count() == 4, "{text}");
    // Twice from one open file: what is changed meanwhile shows.
    guest.sh("top -b -n 2 -d 1 -E m > /tmp/top &\n sleep 0.5; wait").ok();
    let text = guest.sh("grep -c 'MiB Mem' /tmp/top").ok().out();
    assert_eq!(text, "2\n");
    let started = guest.sh("ps -o lstart= -p 1; date").out();
    assert_eq!(started.lines().count(), 2, "{started}");
    let processors = guest.sh("nproc; grep -c ^processor /proc/cpuinfo; getconf _NPROCESSORS_ONLN").out();
    let numbers: Vec<&str> = processors.split_whitespace().collect();
    assert!(numbers.len() == 3 && numbers.iter().all(|number| *number == numbers[0]), "{processors}");
    // Without the guard the files stay, and say what they said.
    kill_guard(&guest);
    guest.sh("exec 3< /proc/meminfo; cat <&3 | grep -q MemTotal; cat /proc/stat | grep -q ^btime").ok();
    limit(&guest, 128 * MIB);
    eventually("a command about the guest gives it another guard", || {
        words("free -b", "Mem:")[1] == (128 * MIB).to_string()
    });
    guest.stop();
}

fn kill_guard(guest: &Guest) {
    let record = fs::read_to_string(format!("/run/vservers/.state/{}/record", guest.name)).expect("it runs");
    let record: serde_json::Value = serde_json::from_str(&record).expect("JSON");
    let guard = record["guard"]["pid"].as_i64().expect("a number");
    command::host("kill", &["-KILL", &guard.to_string()]).ok();
}

#[track_caller]
fn eventually(what: &str, mut happens: impl FnMut() -> bool) {
    let end = Instant::now() + slowly(Duration::from_secs(30));
    while !happens() {
        assert!(Instant::now() < end, "never: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}
