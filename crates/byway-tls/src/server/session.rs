//! Session: what a handshake has negotiated.

use std::sync::Arc;

use byway_dial::TlsVersion;
use rustls::pki_types::CertificateDer;
use rustls::{HandshakeKind, ProtocolVersion, ServerConnection, SupportedProtocolVersion};

use crate::certificate::Certificate;
use crate::client_auth::{ClientAuth, ClientIdentity};

/// `min` and everything newer.
pub(super) fn and_newer(min: TlsVersion) -> Vec<&'static SupportedProtocolVersion> {
    match min {
        TlsVersion::V1_2 => vec![&rustls::version::TLS13, &rustls::version::TLS12],
        TlsVersion::V1_3 => vec![&rustls::version::TLS13],
    }
}

/// What a handshake has negotiated, and who the client is.
#[derive(Debug)]
pub struct Session {
    server_name: Option<Box<str>>,
    version: TlsVersion,
    cipher: &'static str,
    group: &'static str,
    is_resumed: bool,
    client: Option<Box<ClientIdentity>>,
    certificate: Arc<Certificate>,
    auth: Arc<ClientAuth>,
}

impl Session {
    pub(super) fn of(
        connection: &ServerConnection,
        server_name: Option<Box<str>>,
        certificate: Arc<Certificate>,
        auth: Arc<ClientAuth>,
    ) -> Self {
        let version = match connection.protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => TlsVersion::V1_3,
            _ => TlsVersion::V1_2,
        };
        let suite = connection.negotiated_cipher_suite();
        let group = connection.negotiated_key_exchange_group();
        let chain = connection.peer_certificates().unwrap_or_default();
        Self {
            server_name,
            version,
            cipher: suite
                .and_then(|suite| suite.suite().as_str())
                .unwrap_or("unknown"),
            group: group
                .and_then(|group| group.name().as_str())
                .unwrap_or("unknown"),
            is_resumed: connection.handshake_kind() == Some(HandshakeKind::Resumed),
            client: chain
                .first()
                .and_then(ClientIdentity::valid_now)
                .map(Box::new),
            certificate,
            auth,
        }
    }

    /// Of a QUIC connection: quinn does not say which cipher suite and group were negotiated, nor
    /// whether the session was resumed.
    pub(super) fn of_quic(
        server_name: Option<Box<str>>,
        client: Option<&CertificateDer<'_>>,
        certificate: Arc<Certificate>,
        auth: Arc<ClientAuth>,
    ) -> Self {
        Self {
            server_name,
            version: TlsVersion::V1_3,
            cipher: "unknown",
            group: "unknown",
            is_resumed: false,
            client: client.and_then(ClientIdentity::valid_now).map(Box::new),
            certificate,
            auth,
        }
    }

    /// The name that the client asked for (SNI), in lower case.
    pub fn server_name(&self) -> Option<&str> {
        self.server_name.as_deref()
    }

    /// The version.
    pub fn version(&self) -> TlsVersion {
        self.version
    }

    /// The version, as logs write it: `TLSv1.3`.
    pub fn version_word(&self) -> &'static str {
        match self.version {
            TlsVersion::V1_2 => "TLSv1.2",
            TlsVersion::V1_3 => "TLSv1.3",
        }
    }

    /// The cipher suite, as IANA names it, such as `TLS13_AES_128_GCM_SHA256`.
    pub fn cipher(&self) -> &'static str {
        self.cipher
    }

    /// The key exchange group, such as `X25519MLKEM768`.
    pub fn group(&self) -> &'static str {
        self.group
    }

    /// Whether an earlier session was resumed.
    pub fn is_resumed(&self) -> bool {
        self.is_resumed
    }

    /// Who the client is, if it has presented a certificate.
    pub fn client(&self) -> Option<&ClientIdentity> {
        self.client.as_deref()
    }

    /// The certificate of the server.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    pub(super) fn auth(&self) -> &ClientAuth {
        &self.auth
    }

    pub(super) fn auth_ref(&self) -> &Arc<ClientAuth> {
        &self.auth
    }
}
