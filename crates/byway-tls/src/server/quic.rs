//! Quic: the handshake of QUIC connections that carry HTTP/3.
//!
//! In:    a ClientHello; the certificates and policies of a [`TlsServer`].
//! Out:   the config for its host; what was negotiated.
//! Never: takes early data; obtains a certificate during the handshake, as that would block the
//!        endpoint.

use std::any::Any;
use std::sync::Arc;

use quinn::crypto::rustls::{HandshakeData, QuicServerConfig};
use rustls::pki_types::CertificateDer;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::{AlertDescription, ServerConfig};

use super::{ServerOptions, Session, SetupError, TlsServer, config_for};
use crate::alpn::{self, Family};
use crate::client_auth::ClientAuth;
use crate::name;
use crate::quic::QuicConfig;

/// HTTP/3 in ALPN.
pub const H3: &[u8] = b"h3";

/// What is served over QUIC.
const FAMILIES: &[Family<()>] = &[Family {
    protocols: &[H3],
    served_by: (),
}];

impl TlsServer {
    /// A config whose sessions are for no host: it has the keys of Initial packets.
    pub fn any_quic(&self) -> QuicConfig {
        Arc::clone(&self.default.quic) as _
    }

    /// The config for the connection that begins with `hello`.
    ///
    /// # Errors
    /// The alert with which the handshake is refused: the client offers another protocol than
    /// HTTP/3, or there is no certificate for the name that it asks for.
    pub fn choose_quic(&self, hello: &ClientHello<'_>) -> Result<QuicConfig, AlertDescription> {
        alpn::choose(FAMILIES, hello.alpn().into_iter().flatten(), None)?;
        let name = hello.server_name().map(name::normal);
        let certificate = (self.store).resolve_name(name.as_deref(), hello.signature_schemes());
        if certificate.is_none() {
            return Err(AlertDescription::UnrecognisedName);
        }
        Ok(Arc::clone(&self.policy(name.as_deref()).quic) as _)
    }

    /// What was negotiated, by the `handshake_data` and the `peer_identity` of an established
    /// connection of quinn. `None` if they are not those of a session of this server, or its
    /// certificate was removed meanwhile.
    pub fn quic_session(
        &self,
        handshake: Box<dyn Any>,
        identity: Option<Box<dyn Any>>,
    ) -> Option<Session> {
        let handshake = handshake.downcast::<HandshakeData>().ok()?;
        let name: Option<Box<str>> = handshake
            .server_name
            .as_deref()
            .map(|name| name::normal(name).into());
        let chain =
            identity.and_then(|chain| chain.downcast::<Vec<CertificateDer<'static>>>().ok());
        let certificate = self.certificate_of(name.as_deref())?;
        let auth = Arc::clone(&self.policy(name.as_deref()).auth);
        let client = chain.as_deref().and_then(|chain| chain.first());
        Some(Session::of_quic(name, client, certificate, auth))
    }
}

/// The config of a policy for QUIC, which is TLS 1.3. Tickets are its own: a session is not resumed
/// over TCP.
pub(super) fn quic_config(
    options: &ServerOptions,
    auth: &ClientAuth,
    resolver: Arc<dyn ResolvesServerCert>,
) -> Result<Arc<QuicServerConfig>, SetupError> {
    let policy = [&auth.ticket_policy()[..], b" over QUIC"].concat();
    let versions = &[&rustls::version::TLS13];
    let mut config: ServerConfig = config_for(options, auth, resolver, versions, &policy)?;
    config.alpn_protocols = vec![H3.to_vec()];
    let config = QuicServerConfig::try_from(config);
    let no_suite = |_| rustls::Error::General("there is no cipher suite for QUIC".into());
    Ok(Arc::new(config.map_err(no_suite)?))
}

#[cfg(test)]
mod tests;
