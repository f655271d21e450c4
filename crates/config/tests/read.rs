//! Whole configuration directories through the reader.
#![expect(clippy::unwrap_used, reason = "an unwrap in a test is an assertion")]

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use vserver_config::{Finding, Guest, Kind, Reading, Severity, Space, UserSpace, read};
use vserver_model::{CapSet, InitStyle, KillStep, Layout, Limit, UlimitResource};

/// A site in a directory of its own with one guest that has what every guest needs.
struct Site {
    _dir: tempfile::TempDir,
    layout: Layout,
    cfg: PathBuf,
}

impl Site {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut layout = Layout::under(dir.path()).unwrap();
        // The machine that runs the test may have files of ours installed.
        layout.sharedirs.clear();
        let cfg = layout.confdir.join("web1");
        fs::create_dir_all(&cfg).unwrap();
        fs::create_dir_all(layout.vdirbase.join("web1")).unwrap();
        symlink(layout.vdirbase.join("web1"), cfg.join("vdir")).unwrap();
        symlink(layout.rundir.join("web1"), cfg.join("run")).unwrap();
        symlink(layout.cachebase.join("web1"), cfg.join("cache")).unwrap();
        let site = Self { _dir: dir, layout, cfg };
        site.put("context", "105\n");
        site
    }

    fn put_in(base: &Path, item: &str, content: impl AsRef<[u8]>) {
        let path = base.join(item);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn put(&self, item: &str, content: impl AsRef<[u8]>) {
        Self::put_in(&self.cfg, item, content);
    }

    fn put_default(&self, item: &str, content: impl AsRef<[u8]>) {
        Self::put_in(&self.layout.defaults, item, content);
    }

    fn read(&self) -> Reading {
        read(&self.layout, &self.cfg)
    }

    /// Reads a guest in which nothing is wrong.
    #[track_caller]
    fn guest(&self) -> Guest {
        let reading = self.read();
        assert_eq!(reading.findings, [], "nothing is wrong");
        reading.guest
    }

    /// Findings as `item:line kind`, without the base directory.
    fn findings(&self) -> Vec<String> {
        self.read().findings.iter().map(|finding| self.short(finding)).collect()
    }

    fn short(&self, finding: &Finding) -> String {
        let file = finding.file.strip_prefix(&self.cfg).unwrap_or(&finding.file);
        format!("{}:{} {:?} {:?}", file.display(), finding.line, finding.severity, finding.kind)
    }

    /// The one finding of a guest whose `item` has this content.
    #[track_caller]
    fn one(&self, item: &str, content: impl AsRef<[u8]>) -> Finding {
        self.put(item, content);
        let mut findings = self.read().findings;
        assert_eq!(findings.len(), 1, "{findings:#?}");
        fs::remove_file(self.cfg.join(item)).unwrap();
        findings.remove(0)
    }
}

#[test]
fn the_least_guest() {
    let site = Site::new();
    let guest = site.guest();
    assert_eq!(guest.name.to_string(), "web1");
    assert_eq!(guest.context.unwrap().value.get(), 105);
    assert_eq!(guest.vdir.unwrap().value, site.layout.vdirbase.join("web1"));
    assert_eq!(guest.run.unwrap().value, site.layout.rundir.join("web1"));
    assert!(guest.namespace.on && guest.namespace_cleanup.on && !guest.has_fstab);
    assert_eq!(guest.init.style, InitStyle::Sysv);
    assert_eq!(
        guest.init.killseq,
        [KillStep::Signal(15), KillStep::Wait(Duration::from_secs(5)), KillStep::Signal(9)]
    );
    assert_eq!(guest.init.environment, [("PATH".into(), "/bin:/usr/bin:/sbin:/usr/sbin".into())]);
    assert_eq!(guest.mtab, b"/dev/hdv1 / ufs defaults 0 0\n");
    assert_eq!(guest.vshelper.sync_timeout, Duration::from_secs(30));
    assert_eq!(guest.vshelper.action, "restart");
}

