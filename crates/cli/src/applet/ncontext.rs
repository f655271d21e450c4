//! `ncontext`: network contexts by hand, for experts and for chains of tools.

use serde::Serialize;
use vserver_plan::NetContext;
use vserver_run::netcontext::{self, Active};

use crate::nets::{self, DISCONNECT, NID, Named};
use crate::output::Align;
use crate::report::{self, Exit, Failure};
use crate::table::{Call, Command, Complete, JSON, Opt, Reading};

/// The table entry.
pub static COMMAND: Command = Command {
    name: "ncontext",
    summary: "makes, joins or lists network contexts",
    synopsis: &[
        "--create [--nid NID] [OPTIONS] [--] CMD ARGS",
        "--migrate --nid NID [OPTIONS] [--] CMD ARGS",
        "--migrate-self [OPTIONS] [--] CMD ARGS",
        "--list [--json]",
    ],
    options: &[
        Opt::flag(&["--create"], "make a network context without addresses, and go on in it"),
        Opt::flag(&["--migrate"], "go on in one that exists"),
        Opt::flag(&["--migrate-self"], "go on in the one that this process is in"),
        Opt::flag(&["--list"], "print every network context"),
        NID,
        DISCONNECT,
        Opt::flag(&["--silent"], "do not tell the number"),
        Opt::flag(&["--silentexist"], "say nothing when it exists already"),
        Opt::with(
            &["--syncsock"],
            "PATH",
            Complete::Path,
            "before CMD: connect to this socket and wait until the other side closes it",
        ),
        Opt::with(&["--syncmsg"], "TEXT", Complete::Nothing, "what is sent there; ok by default"),
        JSON,
    ],
    manual: &[
        "A new network context has no address: naddress --add gives it some, from CMD (a chain of tools) or from \
         outside. It is gone when its last process has ended, unless its flag persistent is set.",
        "--list is new: numbers, whose they are, and addresses.",
    ],
    exits: &[
        ("N", "that of CMD"),
        ("254", "--create: it exists already"),
        ("255", "wrong use, or it failed"),
    ],
    examples: &[
        (
            "ncontext --create --nid 900 -- naddress --add --ip 192.0.2.9/24 -- httpd -f",
            "what chbind does, step by step",
        ),
        ("ncontext --migrate --nid web1 -- ss -tl", "look at sockets as the guest's network context"),
    ],
    error_code: 255,
    reading: Reading::Options,
    operand: Complete::Program,
    run,
};

fn run(call: &mut Call) -> Result<Exit, Failure> {
    if call.given.has("--list") {
        return list(call);
    }
    let ways = ["--create", "--migrate", "--migrate-self"].map(|way| call.given.has(way));
    if ways.iter().filter(|given| **given).count() != 1 {
        return Err(Failure::Usage(
            "exactly one of --create, --migrate and --migrate-self must be given".into(),
        ));
    }
    let command = call.take_program()?;
    let named = call.given.value("--nid").map(|typed| nets::number(&call.layout, typed)).transpose()?;
    if call.given.has("--create") {
        if let Some(exit) = create(call, named)? {
            return Ok(exit);
        }
    } else if call.given.has("--migrate") {
        match named {
            None => return Err(Failure::Usage("no network context given".into())),
            Some(Named::Host) => netcontext::leave(&call.layout)?,
            Some(Named::Context(_)) => nets::existing(call)?.enter(&call.layout)?,
        }
    }
    nets::synchronise(call)?;
    nets::go_on(call, command)
}

/// A status when it exists already.
fn create(call: &mut Call, named: Option<Named>) -> Result<Option<Exit>, Failure> {
    let nid = match named {
        Some(Named::Host) => return Err(Failure::plain("cannot make network context 0: it is the host's")),
        Some(Named::Context(nid)) => Some(nid),
        None => None,
    };
    if let Some(nid) = nid
        && netcontext::find(&call.layout, nid)?.is_some()
    {
        if !call.given.has("--silentexist") {
            report::say(&format!("ncontext: network context {nid} exists already"));
        }
        return Ok(Some(Exit::Code(254)));
    }
    let made = netcontext::create(&call.layout, nid, |nid| NetContext { nid, ..nets::unconfined_rights() })?;
    if !call.given.has("--silent") {
        call.out.line(format!("New network context is {}", made.value.nid))?;
    }
    Ok(None)
}

/// One network context in the list.
#[derive(Serialize)]
struct Row {
    nid: u32,
    /// The guest that it belongs to.
    guest: Option<String>,
    addresses: Vec<String>,
    bcast: Option<String>,
    lback: Option<String>,
    flags: Vec<String>,
    ncapabilities: Vec<String>,
}

impl Row {
    fn of(active: &Active) -> Self {
        let value = &active.value;
        Self {
            nid: value.nid.get(),
            guest: active.guest.as_ref().map(|record| record.name.display().to_string()),
            addresses: value.addresses.iter().map(ToString::to_string).collect(),
            bcast: value.bcast.map(|ip| ip.to_string()),
            lback: value.lback.map(|ip| ip.to_string()),
            flags: nets::list_of(&vserver_model::words::NFLAGS, value.flags),
            ncapabilities: nets::list_of(&vserver_model::words::NCAPS, value.capabilities),
        }
    }
}

fn list(call: &mut Call) -> Result<Exit, Failure> {
    let rows: Vec<Row> = netcontext::all(&call.layout)?.iter().map(Row::of).collect();
    if call.given.has("--json") {
        call.out.json(&rows)?;
    } else {
        let columns = [("NID", Align::Right), ("GUEST", Align::Left), ("ADDRESSES", Align::Left)];
        let cells = |row: &Row| {
            vec![row.nid.to_string(), row.guest.clone().unwrap_or_default(), row.addresses.join(" ")]
        };
        call.out.table(&columns, &rows.iter().map(cells).collect::<Vec<_>>())?;
    }
    Ok(Exit::OK)
}
