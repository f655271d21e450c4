//! `vserver-stat`: one line for every context, with columns that scripts know byte for byte.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use serde::Serialize;
use vserver_model::Layout;
use vserver_run::record;

use crate::context::Names;
use crate::processes::{self, Process};
use crate::report::{Exit, Failure};
use crate::table::{Call, Command, Complete, JSON, Opt, PLAIN_EXITS, Reading};
use crate::verb::stop::no_operands;

/// The table entry.
pub static COMMAND: Command = Command {
    name: "vserver-stat",
    summary: "shows what every running guest uses",
    synopsis: &["[-O|--sort KEY] [--xids] [--json]"],
    options: &[
        Opt::with(&["-O", "--sort"], "KEY", Complete::Nothing, "accepted and ignored"),
        Opt::flag(&["--xids"], "print only the numbers of the running contexts, one a line"),
        JSON,
    ],
    manual: &[
        "One line for each context in the order of its number; context 0 is the host. PROC counts processes, VSZ and \
         RSS are the sums of their virtual and resident memory, userTIME and sysTIME what they used of the \
         processors, UPTIME the age of the oldest process.",
        "The columns are those of the original, so that scripts go on working.",
        "vserver-stat --xids takes the place of listing the numbers in /proc/virtual, which cannot exist on an \
         ordinary kernel; the same tree stands in /run/vserver/virtual.",
    ],
    exits: PLAIN_EXITS,
    examples: &[(
        "for xid in $(vserver-stat --xids); do vnamespace -e $xid -- cat /proc/mounts; done",
        "look at every guest's mounts",
    )],
    error_code: 1,
    reading: Reading::Options,
    operand: Complete::Nothing,
    run,
};

/// The sums of one context.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
struct Sum {
    xid: u32,
    name: String,
    processes: u64,
    vsz_bytes: u64,
    rss_bytes: u64,
    user_ms: u64,
    system_ms: u64,
    uptime_ms: u64,
}

fn run(call: &mut Call) -> Result<Exit, Failure> {
    no_operands(call)?;
    if call.given.has("--xids") {
        for xid in Names::read(&call.layout).numbers() {
            call.out.line(xid.to_string())?;
        }
        return Ok(Exit::OK);
    }
    let lines = sums(&call.layout)?;
    if call.given.has("--json") {
        call.out.json(&lines.into_iter().map(|(sum, _)| sum).collect::<Vec<_>>())?;
        return Ok(Exit::OK);
    }
    print_lines(call, &lines)?;
    Ok(Exit::OK)
}

/// The table as it is without options, for other commands.
pub fn print(call: &mut Call) -> Result<(), Failure> {
    let lines = sums(&call.layout)?;
    print_lines(call, &lines)
}

/// What every context uses, and its name.
fn sums(layout: &Layout) -> Result<Vec<(Sum, OsString)>, Failure> {
    let up_ms = u64::try_from(vserver_kernel::proc::uptime().as_millis()).unwrap_or(u64::MAX);
    let (processes, names) = look(layout)?;
    let mut sums: BTreeMap<u32, Sum> = names.numbers().map(|xid| (xid, Sum::default())).collect();
    let units = Units::ask();
    for process in processes {
        units.add(sums.entry(names.xid_of(process.guest.as_deref())).or_default(), &process, up_ms);
    }
    let mut lines = Vec::with_capacity(sums.len());
    for (xid, mut sum) in sums {
        let name = if xid == 0 { OsString::from("root server") } else { names.name_of(xid) };
        sum.xid = xid;
        sum.name = name.to_string_lossy().into_owned();
        lines.push((sum, name));
    }
    Ok(lines)
}

fn print_lines(call: &mut Call, lines: &[(Sum, OsString)]) -> Result<(), Failure> {
    call.out.line("CTX   PROC    VSZ    RSS  userTIME   sysTIME    UPTIME NAME")?;
    for (sum, name) in lines {
        let mut line = OsString::from(figures(sum));
        let mut name = name.as_bytes().to_vec();
        name.truncate(20);
        line.push(OsString::from_vec(name));
        call.out.line(line)?;
    }
    Ok(())
}

/// All processes, and the guests of which the first one is among them: nobody is looked at twice.
fn look(layout: &Layout) -> Result<(Vec<Process>, Names), Failure> {
    /// A thread is worth its while from here on.
    const MANY: usize = 100;
    let all = record::names(layout);
    let (processes, mut guests) = if all.len() < MANY {
        (processes::scan(layout), record::briefs(layout, &all))
    } else {
        std::thread::scope(|scope| {
            let guests = scope.spawn(|| record::briefs(layout, &all));
            (processes::scan(layout), guests.join().expect("a reader of records does not panic"))
        })
    };
    let processes = processes.map_err(Failure::of)?;
    let alive: HashMap<i32, u64> = processes
        .iter()
        .filter(|process| !matches!(process.stat.state, b'Z' | b'X'))
        .map(|process| (process.stat.pid, process.stat.start_ticks))
        .collect();
    guests.retain(|guest| alive.get(&guest.init.pid) == Some(&guest.init.start_ticks));
    Ok((processes, Names::of(guests.into_iter())))
}

