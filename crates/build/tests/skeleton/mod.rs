//! The common part of every build, shown by the method that does nothing else.

use libtest_mimic::Trial;

use crate::Need::Root;
use crate::place::{Place, listing};
use crate::trial;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("skeleton_minimal_configuration_and_tree", &[Root], minimal),
        trial("skeleton_every_option_is_written", &[Root], every_option),
        trial("s07_context_is_checked_before_anything_is_created", &[Root], contexts),
        trial("s12_help_is_complete", &[Root], help),
        trial("existing_guests_are_refused_or_renamed", &[Root], existing),
        trial("failure_removes_what_was_made_and_only_that", &[Root], failure),
        trial("initpre_and_initpost_run_as_documented", &[Root], scripts),
        trial("defaults_files_are_used", &[Root], defaults),
        trial("an_interrupt_leaves_nothing", &[Root], interrupted),
        trial("two_builds_of_one_guest_do_not_meet", &[Root], concurrent),
    ]
}

fn minimal() {
    let place = Place::new();
    place.build_well("web1", "-m skeleton --context 105");
    let at = place.path.display();
    let config = listing(&place.config("web1"));
    let expected = [
        ("apps", "dir 755".to_owned()),
        ("apps/init", "dir 755".to_owned()),
        ("cache", format!("-> {at}/var/cache/vservers/web1")),
        ("context", "\"105\\n\"".to_owned()),
        ("cpuset", "dir 755".to_owned()),
        (
            "fstab",
            format!(
                "{:?}",
                "none\t/proc\tproc\tdefaults\t0 0\nnone\t/tmp\ttmpfs\tsize=16m,mode=1777\t0 0\nnone\t/dev/pts\tdevpts\tgid=5,mode=620\t0 0\n"
            ),
        ),
        ("interfaces", "dir 755".to_owned()),
        ("name", "\"web1\\n\"".to_owned()),
        ("run", format!("-> {at}/run/vservers/web1")),
        ("spaces", "dir 755".to_owned()),
        ("spaces/user", "\"\"".to_owned()),
        ("uts", "dir 755".to_owned()),
        ("vdir", format!("-> {at}/vservers/web1")),
    ];
    assert_eq!(config, expected.into_iter().map(|(path, what)| (path.to_owned(), what)).collect());

    let mut tree = listing(&place.vdir("web1"));
    assert!(tree.remove("etc/hosts").is_some_and(|hosts| hosts.contains("localhost")));
    tree.remove("etc/resolv.conf");
    for copied in ["nsswitch.conf", "krb5.conf"] {
        assert!(!tree.contains_key(&format!("etc/{copied}")));
    }
    let expected = [
        ("dev", "dir 755"),
        ("dev/fd", "-> /proc/self/fd"),
        ("dev/full", "c 1 7 666"),
        ("dev/null", "c 1 3 666"),
        ("dev/ptmx", "c 5 2 666"),
        ("dev/pts", "dir 755"),
        ("dev/random", "c 1 8 644"),
        ("dev/shm", "dir 1777"),
        ("dev/stderr", "-> fd/2"),
        ("dev/stdin", "-> fd/0"),
        ("dev/stdout", "-> fd/1"),
        ("dev/tty", "c 5 0 666"),
        ("dev/urandom", "c 1 9 644"),
        ("dev/zero", "c 1 5 666"),
        ("etc", "dir 755"),
        ("proc", "dir 755"),
    ];
    assert_eq!(tree, expected.into_iter().map(|(path, what)| (path.to_owned(), what.to_owned())).collect());
    place.assert_no_scratch();
}

