//! Running programs of the host: no terminal to read from, a process group of their own, ended when the build is.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{PipeReader, Read as _, Write as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, Signal};

use crate::error::{BuildError, Result};
use crate::interrupt::Interrupt;

/// How many of a program's last lines an error shows.
const TAIL_LINES: usize = 12;
/// How often we look whether the build was told to end.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
/// How long a program may take to end when it is told to.
const GRACE: Duration = Duration::from_secs(3);

/// The last lines that a program wrote.
#[derive(Debug, Default)]
pub struct Tail(VecDeque<String>);

impl Tail {
    fn push(&mut self, line: &str) {
        if line.trim().is_empty() {
            return;
        }
        if self.0.len() == TAIL_LINES {
            self.0.pop_front();
        }
        self.0.push_back(line.to_owned());
    }

    /// As a list, oldest first.
    pub fn into_lines(self) -> Vec<String> {
        self.0.into()
    }
}

/// Runs a program with its streams where ours are, but nothing to read.
///
/// # Errors
/// It cannot be started, ends with another code than 0, or the build was told to end.
pub fn run(command: &mut Command, interrupt: &Interrupt) -> Result<()> {
    let program = PathBuf::from(command.get_program());
    let mut child = start(command, &program)?;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if interrupt.is_set() => {
                end(&mut child);
                return Err(BuildError::Interrupted);
            }
            Ok(None) => std::thread::sleep(Duration::from_millis(20)),
            Err(source) => return Err(BuildError::Start { program, source }),
        }
    };
    check(&program, status, Tail::default())
}

/// Runs a program and hands each line it writes (both streams) to `on_line`, and to the log.
///
/// # Errors
/// As [`run`]; the error holds the last lines.
pub fn capture(
    command: &mut Command,
    mut log: Option<&mut File>,
    interrupt: &Interrupt,
    on_line: &mut dyn FnMut(&str),
) -> Result<Tail> {
    let program = PathBuf::from(command.get_program());
    let cannot = |source| BuildError::Start { program: program.clone(), source };
    let (mut reader, writer) = std::io::pipe().map_err(cannot)?;
    let second = writer.try_clone().map_err(cannot)?;
    command.stdout(writer).stderr(second);
    let mut child = start(command, &program)?;
    // Our copies of the writing end must go, or the end of the program would not be the end of the pipe.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut lines = Lines::default();
    let mut tail = Tail::default();
    let status = loop {
        let got = lines.read(&mut reader, LOOK).map_err(cannot)?;
        if let (Some(log), false) = (log.as_deref_mut(), got.bytes.is_empty()) {
            // A full disk under the log must not end a build that goes well; the tail is in memory.
            log.write_all(&got.bytes).ok();
        }
        for line in &got.lines {
            tail.push(line);
            on_line(line);
        }
        if interrupt.is_set() {
            end(&mut child);
            return Err(BuildError::Interrupted);
        }
        match child.try_wait().map_err(cannot)? {
            // Something in the background may hold the pipe: what is in it now is all.
            Some(status) if got.bytes.is_empty() => break status,
            _ if got.end => break child.wait().map_err(cannot)?,
            _ => {}
        }
    };
    if status.success() {
        return Ok(tail);
    }
    check(&program, status, tail).map(|()| Tail::default())
}

/// Runs a short program and gives what it wrote to its standard output.
///
/// # Errors
/// It cannot be started or fails.
pub fn output_of(command: &mut Command) -> Result<Vec<u8>> {
    let program = PathBuf::from(command.get_program());
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .map_err(|source| BuildError::Start { program: program.clone(), source })?;
    check(&program, output.status, Tail::default())?;
    Ok(output.stdout)
}

fn start(command: &mut Command, program: &Path) -> Result<Child> {
    command
        .stdin(Stdio::null())
        .process_group(0)
        .spawn()
        .map_err(|source| BuildError::Start { program: program.to_owned(), source })
}

/// Ends a program and all of its process group.
fn end(child: &mut Child) {
    let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) else { return };
    // Gone already is as good.
    rustix::process::kill_process_group(group, Signal::TERM).ok();
    let deadline = Instant::now() + GRACE;
    while Instant::now() < deadline {
        if matches!(child.try_wait(), Ok(Some(_)) | Err(_)) {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    rustix::process::kill_process_group(group, Signal::KILL).ok();
    child.kill().ok();
    child.wait().ok();
}

fn check(program: &Path, status: ExitStatus, tail: Tail) -> Result<()> {
    if status.success() {
        return Ok(());
    }
    let status = match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("killed by signal {signal}"),
        (None, None) => "ended oddly".to_owned(),
    };
    Err(BuildError::Failed { program: program.to_owned(), status, tail: tail.into_lines(), hint: None })
}

