//! The broker: answers the system calls that would show a guest the host's network devices (`hide_netif`).
//!
//! ```text
//!   guard ──a call waits: fork, exec──▶ broker ──▶ host's addresses, devices, routes
//!     ▲                                   │  makes the shadow (kernel/shadow.rs), drops its rights
//!     │◀───────closes LINK, ends──────────┘  answers until nobody has called for a while
//! ```
//! It is a process of the host that a guest never sees, and it only lives while it is needed. Of a guest it trusts
//! nothing: a call's registers are what the kernel tells, memory is copied once, paths are none of its concern. It has
//! the capability to read callers' memory, that to set up its own namespace, no file system, and no more.
//!
//! A guest that lives in a shadow itself (`netshadow`) is lent the sockets that it uses: made in the host's network, in a
//! control group of the guest's.
//!
//! A guest's netlink socket is made in the shadow: what the guest asks there the kernel itself answers. Device requests
//! of ioctl(2) are put to a socket in the shadow.

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{AtFlags, Mode, OFlags};
use vserver_kernel::cgroup::Hierarchies;
use vserver_kernel::link::Netlink;
use vserver_kernel::notify::{Answer, Call, Listener};
use vserver_kernel::ns::{self, Namespaces};
use vserver_kernel::seccomp::{self, Denial};
use vserver_kernel::shadow::{self, Picture, Shadow};
use vserver_kernel::{Fault, caps, message, mount, sys};
use vserver_model::{CapSet, GuestName, Layout};

use crate::failure::{Doing, Failure};
use crate::record::{self, Record};
use crate::sockets::{Asked, Sockets};

/// Numbers of the descriptors that the guard gives (`crates/guard/src/calls.rs`).
const LINK: i32 = 3;
const NOTE: i32 = 4;
/// It ends when nobody has called for this long.
const PATIENCE: Duration = Duration::from_secs(5);
/// How old the picture of the host's network may be.
const FRESH: Duration = Duration::from_secs(1);

/// Numbers of the calls that the filter leaves to us: `(architecture, call)`.
mod number {
    pub(super) const I386: u32 = 0x4000_0003;
    pub(super) const SOCKETCALL: i32 = 102;
    #[cfg(target_arch = "x86_64")]
    pub(super) const IOCTL: i32 = 16;
    #[cfg(target_arch = "aarch64")]
    pub(super) const IOCTL: i32 = 29;
    pub(super) const I386_IOCTL: i32 = 54;
}

/// `vserver --broker NAME DIR`, executed by the guard. Returns when nobody calls any more.
///
/// # Errors
/// It cannot be set up: the guard refuses the call that made it start it.
pub fn serve(layout: &Layout, name: &GuestName) -> Result<(), Failure> {
    let link = sys::inherited(LINK)?;
    let note = File::from(sys::inherited(NOTE)?);
    let listeners = listeners()?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let proc = rustix::fs::open("/proc", flags, Mode::empty()).doing(|| "open /proc".into())?;
    let state = mount::open_directory(record::state_dir(layout, name))?;
    let record = await_record(layout, name, &link)?;
    // In this order: the connection, and the thread for sockets of the host's network, stay where they begin.
    let host = Netlink::open()?;
    let sockets = Sockets::begin(Hierarchies::discover()?.group(&record.group).v2_dir_fd().unwrap_or(None));
    let mut home = shadow::identity_of_own_namespace()?;
    let shadow = if record.rights.shadow {
        let init = record.init.open()?.ok_or_else(|| Failure::new("the guest has just ended"))?;
        ns::enter(init.as_fd(), Namespaces::NET).doing(|| "step into the guest's shadow".into())?;
        home = shadow::identity_of_own_namespace()?;
        Shadow::here(Picture::default())?
    } else {
        Shadow::enter_new()?
    };
    let mut broker = Broker {
        link: Some(link),
        note,
        listeners,
        proc,
        view: View::of(&state)?,
        state,
        home,
        lends: record.rights.shadow,
        looked: Instant::now(),
        host,
        sockets,
        shadow,
    };
    if !broker.lends {
        broker.show()?;
    }
    drop_rights()?;
    broker.answer_calls()
}

/// The guest's record: it may call before the start has written it.
fn await_record(layout: &Layout, name: &GuestName, link: &OwnedFd) -> Result<Record, Failure> {
    let pause = Timespec { tv_sec: 0, tv_nsec: 5_000_000 };
    for _ in 0..2000 {
        if let Some(record) = record::running(layout, name) {
            return Ok(record);
        }
        let mut watched = [PollFd::new(link, PollFlags::empty())];
        if matches!(poll(&mut watched, Some(&pause)), Ok(count) if count > 0) {
            break;
        }
    }
    Err(Failure::new("the guest is not running"))
}

