//! `interfaces/`.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use vserver_model::address::{AddressError, MAX_DEVICE_BYTES, Netmask, check_device};
use vserver_model::{Address, Sourced};

use super::Reader;
use crate::files::Wrong;
use crate::finding::{Finding, Kind};
use crate::guest::{Interface, Interfaces, Tuntap};

/// The value is wrong and a finding says so.
#[derive(Clone, Copy, Debug)]
struct Reported;

fn wrong(error: &AddressError) -> Wrong {
    Wrong::with_hint(error, error.hint())
}

pub(super) fn address(text: &str) -> Result<Address, Wrong> {
    text.parse().map_err(|error| wrong(&error))
}

impl Reader<'_> {
    pub(super) fn interfaces(&mut self) -> Interfaces {
        let dir = self.cfg("interfaces");
        let list = self.files.subdirs(&dir).into_iter().filter_map(|dir| self.interface(&dir)).collect();
        Interfaces {
            bcast: self.parsed("interfaces/bcast", address),
            lback: self.parsed("interfaces/lback", address),
            list,
        }
    }

    /// A key of the interface, or the one that all interfaces inherit.
    fn inherited(&mut self, dir: &Path, key: &str) -> Option<Sourced<OsString>> {
        let paths = [dir.join(key), self.cfg("interfaces").join(key)];
        self.files.first_scalar(&paths)
    }

    fn interface(&mut self, dir: &Path) -> Option<Interface> {
        if self.files.present(&dir.join("disabled")).is_some() {
            return None;
        }
        if let Some(place) = self.files.present(&dir.join("indirect")) {
            self.files.found(
                Finding::error(Kind::Unsupported, place.file, "the dummy-device mode is not supported")
                    .hint("remove the file; the address is configured on the device itself"),
            );
        }
        let only_ip = self.files.present(&dir.join("only_ip"));
        if let Some(place) = &only_ip {
            self.files.found(Finding::warning(Kind::Obsolete, &place.file, "is obsolete").hint("use nodev"));
        }
        let nodev = self.files.present(&dir.join("nodev")).is_some() || only_ip.is_some();
        let address = self.interface_address(dir);
        let dev = self.device(dir, nodev);
        let vlan = self.vlan(dir, dev.as_ref());
        let label = self.label(dir, dev.as_ref());
        let bcast = self.inherited(dir, "bcast").filter(|bcast| bcast.value != "+");
        let peer = self.files.scalar(&dir.join("peer"));
        let scope = self.inherited(dir, "scope");
        Some(Interface {
            key: dir.file_name().map(OsStr::to_owned)?,
            bcast: self.files.parsed(bcast, self::address),
            label,
            scope: self.files.parsed(scope, scope_word),
            peer: self.files.parsed(peer, self::address),
            nodev,
            down: self.files.present(&dir.join("down")).is_some(),
            vlan,
            tuntap: self.tuntap(dir),
            dev,
            address: address?,
        })
    }

    /// `ip` with the prefix that it, `prefix` or `mask` say (D12).
    fn interface_address(&mut self, dir: &Path) -> Option<Sourced<Address>> {
        let path = dir.join("ip");
        let Some(ip) = self.files.scalar(&path) else {
            if !self.files.findings.iter().any(|finding| finding.file == path) {
                let message = format!("Can not read ip for '{}'", dir.display());
                self.files.found(
                    Finding::error(Kind::Missing, path, message).hint("write the address into this file"),
                );
            }
            return None;
        };
        let ip = self.files.parsed(Some(ip), address);
        let base = self.cfg("interfaces");
        // All four are looked at even if the address is wrong: every mistake in one run.
        let masks = [dir.join("prefix"), dir.join("mask"), base.join("prefix"), base.join("mask")]
            .map(|path| self.netmask(&path, ip.as_ref()));
        let ip = ip?;
        let [Ok(own_prefix), Ok(own_mask), Ok(site_prefix), Ok(site_mask)] = masks else { return None };
        let suffixed = ip.value.prefix.is_some();
        if let (None, Some(mask), Some(prefix), false) = (own_prefix, own_mask, site_prefix, suffixed)
            && mask != prefix
        {
            self.files.found(
                Finding::warning(
                    Kind::Conflict,
                    dir.join("mask"),
                    "a prefix wins over a mask, even an inherited one",
                )
                .hint("use a file \"prefix\" in this directory"),
            );
        }
        // The key decides before the directory: an inherited prefix wins over the interface's own mask.
        let own = own_prefix.or(if site_prefix.is_none() || suffixed { own_mask } else { None });
        match ip.value.with_prefix_of_files(own, site_prefix.or(site_mask)) {
            Ok(address) => Some(ip.map(|_| address)),
            Err(error) => {
                self.files.wrong(&ip, Kind::Conflict, wrong(&error));
                None
            }
        }
    }

    /// The prefix length that a `prefix` or `mask` file says for an address, if the file is there.
    fn netmask(&mut self, path: &Path, ip: Option<&Sourced<Address>>) -> Result<Option<u8>, Reported> {
        let Some(text) = self.files.scalar(path) else { return Ok(None) };
        let parse = |text: &str| {
            let mask = text.parse::<Netmask>().map_err(|error| wrong(&error))?;
            match (mask, ip) {
                // A mask for all interfaces says nothing about an IPv6 address among them.
                (Netmask::Dotted(_), Some(ip)) if ip.value.ip.is_ipv6() => Ok(None),
                (mask, Some(ip)) => mask.prefix_for(ip.value.ip).map_err(|error| wrong(&error)),
                (mask, None) => mask.prefix().map_err(|error| wrong(&error)),
            }
        };
        self.files.parsed(Some(text), parse).map(|prefix| prefix.value).ok_or(Reported)
    }

    fn device(&mut self, dir: &Path, nodev: bool) -> Option<Sourced<OsString>> {
        let dev = self.inherited(dir, "dev");
        if dev.is_none() && !nodev {
            let message = format!("No device specified for '{}'", dir.display());
            self.files.found(Finding::error(Kind::Missing, dir.join("dev"), message).hint(
                "write the device into this file, or make a file \"nodev\" if the host has the address",
            ));
        }
        let checked = self.files.parsed(dev, |text| {
            // An alias of old, eth0:1, still names its device.
            let device = text.split_once(':').map_or(text, |(device, _)| device);
            check_device(device).map_err(|error| wrong(&error)).map(|()| OsString::from(text))
        });
        checked.filter(|_| !nodev)
    }

    fn label(&mut self, dir: &Path, dev: Option<&Sourced<OsString>>) -> Option<Sourced<OsString>> {
        let label = self.files.scalar(&dir.join("name"))?;
        let length = dev.map_or(0, |dev| dev.value.len() + 1) + label.value.len();
        if length > MAX_DEVICE_BYTES {
            let message = format!("the label DEV:NAME is longer than {MAX_DEVICE_BYTES} bytes");
            self.files.wrong(&label, Kind::BadValue, Wrong::new(message));
            return None;
        }
        Some(label)
    }

    /// Whether the device is a VLAN device that a start makes: the interface's word, the guest's, the site's.
    fn vlan(&mut self, dir: &Path, dev: Option<&Sourced<OsString>>) -> bool {
        let own_no = self.files.present(&dir.join("novlandev")).is_some();
        let guest_no = self.has("interfaces/novlandev").is_some();
        let vlan = self.files.present(&dir.join("vlandev")).is_some()
            || (!own_no && self.has("interfaces/vlandev").is_some())
            || (!own_no && !guest_no && self.has_default("interfaces/vlandev").is_some());
        let Some(dev) = dev.filter(|_| vlan) else { return false };
        let text = dev.value.to_string_lossy();
        if text.starts_with("vlan") && text[4..].bytes().all(|b| b.is_ascii_digit()) {
            let wrong = Wrong {
                message: format!("a VLAN device cannot be made from the name '{text}'"),
                hint: Some("make the device yourself and use nodev".to_owned()),
            };
            self.files.wrong(dev, Kind::BadValue, wrong);
            return false;
        }
        // Only names of the form BASE.VID are VLAN devices; the site's vlandev leaves the others alone.
        text.rsplit_once('.').is_some_and(|(base, vid)| {
            !base.is_empty() && (1..=4).contains(&vid.len()) && vid.bytes().all(|b| b.is_ascii_digit())
        })
    }

    fn tuntap(&mut self, dir: &Path) -> Option<Tuntap> {
        let tap = self.files.present(&dir.join("tap")).is_some();
        if !tap && self.files.present(&dir.join("tun")).is_none() {
            return None;
        }
        let mut number = |key: &str| {
            let value = self.files.scalar(&dir.join(key));
            self.files.parsed(value, super::integer::<u32>)
        };
        let (uid, gid, linktype) = (number("uid"), number("gid"), number("linktype"));
        Some(Tuntap {
            tap,
            nocsum: self.files.present(&dir.join("nocsum")).is_some(),
            shared: self.files.present(&dir.join("shared")).is_some(),
            uid,
            gid,
            linktype,
        })
    }
}

/// An address scope: a word of ip-address(8) or a number.
fn scope_word(text: &str) -> Result<String, Wrong> {
    let known = ["global", "site", "link", "host", "nowhere"].contains(&text);
    if known || text.parse::<u8>().is_ok() {
        Ok(text.to_owned())
    } else {
        Err(Wrong::new(format!("'{text}' is not an address scope: global, site, link, host or 0 to 255")))
    }
}
