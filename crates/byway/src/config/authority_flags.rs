//! Authority flags: the flags that say which ACME authority issues certificates, and how.
//!
//! In:    the texts of flags of `byway edge` and `byway serve`.
//! Out:   an `[[acme]]` section that says the same.
//! Never: checks a value; `resolve` does.

use super::acme_plan::DEFAULT_DIRECTORY;
use super::flags::{flag, flags};
use super::place::{At, Place};
use super::section::{Acme, File};

/// Which authority issues certificates, and how it checks names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuthorityFlags {
    /// Where the authority writes to.
    pub email: Option<String>,
    /// Its directory, if not Let's Encrypt's.
    pub directory: Option<String>,
    /// The roots that are trusted for requests to it.
    pub ca: Option<String>,
    /// A program that sets DNS records.
    pub dns_command: Option<String>,
    /// A DNS server that takes updates.
    pub dns_server: Option<String>,
    /// The key that signs them.
    pub dns_key_file: Option<String>,
    /// The zone of the records.
    pub dns_zone: Option<String>,
}

impl AuthorityFlags {
    /// Whether DNS records can be set, which wildcards need.
    pub(super) fn sets_dns(&self) -> bool {
        self.dns_command.is_some() || self.dns_server.is_some()
    }

    /// Certificates for `names`, which the flag `by` has given; that flag is the agreement to the terms
    /// of the authority, as its help says. None for those that a caller adds otherwise.
    pub(super) fn section(self, by: &'static str, names: Vec<String>) -> At<Acme> {
        let text = |name, text: Option<String>| text.map(|text| flag(name, text));
        let directory = self.directory;
        let directory = directory.unwrap_or_else(|| DEFAULT_DIRECTORY.to_owned());
        let command = self.dns_command;
        let acme = Acme {
            names: (!names.is_empty()).then(|| flags(by, names)),
            agree: Some(At::new(true, Place::flag(by, ""))),
            directory: Some(flag("--acme-directory", directory)),
            email: text("--email", self.email),
            ca: text("--acme-ca", self.ca),
            dns_command: command.map(|program| flags("--dns-command", vec![program])),
            dns_server: text("--dns-server", self.dns_server),
            dns_key_file: text("--dns-key-file", self.dns_key_file),
            dns_zone: text("--dns-zone", self.dns_zone),
            ..Acme::default()
        };
        At::new(acme, Place::flag(by, ""))
    }
}

impl File {
    /// Whether it gets certificates of an ACME authority.
    pub fn has_authority(&self) -> bool {
        !self.acme.is_empty()
    }
}
