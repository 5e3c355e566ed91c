//! Key: `byway key`: the id by which other nodes name this one in their messages and logs.

use std::process::ExitCode;

use byway_link::Key;

use super::{Common, terminal};

/// Prints the id, which is the beginning of the fingerprint, and the whole fingerprint. The private
/// half stays where it is.
pub(super) fn run(common: &Common) -> ExitCode {
    match Key::load_or_create(&common.state().join("key")) {
        Ok(key) => {
            let fingerprint = key.fingerprint();
            terminal::data(format_args!("{}  {fingerprint}\n", fingerprint.short()))
        }
        Err(error) => {
            terminal::error(error);
            ExitCode::FAILURE
        }
    }
}
