//! A [`Guest`] back to its directory.
//!
//! The guest is rendered as the files that say it, and so is the guest that the directory says now; only what differs
//! is touched. Whatever was not changed keeps its bytes: comments, order, old spellings. Programs (`scripts/`, the
//! handlers of `apps/vshelper/`) and items that are only carried are files of their own and stay as they are.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use vserver_model::init::print_killseq;
use vserver_model::words::UMASK;
use vserver_model::{Address, Layout, Personality, Sourced};

use crate::fstab;
use crate::guest::{
    Cgroup, Cpuset, DeviceMapping, Guest, Init, Interface, Interfaces, Netns, Sched, Space, Spaces, Switch,
    UserSpace, Uts, Vshelper, Words,
};
use crate::read::read;

/// Why a guest was not written. What was written before stays; writing again goes on from there.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The value has no form in its file.
    #[error("{} cannot hold '{}': {why}", .item.display(), .value.display())]
    Unwritable {
        /// The item.
        item: PathBuf,
        /// The value.
        value: OsString,
        /// What is in the way.
        why: &'static str,
    },
    /// It was written, and reading still gives another value: an inherited key or a default of the site, which are
    /// not the guest's to write, decides.
    #[error("{} still has another value: one that the guest inherits decides", .0.display())]
    Overridden(PathBuf),
    /// The filesystem refused.
    #[error("cannot {op} {}", .path.display())]
    File {
        /// What was tried.
        op: &'static str,
        /// On what.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
}

/// Writes a guest into a configuration directory, which is made if it is missing. Reading it back gives the same
/// values; what has them already is not touched.
///
/// # Errors
/// [`WriteError`]; a value without a form in its file is found before anything is written.
pub fn write(layout: &Layout, dir: &Path, guest: &Guest) -> Result<(), WriteError> {
    let new = render(layout, dir, guest)?;
    // What stands there may be what no file can say (a bad value); then every file of the new guest is written.
    let old = render(layout, dir, &read(layout, dir).guest).unwrap_or_default();
    make_dir(dir)?;
    let nothing = Group::default();
    for key in keys(&old, &new) {
        change(dir, old.get(key).unwrap_or(&nothing), new.get(key).unwrap_or(&nothing))?;
    }
    let is = render(layout, dir, &read(layout, dir).guest)?;
    match keys(&is, &new).into_iter().find(|key| is.get(*key) != new.get(*key)) {
        Some(key) => Err(WriteError::Overridden(dir.join(key))),
        None => Ok(()),
    }
}

fn keys<'a>(one: &'a Rendering, other: &'a Rendering) -> BTreeSet<&'a PathBuf> {
    one.keys().chain(other.keys()).collect()
}

/// Makes the files of one group say the new value.
fn change(dir: &Path, before: &Group, after: &Group) -> Result<(), WriteError> {
    if before == after {
        return Ok(());
    }
    // A directory of keys that is one value goes as a whole; so does one that stands there without being a value (it
    // is switched off, or incomplete), before the new one takes its place.
    let gone = match (&before.directory, &after.directory) {
        (Some(whole), None) | (None, Some(whole)) => Some(dir.join(whole)),
        _ => None,
    };
    if let Some(path) = gone
        && let Err(source) = fs::remove_dir_all(&path)
        && source.kind() != io::ErrorKind::NotFound
    {
        return Err(WriteError::File { op: "remove", path, source });
    }
    // What lies in a directory goes before the directory.
    for path in before.files.keys().rev().chain(&before.also).chain(&after.also) {
        if !after.files.contains_key(path) {
            remove_item(dir, path)?;
        }
    }
    // Where a value has several spellings, or an inherited one, the files that say it may not be there.
    let all = after.in_full || before.in_full;
    for (path, content) in &after.files {
        match content {
            Content::Directory => make_dir(&dir.join(path))?,
            _ if !all && before.files.get(path) == Some(content) => {}
            Content::File(bytes) => write_whole(dir, path, bytes)?,
            Content::Link(target) => write_link(dir, path, target)?,
        }
    }
    Ok(())
}

