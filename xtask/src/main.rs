//! What developers and CI run: `cargo xtask TASK`. One file a task.

mod bench;
mod check;
mod demo;
mod e2e;
mod gate;
mod golden;
mod prepare;
mod release;
mod shell;
mod test;
mod vm;

use std::env;
use std::process::ExitCode;

/// Printed for `--help` and for a word that is no task.
const USAGE: &str = "\
usage: cargo xtask TASK

  build             the program as it is installed, target/release/vserver
  check             the style gate: format, lints, documentation, licences, layers, changelog …
  test              every test there is; one closing line says how it went
  e2e [FILTER…]     end-to-end tests only (root); words narrow them down, options go to the harness
  gate              instruction counts against benches/instructions.txt (root); --write 'REASON' records new ones
  golden [--write]  the golden tests; --write accepts what the program prints today
  vm [FILTER…]      end-to-end and kernel tests on stock Debian kernels, emulated (root); --kernel 6.12, --long,
                    --userland minimal|systemd, --share, --brief, --minutes N, --threads N, --machines N, --processors N, --memory MIB,
                    --append 'WORDS OF THE KERNEL COMMAND LINE', --command 'SHELL COMMAND'
  bench [FILTER…]   benchmarks beside other tools and the bare kernel (root); --list, --rounds N, --guests N
  demo              build a real guest and live with it for a minute (root)
  prepare [--check] install what the tasks need (Debian, root); --check only names what is missing
";

fn main() -> ExitCode {
    let mut words = env::args().skip(1);
    let task = words.next().unwrap_or_default();
    let rest: Vec<String> = words.collect();
    let outcome = match task.as_str() {
        "build" => release::program(),
        "check" => check::gate(),
        "test" => test::run_everything(),
        "e2e" => e2e::trials(&rest),
        "gate" => gate::instructions(&rest),
        "golden" => golden::cases(&rest),
        "bench" => bench::races(&rest),
        "demo" => demo::show(),
        "vm" => vm::trials(&rest),
        "prepare" => prepare::packages(&rest),
        "" | "help" | "--help" | "-h" => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        other => {
            eprint!("xtask: no task named {other:?}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("xtask {task}: {failure}");
            ExitCode::FAILURE
        }
    }
}
