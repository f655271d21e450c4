//! Many idle guests at once.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use vserver_e2e::Mode;

use crate::Outcome;
use crate::contestant::{run, vserver};

/// Guests `fleet-0` and so on; stopped when dropped.
#[derive(Debug)]
pub struct Fleet {
    mode: Mode,
    running: usize,
}

/// Leaves one process behind and ends: a guest of the usual kind, with our stub as its init.
const COMMAND: &str = "/bin/sh\n-c\nsetsid sleep 100000 < /dev/null > /dev/null 2>&1 &\n";

/// The name of guest `number`.
pub fn name(number: usize) -> String {
    format!("fleet-{number}")
}

impl Fleet {
    /// None runs yet.
    pub fn new(mode: Mode) -> Self {
        Self { mode, running: 0 }
    }

    /// How many run.
    pub fn len(&self) -> usize {
        self.running
    }

    /// Whether none runs.
    pub fn is_empty(&self) -> bool {
        self.running == 0
    }

    /// Starts guests until so many run.
    ///
    /// # Errors
    /// One cannot be made or does not start.
    pub fn grow(&mut self, count: usize) -> Outcome {
        while self.running < count {
            make(self.running, self.mode).map_err(|error| format!("{}: {error}", name(self.running)))?;
            run(&mut vserver(&[&name(self.running), "start"]))?;
            self.running += 1;
        }
        Ok(())
    }

    /// Stops them all.
    ///
    /// # Errors
    /// One does not stop.
    pub fn stop(&mut self) -> Outcome {
        while self.running > 0 {
            run(&mut vserver(&[&name(self.running - 1), "stop"]))?;
            self.running -= 1;
        }
        Ok(())
    }

    /// The number that a file of the record holds: `init` or `guard`.
    ///
    /// # Errors
    /// The record cannot be read.
    pub fn pid(number: usize, whose: &str) -> Outcome<u32> {
        let path = format!("/run/vservers/.state/{}/record", name(number));
        let text = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
        let record: serde_json::Value =
            serde_json::from_str(&text).map_err(|error| format!("{path}: {error}"))?;
        let pid = record[whose]["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok());
        pid.ok_or_else(|| format!("{path}: no {whose}"))
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        if let Err(failure) = self.stop() {
            eprintln!("{failure}");
        }
    }
}

/// A tree of a handful of names around one program that all share, and its configuration.
fn make(number: usize, mode: Mode) -> std::io::Result<()> {
    let name = name(number);
    let (tree, configuration) = (Path::new("/vservers").join(&name), Path::new("/etc/vservers").join(&name));
    if tree.exists() {
        return Ok(());
    }
    for directory in ["bin", "dev", "etc", "proc", "sys", "run", "tmp", "var"] {
        fs::create_dir_all(tree.join(directory))?;
    }
    let program = Path::new("/vservers/busybox");
    if !program.exists() {
        fs::copy("/bin/busybox", program)?;
    }
    fs::hard_link(program, tree.join("bin/busybox"))?;
    for link in ["sh", "sleep", "setsid", "true"] {
        symlink("busybox", tree.join("bin").join(link))?;
    }
    fs::create_dir_all(configuration.join("apps/init"))?;
    fs::create_dir_all(configuration.join("spaces"))?;
    let xid = 1000 + number;
    fs::write(configuration.join("context"), format!("{xid}\n"))?;
    fs::write(
        configuration.join("fstab"),
        "none /proc proc defaults 0 0\nnone /tmp tmpfs size=16m,mode=1777 0 0\n\
         none /dev/pts devpts gid=5,mode=620 0 0\n",
    )?;
    fs::write(configuration.join("apps/init/style"), "\n")?;
    fs::write(configuration.join("apps/init/cmd.start"), COMMAND)?;
    if mode == Mode::Shifted {
        fs::write(configuration.join("spaces/user"), "")?;
    }
    symlink(&tree, configuration.join("vdir"))?;
    symlink(format!("/var/run/vservers/{name}"), configuration.join("run"))
}
