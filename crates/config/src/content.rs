//! The forms of a file's content, as pure functions: a file's bytes to its value or items, each with its line.
//!
//! What cannot be an item (binary, a carriage return at the end of the line) is reported and left out.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::Path;

use vserver_model::Sourced;

use crate::finding::{Finding, Kind};

/// The first line without blanks and tabs around it. An empty one is a value here; most items take it for absent.
/// `None`: reported.
pub fn scalar(file: &Path, content: &[u8], findings: &mut Vec<Finding>) -> Option<Sourced<OsString>> {
    let value = trim(content.split(|&b| b == b'\n').next().unwrap_or_default());
    clean(file, 1, value, findings).then(|| Sourced::new(OsStr::from_bytes(value).to_owned(), file, 1))
}

/// Every line without blanks and tabs around it, but no blank lines and none that begin with `#`. There are no
/// comments behind an item. A last line without newline counts (D3).
pub fn lines(file: &Path, content: &[u8], findings: &mut Vec<Finding>) -> Vec<Sourced<OsString>> {
    items(file, content, findings, |line| Some(trim(line)).filter(|item| !item.is_empty() && item[0] != b'#'))
}

/// Every line as it is, but no empty ones. `#` and wildcards are nothing special (D4).
pub fn array(file: &Path, content: &[u8], findings: &mut Vec<Finding>) -> Vec<Sourced<OsString>> {
    items(file, content, findings, |line| Some(line).filter(|item| !item.is_empty()))
}

/// `VARIABLE=VALUE` of every line that is not empty. A line that is not of this form would become a command in the
/// original; here it is an error.
pub fn variables(file: &Path, content: &[u8], findings: &mut Vec<Finding>) -> Vec<(OsString, OsString)> {
    let mut variables = Vec::new();
    for line in array(file, content, findings) {
        let bytes = line.value.as_bytes();
        match bytes.iter().position(|&b| b == b'=') {
            Some(at) if at > 0 => {
                let (name, value) = (bytes[..at].to_vec(), bytes[at + 1..].to_vec());
                variables.push((OsString::from_vec(name), OsString::from_vec(value)));
            }
            _ => findings.push(
                Finding::error(
                    Kind::Syntax,
                    file,
                    format!("'{}' is not VARIABLE=VALUE", line.value.display()),
                )
                .at(line.line)
                .hint("one variable a line; there are no comments in this file"),
            ),
        }
    }
    variables
}

fn items(
    file: &Path,
    content: &[u8],
    findings: &mut Vec<Finding>,
    item_of: impl Fn(&[u8]) -> Option<&[u8]>,
) -> Vec<Sourced<OsString>> {
    let mut items = Vec::new();
    for (index, line) in content.split(|&b| b == b'\n').enumerate() {
        if let Some(item) = item_of(line)
            && clean(file, number(index), item, findings)
        {
            items.push(Sourced::new(OsStr::from_bytes(item).to_owned(), file, number(index)));
        }
    }
    items
}

/// Whether a value can be one: no NUL (binary file), no carriage return (file from another system).
fn clean(file: &Path, line: u32, value: &[u8], findings: &mut Vec<Finding>) -> bool {
    let finding = if value.contains(&0) {
        Finding::error(Kind::Binary, file, "is binary, not text")
    } else if value.ends_with(b"\r") {
        Finding::error(Kind::BadValue, file, "the line ends with a carriage return")
            .hint("the file has DOS line ends; remove the carriage returns")
    } else {
        return true;
    };
    findings.push(finding.at(line));
    false
}

/// The line number of an index.
pub(crate) fn number(index: usize) -> u32 {
    u32::try_from(index + 1).unwrap_or(u32::MAX)
}

/// Without blanks and tabs at both ends.
pub(crate) fn trim(line: &[u8]) -> &[u8] {
    let blank = |b: &u8| matches!(b, b' ' | b'\t');
    let from = line.iter().position(|b| !blank(b)).unwrap_or(line.len());
    let to = line.iter().rposition(|b| !blank(b)).map_or(from, |at| at + 1);
    &line[from..to]
}
