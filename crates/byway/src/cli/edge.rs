//! Edge: `byway edge --from ADDR --to ADDR [--to ADDR …]`: a reverse proxy in one line.

use std::process::ExitCode;

use clap::Args;

use super::observe::ObserveArgs;
use super::{Common, refuse, serve};
use crate::config::{self, File};

/// Where from and where to.
#[derive(Args, Debug)]
pub(super) struct EdgeArgs {
    /// Where to listen: 127.0.0.1:8080, :8080 for every address, unix:/run/x.sock; port 0 takes any free one
    #[arg(long, value_name = "ADDR", required = true)]
    from: Vec<String>,
    /// Upstreams, balanced round robin: 127.0.0.1:3000, https://name:443, unix:/run/app.sock
    #[arg(long, value_name = "UPSTREAM", required = true)]
    to: Vec<String>,
    #[command(flatten)]
    observe: ObserveArgs,
}

/// Serves until a signal says stop.
pub(super) fn run(args: &EdgeArgs, common: &Common) -> ExitCode {
    let file = File::for_edge(args.from.clone(), args.to.clone());
    match config::from_flags(&file.observed(&args.observe.flags()), &common.state()) {
        Ok(plan) => serve::serve(plan, None, common),
        Err(errors) => refuse(&errors),
    }
}
