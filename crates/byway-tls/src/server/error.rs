//! Error: why a handshake has failed.

use std::io;

use byway_dial::Stream;
use byway_dial::plain_words;
use byway_dial::stream::Broken;
use rustls::server::AcceptedAlert;
use rustls::{AlertDescription, CertificateError, Error, PeerIncompatible};

/// Why a handshake has failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// The client sent a plain HTTP request. Nothing was answered: the stream is returned.
    #[error("the client sent a plain HTTP request to a port that speaks TLS")]
    PlainHttp(Box<Stream>),
    /// The client sent something that is not TLS.
    #[error("the client sent something that is not TLS")]
    NotTls,
    /// There is no certificate for the name that the client sent, and no default.
    #[error("there is no certificate for {}", .0.as_deref().unwrap_or("a client that sends no name"))]
    NoCertificate(Option<Box<str>>),
    /// The client supports no version that is permitted.
    #[error("the client supports no permitted version of TLS")]
    Version,
    /// Client and server have no cipher suite, group or signature scheme in common.
    #[error("the client supports no cipher suite, group or signature that this server has")]
    Cipher,
    /// The client offers only other application protocols.
    #[error("the client offers none of the application protocols of this server (ALPN)")]
    Protocol,
    /// The client sent no certificate where one is required.
    #[error("the client sent no certificate, which this host requires")]
    NoClientCertificate,
    /// The client's certificate was not accepted.
    #[error("the certificate of the client was not accepted: {0}")]
    ClientCertificate(String),
    /// The client does not accept the certificate of this server.
    #[error("the client does not accept the certificate of this server: {0}")]
    Distrusted(String),
    /// The client has sent another alert.
    #[error("the client has aborted the handshake: {0}")]
    Alert(String),
    /// The client closed the connection before the handshake was complete.
    #[error("the client closed the connection during the handshake")]
    Closed,
    /// The connection failed.
    #[error("the connection failed during the handshake: {0}")]
    Broken(Broken),
    /// Any other violation of the protocol.
    #[error("the handshake failed: {0}")]
    Other(String),
}

impl From<Broken> for HandshakeError {
    fn from(broken: Broken) -> Self {
        Self::Broken(broken)
    }
}

impl HandshakeError {
    /// Every word of [`HandshakeError::word`], and `timeout`, which callers count.
    pub const WORDS: [&'static str; 14] = [
        "plain_http",
        "not_tls",
        "no_certificate",
        "version",
        "cipher",
        "alpn",
        "no_client_certificate",
        "client_certificate",
        "distrusted",
        "alert",
        "closed",
        "reset",
        "other",
        "timeout",
    ];

    /// One word, for metrics.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::PlainHttp(_) => "plain_http",
            Self::NotTls => "not_tls",
            Self::NoCertificate(_) => "no_certificate",
            Self::Version => "version",
            Self::Cipher => "cipher",
            Self::Protocol => "alpn",
            Self::NoClientCertificate => "no_client_certificate",
            Self::ClientCertificate(_) => "client_certificate",
            Self::Distrusted(_) => "distrusted",
            Self::Alert(_) => "alert",
            Self::Closed => "closed",
            Self::Broken(_) => "reset",
            Self::Other(_) => "other",
        }
    }

    pub(super) fn from_io(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            return Self::Closed;
        }
        match error.downcast::<Error>() {
            Ok(error) => Self::from_tls(error),
            Err(error) => Self::Broken(error.into()),
        }
    }

    pub(super) fn from_tls(error: Error) -> Self {
        use AlertDescription as Alert;
        let words = |text: &dyn std::fmt::Debug| plain_words(&format!("{text:?}"));
        match error {
            Error::InvalidMessage(_) => Self::NotTls,
            Error::NoApplicationProtocol => Self::Protocol,
            Error::NoCertificatesPresented => Self::NoClientCertificate,
            Error::InvalidCertificate(CertificateError::UnknownIssuer) => Self::ClientCertificate(
                "its issuer is not among the authorities of this host".into(),
            ),
            Error::InvalidCertificate(error) => {
                Self::ClientCertificate(plain_words(&error.to_string()))
            }
            Error::PeerIncompatible(
                PeerIncompatible::Tls12NotOffered
                | PeerIncompatible::Tls12NotOfferedOrEnabled
                | PeerIncompatible::Tls13RequiredForQuic
                | PeerIncompatible::SupportedVersionsExtensionRequired
                | PeerIncompatible::ServerDoesNotSupportTls12Or13,
            ) => Self::Version,
            Error::PeerIncompatible(_) => Self::Cipher,
            Error::AlertReceived(
                alert @ (Alert::UnknownCA
                | Alert::BadCertificate
                | Alert::CertificateUnknown
                | Alert::CertificateExpired
                | Alert::UnsupportedCertificate
                | Alert::CertificateRevoked),
            ) => Self::Distrusted(words(&alert)),
            Error::AlertReceived(alert) => Self::Alert(words(&alert)),
            other => Self::Other(plain_words(&other.to_string())),
        }
    }
}

/// Sends an alert that rustls has prepared. A peer that does not read gets none.
pub(super) async fn send_alert(stream: &mut Stream, mut alert: AcceptedAlert) {
    let mut bytes = Vec::new();
    if alert.write_all(&mut bytes).is_ok() {
        let _ = stream.write_all(&bytes).await;
        stream_close(stream);
    }
}

/// Sends the fatal alert `unrecognized_name` (RFC 6066 section 3).
pub(super) async fn send_unrecognized_name(stream: &mut Stream) {
    let _ = stream.write_all(&[21, 3, 3, 0, 2, 2, 112]).await;
    stream_close(stream);
}

/// The alert would be lost if the drop were a reset.
fn stream_close(stream: &mut Stream) {
    byway_dial::stream::Pipe::close_on_drop(stream);
}