/// The line up to the name.
fn figures(sum: &Sum) -> String {
    format!(
        "{:<5}{:>5}{:>7}{:>7}{:>10}{:>10}{:>10} ",
        sum.xid,
        sum.processes,
        size(sum.vsz_bytes),
        size(sum.rss_bytes),
        time(sum.user_ms),
        time(sum.system_ms),
        time(sum.uptime_ms)
    )
}

/// How the kernel counts.
struct Units {
    page_bytes: u64,
    ticks_per_second: u64,
}

impl Units {
    fn ask() -> Self {
        Self {
            page_bytes: rustix::param::page_size() as u64,
            ticks_per_second: rustix::param::clock_ticks_per_second().max(1),
        }
    }

    fn add(&self, sum: &mut Sum, process: &Process, up_ms: u64) {
        let ms = |ticks: u64| ticks.saturating_mul(1000) / self.ticks_per_second;
        sum.processes += 1;
        sum.vsz_bytes = sum.vsz_bytes.saturating_add(process.stat.size_bytes);
        sum.rss_bytes =
            sum.rss_bytes.saturating_add(process.stat.resident_pages.saturating_mul(self.page_bytes));
        sum.user_ms += ms(process.stat.user_ticks);
        sum.system_ms += ms(process.stat.system_ticks);
        sum.uptime_ms = sum.uptime_ms.max(up_ms.saturating_sub(ms(process.stat.start_ticks)));
    }
}

/// A size in at most six characters and its unit: divided by 1024 while it has four digits, one decimal, cut off.
fn size(bytes: u64) -> String {
    const UNITS: &[u8] = b" KMGT+";
    let (mut whole, mut tenths, mut unit) = (bytes, 0, 0);
    while whole >= 1000 {
        tenths = whole % 1024 * 10 / 1024;
        whole /= 1024;
        unit += 1;
    }
    let unit = char::from(UNITS[unit.min(UNITS.len() - 1)]);
    if tenths == 0 { format!("{whole}{unit}") } else { format!("{whole}.{tenths}{unit}") }
}

/// A time in the two or three largest units that it has.
fn time(ms: u64) -> String {
    let (seconds, hundredths) = (ms / 1000, ms % 1000 / 10);
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    if days > 998_001 {
        "INVALID".to_owned()
    } else if days >= 1000 {
        format!("{}y{:02}d{:02}", days / 365, days % 365, hours % 24)
    } else if days >= 1 {
        format!("{days}d{:02}h{:02}", hours % 24, minutes % 60)
    } else if hours >= 1 {
        format!("{hours}h{:02}m{:02}", minutes % 60, seconds % 60)
    } else {
        format!("{minutes}m{:02}s{hundredths:02}", seconds % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400_000;

    #[test]
    fn the_columns_are_those_of_the_reference() {
        let sum = Sum {
            xid: 105,
            processes: 5,
            vsz_bytes: 11 * 1024 * 1024 + 7 * 1024 * 1024 / 10 + 1024,
            rss_bytes: 3 * 1024 * 1024 + 512 * 1024,
            user_ms: 450,
            system_ms: 95,
            uptime_ms: 3_605_000,
            ..Sum::default()
        };
        assert_eq!(figures(&sum), "105      5  11.7M   3.5M   0m00s45   0m00s09   1h00m05 ");
        let sum = Sum {
            xid: 40_000,
            processes: 12,
            vsz_bytes: 999,
            rss_bytes: 0,
            user_ms: DAY - 1000,
            system_ms: DAY,
            uptime_ms: 1105 * DAY,
            ..Sum::default()
        };
        assert_eq!(figures(&sum), "40000   12   999      0   23h59m59   1d00h00   3y10d00 ");
    }

    #[test]
    fn sizes_have_one_cut_off_decimal() {
        for (bytes, text) in [
            (0, "0 "),
            (999, "999 "),
            (1000, "0.9K"),
            (1024, "1K"),
            (1024 * 999, "999K"),
            (97_800_000, "93.2M"),
            (1 << 40, "1T"),
            (1 << 50, "1+"),
        ] {
            assert_eq!(size(bytes), text, "{bytes}");
        }
    }

    #[test]
    fn times_change_their_form_at_hours_days_and_years() {
        for (ms, text) in [
            (0, "0m00s00"),
            (45, "0m00s04"),
            (61_070, "1m01s07"),
            (3_599_999, "59m59s99"),
            (3_600_000, "1h00m00"),
            (DAY * 999, "999d00h00"),
            (DAY * 1000, "2y270d00"),
            (DAY * 998_002, "INVALID"),
        ] {
            assert_eq!(time(ms), text, "{ms}");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_field_never_breaks_its_column(bytes: u64, ms in 0..DAY * 364_999) {
            proptest::prop_assert!(size(bytes).len() <= 6);
            proptest::prop_assert!(time(ms).len() <= 10);
        }
    }
}
