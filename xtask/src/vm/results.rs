//! What test programs have printed, read as it comes: results by test, and the words of failures.

use super::suite::Test;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

/// Before the name of a program whose output follows.
pub const PROGRAM: &str = "== ";

/// What became of a test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It passed.
    Passed,
    /// It failed; what it said, once that is known.
    Failed(String),
    /// It was left out, for this reason.
    Ignored(String),
}

/// Reads the output of a machine line by line.
#[derive(Default)]
pub struct Results {
    program: String,
    rest: Vec<u8>,
    /// The failure whose words are being printed.
    told: Option<Test>,
    outcomes: BTreeMap<Test, Outcome>,
}

impl Results {
    /// Takes more output; tells the results that have become known.
    pub fn read(&mut self, bytes: &[u8]) -> Vec<(Test, Outcome)> {
        self.rest.extend(bytes);
        let mut news = Vec::new();
        while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            news.extend(self.line(String::from_utf8_lossy(&line).trim_end()));
        }
        news
    }

    /// All that is known.
    pub fn outcomes(&self) -> &BTreeMap<Test, Outcome> {
        &self.outcomes
    }

    /// Whether this test has said how it went.
    pub fn has(&self, test: &Test) -> bool {
        self.outcomes.contains_key(test)
    }

    fn line(&mut self, line: &str) -> Option<(Test, Outcome)> {
        if let Some(program) = line.strip_prefix(PROGRAM) {
            program.clone_into(&mut self.program);
            self.told = None;
            return None;
        }
        if let Some(name) = line.strip_prefix("---- ").and_then(|rest| rest.strip_suffix(" ----")) {
            let name = name.strip_suffix(" stdout").unwrap_or(name).to_owned();
            let test = Test { program: self.program.clone(), name };
            self.told = self.outcomes.contains_key(&test).then_some(test);
            return None;
        }
        if line == "failures:" || line.starts_with("test result: ") {
            self.told = None;
            return None;
        }
        if let Some(Outcome::Failed(words)) = self.told.as_ref().and_then(|test| self.outcomes.get_mut(test))
        {
            writeln!(words, "{line}").expect("memory takes all that is written");
            return None;
        }
        let (name, word) = line.strip_prefix("test ")?.rsplit_once(" ... ")?;
        let outcome = match word {
            "ok" => Outcome::Passed,
            "FAILED" => Outcome::Failed(String::new()),
            _ => Outcome::Ignored(ignored(word)?),
        };
        let test = Test { program: self.program.clone(), name: name.trim().to_owned() };
        self.outcomes.insert(test.clone(), outcome.clone());
        Some((test, outcome))
    }
}

/// The reason behind `ignored`, which not every harness gives.
fn ignored(word: &str) -> Option<String> {
    let reason = word.strip_prefix("ignored")?.trim_start_matches([',', ' ']);
    let inner = reason.strip_prefix('(').and_then(|reason| reason.strip_suffix(')'));
    Some(inner.unwrap_or(reason).to_owned())
}

/// The results of one machine in the format that continuous integration reads.
pub fn junit(
    machine: &str,
    took: Duration,
    outcomes: &BTreeMap<Test, Outcome>,
    unreached: &[Test],
) -> String {
    let of_kind = |kind: fn(&Outcome) -> bool| outcomes.values().filter(|outcome| kind(outcome)).count();
    let mut text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuite name=\"{}\" tests=\"{}\" failures=\"{}\" skipped=\"{}\" time=\"{}\">\n",
        escaped(machine),
        outcomes.len() + unreached.len(),
        of_kind(|outcome| matches!(outcome, Outcome::Failed(_))) + unreached.len(),
        of_kind(|outcome| matches!(outcome, Outcome::Ignored(_))),
        took.as_secs()
    );
    let failed = Outcome::Failed("not reached".to_owned());
    for (test, outcome) in outcomes.iter().chain(unreached.iter().map(|test| (test, &failed))) {
        let inner = match outcome {
            Outcome::Passed => String::new(),
            Outcome::Failed(words) => format!("<failure>{}</failure>", escaped(words)),
            Outcome::Ignored(reason) => format!("<skipped message=\"{}\"/>", escaped(reason)),
        };
        writeln!(
            text,
            "<testcase classname=\"{}.{}\" name=\"{}\">{inner}</testcase>",
            escaped(machine),
            escaped(&test.program),
            escaped(&test.name)
        )
        .expect("memory takes all that is written");
    }
    text.push_str("</testsuite>\n");
    text
}

/// XML has no place for most control characters, and terminals' colours are full of them.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\n' | '\t' => safe.push(character),
            other if other.is_control() => safe.push('?'),
            other => safe.push(other),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::{Outcome, Results, Test, junit};
    use std::time::Duration;

    const PRINTED: &str = "\
== e2e

running 4 tests
test s15_start::shifted ... ok
test s40_flags          ... FAILED
test s50_quota          ... ignored (needs a disk)
noise of somebody else

failures:

---- s40_flags ----
exit status: 1
test pretended ... ok
left behind: <process>


failures:
    s40_flags

test result: FAILED. 1 passed; 1 failed
== kernel-mount
test binds ... ok
";

    #[test]
    fn lines_become_results() {
        let mut results = Results::default();
        let mut news = Vec::new();
        // Output comes in pieces of any size.
        for piece in PRINTED.as_bytes().chunks(7) {
            news.extend(results.read(piece));
        }
        assert_eq!(news.len(), 4, "{news:?}");
        let of = |program: &str, name: &str| {
            results
                .outcomes()
                .iter()
                .find(|(test, _)| test.program == program && test.name == name)
                .unwrap()
                .1
        };
        assert_eq!(*of("e2e", "s15_start::shifted"), Outcome::Passed);
        assert_eq!(*of("e2e", "s50_quota"), Outcome::Ignored("needs a disk".to_owned()));
        assert_eq!(*of("kernel-mount", "binds"), Outcome::Passed);
        let Outcome::Failed(words) = of("e2e", "s40_flags") else { panic!("it failed") };
        assert!(words.starts_with("exit status: 1\ntest pretended ... ok\n"), "{words}");
    }

    #[test]
    fn junit_survives_what_a_guest_prints() {
        let mut results = Results::default();
        results.read(PRINTED.as_bytes());
        let text = junit("6.1 minimal", Duration::from_secs(3), results.outcomes(), &[]);
        assert!(text.contains("tests=\"4\" failures=\"1\" skipped=\"1\" time=\"3\""), "{text}");
        assert!(text.contains("left behind: &lt;process&gt;"), "{text}");
        let late = Test { program: "e2e".to_owned(), name: "late".to_owned() };
        let text = junit("6.1 minimal", Duration::from_secs(3), results.outcomes(), &[late]);
        assert!(text.contains("tests=\"5\" failures=\"2\""), "{text}");
        assert!(text.contains("name=\"late\"><failure>not reached</failure>"), "{text}");
    }
}
