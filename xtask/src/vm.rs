//! `cargo xtask vm`: the end-to-end trials on stock Debian kernels and a pure cgroup v2 host.
//!
//! A machine of QEMU, emulated and so without need of KVM, boots the kernel of a Debian package and an initramfs of one
//! program. Its root is the building machine's, read through virtiofs, under a fresh ext4 that takes what is written;
//! the program under test and all that trials make lie on that ext4. What trials print is seen as it comes and kept in
//! `target/vm/`, the status of the harness comes back as the machine's last word.

mod initramfs;
mod kernel;
mod machine;

use crate::shell::{Duties, Outcome, cargo, has_program, is_root, run, target};
use kernel::Kernel;
use machine::{Ending, Machine};
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

/// The packages that stand for a kernel generation; each depends on the newest kernel of it.
const KERNELS: &[&str] = &["linux-image-cloud-amd64", "linux-image-6.12-cloud-amd64"];

/// Programs of the building machine, and the packages that bring them.
const NEEDED: &[(&str, &str)] = &[
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("/usr/lib/qemu/virtiofsd", "qemu-system-common"),
    ("depmod", "kmod"),
    ("mke2fs", "e2fsprogs"),
    ("xz", "xz-utils"),
    ("zstd", "zstd"),
    ("busybox", "busybox-static"),
];

/// What was asked for.
struct Ask {
    /// Debian guests, too.
    long: bool,
    /// Only kernels with this in their package's name.
    kernel: Option<String>,
    /// A shell command in place of the trials.
    command: Option<String>,
    /// Words that narrow the trials down.
    filters: Vec<String>,
}

fn parse(words: &[String]) -> Result<Ask, String> {
    let mut ask = Ask { long: false, kernel: None, command: None, filters: Vec::new() };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut value = || words.next().cloned().ok_or_else(|| format!("{word} wants a value"));
        match word.as_str() {
            "--long" => ask.long = true,
            "--kernel" => ask.kernel = Some(value()?),
            "--command" => ask.command = Some(value()?),
            _ if word.starts_with('-') => return Err(format!("no option named {word}")),
            _ => ask.filters.push(word.clone()),
        }
    }
    Ok(ask)
}

/// Runs the trials on each kernel, one machine at a time.
pub fn trials(words: &[String]) -> Outcome {
    let ask = parse(words)?;
    check_needs()?;
    run(&mut cargo(&["build", "--locked", "--quiet", "--package", "vserver"]))?;
    let harness = build_harness()?;
    let kernels: Vec<&&str> = KERNELS
        .iter()
        .filter(|package| ask.kernel.as_ref().is_none_or(|part| package.contains(part.as_str())))
        .collect();
    if kernels.is_empty() {
        return Err(format!("none of {} is asked for", KERNELS.join(", ")));
    }
    let mut duties = Duties::new();
    for package in kernels {
        duties.attempt(package, || on_kernel(package, &ask, &harness));
    }
    duties.conclude("vm")
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

/// Builds the trials' program and tells where cargo put it.
fn build_harness() -> Result<PathBuf, String> {
    let words = [
        "test",
        "--locked",
        "--quiet",
        "--package",
        "vserver-e2e",
        "--test",
        "e2e",
        "--no-run",
        "--message-format=json",
    ];
    let output =
        cargo(&words).stderr(Stdio::inherit()).output().map_err(|error| format!("cargo: {error}"))?;
    if !output.status.success() {
        return Err(format!("the end-to-end trials do not build: {}", output.status));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines()
        .filter_map(|line| Some(line.split_once("\"executable\":\"")?.1.split_once('"')?.0))
        .next_back()
        .map(PathBuf::from)
        .ok_or_else(|| "cargo does not tell where the end-to-end trials are".to_owned())
}

fn on_kernel(package: &str, ask: &Ask, harness: &Path) -> Outcome {
    let directory = target().join("vm");
    fs::create_dir_all(&directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    let kernel = Kernel::resolve(package, &directory)?;
    eprintln!("{}", kernel.package());
    let command = ask.command.clone().unwrap_or_else(|| trials_command(ask, harness));
    let machine = Machine {
        kernel: &kernel,
        command: &command,
        memory_mib: 1536,
        disk_bytes: 8 << 30,
        limit: if ask.long { Duration::from_hours(1) } else { Duration::from_mins(40) },
    };
    let ending = match machine.run()? {
        // Emulation is not perfect: a kernel that fell over gets a second chance, a failed trial does not.
        Ending::Silent(tail) => {
            eprintln!("{}: no exit status, once more; end of the console:\n{tail}", kernel.package());
            machine.run()?
        }
        ending @ Ending::Status(_) => ending,
    };
    match ending {
        Ending::Status(0) => Ok(()),
        Ending::Status(status) => Err(format!("exit status {status} on {}", kernel.package())),
        Ending::Silent(tail) => {
            Err(format!("no exit status on {}; end of the console:\n{tail}", kernel.package()))
        }
    }
}

/// The trials look for the program under test and for images beside themselves, as cargo puts them.
fn trials_command(ask: &Ask, harness: &Path) -> String {
    let program = harness.parent().and_then(Path::parent).unwrap_or(harness).join("vserver");
    let mut lines = vec![
        "set -e".to_owned(),
        "mkdir -p /vm/target/debug/deps /vm/target/fixtures".to_owned(),
        format!("cp {} /vm/target/debug/vserver", quoted(&program)),
        format!("cp {} /vm/target/debug/deps/e2e", quoted(harness)),
    ];
    let images = target().join("fixtures");
    // The attacker of the escape trials: what an earlier run built here need not be built under emulation.
    lines.push(format!("cp {}/probe-* /vm/target/fixtures/ 2>/dev/null || true", quoted(&images)));
    lines.push(format!("PATH=$PATH:{}", quoted(Path::new(&env::var("PATH").unwrap_or_default()))));
    if ask.long {
        lines.push(format!("cp {}/*.tar /vm/target/fixtures/", quoted(&images)));
    }
    // What a stock kernel of these generations must have is required: a trial that is left out would be a lie.
    lines.push("export E2E_REQUIRE=root,user-namespaces,id-map,cgroups,sys-resource".to_owned());
    lines.push("export E2E_SLOWNESS=5".to_owned());
    lines.push(format!("export E2E_FILTER='{}'", ask.filters.join(" ").replace('\'', "")));
    lines.push("exec /vm/target/debug/deps/e2e --test-threads=2".to_owned());
    lines.join("\n")
}

fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', "'\\''"))
}
