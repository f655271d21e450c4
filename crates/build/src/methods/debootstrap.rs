//! `debootstrap`: a Debian or Ubuntu system from its archive, or from the cache of an earlier build.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest as _, Sha256};
use vserver_kernel::mount::{self, Recursion};
use vserver_kernel::ns::{self, Namespaces};
use vserver_tree::Root;
use vserver_tree::device::DevicePolicy;

use crate::archive::extract::{Options, extract};
use crate::archive::{ArchiveError, Fault, ar};
use crate::build::Build;
use crate::cache::{Cache, Key, NO_STAMP, hexadecimal};
use crate::child;
use crate::error::{BuildError, Result};
use crate::fetch::{self, Need};
use crate::identity;
use crate::method::{self, DEBUG, DISTRIBUTION, DevAfter, Finish, Management, Method, Tool, Work};
use crate::options::{OptionError, OptionSpec, Takes};
use crate::progress::Progress;
use crate::site::{Site, first_line};

/// Where packages come from when nobody says otherwise.
const DEFAULT_MIRROR: &str = "http://deb.debian.org/debian";
/// How much of debootstrap's own log we look at when it failed.
const LONGEST_LOG: u64 = 64 << 20;
/// How many lines of it an error shows.
const LOG_LINES: usize = 12;

/// The method.
#[derive(Debug)]
pub struct Debootstrap;

#[derive(Debug)]
struct Prepared {
    suite: String,
    /// `-m`.
    asked_mirror: Option<String>,
    /// Where packages come from, once the site is known.
    mirror: String,
    script: Option<PathBuf>,
    /// Options of the files, then those behind the second `--`.
    options: Vec<OsString>,
    use_cache: bool,
    debug: bool,
}

/// The debootstrap that is going to run.
#[derive(Debug)]
struct Program {
    path: PathBuf,
    /// `DEBOOTSTRAP_DIR` of one that is not installed.
    data: Option<PathBuf>,
    /// For the cache's key.
    version: String,
}

impl Method for Debootstrap {
    fn name(&self) -> &'static str {
        "debootstrap"
    }

    fn about(&self) -> &'static str {
        "Installs a Debian or Ubuntu suite. Options of debootstrap itself go behind a second '--'. The finished tree is \
         kept below /var/cache/vservers/build: the same build takes seconds the next time, as long as the mirror's \
         release file is the same. The mirror is that of -m, else of MIRROR in the environment, \
         .distributions/SUITE/debootstrap.mirror, .defaults/apps/debootstrap/mirror."
    }

    fn usage(&self) -> &'static str {
        "-d SUITE [-m MIRROR] [-s SCRIPT] [--no-cache] [-- DEBOOTSTRAP OPTION…]"
    }

    fn options(&self) -> &'static [OptionSpec] {
        static OPTIONS: [OptionSpec; 5] = [
            DISTRIBUTION,
            OptionSpec::short(b'm', Takes::Value("MIRROR"), "where packages come from"),
            OptionSpec::short(b's', Takes::Value("SCRIPT"), "debootstrap's script for the suite"),
            OptionSpec::long("no-cache", Takes::Nothing, "build from the archive, and renew the cached tree"),
            DEBUG,
        ];
        &OPTIONS
    }

    fn tools(&self) -> &'static [Tool] {
        &[
            Tool {
                program: "debootstrap",
                hint: "package debootstrap; fetched from .defaults/apps/debootstrap/uri when it is missing",
                optional: true,
            },
            Tool {
                program: "wget",
                hint: "package wget, for the mirror (or curl, for fetching debootstrap)",
                optional: true,
            },
        ]
    }

    fn prepare(&self, words: &[OsString]) -> Result<Box<dyn Work>> {
        let parsed = method::parse(words, self.options())?;
        let mut suite = None;
        let (mut asked_mirror, mut script, mut use_cache, mut debug) = (None, None, true, false);
        for given in parsed.given {
            match given.spec.typed().as_str() {
                "-d" => suite = Some(suite_name(given.into_value())?),
                "-m" => asked_mirror = Some(mirror_text(given.into_value())?),
                "-s" => {
                    let raw = given.into_value();
                    let path =
                        std::path::absolute(&raw).map_err(|e| BuildError::value("-s", raw, e, None))?;
                    script = Some(path);
                }
                "--no-cache" => use_cache = false,
                "--debug" => debug = true,
                _ => {}
            }
        }
        // A word that is no option would become debootstrap's suite.
        if let Some(word) = parsed.rest.first().filter(|word| !word.as_bytes().starts_with(b"-")) {
            return Err(OptionError::Unexpected(word.clone()).into());
        }
        let suite = suite.ok_or(BuildError::NoDistribution)?;
        let mirror = DEFAULT_MIRROR.to_owned();
        Ok(Box::new(Prepared { suite, asked_mirror, mirror, script, options: parsed.rest, use_cache, debug }))
    }
}

