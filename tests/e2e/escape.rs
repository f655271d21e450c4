//! What a guest must not see or do, tried from inside by its root with the default capabilities.
//!
//! Each trial asserts how an attack is refused; where it is safe, the same attack is made on the host first, so that a
//! trial whose attack has become harmless by itself is seen.

use std::fs;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};
use vserver_e2e::command::{host, tool};
use vserver_e2e::probe::{self, attack, control};
use vserver_e2e::{Guest, Mode, Need, Spec, Terminal, soon};

pub fn specs() -> Vec<Spec> {
    // The attacker knows the numbers of one architecture.
    if cfg!(not(target_arch = "x86_64")) {
        return Vec::new();
    }
    vec![
        Spec::new("escape_system_calls", system_calls),
        Spec::new("escape_other_doors_of_the_kernel", other_doors),
        Spec::new("escape_mounts", mounts),
        Spec::new("escape_device_nodes", device_nodes),
        Spec::new("escape_kernel_files", kernel_files),
        Spec::new("escape_chroot", chroot),
        Spec::new("escape_keyrings", keyrings),
        Spec::new("escape_descriptors", descriptors),
        Spec::new("escape_working_directory", working_directory),
        Spec::new("escape_environment", environment),
        Spec::new("escape_executable_of_the_tool", executable_of_the_tool),
        Spec::new("escape_typing_into_the_caller", typing_into_the_caller),
        Spec::new("escape_terminals_of_the_host", terminals_of_the_host),
        Spec::new("escape_processes", processes),
        Spec::new("escape_own_limits", own_limits),
        Spec::new("escape_abstract_sockets", abstract_sockets).needs(&[Need::SocketScope]),
        Spec::new("escape_abstract_sockets_entered", abstract_sockets_entered).needs(&[Need::SocketGuard]),
    ]
}

fn hostile(mode: Mode) -> Guest {
    let guest = Guest::busybox("test", mode).make();
    probe::plant(&guest);
    guest
}

const REFUSED: &[&str] = &["EPERM", "EACCES", "ENOSYS"];

fn system_calls(mode: Mode) {
    control(&["open_by_handle", "keyctl", "io_uring", "perf_event", "fanotify", "syslog", "packet"])
        .expect("open_by_handle", &["ok"])
        .expect("keyctl", &["ok"])
        .expect("io_uring", &["ok", "ENOSYS"])
        .expect("packet", &["ok"]);
    let guest = hostile(mode);
    guest.start();
    let calls = [
        "open_by_handle",
        "kexec_load",
        "kexec_file_load",
        "init_module",
        "unshare-mount",
        "unshare-net",
        "unshare-pid",
        "unshare-cgroup",
        "sethostname",
        "settimeofday",
        "iopl",
        "ioperm",
        "syslog",
        "fanotify",
        "packet",
        "nice",
        "sched-rt",
        "perf_event",
        "fsopen",
        "reboot-kexec",
        "acct:/tmp",
        "swapon:/tmp",
    ];
    let answers = attack(&guest, &calls);
    for call in calls {
        let wanted: &[&str] = match call {
            // A guest may halt itself; only kexec must not happen. EINVAL is what a PID namespace answers.
            "reboot-kexec" => &["EINVAL", "EPERM"],
            _ => REFUSED,
        };
        answers.expect(call, wanted);
    }
    // New user namespaces would give back every capability within.
    let users = ["unshare-user", "unshare-user-mount", "clone-user", "clone3-user"];
    let answers = attack(&guest, &users);
    for call in users {
        answers.expect(call, &["EPERM", "ENOSYS", "ENOSPC"]);
    }
    if mode == Mode::Classic {
        attack(&guest, &["keyctl", "request_key", "io_uring"])
            .expect("keyctl", &["ENOSYS"])
            .expect("request_key", &["ENOSYS"])
            .expect("io_uring", &["ENOSYS"]);
    }
    assert!(guest.is_running());
    guest.stop();
}