/// The listeners among the descriptors that the guard has left open, with their numbers there.
fn listeners() -> Result<Vec<(u64, Listener)>, Failure> {
    let mut listeners = Vec::new();
    for entry in std::fs::read_dir("/proc/self/fd").doing(|| "read /proc/self/fd".into())? {
        let entry = entry.doing(|| "read /proc/self/fd".into())?;
        let number = entry.file_name().to_str().and_then(|number| number.parse::<i32>().ok());
        let target = std::fs::read_link(entry.path()).unwrap_or_default();
        if let Some(number) = number
            && target == Path::new("anon_inode:seccomp notify")
        {
            let key = u64::try_from(number).unwrap_or_default();
            listeners.push((key, Listener::from(sys::inherited(number)?)));
        }
    }
    Ok(listeners)
}

/// No file system, and of all rights only those that answering needs.
fn drop_rights() -> Result<(), Failure> {
    let what = || "give up the broker's rights".into();
    // A directory that is nobody's and goes with this process.
    rustix::process::chroot("/proc/self/fdinfo").doing(what)?;
    rustix::process::chdir("/").doing(what)?;
    sys::set_no_new_privs().doing(what)?;
    seccomp::install(&seccomp::Program::denying(&Denial::ALL)).doing(what)?;
    // The memory of other users' processes: tracing is what permits it, but its file in /proc has an owner as well.
    let kept = CapSet::SYS_PTRACE.with(CapSet::DAC_OVERRIDE).with(CapSet::NET_ADMIN);
    caps::drop_bounding(kept.0).doing(what)?;
    caps::set_all(kept.0).doing(what)
}

/// What the record says about the guest's view.
struct View {
    addresses: Vec<IpAddr>,
    loopback: Option<Ipv4Addr>,
    /// Tells a record that was written anew.
    written: (u64, i64, u64),
}

impl View {
    fn of(state: &OwnedFd) -> Result<Self, Failure> {
        let what = || "read the guest's record".into();
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = rustix::fs::openat(state, "record", flags, Mode::empty()).doing(what)?;
        let written = stamp(&rustix::fs::fstat(&file).doing(what)?);
        let record: Record =
            serde_json::from_reader(std::io::BufReader::new(File::from(file))).doing(what)?;
        let view = record.view.unwrap_or_default();
        Ok(Self { addresses: view.addresses, loopback: view.loopback, written })
    }
}

fn stamp(stat: &rustix::fs::Stat) -> (u64, i64, u64) {
    (stat.st_ino, stat.st_mtime, stat.st_mtime_nsec)
}

struct Broker {
    /// `None`: the guard was killed.
    link: Option<OwnedFd>,
    note: File,
    /// With the guard's number of each.
    listeners: Vec<(u64, Listener)>,
    proc: OwnedFd,
    state: OwnedFd,
    view: View,
    /// The namespace that the guest's processes are in.
    home: (u64, u64),
    /// They are in a shadow themselves, which shows what it showed at the start, and are lent sockets.
    lends: bool,
    /// When the host's network was looked at.
    looked: Instant,
    host: Netlink,
    sockets: Sockets,
    shadow: Shadow,
}

impl Broker {
    /// Looks at the host's network and shows what is the guest's.
    fn show(&mut self) -> Result<(), Fault> {
        let picture = Picture::take(&mut self.host, &self.view.addresses, self.view.loopback)?;
        self.looked = Instant::now();
        self.shadow.show(&picture)
    }

    /// Shows what has changed since.
    fn refresh(&mut self) -> Result<(), Failure> {
        if self.lends || self.looked.elapsed() < FRESH {
            return Ok(());
        }
        let written =
            rustix::fs::statat(&self.state, "record", AtFlags::SYMLINK_NOFOLLOW).map(|stat| stamp(&stat));
        if written.is_ok_and(|written| written != self.view.written) {
            self.view = View::of(&self.state)?;
        }
        Ok(self.show()?)
    }

    fn answer_calls(mut self) -> Result<(), Failure> {
        let patience = Timespec::try_from(PATIENCE).unwrap_or_default();
        while !self.listeners.is_empty() {
            let listeners = self.listeners.iter().map(|(_, listener)| listener.as_fd());
            let watched = listeners.chain(self.link.as_ref().map(AsFd::as_fd));
            let mut watched: Vec<PollFd<'_>> =
                watched.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
            // Without a guard nobody else has the listeners: then for as long as the guest lives.
            match poll(&mut watched, self.link.is_some().then_some(&patience)) {
                Ok(0) => return Ok(()),
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(errno).doing(|| "wait for calls".into()),
            }
            let ready: Vec<PollFlags> = watched.iter().map(PollFd::revents).collect();
            let (of_listeners, of_link) = ready.split_at(self.listeners.len());
            // From behind, so that the places of the others stay.
            for (place, ready) in of_listeners.iter().enumerate().rev() {
                if ready.contains(PollFlags::IN) {
                    self.take(place)?;
                } else if !ready.is_empty() {
                    // Nobody is left that could call.
                    self.listeners.swap_remove(place);
                }
            }
            if of_link.iter().any(|ready| !ready.is_empty()) {
                self.hear_from_guard();
            }
        }
        Ok(())
    }

