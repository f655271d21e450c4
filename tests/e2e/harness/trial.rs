//! Registration of trials, and their life seen from outside.

use crate::command::ended_within;
use crate::{Image, Mode, Need, leak, place, probe, space};
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use std::env;
use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Names the trial to a process that plays a part in it.
pub const TRIAL: &str = "E2E_TRIAL";

/// One story, told once per mode.
pub struct Spec {
    name: &'static str,
    body: fn(Mode),
    modes: &'static [Mode],
    needs: Vec<Need>,
    images: Vec<Image>,
    patience: Duration,
    host_network: bool,
    classic_needs: Vec<Need>,
    on_the_host: bool,
    pending: Option<&'static str>,
    leaves: &'static [&'static str],
}

impl Spec {
    /// A story of a busybox guest, told in both modes as `name::shifted` and `name::classic`.
    pub fn new(name: &'static str, body: fn(Mode)) -> Self {
        Self {
            name,
            body,
            modes: &[Mode::Shifted, Mode::Classic],
            needs: vec![Need::Root, Need::Cgroups],
            images: vec![Image::Busybox],
            patience: Duration::from_mins(2),
            host_network: false,
            classic_needs: Vec::new(),
            on_the_host: false,
            pending: None,
            leaves: &[],
        }
    }

    /// A story in which the mode plays no part: told once, as `name`.
    #[must_use]
    pub fn once(mut self) -> Self {
        self.modes = &[];
        self
    }

    /// The mode does matter, and only this one fits.
    #[must_use]
    pub fn only(mut self, modes: &'static [Mode]) -> Self {
        self.modes = modes;
        self
    }

    /// Asks for more of the machine.
    #[must_use]
    pub fn needs(mut self, needs: &[Need]) -> Self {
        self.needs.extend(needs);
        self
    }

    /// Asks for more of the machine when told in the classic mode.
    #[must_use]
    pub fn classic_needs(mut self, needs: &[Need]) -> Self {
        self.classic_needs.extend(needs);
        self
    }

    /// The program cannot do this yet, for that reason: ignored, unless `E2E_PENDING` is set.
    #[must_use]
    pub fn pending(mut self, reason: &'static str) -> Self {
        self.pending = Some(reason);
        self
    }

    /// Leaves exactly these behind (beginnings of what the leak check prints): the harness's test of itself.
    #[must_use]
    pub fn leaves(mut self, leaks: &'static [&'static str]) -> Self {
        self.leaves = leaks;
        self
    }

    /// May take that long instead of two minutes.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Uses another image, too.
    #[must_use]
    pub fn image(mut self, image: Image) -> Self {
        if image != Image::Busybox {
            self.needs.push(Need::Archive);
            self.patience = self.patience.max(Duration::from_mins(5));
        }
        self.images.push(image);
        self
    }

    /// Runs with the host's network, to reach an archive. No guest may be stopped in such a trial: its shutdown
    /// scripts would be let loose on the host's network.
    #[must_use]
    pub fn host_network(mut self) -> Self {
        self.host_network = true;
        self.needs.push(Need::Network);
        self.patience = self.patience.max(Duration::from_mins(10));
        self
    }

    /// Runs on the host itself, without a space of its own and without the leak check: for a machine that is thrown away.
    #[must_use]
    pub fn on_the_host(mut self, need: Need) -> Self {
        self.on_the_host = true;
        self.needs.push(need);
        self.patience = self.patience.max(Duration::from_mins(5));
        self
    }

    fn name(&self, mode: Option<Mode>) -> String {
        mode.map_or_else(|| self.name.to_owned(), |mode| format!("{}::{}", self.name, mode.word()))
    }

    /// Every telling of it.
    fn tellings(&self) -> Vec<(String, Option<Mode>)> {
        if self.modes.is_empty() {
            return vec![(self.name(None), None)];
        }
        self.modes.iter().map(|mode| (self.name(Some(*mode)), Some(*mode))).collect()
    }

    fn trials(&self) -> Vec<Trial> {
        self.tellings().into_iter().map(|(name, mode)| self.trial(name, mode)).collect()
    }

    fn trial(&self, name: String, mode: Option<Mode>) -> Trial {
        let mut needs = self.needs.clone();
        if mode == Some(Mode::Shifted) {
            needs.extend([Need::UserNamespaces, Need::IdMap]);
        } else if mode == Some(Mode::Classic) {
            needs.extend(&self.classic_needs);
        }
        let pending = self.pending.filter(|_| env::var_os("E2E_PENDING").is_none());
        let images = self.images.clone();
        let room = Room { host_network: self.host_network, on_the_host: self.on_the_host };
        let patience = slowly(self.patience);
        Trial::ignorable_test(name.clone(), move || {
            if let Some(reason) = pending {
                return Ok(Completion::ignored_with(format!("pending: {reason}")));
            }
            for need in needs {
                // An image that was made before is as good as the archive.
                if need == Need::Archive && images.iter().all(|image| image.is_made()) {
                    continue;
                }
                match need.missing() {
                    Some(what) if need.is_required() => {
                        return Err(format!("this machine lacks {what}").into());
                    }
                    Some(what) => return Ok(Completion::ignored_with(format!("needs {what}"))),
                    None => {}
                }
            }
            for image in images {
                image.make()?;
            }
            play(&name, patience, room)
        })
    }
}

