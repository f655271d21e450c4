//! `vsysvwrapper` and `v_SERVICE`: a service of the host, confined to addresses so that it leaves those of guests free.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command as Child;

use vserver_config::Settings;

use crate::report::{self, Exit, Failure};
use crate::table::{Call, Command, Complete, Reading};

/// The table entry.
pub static COMMAND: Command = Command {
    name: "vsysvwrapper",
    summary: "runs an init script of the host confined to addresses",
    synopsis: &["SERVICE VERB"],
    options: &[],
    manual: &[
        "Runs /etc/rc.d/init.d/SERVICE, or /etc/init.d/SERVICE, under chbind(8). /etc/vservices/SERVICE.conf has \
         lines NAME=value: IP (addresses or devices, blanks between them; eth0 where it is missing) and NID (the \
         number of the network context; a free one where it is missing).",
        "Called by a name that begins with v_, the rest of the name is the service: a link v_sshd in /etc/init.d to \
         this program starts sshd on the host's own address. It takes the place of the service's own link; an init \
         script that hands over to systemd is told not to.",
        "On a host that systemd runs, write the confinement into the unit instead: systemctl edit sshd, and in \
         [Service] ExecStart= and ExecStart=/usr/sbin/chbind --silent --ip eth0 -- /usr/sbin/sshd -D.",
    ],
    exits: &[("N", "that of the script"), ("1", "it could not be run"), ("6", "no service was named")],
    examples: &[("vsysvwrapper sshd start", "sshd on the addresses of /etc/vservices/sshd.conf")],
    error_code: 1,
    reading: Reading::Passed,
    operand: Complete::Nothing,
    run,
};

fn run(call: &mut Call) -> Result<Exit, Failure> {
    let mut words = call.take_operands();
    let called = Path::new(&call.argv0).file_name().map(|name| name.to_string_lossy().into_owned());
    let service = match called.as_deref().and_then(|name| name.strip_prefix("v_")) {
        Some(service) => service.to_owned(),
        None if words.is_empty() => {
            return Err(Failure::plain("no service named").hint("vsysvwrapper SERVICE VERB").code(6));
        }
        None => words.remove(0).to_string_lossy().into_owned(),
    };
    if matches!(service.as_str(), "" | "--help" | "--version") || service.contains('/') {
        return Err(Failure::plain(format!("'{service}' is not the name of a service")).code(6));
    }
    let script = script(&service)?;
    let mut settings = settings(call, &service);
    let nid = settings.number("NID");
    for problem in &settings.problems {
        report::say(&format!("vsysvwrapper: {problem}"));
    }
    let addresses = settings.words("IP");
    let addresses = if addresses.is_empty() { vec!["eth0".to_owned()] } else { addresses };
    let mut arguments: Vec<OsString> = vec!["--applet".into(), "chbind".into(), "--silent".into()];
    for address in addresses {
        arguments.extend(["--ip".into(), address.into()]);
    }
    if let Some(nid) = nid {
        arguments.extend(["--nid".into(), nid.to_string().into()]);
    }
    arguments.extend(["--".into(), script.into()]);
    arguments.extend(words);
    let own =
        std::env::current_exe().map_err(|error| Failure::because("cannot find this program again", error))?;
    let error = Child::new(own)
        .args(arguments)
        // Both spellings that init scripts of distributions know: systemd would start the service unconfined.
        .env("SYSTEMCTL_SKIP_REDIRECT", "1")
        .env("_SYSTEMCTL_SKIP_REDIRECT", "1")
        .exec();
    Err(Failure::because("cannot run chbind", error))
}

fn script(service: &str) -> Result<PathBuf, Failure> {
    let places = ["/etc/rc.d/init.d", "/etc/init.d"].map(|dir| Path::new(dir).join(service));
    let found = places.iter().find(|path| path.is_file()).cloned();
    found.ok_or_else(|| {
        Failure::plain(format!("no init script of the service '{service}'")).hint(format!(
            "looked for {} and {}",
            places[0].display(),
            places[1].display()
        ))
    })
}

fn settings(call: &Call, service: &str) -> Settings {
    let etc = call.layout.confdir.parent().unwrap_or(Path::new("/"));
    let path = etc.join("vservices").join(format!("{service}.conf"));
    match std::fs::read(&path) {
        Ok(content) => Settings::parse(&path, &content),
        Err(_) => Settings::default(),
    }
}
