//! S41, S56 (what is shown): a guest in the host's network sees its own devices and addresses only, whatever answers
//! or has been killed.

use std::fs;
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use vserver_e2e::command::{host, tool};
use vserver_e2e::outside::{self, DEVICE};
use vserver_e2e::viewprobe::{self, ask, ask_32, ask_host};
use vserver_e2e::{Guest, Mode, Outside, Spec, netprobe, probe, soon};

pub fn specs() -> Vec<Spec> {
    // The programs know the numbers of one architecture.
    if cfg!(not(target_arch = "x86_64")) {
        return Vec::new();
    }
    vec![
        Spec::new("hide_iproute2_and_libc", iproute2_and_libc),
        Spec::new("hide_device_requests", device_requests),
        Spec::new("hide_busybox", busybox),
        Spec::new("hide_files", files),
        Spec::new("hide_configured_interfaces", configured_interfaces),
        Spec::new("hide_sockets", sockets),
        Spec::new("hide_32_bits", thirty_two_bits),
        Spec::new("s41_hide_netif_can_be_taken_off", taken_off),
        Spec::new("s56_loopback_as_shown", loopback),
        Spec::new("hide_changes_are_seen", changes),
        Spec::new("hide_broker_killed", broker_killed),
        Spec::new("hide_guard_killed", guard_killed),
        Spec::new("hide_hostile_callers", hostile_callers),
        Spec::new("hide_shadow", shadow),
        Spec::new("hide_shadow_broker_killed", shadow_broker_killed),
    ]
}

/// The host's network: a device with addresses of the host's and of the guest's, and one that is the host's alone.
struct Network {
    _outside: Outside,
}

impl Network {
    fn make() -> Self {
        let outside = Outside::connect();
        for line in [
            "ip link set lo up",
            "ip address add 192.0.2.11/24 broadcast + dev e2e0",
            "ip address add 2001:db8::11/64 dev e2e0 nodad",
            "ip link add hidden0 type veth peer name hidden1",
            "ip link set hidden0 up",
            "ip link set hidden1 up",
            "ip address add 198.51.100.1/24 dev hidden0",
            "ip route add 203.0.113.0/24 via 198.51.100.9",
        ] {
            host("sh", &["-c", line]).ok();
        }
        Self { _outside: outside }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        drop(host("ip", &["link", "delete", "hidden0"]));
    }
}

/// A guest with two addresses that the host has already.
fn guest(mode: Mode) -> Guest {
    let guest = Guest::busybox("test", mode).make();
    for (key, ip) in [("0", "192.0.2.11/24"), ("1", "2001:db8::11/64")] {
        guest.set(&format!("interfaces/{key}/ip"), &format!("{ip}\n"));
        guest.set(&format!("interfaces/{key}/nodev"), "");
    }
    viewprobe::plant(&guest);
    guest
}

/// What nobody in a guest may read anywhere: the other device, and the host's own addresses.
const FOREIGN: [&str; 4] = ["hidden", "198.51.100", "192.0.2.1/", "2001:db8::1/"];

#[track_caller]
fn shows(guest: &Guest, line: &str, wanted: &[&str]) {
    let done = guest.sh(line);
    done.ok();
    let text = done.out();
    for word in wanted {
        assert!(text.contains(word), "{line} lacks {word}:\n{text}");
    }
    for word in FOREIGN {
        assert!(!text.contains(word), "{line} shows {word}:\n{text}");
    }
}

fn index_of(device: &str) -> String {
    fs::read_to_string(format!("/sys/class/net/{device}/ifindex"))
        .unwrap_or_else(|_| host("sh", &["-c", &format!("ip -o link show {device} | cut -d: -f1")]).out())
        .trim()
        .to_owned()
}

