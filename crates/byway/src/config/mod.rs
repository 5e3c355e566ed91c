//! Config: from a config file or flags to a Plan.
//!
//! In:    a `byway.toml`, or the flags of a verb that needs no file.
//! Out:   a [`Plan`] with nothing missing, or every error at once with file, line, column and
//!        caret.
//! Never: serves anything, or ends the program: the caller maps errors to exit code 2.
//!
//! [`File`] is a config as written: everything optional, every value with its [`Place`].
//! [`resolve()`] makes a [`Plan`] of it. [`Diff`] lists what a reload changes, [`Effective`] prints
//! a Plan as a commented file.

mod acme_plan;
mod authority_flags;
mod bind;
mod commented;
mod diagnostic;
mod diff;
mod effective;
mod errors;
mod flags;
mod hints;
mod host_index;
mod host_pattern;
mod kept_name;
mod link_flags;
mod link_plan;
mod login;
mod mask;
mod misread;
mod nearest;
mod observe_flags;
mod pattern;
mod place;
mod plan;
mod reader;
mod reference;
mod resolve;
mod rule_warnings;
mod schema;
mod secret;
mod section;
mod site_flags;
mod slashes;
mod statuses;
mod surroundings;
mod table;
#[cfg(test)]
mod tests;
mod tls_plan;
mod units;
mod warnings;

use std::fs;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

pub use acme_plan::{AcmePlan, DEFAULT_DIRECTORY, DnsPlan};
pub use authority_flags::AuthorityFlags;
pub use bind::{BadBind, BadSocketPath, Bind};
pub use commented::commented;
pub use diagnostic::{Diagnostic, LineColumn};
pub use diff::{Changes, Diff, RouteKey};
pub use effective::Effective;
pub use errors::ConfigErrors;
pub use flags::ProxyFlags;
pub use host_pattern::{BadHostPattern, HostPattern};
pub use link_flags::{ExitFlags, ExposeFlags, ExposedFlags, JoinFlag, ServeFlags};
pub use link_plan::{
    Advertise, AdvertisedHost, JoinPlan, LinkPlan, Serves, ServiceKind, ServicePlan,
};
#[cfg(test)]
pub use login::hashed;
pub use login::{LoginDigest, MOST_CREDENTIAL_BYTES, UserPlan};
pub use observe_flags::ObserveFlags;
pub use place::{At, Place, Text};
pub use plan::{
    DescriptorsPlan, EdgePlan, EgressPlan, ForwardPlan, FrontendKind, FrontendPlan, ListenerKey,
    ListenerPlan, Lowered, LoweredBy, ParentPlan, Plan, Role, RoleKind, RouteId, RoutePlan, Rule,
    RuleAction, StartSettings, Transport, UpstreamPlan,
};
pub use reference::reference;
pub use resolve::resolve;
pub use schema::schema;
pub use secret::Secret;
pub use section::*;
pub use site_flags::{SiteFlags, SitePorts};
pub use slashes::slash_warnings;
pub use statuses::Statuses;
pub use surroundings::{NameService, Surroundings};
pub use tls_plan::{CertificatePlan, ClientCertificatesPlan, TlsPlan, UpstreamTlsPlan};
pub use units::{BadQuantity, ByteSize, Period, Rate, UnitKind};
pub use warnings::warnings;

/// A config of a million routes fits. Bounds the memory for a file that is not a config.
const MOST_FILE_BYTES: u64 = 64 * 1024 * 1024;

/// The Plan of the file at `path`, with `state` as the folder for what outlives the process.
///
/// # Errors
/// The file cannot be read (one error), or everything that is wrong in it.
pub fn load(path: &Path, state: &Path) -> Result<Plan, ConfigErrors> {
    load_with(path, state, &ObserveFlags::default())
}

