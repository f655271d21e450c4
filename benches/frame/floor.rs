//! The floor: what the kernel itself asks for a guest, with nothing around it.
//!
//! One process makes the control groups, clones a child with the namespaces of a guest, puts it into the groups while
//! the child mounts the tree, `/proc`, `/dev` with its nodes, `/dev/pts` and `/tmp` and leaves the old root; then the
//! child executes the program. No configuration, no record, no rights, no guard, nothing looked at: the least that a
//! start can cost. It is a program of its own, like every contestant, and finds the hierarchies among its words.

use std::ffi::CString;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use rustix::fs::{FileType, Mode, makedev, mkdirat, mknodat, symlinkat};
use vserver_kernel::Fault;
use vserver_kernel::cgroup::Hierarchies;
use vserver_kernel::mount::{self, Attributes, NewFs, Propagation, Recursion, TargetKind};
use vserver_kernel::ns::Namespaces;
use vserver_kernel::process::Pidfd;
use vserver_kernel::sys::{self, CloneArgs, Forked};

use crate::Outcome;

/// The first word of the role.
pub const ROLE: &str = "--floor";

/// How the floor ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Waits for the program and removes the groups.
    Wait,
    /// Leaves it running; only `remove` takes it away.
    Leave,
    /// Kills what was left running, and removes the groups.
    Remove,
}

impl End {
    fn word(self) -> &'static str {
        match self {
            Self::Wait => "wait",
            Self::Leave => "leave",
            Self::Remove => "remove",
        }
    }
}

/// How the first process gets into the version 1 groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// It goes by itself, through the file `tasks`, which waits for nobody.
    Itself,
    /// It is moved by a write to `cgroup.procs`, as other tools do, while it is busy with its mounts.
    Moved,
}

/// The command that does it: `--floor END WAY TREE GROUP… -- PROGRAM`.
///
/// # Errors
/// No hierarchy is found.
pub fn command(end: End, way: Way, tree: &Path, group: &str, program: &[&str]) -> Outcome<Command> {
    let mut command = Command::new("/proc/self/exe");
    let way = if way == Way::Itself { "itself" } else { "moved" };
    command.arg(ROLE).arg(end.word()).arg(way).arg(tree);
    let hierarchies = Hierarchies::discover().map_err(|fault| fault.to_string())?;
    // The cgroup2 first, as the child is cloned into it.
    let mut all: Vec<_> = hierarchies.iter().collect();
    all.sort_by_key(|hierarchy| !hierarchy.is_v2());
    for hierarchy in all {
        let point = hierarchy.mount_point().ok_or("a hierarchy is not mounted")?;
        command.arg(point.join(group));
    }
    command.arg("--").args(program);
    Ok(command)
}

/// Plays the role, if that is asked for.
pub fn role() -> Option<ExitCode> {
    let mut words = std::env::args_os().skip(1);
    if words.next()? != ROLE {
        return None;
    }
    let end = words.next()?;
    let way = if words.next()? == "itself" { Way::Itself } else { Way::Moved };
    let tree = PathBuf::from(words.next()?);
    let groups: Vec<PathBuf> = words.by_ref().take_while(|word| word != "--").map(PathBuf::from).collect();
    let program: Vec<CString> = words.filter_map(|word| CString::new(word.as_bytes()).ok()).collect();
    let done =
        if end == "remove" { remove(&groups) } else { start(&tree, &groups, &program, way, end == "wait") };
    Some(match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("floor: {failure}");
            ExitCode::FAILURE
        }
    })
}

fn text(fault: &Fault) -> String {
    format!("{fault}: {}", std::error::Error::source(fault).map(ToString::to_string).unwrap_or_default())
}