fn iproute2_and_libc(mode: Mode) {
    let _network = Network::make();
    let guest = guest(mode);
    viewprobe::lend(&guest, "/usr/sbin/ip");
    let control = ask_host(&["libc", "netlink"]);
    assert!(control.of("libc").contains("hidden0=198.51.100.1"), "{control:?}");
    assert!(control.of("netlink").contains("hidden0"), "{control:?}");
    guest.start();
    let index = index_of(DEVICE);
    let mac =
        host("sh", &["-c", &format!("ip -o link show {DEVICE} | sed 's/.*ether \\([^ ]*\\).*/\\1/'")]).out();
    let number = format!("{index}: {DEVICE}");
    let own = ["127.0.0.1/8", "192.0.2.11/24", "2001:db8::11/64", &number, mac.trim()];
    shows(&guest, "/usr/sbin/ip address", &own);
    shows(&guest, "/usr/sbin/ip link", &[&number, mac.trim(), "LOOPBACK,UP"]);
    shows(&guest, "/usr/sbin/ip route", &["default via 192.0.2.254", "192.0.2.0/24"]);
    shows(&guest, "/usr/sbin/ip -6 route", &["default via 2001:db8::fe", "2001:db8::/64"]);
    guest.sh("/usr/sbin/ip link show hidden0").code(1).complains("does not exist");
    let all = format!("{DEVICE} {DEVICE}=192.0.2.11 {DEVICE}=2001:db8::11 lo lo=127.0.0.1 lo=::1");
    ask(&guest, &["libc", "netlink", "netlink-datagram", "generic", "diag", "uevent"])
        .expect("libc", &[&all])
        .expect("netlink", &[&format!("{DEVICE} lo")])
        .expect("netlink-datagram", &[&format!("{DEVICE} lo")])
        .expect("generic", &["ok"])
        .expect("diag", &["errno 93"])
        .expect("uevent", &["ok"]);
    guest.stop();
}

fn device_requests(mode: Mode) {
    let _network = Network::make();
    let guest = guest(mode);
    guest.start();
    let index = format!("index,{DEVICE}");
    let (down, ethtool) = (format!("down,{DEVICE}"), format!("ethtool,{DEVICE}"));
    let words = [
        "conf,16",
        "conf,1",
        "conf-count",
        &index,
        "index,lo",
        "index,hidden0",
        &down,
        &ethtool,
        "no-descriptor",
        "no-socket",
        "no-memory",
        "inet",
    ];
    ask_host(&["conf,16"]).expect("conf,16", &[&format!("{DEVICE} hidden0 lo")]);
    ask(&guest, &words)
        .expect("conf,16", &[&format!("{DEVICE} lo")])
        .expect("conf,1", &["lo"])
        .expect("conf-count", &["2"])
        .expect(&index, &[&index_of(DEVICE)])
        .expect("index,lo", &["1"])
        .expect("index,hidden0", &["errno 19"])
        .expect(&down, &["errno 1"])
        .expect(&ethtool, &["errno 95"])
        .expect("no-descriptor", &["errno 9"])
        .expect("no-socket", &["errno 25"])
        .expect("no-memory", &["errno 14"])
        .expect("inet", &["ok"]);
    guest.stop();
}

fn busybox(mode: Mode) {
    let _network = Network::make();
    let guest = guest(mode);
    guest.start();
    shows(&guest, "ip addr", &["inet 192.0.2.11/24", "inet6 2001:db8::11/64", "inet 127.0.0.1/8"]);
    shows(&guest, "ip route", &["default via 192.0.2.254"]);
    shows(
        &guest,
        &format!("ifconfig {DEVICE}"),
        &["inet addr:192.0.2.11", "Bcast:192.0.2.255", "2001:db8::11/64"],
    );
    shows(&guest, "ifconfig -a", &[DEVICE, "lo "]);
    assert_ne!(guest.sh("ifconfig hidden0").exit(), 0);
    shows(&guest, "route -n", &["192.0.2.254", "192.0.2.0"]);
    shows(&guest, "netstat -rn", &["192.0.2.254"]);
    guest.stop();
}

