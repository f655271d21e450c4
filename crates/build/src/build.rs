//! The order of a build: check everything, claim name and number, make the basics, let the method fill the tree,
//! finish it; and the way back.

use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::{CWD, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use vserver_model::{GuestName, InitStyle};
use vserver_tree::Root;

use crate::ask::{BuildAsk, Settings};
use crate::configuration::{self, Links};
use crate::context;
use crate::debian;
use crate::devs::DevEntry;
use crate::error::{BuildError, Result};
use crate::identity;
use crate::method::{DevAfter, Finish, Management, Work};
use crate::output::Output;
use crate::root;
use crate::script::{self, Moment};
use crate::site::{Site, read_file};
use crate::undo::{TakenBack, Undo};

/// A build that did not come off.
#[derive(Debug)]
pub struct Failure {
    /// Why.
    pub error: BuildError,
    /// What became of what it had made.
    pub undone: TakenBack,
    /// What `--keep` left, or what was there before.
    pub left: Vec<PathBuf>,
    /// What `--force` had renamed: old path and new.
    pub renamed: Vec<(PathBuf, PathBuf)>,
}

impl Failure {
    /// A failure before anything was made.
    pub fn early(error: BuildError) -> Box<Self> {
        Box::new(Self { error, undone: TakenBack::default(), left: Vec::new(), renamed: Vec::new() })
    }

    /// What became of everything, a line each.
    pub fn notes(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if !self.undone.removed.is_empty() {
            let removed: Vec<_> = self.undone.removed.iter().map(|path| path.display().to_string()).collect();
            lines.push(format!("undone: {}", removed.join(", ")));
        }
        for (path, why) in &self.undone.left {
            lines.push(format!("not undone: {}: {why}", path.display()));
        }
        lines.extend(self.left.iter().map(|path| format!("left as it is: {}", path.display())));
        for (old, new) in &self.renamed {
            lines.push(format!("renamed before, to get it back: mv {} {}", new.display(), old.display()));
        }
        lines
    }
}

/// What a method works with.
pub struct Build<'a> {
    /// The host.
    pub site: &'a Site,
    /// The guest.
    pub name: &'a GuestName,
    /// Its tree.
    pub root: Root,
    /// Its configuration directory.
    pub config: Root,
    /// What was asked for.
    pub settings: &'a Settings,
    /// `-d`.
    pub distribution: Option<OsString>,
    /// The nodes of `/dev`.
    pub devices: Vec<DevEntry>,
    /// A directory for temporary files, on the host, ours alone, gone after the build.
    pub scratch: Scratch,
    /// Where words go.
    pub output: &'a mut dyn Output,
    /// Show what tools say.
    pub debug: bool,
}

/// A directory for the temporary files of one build, on the filesystem of the cache; removed when dropped.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    fn make(site: &Site) -> Result<Self> {
        let dir = site.layout.cachebase.join("build");
        make_parents(&dir.join("x"), 0o700)?;
        let base = Root::open(&dir)?;
        remove_abandoned(&base, "tmp.")?;
        for attempt in 0_u32..1000 {
            let name = format!("tmp.{}.{attempt}", std::process::id());
            if base.make_directory(&name, Mode::from_raw_mode(0o700))? {
                return Ok(Self(dir.join(name)));
            }
        }
        Err(BuildError::Exists(vec![dir]))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed is in the cache, where it may be removed by hand.
        vserver_tree::remove::remove_tree(&self.0).ok();
    }
}

/// Removes what builds left that were killed: names `PREFIX` and a process number that nobody has any more.
pub(crate) fn remove_abandoned(dir: &Root, prefix: &str) -> Result<()> {
    for name in dir.entries("")? {
        let text = name.to_string_lossy();
        let Some(number) = text.strip_prefix(prefix).and_then(|rest| rest.split('.').next()) else {
            continue;
        };
        if number.parse::<u32>().is_ok() && !Path::new("/proc").join(number).exists() {
            dir.remove_tree(&name)?;
        }
    }
    Ok(())
}

/// Where everything of this guest is going to be.
#[derive(Debug)]
struct Places {
    /// The tree.
    vdir: PathBuf,
    /// The configuration.
    confdir: PathBuf,
    /// The package data.
    packages: PathBuf,
    /// Where the configuration's links lead.
    links: Links,
}

