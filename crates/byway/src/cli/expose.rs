//! Expose: what `byway tcp` and `byway http` share: a local target, and a join string.

use std::process::ExitCode;

use clap::Args;

use super::join::JoinArgs;
use super::observe::ObserveArgs;
use super::{Common, EXIT_CONFIG, refuse, run_node, terminal};
use crate::config::{self, ExposeFlags, ExposedFlags, File};

/// What is exposed, and through which node.
#[derive(Args, Debug)]
pub(super) struct ExposeArgs {
    /// What is exposed: a port of this machine such as 3000, HOST:PORT, or unix:/run/x.sock
    #[arg(value_name = "TARGET")]
    target: String,
    /// The join string that `byway serve` prints; - reads it from standard input, as in a pipe
    /// without it. Other users of this machine can see it here: prefer --join-file or the variable
    /// BYWAY_JOIN
    #[arg(long, value_name = "STRING")]
    join: Option<String>,
    #[command(flatten)]
    link: JoinArgs,
    #[command(flatten)]
    observe: ObserveArgs,
}

/// Serves until a stop signal.
pub(super) fn run(service: ExposedFlags, args: &ExposeArgs, common: &Common) -> ExitCode {
    let join = match args.link.find("--join", args.join.as_deref()) {
        Ok(join) => join,
        Err(error) => {
            terminal::error(error);
            return ExitCode::from(EXIT_CONFIG);
        }
    };
    let file = File::for_expose(ExposeFlags {
        service,
        to: args.target.clone(),
        join,
        carrier: args.link.carrier(),
    });
    match config::from_flags(&file.observed(&args.observe.flags()), &common.state()) {
        Ok(plan) => run_node::serve(plan, None, common),
        Err(errors) => refuse(&errors),
    }
}
