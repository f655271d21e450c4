//! Archives, honest and hostile.

use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use libtest_mimic::Trial;

use crate::Need::{Program, Root};
use crate::place::{Outcome, Place, listing};
use crate::trial;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("s11_every_format_gives_the_same_tree", &[Root, Program("tar"), Program("cpio")], formats),
        trial("owners_links_holes_and_attributes_are_kept", &[Root, Program("tar")], details),
        trial("dev_is_made_anew_unless_asked_otherwise", &[Root, Program("tar")], dev),
        trial("a_hostile_archive_writes_nothing_outside", &[Root], hostile),
        trial("a_damaged_archive_fails_and_leaves_nothing", &[Root, Program("tar")], damaged),
        trial("archives_lie_over_each_other", &[Root, Program("tar")], layers),
    ]
}

fn shell(dir: &Path, script: &str) {
    let status = Command::new("/bin/sh").arg("-ec").arg(script).current_dir(dir).status().unwrap();
    assert!(status.success(), "{script}");
}

/// A small system.
fn source(place: &Place) -> PathBuf {
    let dir = place.path.join("source");
    for sub in ["etc", "usr/bin", "dev", "var/empty"] {
        std::fs::create_dir_all(dir.join(sub)).unwrap();
    }
    std::fs::write(dir.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\n").unwrap();
    std::fs::write(dir.join("usr/bin/tool"), "#!/bin/sh\n").unwrap();
    std::fs::set_permissions(dir.join("usr/bin/tool"), std::fs::Permissions::from_mode(0o4755)).unwrap();
    std::fs::hard_link(dir.join("usr/bin/tool"), dir.join("usr/bin/other")).unwrap();
    symlink("usr/bin", dir.join("bin")).unwrap();
    std::os::unix::fs::chown(dir.join("var/empty"), Some(12), Some(34)).unwrap();
    std::fs::write(dir.join("dev/sda"), "not really").unwrap();
    dir
}

fn template(place: &Place, name: &str, archive: &Path) -> Outcome {
    place.build(name, &format!("-m template -- -t {}", archive.display()))
}

fn formats() {
    let place = Place::new();
    let source = source(&place);
    let script = "
        for f in gnu posix ustar v7; do tar -c --format=$f -f ../$f.tar --numeric-owner .; done
        tar -cz -f ../a.tar.gz .; tar -cj -f ../a.tar.bz2 .; tar -cJ -f ../a.tar.xz .
        if zstd --version >/dev/null 2>&1; then tar -c . | zstd -q > ../a.tar.zst; else gzip -c ../gnu.tar > ../a.tar.zst; fi
        find . -depth | cpio -o -H newc --quiet > ../newc.cpio
        find . | cpio -o -H odc --quiet > ../odc.cpio
        find . | cpio -o -H crc --quiet | gzip > ../crc.cpio.gz
        cat ../a.tar.gz | bzip2 > ../double.tar.gz.bz2
        tar -c -f ../names.tar --transform 's,^\\./,,' ./etc ./usr ./bin ./var ./dev";
    shell(&source, script);
    let mut first = None;
    for archive in [
        "gnu.tar",
        "posix.tar",
        "ustar.tar",
        "v7.tar",
        "a.tar.gz",
        "a.tar.bz2",
        "a.tar.xz",
        "a.tar.zst",
        "newc.cpio",
        "odc.cpio",
        "crc.cpio.gz",
        "double.tar.gz.bz2",
        "names.tar",
    ] {
        let name = archive.replace('.', "-");
        let outcome = template(&place, &name, &place.path.join(archive));
        assert_eq!(outcome.code, 0, "{archive}: {}", outcome.failure());
        let vdir = place.vdir(&name);
        let (a, b) =
            (vdir.join("usr/bin/tool").metadata().unwrap(), vdir.join("usr/bin/other").metadata().unwrap());
        assert_eq!(a.ino(), b.ino(), "{archive}");
        assert_eq!(a.permissions().mode() & 0o7777, 0o4755, "{archive}");
        assert_eq!(a.mtime(), source.join("usr/bin/tool").metadata().unwrap().mtime(), "{archive}");
        let empty = vdir.join("var/empty").metadata().unwrap();
        assert_eq!((empty.uid(), empty.gid()), (12, 34), "{archive}");
        assert_eq!(empty.mtime(), source.join("var/empty").metadata().unwrap().mtime(), "{archive}");
        let tree = listing(&vdir);
        assert!(!tree.contains_key("dev/sda") && tree["dev/null"] == "c 1 3 666", "{archive}");
        assert_eq!(first.get_or_insert_with(|| tree.clone()), &tree, "{archive}");
    }
}

fn details() {
    let place = Place::new();
    let source = source(&place);
    let sparse = std::fs::File::create_new(source.join("sparse")).unwrap();
    sparse.set_len(40 << 20).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"end", 30 << 20).unwrap();
    let long = "x".repeat(90);
    let deep = format!("{long}/{long}/{long}");
    std::fs::create_dir_all(source.join(&deep)).unwrap();
    std::fs::write(source.join(&deep).join("file"), "deep").unwrap();
    symlink(format!("../{deep}"), source.join("long")).unwrap();
    let capability = b"\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00";
    let tool = std::fs::File::open(source.join("usr/bin/tool")).unwrap();
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::fsetxattr(&tool, "security.capability", capability, flags).unwrap();
    rustix::fs::fsetxattr(&tool, "user.note", b"hello\0world", flags).unwrap();
    rustix::fs::fsetxattr(&tool, "trusted.overlay.redirect", b"/etc", flags).unwrap();
    let acl = b"\x02\0\0\0\x01\0\x06\0\xff\xff\xff\xff\x02\0\x04\0\x07\0\0\0\x04\0\x04\0\xff\xff\xff\xff\x10\0\x04\0\xff\xff\xff\xff\x20\0\x04\0\xff\xff\xff\xff";
    let passwd = std::fs::File::open(source.join("etc/passwd")).unwrap();
    rustix::fs::fsetxattr(&passwd, "system.posix_acl_access", acl, flags).unwrap();
    shell(
        &source,
        "
        tar -c -S --xattrs --xattrs-include='*' --acls --numeric-owner -f ../posix.tar --format=posix .
        tar -c -S --format=gnu -f ../gnu.tar .
        for v in 0.0 0.1; do tar -c -S --format=posix --sparse-version=$v -f ../sparse$v.tar .; done",
    );
    for archive in ["posix", "gnu", "sparse0.0", "sparse0.1"] {
        let name = archive.replace('.', "-");
        let outcome = template(&place, &name, &place.path.join(format!("{archive}.tar")));
        assert_eq!(outcome.code, 0, "{archive}: {}", outcome.failure());
        let vdir = place.vdir(&name);
        let sparse = vdir.join("sparse").metadata().unwrap();
        assert_eq!(sparse.size(), 40 << 20, "{archive}");
        assert!(sparse.blocks() * 512 < 4 << 20, "{archive}: {} blocks", sparse.blocks());
        let content = std::fs::read(vdir.join("sparse")).unwrap();
        assert_eq!(&content[30 << 20..(30 << 20) + 3], b"end", "{archive}");
        assert_eq!(std::fs::read_to_string(vdir.join(&deep).join("file")).unwrap(), "deep");
        assert_eq!(std::fs::read_link(vdir.join("long")).unwrap(), Path::new(&format!("../{deep}")));
    }
    let file = std::fs::File::open(place.vdir("posix").join("usr/bin/tool")).unwrap();
    let attributes = vserver_tree::attributes::read_all(&file).unwrap();
    let value = |name: &str| attributes.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_slice());
    assert_eq!(value("security.capability"), Some(&capability[..]));
    assert_eq!(value("user.note"), Some(&b"hello\0world"[..]));
    assert_eq!(value("trusted.overlay.redirect"), None);
    let file = std::fs::File::open(place.vdir("posix").join("etc/passwd")).unwrap();
    let attributes = vserver_tree::attributes::read_all(&file).unwrap();
    assert_eq!(attributes, [("system.posix_acl_access".into(), acl.to_vec())]);
}

