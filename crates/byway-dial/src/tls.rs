//! TLS client: a TLS session over an open stream, towards a peer that must prove its name.
//!
//! In:    an open stream, the name to verify, trusted roots, application protocols.
//! Out:   a stream whose bytes are encrypted, or what is wrong with the peer's certificate and what to do.
//! Never: skips verification.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{self, CertificateDer};
use rustls::{AlertDescription, CertificateError, ClientConfig, RootCertStore};
use rustls_platform_verifier::Verifier;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::error::DialError;
use crate::stream::{AsIo, Broken, Stream};
use crate::target::HostName;

/// How long a handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

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

/// The name that the peer's certificate must carry.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ServerName {
    /// A host name; it is also sent as SNI.
    Host(HostName),
    /// An address; SNI knows none, so nothing is sent.
    Ip(IpAddr),
}

impl fmt::Display for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(name) => name.fmt(f),
            Self::Ip(ip) => ip.fmt(f),
        }
    }
}

/// Makes TLS sessions (1.3 and 1.2) as the connecting side. Cheap to clone; clones share the memory of past sessions,
/// with which later ones are resumed. Never sends early data.
#[derive(Clone)]
pub struct TlsClient(TlsConnector);

impl TlsClient {
    /// A client that trusts `roots` and offers `alpn`, the first the most preferred; an empty list offers nothing.
    /// Reads the system's roots from disk, so make one and clone it.
    ///
    /// # Errors
    /// [`TlsError::Setup`] if a root is no certificate, or there is none at all.
    pub fn new(roots: Roots, alpn: &[&[u8]]) -> Result<Self, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(setup)?
            .dangerous() // The name only means "own verifier"; both that we use verify everything.
            .with_custom_certificate_verifier(verifier(roots, provider)?)
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        Ok(Self(TlsConnector::from(Arc::new(config))))
    }

    /// Runs the handshake over `stream`; the peer must prove that it is `name`. Takes at most 10 s.
    /// [`Stream::alpn`] of the result says which protocol was agreed on.
    ///
    /// Not cancel safe for the stream, which is reset if the future is dropped or fails; nothing else is lost.
    ///
    /// # Errors
    /// [`DialError::Tls`], whose text says what is wrong and what to do.
    pub async fn connect(&self, stream: Stream, name: &ServerName) -> Result<Stream, DialError> {
        let handshake = self.0.connect(pki_name(name)?, AsIo(stream));
        match timeout(HANDSHAKE_TIMEOUT, handshake).await {
            Ok(Ok(session)) => Ok(Stream::tls(session.into())),
            Ok(Err(error)) => Err(told(name, error).into()),
            Err(_) => Err(TlsError::Timeout { name: name.clone(), after: HANDSHAKE_TIMEOUT }.into()),
        }
    }
}

fn pki_name(name: &ServerName) -> Result<pki_types::ServerName<'static>, TlsError> {
    match name {
        ServerName::Ip(ip) => Ok((*ip).into()),
        ServerName::Host(host) => match pki_types::DnsName::try_from(host.as_str().to_owned()) {
            Ok(dns) => Ok(dns.into()),
            Err(_) => Err(TlsError::BadName(host.clone())),
        },
    }
}

fn verifier(roots: Roots, provider: Arc<CryptoProvider>) -> Result<Arc<dyn ServerCertVerifier>, TlsError> {
    match roots {
        Roots::Platform => Ok(Arc::new(Verifier::new(provider).map_err(setup)?)),
        Roots::PlatformAnd(extra) => Ok(Arc::new(Verifier::new_with_extra_roots(extra, provider).map_err(setup)?)),
        Roots::Only(roots) => {
            let mut store = RootCertStore::empty();
            for root in roots {
                store.add(root).map_err(setup)?;
            }
            let built = WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider).build();
            Ok(built.map_err(|error| TlsError::Setup(error.to_string()))?)
        }
    }
}

fn setup(error: rustls::Error) -> TlsError {
    TlsError::Setup(error.to_string())
}

