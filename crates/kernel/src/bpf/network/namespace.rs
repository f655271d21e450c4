//! What is attached to a network namespace and its devices. These are links: pins keep them.

use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};
use std::path::Path;

use super::SK_LOOKUP_ATTACH;
use crate::link::Netlink;
use crate::ns::{self, Namespaces};
use crate::sys;
use crate::{Blame, Fault, Result};

/// The index of `lo`, in every namespace.
pub(super) const LOOPBACK: u32 = 1;
/// `BPF_TCX_INGRESS`
const TCX_INGRESS: u32 = 46;

/// Steers new TCP connections of the calling thread's network namespace.
pub(super) fn serve_listeners(program: BorrowedFd<'_>, pins: &Path) -> Result<()> {
    let namespace = ns::open(0, Namespaces::NET)?;
    let (_, number) = ns::identity(&namespace)?;
    let target = namespace.as_fd().as_raw_fd().cast_unsigned();
    link(program, target, SK_LOOKUP_ATTACH, &pins.join(format!("lookup-{number}")))
}

/// Looks at datagrams that come in by a device of the calling thread's network namespace.
pub(super) fn serve_datagrams(
    ethernet: BorrowedFd<'_>,
    plain: BorrowedFd<'_>,
    device: u32,
    pins: &Path,
) -> Result<()> {
    let (_, number) = ns::identity(ns::open(0, Namespaces::NET)?)?;
    let program = if has_ethernet_header(device)? { ethernet } else { plain };
    link(program, device, TCX_INGRESS, &pins.join(format!("udp-{number}-{device}")))
}

/// Attaches and pins, unless that is done already. Somebody else may do the same at this moment.
fn link(program: BorrowedFd<'_>, target: u32, attach_type: u32, pin: &Path) -> Result<()> {
    if let Ok(there) = sys::bpf_object_get(pin) {
        if sys::bpf_link_target(there.as_fd())?.is_some() {
            return Ok(());
        }
        // What it was attached to is gone, and its number is in use again.
        std::fs::remove_file(pin).blame_with("unlink(2)", || pin.display().to_string())?;
    }
    let link = sys::bpf_link_attach(program, target, attach_type)?;
    match sys::bpf_object_pin(link.as_fd(), pin) {
        Err(fault) if fault.is(libc::EEXIST) => Ok(()),
        other => other,
    }
}

/// Whether packets of the device begin with 14 bytes of Ethernet when they come in.
fn has_ethernet_header(device: u32) -> Result<bool> {
    /// `ARPHRD_ETHER`, `ARPHRD_LOOPBACK`
    const ETHERNET: [u16; 2] = [1, 772];
    let link = Netlink::open()?.link_numbered(device)?;
    let link = link.ok_or_else(|| {
        Fault::from_errno("rtnetlink(7)", format!("network device number {device}"), libc::ENODEV)
    })?;
    Ok(ETHERNET.contains(&link.layer))
}

/// Removes pins of links whose namespace or device is gone; how many.
pub(super) fn sweep(pins: Option<&Path>) -> Result<usize> {
    let Some(pins) = pins else { return Ok(0) };
    let mut removed = 0;
    let names = std::fs::read_dir(pins).blame_with("opendir(3)", || pins.display().to_string())?;
    for name in names.flatten() {
        let text = name.file_name();
        let text = text.to_string_lossy();
        if !text.starts_with("lookup-") && !text.starts_with("udp-") {
            continue;
        }
        let Ok(link) = sys::bpf_object_get(&name.path()) else { continue };
        if sys::bpf_link_target(link.as_fd())?.is_none() {
            // Somebody else may have been faster.
            removed += usize::from(std::fs::remove_file(name.path()).is_ok());
        }
    }
    Ok(removed)
}
