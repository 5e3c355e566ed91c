//! Authority: the flags of verbs that get certificates of an ACME authority.

use std::process::ExitCode;

use clap::Args;

use super::{EXIT_CONFIG, terminal};
use crate::config::{AuthorityFlags, File};

/// Which authority issues certificates, and how it checks names.
#[derive(Args, Debug)]
pub(super) struct AuthorityArgs {
    /// Where the authority writes to about certificates
    #[arg(long, value_name = "ADDRESS")]
    email: Option<String>,
    /// The directory of another authority
    #[arg(long, value_name = "URL")]
    acme_directory: Option<String>,
    /// Trust these root certificates for requests to that authority
    #[arg(long, value_name = "FILE", requires = "acme_directory")]
    acme_ca: Option<String>,
    /// A program that sets the DNS records by which the authority checks names; it gets `present` or
    /// `cleanup`, the name, and the value
    #[arg(long, value_name = "PROGRAM")]
    dns_command: Option<String>,
    /// A DNS server that takes updates (RFC 2136), for the same
    #[arg(long, value_name = "HOST:PORT", requires = "dns_key_file")]
    dns_server: Option<String>,
    /// The key that signs the updates, as tsig-keygen prints it
    #[arg(long, value_name = "FILE", requires = "dns_server")]
    dns_key_file: Option<String>,
    /// The zone of the records. Default: the server is asked
    #[arg(long, value_name = "ZONE", requires = "dns_server")]
    dns_zone: Option<String>,
}

impl AuthorityArgs {
    /// Refuses flags that have no effect: `file`, which was made of them, asks no authority.
    pub(super) fn unused_in(&self, file: &File) -> Option<ExitCode> {
        if self.flags() == AuthorityFlags::default() || file.has_authority() {
            return None;
        }
        terminal::error(
            "the flags about the authority of certificates have no effect: no certificate is requested for these names and \
             addresses. It is for names of HTTPS without --cert, except localhost",
        );
        Some(ExitCode::from(EXIT_CONFIG))
    }

    pub(super) fn flags(&self) -> AuthorityFlags {
        AuthorityFlags {
            email: self.email.clone(),
            directory: self.acme_directory.clone(),
            ca: self.acme_ca.clone(),
            dns_command: self.dns_command.clone(),
            dns_server: self.dns_server.clone(),
            dns_key_file: self.dns_key_file.clone(),
            dns_zone: self.dns_zone.clone(),
        }
    }
}
