//! Network contexts by hand: `chbind`, `ncontext`, `naddress` and `nattribute` on the host, and on running guests.

use std::fs;
use std::path::Path;
use vserver_e2e::command::{host, tool};
use vserver_e2e::netprobe::At;
use vserver_e2e::outside::{HOST, ip};
use vserver_e2e::{Mode, Outside, Program, Spec, soon};

pub fn specs() -> Vec<Spec> {
    if cfg!(not(target_arch = "x86_64")) {
        return Vec::new();
    }
    vec![
        Spec::new("netcontexts_chbind", chbind).once(),
        Spec::new("netcontexts_chain_of_tools", chain_of_tools).once(),
        Spec::new("netcontexts_joined_and_left", joined_and_left).once(),
        Spec::new("netcontexts_in_the_background", in_the_background).once(),
        Spec::new("netcontexts_nothing_stays", nothing_stays).once(),
    ]
}

/// Addresses of the host that are given away.
const OURS: [&str; 3] = ["192.0.2.11", "192.0.2.12", "2001:db8::11"];
const FOREIGN: [&str; 3] = ["192.0.2.1", "192.0.2.99", "2001:db8::1"];

fn world() -> Outside {
    let outside = Outside::connect();
    for address in ["192.0.2.11/24", "192.0.2.12/24", "192.0.2.99/24", "2001:db8::11/64"] {
        ip(&["address", "add", address, "dev", "e2e0"]);
    }
    outside
}

/// `chbind` with each way to name addresses: what it may bind, from where it speaks, and what it is told.
fn chbind(_: Mode) {
    let outside = world();
    let words = ["--ip", "192.0.2.11/24", "--ip", "192.0.2.12/255.255.255.0", "--ip", "2001:db8::11/64"];
    let done = tool("chbind", &[&words[..], &["--nid", "900", "--", "echo", "in"]].concat());
    done.ok().says_exactly("New network context is 900\nAdding 192.0.2.11 192.0.2.12 2001:db8::11\nin\n");

    let quiet = [&["--silent"], &words[..]].concat();
    for kind in ["tcp", "udp"] {
        for address in OURS {
            let word = format!("bind,{kind},{address},8080");
            At::Chbind(&quiet).run(&[&word]).expect(&word, &["ok"]);
        }
        for address in FOREIGN {
            let word = format!("bind,{kind},{address},8080");
            At::Host.run(&[&word]).expect(&word, &["ok"]);
            At::Chbind(&quiet).run(&[&word]).expect(&word, &["EADDRNOTAVAIL"]);
        }
    }
    let _world = At::Outside(&outside).serve("tcp", "::", 80, "world");
    for (world, own) in [("192.0.2.254", "192.0.2.11"), ("2001:db8::fe", "2001:db8::11")] {
        let said = At::Chbind(&quiet).reaches("tcp", world, 80, "world");
        assert!(said.contains(&format!("me={own},")), "{said}");
    }
    // A server of the host on every address beside one in a context.
    let inside = At::Chbind(&quiet).serve("tcp", "0.0.0.0", 8080, "inside");
    let beside = At::Host.serve("tcp", HOST[0], 8080, "beside");
    At::Outside(&outside).reaches("tcp", "192.0.2.11", 8080, "inside");
    At::Outside(&outside).reaches("tcp", "192.0.2.12", 8080, "inside");
    At::Outside(&outside).reaches("tcp", HOST[0], 8080, "beside");

    // A device stands for its first IPv4 address.
    let device = ["--silent", "--ip", "e2e0"];
    At::Chbind(&device).run(&["bind,tcp,192.0.2.1,80"]).expect("bind,tcp,192.0.2.1,80", &["ok"]);
    At::Chbind(&device).run(&["bind,tcp,192.0.2.11,80"]).expect("bind,tcp,192.0.2.11,80", &["EADDRNOTAVAIL"]);
    // 0.0.0.0 is every address.
    let any = ["--silent", "--ip", "0.0.0.0"];
    At::Chbind(&any).run(&["bind,tcp,192.0.2.1,80"]).expect("bind,tcp,192.0.2.1,80", &["ok"]);
    tool("chbind", &["--ip", "nosuch0", "--", "true"])
        .code(255)
        .complains("'nosuch0' is neither an address nor a device of this host");
    tool("chbind", &["--silent", "--ip", "192.0.2.11", "--", "sh", "-c", "exit 7"]).code(7);
    tool("chbind", &["--silent", "--", "/no/such/program"]).code(255).complains("/no/such/program");
    drop((inside, beside));
    swept();
}

