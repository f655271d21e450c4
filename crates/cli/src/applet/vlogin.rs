//! `vlogin`: a program behind a pseudo terminal of its own.
//!
//! ```text
//!   the caller's terminal ◀─bytes─▶ vlogin (raw mode) ◀─▶ master │ terminal ◀─▶ program (own session)
//! ```

use std::ffi::OsString;
use std::fs::File;
use std::io::IsTerminal;
use std::os::fd::AsFd;
use std::process::{Command as Child, Stdio};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, read, write};
use vserver_kernel::process::Pidfd;
use vserver_kernel::pty::{self, Pty, RawMode};

use crate::applet::vps::exit_of;
use crate::applet::vuname::chain;
use crate::report::{Exit, Failure};
use crate::table::{Call, Command, Complete, Opt, Reading};

/// The table entry.
pub static COMMAND: Command = Command {
    name: "vlogin",
    summary: "runs a program behind a terminal of its own",
    synopsis: &["[--] CMD ARGS"],
    options: &[Opt::flag(&["--in-terminal"], "internal: this is the side of the program").hide()],
    manual: &[
        "When standard input and output are terminals, CMD gets a new pseudo terminal as its controlling terminal, and \
         every byte and every change of the window's size is passed on: nothing that CMD does can put characters into \
         the caller's terminal as if they had been typed. Otherwise CMD is simply run.",
        "vserver NAME enter does the same with a terminal inside the guest.",
    ],
    exits: &[("N", "that of CMD"), ("255", "CMD could not be run")],
    examples: &[],
    error_code: 255,
    reading: Reading::Options,
    operand: Complete::Program,
    run,
};

fn run(call: &mut Call) -> Result<Exit, Failure> {
    let command = call.take_program()?;
    if call.given.has("--in-terminal") {
        pty::make_controlling(std::io::stdin())?;
        return chain(command);
    }
    if !std::io::stdin().is_terminal() || !std::io::stdout().is_terminal() {
        return chain(command);
    }
    proxy(&command)
}

fn proxy(command: &[OsString]) -> Result<Exit, Failure> {
    let devpts = File::open("/dev/pts").map_err(|error| Failure::because("cannot open /dev/pts", error))?;
    let Pty { master, terminal, .. } = pty::open_in(devpts.as_fd())?;
    pty::set_window_size(&terminal, pty::window_size(std::io::stdin())?)?;
    let copy = |fd: &std::os::fd::OwnedFd| -> Result<Stdio, Failure> {
        Ok(fd.try_clone().map_err(|error| Failure::because("cannot copy a descriptor", error))?.into())
    };
    let own = std::env::current_exe().map_err(|error| Failure::because("cannot find this program", error))?;
    let mut child = Child::new(own)
        .args(["--applet", "vlogin", "--in-terminal", "--"])
        .args(command)
        .stdin(copy(&terminal)?)
        .stdout(copy(&terminal)?)
        .stderr(copy(&terminal)?)
        .spawn()
        .map_err(|error| Failure::because("cannot run this program again", error))?;
    drop(terminal);
    let ended = Pidfd::open(i32::try_from(child.id()).expect("a pid is an int"))?;
    let raw = RawMode::enter(std::io::stdin())?;
    let copied = copy_until_ended(&master, &ended);
    drop(raw);
    let status = child.wait().map_err(|error| Failure::because("cannot wait for the program", error))?;
    copied?;
    Ok(exit_of(status))
}

/// Bytes both ways until the program has ended and all it wrote has been shown.
fn copy_until_ended(master: &std::os::fd::OwnedFd, ended: &Pidfd) -> Result<(), Failure> {
    let trouble = |errno: Errno| Failure::because("cannot pass bytes between the terminals", errno.into());
    let mut input_open = true;
    let mut size = pty::window_size(std::io::stdin())?;
    let mut bytes = [0_u8; 8192];
    loop {
        let stdin = std::io::stdin();
        let mut fds =
            vec![PollFd::new(master, PollFlags::IN), PollFd::from_borrowed_fd(ended.as_fd(), PollFlags::IN)];
        if input_open {
            fds.push(PollFd::from_borrowed_fd(stdin.as_fd(), PollFlags::IN));
        }
        // A signal handler would be the only other way to learn of a new window size.
        let pause = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };
        match poll(&mut fds, Some(&pause)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(trouble(errno)),
        }
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        if ready[0] {
            match read(master, &mut bytes) {
                // The last holder of the other side is gone.
                Ok(0) | Err(Errno::IO) => return Ok(()),
                Ok(count) => write_all(std::io::stdout().as_fd(), &bytes[..count]).map_err(trouble)?,
                Err(Errno::INTR | Errno::AGAIN) => {}
                Err(errno) => return Err(trouble(errno)),
            }
        } else if ready[1] {
            return Ok(());
        }
        if ready.get(2).copied().unwrap_or(false) {
            match read(std::io::stdin(), &mut bytes) {
                // The caller's terminal is gone: the program's one hangs up when the master is closed.
                Ok(0) | Err(Errno::IO) => input_open = false,
                Ok(count) => write_all(master.as_fd(), &bytes[..count]).map_err(trouble)?,
                Err(Errno::INTR | Errno::AGAIN) => {}
                Err(errno) => return Err(trouble(errno)),
            }
        }
        let now = pty::window_size(std::io::stdin()).unwrap_or(size);
        if now != size {
            pty::set_window_size(master, now)?;
            size = now;
        }
    }
}

/// All of it, however often the kernel takes a part only.
pub(crate) fn write_all(fd: std::os::fd::BorrowedFd<'_>, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match write(fd, bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}
