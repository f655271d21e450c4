//! Settings of control groups in the words of this host: version 1 or version 2 of each controller.
//!
//! [`TABLE`] is the one list of counterparts; `docs/limits.md` shows it, and a test compares the two.

use vserver_model::Sourced;

use super::number::{Bytes, bytes, number, weight_of_nice};

/// The version of control groups in which a host has a controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// A hierarchy of its own.
    V1,
    /// The one hierarchy of all controllers.
    V2,
}

/// How one version's value becomes the other's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// It is the same.
    Same,
    /// Bytes: `-1` is `max`.
    Bytes,
    /// 1024 shares are the weight 100.
    Shares,
    /// 500 of `blkio.weight` is the default of 100.
    DiskWeight,
    /// A line `DEVICE NUMBER` is `DEVICE KEY=NUMBER` of `io.max`.
    Throttle(&'static str),
    /// Quota and period stand in one file of version 2.
    Quota,
    /// The same.
    Period,
    /// Memory and swap together in version 1, swap alone in version 2.
    Swap,
}

/// One pair of counterparts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The file of version 1; `*` stands for the page size of `hugetlb`.
    pub v1: &'static str,
    /// The file of version 2.
    pub v2: &'static str,
    /// How values become each other.
    pub how: How,
}

const fn pair(v1: &'static str, v2: &'static str, how: How) -> Pair {
    Pair { v1, v2, how }
}

/// All counterparts.
pub const TABLE: &[Pair] = &[
    pair("memory.limit_in_bytes", "memory.max", How::Bytes),
    pair("memory.soft_limit_in_bytes", "memory.low", How::Bytes),
    pair("memory.memsw.limit_in_bytes", "memory.swap.max", How::Swap),
    pair("cpu.shares", "cpu.weight", How::Shares),
    pair("cpu.cfs_quota_us", "cpu.max", How::Quota),
    pair("cpu.cfs_period_us", "cpu.max", How::Period),
    pair("cpu.cfs_burst_us", "cpu.max.burst", How::Same),
    pair("blkio.weight", "io.weight", How::DiskWeight),
    pair("blkio.weight_device", "io.weight", How::DiskWeight),
    pair("blkio.bfq.weight", "io.bfq.weight", How::Same),
    pair("blkio.throttle.read_bps_device", "io.max", How::Throttle("rbps")),
    pair("blkio.throttle.write_bps_device", "io.max", How::Throttle("wbps")),
    pair("blkio.throttle.read_iops_device", "io.max", How::Throttle("riops")),
    pair("blkio.throttle.write_iops_device", "io.max", How::Throttle("wiops")),
    pair("hugetlb.*.limit_in_bytes", "hugetlb.*.max", How::Bytes),
    pair("pids.max", "pids.max", How::Same),
    pair("cpuset.cpus", "cpuset.cpus", How::Same),
    pair("cpuset.mems", "cpuset.mems", How::Same),
];

/// Settings of one version that say what is always so in the other: there they are no mistake, and nothing is to be done.
pub const ALWAYS: &[(&str, &str, Version)] = &[
    ("cpuset.memory_migrate", "1", Version::V2),
    ("cpuset.sched_load_balance", "1", Version::V2),
    ("cpuset.cpu_exclusive", "0", Version::V2),
    ("cpuset.mem_exclusive", "0", Version::V2),
    ("cpuset.mem_hardwall", "0", Version::V2),
    ("cpuset.memory_spread_page", "0", Version::V2),
    ("cpuset.memory_spread_slab", "0", Version::V2),
    ("memory.use_hierarchy", "1", Version::V2),
    ("memory.move_charge_at_immigrate", "0", Version::V2),
    ("cpuset.cpus.partition", "member", Version::V1),
    ("memory.oom.group", "0", Version::V1),
];

