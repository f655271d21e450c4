//! What is written reads back the same, and what was not changed keeps its bytes.
#![expect(clippy::unwrap_used, reason = "an unwrap in a test is an assertion")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use vserver_config::{
    Guest, Switch, WriteError, read, write, write_item, write_lines, write_link, write_marker,
};
use vserver_model::{Layout, Sourced, Xid};

/// Items and values they can have. Every kind of reader and writer is among them.
const ITEMS: &[(&str, &[&str])] = &[
    ("context", &["105\n", "7", "# not a comment\n", ""]),
    ("ncontext", &["106\n"]),
    ("noncontext", &[""]),
    ("tag", &["0x10\n"]),
    ("name", &["Web server\n", " padded \n"]),
    ("bcapabilities", &["NET_RAW\n~KILL\n", "# all of it\nCAP_SYS_TIME,~CHOWN\n\nnone\n", "~all"]),
    ("ccapabilities", &["secure_mount\n"]),
    ("cflags", &["virt_mem\n", "~hide_netif,persistent\nfakeinit\n"]),
    ("flags", &["sched_hard\n", "hide_netif\n"]),
    ("nflags", &["single_ip\n~hide_netif\n"]),
    ("ncapabilities", &["tun_create\n"]),
    ("umask", &["newns\nnewpid,newuser\n"]),
    ("personality", &["linux32\n", "linux\nADDR_NO_RANDOMIZE\n0x100000\n", ""]),
    ("nice", &["5\n", "-20\n", "x\n"]),
    ("badness", &["-17\n"]),
    ("ionice/class", &["3\n", "idle\n"]),
    ("ionice/priority", &["7\n"]),
    ("shell", &["/bin/zsh\n", ""]),
    ("keepfds", &[""]),
    ("noisy", &["yes\n"]),
    ("disabled", &[""]),
    ("nocgroup", &[""]),
    ("namespace", &[""]),
    ("nonamespace", &[""]),
    ("namespace-cleanup", &[""]),
    ("nonamespace-cleanup", &[""]),
    ("namespace-cleanup-skip", &["/srv\n /odd \n#x\n", ""]),
    (
        "fstab",
        &["none /proc proc defaults 0 0\n", "# c\n/a\\040b /mnt none bind,ro\n/dev/sda2 none swap sw\n", ""],
    ),
    ("fstab.local", &["none /tmp tmpfs size=16m 0 0\n"]),
    ("fstab.remote", &["srv:/x /net nfs soft,x-a 0 2\n", ""]),
    ("spaces/pid", &["", "0\n", "web2\n"]),
    ("spaces/net", &["", "0\n"]),
    ("spaces/user", &["", "0\n", "200000\n", "200000 1000\n"]),
    ("spaces/mask", &["newcgroup,fs\n", "none\n", "0\n"]),
    ("uts/nodename", &["web1\n", " odd \n\n"]),
    ("uts/machine", &["i686\n"]),
    ("ulimits/nofile", &["1024\n", "inf\n"]),
    ("ulimits/nofile.soft", &["512\n", "4K\n"]),
    ("ulimits/nofile.hard", &["2048\n", "-1\n"]),
    ("ulimits/stack.hard", &["8M\n"]),
    ("rlimits/rss", &["100000\n"]),
    ("rlimits/rss.hard", &["200000\n", "256MB\n"]),
    ("rlimits/nproc.hard", &["100\n"]),
    ("sysctl/a/setting", &["kernel.shmmax\n"]),
    ("sysctl/a/value", &["1\n2", ""]),
    ("interfaces/bcast", &["192.0.2.255\n"]),
    ("interfaces/lback", &["127.0.0.5\n"]),
    ("interfaces/dev", &["eth0\n"]),
    ("interfaces/prefix", &["24\n"]),
    ("interfaces/vlandev", &[""]),
    ("interfaces/0/ip", &["192.0.2.1\n", "192.0.2.1/25\n", "2001:db8::1/64\n"]),
    ("interfaces/0/dev", &["eth1\n", "eth0.7\n"]),
    ("interfaces/0/mask", &["255.255.255.128\n"]),
    ("interfaces/0/bcast", &["+\n", "192.0.2.127\n"]),
    ("interfaces/0/name", &["web\n"]),
    ("interfaces/0/nodev", &[""]),
    ("interfaces/0/only_ip", &[""]),
    ("interfaces/0/down", &[""]),
    ("interfaces/0/novlandev", &[""]),
    ("interfaces/0/tap", &[""]),
    ("interfaces/0/uid", &["1000\n"]),
    ("interfaces/x/ip", &["192.0.2.9/32\n"]),
    ("interfaces/x/nodev", &[""]),
    ("interfaces/x/disabled", &[""]),
    ("netns/name", &["lan\n"]),
    ("netns/shared", &[""]),
    ("netns/interfaces/0/host", &["veth0\n"]),
    ("netns/interfaces/0/guest", &["eth0\n"]),
    ("netns/interfaces/1/host", &["veth1\n"]),
    ("netns/interfaces/1/address", &["192.0.2.5/24\n2001:db8::5/64\n"]),
    ("netns/interfaces/1/host-address", &["192.0.2.1/24\n"]),
    ("netns/interfaces/1/gateway", &["192.0.2.1\n", "2001:db8::1"]),
    ("netns/interfaces/1/route", &["198.51.100.0/24 via 192.0.2.2\n"]),
    ("netns/interfaces/1/mtu", &["1400\n"]),
    ("netns/interfaces/1/mac", &["2:0:0:0:0:1\n"]),
    ("netns/interfaces/1/bridge", &["br0\n"]),
    ("netns/interfaces/2/guest", &["lan\n"]),
    ("netns/interfaces/3/type", &["phys\n"]),
    ("netns/interfaces/3/host", &["eth1\n"]),
    ("cgroup/name", &["group\n"]),
    ("cgroup/memory.max", &["1G\n", "256M"]),
    ("cgroup/cpu.shares", &["512\n"]),
    ("cpuset/name", &["set\n"]),
    ("cpuset/cpus", &["0-1\n"]),
    ("cpuset/cpus_exclusive", &["1\n", "0\n"]),
    ("sched/fill-rate", &["10\n"]),
    ("sched/prio-bias", &["-3\n"]),
    ("sched/cpu0/cpu-id", &["0\n"]),
    ("sched/cpu0/interval2", &["5\n"]),
    ("schedule", &["10\n100\n50\n20\n500\n0\n"]),
    ("dlimits/0/directory", &["/vservers\n"]),
    ("dlimits/0/space_total", &["100\n"]),
    ("dlimits/0/inodes_total", &["100\n"]),
    ("dlimits/0/reserved", &["5\n"]),
    ("apps/vdevmap/x/device", &["/dev/null\n"]),
    ("apps/vdevmap/x/open", &[""]),
    ("apps/vdevmap/x/flags", &["0x10\n"]),
    ("apps/init/style", &["plain\n", "\n", "systemd"]),
    ("apps/init/runlevel", &["3\n"]),
    ("apps/init/runlevel.start", &["2\n"]),
    ("apps/init/runlevel.stop", &["6\n"]),
    ("apps/init/killseq", &["INT\n0.5\n9\n", ""]),
    ("apps/init/cmd.start", &["/bin/sh\n-c\n echo # x \n", ""]),
    ("apps/init/cmd.stop-sync", &["true\n"]),
    ("apps/init/sync", &[""]),
    ("apps/init/mark", &["default\n# c\nnight\n"]),
    ("apps/init/depends", &["db\n"]),
    ("apps/init/environment", &["A=b\nPATH=/bin=x \n", ""]),
    ("apps/init/mtab", &["/dev/x / ext4 rw 0 0\n", ""]),
    ("apps/vshelper/sync-timeout", &["7\n"]),
    ("apps/vshelper/action", &["poweroff\n"]),
    ("apps/vshelper/disabled", &[""]),
    ("apps/vshelper/debug", &[""]),
];

