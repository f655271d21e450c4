//! `cargo xtask vm`: the end-to-end trials, and the tests near the kernel, on stock Debian kernels.
//!
//! A machine of QEMU, emulated and so without need of KVM, boots the kernel of a Debian package on a pure cgroup v2
//! host. Its userland is either *minimal* (PID 1 is a shell script, the root is the building machine's tree under a
//! layer of its own) or *systemd* (Debian 12 on a disk). What trials print comes back as it is printed, is kept in
//! `target/vm/KERNEL-USERLAND/`, and becomes ordinary results: a line for each test, all failures at the end.

mod initramfs;
mod job;
mod kernel;
mod machine;
mod results;
mod suite;
mod userland;

use crate::shell::{Outcome, has_program, is_root, target};
use job::{Job, Report};
use kernel::{GENERATIONS, Generation, Kernel};
use std::fs;
use std::path::Path;
use std::str::FromStr;
use std::sync::Mutex;
use std::time::Duration;
use suite::{Suite, Test};
use userland::Userland;

/// Programs of the building machine, and the packages that bring them.
const NEEDED: &[(&str, &str)] = &[
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("/usr/lib/qemu/virtiofsd", "qemu-system-common"),
    ("depmod", "kmod"),
    ("mke2fs", "e2fsprogs"),
    ("mmdebstrap", "mmdebstrap"),
    ("xz", "xz-utils"),
    ("zstd", "zstd"),
    ("busybox", "busybox-static"),
    ("setpriv", "util-linux"),
];

/// What was asked for.
#[derive(Default)]
struct Ask {
    /// Kernels of the backports, too.
    long: bool,
    /// Each test on one of two machines at least, not everything on each.
    share: bool,
    /// A share of chosen tests only.
    brief: bool,
    /// Only this kernel.
    kernel: Option<String>,
    /// Only this userland.
    userland: Option<String>,
    /// A shell command in place of the trials.
    command: Option<String>,
    /// Words of a machine's kernel command line beside our own, as `lsm=landlock,bpf`.
    append: String,
    /// Processors of a machine.
    processors: Option<u8>,
    /// Memory of a machine, MiB.
    memory: Option<u32>,
    /// Machines at a time.
    machines: Option<u8>,
    /// Trials at a time.
    threads: Option<u8>,
    /// How long a machine may take.
    minutes: Option<u32>,
    /// Words that narrow the trials down.
    filters: Vec<String>,
}

fn parse(words: &[String]) -> Result<Ask, String> {
    let mut ask = Ask::default();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut value = || words.next().cloned().ok_or_else(|| format!("{word} wants a value"));
        match word.as_str() {
            "--long" => ask.long = true,
            "--share" => ask.share = true,
            "--brief" => (ask.share, ask.brief) = (true, true),
            "--kernel" => ask.kernel = Some(value()?),
            "--userland" => ask.userland = Some(value()?),
            "--command" => ask.command = Some(value()?),
            "--append" => ask.append = value()?,
            "--memory" => ask.memory = Some(number(word, &value()?)?),
            "--processors" => ask.processors = Some(number(word, &value()?)?),
            "--threads" => ask.threads = Some(number(word, &value()?)?),
            "--minutes" => ask.minutes = Some(number(word, &value()?)?),
            "--machines" => ask.machines = Some(number(word, &value()?)?),
            _ if word.starts_with('-') => return Err(format!("no option named {word}")),
            _ => ask.filters.push(word.clone()),
        }
    }
    Ok(ask)
}

fn number<N: FromStr>(option: &str, text: &str) -> Result<N, String> {
    text.parse().map_err(|_| format!("{option} wants a number, not {text:?}"))
}

impl Ask {
    /// The machines that are asked for: kernel, and whether systemd runs it.
    fn machines(&self) -> Result<Vec<(Generation, bool)>, String> {
        if self.share {
            // The oldest with nothing around it, the other as servers run it.
            return Ok(GENERATIONS.iter().copied().zip([false, true]).collect());
        }
        let kernels: Vec<Generation> = match &self.kernel {
            Some(name) => GENERATIONS.iter().copied().filter(|one| one.name == name).collect(),
            None => GENERATIONS.iter().copied().filter(|one| self.long || !one.long).collect(),
        };
        if kernels.is_empty() {
            let names: Vec<&str> = GENERATIONS.iter().map(|one| one.name).collect();
            return Err(format!("--kernel is one of {}", names.join(", ")));
        }
        let userlands: &[bool] = match self.userland.as_deref() {
            // One machine is enough for a command.
            None if self.command.is_some() => &[false],
            None => &[false, true],
            Some("minimal") => &[false],
            Some("systemd") => &[true],
            Some(other) => return Err(format!("no userland {other:?}: minimal or systemd")),
        };
        Ok(kernels.iter().flat_map(|kernel| userlands.iter().map(|userland| (*kernel, *userland))).collect())
    }

    /// Whether this one of the machines is to run: tests can be shared out among more of them.
    fn has(&self, generation: Generation, has_systemd: bool) -> bool {
        let word = if has_systemd { "systemd" } else { "minimal" };
        self.kernel.as_deref().is_none_or(|name| name == generation.name)
            && self.userland.as_deref().is_none_or(|name| name == word)
    }
}

