//! What a process does with sockets, well-behaved or hostile: one word, one answer a line.
//!
//! `netprobe WORD…` prints `WORD: ANSWER` for each. A word is a verb and its arguments with commas between them
//! (`bind,tcp,2001:db8::1,80`), the answer `ok`, the name of an errno, or what was learnt. Every kernel call is made by
//! its number, past any C library. Built statically by the harness.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::ExitCode;

type Answer = Result<String, i32>;

/// A system call through the instruction itself.
fn call(number: i64, arguments: &[i64]) -> Result<i64, i32> {
    let mut six: [i64; 6] = [0; 6];
    six[..arguments.len()].copy_from_slice(arguments);
    let result: i64;
    // SAFETY: every pointer among the arguments comes from a value that the caller keeps until the call returns.
    unsafe {
        std::arch::asm!(
            "syscall",
            inlateout("rax") number => result,
            in("rdi") six[0], in("rsi") six[1], in("rdx") six[2],
            in("r10") six[3], in("r8") six[4], in("r9") six[5],
            out("rcx") _, out("r11") _,
        );
    }
    if result < 0 { Err(i32::try_from(-result).unwrap_or(0)) } else { Ok(result) }
}

/// `socketcall` of i386: its arguments are 32-bit words in memory below 4 GiB.
fn socketcall(which: u32, arguments: &[u32]) -> Result<i64, i32> {
    let place = low_memory();
    // SAFETY: the page is ours, writable, and larger than six words.
    unsafe { std::ptr::copy_nonoverlapping(arguments.as_ptr(), place as *mut u32, arguments.len()) };
    let result: i32;
    // SAFETY: without IA32 emulation the process dies of SIGSEGV, which counts as refused.
    unsafe {
        std::arch::asm!(
            "push rbx", "mov ebx, {which:e}", "int 0x80", "pop rbx",
            which = in(reg) which,
            inlateout("eax") 102 => result,
            in("ecx") place as u32,
            out("rdx") _, out("rsi") _, out("rdi") _, out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    if result < 0 { Err(-result) } else { Ok(i64::from(result)) }
}

/// A page below 4 GiB.
fn low_memory() -> i64 {
    call(9, &[0, 4096, 3, 0x62, -1, 0]).expect("a page is to be had")
}

const INET: i64 = 2;
const INET6: i64 = 10;
const STREAM: i64 = 1;
const DGRAM: i64 = 2;
const RAW: i64 = 3;
const UNIX: i64 = 1;
const PACKET: i64 = 17;

/// How long a peer is waited for, in seconds; the environment may say more for slow machines.
fn patience() -> i64 {
    std::env::var("NETPROBE_PATIENCE").ok().and_then(|text| text.parse().ok()).unwrap_or(3)
}

/// A `struct sockaddr_in` or `sockaddr_in6`.
fn sockaddr(ip: IpAddr, port: u16) -> Vec<u8> {
    let mut bytes = Vec::new();
    match ip {
        IpAddr::V4(ip) => {
            bytes.extend_from_slice(&2u16.to_ne_bytes());
            bytes.extend_from_slice(&port.to_be_bytes());
            bytes.extend_from_slice(&ip.octets());
            bytes.extend_from_slice(&[0; 8]);
        }
        IpAddr::V6(ip) => {
            bytes.extend_from_slice(&10u16.to_ne_bytes());
            bytes.extend_from_slice(&port.to_be_bytes());
            bytes.extend_from_slice(&[0; 4]);
            bytes.extend_from_slice(&ip.octets());
            bytes.extend_from_slice(&[0; 4]);
        }
    }
    bytes
}

fn shown(address: &[u8]) -> String {
    let port = u16::from_be_bytes([address[2], address[3]]);
    match address[0] {
        2 => {
            let ip = Ipv4Addr::new(address[4], address[5], address[6], address[7]);
            format!("{ip},{port}")
        }
        10 => {
            let mut octets = [0; 16];
            octets.copy_from_slice(&address[8..24]);
            format!("{},{port}", Ipv6Addr::from(octets))
        }
        other => format!("family {other}"),
    }
}

fn family(ip: IpAddr) -> i64 {
    if ip.is_ipv4() { INET } else { INET6 }
}

/// Type and protocol behind a word.
fn kind(word: &str) -> (i64, i64) {
    match word {
        "tcp" => (STREAM, 6),
        "udp" => (DGRAM, 17),
        "mptcp" => (STREAM, 262),
        "sctp" => (STREAM, 132),
        "sctp-seq" => (5, 132),
        "udplite" => (DGRAM, 136),
        "dccp" => (6, 33),
        "ping" => (DGRAM, 1),
        "ping6" => (DGRAM, 58),
        "icmp" => (RAW, 1),
        "icmp6" => (RAW, 58),
        "raw-udp" => (RAW, 17),
        "raw" => (RAW, 255),
        _ => panic!("no kind of socket named {word}"),
    }
}

fn socket(domain: i64, kind: i64, protocol: i64) -> Result<i64, i32> {
    let fd = call(41, &[domain, kind, protocol])?;
    for option in [20, 21] {
        let time = [patience(), 0];
        option_bytes(fd, 1, option, &[time[0].to_ne_bytes(), time[1].to_ne_bytes()].concat())?;
    }
    Ok(fd)
}

fn option(fd: i64, level: i64, name: i64, value: i32) -> Result<(), i32> {
    option_bytes(fd, level, name, &value.to_ne_bytes())
}

fn option_bytes(fd: i64, level: i64, name: i64, value: &[u8]) -> Result<(), i32> {
    call(54, &[fd, level, name, value.as_ptr() as i64, value.len() as i64]).map(drop)
}

fn bind(fd: i64, ip: IpAddr, port: u16) -> Result<(), i32> {
    let address = sockaddr(ip, port);
    call(49, &[fd, address.as_ptr() as i64, address.len() as i64]).map(drop)
}

fn connect(fd: i64, ip: IpAddr, port: u16) -> Result<(), i32> {
    let address = sockaddr(ip, port);
    call(42, &[fd, address.as_ptr() as i64, address.len() as i64]).map(drop)
}

fn send_to(fd: i64, bytes: &[u8], flags: i64, ip: IpAddr, port: u16) -> Result<(), i32> {
    let to = sockaddr(ip, port);
    let (from, size) = (bytes.as_ptr() as i64, bytes.len() as i64);
    call(44, &[fd, from, size, flags, to.as_ptr() as i64, to.len() as i64]).map(drop)
}

/// getsockname (51) or getpeername (52).
fn name_of(fd: i64, which: i64) -> Answer {
    let mut address = [0u8; 28];
    let mut size = 28i32;
    call(which, &[fd, address.as_mut_ptr() as i64, &raw mut size as i64])?;
    Ok(shown(&address))
}

fn receive_from(fd: i64) -> Result<(Vec<u8>, [u8; 28], i32), i32> {
    let mut buffer = vec![0u8; 4096];
    let mut address = [0u8; 28];
    let mut size = 28i32;
    let pointers = [address.as_mut_ptr() as i64, &raw mut size as i64];
    let count = call(45, &[fd, buffer.as_mut_ptr() as i64, 4096, 0, pointers[0], pointers[1]])?;
    buffer.truncate(usize::try_from(count).unwrap_or(0));
    Ok((buffer, address, size))
}

/// Goes on in the background, so that whoever started it knows that everything is ready. The number of the background
/// process; nothing in that process.
fn daemon() -> Option<i64> {
    let child = call(57, &[]).expect("fork");
    if child != 0 {
        return Some(child);
    }
    let _session = call(112, &[]);
    let null = call(2, &[c"/dev/null".as_ptr() as i64, 2]).expect("/dev/null is there");
    for standard in 0..3 {
        let _placed = call(33, &[null, standard]);
    }
    None
}

/// `serve,KIND,IP,PORT,TEXT[,OPTION…]`: answers everybody with TEXT, the peer and the own address as this side sees
/// them. Options: `reuseport`, `only6`, `unbound` (listens without bind), `any-port`.
fn serve(words: &[&str]) -> Answer {
    let (ip, port): (IpAddr, u16) = (words[1].parse().expect("IP"), words[2].parse().expect("port"));
    let options = &words[4..];
    let (type_, protocol) = kind(words[0]);
    let fd = socket(family(ip), type_, protocol)?;
    option(fd, 1, 2, 1)?;
    if options.contains(&"reuseport") {
        option(fd, 1, 15, 1)?;
    }
    if options.contains(&"only6") {
        option(fd, 41, 26, 1)?;
    }
    if !options.contains(&"unbound") {
        bind(fd, ip, port)?;
    }
    if type_ == STREAM {
        call(50, &[fd, 64])?;
    }
    let bound = name_of(fd, 51)?;
    let text = words[3].to_owned();
    if let Some(pid) = daemon() {
        return Ok(format!("ok {pid} {bound}"));
    }
    option_bytes(fd, 1, 20, &[0; 16])?;
    loop {
        let _one = if type_ == STREAM { serve_stream(fd, &text) } else { serve_datagram(fd, &text) };
    }
}

fn serve_stream(listener: i64, text: &str) -> Result<(), i32> {
    let mut peer = [0u8; 28];
    let mut size = 28i32;
    let fd = call(43, &[listener, peer.as_mut_ptr() as i64, &raw mut size as i64])?;
    let local = name_of(fd, 51)?;
    let reply = format!("{text} peer={} local={local}", shown(&peer));
    let _sent = call(44, &[fd, reply.as_ptr() as i64, reply.len() as i64, 0x4000, 0, 0]);
    // Closing with something unread would reset the connection under the reader.
    call(48, &[fd, 1])?;
    let _question = receive_from(fd);
    call(3, &[fd]).map(drop)
}

fn serve_datagram(fd: i64, text: &str) -> Result<(), i32> {
    let (_, peer, size) = receive_from(fd)?;
    let reply = format!("{text} peer={} local={}", shown(&peer), name_of(fd, 51)?);
    let bytes = reply.as_bytes();
    let to = peer.as_ptr() as i64;
    call(44, &[fd, bytes.as_ptr() as i64, bytes.len() as i64, 0x4000, to, i64::from(size)]).map(drop)
}

/// `ask,KIND,IP,PORT[,SOURCE,PORT[,OPTION…]]`: what the server there says, and the own address and the peer as this
/// side sees them. Options: `unconnected` (sendto and recvfrom), `fastopen`, `broadcast`.
fn ask(words: &[&str]) -> Answer {
    let (ip, port): (IpAddr, u16) = (words[1].parse().expect("IP"), words[2].parse().expect("port"));
    let (type_, protocol) = kind(words[0]);
    let options = words.get(5..).unwrap_or_default();
    let fd = socket(family(ip), type_, protocol)?;
    if options.contains(&"broadcast") {
        option(fd, 1, 6, 1)?;
    }
    if let (Some(source), Some(port)) = (words.get(3).filter(|word| !word.is_empty()), words.get(4)) {
        bind(fd, source.parse().expect("IP"), port.parse().expect("port"))?;
    }
    if options.contains(&"unconnected") {
        send_to(fd, b"?", 0, ip, port)?;
        let (reply, peer, _) = receive_from(fd)?;
        return Ok(format!("{} from={}", String::from_utf8_lossy(&reply), shown(&peer)));
    }
    if options.contains(&"fastopen") {
        send_to(fd, b"?", 0x2000_0000, ip, port)?;
    } else {
        connect(fd, ip, port)?;
        call(44, &[fd, b"?".as_ptr() as i64, 1, 0x4000, 0, 0])?;
    }
    let (reply, _, _) = receive_from(fd)?;
    let (me, peer) = (name_of(fd, 51)?, name_of(fd, 52).unwrap_or_default());
    Ok(format!("{} me={me} to={peer}", String::from_utf8_lossy(&reply)))
}

/// `bind,KIND,IP,PORT[,OPTION…]`: only that. Options set before: `freebind`, `transparent`, `no-port`, `reuseport`,
/// `device=NAME`, `i386` (through socketcall).
fn bind_only(words: &[&str]) -> Answer {
    let (ip, port): (IpAddr, u16) = (words[1].parse().expect("IP"), words[2].parse().expect("port"));
    let (type_, protocol) = kind(words[0]);
    let options = words.get(3..).unwrap_or_default();
    if options.contains(&"i386") {
        return bind_through_i386(ip, port, type_);
    }
    let fd = socket(family(ip), type_, protocol)?;
    for word in options {
        let six = ip.is_ipv6();
        match *word {
            "freebind" => option(fd, if six { 41 } else { 0 }, if six { 78 } else { 15 }, 1)?,
            "transparent" => option(fd, if six { 41 } else { 0 }, if six { 75 } else { 19 }, 1)?,
            "no-port" => option(fd, 0, 24, 1)?,
            "reuseport" => option(fd, 1, 15, 1)?,
            word if word.starts_with("device=") => option_bytes(fd, 1, 25, &word.as_bytes()[7..])?,
            other => panic!("no option {other}"),
        }
    }
    bind(fd, ip, port)?;
    Ok("ok".to_owned())
}

fn bind_through_i386(ip: IpAddr, port: u16, type_: i64) -> Answer {
    let address = sockaddr(ip, port);
    let place = low_memory();
    // SAFETY: the page is ours, writable, and larger than an address.
    unsafe { std::ptr::copy_nonoverlapping(address.as_ptr(), place as *mut u8, address.len()) };
    let fd = socketcall(1, &[family(ip) as u32, type_ as u32, 0])?;
    socketcall(2, &[fd as u32, place as u32, address.len() as u32])?;
    Ok("ok".to_owned())
}

/// `connect,KIND,IP,PORT`: only that.
fn connect_only(words: &[&str]) -> Answer {
    let (ip, port): (IpAddr, u16) = (words[1].parse().expect("IP"), words[2].parse().expect("port"));
    let (type_, protocol) = kind(words[0]);
    let fd = socket(family(ip), type_, protocol)?;
    connect(fd, ip, port)?;
    Ok(format!("ok {}", name_of(fd, 51)?))
}

/// `socket,DOMAIN,TYPE,PROTOCOL`: numbers.
fn socket_only(words: &[&str]) -> Answer {
    let number = |at: usize| words[at].parse::<i64>().expect("a number");
    call(41, &[number(0), number(1), number(2)])?;
    Ok("ok".to_owned())
}

/// `pktinfo,SOURCE,IP,PORT`: a datagram with a source by control message; the answer is what the server says.
fn packet_info(words: &[&str]) -> Answer {
    let (source, ip): (IpAddr, IpAddr) = (words[0].parse().expect("IP"), words[1].parse().expect("IP"));
    let port: u16 = words[2].parse().expect("port");
    let fd = socket(family(ip), DGRAM, 17)?;
    let to = sockaddr(ip, port);
    let mut control = Vec::new();
    let (level, what, data) = match source {
        IpAddr::V4(source) => (0i32, 8i32, [&[0; 4], &source.octets()[..], &[0; 4]].concat()),
        IpAddr::V6(source) => (41, 50, [&source.octets()[..], &[0; 4]].concat()),
    };
    control.extend_from_slice(&(16 + data.len()).to_ne_bytes());
    control.extend_from_slice(&level.to_ne_bytes());
    control.extend_from_slice(&what.to_ne_bytes());
    control.extend_from_slice(&data);
    control.resize(control.len().next_multiple_of(8), 0);
    send_message(fd, Some(&to), b"?", &control)?;
    let (reply, _, _) = receive_from(fd)?;
    Ok(String::from_utf8_lossy(&reply).into_owned())
}

/// sendmsg(2) with one piece of data and control messages.
fn send_message(fd: i64, to: Option<&[u8]>, data: &[u8], control: &[u8]) -> Result<(), i32> {
    let piece = [data.as_ptr() as u64, data.len() as u64];
    let header: [u64; 7] = [
        to.map_or(0, |to| to.as_ptr() as u64),
        to.map_or(0, |to| to.len() as u64),
        piece.as_ptr() as u64,
        1,
        control.as_ptr() as u64,
        control.len() as u64,
        0,
    ];
    call(46, &[fd, header.as_ptr() as i64, 0]).map(drop)
}

fn checksum(bytes: &[u8]) -> [u8; 2] {
    let mut sum: u32 = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0))).sum();
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!(sum as u16)).to_be_bytes()
}

