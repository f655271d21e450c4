//! What the file system that holds the guests can do. The files of the trials have no name.

use std::os::fd::{AsFd as _, OwnedFd};

use rustix::fs::{IFlags, Mode, OFlags};
use vserver_kernel::mount;
use vserver_kernel::sys::{self, QuotaKind};

use super::{Refusal, Scene, Tried, missing, refused, unprepared};

fn unnamed_file(scene: &Scene) -> Result<OwnedFd, Refusal> {
    rustix::fs::open(&scene.guests, OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC, Mode::RUSR)
        .map_err(unprepared("open(2) O_TMPFILE"))
}

fn kind(file: &OwnedFd) -> Result<String, Refusal> {
    Ok(mount::filesystem_type(file.as_fd())?.to_string())
}

pub(crate) fn reflink(scene: &Scene) -> Tried {
    let (from, to) = (unnamed_file(scene)?, unnamed_file(scene)?);
    // Something to share: a file system may take empty ones for a success.
    rustix::io::write(&from, &[7; 4096]).map_err(unprepared("write(2)"))?;
    let kind = kind(&from)?;
    match rustix::fs::ioctl_ficlone(&to, &from) {
        Ok(()) => Ok(kind),
        Err(errno) => missing(format!("{kind}: {}", super::in_words(&errno.into()))),
    }
}

pub(crate) fn immutable(scene: &Scene) -> Tried {
    let file = unnamed_file(scene)?;
    let flags = rustix::fs::ioctl_getflags(&file).map_err(refused("FS_IOC_GETFLAGS"))?;
    rustix::fs::ioctl_setflags(&file, flags | IFlags::IMMUTABLE).map_err(refused("FS_IOC_SETFLAGS"))?;
    rustix::fs::ioctl_setflags(&file, flags).map_err(refused("FS_IOC_SETFLAGS"))?;
    kind(&file)
}

fn quota(scene: &Scene, which: QuotaKind) -> Tried {
    let dir = rustix::fs::open(&scene.guests, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(unprepared("open(2)"))?;
    let kind = kind(&dir)?;
    match sys::quota_is_on(dir.as_fd(), which) {
        Ok(()) => Ok(kind),
        Err(fault) if fault.is(libc::ESRCH) => missing(format!("{kind}: not mounted with it")),
        Err(fault) => missing(format!("{kind}: {}", super::in_words(&fault.source))),
    }
}

pub(crate) fn project_quota(scene: &Scene) -> Tried {
    quota(scene, QuotaKind::Project)
}

pub(crate) fn user_quota(scene: &Scene) -> Tried {
    quota(scene, QuotaKind::User)
}
