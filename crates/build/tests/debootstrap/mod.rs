//! debootstrap: one real build, the cache, and a debootstrap of our own for what can go wrong.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use libtest_mimic::Trial;

use crate::Need::{Mirror, Program, Root};
use crate::place::{Place, listing, mirror};
use crate::trial;

pub fn trials() -> Vec<Trial> {
    vec![
        trial(
            "s64_a_real_debian_guest_and_again_from_the_cache",
            &[Root, Program("debootstrap"), Mirror],
            real,
        ),
        trial(
            "s66_debootstrap_is_fetched_from_the_configured_uri",
            &[Root, Program("ar"), Program("tar")],
            fetched,
        ),
        trial("a_second_identical_build_uses_the_cache", &[Root, Program("ar"), Program("tar")], cached),
        trial(
            "a_failing_debootstrap_fails_and_leaves_nothing",
            &[Root, Program("ar"), Program("tar")],
            failing,
        ),
    ]
}

fn real() {
    let place = Place::new();
    let words = format!("-m debootstrap --context 1234 -- -d bookworm -m {} -- --variant=minbase", mirror());
    place.build_well("one", &words);
    let vdir = place.vdir("one");
    assert!(std::fs::read_to_string(vdir.join("etc/debian_version")).unwrap().starts_with("12"));
    assert!(place.config("one").join("apps/pkgmgmt/internal").exists());
    let sources = std::fs::read_to_string(vdir.join("etc/apt/sources.list")).unwrap();
    assert!(sources.contains("bookworm-security"), "{sources}");
    assert_eq!(std::fs::read_to_string(vdir.join("etc/hostname")).unwrap(), "one\n");
    assert_eq!(listing(&vdir.join("dev")).len(), 13);
    place.assert_no_scratch();

    let outcome = place.build_well("two", &words.replace("1234", "1235"));
    assert!(outcome.notes().contains("--no-cache"), "{}", outcome.notes());
    let (mut one, mut two) = (listing(&vdir), listing(&place.vdir("two")));
    for tree in [&mut one, &mut two] {
        tree.remove("etc/hostname");
        tree.retain(|path, _| !path.starts_with("dev/"));
    }
    let differ: Vec<_> =
        one.keys().chain(two.keys()).filter(|path| one.get(*path) != two.get(*path)).collect();
    assert!(differ.is_empty(), "{differ:?}");
}

/// A package of debootstrap whose program is this shell script, and a site without one that is installed.
fn package(place: &Place, script: &str) -> PathBuf {
    let dir = place.path.join("package");
    std::fs::create_dir_all(dir.join("usr/sbin")).unwrap();
    std::fs::create_dir_all(dir.join("usr/share/debootstrap/scripts")).unwrap();
    let program = dir.join("usr/sbin/debootstrap");
    std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let deb = place.path.join("debootstrap.deb");
    let pack = "echo 2.0 > debian-binary; tar -cJf data.tar.xz usr; rm -f \"$0\"; ar rc \"$0\" debian-binary data.tar.xz";
    let mut shell = std::process::Command::new("/bin/sh");
    let status = shell.args(["-ec", pack]).arg(&deb).current_dir(&dir).status().unwrap();
    assert!(status.success());
    let uri = place.layout.defaults.join("apps/debootstrap");
    std::fs::create_dir_all(&uri).unwrap();
    std::fs::write(uri.join("uri"), format!("{}\n", deb.display())).unwrap();
    deb
}

/// Finds the tree among its arguments, as the real one would: SUITE TARGET MIRROR at the end.
const ARGUMENTS: &str = "
    echo \"I: Retrieving everything\"
    for last; do suite=$previous2; target=$previous; mirror=$last; previous2=$previous; previous=$last; done
    ";

fn build(place: &Place, name: &str, words: &str) -> crate::place::Outcome {
    place.build_without_debootstrap(
        name,
        &format!("-m debootstrap -- -d bookworm -m file:///nonexistent {words}"),
    )
}

