//! UpstreamTls: what connections to upstreams share, over reloads.
//!
//! In:    the system's certificates; the options of a route.
//! Out:   the TLS client, whose session tickets outlive a Plan.
//! Never: reads the system's certificates before the first `https://` upstream is dialled, or
//!        resumes a session that was verified under other options.

use std::collections::HashMap;
use std::sync::OnceLock;

use byway_dial::{Roots, TlsClient};
use parking_lot::Mutex;

use crate::config::{Http2Mode, UpstreamTlsPlan};
use crate::fault::{Fault, Reason, Who};
use crate::tls::upstream_client;

/// What is offered to upstreams.
fn alpn(http2: Http2Mode) -> &'static [&'static [u8]] {
    match http2 {
        Http2Mode::Never => &[b"http/1.1"],
        Http2Mode::Always => &[b"h2"],
        Http2Mode::Auto => &[b"h2", b"http/1.1"],
    }
}

/// The TLS clients of connections to upstreams, with their session tickets. Each is created, and
/// its files are read, at the first use.
#[derive(Default)]
pub struct UpstreamTls {
    usual: [OnceLock<TlsClient>; 3],
    by_options: Mutex<HashMap<(UpstreamTlsPlan, Http2Mode), TlsClient>>,
}

impl UpstreamTls {
    /// The client of an upstream with these options, which offers the versions of HTTP that `http2`
    /// says.
    ///
    /// # Errors
    /// When the system's certificate store, or a file of the options, cannot be read.
    pub fn client(
        &self,
        options: Option<&UpstreamTlsPlan>,
        http2: Http2Mode,
    ) -> Result<TlsClient, Fault> {
        match options {
            None => self.usual(http2).cloned(),
            Some(options) => self.of(options, http2),
        }
    }

    fn usual(&self, http2: Http2Mode) -> Result<&TlsClient, Fault> {
        let [never, always, auto] = &self.usual;
        let usual = match http2 {
            Http2Mode::Never => never,
            Http2Mode::Always => always,
            Http2Mode::Auto => auto,
        };
        if let Some(tls) = usual.get() {
            return Ok(tls);
        }
        let made = TlsClient::new(Roots::Platform, alpn(http2)).map_err(|error| {
            let detail = format!("cannot read the system's certificates: {error}");
            Fault::new(Who::Us, Reason::Internal, detail)
        })?;
        Ok(usual.get_or_init(|| made))
    }

    fn of(&self, options: &UpstreamTlsPlan, http2: Http2Mode) -> Result<TlsClient, Fault> {
        let mut known = self.by_options.lock();
        let key = (options.clone(), http2);
        if let Some(client) = known.get(&key) {
            return Ok(client.clone());
        }
        let made = upstream_client(options, alpn(http2))
            .map_err(|error| Fault::new(Who::Us, Reason::Internal, error.to_string()))?;
        Ok(known.entry(key).or_insert(made).clone())
    }

    /// Reads the files of options again, when each is used next.
    pub fn reload(&self) {
        self.by_options.lock().clear();
    }
}
