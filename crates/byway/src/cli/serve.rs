//! Serve: `byway serve --listen ADDR`: the public end of services that other nodes expose.

use std::process::ExitCode;

use clap::Args;

use super::authority::AuthorityArgs;
use super::certificates::CertificateArgs;
use super::observe::ObserveArgs;
use super::{Common, refuse, run_node};
use crate::config::{self, File, ServeFlags};

/// Where links and visitors arrive.
#[derive(Args, Debug)]
pub(super) struct ServeArgs {
    /// Where links arrive, over QUIC (UDP) and TLS (TCP): 0.0.0.0:7000; port 0 takes any free one
    #[arg(long, value_name = "ADDR", required = true, alias = "from")]
    listen: Vec<String>,
    /// Where visitors of HTTP services arrive: 0.0.0.0:80, unix:/run/x.sock; needs --domain
    #[arg(long, value_name = "ADDR")]
    http: Vec<String>,
    /// Where visitors of HTTP services arrive over TLS: 0.0.0.0:443; needs --domain. Without --cert,
    /// certificates are those of Let's Encrypt, to whose terms you agree by this: one for all
    /// services with --dns-command or --dns-server, else one for each service. Below localhost they
    /// are those of the local authority
    #[arg(long, value_name = "ADDR")]
    https: Vec<String>,
    /// HTTP services become NAME.DOMAIN; needs --http or --https
    #[arg(long, value_name = "DOMAIN")]
    domain: Option<String>,
    /// How others reach this machine, for the join string. Default: the domain, or the address of
    /// --listen if it is a single one
    #[arg(long, value_name = "HOST:PORT")]
    advertise: Option<String>,
    #[command(flatten)]
    certificates: CertificateArgs,
    #[command(flatten)]
    authority: AuthorityArgs,
    #[command(flatten)]
    observe: ObserveArgs,
}

/// Serves until a stop signal.
pub(super) fn run(args: &ServeArgs, common: &Common) -> ExitCode {
    let CertificateArgs { cert, key } = &args.certificates;
    let file = File::for_serve(ServeFlags {
        listen: args.listen.clone(),
        http: args.http.clone(),
        https: args.https.clone(),
        domain: args.domain.clone(),
        advertise: args.advertise.clone(),
        certificates: (cert.clone(), key.clone()),
        authority: args.authority.flags(),
    });
    if let Some(refused) = args.authority.unused_in(&file) {
        return refused;
    }
    match config::from_flags(&file.observed(&args.observe.flags()), &common.state()) {
        Ok(plan) => run_node::serve(plan, None, common),
        Err(errors) => refuse(&errors),
    }
}
