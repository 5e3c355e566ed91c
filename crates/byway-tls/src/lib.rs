//! TLS for servers: certificates by name, reload, session tickets, certificates from an ACME
//! authority, and a local authority.

#![forbid(unsafe_code)]

pub mod alpn;
pub mod quic;
