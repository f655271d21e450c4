//! What a guest has added to the host's network: `RUN/vservers/.network/added/NAME`.
//!
//! Two guests may have one address: the second one finds it there and adds nothing, but leaves a claim. When the first
//! one stops, the address goes over to the second instead of going away.

use std::fs;
use std::net::IpAddr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use vserver_kernel::link::{Change, Netlink, address, netns};
use vserver_kernel::ns::{self, Namespaces};
use vserver_kernel::{Fault, link};
use vserver_model::{GuestName, Layout};

use crate::failure::{Doing, Failure};
use crate::lock::{Lock, PATIENCE};
use crate::record::{self, boot_id, state_dir, write_beside};

/// Where all of it lies: beside the guests' records, as a record may get lost while the guest runs on.
fn directory(layout: &Layout) -> PathBuf {
    layout.rundir.join(".network")
}

/// The file that keeps the namespace of a guest to which a device was lent.
pub fn pin_of(layout: &Layout, name: &GuestName) -> PathBuf {
    directory(layout).join("netns").join(name.as_path())
}

/// One thing on the host that was not there before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Added {
    /// A device.
    Device {
        /// Its name.
        name: String,
        /// Its number; `None` as long as it is not known whether it was made.
        index: Option<u32>,
        /// Its kind, as the kernel calls it.
        kind: String,
    },
    /// An address of a device.
    Address {
        /// The device's name.
        device: String,
        /// The device's number; `None` if the device is one that was to be made.
        index: Option<u32>,
        /// The address.
        ip: IpAddr,
        /// Length of its prefix.
        prefix: u8,
        /// The other end.
        peer: Option<IpAddr>,
    },
    /// A name of a network namespace.
    Name(String),
    /// A file on which a network namespace is mounted.
    Pin(PathBuf),
    /// A device of the host's own that was moved into the namespace of the [`Pin`](Added::Pin) before.
    Lent {
        /// Its name on the host.
        name: String,
        /// Its name in the namespace.
        inside: String,
        /// Its number in the namespace; `None` as long as it is not known whether it was moved.
        index: Option<u32>,
    },
}

impl std::fmt::Display for Added {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Device { name, kind, .. } => write!(f, "{kind} device {name}"),
            Self::Address { device, ip, prefix, .. } => write!(f, "address {ip}/{prefix} on {device}"),
            Self::Name(name) => write!(f, "network namespace {name}"),
            Self::Pin(path) => write!(f, "network namespace at {}", path.display()),
            Self::Lent { name, .. } => write!(f, "device {name}"),
        }
    }
}

/// Which things: they are made, and go, at different moments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Those of `interfaces/`.
    Interfaces,
    /// Those of the network namespace.
    Namespace,
    /// Both.
    All,
}

/// The file of one guest.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Ledger {
    /// The boot of the host: an older one has left nothing.
    boot: String,
    /// In the order in which they were made, by `interfaces/`.
    interfaces: Vec<Added>,
    /// The same for the network namespace.
    namespace: Vec<Added>,
}

/// An address that a guest uses and has not added itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Claim {
    guest: GuestName,
    address: Added,
}

/// The lock of everything in this module.
pub fn lock(layout: &Layout) -> Result<Lock, Failure> {
    Lock::take(&layout.interfaces_lock(), PATIENCE, || {})
}

impl Ledger {
    fn path(layout: &Layout, name: &GuestName) -> PathBuf {
        directory(layout).join("added").join(name.as_path())
    }

