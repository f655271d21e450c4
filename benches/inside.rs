//! What programs cost inside a guest, against the host: the same program with the same libraries on both sides.

use std::fs;
use std::hint::black_box;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use vserver_bench::contestant::{run, vserver};
use vserver_bench::{Bench, Layout, Outcome, Race, Setting};
use vserver_e2e::Mode;

pub const BENCH: Bench = Bench {
    name: "inside",
    what: "getpid, open, fork, exec, page fault, pipe and a compile in a guest against the host",
    layouts: &[Layout::Machine],
    run: inside,
};

/// Where the probe stands: its name, and the guest with its flags; nothing for the host.
const SIDES: [(&str, Option<(Mode, &str)>); 5] = [
    ("host", None),
    ("shifted", Some((Mode::Shifted, ""))),
    ("shifted ~netif", Some((Mode::Shifted, "~hide_netif\n"))),
    ("classic", Some((Mode::Classic, ""))),
    ("classic ~netif", Some((Mode::Classic, "~hide_netif\n"))),
];

const DEEDS: [&str; 7] = ["getpid", "open", "fork", "exec", "fault", "pipe", "compile"];

fn inside(setting: &Setting) -> Outcome {
    let mut probes = Vec::new();
    let mut guests = Vec::new();
    for (number, (name, guest)) in SIDES.into_iter().enumerate() {
        let Some((mode, flags)) = guest else {
            make("inside-host", 400, Mode::Classic, "").map_err(|error| error.to_string())?;
            probes.push((name, Probe::new(&mut host_command())?));
            continue;
        };
        let guest = format!("inside-{number}");
        make(&guest, 400 + number, mode, flags).map_err(|error| format!("{guest}: {error}"))?;
        run(&mut vserver(&[&guest, "start"]))?;
        guests.push(guest.clone());
        probes.push((name, Probe::new(&mut vserver(&[&guest, "exec", "/probe", PROBE]))?));
    }
    for deed in DEEDS {
        let mut race = Race::new(format!("inside: {deed}, {}", what(deed)));
        for (name, probe) in &mut probes {
            race.entry(*name, || probe.ask(deed));
        }
        race.run(setting.rounds * 2).print(&["shifted", "shifted ~netif", "classic", "classic ~netif"]);
    }
    drop(probes);
    for file in ["/tmp/bench.c", "/tmp/bench.o"] {
        fs::remove_file(file).map_err(|error| format!("{file}: {error}"))?;
    }
    guests.iter().try_for_each(|guest| run(&mut vserver(&[guest, "stop"])))
}

fn host_command() -> Command {
    let mut command = Command::new("/vservers/inside-host/probe");
    command.arg(PROBE).current_dir("/tmp");
    command
}

/// A guest whose programs are the host's own, shown read-only.
fn make(name: &str, xid: usize, mode: Mode, flags: &str) -> std::io::Result<()> {
    let (tree, configuration) = (Path::new("/vservers").join(name), Path::new("/etc/vservers").join(name));
    for directory in ["usr", "dev", "etc", "proc", "sys", "run", "tmp", "var"] {
        fs::create_dir_all(tree.join(directory))?;
    }
    for link in ["bin", "sbin", "lib", "lib64"] {
        symlink(format!("usr/{link}"), tree.join(link))?;
    }
    fs::copy(std::env::current_exe()?, tree.join("probe"))?;
    fs::create_dir_all(configuration.join("apps/init"))?;
    fs::create_dir_all(configuration.join("spaces"))?;
    fs::write(configuration.join("context"), format!("{xid}\n"))?;
    fs::write(
        configuration.join("fstab"),
        "none /proc proc defaults 0 0\nnone /tmp tmpfs size=64m,mode=1777 0 0\n\
         none /dev/pts devpts gid=5,mode=620 0 0\n/usr /usr none bind,ro 0 0\n",
    )?;
    fs::write(configuration.join("apps/init/style"), "\n")?;
    fs::write(configuration.join("apps/init/cmd.start"), "/bin/true\n")?;
    fs::write(configuration.join("flags"), format!("persistent\n{flags}"))?;
    if mode == Mode::Shifted {
        fs::write(configuration.join("spaces/user"), "")?;
    }
    symlink(&tree, configuration.join("vdir"))?;
    symlink(format!("/var/run/vservers/{name}"), configuration.join("run"))
}

/// A probe that runs, on one side.
struct Probe {
    child: Child,
    answers: BufReader<std::process::ChildStdout>,
}

impl Probe {
    fn new(command: &mut Command) -> Outcome<Self> {
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = child.map_err(|error| error.to_string())?;
        let answers = BufReader::new(child.stdout.take().ok_or("no pipe")?);
        Ok(Self { child, answers })
    }

