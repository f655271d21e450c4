//! The configuration directory of a new guest, byte for byte as the original wrote it.

use std::path::{Path, PathBuf};

use rustix::fs::Mode;
use vserver_model::address::{InterfaceDevice, Netmask};
use vserver_model::{GuestName, InterfaceArg, Xid};
use vserver_tree::Root;

use crate::ask::Settings;
use crate::error::Result;
use crate::method::Management;

/// The mounts of a new guest when no default file says otherwise. /tmp is small because it is memory.
pub const FSTAB: &str = "none\t/proc\tproc\tdefaults\t0 0\n\
                         none\t/tmp\ttmpfs\tsize=16m,mode=1777\t0 0\n\
                         none\t/dev/pts\tdevpts\tgid=5,mode=620\t0 0\n";

/// Where the configuration's links lead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Links {
    /// `vdir`.
    pub vdir: PathBuf,
    /// `cache`.
    pub cache: PathBuf,
    /// `run`.
    pub run: PathBuf,
    /// `apps/pkgmgmt/base`.
    pub packages: PathBuf,
}

/// Writes everything but `context`, which is written first to claim the number.
///
/// # Errors
/// A file cannot be written.
pub fn write(
    config: &Root,
    name: &GuestName,
    settings: &Settings,
    links: &Links,
    management: Management,
    fstab: &[u8],
) -> Result<()> {
    let write = Writer { config };
    for dir in ["apps", "apps/init", "interfaces", "uts", "cpuset"] {
        write.directory(dir)?;
    }
    write.line("name", &name.as_os_str().to_string_lossy())?;
    config.symlink(&links.vdir, "vdir")?;
    config.symlink(&links.cache, "cache")?;
    config.symlink(&links.run, "run")?;
    write.file("fstab", fstab)?;
    if !settings.classic {
        // An empty file is enough: the guest's ids are its context number times 65536 and on.
        write.directory("spaces")?;
        write.file("spaces/user", b"")?;
    }
    write.settings(settings)?;
    write.management(management, links)?;
    for (index, interface) in settings.interfaces.iter().enumerate() {
        write.interface(index, interface, settings.netdev.is_some())?;
    }
    Ok(())
}

/// Claims the number: the first file of the configuration.
///
/// # Errors
/// It cannot be written.
pub fn write_context(config: &Root, xid: Xid) -> Result<()> {
    Writer { config }.line("context", &xid.to_string())
}

/// The indexes of the interfaces that get `nodev` only because no device was given: worth a notice.
pub fn interfaces_without_device(settings: &Settings) -> Vec<usize> {
    let without =
        |arg: &InterfaceArg| arg.device == InterfaceDevice::Unspecified && settings.netdev.is_none();
    settings.interfaces.iter().enumerate().filter(|(_, arg)| without(arg)).map(|(index, _)| index).collect()
}

struct Writer<'a> {
    config: &'a Root,
}

impl Writer<'_> {
    fn directory(&self, path: impl AsRef<Path>) -> Result<()> {
        self.config.make_directory(path, Mode::from_raw_mode(0o755))?;
        Ok(())
    }

    fn file(&self, path: impl AsRef<Path>, content: &[u8]) -> Result<()> {
        Ok(self.config.replace(path, content, Mode::from_raw_mode(0o644))?)
    }

    fn line(&self, path: impl AsRef<Path>, value: &str) -> Result<()> {
        self.file(path, format!("{value}\n").as_bytes())
    }

    fn line_if(&self, path: &str, value: Option<impl std::fmt::Display>) -> Result<()> {
        value.map_or(Ok(()), |value| self.line(path, &value.to_string()))
    }

    fn settings(&self, settings: &Settings) -> Result<()> {
        self.line_if("apps/init/style", settings.initstyle)?;
        self.line_if("uts/nodename", settings.hostname.as_ref())?;
        self.line_if("uts/machine", settings.machine.as_ref())?;
        self.line_if("personality", settings.personality.as_ref())?;
        self.line_if("interfaces/dev", settings.netdev.as_ref())?;
        self.line_if("interfaces/mask", settings.netmask.map(mask_text))?;
        self.line_if("interfaces/prefix", settings.netprefix.map(mask_text))?;
        self.line_if("interfaces/bcast", settings.netbcast)?;
        if !settings.flags.is_empty() {
            self.line("cflags", &settings.flags.join("\n"))?;
        }
        self.line_if("cpuset/name", settings.cpuset.as_ref())?;
        if let Some(cpus) = &settings.cpus {
            self.line("cpuset/cpus", &cpus.list)?;
            // The original's builder wrote the one name and its start read the other.
            self.line_if("cpuset/cpus_exclusive", cpus.exclusive.as_ref())?;
            self.line_if("cpuset/cpu_exclusive", cpus.exclusive.as_ref())?;
        }
        if let Some(mems) = &settings.mems {
            self.line("cpuset/mems", &mems.list)?;
            self.line_if("cpuset/mem_exclusive", mems.exclusive.as_ref())?;
        }
        self.line_if("cpuset/virtualized", settings.cpuset_virtual.then_some(1))
    }

    fn management(&self, management: Management, links: &Links) -> Result<()> {
        match management {
            Management::None => return Ok(()),
            Management::Internal => {
                self.directory("apps/pkgmgmt")?;
                self.file("apps/pkgmgmt/internal", b"")?;
            }
            Management::External => {
                self.directory("apps/pkgmgmt")?;
                self.config.symlink(&links.packages, "apps/pkgmgmt/base")?;
            }
        }
        Ok(())
    }

    fn interface(&self, index: usize, interface: &InterfaceArg, has_default_device: bool) -> Result<()> {
        let dir = format!("interfaces/{index}");
        let at = |name: &str| format!("{dir}/{name}");
        self.directory(&dir)?;
        self.line_if(&at("name"), interface.label.as_ref())?;
        match &interface.device {
            InterfaceDevice::Named(device) => self.line(at("dev"), device)?,
            InterfaceDevice::Unspecified if has_default_device => {}
            InterfaceDevice::NoDevice | InterfaceDevice::Unspecified => self.file(at("nodev"), b"")?,
        }
        self.line(at("ip"), &interface.ip.to_string())?;
        match interface.mask {
            Some(mask @ Netmask::Dotted(_)) => self.line(at("mask"), &mask_text(mask)),
            Some(mask @ Netmask::Prefix(_)) => self.line(at("prefix"), &mask_text(mask)),
            None => Ok(()),
        }
    }
}

fn mask_text(mask: Netmask) -> String {
    match mask {
        Netmask::Prefix(prefix) => prefix.to_string(),
        Netmask::Dotted(mask) => mask.to_string(),
    }
}
