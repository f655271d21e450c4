//! Network devices, addresses, routes and named network namespaces, through rtnetlink(7).
//!
//! A [`Netlink`] is a connection to **one** network namespace: that in which it was opened, wherever the process goes
//! afterwards. Every request is answered before the next one is sent, so an error belongs to the request that caused
//! it. What is sent are the typed messages of `netlink-packet-route`; of the answers only the attributes that are
//! needed are looked at, so that a device of a kind that the library cannot read hides no other.
//!
//! | module | concern |
//! |---|---|
//! | [`device`] | list, make, change and remove devices |
//! | [`address`] | addresses of devices |
//! | [`route`] | routes |
//! | [`tuntap`] | persistent tun and tap devices |
//! | [`classifier`] | BPF classifiers on devices, before Linux 6.6 |
//! | [`netns`] | network namespaces with a name, as `ip netns` makes them |

pub mod address;
pub mod classifier;
pub mod device;
pub mod netns;
pub mod route;
pub mod tuntap;

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};

use netlink_packet_core::{
    DecodeError, NLM_F_ACK, NLM_F_ACK_TLVS, NLM_F_CAPPED, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST,
    NetlinkDeserializable, NetlinkHeader, NetlinkMessage, NetlinkPayload, NlasIterator,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};

use crate::ns::{self, Namespaces};
use crate::{Blame as _, Fault, Result};

pub use address::{Address, NewAddress};
pub use device::{Change, End, Link, LinkKind, NewLink};
pub use route::{NewRoute, Route};

/// A connection to the rtnetlink of one network namespace.
#[derive(Debug)]
pub struct Netlink {
    socket: Socket,
    sequence: u32,
}

/// The kernel's refusal of one request.
#[derive(Debug)]
struct Refused {
    source: io::Error,
    /// What the kernel says besides the errno: `Nexthop has invalid gateway`.
    words: Option<String>,
}

impl Refused {
    /// As a fault of `op` on `object`.
    fn on(self, op: &'static str, object: &str) -> Fault {
        match self.words {
            Some(words) => Fault::new(op, format!("{object} ({words})"), self.source),
            None => Fault::new(op, object, self.source),
        }
    }
}

impl From<io::Error> for Refused {
    fn from(source: io::Error) -> Self {
        Self { source, words: None }
    }
}

/// A message as it came: read by whoever asked for it.
struct Raw {
    kind: u16,
    payload: Vec<u8>,
}

impl NetlinkDeserializable for Raw {
    type Error = DecodeError;

    fn deserialize(header: &NetlinkHeader, payload: &[u8]) -> Result<Self, DecodeError> {
        Ok(Self { kind: header.message_type, payload: payload.to_vec() })
    }
}

impl Netlink {
    /// To the network namespace of the calling thread.
    ///
    /// # Errors
    /// As socket(2).
    pub fn open() -> Result<Self> {
        let open = || -> io::Result<Socket> {
            let mut socket = Socket::new(NETLINK_ROUTE)?;
            socket.bind_auto()?;
            socket.connect(&SocketAddr::new(0, 0))?;
            socket.set_ext_ack(true)?;
            Ok(socket)
        };
        Ok(Self { socket: open().blame("socket(2)", "rtnetlink")?, sequence: 0 })
    }

    /// To another network namespace. The calling thread stays where it is: a short-lived one goes there.
    ///
    /// # Errors
    /// No `CAP_SYS_ADMIN` over it (`EPERM`), or as socket(2).
    pub fn open_in(namespace: BorrowedFd<'_>) -> Result<Self> {
        inside(namespace, Self::open)
    }

    /// A request that is answered by an acknowledgement alone.
    fn command(&mut self, message: RouteNetlinkMessage, flags: u16) -> Result<(), Refused> {
        self.transact(message, NLM_F_ACK | flags).map(drop)
    }

    /// A request for a list.
    fn dump(&mut self, message: &RouteNetlinkMessage) -> Result<Vec<Raw>, Refused> {
        // The list changed while it was read: it may lack what was there all the time, so it is read again.
        for _ in 0..16 {
            let (answers, changed) = self.transact(message.clone(), NLM_F_DUMP)?;
            if !changed {
                return Ok(answers);
            }
        }
        Err(io::Error::from_raw_os_error(libc::EINTR).into())
    }

