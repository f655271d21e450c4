//! `vps`, `vtop` and `vpstree`: the host's own programs; `vps` adds a column that tells each process's guest.

use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{ExitStatus, Stdio};

use vserver_model::Layout;

use crate::context::Names;
use crate::processes;
use crate::report::{self, Exit, Failure};
use crate::table::{Call, Command, Complete, Reading};

/// The table entry of `vps`.
pub static VPS: Command = Command {
    name: "vps",
    summary: "lists processes with the guest that each belongs to",
    synopsis: &["[PS ARGS]"],
    options: &[],
    manual: &[
        "Runs the host's ps with the given arguments and puts a column CONTEXT after the column PID: the context's \
         number and the guest's name. MAIN is the host; ERR stands where the process has ended in the meantime.",
        "The arguments must be such that ps prints a column PID.",
    ],
    exits: &[("N", "that of ps"), ("254", "ps printed no column PID, or could not be run")],
    examples: &[("vps ax", "all processes"), ("vps -ef", "all processes in the other style of ps")],
    error_code: 254,
    reading: Reading::Verbatim,
    operand: Complete::Nothing,
    run: vps,
};

/// The table entry of `vtop`.
pub static VTOP: Command = Command {
    name: "vtop",
    summary: "runs the host's top, which sees the processes of all guests",
    synopsis: &["[TOP ARGS]"],
    options: &[],
    manual: &[
        "On an ordinary kernel the host sees the processes of its guests by their numbers on the host; top needs no \
         special context for it, and is run as it is.",
    ],
    exits: &[("N", "that of top"), ("1", "top could not be run")],
    examples: &[],
    error_code: 1,
    reading: Reading::Verbatim,
    operand: Complete::Nothing,
    run: vtop,
};

/// The table entry of `vpstree`.
pub static VPSTREE: Command = Command {
    name: "vpstree",
    summary: "runs the host's pstree, which sees the processes of all guests",
    synopsis: &["[PSTREE ARGS]"],
    options: &[],
    manual: &[
        "On an ordinary kernel the host sees the processes of its guests by their numbers on the host; pstree needs \
         no special context for it, and is run as it is.",
    ],
    exits: &[("N", "that of pstree"), ("1", "pstree could not be run")],
    examples: &[("vpstree -p", "the tree with the numbers")],
    error_code: 1,
    reading: Reading::Verbatim,
    operand: Complete::Nothing,
    run: vpstree,
};

fn vtop(call: &mut Call) -> Result<Exit, Failure> {
    become_program("top", call.take_operands())
}

fn vpstree(call: &mut Call) -> Result<Exit, Failure> {
    become_program("pstree", call.take_operands())
}

/// Replaces this process; comes back only when that fails.
fn become_program(program: &str, args: Vec<OsString>) -> Result<Exit, Failure> {
    let error = std::process::Command::new(program).args(args).exec();
    Err(cannot_run(program, error))
}

fn cannot_run(program: &str, error: std::io::Error) -> Failure {
    let missing = error.kind() == std::io::ErrorKind::NotFound;
    let failure = Failure::because(format!("cannot run {program}"), error);
    if missing {
        failure.hint(format!("install the package that has {program} (procps, psmisc)"))
    } else {
        failure
    }
}

fn vps(call: &mut Call) -> Result<Exit, Failure> {
    if std::fs::metadata("/proc/uptime").is_err() {
        report::say("vps: /proc/uptime is hidden: the list may be incomplete");
    }
    let mut ps = std::process::Command::new("ps")
        .args(call.take_operands())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| cannot_run("ps", error))?;
    let mut text = Vec::new();
    let read = ps.stdout.take().map(|mut out| out.read_to_end(&mut text));
    // Looked up before ps is waited for: it is in its own list, and must not have vanished.
    let lines = annotate(&call.layout, &text);
    let status = ps.wait().map_err(|error| Failure::because("cannot wait for ps", error))?;
    if let Some(Err(error)) = read {
        return Err(Failure::because("cannot read what ps prints", error));
    }
    match lines {
        Some(lines) => {
            for line in lines {
                call.out.line(OsString::from_vec(line))?;
            }
            Ok(exit_of(status))
        }
        // A ps that refuses its arguments has said why, and prints nothing.
        None if !status.success() => Ok(exit_of(status)),
        None => Err(Failure::plain("ps printed no column PID")
            .hint("choose a format of ps that has it, or use ps itself")
            .code(254)),
    }
}

