//! The nouns of vserver: names, context numbers, flags, capabilities, limits, addresses, places.
//!
//! Nothing here opens a file, asks the kernel or looks at a clock. Text becomes a type at the border (`FromStr` and
//! the `parse_*` functions) and a type prints as the text it can be read from, so that a value is checked once and
//! never parsed twice. The crates above name these types in their plans, records and messages.
//!
//! | module | noun |
//! |---|---|
//! | [`sourced`] | a configured value with the file and line that set it |
//! | [`xid`] | context, network context and tag numbers |
//! | [`name`] | a guest's name, backup names, names of lock files |
//! | [`words`] | the word lists of flag and capability files |
//! | [`caps`], [`flags`], [`personality`] | typed views of those words |
//! | [`limit`], [`signal`], [`init`] | limits, signals, init styles |
//! | [`address`] | addresses, masks and the `--interface` argument |
//! | [`mode`], [`layout`] | how a guest is confined, and where everything lies |
//! | [`mod@format`] | the exact columns of the tools that only look |

pub mod address;
pub mod caps;
pub mod flags;
pub mod format;
pub mod init;
pub mod layout;
pub mod limit;
pub mod mode;
pub mod name;
pub mod netif;
pub mod number;
pub mod personality;
pub mod signal;
pub mod sourced;
pub mod words;
pub mod xid;

pub use address::{Address, InterfaceArg};
pub use caps::CapSet;
pub use flags::{ContextCaps, ContextFlags, NetCaps, NetFlags, Unshare};
pub use init::{InitStyle, KillStep};
pub use layout::Layout;
pub use limit::{Limit, LimitPair, LimitTriple, RlimitResource, UlimitResource};
pub use mode::Mode;
pub use name::GuestName;
pub use netif::{Mac, StaticRoute};
pub use personality::Personality;
pub use sourced::Sourced;
pub use words::{Bits, UnknownWord, WordTable, parse_list};
pub use xid::{Nid, Tag, Xid, XidOutOfRange};
