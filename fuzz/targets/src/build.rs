//! Parsers of the builder: archives, tables, lists, the command line.

use std::ffi::OsString;
use std::io::Cursor;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Component, Path};

use vserver_build::archive::detect;
use vserver_build::{archive, ask, devs, exclude};

use crate::text_of;

/// An archive of any format: no number of it leads to more than it holds.
pub fn archive(data: &[u8]) {
    for archive in [data.to_vec(), signed(data)] {
        let length = archive.len() as u64;
        let Ok(mut members) = detect::open(Box::new(Cursor::new(archive))) else { continue };
        let mut buffer = [0_u8; 4096];
        // A compressed archive may be longer than its file, but not without end.
        for _ in 0..1000 {
            let Ok(Some(member)) = members.next() else { break };
            assert!(member.mode <= 0o7777);
            assert!(member.uid != u32::MAX && member.gid != u32::MAX);
            assert!(member.modified.1 < 1_000_000_000);
            let mut end = 0;
            for (offset, size) in member.data.iter().flatten() {
                assert!(*offset >= end, "pieces overlap");
                end = offset + size;
                assert!(end <= member.length, "a piece lies behind the end");
            }
            let mut got = 0_u64;
            while let Ok(more @ 1..) = members.read(&mut buffer) {
                got += more as u64;
                assert!(got <= length.saturating_mul(2000), "data out of nothing");
            }
        }
    }
}

/// The same bytes with the checksums of tar headers made right, or mutations would end at the first one.
fn signed(data: &[u8]) -> Vec<u8> {
    let mut data = data.to_vec();
    for block in data.chunks_exact_mut(512).filter(|block| block[257..].starts_with(b"ustar")) {
        block[148..156].fill(b' ');
        let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
    data
}

/// An access list: as many entries as the kernel's form has.
pub fn access_list(data: &[u8]) {
    if let Some(value) = archive::acl::to_attribute(&text_of(data), &|_, name| (name == "known").then_some(7))
    {
        assert!(value.len() > 4 && (value.len() - 4) % 8 == 0);
    }
}

/// A table of device nodes: nothing of it leaves `/dev`.
pub fn device_table(data: &[u8]) {
    if let Ok(entries) = devs::parse(Path::new("devs"), &text_of(data)) {
        for entry in entries {
            assert!(entry.name.components().all(|part| matches!(part, Component::Normal(_))));
        }
    }
}

/// A list of what is left out; a slow pattern would hang.
pub fn exclude_list(data: &[u8]) {
    let rules = exclude::Excludes::parse(data);
    for path in ["etc/passwd", "var/log/syslog", "usr/share/doc/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab/x"] {
        rules.leave_out(Path::new(path));
    }
}

/// Words of `vserver NAME build`, one a line; those of the method too.
pub fn build_words(data: &[u8]) {
    let words: Vec<OsString> =
        data.split(|byte| *byte == b'\n').map(|word| OsString::from_vec(word.to_vec())).collect();
    let name = vserver_model::GuestName::new("guest").ok();
    match ask::read(name, &[], &words) {
        Ok(ask::Asked::Build(ask)) => {
            let settings = &ask.settings;
            assert!(settings.hostname.as_ref().is_none_or(|text| !text.contains('\n')));
            drop(ask.method.prepare(&ask.method_words));
        }
        Ok(_) => {}
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
