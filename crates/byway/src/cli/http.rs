//! Http: `byway http TARGET --name NAME --join STRING`: exposes an HTTP service of this machine through another node.

use std::process::ExitCode;

use clap::Args;

use super::Common;
use super::expose::{self, ExposeArgs};
use crate::config::ExposedFlags;

/// What, and under which name.
#[derive(Args, Debug)]
pub(super) struct HttpArgs {
    #[command(flatten)]
    expose: ExposeArgs,
    /// Its name: the label in front of the other node's domain
    #[arg(long, value_name = "NAME")]
    name: String,
}

/// Serves until a signal says stop.
pub(super) fn run(args: &HttpArgs, common: &Common) -> ExitCode {
    expose::run(ExposedFlags::Http { name: args.name.clone() }, &args.expose, common)
}