/// Writes a scalar or any one-line value: the value and a newline. Directories on the way are made.
///
/// # Errors
/// [`WriteError`]: the value has a newline or NUL in it, or the filesystem refuses.
pub fn write_item(dir: &Path, item: impl AsRef<Path>, value: impl AsRef<OsStr>) -> Result<(), WriteError> {
    let content = one_line(item.as_ref(), value.as_ref())?;
    write_whole(dir, item, &content)
}

/// Writes a list: one item a line.
///
/// # Errors
/// As [`write_item`], for the first item that is wrong.
pub fn write_lines<V: AsRef<OsStr>>(
    dir: &Path,
    item: impl AsRef<Path>,
    values: impl IntoIterator<Item = V>,
) -> Result<(), WriteError> {
    let mut content = Vec::new();
    for value in values {
        content.extend(one_line(item.as_ref(), value.as_ref())?);
    }
    write_whole(dir, item, &content)
}

/// Makes an item that only needs to exist.
///
/// # Errors
/// The filesystem refuses.
pub fn write_marker(dir: &Path, item: impl AsRef<Path>) -> Result<(), WriteError> {
    write_whole(dir, item, b"")
}

/// Writes a symbolic link with this text, in place of what is there.
///
/// # Errors
/// The filesystem refuses.
pub fn write_link(dir: &Path, item: impl AsRef<Path>, target: &Path) -> Result<(), WriteError> {
    put(&dir.join(item), |new| symlink(target, new))
}

/// Writes a whole file as it is, in place of what is there: readers see the old file or the new one, never half.
///
/// # Errors
/// The filesystem refuses.
pub fn write_whole(dir: &Path, item: impl AsRef<Path>, content: &[u8]) -> Result<(), WriteError> {
    put(&dir.join(item), |new| {
        let mut file = fs::File::create_new(new)?;
        file.write_all(content)
    })
}

/// Removes an item; one that is not there is no error. Directories that this leaves empty go as well, but not the
/// guest's own; a directory that still holds something stays.
///
/// # Errors
/// The filesystem refuses.
pub fn remove_item(dir: &Path, item: impl AsRef<Path>) -> Result<(), WriteError> {
    let path = dir.join(item);
    let is_dir = path.symlink_metadata().is_ok_and(|meta| meta.is_dir());
    let removed = if is_dir { fs::remove_dir(&path) } else { fs::remove_file(&path) };
    let harmless = [io::ErrorKind::NotFound, io::ErrorKind::NotADirectory, io::ErrorKind::DirectoryNotEmpty];
    match removed {
        Err(source) if harmless.contains(&source.kind()) => return Ok(()),
        Err(source) => return Err(WriteError::File { op: "remove", path, source }),
        Ok(()) => {}
    }
    for parent in path.ancestors().skip(1).take_while(|parent| *parent != dir && parent.starts_with(dir)) {
        if fs::remove_dir(parent).is_err() {
            break;
        }
    }
    Ok(())
}

/// Makes something under a name of its own and moves it into place.
fn put(path: &Path, make: impl FnOnce(&Path) -> io::Result<()>) -> Result<(), WriteError> {
    let parent = path.parent().unwrap_or(Path::new("/"));
    make_dir(parent)?;
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}.new", std::process::id()));
    let new = parent.join(name);
    let done = make(&new).and_then(|()| fs::rename(&new, path));
    done.map_err(|source| {
        // What was made under the other name is nobody's; its own failure would hide the real one.
        drop(fs::remove_file(&new));
        WriteError::File { op: "write", path: path.to_owned(), source }
    })
}

fn make_dir(path: &Path) -> Result<(), WriteError> {
    fs::create_dir_all(path).map_err(|source| WriteError::File { op: "make", path: path.to_owned(), source })
}

fn unwritable(item: &Path, value: &OsStr, why: &'static str) -> WriteError {
    WriteError::Unwritable { item: item.to_owned(), value: value.to_owned(), why }
}

