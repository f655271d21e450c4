//! Device programs on a real group.
#![expect(clippy::unwrap_used, reason = "in a test it is an assertion")]

mod support;

use std::fs::{self, OpenOptions};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd as _;
use std::process::{Command, ExitCode};

use support::{Case, Need};
use vserver_kernel::beneath::{FileKind, Root};
use vserver_kernel::bpf::Program;
use vserver_kernel::bpf::device::{DeviceKind, DeviceRule};
use vserver_kernel::bpf::iterator::{self, Listing};
use vserver_kernel::cgroup::{Group, Hierarchies};
use vserver_kernel::mount::{self, NewFs};

const NEEDS: &[Need] = &[Need::Root, Need::CgroupV2, Need::DeviceProgram];
const CASES: &[Case] = &[
    ("only allowed devices are opened and made", NEEDS, enforced),
    ("a program of the group above counts too", NEEDS, both_must_agree),
    ("the same rules are loaded once and pinned", NEEDS, pinned),
    ("listings show the sockets of the reader's own group", NEEDS, listings),
];

fn main() -> ExitCode {
    support::run(CASES)
}

const fn char_device(major: u32, minor: u32, access: (bool, bool, bool)) -> DeviceRule {
    let (read, write, mknod) = access;
    DeviceRule { kind: DeviceKind::Char, major: Some(major), minor: Some(minor), read, write, mknod }
}

const EVERYTHING: DeviceRule =
    DeviceRule { kind: DeviceKind::All, major: None, minor: None, read: true, write: true, mknod: true };

/// A group that the test leaves and removes at the end.
struct Own(Group);

impl Own {
    fn enter() -> Self {
        let hierarchies = Hierarchies::discover().unwrap();
        let group = hierarchies.group(support::group_name()).child("inner");
        group.create().unwrap();
        group.attach(0).unwrap();
        Self(group)
    }

    fn above(&self) -> Group {
        self.0.hierarchies().group(self.0.name().parent().unwrap())
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        self.0.hierarchies().group(".").attach(0).unwrap();
        self.above().remove().unwrap();
    }
}

fn opens(path: &str, write: bool) -> Result<(), Option<i32>> {
    let mut options = OpenOptions::new();
    options.read(true).write(write).open(path).map(drop).map_err(|error| error.raw_os_error())
}

fn enforced() {
    let own = Own::enter();
    let null = char_device(1, 3, (true, true, true));
    let zero = char_device(1, 5, (true, false, false));
    let program = Program::from_rules(&[null, zero]).load().unwrap();
    let dir = own.0.v2_dir_fd().unwrap().unwrap();
    program.attach(dir.as_fd()).unwrap();
    let denied = Err(Some(libc::EPERM));
    assert_eq!(opens("/dev/null", true), Ok(()));
    assert_eq!(opens("/dev/zero", false), Ok(()));
    assert_eq!(opens("/dev/zero", true), denied);
    assert_eq!(opens("/dev/full", false), denied);
    let place = tempfile::tempdir().unwrap();
    let root = Root::open(place.path()).unwrap();
    root.mknod("null", FileKind::CharDevice, 0o666, (1, 3)).unwrap();
    assert!(root.mknod("zero", FileKind::CharDevice, 0o666, (1, 5)).unwrap_err().is(libc::EPERM));
    assert!(root.mknod("disk", FileKind::BlockDevice, 0o600, (1, 3)).unwrap_err().is(libc::EPERM));
    root.mknod("fifo", FileKind::Fifo, 0o600, (0, 0)).unwrap();
    drop(program); // the group keeps it
    assert_eq!(opens("/dev/full", false), denied);
    let inherited = Command::new("sh").args(["-c", "exec 2>/dev/null; : </dev/full"]).status().unwrap();
    assert!(!inherited.success());
}

fn both_must_agree() {
    let own = Own::enter();
    let above = Program::from_rules(&[char_device(1, 3, (true, true, true))]).load().unwrap();
    let inner = Program::from_rules(&[EVERYTHING]).load().unwrap();
    let above_dir = own.above().v2_dir_fd().unwrap().unwrap();
    above.attach(above_dir.as_fd()).unwrap();
    inner.attach(own.0.v2_dir_fd().unwrap().unwrap().as_fd()).unwrap();
    assert_eq!(opens("/dev/full", false), Err(Some(libc::EPERM)));
    above.detach(above_dir.as_fd()).unwrap();
    assert_eq!(opens("/dev/full", false), Ok(()));
    assert!(above.detach(above_dir.as_fd()).unwrap_err().is(libc::ENOENT));
}

