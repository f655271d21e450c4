//! `vserver NAME build`: hands over to the builder.

use vserver_build::output::Streams;

use crate::report::{Exit, Failure};
use crate::table::{Call, Command, Complete, Reading};

/// The table entry.
pub static COMMAND: Command = Command {
    name: "build",
    summary: "makes a new guest: configuration and root file system",
    synopsis: &["-m METHOD [OPTIONS] [-- METHOD OPTIONS]"],
    options: &[],
    manual: &[
        "METHOD says where the root file system comes from: skeleton, template, debootstrap, rsync or clone. The \
         options are those of the builder: vserver NAME build --help lists them.",
        "A build that fails takes away everything it made.",
    ],
    exits: &[("0", "built"), ("1", "it failed, and everything was taken back")],
    examples: &[("vserver web1 build -m debootstrap --context 1001 -- -d bookworm", "make a Debian guest")],
    error_code: 1,
    reading: Reading::Passed,
    operand: Complete::Nothing,
    run,
};

#[expect(clippy::unnecessary_wraps, reason = "the signature of all commands")]
fn run(call: &mut Call) -> Result<Exit, Failure> {
    let words = call.take_operands();
    let name = call.guest().name.clone();
    Ok(Exit::Code(vserver_build::main(&call.layout, Some(name), &words, &mut Streams)))
}
