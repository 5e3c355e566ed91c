//! TLS for servers: certificates by name, reload, session tickets, certificates from an ACME
//! authority, and a local authority.

pub mod alpn;
pub mod quic;