/// A filter that knows only one table of numbers is none.
fn other_doors(mode: Mode) {
    let guest = hostile(mode);
    guest.start();
    let doors = ["i386-keyctl", "i386-unshare-user", "i386-kexec_load", "x32-keyctl", "x32-unshare-user"];
    let answers = attack(&guest, &doors);
    for door in doors {
        let own = mode == Mode::Shifted && door.ends_with("keyctl");
        let dead = ["EPERM", "ENOSYS", "ENOSPC", "died of signal 11"];
        // A shifted guest has keyrings of its own; EINVAL: no such operation.
        answers.expect(
            door,
            if own { &["ok", "EINVAL", "EPERM", "ENOSYS", "died of signal 11"] } else { &dead },
        );
    }
    guest.stop();
}

fn mounts(mode: Mode) {
    let guest = hostile(mode);
    guest.start();
    let tries = [
        "mount:/tmp",
        "bind:/tmp",
        "remount:/proc/sys",
        "remount:/proc",
        "umount:/proc/sys",
        "umount:/proc/kcore",
        "umount:/proc",
        "umount:/dev",
        "umount:/tmp",
        "pivot_root:/tmp",
        "open_tree:/",
        "mount_setattr:/proc/sys",
        "setns:/proc/1/ns/mnt",
        "setns:/proc/1/ns/pid",
    ];
    let answers = attack(&guest, &tries);
    for one in tries {
        // EINVAL: to be unmounted a mount must be there.
        let wanted: &[&str] =
            if one == "umount:/proc/kcore" { &["EPERM", "EINVAL", "ENOENT"] } else { REFUSED };
        answers.expect(one, wanted);
    }
    guest.stop();
}

fn device_nodes(mode: Mode) {
    let Some((major, minor)) = a_block_device() else { panic!("this machine has no block device") };
    let guest = hostile(mode);
    for place in ["vda", "etc/vda", "root/vda", "tmp.vda"] {
        let path = guest.tree(place);
        host("mknod", &["-m", "666", path.to_str().expect("ASCII"), "b", &major, &minor]).ok();
    }
    for (place, minor) in [("mem", "1"), ("kmsg", "11"), ("port", "4")] {
        let path = guest.tree(place);
        host("mknod", &["-m", "666", path.to_str().expect("ASCII"), "c", "1", minor]).ok();
    }
    // On the host the planted kernel log can be read; block devices only where the host itself is no container.
    let planted = format!("open-read:{}", guest.tree("kmsg").display());
    control(&[&planted]).expect(&planted, &["ok"]);
    guest.start();
    let tries = [
        "open-read:/vda",
        "open-write:/vda",
        "open-read:/etc/vda",
        "open-read:/root/vda",
        "open-read:/tmp.vda",
        "open-read:/mem",
        "open-read:/kmsg",
        "open-read:/port",
    ];
    let answers = attack(&guest, &tries);
    for one in tries {
        answers.expect(one, REFUSED);
    }
    let nodes = [
        format!("mknod-b:/root/own:{major}:{minor}"),
        format!("mknod-b:/dev/own:{major}:{minor}"),
        "mknod-c:/root/own-mem:1:1".to_owned(),
        "mknod-c:/dev/own-kmsg:1:11".to_owned(),
    ];
    let words: Vec<&str> = nodes.iter().map(String::as_str).collect();
    let answers = attack(&guest, &words);
    for word in words {
        answers.expect(word, REFUSED);
    }
    // What every program needs does work.
    attack(&guest, &["open-write:/dev/null", "open-read:/dev/urandom", "open-read:/dev/zero"])
        .expect("open-write:/dev/null", &["ok"])
        .expect("open-read:/dev/urandom", &["ok"])
        .expect("open-read:/dev/zero", &["ok"]);
    guest.stop();
}

fn a_block_device() -> Option<(String, String)> {
    let text = fs::read_to_string("/proc/partitions").ok()?;
    let line = text.lines().nth(2)?;
    let mut words = line.split_whitespace();
    Some((words.next()?.to_owned(), words.next()?.to_owned()))
}

