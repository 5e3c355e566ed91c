//! Client authentication: which hosts ask for a client certificate, and who the client is.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::provider::provider;

/// Whether a host asks clients for a certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ClientAuth {
    /// It does not.
    #[default]
    None,
    /// It does; a client without one is served, too.
    Optional(ClientRoots),
    /// It does; the handshake fails without one.
    Required(ClientRoots),
}

/// The authorities whose certificates clients may present. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientRoots(Arc<[CertificateDer<'static>]>);

/// No authority is usable.
#[derive(Debug, thiserror::Error)]
#[error("the authorities of client certificates cannot be used: {0}")]
pub struct InvalidClientRoots(String);

impl ClientRoots {
    /// These certificates are authorities.
    ///
    /// # Errors
    /// If there is none, or one cannot be an authority.
    pub fn new(certificates: Vec<CertificateDer<'static>>) -> Result<Self, InvalidClientRoots> {
        let roots = Self(certificates.into());
        roots.verifier(false).map(|_| roots)
    }

    fn verifier(&self, required: bool) -> Result<Arc<dyn ClientCertVerifier>, InvalidClientRoots> {
        let invalid = |error: &dyn std::fmt::Display| InvalidClientRoots(error.to_string());
        let mut store = RootCertStore::empty();
        for certificate in self.0.iter() {
            store
                .add(certificate.clone())
                .map_err(|error| invalid(&error))?;
        }
        let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(store), provider());
        let builder = match required {
            true => builder,
            false => builder.allow_unauthenticated(),
        };
        builder.build().map_err(|error| invalid(&error))
    }
}

impl ClientAuth {
    pub(crate) fn verifier(
        &self,
    ) -> Result<Option<Arc<dyn ClientCertVerifier>>, InvalidClientRoots> {
        match self {
            Self::None => Ok(None),
            Self::Optional(roots) => roots.verifier(false).map(Some),
            Self::Required(roots) => roots.verifier(true).map(Some),
        }
    }

    /// Equal for two policies only if a session under one may be resumed under the other.
    pub(crate) fn ticket_policy(&self) -> Vec<u8> {
        let (mode, roots) = match self {
            Self::None => return b"none".to_vec(),
            Self::Optional(roots) => (&b"optional"[..], roots),
            Self::Required(roots) => (&b"required"[..], roots),
        };
        let mut policy = mode.to_vec();
        for root in roots.0.iter() {
            policy.extend_from_slice(digest(&SHA256, root).as_ref());
        }
        policy
    }
}

/// Who a client is, by the certificate that it has proven to own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientIdentity {
    /// The subject, such as `CN=alice, O=Example`. A text of the authority's choice.
    pub subject: Box<str>,
    /// The common name; none if the subject has several, or one that is no text.
    pub common_name: Option<Box<str>>,
    /// The issuer.
    pub issuer: Box<str>,
    /// The serial number, in hex.
    pub serial: Box<str>,
    /// The alternative names: `DNS:…`, `email:…`, `URI:…`, `IP:…`, at most [`MOST_NAMES`].
    pub names: Box<[Box<str>]>,
    /// The SHA-256 of the certificate, in hex.
    pub fingerprint: Arc<str>,
    /// The certificate as the value of the field Client-Cert (RFC 9440): `:base64:`.
    pub field: Box<[u8]>,
    /// Until when it is valid, in seconds since 1970.
    pub not_after: i64,
}

/// How many alternative names of a client certificate are read.
pub const MOST_NAMES: usize = 32;

impl ClientIdentity {
    /// Of a certificate that was verified. `None` if it cannot be parsed.
    pub fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
        let extension = parsed.subject_alternative_name().ok().flatten();
        let names = extension
            .iter()
            .flat_map(|names| &names.value.general_names);
        Some(Self {
            subject: parsed.subject().to_string().into(),
            common_name: common_name(&parsed),
            issuer: parsed.issuer().to_string().into(),
            serial: hex(parsed.raw_serial()).into(),
            names: names.filter_map(name_text).take(MOST_NAMES).collect(),
            fingerprint: hex(digest(&SHA256, certificate).as_ref()).into(),
            field: format!(":{}:", BASE64_STANDARD.encode(certificate))
                .into_bytes()
                .into(),
            not_after: parsed.validity().not_after.timestamp(),
        })
    }

    /// The same, unless the certificate has expired. A full handshake accepts none that has; a
    /// session may be resumed for hours.
    pub(crate) fn valid_now(certificate: &CertificateDer<'_>) -> Option<Self> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs();
        Self::of(certificate).filter(|identity| {
            u64::try_from(identity.not_after).is_ok_and(|not_after| not_after >= now)
        })
    }
}

fn common_name(certificate: &X509Certificate<'_>) -> Option<Box<str>> {
    let mut names = certificate.subject().iter_common_name();
    let only = names.next().filter(|_| names.next().is_none())?;
    only.as_str().ok().map(Into::into)
}

fn name_text(name: &GeneralName<'_>) -> Option<Box<str>> {
    let text = match name {
        GeneralName::DNSName(text) => format!("DNS:{text}"),
        GeneralName::RFC822Name(text) => format!("email:{text}"),
        GeneralName::URI(text) => format!("URI:{text}"),
        GeneralName::IPAddress(bytes) => {
            let v4 = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
            let ip = v4.or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from));
            format!("IP:{}", ip.ok()?)
        }
        _ => return None,
    };
    Some(text.into())
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes
        .iter()
        .fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    #[test]
    fn a_certificate_that_has_expired_identifies_no_client() {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["alice".to_owned()]).unwrap();
        let valid = params.clone().self_signed(&key).unwrap();
        params.not_after = date_time_ymd(2001, 1, 1);
        let expired = params.self_signed(&key).unwrap();
        assert!(ClientIdentity::valid_now(valid.der()).is_some());
        assert!(ClientIdentity::of(expired.der()).is_some());
        assert!(ClientIdentity::valid_now(expired.der()).is_none());
    }
}