impl Places {
    fn of(site: &Site, ask: &BuildAsk) -> Self {
        let layout = &site.layout;
        let name = &ask.name;
        let rootdir = ask.rootdir.clone().unwrap_or_else(|| site.base("vdirbase", &layout.vdirbase));
        let cachebase = site.base("cachebase", &layout.cachebase);
        let pkgbase = ask.pkgbase.clone().unwrap_or_else(|| {
            let own = rootdir.join(".pkg");
            let fallback = if own.is_dir() { own } else { layout.pkgbase.clone() };
            site.base("apps/pkgmgmt/base", &fallback)
        });
        let links = Links {
            vdir: rootdir.join(name),
            cache: cachebase.join(name),
            run: ask.lockfile.clone().unwrap_or_else(|| layout.run_file_of(name)),
            packages: pkgbase.join(name),
        };
        Self {
            vdir: links.vdir.clone(),
            confdir: ask.confdir.clone().unwrap_or_else(|| layout.config_of(name)),
            packages: links.packages.clone(),
            links,
        }
    }
}

/// Does a build.
///
/// # Errors
/// [`Failure`]; unless `--keep` was given, nothing is left of what the build made.
pub fn build(site: &Site, ask: &BuildAsk, output: &mut dyn Output) -> Result<(), Box<Failure>> {
    let mut quiet = Quiet { output, quiet: ask.quiet };
    // Modes are given exactly everywhere; this is for the programs that we run.
    rustix::process::umask(Mode::from_raw_mode(0o022));
    let mut work = ask.method.prepare(&ask.method_words).map_err(Failure::early)?;
    work.check(site).map_err(Failure::early)?;
    let places = Places::of(site, ask);
    let mut making =
        Making { site, ask, places, undo: Undo::default(), left: Vec::new(), renamed: Vec::new() };
    match making.all(work.as_mut(), &mut quiet) {
        Ok(()) => {
            let Making { undo, places, .. } = making;
            undo.keep();
            quiet.note(&format!("guest {} is built in {}", ask.name, places.vdir.display()));
            Ok(())
        }
        Err(error) => {
            let Making { mut undo, mut left, renamed, .. } = making;
            let undone = if ask.keep {
                left.extend(undo.paths().map(Path::to_owned));
                undo.keep();
                TakenBack::default()
            } else {
                undo.take_back()
            };
            Err(Box::new(Failure { error, undone, left, renamed }))
        }
    }
}

struct Making<'a> {
    site: &'a Site,
    ask: &'a BuildAsk,
    places: Places,
    undo: Undo,
    left: Vec<PathBuf>,
    renamed: Vec<(PathBuf, PathBuf)>,
}

