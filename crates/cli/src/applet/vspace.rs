//! `vspace` and `vnamespace`: programs of the host in new namespaces, or in those of a running guest.

use std::ffi::{OsStr, OsString};

use vserver_kernel::mount::{self, Recursion};
use vserver_kernel::ns::{self, Namespaces};

use crate::applet::vps::exit_of;
use crate::applet::vuname::chain;
use crate::context;
use crate::report::{Exit, Failure};
use crate::running;
use crate::table::{Call, Command, Complete, Opt, Reading};

/// The table entry of `vnamespace`.
pub static VNAMESPACE: Command = Command {
    name: "vnamespace",
    summary: "runs a program of the host in the mount namespace of a guest, or in a new one",
    synopsis: &["-e|--enter XID [--] CMD ARGS", "-n|--new [--] CMD ARGS"],
    options: &[
        Opt::with(
            &["-e", "--enter"],
            "XID",
            Complete::Guest,
            "the running context: a number or a guest's name",
        ),
        Opt::flag(
            &["-n", "--new"],
            "a new mount namespace, which the host's later mounts reach, but not back",
        ),
        Opt::flag(&["-s", "--set"], "refused: a guest's namespaces are those of its start").hide(),
    ],
    manual: &[
        "With --enter CMD sees the guest's mounts as the host sees its own: paths are the host's, the guest's files \
         stand below its root directory, and mounts of the host that the guest inherited stand at their place. CMD is \
         the host's program, with the caller's rights.",
        "For a program inside the guest, with the guest's rights: vserver NAME exec.",
    ],
    exits: &[("N", "that of CMD"), ("255", "wrong use, or it failed")],
    examples: &[
        ("vnamespace -e web1 -- cat /proc/mounts", "see the guest's mounts"),
        (
            "vnamespace -e web1 -- umount /opt/storage",
            "release a mount of the host that the guest has kept busy",
        ),
    ],
    error_code: 255,
    reading: Reading::Options,
    operand: Complete::Program,
    run: vnamespace,
};

/// The table entry of `vspace`.
pub static VSPACE: Command = Command {
    name: "vspace",
    summary: "runs a program of the host in chosen namespaces of a guest, or in new ones",
    synopsis: &["-n|--new [OPTIONS] -- CMD ARGS", "-e|--enter XID [OPTIONS] -- CMD ARGS"],
    options: &[
        Opt::with(
            &["-e", "--enter"],
            "XID",
            Complete::Guest,
            "the running context: a number or a guest's name",
        ),
        Opt::flag(&["-n", "--new"], "new namespaces"),
        Opt::flag(&["-s", "--set"], "refused: a guest's namespaces are those of its start").hide(),
        Opt::flag(&["--default"], "mount, ipc and uts"),
        Opt::flag(&["-M", "--mount"], "mounts"),
        Opt::flag(&["-F", "--fs"], "accepted: root and working directory always go with the mounts"),
        Opt::flag(&["-I", "--ipc"], "System V IPC and message queues"),
        Opt::flag(&["-U", "--uts"], "host name"),
        Opt::flag(&["-S", "--user"], "users; only with --new"),
        Opt::flag(&["-P", "--pid"], "processes; only with --new"),
        Opt::flag(&["-N", "--net"], "network"),
        Opt::flag(&["--~default"], "not these").hide(),
        Opt::flag(&["--~mount"], "not mounts").hide(),
        Opt::flag(&["--~fs"], "accepted").hide(),
        Opt::flag(&["--~ipc"], "not ipc").hide(),
        Opt::flag(&["--~uts"], "not uts").hide(),
        Opt::flag(&["--~user"], "not user").hide(),
        Opt::flag(&["--~pid"], "not pid").hide(),
        Opt::flag(&["--~net"], "not net").hide(),
        Opt::with(&["-m", "--mask"], "N", Complete::Nothing, "the kernel's CLONE_NEW bits as a number"),
        Opt::with(
            &["-i", "--index"],
            "N",
            Complete::Nothing,
            "0: the host's view of a guest's mounts, the only one",
        ),
    ],
    manual: &[
        "The namespaces are those of the options, in their order; each can be taken back by --~NAME. Without any: \
         --default.",
        "A guest's user and pid namespaces cannot be entered this way, and its own view of its mounts neither: a \
         program in there must have the guest's rights, which is what vserver NAME exec gives it.",
    ],
    exits: &[("N", "that of CMD"), ("255", "wrong use, or it failed")],
    examples: &[("vspace --new --net -- ip link", "see an empty network")],
    error_code: 255,
    reading: Reading::Options,
    operand: Complete::Program,
    run: vspace,
};

