//! Both directions of every pair, and what has no counterpart.

use super::*;

fn host(version: Version) -> Controllers {
    let names =
        ["memory", "cpu", "cpuset", "pids", "hugetlb", if version == Version::V1 { "blkio" } else { "io" }];
    Controllers(names.iter().map(|name| ((*name).to_owned(), version)).collect())
}

fn asked(lines: &[(&str, &str)]) -> Vec<Asked> {
    let one = |(number, (file, value)): (u32, &(&str, &str))| Asked {
        file: (*file).to_owned(),
        value: (*value).to_owned(),
        place: Sourced::new((), "file", number),
        failing: Failing::Fatal,
    };
    (1..).zip(lines).map(one).collect()
}

/// `FILE=VALUE` of each write.
fn on(version: Version, lines: &[(&str, &str)]) -> Vec<String> {
    let writes = translate(&asked(lines), &host(version)).unwrap();
    writes.into_iter().map(|write| format!("{}={}", write.file, write.value)).collect()
}

fn wrong(version: Version, lines: &[(&str, &str)]) -> Untranslatable {
    translate(&asked(lines), &host(version)).unwrap_err()
}

#[test]
fn names_of_version_1_on_version_2() {
    for (file, value, wanted) in [
        ("memory.limit_in_bytes", "256M", "memory.max=268435456"),
        ("memory.limit_in_bytes", "-1", "memory.max=max"),
        ("memory.soft_limit_in_bytes", "1G", "memory.low=1073741824"),
        ("cpu.shares", "1024", "cpu.weight=100"),
        ("cpu.shares", "256", "cpu.weight=25"),
        ("cpu.shares", "2", "cpu.weight=1"),
        ("cpu.cfs_quota_us", "-1", "cpu.max=max 100000"),
        ("cpu.cfs_quota_us", "20000", "cpu.max=20000 100000"),
        ("cpu.cfs_burst_us", "500", "cpu.max.burst=500"),
        ("blkio.weight", "500", "io.weight=100"),
        ("blkio.weight_device", "8:0 1000", "io.weight=8:0 200"),
        ("blkio.throttle.read_bps_device", "8:0 1048576", "io.max=8:0 rbps=1048576"),
        ("blkio.throttle.write_iops_device", "8:0 0", "io.max=8:0 wiops=max"),
        ("hugetlb.2MB.limit_in_bytes", "4M", "hugetlb.2MB.max=4194304"),
        ("pids.max", "30", "pids.max=30"),
        ("cpuset.cpus", "0-1,3", "cpuset.cpus=0-1,3"),
        ("cgroup.max.depth", "3", "cgroup.max.depth=3"),
    ] {
        assert_eq!(on(Version::V2, &[(file, value)]), [wanted], "{file}");
    }
    assert_eq!(on(Version::V2, &[("cpuset.memory_migrate", "1"), ("memory.use_hierarchy", "1")]), [""; 0]);
    let quota = [("cpu.cfs_period_us", "50000"), ("cpu.cfs_quota_us", "25000")];
    assert_eq!(on(Version::V2, &quota), ["cpu.max=25000 50000"]);
    let swap = [("memory.limit_in_bytes", "64M"), ("memory.memsw.limit_in_bytes", "96M")];
    assert_eq!(on(Version::V2, &swap), ["memory.max=67108864", "memory.swap.max=33554432"]);
}

#[test]
fn names_of_version_2_on_version_1() {
    for (file, value, wanted) in [
        ("memory.max", "256M", "memory.limit_in_bytes=268435456"),
        ("memory.max", "max", "memory.limit_in_bytes=-1"),
        ("memory.low", "1G", "memory.soft_limit_in_bytes=1073741824"),
        ("cpu.weight", "100", "cpu.shares=1024"),
        ("cpu.weight.nice", "0", "cpu.shares=1024"),
        ("cpu.max", "max", "cpu.cfs_quota_us=-1"),
        ("io.weight", "default 100", "blkio.weight=500"),
        ("io.weight", "8:0 200", "blkio.weight_device=8:0 1000"),
        ("hugetlb.1GB.max", "1G", "hugetlb.1GB.limit_in_bytes=1073741824"),
    ] {
        assert_eq!(on(Version::V1, &[(file, value)]), [wanted], "{file}");
    }
    assert_eq!(
        on(Version::V1, &[("cpu.max", "20000 50000")]),
        ["cpu.cfs_period_us=50000", "cpu.cfs_quota_us=20000"]
    );
    assert_eq!(
        on(Version::V1, &[("io.max", "8:0 rbps=1048576 wiops=max")]),
        ["blkio.throttle.read_bps_device=8:0 1048576", "blkio.throttle.write_iops_device=8:0 0"]
    );
    let swap = [("memory.max", "64M"), ("memory.swap.max", "32M")];
    assert_eq!(
        on(Version::V1, &swap),
        ["memory.limit_in_bytes=67108864", "memory.memsw.limit_in_bytes=100663296"]
    );
}

