//! `[tls]`.

use std::path::PathBuf;

use super::kind::Folder;
use super::prelude::*;

keys! {
    /// TLS of all `https` listeners.
    ///
    /// Post-quantum key exchange is preferred where the client offers it. Early data (0-RTT) is
    /// never accepted.
    pub struct Tls {
        /// See [`ClientCertificates`].
        client: Vec<ClientCertificates>;
        /// Names for which the local authority issues certificates, and all names below them.
        ///
        /// For development: clients have to trust it (`byway ca install`). It may sign `localhost`
        /// and what it was created for.
        local_names: Vec<String>, in "host names", example ["localhost"], default "none";
    } => TlsSettings {
        /// The oldest version.
        min_version: OneOf<OldestVersion> => OldestVersion = OldestVersion::V1_2;
        /// Whether `https` addresses of edges and of exposed services also speak HTTP/3, on the UDP
        /// port of the same number.
        ///
        /// Clients learn of it by `Alt-Svc` in the responses over TLS. If the UDP port is in use,
        /// a warning is logged, and they use HTTP/2. Turn it off where clients see another port
        /// than this one, as behind a NAT that maps ports.
        http3: bool => bool = true;
        /// How often the files of certificates are looked at.
        reload_interval: Period => Duration = seconds(10), in seconds(1)..=seconds(86_400);
        /// The secret that session tickets are sealed with: 32 random bytes.
        ///
        /// It is created if it is missing. Nodes that share it resume each other's sessions.
        ticket_secret: Folder => PathBuf = PathBuf::from("ticket-secret"), in "a path",
            example "/var/lib/byway/ticket-secret", default "`ticket-secret` in the state folder";
    }
}

keys! {
    /// Hosts that ask clients for a certificate.
    ///
    /// The certificate is checked in the handshake, by the name that the client sends; a request for
    /// another host on the same connection gets 421, and so does one without TLS where a certificate is
    /// required, unless a trusted proxy sends it. Who the client is goes to the access log and,
    /// in `Client-Cert` (RFC 9440), to upstreams.
    pub struct ClientCertificates {
        /// Which hosts: exact names and addresses, or `"*.example.com"` for every name below it, as in
        /// a route. Of several the nearest name counts.
        hosts: Vec<String>, in "host names", example ["admin.example.com"], required;
        /// The authorities that issue certificates of clients, in PEM.
        ca: String, in "a path", example "/etc/byway/clients.pem", required;
        /// Whether a client without a certificate is refused.
        mode: OneOf<ClientMode>, example "required", default "`\"required\"`";
    }
}

/// The oldest version of TLS that is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OldestVersion {
    /// TLS 1.2.
    V1_2,
    /// TLS 1.3.
    V1_3,
}

impl Words for OldestVersion {
    const WORDS: &'static [(&'static str, Self)] = &[("1.2", Self::V1_2), ("1.3", Self::V1_3)];
}

/// Whether a client without a certificate is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientMode {
    /// It is.
    Required,
    /// It is not.
    Optional,
}

impl Words for ClientMode {
    const WORDS: &'static [(&'static str, Self)] =
        &[("required", Self::Required), ("optional", Self::Optional)];
}
