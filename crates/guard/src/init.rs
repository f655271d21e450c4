//! Role `init`: PID 1 of a guest without an init of its own.

use crate::{Arguments, fd, shim, sys};

/// `init HOW COMMAND ARGUMENTS…`: starts the command, reports its wait status to the tool, reaps whatever ends, and
/// ends itself when nobody is left: then the kernel ends the PID namespace. HOW is `p` for a guest that stays without
/// processes (flag `persistent`), else `-`.
pub fn run(arguments: &Arguments) -> ! {
    let persistent = arguments.byte_of(1, 0) == b'p';
    let command = sys::clone(0);
    if command == 0 {
        // A session of its own, but no controlling terminal: at the end of its leader the kernel would hang up on
        // every process that the command has left in the background.
        sys::setsid();
        shim::become_program(arguments, 2);
    }
    sys::set_cloexec(fd::ANSWER);
    sys::set_name(c"init");
    for standard in 0..3 {
        sys::close(standard);
    }
    wait_for_the_command(command);
    while persistent || somebody_is_left() {
        let mut status = 0;
        if sys::wait_any(&mut status) == sys::ECHILD {
            // Nobody is a child of ours. An entered process may be there, which only its own parent can wait for;
            // what it leaves behind becomes ours. The kernel tells of neither, so look again a little later.
            sys::sleep_milliseconds(if persistent { 1000 } else { 100 });
        }
    }
    sys::exit(0)
}

/// Reaps until the command has ended, then tells the tool how, and whether it has left anybody.
fn wait_for_the_command(command: isize) {
    let mut status = 0;
    loop {
        let ended = sys::wait_any(&mut status);
        if ended == command || ended == sys::ECHILD {
            break;
        }
    }
    shim::answer(shim::ENDED, status);
    let mut other = 0;
    while sys::reap_ended(&mut other) > 0 {}
    shim::answer(shim::LEFT, i32::from(somebody_is_left()));
    sys::close(fd::ANSWER);
}

/// PID 1 signals everybody but itself: ESRCH says that nobody is there, not even an entered process.
fn somebody_is_left() -> bool {
    sys::kill_all(0) != sys::ESRCH
}
