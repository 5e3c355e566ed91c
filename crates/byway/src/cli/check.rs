//! Check: `byway check -c byway.toml`: says everything that is wrong, or prints what the file means and warns of what it
//! can hardly be meant to mean.

use std::process::ExitCode;

use super::run::RunArgs;
use super::{Common, refuse, terminal};
use crate::config::{self, Effective};

/// Validates the file. The effective Plan goes to stdout, as TOML, secrets masked.
pub(super) fn run(args: &RunArgs, common: &Common) -> ExitCode {
    let path = args.path();
    match args.load(common) {
        Ok(plan) => {
            terminal::note(format_args!("{} is valid", path.display()));
            for warning in config::warnings(&plan).into_iter().chain(config::slash_warnings(&plan)) {
                terminal::note(format_args!("warning: {warning}"));
            }
            for lowered in &plan.descriptors.lowered {
                let weight = if lowered.written { "warning" } else { "note" };
                terminal::note(format_args!("{weight}: {lowered}"));
            }
            terminal::data(Effective(&plan))
        }
        Err(errors) => refuse(&errors),
    }
}