/// Runs what is asked for, on two machines at a time.
pub fn trials(words: &[String]) -> Outcome {
    let ask = parse(words)?;
    let machines = ask.machines()?;
    check_needs()?;
    let cache = target().join("vm");
    fs::create_dir_all(&cache).map_err(|error| format!("{}: {error}", cache.display()))?;
    let suite = if ask.command.is_none() { Some(Suite::build()?) } else { None };
    let shares = match &suite {
        Some(suite) => share(suite, &ask, &machines)?,
        None => vec![Vec::new(); machines.len()],
    };
    let mut jobs = Vec::new();
    for ((generation, has_systemd), tests) in machines.into_iter().zip(shares) {
        if !ask.has(generation, has_systemd) {
            continue;
        }
        let userland = if has_systemd { Userland::systemd(&cache)? } else { Userland::Minimal };
        let name = format!("{} {}", generation.name, userland.word());
        let directory = cache.join(name.replace(' ', "-"));
        fs::create_dir_all(&directory).map_err(|error| format!("{}: {error}", directory.display()))?;
        let kernel = Kernel::resolve(generation, &cache)?;
        let (processors, threads) = (ask.processors.unwrap_or(1), ask.threads.unwrap_or(3));
        // What CI runs must be over in its time, everything may be asked for on a busy machine.
        let minutes = ask.minutes.unwrap_or(if ask.brief { 18 } else { 180 });
        let limit = Duration::from_mins(minutes.into());
        let (append, memory_mib) = (ask.append.clone(), ask.memory.unwrap_or(2048));
        jobs.push(Job {
            name,
            kernel,
            userland,
            directory,
            tests,
            append,
            processors,
            memory_mib,
            threads,
            limit,
            patience: limit / 3,
        });
    }
    let Some(suite) = suite else {
        let command = ask.command.unwrap_or_default();
        return jobs.iter().try_for_each(|job| job.command(&command));
    };
    conclude(&run_all(&jobs, &suite, ask.machines.unwrap_or(2)))
}

/// Which machine runs what, and that its images are there.
fn share(suite: &Suite, ask: &Ask, machines: &[(Generation, bool)]) -> Result<Vec<Vec<Test>>, String> {
    let tests = if ask.brief { suite.brief() } else { suite.tests(&ask.filters) };
    if tests.is_empty() {
        return Err(format!("no test is named like {}", ask.filters.join(" ")));
    }
    suite.make_images(&tests)?;
    if ask.share {
        let has_systemd: Vec<bool> = machines.iter().map(|(_, has_systemd)| *has_systemd).collect();
        return Ok(suite::share_out(&tests, &has_systemd));
    }
    Ok(machines.iter().map(|_| tests.clone()).collect())
}

fn check_needs() -> Outcome {
    let there = |file: &str| if file.starts_with('/') { Path::new(file).exists() } else { has_program(file) };
    let missing: Vec<&str> =
        NEEDED.iter().filter(|(file, _)| !there(file)).map(|(_, package)| *package).collect();
    if !missing.is_empty() {
        return Err(format!("please run: apt-get install {}", missing.join(" ")));
    }
    if is_root() { Ok(()) } else { Err("not root: the machine could not read all files of this one".into()) }
}

/// Two machines at a time are usual: one for each processor of a builder, as a machine makes good use of one only.
fn run_all(jobs: &[Job], suite: &Suite, at_a_time: u8) -> Vec<Report> {
    let waiting = Mutex::new(jobs.iter());
    let reports = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..at_a_time.max(1) {
            scope.spawn(|| {
                loop {
                    let Some(job) = waiting.lock().expect("nobody panics").next() else { break };
                    let report = job.run(suite);
                    reports.lock().expect("nobody panics").push(report);
                }
            });
        }
    });
    let mut reports = reports.into_inner().expect("nobody panics");
    reports.sort_by_key(|report| jobs.iter().position(|job| job.name == report.name));
    reports
}

/// Prints all failures with their words, a line for each machine, and one about all.
fn conclude(reports: &[Report]) -> Outcome {
    let mut failed = 0;
    for report in reports {
        for (test, outcome) in report.results.outcomes() {
            if let results::Outcome::Failed(words) = outcome {
                eprintln!(
                    "\n---- {}: {} {} ----\n{}",
                    report.name,
                    test.program,
                    test.name,
                    words.trim_end()
                );
                failed += 1;
            }
        }
        if let Some(trouble) = &report.trouble {
            eprintln!("\n---- {} ----\n{trouble}", report.name);
            failed += 1;
        }
    }
    eprintln!();
    for report in reports {
        let count = |kind: fn(&results::Outcome) -> bool| {
            report.results.outcomes().values().filter(|outcome| kind(outcome)).count()
        };
        eprintln!(
            "vm {}: {} passed, {} failed, {} ignored in {} s, {} s of processor time; log: {}",
            report.name,
            count(|outcome| *outcome == results::Outcome::Passed),
            count(|outcome| matches!(outcome, results::Outcome::Failed(_))),
            count(|outcome| matches!(outcome, results::Outcome::Ignored(_))),
            report.took.as_secs(),
            report.used.as_secs(),
            report.directory.join("log").display()
        );
    }
    if failed == 0 { Ok(()) } else { Err(format!("{failed} failures")) }
}
