//! Edge: `byway edge --listen ADDR|NAME --to ADDR [--to ADDR …]`: a reverse proxy in one line.

use std::process::ExitCode;

use clap::Args;

use super::authority::AuthorityArgs;
use super::certificates::CertificateArgs;
use super::observe::ObserveArgs;
use super::{Common, refuse, run_node};
use crate::config::{self, File, SiteFlags, SitePorts};

/// Where to listen and where to send requests.
#[derive(Args, Debug)]
pub(super) struct EdgeArgs {
    /// Where to listen: 127.0.0.1:8080, :8080 for every address, unix:/run/x.sock; port 0 takes any
    /// free one. With --cert it speaks HTTPS there. A name such as example.com, without a port:
    /// HTTPS on port 443 of all addresses, with a certificate of Let's Encrypt, to whose terms you
    /// agree by this, and redirects on port 80. localhost: the same on loopback, with a certificate
    /// of the local authority
    #[arg(long, value_name = "ADDR|NAME", required = true, alias = "from")]
    listen: Vec<String>,
    /// Upstreams, balanced round robin: a port of this machine such as 3000, HOST:PORT, HOST,
    /// https://name, unix:/run/app.sock
    #[arg(long, value_name = "UPSTREAM", required = true)]
    to: Vec<String>,
    /// Serve this name at the addresses of --listen, over HTTPS, as if it was a --listen itself
    #[arg(long, value_name = "NAME")]
    host: Vec<String>,
    /// HTTPS at the addresses of --listen, with a certificate of the local authority for localhost
    #[arg(long)]
    tls: bool,
    #[command(flatten)]
    certificates: CertificateArgs,
    #[command(flatten)]
    authority: AuthorityArgs,
    /// The port of names without one, for redirects and checks of the authority
    #[arg(long, value_name = "PORT", default_value_t = 80)]
    http_port: u16,
    /// The port of names without one
    #[arg(long, value_name = "PORT", default_value_t = 443)]
    https_port: u16,
    #[command(flatten)]
    observe: ObserveArgs,
}

/// Serves until a stop signal.
pub(super) fn run(args: &EdgeArgs, common: &Common) -> ExitCode {
    let CertificateArgs { cert, key } = &args.certificates;
    let file = File::for_site(SiteFlags {
        listen: args.listen.clone(),
        host: args.host.clone(),
        to: args.to.clone(),
        tls: args.tls,
        ports: SitePorts {
            http: args.http_port,
            https: args.https_port,
        },
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
