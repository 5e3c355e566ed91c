//! Run: `byway run -c byway.toml`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::{Common, refuse, serve};
use crate::config;

/// The config file, by option or by place.
#[derive(Args, Debug)]
pub(super) struct RunArgs {
    /// The config file. Default: byway.toml
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The same, without -c
    #[arg(value_name = "FILE", conflicts_with = "config")]
    file: Option<PathBuf>,
}

impl RunArgs {
    /// The file that is meant.
    pub(super) fn path(&self) -> PathBuf {
        self.config.clone().or_else(|| self.file.clone()).unwrap_or_else(|| "byway.toml".into())
    }
}

/// Serves what the file says; reads it again at SIGHUP.
pub(super) fn run(args: &RunArgs, common: &Common) -> ExitCode {
    let path = args.path();
    match config::load(&path, &common.state()) {
        Ok(plan) => serve::serve(plan, Some(path), common),
        Err(errors) => refuse(&errors),
    }
}
