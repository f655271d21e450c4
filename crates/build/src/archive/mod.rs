//! Archives of whole systems: recognised by their first bytes, decompressed and read as a stream, extracted beneath a
//! directory descriptor.
//!
//! An archive is hostile until shown otherwise. The readers ([`tar`], [`cpio`]) only parse: every number is checked,
//! nothing is allocated that the archive merely claims. [`extract`] decides what a name may lead to.

pub mod acl;
pub mod ar;
pub mod cpio;
pub mod detect;
pub mod extract;
pub mod tar;
pub mod write;

use std::io::{self, Read};
use std::path::PathBuf;

use vserver_tree::TreeError;

/// The longest name or link target that we read; the kernel's `PATH_MAX` is a sixteenth of it.
pub const LONGEST_NAME: u64 = 65_536;

/// Something about an archive, with its file and the member.
#[derive(Debug, thiserror::Error)]
#[error("cannot unpack {}{}: {fault}", archive.display(), member_text(member.as_deref()))]
pub struct ArchiveError {
    /// The archive.
    pub archive: PathBuf,
    /// The member's name as it stands in the archive.
    pub member: Option<Vec<u8>>,
    /// What is wrong.
    pub fault: Fault,
    /// The reason below, if there is one.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// What is wrong with an archive.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// It cannot be opened.
    #[error("it cannot be opened")]
    Open(io::Error),
    /// Reading or decompressing failed.
    #[error("it cannot be read")]
    Read(io::Error),
    /// Not a format of ours.
    #[error("it is in no format that is known here")]
    UnknownFormat,
    /// A dump(8) archive.
    #[error("it is a dump archive")]
    Dump,
    /// It ends in the middle of something.
    #[error("it ends too early")]
    Truncated,
    /// A header or record makes no sense.
    #[error("{0}")]
    Corrupt(&'static str),
    /// A name that would lead out of the tree.
    #[error("its name {0}")]
    BadName(&'static str),
    /// The target of a hard link that would lead out of the tree.
    #[error("its link target {0}")]
    BadLink(&'static str),
    /// There is no member in it.
    #[error("there is nothing in it")]
    Empty,
    /// The tree could not be written.
    #[error("{0}")]
    Write(TreeError),
    /// The build was told to end.
    #[error("interrupted")]
    Interrupted,
}

impl ArchiveError {
    /// A fault of an archive.
    pub fn new(archive: impl Into<PathBuf>, member: Option<&[u8]>, fault: Fault) -> Self {
        // The text of the outer error is in `fault`; what lies below it is the source, so that it is told once.
        let (fault, source): (_, Option<Box<dyn std::error::Error + Send + Sync>>) = match fault {
            Fault::Open(error) => (Fault::Open(same_kind(&error)), Some(error.into())),
            Fault::Read(error) => (Fault::Read(same_kind(&error)), Some(error.into())),
            Fault::Write(error) => {
                let outer = TreeError::new(error.op, error.path.clone(), same_kind(&error.source));
                (Fault::Write(outer), Some(error.source.into()))
            }
            other => (other, None),
        };
        Self { archive: archive.into(), member: member.map(<[u8]>::to_vec), fault, source }
    }

    /// What the administrator can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match &self.fault {
            Fault::Open(_) => Some("relative names start at the directory where the command was called"),
            Fault::UnknownFormat => {
                Some("tar and cpio archives are known, as they are or in gzip, bzip2, xz or zstd")
            }
            Fault::Dump => Some("unpack it with restore(8) and use -m rsync or -m clone with the directory"),
            Fault::Read(_) | Fault::Truncated | Fault::Corrupt(_) => {
                Some("is the archive complete? compare its checksum")
            }
            Fault::BadName(_) | Fault::BadLink(_) => {
                Some("this archive tries to write outside the guest; do not trust it")
            }
            Fault::Write(error) => error.hint(),
            Fault::Empty | Fault::Interrupted => None,
        }
    }
}

fn same_kind(error: &io::Error) -> io::Error {
    error.raw_os_error().map_or_else(|| error.kind().into(), io::Error::from_raw_os_error)
}

fn member_text(member: Option<&[u8]>) -> String {
    member.map_or_else(String::new, |name| {
        let shown: String = String::from_utf8_lossy(&name[..name.len().min(200)])
            .chars()
            .map(|c| if c.is_control() { '?' } else { c })
            .collect();
        format!(", member '{shown}'")
    })
}

/// What a member is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// Another name of an earlier member. Its content may come with this one (cpio).
    HardLink(Vec<u8>),
    /// A symbolic link.
    Symlink(Vec<u8>),
    /// A device node.
    Device {
        /// Block, not character.
        block: bool,
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A directory.
    Directory,
    /// A fifo.
    Fifo,
    /// A socket: its program is not running.
    Socket,
    /// A type that we do not know.
    Unknown(u8),
}

/// One member of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its name, as it stands there.
    pub name: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// Permissions, set-id and sticky bits: at most 07777.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Time of modification: seconds since 1970 and nanoseconds.
    pub modified: (i64, u32),
    /// The file's length, holes included.
    pub length: u64,
    /// Extended attributes: name and value.
    pub attributes: Vec<(Vec<u8>, Vec<u8>)>,
    /// Access lists in text form: that of the file, and a directory's default.
    pub acls: Acls,
    /// Where the data lies, offset and length, ascending; `None` when the whole file is data.
    pub data: Option<Vec<(u64, u64)>>,
}

/// Access lists in the text form of acl(5), as tar keeps them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Acls {
    /// Of the file.
    pub access: Option<String>,
    /// What new files in a directory get.
    pub default: Option<String>,
}

impl Member {
    /// A member without anything special.
    pub fn plain(name: Vec<u8>, kind: Kind) -> Self {
        Self {
            name,
            kind,
            mode: 0o644,
            uid: 0,
            gid: 0,
            modified: (0, 0),
            length: 0,
            attributes: Vec::new(),
            acls: Acls::default(),
            data: None,
        }
    }
}

/// Reads an archive member by member.
pub trait Members {
    /// The next member, what is left of the last one skipped; `None` at the end.
    ///
    /// # Errors
    /// The archive is damaged.
    fn next(&mut self) -> Result<Option<Member>, Fault>;

    /// Reads data of the current member, holes left out; 0 at its end.
    ///
    /// # Errors
    /// The archive is damaged.
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Fault>;
}

/// Fills a buffer, or says that the archive ends too early.
pub(crate) fn fill(input: &mut impl Read, buffer: &mut [u8]) -> Result<(), Fault> {
    input.read_exact(buffer).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => Fault::Truncated,
        _ => Fault::Read(error),
    })
}

/// Reads exactly so many bytes that the archive claims, not trusting the claim for the allocation.
pub(crate) fn take(input: &mut impl Read, length: u64) -> Result<Vec<u8>, Fault> {
    let mut bytes = Vec::new();
    let got = input.take(length).read_to_end(&mut bytes).map_err(Fault::Read)?;
    if got as u64 == length { Ok(bytes) } else { Err(Fault::Truncated) }
}

/// Passes over so many bytes.
pub(crate) fn skip(input: &mut impl Read, length: u64) -> Result<(), Fault> {
    let got = io::copy(&mut input.take(length), &mut io::sink()).map_err(Fault::Read)?;
    if got == length { Ok(()) } else { Err(Fault::Truncated) }
}
