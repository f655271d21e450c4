//! Role `exec`: the last step before a program of the guest.

use crate::{Arguments, fd, sys};

/// Kinds of answers to the tool: each answer is eight bytes, kind and number in the machine's byte order.
pub const EXEC_FAILED: i32 = 1;
/// The command has ended; the number is its wait status.
pub const ENDED: i32 = 2;

/// The entered process has been forked; the number is its pid on the host.
pub const STARTED: i32 = 3;
/// The stub init's command has ended and somebody is left in the guest (1), or nobody (0).
pub const LEFT: i32 = 4;

/// Tells the tool one thing. Nobody may be listening any more: that is no failure of ours.
pub fn answer(kind: i32, number: i32) {
    let mut message = [0u8; 8];
    let (kind, number) = (kind.to_ne_bytes(), number.to_ne_bytes());
    let mut at = 0;
    while at < 4 {
        message[at] = kind[at];
        message[4 + at] = number[at];
        at += 1;
    }
    sys::write(fd::ANSWER, &message);
}

/// `exec HOW PROGRAM ARGUMENTS…`. HOW is a word of letters:
/// `f` fork first, into the PID namespace chosen for children, as a sibling (the tool waits for it);
/// `s` lead a session; `t` standard input is the session's terminal.
pub fn run(arguments: &Arguments) -> ! {
    let how = arguments.word(1);
    let (mut fork, mut session, mut terminal) = (false, false, false);
    let mut at = 0;
    loop {
        // SAFETY: `how` is a C string and `at` stops at its NUL.
        match unsafe { *how.add(at) } {
            0 => break,
            b'f' => fork = true,
            b's' => session = true,
            b't' => terminal = true,
            _ => {}
        }
        at += 1;
    }
    if fork {
        let child = sys::clone(sys::CLONE_PARENT);
        if child < 0 {
            answer(EXEC_FAILED, -child as i32);
            sys::exit(255);
        }
        if child > 0 {
            answer(STARTED, child as i32);
            sys::exit(0);
        }
    }
    if session {
        sys::setsid();
    }
    if terminal {
        sys::make_controlling(0);
    }
    become_program(arguments, 2)
}

/// Executes the program named by word `index`, looked for along PATH when it has no slash, as execvp(3) does.
pub fn become_program(arguments: &Arguments, index: usize) -> ! {
    sys::set_cloexec(fd::ANSWER);
    sys::default_signals();
    sys::unblock_signals();
    let program = arguments.word(index);
    let argv = arguments.from(index);
    let error = if contains_slash(program) {
        // SAFETY: words of the command line and the environment, as the kernel laid them out.
        unsafe { sys::execve(program, argv, arguments.envp) }
    } else {
        along_path(arguments, program, argv)
    };
    answer(EXEC_FAILED, -error as i32);
    sys::exit(255)
}

fn contains_slash(text: *const u8) -> bool {
    let mut at = 0;
    loop {
        // SAFETY: a C string, read up to its NUL.
        match unsafe { *text.add(at) } {
            0 => return false,
            b'/' => return true,
            _ => at += 1,
        }
    }
}

/// The value of PATH, or what execvp(3) takes without one.
fn path(arguments: &Arguments) -> *const u8 {
    let mut variable = arguments.envp;
    loop {
        // SAFETY: the environment is ended by a null pointer, tested before it is followed.
        let text = unsafe { *variable };
        if text.is_null() {
            return c"/bin:/usr/bin:/sbin:/usr/sbin".as_ptr().cast();
        }
        let name = b"PATH=";
        let mut at = 0;
        // SAFETY: reading stops at the first byte that differs, so never behind the NUL.
        while at < name.len() && unsafe { *text.add(at) } == name[at] {
            at += 1;
        }
        if at == name.len() {
            // SAFETY: five bytes of the string were read.
            return unsafe { text.add(at) };
        }
        // SAFETY: this was not the terminating null.
        variable = unsafe { variable.add(1) };
    }
}

/// Tries each directory of PATH; "not found" and "no permission" go on to the next one.
fn along_path(arguments: &Arguments, program: *const u8, argv: *const *const u8) -> isize {
    let mut list = path(arguments);
    let mut result = sys::ENOENT;
    let mut candidate = [0u8; 4096];
    loop {
        let mut length = 0;
        // SAFETY: PATH is a C string; reading stops at its NUL.
        while !matches!(unsafe { *list.add(length) }, 0 | b':') {
            if length < candidate.len() {
                // SAFETY: as above.
                candidate[length] = unsafe { *list.add(length) };
            }
            length += 1;
        }
        if let Some(whole) = join(&mut candidate, length, program) {
            // SAFETY: `whole` was ended with a NUL; the rest is the kernel's own layout.
            let error = unsafe { sys::execve(whole, argv, arguments.envp) };
            if !matches!(error, sys::ENOENT | sys::EACCES | sys::ENOTDIR) {
                return error;
            }
            if error == sys::EACCES {
                result = error;
            }
        }
        // SAFETY: `length` is where the separator or the NUL stands.
        if unsafe { *list.add(length) } == 0 {
            return result;
        }
        // SAFETY: a separator was there, so the string goes on.
        list = unsafe { list.add(length + 1) };
    }
}

/// Appends `/PROGRAM` to the directory in the first `length` bytes; an empty directory is the current one.
fn join(buffer: &mut [u8; 4096], length: usize, program: *const u8) -> Option<*const u8> {
    let mut end = length;
    if length > 0 {
        *buffer.get_mut(end)? = b'/';
        end += 1;
    }
    let mut at = 0;
    loop {
        // SAFETY: a C string, read up to its NUL.
        let byte = unsafe { *program.add(at) };
        *buffer.get_mut(end)? = byte;
        if byte == 0 {
            return Some(buffer.as_ptr());
        }
        end += 1;
        at += 1;
    }
}
