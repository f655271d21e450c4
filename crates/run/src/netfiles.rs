//! `/proc/net` and `/sys/class/net` of a guest in the host's network: files that say what is the guest's.
//!
//! ```text
//!   /proc/net ─▶ /dev/.vserver.net            (a link mounted over the kernel's link)
//!                  dev, route, if_inet6 …     files in the guest's state directory, written by us
//!                  tcp, udp …      ─▶ bpf/    listings that the kernel makes (kernel/bpf/iterator.rs), one set for all
//!                  class/                     mounted on /sys/class/net
//! ```
//! Nothing runs for them. What the host changes later shows when [`write()`] is called again: it replaces the files where
//! they are, so that every guest that has them mounted sees the new ones.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use vserver_kernel::bpf::iterator::{self, Listing};
use vserver_kernel::link::Netlink;
use vserver_kernel::mount::{self, Attributes, MountFd, Recursion, attr};
use vserver_kernel::shadow::{Device, Picture};
use vserver_model::{GuestName, Layout};
use vserver_plan::hide::View;

use crate::failure::{Doing, Failure};
use crate::record;

/// Where the files are in the guest.
pub const PLACE: &str = "dev/.vserver.net";

/// What the first process attaches.
pub struct NetFiles {
    /// The files.
    pub directory: MountFd,
    /// The listings, for `bpf` in it; `None`: this kernel makes none.
    pub listings: Option<MountFd>,
    /// A link to [`PLACE`].
    pub link: MountFd,
    /// `class` of the files.
    pub class: MountFd,
    /// Directories below `/sys` in which the host's devices lie.
    pub devices: Vec<PathBuf>,
}

/// Writes the files and takes them, to be attached.
///
/// # Errors
/// The kernel does not tell about its network, or a file below `/run` cannot be written.
pub fn prepare(
    layout: &Layout,
    name: &GuestName,
    view: &View,
    group: &str,
    bpffs: Option<&Path>,
) -> Result<NetFiles, Failure> {
    let directory = directory(layout, name);
    write(layout, name, view)?;
    let what = || format!("take {}", directory.display());
    let bits = attr::READ_ONLY | attr::NO_SUID | attr::NO_DEV | attr::NO_EXEC;
    let take = |path: &Path| -> Result<MountFd, Failure> {
        let tree = mount::clone_tree(rustix::fs::CWD, path, Recursion::One).doing(what)?;
        tree.set(&Attributes::new().set(bits), Recursion::One).doing(what)?;
        Ok(tree)
    };
    let listings = listings(view, group, bpffs).map(|path| take(&path)).transpose()?;
    Ok(NetFiles {
        directory: take(&directory)?,
        listings,
        link: mount::clone_link(&directory.join("self")).doing(what)?,
        class: take(&directory.join("class"))?,
        devices: device_directories(),
    })
}

fn directory(layout: &Layout, name: &GuestName) -> PathBuf {
    record::state_dir(layout, name).join("net")
}

/// The listings for guests like this one. That there are none is told in the log: the guest then sees no sockets.
fn listings(view: &View, group: &str, bpffs: Option<&Path>) -> Option<PathBuf> {
    let listing = Listing {
        level: depth(Path::new(group))?,
        plain_loopback: view.loopback == Some(Ipv4Addr::LOCALHOST),
    };
    let directory = bpffs?.join("vserver");
    match fs::create_dir(&directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => None,
        _ => {
            iterator::pinned(&directory, listing).map_err(|fault| tracing::debug!(%fault, "no listings")).ok()
        }
    }
}

/// How many groups lie above a group, the root included. `None`: we are in a cgroup namespace, where nothing tells.
pub fn depth(group: &Path) -> Option<u8> {
    /// Number of the first cgroup namespace (`PROC_CGROUP_INIT_INO`).
    const INITIAL: u64 = 0xefff_fffb;
    let own = fs::metadata("/proc/self/ns/cgroup").ok()?;
    if std::os::unix::fs::MetadataExt::ino(&own) != INITIAL {
        return None;
    }
    u8::try_from(group.components().count()).ok()
}

/// Writes the files of a guest anew.
///
/// # Errors
/// As [`prepare`].
pub fn write(layout: &Layout, name: &GuestName, view: &View) -> Result<(), Failure> {
    let directory = directory(layout, name);
    let what = || format!("write {}", directory.display());
    let mut netlink = Netlink::open().doing(what)?;
    let picture = match &view.known {
        Some(known) => Picture::of_known(&mut netlink, known, view.loopback),
        None => Picture::take(&mut netlink, &view.addresses, view.loopback),
    };
    let picture = picture.doing(what)?;
    write_all(&directory, &picture).doing(what)
}