/// What the site's defaults can say; nothing that a guest cannot take back.
const DEFAULTS: &[(&str, &[&str])] = &[
    ("shell", &["/bin/ksh\n"]),
    ("nonamespace-cleanup", &[""]),
    ("namespace-cleanup-skip", &["/opt\n"]),
    ("init/mtab", &["site / x y 0 0\n"]),
    ("apps/init/environment", &["SITE=1\n"]),
    ("apps/vshelper/sync-timeout", &["9\n"]),
    ("apps/vshelper/action", &["halt\n"]),
    ("cgroup/memory.max", &["2G\n"]),
    ("cgroup/name", &["all\n"]),
    ("netns/shared", &[""]),
    ("interfaces/vlandev", &[""]),
];

type Files = Vec<(&'static str, &'static str)>;

fn any_files(
    items: &'static [(&'static str, &'static [&'static str])],
    most: usize,
) -> impl Strategy<Value = Files> {
    subsequence(items, 0..=most).prop_flat_map(|chosen| {
        chosen.into_iter().map(|(item, values)| (Just(item), select(values))).collect::<Vec<_>>()
    })
}

fn make(base: &Path, files: &Files) {
    for (item, content) in files {
        let path = base.join(item);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
}

/// A guest without the places its values came from, and without what writing leaves alone.
fn values(mut guest: Guest) -> String {
    guest.dir = PathBuf::new();
    guest.carried.clear();
    guest.scripts = vserver_config::Scripts::default();
    guest.vshelper.handlers.clear();
    guest.init.style_place = None;
    guest.init.environment_place = None;
    for switch in [&mut guest.namespace, &mut guest.namespace_cleanup] {
        *switch = Switch { on: switch.on, place: None };
    }
    if let Some(netns) = &mut guest.netns {
        netns.dir = PathBuf::new();
    }
    for interface in &mut guest.interfaces.list {
        // A prefix that is the whole address may be written out.
        interface.address.value.prefix = Some(interface.address.value.effective_prefix());
    }
    let text = format!("{guest:#?}");
    let place =
        |line: &&str| !line.trim_start().starts_with("file: \"") && !line.trim_start().starts_with("line: ");
    text.lines().filter(place).collect::<Vec<_>>().join("\n")
}

fn snapshot(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.insert(path.clone(), Vec::new());
            files.extend(snapshot(&path));
        } else {
            files.insert(path.clone(), fs::read(&path).unwrap_or_default());
        }
    }
    files
}

