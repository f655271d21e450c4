//! `systemd-vserver-generator`: makes systemd know which guests belong to which mark, and what depends on what.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use vserver_model::{GuestName, Layout};

use crate::guests;
use crate::report::{Exit, Failure};
use crate::select;
use crate::table::{Call, Command, Complete, Reading};

/// The table entry.
pub static COMMAND: Command = Command {
    name: "systemd-vserver-generator",
    summary: "tells systemd which guests have which mark and what they depend on",
    synopsis: &["NORMAL [EARLY LATE]"],
    options: &[],
    manual: &[
        "systemd calls it at boot and at each daemon-reload; it only writes below the directory NORMAL. For each mark \
         in apps/init/mark the guest's unit vserver@NAME.service is wanted by vserver-mark@MARK.target; each guest in \
         apps/init/depends is required by the unit, and the unit comes after it (and stops before it). Disabled \
         guests are left out.",
        "Names are escaped as systemd-escape(1) does it.",
        "Nothing is started by this alone: vservers.service starts the guests at boot. Who wants one unit a guest \
         instead disables it and enables vserver-mark@default.target.",
    ],
    exits: &[("0", "done"), ("64", "wrong use"), ("71", "a file could not be written")],
    examples: &[("systemctl enable vserver-mark@default.target", "start each marked guest by its own unit")],
    error_code: 64,
    reading: Reading::Passed,
    operand: Complete::Path,
    run,
};

fn run(call: &mut Call) -> Result<Exit, Failure> {
    let words = call.take_operands();
    let ([normal] | [normal, _, _]) = words.as_slice() else {
        return Err(Failure::plain("called by systemd, with one or three directories").code(64));
    };
    let mut layout = call.layout.clone();
    if let Some(dir) = std::env::var_os("X_UTIL_VSERVER_CONFDIR") {
        layout.confdir = dir.into();
    }
    generate(&layout, Path::new(normal)).map_err(|(path, error)| {
        Failure::because(format!("cannot write {}", path.display()), error).code(71)
    })?;
    Ok(Exit::OK)
}

fn generate(layout: &Layout, normal: &Path) -> Result<(), (PathBuf, io::Error)> {
    for guest in guests::all(layout).iter().filter(|guest| select::is_for_many(guest)) {
        let unit = unit_of(&guest.name);
        for mark in vserver_config::marks(layout, &guest.name) {
            let wants = normal.join(format!("vserver-mark@{}.target.wants", escape(&mark)));
            link("vserver@.service", &wants.join(&unit))?;
        }
        let depends = vserver_config::depends(layout, &guest.name);
        let known = depends.iter().filter_map(|other| GuestName::new(other).ok());
        let others: Vec<String> =
            known.filter(|other| layout.config_of(other).is_dir()).map(|other| unit_of(&other)).collect();
        if !others.is_empty() {
            let others = others.join(" ");
            // A percent sign is systemd's own in a unit file.
            let text = format!("[Unit]\nRequires={others}\nAfter={others}\n").replace('%', "%%");
            let path = normal.join(format!("{unit}.d")).join("50-depends.conf");
            write(&path, &text).map_err(|error| (path, error))?;
        }
    }
    Ok(())
}

fn link(target: &str, path: &Path) -> Result<(), (PathBuf, io::Error)> {
    let made = path
        .parent()
        .map_or(Ok(()), fs::create_dir_all)
        .and_then(|()| symlink(Path::new("/usr/lib/systemd/system").join(target), path));
    match made {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err((path.to_owned(), error)),
        _ => Ok(()),
    }
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    path.parent().map_or(Ok(()), fs::create_dir_all)?;
    fs::write(path, text)
}

fn unit_of(name: &GuestName) -> String {
    format!("vserver@{}.service", escape(name.as_os_str()))
}

/// As `systemd-escape`: letters, digits, `:`, `_` and a dot that is not the first stay, a slash is `-`, everything else
/// `\xHH`.
pub fn escape(text: &OsStr) -> String {
    let mut escaped = String::new();
    for (at, &byte) in text.as_bytes().iter().enumerate() {
        match byte {
            b'/' => escaped.push('-'),
            b'.' if at > 0 => escaped.push('.'),
            byte if byte.is_ascii_alphanumeric() || matches!(byte, b':' | b'_') => escaped.push(byte.into()),
            byte => write!(escaped, "\\x{byte:02x}").expect("a String takes all"),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsString;

    #[test]
    fn names_are_escaped_as_systemd_does_it() {
        for (name, escaped) in [
            ("web1", "web1"),
            ("a-b", "a\\x2db"),
            (".x.y", "\\x2ex.y"),
            ("night shift", "night\\x20shift"),
            ("ü", "\\xc3\\xbc"),
            ("a/b", "a-b"),
        ] {
            assert_eq!(escape(OsStr::new(name)), escaped);
        }
    }

    #[test]
    fn marks_and_dependencies_become_links_and_drop_ins() {
        let dir = tempfile::tempdir().expect("a directory");
        let layout = Layout::under(dir.path()).expect("absolute");
        for (name, depends, disabled) in
            [("web-1", "db\nnone\n", false), ("db", "", false), ("off", "", true)]
        {
            let init = layout.confdir.join(name).join("apps/init");
            fs::create_dir_all(&init).expect("makes");
            symlink("/vservers", layout.confdir.join(name).join("vdir")).expect("links");
            fs::write(init.join("mark"), "default\n").expect("writes");
            fs::write(init.join("depends"), depends).expect("writes");
            if disabled {
                fs::write(layout.confdir.join(name).join("disabled"), "").expect("writes");
            }
        }
        let normal = dir.path().join("units");
        generate(&layout, &normal).expect("writes");
        generate(&layout, &normal).expect("may be called again");
        let wants = normal.join("vserver-mark@default.target.wants");
        let mut names: Vec<OsString> =
            fs::read_dir(&wants).expect("made").map(|entry| entry.expect("there").file_name()).collect();
        names.sort();
        assert_eq!(names, ["vserver@db.service", "vserver@web\\x2d1.service"]);
        let text =
            fs::read_to_string(normal.join("vserver@web\\x2d1.service.d/50-depends.conf")).expect("made");
        assert_eq!(text, "[Unit]\nRequires=vserver@db.service\nAfter=vserver@db.service\n");
    }
}
