//! What a program sees of the network's devices, and how it may abuse those who answer: one question a word, its
//! answer on a line behind the word and a colon.
//!
//! Built statically by the harness with the C library's `getifaddrs`; everything else is a system call by number.

use std::ffi::{CStr, c_char, c_int, c_long, c_void};
use std::io::Error;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

#[repr(C)]
struct IfAddrs {
    next: *mut IfAddrs,
    name: *const c_char,
    flags: u32,
    address: *const u8,
    rest: [*mut c_void; 3],
}

unsafe extern "C" {
    fn syscall(number: c_long, ...) -> c_long;
    fn getifaddrs(list: *mut *mut IfAddrs) -> c_int;
    fn fork() -> c_int;
    fn kill(pid: c_int, signal: c_int) -> c_int;
    fn waitpid(pid: c_int, status: *mut c_int, options: c_int) -> c_int;
    fn _exit(code: c_int) -> !;
}

const SOCKET: c_long = 41;
const IOCTL: c_long = 16;
const SENDTO: c_long = 44;
const RECVFROM: c_long = 45;
const CLOSE: c_long = 3;

/// Every pointer among the arguments comes from a value that the caller keeps until the call returns, or is wrong on
/// purpose and refused.
fn call(number: c_long, arguments: [c_long; 6]) -> Result<c_long, i32> {
    let [a, b, c, d, e, f] = arguments;
    // SAFETY: as above.
    let result = unsafe { syscall(number, a, b, c, d, e, f) };
    if result < 0 { Err(Error::last_os_error().raw_os_error().unwrap_or(0)) } else { Ok(result) }
}

fn socket(family: c_long, kind: c_long, protocol: c_long) -> Result<c_long, i32> {
    call(SOCKET, [family, kind, protocol, 0, 0, 0])
}

fn close(fd: c_long) {
    drop(call(CLOSE, [fd, 0, 0, 0, 0, 0]));
}

fn address(pointer: *const u8) -> Option<String> {
    if pointer.is_null() {
        return None;
    }
    // SAFETY: a sockaddr of the family that its first two bytes name.
    unsafe {
        match u16::from_ne_bytes([*pointer, *pointer.add(1)]) {
            2 => Some(std::net::Ipv4Addr::from(*pointer.add(4).cast::<[u8; 4]>()).to_string()),
            10 => Some(std::net::Ipv6Addr::from(*pointer.add(8).cast::<[u8; 16]>()).to_string()),
            _ => None,
        }
    }
}

/// `NAME=ADDRESS` of all, sorted; of a device without one its name.
fn by_libc() -> Result<String, i32> {
    let mut list = std::ptr::null_mut();
    // SAFETY: the library stores the beginning of a list, which is never freed here.
    if unsafe { getifaddrs(&raw mut list) } != 0 {
        return Err(Error::last_os_error().raw_os_error().unwrap_or(0));
    }
    let mut found = Vec::new();
    while !list.is_null() {
        // SAFETY: an entry of the list; the name is a C string.
        let (entry, name) = unsafe { (&*list, CStr::from_ptr((*list).name)) };
        let name = name.to_string_lossy();
        found.push(address(entry.address).map_or(name.to_string(), |ip| format!("{name}={ip}")));
        list = entry.next;
    }
    Ok(joined(found))
}

fn joined(mut words: Vec<String>) -> String {
    words.sort();
    words.dedup();
    words.join(" ")
}

/// Names of devices by RTM_GETLINK, over a socket of this type.
fn by_netlink(kind: c_long) -> Result<String, i32> {
    let fd = socket(16, kind, 0)?;
    let names = links(fd);
    close(fd);
    names
}

fn links(fd: c_long) -> Result<String, i32> {
    // nlmsghdr: length, RTM_GETLINK, NLM_F_REQUEST | NLM_F_DUMP, sequence, port; ifinfomsg of zeros.
    let mut request = [0u8; 32];
    request[0] = 32;
    request[4] = 18;
    request[6..8].copy_from_slice(&0x301u16.to_ne_bytes());
    call(SENDTO, [fd, request.as_ptr() as c_long, 32, 0, 0, 0])?;
    let mut names = Vec::new();
    let mut buffer = vec![0u8; 65536];
    loop {
        let room = buffer.len() as c_long;
        let count = call(RECVFROM, [fd, buffer.as_mut_ptr() as c_long, room, 0, 0, 0])?;
        let mut rest = &buffer[..usize::try_from(count).unwrap_or(0)];
        while rest.len() >= 16 {
            let length = u32::from_ne_bytes([rest[0], rest[1], rest[2], rest[3]]) as usize;
            match u16::from_ne_bytes([rest[4], rest[5]]) {
                3 => return Ok(joined(names)),
                16 => names.extend(name_in(&rest[32..length])),
                _ => return Err(71),
            }
            rest = &rest[length.next_multiple_of(4).min(rest.len())..];
        }
    }
}

