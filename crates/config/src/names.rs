//! From what was typed to a configuration directory, and which guests there are.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use vserver_model::name::is_backup_name;
use vserver_model::{GuestName, Layout};

use crate::files::Files;

/// What a word on the command line stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolved {
    /// A configuration directory that exists, absolute.
    Guest(PathBuf),
    /// No directory, but a number: the context of a running guest if there is one (D1). The caller asks the run
    /// state, and says [`NoSuchGuest`] if nothing runs with that number.
    MaybeXid(u32),
}

/// Why a word stands for no guest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoSuchGuest {
    /// There is no such directory.
    #[error("no guest named \"{}\": {} does not exist", .name.display(), .dir.display())]
    Missing {
        /// What was typed.
        name: OsString,
        /// The directory that was looked for.
        dir: PathBuf,
    },
    /// A word that no guest can have as its name.
    #[error("\"{}\" cannot be a guest's name", .0.display())]
    BadName(OsString),
    /// The one-file format of before 2003 (D2).
    #[error("{} is in the legacy format of before 2003, which is not supported", .0.display())]
    Legacy(PathBuf),
}

impl NoSuchGuest {
    /// What the administrator can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Missing { dir, .. } => {
                let wanted = dir.file_name()?;
                let near = all_in(dir.parent()?)
                    .into_iter()
                    .find(|known| crate::typo::near(known.as_os_str(), wanted));
                Some(match near {
                    Some(known) => format!("did you mean {known}?"),
                    None => "\"vserver list\" shows the guests that exist".to_owned(),
                })
            }
            Self::BadName(_) => Some("a path to a configuration directory begins with / or ./".to_owned()),
            Self::Legacy(_) => Some("build the guest again and copy its files".to_owned()),
        }
    }
}

/// Finds the configuration directory that `arg` stands for; `cwd` is where the command was typed.
///
/// One trailing slash is ignored. `/x` is that directory, `./x` and `../x` are relative to `cwd`, anything else is a
/// name below the configuration base, or else the number of a running context.
///
/// # Errors
/// [`NoSuchGuest`] says which directory was looked for.
pub fn resolve(layout: &Layout, arg: &OsStr, cwd: &Path) -> Result<Resolved, NoSuchGuest> {
    let bytes = arg.as_bytes();
    let bytes = bytes.strip_suffix(b"/").filter(|rest| !rest.is_empty()).unwrap_or(bytes);
    let word = OsStr::from_bytes(bytes);
    let bad = || NoSuchGuest::BadName(arg.to_owned());
    let (dir, by_name) = if bytes.starts_with(b"/") {
        (PathBuf::from(word), false)
    } else if bytes.starts_with(b"./") || bytes.starts_with(b"../") {
        (cwd.join(word).components().collect(), false)
    } else {
        let name = GuestName::new(word).map_err(|_| bad())?;
        (layout.config_of(&name), true)
    };
    // The last component names the guest everywhere, so there must be one that can.
    GuestName::new(dir.file_name().ok_or_else(bad)?).map_err(|_| bad())?;
    if dir.is_dir() {
        return if dir.join("legacy").exists() {
            Err(NoSuchGuest::Legacy(dir))
        } else {
            Ok(Resolved::Guest(dir))
        };
    }
    let mut old = dir.clone().into_os_string();
    old.push(".conf");
    if Path::new(&old).is_file() {
        return Err(NoSuchGuest::Legacy(old.into()));
    }
    match word.to_str().and_then(decimal) {
        Some(xid) if by_name => Ok(Resolved::MaybeXid(xid)),
        _ => Err(NoSuchGuest::Missing { name: word.to_owned(), dir }),
    }
}

/// A plain decimal number.
fn decimal(text: &str) -> Option<u32> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// Every guest that mass operations mean, in byte order: not disabled, and with a tree that exists.
pub fn list(layout: &Layout) -> Vec<GuestName> {
    let mut names = list_all(layout);
    names.retain(|name| {
        let dir = layout.config_of(name);
        !dir.join("disabled").exists() && dir.join("vdir").is_dir()
    });
    names
}

/// Every guest that is configured, disabled ones and those without a tree as well, in byte order.
pub fn list_all(layout: &Layout) -> Vec<GuestName> {
    all_in(&layout.confdir)
}

fn all_in(confdir: &Path) -> Vec<GuestName> {
    let Ok(entries) = std::fs::read_dir(confdir) else { return Vec::new() };
    let mut names: Vec<GuestName> = entries
        .flatten()
        .map(|entry| entry.file_name())
        .filter(|name| !is_backup_name(name) && name != "CVS")
        .filter(|name| confdir.join(name).is_dir())
        .filter_map(|name| GuestName::new(name).ok())
        .collect();
    names.sort_unstable();
    names
}

