//! A plan in words, for `vserver NAME start --dry-run`.

use std::ffi::OsString;
use std::fmt;

use serde::Serialize;

use vserver_model::Mode;

use crate::limits::translate::Write;
use crate::step::{First, Inside, Plan, Rights, Step, StopRequest};

/// A plan as `--dry-run --json` prints it.
#[derive(Clone, Debug, Serialize)]
pub struct Shown {
    /// The guest.
    pub guest: String,
    /// Its context.
    pub xid: u32,
    /// `shifted` or `classic`.
    pub mode: &'static str,
    /// The steps, in words.
    pub steps: Vec<ShownStep>,
    /// Warnings, in words.
    pub warnings: Vec<String>,
    /// How the guest will be stopped, in words.
    pub stop: String,
}

/// One step in words; what the first process does stands below its step.
#[derive(Clone, Debug, Serialize)]
pub struct ShownStep {
    /// The sentence.
    pub text: String,
    /// Steps inside.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub inside: Vec<String>,
}

impl From<&Plan> for Shown {
    fn from(plan: &Plan) -> Self {
        let steps = plan
            .steps
            .iter()
            .map(|step| ShownStep {
                text: step.to_string(),
                inside: match step {
                    Step::First(first) => in_words(first),
                    Step::Group(group) => {
                        let shared = group.shared.iter().flat_map(|shared| &shared.limits);
                        shared.chain(&group.limits).map(ToString::to_string).collect()
                    }
                    _ => Vec::new(),
                },
            })
            .collect();
        Self {
            guest: plan.name.to_string(),
            xid: plan.xid.get(),
            mode: match plan.mode {
                Mode::Shifted { .. } => "shifted",
                Mode::Classic => "classic",
            },
            steps,
            warnings: plan.warnings.iter().map(|warning| warning.text.clone()).collect(),
            stop: plan.ending.request.to_string(),
        }
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "start of '{}' as context {} ({}):", self.guest, self.xid, self.mode)?;
        for (number, step) in self.steps.iter().enumerate() {
            writeln!(f, "{:4}. {}", number + 1, step.text)?;
            for line in &step.inside {
                writeln!(f, "        - {line}")?;
            }
        }
        for warning in &self.warnings {
            writeln!(f, "warning: {warning}")?;
        }
        writeln!(f, "stop will: {}", self.stop)
    }
}

fn in_words(first: &First) -> Vec<String> {
    let network = first.network.clone().map(|own| crate::network::Stack::Own(own).to_string());
    let mut lines: Vec<String> = network.into_iter().collect();
    lines.extend(first.inside.iter().map(ToString::to_string));
    lines.extend(rights_in_words(&first.rights));
    lines.push(format!(
        "become {}{}",
        if first.program.init { "" } else { "the stub init, which runs " },
        command_line(&first.program.argv)
    ));
    lines
}

fn rights_in_words(rights: &Rights) -> Vec<String> {
    let number = |limit: u64| if limit == u64::MAX { "infinite".to_owned() } else { limit.to_string() };
    let mut lines: Vec<String> = Vec::new();
    lines.extend(rights.nice.map(|nice| format!("set the nice value {nice}")));
    lines.extend(
        rights.ionice.map(|(class, priority)| format!("set the I/O class {class}, priority {priority}")),
    );
    lines.extend(rights.badness.map(|badness| format!("add {badness} to the OOM score")));
    lines.extend(rights.limits.iter().map(|limit| match limit.soft {
        Some(soft) => format!("limit {} to {} (hard {})", limit.word, number(soft), number(limit.hard)),
        None => format!("limit {}: hard {}", limit.word, number(limit.hard)),
    }));
    lines.extend(rights.personality.map(|value| format!("set the personality {value:#x}")));
    if rights.deny_system_calls {
        lines.push("refuse the system calls that reach the host".into());
    }
    if rights.deny_frames {
        lines.push("refuse packet sockets".into());
    }
    if rights.scope_sockets {
        lines.push("keep from abstract unix sockets of processes outside".into());
    }
    if rights.shadow {
        lines.push("live in a shadow of the host's network, and be lent sockets by the broker".into());
    } else if rights.hide_devices {
        lines.push("leave calls that show network devices to the broker, which shows the guest's own".into());
    }
    let besides = if rights.powerless_raw { ", and NET_RAW, which has no power here" } else { "" };
    lines.push(format!("keep the capabilities {}{besides}", rights.capabilities));
    lines
}

