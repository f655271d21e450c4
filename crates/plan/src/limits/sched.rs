//! `sched/` and `schedule`: the token bucket of old kernels, as bandwidth and weight.
//!
//! A bucket gets `fill-rate` tokens every `interval` ticks and loses one for each tick that the guest runs: a share of
//! `fill-rate / interval` of one processor. With the flag `sched_hard` a guest with an empty bucket waits, which is a
//! quota of processor time; otherwise, and with `idle-time`, it falls behind others, which is a weight.

use vserver_config::guest::{Guest, Sched};
use vserver_model::Sourced;

use super::translate::{Asked, Failing};
use crate::start::has_flag;

/// The period of a quota, as the kernel has it by default.
const PERIOD_US: u64 = 100_000;
/// The kernel takes no quota below this.
const LEAST_QUOTA_US: u64 = 1000;
/// One tick: 100 a second, as user space counts them.
const TICK_US: u64 = 10_000;
/// The weight of a group that nobody has given one.
const USUAL_WEIGHT: u64 = 100;

/// A share of one processor, in millionths, and the file that says so.
struct Share {
    millionths: u64,
    place: Sourced<()>,
}

fn positive(sched: &Sched, name: &str) -> Option<Sourced<u64>> {
    let value = sched.values.get(name)?;
    u64::try_from(value.value).ok().filter(|number| *number > 0).map(|number| value.as_ref().map(|_| number))
}

fn share_of(sched: &Sched) -> Option<Share> {
    let (rate, interval) = (positive(sched, "fill-rate")?, positive(sched, "interval")?);
    let millionths = rate.value.saturating_mul(1_000_000) / interval.value;
    Some(Share { millionths, place: rate.map(|_| ()) })
}

/// Of the buckets for single processors their sum, else the one for all.
fn share(guest: &Guest) -> Option<Share> {
    let single = guest.sched.iter().filter(|sched| sched.key.is_some()).filter_map(share_of);
    let sum =
        single.reduce(|sum, one| Share { millionths: sum.millionths.saturating_add(one.millionths), ..sum });
    sum.or_else(|| guest.sched.iter().find(|sched| sched.key.is_none()).and_then(share_of))
}

/// What `sched/` asks of the control group.
pub(super) fn asked(guest: &Guest) -> Vec<Asked> {
    let ask = |file: &str, value: String, place: &Sourced<()>, failing: Failing| Asked {
        file: file.into(),
        value,
        place: place.clone(),
        failing,
    };
    let mut all = Vec::new();
    let common = guest.sched.iter().find(|sched| sched.key.is_none());
    let bias = common.and_then(|sched| sched.values.get("priority-bias"));
    let idle = guest.sched.iter().any(|sched| sched.idle_time);
    let share = share(guest);
    if let (Some(share), true) = (&share, has_flag(guest, "sched_hard") && !idle) {
        let quota = (share.millionths.saturating_mul(PERIOD_US) / 1_000_000).max(LEAST_QUOTA_US);
        all.push(ask("cpu.max", format!("{quota} {PERIOD_US}"), &share.place, Failing::Fatal));
        if let Some(most) = common.and_then(|sched| positive(sched, "tokens-max")) {
            // The kernel lets a guest save up one quota at most.
            let burst = most.value.saturating_mul(TICK_US).min(quota);
            all.push(ask("cpu.max.burst", burst.to_string(), &most.map(|_| ()), Failing::Told));
        }
    }
    if let Some(bias) = bias {
        let nice = bias.value.clamp(-20, 19);
        all.push(ask("cpu.weight.nice", nice.to_string(), &bias.as_ref().map(|_| ()), Failing::Fatal));
    } else if let (Some(share), true) = (&share, idle || has_flag(guest, "sched_prio")) {
        let weight = (share.millionths.saturating_mul(USUAL_WEIGHT) / 1_000_000).clamp(1, 10_000);
        all.push(ask("cpu.weight", weight.to_string(), &share.place, Failing::Fatal));
    }
    all
}