fn dev() {
    let place = Place::new();
    let source = source(&place);
    std::fs::create_dir(source.join("jail")).unwrap();
    shell(
        &source,
        "rm -r dev; mkdir dev; mknod dev/mem c 1 1; mknod dev/sda b 8 0; ln dev/sda dev/hda; mknod jail/null c 1 3;
        mknod jail/sda b 8 0; tar -cf ../dev.tar .",
    );
    let archive = place.path.join("dev.tar");
    let outcome = template(&place, "plain", &archive);
    assert_eq!(outcome.code, 0, "{}", outcome.failure());
    assert!(outcome.notes().contains("1 device nodes were left out, /jail/sda"), "{}", outcome.notes());
    let tree = listing(&place.vdir("plain"));
    assert!(!tree.contains_key("dev/mem") && !tree.contains_key("jail/sda"));
    assert_eq!(tree["jail/null"], "c 1 3 644");
    let words = format!("-m template -- --nodevsanity -t {}", archive.display());
    assert_eq!(place.build("all", &words).code, 0);
    let tree = listing(&place.vdir("all"));
    assert_eq!(tree["dev/mem"], "c 1 1 644");
    assert_eq!(tree["jail/sda"], "b 8 0 644");
    assert!(tree.contains_key("dev/null"), "{tree:?}");
}

