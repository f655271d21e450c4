//! What a process may do to itself: limits, priorities, filters, scopes.

use std::os::fd::{AsFd as _, OwnedFd};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType};
use rustix::process::{Resource, Rlimit};
use vserver_kernel::sys::{self, CloseRange, Filter};

use super::{Refusal, Scene, Tried, missing, refused, unprepared};

pub(crate) fn close_range(_: &Scene) -> Tried {
    let (reader, _writer) = std::io::pipe().map_err(unprepared("pipe2(2)"))?;
    rustix::io::fcntl_setfd(&reader, rustix::io::FdFlags::empty()).map_err(unprepared("fcntl(2)"))?;
    sys::close_range(3, CloseRange::OnExec)?;
    match rustix::io::fcntl_getfd(reader.as_fd()) {
        Ok(flags) if flags.contains(rustix::io::FdFlags::CLOEXEC) => Ok(String::new()),
        Ok(_) => missing("a descriptor is not marked"),
        Err(errno) => Err(refused("fcntl(2)")(errno)),
    }
}

/// A filter that gives `action` for getpgid(2) and allows the rest.
fn filter(action: u32) -> [Filter; 4] {
    let getpgid = u32::try_from(libc::SYS_getpgid).expect("system call numbers are small");
    [
        // load the number; skip the action unless it is this one
        Filter { code: 0x20, jt: 0, jf: 0, k: 0 },
        Filter { code: 0x15, jt: 0, jf: 1, k: getpgid },
        Filter { code: 0x06, jt: 0, jf: 0, k: action },
        Filter { code: 0x06, jt: 0, jf: 0, k: libc::SECCOMP_RET_ALLOW },
    ]
}

pub(crate) fn seccomp(_: &Scene) -> Tried {
    sys::seccomp_load(&filter(
        libc::SECCOMP_RET_ERRNO | Errno::NOTRECOVERABLE.raw_os_error().cast_unsigned(),
    ))?;
    match rustix::process::getpgid(None) {
        Err(Errno::NOTRECOVERABLE) => Ok(String::new()),
        _ => missing("the filter did not answer"),
    }
}

pub(crate) fn seccomp_notify(_: &Scene) -> Tried {
    sys::seccomp_load_with_listener(&filter(libc::SECCOMP_RET_USER_NOTIF))?;
    Ok(String::new())
}

pub(crate) fn raise_limits(_: &Scene) -> Tried {
    let before = rustix::process::getrlimit(Resource::Nofile);
    let lower = Rlimit { current: Some(64), maximum: Some(64) };
    rustix::process::setrlimit(Resource::Nofile, lower).map_err(unprepared("setrlimit(2)"))?;
    rustix::process::setrlimit(Resource::Nofile, before).map_err(refused("setrlimit(2)"))?;
    std::fs::write("/proc/self/oom_score_adj", "-1000").map_err(refused("/proc/self/oom_score_adj"))?;
    Ok(String::new())
}

pub(crate) fn negative_nice(_: &Scene) -> Tried {
    rustix::process::setpriority_process(None, -1).map_err(refused("setpriority(2)"))?;
    Ok(String::new())
}

pub(crate) fn personality(_: &Scene) -> Tried {
    const LINUX32: u32 = 8;
    sys::set_personality(LINUX32)?;
    let machine = rustix::system::uname().machine().to_string_lossy().into_owned();
    Ok(machine)
}

/// An abstract socket of this process, and its address.
pub(super) fn abstract_listener() -> Result<(SocketAddrUnix, OwnedFd), Refusal> {
    let name = format!("vserver-check-{}", rustix::process::getpid().as_raw_nonzero());
    let address = SocketAddrUnix::new_abstract_name(name.as_bytes()).map_err(unprepared("an address"))?;
    let listener = unix_stream().map_err(unprepared("socket(2)"))?;
    rustix::net::bind(&listener, &address).map_err(unprepared("bind(2)"))?;
    rustix::net::listen(&listener, 1).map_err(unprepared("listen(2)"))?;
    Ok((address, listener))
}

fn unix_stream() -> rustix::io::Result<OwnedFd> {
    rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None)
}

/// A new socket is connected to it.
pub(super) fn connect(address: &SocketAddrUnix) -> rustix::io::Result<()> {
    rustix::net::connect(unix_stream()?, address)
}

pub(crate) fn landlock_scope(_: &Scene) -> Tried {
    /// The first version that knows scopes.
    const SCOPES: libc::c_long = 6;
    let abi = sys::landlock_abi()?;
    if abi < SCOPES {
        return missing(format!("ABI {abi}, scopes came with {SCOPES}"));
    }
    let (address, _listener) = abstract_listener()?;
    sys::landlock_scope_abstract_sockets()
        .map_err(|fault| Refusal::Missing(format!("ABI {abi}: {}", super::in_words(&fault.source))))?;
    match connect(&address) {
        Err(Errno::PERM) => Ok(format!("ABI {abi}")),
        Err(errno) => Err(refused("connect(2)")(errno)),
        Ok(()) => missing(format!("ABI {abi}: the socket was reached")),
    }
}
