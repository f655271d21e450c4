//! Views of the machine by pinned files, read by the host, which is told about itself.
#![expect(clippy::unwrap_used, reason = "in a test it is an assertion")]

mod support;

use std::collections::HashMap;
use std::fs;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::ExitCode;

use support::{Case, Need};
use vserver_kernel::bpf::views::{File, Machine, Views};
use vserver_kernel::cgroup::Hierarchies;
use vserver_kernel::mount::{self, NewFs};

const NEEDS: &[Need] = &[Need::Root, Need::CgroupV2];
const CASES: &[Case] = &[
    ("memory of the host's root group is the host's", NEEDS, memory),
    ("processors of the host's root group are the host's", NEEDS, processors),
    ("a set is made once", NEEDS, once),
];

fn main() -> ExitCode {
    support::run(CASES)
}

/// A bpffs of the test's own, which lives in a mount namespace of its own.
fn bpffs() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let place = mount::open_directory(directory.path()).unwrap();
    NewFs::new("bpf").create().unwrap().attach_at(place.as_fd()).unwrap();
    directory
}

fn open(bpffs: &Path) -> Views {
    let hierarchies = Hierarchies::discover().unwrap();
    let memory_v1 = hierarchies.with_controller("memory").is_some_and(|found| !found.is_v2());
    Views::open(bpffs, &Machine::of_host(memory_v1)).unwrap()
}

fn kibibytes(text: &str) -> HashMap<&str, u64> {
    let line = |line| -> Option<(&str, u64)> {
        let (name, rest): (&str, &str) = str::split_once(line, ':')?;
        Some((name, rest.split_whitespace().next()?.parse().ok()?))
    };
    text.lines().filter_map(line).collect()
}

fn memory() {
    let bpffs = bpffs();
    let text = fs::read_to_string(open(bpffs.path()).path(File::Meminfo)).unwrap();
    let kernels = fs::read_to_string("/proc/meminfo").unwrap();
    let (ours, host) = (kibibytes(&text), kibibytes(&kernels));
    assert_eq!(ours["MemTotal"], host["MemTotal"]);
    assert_eq!(ours["SwapTotal"], host["SwapTotal"]);
    let close = |name: &str| ours[name].abs_diff(host[name]) < host["MemTotal"] / 10;
    assert!(close("MemAvailable"), "{text}\n{kernels}");
    // Lines are as long as the kernel's.
    let width = |text: &str| text.lines().next().unwrap().len();
    assert_eq!(width(&text), width(&kernels));
    for line in kernels.lines().filter(|line| line.starts_with("SReclaimable")) {
        assert!(text.lines().any(|ours| ours.len() == line.len()), "{text}");
    }
    let swaps = fs::read_to_string(open(bpffs.path()).path(File::Swaps)).unwrap();
    assert_eq!(swaps.lines().next(), fs::read_to_string("/proc/swaps").unwrap().lines().next());
}

fn processors() {
    let bpffs = bpffs();
    let views = open(bpffs.path());
    let read = |file| fs::read_to_string(views.path(file)).unwrap();
    assert_eq!(read(File::Online), fs::read_to_string("/sys/devices/system/cpu/online").unwrap());
    let of = |text: &str, word: &str| text.lines().filter(|line| line.starts_with(word)).count();
    let kernels = fs::read_to_string("/proc/cpuinfo").unwrap();
    assert_eq!(of(&read(File::Cpuinfo), "processor"), of(&kernels, "processor"));
    let stat = fs::read_to_string("/proc/stat").unwrap();
    assert_eq!(of(&read(File::Stat), "cpu"), of(&stat, "cpu"));
    let second = |text: &str, word: &str| -> i64 {
        let line = text.lines().find(|line| line.starts_with(word)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    assert!((second(&read(File::Stat), "btime") - second(&stat, "btime")).abs() <= 1);
    assert_eq!(read(File::Loadavg).split_whitespace().count(), 5);
    assert_eq!(read(File::Uptime).split_whitespace().count(), 2);
}

fn once() {
    let bpffs = bpffs();
    let first = open(bpffs.path()).path(File::Meminfo);
    let made = fs::metadata(&first).unwrap().modified().unwrap();
    assert_eq!(open(bpffs.path()).path(File::Meminfo), first);
    assert_eq!(fs::metadata(&first).unwrap().modified().unwrap(), made);
    assert_eq!(
        fs::read_dir(bpffs.path())
            .unwrap()
            .flatten()
            .filter(|entry| entry.file_type().unwrap().is_dir())
            .count(),
        1
    );
}
