//! TLS plan: the certificates of a node, and how its `https` listeners use them.
//!
//! Never: holds a key. Files are named here, and read when the Plan is applied.

use std::fmt;
use std::path::PathBuf;

use byway_dial::HostName;

use super::acme_plan::AcmePlan;
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
    /// Authorities that issue certificates by themselves.
    pub acme: Vec<AcmePlan>,
    /// Names for which the local authority issues certificates, in lower case.
    pub local_names: Vec<String>,
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

/// TLS towards the upstreams of a route, where it differs from the usual. The empty one is not
/// used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct UpstreamTlsPlan {
    /// A PEM file of the authorities that are trusted; none for those of the system.
    pub ca: Option<PathBuf>,
    /// The name that is sent and verified; none for the host of the upstream.
    pub server_name: Option<HostName>,
    /// The PEM files of a client certificate and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// The SHA-256 of the only public key that is trusted.
    pub pin: Option<[u8; 32]>,
}

impl fmt::Display for UpstreamTlsPlan {
    /// What it says, for ids of upstreams.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        parts.extend(self.ca.as_ref().map(|ca| format!("ca {}", ca.display())));
        parts.extend(self.server_name.as_ref().map(|name| format!("as {name}")));
        let own = self.identity.as_ref();
        parts.extend(own.map(|(cert, _)| format!("with {}", cert.display())));
        parts.extend(self.pin.as_ref().map(|pin| format!("pin {}", hex(pin))));
        f.write_str(&parts.join(", "))
    }
}

/// A pin as the config writes it.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
