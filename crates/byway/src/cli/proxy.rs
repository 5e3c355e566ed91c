//! Proxy: `byway proxy --listen ADDR`: a SOCKS and HTTP egress in one line, which dials targets
//! itself. With two nodes, `byway proxy serve` is the exit and `byway proxy join` the desk.

use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::certificates::CertificateArgs;
use super::desk::{self, DeskArgs};
use super::exit::{self, ExitArgs};
use super::observe::ObserveArgs;
use super::{Common, examples, refuse, run_node};
use crate::config::{self, File, ProxyFlags};

/// One node, or one of the two of a two-hop egress.
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct ProxyArgs {
    #[command(subcommand)]
    node: Option<TwoHop>,
    #[command(flatten)]
    alone: AloneArgs,
}

#[derive(Debug, Subcommand)]
enum TwoHop {
    /// The exit: desks join it, and it dials for them
    #[command(after_help = examples::EXIT)]
    Serve(ExitArgs),
    /// The desk: takes SOCKS and HTTP, and goes out through an exit
    #[command(after_help = examples::DESK)]
    Join(DeskArgs),
}

/// Who may go out, and where to.
#[derive(Args, Debug)]
struct AloneArgs {
    /// Where to listen: 127.0.0.1:1080, unix:/run/x.sock; port 0 takes any free one. An address
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
    /// Serve every client that can reach a public address, without a password
    #[arg(long)]
    open_to_the_world: bool,
    #[command(flatten)]
    certificates: CertificateArgs,
    #[command(flatten)]
    observe: ObserveArgs,
}

/// Serves until a stop signal.
pub(super) fn run(args: &ProxyArgs, common: &Common) -> ExitCode {
    match &args.node {
        None => run_alone(&args.alone, common),
        Some(TwoHop::Serve(args)) => exit::run(args, common),
        Some(TwoHop::Join(args)) => desk::run(args, common),
    }
}

fn run_alone(args: &AloneArgs, common: &Common) -> ExitCode {
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
    let CertificateArgs { cert, key } = &args.certificates;
    let file = file.over_tls(cert.clone(), key.clone());
    match config::from_flags(&file.observed(&args.observe.flags()), &common.state()) {
        Ok(plan) => run_node::serve(plan, None, common),
        Err(errors) => refuse(&errors),
    }
}
