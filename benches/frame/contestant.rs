//! Who takes part: how each tool is told to do the same things.

use std::env;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use vserver_e2e::{Guest, Image, Mode, place};
use vserver_kernel::process::wait_readable;

use crate::{Outcome, floor};

/// A tool, or a way of using it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contestant {
    /// This program, in one of its modes.
    Vserver(Mode),
    /// The least that it can cost: [`floor`].
    Floor,
    /// The same with the group moves of other tools.
    FloorMoved,
    /// crun, in the host's network like our guests.
    Crun,
    /// crun with a network namespace, as its own default is.
    CrunNet,
    /// runc, in the host's network.
    Runc,
    /// lxc, in the host's network.
    Lxc,
    /// systemd-nspawn without systemd's registration.
    Nspawn,
    /// bubblewrap, which makes no control groups.
    Bubblewrap,
}

/// How long a contestant may take for one thing.
const PATIENCE: Duration = Duration::from_secs(20);

/// Tells that it runs, then does nothing for ever.
const IDLE: [&str; 3] = ["/bin/sh", "-c", "echo > /ready; exec sleep 100000"];

impl Contestant {
    /// All, ours first.
    pub const ALL: [Self; 10] = [
        Self::Vserver(Mode::Shifted),
        Self::Vserver(Mode::Classic),
        Self::Floor,
        Self::FloorMoved,
        Self::Crun,
        Self::CrunNet,
        Self::Runc,
        Self::Lxc,
        Self::Nspawn,
        Self::Bubblewrap,
    ];

    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Vserver(Mode::Shifted) => "shifted",
            Self::Vserver(Mode::Classic) => "classic",
            Self::Floor => "floor",
            Self::FloorMoved => "floor, moved",
            Self::Crun => "crun",
            Self::CrunNet => "crun+netns",
            Self::Runc => "runc",
            Self::Lxc => "lxc",
            Self::Nspawn => "nspawn",
            Self::Bubblewrap => "bubblewrap",
        }
    }

    /// Its program and the Debian package that brings it; nothing for our own.
    fn program(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Vserver(_) | Self::Floor | Self::FloorMoved => None,
            Self::Crun | Self::CrunNet => Some(("crun", "crun")),
            Self::Runc => Some(("runc", "runc")),
            Self::Lxc => Some(("lxc-start", "lxc")),
            Self::Nspawn => Some(("systemd-nspawn", "systemd-container")),
            Self::Bubblewrap => Some(("bwrap", "bubblewrap")),
        }
    }

    /// Why it cannot take part.
    pub fn missing(self) -> Option<String> {
        let (program, package) = self.program()?;
        let path = env::var_os("PATH").unwrap_or_default();
        let there = env::split_paths(&path).any(|directory| directory.join(program).is_file());
        (!there).then(|| format!("there is no {program} (Debian package {package})"))
    }

    /// The guest's tree.
    pub fn tree(self) -> PathBuf {
        Path::new("/vservers").join(self.name())
    }

    /// Makes the tree and whatever describes the guest to the tool.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn prepare(self) -> Outcome {
        let tree = self.tree();
        match self {
            Self::Vserver(mode) => {
                configure(self.name(), mode, 105 + self.number(), &["/bin/true"], "");
                // The same tree, once more as a guest that stays.
                let idle = format!("{}-idle", self.name());
                let program = [IDLE[0], IDLE[1], "trap 'exit 0' INT; echo > /ready; sleep 100000 & wait"];
                configure(&idle, mode, 205 + self.number(), &program, "plain");
                fifo(&Path::new("/vservers").join(&idle))?;
                Guest::named(self.name(), 105).set("flags", "persistent\n");
            }
            _ => Image::Busybox.unpack(&tree),
        }
        fifo(&tree)?;
        match self {
            Self::Crun | Self::CrunNet | Self::Runc => {
                for (bundle, program) in [("once", &["/bin/true"][..]), ("idle", &IDLE[..])] {
                    self.bundle(bundle, program)?;
                }
                Ok(())
            }
            Self::Lxc => self.lxc_configuration("once", &["/bin/true"]).and_then(|()| {
                // A word with blanks cannot be written there: the payload is a script.
                let script = tree.join("idle");
                write(&script, &format!("#!/bin/sh\n{}\n", IDLE[2]))?;
                fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).map_err(|e| e.to_string())?;
                self.lxc_configuration("idle", &["/idle"])
            }),
            _ => Ok(()),
        }
    }

    fn number(self) -> u16 {
        u16::from(self == Self::Vserver(Mode::Classic))
    }

    fn id(self, what: &str) -> String {
        format!("{}-{what}", self.name().replace('+', "-"))
    }

    fn bundle(self, what: &str, program: &[&str]) -> Outcome {
        let directory = Path::new("/run/bench").join(self.id(what));
        fs::create_dir_all(&directory).map_err(|error| error.to_string())?;
        // The tool's own default, with what our guests have: no network namespace, a cgroup namespace.
        let tool = self.program().map_or("crun", |(program, _)| program);
        let status = Command::new(tool).arg("spec").current_dir(&directory).status();
        status.map_err(|error| format!("{tool} spec: {error}"))?;
        let file = directory.join("config.json");
        let text = fs::read_to_string(&file).map_err(|error| format!("{tool} spec: {error}"))?;
        let mut spec: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
        spec["process"]["args"] = json!(program);
        spec["process"]["terminal"] = json!(false);
        spec["root"] = json!({ "path": self.tree(), "readonly": false });
        if self != Self::Runc {
            // Debian 12's raises RLIMIT_MEMLOCK to load a device program, which not every machine allows: it is spared
            // that work, although our guests have one.
            spec["linux"]["resources"] = json!({});
        }
        let group = format!("{}/{}", cgroup_top(), self.id(what));
        spec["linux"]["cgroupsPath"] = json!(format!("/{group}"));
        if let Some(namespaces) = spec["linux"]["namespaces"].as_array_mut() {
            namespaces.retain(|space| self == Self::CrunNet || space["type"] != "network");
            if !namespaces.iter().any(|space| space["type"] == "cgroup") {
                namespaces.push(json!({ "type": "cgroup" }));
            }
        }
        write(&file, &spec.to_string())
    }

    fn lxc_configuration(self, what: &str, program: &[&str]) -> Outcome {
        let directory = Path::new("/run/bench/lxc").join(self.id(what));
        fs::create_dir_all(&directory).map_err(|error| error.to_string())?;
        let text = format!(
            "lxc.rootfs.path = dir:{}\nlxc.uts.name = bench\nlxc.net.0.type = none\n\
             lxc.mount.auto = proc:mixed\nlxc.autodev = 1\nlxc.pty.max = 16\nlxc.tty.max = 0\n\
             lxc.cgroup.dir = {}/lxc\nlxc.init.cmd = {}\n",
            self.tree().display(),
            cgroup_top(),
            program.join(" ")
        );
        write(&directory.join("config"), &text)
    }

    fn oci(self, words: &[&str]) -> Command {
        let tool = self.program().map_or("crun", |(program, _)| program);
        let mut command = tidy(Command::new(tool));
        command.args(["--root", &format!("/run/bench/{tool}")]);
        if self == Self::Crun || self == Self::CrunNet {
            command.args(["--cgroup-manager", "cgroupfs"]);
        }
        command.args(words);
        command
    }

    fn lxc(self, program: &str, what: &str, words: &[&str]) -> Command {
        let mut command = tidy(Command::new(program));
        command.args(["-P", "/run/bench/lxc", "-n", &self.id(what)]).args(words);
        command
    }

    fn nspawn(self, program: &[&str]) -> Command {
        let mut command = tidy(Command::new("systemd-nspawn"));
        command
            .args(["--quiet", "--register=no", "--keep-unit", "--settings=no", "--link-journal=no"])
            .args(["--timezone=off", "--resolv-conf=off", "--console=pipe", "--machine=bench"])
            .arg("--directory")
            .arg(self.tree())
            .args(program);
        command
    }

    fn bubblewrap(self, program: &[&str]) -> Command {
        let mut command = tidy(Command::new("bwrap"));
        command
            .arg("--bind")
            .arg(self.tree())
            .args(["/", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"]);
        command.args(["--unshare-pid", "--unshare-uts", "--unshare-ipc", "--unshare-cgroup"]);
        command.args(["--as-pid-1", "--die-with-parent", "--cap-add", "ALL"]).args(program);
        command
    }

    /// A guest that runs `/bin/true`, from nothing until everything is gone.
    ///
    /// # Errors
    /// A command cannot be put together.
    pub fn once(self) -> Outcome<Vec<Command>> {
        let bundle = format!("/run/bench/{}", self.id("once"));
        Ok(match self {
            Self::Vserver(_) => vec![vserver(&[self.name(), "start"]), vserver(&[self.name(), "stop"])],
            Self::Floor | Self::FloorMoved => {
                vec![tidy(floor::command(
                    floor::End::Wait,
                    self.way(),
                    &self.tree(),
                    &floor_group(),
                    &["/bin/true"],
                )?)]
            }
            Self::Crun | Self::CrunNet | Self::Runc => {
                vec![self.oci(&["run", "--bundle", &bundle, &self.id("once")])]
            }
            Self::Lxc => vec![self.lxc("lxc-start", "once", &["-F"])],
            Self::Nspawn => vec![self.nspawn(&["/bin/true"])],
            Self::Bubblewrap => vec![self.bubblewrap(&["/bin/true"])],
        })
    }

    fn way(self) -> floor::Way {
        if self == Self::FloorMoved { floor::Way::Moved } else { floor::Way::Itself }
    }

    fn start_command(self) -> Outcome<Command> {
        let bundle = format!("/run/bench/{}", self.id("idle"));
        Ok(match self {
            Self::Vserver(_) => vserver(&[&format!("{}-idle", self.name()), "start"]),
            Self::Floor | Self::FloorMoved => {
                tidy(floor::command(floor::End::Leave, self.way(), &self.tree(), &floor_group(), &IDLE)?)
            }
            Self::Crun | Self::CrunNet | Self::Runc => {
                self.oci(&["run", "--detach", "--bundle", &bundle, &self.id("idle")])
            }
            Self::Lxc => self.lxc("lxc-start", "idle", &["-d"]),
            Self::Nspawn => self.nspawn(&IDLE),
            Self::Bubblewrap => self.bubblewrap(&IDLE),
        })
    }

    /// The directory in which the guest that stays has its tree.
    fn idle_tree(self) -> PathBuf {
        match self {
            Self::Vserver(_) => Path::new("/vservers").join(format!("{}-idle", self.name())),
            _ => self.tree(),
        }
    }

    /// Starts a guest that stays, and tells how long it took until its program ran (and until the command, if it does
    /// not stay itself, had ended).
    ///
    /// # Errors
    /// It does not start in time.
    pub fn start(self) -> Outcome<(Started, Duration)> {
        let ready = self.idle_tree().join("ready");
        let ready = fs::OpenOptions::new().read(true).custom_flags(libc_nonblock()).open(&ready);
        let ready = ready.map_err(|error| format!("the pipe in the tree: {error}"))?;
        let mut command = self.start_command()?;
        let begun = Instant::now();
        let mut child = command.spawn().map_err(|error| error.to_string())?;
        if self.stays() {
            await_ready(&ready)?;
            let time = begun.elapsed();
            return Ok((Started { contestant: self, child: Some(child) }, time));
        }
        let status = child.wait().map_err(|error| error.to_string())?;
        if !status.success() {
            return Err(format!("{status}: {}", said()));
        }
        let started = Started { contestant: self, child: None };
        await_ready(&ready)?;
        Ok((started, begun.elapsed()))
    }

    /// Whether the command that starts a guest stays as long as the guest.
    fn stays(self) -> bool {
        matches!(self, Self::Nspawn | Self::Bubblewrap)
    }

    /// Runs `/bin/true` in the guest that [`start`](Self::start) has started; nothing for a tool that cannot.
    pub fn exec(self) -> Option<Command> {
        match self {
            Self::Vserver(_) => Some(vserver(&[&format!("{}-idle", self.name()), "exec", "/bin/true"])),
            Self::Crun | Self::CrunNet | Self::Runc => {
                Some(self.oci(&["exec", &self.id("idle"), "/bin/true"]))
            }
            Self::Lxc => Some(self.lxc("lxc-attach", "idle", &["--", "/bin/true"])),
            Self::Floor => {
                // util-linux's program: namespaces and nothing else, not even the groups.
                let hierarchies = vserver_kernel::cgroup::Hierarchies::discover().ok()?;
                let pid = hierarchies.group(floor_group()).processes().ok()?.into_iter().next()?;
                let mut command = tidy(Command::new("nsenter"));
                command.args([
                    "--target",
                    &pid.to_string(),
                    "--mount",
                    "--uts",
                    "--ipc",
                    "--pid",
                    "--cgroup",
                ]);
                command.args(["--root", "--wd", "/bin/true"]);
                Some(command)
            }
            Self::Nspawn | Self::Bubblewrap | Self::FloorMoved => None,
        }
    }

    fn stop_commands(self) -> Outcome<Vec<Command>> {
        Ok(match self {
            Self::Vserver(_) => vec![vserver(&[&format!("{}-idle", self.name()), "stop"])],
            Self::Floor | Self::FloorMoved => {
                vec![tidy(floor::command(floor::End::Remove, self.way(), &self.tree(), &floor_group(), &[])?)]
            }
            Self::Crun | Self::CrunNet | Self::Runc => {
                vec![self.oci(&["delete", "--force", &self.id("idle")])]
            }
            Self::Lxc => vec![self.lxc("lxc-stop", "idle", &["--kill"])],
            Self::Nspawn | Self::Bubblewrap => Vec::new(),
        })
    }
}

/// A guest that runs; taken down when dropped.
pub struct Started {
    contestant: Contestant,
    child: Option<Child>,
}

impl Started {
    /// Takes it down and tells how long that has taken.
    ///
    /// # Errors
    /// A command fails.
    pub fn stop(mut self) -> Outcome<Duration> {
        let begun = Instant::now();
        self.take_down()?;
        Ok(begun.elapsed())
    }

    fn take_down(&mut self) -> Outcome {
        if let Some(mut child) = self.child.take() {
            let pid = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw);
            let pid = pid.ok_or("a child without a number")?;
            rustix::process::kill_process(pid, rustix::process::Signal::TERM)
                .map_err(|error| error.to_string())?;
            child.wait().map_err(|error| error.to_string())?;
        }
        self.contestant.stop_commands()?.into_iter().try_for_each(|mut command| run(&mut command))
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        if self.child.is_some()
            && let Err(failure) = self.take_down()
        {
            eprintln!("{}: {failure}", self.contestant.name());
        }
    }
}