fn kernel_files(mode: Mode) {
    control(&["open-write:/proc/sys/kernel/core_pattern", "open-read:/proc/kallsyms"])
        .expect("open-write:/proc/sys/kernel/core_pattern", &["ok"]);
    let guest = hostile(mode);
    guest.start();
    let written = [
        "/proc/sys/kernel/core_pattern",
        "/proc/sys/kernel/poweroff_cmd",
        "/proc/sys/kernel/modprobe",
        "/proc/sys/kernel/randomize_va_space",
        "/proc/sys/vm/drop_caches",
        "/proc/sys/vm/overcommit_memory",
        "/proc/sys/fs/suid_dumpable",
        "/proc/sys/fs/protected_symlinks",
        "/proc/sys/net/ipv4/ip_forward",
        "/proc/sys/net/ipv4/conf/all/forwarding",
        "/proc/irq/default_smp_affinity",
        "/proc/bus/pci",
        "/proc/fs",
    ];
    let tries: Vec<String> = written.iter().map(|path| format!("open-write:{path}")).collect();
    let words: Vec<&str> = tries.iter().map(String::as_str).collect();
    let answers = attack(&guest, &words);
    for word in words {
        answers.expect(word, &["EROFS", "EACCES", "EPERM", "ENOENT", "EISDIR"]);
    }
    // Masked ones read as empty; written to, they are the null device.
    for path in
        ["sysrq-trigger", "kcore", "kmsg", "kallsyms", "timer_list", "keys", "key-users", "sched_debug"]
    {
        guest
            .sh(&format!("[ ! -e /proc/{path} ] || head -c 4 /proc/{path} 2> /dev/null; true"))
            .says_exactly("");
    }
    let trigger =
        "[ ! -e /proc/sysrq-trigger ] || [ -c /proc/sysrq-trigger ] || ! echo h > /proc/sysrq-trigger";
    guest.sh(trigger).ok();
    guest.sh("cat /proc/sys/kernel/hostname && cat /proc/stat /proc/meminfo > /dev/null").ok();
    guest.stop();
}

fn chroot(mode: Mode) {
    // Stands at the same path on the host, and not in the guest.
    fs::create_dir_all("/tmp/t/host").expect("/tmp is ours");
    fs::write("/tmp/t/host/secret", "secret").expect("/tmp is ours");
    control(&["leave-chroot:/tmp/t/host/secret"]).expect("leave-chroot:/tmp/t/host/secret", &["ok"]);
    fs::remove_dir("/tmp/jail").expect("the control has made it");
    let guest = hostile(mode);
    guest.put("/own", "own\n");
    guest.start();
    // The trick works, and ends in the guest's own root.
    attack(&guest, &["leave-chroot:/own", "leave-chroot:/tmp/t/host/secret"])
        .expect("leave-chroot:/own", &["ok"])
        .expect("leave-chroot:/tmp/t/host/secret", &["ENOENT"]);
    guest.sh("cat /proc/1/root/own /proc/self/root/own /../../own").says_exactly("own\nown\nown\n");
    guest.sh("ls /proc/1/root/tmp/t/host /proc/1/cwd/tmp/t/host").code(1);
    guest.stop();
}

/// Root's keyring is one for all that share a user namespace.
fn keyrings(mode: Mode) {
    control(&["key-add:e2e"]).expect("key-add:e2e", &["ok"]);
    control(&["key-find:e2e"]).expect("key-find:e2e", &["ok"]);
    let guest = hostile(mode);
    guest.start();
    attack(&guest, &["key-find:e2e"]).expect("key-find:e2e", &["ENOSYS", "ENOKEY", "EPERM", "EACCES"]);
    guest.stop();
}

