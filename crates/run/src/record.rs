//! What a start did: the record in `/run/vservers`, and who is running.
//!
//! ```text
//!   (none) ──start──▶ record, guest alive ──guest ends──▶ record, guest gone ──any command──▶ (none)
//!                           └───────────────stop────────────────────────────────▶ (none)
//! ```
//! A record is never changed in place: it is written beside and renamed. It is believed only as long as the process
//! it names lives (pid and start time); a host reboot empties `/run`, and a record that survived one is told by the
//! kernel's boot id.

use std::ffi::OsString;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use vserver_kernel::process::ProcessId;
use vserver_model::{GuestName, Layout, Mode, Xid};
use vserver_plan::NetContext;
use vserver_plan::Rights;
use vserver_plan::hide::View;
use vserver_plan::step::Ending;

use crate::failure::{Doing, Failure};
use crate::virtualtree;

/// Everything that stop, enter, status and the lists need of a running guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is one fact about the guest")]
pub struct Record {
    /// Layout of this file; another number is not believed.
    pub format: u32,
    /// The guest.
    pub name: GuestName,
    /// `name` of the configuration at the start.
    pub display_name: OsString,
    /// Its context.
    pub xid: Xid,
    /// The configuration directory.
    pub dir: PathBuf,
    /// The guest's root on the host.
    pub root: PathBuf,
    /// How it is confined.
    pub mode: Mode,
    /// Its first process, as the host numbers it.
    pub init: ProcessId,
    /// The guard beside it; gone when it was killed.
    pub guard: ProcessId,
    /// The first process is the guest's own init rather than our stub.
    pub init_mode: bool,
    /// It has a time namespace of its own.
    pub time: bool,
    /// It has another network namespace than the host: its own, or one that it shares with others.
    #[serde(default)]
    pub own_network: bool,
    /// The network context; `None`: it is not confined to addresses.
    #[serde(default)]
    pub network: Option<NetContext>,
    /// Path of its control groups below each hierarchy's root.
    pub group: String,
    /// The one above it that the guest shares with others, removed when nobody uses it.
    #[serde(default)]
    pub shared_group: Option<String>,
    /// Seconds since 1970.
    pub started: u64,
    /// The boot of the host in which it was started.
    pub boot: String,
    /// What an entering process gets.
    pub rights: Rights,
    /// What the guest sees of the host's network; `None`: all of it, or it has one of its own.
    #[serde(default)]
    pub view: Option<View>,
    /// How to end it.
    pub ending: Ending,
    /// Flag `private`: nobody may enter.
    pub private: bool,
    /// `shell` of the configuration.
    pub shell: Option<OsString>,
    /// No terminal proxy for enter.
    pub vlogin_disabled: bool,
    /// The context flags in force, for `vattribute` and `/run/vserver/virtual`.
    pub flags: u64,
    /// The run file (target of `CFG/run`).
    pub run_file: PathBuf,
    /// Default tty for `--defaulttty`.
    pub tty: Option<PathBuf>,
}

/// The format written by this version.
pub const FORMAT: u32 = 1;

/// Where the state of one guest lies: `RUNDIR/.state/NAME`.
pub fn state_dir(layout: &Layout, name: &GuestName) -> PathBuf {
    layout.rundir.join(".state").join(name.as_path())
}

fn record_path(layout: &Layout, name: &GuestName) -> PathBuf {
    state_dir(layout, name).join("record")
}

/// What is known of a guest's running.
#[derive(Debug)]
pub enum State {
    /// It runs.
    Running(Box<Record>),
    /// A record is there, but the guest has ended: somebody must clean up.
    Ended(Box<Record>),
    /// A record is there that cannot be read.
    Broken {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// No record.
    Stopped,
}

/// Looks at the record of one guest.
pub fn state(layout: &Layout, name: &GuestName) -> State {
    let path = record_path(layout, name);
    match read(&path) {
        Ok(Some(record)) if record.is_alive() => State::Running(Box::new(record)),
        Ok(Some(record)) => State::Ended(Box::new(record)),
        Ok(None) => State::Stopped,
        Err(reason) => State::Broken { path, reason },
    }
}

/// The record of a running guest.
pub fn running(layout: &Layout, name: &GuestName) -> Option<Record> {
    match state(layout, name) {
        State::Running(record) => Some(*record),
        _ => None,
    }
}

/// The records of all running guests, by ascending xid.
pub fn all(layout: &Layout) -> Vec<Record> {
    let mut records: Vec<Record> = names(layout).iter().filter_map(|name| running(layout, name)).collect();
    records.sort_by_key(|record| record.xid.get());
    records
}

/// What the lists of many guests need of a record.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Brief {
    format: u32,
    /// As [`Record::name`].
    pub name: GuestName,
    /// As [`Record::display_name`].
    pub display_name: OsString,
    /// As [`Record::xid`].
    pub xid: Xid,
    /// As [`Record::init`].
    pub init: ProcessId,
    boot: String,
}

