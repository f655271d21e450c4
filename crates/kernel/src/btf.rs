//! The least of BTF: a function's id, which loading an iterator or a security hook needs, the place of a member in a
//! structure, and the number that an enumeration gives a name.
//!
//! Format: Documentation/bpf/btf.rst of the kernel. A header, type records, a string table.

use std::collections::HashMap;
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
/// `BTF_KIND_ARRAY`, `BTF_KIND_STRUCT`, `BTF_KIND_UNION`, `BTF_KIND_ENUM`, `BTF_KIND_FUNC`
const ARRAY: u32 = 3;
const STRUCT: u32 = 4;
const UNION: u32 = 5;
const ENUM: u32 = 6;
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
            let record = self.record(id, at)?;
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

    /// An index, for who wants to know more than a few things.
    pub fn index(&self) -> Index<'_> {
        let mut index = Index { btf: self, places: vec![0], named: HashMap::new(), numbers: HashMap::new() };
        let all = self.find(|record| {
            index.add(record);
            None::<()>
        });
        debug_assert!(all.is_none(), "no record is wanted");
        index
    }

    fn name(&self, place: usize) -> &[u8] {
        let rest = self.bytes.get(place..self.strings.1).unwrap_or_default();
        rest.split(|byte| *byte == 0).next().unwrap_or_default()
    }

    fn record(&self, id: u32, at: usize) -> Option<Record> {
        let info = u32::try_from(number(&self.bytes, at + 4)?).ok()?;
        Some(Record {
            id,
            kind: (info >> 24) & 0x1f,
            name: self.strings.0.checked_add(number(&self.bytes, at)?)?,
            members: usize::try_from(info & 0xffff).ok()?,
            has_bitfields: info >> 31 == 1,
            rest: at + 12,
        })
    }
}

/// Structures and enumerators by their names, types by their numbers.
#[derive(Debug)]
pub struct Index<'a> {
    btf: &'a Btf,
    /// Where each type's record begins.
    places: Vec<usize>,
    /// Structures: their numbers.
    named: HashMap<&'a [u8], u32>,
    /// Enumerators: their values.
    numbers: HashMap<&'a [u8], u32>,
}

impl Index<'_> {
    fn add(&mut self, record: &Record) {
        self.places.push(record.rest - 12);
        let btf = self.btf;
        match record.kind {
            STRUCT => {
                self.named.entry(btf.name(record.name)).or_insert(record.id);
            }
            ENUM => {
                for at in (record.rest..).step_by(8).take(record.members) {
                    let (Some(name), Some(value)) = (number(&btf.bytes, at), number(&btf.bytes, at + 4))
                    else {
                        return;
                    };
                    if let (Some(name), Ok(value)) = (btf.strings.0.checked_add(name), u32::try_from(value)) {
                        self.numbers.entry(btf.name(name)).or_insert(value);
                    }
                }
            }
            _ => {}
        }
    }

    /// The value of an enumerator.
    pub fn number(&self, enumerator: &str) -> Option<u32> {
        self.numbers.get(enumerator.as_bytes()).copied()
    }

    /// Bytes of a structure.
    pub fn size(&self, structure: &str) -> Option<usize> {
        let at = self.place(*self.named.get(structure.as_bytes())?)?;
        number(&self.btf.bytes, at + 8)
    }

    /// At which byte a member begins: `structure.member`, or `structure.member.member`; members of nameless parts too.
    pub fn byte(&self, path: &str) -> Option<usize> {
        self.member(path).map(|(byte, _)| byte)
    }

    /// How many elements a member has that is an array.
    pub fn length(&self, path: &str) -> Option<usize> {
        let record = self.record(self.member(path)?.1)?;
        // type, index type, length
        (record.kind == ARRAY).then(|| number(&self.btf.bytes, record.rest + 8)).flatten()
    }

    /// Whether a member is a pointer, whatever it is called.
    pub fn is_pointer(&self, path: &str) -> Option<bool> {
        Some(self.record(self.member(path)?.1)?.kind == 2)
    }

    fn member(&self, path: &str) -> Option<(usize, u32)> {
        let mut parts = path.split('.');
        let mut of = *self.named.get(parts.next()?.as_bytes())?;
        let mut byte = 0;
        for part in parts {
            let (bit, kind) = self.member_of(of, part, 4)?;
            byte += bit / 8;
            of = kind;
        }
        Some((byte, of))
    }

    fn member_of(&self, of: u32, wanted: &str, deep: u8) -> Option<(usize, u32)> {
        let record = self.record(of)?;
        if deep == 0 || !matches!(record.kind, STRUCT | UNION) {
            return None;
        }
        (0..record.members).find_map(|number_of| {
            let at = record.rest + 12 * number_of;
            let name = number(&self.btf.bytes, at)?;
            let kind = u32::try_from(number(&self.btf.bytes, at + 4)?).ok()?;
            let bits = number(&self.btf.bytes, at + 8)?;
            let bits = if record.has_bitfields { bits & 0x00ff_ffff } else { bits };
            if name == 0 {
                let (below, kind) = self.member_of(kind, wanted, deep - 1)?;
                return Some((bits + below, kind));
            }
            self.btf.is_called(self.btf.strings.0.checked_add(name)?, wanted).then_some((bits, kind))
        })
    }

    fn place(&self, id: u32) -> Option<usize> {
        self.places.get(usize::try_from(id).ok()?).copied()
    }

    /// The record of a type, behind its other names (typedef, volatile, const, restrict, type tag).
    fn record(&self, mut id: u32) -> Option<Record> {
        for _ in 0..8 {
            let record = self.btf.record(id, self.place(id)?)?;
            if !matches!(record.kind, 8..=11 | 18) {
                return Some(record);
            }
            id = u32::try_from(number(&self.btf.bytes, record.rest - 4)?).ok()?;
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

    #[test]
    fn an_index_finds_members_sizes_and_arrays() {
        let btf = Btf::parse(sample()).unwrap();
        let index = btf.index();
        assert_eq!((index.byte("s.int"), index.byte("s.f"), index.byte("s.fg")), (Some(0), Some(4), None));
        assert_eq!((index.size("s"), index.size("f"), index.number("f")), (Some(8), None, None));
        assert_eq!((index.length("s.int"), index.is_pointer("s.int")), (None, Some(false)));
    }

    /// Places that programs of other parts rely on as well, so that a kernel's own information shows what is found.
    #[test]
    fn an_index_of_the_running_kernel_knows_what_is_nameless_and_nested() {
        let Ok(btf) = Btf::of_kernel() else { return };
        let index = btf.index();
        assert_eq!(index.byte("sock.__sk_common.skc_family"), Some(16));
        assert!(index.length("css_set.subsys").is_some());
        assert_eq!(index.number("NR_SLAB_RECLAIMABLE_B"), Some(5));
        assert_eq!(index.is_pointer("task_struct.nsproxy"), Some(true));
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
            let _ = Btf::parse(bytes).and_then(|btf| btf.function("fg").or(btf.member_bit("s", "f")).or_else(|| {
                let index = btf.index();
                index.byte("s.f").or(index.length("s.int")).and_then(|found| u32::try_from(found).ok())
            }));
        }
    }
}