/// Where a trial is played.
#[derive(Clone, Copy)]
struct Room {
    host_network: bool,
    on_the_host: bool,
}

/// The whole program: plays its part in a trial when it was started for one, else runs the trials asked for.
pub fn run(specs: &[Spec]) -> ExitCode {
    if let Some(name) = env::var_os(TRIAL) {
        let found =
            specs.iter().flat_map(|spec| spec.tellings().into_iter().map(move |telling| (spec, telling)));
        for (spec, (telling, mode)) in found {
            if *name == *telling {
                // A trial told once may still ask for a mode; the shifted one is what `build` makes.
                return space::play_part(&telling, spec.leaves, move || {
                    (spec.body)(mode.unwrap_or(Mode::Shifted));
                });
            }
        }
        eprintln!("no trial named {}", name.display());
        return ExitCode::FAILURE;
    }
    // Exactly these: a machine's share of all (`cargo xtask vm`).
    let only = env::var("E2E_ONLY").ok();
    let only: Option<Vec<&str>> = only.as_ref().map(|names| names.split_whitespace().collect());
    let chosen = |name: &str| only.as_ref().is_none_or(|only| only.contains(&name));
    if env::var_os("E2E_IMAGES_ONLY").is_some() {
        return make_images(specs, chosen);
    }
    let arguments = Arguments::from_args();
    let mount_points = (!arguments.list).then(space::MountPoints::make);
    let before = leak::bpf_programs();
    // The harness library takes one filter; `cargo xtask e2e` has room for several.
    let wanted = env::var("E2E_FILTER").unwrap_or_default();
    let wanted: Vec<&str> = wanted.split_whitespace().collect();
    let trials = specs.iter().flat_map(Spec::trials);
    let trials =
        trials.filter(|trial| wanted.is_empty() || wanted.iter().any(|part| trial.name().contains(part)));
    let trials = trials.filter(|trial| chosen(trial.name()));
    let conclusion = libtest_mimic::run(&arguments, trials.collect());
    if let Some(mount_points) = mount_points {
        mount_points.remove();
    }
    let left = leak::new_bpf_programs(&before);
    if !left.is_empty() {
        eprintln!("error: after all trials there are more BPF programs than before: {left:?}");
        return ExitCode::FAILURE;
    }
    conclusion.exit_code()
}

