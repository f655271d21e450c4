//! Stock kernels, from their Debian packages.

use crate::shell::{Outcome, run};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What the machine needs before it can read the building machine's files, and all that these depend on.
const BOOT_MODULES: &[&str] = &["virtio_pci", "virtio_console", "virtio_blk", "ext4", "virtiofs", "overlay"];

/// A kernel generation that trials can be run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Generation {
    /// What `--kernel` calls it.
    pub name: &'static str,
    /// The metapackage that depends on the newest kernel of the generation, where the configured archive has it.
    metapackage: Option<&'static str>,
    /// Else the newest package of this suite of the same mirror, through a list that leaves the system's alone …
    suite: &'static str,
    /// … whose name begins so.
    beginning: &'static str,
    /// Whether it is for the long mode only.
    pub long: bool,
}

/// All of them, oldest first. In Debian 12 the metapackage of 6.12 is among the security updates, which not every
/// machine has configured.
pub const GENERATIONS: &[Generation] = &[
    Generation {
        name: "6.1",
        metapackage: Some("linux-image-cloud-amd64"),
        suite: "bookworm",
        beginning: "linux-image-6.1.",
        long: false,
    },
    Generation {
        name: "6.12",
        metapackage: Some("linux-image-6.12-cloud-amd64"),
        suite: "bookworm-backports",
        beginning: "linux-image-6.12.",
        long: false,
    },
    Generation {
        name: "6.18",
        metapackage: None,
        suite: "trixie-backports",
        beginning: "linux-image-6.18.",
        long: true,
    },
    Generation {
        name: "newest",
        metapackage: None,
        suite: "trixie-backports",
        beginning: "linux-image-",
        long: true,
    },
];

/// Of one generation's packages, the one for virtual machines.
const FLAVOUR: &str = "-cloud-amd64";

/// An unpacked kernel package.
pub struct Kernel {
    package: String,
    directory: PathBuf,
    version: String,
}

impl Kernel {
    /// The newest kernel of a generation; downloaded and unpacked below `cache` once.
    pub fn resolve(generation: Generation, cache: &Path) -> Result<Self, String> {
        let (package, directory) =
            match generation.metapackage.map(|name| of_the_system(name, generation, cache)) {
                Some(Ok(found)) => found,
                told => {
                    if let Some(Err(why)) = told {
                        eprintln!("kernel {}: {why}; from {} then", generation.name, generation.suite);
                    }
                    let apt = Apt::of_suite(generation.suite, cache)?;
                    let names = apt.names("linux-image-")?;
                    let package = newest(&names, generation.beginning, FLAVOUR).ok_or_else(|| {
                        format!("{} has no package {}…{FLAVOUR}", generation.suite, generation.beginning)
                    })?;
                    let directory = unpacked(&package, &apt, cache)?;
                    (package, directory)
                }
            };
        let modules = directory.join("root/lib/modules");
        let version = entries(&modules)?
            .pop()
            .and_then(|path| Some(path.file_name()?.to_str()?.to_owned()))
            .ok_or_else(|| format!("{} is empty", modules.display()))?;
        Ok(Self { package, directory, version })
    }

    /// The package's name.
    pub fn package(&self) -> &str {
        &self.package
    }

    /// The image that is booted; from 6.19 on Debian puts it beside the modules.
    pub fn image(&self) -> PathBuf {
        let boot = self.directory.join("root/boot").join(format!("vmlinuz-{}", self.version));
        if boot.exists() { boot } else { self.modules().join(&self.version).join("vmlinuz") }
    }

    /// What the machine shall have as `/lib/modules`.
    pub fn modules(&self) -> PathBuf {
        self.directory.join("root/lib/modules")
    }

    /// The module files for the boot, in the order in which they can be loaded.
    pub fn boot_modules(&self) -> Result<Vec<PathBuf>, String> {
        let top = self.modules().join(&self.version);
        let table = read(&top.join("modules.dep"))?;
        let lines: Vec<(&str, Vec<&str>)> = table
            .lines()
            .filter_map(|line| line.split_once(':'))
            .map(|(file, needs)| (file, needs.split_whitespace().collect()))
            .collect();
        let mut order = Vec::new();
        for name in BOOT_MODULES {
            // What is not in the table is built in.
            if let Some((file, _)) = lines.iter().find(|(file, _)| module_name(file) == *name) {
                add(file, &lines, &mut BTreeSet::new(), &mut order);
            }
        }
        Ok(order.into_iter().map(|file| top.join(file)).collect())
    }
}

