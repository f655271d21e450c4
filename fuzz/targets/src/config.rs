//! The parsers of `vserver-config`.

use std::path::Path;

use vserver_config::visible::Origin;
use vserver_config::{Severity, VisibleList, content, fstab};

/// Where the content is said to come from.
const FILE: &str = "/etc/vservers/web1/item";

/// An fstab file.
pub fn fstab_file(data: &[u8]) {
    let mut findings = Vec::new();
    let entries = fstab::parse(Path::new(FILE), data, Severity::Error, &mut findings);
    assert!(findings.len() <= 1, "what follows a bad line is not read");
    if let (Some(bad), Some(last)) = (findings.first(), entries.last()) {
        assert!(last.line < bad.line);
    }
    for entry in entries {
        let line = fstab::format_line(&entry.value);
        let line = line.strip_suffix(b"\n").expect("a line ends with a newline");
        assert_eq!(fstab::parse_line(line), Ok(Some(entry.value)));
    }
}

/// An environment file.
pub fn environment(data: &[u8]) {
    let mut findings = Vec::new();
    let variables = content::variables(Path::new(FILE), data, &mut findings);
    assert!(variables.iter().all(|(name, _)| !name.is_empty()));
    let lines = data.split(|&b| b == b'\n').filter(|line| !line.is_empty()).count();
    assert_eq!(variables.len() + findings.len(), lines, "each line is a variable or a finding");
}

/// The three plain forms of a file.
pub fn plain_content(data: &[u8]) {
    let path = Path::new(FILE);
    let mut findings = Vec::new();
    let scalar = content::scalar(path, data, &mut findings);
    assert_eq!(scalar.is_none(), !findings.is_empty());
    let lines = content::lines(path, data, &mut Vec::new());
    let array = content::array(path, data, &mut Vec::new());
    for item in lines.iter().chain(&array) {
        assert!(item.line > 0 && !item.value.is_empty());
        assert!(!item.value.as_encoded_bytes().contains(&b'\n'));
    }
    let rewritten: Vec<u8> =
        array.iter().flat_map(|i| [i.value.as_encoded_bytes(), b"\n"].concat()).collect();
    let again = content::array(path, &rewritten, &mut Vec::new());
    assert!(again.iter().map(|item| &item.value).eq(array.iter().map(|item| &item.value)));
}

/// A list of `vprocunhide`, asked about some entries.
pub fn visible_list(data: &[u8]) {
    let path = Path::new(FILE);
    let lists = [Origin::Shipped, Origin::Administrator]
        .map(|origin| VisibleList::parse(path, data, origin, &mut Vec::new()));
    let entries = ["/proc/kcore", "/proc/sys", "/proc/sys/dev", "/proc/sys/kernel/ostype", "/proc/uptime"]
        .map(Path::new);
    for list in &lists {
        assert!(list.shows(Path::new("/proc/1/status")) && list.shows(Path::new("/proc/self")));
        for mask in list.masks(entries) {
            assert!(!list.shows(&mask), "only what is hidden is masked");
        }
        assert!(list.directories().contains(Path::new("/proc")));
    }
    assert!(!lists[0].shows(entries[0]), "the shipped list never shows the host's memory");
}