fn fetched() {
    let place = Place::new();
    let script = format!(
        "{ARGUMENTS}
        mkdir -p $target/etc $target/dev
        echo \"$*\" > $target/etc/debian_version
        cat $DEBOOTSTRAP_DIR/arch >> $target/etc/debian_version
        mount -t tmpfs none $target/etc/.. || exit 9
        umount $target"
    );
    let deb = package(&place, &script);
    let outcome = build(&place, "one", "-- --arch=i386");
    assert_eq!(outcome.code, 0, "{}", outcome.failure());
    let said = std::fs::read_to_string(place.vdir("one").join("etc/debian_version")).unwrap();
    let arguments = format!("--arch=i386 bookworm {} file:///nonexistent\n", place.vdir("one").display());
    assert!(said.starts_with(&arguments), "{said}");
    assert!(said.ends_with("amd64\n") || said.ends_with("arm64\n"), "{said}");
    place.assert_no_scratch();

    let uri = place.layout.defaults.join("apps/debootstrap/uri");
    for (line, text) in [
        (format!("{} {}\n", deb.display(), "0".repeat(64)), "its SHA-256 is"),
        ("gopher://x/debootstrap.deb\n".to_owned(), "only /path"),
        ("/nonexistent/debootstrap.deb\n".to_owned(), "No such file"),
        (
            "http://127.0.0.1:9/debootstrap.deb\n".to_owned(),
            "cannot fetch debootstrap from 'http://127.0.0.1:9/",
        ),
        ("/etc/passwd\n".to_owned(), "in no format"),
    ] {
        std::fs::write(&uri, &line).unwrap();
        let outcome = build(&place, "two", "");
        assert_eq!(outcome.code, 1, "{line}");
        assert!(outcome.failure().contains(text), "{line}: {}", outcome.failure());
        place.assert_nothing_of("two");
    }
    let outcome = build(&place, "two", "");
    assert!(outcome.failure().contains("in no format"), "{}", outcome.failure());
}

fn cached() {
    let place = Place::new();
    let count = place.path.join("count");
    let script = format!(
        "{ARGUMENTS}
        echo x >> {}
        mkdir -p $target/etc/ssh $target/dev $target/usr/bin
        echo 12 > $target/etc/debian_version
        echo secret > $target/etc/ssh/ssh_host_rsa_key
        echo 0123456789abcdef0123456789abcdef > $target/etc/machine-id",
        count.display()
    );
    package(&place, &script);
    let runs = || std::fs::read_to_string(&count).unwrap().lines().count();
    assert_eq!(build(&place, "one", "").code, 0);
    assert!(place.vdir("one").join("etc/ssh/ssh_host_rsa_key").exists());
    let outcome = build(&place, "two", "");
    assert_eq!((outcome.code, runs()), (0, 1), "{}", outcome.failure());
    assert!(outcome.notes().contains("the mirror does not answer"), "{}", outcome.notes());
    assert!(!place.vdir("two").join("etc/ssh/ssh_host_rsa_key").exists(), "a key is shared");
    assert_eq!(std::fs::read(place.vdir("two").join("etc/machine-id")).unwrap(), b"");
    assert!(place.vdir("two").join("dev/null").exists());
    // Another option is another tree; --no-cache builds anew.
    assert_eq!((build(&place, "three", "-- --arch=i386").code, runs()), (0, 2));
    assert_eq!((build(&place, "four", "--no-cache").code, runs()), (0, 3));
    // A damaged tree is not used.
    let trees = place.layout.cachebase.join("build/trees");
    for entry in std::fs::read_dir(trees).unwrap() {
        std::fs::write(entry.unwrap().path(), "damaged").unwrap();
    }
    let outcome = build(&place, "five", "");
    assert_eq!((outcome.code, runs()), (0, 4), "{}", outcome.failure());
    assert!(outcome.notes().contains("the cached tree cannot be used"), "{}", outcome.notes());
    assert!(place.vdir("five").join("etc/hosts").exists());
}

fn failing() {
    let place = Place::new();
    let script = format!(
        "{ARGUMENTS}
        mkdir -p $target/debootstrap $target/proc
        mount -t proc proc $target/proc
        echo 'the package x cannot be configured' > $target/debootstrap/debootstrap.log
        echo 'W: something odd'
        echo 'E: Failed getting release file'
        sleep 1000 &
        exit 1"
    );
    package(&place, &script);
    let outcome = build(&place, "one", "");
    assert_eq!(outcome.code, 1);
    let words = outcome.failure();
    assert!(words.contains("debootstrap failed (exit code 1)"), "{words}");
    assert!(words.contains("E: Failed getting release file"), "{words}");
    assert!(words.contains("| the package x cannot be configured"), "{words}");
    let log = place.layout.cachebase.join("build/log/one.log");
    assert!(words.contains(log.to_str().unwrap()) && log.is_file(), "{words}");
    assert!(outcome.notes().contains("WARNING: something odd"), "{}", outcome.notes());
    place.assert_nothing_of("one");

    package(&place, "exit 0");
    let outcome = build(&place, "one", "");
    assert!(outcome.failure().contains("left no system in the guest's tree"), "{}", outcome.failure());
    place.assert_nothing_of("one");

    let ready = place.path.join("ready");
    package(&place, &format!("touch {}; sleep 1000", ready.display()));
    let interrupt = place.interrupt.clone();
    std::thread::scope(|scope| {
        let ours = scope.spawn(|| build(&place, "one", ""));
        while !Path::new(&ready).exists() {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        interrupt.set();
        assert_eq!(ours.join().unwrap().code, 130);
    });
    place.assert_nothing_of("one");
}