/// `spoof,SOURCE,IP,PORT`: a UDP datagram whose header this program writes (`IP_HDRINCL`); `ok`: the kernel took it.
fn spoof(words: &[&str]) -> Answer {
    let (source, ip): (IpAddr, IpAddr) = (words[0].parse().expect("IP"), words[1].parse().expect("IP"));
    let port: u16 = words[2].parse().expect("port");
    let payload = b"spoofed!";
    let length = 8 + payload.len() as u16;
    let udp = [&7777u16.to_be_bytes()[..], &port.to_be_bytes(), &length.to_be_bytes(), &[0, 0], payload].concat();
    let packet = match (source, ip) {
        (IpAddr::V4(source), IpAddr::V4(ip)) => {
            let mut header = vec![0x45, 0, 0, 20 + length as u8, 0, 0, 0, 0, 64, 17, 0, 0];
            header.extend_from_slice(&source.octets());
            header.extend_from_slice(&ip.octets());
            let sum = checksum(&header);
            header[10..12].copy_from_slice(&sum);
            [header, udp].concat()
        }
        (IpAddr::V6(source), IpAddr::V6(ip)) => {
            let pseudo =
                [&source.octets()[..], &ip.octets(), &u32::from(length).to_be_bytes(), &[0, 0, 0, 17], &udp].concat();
            let mut udp = udp;
            udp[6..8].copy_from_slice(&checksum(&pseudo));
            let header = [&[0x60, 0, 0, 0][..], &length.to_be_bytes(), &[17, 64], &source.octets(), &ip.octets()];
            [header.concat(), udp].concat()
        }
        _ => panic!("two families"),
    };
    let fd = call(41, &[family(ip), RAW, 255])?;
    let to = if ip.is_ipv6() { 0 } else { port };
    send_to(fd, &packet, 0, ip, to)?;
    Ok("ok".to_owned())
}

