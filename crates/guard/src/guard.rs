//! Role `guard`: waits for the guest's end, keeps its console.

use core::ptr;

use crate::calls::Calls;
use crate::kept::Kept;
use crate::sys::PollFd;
use crate::{Arguments, fd, sys};

const POLLIN: i16 = 1;
/// `si_code` of a child that called exit, and of one that a signal ended.
const CLD_EXITED: i32 = 1;
const CLD_KILLED: i32 = 2;
/// The console log is renamed and begun anew when it has grown to this many bytes: the last 256 to 512 KiB are kept.
/// The tool, which writes to it while a start waits, has the same limit (`vserver-run`, `logs.rs`).
const LOG_LIMIT: usize = 256 * 1024;
/// What stands before each line of the log: seconds since 1970 in ten digits, and a blank.
const STAMP: usize = 11;

/// `guard LOG OLD-LOG TOOL WORDS…`: until the guest's first process has ended, what appears on its console goes to
/// the file LOG in the log directory (renamed to OLD-LOG when it has grown). Then the tool is executed as
/// `WORDS… CODE STATUS`, where CODE and STATUS are `si_code` and `si_status` of the ended process, decimal.
///
/// It has to survive anything: every failure but the end of the guest is passed over.
pub fn run(arguments: &Arguments) -> ! {
    sys::set_name(c"vserver-guard");
    for descriptor in [fd::STAT, fd::TOOL, fd::CONSOLE, fd::LOG_DIRECTORY, fd::INIT] {
        sys::set_cloexec(descriptor);
    }
    let mut calls = Calls::new();
    let control = if sys::is_open(fd::CONTROL) { fd::CONTROL } else { -1 };
    let mut log = Log::new(arguments);
    let mut kept = Kept::begin();
    let mut watched = [
        PollFd { fd: fd::INIT, events: POLLIN, revents: 0 },
        PollFd { fd: fd::HOLD, events: POLLIN, revents: 0 },
        // Negative: passed over. The tool reads the console itself until it lets go.
        PollFd { fd: -1, events: POLLIN, revents: 0 },
        PollFd { fd: control, events: POLLIN, revents: 0 },
        PollFd { fd: -1, events: POLLIN, revents: 0 },
        PollFd { fd: kept.watch(0), events: POLLIN, revents: 0 },
        PollFd { fd: kept.watch(1), events: POLLIN, revents: 0 },
    ];
    let mut ended = false;
    let mut glimpse = None;
    // A guest that ends while the tool still waits for its command is the tool's affair, unless the tool dies, too.
    while !ended || watched[1].fd >= 0 {
        if sys::poll(&mut watched) < 0 {
            continue;
        }
        if watched[0].fd >= 0 && watched[0].revents != 0 {
            // Before anything else: the host's init may be about to collect a process that is not our child.
            glimpse = status_of_zombie();
            ended = true;
            watched[0].fd = -1;
        }
        if watched[1].fd >= 0 && watched[1].revents != 0 {
            sys::close(fd::HOLD);
            watched[1].fd = -1;
            watched[2].fd = fd::CONSOLE;
        }
        if watched[2].revents & POLLIN != 0 {
            if !log.copy_once() {
                watched[2].fd = -1;
            }
        } else if watched[2].fd >= 0 && watched[2].revents != 0 {
            // Not expected, as we hold the other side open; never spin.
            watched[2].fd = -1;
        }
        if watched[3].fd >= 0 && watched[3].revents != 0 && !calls.take() {
            watched[3].fd = -1;
        }
        if watched[4].fd >= 0 && watched[4].revents != 0 {
            calls.attend(arguments);
        }
        watched[4].fd = calls.watch();
        if watched[5].revents != 0 {
            kept.attend(0);
        }
        if watched[6].revents != 0 {
            kept.attend(1);
        }
    }
    log.copy_rest();
    // Not our child when a later guard adopted the guest: then what was seen of it counts, or nobody knows.
    finish(arguments, sys::wait_pidfd(fd::INIT).ok().or(glimpse).unwrap_or((0, 0)))
}

/// How the guest's first process has ended, as `si_code` and `si_status`, by the last field of `/proc/PID/stat`
/// (`proc_pid_stat(5)`): for a process that is not our child, and only until its parent has collected it. A pidfd tells
/// it later as well (Linux 6.15), but not what reboot(2) was asked for.
fn status_of_zombie() -> Option<(i32, i32)> {
    let mut buffer = [0u8; 1024];
    let count = usize::try_from(sys::read(fd::STAT, &mut buffer)).ok()?;
    let line = buffer.get(..count)?;
    let mut end = count;
    while end > 0 && !line.get(end - 1)?.is_ascii_digit() {
        end -= 1;
    }
    let (mut status, mut scale, mut at) = (0i32, 1i32, end);
    while at > 0 && line.get(at - 1)?.is_ascii_digit() {
        at -= 1;
        status = status.wrapping_add(scale.wrapping_mul(i32::from(*line.get(at)? - b'0')));
        scale = scale.wrapping_mul(10);
    }
    // The name in parentheses may hold anything: the state stands behind the last one.
    while at > 0 && *line.get(at - 1)? != b')' {
        at -= 1;
    }
    if !matches!(*line.get(at + 1)?, b'Z' | b'X') {
        return None;
    }
    let (signal, code) = (status & 0x7f, status >> 8 & 0xff);
    Some(if signal == 0 { (CLD_EXITED, code) } else { (CLD_KILLED, signal) })
}

