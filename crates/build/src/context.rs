//! Choosing the context number of a new guest.

use std::path::{Path, PathBuf};

use vserver_model::Xid;
use vserver_model::name::is_backup_name;

use crate::error::{BuildError, Result};
use crate::site::{Site, first_line, write_file};

/// The first number given out when nothing says otherwise.
pub const START: u32 = 40_000;

/// Who uses a number already: another guest's `context` file, or the link of a running context.
///
/// # Errors
/// The configuration directory cannot be listed.
pub fn user_of(site: &Site, xid: Xid, own: &Path) -> Result<Option<PathBuf>> {
    let running = site.layout.rev_link_of(xid);
    if let Ok(config) = std::fs::read_link(&running)
        && config != own
    {
        return Ok(Some(running));
    }
    let entries = match std::fs::read_dir(&site.layout.confdir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(BuildError::file("list", &site.layout.confdir, error)),
    };
    for entry in entries {
        let entry = entry.map_err(|e| BuildError::file("list", &site.layout.confdir, e))?;
        let name = entry.file_name();
        if name.as_encoded_bytes().starts_with(b".") || is_backup_name(&name) || entry.path() == own {
            continue;
        }
        let file = entry.path().join("context");
        // A file that is no number is its guest's trouble, not ours.
        if first_line(&file)?.and_then(|line| line.parse::<Xid>().ok()) == Some(xid) {
            return Ok(Some(file));
        }
    }
    Ok(None)
}

/// The number of a new guest: the one asked for if it is free, none with `context.dynamic`, else the next free one.
///
/// The counter in `context.next` advances even if the build fails later. To be called with the lock held.
///
/// # Errors
/// The number is used, or none is left, or the counter cannot be read or written.
pub fn choose(site: &Site, asked: Option<Xid>, own: &Path) -> Result<Option<Xid>> {
    if let Some(xid) = asked {
        return match user_of(site, xid, own)? {
            Some(by) => Err(BuildError::XidUsed { xid, by }),
            None => Ok(Some(xid)),
        };
    }
    let defaults = &site.layout.defaults;
    if defaults.join("context.dynamic").exists() {
        return Ok(None);
    }
    let counter = defaults.join("context.next");
    let first = match next_of(&counter)? {
        Some(next) => next,
        None => site.shipped("context.start").map_or(Ok(None), |file| next_of(&file))?.unwrap_or(START),
    };
    for raw in first..=vserver_model::xid::LAST {
        let Ok(xid) = Xid::new(raw) else { continue };
        if user_of(site, xid, own)?.is_none() {
            std::fs::create_dir_all(defaults)
                .map_err(|e| BuildError::file("create the directory", defaults, e))?;
            write_file(&counter, format!("{}\n", raw + 1).as_bytes(), 0o644)?;
            return Ok(Some(xid));
        }
    }
    Err(BuildError::NoXidLeft(first))
}

fn next_of(file: &Path) -> Result<Option<u32>> {
    match first_line(file)? {
        None => Ok(None),
        Some(line) => match vserver_model::number::parse_c(&line).and_then(|n| u32::try_from(n).ok()) {
            Some(number) => Ok(Some(number)),
            None => Err(BuildError::BadCounter(file.to_owned())),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interrupt::Interrupt;
    use vserver_model::Layout;

    fn site() -> (tempfile::TempDir, Site) {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::under(dir.path()).unwrap();
        std::fs::create_dir_all(&layout.confdir).unwrap();
        let mut site = Site::from_environment(&layout, Interrupt::default());
        site.layout.sharedirs.clear();
        (dir, site)
    }

    fn guest(site: &Site, name: &str, context: &str) -> PathBuf {
        let dir = site.layout.confdir.join(name);
        std::fs::create_dir(&dir).unwrap();
        std::fs::write(dir.join("context"), context).unwrap();
        dir
    }

    #[test]
    fn counts_up_and_skips_used_numbers() {
        let (_dir, site) = site();
        guest(&site, "a", "40001");
        guest(&site, "b", "junk");
        let own = site.layout.confdir.join("new");
        let next = || choose(&site, None, &own).unwrap().unwrap().get();
        assert_eq!(next(), 40_000);
        assert_eq!(std::fs::read_to_string(site.layout.defaults.join("context.next")).unwrap(), "40001\n");
        assert_eq!(next(), 40_002);
        assert_eq!(next(), 40_003);
        std::fs::write(site.layout.defaults.join("context.next"), "65536\n").unwrap();
        assert!(matches!(choose(&site, None, &own), Err(BuildError::NoXidLeft(65_536))));
        std::fs::write(site.layout.defaults.join("context.next"), "many\n").unwrap();
        assert!(matches!(choose(&site, None, &own), Err(BuildError::BadCounter(_))));
        std::fs::write(site.layout.defaults.join("context.dynamic"), "").unwrap();
        assert_eq!(choose(&site, None, &own).unwrap(), None);
    }

    #[test]
    fn a_used_number_is_refused() {
        let (_dir, site) = site();
        let other = guest(&site, "web1", "0x69\n");
        guest(&site, "old.rpmsave", "106\n");
        let own = site.layout.confdir.join("new");
        let used = choose(&site, Some(Xid::new(105).unwrap()), &own).unwrap_err();
        let file = other.join("context");
        assert_eq!(used.to_string(), format!("context 105 is already in use by {}", file.display()));
        assert!(choose(&site, Some(Xid::new(105).unwrap()), &other).is_ok());
        assert!(choose(&site, Some(Xid::new(106).unwrap()), &own).is_ok());
        std::fs::create_dir_all(&site.layout.revdir).unwrap();
        std::os::unix::fs::symlink("/etc/vservers/x", site.layout.revdir.join("106")).unwrap();
        assert!(choose(&site, Some(Xid::new(106).unwrap()), &own).is_err());
    }
}
