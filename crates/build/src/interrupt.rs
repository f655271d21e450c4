//! SIGINT and SIGTERM end a build in order: the flag is set, the work looks at it, and the clean-up runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// Whether the build was told to end. Cheap to clone; all clones are one flag.
#[derive(Clone, Debug, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// A flag that SIGINT, SIGTERM and SIGHUP set. The second such signal ends the process at once, for those who
    /// do not want to wait for the clean-up.
    ///
    /// A signal that cannot be caught (there is no such kernel) leaves the flag to [`set`](Self::set).
    pub fn on_signals() -> Self {
        let flag = Self::default();
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            // In this order: the first signal finds the flag unset, and only then sets it.
            signal_hook::flag::register_conditional_default(signal, Arc::clone(&flag.0)).ok();
            signal_hook::flag::register(signal, Arc::clone(&flag.0)).ok();
        }
        flag
    }

    /// Tells the build to end.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it was told.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