fn suite_name(raw: OsString) -> Result<String> {
    let text = raw.to_string_lossy().into_owned();
    let good = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._+-".contains(&byte));
    if good && !text.is_empty() && !text.starts_with(['-', '.']) {
        Ok(text)
    } else {
        Err(BuildError::value("-d", raw, "it is no name of a suite", Some("write a name such as bookworm")))
    }
}

fn mirror_text(raw: OsString) -> Result<String> {
    let hint = Some("write an address such as http://deb.debian.org/debian");
    let text =
        raw.into_string().map_err(|raw| BuildError::value("-m", raw, "it is not valid UTF-8", hint))?;
    let known = fetch::is_remote(&text)
        || text.starts_with("file:/")
        || text.starts_with('/')
        || text.starts_with("ssh:");
    if known && !text.bytes().any(|byte| byte <= b' ') {
        Ok(text)
    } else {
        Err(BuildError::value("-m", text, "it is no address of a mirror", hint))
    }
}

impl Work for Prepared {
    fn distribution(&self) -> Option<&OsStr> {
        Some(OsStr::new(&self.suite))
    }

    fn management(&self) -> Management {
        Management::Internal
    }

    fn dev_after(&self) -> DevAfter {
        DevAfter::Fresh
    }

    fn finish(&self) -> Finish {
        Finish::Debian
    }

    fn mirror(&self) -> Option<&str> {
        Some(&self.mirror)
    }

    fn check(&mut self, site: &Site) -> Result<()> {
        self.find_mirror(site)?;
        self.find_options(site)?;
        if self.script.is_none() {
            self.script = site.distribution_file(Some(OsStr::new(&self.suite)), "debootstrap.script");
        }
        match self.script.as_ref().filter(|script| !script.is_file()) {
            Some(script) => Err(BuildError::file("open the script", script, rustix::io::Errno::NOENT)),
            None => Ok(()),
        }
    }

    fn run(&mut self, build: &mut Build<'_>) -> Result<()> {
        let program = find_program(build)?;
        let key = self.key(&program);
        let cache = Cache::of(build.site);
        let stamp = self.stamp(build);
        if self.use_cache
            && let Some(cached) = cache.find(&key, stamp.as_deref())
        {
            let why = if stamp.is_some() { "" } else { " (the mirror does not answer)" };
            build.output.note(&format!(
                "using the tree that was built before, {}{why}; '-- --no-cache' builds anew",
                cached.path.display()
            ));
            match cache.restore(&cached, &build.root, build.site) {
                Ok(()) => return new_identity(build),
                Err(BuildError::Interrupted) => return Err(BuildError::Interrupted),
                Err(error) => {
                    build.output.warn(&format!("the cached tree cannot be used: {error}; building anew"));
                    for name in build.root.entries("")? {
                        build.root.remove_tree(&name)?;
                    }
                    crate::root::make(
                        &build.root,
                        build.site,
                        build.distribution.as_deref(),
                        &build.devices,
                    )?;
                }
            }
        }
        self.bootstrap(&program, build)?;
        identity::blank_machine_ids(&build.root)?;
        match cache.store(&key, stamp.as_deref().unwrap_or(NO_STAMP), &build.root, build.site) {
            Ok(()) => Ok(()),
            Err(BuildError::Interrupted) => Err(BuildError::Interrupted),
            // The guest is built; only the next one takes longer.
            Err(error) => {
                let source = std::error::Error::source(&error).map_or_else(String::new, |e| format!(": {e}"));
                build.output.warn(&format!("the tree is not kept for the next build: {error}{source}"));
                Ok(())
            }
        }
    }
}

