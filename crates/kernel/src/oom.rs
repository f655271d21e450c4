//! How willing the kernel is to kill a process when memory runs out.

use std::fs;

use crate::{Blame, Fault, Result};

/// Sets the adjustment, -1000 (never) to 1000 (first), of a process (0: the caller), inherited by its children.
///
/// `/proc/PID/oom_score_adj`. `EACCES`: below the lowest value that was set with `CAP_SYS_RESOURCE`, without it.
#[doc(alias = "oom_score_adj")]
pub fn set_adjustment(pid: i32, adjustment: i16) -> Result<()> {
    let path = path(pid);
    fs::write(&path, adjustment.to_string()).blame("write(2)", path)
}

/// The adjustment of a process; 0 is the caller.
pub fn adjustment(pid: i32) -> Result<i16> {
    let path = path(pid);
    let text = fs::read_to_string(&path).blame("read(2)", &path)?;
    text.trim().parse().map_err(|_| Fault::from_errno("parse", path, libc::EBADMSG))
}

fn path(pid: i32) -> String {
    if pid == 0 { "/proc/self/oom_score_adj".to_owned() } else { format!("/proc/{pid}/oom_score_adj") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_adjustment_of_a_child_is_set_and_read_back() {
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let pid = child.id().try_into().unwrap();
        set_adjustment(pid, 500).unwrap();
        assert_eq!(adjustment(pid).unwrap(), 500);
        assert!(set_adjustment(pid, 1001).unwrap_err().is(libc::EINVAL));
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
