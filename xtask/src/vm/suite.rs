//! What runs in the machines: which test programs there are, which tests of them, and who runs what.

use crate::shell::{Outcome, cargo, run, target, workspace};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The end-to-end trials.
const TRIALS: &str = "e2e";

/// Crates whose tests ask the kernel: where mechanisms meet it, stock kernels differ.
const NEAR_THE_KERNEL: &[&str] = &["vserver-kernel", "vserver-host", "vserver-tree"];

/// Trials that every machine runs also where trials are shared out: the harness itself, and a guest's life.
const EVERYWHERE: &[&str] = &["harness_", "s15_start::", "s16_exec", "s17_"];

/// Stories that are told where there is no time for all (`--brief`): a guest's life, and what stock kernels do
/// differently: sockets, interfaces, confinement, hosts and guests that systemd runs.
const BRIEF: &[&str] = &[
    "harness_sees_leaks",
    "s15_start::",
    "s15_start_debian_systemd",
    "s16_exec",
    "s16_enter_on_a_terminal",
    "guest_reboots_itself",
    "guard_is_killed",
    "hide_files",
    "systemd_host_runs_systemd_guest",
    "systemd_host_reloads",
    "escape_system_calls",
    "escape_mounts",
    "escape_abstract_sockets",
    "sockets_of_the_host_itself",
    "sockets_one_port_for_all",
    "sockets_dual_stack",
    "s72_a_port_of_a_bridge",
    "escape_address_bind",
    "escape_address_freebind",
];

/// Trials of a host that is run by systemd begin so.
pub const SYSTEMD_HOST: &str = "systemd_host_";

/// Those that look at the machine after it was switched off and on again.
pub const NEXT_BOOT: &str = "systemd_host_next_boot";

/// One test of one program.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Test {
    /// The program's name.
    pub program: String,
    /// The test's.
    pub name: String,
}

/// A program of tests, as cargo has built it.
struct Program {
    name: String,
    path: PathBuf,
}

/// All programs.
pub struct Suite {
    programs: Vec<Program>,
    tests: Vec<Test>,
}

impl Suite {
    /// Builds the program under test and all tests, and asks these for their names.
    pub fn build() -> Result<Self, String> {
        run(&mut cargo(&["build", "--locked", "--quiet", "--package", "vserver"]))?;
        let mut programs = built(&["--package", "vserver-e2e", "--test", TRIALS])?;
        let crates: Vec<&str> = NEAR_THE_KERNEL.iter().flat_map(|name| ["--package", name]).collect();
        programs.extend(built(&crates)?);
        let mut tests = Vec::new();
        for program in &programs {
            let names = list(&program.path)?;
            tests.extend(names.into_iter().map(|name| Test { program: program.name.clone(), name }));
        }
        Ok(Self { programs, tests })
    }

    /// The tests that have one of the words in their names, or all.
    pub fn tests(&self, filters: &[String]) -> Vec<Test> {
        let wanted =
            |test: &&Test| filters.is_empty() || filters.iter().any(|part| test.name.contains(part.as_str()));
        self.tests.iter().filter(wanted).cloned().collect()
    }

    /// Those of [`BRIEF`], and of the tests near the kernel those that are programs of their own: what is tested inside
    /// a crate hardly asks the kernel.
    pub fn brief(&self) -> Vec<Test> {
        let wanted = |test: &&Test| {
            if test.program == TRIALS {
                BRIEF.iter().any(|beginning| test.name.starts_with(beginning))
            } else {
                test.program.contains('-')
            }
        };
        self.tests.iter().filter(wanted).cloned().collect()
    }

    /// Makes the images of guests that these trials need, so that the machines need no archive.
    pub fn make_images(&self, tests: &[Test]) -> Outcome {
        let Some(trials) = self.programs.iter().find(|program| program.name == TRIALS) else {
            return Ok(());
        };
        let names: Vec<&str> =
            tests.iter().filter(|test| test.program == TRIALS).map(|test| test.name.as_str()).collect();
        run(Command::new(&trials.path).env("E2E_IMAGES_ONLY", "1").env("E2E_ONLY", names.join(" ")))
    }

    /// The shell script that runs these tests in a machine. Programs look for what they need beside themselves, as
    /// cargo puts it.
    pub fn script(&self, tests: &[Test], threads: u8) -> String {
        let deps = "/vm/target/debug/deps";
        let mut script = prelude();
        for program in &self.programs {
            let of_program = |test: &&Test| test.program == program.name;
            let chosen: Vec<&str> = tests.iter().filter(of_program).map(|test| test.name.as_str()).collect();
            if chosen.is_empty() {
                continue;
            }
            let name = &program.name;
            let lines = if name == TRIALS {
                format!(
                    "E2E_ONLY='{}' {deps}/{name} --test-threads={threads} --color=never",
                    chosen.join(" ")
                )
            } else if chosen.len() == self.tests.iter().filter(of_program).count() {
                format!("{deps}/{name} --test-threads=2 --color=never")
            } else {
                let line =
                    |test: &&str| format!("{deps}/{name} --test-threads=2 --color=never --exact {test}");
                chosen.iter().map(line).collect::<Vec<_>>().join(" || failed=1\n")
            };
            writeln!(
                script,
                "cp {} {deps}/{name}\necho '{}{name}'\n{lines} || failed=1",
                quoted(&program.path),
                super::results::PROGRAM
            )
            .expect("memory takes all that is written");
        }
        script.push_str("exit $failed\n");
        script
    }
}

