//! The world outside the host: a second network namespace at the other end of the host's one device.
//!
//! ```text
//!   trial = the host                                 outside
//!   e2e0  192.0.2.1/24, 2001:db8::1/64  ═══ veth ═══  wan0  192.0.2.254/24, 2001:db8::fe/64
//! ```
//! Guests get addresses of these two networks, from 192.0.2.11 and `2001:db8::11` on by habit. Both addresses of the
//! other side are the host's way out (default routes). A device `e2e1` is a second, unconnected one.

use crate::command::{Program, host};
use crate::{Guest, soon};
use std::process::{Child, Command, Stdio};

/// The host's device.
pub const DEVICE: &str = "e2e0";
/// The host's own addresses.
pub const HOST: [&str; 2] = ["192.0.2.1", "2001:db8::1"];
/// The addresses outside.
pub const WORLD: [&str; 2] = ["192.0.2.254", "2001:db8::fe"];

/// The other namespace; it goes with this value.
pub struct Outside {
    holder: Child,
}

impl Outside {
    /// Connects the trial to it.
    ///
    /// # Panics
    ///
    /// When that fails: the trial cannot go on.
    pub fn connect() -> Self {
        let holder = Command::new("unshare")
            .args(["--net", "sleep", "100000"])
            .stdin(Stdio::null())
            .spawn()
            .expect("unshare is there");
        let outside = Self { holder };
        outside.await_namespace();
        let pid = outside.holder.id().to_string();
        // Addresses are to be there at once: nobody else could have them.
        sysctl(None, "net/ipv6/conf/default/accept_dad", "0");
        sysctl(Some(&outside), "net/ipv6/conf/default/accept_dad", "0");
        ip(&["link", "add", DEVICE, "type", "veth", "peer", "name", "wan0", "netns", &pid]);
        ip(&["address", "add", "192.0.2.1/24", "broadcast", "+", "dev", DEVICE]);
        ip(&["address", "add", "2001:db8::1/64", "dev", DEVICE, "nodad"]);
        ip(&["link", "set", DEVICE, "up"]);
        for words in [
            &["address", "add", "192.0.2.254/24", "broadcast", "+", "dev", "wan0"][..],
            &["address", "add", "2001:db8::fe/64", "dev", "wan0", "nodad"],
            &["link", "set", "wan0", "up"],
            &["link", "set", "lo", "up"],
        ] {
            outside.program("ip").args(words).run().ok();
        }
        ip(&["route", "add", "default", "via", WORLD[0]]);
        ip(&["-6", "route", "add", "default", "via", WORLD[1]]);
        outside
    }

    /// Until the program has left the host's namespace.
    fn await_namespace(&self) {
        let link = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/net"));
        let own = link("self").expect("/proc is mounted");
        soon("unshare makes a network namespace", || {
            link(&self.holder.id().to_string()).is_ok_and(|other| other != own)
        });
    }

    /// A program of the host's tree that runs outside.
    pub fn program(&self, name: &str) -> Program {
        let space = format!("--net=/proc/{}/ns/net", self.holder.id());
        Program::of_host("nsenter").args(&[&space, name])
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        // Both fail only when it has ended already; its end of the wire goes with the namespace, and the host's with
        // that.
        drop(self.holder.kill());
        drop(self.holder.wait());
        drop(host("ip", &["link", "delete", DEVICE]));
    }
}

/// `ip WORDS` on the host, which must succeed.
///
/// # Panics
///
/// When it does not.
#[track_caller]
pub fn ip(words: &[&str]) {
    host("ip", words).ok();
}

/// Sets a kernel setting of the host's network, or of the one outside.
#[track_caller]
fn sysctl(place: Option<&Outside>, path: &str, value: &str) {
    let line = format!("echo {value} > /proc/sys/{path}");
    let shell = place.map_or_else(|| Program::of_host("sh"), |outside| outside.program("sh"));
    shell.args(&["-c", &line]).run().ok();
}

/// Configures an interface of a guest on the host's device; a prefix of the two networks is added.
pub fn interface(guest: &Guest, key: &str, address: &str) {
    let prefix = if address.contains(':') { 64 } else { 24 };
    guest.set(&format!("interfaces/{key}/dev"), &format!("{DEVICE}\n"));
    guest.set(&format!("interfaces/{key}/ip"), &format!("{address}/{prefix}\n"));
}