/// Makes what the chosen trials need, to be carried to a machine without a way to the archive.
fn make_images(specs: &[Spec], chosen: impl Fn(&str) -> bool) -> ExitCode {
    let wanted = specs.iter().filter(|spec| spec.tellings().iter().any(|(name, _)| chosen(name)));
    for image in wanted.flat_map(|spec| &spec.images) {
        if let Err(error) = image.make() {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    }
    probe::build_all();
    ExitCode::SUCCESS
}

/// How long something may take here that takes up to `usual` on an ordinary machine. `E2E_SLOWNESS` is the factor:
/// emulated machines have no hurry.
pub fn slowly(usual: Duration) -> Duration {
    usual * env::var("E2E_SLOWNESS").ok().and_then(|word| word.parse().ok()).unwrap_or(1)
}

/// Waits until it is so: a minute of an ordinary machine. A false answer costs a pause of 20 ms.
///
/// # Panics
///
/// When it has not become so by then.
#[track_caller]
pub fn soon(what: &str, mut so: impl FnMut() -> bool) {
    let until = Instant::now() + slowly(Duration::from_mins(1));
    while !so() {
        assert!(Instant::now() < until, "never came true: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Starts the space of a trial, waits, and shows what was printed if it went wrong.
fn play(name: &str, patience: Duration, room: Room) -> Result<Completion, Failed> {
    let directory = place::trial(name);
    clear(&directory)?;
    let log = directory.join("log");
    let output = File::create_new(&log).map_err(|error| format!("{}: {error}", log.display()))?;
    let mut child = spawn(name, room, &output)?;
    let status = ended_within(&mut child, patience).map_err(|error| error.to_string())?;
    if status.is_none() {
        // `--kill-child`: PID 1 of the space dies with it, and the space with PID 1.
        drop(child.kill());
        drop(child.wait());
    }
    leak::remove_cgroups(&place::cgroup_top(name));
    let said = String::from_utf8_lossy(&fs::read(&log).unwrap_or_default()).into_owned();
    match status {
        Some(status) if status.success() => {
            // What a trial counts is told, whatever became of it.
            for line in said.lines().filter_map(|line| line.strip_prefix("== ")) {
                eprintln!("{name}: {line}");
            }
            // Kept on failure, to look at; a success leaves no megabytes behind.
            clear(&directory)?;
            fs::remove_dir(&directory).map_err(|error| format!("{}: {error}", directory.display()))?;
            Ok(Completion::Completed)
        }
        Some(status) => Err(format!("{status}\n{said}").into()),
        None => Err(format!("not over after {} s\n{said}", patience.as_secs()).into()),
    }
}

/// Empties a trial's directory. Guest trees may hold what only `rm` has the stamina for.
fn clear(directory: &Path) -> Result<(), Failed> {
    let removed = Command::new("rm").args(["-rf", "--one-file-system"]).arg(directory).status();
    if !removed.as_ref().is_ok_and(std::process::ExitStatus::success) {
        return Err(format!("{} cannot be emptied: {removed:?}", directory.display()).into());
    }
    fs::create_dir_all(directory).map_err(|error| format!("{}: {error}", directory.display()).into())
}

fn spawn(name: &str, room: Room, output: &File) -> Result<Child, Failed> {
    let end = || output.try_clone().map(Stdio::from).map_err(|error| Failed::from(error.to_string()));
    let own = env::current_exe().map_err(|error| error.to_string())?;
    let mut command = if room.on_the_host { Command::new(&own) } else { unshared(&own, room.host_network) };
    if !room.on_the_host {
        command.env("VSERVER_CGROUP_TOP", place::cgroup_top(name));
    }
    command
        .env(TRIAL, name)
        .env("RUST_BACKTRACE", "0")
        .env_remove("VSERVER_PREFIX")
        .stdin(Stdio::null())
        .stdout(end()?)
        .stderr(end()?)
        // A signal from the terminal ends the harness; the space follows through `--kill-child`.
        .process_group(0)
        .spawn()
        .map_err(|error| format!("{}: {error}", command.get_program().display()).into())
}

/// The program as PID 1 of new namespaces.
fn unshared(program: &Path, host_network: bool) -> Command {
    let mut command = Command::new("unshare");
    command.args([
        "--mount",
        "--propagation",
        "private",
        "--pid",
        "--fork",
        "--kill-child",
        "--mount-proc",
        "--ipc",
    ]);
    if !host_network {
        command.arg("--net");
    }
    command.arg(program);
    command
}
