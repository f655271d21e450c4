//! What an idle guest costs in memory.

use std::collections::BTreeMap;
use std::fs;

use vserver_bench::fleet::Fleet;
use vserver_bench::{Bench, Layout, Outcome, Setting, Spread};
use vserver_e2e::Mode;

pub const BENCH: Bench = Bench {
    name: "memory",
    what: "our processes and the kernel's memory per idle guest, at 200 guests",
    layouts: Layout::ALL,
    run: memory,
};

/// Guests at once.
const GUESTS: usize = 200;
/// How often they are started and stopped: the kernel's figures are the whole machine's, and noisy.
const TIMES: usize = 5;

/// What of `/proc/meminfo` grows with guests and is nobody's private page.
const KERNEL: [&str; 5] = ["Slab", "KernelStack", "PageTables", "Percpu", "Shmem"];

fn memory(setting: &Setting) -> Outcome {
    let guests = GUESTS.min(setting.guests);
    let count = f64::from(u32::try_from(guests).map_err(|error| error.to_string())?);
    for mode in [Mode::Shifted, Mode::Classic] {
        let mut series: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        for _ in 0..TIMES {
            let mut fleet = Fleet::new(mode);
            // The first one makes what all share.
            fleet.grow(1)?;
            let before = meminfo()?;
            fleet.grow(guests + 1)?;
            let after = meminfo()?;
            let mut note = |what: &str, kib: f64| series.entry(what.to_owned()).or_default().push(kib);
            let mut kernel = 0.0;
            for name in KERNEL {
                let each = (after[name] - before[name]) / count;
                kernel += each;
                note(name, each);
            }
            let mut ours = 0.0;
            for whose in ["guard", "init"] {
                let pss: Outcome<Vec<f64>> =
                    (1..=guests).map(|number| pss(Fleet::pid(number, whose)?)).collect();
                let mean = pss?.iter().sum::<f64>() / count;
                ours += mean;
                note(&format!("PSS of the {whose}"), mean);
            }
            note("guard and init", ours);
            note("kernel", kernel);
            note("all", kernel + ours);
            fleet.stop()?;
        }
        println!("\nKiB per idle {} guest at {guests} guests ({TIMES} times; init is our stub)", mode.word());
        println!("  {:<24}{:>9}{:>9}{:>9}", "", "min", "median", "quarter");
        for (what, values) in &series {
            let Spread { min, median, upper, .. } = Spread::of(values);
            println!("  {what:<24}{min:>9.1}{median:>9.1}{upper:>9.1}");
        }
    }
    Ok(())
}

/// Names and KiB.
fn meminfo() -> Outcome<BTreeMap<String, f64>> {
    let text = fs::read_to_string("/proc/meminfo").map_err(|error| error.to_string())?;
    let line = |line: &str| {
        let (name, rest) = line.split_once(':')?;
        Some((name.to_owned(), rest.split_whitespace().next()?.parse().ok()?))
    };
    let mut found: BTreeMap<String, f64> = text.lines().filter_map(line).collect();
    for name in KERNEL {
        // Percpu came with Linux 4.19.
        found.entry(name.to_owned()).or_insert(0.0);
    }
    Ok(found)
}

/// Proportional set size in KiB.
fn pss(pid: u32) -> Outcome<f64> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    let value = text.lines().find_map(|line| line.strip_prefix("Pss:"));
    let value = value.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    value.ok_or_else(|| format!("{path}: no Pss"))
}
