//! Stock kernels, from their Debian packages.

use crate::shell::{Outcome, run};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What the machine needs before it can read the building machine's files, and all that these depend on.
const BOOT_MODULES: &[&str] = &["virtio_pci", "virtio_console", "virtio_blk", "ext4", "virtiofs", "overlay"];

/// An unpacked kernel package.
pub struct Kernel {
    package: String,
    directory: PathBuf,
    version: String,
}

impl Kernel {
    /// The newest kernel that `package` (a metapackage) depends on; downloaded and unpacked below `cache` once.
    pub fn resolve(package: &str, cache: &Path) -> Result<Self, String> {
        let package = dependency(package)?;
        let directory = cache.join(&package);
        if !directory.join("complete").exists() {
            unpack(&package, &directory)?;
        }
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

    /// Where its files of one run may lie.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The image that is booted.
    pub fn image(&self) -> PathBuf {
        self.directory.join("root/boot").join(format!("vmlinuz-{}", self.version))
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

fn unpack(package: &str, directory: &Path) -> Outcome {
    let root = directory.join("root");
    if directory.exists() {
        fs::remove_dir_all(directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    }
    fs::create_dir_all(&root).map_err(|error| format!("{}: {error}", root.display()))?;
    run(Command::new("apt-get")
        .current_dir(directory)
        // Root downloads: the unprivileged user of apt cannot write here.
        .args(["--quiet", "--quiet", "--option", "APT::Sandbox::User=root"])
        .args(["--option", "Acquire::Retries=3", "download", package]))?;
    let archive = entries(directory)?
        .into_iter()
        .find(|path| path.extension() == Some(OsStr::new("deb")))
        .ok_or_else(|| format!("apt-get left no package in {}", directory.display()))?;
    run(Command::new("dpkg").arg("--extract").arg(&archive).arg(&root))?;
    fs::remove_file(&archive).map_err(|error| format!("{}: {error}", archive.display()))?;
    let modules = root.join("lib/modules");
    // insmod of busybox reads plain files only; 6.12 packs them.
    run(Command::new("find").arg(&modules).args(["-name", "*.ko.xz", "-exec", "xz", "-d", "{}", "+"]))?;
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
    use super::{add, module_name};
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
}
