//! The form of CHANGELOG.md: it is read by administrators before an upgrade, so it must be easy to scan.

use crate::shell::{Outcome, workspace};
use std::fs;

/// Headings that an entry may stand under, in the order in which they must come.
const KINDS: &[&str] = &["Security", "Changed", "Added", "Fixed", "Removed"];

/// Reads the file and reports every line that is out of form.
pub fn check() -> Outcome {
    let path = workspace().join("CHANGELOG.md");
    let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let wrong = complaints(&text);
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
}

fn complaints(text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut last_kind: Option<usize> = None;
    let mut releases = 0;
    for (number, line) in text.lines().enumerate() {
        let mut complain = |what: &str| wrong.push(format!("CHANGELOG.md:{}: {what}", number + 1));
        if let Some(release) = line.strip_prefix("## ") {
            releases += 1;
            last_kind = None;
            if release != "Unreleased" && !is_release(release) {
                complain("a release reads `## 1.2.3 - 2026-01-31` or `## Unreleased`");
            }
        } else if let Some(kind) = line.strip_prefix("### ") {
            match KINDS.iter().position(|known| *known == kind) {
                None => complain("no such kind of change"),
                here if here <= last_kind => {
                    complain("kinds come in the order Security, Changed, Added, Fixed, Removed");
                }
                here => last_kind = here,
            }
        } else if line.starts_with("- ") && last_kind.is_none() {
            complain("an entry stands under a kind of change");
        } else if line.chars().count() > 120 {
            complain("longer than 120 columns");
        }
    }
    if releases == 0 {
        wrong.push("CHANGELOG.md: no release".into());
    }
    wrong
}

fn is_release(heading: &str) -> bool {
    let Some((version, date)) = heading.split_once(" - ") else { return false };
    let numbers = |text: &str, by: char, lengths: Option<[usize; 3]>| {
        let parts: Vec<&str> = text.split(by).collect();
        parts.len() == 3
            && parts.iter().enumerate().all(|(at, part)| {
                part.parse::<u32>().is_ok() && lengths.is_none_or(|lengths| lengths[at] == part.len())
            })
    };
    numbers(version, '.', None) && numbers(date, '-', Some([4, 2, 2]))
}

#[cfg(test)]
mod tests {
    use super::complaints;

    #[test]
    fn good_form_passes() {
        let text = "# Changelog\n\n## Unreleased\n\n### Added\n- This.\n\n## 0.1.0 - 2026-01-31\n\n### Security\n- That.\n";
        assert_eq!(complaints(text), Vec::<String>::new());
    }

    #[test]
    fn each_flaw_is_named_with_its_line() {
        let text = "## yesterday\n- loose\n### Fixed\n### Added\n### Nonsense\n";
        let wrong = complaints(text);
        assert_eq!(wrong.len(), 4, "{wrong:?}");
        assert!(wrong[0].starts_with("CHANGELOG.md:1:"));
        assert!(wrong[3].starts_with("CHANGELOG.md:5:"));
    }
}
