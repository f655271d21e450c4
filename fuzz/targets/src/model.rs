//! The parsers of `vserver-model`.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use vserver_model::address::Netmask;
use vserver_model::format::{VpsColumns, VpsContext};
use vserver_model::init::{parse_killseq, print_killseq};
use vserver_model::words::TABLES;
use vserver_model::{Address, GuestName, InterfaceArg, Limit, Personality, Xid, parse_list};

use crate::{same_kind, text_of};

/// A word list; the first byte chooses the table.
pub fn word_list(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else { return };
    let table = TABLES[usize::from(*first) % TABLES.len()];
    let list = text_of(rest);
    match parse_list(&list, table) {
        Ok(bits) => {
            assert_eq!(bits.value & !bits.mask, 0);
            assert_eq!(parse_list(&table.print_bits(bits), table), Ok(bits));
            assert_eq!(
                parse_list(&format!("{list},"), table).is_ok(),
                !list.is_empty() && !ends_in_comma(&list)
            );
        }
        Err(unknown) => {
            assert!(unknown.to_string().starts_with(&format!("Unknown {} '", table.kind)));
            assert_ne!(unknown.belongs_to, Some(table.file));
        }
    }
}

fn ends_in_comma(list: &str) -> bool {
    list.trim_end_matches([' ', '\t']).ends_with(',')
}

/// A limit.
pub fn limit(data: &[u8]) {
    let text = text_of(data);
    match text.parse::<Limit>() {
        Ok(limit) => {
            assert_eq!(limit.to_string().parse::<Limit>(), Ok(limit));
            assert_eq!(Limit::from_raw(limit.as_raw()), limit);
            assert!(limit.times(4096) >= limit);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// An address with or without its network.
pub fn address(data: &[u8]) {
    if let Ok(address) = text_of(data).parse::<Address>() {
        assert_eq!(address.to_string().parse::<Address>(), Ok(address));
        assert!(address.network_contains(address.ip) && address.network_contains(address.network()));
        assert!(same_kind(address.ip, address.network()));
        if let Some(broadcast) = address.broadcast() {
            assert!(address.network_contains(broadcast.into()));
        }
        assert_eq!(address.with_prefix_of_files(address.prefix, None), Ok(address));
    }
}

/// A netmask or prefix file.
pub fn netmask(data: &[u8]) {
    if let Ok(mask) = text_of(data).parse::<Netmask>() {
        assert_eq!(mask.to_string().parse::<Netmask>(), Ok(mask));
        assert!(mask.prefix().is_ok(), "a mask that was read is contiguous");
    }
}

/// The argument of `--interface`.
pub fn interface_arg(data: &[u8]) {
    if let Ok(arg) = text_of(data).parse::<InterfaceArg>() {
        assert_eq!(arg.to_string().parse::<InterfaceArg>().as_ref(), Ok(&arg));
        let address = arg.address();
        assert_eq!(address.to_string().parse::<Address>(), Ok(address));
    }
}

/// The lines of a personality file.
pub fn personality(data: &[u8]) {
    if let Ok(personality) = Personality::parse_lines(text_of(data).lines()) {
        assert!(personality.get() < 0xffff_ffff);
        assert_eq!(personality.to_string().parse::<Personality>(), Ok(personality));
    }
}

/// A signal.
pub fn signal(data: &[u8]) {
    if let Ok(number) = vserver_model::signal::parse(&text_of(data)) {
        assert_eq!(vserver_model::signal::parse(&vserver_model::signal::name(number)), Ok(number));
    }
}

/// The lines of a kill sequence.
pub fn killseq(data: &[u8]) {
    if let Ok(steps) = parse_killseq(text_of(data).lines()) {
        assert_eq!(steps.len() % 2, 1);
        let printed = print_killseq(&steps);
        assert_eq!(parse_killseq(printed.iter().map(String::as_str)), Ok(steps));
    }
}

/// A context's number.
pub fn number(data: &[u8]) {
    if let Ok(xid) = text_of(data).parse::<Xid>() {
        assert_eq!(xid.to_string().parse::<Xid>(), Ok(xid));
        assert!(xid.first_uid().checked_add(xid.uid_count()).is_some());
    }
}

/// A guest's name and its lock.
pub fn guest_name(data: &[u8]) {
    let name = OsStr::from_bytes(data);
    assert!(!vserver_model::name::lock_name(name).contains('/'));
    if let Ok(name) = GuestName::new(name) {
        let joined = Path::new("/base").join(&name);
        assert_eq!(joined.parent(), Some(Path::new("/base")));
        assert_eq!(joined.file_name(), Some(name.as_os_str()));
        assert!(!name.lock_name().is_empty() && name.lock_name().len() <= 200);
    }
}

/// A header and a row of ps, as `vps` cuts them.
pub fn vps_line(data: &[u8]) {
    let mut lines = data.splitn(2, |byte| *byte == b'\n');
    let (header, row) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    if let Some(columns) = VpsColumns::from_header(header) {
        let context = VpsContext::Known { xid: 105, name: b"web1" };
        assert!(columns.header(header).len() >= header.len() + 20);
        assert!(columns.row(row, context).len() >= row.len() + 20);
        if let Some(pid) = columns.pid(row) {
            let digits = pid.to_string().into_bytes();
            assert!(row.windows(digits.len()).any(|part| part == digits));
        }
    }
}