/// Files that one version alone has, by how they begin.
const ALONE: &[(&str, Version)] = &[
    ("cpuset.cpu_exclusive", Version::V1),
    ("cpuset.mem_", Version::V1),
    ("cpuset.memory_", Version::V1),
    ("cpuset.sched_", Version::V1),
    ("cpuset.cpus.", Version::V2),
    ("memory.use_hierarchy", Version::V1),
    ("memory.kmem.", Version::V1),
    ("memory.swappiness", Version::V1),
    ("memory.oom_control", Version::V1),
    ("memory.move_charge_at_immigrate", Version::V1),
    ("memory.force_empty", Version::V1),
    ("memory.high", Version::V2),
    ("memory.min", Version::V2),
    ("memory.oom.group", Version::V2),
    ("memory.swap.high", Version::V2),
    ("memory.zswap.", Version::V2),
    ("memory.reclaim", Version::V2),
    ("cpu.rt_", Version::V1),
    ("blkio.leaf_weight", Version::V1),
    ("io.latency", Version::V2),
    ("io.prio.class", Version::V2),
    ("net_cls.", Version::V1),
    ("net_prio.", Version::V1),
];

/// What moves, freezes and cleans up groups belongs to the tools.
const OURS: &[&str] = &[
    "tasks",
    "cgroup.procs",
    "cgroup.threads",
    "cgroup.subtree_control",
    "cgroup.type",
    "cgroup.kill",
    "cgroup.freeze",
    "cgroup.clone_children",
    "cgroup.event_control",
    "freezer.state",
    "release_agent",
    "notify_on_release",
];

/// One line that somebody wants in a file of the guest's control group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The kernel's file, of either version.
    pub file: String,
    /// What it is to hold.
    pub value: String,
    /// Who asks.
    pub place: Sourced<()>,
    /// Whether a failure of it fails the start.
    pub failing: Failing,
}

/// What becomes of a start when a setting cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failing {
    /// It fails.
    Fatal,
    /// It is told, and goes on: the limit is a nicety, or the original did so.
    Told,
}

/// One write to a file of a control group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// The file, as this host has it.
    pub file: String,
    /// What is written, with one write(2).
    pub value: String,
    /// Who asked.
    pub place: Sourced<()>,
    /// Whether a failure of it fails the start.
    pub failing: Failing,
}

impl Write {
    /// Whether the group inside is written to as well: some files of version 1 count for their own group only, or bound
    /// what a group below may say.
    pub fn also_inside(&self) -> bool {
        const LEVEL: [&str; 5] =
            ["cpuset.", "blkio.throttle.", "cpu.rt_", "memory.swappiness", "memory.oom_control"];
        LEVEL.iter().any(|prefix| self.file.starts_with(prefix))
    }
}

/// Why a setting cannot be had on this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Untranslatable {
    /// What is wrong, in one sentence.
    pub text: String,
    /// A way out.
    pub hint: Option<String>,
    /// Who asked.
    pub place: Sourced<()>,
}

/// Which controllers this host has, in which version; `io` is called `blkio` in version 1.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Controllers(pub Vec<(String, Version)>);

impl Controllers {
    fn version(&self, controller: &str) -> Option<Version> {
        let names: &[&str] = match controller {
            "io" | "blkio" => &["io", "blkio"],
            _ => &[controller],
        };
        self.0.iter().find(|(name, _)| names.contains(&name.as_str())).map(|(_, version)| *version)
    }
}

/// The controller of a file: what stands before the first dot.
pub fn controller_of(file: &str) -> &str {
    file.split('.').next().unwrap_or(file)
}

/// Whether a name matches a pattern with at most one `*`; what the `*` stands for.
fn matched<'a>(pattern: &str, name: &'a str) -> Option<&'a str> {
    match pattern.split_once('*') {
        None => (pattern == name).then_some(""),
        Some((head, tail)) => name.strip_prefix(head)?.strip_suffix(tail).filter(|part| !part.is_empty()),
    }
}

/// The values that stand together in one file of the other version, collected.
#[derive(Default)]
struct Together {
    quota: Option<(String, Asked)>,
    period: Option<(String, Asked)>,
    memory: Option<Bytes>,
    swap: Vec<Asked>,
}