/// Why there is no TLS session.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The client itself could not be made.
    #[error("TLS cannot be set up: {0}; check the trusted certificates, and on a bare system install ca-certificates")]
    Setup(String),
    /// No certificate can carry this name.
    #[error("`{0}` is no name that a certificate can carry")]
    BadName(HostName),
    /// Nobody we trust signed the certificate.
    #[error(
        "the certificate of {0} is signed by nobody we trust; add its root to the trusted roots, or have the peer send its whole chain"
    )]
    UnknownIssuer(ServerName),
    /// The certificate has run out.
    #[error("the certificate of {0} has expired; the peer must renew it (or the clock of this machine is wrong)")]
    Expired(ServerName),
    /// The certificate is not valid yet.
    #[error("the certificate of {0} is not valid yet; check the clocks of both machines")]
    NotYetValid(ServerName),
    /// The certificate is somebody else's.
    #[error(
        "the certificate shown for {name} is for {presented}; dial by one of these names, or set the name to verify"
    )]
    WrongName {
        /// The name that was to be proven.
        name: ServerName,
        /// The names that the certificate carries.
        presented: String,
    },
    /// Any other fault of the certificate.
    #[error("the certificate of {name} was not accepted: {reason}")]
    Certificate {
        /// The name that was to be proven.
        name: ServerName,
        /// What is wrong with it.
        reason: String,
    },
    /// The peer answered with something that is not TLS.
    #[error("{0} does not speak TLS there; if the port is a plain one, dial it without TLS")]
    NotTls(ServerName),
    /// The peer offers none of our application protocols.
    #[error("{0} speaks none of the application protocols that we offer (ALPN)")]
    NoCommonProtocol(ServerName),
    /// The peer broke the handshake off with an alert.
    #[error("{name} broke the TLS handshake off: {alert}")]
    Alert {
        /// The peer.
        name: ServerName,
        /// The alert's name (RFC 8446 section 6.2).
        alert: String,
    },
    /// The handshake took too long.
    #[error("{name} did not finish the TLS handshake within {} s", after.as_secs())]
    Timeout {
        /// The peer.
        name: ServerName,
        /// The time allowed.
        after: Duration,
    },
    /// The connection broke in the middle of the handshake.
    #[error("the connection to {name} broke in the TLS handshake: {source}")]
    Broken {
        /// The peer.
        name: ServerName,
        /// How it broke.
        source: Broken,
    },
    /// Any other violation of the protocol.
    #[error("the TLS handshake with {name} failed: {reason}")]
    Other {
        /// The peer.
        name: ServerName,
        /// What rustls says.
        reason: String,
    },
}

fn told(name: &ServerName, error: io::Error) -> TlsError {
    let name = name.clone();
    match error.downcast::<rustls::Error>() {
        Ok(rustls::Error::InvalidCertificate(fault)) => certificate_fault(name, fault),
        Ok(rustls::Error::InvalidMessage(_)) => TlsError::NotTls(name),
        Ok(rustls::Error::NoApplicationProtocol)
        | Ok(rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol)) => TlsError::NoCommonProtocol(name),
        Ok(rustls::Error::AlertReceived(alert)) => TlsError::Alert { name, alert: format!("{alert:?}") },
        Ok(other) => TlsError::Other { name, reason: other.to_string() },
        Err(error) => TlsError::Broken { name, source: error.into() },
    }
}

fn certificate_fault(name: ServerName, fault: CertificateError) -> TlsError {
    match fault {
        CertificateError::UnknownIssuer => TlsError::UnknownIssuer(name),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => TlsError::Expired(name),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => TlsError::NotYetValid(name),
        CertificateError::NotValidForName => TlsError::WrongName { name, presented: "other names".into() },
        CertificateError::NotValidForNameContext { presented, .. } if presented.is_empty() => {
            TlsError::WrongName { name, presented: "no name at all".into() }
        }
        CertificateError::NotValidForNameContext { presented, .. } => {
            TlsError::WrongName { name, presented: presented.join(", ") }
        }
        other => TlsError::Certificate { name, reason: other.to_string() },
    }
}

#[cfg(test)]
pub(crate) mod tests;