/// Those records of these guests that are of this boot. Whether the guests still run is not looked at.
pub fn briefs(layout: &Layout, names: &[GuestName]) -> Vec<Brief> {
    let read = |name: &GuestName| serde_json::from_slice(&fs::read(record_path(layout, name)).ok()?).ok();
    let known = |brief: &Brief| brief.format == FORMAT && brief.boot == boot_id();
    names.iter().filter_map(read).filter(known).collect()
}

/// Names that have a state directory, running or not.
pub fn names(layout: &Layout) -> Vec<GuestName> {
    let Ok(entries) = fs::read_dir(layout.rundir.join(".state")) else { return Vec::new() };
    entries.filter_map(|entry| GuestName::new(entry.ok()?.file_name()).ok()).collect()
}

/// The running guest with this number.
pub fn by_xid(layout: &Layout, xid: u32) -> Option<Record> {
    // The reverse link names the configuration; the record decides.
    let target = fs::read_link(layout.revdir.join(xid.to_string())).ok()?;
    let name = GuestName::new(target.file_name()?).ok()?;
    running(layout, &name).filter(|record| record.xid.get() == xid)
}

fn read(path: &Path) -> Result<Option<Record>, String> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    let record: Record = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
    if record.format == FORMAT {
        Ok(Some(record))
    } else {
        Err(format!("format {} is not known", record.format))
    }
}

/// The kernel's name of this boot, read once: a list compares it with every record.
pub fn boot_id() -> &'static str {
    static KNOWN: OnceLock<String> = OnceLock::new();
    KNOWN.get_or_init(|| {
        let read = fs::read_to_string("/proc/sys/kernel/random/boot_id");
        read.map(|id| id.trim().to_owned()).unwrap_or_default()
    })
}

/// Seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs()
}

impl Record {
    /// Whether the process that this record calls the guest's first one is that process still.
    pub fn is_alive(&self) -> bool {
        self.boot == boot_id() && self.init.is_alive()
    }

    /// Writes the record, then the run file and the reverse link.
    ///
    /// # Errors
    /// A file below `/run` cannot be written.
    pub fn write(&self, layout: &Layout) -> Result<(), Failure> {
        let directory = state_dir(layout, &self.name);
        make_directory(&directory)?;
        let text = serde_json::to_vec_pretty(self).doing(|| "put the record into words".into())?;
        write_beside(&directory.join("record"), &text)?;
        if let Some(parent) = self.run_file.parent() {
            make_directory(parent)?;
        }
        write_beside(&self.run_file, format!("{}\n", self.xid).as_bytes())?;
        make_directory(&layout.revdir)?;
        self.claim_number(layout)
    }

    /// The reverse link is made exclusively: of two guests with one number that start at once, one gets it.
    fn claim_number(&self, layout: &Layout) -> Result<(), Failure> {
        let link = layout.rev_link_of(self.xid);
        if fs::read_link(&link).is_ok_and(|target| target == self.dir) {
            return Ok(());
        }
        let made = symlink(&self.dir, &link);
        if made.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::AlreadyExists) {
            if let Some(other) = by_xid(layout, self.xid.get()).filter(|other| other.name != self.name) {
                return Err(number_in_use(&self.dir, &other));
            }
            // Left behind by a host that crashed, or by a start that was killed.
            remove_if_there(&link)?;
            return symlink(&self.dir, &link).doing(|| format!("make the link {}", link.display()));
        }
        made.doing(|| format!("make the link {}", link.display()))
    }

    /// Removes everything that [`Record::write`] wrote, and the state directory. May be called again.
    ///
    /// # Errors
    /// A file below `/run` cannot be removed.
    pub fn remove(&self, layout: &Layout) -> Result<(), Failure> {
        let link = layout.rev_link_of(self.xid);
        if fs::read_link(&link).is_ok_and(|target| target == self.dir) {
            remove_if_there(&link)?;
        }
        let ours = fs::read_to_string(&self.run_file).is_ok_and(|text| text.trim() == self.xid.to_string());
        if ours {
            remove_if_there(&self.run_file)?;
        }
        remove_if_there(&beside(&self.run_file))?;
        remove_state(layout, &self.name)
    }
}

