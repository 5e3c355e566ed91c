//! TLS for servers: certificates by name, reload, session tickets, certificates from an ACME
//! authority, and a local authority.

pub mod alpn;
mod certificate;
mod challenge;
mod name;
mod on_demand;
mod provider;
pub mod quic;
pub mod state_file;
mod store;
#[cfg(test)]
mod testing;
mod ticket;

pub use certificate::{Certificate, EXPIRES_SOON, InvalidCertificate, Warning};
pub use challenge::{ACME_TLS_1, ChallengeGuard, Challenges};
pub use on_demand::OnDemand;
pub use provider::provider;
pub use store::{CertificateStore, Change, Coverage, Entry, Provider, SourceId};
pub use ticket::{EPOCH, MOST_TICKET_BYTES, SecretError, TicketSecret, Ticketer};
