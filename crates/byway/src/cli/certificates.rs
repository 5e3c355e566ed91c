//! Certificates: the flags `--cert` and `--key` of verbs that serve HTTPS.

use clap::Args;

/// Certificates in files.
#[derive(Args, Debug)]
pub(super) struct CertificateArgs {
    /// A certificate in PEM, with its chain. May be given several times: clients get the one for the
    /// name that they ask for, or the first
    #[arg(long, value_name = "FILE")]
    pub(super) cert: Vec<String>,
    /// Its key in PEM. Default: in the file of --cert
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub(super) key: Vec<String>,
}
