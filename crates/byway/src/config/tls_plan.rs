//! TLS plan: the certificates of a node, and how its `https` listeners use them.
//!
//! Never: holds a key. Files are named here, and read when the Plan is applied.

use std::path::PathBuf;

use super::host_pattern::HostPattern;
use super::section::{ClientMode, TlsSettings};

/// TLS of all `https` listeners.
#[derive(Clone, Debug, PartialEq)]
pub struct TlsPlan {
    /// What needs no other section.
    pub settings: TlsSettings,
    /// In the order of the file; at most one is the default.
    pub certificates: Vec<CertificatePlan>,
    /// Hosts that ask for client certificates. No host is named twice.
    pub clients: Vec<ClientCertificatesPlan>,
}

/// A certificate in files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificatePlan {
    /// The chain.
    pub cert: PathBuf,
    /// The key; may be the same file.
    pub key: PathBuf,
    /// The stapled OCSP response.
    pub ocsp: Option<PathBuf>,
    /// The names that it serves; none for those in the certificate.
    pub names: Option<Vec<HostPattern>>,
    /// Whether clients get it that send no name or an unknown one.
    pub is_default: bool,
}

/// Hosts that ask for client certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificatesPlan {
    /// Which hosts.
    pub hosts: Vec<HostPattern>,
    /// A PEM file of authorities.
    pub ca: PathBuf,
    /// Whether a client without a certificate is refused.
    pub mode: ClientMode,
}
