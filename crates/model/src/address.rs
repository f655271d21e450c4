//! Addresses, masks, and the `--interface` argument of `build`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Nid;

/// The longest name of a network device, and of an address label: the kernel's `IFNAMSIZ` less its NUL.
pub const MAX_DEVICE_BYTES: usize = 15;

/// An address and, when one was written, the length of its network's prefix.
///
/// Without a prefix it is a host's address, see [`effective_prefix`](Self::effective_prefix).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Address {
    /// The address.
    pub ip: IpAddr,
    /// The prefix length, at most 32 or 128.
    pub prefix: Option<u8>,
}

/// A netmask as it was written; `build` keeps the two forms in files of different names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Netmask {
    /// `/24`
    Prefix(u8),
    /// `/255.255.255.0`
    Dotted(Ipv4Addr),
}

/// Why a text is no address, mask or interface.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Not an IPv4 or IPv6 address.
    #[error("'{0}' is not an address")]
    NotAnAddress(String),
    /// Not a prefix length or a dotted mask.
    #[error("'{0}' is not a netmask")]
    NotAMask(String),
    /// A dotted mask with a one after a zero.
    #[error("netmask '{0}' is not contiguous")]
    NotContiguous(Ipv4Addr),
    /// A prefix longer than the address.
    #[error("prefix length {prefix} is more than {max}")]
    PrefixTooLong {
        /// What was written.
        prefix: u64,
        /// 32 or 128.
        max: u8,
    },
    /// A dotted mask on an IPv6 address.
    #[error("netmask '{0}' on an IPv6 address")]
    DottedMaskOnIpv6(Ipv4Addr),
    /// A device name or label that the kernel refuses.
    #[error("'{0}' cannot be a device or label: at most 15 bytes, no blank, no slash")]
    BadDevice(String),
    /// `ip` says one prefix and the interface's own `prefix` or `mask` another.
    #[error("'{address}' says prefix length {in_address}, the interface's own file says {in_file}")]
    PrefixConflict {
        /// The address without its suffix.
        address: IpAddr,
        /// The suffix.
        in_address: u8,
        /// The file's value.
        in_file: u8,
    },
}

impl AddressError {
    /// What the administrator can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NotAnAddress(_) => Some("write an address such as 192.0.2.1/24 or 2001:db8::1/64"),
            Self::NotAMask(_) | Self::NotContiguous(_) => {
                Some("write a prefix length such as 24, or 255.255.255.0")
            }
            Self::DottedMaskOnIpv6(_) => Some("write a prefix length such as 64"),
            Self::PrefixConflict { .. } => {
                Some("remove the suffix from ip, or the interface's prefix and mask")
            }
            Self::PrefixTooLong { .. } | Self::BadDevice(_) => None,
        }
    }
}

/// 32 or 128.
pub const fn max_prefix(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { 32 } else { 128 }
}

impl Netmask {
    /// The prefix length, or `None` for 0.0.0.0, which has always meant "no mask".
    ///
    /// # Errors
    /// [`AddressError::NotContiguous`] for masks such as 255.0.255.0.
    pub fn prefix(self) -> Result<Option<u8>, AddressError> {
        match self {
            Self::Prefix(prefix) => Ok(Some(prefix)),
            Self::Dotted(mask) if mask.is_unspecified() => Ok(None),
            Self::Dotted(mask) => {
                let bits = mask.to_bits();
                let ones = bits.leading_ones();
                if bits.count_ones() == ones {
                    Ok(u8::try_from(ones).ok()) // at most 32
                } else {
                    Err(AddressError::NotContiguous(mask))
                }
            }
        }
    }

    /// [`prefix`](Self::prefix), checked against the kind of an address.
    ///
    /// # Errors
    /// Those of [`prefix`](Self::prefix), a prefix that is too long, or a dotted mask on IPv6.
    pub fn prefix_for(self, ip: IpAddr) -> Result<Option<u8>, AddressError> {
        let max = max_prefix(ip);
        match self {
            Self::Prefix(prefix) if prefix > max => {
                Err(AddressError::PrefixTooLong { prefix: prefix.into(), max })
            }
            Self::Dotted(mask) if ip.is_ipv6() => Err(AddressError::DottedMaskOnIpv6(mask)),
            _ => self.prefix(),
        }
    }
}

impl FromStr for Netmask {
    type Err = AddressError;

