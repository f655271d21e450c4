//! Everything this machine offers, each feature really tried.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};

use serde::Serialize;
use vserver_kernel::mount::NewFs;

use crate::features::{FEATURES, Feature, ModeName, Needed};
use crate::probe::cgroups::Scratch;
use crate::probe::{self, CheckResult, Scene};
use crate::{Host, HostError, file};

/// A feature and what its trial has shown.
#[derive(Clone, Debug, Serialize)]
pub struct Checked {
    /// The feature.
    #[serde(flatten)]
    pub feature: &'static Feature,
    /// The result.
    #[serde(flatten)]
    pub result: CheckResult,
}

/// Whether guests can run, as far as it can be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// They can, in the modes that the survey names.
    Yes,
    /// They cannot.
    No,
    /// Too little could be tried.
    Unknown,
}

/// What the survey has found.
#[derive(Clone, Debug)]
pub struct Survey {
    /// The machine as [`Host::quick`] sees it, with security modules and lockdown filled in where securityfs is not
    /// mounted.
    pub host: Host,
    /// The directory whose file system was tried.
    pub guests: PathBuf,
    /// Every feature of [`FEATURES`], in its order.
    pub features: Vec<Checked>,
}

impl Survey {
    /// Tries every feature. `guests` is the directory that holds the guests; if it does not exist yet, the nearest
    /// one above it stands for it.
    ///
    /// Takes a second, because the kernel waits for itself when processes move between groups. The calling process
    /// must have one thread: more than one cannot be forked safely, and every trial then answers that it could not
    /// be made. Without root most answers are *unknown*.
    ///
    /// # Errors
    /// /proc is missing or unreadable.
    pub fn take(guests: &Path) -> Result<Self, HostError> {
        let mut host = Host::quick()?;
        complete(&mut host);
        let guests = guests.ancestors().find(|dir| dir.is_dir()).unwrap_or(Path::new("/")).to_owned();
        let is_root = host.capabilities.has(probe::SYS_ADMIN);
        let groups = if is_root {
            Ok(Scratch::make(&host.cgroups))
        } else {
            Err("only root can make cgroups".to_owned())
        };
        let scene = Scene { host, guests, groups, btf: OnceCell::new() };
        let check = |feature| Checked { feature, result: probe::run(feature.probe, &scene) };
        let features = FEATURES.iter().map(check).collect();
        let Scene { host, guests, .. } = scene;
        Ok(Self { host, guests, features })
    }

    /// Whether guests can run here: everything that every guest needs, and all of at least one mode.
    pub fn can_run_guests(&self) -> Verdict {
        let every = self.verdict_of(Needed::ForGuests);
        let modes = [ModeName::Shifted, ModeName::Classic].map(|mode| self.verdict_of(Needed::ForMode(mode)));
        match (every, modes.contains(&Verdict::Yes), modes.contains(&Verdict::Unknown)) {
            (Verdict::No, ..) | (_, false, false) => Verdict::No,
            (Verdict::Yes, true, _) => Verdict::Yes,
            _ => Verdict::Unknown,
        }
    }

    /// Whether guests of this mode can run here, provided that guests can run at all.
    pub fn mode_works(&self, mode: ModeName) -> bool {
        self.verdict_of(Needed::ForMode(mode)) == Verdict::Yes
    }

    /// What a trial has shown; `None` for a name that no feature has.
    pub fn result_of(&self, name: &str) -> Option<&CheckResult> {
        self.features.iter().find(|checked| checked.feature.name == name).map(|checked| &checked.result)
    }

    /// 0 when guests can run here, 1 otherwise.
    pub fn exit_code(&self) -> u8 {
        u8::from(self.can_run_guests() != Verdict::Yes)
    }

    fn verdict_of(&self, needed: Needed) -> Verdict {
        let mut verdict = Verdict::Yes;
        for checked in self.features.iter().filter(|checked| checked.feature.needed == needed) {
            match checked.result {
                CheckResult::Yes { .. } => {}
                CheckResult::No { .. } => return Verdict::No,
                CheckResult::Unknown { .. } => verdict = Verdict::Unknown,
            }
        }
        verdict
    }
}

/// Reads from a securityfs of our own what [`Host::quick`] could not, because nobody has mounted one.
fn complete(host: &mut Host) {
    use std::os::fd::{AsFd as _, AsRawFd as _};
    if !host.lsms.is_empty() {
        return;
    }
    // Not root, or a kernel without it: then the fields stay empty, which is what is known.
    if let Ok(security) = NewFs::new("securityfs").create() {
        let dir = PathBuf::from(format!("/proc/self/fd/{}", security.as_fd().as_raw_fd()));
        host.lsms = crate::lsms(&dir);
        host.lockdown = crate::lockdown(&dir);
    }
    if host.lsms.is_empty() {
        host.lsms = file::text("/sys/kernel/security/lsm")
            .map(|list| list.split(',').map(str::to_owned).collect())
            .unwrap_or_default();
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A survey with the given answers; everything else is yes.
    pub(crate) fn survey_with(answers: &[(&str, CheckResult)]) -> Survey {
        let features = FEATURES
            .iter()
            .map(|feature| {
                let given = answers.iter().find(|(name, _)| *name == feature.name);
                let result =
                    given.map_or(CheckResult::Yes { note: String::new() }, |(_, result)| result.clone());
                Checked { feature, result }
            })
            .collect();
        assert!(answers.iter().all(|(name, _)| FEATURES.iter().any(|feature| feature.name == *name)));
        Survey { host: Host::sample(), guests: PathBuf::from("/vservers"), features }
    }

    fn no() -> CheckResult {
        CheckResult::No { why: "Operation not permitted".to_owned() }
    }

    fn unknown() -> CheckResult {
        CheckResult::Unknown { why: "only root can try this".to_owned() }
    }

    #[test]
    fn one_mode_is_enough_and_functions_do_not_count() {
        assert_eq!(survey_with(&[]).can_run_guests(), Verdict::Yes);
        assert_eq!(survey_with(&[("veth", no())]).exit_code(), 0);
        let classic_only = survey_with(&[("idmap", no())]);
        assert_eq!(classic_only.can_run_guests(), Verdict::Yes);
        assert!(!classic_only.mode_works(ModeName::Shifted) && classic_only.mode_works(ModeName::Classic));
        assert_eq!(survey_with(&[("idmap", no()), ("seccomp", no())]).can_run_guests(), Verdict::No);
    }

    #[test]
    fn what_every_guest_needs_decides() {
        assert_eq!(survey_with(&[("openat2", no())]).exit_code(), 1);
        assert_eq!(survey_with(&[("openat2", unknown())]).can_run_guests(), Verdict::Unknown);
        assert_eq!(survey_with(&[("openat2", unknown()), ("devpts", no())]).can_run_guests(), Verdict::No);
        assert_eq!(
            survey_with(&[("idmap", unknown()), ("seccomp", no())]).can_run_guests(),
            Verdict::Unknown
        );
        assert_eq!(survey_with(&[("idmap", unknown()), ("seccomp", no())]).exit_code(), 1);
    }
}
