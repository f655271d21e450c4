//! ar, as far as Debian packages use it: short names, no table.

use std::io::Read;

use super::{Fault, fill, skip};

/// The first bytes of every ar archive.
const MAGIC: &[u8; 8] = b"!<arch>\n";

/// Passes over members until one whose name `wanted` accepts; gives its name and leaves the input at its data, which
/// is as long as the second value says.
///
/// # Errors
/// It is no ar archive, or has no such member.
pub fn find(input: &mut impl Read, wanted: &dyn Fn(&str) -> bool) -> Result<(String, u64), Fault> {
    let mut magic = [0_u8; 8];
    fill(input, &mut magic)?;
    if &magic != MAGIC {
        return Err(Fault::UnknownFormat);
    }
    loop {
        // Name 16, time 12, owner 6, group 6, mode 8, size 10, end 2.
        let mut header = [0_u8; 60];
        fill(input, &mut header)?;
        let wrong = Fault::Corrupt("a header makes no sense");
        if &header[58..] != b"`\n" {
            return Err(wrong);
        }
        let field = |from: usize, to: usize| String::from_utf8_lossy(&header[from..to]).trim().to_owned();
        let Ok(size) = field(48, 58).parse::<u64>() else { return Err(wrong) };
        // System V ends names with a slash.
        let name = field(0, 16).trim_end_matches('/').to_owned();
        if wanted(&name) {
            return Ok((name, size));
        }
        skip(input, size.saturating_add(size % 2))?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Cursor;

    fn member(name: &str, data: &str) -> String {
        let pad = if data.len() % 2 == 1 { "\n" } else { "" };
        format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n{data}{pad}", 0, 0, 0, 100_644, data.len())
    }

    #[test]
    fn finds_a_member() {
        let archive =
            ["!<arch>\n", &member("debian-binary", "2.0\n"), &member("data.tar.xz/", "abc")].concat();
        let mut input = Cursor::new(archive.into_bytes());
        assert_eq!(
            find(&mut input, &|name| name.starts_with("data.tar")).unwrap(),
            ("data.tar.xz".to_owned(), 3)
        );
        let mut data = String::new();
        input.take(3).read_to_string(&mut data).unwrap();
        assert_eq!(data, "abc");
        assert!(find(&mut Cursor::new("no archive"), &|_| true).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_panic(rest: Vec<u8>) {
            let bytes = [&MAGIC[..], &rest].concat();
            drop(find(&mut Cursor::new(bytes), &|_| false));
        }
    }
}
