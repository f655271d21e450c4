//! Follows a command and whatever it forks, and lets one system call of one of these processes be its last, or fail.
//!
//! ```text
//! assassin FILE [-p NAME PID]… list             -- PROGRAM ARGUMENTS…
//! assassin FILE [-p NAME PID]… kill WHO NTH     -- PROGRAM ARGUMENTS…
//! assassin FILE [-p NAME PID]… fail WHO NTH ERR CALL -- PROGRAM ARGUMENTS…
//! ```
//! Processes are called by their descent: the command is `0`, its second child `0.2`, that one's first `0.2.1`; those
//! named with `-p` run already. System calls are counted from 1 in each process, from its fork on, or, where the
//! command's own program starts, from the first one behind the start-up of the C library and the language. A process that executes a program
//! that is neither the command's nor in a memory file is let go. `list` writes a line `WHO NTH CALL` for each to FILE;
//! the others write `hit` or `missed`. The exit status is the command's, or 128 and a signal's number.
//!
//! Only the call of that number fails: a process does not always make the same ones.
//! A victim is killed as it enters the system call, which then is not made. From there on everybody is let go.

use std::collections::HashMap;
use std::ffi::{CString, c_char, c_int, c_long, c_void};
use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};

unsafe extern "C" {
    fn ptrace(request: c_long, ...) -> c_long;
    fn fork() -> c_int;
    fn execv(path: *const c_char, arguments: *const *const c_char) -> c_int;
    fn waitpid(pid: c_int, status: *mut c_int, options: c_int) -> c_int;
    fn kill(pid: c_int, signal: c_int) -> c_int;
    fn raise(signal: c_int) -> c_int;
    fn _exit(code: c_int) -> !;
}

const GETREGS: c_long = 12;
const SETREGS: c_long = 13;
const DETACH: c_long = 17;
const SYSCALL: c_long = 24;
const GETEVENTMSG: c_long = 0x4201;
const SEIZE: c_long = 0x4206;
const INTERRUPT: c_long = 0x4207;
const LISTEN: c_long = 0x4208;
const GET_SYSCALL_INFO: c_long = 0x420e;
/// Good system call stops; forks, vforks, clones and executions are told.
const OPTIONS: c_long = 0x1 | 0x2 | 0x4 | 0x8 | 0x10;

const SIGKILL: c_int = 9;
const SIGSTOP: c_int = 19;
const SIGTRAP: c_int = 5;
const NOHANG: c_int = 1;
const WALL: c_int = 0x4000_0000;
const SIGALTSTACK: u64 = 131;
/// How long nothing may happen behind the command's end until all is taken to be over.
const QUIET: Duration = Duration::from_millis(40);
/// The same where a process is followed that has work to do of its own.
const QUIET_FOLLOWED: Duration = Duration::from_millis(400);

/// What is to be done.
enum Deed {
    List,
    Kill,
    Fail { errno: i64, call: u64 },
}

struct Process {
    who: String,
    children: u32,
    calls: u64,
    /// Counting has begun: the C library's start-up is over.
    begun: bool,
    /// The next stop is the end of the call that is to fail.
    failing: bool,
}

struct Tracer {
    deed: Deed,
    victim: (String, u64),
    /// The command's program.
    own: String,
    known: HashMap<c_int, Process>,
    /// Stopped before its parent has told of it.
    waiting: Vec<c_int>,
    list: String,
    hit: bool,
    over: bool,
}

/// One request with numbers; pointers are passed as numbers.
fn request(what: c_long, pid: c_int, address: c_long, data: c_long) -> c_long {
    // SAFETY: every pointer among the numbers belongs to a value that the caller keeps until the call returns.
    unsafe { ptrace(what, pid, address as *mut c_void, data as *mut c_void) }
}

fn new(who: String, begun: bool) -> Process {
    Process { who, children: 0, calls: 0, begun, failing: false }
}