/// A tar member by hand: what no archiver would write.
fn member(name: &str, kind: u8, link: &str, data: &[u8]) -> Vec<u8> {
    let mut block = vec![0_u8; 512];
    block[..name.len()].copy_from_slice(name.as_bytes());
    block[100..108].copy_from_slice(b"0000644\0");
    block[124..136].copy_from_slice(format!("{:011o}\0", data.len()).as_bytes());
    block[148..156].fill(b' ');
    block[156] = kind;
    block[157..157 + link.len()].copy_from_slice(link.as_bytes());
    block[257..265].copy_from_slice(b"ustar\x0000");
    let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block.extend_from_slice(data);
    block.resize(block.len().next_multiple_of(512), 0);
    block
}

/// A name, members, and what a failure must say; without that the build goes well.
type Case = (&'static str, Vec<Vec<u8>>, Option<&'static str>);

fn hostile() {
    let place = Place::new();
    let outside = place.path.join("outside");
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("victim"), "host").unwrap();
    let out = outside.to_str().unwrap();
    let up = format!("../../../../../../../../../..{out}");
    let victim = format!("{out}/victim");
    // Each: members, and what the failure must say, or that the build goes well and changes nothing outside.
    let cases: [Case; 18] = [
        (
            "dotdot",
            vec![member(&format!("{up}/new"), b'0', "", b"x")],
            Some("leads out of the guest with '..'"),
        ),
        (
            "dotdot-inside",
            vec![member("a/../../new", b'0', "", b"x")],
            Some("leads out of the guest with '..'"),
        ),
        ("absolute", vec![member(&format!("{out}/new"), b'0', "", b"x")], None),
        (
            "through-link",
            vec![member("l", b'2', out, b""), member("l/new", b'0', "", b"x")],
            Some("cannot create the directory"),
        ),
        (
            "through-relative-link",
            vec![member("l", b'2', &up, b""), member("l/victim", b'0', "", b"x")],
            Some("cannot create the directory"),
        ),
        ("file-over-link", vec![member("l", b'2', &victim, b""), member("l", b'0', "", b"x")], None),
        (
            "hard-link-outside",
            vec![member("h", b'1', &format!("{up}/victim"), b"")],
            Some("link target leads out"),
        ),
        (
            "hard-link-absolute",
            vec![member("h", b'1', &victim, b""), member("h", b'0', "", b"x")],
            Some("No such file"),
        ),
        (
            "hard-link-to-link",
            vec![member("l", b'2', &victim, b""), member("h", b'1', "l", b""), member("h", b'0', "", b"x")],
            None,
        ),
        (
            "hard-link-through-link",
            vec![member("l", b'2', out, b""), member("h", b'1', "l/victim", b"")],
            Some("cannot open the directory"),
        ),
        (
            "directory-over-link",
            vec![member("l", b'2', out, b""), member("l/", b'5', "", b""), member("l/new", b'0', "", b"x")],
            None,
        ),
        ("link-over-dev", vec![member("dev/", b'5', "", b""), member("dev2", b'2', out, b"")], None),
        ("dev-is-a-link", vec![member("dev", b'2', out, b"")], Some("cannot replace")),
        (
            "etc-is-a-link",
            vec![member("etc/hosts", b'2', &victim, b""), member("etc/hosts", b'0', "", b"x")],
            None,
        ),
        ("disk", vec![member("disk", b'4', "", b""), member("d2", b'1', "disk", b"")], None),
        (
            "twice",
            vec![member("a", b'0', "", b"1"), member("a", b'0', "", b"2"), member("a", b'2', out, b"")],
            None,
        ),
        ("no-name", vec![member("", b'0', "", b"x")], None),
        ("dots", vec![member("././.", b'5', "", b""), member("/", b'5', "", b"")], None),
    ];
    let before = listing(&outside);
    for (name, members, failure) in cases {
        let archive = place.path.join(format!("{name}.tar"));
        let mut file = std::fs::File::create_new(&archive).unwrap();
        // A member at the front that is honest, so that detection is not what fails.
        file.write_all(&member("honest", b'0', "", b"x")).unwrap();
        file.write_all(&members.concat()).unwrap();
        let outcome = template(&place, name, &archive);
        assert_eq!(listing(&outside), before, "{name} changed something outside");
        let words = outcome.failure();
        if let Some(text) = failure {
            assert_eq!(outcome.code, 1, "{name}");
            assert!(words.contains(text), "{name}: {words}");
            assert!(words.contains(archive.to_str().unwrap()), "{name}: {words}");
            place.assert_nothing_of(name);
            continue;
        }
        assert_eq!(outcome.code, 0, "{name}: {words}");
        let tree = listing(&place.vdir(name));
        assert_eq!(tree["honest"], "\"x\"", "{name}");
        assert!(!tree.contains_key("disk") && !tree.contains_key("d2"), "{name}");
        assert_eq!(place.vdir(name).metadata().unwrap().permissions().mode() & 0o7777, 0o755, "{name}");
    }
}