#[test]
fn s31_a_guest_without_context_is_refused_in_the_known_words() {
    let site = Site::new();
    for content in [None, Some(""), Some("\n")] {
        fs::remove_file(site.cfg.join("context")).unwrap();
        if let Some(content) = content {
            site.put("context", content);
        }

        let findings = site.read().into_guest().unwrap_err();
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert_eq!(
            findings[0].message,
            format!(
                "Dynamic Context IDs are not supported, you must set Context ID in {}/context file",
                site.cfg.display()
            )
        );
        site.put("context", "105\n");
    }
    for wrong in ["1", "0", "65536", "abc", "-5", "105 x", "1e3"] {
        let site = Site::new();
        let finding = site.one("context", format!("{wrong}\n"));
        assert_eq!((finding.severity, finding.line), (Severity::Error, 1), "{wrong}: {finding}");
    }
    site.put("context", "0x69");
    assert_eq!(site.read().guest.context.unwrap().value.get(), 105);
    site.put("context", "40000\n");
    assert_eq!(site.findings(), ["context:1 Warning BadValue"]);
}

#[test]
fn what_every_guest_needs_is_asked_for() {
    let site = Site::new();
    fs::remove_file(site.cfg.join("vdir")).unwrap();
    fs::remove_file(site.cfg.join("run")).unwrap();
    assert_eq!(site.findings(), ["run:0 Error Missing", "vdir:0 Error Missing"]);
    symlink("/nowhere", site.cfg.join("vdir")).unwrap();
    site.put("run", "105\n");
    assert_eq!(site.findings(), ["run:0 Error BadValue", "vdir:0 Error Missing"]);
    assert_eq!(
        read(&site.layout, &site.layout.confdir.join("web2")).findings[0].message,
        "is not a directory"
    );
}

#[test]
fn word_lists_are_summed_line_by_line() {
    let site = Site::new();
    site.put("bcapabilities", "# more\nCAP_NET_RAW,~sys_boot\n\n ~CHOWN \n^34\nSETFCAP, LEASE\n");
    let guest = site.guest();
    let caps = CapSet::SECURE.apply(guest.bcapabilities.bits);
    assert!(
        caps.contains(CapSet::NET_RAW) && caps.contains(CapSet::SYSLOG) && caps.contains(CapSet::SETFCAP)
    );
    assert!(!caps.contains(CapSet::SYS_BOOT) && !caps.contains(CapSet::CHOWN));
    assert_eq!(guest.bcapabilities.lines.len(), 4);
    assert_eq!(guest.bcapabilities.lines[1].line, 4);
}

#[test]
fn every_bad_word_is_reported_with_its_line() {
    let site = Site::new();
    site.put("bcapabilities", "NET_ADMIN # x\nKILL\nQUOTACTL\na\n,KILL\n");
    site.put("cflags", "sched\nlback_remap\n");
    let findings = site.read().findings;
    let seen: Vec<_> = findings.iter().map(|f| (f.line, f.message.as_str())).collect();
    assert_eq!(
        seen,
        [
            (1, "Unknown bcap 'NET_ADMIN # x'"),
            (3, "Unknown bcap 'QUOTACTL'"),
            (4, "Unknown bcap 'a'"),
            (5, "Unknown bcap ''"),
            (1, "Unknown flag 'sched'"),
            (2, "Unknown flag 'lback_remap' (it belongs in the file nflags)"),
        ]
    );
    assert!(findings.iter().all(|finding| finding.kind == Kind::UnknownWord));
}

#[test]
fn cflags_hide_flags_and_hide_netif_moves_to_the_network() {
    let site = Site::new();
    site.put("flags", "persistent\nfakeinit\n~hide_netif\n");
    let guest = site.guest();
    assert_eq!(guest.cflags.bits.value, 1 << 38 | 1 << 4);
    assert_eq!(guest.fakeinit.unwrap().line, 2);
    assert_eq!((guest.nflags.bits.value, guest.nflags.bits.mask), (0, 1 << 25));
    site.put("nflags", "hide_netif\n");
    assert_eq!(site.guest().nflags.bits.value, 1 << 25, "the file of the network flags comes last");
    site.put("cflags", "sched_pause\n");
    assert_eq!(site.guest().cflags.bits.value, 1 << 10, "flags is not read beside cflags");
}

