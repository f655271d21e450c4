//! Every fuzz target, briefly, with a stable compiler: the corpus and mutations of it with a fixed seed.

use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::{env, fs};

use libtest_mimic::{Arguments, Failed, Trial};
use vserver_fuzz::{TARGETS, Target};

fn main() {
    let args = Arguments::from_args();
    // One line a panic: the input tells more than a backtrace through the harness.
    std::panic::set_hook(Box::new(|panic| eprintln!("{panic}")));
    let targets = TARGETS.iter().map(|target| Trial::test(target.name, || brief(target)));
    let own = [
        Trial::test("targets_are_complete", targets_are_complete),
        Trial::test("a_broken_target_is_noticed", a_broken_target_is_noticed),
    ];
    libtest_mimic::run(&args, targets.chain(own).collect()).exit();
}

fn fuzz_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn number_from(variable: &str, default: u64) -> Result<u64, Failed> {
    match env::var(variable) {
        Ok(text) => Ok(text.parse().map_err(|e| format!("{variable}={text}: {e}"))?),
        Err(_) => Ok(default),
    }
}

fn brief(target: &Target) -> Result<(), Failed> {
    let corpus = corpus_of(target.name)?;
    feed(target.run, &corpus, number_from("FUZZ_INPUTS", 20_000)?, number_from("FUZZ_SEED", 1)?)
}

fn corpus_of(name: &str) -> Result<Vec<Vec<u8>>, Failed> {
    let dir = fuzz_dir().join("corpus").join(name);
    let entries = fs::read_dir(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>, std::io::Error>>()?;
    paths.sort(); // the order of a directory is not the same everywhere, the inputs must be
    let corpus = paths.iter().map(fs::read).collect::<Result<Vec<_>, _>>()?;
    if corpus.is_empty() { Err(format!("{} is empty", dir.display()).into()) } else { Ok(corpus) }
}

/// Runs a target on each input; the message of a failure holds the input.
fn feed(run: fn(&[u8]), corpus: &[Vec<u8>], inputs: u64, seed: u64) -> Result<(), Failed> {
    let mut mutator = Mutator { state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1, corpus };
    let mutations = std::iter::repeat_with(|| mutator.next_input());
    let rounds = usize::try_from(inputs).unwrap_or(usize::MAX);
    for input in corpus.iter().cloned().chain([Vec::new()]).chain(mutations.take(rounds)) {
        if catch_unwind(|| run(&input)).is_err() {
            return Err(format!("input: b\"{}\"", input.escape_ascii()).into());
        }
    }
    Ok(())
}

/// Makes inputs out of the corpus: each is an entry with one to eight changes.
struct Mutator<'a> {
    state: u64,
    corpus: &'a [Vec<u8>],
}

impl Mutator<'_> {
    /// xorshift64*, by Vigna: small, fast, and the same on every machine.
    fn random(&mut self) -> u64 {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        self.state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `end`, which is not 0.
    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.random() >> 33).expect("31 bits fit") % end
    }

    fn entry(&mut self) -> Vec<u8> {
        let corpus = self.corpus;
        corpus[self.below(corpus.len())].clone()
    }

    fn next_input(&mut self) -> Vec<u8> {
        let mut input = self.entry();
        for _ in 0..=self.below(8) {
            self.change(&mut input);
        }
        input.truncate(4096);
        input
    }

    fn change(&mut self, input: &mut Vec<u8>) {
        /// What parsers of ours look for.
        const SPECIAL: &[u8] = b"\0\n\t ,.:/=~!^-+#%[]{}()\"'\\0189afxKMGkmINF@*?\x7f\x80\xc3\xa9\xff";
        let len = input.len();
        match self.below(8) {
            0 if len > 0 => {
                let (at, bit) = (self.below(len), self.below(8));
                input[at] ^= 1 << bit;
            }
            1 if len > 0 => {
                let (at, special) = (self.below(len), self.below(SPECIAL.len()));
                input[at] = SPECIAL[special];
            }
            2 if len > 0 => {
                let from = self.below(len);
                let to = from + self.below((len - from).min(8) + 1);
                input.drain(from..to);
            }
            3 if len > 0 => {
                // Twice, to find what may stand only once.
                let from = self.below(len);
                let to = from + self.below((len - from).min(16) + 1);
                let part = input[from..to].to_vec();
                let at = self.below(len);
                input.splice(at..at, part);
            }
            4 => {
                let other = self.entry();
                let (at, from) = (self.below(len + 1), self.below(other.len() + 1));
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
            5 => {
                let digits = [0, 1, 31, 64, 255, 65_535, 65_536, 1 << 32, 1 << 63, u64::MAX];
                let (which, at) = (self.below(digits.len()), self.below(len + 1));
                input.splice(at..at, digits[which].to_string().into_bytes());
            }
            6 => {
                let byte = self.random().to_le_bytes()[7];
                let at = self.below(len + 1);
                input.insert(at, byte);
            }
            _ => {
                let (at, special) = (self.below(len + 1), self.below(SPECIAL.len()));
                input.insert(at, SPECIAL[special]);
            }
        }
    }
}

fn targets_are_complete() -> Result<(), Failed> {
    let manifest = fs::read_to_string(fuzz_dir().join("Cargo.toml"))?;
    for Target { name, .. } in TARGETS {
        let program = fuzz_dir().join("fuzz_targets").join(format!("{name}.rs"));
        let source = fs::read_to_string(&program).map_err(|e| format!("{}: {e}", program.display()))?;
        if !source.contains(&format!("vserver_fuzz::{name}(data)")) {
            return Err(format!("{} does not call {name}", program.display()).into());
        }
        if !manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"")) {
            return Err(format!("fuzz/Cargo.toml has no [[bin]] for {name}").into());
        }
        corpus_of(name)?;
    }
    for (kind, dir) in [("corpus", "corpus"), ("program", "fuzz_targets")] {
        for entry in fs::read_dir(fuzz_dir().join(dir))? {
            let path = entry?.path();
            let stem = path.file_stem().unwrap_or_default();
            if !TARGETS.iter().any(|target| stem == target.name) {
                return Err(format!("{kind} {} belongs to no target", path.display()).into());
            }
        }
    }
    Ok(())
}

/// The driver itself: a fault three changes away from the corpus is found, and its input is told.
fn a_broken_target_is_noticed() -> Result<(), Failed> {
    fn breaks_on_double_commas(data: &[u8]) {
        assert!(!data.windows(2).any(|pair| pair == b",,"), "fault planted by a_broken_target_is_noticed");
    }
    let corpus = [b"KILL".to_vec()];
    let failure = match feed(breaks_on_double_commas, &corpus, 20_000, 1) {
        Err(failure) => failure.message().unwrap_or_default().to_owned(),
        Ok(()) => return Err("the planted fault was not found".into()),
    };
    if failure.contains(",,") { Ok(()) } else { Err(format!("'{failure}' does not hold the input").into()) }
}
