//! The fstab files of a guest: a line to an [`FstabEntry`], its options sorted out, and back.
//!
//! The form is that of fstab(5) with two differences: four fields are enough, and the target is a path inside the
//! guest. Octal escapes are decoded (D19), option names match as whole words (D20).

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use vserver_model::Sourced;

use crate::finding::{Finding, Kind, Severity};
use crate::guest::{Atime, Bind, FstabEntry, MountOptions, MountPropagation};

/// Parses the whole of an fstab file.
///
/// A line with fewer than four fields is a syntax error: it is reported with `on_error` as its severity and what
/// follows it is not read, as the original does (a half-written file must not mount half of what it says).
/// Entries of type `swap` are left out.
pub fn parse(
    file: &Path,
    content: &[u8],
    on_error: Severity,
    findings: &mut Vec<Finding>,
) -> Vec<Sourced<FstabEntry>> {
    let mut entries = Vec::new();
    for (index, line) in content.split(|&b| b == b'\n').enumerate() {
        let number = u32::try_from(index + 1).unwrap_or(u32::MAX);
        match parse_line(line) {
            Ok(None) => {}
            Ok(Some(entry)) => entries.push(Sourced { value: entry, file: file.to_path_buf(), line: number }),
            Err(Bad { column, message }) => {
                findings.push(
                    Finding::new(on_error, Kind::Syntax, file, message)
                        .at(number)
                        .column(column)
                        .hint("a line is SOURCE TARGET TYPE OPTIONS; lines after this one were not read"),
                );
                break;
            }
        }
    }
    entries
}

/// What is wrong with a line, and where in it.
#[derive(Debug, PartialEq, Eq)]
pub struct Bad {
    /// Column from 1.
    pub column: u32,
    /// The fact.
    pub message: String,
}

/// One line without its newline. `None`: blank, a comment, or swap space.
pub fn parse_line(line: &[u8]) -> Result<Option<FstabEntry>, Bad> {
    let fields = split(line);
    match fields.first() {
        None => return Ok(None),
        Some((_, word)) if word.starts_with(b"#") => return Ok(None),
        Some(_) => {}
    }
    let [source, target, fstype, options, rest @ ..] = fields.as_slice() else {
        let end = line.iter().rposition(|b| !is_blank(*b)).map_or(0, |at| at + 1);
        return Err(Bad {
            column: column(end),
            message: format!("syntax error: {} of 4 fields", fields.len()),
        });
    };
    let fstype_text = text(*fstype, "type")?;
    let options_text = text(*options, "options")?;
    if fstype_text == "swap" {
        return Ok(None);
    }
    let fstype_name = (fstype_text != "none").then(|| fstype_text.to_owned());
    Ok(Some(FstabEntry {
        source: decode(*source)?,
        target: PathBuf::from(decode(*target)?),
        options: parse_options(fstype_name.as_deref(), options_text),
        fstype: fstype_name,
        options_text: options_text.to_owned(),
        pass: rest.get(1).and_then(|(_, word)| std::str::from_utf8(word).ok()?.parse().ok()).unwrap_or(0),
    }))
}

/// The fields of a line with the offset of each.
fn split(line: &[u8]) -> Vec<(usize, &[u8])> {
    let mut fields = Vec::new();
    let mut start = None;
    for (at, &byte) in line.iter().enumerate() {
        match (start, is_blank(byte)) {
            (None, false) => start = Some(at),
            (Some(from), true) => {
                fields.push((from, &line[from..at]));
                start = None;
            }
            _ => {}
        }
    }
    if let Some(from) = start {
        fields.push((from, &line[from..]));
    }
    fields
}

/// What separates fields. A carriage return counts, so that a file from elsewhere mounts what it says.
fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | 0x0b | 0x0c)
}

fn column(offset: usize) -> u32 {
    u32::try_from(offset + 1).unwrap_or(u32::MAX)
}

fn text<'a>((at, word): (usize, &'a [u8]), what: &str) -> Result<&'a str, Bad> {
    match std::str::from_utf8(word) {
        Ok(text) if !text.contains('\0') => Ok(text),
        _ => Err(Bad { column: column(at), message: format!("syntax error: the {what} field is not text") }),
    }
}

/// Decodes `\ooo`. A backslash without three octal digits stands for itself, as in the C library.
fn decode((at, word): (usize, &[u8])) -> Result<OsString, Bad> {
    let mut out = Vec::with_capacity(word.len());
    let mut rest = word;
    while let Some((&byte, tail)) = rest.split_first() {
        let octal = match tail {
            [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', ..] if byte == b'\\' => {
                Some((a - b'0') * 64 + (b - b'0') * 8 + (c - b'0'))
            }
            _ => None,
        };
        out.push(octal.unwrap_or(byte));
        rest = if octal.is_some() { &tail[3..] } else { tail };
    }
    if out.contains(&0) {
        return Err(Bad {
            column: column(at),
            message: "syntax error: a path cannot hold a NUL byte".into(),
        });
    }
    Ok(OsString::from_vec(out))
}

