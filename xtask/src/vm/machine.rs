//! One machine, from power-on to its last word.

use super::initramfs::Archive;
use super::kernel::Kernel;
use crate::shell::run;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// PID 1 of the machine.
const INIT: &str = include_str!("init");

/// What is booted and done there.
pub struct Machine<'a> {
    /// The kernel.
    pub kernel: &'a Kernel,
    /// A shell script, run as root.
    pub command: &'a str,
    /// Its memory.
    pub memory_mib: u32,
    /// The size of the empty disk that takes what is written.
    pub disk_bytes: u64,
    /// After that it is switched off.
    pub limit: Duration,
}

/// How a machine has ended.
pub enum Ending {
    /// With the command's exit status.
    Status(u8),
    /// Without one: the kernel fell over, or the time was over. The end of its console.
    Silent(String),
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
    /// Boots, prints what the command prints, and waits for the end.
    pub fn run(&self) -> Result<Ending, String> {
        // A socket's name must be short, and a run may have a neighbour.
        let place = PathBuf::from(format!("/tmp/vserver-vm-{}", std::process::id()));
        drop(fs::remove_dir_all(&place));
        fs::create_dir(&place).map_err(|error| told(&place, &error))?;
        let ending = self.run_in(&place);
        fs::remove_dir_all(&place).map_err(|error| told(&place, &error))?;
        ending
    }

    fn run_in(&self, place: &Path) -> Result<Ending, String> {
        let directory = self.kernel.directory();
        let (log, console) = (directory.join("log"), directory.join("console"));
        let (status, initrd) = (place.join("status"), place.join("initrd"));
        // On the target directory's file system: /tmp may be memory.
        let disk = directory.join("disk");
        for file in [&log, &console, &disk] {
            drop(fs::remove_file(file));
        }
        fs::write(&log, "").map_err(|error| told(&log, &error))?;
        fs::write(&initrd, self.initramfs()?).map_err(|error| told(&initrd, &error))?;
        File::create_new(&disk)
            .and_then(|file| file.set_len(self.disk_bytes))
            .map_err(|error| told(&disk, &error))?;
        run(Command::new("mke2fs")
            .args(["-q", "-t", "ext4", "-O", "^has_journal", "-E", "lazy_itable_init=1,nodiscard"])
            .arg(&disk))?;
        let socket = place.join("virtiofs");
        let share = share(&socket, &place.join("virtiofs.log"))?;
        let begun = Instant::now();
        let mut machine = Helper(self.spawn(&socket, &initrd, &disk, &console, &log, &status)?);
        let ended = follow(&mut machine.0, &log, self.limit);
        drop(machine);
        drop(share);
        drop(fs::remove_file(&disk));
        let in_time = ended?;
        eprintln!("the machine ran for {} s; log: {}", begun.elapsed().as_secs(), log.display());
        let word = fs::read_to_string(&status).unwrap_or_default();
        if let Ok(status) = word.trim().parse() {
            return Ok(Ending::Status(status));
        }
        // A boot that hangs is the emulation's fault, trials that do not end are their own.
        if !in_time && fs::metadata(&log).is_ok_and(|log| log.len() > 0) {
            return Err(format!("not over after {} s", self.limit.as_secs()));
        }
        let text = String::from_utf8_lossy(&fs::read(&console).unwrap_or_default()).into_owned();
        let lines: Vec<&str> = text.lines().collect();
        Ok(Ending::Silent(lines[lines.len().saturating_sub(30)..].join("\n")))
    }

    fn initramfs(&self) -> Result<Vec<u8>, String> {
        let mut archive = Archive::default();
        for name in ["bin", "dev", "proc", "sys", "host", "vm", "new", "modules"] {
            archive.directory(name);
        }
        archive.copy("bin/busybox", Path::new("/bin/busybox"))?;
        for name in "sh cat mkdir mount chroot ln insmod poweroff ip cp sync env echo".split(' ') {
            archive.link(&format!("bin/{name}"), "busybox");
        }
        archive.program("init", INIT.as_bytes());
        archive.program("command", self.command.as_bytes());
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

    fn spawn(
        &self,
        socket: &Path,
        initrd: &Path,
        disk: &Path,
        console: &Path,
        log: &Path,
        status: &Path,
    ) -> Result<Child, String> {
        let mut qemu = Command::new("nice");
        qemu.args(["-n", "10", "qemu-system-x86_64", "-accel", "tcg,thread=multi"]);
        qemu.args(["-machine", "q35,usb=off,vmport=off,smbus=off,sata=off", "-cpu", "max", "-smp", "1"]);
        qemu.args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]);
        let memory = format!("{}M", self.memory_mib);
        qemu.args(["-m", &memory, "-numa", "node,memdev=memory"]);
        qemu.args(["-object", &format!("memory-backend-memfd,id=memory,size={memory},share=on")]);
        qemu.arg("-kernel").arg(self.kernel.image()).arg("-initrd").arg(initrd);
        // Without speculation's cures, which cost much and prove nothing here.
        qemu.args([
            "-append",
            "console=ttyS0 quiet panic=-1 mitigations=off nokaslr tsc=reliable no_timer_check audit=0",
        ]);
        qemu.args(["-chardev", &format!("file,id=console,path={}", console.display())]);
        qemu.args(["-serial", "chardev:console", "-device", "virtio-serial-pci"]);
        for (name, file) in [("log", log), ("status", status)] {
            qemu.args(["-chardev", &format!("file,id={name},path={}", file.display())]);
            qemu.args(["-device", &format!("virtserialport,chardev={name},name={name}")]);
        }
        qemu.args([
            "-object",
            "rng-random,id=rng,filename=/dev/urandom",
            "-device",
            "virtio-rng-pci,rng=rng",
        ]);
        qemu.args(["-drive", &format!("file={},if=none,id=disk,format=raw,cache=unsafe", disk.display())]);
        qemu.args(["-device", "virtio-blk-pci,drive=disk"]);
        qemu.args(["-chardev", &format!("socket,id=host,path={}", socket.display())]);
        qemu.args(["-device", "vhost-user-fs-pci,chardev=host,tag=host"]);
        qemu.stdin(Stdio::null()).spawn().map_err(|error| format!("qemu-system-x86_64: {error}"))
    }
}

/// Shows this machine's tree to the other one, which mounts it for reading only.
fn share(socket: &Path, log: &Path) -> Result<Helper, String> {
    let output = File::create_new(log).map_err(|error| told(log, &error))?;
    let child = Command::new("/usr/lib/qemu/virtiofsd")
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

/// Prints what the log gains until the machine is off; tells whether it was in time.
fn follow(machine: &mut Child, log: &Path, limit: Duration) -> Result<bool, String> {
    let mut file = File::open(log).map_err(|error| told(log, &error))?;
    let begun = Instant::now();
    let mut bytes = Vec::new();
    loop {
        let over = machine.try_wait().map_err(|error| error.to_string())?.is_some();
        bytes.clear();
        file.read_to_end(&mut bytes).map_err(|error| told(log, &error))?;
        io::stdout().write_all(&bytes).map_err(|error| format!("standard output: {error}"))?;
        if over {
            return Ok(true);
        }
        if begun.elapsed() > limit {
            return Ok(false);
        }
        thread::sleep(Duration::from_millis(100));
    }
}

fn told(path: &Path, error: &io::Error) -> String {
    format!("{}: {error}", path.display())
}
