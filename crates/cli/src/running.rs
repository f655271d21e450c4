//! What runs, and what can be done to it without the life cycle: names, namespaces, mounts.

use std::ffi::{OsStr, OsString};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use vserver_config::FstabEntry;
use vserver_config::fstab::parse_options;
use vserver_kernel::ns::{self, Namespaces};
use vserver_kernel::{Fault, uts};
use vserver_model::{GuestName, Layout};
use vserver_run::record::{self, Record};
use vserver_run::{adopt, enter, vmount};

use crate::applet::vuname::chain;
use crate::guests::GuestDir;
use crate::report::{self, Exit, Failure};

/// A running context, as its record tells.
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
    /// How long ago it was started.
    pub age: Duration,
    /// Everything else.
    pub record: Box<Record>,
}

impl From<Record> for Running {
    fn from(record: Record) -> Self {
        Self {
            name: record.name.clone(),
            display_name: record.display_name.clone(),
            xid: record.xid.get(),
            dir: record.dir.clone(),
            init: record.init.pid,
            age: Duration::from_secs(record::now().saturating_sub(record.started)),
            record: Box::new(record),
        }
    }
}

/// Every running context, by number.
pub fn all(layout: &Layout) -> Vec<Running> {
    record::all(layout).into_iter().map(Running::from).collect()
}

/// The guest's running context, if it runs. What it has lost of ours meanwhile (its guard, its record) is put right.
pub fn of(layout: &Layout, guest: &GuestDir) -> Option<Running> {
    adopt::running(layout, &guest.name, &guest.dir, &mut report::say).map(Running::from)
}

/// The same as the record has it, for those who look at many guests.
pub fn recorded(layout: &Layout, guest: &GuestDir) -> Option<Running> {
    record::running(layout, &guest.name).map(Running::from)
}

/// The running context of that number.
pub fn by_xid(layout: &Layout, xid: u32) -> Option<Running> {
    record::by_xid(layout, xid).map(Running::from)
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

/// Runs a program of the host in the chosen namespaces of a running guest, the mounts as the host sees them. Replaces
/// this process; comes back only when that fails.
pub fn run_in_spaces(running: &Running, which: Namespaces, command: Vec<OsString>) -> Result<Exit, Failure> {
    for refused in [Namespaces::USER, Namespaces::PID] {
        if which.contains(refused) {
            return Err(Failure::plain(format!(
                "cannot take a program of the host into the guest's {refused} namespace"
            ))
            .hint(format!("run the guest's own program: vserver {} exec CMD", running.name)));
        }
    }
    let others = which.without(Namespaces::MOUNT);
    if !others.is_empty() {
        let ended = || Failure::plain(format!("context {} has just ended", running.xid));
        let init = running.record.init.open()?.ok_or_else(ended)?;
        ns::enter(init.as_fd(), others)?;
    }
    if which.contains(Namespaces::MOUNT) {
        match enter::execute_in_host_view(&running.record, &command) {
            Err(failure) => return Err(failure.into()),
            Ok(never) => match never {},
        }
    }
    chain(command)
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
pub fn mount(layout: &Layout, running: &Running, ask: &MountAsk) -> Result<(), Failure> {
    let text = ask.options.to_string_lossy().into_owned();
    let entry = FstabEntry {
        source: ask.source.clone(),
        target: ask.target.clone(),
        options: parse_options(ask.fstype.as_deref(), &text),
        fstype: ask.fstype.clone(),
        options_text: text,
        pass: 0,
    };
    Ok(vmount::mount_into(layout, &running.record, &entry)?)
}

/// Mounts what the guest's fstab lists and is not mounted yet; what failed is given back.
pub fn mount_fstab(layout: &Layout, running: &Running) -> Vec<Failure> {
    let entries = vserver_config::read(layout, &running.dir).guest.fstab;
    let entries: Vec<FstabEntry> = entries.into_iter().map(|entry| entry.value).collect();
    vmount::mount_all(layout, &running.record, &entries).into_iter().map(Failure::from).collect()
}
