//! `netns/`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use vserver_model::address::check_device;
use vserver_model::{GuestName, Mac, Sourced, StaticRoute};

use super::Reader;
use super::network::address;
use crate::files::Wrong;
use crate::finding::{Finding, Kind};
use crate::guest::{Netns, NetnsInterface};

/// The values of `type`.
const KINDS: [&str; 4] = ["veth", "macvlan", "ipvlan", "phys"];

impl Reader<'_> {
    pub(super) fn netns(&mut self, guest: &GuestName) -> Option<Netns> {
        if self.has("nonetns").is_some() {
            return None;
        }
        let dir = [self.cfg("netns"), self.def("netns")].into_iter().find(|dir| dir.is_dir())?;
        let name = self.files.scalar(&dir.join("name"));
        if let Some(name) = &name
            && GuestName::new(&name.value).is_err()
        {
            self.files.wrong(name, Kind::BadValue, Wrong::new("cannot be the name of a network namespace"));
        }
        let mut defaulted = 0;
        let interfaces: Vec<NetnsInterface> = self
            .netns_dirs(&dir)
            .into_iter()
            .filter_map(|dir| self.netns_interface(&dir, &mut defaulted))
            .collect();
        self.twins(&interfaces);
        Some(Netns {
            name: name.map_or_else(|| guest.as_os_str().to_owned(), |name| name.value),
            shared: self.files.present(&dir.join("shared")).is_some(),
            interfaces,
            dir,
        })
    }

    /// The directories of `netns/interfaces/`, or that one itself when the keys stand in it (D15).
    fn netns_dirs(&mut self, netns: &Path) -> Vec<PathBuf> {
        let dir = netns.join("interfaces");
        let mut dirs = self.files.subdirs(&dir);
        if dir.join("host").is_file() {
            self.files.found(
                Finding::warning(Kind::Typo, dir.join("host"), "stands directly in netns/interfaces")
                    .hint("move host, guest and type to netns/interfaces/0; they are taken as one interface"),
            );
            dirs.insert(0, dir);
        }
        dirs
    }

    fn netns_interface(&mut self, dir: &Path, defaulted: &mut u32) -> Option<NetnsInterface> {
        let kind = self.files.scalar(&dir.join("type"));
        let kind = match self.files.parsed(kind, kind_word) {
            Some(kind) => kind.value,
            None => "veth".into(),
        };
        let path = dir.join("host");
        let host = self.files.scalar(&path);
        // The end of a pair can be called after the context number; a device to build on must be named.
        if host.is_none() && kind != "veth" {
            let message = format!("no device of the host is named, which a {kind} interface is made of");
            self.files.found(Finding::error(Kind::Missing, &path, message));
        }
        let hint = "remove the file: the host's end is then called after the context number, v105.0";
        let host = self.device_name(host, (kind == "veth").then_some(hint));
        let guest = if let Some(guest) = self.files.scalar(&dir.join("guest")) {
            self.device_name(Some(guest), None)?.value
        } else {
            *defaulted += 1;
            format!("geth{}", *defaulted - 1).into()
        };
        let number = self.files.scalar(&dir.join("mtu"));
        let mac = self.files.scalar(&dir.join("mac"));
        let bridge = self.files.scalar(&dir.join("bridge"));
        let bridge = self.device_name(bridge, None);
        if let Some(bridge) = bridge.as_ref().filter(|_| kind != "veth") {
            let text = format!("a {kind} interface has no end on the host that a bridge could take");
            self.files.wrong(bridge, Kind::Conflict, Wrong::new(text));
        }
        let host_addresses = self.list_of(&dir.join("host-address"), address);
        if let Some(first) = host_addresses.first().filter(|_| kind != "veth") {
            let text = format!("a {kind} interface has no end on the host that an address could be given to");
            self.files.wrong(first, Kind::Conflict, Wrong::new(text));
        }
        let gateways = self.list_of(&dir.join("gateway"), address);
        let family = |ipv4: bool| gateways.iter().filter(move |gateway| gateway.value.ip.is_ipv4() == ipv4);
        for second in [family(true).nth(1), family(false).nth(1)].into_iter().flatten() {
            self.files.wrong(second, Kind::Conflict, Wrong::new("a second gateway of one family"));
        }
        Some(NetnsInterface {
            place: Sourced::new((), dir, 0),
            host,
            guest,
            kind: kind.into(),
            addresses: self.list_of(&dir.join("address"), address),
            host_addresses,
            gateways,
            routes: self.list_of(&dir.join("route"), |text| {
                text.parse::<StaticRoute>().map_err(|error| Wrong::new(error.to_string()))
            }),
            mtu: self.files.parsed(number, mtu),
            mac: self
                .files
                .parsed(mac, |text| text.parse::<Mac>().map_err(|error| Wrong::new(error.to_string()))),
            bridge,
        })
    }

    fn list_of<T>(&mut self, path: &Path, parse: impl Fn(&str) -> Result<T, Wrong>) -> Vec<Sourced<T>> {
        let lines = self.files.lines(path).unwrap_or_default();
        lines.into_iter().filter_map(|line| self.files.parsed(Some(line), &parse)).collect()
    }

    fn device_name(
        &mut self,
        name: Option<Sourced<OsString>>,
        hint: Option<&'static str>,
    ) -> Option<Sourced<OsString>> {
        self.files.parsed(name, |text| match check_device(text) {
            Ok(()) => Ok(OsString::from(text)),
            Err(error) => Err(Wrong::with_hint(&error, hint.or(error.hint()))),
        })
    }

    /// Two interfaces of one name on either side.
    fn twins(&mut self, interfaces: &[NetnsInterface]) {
        for (number, interface) in interfaces.iter().enumerate() {
            let before = &interfaces[..number];
            if before.iter().any(|other| other.guest == interface.guest) {
                let name = interface.guest.display();
                let text = format!("two interfaces of the guest are called {name}");
                self.files.found(Finding::error(Kind::Conflict, interface.place.file.join("guest"), text));
            }
            let own = |one: &NetnsInterface| match one.kind.to_str() {
                // Several can be made of one device.
                Some("macvlan" | "ipvlan") => None,
                _ => one.host.as_ref().map(|host| host.value.clone()),
            };
            if let (Some(name), Some(host)) = (own(interface), &interface.host)
                && before.iter().any(|other| own(other).as_ref() == Some(&name))
            {
                let text = format!("two interfaces are called {} on the host", name.display());
                self.files.wrong(host, Kind::Conflict, Wrong::new(text));
            }
        }
    }
}

fn kind_word(text: &str) -> Result<String, Wrong> {
    if KINDS.contains(&text) {
        return Ok(text.to_owned());
    }
    Err(Wrong::new(format!("'{text}' is not a type of interface: {}", KINDS.join(", "))))
}

/// 68 is the least that IPv4 works with, 65535 the most that a device of Ethernet's kind takes.
fn mtu(text: &str) -> Result<u32, Wrong> {
    match text.parse() {
        Ok(mtu @ 68..=65_535) => Ok(mtu),
        _ => Err(Wrong::new(format!("'{text}' is not a packet length from 68 to 65535"))),
    }
}
