//! What is attached to a network namespace and its devices. These are links: pins keep them.

use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};
use std::os::unix::ffi::OsStrExt as _;
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
/// `BPF_TCX_EGRESS`
const TCX_EGRESS: u32 = 47;

/// Steers new TCP connections of the calling thread's network namespace.
pub(super) fn serve_listeners(program: BorrowedFd<'_>, pins: &Path) -> Result<()> {
    let namespace = ns::open(0, Namespaces::NET)?;
    let (_, number) = ns::identity(&namespace)?;
    let target = namespace.as_fd().as_raw_fd().cast_unsigned();
    link(program, target, SK_LOOKUP_ATTACH, &pins.join(format!("lookup-{number}")))
}

/// Which packets of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// That come in.
    In,
    /// That go out.
    Out,
}

/// Runs a program on packets of a device of the calling thread's network namespace.
pub(super) fn serve_device(program: BorrowedFd<'_>, way: Way, device: u32, pins: &Path) -> Result<()> {
    let (_, number) = ns::identity(ns::open(0, Namespaces::NET)?)?;
    let (attach_type, name) = match way {
        Way::In => (TCX_INGRESS, "udp"),
        Way::Out => (TCX_EGRESS, "icmp"),
    };
    match link(program, device, attach_type, &pins.join(format!("{name}-{number}-{device}"))) {
        // Before Linux 6.6 there are no such links.
        Err(fault) if fault.is(libc::EINVAL) => {
            // A priority of its own for each version's programs; 0 would mean any.
            let priority = pins
                .as_os_str()
                .as_bytes()
                .iter()
                .fold(1_u16, |all, byte| all.wrapping_mul(31).wrapping_add(u16::from(*byte)));
            Netlink::open()?.classify(device, way == Way::In, priority.max(1), program)
        }
        other => other,
    }
}

/// Attaches and pins, unless that is done already. Somebody else may do the same at this moment: the kernel refuses to
/// attach a program twice (`EEXIST`), so whoever comes second waits for the other one's pin. One that is killed before
/// its link is pinned takes the link along.
fn link(program: BorrowedFd<'_>, target: u32, attach_type: u32, pin: &Path) -> Result<()> {
    const TURNS: usize = 1000;
    const TURN: std::time::Duration = std::time::Duration::from_millis(2);
    for _ in 0..TURNS {
        match link_once(program, target, attach_type, pin) {
            Err(fault) if fault.is(libc::EEXIST) => std::thread::sleep(TURN),
            other => return other,
        }
    }
    link_once(program, target, attach_type, pin)
}

fn link_once(program: BorrowedFd<'_>, target: u32, attach_type: u32, pin: &Path) -> Result<()> {
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

/// Whether packets of the device begin with 14 bytes of Ethernet.
pub(super) fn has_ethernet_header(device: u32) -> Result<bool> {
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
        if !["lookup-", "udp-", "icmp-"].iter().any(|kind| text.starts_with(kind)) {
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
