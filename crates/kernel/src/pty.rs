//! Pseudo terminals: a guest's console from its own devpts, and the administrator's terminal in raw mode.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::termios::{OptionalActions, Termios, Winsize, tcgetattr, tcsetattr};

use crate::{Blame, Result, described, sys};

/// Both sides of a pseudo terminal.
#[derive(Debug)]
pub struct Pty {
    /// The side that a terminal program holds.
    pub master: OwnedFd,
    /// The side that looks like a terminal.
    pub terminal: OwnedFd,
}

/// Makes a pseudo terminal in the devpts instance whose root directory is `devpts`.
///
/// Its name in there is what `ptsname` of the guest will say, so programs inside find their own terminal. Nothing is
/// looked up by a path that the guest could bend. `ENOSPC`: the instance's `max` is reached.
#[doc(alias = "openpty")]
pub fn open_in(devpts: BorrowedFd<'_>) -> Result<Pty> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS;
    let master = rustix::fs::openat2(devpts, c"ptmx", flags, Mode::empty(), resolve)
        .blame_with("openat2(2)", || format!("ptmx in {}", described(devpts)))?;
    sys::unlock_tty(master.as_fd())?;
    let terminal = sys::tty_peer(master.as_fd())?;
    Ok(Pty { master, terminal })
}

/// A terminal's size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowSize {
    /// Lines.
    pub rows: u16,
    /// Characters in a line.
    pub columns: u16,
}

/// The size of a terminal. `ENOTTY`: it is none.
pub fn window_size(terminal: impl AsFd) -> Result<WindowSize> {
    let size = rustix::termios::tcgetwinsize(&terminal)
        .blame_with("ioctl(2) TIOCGWINSZ", || described(&terminal))?;
    Ok(WindowSize { rows: size.ws_row, columns: size.ws_col })
}

/// Sets the size; the terminal's foreground processes get `SIGWINCH` if it changes.
pub fn set_window_size(terminal: impl AsFd, size: WindowSize) -> Result<()> {
    let raw = Winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(&terminal, raw).blame_with("ioctl(2) TIOCSWINSZ", || described(&terminal))
}

/// Begins a session and makes `terminal` its controlling terminal.
///
/// For a fresh child process. `EPERM`: it leads a process group or session already, or the terminal belongs to
/// another session.
#[doc(alias = "TIOCSCTTY")]
pub fn make_controlling(terminal: impl AsFd) -> Result<()> {
    rustix::process::setsid().blame("setsid(2)", "a new session")?;
    rustix::process::ioctl_tiocsctty(&terminal).blame_with("ioctl(2) TIOCSCTTY", || described(&terminal))
}

/// Makes `terminal` standard input, output and error.
pub fn become_stdio(terminal: impl AsFd) -> Result<()> {
    rustix::stdio::dup2_stdin(&terminal).blame("dup2(2)", "standard input")?;
    rustix::stdio::dup2_stdout(&terminal).blame("dup2(2)", "standard output")?;
    rustix::stdio::dup2_stderr(&terminal).blame("dup2(2)", "standard error")
}

/// A terminal that hands every key through as it is, until this is dropped.
#[derive(Debug)]
pub struct RawMode<Fd: AsFd> {
    terminal: Fd,
    before: Termios,
}

impl<Fd: AsFd> RawMode<Fd> {
    /// Puts the terminal into raw mode. `ENOTTY`: it is none.
    #[doc(alias = "cfmakeraw")]
    pub fn enter(terminal: Fd) -> Result<Self> {
        let before = tcgetattr(&terminal).blame_with("tcgetattr(3)", || described(&terminal))?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(&terminal, OptionalActions::Drain, &raw)
            .blame_with("tcsetattr(3)", || described(&terminal))?;
        Ok(Self { terminal, before })
    }
}

impl<Fd: AsFd> Drop for RawMode<Fd> {
    fn drop(&mut self) {
        // A terminal that was closed meanwhile needs no restoring, and there is nobody to tell.
        tcsetattr(&self.terminal, OptionalActions::Drain, &self.before).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    #[test]
    fn a_pty_of_this_devpts_has_a_size_and_a_raw_mode() {
        let devpts = File::open("/dev/pts").unwrap();
        let pty = open_in(devpts.as_fd()).unwrap();
        let size = WindowSize { rows: 33, columns: 101 };
        set_window_size(&pty.master, size).unwrap();
        assert_eq!(window_size(&pty.terminal).unwrap(), size);
        let local =
            |fd: &OwnedFd| tcgetattr(fd).unwrap().local_modes.contains(rustix::termios::LocalModes::ICANON);
        assert!(local(&pty.terminal));
        let raw = RawMode::enter(pty.terminal.as_fd()).unwrap();
        assert!(!local(&pty.terminal));
        drop(raw);
        assert!(local(&pty.terminal));
    }

    #[test]
    fn a_directory_without_ptmx_is_refused() {
        let dir = File::open("/").unwrap();
        assert!(open_in(dir.as_fd()).unwrap_err().is(libc::ENOENT));
    }
}