    /// The ledger of a guest; an empty one if there is none.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn load(layout: &Layout, name: &GuestName) -> Result<Self, Failure> {
        let path = Self::path(layout, name);
        let what = || format!("read {}", path.display());
        let fresh = || Self { boot: boot_id().to_owned(), ..Self::default() };
        match fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(fresh()),
            Err(error) => Err(error).doing(what),
            Ok(bytes) => {
                let ledger: Self = serde_json::from_slice(&bytes).doing(what)?;
                Ok(if ledger.boot == boot_id() { ledger } else { fresh() })
            }
        }
    }

    /// Writes it; an empty one is removed, and its directories with it if nothing else is there. The lock is held.
    ///
    /// # Errors
    /// `/run` cannot be written.
    pub fn save(&self, layout: &Layout, name: &GuestName) -> Result<(), Failure> {
        let path = Self::path(layout, name);
        if self.interfaces.is_empty() && self.namespace.is_empty() {
            record::remove_if_there(&path)?;
            // Of a start that was killed while it wrote.
            record::remove_if_there(&record::beside(&path))?;
            remove_directories(layout);
            return Ok(());
        }
        record::make_directory(path.parent().unwrap_or(&path))?;
        let text = serde_json::to_vec(self).doing(|| "put the ledger into words".into())?;
        write_beside(&path, &text)
    }

    /// One part of it.
    pub fn part(&mut self, part: Part) -> &mut Vec<Added> {
        match part {
            Part::Namespace => &mut self.namespace,
            Part::Interfaces | Part::All => &mut self.interfaces,
        }
    }
}

/// Those that are empty.
fn remove_directories(layout: &Layout) {
    let all = directory(layout);
    for directory in [all.join("added"), all.join("netns"), all] {
        // Not there, or something is in it.
        drop(fs::remove_dir(directory));
    }
}

fn claims_path(layout: &Layout) -> PathBuf {
    directory(layout).join("shared")
}

fn claims(layout: &Layout) -> Result<Vec<Claim>, Failure> {
    let path = claims_path(layout);
    let what = || format!("read {}", path.display());
    match fs::read(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error).doing(what),
        Ok(bytes) => serde_json::from_slice(&bytes).doing(what),
    }
}

fn save_claims(layout: &Layout, claims: &[Claim]) -> Result<(), Failure> {
    let path = claims_path(layout);
    if claims.is_empty() {
        record::remove_if_there(&path)?;
        remove_directories(layout);
        return Ok(());
    }
    record::make_directory(&directory(layout))?;
    let text = serde_json::to_vec(claims).doing(|| "put the claims into words".into())?;
    write_beside(&path, &text)
}

/// Notes that a guest uses addresses that were there. The lock is held.
///
/// # Errors
/// `/run` cannot be written.
pub fn claim(layout: &Layout, name: &GuestName, addresses: Vec<Added>) -> Result<(), Failure> {
    if addresses.is_empty() {
        return Ok(());
    }
    let mut all = claims(layout)?;
    all.extend(addresses.into_iter().map(|address| Claim { guest: name.clone(), address }));
    save_claims(layout, &all)
}

/// Takes away what a guest has added, backwards and past failures, and forgets it. May be called again, for a guest
/// that has added nothing as well.
///
/// # Errors
/// The first thing that could not be taken away; it stays in the ledger, so that a later call tries again.
pub fn take_down(layout: &Layout, name: &GuestName, part: Part) -> Result<(), Failure> {
    take_down_in(layout, name, part, None)
}

/// The same for a command that is in another mount namespace than the host's own, which is `mounts`.
///
/// # Errors
/// As [`take_down`].
pub fn take_down_in(
    layout: &Layout,
    name: &GuestName,
    part: Part,
    mounts: Option<&OwnedFd>,
) -> Result<(), Failure> {
    // Most guests that end have added nothing, or have been cleaned up after: no lock for them.
    let path = Ledger::path(layout, name);
    if !path.exists() && !record::beside(&path).exists() && !claims_path(layout).exists() {
        return Ok(());
    }
    let _lock = lock(layout)?;
    let mut ledger = Ledger::load(layout, name)?;
    let mut removal = Removal::new(layout, name, mounts)?;
    let mut failures = Vec::new();
    if part != Part::Namespace {
        ledger.interfaces = removal.all(std::mem::take(&mut ledger.interfaces), &mut failures);
        removal.restore_promotion();
    }
    if part != Part::Interfaces {
        ledger.namespace = removal.all(std::mem::take(&mut ledger.namespace), &mut failures);
    }
    if part != Part::Namespace {
        removal.claims.retain(|claim| claim.guest != *name);
    }
    removal.save_claims()?;
    ledger.save(layout, name)?;
    let mut failures = failures.into_iter();
    match failures.next() {
        None => Ok(()),
        Some(mut first) => {
            first.left.extend(failures.map(|failure| crate::start::in_one_line(&failure)));
            Err(first)
        }
    }
}