/// The building blocks do together what `chbind` does.
fn chain_of_tools(_: Mode) {
    let _outside = world();
    let script = "ncontext --create --nid 901 -- naddress --add --ip 192.0.2.11/24 -- \
                  nattribute --set --secure --flag '~hide_lback' -- sh -c '
                      vserver-info self NID
                      vserver-info $$ NID
                      naddress --get
                      nattribute --get
                      cat /run/vserver/virtnet/901/info'";
    let path = "/run/e2e/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    for name in ["ncontext", "naddress", "nattribute", "vserver-info"] {
        drop(Program::named(name));
    }
    let done = Program::of_host("sh").args(&["-c", script]).env("PATH", path).run();
    done.ok().says_exactly(
        "New network context is 901\nAdding 192.0.2.11\n901\n901\n192.0.2.11/24\nncapabilities:\nraw_icmp\nnflags:\n\
         lback_remap,hide_netif,state_admin\nID:\t901\nInfo:\t901\nBcast:\t255.255.255.255\nLback:\t127.3.133.1\n\
         0:\t[192.0.2.11-0.0.0.0/255.255.255.0:0001]\n",
    );
    tool("ncontext", &["--create", "--nid", "902", "--", "sh", "-c", "kill -KILL $$"]).code(128 + 9);
    swept();
}

/// Contexts that exist are joined as they are; the number 0 leads back to the host; words change what runs.
fn joined_and_left(_: Mode) {
    let _outside = world();
    let mut holder = Program::named("chbind")
        .args(&["--silent", "--nid", "903", "--ip", "192.0.2.11/24", "--", "sleep", "1000"])
        .start();
    soon("the context has a status", || {
        host("sh", &["-c", "grep -q . /run/vserver/virtnet/903/status"]).exit() == 0
    });
    soon("its addresses are told", || tool("naddress", &["--get", "--nid", "903"]).exit() == 0);
    let joined = ["--nid", "903", "--ip", "192.0.2.12"];
    At::Chbind(&joined)
        .run(&["bind,tcp,192.0.2.11,80", "bind,tcp,192.0.2.12,80", "bind,tcp,192.0.2.1,80"])
        .expect("bind,tcp,192.0.2.11,80", &["ok"])
        .expect("bind,tcp,192.0.2.12,80", &["EADDRNOTAVAIL"])
        .expect("bind,tcp,192.0.2.1,80", &["EADDRNOTAVAIL"]);
    tool("ncontext", &["--create", "--nid", "903", "--", "true"]).code(254).complains("exists already");
    tool("ncontext", &["--create", "--silentexist", "--nid", "903", "--", "true"]).code(254).says_exactly("");

    tool("naddress", &["--add", "--nid", "903", "--ip", "192.0.2.12/24"])
        .ok()
        .says_exactly("Adding 192.0.2.12\n");
    At::Chbind(&joined).run(&["bind,tcp,192.0.2.12,80"]).expect("bind,tcp,192.0.2.12,80", &["ok"]);
    tool("naddress", &["--remove", "--nid", "903", "--ip", "192.0.2.11"])
        .ok()
        .says_exactly("Removing 192.0.2.11\n");
    At::Chbind(&joined).run(&["bind,tcp,192.0.2.11,80"]).expect("bind,tcp,192.0.2.11,80", &["EADDRNOTAVAIL"]);
    tool("naddress", &["--remove", "--nid", "903", "--ip", "192.0.2.11"])
        .code(255)
        .complains("192.0.2.11 is no address of network context 903");
    tool("naddress", &["--set", "--nid", "903", "--range", "192.0.2.11-192.0.2.12/24", "--silent"]).ok();
    tool("naddress", &["--get", "--nid", "903"]).says_exactly("192.0.2.11/24\n192.0.2.12/24\n");
    tool("naddress", &["--get", "--nid", "903", "--json"]).ok().says("\"192.0.2.11/24\"");
    tool("ncontext", &["--list"]).ok().says("903").says("192.0.2.11/24 192.0.2.12/24");
    let list = tool("ncontext", &["--list", "--json"]);
    let list: serde_json::Value = serde_json::from_slice(&list.ok().stdout).expect("JSON");
    assert_eq!(list[0]["nid"], 903);
    assert_eq!(list[0]["guest"], serde_json::Value::Null);
    assert_eq!(list[0]["addresses"][1], "192.0.2.12/24");

    // From inside back to the host.
    let line = "chbind --nid 0 vserver-info self NID; vserver-info self NID";
    let path = "/run/e2e/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    drop(Program::named("vserver-info"));
    Program::named("chbind")
        .args(&["--nid", "903", "--", "sh", "-c", line])
        .env("PATH", path)
        .run()
        .says_exactly("0\n903\n");

    tool("nattribute", &["--set", "--nid", "903", "--flag", "private"]).ok();
    tool("chbind", &["--nid", "903", "--", "true"])
        .code(255)
        .complains("its flag 'private' keeps everybody out");
    tool("nattribute", &["--nid", "903", "--flag", "~private,~state_admin"]).ok();
    tool("nattribute", &["--nid", "903", "--flag", "private"]).code(1).complains("state_admin");
    tool("naddress", &["--add", "--nid", "903", "--ip", "192.0.2.1"]).code(255).complains("state_admin");
    holder.kill();
    holder.wait(std::time::Duration::from_secs(30)).code(128 + 9);
    swept();
}

