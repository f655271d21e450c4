//! S36, S38–S40, S53, S60: what a guest may do, and what it sees of the machine.

use std::fs;
use vserver_e2e::command::{host, vserver};
use vserver_e2e::{Guest, Mode, Need, Spec};

pub fn specs() -> Vec<Spec> {
    vec![
        Spec::new("s36_device_nodes", device_nodes),
        Spec::new("s38_sys_resource_is_not_default", sys_resource_is_not_default),
        Spec::new("s38_sys_resource_granted", sys_resource_granted).classic_needs(&[Need::SysResource]),
        Spec::new("s39_granted_capabilities_only", granted_capabilities_only),
        Spec::new("s40_no_kernel_messages", no_kernel_messages),
        Spec::new("s53_32_bit_guest", guest_of_32_bits),
        Spec::new("s53_machine_by_itself", machine_by_itself),
        Spec::new("s53_misplaced_options", misplaced_options).once(),
        Spec::new("s60_nice", nice),
        Spec::new("s60_setuid_programs_work", setuid_programs_work),
    ]
}

/// The default set, `spec` word for word: CHOWN … SETFCAP.
const DEFAULT_CAPABILITIES: u64 = 0xb44c_04ff;

/// In a shifted guest `raw_icmp` brings `NET_RAW`, which has no power over the host's network.
fn default_set(mode: Mode) -> u64 {
    match mode {
        Mode::Classic => DEFAULT_CAPABILITIES,
        Mode::Shifted => DEFAULT_CAPABILITIES | 1 << 13,
    }
}

fn device_nodes(mode: Mode) {
    let guest = Guest::busybox("test", mode).make();
    fs::create_dir_all(guest.tree("/var/lib/named/dev")).expect("the tree is ours");
    guest.start();
    let refused = guest.vserver(&["exec", "mknod", "/var/lib/named/dev/null", "c", "1", "3"]);
    assert_ne!(refused.exit(), 0);
    refused.complains("Operation not permitted");
    // From outside it works at once, and the node is a working one inside.
    host("mknod", &["-m", "666", "/vservers/test/var/lib/named/dev/null", "c", "1", "3"]).ok();
    guest.sh("echo gone > /var/lib/named/dev/null && ! grep -q . /var/lib/named/dev/null").ok();
    // A node that was smuggled into the tree is not: here a disk and the kernel's memory.
    for (name, numbers) in [("disk", ["b", "7", "0"]), ("mem", ["c", "1", "1"]), ("kmsg", ["c", "1", "11"])] {
        let path = format!("/vservers/test/root/{name}");
        host("mknod", &[&["-m", "666", path.as_str()], &numbers[..]].concat()).ok();
        let open = guest.sh(&format!("head -c 1 /root/{name}"));
        assert_ne!(open.exit(), 0, "{name} can be opened");
    }
    guest.stop();
}

/// A field of /proc/self/status inside, as a number.
fn set_of(guest: &Guest, field: &str, of: &str) -> u64 {
    let text = guest.sh(&format!("cat /proc/{of}/status")).out();
    let value = text.lines().find_map(|line| line.strip_prefix(field)).expect("the kernel prints it");
    u64::from_str_radix(value.trim_start_matches(':').trim(), 16).expect("a hexadecimal number")
}

/// Lowers both limits of descriptors, then raises the hard one.
const RAISE: &str = "ulimit -n 100 && ulimit -Hn 200";

fn sys_resource_is_not_default(mode: Mode) {
    let guest = Guest::busybox("test", mode).make();
    guest.start();
    assert_eq!(set_of(&guest, "CapBnd", "self") >> 24 & 1, 0);
    assert_ne!(guest.sh(RAISE).exit(), 0, "a hard limit was raised");
    guest.stop();
}

fn sys_resource_granted(mode: Mode) {
    let guest = Guest::busybox("test", mode).make();
    guest.set("bcapabilities", "CAP_SYS_RESOURCE\n");
    let started = guest.start();
    for process in ["self", "1"] {
        assert_eq!(set_of(&guest, "CapEff", process), default_set(mode) | 1 << 24, "process {process}");
    }
    match mode {
        Mode::Classic => guest.sh(RAISE).ok(),
        // The kernel asks for the host's; the administrator is told instead of being left to wonder.
        Mode::Shifted => started.complains("SYS_RESOURCE"),
    };
    guest.stop();
}

