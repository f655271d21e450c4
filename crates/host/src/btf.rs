//! The least of BTF: finding a function's id, which loading an iterator or a security hook needs.
//!
//! Format: Documentation/bpf/btf.rst of the kernel. A header, type records, a string table.

use std::io;
use std::path::Path;

use crate::file;

/// Type information of the running kernel.
#[derive(Debug)]
pub(crate) struct Btf {
    bytes: Vec<u8>,
    /// Where the type records begin and end.
    types: (usize, usize),
    /// Where the names begin and end.
    strings: (usize, usize),
}

/// Where the kernel shows it.
pub(crate) const PATH: &str = "/sys/kernel/btf/vmlinux";
const MAGIC: u16 = 0xeb9f;
/// `BTF_KIND_FUNC`
const FUNC: u32 = 12;

impl Btf {
    pub(crate) fn of_kernel() -> io::Result<Self> {
        Self::parse(file::read(Path::new(PATH))?)
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

    /// The id of the function called `name`.
    pub(crate) fn function(&self, name: &str) -> Option<u32> {
        let wanted: Vec<u8> = [name.as_bytes(), &[0]].concat();
        let mut at = self.types.0;
        let mut id = 1;
        while at < self.types.1 {
            let info = u32::try_from(number(&self.bytes, at + 4)?).ok()?;
            let kind = (info >> 24) & 0x1f;
            let members = usize::try_from(info & 0xffff).ok()?;
            if kind == FUNC {
                let start = self.strings.0.checked_add(number(&self.bytes, at)?)?;
                if self.bytes.get(start..self.strings.1)?.starts_with(&wanted) {
                    return Some(id);
                }
            }
            at += 12 + extra(kind, members)?;
            id += 1;
        }
        None
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

    /// An integer, a function `f` and a function `fg`.
    fn sample() -> Vec<u8> {
        let record =
            |name: u32, kind: u32, size: u32| [name, kind << 24, size].map(u32::to_ne_bytes).concat();
        let types =
            [record(1, 1, 4), 7u32.to_ne_bytes().to_vec(), record(5, FUNC, 0), record(7, FUNC, 0)].concat();
        let strings = b"\0int\0f\0fg\0";
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

    proptest::proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(change in proptest::collection::vec((0usize..80, proptest::num::u8::ANY), 0..9),
                                          cut in 0usize..90) {
            let mut bytes = sample();
            for (at, value) in change {
                if let Some(byte) = bytes.get_mut(at) { *byte = value; }
            }
            bytes.truncate(cut);
            let _ = Btf::parse(bytes).and_then(|btf| btf.function("fg"));
        }
    }
}