/// As [`load`], with flags that override the file.
///
/// # Errors
/// As [`load`], and what is wrong with the flags.
pub fn load_with(path: &Path, state: &Path, flags: &ObserveFlags) -> Result<Plan, ConfigErrors> {
    let name = path.display().to_string();
    let text = read_config(path).map_err(|(is_missing, message)| {
        let diagnostic = Diagnostic::new(&Place::Whole, message);
        let help = "name the file with -c FILE; `byway init` writes one, and `byway edge --listen :8080 --to 3000` and \
                    `byway proxy --listen 127.0.0.1:1080` need none";
        ConfigErrors::unreadable(&name, if is_missing { diagnostic.help(help) } else { diagnostic })
    })?;
    let folder = absolute(path.parent().unwrap_or_else(|| Path::new("")));
    parse_under(&text, &name, &Surroundings::here(state, &folder), flags)
}

/// The Plan of `text`, called `name` in messages; relative paths in it start at the current folder.
///
/// # Errors
/// Everything that is wrong in it.
pub fn parse(text: &str, name: &str, state: &Path) -> Result<Plan, ConfigErrors> {
    parse_with(
        text,
        name,
        &Surroundings::here(state, &absolute(Path::new(""))),
    )
}

/// The Plan of `text` in the given surroundings; with [`Surroundings::without_files`] no file is
/// touched.
///
/// # Errors
/// Everything that is wrong in it. Errors about something missing are left out while an error of
/// form, such as a misspelt key, may be their cause.
pub fn parse_with(text: &str, name: &str, around: &Surroundings<'_>) -> Result<Plan, ConfigErrors> {
    parse_under(text, name, around, &ObserveFlags::default())
}

fn parse_under(
    text: &str,
    name: &str,
    around: &Surroundings<'_>,
    flags: &ObserveFlags,
) -> Result<Plan, ConfigErrors> {
    let errors = |diagnostics| ConfigErrors::new(name, text, diagnostics);
    let (file, mut diagnostics) = reader::read(text).map_err(errors)?;
    let around = Surroundings { text, ..*around };
    match resolve(&file.observed(flags), &around) {
        Ok(plan) if diagnostics.is_empty() => Ok(plan),
        Ok(_) => Err(errors(diagnostics)),
        Err(more) => {
            let misread = !diagnostics.is_empty();
            diagnostics.extend(
                more.into_iter()
                    .filter(|diagnostic| !(misread && diagnostic.absence)),
            );
            Err(errors(diagnostics))
        }
    }
}

/// The Plan of a [`File`] that was made of flags, with `state` as the folder for what outlives the
/// process.
///
/// # Errors
/// Everything that is wrong in it, each with its flag.
pub fn from_flags(file: &File, state: &Path) -> Result<Plan, ConfigErrors> {
    let folder = absolute(Path::new(""));
    let around = Surroundings::here(state, &folder);
    resolve(file, &around)
        .map_err(|diagnostics| ConfigErrors::new("the command line", "", diagnostics))
}

/// Keeps paths in a Plan valid when the current folder changes. Without a current folder, relative
/// ones stay as they are.
fn absolute(folder: &Path) -> PathBuf {
    let folder = if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    };
    std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned())
}

/// The text; or whether the file is missing, and the message.
fn read_config(path: &Path) -> Result<String, (bool, String)> {
    let shown = path.display();
    let cannot = |error: std::io::Error| match error.kind() {
        ErrorKind::NotFound => (
            true,
            format!("there is no config file {shown} (No such file or directory)"),
        ),
        ErrorKind::IsADirectory => (
            false,
            format!("cannot read {shown}: it is a folder, not a config file"),
        ),
        ErrorKind::PermissionDenied => (
            false,
            format!("cannot read {shown}: this user has no permission (Permission denied)"),
        ),
        _ => (false, format!("cannot read {shown}: {error}")),
    };
    let mut bytes = Vec::new();
    fs::File::open(path)
        .map_err(cannot)?
        .take(MOST_FILE_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(cannot)?;
    if bytes.len() as u64 > MOST_FILE_BYTES {
        let message = format!(
            "{shown} is larger than {}: it cannot be a config file",
            ByteSize(MOST_FILE_BYTES)
        );
        return Err((false, message));
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        (
            false,
            format!("{shown} is not text: byte {at} is not UTF-8"),
        )
    })
}
