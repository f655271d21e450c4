//! From what an administrator types to a guest's configuration directory, and all guests there are.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use vserver_config::{NoSuchGuest, Resolved};
use vserver_model::{GuestName, Layout};

use crate::report::Failure;
use crate::running;

/// One guest's configuration directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestDir {
    /// The directory's own name.
    pub name: GuestName,
    /// The directory, absolute.
    pub dir: PathBuf,
}

impl GuestDir {
    /// What `vserver-stat` and the messages call it: the file `name` (its first 1023 bytes without newlines at the
    /// end), else the directory's name.
    pub fn display_name(&self) -> OsString {
        match fs::read(self.dir.join("name")) {
            Ok(mut bytes) => {
                bytes.truncate(1023);
                while bytes.last() == Some(&b'\n') {
                    bytes.pop();
                }
                if bytes.is_empty() { self.name.as_os_str().to_owned() } else { OsString::from_vec(bytes) }
            }
            Err(_) => self.name.as_os_str().to_owned(),
        }
    }

    /// The name for a message.
    pub fn shown(&self) -> String {
        self.name.to_string()
    }

    /// Whether the file or directory exists below the configuration directory.
    pub fn has(&self, item: &str) -> bool {
        self.dir.join(item).symlink_metadata().is_ok()
    }

    /// The first line of a one-value file, without blanks around it; `None`: absent, unreadable or empty.
    pub fn first_line(&self, item: &str) -> Option<String> {
        let bytes = fs::read(self.dir.join(item)).ok()?;
        let line = bytes.split(|b| *b == b'\n').next()?;
        let line = String::from_utf8_lossy(line).trim().to_owned();
        (!line.is_empty()).then_some(line)
    }
}

/// The guest that `typed` names: a path that starts with `/`, `./` or `../`, a name below the configuration
/// directory, or the number of a running context.
///
/// A relative path counts from where the outermost command was started (`INIT_CWD`).
///
/// # Errors
/// [`NoSuchGuest`] says what was looked for.
pub fn find(layout: &Layout, typed: &OsStr) -> Result<GuestDir, NoSuchGuest> {
    let start = std::env::var_os("INIT_CWD").map(PathBuf::from).or_else(|| std::env::current_dir().ok());
    let bad = || NoSuchGuest::BadName(typed.to_owned());
    let resolved = match vserver_config::resolve(layout, typed, &start.unwrap_or_default()) {
        Ok(resolved) => resolved,
        Err(error) => return runs_without_configuration(layout, typed).ok_or(error),
    };
    match resolved {
        Resolved::Guest(dir) => {
            let name = dir.file_name().and_then(|name| GuestName::new(name).ok()).ok_or_else(bad)?;
            // Any directory can be typed as a path; only one with a vdir is a guest's: `delete` must not take /etc.
            if dir.parent() != Some(&layout.confdir) && dir.join("vdir").symlink_metadata().is_err() {
                return Err(NoSuchGuest::Missing { name: typed.to_owned(), dir });
            }
            Ok(GuestDir { name, dir })
        }
        Resolved::MaybeXid(xid) => match running::by_xid(layout, xid) {
            Some(running) => Ok(GuestDir { name: running.name, dir: running.dir }),
            None => Err(NoSuchGuest::Missing { name: typed.to_owned(), dir: layout.confdir.join(typed) }),
        },
    }
}

/// A guest that still runs although its configuration is gone: it can be looked at and stopped by its record.
fn runs_without_configuration(layout: &Layout, typed: &OsStr) -> Option<GuestDir> {
    running::all(layout)
        .into_iter()
        .find(|one| one.name.as_os_str() == typed)
        .map(|one| GuestDir { name: one.name, dir: one.dir })
}

/// Every configured guest in byte order.
pub fn all(layout: &Layout) -> Vec<GuestDir> {
    let names = vserver_config::list_all(layout);
    names.into_iter().map(|name| GuestDir { dir: layout.config_of(&name), name }).collect()
}

/// The failure when `find` found nothing, with the way out.
pub fn not_found(error: NoSuchGuest) -> Failure {
    let hint = error.hint();
    let failure = Failure::of(error);
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}