    /// Reads the content of a `mask` or `prefix` file: a number is a prefix length, a text with a dot a mask.
    fn from_str(text: &str) -> Result<Self, AddressError> {
        let wrong = || AddressError::NotAMask(text.to_owned());
        if text.contains('.') {
            let mask = Self::Dotted(text.parse().map_err(|_| wrong())?);
            mask.prefix()?;
            return Ok(mask);
        }
        // Digits alone: no sign, and no 0x for something people always write in decimal.
        if !text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(wrong());
        }
        match text.parse::<u64>().map_err(|_| wrong())? {
            prefix if prefix > 128 => Err(AddressError::PrefixTooLong { prefix, max: 128 }),
            prefix => u8::try_from(prefix).map(Self::Prefix).map_err(|_| wrong()),
        }
    }
}

impl fmt::Display for Netmask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prefix(prefix) => prefix.fmt(f),
            Self::Dotted(mask) => mask.fmt(f),
        }
    }
}

impl Address {
    /// Without a prefix.
    pub const fn host(ip: IpAddr) -> Self {
        Self { ip, prefix: None }
    }

    /// The prefix length to configure: the one written, else the whole address.
    pub const fn effective_prefix(&self) -> u8 {
        match self.prefix {
            Some(prefix) => prefix,
            None => max_prefix(self.ip),
        }
    }

    /// Adds what the files beside `ip` say: a suffix of `ip` wins over an inherited value, and must agree with the
    /// interface's own.
    ///
    /// `own` and `inherited` are the prefix lengths of the interface's directory and of the one above.
    ///
    /// # Errors
    /// [`AddressError::PrefixConflict`], or a prefix that is too long for the address.
    pub fn with_prefix_of_files(self, own: Option<u8>, inherited: Option<u8>) -> Result<Self, AddressError> {
        let prefix = match (self.prefix, own) {
            (Some(in_address), Some(in_file)) if in_address != in_file => {
                return Err(AddressError::PrefixConflict { address: self.ip, in_address, in_file });
            }
            (Some(prefix), _) | (None, Some(prefix)) => Some(prefix),
            (None, None) => inherited,
        };
        let max = max_prefix(self.ip);
        match prefix {
            Some(prefix) if prefix > max => Err(AddressError::PrefixTooLong { prefix: prefix.into(), max }),
            prefix => Ok(Self { prefix, ..self }),
        }
    }

    /// Whether it is 0.0.0.0 or ::, which binds a guest to any address: no confinement.
    pub const fn is_any(&self) -> bool {
        self.ip.is_unspecified()
    }

    /// The first address of its network.
    pub fn network(&self) -> IpAddr {
        let prefix = u32::from(self.effective_prefix());
        match self.ip {
            IpAddr::V4(ip) => {
                Ipv4Addr::from_bits(ip.to_bits() & u32::MAX.checked_shl(32 - prefix).unwrap_or(0)).into()
            }
            IpAddr::V6(ip) => {
                Ipv6Addr::from_bits(ip.to_bits() & u128::MAX.checked_shl(128 - prefix).unwrap_or(0)).into()
            }
        }
    }

    /// The last address of an IPv4 network, where broadcasts go; `None` for IPv6 and for networks of one or two
    /// addresses (RFC 3021), which have none.
    pub fn broadcast(&self) -> Option<Ipv4Addr> {
        match (self.ip, self.effective_prefix()) {
            (IpAddr::V4(ip), prefix @ 0..=30) => {
                Some(Ipv4Addr::from_bits(ip.to_bits() | (u32::MAX >> prefix)))
            }
            _ => None,
        }
    }

    /// Whether an address of the same kind lies in its network.
    pub fn network_contains(&self, ip: IpAddr) -> bool {
        self.ip.is_ipv4() == ip.is_ipv4()
            && Self { ip, prefix: Some(self.effective_prefix()) }.network() == self.network()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.prefix {
            Some(prefix) => write!(f, "{}/{prefix}", self.ip),
            None => self.ip.fmt(f),
        }
    }
}

impl FromStr for Address {
    type Err = AddressError;

    /// Reads `A`, `A/N` or `A/MASK`; an IPv6 address may stand in brackets.
    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (ip, mask) = match text.split_once('/') {
            Some((ip, mask)) => (ip, Some(mask)),
            None => (text, None),
        };
        let ip = parse_ip(ip)?;
        let prefix = match mask {
            Some(mask) => mask.parse::<Netmask>()?.prefix_for(ip)?,
            None => None,
        };
        Ok(Self { ip, prefix })
    }
}

fn parse_ip(text: &str) -> Result<IpAddr, AddressError> {
    let wrong = || AddressError::NotAnAddress(text.to_owned());
    match text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(inner) => inner.parse().map(IpAddr::V6).map_err(|_| wrong()),
        None => text.parse().map_err(|_| wrong()),
    }
}

