//! `cargo xtask demo`: a real guest, from the archive to the prompt.
//!
//! Everything lives below `target/demo` (`VSERVER_PREFIX`), so that trying it harms nothing. The guest's tree is kept:
//! a second demo is quick.

use crate::shell::{Outcome, is_root, target, workspace};
use crate::{prepare, release};
use std::fs;
use std::io::{IsTerminal as _, stdin, stdout};
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

/// The guest's port for ssh: guests share the host's network, where 22 may be taken.
const PORT: &str = "2222";

/// Builds for release and shows a guest's whole life.
pub fn show() -> Outcome {
    if !is_root() {
        return Err("a guest is started by root: try `sudo make demo`".into());
    }
    prepare::packages(&[])?;
    release::program()?;
    let demo = Demo { prefix: target().join("demo"), program: target().join("release/vserver") };
    demo.link_data().map_err(|error| format!("{}: {error}", demo.prefix.display()))?;
    println!();
    demo.build()?;
    say("The guest as the plan sees it, and its start:");
    demo.vserver(&["demo", "start", "--dry-run"])?;
    demo.vserver(&["demo", "start"])?;
    let shown = demo.look_around();
    // Whatever went wrong in between: the demo leaves no guest running.
    let stopped = demo.vserver(&["demo", "stop"]);
    shown.and(stopped)?;
    demo.farewell();
    Ok(())
}

struct Demo {
    prefix: PathBuf,
    program: PathBuf,
}

impl Demo {
    /// The program looks for its data below the prefix first.
    fn link_data(&self) -> std::io::Result<()> {
        let data = self.prefix.join("usr/share/vserver");
        if data.exists() {
            return Ok(());
        }
        fs::create_dir_all(self.prefix.join("usr/share"))?;
        std::os::unix::fs::symlink(workspace().join("share"), data)
    }

    fn build(&self) -> Outcome {
        if self.prefix.join("etc/vservers/demo").is_dir() {
            say("The guest of the last demo is still there.");
            return Ok(());
        }
        say("A Debian guest with systemd and sshd, from the archive (the first time takes about a minute):");
        self.vserver(&[
            "demo",
            "build",
            "-m",
            "debootstrap",
            "--context",
            "4242",
            "--hostname",
            "demo",
            "--initstyle",
            "plain",
            "--",
            "-d",
            "bookworm",
            "--",
            "--variant=minbase",
            "--include=systemd-sysv,dbus,openssh-server",
        ])?;
        let settings = self.prefix.join("vservers/demo/etc/ssh/sshd_config.d/demo.conf");
        fs::write(&settings, format!("Port {PORT}\nListenAddress 127.0.0.1\n"))
            .map_err(|error| format!("{}: {error}", settings.display()))
    }

    fn look_around(&self) -> Outcome {
        self.wait_for_sshd()?;
        say("What runs, and a command inside:");
        self.tool("vserver-stat", &[])?;
        self.vserver(&["demo", "status"])?;
        self.vserver(&[
            "demo",
            "exec",
            "sh",
            "-c",
            "hostname; id; systemctl is-system-running; systemctl is-active ssh",
        ])?;
        if stdin().is_terminal() && stdout().is_terminal() {
            say("Now you are root in the guest. Leave with `exit`.");
            // A shell ends with the status of its last command, which says nothing about the demo.
            drop(self.vserver(&["demo", "enter"]));
        }
        Ok(())
    }

    /// The guest's init starts it when it likes.
    fn wait_for_sshd(&self) -> Outcome {
        let until = Instant::now() + Duration::from_mins(1);
        while Instant::now() < until {
            let mut ask = self.command("vserver");
            ask.args(["demo", "exec", "systemctl", "--quiet", "is-active", "ssh"]);
            if ask.output().is_ok_and(|output| output.status.success()) {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(200));
        }
        Err("sshd does not start in the guest".into())
    }

    fn farewell(&self) {
        say("Stopped, and nothing is left running. To go on with it:");
        println!("    export VSERVER_PREFIX={}", self.prefix.display());
        println!("    {} demo start", self.program.display());
        println!("    ssh -p {PORT} root@127.0.0.1      # after putting your key into the guest");
        println!("    {} demo delete", self.program.display());
        println!(
            "Without the variable the same commands work on /etc/vservers. Next: the tour in README.md."
        );
    }

    fn command(&self, name: &str) -> Command {
        use std::os::unix::process::CommandExt as _;
        let mut command = Command::new(&self.program);
        command.arg0(name).env("VSERVER_PREFIX", &self.prefix);
        command
    }

    fn vserver(&self, words: &[&str]) -> Outcome {
        self.tool("vserver", words)
    }

    fn tool(&self, name: &str, words: &[&str]) -> Outcome {
        let shown = format!("{name} {}", words.join(" "));
        println!("\x1b[1m# {shown}\x1b[0m");
        match self.command(name).args(words).status() {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(format!("`{shown}` ended with {status}")),
            Err(error) => Err(format!("{}: {error}", self.program.display())),
        }
    }
}

fn say(text: &str) {
    println!("\n\x1b[1m{text}\x1b[0m");
}
