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

use crate::config::UpstreamTlsPlan;
use crate::fault::{Fault, Reason, Who};
use crate::tls::upstream_client;

/// What is offered to upstreams.
const ALPN: &[&[u8]] = &[b"http/1.1"];

/// The TLS clients of connections to upstreams, with their session tickets. Each is created, and
/// its files are read, at the first use.
#[derive(Default)]
pub struct UpstreamTls {
    usual: OnceLock<TlsClient>,
    by_options: Mutex<HashMap<UpstreamTlsPlan, TlsClient>>,
}

impl UpstreamTls {
    /// The client of an upstream with these options.
    ///
    /// # Errors
    /// When the system's certificate store, or a file of the options, cannot be read.
    pub fn client(&self, options: Option<&UpstreamTlsPlan>) -> Result<TlsClient, Fault> {
        match options {
            None => self.usual().cloned(),
            Some(options) => self.of(options),
        }
    }

    fn usual(&self) -> Result<&TlsClient, Fault> {
        if let Some(tls) = self.usual.get() {
            return Ok(tls);
        }
        let made = TlsClient::new(Roots::Platform, ALPN).map_err(|error| {
            let detail = format!("cannot read the system's certificates: {error}");
            Fault::new(Who::Us, Reason::Internal, detail)
        })?;
        Ok(self.usual.get_or_init(|| made))
    }

    fn of(&self, options: &UpstreamTlsPlan) -> Result<TlsClient, Fault> {
        let mut known = self.by_options.lock();
        if let Some(client) = known.get(options) {
            return Ok(client.clone());
        }
        let made = upstream_client(options, ALPN)
            .map_err(|error| Fault::new(Who::Us, Reason::Internal, error.to_string()))?;
        Ok(known.entry(options.clone()).or_insert(made).clone())
    }

    /// Reads the files of options again, when each is used next.
    pub fn reload(&self) {
        self.by_options.lock().clear();
    }
}
