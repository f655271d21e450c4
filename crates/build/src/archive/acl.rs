//! Access lists: from the text of acl(5), which tar keeps, to the attribute `system.posix_acl_*` of the kernel.

/// Version and entry layout of `linux/posix_acl_xattr.h`: tag, permissions, id, little-endian.
const VERSION: u32 = 2;
const NO_ID: u32 = u32::MAX;
const USER_OBJ: u16 = 0x01;
const USER: u16 = 0x02;
const GROUP_OBJ: u16 = 0x04;
const GROUP: u16 = 0x08;
const MASK: u16 = 0x10;
const OTHER: u16 = 0x20;

/// Users or groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// A line of passwd.
    User,
    /// A line of group.
    Group,
}

/// Translates a list such as `user::rw-,user:7:r--,group::r--,mask::r--,other::r--` (commas or newlines). Names that
/// are no numbers are looked up with `id_of`; a number in a fourth field (star, bsdtar) wins.
///
/// `None`: the text is no access list, or a name is unknown.
pub fn to_attribute(text: &str, id_of: &dyn Fn(Who, &str) -> Option<u32>) -> Option<Vec<u8>> {
    let mut entries = Vec::new();
    let lines = text.split([',', '\n']).map(|line| line.split('#').next().unwrap_or_default().trim());
    for line in lines.filter(|line| !line.is_empty()) {
        let mut fields = line.split(':').map(str::trim);
        let (kind, name, permissions) = (fields.next()?, fields.next()?, fields.next()?);
        let numeric = fields.next();
        let who = |who| match numeric.unwrap_or(name).parse::<u32>() {
            Ok(id) if id != NO_ID => Some(id),
            _ => id_of(who, name),
        };
        let (tag, id) = match (kind, name.is_empty()) {
            ("user" | "u", true) => (USER_OBJ, NO_ID),
            ("user" | "u", false) => (USER, who(Who::User)?),
            ("group" | "g", true) => (GROUP_OBJ, NO_ID),
            ("group" | "g", false) => (GROUP, who(Who::Group)?),
            ("mask" | "m", _) => (MASK, NO_ID),
            ("other" | "o", _) => (OTHER, NO_ID),
            _ => return None,
        };
        let bits = permissions.chars().try_fold(0_u16, |bits, letter| match letter {
            'r' => Some(bits | 4),
            'w' => Some(bits | 2),
            'x' => Some(bits | 1),
            '-' => Some(bits),
            _ => None,
        })?;
        entries.push((tag, id, bits));
    }
    // The kernel wants them in this order.
    entries.sort_unstable_by_key(|(tag, id, _)| (*tag, if *id == NO_ID { 0 } else { *id }));
    let mut value = VERSION.to_le_bytes().to_vec();
    for (tag, id, bits) in &entries {
        value.extend(tag.to_le_bytes());
        value.extend(bits.to_le_bytes());
        value.extend(id.to_le_bytes());
    }
    (!entries.is_empty()).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn text_to_bytes() {
        let names = |who, name: &str| (who == Who::User && name == "alice").then_some(1000);
        let list = "group::r--\nuser::rw-\nuser:alice:r-x\nuser:7:---\nmask::r-x\nother::---\n";
        let value = to_attribute(list, &names).unwrap();
        assert_eq!(value.len(), 4 + 6 * 8);
        assert_eq!(value[4..12], [1, 0, 6, 0, 0xff, 0xff, 0xff, 0xff]);
        assert_eq!(value[12..20], [2, 0, 0, 0, 7, 0, 0, 0]);
        assert_eq!(value[20..28], [2, 0, 5, 0, 0xe8, 3, 0, 0]);
        assert_eq!(to_attribute("user:bob:rwx", &names), None);
        assert!(to_attribute("user:bob:rwx:1001", &names).is_some());
        assert_eq!(to_attribute("", &names), None);
    }

    proptest! {
        #[test]
        fn no_text_panics(text: String) {
            drop(to_attribute(&text, &|_, _| None));
        }
    }
}
