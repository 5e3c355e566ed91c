//! Desk: `byway proxy join STRING --listen ADDR`: a SOCKS and HTTP egress that goes out through
//! another node.

use std::process::ExitCode;

use clap::Args;

use super::join::JoinArgs;
use super::observe::ObserveArgs;
use super::{Common, EXIT_CONFIG, refuse, run_node, terminal};
use crate::config::{self, File, ProxyFlags};

/// Who may go out, and through which node.
#[derive(Args, Debug)]
pub(super) struct DeskArgs {
    /// The join string that `byway proxy serve` prints; - reads it from standard input, as in a
    /// pipe without it. Other users of this machine can see it here: prefer --join-file or the
    /// variable BYWAY_JOIN
    #[arg(value_name = "STRING")]
    join: Option<String>,
    /// The same, as `byway http` and `byway tcp` take it
    #[arg(long = "join", value_name = "STRING", conflicts_with = "join")]
    join_flag: Option<String>,
    #[command(flatten)]
    link: JoinArgs,
    /// Where to listen: 127.0.0.1:1081, unix:/run/x.sock; port 0 takes any free one. An address
    /// that other machines can reach requires --user or --open-to-the-world
    #[arg(long, value_name = "ADDR", required = true, alias = "from")]
    listen: Vec<String>,
    /// Who may use it; may be given several times. Default: every client that can reach the address
    #[arg(
        long,
        value_name = "NAME:PASSWORD",
        env = "BYWAY_PROXY_USER",
        hide_env_values = true
    )]
    user: Vec<String>,
    /// Serve every client that can reach a public address, without a password
    #[arg(long)]
    open_to_the_world: bool,
    #[command(flatten)]
    observe: ObserveArgs,
}

/// Serves until a stop signal.
pub(super) fn run(args: &DeskArgs, common: &Common) -> ExitCode {
    let (name, given) = match &args.join_flag {
        Some(given) => ("--join", Some(given.as_str())),
        None => ("byway proxy join STRING", args.join.as_deref()),
    };
    let join = match args.link.find(name, given) {
        Ok(join) => join,
        Err(error) => {
            terminal::error(error);
            return ExitCode::from(EXIT_CONFIG);
        }
    };
    let file = File::for_proxy(ProxyFlags {
        listen: args.listen.clone(),
        users: args.user.clone(),
        open_to_the_world: args.open_to_the_world,
        join: Some(join),
        carrier: args.link.carrier(),
        ..ProxyFlags::default()
    });
    match config::from_flags(&file.observed(&args.observe.flags()), &common.state()) {
        Ok(plan) => run_node::serve(plan, None, common),
        Err(errors) => refuse(&errors),
    }
}