/// The loopback address of a network context that configures none: `127.X.Y.1` with the two bytes of its number.
pub const fn default_loopback(nid: Nid) -> Ipv4Addr {
    let [_, _, x, y] = nid.get().to_be_bytes();
    Ipv4Addr::new(127, x, y, 1)
}

/// Checks a device name (or label) as the kernel does (`dev_valid_name()`): 1 to 15 bytes, no blank, slash or colon,
/// not `.` or `..`.
///
/// # Errors
/// [`AddressError::BadDevice`].
pub fn check_device(name: &str) -> Result<(), AddressError> {
    let fits = (1..=MAX_DEVICE_BYTES).contains(&name.len()) && name != "." && name != "..";
    if fits && !name.contains(|c: char| c == '/' || c == ':' || c == '\0' || c.is_whitespace()) {
        Ok(())
    } else {
        Err(AddressError::BadDevice(name.to_owned()))
    }
}

/// The device of an `--interface` argument.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InterfaceDevice {
    /// That of `--netdev`, or none with a notice when there is no such option.
    Unspecified,
    /// The word `nodev`: the address exists already.
    NoDevice,
    /// This one.
    Named(String),
}

/// An argument `--interface [LABEL=][DEVICE:]ADDRESS[/MASK|/PREFIX]`.
///
/// An IPv6 address needs no brackets; with them `DEVICE:[ADDRESS]` is never in doubt. Without them a text that is as a
/// whole an address is one, so `fe80:2001:db8::1` has no device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceArg {
    /// What the file `name` gets.
    pub label: Option<String>,
    /// What the file `dev` gets.
    pub device: InterfaceDevice,
    /// What the file `ip` gets.
    pub ip: IpAddr,
    /// What the file `mask` or `prefix` gets.
    pub mask: Option<Netmask>,
}

impl InterfaceArg {
    /// The address with its prefix.
    pub fn address(&self) -> Address {
        // The mask has been checked when it was read.
        Address { ip: self.ip, prefix: self.mask.and_then(|mask| mask.prefix_for(self.ip).unwrap_or(None)) }
    }
}

impl FromStr for InterfaceArg {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (label, rest) = match text.split_once('=') {
            Some((label, rest)) => (Some(label), rest),
            None => (None, text),
        };
        let (rest, mask) = match rest.rsplit_once('/') {
            Some((rest, mask)) => (rest, Some(mask)),
            None => (rest, None),
        };
        let (device, ip) = match (parse_ip(rest), rest.split_once(':')) {
            (Ok(ip), _) => (InterfaceDevice::Unspecified, ip),
            (Err(e), None) => return Err(e),
            (Err(_), Some((device, ip))) => {
                let ip = parse_ip(ip)?;
                match device {
                    "" => (InterfaceDevice::Unspecified, ip),
                    "nodev" => (InterfaceDevice::NoDevice, ip),
                    // The kernel takes a '=', but without a label in front it would read as one.
                    _ if device.contains('=') => return Err(AddressError::BadDevice(device.to_owned())),
                    _ => {
                        check_device(device)?;
                        (InterfaceDevice::Named(device.to_owned()), ip)
                    }
                }
            }
        };
        let label = label.filter(|label| !label.is_empty());
        label.map_or(Ok(()), check_device)?;
        let mask = mask.map(str::parse::<Netmask>).transpose()?;
        mask.map_or(Ok(None), |mask| mask.prefix_for(ip))?;
        Ok(Self { label: label.map(str::to_owned), device, ip, mask })
    }
}

