//! Surroundings: what a Plan depends on besides its file.
//!
//! In:    the state folder, the folder of the file, the cores of the machine, the limit of
//!        descriptors, a way to read files with secrets.
//! Out:   the same, as one argument, so that `resolve` is a pure function of its arguments.
//! Never: read again once the Plan is made.

use std::fs;
use std::io::{self, Read};
use std::num::NonZeroUsize;
use std::path::Path;

use byway_dial::Target;
use byway_link::{Fingerprint, GrantId, GrantSecret, JoinString};

use super::kept_name::{NoName, kept_name};
use crate::os::descriptors;

/// What a Plan depends on besides its file.
#[derive(Clone, Copy)]
pub struct Surroundings<'s> {
    /// The folder for what outlives the process; `[spill]` goes there by default.
    pub state: &'s Path,
    /// Where relative paths of the file start.
    pub folder: &'s Path,
    /// The text of the file, for the lines that warnings name; empty without a file.
    pub text: &'s str,
    /// The default of `workers`.
    pub cores: NonZeroUsize,
    /// The most files and sockets that the process may have open; none if there is no limit.
    pub descriptors: Option<u64>,
    /// Reads a `password_file` or a `join_file`.
    pub read_file: &'s dyn Fn(&Path) -> io::Result<String>,
    /// The name that the state folder keeps for an HTTP service without one on the command line.
    pub name_service: &'s NameService,
}

/// See [`Surroundings::name_service`].
pub type NameService = dyn Fn(&Path, &JoinString, &Target) -> Result<String, NoName>;

/// A password or a join string is one line; this bounds what a wrong path such as `/dev/zero` can
/// cost.
const MOST_SECRET_FILE_BYTES: u64 = 64 * 1024;

impl<'s> Surroundings<'s> {
    /// This machine: its cores, its files, and the limit of descriptors, which is raised as far as
    /// allowed.
    pub fn here(state: &'s Path, folder: &'s Path) -> Self {
        let cores = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        let descriptors = descriptors::raise_limit();
        Self {
            state,
            folder,
            text: "",
            cores,
            descriptors,
            read_file: &read_secret_file,
            name_service: &kept_name,
        }
    }

    /// Nothing of this machine: one core, and a placeholder for the content of each file, another
    /// one for each path. For checking text whose author must not learn about this machine's files;
    /// such a Plan must not be served.
    pub fn without_files(state: &'s Path) -> Self {
        Self {
            state,
            folder: Path::new("/"),
            text: "",
            cores: NonZeroUsize::MIN,
            descriptors: None,
            read_file: &stand_in,
            name_service: &stand_in_name,
        }
    }
}

fn read_secret_file(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    fs::File::open(path)?
        .take(MOST_SECRET_FILE_BYTES)
        .read_to_string(&mut text)?;
    Ok(text)
}

/// The placeholder for a file that is not read: well-formed as a password and as a join string, and
/// another one for each path, because two join files hold two join strings.
fn stand_in(path: &Path) -> io::Result<String> {
    let pin = Fingerprint::of_spki(path.as_os_str().as_encoded_bytes());
    let [a, b, c, d, e, f, ..] = *pin.as_bytes();
    let address = "not-read.invalid:1".parse().map_err(io::Error::other)?;
    let (id, secret) = (
        GrantId::from_bytes([a, b, c, d, e, f]),
        GrantSecret::from_bytes([0; 24]),
    );
    Ok(JoinString {
        pin,
        id,
        secret,
        address,
    }
    .expose())
}

/// Reads no name from the state folder.
fn stand_in_name(_: &Path, _: &JoinString, _: &Target) -> Result<String, NoName> {
    Ok("stand-in".to_owned())
}