/// IFLA_IFNAME.
fn name_in(mut attributes: &[u8]) -> Option<String> {
    while attributes.len() >= 4 {
        let length = u16::from_ne_bytes([attributes[0], attributes[1]]) as usize;
        if attributes[2] == 3 {
            return Some(String::from_utf8_lossy(&attributes[4..length - 1]).into_owned());
        }
        attributes = &attributes[length.next_multiple_of(4).min(attributes.len())..];
    }
    None
}

fn request(name: &str) -> [u8; 40] {
    let mut request = [0; 40];
    request[..name.len()].copy_from_slice(name.as_bytes());
    request
}

fn device(request: c_long, about: &mut [u8; 40]) -> Result<c_long, i32> {
    let fd = socket(2, 2, 0)?;
    let result = call(IOCTL, [fd, request, about.as_mut_ptr() as c_long, 0, 0, 0]);
    close(fd);
    result
}

fn index(name: &str) -> Result<String, i32> {
    let mut about = request(name);
    device(0x8933, &mut about)?;
    Ok(i32::from_ne_bytes([about[16], about[17], about[18], about[19]]).to_string())
}

/// SIOCGIFCONF with room for `room` entries; without any, their number.
fn by_ioctl(room: usize) -> Result<String, i32> {
    let fd = socket(2, 2, 0)?;
    let mut list = vec![[0u8; 40]; room];
    let place = if room == 0 { 0 } else { list.as_mut_ptr() as u64 };
    let mut head = [(room * 40) as u64, place];
    let result = call(IOCTL, [fd, 0x8912, head.as_mut_ptr() as c_long, 0, 0, 0]);
    close(fd);
    result?;
    let count = (head[0] & 0xffff_ffff) as usize / 40;
    if room == 0 {
        return Ok(count.to_string());
    }
    let name = |entry: &[u8; 40]| String::from_utf8_lossy(&entry[..16]).trim_end_matches('\0').to_owned();
    Ok(joined(list[..count].iter().map(name).collect()))
}