/// What is to be written on this host, in order.
///
/// # Errors
/// The first setting that has no counterpart here, whose value is none, or whose controller is missing.
pub fn translate(asked: &[Asked], host: &Controllers) -> Result<Vec<Write>, Untranslatable> {
    let mut writes = Vec::new();
    let mut together = Together::default();
    for one in asked {
        one_of(one, host, &mut writes, &mut together)?;
    }
    together.finish(host, &mut writes)?;
    // The kernel refuses a quota below the burst that stands, and a burst above the quota: it comes when that is final.
    writes.sort_by_key(|write| matches!(write.file.as_str(), "cpu.cfs_burst_us" | "cpu.max.burst"));
    Ok(writes)
}

impl Asked {
    fn wrong(&self, text: impl Into<String>) -> Untranslatable {
        Untranslatable { text: text.into(), hint: None, place: self.place.clone() }
    }

    fn no_value(&self, what: &str) -> Untranslatable {
        self.wrong(format!("'{}' is not {what} of {}", self.value, self.file))
    }

    /// The same request with what this host calls it.
    fn as_write(&self, file: impl Into<String>, value: impl Into<String>) -> Write {
        Write { file: file.into(), value: value.into(), place: self.place.clone(), failing: self.failing }
    }
}

fn one_of(
    asked: &Asked,
    host: &Controllers,
    writes: &mut Vec<Write>,
    together: &mut Together,
) -> Result<(), Untranslatable> {
    let file = asked.file.as_str();
    if OURS.contains(&file) {
        return Err(asked.wrong(format!("{file} belongs to the tools and is no setting")));
    }
    let controller = controller_of(file);
    if controller == "cgroup" {
        // cgroup.max.depth and the like: version 2 without any controller.
        writes.push(asked.as_write(file, &asked.value));
        return Ok(());
    }
    if controller == "devices" {
        let mut wrong =
            asked.wrong(format!("{file}: devices are not allowed by a control group's file here"));
        wrong.hint =
            Some("make the node in the dev directory of the guest's tree: nodes that are there work".into());
        return Err(wrong);
    }
    let Some(version) = host.version(controller) else {
        let mut wrong =
            asked.wrong(format!("this host has no control group controller '{controller}' for {file}"));
        wrong.hint =
            Some("vserver check-host tells which controllers there are and what turns them on".into());
        return Err(wrong);
    };
    if ALWAYS.contains(&(file, asked.value.as_str(), version)) {
        return Ok(());
    }
    let pairs = TABLE.iter().find_map(|pair| {
        let as_v1 = matched(pair.v1, file).map(|part| (pair, Version::V1, part));
        as_v1.or_else(|| matched(pair.v2, file).map(|part| (pair, Version::V2, part)))
    });
    match pairs {
        Some((pair, from, part)) if pair.how != How::Same || pair.v1 != pair.v2 => {
            if from == version && pair.v1 != pair.v2 {
                if file == "memory.limit_in_bytes" || file == "memory.max" {
                    together.memory = bytes(&asked.value);
                }
                writes.push(asked.as_write(file, &asked.value));
                return Ok(());
            }
            convert(asked, (pair, part), version, writes, together)
        }
        Some(_) => {
            writes.push(asked.as_write(file, &asked.value));
            Ok(())
        }
        None => match file {
            "cpu.weight.nice" if version == Version::V1 => {
                let nice = asked.value.parse().ok().filter(|nice| (-20..=19).contains(nice));
                let nice = nice.ok_or_else(|| asked.no_value("a nice value, -20 to 19,"))?;
                writes.push(asked.as_write("cpu.shares", weight_of_nice(nice).to_string()));
                Ok(())
            }
            _ => alone(asked, version, writes),
        },
    }
}

