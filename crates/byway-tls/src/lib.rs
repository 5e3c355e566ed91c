//! TLS for servers: certificates by name, reload, session tickets, certificates from an ACME
//! authority, and a local authority.

pub mod acme;
pub mod alpn;
mod certificate;
mod challenge;
mod client_auth;
mod client_pattern;
mod local_authority;
mod name;
mod on_demand;
mod pem;
mod provider;
pub mod quic;
mod server;
pub mod state_file;
mod store;
#[cfg(test)]
mod testing;
mod ticket;
mod watch;

pub use byway_dial::TlsVersion;
pub use certificate::{Certificate, EXPIRES_SOON, InvalidCertificate, Warning};
pub use challenge::{ACME_TLS_1, ChallengeGuard, Challenges};
pub use client_auth::{ClientAuth, ClientIdentity, ClientRoots, InvalidClientRoots, MOST_NAMES};
pub use client_pattern::{BadClientPattern, ClientPattern};
pub use local_authority::{
    LEAF_LIFE, LOCAL_AUTHORITY_FILE, LocalAuthority, LocalAuthorityError, LocalCertificates,
    MOST_LOCAL_NAMES, MOST_OWN_NAMES,
};
pub use on_demand::OnDemand;
pub use pem::{CertificateFiles, FileError, MOST_FILE_BYTES, certificates, private_key};
pub use provider::provider;
pub use server::quic::H3;
pub use server::{Accepted, HandshakeError, ServerOptions, Session, SetupError, TlsServer};
pub use store::{CertificateStore, Change, Coverage, Entry, Provider, SourceId};
pub use ticket::{EPOCH, MOST_TICKET_BYTES, SecretError, TicketSecret, Ticketer};
pub use watch::{Failed, FileSource, Refreshed, WatchedFiles};
