//! Recognising an archive by its first bytes, through any compression.

use std::io::{BufReader, Cursor, Read};

use super::cpio::CpioReader;
use super::tar::{self, TarReader};
use super::{Fault, Members};

/// How much of the beginning we look at: a tar header.
const HEAD: usize = 512;
/// How many compressions may lie around an archive.
const MOST_LAYERS: usize = 4;

/// What the first bytes say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// gzip.
    Gzip,
    /// bzip2.
    Bzip2,
    /// xz.
    Xz,
    /// Zstandard.
    Zstd,
    /// tar of any kind.
    Tar,
    /// cpio, old binary, odc or newc.
    Cpio,
    /// dump(8), which we do not unpack.
    Dump,
}

/// Looks at the first bytes (up to 512) of a file.
pub fn detect(head: &[u8]) -> Option<Format> {
    let at = |offset: usize, magic: &[u8]| head.get(offset..).is_some_and(|rest| rest.starts_with(magic));
    let long_at_24 = |n: u32| at(24, &n.to_le_bytes()) || at(24, &n.to_be_bytes());
    if at(0, b"\x1f\x8b") {
        Some(Format::Gzip)
    } else if at(0, b"BZh") {
        Some(Format::Bzip2)
    } else if at(0, b"\xfd7zXZ\0") {
        Some(Format::Xz)
    } else if at(0, b"\x28\xb5\x2f\xfd") {
        Some(Format::Zstd)
    } else if at(257, b"ustar\0") || at(257, b"ustar  \0") {
        Some(Format::Tar)
    } else if [&b"070701"[..], b"070702", b"070707", b"\xc7\x71", b"\x71\xc7"]
        .iter()
        .any(|magic| at(0, magic))
    {
        Some(Format::Cpio)
    } else if long_at_24(60_011) || long_at_24(60_012) {
        Some(Format::Dump)
    } else if tar::is_header(head) {
        // The tar of Unix V7 has no magic, but a checksum.
        Some(Format::Tar)
    } else {
        None
    }
}

/// Opens an archive: unpacks compressions until a known archive comes out.
///
/// # Errors
/// [`Fault::UnknownFormat`], [`Fault::Dump`], or it cannot be read.
pub fn open(input: Box<dyn Read>) -> Result<Box<dyn Members>, Fault> {
    let mut input = input;
    for _ in 0..MOST_LAYERS {
        let mut head = Vec::with_capacity(HEAD);
        (&mut input).take(HEAD as u64).read_to_end(&mut head).map_err(Fault::Read)?;
        let format =
            detect(&head).ok_or(if head.is_empty() { Fault::Empty } else { Fault::UnknownFormat })?;
        let whole: Box<dyn Read> = Box::new(Cursor::new(head).chain(input));
        input = match format {
            Format::Tar => return Ok(Box::new(TarReader::new(BufReader::with_capacity(1 << 16, whole)))),
            Format::Cpio => return Ok(Box::new(CpioReader::new(BufReader::with_capacity(1 << 16, whole)))),
            Format::Dump => return Err(Fault::Dump),
            // Each of them reads one stream after the other, as the programs of that name do.
            Format::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(BufReader::new(whole))),
            Format::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(BufReader::new(whole))),
            Format::Xz => Box::new(liblzma::bufread::XzDecoder::new_multi_decoder(BufReader::new(whole))),
            Format::Zstd => Box::new(zstd::stream::read::Decoder::new(whole).map_err(Fault::Read)?),
        };
    }
    Err(Fault::UnknownFormat)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write as _;

    #[test]
    fn magic_bytes() {
        let mut ustar = vec![0_u8; 512];
        ustar[257..263].copy_from_slice(b"ustar\0");
        assert_eq!(detect(&ustar), Some(Format::Tar));
        ustar[257..265].copy_from_slice(b"ustar  \0");
        assert_eq!(detect(&ustar), Some(Format::Tar));
        for (head, format) in [
            (&b"\x1f\x8b\x08"[..], Some(Format::Gzip)),
            (b"BZh9", Some(Format::Bzip2)),
            (b"\xfd7zXZ\0\0", Some(Format::Xz)),
            (b"\x28\xb5\x2f\xfd", Some(Format::Zstd)),
            (b"070701", Some(Format::Cpio)),
            (b"070707", Some(Format::Cpio)),
            (b"\xc7\x71", Some(Format::Cpio)),
            (b"#!/bin/sh", None),
            (b"", None),
        ] {
            assert_eq!(detect(head), format, "{head:?}");
        }
        let mut dump = vec![0_u8; 512];
        dump[24..28].copy_from_slice(&60_012_u32.to_be_bytes());
        assert_eq!(detect(&dump), Some(Format::Dump));
    }

    #[test]
    fn endless_layers_are_refused() {
        let mut bytes = b"nothing".to_vec();
        for _ in 0..6 {
            let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            gzip.write_all(&bytes).unwrap();
            bytes = gzip.finish().unwrap();
        }
        assert!(matches!(open(Box::new(Cursor::new(bytes))), Err(Fault::UnknownFormat)));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>, magic in 0_usize..9) {
            let magics: [&[u8]; 9] = [
                b"", b"\x1f\x8b\x08", b"BZh9", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd", b"070701", b"070707",
                b"\xc7\x71", b"\x71\xc7",
            ];
            let bytes: Vec<u8> = magics[magic].iter().chain(&bytes).copied().collect();
            if let Ok(mut members) = open(Box::new(Cursor::new(bytes))) {
                let mut buffer = [0_u8; 64];
                while let Ok(Some(_)) = members.next() {
                    drop(members.read(&mut buffer));
                }
            }
        }
    }
}
