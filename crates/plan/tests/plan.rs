//! Plans compared as values and in words, without root and without a guest.
#![expect(clippy::unwrap_used, reason = "an unwrap in a test is an assertion")]

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use vserver_config::guest::Guest;
use vserver_config::table::{Base, ITEMS};
use vserver_model::{CapSet, Layout, Mode};
use vserver_plan::show::Shown;
use vserver_plan::step::{AllowedDevice, First, Group, Inside, StopRequest};
use vserver_plan::tree::{DevEntry, DevKind};
use vserver_plan::visible::ProcEntry;
use vserver_plan::{Ground, Plan, Refusal, Rescue, StartAsk, Step, Tree, start};

/// A configuration directory as `vserver build` makes it, with more or other files.
struct Site {
    dir: tempfile::TempDir,
}

impl Site {
    fn new(files: &[(&str, &str)]) -> Self {
        let site = Self { dir: tempfile::tempdir().unwrap() };
        site.set("context", "105\n");
        site.set("fstab", "none /proc proc defaults 0 0\nnone /tmp tmpfs size=16m,mode=1777 0 0\n");
        symlink("/vservers/web1", site.guest_dir().join("vdir")).unwrap();
        symlink("/var/run/vservers/web1", site.guest_dir().join("run")).unwrap();
        for (item, text) in files {
            site.set(item, text);
        }
        site
    }

    fn layout(&self) -> Layout {
        Layout::under(self.dir.path()).unwrap()
    }

    fn guest_dir(&self) -> PathBuf {
        self.layout().confdir.join("web1")
    }

