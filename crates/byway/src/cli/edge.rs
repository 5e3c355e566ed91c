//! Edge: `byway edge --listen ADDR --to ADDR [--to ADDR …]`: a reverse proxy in one line.

use std::process::ExitCode;

use clap::Args;

use super::certificates::CertificateArgs;
use super::observe::ObserveArgs;
use super::{Common, refuse, run_node};
use crate::config::{self, File};

/// Where to listen and where to send requests.
#[derive(Args, Debug)]
pub(super) struct EdgeArgs {
    /// Where to listen: 127.0.0.1:8080, :8080 for every address, unix:/run/x.sock; port 0 takes any
    /// free one. With --cert it speaks HTTPS there
    #[arg(long, value_name = "ADDR", required = true, alias = "from")]
    listen: Vec<String>,
    /// Upstreams, balanced round robin: a port of this machine such as 3000, HOST:PORT, HOST,
    /// https://name, unix:/run/app.sock
    #[arg(long, value_name = "UPSTREAM", required = true)]
    to: Vec<String>,
    #[command(flatten)]
    certificates: CertificateArgs,
    #[command(flatten)]
    observe: ObserveArgs,
}

/// Serves until a stop signal.
pub(super) fn run(args: &EdgeArgs, common: &Common) -> ExitCode {
    let CertificateArgs { cert, key } = &args.certificates;
    let file = File::for_edge(args.listen.clone(), args.to.clone());
    let file = file.over_tls(cert.clone(), key.clone());
    match config::from_flags(&file.observed(&args.observe.flags()), &common.state()) {
        Ok(plan) => run_node::serve(plan, None, common),
        Err(errors) => refuse(&errors),
    }
}
