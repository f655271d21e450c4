//! Unpacking an archive into a guest's tree, whatever the archive says.
//!
//! | the archive holds | what happens |
//! |---|---|
//! | `..` in a name or in a hard link's target | the build ends, with the member's name |
//! | an absolute name | it is taken below the guest's root, with one warning |
//! | a link out of the tree, and a member that goes through it | the kernel resolves the link inside the tree |
//! | a member where something stands already | the old one goes; it is never written through |
//! | a device node that shows something of the host | left out, with a warning; all are made with `--nodevsanity` |
//! | attributes that belong to the other host | left out, with a warning |
//! | the tree's top itself | left as it is: archives made in a temporary directory would close it to everybody |

use std::ffi::OsStr;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dev, FileType, Gid, Mode, OFlags, Timestamps, Uid};
use rustix::io::Errno;
use vserver_tree::device::DevicePolicy;
use vserver_tree::{Root, TreeError, attributes};

use super::acl::{self, Who};
use super::{ArchiveError, Fault, Kind, Member, Members, detect};

/// The largest owner that a guest in shifted mode can have.
const LAST_OWNER: u32 = 65_535;

/// Zeros of this length are not written.
const HOLE: usize = 1 << 16;

/// What was unpacked, and what was not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Members unpacked.
    pub members: u64,
    /// Bytes of files, holes included.
    pub bytes: u64,
    /// Members with absolute names.
    pub absolute: u64,
    /// Device nodes left out, and the first of them.
    pub devices: (u64, Option<String>),
    /// Extended attributes and access lists left out.
    pub attributes: u64,
    /// Members with owners beyond 65535.
    pub owners: u64,
    /// Members of unknown types.
    pub unknown: u64,
}

impl Report {
    /// Sentences for the administrator about what is not as in the archive.
    pub fn warnings(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if self.absolute > 0 {
            lines.push(format!("{} absolute names were taken below the guest's root", self.absolute));
        }
        if let (count, Some(first)) = &self.devices {
            lines.push(format!(
                "{count} device nodes were left out, {first} the first (--nodevsanity makes them)"
            ));
        }
        if self.attributes > 0 {
            lines.push(format!("{} extended attributes or access lists were left out", self.attributes));
        }
        if self.owners > 0 {
            let text = "members have owners above 65535, which a guest with shifted ids shows as nobody";
            lines.push(format!("{} {text}", self.owners));
        }
        if self.unknown > 0 {
            lines.push(format!("{} members of unknown types were left out", self.unknown));
        }
        lines
    }
}

/// How to unpack.
pub struct Options<'a> {
    /// Device nodes.
    pub devices: DevicePolicy,
    /// Asked between members and pieces; `true` ends it.
    pub stop: &'a dyn Fn() -> bool,
}

/// Unpacks an archive into a tree. `shown` is the archive's path for messages.
///
/// # Errors
/// The archive cannot be read, is damaged or dangerous, or the tree cannot be written. A part is unpacked then.
pub fn extract(
    input: Box<dyn Read>,
    shown: &Path,
    root: &Root,
    options: &Options<'_>,
) -> Result<Report, ArchiveError> {
    let wrong = |member: Option<&[u8]>, fault| ArchiveError::new(shown, member, fault);
    let mut members = detect::open(input).map_err(|fault| wrong(None, fault))?;
    let mut extraction = Extraction {
        root,
        options,
        parent: None,
        directories: Vec::new(),
        report: Report::default(),
        without_devices: false,
        buffer: vec![0; 1 << 18],
    };
    let mut last = Vec::new();
    let mut seen = false;
    loop {
        let after = (!last.is_empty()).then_some(last.as_slice());
        let Some(member) = members.next().map_err(|fault| wrong(after, fault))? else { break };
        seen = true;
        extraction.member(&member, members.as_mut()).map_err(|fault| wrong(Some(&member.name), fault))?;
        last = member.name;
    }
    extraction.finish_directories().map_err(|fault| wrong(None, fault))?;
    if seen { Ok(extraction.report) } else { Err(wrong(None, Fault::Empty)) }
}

