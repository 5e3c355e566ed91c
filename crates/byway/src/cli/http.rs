//! Http: `byway http TARGET --join STRING`: exposes an HTTP service of this machine through another
//! node.

use std::process::ExitCode;

use clap::Args;

use super::expose::{self, ExposeArgs};
use super::{Common, EXIT_CONFIG, terminal};
use crate::config::ExposedFlags;

/// What to expose, and under which name.
#[derive(Args, Debug)]
pub(super) struct HttpArgs {
    #[command(flatten)]
    expose: ExposeArgs,
    /// Its name: the label in front of the other node's domain. Default: a random one, which the
    /// state folder keeps for this target and join string
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// The Host that the service sees: keep (the public name), upstream (the target's own, for dev
    /// servers that check it), or a name such as app.test. Default: keep
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// Accepted only so that its error can name the right command.
    #[arg(long, hide = true, value_name = "PORT")]
    port: Option<String>,
}

/// Serves until a stop signal.
pub(super) fn run(args: &HttpArgs, common: &Common) -> ExitCode {
    if args.port.is_some() {
        terminal::error(
            "`--port` belongs to `byway tcp`: visitors reach an HTTP service by its name, see `--name`",
        );
        return ExitCode::from(EXIT_CONFIG);
    }
    expose::run(
        ExposedFlags::Http {
            name: args.name.clone(),
            host: args.host.clone(),
        },
        &args.expose,
        common,
    )
}
