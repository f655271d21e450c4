//! Limits, scheduling, control groups, disk limits, kernel settings and devices.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use vserver_model::limit::{LimitTriple, RlimitResource, UlimitResource};
use vserver_model::{Limit, Sourced};

use super::{Reader, integer};
use crate::files::Wrong;
use crate::finding::{Finding, Kind};
use crate::guest::{Cgroup, Cpuset, DeviceMapping, Dlimit, Ionice, Sched, Sysctl, Ulimit};

/// The files of `sched/` that hold numbers.
const SCHED_VALUES: [&str; 11] = [
    "bucket-id",
    "cpu-id",
    "fill-rate",
    "fill-rate2",
    "interval",
    "interval2",
    "prio-bias",
    "priority-bias",
    "tokens",
    "tokens-max",
    "tokens-min",
];

impl Reader<'_> {
    /// A limit value. Its own reader, because here a blank at the end and an empty file are mistakes.
    fn limit(&mut self, item: &str) -> Option<Sourced<Limit>> {
        let path = self.cfg(item);
        let content = self.files.whole(&path)?;
        let place = Sourced::new((), path, 1);
        let line = content.split(|&b| b == b'\n').next().unwrap_or_default();
        let parsed = match std::str::from_utf8(line) {
            Ok("") => Err(Wrong::new("is empty, not a limit")),
            Ok(text) => text.parse::<Limit>().map_err(|e| Wrong::with_hint(&e, e.hint())),
            Err(_) => Err(Wrong::new("is not a limit")),
        };
        match parsed {
            Ok(limit) => Some(place.map(|()| limit)),
            Err(wrong) => {
                self.files.wrong(&place, Kind::BadValue, wrong);
                None
            }
        }
    }

    /// `RES` sets both, then `RES.hard` and `RES.soft` override; a soft limit above the hard one is lowered to it.
    pub(super) fn ulimits(&mut self) -> BTreeMap<UlimitResource, Ulimit> {
        let mut limits = BTreeMap::new();
        for resource in UlimitResource::ALL {
            let both = self.limit(&format!("ulimits/{resource}"));
            let hard = self.limit(&format!("ulimits/{resource}.hard")).or_else(|| both.clone());
            let mut soft = self.limit(&format!("ulimits/{resource}.soft")).or(both);
            if let (Some(soft), Some(hard)) = (&mut soft, &hard) {
                soft.value = soft.value.min(hard.value);
            }
            if soft.is_some() || hard.is_some() {
                limits.insert(resource, Ulimit { soft, hard });
            }
        }
        limits
    }

    /// `RES` sets all three, then `.min`, `.soft` and `.hard` override.
    pub(super) fn rlimits(&mut self) -> BTreeMap<RlimitResource, Sourced<LimitTriple>> {
        let mut limits = BTreeMap::new();
        for resource in RlimitResource::all() {
            let all = self.limit(&format!("rlimits/{resource}"));
            let min = self.limit(&format!("rlimits/{resource}.min"));
            let soft = self.limit(&format!("rlimits/{resource}.soft"));
            let hard = self.limit(&format!("rlimits/{resource}.hard"));
            let Some(place) = [&hard, &soft, &min, &all].into_iter().flatten().next().cloned() else {
                continue;
            };
            let value = |limit: Option<Sourced<Limit>>| limit.map(|limit| limit.value);
            let over = LimitTriple { min: value(min), soft: value(soft), hard: value(hard) };
            let triple =
                all.map_or(LimitTriple::default(), |all| LimitTriple::all(all.value)).overridden_by(over);
            limits.insert(resource, place.map(|_| triple));
        }
        limits
    }

    pub(super) fn ionice(&mut self) -> Option<Sourced<Ionice>> {
        let class = self.parsed("ionice/class", |text| match text {
            "0" | "none" => Ok(0),
            "1" | "realtime" => Ok(1),
            "2" | "best-effort" => Ok(2),
            "3" | "idle" => Ok(3),
            _ => Err(Wrong::new(format!("'{text}' is not an I/O class, 0 to 3"))),
        });
        let priority = self.parsed("ionice/priority", |text| match text.parse::<u8>() {
            Ok(priority @ 0..=7) => Ok(priority),
            _ => Err(Wrong::new(format!("'{text}' is not an I/O priority, 0 to 7"))),
        });
        let place = class.as_ref().or(priority.as_ref())?.clone();
        // 4 is what ionice(1) takes when it is given a class alone.
        let ionice =
            Ionice { class: class.map_or(2, |c| c.value), priority: priority.map_or(4, |p| p.value) };
        Some(place.map(|_| ionice))
    }

    pub(super) fn sysctl(&mut self) -> Vec<Sysctl> {
        let mut settings = Vec::new();
        let dir = self.cfg("sysctl");
        for dir in self.files.subdirs(&dir) {
            let (setting_path, value_path) = (dir.join("setting"), dir.join("value"));
            let setting = self.files.scalar(&setting_path);
            let setting = self.files.parsed(setting, sysctl_path);
            let value = self.files.whole(&value_path);
            for (path, there) in [(setting_path, setting.is_some()), (value_path, value.is_some())] {
                if !there && !self.files.findings.iter().any(|finding| finding.file == path) {
                    self.files.found(
                        Finding::error(Kind::Missing, path, "does not exist or is empty")
                            .hint("each directory in sysctl/ needs the files \"setting\" and \"value\""),
                    );
                }
            }
            if let (Some(setting), Some(value)) = (setting, value) {
                settings.push(Sysctl { setting, value });
            }
        }
        settings
    }

    pub(super) fn cgroup(&mut self) -> Cgroup {
        let nocgroup = self.has("nocgroup").is_some();
        let own = self.cfg("cgroup");
        let site = self.def("cgroup");
        let dir = if own.is_dir() { Some(own) } else { (!nocgroup && site.is_dir()).then(|| site.clone()) };
        let mut cgroup = Cgroup { nocgroup, ..Cgroup::default() };
        let lines = self.files.lines(&site.join("subsys")).unwrap_or_default();
        cgroup.subsys = self.files.texts(lines);
        let lines = self.files.lines(&site.join("inherit")).unwrap_or_default();
        cgroup.inherit = self.files.texts(lines);
        cgroup.mnt = self.files.scalar(&site.join("mnt")).map(|mnt| mnt.map(PathBuf::from));
        cgroup.per_ss = self.files.present(&site.join("per-ss")).is_some();
        cgroup.base = self.files.scalar(&site.join("base")).and_then(|base| {
            let inside = Path::new(&base.value).components().all(|part| matches!(part, Component::Normal(_)));
            if !inside {
                self.files.wrong(
                    &base,
                    Kind::BadValue,
                    Wrong::new("is not a path inside the control groups"),
                );
            }
            inside.then_some(base)
        });
        let Some(dir) = dir else { return cgroup };
        cgroup.name = self.files.scalar(&dir.join("name")).and_then(|name| {
            let bytes = name.value.as_bytes();
            let plain = !bytes.starts_with(b".") && !bytes.contains(&b'/') && bytes.len() <= 255;
            if !plain {
                self.files.wrong(&name, Kind::BadValue, Wrong::new("is not the name of a control group"));
            }
            plain.then_some(name)
        });
        for name in self.files.names(&dir) {
            let reserved = ["mnt", "subsys", "inherit", "name", "base", "per-ss"];
            if reserved.iter().any(|r| *r == name) {
                continue;
            }
            let path = dir.join(&name);
            if let Some(content) = self.files.whole(&path) {
                cgroup.settings.push((name, Sourced::new(content, path, 1)));
            }
        }
        cgroup
    }

    pub(super) fn cpuset(&mut self) -> Option<Cpuset> {
        let name = self.scalar("cpuset/name")?;
        let text = |text: &str| Ok(text.to_owned());
        let mut on = |items: &[&str]| {
            items.iter().any(|item| {
                let value = self.scalar(item);
                value.is_some_and(|value| value.value != "0")
            })
        };
        let cpu_exclusive = on(&["cpuset/cpu_exclusive", "cpuset/cpus_exclusive"]);
        let mem_exclusive = on(&["cpuset/mem_exclusive", "cpuset/mems_exclusive"]);
        let virtualized = on(&["cpuset/virtualized"]);
        Some(Cpuset {
            name,
            cpus: self.parsed("cpuset/cpus", text),
            mems: self.parsed("cpuset/mems", text),
            cpu_exclusive,
            mem_exclusive,
            virtualized,
            nocreate: self.has("cpuset/nocreate").is_some(),
        })
    }

    pub(super) fn sched(&mut self) -> Vec<Sched> {
        let dir = self.cfg("sched");
        if !dir.is_dir() {
            return self.schedule().into_iter().collect();
        }
        let mut all = vec![self.sched_in(&dir)];
        for dir in self.files.subdirs(&dir) {
            let mut sched = self.sched_in(&dir);
            sched.key = dir.file_name().map(OsStr::to_owned);
            all.push(sched);
        }
        all.retain(|sched| sched.key.is_some() || !sched.values.is_empty() || sched.idle_time);
        all
    }

    fn sched_in(&mut self, dir: &Path) -> Sched {
        let mut sched = Sched::default();
        for name in SCHED_VALUES {
            let value = self.files.scalar(&dir.join(name));
            if let Some(value) = self.files.parsed(value, integer::<i64>) {
                // The documentation's name and the code's are one item.
                let name = if name == "prio-bias" { "priority-bias" } else { name };
                sched.values.insert(name.to_owned(), value);
            }
        }
        let second = sched.values.contains_key("fill-rate2") || sched.values.contains_key("interval2");
        sched.idle_time = second || self.files.present(&dir.join("idle-time")).is_some();
        sched
    }

    /// The obsolete file with six numbers in a fixed order.
    fn schedule(&mut self) -> Option<Sched> {
        let path = self.cfg("schedule");
        let lines = self.files.array(&path)?;
        let names = ["fill-rate", "interval", "tokens", "tokens-min", "tokens-max", "priority-bias"];
        let mut sched = Sched::default();
        if lines.len() < names.len() {
            let message = format!("Bad content in '{}'; aborting...", path.display());
            self.files.found(Finding::error(Kind::Syntax, path, message).hint("use the directory sched/"));
            return None;
        }
        for (name, line) in names.into_iter().zip(lines) {
            if let Some(value) = self.files.parsed(Some(line), |text| integer::<i64>(text.trim())) {
                sched.values.insert(name.to_owned(), value);
            }
        }
        self.files
            .found(Finding::warning(Kind::Obsolete, path, "is obsolete").hint("use the directory sched/"));
        Some(sched)
    }

    /// Complete entries. The original skips an incomplete one in silence; here a warning says so.
    pub(super) fn dlimits(&mut self) -> Vec<Sourced<Dlimit>> {
        let mut limits = Vec::new();
        let dir = self.cfg("dlimits");
        for dir in self.files.subdirs(&dir) {
            if self.files.present(&dir.join("disabled")).is_some() {
                continue;
            }
            let directory = self.files.scalar(&dir.join("directory"));
            let space = self.files.scalar(&dir.join("space_total"));
            let space = self.files.parsed(space, integer::<u64>);
            let inodes = self.files.scalar(&dir.join("inodes_total"));
            let inodes = self.files.parsed(inodes, integer::<u64>);
            let reserved = self.files.scalar(&dir.join("reserved"));
            let reserved = self.files.parsed(reserved, |text| match text.parse::<u8>() {
                Ok(percent @ 0..=100) => Ok(percent),
                _ => Err(Wrong::new(format!("'{text}' is not a percentage"))),
            });
            match (directory, space, inodes, reserved) {
                (Some(directory), Some(space), Some(inodes), Some(reserved)) => {
                    let limit = Dlimit {
                        directory: PathBuf::from(&directory.value),
                        space_total_kib: space.value,
                        inodes_total: inodes.value,
                        reserved_percent: reserved.value,
                    };
                    limits.push(directory.map(|_| limit));
                }
                // A value that is there and wrong has been reported as such.
                _ if self.files.findings.iter().any(|finding| finding.file.starts_with(&dir)) => {}
                _ => self.files.found(
                    Finding::warning(Kind::Missing, dir, "the disk limit is incomplete and not used")
                        .hint("it needs directory, space_total, inodes_total and reserved"),
                ),
            }
        }
        limits
    }

    pub(super) fn vdevmap(&mut self) -> Vec<Sourced<DeviceMapping>> {
        let mut rules = Vec::new();
        let dir = self.cfg("apps/vdevmap");
        for dir in self.files.subdirs(&dir) {
            let flags = self.files.scalar(&dir.join("flags"));
            let flags = self.files.parsed(flags, |text| {
                vserver_model::number::parse_c(text)
                    .ok_or_else(|| Wrong::new(format!("'{text}' is not a number")))
            });
            let rule = DeviceMapping {
                device: self.files.scalar(&dir.join("device")).map(|device| device.value.into()),
                target: self.files.scalar(&dir.join("target")).map(|target| target.value.into()),
                open: self.files.present(&dir.join("open")).is_some(),
                create: self.files.present(&dir.join("create")).is_some(),
                remap: self.files.present(&dir.join("remap")).is_some(),
                flags: flags.map(|flags| flags.value),
            };
            if rule.remap && rule.target.is_none() {
                let message = "the rule redirects, but has no target";
                self.files.found(Finding::error(Kind::Missing, dir.join("target"), message));
            }
            rules.push(Sourced::new(rule, dir, 1));
        }
        rules
    }
}

/// A setting's name as a path below /proc/sys.
fn sysctl_path(text: &str) -> Result<PathBuf, Wrong> {
    if text.len() >= 128 {
        return Err(Wrong::new("the setting's name is longer than 127 bytes"));
    }
    let path = PathBuf::from(text.replace('.', "/"));
    // Dots have become slashes, so there is no ".." left; an empty part would be one.
    let plain = !text.starts_with('/') && path.components().all(|part| matches!(part, Component::Normal(_)));
    if plain && !path.as_os_str().is_empty() && !text.contains("..") {
        Ok(path)
    } else {
        Err(Wrong {
            message: format!("'{text}' is not the name of a kernel setting"),
            hint: Some("write it as sysctl(8) does, for example kernel.shmmax".to_owned()),
        })
    }
}
