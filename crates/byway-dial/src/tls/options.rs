//! TLS options: the policy of one TLS client.
//!
//! In:    the policy of the program or the operator.
//! Out:   a verifier, and values for the client.
//! Never: has an option to turn verification off.

use std::sync::Arc;
use std::time::Duration;

use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls_platform_verifier::Verifier;

use super::{Identity, KeyLog, TlsError, setup};

/// The trusted roots of a TLS client.
#[derive(Clone, Debug, Default)]
pub enum Roots {
    /// The system's roots.
    #[default]
    Platform,
    /// The system's roots and these.
    PlatformAnd(Vec<CertificateDer<'static>>),
    /// Only these.
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
    /// The trusted roots. Default: the system's.
    pub roots: Roots,
    /// The SHA-256 of the only public key (SubjectPublicKeyInfo, RFC 5280 section 4.1) that the peer
    /// may have. It replaces the roots: name, dates and issuer of the certificate do not matter.
    /// Default: none.
    pub pin: Option<[u8; 32]>,
    /// The application protocols to offer (ALPN, RFC 7301), in order of preference, such as
    /// `http/1.1`. Default: none, which offers nothing.
    pub alpn: Vec<Vec<u8>>,
    /// The oldest version to accept. Default: 1.2, which is still the newest of many servers.
    pub min_version: TlsVersion,
    /// The client certificate, for servers that request one. Default: none.
    pub identity: Option<Identity>,
    /// How many servers' sessions are stored for resumption. When full, the server that was stored
    /// first is removed. Eight tickets each (TLS 1.3), or one session (1.2), in memory only. 0
    /// stores nothing. Default: 128.
    #[doc(alias = "maxCachedSessions")]
    #[doc(alias = "ClientSessionCache")]
    pub remembered_servers: usize,
    /// The handshake time-out. Default: 10 s.
    #[doc(alias = "TLSHandshakeTimeout")]
    pub handshake_timeout: Duration,
    /// Receives the secrets of each session, to decrypt captured traffic. Default: none.
    pub key_log: Option<KeyLog>,
}

impl Default for TlsOptions {
    fn default() -> Self {
        Self {
            roots: Roots::Platform,
            pin: None,
            alpn: Vec::new(),
            min_version: TlsVersion::V1_2,
            identity: None,
            remembered_servers: 128,
            handshake_timeout: Duration::from_secs(10),
            key_log: None,
        }
    }
}