/// `echo,IP[,SOURCE[,KIND]]`: an ICMP echo request through a ping socket or a raw one; the answer names who was
/// answered, as far as this side is told.
fn echo(words: &[&str]) -> Answer {
    let ip: IpAddr = words[0].parse().expect("IP");
    let default = if ip.is_ipv4() { "icmp" } else { "icmp6" };
    let (type_, protocol) = kind(words.get(2).copied().unwrap_or(default));
    let fd = socket(family(ip), type_, protocol)?;
    if let Some(source) = words.get(1).filter(|word| !word.is_empty()) {
        bind(fd, source.parse().expect("IP"), 0)?;
    }
    let mut packet = vec![if ip.is_ipv4() { 8 } else { 128 }, 0, 0, 0, 0x12, 0x34, 0, 1];
    packet.extend_from_slice(b"netprobe");
    if ip.is_ipv4() {
        let sum = checksum(&packet);
        packet[2..4].copy_from_slice(&sum);
    }
    send_to(fd, &packet, 0, ip, 0)?;
    // A raw socket also hears requests to itself.
    for _ in 0..8 {
        let (reply, peer, _) = receive_from(fd)?;
        let start = if type_ == RAW && ip.is_ipv4() { 20 } else { 0 };
        if [0, 129].contains(&reply[start]) {
            let to = if start == 20 { format!(" to={}", Ipv4Addr::new(reply[16], reply[17], reply[18], reply[19])) } else { String::new() };
            return Ok(format!("ok from={}{to}", shown(&peer).split(',').next().unwrap_or_default()));
        }
    }
    Err(110)
}

