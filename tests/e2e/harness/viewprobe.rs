//! What programs see of the network's devices: `programs/viewprobe.rs` (the C library and calls by number) and
//! `programs/view32.c` (32 bits), in guests and on the host.

use crate::Guest;
use crate::command::{Program, host};
use crate::probe::{Answers, program_of_32_bits, rust_program};
use std::fs;
use std::path::Path;

/// Where it lies in a guest.
pub const INSIDE: &str = "/bin/viewprobe";
/// Where the 32-bit program lies in a guest.
pub const INSIDE_32: &str = "/bin/view32";

/// Puts both into a guest's tree.
///
/// # Panics
///
/// When they cannot be built or copied.
pub fn plant(guest: &Guest) {
    for (program, inside) in [(rust_program("viewprobe"), INSIDE), (program_of_32_bits("view32"), INSIDE_32)]
    {
        fs::copy(program, guest.tree(inside)).expect("the tree is ours");
    }
}

/// Asks in a guest, as its root.
#[track_caller]
pub fn ask(guest: &Guest, words: &[&str]) -> Answers {
    let done = guest.program(&["exec", INSIDE]).args(words).run();
    done.ok();
    Answers::read(&done.out())
}

/// Asks on the host: the control of a trial.
#[track_caller]
pub fn ask_host(words: &[&str]) -> Answers {
    let program = rust_program("viewprobe");
    let done = Program::of_host(program.to_str().expect("a path in UTF-8")).args(words).run();
    done.ok();
    Answers::read(&done.out())
}

/// What the 32-bit program says: the names of devices, each once, sorted.
#[track_caller]
pub fn ask_32(guest: &Guest, word: &str) -> String {
    let done = guest.vserver(&["exec", INSIDE_32, word]);
    done.ok();
    let text = done.out();
    let mut names: Vec<&str> = text.lines().collect();
    names.sort_unstable();
    names.dedup();
    names.join(" ")
}

/// Puts a program of the host into a guest, with the libraries that it needs.
///
/// # Panics
///
/// When it is not there or cannot be copied.
pub fn lend(guest: &Guest, program: &str) {
    let copy = |path: &str| {
        let to = guest.tree(path);
        fs::create_dir_all(to.parent().expect("a file is in a directory")).expect("the tree is ours");
        // Through links: the tree has directories of its own.
        fs::copy(path, to).unwrap_or_else(|error| panic!("copy {path}: {error}"));
    };
    copy(program);
    for word in host("ldd", &[program]).out().split_whitespace() {
        if word.starts_with('/') && Path::new(word).exists() {
            copy(word);
        }
    }
}