    fn set(&self, item: &str, text: &str) {
        let path = self.guest_dir().join(item);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn guest(&self) -> Guest {
        vserver_config::read(&self.layout(), &self.guest_dir()).guest
    }

    fn plan(&self, tree: &Tree) -> Result<Plan, Refusal> {
        start(&self.guest(), tree, &ground(), &StartAsk::default())
    }
}

fn tree() -> Tree {
    Tree {
        root: "/vservers/web1".into(),
        filesystem: "ext4".into(),
        can_idmap: true,
        programs: vec!["/etc/init.d/rc", "/bin/sh"],
        directories: vec!["/proc", "/sys", "/dev", "/run"],
        ..Tree::default()
    }
}

fn systemd_tree() -> Tree {
    Tree { init_is_systemd: true, programs: vec!["/lib/systemd/systemd", "/bin/bash"], ..tree() }
}

fn ground() -> Ground {
    let entry = |name: &str, directory, visible| ProcEntry { name: name.into(), directory, visible };
    Ground {
        proc: vec![
            entry("sys", true, true),
            entry("irq", true, false),
            entry("kcore", false, false),
            entry("meminfo", false, true),
        ],
        group_top: "vservers".into(),
        answered_calls: true,
        scopes_sockets: true,
        guards_names: true,
        ..Ground::default()
    }
}

fn first(plan: &Plan) -> &First {
    plan.steps
        .iter()
        .find_map(|step| match step {
            Step::First(first) => Some(&**first),
            _ => None,
        })
        .unwrap()
}

fn words(argv: &[std::ffi::OsString]) -> String {
    vserver_plan::show::command_line(argv)
}

#[test]
fn a_sysv_guest_runs_its_rc_script_below_the_stub() {
    for shifted in [false, true] {
        let files: &[(&str, &str)] = if shifted { &[("spaces/user", "")] } else { &[] };
        let plan = Site::new(files).plan(&tree()).unwrap();
        let range = shifted.then_some((105 * 65_536, 65_536));
        assert_eq!(plan.mode.is_shifted(), shifted);
        assert_eq!((first(&plan).user, first(&plan).program.init), (range, false));
        assert_eq!(words(&first(&plan).program.argv), "/etc/init.d/rc 3");
        assert_eq!(plan.ending.request, StopRequest::Command(vec!["/etc/init.d/rc".into(), "6".into()]));
        assert_eq!(plan.steps.last(), Some(&Step::Hooks(vserver_config::guest::Flavour::PostStart)));
        assert!(
            plan.steps.contains(&Step::AwaitCommand) && plan.steps.contains(&Step::Root { idmap: range })
        );
        let delegate = range.map(|(id, _)| id);
        let group = Group {
            path: "vservers/web1".into(),
            delegate,
            inherit: Vec::new(),
            limits: Vec::new(),
            shared: None,
        };
        assert!(plan.steps.contains(&Step::Group(Box::new(group))));
        // What has no user namespace has the filter, and the other way round.
        assert_eq!(first(&plan).rights.deny_system_calls, !shifted);
        assert_eq!(first(&plan).rights.capabilities, CapSet::SECURE);
    }
}

#[test]
fn systemd_gets_what_it_needs_and_is_asked_to_end() {
    let plan = Site::new(&[("apps/init/style", "systemd\n")]).plan(&systemd_tree()).unwrap();
    let first = first(&plan);
    assert!(first.program.init && first.rights.capabilities.contains(CapSet::SETPCAP));
    assert_eq!(words(&first.program.argv), "/lib/systemd/systemd");
    for target in ["/run", "/run/lock", "/dev/shm"] {
        let mounted =
            |step: &Inside| matches!(step, Inside::Tmpfs { target: at, .. } if at == Path::new(target));
        assert!(first.inside.iter().any(mounted), "{target}");
    }
    assert!(first.inside.contains(&Inside::CgroupView { target: "/sys/fs/cgroup".into() }));
    assert!(first.program.environment.contains(&("container".into(), "vserver".into())));
    assert_eq!(plan.ending.request, StopRequest::Signal(libc::SIGRTMIN() + 3));
    assert!(!plan.steps.contains(&Step::AwaitCommand));
}

#[test]
fn a_plain_guest_is_asked_by_sigint_and_a_rescue_is_not_asked() {
    let site = Site::new(&[("apps/init/style", "plain\n")]);
    let plan = site.plan(&tree()).unwrap();
    assert_eq!(words(&first(&plan).program.argv), "/sbin/init");
    assert_eq!(plan.ending.request, StopRequest::Signal(libc::SIGINT));
    let ask = StartAsk { rescue: Some(Rescue::default()), ..StartAsk::default() };
    let plan = start(&site.guest(), &tree(), &ground(), &ask).unwrap();
    assert_eq!(words(&first(&plan).program.argv), "/bin/sleep 900");
    assert_eq!(plan.ending.request, StopRequest::None);
}

#[test]
fn nothing_is_planned_for_what_cannot_be() {
    let refused = |files: &[(&str, &str)], tree: &Tree| Site::new(files).plan(tree).unwrap_err();
    assert!(matches!(refused(&[("context", "")], &tree()), Refusal::NoContext { .. }));
    let on_nfs = Tree { can_idmap: false, filesystem: "nfs".into(), ..tree() };
    let refusal = refused(&[("spaces/user", "")], &on_nfs);
    assert_eq!(refusal.to_string(), "cannot id-map /vservers/web1 (a nfs file system)");
    assert!(refusal.hint().unwrap().contains("rm ") && refusal.place().is_some());
    assert!(Site::new(&[]).plan(&on_nfs).is_ok());
    let without_rc = Tree { programs: vec![], ..tree() };
    assert!(matches!(refused(&[], &without_rc), Refusal::Command { .. }));
    let taken = Ground { range_conflict: Some("user www".into()), ..ground() };
    let site = Site::new(&[("spaces/user", "")]);
    let refusal = start(&site.guest(), &tree(), &taken, &StartAsk::default()).unwrap_err();
    assert_eq!(refusal.to_string(), "ids 6881280 to 6946815 of this guest are in use: user www");
    fs::remove_file(site.guest_dir().join("run")).unwrap();
    assert!(matches!(site.plan(&tree()), Err(Refusal::NoRunLink { .. })));
}

#[test]
fn a_machine_name_alone_sets_the_personality() {
    let plan = Site::new(&[("uts/machine", "i686\n")]).plan(&tree()).unwrap();
    assert_eq!(first(&plan).rights.personality.map(|value| value & 0xff), Some(8));
    assert_eq!(first(&Site::new(&[]).plan(&tree()).unwrap()).rights.personality, None);
}

#[test]
fn devices_are_the_harmless_ones_and_those_placed_in_dev() {
    let node = |path: &str, kind| DevEntry { path: path.into(), mode: 0o660, uid: 0, gid: 0, kind };
    let dev = vec![
        node("net/tun", DevKind::Char { major: 10, minor: 200 }),
        node("vda", DevKind::Block { major: 254, minor: 0 }),
        node("null", DevKind::Char { major: 1, minor: 3 }),
        node("log", DevKind::Fifo),
    ];
    let plan = Site::new(&[]).plan(&Tree { dev, ..tree() }).unwrap();
    let list = |plan: &Plan| -> Vec<AllowedDevice> {
        plan.steps
            .iter()
            .find_map(|step| if let Step::Devices(list) = step { Some(list.clone()) } else { None })
            .unwrap()
    };
    let usual = list(&Site::new(&[]).plan(&tree()).unwrap());
    assert!(usual.iter().all(|device| !device.block));
    let more: Vec<AllowedDevice> = list(&plan).into_iter().filter(|device| !usual.contains(device)).collect();
    let placed = |block, major, minor| AllowedDevice { block, major, minor: Some(minor), mknod: false };
    assert_eq!(more, [placed(false, 10, 200), placed(true, 254, 0)]);
}

#[test]
fn the_guests_mtab_shows_its_mounts() {
    let fstab = "none /proc proc defaults 0 0\n/dev/vg/home /home ext4 noatime 0 0\n";
    let plan = Site::new(&[("fstab", fstab)]).plan(&tree()).unwrap();
    let lines = plan.steps.iter().find_map(|step| match step {
        Step::Mtab { entries, .. } => Some(entries.clone()),
        _ => None,
    });
    assert_eq!(lines.unwrap(), ["none /proc proc defaults 0 0", "/dev/vg/home /home ufs noatime 0 0"]);
}

#[test]
fn the_host_is_left_after_every_mount_and_mask() {
    for files in [&[][..], &[("spaces/user", "")]] {
        let plan = Site::new(files).plan(&tree()).unwrap();
        let inside = &first(&plan).inside;
        assert_eq!(inside.last(), Some(&Inside::Pivot));
        let at = |wanted: &Inside| inside.iter().position(|step| step == wanted).unwrap();
        let mask = Inside::Mask { path: "/proc/kcore".into(), directory: false };
        assert!(at(&Inside::AttachRoot) < at(&Inside::AttachDev));
        assert!(at(&Inside::AttachDev) < at(&mask), "the mask is the null node of the new /dev");
        assert!(inside.contains(&Inside::ReadOnly("/proc/sys".into())));
        assert!(
            !inside.iter().any(|step| matches!(step, Inside::Mask { path, .. } if path.ends_with("meminfo")))
        );
    }
}

#[test]
fn a_plan_in_words() {
    let plan = Site::new(&[("spaces/user", "")]).plan(&tree()).unwrap();
    let text = Shown::from(&plan).to_string();
    for line in [
        "start of 'web1' as context 105 (shifted):",
        "make the control group vservers/web1 in every hierarchy",
        "take the guest's tree with ids shown from 6881280 on (65536 of them)",
        "- hide /proc/kcore",
        "- become the stub init, which runs /etc/init.d/rc 3",
        "stop will: run inside: /etc/init.d/rc 6",
    ] {
        assert!(text.contains(line), "{line:?} is not in\n{text}");
    }
    assert_eq!(plan.mode, Mode::Shifted { first_id: 6_881_280, count: 65_536 });
}

/// Every item's path, with `0` for its `*` and the first of its choices.
fn any_item() -> impl Strategy<Value = String> {
    let plain = |path: &str| -> String {
        let path = path.replace('*', "0");
        match (path.split_once('{'), path.split_once('}')) {
            (Some((head, choices)), Some((_, tail))) => {
                format!("{head}{}{tail}", choices.split([',', '}']).next().unwrap())
            }
            _ => path,
        }
    };
    let items = ITEMS.iter().filter(|item| item.base == Base::Guest).map(|item| plain(item.path));
    proptest::sample::select(items.collect::<Vec<_>>())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn planning_never_panics(
        things in proptest::collection::vec((any_item(), proptest::collection::vec(any::<u8>(), 0..40)), 0..12),
        lines in proptest::collection::vec("[ -~]{0,30}", 0..6),
        systemd in any::<bool>(),
        name in proptest::collection::vec(1_u8.., 1..20),
    ) {
        let site = Site::new(&[]);
        site.set("fstab", &lines.join("\n"));
        for (item, bytes) in &things {
            let path = site.guest_dir().join(item);
            // What was placed before may be in the way; then this one is left out.
            if path.parent().is_some_and(|parent| fs::create_dir_all(parent).is_ok()) && !path.is_dir() {
                drop(fs::remove_file(&path));
                drop(fs::write(&path, bytes));
            }
        }
        let kind = DevKind::Link(OsStr::from_bytes(&name).to_owned());
        let entry = DevEntry { path: OsStr::from_bytes(&name).into(), mode: 0o777, uid: 0, gid: 0, kind };
        let tree = Tree { dev: vec![entry], ..if systemd { systemd_tree() } else { tree() } };
        match start(&site.guest(), &tree, &ground(), &StartAsk::default()) {
            Ok(plan) => prop_assert!(!Shown::from(&plan).to_string().is_empty()),
            Err(refusal) => prop_assert!(!refusal.to_string().is_empty()),
        }
    }
}

/// Who sees what of the host's network: `hide_netif` in either file, the loopback's flags, a network of its own.
#[test]
fn the_view_of_the_network_follows_the_flags() {
    let view = |files: &[(&str, &str)]| {
        let mut all = vec![("interfaces/0/ip", "192.0.2.5/24\n"), ("interfaces/0/nodev", "")];
        all.extend(files);
        let plan = Site::new(&all).plan(&tree()).unwrap();
        assert_eq!(first(&plan).rights.hide_devices, plan.view.is_some());
        plan.view.map(|view| (view.addresses, view.loopback.map(|ip| ip.to_string())))
    };
    let shown = |lo: Option<&str>| Some((vec!["192.0.2.5".parse().unwrap()], lo.map(str::to_owned)));
    assert_eq!(view(&[]), shown(Some("127.0.0.1")));
    assert_eq!(view(&[("nflags", "~hide_netif\n")]), None);
    assert_eq!(view(&[("flags", "~hide_netif\n")]), None);
    assert_eq!(view(&[("flags", "~hide_netif\n"), ("nflags", "hide_netif\n")]), shown(Some("127.0.0.1")));
    assert_eq!(view(&[("nflags", "~hide_lback\n")]), shown(Some("127.0.105.1")));
    assert_eq!(
        view(&[("nflags", "~hide_lback\n"), ("interfaces/lback", "127.9.9.9\n")]),
        shown(Some("127.9.9.9"))
    );
    assert_eq!(view(&[("nflags", "~lback_remap\n~hide_lback\n")]), shown(None));
    assert_eq!(view(&[("nflags", "~lback_remap\nlback_allow\n")]), shown(Some("127.0.0.1")));
    assert_eq!(view(&[("spaces/net", "")]), None);
    assert_eq!(view(&[("noncontext", "")]), None);
    assert_eq!(view(&[("netshadow", ""), ("nflags", "~hide_netif\n")]), shown(Some("127.0.0.1")));
    assert_eq!(view(&[("netshadow", ""), ("spaces/net", "")]), None);
}

#[test]
fn a_kernel_that_cannot_hide_is_no_reason_to_show() {
    let old = Ground { answered_calls: false, ..ground() };
    let refusal = start(&Site::new(&[]).guest(), &tree(), &old, &StartAsk::default()).unwrap_err();
    assert_eq!(refusal.to_string(), "this kernel cannot hide the host's network devices (hide_netif)");
    assert!(refusal.hint().unwrap().contains("echo '~hide_netif' >> "));
    assert!(refusal.place().unwrap().ends_with("nflags"));
    let open = Site::new(&[("nflags", "~hide_netif\n")]).guest();
    start(&open, &tree(), &old, &StartAsk::default()).unwrap();
}

#[test]
fn a_guest_in_a_shadow_needs_no_files_and_no_scope() {
    let open = Site::new(&[]).plan(&tree()).unwrap();
    let shadow = Site::new(&[("netshadow", "")]).plan(&tree()).unwrap();
    let has_files =
        |plan: &Plan| first(plan).inside.iter().any(|step| matches!(step, Inside::NetFiles { .. }));
    let rights = |plan: &Plan| (first(plan).rights.shadow, first(plan).rights.scope_sockets, has_files(plan));
    assert_eq!((rights(&open), rights(&shadow)), ((false, true, true), (true, false, false)));
}