#[test]
fn scalars_of_the_top_level() {
    let site = Site::new();
    site.put("name", "Web  server\n");
    site.put("nice", "-5\nrest\n");
    site.put("badness", " 500 \n");
    site.put("personality", "linux32\nADDR_NO_RANDOMIZE\n");
    site.put("umask", "newns,newpid\nCLONE_NEWCGROUP\n");
    site.put("ionice/priority", "3\n");
    site.put_default("shell", "/bin/zsh\n");
    site.put_default("keepfds", "");
    let guest = site.guest();
    assert_eq!(guest.display_name.unwrap().value, "Web  server");
    assert_eq!((guest.nice.unwrap().value, guest.badness.unwrap().value), (-5, 500));
    assert_eq!(guest.personality.unwrap().value, 0x8 | 0x4_0000);
    assert_eq!(guest.umask.bits.value, 0x2_0000 | 0x2000_0000 | 0x200_0000);
    let ionice = guest.ionice.unwrap().value;
    assert_eq!((ionice.class, ionice.priority), (2, 3));
    assert_eq!(guest.shell.unwrap().file, site.layout.defaults.join("shell"));
    assert!(guest.keepfds.is_some());
    site.put("shell", "");
    assert_eq!(site.guest().shell, None, "the first existing file wins, even empty");
    assert_eq!(site.one("nice", "x\n").kind, Kind::BadValue);
    assert_eq!(site.one("nice", "25\n").severity, Severity::Warning);
    assert_eq!(site.one("personality", "lunix\n").message, "bad personality type 'lunix'");
    assert_eq!(site.one("badness", "1.5\n").line, 1);
    site.put("personality", "");
    assert_eq!(site.guest().personality, None);
}

#[test]
fn a_missing_final_newline_is_accepted_and_warned_about() {
    let site = Site::new();
    site.put("nice", "5");
    site.put("bcapabilities", "KILL\nNET_RAW");
    assert_eq!(site.findings(), ["bcapabilities:0 Warning NoFinalNewline", "nice:0 Warning NoFinalNewline"]);
    let guest = site.read().guest;
    assert_eq!(guest.nice.unwrap().value, 5);
    assert_eq!(guest.bcapabilities.lines.len(), 2);
    assert_eq!(site.read().findings[0].message, "does not end on newline");
}

#[test]
fn namespace_switches() {
    let site = Site::new();
    site.put_default("nonamespace-cleanup", "");
    let guest = site.guest();
    assert!(!guest.namespace_cleanup.on);
    assert_eq!(guest.namespace_cleanup.place, Some(site.layout.defaults.join("nonamespace-cleanup")));
    site.put("namespace-cleanup", "");
    assert!(site.guest().namespace_cleanup.on);
    site.put_default("nonamespace", "");
    assert_eq!(site.read().findings[0].kind, Kind::Unsupported);
    site.put("namespace", "");
    assert!(site.guest().namespace.on);
    site.put_default("namespace-cleanup-skip", "/a\n#b\n");
    site.put("namespace-cleanup-skip", "/srv/x y\n\n/opt\n");
    let skip = site.guest().namespace_cleanup_skip;
    assert_eq!(
        skip.iter().map(|s| s.value.as_path()).collect::<Vec<_>>(),
        [Path::new("/srv/x y"), Path::new("/opt")]
    );
}

#[test]
fn spaces() {
    let site = Site::new();
    site.put("spaces/pid", "");
    site.put("spaces/net", "0\n");
    site.put("spaces/user", "");
    site.put("spaces/mask", "newcgroup,newtime\n");
    let spaces = site.guest().spaces;
    assert_eq!(spaces.pid.unwrap().value, Space::Own);
    assert_eq!(spaces.net.unwrap().value, Space::Off);
    assert_eq!(spaces.user.unwrap().value, UserSpace::Default);
    assert_eq!(spaces.mask.unwrap().value, 0x200_0000 | 0x80);
    site.put("spaces/pid", "106\n");
    site.put("spaces/mask", "newuts");
    let spaces = site.read().guest.spaces;
    assert_eq!(spaces.pid.unwrap().value, Space::Of("106".into()));
    assert_eq!(spaces.mask.unwrap().value, 0x400_0000, "D13: with or without final newline");
    site.put("spaces/mask", "newuts\n");
    for (text, wanted) in [
        ("0\n", Some(UserSpace::Off)),
        ("200000\n", Some(UserSpace::Range { first: 200_000, count: 65_536 })),
        ("200000 1000\n", Some(UserSpace::Range { first: 200_000, count: 1000 })),
        ("0 65536\n", None),
        ("4294967295\n", None),
        ("1 2 3\n", None),
        ("x\n", None),
        ("5 0\n", None),
    ] {
        site.put("spaces/user", text);
        let reading = site.read();
        assert_eq!(reading.guest.spaces.user.map(|user| user.value), wanted, "{text}");
        assert_eq!(reading.findings.is_empty(), wanted.is_some(), "{text}");
    }
}

