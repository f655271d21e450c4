//! `clone`: a tree from another guest, or from a directory.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use rustix::fs::Mode;
use vserver_tree::Root;
use vserver_tree::copy::{Choice, Options, copy_tree};
use vserver_tree::device::DevicePolicy;

use crate::build::Build;
use crate::child;
use crate::error::{BuildError, Result};
use crate::exclude::Excludes;
use crate::identity;
use crate::method::{self, DEBUG, DISTRIBUTION, Management, Method, PKGMGMT, Tool, Work};
use crate::options::{OptionSpec, Takes};
use crate::site::{Site, read_file};

/// The method.
#[derive(Debug)]
pub struct Clone;

#[derive(Debug, Default)]
struct Prepared {
    source: OsString,
    /// The tree, once the site is known.
    tree: PathBuf,
    exclude_from: Option<PathBuf>,
    excludes: Excludes,
    distribution: Option<OsString>,
    external: bool,
}

impl Method for Clone {
    fn name(&self) -> &'static str {
        "clone"
    }

    fn about(&self) -> &'static str {
        "Copies the tree of a guest, or a directory, with everything: owners, access lists, attributes, hard links, \
         holes; the data itself is shared where the filesystem can. Machine ids are blanked and the keys of the ssh \
         server made anew."
    }

    fn usage(&self) -> &'static str {
        "(-s|--source GUEST|DIR) [-d DIST] [-X|--exclude-from FILE] [--pkgmgmt]"
    }

    fn options(&self) -> &'static [OptionSpec] {
        static OPTIONS: [OptionSpec; 5] = [
            OptionSpec::both(b's', "source", Takes::Value("SRC"), "the guest or directory to copy"),
            OptionSpec::both(
                b'X',
                "exclude-from",
                Takes::Value("FILE"),
                "rules; what '~PATTERN' matches is left out",
            ),
            DISTRIBUTION,
            PKGMGMT,
            DEBUG,
        ];
        &OPTIONS
    }

    fn tools(&self) -> &'static [Tool] {
        &[Tool { program: "ssh-keygen", hint: "package openssh-client, for new host keys", optional: true }]
    }

    fn prepare(&self, words: &[OsString]) -> Result<Box<dyn Work>> {
        let parsed = method::parse(words, self.options())?;
        method::no_more(&parsed.rest)?;
        let mut prepared = Prepared::default();
        for given in parsed.given {
            match given.spec.typed().as_str() {
                "--source" => prepared.source = given.into_value(),
                "--exclude-from" => prepared.exclude_from = Some(PathBuf::from(given.into_value())),
                "-d" => prepared.distribution = Some(given.into_value()),
                "--pkgmgmt" => prepared.external = true,
                _ => {}
            }
        }
        if prepared.source.is_empty() {
            let hint = "name the guest or directory after '--': --source SRC";
            return Err(BuildError::MethodNeeds { what: "a source", hint });
        }
        Ok(Box::new(prepared))
    }
}

impl Work for Prepared {
    fn distribution(&self) -> Option<&OsStr> {
        self.distribution.as_deref()
    }

    fn management(&self) -> Management {
        if self.external { Management::External } else { Management::None }
    }

    fn check(&mut self, site: &Site) -> Result<()> {
        let source = Path::new(&self.source);
        let names_a_path = self.source.as_encoded_bytes().contains(&b'/');
        let guest = (!names_a_path)
            .then(|| [site.layout.confdir.join(source).join("vdir"), site.layout.vdirbase.join(source)]);
        // A guest comes first: a directory of the same name here is an accident.
        let candidates = guest.into_iter().flatten().chain([source.to_owned()]);
        let found = candidates.into_iter().find(|path| path.is_dir());
        let found = found.ok_or_else(|| BuildError::NoSource(source.to_owned()))?;
        self.tree = found.canonicalize().map_err(|e| BuildError::file("find", found, e))?;
        if let Some(file) = &self.exclude_from {
            let content =
                read_file(file)?.ok_or_else(|| BuildError::file("open", file, rustix::io::Errno::NOENT))?;
            self.excludes = Excludes::parse(&content);
        }
        Ok(())
    }

    fn run(&mut self, build: &mut Build<'_>) -> Result<()> {
        build.output.note(&format!("copying {}", self.tree.display()));
        let source = Root::open(&self.tree)?;
        let interrupt = build.site.interrupt.clone();
        // A copy of a tree into itself would never end.
        let target =
            build.root.path().canonicalize().map_err(|e| BuildError::file("find", build.root.path(), e))?;
        let inside = target.strip_prefix(&self.tree).ok().map(Path::to_owned);
        let excludes = &self.excludes;
        let choose = |path: &Path| {
            if inside.as_deref() == Some(path) || excludes.leave_out(path) {
                Choice::LeaveOut
            } else {
                Choice::Copy
            }
        };
        let options =
            Options { choose: &choose, devices: DevicePolicy::Harmless, stop: &|| interrupt.is_set() };
        let summary = match copy_tree(&source, &build.root, &options) {
            Err(error) if error.is(rustix::io::Errno::INTR) => return Err(BuildError::Interrupted),
            other => other?,
        };
        // Not those of /dev, which every guest has its own of.
        let devices = summary.devices_left_out.iter().filter(|path| !path.starts_with("dev"));
        if let Some(first) = devices.into_iter().next() {
            let count = summary.devices_left_out_count;
            build
                .output
                .warn(&format!("{count} device nodes were left out, /{} among them", first.display()));
        }
        for mount in &summary.mounts_left_out {
            build.output.warn(&format!("/{} is on another filesystem and was left empty", mount.display()));
        }
        identity::blank_machine_ids(&build.root)?;
        new_host_keys(build)
    }
}

/// The clone's ssh server gets keys of its own: made by the host's program in a directory of the host, since nothing
/// of another guest's tree may run here.
fn new_host_keys(build: &mut Build<'_>) -> Result<()> {
    let old = identity::ssh_host_keys(&build.root)?;
    if old.is_empty() {
        return Ok(());
    }
    let Some(keygen) = build.site.program("ssh-keygen") else {
        build.output.warn(
            "the clone has the ssh host keys of its source: the host has no ssh-keygen to make new ones",
        );
        return Ok(());
    };
    let prefix = build.scratch.path().join("keys");
    let scratch = Root::open(build.scratch.path())?;
    scratch.make_directories("keys/etc/ssh", Mode::RWXU)?;
    let mut command = child::clean(keygen, &build.site.path);
    command.arg("-A").arg("-f").arg(&prefix);
    child::capture(&mut command, None, &build.site.interrupt, &mut |_| {})?;
    for key in old {
        build.root.remove_file(&key)?;
        // Types that the host's program does not make any more are gone then.
        if let Some(new) = scratch.read(Path::new("keys").join(&key), 1 << 16)? {
            let mode = if key.extension().is_some() { 0o644 } else { 0o600 };
            build.root.replace(&key, &new, Mode::from_raw_mode(mode))?;
        }
    }
    Ok(())
}