/// Writes blanks, newlines, backslashes and a leading `#` as octal escapes.
fn encode(word: &OsStr, out: &mut Vec<u8>) {
    for (at, &byte) in word.as_bytes().iter().enumerate() {
        if is_blank(byte) || byte == b'\n' || byte == b'\\' || (at == 0 && byte == b'#') {
            let mut escape = String::new();
            write!(escape, "\\{byte:03o}").expect("writing to a string does not fail");
            out.extend_from_slice(escape.as_bytes());
        } else {
            out.push(byte);
        }
    }
}

/// An entry as a line with its newline; [`parse_line`] gives the same entry back.
pub fn format_line(entry: &FstabEntry) -> Vec<u8> {
    let mut out = Vec::new();
    encode(&entry.source, &mut out);
    out.push(b'\t');
    encode(entry.target.as_os_str(), &mut out);
    let fstype = entry.fstype.as_deref().unwrap_or("none");
    out.extend_from_slice(format!("\t{fstype}\t{}\t0 {}\n", entry.options_text, entry.pass).as_bytes());
    out
}

/// Sorts out the options of a line. `fstype` decides whether `nodev` is the default (all types but devpts).
pub fn parse_options(fstype: Option<&str>, options: &str) -> MountOptions {
    let mut to = MountOptions { nodev: fstype != Some("devpts"), ..MountOptions::default() };
    let mut recursive = false;
    for word in options.split(',').filter(|word| !word.is_empty()) {
        match word {
            "defaults" => {
                to.read_only = false;
                to.nosuid = false;
                to.noexec = false;
                to.sync = false;
                to.nodev = true;
            }
            "bind" => to.bind = Some(Bind::Single),
            "rbind" => to.bind = Some(Bind::Recursive),
            "move" => to.move_mount = true,
            "remount" => to.remount = true,
            "sync" => to.sync = true,
            "async" => to.sync = false,
            "dirsync" => to.dirsync = true,
            "ro" => to.read_only = true,
            "rw" => to.read_only = false,
            "nodev" => to.nodev = true,
            "dev" => to.nodev = false,
            "noexec" => to.noexec = true,
            "exec" => to.noexec = false,
            "nosuid" => to.nosuid = true,
            "suid" => to.nosuid = false,
            "user" | "users" => {
                to.noexec = true;
                to.nosuid = true;
                to.nodev = true;
            }
            // mount(8) gives these two meanings to options that vserver, always run by root, has no use for.
            "owner" | "group" => {
                to.nosuid = true;
                to.nodev = true;
            }
            "mand" | "mandlock" => to.mandlock = true,
            "nomand" => to.mandlock = false,
            "lazytime" => to.lazytime = true,
            "nolazytime" => to.lazytime = false,
            "noatime" => to.atime = Atime::Noatime,
            "atime" | "norelatime" | "nostrictatime" => to.atime = Atime::Default,
            "relatime" => to.atime = Atime::Relatime,
            "strictatime" => to.atime = Atime::Strictatime,
            "nodiratime" => to.nodiratime = true,
            "diratime" => to.nodiratime = false,
            "noauto" => to.noauto = true,
            "auto" => to.noauto = false,
            "nofail" => to.nofail = true,
            "nomtab" => to.nomtab = true,
            "rec" => recursive = true,
            "nouser" | "nousers" | "nogroup" | "noowner" | "_netdev" | "silent" | "loud" => {}
            _ => {
                if let Some(propagation) = propagation(word) {
                    to.propagation = Some(propagation);
                } else if word.starts_with("x-") || word.starts_with("X-") {
                    to.extensions.push(word.to_owned());
                } else if !word.starts_with("comment=") {
                    to.data.push(word.to_owned());
                }
            }
        }
    }
    if recursive {
        if to.bind.is_some() {
            to.bind = Some(Bind::Recursive);
        }
        to.propagation = to.propagation.map(|(kind, _)| (kind, true));
    }
    to
}

