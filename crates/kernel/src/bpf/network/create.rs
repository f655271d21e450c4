//! `socket(2)`: protocols whose sockets the other programs do not see are refused.
//!
//! Only `AF_INET` and `AF_INET6` come here. A raw socket needs `CAP_NET_RAW` besides, which the kernel asks for first.
//! With `raw_icmp` alone that means ICMP datagram sockets, which need no capability.
//! `AF_PACKET` and the other families have no hook: a guest without that capability over the host's network cannot make
//! packet sockets, and one that has it needs a system call filter.

use super::abilities::Abilities;
use super::code::{CONTEXT, Code, Instructions, TCP, UDP, sock};
use super::maps;
use super::rules::flag;
use crate::bpf::asm::{If, Reg};

const ICMP: u32 = libc::IPPROTO_ICMP.cast_unsigned();
const ICMPV6: u32 = libc::IPPROTO_ICMPV6.cast_unsigned();

/// `BPF_CGROUP_INET_SOCK_CREATE`
pub(super) fn create(abilities: Abilities) -> Instructions {
    let mut code = Code::begin(abilities);
    let (allow, datagram, raw, icmp, mark) =
        (code.asm.label(), code.asm.label(), code.asm.label(), code.asm.label(), code.asm.label());
    let (refused, unsupported) = (code.deny(libc::EPERM), code.deny(libc::EPROTONOSUPPORT));
    code.asm
        .load_word(Reg::R1, CONTEXT, sock::TYPE)
        .load_word(Reg::R2, CONTEXT, sock::PROTOCOL)
        .jump_if_32(If::Equal, Reg::R1, libc::SOCK_DGRAM.cast_unsigned(), datagram)
        .jump_if_32(If::Equal, Reg::R1, libc::SOCK_RAW.cast_unsigned(), raw)
        // MPTCP and SMC listeners cannot be steered; SCTP binds past the hooks. Programs fall back to TCP.
        .jump_if_32(If::NotEqual, Reg::R1, libc::SOCK_STREAM.cast_unsigned(), unsupported)
        .jump_if_32(If::Equal, Reg::R2, TCP, allow)
        .jump(unsupported);
    code.asm
        .place(datagram)
        .jump_if_32(If::Equal, Reg::R2, UDP, allow)
        .jump_if_32(If::Equal, Reg::R2, ICMP, icmp)
        .jump_if_32(If::Equal, Reg::R2, ICMPV6, icmp)
        .jump(unsupported);
    // The kernel has asked for CAP_NET_RAW; who was not granted it has no filter of what such a socket sends.
    code.asm.place(raw);
    code.unless_flag(flag::RAW, refused);
    code.asm
        .jump_if_32(If::Equal, Reg::R2, ICMP, mark)
        .jump_if_32(If::NotEqual, Reg::R2, ICMPV6, allow)
        .jump(mark);
    code.asm.place(icmp);
    code.unless_flag(flag::RAW | flag::RAW_ICMP, refused);
    code.asm.place(mark).copy(Reg::R2, CONTEXT);
    code.remember_socket(maps::mark::ICMP);
    code.asm.place(allow).answer(1);
    code.finish()
}
