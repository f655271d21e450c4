//! `/run/vserver/virtnet/NID/…`: what `/proc/virtnet` was on a patched kernel, and what the commands know a network
//! context by.

use std::fmt::Write as _;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use vserver_kernel::bpf::network::Rules;
use vserver_model::address::Netmask;
use vserver_model::{Layout, Nid};

use crate::failure::{Doing, Failure};
use crate::record::{make_directory, remove_directory, write_beside};

/// What only these files tell: the rest is in the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// The cgroup, relative to the hierarchy's root.
    pub group: PathBuf,
    /// Words of `nflags`.
    pub flags: u64,
    /// Words of `ncapabilities`.
    pub capabilities: u64,
}

/// Files of one context; the first is what it is found by.
const FILES: [&str; 2] = ["status", "info"];

/// Writes the files of a context.
///
/// # Errors
/// `/run` cannot be written.
pub fn write(layout: &Layout, published: &Published, rules: &Rules) -> Result<(), Failure> {
    let directory = layout.virtnet_of(rules.nid);
    if directory.is_dir() {
        return write_files(&directory, published, rules);
    }
    // A directory is there with all its files or not at all; what a killed command leaves is known by the group.
    let draft = draft_of(layout, &published.group);
    remove_directory(&draft)?;
    make_directory(&draft)?;
    let written = write_files(&draft, published, rules)
        .and_then(|()| fs::rename(&draft, &directory).doing(|| format!("write {}", directory.display())));
    if written.is_err() {
        remove_directory(&draft)?;
    }
    written
}

/// Where the files of a group's context are written first; no number, so that it is not taken for a context.
fn draft_of(layout: &Layout, group: &Path) -> PathBuf {
    let name = group.to_string_lossy().replace('/', "-");
    layout.virtnetdir().join(format!(".{name}"))
}

fn write_files(directory: &Path, published: &Published, rules: &Rules) -> Result<(), Failure> {
    for (name, text) in FILES.iter().zip([status(published), info(published, rules)]) {
        write_beside(&directory.join(name), text.as_bytes())?;
    }
    Ok(())
}

fn status(published: &Published) -> String {
    let Published { flags, capabilities, group } = published;
    format!("UseCnt:\t1\nFlags:\t{flags:016x}\nNCaps:\t{capabilities:016x}\nGroup:\t{}\n", group.display())
}

/// Labels and form as the kernel patch had them.
fn info(published: &Published, rules: &Rules) -> String {
    let mut text = format!(
        "ID:\t{}\nInfo:\t{}\nBcast:\t{}\nLback:\t{}\n",
        rules.nid,
        published.group.file_name().unwrap_or_default().display(),
        rules.bcast,
        rules.lback
    );
    for (number, (ip, prefix)) in rules.addresses().enumerate() {
        let shown = match ip {
            IpAddr::V4(ip) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
                format!("[{ip}-0.0.0.0/{}:0001]", Netmask::Dotted(mask.into()))
            }
            IpAddr::V6(ip) => format!("[{ip}-::/{prefix}:0001]"),
        };
        writeln!(text, "{number}:\t{shown}").expect("a String takes all");
    }
    text
}

/// What the files of a context tell; `None` without such a context.
pub fn read(layout: &Layout, nid: Nid) -> Option<Published> {
    parse(&fs::read_to_string(layout.virtnet_of(nid).join(FILES[0])).ok()?)
}

fn parse(text: &str) -> Option<Published> {
    let field = |label: &str| text.lines().find_map(|line| line.strip_prefix(label)?.strip_prefix(":\t"));
    let bits = |label: &str| u64::from_str_radix(field(label)?, 16).ok();
    Some(Published { group: field("Group")?.into(), flags: bits("Flags")?, capabilities: bits("NCaps")? })
}

/// The numbers of all contexts that have files, ascending.
pub fn numbers(layout: &Layout) -> Vec<Nid> {
    let entries = fs::read_dir(layout.virtnetdir()).into_iter().flatten().flatten();
    let mut numbers: Vec<Nid> =
        entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    numbers.sort_unstable();
    numbers
}

/// Removes the files of whatever context has this cgroup.
///
/// # Errors
/// `/run` cannot be written.
pub fn remove_of_group(layout: &Layout, group: &Path) -> Result<(), Failure> {
    remove_directory(&draft_of(layout, group))?;
    let own = |nid: &Nid| read(layout, *nid).is_some_and(|published| published.group == group);
    numbers(layout).into_iter().filter(own).try_for_each(|nid| remove(layout, nid))
}

/// Removes the files of a context. May be called again.
///
/// # Errors
/// `/run` cannot be written.
pub fn remove(layout: &Layout, nid: Nid) -> Result<(), Failure> {
    remove_directory(&layout.virtnet_of(nid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let published =
            Published { group: "vservers/web 1".into(), flags: 0x4_0600_0200, capabilities: 0x100 };
        assert_eq!(parse(&status(&published)), Some(published));
        assert_eq!(parse("Flags:\tzz\n"), None);
        assert_eq!(parse(""), None);
    }

    #[test]
    fn addresses_are_shown_as_the_patch_did() {
        let mut rules = Rules::new(Nid::new(105).expect("in range"));
        rules.v4 = vec![("192.0.2.11".parse().expect("an address"), 24)];
        rules.v6 = vec![("2001:db8::11".parse().expect("an address"), 64)];
        let published = Published { group: "vservers/web1".into(), flags: 0, capabilities: 0 };
        assert_eq!(
            info(&published, &rules),
            "ID:\t105\nInfo:\tweb1\nBcast:\t255.255.255.255\nLback:\t127.0.105.1\n\
             0:\t[192.0.2.11-0.0.0.0/255.255.255.0:0001]\n1:\t[2001:db8::11-::/64:0001]\n"
        );
    }
}