/// The value with a newline, if reading takes the same from it.
fn one_line(item: &Path, value: &OsStr) -> Result<Vec<u8>, WriteError> {
    let bytes = value.as_bytes();
    if bytes.contains(&b'\n') || bytes.contains(&0) || bytes.ends_with(b"\r") {
        return Err(unwritable(item, value, "it must be one line of text"));
    }
    let mut content = bytes.to_vec();
    content.push(b'\n');
    Ok(content)
}

/// What stands at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Content {
    File(Vec<u8>),
    Link(PathBuf),
    Directory,
}

/// The files that say one value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Group {
    files: BTreeMap<PathBuf, Content>,
    /// Other spellings, which must go when the value changes.
    also: Vec<PathBuf>,
    /// The directory that goes as a whole when the value does.
    directory: Option<PathBuf>,
    /// A change writes all files, also those that say the same as before.
    in_full: bool,
    /// What the value inherits: when that changes, the files must be written although the value stays.
    inherited: Option<OsString>,
}

type Rendering = BTreeMap<PathBuf, Group>;

/// Renders a guest, value by value.
fn render(layout: &Layout, dir: &Path, guest: &Guest) -> Result<Rendering, WriteError> {
    let mut to = Renderer { groups: BTreeMap::new(), dir, layout };
    to.top(guest)?;
    to.lists(guest)?;
    to.spaces(&guest.spaces)?;
    to.uts(&guest.uts)?;
    to.limits(guest)?;
    to.interfaces(&guest.interfaces)?;
    to.netns(guest.netns.as_ref(), guest)?;
    to.cgroup(&guest.cgroup)?;
    to.cpuset(guest.cpuset.as_ref())?;
    to.sched(&guest.sched)?;
    to.directories(guest)?;
    to.init(&guest.init)?;
    to.vshelper(&guest.vshelper)?;
    Ok(to.groups)
}

struct Renderer<'a> {
    groups: Rendering,
    dir: &'a Path,
    layout: &'a Layout,
}

/// A scalar's text.
fn text<T: std::fmt::Display>(value: Option<&Sourced<T>>) -> Option<OsString> {
    value.map(|value| value.value.to_string().into())
}

/// A list's text.
fn in_lines<T: std::fmt::Display>(values: &[Sourced<T>]) -> Vec<u8> {
    values.iter().flat_map(|value| format!("{}\n", value.value).into_bytes()).collect()
}

fn os(value: Option<&Sourced<OsString>>) -> Option<OsString> {
    value.map(|value| value.value.clone())
}

