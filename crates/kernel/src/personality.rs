//! The execution domain: what uname(2) and address layout pretend to be, for old programs.

use crate::{Result, sys};

/// Sets domain and flags (`PER_*` and others of `<linux/personality.h>`) for this thread and all it starts.
///
/// The kernel takes any 32-bit value but all ones.
pub fn set(domain: u32) -> Result<()> {
    sys::set_personality(domain)
}

/// Domain and flags of the calling thread.
pub fn get() -> Result<u32> {
    sys::get_personality()
}

/// The number of a domain or flag by its name of `<linux/personality.h>` without `PER_`, in any case: `linux32`,
/// `addr_no_randomize`.
pub fn named(name: &str) -> Option<u32> {
    const NAMES: [(&str, u32); 15] = [
        ("linux", 0),
        ("linux32", 8),
        ("linux_32bit", 0x080_0000),
        ("linux_fdpic", 0x008_0000),
        ("linux32_3gb", 0x800_0008),
        ("uname26", 0x002_0000),
        ("addr_no_randomize", 0x004_0000),
        ("fdpic_funcptrs", 0x008_0000),
        ("mmap_page_zero", 0x010_0000),
        ("addr_compat_layout", 0x020_0000),
        ("read_implies_exec", 0x040_0000),
        ("addr_limit_32bit", 0x080_0000),
        ("short_inode", 0x100_0000),
        ("whole_seconds", 0x200_0000),
        ("sticky_timeouts", 0x400_0000),
    ];
    let lower = name.to_ascii_lowercase();
    let lower = lower.strip_prefix("per_").unwrap_or(&lower);
    if lower == "addr_limit_3gb" {
        return Some(0x800_0000);
    }
    NAMES.iter().find(|(known, _)| *known == lower).map(|(_, number)| *number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_is_set_for_this_thread_and_read_back() {
        std::thread::spawn(|| {
            let domain = named("PER_LINUX32").unwrap();
            set(domain).unwrap();
            assert_eq!(get().unwrap(), domain);
        })
        .join()
        .unwrap();
    }

    #[test]
    fn names_have_the_kernels_numbers() {
        assert_eq!(named("addr_no_randomize"), Some(libc::ADDR_NO_RANDOMIZE.cast_unsigned()));
        assert_eq!(named("uname26"), Some(libc::UNAME26.cast_unsigned()));
        assert_eq!(named("addr_limit_3gb"), Some(libc::ADDR_LIMIT_3GB.cast_unsigned()));
        assert_eq!(named("solaris9"), None);
    }
}