fn descriptors(mode: Mode) {
    let guest = hostile(mode);
    // Not close-on-exec, as a careless program of the host would have them.
    let careless = "exec 7</etc 8</etc/hostname 9<>/tmp/t/open 21</; exec \"$@\"";
    let run = |words: &[&str]| host("bash", &[&["-c", careless, "careless"], words].concat());
    let program = "/run/e2e/bin/vserver";
    // Makes the link.
    drop(guest.vserver(&["running"]));
    run(&[program, "test", "start"]).ok();
    let list =
        "for p in 1 self; do for fd in /proc/$p/fd/*; do echo \"$p ${fd##*/} $(readlink $fd)\"; done; done";
    let done = run(&[program, "test", "exec", "/bin/sh", "-c", list]);
    done.ok();
    for line in done.out().lines() {
        let mut words = line.splitn(3, ' ');
        let (_process, descriptor, target) = (words.next(), words.next(), words.next().unwrap_or(""));
        let descriptor: u32 = descriptor.and_then(|word| word.parse().ok()).unwrap_or(0);
        assert!(
            descriptor <= 2 || target.is_empty() || target.starts_with("/proc/"),
            "descriptor of the host in the guest: {line}\n{done}"
        );
    }
    // Every process of the guest, seen from the host.
    for pid in pids_of(&guest) {
        for entry in fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten() {
            let target = fs::read_link(entry.path()).unwrap_or_default();
            let number: u32 = entry.file_name().to_string_lossy().parse().unwrap_or(0);
            assert!(number <= 2, "process {pid} has {} as {number}", target.display());
        }
    }
    // Stopping runs a command inside, too: its descriptors are looked at by the guest's own script.
    guest.put(
        "/etc/rc.stop",
        "ls -l /proc/self/fd > /var/log/fds; readlink /proc/self/cwd >> /var/log/fds; killall sleep\n",
    );
    run(&[program, "test", "stop"]).ok();
    let seen = guest.file("/var/log/fds");
    assert!(!seen.contains("/etc") && !seen.contains("/tmp/t/open"), "stop leaks: {seen}");
    assert!(seen.ends_with("\n/\n"), "{seen}");
}

/// The guest's processes as the trial numbers them.
fn pids_of(guest: &Guest) -> Vec<String> {
    let text = tool("vps", &["-eo", "pid"]).out();
    let wanted = guest.xid.to_string();
    let of_guest = text.lines().filter(|line| line.split_whitespace().any(|word| word == wanted));
    let found: Vec<String> =
        of_guest.filter_map(|line| line.split_whitespace().next().map(str::to_owned)).collect();
    assert!(!found.is_empty(), "vps shows no process of the guest:\n{text}");
    found
}

/// CVE-2024-21626: a working directory that is a descriptor of the host.
fn working_directory(mode: Mode) {
    let guest = hostile(mode);
    fs::create_dir_all("/tmp/t/host").expect("/tmp is ours");
    fs::write("/tmp/t/host/secret", "secret").expect("/tmp is ours");
    guest.start();
    for number in 3..24 {
        let try_it = format!(
            "cd /proc/self/fd/{number} 2> /dev/null && cat ../../tmp/t/host/secret ../../../tmp/t/host/secret"
        );
        let done = guest.program(&["exec", "/bin/sh", "-c", &try_it]).directory("/tmp/t/host").run();
        assert!(!done.out().contains("secret"), "{done}");
    }
    let done = guest.program(&["exec", "/bin/sh", "-c", "readlink /proc/self/cwd; cat secret"]);
    let done = done.directory("/tmp/t/host").run();
    done.code(1).says_exactly("/\n");
    guest.stop();
}

fn environment(mode: Mode) {
    let guest = hostile(mode);
    guest.program(&["start"]).env("HOST_SECRET", "hidden").run().ok();
    let inside = "cat /proc/[0-9]*/environ | tr '\\0' '\\n'";
    let seen = guest.sh(inside).out();
    assert!(seen.contains("container=") && !seen.contains("HOST_SECRET"), "{seen}");
    // The guard is not of the guest; all the same it carries nothing of whoever started it.
    let record = fs::read_to_string("/run/vservers/.state/test/record").expect("it runs");
    let record: serde_json::Value = serde_json::from_str(&record).expect("JSON");
    let guard = record["guard"]["pid"].as_i64().expect("a number");
    let seen = fs::read(format!("/proc/{guard}/environ")).expect("the guard lives");
    assert!(!String::from_utf8_lossy(&seen).contains("HOST_SECRET"));
    guest.stop();
}