/// `packet[,TYPE]`: a packet socket for every frame.
fn packet_socket(words: &[&str]) -> Answer {
    let type_ = if words.first() == Some(&"dgram") { DGRAM } else { RAW };
    call(41, &[PACKET, type_, 0x0300])?;
    Ok("ok".to_owned())
}

/// `address,add|del,INDEX,IP`: what `ip address` asks of the kernel; the answer is the kernel's.
fn change_address(words: &[&str]) -> Answer {
    let ip: IpAddr = words[2].parse().expect("IP");
    let octets = match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let (what, flags): (u16, u16) = if words[0] == "add" { (20, 0x605) } else { (21, 5) };
    let mut body = vec![if ip.is_ipv4() { 2 } else { 10 }, if ip.is_ipv4() { 32 } else { 128 }, 0, 0];
    body.extend_from_slice(&words[1].parse::<u32>().expect("an index").to_ne_bytes());
    for attribute in [2u16, 1] {
        body.extend_from_slice(&(4 + octets.len() as u16).to_ne_bytes());
        body.extend_from_slice(&attribute.to_ne_bytes());
        body.extend_from_slice(&octets);
    }
    netlink(what, flags, &body)
}

/// `link,up|down,INDEX`.
fn change_link(words: &[&str]) -> Answer {
    let mut body = vec![0u8; 16];
    body[4..8].copy_from_slice(&words[1].parse::<u32>().expect("an index").to_ne_bytes());
    body[8..12].copy_from_slice(&u32::from(words[0] == "up").to_ne_bytes());
    body[12..16].copy_from_slice(&1u32.to_ne_bytes());
    netlink(16, 5, &body)
}

