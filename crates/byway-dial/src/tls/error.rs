//! TLS error: why there is no TLS session, with the remedy.

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
    /// The client could not be created.
    #[error(
        "TLS cannot be set up: {0}; check the trusted certificates, and on a bare system install ca-certificates"
    )]
    Setup(String),
    /// A PEM text has no valid certificates or key.
    #[error(
        "{0} cannot be read from the PEM text: {1}; expected lines such as -----BEGIN CERTIFICATE-----"
    )]
    Pem(&'static str, String),
    /// No certificate can carry this name.
    #[error("a certificate cannot contain the name `{0}`")]
    BadName(HostName),
    /// The issuer of the certificate is not trusted.
    #[error(
        "the certificate of {0} has no trusted issuer; add its root (or the certificate itself, if it is self-signed) to the trusted certificates of this machine, or name a file that holds it in SSL_CERT_FILE, which replaces them; or have the peer send its whole chain"
    )]
    UnknownIssuer(ServerName),
    /// The certificate has expired.
    #[error(
        "the certificate of {0} has expired; the peer must renew it (or the clock of this machine is wrong)"
    )]
    Expired(ServerName),
    /// The certificate is not valid yet.
    #[error("the certificate of {0} is not valid yet; check the clocks of both machines")]
    NotYetValid(ServerName),
    /// The certificate is for other names.
    #[error(
        "the certificate shown for {name} is for {}; dial by one of these names, or set the name to verify",
        peer_text(presented)
    )]
    WrongName {
        /// The name to verify.
        name: ServerName,
        /// The names in the certificate.
        presented: String,
    },
    /// Any other problem of the certificate.
    #[error("the certificate of {name} was not accepted: {}", peer_text(reason))]
    Certificate {
        /// The name to verify.
        name: ServerName,
        /// The problem.
        reason: String,
    },
    /// The peer's answer is not TLS.
    #[error("{0} does not speak TLS on this port; if the port is a plain one, dial it without TLS")]
    NotTls(ServerName),
    /// The peer supports none of our application protocols.
    #[error("{0} supports none of the offered application protocols (ALPN)")]
    NoCommonProtocol(ServerName),
    /// The peer aborted the handshake with an alert.
    #[error("{name} aborted the TLS handshake: {alert}")]
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
    /// The connection failed during the handshake.
    #[error("the connection to {name} failed in the TLS handshake: {source}")]
    Broken {
        /// The peer.
        name: ServerName,
        /// The failure.
        source: Broken,
    },
    /// Any other protocol violation.
    #[error("the TLS handshake with {name} failed: {}", peer_text(reason))]
    Other {
        /// The peer.
        name: ServerName,
        /// The error of rustls.
        reason: String,
    },
}

pub(super) fn from_io(name: &ServerName, error: io::Error) -> TlsError {
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
        CertificateError::ApplicationVerificationFailure => TlsError::Certificate {
            name,
            reason: "its key is not the pinned one".into(),
        },
        other => TlsError::Certificate {
            name,
            reason: plain_words(&other.to_string()),
        },
    }
}
