//! `/etc/sysconfig/NAME` and `/etc/default/NAME`: settings of services, written for a shell.
//!
//! Read without one: `NAME=value` with or without quotes and `export`. What only a shell could tell (`$`, a backtick
//! outside of single quotes) is no value, and said.

use std::path::{Path, PathBuf};

use vserver_model::Layout;

/// The settings of one service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Where they were read; `None`: there is no such file, or it cannot be read.
    pub file: Option<PathBuf>,
    /// Name, value, line. A later one counts.
    values: Vec<(String, String, u32)>,
    /// What could not be read, in words.
    pub problems: Vec<String>,
}

impl Settings {
    /// Reads the first of `/etc/sysconfig/SERVICE` and `/etc/default/SERVICE` that is there.
    pub fn of(layout: &Layout, service: &str) -> Self {
        let etc = layout.confdir.parent().unwrap_or(Path::new("/"));
        for directory in ["sysconfig", "default"] {
            let path = etc.join(directory).join(service);
            match std::fs::read(&path) {
                Ok(content) => return Self::parse(&path, &content),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => {
                    let problems = vec![format!("cannot read {}: {error}", path.display())];
                    return Self { problems, ..Self::default() };
                }
            }
        }
        Self::default()
    }

    /// Reads the content of a file.
    pub fn parse(path: &Path, content: &[u8]) -> Self {
        let text = String::from_utf8_lossy(content);
        let mut settings = Self { file: Some(path.to_owned()), ..Self::default() };
        for (at, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            match assignment(line) {
                Ok((name, value)) => settings.values.push((name.to_owned(), value, at)),
                Err(why) => settings.problems.push(format!("{}:{at}: {why}", path.display())),
            }
        }
        settings
    }

    /// The value, if it is set and not empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.values.iter().rev().find(|(known, ..)| known == name);
        found.map(|(_, value, _)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// The value's words.
    pub fn words(&self, name: &str) -> Vec<String> {
        self.get(name).unwrap_or_default().split_whitespace().map(str::to_owned).collect()
    }

    /// A whole number from 1 on; anything else is told.
    pub fn number(&mut self, name: &str) -> Option<usize> {
        let (_, value, line) = self.values.iter().rev().find(|(known, ..)| known == name)?;
        match value.parse() {
            Ok(number) if number > 0 => Some(number),
            _ if value.is_empty() => None,
            _ => {
                let file = self.file.as_deref().unwrap_or(Path::new("")).display();
                self.problems.push(format!("{file}:{line}: {name}={value} is not a number from 1 on"));
                None
            }
        }
    }
}

fn assignment(line: &str) -> Result<(&str, String), &'static str> {
    const NO: &str = "is not NAME=value";
    let line = line.strip_prefix("export ").map_or(line, str::trim_start);
    let (name, rest) = line.split_once('=').ok_or(NO)?;
    let letter = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty() || !name.chars().all(letter) || name.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(NO);
    }
    Ok((name, value(rest)?))
}

/// One word of a shell: quotes are taken away, and whatever stands behind it must be a comment.
fn value(text: &str) -> Result<String, &'static str> {
    const SHELL: &str = "needs a shell to tell its value: write the value itself";
    let mut value = String::new();
    let mut quote = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, quote) {
            ('\'' | '"', None) => quote = Some(c),
            (c, Some(open)) if c == open => quote = None,
            ('\\', None | Some('"')) => value.push(chars.next().ok_or("ends with a backslash")?),
            ('$' | '`', None | Some('"')) | (';' | '&' | '|' | '<' | '>' | '(' | ')', None) => {
                return Err(SHELL);
            }
            (c, None) if c.is_whitespace() => {
                let rest = chars.as_str().trim_start();
                return if rest.is_empty() || rest.starts_with('#') { Ok(value) } else { Err(SHELL) };
            }
            (c, _) => value.push(c),
        }
    }
    if quote.is_some() { Err("has a quote without an end") } else { Ok(value) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Settings {
        Settings::parse(Path::new("/etc/default/x"), text.as_bytes())
    }

    #[test]
    fn what_a_shell_would_read() {
        let mut settings = read(
            "# MARKS=no\nMARKS=\"default night\"  # two\nexport STARTALL='yes'\nNUMPARALLEL=4\nEMPTY=\nA=\"x\\\"y\"'z'\n\
             MARKS='default late'\n",
        );
        assert_eq!(settings.problems, [""; 0]);
        assert_eq!(settings.words("MARKS"), ["default", "late"]);
        assert_eq!(settings.get("STARTALL"), Some("yes"));
        assert_eq!(settings.number("NUMPARALLEL"), Some(4));
        assert_eq!((settings.get("EMPTY"), settings.get("NONE")), (None, None));
        assert_eq!(settings.get("A"), Some("x\"yz"));
        assert_eq!(settings.number("NONE"), None);
    }

    #[test]
    fn what_only_a_shell_could_tell_is_said() {
        let mut settings = read("A=$(date)\nB=\"`x`\"\nC='$5'\nif true\nD=\"open\nE=1 rm\nN=many\n");
        assert_eq!(settings.get("C"), Some("$5"));
        assert_eq!(settings.number("N"), None);
        assert_eq!(settings.problems.len(), 6);
        assert_eq!(settings.problems[2], "/etc/default/x:4: is not NAME=value");
        assert_eq!(settings.problems[5], "/etc/default/x:7: N=many is not a number from 1 on");
    }

    proptest! {
        #[test]
        fn quoted_text_comes_back(text in "[^'\n\r]{0,20}") {
            prop_assert_eq!(value(&format!("'{text}'")), Ok(text));
        }

        #[test]
        fn anything_is_survived(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            drop(Settings::parse(Path::new("x"), &bytes));
        }
    }
}
