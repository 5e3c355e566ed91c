//! Tcp: `byway tcp TARGET --join STRING`: exposes a TCP service of this machine through another
//! node.

use std::process::ExitCode;

use clap::Args;

use super::Common;
use super::expose::{self, ExposeArgs};
use crate::config::ExposedFlags;

/// What to expose, and at which port.
#[derive(Args, Debug)]
pub(super) struct TcpArgs {
    #[command(flatten)]
    expose: ExposeArgs,
    /// The public port. Default: a free one, which the other node keeps for this one
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// Its display name. Default: the target
    #[arg(long, value_name = "LABEL")]
    name: Option<String>,
}

/// Serves until a stop signal.
pub(super) fn run(args: &TcpArgs, common: &Common) -> ExitCode {
    expose::run(
        ExposedFlags::Tcp {
            name: args.name.clone(),
            port: args.port,
        },
        &args.expose,
        common,
    )
}