fn write_all(directory: &Path, picture: &Picture) -> io::Result<()> {
    // Each by itself: a start that was killed may have left a part of them.
    record::make_directory(directory).map_err(io::Error::other)?;
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755))?;
    unless_there(fs::create_dir(directory.join("bpf")))?;
    unless_there(symlink(format!("/{PLACE}"), directory.join("self")))?;
    for file in iterator::FILES {
        unless_there(symlink(format!("bpf/{file}"), directory.join(file)))?;
    }
    for (file, text) in files(picture) {
        replace(&directory.join(file), text.as_bytes())?;
    }
    write_class(&directory.join("class"), picture)
}

/// That something is there already is fine.
fn unless_there(made: io::Result<()>) -> io::Result<()> {
    match made {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

/// Whoever has the old file open reads it to its end.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if !path.exists() {
        return fs::write(path, bytes);
    }
    record::write_beside(path, bytes).map_err(io::Error::other)
}

/// `/sys/class/net`: for each device what programs look at most.
fn write_class(class: &Path, picture: &Picture) -> io::Result<()> {
    if class.is_dir() {
        for entry in fs::read_dir(class)? {
            let gone = entry?;
            if !picture.devices.iter().any(|device| gone.file_name() == *device.name)
                && gone.file_name() != "lo"
            {
                fs::remove_dir_all(gone.path())?;
            }
        }
    } else {
        fs::create_dir(class)?;
    }
    let lo = loopback(picture);
    for device in std::iter::once(&lo).chain(&picture.devices) {
        let directory = class.join(&device.name);
        if !directory.is_dir() {
            fs::create_dir(&directory)?;
        }
        let up = if device.up { "up" } else { "down" };
        let mac = device.mac.unwrap_or_default().map(|byte| format!("{byte:02x}")).join(":");
        let (kind, flags) = if device.index == 1 { (772, 0x9) } else { (1, 0x1003 & !u32::from(!device.up)) };
        for (file, text) in [
            ("address", mac),
            ("flags", format!("{flags:#x}")),
            ("ifindex", device.index.to_string()),
            ("mtu", device.mtu.to_string()),
            ("operstate", if device.index == 1 { "unknown" } else { up }.to_owned()),
            ("type", kind.to_string()),
        ] {
            replace(&directory.join(file), format!("{text}\n").as_bytes())?;
        }
    }
    Ok(())
}

fn loopback(picture: &Picture) -> Device {
    let up = picture.addresses.iter().any(|address| address.device == 1);
    Device { index: 1, name: "lo".to_owned(), mac: None, mtu: 65_536, up }
}

/// Where below `/sys` the devices of this network namespace lie, besides those that are not of hardware.
fn device_directories() -> Vec<PathBuf> {
    let mut found = vec![PathBuf::from("devices/virtual/net")];
    for entry in fs::read_dir("/sys/class/net").into_iter().flatten().flatten() {
        // ../../devices/…/net/NAME
        let target = fs::read_link(entry.path()).unwrap_or_default();
        let below = target.strip_prefix("../..").ok().and_then(Path::parent).map(Path::to_owned);
        found.extend(below.filter(|directory| !found.contains(directory)));
    }
    found
}

/// Name and content of the files.
fn files(picture: &Picture) -> Vec<(&'static str, String)> {
    const UNIX: &str = "Num       RefCount Protocol Flags    Type St Inode Path\n";
    const RAW: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n";
    const RAW6: &str = "  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n";
    const ARP: &str = "IP address       HW type     Flags       HW address            Mask     Device\n";
    vec![
        ("dev", counters(picture)),
        ("route", routes(picture)),
        ("if_inet6", addresses_6(picture)),
        ("ipv6_route", routes_6(picture)),
        ("arp", ARP.to_owned()),
        ("raw", RAW.to_owned()),
        ("raw6", RAW6.to_owned()),
        ("unix", UNIX.to_owned()),
    ]
}

fn name_of(picture: &Picture, index: u32) -> Option<&str> {
    if index == 1 {
        return Some("lo");
    }
    picture.devices.iter().find(|device| device.index == index).map(|device| device.name.as_str())
}