/// `route,INDEX`: a default route through that device.
fn add_route(words: &[&str]) -> Answer {
    let mut body = vec![2u8, 0, 0, 0, 254, 3, 253, 1, 0, 0, 0, 0];
    body.extend_from_slice(&8u16.to_ne_bytes());
    body.extend_from_slice(&4u16.to_ne_bytes());
    body.extend_from_slice(&words[0].parse::<u32>().expect("an index").to_ne_bytes());
    netlink(24, 0x605, &body)
}

fn netlink(what: u16, flags: u16, body: &[u8]) -> Answer {
    let fd = socket(16, RAW, 0)?;
    let mut message = Vec::new();
    message.extend_from_slice(&(16 + body.len() as u32).to_ne_bytes());
    message.extend_from_slice(&what.to_ne_bytes());
    message.extend_from_slice(&flags.to_ne_bytes());
    message.extend_from_slice(&[1, 0, 0, 0, 0, 0, 0, 0]);
    message.extend_from_slice(body);
    call(44, &[fd, message.as_ptr() as i64, message.len() as i64, 0, 0, 0])?;
    let (reply, _, _) = receive_from(fd)?;
    let error = i32::from_ne_bytes([reply[16], reply[17], reply[18], reply[19]]);
    if error == 0 { Ok("ok".to_owned()) } else { Err(-error) }
}

