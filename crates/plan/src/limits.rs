//! Limits of a whole guest: what its configuration wants, in the files of control groups that this host has.
//!
//! Everything is first said in the words of either version ([`Asked`]), in the order `sched/`, `cpuset/`, `rlimits/`,
//! `cgroup/`: what the administrator writes into `cgroup/` by the kernel's own names comes last and stands. Then it is
//! translated into what this host has.

pub mod number;
mod rlimits;
mod sched;
pub mod translate;

use vserver_config::guest::Guest;
use vserver_model::Sourced;

use crate::start::{Ground, Refusal};
use crate::step::{Inside, ResourceLimit, Warning};
use translate::{Asked, Failing, Write, controller_of, translate};

/// What is to be written where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// To the guest's own group.
    pub own: Vec<Write>,
    /// To the group that it shares with others: `cgroup/` then is about that one.
    pub shared: Vec<Write>,
}

/// What the configuration wants of a guest's control groups.
///
/// # Errors
/// A setting that this host cannot have, or whose value is none.
pub fn writes(guest: &Guest, ground: &Ground, shares: bool) -> Result<Wanted, Refusal> {
    let mut own = sched::asked(guest);
    own.extend(cpuset(guest));
    own.extend(rlimits::asked(guest, ground.page_size));
    let (mut wanted, settings) = (Wanted::default(), settings(guest)?);
    if shares {
        wanted.shared = here(&settings, ground)?;
    } else {
        own.extend(settings);
    }
    wanted.own = here(&own, ground)?;
    Ok(wanted)
}

fn here(asked: &[Asked], ground: &Ground) -> Result<Vec<Write>, Refusal> {
    translate(asked, &ground.controllers).map_err(|wrong| Refusal::Limit {
        text: wrong.text,
        hint: wrong.hint,
        place: wrong.place,
    })
}

/// Limits that have no counter for a whole guest in this kernel, as limits of each of its processes.
pub fn of_each_process(guest: &Guest, page_size: u64) -> Vec<ResourceLimit> {
    rlimits::of_each_process(guest, page_size)
}

/// Limits that are settings of the guest's own namespaces.
pub fn kernel_settings(guest: &Guest) -> Vec<Inside> {
    rlimits::kernel_settings(guest).into_iter().map(Inside::Setting).collect()
}

/// What is odd about the limits, though the start goes on.
pub fn warnings(guest: &Guest, ground: &Ground) -> Vec<Warning> {
    let has = |controller: &str| ground.controllers.0.iter().any(|(name, _)| name == controller);
    let missing = guest.cgroup.subsys.iter().filter(|name| !has(&name.value));
    let mut warnings: Vec<Warning> = missing
        .map(|name| Warning {
            text: format!("cgroup/subsys: this host has no controller '{}'", name.value),
            place: Some(name.file.clone()),
        })
        .collect();
    if let Some(mnt) = &guest.cgroup.mnt
        && !ground.group_mounts.iter().any(|mount| mount.starts_with(&mnt.value))
    {
        warnings.push(Warning {
            text: format!(
                "cgroup/mnt: no control groups are mounted on {}; those that are mounted elsewhere are used",
                mnt.value.display()
            ),
            place: Some(mnt.file.clone()),
        });
    }
    warnings
}

/// `cgroup/`: each line of each file, in byte order of names.
fn settings(guest: &Guest) -> Result<Vec<Asked>, Refusal> {
    let mut asked = Vec::new();
    let subsys = &guest.cgroup.subsys;
    for (name, content) in &guest.cgroup.settings {
        let wrong = |text: String| Refusal::Limit {
            text,
            hint: None,
            place: Sourced::new((), content.file.clone(), content.line),
        };
        let file =
            name.to_str().ok_or_else(|| wrong(format!("{} is no control group's file", name.display())))?;
        let listed = subsys.is_empty() || subsys.iter().any(|one| one.value == controller_of(file));
        if !listed && controller_of(file) != "cgroup" {
            return Err(wrong(format!("{file}: its controller is not in cgroup/subsys of .defaults")));
        }
        let text = std::str::from_utf8(&content.value).map_err(|_| wrong(format!("{file} holds no text")))?;
        let before = asked.len();
        for (number, line) in (content.line..).zip(text.lines()) {
            let value = line.trim();
            if !value.is_empty() {
                let place = Sourced::new((), content.file.clone(), number);
                asked.push(Asked { file: file.into(), value: value.into(), place, failing: Failing::Fatal });
            }
        }
        if asked.len() == before {
            return Err(wrong(format!("{file} is empty")));
        }
    }
    Ok(asked)
}

/// `cpuset/`: what could not be done was always told, and the start went on.
fn cpuset(guest: &Guest) -> Vec<Asked> {
    let Some(cpuset) = &guest.cpuset else { return Vec::new() };
    let mut asked = Vec::new();
    let mut add = |file: &str, value: &str, place: Sourced<()>| {
        asked.push(Asked { file: file.into(), value: value.into(), place, failing: Failing::Told });
    };
    for (file, value) in [("cpuset.cpus", &cpuset.cpus), ("cpuset.mems", &cpuset.mems)] {
        if let Some(value) = value {
            add(file, value.value.trim(), value.as_ref().map(|_| ()));
        }
    }
    for (file, on) in
        [("cpuset.cpu_exclusive", cpuset.cpu_exclusive), ("cpuset.mem_exclusive", cpuset.mem_exclusive)]
    {
        if on {
            add(file, "1", cpuset.name.as_ref().map(|_| ()));
        }
    }
    asked
}
