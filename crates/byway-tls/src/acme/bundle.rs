//! Bundle: a private key and the certificate chain for it, in one file.
//!
//! In:    PEM text that this program wrote or an authority sent.
//! Out:   a key that rustls can use, with the names and the validity of its certificate.
//! Never: accepts a certificate for another key, or one that does not cover the name.

use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::name::Name;
use super::schedule::Period;
use crate::certificate::{Certificate, InvalidCertificate};

/// The most certificates of a chain.
const MOST_CERTIFICATES: usize = 16;

/// Why a bundle cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// The text has no private key.
    #[error("the private key cannot be read")]
    Key,
    /// The text has no certificate, too many, or one that cannot be read.
    #[error("the certificate chain cannot be read")]
    Chain,
    /// The chain and the key do not make a certificate of a server.
    #[error(transparent)]
    Invalid(#[from] InvalidCertificate),
    /// The certificate is not for the name.
    #[error("the certificate is not for {0}")]
    OtherName(Name),
}

/// A certificate that can be used.
#[derive(Clone, Debug)]
pub struct Bundle {
    certificate: Arc<Certificate>,
}

impl Bundle {
    /// Reads a bundle for `name`: PEM with the key first, then the chain, the certificate first.
    ///
    /// # Errors
    /// See [`BundleError`].
    pub fn read(text: &str, name: &Name) -> Result<Self, BundleError> {
        let key = PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|_| BundleError::Key)?;
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(text.as_bytes())
            .collect::<Result<_, _>>()
            .map_err(|_| BundleError::Chain)?;
        if chain.len() > MOST_CERTIFICATES {
            return Err(BundleError::Chain);
        }
        let certificate = Certificate::new(chain, key)?;
        let mut names = certificate.names().iter();
        if !names.any(|covered| **covered == *name.as_str()) {
            return Err(BundleError::OtherName(name.clone()));
        }
        Ok(Self {
            certificate: Arc::new(certificate),
        })
    }

    /// What handshakes use.
    pub fn certificate(&self) -> &Arc<Certificate> {
        &self.certificate
    }

    /// When the certificate is valid.
    pub fn validity(&self) -> Period {
        Period {
            start: self.certificate.not_before(),
            end: self.certificate.not_after(),
        }
    }

    /// The certificate itself.
    pub(crate) fn der(&self) -> Option<&CertificateDer<'static>> {
        self.certificate.certified_key().cert.first()
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    fn issue(name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        (key.serialize_pem(), certificate.pem())
    }

    #[test]
    fn a_bundle_has_a_key_a_chain_and_the_validity_of_its_certificate() {
        let (key, certificate) = issue("a.example.com");
        let name = Name::new("a.example.com").unwrap();
        let bundle = Bundle::read(&format!("{key}{certificate}"), &name).unwrap();
        assert!(bundle.der().is_some());
        assert!(bundle.validity().contains(std::time::SystemTime::now()));
        assert!(bundle.certificate().covers("a.example.com"));
    }

    #[test]
    fn a_certificate_for_another_key_or_name_is_refused() {
        let (key, certificate) = issue("a.example.com");
        let (other, _) = issue("a.example.com");
        let name = Name::new("a.example.com").unwrap();
        let read = |text: &str| Bundle::read(text, &name).map(|_| ()).unwrap_err();
        let mismatch = read(&format!("{other}{certificate}"));
        let is_mismatch = matches!(
            mismatch,
            BundleError::Invalid(InvalidCertificate::KeyMismatch)
        );
        assert!(is_mismatch, "{mismatch}");
        assert!(matches!(read(&certificate), BundleError::Key));
        let empty = read(&key);
        assert!(
            matches!(empty, BundleError::Invalid(InvalidCertificate::Empty)),
            "{empty}"
        );
        let long = read(&format!("{key}{}", certificate.repeat(17)));
        assert!(matches!(long, BundleError::Chain));
        let name = Name::new("b.example.com").unwrap();
        let text = format!("{key}{certificate}");
        let refused = Bundle::read(&text, &name).map(|_| ()).unwrap_err();
        assert!(matches!(refused, BundleError::OtherName(other) if other == name));
    }
}