/// A propagation word and whether it is recursive.
fn propagation(word: &str) -> Option<(MountPropagation, bool)> {
    Some(match word {
        "shared" => (MountPropagation::Shared, false),
        "rshared" => (MountPropagation::Shared, true),
        "slave" => (MountPropagation::Slave, false),
        "rslave" => (MountPropagation::Slave, true),
        "private" => (MountPropagation::Private, false),
        "rprivate" => (MountPropagation::Private, true),
        "unbindable" => (MountPropagation::Unbindable, false),
        "runbindable" => (MountPropagation::Unbindable, true),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry(line: &str) -> FstabEntry {
        parse_line(line.as_bytes()).expect("parses").expect("an entry")
    }

    #[test]
    fn the_default_fstab_reads_as_it_should() {
        let content = b"none\t/proc\tproc\tdefaults\t0 0\nnone\t/tmp\ttmpfs\tsize=16m,mode=1777\t0 0\n\
            none\t/dev/pts\tdevpts\tgid=5,mode=620\t0 0\n";
        let mut findings = Vec::new();
        let entries = parse(Path::new("/f"), content, Severity::Error, &mut findings);
        assert_eq!(findings, []);
        assert_eq!(entries.len(), 3);
        assert_eq!(entries[1].line, 2);
        assert_eq!(entries[1].value.options.data, ["size=16m", "mode=1777"]);
        assert!(entries[0].value.options.nodev && entries[1].value.options.nodev);
        assert!(!entries[2].value.options.nodev, "devpts holds devices");
    }

    #[test]
    fn blanks_comments_swap_and_a_missing_newline() {
        let content = b"\n  \t\n# a\n   # b\n/dev/sda1 none swap sw 0 0\n  /srv /srv none bind";
        let mut findings = Vec::new();
        let entries = parse(Path::new("/f"), content, Severity::Error, &mut findings);
        assert_eq!(findings, []);
        assert_eq!(entries.len(), 1);
        assert_eq!(entries[0].line, 6);
        assert_eq!(entries[0].value.fstype, None);
        assert_eq!(entries[0].value.options.bind, Some(Bind::Single));
    }

    #[test]
    fn too_few_fields_stop_the_file() {
        let mut findings = Vec::new();
        let entries = parse(
            Path::new("/f"),
            b"a /b none bind\nc /d none\ne /f none bind\n",
            Severity::Error,
            &mut findings,
        );
        assert_eq!(entries.len(), 1);
        assert_eq!(findings.len(), 1);
        assert!(
            findings[0].to_string().starts_with("/f:2:10: error: syntax error: 3 of 4 fields"),
            "{}",
            findings[0]
        );
    }

    #[test]
    fn octal_escapes_are_decoded() {
        let entry = entry(r"/srv/a\040b\134x /mnt\011c none bind 0 2");
        assert_eq!(entry.source, r"/srv/a b\x");
        assert_eq!(entry.target, Path::new("/mnt\tc"));
        assert_eq!(entry.pass, 2);
        assert_eq!(super::tests::entry(r"\04 /x\9 none bind").source, r"\04");
        assert!(parse_line(br"/a\000b /c none bind").is_err());
    }

    #[test]
    fn options_match_as_whole_words() {
        let with = |text: &str| parse_options(Some("ext4"), text);
        assert_eq!(with("r").data, ["r"]);
        assert_eq!(with("s,us").data, ["s", "us"]);
        assert!(with("user").noexec && with("user").nosuid && with("user").nodev);
        assert_eq!(with("relatime").atime, Atime::Relatime);
        assert!(with("lazytime,nofail").lazytime && with("lazytime,nofail").nofail);
        assert!(!with("dev").nodev);
        assert!(with("dev,defaults").nodev);
        assert!(parse_options(Some("devpts"), "defaults").nodev, "as the original does");
        let plain = with("ro,nosuid,noexec,sync,defaults");
        assert!(!plain.read_only && !plain.nosuid && !plain.noexec && !plain.sync);
        assert_eq!(with("rslave").propagation, Some((MountPropagation::Slave, true)));
        assert_eq!(with("private,rec").propagation, Some((MountPropagation::Private, true)));
        assert_eq!(with("bind,rec").bind, Some(Bind::Recursive));
        assert_eq!(with("x-systemd.automount,X-mount.mkdir,_netdev,errors=remount-ro").extensions.len(), 2);
        assert_eq!(with("x-a,errors=remount-ro").data, ["errors=remount-ro"]);
    }

    proptest! {
        #[test]
        fn any_bytes_parse_without_panic(content in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut findings = Vec::new();
            parse(Path::new("/f"), &content, Severity::Error, &mut findings);
        }

        #[test]
        fn an_entry_survives_being_written(
            source in "[^\\x00\n]{1,20}", target in "/[^\\x00\n]{0,20}",
            fstype in "[a-z]{3,8}", options in "[a-z=,0-9]{1,30}", pass in 0u32..3,
        ) {
            prop_assume!(fstype != "swap");
            let entry = FstabEntry {
                source: source.into(),
                target: target.into(),
                options: parse_options((fstype != "none").then_some(fstype.as_str()), &options),
                fstype: (fstype != "none").then_some(fstype),
                options_text: options,
                pass,
            };
            let line = format_line(&entry);
            let back = parse_line(line.strip_suffix(b"\n").expect("ends with a newline"));
            prop_assert_eq!(back, Ok(Some(entry)));
        }
    }
}
