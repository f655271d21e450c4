//! `vuname`: the names a context shows.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use crate::context;
use crate::report::{self, Exit, Failure};
use crate::running::{self, Running, UtsName};
use crate::table::{Call, Command, Complete, JSON, Opt, Reading};

/// The table entry.
pub static COMMAND: Command = Command {
    name: "vuname",
    summary: "shows or sets the names of a running context",
    synopsis: &[
        "[-g|--get] [--json] --xid XID [TAG]...",
        "-s|--set --xid XID -t|--tag TAG=VALUE... [--] [CMD ARGS]",
        "--dir DIR --xid XID [--missingok] [--] [CMD ARGS]",
    ],
    options: &[
        Opt::flag(&["-g", "--get"], "print the values of the tags; without a tag, all seven"),
        Opt::flag(&["-s", "--set"], "set the values given with -t"),
        Opt::with(&["--xid"], "XID", Complete::Guest, "the context: a number or a guest's name"),
        Opt::with(&["-t", "--tag"], "TAG=VALUE", Complete::Nothing, "what to set"),
        Opt::with(
            &["--dir"],
            "DIR",
            Complete::Path,
            "set from the files in DIR that are named like the tags",
        ),
        Opt::flag(&["--missingok"], "it is no error when DIR does not exist"),
        JSON,
    ],
    manual: &[
        "The tags are context, sysname, nodename, release, version, machine and domainname, in any case, and may be \
         shortened. context is the configuration directory. A value that cannot be read shows as ???.",
        "A running context's nodename and domainname can be set; the other values are fixed when it is started.",
    ],
    exits: &[("0", "done"), ("255", "no context given, or it failed"), ("N", "that of CMD")],
    examples: &[("vuname --xid web1 nodename", "the guest's host name")],
    error_code: 255,
    reading: Reading::Options,
    operand: Complete::Words(TAGS),
    run,
};

/// The seven fields, in the order in which they are printed.
pub const TAGS: &[&str] = &["context", "sysname", "nodename", "release", "version", "machine", "domainname"];

fn run(call: &mut Call) -> Result<Exit, Failure> {
    let Some(typed) = call.given.value("--xid").map(OsStr::to_owned) else {
        return Err(Failure::Usage("no context given".into()));
    };
    if call.given.has("--set") || call.given.value("--dir").is_some() {
        return set(call, &typed);
    }
    let tags = call.take_operands();
    let xid = context::number(&call.layout, &typed)?;
    let running = running::by_xid(&call.layout, xid);
    let names = match (&running, xid) {
        (Some(running), _) => running::uts_of(running).ok(),
        (None, 0) => Some(running::own_uts()),
        (None, _) => None,
    };
    let tags: Vec<OsString> = if tags.is_empty() { TAGS.iter().map(OsString::from).collect() } else { tags };
    let values: Vec<(OsString, OsString)> = tags
        .into_iter()
        .map(|tag| {
            let value = find_tag(&tag).and_then(|tag| value(tag, running.as_ref(), names.as_ref()));
            (tag, value.unwrap_or_else(|| OsString::from("???")))
        })
        .collect();
    if call.given.has("--json") {
        let map: serde_json::Map<String, serde_json::Value> =
            values.iter().map(|(k, v)| (k.to_string_lossy().into(), v.to_string_lossy().into())).collect();
        call.out.json(&map)?;
    } else {
        let texts: Vec<&[u8]> = values.iter().map(|(_, value)| value.as_bytes()).collect();
        call.out.line(OsString::from_vec(texts.join(&b' ')))?;
    }
    Ok(Exit::OK)
}

/// The tag that `typed` is the beginning of (`CONTEX` is in use).
pub fn find_tag(typed: &OsStr) -> Option<&'static str> {
    let typed = typed.to_str().filter(|text| !text.is_empty())?.to_ascii_lowercase();
    TAGS.iter().copied().find(|tag| tag.starts_with(&typed))
}

/// One value; `None` when it cannot be known.
pub fn value(tag: &str, running: Option<&Running>, names: Option<&UtsName>) -> Option<OsString> {
    match tag {
        "context" => running.map(|running| running.dir.clone().into_os_string()),
        "sysname" => names.map(|names| names.sysname.clone()),
        "nodename" => names.map(|names| names.nodename.clone()),
        "release" => names.map(|names| names.release.clone()),
        "version" => names.map(|names| names.version.clone()),
        "machine" => names.map(|names| names.machine.clone()),
        "domainname" => names.map(|names| names.domainname.clone()),
        _ => None,
    }
}

fn set(call: &mut Call, typed: &OsStr) -> Result<Exit, Failure> {
    let running = context::running(&call.layout, typed)?;
    let mut settings = Vec::new();
    if let Some(dir) = call.given.value("--dir") {
        settings.extend(from_dir(Path::new(dir), call.given.has("--missingok"))?);
    }
    for (_, text) in call.given.each().filter(|(option, _)| *option == "--tag") {
        let text = text.unwrap_or_default().as_bytes();
        let Some(at) = text.iter().position(|b| *b == b'=') else {
            return Err(Failure::Usage(format!("'{}' is not TAG=VALUE", OsStr::from_bytes(text).display())));
        };
        let (tag, value) = (OsStr::from_bytes(&text[..at]), OsStr::from_bytes(&text[at + 1..]));
        let tag = find_tag(tag).ok_or_else(|| Failure::Usage(format!("unknown tag '{}'", tag.display())))?;
        settings.push((tag, value.to_owned()));
    }
    for (tag, value) in settings {
        match tag {
            "nodename" => running::set_nodename(&running, &value)?,
            "domainname" => running::set_domainname(&running, &value)?,
            fixed => {
                return Err(Failure::plain(format!("cannot set {fixed} of a running context")).hint(
                    format!(
                        "write it into {} and restart the guest",
                        running.dir.join("uts").join(fixed).display()
                    ),
                ));
            }
        }
    }
    chain(call.take_operands())
}

/// Runs the rest of the command line in our place, if there is one.
pub fn chain(mut command: Vec<OsString>) -> Result<Exit, Failure> {
    use std::os::unix::process::CommandExt;
    if command.is_empty() {
        return Ok(Exit::OK);
    }
    let program = command.remove(0);
    let error = std::process::Command::new(&program).args(command).exec();
    Err(Failure::because(format!("cannot run {}", program.display()), error).code(255))
}

fn from_dir(dir: &Path, missing_ok: bool) -> Result<Vec<(&'static str, OsString)>, Failure> {
    if !dir.is_dir() {
        let failure = || Failure::plain(format!("no directory {}", dir.display()));
        return if missing_ok { Ok(Vec::new()) } else { Err(failure()) };
    }
    let mut settings = Vec::new();
    for tag in TAGS {
        let path: PathBuf = dir.join(tag);
        match std::fs::read(&path) {
            Ok(mut bytes) => {
                while bytes.last() == Some(&b'\n') {
                    bytes.pop();
                }
                settings.push((*tag, OsString::from_vec(bytes)));
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => report::say(&format!("vuname: cannot read {}: {error}", path.display())),
        }
    }
    Ok(settings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_may_be_shortened_in_any_case() {
        assert_eq!(find_tag(OsStr::new("CONTEX")), Some("context"));
        assert_eq!(find_tag(OsStr::new("m")), Some("machine"));
        assert_eq!(find_tag(OsStr::new("")), None);
        assert_eq!(find_tag(OsStr::new("contexts")), None);
    }
}
