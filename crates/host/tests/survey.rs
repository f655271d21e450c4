//! The survey on this very machine, with and without root, and that nothing of it stays.
//!
//! No test harness with threads: a process with several cannot be forked.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use libtest_mimic::{Arguments, Completion, Failed, Trial};
use vserver_host::{CheckResult, FEATURES, Survey, Verdict};
use vserver_kernel::sys::{self, Forked};

fn main() {
    let arguments = Arguments { test_threads: Some(1), ..Arguments::from_args() };
    let trials = vec![
        Trial::ignorable_test("root_gets_an_answer_for_every_feature", as_root),
        Trial::ignorable_test("nothing_of_a_survey_stays", leaves_nothing),
        Trial::ignorable_test("without_root_nothing_is_claimed", || in_child_without_root(unprivileged)),
        Trial::test("text_and_json_agree", both_forms),
    ];
    libtest_mimic::run(&arguments, trials).exit();
}

type Outcome = Result<Completion, Failed>;

fn root() -> bool {
    rustix::process::geteuid().is_root()
}

fn check(holds: bool, what: impl Into<String>) -> Result<(), Failed> {
    if holds { Ok(()) } else { Err(Failed::from(what.into())) }
}

fn as_root() -> Outcome {
    if !root() {
        return Ok(Completion::ignored_with("needs root"));
    }
    let survey = Survey::take(Path::new("/nonexistent/vservers"))?;
    // Said only then: what a test prints beside its result makes that unreadable to who runs us in a machine.
    every_feature(&survey)
        .map_err(|failure| Failed::from(format!("{}\n{survey}", failure.message().unwrap_or_default())))?;
    Ok(Completion::Completed)
}

fn every_feature(survey: &Survey) -> Result<(), Failed> {
    check(survey.guests == Path::new("/"), "the nearest directory that exists stands for the guests'")?;
    check(survey.features.len() == FEATURES.len(), "one answer a feature")?;
    for checked in &survey.features {
        let (name, result) = (checked.feature.name, &checked.result);
        let broken = ["the trial ended without an answer", "no answer in time"].contains(&result.detail());
        check(!broken, format!("{name}: {}", result.detail()))?;
        if let CheckResult::No { why } | CheckResult::Unknown { why } = result {
            check(
                !why.is_empty() && !why.contains("os error"),
                format!("{name}: no is said in words: {why}"),
            )?;
        }
    }
    // What our own kernel tests use every day must be found by the survey as well.
    for name in ["mount-namespace", "pid-namespace", "pidfd-enter", "openat2", "mount-api", "devpts"] {
        check(survey.result_of(name).is_some_and(CheckResult::is_yes), format!("{name} is known to work"))?;
    }
    Ok(())
}

/// What a survey could leave behind, as sorted lines.
fn traces() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for line in fs::read_to_string("/proc/self/mountinfo").unwrap_or_default().lines() {
        let mut fields = line.split(' ');
        let (kind, place) = (line.split(" - ").nth(1).unwrap_or_default(), fields.nth(4).unwrap_or_default());
        found.insert(format!("mount {place} {kind}"));
        if kind.starts_with("cgroup") {
            let names = |dir: fs::ReadDir| dir.flatten().map(|entry| entry.path().display().to_string());
            found.extend(
                fs::read_dir(place).into_iter().flat_map(names).filter(|path| path.contains("vserver-check")),
            );
        }
    }
    for dir in ["/proc/self/fd", "/proc/self/task"] {
        let count = fs::read_dir(dir).map(Iterator::count).unwrap_or_default();
        found.insert(format!("{count} entries in {dir}"));
    }
    found.insert(children());
    for link in ["mnt", "net", "user", "uts", "ipc", "cgroup", "pid_for_children", "time_for_children"] {
        let target = fs::read_link(Path::new("/proc/self/ns").join(link)).unwrap_or_default();
        found.insert(format!("{link} {}", target.display()));
    }
    found.insert(format!("hostname {}", rustix::system::uname().nodename().to_string_lossy()));
    found
}

fn children() -> String {
    let path = format!("/proc/self/task/{}/children", rustix::process::getpid().as_raw_nonzero());
    format!("children: {}", fs::read_to_string(path).unwrap_or_default())
}

fn leaves_nothing() -> Outcome {
    if !root() {
        return Ok(Completion::ignored_with("needs root"));
    }
    let before = traces();
    // As after a survey that was killed: no process has this number.
    let stale = fs::read_to_string("/proc/self/mountinfo")?
        .lines()
        .filter(|line| line.contains(" - cgroup2 "))
        .find_map(|line| line.split(' ').nth(4).map(|mount| Path::new(mount).join("vserver-check-4194305")));
    if let Some(stale) = &stale {
        fs::create_dir(stale)?;
    }
    Survey::take(Path::new("/"))?;
    let after = traces();
    let gone: Vec<_> = before.difference(&after).collect();
    let new: Vec<_> = after.difference(&before).collect();
    check(gone.is_empty() && new.is_empty(), format!("left: {new:?}; taken: {gone:?}"))?;
    Ok(Completion::Completed)
}

/// Runs `body` as an ordinary user in a child, since ids cannot be taken back.
fn in_child_without_root(body: fn() -> Result<(), Failed>) -> Outcome {
    if !root() {
        return body().map(|()| Completion::Completed);
    }
    match sys::fork()? {
        Forked::Child => {
            let become_nobody = || -> Result<(), Failed> {
                sys::set_groups(&[])?;
                sys::set_resgid(Some(65_534), Some(65_534), Some(65_534))?;
                sys::set_resuid(Some(65_534), Some(65_534), Some(65_534))?;
                // A process that has changed its ids may not look at its own /proc files; a login's processes may.
                sys::set_dumpable(true)?;
                Ok(())
            };
            let failed = become_nobody().and_then(|()| body()).err();
            if let Some(failed) = &failed {
                eprintln!("{}", failed.message().unwrap_or_default());
            }
            sys::exit_now(i32::from(failed.is_some()))
        }
        Forked::Parent { pidfd, .. } => {
            let end = vserver_kernel::process::Pidfd::from(pidfd).wait(None)?;
            check(
                end == Some(vserver_kernel::process::WaitStatus::Exited(0)),
                format!("as an ordinary user: {end:?}, see standard error"),
            )?;
            Ok(Completion::Completed)
        }
    }
}

fn unprivileged() -> Result<(), Failed> {
    let survey = Survey::take(Path::new("/"))?;
    check(survey.can_run_guests() == Verdict::Unknown, "nothing can be said without root")?;
    check(survey.exit_code() == 1, "and scripts are not told that guests can run")?;
    let openat2 = survey.result_of("openat2").map(CheckResult::detail);
    check(openat2 == Some("only root can try this"), "the reason is told")?;
    check(survey.to_string().contains("try again as root"), "the way out is told")
}

fn both_forms() -> Result<(), Failed> {
    let survey = Survey::take(Path::new("/"))?;
    let (text, json) = (survey.to_string(), survey.to_json());
    check(text.contains("Every guest needs:"), text)?;
    let value: serde_json::Value = serde_json::from_str(&json)?;
    check(
        (value["can_run_guests"] == "yes") == (survey.exit_code() == 0),
        "the verdict and the exit code agree",
    )?;
    check(value["features"].as_array().map(Vec::len) == Some(FEATURES.len()), "one object a feature")
}