/// What taking down needs.
struct Removal<'a> {
    layout: &'a Layout,
    name: &'a GuestName,
    netlink: Netlink,
    mounts: Option<&'a OwnedFd>,
    claims: Vec<Claim>,
    claims_before: usize,
    /// Devices on which secondary addresses survive their primary one for the time being.
    promoted: Vec<String>,
}

impl<'a> Removal<'a> {
    fn new(layout: &'a Layout, name: &'a GuestName, mounts: Option<&'a OwnedFd>) -> Result<Self, Failure> {
        let claims = claims(layout)?;
        let claims_before = claims.len();
        Ok(Self {
            layout,
            name,
            netlink: Netlink::open()?,
            mounts,
            claims,
            claims_before,
            promoted: Vec::new(),
        })
    }

    /// Removes all, backwards; gives what is still there.
    fn all(&mut self, list: Vec<Added>, failures: &mut Vec<Failure>) -> Vec<Added> {
        let mut left = Vec::new();
        let pin = list.iter().find_map(|added| match added {
            Added::Pin(path) => Some(path.clone()),
            Added::Name(name) => Some(netns::path_of(name)),
            _ => None,
        });
        for added in list.into_iter().rev() {
            if let Err(failure) = self.one(&added, pin.as_deref()).doing(|| format!("remove the {added}")) {
                failures.push(failure);
                left.push(added);
            }
        }
        left.reverse();
        left
    }

    fn one(&mut self, added: &Added, pin: Option<&Path>) -> Result<(), Failure> {
        match added {
            Added::Address { device, index, ip, prefix, peer } => {
                if self.hand_over(added)? {
                    return Ok(());
                }
                let index = match index {
                    Some(index) => *index,
                    None => match self.netlink.link(device)? {
                        Some(link) => link.index,
                        None => return Ok(()),
                    },
                };
                self.promote(device);
                gone(self.netlink.delete_address(index, *ip, *prefix, *peer))
            }
            Added::Device { name, index, kind } => {
                let device = match index {
                    Some(index) => self.netlink.link_numbered(*index)?,
                    None => self.netlink.link(name)?,
                };
                match device.filter(|device| device.kind.as_ref() == Some(kind)) {
                    Some(device) => gone(self.netlink.delete_link(device.index)),
                    None => Ok(()),
                }
            }
            Added::Name(name) => self.unpin(&netns::path_of(name)),
            Added::Pin(path) => self.unpin(path),
            Added::Lent { name, inside, index } => bring_back(name, inside, *index, pin),
        }
    }

    fn unpin(&self, path: &Path) -> Result<(), Failure> {
        if let Some(mounts) = self.mounts {
            return Ok(netns::unpin(mounts.as_fd(), path)?);
        }
        let own = ns::open(rustix::process::getpid().as_raw_pid(), Namespaces::MOUNT)?;
        Ok(netns::unpin(own.as_fd(), path)?)
    }

    /// An address that another guest uses as well is its from now on; tells whether there is one.
    fn hand_over(&mut self, address: &Added) -> Result<bool, Failure> {
        let wanted = |claim: &Claim| claim.guest != *self.name && is_same_address(&claim.address, address);
        while let Some(at) = self.claims.iter().position(wanted) {
            let claim = self.claims.remove(at);
            // A guest that is gone without a trace has not told anybody.
            if !state_dir(self.layout, &claim.guest).is_dir() {
                continue;
            }
            let mut ledger = Ledger::load(self.layout, &claim.guest)?;
            ledger.interfaces.push(address.clone());
            ledger.save(self.layout, &claim.guest)?;
            return Ok(true);
        }
        Ok(false)
    }

    /// The kernel takes secondary addresses of others along with a primary one, unless the device is told otherwise.
    fn promote(&mut self, device: &str) {
        if self.promoted.iter().any(|known| known == device) || address::promotes(device) {
            return;
        }
        match address::set_promotes(device, true) {
            Ok(()) => self.promoted.push(device.to_owned()),
            Err(fault) => tracing::debug!(%fault, "secondary addresses go with their primary one"),
        }
    }

