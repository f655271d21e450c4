//! Mounts by descriptor, and what the functions for hostile trees do when something is mounted in them.
#![expect(clippy::unwrap_used, reason = "in a test it is an assertion")]

mod support;

use std::fs;
use std::os::fd::AsFd as _;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::Path;
use std::process::ExitCode;

use support::{Case, Need};
use vserver_kernel::beneath::Root;
use vserver_kernel::mount::{self, Attributes, NewFs, Propagation, Recursion, TargetKind, attr};
use vserver_kernel::ns::IdRange;
use vserver_kernel::{idmap, ns};

const CASES: &[Case] = &[
    ("a new filesystem is prepared detached and put in place", &[Need::Root], new_filesystem),
    ("the kernel's own words are in the fault", &[Need::Root], kernel_message),
    ("attributes of a clone are its own", &[Need::Root], attributes),
    ("a target that is a link is not the host's directory", &[Need::Root], hostile_targets),
    ("an id-mapped clone shows shifted owners", &[Need::Root], id_mapped),
    ("an unmappable filesystem is refused with EINVAL", &[Need::Root], not_mappable),
    ("the new root has no way back to the old one", &[Need::Root], pivot),
    ("a tree with a mount in it is not removed through it", &[Need::Root], removal_stops_at_mounts),
    ("private and shared mounts can be told in the table", &[Need::Root], propagation),
];

fn main() -> ExitCode {
    support::run(CASES)
}

fn tmpfs_at(path: &Path) {
    let target = mount::open_directory(path).unwrap();
    NewFs::new("tmpfs").source("test").create().unwrap().attach_at(target.as_fd()).unwrap();
}

fn entry_at(path: &Path) -> mount::MountEntry {
    mount::table().unwrap().into_iter().rev().find(|entry| entry.mount_point == path).unwrap()
}

fn new_filesystem() {
    let dir = tempfile::tempdir().unwrap();
    let made =
        NewFs::new("tmpfs").option("size", "64k").option("mode", "0711").source("mine").create().unwrap();
    made.set(&Attributes::new().set(attr::NO_SUID | attr::NO_ATIME), Recursion::One).unwrap();
    assert!(mount::table().unwrap().iter().all(|entry| entry.source != "mine"));
    let target = mount::open_directory(dir.path()).unwrap();
    made.attach_at(target.as_fd()).unwrap();
    let entry = entry_at(dir.path());
    assert_eq!((entry.fstype.as_str(), entry.source.to_str()), ("tmpfs", Some("mine")));
    assert!(["nosuid", "noatime"].iter().all(|o| entry.options.iter().any(|have| have == o)), "{entry:?}");
    assert!(entry.super_options.iter().any(|option| option == "size=64k"), "{entry:?}");
    assert_eq!(mount::filesystem_type(made.as_fd()).unwrap().to_string(), "tmpfs");
    assert_eq!(fs::metadata(dir.path()).unwrap().mode() & 0o777, 0o711);
    mount::unmount_lazily(dir.path()).unwrap();
    assert!(mount::unmount_lazily(dir.path()).unwrap_err().is(libc::EINVAL));
}

fn kernel_message() {
    let fault = NewFs::new("tmpfs").option("size", "much").create().unwrap_err();
    assert_eq!(fault.to_string(), "fsconfig(2) tmpfs option size=much: tmpfs: Bad value for 'size'");
    assert!(fault.is(libc::EINVAL));
    let fault = NewFs::new("nosuchfs").flag("ro").create().unwrap_err();
    assert_eq!(fault.to_string(), "fsopen(2) a nosuchfs filesystem");
    assert!(fault.is(libc::ENODEV));
}

fn attributes() {
    let dir = tempfile::tempdir().unwrap();
    tmpfs_at(dir.path());
    fs::create_dir(dir.path().join("view")).unwrap();
    let clone =
        mount::clone_tree(mount::open_directory(dir.path()).unwrap().as_fd(), "", Recursion::All).unwrap();
    let wanted = Attributes::new().set(attr::READ_ONLY | attr::NO_DEV).propagation(Propagation::Private);
    clone.set(&wanted, Recursion::All).unwrap();
    let view = mount::open_directory(dir.path().join("view")).unwrap();
    clone.attach_at(view.as_fd()).unwrap();
    assert_eq!(fs::write(dir.path().join("view/file"), "x").unwrap_err().raw_os_error(), Some(libc::EROFS));
    fs::write(dir.path().join("file"), "x").unwrap();
    let again = mount::open_directory(dir.path().join("view")).unwrap();
    mount::set_attributes(again.as_fd(), &Attributes::new().clear(attr::READ_ONLY), Recursion::One).unwrap();
    fs::write(dir.path().join("view/file"), "y").unwrap();
    assert!(entry_at(&dir.path().join("view")).options.iter().any(|option| option == "nodev"));
}