fn every_option() {
    let place = Place::new();
    let lock = place.path.join("lock");
    let words = format!(
        "-m skeleton --context 7 --classic --hostname host1 --netdev eth9 --netmask 255.255.255.0 --netprefix 24 \
         --netbcast 192.0.2.255 --interface foo0=eth0:192.0.2.4/1 --interface foo1=eth0:192.0.2.4/255.255.248.0 \
         --interface 192.0.2.6 --interface nodev:192.0.2.7/24 --interface 2001:db8::3/64 --flags virt_uptime,hide_netif \
         --flags fork_rss --initstyle plain --personality linux_32bit --machine i686 --cpuset set1 \
         --cpusetcpus 0-1:1 --cpusetmems 0 --cpusetvirt --lockfile {} -- --pkgmgmt",
        lock.display()
    );
    place.build_well("web1", &words);
    let config = place.config("web1");
    let mut files = listing(&config);
    files.retain(|path, what| {
        !what.starts_with("dir") && !["fstab", "vdir", "cache"].contains(&path.as_str())
    });
    let line = |text: &str| format!("{:?}", format!("{text}\n"));
    let expected = [
        ("apps/init/style", line("plain")),
        ("apps/pkgmgmt/base", format!("-> {}/vservers/.pkg/web1", place.path.display())),
        ("cflags", line("virt_uptime\nhide_netif\nfork_rss")),
        ("context", line("7")),
        ("cpuset/cpu_exclusive", line("1")),
        ("cpuset/cpus", line("0-1")),
        ("cpuset/cpus_exclusive", line("1")),
        ("cpuset/mems", line("0")),
        ("cpuset/name", line("set1")),
        ("cpuset/virtualized", line("1")),
        ("interfaces/0/dev", line("eth0")),
        ("interfaces/0/ip", line("192.0.2.4")),
        ("interfaces/0/name", line("foo0")),
        ("interfaces/0/prefix", line("1")),
        ("interfaces/1/dev", line("eth0")),
        ("interfaces/1/ip", line("192.0.2.4")),
        ("interfaces/1/mask", line("255.255.248.0")),
        ("interfaces/1/name", line("foo1")),
        ("interfaces/2/ip", line("192.0.2.6")),
        ("interfaces/3/ip", line("192.0.2.7")),
        ("interfaces/3/nodev", "\"\"".to_owned()),
        ("interfaces/3/prefix", line("24")),
        ("interfaces/4/ip", line("2001:db8::3")),
        ("interfaces/4/prefix", line("64")),
        ("interfaces/bcast", line("192.0.2.255")),
        ("interfaces/dev", line("eth9")),
        ("interfaces/mask", line("255.255.255.0")),
        ("interfaces/prefix", line("24")),
        ("name", line("web1")),
        ("personality", line("linux_32bit")),
        ("run", format!("-> {}", lock.display())),
        ("uts/machine", line("i686")),
        ("uts/nodename", line("host1")),
    ];
    assert_eq!(files, expected.into_iter().map(|(path, what)| (path.to_owned(), what)).collect());
    assert!(place.layout.pkgbase.join("web1").is_dir());

    let outcome = place.build_well("web2", "-m skeleton --interface 192.0.2.9/24");
    assert!(outcome.notes().contains("no device given for interface 0, assuming 'nodev'"));
    assert!(place.config("web2").join("interfaces/0/nodev").exists());
}

fn contexts() {
    let place = Place::new();
    for bad in ["0", "1", "70000", "abc"] {
        let outcome = place.build("x", &format!("-m skeleton --context {bad}"));
        assert_eq!(outcome.code, 1);
        assert!(
            outcome.failure().contains(&format!("'{bad}' is no value for --context")),
            "{}",
            outcome.failure()
        );
        assert!(std::fs::read_dir(&place.path).unwrap().next().is_none(), "something was created");
    }
    for good in ["2", "32767", "32768"] {
        place.build_well(&format!("x{good}"), &format!("-m skeleton --context {good}"));
    }
    let outcome = place.build("y", "-m skeleton --context 2");
    assert!(outcome.failure().contains("context 2 is already in use by"), "{}", outcome.failure());
    place.assert_nothing_of("y");
    place.build_well("auto", "-m skeleton");
    assert_eq!(std::fs::read_to_string(place.config("auto").join("context")).unwrap(), "40000\n");
    assert_eq!(std::fs::read_to_string(place.layout.defaults.join("context.next")).unwrap(), "40001\n");
}

fn help() {
    let outcome = Place::new().build_well("test", "--help");
    let text = outcome.said.answers.join("\n");
    for word in
        ["skeleton", "template", "debootstrap", "rsync", "clone", "poldek", "--i-know-its-there", "--classic"]
    {
        assert!(text.contains(word), "{word}");
    }
}