#[test]
fn own_names_are_written_as_they_are() {
    for (version, file, value) in [
        (Version::V1, "memory.limit_in_bytes", "256M"),
        (Version::V1, "cpuset.memory_migrate", "1"),
        (Version::V1, "blkio.throttle.read_bps_device", "8:0 1"),
        (Version::V1, "memory.swappiness", "10"),
        (Version::V2, "memory.high", "1G"),
        (Version::V2, "io.max", "8:0 rbps=1"),
        (Version::V2, "cpu.weight.nice", "5"),
        (Version::V2, "memory.from_the_future", "1"),
    ] {
        assert_eq!(on(version, &[(file, value)]), [format!("{file}={value}")]);
    }
}

#[test]
fn what_cannot_be_is_told_with_its_place() {
    for (version, file, value, part) in [
        (Version::V2, "memory.swappiness", "10", "no counterpart in version 2"),
        (Version::V2, "cpuset.memory_migrate", "0", "no counterpart in version 2"),
        (Version::V2, "net_cls.classid", "1", "no control group controller 'net_cls'"),
        (Version::V2, "blkio.leaf_weight", "10", "no counterpart in version 2"),
        (Version::V1, "memory.high", "1G", "no counterpart in version 1"),
        (Version::V1, "memory.swap.max", "1G", "needs a limit of memory beside it"),
        (Version::V2, "cpu.shares", "many", "'many' is not a number for"),
        (Version::V2, "memory.limit_in_bytes", "1.5G", "'1.5G' is not a number of bytes"),
        (Version::V1, "io.max", "8:0 rbps", "is not a device and its limit"),
        (Version::V1, "io.max", "8:0 speed=1", "is not a device and its limit"),
        (Version::V1, "misc.max", "x 1", "no control group controller 'misc'"),
        (Version::V1, "tasks", "1", "belongs to the tools"),
        (Version::V2, "devices.allow", "a", "devices are not allowed"),
    ] {
        let told = wrong(version, &[("pids.max", "1"), (file, value)]);
        assert!(told.text.contains(part), "{file}: {}", told.text);
        assert_eq!(told.place.line, 2);
    }
    let less = [("memory.limit_in_bytes", "64M"), ("memory.memsw.limit_in_bytes", "32M")];
    assert!(wrong(Version::V2, &less).text.contains("less than the limit of memory alone"));
}

/// The page of the documentation shows the table as it is.
#[test]
fn the_documentation_has_the_table() {
    let page = include_str!("../../../../docs/limits.md");
    for pair in TABLE {
        let row = format!("| `{}` | `{}` |", pair.v1, pair.v2);
        assert!(page.contains(&row), "docs/limits.md lacks the row {row}");
    }
    let rows = page.lines().filter(|line| line.starts_with("| `") && line.matches('`').count() >= 4);
    let in_table = rows.filter(|line| {
        let names: Vec<&str> = line.split('`').skip(1).step_by(2).collect();
        names.len() >= 2 && names[0].contains('.') && names[1].contains('.')
    });
    assert_eq!(in_table.count(), TABLE.len(), "docs/limits.md has rows that the table has not");
    for (file, value, _) in ALWAYS {
        assert!(page.contains(&format!("`{file} = {value}`")), "docs/limits.md does not name {file}");
    }
}

#[test]
fn a_burst_comes_when_the_quota_is_final() {
    let lines = [("cpu.max.burst", "50000"), ("cpu.cfs_quota_us", "100000"), ("pids.max", "9")];
    assert_eq!(on(Version::V2, &lines), ["pids.max=9", "cpu.max=100000 100000", "cpu.max.burst=50000"]);
    assert_eq!(on(Version::V1, &lines), ["cpu.cfs_quota_us=100000", "pids.max=9", "cpu.cfs_burst_us=50000"]);
}