impl Prepared {
    fn find_mirror(&mut self, site: &Site) -> Result<()> {
        if let Some(mirror) = self.asked_mirror.clone().or_else(|| site.mirror.clone()) {
            self.mirror = mirror;
            return Ok(());
        }
        let dist = |dir: &Path| dir.join(&self.suite).join("debootstrap.mirror");
        let local = dist(&site.layout.distributions);
        let default = site.layout.defaults.join("apps/debootstrap/mirror");
        let shared = site.layout.sharedirs.iter().map(|dir| dist(&dir.join("distributions")));
        let shipped = site.shipped("debootstrap.mirror");
        for file in [local, default].into_iter().chain(shared).chain(shipped) {
            if let Some(mirror) = first_line(&file)? {
                self.mirror = mirror;
                break;
            }
        }
        Ok(())
    }

    fn find_options(&mut self, site: &Site) -> Result<()> {
        let local = site.layout.distributions.join(&self.suite).join("debootstrap.options");
        let default = site.layout.defaults.join("apps/debootstrap/options");
        let line = match first_line(&local)? {
            Some(line) => Some(line),
            None => first_line(&default)?,
        };
        let mut words: Vec<OsString> =
            line.iter().flat_map(|line| line.split_whitespace()).map(OsString::from).collect();
        words.append(&mut self.options);
        self.options = words;
        Ok(())
    }

    /// Everything that the tree depends on and that can be known beforehand.
    fn key(&self, program: &Program) -> String {
        let mut key = Key::default().and("1").and(&self.suite).and(&self.mirror).and(&program.version);
        key = key.and(std::env::consts::ARCH);
        for option in &self.options {
            key = key.and(option.as_bytes());
            // A file that an option names (a tarball, a keyring, a hook) counts with its length and time.
            let value = option.as_bytes().split(|byte| *byte == b'=').next_back().unwrap_or_default();
            key = key.and(file_mark(Path::new(OsStr::from_bytes(value))));
        }
        key = key.and("script");
        if let Some(script) = &self.script {
            key = key.and(std::fs::read(script).unwrap_or_default());
        }
        key.digits()
    }

    /// A hash of the mirror's release file; `None` when it cannot be had.
    fn stamp(&self, build: &mut Build<'_>) -> Option<String> {
        let mirror = self.mirror.trim_end_matches('/');
        for file in ["InRelease", "Release"] {
            let uri = format!("{mirror}/dists/{}/{file}", self.suite);
            let path = match fetch::local_path(&uri) {
                Some(path) => path,
                None if fetch::is_remote(&uri) => {
                    let target = build.scratch.path().join(file);
                    let interrupt = &build.site.interrupt;
                    if fetch::fetch(build.site, &uri, &target, Need::Nice, interrupt).is_err() {
                        continue;
                    }
                    target
                }
                None => return None,
            };
            if let Ok(content) = std::fs::read(path)
                && !content.is_empty()
            {
                return Some(Key::default().and(content).digits());
            }
        }
        None
    }

