//! `naddress`: the addresses of a network context that exists.

use std::ffi::OsStr;

use serde::Serialize;
use vserver_model::Address;

use crate::nets::{self, NID};
use crate::report::{Exit, Failure};
use crate::table::{Call, Command, Complete, JSON, Opt, Reading};

/// The table entry.
pub static COMMAND: Command = Command {
    name: "naddress",
    summary: "changes or prints the addresses of a network context",
    synopsis: &[
        "--add|--remove|--set [--nid NID] [--silent] [OPTIONS] [--] [CMD ARGS]",
        "--get [--nid NID] [--json]",
    ],
    options: &[
        Opt::flag(&["--add"], "add addresses"),
        Opt::flag(&["--remove"], "take addresses away"),
        Opt::flag(&["--set"], "these addresses and no others"),
        Opt::flag(&["--get"], "print the addresses, one a line"),
        NID,
        Opt::flag(&["--silent"], "do not tell the addresses"),
        Opt::with(
            &["--ip"],
            "ADDRESS",
            Complete::Nothing,
            "an address with or without mask, or a device: its first IPv4 address; may be repeated",
        ),
        Opt::with(
            &["--mask"],
            "ADDRESS/MASK",
            Complete::Nothing,
            "every address of this network, at most 256; may be repeated",
        ),
        Opt::with(
            &["--range"],
            "ADDRESS-ADDRESS[/MASK]",
            Complete::Nothing,
            "every address from here to there, at most 256; may be repeated",
        ),
        Opt::with(
            &["--bcast"],
            "ADDRESS",
            Complete::Nothing,
            "the broadcast address, or a device: that of its first IPv4 address",
        ),
        Opt::with(&["--lback"], "ADDRESS", Complete::Nothing, "what 127.0.0.1 is in there"),
        JSON,
    ],
    manual: &[
        "Without --nid: the network context that this process is in. A change counts at once: sockets that are bound \
         to an address that was taken away hear nothing any more. The devices of the host are not touched: an \
         address that no device carries can be given, but not used. A guest's configuration is not touched either: \
         it counts again at the next start.",
        "The first address of a family is the source of connections that have no better one. A second IPv4 address \
         ends the flag single_ip. --get is new.",
    ],
    exits: &[("0", "done"), ("255", "wrong use, or it failed"), ("N", "that of CMD")],
    examples: &[
        ("naddress --add --nid web1 --ip 192.0.2.12/24", "let the running guest use one more address"),
        ("naddress --get --nid web1", "print what it may use"),
    ],
    error_code: 255,
    reading: Reading::Options,
    operand: Complete::Program,
    run,
};

fn run(call: &mut Call) -> Result<Exit, Failure> {
    let ways = ["--add", "--remove", "--set", "--get"].map(|way| call.given.has(way));
    if ways.iter().filter(|given| **given).count() != 1 {
        return Err(Failure::Usage("exactly one of --add, --remove, --set and --get must be given".into()));
    }
    if call.given.has("--get") {
        return get(call);
    }
    let named = addresses(call)?;
    let mut active = nets::existing(call)?;
    let mut value = active.value.clone();
    if call.given.has("--set") {
        value.addresses.clear();
        (value.bcast, value.lback) = (None, None);
    }
    let removes = call.given.has("--remove");
    for address in &named {
        if !removes {
            value.add(*address);
        } else if !value.remove(address.ip) {
            return Err(Failure::plain(format!(
                "{} is no address of network context {}",
                address.ip, value.nid
            ))
            .hint(format!("naddress --get --nid {} prints them", value.nid)));
        }
    }
    for (option, field) in [("--bcast", &mut value.bcast), ("--lback", &mut value.lback)] {
        let Some(typed) = call.given.value(option) else { continue };
        *field = match (removes, option) {
            (true, _) => None,
            (false, "--bcast") => Some(nets::broadcast(typed)?),
            (false, _) => Some(nets::loopback(typed)?),
        };
    }
    active.change(&call.layout, value)?;
    if !call.given.has("--silent") {
        nets::announce(call, if removes { "Removing" } else { "Adding" }, &named)?;
    }
    let command = call.take_operands();
    nets::go_on_here(call, command)
}

/// What `--ip`, `--mask` and `--range` name, in their order.
fn addresses(call: &Call) -> Result<Vec<Address>, Failure> {
    let mut all = Vec::new();
    for (option, value) in call.given.each() {
        let value = value.unwrap_or(OsStr::new(""));
        match option {
            "--ip" => all.push(nets::address(value)?),
            "--mask" => all.extend(nets::network(value)?),
            "--range" => all.extend(nets::range(value)?),
            _ => {}
        }
    }
    Ok(all)
}

/// What `--get --json` prints.
#[derive(Serialize)]
struct Answer {
    nid: u32,
    addresses: Vec<String>,
    bcast: Option<String>,
    lback: Option<String>,
}

fn get(call: &mut Call) -> Result<Exit, Failure> {
    let value = nets::existing(call)?.value;
    let addresses: Vec<String> = value.addresses.iter().map(ToString::to_string).collect();
    if call.given.has("--json") {
        let answer = Answer {
            nid: value.nid.get(),
            addresses,
            bcast: value.bcast.map(|ip| ip.to_string()),
            lback: value.lback.map(|ip| ip.to_string()),
        };
        call.out.json(&answer)?;
    } else {
        for address in addresses {
            call.out.line(address)?;
        }
    }
    Ok(Exit::OK)
}