/// Many at once: every answer must be the same.
fn many(count: usize) -> Result<String, i32> {
    let answers = Arc::new(Mutex::new(Vec::new()));
    let threads: Vec<_> = (0..count)
        .map(|_| {
            let answers = Arc::clone(&answers);
            thread::spawn(move || {
                for _ in 0..20 {
                    let answer = by_netlink(3).and_then(|all| Ok(format!("{all} | {}", by_ioctl(16)?)));
                    answers.lock().expect("no panic").push(answer);
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
    let answers = Arc::into_inner(answers).expect("all have ended").into_inner().expect("no panic");
    let all: Result<Vec<String>, i32> = answers.into_iter().collect();
    let mut all = all?;
    all.sort();
    all.dedup();
    Ok(all.join(" || "))
}

/// Asks for the numbers of two devices in turn, in memory that another thread keeps changing: what was ever found.
fn swap(one: &str, other: &str) -> Result<String, i32> {
    let about = Arc::new([request(one), request(other), request(one)]);
    let shared = Arc::as_ptr(&about) as usize;
    let stop = Arc::new(AtomicBool::new(false));
    let swapper = {
        let (about, stop) = (Arc::clone(&about), Arc::clone(&stop));
        thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                for from in [1, 2] {
                    // SAFETY: both are alive; that another thread and the broker look on is the point.
                    unsafe {
                        let to = shared as *mut u8;
                        let name = about[from].as_ptr();
                        (0..16).for_each(|at| to.add(at).write_volatile(*name.add(at)));
                    }
                }
            }
        })
    };
    let fd = socket(2, 2, 0)?;
    let mut found = Vec::new();
    let until = Instant::now() + Duration::from_millis(300);
    while Instant::now() < until {
        found.push(match call(IOCTL, [fd, 0x8933, shared as c_long, 0, 0, 0]) {
            // SAFETY: as above; the number stands behind the name.
            Ok(_) => unsafe { (shared as *const u8).add(16).cast::<i32>().read_volatile() }.to_string(),
            Err(errno) => format!("errno{errno}"),
        });
    }
    stop.store(true, Ordering::Relaxed);
    swapper.join().expect("no panic");
    Ok(joined(found))
}

/// Children that are killed while they wait for an answer.
fn die(count: c_int) -> Result<String, i32> {
    for round in 0..count {
        // SAFETY: this process has one thread when this word comes; the child only makes system calls.
        match unsafe { fork() } {
            0 => loop {
                drop(socket(16, 3, 0).map(close));
                drop(device(0x8933, &mut request("lo")));
                if round < 0 {
                    // SAFETY: never reached; says that this loop has an end.
                    unsafe { _exit(0) }
                }
            },
            pid if pid > 0 => {
                thread::sleep(Duration::from_micros(u64::try_from(round % 50 * 20).unwrap_or(0)));
                // SAFETY: numbers, and a status that nobody wants.
                unsafe {
                    kill(pid, 9);
                    waitpid(pid, std::ptr::null_mut(), 0);
                }
            }
            _ => return Err(11),
        }
    }
    Ok("ok".to_owned())
}

/// Nanoseconds of the quickest of many calls.
fn cost(act: impl Fn() -> Result<(), i32>) -> Result<String, i32> {
    let mut best = u128::MAX;
    for _ in 0..40 {
        let begin = Instant::now();
        for _ in 0..100 {
            act()?;
        }
        best = best.min(begin.elapsed().as_nanos() / 100);
    }
    Ok(best.to_string())
}

fn answer(word: &str) -> Result<String, i32> {
    let mut parts = word.split(',');
    let verb = parts.next().unwrap_or_default();
    let mut next = || parts.next().unwrap_or_default();
    let count = |text: &str| text.parse::<usize>().unwrap_or(1);
    match verb {
        "libc" => by_libc(),
        "netlink" => by_netlink(3),
        "netlink-datagram" => by_netlink(2 | 0o2_000_000 | 0o4000),
        "generic" => socket(16, 3, 16).map(|_| "ok".to_owned()),
        "diag" => socket(16, 3, 4).map(|_| "ok".to_owned()),
        "uevent" => socket(16, 3, 15).map(|_| "ok".to_owned()),
        "conf" => by_ioctl(count(next())),
        "conf-count" => by_ioctl(0),
        "index" => index(next()),
        "down" => device(0x8914, &mut request(next())).map(|_| "ok".to_owned()),
        "ethtool" => device(0x8946, &mut request(next())).map(|_| "ok".to_owned()),
        "no-descriptor" => call(IOCTL, [999, 0x8912, 0, 0, 0, 0]).map(|_| "ok".to_owned()),
        "no-socket" => call(IOCTL, [1, 0x8933, request("lo").as_ptr() as c_long, 0, 0, 0]).map(|_| "ok".to_owned()),
        "no-memory" => call(IOCTL, [socket(2, 2, 0)?, 0x8933, 8, 0, 0, 0]).map(|_| "ok".to_owned()),
        "inet" => socket(2, 1, 0).map(|fd| close(fd)).map(|()| "ok".to_owned()),
        "many" => many(count(next())),
        "swap" => swap(next(), next()),
        "die" => die(next().parse().unwrap_or(1)),
        "cost-netlink" => cost(|| socket(16, 3, 0).map(close)),
        "cost-inet" => cost(|| socket(2, 2, 0).map(close)),
        "cost-device" => {
            let fd = socket(2, 2, 0)?;
            let about = request("lo");
            cost(|| call(IOCTL, [fd, 0x8933, about.as_ptr() as c_long, 0, 0, 0]).map(drop))
        }
        "cost-nothing" => cost(|| call(39, [0; 6]).map(drop)),
        _ => Err(22),
    }
}

fn main() -> ExitCode {
    for word in std::env::args().skip(1) {
        match answer(&word) {
            Ok(text) => println!("{word}: {text}"),
            Err(errno) => println!("{word}: errno {errno}"),
        }
    }
    ExitCode::SUCCESS
}