/// The failure of a start whose number another running guest has.
pub fn number_in_use(dir: &Path, other: &Record) -> Failure {
    Failure::new(format!("context {} is in use by the running guest '{}'", other.xid, other.name.display()))
        .place(dir.join("context"), 1)
        .hint("give each guest a number of its own")
}

/// Removes the state directory of a guest, record last: a clean-up that is killed halfway is found again.
///
/// # Errors
/// A file below `/run` cannot be removed.
pub fn remove_state(layout: &Layout, name: &GuestName) -> Result<(), Failure> {
    let directory = state_dir(layout, name);
    remove_odd(layout, name)?;
    remove_directory(&directory.join("net"))?;
    for file in ["console.old", "console", "record.new", "record"] {
        remove_if_there(&directory.join(file))?;
    }
    // Whatever else got in there goes with it.
    remove_directory(&directory)
}

/// Removes what stands in the way of writing a record anew: anything but a file in its place.
///
/// # Errors
/// It cannot be removed.
pub fn remove_odd(layout: &Layout, name: &GuestName) -> Result<(), Failure> {
    let path = record_path(layout, name);
    match path.symlink_metadata() {
        Ok(found) if found.is_dir() => {
            fs::remove_dir_all(&path).doing(|| format!("remove {}", path.display()))
        }
        Ok(found) if !found.is_file() => remove_if_there(&path),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Removes what a guest without a readable record has left below `/run`: nothing tells its number but the reverse
/// link.
///
/// # Errors
/// A file below `/run` cannot be removed.
pub fn remove_unreadable(layout: &Layout, name: &GuestName) -> Result<(), Failure> {
    for entry in fs::read_dir(&layout.revdir).into_iter().flatten().flatten() {
        let leads_to = fs::read_link(entry.path()).unwrap_or_default();
        let xid = entry.file_name().to_str().and_then(|number| number.parse().ok());
        let Some(xid) = xid.and_then(|number: u32| Xid::new(number).ok()) else { continue };
        if leads_to.file_name() == Some(name.as_os_str()) {
            remove_if_there(&entry.path())?;
            virtualtree::remove(layout, xid)?;
        }
    }
    let run_file = layout.run_file_of(name);
    remove_if_there(&run_file)?;
    remove_if_there(&beside(&run_file))?;
    remove_state(layout, name)
}

/// Makes a directory that only root may enter, with its parents.
///
/// # Errors
/// As mkdir(2).
pub fn make_directory(path: &Path) -> Result<(), Failure> {
    fs::create_dir_all(path).doing(|| format!("make {}", path.display()))
}

pub(crate) fn remove_if_there(path: &Path) -> Result<(), Failure> {
    match fs::remove_file(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).doing(|| format!("remove {}", path.display())),
    }
}

/// With all that is in it, what a killed command has left too; that it is gone already is as good.
pub(crate) fn remove_directory(path: &Path) -> Result<(), Failure> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).doing(|| format!("remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Where a file is written before it gets its place.
pub(crate) fn beside(path: &Path) -> PathBuf {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    beside.into()
}

/// Writes a file so that a reader sees the old content or the new one, never a part.
pub(crate) fn write_beside(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let beside = beside(path);
    let write = || -> std::io::Result<()> {
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).open(&beside)?;
        file.write_all(bytes)?;
        fs::rename(&beside, path)
    };
    write().inspect_err(|_| drop(fs::remove_file(&beside))).doing(|| format!("write {}", path.display()))
}
