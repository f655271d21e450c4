//! One machine, from power-on to its last word.

use super::initramfs::Archive;
use super::kernel::Kernel;
use super::userland::Userland;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// PID 1 of the machine.
const INIT: &str = include_str!("init");

/// What every kernel is told: without the cures of processors' speculation, which cost much and prove nothing here.
const COMMAND_LINE: &str =
    "console=ttyS0 quiet panic=-1 mitigations=off nokaslr tsc=reliable no_timer_check audit=0";

/// What is booted and done there.
pub struct Machine<'a> {
    /// The kernel.
    pub kernel: &'a Kernel,
    /// What runs on it; with systemd, the file of its root, which keeps what is written.
    pub userland: &'a Userland,
    /// Where log and console are kept.
    pub directory: &'a Path,
    /// Words of the kernel's command line beside our own.
    pub append: &'a str,
    /// Processors. More than one makes short-lived processes slower under emulation, not faster.
    pub processors: u8,
    /// Its memory.
    pub memory_mib: u32,
    /// After that it is switched off.
    pub limit: Duration,
    /// A machine that has said nothing for so long hangs.
    pub patience: Duration,
}

/// How a machine has ended.
pub enum Ending {
    /// With the command's exit status.
    Status(u8),
    /// Without one: the kernel fell over or hangs. The end of its console.
    Silent(String),
    /// The time was over.
    Late,
}

/// How it was seen to end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Watched {
    /// By itself.
    Over,
    /// It was still busy when the time was over.
    Late,
    /// It has said nothing for too long.
    Hangs,
}

/// What QEMU opens, or reads.
struct Files<'a> {
    socket: &'a Path,
    initrd: &'a Path,
    disk: &'a Path,
    console: &'a Path,
    log: &'a Path,
    status: &'a Path,
}

/// A process that ends with its owner.
struct Helper(Child);

impl Drop for Helper {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

impl Machine<'_> {
    /// Boots, runs a shell script as root, hands on what it prints (with the processor time that the machine had used
    /// until then), and waits for the end.
    pub fn run(&self, script: &str, mut output: impl FnMut(&[u8], Duration)) -> Result<Ending, String> {
        // A socket's name must be short, and a run may have neighbours.
        let place = tempfile::Builder::new()
            .prefix("vserver-vm-")
            .tempdir_in("/tmp")
            .map_err(|error| told(Path::new("/tmp"), &error))?;
        self.run_in(place.path(), script, &mut output)
    }

    fn run_in(
        &self,
        place: &Path,
        script: &str,
        output: &mut dyn FnMut(&[u8], Duration),
    ) -> Result<Ending, String> {
        let (log, console) = (self.directory.join("log"), self.directory.join("console"));
        let (status, initrd) = (place.join("status"), place.join("initrd"));
        // What earlier boots of a run have said stays.
        let opened = File::options().create(true).append(true).open(&log);
        let said = opened.and_then(|file| file.metadata()).map_err(|error| told(&log, &error))?.len();
        fs::write(&initrd, self.initramfs(script)?).map_err(|error| told(&initrd, &error))?;
        let disk = self.userland.disk(self.directory)?;
        let socket = place.join("virtiofs");
        let share = share(&socket, &place.join("virtiofs.log"))?;
        let files = Files {
            socket: &socket,
            initrd: &initrd,
            disk: &disk,
            console: &console,
            log: &log,
            status: &status,
        };
        let mut machine = Helper(self.spawn(&files)?);
        let ended = self.follow(&mut machine.0, &log, said, output);
        drop(machine);
        drop(share);
        let outcome = ended?;
        let word = fs::read_to_string(&status).unwrap_or_default();
        if let Ok(status) = word.trim().parse() {
            return Ok(Ending::Status(status));
        }
        if outcome == Watched::Late {
            return Ok(Ending::Late);
        }
        let text = String::from_utf8_lossy(&fs::read(&console).unwrap_or_default()).into_owned();
        let lines: Vec<&str> = text.lines().collect();
        let mut end = lines[lines.len().saturating_sub(30)..].join("\n");
        if outcome == Watched::Hangs {
            write!(end, "\n(switched off: it has said nothing for {} s)", self.patience.as_secs())
                .expect("memory takes all that is written");
        }
        Ok(Ending::Silent(end))
    }