/// A file without a counterpart: as it is, unless it is known that this version has none.
fn alone(asked: &Asked, version: Version, writes: &mut Vec<Write>) -> Result<(), Untranslatable> {
    let file = asked.file.as_str();
    let of = ALONE.iter().find(|(prefix, _)| file.starts_with(prefix)).map(|(_, version)| *version);
    let of = of.or_else(|| controller_of(file).eq("blkio").then_some(Version::V1));
    match of {
        Some(of) if of != version => {
            let (own, here) = match of {
                Version::V1 => (1, 2),
                Version::V2 => (2, 1),
            };
            Err(asked.wrong(format!(
                "{file} = {} is of control groups version {own}, and has no counterpart in version {here}, which this host has",
                asked.value
            )))
        }
        _ => {
            writes.push(asked.as_write(file, &asked.value));
            Ok(())
        }
    }
}

fn convert(
    asked: &Asked,
    (pair, part): (&Pair, &str),
    to: Version,
    writes: &mut Vec<Write>,
    together: &mut Together,
) -> Result<(), Untranslatable> {
    let target = match to {
        Version::V1 => pair.v1,
        Version::V2 => pair.v2,
    };
    let target = target.replace('*', part);
    let value = asked.value.as_str();
    match pair.how {
        How::Same => writes.push(asked.as_write(target, value)),
        How::Bytes => {
            let limit = bytes(value).ok_or_else(|| asked.no_value("a number of bytes for"))?;
            if pair.v2 == "memory.max" {
                together.memory = Some(limit);
            }
            writes.push(asked.as_write(target, limit.to_text(to)));
        }
        How::Shares => {
            let given = number(value).ok_or_else(|| asked.no_value("a number for"))?;
            let weight = match to {
                Version::V2 => scaled(given, 100, 1024, 1, 10_000),
                Version::V1 => scaled(given, 1024, 100, 2, 262_144),
            };
            writes.push(asked.as_write(target, weight.to_string()));
        }
        How::DiskWeight => writes.push(disk_weight(asked, to)?),
        How::Throttle(key) => throttle(asked, key, to, writes)?,
        How::Quota | How::Period => cpu_max(asked, pair.how, to, writes, together)?,
        How::Swap => together.swap.push(asked.clone()),
    }
    Ok(())
}

/// `value * by / of`, rounded, within bounds.
fn scaled(value: u64, by: u64, of: u64, least: u64, most: u64) -> u64 {
    (value.saturating_mul(by).saturating_add(of / 2) / of).clamp(least, most)
}

/// `NUMBER`, `default NUMBER` or `DEVICE NUMBER`.
fn disk_weight(asked: &Asked, to: Version) -> Result<Write, Untranslatable> {
    let words: Vec<&str> = asked.value.split_whitespace().collect();
    let (device, weight) = match words[..] {
        [weight] | ["default", weight] => (None, weight),
        [device, weight] => (Some(device), weight),
        _ => return Err(asked.no_value("a weight for")),
    };
    let weight = number(weight).ok_or_else(|| asked.no_value("a weight for"))?;
    Ok(match to {
        Version::V2 => {
            let weight = scaled(weight, 100, 500, 1, 10_000);
            let value = device.map_or(weight.to_string(), |device| format!("{device} {weight}"));
            asked.as_write("io.weight", value)
        }
        Version::V1 => {
            let weight = scaled(weight, 500, 100, 10, 1000);
            match device {
                Some(device) => asked.as_write("blkio.weight_device", format!("{device} {weight}")),
                None => asked.as_write("blkio.weight", weight.to_string()),
            }
        }
    })
}

