//! What the commands about network contexts share: numbers, addresses, announcements, and going on in another program.

use std::ffi::{OsStr, OsString};
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::process::{Command as Program, Stdio};

use rustix::pipe::{PipeFlags, pipe_with};
use vserver_kernel::process::{Pidfd, WaitStatus};
use vserver_kernel::sys::{self, Forked};
use vserver_model::words::{NCAPS, NFLAGS, WordTable, parse_list};
use vserver_model::{Address, Bits, Layout, Nid};
use vserver_plan::NetContext;
use vserver_run::netcontext::{self, Active};

use crate::applet::vuname::chain;
use crate::guests;
use crate::report::{self, Exit, Failure};
use crate::table::{Call, Complete, Opt};
use crate::{context, running};

/// `--nid`
pub const NID: Opt =
    Opt::with(&["--nid"], "NID", Complete::Guest, "the network context: a number, a guest's name, or self");

/// `--flag`
pub const FLAG: Opt =
    Opt::with(&["--flag"], "LIST", Complete::Nothing, "flags to set, or to clear with ~ (see nflags)");

/// `--ncap`
pub const NCAP: Opt = Opt::with(
    &["--ncap"],
    "LIST",
    Complete::Nothing,
    "capabilities to set, or to clear with ~ (see ncapabilities)",
);

/// `--disconnect`
pub const DISCONNECT: Opt =
    Opt::flag(&["--disconnect"], "in the background, as a session of its own without input");

/// What `--nid` names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    /// 0, or `self` outside of all contexts: the host's network, without confinement.
    Host,
    /// This context, which need not exist.
    Context(Nid),
}

/// The number behind `typed`: `self`, a number, `:NAME`, or a guest's name or path.
///
/// A guest's number is that of its configuration: `ncontext`, then `context`.
pub fn number(layout: &Layout, typed: &OsStr) -> Result<Named, Failure> {
    if typed == "self" {
        return Ok(netcontext::number_of(layout, 0)?.map_or(Named::Host, Named::Context));
    }
    let raw = match context::decimal(typed) {
        Some(number) => number,
        None => of_guest(layout, typed)?,
    };
    match raw {
        0 => Ok(Named::Host),
        _ => Nid::new(raw).map(Named::Context).map_err(|_| {
            Failure::plain(format!("{raw} cannot be a network context"))
                .hint("0 is the host; 2 to 65535 can be network contexts")
        }),
    }
}

fn of_guest(layout: &Layout, typed: &OsStr) -> Result<u32, Failure> {
    let name = typed.as_bytes().strip_prefix(b":").map_or(typed, OsStr::from_bytes);
    let guest = guests::find(layout, name).map_err(guests::not_found)?;
    if let Some(nid) = guest.first_line("ncontext").and_then(|text| text.parse().ok()) {
        return Ok(nid);
    }
    running::of(layout, &guest).map(|running| running.xid).or_else(|| context::fixed(&guest)).ok_or_else(
        || {
            Failure::plain(format!("the guest \"{}\" has no context number", guest.shown()))
                .hint(format!("write a number from 2 to 65535 into {}", guest.dir.join("context").display()))
        },
    )
}

/// The existing context behind `--nid`, or the caller's without it.
pub fn existing(call: &Call) -> Result<Active, Failure> {
    let typed = call.given.value("--nid").unwrap_or(OsStr::new("self"));
    let Named::Context(nid) = number(&call.layout, typed)? else {
        return Err(Failure::plain("no network context given, and this process is in none")
            .hint("name one with --nid; ncontext --list shows those that exist"));
    };
    netcontext::find(&call.layout, nid)?
        .ok_or_else(|| Failure::plain(format!("network context {nid} does not exist")))
}

/// The bits of all occurrences of an option with words.
fn words(call: &Call, option: &str, table: &WordTable) -> Result<Bits, Failure> {
    let lists = call.given.each().filter(|(key, _)| *key == option).map(|(_, value)| {
        let text = value.unwrap_or_default().to_string_lossy();
        parse_list(&text, table).map_err(|bad| {
            let failure = Failure::plain(bad.to_string());
            match bad.hint() {
                Some(hint) => failure.hint(hint),
                None => failure,
            }
        })
    });
    lists.collect()
}

/// `--secure`, `--flag` and `--ncap`, in this order whatever the command line's was.
pub struct Wanted {
    secure: bool,
    flags: Bits,
    capabilities: Bits,
}

impl Wanted {
    /// From the options.
    pub fn read(call: &Call) -> Result<Self, Failure> {
        Ok(Self {
            secure: call.given.has("--secure"),
            flags: words(call, "--flag", &NFLAGS)?,
            capabilities: words(call, "--ncap", &NCAPS)?,
        })
    }

