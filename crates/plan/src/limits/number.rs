//! Numbers as the files of control groups have them.

use super::translate::Version;

/// A limit in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bytes {
    /// So many.
    Number(u64),
    /// No limit.
    Max,
}

impl Bytes {
    /// As a file of that version wants it.
    pub fn to_text(self, version: Version) -> String {
        match (self, version) {
            (Self::Number(bytes), _) => bytes.to_string(),
            (Self::Max, Version::V1) => "-1".to_owned(),
            (Self::Max, Version::V2) => "max".to_owned(),
        }
    }
}

/// A plain decimal number.
pub fn number(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// Bytes as the kernel reads them: a number with at most one of K, M, G, T (times 1024); `-1` and `max` for no limit.
pub fn bytes(text: &str) -> Option<Bytes> {
    if text == "-1" || text == "max" {
        return Some(Bytes::Max);
    }
    let shift = match text.bytes().last()?.to_ascii_uppercase() {
        b'K' => 10,
        b'M' => 20,
        b'G' => 30,
        b'T' => 40,
        _ => return number(text).map(Bytes::Number),
    };
    let digits = &text[..text.len() - 1];
    let factor = 1_u64 << shift;
    (!digits.is_empty()).then(|| number(digits)?.checked_mul(factor)).flatten().map(Bytes::Number)
}

/// The kernel's weight of a nice value: each step is a factor of 1.25, 1024 stands for 0 (`sched_prio_to_weight`).
pub fn weight_of_nice(nice: i64) -> u64 {
    let mut weight = 1024.0_f64;
    for _ in 0..nice.unsigned_abs() {
        weight = if nice < 0 { weight * 1.25 } else { weight / 1.25 };
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 14 and 88818 for the nice values that there are"
    )]
    let rounded = weight.clamp(2.0, 262_144.0).round() as u64;
    rounded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_as_the_kernel_reads_them() {
        assert_eq!(bytes("256M"), Some(Bytes::Number(256 << 20)));
        assert_eq!(bytes("4k"), Some(Bytes::Number(4096)));
        assert_eq!(bytes("12"), Some(Bytes::Number(12)));
        assert_eq!(bytes("-1"), Some(Bytes::Max));
        for wrong in ["", "M", "1.5G", "256MB", "-2", "99999999999T", "lots"] {
            assert_eq!(bytes(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn nice_values_have_weights() {
        assert_eq!(weight_of_nice(0), 1024);
        assert!((86_000..90_000).contains(&weight_of_nice(-20)));
        assert!((13..=16).contains(&weight_of_nice(19)));
    }
}
