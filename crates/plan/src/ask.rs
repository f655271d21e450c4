//! What the command line asks of a start.

use std::ffi::OsString;

/// `vserver [OPTIONS] NAME start [--rescue …]`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is one option word")]
pub struct StartAsk {
    /// `--rescue`: run another command instead of the configured style's.
    pub rescue: Option<Rescue>,
    /// `--sync`: run `cmd.start-sync` although `apps/init/sync` is absent.
    pub sync: bool,
    /// `--defaulttty`: the configured tty for the first process.
    pub default_tty: bool,
    /// `--verbose`: say each step. The file `noisy` asks for the same.
    pub verbose: bool,
    /// `--debug-sysv`: trace the rc script.
    pub debug_sysv: bool,
}

/// `--rescue [--rescue-init] [CMD ARGS…]`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rescue {
    /// The words on the command line; none: `/bin/sleep 900`.
    pub command: Vec<OsString>,
    /// `--rescue-init`: the command is the guest's init (PID 1).
    pub init: bool,
}
