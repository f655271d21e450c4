//! `vserver-info`: single facts about guests, contexts and processes, for scripts.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use vserver_kernel::proc;
use vserver_model::xid::XidType;

use crate::applet::vuname;
use crate::context;
use crate::guests::{self, GuestDir};
use crate::processes;
use crate::report::{self, Exit, Failure};
use crate::running::{self, Running};
use crate::table::{Call, Command, Complete, Opt, Reading};

/// The table entry.
pub static COMMAND: Command = Command {
    name: "vserver-info",
    summary: "prints single facts about guests, contexts and processes",
    synopsis: &["[-q] [OBJECT TAG [ARG]...]", "-l", "--json - SYSINFO"],
    options: &[
        Opt::flag(&["-q"], "print nothing, only the exit code tells"),
        Opt::flag(&["-l"], "list the tags"),
        Opt::flag(&["--json"], "with SYSINFO: print JSON for programs"),
    ],
    manual: &[
        "OBJECT is a guest, a context or the number of a process, as the tag wants it; - where it does not matter.",
        "Of a guest: CONTEXT (running, else fixed number; with an ARG that is 0 or begins with n only running), \
         RUNNING, VDIR (with an ARG other than 0 without symbolic links), NAME, CFGDIR, APPDIR (ARG: sub-directory). \
         Of a context: ID (configuration directory), INITPID, UTS (ARG: field), XIDTYPE (ARG: list of types). Of a \
         process: XID, NID, TAG, INITPID_PID. Of the host: SYSINFO, FEATURE (ARG: name), APIVER, VERIFYCAP, \
         VERIFYPROC. CANONIFY prints the letters and digits of a text. PXID has never been implemented.",
        "Without OBJECT and TAG: SYSINFO.",
    ],
    exits: &[
        ("0", "the fact was printed, or the answer is yes"),
        ("1", "wrong use, unknown, or the answer is no"),
    ],
    examples: &[
        ("vserver-info web1 CONTEXT", "the guest's context number"),
        ("vserver-info - SYSINFO", "versions"),
    ],
    error_code: 1,
    reading: Reading::Options,
    operand: Complete::Guest,
    run,
};

/// How one tag is answered: the text, or nothing.
type Answer = fn(&Call, &OsStr, Option<&OsStr>) -> Option<OsString>;

const TAGS: &[(&str, Answer)] = &[
    ("CONTEXT", context_of),
    ("ID", id),
    ("RUNNING", running),
    ("VDIR", vdir),
    ("NAME", name),
    ("CFGDIR", cfgdir),
    ("APPDIR", appdir),
    ("INITPID", initpid),
    ("INITPID_PID", initpid_pid),
    ("XID", xid),
    ("NID", nid),
    ("TAG", tag),
    ("PXID", never),
    ("APIVER", apiver),
    ("UTS", uts),
    ("SYSINFO", sysinfo),
    ("FEATURE", feature),
    ("CANONIFY", canonify),
    ("VERIFYCAP", verifycap),
    ("VERIFYPROC", verifyproc),
    ("XIDTYPE", xidtype),
];

/// What the interface of the last kernel patch had and we have under the same name.
const FEATURES: &[&str] = &[
    "VKILL",
    "RLIMIT",
    "NAMESPACE",
    "VINFO",
    "VHI",
    "VSHELPER",
    "VWAIT",
    "VNET",
    "VSTAT",
    "PIDSPACE",
    "SPACES",
    "PIVOT_ROOT",
];

fn run(call: &mut Call) -> Result<Exit, Failure> {
    if call.given.has("-l") {
        let names: Vec<&str> = TAGS.iter().map(|(name, _)| *name).collect();
        call.out.line(format!("Valid tags are: {}", names.join(", ")))?;
        return Ok(Exit::OK);
    }
    if call.given.has("-q") {
        call.out.discard();
    }
    let mut operands = call.take_operands();
    if operands.len() < 2 {
        operands = vec![OsString::from("-"), OsString::from("SYSINFO")];
        report::say("vserver-info: no object and tag given, this is SYSINFO (--help tells the others)");
    }
    let tag = operands[1].to_string_lossy().into_owned();
    let Some((_, answer)) = TAGS.iter().find(|(name, _)| *name == tag) else {
        return Err(Failure::plain(format!("unknown tag '{tag}'")).hint("vserver-info -l lists the tags"));
    };
    if tag == "SYSINFO" && call.given.has("--json") {
        let host = vserver_host::Host::quick().map_err(Failure::of)?;
        call.out.json(&host)?;
        return Ok(Exit::OK);
    }
    if tag == "XIDTYPE" && operands.len() > 3 {
        // The only tag with a list: each type in turn.
        let found = operands[2..].iter().any(|one| xidtype(call, &operands[0], Some(one)).is_some());
        operands.truncate(2);
        if !found {
            return Ok(Exit::Code(1));
        }
    }
    let found = answer(call, &operands[0], operands.get(2).map(OsString::as_os_str));
    let Some(text) = found else { return Ok(Exit::Code(1)) };
    if !text.is_empty() {
        call.out.line(text)?;
    }
    Ok(Exit::OK)
}

