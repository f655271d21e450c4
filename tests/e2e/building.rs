//! S07, S11, S12, S64, S66: guests come into being.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::time::Duration;
use vserver_e2e::command::{host, vserver};
use vserver_e2e::{Image, Mode, Program, Spec};

pub fn specs() -> Vec<Spec> {
    vec![
        Spec::new("s07_context_range", context_range).once(),
        Spec::new("s11_template", template),
        Spec::new("s12_build_help", build_help).once(),
        Spec::new("s64_debootstrap_of_the_host", debootstrap).once().host_network(),
        Spec::new("s64_debootstrap_fetched", debootstrap_fetched).once(),
        Spec::new("s66_debootstrap_uri", debootstrap_uri).once(),
        Spec::new("hostile_archive_stays_inside", hostile_archive).once(),
    ]
}

fn context_range(_: Mode) {
    for (number, name) in [("2", "lowest"), ("32767", "highest"), ("32768", "beyond")] {
        vserver(&[name, "build", "--context", number, "-m", "skeleton", "-n", name]).ok();
        let written = fs::read_to_string(format!("/etc/vservers/{name}/context")).expect("build writes it");
        assert_eq!(written, format!("{number}\n"));
        assert!(Path::new("/vservers").join(name).is_dir());
    }
    for number in ["1", "0", "70000", "abc", "-5", ""] {
        let refused = vserver(&["bad", "build", "--context", number, "-m", "skeleton", "-n", "bad"]);
        assert_ne!(refused.exit(), 0, "context {number:?} was accepted\n{refused}");
        assert!(
            !Path::new("/etc/vservers/bad").exists() && !Path::new("/vservers/bad").exists(),
            "{refused}"
        );
    }
    // A context has one owner.
    let refused = vserver(&["again", "build", "--context", "2", "-m", "skeleton", "-n", "again"]);
    assert_ne!(refused.exit(), 0, "{refused}");
    refused.complains("lowest");
    assert!(!Path::new("/etc/vservers/again").exists() && !Path::new("/vservers/again").exists());
}

/// Makes `/tmp/t/work/image.SUFFIX` out of the busybox root.
fn archive(suffix: &str, packing: &str) {
    let source = Path::new("/tmp/t/work/root");
    if !source.exists() {
        Image::Busybox.unpack(source);
    }
    host(
        "bash",
        &["-c", &format!("set -o pipefail; cd {} && {packing} > ../image.{suffix}", source.display())],
    )
    .ok();
}

fn template(mode: Mode) {
    for (suffix, packing) in [
        ("tar.bz2", "tar -c . | bzip2 -1"),
        ("tar.gz", "tar -c . | gzip -1"),
        ("tar.xz", "tar -c . | xz -0"),
        ("tar.zst", "tar -c . | zstd -q -1"),
        ("tar", "tar -c ."),
        ("cpio", "find . | cpio --quiet -o -H newc"),
        ("cpio.gz", "find . | cpio --quiet -o -H newc | gzip -1"),
    ] {
        archive(suffix, packing);
        let image = format!("image.{suffix}");
        let words = ["test", "build", "--context", "105", "-m", "template", "-n", "test", "--", "-t", &image];
        Program::named("vserver").args(&words).directory("/tmp/t/work").run().ok();
        let root = Path::new("/vservers/test");
        assert!(root.join("bin/busybox").is_file(), "{suffix}: not unpacked");
        assert_eq!(root.join("home/user").metadata().expect("unpacked").uid(), 1000, "{suffix}: owners");
        let null = root.join("dev/null").symlink_metadata().expect("the default devices are there");
        assert!(null.file_type().is_char_device() && null.rdev() == 0x103, "{suffix}: dev/null");
        assert!(!root.join("dev/console").exists() && !root.join("dev/kmsg").exists());
        if suffix == "tar.bz2" {
            let user = Path::new("/etc/vservers/test/spaces/user");
            assert!(user.exists(), "new guests are shifted");
            if mode == Mode::Classic {
                fs::remove_file(user).expect("it was there");
            }
            vserver(&["test", "start"]).ok();
            vserver(&["test", "exec", "id", "-u"]).ok().says_exactly("0\n");
            vserver(&["test", "stop"]).ok();
        }
        vserver(&["--silent", "test", "delete"]).ok();
    }
    let words =
        ["test", "build", "--context", "105", "-m", "template", "-n", "test", "--", "-t", "missing.tar"];
    let failed = Program::named("vserver").args(&words).directory("/tmp/t/work").run();
    assert_ne!(failed.exit(), 0);
    failed.complains("missing.tar");
    assert!(
        !Path::new("/etc/vservers/test").exists() && !Path::new("/vservers/test").exists(),
        "left something"
    );
}

