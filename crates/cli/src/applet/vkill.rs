//! `vkill`: signals to processes of guests.

use std::ffi::{OsStr, OsString};

use vserver_kernel::process::Pidfd;
use vserver_model::signal;

use crate::context;
use crate::processes;
use crate::report::{self, Exit, Failure};
use crate::running::Running;
use crate::table::{Call, Command, Complete, Opt, Reading};

/// The table entry.
pub static COMMAND: Command = Command {
    name: "vkill",
    summary: "sends a signal to processes of guests",
    synopsis: &["[-c|--xid XID] [-s SIGNAL] [--] [PID]..."],
    options: &[
        Opt::with(&["-c", "--xid"], "XID", Complete::Guest, "only processes of this context"),
        Opt::with(
            &["-s"],
            "SIGNAL",
            Complete::Nothing,
            "a number or a name, with or without SIG; TERM by default",
        ),
    ],
    manual: &[
        "PID is the number of a process on the host, as vps shows it. With --xid the process must belong to that \
         context, and PID 1 is the guest's init; without a PID every process of the context gets the signal.",
    ],
    exits: &[("0", "every signal was delivered"), ("1", "wrong use, or a signal was not delivered")],
    examples: &[("vkill -c web1 -s HUP", "send HUP to everything in the guest web1")],
    error_code: 1,
    reading: Reading::Options,
    operand: Complete::Nothing,
    run,
};

fn run(call: &mut Call) -> Result<Exit, Failure> {
    let signal = match call.given.value("-s").map(|text| text.to_string_lossy()) {
        None => signal::parse("TERM"),
        Some(text) => signal::parse(&text),
    };
    let signal = signal.map_err(|bad| Failure::Usage(bad.to_string()))?;
    let typed = call.given.value("--xid").map(OsStr::to_owned);
    let operands = call.take_operands();
    if typed.is_none() && operands.is_empty() {
        return Err(Failure::Usage("neither a context nor a process given".into()));
    }
    let guest = match &typed {
        Some(typed) => Some(context::running(&call.layout, typed)?),
        None => None,
    };
    if let (Some(guest), true) = (&guest, operands.is_empty()) {
        return all_of(call, guest, signal);
    }
    let mut delivered = true;
    for operand in operands {
        if let Err(failure) = one(call, guest.as_ref(), &operand, signal) {
            report::print(&failure, "vkill", &call.argv0, 1);
            delivered = false;
        }
    }
    Ok(Exit::yes(delivered))
}

/// Every process of the context.
fn all_of(call: &Call, guest: &Running, signal: i32) -> Result<Exit, Failure> {
    for pid in processes::pids_of(&call.layout, guest)? {
        // One that has ended in the meantime needs no signal.
        let Ok(process) = Pidfd::open(pid) else { continue };
        if is_in(call, guest, pid) {
            process.signal(signal)?;
        }
    }
    Ok(Exit::OK)
}

fn one(call: &Call, guest: Option<&Running>, operand: &OsString, signal: i32) -> Result<(), Failure> {
    let number = operand.to_str().and_then(|text| text.parse().ok()).filter(|number: &i32| *number > 0);
    let Some(number) = number else {
        return Err(Failure::plain(format!("'{}' is not the number of a process", operand.display())));
    };
    let pid = match guest {
        Some(guest) if number == 1 => guest.init,
        _ => number,
    };
    let gone = || Failure::plain(format!("no process {number}"));
    // The descriptor first, then the question whose process it is: the number cannot change hands in between.
    let process = Pidfd::open(pid).map_err(|fault| if fault.is(ESRCH) { gone() } else { fault.into() })?;
    if let Some(guest) = guest
        && !is_in(call, guest, pid)
    {
        return Err(Failure::plain(format!("process {number} is not in context {}", guest.xid)));
    }
    if process.signal(signal)? { Ok(()) } else { Err(gone()) }
}

const ESRCH: i32 = rustix::io::Errno::SRCH.raw_os_error();

fn is_in(call: &Call, guest: &Running, pid: i32) -> bool {
    processes::guest_of(&call.layout, pid).is_ok_and(|name| name.as_deref() == Some(guest.name.as_os_str()))
}