    fn ask(&mut self, deed: &str) -> Outcome<Duration> {
        let pipe = self.child.stdin.as_mut().ok_or("no pipe")?;
        pipe.write_all(format!("{deed}\n").as_bytes()).map_err(|error| error.to_string())?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer).map_err(|error| error.to_string())?;
        match answer.trim().parse() {
            Ok(nanoseconds) => Ok(Duration::from_nanos(nanoseconds)),
            Err(_) => Err(format!("{deed}: the probe said {answer:?}")),
        }
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        // The end of its input ends it.
        drop(self.child.stdin.take());
        if let Err(error) = self.child.wait() {
            eprintln!("probe: {error}");
        }
    }
}

const PROBE: &str = "--probe";
const NOTHING: &str = "--nothing";
const ECHO: &str = "--echo";

/// The probe itself: a deed a line on the standard input, nanoseconds on the standard output.
pub fn role() -> Option<ExitCode> {
    let word = std::env::args_os().nth(1)?;
    if word == NOTHING {
        return Some(ExitCode::SUCCESS);
    }
    if word == ECHO {
        return Some(if echo().is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    if word != PROBE {
        return None;
    }
    for line in std::io::stdin().lines() {
        let answer = line.map_err(|error| error.to_string()).and_then(|deed| {
            let begun = Instant::now();
            do_deed(&deed).map(|()| begun.elapsed().as_nanos())
        });
        match answer {
            Ok(nanoseconds) => println!("{nanoseconds}"),
            Err(failure) => println!("{failure}"),
        }
    }
    Some(ExitCode::SUCCESS)
}

fn what(deed: &str) -> &'static str {
    match deed {
        "getpid" => "100,000 times",
        "open" => "10,000 times, and close",
        "fork" => "100 times by a shell, and wait",
        "exec" => "20 times, and wait",
        "fault" => "16,384 pages of fresh memory",
        "pipe" => "2,000 letters there and back between two processes",
        _ => "a C file of 200 functions with -O1",
    }
}

fn do_deed(deed: &str) -> Outcome {
    let io = |error: std::io::Error| error.to_string();
    match deed {
        "getpid" => (0..100_000).for_each(|_| {
            black_box(rustix::process::getpid());
        }),
        "open" => {
            for _ in 0..10_000 {
                fs::File::open("/dev/null").map_err(io)?;
            }
        }
        "fork" => {
            // A shell's, as clone3(2) is not for every guest.
            let line = "i=0; while [ $i -lt 100 ]; do (:); i=$((i+1)); done";
            Command::new("/bin/dash").args(["-c", line]).status().map_err(io)?;
        }
        "exec" => {
            for _ in 0..20 {
                Command::new("/proc/self/exe").arg(NOTHING).status().map_err(io)?;
            }
        }
        "fault" => {
            let mut memory = vec![0_u8; 16_384 * 4096];
            memory.iter_mut().step_by(4096).for_each(|byte| *byte = 1);
            black_box(&memory);
        }
        "pipe" => ping_pong().map_err(io)?,
        "compile" => compile()?,
        other => return Err(format!("no deed {other:?}")),
    }
    Ok(())
}

fn ping_pong() -> std::io::Result<()> {
    let mut child =
        Command::new("/proc/self/exe").arg(ECHO).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let gone = || std::io::Error::from(std::io::ErrorKind::BrokenPipe);
    let mut there = child.stdin.take().ok_or_else(gone)?;
    let mut back = child.stdout.take().ok_or_else(gone)?;
    let mut letter = [0];
    for _ in 0..2000 {
        there.write_all(&letter)?;
        back.read_exact(&mut letter)?;
    }
    drop(there);
    child.wait().map(drop)
}

/// Gives back letter by letter what comes in.
fn echo() -> std::io::Result<()> {
    // Without the buffers of the standard streams.
    let (input, output) = (rustix::stdio::stdin(), rustix::stdio::stdout());
    let mut letter = [0];
    while rustix::io::read(input, &mut letter)? > 0 {
        rustix::io::write(output, &letter)?;
    }
    Ok(())
}

fn compile() -> Outcome {
    let source = Path::new("/tmp/bench.c");
    if !source.exists() {
        let function = |n: u32| {
            format!(
                "int f{n}(int a, int b) {{ int s = {n}; for (int i = 0; i < a; i++) s += i * b; return s; }}\n"
            )
        };
        fs::write(source, (0..200).map(function).collect::<String>()).map_err(|error| error.to_string())?;
    }
    let output = Command::new("/usr/bin/gcc")
        .args(["-O1", "-c", "/tmp/bench.c", "-o", "/tmp/bench.o"])
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .output()
        .map_err(|error| format!("gcc: {error}"))?;
    if output.status.success() {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).replace('\n', " "))
    }
}
