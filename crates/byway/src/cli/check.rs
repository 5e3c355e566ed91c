//! Check: `byway check -c byway.toml`: says everything that is wrong, or prints what the file means.

use std::io::Write;
use std::process::ExitCode;

use super::run::RunArgs;
use super::{Common, refuse};
use crate::config::Effective;

/// Validates the file. The effective Plan goes to stdout, as TOML, secrets masked.
pub(super) fn run(args: &RunArgs, common: &Common) -> ExitCode {
    let path = args.path();
    match args.load(common) {
        Ok(plan) => {
            eprintln!("{} is valid", path.display());
            // A reader that closes early (head) has seen what it wanted.
            let _ = write!(std::io::stdout(), "{}", Effective(&plan));
            ExitCode::SUCCESS
        }
        Err(errors) => refuse(&errors),
    }
}
