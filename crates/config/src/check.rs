//! `vserver NAME check`: everything that can be said about a guest's configuration without starting it, in one run.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use vserver_model::{Address, GuestName, Layout, Sourced, Xid};

use crate::files::Files;
use crate::finding::{Finding, Kind};
use crate::guest::{Guest, UserSpace};
use crate::names::list_all;
use crate::not_yet::not_yet_honoured;
use crate::read::{Reading, read, walk_defaults};
use crate::visible;

/// Everything about one guest: what [`read`] finds, what it shares with other guests, what has no effect, and what
/// is wrong with the site's defaults. In the order of files and lines.
pub fn check(layout: &Layout, name: &GuestName) -> Vec<Finding> {
    check_dir(layout, &layout.config_of(name))
}

/// As [`check`], for a configuration directory anywhere.
pub fn check_dir(layout: &Layout, dir: &Path) -> Vec<Finding> {
    let Reading { guest, mut findings } = read(layout, dir);
    findings.extend(not_yet_honoured(&guest).iter().map(crate::NotYet::to_finding));
    findings.extend(shared(layout, dir, &guest));
    findings.extend(same_addresses(layout, dir, &guest));
    findings.extend(wrong_base(layout));
    findings.extend(walk_defaults(layout));
    findings.extend(visible::in_force(layout).1);
    findings.sort();
    findings.dedup();
    findings
}

/// Context numbers and ranges of user ids that another guest has as well.
fn shared(layout: &Layout, dir: &Path, guest: &Guest) -> Vec<Finding> {
    let mut findings = Vec::new();
    let Some(context) = &guest.context else { return findings };
    let own_range = range(guest.spaces.user.as_ref().map(|user| &user.value), context.value);
    let own = std::fs::canonicalize(dir).ok();
    for other in list_all(layout) {
        let other_dir = layout.config_of(&other);
        if other_dir == dir || std::fs::canonicalize(&other_dir).ok() == own {
            continue;
        }
        let Some(number) = context_of(&other_dir) else { continue };
        if number == context.value {
            findings.push(
                Finding::error(
                    Kind::DuplicateContext,
                    &context.file,
                    format!("guest {other} has the context number {number} as well"),
                )
                .at(context.line)
                .hint("give each guest a number of its own, from 2 to 32767"),
            );
            continue;
        }
        let other_guest_range = range(user_space_of(&other_dir).as_ref(), number);
        if let (Some((first, end)), Some((other_first, other_end))) = (own_range, other_guest_range)
            && first < other_end
            && other_first < end
        {
            let place = guest.spaces.user.as_ref().map_or(&context.file, |user| &user.file);
            findings.push(
                Finding::error(
                    Kind::Conflict,
                    place,
                    format!("guest {other} has some of these user ids as well"),
                )
                .hint("leave spaces/user empty, so that the range follows from the context number"),
            );
        }
    }
    findings
}

/// Addresses that another guest has as well: allowed, and worth knowing.
fn same_addresses(layout: &Layout, dir: &Path, guest: &Guest) -> Vec<Finding> {
    let mut findings = Vec::new();
    if guest.interfaces.list.is_empty() {
        return findings;
    }
    let own = std::fs::canonicalize(dir).ok();
    for other in list_all(layout) {
        let other_dir = layout.config_of(&other);
        if other_dir == dir || std::fs::canonicalize(&other_dir).ok() == own {
            continue;
        }
        let theirs = addresses_of(&other_dir);
        for interface in &guest.interfaces.list {
            let Sourced { value, file, line } = &interface.address;
            if theirs.contains(&value.ip) && !value.is_any() {
                let text = format!("guest {other} has the address {} as well", value.ip);
                findings.push(
                    Finding::note(Kind::Conflict, file, text)
                        .at(*line)
                        .hint("both may run at once, but of two servers on one port only the first gets it"),
                );
            }
        }
    }
    findings
}

/// Another guest's addresses, as far as they are good.
fn addresses_of(dir: &Path) -> Vec<IpAddr> {
    let mut files = Files::default();
    let dirs = files.subdirs(&dir.join("interfaces"));
    let enabled = dirs.into_iter().filter(|dir| !dir.join("disabled").exists());
    let texts = enabled.filter_map(|dir| files.scalar(&dir.join("ip"))).collect::<Vec<_>>();
    texts.iter().filter_map(|text| text.value.to_str()?.parse::<Address>().ok()).map(|it| it.ip).collect()
}

/// The first and the end of a guest's user ids on the host.
fn range(user: Option<&UserSpace>, context: Xid) -> Option<(u64, u64)> {
    let (first, count) = match user? {
        UserSpace::Default => (context.first_uid(), context.uid_count()),
        UserSpace::Off => return None,
        UserSpace::Range { first, count } => (*first, *count),
    };
    Some((first.into(), u64::from(first) + u64::from(count)))
}

/// Another guest's context number, if it has a good one.
fn context_of(dir: &Path) -> Option<Xid> {
    Files::default().scalar(&dir.join("context"))?.value.to_str()?.parse().ok()
}

fn user_space_of(dir: &Path) -> Option<UserSpace> {
    let value = Files::default().scalar_or_empty(&dir.join("spaces/user"))?.value;
    crate::read::user_space(value.to_str()?).ok()
}

/// `/etc/vserver`, which is one letter away from where guests are configured.
fn wrong_base(layout: &Layout) -> Option<Finding> {
    let wrong: PathBuf = layout.confdir.parent()?.join("vserver");
    let entries = std::fs::read_dir(&wrong).ok()?;
    let names: Vec<String> =
        entries.flatten().map(|entry| entry.file_name().display().to_string()).take(3).collect();
    if names.is_empty() {
        return None;
    }
    Some(
        Finding::warning(Kind::Typo, &wrong, format!("is not read (it holds {})", names.join(", ")))
            .hint(format!("guests are configured in {}", layout.confdir.display())),
    )
}