impl Making<'_> {
    fn all(&mut self, work: &mut dyn Work, output: &mut dyn Output) -> Result<()> {
        let _busy = self.lock(&self.site.layout.startup_lock_of(&self.ask.name), Wait::No)?;
        let devices = root::device_table(self.site, work.distribution())?;
        let fstab = self.fstab()?;
        self.check_bases(work.management())?;
        self.check_free(work.management())?;
        let config = self.claim(work.management(), output)?;
        let root = self.make_tree(output)?;
        if work.management() == Management::External {
            self.make_directory(&self.places.packages.clone(), 0o755)?;
        }
        let settings = &self.ask.settings;
        configuration::write(
            &config,
            &self.ask.name,
            settings,
            &self.places.links,
            work.management(),
            &fstab,
        )?;
        for index in configuration::interfaces_without_device(settings) {
            output.warn(&format!("no device given for interface {index}, assuming 'nodev'"));
        }
        let scratch = Scratch::make(self.site)?;
        let mut build = Build {
            site: self.site,
            name: &self.ask.name,
            root,
            config,
            settings,
            distribution: work.distribution().map(OsStr::to_owned),
            devices,
            scratch,
            output,
            debug: self.ask.debug,
        };
        build.fill(work)
    }

    fn fstab(&self) -> Result<Vec<u8>> {
        let file = Site::first_existing([self.site.layout.defaults.join("fstab")])
            .or_else(|| self.site.shipped("fstab"));
        Ok(file.map_or(Ok(None), |file| read_file(&file))?.unwrap_or_else(|| configuration::FSTAB.into()))
    }

    /// A directory that was named, by an option or a link in `.defaults`, must be there; the built-in ones are made, so that a fresh host needs no
    /// preparation.
    fn check_bases(&self, management: Management) -> Result<()> {
        let missing = |what, path: Option<PathBuf>| match path.filter(|path| !path.is_dir()) {
            Some(path) => Err(BuildError::BaseMissing { what, path }),
            None => Ok(()),
        };
        let moved = |link: &str| Some(self.site.layout.defaults.join(link)).filter(|path| exists(path));
        missing("guest root", self.ask.rootdir.clone().or_else(|| moved("vdirbase")))?;
        missing("cache", moved("cachebase"))?;
        if management == Management::External {
            missing("package", self.ask.pkgbase.clone().or_else(|| moved("apps/pkgmgmt/base")))?;
        }
        missing("configuration", self.ask.confdir.as_deref().and_then(Path::parent).map(Path::to_owned))
    }

    fn check_free(&mut self, management: Management) -> Result<()> {
        let mut there: Vec<PathBuf> = Vec::new();
        let is_empty = is_empty_root(&self.places.vdir)?;
        if !is_empty && !self.ask.into_existing {
            there.push(self.places.vdir.clone());
        }
        if exists(&self.places.confdir) {
            there.push(self.places.confdir.clone());
        }
        if management == Management::External && exists(&self.places.packages) {
            there.push(self.places.packages.clone());
        }
        if there.is_empty() || self.ask.force { Ok(()) } else { Err(BuildError::Exists(there)) }
    }

    /// Claims number and name in one go with respect to other builds: both are taken when the file `context` stands.
    fn claim(&mut self, management: Management, output: &mut dyn Output) -> Result<Root> {
        let _claiming = self.lock(&self.site.layout.lockdir.join("build"), Wait::Yes)?;
        let xid = context::choose(self.site, self.ask.settings.context, &self.places.confdir)?;
        if self.ask.force {
            self.rename_old(management, output)?;
        }
        make_parents(&self.places.confdir.clone(), 0o755)?;
        self.make_directory(&self.places.confdir.clone(), 0o755)?;
        let config = Root::open(&self.places.confdir)?;
        if let Some(xid) = xid {
            configuration::write_context(&config, xid)?;
            if self.ask.settings.context.is_none() {
                output.note(&format!("context number {xid}"));
            }
            if !xid.is_recommended() && self.ask.settings.context.is_some() {
                let last = vserver_model::xid::LAST_RECOMMENDED;
                output.warn(&format!("context number {xid} is above {last}, the last recommended one"));
            }
        }
        Ok(config)
    }

    fn rename_old(&mut self, management: Management, output: &mut dyn Output) -> Result<()> {
        let mut old = vec![self.places.confdir.clone()];
        if !is_empty_root(&self.places.vdir)? && !self.ask.into_existing {
            old.push(self.places.vdir.clone());
        }
        if management == Management::External {
            old.push(self.places.packages.clone());
        }
        for path in old.into_iter().filter(|path| exists(path)) {
            let new = rename_aside(&path)?;
            output.note(&format!("renamed {} to {}", path.display(), new.display()));
            self.renamed.push((path, new));
        }
        Ok(())
    }

    fn make_tree(&mut self, output: &mut dyn Output) -> Result<Root> {
        let vdir = self.places.vdir.clone();
        // 0700: users of the host must not reach the programs in guests' trees, set-uid ones above all. This is what
        // the barrier attribute was for.
        make_parents(&vdir, 0o700)?;
        if exists(&vdir) {
            if is_empty_root(&vdir)? {
                self.undo.filled(&vdir);
            } else {
                // --i-know-its-there: we cannot know which files are ours.
                self.left.push(vdir.clone());
            }
        } else {
            self.make_directory(&vdir, 0o755)?;
        }
        if let Some(open) = vdir.parent().filter(|base| is_open_to_all(base)) {
            output.warn(&format!(
                "{} can be entered by all users of the host: chmod 700 keeps them from the guests' programs",
                open.display()
            ));
        }
        Ok(Root::open(vdir)?)
    }

    fn make_directory(&mut self, path: &Path, mode: u32) -> Result<()> {
        make_parents(path, 0o755)?;
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(BuildError::file("create the directory", path, Errno::INVAL));
        };
        // EEXIST means that somebody was quicker: then it is not ours to remove.
        let parent = Root::open(parent)?;
        if parent.make_directory(name, Mode::from_raw_mode(mode))? {
            self.undo.made(path);
            Ok(())
        } else {
            Err(BuildError::Exists(vec![path.to_owned()]))
        }
    }

    fn lock(&self, path: &Path, wait: Wait) -> Result<OwnedFd> {
        make_parents(path, 0o755)?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let lock = rustix::fs::openat(CWD, path, flags, Mode::from_raw_mode(0o600))
            .map_err(|e| BuildError::file("open the lock", path, e))?;
        let operation = match wait {
            Wait::Yes => FlockOperation::LockExclusive,
            Wait::No => FlockOperation::NonBlockingLockExclusive,
        };
        match rustix::fs::flock(&lock, operation) {
            Ok(()) => Ok(lock),
            Err(Errno::WOULDBLOCK) => Err(BuildError::Busy(self.ask.name.to_string())),
            Err(errno) => Err(BuildError::file("lock", path, errno)),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Wait {
    Yes,
    No,
}

impl Build<'_> {
    fn fill(&mut self, work: &mut dyn Work) -> Result<()> {
        let distribution = self.distribution.clone();
        let distribution = distribution.as_deref();
        root::make(&self.root, self.site, distribution, &self.devices)?;
        self.script(Moment::Before, work.mirror())?;
        self.site.check_interrupt()?;
        work.run(self)?;
        self.site.check_interrupt()?;
        if work.dev_after() == DevAfter::Fresh {
            root::renew_dev(&self.root, &self.devices)?;
        }
        identity::blank_machine_ids(&self.root)?;
        // The distribution's own program does the finishing if there is one; else it is ours.
        if !self.script(Moment::After, work.mirror())? {
            self.finish(work)?;
        }
        self.site.check_interrupt()
    }

    /// The built-in finishing of Debian's trees.
    fn finish(&mut self, work: &dyn Work) -> Result<()> {
        let suite = self.distribution.as_deref().unwrap_or_default().to_string_lossy();
        if work.finish() == Finish::ByName && !debian::is_name(&suite) {
            return Ok(());
        }
        let proxy = read_file(Path::new("/etc/apt/apt.conf"))?;
        // debootstrap leaves the host's name there.
        let name = self.name.to_string();
        let hostname =
            self.settings.hostname.as_deref().or_else(|| is_hostname(&name).then_some(name.as_str()));
        let facts = debian::Facts {
            suite: &suite,
            mirror: work.mirror(),
            hostname,
            lang: self.site.lang.as_deref(),
            proxy: proxy.as_deref(),
            plain: matches!(self.settings.initstyle, Some(InitStyle::Plain | InitStyle::Systemd)),
        };
        Ok(debian::finish(&self.root, &facts)?)
    }

    /// Runs the distribution's program; `false` when it has none.
    fn script(&mut self, moment: Moment, mirror: Option<&str>) -> Result<bool> {
        let distribution = self.distribution.as_deref();
        let Some(program) = script::find(self.site, distribution, moment) else { return Ok(false) };
        let variables =
            script::write_variables(self.site, &Root::open(self.scratch.path())?, self.root.path())?;
        script::run(self.site, &program, self.config.path(), &variables, distribution, mirror)?;
        Ok(true)
    }
}

/// Makes what is missing above a path; stays even if the build fails, other guests may be under way in it.
fn make_parents(path: &Path, mode: u32) -> Result<()> {
    let Some(parent) = path.parent().filter(|parent| !parent.is_dir()) else { return Ok(()) };
    make_parents(parent, 0o755)?;
    match std::fs::create_dir(parent) {
        Ok(()) => {
            use std::os::unix::fs::PermissionsExt as _;
            std::fs::set_permissions(parent, std::fs::Permissions::from_mode(mode))
                .map_err(|e| BuildError::file("set the mode of", parent, e))
        }
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(BuildError::file("create the directory", parent, error)),
    }
}

/// Whether a guest's name can be a host name: RFC 1123's letters, at most 63.
fn is_hostname(name: &str) -> bool {
    let good = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'));
    good && !name.is_empty() && name.len() <= 63 && !name.starts_with('-')
}

/// Whether a path is taken, by a dangling link too.
fn exists(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

/// Whether there is no tree: nothing, or a directory with nothing but `lost+found`.
fn is_empty_root(path: &Path) -> Result<bool> {
    if !exists(path) {
        return Ok(true);
    }
    if !path.is_dir() {
        return Ok(false);
    }
    Ok(Root::open(path)?.entries("")?.iter().all(|name| name == "lost+found"))
}

fn is_open_to_all(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    path.metadata().is_ok_and(|meta| meta.permissions().mode() & 0o001 != 0)
}

/// Renames to `PATH.~SECONDS~`, or with a counter behind the seconds when that is taken: `RENAME_NOREPLACE` makes
/// sure that a second build in the same second loses nothing.
fn rename_aside(path: &Path) -> Result<PathBuf> {
    let seconds = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    for attempt in 0..1000 {
        let mut new = path.as_os_str().to_owned();
        new.push(if attempt == 0 { format!(".~{seconds}~") } else { format!(".~{seconds}.{attempt}~") });
        let new = PathBuf::from(new);
        match rustix::fs::renameat_with(CWD, path, CWD, &new, rustix::fs::RenameFlags::NOREPLACE) {
            Ok(()) => return Ok(new),
            Err(Errno::EXIST) => {}
            Err(errno) => return Err(BuildError::file("rename", path, errno)),
        }
    }
    Err(BuildError::file("rename", path, Errno::EXIST))
}

/// Leaves notes out when the administrator wants quiet.
struct Quiet<'a> {
    output: &'a mut dyn Output,
    quiet: bool,
}

impl Output for Quiet<'_> {
    fn answer(&mut self, text: &str) {
        self.output.answer(text);
    }

    fn note(&mut self, text: &str) {
        if !self.quiet {
            self.output.note(text);
        }
    }

    fn warn(&mut self, text: &str) {
        self.output.warn(text);
    }

    fn fail(&mut self, text: &str) {
        self.output.fail(text);
    }

    fn is_terminal(&self) -> bool {
        !self.quiet && self.output.is_terminal()
    }
}