fn granted_capabilities_only(mode: Mode) {
    let guest = Guest::busybox("test", mode).style("plain").make();
    guest.start();
    for process in ["self", "1"] {
        for field in ["CapBnd", "CapPrm", "CapEff"] {
            let set = set_of(&guest, field, process);
            assert_eq!(set, default_set(mode), "{field} of {process} is {set:x}");
        }
    }
    guest.stop();
}

fn no_kernel_messages(mode: Mode) {
    let guest = Guest::busybox("test", mode).make();
    guest.start();
    let file = guest.sh("timeout 2 cat /proc/kmsg /dev/kmsg");
    assert_eq!(file.out(), "", "{file}");
    let call = guest.sh("dmesg");
    assert_eq!(call.out(), "", "{call}");
    let clear = guest.sh("dmesg -c; dmesg -n 1");
    assert_ne!(clear.exit(), 0, "{clear}");
    guest
        .sh("syslogd -O /var/log/messages; until grep -q hello /var/log/messages; do logger hello; sleep 0.1; done")
        .ok();
    guest.stop();
}

fn guest_of_32_bits(mode: Mode) {
    let guest = Guest::busybox("test", mode).make();
    guest.set("personality", "linux_32bit\n");
    guest.set("uts/machine", "i686\n");
    guest.start();
    guest.sh("uname -m").ok().says_exactly("i686\n");
    let word = guest.sh("cat /proc/self/personality").out();
    let word = u32::from_str_radix(word.trim(), 16).expect("a hexadecimal number");
    assert_ne!(word & 0x0080_0000, 0, "no 32-bit address space: {word:x}");
    guest.vserver(&["exec", "uname", "-m"]).ok().says_exactly("i686\n");
    guest.stop();
}

fn machine_by_itself(mode: Mode) {
    let guest = Guest::busybox("test", mode).make();
    guest.set("uts/machine", "i686\n");
    guest.start();
    guest.sh("uname -m").ok().says_exactly("i686\n");
    guest.stop();
}

/// The seed's own line has `--context` without a number and options behind `--`.
fn misplaced_options(_: Mode) {
    let line =
        "test build --context -m debootstrap -n test -- --personality linux_32bit --machine i686 -d bookworm";
    let done = vserver(&line.split(' ').collect::<Vec<_>>());
    assert_ne!(done.exit(), 0);
    done.complains("context");
    assert!(
        !std::path::Path::new("/etc/vservers/test").exists()
            && !std::path::Path::new("/vservers/test").exists()
    );
}

fn nice(mode: Mode) {
    // What su does when its PAM session restores the priority.
    const LOWER: &str = "renice -n 5 -p $$ && renice -n -5 -p $$";
    let guest = Guest::busybox("test", mode).make();
    guest.start();
    let refused = guest.sh(LOWER);
    assert_ne!(refused.exit(), 0, "{refused}");
    refused.complains("Permission denied");
    guest.stop();
    guest.set("bcapabilities", "SYS_NICE\n");
    let started = guest.start();
    match mode {
        Mode::Classic => guest.sh(LOWER).ok(),
        Mode::Shifted => started.complains("SYS_NICE"),
    };
    guest.stop();
}

fn setuid_programs_work(mode: Mode) {
    let guest = Guest::busybox("test", mode).make();
    fs::copy("/bin/busybox", guest.tree("/bin/busybox-suid")).expect("the tree is ours");
    host("chmod", &["4755", "/vservers/test/bin/busybox-suid"]).ok();
    guest.put("/etc/shadow", "root::19000:0:99999:7:::\nuser:*:19000:0:99999:7:::\n");
    guest.start();
    guest.vserver(&["suexec", "user", "id", "-u"]).ok().says_exactly("1000\n");
    guest.vserver(&["suexec", "user", "/bin/busybox-suid", "su", "-c", "id -u"]).ok().says_exactly("0\n");
    guest.stop();
}