/// `/proc/net` and `/sys/class/net`, by the guest's own processes and by those that enter.
fn files(mode: Mode) {
    let _network = Network::make();
    let guest = guest(mode);
    guest.set(
        "fstab",
        "none /proc proc defaults 0 0\nnone /sys sysfs defaults 0 0\nnone /tmp tmpfs size=16m 0 0\n",
    );
    let daemon = guest.file("/etc/rc.start");
    guest.put("/etc/rc.start", &format!("cat /proc/net/dev /proc/net/route > /var/log/net\n{daemon}"));
    guest.start();
    let own = guest.file("/var/log/net");
    assert!(own.contains(DEVICE) && !own.contains("hidden"), "{own}");
    let index = format!("{:02x}", index_of(DEVICE).parse::<u32>().expect("a number"));
    shows(&guest, "cat /proc/net/dev", &[DEVICE, "lo:"]);
    // 192.0.2.254 and 192.0.2.0.
    shows(&guest, "cat /proc/net/route", &["FE0200C0", "000200C0", DEVICE]);
    shows(
        &guest,
        "cat /proc/net/if_inet6",
        &["20010db8000000000000000000000011", &format!(" {index} 40 00 80 ")],
    );
    assert!(!guest.sh("cat /proc/net/if_inet6").out().contains("20010db8000000000000000000000001"));
    shows(&guest, "cat /proc/net/ipv6_route", &["20010db80000000000000000000000fe"]);
    for file in ["arp", "raw", "raw6", "unix"] {
        assert_eq!(guest.sh(&format!("cat /proc/net/{file}")).out().lines().count(), 1, "{file}");
    }
    assert_eq!(guest.sh("ls /sys/class/net").out(), format!("{DEVICE}\nlo\n"));
    assert_eq!(guest.sh(&format!("cat /sys/class/net/{DEVICE}/ifindex")).out().trim(), index_of(DEVICE));
    assert!(!guest.sh("find /sys -name hidden0 -o -name hidden1").out().contains('/'));
    // Nothing of it can be written, and no way leads out of it.
    assert_ne!(guest.sh("echo x > /proc/net/dev").exit(), 0);
    assert_ne!(guest.sh("rm /proc/net/dev").exit(), 0);
    assert_ne!(guest.sh("echo x > /dev/.vserver.net/dev").exit(), 0);
    guest.stop();
    assert!(!std::path::Path::new("/run/vservers/.state/test").exists());
}

/// Addresses that the start itself puts on a device.
fn configured_interfaces(mode: Mode) {
    let _network = Network::make();
    let guest = Guest::busybox("test", mode).make();
    viewprobe::plant(&guest);
    outside::interface(&guest, "0", "192.0.2.12");
    outside::interface(&guest, "1", "2001:db8::12");
    guest.start();
    let all = format!("{DEVICE} {DEVICE}=192.0.2.12 {DEVICE}=2001:db8::12 lo lo=127.0.0.1 lo=::1");
    ask(&guest, &["libc"]).expect("libc", &[&all]);
    shows(&guest, "cat /proc/net/route", &["FE0200C0", "000200C0", DEVICE]);
    let addresses = guest.sh("cat /proc/net/if_inet6").out();
    assert!(addresses.contains("20010db8000000000000000000000012"), "{addresses}");
    assert_eq!(addresses.lines().count(), 2, "{addresses}");
    shows(&guest, "cat /proc/net/ipv6_route", &["20010db80000000000000000000000fe"]);
    // Taken from the running guest: it is no longer shown either.
    tool("naddress", &["--remove", "--nid", "105", "--ip", "2001:db8::12"]).ok();
    assert!(!guest.sh("cat /proc/net/if_inet6").out().contains("20010db8"));
    let left = format!("{DEVICE} {DEVICE}=192.0.2.12 lo lo=127.0.0.1 lo=::1");
    soon("the address is gone", || ask(&guest, &["libc"]).of("libc") == left);
    guest.stop();
}