fn throttle(asked: &Asked, key: &str, to: Version, writes: &mut Vec<Write>) -> Result<(), Untranslatable> {
    let mut words = asked.value.split_whitespace();
    let wrong = || asked.no_value("a device and its limit for");
    let device = words.next().ok_or_else(wrong)?;
    if to == Version::V2 {
        let (Some(limit), None) = (words.next().and_then(number), words.next()) else { return Err(wrong()) };
        // No limit is 0 in version 1.
        let limit = if limit == 0 { "max".to_owned() } else { limit.to_string() };
        writes.push(asked.as_write("io.max", format!("{device} {key}={limit}")));
        return Ok(());
    }
    for word in words {
        let (key, limit) = word.split_once('=').ok_or_else(wrong)?;
        let of = |pair: &&Pair| {
            pair.how
                == How::Throttle(match key {
                    "rbps" => "rbps",
                    "wbps" => "wbps",
                    "riops" => "riops",
                    _ => "wiops",
                })
        };
        let pair = TABLE.iter().find(of).filter(|_| ["rbps", "wbps", "riops", "wiops"].contains(&key));
        let pair = pair.ok_or_else(wrong)?;
        let limit = if limit == "max" { Some(0) } else { number(limit) };
        writes.push(asked.as_write(pair.v1, format!("{device} {}", limit.ok_or_else(wrong)?)));
    }
    Ok(())
}

fn cpu_max(
    asked: &Asked,
    how: How,
    to: Version,
    writes: &mut Vec<Write>,
    together: &mut Together,
) -> Result<(), Untranslatable> {
    let value = asked.value.as_str();
    let wrong = || asked.no_value("a time in microseconds for");
    if to == Version::V2 {
        if how == How::Period {
            let period = number(value).ok_or_else(wrong)?.to_string();
            together.period = Some((period, asked.clone()));
        } else {
            let quota =
                if value == "-1" { "max".to_owned() } else { number(value).ok_or_else(wrong)?.to_string() };
            together.quota = Some((quota, asked.clone()));
        }
        return Ok(());
    }
    let words: Vec<&str> = value.split_whitespace().collect();
    let (quota, period) = match words[..] {
        [quota] => (quota, None),
        [quota, period] => (quota, Some(period)),
        _ => return Err(wrong()),
    };
    if let Some(period) = period {
        writes.push(asked.as_write("cpu.cfs_period_us", number(period).ok_or_else(wrong)?.to_string()));
    }
    let quota = if quota == "max" { "-1".to_owned() } else { number(quota).ok_or_else(wrong)?.to_string() };
    writes.push(asked.as_write("cpu.cfs_quota_us", quota));
    Ok(())
}

impl Together {
    fn finish(self, host: &Controllers, writes: &mut Vec<Write>) -> Result<(), Untranslatable> {
        if let Some(asked) = self.quota.as_ref().or(self.period.as_ref()).map(|(_, asked)| asked) {
            let quota = self.quota.as_ref().map_or("max", |(quota, _)| quota);
            let period = self.period.as_ref().map_or("100000", |(period, _)| period);
            writes.push(asked.as_write("cpu.max", format!("{quota} {period}")));
        }
        for asked in self.swap {
            let limit = bytes(&asked.value).ok_or_else(|| asked.no_value("a number of bytes for"))?;
            let to = host.version("memory").unwrap_or(Version::V2);
            let (file, value) = match (to, limit, self.memory) {
                (Version::V2, Bytes::Max, _) => ("memory.swap.max", Bytes::Max),
                (Version::V1, Bytes::Max, _) => ("memory.memsw.limit_in_bytes", Bytes::Max),
                (Version::V2, Bytes::Number(both), Some(Bytes::Number(memory))) if both >= memory => {
                    ("memory.swap.max", Bytes::Number(both - memory))
                }
                (Version::V1, Bytes::Number(swap), Some(Bytes::Number(memory))) => {
                    ("memory.memsw.limit_in_bytes", Bytes::Number(swap.saturating_add(memory)))
                }
                (_, Bytes::Number(_), memory) => {
                    let mut wrong = asked.wrong(match memory {
                        Some(Bytes::Number(_)) => {
                            format!("{} is less than the limit of memory alone", asked.file)
                        }
                        _ => format!("{} needs a limit of memory beside it on this host", asked.file),
                    });
                    wrong.hint = Some("version 1 limits memory and swap together, version 2 swap alone: the difference is computed".into());
                    return Err(wrong);
                }
            };
            writes.push(asked.as_write(file, value.to_text(to)));
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "translate_tests.rs"]
mod tests;
