//! The network context of a guest: what its processes may use of the network stack that they share with the host.
//!
//! It is a property of the guest's control group and enforced by the kernel alone: it needs no process, and vanishes
//! with the group. How it is looked at and changed while the guest runs: [`netcontext`].

use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::Path;

use vserver_kernel::bpf::network::{LowPorts, Missing, Network};
use vserver_kernel::cgroup::Group;
use vserver_kernel::link;
use vserver_model::{Layout, Nid};
use vserver_plan::NetContext;

use crate::failure::{Doing, Failure};
use crate::{netcontext, virtnet};

/// Confines a group that nobody is in yet. `namespace`: that of the guest, if it is not the host's.
///
/// `say` gets what this kernel cannot do of it.
///
/// # Errors
/// The kernel cannot confine at all: the guest must not run then.
pub fn confine(
    layout: &Layout,
    group: &Group,
    bpffs: Option<&Path>,
    context: &NetContext,
    namespace: Option<BorrowedFd<'_>>,
    say: &mut dyn FnMut(&str),
) -> Result<(), Failure> {
    let what = || "confine the guest to its addresses".into();
    let hint = |failure: Failure| {
        failure.hint(
            "vserver check-host tells what the kernel lacks; a file noncontext lets the guest use all of the host's \
             network, a file spaces/net gives it a network of its own",
        )
    };
    let directory = group.v2_dir_fd().doing(what)?;
    let directory = directory.ok_or_else(|| {
        hint(Failure::new("cannot confine the guest to its addresses: there is no cgroup2"))
    })?;
    let pins = bpffs.map(|bpffs| bpffs.join("vserver"));
    let network = Network::open(pins.as_deref()).doing(what).map_err(hint)?;
    let rules = netcontext::rules(context);
    network.confine(directory.as_fd(), &rules).doing(what).map_err(hint)?;
    let missing = match namespace {
        // Devices are looked for and served in the guest's own network.
        Some(namespace) => link::inside(namespace, || Ok(netcontext::serve(&network, &rules)))?,
        None => netcontext::serve(&network, &rules),
    }?;
    let matters =
        |missing: &Missing| *missing != Missing::Rights || rules.low_ports != LowPorts::ByCapability;
    for missing in missing.into_iter().filter(matters) {
        say(&format!("warning: {}", missing.words()));
    }
    netcontext::publish(layout, context, group.name())
}

/// Takes the rules of a group away that is removed next; that there are none is no error.
///
/// # Errors
/// As bpf(2), or `/run` cannot be written.
pub fn release(layout: &Layout, group: &Group, nid: Nid) -> Result<(), Failure> {
    virtnet::remove(layout, nid)?;
    let Some(directory) = group.v2_dir_fd().unwrap_or(None) else { return Ok(()) };
    Network::release(directory.as_fd()).doing(|| "take the network context away".into())
}
