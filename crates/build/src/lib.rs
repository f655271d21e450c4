//! Building guests: `vserver NAME build -m METHOD …`.
//!
//! ```text
//! words ──ask──▶ BuildAsk ─┐
//! method's words ──prepare──▶ Work ─┐
//! host ──site──▶ Site ──────────────┴─build──▶ configuration + tree   (undo: all of it, on any failure)
//! ```
//!
//! Everything that can be known before something is created is checked first: values of options, the method's
//! sources and tools, base directories, names and numbers in use. From the first file on an [`undo::Undo`] knows what
//! was made; a failing step, SIGINT or SIGTERM takes away exactly that.
//!
//! The tree belongs to a guest and may be hostile (an archive, another guest's tree), so it is only touched below its
//! directory descriptor (`vserver_tree::Root`). Trees are stored with plain owners, 0 to 65535, whichever way the
//! guest is confined.
//!
//! | module | concern |
//! |---|---|
//! | [`ask`], [`options`], [`help`] | the command line |
//! | [`method`], [`methods`] | what a method is; one file each |
//! | [`site`] | the host's directories, and where a distribution's files are found |
//! | [`context`] | the context number |
//! | [`configuration`], [`root`], [`devs`] | what every build creates |
//! | [`archive`] | reading tar and cpio, extracting beneath a descriptor |
//! | [`child`], [`script`], [`fetch`], [`progress`] | programs of the host |
//! | [`cache`] | finished trees of debootstrap |
//! | [`debian`], [`identity`] | finishing a tree: services, ids, keys |
//! | [`transfer`] | whole guests in and out of archives |
//! | [`build`], [`undo`], [`interrupt`] | the order of it all, and back |

pub mod archive;
pub mod ask;
pub mod build;
pub mod cache;
pub mod child;
pub mod configuration;
pub mod context;
pub mod debian;
pub mod devs;
pub mod error;
pub mod exclude;
pub mod fetch;
pub mod help;
pub mod identity;
pub mod interrupt;
pub mod method;
pub mod methods;
pub mod options;
pub mod output;
pub mod progress;
pub mod root;
pub mod script;
pub mod site;
pub mod transfer;
pub mod undo;

use std::error::Error as _;
use std::ffi::OsString;
use std::fmt::Write as _;

use vserver_model::{GuestName, Layout};

pub use build::Failure;
pub use error::BuildError;
pub use output::{Output, Streams};

use ask::Asked;
use interrupt::Interrupt;
use site::Site;

/// Does `vserver NAME build ARGV…` and gives the exit code: 0, 1 for a failure, 130 when it was interrupted.
///
/// `name` is the guest named before the verb, if there was one; `-n` in `argv` overrides it. SIGINT, SIGTERM and
/// SIGHUP are caught from here on. All words go through `output`, an error in the form of the house.
pub fn main(layout: &Layout, name: Option<GuestName>, argv: &[OsString], output: &mut dyn Output) -> u8 {
    let site = Site::from_environment(layout, Interrupt::on_signals());
    let asked_for = name.as_ref().map_or_else(String::new, |name| format!(" {name}"));
    let failure = match run(&site, name, argv, output) {
        Ok(()) => return 0,
        Err(failure) => failure,
    };
    output.fail(&report(&format!("vserver{asked_for} build"), &failure));
    failure.error.exit_code()
}

/// The same for a caller that prints failures itself: its site, and the failure as a value.
///
/// # Errors
/// [`Failure`]: why, and what became of the clean-up.
pub fn run(
    site: &Site,
    name: Option<GuestName>,
    argv: &[OsString],
    output: &mut dyn Output,
) -> Result<(), Box<Failure>> {
    let asked =
        default_words(site).and_then(|defaults| ask::read(name, &defaults, argv)).map_err(Failure::early)?;
    match asked {
        Asked::Help => output.answer(&help::text()),
        Asked::Version => {
            output.answer(concat!("vserver-build ", env!("CARGO_PKG_VERSION"), " -- builds guests"));
        }
        Asked::Build(ask) => return build::build(site, &ask, output),
    }
    Ok(())
}

/// The words of `.defaults/apps/build/options`, unless the environment has `NO_DEFAULT_OPTS`.
fn default_words(site: &Site) -> error::Result<Vec<OsString>> {
    if std::env::var_os("NO_DEFAULT_OPTS").is_some_and(|value| !value.is_empty()) {
        return Ok(Vec::new());
    }
    let file = site.layout.defaults.join("apps/build/options");
    Ok(site::read_file(&file)?.map(|content| ask::defaults_words(&content)).unwrap_or_default())
}

/// A failure in words: the error, its causes, a hint, what was undone.
pub fn report(command: &str, failure: &Failure) -> String {
    let mut text = format!("{command}: {}", failure.error);
    let mut cause = failure.error.source();
    while let Some(error) = cause {
        write!(text, "\n  because: {error}").expect("writing to a String cannot fail");
        cause = error.source();
    }
    if let Some(hint) = failure.error.hint() {
        write!(text, "\n  hint: {hint}").expect("writing to a String cannot fail");
    }
    for line in failure.notes() {
        write!(text, "\n  {line}").expect("writing to a String cannot fail");
    }
    text
}