/// A bpffs of the test's own.
fn bpffs() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    NewFs::new("bpf")
        .create()
        .unwrap()
        .attach_at(mount::open_directory(dir.path()).unwrap().as_fd())
        .unwrap();
    dir
}

fn pinned() {
    let dir = bpffs();
    // Some kernels put iterators of their own into every new bpffs.
    let names = || {
        let all = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name());
        all.filter(|name| name.to_string_lossy().starts_with("device-")).collect::<Vec<_>>()
    };
    let program = Program::from_rules(&[EVERYTHING]);
    drop(program.load_pinned(dir.path()).unwrap());
    assert_eq!(names(), [program.content_name().as_str()]);
    drop(program.load_pinned(dir.path()).unwrap());
    drop(Program::from_rules(&[]).load_pinned(dir.path()).unwrap());
    assert_eq!(names().len(), 2);
    // Where nothing can be pinned the program is loaded all the same.
    Program::from_rules(&[]).load_pinned("/proc".as_ref()).unwrap();
}

fn listings() {
    if fs::metadata("/sys/kernel/btf/vmlinux").is_err() {
        // Said as the product says it: no type information, no listings.
        assert!(iterator::pinned("/nowhere".as_ref(), Listing { level: 2, plain_loopback: true }).is_err());
        return;
    }
    let dir = bpffs();
    let ours = |files: &std::path::Path, file: &str| -> Vec<Vec<String>> {
        let text = fs::read_to_string(files.join(file)).unwrap();
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect();
        text.lines().skip(1).map(words).collect()
    };
    let foreign = TcpListener::bind("127.0.0.1:0").unwrap();
    let _own = Own::enter();
    // The test's own group is two below the root, and another one is below that.
    let listing = Listing { level: 2, plain_loopback: true };
    let files = iterator::pinned(dir.path(), listing).unwrap();
    assert_eq!(iterator::pinned(dir.path(), listing).unwrap(), files, "made once");
    for file in iterator::FILES {
        assert_eq!(ours(&files, file), Vec::<Vec<String>>::new(), "{file} of a group without sockets");
        let header = fs::read_to_string(files.join(file)).unwrap();
        let kernels = fs::read_to_string(format!("/proc/net/{file}")).unwrap();
        assert_eq!(header.trim_end(), kernels.lines().next().unwrap().trim_end());
    }
    let tcp = TcpListener::bind("127.3.4.5:0").unwrap();
    let client = TcpStream::connect(tcp.local_addr().unwrap()).unwrap();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let six = TcpListener::bind("[::1]:0").unwrap();
    let port = |address: std::net::SocketAddr| format!("{:04X}", address.port());
    let listener = port(tcp.local_addr().unwrap());
    let mut lines = ours(&files, "tcp");
    lines.sort_by_key(|line| line[3].clone());
    // Listening, both ends of the connection, and nothing of others; 127.3.4.5 as 127.0.0.5.
    let inode = rustix::fs::fstat(&tcp).unwrap().st_ino.to_string();
    let listening = lines.iter().find(|line| line[3] == "0A").unwrap();
    assert_eq!(listening[1..4], [format!("0500007F:{listener}"), "00000000:0000".into(), "0A".into()]);
    assert_eq!((&listening[7], &listening[9]), (&"0".to_owned(), &inode));
    let connected = lines.iter().find(|line| line[1].ends_with(&port(client.local_addr().unwrap()))).unwrap();
    assert_eq!(connected[2..4], [format!("0500007F:{listener}"), "01".into()]);
    let foreign = port(foreign.local_addr().unwrap());
    assert!(!lines.iter().any(|line| line[1].ends_with(&foreign)), "{lines:?}");
    let lines = ours(&files, "udp");
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0][1], format!("0100007F:{}", port(udp.local_addr().unwrap())));
    let lines = ours(&files, "tcp6");
    assert_eq!(lines.len(), 1);
    let loopback = "00000000000000000000000001000000";
    assert_eq!(lines[0][1], format!("{loopback}:{}", port(six.local_addr().unwrap())));
    assert!(ours(&files, "udp6").is_empty());
    // As they are, for those who want it.
    let files = iterator::pinned(dir.path(), Listing { plain_loopback: false, ..listing }).unwrap();
    assert!(ours(&files, "tcp").iter().any(|line| line[1] == format!("0504037F:{listener}")));
    // From a group elsewhere nothing of this is seen.
    let elsewhere = iterator::pinned(dir.path(), Listing { level: 1, plain_loopback: true }).unwrap();
    assert!(
        ours(&elsewhere, "tcp").iter().any(|line| line[1].ends_with(&listener)),
        "from above all is seen"
    );
}