    /// A process has entered the guest, and its filter has a listener of its own; or the guard is gone.
    fn hear_from_guard(&mut self) {
        let Some(link) = &self.link else { return };
        let mut number = [0; 8];
        match message::receive(link, &mut number).map(|mut received| received.descriptors.pop()) {
            Ok(Some(listener)) => {
                self.listeners.push((u64::from_ne_bytes(number), Listener::from(listener)));
            }
            _ => self.link = None,
        }
    }

    fn take(&mut self, place: usize) -> Result<(), Failure> {
        self.refresh()?;
        let (number, listener) = &self.listeners[place];
        let Some(call) = listener.receive()? else { return Ok(()) };
        // Should we be killed before it is answered, the guard answers it.
        let mut line = [0; 16];
        line[..8].copy_from_slice(&number.to_ne_bytes());
        line[8..].copy_from_slice(&call.id().to_ne_bytes());
        self.note.write_all_at(&line, 0).doing(|| "take a note of a call".into())?;
        Ok(self.answer(call)?)
    }

    fn answer(&self, call: Call<'_>) -> Result<(), Fault> {
        let (architecture, number, arguments) = call.parts();
        let compat = architecture == number::I386;
        let is_ioctl = number == if compat { number::I386_IOCTL } else { number::IOCTL };
        if self.is_elsewhere(&call) {
            return answer_elsewhere(call, is_ioctl);
        }
        if is_ioctl {
            return match self.device_request(&call, arguments, compat) {
                Ok(()) => call.answer(Answer::Value(0)),
                Err(errno) => call.answer(Answer::Errno(errno)),
            };
        }
        let asked = if compat && number == number::SOCKETCALL {
            self.asked_in_memory(&call, arguments[1])
        } else {
            Ok(Asked::from_registers(arguments))
        };
        let socket = asked.and_then(|asked| self.socket(asked).map(|socket| (socket, asked.close_on_exec())));
        match socket {
            Ok((socket, close_on_exec)) => call.give(socket, close_on_exec),
            Err(errno) => call.answer(Answer::Errno(errno)),
        }
    }

    /// A socket that shows the shadow, or (i386 only, where all sockets come here) one of the host's network.
    fn socket(&self, asked: Asked) -> Result<OwnedFd, i32> {
        if self.lends {
            return if asked.is_of_internet() { self.sockets.make(asked) } else { asked.make() };
        }
        match asked.is_of_shadow() {
            Some(true) => asked.make(),
            Some(false) => Err(libc::EPROTONOSUPPORT),
            None => self.sockets.make(asked),
        }
    }

    /// The three arguments of socket(2), copied once.
    fn asked_in_memory(&self, call: &Call<'_>, address: u64) -> Result<Asked, i32> {
        let mut words = [0; 12];
        let memory = call.memory(&self.proc).map_err(|_| libc::EFAULT)?;
        memory.read(address, &mut words).map_err(|_| libc::EFAULT)?;
        Ok(Asked::from_words(words))
    }

    /// Whether the caller is in a network namespace of its own that it made inside the guest. While it waits for the
    /// answer it cannot go to another one.
    fn is_elsewhere(&self, call: &Call<'_>) -> bool {
        let path = format!("{}/ns/net", call.thread());
        let identity = rustix::fs::statat(&self.proc, path, AtFlags::empty());
        identity.is_ok_and(|stat| (stat.st_dev, stat.st_ino) != self.home)
    }

    /// A device request: read, answered and written back in the layout of the caller's architecture.
    fn device_request(&self, call: &Call<'_>, arguments: [u64; 6], compat: bool) -> Result<(), i32> {
        const SIOCGIFCONF: u32 = 0x8912;
        // As the kernel does, which takes both as 32 bits.
        let [descriptor, request, _, ..] = arguments;
        let (descriptor, request) = (low(descriptor), low(request));
        let address = if compat { u64::from(low(arguments[2])) } else { arguments[2] };
        self.check_socket(call, descriptor)?;
        let memory = || call.memory(&self.proc).map_err(|_| libc::EFAULT);
        if request == SIOCGIFCONF {
            return self.list_devices(&memory()?, address, compat);
        }
        if !sys::is_device_question(request) {
            return Err(refusal(request));
        }
        let memory = memory()?;
        let mut about = [0; 32];
        memory.read(address, &mut about).map_err(|_| libc::EFAULT)?;
        sys::device_question(self.shadow.questions().as_fd(), request, &mut about)
            .map_err(|error| error.raw_os_error().unwrap_or(libc::EINVAL))?;
        memory.write(address, &about).map_err(|_| libc::EFAULT)
    }

