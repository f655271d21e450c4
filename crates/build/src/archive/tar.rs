//! tar: V7, ustar, GNU and pax, with long names, large numbers, holes of all five kinds, extended attributes and
//! access lists.
//!
//! Sources: POSIX.1-2017 `pax`, tar(5) of libarchive, the GNU tar manual, "Storing Sparse Files".

use std::collections::BTreeMap;
use std::io::Read;

use super::{Acls, Fault, Kind, LONGEST_NAME, Member, Members, fill, skip, take};

/// A header and the unit of padding.
const BLOCK: usize = 512;
/// The longest set of pax records: attributes are at most 64 KiB each, and few.
const LONGEST_RECORDS: u64 = 8 << 20;
/// The most pieces of data in a file with holes.
const MOST_PIECES: usize = 1 << 20;

/// Reads a tar stream.
#[derive(Debug)]
pub struct TarReader<R> {
    input: R,
    /// Data of the current member that was not read, and the padding behind it.
    left: u64,
    padding: u64,
    /// Records that hold for all following members.
    global: Records,
    ended: bool,
}

/// A pax record: key and value.
type Record = (Vec<u8>, Vec<u8>);

/// pax records, by key.
type Records = BTreeMap<Vec<u8>, Vec<u8>>;

/// What precedes a member and belongs to it.
#[derive(Default)]
struct Before {
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    records: Records,
    /// `GNU.sparse.offset` and `numbytes` of the oldest form are repeated, so they are no map.
    pieces: Vec<(u64, u64)>,
}

/// Whether these 512 bytes are a tar header with a right checksum.
pub fn is_header(block: &[u8]) -> bool {
    block.len() >= BLOCK && block[0] != 0 && checksum_is_right(block)
}

fn checksum_is_right(block: &[u8]) -> bool {
    let Some(told) = number(&block[148..156]) else { return false };
    let bytes = || block[..148].iter().chain(&[b' '; 8]).chain(&block[156..BLOCK]);
    let unsigned: u64 = bytes().map(|byte| u64::from(*byte)).sum();
    // Some old programs added signed characters.
    let signed: i64 = bytes().map(|byte| i64::from(byte.cast_signed())).sum();
    told == i128::from(unsigned) || told == i128::from(signed)
}

/// A number field: octal digits between blanks and NULs, or with the highest bit set a big-endian two's complement.
fn number(field: &[u8]) -> Option<i128> {
    match field.first()? {
        first if first & 0x80 != 0 => {
            // Bit 6 is the sign of the 95 (or 63) bits.
            let negative = first & 0x40 != 0;
            let start = if negative { -1 } else { i128::from(first & 0x3f) };
            let start = if negative { (start << 6) | i128::from(first & 0x3f) } else { start };
            field[1..].iter().try_fold(start, |n, byte| Some(n.checked_mul(256)? | i128::from(*byte)))
        }
        _ => {
            let text: &[u8] = field.split(|byte| *byte == 0).next().unwrap_or_default();
            let text = text.trim_ascii();
            if text.is_empty() {
                return Some(0);
            }
            text.iter().try_fold(0_i128, |n, byte| match byte {
                b'0'..=b'7' => Some(n * 8 + i128::from(byte - b'0')),
                _ => None,
            })
        }
    }
}

fn unsigned<T: TryFrom<i128>>(field: &[u8], what: &'static str) -> Result<T, Fault> {
    number(field).and_then(|n| T::try_from(n).ok()).ok_or(Fault::Corrupt(what))
}

/// Text up to the first NUL.
fn text(field: &[u8]) -> Vec<u8> {
    field.split(|byte| *byte == 0).next().unwrap_or_default().to_vec()
}

impl<R: Read> TarReader<R> {
    /// Reads from the beginning of an archive.
    pub fn new(input: R) -> Self {
        Self { input, left: 0, padding: 0, global: Records::new(), ended: false }
    }

    /// The next header; `None` at the end: a block of zeros, or nothing any more.
    fn header(&mut self) -> Result<Option<[u8; BLOCK]>, Fault> {
        let mut block = [0_u8; BLOCK];
        let mut first = [0_u8; 1];
        if self.input.read(&mut first).map_err(Fault::Read)? == 0 {
            return Ok(None);
        }
        block[0] = first[0];
        fill(&mut self.input, &mut block[1..])?;
        if block.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        if checksum_is_right(&block) {
            Ok(Some(block))
        } else {
            Err(Fault::Corrupt("a header's checksum is wrong"))
        }
    }