impl fmt::Display for InterfaceArg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(label) = &self.label {
            write!(f, "{label}=")?;
        }
        match &self.device {
            InterfaceDevice::Unspecified => {}
            InterfaceDevice::NoDevice => f.write_str("nodev:")?,
            InterfaceDevice::Named(device) => write!(f, "{device}:")?,
        }
        match self.ip {
            IpAddr::V4(ip) => ip.fmt(f)?,
            IpAddr::V6(ip) => write!(f, "[{ip}]")?,
        }
        self.mask.map_or(Ok(()), |mask| write!(f, "/{mask}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn address(text: &str) -> Address {
        text.parse().unwrap_or_else(|e| panic!("{text}: {e}"))
    }

    fn error(text: &str) -> String {
        text.parse::<Address>().unwrap_err().to_string()
    }

    #[test]
    fn addresses() {
        assert_eq!(
            address("192.168.0.1/24"),
            Address { ip: Ipv4Addr::new(192, 168, 0, 1).into(), prefix: Some(24) }
        );
        assert_eq!(address("192.168.0.1/255.255.248.0").prefix, Some(21));
        assert_eq!(address("192.168.0.1").effective_prefix(), 32);
        assert_eq!(address("2001:db8::1/64").prefix, Some(64));
        assert_eq!(address("[2001:db8::1]/64"), address("2001:db8::1/64"));
        assert_eq!(address("2001:db8::1").effective_prefix(), 128);
        assert!(address("0.0.0.0").is_any() && address("::").is_any());
        assert_eq!(error("192.168.0"), "'192.168.0' is not an address");
        assert_eq!(error("eth0"), "'eth0' is not an address");
        assert_eq!(error("10.0.0.1/33"), "prefix length 33 is more than 32");
        assert_eq!(error("2001:db8::1/129"), "prefix length 129 is more than 128");
        assert_eq!(error("2001:db8::1/255.0.0.0"), "netmask '255.0.0.0' on an IPv6 address");
        assert_eq!(error("10.0.0.1/24/255.0.0.0"), "'24/255.0.0.0' is not a netmask");
        assert_eq!(error("10.0.0.1/"), "'' is not a netmask");
    }

    #[test]
    fn masks() {
        let prefix = |text: &str| text.parse::<Netmask>().and_then(Netmask::prefix);
        assert_eq!(prefix("255.255.255.0"), Ok(Some(24)));
        assert_eq!(prefix("255.255.248.0"), Ok(Some(21)));
        assert_eq!(prefix("255.255.255.255"), Ok(Some(32)));
        assert_eq!(prefix("0.0.0.0"), Ok(None));
        assert_eq!(prefix("24"), Ok(Some(24)));
        assert_eq!(prefix("0"), Ok(Some(0)));
        assert_eq!(prefix("255.0.255.0"), Err(AddressError::NotContiguous(Ipv4Addr::new(255, 0, 255, 0))));
        for garbage in ["", "x", "-1", "+8", "0x18", "255.255", "255.255.255.256", "99999999999999999999"] {
            assert!(prefix(garbage).is_err(), "{garbage}");
        }
        assert_eq!(prefix("300"), Err(AddressError::PrefixTooLong { prefix: 300, max: 128 }));
    }

    #[test]
    fn suffix_and_files() {
        let with = |own, inherited| address("10.0.0.1/24").with_prefix_of_files(own, inherited);
        assert_eq!(with(None, None), Ok(address("10.0.0.1/24")));
        assert_eq!(with(None, Some(16)), Ok(address("10.0.0.1/24")), "the suffix wins over inherited values");
        assert_eq!(with(Some(24), Some(16)), Ok(address("10.0.0.1/24")));
        assert_eq!(
            with(Some(16), None).unwrap_err().to_string(),
            "'10.0.0.1' says prefix length 24, the interface's own file says 16"
        );
        let plain = address("10.0.0.1");
        assert_eq!(plain.with_prefix_of_files(None, Some(16)), Ok(address("10.0.0.1/16")));
        assert_eq!(plain.with_prefix_of_files(Some(8), Some(16)), Ok(address("10.0.0.1/8")));
        assert!(plain.with_prefix_of_files(None, Some(64)).is_err());
    }

    #[test]
    fn networks() {
        assert_eq!(address("192.168.0.77/24").network(), address("192.168.0.0").ip);
        assert_eq!(address("192.168.0.77/24").broadcast(), Some(Ipv4Addr::new(192, 168, 0, 255)));
        assert_eq!(address("192.168.0.77/0").broadcast(), Some(Ipv4Addr::BROADCAST));
        assert_eq!(address("192.168.0.77/0").network(), address("0.0.0.0").ip);
        assert_eq!(address("192.168.0.77/31").broadcast(), None);
        assert_eq!(address("192.168.0.77").broadcast(), None);
        assert_eq!(address("2001:db8::77/64").network(), address("2001:db8::").ip);
        assert_eq!(address("2001:db8::77/0").network(), address("::").ip);
        assert!(address("10.0.0.1/24").network_contains(address("10.0.0.200").ip));
        assert!(!address("10.0.0.1/24").network_contains(address("10.0.1.1").ip));
        assert!(!address("0.0.0.0/0").network_contains(address("::1").ip));
        assert_eq!(default_loopback(Nid::new(1001).unwrap()), Ipv4Addr::new(127, 3, 233, 1));
    }

    /// The table of the reference, measured with its own functions, IPv6 put right.
    #[test]
    fn interface_arguments() {
        use InterfaceDevice::{Named, NoDevice, Unspecified};
        let dev = |name: &str| Named(name.to_owned());
        let prefix = |n| Some(Netmask::Prefix(n));
        let dotted = Some(Netmask::Dotted(Ipv4Addr::new(255, 255, 248, 0)));
        let rows = [
            ("foo0=eth0:1.2.3.4/1", Some("foo0"), dev("eth0"), "1.2.3.4", prefix(1)),
            ("foo1=eth0:1.2.3.4/255.255.248.0", Some("foo1"), dev("eth0"), "1.2.3.4", dotted),
            ("eth0:1.2.3.4", None, dev("eth0"), "1.2.3.4", None),
            ("1.2.3.4/24", None, Unspecified, "1.2.3.4", prefix(24)),
            ("nodev:1.2.3.4/24", None, NoDevice, "1.2.3.4", prefix(24)),
            ("x=nodev:10.0.0.1", Some("x"), NoDevice, "10.0.0.1", None),
            ("eth1:2001:db8::1/64", None, dev("eth1"), "2001:db8::1", prefix(64)),
            ("2001:db8::3/64", None, Unspecified, "2001:db8::3", prefix(64)),
            ("[2001:db8::3]/64", None, Unspecified, "2001:db8::3", prefix(64)),
            ("abc:[2001:db8::3]", None, dev("abc"), "2001:db8::3", None),
            ("nodev:2001:db8::3/64", None, NoDevice, "2001:db8::3", prefix(64)),
            ("l=eth0.7:::1", Some("l"), dev("eth0.7"), "::1", None),
            ("=:1.2.3.4", None, Unspecified, "1.2.3.4", None),
        ];
        for (text, label, device, ip, mask) in rows {
            let label = label.map(str::to_owned);
            let expected = InterfaceArg { label, device, ip: address(ip).ip, mask };
            assert_eq!(text.parse(), Ok(expected.clone()), "{text}");
            assert_eq!(expected.to_string().parse(), Ok(expected), "{text}");
        }
        assert_eq!("1.2.3.4/24".parse::<InterfaceArg>().unwrap().address(), address("1.2.3.4/24"));
        for wrong in [
            "",
            "eth0",
            "eth0:",
            "eth0:1.2.3",
            "eth0:1.2.3.4/33",
            "eth0:1.2.3.4/255.0.255.0",
            "eth0:1.2.3.4/",
            "eth/0:1.2.3.4",
            "much-too-long-name:1.2.3.4",
            "a b=eth0:1.2.3.4",
            "=a=eth0:1.2.3.4",
            "a:b=eth0:1.2.3.4",
            "eth0:[1.2.3.4]",
            "eth1:2001:db8::1/255.0.0.0",
        ] {
            assert!(wrong.parse::<InterfaceArg>().is_err(), "{wrong:?}");
        }
    }

    fn any_address() -> impl Strategy<Value = Address> {
        (any::<IpAddr>(), proptest::option::of(0..=128_u8))
            .prop_map(|(ip, prefix)| Address { ip, prefix: prefix.map(|prefix| prefix.min(max_prefix(ip))) })
    }

    proptest! {
        #[test]
        fn print_and_read(address in any_address()) {
            prop_assert_eq!(address.to_string().parse(), Ok(address));
            prop_assert!(address.network_contains(address.ip));
        }

        #[test]
        fn interface_arguments_print_and_read(
            address in any_address(),
            label in proptest::option::of("[a-z0-9._-]{2}[a-z]{0,13}"),
            device in "[a-z0-9]{1,15}",
            kind in 0..3,
        ) {
            let device = match kind {
                0 => InterfaceDevice::Unspecified,
                1 => InterfaceDevice::NoDevice,
                _ if device == "nodev" => InterfaceDevice::NoDevice,
                _ => InterfaceDevice::Named(device),
            };
            let label = label.filter(|label| label != "..");
            let arg = InterfaceArg { label, device, ip: address.ip, mask: address.prefix.map(Netmask::Prefix) };
            prop_assert_eq!(arg.to_string().parse(), Ok(arg));
        }

        #[test]
        fn no_text_panics(text in "[a-f0-9:./=\\[\\]]{0,40}|.*") {
            if let Ok(arg) = text.parse::<InterfaceArg>() {
                prop_assert_eq!(arg.to_string().parse(), Ok(arg));
            }
            if let Ok(address) = text.parse::<Address>() {
                prop_assert_eq!(address.to_string().parse(), Ok(address));
                let _ = (address.broadcast(), address.network());
            }
        }
    }
}
