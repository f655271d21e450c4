//! The least of BTF: a function's id, which loading an iterator or a security hook needs, and the place of a member in a
//! structure.
//!
//! Format: Documentation/bpf/btf.rst of the kernel. A header, type records, a string table.

use std::io;

/// Type information of the running kernel.
#[derive(Debug)]
pub struct Btf {
    bytes: Vec<u8>,
    /// Where the type records begin and end.
    types: (usize, usize),
    /// Where the names begin and end.
    strings: (usize, usize),
}

/// Where the kernel shows it.
pub const PATH: &str = "/sys/kernel/btf/vmlinux";
const MAGIC: u16 = 0xeb9f;
/// `BTF_KIND_STRUCT`, `BTF_KIND_FUNC`
const STRUCT: u32 = 4;
const FUNC: u32 = 12;

/// A type record.
struct Record {
    /// Its number; they count up from 1.
    id: u32,
    kind: u32,
    /// Where its name begins in the bytes.
    name: usize,
    /// How many members.
    members: usize,
    /// Whether a member's place also has its bits.
    has_bitfields: bool,
    /// Where what follows its common twelve bytes begins.
    rest: usize,
}

impl Btf {
    /// That of the kernel that is running. It has megabytes: a few milliseconds.
    pub fn of_kernel() -> io::Result<Self> {
        Self::parse(std::fs::read(PATH)?)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not in the format that is known"))
    }

    pub(crate) fn parse(bytes: Vec<u8>) -> Option<Self> {
        let magic = u16::from_ne_bytes([*bytes.first()?, *bytes.get(1)?]);
        let header = number(&bytes, 4)?;
        let section = |at: usize| -> Option<(usize, usize)> {
            let start = header.checked_add(number(&bytes, at)?)?;
            let end = start.checked_add(number(&bytes, at + 4)?)?;
            (end <= bytes.len()).then_some((start, end))
        };
        let (types, strings) = (section(8)?, section(16)?);
        (magic == MAGIC).then_some(Self { bytes, types, strings })
    }

    /// The first record that `wanted` has something of.
    fn find<T>(&self, mut wanted: impl FnMut(&Record) -> Option<T>) -> Option<T> {
        let mut at = self.types.0;
        let mut id = 1;
        while at < self.types.1 {
            let info = u32::try_from(number(&self.bytes, at + 4)?).ok()?;
            let record = Record {
                id,
                kind: (info >> 24) & 0x1f,
                name: self.strings.0.checked_add(number(&self.bytes, at)?)?,
                members: usize::try_from(info & 0xffff).ok()?,
                has_bitfields: info >> 31 == 1,
                rest: at + 12,
            };
            if let Some(found) = wanted(&record) {
                return Some(found);
            }
            at = record.rest + extra(record.kind, record.members)?;
            id += 1;
        }
        None
    }

    fn is_called(&self, place: usize, name: &str) -> bool {
        self.bytes.get(place..self.strings.1).is_some_and(|rest| {
            rest.strip_prefix(name.as_bytes()).is_some_and(|after| after.first() == Some(&0))
        })
    }

    /// The id of the function called `name`.
    pub fn function(&self, name: &str) -> Option<u32> {
        self.find(|record| (record.kind == FUNC && self.is_called(record.name, name)).then_some(record.id))
    }

    /// At which bit of the structure called `name` its member begins. Members of nameless parts are not found.
    pub fn member_bit(&self, name: &str, member: &str) -> Option<u32> {
        let place = |record: &Record| {
            (0..record.members).find_map(|number_of| {
                let at = record.rest + 12 * number_of;
                let called = self.strings.0.checked_add(number(&self.bytes, at)?)?;
                let bits = u32::try_from(number(&self.bytes, at + 8)?).ok()?;
                let bits = if record.has_bitfields { bits & 0x00ff_ffff } else { bits };
                self.is_called(called, member).then_some(bits)
            })
        };
        self.find(|record| {
            (record.kind == STRUCT && self.is_called(record.name, name)).then(|| place(record))
        })
        .flatten()
    }
}

/// Bytes of a record beyond its common twelve.
fn extra(kind: u32, members: usize) -> Option<usize> {
    Some(match kind {
        // pointer, forward, typedef, volatile, const, restrict, function, float, type tag
        2 | 7..=12 | 16 | 18 => 0,
        // integer, variable, declaration tag
        1 | 14 | 17 => 4,
        // array
        3 => 12,
        // structure, union, section, 64-bit enumeration
        4 | 5 | 15 | 19 => 12 * members,
        // enumeration, prototype
        6 | 13 => 8 * members,
        _ => return None,
    })
}

fn number(bytes: &[u8], at: usize) -> Option<usize> {
    let four = bytes.get(at..at.checked_add(4)?)?;
    usize::try_from(u32::from_ne_bytes(four.try_into().ok()?)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An integer, a function `f`, a function `fg`, and a structure `s` with the members `int` and, of one bit, `f`.
    fn sample() -> Vec<u8> {
        let words = |words: &[u32]| words.iter().flat_map(|word| word.to_ne_bytes()).collect::<Vec<_>>();
        let types = words(
            &[
                [1, 1 << 24, 4, 7].as_slice(),
                &[5, FUNC << 24, 0],
                &[7, FUNC << 24, 0],
                &[10, 1 << 31 | STRUCT << 24 | 2, 8],
                &[1, 1, 0],
                &[5, 1, 1 << 24 | 0x25],
            ]
            .concat(),
        );
        let strings = b"\0int\0f\0fg\0s\0";
        let mut bytes = [MAGIC.to_ne_bytes().as_slice(), &[1, 0]].concat();
        for value in [24, 0, types.len(), types.len(), strings.len()] {
            bytes.extend(u32::try_from(value).unwrap().to_ne_bytes());
        }
        [bytes, types, strings.to_vec()].concat()
    }

    #[test]
    fn functions_are_found_by_their_whole_name() {
        let btf = Btf::parse(sample()).unwrap();
        assert_eq!((btf.function("f"), btf.function("fg")), (Some(2), Some(3)));
        assert_eq!((btf.function("int"), btf.function("g"), btf.function("nothing")), (None, None, None));
    }

    #[test]
    fn members_are_found_in_their_structure() {
        let btf = Btf::parse(sample()).unwrap();
        assert_eq!((btf.member_bit("s", "int"), btf.member_bit("s", "f")), (Some(0), Some(37)));
        assert_eq!((btf.member_bit("s", "fg"), btf.member_bit("f", "int")), (None, None));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(change in proptest::collection::vec((0usize..130, proptest::num::u8::ANY), 0..9),
                                          cut in 0usize..140) {
            let mut bytes = sample();
            for (at, value) in change {
                if let Some(byte) = bytes.get_mut(at) { *byte = value; }
            }
            bytes.truncate(cut);
            let _ = Btf::parse(bytes).and_then(|btf| btf.function("fg").or(btf.member_bit("s", "f")));
        }
    }
}