/// CVE-2019-5736: `/proc/self/exe` of whoever enters must not be the host's program.
fn executable_of_the_tool(mode: Mode) {
    let guest = hostile(mode);
    guest.start();
    let tool = std::fs::canonicalize("/run/e2e/bin/vserver").expect("it was run");
    let before = (fs::read(&tool).expect("readable"), tool.metadata().expect("there").mtime());
    // The shell becomes a script whose interpreter is whatever program enters.
    guest.put("/trap.sh", "#!/proc/self/exe\n");
    fs::set_permissions(guest.tree("/trap.sh"), fs::Permissions::from_mode(0o755)).expect("ours");
    // A watcher inside looks at the program of every process that appears, and overwrites what it can.
    let watcher = "end=$(($(date +%s) + 9)); while [ $(date +%s) -lt $end ] && [ ! -e /watch.stop ]; do \
        for p in /proc/[0-9]*; do t=$(readlink $p/exe) || continue; case $t in *busybox) continue;; esac; \
        echo \"$t\" >> /seen; head -c 4000000 $p/exe > /taken.$$ 2> /dev/null && cat /taken.$$ >> /taken; \
        (echo overwritten > $p/exe) 2> /dev/null; done; done";
    let watching = guest.program(&["exec", "/bin/sh", "-c", watcher]).start();
    for _ in 0..6 {
        drop(guest.vserver(&["exec", "/trap.sh"]));
        drop(guest.vserver(&["exec", "/proc/self/exe"]));
        drop(guest.vserver(&["exec", "/bin/busybox", "true"]));
    }
    guest.put("/watch.stop", "");
    watching.wait(std::time::Duration::from_secs(30)).ok();
    assert!(before == (fs::read(&tool).expect("readable"), tool.metadata().expect("there").mtime()));
    let seen = guest.file("/seen");
    let name = tool.file_name().expect("a file").to_string_lossy().into_owned();
    for line in seen.lines() {
        assert!(!line.ends_with(&format!("/{name}")), "the tool itself was seen inside: {line}");
    }
    // Nor could its content be read: a stranger to the guest's tree is far bigger than the helper.
    let taken = fs::read(guest.tree("/taken")).unwrap_or_default();
    assert!(!taken.windows(32).any(|part| part == &before.0[before.0.len() / 2..][..32]));
    guest.stop();
}

/// TIOCSTI: a program run inside types into the terminal of whoever has called it.
fn typing_into_the_caller(mode: Mode) {
    let guest = hostile(mode);
    guest.start();
    let script = "/run/e2e/bin/vserver test exec /bin/probe 'tiocsti:touch /tmp/t/typed'; echo \"over: $?\"; sleep 0.3; read -r -t 0.5 line && echo \"got: $line\"; echo end";
    let bash = vserver_e2e::Program::of_host("bash").args(&["-c", script]);
    let mut terminal = Terminal::start(bash);
    terminal.expect("over: 0");
    terminal.expect("end");
    assert_eq!(terminal.end(), 0);
    let text = terminal.text();
    assert!(!text.contains("got: touch"), "typed into the caller's terminal:\n{text}");
    // The control: the same without a guest, on the same kind of terminal, unless the kernel forbids it to all.
    let program = probe::program();
    let script = format!(
        "{} 'tiocsti:touch /tmp/t/typed'; read -r -t 2 line && echo \"got: $line\"; echo end",
        program.display()
    );
    let mut terminal = Terminal::start(vserver_e2e::Program::of_host("bash").args(&["-c", &script]));
    terminal.expect("end");
    terminal.end();
    let legacy = fs::read_to_string("/proc/sys/dev/tty/legacy_tiocsti").unwrap_or_default();
    if legacy.trim() == "1" {
        assert!(terminal.text().contains("got: touch"), "the control does not work:\n{}", terminal.text());
    }
    guest.stop();
}

