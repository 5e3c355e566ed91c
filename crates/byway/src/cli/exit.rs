//! Exit: `byway proxy serve --listen ADDR`: the exit of a two-hop egress, which desks join.

use std::process::ExitCode;

use clap::Args;

use super::observe::ObserveArgs;
use super::{Common, refuse, run_node};
use crate::config::{self, ExitFlags, File};

/// Where links arrive, and where their streams may go.
#[derive(Args, Debug)]
pub(super) struct ExitArgs {
    /// Where links arrive, over QUIC (UDP) and TLS (TCP): 0.0.0.0:7443; port 0 takes any free one
    #[arg(long, value_name = "ADDR", required = true, alias = "from")]
    listen: Vec<String>,
    /// Opens a network or an address that is denied by default (loopback, private, …): 127.0.0.0/8,
    /// 10.0.0.5:443; :25 opens the port of mail delivery
    #[arg(long, value_name = "CIDR")]
    allow: Vec<String>,
    /// Denies a network, a host, a domain with a dot in front, or a port: 10.0.0.0/8, ads.example,
    /// .ads.example, :22
    #[arg(long, value_name = "TARGET")]
    deny: Vec<String>,
    /// The most that one stream may receive: 25MiB/s, 200Mbit/s
    #[arg(long, value_name = "RATE")]
    stream_limit: Option<String>,
    /// How others reach this machine, for the join string. Default: the address of --listen if it
    /// is a single one
    #[arg(long, value_name = "HOST:PORT")]
    advertise: Option<String>,
    #[command(flatten)]
    observe: ObserveArgs,
}

/// Serves until a stop signal.
pub(super) fn run(args: &ExitArgs, common: &Common) -> ExitCode {
    let file = File::for_exit(ExitFlags {
        listen: args.listen.clone(),
        allow: args.allow.clone(),
        deny: args.deny.clone(),
        stream_limit: args.stream_limit.clone(),
        advertise: args.advertise.clone(),
    });
    match config::from_flags(&file.observed(&args.observe.flags()), &common.state()) {
        Ok(plan) => run_node::serve(plan, None, common),
        Err(errors) => refuse(&errors),
    }
}
