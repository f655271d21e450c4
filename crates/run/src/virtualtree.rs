//! `/run/vserver/virtual/XID/…`: what `/proc/virtual` was on a patched kernel (design decision 11).

use vserver_model::{Layout, Xid};

use crate::failure::Failure;
use crate::record::{Record, make_directory, remove_directory, write_beside};

/// Files of one guest.
const FILES: [&str; 2] = ["info", "status"];

/// Writes the tree of a guest that has just been started.
///
/// # Errors
/// `/run` cannot be written.
pub fn write(layout: &Layout, record: &Record) -> Result<(), Failure> {
    let directory = layout.virtual_of(record.xid);
    make_directory(&directory)?;
    let xid = record.xid;
    let info = format!("ID:\t{xid}\nInfo:\t{}\nInit:\t{}\n", record.name.display(), record.init.pid);
    let status = format!(
        "UseCnt:\t1\nTasks:\t1\nFlags:\t{:016x}\nBCaps:\t{:016x}\nCCaps:\t{:016x}\nSpaces:\t{:08x}\n",
        record.flags, record.rights.capabilities.0, 0, 0
    );
    for (name, text) in FILES.iter().zip([info, status]) {
        write_beside(&directory.join(name), text.as_bytes())?;
    }
    Ok(())
}

/// Removes it. May be called again.
///
/// # Errors
/// `/run` cannot be written.
pub fn remove(layout: &Layout, xid: Xid) -> Result<(), Failure> {
    remove_directory(&layout.virtual_of(xid))
}