fn vnamespace(call: &mut Call) -> Result<Exit, Failure> {
    operate(call, Namespaces::MOUNT)
}

fn vspace(call: &mut Call) -> Result<Exit, Failure> {
    if let Some(index) = call.given.value("--index").filter(|index| *index != "0") {
        return Err(Failure::plain(format!("there is no set of namespaces {} to enter", index.display()))
            .hint("vserver NAME exec runs a program in the guest's own view, with the guest's rights"));
    }
    let which = chosen(call)?;
    operate(call, which)
}

/// What the options add up to.
fn chosen(call: &Call) -> Result<Namespaces, Failure> {
    let usual = Namespaces::MOUNT | Namespaces::IPC | Namespaces::UTS;
    let mut which = Namespaces::NONE;
    let mut any = false;
    for (option, value) in call.given.each() {
        let (name, without) = match option.trim_start_matches('-') {
            word if word.starts_with('~') => (&word[1..], true),
            word => (word, false),
        };
        let these = match name {
            "default" => usual,
            "mask" => mask(value.unwrap_or_default())?,
            "fs" => Namespaces::NONE,
            name => match Namespaces::named(if name == "mount" { "mnt" } else { name }) {
                Some(these) => these,
                None => continue,
            },
        };
        any = true;
        which = if without { which.without(these) } else { which | these };
    }
    Ok(if any { which } else { usual })
}

fn mask(text: &OsStr) -> Result<Namespaces, Failure> {
    let bad = || Failure::Usage(format!("'{}' is no mask of namespaces", text.display()));
    let bits = text.to_str().and_then(vserver_model::number::parse_c).ok_or_else(bad)?;
    let all = [
        Namespaces::MOUNT,
        Namespaces::UTS,
        Namespaces::IPC,
        Namespaces::USER,
        Namespaces::PID,
        Namespaces::NET,
    ];
    Ok(all
        .into_iter()
        .filter(|one| bits & u64::from(one.bits()) != 0)
        .fold(Namespaces::NONE, |sum, one| sum | one))
}

fn operate(call: &mut Call, which: Namespaces) -> Result<Exit, Failure> {
    let enter = call.given.value("--enter").map(OsStr::to_owned);
    if call.given.has("--set") {
        return Err(Failure::plain("cannot give a running context other namespaces")
            .hint("a guest's namespaces are made when it starts: see the files in its directory spaces"));
    }
    if enter.is_some() == call.given.has("--new") {
        return Err(Failure::Usage("exactly one of --new and --enter must be given".into()));
    }
    let command = call.take_program()?;
    match enter {
        Some(typed) => {
            let running = context::running(&call.layout, &typed)?;
            running::run_in_spaces(&running, which, command)
        }
        None => in_new(which, command),
    }
}

fn in_new(which: Namespaces, mut command: Vec<OsString>) -> Result<Exit, Failure> {
    ns::unshare(which)?;
    if which.contains(Namespaces::MOUNT) {
        mount::make_slave("/", Recursion::All)?;
    }
    if !which.contains(Namespaces::PID) {
        return chain(command);
    }
    // Only a child is in the new pid namespace.
    let program = command.remove(0);
    let status = std::process::Command::new(&program).args(command).status();
    let status =
        status.map_err(|error| Failure::because(format!("cannot run {}", program.display()), error))?;
    Ok(exit_of(status))
}