    fn bootstrap(&self, program: &Program, build: &mut Build<'_>) -> Result<()> {
        // debootstrap makes its own /dev; ours comes back afterwards.
        build.root.remove_tree("dev")?;
        let before = outline(&build.root)?;
        let (log_path, mut log) = open_log(build)?;
        let mut command = child::clean(&program.path, &build.site.path);
        command.args(&self.options).arg(&self.suite).arg(build.root.path()).arg(&self.mirror);
        if let Some(script) = &self.script {
            command.arg(script);
        }
        if let Some(data) = &program.data {
            command.env("DEBOOTSTRAP_DIR", data);
        }
        command.env("MIRROR", &self.mirror).current_dir("/");
        build.output.note(&format!("building {} from {}", self.suite, self.mirror));
        let mut progress = Progress::new(build.output, self.debug || build.debug);
        let output = &mut *build.output;
        let interrupt = &build.site.interrupt;
        let ran = apart(&mut command, &mut |command| {
            child::capture(command, Some(&mut log), interrupt, &mut |line| progress.line(line, output))
        });
        progress.finish();
        let tail = ran.map_err(|error| with_own_log(error, build, &log_path))?;
        if outline(&build.root)? == before {
            return Err(BuildError::NothingBuilt { program: program.path.clone(), tail: tail.into_lines() });
        }
        // Downloaded packages are a third of the tree and of no more use.
        let archives = Path::new("var/cache/apt/archives");
        for name in build.root.entries(archives)? {
            if Path::new(&name).extension().is_some_and(|extension| extension == "deb") {
                build.root.remove_file(archives.join(name))?;
            }
        }
        Ok(())
    }
}

/// The names at the top of the tree and in `/etc`: enough to see whether anything came.
fn outline(root: &Root) -> Result<Vec<OsString>> {
    let mut names = root.entries("")?;
    names.retain(|name| name != "dev");
    names.extend(root.entries("etc")?);
    Ok(names)
}

/// Runs a program in mount and pid namespaces of its own: what it mounts is gone afterwards, what it starts is dead.
fn apart<T: Send>(
    command: &mut Command,
    run: &mut (dyn FnMut(&mut Command) -> Result<T> + Send),
) -> Result<T> {
    std::thread::scope(|scope| {
        // unshare(2) is about one thread: this one ends, and the namespaces with it.
        let thread = scope.spawn(|| {
            ns::unshare(Namespaces::MOUNT | Namespaces::PID)?;
            mount::make_private("/", Recursion::All)?;
            run(command)
        });
        thread.join().unwrap_or(Err(BuildError::Interrupted))
    })
}

/// debootstrap's error, with the end of its own log, which is in the tree that is about to go.
fn with_own_log(error: BuildError, build: &Build<'_>, log_path: &Path) -> BuildError {
    let BuildError::Failed { program, status, mut tail, .. } = error else { return error };
    let own = build.root.read("debootstrap/debootstrap.log", LONGEST_LOG).ok().flatten().unwrap_or_default();
    let own = String::from_utf8_lossy(&own);
    let lines: Vec<&str> = own.lines().filter(|line| !line.trim().is_empty()).collect();
    let last = &lines[lines.len().saturating_sub(LOG_LINES)..];
    tail.extend(last.iter().map(|line| format!("| {}", line.replace(|c: char| c.is_control(), "?"))));
    if let Ok(mut log) = std::fs::OpenOptions::new().append(true).open(log_path) {
        use std::io::Write as _;
        log.write_all(own.as_bytes()).ok();
    }
    let hint = Some(format!("the whole log is in {}", log_path.display()));
    BuildError::Failed { program, status, tail, hint }
}

/// The log of the last build of this guest, in the cache.
fn open_log(build: &Build<'_>) -> Result<(PathBuf, File)> {
    let dir = build.site.layout.cachebase.join("build/log");
    std::fs::create_dir_all(&dir).map_err(|e| BuildError::file("create the directory", &dir, e))?;
    let path = dir.join(build.name).with_added_extension("log");
    std::fs::remove_file(&path).ok();
    let file = std::fs::OpenOptions::new().append(true).create_new(true).mode(0o600).open(&path);
    Ok((path.clone(), file.map_err(|e| BuildError::file("create", &path, e))?))
}

fn file_mark(path: &Path) -> String {
    use std::os::unix::fs::MetadataExt as _;
    if !path.is_absolute() {
        return String::new();
    }
    path.metadata().map_or_else(|_| String::new(), |meta| format!("{} {}", meta.len(), meta.mtime()))
}