fn damaged() {
    let place = Place::new();
    let source = source(&place);
    shell(&source, "tar -czf ../good.tar.gz . ; tar -cf ../good.tar .; head -c 150 ../good.tar.gz > ../cut.tar.gz
        head -c 1700 ../good.tar > ../cut.tar; echo text > ../text; : > ../empty; head -c 2048 /dev/zero > ../zeros");
    for (archive, text) in [
        ("cut.tar.gz", "cannot be read"),
        ("cut.tar", "ends too early"),
        ("text", "in no format that is known"),
        ("empty", "nothing in it"),
        ("zeros", "in no format"),
        ("missing.tar", "cannot be opened"),
        ("source", "cannot be opened"),
    ] {
        let outcome = template(&place, "bad", &place.path.join(archive));
        assert_eq!(outcome.code, 1, "{archive}");
        assert!(outcome.failure().contains(text), "{archive}: {}", outcome.failure());
        place.assert_nothing_of("bad");
    }
    let outcome = place.build("bad", "-m template");
    assert!(outcome.failure().contains("the method needs an archive"), "{}", outcome.failure());
}

fn layers() {
    let place = Place::new();
    let source = source(&place);
    shell(&source, "tar -cf ../one.tar .; mkdir ../two; cd ../two; mkdir -p bin etc; echo 2 > bin/second; echo new > etc/passwd
        tar -cf ../two.tar .");
    let words = format!("-m template -- -t {0}/one.tar --template={0}/two.tar", place.path.display());
    place.build_well("both", &words);
    let tree = listing(&place.vdir("both"));
    assert_eq!(tree["bin"], "-> usr/bin");
    assert_eq!(tree["usr/bin/second"], "\"2\\n\"");
    assert_eq!(tree["etc/passwd"], "\"new\\n\"");
    // The distribution's own template comes first.
    let dist = place.layout.distributions.join("mydist");
    std::fs::create_dir_all(&dist).unwrap();
    symlink(place.path.join("one.tar"), dist.join("template")).unwrap();
    place.build_well("dist", &format!("-m template -- -d mydist -t {}/two.tar", place.path.display()));
    assert_eq!(listing(&place.vdir("dist")), tree);
}