fn existing() {
    let place = Place::new();
    place.build_well("web1", "-m skeleton --context 5");
    std::fs::write(place.vdir("web1").join("precious"), "1").unwrap();
    let outcome = place.build("web1", "-m skeleton --context 5");
    assert_eq!(outcome.code, 1);
    let text = outcome.failure();
    let both =
        format!("{} and {} already exist", place.vdir("web1").display(), place.config("web1").display());
    assert!(text.contains(&both) && text.contains("--force"), "{text}");
    assert!(place.vdir("web1").join("precious").exists());

    // Three within one second lose nothing.
    for _ in 0..3 {
        let outcome = place.build_well("web1", "-m skeleton --context 5 --force");
        assert!(outcome.notes().contains("renamed"), "{}", outcome.notes());
        std::fs::write(place.vdir("web1").join("precious"), "1").unwrap();
    }
    let copies = |dir| {
        std::fs::read_dir(dir).unwrap().filter_map(Result::ok).map(|e| e.file_name()).collect::<Vec<_>>()
    };
    let trees = copies(&place.layout.vdirbase);
    assert_eq!(
        trees.iter().filter(|name| name.to_string_lossy().starts_with("web1.~")).count(),
        3,
        "{trees:?}"
    );
    let configs = copies(&place.layout.confdir);
    assert_eq!(
        configs.iter().filter(|name| name.to_string_lossy().starts_with("web1.~")).count(),
        3,
        "{configs:?}"
    );

    // A tree with nothing but lost+found is none; other trees need the word.
    std::fs::create_dir_all(place.vdir("disk").join("lost+found")).unwrap();
    place.build_well("disk", "-m skeleton");
    std::fs::create_dir_all(place.vdir("old")).unwrap();
    std::fs::write(place.vdir("old").join("data"), "1").unwrap();
    assert_eq!(place.build("old", "-m skeleton").code, 1);
    place.build_well("old", "-m skeleton --i-know-its-there");
    assert!(place.vdir("old").join("data").exists());
}

fn failure() {
    let place = Place::new();
    let outcome = place.build("web1", "-m skeleton -- -- /bin/false");
    assert_eq!(outcome.code, 1);
    assert!(outcome.failure().contains("/bin/false failed (exit code 1)"), "{}", outcome.failure());
    assert!(outcome.failure().contains("undone: "), "{}", outcome.failure());
    place.assert_nothing_of("web1");

    let outcome = place.build("web1", "-m skeleton --keep -- /bin/false");
    assert_eq!(outcome.code, 1);
    assert!(place.config("web1").is_dir() && place.vdir("web1").is_dir());
    place.assert_no_scratch();

    std::fs::create_dir_all(place.vdir("old")).unwrap();
    std::fs::write(place.vdir("old").join("data"), "1").unwrap();
    assert_eq!(place.build("old", "-m skeleton --i-know-its-there -- /bin/false").code, 1);
    assert!(place.vdir("old").join("data").exists());
    assert!(!place.config("old").exists());

    std::fs::create_dir_all(place.vdir("disk").join("lost+found")).unwrap();
    assert_eq!(place.build("disk", "-m skeleton -- /bin/false").code, 1);
    assert_eq!(listing(&place.vdir("disk")).keys().collect::<Vec<_>>(), ["lost+found"]);

    let outcome = place.build("web2", "-m skeleton --rootdir /nonexistent/dir");
    assert!(
        outcome.failure().contains("guest root directory /nonexistent/dir does not exist"),
        "{}",
        outcome.failure()
    );
    std::fs::create_dir_all(&place.layout.defaults).unwrap();
    std::os::unix::fs::symlink("/nonexistent", place.layout.defaults.join("vdirbase")).unwrap();
    let outcome = place.build("web2", "-m skeleton");
    assert!(outcome.failure().contains(".defaults/vdirbase does not exist"), "{}", outcome.failure());
    std::fs::remove_file(place.layout.defaults.join("vdirbase")).unwrap();
    let outcome = place.build("web2", "-m poldek -- -d pld-th");
    assert!(outcome.failure().contains("comes with a later version"), "{}", outcome.failure());
    place.assert_nothing_of("web2");
}

