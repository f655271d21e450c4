//! The exact columns of the tools that only look: `vserver-stat`, `vps`, `vserver NAME status`.
//!
//! Scripts cut these lines by column, so every width and every rounding is that of the original. Pure text: the
//! numbers come from the callers.

use std::time::Duration;

/// The first line of `vserver-stat`.
pub const STAT_HEADER: &str = "CTX   PROC    VSZ    RSS  userTIME   sysTIME    UPTIME NAME";

/// One line of `vserver-stat`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatLine<'a> {
    /// The context's number.
    pub xid: u32,
    /// How many processes it has.
    pub processes: u64,
    /// Virtual size, bytes.
    pub vsz_bytes: u64,
    /// Resident size, bytes.
    pub rss_bytes: u64,
    /// Time spent in user mode.
    pub user: Duration,
    /// Time spent in the kernel.
    pub system: Duration,
    /// Age of the context.
    pub uptime: Duration,
    /// The guest's name, shown to 20 characters; see [`context_name`].
    pub name: &'a str,
}

impl std::fmt::Display for StatLine<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{:<5}{:>5}{:>7}{:>7}{:>10}{:>10}{:>10} {:.20}",
            self.xid,
            self.processes,
            short_size(self.vsz_bytes),
            short_size(self.rss_bytes),
            short_time(self.user),
            short_time(self.system),
            short_time(self.uptime),
            self.name
        )
    }
}

/// The name that `vserver-stat` shows for the two contexts that are no guests.
pub const fn context_name(xid: u32) -> Option<&'static str> {
    match xid {
        0 => Some("root server"),
        1 => Some("monitoring server"),
        _ => None,
    }
}

/// A size in at most six characters and a suffix (a blank for bytes): `999 `, `93.2M`, `1.5K`.
///
/// Divided by 1024 while 1000 or more; one decimal, cut off, not rounded, and left out when zero.
pub fn short_size(bytes: u64) -> String {
    const SUFFIXES: [char; 6] = [' ', 'K', 'M', 'G', 'T', '+'];
    let (mut whole, mut rest, mut unit) = (bytes, 0, 0);
    while whole >= 1000 && unit + 1 < SUFFIXES.len() {
        rest = whole % 1024;
        whole /= 1024;
        unit += 1;
    }
    match rest * 10 / 1024 {
        0 => format!("{whole}{}", SUFFIXES[unit]),
        tenths => format!("{whole}.{tenths}{}", SUFFIXES[unit]),
    }
}

/// A time in at most nine characters: `0m00s45`, `1h02m03`, `11d17h12`, `3y10d00`; `INVALID` above 998001 days.
///
/// The last pair of the smallest form is hundredths of a second. (The original showed the first two digits of the
/// milliseconds, so that 45 ms and 450 ms looked the same.)
pub fn short_time(time: Duration) -> String {
    let seconds = time.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match days {
        998_002.. => "INVALID".to_owned(),
        1000.. => format!("{}y{:02}d{:02}", days / 365, days % 365, hours % 24),
        1.. => format!("{days}d{:02}h{:02}", hours % 24, minutes % 60),
        0 if hours > 0 => format!("{hours}h{:02}m{:02}", minutes % 60, seconds % 60),
        0 => format!("{minutes}m{:02}s{:02}", seconds % 60, time.subsec_millis() / 10),
    }
}

/// The uptime of `vserver NAME status`: `HH:MM`, from one day on `N days, HH:MM`.
pub fn status_uptime(age: Duration) -> String {
    let minutes = age.as_secs() / 60;
    let (days, hours, minutes) = (minutes / 1440, minutes / 60 % 24, minutes % 60);
    match days {
        0 => format!("{hours:02}:{minutes:02}"),
        _ => format!("{days} days, {hours:02}:{minutes:02}"),
    }
}

/// Width of the column that `vps` adds.
const CONTEXT_WIDTH: usize = 20;

/// What `vps` puts into its column for a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VpsContext<'a> {
    /// The context's number, and the guest's name when it is known.
    Known {
        /// The number.
        xid: u32,
        /// The name; empty when unknown. 0 and 1 have names of their own.
        name: &'a [u8],
    },
    /// The process has vanished meanwhile.
    Vanished,
}

/// Where `vps` cuts the lines of `ps`, learnt from the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VpsColumns {
    /// Offset after the last letter of the word PID.
    pid_end: usize,
}

