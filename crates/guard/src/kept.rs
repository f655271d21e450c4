//! Files about the machine that are kept up to date while they are read.
//!
//! The kernel's listings cannot be rewound, which some programs do (procps since version 4). A guest that has such
//! programs gets files in memory in their place, and the kernel asks here before each read. Without a guard the kernel
//! asks nobody: the files say what they said last.

use crate::{fd, sys};

/// The listings that the files are filled from.
const LISTINGS: [&core::ffi::CStr; 2] = [c"meminfo", c"stat-of-group"];
/// A file that was filled this many milliseconds ago is not filled again: a reader finds its end where it was.
const FRESH: u64 = 20;
/// `struct fanotify_event_metadata`, and where in it the reader's open file is.
const EVENT: usize = 24;
const DESCRIPTOR: usize = 16;

/// What keeps them.
pub struct Kept {
    /// Our own cgroup and time namespace; negative: there is nothing to keep.
    own: [i32; 2],
    /// When each was filled.
    filled: [u64; 2],
}

impl Kept {
    /// Fills the files for the first time.
    pub fn begin() -> Self {
        let mut kept = Self { own: [-1, -1], filled: [0, 0] };
        if !sys::is_open(fd::LISTINGS) {
            return kept;
        }
        for descriptor in [fd::WATCHES[0], fd::WATCHES[1], fd::FILES[0], fd::FILES[1], fd::LISTINGS] {
            sys::set_cloexec(descriptor);
        }
        kept.own[0] = sys::open_read(-1, c"/proc/self/ns/cgroup") as i32;
        kept.own[1] = sys::open_read(-1, c"/proc/self/ns/time") as i32;
        kept.fill(0);
        kept.fill(1);
        // The first process may not be in its namespaces yet: what is read first is read anew.
        kept.filled = [0, 0];
        kept
    }

    /// What to watch for [`Kept::attend`].
    pub fn watch(&self, which: usize) -> i32 {
        if self.own[0] < 0 { -1 } else { fd::WATCHES[which & 1] }
    }

    /// Somebody is about to read.
    pub fn attend(&mut self, which: usize) {
        let watch = fd::WATCHES[which & 1];
        let mut event = [0u8; EVENT];
        // One at a time: a buffer that holds no second one is given none.
        while sys::read(watch, &mut event) == EVENT as isize {
            self.fill(which);
            let reader = i32::from_ne_bytes([
                event[DESCRIPTOR],
                event[DESCRIPTOR + 1],
                event[DESCRIPTOR + 2],
                event[DESCRIPTOR + 3],
            ]);
            sys::allow_read(watch, reader);
            sys::close(reader);
        }
    }

    /// Reads the listing as a process of the guest would.
    fn fill(&mut self, which: usize) {
        let which = which & 1;
        let now = sys::milliseconds();
        if now.wrapping_sub(self.filled[which]) < FRESH {
            return;
        }
        if sys::enter(fd::INIT, sys::NEW_CGROUP | sys::NEW_TIME) >= 0 {
            let listing = sys::open_read(fd::LISTINGS, LISTINGS[which]) as i32;
            if listing >= 0 {
                if copy(listing, fd::FILES[which]) {
                    self.filled[which] = now;
                }
                sys::close(listing);
            }
            sys::enter(self.own[0], sys::NEW_CGROUP);
            sys::enter(self.own[1], sys::NEW_TIME);
        }
    }
}

/// The whole of a listing; false if there was nothing.
fn copy(from: i32, to: i32) -> bool {
    let mut buffer = [0u8; 2048];
    let mut place = 0;
    while let Ok(count @ 1..) = usize::try_from(sys::read(from, &mut buffer)) {
        let Some(bytes) = buffer.get(..count) else { break };
        sys::write_at(to, bytes, place);
        place += count;
    }
    if place > 0 {
        sys::cut(to, place);
    }
    place > 0
}