fn build_help(_: Mode) {
    let help = vserver(&["test", "build", "--help"]);
    help.ok();
    for word in
        ["skeleton", "template", "debootstrap", "rsync", "clone", "--context", "--hostname", "--initstyle"]
    {
        assert!(help.out().contains(word), "{word} is not in\n{help}");
    }
    assert!(!Path::new("/etc/vservers/test").exists());
}

/// The archive's own program and the real archive; the architecture is the seed's.
fn debootstrap(_: Mode) {
    let words = [
        "test",
        "build",
        "-m",
        "debootstrap",
        "--context",
        "1234",
        "--",
        "-d",
        "bookworm",
        "-m",
        "http://deb.debian.org/debian",
        "--",
        "--arch",
        "i386",
        "--variant=minbase",
    ];
    let patience = Duration::from_mins(8);
    Program::named("vserver").args(&words).patience(patience).run().ok();
    let root = Path::new("/vservers/test");
    let version = fs::read_to_string(root.join("etc/debian_version")).expect("a Debian tree");
    assert!(version.starts_with("12"), "{version}");
    let elf = fs::read(root.join("usr/bin/dpkg")).expect("a Debian tree");
    assert_eq!(elf[4], 1, "not a 32-bit program");
    assert_eq!(fs::read_to_string("/etc/vservers/test/context").expect("written"), "1234\n");
    assert!(Path::new("/etc/vservers/test/apps/pkgmgmt/internal").exists());
    assert_eq!(fs::read(root.join("etc/machine-id")).unwrap_or_default(), b"", "the machine id is not blank");
    // The second of the same comes from the cache, and needs no network.
    let words = words.map(|word| match word {
        "test" => "again",
        "1234" => "1235",
        other => other,
    });
    let offline = ["--net", "--"].into_iter().map(str::to_owned);
    let program = std::iter::once("/run/e2e/bin/vserver".to_owned());
    let line: Vec<String> = offline.chain(program).chain(words.map(str::to_owned)).collect();
    Program::of_host("unshare").args(&line).patience(patience).run().ok();
    assert!(Path::new("/vservers/again/usr/bin/dpkg").is_file());
}

/// The host has no debootstrap, as far as anybody in the trial can tell.
fn hide_debootstrap() {
    host("mount", &["--bind", "/dev/null", "/usr/sbin/debootstrap"]).ok();
}

fn show_debootstrap() {
    host("umount", &["/usr/sbin/debootstrap"]).ok();
}

/// A package as Debian makes them, whose debootstrap writes down how it was called.
fn fake_package() {
    let script = "#!/bin/sh\necho \"$@\" > /tmp/t/called\n\
                  for last; do case $last in /vservers/*) mkdir -p $last/etc; echo 12 > $last/etc/debian_version;; esac; done\n";
    let directory = Path::new("/tmp/t/package/usr/sbin");
    fs::create_dir_all(directory).expect("/tmp is ours");
    fs::create_dir_all("/tmp/t/package/usr/share/debootstrap/scripts").expect("/tmp is ours");
    fs::write("/tmp/t/package/usr/share/debootstrap/functions", "").expect("/tmp is ours");
    fs::write("/tmp/t/package/usr/share/debootstrap/scripts/bookworm", "").expect("/tmp is ours");
    fs::write(directory.join("debootstrap"), script).expect("/tmp is ours");
    fs::set_permissions(directory.join("debootstrap"), fs::Permissions::from_mode(0o755))
        .expect("just written");
    let pack = "cd /tmp/t && mkdir -p www && tar -C package -czf data.tar.gz . && tar -czf control.tar.gz -T /dev/null && \
                echo 2.0 > debian-binary && ar rc www/debootstrap.deb debian-binary control.tar.gz data.tar.gz";
    host("bash", &["-c", pack]).ok();
}

const BUILD: &[&str] = &[
    "test",
    "build",
    "-m",
    "debootstrap",
    "--context",
    "1234",
    "--",
    "-d",
    "bookworm",
    "-m",
    "http://127.0.0.1:8080/debian",
    "--",
    "--arch",
    "i386",
];

