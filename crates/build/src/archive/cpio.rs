//! cpio: newc (with and without checksums), odc, and the old binary form in either byte order.
//!
//! Files with several names carry their content once (newc, with the last name) or each time (odc): the first is a
//! file, the others are hard links that may bring content.

use std::collections::HashMap;
use std::io::Read;

use super::{Fault, Kind, LONGEST_NAME, Member, Members, fill, skip, take};

/// The name behind the last member.
const TRAILER: &[u8] = b"TRAILER!!!";
/// The most files with several names that we remember.
const MOST_LINKS: usize = 1 << 20;

/// Reads a cpio stream.
#[derive(Debug)]
pub struct CpioReader<R> {
    input: R,
    left: u64,
    padding: u64,
    /// First names of files with several: by device and inode.
    links: HashMap<(u64, u64), Vec<u8>>,
    ended: bool,
}

/// A header, whatever its form.
#[derive(Debug, Default)]
struct Header {
    device: u64,
    inode: u64,
    mode: u32,
    uid: u32,
    gid: u32,
    links: u64,
    special: (u32, u32),
    modified: i64,
    name_length: u64,
    length: u64,
    /// Names and contents begin at multiples of this.
    alignment: u64,
    /// How long the header is.
    own_length: u64,
}

impl<R: Read> CpioReader<R> {
    /// Reads from the beginning of an archive.
    pub fn new(input: R) -> Self {
        Self { input, left: 0, padding: 0, links: HashMap::new(), ended: false }
    }

    fn header(&mut self) -> Result<Header, Fault> {
        let mut magic = [0_u8; 6];
        fill(&mut self.input, &mut magic)?;
        match &magic {
            b"070701" | b"070702" => self.newc(),
            b"070707" => self.odc(),
            [0xc7, 0x71, ..] => self.binary(magic, u16::from_le_bytes),
            [0x71, 0xc7, ..] => self.binary(magic, u16::from_be_bytes),
            _ => Err(Fault::Corrupt("a header has no magic")),
        }
    }

    fn newc(&mut self) -> Result<Header, Fault> {
        let mut fields = [0_u8; 13 * 8];
        fill(&mut self.input, &mut fields)?;
        let field = |n: usize| digits(&fields[n * 8..n * 8 + 8], 16);
        Ok(Header {
            inode: field(0)?,
            mode: narrow(field(1)?)?,
            uid: narrow(field(2)?)?,
            gid: narrow(field(3)?)?,
            links: field(4)?,
            modified: field(5)?.cast_signed(),
            length: field(6)?,
            device: field(7)? << 32 | field(8)?,
            special: (narrow(field(9)?)?, narrow(field(10)?)?),
            name_length: field(11)?,
            alignment: 4,
            own_length: 110,
        })
    }

    fn odc(&mut self) -> Result<Header, Fault> {
        let mut fields = [0_u8; 70];
        fill(&mut self.input, &mut fields)?;
        let field = |from: usize, length: usize| digits(&fields[from..from + length], 8);
        let special = field(36, 6)?;
        Ok(Header {
            device: field(0, 6)?,
            inode: field(6, 6)?,
            mode: narrow(field(12, 6)?)?,
            uid: narrow(field(18, 6)?)?,
            gid: narrow(field(24, 6)?)?,
            links: field(30, 6)?,
            special: (narrow(special >> 8)?, narrow(special & 0xff)?),
            modified: field(42, 11)?.cast_signed(),
            name_length: field(53, 6)?,
            length: field(59, 11)?,
            alignment: 1,
            own_length: 76,
        })
    }