    /// Changes a context.
    pub fn apply(&self, to: &mut NetContext) {
        if self.secure {
            to.secure();
        }
        to.apply_flags(self.flags);
        to.apply_capabilities(self.capabilities);
    }
}

/// A context for a program of the host, before any option: the program's own capabilities say which raw sockets it
/// can make.
pub fn unconfined_rights() -> NetContext {
    let number = Nid::new(2).expect("2 is the smallest number");
    NetContext { raw: true, capabilities: 0, ..NetContext::new(number) }
}

/// The words of a set of bits, for JSON.
pub fn list_of(table: &WordTable, bits: u64) -> Vec<String> {
    table.print(bits).split(',').filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// An address, or a device whose first IPv4 address is meant.
pub fn address(typed: &OsStr) -> Result<Address, Failure> {
    let text = text(typed)?;
    match text.parse::<Address>() {
        Ok(address) => Ok(address),
        Err(wrong) if vserver_model::address::check_device(text).is_err() || text.contains('/') => {
            let failure = Failure::plain(wrong.to_string());
            Err(match wrong.hint() {
                Some(hint) => failure.hint(hint),
                None => failure,
            })
        }
        Err(_) => Ok(netcontext::address_of_device(text)?),
    }
}

/// An IPv4 broadcast address, or a device whose one is meant.
pub fn broadcast(typed: &OsStr) -> Result<Ipv4Addr, Failure> {
    let text = text(typed)?;
    match text.parse::<Address>() {
        Ok(address) => v4(address),
        Err(_) => Ok(netcontext::broadcast_of_device(text)?),
    }
}

/// The value of `--lback`: an IPv4 address.
pub fn loopback(typed: &OsStr) -> Result<Ipv4Addr, Failure> {
    let text = text(typed)?;
    v4(text.parse().map_err(Failure::of)?)
}

fn v4(address: Address) -> Result<Ipv4Addr, Failure> {
    match address.ip {
        IpAddr::V4(ip) => Ok(ip),
        IpAddr::V6(ip) => Err(Failure::plain(format!("{ip} is no IPv4 address"))),
    }
}

fn text(typed: &OsStr) -> Result<&str, Failure> {
    typed.to_str().ok_or_else(|| Failure::plain(format!("'{}' is not an address", typed.display())))
}

/// How many addresses one `--range` or `--mask` may stand for: each is an entry of its own in the kernel.
const SEVERAL: u128 = 256;

/// All addresses of `A-B[/M]`.
pub fn range(typed: &OsStr) -> Result<Vec<Address>, Failure> {
    let text = text(typed)?;
    let (from, rest) =
        text.split_once('-').ok_or_else(|| Failure::Usage(format!("'{text}' is not A-B or A-B/M")))?;
    let last: Address = rest.parse().map_err(Failure::of)?;
    let first: IpAddr = from.parse().map_err(|_| Failure::plain(format!("'{from}' is not an address")))?;
    between(first, last.ip, last.prefix, text)
}

/// All addresses of the network `A/M`.
pub fn network(typed: &OsStr) -> Result<Vec<Address>, Failure> {
    let text = text(typed)?;
    let address: Address = text.parse().map_err(Failure::of)?;
    let bits = u32::from(vserver_model::address::max_prefix(address.ip) - address.effective_prefix());
    let more = 1_u128.checked_shl(bits).map_or(u128::MAX, |size| size - 1);
    let last = match address.network() {
        IpAddr::V4(ip) => Ipv4Addr::from_bits(ip.to_bits() | u32::try_from(more).unwrap_or(u32::MAX)).into(),
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() | more).into(),
    };
    between(address.network(), last, address.prefix, text)
}

fn between(first: IpAddr, last: IpAddr, prefix: Option<u8>, shown: &str) -> Result<Vec<Address>, Failure> {
    let bits = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => u128::from(ip.to_bits()),
        IpAddr::V6(ip) => ip.to_bits(),
    };
    let (from, to) = (bits(first), bits(last));
    if first.is_ipv4() != last.is_ipv4() || from > to {
        return Err(Failure::plain(format!("'{shown}' has no first and last address")));
    }
    if to - from >= SEVERAL {
        return Err(Failure::plain(format!("'{shown}' is more than {SEVERAL} addresses")));
    }
    let address = |number: u128| match (first, u32::try_from(number)) {
        (IpAddr::V4(_), Ok(number)) => Ipv4Addr::from_bits(number).into(),
        _ => Ipv6Addr::from_bits(number).into(),
    };
    Ok((from..=to).map(|number| Address { ip: address(number), prefix }).collect())
}

