//! Run: `byway run -c byway.toml`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::observe::ObserveArgs;
use super::{Common, refuse, run_node};
use crate::config::{self, ConfigErrors, Plan};

/// The config file, as an option or an argument.
#[derive(Args, Clone, Debug)]
pub(super) struct RunArgs {
    /// The config file. Default: byway.toml
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The same, without -c
    #[arg(value_name = "FILE", conflicts_with = "config")]
    file: Option<PathBuf>,
    #[command(flatten)]
    observe: ObserveArgs,
}

impl RunArgs {
    /// The config file.
    pub(super) fn path(&self) -> PathBuf {
        self.config
            .clone()
            .or_else(|| self.file.clone())
            .unwrap_or_else(|| "byway.toml".into())
    }

    /// The Plan of that file, and of the flags beside it.
    pub(super) fn load(&self, common: &Common) -> Result<Plan, ConfigErrors> {
        config::load_with(&self.path(), &common.state(), &self.observe.flags())
    }
}

/// Logs probable mistakes in a valid file.
pub(super) fn warn(plan: &Plan) {
    let warnings = config::warnings(plan);
    for warning in warnings.iter().take(MOST_WARNINGS) {
        tracing::warn!("{warning}");
    }
    if let Some(left) = warnings.len().checked_sub(MOST_WARNINGS + 1) {
        tracing::warn!("{} more warnings: `byway check` lists all", left + 1);
    }
}

/// How many warnings about a config are logged.
const MOST_WARNINGS: usize = 50;

/// Serves the file; reads it again at SIGHUP.
pub(super) fn run(args: &RunArgs, common: &Common) -> ExitCode {
    match args.load(common) {
        Ok(plan) => {
            warn(&plan);
            run_node::serve(plan, Some(args.clone()), common)
        }
        Err(errors) => refuse(&errors),
    }
}
