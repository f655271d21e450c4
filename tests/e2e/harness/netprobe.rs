//! Sockets as programs use and abuse them, without any library in between: `programs/netprobe.rs` (64 bits, calls by
//! number) and `programs/thirtytwo.c` (32 bits, socketcall), on the host, outside, and in guests.

use crate::Guest;
use crate::command::{Done, Program};
use crate::outside::Outside;
use crate::probe::{Answers, program_of_32_bits, rust_program};
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where it lies in a guest.
pub const INSIDE: &str = "/bin/netprobe";
/// Where the 32-bit program lies in a guest.
pub const INSIDE_32: &str = "/bin/thirtytwo";

/// Builds it unless it is there.
///
/// # Panics
///
/// When the compiler is missing or refuses it.
pub fn program() -> PathBuf {
    rust_program("netprobe")
}

/// Builds the 32-bit program unless it is there.
///
/// # Panics
///
/// When the compiler is missing or refuses it.
pub fn program_32() -> PathBuf {
    program_of_32_bits("thirtytwo")
}

/// Puts both into a guest's tree.
///
/// # Panics
///
/// When they cannot be copied.
pub fn plant(guest: &Guest) {
    for (program, inside) in [(program(), INSIDE), (program_32(), INSIDE_32)] {
        fs::copy(program, guest.tree(inside)).expect("the tree is ours");
    }
}

/// Where the words are run.
#[derive(Clone, Copy)]
pub enum At<'a> {
    /// On the host, without any confinement: the control of a trial.
    Host,
    /// In the world outside.
    Outside(&'a Outside),
    /// As root of a guest.
    Guest(&'a Guest),
    /// On the host in a network context: the words of `chbind` before its command.
    Chbind(&'a [&'a str]),
}

impl At<'_> {
    /// The program, to be refined before it is run.
    fn start(self, host: &Path, inside: &str) -> Program {
        let patience =
            std::env::var("E2E_SLOWNESS").ok().and_then(|word| word.parse().ok()).unwrap_or(1u32) * 3;
        let host = host.to_str().expect("a path in UTF-8");
        let program = match self {
            Self::Host => Program::of_host(host),
            Self::Outside(outside) => outside.program(host),
            Self::Guest(guest) => guest.program(&["exec", inside]),
            Self::Chbind(words) => Program::named("chbind").args(words).args(&["--", host]),
        };
        program.env("NETPROBE_PATIENCE", patience.to_string())
    }

    /// Runs the words, and gives what came of each.
    #[track_caller]
    pub fn run(self, words: &[&str]) -> Answers {
        let done = self.start(&program(), INSIDE).args(words).run();
        done.ok();
        Answers::read(&done.out())
    }

    /// Runs one word, and gives what came of it.
    #[track_caller]
    pub fn answer(self, word: &str) -> String {
        self.run(&[word]).of(word).to_owned()
    }

    /// Starts a server that answers with `text`, which must succeed. It ends with the value that is given back, or, in
    /// a guest, with the guest.
    #[track_caller]
    pub fn serve(self, kind: &str, address: &str, port: u16, text: &str) -> Server {
        let answer = self.answer(&format!("serve,{kind},{address},{port},{text}"));
        self.server(&answer)
    }

    /// The server whose start was answered like this.
    ///
    /// # Panics
    ///
    /// When it did not start.
    #[track_caller]
    pub fn server(self, answer: &str) -> Server {
        let pid = answer.strip_prefix("ok ").and_then(|rest| rest.split(' ').next()?.parse().ok());
        assert!(pid.is_some(), "no server: {answer}");
        Server(if matches!(self, Self::Guest(_)) { None } else { pid })
    }

    /// Asks a server; the answer must begin with `text`.
    #[track_caller]
    pub fn reaches(self, kind: &str, address: &str, port: u16, text: &str) -> String {
        let answer = self.answer(&format!("ask,{kind},{address},{port}"));
        assert!(answer.starts_with(text), "ask {kind} at {address} port {port}: {answer}, wanted {text}");
        answer
    }

    /// Asks many servers (kind, address, port, what the answer must begin with) with one run of the program.
    #[track_caller]
    pub fn reaches_all(self, wanted: &[(&str, &str, u16, String)]) {
        let words: Vec<String> =
            wanted.iter().map(|(kind, address, port, _)| format!("ask,{kind},{address},{port}")).collect();
        let answers = self.run(&words.iter().map(String::as_str).collect::<Vec<_>>());
        for (word, (.., text)) in words.iter().zip(wanted) {
            assert!(answers.of(word).starts_with(text), "{word}: wanted {text}\n{answers:#?}");
        }
    }

    /// Runs the 32-bit program: `bind`, `serve` or `ask`.
    #[track_caller]
    pub fn thirtytwo(self, verb: &str, address: &str, port: u16, text: &str) -> String {
        let ip: IpAddr = address.parse().expect("an address");
        self.of_32_bits(&[verb, "1", &hexadecimal(SocketAddr::new(ip, port)), text])
    }

    /// A packet socket of the 32-bit program, for every frame.
    #[track_caller]
    pub fn packet_socket_of_32_bits(self) -> String {
        // struct sockaddr_ll: AF_PACKET, ETH_P_ALL, all devices.
        self.of_32_bits(&["bind", "3", &format!("11000003{}", "00".repeat(16)), ""])
    }

    #[track_caller]
    fn of_32_bits(self, words: &[&str]) -> String {
        let done: Done = self.start(&program_32(), INSIDE_32).args(words).run();
        done.ok();
        done.out().trim().to_owned()
    }
}

/// A server in the background.
#[must_use]
pub struct Server(Option<i32>);

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(pid) = self.0.and_then(rustix::process::Pid::from_raw) {
            // Fails only when it has ended already; nobody else has this number in the trial's own namespace.
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).ok();
        }
    }
}

/// A `struct sockaddr_in` or `sockaddr_in6` in hexadecimal digits.
fn hexadecimal(address: SocketAddr) -> String {
    let mut bytes = Vec::new();
    let port = address.port().to_be_bytes();
    match address.ip() {
        IpAddr::V4(ip) => {
            bytes.extend_from_slice(&2u16.to_ne_bytes());
            bytes.extend_from_slice(&port);
            bytes.extend_from_slice(&ip.octets());
            bytes.extend_from_slice(&[0; 8]);
        }
        IpAddr::V6(ip) => {
            bytes.extend_from_slice(&10u16.to_ne_bytes());
            bytes.extend_from_slice(&port);
            bytes.extend_from_slice(&[0; 4]);
            bytes.extend_from_slice(&ip.octets());
            bytes.extend_from_slice(&[0; 4]);
        }
    }
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

/// Whether this machine can run the 32-bit program at all (`CONFIG_IA32_EMULATION`).
pub fn has_32_bits() -> bool {
    Command::new(program_32()).status().is_ok_and(|status| status.code() == Some(2))
}