/// `Adding 10.0.0.5 10.0.0.6`
pub fn announce(call: &mut Call, what: &str, addresses: &[Address]) -> Result<(), Failure> {
    if !addresses.is_empty() {
        let list: Vec<String> = addresses.iter().map(|one| one.ip.to_string()).collect();
        call.out.line(format!("{what} {}", list.join(" ")))?;
    }
    Ok(())
}

/// `--syncsock` and `--syncmsg`: tells somebody that we stand, and waits until they let us go on.
pub fn synchronise(call: &Call) -> Result<(), Failure> {
    let Some(path) = call.given.value("--syncsock") else { return Ok(()) };
    let message = call.given.value("--syncmsg").unwrap_or(OsStr::new("ok"));
    let talk = || -> std::io::Result<()> {
        let mut peer = UnixStream::connect(path)?;
        peer.write_all(message.as_bytes())?;
        let mut rest = Vec::new();
        peer.take(1 << 20).read_to_end(&mut rest).map(drop)
    };
    talk().map_err(|error| Failure::because(format!("cannot synchronise with {}", path.display()), error))
}

/// Runs the rest of the command line in our place, or with `--disconnect` in the background. What was announced goes
/// out first.
pub fn go_on(call: &mut Call, command: Vec<OsString>) -> Result<Exit, Failure> {
    call.out.flush()?;
    if call.given.has("--disconnect") && !command.is_empty() {
        in_background(command)
    } else {
        chain(command)
    }
}

/// Runs the rest of the command line in our place, if there is one.
pub fn go_on_here(call: &mut Call, command: Vec<OsString>) -> Result<Exit, Failure> {
    call.out.flush()?;
    chain(command)
}

/// Returns when the program has begun: 0, or its status if it could not begin.
fn in_background(mut command: Vec<OsString>) -> Result<Exit, Failure> {
    let what = "cannot go to the background";
    let (reader, writer) =
        pipe_with(PipeFlags::CLOEXEC).map_err(|errno| Failure::because(what, errno.into()))?;
    match sys::fork()? {
        Forked::Child => {
            drop(reader);
            // It cannot be a leader yet.
            rustix::process::setsid().ok();
            let program = command.remove(0);
            let error = Program::new(&program).args(command).stdin(Stdio::null()).exec();
            report::say(&format!(
                "cannot run {}: {}",
                program.display(),
                report::in_words(&error.to_string())
            ));
            rustix::io::write(&writer, b"!").ok();
            sys::exit_now(255)
        }
        Forked::Parent { pidfd, .. } => {
            drop(writer);
            let mut word = [0; 1];
            let failed = rustix::io::retry_on_intr(|| rustix::io::read(&reader, &mut word)).unwrap_or(0) > 0;
            if !failed {
                return Ok(Exit::OK);
            }
            Ok(match Pidfd::from(pidfd).wait(None)? {
                Some(WaitStatus::Exited(status)) => Exit::Code(u8::try_from(status).unwrap_or(255)),
                _ => Exit::Code(255),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(list: Result<Vec<Address>, Failure>) -> String {
        match list {
            Ok(list) => list.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
            Err(Failure::Trouble(trouble)) => trouble.text("x"),
            Err(other) => format!("{other:?}"),
        }
    }

    #[test]
    fn ranges_and_networks_are_single_addresses() {
        let of = |text: &str| shown(range(OsStr::new(text)));
        assert_eq!(of("192.0.2.254-192.0.3.1/16"), "192.0.2.254/16 192.0.2.255/16 192.0.3.0/16 192.0.3.1/16");
        assert_eq!(of("2001:db8::1-2001:db8::2"), "2001:db8::1 2001:db8::2");
        assert_eq!(of("192.0.2.2-192.0.2.1"), "x: '192.0.2.2-192.0.2.1' has no first and last address");
        assert_eq!(of("192.0.2.1-::1"), "x: '192.0.2.1-::1' has no first and last address");
        assert_eq!(of("10.0.0.0-10.0.1.0"), "x: '10.0.0.0-10.0.1.0' is more than 256 addresses");
        let of = |text: &str| shown(network(OsStr::new(text)));
        assert_eq!(of("192.0.2.5/31"), "192.0.2.4/31 192.0.2.5/31");
        assert_eq!(of("2001:db8::5/127"), "2001:db8::4/127 2001:db8::5/127");
        assert_eq!(of("::/0"), "x: '::/0' is more than 256 addresses");
        assert_eq!(of("0.0.0.0/0"), "x: '0.0.0.0/0' is more than 256 addresses");
    }
}
