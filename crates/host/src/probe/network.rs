//! Network devices, made in a network namespace that ends with the trial.

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::OFlags;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use vserver_kernel::ns::{self, Namespaces};

use super::{Refusal, Scene, Tried, missing, mounts, refused};

/// `RTM_NEWLINK`
const NEW_LINK: u16 = 16;
/// `NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL`
const MAKE_AND_ANSWER: u16 = 0x1 | 0x4 | 0x400 | 0x200;
/// `NLMSG_ERROR`
const ERROR: u16 = 2;
/// `IFLA_IFNAME`
const NAME: u16 = 3;
/// `IFLA_LINK`
const PARENT: u16 = 5;
/// `IFLA_LINKINFO`
const INFO: u16 = 18;
/// `IFLA_INFO_KIND`
const KIND: u16 = 1;
/// `IFLA_INFO_DATA`
const DATA: u16 = 2;
/// `IFLA_VLAN_ID`
const VLAN_ID: u16 = 1;

/// A netlink attribute, padded.
fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(value.len() + 4).expect("a few bytes");
    let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// The request to make a device.
fn new_link(name: &str, kind: &str, parent: Option<u32>, data: &[u8]) -> Vec<u8> {
    let mut info = attribute(KIND, kind.as_bytes());
    if !data.is_empty() {
        info.extend(attribute(DATA, data));
    }
    // struct ifinfomsg: family, type, index, flags and their mask; all zero.
    let mut body = vec![0; 16];
    body.extend(attribute(NAME, &[name.as_bytes(), &[0]].concat()));
    if let Some(parent) = parent {
        body.extend(attribute(PARENT, &parent.to_ne_bytes()));
    }
    body.extend(attribute(INFO, &info));
    // struct nlmsghdr: length, type, flags, sequence number, port.
    let length = u32::try_from(body.len() + 16).expect("a few bytes");
    let mut request = length.to_ne_bytes().to_vec();
    request.extend([NEW_LINK.to_ne_bytes(), MAKE_AND_ANSWER.to_ne_bytes()].concat());
    request.extend([1u32.to_ne_bytes(), 0u32.to_ne_bytes()].concat());
    request.extend(body);
    request
}

/// What the kernel answered: nothing, or an errno.
fn outcome(reply: &[u8]) -> io::Result<()> {
    let field =
        |at: usize| reply.get(at..at + 4).and_then(|four| four.try_into().ok()).map(i32::from_ne_bytes);
    match (reply.get(4..6), field(16)) {
        (Some(kind), Some(0)) if kind == ERROR.to_ne_bytes() => Ok(()),
        (Some(kind), Some(errno)) if kind == ERROR.to_ne_bytes() => Err(io::Error::from_raw_os_error(-errno)),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// The namespace's netlink socket.
struct Links(OwnedFd);

impl Links {
    /// Leaves for a namespace of its own.
    fn in_scratch() -> Result<Self, Refusal> {
        ns::unshare(Namespaces::NET)?;
        let socket = rustix::net::socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            None, // NETLINK_ROUTE is 0
        );
        Ok(Self(socket.map_err(refused("socket(2) AF_NETLINK"))?))
    }

    fn make(&self, name: &str, kind: &str, parent: Option<u32>, data: &[u8]) -> Result<(), Refusal> {
        let mut reply = [0; 1024];
        rustix::net::send(&self.0, &new_link(name, kind, parent, data), SendFlags::empty())
            .map_err(refused("send(2)"))?;
        let (length, _) =
            rustix::net::recv(&self.0, &mut reply, RecvFlags::empty()).map_err(refused("recv(2)"))?;
        outcome(&reply[..length]).map_err(refused("RTM_NEWLINK"))
    }

    /// A device that others can stand on: what this kernel has.
    fn parent(&self) -> Result<u32, Refusal> {
        for kind in ["dummy", "veth"] {
            if self.make("below0", kind, None, &[]).is_ok() {
                return rustix::net::netdevice::name_to_index(&self.0, "below0")
                    .map_err(refused("SIOCGIFINDEX"));
            }
        }
        Err(Refusal::Untried("no device to put it on can be made".to_owned()))
    }
}

fn alone(kind: &str) -> Tried {
    Links::in_scratch()?.make("check0", kind, None, &[])?;
    Ok(String::new())
}

fn on_another(kind: &str, data: &[u8]) -> Tried {
    let links = Links::in_scratch()?;
    let parent = links.parent()?;
    links.make("check0", kind, Some(parent), data)?;
    Ok(String::new())
}

/// The groups of guests' users are anything.
pub(crate) fn ping_sockets(_: &Scene) -> Tried {
    const PATH: &str = "/proc/sys/net/ipv4/ping_group_range";
    /// The largest id that the kernel takes there.
    const LAST: &str = "2147483647";
    let text = std::fs::read_to_string(PATH).map_err(refused(PATH))?;
    let range: Vec<&str> = text.split_whitespace().collect();
    if range == ["0", LAST] {
        return Ok(String::new());
    }
    missing(format!("only for the groups {}", range.join(" to ")))
}

pub(crate) fn veth(_: &Scene) -> Tried {
    alone("veth")
}

pub(crate) fn bridge(_: &Scene) -> Tried {
    alone("bridge")
}

pub(crate) fn dummy(_: &Scene) -> Tried {
    alone("dummy")
}

pub(crate) fn macvlan(_: &Scene) -> Tried {
    on_another("macvlan", &[])
}

pub(crate) fn ipvlan(_: &Scene) -> Tried {
    on_another("ipvlan", &[])
}

pub(crate) fn vlan(_: &Scene) -> Tried {
    on_another("vlan", &attribute(VLAN_ID, &7u16.to_ne_bytes()))
}

pub(crate) fn tun(_: &Scene) -> Tried {
    match mounts::node_on_scratch("tun", (10, 200), OFlags::RDWR) {
        Ok(_) => Ok(String::new()),
        Err(Refusal::Missing(why)) => missing(why),
        Err(other) => Err(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_padded_to_four() {
        assert_eq!(attribute(3, b"x").len(), 8);
        assert_eq!(attribute(3, b"x")[..2], 5u16.to_ne_bytes());
        assert_eq!(new_link("a", "veth", Some(1), &[]).len() % 4, 0);
    }

    #[test]
    fn answers_are_told_from_errors() {
        let reply = |kind: u16, errno: i32| {
            [[0; 4].as_slice(), &kind.to_ne_bytes(), &[0; 10], &errno.to_ne_bytes()].concat()
        };
        assert!(outcome(&reply(ERROR, 0)).is_ok());
        assert_eq!(outcome(&reply(ERROR, -libc::EPERM)).unwrap_err().raw_os_error(), Some(libc::EPERM));
        assert!(outcome(&reply(3, 0)).is_err() && outcome(&[]).is_err());
    }
}
