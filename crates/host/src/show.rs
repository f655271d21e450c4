//! What `vserver check-host` and `vserver-info - SYSINFO` print. Pure: text from values.

use std::fmt;

use serde::Serialize;
use vserver_model::Layout;

use crate::features::{ModeName, Needed};
use crate::survey::{Checked, Survey, Verdict};
use crate::{CgroupKind, Host, HostInit};

/// Shows a survey as a table for people, the verdict and the ways out.
impl fmt::Display for Survey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "Linux {} on {}, {}",
            self.host.kernel.release,
            self.host.machine,
            cgroups_in_words(&self.host)
        )?;
        if !self.host.lsms.is_empty() {
            write!(f, "security modules {}", self.host.lsms.join(" "))?;
            match &self.host.lockdown {
                Some(level) => writeln!(f, ", lockdown {level}")?,
                None => writeln!(f)?,
            }
        }
        let groups = [
            ("Every guest needs", Needed::ForGuests),
            (
                "Shifted guests need (own user namespace over an id-mapped tree)",
                Needed::ForMode(ModeName::Shifted),
            ),
            ("Classic guests need (no user namespace)", Needed::ForMode(ModeName::Classic)),
        ];
        for (title, needed) in groups {
            writeln!(f, "\n{title}:")?;
            for checked in self.features.iter().filter(|checked| checked.feature.needed == needed) {
                line(f, checked)?;
            }
        }
        writeln!(f, "\nSingle functions need:")?;
        for checked in self.features.iter().filter(|c| matches!(c.feature.needed, Needed::ForFunction(_))) {
            line(f, checked)?;
        }
        writeln!(f, "\n{}", self.verdict_in_words())?;
        self.ways_out(f)
    }
}

fn line(f: &mut fmt::Formatter<'_>, checked: &Checked) -> fmt::Result {
    let (answer, title, detail) = (checked.result.word(), checked.feature.title, checked.result.detail());
    if detail.is_empty() {
        writeln!(f, "  {answer:<7}  {title}")
    } else {
        writeln!(f, "  {answer:<7}  {title:<42}  {detail}")
    }
}

impl Survey {
    /// One line: whether guests can run here, in which modes, and how many functions are missing.
    pub fn verdict_in_words(&self) -> String {
        let missing = self
            .features
            .iter()
            .filter(|c| matches!(c.feature.needed, Needed::ForFunction(_)) && !c.result.is_yes())
            .count();
        let functions = match missing {
            0 => "every function is there".to_owned(),
            1 => "1 function is not".to_owned(),
            n => format!("{n} functions are not"),
        };
        match self.can_run_guests() {
            Verdict::Yes => {
                let modes: Vec<&str> = [ModeName::Shifted, ModeName::Classic]
                    .into_iter()
                    .filter(|mode| self.mode_works(*mode))
                    .map(ModeName::word)
                    .collect();
                format!("Guests can run here ({}); {functions}.", modes.join(" and "))
            }
            Verdict::No => "Guests cannot run here.".to_owned(),
            Verdict::Unknown => "Whether guests can run here cannot be said: try again as root.".to_owned(),
        }
    }

    /// For each feature that is not there: what is lost and what can be done.
    fn ways_out(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lacking = |checked: &&Checked| matches!(checked.result, crate::CheckResult::No { .. });
        for checked in self.features.iter().filter(lacking) {
            let feature = checked.feature;
            writeln!(f, "\n{} (for {}):", feature.title, feature.needed.words())?;
            writeln!(f, "  without it: {}", feature.lost)?;
            writeln!(f, "  way out:    {}", feature.remedy)?;
        }
        Ok(())
    }

    /// The same as one JSON object with a line end.
    pub fn to_json(&self) -> String {
        #[derive(Serialize)]
        struct Object<'a> {
            can_run_guests: Verdict,
            modes: Vec<ModeName>,
            guests_directory: String,
            features: &'a [Checked],
            host: &'a Host,
        }
        let object = Object {
            can_run_guests: self.can_run_guests(),
            modes: [ModeName::Shifted, ModeName::Classic]
                .into_iter()
                .filter(|mode| self.mode_works(*mode))
                .collect(),
            guests_directory: self.guests.to_string_lossy().into_owned(),
            features: &self.features,
            host: &self.host,
        };
        let mut text = serde_json::to_string_pretty(&object).unwrap_or_else(|error| {
            // A mount point that is not UTF-8 is the one value here that JSON cannot hold.
            format!("{{\"error\": \"{error}\"}}")
        });
        text.push('\n');
        text
    }
}

fn cgroups_in_words(host: &Host) -> String {
    let cgroups = match host.cgroups.kind() {
        CgroupKind::Unified => "cgroup v2".to_owned(),
        CgroupKind::Hybrid => format!("cgroup v2 beside {} v1 hierarchies", host.cgroups.v1.len()),
        CgroupKind::V1 => format!("{} cgroup v1 hierarchies", host.cgroups.v1.len()),
        CgroupKind::None => "no cgroups mounted".to_owned(),
    };
    match host.init {
        HostInit::Systemd => format!("{cgroups}, systemd"),
        HostInit::Other => cgroups,
    }
}