fn guest(call: &Call, object: &OsStr) -> Option<GuestDir> {
    guests::find(&call.layout, object).ok()
}

fn context_of(call: &Call, object: &OsStr, arg: Option<&OsStr>) -> Option<OsString> {
    let guest = guest(call, object)?;
    let running_only = arg.is_some_and(|arg| arg == "0" || arg.as_bytes().starts_with(b"n"));
    let running = running::of(&call.layout, &guest).map(|running| running.xid);
    let fixed = if running_only { None } else { context::fixed(&guest) };
    Some(number(running.or(fixed)?))
}

fn number(number: impl std::fmt::Display) -> OsString {
    OsString::from(format!("{number}"))
}

/// The running context that the object names by number or guest.
fn context_at(call: &Call, object: &OsStr) -> Option<Running> {
    match context::decimal(object) {
        Some(number) => running::by_xid(&call.layout, number),
        None => running::of(&call.layout, &guest(call, object)?),
    }
}

fn id(call: &Call, object: &OsStr, _arg: Option<&OsStr>) -> Option<OsString> {
    Some(context_at(call, object)?.dir.into())
}

fn running(call: &Call, object: &OsStr, _arg: Option<&OsStr>) -> Option<OsString> {
    context_at(call, object).map(|_| OsString::from("1"))
}

fn vdir(call: &Call, object: &OsStr, arg: Option<&OsStr>) -> Option<OsString> {
    let link = guest(call, object)?.dir.join("vdir");
    let real = fs::canonicalize(&link).ok()?;
    Some(if arg.is_some_and(|arg| arg != "0") { real.into() } else { link.into() })
}

fn name(call: &Call, object: &OsStr, _arg: Option<&OsStr>) -> Option<OsString> {
    Some(guest(call, object)?.display_name())
}

fn cfgdir(call: &Call, object: &OsStr, _arg: Option<&OsStr>) -> Option<OsString> {
    Some(guest(call, object)?.dir.into())
}

fn appdir(call: &Call, object: &OsStr, arg: Option<&OsStr>) -> Option<OsString> {
    let dir = guest(call, object)?.dir.join("apps").join(arg.unwrap_or_default());
    dir.is_dir().then(|| dir.into())
}

fn initpid(call: &Call, object: &OsStr, _arg: Option<&OsStr>) -> Option<OsString> {
    Some(number(context_at(call, object)?.init))
}

/// Where a process runs.
enum Place {
    Host,
    Guest(Running),
}

/// Where the process with this number (or `self`) runs; `None`: no such process.
fn place_of(call: &Call, object: &OsStr) -> Option<Place> {
    let pid = if object == "self" { 0 } else { i32::try_from(context::decimal(object)?).ok()? };
    let name = processes::guest_of(&call.layout, pid).ok()?;
    let guest = running::all(&call.layout)
        .into_iter()
        .find(|running| Some(running.name.as_os_str()) == name.as_deref());
    Some(guest.map_or(Place::Host, Place::Guest))
}

fn initpid_pid(call: &Call, object: &OsStr, _arg: Option<&OsStr>) -> Option<OsString> {
    match place_of(call, object)? {
        Place::Host => None,
        Place::Guest(running) => Some(number(running.init)),
    }
}

fn xid(call: &Call, object: &OsStr, _arg: Option<&OsStr>) -> Option<OsString> {
    Some(match place_of(call, object)? {
        Place::Host => number(0),
        Place::Guest(running) => number(running.xid),
    })
}

