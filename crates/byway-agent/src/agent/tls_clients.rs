//! TLS clients: those of an agent, by the versions of HTTP that they offer.
//!
//! Never: reads the system's roots before the first `https` request.

use super::builder::HTTP_1_1;
use super::error::BoxError;
use super::h2_session::H2;
use byway_dial::{ServerName, TlsClient, TlsOptions};
use std::sync::OnceLock;

/// The TLS clients of an agent. Each is created when it is needed first, since that reads the
/// system's roots from disk.
#[derive(Default)]
pub(crate) struct TlsClients {
    http1: OnceLock<TlsClient>,
    any: OnceLock<TlsClient>,
}

impl TlsClients {
    /// The client that offers HTTP/1.1, and HTTP/2 before it if `with_http2`.
    pub(crate) fn client(
        &self,
        options: &TlsOptions,
        with_http2: bool,
    ) -> Result<TlsClient, BoxError> {
        let place = if with_http2 { &self.any } else { &self.http1 };
        if let Some(client) = place.get() {
            return Ok(client.clone());
        }
        let mut options = options.clone();
        options.alpn = match with_http2 {
            true => vec![H2.to_vec(), HTTP_1_1.to_vec()],
            false => vec![HTTP_1_1.to_vec()],
        };
        let client = TlsClient::with_options(options)?;
        Ok(place.get_or_init(|| client).clone())
    }

    /// Forgets the sessions of an origin, so that the next handshake with it is a full one.
    pub(crate) fn forget(&self, name: &ServerName) {
        for client in [&self.http1, &self.any]
            .into_iter()
            .filter_map(OnceLock::get)
        {
            client.forget(name);
        }
    }
}
