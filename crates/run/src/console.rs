//! The guest's console while a start waits: what the rc command prints is shown to whoever started the guest.

use std::io::Write as _;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::termios::{OptionalActions, OutputModes, tcgetattr, tcsetattr};

use vserver_kernel::sys;

use crate::failure::{Doing, Failure};
use crate::first::next_answer;
use crate::helper::answer;
use crate::logs::Writer;

/// How a command that the stub init ran has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The program could not be executed: errno.
    NotExecuted(i32),
    /// It has ended.
    Command {
        /// Wait status as wait(2) encodes it.
        status: i32,
        /// Somebody is left in the guest.
        left: bool,
    },
    /// The stub itself is gone.
    Vanished,
    /// Whoever waited was told to stop, by this signal.
    Interrupted(i32),
}

/// Lines end as the command wrote them: the console must not add carriage returns to what is copied to a terminal
/// or file of the host.
pub fn plain_output(terminal: &OwnedFd) -> Result<(), Failure> {
    let mut settings = tcgetattr(terminal).doing(|| "read the console's settings".into())?;
    settings.output_modes -= OutputModes::OPOST;
    tcsetattr(terminal, OptionalActions::Now, &settings).doing(|| "set the console's settings".into())
}

/// Copies the console to standard output and to its log until the stub's command has ended, or a signal says to wait no longer.
///
/// # Errors
/// A descriptor fails. What cannot be written to standard output is dropped: the guest goes on.
pub fn show_until_ended(
    console: BorrowedFd<'_>,
    mut log: Option<Writer<'_>>,
    answers: &mut OwnedFd,
    signals: &OwnedFd,
) -> Result<Ended, Failure> {
    let mut status = None;
    loop {
        let [console_ready, signal_ready, answer_ready] = wait([console, signals.as_fd(), answers.as_fd()])?;
        if console_ready {
            copy(console, log.as_mut())?;
        } else if signal_ready && let Some(signal) = sys::next_signal(signals.as_fd())? {
            return Ok(Ended::Interrupted(signal));
        } else if answer_ready {
            // Only when the console has nothing more: what was printed last is shown before the end is reported.
            match (next_answer(answers)?, status) {
                (Some((answer::EXEC_FAILED, errno)), _) => return Ok(Ended::NotExecuted(errno)),
                (Some((answer::ENDED, number)), _) => status = Some(number),
                (Some((answer::LEFT, left)), Some(status)) => {
                    return Ok(Ended::Command { status, left: left != 0 });
                }
                (Some(_), _) => {}
                (None, Some(status)) => return Ok(Ended::Command { status, left: false }),
                (None, None) => return Ok(Ended::Vanished),
            }
        }
    }
}

fn wait(descriptors: [BorrowedFd<'_>; 3]) -> Result<[bool; 3], Failure> {
    let mut watched = descriptors.map(|descriptor| PollFd::from_borrowed_fd(descriptor, PollFlags::IN));
    loop {
        match poll(&mut watched, None) {
            Ok(_) => break,
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno).doing(|| "wait for the guest".into()),
        }
    }
    // A console that hung up has nothing to read: only the answers' end is told by its state alone.
    let [console, signals, answers] = watched;
    let readable = |fd: &PollFd<'_>| fd.revents().contains(PollFlags::IN);
    Ok([readable(&console), readable(&signals), !answers.revents().is_empty()])
}

fn copy(console: BorrowedFd<'_>, log: Option<&mut Writer<'_>>) -> Result<(), Failure> {
    let mut buffer = [0; 4096];
    match rustix::io::read(console, &mut buffer) {
        Ok(count) => {
            if let Some(log) = log {
                log.append(&buffer[..count]);
            }
            let mut out = std::io::stdout().lock();
            drop(out.write_all(&buffer[..count]).and_then(|()| out.flush()));
            Ok(())
        }
        Err(rustix::io::Errno::INTR | rustix::io::Errno::IO) => Ok(()),
        Err(errno) => Err(errno).doing(|| "read the guest's console".into()),
    }
}
