//! Upstream: the TLS client for upstreams that a route has options for.

use std::fs;
use std::path::{Path, PathBuf};

use byway_dial::{Identity, Roots, TlsClient, TlsError, TlsOptions};
use byway_tls::{FileError, certificates, private_key};

use crate::config::UpstreamTlsPlan;

/// Why there is no TLS client.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamTlsError {
    /// A file cannot be used.
    #[error("[edge.route.tls]: {0}")]
    File(#[from] FileError),
    /// The client cannot be made of what is in the files.
    #[error("[edge.route.tls]: {}: {error}", path.display())]
    Setup {
        /// The file that is most likely wrong.
        path: PathBuf,
        /// Why not.
        error: TlsError,
    },
}

/// The client of `options`, which offers `alpn`. Reads files.
///
/// # Errors
/// [`UpstreamTlsError`].
pub fn upstream_client(
    options: &UpstreamTlsPlan,
    alpn: &[&[u8]],
) -> Result<TlsClient, UpstreamTlsError> {
    let roots = match &options.ca {
        Some(ca) => Roots::Only(certificates(ca)?),
        None => Roots::Platform,
    };
    let identity = match &options.identity {
        Some((cert, key)) => Some(Identity::new(certificates(cert)?, private_key(key)?)),
        None => None,
    };
    let made = TlsClient::with_options(TlsOptions {
        roots,
        identity,
        pin: options.pin,
        alpn: alpn.iter().map(|protocol| protocol.to_vec()).collect(),
        ..TlsOptions::default()
    });
    made.map_err(|error| UpstreamTlsError::Setup {
        path: likely(options).unwrap_or_default(),
        error,
    })
}

/// A certificate whose key does not fit is the likelier mistake.
fn likely(options: &UpstreamTlsPlan) -> Option<PathBuf> {
    let own = options.identity.as_ref().map(|(cert, _)| cert);
    let exists = |path: &&PathBuf| fs::exists(Path::new(path)).unwrap_or(false);
    own.or(options.ca.as_ref()).filter(exists).cloned()
}
