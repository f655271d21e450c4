use super::*;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

fn tree() -> (tempfile::TempDir, Root) {
    let outer = tempfile::tempdir().unwrap();
    fs::create_dir(outer.path().join("root")).unwrap();
    fs::write(outer.path().join("secret"), "host").unwrap();
    let root = Root::open(outer.path().join("root")).unwrap();
    (outer, root)
}

#[test]
fn no_way_leads_out() {
    let (outer, root) = tree();
    let secret = outer.path().join("secret");
    symlink(&secret, outer.path().join("root/absolute")).unwrap();
    symlink("../secret", outer.path().join("root/relative")).unwrap();
    symlink("/proc/self/root", outer.path().join("root/magic")).unwrap();
    for path in ["absolute", "relative", "../secret", "/../secret", "magic/etc/passwd"] {
        assert!(root.read(path, 100).unwrap_err().is(libc::ENOENT), "{path}");
    }
    root.write("absolute", b"guest", 0o644).unwrap();
    assert!(root.append("relative", b"guest", 0o644).unwrap_err().is(libc::ELOOP));
    assert_eq!(fs::read(&secret).unwrap(), b"host");
    assert_eq!(root.read("absolute", 100).unwrap(), b"guest");
}

#[test]
fn an_absolute_link_stays_inside_and_is_followed_there() {
    let (_outer, root) = tree();
    root.mkdir_all("usr/lib", 0o755).unwrap();
    root.write("usr/lib/os-release", b"ID=x", 0o644).unwrap();
    root.symlink("/usr", "u").unwrap();
    root.symlink("../../u/lib/os-release", "usr/lib/link").unwrap();
    assert_eq!(root.read("/usr/lib/link", 100).unwrap(), b"ID=x");
    assert_eq!(root.resolve("usr/lib/link").unwrap(), Path::new("/usr/lib/os-release"));
    assert_eq!(root.read_link("u").unwrap(), Path::new("/usr"));
    assert!(root.read_link("usr").unwrap_err().is(libc::EINVAL));
    root.mkdir_all("/u/share/doc", 0o755).unwrap();
    assert_eq!(root.symlink_metadata("usr/share/doc").unwrap().kind, FileKind::Directory);
}

#[test]
fn only_regular_files_of_decent_size_are_read() {
    let (_outer, root) = tree();
    root.mknod("fifo", FileKind::Fifo, 0o600, (0, 0)).unwrap();
    root.write("big", &[0; 101], 0o600).unwrap();
    root.mkdir("dir", 0o700).unwrap();
    assert!(root.read("fifo", 100).unwrap_err().is(libc::EINVAL));
    assert!(root.append("fifo", b"x", 0o600).unwrap_err().is(libc::EINVAL));
    assert!(root.read("big", 100).unwrap_err().is(libc::EFBIG));
    assert_eq!(root.read("big", 101).unwrap().len(), 101);
    assert!(root.read("dir", 100).unwrap_err().is(libc::EISDIR));
    assert!(root.write("dir", b"x", 0o600).unwrap_err().is(libc::EISDIR));
}

#[test]
fn a_write_leaves_nothing_beside_and_has_the_asked_mode() {
    let (_outer, root) = tree();
    root.write("file", b"one", 0o4755).unwrap();
    root.append("file", b" two", 0o644).unwrap();
    root.append("log", b"new", 0o640).unwrap();
    root.mkdir("dir", 0o755).unwrap();
    assert!(root.write("dir", b"", 0o644).unwrap_err().is(libc::EISDIR));
    assert_eq!(root.read("file", 100).unwrap(), b"one two");
    assert_eq!(root.metadata("file").unwrap().mode, 0o4755);
    let mut names: Vec<_> = root.entries("").unwrap().into_iter().map(|e| e.name).collect();
    names.sort();
    assert_eq!(names, ["dir", "file", "log"]);
}

#[test]
fn names_are_linked_renamed_owned_and_removed() {
    let (_outer, root) = tree();
    root.write("a", b"x", 0o600).unwrap();
    root.hard_link("a", "b").unwrap();
    assert_eq!(root.metadata("a").unwrap().identity, root.metadata("b").unwrap().identity);
    root.rename("b", "c").unwrap();
    assert!(!root.exists("b").unwrap());
    root.symlink("/nowhere", "dangling").unwrap();
    assert!(root.exists("dangling").unwrap());
    root.set_owner("dangling", 1000, 1001).unwrap();
    let owned = root.symlink_metadata("dangling").unwrap();
    assert_eq!((owned.kind, owned.uid, owned.gid), (FileKind::Symlink, 1000, 1001));
    assert!(root.set_mode("dangling", 0o600).unwrap_err().is(libc::EOPNOTSUPP));
    root.remove_file("dangling").unwrap();
    assert!(root.remove_file("..").unwrap_err().is(libc::EINVAL));
    assert!(!root.exists_executable("c"));
    root.set_mode("c", 0o755).unwrap();
    assert!(root.exists_executable("/c"));
}

#[test]
fn a_device_node_gets_its_numbers_and_mode() {
    let (_outer, root) = tree();
    root.mknod("null", FileKind::CharDevice, 0o666, (1, 3)).unwrap();
    let made = root.metadata("null").unwrap();
    assert_eq!((made.kind, made.mode, made.device), (FileKind::CharDevice, 0o666, (1, 3)));
    assert!(root.read("null", 1).unwrap_err().is(libc::EINVAL));
}

#[test]
fn a_tree_is_removed_and_what_its_links_name_is_not() {
    let (outer, root) = tree();
    let kept = outer.path().join("kept");
    fs::create_dir(&kept).unwrap();
    fs::write(kept.join("file"), "x").unwrap();
    root.mkdir_all("t/a/b/c", 0o755).unwrap();
    root.write("t/a/file", b"x", 0o400).unwrap();
    symlink(&kept, outer.path().join("root/t/a/link")).unwrap();
    fs::set_permissions(outer.path().join("root/t/a/b"), fs::Permissions::from_mode(0o000)).unwrap();
    root.remove_tree("t").unwrap();
    assert!(!root.exists("t").unwrap());
    assert!(kept.join("file").exists());
    symlink(&kept, outer.path().join("root/link")).unwrap();
    root.remove_tree("link").unwrap();
    assert!(kept.join("file").exists());
    assert!(root.remove_tree("t").unwrap_err().is(libc::ENOENT));
}

#[test]
fn a_tree_deeper_than_any_path_is_removed() {
    let (_outer, root) = tree();
    root.mkdir("deep", 0o755).unwrap();
    let mut dir = root.locate("deep").unwrap();
    let name = "d".repeat(200);
    for _ in 0..3000 {
        rustix::fs::mkdirat(&dir, &name, Mode::RWXU).unwrap();
        dir = rustix::fs::openat(&dir, &name, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
    }
    drop(dir);
    root.remove_tree("deep").unwrap();
    assert!(!root.exists("deep").unwrap());
}