/// The installed debootstrap, or one that is fetched for this build.
fn find_program(build: &mut Build<'_>) -> Result<Program> {
    if let Some(path) = build.site.program("debootstrap") {
        let mut command = child::clean(&path, &build.site.path);
        let version = child::output_of(command.arg("--version"))?;
        return Ok(Program {
            path,
            data: None,
            version: String::from_utf8_lossy(&version).trim().to_owned(),
        });
    }
    let file = build.site.layout.defaults.join("apps/debootstrap/uri");
    let hint = format!("install the package debootstrap, or put its current address into {}", file.display());
    let line = match first_line(&file)? {
        Some(line) => Some(line),
        None => build.site.shipped("debootstrap.uri").map_or(Ok(None), |file| first_line(&file))?,
    };
    let line = line.ok_or_else(|| BuildError::NoTool {
        program: "debootstrap",
        hint: "install the package debootstrap, or put its address into .defaults/apps/debootstrap/uri",
    })?;
    // A second word is the file's SHA-256: nothing else protects what comes over http.
    let (uri, sum) =
        line.split_once([' ', '\t']).map_or((line.as_str(), None), |(uri, sum)| (uri, Some(sum.trim())));
    let wrong = |reason: &str| BuildError::Fetch {
        uri: uri.to_owned(),
        reason: reason.to_owned(),
        hint: hint.clone(),
    };
    let package = match fetch::local_path(uri) {
        Some(path) => path,
        None if fetch::is_remote(uri) => {
            build.output.note(&format!("fetching debootstrap from {uri}"));
            let target = build.scratch.path().join("debootstrap.deb");
            let interrupt = &build.site.interrupt;
            match fetch::fetch(build.site, uri, &target, Need::Must, interrupt) {
                Ok(()) => {}
                Err(BuildError::Failed { tail, .. }) => return Err(wrong(&format!(": {}", tail.join("; ")))),
                Err(error) => return Err(error),
            }
            if sum.is_none() && !uri.starts_with("https://") {
                build
                    .output
                    .warn("debootstrap came without a signature; a SHA-256 behind its address is checked");
            }
            target
        }
        None => return Err(wrong(": only /path, file://, http://, https:// and ftp:// are known")),
    };
    let content = std::fs::read(&package).map_err(|e| wrong(&format!(": {e}")))?;
    let digits = hexadecimal(&Sha256::digest(&content));
    if sum.is_some_and(|sum| !sum.eq_ignore_ascii_case(&digits)) {
        return Err(wrong(&format!(": its SHA-256 is {digits}")));
    }
    unpack_program(build, &package, content, digits)
}

/// Unpacks the Debian package and makes its debootstrap ready to run from there.
fn unpack_program(build: &Build<'_>, package: &Path, content: Vec<u8>, version: String) -> Result<Program> {
    let dir = build.scratch.path().join("debootstrap");
    let scratch = Root::open(build.scratch.path())?;
    scratch.make_directory("debootstrap", rustix::fs::Mode::RWXU)?;
    let mut input = std::io::Cursor::new(content);
    let find = ar::find(&mut input, &|name| name.starts_with("data.tar"));
    let (_, length) = find.map_err(|fault| ArchiveError::new(package, None, fault))?;
    let interrupt = build.site.interrupt.clone();
    let options = Options { devices: DevicePolicy::Harmless, stop: &|| interrupt.is_set() };
    let unpacked = Root::open(&dir)?;
    extract(Box::new(input.take(length)), package, &unpacked, &options)?;
    let data = dir.join("usr/share/debootstrap");
    let path = dir.join("usr/sbin/debootstrap");
    if !path.is_file() || !data.is_dir() {
        let fault = Fault::Corrupt("it is no package of debootstrap");
        return Err(ArchiveError::new(package, None, fault).into());
    }
    // Without dpkg on the host debootstrap asks this file for the architecture.
    let arch = format!("{}\n", architecture(std::env::consts::ARCH));
    unpacked.replace(
        "usr/share/debootstrap/arch",
        arch.as_bytes(),
        rustix::fs::Mode::from_raw_mode(0o644),
    )?;
    Ok(Program { path, data: Some(data), version })
}

