//! `apps/init/` and `apps/vshelper/`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use vserver_model::init::{DEFAULT_KILLSEQ, InitStyle, KillStep, parse_killseq};
use vserver_model::{GuestName, Sourced};

use super::Reader;
use crate::content;
use crate::defaults::Shipped;
use crate::files::{LinkOr, Wrong};
use crate::finding::{Finding, Kind};
use crate::guest::{Init, Vshelper};

/// The events that a program in `apps/vshelper/` can handle.
pub(crate) const EVENTS: [&str; 9] =
    ["restart", "halt", "poweroff", "swsusp", "oom", "startup", "shutdown", "netup", "netdown"];

impl Reader<'_> {
    pub(super) fn init(&mut self, name: &GuestName) -> Init {
        let style = self.style();
        let (environment, environment_place) = self.environment();
        let runlevel = self.runlevel("apps/init/runlevel");
        Init {
            style_place: style.as_ref().map(|style| style.file.clone()),
            style: style.map_or(InitStyle::Sysv, |style| style.value),
            runlevel_start: self.runlevel("apps/init/runlevel.start").or(runlevel),
            runlevel_stop: self.runlevel("apps/init/runlevel.stop"),
            killseq: self.killseq(),
            cmd_start: self.command("apps/init/cmd.start"),
            cmd_stop: self.command("apps/init/cmd.stop"),
            cmd_start_sync: self.command("apps/init/cmd.start-sync"),
            cmd_stop_sync: self.command("apps/init/cmd.stop-sync"),
            cmd_prepare: self.command("apps/init/cmd.prepare"),
            sync: self.has("apps/init/sync").is_some(),
            tty: self.tty(),
            marks: self.list("apps/init/mark"),
            depends: self.depends(name),
            environment,
            environment_place,
        }
    }

    fn list(&mut self, item: &str) -> Vec<Sourced<OsString>> {
        let path = self.cfg(item);
        self.files.lines(&path).unwrap_or_default()
    }

    /// An empty first line is a style: none of the built-in commands.
    fn style(&mut self) -> Option<Sourced<InitStyle>> {
        let path = self.cfg("apps/init/style");
        let style = self.files.scalar_or_empty(&path);
        self.files.parsed(style, |text| {
            text.parse::<InitStyle>().map_err(|error| Wrong::with_hint(&error, error.hint()))
        })
    }

    fn runlevel(&mut self, item: &str) -> Option<Sourced<String>> {
        self.parsed(item, |text| {
            if text.contains([' ', '\t']) {
                Err(Wrong::new(format!("'{text}' is not a runlevel: one word")))
            } else {
                Ok(text.to_owned())
            }
        })
    }

    fn killseq(&mut self) -> Vec<KillStep> {
        let path = self.cfg("apps/init/killseq");
        let items = self.files.array(&path).unwrap_or_default();
        let items = self.files.texts(items);
        if items.is_empty() {
            return DEFAULT_KILLSEQ.to_vec();
        }
        match parse_killseq(items.iter().map(|item| item.value.as_str())) {
            Ok(steps) => steps,
            Err(error) => {
                self.files.wrong(&items[0], Kind::BadValue, Wrong::with_hint(&error, error.hint()));
                DEFAULT_KILLSEQ.to_vec()
            }
        }
    }

    fn command(&mut self, item: &str) -> Option<Sourced<Vec<OsString>>> {
        let path = self.cfg(item);
        let words = self.files.array(&path)?;
        if words.is_empty() {
            self.files.found(
                Finding::warning(Kind::BadValue, path, "holds no command and is not used")
                    .hint("write one word of the command a line"),
            );
            return None;
        }
        Some(Sourced::new(words.into_iter().map(|word| word.value).collect(), path, 1))
    }

    fn tty(&mut self) -> Option<PathBuf> {
        let paths = [self.cfg("apps/init/tty"), self.def("apps/init/tty")];
        // A dangling link counts: it may lead to a device that is made later.
        let path = paths.iter().find(|path| path.symlink_metadata().is_ok())?;
        self.files.link(path, LinkOr::Any).map(|tty| tty.value)
    }

    fn depends(&mut self, name: &GuestName) -> Vec<Sourced<OsString>> {
        let depends = self.list("apps/init/depends");
        for line in &depends {
            let known = GuestName::new(&line.value).is_ok_and(|other| self.layout.config_of(&other).is_dir());
            let message = if line.value == name.as_os_str() {
                "the guest depends on itself".to_owned()
            } else if known {
                continue;
            } else {
                format!("no guest named \"{}\"", line.value.display())
            };
            self.files.found(
                Finding::warning(Kind::Missing, &line.file, message)
                    .at(line.line)
                    .hint("one name of a guest a line; this one is skipped"),
            );
        }
        depends
    }

    fn environment(&mut self) -> (Vec<(OsString, OsString)>, Option<PathBuf>) {
        let paths = [self.cfg("apps/init/environment"), self.def("apps/init/environment")];
        if let Some(path) = self.files.first_existing(&paths)
            && let Some(content) = self.files.whole(path)
        {
            return (content::variables(path, &content, &mut self.files.findings), Some(path.clone()));
        }
        let shipped = Shipped::Environment.content(self.layout);
        let path = Shipped::Environment.file(self.layout).unwrap_or_else(|| "shipped environment".into());
        (content::variables(&path, &shipped, &mut self.files.findings), None)
    }

    pub(super) fn vshelper(&mut self) -> Vshelper {
        let timeouts = [self.cfg("apps/vshelper/sync-timeout"), self.def("apps/vshelper/sync-timeout")];
        let timeout = self.files.first_scalar(&timeouts);
        let timeout = self.files.parsed(timeout, super::integer::<u32>);
        let own_action = self.scalar("apps/vshelper/action");
        let action = own_action.clone().or_else(|| {
            let path = self.def("apps/vshelper/action");
            self.files.scalar(&path)
        });
        let own = self.cfg("apps/vshelper");
        let site = self.def("apps/vshelper");
        let mut handlers = programs(&own);
        // An action of the guest comes before a program of the site.
        if own_action.is_none() {
            for (event, path) in programs(&site) {
                if !handlers.iter().any(|(own, _)| *own == event) {
                    handlers.push((event, path));
                }
            }
        }
        let mut either = |item: &str| self.has(item).is_some() || self.has_default(item).is_some();
        Vshelper {
            disabled: either("apps/vshelper/disabled"),
            warning_disabled: either("apps/vshelper/warning-disabled"),
            debug: either("apps/vshelper/debug"),
            sync_timeout: Duration::from_secs(timeout.map_or(30, |timeout| timeout.value.into())),
            action: action.map_or_else(|| "restart".into(), |action| action.value),
            handlers,
        }
    }
}

/// The programs for single events in a directory.
fn programs(dir: &Path) -> Vec<(String, PathBuf)> {
    let there = EVENTS.into_iter().map(|event| (event.to_owned(), dir.join(event)));
    there.filter(|(_, path)| path.is_file()).collect()
}
