//! Ca: `byway ca show | install | new`: the local authority of this machine.
//!
//! Never: changes what the system or a browser trusts: it prints the commands.

use std::process::ExitCode;
use std::time::SystemTime;

use byway_tls::{LOCAL_AUTHORITY_FILE, LocalAuthority, LocalAuthorityError};
use clap::{Args, Subcommand};

use super::{Common, EXIT_CONFIG, examples, terminal};
use crate::calendar;

/// What to do with the local authority.
#[derive(Args, Debug)]
pub(super) struct CaArgs {
    #[command(subcommand)]
    verb: CaVerb,
}

#[derive(Debug, Subcommand)]
enum CaVerb {
    /// Print the root certificate, which clients have to trust, or what it is for
    #[command(after_help = examples::CA_SHOW)]
    Show(ShowArgs),
    /// Print how to trust it: Debian, Fedora, macOS, Firefox, Chrome, curl
    #[command(after_help = examples::CA_INSTALL)]
    Install,
    /// Replace it by one that may also sign these names and what is below them; clients have to
    /// trust it anew
    #[command(after_help = examples::CA_NEW)]
    New(NewArgs),
}

#[derive(Args, Debug)]
struct ShowArgs {
    /// The certificate alone, in PEM
    #[arg(long)]
    pem: bool,
}

#[derive(Args, Debug)]
struct NewArgs {
    /// A name such as dev.test
    #[arg(long, value_name = "NAME")]
    name: Vec<String>,
}

/// Prints to stdout. The authority is created if there is none.
pub(super) fn run(args: &CaArgs, common: &Common) -> ExitCode {
    let (state, now) = (common.state(), SystemTime::now());
    let opened = match &args.verb {
        CaVerb::New(new) => LocalAuthority::renew(&state, &new.name, now),
        _ => LocalAuthority::open(&state, now),
    };
    let authority = match opened {
        Ok(authority) => authority,
        Err(error @ (LocalAuthorityError::Name(_) | LocalAuthorityError::TooManyNames)) => {
            terminal::error(error);
            return ExitCode::from(EXIT_CONFIG);
        }
        Err(error) => {
            terminal::error(error);
            return ExitCode::FAILURE;
        }
    };
    let file = state.join(LOCAL_AUTHORITY_FILE);
    let text = match &args.verb {
        CaVerb::Show(ShowArgs { pem: true }) => authority.root_pem().to_owned(),
        CaVerb::Show(_) => about(&authority, &file),
        CaVerb::Install | CaVerb::New(_) => format!("{}\n{HOW_TO_TRUST}", about(&authority, &file)),
    };
    terminal::data(format_args!("{text}"))
}

fn about(authority: &LocalAuthority, file: &std::path::Path) -> String {
    format!(
        "local authority  {}\nfor              {} and names below\nvalid until      {}\nSHA-256          {}\n",
        file.display(),
        authority.permitted().join(", "),
        date(authority.not_after()),
        authority.fingerprint(),
    )
}

fn date(time: SystemTime) -> String {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    let days = since.unwrap_or_default().as_secs() / 86_400;
    let (year, month, day) = calendar::civil(days);
    format!("{year}-{month:02}-{day:02}")
}

/// One step for each kind of client.
const HOW_TO_TRUST: &str = "\
To trust it, on each machine whose clients should:

Debian, Ubuntu:
  byway ca show --pem | sudo tee /usr/local/share/ca-certificates/byway.crt
  sudo update-ca-certificates
Fedora, RHEL:
  byway ca show --pem | sudo tee /etc/pki/ca-trust/source/anchors/byway.pem
  sudo update-ca-trust
macOS:
  byway ca show --pem > byway.pem
  sudo security add-trusted-cert -d -r trustRoot -k /Library/Keychains/System.keychain byway.pem
Chrome and Chromium on Linux (certutil is in libnss3-tools):
  byway ca show --pem > byway.pem
  certutil -d sql:$HOME/.pki/nssdb -A -t C,, -n byway -i byway.pem
Firefox, in its profile folder:
  certutil -d sql:PROFILE -A -t C,, -n byway -i byway.pem
curl, for one command:
  byway ca show --pem > byway.pem && curl --cacert byway.pem https://localhost/
Node, for one process:
  NODE_EXTRA_CA_CERTS=byway.pem node app.js

It can sign the names above and no others, so its key is of no use for other sites.
";