    fn restore_promotion(&mut self) {
        for device in self.promoted.drain(..) {
            if let Err(fault) = address::set_promotes(&device, false) {
                tracing::debug!(%fault, "the device is gone");
            }
        }
    }

    fn save_claims(&self) -> Result<(), Failure> {
        if self.claims.len() == self.claims_before { Ok(()) } else { save_claims(self.layout, &self.claims) }
    }
}

fn is_same_address(one: &Added, other: &Added) -> bool {
    match (one, other) {
        (Added::Address { device, ip, .. }, Added::Address { device: other_device, ip: other_ip, .. }) => {
            device == other_device && ip == other_ip
        }
        _ => false,
    }
}

/// A device of the host comes back from the guest's namespace, whatever the guest has called it meanwhile.
fn bring_back(name: &str, inside: &str, index: Option<u32>, pin: Option<&Path>) -> Result<(), Failure> {
    let Some(pin) = pin else { return Ok(()) };
    let namespace = match netns::open_at(pin) {
        Ok(namespace) => namespace,
        // The kernel brings hardware back by itself when its namespace ends.
        Err(fault) if fault.is(libc::ENOENT) || fault.is(libc::EINVAL) => return Ok(()),
        Err(fault) => return Err(fault.into()),
    };
    let home = link::own_namespace()?;
    let mut there = Netlink::open_in(namespace.as_fd())?;
    let device = match index {
        Some(index) => there.link_numbered(index)?,
        None => match there.link(inside)? {
            Some(device) => Some(device),
            None => there.link(name)?,
        },
    };
    let Some(device) = device else { return Ok(()) };
    there.change_link(device.index, &Change { up: Some(false), ..Change::default() })?;
    // Under a name that nobody has at home, whatever the guest has made of it; then its own.
    there.change_link(device.index, &Change { name: Some(name), ..Change::default() })?;
    Ok(there.change_link(device.index, &Change { namespace: Some(home.as_fd()), ..Change::default() })?)
}

/// That it is not there any more is what is wanted.
fn gone(result: Result<(), Fault>) -> Result<(), Failure> {
    match result {
        Err(fault) if fault.is(libc::ENODEV) || fault.is(libc::EADDRNOTAVAIL) => Ok(()),
        other => Ok(other?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(device: &str, ip: &str) -> Added {
        let ip = ip.parse().unwrap();
        Added::Address { device: device.into(), index: Some(2), ip, prefix: 24, peer: None }
    }

    #[test]
    fn a_ledger_is_read_back_and_an_empty_one_leaves_nothing() {
        let prefix = tempfile::tempdir().unwrap();
        let layout = Layout::under(prefix.path()).unwrap();
        let name = GuestName::new("web1").unwrap();
        let mut ledger = Ledger::load(&layout, &name).unwrap();
        ledger.part(Part::Interfaces).push(address("eth0", "192.0.2.1"));
        ledger.save(&layout, &name).unwrap();
        let mut read = Ledger::load(&layout, &name).unwrap();
        assert_eq!(*read.part(Part::Interfaces), [address("eth0", "192.0.2.1")]);
        read.part(Part::Interfaces).clear();
        read.save(&layout, &name).unwrap();
        assert!(!directory(&layout).exists());
    }

    #[test]
    fn what_an_older_boot_has_left_is_gone() {
        let prefix = tempfile::tempdir().unwrap();
        let layout = Layout::under(prefix.path()).unwrap();
        let name = GuestName::new("web1").unwrap();
        let ledger = Ledger {
            boot: "another".into(),
            interfaces: vec![address("eth0", "192.0.2.1")],
            namespace: Vec::new(),
        };
        ledger.save(&layout, &name).unwrap();
        assert!(Ledger::load(&layout, &name).unwrap().interfaces.is_empty());
    }

    #[test]
    fn the_same_address_is_on_the_same_device() {
        assert!(is_same_address(&address("eth0", "192.0.2.1"), &address("eth0", "192.0.2.1")));
        assert!(!is_same_address(&address("eth0", "192.0.2.1"), &address("eth1", "192.0.2.1")));
        assert!(!is_same_address(&address("eth0", "192.0.2.1"), &Added::Name("a".into())));
    }
}