/// Two guests of one site, in directories of the same name.
fn two(defaults: &Files, one: &Files, other: &Files) -> (tempfile::TempDir, Layout, PathBuf, PathBuf) {
    // Thousands of small files: in memory where the machine has such a place.
    let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let mut layout = Layout::under(dir.path()).unwrap();
    layout.sharedirs.clear();
    make(&layout.defaults, defaults);
    let (first, second) = (dir.path().join("1/web"), dir.path().join("2/web"));
    fs::create_dir_all(&first).unwrap();
    fs::create_dir_all(&second).unwrap();
    make(&first, one);
    make(&second, other);
    (dir, layout, first, second)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 40, max_shrink_iters: 1000, failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn a_guest_written_over_another_reads_back_the_same(
        defaults in any_files(DEFAULTS, 6), one in any_files(ITEMS, 60), other in any_files(ITEMS, 60),
    ) {
        let (_dir, layout, first, second) = two(&defaults, &one, &other);
        let guest = read(&layout, &first).guest;
        match write(&layout, &second, &guest) {
            Ok(()) => {
                let back = read(&layout, &second).guest;
                prop_assert_eq!(values(back), values(guest));
            }
            // Keys that stand beside the interfaces are inherited whatever the guest says.
            Err(WriteError::Overridden(item)) => {
                prop_assert!(item.starts_with(second.join("interfaces")), "{}", item.display());
            }
            Err(error) => return Err(TestCaseError::fail(error.to_string())),
        }
    }

    #[test]
    fn a_guest_written_into_an_empty_directory_reads_back_the_same(
        defaults in any_files(DEFAULTS, 6), one in any_files(ITEMS, 80),
    ) {
        let (_dir, layout, first, second) = two(&defaults, &one, &Vec::new());
        let guest = read(&layout, &first).guest;
        write(&layout, &second, &guest).unwrap();
        let back = read(&layout, &second).guest;
        prop_assert_eq!(values(back), values(guest));
    }

    #[test]
    fn writing_what_was_read_changes_no_byte(defaults in any_files(DEFAULTS, 6), one in any_files(ITEMS, 80)) {
        let (_dir, layout, first, _) = two(&defaults, &one, &Vec::new());
        let before = snapshot(&first);
        let guest = read(&layout, &first).guest;
        write(&layout, &first, &guest).unwrap();
        prop_assert_eq!(snapshot(&first), before);
    }
}