struct Extraction<'a> {
    root: &'a Root,
    options: &'a Options<'a>,
    /// The last directory that something was made in: members of one directory follow each other.
    parent: Option<(PathBuf, OwnedFd)>,
    /// What directories get when nothing is put into them any more.
    directories: Vec<(PathBuf, Timestamps, Option<Vec<u8>>)>,
    report: Report,
    /// A device node was left out, in /dev too: a hard link to it has no target.
    without_devices: bool,
    buffer: Vec<u8>,
}

impl Extraction<'_> {
    fn member(&mut self, member: &Member, data: &mut dyn Members) -> Result<(), Fault> {
        if (self.options.stop)() {
            return Err(Fault::Interrupted);
        }
        let (path, absolute) = confined(&member.name).map_err(Fault::BadName)?;
        self.report.absolute += u64::from(absolute);
        let Some(name) = path.file_name().map(OsStr::to_owned) else { return Ok(()) };
        let dir = self.parent_of(&path)?;
        match &member.kind {
            Kind::File => self.file(&dir, &name, &path, member, data)?,
            Kind::HardLink(target) => self.hard_link(&dir, &name, &path, target, member, data)?,
            Kind::Symlink(target) => self.symlink(&dir, &name, &path, target, member)?,
            Kind::Directory => self.directory(&dir, &name, &path, member)?,
            Kind::Device { block, major, minor } => {
                if !self.options.devices.allows(*block, *major, *minor) {
                    self.leave_out_device(&path);
                    return Ok(());
                }
                let kind = if *block { FileType::BlockDevice } else { FileType::CharacterDevice };
                let device = device_number(*major, *minor)?;
                self.node(&dir, &name, &path, member, kind, device)?;
            }
            Kind::Fifo => self.node(&dir, &name, &path, member, FileType::Fifo, 0)?,
            Kind::Socket => {}
            Kind::Unknown(_) => {
                self.report.unknown += 1;
                return Ok(());
            }
        }
        self.report.members += 1;
        self.report.owners += u64::from(member.uid > LAST_OWNER || member.gid > LAST_OWNER);
        // Back for the next member, unless something was replaced.
        if self.parent.is_none() {
            self.parent = path.parent().map(|parent| (parent.to_owned(), dir));
        }
        Ok(())
    }

    /// The directory for a member, made if it is missing. Taken out of the cache; the caller gives it back.
    fn parent_of(&mut self, path: &Path) -> Result<OwnedFd, Fault> {
        let parent = path.parent().unwrap_or(Path::new(""));
        if let Some((cached, fd)) = self.parent.take()
            && cached == parent
        {
            return Ok(fd);
        }
        match self.root.directory(parent) {
            Ok(fd) => Ok(fd),
            Err(error) if error.is(Errno::NOENT) => {
                self.root.make_directories(parent, Mode::from_raw_mode(0o755)).map_err(Fault::Write)?;
                self.root.directory(parent).map_err(Fault::Write)
            }
            Err(error) => Err(Fault::Write(error)),
        }
    }

    fn cannot(&self, op: &'static str, path: &Path) -> impl Fn(Errno) -> Fault + use<> {
        let shown = self.root.shown(path);
        move |errno| Fault::Write(TreeError::new(op, shown.clone(), errno))
    }

    /// Makes something under a name; if the name is taken, what has it goes first.
    fn fresh<T>(
        &self,
        dir: &OwnedFd,
        name: &OsStr,
        path: &Path,
        make: impl Fn() -> rustix::io::Result<T>,
    ) -> Result<T, Fault> {
        let cannot = self.cannot("create", path);
        match make() {
            Err(Errno::EXIST) => {
                match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
                    Err(Errno::ISDIR) => rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR),
                    other => other,
                }
                .map_err(self.cannot("replace", path))?;
                make().map_err(cannot)
            }
            other => other.map_err(cannot),
        }
    }

    fn file(
        &mut self,
        dir: &OwnedFd,
        name: &OsStr,
        path: &Path,
        member: &Member,
        data: &mut dyn Members,
    ) -> Result<(), Fault> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let make = || rustix::fs::openat(dir, name, flags, Mode::RUSR | Mode::WUSR);
        let file = self.fresh(dir, name, path, make)?;
        self.content(&file, path, member, data)?;
        self.dress(&file, path, member)?;
        rustix::fs::futimens(&file, &attributes::times(member.modified.0, member.modified.1))
            .map_err(self.cannot("set the times of", path))?;
        self.report.bytes += member.length;
        Ok(())
    }

    fn content(
        &mut self,
        file: &OwnedFd,
        path: &Path,
        member: &Member,
        data: &mut dyn Members,
    ) -> Result<(), Fault> {
        let cannot = self.cannot("write", path);
        let whole = [(0, member.length)];
        let pieces = member.data.as_deref().unwrap_or(&whole);
        // The length first: blocks of zeros are not written, so that a hole stays one.
        rustix::fs::ftruncate(file, member.length).map_err(&cannot)?;
        for (offset, length) in pieces {
            let (mut at, end) = (*offset, offset + length);
            while at < end {
                if (self.options.stop)() {
                    return Err(Fault::Interrupted);
                }
                let wanted = usize::try_from(end - at).unwrap_or(usize::MAX).min(self.buffer.len());
                let got = data.read(&mut self.buffer[..wanted])?;
                if got == 0 {
                    return Err(Fault::Truncated);
                }
                for block in self.buffer[..got].chunks(HOLE) {
                    let mut written = 0;
                    while written < block.len() && block.iter().any(|byte| *byte != 0) {
                        written += rustix::io::pwrite(file, &block[written..], at + written as u64)
                            .map_err(&cannot)?;
                    }
                    at += block.len() as u64;
                }
            }
        }
        Ok(())
    }

    fn hard_link(
        &mut self,
        dir: &OwnedFd,
        name: &OsStr,
        path: &Path,
        target: &[u8],
        member: &Member,
        data: &mut dyn Members,
    ) -> Result<(), Fault> {
        let (target, absolute) = confined(target).map_err(Fault::BadLink)?;
        self.report.absolute += u64::from(absolute);
        if target == path {
            return Ok(()); // "a link to a": some archivers write that
        }
        let (target_dir, target_name) = self.root.parent(&target).map_err(Fault::Write)?;
        let make = || rustix::fs::linkat(&target_dir, target_name, dir, name, AtFlags::empty());
        match self.fresh(dir, name, path, make) {
            // Its target was one of the devices that were left out.
            Err(Fault::Write(error)) if error.is(Errno::NOENT) && self.without_devices => {
                self.leave_out_device(path);
                return Ok(());
            }
            other => other?,
        }
        if member.length > 0 {
            // cpio: the content comes with the last name. Nobody else works in the tree, so what we look at is what
            // we open; NOFOLLOW keeps a link from being opened in any case.
            let stat = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)
                .map_err(self.cannot("examine", path))?;
            if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
                return Err(Fault::Corrupt("it has content, and is a link to something that is no file"));
            }
            let flags = OFlags::WRONLY | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let file =
                rustix::fs::openat(dir, name, flags, Mode::empty()).map_err(self.cannot("open", path))?;
            self.content(&file, path, member, data)?;
            self.dress(&file, path, member)?;
            rustix::fs::futimens(&file, &attributes::times(member.modified.0, member.modified.1))
                .map_err(self.cannot("set the times of", path))?;
            self.report.bytes += member.length;
        }
        Ok(())
    }

    fn symlink(
        &mut self,
        dir: &OwnedFd,
        name: &OsStr,
        path: &Path,
        target: &[u8],
        member: &Member,
    ) -> Result<(), Fault> {
        if target.is_empty() || target.contains(&0) {
            return Err(Fault::BadLink("is empty or has a NUL in it"));
        }
        let make = || rustix::fs::symlinkat(OsStr::from_bytes(target), dir, name);
        self.fresh(dir, name, path, make)?;
        // Something may have been replaced: a cached directory can be another one now. (Cleared by parent_of.)
        self.owner_and_times(dir, name, path, member)
    }

    fn directory(&mut self, dir: &OwnedFd, name: &OsStr, path: &Path, member: &Member) -> Result<(), Fault> {
        match rustix::fs::mkdirat(dir, name, Mode::RWXU) {
            Ok(()) => {}
            Err(Errno::EXIST) => {
                let stat = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)
                    .map_err(self.cannot("examine", path))?;
                match FileType::from_raw_mode(stat.st_mode) {
                    FileType::Directory => {}
                    // /lib -> usr/lib and an archive from before that: what goes into it follows the link, inside.
                    FileType::Symlink if self.root.is_directory(path) => return Ok(()),
                    _ => {
                        rustix::fs::unlinkat(dir, name, AtFlags::empty())
                            .map_err(self.cannot("replace", path))?;
                        rustix::fs::mkdirat(dir, name, Mode::RWXU).map_err(self.cannot("create", path))?;
                    }
                }
            }
            Err(errno) => return Err(self.cannot("create", path)(errno)),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = rustix::fs::openat(dir, name, flags, Mode::empty()).map_err(self.cannot("open", path))?;
        self.dress(&made, path, member)?;
        let default = match &member.acls.default {
            Some(text) => self.acl(text),
            None => None,
        };
        let times = attributes::times(member.modified.0, member.modified.1);
        self.directories.push((path.to_owned(), times, default));
        Ok(())
    }

    fn node(
        &mut self,
        dir: &OwnedFd,
        name: &OsStr,
        path: &Path,
        member: &Member,
        kind: FileType,
        device: Dev,
    ) -> Result<(), Fault> {
        let mode = Mode::from_raw_mode(member.mode);
        self.fresh(dir, name, path, || rustix::fs::mknodat(dir, name, kind, mode, device))?;
        self.owner_and_times(dir, name, path, member)?;
        // chown(2) and the umask have had a say.
        rustix::fs::chmodat(dir, name, mode, AtFlags::empty()).map_err(self.cannot("set the mode of", path))
    }

    fn owner_and_times(
        &self,
        dir: &OwnedFd,
        name: &OsStr,
        path: &Path,
        member: &Member,
    ) -> Result<(), Fault> {
        let (uid, gid) = (Some(Uid::from_raw(member.uid)), Some(Gid::from_raw(member.gid)));
        rustix::fs::chownat(dir, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(self.cannot("set the owner of", path))?;
        let times = attributes::times(member.modified.0, member.modified.1);
        rustix::fs::utimensat(dir, name, &times, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(self.cannot("set the times of", path))
    }

    /// Owner, mode and attributes of an open file or directory, in the order that keeps them.
    fn dress(&mut self, file: &OwnedFd, path: &Path, member: &Member) -> Result<(), Fault> {
        let (uid, gid) = (Some(Uid::from_raw(member.uid)), Some(Gid::from_raw(member.gid)));
        rustix::fs::fchown(file, uid, gid).map_err(self.cannot("set the owner of", path))?;
        rustix::fs::fchmod(file, Mode::from_raw_mode(member.mode))
            .map_err(self.cannot("set the mode of", path))?;
        for (name, value) in &member.attributes {
            // The default list of a directory would be inherited by what we put into it.
            if !attributes::is_portable(name) || name == b"system.posix_acl_default" {
                self.report.attributes += 1;
                continue;
            }
            self.attribute(file, name, value);
        }
        if let Some(text) = &member.acls.access {
            match self.acl(text) {
                Some(value) => self.attribute(file, b"system.posix_acl_access", &value),
                None => self.report.attributes += 1,
            }
        }
        Ok(())
    }

    /// Sets an attribute if the filesystem takes it: one more that is left out is no reason to end.
    fn attribute(&mut self, file: &OwnedFd, name: &[u8], value: &[u8]) {
        if attributes::set(file, OsStr::from_bytes(name), value).is_err() {
            self.report.attributes += 1;
        }
    }

    fn acl(&self, text: &str) -> Option<Vec<u8>> {
        acl::to_attribute(text, &|who, name| {
            // The guest's own names: the archive's numbers are its numbers.
            let file = if who == Who::User { "etc/passwd" } else { "etc/group" };
            let content = self.root.read(file, 1 << 20).ok()??;
            String::from_utf8_lossy(&content).lines().find_map(|line| {
                let mut fields = line.split(':');
                (fields.next()? == name).then(|| fields.nth(1)?.parse().ok())?
            })
        })
    }

    fn leave_out_device(&mut self, path: &Path) {
        self.without_devices = true;
        // /dev is made anew afterwards, so what is missing there is no news.
        if !path.starts_with("dev") {
            self.report.devices.0 += 1;
            self.report.devices.1.get_or_insert_with(|| format!("/{}", path.display()));
        }
    }

    /// Times and default access lists of directories, innermost first.
    fn finish_directories(&mut self) -> Result<(), Fault> {
        for (path, times, default) in std::mem::take(&mut self.directories).into_iter().rev() {
            // A later member may have replaced it by something else, or moved it behind a link: then it is not ours.
            let Ok((dir, name)) = self.root.parent(&path) else { continue };
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let Ok(made) = rustix::fs::openat(&dir, name, flags, Mode::empty()) else { continue };
            if let Some(value) = default {
                self.attribute(&made, b"system.posix_acl_default", &value);
            }
            rustix::fs::futimens(&made, &times).map_err(self.cannot("set the times of", &path))?;
        }
        Ok(())
    }
}

/// A name of an archive as a path below the tree, and whether it was absolute.
fn confined(name: &[u8]) -> Result<(PathBuf, bool), &'static str> {
    if name.contains(&0) {
        return Err("has a NUL in it");
    }
    let mut path = PathBuf::new();
    for part in name.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => return Err("leads out of the guest with '..'"),
            part if part.len() > 255 => return Err("is too long"),
            part => path.push(OsStr::from_bytes(part)),
        }
    }
    Ok((path, name.starts_with(b"/")))
}

