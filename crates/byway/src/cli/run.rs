//! Run: `byway run -c byway.toml`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::{Common, refuse, serve};
use crate::config;

/// The config file.
#[derive(Args, Debug)]
pub(super) struct RunArgs {
    /// The config file
    #[arg(short, long, value_name = "FILE", default_value = "byway.toml")]
    pub(super) config: PathBuf,
}

/// Serves what the file says; reads it again at SIGHUP.
pub(super) fn run(args: &RunArgs, common: &Common) -> ExitCode {
    match config::load(&args.config, &common.state()) {
        Ok(plan) => serve::serve(plan, Some(args.config.clone()), common),
        Err(errors) => refuse(&errors),
    }
}