#[test]
fn uts_fields_are_whole_files() {
    let site = Site::new();
    site.put("uts/nodename", "web1.example.org\n\n");
    site.put("uts/machine", "i686");
    let guest = site.read().guest;
    assert_eq!(guest.uts.nodename.unwrap().value, "web1.example.org");
    assert_eq!(guest.uts.machine.unwrap().value, "i686");
    fs::remove_file(site.cfg.join("uts/machine")).unwrap();
    assert_eq!(site.one("uts/domainname", "a\nb\n").kind, Kind::BadValue);
    assert_eq!(site.one("uts/domainname", format!("{}\n", "x".repeat(65))).kind, Kind::BadValue);
    site.put("uts/domainname", format!("{}\n", "x".repeat(64)));
    assert_eq!(site.guest().uts.domainname.unwrap().value.len(), 64);
}

#[test]
fn ulimits_and_their_measured_forms() {
    let site = Site::new();
    site.put("ulimits/nofile", "1024\n");
    site.put("ulimits/nofile.soft", "2048\n");
    site.put("ulimits/memlock.hard", "64K\n");
    site.put("ulimits/stack", "  8M\nrest");
    site.put("ulimits/core", "infinity\n");
    let ulimits = site.read().guest.ulimits;
    let of = |resource| {
        let limit: &vserver_config::Ulimit = &ulimits[&resource];
        (limit.soft.as_ref().map(|l| l.value), limit.hard.as_ref().map(|l| l.value))
    };
    let value = |n| Some(Limit::Value(n));
    assert_eq!(of(UlimitResource::Nofile), (value(1024), value(1024)), "lowered to the hard one");
    assert_eq!(of(UlimitResource::Memlock), (None, value(65_536)));
    assert_eq!(of(UlimitResource::Stack), (value(8 << 20), value(8 << 20)));
    assert_eq!(of(UlimitResource::Core), (Some(Limit::Infinite), Some(Limit::Infinite)));
    let site = Site::new();
    for wrong in ["INF\n", "256MB\n", "1.5M\n", "\n", "", "5 \n"] {
        let finding = site.one("ulimits/cpu", wrong);
        assert_eq!((finding.severity, finding.kind), (Severity::Error, Kind::BadValue), "{wrong:?}");
    }
    assert_eq!(site.one("ulimits/as", "1\n").kind, Kind::UnknownFile);
}

#[test]
fn init_items() {
    let site = Site::new();
    site.put("apps/init/style", "plain\n");
    site.put("apps/init/runlevel", "3\n");
    site.put("apps/init/runlevel.start", "2\n");
    site.put("apps/init/killseq", "TERM\n10\nKILL\n");
    site.put("apps/init/cmd.start", "/bin/sh\n-c\necho *; # x \n");
    site.put("apps/init/mark", "default\n# c\nnight\n");
    site.put("apps/init/environment", "PATH=/bin\nA=b=c \n");
    site.put("apps/init/sync", "");
    symlink("/dev/tty12", site.cfg.join("apps/init/tty")).unwrap();
    let init = site.guest().init;
    assert_eq!((init.style, init.runlevel_start.unwrap().value.as_str()), (InitStyle::Plain, "2"));
    assert_eq!(init.killseq[1], KillStep::Wait(Duration::from_secs(10)));
    assert_eq!(init.cmd_start.unwrap().value, ["/bin/sh", "-c", "echo *; # x "]);
    assert_eq!(init.marks.len(), 2);
    assert_eq!(init.environment, [("PATH".into(), OsString::from("/bin")), ("A".into(), "b=c ".into())]);
    assert_eq!(init.tty, Some("/dev/tty12".into()));
    assert!(init.sync);
    site.put("apps/init/style", "\n");
    assert_eq!(site.guest().init.style, InitStyle::Empty);
    fs::remove_file(site.cfg.join("apps/init/style")).unwrap();
    assert_eq!(site.one("apps/init/style", "upstart\n").message, "Unknown init-style 'upstart'; aborting");
    site.put("apps/init/killseq", "15 5 9\n");
    site.put("apps/init/environment", "# no comment\n");
    site.put("apps/init/depends", "web1\n# x\nnone\n");
    assert_eq!(
        site.findings(),
        [
            "apps/init/depends:1 Warning Missing",
            "apps/init/depends:3 Warning Missing",
            "apps/init/environment:1 Error Syntax",
            "apps/init/killseq:1 Error BadValue",
        ]
    );
}