/// Hands over to the tool, by its path (a newer one may be there) or by the descriptor opened at the start.
fn finish(arguments: &Arguments, (code, status): (i32, i32)) -> ! {
    let (mut code_text, mut status_text) = ([0u8; 12], [0u8; 12]);
    let mut words: [*const u8; 16] = [ptr::null(); 16];
    let mut count = 0;
    while 4 + count < arguments.count() && count < 12 {
        words[count] = arguments.word(4 + count);
        count += 1;
    }
    words[count] = decimal(code, &mut code_text);
    words[count + 1] = decimal(status, &mut status_text);
    // Listeners of a guest that is no more, and a broker that is still waiting for its calls.
    sys::close_from(fd::CONTROL);
    let tool = arguments.word(3);
    // SAFETY: C strings and null-terminated arrays of them, all alive until the process is replaced.
    unsafe {
        sys::execve(tool, words.as_ptr(), arguments.envp);
        sys::execve_fd(fd::TOOL, words.as_ptr(), arguments.envp);
    }
    sys::exit(1)
}

/// Writes a number as a C string and gives its beginning.
fn decimal(number: i32, text: &mut [u8; 12]) -> *const u8 {
    let mut rest = number.unsigned_abs();
    let mut at = text.len() - 1;
    text[at] = 0;
    loop {
        at -= 1;
        text[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if number < 0 {
        at -= 1;
        text[at] = b'-';
    }
    &raw const text[at]
}

/// The console's bounded log: lines, each with the time at which it began. A guest cannot forge the time of a line, as
/// whatever it writes behind a newline gets one.
struct Log<'a> {
    arguments: &'a Arguments,
    /// Negative: not opened yet, or it cannot be. The tool may have written to it before.
    file: i32,
    size: usize,
    line_begins: bool,
    buffer: [u8; 512],
    text: [u8; 1024],
    filled: usize,
}

impl<'a> Log<'a> {
    fn new(arguments: &'a Arguments) -> Self {
        Self { arguments, file: -1, size: 0, line_begins: true, buffer: [0; 512], text: [0; 1024], filled: 0 }
    }

    /// Takes what is there; false when the console is gone.
    fn copy_once(&mut self) -> bool {
        let count = sys::read(fd::CONSOLE, &mut self.buffer);
        if count == sys::EINTR {
            return true;
        }
        let Ok(count) = usize::try_from(count) else { return false };
        if count == 0 {
            return false;
        }
        if self.file < 0 {
            self.open(false);
        }
        let now = sys::now();
        let mut at = 0;
        while at < count {
            let Some(&byte) = self.buffer.get(at) else { return false };
            self.put(byte, now);
            at += 1;
        }
        self.flush();
        if self.size >= LOG_LIMIT {
            self.turn_over();
        }
        true
    }

    fn put(&mut self, byte: u8, now: u64) {
        if self.filled + STAMP >= self.text.len() {
            self.flush();
        }
        if self.line_begins {
            let mut rest = now;
            let mut place = STAMP - 1;
            while place > 0 {
                place -= 1;
                if let Some(digit) = self.text.get_mut(self.filled + place) {
                    *digit = b'0' + (rest % 10) as u8;
                }
                rest /= 10;
            }
            self.filled += STAMP - 1;
            self.push(b' ');
        }
        self.push(byte);
        self.line_begins = byte == b'\n';
    }

    fn push(&mut self, byte: u8) {
        if let Some(place) = self.text.get_mut(self.filled) {
            *place = byte;
            self.filled += 1;
        }
    }

    /// A full disk or a vanished directory must not stop the guest's console: what cannot be kept is dropped.
    fn flush(&mut self) {
        if let Some(text) = self.text.get(..self.filled)
            && self.file >= 0
        {
            sys::write(self.file, text);
        }
        self.size += self.filled;
        self.filled = 0;
    }

    /// What was still in the console when the guest ended.
    fn copy_rest(&mut self) {
        let mut console = [PollFd { fd: fd::CONSOLE, events: POLLIN, revents: 0 }];
        while sys::poll_now(&mut console) > 0 && console[0].revents & POLLIN != 0 && self.copy_once() {}
    }

    fn open(&mut self, anew: bool) {
        self.file = sys::open_log(fd::LOG_DIRECTORY, self.arguments.word(1), anew) as i32;
        let (size, last) = sys::end_of(self.file);
        self.size = size;
        self.line_begins = size == 0 || last == b'\n';
    }

    fn turn_over(&mut self) {
        sys::rename(fd::LOG_DIRECTORY, self.arguments.word(1), self.arguments.word(2));
        if self.file >= 0 {
            sys::close(self.file);
        }
        // The rest of a line gets a time of its own: each file can be read for itself.
        self.open(true);
    }
}
