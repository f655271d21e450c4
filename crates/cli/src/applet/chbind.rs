//! `chbind`: a program of the host in a network context.

use std::ffi::OsStr;

use vserver_plan::NetContext;
use vserver_run::netcontext;

use crate::nets::{self, DISCONNECT, FLAG, NCAP, Named, Wanted};
use crate::report::{Exit, Failure};
use crate::table::{Call, Command, Complete, Opt, Reading};

/// The table entry.
pub static COMMAND: Command = Command {
    name: "chbind",
    summary: "runs a program of the host confined to addresses",
    synopsis: &[
        "[--silent] [--nid NID] [--ip ADDRESS[/MASK]|DEVICE]... [--bcast ADDRESS|DEVICE] [--lback ADDRESS] [--flag \
         LIST]... [--ncap LIST]... [--secure] [--disconnect] [--] CMD ARGS",
    ],
    options: &[
        Opt::flag(&["--silent"], "do not tell the number and the addresses"),
        Opt::with(
            &["--nid"],
            "NID",
            Complete::Guest,
            "the network context: a number or a guest's name; a free number by default",
        ),
        Opt::with(
            &["--ip"],
            "ADDRESS",
            Complete::Nothing,
            "an address with or without mask, or a device: its first IPv4 address; may be repeated",
        ),
        Opt::with(
            &["--bcast"],
            "ADDRESS",
            Complete::Nothing,
            "the broadcast address, or a device: that of its first IPv4 address",
        ),
        Opt::with(&["--lback"], "ADDRESS", Complete::Nothing, "what 127.0.0.1 is in there"),
        FLAG,
        NCAP,
        Opt::flag(&["--secure"], "ping is allowed, other raw sockets are not, and hide_netif is set"),
        DISCONNECT,
    ],
    manual: &[
        "CMD can bind only to the given addresses, sends from them, and hears nothing that was sent to others; a \
         server that binds to every address gets these, so that it leaves the ports of guests free. 127.0.0.1 is a \
         loopback of its own. --ip 0.0.0.0 stands for every address.",
        "A network context that exists is joined and not changed; the number of a running guest joins the guest's \
         addresses. 0 is the host: CMD is confined no more.",
        "The confinement lasts as long as a process is in it, and no process of ours with it. CMD keeps its \
         capabilities: with CAP_NET_ADMIN it can still change the host's devices. Interfaces are hidden from guests \
         only, whatever hide_netif says.",
    ],
    exits: &[("N", "that of CMD"), ("255", "wrong use, or it failed")],
    examples: &[
        (
            "chbind --ip 192.0.2.1/24 /usr/sbin/sshd",
            "let sshd of the host listen on the host's address alone",
        ),
        ("chbind --silent --ip eth0 -- named -f", "the same with the first address of a device"),
        ("chbind --nid web1 curl http://198.51.100.7/", "ask with the guest's address"),
    ],
    error_code: 255,
    reading: Reading::Options,
    operand: Complete::Program,
    run,
};

fn run(call: &mut Call) -> Result<Exit, Failure> {
    let command = call.take_program()?;
    let nid = match call.given.value("--nid").map(|typed| nets::number(&call.layout, typed)).transpose()? {
        Some(Named::Host) => {
            netcontext::leave(&call.layout)?;
            return nets::go_on(call, command);
        }
        Some(Named::Context(nid)) => Some(nid),
        None => None,
    };
    let draft = draft(call)?;
    let (made, is_new) = netcontext::enter_or_create(&call.layout, nid, |nid| NetContext { nid, ..draft })?;
    if is_new && !call.given.has("--silent") {
        call.out.line(format!("New network context is {}", made.value.nid))?;
        nets::announce(call, "Adding", &made.value.addresses)?;
    }
    nets::go_on(call, command)
}

/// The context that the options describe, with a number of no meaning.
fn draft(call: &Call) -> Result<NetContext, Failure> {
    let mut draft = nets::unconfined_rights();
    for (option, value) in call.given.each() {
        let value = value.unwrap_or(OsStr::new(""));
        match option {
            "--ip" => draft.add(nets::address(value)?),
            "--bcast" => draft.bcast = Some(nets::broadcast(value)?),
            "--lback" => draft.lback = Some(nets::loopback(value)?),
            _ => {}
        }
    }
    Wanted::read(call)?.apply(&mut draft);
    Ok(draft)
}