#[test]
fn sysctl_entries_are_complete_or_an_error() {
    let site = Site::new();
    site.put("sysctl/1/setting", "kernel.shmmax\n");
    site.put("sysctl/1/value", "1 2\n3\n");
    let sysctl = site.guest().sysctl;
    assert_eq!(sysctl[0].setting.value, Path::new("kernel/shmmax"));
    assert_eq!(sysctl[0].value, b"1 2\n3\n");
    for bad in ["../etc/passwd\n", "/kernel/x\n", "..\n", "a..b\n"] {
        site.put("sysctl/2/setting", bad);
        site.put("sysctl/2/value", "x\n");
        assert_eq!(site.findings(), ["sysctl/2/setting:1 Error BadValue"], "{bad}");
    }
    fs::remove_file(site.cfg.join("sysctl/2/value")).unwrap();
    site.put("sysctl/2/setting", "\n");
    assert_eq!(site.findings(), ["sysctl/2/setting:0 Error Missing", "sysctl/2/value:0 Error Missing"]);
}

#[test]
fn unknown_files_and_typing_mistakes() {
    let site = Site::new();
    site.put("interface/0/ip", "192.0.2.1\n");
    site.put("contxt", "7\n");
    site.put("ulimits/nofiles", "7\n");
    site.put("notes", "mine\n");
    site.put("nice~", "x");
    site.put("context.rpmsave", "x");
    site.put(".git/config", "x");
    let findings = site.read().findings;
    let seen: Vec<_> = findings.iter().map(|f| (site.short(f), f.hint.as_deref())).collect();
    assert_eq!(
        seen,
        [
            ("contxt:0 Warning Typo".to_owned(), Some("did you mean context?")),
            ("interface:0 Warning Typo".to_owned(), Some("did you mean interfaces?")),
            ("notes:0 Warning UnknownFile".to_owned(), None),
            ("ulimits/nofiles:0 Warning Typo".to_owned(), Some("did you mean ulimits/nofile?")),
        ]
    );
}

#[test]
fn obsolete_items_warn() {
    let site = Site::new();
    site.put("fstab.local", "none /tmp tmpfs defaults\nbad\n");
    site.put("hostname", "x\n");
    let seen = site.findings();
    assert_eq!(
        seen,
        ["fstab.local:0 Warning Obsolete", "fstab.local:2 Warning Syntax", "hostname:0 Warning Obsolete"]
    );
    assert_eq!(site.read().guest.fstab.len(), 1);
    site.put("fstab", "bad\n");
    assert!(site.read().has_errors());
}

#[test]
fn items_without_effect_are_carried() {
    let site = Site::new();
    site.put("rlimits/locks", "1000\n");
    site.put("nice", "1\n");
    let guest = site.guest();
    let items: Vec<_> = guest.carried.iter().map(|carried| carried.item.split('/').next().unwrap()).collect();
    assert_eq!(items, ["rlimits"]);
}

