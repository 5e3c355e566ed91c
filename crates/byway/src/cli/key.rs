//! Key: `byway key`: the id of this node in messages and logs of other nodes.

use std::process::ExitCode;

use byway_link::Key;

use super::{Common, terminal};

/// Prints the id, which is the beginning of the fingerprint, and the whole fingerprint. The private
/// key is not printed.
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