/// `dev`: the counters are the host's, so they are 0.
fn counters(picture: &Picture) -> String {
    let mut text = "Inter-|   Receive                                                |  Transmit\n \
                    face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo \
                    colls carrier compressed\n"
        .to_owned();
    let names = std::iter::once("lo").chain(picture.devices.iter().map(|device| device.name.as_str()));
    for name in names {
        let zeros = "       0       0    0    0    0     0          0         0        0       0    0    0    0     0       0          0";
        writeln!(text, "{name:>6}: {zeros}").expect("writing to a text does not fail");
    }
    text
}

/// An IPv4 address as the kernel writes it: the bytes of the network's order, read as this machine's.
fn hex(ip: Ipv4Addr) -> String {
    format!("{:08X}", u32::from_ne_bytes(ip.octets()))
}

fn mask(prefix: u8) -> Ipv4Addr {
    Ipv4Addr::from(u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0))
}

fn network(ip: Ipv4Addr, prefix: u8) -> Ipv4Addr {
    ip & mask(prefix)
}

/// `route`: networks of the addresses, then the other routes.
fn routes(picture: &Picture) -> String {
    let line = |text: &str| format!("{text:<127}\n");
    let header = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT";
    let mut lines = Vec::new();
    let mut add = |device: u32, to: (Ipv4Addr, u8), gateway: Option<Ipv4Addr>, metric: u32| {
        let Some(name) = name_of(picture, device) else { return };
        let host = if to.1 == 32 { 4 } else { 0 };
        let flags = 1 | if gateway.is_some() { 2 } else { 0 } | host;
        let gateway = hex(gateway.unwrap_or(Ipv4Addr::UNSPECIFIED));
        let (to, mask) = (hex(network(to.0, to.1)), hex(mask(to.1)));
        let text = line(&format!("{name}\t{to}\t{gateway}\t{flags:04X}\t0\t0\t{metric}\t{mask}\t0\t0\t0"));
        if !lines.contains(&text) {
            lines.push(text);
        }
    };
    for route in &picture.routes {
        if let (Some(device), Some((IpAddr::V4(to), prefix))) = (route.device, route.destination) {
            let gateway = match route.gateway {
                Some(IpAddr::V4(gateway)) => Some(gateway),
                _ => None,
            };
            add(device, (to, prefix), gateway, route.metric.unwrap_or(0));
        }
    }
    for address in &picture.addresses {
        if let IpAddr::V4(ip) = address.ip
            && address.device != 1
            && address.prefix < 32
        {
            add(address.device, (ip, address.prefix), None, 0);
        }
    }
    line(header) + &lines.concat()
}

