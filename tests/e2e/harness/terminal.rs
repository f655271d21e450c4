//! A program on a terminal, and someone who types.

use crate::{Program, slowly};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// A pseudo terminal with a program on it.
pub struct Terminal {
    master: File,
    child: Child,
    shown: String,
    seen: Vec<u8>,
    matched: usize,
}

const PATIENCE: Duration = Duration::from_secs(20);

impl Terminal {
    /// Starts the program as leader of a session whose controlling terminal is a new one of 24 lines, 80 columns.
    ///
    /// # Panics
    ///
    /// When there is no terminal to be had, or the program cannot be started.
    pub fn start(program: Program) -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags).expect("/dev/ptmx works");
        grantpt(&master).expect("devpts needs no helper");
        unlockpt(&master).expect("the master is ours");
        tcsetwinsize(&master, window(24, 80)).expect("the master is a terminal");
        let slave: OwnedFd = ioctl_tiocgptpeer(&master, flags).expect("unlocked");
        let end = || Stdio::from(slave.try_clone().expect("descriptors are left"));
        let (inner, shown) = program.into_parts();
        // Making a terminal the controlling one takes code between fork and exec; util-linux has it.
        let mut command = Command::new("setsid");
        command.args(["--ctty", "--wait"]).arg(inner.get_program()).args(inner.get_args()).env_clear();
        command.envs(inner.get_envs().filter_map(|(name, value)| value.map(|value| (name, value))));
        command.current_dir(inner.get_current_dir().unwrap_or("/".as_ref()));
        command.stdin(end()).stdout(end()).stderr(end());
        eprintln!("$ {shown}   (on a terminal)");
        let child = command.spawn().unwrap_or_else(|error| panic!("{shown}: {error}"));
        Self { master: File::from(master), child, shown, seen: Vec::new(), matched: 0 }
    }

    /// Types this.
    ///
    /// # Panics
    ///
    /// When the terminal is gone.
    pub fn send(&mut self, text: &str) {
        self.master.write_all(text.as_bytes()).expect("the terminal is there");
    }

    /// Makes the window that big, as a terminal emulator does when its window is pulled.
    ///
    /// # Panics
    ///
    /// When the terminal is gone.
    pub fn resize(&self, rows: u16, columns: u16) {
        tcsetwinsize(&self.master, window(rows, columns)).expect("the terminal is there");
    }

    /// Reads until this appears behind what was found last, and returns what came before it.
    ///
    /// # Panics
    ///
    /// When it does not appear in time, or the program ends.
    #[track_caller]
    pub fn expect(&mut self, part: &str) -> String {
        let until = Instant::now() + slowly(PATIENCE);
        loop {
            let news = &self.seen[self.matched..];
            if let Some(at) = news.windows(part.len()).position(|window| window == part.as_bytes()) {
                let before = String::from_utf8_lossy(&news[..at]).into_owned();
                self.matched += at + part.len();
                return before;
            }
            assert!(
                self.read(until),
                "{part:?} does not appear on the terminal of `{}`:\n{}",
                self.shown,
                self.text()
            );
        }
    }

    /// Waits for the program's end and returns its exit status.
    ///
    /// # Panics
    ///
    /// When it does not end in time.
    #[track_caller]
    pub fn end(&mut self) -> i32 {
        let until = Instant::now() + slowly(PATIENCE);
        loop {
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                // What was written last may still wait in the terminal.
                while self.read(Instant::now() + Duration::from_millis(20)) {}
                eprintln!("{}\n  `{}`: {status}", self.text(), self.shown);
                return status.code().unwrap_or(-1);
            }
            assert!(Instant::now() < until, "`{}` does not end:\n{}", self.shown, self.text());
            if !self.read(Instant::now() + Duration::from_millis(50)) {
                thread::sleep(Duration::from_millis(5));
            }
        }
    }

    /// All that has appeared.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.seen).into_owned()
    }

    /// Reads what is there, waiting for it until then; false when nothing came.
    fn read(&mut self, until: Instant) -> bool {
        let left = until.saturating_duration_since(Instant::now());
        let wait = Timespec::try_from(left).expect("seconds fit");
        let mut fds = [PollFd::new(&self.master, PollFlags::IN)];
        if poll(&mut fds, Some(&wait)).unwrap_or(0) == 0 {
            return false;
        }
        let mut buffer = [0; 4096];
        // EIO: nobody has the other side open any more.
        match self.master.read(&mut buffer) {
            Ok(count @ 1..) => {
                self.seen.extend_from_slice(&buffer[..count]);
                true
            }
            Ok(0) | Err(_) => false,
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // A failed expectation leaves the program behind; it is no part of the story any more.
        if matches!(self.child.try_wait(), Ok(None)) {
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }
}

fn window(rows: u16, columns: u16) -> Winsize {
    Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}
