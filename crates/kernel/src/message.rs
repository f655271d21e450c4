//! Messages between two of our processes over a socket pair, descriptors included.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};

use crate::{Blame, Fault, Result};

/// The most descriptors that one message may carry.
pub const MAX_DESCRIPTORS: usize = 8;

/// Two connected sockets, close-on-exec, that keep message boundaries (`SOCK_SEQPACKET`).
#[doc(alias = "socketpair")]
pub fn pair() -> Result<(OwnedFd, OwnedFd)> {
    rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .blame("socketpair(2)", "a unix socket pair")
}

/// Sends one message with copies of up to [`MAX_DESCRIPTORS`] descriptors.
///
/// `EPIPE`: the other side is closed (no signal is raised); `EMSGSIZE`: too long; `EINVAL`: too many descriptors.
#[doc(alias = "SCM_RIGHTS")]
pub fn send(socket: impl AsFd, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> Result<()> {
    if descriptors.len() > MAX_DESCRIPTORS {
        return Err(Fault::from_errno(
            "sendmsg(2)",
            format!("{} descriptors", descriptors.len()),
            libc::EINVAL,
        ));
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(Fault::from_errno("sendmsg(2)", "descriptors", libc::ENOBUFS));
    }
    let sent = loop {
        match rustix::net::sendmsg(&socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL) {
            Err(rustix::io::Errno::INTR) => {}
            other => break other.blame("sendmsg(2)", "a message")?,
        }
    };
    if sent == bytes.len() {
        Ok(())
    } else {
        Err(Fault::from_errno("sendmsg(2)", "a cut message", libc::EMSGSIZE))
    }
}

/// A received message.
#[derive(Debug)]
pub struct Received {
    /// How many bytes of the buffer it filled; 0 without descriptors: the other side is closed.
    pub length: usize,
    /// The descriptors that came with it, close-on-exec.
    pub descriptors: Vec<OwnedFd>,
}

/// Receives one message. `EMSGSIZE`: it was longer than `buffer`, or carried more than [`MAX_DESCRIPTORS`].
#[doc(alias = "SCM_RIGHTS")]
pub fn receive(socket: impl AsFd, buffer: &mut [u8]) -> Result<Received> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let message = loop {
        let mut parts = [IoSliceMut::new(&mut *buffer)];
        match rustix::net::recvmsg(&socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Err(rustix::io::Errno::INTR) => {}
            other => break other.blame("recvmsg(2)", "a message")?,
        }
    };
    let mut descriptors = Vec::new();
    for part in control.drain() {
        if let RecvAncillaryMessage::ScmRights(fds) = part {
            descriptors.extend(fds);
        }
    }
    if message.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
        return Err(Fault::from_errno("recvmsg(2)", "a message that is too long", libc::EMSGSIZE));
    }
    Ok(Received { length: message.bytes, descriptors })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};

    #[test]
    fn bytes_and_descriptors_arrive() {
        let (left, right) = pair().unwrap();
        let (mut reader, writer) = std::io::pipe().unwrap();
        send(&left, b"pipe", &[writer.as_fd()]).unwrap();
        drop(writer);
        let mut buffer = [0; 16];
        let got = receive(&right, &mut buffer).unwrap();
        assert_eq!(&buffer[..got.length], b"pipe");
        let [fd]: [OwnedFd; 1] = got.descriptors.try_into().unwrap();
        std::fs::File::from(fd).write_all(b"through").unwrap();
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "through");
    }

    #[test]
    fn too_long_a_message_and_a_closed_side_are_told() {
        let (left, right) = pair().unwrap();
        send(&left, b"too long", &[]).unwrap();
        assert!(receive(&right, &mut [0; 3]).unwrap_err().is(libc::EMSGSIZE));
        drop(left);
        assert_eq!(receive(&right, &mut [0; 3]).unwrap().length, 0);
        assert!(send(&right, b"x", &[]).unwrap_err().is(libc::EPIPE));
    }
}
