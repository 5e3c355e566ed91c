//! UpstreamTls: what all connections to upstreams share, over reloads.
//!
//! In:    the system's certificates.
//! Out:   the TLS client, whose session tickets outlive a Plan.
//! Never: reads the certificates before the first `https://` upstream is dialled.

use std::sync::OnceLock;

use byway_dial::{Roots, TlsClient};

use crate::fault::{Fault, Reason, Who};

/// The TLS client of all connections to upstreams, with its session tickets; it outlives a reload.
/// It is created, and the system's certificates are read, at the first use.
#[derive(Default)]
pub struct UpstreamTls {
    tls: OnceLock<TlsClient>,
}

impl UpstreamTls {
    /// Trust in upstreams' certificates.
    ///
    /// # Errors
    /// When the system's certificate store cannot be read.
    pub fn client(&self) -> Result<&TlsClient, Fault> {
        if let Some(tls) = self.tls.get() {
            return Ok(tls);
        }
        let made = TlsClient::new(Roots::Platform, &[b"http/1.1"]).map_err(|error| {
            let detail = format!("cannot read the system's certificates: {error}");
            Fault::new(Who::Us, Reason::Internal, detail)
        })?;
        Ok(self.tls.get_or_init(|| made))
    }
}
