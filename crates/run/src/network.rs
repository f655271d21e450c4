//! The guest's network: addresses on the host's devices, the network context, the network namespace.
//!
//! What is added to the host stands in a [ledger] beside the guest's record. It is written before anything is done,
//! so that whoever comes next can take away what a command that was killed has added, and nothing that was there
//! before. All of it happens under one short lock for all guests, `RUN/lock/vserver/interfaces`.
//!
//! | module | concern |
//! |---|---|
//! | [`interfaces`] | addresses and devices of `interfaces/` |
//! | [`context`] | the network context: the programs on the guest's control group |
//! | [`namespace`] | a network namespace and what is in it |
//! | [`steps`] | the steps of a start that use all of it |
//! | [`ledger`] | what was added, and how it is taken away |

pub mod context;
pub mod interfaces;
pub mod ledger;
pub mod namespace;
pub mod steps;

pub use ledger::{Part, take_down, take_down_in};
