use super::*;

fn mounts(lines: &[&str]) -> Vec<MountEntry> {
    lines.iter().map(|line| mount::parse_mount_line(line.as_bytes()).unwrap()).collect()
}

fn found(lines: &[&str], own: &str) -> Vec<(Kind, PathBuf, PathBuf)> {
    candidates(&mounts(lines), &proc::parse_cgroups(own.as_bytes()))
        .into_iter()
        .map(|found| (found.kind, found.mount_point, found.shows))
        .collect()
}

fn v1(names: &[&str]) -> Kind {
    Kind::V1 { controllers: names.iter().map(|name| (*name).to_owned()).collect() }
}

fn v2() -> Kind {
    Kind::V2 { controllers: Vec::new() }
}

#[test]
fn a_hybrid_host_has_comounted_named_and_unified_hierarchies() {
    let lines = [
        "31 25 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw",
        "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct",
        "33 31 0:30 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd",
        "34 31 0:31 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate",
    ];
    let all = found(&lines, "5:cpu,cpuacct:/\n3:name=systemd:/init.scope\n2:pids:/\n0::/\n");
    assert_eq!(
        all,
        [
            (v2(), "/sys/fs/cgroup/unified".into(), "/".into()),
            (v1(&["cpu", "cpuacct"]), "/sys/fs/cgroup/cpu,cpuacct".into(), "/".into()),
            (v1(&["name=systemd"]), "/sys/fs/cgroup/systemd".into(), "/".into()),
        ]
    );
}

#[test]
fn a_mount_of_the_whole_hierarchy_is_taken_before_one_of_a_part() {
    let lines = [
        "40 1 0:29 /docker/abc /part rw - cgroup cgroup rw,memory",
        "41 1 0:29 / /whole rw - cgroup cgroup rw,memory",
    ];
    let all = found(&lines, "4:memory:/docker/abc\n");
    assert_eq!(all.first().map(|first| first.1.as_path()), Some(Path::new("/whole")));
}

#[test]
fn a_pure_v2_host_has_one() {
    let lines = ["30 23 0:26 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw"];
    assert_eq!(found(&lines, "0::/user.slice\n"), [(v2(), "/sys/fs/cgroup".into(), "/".into())]);
}

#[test]
fn memory_does_not_stand_for_memory_pressure_of_another_mount() {
    let lines = ["40 1 0:29 / /x rw - cgroup cgroup rw,memory_recursiveprot"];
    assert_eq!(found(&lines, "4:memory:/\n"), []);
}

#[test]
fn names_of_files_cannot_leave_the_group() {
    let group = Hierarchies(Arc::new(Vec::new())).group("vservers/x");
    for file in ["../cgroup.procs", "", "a/b", ".."] {
        assert!(group.read(file).unwrap_err().is(libc::EINVAL), "{file}");
    }
    assert!(group.read("memory.max").unwrap_err().is(libc::ENOENT));
}

#[test]
fn the_groups_above_come_first() {
    let group = Hierarchies(Arc::new(Vec::new())).group("vservers").child("web1").child("guest");
    assert_eq!(group.prefixes(), ["vservers", "vservers/web1", "vservers/web1/guest"].map(Path::new));
}

#[test]
fn where_a_guests_process_is_below_its_group() {
    let group = Path::new("vservers/web1/guest");
    let of = |path: &str| below(Path::new(path), group);
    assert_eq!(of("/vservers/web1/guest"), Some(PathBuf::new()));
    assert_eq!(of("/delegated/vservers/web1/guest/init.scope"), Some("init.scope".into()));
    assert_eq!(of("/vservers/web1/guest/vservers/web1/guest"), Some("vservers/web1/guest".into()));
    assert_eq!(of("/vservers/web11/guest"), None);
}
