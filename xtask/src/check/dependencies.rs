//! Every dependency has a licence that goes with ours and comes from the public registry.

use crate::shell::{Outcome, cargo};
use serde_json::Value;

/// Licences that ask for nothing more than a notice (MPL-2.0: file by file, and we change none of those files).
const ALLOWED: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "ISC",
    "MIT",
    "MIT-0",
    "MPL-2.0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
    "bzip2-1.0.6",
];

/// The kind of machine we run on; nothing else is supported.
const HOST: &str =
    if cfg!(target_arch = "aarch64") { "aarch64-unknown-linux-gnu" } else { "x86_64-unknown-linux-gnu" };

/// The registry that cargo uses by itself.
const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// Asks cargo, without a network, for all packages that a build can use.
pub fn check() -> Outcome {
    let mut wrong = Vec::new();
    for package in metadata(&[])?["packages"].as_array().ok_or("cargo metadata names no packages")? {
        let name = package["name"].as_str().unwrap_or("?");
        match package["source"].as_str() {
            None | Some(REGISTRY) => {}
            Some(other) => wrong.push(format!("{name} comes from {other}")),
        }
        match package["license"].as_str() {
            None => wrong.push(format!("{name} names no licence")),
            Some(terms) if !allows(terms) => wrong.push(format!("{name} has the licence {terms}")),
            Some(_) => {}
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
}

/// What cargo knows of the workspace and its dependencies.
pub fn metadata(more: &[&str]) -> Result<Value, String> {
    let mut command = cargo(&["metadata", "--format-version", "1", "--locked", "--offline"]);
    // Without a platform cargo wants the sources of what only other systems use.
    command.args(["--filter-platform", HOST]);
    let output = command.args(more).output().map_err(|error| format!("cargo metadata: {error}"))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    serde_json::from_slice(&output.stdout).map_err(|error| format!("cargo metadata: {error}"))
}

/// Whether one of the alternatives of a licence expression is made of allowed licences only.
///
/// SPDX expressions as crates write them: `A OR B`, `A/B` (old form), `A AND B`, and parentheses.
fn allows(terms: &str) -> bool {
    let terms = terms.replace('/', " OR ");
    let mut words = Words(terms.replace('(', " ( ").replace(')', " ) "));
    words.any_of() && words.0.trim().is_empty()
}

/// What is left to read of an expression.
struct Words(String);

impl Words {
    fn peek(&self) -> &str {
        self.0.split_whitespace().next().unwrap_or("")
    }

    fn take(&mut self) -> String {
        let word = self.peek().to_owned();
        let rest = self.0.trim_start()[word.len()..].to_owned();
        self.0 = rest;
        word
    }

    fn any_of(&mut self) -> bool {
        let mut good = self.all_of();
        while self.peek() == "OR" {
            self.take();
            good |= self.all_of();
        }
        good
    }

    fn all_of(&mut self) -> bool {
        let mut good = self.one();
        while self.peek() == "AND" {
            self.take();
            good &= self.one();
        }
        good
    }

    fn one(&mut self) -> bool {
        let mut licence = self.take();
        if licence == "(" {
            let good = self.any_of();
            return self.take() == ")" && good;
        }
        if self.peek() == "WITH" {
            self.take();
            licence = format!("{licence} WITH {}", self.take());
        }
        ALLOWED.contains(&licence.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::allows;

    #[test]
    fn one_good_alternative_is_enough() {
        for terms in [
            "MIT",
            "MIT OR GPL-2.0",
            "Unlicense/MIT",
            "GPL-3.0 OR (MIT AND ISC)",
            "(MIT OR GPL-2.0) AND Zlib",
        ] {
            assert!(allows(terms), "{terms}");
        }
    }

    #[test]
    fn every_joined_licence_must_be_good() {
        for terms in
            ["GPL-2.0", "MIT AND GPL-2.0", "", "(MIT", "MIT)", "Apache-2.0 WITH Something", "MIT ISC"]
        {
            assert!(!allows(terms), "{terms}");
        }
    }
}