/// `--disconnect`: a session of its own, and the status of a program that cannot be run.
fn in_the_background(_: Mode) {
    let _outside = world();
    let words = ["--silent", "--disconnect", "--nid", "904", "--ip", "192.0.2.11/24", "--"];
    let line =
        "ps -o pid=,sid= -p $$ > /tmp/t/who; readlink /proc/self/fd/0 >> /tmp/t/who; touch /tmp/t/done";
    tool("chbind", &[&words[..], &["sh", "-c", line]].concat()).ok();
    soon("the program has run", || Path::new("/tmp/t/done").exists());
    let who = fs::read_to_string("/tmp/t/who").expect("just written");
    let numbers: Vec<&str> = who.split_whitespace().collect();
    assert_eq!(numbers[0], numbers[1], "it leads its session: {who}");
    assert_eq!(numbers[2], "/dev/null");
    soon("the context is gone", || {
        tool("naddress", &["--get", "--nid", "904"]).exit() != 0 || !in_use("904")
    });
    tool("chbind", &[&words[..], &["/no/such/program"]].concat()).code(255).complains("/no/such/program");
    swept();
}

/// What a context without processes leaves is removed by the next command; a persistent one stays.
fn nothing_stays(_: Mode) {
    let _outside = world();
    let words = ["--silent", "--nid", "905", "--ip", "192.0.2.11/24"];
    tool("chbind", &[&words[..], &["--flag", "persistent", "--", "true"]].concat()).ok();
    tool("ncontext", &["--list"]).ok().says("905");
    tool("naddress", &["--get", "--nid", "905"]).says_exactly("192.0.2.11/24\n");
    assert!(
        host("ip", &["-6", "address", "show", "dev", "lo"]).out().contains("fd76:7365:7276:6572::389/128")
    );
    tool("nattribute", &["--nid", "905", "--flag", "~persistent"]).ok();
    swept();
    assert!(!host("ip", &["-6", "address", "show", "dev", "lo"]).out().contains("fd76:"));
    // The same number, made anew a hundred times by two at once: one gets it, the other joins or is told.
    for _ in 0..5 {
        let many: Vec<_> = (0..6)
            .map(|_| Program::named("chbind").args(&[&words[..], &["--", "true"]].concat()).start())
            .collect();
        for one in many {
            one.wait(std::time::Duration::from_mins(1)).ok();
        }
    }
    swept();
}

/// Whether somebody is in the context's group.
fn in_use(nid: &str) -> bool {
    let line = format!("cat $(find /sys/fs/cgroup -path '*/.nids/{nid}/cgroup.procs') | grep -q .");
    host("sh", &["-c", &line]).exit() == 0
}

/// The list is empty, and with it what the leak check would find.
fn swept() {
    soon("no context is left", || tool("ncontext", &["--list", "--json"]).out() == "[]\n");
    assert!(fs::read_dir("/run/vserver/virtnet").map_or(true, |mut entries| entries.next().is_none()));
}