/// Debian's word for a machine.
fn architecture(machine: &str) -> &str {
    match machine {
        "x86_64" => "amd64",
        "x86" | "i386" | "i486" | "i586" | "i686" | "athlon" => "i386",
        "aarch64" => "arm64",
        "arm" => "armhf",
        "powerpc64" => "ppc64el",
        other => other,
    }
}

/// A tree from the cache has no host keys and no certificate of its own: its own programs make them.
///
/// They run as root of the host, as the packages' scripts did when the tree was built from the same mirror.
fn new_identity(build: &mut Build<'_>) -> Result<()> {
    let root = &build.root;
    let mut commands: Vec<&[&str]> = Vec::new();
    if root.is_file("etc/ssh/sshd_config")? && root.is_file("usr/bin/ssh-keygen")? {
        commands.push(&["/usr/bin/ssh-keygen", "-A"]);
    }
    if root.is_file("usr/sbin/make-ssl-cert")? {
        commands.push(&["/usr/sbin/make-ssl-cert", "generate-default-snakeoil", "--force-overwrite"]);
    }
    // ssh-keygen needs random numbers from a device.
    crate::root::renew_dev(root, &build.devices)?;
    if commands.iter().any(|words| words[0].contains("ssh-keygen"))
        && !identity::ssh_host_keys(root)?.is_empty()
    {
        return Ok(());
    }
    let Some(chroot) = build.site.system_program("chroot") else { return Ok(()) };
    for words in commands {
        let mut command = child::clean(&chroot, OsStr::new("/usr/sbin:/usr/bin:/sbin:/bin"));
        command.arg(build.root.path()).args(words).current_dir("/");
        let interrupt = &build.site.interrupt;
        apart(&mut command, &mut |command| child::capture(command, None, interrupt, &mut |_| {}))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prepare(words: &str) -> Result<Box<dyn Work>> {
        let words: Vec<OsString> = words.split_whitespace().map(OsString::from).collect();
        Debootstrap.prepare(&words)
    }

    #[test]
    fn words() {
        let work = prepare("-d bookworm -m http://m/debian -- --arch i386").unwrap();
        assert_eq!(work.distribution(), Some(OsStr::new("bookworm")));
        assert!(matches!(prepare("-m http://m"), Err(BuildError::NoDistribution)));
        for bad in [
            "-d ../etc",
            "-d --help",
            "-d bookworm -m nowhere",
            "-d bookworm extra",
            "-d bookworm --machine i686",
        ] {
            assert!(prepare(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_key_is_that_of_the_same_build_only() {
        let program = |version: &str| Program { path: "x".into(), data: None, version: version.to_owned() };
        let prepared = |suite: &str, options: &[&str]| Prepared {
            suite: suite.to_owned(),
            asked_mirror: None,
            mirror: DEFAULT_MIRROR.to_owned(),
            script: None,
            options: options.iter().map(OsString::from).collect(),
            use_cache: true,
            debug: false,
        };
        let key = prepared("bookworm", &["--arch=i386"]).key(&program("1"));
        assert_eq!(key, prepared("bookworm", &["--arch=i386"]).key(&program("1")));
        assert_ne!(key, prepared("trixie", &["--arch=i386"]).key(&program("1")));
        assert_ne!(key, prepared("bookworm", &["--arch=amd64"]).key(&program("1")));
        assert_ne!(key, prepared("bookworm", &["--arch=i386"]).key(&program("2")));
        let file = tempfile::NamedTempFile::new().unwrap();
        let option = format!("--unpack-tarball={}", file.path().display());
        let before = prepared("bookworm", &[&option]).key(&program("1"));
        std::fs::write(file.path(), "longer").unwrap();
        assert_ne!(before, prepared("bookworm", &[&option]).key(&program("1")));
    }

    #[test]
    fn architectures() {
        assert_eq!(architecture("x86_64"), "amd64");
        assert_eq!(architecture("i686"), "i386");
        assert_eq!(architecture("aarch64"), "arm64");
    }
}
