//! What runs, and what can be done to it without the life cycle: names, namespaces, mounts.

use std::ffi::{OsStr, OsString};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use vserver_kernel::ns::{self, Namespaces};
use vserver_kernel::{Fault, uts};
use vserver_model::{GuestName, Layout};

use crate::guests::GuestDir;
use crate::life;
use crate::report::Failure;

/// A running context.
#[derive(Clone, Debug)]
pub struct Running {
    /// Its name: the configuration directory's when it was started.
    pub name: GuestName,
    /// What the lists call it.
    pub display_name: OsString,
    /// Its context number.
    pub xid: u32,
    /// Its configuration directory.
    pub dir: PathBuf,
    /// The host's pid of its init.
    pub init: i32,
}

fn from_life(running: life::Running) -> Option<Running> {
    let name = GuestName::new(running.name).ok()?;
    let guest = GuestDir { name, dir: running.dir };
    Some(Running {
        display_name: guest.display_name(),
        name: guest.name,
        xid: running.xid,
        dir: guest.dir,
        init: i32::try_from(running.init?).ok()?,
    })
}

/// Every running context, by number.
pub fn all(layout: &Layout) -> Vec<Running> {
    life::all(layout).unwrap_or_default().into_iter().filter_map(from_life).collect()
}

/// The guest's running context, if it runs.
pub fn of(layout: &Layout, guest: &GuestDir) -> Option<Running> {
    life::of(layout, guest).ok().flatten().and_then(from_life)
}

/// The running context of that number.
pub fn by_xid(layout: &Layout, xid: u32) -> Option<Running> {
    all(layout).into_iter().find(|running| running.xid == xid)
}

fn missing() -> Failure {
    Failure::plain("this build cannot run guests yet")
}

/// What uname(2) and getdomainname(2) tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UtsName {
    /// Operating system.
    pub sysname: OsString,
    /// Host name.
    pub nodename: OsString,
    /// Kernel release.
    pub release: OsString,
    /// Kernel build.
    pub version: OsString,
    /// Processor.
    pub machine: OsString,
    /// NIS domain.
    pub domainname: OsString,
}

/// The names that this process sees.
pub fn own_uts() -> UtsName {
    let names = rustix::system::uname();
    let text = |text: &std::ffi::CStr| OsStr::from_bytes(text.to_bytes()).to_owned();
    UtsName {
        sysname: text(names.sysname()),
        nodename: text(names.nodename()),
        release: text(names.release()),
        version: text(names.version()),
        machine: text(names.machine()),
        domainname: text(names.domainname()),
    }
}

/// Does `job` in the context's UTS namespace, on a thread of its own: the caller stays where it is.
fn in_uts<T: Send>(running: &Running, job: impl FnOnce() -> Result<T, Fault> + Send) -> Result<T, Failure> {
    let namespace = ns::open(running.init, Namespaces::UTS)?;
    let work = || {
        ns::enter_one(namespace.as_fd(), Namespaces::UTS)?;
        job()
    };
    let done = std::thread::scope(|scope| scope.spawn(work).join());
    Ok(done.map_err(|_| Failure::plain("the thread in the context's namespace ended abnormally"))??)
}

/// The names that a running context sees.
pub fn uts_of(running: &Running) -> Result<UtsName, Failure> {
    in_uts(running, || Ok(own_uts()))
}

/// Sets a running context's host name.
pub fn set_nodename(running: &Running, name: &OsStr) -> Result<(), Failure> {
    in_uts(running, || uts::set_host_name(name))
}

/// Sets a running context's NIS domain.
pub fn set_domainname(running: &Running, name: &OsStr) -> Result<(), Failure> {
    in_uts(running, || uts::set_domain_name(name))
}

/// Moves this process into the chosen namespaces of a running guest, the mounts as the host sees them.
pub fn enter_spaces(_layout: &Layout, running: &Running, which: Namespaces) -> Result<(), Failure> {
    for refused in [Namespaces::USER, Namespaces::PID] {
        if which.contains(refused) {
            return Err(Failure::plain(format!(
                "cannot take a program of the host into the guest's {refused} namespace"
            ))
            .hint(format!("run the guest's own program: vserver {} exec CMD", running.name.display())));
        }
    }
    Err(missing())
}

/// What `vmount` is asked: the fields of a line of fstab.
#[derive(Clone, Debug)]
pub struct MountAsk {
    /// On the host.
    pub source: OsString,
    /// In the guest.
    pub target: PathBuf,
    /// File system, where one is named.
    pub fstype: Option<String>,
    /// Options as in fstab, commas between them.
    pub options: OsString,
}

/// Mounts one thing into a running guest.
pub fn mount(_layout: &Layout, _running: &Running, _ask: &MountAsk) -> Result<(), Failure> {
    Err(missing())
}

/// Mounts what the guest's fstab lists and is not mounted yet.
pub fn mount_fstab(_layout: &Layout, _running: &Running) -> Result<(), Failure> {
    Err(missing())
}