/// The package that a metapackage depends on, and where it is unpacked. Asks the archive for its lists when these do not
/// know it, or name what is no longer there.
fn of_the_system(
    metapackage: &str,
    generation: Generation,
    cache: &Path,
) -> Result<(String, PathBuf), String> {
    let find = || {
        let package = dependency(metapackage)?;
        if !package.starts_with(generation.beginning) {
            return Err(format!("{metapackage} is {package} here"));
        }
        let directory = unpacked(&package, &Apt::of_the_system(), cache)?;
        Ok((package, directory))
    };
    find().or_else(|_| {
        run(Apt::of_the_system().command("apt-get").args(["--quiet", "update"]))?;
        find()
    })
}

/// Puts what a module needs before it.
fn add<'a>(
    file: &'a str,
    lines: &[(&'a str, Vec<&'a str>)],
    walked: &mut BTreeSet<&'a str>,
    order: &mut Vec<&'a str>,
) {
    if order.contains(&file) || !walked.insert(file) {
        return;
    }
    if let Some((_, needs)) = lines.iter().find(|(line, _)| *line == file) {
        for need in needs {
            add(need, lines, walked, order);
        }
    }
    order.push(file);
}

/// `kernel/fs/fuse/virtio-fs.ko` is `virtio_fs` to whoever loads it.
fn module_name(file: &str) -> String {
    let last = file.rsplit('/').next().unwrap_or(file);
    last.split('.').next().unwrap_or(last).replace('-', "_")
}

fn dependency(package: &str) -> Result<String, String> {
    let output = Command::new("apt-cache")
        .args(["depends", "--important", package])
        .output()
        .map_err(|error| format!("apt-cache: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "))
        .find(|name| name.starts_with("linux-image-"))
        .map(str::to_owned)
        .ok_or_else(|| format!("apt knows no kernel named {package}: perhaps `apt-get update` helps"))
}

/// Debian's tools with the options that make them look at one archive or another.
struct Apt(Vec<String>);

impl Apt {
    fn of_the_system() -> Self {
        Self(Vec::new())
    }

    /// Lists and packages of one suite, kept below `cache`.
    fn of_suite(suite: &str, cache: &Path) -> Result<Self, String> {
        let directory = cache.join("apt").join(suite);
        let (lists, packages) = (directory.join("lists/partial"), directory.join("cache/archives/partial"));
        for directory in [&lists, &packages] {
            fs::create_dir_all(directory).map_err(|error| format!("{}: {error}", directory.display()))?;
        }
        let sources = directory.join("sources.list");
        let keys = "/usr/share/keyrings/debian-archive-keyring.gpg";
        let line = format!("deb [signed-by={keys}] {} {suite} main\n", mirror()?);
        fs::write(&sources, line).map_err(|error| format!("{}: {error}", sources.display()))?;
        let options = [
            format!("Dir::Etc::SourceList={}", sources.display()),
            "Dir::Etc::SourceParts=/dev/null".to_owned(),
            format!("Dir::State::Lists={}", directory.join("lists").display()),
            format!("Dir::Cache={}", directory.join("cache").display()),
        ];
        let apt = Self(options.into_iter().flat_map(|option| ["--option".to_owned(), option]).collect());
        run(apt.command("apt-get").args(["--quiet", "--quiet", "update"]))?;
        Ok(apt)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.args(&self.0).args(["--option", "Acquire::Retries=3"]);
        // Root downloads: the unprivileged user of apt cannot write below our directory.
        command.args(["--option", "APT::Sandbox::User=root"]);
        command
    }

    /// Names of packages that begin so.
    fn names(&self, beginning: &str) -> Result<Vec<String>, String> {
        let output = self
            .command("apt-cache")
            .args(["pkgnames", beginning])
            .output()
            .map_err(|error| format!("apt-cache: {error}"))?;
        Ok(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect())
    }
}