fn terminals_of_the_host(mode: Mode) {
    let guest = hostile(mode);
    guest.start();
    let bash = vserver_e2e::Program::of_host("bash").args(&["-c", "tty; echo; sleep 3"]);
    let mut terminal = Terminal::start(bash);
    terminal.expect("/dev/pts/");
    let of_host = fs::metadata("/dev/pts").expect("there").dev();
    let done = guest.sh("stat -c %d /dev/pts; ls /dev/pts");
    let inside = done.out();
    assert_ne!(
        inside.lines().next(),
        Some(of_host.to_string().as_str()),
        "the host's /dev/pts is in the guest"
    );
    guest.sh("[ $(stat -c %i /dev/ptmx -L) = $(stat -c %i /dev/pts/ptmx) ]").ok();
    guest.stop();
    terminal.end();
}

fn processes(mode: Mode) {
    // Numbers that no process of a fresh guest has: what they name there is nobody.
    fs::write("/proc/sys/kernel/ns_last_pid", "3000").expect("the trial's process numbers are its own");
    let other = Guest::busybox("other", mode).xid(106).make();
    other.start();
    let guest = hostile(mode);
    guest.start();
    let mut bystander = std::process::Command::new("sleep").arg("100").spawn().expect("the host has it");
    let mut foreign = pids_of(&other);
    foreign.push(bystander.id().to_string());
    assert!(foreign.iter().all(|pid| pid.len() >= 4), "{foreign:?}");
    let tries: Vec<String> =
        foreign.iter().flat_map(|pid| [format!("ptrace:{pid}"), format!("kill:{pid}:9")]).collect();
    let words: Vec<&str> = tries.iter().map(String::as_str).collect();
    let answers = attack(&guest, &words);
    for word in words {
        answers.expect(word, &["ESRCH"]);
    }
    assert!(bystander.try_wait().expect("our child").is_none(), "the host's process was killed");
    // The control: by the same numbers the host reaches them.
    let reach = format!("kill:{}:9", bystander.id());
    control(&[&reach]).expect(&reach, &["ok"]);
    bystander.wait().expect("our child");
    // kill(-1) and killall reach nobody outside.
    guest.sh("killall5 -9 2> /dev/null; killall -9 sleep; kill -9 -1; true").ok();
    other.sh("pidof sleep").ok();
    assert!(other.is_running());
    let count: usize = other.sh("ls -d /proc/[0-9]* | wc -l").out().trim().parse().unwrap_or(999);
    assert!(count < 10, "{count} processes are visible");
    drop(guest.vserver(&["stop"]));
    other.stop();
}

fn own_limits(mode: Mode) {
    let guest = hostile(mode);
    guest.set("ulimits/nofile.hard", "100\n");
    guest.start();
    // RLIMIT_NOFILE is 7. A group whose limit the administrator sets by hand stands outside the guest's view.
    attack(&guest, &["limit:7:200", "limit:7:90"])
        .expect("limit:7:200", &["EPERM"])
        .expect("limit:7:90", &["ok"]);
    let groups = groups_of(&guest);
    assert!(!groups.is_empty());
    let mut set = 0;
    for group in &groups {
        for (file, value) in
            [("pids.max", "17"), ("memory.limit_in_bytes", "67108864"), ("memory.max", "67108864")]
        {
            let path = group.join(file);
            if path.exists() {
                fs::write(&path, value).expect("the host's root may");
                set += 1;
            }
        }
    }
    assert!(set > 0, "no group with limits in {groups:?}");
    let raise = "find / -xdev -name pids.max -o -name memory.max -o -name memory.limit_in_bytes 2> /dev/null; \
        find /sys -name pids.max -o -name memory.max -o -name memory.limit_in_bytes -o -name release_agent \
        -o -name devices.allow 2> /dev/null | while read -r file; do (echo max > $file; echo -1 > $file) 2> /dev/null; done; \
        mkdir /sys/fs/cgroup/../vservers 2> /dev/null; cat /proc/self/cgroup";
    let done = guest.sh(raise);
    // Its own view begins at its own group.
    for line in done.out().lines().filter(|line| line.contains("::/") || line.contains(":/")) {
        assert!(line.ends_with(":/"), "{line} shows a group of the host");
    }
    for group in &groups {
        for (file, value) in
            [("pids.max", "17"), ("memory.limit_in_bytes", "67108864"), ("memory.max", "67108864")]
        {
            let path = group.join(file);
            if path.exists() {
                assert_eq!(
                    fs::read_to_string(&path).expect("there").trim(),
                    value,
                    "{} was raised",
                    path.display()
                );
            }
        }
    }
    // And it holds: more than 17 processes do not start.
    if groups.iter().any(|group| group.join("pids.max").exists()) {
        let many = "i=0; while [ $i -lt 40 ]; do sleep 5 & i=$((i + 1)); done; echo all started";
        let done = guest.sh(many);
        assert!(!done.out().contains("all started"), "{done}");
    }
    guest.stop();
}

