//! Proxy: `byway proxy --listen ADDR`: a SOCKS and HTTP egress in one line, which dials by itself.

use std::process::ExitCode;

use clap::Args;

use super::{Common, refuse, serve};
use crate::config::{self, File, ProxyFlags};

/// Who may go out, and where to.
#[derive(Args, Debug)]
pub(super) struct ProxyArgs {
    /// Where to listen: 127.0.0.1:1080, unix:/run/x.sock; port 0 takes any free one. An address that others can reach
    /// asks for --user or --open-to-the-world
    #[arg(long, value_name = "ADDR", required = true)]
    listen: Vec<String>,
    /// Who may use it; may be given several times. Without any, everybody who can reach the address
    #[arg(long, value_name = "NAME:PASSWORD", env = "BYWAY_PROXY_USER", hide_env_values = true)]
    user: Vec<String>,
    /// Opens a network that is denied by default (loopback, private, …): 127.0.0.0/8, 10.0.0.0/8
    #[arg(long, value_name = "CIDR")]
    allow: Vec<String>,
    /// Denies a network
    #[arg(long, value_name = "CIDR")]
    deny: Vec<String>,
    /// The most that one stream may receive: 25MiB/s, 200Mbit/s
    #[arg(long, value_name = "RATE")]
    stream_limit: Option<String>,
    /// Serve everybody who can reach a public address, without a password
    #[arg(long)]
    open_to_the_world: bool,
}

/// Serves until a signal says stop.
pub(super) fn run(args: &ProxyArgs, common: &Common) -> ExitCode {
    let file = File::for_proxy(ProxyFlags {
        listen: args.listen.clone(),
        users: args.user.clone(),
        allow: args.allow.clone(),
        deny: args.deny.clone(),
        stream_limit: args.stream_limit.clone(),
        open_to_the_world: args.open_to_the_world,
        join: None,
        carrier: None,
    });
    match config::from_flags(&file, &common.state()) {
        Ok(plan) => serve::serve(plan, None, common),
        Err(errors) => refuse(&errors),
    }
}