/// The groups that a guest is in (`apps/init/mark`), for the boot service.
pub fn marks(layout: &Layout, name: &GuestName) -> Vec<OsString> {
    init_list(layout, name, "mark")
}

/// The guests that must run before this one (`apps/init/depends`), as written.
pub fn depends(layout: &Layout, name: &GuestName) -> Vec<OsString> {
    init_list(layout, name, "depends")
}

fn init_list(layout: &Layout, name: &GuestName, item: &str) -> Vec<OsString> {
    let path = layout.config_of(name).join("apps/init").join(item);
    Files::default().lines(&path).unwrap_or_default().into_iter().map(|line| line.value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn site() -> (tempfile::TempDir, Layout) {
        let dir = tempfile::tempdir().expect("a directory");
        let layout = Layout::under(dir.path()).expect("absolute");
        for name in ["web1", "db", "off", "treeless", ".defaults", "old.rpmsave", "x~", "y.~1~", "CVS", "old"]
        {
            fs::create_dir_all(layout.confdir.join(name)).expect("makes");
        }
        for name in ["web1", "db", "off", "old"] {
            fs::create_dir_all(layout.vdirbase.join(name)).expect("makes");
            std::os::unix::fs::symlink(layout.vdirbase.join(name), layout.confdir.join(name).join("vdir"))
                .expect("links");
        }
        fs::write(layout.confdir.join("off/disabled"), "").expect("writes");
        fs::write(layout.confdir.join("old/legacy"), "").expect("writes");
        fs::write(layout.confdir.join("older.conf"), "").expect("writes");
        (dir, layout)
    }

    #[test]
    fn enumeration_skips_what_it_should() {
        let (_dir, layout) = site();
        let text = |names: Vec<GuestName>| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(text(list(&layout)), ["db", "old", "web1"]);
        assert_eq!(text(list_all(&layout)), ["db", "off", "old", "treeless", "web1"]);
    }

    #[test]
    fn each_form_of_argument() {
        let (_dir, layout) = site();
        let at = |arg: &str| resolve(&layout, OsStr::new(arg), &layout.confdir);
        let web1 = Ok(Resolved::Guest(layout.confdir.join("web1")));
        assert_eq!(at("web1"), web1);
        assert_eq!(at("web1/"), web1);
        assert_eq!(at("./web1"), web1);
        assert_eq!(at("./web1/"), web1);
        assert_eq!(at("./web1/."), web1);
        assert_eq!(at("../vservers/web1"), Ok(Resolved::Guest(layout.confdir.join("../vservers/web1"))));
        assert_eq!(at(layout.confdir.join("web1").to_str().expect("text")), web1);
        assert_eq!(at("105"), Ok(Resolved::MaybeXid(105)));
        assert!(matches!(at("web2"), Err(NoSuchGuest::Missing { .. })));
        assert!(matches!(at("./105"), Err(NoSuchGuest::Missing { .. })));
        for bad in ["", "/", "a/b", ".", "..", "../..", ".defaults", "/tmp/..", "a\nb"] {
            assert!(matches!(at(bad), Err(NoSuchGuest::BadName(_))), "{bad:?}: {:?}", at(bad));
        }
        assert!(matches!(at("old"), Err(NoSuchGuest::Legacy(_))));
        assert!(matches!(at("older"), Err(NoSuchGuest::Legacy(_))));
    }

    #[test]
    fn an_error_says_what_was_looked_for_and_what_is_near() {
        let (_dir, layout) = site();
        let error = resolve(&layout, OsStr::new("web2"), Path::new("/")).expect_err("no such guest");
        let dir = layout.confdir.join("web2");
        assert_eq!(error.to_string(), format!("no guest named \"web2\": {} does not exist", dir.display()));
        assert_eq!(error.hint().as_deref(), Some("did you mean web1?"));
    }

    #[test]
    fn marks_and_depends_are_lists() {
        let (_dir, layout) = site();
        let web1 = GuestName::new("web1").expect("a name");
        let init = layout.config_of(&web1).join("apps/init");
        fs::create_dir_all(&init).expect("makes");
        fs::write(init.join("mark"), "default\n# no\nnight shift\n").expect("writes");
        fs::write(init.join("depends"), "\n db\nnone").expect("writes");
        assert_eq!(marks(&layout, &web1), ["default", "night shift"]);
        assert_eq!(depends(&layout, &web1), ["db", "none"]);
        assert_eq!(marks(&layout, &GuestName::new("db").expect("a name")), [""; 0]);
    }
}