/// The outer groups of a guest, in every hierarchy.
fn groups_of(guest: &Guest) -> Vec<std::path::PathBuf> {
    let top = std::env::var("VSERVER_CGROUP_TOP").expect("the harness sets it");
    let table = fs::read_to_string("/proc/self/mountinfo").expect("/proc is mounted");
    table
        .lines()
        .filter(|line| line.contains(" - cgroup"))
        .filter_map(|line| line.split(' ').nth(4))
        .map(|mount| std::path::Path::new(mount).join(&top).join(&guest.name))
        .filter(|group| group.is_dir())
        .collect()
}

fn abstract_name(name: &str) -> SocketAddr {
    use std::os::linux::net::SocketAddrExt as _;
    SocketAddr::from_abstract_name(name).expect("a short name")
}

/// From a process of the guest's own, by Landlock or by the programs of its group.
fn abstract_sockets(mode: Mode) {
    let listener = UnixListener::bind_addr(&abstract_name("e2e-host")).expect("a free name");
    assert!(listener.as_raw_fd() > 2);
    control(&["abstract:e2e-host"]).expect("abstract:e2e-host", &["ok"]);
    let guest = hostile(mode);
    let daemon = guest.file("/etc/rc.start");
    guest.put("/etc/rc.start", &format!("{} abstract:e2e-host > /var/log/abstract\n{daemon}", probe::INSIDE));
    guest.start();
    let answers = probe::Answers::read(&guest.file("/var/log/abstract"));
    answers.expect("abstract:e2e-host", &["EPERM", "ECONNREFUSED"]);
    guest.stop();
}

/// From programs that the administrator brings in, and between guests; a guest's own names are its own affair.
fn abstract_sockets_entered(mode: Mode) {
    let _stream = UnixListener::bind_addr(&abstract_name("e2e-host")).expect("a free name");
    let _datagrams = UnixDatagram::bind_addr(&abstract_name("e2e-datagrams")).expect("a free name");
    let (guest, other) = (hostile(mode), Guest::busybox("other", mode).xid(106).make());
    probe::plant(&other);
    for (guest, name) in [(&guest, "e2e-own"), (&other, "e2e-other")] {
        let daemon = guest.file("/etc/rc.start");
        guest.put("/etc/rc.start", &format!("{} abstract-serve:{name} &\n{daemon}", probe::INSIDE));
        guest.put("/etc/rc.stop", "killall probe sleep\n");
        guest.start();
    }
    let words =
        ["abstract:e2e-host", "abstract-send:e2e-datagrams", "abstract:e2e-other", "abstract:e2e-own"];
    soon("the host reaches all of them", || words.iter().all(|word| control(&[word]).of(word) == "ok"));
    let answers = attack(&guest, &words);
    for word in &words[..3] {
        answers.expect(word, &["EPERM"]);
    }
    answers.expect("abstract:e2e-own", &["ok"]);
    guest.stop();
    other.stop();
}