fn device_number(major: u32, minor: u32) -> Result<Dev, Fault> {
    if major < 1 << 12 && minor < 1 << 20 {
        Ok(rustix::fs::makedev(major, minor))
    } else {
        Err(Fault::Corrupt("its device number makes no sense"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names() {
        let path = |name: &str| confined(name.as_bytes()).map(|(path, _)| path);
        assert_eq!(path("./a//b/./c/").unwrap(), Path::new("a/b/c"));
        assert_eq!(path("/etc/passwd").unwrap(), Path::new("etc/passwd"));
        assert_eq!(path("./").unwrap(), Path::new(""));
        assert!(confined(b"/x").unwrap().1);
        for bad in ["..", "../x", "a/../../x", "a/..", "/.."] {
            assert_eq!(path(bad), Err("leads out of the guest with '..'"), "{bad}");
        }
        assert_eq!(path("..."), Ok(PathBuf::from("...")));
        assert_eq!(path(&"x".repeat(256)), Err("is too long"));
    }

    proptest! {
        #[test]
        fn no_name_leaves_the_tree(name: Vec<u8>) {
            if let Ok((path, _)) = confined(&name) {
                prop_assert!(path.components().all(|part| matches!(part, std::path::Component::Normal(_))));
            }
        }
    }
}