    fn skip_member(&mut self) -> Result<(), Fault> {
        let whole = self.left.checked_add(self.padding).ok_or(Fault::Corrupt("a size is too large"))?;
        (self.left, self.padding) = (0, 0);
        skip(&mut self.input, whole)
    }

    /// A long name or link target of GNU tar.
    fn long_name(&mut self, size: u64) -> Result<Vec<u8>, Fault> {
        if size > LONGEST_NAME {
            return Err(Fault::Corrupt("a name is too long"));
        }
        let name = take(&mut self.input, size)?;
        skip(&mut self.input, padding_of(size))?;
        Ok(text(&name))
    }

    fn records(&mut self, size: u64) -> Result<Vec<Record>, Fault> {
        if size > LONGEST_RECORDS {
            return Err(Fault::Corrupt("its pax records are too long"));
        }
        let bytes = take(&mut self.input, size)?;
        skip(&mut self.input, padding_of(size))?;
        parse_records(&bytes)
    }

    /// The rest of a GNU sparse map: blocks with 21 pieces and a mark whether another one follows.
    fn more_pieces(&mut self, pieces: &mut Vec<(u64, u64)>) -> Result<(), Fault> {
        loop {
            let mut block = [0_u8; BLOCK];
            fill(&mut self.input, &mut block)?;
            read_pieces(&block[..504], pieces)?;
            if block[504] == 0 {
                return Ok(());
            }
        }
    }

    /// The map of pax sparse files 1.0: decimal numbers, a line each, before the data.
    fn map_before_data(&mut self) -> Result<Vec<(u64, u64)>, Fault> {
        let mut consumed = 0_u64;
        let count = self.decimal_line(&mut consumed)?;
        if count > MOST_PIECES as u64 {
            return Err(Fault::Corrupt("its map of holes is too long"));
        }
        let mut pieces = Vec::new();
        for _ in 0..count {
            pieces.push((self.decimal_line(&mut consumed)?, self.decimal_line(&mut consumed)?));
        }
        let padding = padding_of(consumed);
        skip(&mut self.input, padding)?;
        self.left = self
            .left
            .checked_sub(consumed + padding)
            .ok_or(Fault::Corrupt("its map of holes is too long"))?;
        Ok(pieces)
    }

    fn decimal_line(&mut self, consumed: &mut u64) -> Result<u64, Fault> {
        let wrong = Fault::Corrupt("its map of holes makes no sense");
        let mut value = 0_u64;
        for digits in 0..=20 {
            let mut byte = [0_u8; 1];
            fill(&mut self.input, &mut byte)?;
            *consumed += 1;
            match byte[0] {
                b'\n' if digits > 0 => return Ok(value),
                digit @ b'0'..=b'9' => {
                    let next = value.checked_mul(10).and_then(|v| v.checked_add(u64::from(digit - b'0')));
                    let Some(next) = next else { return Err(wrong) };
                    value = next;
                }
                _ => return Err(wrong),
            }
        }
        Err(wrong)
    }

