//! `rlimits/`: limits of the whole guest.
//!
//! A stock kernel counts tasks and memory of a group, and System V objects of an IPC namespace. What it counts for each
//! process or user only is limited there, which is less, and said.

use std::path::PathBuf;

use vserver_config::guest::{Guest, Sysctl};
use vserver_model::limit::RlimitResource as Resource;
use vserver_model::{Limit, LimitTriple, Sourced, UlimitResource};

use super::translate::{Asked, Failing};
use crate::start::has_flag;
use crate::step::ResourceLimit;

fn of(guest: &Guest, resource: Resource) -> Option<&Sourced<LimitTriple>> {
    guest.rlimits.get(&resource)
}

/// What is enforced: the hard limit, if it is a number.
fn hard(guest: &Guest, resource: Resource) -> Option<Sourced<u64>> {
    let limit = of(guest, resource)?;
    let value = limit.value.hard.and_then(Limit::value)?;
    Some(limit.as_ref().map(|_| value))
}

/// Tasks, and memory: the least of what limits it, because pages are counted once for all kinds.
pub(super) fn asked(guest: &Guest, page_size: u64) -> Vec<Asked> {
    let ask = |file: &str, value: &Sourced<u64>| Asked {
        file: file.into(),
        value: value.value.to_string(),
        place: value.as_ref().map(|_| ()),
        failing: Failing::Fatal,
    };
    let memory = [Resource::Rss, Resource::Anon, Resource::As]
        .into_iter()
        .filter_map(|resource| hard(guest, resource))
        .min_by_key(|limit| limit.value)
        .map(|pages| pages.map(|pages| pages.saturating_mul(page_size)));
    let mut all: Vec<Asked> = memory.iter().map(|bytes| ask("memory.max", bytes)).collect();
    if let Some(bytes) = reserved(guest, page_size) {
        all.push(ask("memory.low", &bytes));
    }
    all.extend(tasks(guest).iter().map(|count| ask("pids.max", count)));
    all
}

/// With the flag `nproc` (F5), `ulimits/nproc` is the limit of the guest that has no other.
fn tasks(guest: &Guest) -> Option<Sourced<u64>> {
    if of(guest, Resource::Nproc).is_some() || !has_flag(guest, "nproc") {
        return hard(guest, Resource::Nproc);
    }
    let limit = guest.ulimits.get(&UlimitResource::Nproc)?.hard.as_ref()?;
    limit.value.value().map(|count| limit.as_ref().map(|_| count))
}

/// `rss.min` below the hard limit: memory that is taken from others first. The plain file sets all three alike, and
/// asks for no reservation.
fn reserved(guest: &Guest, page_size: u64) -> Option<Sourced<u64>> {
    let limit = of(guest, Resource::Rss)?;
    let min = limit.value.min?;
    let pages = min.value().filter(|pages| *pages > 0 && limit.value.hard.is_none_or(|hard| min < hard))?;
    Some(limit.as_ref().map(|_| pages.saturating_mul(page_size)))
}

/// Limits of setrlimit(2) in the place of one for all: number, word, factor.
pub(super) fn of_each_process(guest: &Guest, page_size: u64) -> Vec<ResourceLimit> {
    const NOFILE: u32 = 7;
    let resources = [
        (Resource::Nofile, NOFILE, 1),
        (Resource::Openfd, NOFILE, 1),
        (Resource::Memlock, 8, page_size),
        (Resource::Msgqueue, 12, 1),
    ];
    let mut limits: Vec<ResourceLimit> = Vec::new();
    for (resource, number, factor) in resources {
        let Some(value) = hard(guest, resource) else { continue };
        let most = value.value.saturating_mul(factor);
        match limits.iter_mut().find(|known| known.resource == number) {
            Some(known) => known.hard = known.hard.min(most),
            None => limits.push(ResourceLimit {
                resource: number,
                word: resource.name().to_owned(),
                soft: None,
                hard: most,
                may_fail: false,
            }),
        }
    }
    limits
}

/// What the guest's IPC namespace counts. The two numbers of `kernel.sem` that nobody limits are the kernel's own.
pub(super) fn kernel_settings(guest: &Guest) -> Vec<Sourced<Sysctl>> {
    let mut settings = Vec::new();
    let mut set = |name: &str, value: String, place: Sourced<()>| {
        let setting = place.clone().map(|()| PathBuf::from(name));
        settings.push(place.map(|()| Sysctl { setting, value: value.into_bytes() }));
    };
    if let Some(pages) = hard(guest, Resource::Shmem) {
        set("kernel/shmall", pages.value.to_string(), pages.map(|_| ()));
    }
    let (sets, semaphores) = (hard(guest, Resource::Semary), hard(guest, Resource::Nsems));
    if let Some(place) = sets.as_ref().or(semaphores.as_ref()) {
        let number = |limit: &Option<Sourced<u64>>, own: u64| limit.as_ref().map_or(own, |limit| limit.value);
        let (sets, semaphores) = (number(&sets, 32_000), number(&semaphores, 1_024_000_000));
        set("kernel/sem", format!("32000 {semaphores} 500 {sets}"), place.as_ref().map(|_| ()));
    }
    settings
}