#[test]
fn interfaces_and_their_inherited_keys() {
    let site = Site::new();
    site.put("interfaces/dev", "eth0\n");
    site.put("interfaces/prefix", "25\n");
    site.put("interfaces/bcast", "192.0.2.255\n");
    site.put("interfaces/10/ip", "192.0.2.10\n");
    site.put("interfaces/10/bcast", "+\n");
    site.put("interfaces/2/ip", "192.0.2.2/24\n");
    site.put("interfaces/2/name", "web\n");
    site.put("interfaces/2/scope", "link\n");
    site.put("interfaces/00/ip", "2001:db8::1/64\n");
    site.put("interfaces/00/dev", "eth1\n");
    site.put("interfaces/00/nodev", "");
    site.put("interfaces/off/disabled", "");
    site.put("interfaces/off/ip", "nonsense\n");
    site.put("interfaces/CVS/Root", "x\n");
    let list = site.guest().interfaces.list;
    let keys: Vec<_> = list.iter().map(|interface| interface.key.to_str().unwrap()).collect();
    assert_eq!(keys, ["00", "10", "2"], "byte order, without disabled ones");
    let addresses: Vec<_> = list.iter().map(|interface| interface.address.value.to_string()).collect();
    assert_eq!(addresses, ["2001:db8::1/64", "192.0.2.10/25", "192.0.2.2/24"], "D12: the suffix wins");
    assert_eq!((list[0].nodev, &list[0].dev), (true, &None));
    assert_eq!(list[1].dev.as_ref().unwrap().file, site.cfg.join("interfaces/dev"));
    assert_eq!(list[1].bcast, None, "+ means computed");
    assert_eq!(list[2].bcast.as_ref().unwrap().value.to_string(), "192.0.2.255");
    assert_eq!(list[2].label.as_ref().unwrap().value, "web");
    assert_eq!(list[2].scope.as_ref().unwrap().value, "link");
}

#[test]
fn masks_as_measured_and_corrected() {
    for (mask, wanted) in [
        ("255.255.255.0", Some(Some(24))),
        ("255.255.248.0", Some(Some(21))),
        ("0.0.0.0", Some(None)),
        ("24", Some(Some(24))),
        ("255.0.255.0", None),
        ("x", None),
        ("33", None),
    ] {
        let site = Site::new();
        site.put("interfaces/0/ip", "192.0.2.1\n");
        site.put("interfaces/0/dev", "eth0\n");
        site.put("interfaces/0/mask", format!("{mask}\n"));
        let reading = site.read();
        assert_eq!(reading.has_errors(), wanted.is_none(), "{mask}: {:?}", reading.findings);
        assert_eq!(reading.guest.interfaces.list.first().map(|i| i.address.value.prefix), wanted, "{mask}");
    }
}

#[test]
fn what_is_wrong_with_an_interface() {
    let site = Site::new();
    site.put("interfaces/0/prefix", "24\n");
    site.put("interfaces/1/ip", "192.0.2.1/24\n");
    site.put("interfaces/1/prefix", "25\n");
    site.put("interfaces/1/dev", "eth0\n");
    site.put("interfaces/1/indirect", "");
    site.put("interfaces/1/only_ip", "");
    let findings = site.read().findings;
    let seen: Vec<_> =
        findings.iter().map(|finding| (site.short(finding), finding.message.as_str())).collect();
    let at = site.cfg.join("interfaces/0");
    assert_eq!(
        seen,
        [
            (
                "interfaces/0/dev:0 Error Missing".into(),
                format!("No device specified for '{}'", at.display()).as_str()
            ),
            (
                "interfaces/0/ip:0 Error Missing".into(),
                format!("Can not read ip for '{}'", at.display()).as_str()
            ),
            ("interfaces/1/indirect:0 Error Unsupported".into(), "the dummy-device mode is not supported"),
            (
                "interfaces/1/ip:1 Error Conflict".into(),
                "'192.0.2.1' says prefix length 24, the interface's own file says 25"
            ),
            ("interfaces/1/only_ip:0 Warning Obsolete".into(), "is obsolete"),
        ]
    );
}

#[test]
fn vlan_precedence() {
    let site = Site::new();
    site.put("interfaces/0/ip", "192.0.2.1/24\n");
    site.put("interfaces/0/dev", "eth0.12\n");
    let vlan = || site.guest().interfaces.list[0].vlan;
    assert!(!vlan());
    site.put_default("interfaces/vlandev", "");
    assert!(vlan());
    site.put("interfaces/novlandev", "");
    assert!(!vlan(), "the guest's no beats the site's yes");
    site.put("interfaces/vlandev", "");
    assert!(vlan(), "the guest's yes beats its no");
    site.put("interfaces/0/novlandev", "");
    assert!(!vlan());
    site.put("interfaces/0/vlandev", "");
    assert!(vlan());
    site.put("interfaces/0/dev", "vlan12\n");
    assert_eq!(site.findings(), ["interfaces/0/dev:1 Error BadValue"]);
    site.put("interfaces/0/dev", "eth0\n");
    assert!(!vlan(), "not of the form BASE.VID");
}