/// The network context of a process (`self` or its number); 0 is the host's network.
fn nid(call: &Call, object: &OsStr, _arg: Option<&OsStr>) -> Option<OsString> {
    let pid = if object == "self" { 0 } else { i32::try_from(context::decimal(object)?).ok()? };
    let nid = vserver_run::netcontext::number_of(&call.layout, pid).ok()?;
    Some(number(nid.map_or(0, u32::from)))
}

fn tag(call: &Call, object: &OsStr, _arg: Option<&OsStr>) -> Option<OsString> {
    Some(match place_of(call, object)? {
        Place::Host => number(0),
        Place::Guest(running) => {
            let fixed = GuestDir { name: running.name, dir: running.dir }
                .first_line("tag")
                .and_then(|text| text.parse().ok());
            number(fixed.unwrap_or(running.xid))
        }
    })
}

/// Parent contexts have never existed.
fn never(_call: &Call, _object: &OsStr, _arg: Option<&OsStr>) -> Option<OsString> {
    None
}

#[expect(clippy::unnecessary_wraps, reason = "one signature for all answers")]
fn apiver(_call: &Call, _object: &OsStr, _arg: Option<&OsStr>) -> Option<OsString> {
    Some(format!("{:#010x}", vserver_host::VS_API).into())
}

fn uts(call: &Call, object: &OsStr, arg: Option<&OsStr>) -> Option<OsString> {
    let running = context_at(call, object)?;
    let names = running::uts_of(&running).ok()?;
    let value = |field: &str| vuname::value(field, Some(&running), Some(&names));
    if let Some(field) = arg {
        return vuname::find_tag(field).and_then(value);
    }
    let all: Vec<Vec<u8>> =
        vuname::TAGS.iter().map(|tag| value(tag).unwrap_or_default().into_vec()).collect();
    Some(OsString::from_vec(all.join(&b' ')))
}

fn sysinfo(call: &Call, _object: &OsStr, _arg: Option<&OsStr>) -> Option<OsString> {
    let host = vserver_host::Host::quick().ok()?;
    Some(vserver_host::sysinfo(&host, &call.layout).trim_end().to_owned().into())
}

fn feature(_call: &Call, _object: &OsStr, arg: Option<&OsStr>) -> Option<OsString> {
    let wanted = arg.unwrap_or_default().to_string_lossy().to_ascii_uppercase();
    let memory = || {
        fs::read_to_string("/proc/cgroups").is_ok_and(|all| all.lines().any(|l| l.starts_with("memory\t")))
    };
    let has = FEATURES.contains(&wanted.as_str()) || (wanted == "MEMCG" && memory());
    has.then(OsString::new)
}

fn canonify(_call: &Call, object: &OsStr, _arg: Option<&OsStr>) -> Option<OsString> {
    let kept: Vec<u8> = object.as_bytes().iter().copied().filter(u8::is_ascii_alphanumeric).collect();
    (!kept.is_empty()).then(|| OsString::from_vec(kept))
}

/// On a stock kernel the capability check of chroot(2) is the kernel's own; what is left to ask is whether we are
/// root with all that a start takes.
fn verifycap(_call: &Call, _object: &OsStr, _arg: Option<&OsStr>) -> Option<OsString> {
    let sys_admin = proc::status(i32::try_from(std::process::id()).unwrap_or(0))
        .is_ok_and(|status| status.capabilities.effective >> 21 & 1 == 1);
    (rustix::process::geteuid().is_root() && sys_admin).then(OsString::new)
}

fn verifyproc(_call: &Call, _object: &OsStr, _arg: Option<&OsStr>) -> Option<OsString> {
    fs::read("/proc/uptime").is_ok().then(OsString::new)
}

fn xidtype(call: &Call, object: &OsStr, arg: Option<&OsStr>) -> Option<OsString> {
    let number = context::number(&call.layout, object).ok()?;
    let word = XidType::of(number).as_str();
    let fits = arg.is_none_or(|types| types.to_string_lossy().split([' ', ',']).any(|one| one == word));
    fits.then(|| word.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tags_are_those_of_the_reference() {
        let names: Vec<&str> = TAGS.iter().map(|(name, _)| *name).collect();
        assert_eq!(
            names.join(" "),
            "CONTEXT ID RUNNING VDIR NAME CFGDIR APPDIR INITPID INITPID_PID XID NID TAG PXID APIVER UTS SYSINFO \
             FEATURE CANONIFY VERIFYCAP VERIFYPROC XIDTYPE"
        );
    }
}