fn start(tree: &Path, groups: &[PathBuf], program: &[CString], way: Way, wait: bool) -> Outcome {
    let io = |error: std::io::Error| error.to_string();
    for group in groups {
        fs::create_dir_all(group).map_err(io)?;
        for item in ["cpuset.cpus", "cpuset.mems"] {
            let file = group.join(item);
            if let (true, Some(above)) = (file.exists(), group.parent()) {
                fs::write(&file, fs::read(above.join(item)).map_err(io)?).map_err(io)?;
            }
        }
    }
    let (cgroup2, others) = groups.split_first().ok_or("no group")?;
    let cgroup2 = mount::open_directory(cgroup2).map_err(|fault| text(&fault))?;
    let tasks = |group: &PathBuf| fs::OpenOptions::new().write(true).open(group.join("tasks"));
    let doors: Vec<File> = match way {
        Way::Itself => others.iter().map(tasks).collect::<Result<_, _>>().map_err(io)?,
        Way::Moved => Vec::new(),
    };
    let (go_in, mut go_out) = std::io::pipe().map_err(io)?;
    let (mut ready_in, ready_out) = std::io::pipe().map_err(io)?;
    let namespaces = Namespaces::MOUNT
        .with(Namespaces::PID)
        .with(Namespaces::UTS)
        .with(Namespaces::IPC)
        .with(Namespaces::CGROUP);
    let args = CloneArgs { namespaces, into_cgroup: Some(cgroup2.as_fd()), sibling: false };
    let Forked::Parent { pid, pidfd } = sys::clone3(&args).map_err(|fault| text(&fault))? else {
        drop((go_out, ready_in));
        let entered = doors.iter().try_for_each(|mut door| door.write_all(b"0"));
        let entered = entered.map_err(|error| Fault::new("write(2)", "tasks", error));
        let fault = match entered.and_then(|()| settle(tree)) {
            Ok(()) => {
                if way == Way::Moved {
                    let mut go = File::from(OwnedFd::from(go_in));
                    drop(go.read_exact(&mut [0]));
                }
                let root = mount::open_directory("/")
                    .map(|root| sys::execveat(root.as_fd(), &program[0], program, &[]));
                root.unwrap_or_else(|fault| fault)
            }
            Err(fault) => fault,
        };
        drop(File::from(OwnedFd::from(ready_out)).write_all(text(&fault).as_bytes()));
        sys::exit_now(1)
    };
    drop((go_in, ready_out));
    for group in others.iter().filter(|_| way == Way::Moved) {
        fs::write(group.join("cgroup.procs"), pid.to_string()).map_err(io)?;
    }
    if way == Way::Moved {
        go_out.write_all(b"g").map_err(io)?;
    }
    let mut said = String::new();
    ready_in.read_to_string(&mut said).map_err(io)?;
    if !said.is_empty() {
        return Err(said);
    }
    if wait {
        Pidfd::from(pidfd).wait(None).map_err(|fault| text(&fault))?;
        return remove_directories(groups);
    }
    Ok(())
}

fn settle(tree: &Path) -> Result<(), Fault> {
    mount::make_slave("/", Recursion::All)?;
    let root = mount::clone_tree(rustix::fs::CWD, tree, Recursion::All)?;
    root.set(&Attributes::new().propagation(Propagation::Private), Recursion::All)?;
    root.attach_at(mount::open_directory("/")?.as_fd())?;
    let at = |path: &str| mount::target_in_root_strict(root.as_fd(), path, TargetKind::Directory);
    NewFs::new("proc").create()?.attach_at(at("/proc")?.as_fd())?;
    let dev = NewFs::new("tmpfs").option("mode", "755").create()?;
    let refused = |errno| Fault::new("mknodat(2)", "a node", errno);
    for (name, major, minor) in
        [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)]
    {
        let mode = Mode::from_raw_mode(0o666);
        mknodat(&dev, name, FileType::CharacterDevice, mode, makedev(major, minor)).map_err(refused)?;
    }
    for name in ["pts", "shm"] {
        mkdirat(&dev, name, Mode::from_raw_mode(0o755)).map_err(refused)?;
    }
    for (name, target) in [("ptmx", "pts/ptmx"), ("fd", "/proc/self/fd")] {
        symlinkat(target, &dev, name).map_err(refused)?;
    }
    dev.attach_at(at("/dev")?.as_fd())?;
    NewFs::new("devpts").flag("newinstance").create()?.attach_at(at("/dev/pts")?.as_fd())?;
    NewFs::new("tmpfs").option("mode", "1777").create()?.attach_at(at("/tmp")?.as_fd())?;
    mount::pivot_into(root.as_fd())
}

fn remove(groups: &[PathBuf]) -> Outcome {
    let cgroup2 = groups.first().ok_or("no group")?;
    let processes = fs::read_to_string(cgroup2.join("cgroup.procs")).map_err(|error| error.to_string())?;
    let processes: Vec<Pidfd> =
        processes.lines().filter_map(|pid| Pidfd::open(pid.parse().ok()?).ok()).collect();
    fs::write(cgroup2.join("cgroup.kill"), "1").map_err(|error| error.to_string())?;
    for process in processes {
        process.wait_end(None).map_err(|fault| text(&fault))?;
    }
    remove_directories(groups)
}

fn remove_directories(groups: &[PathBuf]) -> Outcome {
    for group in groups {
        // The last process may still be on its way out of the group.
        let mut tries = 0;
        while let Err(error) = fs::remove_dir(group) {
            if tries == 1000 {
                return Err(format!("{}: {error}", group.display()));
            }
            tries += 1;
            std::thread::sleep(std::time::Duration::from_micros(100));
        }
    }
    Ok(())
}