    /// Hands on what the log gains, behind what it had, until the machine is off or is to be switched off.
    fn follow(
        &self,
        machine: &mut Child,
        log: &Path,
        said: u64,
        output: &mut dyn FnMut(&[u8], Duration),
    ) -> Result<Watched, String> {
        let mut file = File::open(log).map_err(|error| told(log, &error))?;
        file.seek(SeekFrom::Start(said)).map_err(|error| told(log, &error))?;
        let begun = Instant::now();
        let mut heard = begun;
        let mut bytes = Vec::new();
        loop {
            let over = machine.try_wait().map_err(|error| error.to_string())?.is_some();
            bytes.clear();
            file.read_to_end(&mut bytes).map_err(|error| told(log, &error))?;
            if !bytes.is_empty() {
                heard = Instant::now();
                output(&bytes, processor_time(machine.id()));
            }
            if over {
                return Ok(Watched::Over);
            }
            if begun.elapsed() > self.limit {
                return Ok(Watched::Late);
            }
            if heard.elapsed() > self.patience {
                return Ok(Watched::Hangs);
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    fn initramfs(&self, script: &str) -> Result<Vec<u8>, String> {
        let mut archive = Archive::default();
        for name in ["bin", "dev", "proc", "sys", "host", "vm", "new", "modules"] {
            archive.directory(name);
        }
        archive.copy("bin/busybox", Path::new("/bin/busybox"))?;
        for name in
            "sh cat mkdir mount umount chroot ln insmod poweroff ip cp sync env echo switch_root".split(' ')
        {
            archive.link(&format!("bin/{name}"), "busybox");
        }
        archive.program("init", INIT.as_bytes());
        archive.program("command", script.as_bytes());
        archive.program("userland", self.userland.word().as_bytes());
        let mut order = String::new();
        for (number, module) in self.kernel.boot_modules()?.iter().enumerate() {
            let name = format!("{number:02}.ko");
            archive.copy(&format!("modules/{name}"), module)?;
            writeln!(order, "{name}").expect("memory takes all that is written");
        }
        archive.program("modules/order", order.as_bytes());
        let tree = self.kernel.modules();
        let tree = tree.canonicalize().map_err(|error| told(&tree, &error))?;
        archive.program("modules/tree", tree.display().to_string().as_bytes());
        Ok(archive.finish())
    }

    fn spawn(&self, files: &Files) -> Result<Child, String> {
        let mut qemu = dying_with_us("qemu-system-x86_64");
        qemu.args(["-accel", "tcg,thread=multi"]);
        qemu.args(["-machine", "q35,usb=off,vmport=off,smbus=off,sata=off", "-cpu", "max"]);
        qemu.args(["-smp", &self.processors.to_string()]);
        qemu.args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]);
        let memory = format!("{}M", self.memory_mib);
        qemu.args(["-m", &memory, "-numa", "node,memdev=memory"]);
        qemu.args(["-object", &format!("memory-backend-memfd,id=memory,size={memory},share=on")]);
        qemu.arg("-kernel").arg(self.kernel.image()).arg("-initrd").arg(files.initrd);
        qemu.args(["-append", &format!("{COMMAND_LINE} {}", self.append)]);
        qemu.args(["-chardev", &format!("file,id=console,path={},append=on", files.console.display())]);
        qemu.args(["-serial", "chardev:console", "-device", "virtio-serial-pci"]);
        for (name, file) in [("log", files.log), ("status", files.status)] {
            qemu.args(["-chardev", &format!("file,id={name},path={},append=on", file.display())]);
            qemu.args(["-device", &format!("virtserialport,chardev={name},name={name}")]);
        }
        qemu.args([
            "-object",
            "rng-random,id=rng,filename=/dev/urandom",
            "-device",
            "virtio-rng-pci,rng=rng",
        ]);
        qemu.args([
            "-drive",
            &format!("file={},if=none,id=disk,format=raw,cache=unsafe", files.disk.display()),
        ]);
        qemu.args(["-device", "virtio-blk-pci,drive=disk"]);
        qemu.args(["-chardev", &format!("socket,id=host,path={}", files.socket.display())]);
        qemu.args(["-device", "vhost-user-fs-pci,chardev=host,tag=host"]);
        qemu.stdin(Stdio::null()).spawn().map_err(|error| format!("qemu-system-x86_64: {error}"))
    }
}

/// A program that is killed when the thread ends that starts it: a run that is broken off leaves no machine behind.
fn dying_with_us(program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", program]);
    command
}

/// Shows this machine's tree to the other one, which mounts it for reading only.
fn share(socket: &Path, log: &Path) -> Result<Helper, String> {
    let output = File::create_new(log).map_err(|error| told(log, &error))?;
    let child = dying_with_us("/usr/lib/qemu/virtiofsd")
        .arg(format!("--socket-path={}", socket.display()))
        .args(["-o", "source=/", "-o", "cache=always", "-o", "sandbox=chroot"])
        .stdin(Stdio::null())
        .stdout(output.try_clone().map_err(|error| told(log, &error))?)
        .stderr(output)
        .spawn()
        .map_err(|error| format!("virtiofsd: {error}"))?;
    let mut helper = Helper(child);
    for _ in 0..500 {
        if socket.exists() {
            return Ok(helper);
        }
        if let Ok(Some(status)) = helper.0.try_wait() {
            return Err(format!(
                "virtiofsd ended with {status}: {}",
                fs::read_to_string(log).unwrap_or_default()
            ));
        }
        thread::sleep(Duration::from_millis(20));
    }
    Err("virtiofsd makes no socket".to_owned())
}

/// What a process has used of processors until now: on a busy builder a better measure than the clock.
fn processor_time(process: u32) -> Duration {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // User and system time are the 14th and 15th word, in hundredths of a second; the name may contain blanks.
    let words = text.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
    Duration::from_millis(words.filter_map(|word| word.parse::<u64>().ok()).sum::<u64>() * 10)
}

fn told(path: &Path, error: &io::Error) -> String {
    format!("{}: {error}", path.display())
}