    /// Sends one request and reads until it is answered; tells whether a list was changed while it was made.
    fn transact(&mut self, message: RouteNetlinkMessage, flags: u16) -> Result<(Vec<Raw>, bool), Refused> {
        self.sequence += 1;
        let mut request = NetlinkMessage::from(message);
        request.header.flags = NLM_F_REQUEST | flags;
        request.header.sequence_number = self.sequence;
        request.finalize();
        let mut bytes = vec![0; request.buffer_len()];
        request.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;
        let (mut answers, mut changed) = (Vec::new(), false);
        loop {
            let (datagram, _) = self.socket.recv_from_full()?;
            let mut rest = datagram.as_slice();
            while !rest.is_empty() {
                let answer = NetlinkMessage::<Raw>::deserialize(rest).map_err(unreadable)?;
                let length = usize::try_from(answer.header.length).unwrap_or(usize::MAX);
                rest = rest.get(align(length)..).unwrap_or_default();
                if answer.header.sequence_number != self.sequence {
                    continue;
                }
                changed |= answer.header.flags & NLM_F_DUMP_INTR != 0;
                match answer.payload {
                    NetlinkPayload::InnerMessage(raw) => answers.push(raw),
                    NetlinkPayload::Done(_) => return Ok((answers, changed)),
                    NetlinkPayload::Error(error) => match error.code {
                        None => return Ok((answers, changed)),
                        Some(code) => {
                            let source = io::Error::from_raw_os_error(code.get().abs());
                            return Err(Refused { source, words: words(answer.header.flags, &error.header) });
                        }
                    },
                    NetlinkPayload::Overrun(_) => {
                        return Err(io::Error::from_raw_os_error(libc::ENOBUFS).into());
                    }
                    _ => {}
                }
            }
        }
    }
}

/// Does something in another network namespace: in a thread that ends with it, so that whatever happens the calling
/// one is where it was.
///
/// # Errors
/// No `CAP_SYS_ADMIN` over it (`EPERM`), or what `deed` says.
pub fn inside<T: Send>(namespace: BorrowedFd<'_>, deed: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            ns::enter_one(namespace, Namespaces::NET)?;
            deed()
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn unreadable(_: DecodeError) -> io::Error {
    io::Error::from_raw_os_error(libc::EBADMSG)
}

const fn align(length: usize) -> usize {
    length.saturating_add(3) & !3
}

/// The kernel's sentence in an error (`NLMSGERR_ATTR_MSG`), which follows the request that it repeats.
fn words(flags: u16, echo: &[u8]) -> Option<String> {
    const MESSAGE: u16 = 1;
    if flags & NLM_F_ACK_TLVS == 0 {
        return None;
    }
    let length = u32::from_ne_bytes(*echo.first_chunk()?);
    let begin = if flags & NLM_F_CAPPED == 0 { align(usize::try_from(length).ok()?) } else { 16 };
    let attributes = Attributes(echo.get(begin..)?);
    attributes.text(MESSAGE).map(|text| text.trim_end_matches('.').to_owned())
}

/// The attributes behind a message's header. An attribute that is too short counts as absent.
struct Attributes<'a>(&'a [u8]);

impl<'a> Attributes<'a> {
    fn find(&self, kind: u16) -> Option<&'a [u8]> {
        let attributes = NlasIterator::new(self.0);
        attributes.filter_map(Result::ok).find(|attribute| attribute.kind() == kind).map(|attribute| {
            // The iterator lends from itself; the bytes live as long as ours.
            let value = attribute.value();
            let offset = value.as_ptr().addr() - self.0.as_ptr().addr();
            &self.0[offset..offset + value.len()]
        })
    }

    fn inside(&self, kind: u16) -> Self {
        Self(self.find(kind).unwrap_or_default())
    }

    fn u32(&self, kind: u16) -> Option<u32> {
        self.find(kind)?.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))
    }

    /// Without its NUL.
    fn text(&self, kind: u16) -> Option<String> {
        let bytes = self.find(kind)?;
        let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
        Some(String::from_utf8_lossy(&bytes[..end]).into_owned())
    }

    fn ip(&self, kind: u16) -> Option<IpAddr> {
        let bytes = self.find(kind)?;
        match bytes.len() {
            4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
            16 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
            _ => None,
        }
    }
}

/// The namespace that the calling thread is in.
///
/// # Errors
/// No `/proc`.
pub fn own_namespace() -> Result<std::os::fd::OwnedFd> {
    let path = "/proc/thread-self/ns/net";
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC;
    rustix::fs::open(path, flags, rustix::fs::Mode::empty()).blame("open(2)", path)
}

/// Whether two descriptors are of one namespace.
///
/// # Errors
/// As fstat(2).
pub fn is_same(one: impl AsFd, other: impl AsFd) -> Result<bool> {
    Ok(ns::identity(one)? == ns::identity(other)?)
}
