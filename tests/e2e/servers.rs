//! Servers and clients that people use, in guests on a shared stack: sshd, nginx, bind9, squid, ping, curl, dig, Python,
//! busybox httpd. The guests are Debian's, from one image.

use std::fs;
use std::time::{Duration, Instant};
use vserver_e2e::command::{Done, host};
use vserver_e2e::netprobe::At;
use vserver_e2e::outside::{DEVICE, HOST, WORLD, interface};
use vserver_e2e::{Guest, Image, Mode, Outside, Spec, slowly, soon};

pub fn specs() -> Vec<Spec> {
    let debian = |name, body: fn(Mode)| Spec::new(name, body).image(Image::DebianServers);
    vec![
        debian("servers_web_on_port_80", web_on_port_80),
        debian("servers_names_and_proxy", names_and_proxy),
        debian("s35_sshd_of_host_and_guests", sshd),
        debian("s42_x11_forwarding", x11_forwarding),
    ]
}

const OWN: [&str; 2] = ["192.0.2.11", "2001:db8::11"];

/// A Debian guest that stays up by itself, with one address of each family.
fn debian(name: &str, mode: Mode) -> Guest {
    let guest = Guest::from(Image::DebianServers, name, mode).xid(101).make();
    for (number, address) in OWN.iter().enumerate() {
        interface(&guest, &number.to_string(), address);
    }
    guest.set("apps/init/style", "\n");
    guest.set("apps/init/cmd.start", "/bin/sh\n-c\nsetsid sleep 100000 < /dev/null > /dev/null 2>&1 &\n");
    guest.set("apps/init/cmd.stop", "/bin/true\n");
    guest.set("uts/nodename", "one\n");
    guest.put("/etc/hosts", "127.0.0.1 localhost\n::1 localhost\n192.0.2.11 one\n");
    guest
}

