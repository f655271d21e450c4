//! Hooks: names, arguments, order, directories, skipping, failures.

use std::fs;
use std::path::Path;
use vserver_e2e::command::vserver;
use vserver_e2e::{Done, Guest, Mode, Spec};

pub fn specs() -> Vec<Spec> {
    vec![
        Spec::new("hooks_in_order", in_order),
        Spec::new("hooks_of_the_site", of_the_site),
        Spec::new("hooks_sourced", sourced),
        Spec::new("hooks_failing", failing),
        Spec::new("hooks_mounts_end_with_the_guest", mounts_end_with_the_guest),
    ]
}

const FLAVOURS: [&str; 7] =
    ["initialize", "prepre-start", "pre-start", "post-start", "pre-stop", "post-stop", "postpost-stop"];

fn told() -> String {
    let text = fs::read_to_string("/tmp/t/hooks").unwrap_or_default();
    drop(fs::remove_file("/tmp/t/hooks"));
    text
}

fn run(guest: &Guest, words: &[&str]) -> Done {
    guest.program(words).env("PATH", "/run/e2e/bin:/usr/sbin:/usr/bin:/sbin:/bin").env("COLOUR", "blue").run()
}

fn in_order(mode: Mode) {
    let guest = Guest::busybox("test", mode).make();
    for flavour in FLAVOURS {
        let script = "#!/bin/sh\nvserver test exec true 2>/dev/null && in=runs || in=-\n\
                      echo \"$1 $2 $(pwd) $COLOUR $in\" >> /tmp/t/hooks\n";
        guest.set_program(&format!("scripts/{flavour}"), script);
        for number in ["10", "9"] {
            let script = format!("#!/bin/sh\necho \"$1 {number}\" >> /tmp/t/hooks\n");
            guest.set_program(&format!("scripts/{flavour}.d/{number}"), &script);
        }
        // A backup of an editor is no hook.
        guest.set_program(&format!("scripts/{flavour}.d/10~"), "#!/bin/sh\necho backup >> /tmp/t/hooks\n");
    }
    run(&guest, &["start"]).ok();
    let expected = |flavours: &[(&str, &str, &str)]| -> String {
        let lines = flavours.iter().flat_map(|(flavour, place, runs)| {
            [
                format!("{flavour} test {place} blue {runs}\n"),
                format!("{flavour} 10\n"),
                format!("{flavour} 9\n"),
            ]
        });
        lines.collect()
    };
    let (cfg, vdir) = ("/etc/vservers/test", "/vservers/test");
    assert_eq!(
        told(),
        expected(&[
            ("initialize", cfg, "-"),
            ("prepre-start", cfg, "-"),
            ("pre-start", vdir, "-"),
            ("post-start", vdir, "runs"),
        ])
    );
    run(&guest, &["stop"]).ok();
    assert_eq!(
        told(),
        expected(&[("pre-stop", vdir, "runs"), ("post-stop", vdir, "-"), ("postpost-stop", vdir, "-")])
    );
}

fn of_the_site(mode: Mode) {
    let guest = Guest::busybox("test", mode).make();
    let site = Path::new("/etc/vservers/.defaults/scripts");
    fs::create_dir_all(site).expect("/etc/vservers is ours");
    for flavour in ["pre-start", "post-start"] {
        let path = site.join(flavour);
        fs::write(&path, "#!/bin/sh\necho site $1 $2 >> /tmp/t/hooks\n").expect("/etc/vservers is ours");
        fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("just written");
    }
    guest.set_program("scripts/pre-start", "#!/bin/sh\necho own $1 >> /tmp/t/hooks\n");
    run(&guest, &["start"]).ok();
    assert_eq!(told(), "own pre-start\nsite post-start test\n", "a guest's own hook replaces the site's");
    run(&guest, &["stop"]).ok();
    // Sourced, a script can ask for both.
    fs::remove_file(guest.configuration("scripts/pre-start")).expect("it was there");
    guest.set("scripts/pre-start", "DONT_SKIP_DEFAULTS=1\necho own $1 >> /tmp/t/hooks\n");
    run(&guest, &["start"]).ok();
    assert_eq!(told(), "own pre-start\nsite pre-start test\nsite post-start test\n");
    run(&guest, &["stop"]).ok();
}

fn sourced(mode: Mode) {
    let guest = Guest::busybox("test", mode).make();
    guest.set("scripts/post-start", "echo \"$1 $2 $VSERVER_DIR $VSERVER_NAME $S_CONTEXT\" >> /tmp/t/hooks\n");
    run(&guest, &["start"]).ok();
    assert_eq!(told(), "post-start test /etc/vservers/test test 105\n");
    run(&guest, &["stop"]).ok();
}

fn failing(mode: Mode) {
    let guest = Guest::busybox("test", mode).make();
    for flavour in &FLAVOURS[..4] {
        let item = format!("scripts/{flavour}");
        guest.set_program(&item, "#!/bin/sh\nexit 9\n");
        let done = run(&guest, &["start"]);
        assert_ne!(done.exit(), 0, "{flavour} failed and the start went on\n{done}");
        done.complains("Failed to start vserver 'test'").complains(&item);
        // The advice after the guest's command has run is to stop it.
        if *flavour == "post-start" && guest.is_running() {
            guest.stop();
        }
        assert!(!guest.is_running(), "{flavour}");
        fs::remove_file(guest.configuration(&item)).expect("it was there");
    }
    for flavour in &FLAVOURS[4..] {
        guest.set_program(&format!("scripts/{flavour}"), "#!/bin/sh\nexit 9\n");
    }
    run(&guest, &["start"]).ok();
    run(&guest, &["stop"]).ok();
    assert!(!guest.is_running(), "hooks of stop are not asked for permission");
}

fn mounts_end_with_the_guest(mode: Mode) {
    let guest = Guest::busybox("test", mode).make();
    fs::create_dir_all(guest.tree("/data")).expect("the tree is ours");
    guest.set_program("scripts/pre-start", "#!/bin/sh\nmount -t tmpfs hook data && echo here > data/file\n");
    run(&guest, &["start"]).ok();
    guest.sh("cat /data/file").ok().says_exactly("here\n");
    assert!(!guest.tree("/data/file").exists(), "the mount of a hook is seen by the host");
    run(&guest, &["stop"]).ok();
    vserver(&["test", "status"]).code(3);
}