/// One operation of io_uring, waited for.
fn uring(opcode: u8, fd: i64, address: &[u8], length_in_offset: bool) -> Result<i64, i32> {
    let mut parameters = [0u32; 30];
    let ring = call(425, &[2, parameters.as_mut_ptr() as i64])?;
    let at = |index: usize| i64::from(parameters[index]);
    // struct io_sqring_offsets begins at word 10, io_cqring_offsets at word 20.
    let size = 4096.max(at(10 + 6) + 4 * 2).max(at(20 + 5) + 16 * 4);
    let queue = call(9, &[0, size, 3, 0x8001, ring, 0])?;
    let completions = call(9, &[0, size, 3, 0x8001, ring, 0x800_0000])?;
    let entries = call(9, &[0, 64 * 2, 3, 0x8001, ring, 0x1000_0000])?;
    let mut entry = [0u8; 64];
    entry[0] = opcode;
    entry[4..8].copy_from_slice(&i32::try_from(fd).unwrap_or(-1).to_ne_bytes());
    if length_in_offset {
        entry[8..16].copy_from_slice(&(address.len() as u64).to_ne_bytes());
        entry[16..24].copy_from_slice(&(address.as_ptr() as u64).to_ne_bytes());
    } else {
        // socket(2): domain in fd, type in off, protocol in len.
        entry[8..16].copy_from_slice(&u64::from(address[0]).to_ne_bytes());
    }
    // SAFETY: the mappings are those that the kernel describes by these offsets.
    unsafe {
        std::ptr::copy_nonoverlapping(entry.as_ptr(), entries as *mut u8, 64);
        *((queue + at(10 + 6)) as *mut u32) = 0;
        *((queue + at(10 + 1)) as *mut u32) = 1;
    }
    call(426, &[ring, 1, 1, 1, 0, 0])?;
    // SAFETY: one completion is there, as the call has waited for it.
    let result = unsafe { *((completions + at(20 + 5) + 8) as *const i32) };
    if result < 0 { Err(-result) } else { Ok(i64::from(result)) }
}

/// `uring,bind|connect,IP,PORT`: socket and call through io_uring alone, as far as this kernel has the operations.
fn through_uring(words: &[&str]) -> Answer {
    let (ip, port): (IpAddr, u16) = (words[1].parse().expect("IP"), words[2].parse().expect("port"));
    let address = sockaddr(ip, port);
    let fd = match uring(45, family(ip), &[STREAM as u8], false) {
        Ok(fd) => fd,
        // Linux before 5.19 cannot make sockets there.
        Err(22) => socket(family(ip), STREAM, 6)?,
        Err(errno) => return Err(errno),
    };
    let opcode = if words[0] == "bind" { 56 } else { 16 };
    uring(opcode, fd, &address, true)?;
    Ok(format!("ok {}", name_of(fd, 51)?))
}