    /// A member from its header and what came before it.
    fn member(&mut self, block: &[u8; BLOCK], mut before: Before) -> Result<Member, Fault> {
        let mut records = self.global.clone();
        records.append(&mut before.records);
        let size = match records.get(&b"size"[..]) {
            Some(value) => decimal(value).ok_or(Fault::Corrupt("its size makes no sense"))?,
            None => unsigned(&block[124..136], "its size makes no sense")?,
        };
        let kind_byte = block[156];
        // The size of a hard link is that of its file, but no data follows (as GNU tar reads it).
        let size = if kind_byte == b'1' { 0 } else { size };
        (self.left, self.padding) = (size, padding_of(size));

        let name = records.remove(&b"path"[..]).or(before.name).unwrap_or_else(|| name_of(block));
        let link = records.remove(&b"linkpath"[..]).or(before.link).unwrap_or_else(|| text(&block[157..257]));
        let kind = match kind_byte {
            0 | b'0' | b'7' if name.ends_with(b"/") => Kind::Directory,
            0 | b'0' | b'7' | b'S' => Kind::File,
            b'1' => Kind::HardLink(link),
            b'2' => Kind::Symlink(link),
            b'3' | b'4' => Kind::Device {
                block: kind_byte == b'4',
                major: unsigned(&block[329..337], "its device number makes no sense")?,
                minor: unsigned(&block[337..345], "its device number makes no sense")?,
            },
            b'5' | b'D' => Kind::Directory,
            b'6' => Kind::Fifo,
            b'M' => return Err(Fault::Corrupt("it is the second volume of an archive")),
            other => Kind::Unknown(other),
        };
        let mut member = Member::plain(name, kind);
        member.mode = unsigned::<u32>(&block[100..108], "its mode makes no sense")? & 0o7777;
        member.uid = id(&records, b"uid", &block[108..116])?;
        member.gid = id(&records, b"gid", &block[116..124])?;
        member.modified = match records.get(&b"mtime"[..]).and_then(|value| time(value)) {
            Some(time) => time,
            None => (number(&block[136..148]).and_then(|n| i64::try_from(n).ok()).unwrap_or(0), 0),
        };
        if member.kind == Kind::File {
            self.holes(block, &mut records, before.pieces, &mut member)?;
        }
        attributes(records, &mut member);
        Ok(member)
    }

    /// The file's real length and where its data lies.
    fn holes(
        &mut self,
        block: &[u8; BLOCK],
        records: &mut Records,
        pieces_0_0: Vec<(u64, u64)>,
        member: &mut Member,
    ) -> Result<(), Fault> {
        member.length = self.left;
        let mut take_number = |key: &[u8]| records.remove(key).and_then(|value| decimal(&value));
        let size_0 = take_number(b"GNU.sparse.size");
        let size_1 = take_number(b"GNU.sparse.realsize");
        let major = take_number(b"GNU.sparse.major");
        let map_0_1 = records.remove(&b"GNU.sparse.map"[..]);
        let name = records.remove(&b"GNU.sparse.name"[..]);
        let pieces = if block[156] == b'S' {
            let mut pieces = Vec::new();
            read_pieces(&block[386..482], &mut pieces)?;
            if block[482] != 0 {
                self.more_pieces(&mut pieces)?;
            }
            member.length = unsigned(&block[483..495], "its real size makes no sense")?;
            pieces
        } else if major == Some(1) {
            member.length = size_1.ok_or(Fault::Corrupt("its real size is missing"))?;
            self.map_before_data()?
        } else if let Some(map) = map_0_1 {
            member.length = size_0.ok_or(Fault::Corrupt("its real size is missing"))?;
            parse_map(&map)?
        } else if !pieces_0_0.is_empty() {
            member.length = size_0.ok_or(Fault::Corrupt("its real size is missing"))?;
            pieces_0_0
        } else {
            return Ok(());
        };
        if let Some(name) = name {
            member.name = name;
        }
        member.data = Some(check_pieces(pieces, member.length, self.left)?);
        Ok(())
    }
}

