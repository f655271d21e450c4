//! `vrootdevices`: the service that bound quota devices of the kernel patch.

use std::fs;
use std::path::Path;

use crate::report::{self, Exit, Failure};
use crate::service::{self, Mark, Verb};
use crate::table::{Call, Command, Reading};

/// The table entry.
pub static COMMAND: Command = Command {
    name: "vrootdevices",
    summary: "the service that bound quota devices: tells what is configured and cannot be done",
    synopsis: &["start|stop|restart|reload|condrestart|status"],
    options: &[],
    manual: &[
        "The kernel patch had devices /dev/vrootN, which gave a guest the quota of a block device without the device. \
         A stock kernel has none. The service reads /etc/sysconfig/vrootdevices (or /etc/default/vrootdevices): lines \
         NUMBER BLOCKDEV. Without lines it has nothing to do; each line is an error, so that it is not ignored in \
         silence.",
    ],
    exits: service::EXITS,
    examples: &[],
    error_code: 1,
    reading: Reading::Options,
    operand: service::VERBS,
    run,
};

fn run(call: &mut Call) -> Result<Exit, Failure> {
    let mark = Mark::new(&call.layout, "vrootdevices");
    match service::verb(call)? {
        Verb::Stop => mark.clear().map(|()| Exit::OK),
        Verb::Status => {
            let text = if mark.is_set() { "started" } else { "not started" };
            call.out.line(format!("vrootdevices: {text}"))?;
            Ok(Exit::yes(mark.is_set()))
        }
        _ => {
            mark.set()?;
            start(call)
        }
    }
}

fn start(call: &Call) -> Result<Exit, Failure> {
    let etc = call.layout.confdir.parent().unwrap_or(Path::new("/"));
    let mut exit = Exit::OK;
    for directory in ["sysconfig", "default"] {
        let path = etc.join(directory).join("vrootdevices");
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(Failure::because(format!("cannot read {}", path.display()), error)),
        };
        for (at, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if !line.is_empty() && !line.starts_with('#') {
                let place = path.display();
                report::say(&format!(
                    "vrootdevices: {place}:{at}: '{line}' cannot be done: a stock kernel has no vroot devices"
                ));
                exit = Exit::Code(1);
            }
        }
        break;
    }
    Ok(exit)
}
