//! Reading `/proc/meminfo` in a guest that sees its own memory, beside the kernel's own file and Debian's lxcfs.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use vserver_bench::contestant::{configure, run, vserver};
use vserver_bench::{Bench, Layout, Outcome, Race, Setting};
use vserver_e2e::Mode;

pub const BENCH: Bench = Bench {
    name: "views",
    what: "open, read and close of /proc/meminfo in a guest (virt_mem), of the kernel, and of lxcfs",
    layouts: &[Layout::Machine],
    run: views,
};

/// The role of this program that reads, in the guest and outside.
const READER: &str = "--read-meminfo";
/// Readings for each answer.
const READINGS: u32 = 200;

/// Reads the file that the second word names [`READINGS`] times whenever a line comes in, and answers with nanoseconds.
pub fn role() -> Option<ExitCode> {
    let mut words = std::env::args_os().skip(1);
    if words.next()? != READER {
        return None;
    }
    let path = PathBuf::from(words.next()?);
    let mut text = Vec::with_capacity(16 << 10);
    for _ in std::io::stdin().lines() {
        let begin = Instant::now();
        for _ in 0..READINGS {
            text.clear();
            let read = fs::File::open(&path).and_then(|mut file| file.read_to_end(&mut text));
            if read.is_err() || !text.starts_with(b"MemTotal") {
                return Some(ExitCode::FAILURE);
            }
        }
        println!("{}", begin.elapsed().as_nanos());
    }
    Some(ExitCode::SUCCESS)
}

/// A reader that waits for lines.
struct Reader {
    child: Child,
    answers: BufReader<std::process::ChildStdout>,
}

impl Reader {
    fn new(command: &mut Command) -> Outcome<Self> {
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = child.map_err(|error| error.to_string())?;
        let answers = BufReader::new(child.stdout.take().ok_or("no pipe")?);
        Ok(Self { child, answers })
    }

    fn ask(&mut self) -> Outcome<Duration> {
        let pipe = self.child.stdin.as_mut().ok_or("no pipe")?;
        pipe.write_all(b"\n").map_err(|error| error.to_string())?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer).map_err(|error| error.to_string())?;
        answer.trim().parse().map(Duration::from_nanos).map_err(|_| format!("the reader said {answer:?}"))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        if let Err(error) = self.child.wait() {
            eprintln!("reader: {error}");
        }
    }
}

/// lxcfs on a directory of its own, until it is dropped.
struct Lxcfs {
    daemon: Child,
    place: PathBuf,
}

impl Lxcfs {
    fn start() -> Outcome<Self> {
        let place = PathBuf::from("/run/bench-lxcfs");
        fs::create_dir_all(&place).map_err(|error| error.to_string())?;
        let mut command = Command::new("lxcfs");
        command.arg("-f").arg("--pidfile=/run/bench-lxcfs.pid").arg(&place);
        let daemon = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let lxcfs = Self { daemon: daemon.map_err(|error| error.to_string())?, place };
        for _ in 0..200 {
            if lxcfs.meminfo().exists() {
                return Ok(lxcfs);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Err("lxcfs shows nothing".into())
    }

    fn meminfo(&self) -> PathBuf {
        self.place.join("proc/meminfo")
    }
}

impl Drop for Lxcfs {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(&self.place).status();
        let killed = self.daemon.kill().and_then(|()| self.daemon.wait());
        if let (Err(error), _) | (_, Err(error)) = (unmounted.map(drop), killed.map(drop)) {
            eprintln!("lxcfs: {error}");
        }
        for left in [self.place.as_path(), Path::new("/run/lxcfs")] {
            drop(fs::remove_dir_all(left));
        }
        drop(fs::remove_file("/run/bench-lxcfs.pid"));
    }
}

/// The reader and its libraries in a guest's tree.
fn plant(own: &Path, tree: &Path) -> std::io::Result<()> {
    let needs = Command::new("ldd").arg(own).output()?.stdout;
    let needs = String::from_utf8_lossy(&needs).into_owned();
    for library in needs.split_whitespace().filter(|word| word.starts_with('/')) {
        let to = tree.join(library.trim_start_matches('/'));
        fs::create_dir_all(to.parent().unwrap_or(tree))?;
        fs::copy(library, to)?;
    }
    fs::copy(own, tree.join("reader")).map(drop)
}

fn views(setting: &Setting) -> Outcome {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let reader = |path: &Path| {
        let mut command = Command::new(&own);
        command.arg(READER).arg(path);
        command
    };
    let mut race = Race::new(format!("{READINGS} times open, read and close of /proc/meminfo"));
    let mut guests = Vec::new();
    for (mode, xid) in [(Mode::Shifted, 2901), (Mode::Classic, 2902)] {
        let name = format!("views-{}", mode.word());
        configure(&name, mode, xid, &["/bin/sleep", "1000000"], "plain");
        let tree = Path::new("/vservers").join(&name);
        fs::write(format!("/etc/vservers/{name}/cflags"), "virt_mem\n").map_err(|error| error.to_string())?;
        plant(&own, &tree).map_err(|error| error.to_string())?;
        run(&mut vserver(&[name.as_str(), "start"]))?;
        let mut inside = Reader::new(&mut vserver(&[&name, "exec", "/reader", READER, "/proc/meminfo"]))?;
        race.entry(mode.word(), move || inside.ask());
        guests.push(name);
    }
    let mut kernel = Reader::new(&mut reader(Path::new("/proc/meminfo")))?;
    race.entry("kernel", move || kernel.ask());
    let lxcfs = Lxcfs::start();
    match &lxcfs {
        Ok(lxcfs) => {
            let mut through = Reader::new(&mut reader(&lxcfs.meminfo()))?;
            race.entry("lxcfs", move || through.ask());
        }
        Err(why) => race.left_out("lxcfs", why.clone()),
    }
    let results = race.run(setting.rounds);
    for name in guests {
        run(&mut vserver(&[name.as_str(), "stop"]))?;
    }
    results.print(&["shifted", "classic"]);
    for ours in ["shifted", "classic"] {
        if let Some(ratio) = results.ratio("lxcfs", ours) {
            println!("  lxcfs / {ours}: {:.1} ({:.1} … {:.1})", ratio.median, ratio.lower, ratio.upper);
        }
    }
    Ok(())
}
