//! The frame of the benchmarks: a space of their own, contestants, the floor, and races.
//!
//! ```text
//! bench (all)             starts one space per layout, one after another
//!  └─ unshare             util-linux: new mount, network and PID namespaces
//!      └─ bench, PID 1    the end-to-end tests' furniture and their look for leaks; makes the layout
//!          └─ bench       runs the benchmarks asked for, prints
//! ```
//!
//! A benchmark is one file beside `main.rs` and one line in its table. What is compared takes turns within one run
//! ([`race`]), since a machine is never as quiet the next minute; every figure is printed with its spread.

pub mod contestant;
pub mod fleet;
pub mod floor;
pub mod race;
pub mod space;

pub use contestant::Contestant;
pub use race::{Race, Spread};
pub use space::Layout;

/// What went wrong, in words.
pub type Outcome<T = ()> = Result<T, String>;

/// What a benchmark is told.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Which cgroup hierarchies it sees.
    pub layout: Layout,
    /// How often each contestant has its turn; benchmarks that take long take fewer.
    pub rounds: usize,
    /// Most guests that are made to run at once.
    pub guests: usize,
}

/// One benchmark.
#[derive(Clone, Copy)]
pub struct Bench {
    /// The word that picks it.
    pub name: &'static str,
    /// One line for `--list`.
    pub what: &'static str,
    /// In which spaces it is run.
    pub layouts: &'static [Layout],
    /// Runs it and prints.
    pub run: fn(&Setting) -> Outcome,
}