/// `/proc/net/tcp` and its like: the sockets of this guest, not of the host or another guest.
fn sockets(mode: Mode) {
    let _network = Network::make();
    let (one, other) = (guest(mode), Guest::busybox("other", mode).xid(106).make());
    viewprobe::lend(&one, "/usr/bin/ss");
    let held = std::net::TcpListener::bind("192.0.2.1:9001").expect("a free port");
    assert!(host("cat", &["/proc/net/tcp"]).out().contains(":2329"), "the control");
    for guest in [&one, &other] {
        let port = if guest.name == "test" { 9011 } else { 9012 };
        let daemon = guest.file("/etc/rc.start");
        let nc = format!(
            "nc -l -p {port} < /dev/null > /dev/null 2>&1 &\nnc -u -l -p {port} < /dev/null > /dev/null 2>&1 &"
        );
        let wait = "until [ -n \"$(pidof nc)\" ]; do sleep 0.02; done; sleep 0.2";
        guest.put("/etc/rc.start", &format!("{nc}\n{wait}\n{daemon}"));
        guest.put("/etc/rc.stop", "killall sleep nc\n");
        guest.start();
    }
    let listing = |guest: &Guest, line: &str| guest.sh(line).out();
    soon("the first server listens", || listing(&one, "netstat -ltn").contains(":9011"));
    soon("the second server listens", || listing(&other, "netstat -ltn").contains(":9012"));
    for (guest, own, foreign) in [(&one, ":9011", ":9012"), (&other, ":9012", ":9011")] {
        let text =
            listing(guest, "netstat -ltun; cat /proc/net/tcp /proc/net/tcp6 /proc/net/udp /proc/net/udp6");
        assert!(text.contains(own), "{text}");
        for hidden in [foreign, ":9001", ":2329"] {
            assert!(!text.contains(hidden), "{hidden} in\n{text}");
        }
    }
    // By the inode, ss finds whose it is.
    let ss = one.sh("/usr/bin/ss -ltnp 2> /dev/null");
    assert!(ss.out().contains(":9011") && ss.out().contains("\"nc\"") && !ss.out().contains(":9001"), "{ss}");
    one.stop();
    other.stop();
    drop(held);
}

fn thirty_two_bits(mode: Mode) {
    if !netprobe::has_32_bits() {
        // Then no program of a guest can do so either; the filter's own test covers the numbers.
        return;
    }
    let _network = Network::make();
    let guest = guest(mode);
    netprobe::plant(&guest);
    guest.start();
    let own = format!("{DEVICE} lo");
    assert_eq!(ask_32(&guest, "links"), own);
    assert_eq!(ask_32(&guest, "conf"), own);
    // Arguments that change while the call waits: whatever is taken, it is judged by what was taken.
    assert_eq!(ask_32(&guest, "swap"), own);
    // The other sockets of such programs come the same way.
    assert_eq!(netprobe::At::Guest(&guest).thirtytwo("bind", "192.0.2.11", 8032, ""), "ok");
    guest.stop();
}

/// S41: `~hide_netif` in flags or in nflags.
fn taken_off(mode: Mode) {
    let _network = Network::make();
    let guest = guest(mode);
    for file in ["flags", "nflags"] {
        guest.set(file, "~hide_netif\n");
        guest.start();
        let answers = ask(&guest, &["netlink", "conf,16", "diag"]);
        assert!(answers.of("netlink").contains("hidden0"), "{file}: {answers:?}");
        assert!(answers.of("conf,16").contains("hidden0"), "{file}: {answers:?}");
        answers.expect("diag", &["ok"]);
        guest.stop();
        fs::remove_file(guest.configuration(file)).expect("just written");
    }
}

/// S56: the loopback address as 127.0.0.1, as it is, or none.
fn loopback(mode: Mode) {
    let _network = Network::make();
    let guest = guest(mode);
    let own = format!("{DEVICE} {DEVICE}=192.0.2.11 {DEVICE}=2001:db8::11");
    for (nflags, lo) in [
        ("", " lo lo=127.0.0.1 lo=::1"),
        ("~hide_lback\n", " lo lo=127.0.105.1 lo=::1"),
        ("~lback_remap\n~hide_lback\n", " lo"),
        ("lback_remap\nhide_lback\n", " lo lo=127.0.0.1 lo=::1"),
    ] {
        guest.set("nflags", nflags);
        guest.start();
        ask(&guest, &["libc"]).expect("libc", &[&format!("{own}{lo}")]);
        guest.stop();
    }
}

