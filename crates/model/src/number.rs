//! Numbers as C programs read them: `31`, `0x1f`, `037`.

/// Reads a whole text as an unsigned number: decimal, `0x` hexadecimal or, after a leading `0`, octal.
///
/// `None` for anything else: no sign, no blank, no suffix, no overflow.
pub fn parse_c(text: &str) -> Option<u64> {
    let (digits, radix) = match text.as_bytes() {
        [b'0', b'x' | b'X', ..] => (&text[2..], 16),
        [b'0', _, ..] => (&text[1..], 8),
        _ => (text, 10),
    };
    // from_str_radix would take a sign, which C allows only in front of the 0x.
    if !digits.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return None;
    }
    u64::from_str_radix(digits, radix).ok()
}

#[cfg(test)]
mod tests {
    use super::parse_c;
    use proptest::prelude::*;

    #[test]
    fn the_three_bases() {
        assert_eq!(parse_c("31"), Some(31));
        assert_eq!(parse_c("0x1f"), Some(31));
        assert_eq!(parse_c("0X1F"), Some(31));
        assert_eq!(parse_c("037"), Some(31));
        assert_eq!(parse_c("0"), Some(0));
        assert_eq!(parse_c("00"), Some(0));
        for wrong in ["", "-1", "+1", "0x", "0x+1", "0-1", "08", " 1", "1 ", "18446744073709551616", "é"] {
            assert_eq!(parse_c(wrong), None, "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read(n: u64) {
            prop_assert_eq!(parse_c(&n.to_string()), Some(n));
            prop_assert_eq!(parse_c(&format!("{n:#x}")), Some(n));
            prop_assert_eq!(parse_c(&format!("0{n:o}")), Some(n));
        }
    }
}