impl<R: Read> Members for TarReader<R> {
    fn next(&mut self) -> Result<Option<Member>, Fault> {
        if self.ended {
            return Ok(None);
        }
        self.skip_member()?;
        let mut before = Before::default();
        loop {
            let Some(block) = self.header()? else {
                self.ended = true;
                return Ok(None);
            };
            let size: u64 = match block[156] {
                b'L' | b'K' | b'x' | b'X' | b'g' | b'V' => {
                    unsigned(&block[124..136], "its size makes no sense")?
                }
                _ => return self.member(&block, before).map(Some),
            };
            match block[156] {
                b'L' => before.name = Some(self.long_name(size)?),
                b'K' => before.link = Some(self.long_name(size)?),
                b'g' => {
                    for (key, value) in self.records(size)? {
                        set_record(&mut self.global, key, value);
                    }
                }
                b'V' => skip(&mut self.input, size.saturating_add(padding_of(size)))?,
                _ => {
                    for (key, value) in self.records(size)? {
                        before.take(key, value)?;
                    }
                }
            }
        }
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

impl Before {
    fn take(&mut self, key: Vec<u8>, value: Vec<u8>) -> Result<(), Fault> {
        let wrong = Fault::Corrupt("its map of holes makes no sense");
        if key == b"GNU.sparse.offset" {
            let Some(offset) = decimal(&value) else { return Err(wrong) };
            if self.pieces.len() >= MOST_PIECES {
                return Err(Fault::Corrupt("its map of holes is too long"));
            }
            self.pieces.push((offset, 0));
        } else if key == b"GNU.sparse.numbytes" {
            let (Some(length), Some(last)) = (decimal(&value), self.pieces.last_mut()) else {
                return Err(wrong);
            };
            last.1 = length;
        } else {
            set_record(&mut self.records, key, value);
        }
        Ok(())
    }
}

/// An empty value takes a record back.
fn set_record(records: &mut Records, key: Vec<u8>, value: Vec<u8>) {
    if value.is_empty() && !key.starts_with(b"SCHILY.xattr.") {
        records.remove(&key);
    } else {
        records.insert(key, value);
    }
}

/// The name in the header itself: ustar's prefix before it.
fn name_of(block: &[u8; BLOCK]) -> Vec<u8> {
    let name = text(&block[..100]);
    let prefix = if &block[257..263] == b"ustar\0" { text(&block[345..500]) } else { Vec::new() };
    if prefix.is_empty() { name } else { [prefix, name].join(&b'/') }
}

fn padding_of(size: u64) -> u64 {
    (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64
}

/// `LENGTH KEY=VALUE\n`, LENGTH counting all of it.
fn parse_records(mut bytes: &[u8]) -> Result<Vec<Record>, Fault> {
    let wrong = || Fault::Corrupt("a pax record makes no sense");
    let mut records = Vec::new();
    while !bytes.is_empty() {
        let blank = bytes.iter().take(20).position(|byte| *byte == b' ').ok_or_else(wrong)?;
        let length = decimal(&bytes[..blank]).and_then(|n| usize::try_from(n).ok()).ok_or_else(wrong)?;
        let record =
            bytes.get(blank + 1..length).and_then(|record| record.strip_suffix(b"\n")).ok_or_else(wrong)?;
        let equals = record.iter().position(|byte| *byte == b'=').ok_or_else(wrong)?;
        records.push((record[..equals].to_vec(), record[equals + 1..].to_vec()));
        bytes = &bytes[length..];
    }
    Ok(records)
}

fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u64, |n, byte| match byte {
        b'0'..=b'9' => n.checked_mul(10)?.checked_add(u64::from(byte - b'0')),
        _ => None,
    })
}

fn id(records: &Records, key: &[u8], field: &[u8]) -> Result<u32, Fault> {
    let wrong = "its owner makes no sense";
    let id = match records.get(key) {
        Some(value) => decimal(value).and_then(|n| u32::try_from(n).ok()).ok_or(Fault::Corrupt(wrong))?,
        None => unsigned(field, wrong)?,
    };
    // (uid_t) -1 means "do not change" to chown(2): such a file would keep our own owner.
    if id == u32::MAX { Err(Fault::Corrupt(wrong)) } else { Ok(id) }
}

/// Seconds with a fraction, perhaps negative.
fn time(text: &[u8]) -> Option<(i64, u32)> {
    let text = std::str::from_utf8(text).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse().ok()?;
    let digits: String =
        fraction.chars().take_while(char::is_ascii_digit).chain("000000000".chars()).take(9).collect();
    let nanoseconds: u32 = digits.parse().ok()?;
    if whole.starts_with('-') && nanoseconds > 0 {
        Some((seconds.checked_sub(1)?, 1_000_000_000 - nanoseconds))
    } else {
        Some((seconds, nanoseconds))
    }
}

/// Pairs of 12-byte numbers, up to the first with an empty field.
fn read_pieces(bytes: &[u8], pieces: &mut Vec<(u64, u64)>) -> Result<(), Fault> {
    for pair in bytes.chunks_exact(24) {
        if pair[0] == 0 || pair[12] == 0 {
            break;
        }
        if pieces.len() >= MOST_PIECES {
            return Err(Fault::Corrupt("its map of holes is too long"));
        }
        let wrong = "its map of holes makes no sense";
        pieces.push((unsigned(&pair[..12], wrong)?, unsigned(&pair[12..], wrong)?));
    }
    Ok(())
}

fn parse_map(map: &[u8]) -> Result<Vec<(u64, u64)>, Fault> {
    let wrong = || Fault::Corrupt("its map of holes makes no sense");
    let numbers: Option<Vec<u64>> = map.split(|byte| *byte == b',').map(decimal).collect();
    let numbers = numbers.ok_or_else(wrong)?;
    if numbers.len() % 2 != 0 {
        return Err(wrong());
    }
    Ok(numbers.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect())
}

/// Ascending, without overlaps, inside the file, and as long together as the data that follows.
fn check_pieces(pieces: Vec<(u64, u64)>, length: u64, data: u64) -> Result<Vec<(u64, u64)>, Fault> {
    let wrong = || Fault::Corrupt("its map of holes makes no sense");
    let (mut end, mut sum) = (0_u64, 0_u64);
    for (offset, size) in &pieces {
        if *offset < end {
            return Err(wrong());
        }
        end = offset.checked_add(*size).filter(|end| *end <= length).ok_or_else(wrong)?;
        sum += size;
    }
    if sum == data { Ok(pieces) } else { Err(wrong()) }
}

/// Extended attributes and access lists among the records.
fn attributes(records: Records, member: &mut Member) {
    for (key, value) in records {
        if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
            member.attributes.push((name.to_vec(), value));
        } else if key == b"SCHILY.acl.access" {
            member.acls.access = String::from_utf8(value).ok();
        } else if key == b"SCHILY.acl.default" {
            member.acls.default = String::from_utf8(value).ok();
        }
    }
    if member.acls == (Acls { access: Some(String::new()), default: None }) {
        member.acls = Acls::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A header as tar writes it.
    pub(crate) fn header(name: &str, kind: u8, size: u64) -> Vec<u8> {
        let mut block = vec![0_u8; BLOCK];
        block[..name.len()].copy_from_slice(name.as_bytes());
        block[100..108].copy_from_slice(b"0000644\0");
        block[108..116].copy_from_slice(b"0001750\0");
        block[116..124].copy_from_slice(b"0001751\0");
        block[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes());
        block[136..148].copy_from_slice(b"14000000000\0");
        block[156] = kind;
        block[257..265].copy_from_slice(b"ustar\x0000");
        sign(&mut block);
        block
    }

    fn sign(block: &mut [u8]) {
        block[148..156].fill(b' ');
        let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }

    fn with_data(mut header: Vec<u8>, data: &[u8]) -> Vec<u8> {
        header.extend_from_slice(data);
        header.resize(header.len().next_multiple_of(BLOCK), 0);
        header
    }

    fn record(key: &str, value: &str) -> String {
        let rest = format!(" {key}={value}\n");
        let mut length = rest.len();
        while length != rest.len() + length.to_string().len() {
            length = rest.len() + length.to_string().len();
        }
        format!("{length}{rest}")
    }

    fn read_all(archive: Vec<u8>) -> Result<Vec<(Member, Vec<u8>)>, Fault> {
        let mut reader = TarReader::new(std::io::Cursor::new(archive));
        let mut all = Vec::new();
        while let Some(member) = reader.next()? {
            let mut data = Vec::new();
            let mut buffer = [0_u8; 100];
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
    fn plain_members() {
        let mut archive = with_data(header("a", b'0', 3), b"abc");
        archive.extend(with_data(header("d/", b'5', 0), b""));
        archive.extend([0; 1024]);
        let all = read_all(archive).unwrap();
        assert_eq!(all.len(), 2);
        assert_eq!((all[0].0.name.as_slice(), all[0].1.as_slice()), (&b"a"[..], &b"abc"[..]));
        assert_eq!((all[0].0.uid, all[0].0.gid, all[0].0.mode), (1000, 1001, 0o644));
        assert_eq!(all[1].0.kind, Kind::Directory);
    }

    #[test]
    fn pax_records_win_and_end_with_the_member() {
        let records = [
            record("path", "long/name"),
            record("uid", "100000"),
            record("mtime", "-1.25"),
            record("SCHILY.xattr.user.x", "v"),
            record("SCHILY.acl.access", "user::rw-,user:7:r--,group::r--,mask::r--,other::r--"),
        ]
        .concat();
        let mut archive = with_data(header("pax", b'x', records.len() as u64), records.as_bytes());
        archive.extend(with_data(header("short", b'0', 0), b""));
        archive.extend(with_data(header("short", b'0', 0), b""));
        let all = read_all(archive).unwrap();
        assert_eq!(all[0].0.name, b"long/name");
        assert_eq!(all[0].0.uid, 100_000);
        assert_eq!(all[0].0.modified, (-2, 750_000_000));
        assert_eq!(all[0].0.attributes, [(b"user.x".to_vec(), b"v".to_vec())]);
        assert!(all[0].0.acls.access.is_some());
        assert_eq!(all[1].0.name, b"short");
        assert!(all[1].0.attributes.is_empty());
    }

    #[test]
    fn gnu_long_names_and_large_numbers() {
        let long = "x/".repeat(100) + "end";
        let mut archive =
            with_data(header("././@LongLink", b'L', long.len() as u64 + 1), format!("{long}\0").as_bytes());
        let mut block = header("cut", b'0', 0);
        block[108] = 0x80;
        block[109..112].fill(0);
        block[112..116].copy_from_slice(&70_000_u32.to_be_bytes());
        sign(&mut block);
        archive.extend(block);
        let all = read_all(archive).unwrap();
        assert_eq!(all[0].0.name, long.as_bytes());
        assert_eq!(all[0].0.uid, 70_000);
    }

    #[test]
    fn holes() {
        let records = [
            record("GNU.sparse.major", "1"),
            record("GNU.sparse.minor", "0"),
            record("GNU.sparse.name", "sparse"),
            record("GNU.sparse.realsize", "10000"),
        ]
        .concat();
        let mut data = b"2\n4096\n3\n9000\n1\n".to_vec();
        data.resize(BLOCK, 0);
        data.extend(b"abcd");
        let mut archive = with_data(header("pax", b'x', records.len() as u64), records.as_bytes());
        archive.extend(with_data(header("GNUSparseFile.0/sparse", b'0', data.len() as u64), &data));
        let all = read_all(archive).unwrap();
        assert_eq!(all[0].0.name, b"sparse");
        assert_eq!(all[0].0.length, 10_000);
        assert_eq!(all[0].0.data, Some(vec![(4096, 3), (9000, 1)]));
        assert_eq!(all[0].1, b"abcd");
    }

    #[test]
    fn nonsense_is_refused() {
        let fault = |archive| read_all(archive).unwrap_err().to_string();
        let mut block = header("a", b'0', 0);
        block[0] = b'b';
        assert_eq!(fault(block), "a header's checksum is wrong");
        assert_eq!(fault(header("a", b'0', 10)), "it ends too early");
        assert_eq!(fault(with_data(header("a", b'x', 3), b"99 ")), "a pax record makes no sense");
        assert_eq!(fault(header("a", b'L', 1 << 30)), "a name is too long");
        let overlap = [record("GNU.sparse.map", "0,5,4,5"), record("GNU.sparse.size", "100")].concat();
        let mut archive = with_data(header("pax", b'x', overlap.len() as u64), overlap.as_bytes());
        archive.extend(with_data(header("a", b'0', 10), &[0; 10]));
        assert_eq!(fault(archive), "its map of holes makes no sense");
    }

    proptest! {
        #[test]
        fn no_header_panics(mut block in proptest::collection::vec(any::<u8>(), BLOCK), rest: Vec<u8>) {
            sign(&mut block);
            block.extend(rest);
            drop(read_all(block));
        }

        #[test]
        fn no_kind_or_size_panics(kind: u8, size: u64, data in "[0-9 a-zA-Z.=\n]{0,600}") {
            let mut archive = with_data(header("m", kind, size & 0o77_777_777_777), data.as_bytes());
            archive.extend(with_data(header("n", kind, data.len() as u64), data.as_bytes()));
            drop(read_all(archive));
        }

        #[test]
        fn no_records_panic(bytes in "[0-9]{1,3} [a-zA-Z.=]{0,20}\n?") {
            drop(parse_records(bytes.as_bytes()));
        }

        #[test]
        fn pieces_stay_in_the_file(pieces: Vec<(u64, u64)>, length: u64, data: u64) {
            if let Ok(pieces) = check_pieces(pieces, length, data) {
                prop_assert!(pieces.iter().all(|(offset, size)| offset + size <= length));
            }
        }
    }
}
