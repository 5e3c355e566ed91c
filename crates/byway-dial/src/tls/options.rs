//! TLS options: the policy of one TLS client.
//!
//! In:    what the program or the operator wants.
//! Out:   a verifier, and values for the client.
//! Never: has an option that turns verification off.

use std::sync::Arc;
use std::time::Duration;

use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls_platform_verifier::Verifier;

use super::{Identity, KeyLog, TlsError, setup};

/// Whom a TLS client trusts.
#[derive(Clone, Debug, Default)]
pub enum Roots {
    /// Whom the system trusts.
    #[default]
    Platform,
    /// Whom the system trusts, and these.
    PlatformAnd(Vec<CertificateDer<'static>>),
    /// These alone.
    Only(Vec<CertificateDer<'static>>),
}

impl Roots {
    pub(super) fn verifier(
        self,
        provider: Arc<CryptoProvider>,
    ) -> Result<Arc<dyn ServerCertVerifier>, TlsError> {
        match self {
            Self::Platform => Ok(Arc::new(Verifier::new(provider).map_err(setup)?)),
            Self::PlatformAnd(extra) => Ok(Arc::new(
                Verifier::new_with_extra_roots(extra, provider).map_err(setup)?,
            )),
            Self::Only(roots) => {
                let mut store = RootCertStore::empty();
                for root in roots {
                    store.add(root).map_err(setup)?;
                }
                let built =
                    WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider).build();
                Ok(built.map_err(|error| TlsError::Setup(error.to_string()))?)
            }
        }
    }
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// 1.2 (RFC 5246).
    #[default]
    V1_2,
    /// 1.3 (RFC 8446).
    V1_3,
}

/// The policy of one [`TlsClient`](super::TlsClient).
#[derive(Clone, Debug)]
pub struct TlsOptions {
    /// Whom the client trusts. Default: whom the system trusts.
    pub roots: Roots,
    /// The application protocols to offer (ALPN, RFC 7301), the most preferred first, such as
    /// `http/1.1`. Default: none, which offers nothing.
    pub alpn: Vec<Vec<u8>>,
    /// The oldest version to speak. Default: 1.2, which many servers still have as their newest.
    pub min_version: TlsVersion,
    /// Who the client is, for servers that ask. Default: nobody.
    pub identity: Option<Identity>,
    /// How many servers' sessions are remembered, so that the next handshake with one of them is
    /// short; the one that was met first is forgotten first. Eight tickets each (TLS 1.3), or one
    /// session (1.2), in memory only. 0 remembers nothing. Default: 128.
    #[doc(alias = "maxCachedSessions")]
    #[doc(alias = "ClientSessionCache")]
    pub remembered_servers: usize,
    /// How long a handshake may take. Default: 10 s.
    #[doc(alias = "TLSHandshakeTimeout")]
    pub handshake_timeout: Duration,
    /// Where the secrets of each session are written, for reading captured traffic. Default:
    /// nowhere.
    pub key_log: Option<KeyLog>,
}

impl Default for TlsOptions {
    fn default() -> Self {
        Self {
            roots: Roots::Platform,
            alpn: Vec::new(),
            min_version: TlsVersion::V1_2,
            identity: None,
            remembered_servers: 128,
            handshake_timeout: Duration::from_secs(10),
            key_log: None,
        }
    }
}