fn unix_address(path: &str) -> Vec<u8> {
    let mut address = 1u16.to_ne_bytes().to_vec();
    address.extend_from_slice(path.as_bytes());
    address.push(0);
    address
}

/// `give,PATH,KIND,FAMILY[,IP,PORT]`: makes a socket, bound if there is an address, and gives it to whoever connects
/// to PATH.
fn give(words: &[&str]) -> Answer {
    let (type_, protocol) = kind(words[1]);
    let given = socket(if words[2] == "4" { INET } else { INET6 }, type_, protocol)?;
    if let Some(ip) = words.get(3) {
        bind(given, ip.parse().expect("IP"), words[4].parse().expect("port"))?;
        if type_ == STREAM {
            call(50, &[given, 8])?;
        }
    }
    let fd = call(41, &[UNIX, STREAM, 0])?;
    let address = unix_address(words[0]);
    call(49, &[fd, address.as_ptr() as i64, address.len() as i64])?;
    let path = std::ffi::CString::new(words[0]).expect("a path");
    call(90, &[path.as_ptr() as i64, 0o777])?;
    call(50, &[fd, 8])?;
    if let Some(pid) = daemon() {
        return Ok(format!("ok {pid}"));
    }
    loop {
        let taker = call(43, &[fd, 0, 0])?;
        let mut control = 20usize.to_ne_bytes().to_vec();
        control.extend_from_slice(&1i32.to_ne_bytes());
        control.extend_from_slice(&1i32.to_ne_bytes());
        control.extend_from_slice(&i32::try_from(given).unwrap_or(-1).to_ne_bytes());
        control.extend_from_slice(&[0; 4]);
        let _sent = send_message(taker, None, b"!", &control);
        let _closed = call(3, &[taker]);
    }
}

/// `take,PATH,bind|connect|name,IP,PORT`: takes a socket from there and does that with it.
fn take(words: &[&str]) -> Answer {
    let fd = call(41, &[UNIX, STREAM, 0])?;
    let address = unix_address(words[0]);
    call(42, &[fd, address.as_ptr() as i64, address.len() as i64])?;
    let mut data = [0u8; 8];
    let mut control = [0u8; 64];
    let piece = [data.as_mut_ptr() as u64, 8];
    let header: [u64; 7] = [0, 0, piece.as_ptr() as u64, 1, control.as_mut_ptr() as u64, 64, 0];
    call(47, &[fd, header.as_ptr() as i64, 0])?;
    let taken = i64::from(i32::from_ne_bytes([control[16], control[17], control[18], control[19]]));
    if words[1] == "name" {
        return name_of(taken, 51);
    }
    let (ip, port): (IpAddr, u16) = (words[2].parse().expect("IP"), words[3].parse().expect("port"));
    if words[1] == "bind" { bind(taken, ip, port)? } else { connect(taken, ip, port)? }
    Ok(format!("ok {}", name_of(taken, 51)?))
}

/// `setns,PATH`: into the network namespace behind it.
fn set_namespace(words: &[&str]) -> Answer {
    let path = std::ffi::CString::new(words[0]).expect("a path");
    let fd = call(2, &[path.as_ptr() as i64, 0])?;
    call(308, &[fd, 0x4000_0000])?;
    Ok("ok".to_owned())
}

/// `hear,IP,PORT`: everything that comes to this port while we are patient.
fn hear(words: &[&str]) -> Answer {
    let (ip, port): (IpAddr, u16) = (words[0].parse().expect("IP"), words[1].parse().expect("port"));
    let fd = socket(family(ip), DGRAM, 17)?;
    option(fd, 1, 2, 1)?;
    bind(fd, ip, port)?;
    let (what, from, _) = receive_from(fd)?;
    Ok(format!("{} from={}", String::from_utf8_lossy(&what), shown(&from)))
}

