//! TLS error: why there is no TLS session, in words that say what to do.

use std::io;
use std::time::Duration;

use rustls::{AlertDescription, CertificateError};

use super::ServerName;
use super::words::plain_words;
use crate::stream::Broken;
use crate::target::HostName;
use crate::text::peer_text;

/// Why there is no TLS session.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The client itself could not be made.
    #[error(
        "TLS cannot be set up: {0}; check the trusted certificates, and on a bare system install ca-certificates"
    )]
    Setup(String),
    /// A text that should hold certificates or a key does not.
    #[error(
        "{0} cannot be read from the PEM text: {1}; it stands between lines such as -----BEGIN CERTIFICATE-----"
    )]
    Pem(&'static str, String),
    /// No certificate can carry this name.
    #[error("`{0}` is no name that a certificate can carry")]
    BadName(HostName),
    /// Nobody we trust signed the certificate.
    #[error(
        "the certificate of {0} is signed by nobody we trust; add its root (or the certificate itself, if it is self-signed) to the trusted certificates of this machine, or name a file that holds it in SSL_CERT_FILE, which replaces them; or have the peer send its whole chain"
    )]
    UnknownIssuer(ServerName),
    /// The certificate has run out.
    #[error(
        "the certificate of {0} has expired; the peer must renew it (or the clock of this machine is wrong)"
    )]
    Expired(ServerName),
    /// The certificate is not valid yet.
    #[error("the certificate of {0} is not valid yet; check the clocks of both machines")]
    NotYetValid(ServerName),
    /// The certificate is somebody else's.
    #[error(
        "the certificate shown for {name} is for {}; dial by one of these names, or set the name to verify",
        peer_text(presented)
    )]
    WrongName {
        /// The name that was to be proven.
        name: ServerName,
        /// The names that the certificate carries.
        presented: String,
    },
    /// Any other fault of the certificate.
    #[error("the certificate of {name} was not accepted: {}", peer_text(reason))]
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
    #[error("the TLS handshake with {name} failed: {}", peer_text(reason))]
    Other {
        /// The peer.
        name: ServerName,
        /// What rustls says.
        reason: String,
    },
}

pub(super) fn told(name: &ServerName, error: io::Error) -> TlsError {
    let name = name.clone();
    match error.downcast::<rustls::Error>() {
        Ok(rustls::Error::InvalidCertificate(fault)) => certificate_fault(name, fault),
        Ok(rustls::Error::InvalidMessage(_)) => TlsError::NotTls(name),
        Ok(rustls::Error::NoApplicationProtocol)
        | Ok(rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol)) => {
            TlsError::NoCommonProtocol(name)
        }
        Ok(rustls::Error::AlertReceived(alert)) => TlsError::Alert {
            name,
            alert: plain_words(&format!("{alert:?}")),
        },
        Ok(other) => TlsError::Other {
            name,
            reason: plain_words(&other.to_string()),
        },
        Err(error) => TlsError::Broken {
            name,
            source: error.into(),
        },
    }
}

fn certificate_fault(name: ServerName, fault: CertificateError) -> TlsError {
    match fault {
        CertificateError::UnknownIssuer => TlsError::UnknownIssuer(name),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            TlsError::Expired(name)
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            TlsError::NotYetValid(name)
        }
        CertificateError::NotValidForName => TlsError::WrongName {
            name,
            presented: "other names".into(),
        },
        CertificateError::NotValidForNameContext { presented, .. } if presented.is_empty() => {
            TlsError::WrongName {
                name,
                presented: "no name at all".into(),
            }
        }
        CertificateError::NotValidForNameContext { presented, .. } => TlsError::WrongName {
            name,
            presented: presented.join(", "),
        },
        other => TlsError::Certificate {
            name,
            reason: plain_words(&other.to_string()),
        },
    }
}
