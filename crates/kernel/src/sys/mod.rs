//! System calls that rustix lacks, and the raw halves of those that need care. The only unsafe code there is.
//!
//! Every function takes owned or borrowed descriptors, says in its comment which kernel it needs, and returns
//! a [`Fault`](crate::Fault). The functions that change ids, capabilities or filters act on the **calling
//! thread** alone, as the kernel does; glibc's wrappers would signal all threads.
#![expect(unsafe_code, reason = "the one module that talks to the kernel without a wrapper")]

mod bpf;
mod clock;
mod descriptors;
mod device;
mod fanotify;
mod ids;
mod landlock;
mod mount;
mod net;
mod process;
mod quota;
mod seccomp;
mod signals;
mod thread;
mod tty;

pub use bpf::{
    BpfAttach, BpfMap, BpfMapKind, BpfMapSpec, BpfProgramKind, BpfUpdate, bpf_attach, bpf_attach_exclusive,
    bpf_detach, bpf_link_attach, bpf_link_iterate, bpf_link_target, bpf_load, bpf_object_get, bpf_object_pin,
    bpf_program_by_id, bpf_program_hold, bpf_program_info, bpf_programs_of, bpf_types_load,
};
pub use clock::tai_offset;
pub use descriptors::{inherited, place};
pub use device::{DeviceRequest, device_addresses, device_question, is_device_question};
pub use fanotify::watch_reads;
pub use ids::{
    CapabilitySets, capget, capset, clear_ambient, drop_bounding, in_bounding, set_fs_gid, set_fs_uid,
    set_groups, set_resgid, set_resuid,
};
pub use landlock::{landlock_abi, landlock_scope_abstract_sockets};
pub use mount::{MountAttr, mount_setattr, namespace_type};
pub use net::{TunSetting, tuntap_create, tuntap_set};
pub use process::{
    CloneArgs, CloseRange, Forked, clone3, close_range, execveat, exit_now, fork, pidfd_open,
    pidfd_send_signal, reset_signals,
};
pub(crate) use process::{hold_user_namespace, kill_and_reap};
pub use quota::{QuotaKind, quota_is_on};
pub use seccomp::{
    Filter, RawNotification, SeccompAnswer, seccomp_answer, seccomp_give, seccomp_is_waiting, seccomp_load,
    seccomp_load_with_listener, seccomp_receive,
};
pub use signals::{next_signal, signal_descriptor};
pub use thread::{
    get_personality, ioprio_get, ioprio_set, is_single_threaded, prlimit, set_child_subreaper, set_dumpable,
    set_no_new_privs, set_parent_death_signal, set_personality, set_process_name, unshare, unshare_fs,
};
pub use tty::tty_peer;
pub(crate) use tty::unlock_tty;

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

/// The result of a raw system call that returns -1 for an error.
fn checked(rc: libc::c_long) -> io::Result<libc::c_long> {
    if rc == -1 { Err(io::Error::last_os_error()) } else { Ok(rc) }
}

/// Takes over a descriptor that a system call has just made.
///
/// # Safety
/// `rc` is the successful result of a call that returns a new descriptor which nobody else owns.
unsafe fn new_fd(rc: libc::c_long) -> OwnedFd {
    let raw = RawFd::try_from(rc).expect("the kernel returns descriptors as int");
    // SAFETY: the caller promises a fresh descriptor that nobody else owns.
    unsafe { OwnedFd::from_raw_fd(raw) }
}