/// `getifaddrs`: the names and addresses that netlink tells, without any library.
fn addresses() -> Answer {
    let fd = socket(16, RAW, 0)?;
    let mut message = 20u32.to_ne_bytes().to_vec();
    message.extend_from_slice(&22u16.to_ne_bytes());
    message.extend_from_slice(&0x301u16.to_ne_bytes());
    message.extend_from_slice(&[1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    call(44, &[fd, message.as_ptr() as i64, message.len() as i64, 0, 0, 0])?;
    let mut list = Vec::new();
    'all: loop {
        let (reply, _, _) = receive_from(fd)?;
        let mut rest = &reply[..];
        while rest.len() >= 16 {
            let length = u32::from_ne_bytes([rest[0], rest[1], rest[2], rest[3]]) as usize;
            match u16::from_ne_bytes([rest[4], rest[5]]) {
                20 => list.push(first_address(&rest[16..length])),
                2 | 3 => break 'all,
                _ => {}
            }
            rest = &rest[length.next_multiple_of(4).min(rest.len())..];
        }
    }
    list.sort();
    let mut text = "ok".to_owned();
    for address in list {
        let _written = write!(text, " {address}");
    }
    Ok(text)
}

/// The address of one `RTM_NEWADDR`.
fn first_address(message: &[u8]) -> String {
    let mut rest = &message[8..];
    let mut found = String::new();
    while rest.len() >= 4 {
        let length = usize::from(u16::from_ne_bytes([rest[0], rest[1]]));
        let kind = u16::from_ne_bytes([rest[2], rest[3]]);
        // IFA_LOCAL is the address where there is a peer; else both are the same.
        if kind == 2 || (kind == 1 && found.is_empty()) {
            let bytes = &rest[4..length];
            found = match bytes.len() {
                4 => Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]).to_string(),
                _ => Ipv6Addr::from(<[u8; 16]>::try_from(bytes).unwrap_or_default()).to_string(),
            };
        }
        rest = &rest[length.next_multiple_of(4).min(rest.len())..];
    }
    found
}

fn answer(word: &str) -> Answer {
    let words: Vec<&str> = word.split(',').collect();
    let rest = &words[1..];
    match words[0] {
        "serve" => serve(rest),
        "ask" => ask(rest),
        "bind" => bind_only(rest),
        "connect" => connect_only(rest),
        "socket" => socket_only(rest),
        "pktinfo" => packet_info(rest),
        "spoof" => spoof(rest),
        "echo" => echo(rest),
        "packet" => packet_socket(rest),
        "address" => change_address(rest),
        "link" => change_link(rest),
        "route" => add_route(rest),
        "uring" => through_uring(rest),
        "give" => give(rest),
        "take" => take(rest),
        "setns" => set_namespace(rest),
        "hear" => hear(rest),
        "getifaddrs" => addresses(),
        other => panic!("no verb named {other}"),
    }
}

fn name(errno: i32) -> String {
    let known = [
        (1, "EPERM"), (2, "ENOENT"), (11, "EAGAIN"), (13, "EACCES"), (17, "EEXIST"), (19, "ENODEV"), (22, "EINVAL"),
        (32, "EPIPE"), (38, "ENOSYS"), (92, "ENOPROTOOPT"), (93, "EPROTONOSUPPORT"), (94, "ESOCKTNOSUPPORT"),
        (95, "EOPNOTSUPP"), (97, "EAFNOSUPPORT"), (98, "EADDRINUSE"), (99, "EADDRNOTAVAIL"), (101, "ENETUNREACH"),
        (104, "ECONNRESET"), (110, "ETIMEDOUT"), (111, "ECONNREFUSED"), (113, "EHOSTUNREACH"), (115, "EINPROGRESS"),
    ];
    let found = known.iter().find(|(number, _)| *number == errno);
    found.map_or_else(|| format!("errno {errno}"), |(_, name)| (*name).to_owned())
}

fn main() -> ExitCode {
    for word in std::env::args().skip(1) {
        // Each in a process of its own, so that one that succeeds or dies does not help or hinder the next.
        match call(57, &[]) {
            Ok(0) => {
                let answer = answer(&word).unwrap_or_else(name);
                println!("{word}: {answer}");
                return ExitCode::SUCCESS;
            }
            Ok(pid) => {
                let mut status: i32 = 0;
                let _ended = call(61, &[pid, &raw mut status as i64, 0x4000_0000, 0]);
                if status & 0x7f != 0 {
                    println!("{word}: died of signal {}", status & 0x7f);
                }
            }
            Err(errno) => println!("{word}: fork: {}", name(errno)),
        }
    }
    ExitCode::SUCCESS
}