    /// `struct ifconf`: a length in bytes, and where the list goes; without a place only the length is wanted.
    fn list_devices(
        &self,
        memory: &vserver_kernel::notify::Memory,
        address: u64,
        compat: bool,
    ) -> Result<(), i32> {
        let fault = |_| libc::EFAULT;
        let mut head = [0; 16];
        let head = &mut head[..if compat { 8 } else { 16 }];
        memory.read(address, head).map_err(fault)?;
        let room = i32::from_ne_bytes([head[0], head[1], head[2], head[3]]);
        let place = if compat {
            u64::from(u32::from_ne_bytes([head[4], head[5], head[6], head[7]]))
        } else {
            u64::from_ne_bytes([head[8], head[9], head[10], head[11], head[12], head[13], head[14], head[15]])
        };
        let each = if compat { 32 } else { 40 };
        let found = sys::device_addresses(self.shadow.questions().as_fd())
            .map_err(|error| error.raw_os_error().unwrap_or(libc::EINVAL))?;
        let mut list = Vec::new();
        for entry in found {
            if place != 0 && list.len() + each > usize::try_from(room).unwrap_or(0) {
                break;
            }
            list.extend_from_slice(&entry);
            list.resize(list.len().next_multiple_of(each), 0);
        }
        if place != 0 {
            memory.write(place, &list).map_err(fault)?;
        }
        let length = i32::try_from(list.len()).map_err(|_| libc::EINVAL)?;
        memory.write(address, &length.to_ne_bytes()).map_err(fault)
    }

    /// Only for the right errno: what the descriptor is does not matter for what is answered.
    fn check_socket(&self, call: &Call<'_>, descriptor: u32) -> Result<(), i32> {
        let path = format!("{}/fd/{descriptor}", call.thread());
        match rustix::fs::readlinkat(&self.proc, path, Vec::new()) {
            Ok(target) if target.as_bytes().starts_with(b"socket:") => Ok(()),
            Ok(_) => Err(libc::ENOTTY),
            Err(_) => Err(libc::EBADF),
        }
    }
}

/// The kernel looks at nothing but registers when it makes a netlink socket there. What a device request is about
/// lies in memory, and its descriptor may be of a socket of another namespace by the time the kernel looks.
fn answer_elsewhere(call: Call<'_>, is_ioctl: bool) -> Result<(), Fault> {
    let by_registers = !is_ioctl && call.parts().1 != number::SOCKETCALL;
    if by_registers && call.is_waiting() {
        return call.answer(Answer::Continue);
    }
    call.answer(Answer::Errno(libc::EPERM))
}

/// The half that the kernel takes as `int`.
fn low(argument: u64) -> u32 {
    u32::try_from(argument & 0xffff_ffff).unwrap_or_default()
}

/// Requests that change something: `SIOCSIF…` and their like; neighbours, bridges, VLANs and bonds.
const CHANGES: [u32; 24] = [
    0x8911, 0x8914, 0x8916, 0x8918, 0x891a, 0x891c, 0x891e, 0x8920, 0x8922, 0x8923, 0x8924, 0x8926, 0x8930,
    0x8931, 0x8932, 0x8934, 0x8936, 0x8937, 0x8941, 0x8943, 0x8949, 0x8953, 0x8955, 0x8971,
];

/// What a request is answered that is no question about one device.
fn refusal(request: u32) -> i32 {
    match request {
        0x8980.. => libc::EPERM,
        _ if CHANGES.contains(&request) => libc::EPERM,
        // SIOCGARP: no neighbour is known.
        0x8954 => libc::ENXIO,
        // SIOCETHTOOL, SIOCGMIIPHY, SIOCGMIIREG: of a device without hardware.
        0x8946..=0x8948 => libc::EOPNOTSUPP,
        _ => libc::EINVAL,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_refused_and_unknown_requests_are_wrong() {
        for change in [0x8914, 0x8916, 0x8924, 0x8936, 0x89a0, 0x8955] {
            assert_eq!(refusal(change), libc::EPERM, "{change:#x}");
        }
        assert_eq!(refusal(0x8946), libc::EOPNOTSUPP);
        assert_eq!(refusal(0x8938), libc::EINVAL);
    }
}
