//! Commands that are followed system call by system call, with whatever they fork, so that one of the processes dies
//! at one of them, or the call fails (`programs/assassin.rs`).
//!
//! `E2E_POINTS` says at how many points (a sample, spread over all, with a seed that is printed; `E2E_SEED` gives
//! another one, `random` each time a new one); `all` takes every one, `WHO/NTH` a single one.

use crate::command::{Done, Program};
use crate::probe::rust_program;
use std::fmt;
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const FILE: &str = "/run/e2e/points";
const TOOL: &str = "/run/e2e/bin/vserver";

/// One system call of one process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Point {
    /// The process, by its descent: the command is `0`, its second child `0.2`.
    pub who: String,
    /// Counted from 1 in that process.
    pub nth: u64,
    /// The kernel's number of the call.
    pub call: u64,
}

impl fmt::Display for Point {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{}/{} (system call {})", self.who, self.nth, self.call)
    }
}

/// Processes that run already and are followed as well: what to call each, and its number.
pub type Followed<'a> = &'a [(&'a str, String)];

fn followed_by(followed: Followed<'_>, deed: &[&str], words: &[&str]) -> Done {
    // Makes the link.
    if !Path::new(TOOL).exists() {
        drop(Program::named("vserver").args(&["--version"]).run());
    }
    let mut line: Vec<&str> = vec![FILE];
    for (name, pid) in followed {
        line.extend(["-p", name, pid]);
    }
    line.extend(deed);
    line.extend(["--", TOOL]);
    line.extend(words);
    let program = rust_program("assassin");
    Program::of_host(program.to_str().expect("a path in UTF-8")).args(&line).run()
}

/// Every system call that `vserver WORDS` and its offspring make.
///
/// # Panics
///
/// When the command fails.
pub fn points(followed: Followed<'_>, words: &[&str]) -> Vec<Point> {
    let done = followed_by(followed, &["list"], words);
    assert!(done.exit() < 128, "{done}");
    let text = fs::read_to_string(FILE).expect("just written");
    let point = |line: &str| {
        let mut fields = line.split(' ');
        let mut number = || fields.next().and_then(|field| field.parse().ok());
        let who = line.split(' ').next()?.to_owned();
        number();
        Some(Point { who, nth: number()?, call: number()? })
    };
    text.lines().filter_map(point).collect()
}

/// What came of a run with a point.
pub struct Struck {
    /// The command.
    pub done: Done,
    /// Whether the point was reached: a process does not always make the same calls.
    pub hit: bool,
}

fn struck(done: Done) -> Struck {
    Struck { done, hit: fs::read_to_string(FILE).is_ok_and(|text| text == "hit\n") }
}

/// Runs it, and kills the point's process as it enters the call.
pub fn kill(followed: Followed<'_>, point: &Point, words: &[&str]) -> Struck {
    struck(followed_by(followed, &["kill", &point.who, &point.nth.to_string()], words))
}

/// Runs it, and makes the point's call fail without being made.
pub fn fail(followed: Followed<'_>, point: &Point, errno: i32, words: &[&str]) -> Struck {
    let (nth, errno, call) = (point.nth.to_string(), errno.to_string(), point.call.to_string());
    struck(followed_by(followed, &["fail", &point.who, &nth, &errno, &call], words))
}

/// Numbers that look random, the same ones for the same seed.
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    /// With the seed of `E2E_SEED`, printed: the same each time by default, so that whoever changes something else is
    /// not surprised by it, and another one each time with `random`.
    pub fn new() -> Self {
        let fresh = || {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
            u64::from(now.subsec_nanos()) << 1 | 1
        };
        let seed = match std::env::var("E2E_SEED").as_deref() {
            Ok("random") => fresh(),
            Ok(number) => number.parse().unwrap_or(1),
            Err(_) => 20_261_125,
        };
        eprintln!("== E2E_SEED={seed}");
        Self(seed)
    }

    /// From 0 up to `limit`, without it.
    pub fn below(&mut self, limit: usize) -> usize {
        // Marsaglia's xorshift: a state of zero would stay zero, so seeds are odd.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 8).unwrap_or(0) % limit.max(1)
    }
}

impl Default for Random {
    fn default() -> Self {
        Self::new()
    }
}

/// Whether more points than usual are asked for: then there is no hurry.
pub fn is_long() -> bool {
    std::env::var("E2E_POINTS").is_ok()
}

/// The points to be tried: `usual` of them unless `E2E_POINTS` says otherwise, one out of each of as many equal parts.
///
/// # Panics
///
/// When there are no points, or `E2E_POINTS` is neither a number nor `all` nor a point.
pub fn sample(points: &[Point], usual: usize, random: &mut Random) -> Vec<Point> {
    assert!(!points.is_empty(), "no system call was seen");
    let asked = std::env::var("E2E_POINTS").unwrap_or_else(|_| usual.to_string());
    if let Some((who, nth)) = asked.split_once('/') {
        let nth = nth.parse().expect("E2E_POINTS is a number, `all`, or WHO/NTH");
        return points.iter().filter(|point| point.who == who && point.nth == nth).cloned().collect();
    }
    let count = if asked == "all" {
        points.len()
    } else {
        asked.parse::<usize>().expect("E2E_POINTS is a number, `all`, or WHO/NTH").clamp(1, points.len())
    };
    (0..count)
        .map(|part| {
            let (begin, end) = (part * points.len() / count, (part + 1) * points.len() / count);
            points[begin + random.below(end - begin)].clone()
        })
        .collect()
}
