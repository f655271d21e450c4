//! What an interface in a guest's network namespace is given: a hardware address, routes.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::address::{Address, AddressError};

/// An Ethernet address that a device can have: not a group's, not zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Mac([u8; 6]);

impl Mac {
    /// The six bytes.
    pub const fn octets(self) -> [u8; 6] {
        self.0
    }
}

/// Why a text is no hardware address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MacError {
    /// Not six bytes.
    #[error("'{0}' is not a hardware address such as 02:00:00:00:00:2a")]
    NotSixBytes(String),
    /// The lowest bit of the first byte is set: it stands for a group of devices; or all bytes are zero.
    #[error("no device can have the hardware address '{0}'")]
    NotOfADevice(String),
}

impl FromStr for Mac {
    type Err = MacError;

    fn from_str(text: &str) -> Result<Self, MacError> {
        let wrong = || MacError::NotSixBytes(text.to_owned());
        let byte = |part: &str| match part.len() {
            1 | 2 if part.bytes().all(|b| b.is_ascii_hexdigit()) => u8::from_str_radix(part, 16).ok(),
            _ => None,
        };
        let bytes: Option<Vec<u8>> = text.split(':').map(byte).collect();
        let mac: [u8; 6] = bytes.ok_or_else(wrong)?.try_into().map_err(|_| wrong())?;
        if mac[0] & 1 == 1 || mac == [0; 6] {
            return Err(MacError::NotOfADevice(text.to_owned()));
        }
        Ok(Self(mac))
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, byte) in self.0.iter().enumerate() {
            write!(f, "{}{byte:02x}", if at == 0 { "" } else { ":" })?;
        }
        Ok(())
    }
}

/// A route of a guest: `NETWORK [via ROUTER]`, where `default` is the network of all addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct StaticRoute {
    /// The network; `None`: all addresses.
    pub network: Option<Address>,
    /// The router; `None`: the network is on the link itself.
    pub router: Option<IpAddr>,
}

/// Why a text is no route.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// Not of the form.
    #[error("'{0}' is not a route: write NETWORK/PREFIX via ROUTER")]
    Form(String),
    /// An address in it is none.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// One IPv4, the other IPv6.
    #[error("'{0}' mixes IPv4 and IPv6")]
    Mixed(String),
}

impl FromStr for StaticRoute {
    type Err = RouteError;

    fn from_str(text: &str) -> Result<Self, RouteError> {
        let mut words = text.split_whitespace();
        let form = || RouteError::Form(text.to_owned());
        let network = match words.next().ok_or_else(form)? {
            "default" => None,
            network => Some(network.parse::<Address>()?),
        };
        let router = match (words.next(), words.next(), words.next()) {
            (None, ..) => None,
            (Some("via"), Some(router), None) => match router.parse::<Address>()? {
                Address { ip, prefix: None } => Some(ip),
                _ => return Err(form()),
            },
            _ => return Err(form()),
        };
        match (network, router) {
            (None, None) => Err(form()),
            (Some(network), Some(router)) if network.ip.is_ipv4() != router.is_ipv4() => {
                Err(RouteError::Mixed(text.to_owned()))
            }
            (network, router) => Ok(Self { network, router }),
        }
    }
}

impl fmt::Display for StaticRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.network {
            Some(network) => network.fmt(f)?,
            None => f.write_str("default")?,
        }
        self.router.map_or(Ok(()), |router| write!(f, " via {router}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hardware_addresses() {
        assert_eq!("02:0:0:0:00:2A".parse::<Mac>().unwrap().to_string(), "02:00:00:00:00:2a");
        for wrong in ["", "02:00:00:00:00", "02:00:00:00:00:00:01", "02:00:00:00:00:+1", "02-00-00-00-00-01"]
        {
            assert!(matches!(wrong.parse::<Mac>(), Err(MacError::NotSixBytes(_))), "{wrong}");
        }
        for nobody in ["01:00:5e:00:00:01", "ff:ff:ff:ff:ff:ff", "0:0:0:0:0:0"] {
            assert!(matches!(nobody.parse::<Mac>(), Err(MacError::NotOfADevice(_))), "{nobody}");
        }
    }

    #[test]
    fn routes() {
        for text in ["default via 192.0.2.1", "198.51.100.0/24", "2001:db8:1::/48 via fe80::1"] {
            assert_eq!(text.parse::<StaticRoute>().unwrap().to_string(), text);
        }
        for wrong in
            ["", "default", "10.0.0.0/8 by 1.2.3.4", "10.0.0.0/8 via", "10.0.0.0/8 via 1.2.3.4/5", "a b c d"]
        {
            assert!(wrong.parse::<StaticRoute>().is_err(), "{wrong}");
        }
        assert!(matches!("10.0.0.0/8 via ::1".parse::<StaticRoute>(), Err(RouteError::Mixed(_))));
    }
}
