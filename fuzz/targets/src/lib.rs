//! What is fuzzed: one small function a parser, fed with any bytes.
//!
//! The same functions are driven in two ways:
//!
//! * `cargo test -p vserver-fuzz` (part of `make test`, stable compiler): 20 000 inputs a target, mutated from
//!   `fuzz/corpus/TARGET/*` by a generator with a fixed seed, so that a failure comes again. `FUZZ_INPUTS=n` makes it
//!   longer, `FUZZ_SEED=n` different.
//! * `cargo +nightly fuzz run TARGET` in the repository's root: without end and led by coverage, see cargo-fuzz.
//!
//! A target never just calls its parser: it also says what must hold of the result, usually that it prints as a text
//! that reads as the same value.
//!
//! # Adding a target
//!
//! 1. Write `pub fn NAME(data: &[u8])` here, in the module of the crate it is about (`config.rs` for the parsers of
//!    configuration files, say), and add it to [`TARGETS`].
//! 2. Put a few good inputs into `fuzz/corpus/NAME/`, one a file: the measured examples of the specification.
//! 3. Copy a file in `fuzz/fuzz_targets/`, and a `[[bin]]` in `fuzz/Cargo.toml`.
//!
//! The test `targets_are_complete` fails while one of the three is missing. An input that once broke something goes
//! into the corpus for good.

use std::net::IpAddr;

mod build;
mod config;
mod model;

pub use build::{access_list, archive, build_words, device_table, exclude_list};
pub use config::{environment, fstab_file, plain_content, visible_list};
pub use model::{
    address, guest_name, interface_arg, killseq, limit, netmask, number, personality, signal, vps_line,
    word_list,
};

/// One function to feed.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Name of the function, of its corpus and of its cargo-fuzz program.
    pub name: &'static str,
    /// Panics when something is wrong.
    pub run: fn(&[u8]),
}

macro_rules! targets {
    ($($name:ident)*) => {
        /// Every target.
        pub const TARGETS: &[Target] = &[$(Target { name: stringify!($name), run: $name }),*];
    };
}

targets! {
    access_list address archive build_words device_table environment exclude_list fstab_file guest_name interface_arg killseq limit netmask number personality
    plain_content signal visible_list vps_line word_list
}

/// The text that most parsers want: the input, or what of it is UTF-8 with replacement characters for the rest, as a
/// reader of files hands it on.
pub(crate) fn text_of(data: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(data)
}

/// Whether two addresses are of one kind.
pub(crate) fn same_kind(a: IpAddr, b: IpAddr) -> bool {
    a.is_ipv4() == b.is_ipv4()
}