    fn binary(&mut self, start: [u8; 6], word: fn([u8; 2]) -> u16) -> Result<Header, Fault> {
        let mut fields = [0_u8; 26];
        fields[..6].copy_from_slice(&start);
        fill(&mut self.input, &mut fields[6..])?;
        let word = |n: usize| u64::from(word([fields[n * 2], fields[n * 2 + 1]]));
        let special = word(7);
        Ok(Header {
            device: word(1),
            inode: word(2),
            mode: narrow(word(3))?,
            uid: narrow(word(4))?,
            gid: narrow(word(5))?,
            links: word(6),
            special: (narrow(special >> 8)?, narrow(special & 0xff)?),
            modified: (word(8) << 16 | word(9)).cast_signed(),
            name_length: word(10),
            length: word(11) << 16 | word(12),
            alignment: 2,
            own_length: 26,
        })
    }

    fn member(&mut self, header: &Header, name: Vec<u8>) -> Result<Member, Fault> {
        (self.left, self.padding) = (header.length, header.padding_of(header.length));
        let kind = match header.mode & 0o170_000 {
            0o100_000 => match self.links.get(&(header.device, header.inode)).filter(|_| header.links > 1) {
                Some(first) => Kind::HardLink(first.clone()),
                None => Kind::File,
            },
            0o120_000 => {
                if header.length > LONGEST_NAME {
                    return Err(Fault::Corrupt("its link target is too long"));
                }
                let target = take(&mut self.input, header.length)?;
                self.left = 0;
                Kind::Symlink(target)
            }
            0o040_000 => Kind::Directory,
            kind @ (0o020_000 | 0o060_000) => {
                Kind::Device { block: kind == 0o060_000, major: header.special.0, minor: header.special.1 }
            }
            0o010_000 => Kind::Fifo,
            0o140_000 => Kind::Socket,
            _ => Kind::Unknown(b'?'),
        };
        if kind == Kind::File && header.links > 1 && self.links.len() < MOST_LINKS {
            self.links.insert((header.device, header.inode), name.clone());
        }
        if header.uid == u32::MAX || header.gid == u32::MAX {
            return Err(Fault::Corrupt("its owner makes no sense"));
        }
        let mut member = Member::plain(name, kind);
        member.mode = header.mode & 0o7777;
        member.uid = header.uid;
        member.gid = header.gid;
        member.modified = (header.modified, 0);
        member.length = self.left;
        Ok(member)
    }
}

impl Header {
    fn padding_of(&self, length: u64) -> u64 {
        (self.alignment - length % self.alignment) % self.alignment
    }
}

