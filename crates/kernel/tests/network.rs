//! Network contexts: what sockets of confined groups may do, in network namespaces of the test's own.
#![expect(clippy::unwrap_used, reason = "in a test it is an assertion")]

#[path = "network/datagrams.rs"]
mod datagrams;
#[path = "network/life.rs"]
mod life;
#[path = "network/ping.rs"]
mod ping;
#[path = "network/scene.rs"]
mod scene;
mod support;
#[path = "network/tcp.rs"]
mod tcp;
#[path = "network/words.rs"]
mod words;

use std::process::ExitCode;

use support::{Case, Need};

const NEEDS: &[Need] = &[Need::Root, Need::CgroupV2, Need::DeviceProgram];
const PERL: &[Need] = &[Need::Root, Need::CgroupV2, Need::DeviceProgram, Need::Perl];
const CASES: &[Case] = &[
    ("datagrams to any-bound servers", NEEDS, datagrams::any),
    ("datagrams to servers at one address", NEEDS, datagrams::exact),
    ("sources are the nearest address", NEEDS, datagrams::sources),
    ("sources given with a packet are checked", PERL, datagrams::packet_info),
    ("a socket that has sent is not connected", NEEDS, datagrams::connect_after_sending),
    (
        "sockets that nobody bound hear their guest's packets",
        NEEDS,
        datagrams::unbound_hear_their_guests_alone,
    ),
    ("broadcasts and multicasts", NEEDS, datagrams::broadcasts),
    ("a guest binds its own addresses only", NEEDS, tcp::own_addresses),
    ("free binding does not get around that", NEEDS, tcp::freebind),
    ("two guests listen at any IPv4 address", NEEDS, tcp::any_4),
    ("two guests listen at any IPv6 address", NEEDS, tcp::any_6),
    ("loopbacks are apart", NEEDS, tcp::loopbacks),
    ("a listener at one address is not at another", NEEDS, tcp::exact),
    ("listeners that share a port take turns", NEEDS, tcp::reuseport),
    ("lback_remap and lback_allow", NEEDS, words::lback),
    ("hide_lback", NEEDS, words::hide_lback),
    ("a loopback outside of 127.0.0.0/8", NEEDS, words::other_lback),
    ("a guest without addresses", NEEDS, words::no_address),
    ("single_ip", NEEDS, words::single_ip),
    ("no confinement", NEEDS, words::any),
    ("low ports", NEEDS, words::low_ports),
    ("protocols", NEEDS, words::protocols),
    ("raw sockets", NEEDS, words::raw),
    ("ping", NEEDS, ping::ping),
    ("ping by a device that is not served", NEEDS, ping::without_program),
    ("TCP fast open", NEEDS, words::fast_open),
    ("rules are read back, changed and taken away", NEEDS, life::life),
    ("what is pinned is found again", NEEDS, life::pins),
    ("confinement without a bpffs", NEEDS, life::no_bpffs),
    ("a program above that excludes others", NEEDS, life::excluded),
    ("an address that is taken away", NEEDS, life::removed_address),
    ("sockets that are passed on", NEEDS, life::passed_on),
    ("an address that two guests share", NEEDS, life::shared_address),
    ("five hundred addresses", NEEDS, life::many_addresses),
    ("rules that change under way", NEEDS, life::changed_under_way),
];

fn main() -> ExitCode {
    support::run(CASES)
}
