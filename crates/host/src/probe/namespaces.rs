//! Each kind of namespace, used for what it is there for.

use std::io;
use std::os::fd::AsFd as _;
use std::time::Duration;

use rustix::process::getpid;
use vserver_kernel::idmap;
use vserver_kernel::mount::{self, NewFs, Recursion};
use vserver_kernel::ns::{self, Namespaces, TimeOffsets};
use vserver_kernel::sys::{self, CloneArgs};

use super::{SCRATCH_IDS, Scene, Sleeper, Tried, grandchild, missing, refused};

pub(crate) fn mount(_: &Scene) -> Tried {
    ns::unshare(Namespaces::MOUNT)?;
    mount::make_private("/", Recursion::All)?;
    // Any directory will do as the place: nobody else sees this mount namespace.
    let root = NewFs::new("tmpfs").create()?;
    root.attach_at(mount::open_directory("/proc")?.as_fd())?;
    mount::pivot_into(root.as_fd())?;
    match std::fs::read_dir("/").map(Iterator::count) {
        Ok(0) => Ok(String::new()),
        Ok(_) => missing("the old root is still there"),
        Err(error) => Err(refused("readdir(3)")(error)),
    }
}

pub(crate) fn pid(_: &Scene) -> Tried {
    let args = CloneArgs { namespaces: Namespaces::PID | Namespaces::MOUNT, ..CloneArgs::default() };
    grandchild(&args, || {
        if getpid().as_raw_nonzero().get() != 1 {
            return Err(io::Error::from_raw_os_error(libc::ESRCH));
        }
        NewFs::new("proc").create().map(drop).map_err(|fault| fault.source)
    })?;
    Ok(String::new())
}

pub(crate) fn uts(_: &Scene) -> Tried {
    ns::unshare(Namespaces::UTS)?;
    rustix::system::sethostname(b"vserver-check").map_err(refused("sethostname(2)"))?;
    Ok(String::new())
}

pub(crate) fn ipc(_: &Scene) -> Tried {
    ns::unshare(Namespaces::IPC)?;
    NewFs::new("mqueue").create()?;
    Ok(String::new())
}

pub(crate) fn cgroup(_: &Scene) -> Tried {
    ns::unshare(Namespaces::CGROUP)?;
    Ok(String::new())
}

pub(crate) fn net(_: &Scene) -> Tried {
    ns::unshare(Namespaces::NET)?;
    Ok(String::new())
}

pub(crate) fn enter(_: &Scene) -> Tried {
    let namespaces = Namespaces::MOUNT | Namespaces::PID | Namespaces::UTS | Namespaces::IPC;
    let sleeper = Sleeper::start(&CloneArgs { namespaces, ..CloneArgs::default() })?;
    ns::enter(sleeper.0.as_fd(), namespaces)?;
    Ok(String::new())
}

pub(crate) fn time(_: &Scene) -> Tried {
    ns::unshare(Namespaces::TIME)?;
    ns::set_time_offsets(&TimeOffsets::uptime_now(Duration::ZERO))?;
    grandchild(&CloneArgs::default(), || {
        let text = std::fs::read_to_string("/proc/uptime")?;
        let seconds = text.split('.').next().and_then(|whole| whole.parse::<u64>().ok());
        // Nobody waits a minute for this line; a host that has just booted cannot be told apart, and need not be.
        seconds
            .is_some_and(|seconds| seconds < 60)
            .then_some(())
            .ok_or_else(|| io::Error::from_raw_os_error(libc::ERANGE))
    })?;
    Ok(String::new())
}

pub(crate) fn user(_: &Scene) -> Tried {
    let namespace = idmap::user_namespace_with(&[SCRATCH_IDS])?;
    ns::enter_one(namespace.as_fd(), Namespaces::USER)?;
    sys::set_resgid(Some(0), Some(0), Some(0))?;
    sys::set_resuid(Some(0), Some(0), Some(0))?;
    Ok(String::new())
}