impl Renderer<'_> {
    fn put(&mut self, group: impl Into<PathBuf>, path: impl Into<PathBuf>, content: Content) {
        self.groups.entry(group.into()).or_default().files.insert(path.into(), content);
    }

    /// The group of a value that has other spellings.
    fn also(
        &mut self,
        group: impl Into<PathBuf>,
        others: impl IntoIterator<Item = impl Into<PathBuf>>,
    ) -> &mut Group {
        let group = self.groups.entry(group.into()).or_default();
        group.also.extend(others.into_iter().map(Into::into));
        group.in_full = true;
        group
    }

    /// The group of a value that is a directory.
    fn directory(&mut self, base: &Path) -> &mut Group {
        let group = self.groups.entry(base.into()).or_default();
        group.directory = Some(base.into());
        group
    }

    /// A scalar: its first line without blanks around it is all that reading takes.
    fn scalar(
        &mut self,
        group: impl Into<PathBuf>,
        path: impl Into<PathBuf>,
        value: Option<OsString>,
    ) -> Result<(), WriteError> {
        let Some(value) = value else { return Ok(()) };
        let path = path.into();
        let bytes = value.as_bytes();
        if bytes.is_empty() || crate::content::trim(bytes) != bytes {
            return Err(unwritable(&path, &value, "a value cannot be empty or have blanks around it"));
        }
        let content = one_line(&path, &value)?;
        self.put(group, path, Content::File(content));
        Ok(())
    }

    fn item(&mut self, item: &str, value: Option<OsString>) -> Result<(), WriteError> {
        self.scalar(item, item, value)
    }

    fn marker(&mut self, item: &str, on: bool) {
        if on {
            self.put(item, item, Content::File(Vec::new()));
        }
    }

    /// An item whose absence lets a default of the site through: an empty file says that there is none.
    fn hide_default(&mut self, item: &str, default: &str) {
        if !self.groups.contains_key(Path::new(item)) && self.layout.defaults.join(default).exists() {
            self.put(item, item, Content::File(Vec::new()));
        }
    }

    fn link(&mut self, item: &str, target: Option<&Path>) {
        // A directory of its own in place of the link is the same value, and nothing to change.
        if let Some(target) = target {
            self.put(item, item, Content::Link(target.to_owned()));
        }
    }

    /// A list; `comments` if lines that begin with `#` would be lost.
    fn list<'v>(
        &mut self,
        item: &str,
        values: impl Iterator<Item = &'v OsStr>,
        comments: bool,
    ) -> Result<(), WriteError> {
        let mut content = Vec::new();
        for value in values {
            let bytes = value.as_bytes();
            let lost =
                bytes.is_empty() || (comments && (bytes[0] == b'#' || crate::content::trim(bytes) != bytes));
            if lost {
                return Err(unwritable(Path::new(item), value, "reading would skip or change the line"));
            }
            content.extend(one_line(Path::new(item), value)?);
        }
        if !content.is_empty() {
            self.put(item, item, Content::File(content));
        }
        Ok(())
    }

    fn top(&mut self, guest: &Guest) -> Result<(), WriteError> {
        self.link("vdir", guest.vdir.as_ref().map(|link| link.value.as_path()));
        self.link("cache", guest.cache.as_ref().map(|link| link.value.as_path()));
        self.link("run", guest.run.as_ref().map(|link| link.value.as_path()));
        self.item("name", os(guest.display_name.as_ref()))?;
        self.item("context", text(guest.context.as_ref()))?;
        self.item("ncontext", text(guest.ncontext.as_ref()))?;
        self.item("tag", text(guest.tag.as_ref()))?;
        self.item("nice", text(guest.nice.as_ref()))?;
        self.item("badness", text(guest.badness.as_ref()))?;
        self.item("shell", os(guest.shell.as_ref()))?;
        self.hide_default("shell", "shell");
        self.marker("noncontext", guest.noncontext.is_some());
        self.marker("netshadow", guest.netshadow.is_some());
        self.marker("noisy", guest.noisy.is_some());
        self.marker("disabled", guest.disabled.is_some());
        self.marker("keepfds", guest.keepfds.is_some());
        self.switch("namespace", &guest.namespace);
        self.switch("namespace-cleanup", &guest.namespace_cleanup);
        if let Some(personality) = &guest.personality {
            let words = match Personality::new(personality.value) {
                Ok(known) => known.to_string(),
                Err(_) => format!("{:#x}", personality.value),
            };
            let lines = words.replace(',', "\n") + "\n";
            self.put("personality", "personality", Content::File(lines.into_bytes()));
        }
        if let Some(ionice) = &guest.ionice {
            self.scalar("ionice", "ionice/class", Some(ionice.value.class.to_string().into()))?;
            self.scalar("ionice", "ionice/priority", Some(ionice.value.priority.to_string().into()))?;
        }
        self.put("apps/init/mtab", "apps/init/mtab", Content::File(guest.mtab.clone()));
        Ok(())
    }

    fn switch(&mut self, item: &str, switch: &Switch) {
        let path = if switch.on { item.to_owned() } else { format!("no{item}") };
        self.put(item, path, Content::File(Vec::new()));
    }

    fn lists(&mut self, guest: &Guest) -> Result<(), WriteError> {
        for (item, words) in [
            ("bcapabilities", &guest.bcapabilities),
            ("ccapabilities", &guest.ccapabilities),
            ("cflags", &guest.cflags),
            ("nflags", &guest.nflags),
            ("ncapabilities", &guest.ncapabilities),
            ("umask", &guest.umask),
        ] {
            self.words(item, words)?;
        }
        self.also("cflags", ["flags"]);
        let skip = guest.namespace_cleanup_skip.iter().map(|path| path.value.as_os_str());
        self.list("namespace-cleanup-skip", skip, false)?;
        self.hide_default("namespace-cleanup-skip", "namespace-cleanup-skip");
        let mut main: Vec<u8> =
            guest.fstab.iter().flat_map(|entry| fstab::format_line(&entry.value)).collect();
        let remote: Vec<u8> =
            guest.fstab_remote.iter().flat_map(|entry| fstab::format_line(&entry.value)).collect();
        if !remote.is_empty() {
            self.put("fstab", "fstab.remote", Content::File(remote));
        } else if main.is_empty() && guest.has_fstab {
            // Its existence alone makes the guest's mtab be written.
            main.extend_from_slice(b"# nothing is mounted\n");
        }
        if !main.is_empty() {
            self.put("fstab", "fstab", Content::File(main));
        }
        // That any of the three exists is part of the value.
        self.also("fstab", ["fstab", "fstab.local", "fstab.remote"]);
        Ok(())
    }

    fn words(&mut self, item: &str, words: &Words) -> Result<(), WriteError> {
        self.list(item, words.lines.iter().map(|line| OsStr::new(&line.value)), true)
    }

    fn spaces(&mut self, spaces: &Spaces) -> Result<(), WriteError> {
        for (item, space) in [("spaces/pid", &spaces.pid), ("spaces/net", &spaces.net)] {
            match space.as_ref().map(|space| &space.value) {
                None => {}
                Some(Space::Own) => self.marker(item, true),
                Some(Space::Off) => self.item(item, Some("0".into()))?,
                Some(Space::Of(other)) => self.item(item, Some(other.clone()))?,
            }
        }
        match spaces.user.as_ref().map(|user| &user.value) {
            None => {}
            Some(UserSpace::Default) => self.marker("spaces/user", true),
            Some(UserSpace::Off) => self.item("spaces/user", Some("0".into()))?,
            Some(UserSpace::Range { first, count }) => {
                self.item("spaces/user", Some(format!("{first} {count}").into()))?;
            }
        }
        let mask = spaces.mask.as_ref().map(|mask| match mask.value {
            0 => "none".into(),
            bits => UMASK.print(bits).into(),
        });
        self.item("spaces/mask", mask)
    }

    fn uts(&mut self, uts: &Uts) -> Result<(), WriteError> {
        for (item, value) in [
            ("uts/sysname", &uts.sysname),
            ("uts/nodename", &uts.nodename),
            ("uts/release", &uts.release),
            ("uts/version", &uts.version),
            ("uts/machine", &uts.machine),
            ("uts/domainname", &uts.domainname),
        ] {
            if let Some(value) = value {
                let content = one_line(Path::new(item), &value.value)?;
                self.put(item, item, Content::File(content));
            }
        }
        Ok(())
    }

    fn limits(&mut self, guest: &Guest) -> Result<(), WriteError> {
        for (resource, limit) in &guest.ulimits {
            let item = format!("ulimits/{resource}");
            self.scalar(&item, format!("{item}.soft"), text(limit.soft.as_ref()))?;
            self.scalar(&item, format!("{item}.hard"), text(limit.hard.as_ref()))?;
            self.also(&item, [&item]);
        }
        for (resource, limit) in &guest.rlimits {
            let item = format!("rlimits/{resource}");
            for (ending, value) in
                [("min", limit.value.min), ("soft", limit.value.soft), ("hard", limit.value.hard)]
            {
                self.scalar(&item, format!("{item}.{ending}"), value.map(|value| value.to_string().into()))?;
            }
            self.also(&item, [&item]);
        }
        Ok(())
    }

    fn interfaces(&mut self, interfaces: &Interfaces) -> Result<(), WriteError> {
        self.item("interfaces/bcast", text(interfaces.bcast.as_ref()))?;
        self.item("interfaces/lback", text(interfaces.lback.as_ref()))?;
        for interface in &interfaces.list {
            self.interface(interface, interfaces.bcast.as_ref())?;
        }
        Ok(())
    }

    fn interface(
        &mut self,
        interface: &Interface,
        site_bcast: Option<&Sourced<Address>>,
    ) -> Result<(), WriteError> {
        let base = Path::new("interfaces").join(&interface.key);
        let at = |key: &str| base.join(key);
        let inherits = |key: &str| self.dir.join("interfaces").join(key).exists();
        let inherits_prefix = inherits("prefix") || inherits("mask");
        let inherits_vlan = inherits("vlandev") || self.layout.defaults.join("interfaces/vlandev").exists();
        self.directory(&base);
        // The address and its prefix are one value of three files, in a group of its own.
        let address = interface.address.value;
        let ip = match address.prefix {
            None if inherits_prefix => format!("{}/{}", address.ip, address.effective_prefix()),
            _ => address.to_string(),
        };
        self.scalar(at("ip"), at("ip"), Some(ip.into()))?;
        self.also(at("ip"), [at("prefix"), at("mask")]);
        self.scalar(&base, at("dev"), os(interface.dev.as_ref()))?;
        let bcast = match &interface.bcast {
            None if site_bcast.is_some() => Some("+".into()),
            bcast => text(bcast.as_ref()),
        };
        self.scalar(at("bcast"), at("bcast"), bcast)?;
        let group = self.groups.entry(at("bcast")).or_default();
        (group.in_full, group.inherited) = (true, text(site_bcast));
        self.scalar(&base, at("name"), os(interface.label.as_ref()))?;
        self.scalar(&base, at("scope"), text(interface.scope.as_ref()))?;
        self.scalar(&base, at("peer"), text(interface.peer.as_ref()))?;
        let mut markers = vec![("down", interface.down)];
        markers.push(("vlandev", interface.vlan));
        markers.push(("novlandev", !interface.vlan && inherits_vlan));
        if let Some(tuntap) = &interface.tuntap {
            markers.push((if tuntap.tap { "tap" } else { "tun" }, true));
            markers.extend([("nocsum", tuntap.nocsum), ("shared", tuntap.shared)]);
            self.scalar(&base, at("uid"), text(tuntap.uid.as_ref()))?;
            self.scalar(&base, at("gid"), text(tuntap.gid.as_ref()))?;
            self.scalar(&base, at("linktype"), text(tuntap.linktype.as_ref()))?;
        }
        for (key, on) in markers {
            if on {
                self.put(&base, at(key), Content::File(Vec::new()));
            }
        }
        if interface.nodev {
            self.put(at("nodev"), at("nodev"), Content::File(Vec::new()));
        }
        self.also(at("nodev"), [at("only_ip")]);
        Ok(())
    }

    fn netns(&mut self, netns: Option<&Netns>, guest: &Guest) -> Result<(), WriteError> {
        let Some(netns) = netns else {
            self.marker("nonetns", self.layout.defaults.join("netns").is_dir());
            return Ok(());
        };
        self.put("netns", "netns", Content::Directory);
        self.directory(Path::new("netns")).in_full = true;
        if netns.name != guest.name.as_os_str() {
            self.scalar("netns", "netns/name", Some(netns.name.clone()))?;
        }
        if netns.shared {
            self.put("netns", "netns/shared", Content::File(Vec::new()));
        }
        for (index, interface) in netns.interfaces.iter().enumerate() {
            // What stood directly in netns/interfaces moves to a directory where it belongs.
            let key = key_of(&interface.place.file.join("host"), "interfaces");
            let base = Path::new("netns/interfaces").join(key.unwrap_or_else(|| index.to_string().into()));
            self.put("netns", &base, Content::Directory);
            self.scalar("netns", base.join("host"), os(interface.host.as_ref()))?;
            self.scalar("netns", base.join("guest"), Some(interface.guest.clone()))?;
            self.scalar("netns", base.join("type"), Some(interface.kind.clone()))?;
            self.scalar("netns", base.join("mtu"), text(interface.mtu.as_ref()))?;
            self.scalar("netns", base.join("mac"), text(interface.mac.as_ref()))?;
            self.scalar("netns", base.join("bridge"), os(interface.bridge.as_ref()))?;
            for (key, lines) in [
                ("address", in_lines(&interface.addresses)),
                ("host-address", in_lines(&interface.host_addresses)),
                ("gateway", in_lines(&interface.gateways)),
                ("route", in_lines(&interface.routes)),
            ] {
                if !lines.is_empty() {
                    self.put("netns", base.join(key), Content::File(lines));
                }
            }
        }
        Ok(())
    }

    fn cgroup(&mut self, cgroup: &Cgroup) -> Result<(), WriteError> {
        self.marker("nocgroup", cgroup.nocgroup);
        self.scalar("cgroup", "cgroup/name", os(cgroup.name.as_ref()))?;
        for (name, content) in &cgroup.settings {
            self.put("cgroup", Path::new("cgroup").join(name), Content::File(content.value.clone()));
        }
        // An own directory, even an empty one, takes the place of the site's.
        if self.layout.defaults.join("cgroup").is_dir() && !cgroup.nocgroup {
            self.put("cgroup", "cgroup", Content::Directory);
        }
        // A value that the site's directory gave is in no file of the guest: a change writes all of them.
        self.groups.entry("cgroup".into()).or_default().in_full = true;
        Ok(())
    }

    fn cpuset(&mut self, cpuset: Option<&Cpuset>) -> Result<(), WriteError> {
        let Some(cpuset) = cpuset else { return Ok(()) };
        self.scalar("cpuset", "cpuset/name", os(Some(&cpuset.name)))?;
        self.scalar("cpuset", "cpuset/cpus", text(cpuset.cpus.as_ref()))?;
        self.scalar("cpuset", "cpuset/mems", text(cpuset.mems.as_ref()))?;
        for (key, on) in [
            ("cpuset/cpu_exclusive", cpuset.cpu_exclusive),
            ("cpuset/mem_exclusive", cpuset.mem_exclusive),
            ("cpuset/virtualized", cpuset.virtualized),
        ] {
            if on {
                self.scalar("cpuset", key, Some("1".into()))?;
            }
        }
        if cpuset.nocreate {
            self.put("cpuset", "cpuset/nocreate", Content::File(Vec::new()));
        }
        let keys = [
            "cpus",
            "mems",
            "cpu_exclusive",
            "cpus_exclusive",
            "mem_exclusive",
            "mems_exclusive",
            "virtualized",
            "nocreate",
        ];
        self.also("cpuset", keys.map(|key| Path::new("cpuset").join(key)));
        Ok(())
    }

    fn sched(&mut self, all: &[Sched]) -> Result<(), WriteError> {
        for sched in all {
            let base = sched.key.as_ref().map_or_else(|| "sched".into(), |key| Path::new("sched").join(key));
            let group = self.also(&base, [base.join("prio-bias")]);
            if sched.key.is_some() {
                group.directory = Some(base.clone());
                group.files.insert(base.clone(), Content::Directory);
            } else {
                group.also.push("schedule".into());
            }
            for (key, value) in &sched.values {
                self.scalar(&base, base.join(key), text(Some(value)))?;
            }
            if sched.idle_time {
                self.put(&base, base.join("idle-time"), Content::File(Vec::new()));
            }
        }
        Ok(())
    }

    fn directories(&mut self, guest: &Guest) -> Result<(), WriteError> {
        for (index, sysctl) in guest.sysctl.iter().enumerate() {
            let key = key_of(&sysctl.setting.file, "sysctl").unwrap_or_else(|| index.to_string().into());
            let base = Path::new("sysctl").join(key);
            self.scalar(&base, base.join("setting"), Some(sysctl.setting.value.clone().into()))?;
            self.put(&base, base.join("value"), Content::File(sysctl.value.clone()));
            self.directory(&base);
        }
        for (index, limit) in guest.dlimits.iter().enumerate() {
            let key = key_of(&limit.file, "dlimits").unwrap_or_else(|| index.to_string().into());
            let base = Path::new("dlimits").join(key);
            let limit = &limit.value;
            self.scalar(&base, base.join("directory"), Some(limit.directory.clone().into()))?;
            for (key, value) in [
                ("space_total", limit.space_total_kib),
                ("inodes_total", limit.inodes_total),
                ("reserved", limit.reserved_percent.into()),
            ] {
                self.scalar(&base, base.join(key), Some(value.to_string().into()))?;
            }
            self.directory(&base);
        }
        for (index, rule) in guest.vdevmap.iter().enumerate() {
            let key = rule.file.file_name().map_or_else(|| index.to_string().into(), OsStr::to_owned);
            self.device_rule(&Path::new("apps/vdevmap").join(key), &rule.value)?;
        }
        Ok(())
    }

    fn device_rule(&mut self, base: &Path, rule: &DeviceMapping) -> Result<(), WriteError> {
        self.put(base, base, Content::Directory);
        self.directory(base);
        self.scalar(base, base.join("device"), rule.device.clone().map(Into::into))?;
        self.scalar(base, base.join("target"), rule.target.clone().map(Into::into))?;
        self.scalar(base, base.join("flags"), rule.flags.map(|flags| format!("{flags:#x}").into()))?;
        for (key, on) in [("open", rule.open), ("create", rule.create), ("remap", rule.remap)] {
            if on {
                self.put(base, base.join(key), Content::File(Vec::new()));
            }
        }
        Ok(())
    }

    fn init(&mut self, init: &Init) -> Result<(), WriteError> {
        let style = format!("{}\n", init.style).into_bytes();
        self.put("apps/init/style", "apps/init/style", Content::File(style));
        let start = "apps/init/runlevel.start";
        self.item(start, text(init.runlevel_start.as_ref()))?;
        self.also(start, ["apps/init/runlevel"]);
        self.item("apps/init/runlevel.stop", text(init.runlevel_stop.as_ref()))?;
        let killseq: Vec<OsString> = print_killseq(&init.killseq).into_iter().map(Into::into).collect();
        self.list("apps/init/killseq", killseq.iter().map(OsString::as_os_str), false)?;
        for (item, command) in [
            ("apps/init/cmd.start", &init.cmd_start),
            ("apps/init/cmd.stop", &init.cmd_stop),
            ("apps/init/cmd.start-sync", &init.cmd_start_sync),
            ("apps/init/cmd.stop-sync", &init.cmd_stop_sync),
            ("apps/init/cmd.prepare", &init.cmd_prepare),
        ] {
            let words = command.iter().flat_map(|command| &command.value);
            self.list(item, words.map(OsString::as_os_str), false)?;
        }
        self.marker("apps/init/sync", init.sync);
        self.link("apps/init/tty", init.tty.as_deref());
        self.list("apps/init/mark", init.marks.iter().map(|mark| mark.value.as_os_str()), true)?;
        self.list("apps/init/depends", init.depends.iter().map(|name| name.value.as_os_str()), true)?;
        let mut content = Vec::new();
        for (name, value) in &init.environment {
            let line = [name.as_bytes(), b"=", value.as_bytes()].concat();
            if name.is_empty() || name.as_bytes().contains(&b'=') {
                let line = OsString::from_vec(line);
                return Err(unwritable(
                    Path::new("apps/init/environment"),
                    &line,
                    "it has no variable's name",
                ));
            }
            content.extend(one_line(Path::new("apps/init/environment"), OsStr::from_bytes(&line))?);
        }
        self.put("apps/init/environment", "apps/init/environment", Content::File(content));
        Ok(())
    }

    fn vshelper(&mut self, vshelper: &Vshelper) -> Result<(), WriteError> {
        self.marker("apps/vshelper/disabled", vshelper.disabled);
        self.marker("apps/vshelper/warning-disabled", vshelper.warning_disabled);
        self.marker("apps/vshelper/debug", vshelper.debug);
        let seconds = vshelper.sync_timeout.as_secs().to_string();
        self.item("apps/vshelper/sync-timeout", Some(seconds.into()))?;
        self.item("apps/vshelper/action", Some(vshelper.action.clone()))
    }
}

/// The name of the directory that a key's file stands in, if that is an entry of `list`.
fn key_of(file: &Path, list: &str) -> Option<OsString> {
    let entry = file.parent()?;
    (entry.parent()?.file_name()? == list).then(|| entry.file_name().map(OsStr::to_owned))?
}