/// The host's network changes while somebody looks: within a moment it shows.
fn changes(mode: Mode) {
    let _network = Network::make();
    let guest = guest(mode);
    guest.start();
    let with = format!("{DEVICE} {DEVICE}=192.0.2.11 {DEVICE}=2001:db8::11 lo lo=127.0.0.1 lo=::1");
    ask(&guest, &["libc"]).expect("libc", &[&with]);
    host("ip", &["address", "delete", "192.0.2.11/24", "dev", DEVICE]).ok();
    let without = format!("{DEVICE} {DEVICE}=2001:db8::11 lo lo=127.0.0.1 lo=::1");
    soon("the address is gone", || ask(&guest, &["libc"]).of("libc") == without);
    host("ip", &["address", "add", "192.0.2.11/24", "dev", DEVICE]).ok();
    soon("the address is back", || ask(&guest, &["libc"]).of("libc") == with);
    // What it is given or loses while it runs.
    let shows = |ip: &str| ask(&guest, &["libc"]).of("libc").contains(&format!("{DEVICE}={ip}"));
    let files = |ip: &str| guest.sh("cat /proc/net/if_inet6").out().contains(ip);
    for (ip, prefix) in [("192.0.2.13", 24), ("2001:db8::13", 64)] {
        let (with_prefix, nid) = (format!("{ip}/{prefix}"), "test");
        host("ip", &["address", "add", &with_prefix, "dev", DEVICE]).ok();
        assert!(!shows(ip), "it is not the guest's yet");
        tool("naddress", &["--add", "--nid", nid, "--ip", &with_prefix]).ok();
        soon("the new address shows", || shows(ip));
        assert_eq!(files("20010db8000000000000000000000013"), ip.contains(':'));
        tool("naddress", &["--remove", "--nid", nid, "--ip", ip]).ok();
        soon("the address is gone", || !shows(ip));
        assert!(!files("20010db8000000000000000000000013"));
    }
    guest.stop();
}

/// Processes of the trial whose command line has these words.
fn processes(words: &[&str]) -> Vec<Pid> {
    let entries = fs::read_dir("/proc").expect("/proc is mounted");
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    let has = |pid: &i32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let line: Vec<&[u8]> = line.split(|&byte| byte == 0).collect();
        words.iter().all(|word| line.contains(&word.as_bytes()))
    };
    pids.filter(has).filter_map(Pid::from_raw).collect()
}

fn broker_killed(mode: Mode) {
    let _network = Network::make();
    let guest = guest(mode);
    guest.start();
    let brokers = || processes(&["--broker", "test"]);
    assert_eq!(brokers(), [], "nobody answers as long as nobody asks");
    for round in 0..4 {
        ask(&guest, &["netlink", "inet"]).expect("netlink", &[&format!("{DEVICE} lo")]);
        let [broker] = brokers()[..] else { panic!("{:?}", brokers()) };
        // Stopped first, in every second round: then a call waits, and its caller must not wait for ever.
        if round % 2 == 1 {
            kill_process(broker, Signal::STOP).expect("it is there");
            let asking = thread::spawn({
                let program = guest.program(&["exec", viewprobe::INSIDE, "inet", "netlink", "netlink"]);
                move || program.run()
            });
            thread::sleep(Duration::from_millis(100));
            kill_process(broker, Signal::KILL).expect("it is there");
            let done = asking.join().expect("no panic");
            done.ok();
            assert!(done.out().starts_with("inet: ok\n"), "{done}");
            assert!(done.out().ends_with(&format!("netlink: {DEVICE} lo\n")), "{done}");
        } else {
            kill_process(broker, Signal::KILL).expect("it is there");
        }
        assert!(guest.is_running());
    }
    // The guest's own processes, too, get their answers from whoever comes next.
    ask(&guest, &["libc", "inet"]).expect("inet", &["ok"]);
    guest.stop();
    soon("the brokers have ended", || brokers().is_empty());
}

fn guard_killed(mode: Mode) {
    let _network = Network::make();
    let guest = guest(mode);
    guest.start();
    ask(&guest, &["netlink"]).expect("netlink", &[&format!("{DEVICE} lo")]);
    for guard in processes(&["guard", "test"]) {
        kill_process(guard, Signal::KILL).expect("it is there");
    }
    // Nobody keeps the listeners any more. Nothing of the host is shown for that, and sockets work on.
    let answers = ask(&guest, &["netlink", "conf,16", "inet"]);
    answers.expect("inet", &["ok"]);
    for word in ["netlink", "conf,16"] {
        let answer = answers.of(word);
        assert!(answer.starts_with("errno") || answer == format!("{DEVICE} lo"), "{word}: {answer}");
    }
    assert!(guest.is_running());
    guest.stop();
}

