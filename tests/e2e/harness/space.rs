//! What a trial finds around itself: PID 1 of its space furnishes it and cleans up behind the body.

use crate::{leak, place, trial};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_bind, mount_change};
use rustix::process::{WaitId, WaitIdOptions, WaitOptions, getpid, wait, waitid};
use std::env;
use std::fs::{self, File};
use std::io;
use std::panic;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::thread;
use std::time::Duration;

/// Directories of the host that every trial has for itself, and what they are called in the trial's directory.
const PRIVATE: &[(&str, &str)] = &[
    ("/etc/vservers", "etc"),
    ("/vservers", "vservers"),
    ("/var/cache/vservers", "cache"),
    ("/var/log/vservers", "consoles"),
];

/// The private directories as places on the host: made for a run where they are missing, and removed again.
pub struct MountPoints {
    made: Vec<PathBuf>,
    lock: Option<File>,
}

impl MountPoints {
    /// Makes those that the host lacks, as only an existing directory can be covered by a mount.
    pub fn make() -> Self {
        // Removing a directory detaches what other namespaces have mounted on it: the last run that needs them does it.
        let lock =
            File::create_new("/run/lock/vserver-e2e").or_else(|_| File::open("/run/lock/vserver-e2e")).ok();
        if let Some(Err(error)) = lock.as_ref().map(File::lock_shared) {
            eprintln!("/run/lock/vserver-e2e: {error}");
        }
        let mut made = Vec::new();
        for (path, _) in PRIVATE {
            match fs::create_dir(path) {
                Ok(()) => made.push(PathBuf::from(path)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                // Not root: every trial will say so by itself.
                Err(error) => eprintln!("{path}: {error}"),
            }
        }
        Self { made, lock }
    }

    /// Removes them again, unless somebody has put anything into them in the meantime.
    pub fn remove(self) {
        let alone = self.lock.is_some_and(|lock| lock.unlock().is_ok() && lock.try_lock().is_ok());
        for path in self.made.iter().filter(|_| alone) {
            if let Err(error) = fs::remove_dir(path) {
                eprintln!("{}: {error}", path.display());
            }
        }
    }
}

/// PID 1 furnishes and watches, its child plays the body.
pub fn play_part(name: &str, wanted: &[&str], body: impl FnOnce() + panic::UnwindSafe) -> ExitCode {
    if !getpid().is_init() {
        return match panic::catch_unwind(body) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        };
    }
    if let Err(error) = furnish(name) {
        eprintln!("the space for the trial cannot be made: {error}");
        return ExitCode::FAILURE;
    }
    let before = leak::Inventory::take(&place::cgroup_top(name));
    match run_body() {
        Ok(true) => {}
        Ok(false) => return ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    }
    let leaks = before.leaks_after_settling();
    let unforeseen: Vec<&String> =
        leaks.iter().filter(|leak| !wanted.iter().any(|part| leak.starts_with(part))).collect();
    for leak in &unforeseen {
        eprintln!("left behind: {leak}");
    }
    let unseen: Vec<&&str> =
        wanted.iter().filter(|part| !leaks.iter().any(|leak| leak.starts_with(**part))).collect();
    for leak in &unseen {
        eprintln!("left behind on purpose, and not seen: {leak}");
    }
    if unforeseen.is_empty() && unseen.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Starts the body and reaps, as PID 1 must, until it has ended; tells whether it ended well.
///
/// Like systemd, which reads about a process before it collects it, this takes its time with the first process of a
/// guest: a guard that is not its parent can see how it ended for as long as it is a zombie.
fn run_body() -> io::Result<bool> {
    let child = Command::new(env::current_exe()?).spawn()?;
    loop {
        waitid(WaitId::All, WaitIdOptions::EXITED | WaitIdOptions::NOWAIT)?;
        if first_of_a_guest_has_ended() {
            thread::sleep(Duration::from_millis(50));
        }
        if let Some((pid, status)) = wait(WaitOptions::empty())?
            && u32::try_from(pid.as_raw_nonzero().get()).is_ok_and(|pid| pid == child.id())
        {
            return Ok(status.exit_status() == Some(0));
        }
    }
}

fn first_of_a_guest_has_ended() -> bool {
    fs::read_dir("/proc").into_iter().flatten().flatten().any(|process| {
        let status = fs::read_to_string(process.path().join("status")).unwrap_or_default();
        let of = |label| status.lines().find_map(|line| line.strip_prefix(label)).unwrap_or_default();
        let mut numbers = of("NSpid:").split_whitespace();
        of("State:").trim_start().starts_with('Z') && numbers.nth(1) == Some("1") && numbers.next().is_none()
    })
}

fn furnish(name: &str) -> Result<(), String> {
    debug_assert_eq!(env::var(trial::TRIAL).as_deref(), Ok(name));
    let top = place::trial(name);
    let told = |what: &Path| {
        let what = what.display().to_string();
        move |error: rustix::io::Errno| format!("{what}: {error}")
    };
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", private).map_err(told(Path::new("/")))?;
    for (path, short) in PRIVATE {
        let own = top.join(short);
        fs::create_dir_all(&own).map_err(|error| format!("{}: {error}", own.display()))?;
        mount_bind(&own, *path).map_err(told(Path::new(path)))?;
    }
    for (path, mode) in [("/run", c"mode=755"), ("/tmp", c"mode=1777")] {
        // Whoever builds under /tmp would lose the program under test.
        if !top.starts_with(path) {
            mount("e2e", path, "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, mode)
                .map_err(told(Path::new(path)))?;
        }
    }
    // The program finds its data as if it were installed.
    let local = Path::new("/usr/local/share");
    mount("e2e", local, "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, c"mode=755").map_err(told(local))?;
    let data = local.join("vserver");
    fs::create_dir(&data).map_err(|error| format!("{}: {error}", data.display()))?;
    mount_bind(place::share(), &data).map_err(told(&data))?;
    for directory in ["/run/lock", "/tmp/t"] {
        fs::create_dir_all(directory).map_err(|error| format!("{directory}: {error}"))?;
    }
    if Path::new("/sys/fs/bpf").is_dir() {
        mount("e2e", "/sys/fs/bpf", "bpf", MountFlags::empty(), None)
            .map_err(told(Path::new("/sys/fs/bpf")))?;
    }
    let up = Command::new("ip").args(["link", "set", "lo", "up"]).status();
    if up.as_ref().is_ok_and(std::process::ExitStatus::success) { Ok(()) } else { Err(format!("ip: {up:?}")) }
}