#[test]
fn netns_and_the_misplaced_files() {
    let site = Site::new();
    site.put("netns/interfaces/0/host", "veth-web\n");
    site.put("netns/interfaces/1/host", "veth-two\n");
    site.put("netns/interfaces/1/guest", "lan\n");
    site.put("netns/interfaces/2/host", "veth-3\n");
    let netns = site.guest().netns.unwrap();
    assert_eq!(netns.name, "web1");
    let guests: Vec<_> = netns.interfaces.iter().map(|interface| interface.guest.to_str().unwrap()).collect();
    assert_eq!(guests, ["geth0", "lan", "geth1"]);
    let site = Site::new();
    site.put("netns/interfaces/host", "veth-web\n");
    site.put("netns/interfaces/guest", "lan\n");
    assert_eq!(site.findings(), ["netns/interfaces/host:0 Warning Typo"]);
    assert_eq!(site.read().guest.netns.unwrap().interfaces[0].guest, "lan");
    site.put("nonetns", "");
    assert_eq!(site.guest().netns, None);
}

#[test]
fn interfaces_of_a_network_namespace() {
    let site = Site::new();
    site.put("netns/interfaces/0/address", "192.0.2.5/24\n# the new one\n2001:db8::5/64\n");
    site.put("netns/interfaces/0/gateway", "192.0.2.1\nfe80::1\n");
    site.put("netns/interfaces/0/route", "198.51.100.0/24 via 192.0.2.2\n");
    site.put("netns/interfaces/0/bridge", "br0\n");
    site.put("netns/interfaces/0/mac", "02:00:00:00:00:05\n");
    let interface = site.guest().netns.unwrap().interfaces.remove(0);
    assert_eq!((interface.host, interface.kind.to_str()), (None, Some("veth")), "called after the number");
    assert_eq!((interface.addresses.len(), interface.addresses[1].line), (2, 3));
    assert_eq!((interface.gateways.len(), interface.routes.len()), (2, 1));
    for (item, text, message) in [
        (
            "host",
            "veth-of-a-long-name\n",
            "'veth-of-a-long-name' cannot be a device or label: at most 15 bytes",
        ),
        ("guest", "a/b\n", "'a/b' cannot be a device or label"),
        ("type", "wire\n", "'wire' is not a type of interface: veth, macvlan, ipvlan, phys"),
        ("mac", "01:00:00:00:00:00\n", "no device can have the hardware address"),
        ("mtu", "20\n", "'20' is not a packet length from 68 to 65535"),
        ("route", "10.0.0.0/8 via ::1\n", "'10.0.0.0/8 via ::1' mixes IPv4 and IPv6"),
        ("gateway", "192.0.2.1\n192.0.2.2\n", "a second gateway of one family"),
        ("address", "192.0.2.300\n", "'192.0.2.300' is not an address"),
    ] {
        let site = Site::new();
        let finding = site.one(&format!("netns/interfaces/0/{item}"), text);
        assert!(finding.message.starts_with(message), "{item}: {}", finding.message);
    }
    let site = Site::new();
    site.put("netns/interfaces/0/host", "veth0\n");
    site.put("netns/interfaces/1/host", "veth0\n");
    assert_eq!(site.findings(), ["netns/interfaces/1/host:1 Error Conflict"]);
    site.put("netns/interfaces/0/type", "macvlan\n");
    site.put("netns/interfaces/1/type", "macvlan\n");
    assert_eq!(site.findings(), [""; 0]);
    site.put("netns/interfaces/1/bridge", "br0\n");
    assert_eq!(site.findings(), ["netns/interfaces/1/bridge:1 Error Conflict"]);
}

