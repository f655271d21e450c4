//! The harness of the end-to-end tests.
//!
//! A *trial* is one story of an administrator, told once in each confinement [`Mode`]. Three processes play in it:
//!
//! ```text
//! e2e (all trials)      provides images, starts one space per trial, waits, shows the log of a failure
//!  └─ unshare           util-linux: new mount, network and PID namespaces
//!      └─ e2e, PID 1    furnishes the space, notes what is there, reaps, looks for leaks ([`space`], [`leak`])
//!          └─ e2e       the trial's body: configures guests, runs the real program, asserts
//! ```
//!
//! So a trial sees the true default paths (`/etc/vservers`, `/vservers`, `/run/vservers` …) and yet a machine of its
//! own: private directories are bound over them, it has a network stack with nothing but a loopback, and its cgroups
//! hang under a top of its own name. Trials run side by side. A trial that does not end is killed with all it
//! started, and cannot touch another.
//!
//! The body runs with `VSERVER_CGROUP_TOP` set, which the program honours, and finds the program beside the test
//! executable (`target/debug/vserver`).

pub mod assassin;
pub mod command;
pub mod guest;
pub mod image;
pub mod leak;
pub mod need;
pub mod netprobe;
pub mod outside;
pub mod place;
pub mod probe;
pub mod space;
pub mod terminal;
pub mod trial;
pub mod viewprobe;

pub use command::{Done, Program};
pub use guest::{Guest, Mode};
pub use image::Image;
pub use leak::Inventory;
pub use need::Need;
pub use outside::Outside;
pub use terminal::Terminal;
pub use trial::{Spec, run, slowly, soon};
