//! TLS client: opens a TLS session over a stream and verifies the server's name.
//!
//! In:    an open stream, the name to verify, and the policy of one client: roots, identity,
//!        versions, protocols.
//! Out:   an encrypted stream, or the certificate problem and its remedy.
//! Never: skips verification, sends early data, or resumes a session that was verified under
//!        another policy.

mod error;
mod identity;
mod key_log;
mod options;
mod pin;
mod words;

pub use error::TlsError;
pub use identity::{Identity, certificates_from_pem};
pub use key_log::KeyLog;
pub use options::{Roots, TlsOptions, TlsVersion};
use pin::PinVerifier;
pub use words::plain_words;
pub(crate) use words::without_jargon;

use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::{ClientSessionMemoryCache, ClientSessionStore, Resumption};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types;
use rustls::{ClientConfig, SupportedProtocolVersion};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::error::DialError;
use crate::stream::{AsIo, Stream};
use crate::target::{HostName, Target};

/// How many tickets are stored for each server: as rustls does, and more than servers send at once.
const TICKETS: usize = 8;

/// The name that the peer's certificate must carry.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ServerName {
    /// A host name; it is also sent as SNI.
    Host(HostName),
    /// An address. SNI has no addresses, so nothing is sent.
    Ip(IpAddr),
}

impl ServerName {
    /// The host of `target`. `None` for a Unix socket, which has no name that a certificate could
    /// prove.
    pub fn of(target: &Target) -> Option<Self> {
        match target {
            Target::Addr(addr) => Some(Self::Ip(addr.ip())),
            Target::Host { name, .. } => Some(Self::Host(name.clone())),
            Target::Unix(_) => None,
        }
    }
}

impl fmt::Display for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(name) => name.fmt(f),
            Self::Ip(ip) => ip.fmt(f),
        }
    }
}

/// Opens TLS sessions (1.3 and 1.2) as the client, under one policy. Cheap to clone; clones share a
/// session cache, from which sessions are resumed. Never sends early data.
///
/// Each client has its own cache, so a session verified under one policy is never resumed under
/// another. Two clients are equal if one is a clone of the other, so a pool can use a client in its
/// key.
#[derive(Clone)]
pub struct TlsClient(Arc<Inner>);

struct Inner {
    connector: TlsConnector,
    /// The session cache of `connector`, if it has one.
    sessions: Option<Arc<ClientSessionMemoryCache>>,
    handshake_timeout: Duration,
}

impl PartialEq for TlsClient {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for TlsClient {}

impl Hash for TlsClient {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.0).hash(state);
    }
}

impl fmt::Debug for TlsClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TlsClient({:p})", Arc::as_ptr(&self.0))
    }
}

impl TlsClient {
    /// A client that trusts `roots` and offers `alpn`, in order of preference; an empty list offers
    /// nothing. Everything else is as in [`TlsOptions::default`].
    ///
    /// # Errors
    /// [`TlsError::Setup`] if a root is no certificate, or there are no roots.
    pub fn new(roots: Roots, alpn: &[&[u8]]) -> Result<Self, TlsError> {
        let alpn = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        Self::with_options(TlsOptions {
            roots,
            alpn,
            ..TlsOptions::default()
        })
    }

    /// A client under the policy of `options`. Reads the system's roots from disk if the policy
    /// uses them, so make one client for each policy and clone it.
    ///
    /// # Errors
    /// [`TlsError::Setup`] if a root is no certificate, if there are no roots, or if the identity's
    /// key does not fit its certificate.
    pub fn with_options(options: TlsOptions) -> Result<Self, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verified = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&versions(options.min_version))
            .map_err(setup)?
            .dangerous() // Only the name is dangerous: all verifiers used here verify the peer's key.
            .with_custom_certificate_verifier(match options.pin {
                Some(pin) => Arc::new(PinVerifier::new(pin, provider)),
                None => options.roots.verifier(provider)?,
            });
        let mut config = match options.identity {
            None => verified.with_no_client_auth(),
            Some(identity) => verified
                .with_client_auth_cert(identity.chain(), identity.key())
                .map_err(setup)?,
        };
        config.alpn_protocols = options.alpn;
        if let Some(key_log) = options.key_log {
            config.key_log = Arc::new(key_log);
        }
        let sessions = (options.remembered_servers > 0).then(|| {
            Arc::new(ClientSessionMemoryCache::new(
                options.remembered_servers.saturating_mul(TICKETS),
            ))
        });
        config.resumption = match &sessions {
            Some(sessions) => {
                Resumption::store(Arc::clone(sessions) as Arc<dyn ClientSessionStore>)
            }
            None => Resumption::disabled(),
        };
        let connector = TlsConnector::from(Arc::new(config));
        Ok(Self(Arc::new(Inner {
            connector,
            sessions,
            handshake_timeout: options.handshake_timeout,
        })))
    }

    /// Runs the handshake over `stream`. The peer must prove that it is `name`, which may differ
    /// from the dialled name. Takes at most the handshake time-out. [`Stream::alpn`] of the result
    /// returns the negotiated protocol. If the handshake fails, the stored sessions of the peer are
    /// removed.
    ///
    /// Not cancel safe for the stream, which is reset if the future is dropped or fails; nothing
    /// else is lost.
    ///
    /// # Errors
    /// [`DialError::Tls`], with the cause and the remedy. A peer that rejects our own certificate
    /// may report it only at the first read (TLS 1.3).
    pub async fn connect(&self, stream: Stream, name: &ServerName) -> Result<Stream, DialError> {
        let (inner, pki) = (&self.0, pki_name(name)?);
        let after = inner.handshake_timeout;
        let error = match timeout(after, inner.connector.connect(pki.clone(), AsIo(stream))).await {
            Ok(Ok(session)) => return Ok(Stream::tls(session.into())),
            Ok(Err(error)) => error::from_io(name, error),
            Err(_) => TlsError::Timeout {
                name: name.clone(),
                after,
            },
        };
        inner.forget(&pki);
        Err(error.into())
    }

    /// Removes the stored sessions with `name`, so that the next handshake is a full one. For a
    /// connection that failed in a way that its session may have caused.
    pub fn forget(&self, name: &ServerName) {
        if let Ok(pki) = pki_name(name) {
            self.0.forget(&pki);
        }
    }
}

impl Inner {
    fn forget(&self, name: &pki_types::ServerName<'static>) {
        if let Some(sessions) = &self.sessions {
            sessions.remove_tls12_session(name);
            for _ in 0..TICKETS {
                sessions.take_tls13_ticket(name);
            }
        }
    }
}

fn versions(min: TlsVersion) -> Vec<&'static SupportedProtocolVersion> {
    let (old, new) = (&rustls::version::TLS12, &rustls::version::TLS13);
    if min == TlsVersion::V1_3 {
        vec![new]
    } else {
        vec![new, old]
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

fn setup(error: rustls::Error) -> TlsError {
    TlsError::Setup(error.to_string())
}

#[cfg(test)]
pub(crate) mod tests;
