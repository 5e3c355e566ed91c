//! Server: the handshake of accepted connections.
//!
//! In:    an accepted stream; the certificates, the policy of each host.
//! Out:   an encrypted stream and what was negotiated, or why there is none.
//! Never: takes early data (0-RTT); resumes a session under another policy of client
//!        certificates; waits without a deadline of the caller.

mod error;
mod hello;
pub(crate) mod quic;
mod session;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use byway_dial::{AsIo, Stream, TlsVersion};
use quinn::crypto::rustls::QuicServerConfig;
use rustls::server::{NoServerSessionStorage, ResolvesServerCert};
use rustls::{ServerConfig, SupportedProtocolVersion};
use tokio_rustls::StartHandshake;

pub use error::HandshakeError;
pub use session::Session;

use crate::certificate::Certificate;
use crate::challenge::{ACME_TLS_1, Challenges};
use crate::client_auth::{ClientAuth, InvalidClientRoots};
use crate::name;
use crate::on_demand::OnDemand;
use crate::provider::provider;
use crate::store::CertificateStore;
use crate::ticket::{TicketSecret, Ticketer};

/// What a [`TlsServer`] is made of.
#[derive(Clone)]
pub struct ServerOptions {
    /// The certificates.
    pub store: Arc<CertificateStore>,
    /// The challenges under way.
    pub challenges: Arc<Challenges>,
    /// How certificates are obtained in a handshake, if they are.
    pub on_demand: Option<Arc<dyn OnDemand>>,
    /// The secret of session tickets.
    pub tickets: TicketSecret,
    /// The oldest version. TLS 1.2 by default.
    pub min_version: TlsVersion,
    /// Application protocols, the preferred one first. A client that offers none of them is
    /// refused; one that offers no protocol at all is not.
    pub alpn: Vec<Vec<u8>>,
    /// Hosts that ask for client certificates: exact names, or `*.` and a name. All others do not.
    pub client_auth: Vec<(String, Arc<ClientAuth>)>,
}

impl ServerOptions {
    /// TLS 1.2 and 1.3, without application protocols, client certificates and ACME.
    pub fn new(store: Arc<CertificateStore>, tickets: TicketSecret) -> Self {
        Self {
            store,
            challenges: Arc::default(),
            on_demand: None,
            tickets,
            min_version: TlsVersion::V1_2,
            alpn: Vec::new(),
            client_auth: Vec::new(),
        }
    }
}

impl fmt::Debug for ServerOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerOptions")
            .field("store", &self.store)
            .field("min_version", &self.min_version)
            .field("client_auth", &self.client_auth)
            .finish_non_exhaustive()
    }
}

/// Why there is no [`TlsServer`].
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The authorities of client certificates.
    #[error(transparent)]
    ClientRoots(#[from] InvalidClientRoots),
    /// The versions do not suit the provider.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
}

/// What became of an accepted stream.
#[derive(Debug)]
pub enum Accepted {
    /// It is encrypted now.
    Session(Stream, Box<Session>),
    /// An ACME authority has validated a name. There is nothing more to do.
    Challenge,
}

/// Does handshakes as the server, under the policy of each host. Make another one for another
/// config; sessions are resumed between the two as far as the policies are equal.
pub struct TlsServer {
    store: Arc<CertificateStore>,
    on_demand: Option<Arc<dyn OnDemand>>,
    challenge: Arc<ServerConfig>,
    default: Policy,
    /// By exact name.
    hosts: HashMap<Box<str>, Policy>,
    /// By the name that they are below, at any depth.
    below: HashMap<Box<str>, Policy>,
}

/// How sessions with some hosts are set up.
#[derive(Clone)]
struct Policy {
    config: Arc<ServerConfig>,
    quic: Arc<QuicServerConfig>,
    auth: Arc<ClientAuth>,
}

impl fmt::Debug for TlsServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TlsServer({:?})", self.store)
    }
}

impl TlsServer {
    /// A server of `options`.
    ///
    /// # Errors
    /// [`SetupError`].
    pub fn new(options: &ServerOptions) -> Result<Self, SetupError> {
        let resolver = || Arc::clone(&options.store) as Arc<dyn ResolvesServerCert>;
        let mut made: Vec<Policy> = Vec::new();
        let mut policy = |auth: &Arc<ClientAuth>| -> Result<Policy, SetupError> {
            if let Some(same) = made.iter().find(|policy| policy.auth == *auth) {
                return Ok(same.clone());
            }
            let policy = Policy {
                config: Arc::new(config(options, auth, resolver())?),
                quic: quic::quic_config(options, auth, resolver())?,
                auth: Arc::clone(auth),
            };
            made.push(policy.clone());
            Ok(policy)
        };
        let none = Arc::new(ClientAuth::None);
        let default = policy(&none)?;
        let (mut hosts, mut below) = (HashMap::new(), HashMap::new());
        for (host, auth) in &options.client_auth {
            let policy = policy(auth)?;
            match name::wildcard_parent(host) {
                Some(parent) => below.insert(Box::from(name::normal(parent)), policy),
                None => hosts.insert(Box::from(name::host(host)), policy),
            };
        }
        let mut challenge = config(options, &none, Arc::clone(&options.challenges) as _)?;
        challenge.alpn_protocols = vec![ACME_TLS_1.to_vec()];
        Ok(Self {
            store: Arc::clone(&options.store),
            on_demand: options.on_demand.clone(),
            challenge: Arc::new(challenge),
            default,
            hosts,
            below,
        })
    }