impl VpsColumns {
    /// Looks for the column PID in the header of `ps`; `None` when there is none.
    ///
    /// The whole word is looked for, so that PPID before it does no harm.
    pub fn from_header(header: &[u8]) -> Option<Self> {
        let is_blank = |i: usize| header.get(i).is_none_or(u8::is_ascii_whitespace);
        let at = (0..header.len())
            .find(|&i| header[i..].starts_with(b"PID") && (i == 0 || is_blank(i - 1)) && is_blank(i + 3))?;
        Some(Self { pid_end: at + 3 })
    }

    /// The header with the column `CONTEXT`. Lines come without their newline.
    pub fn header(self, header: &[u8]) -> Vec<u8> {
        insert(header, self.pid_end, format!("{:<CONTEXT_WIDTH$}", "CONTEXT").as_bytes())
    }

    /// Where the process number of this row ends: under the header's, or further right when it has more digits.
    fn end_in(self, row: &[u8]) -> usize {
        let from = self.pid_end.min(row.len());
        from + row[from..].iter().take_while(|b| b.is_ascii_digit()).count()
    }

    /// The process number of a row, or `None` when there is no number in its place.
    pub fn pid(self, row: &[u8]) -> Option<u32> {
        let head = &row[..self.end_in(row)];
        let start = head.iter().rposition(|b| !b.is_ascii_digit()).map_or(0, |i| i + 1);
        std::str::from_utf8(&head[start..]).ok()?.parse().ok()
    }

    /// A row with the column of its context.
    pub fn row(self, row: &[u8], context: VpsContext<'_>) -> Vec<u8> {
        let (number, name) = match context {
            VpsContext::Known { xid: 0, .. } => ("0".to_owned(), &b"MAIN"[..]),
            VpsContext::Known { xid: 1, .. } => ("1".to_owned(), &b"ALL_PROC"[..]),
            VpsContext::Known { xid, name } => (xid.to_string(), name),
            VpsContext::Vanished => ("ERR".to_owned(), &b""[..]),
        };
        let mut column = format!("{number:>5} ").into_bytes();
        column.extend_from_slice(name);
        // A longer name still has one blank after it.
        column.resize(CONTEXT_WIDTH.max(column.len() + 1), b' ');
        insert(row, self.end_in(row), &column)
    }
}

