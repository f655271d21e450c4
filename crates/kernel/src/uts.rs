//! The names of a system, as uname(2) tells them, in the uts namespace of the calling thread.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use crate::{Blame, Result};

/// Sets the host name, at most 64 bytes (`EINVAL`).
#[doc(alias = "sethostname")]
pub fn set_host_name(name: impl AsRef<OsStr>) -> Result<()> {
    let name = name.as_ref();
    rustix::system::sethostname(name.as_bytes()).blame_with("sethostname(2)", || name.display().to_string())
}

/// Sets the NIS domain name, at most 64 bytes (`EINVAL`).
#[doc(alias = "setdomainname")]
pub fn set_domain_name(name: impl AsRef<OsStr>) -> Result<()> {
    let name = name.as_ref();
    rustix::system::setdomainname(name.as_bytes())
        .blame_with("setdomainname(2)", || name.display().to_string())
}

/// The host name.
pub fn host_name() -> std::ffi::OsString {
    OsStr::from_bytes(rustix::system::uname().nodename().to_bytes()).to_owned()
}