/// Removes what the other tools leave on purpose: their locks and state directories, and lxc's groups.
///
/// # Errors
/// Something cannot be removed.
pub fn tidy_up() -> Outcome {
    for directory in ["/run/bench", "/run/lxc", "/run/systemd", "/run/user"] {
        match fs::remove_dir_all(directory) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(format!("{directory}: {error}"));
            }
            _ => {}
        }
    }
    let hierarchies = vserver_kernel::cgroup::Hierarchies::discover().map_err(|fault| fault.to_string())?;
    // lxc makes its groups below that of whoever calls it.
    let own = vserver_kernel::proc::cgroups(0).map_err(|fault| fault.to_string())?;
    let places = own.iter().map(|membership| membership.path.strip_prefix("/").unwrap_or(&membership.path));
    places.chain([Path::new("")]).try_for_each(|place| {
        hierarchies.group(place.join(cgroup_top())).remove().map_err(|fault| fault.to_string())
    })
}

/// A guest of ours with its tree and configuration.
pub fn configure(name: &str, mode: Mode, xid: u16, program: &[&str], style: &'static str) {
    let guest = Guest::busybox(name, mode).xid(xid).style(style).make();
    guest.set("apps/init/cmd.start", &(program.join("\n") + "\n"));
}

/// Runs a command to its end.
///
/// # Errors
/// It ends badly: with what it said.
pub fn run(command: &mut Command) -> Outcome {
    let status = command.status().map_err(|error| format!("{command:?}: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{command:?}: {status}: {}", said())) }
}

