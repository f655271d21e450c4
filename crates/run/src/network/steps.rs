//! The steps of a start that concern the network.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use vserver_kernel::bpf::network::lback6;
use vserver_model::{GuestName, Layout, Nid};
use vserver_plan::NetContext;
use vserver_plan::network::{Furnishing, HostAddress, Stack};

use crate::failure::{Doing, Failure};
use crate::netcontext;
use crate::network::namespace::{self, Place};
use crate::network::{Part, context, interfaces, take_down, take_down_in};
use crate::site::Site;
use crate::undo::Undo;

/// `Step::Interfaces`.
///
/// # Errors
/// The lock or the ledger; what the kernel refuses is said and goes by.
pub fn add_addresses(
    site: &Site<'_>,
    addresses: &[HostAddress],
    loopback_of: Option<Nid>,
    undo: &mut Undo,
    say: &mut dyn FnMut(&str),
) -> Result<(), Failure> {
    let (layout, name) = (site.layout.clone(), site.guest.name.clone());
    let loopback = loopback_of.map(lback6);
    let added = interfaces::add(&layout, &name, addresses, loopback, say);
    let deed = match &added {
        Ok(deed) => deed.clone(),
        // The ledger tells what there is.
        Err(_) => Some("addresses of the guest".into()),
    };
    if let Some(deed) = deed {
        undo.did(deed, move || take_down(&layout, &name, Part::Interfaces));
    }
    added.map(drop)
}

/// `Step::Namespace`.
///
/// # Errors
/// What could not be made or found.
pub fn take_namespace(site: &mut Site<'_>, stack: &Stack, undo: &mut Undo) -> Result<(), Failure> {
    let Stack::Own(wanted) = stack else {
        site.netns = namespace::find(site.layout, stack)?;
        return Ok(());
    };
    let made = namespace::make()?;
    Furnisher::of(site, wanted)?.furnish(made.as_fd(), undo)?;
    site.netns = Some(made);
    Ok(())
}

/// What furnishing a namespace needs of the site, which is lent to somebody else by then.
pub struct Furnisher<'a> {
    layout: Layout,
    name: GuestName,
    /// The host's own mount namespace.
    mounts: OwnedFd,
    wanted: &'a Furnishing,
}

impl<'a> Furnisher<'a> {
    /// Takes it along.
    ///
    /// # Errors
    /// Too many descriptors are open.
    pub fn of(site: &Site<'_>, wanted: &'a Furnishing) -> Result<Self, Failure> {
        let mounts = site.outside.try_clone().doing(|| "keep the host's mount namespace".into())?;
        Ok(Self { layout: site.layout.clone(), name: site.guest.name.clone(), mounts, wanted })
    }

    /// Furnishes the namespace that this process was born into.
    ///
    /// # Errors
    /// As [`namespace::furnish`].
    pub fn furnish_that_of(self, pid: i32, undo: &mut Undo) -> Result<(), Failure> {
        let netns = namespace::of_process(pid)?;
        self.furnish(netns.as_fd(), undo)
    }

    fn furnish(self, netns: BorrowedFd<'_>, undo: &mut Undo) -> Result<(), Failure> {
        let Self { layout, name, mounts, wanted } = self;
        let place = Place { layout: &layout, name: &name, mounts: mounts.as_fd() };
        let done = namespace::furnish(&place, netns, wanted);
        if let Some(deed) = namespace::in_words(wanted) {
            undo.did(deed, move || take_down_in(&layout, &name, Part::Namespace, Some(&mounts)));
        }
        done
    }
}

/// `Step::NetworkContext`.
///
/// # Errors
/// The kernel cannot confine the guest.
pub fn confine(
    site: &Site<'_>,
    context: &NetContext,
    undo: &mut Undo,
    say: &mut dyn FnMut(&str),
) -> Result<(), Failure> {
    let groups = site.group.as_ref().ok_or_else(|| Failure::new("the guest has no control group yet"))?;
    let (group, bpffs) = (groups.outer.clone(), site.bpffs.clone());
    let namespace = site.netns.as_ref().map(AsFd::as_fd);
    netcontext::refuse_foreign(site.layout, context.nid, group.name())?;
    context::confine(site.layout, &group, bpffs.as_deref(), context, namespace, say)?;
    let (layout, nid) = (site.layout.clone(), context.nid);
    undo.did(format!("network context {nid}"), move || context::release(&layout, &group, nid));
    Ok(())
}