/// The configured mirror of Debian itself.
fn mirror() -> Result<String, String> {
    let output = Command::new("apt-get")
        .args(["indextargets", "--format", "$(ORIGIN) $(SUITE) $(REPO_URI)", "Created-By: Packages"])
        .output()
        .map_err(|error| format!("apt-get: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines()
        .find_map(|line| {
            let (origin, rest) = line.split_once(' ')?;
            let (suite, address) = rest.split_once(' ')?;
            // The archive of security updates has no backports.
            (origin == "Debian" && !suite.contains("security")).then(|| address.to_owned())
        })
        .ok_or_else(|| "apt is not configured for the Debian archive, or has no lists of it".to_owned())
}

/// Of these packages the one of the newest kernel.
fn newest(names: &[String], beginning: &str, end: &str) -> Option<String> {
    let version = |name: &str| -> Option<Vec<u32>> {
        let text = name.strip_prefix("linux-image-")?.strip_suffix(end)?;
        let numbers: Vec<u32> = text.split(['.', '+', '-']).map_while(|part| part.parse().ok()).collect();
        // A metapackage has no number, or only that of its generation.
        (numbers.len() >= 3).then_some(numbers)
    };
    names
        .iter()
        .filter(|name| name.starts_with(beginning))
        .filter_map(|name| Some((version(name)?, name)))
        .max()
        .map(|(_, name)| name.clone())
}

/// Where the package is unpacked, which is done when it has not been.
fn unpacked(package: &str, apt: &Apt, cache: &Path) -> Result<PathBuf, String> {
    let directory = cache.join(package);
    if !directory.join("complete").exists() {
        unpack(package, apt, &directory)?;
    }
    Ok(directory)
}

fn unpack(package: &str, apt: &Apt, directory: &Path) -> Outcome {
    let root = directory.join("root");
    if directory.exists() {
        fs::remove_dir_all(directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    }
    fs::create_dir_all(&root).map_err(|error| format!("{}: {error}", root.display()))?;
    // From 6.19 on a kernel is several packages of one version.
    let known = apt.names("linux-")?;
    let parts = ["image", "binary", "modules", "base"]
        .map(|part| package.replacen("-image-", &format!("-{part}-"), 1))
        .into_iter()
        .filter(|part| part == package || known.contains(part));
    run(apt.command("apt-get").current_dir(directory).args(["--quiet", "--quiet", "download"]).args(parts))?;
    for archive in entries(directory)?.iter().filter(|path| path.extension() == Some(OsStr::new("deb"))) {
        run(Command::new("dpkg").arg("--extract").arg(archive).arg(&root))?;
        fs::remove_file(archive).map_err(|error| format!("{}: {error}", archive.display()))?;
    }
    let modules = root.join("lib/modules");
    // Newer packages know that /lib is a link to /usr/lib.
    if root.join("usr/lib/modules").exists() && !modules.exists() {
        fs::create_dir_all(root.join("lib")).map_err(|error| format!("{}: {error}", root.display()))?;
        fs::rename(root.join("usr/lib/modules"), &modules)
            .map_err(|error| format!("{}: {error}", modules.display()))?;
    }
    // insmod of busybox reads plain files only; since 6.12 they are packed.
    for (end, program) in [("xz", &["xz", "--decompress"][..]), ("zst", &["zstd", "--quiet", "-d", "--rm"])] {
        let mut find = Command::new("find");
        find.arg(&modules).args(["-name", &format!("*.ko.{end}"), "-exec"]).args(program);
        run(find.args(["{}", "+"]))?;
    }
    for version in entries(&modules)? {
        run(Command::new("depmod").arg("-b").arg(&root).arg(version.file_name().unwrap_or_default()))?;
    }
    let complete = directory.join("complete");
    fs::write(&complete, "").map_err(|error| format!("{}: {error}", complete.display()))
}

fn entries(directory: &Path) -> Result<Vec<PathBuf>, String> {
    let told = |error: std::io::Error| format!("{}: {error}", directory.display());
    fs::read_dir(directory)
        .map_err(told)?
        .map(|entry| entry.map(|entry| entry.path()).map_err(told))
        .collect()
}

fn read(file: &Path) -> Result<String, String> {
    fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::{add, module_name, newest};
    use std::collections::BTreeSet;

    #[test]
    fn needs_come_first_and_once() {
        let lines = vec![("a.ko", vec!["b.ko", "c.ko"]), ("b.ko", vec!["c.ko"]), ("c.ko", vec![])];
        let mut order = Vec::new();
        add("a.ko", &lines, &mut BTreeSet::new(), &mut order);
        assert_eq!(order, ["c.ko", "b.ko", "a.ko"]);
    }

    #[test]
    fn names_of_modules() {
        assert_eq!(module_name("kernel/drivers/virtio/virtio_pci.ko"), "virtio_pci");
        assert_eq!(module_name("kernel/fs/x-y.ko.xz"), "x_y");
    }
    #[test]
    fn the_newest_kernel_by_its_numbers() {
        let names = [
            "linux-image-cloud-amd64",
            "linux-image-6.18-cloud-amd64",
            "linux-image-6.18.9+deb13-cloud-amd64",
            "linux-image-6.18.15+deb13-cloud-amd64",
            "linux-image-6.18.16+deb13-amd64",
            "linux-image-7.3.4+deb13-cloud-amd64",
        ]
        .map(str::to_owned);
        let of = |beginning| newest(&names, beginning, "-cloud-amd64");
        assert_eq!(of("linux-image-6.18."), Some(names[3].clone()));
        assert_eq!(of("linux-image-"), Some(names[5].clone()));
        assert_eq!(of("linux-image-6.19."), None);
    }
}