/// Furnishes the machine: what it has of the building machine is a tree for reading only.
fn prelude() -> String {
    let (top, target) = (workspace(), target());
    let fixtures = quoted(&target.join("fixtures"));
    let mut lines = vec!["failed=0".to_owned()];
    for place in [&top, &target] {
        let shown = quoted(place);
        lines.push(format!("[ -e {shown} ] || {{ mkdir -p {shown}; mount --bind /host{shown} {shown}; }}"));
    }
    lines.extend([
        "mkdir -p /vm/target/debug/deps /vm/target/fixtures".to_owned(),
        format!("cp {} /vm/target/debug/vserver", quoted(&target.join("debug/vserver"))),
        format!("cp {fixtures}/probe-* {fixtures}/*.tar /vm/target/fixtures/ 2>/dev/null"),
        // A machine of its own has the program where `make install` puts it.
        "mkdir -p /usr/local/sbin /usr/local/share".to_owned(),
        "ln -s /vm/target/debug/vserver /usr/local/sbin/vserver".to_owned(),
        format!("cp -r {} /usr/local/share/vserver", quoted(&top.join("share"))),
        // What a stock kernel of these generations must have is required: a test that is left out would be a lie.
        "export E2E_REQUIRE=root,user-namespaces,id-map,cgroups,sys-resource,tracing,archive,cgroupv2,deviceprogram"
            .to_owned(),
        "export E2E_SLOWNESS=5 E2E_MACHINE=1 RUST_BACKTRACE=0".to_owned(),
    ]);
    lines.push(String::new());
    lines.join("\n")
}

/// Which machine runs what, so that all of them together run everything and none runs what the others show as well.
///
/// Of a story that is told in two modes each machine tells one, so every story is told on every machine where there
/// are two, and in the same mode whatever else is chosen. Tests near the kernel run everywhere. `has_systemd` tells which machines are run by systemd.
pub fn share_out(tests: &[Test], has_systemd: &[bool]) -> Vec<Vec<Test>> {
    let mut shares = vec![Vec::new(); has_systemd.len()];
    for test in tests {
        let (story, mode) = test.name.split_once("::").unwrap_or((&test.name, ""));
        let turn = story.bytes().map(usize::from).sum::<usize>() + usize::from(mode == "classic");
        let of_systemd = test.name.starts_with(SYSTEMD_HOST);
        let everywhere = test.program != TRIALS || EVERYWHERE.iter().any(|part| test.name.starts_with(part));
        for (number, share) in shares.iter_mut().enumerate() {
            let mine = if of_systemd {
                has_systemd[number]
            } else {
                everywhere || turn % has_systemd.len() == number
            };
            if mine {
                share.push(test.clone());
            }
        }
    }
    shares
}

/// Builds test programs, and tells where cargo put them and what they are called.
fn built(packages: &[&str]) -> Result<Vec<Program>, String> {
    let mut words = vec!["test", "--locked", "--quiet", "--no-run", "--message-format=json"];
    words.extend(packages);
    let output =
        cargo(&words).stderr(Stdio::inherit()).output().map_err(|error| format!("cargo: {error}"))?;
    if !output.status.success() {
        return Err(format!("the tests do not build: {}", output.status));
    }
    let messages = String::from_utf8_lossy(&output.stdout).into_owned();
    let programs = messages.lines().filter_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        let path = message.get("executable")?.as_str()?;
        if message["profile"]["test"] != true && message["target"]["kind"][0] != "test" {
            return None;
        }
        // `vserver-kernel`'s own tests and its file `tests/mount.rs` are `kernel` and `kernel-mount` here.
        let package = message["package_id"].as_str()?;
        let package = package.rsplit('/').next()?.split('#').next()?;
        let target = message["target"]["name"].as_str()?;
        let name = match message["target"]["kind"][0].as_str()? {
            _ if target == TRIALS => TRIALS.to_owned(),
            "test" => format!("{package}-{target}"),
            _ => package.to_owned(),
        };
        Some(Program { name, path: PathBuf::from(path) })
    });
    Ok(programs.collect())
}

/// The names of a program's tests, as every test program of Rust lists them.
fn list(program: &Path) -> Result<Vec<String>, String> {
    let told = |error: &dyn std::fmt::Display| format!("{}: {error}", program.display());
    let output =
        Command::new(program).args(["--list", "--format=terse"]).output().map_err(|error| told(&error))?;
    if !output.status.success() {
        return Err(told(&output.status));
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(text.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect())
}

/// For the shell.
pub fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::{TRIALS, Test, share_out};

    fn trial(name: &str) -> Test {
        Test { program: TRIALS.to_owned(), name: name.to_owned() }
    }

    #[test]
    fn together_the_machines_run_everything() {
        let tests: Vec<Test> =
            ["a::shifted", "a::classic", "b", "c", "d::shifted", "d::classic", "s15_start::classic"]
                .map(trial)
                .into_iter()
                .chain([Test { program: "kernel-mount".to_owned(), name: "m".to_owned() }])
                .chain([trial("systemd_host_x")])
                .collect();
        let shares = share_out(&tests, &[false, true]);
        for test in &tests {
            assert!(shares.iter().any(|share| share.contains(test)), "{test:?}");
        }
        for (share, other) in [(0, 1), (1, 0)] {
            assert_ne!(shares[share].contains(&tests[0]), shares[other].contains(&tests[0]));
            assert_ne!(shares[share].contains(&tests[0]), shares[share].contains(&tests[1]));
            assert!(shares[share].contains(&tests[6]) && shares[share].contains(&tests[7]));
        }
        assert!(!shares[0].contains(&tests[8]));
    }
}