/// The exit of a child as ours.
pub fn exit_of(status: ExitStatus) -> Exit {
    match (status.code(), status.signal()) {
        (Some(code), _) => Exit::Code(u8::try_from(code).unwrap_or(255)),
        (None, Some(signal)) => Exit::Signal(signal),
        (None, None) => Exit::Code(255),
    }
}

/// The lines with the column; `None`: no column PID.
fn annotate(layout: &Layout, text: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut lines = text.split(|b| *b == b'\n');
    let header = lines.next().unwrap_or_default();
    let end = pid_column(header)?;
    let names = Names::read(layout);
    let mut all = vec![insert(header, end, b"CONTEXT")];
    for line in lines.filter(|line| !line.is_empty()) {
        all.push(insert(line, end, label(layout, &names, line, end).as_bytes()));
    }
    Some(all)
}

/// `  105 web1`, `    0 MAIN`, `  ERR`.
fn label(layout: &Layout, names: &Names, line: &[u8], end: usize) -> OsString {
    let Some(Ok(guest)) = pid_at(line, end).map(|pid| processes::guest_of(layout, pid)) else {
        return OsString::from("  ERR");
    };
    let xid = names.xid_of(guest.as_deref());
    let mut text = OsString::from(format!("{xid:>5} "));
    if xid == 0 {
        text.push("MAIN");
    } else {
        text.push(names.name_of(xid));
    }
    text
}

/// Where the word PID of the header ends: PPID and the like are other columns.
fn pid_column(header: &[u8]) -> Option<usize> {
    let mut end = 0;
    for word in header.split(|b| *b == b' ') {
        end += word.len();
        if word == b"PID" {
            return Some(end);
        }
        end += 1;
    }
    None
}

/// The number that ends in the column: all its digits, however far to the left they reach.
fn pid_at(line: &[u8], end: usize) -> Option<i32> {
    let field = line.get(..end).unwrap_or(line);
    let start = field.iter().rposition(|b| !b.is_ascii_digit()).map_or(0, |at| at + 1);
    std::str::from_utf8(&field[start..]).ok()?.parse().ok()
}

/// The line with `label`, 20 wide, after the column and the character that follows it.
fn insert(line: &[u8], end: usize, label: &[u8]) -> Vec<u8> {
    let cut = (end + 1).min(line.len());
    let (before, after) = line.split_at(cut);
    let mut wide = before.to_vec();
    wide.resize(end + 1, b' ');
    wide.extend_from_slice(label);
    let width = wide.len().max(end + 1 + 20);
    wide.resize(width, b' ');
    if label.len() >= 20 {
        wide.push(b' ');
    }
    wide.extend_from_slice(OsStr::from_bytes(after).as_bytes());
    wide
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_column_follows_the_pid() {
        let header = b"    PID TTY      STAT   TIME COMMAND";
        let end = pid_column(header).unwrap();
        assert_eq!(
            insert(header, end, b"CONTEXT"),
            b"    PID CONTEXT             TTY      STAT   TIME COMMAND"
        );
        let row = b"   4242 ?        Ss     0:00 /usr/sbin/sshd -D";
        assert_eq!(pid_at(row, end), Some(4242));
        let wide = insert(row, end, b"  105 test");
        assert_eq!(wide, b"   4242   105 test          ?        Ss     0:00 /usr/sbin/sshd -D");
    }

    #[test]
    fn other_columns_are_not_taken_for_it() {
        let header = b"UID          PID    PPID  C STIME TTY          TIME CMD";
        assert_eq!(pid_column(header), Some(16));
        assert_eq!(pid_column(b"   PPID CMD"), None);
        assert_eq!(pid_at(b"root     1234567       1  0", 16), Some(1_234_567));
        assert_eq!(pid_at(b"root           x", 16), None);
    }

    #[test]
    fn a_long_name_keeps_one_blank() {
        assert_eq!(
            insert(b"PID CMD", 3, b"  105 averyveryverylongname"),
            b"PID   105 averyveryverylongname CMD"
        );
        assert_eq!(insert(b"PID", 3, b"CONTEXT"), b"PID CONTEXT             ");
    }

    proptest::proptest! {
        #[test]
        fn no_byte_of_a_line_is_lost(line: Vec<u8>, end in 0_usize..40, label in "[ -~]{0,30}") {
            let wide = insert(&line, end, label.as_bytes());
            let cut = (end + 1).min(line.len());
            proptest::prop_assert!(wide.starts_with(&line[..cut]) && wide.ends_with(&line[cut..]));
            proptest::prop_assert!(wide.len() > end + 20);
        }
    }
}