#[test]
fn cgroup_directories() {
    let site = Site::new();
    site.put_default("cgroup/name", "all\n");
    site.put_default("cgroup/base", "guests/x\n");
    site.put_default("cgroup/memory.max", "1G\n");
    site.put_default("cgroup/subsys", "cpu\nmemory\n");
    let cgroup = site.guest().cgroup;
    assert_eq!(cgroup.name.unwrap().value, "all");
    assert_eq!(cgroup.settings[0].0, "memory.max");
    assert_eq!((cgroup.base.unwrap().value, cgroup.subsys.len()), ("guests/x".into(), 2));
    site.put("cgroup/cpu.shares", "512\n");
    site.put("cgroup/memory.limit_in_bytes", "256M\n");
    let cgroup = site.guest().cgroup;
    let names: Vec<_> = cgroup.settings.iter().map(|(name, _)| name.to_str().unwrap()).collect();
    assert_eq!((cgroup.name, names), (None, vec!["cpu.shares", "memory.limit_in_bytes"]));
    assert_eq!(site.one("cgroup/name", "../x\n").kind, Kind::BadValue);
}

#[test]
fn sched_and_the_obsolete_schedule() {
    let site = Site::new();
    site.put("schedule", "10\n100\n50\n20\n500\n-3\n");
    let sched = site.read().guest.sched;
    assert_eq!((sched[0].values["fill-rate"].value, sched[0].values["priority-bias"].value), (10, -3));
    site.put("schedule", "10\n100\n");
    assert!(site.read().errors().next().unwrap().message.starts_with("Bad content in '"));
    site.put("sched/fill-rate2", "1\n");
    site.put("sched/prio-bias", "5\n");
    site.put("sched/cpu1/cpu-id", "1\n");
    let sched = site.guest().sched;
    assert!(sched[0].idle_time && sched[0].values.contains_key("priority-bias"));
    assert_eq!(sched[1].key.as_ref().unwrap(), "cpu1");
    assert_eq!(site.one("sched/interval", "10.5\n").kind, Kind::BadValue);
}

#[test]
fn disk_limits_are_complete_or_warned_about() {
    let site = Site::new();
    for (item, value) in [
        ("directory", "/vservers\n"),
        ("space_total", "1000\n"),
        ("inodes_total", "10\n"),
        ("reserved", "5\n"),
    ] {
        assert!(site.read().guest.dlimits.is_empty());
        site.put(&format!("dlimits/0/{item}"), value);
    }
    let limits = site.guest().dlimits;
    assert_eq!((limits[0].value.space_total_kib, limits[0].value.reserved_percent), (1000, 5));
    site.put("dlimits/1/directory", "/x\n");
    assert_eq!(site.findings(), ["dlimits/1:0 Warning Missing"]);
    site.put("dlimits/1/disabled", "");
    assert!(site.findings().is_empty());
    assert_eq!(site.one("dlimits/0/space_total", "1G\n").severity, Severity::Error);
}

#[test]
fn scripts_in_order() {
    use std::os::unix::fs::PermissionsExt as _;
    let site = Site::new();
    site.put("scripts/pre-start", "#!/bin/sh\n");
    site.put("scripts/pre-start.d/10-b", "x\n");
    site.put("scripts/pre-start.d/2-a", "x\n");
    site.put("scripts/pre-start.d/3~", "x\n");
    site.put_default("scripts/post-stop", "x\n");
    fs::set_permissions(site.cfg.join("scripts/pre-start"), fs::Permissions::from_mode(0o755)).unwrap();
    let scripts = site.guest().scripts;
    let own = &scripts.own[&vserver_config::Flavour::PreStart];
    let seen: Vec<_> =
        own.iter().map(|s| (s.path.file_name().unwrap().to_str().unwrap(), s.executable)).collect();
    assert_eq!(seen, [("pre-start", true), ("10-b", false), ("2-a", false)]);
    assert_eq!(scripts.defaults.len(), 1);
}

#[test]
fn vshelper_precedence() {
    let site = Site::new();
    site.put_default("apps/vshelper/restart", "#!/bin/sh\n");
    site.put_default("apps/vshelper/action", "site\n");
    site.put_default("apps/vshelper/sync-timeout", "7\n");
    let vshelper = site.guest().vshelper;
    assert_eq!(
        (vshelper.action.to_str(), vshelper.handlers.len(), vshelper.sync_timeout.as_secs()),
        (Some("site"), 1, 7)
    );
    site.put("apps/vshelper/action", "own\n");
    site.put("apps/vshelper/halt", "#!/bin/sh\n");
    let vshelper = site.guest().vshelper;
    assert_eq!(vshelper.action, "own");
    assert_eq!(vshelper.handlers, [("halt".to_owned(), site.cfg.join("apps/vshelper/halt"))]);
}