/// Until this line of shell succeeds.
#[track_caller]
fn until(what: impl Fn() -> Done) {
    let end = Instant::now() + slowly(Duration::from_mins(1));
    loop {
        let done = what();
        if done.exit() == 0 {
            return;
        }
        assert!(Instant::now() < end, "it does not come:\n{done}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn wget(outside: &Outside, address: &str) -> Done {
    outside
        .program("wget")
        .args(&["-q", "-T", "5", "-t", "1", "-O", "-", &format!("http://{address}/")])
        .run()
}

/// The host, nginx, Python and busybox httpd all have port 80, each on its own address.
fn web_on_port_80(mode: Mode) {
    let outside = Outside::connect();
    let nginx = debian("one", mode);
    nginx.put("/var/www/html/index.html", "nginx\n");
    nginx.start();
    nginx.sh("nginx").ok();
    let python = Guest::from(Image::DebianServers, "two", mode).xid(102).make();
    interface(&python, "0", "192.0.2.12");
    interface(&python, "1", "2001:db8::12");
    python.set("apps/init/style", "\n");
    python.set("apps/init/cmd.start", "/bin/sh\n-c\nsetsid sleep 100000 < /dev/null > /dev/null 2>&1 &\n");
    python.set("apps/init/cmd.stop", "/bin/true\n");
    python.put("/srv/index.html", "python\n");
    python.start();
    python.sh("cd /srv; setsid python3 -m http.server --bind :: 80 < /dev/null > /dev/null 2>&1 &").ok();
    let busybox = Guest::busybox("three", mode).xid(103).make();
    interface(&busybox, "0", "192.0.2.13");
    interface(&busybox, "1", "2001:db8::13");
    busybox.put("/www/index.html", "busybox\n");
    busybox.start();
    busybox.sh("httpd -p 80 -h /www").ok();
    fs::create_dir_all("/tmp/t/www").expect("/tmp is ours");
    fs::write("/tmp/t/www/index.html", "host\n").expect("/tmp is ours");
    for address in [HOST[0], "[2001:db8::1]"] {
        let line = format!("busybox httpd -p {address}:80 -h /tmp/t/www");
        host("sh", &["-c", &line]).ok();
    }
    let all = [
        ("192.0.2.1", "[2001:db8::1]", "host\n"),
        ("192.0.2.11", "[2001:db8::11]", "nginx\n"),
        ("192.0.2.12", "[2001:db8::12]", "python\n"),
        ("192.0.2.13", "[2001:db8::13]", "busybox\n"),
    ];
    for (v4, v6, text) in all {
        for address in [v4, v6] {
            until(|| wget(&outside, address));
            wget(&outside, address).ok().says_exactly(text);
            nginx.sh(&format!("curl -sS --max-time 20 http://{address}/")).ok().says_exactly(text);
        }
    }
    for (guest, text) in [(&nginx, "nginx\n"), (&python, "python\n")] {
        for own in ["127.0.0.1", "[::1]"] {
            guest.sh(&format!("curl -sS --max-time 20 http://{own}/")).ok().says_exactly(text);
        }
    }
    busybox.sh("wget -q -O - http://127.0.0.1/").ok().says_exactly("busybox\n");
    for guest in [nginx, python, busybox] {
        guest.stop();
    }
    host("sh", &["-c", "busybox killall busybox"]).ok();
}

/// bind9 answers dig, squid fetches for curl, ping gets its answers: each as Debian ships it.
fn names_and_proxy(mode: Mode) {
    let outside = Outside::connect();
    fs::write("/proc/sys/net/ipv4/ping_group_range", "0 2147483647").expect("the network is ours");
    let guest = debian("one", mode);
    // squid raises its limits, as the seed page says (S48).
    guest.set("bcapabilities", "SYS_RESOURCE\n");
    guest.put(
        "/etc/bind/named.conf",
        "options { directory \"/var/cache/bind\"; recursion no; listen-on { any; }; listen-on-v6 { any; }; };\n\
         zone \"example\" { type master; file \"/etc/bind/example\"; };\n",
    );
    guest.put(
        "/etc/bind/example",
        "$TTL 60\n@ SOA ns root 1 60 60 60 60\n@ NS ns\nns A 192.0.2.11\nwww A 192.0.2.77\n",
    );
    guest.put(
        "/etc/squid/squid.conf",
        "http_port 3128\nhttp_access allow all\npid_filename none\ncache deny all\n",
    );
    guest.start();
    guest.sh("named -u bind").ok();
    guest.sh("squid").ok();
    for server in [OWN[0], OWN[1], "127.0.0.1", "::1"] {
        let line = format!("dig +short +time=3 +tries=1 www.example @{server}");
        until(|| guest.sh(&line));
        guest.sh(&line).ok().says_exactly("192.0.2.77\n");
        // By IPv6 dig binds to :: before it connects.
        guest.sh(&format!("{line} +tcp")).ok().says_exactly("192.0.2.77\n");
    }
    fs::create_dir_all("/tmp/t/www").expect("/tmp is ours");
    fs::write("/tmp/t/www/index.html", "world\n").expect("/tmp is ours");
    outside.program("busybox").args(&["httpd", "-p", "80", "-h", "/tmp/t/www"]).run().ok();
    for proxy in ["192.0.2.11", "127.0.0.1", "[2001:db8::11]"] {
        let line = format!("curl -sS --max-time 20 -x http://{proxy}:3128 http://{}/", WORLD[0]);
        until(|| guest.sh(&line));
        guest.sh(&line).ok().says_exactly("world\n");
    }
    let ping = ping_of_debian(&guest, mode);
    for to in [WORLD[0], WORLD[1], "127.0.0.1", "::1"] {
        guest.sh(&format!("{ping} -c 1 -W 10 {to}")).ok();
    }
    guest.stop();
    host("sh", &["-c", "busybox killall busybox"]).ok();
}

/// `ping` with the file capability that Debian gives it; a classic guest without `NET_RAW` may not execute that, and
/// needs it as little.
fn ping_of_debian(guest: &Guest, mode: Mode) -> &'static str {
    guest.sh("cp /bin/ping /tmp/ping; test -z \"$(getcap /tmp/ping)\"").ok();
    guest.sh("setcap cap_net_raw+ep /bin/ping; getcap /bin/ping").ok().says("cap_net_raw=ep");
    match mode {
        Mode::Shifted => "/bin/ping",
        Mode::Classic => {
            assert_ne!(guest.sh("/bin/ping -c 1 127.0.0.1").exit(), 0);
            "/tmp/ping"
        }
    }
}

/// Starts the guest's sshd with these lines of configuration besides, and lets a key of its own root in.
fn start_sshd(guest: &Guest, lines: &str) {
    guest
        .sh("mkdir -p /run/sshd /root/.ssh; test -e /root/.ssh/id_ed25519 || \
             ssh-keygen -q -t ed25519 -N '' -f /root/.ssh/id_ed25519; \
             cp /root/.ssh/id_ed25519.pub /root/.ssh/authorized_keys; ssh-keygen -q -A")
        .ok();
    guest.put("/etc/ssh/sshd_config.d/e2e.conf", lines);
    guest.sh("/usr/sbin/sshd").ok();
    until(|| guest.sh("test -e /run/sshd.pid"));
}

const SSH: &str = "ssh -n -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -o ConnectTimeout=20";

/// S35: while the host has port 22 of every address the guest's sshd cannot have it; with a `ListenAddress` of the
/// host both run, and the guest's needs none.
fn sshd(mode: Mode) {
    let outside = Outside::connect();
    let guest = debian("one", mode);
    guest.start();
    let on_all = At::Host.serve("tcp", "0.0.0.0", 22, "host");
    guest.sh("mkdir -p /run/sshd; ssh-keygen -q -A").ok();
    let done = guest.sh("timeout 20 /usr/sbin/sshd -D -e -o ListenAddress=192.0.2.11");
    done.code(255).complains("Address already in use");
    drop(on_all);
    let word = format!("bind,tcp,{},22", HOST[0]);
    soon("the killed server lets go of its port", || At::Host.answer(&word) == "ok");
    let _with_address = At::Host.serve("tcp", HOST[0], 22, "host");
    start_sshd(&guest, "");
    for address in [OWN[0], OWN[1], "127.0.0.1", "::1"] {
        guest.sh(&format!("{SSH} root@{address} 'echo $SSH_CONNECTION'")).ok().says(" 22\n");
    }
    let banner = format!("busybox nc -w 5 {} 22 < /dev/null | head -c 7", OWN[0]);
    outside.program("sh").args(&["-c", &banner]).run().ok().says_exactly("SSH-2.0");
    At::Outside(&outside).reaches("tcp", HOST[0], 22, "host");
    guest.stop();
}

/// S42: X11 forwarding listens on the guest's loopback, or with `X11UseLocalhost no` on its addresses.
fn x11_forwarding(mode: Mode) {
    let _outside = Outside::connect();
    let guest = debian("one", mode);
    guest.start();
    for (setting, display) in [("yes", "localhost:10.0"), ("no", ":10.0")] {
        start_sshd(&guest, &format!("X11Forwarding yes\nX11UseLocalhost {setting}\n"));
        // A display that takes the connection and says a word.
        guest.sh("busybox true 2> /dev/null; rm -rf /tmp/.X11-unix; mkdir -p /tmp/.X11-unix; xauth -q add :7 . 00112233445566778899aabbccddeeff").ok();
        let line = format!(
            "DISPLAY=:7 {SSH} -X root@{} 'echo $DISPLAY; python3 -c \"import socket, os; \
             name = os.environ[\\\"DISPLAY\\\"].rsplit(\\\":\\\", 1)[0]; \
             print(socket.create_connection((name, 6010), 20).getpeername()[1])\"'",
            OWN[0]
        );
        let done = guest.sh(&line);
        done.ok().says("6010");
        assert!(done.out().lines().next().is_some_and(|shown| shown.ends_with(display)), "{done}");
        guest.sh("kill $(cat /run/sshd.pid); rm -f /run/sshd.pid").ok();
    }
    guest.stop();
    assert!(host("ip", &["-o", "address", "show", "dev", DEVICE]).out().contains(HOST[0]));
}