/// Words as a person would type them.
pub fn command_line(argv: &[OsString]) -> String {
    argv.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hooks(flavour) => write!(f, "run the {flavour} scripts, if there are any"),
            Self::HostView { cleanup: true, .. } => {
                write!(
                    f,
                    "make the guest's host view (a mount namespace), without the host's mounts that it does not need"
                )
            }
            Self::HostView { .. } => {
                write!(f, "make the guest's host view (a mount namespace) with all mounts of the host")
            }
            Self::CheckFilesystem { device, .. } => {
                write!(f, "check the file system on {}", device.display())
            }
            Self::Mount { entry, .. } => {
                let (source, target) = (entry.value.source.to_string_lossy(), entry.value.target.display());
                write!(f, "mount {source} on {target} ({}:{})", entry.file.display(), entry.line)
            }
            Self::Mtab { entries, .. } => {
                write!(f, "write the guest's /etc/mtab with {} mounts", entries.len())
            }
            Self::Clean(style) => write!(f, "remove what the last run left behind (style {style})"),
            Self::RunlevelRecord(level) => write!(f, "tell the guest's utmp runlevel {}", char::from(*level)),
            Self::HostCommand { item, argv } => write!(f, "run {item} on the host: {}", command_line(argv)),
            Self::Group(group) => write!(f, "make the control group {} in every hierarchy", group.path),
            Self::UnixNames { .. } => {
                write!(f, "keep the guest's group from abstract unix sockets of others")
            }
            Self::Devices(list) => write!(f, "allow {} kinds of devices, refuse all others", list.len()),
            Self::Interfaces { addresses, .. } if addresses.is_empty() => {
                write!(f, "give the guest a loopback address of its own")
            }
            Self::Interfaces { addresses, .. } => {
                let all: Vec<String> = addresses.iter().map(ToString::to_string).collect();
                write!(f, "add the addresses {}", all.join(", "))
            }
            Self::NetworkContext(context) => context.fmt(f),
            Self::Namespace(stack) => stack.fmt(f),
            Self::Root { idmap: Some((first, count)) } => {
                write!(f, "take the guest's tree with ids shown from {first} on ({count} of them)")
            }
            Self::Root { idmap: None } => write!(f, "take the guest's tree"),
            Self::Dev { entries, pts, .. } => write!(
                f,
                "make the guest's /dev with {} entries of its tree{}",
                entries.len(),
                if pts.is_some() { " and terminals" } else { "" }
            ),
            Self::First(first) => write!(
                f,
                "make the guest's first process in namespaces of its own: mount, pid, uts, ipc, cgroup{}{}{}",
                if first.time { ", time" } else { "" },
                if first.network.is_some() { ", net" } else { "" },
                if first.user.is_some() { ", user" } else { "" },
            ),
            Self::Record => write!(f, "write the record, the run file and the reverse link"),
            Self::AwaitCommand => write!(f, "show the command's output until it has ended"),
        }
    }
}

impl fmt::Display for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "set {} to {} ({}:{})", self.file, self.value, self.place.file.display(), self.place.line)
    }
}

impl fmt::Display for Inside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NodeName(name) => write!(f, "set the host name {}", name.to_string_lossy()),
            Self::DomainName(name) => write!(f, "set the domain name {}", name.to_string_lossy()),
            Self::AttachRoot => write!(f, "attach the tree and what is mounted in it"),
            Self::AttachDev => write!(f, "attach /dev"),
            Self::Proc { target, .. } => write!(f, "mount proc on {}", target.display()),
            Self::Sys { target } => write!(f, "mount sysfs on {}, read-only", target.display()),
            Self::CgroupView { target } => {
                write!(f, "mount the guest's own control groups on {}", target.display())
            }
            Self::Tmpfs { target, .. } => write!(f, "mount a file system in memory on {}", target.display()),
            Self::Setting(setting) => {
                let name = setting.value.setting.value.display();
                write!(f, "set {name} ({}:{})", setting.file.display(), setting.line)
            }
            Self::ReadOnly(path) => write!(f, "make {} read-only", path.display()),
            Self::Writable(path) => write!(f, "keep {} writable", path.display()),
            Self::Mask { path, .. } => write!(f, "hide {}", path.display()),
            Self::NetFiles { proc } => {
                write!(
                    f,
                    "show the guest's own devices and sockets in {}/net and /sys/class/net",
                    proc.display()
                )
            }
            Self::Machine { proc, files } => {
                write!(
                    f,
                    "show the guest's own share of the machine in {}: {}",
                    proc.display(),
                    files.join(", ")
                )
            }
            Self::Pivot => write!(f, "leave the host's tree for good"),
            Self::NoUserNamespaces => write!(f, "allow no further user namespaces"),
        }
    }
}

impl fmt::Display for StopRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signal(signal) => write!(f, "send signal {signal} to the guest's init"),
            Self::Command(argv) => write!(f, "run inside: {}", command_line(argv)),
            Self::None => write!(f, "go straight to the kill sequence"),
        }
    }
}