/// Puts `column` behind the character that follows offset `end`.
fn insert(line: &[u8], end: usize, column: &[u8]) -> Vec<u8> {
    let (head, tail) = line.split_at(line.len().min(end + 1));
    let mut out = head.to_vec();
    out.resize(end + 1, b' '); // a line that ends with the number
    out.extend_from_slice(column);
    out.extend_from_slice(tail);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    const DAY: u64 = 86_400;

    #[test]
    fn the_measured_table() {
        let line = |xid, processes, vsz_bytes, rss_bytes, user, system, uptime, name| {
            StatLine { xid, processes, vsz_bytes, rss_bytes, user, system, uptime, name }.to_string()
        };
        let seconds = Duration::from_secs;
        let table = [
            STAT_HEADER.to_owned(),
            line(
                0,
                48,
                97_800_000,
                26_900_000,
                seconds(3723),
                seconds(61) + ms(70),
                seconds(11 * DAY + 17 * 3600 + 720),
                "root server",
            ),
            line(105, 5, 12_300_000, 3_700_000, ms(450), ms(90), seconds(3605), "test"),
            line(
                40_000,
                12,
                999,
                0,
                seconds(DAY - 1),
                seconds(DAY),
                seconds((3 * 365 + 10) * DAY),
                "averylongguestname20morethantwenty",
            ),
        ];
        let expected = "\
CTX   PROC    VSZ    RSS  userTIME   sysTIME    UPTIME NAME
0       48  93.2M  25.6M   1h02m03   1m01s07  11d17h12 root server
105      5  11.7M   3.5M   0m00s45   0m00s09   1h00m05 test
40000   12   999      0   23h59m59   1d00h00   3y10d00 averylongguestname20";
        assert_eq!(table.join("\n"), expected);
    }

    #[test]
    fn sizes() {
        for (bytes, text) in [
            (0, "0 "),
            (999, "999 "),
            (1000, "0.9K"),
            (1024, "1K"),
            (1536, "1.5K"),
            (1024 * 999, "999K"),
            (1024 * 1000, "0.9M"),
            (1 << 30, "1G"),
            (1 << 40, "1T"),
            (1 << 50, "1+"),
            (u64::MAX, "16383.9+"),
        ] {
            assert_eq!(short_size(bytes), text, "{bytes}");
        }
    }

    #[test]
    fn times() {
        for (millis, text) in [
            (0, "0m00s00"),
            (45, "0m00s04"),
            (450, "0m00s45"),
            (59_999, "0m59s99"),
            (3_599_999, "59m59s99"),
            (3_600_000, "1h00m00"),
            (DAY * 1000, "1d00h00"),
            (DAY * 999_000, "999d00h00"),
            (DAY * 1_000_000, "2y270d00"),
            (DAY * 998_001_000, "2734y91d00"),
            (DAY * 998_002_000, "INVALID"),
        ] {
            assert_eq!(short_time(ms(millis)), text, "{millis}");
        }
        assert_eq!(status_uptime(Duration::from_secs(3 * 3600 + 12 * 60 + 59)), "03:12");
        assert_eq!(status_uptime(Duration::from_secs(DAY - 1)), "23:59");
        assert_eq!(status_uptime(Duration::from_secs(DAY)), "1 days, 00:00");
        assert_eq!(status_uptime(Duration::from_secs(400 * DAY + 60)), "400 days, 00:01");
    }

    #[test]
    fn vps_lines() {
        let header = b"    PID TTY      STAT   TIME COMMAND";
        let columns = VpsColumns::from_header(header).unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        assert_eq!(text(columns.header(header)), "    PID CONTEXT             TTY      STAT   TIME COMMAND");
        let init = b"      1 ?        Ss     0:01 /sbin/init";
        assert_eq!(columns.pid(init), Some(1));
        assert_eq!(
            text(columns.row(init, VpsContext::Known { xid: 0, name: b"" })),
            "      1     0 MAIN          ?        Ss     0:01 /sbin/init"
        );
        let sshd = b"   4242 ?        Ss     0:00 /usr/sbin/sshd -D";
        assert_eq!(columns.pid(sshd), Some(4242));
        assert_eq!(
            text(columns.row(sshd, VpsContext::Known { xid: 105, name: b"test" })),
            "   4242   105 test          ?        Ss     0:00 /usr/sbin/sshd -D"
        );
        assert_eq!(
            text(columns.row(b"    123 ps", VpsContext::Known { xid: 65_535, name: b"a-name-of-fifteen" })),
            "    123 65535 a-name-of-fifteen ps"
        );
        assert_eq!(text(columns.row(b"    123 ps", VpsContext::Vanished)), "    123   ERR               ps");
        assert_eq!(
            text(columns.row(b"    123 ps", VpsContext::Known { xid: 1, name: b"" })),
            "    123     1 ALL_PROC      ps"
        );
    }

    #[test]
    fn vps_finds_its_column() {
        assert_eq!(VpsColumns::from_header(b"USER TTY"), None);
        assert_eq!(VpsColumns::from_header(b"   PPID TTY"), None);
        let columns = VpsColumns::from_header(b"   PPID     PID CMD").unwrap();
        assert_eq!(columns.pid(b"      1    4242 sshd"), Some(4242));
        // Seven digits, and a number that overflows its column.
        let columns = VpsColumns::from_header(b"USER         PID %CPU").unwrap();
        assert_eq!(columns.pid(b"root     4194304  0.0"), Some(4_194_304));
        let narrow = VpsColumns::from_header(b"  PID CMD").unwrap();
        let row = narrow.row(b"4194304 x", VpsContext::Known { xid: 7, name: b"w" });
        assert_eq!(row, b"4194304     7 w             x");
        assert_eq!(narrow.pid(b""), None);
        assert_eq!(narrow.row(b"    1", VpsContext::Vanished), b"    1   ERR               ");
    }

    proptest! {
        #[test]
        fn columns_hold(processes in 0..100_000_u64, bytes in 0..1_u64 << 50, seconds in 0..998_001 * 86_400_u64) {
            let time = Duration::from_secs(seconds);
            prop_assert!(short_size(bytes).len() <= 7);
            let line = StatLine {
                xid: 65_535,
                processes,
                vsz_bytes: bytes,
                rss_bytes: bytes,
                user: ms(0),
                system: time.min(Duration::from_secs(999 * DAY)),
                uptime: ms(0),
                name: "n",
            };
            let line = line.to_string();
            prop_assert_eq!(line.find('n'), Some(55));
            prop_assert!(short_time(time).len() <= 11);
        }

        #[test]
        fn no_line_panics(header: Vec<u8>, row: Vec<u8>, at in 0..40_usize) {
            let mut header = header;
            header.splice(at.min(header.len())..at.min(header.len()), *b" PID ");
            let columns = VpsColumns::from_header(&header).unwrap();
            let _ = columns.pid(&row);
            prop_assert!(columns.row(&row, VpsContext::Vanished).len() >= row.len() + CONTEXT_WIDTH);
        }
    }
}
