//! `vwait`: waits for the end of a context.

use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::io::Write;
use std::time::Duration;

use vserver_kernel::process::Pidfd;

use crate::context;
use crate::report::{self, Exit, Failure};
use crate::running;
use crate::table::{Call, Command, Complete, Opt, Reading};

/// The table entry.
pub static COMMAND: Command = Command {
    name: "vwait",
    summary: "waits until a context has ended",
    synopsis: &["[--timeout SECONDS] [--terminate] [--status-fd FD] [--] XID"],
    options: &[
        Opt::with(&["--timeout"], "SECONDS", Complete::Nothing, "wait no longer than that"),
        Opt::flag(&["--terminate"], "after the timeout kill the context's processes"),
        Opt::with(
            &["--status-fd"],
            "FD",
            Complete::Nothing,
            "write a line about the outcome to this descriptor",
        ),
    ],
    manual: &["The line is FINISHED and a number, KILLED, TIMEOUT, or ERROR and the number of the error."],
    exits: &[
        ("0", "the context has ended"),
        ("1", "wrong use, or the timeout was over and the context was killed"),
        ("2", "the timeout was over"),
        ("127", "the context does not exist, or could not be waited for"),
    ],
    examples: &[("vwait --timeout 60 web1", "wait a minute for the end of web1")],
    error_code: 1,
    reading: Reading::Options,
    operand: Complete::Guest,
    run,
};

fn run(call: &mut Call) -> Result<Exit, Failure> {
    let operands = call.take_operands();
    let [typed] = operands.as_slice() else {
        return Err(Failure::Usage("exactly one context must be given".into()));
    };
    let number = |option: &str| -> Result<Option<u32>, Failure> {
        let Some(text) = call.given.value(option) else { return Ok(None) };
        let bad = || Failure::Usage(format!("'{}' is not a number for {option}", text.display()));
        context::decimal(text).map(Some).ok_or_else(bad)
    };
    let timeout = number("--timeout")?.map(|seconds| Duration::from_secs(u64::from(seconds)));
    let status_fd = number("--status-fd")?;
    let xid = context::number(&call.layout, typed)?;
    let (exit, line) = match wait(call, xid, typed, timeout) {
        Ok(outcome) => outcome,
        Err((failure, errno)) => {
            report::print(&failure, "vwait", &call.argv0, 127);
            (127, format!("ERROR {errno}"))
        }
    };
    if let Some(fd) = status_fd {
        write_status(fd, &line)?;
    }
    Ok(Exit::Code(exit))
}

type Outcome = Result<(u8, String), (Failure, i32)>;

fn wait(call: &Call, xid: u32, typed: &OsStr, timeout: Option<Duration>) -> Outcome {
    let gone = || (context::not_running(xid, typed), rustix::io::Errno::SRCH.raw_os_error());
    let fault = |fault: vserver_kernel::Fault| {
        let errno = fault.errno().unwrap_or(0);
        (Failure::from(fault), errno)
    };
    let guest = running::by_xid(&call.layout, xid).ok_or_else(gone)?;
    let Ok(init) = Pidfd::open(guest.init) else { return Ok((0, "FINISHED 0".to_owned())) };
    // The number may have been given to another process between the record and the descriptor.
    if running::by_xid(&call.layout, xid).is_none() {
        return Ok((0, "FINISHED 0".to_owned()));
    }
    if init.wait_end(timeout).map_err(fault)? {
        return Ok((0, "FINISHED 0".to_owned()));
    }
    if !call.given.has("--terminate") {
        return Ok((2, "TIMEOUT".to_owned()));
    }
    kill(&init).map_err(fault)?;
    Ok((1, "KILLED".to_owned()))
}

/// The init's end takes every process of its namespace along: the kernel kills them.
fn kill(init: &Pidfd) -> Result<(), vserver_kernel::Fault> {
    init.signal(9)?;
    init.wait_end(Some(Duration::from_secs(10)))?;
    Ok(())
}

fn write_status(fd: u32, line: &str) -> Result<(), Failure> {
    // Through /proc, because a number on the command line is not a descriptor that this program owns.
    let path = format!("/proc/self/fd/{fd}");
    OpenOptions::new()
        .append(true)
        .open(&path)
        .and_then(|mut file| writeln!(file, "{line}"))
        .map_err(|error| Failure::because(format!("cannot write to descriptor {fd}"), error))
}