fn scripts() {
    use std::os::unix::fs::PermissionsExt as _;
    let place = Place::new();
    let dist = place.layout.distributions.join("mydist");
    std::fs::create_dir_all(dist.join("files")).unwrap();
    std::fs::write(dist.join("files/hosts"), "203.0.113.1 there\n").unwrap();
    std::fs::write(dist.join("devs"), "null c 1 3 600\nconsole l null\n").unwrap();
    for moment in ["initpre", "initpost"] {
        let script = dist.join(moment);
        let text = format!("#!/bin/sh\n. \"$2\"\necho \"$1 $DISTRIBUTION $VDIR\" > \"$VDIR/{moment}.ran\"\n");
        std::fs::write(&script, text).unwrap();
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    place.build_well("web1", "-m skeleton -- -d mydist");
    let vdir = place.vdir("web1");
    let said = format!("{} mydist {}\n", place.config("web1").display(), vdir.display());
    for moment in ["initpre.ran", "initpost.ran"] {
        assert_eq!(std::fs::read_to_string(vdir.join(moment)).unwrap(), said);
    }
    assert_eq!(std::fs::read_to_string(vdir.join("etc/hosts")).unwrap(), "203.0.113.1 there\n");
    let dev = listing(&vdir.join("dev"));
    let names: Vec<_> = dev.iter().map(|(name, what)| format!("{name} {what}")).collect();
    assert_eq!(names, ["console -> null", "null c 1 3 600", "pts dir 755"]);

    std::fs::write(dist.join("initpost"), "#!/bin/sh\nexit 7\n").unwrap();
    let outcome = place.build("web2", "-m skeleton -- -d mydist");
    assert!(outcome.failure().contains("initpost failed (exit code 7)"), "{}", outcome.failure());
    place.assert_nothing_of("web2");
    std::fs::write(dist.join("devs"), "null z 1 3 600\n").unwrap();
    let outcome = place.build("web2", "-m skeleton -- -d mydist");
    assert!(outcome.failure().contains("devs:1: unknown type"), "{}", outcome.failure());
    place.assert_nothing_of("web2");
}

fn defaults() {
    let place = Place::new();
    let defaults = &place.layout.defaults;
    std::fs::create_dir_all(defaults.join("apps/build")).unwrap();
    std::fs::create_dir_all(defaults.join("files")).unwrap();
    std::fs::write(defaults.join("apps/build/options"), "-m\nskeleton\n--hostname\nfrom-file\n").unwrap();
    std::fs::write(defaults.join("fstab"), "none /x tmpfs defaults 0 0\n").unwrap();
    std::fs::write(defaults.join("files/resolv.conf"), "nameserver 192.0.2.53\n").unwrap();
    std::fs::create_dir_all(place.path.join("big/disk")).unwrap();
    std::os::unix::fs::symlink(place.path.join("big/disk"), defaults.join("vdirbase")).unwrap();
    place.build_well("web1", "");
    let config = place.config("web1");
    assert_eq!(std::fs::read_to_string(config.join("uts/nodename")).unwrap(), "from-file\n");
    assert_eq!(std::fs::read_to_string(config.join("fstab")).unwrap(), "none /x tmpfs defaults 0 0\n");
    assert_eq!(std::fs::read_link(config.join("vdir")).unwrap(), defaults.join("vdirbase/web1"));
    let resolv = place.path.join("big/disk/web1/etc/resolv.conf");
    assert_eq!(std::fs::read_to_string(resolv).unwrap(), "nameserver 192.0.2.53\n");
    place.build_well("web2", "--hostname mine");
    assert_eq!(std::fs::read_to_string(place.config("web2").join("uts/nodename")).unwrap(), "mine\n");
}

fn interrupted() {
    let place = Place::new();
    // What a build left that was killed goes with the next one; no process has this number.
    std::fs::create_dir_all(place.layout.cachebase.join("build/tmp.4194305.0/deep")).unwrap();
    let interrupt = place.interrupt.clone();
    let started = place.path.join("started");
    let words = format!("-m skeleton -- /bin/sh -c touch${{IFS}}{};sleep${{IFS}}1000", started.display());
    std::thread::scope(|scope| {
        let build = scope.spawn(|| place.build("web1", &words));
        while !started.exists() {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        interrupt.set();
        let outcome = build.join().unwrap();
        assert_eq!(outcome.code, 130, "{}", outcome.failure());
    });
    place.assert_nothing_of("web1");
}

fn concurrent() {
    let place = Place::new();
    let outcomes: Vec<u8> = std::thread::scope(|scope| {
        let builds: Vec<_> = (0..8)
            .map(|n| {
                let place = &place;
                scope.spawn(move || place.build(&format!("web{}", n / 2), "-m skeleton").code)
            })
            .collect();
        builds.into_iter().map(|build| build.join().unwrap()).collect()
    });
    for pair in outcomes.chunks(2) {
        assert!(pair.contains(&0), "{outcomes:?}");
        assert!(pair.contains(&1), "{outcomes:?}");
    }
    let mut numbers: Vec<_> = (0..4)
        .map(|n| std::fs::read_to_string(place.config(&format!("web{n}")).join("context")).unwrap())
        .collect();
    numbers.sort();
    numbers.dedup();
    assert_eq!(numbers.len(), 4);
}