fn hostile_callers(mode: Mode) {
    let _network = Network::make();
    let guest = guest(mode);
    guest.start();
    let own = format!("{DEVICE} lo | {DEVICE} lo");
    let (swap, swap_all) =
        (format!("swap,{DEVICE},hidden0"), [index_of(DEVICE), "errno19".to_owned()].join(" "));
    let answers = ask(&guest, &["die,200", "many,16", &swap]);
    answers.expect("die,200", &["ok"]).expect("many,16", &[&own]);
    let found = answers.of(&swap);
    // A name that was overwritten halfway is the name of nothing.
    assert!(found.split(' ').all(|one| swap_all.contains(one)), "{found}, wanted only {swap_all}");
    ask(&guest, &["libc"]);
    guest.stop();
}

/// The stricter choice: nothing of the host's devices is anywhere, and sockets are lent.
fn shadow(mode: Mode) {
    use std::os::linux::net::SocketAddrExt as _;
    let _network = Network::make();
    let guest = guest(mode);
    guest.set("netshadow", "");
    probe::plant(&guest);
    netprobe::plant(&guest);
    let daemon = guest.file("/etc/rc.start");
    guest.put("/etc/rc.start", &format!("(nc -l -p 9021 < /etc/passwd) > /dev/null 2>&1 &\n{daemon}"));
    guest.put("/etc/rc.stop", "killall sleep nc\n");
    let held = std::net::TcpListener::bind("192.0.2.1:9001").expect("a free port");
    let name = std::os::unix::net::SocketAddr::from_abstract_name("e2e-host").expect("a short name");
    let hidden = std::os::unix::net::UnixListener::bind_addr(&name).expect("a free name");
    probe::control(&["abstract:e2e-host"]).expect("abstract:e2e-host", &["ok"]);
    guest.start();
    let all = format!("{DEVICE} {DEVICE}=192.0.2.11 {DEVICE}=2001:db8::11 lo lo=127.0.0.1 lo=::1");
    ask(&guest, &["libc", "netlink", "conf,16", "index,hidden0", "inet"])
        .expect("libc", &[&all])
        .expect("netlink", &[&format!("{DEVICE} lo")])
        .expect("conf,16", &[&format!("{DEVICE} lo")])
        .expect("index,hidden0", &["errno 19"])
        .expect("inet", &["ok"]);
    for place in ["/proc/net", "/proc/self/net", "/proc/1/net"] {
        shows(&guest, &format!("cat {place}/dev"), &[DEVICE, "lo:"]);
        shows(&guest, &format!("cat {place}/route"), &["FE0200C0"]);
    }
    assert_eq!(guest.sh("ls /proc/sys/net/ipv4/conf").out(), format!("all\ndefault\n{DEVICE}\nlo\n"));
    // The names of abstract sockets are those of the shadow, for programs that enter as well.
    probe::attack(&guest, &["abstract:e2e-host"]).expect("abstract:e2e-host", &["ECONNREFUSED"]);
    // Traffic is the host's: out of the guest and into it.
    guest.sh("timeout 2 nc 192.0.2.1 9001 < /dev/null; true").ok();
    held.accept().expect("it was reached");
    soon("the server answers", || std::net::TcpStream::connect("192.0.2.11:9021").is_ok());
    if netprobe::has_32_bits() {
        assert_eq!(netprobe::At::Guest(&guest).thirtytwo("bind", "192.0.2.11", 8032, ""), "ok");
        assert_eq!(ask_32(&guest, "links"), format!("{DEVICE} lo"));
    }
    guest.stop();
    drop(hidden);
}

fn shadow_broker_killed(mode: Mode) {
    let _network = Network::make();
    let guest = guest(mode);
    guest.set("netshadow", "");
    guest.start();
    for _ in 0..3 {
        ask(&guest, &["inet", "conf,16"]).expect("inet", &["ok"]);
        for broker in processes(&["--broker", "test"]) {
            kill_process(broker, Signal::KILL).expect("it is there");
        }
        assert!(guest.is_running());
    }
    ask(&guest, &["inet"]).expect("inet", &["ok"]);
    guest.stop();
}