impl<R: Read> Members for CpioReader<R> {
    fn next(&mut self) -> Result<Option<Member>, Fault> {
        if self.ended {
            return Ok(None);
        }
        let rest = self.left.checked_add(self.padding).ok_or(Fault::Corrupt("a size is too large"))?;
        (self.left, self.padding) = (0, 0);
        skip(&mut self.input, rest)?;
        let header = self.header()?;
        if header.name_length == 0 || header.name_length > LONGEST_NAME {
            return Err(Fault::Corrupt("the length of a name makes no sense"));
        }
        let mut name = take(&mut self.input, header.name_length)?;
        skip(&mut self.input, header.padding_of(header.own_length + header.name_length))?;
        if name.pop() != Some(0) {
            return Err(Fault::Corrupt("a name has no end"));
        }
        if name == TRAILER {
            self.ended = true;
            return Ok(None);
        }
        self.member(&header, name).map(Some)
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Fault> {
        let wanted = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if wanted == 0 {
            return Ok(0);
        }
        let got = self.input.read(&mut buffer[..wanted]).map_err(Fault::Read)?;
        if got == 0 {
            return Err(Fault::Truncated);
        }
        self.left -= got as u64;
        Ok(got)
    }
}

fn digits(field: &[u8], base: u32) -> Result<u64, Fault> {
    field
        .iter()
        .try_fold(0_u64, |n, byte| Some(n * u64::from(base) + u64::from(char::from(*byte).to_digit(base)?)))
        .ok_or(Fault::Corrupt("a header's number makes no sense"))
}

fn narrow(number: u64) -> Result<u32, Fault> {
    u32::try_from(number).map_err(|_| Fault::Corrupt("a header's number is too large"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn newc(name: &str, mode: u32, inode: u32, links: u32, data: &[u8]) -> Vec<u8> {
        let numbers = [inode, mode, 1000, 1001, links, 5, u32::try_from(data.len()).unwrap(), 8, 1, 1, 3];
        let mut archive = b"070701".to_vec();
        for number in numbers.into_iter().chain([u32::try_from(name.len()).unwrap() + 1, 0]) {
            archive.extend(format!("{number:08x}").bytes());
        }
        archive.extend(name.bytes().chain([0]));
        archive.resize(archive.len().next_multiple_of(4), 0);
        archive.extend(data);
        archive.resize(archive.len().next_multiple_of(4), 0);
        archive
    }

    fn read_all(archive: Vec<u8>) -> Result<Vec<(Member, Vec<u8>)>, Fault> {
        let mut reader = CpioReader::new(std::io::Cursor::new(archive));
        let mut all = Vec::new();
        while let Some(member) = reader.next()? {
            let mut data = Vec::new();
            let mut buffer = [0_u8; 7];
            loop {
                match reader.read(&mut buffer)? {
                    0 => break,
                    got => data.extend_from_slice(&buffer[..got]),
                }
            }
            all.push((member, data));
        }
        Ok(all)
    }

    #[test]
    fn newc_members_and_links() {
        let archive = [
            newc("one", 0o100_644, 7, 2, b""),
            newc("two", 0o100_644, 7, 2, b"data!"),
            newc("link", 0o120_777, 8, 1, b"one"),
            newc("null", 0o020_666, 9, 1, b""),
            newc("TRAILER!!!", 0, 0, 1, b""),
        ]
        .concat();
        let all = read_all(archive).unwrap();
        assert_eq!(all[0].0.kind, Kind::File);
        assert_eq!(all[1].0.kind, Kind::HardLink(b"one".to_vec()));
        assert_eq!(all[1].1, b"data!");
        assert_eq!(all[2].0.kind, Kind::Symlink(b"one".to_vec()));
        assert_eq!(all[3].0.kind, Kind::Device { block: false, major: 1, minor: 3 });
        assert_eq!((all[0].0.uid, all[0].0.gid, all[0].0.modified), (1000, 1001, (5, 0)));
    }

    #[test]
    fn odc_members() {
        let odc = |name: &str, mode: u32, data: &str| {
            let numbers = format!("{:06o}{:06o}{mode:06o}{:06o}{:06o}{:06o}{:06o}", 1, 7, 1000, 1001, 1, 0);
            let name_length = name.len() + 1;
            format!("070707{numbers}{:011o}{name_length:06o}{:011o}{name}\0{data}", 5, data.len())
        };
        let archive = odc("one", 0o100_644, "abc") + &odc("TRAILER!!!", 0, "");
        let all = read_all(archive.into_bytes()).unwrap();
        assert_eq!((all[0].0.name.as_slice(), all[0].1.as_slice()), (&b"one"[..], &b"abc"[..]));
        assert_eq!((all[0].0.uid, all[0].0.mode), (1000, 0o644));
    }

    #[test]
    fn nonsense_is_refused() {
        let fault = |archive| read_all(archive).unwrap_err().to_string();
        assert_eq!(fault(b"070701zz".to_vec()), "it ends too early");
        assert_eq!(fault(b"nonsense".to_vec()), "a header has no magic");
        assert_eq!(fault(newc("a", 0o100_644, 1, 1, b"abc")), "it ends too early");
        let mut long = newc("a", 0o100_644, 1, 1, b"");
        long[94..102].copy_from_slice(b"ffffffff");
        assert_eq!(fault(long), "the length of a name makes no sense");
    }

    proptest! {
        #[test]
        fn no_header_panics(magic in 0_usize..4, rest: Vec<u8>, digits in "[0-9a-f]{80,200}") {
            let magics: [&[u8]; 4] = [b"070701", b"070707", b"\xc7\x71", b"\x71\xc7"];
            drop(read_all([magics[magic], &rest].concat()));
            drop(read_all([magics[magic], digits.as_bytes(), &rest].concat()));
        }
    }
}
