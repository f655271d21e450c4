//! `template`: archives of a whole system, unpacked one over the other.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::path::PathBuf;

use vserver_tree::device::DevicePolicy;

use crate::archive::extract::{self, Options};
use crate::archive::{ArchiveError, Fault};
use crate::build::Build;
use crate::error::{BuildError, Result};
use crate::method::{self, DEBUG, DISTRIBUTION, DevAfter, Management, Method, PKGMGMT, Tool, Work};
use crate::options::{OptionSpec, Takes};
use crate::site::Site;

/// The method.
#[derive(Debug)]
pub struct Template;

#[derive(Debug, Default)]

struct Prepared {
    archives: Vec<PathBuf>,
    distribution: Option<OsString>,
    external: bool,
    keep_dev: bool,
    /// `.defaults/apps/h2ext/desc` is there.
    has_own_table: bool,
}

impl Method for Template {
    fn name(&self) -> &'static str {
        "template"
    }

    fn about(&self) -> &'static str {
        "Unpacks archives of a whole system in their order: tar or cpio, as they are or in gzip, bzip2, xz or zstd. \
         The distribution's own file 'template' comes first. Afterwards /dev is emptied and made anew, and device \
         nodes elsewhere are left out unless they are harmless."
    }

    fn usage(&self) -> &'static str {
        "(-t|--template ARCHIVE)… [-d DIST] [--pkgmgmt] [--nodevsanity]"
    }

    fn options(&self) -> &'static [OptionSpec] {
        static OPTIONS: [OptionSpec; 5] = [
            OptionSpec::both(b't', "template", Takes::Value("ARCHIVE"), "an archive; repeatable"),
            DISTRIBUTION,
            PKGMGMT,
            OptionSpec::long(
                "nodevsanity",
                Takes::Nothing,
                "keep /dev and all device nodes as they are in the archive",
            ),
            DEBUG,
        ];
        &OPTIONS
    }

    fn tools(&self) -> &'static [Tool] {
        &[]
    }

    fn prepare(&self, words: &[OsString]) -> Result<Box<dyn Work>> {
        let parsed = method::parse(words, self.options())?;
        method::no_more(&parsed.rest)?;
        let mut prepared = Prepared::default();
        for given in parsed.given {
            match given.spec.typed().as_str() {
                "--template" => {
                    let raw = given.into_value();
                    let path = std::path::absolute(&raw)
                        .map_err(|source| BuildError::value("--template", raw, source, None))?;
                    prepared.archives.push(path);
                }
                "-d" => prepared.distribution = Some(given.into_value()),
                "--pkgmgmt" => prepared.external = true,
                "--nodevsanity" => prepared.keep_dev = true,
                _ => {}
            }
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

    fn dev_after(&self) -> DevAfter {
        if self.keep_dev { DevAfter::Kept } else { DevAfter::Fresh }
    }

    fn check(&mut self, site: &Site) -> Result<()> {
        if let Some(first) = site.distribution_file(self.distribution.as_deref(), "template") {
            self.archives.insert(0, first);
        }
        if self.archives.is_empty() {
            return Err(BuildError::MethodNeeds {
                what: "an archive",
                hint: "name one after '--': -t ARCHIVE",
            });
        }
        let table = site.layout.defaults.join("apps/h2ext/desc");
        self.has_own_table = table.exists();
        // An archive that cannot be opened, or is none, must not cost a directory.
        for archive in &self.archives {
            let file = open(archive)?;
            crate::archive::detect::open(Box::new(file))
                .map_err(|fault| ArchiveError::new(archive, None, fault))?;
        }
        Ok(())
    }

    fn run(&mut self, build: &mut Build<'_>) -> Result<()> {
        if self.has_own_table {
            build.output.warn(
                "apps/h2ext/desc is not used: archives are recognised and unpacked by vserver itself, so that no \
                 member can be written outside the guest",
            );
        }
        let devices = if self.keep_dev { DevicePolicy::All } else { DevicePolicy::Harmless };
        for archive in &self.archives {
            build.output.note(&format!("unpacking {}", archive.display()));
            let interrupt = build.site.interrupt.clone();
            let options = Options { devices, stop: &|| interrupt.is_set() };
            match extract::extract(Box::new(open(archive)?), archive, &build.root, &options) {
                Ok(report) => report.warnings().iter().for_each(|warning| build.output.warn(warning)),
                Err(ArchiveError { fault: Fault::Interrupted, .. }) => return Err(BuildError::Interrupted),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

fn open(archive: &PathBuf) -> Result<File> {
    let wrong = |error| ArchiveError::new(archive, None, Fault::Open(error));
    let file = File::open(archive).map_err(wrong)?;
    if file.metadata().is_ok_and(|meta| meta.is_dir()) {
        return Err(wrong(rustix::io::Errno::ISDIR.into()).into());
    }
    Ok(file)
}