    /// Does the handshake on an accepted stream. Wrap it in a timeout: it ends with the peer alone.
    ///
    /// Not cancel safe: a dropped call resets the stream.
    ///
    /// # Errors
    /// [`HandshakeError`]. The peer has got an alert, where TLS has one.
    pub async fn accept(&self, stream: Stream) -> Result<Accepted, HandshakeError> {
        let (mut stream, accepted) = hello::read(stream).await?;
        let hello = accepted.client_hello();
        let offered = hello.alpn();
        let is_challenge =
            offered.is_some_and(|mut all| all.next() == Some(ACME_TLS_1) && all.next().is_none());
        let name: Option<Box<str>> = hello.server_name().map(|name| name::normal(name).into());
        if is_challenge {
            let config = Arc::clone(&self.challenge);
            let start = StartHandshake::from_parts(accepted, AsIo(stream)).into_stream(config);
            let mut session = start.await.map_err(HandshakeError::from_io)?;
            // The authority has seen what it wanted. A close without close_notify is a failure to it.
            let _ = tokio::io::AsyncWriteExt::shutdown(&mut session).await;
            return Ok(Accepted::Challenge);
        }
        let schemes = hello.signature_schemes().to_vec();
        if let (Some(on_demand), Some(name)) = (&self.on_demand, &name)
            && self.store.coverage(name).is_none()
        {
            on_demand.obtain(name).await;
        }
        let Some(certificate) = self.store.resolve_name(name.as_deref(), &schemes) else {
            error::send_unrecognized_name(&mut stream).await;
            return Err(HandshakeError::NoCertificate(name));
        };
        let policy = self.policy(name.as_deref());
        let config = Arc::clone(&policy.config);
        let start = StartHandshake::from_parts(accepted, AsIo(stream)).into_stream(config);
        let io = start.await.map_err(HandshakeError::from_io)?;
        let (_, connection) = io.get_ref();
        let session = Session::of(connection, name, certificate, Arc::clone(&policy.auth));
        Ok(Accepted::Session(Stream::tls(io.into()), Box::new(session)))
    }

    /// Whether a request for `host` (without port) may be served in `session`: the certificate
    /// that the client has seen is for that host, and the host asks for the same client
    /// certificates. If not, the answer is 421.
    ///
    /// A client that has not sent a name, or the name of this host, has to match the second only.
    pub fn may_serve(&self, session: &Session, host: &str) -> bool {
        let is_same = match session.server_name() {
            Some(name) => is_same_name(name, host),
            None => true,
        };
        (is_same || session.certificate().covers(host)) && self.has_policy_of(session, host)
    }

    /// Whether `host` (without port) is served only to clients with a certificate: never without TLS.
    pub fn requires_certificate(&self, host: &str) -> bool {
        self.has_policies()
            && matches!(
                *self.policy(Some(&name::host(host))).auth,
                ClientAuth::Required(_)
            )
    }

    fn has_policies(&self) -> bool {
        !self.hosts.is_empty() || !self.below.is_empty()
    }

    fn has_policy_of(&self, session: &Session, host: &str) -> bool {
        if !self.has_policies() && *session.auth() == ClientAuth::None {
            return true;
        }
        // A resumed session has no identity any more once its certificate has expired.
        let is_identified =
            !matches!(session.auth(), ClientAuth::Required(_)) || session.client().is_some();
        is_identified && self.policy(Some(&name::host(host))).auth == *session.auth_ref()
    }

    /// The policy of a host: that of the host itself, else that of the nearest name above it.
    fn policy(&self, host: Option<&str>) -> &Policy {
        let of_host = |host: &str| {
            let above = || name::parents(host).find_map(|parent| self.below.get(parent));
            self.hosts.get(host).or_else(above)
        };
        match host.filter(|_| self.has_policies()) {
            Some(host) => of_host(host).unwrap_or(&self.default),
            None => &self.default,
        }
    }

    /// The certificate that a client gets which asks for `name`.
    pub fn certificate_of(&self, name: Option<&str>) -> Option<Arc<Certificate>> {
        match name.and_then(|name| self.store.coverage(name)) {
            Some(covered) => Some(covered.certificate),
            None => self
                .store
                .default_certificate()
                .map(|default| default.certificate),
        }
    }
}

/// Case and a dot at the end do not matter. Allocates nothing.
fn is_same_name(name: &str, host: &str) -> bool {
    host.strip_suffix('.')
        .unwrap_or(host)
        .eq_ignore_ascii_case(name)
}

fn config(
    options: &ServerOptions,
    auth: &ClientAuth,
    resolver: Arc<dyn ResolvesServerCert>,
) -> Result<ServerConfig, SetupError> {
    let versions = session::and_newer(options.min_version);
    let mut config = config_for(options, auth, resolver, &versions, &auth.ticket_policy())?;
    config.alpn_protocols.clone_from(&options.alpn);
    Ok(config)
}

/// Without application protocols. Tickets are those of `ticket_policy`.
fn config_for(
    options: &ServerOptions,
    auth: &ClientAuth,
    resolver: Arc<dyn ResolvesServerCert>,
    versions: &[&'static SupportedProtocolVersion],
    ticket_policy: &[u8],
) -> Result<ServerConfig, SetupError> {
    let builder =
        ServerConfig::builder_with_provider(provider()).with_protocol_versions(versions)?;
    let builder = match auth.verifier()? {
        None => builder.with_no_client_auth(),
        Some(verifier) => builder.with_client_cert_verifier(verifier),
    };
    let mut config = builder.with_cert_resolver(resolver);
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.ticketer = Arc::new(Ticketer::new(&options.tickets, ticket_policy));
    config.max_early_data_size = 0;
    Ok(config)
}

#[cfg(test)]
mod tests;