fn hex_6(ip: Ipv6Addr) -> String {
    ip.octets().iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

/// `if_inet6`: address, device, prefix, scope, flags (permanent), name.
fn addresses_6(picture: &Picture) -> String {
    let mut text = String::new();
    for address in &picture.addresses {
        if let (IpAddr::V6(ip), Some(name)) = (address.ip, name_of(picture, address.device)) {
            let scope = match address.scope {
                254 => 0x10,
                253 => 0x20,
                200 => 0x40,
                _ => 0,
            };
            let (device, prefix) = (address.device, address.prefix);
            writeln!(text, "{} {device:02x} {prefix:02x} {scope:02x} 80 {name:>8}", hex_6(ip))
                .expect("writing to a text does not fail");
        }
    }
    text
}

/// `ipv6_route`: destination, source, next hop, metric, counters, flags, device.
fn routes_6(picture: &Picture) -> String {
    let nowhere = hex_6(Ipv6Addr::UNSPECIFIED);
    let mut text = String::new();
    let mut add = |device: u32, to: Ipv6Addr, prefix: u8, gateway: Option<Ipv6Addr>, metric: u32| {
        let Some(name) = name_of(picture, device) else { return };
        let flags = if gateway.is_some() { 3 } else { 1 };
        let next = gateway.map_or_else(|| nowhere.clone(), hex_6);
        let to = hex_6(to);
        writeln!(
            text,
            "{to} {prefix:02x} {nowhere} 00 {next} {metric:08x} 00000001 00000000 {flags:08x} {name:>8}"
        )
        .expect("writing to a text does not fail");
    };
    for address in &picture.addresses {
        if let IpAddr::V6(ip) = address.ip {
            let bits = u128::MAX.checked_shl(128 - u32::from(address.prefix.min(128))).unwrap_or(0);
            add(address.device, Ipv6Addr::from(u128::from(ip) & bits), address.prefix, None, 256);
        }
    }
    for route in &picture.routes {
        if let (Some(device), Some((IpAddr::V6(to), prefix))) = (route.device, route.destination) {
            let gateway = match route.gateway {
                Some(IpAddr::V6(gateway)) => Some(gateway),
                _ => None,
            };
            add(device, to, prefix, gateway, route.metric.unwrap_or(1024));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use vserver_kernel::link::NewRoute;
    use vserver_kernel::shadow::Shown;

    fn picture() -> Picture {
        let shown = |device, ip: &str, prefix, scope| Shown {
            device,
            ip: ip.parse().unwrap(),
            prefix,
            broadcast: None,
            scope,
        };
        Picture {
            devices: vec![Device {
                index: 11,
                name: "eth0".into(),
                mac: Some([2, 0, 0, 0, 0, 1]),
                mtu: 1500,
                up: true,
            }],
            addresses: vec![
                shown(1, "127.0.0.1", 8, 254),
                shown(1, "::1", 128, 254),
                shown(11, "192.0.2.5", 24, 0),
                shown(11, "192.0.2.6", 24, 0),
                shown(11, "2001:db8::5", 64, 0),
            ],
            routes: vec![NewRoute {
                destination: Some((Ipv4Addr::UNSPECIFIED.into(), 0)),
                gateway: Some("192.0.2.254".parse().unwrap()),
                device: Some(11),
                metric: Some(100),
                ..NewRoute::default()
            }],
        }
    }

    fn file(name: &str) -> String {
        files(&picture()).into_iter().find(|(file, _)| *file == name).unwrap().1
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn routes_are_written_as_the_kernel_does() {
        let text = file("route");
        let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
        assert_eq!(lines[1], "eth0\t00000000\tFE0200C0\t0003\t0\t0\t100\t00000000\t0\t0\t0");
        assert_eq!(lines[2], "eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0");
        assert_eq!(lines.len(), 3, "one network, whatever the number of addresses in it");
    }

    #[test]
    fn addresses_of_version_6_are_written_as_the_kernel_does() {
        assert_eq!(
            file("if_inet6"),
            "00000000000000000000000000000001 01 80 10 80       lo\n\
             20010db8000000000000000000000005 0b 40 00 80     eth0\n"
        );
        assert!(file("ipv6_route").starts_with("00000000000000000000000000000001 80 "));
        assert_eq!(file("ipv6_route").lines().count(), 2);
    }

    #[test]
    fn what_a_killed_start_has_left_is_completed() {
        let scratch = tempfile::tempdir().unwrap();
        let directory = scratch.path().join("net");
        fs::create_dir(&directory).unwrap();
        fs::write(directory.join("dev"), "half a li").unwrap();
        for _ in 0..2 {
            write_all(&directory, &picture()).unwrap();
            let link = fs::read_link(directory.join("self")).unwrap();
            assert_eq!(link, Path::new("/").join(PLACE));
            assert!(directory.join("bpf").is_dir());
            assert!(fs::symlink_metadata(directory.join(iterator::FILES[0])).unwrap().is_symlink());
            assert_eq!(fs::read_to_string(directory.join("dev")).unwrap(), file("dev"));
            assert_eq!(fs::read_to_string(directory.join("class/eth0/mtu")).unwrap(), "1500\n");
        }
    }

    #[test]
    fn every_device_has_its_counters() {
        let text = file("dev");
        let kernels = fs::read_to_string("/proc/net/dev").unwrap();
        assert_eq!(text.lines().take(2).collect::<Vec<_>>(), kernels.lines().take(2).collect::<Vec<_>>());
        let names: Vec<&str> =
            text.lines().skip(2).filter_map(|line| line.trim().split(':').next()).collect();
        assert_eq!(names, ["lo", "eth0"]);
    }

    #[test]
    fn files_are_replaced_and_devices_that_went_are_gone() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("net");
        write_all(&place, &picture()).unwrap();
        assert_eq!(fs::read_to_string(place.join("class/eth0/ifindex")).unwrap(), "11\n");
        assert_eq!(fs::read_link(place.join("tcp")).unwrap(), Path::new("bpf/tcp"));
        write_all(&place, &Picture::default()).unwrap();
        assert!(!place.join("class/eth0").exists());
        assert!(!fs::read_to_string(place.join("dev")).unwrap().contains("eth0"));
        assert_eq!(fs::read_to_string(place.join("class/lo/operstate")).unwrap(), "unknown\n");
    }
}