/// The kernel interface version that we answer with: that of Linux-VServer 2.3, whose set of calls the tools here
/// reproduce. No such system call exists; scripts that compare the number find what they expect.
pub const VS_API: u32 = 0x0002_0308;
/// The interface word that such a kernel reported (`VCI` of SYSINFO).
pub const VCI: u64 = 0x1300_1f11;
/// The release of util-vserver whose command line ours reproduces.
pub const COMPATIBLE_WITH: &str = "0.30.216";

/// The text of `vserver-info - SYSINFO`: the shape of the original, and what is true here.
pub fn sysinfo(host: &Host, layout: &Layout) -> String {
    let ours = env!("CARGO_PKG_VERSION");
    let blocks = [
        (
            "Versions",
            vec![
                ("Kernel", host.kernel.release.clone()),
                ("VS-API", format!("{VS_API:#010x}")),
                ("VCI", format!("{VCI:#018x}")),
                ("util-vserver", format!("{COMPATIBLE_WITH}; vserver {ours} for stock kernels")),
            ],
        ),
        (
            "Features",
            vec![
                ("Use dietlibc", "no".to_owned()),
                ("Available APIs", "emulated (namespaces, cgroups, BPF)".to_owned()),
                ("vserver(2) syscall", "none".to_owned()),
                ("cgroups", cgroups_in_words(host)),
            ],
        ),
        (
            "Paths",
            vec![
                ("prefix", "/usr".to_owned()),
                ("cfg-Directory", layout.confdir.display().to_string()),
                ("pkgstate-Directory", layout.rundir.display().to_string()),
                ("vserver-Rootdir", layout.vdirbase.display().to_string()),
            ],
        ),
    ];
    blocks
        .into_iter()
        .map(|(title, lines)| {
            let lines = lines.into_iter().map(|(label, value)| format!("{label:>25}: {value}\n"));
            format!("{title}:\n{}", lines.collect::<String>())
        })
        .collect::<Vec<_>>()
        .join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::CheckResult;
    use crate::survey::tests::survey_with;

    #[test]
    fn a_table_has_one_line_a_feature_a_verdict_and_ways_out() {
        let survey = survey_with(&[
            ("idmap", CheckResult::No { why: "nfs: Invalid argument".to_owned() }),
            ("veth", CheckResult::Unknown { why: "no device".to_owned() }),
        ]);
        let text = survey.to_string();
        assert!(text.starts_with("Linux 6.1.0-28-amd64 on x86_64, cgroup v2, systemd\n"), "{text}");
        assert!(text.contains("\n  yes      mount namespaces\n"), "{text}");
        let idmap = "\n  no       id-mapped mounts of the guests' directory   nfs: Invalid argument\n";
        assert!(text.contains(idmap), "{text}");
        assert!(
            text.contains("\n  unknown  veth pairs                                  no device\n"),
            "{text}"
        );
        assert!(text.contains("\nGuests can run here (classic); 1 function is not.\n"), "{text}");
        assert!(
            text.ends_with(
                "\nid-mapped mounts of the guests' directory (for shifted guests):\n  \
                without it: trees there can only be used in classic mode\n  \
                way out:    keep guests on ext4, xfs or btrfs (tmpfs from Linux 6.3 on)\n"
            ),
            "{text}"
        );
    }

    #[test]
    fn json_has_the_verdict_and_every_feature() {
        let survey = survey_with(&[("seccomp", CheckResult::No { why: "x".to_owned() })]);
        let value: serde_json::Value = serde_json::from_str(&survey.to_json()).unwrap();
        assert_eq!(value["can_run_guests"], "yes");
        assert_eq!(value["modes"], serde_json::json!(["shifted"]));
        let features = value["features"].as_array().unwrap();
        assert_eq!(features.len(), crate::FEATURES.len());
        let seccomp = features.iter().find(|feature| feature["name"] == "seccomp").unwrap();
        assert_eq!(
            (seccomp["answer"].as_str(), seccomp["why"].as_str(), seccomp["needed"].as_str()),
            (Some("no"), Some("x"), Some("classic guests"))
        );
    }

    #[test]
    fn sysinfo_has_the_original_shape() {
        let text = sysinfo(&Host::sample(), &Layout::system());
        let head = "Versions:\n                   Kernel: 6.1.0-28-amd64\n                   VS-API: 0x00020308\n                      VCI: 0x0000000013001f11\n             util-vserver: 0.30.216; ";
        assert!(text.starts_with(head), "{text}");
        assert!(text.ends_with("          vserver-Rootdir: /vservers\n"), "{text}");
        assert!(text.contains("\n\nFeatures:\n             Use dietlibc: no\n"), "{text}");
        assert!(text.contains("       pkgstate-Directory: /run/vservers\n"), "{text}");
    }
}