fn debootstrap_fetched(_: Mode) {
    fake_package();
    hide_debootstrap();
    let mut server = Program::of_host("/bin/busybox")
        .args(&["httpd", "-f", "-p", "127.0.0.1:8080", "-h", "/tmp/t/www"])
        .start();
    fs::create_dir_all("/etc/vservers/.defaults/apps/debootstrap").expect("/etc/vservers is ours");
    let uri = "http://127.0.0.1:8080/debootstrap.deb";
    fs::write("/etc/vservers/.defaults/apps/debootstrap/uri", format!("{uri}\n"))
        .expect("/etc/vservers is ours");
    let done = Program::named("vserver").args(BUILD).run();
    server.kill();
    assert_ne!(server.wait(Duration::from_secs(5)).exit(), 0);
    show_debootstrap();
    done.ok();
    assert!(
        done.out().contains(uri) || done.err().contains(uri),
        "the fetched address is not named:\n{done}"
    );
    let called = fs::read_to_string("/tmp/t/called").expect("the fetched program ran");
    for word in ["--arch i386", "bookworm", "/vservers/test", "http://127.0.0.1:8080/debian"] {
        assert!(called.contains(word), "{word} is not in {called}");
    }
}

fn debootstrap_uri(_: Mode) {
    hide_debootstrap();
    fs::create_dir_all("/etc/vservers/.defaults/apps/debootstrap").expect("/etc/vservers is ours");
    let uri = "http://127.0.0.1:8080/gone/debootstrap_0_all.deb";
    fs::write("/etc/vservers/.defaults/apps/debootstrap/uri", format!("{uri}\n"))
        .expect("/etc/vservers is ours");
    let done = Program::named("vserver").args(BUILD).run();
    show_debootstrap();
    assert_ne!(done.exit(), 0);
    // The way out is named: the file into which the current address belongs.
    done.complains(uri).complains("apps/debootstrap/uri");
    assert!(
        !Path::new("/etc/vservers/test").exists() && !Path::new("/vservers/test").exists(),
        "left something"
    );
}

/// Members that lead out of the tree: through `..`, an absolute name, a link made before, a hard link.
fn hostile_archive(_: Mode) {
    let make = "import io, tarfile
def member(tar, name, kind=tarfile.REGTYPE, link='', text=b'owned'):
    info = tarfile.TarInfo(name); info.type = kind; info.linkname = link
    info.size = len(text) if kind == tarfile.REGTYPE else 0
    tar.addfile(info, io.BytesIO(text))
with tarfile.open('/tmp/t/evil.tar', 'w') as tar:
    member(tar, 'etc/ok')
    member(tar, '../../tmp/t/victim/dots')
    member(tar, '/tmp/t/victim/absolute')
    member(tar, 'out', tarfile.SYMTYPE, '/tmp/t/victim')
    member(tar, 'out/through-link')
    member(tar, 'deep', tarfile.SYMTYPE, '../../tmp/t/victim')
    member(tar, 'deep/through-relative-link')
    member(tar, 'hard', tarfile.LNKTYPE, '/tmp/t/victim/precious')
    member(tar, 'hard')
    member(tar, 'hard2', tarfile.LNKTYPE, '../../tmp/t/victim/precious')
    member(tar, 'dev', tarfile.SYMTYPE, '/tmp/t/victim')
    member(tar, 'etc2', tarfile.SYMTYPE, '/tmp/t/victim')
";
    fs::create_dir_all("/tmp/t/victim").expect("/tmp is ours");
    fs::write("/tmp/t/victim/precious", "precious").expect("/tmp is ours");
    Program::of_host("python3").args(&["-"]).input(make).run().ok();
    let words =
        ["test", "build", "--context", "105", "-m", "template", "-n", "test", "--", "-t", "/tmp/t/evil.tar"];
    let done = vserver(&words);
    let names: Vec<_> =
        fs::read_dir("/tmp/t/victim").expect("there").flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(names, ["precious"], "written outside the tree by\n{done}");
    assert_eq!(fs::read_to_string("/tmp/t/victim/precious").expect("there"), "precious");
    if done.exit() != 0 {
        assert!(
            !Path::new("/etc/vservers/test").exists() && !Path::new("/vservers/test").exists(),
            "left something"
        );
    }
}