/// Cuts what comes out of a pipe into lines.
#[derive(Default)]
struct Lines {
    partial: Vec<u8>,
}

#[derive(Default)]
struct Got {
    bytes: Vec<u8>,
    lines: Vec<String>,
    end: bool,
}

impl Lines {
    fn read(&mut self, pipe: &mut PipeReader, timeout: Timespec) -> std::io::Result<Got> {
        let ready = {
            let mut fds = [PollFd::new(pipe, PollFlags::IN)];
            match rustix::event::poll(&mut fds, Some(&timeout)) {
                Ok(ready) => ready > 0,
                Err(rustix::io::Errno::INTR) => false,
                Err(errno) => return Err(errno.into()),
            }
        };
        if !ready {
            return Ok(Got::default());
        }
        let mut buffer = [0_u8; 16_384];
        let length = pipe.read(&mut buffer)?;
        let mut got = Got { bytes: buffer[..length].to_vec(), lines: Vec::new(), end: length == 0 };
        self.partial.extend_from_slice(&got.bytes);
        // Progress bars of the tools end their lines with a carriage return.
        while let Some(at) = self.partial.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
            let line: Vec<u8> = self.partial.drain(..=at).collect();
            got.lines.push(readable(&line[..at]));
        }
        if (got.end || self.partial.len() > 64 * 1024) && !self.partial.is_empty() {
            got.lines.push(readable(&std::mem::take(&mut self.partial)));
        }
        Ok(got)
    }
}

/// A line that cannot move the terminal's cursor: what tools print may come from a mirror or an archive.
fn readable(line: &[u8]) -> String {
    String::from_utf8_lossy(line).chars().map(|c| if c.is_control() && c != '\t' { '?' } else { c }).collect()
}

/// A command of a program at this path with nothing but a clean environment: the tools' answers must not depend on
/// the administrator's language, and their temporary files not on his `TMPDIR`.
pub fn clean(program: impl AsRef<OsStr>, path: &OsStr) -> Command {
    let mut command = Command::new(program);
    // Tools of tools (mount, chroot) are in directories that PATH lacks after su(1).
    let mut path = path.to_owned();
    path.push(":/usr/sbin:/sbin");
    command
        .env_clear()
        .env("PATH", path)
        .env("LC_ALL", "C")
        .env("HOME", "/root")
        .env("DEBIAN_FRONTEND", "noninteractive");
    for name in ["http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "TERM"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn lines_and_the_tail() {
        let mut seen = Vec::new();
        let script = "echo one; printf 'two\\rthree'; echo >&2; exit 3";
        let error =
            capture(&mut shell(script), None, &Interrupt::default(), &mut |line| seen.push(line.to_owned()));
        assert_eq!(seen, ["one", "two", "three"]);
        let text = error.unwrap_err().to_string();
        assert_eq!(text, "/bin/sh failed (exit code 3), its last words:\n    one\n    two\n    three");
    }

    #[test]
    fn an_interrupt_ends_the_whole_group() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("pid");
        let interrupt = Interrupt::default();
        let script = format!("sleep 1000 & echo $! > {}; echo ready; wait", file.display());
        let told = interrupt.clone();
        let result = capture(&mut shell(&script), None, &interrupt, &mut |_| told.set());
        assert!(matches!(result, Err(BuildError::Interrupted)));
        let pid: i32 = std::fs::read_to_string(file).unwrap().trim().parse().unwrap();
        // The kernel ends it when it runs next, and pid 1 may take its time to reap it.
        let runs = || {
            let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            !state.is_empty() && !state.contains(") Z ")
        };
        let deadline = Instant::now() + Duration::from_secs(20);
        while runs() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(!runs());
    }

    #[test]
    fn background_programs_do_not_hold_us_up() {
        let before = Instant::now();
        capture(&mut shell("sleep 100 & echo done"), None, &Interrupt::default(), &mut |_| {}).unwrap();
        assert!(before.elapsed() < Duration::from_secs(50));
    }
}