#[test]
fn one_changed_value_is_one_changed_file() {
    let one: Files = vec![("context", "# odd\n"), ("nice", " 5 "), ("bcapabilities", "# why\nNET_RAW\n")];
    let (_dir, layout, first, _) = two(&Vec::new(), &one, &Vec::new());
    symlink("../../tree", first.join("vdir")).unwrap();
    let mut guest = read(&layout, &first).guest;
    guest.context = Some(Sourced::new(Xid::new(12).unwrap(), "", 1));
    let mut wanted = snapshot(&first);
    write(&layout, &first, &guest).unwrap();
    wanted.insert(first.join("context"), b"12\n".to_vec());
    assert_eq!(snapshot(&first), wanted);
    assert_eq!(fs::read_link(first.join("vdir")).unwrap(), Path::new("../../tree"));
}

#[test]
fn a_value_without_a_form_is_refused_before_anything_is_written() {
    let (_dir, layout, first, _) = two(&Vec::new(), &vec![("nice", "5\n")], &Vec::new());
    let before = snapshot(&first);
    for bad in ["two\nlines", " blank", "", "nul\0"] {
        let mut guest = read(&layout, &first).guest;
        guest.nice = None;
        guest.display_name = Some(Sourced::new(bad.into(), "", 1));
        assert!(matches!(write(&layout, &first, &guest), Err(WriteError::Unwritable { .. })), "{bad:?}");
        assert_eq!(snapshot(&first), before);
    }
}

#[test]
fn a_default_of_the_site_that_cannot_be_taken_back_is_an_error() {
    let (_dir, layout, first, _) = two(&vec![("keepfds", "")], &Vec::new(), &Vec::new());
    let mut guest = read(&layout, &first).guest;
    guest.keepfds = None;
    let error = write(&layout, &first, &guest).unwrap_err();
    let path = first.join("keepfds");
    assert_eq!(
        error.to_string(),
        format!("{} still has another value: one that the guest inherits decides", path.display())
    );
}

#[test]
fn single_items() {
    let dir = tempfile::tempdir().unwrap();
    write_item(dir.path(), "apps/init/style", "plain").unwrap();
    write_item(dir.path(), "apps/init/style", "sysv").unwrap();
    write_lines(dir.path(), "cflags", ["a", "b"]).unwrap();
    write_marker(dir.path(), "interfaces/0/nodev").unwrap();
    write_link(dir.path(), "vdir", Path::new("/vservers/a")).unwrap();
    write_link(dir.path(), "vdir", Path::new("/vservers/b")).unwrap();
    assert_eq!(fs::read(dir.path().join("apps/init/style")).unwrap(), b"sysv\n");
    assert_eq!(fs::read(dir.path().join("cflags")).unwrap(), b"a\nb\n");
    assert_eq!(fs::read(dir.path().join("interfaces/0/nodev")).unwrap(), b"");
    assert_eq!(fs::read_link(dir.path().join("vdir")).unwrap(), Path::new("/vservers/b"));
    assert!(write_item(dir.path(), "name", "a\nb").is_err());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 4, "nothing is left beside");
}