impl Tracer {
    fn go_on(&self, pid: c_int, signal: c_int) {
        if self.over || !self.known.contains_key(&pid) {
            request(DETACH, pid, 0, c_long::from(signal));
        } else {
            request(SYSCALL, pid, 0, c_long::from(signal));
        }
    }

    /// The stop of a process that is to be looked at.
    fn stopped(&mut self, pid: c_int, status: c_int) {
        let (signal, event) = (status >> 8 & 0xff, status >> 16);
        if !self.known.contains_key(&pid) && !self.over {
            // A child whose parent's stop comes later.
            self.waiting.push(pid);
            return;
        }
        match event {
            1..=3 => {
                let mut child: c_long = 0;
                request(GETEVENTMSG, pid, 0, &raw mut child as c_long);
                self.born(pid, child as c_int);
                self.go_on(pid, 0);
            }
            4 => {
                let image = std::fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
                let image = image.to_string_lossy().into_owned();
                if image == self.own {
                    if let Some(process) = self.known.get_mut(&pid) {
                        process.begun = false;
                    }
                } else if !image.starts_with("/memfd:") {
                    self.known.remove(&pid);
                }
                self.go_on(pid, 0);
            }
            // PTRACE_EVENT_STOP: of a new child, by our own request, or a stop of the whole group, which must last.
            128 if signal == SIGTRAP || self.over => self.go_on(pid, 0),
            128 => drop(request(LISTEN, pid, 0, 0)),
            0 if signal == SIGTRAP | 0x80 => self.call(pid),
            _ => self.go_on(pid, if event == 0 { signal } else { 0 }),
        }
    }

    fn born(&mut self, parent: c_int, child: c_int) {
        if let Some(process) = self.known.get_mut(&parent) {
            process.children += 1;
            let who = format!("{}.{}", process.who, process.children);
            self.known.insert(child, new(who, true));
        }
        if let Some(at) = self.waiting.iter().position(|&pid| pid == child) {
            self.waiting.swap_remove(at);
            self.go_on(child, 0);
        }
    }

    /// The beginning or the end of a system call.
    fn call(&mut self, pid: c_int) {
        let mut info = [0u64; 11];
        request(GET_SYSCALL_INFO, pid, 88, info.as_mut_ptr() as c_long);
        let (begins, number, first) = (info[0] & 0xff == 1, info[3], info[4]);
        let process = self.known.get_mut(&pid).expect("looked up before");
        if !begins {
            if process.failing {
                process.failing = false;
                if let Deed::Fail { errno, .. } = self.deed {
                    change(pid, 10, -errno);
                }
                self.over = true;
                self.release();
            }
            return self.go_on(pid, 0);
        }
        if !process.begun {
            // The last deed of the language's own start.
            process.begun = number == SIGALTSTACK && first != 0;
            return self.go_on(pid, 0);
        }
        process.calls += 1;
        if let Deed::List = self.deed {
            let _fits = writeln!(self.list, "{} {} {number}", process.who, process.calls);
        } else if (process.who.as_str(), process.calls) == (self.victim.0.as_str(), self.victim.1)
            && !self.hit
            && !matches!(self.deed, Deed::Fail { call, .. } if call != number)
        {
            self.hit = true;
            if let Deed::Kill = self.deed {
                // SAFETY: two numbers.
                unsafe { kill(pid, SIGKILL) };
                self.known.remove(&pid);
                self.over = true;
                return self.release();
            }
            // No such call: the kernel makes none.
            process.failing = true;
            change(pid, 15, -1);
        }
        self.go_on(pid, 0);
    }

    /// Whoever runs is stopped, as only who has stopped can be let go.
    fn release(&self) {
        for &pid in self.known.keys() {
            request(INTERRUPT, pid, 0, 0);
        }
        for &pid in &self.waiting {
            request(DETACH, pid, 0, 0);
        }
    }
}

/// Sets one register of a stopped process, by its place in `struct user_regs_struct` of x86-64.
fn change(pid: c_int, place: usize, value: i64) {
    let mut registers = [0u64; 27];
    request(GETREGS, pid, 0, registers.as_mut_ptr() as c_long);
    registers[place] = value as u64;
    request(SETREGS, pid, 0, registers.as_ptr() as c_long);
}

