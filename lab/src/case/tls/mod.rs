//! Tls: the questions about TLS, HTTP/2 and HTTP/3 at the edge.
//!
//! `throughput` compares the work of a CPU-second, `handshakes` new connections, `idle` the memory
//! of connections. In all of them every program has the same certificate (P-256), and the generator
//! offers one version (TLS 1.3), one cipher (AES-128-GCM) and one group (X25519), unless the
//! question says otherwise.

mod handshakes;
mod idle;
mod throughput;

use anyhow::Result;

use super::proxy_rows::OURS;
use super::roles::Roles;
use crate::byway::Byway;
use crate::environment::RunEnvironment;
use crate::load::reach::Reach;
use crate::load::tls::{Groups, TlsClient};
use crate::peers::Logs;
use crate::peers::front::{Edge, Front};

pub(super) use handshakes::run as handshakes;
pub(super) use idle::{h2 as h2_idle, tls as tls_idle};
pub(super) use throughput::{TlsKind, run as throughput};

/// The protocol that a client offers by ALPN.
const HTTP1: &[u8] = b"http/1.1";
const HTTP2: &[u8] = b"h2";
const HTTP3: &[u8] = b"h3";

/// A client for the certificate of the run.
fn client(env: &RunEnvironment, groups: Groups, protocol: &'static [u8]) -> Result<TlsClient> {
    TlsClient::new(&env.site()?.read()?, groups, protocol)
}

/// Byway alone, as this edge.
async fn begin(env: &RunEnvironment, edge: &Edge) -> Result<Roles> {
    let rows = |byway: &Byway| {
        let address = match edge.front {
            Front::Plain | Front::H2c => Some(byway.edge),
            Front::Tls(_) => byway.https,
            Front::Quic(_) => byway.https.filter(|_| byway.http3),
        };
        let row = address.map(|address| (OURS, Reach::Plain(address)));
        row.into_iter().collect()
    };
    Roles::begin_secure(env, Logs::On, edge, rows).await
}