fn hostile_targets() {
    let dir = tempfile::tempdir().unwrap();
    let root_path = dir.path().join("root");
    fs::create_dir_all(root_path.join("real")).unwrap();
    fs::write(root_path.join("file"), "").unwrap();
    symlink(dir.path(), root_path.join("out")).unwrap();
    symlink("/real", root_path.join("in")).unwrap();
    let root = mount::open_directory(&root_path).unwrap();
    let open = |path, kind| mount::target_in_root(root.as_fd(), path, kind);
    assert!(open("out", TargetKind::Directory).unwrap_err().is(libc::ENOENT));
    assert!(open("file", TargetKind::Directory).unwrap_err().is(libc::ENOTDIR));
    assert!(open("real", TargetKind::File).unwrap_err().is(libc::EISDIR));
    open("file", TargetKind::File).unwrap();
    let inside = open("in", TargetKind::Any).unwrap();
    assert_eq!(ns::identity(&inside).unwrap().1, fs::metadata(root_path.join("real")).unwrap().ino());
    let strict = |path| mount::target_in_root_strict(root.as_fd(), path, TargetKind::Directory);
    assert!(strict("in").unwrap_err().is(libc::ELOOP));
    let made = NewFs::new("tmpfs").create().unwrap();
    made.attach_at(strict("/real").unwrap().as_fd()).unwrap();
    assert_eq!(entry_at(&root_path.join("real")).fstype, "tmpfs");
}

fn id_mapped() {
    let dir = tempfile::tempdir_in("/var/tmp").unwrap();
    let view = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), "x").unwrap();
    std::os::unix::fs::chown(dir.path().join("file"), Some(33), Some(34)).unwrap();
    let userns =
        idmap::user_namespace_with(&[IdRange { inside: 0, outside: 700_000, count: 65_536 }]).unwrap();
    assert_eq!(ns::kind_of(userns.as_fd()).unwrap(), ns::Namespaces::USER);
    let clone = mount::clone_tree(rustix::fs::CWD, dir.path(), Recursion::One).unwrap();
    clone.idmap(userns.as_fd()).unwrap();
    drop(userns);
    clone.attach_at(mount::open_directory(view.path()).unwrap().as_fd()).unwrap();
    let seen = fs::metadata(view.path().join("file")).unwrap();
    assert_eq!((seen.uid(), seen.gid()), (700_033, 700_034));
    let stored = fs::metadata(dir.path().join("file")).unwrap();
    assert_eq!((stored.uid(), stored.gid()), (33, 34));
    // Nobody but the caller is left: the holder of the namespace was collected.
    assert_eq!(vserver_kernel::process::reap_any().unwrap_err().errno(), Some(libc::ECHILD));
}

fn not_mappable() {
    let userns = idmap::user_namespace_with(&[IdRange { inside: 0, outside: 700_000, count: 10 }]).unwrap();
    let clone = mount::clone_tree(rustix::fs::CWD, "/proc", Recursion::One).unwrap();
    let fault = clone.idmap(userns.as_fd()).unwrap_err();
    assert!(fault.is(libc::EINVAL));
    assert_eq!(fault.to_string(), "mount_setattr(2) /proc");
    let twice = [IdRange { inside: 0, outside: 1, count: 2 }, IdRange { inside: 1, outside: 9, count: 1 }];
    assert!(idmap::user_namespace_with(&twice).unwrap_err().is(libc::EINVAL));
}

fn pivot() {
    let dir = tempfile::tempdir().unwrap();
    mount::make_private("/", Recursion::All).unwrap();
    tmpfs_at(dir.path());
    fs::write(dir.path().join("inside"), "x").unwrap();
    let root = mount::open_directory(dir.path()).unwrap();
    mount::pivot_into(root.as_fd()).unwrap();
    let names: Vec<_> = fs::read_dir("/").unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["inside"]);
    assert!(fs::metadata("/../../proc").is_err());
    std::mem::forget(dir); // its path means nothing any more; the directory is removed below
    let enter_again = ns::open(0, ns::Namespaces::MOUNT);
    assert!(enter_again.unwrap_err().is(libc::ENOENT), "there is no /proc here");
}

fn removal_stops_at_mounts() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("tree/a/mounted")).unwrap();
    tmpfs_at(&dir.path().join("tree/a/mounted"));
    fs::write(dir.path().join("tree/a/mounted/kept"), "x").unwrap();
    let root = Root::open(dir.path()).unwrap();
    let fault = root.remove_tree("tree").unwrap_err();
    assert!(fault.is(libc::EXDEV), "{fault}");
    assert!(fault.object.ends_with("tree/a/mounted"), "{fault}");
    assert!(dir.path().join("tree/a/mounted/kept").exists());
    mount::unmount_lazily(dir.path().join("tree/a/mounted")).unwrap();
    root.remove_tree("tree").unwrap();
}

fn propagation() {
    let dir = tempfile::tempdir().unwrap();
    tmpfs_at(dir.path());
    mount::make_shared(dir.path(), Recursion::One).unwrap();
    assert!(entry_at(dir.path()).propagation.iter().any(|field| field.starts_with("shared:")));
    mount::make_private(dir.path(), Recursion::One).unwrap();
    assert!(entry_at(dir.path()).propagation.is_empty());
}