fn spawn(words: &[String]) -> c_int {
    let words: Vec<CString> = words.iter().map(|word| CString::new(word.as_str()).expect("no zero byte")).collect();
    let mut pointers: Vec<*const c_char> = words.iter().map(|word| word.as_ptr()).collect();
    pointers.push(std::ptr::null());
    // SAFETY: one thread; the child makes system calls only; the arrays live until it has executed.
    unsafe {
        let pid = fork();
        if pid == 0 {
            raise(SIGSTOP);
            execv(pointers[0], pointers.as_ptr());
            _exit(127);
        }
        pid
    }
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let split = words.iter().position(|word| word == "--").expect("a command behind --");
    let (options, command) = (&words[1..split], &words[split + 1..]);
    let own = std::fs::canonicalize(&command[0]).expect("the command's program is there");
    let mut tracer = Tracer {
        deed: Deed::List,
        victim: (String::new(), 0),
        own: own.to_string_lossy().into_owned(),
        known: HashMap::new(),
        waiting: Vec::new(),
        list: String::new(),
        hit: false,
        over: false,
    };
    let mut rest = options;
    let mut followed = false;
    while let [flag, name, pid, more @ ..] = rest
        && flag == "-p"
    {
        let pid: c_int = pid.parse().expect("a number");
        if request(SEIZE, pid, 0, OPTIONS) == 0 {
            request(INTERRUPT, pid, 0, 0);
            tracer.known.insert(pid, new(name.clone(), true));
            followed = true;
        }
        rest = more;
    }
    tracer.deed = match rest[0].as_str() {
        "kill" => Deed::Kill,
        "fail" => Deed::Fail {
            errno: rest[3].parse().expect("a number"),
            call: rest[4].parse().expect("a number"),
        },
        _ => Deed::List,
    };
    if let [_, who, nth, ..] = rest {
        tracer.victim = (who.clone(), nth.parse().expect("a number"));
    }
    let child = spawn(command);
    let mut status: c_int = 0;
    // SAFETY: the status is a live int.
    unsafe { waitpid(child, &raw mut status, 2 | WALL) };
    assert_eq!(request(SEIZE, child, 0, OPTIONS), 0, "the command can be followed");
    tracer.known.insert(child, new("0".to_owned(), false));
    // SAFETY: two numbers.
    unsafe { kill(child, 18) };
    let quiet = if followed { QUIET_FOLLOWED } else { QUIET };
    let code = follow(&mut tracer, child, quiet);
    let text = match tracer.deed {
        Deed::List => tracer.list,
        _ if tracer.hit => "hit\n".to_owned(),
        _ => "missed\n".to_owned(),
    };
    std::fs::write(&words[0], text).expect("the file can be written");
    ExitCode::from(code)
}

/// Until the command has ended and nothing more happens.
fn follow(tracer: &mut Tracer, child: c_int, quiet: Duration) -> u8 {
    let mut ended: Option<u8> = None;
    let mut last = Instant::now();
    loop {
        let mut status: c_int = 0;
        let options = if ended.is_some() { NOHANG | WALL } else { WALL };
        // SAFETY: the status is a live int.
        let pid = unsafe { waitpid(-1, &raw mut status, options) };
        if pid > 0 && status & 0xff == 0x7f {
            last = Instant::now();
            tracer.stopped(pid, status);
        } else if pid > 0 {
            last = Instant::now();
            tracer.known.remove(&pid);
            if pid == child {
                let signal = status & 0x7f;
                ended = Some(if signal == 0 { (status >> 8 & 0xff) as u8 } else { 128 + signal as u8 });
            }
        } else if let Some(code) = ended
            && (pid < 0 || last.elapsed() > quiet)
        {
            if pid < 0 || tracer.over {
                return code;
            }
            tracer.over = true;
            tracer.release();
            last = Instant::now();
        } else {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

