//! Every file below a guest's directory, against the table of items: which are carried without effect, which no item
//! covers, which do not end on a newline.

use std::fs;
use std::io::{self, Read as _, Seek as _};
use std::path::Path;

use vserver_model::name::is_skipped_entry;

use super::Reader;
use crate::files::dangling;
use crate::finding::{Finding, Kind};
use crate::guest::Carried;
use crate::table::{self, Base, Honoured, Type};
use crate::typo;

/// A file of this size in a configuration directory is surely something else.
const SURPRISING: u64 = 100 << 20;

impl Reader<'_> {
    /// Walks the guest's directory, and those of the site's that are in force for it.
    pub(super) fn walk(&mut self) -> Vec<Carried> {
        let mut carried = Vec::new();
        let dir = self.dir.to_owned();
        self.walk_dir(Base::Guest, &dir, Path::new(""), &mut carried);
        let defaults = self.layout.defaults.clone();
        let off = |reader: &Self, item: &str, no: &str| reader.cfg(item).is_dir() || reader.cfg(no).exists();
        for (item, no) in [("cgroup", "nocgroup"), ("netns", "nonetns")] {
            if !off(self, item, no) && defaults.join(item).is_dir() {
                self.walk_dir(Base::Defaults, &defaults.join(item), Path::new(item), &mut carried);
            }
        }
        carried
    }

    pub(super) fn walk_dir(&mut self, base: Base, dir: &Path, relative: &Path, carried: &mut Vec<Carried>) {
        // An address or disk limit that is switched off asks for nothing.
        let mut nothing = Vec::new();
        let carried = if dir.join("disabled").exists() && relative.iter().count() == 2 {
            &mut nothing
        } else {
            carried
        };
        for name in self.files.all_names(dir) {
            if is_skipped_entry(&name) {
                continue;
            }
            let (path, relative) = (dir.join(&name), relative.join(&name));
            let Ok(entry) = fs::symlink_metadata(&path) else { continue };
            let target = fs::metadata(&path);
            let is_dir = target.as_ref().is_ok_and(fs::Metadata::is_dir);
            let item = table::find(base, &relative);
            let is_link_item = item.is_some_and(|item| item.kind == Type::Link);
            if is_dir && !is_link_item {
                if table::is_known_dir(base, &relative) {
                    self.walk_dir(base, &path, &relative, carried);
                } else if item.is_none() {
                    self.unknown(base, &path, &relative, "directory");
                }
                continue;
            }
            match item {
                Some(item) if item.kind != Type::Dir => {
                    if item.honoured != Honoured::Yes {
                        carried.push(Carried { item: item.path, place: path.clone() });
                    }
                    let may_dangle =
                        is_link_item && item.honoured != Honoured::OtherCommand || item.path == "poldek.conf";
                    if entry.is_symlink()
                        && !may_dangle
                        && target.is_err_and(|e| e.kind() == io::ErrorKind::NotFound)
                    {
                        self.files.found(dangling(&path));
                    }
                    if entry.is_file() && item.kind != Type::Prog {
                        self.final_newline(&path, entry.len());
                    }
                }
                _ if relative == Path::new("netns/interfaces/host")
                    || relative == Path::new("netns/interfaces/guest")
                    || relative == Path::new("netns/interfaces/type") => {}
                _ => self.unknown(base, &path, &relative, "file"),
            }
        }
    }

    /// A file that no item covers, with a guess at what it was meant to be.
    fn unknown(&mut self, base: Base, path: &Path, relative: &Path, what: &str) {
        let parent = relative.parent().unwrap_or(Path::new(""));
        let name = relative.file_name().unwrap_or_default();
        let names = table::names_in(base, parent);
        let near = names.iter().filter(|known| typo::near(name, known.as_ref()));
        let nearest = near.min_by_key(|known| {
            typo::distance(std::os::unix::ffi::OsStrExt::as_bytes(name), known.as_bytes())
        });
        let finding = match nearest {
            Some(known) => Finding::warning(Kind::Typo, path, format!("unknown {what} is not read"))
                .hint(format!("did you mean {}?", parent.join(known).display())),
            None => Finding::warning(Kind::UnknownFile, path, format!("unknown {what} is not read")),
        };
        self.files.found(finding);
        if what == "file"
            && fs::symlink_metadata(path).is_ok_and(|meta| meta.is_file() && meta.len() > SURPRISING)
        {
            self.files.found(Finding::warning(Kind::TooLarge, path, "is larger than 100 MB"));
        }
    }

    fn final_newline(&mut self, path: &Path, length: u64) {
        if length > SURPRISING {
            self.files.found(Finding::warning(Kind::TooLarge, path, "is larger than 100 MB"));
        }
        if length > 0 && last_byte(path).is_ok_and(|last| last != b'\n') {
            self.files.found(Finding::warning(Kind::NoFinalNewline, path, "does not end on newline"));
        }
    }
}

/// The last byte of a regular file that is not empty.
fn last_byte(path: &Path) -> io::Result<u8> {
    let mut file = fs::File::open(path)?;
    file.seek(io::SeekFrom::End(-1))?;
    let mut byte = [0];
    file.read_exact(&mut byte)?;
    Ok(byte[0])
}
