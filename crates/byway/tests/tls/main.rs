//! TLS: `https` listeners from end to end: the built program between real sockets, rustls, curl and
//! openssl.
//!
//! `site` certificates and clients · `serving` requests over TLS · `certificates` which one clients
//! get, and how it is replaced · `clients` client certificates · `sessions` tickets · `handshakes`
//! that fail · `proxying` the egress and exposed services · `upstreams` TLS towards them ·
//! `scans` what a scanner finds · `h3` HTTP/3 · `h3_hostile` its attackers.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod certificates;
mod clients;
mod h3;
mod h3_hostile;
mod handshakes;
mod proxying;
mod scans;
mod serving;
mod sessions;
mod site;
mod upstreams;

const BYWAY: &str = env!("CARGO_BIN_EXE_byway");