/// Our program by one of its names.
pub fn tool<W: AsRef<OsStr>>(name: &str, words: &[W]) -> Command {
    let link = Path::new("/run/e2e/bin").join(name);
    if !link.exists() {
        fs::create_dir_all("/run/e2e/bin").expect("/run is ours");
        symlink(place::program(), &link).expect("the directory was just made");
    }
    let mut command = tidy(Command::new(link));
    command.args(words);
    command
}

/// `vserver WORDS`.
pub fn vserver<W: AsRef<OsStr>>(words: &[W]) -> Command {
    tool("vserver", words)
}

/// The control group above everybody's.
pub fn cgroup_top() -> String {
    env::var("VSERVER_CGROUP_TOP").expect("the space sets it")
}

fn floor_group() -> String {
    format!("{}/floor", cgroup_top())
}

const SAID: &str = "/run/e2e/said";

/// The same surroundings for everybody, and what is said goes to a file.
fn tidy(mut command: Command) -> Command {
    fs::create_dir_all("/run/e2e").expect("/run is ours");
    let said = File::create(SAID).expect("/run is ours");
    command
        .env_clear()
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .env("HOME", "/root")
        .env("VSERVER_CGROUP_TOP", cgroup_top())
        .current_dir("/root")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(said);
    command
}

fn said() -> String {
    let text = fs::read_to_string(SAID).unwrap_or_default();
    text.lines().map(str::trim).collect::<Vec<_>>().join("; ")
}

fn write(path: &Path, text: &str) -> Outcome {
    fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}

fn fifo(tree: &Path) -> Outcome {
    let path = tree.join("ready");
    let mode = rustix::fs::Mode::from_raw_mode(0o666);
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0)
        .and_then(|()| rustix::fs::chmod(&path, mode))
        .map_err(|error| format!("{}: {error}", path.display()))
}

fn libc_nonblock() -> i32 {
    i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).expect("a flag of open(2) is an int")
}

/// Waits until the guest's program has said that it runs.
fn await_ready(ready: &File) -> Outcome {
    use std::io::Read as _;
    use std::os::fd::AsFd as _;
    if !wait_readable(ready.as_fd(), Some(PATIENCE)).map_err(|fault| fault.to_string())? {
        return Err(format!("does not run after {} s: {}", PATIENCE.as_secs(), said()));
    }
    let mut letters = [0; 16];
    let mut pipe = ready;
    pipe.read(&mut letters).map(drop).map_err(|error| error.to_string())
}
